//! `ntk predict`: what infinitely many infinitely wide networks say after training.

mod kernels;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Instant;

use clap::{Args, ValueEnum};
use ndarray::{Array1, Array2, ArrayView2};
use ntk_dynamics::{Ensemble, GradientFlow, Gram, LearningRate, LossScale, Posterior, Ridge, Spectrum, Time};
use serde_json::json;

use self::kernels::Kernels;
use super::wrote;
use crate::error::Error;
use crate::files::{Named, Output, Source};
use crate::network::Limit;
use crate::provenance;
use crate::report::Report;
use crate::samples::Reading;

/// Predictions with error bars: mean and variance of infinitely wide networks after training under squared loss.
///
/// Reads a network with its samples, or kernels that `ntk kernel` wrote. Writes mean (M, k) and variance (M), the same for
/// every output; with --covariance, covariance (M, M).
#[derive(Args)]
#[command(after_help = "Examples:
  ntk predict --net net.json --train x.npy --targets y.npy --test t.npy -o p.npz
  ntk predict --net net.json --train x.npy --targets y.npy --test t.npy --kind posterior --ridge 0.01 -o p.csv
  ntk predict --train-kernel k.npz --test-train-kernel kt.npz --test-kernel kd.npz --targets y.npy --time 100 --rate 0.1 -o p.npz")]
pub(crate) struct Predict {
    /// The network, a JSON file.
    #[arg(long, value_name = "FILE", requires_all = ["train", "test"], required_unless_present = "train_kernel")]
    net: Option<PathBuf>,
    /// Train samples.
    #[arg(long, value_name = "FILE", requires = "net")]
    train: Option<String>,
    /// Test samples.
    #[arg(long, value_name = "FILE", requires = "net")]
    test: Option<String>,
    /// Instead of a network: nngp and ntk of the train samples, an .npz file.
    #[arg(long, value_name = "FILE", requires = "test_train_kernel", conflicts_with = "net")]
    train_kernel: Option<PathBuf>,
    /// nngp and ntk between test (rows) and train samples (columns), an .npz file.
    #[arg(long, value_name = "FILE", requires = "train_kernel")]
    test_train_kernel: Option<PathBuf>,
    /// nngp of the test samples, whole or its diagonal, an .npz file; without it there are no variances.
    #[arg(long, value_name = "FILE", requires = "train_kernel")]
    test_kernel: Option<PathBuf>,
    /// Targets of the train samples, (N, k) or (N).
    #[arg(long, value_name = "FILE")]
    targets: String,
    /// Targets of the test samples, to tell the error.
    #[arg(long, value_name = "FILE")]
    test_targets: Option<String>,
    /// What is trained.
    #[arg(long, value_enum, default_value_t = Kind::Ntk)]
    kind: Kind,
    /// Time of gradient flow, about the number of steps of descent; inf, the end, unless given.
    #[arg(long, allow_negative_numbers = true, value_name = "T")]
    time: Option<At>,
    /// Learning rate; 1 unless given.
    #[arg(long, allow_negative_numbers = true, value_name = "ETA")]
    rate: Option<f64>,
    /// What the loss ½ Σ (f − y)² is divided by: nothing, the N samples, or the N k targets.
    #[arg(long, value_enum, default_value_t = Scale::MeanNk)]
    loss_scale: Scale,
    /// Added to the diagonal of the train kernel; the variance of the noise in the targets of a posterior.
    #[arg(long, allow_negative_numbers = true, value_name = "RHO", conflicts_with = "relative_ridge")]
    ridge: Option<f64>,
    /// The same as a multiple of the mean of the diagonal.
    #[arg(long, allow_negative_numbers = true, value_name = "RHO")]
    relative_ridge: Option<f64>,
    /// Covariances between the test samples in place of variances.
    #[arg(long)]
    covariance: bool,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    limit: Limit,
    #[command(flatten)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Kind {
    /// All layers, by gradient flow: the kernel is the NTK.
    Ntk,
    /// The readout alone, by gradient flow: the kernel is the NNGP.
    Nngp,
    /// None: the Bayesian posterior given the targets, of the NNGP as a prior.
    Posterior,
}

/// What the squared loss is divided by.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub(crate) enum Scale {
    Sum,
    MeanN,
    MeanNk,
}

impl From<Scale> for LossScale {
    fn from(scale: Scale) -> Self {
        match scale {
            Scale::Sum => LossScale::Sum,
            Scale::MeanN => LossScale::MeanN,
            Scale::MeanNk => LossScale::MeanNK,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct At(Time);

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let time = match text {
            "inf" | "infinity" => Time::Infinite,
            _ => Time::Finite(text.parse().map_err(|_| format!("a time is a number or inf, not {text:?}"))?),
        };
        time.value().map_err(|error| error.to_string())?;
        Ok(At(time))
    }
}

impl Predict {
    pub(crate) fn run(&self, quiet: bool) -> Result<Report, Error> {
        let ridge = self.checked_ridge()?;
        let rate = LearningRate::new(self.rate.unwrap_or(1.0)).map_err(Error::refused("--rate"))?;
        if self.kind == Kind::Posterior && (self.time.is_some() || self.rate.is_some()) {
            return Err(Error::input("--kind posterior", "nothing is trained: leave out --time and --rate"));
        }
        let At(time) = self.time.unwrap_or(At(Time::Infinite));
        let targets = numbers(&self.targets)?;
        let test_targets = self.test_targets.as_deref().map(numbers).transpose()?;
        self.output.check(&[&[1], &[1]])?;

        let began = Instant::now();
        let kernels = match (&self.net, &self.train_kernel) {
            (Some(net), _) => self.kernels_of_network(net, &targets, test_targets.as_ref(), quiet)?,
            (None, Some(train)) => self.kernels_of_files(train, &targets, test_targets.as_ref())?,
            // The parser asks for one of them.
            (None, None) => return Err(Error::input("predict", "give --net or --train-kernel")),
        };
        let Prediction { mean, variance, covariance } =
            self.predict(&kernels, targets.view(), ridge, rate, time).map_err(Error::failed)?;
        let mut arrays = vec![Named::new("mean", &mean)];
        arrays.extend(variance.as_ref().map(|variance| Named::new("variance", variance)));
        arrays.extend(covariance.as_ref().map(|covariance| Named::new("covariance", covariance)));
        let provenance = provenance::of(json!({
            "kind": match self.kind {
                Kind::Ntk => "mean and variance of networks trained whole",
                Kind::Nngp => "mean and variance of networks trained in the readout",
                Kind::Posterior => "posterior of the NNGP",
            },
            "kernels": kernels.about,
            "targets": { "file": self.targets, "shape": targets.shape() },
            "time": match time { Time::Finite(t) => json!(t), Time::Infinite => json!("inf") },
            "rate": rate.get(),
            "loss_scale": format!("{:?}", self.loss_scale),
            "ridge": format!("{ridge:?}"),
            "precision": self.limit.precision.name(),
            "seed": null,
        }));
        self.output.write(&arrays, &provenance)?;
        let mut report = wrote(&self.output, &arrays, began.elapsed().as_secs_f64(), provenance);
        if let Some(truth) = test_targets {
            errors(&mut report, &mean, &truth);
        }
        Ok(report)
    }

    fn checked_ridge(&self) -> Result<Ridge, Error> {
        let ridge = match (self.ridge, self.relative_ridge) {
            (Some(value), _) => Ridge::Absolute(value),
            (None, Some(value)) => Ridge::RelativeToTrace(value),
            (None, None) => Ridge::None,
        };
        ridge.absolute(1.0, 1).map_err(Error::refused("--ridge"))?;
        Ok(ridge)
    }

    fn predict(
        &self,
        kernels: &Kernels,
        targets: ArrayView2<'_, f64>,
        ridge: Ridge,
        rate: LearningRate,
        time: Time,
    ) -> Result<Prediction, ntk_dynamics::Error> {
        let Kernels { train, test_train, variances, covariances, .. } = kernels;
        let missing = |which| ntk_dynamics::Error::MissingKernel { which };
        let gram =
            |kernel: &Option<Array2<f64>>, which| Gram::new(kernel.clone().ok_or_else(|| missing(which))?);
        let nngp = gram(&train.nngp, "nngp")?;
        if self.kind == Kind::Posterior {
            let posterior = Posterior::new(&nngp, ridge, targets)?;
            let cross = test_train.nngp.as_ref().ok_or_else(|| missing("nngp"))?.view();
            return Ok(Prediction {
                mean: posterior.mean(cross)?,
                variance: variances.as_ref().map(|k| posterior.variance(cross, k.view())).transpose()?,
                covariance: covariances
                    .as_ref()
                    .map(|k| posterior.covariance(cross, k.view()))
                    .transpose()?,
            });
        }
        let trained = if self.kind == Kind::Ntk { &gram(&train.ntk, "ntk")? } else { &nngp };
        let flow = GradientFlow::new(&Spectrum::new(trained, ridge)?, rate, self.loss_scale.into());
        let ensemble = match self.kind {
            Kind::Ntk => Ensemble::ntk(&flow, &nngp, targets)?,
            _ => Ensemble::nngp(&flow, targets)?,
        };
        let test = ensemble.test(test_train)?;
        Ok(Prediction {
            mean: test.mean(time)?,
            variance: variances.as_ref().map(|k| test.variance(time, k.view())).transpose()?,
            covariance: covariances.as_ref().map(|k| test.covariance(time, k.view())).transpose()?,
        })
    }
}

struct Prediction {
    mean: Array2<f64>,
    variance: Option<Array1<f64>>,
    covariance: Option<Array2<f64>>,
}

/// A matrix of finite numbers.
pub(crate) fn numbers(file: &str) -> Result<Array2<f64>, Error> {
    let matrix = Source::new(file).matrix()?;
    match matrix.indexed_iter().find(|(_, value)| !value.is_finite()) {
        Some(((row, column), value)) => {
            Err(Error::input(file, format!("{value} in row {row}, column {column} is not finite")))
        }
        None if matrix.is_empty() => Err(Error::input(file, "there are no numbers in it")),
        None => Ok(matrix),
    }
}

/// Adds root mean square error and, for several outputs, the share of right classes.
fn errors(report: &mut Report, mean: &Array2<f64>, truth: &Array2<f64>) {
    let square = (mean - truth).mapv(|e| e * e).sum();
    let rmse = (square / mean.len() as f64).sqrt();
    report.answer = format!("test error {rmse:.6} (root mean square)");
    report.json["test_rmse"] = json!(rmse);
    if mean.ncols() > 1 {
        let largest = |row: ndarray::ArrayView1<'_, f64>| {
            let better = |best: usize, k: usize| if row[k] > row[best] { k } else { best };
            (0..row.len()).fold(0, better)
        };
        let right =
            mean.rows().into_iter().zip(truth.rows()).filter(|(m, y)| largest(*m) == largest(*y)).count();
        let accuracy = right as f64 / mean.nrows() as f64;
        report.answer += &format!(", accuracy {accuracy:.4}");
        report.json["test_accuracy"] = json!(accuracy);
    }
}
