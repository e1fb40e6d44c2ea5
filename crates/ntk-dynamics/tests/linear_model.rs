//! What closed forms say about the linear model behind them: its parts, its parameters, its rates.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ndarray::{Array2, s};
use ntk_dynamics::{
    Descent, GradientFlow, Gram, LearningRate, LossScale, Momentum, Ridge, Spectrum, Steps, Time,
};
use ntk_testkit::cases;
use proptest::prelude::*;

/// Jacobian (n + 2, 16), initial outputs (n + 2, k), targets (n, k) for 2–7 train points.
fn model() -> impl Strategy<Value = [Array2<f64>; 3]> {
    let entries = |rows: usize, columns: usize| {
        proptest::collection::vec(-1.0..1.0, rows * columns)
            .prop_map(move |v| Array2::from_shape_vec((rows, columns), v).unwrap())
    };
    (2usize..8, 1usize..4).prop_flat_map(move |(n, k)| {
        (entries(n + 2, 16), entries(n + 2, k), entries(n, k)).prop_map(|(j, f, y)| [j, f, y])
    })
}

fn far(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    assert_eq!(a.dim(), b.dim());
    a.iter().zip(b).fold(0.0, |worst: f64, (a, b)| worst.max((a - b).abs()))
}

fn norm(a: &Array2<f64>) -> f64 {
    a.iter().map(|v| v * v).sum::<f64>().sqrt()
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn outputs_are_a_mean_and_what_is_left_of_the_start([j, f0, y] in model(), t in 0.0..20.0) {
        // f_t = μ_t + γ_t: learned from targets with no start, and decayed from the start with no targets.
        let n = y.nrows();
        let theta = j.slice(s![..n, ..]).dot(&j.slice(s![..n, ..]).t());
        let k = j.slice(s![n.., ..]).dot(&j.slice(s![..n, ..]).t());
        let spectrum = Spectrum::new(&Gram::new(theta).unwrap(), Ridge::None).unwrap();
        let flow = GradientFlow::new(&spectrum, LearningRate::new(0.2).unwrap(), LossScale::Sum);
        let (train, test) = (f0.slice(s![..n, ..]), f0.slice(s![n.., ..]));
        let (zero, zero_test) = (Array2::zeros(y.dim()), Array2::zeros(test.dim()));
        for at in [Time::Finite(t), Time::Infinite] {
            let whole = flow.fit(y.view(), train).unwrap();
            let mean = flow.fit(y.view(), zero.view()).unwrap();
            let left = flow.fit(zero.view(), train).unwrap();
            let sum = mean.train(at).unwrap() + left.train(at).unwrap();
            prop_assert!(far(&whole.train(at).unwrap(), &sum) < 1e-12);
            let sum = mean.test(at, k.view(), zero_test.view()).unwrap() + left.test(at, k.view(), test).unwrap();
            prop_assert!(far(&whole.test(at, k.view(), test).unwrap(), &sum) < 1e-10);
        }
    }

    #[test]
    fn parameters_end_at_the_interpolant_of_least_norm([j, f0, y] in model(), away in proptest::collection::vec(-1.0..1.0, 16)) {
        let n = y.nrows();
        let (j, f0) = (j.slice(s![..n, ..]).to_owned(), f0.slice(s![..n, ..]).to_owned());
        let spectrum = Spectrum::new(&Gram::new(j.dot(&j.t())).unwrap(), Ridge::None).unwrap();
        prop_assume!(spectrum.condition() < 1e6);
        let flow = GradientFlow::new(&spectrum, LearningRate::new(1.0).unwrap(), LossScale::Sum);
        let omega = j.t().dot(&flow.fit(y.view(), f0.view()).unwrap().dual(Time::Infinite).unwrap());
        prop_assert!(far(&(&f0 + &j.dot(&omega)), &y) < 1e-8);
        // Any other interpolant differs by a vector of the null space, at right angles: z − J⁺ J z by regression.
        let z = Array2::from_shape_vec((16, 1), away).unwrap();
        let image = j.dot(&z);
        let back = flow.fit(image.view(), Array2::zeros(image.dim()).view()).unwrap().dual(Time::Infinite).unwrap();
        let null = &z - &j.t().dot(&back);
        prop_assert!(norm(&j.dot(&null)) < 1e-8);
        prop_assert!(norm(&null.t().dot(&omega)) < 1e-8 * (1.0 + norm(&omega)));
    }

    #[test]
    fn residuals_shrink_by_the_slowest_factor_at_most([j, f0, y] in model(), fraction in 0.05..0.99, steps in 1u64..40) {
        let n = y.nrows();
        let (j, f0) = (j.slice(s![..n, ..]).to_owned(), f0.slice(s![..n, ..]).to_owned());
        let spectrum = Spectrum::new(&Gram::new(j.dot(&j.t())).unwrap(), Ridge::None).unwrap();
        let eta = fraction * spectrum.maximal_learning_rate(LossScale::Sum, y.dim(), Momentum::NONE).unwrap();
        let descent = Descent::new(&spectrum, LearningRate::new(eta).unwrap(), LossScale::Sum, Momentum::NONE);
        let run = descent.fit(y.view(), f0.view()).unwrap();
        let factor = spectrum.eigenvalues().fold(0.0_f64, |m, v| m.max((1.0 - eta * v).abs()));
        prop_assert!(factor < 1.0);
        let left = norm(&(&y - &run.train(Steps::Finite(steps)).unwrap()));
        prop_assert!(left <= factor.powi(steps as i32) * norm(&(&y - &f0)) * (1.0 + 1e-12) + 1e-14);
    }
}
