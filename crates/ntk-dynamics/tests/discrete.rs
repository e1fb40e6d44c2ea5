//! Training in steps, exactly: every closed form against the loop over explicit parameters that it solves.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ndarray::{Array1, Array2, Axis, array, s};
use ntk_dynamics::{
    Descent, Error, GradientFlow, Gram, LearningRate, LossScale, Method, Momentum, Posterior, Ridge,
    Schedule, ScheduledDescent, Spectrum, Steps, StochasticDescent, Time, WeightDecay, side_by_side,
};
use ntk_testkit::cases;
use proptest::prelude::*;

/// A model linear in its change of parameters, f₀ + J ω, on train and two test points, with initial parameters.
#[derive(Clone, Debug)]
struct Model {
    jacobian: Array2<f64>,
    parameters: Array2<f64>,
    initial: Array2<f64>,
    targets: Array2<f64>,
}

impl Model {
    fn n(&self) -> usize {
        self.targets.nrows()
    }

    fn train_jacobian(&self) -> Array2<f64> {
        self.jacobian.slice(s![..self.n(), ..]).to_owned()
    }

    fn gram(&self) -> Gram {
        let j = self.train_jacobian();
        Gram::new(j.dot(&j.t())).unwrap()
    }

    fn spectrum(&self) -> Spectrum {
        Spectrum::new(&self.gram(), Ridge::None).unwrap()
    }

    fn test_train(&self) -> Array2<f64> {
        self.jacobian.slice(s![self.n().., ..]).dot(&self.train_jacobian().t())
    }

    fn split(&self, all: &Array2<f64>) -> (Array2<f64>, Array2<f64>) {
        let (train, test) = all.view().split_at(Axis(0), self.n());
        (train.to_owned(), test.to_owned())
    }

    /// f₀ + J ω after so many steps; the penalty pulls ω + pull · θ₀ to zero.
    fn looped(
        &self,
        method: Method,
        rates: impl Fn(u64) -> f64,
        decay: f64,
        pull: f64,
        steps: u64,
    ) -> Array2<f64> {
        let (j, n) = (self.train_jacobian(), self.n() as f64);
        let (f0, _) = self.split(&self.initial);
        let gradient = |omega: &Array2<f64>| {
            let residual = &f0 + &j.dot(omega) - &self.targets;
            j.t().dot(&residual) / n + decay * (omega + &(pull * &self.parameters))
        };
        let zero = Array2::zeros(self.parameters.dim());
        let (mut before, mut now) = (zero.clone(), zero);
        for step in 0..steps {
            let next = match method {
                Method::HeavyBall(beta) => {
                    &now + &(beta.get() * (&now - &before)) - rates(step) * gradient(&now)
                }
                Method::Nesterov(beta) => {
                    let ahead = &now + &(beta.get() * (&now - &before));
                    &ahead - &(rates(step) * gradient(&ahead))
                }
            };
            (before, now) = (now, next);
        }
        &self.initial + &self.jacobian.dot(&now)
    }
}

fn entries(rows: usize, columns: usize) -> impl Strategy<Value = Array2<f64>> {
    proptest::collection::vec(-1.0..1.0, rows * columns)
        .prop_map(move |v| Array2::from_shape_vec((rows, columns), v).unwrap())
}

/// 2–6 train points, 1–2 outputs; of full rank, or of rank 2.
fn model() -> impl Strategy<Value = Model> {
    (2usize..7, 1usize..3, prop_oneof![Just(12usize), Just(2)]).prop_flat_map(|(n, k, p)| {
        (entries(n + 2, p), entries(p, k), entries(n + 2, k), entries(n, k)).prop_map(
            |(jacobian, parameters, initial, targets)| Model { jacobian, parameters, initial, targets },
        )
    })
}

fn method() -> impl Strategy<Value = Method> {
    let beta = prop_oneof![Just(0.0), 0.0..0.95].prop_map(|beta| Momentum::new(beta).unwrap());
    (beta, any::<bool>())
        .prop_map(|(beta, ahead)| if ahead { Method::Nesterov(beta) } else { Method::HeavyBall(beta) })
}

fn far(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    assert_eq!(a.dim(), b.dim());
    a.iter().zip(b).fold(0.0, |worst: f64, (a, b)| worst.max((a - b).abs()))
}

/// A rate at a fraction of the one at which the stiffest mode with its decay does not converge.
fn stable(model: &Model, method: Method, decay: f64, fraction: f64) -> f64 {
    let rates = model.spectrum().divergence_rates(LossScale::MeanN, model.targets.dim(), method).unwrap();
    let first = rates[rates.len() - 1];
    fraction / (1.0 / first + decay / method.bound())
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn schedules_momenta_and_decay_to_the_start_are_their_loops(
        model in model(), method in method(), fraction in 0.05..0.95,
        decay in prop_oneof![Just(0.0), 0.01..1.0], steps in 0u64..60,
    ) {
        let eta = stable(&model, method, decay, fraction);
        let schedule = Schedule::warm_up(5)
            .then(&Schedule::piecewise(&[(10, 1.0), (7, 0.3)]).unwrap())
            .then(&Schedule::cosine(20, 0.1).unwrap());
        let law = ScheduledDescent::new(
            &model.spectrum(), LearningRate::new(eta).unwrap(), LossScale::MeanN, method, schedule.clone(),
            WeightDecay::new(decay).unwrap(),
        );
        let (train, test) = model.split(&model.initial);
        let run = law.fit(model.targets.view(), train.view()).unwrap();
        let at = Steps::Finite(steps);
        let expected = model.looped(method, |step| eta * schedule.factor(step), decay, 0.0, steps);
        let (on_train, on_test) = model.split(&expected);
        prop_assert!(far(&run.train(at).unwrap(), &on_train) < 1e-10);
        prop_assert!(far(&run.test(at, model.test_train().view(), test.view()).unwrap(), &on_test) < 1e-10);
    }

    #[test]
    fn decay_to_zero_is_its_loop(
        model in model(), method in method(), fraction in 0.05..0.95, decay in 0.01..1.0, steps in 0u64..60, own in any::<bool>(),
    ) {
        // With outputs that are those of the linear model at θ₀, or any others.
        let tangent = model.jacobian.dot(&model.parameters);
        let model = if own { Model { initial: tangent.clone(), ..model } } else { model };
        let eta = stable(&model, method, decay, fraction);
        let schedule = Schedule::cosine(30, 0.2).unwrap();
        let law = ScheduledDescent::new(
            &model.spectrum(), LearningRate::new(eta).unwrap(), LossScale::MeanN, method, schedule.clone(),
            WeightDecay::new(decay).unwrap(),
        );
        let ((train, test), (j_train, j_test)) = (model.split(&model.initial), model.split(&tangent));
        let run = law.fit_toward_zero(model.targets.view(), train.view(), j_train.view()).unwrap();
        let at = Steps::Finite(steps);
        let expected = model.looped(method, |step| eta * schedule.factor(step), decay, 1.0, steps);
        let (on_train, on_test) = model.split(&expected);
        prop_assert!(far(&run.train(at).unwrap(), &on_train) < 1e-10);
        let predicted = run.test(at, model.test_train().view(), test.view(), j_test.view()).unwrap();
        prop_assert!(far(&predicted, &on_test) < 1e-9);
        let loss = 0.5 * (&on_train - &model.targets).iter().map(|r| r * r).sum::<f64>() / model.n() as f64;
        prop_assert!((run.loss(at).unwrap() - loss).abs() < 1e-10);
    }

    #[test]
    fn decay_ends_at_ridge_regression(model in model(), method in method(), decay in 0.05..1.0) {
        let eta = stable(&model, method, decay, 0.5);
        let law = ScheduledDescent::new(
            &model.spectrum(), LearningRate::new(eta).unwrap(), LossScale::MeanN, method, Schedule::constant(),
            WeightDecay::new(decay).unwrap(),
        );
        let (train, test) = model.split(&model.initial);
        let ridge = Ridge::Absolute(decay * model.n() as f64);
        let k = model.test_train();
        let from_start = Posterior::new(&model.gram(), ridge, (&model.targets - &train).view()).unwrap();
        let run = law.fit(model.targets.view(), train.view()).unwrap();
        let limit = run.test(Steps::Infinite, k.view(), test.view()).unwrap();
        prop_assert!(far(&limit, &(&test + &from_start.mean(k.view()).unwrap())) < 1e-10);
        // Toward zero, a linear model forgets where it began.
        let (j_train, j_test) = model.split(&model.jacobian.dot(&model.parameters));
        let plain = Posterior::new(&model.gram(), ridge, model.targets.view()).unwrap();
        let run = law.fit_toward_zero(model.targets.view(), j_train.view(), j_train.view()).unwrap();
        let limit = run.test(Steps::Infinite, k.view(), j_test.view(), j_test.view()).unwrap();
        prop_assert!(far(&limit, &plain.mean(k.view()).unwrap()) < 1e-9);
    }

    #[test]
    fn divergence_begins_at_the_predicted_rate_of_each_mode(model in model(), method in method()) {
        let spectrum = model.spectrum();
        let rates = spectrum.divergence_rates(LossScale::Sum, model.targets.dim(), method).unwrap();
        for (&value, &first) in spectrum.eigenvalues().iter().zip(&rates) {
            prop_assert_eq!(first.is_finite(), value > 0.0);
            if value == 0.0 {
                continue;
            }
            for (fraction, converges) in [(0.95, true), (1.05, false)] {
                // A kernel with this mode alone: rounding in others would grow.
                let alone = Spectrum::new(&Gram::new(array![[value]]).unwrap(), Ridge::None).unwrap();
                let law = ScheduledDescent::new(
                    &alone, LearningRate::new(fraction * first).unwrap(), LossScale::Sum, method,
                    Schedule::constant(), WeightDecay::NONE,
                );
                let run = law.fit(array![[1.0]].view(), array![[0.0]].view()).unwrap();
                let size = |steps| (1.0 - run.train(Steps::Finite(steps)).unwrap()[[0, 0]]).abs();
                let (early, late) = (size(20) + size(21), size(320) + size(321));
                prop_assert_eq!(late < early, converges, "{} {} {}", value, early, late);
            }
        }
    }

    #[test]
    fn batches_without_noise_are_descent(model in model(), fraction in 0.1..0.9, steps in 0u64..30) {
        // The mean is that of full batches whatever the batch; the covariance falls like 1/B.
        let method = Method::HeavyBall(Momentum::NONE);
        let eta = LearningRate::new(stable(&model, method, 0.0, 0.3 * fraction)).unwrap();
        let (spectrum, (train, test)) = (model.spectrum(), model.split(&model.initial));
        let full = Descent::new(&spectrum, eta, LossScale::MeanN, Momentum::NONE)
            .fit(model.targets.view(), train.view()).unwrap();
        let moments = |batch: usize| {
            let descent = StochasticDescent::new(&spectrum, eta, LossScale::MeanN, batch).unwrap();
            let mut moments = descent.fit(model.targets.view(), train.view()).unwrap();
            moments.advance(steps).unwrap();
            moments
        };
        let (small, large) = (moments(1_000_000), moments(4_000_000));
        let at = Steps::Finite(steps);
        prop_assert!(far(&small.mean().unwrap(), &full.train(at).unwrap()) < 1e-10);
        let k = model.test_train();
        let expected = full.test(at, k.view(), test.view()).unwrap();
        prop_assert!(far(&small.test_mean(k.view(), test.view()).unwrap(), &expected) < 1e-10);
        let (a, b) = (small.covariance(0).unwrap(), large.covariance(0).unwrap());
        let size = a.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
        prop_assert!(far(&(0.25 * a), &b) <= 1e-4 * size);
    }

    #[test]
    fn the_best_time_is_on_the_curve(model in model()) {
        let (train, test) = model.split(&model.initial);
        let flow = GradientFlow::new(&model.spectrum(), LearningRate::new(1.0).unwrap(), LossScale::MeanN);
        let run = flow.fit(model.targets.view(), train.view()).unwrap();
        let (k, y) = (model.test_train(), Array2::ones(test.dim()));
        let times: Vec<Time> = (0..30).map(|i| Time::Finite(0.01 * 1.5_f64.powi(i))).chain([Time::Infinite]).collect();
        let curve = run.curve(&times, k.view(), test.view(), y.view()).unwrap();
        let best = curve.best().unwrap();
        for point in &curve.points {
            let f = run.test(point.at, k.view(), test.view()).unwrap();
            let loss = 0.5 * (&f - &y).iter().map(|r| r * r).sum::<f64>() / f.nrows() as f64;
            prop_assert!((point.test - loss).abs() < 1e-12 * (1.0 + loss));
            prop_assert!((point.train - run.loss(point.at).unwrap()).abs() < 1e-15);
            prop_assert!(best.test <= point.test);
        }
        prop_assert!(run.curve(&[], k.view(), test.view(), y.view()).unwrap().best().is_none());
    }
}

/// Four samples of one output, of rank 3, with two test points.
fn small() -> Model {
    Model {
        jacobian: array![
            [1.0, 0.2, -0.3],
            [0.1, 0.8, 0.5],
            [-0.6, 0.4, 0.9],
            [0.5, -0.7, 0.2],
            [0.3, 0.3, 0.3],
            [-1.0, 0.6, 0.1]
        ],
        parameters: Array2::zeros((3, 1)),
        initial: array![[0.3], [-0.2], [0.1], [0.5], [0.0], [0.7]],
        targets: array![[1.0], [-1.0], [0.5], [0.2]],
    }
}

/// One step of mini-batch descent on ω.
fn stochastic_step(model: &Model, omega: &Array1<f64>, eta: f64, batch: &[usize]) -> Array1<f64> {
    // Gradient of (1/B) Σ ½ r²: its mean is that of (1/N) Σ ½ r².
    let gradient = batch.iter().fold(Array1::zeros(omega.len()), |sum: Array1<f64>, &i| {
        let row = model.jacobian.row(i);
        let residual = model.initial[[i, 0]] + row.dot(omega) - model.targets[[i, 0]];
        sum + residual * &row
    });
    omega - &(eta / batch.len() as f64 * gradient)
}

#[test]
fn moments_of_batches_are_those_of_all_draws() {
    let (model, eta, steps) = (small(), 0.6, 3);
    // All 16 batches of two, three times over: 4096 sequences.
    let batches: Vec<[usize; 2]> = (0..16).map(|i| [i / 4, i % 4]).collect();
    let mut states = vec![Array1::zeros(3)];
    for _ in 0..steps {
        let next = |omega: &Array1<f64>| -> Vec<Array1<f64>> {
            batches.iter().map(|batch| stochastic_step(&model, omega, eta, batch)).collect()
        };
        states = states.iter().flat_map(next).collect();
    }
    let count = states.len() as f64;
    let outputs: Vec<Array1<f64>> =
        states.iter().map(|omega| &model.initial.column(0) + &model.jacobian.dot(omega)).collect();
    let mean = outputs.iter().fold(Array1::zeros(6), |sum, f| sum + f) / count;
    let covariance = outputs.iter().fold(Array2::zeros((6, 6)), |sum: Array2<f64>, f| {
        let column = (f - &mean).insert_axis(Axis(1));
        sum + column.dot(&column.t())
    }) / count;

    let rate = LearningRate::new(eta).unwrap();
    let descent = StochasticDescent::new(&model.spectrum(), rate, LossScale::MeanN, 2).unwrap();
    let (train, test) = model.split(&model.initial);
    let mut moments = descent.fit(model.targets.view(), train.view()).unwrap();
    moments.advance(steps).unwrap();
    assert_eq!(moments.step(), 3);
    let k = model.test_train();
    let expected = mean.insert_axis(Axis(1));
    assert!(far(&moments.mean().unwrap(), &expected.slice(s![..4, ..]).to_owned()) < 1e-13);
    assert!(
        far(&moments.test_mean(k.view(), test.view()).unwrap(), &expected.slice(s![4.., ..]).to_owned())
            < 1e-13
    );
    assert!(far(&moments.covariance(0).unwrap(), &covariance.slice(s![..4, ..4]).to_owned()) < 1e-13);
    let on_test = moments.test_covariance(0, k.view()).unwrap();
    assert!(far(&on_test, &covariance.slice(s![4.., 4..]).to_owned()) < 1e-13);
    let loss = outputs
        .iter()
        .map(|f| (0..4).map(|i| (f[i] - model.targets[[i, 0]]).powi(2)).sum::<f64>() / 8.0)
        .sum::<f64>()
        / count;
    assert!((moments.loss().unwrap() - loss).abs() < 1e-13);
}

#[test]
fn a_kernel_of_all_outputs_draws_whole_samples() {
    // Two outputs of one sample share its draws: Θ ⊗ I has the covariance of each output in its blocks.
    let model = small();
    let (n, rate) = (model.n(), LearningRate::new(0.4).unwrap());
    let theta = model.gram().view().to_owned();
    let full =
        Array2::from_shape_fn(
            (2 * n, 2 * n),
            |(i, j)| if i % 2 == j % 2 { theta[[i / 2, j / 2]] } else { 0.0 },
        );
    let full = Spectrum::new(&Gram::new(full).unwrap(), Ridge::None).unwrap();
    let y = array![[1.0, 0.0], [-1.0, 0.5], [0.5, 1.0], [0.2, -0.7]];
    let zero = Array2::zeros((n, 2));
    let run = |spectrum: &Spectrum| {
        let descent = StochasticDescent::new(spectrum, rate, LossScale::MeanN, 2).unwrap();
        let mut moments = descent.fit(y.view(), zero.view()).unwrap();
        moments.advance(7).unwrap();
        moments
    };
    let (each, all) = (run(&model.spectrum()), run(&full));
    assert!(far(&each.mean().unwrap(), &all.mean().unwrap()) < 1e-13);
    let joint = all.covariance(0).unwrap();
    for output in 0..2 {
        let block = joint.slice(s![output..;2, output..;2]).to_owned();
        assert!(far(&each.covariance(output).unwrap(), &block) < 1e-13);
    }
    assert!((each.loss().unwrap() - all.loss().unwrap()).abs() < 1e-13);
    assert!(matches!(each.covariance(2), Err(Error::Setting { .. })));
    assert!(matches!(all.covariance(1), Err(Error::Setting { .. })));
}

#[test]
fn moments_of_batches_are_those_of_many_runs() {
    let (model, eta, steps, runs) = (small(), 0.3, 25, 40_000);
    let mut state = 1u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 62) as usize
    };
    let mut samples = Array2::zeros((runs, 4));
    for mut row in samples.rows_mut() {
        let mut omega = Array1::zeros(3);
        for _ in 0..steps {
            omega = stochastic_step(&model, &omega, eta, &[draw()]);
        }
        row.assign(&(&model.initial.column(0) + &model.jacobian.dot(&omega)).slice(s![..4]));
    }
    let rate = LearningRate::new(eta).unwrap();
    let descent = StochasticDescent::new(&model.spectrum(), rate, LossScale::MeanN, 1).unwrap();
    let mut moments = descent.fit(model.targets.view(), model.split(&model.initial).0.view()).unwrap();
    moments.advance(steps).unwrap();
    let (mean, covariance) = (moments.mean().unwrap(), moments.covariance(0).unwrap());
    for i in 0..4 {
        let column = samples.column(i);
        let centered = column.mapv(|v| v - mean[[i, 0]]);
        let error = (covariance[[i, i]] / runs as f64).sqrt();
        let z = centered.mean().unwrap() / error;
        assert!(z.abs() < 4.0, "mean {i}: {z}");
        let squares = centered.mapv(|v| v * v);
        let error = (squares.var(1.0) / runs as f64).sqrt();
        let z = (squares.mean().unwrap() - covariance[[i, i]]) / error;
        assert!(z.abs() < 4.0, "variance {i}: {z}");
    }
}

#[test]
fn batches_diverge_before_the_full_batch_does() {
    let model = small();
    let (spectrum, shape) = (model.spectrum(), model.targets.dim());
    let method = Method::HeavyBall(Momentum::NONE);
    let rates = spectrum.divergence_rates(LossScale::MeanN, shape, method).unwrap();
    let first = rates[3];
    let growth = |fraction: f64, batch| {
        let rate = LearningRate::new(fraction * first).unwrap();
        let descent = StochasticDescent::new(&spectrum, rate, LossScale::MeanN, batch).unwrap();
        descent.growth(shape).unwrap()
    };
    assert!(growth(0.2, 1) < 1.0 && growth(0.95, 1) > 1.0);
    assert!(growth(0.95, 1_000_000) < 1.0 && growth(1.05, 1_000_000) > 1.0);
    // The variance grows by the factor in the long run.
    let rate = LearningRate::new(0.95 * first).unwrap();
    let descent = StochasticDescent::new(&spectrum, rate, LossScale::MeanN, 1).unwrap();
    let mut moments = descent.fit(model.targets.view(), model.split(&model.initial).0.view()).unwrap();
    moments.advance(400).unwrap();
    let before = moments.covariance(0).unwrap().diag().sum();
    moments.advance(1).unwrap();
    let ratio = moments.covariance(0).unwrap().diag().sum() / before;
    assert!((ratio / growth(0.95, 1) - 1.0).abs() < 1e-8, "{ratio}");
    assert!(matches!(moments.advance(1_000_000), Err(Error::Overflow)));
    assert!(moments.mean().is_ok());
}

#[test]
fn steps_and_flow_part_by_the_rate() {
    let model = small();
    let (train, _) = model.split(&model.initial);
    let distance = |eta: f64| {
        let steps = (8.0 / eta) as u64;
        let rate = LearningRate::new(eta).unwrap();
        let scale = LossScale::MeanN;
        let (y, f) = (model.targets.view(), train.view());
        side_by_side(&model.spectrum(), rate, scale, Momentum::NONE, y, f, &[0, steps]).unwrap()
    };
    let errors: Vec<f64> = [0.1, 0.05, 0.025, 0.0125].iter().map(|&eta| distance(eta)[1].distance).collect();
    assert!(errors.windows(2).all(|pair| (pair[0] / pair[1] - 2.0).abs() < 0.15), "{errors:?}");
    assert_eq!(distance(0.1)[0].distance, 0.0);
}

#[test]
fn small_and_empty_kernels_and_faults() {
    let one = Spectrum::new(&Gram::new(array![[2.0]]).unwrap(), Ridge::None).unwrap();
    let zero = Spectrum::new(&Gram::new(Array2::zeros((2, 2))).unwrap(), Ridge::None).unwrap();
    let (rate, nesterov) = (LearningRate::new(0.1).unwrap(), Method::Nesterov(Momentum::new(0.9).unwrap()));
    let decay = WeightDecay::new(0.5).unwrap();
    let law = |spectrum: &Spectrum| {
        ScheduledDescent::new(spectrum, rate, LossScale::Sum, nesterov, Schedule::constant(), decay)
    };
    let run = law(&one).fit(array![[1.0]].view(), array![[0.0]].view()).unwrap();
    assert_eq!(run.train(Steps::Finite(0)).unwrap(), array![[0.0]]);
    assert!((run.train(Steps::Infinite).unwrap()[[0, 0]] - 2.0 / 2.5).abs() < 1e-15);
    let (y, f) = (array![[1.0], [2.0]], array![[0.5], [0.0]]);
    for at in [Steps::Finite(7), Steps::Infinite] {
        assert_eq!(law(&zero).fit(y.view(), f.view()).unwrap().train(at).unwrap(), f);
    }
    // What no data hold decays with the parameters.
    let shrinking = law(&zero).fit_toward_zero(y.view(), f.view(), f.view()).unwrap();
    assert!(far(&shrinking.train(Steps::Infinite).unwrap(), &Array2::zeros((2, 1))) < 1e-15);
    let mut moments =
        StochasticDescent::new(&zero, rate, LossScale::Sum, 1).unwrap().fit(y.view(), f.view()).unwrap();
    moments.advance(3).unwrap();
    assert!(
        far(&moments.mean().unwrap(), &f) < 1e-15 && moments.covariance(0).unwrap().iter().all(|v| *v == 0.0)
    );
    assert_eq!(StochasticDescent::new(&zero, rate, LossScale::Sum, 1).unwrap().growth((2, 1)).unwrap(), 1.0);

    assert!(matches!(StochasticDescent::new(&one, rate, LossScale::Sum, 0), Err(Error::Setting { .. })));
    for value in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(WeightDecay::new(value), Err(Error::Setting { .. })));
    }
    let wild = LearningRate::new(10.0).unwrap();
    let law = ScheduledDescent::new(&one, wild, LossScale::Sum, nesterov, Schedule::constant(), decay);
    let run = law.fit(array![[1.0]].view(), array![[0.0]].view()).unwrap();
    assert!(matches!(run.train(Steps::Infinite), Err(Error::Unstable { .. })));
    assert!(matches!(run.train(Steps::Finite(1_000_000)), Err(Error::Overflow)));
    let outcome = law.fit_toward_zero(array![[1.0]].view(), array![[0.0]].view(), f.view());
    assert!(matches!(outcome, Err(Error::Shape { .. })));
    assert!(matches!(run.curve(&[Steps::Finite(1)], f.t(), f.view(), f.view()), Err(Error::Shape { .. })));
}
