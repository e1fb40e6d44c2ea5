//! The theorems of deep linear networks in their limit: two representations, symmetries, conservation, convergence.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ndarray::{Array1, Array2, array};
use ntk_core::Variance;
use ntk_dynamics::deep_linear::{Architecture, Basis, Limit, Risk, WeightLaw};
use ntk_dynamics::{Error, LearningRate};
use ntk_testkit::cases;
use proptest::prelude::*;

/// A moment of trace 1 and rank at least one, a target, and an architecture.
#[derive(Clone, Debug)]
struct Task {
    moment: Array2<f64>,
    target: Array2<f64>,
    architecture: Architecture,
    /// Not above λ_max(K₀).
    kernel: f64,
}

impl Task {
    fn risk(&self) -> Risk {
        Risk::new(self.moment.clone(), self.target.clone()).unwrap()
    }

    fn limit(&self, basis: Basis) -> Limit {
        Limit::new(&self.risk(), &self.architecture, basis).unwrap()
    }

    /// A quarter of what the tangent kernel of the start allows.
    fn rate(&self) -> LearningRate {
        rate(0.25 / self.kernel)
    }
}

fn rate(eta: f64) -> LearningRate {
    LearningRate::new(eta).unwrap()
}

fn matrix(rows: usize, columns: usize) -> impl Strategy<Value = Array2<f64>> {
    proptest::collection::vec(-1.0..1.0, rows * columns)
        .prop_map(move |v| Array2::from_shape_vec((rows, columns), v).unwrap())
}

/// `middle` matrices, up to three inputs and two outputs; unequal widths and variances if `shaped`.
fn task(middle: std::ops::Range<usize>, shaped: bool) -> impl Strategy<Value = Task> {
    (middle, 1usize..4, 1usize..3, 1usize..4).prop_flat_map(move |(q, d, k, rank)| {
        let shape = if shaped { 0.6..1.6 } else { 1.0..1.0 + 1e-12 };
        let numbers = proptest::collection::vec(shape, q + 4);
        (matrix(d, rank), matrix(d, k), numbers).prop_map(move |(root, target, numbers)| {
            let mut moment = root.dot(&root.t());
            moment /= moment.diag().sum().max(1e-3);
            let variance = |i: usize| Variance::new(numbers[i]).unwrap();
            let architecture = Architecture::new(q).unwrap();
            let architecture = if shaped {
                let shaped = architecture.with_widths(&numbers[3..]).unwrap();
                shaped.with_variances(variance(0), variance(1), variance(2))
            } else {
                architecture
            };
            let risk = Risk::new(moment.clone(), target.clone()).unwrap();
            let limit = Limit::new(&risk, &architecture, Basis::Lazy).unwrap();
            let kernel = limit.tangent_kernel().diag().iter().fold(0.0, |a: f64, &b| a.max(b));
            Task { moment, target, architecture, kernel }
        })
    })
}

fn distance(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    (a - b).iter().fold(0.0, |worst: f64, x| worst.max(x.abs()))
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn lazy_operators_and_walks_are_one_limit(task in task(0..4, true), steps in 1usize..5) {
        let q = task.architecture.middle();
        let (mut lazy, mut walks) = (task.limit(Basis::Lazy), task.limit(Basis::Walks { length: q * steps + q / 2 }));
        for _ in 0..steps {
            lazy.descend(task.rate(), 1).unwrap();
            walks.descend(task.rate(), 1).unwrap();
            prop_assert!(distance(&lazy.predictor().to_owned(), &walks.predictor().to_owned()) < 1e-12);
        }
        // Laws of the weights agree too: they see the same Gram matrices, in other coordinates.
        let (a, b) = (lazy.law(), walks.law());
        let same = |f: &dyn Fn(&WeightLaw) -> Array2<f64>| distance(&f(&a), &f(&b));
        prop_assert!(same(&|law| law.input_covariance(law).unwrap()) < 1e-11);
        prop_assert!(same(&|law| law.output_covariance(law).unwrap()) < 1e-11);
        for (x, y) in a.update_variances().iter().zip(b.update_variances()) {
            prop_assert!((x - y).abs() < 1e-11);
        }
    }

    #[test]
    fn kernel_of_the_start_counts_the_layers(task in task(0..5, false)) {
        let kernel = task.limit(Basis::Lazy).tangent_kernel();
        let expected = Array2::eye(kernel.nrows()) * (task.architecture.middle() + 2) as f64;
        prop_assert!(distance(&kernel, &expected) < 1e-11);
    }

    #[test]
    fn kernel_is_the_derivative_of_the_predictor(task in task(0..4, true), steps in 0usize..4) {
        let mut network = task.limit(Basis::Lazy);
        network.descend(task.rate(), steps).unwrap();
        let (before, h) = (network.predictor().to_owned(), 1e-7);
        let r = task.risk().descent(before.view()).unwrap();
        let expected = network.tangent_kernel().dot(&Array1::from_iter(r.iter().copied()));
        network.descend(rate(h), 1).unwrap();
        let slope = Array1::from_iter((&network.predictor() - &before).iter().map(|x| x / h));
        prop_assert!((&slope - &expected).iter().all(|x| x.abs() < 1e-5), "{} and {}", slope, expected);
    }

    #[test]
    fn loss_falls_at_small_rates(task in task(0..4, true)) {
        let mut network = task.limit(Basis::Lazy);
        let mut last = network.loss().unwrap();
        for _ in 0..30 {
            network.descend(rate(0.25 * task.rate().get()), 1).unwrap();
            let loss = network.loss().unwrap();
            prop_assert!(loss <= last + 1e-30);
            last = loss;
        }
    }

    #[test]
    fn flow_conserves_balance(task in task(0..4, true)) {
        let mut network = task.limit(Basis::Lazy);
        network.flow(0.5, 1e-10).unwrap();
        prop_assert!(network.imbalance().iter().all(|&x| x < 1e-8), "{:?}", network.imbalance());
    }

    #[test]
    fn predictor_stays_in_the_range_of_the_data(task in task(0..4, true)) {
        let risk = task.risk();
        let limit = risk.minimal_norm();
        let mut network = task.limit(Basis::Lazy);
        network.descend(task.rate(), 20).unwrap();
        // S⁺S β = β, by the risk whose target is β.
        let beta = network.predictor().to_owned();
        let projected = Risk::new(task.moment.clone(), beta.clone()).unwrap().minimal_norm();
        prop_assert!(distance(&beta, &projected) < 1e-12);
        prop_assert!(risk.excess(limit.view()).unwrap() < 1e-15);
    }

    #[test]
    fn reflections_of_the_inputs_pass_through(task in task(0..4, true), normal in matrix(3, 1)) {
        let d = task.moment.nrows();
        let v = normal.slice(ndarray::s![..d, ..]).to_owned() + 1e-3;
        let reflection = Array2::eye(d) - v.dot(&v.t()) * (2.0 / (&v * &v).sum());
        let mut mirrored = task.clone();
        mirrored.moment = reflection.dot(&task.moment).dot(&reflection);
        mirrored.target = reflection.dot(&task.target);
        let (mut one, mut other) = (task.limit(Basis::Lazy), mirrored.limit(Basis::Lazy));
        one.descend(task.rate(), 12).unwrap();
        other.descend(task.rate(), 12).unwrap();
        prop_assert!(distance(&reflection.dot(&one.predictor()), &other.predictor().to_owned()) < 1e-12);
    }

    /// x → c x is S → c² S, b → b/c; with every weight scaled by α = c^{−1/(q+2)} and η by α² the predictor is β/c.
    #[test]
    fn scaled_inputs_are_scaled_weights(task in task(0..4, false), c in 0.5..2.0f64) {
        let q = task.architecture.middle() as f64;
        let alpha = c.powf(-1.0 / (q + 2.0));
        let variance = Variance::from_std(alpha).unwrap();
        let mut scaled = task.clone();
        scaled.moment *= c * c;
        scaled.target /= c;
        scaled.architecture = task.architecture.clone().with_variances(variance, variance, variance);
        let (mut one, mut other) = (task.limit(Basis::Lazy), scaled.limit(Basis::Lazy));
        one.descend(task.rate(), 12).unwrap();
        other.descend(rate(task.rate().get() * alpha * alpha), 12).unwrap();
        prop_assert!(distance(&(&one.predictor() / c), &other.predictor().to_owned()) < 1e-12);
    }

    #[test]
    fn flow_is_faster_than_its_bound(task in task(0..3, true)) {
        let mut network = task.limit(Basis::Lazy);
        for _ in 0..5 {
            let (before, h) = (network.loss().unwrap(), 1e-5);
            let bound = network.rate_bound().unwrap();
            network.flow(h, 1e-12).unwrap();
            prop_assert!(network.loss().unwrap() <= before * (1.0 - bound * h * (1.0 - 1e-3)) + 1e-30);
            network.flow(0.4, 1e-8).unwrap();
        }
    }
}

#[test]
fn flow_is_the_limit_of_small_steps_to_first_order() {
    let risk = Risk::new(array![[1.0, 0.3], [0.3, 0.6]], array![[1.2], [-0.7]]).unwrap();
    let start = || Limit::new(&risk, &Architecture::new(1).unwrap(), Basis::Lazy).unwrap();
    let error = |steps: usize| {
        let (mut flow, mut descent) = (start(), start());
        let h = 1.0 / steps as f64;
        flow.flow(1.0, 1e-11).unwrap();
        descent.descend(rate(h), steps).unwrap();
        distance(&flow.predictor().to_owned(), &descent.predictor().to_owned())
    };
    let errors = [20, 40, 80, 160, 320].map(error);
    for pair in errors.windows(2) {
        assert!((pair[0] / pair[1] - 2.0).abs() < 0.3, "{errors:?}");
    }
    assert!((errors[3] / errors[4] - 2.0).abs() < 0.02, "{errors:?}");
}

#[test]
fn descent_leaves_balance_in_proportion_to_its_rate() {
    let risk = Risk::new(array![[1.0, 0.3], [0.3, 0.6]], array![[1.2], [-0.7]]).unwrap();
    let drift = |steps: usize| {
        let mut network = Limit::new(&risk, &Architecture::new(2).unwrap(), Basis::Lazy).unwrap();
        network.descend(rate(1.0 / steps as f64), steps).unwrap();
        network.imbalance().into_iter().fold(0.0, f64::max)
    };
    let drifts = [25, 50, 100].map(drift);
    assert!(drifts[2] > 1e-4 && drifts.windows(2).all(|d| (d[0] / d[1] - 2.0).abs() < 0.2), "{drifts:?}");
}

#[test]
fn flow_ends_at_the_predictor_of_least_norm() {
    // Rank one of three: most of the target is out of reach.
    let v = array![[1.0], [-0.5], [0.25]];
    for q in 0..3 {
        let risk = Risk::new(v.dot(&v.t()), array![[1.0], [2.0], [-1.0]]).unwrap();
        let mut network = Limit::new(&risk, &Architecture::new(q).unwrap(), Basis::Lazy).unwrap();
        network.flow(20.0, 1e-12).unwrap();
        let error = distance(&network.predictor().to_owned(), &risk.minimal_norm());
        assert!(error < 1e-10, "{error:e}");
    }
}

#[test]
fn draws_have_the_moments_of_their_law() {
    let risk = Risk::new(array![[1.0, 0.3], [0.3, 0.6]], array![[1.2], [-0.7]]).unwrap();
    let mut network = Limit::new(&risk, &Architecture::new(1).unwrap(), Basis::Lazy).unwrap();
    let first = network.law();
    network.descend(rate(0.1), 25).unwrap();
    let law = network.law();
    let n = 20_000;
    let (u, start) = (law.sample_input(n, 3), first.sample_input(n, 3));
    // Five standard errors of a product of two Gaussians; the two times share their neurons.
    for (a, b, expected) in [(&u, &u, law.input_covariance(&law)), (&u, &start, law.input_covariance(&first))]
    {
        let got = a.t().dot(b) / n as f64;
        assert!(distance(&got, &expected.unwrap()) < 5.0 * 2.0 / (n as f64).sqrt(), "{got}");
    }
    let w = law.sample_update(1, 600, 600, 4).unwrap();
    let moment = |p: i32| w.iter().map(|x| x.powi(p)).sum::<f64>() / w.len() as f64;
    let variance = law.update_variances()[0];
    // 600 neurons on each side are what counts, not their pairs.
    assert!((moment(2) / variance - 1.0).abs() < 5.0 * (2.0 * 2.0 / 600.0f64).sqrt(), "{}", moment(2));
    let kurtosis = law.update_kurtoses()[0].unwrap();
    assert!(kurtosis > 8.0 && kurtosis <= 9.0 && first.update_kurtoses() == [None]);
    assert!((moment(4) / moment(2).powi(2) / kurtosis - 1.0).abs() < 0.3);
    // One hidden layer apart, nothing is shared; at one time, all is.
    let v = law.sample_output(n, 3);
    let got = u.t().dot(&v) / n as f64;
    assert!(got.iter().all(|x| x.abs() < 5.0 * 2.0 / (n as f64).sqrt()) && v == law.sample_output(n, 3));
}

#[test]
fn samples_give_the_least_squares_fit() {
    let x = array![[1.0, 0.2], [-0.4, 1.1], [0.7, -0.9], [0.1, 0.3]];
    let y = x.dot(&array![[0.5, 1.0], [-1.5, 0.25]]);
    let risk = Risk::of_samples(x.view(), y.view()).unwrap();
    assert!(distance(&risk.minimal_norm(), &array![[0.5, 1.0], [-1.5, 0.25]]) < 1e-14);
    let residual = &x.dot(&Array2::ones((2, 2))) - &y;
    let loss = 0.5 * (&residual * &residual).sum() / 4.0;
    assert!((risk.excess(Array2::ones((2, 2)).view()).unwrap() - loss).abs() < 1e-14);
}

#[test]
fn bad_input_is_refused_with_its_remedy() {
    fn says<T>(outcome: Result<T, Error>, expected: &str) {
        match outcome {
            Ok(_) => panic!("accepted; should say: {expected}"),
            Err(error) => assert!(error.to_string().contains(expected), "{error}"),
        }
    }
    let (eye, one) = (|| Array2::<f64>::eye(2), || Array2::<f64>::ones((2, 1)));
    says(Risk::new(array![[1.0, 0.5], [0.4, 1.0]], one()), "differ by");
    says(Risk::new(array![[1.0, 2.0], [2.0, 1.0]], one()), "positive semidefinite");
    says(Risk::new(Array2::zeros((0, 0)), Array2::zeros((0, 1))), "row");
    says(Risk::new(eye(), Array2::ones((3, 1))), "the predictor b must have shape (2, 1), not (3, 1)");
    says(Risk::new(eye(), Array2::ones((2, 0))), "the predictor b must have shape (2, 1), not (2, 0)");
    says(Risk::new(eye(), one() * f64::NAN), "must be finite");
    says(Risk::of_samples(Array2::zeros((0, 2)).view(), Array2::zeros((0, 1)).view()), "row");
    says(Risk::of_samples(eye().view(), Array2::zeros((3, 1)).view()), "targets must have shape (2, 1)");
    says(Architecture::new(usize::MAX), "at most 1024 matrices");
    let architecture = || Architecture::new(1).unwrap();
    says(architecture().with_widths(&[1.0]), "ratios of widths must have shape (2, 1)");
    says(architecture().with_widths(&[1.0, 0.0]), "a ratio of widths = 0");
    says(architecture().with_widths(&[1.0, f64::NAN]), "a ratio of widths = NaN");
    let risk = Risk::new(eye(), one()).unwrap();
    says(risk.descent(Array2::zeros((3, 1)).view()), "a predictor must have shape (2, 1), not (3, 1)");
    let deep = Architecture::new(5).unwrap();
    says(Limit::new(&risk, &deep, Basis::Walks { length: 60 }), "more than 1048576 walks");
    let mut network = Limit::new(&risk, &architecture(), Basis::Lazy).unwrap();
    says(LearningRate::new(f64::NAN), "a learning rate");
    says(network.flow(f64::NAN, 1e-6), "a time is a finite number");
    says(network.flow(-1.0, 1e-6), "a time is a finite number");
    says(network.flow(1.0, 0.0), "tolerance = 0");
    says(network.law().sample_update(0, 1, 1, 0), "layer = 0");
    says(network.law().sample_update(2, 1, 1, 0), "layer = 2");
    let other =
        Limit::new(&Risk::new(Array2::eye(3), Array2::ones((3, 1))).unwrap(), &architecture(), Basis::Lazy);
    says(network.law().input_covariance(&other.unwrap().law()), "the other law's A");
    says(network.descend(rate(50.0), 200), "overflow");
}

#[test]
fn nothing_to_learn_changes_nothing() {
    let risk = Risk::new(Array2::zeros((2, 2)), Array2::ones((2, 1))).unwrap();
    let mut network = Limit::new(&risk, &Architecture::new(2).unwrap(), Basis::Lazy).unwrap();
    network.descend(rate(0.5), 3).unwrap();
    network.flow(1.0, 1e-9).unwrap();
    assert_eq!(network.predictor(), Array2::<f64>::zeros((2, 1)));
    assert_eq!((network.loss().unwrap(), network.rate_bound().unwrap()), (0.0, 0.0));
    assert_eq!(network.imbalance(), [0.0; 3]);
    assert!(risk.curvature().is_none());
}
