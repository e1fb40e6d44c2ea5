//! The theorems of training in function space, each closed form against the loop or integrator that it solves.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ndarray::{Array1, Array2, Axis, concatenate, s};
use ntk_core::KernelBlock;
use ntk_dynamics::{
    Descent, Ensemble, Error, GradientFlow, Gram, LearningRate, LossScale, Momentum, MomentumFlow, Posterior,
    Ridge, Spectrum, Steps, Time,
};
use ntk_linalg::{Symmetric, eigenvalues};
use ntk_testkit::cases;
use proptest::prelude::*;

/// Kernels of one network on train and test points: J Jᵀ/p with J = [J_train; J_test], and likewise for K.
#[derive(Clone, Debug)]
struct Task {
    jacobian: Array2<f64>,
    ntk: Array2<f64>,
    nngp: Array2<f64>,
    targets: Array2<f64>,
    initial: Array2<f64>,
    train: usize,
}

impl Task {
    fn block(&self, kernel: &Array2<f64>, rows: bool, columns: bool) -> Array2<f64> {
        let pick = |test: bool, a: Array2<f64>, axis| {
            a.slice_axis(Axis(axis), if test { (self.train..).into() } else { (..self.train).into() })
                .to_owned()
        };
        pick(columns, pick(rows, kernel.clone(), 0), 1)
    }

    fn gram(&self) -> Gram {
        Gram::new(self.block(&self.ntk, false, false)).unwrap()
    }

    fn nngp_gram(&self) -> Gram {
        Gram::new(self.block(&self.nngp, false, false)).unwrap()
    }

    fn spectrum(&self) -> Spectrum {
        Spectrum::new(&self.gram(), Ridge::None).unwrap()
    }

    fn test_train(&self) -> Array2<f64> {
        self.block(&self.ntk, true, false)
    }

    fn f0(&self) -> (Array2<f64>, Array2<f64>) {
        let (train, test) = self.initial.view().split_at(Axis(0), self.train);
        (train.to_owned(), test.to_owned())
    }

    fn blocks(&self) -> KernelBlock {
        KernelBlock { nngp: Some(self.block(&self.nngp, true, false)), ntk: Some(self.test_train()) }
    }
}

fn entries(rows: usize, columns: usize) -> impl Strategy<Value = Array2<f64>> {
    proptest::collection::vec(-1.0..1.0, rows * columns)
        .prop_map(move |v| Array2::from_shape_vec((rows, columns), v).unwrap())
}

/// 2–8 train points, 1–4 test points, 1–3 outputs; kernels of full rank if `parameters` exceeds the points.
fn task_with(parameters: impl Strategy<Value = usize> + Clone + 'static) -> impl Strategy<Value = Task> {
    (2usize..9, 1usize..5, 1usize..4, parameters).prop_flat_map(|(n, m, k, p)| {
        let all = n + m;
        (entries(all, p), entries(all, p + all), entries(n, k), entries(all, k)).prop_map(
            move |(jacobian, features, targets, initial)| Task {
                ntk: jacobian.dot(&jacobian.t()),
                nngp: features.dot(&features.t()) / (p + all) as f64,
                jacobian,
                targets,
                initial,
                train: n,
            },
        )
    })
}

fn task() -> impl Strategy<Value = Task> {
    task_with(16usize..30)
}

fn rate(value: f64) -> LearningRate {
    LearningRate::new(value).unwrap()
}

fn flow(task: &Task, eta: f64) -> GradientFlow {
    GradientFlow::new(&task.spectrum(), rate(eta), LossScale::Sum)
}

/// A rate at a fraction of the largest stable one.
fn stable_rate(task: &Task, momentum: Momentum, fraction: f64) -> f64 {
    fraction * task.spectrum().maximal_learning_rate(LossScale::Sum, task.targets.dim(), momentum).unwrap()
}

fn far(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    assert_eq!(a.dim(), b.dim());
    a.iter().zip(b).fold(0.0, |worst: f64, (a, b)| worst.max((a - b).abs()))
}

fn smallest_eigenvalue(a: &Array2<f64>) -> f64 {
    eigenvalues(&Symmetric::new(a.clone()).unwrap()).unwrap()[0]
}

/// RK4 for a state of train and test outputs (and velocities).
fn integrate(
    state: Array2<f64>,
    slope: impl Fn(&Array2<f64>) -> Array2<f64>,
    t: f64,
    steps: usize,
) -> Array2<f64> {
    let h = t / steps as f64;
    (0..steps).fold(state, |y, _| {
        let k1 = slope(&y);
        let k2 = slope(&(&y + 0.5 * h * &k1));
        let k3 = slope(&(&y + 0.5 * h * &k2));
        let k4 = slope(&(&y + h * &k3));
        y + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
    })
}

/// Θ([X; x], X)(f(X) − Y) for outputs on train and test points.
fn push(task: &Task, f: &Array2<f64>) -> Array2<f64> {
    let residual = &f.slice(s![..task.train, ..]) - &task.targets;
    task.ntk.slice(s![.., ..task.train]).dot(&residual)
}

fn both(train: Array2<f64>, test: Array2<f64>) -> Array2<f64> {
    concatenate(Axis(0), &[train.view(), test.view()]).unwrap()
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn flow_solves_its_differential_equation(task in task(), t in 0.0..3.0) {
        let (train, test) = task.f0();
        let run = flow(&task, 0.2).fit(task.targets.view(), train.view()).unwrap();
        let at = Time::Finite(t);
        let closed = both(run.train(at).unwrap(), run.test(at, task.test_train().view(), test.view()).unwrap());
        let solved = integrate(task.initial.clone(), |f| -0.2 * push(&task, f), t, 2000);
        prop_assert!(far(&closed, &solved) < 1e-8, "{:e}", far(&closed, &solved));
    }

    #[test]
    fn momentum_flow_solves_its_differential_equation(task in task(), t in 0.0..12.0, beta in 0.0..0.95) {
        // f″ = −(1 − β)/√η f′ − Θ ∇L at time t √η; the state is f beside f′.
        let (eta, k) = (0.05_f64, task.targets.ncols());
        let run = MomentumFlow::new(&task.spectrum(), rate(eta), LossScale::MeanN, Momentum::new(beta).unwrap());
        let (train, test) = task.f0();
        let run = run.fit(task.targets.view(), train.view()).unwrap();
        let at = Time::Finite(t);
        let closed = both(run.train(at).unwrap(), run.test(at, task.test_train().view(), test.view()).unwrap());
        let slope = |state: &Array2<f64>| {
            let (f, v) = state.view().split_at(Axis(1), k);
            let pull = push(&task, &f.to_owned()) / task.train as f64;
            concatenate(Axis(1), &[v, ((beta - 1.0) / eta.sqrt() * &v - pull).view()]).unwrap()
        };
        let start = concatenate(Axis(1), &[task.initial.view(), Array2::zeros(task.initial.dim()).view()]).unwrap();
        let solved = integrate(start, slope, t * eta.sqrt(), 3000).slice(s![.., ..k]).to_owned();
        prop_assert!(far(&closed, &solved) < 1e-8, "{:e}", far(&closed, &solved));
    }

    #[test]
    fn descent_is_its_loop(task in task(), steps in 0u64..60, beta in prop_oneof![Just(0.0), 0.0..0.95], fraction in 0.05..0.99) {
        let momentum = Momentum::new(beta).unwrap();
        let eta = stable_rate(&task, momentum, fraction);
        let (mut before, mut now) = (task.initial.clone(), task.initial.clone());
        for _ in 0..steps {
            let next = &now + &(beta * (&now - &before)) - eta * push(&task, &now);
            (before, now) = (now, next);
        }
        let (train, test) = task.f0();
        let run = Descent::new(&task.spectrum(), rate(eta), LossScale::Sum, momentum)
            .fit(task.targets.view(), train.view()).unwrap();
        let at = Steps::Finite(steps);
        let closed = both(run.train(at).unwrap(), run.test(at, task.test_train().view(), test.view()).unwrap());
        prop_assert!(far(&closed, &now) < 1e-9, "{:e}", far(&closed, &now));
    }

    #[test]
    fn descent_without_convergence_is_its_loop_too(task in task(), steps in 0u64..20, excess in 1.0..1.5) {
        let eta = stable_rate(&task, Momentum::NONE, excess);
        let mut now = task.f0().0;
        for _ in 0..steps {
            now = &now - eta * task.gram().view().dot(&(&now - &task.targets));
        }
        let descent = Descent::new(&task.spectrum(), rate(eta), LossScale::Sum, Momentum::NONE);
        let run = descent.fit(task.targets.view(), task.f0().0.view()).unwrap();
        let scale = now.iter().fold(1.0, |a: f64, v| a.max(v.abs()));
        prop_assert!(far(&run.train(Steps::Finite(steps)).unwrap(), &now) < 1e-9 * scale);
        let refused = matches!(run.train(Steps::Infinite), Err(Error::Unstable { .. }));
        prop_assert!(refused);
    }

    #[test]
    fn flow_is_the_limit_of_small_steps(task in task(), t in 0.5..3.0) {
        // Halving the step halves the error: the fitted exponent over three halvings is 1.
        let exact = flow(&task, 1.0).fit(task.targets.view(), task.f0().0.view()).unwrap().train(Time::Finite(t)).unwrap();
        let first = 64.0 * (1.0 + t / stable_rate(&task, Momentum::NONE, 0.1)).round();
        let errors: Vec<f64> = [1.0, 2.0, 4.0, 8.0].iter().map(|halvings| {
            let steps = first * halvings;
            let descent = Descent::new(&task.spectrum(), rate(t / steps), LossScale::Sum, Momentum::NONE);
            let run = descent.fit(task.targets.view(), task.f0().0.view()).unwrap();
            far(&run.train(Steps::Finite(steps as u64)).unwrap(), &exact)
        }).collect();
        let exponent = (errors[0] / errors[3]).log2() / 3.0;
        prop_assert!((exponent - 1.0).abs() < 0.05, "{errors:?}");
    }

    #[test]
    fn flow_is_a_semigroup(task in task(), t1 in 0.0..5.0, t2 in 0.0..5.0) {
        let (flow, y, k) = (flow(&task, 0.3), task.targets.view(), task.test_train());
        let (train, test) = task.f0();
        let run = flow.fit(y, train.view()).unwrap();
        let (one, two, both) = (Time::Finite(t1), Time::Finite(t2), Time::Finite(t1 + t2));
        let halfway = run.test(one, k.view(), test.view()).unwrap();
        let resumed = flow.fit(y, run.train(one).unwrap().view()).unwrap();
        prop_assert!(far(&resumed.train(two).unwrap(), &run.train(both).unwrap()) < 1e-10);
        let test_resumed = resumed.test(two, k.view(), halfway.view()).unwrap();
        prop_assert!(far(&test_resumed, &run.test(both, k.view(), test.view()).unwrap()) < 1e-10);
    }

    #[test]
    fn flow_starts_at_the_network_and_ends_at_the_targets(task in task()) {
        let (train, test) = task.f0();
        let run = flow(&task, 0.3).fit(task.targets.view(), train.view()).unwrap();
        prop_assert!(far(&run.train(Time::Finite(0.0)).unwrap(), &train) < 1e-12);
        prop_assert!(far(&run.test(Time::Finite(0.0), task.test_train().view(), test.view()).unwrap(), &test) < 1e-12);
        prop_assert!(far(&run.train(Time::Infinite).unwrap(), &task.targets) < 1e-12);
    }

    #[test]
    fn parameters_move_by_the_jacobian_transposed(task in task(), t in 0.0..20.0) {
        // f₀ + J ω = f_t with ω = Jᵀ a, on train and test points.
        let (train, test) = task.f0();
        let run = flow(&task, 0.3).fit(task.targets.view(), train.view()).unwrap();
        let at = Time::Finite(t);
        let jacobian_train = task.jacobian.slice(s![..task.train, ..]);
        let moved = jacobian_train.t().dot(&run.dual(at).unwrap());
        let outputs = both(run.train(at).unwrap(), run.test(at, task.test_train().view(), test.view()).unwrap());
        prop_assert!(far(&(&task.initial + &task.jacobian.dot(&moved)), &outputs) < 1e-10);
    }

    #[test]
    fn descent_of_a_linear_model_in_its_weights_is_exact(task in task(), steps in 0u64..40, fraction in 0.05..0.99) {
        // ω ← ω − η Jᵀ(f − Y) with f = f₀ + J ω.
        let eta = stable_rate(&task, Momentum::NONE, fraction);
        let j = task.jacobian.slice(s![..task.train, ..]);
        let (train, test) = task.f0();
        let mut omega = Array2::zeros((j.ncols(), task.targets.ncols()));
        for _ in 0..steps {
            let residual = &train + &j.dot(&omega) - &task.targets;
            omega = omega - eta * j.t().dot(&residual);
        }
        let run = Descent::new(&task.spectrum(), rate(eta), LossScale::Sum, Momentum::NONE)
            .fit(task.targets.view(), train.view()).unwrap();
        let at = Steps::Finite(steps);
        let closed = both(run.train(at).unwrap(), run.test(at, task.test_train().view(), test.view()).unwrap());
        prop_assert!(far(&closed, &(&task.initial + &task.jacobian.dot(&omega))) < 1e-11);
        prop_assert!(far(&j.t().dot(&run.dual(at).unwrap()), &omega) < 1e-11);
    }

    #[test]
    fn loss_never_increases(task in task(), fraction in 0.05..1.0) {
        let flow = flow(&task, 0.2).fit(task.targets.view(), task.f0().0.view()).unwrap();
        let eta = stable_rate(&task, Momentum::NONE, fraction);
        let descent = Descent::new(&task.spectrum(), rate(eta), LossScale::Sum, Momentum::NONE)
            .fit(task.targets.view(), task.f0().0.view()).unwrap();
        let (mut last_flow, mut last_descent) = (f64::INFINITY, f64::INFINITY);
        for step in 0..30 {
            let (f, d) = (flow.loss(Time::Finite(0.3 * step as f64)).unwrap(), descent.loss(Steps::Finite(step)).unwrap());
            prop_assert!(f <= last_flow && d <= last_descent * (1.0 + 1e-14));
            (last_flow, last_descent) = (f, d);
        }
        let residual = &task.targets - &descent.train(Steps::Finite(7)).unwrap();
        let norm = (residual.iter().map(|r| r * r).sum::<f64>()).sqrt();
        prop_assert!((norm - (2.0 * descent.loss(Steps::Finite(7)).unwrap()).sqrt()).abs() < 1e-13);
    }

    #[test]
    fn critical_rate_contracts_by_the_condition_number(task in task()) {
        let spectrum = task.spectrum();
        let critical = spectrum.critical_learning_rate(LossScale::Sum, task.targets.dim()).unwrap();
        // The residual along the slowest mode, which decays by exactly (κ − 1)/(κ + 1) a step.
        let kappa = spectrum.condition();
        let slowest = spectrum.eigenvectors().slice(s![.., ..1]).to_owned();
        let descent = Descent::new(&spectrum, rate(critical), LossScale::Sum, Momentum::NONE);
        let run = descent.fit(slowest.view(), Array2::zeros(slowest.dim()).view()).unwrap();
        let factor = (kappa - 1.0) / (kappa + 1.0);
        let left = &slowest - &run.train(Steps::Finite(5)).unwrap();
        prop_assert!(far(&left, &(factor.powi(5) * &slowest)) < 1e-10);
    }

    #[test]
    fn stability_ends_at_the_maximal_rate(task in task(), beta in 0.0..0.95) {
        let momentum = Momentum::new(beta).unwrap();
        for (fraction, stable) in [(0.99, true), (1.01, false)] {
            let eta = stable_rate(&task, momentum, fraction);
            let run = Descent::new(&task.spectrum(), rate(eta), LossScale::Sum, momentum)
                .fit(task.targets.view(), task.f0().0.view()).unwrap();
            prop_assert_eq!(run.train(Steps::Infinite).is_ok(), stable);
        }
    }

    #[test]
    fn loss_scales_are_rates(task in task(), t in 0.0..10.0) {
        let (n, k) = task.targets.dim();
        let run = |eta: f64, scale| {
            let flow = GradientFlow::new(&task.spectrum(), rate(eta), scale);
            flow.fit(task.targets.view(), task.f0().0.view()).unwrap().train(Time::Finite(t)).unwrap()
        };
        let sum = run(0.3, LossScale::Sum);
        prop_assert!(far(&sum, &run(0.3 * n as f64, LossScale::MeanN)) < 1e-12);
        prop_assert!(far(&sum, &run(0.3 * (n * k) as f64, LossScale::MeanNK)) < 1e-12);
    }

    #[test]
    fn rate_times_time_is_what_counts(task in task(), t in 0.0..10.0, c in 0.1..10.0) {
        let run = |eta: f64, t: f64| {
            flow(&task, eta).fit(task.targets.view(), task.f0().0.view()).unwrap().train(Time::Finite(t)).unwrap()
        };
        prop_assert!(far(&run(0.2, t), &run(0.2 * c, t / c)) < 1e-12);
    }

    #[test]
    fn kernel_of_all_outputs_gives_the_same_as_one_for_each(task in task(), t in 0.0..5.0) {
        // Θ ⊗ I as a full (N k) × (N k) matrix.
        let (n, k) = task.targets.dim();
        let full = |a: Array2<f64>| {
            let (rows, columns) = (a.nrows() * k, a.ncols() * k);
            Array2::from_shape_fn((rows, columns), |(i, j)| if i % k == j % k { a[[i / k, j / k]] } else { 0.0 })
        };
        let (train, test) = task.f0();
        let spectrum = Spectrum::new(&Gram::new(full(task.gram().view().to_owned())).unwrap(), Ridge::None).unwrap();
        let at = Time::Finite(t);
        for scale in [LossScale::Sum, LossScale::MeanN, LossScale::MeanNK] {
            let each = GradientFlow::new(&task.spectrum(), rate(0.3), scale).fit(task.targets.view(), train.view()).unwrap();
            let all = GradientFlow::new(&spectrum, rate(0.3), scale).fit(task.targets.view(), train.view()).unwrap();
            prop_assert_eq!(all.train(at).unwrap().dim(), (n, k));
            prop_assert!(far(&all.train(at).unwrap(), &each.train(at).unwrap()) < 1e-11);
            let test_all = all.test(at, full(task.test_train()).view(), test.view()).unwrap();
            prop_assert!(far(&test_all, &each.test(at, task.test_train().view(), test.view()).unwrap()) < 1e-11);
            prop_assert!(far(&all.dual(at).unwrap(), &each.dual(at).unwrap()) < 1e-11);
        }
    }

    #[test]
    fn singular_kernels_leave_zero_modes_alone(task in task_with(Just(1usize)), t in 0.0..50.0) {
        // One parameter: the kernel has rank 1, and the truth is a scalar ω with f = f₀ + J ω.
        let (train, test) = task.f0();
        let spectrum = task.spectrum();
        prop_assert_eq!(spectrum.rank(), 1);
        prop_assert!(spectrum.condition() > 1e12);
        let run = flow(&task, 0.3).fit(task.targets.view(), train.view()).unwrap();
        let j = task.jacobian.slice(s![..task.train, ..]).to_owned();
        let square = j.iter().map(|v| v * v).sum::<f64>();
        let full = j.t().dot(&(&task.targets - &train)) / square;
        for (at, learned) in [(Time::Finite(t), -(-0.3 * square * t).exp_m1()), (Time::Infinite, 1.0)] {
            let expected = &task.initial + &task.jacobian.dot(&(learned * &full));
            let got = both(run.train(at).unwrap(), run.test(at, task.test_train().view(), test.view()).unwrap());
            prop_assert!(far(&got, &expected) < 1e-10);
        }
        let singular = matches!(
            Posterior::new(&task.gram(), Ridge::None, task.targets.view()),
            Err(Error::Singular { rank: 1, n, condition }) if n == task.train && condition > 1e12
        );
        prop_assert!(singular);
    }

    #[test]
    fn ensemble_is_the_average_of_its_networks(task in task(), t in 0.0..20.0) {
        // Each network is f₀ + C (Y − f₀), so that mean and covariance follow from trajectories of unit vectors.
        let ensemble = Ensemble::ntk(&flow(&task, 0.3), &task.nngp_gram(), task.targets.view()).unwrap();
        let (n, m) = (task.train, task.ntk.nrows() - task.train);
        for at in [Time::Finite(t), Time::Infinite] {
            // Columns: what a unit of f₀ at each point becomes, with targets of zero.
            let unit = Array2::eye(n + m);
            let run = flow(&task, 0.3)
                .fit(Array2::zeros((n, n + m)).view(), unit.slice(s![..n, ..]).view()).unwrap();
            let test = run.test(at, task.test_train().view(), unit.slice(s![n.., ..]).view()).unwrap();
            let map = both(run.train(at).unwrap(), test);
            let expected = map.dot(&task.nngp).dot(&map.t());
            let points = ensemble.test(&task.blocks()).unwrap();
            let k_test_test = task.block(&task.nngp, true, true);
            let cov = points.covariance(at, k_test_test.view()).unwrap();
            prop_assert!(far(&cov, &expected.slice(s![n.., n..]).to_owned()) < 1e-10);
            prop_assert!(far(&ensemble.covariance(at).unwrap(), &expected.slice(s![..n, ..n]).to_owned()) < 1e-10);
            prop_assert!(smallest_eigenvalue(&cov) > -1e-10);
            let column = |v: Array1<f64>| v.insert_axis(Axis(1));
            let diag = |a: &Array2<f64>| a.diag().to_owned().insert_axis(Axis(1));
            prop_assert!(far(&column(points.variance(at, k_test_test.diag()).unwrap()), &diag(&cov)) < 1e-12);
            prop_assert!(far(&column(ensemble.variance(at).unwrap()), &diag(&ensemble.covariance(at).unwrap())) < 1e-12);

            let run = flow(&task, 0.3).fit(task.targets.view(), Array2::zeros(task.targets.dim()).view()).unwrap();
            let zero = Array2::zeros((m, task.targets.ncols()));
            prop_assert!(far(&points.mean(at).unwrap(), &run.test(at, task.test_train().view(), zero.view()).unwrap()) < 1e-12);
            prop_assert!(far(&ensemble.mean(at).unwrap(), &run.train(at).unwrap()) < 1e-12);
        }
    }

    #[test]
    fn ensemble_starts_at_the_prior_and_forgets_it_on_train_points(task in task()) {
        let ensemble = Ensemble::ntk(&flow(&task, 0.3), &task.nngp_gram(), task.targets.view()).unwrap();
        let prior = task.block(&task.nngp, true, true);
        let start = ensemble.test(&task.blocks()).unwrap().covariance(Time::Finite(0.0), prior.view()).unwrap();
        prop_assert!(far(&start, &prior) < 1e-12);
        let end = ensemble.covariance(Time::Infinite).unwrap();
        prop_assert!(far(&end, &Array2::zeros(end.dim())) < 1e-12);
    }

    #[test]
    fn trained_ensemble_is_at_least_as_wide_as_the_posterior(task in task()) {
        let prior = task.block(&task.nngp, true, true);
        let k = task.blocks().nngp.unwrap();
        let posterior = Posterior::new(&task.nngp_gram(), Ridge::None, task.targets.view()).unwrap();
        let bayes = posterior.covariance(k.view(), prior.view()).unwrap();
        let ensemble = Ensemble::ntk(&flow(&task, 0.3), &task.nngp_gram(), task.targets.view()).unwrap();
        let wide = ensemble.test(&task.blocks()).unwrap().covariance(Time::Infinite, prior.view()).unwrap();
        prop_assert!(smallest_eigenvalue(&(&wide - &bayes)) > -1e-10);
    }

    #[test]
    fn trained_readout_is_the_posterior(task in task(), ridge in prop_oneof![Just(0.0), 1e-3..1.0]) {
        let (gram, ridge) = (task.nngp_gram(), Ridge::Absolute(ridge));
        let flow = GradientFlow::new(&Spectrum::new(&gram, ridge).unwrap(), rate(0.3), LossScale::Sum);
        let readout = Ensemble::nngp(&flow, task.targets.view()).unwrap();
        let points = readout.test(&task.blocks()).unwrap();
        let posterior = Posterior::new(&gram, ridge, task.targets.view()).unwrap();
        let (k, prior) = (task.blocks().nngp.unwrap(), task.block(&task.nngp, true, true));
        prop_assert!(far(&points.mean(Time::Infinite).unwrap(), &posterior.mean(k.view()).unwrap()) < 1e-10);
        let cov = posterior.covariance(k.view(), prior.view()).unwrap();
        prop_assert!(far(&points.covariance(Time::Infinite, prior.view()).unwrap(), &cov) < 1e-10);
        let variance = posterior.variance(k.view(), prior.diag()).unwrap();
        prop_assert!(variance.iter().zip(cov.diag()).all(|(a, b)| (a - b).abs() < 1e-12));
    }

    #[test]
    fn readout_formula_is_the_general_one_with_equal_kernels(task in task(), t in 0.0..20.0) {
        let gram = task.nngp_gram();
        let flow = GradientFlow::new(&Spectrum::new(&gram, Ridge::None).unwrap(), rate(0.3), LossScale::Sum);
        let k = task.blocks().nngp;
        let blocks = KernelBlock { nngp: k.clone(), ntk: k };
        let (short, long) = (
            Ensemble::nngp(&flow, task.targets.view()).unwrap(),
            Ensemble::ntk(&flow, &gram, task.targets.view()).unwrap(),
        );
        let (at, prior) = (Time::Finite(t), task.block(&task.nngp, true, true));
        prop_assert!(far(&short.covariance(at).unwrap(), &long.covariance(at).unwrap()) < 1e-11);
        let cov = |e: &Ensemble<_>| e.test(&blocks).unwrap().covariance(at, prior.view()).unwrap();
        prop_assert!(far(&cov(&short), &cov(&long)) < 1e-11);
    }

    #[test]
    fn ridge_is_an_equal_shift_of_the_spectrum(task in task(), ridge in 1e-3..1.0) {
        let plain = task.spectrum();
        let trace: f64 = plain.eigenvalues().sum();
        let shifted = plain.with_ridge(Ridge::RelativeToTrace(ridge)).unwrap();
        let direct = Spectrum::new(&task.gram(), Ridge::Absolute(ridge * trace / task.train as f64)).unwrap();
        for ((a, b), c) in shifted.eigenvalues().iter().zip(direct.eigenvalues()).zip(plain.eigenvalues()) {
            prop_assert!((a - b).abs() < 1e-12 * trace && (a - c - ridge * trace / task.train as f64).abs() < 1e-12 * trace);
        }
    }
}
