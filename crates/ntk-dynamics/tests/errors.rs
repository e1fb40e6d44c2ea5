//! Every way to be wrong has its error: a table of bad inputs with the messages that they earn.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ndarray::{Array1, Array2, array};
use ntk_core::{Batch, KernelBlock, KernelFn, Which};
use ntk_dynamics::{
    Descent, Ensemble, Error, GradientFlow, Gram, LearningRate, LossScale, Momentum, MomentumFlow, Posterior,
    Ridge, Spectrum, Steps, Time, Trajectory, fit,
};

const NAN: f64 = f64::NAN;

fn gram() -> Gram {
    Gram::new(array![[2.0, 1.0], [1.0, 3.0]]).unwrap()
}

fn spectrum() -> Spectrum {
    Spectrum::new(&gram(), Ridge::None).unwrap()
}

fn flow() -> GradientFlow {
    GradientFlow::new(&spectrum(), LearningRate::new(0.5).unwrap(), LossScale::Sum)
}

fn run() -> Trajectory<ntk_dynamics::Flow> {
    flow().fit(Array2::ones((2, 1)).view(), Array2::zeros((2, 1)).view()).unwrap()
}

fn zeros(rows: usize, columns: usize) -> Array2<f64> {
    Array2::zeros((rows, columns))
}

fn says<T>(outcome: Result<T, Error>, expected: &str) {
    match outcome {
        Ok(_) => panic!("accepted; should say: {expected}"),
        Err(error) => assert_eq!(error.to_string(), expected),
    }
}

#[test]
fn quantities() {
    for value in [0.0, -1.0, NAN, f64::INFINITY] {
        let message = format!("a learning rate is a finite number above 0, not {value}");
        says(LearningRate::new(value), &message);
    }
    for value in [1.0, -0.1, NAN] {
        says(Momentum::new(value), &format!("a momentum lies in [0, 1), not {value}"));
    }
    for value in [-1e-3, NAN, f64::INFINITY] {
        let message = format!("a ridge is a finite number of at least 0, not {value}");
        for ridge in [Ridge::Absolute(value), Ridge::RelativeToTrace(value)] {
            says(Spectrum::new(&gram(), ridge), &message);
            says(spectrum().with_ridge(ridge), &message);
            says(Posterior::new(&gram(), ridge, zeros(2, 1).view()), &message);
        }
    }
    for value in [-1.0, NAN, f64::INFINITY] {
        let message =
            format!("a time is a finite number of at least 0, not {value}; for the limit use Time::Infinite");
        says(run().train(Time::Finite(value)), &message);
        says(run().dual(Time::Finite(value)), &message);
        says(run().loss(Time::Finite(value)), &message);
        let momentum =
            MomentumFlow::new(&spectrum(), LearningRate::new(0.1).unwrap(), LossScale::Sum, Momentum::NONE);
        let momentum = momentum.fit(zeros(2, 1).view(), zeros(2, 1).view()).unwrap();
        says(momentum.train(Time::Finite(value)), &message);
        let ensemble = Ensemble::ntk(&flow(), &gram(), zeros(2, 1).view()).unwrap();
        says(ensemble.mean(Time::Finite(value)), &message);
        says(ensemble.covariance(Time::Finite(value)), &message);
        says(ensemble.variance(Time::Finite(value)), &message);
    }
}

#[test]
fn gram_matrices() {
    says(Gram::new(zeros(2, 3)), "a symmetric matrix is square, not 2 × 3");
    says(Gram::new(zeros(0, 0)), "a matrix needs at least one row");
    says(Gram::new(array![[1.0, NAN], [0.0, 1.0]]), "entry (0, 1) = NaN is not finite");
    says(
        Gram::new(array![[1.0, 0.5], [0.0, 2.0]]),
        "entries (1, 0) and (0, 1) differ by 5e-1, more than 1e-10 of the largest entry 2e0: symmetrize the matrix if the difference is meant to be noise",
    );
    let indefinite = Gram::new(array![[1.0, 0.0], [0.0, -0.25]]).unwrap();
    let message = "a kernel matrix is positive semidefinite, but its eigenvalues reach from -2.5e-1 to 1e0: check the kernel, or add a ridge above 2.5e-1";
    says(Spectrum::new(&indefinite, Ridge::None), message);
    says(Posterior::new(&indefinite, Ridge::None, zeros(2, 1).view()), message);
    assert!(Spectrum::new(&indefinite, Ridge::Absolute(0.5)).is_ok());
}

#[test]
fn shapes_and_values_of_outputs() {
    for wrong in [zeros(3, 1), zeros(2, 0), zeros(0, 1)] {
        let (rows, columns) = wrong.dim();
        let needed = rows * columns;
        let message = format!(
            "targets of shape ({rows}, {columns}) need a Gram matrix of {rows} or {needed} rows, not 2"
        );
        says(flow().fit(wrong.view(), wrong.view()), &message);
        says(Ensemble::ntk(&flow(), &gram(), wrong.view()), &message);
        says(Ensemble::nngp(&flow(), wrong.view()), &message);
        says(Posterior::new(&gram(), Ridge::None, wrong.view()), &message);
        says(spectrum().critical_learning_rate(LossScale::Sum, wrong.dim()), &message);
        says(spectrum().maximal_learning_rate(LossScale::Sum, wrong.dim(), Momentum::NONE), &message);
    }
    says(
        flow().fit(zeros(2, 1).view(), zeros(2, 2).view()),
        "initial train outputs must have shape (2, 1), not (2, 2)",
    );
    let nan = array![[0.0], [NAN]];
    let message = "targets contains NaN at (1, 0): all entries must be finite";
    says(flow().fit(nan.view(), zeros(2, 1).view()), message);
    says(Ensemble::nngp(&flow(), nan.view()), message);
    says(Posterior::new(&gram(), Ridge::None, nan.view()), message);
    says(
        flow().fit(zeros(2, 1).view(), nan.view()),
        "initial train outputs contains NaN at (1, 0): all entries must be finite",
    );
}

#[test]
fn shapes_and_values_at_test_points() {
    let at = Time::Infinite;
    says(
        run().test(at, zeros(3, 3).view(), zeros(3, 1).view()),
        "the test-train kernel must have shape (3, 2), not (3, 3)",
    );
    says(
        run().test(at, zeros(3, 2).view(), zeros(3, 2).view()),
        "initial test outputs must have shape (3, 1), not (3, 2)",
    );
    let nan = array![[NAN, 0.0]];
    let message = "the test-train kernel contains NaN at (0, 0): all entries must be finite";
    says(run().test(at, nan.view(), zeros(1, 1).view()), message);
    let posterior = Posterior::new(&gram(), Ridge::None, zeros(2, 1).view()).unwrap();
    says(posterior.mean(nan.view()), message);
    says(posterior.mean(zeros(1, 3).view()), "the test-train kernel must have shape (1, 2), not (1, 3)");
    says(
        posterior.covariance(zeros(1, 2).view(), zeros(2, 2).view()),
        "the test-test kernel must have shape (1, 1), not (2, 2)",
    );
    says(
        posterior.variance(zeros(1, 2).view(), Array1::zeros(2).view()),
        "the diagonal of the test-test kernel must have shape (1, 1), not (2, 1)",
    );

    let ensemble = Ensemble::ntk(&flow(), &gram(), zeros(2, 1).view()).unwrap();
    let block = |nngp: Option<Array2<f64>>, ntk: Option<Array2<f64>>| KernelBlock { nngp, ntk };
    says(
        ensemble.test(&block(None, Some(zeros(1, 2)))),
        "the block has no nngp kernel: compute it with Which::Both",
    );
    says(
        ensemble.test(&block(Some(zeros(1, 2)), None)),
        "the block has no ntk kernel: compute it with Which::Both",
    );
    says(
        ensemble.test(&block(Some(zeros(1, 2)), Some(zeros(2, 2)))),
        "the NTK test-train kernel must have shape (1, 2), not (2, 2)",
    );
    says(
        ensemble.test(&block(Some(zeros(1, 3)), Some(zeros(1, 3)))),
        "the NNGP test-train kernel must have shape (1, 2), not (1, 3)",
    );
    let points = ensemble.test(&block(Some(zeros(1, 2)), Some(zeros(1, 2)))).unwrap();
    says(
        points.covariance(at, zeros(2, 1).view()),
        "the NNGP test-test kernel must have shape (1, 1), not (2, 1)",
    );
    says(
        points.variance(at, array![NAN].view()),
        "the diagonal of the NNGP test-test kernel contains NaN at (0, 0): all entries must be finite",
    );
    let three = Gram::new(Array2::eye(3)).unwrap();
    says(
        Ensemble::ntk(&flow(), &three, zeros(2, 1).view()),
        "the NNGP train kernel must have shape (2, 2), not (3, 3)",
    );
}

#[test]
fn singular_kernels() {
    // Two equal samples.
    let singular = Gram::new(array![[1.0, 1.0], [1.0, 1.0]]).unwrap();
    let outcome = Posterior::new(&singular, Ridge::None, zeros(2, 1).view());
    let message = outcome.unwrap_err().to_string();
    assert!(message.starts_with("the kernel matrix is singular: rank 1 of 2, condition number"), "{message}");
    assert!(
        message.ends_with(
            "add a ridge, or use GradientFlow at Time::Infinite, which leaves the zero modes alone"
        )
    );

    // A test point that tells them apart contradicts their kernel.
    let spectrum = Spectrum::new(&singular, Ridge::None).unwrap();
    let flow = GradientFlow::new(&spectrum, LearningRate::new(0.5).unwrap(), LossScale::Sum);
    let run = flow.fit(Array2::ones((2, 1)).view(), zeros(2, 1).view()).unwrap();
    let honest = array![[0.5, 0.5]];
    let test = run.test(Time::Infinite, honest.view(), zeros(1, 1).view()).unwrap();
    assert!((test[[0, 0]] - 0.5).abs() < 1e-14);
    let wrong = array![[0.5, 0.5], [1.0, -1.0]];
    for at in [Time::Finite(1.0), Time::Infinite] {
        let outcome = run.test(at, wrong.view(), zeros(2, 1).view());
        assert!(matches!(outcome, Err(Error::OutOfRange { row: 1, rank: 1, n: 2, .. })), "{outcome:?}");
    }
    let ensemble = Ensemble::nngp(&flow, Array2::ones((2, 1)).view()).unwrap();
    let outcome = ensemble.test(&KernelBlock { nngp: Some(wrong), ntk: None });
    assert!(matches!(outcome, Err(Error::OutOfRange { row: 1, .. })));

    // A kernel of zeros: nothing moves, and every rate is stable.
    let nothing = Spectrum::new(&Gram::new(zeros(2, 2)).unwrap(), Ridge::None).unwrap();
    assert_eq!((nothing.rank(), nothing.condition()), (0, f64::INFINITY));
    assert_eq!(nothing.critical_learning_rate(LossScale::Sum, (2, 1)).unwrap(), f64::INFINITY);
    let still = GradientFlow::new(&nothing, LearningRate::new(0.5).unwrap(), LossScale::Sum);
    let still = still.fit(Array2::ones((2, 1)).view(), zeros(2, 1).view()).unwrap();
    assert_eq!(still.train(Time::Infinite).unwrap(), zeros(2, 1));
}

#[test]
fn divergent_descent() {
    let spectrum = Spectrum::new(&Gram::new(array![[2.0, 0.0], [0.0, 1.0]]).unwrap(), Ridge::None).unwrap();
    let run = |rate: f64| {
        let rate = LearningRate::new(rate).unwrap();
        let descent = Descent::new(&spectrum, rate, LossScale::Sum, Momentum::NONE);
        descent.fit(Array2::ones((2, 1)).view(), zeros(2, 1).view()).unwrap()
    };
    says(
        run(1.0).train(Steps::Infinite),
        "descent does not converge: the learning rate 1 must be below 1, at which the stiffest mode stops to decay",
    );
    assert_eq!(run(0.5).train(Steps::Infinite).unwrap(), Array2::<f64>::ones((2, 1)));
    let message = "the outputs overflow: ask for fewer steps, or lower the learning rate";
    says(run(5.0).train(Steps::Finite(u64::MAX)), message);
    says(run(5.0).loss(Steps::Finite(200)), message);
}

#[test]
fn kernel_functions() {
    struct Broken;
    impl KernelFn for Broken {
        type Error = ntk_core::Error;
        fn block(&self, _: Batch<'_>, _: Batch<'_>, _: Which) -> Result<KernelBlock, ntk_core::Error> {
            Err(ntk_core::Error::ZeroTile)
        }
    }
    struct Linear;
    impl KernelFn for Linear {
        type Error = ntk_core::Error;
        fn block(&self, x1: Batch<'_>, x2: Batch<'_>, _: Which) -> Result<KernelBlock, ntk_core::Error> {
            let k = x1.values().dot(&x2.values().t());
            Ok(KernelBlock { nngp: Some(k.clone()), ntk: Some(2.0 * k) })
        }
    }
    let (x, y) = (Array2::<f64>::eye(2), array![[1.0], [-1.0]]);
    let rate = LearningRate::new(1.0).unwrap();
    let outcome = fit(&Broken, (&x).into(), y.view(), rate, LossScale::Sum, Ridge::None);
    let error = outcome.unwrap_err();
    assert_eq!(error.to_string(), "the kernel could not be computed");
    assert!(std::error::Error::source(&error).unwrap().to_string().starts_with("a tile needs"));
    let ensemble = fit(&Linear, (&x).into(), y.view(), rate, LossScale::Sum, Ridge::None).unwrap();
    let mean = ensemble.mean(Time::Finite(1.0)).unwrap();
    assert!((mean[[0, 0]] - (1.0 - (-2.0_f64).exp())).abs() < 1e-15);
}

#[test]
fn types_cross_threads() {
    fn send_sync<T: Send + Sync>() {}
    send_sync::<Error>();
    send_sync::<Spectrum>();
    send_sync::<Trajectory<ntk_dynamics::Flow>>();
    send_sync::<Ensemble<ntk_dynamics::HeavyBall>>();
    send_sync::<Posterior>();
}
