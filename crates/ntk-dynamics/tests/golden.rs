//! Reference predictions of neural-tangents: ends with the line `golden: A agree, U unsupported, F fail`.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ndarray::{Array2, ArrayD, Dimension};
use ntk_core::KernelBlock;
use ntk_dynamics::{
    CrossEntropy, Ensemble, Error, FunctionSpace, GradientFlow, Gram, LearningRate, LossScale, Momentum,
    MomentumFlow, Ridge, Spectrum, Time,
};
use ntk_testkit::golden::{self, Array, Tally};
use serde::Deserialize;

const CLOSED_FORM: f64 = 1e-8;
/// The reference integrates its differential equation with default tolerances.
const INTEGRATED: f64 = 1e-5;

#[derive(Deserialize)]
struct File {
    dynamics: Dynamics,
}

#[derive(Deserialize)]
struct Dynamics {
    y_train: Array,
    fx_train_0: Array,
    fx_test_0: Array,
    k_train_train: Kernels,
    k_test_train: Kernels,
    k_test_test: Kernels,
    ensemble: Vec<EnsembleCase>,
    gd_mse: Vec<RunCase>,
    gd_momentum: Vec<RunCase>,
    cross_entropy: Vec<RunCase>,
    max_learning_rate_gd: f64,
}

#[derive(Deserialize)]
struct Kernels {
    nngp: Array,
    ntk: Array,
}

#[derive(Deserialize)]
struct EnsembleCase {
    learning_rate: f64,
    diag_reg: f64,
    t: Option<f64>,
    test: Gaussians,
    train: Gaussians,
}

#[derive(Deserialize)]
struct Gaussians {
    nngp: Gaussian,
    ntk: Gaussian,
}

#[derive(Deserialize)]
struct Gaussian {
    mean: Array,
    cov: Array,
}

#[derive(Deserialize)]
struct RunCase {
    learning_rate: f64,
    momentum: Option<f64>,
    /// Of cross-entropy: the class of each sample.
    labels: Option<Vec<usize>>,
    t: Option<f64>,
    fx_train: Array,
    fx_test: Array,
}

fn time(t: Option<f64>) -> Time {
    t.map_or(Time::Infinite, Time::Finite)
}

fn shown(t: Option<f64>) -> String {
    t.map_or("∞".to_owned(), |t| t.to_string())
}

/// The error of one array, scaled by its largest entry; `zero` is the scale of an array of zeros.
fn compare<D: Dimension>(got: &ndarray::Array<f64, D>, expected: &ArrayD<f64>, zero: f64) -> f64 {
    let largest = golden::largest(expected);
    golden::error(got, expected, if largest > 1e-12 * zero { largest } else { zero })
}

fn rate(value: f64) -> Result<LearningRate, Error> {
    LearningRate::new(value)
}

/// Mean and covariance of train and test outputs, each of NNGP and NTK.
fn ensemble(d: &Dynamics, case: &EnsembleCase, kind: &str, set: &str) -> Result<f64, Error> {
    let y = d.y_train.matrix().unwrap();
    let nngp = Gram::new(d.k_train_train.nngp.matrix().unwrap())?;
    let ntk = Gram::new(d.k_train_train.ntk.matrix().unwrap())?;
    let ridge = Ridge::Absolute(case.diag_reg);
    let flow = |gram: &Gram| -> Result<GradientFlow, Error> {
        Ok(GradientFlow::new(&Spectrum::new(gram, ridge)?, rate(case.learning_rate)?, LossScale::MeanNK))
    };
    let ensemble = match kind {
        "nngp" => Ensemble::nngp(&flow(&nngp)?, y.view())?,
        _ => Ensemble::ntk(&flow(&ntk)?, &nngp, y.view())?,
    };
    let (at, k_test_test) = (time(case.t), d.k_test_test.nngp.matrix().unwrap());
    let (gaussians, mean, cov, variance) = if set == "train" {
        let (mean, cov) = (ensemble.mean(at)?, ensemble.covariance(at)?);
        (&case.train, mean, cov, ensemble.variance(at)?)
    } else {
        let block = KernelBlock { nngp: d.k_test_train.nngp.matrix(), ntk: d.k_test_train.ntk.matrix() };
        let points = ensemble.test(&block)?;
        let (mean, cov) = (points.mean(at)?, points.covariance(at, k_test_test.view())?);
        (&case.test, mean, cov, points.variance(at, k_test_test.diag())?)
    };
    let expected = if kind == "nngp" { &gaussians.nngp } else { &gaussians.ntk };
    let prior = golden::largest(&d.k_test_test.nngp.0);
    let diagonal = expected.cov.matrix().unwrap().diag().to_owned().into_dyn();
    Ok(compare(&mean, &expected.mean.0, golden::largest(&d.y_train.0))
        .max(compare(&cov, &expected.cov.0, prior))
        .max(compare(&variance, &diagonal, prior)))
}

/// Train and test outputs of one network.
fn run(d: &Dynamics, case: &RunCase) -> Result<f64, Error> {
    let matrix = |array: &Array| -> Array2<f64> { array.matrix().unwrap() };
    let (y, f0, f0_test) = (matrix(&d.y_train), matrix(&d.fx_train_0), matrix(&d.fx_test_0));
    let spectrum = Spectrum::new(&Gram::new(matrix(&d.k_train_train.ntk))?, Ridge::None)?;
    let (eta, at, k) = (rate(case.learning_rate)?, time(case.t), matrix(&d.k_test_train.ntk));
    let (train, test) = match case.momentum {
        Some(beta) => {
            let run = MomentumFlow::new(&spectrum, eta, LossScale::MeanNK, Momentum::new(beta)?)
                .fit(y.view(), f0.view())?;
            (run.train(at)?, run.test(at, k.view(), f0_test.view())?)
        }
        None => {
            let run = GradientFlow::new(&spectrum, eta, LossScale::MeanNK).fit(y.view(), f0.view())?;
            (run.train(at)?, run.test(at, k.view(), f0_test.view())?)
        }
    };
    let zero = golden::largest(&d.y_train.0);
    Ok(compare(&train, &case.fx_train.0, zero).max(compare(&test, &case.fx_test.0, zero)))
}

/// Train and test outputs of one network under softmax cross-entropy, which has no closed form.
fn cross_entropy(d: &Dynamics, case: &RunCase) -> Result<f64, Error> {
    let matrix = |array: &Array| -> Array2<f64> { array.matrix().unwrap() };
    let gram = Gram::new(matrix(&d.k_train_train.ntk))?;
    let eta = rate(case.learning_rate)?;
    let flow = FunctionSpace::flow(&gram, Ridge::None, CrossEntropy, eta, LossScale::MeanNK)?;
    let (f0, f0_test) = (matrix(&d.fx_train_0), matrix(&d.fx_test_0));
    let mut y = Array2::zeros(f0.dim());
    for (sample, &label) in case.labels.iter().flatten().enumerate() {
        y[[sample, label]] = 1.0;
    }
    let run = flow.fit(y.view(), f0.view(), &[time(case.t)])?;
    let test = run.snapshots[0].test(matrix(&d.k_test_train.ntk).view(), f0_test.view())?;
    let zero = golden::largest(&d.fx_train_0.0);
    Ok(compare(&run.snapshots[0].train, &case.fx_train.0, zero).max(compare(&test, &case.fx_test.0, zero)))
}

#[test]
fn dynamics() {
    let d = golden::read::<File>("dynamics.json").unwrap().dynamics;
    let mut tally = Tally::default();
    let mut count = |name: String, outcome: Result<f64, Error>, tolerance: f64| match outcome {
        Ok(error) => tally.case(&name, error, tolerance),
        Err(error) => tally.fail(&name, &error),
    };
    for case in &d.ensemble {
        for set in ["train", "test"] {
            for kind in ["nngp", "ntk"] {
                let name = format!("ensemble t={} reg={} {set} {kind}", shown(case.t), case.diag_reg);
                count(name, ensemble(&d, case, kind, set), CLOSED_FORM);
            }
        }
    }
    for case in &d.gd_mse {
        count(format!("gd_mse t={}", shown(case.t)), run(&d, case), CLOSED_FORM);
    }
    for case in &d.gd_momentum {
        count(format!("gd_momentum t={}", shown(case.t)), run(&d, case), INTEGRATED);
    }
    let maximal = || -> Result<f64, Error> {
        let spectrum = Spectrum::new(&Gram::new(d.k_train_train.ntk.matrix().unwrap())?, Ridge::None)?;
        let shape = d.y_train.matrix().unwrap().dim();
        let got = spectrum.maximal_learning_rate(LossScale::MeanNK, shape, Momentum::NONE)?;
        Ok((got / d.max_learning_rate_gd - 1.0).abs())
    };
    count("max_learning_rate_gd".to_owned(), maximal(), CLOSED_FORM);
    for case in &d.cross_entropy {
        count(format!("cross_entropy t={}", shown(case.t)), cross_entropy(&d, case), INTEGRATED);
    }
    tally.finish();
}
