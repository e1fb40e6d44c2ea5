//! `ntk train-compare`: a finite network trained beside its linearization.

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use ndarray::{Array1, Array2};
use ntk_core::Batch;
use ntk_dynamics::{LearningRate, Momentum};
use ntk_empirical::{Reduction, Step, TrainOptions};
use serde_json::{Map, Value, json};

use super::predict::{Scale, numbers};
use super::wrote;
use crate::draw::Draw;
use crate::error::Error;
use crate::files::{Named, OptionalOutput};
use crate::network::Network;
use crate::report::Report;
use crate::samples::{Reading, Samples};
use crate::{progress, provenance};

/// Trains a finite network beside its linearization, and tells how far they are apart: whether the NTK describes it.
///
/// Both begin at the same weights and make the same full-batch steps on the squared loss. Prints, step by step, both losses
/// and the root mean square distance of their outputs on the train samples, and on test samples where there are some.
#[derive(Args)]
#[command(after_help = "Examples:
  ntk train-compare --net net.json --x x.npy --targets y.npy --width 1024 --rate 0.5 --steps 200
  ntk train-compare --net net.json --x x.csv --targets y.csv --test t.csv --rate 0.1 --steps 1000 --record 51 -o run.csv")]
pub(crate) struct TrainCompare {
    /// The network, a JSON file.
    #[arg(long, value_name = "FILE")]
    net: PathBuf,
    /// Train samples.
    #[arg(long, value_name = "FILE")]
    x: String,
    /// Their targets, (N, k) or (N).
    #[arg(long, value_name = "FILE")]
    targets: String,
    /// Test samples.
    #[arg(long, value_name = "FILE")]
    test: Option<String>,
    /// Learning rate.
    #[arg(long, allow_negative_numbers = true, value_name = "ETA")]
    rate: f64,
    /// Number of steps.
    #[arg(long, value_name = "N")]
    steps: usize,
    /// Momentum of the heavy ball.
    #[arg(long, allow_negative_numbers = true, value_name = "BETA", default_value_t = 0.0)]
    momentum: f64,
    /// What the loss ½ Σ (f − y)² is divided by: nothing, the N samples, or the N k targets.
    #[arg(long, value_enum, default_value_t = Scale::MeanNk)]
    loss_scale: Scale,
    /// How many steps are told, the first and the last among them.
    #[arg(long, value_name = "N", default_value_t = 11, value_parser = clap::value_parser!(u32).range(2..))]
    record: u32,
    #[command(flatten)]
    draw: Draw,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    output: OptionalOutput,
}

impl From<Scale> for Reduction {
    fn from(scale: Scale) -> Self {
        match scale {
            Scale::Sum => Reduction::Sum,
            Scale::MeanN => Reduction::MeanN,
            Scale::MeanNk => Reduction::MeanNK,
        }
    }
}

/// A model at a recorded step.
struct Moment {
    step: usize,
    loss: f64,
    outputs: Array2<f64>,
    test: Option<Array2<f64>>,
}

impl TrainCompare {
    pub(crate) fn run(&self, quiet: bool) -> Result<Report, Error> {
        LearningRate::new(self.rate).map_err(Error::refused("--rate"))?;
        Momentum::new(self.momentum).map_err(Error::refused("--momentum"))?;
        let network = Network::read(&self.net)?;
        let x = self.reading.read(&self.x)?;
        x.check_for(&network.net)?;
        let test = self.test.as_deref().map(|test| self.reading.read(test)).transpose()?;
        if let Some(test) = &test {
            x.check_beside(test)?;
        }
        let targets = numbers(&self.targets)?;
        let inputs = x.batch()?.shape().map_err(Error::refused(&x.source))?;
        let mut net = self.draw.lower(&network, &inputs)?;
        if targets.dim() != (x.len(), net.output_width()) {
            let expected = (x.len(), net.output_width());
            let reason = format!(
                "targets of these samples and this network have shape {expected:?}, not {:?}",
                targets.dim()
            );
            return Err(Error::input(&self.targets, reason));
        }
        let output = self.output.get();
        let columns = 4 + usize::from(test.is_some());
        if let Some(output) = &output {
            output.check(&vec![&[1][..]; columns])?;
        }

        let began = Instant::now();
        let options = TrainOptions {
            momentum: self.momentum,
            reduction: self.loss_scale.into(),
            record: self.recorded(),
            ..TrainOptions::descent(self.rate, self.steps)
        };
        let start = net.parameters().map_err(Error::failed)?;
        let mut linear = net.linearize().map_err(Error::failed)?;
        let bar = progress::bar("recorded steps", 2 * options.record.len() as u64, quiet);
        let mut moments = [Vec::new(), Vec::new()];
        let [of_net, of_linear] = &mut moments;
        let mut watch = Watch { test: test.as_ref(), bar: bar.clone(), failed: None };
        let done = net.train(&options, x.batch()?, targets.view(), |step| {
            watch.see(step, |net, x| net.outputs(x), of_net)
        });
        watch.check(done)?;
        let done = linear.train(&options, x.batch()?, targets.view(), |step| {
            watch.see(step, |linear, x| linear.outputs(x), of_linear)
        });
        watch.check(done)?;
        bar.finish_and_clear();
        let end = net.parameters().map_err(Error::failed)?;
        let moved = end.plus(-1.0, &start).and_then(|change| Ok(change.norm()? / start.norm()?));
        let moved = moved.map_err(Error::failed)?;

        let table = table(&moments);
        let mut report = self.summary(&table, moved);
        if let Some(output) = output {
            let arrays: Vec<Named<'_>> =
                table.iter().map(|(name, column)| Named::new(*name, column)).collect();
            let provenance = provenance::of(json!({
                "kind": "training of a finite network beside its linearization",
                "network": network.json(),
                "width": self.draw.width,
                "seed": self.draw.seed,
                "precision": self.draw.precision.name(),
                "device": self.draw.device,
                "rate": self.rate,
                "steps": self.steps,
                "momentum": self.momentum,
                "loss_scale": format!("{:?}", self.loss_scale),
                "x": { "file": self.x, "shape": x.shape() },
                "targets": { "file": self.targets, "shape": targets.shape() },
                "test": test.as_ref().map(|test| json!({ "file": test.source, "shape": test.shape() })),
            }));
            output.write(&arrays, &provenance)?;
            let files = wrote(&output, &arrays, began.elapsed().as_secs_f64(), provenance);
            report.note = files.note;
            report.json["files"] = files.json;
        }
        Ok(report)
    }

    /// Steps at equal distances, the first and the last among them.
    fn recorded(&self) -> Vec<usize> {
        let last = self.record as usize - 1;
        let mut steps: Vec<usize> =
            (0..=last).map(|k| (self.steps as u128 * k as u128 / last as u128) as usize).collect();
        steps.dedup();
        steps
    }

    fn summary(&self, table: &[(&'static str, Array1<f64>)], moved: f64) -> Report {
        let mut answer = String::new();
        for (name, _) in table {
            // Writing to a string cannot fail.
            let _infallible = write!(answer, "{name:>16}");
        }
        for row in 0..table[0].1.len() {
            answer.push('\n');
            for (name, column) in table {
                let _infallible = match *name {
                    "step" => write!(answer, "{:>16}", column[row]),
                    _ => write!(answer, "{:>16.6e}", column[row]),
                };
            }
        }
        let _infallible = write!(answer, "\nweights moved by {moved:.3e} of their norm");
        let columns: Map<String, Value> =
            table.iter().map(|(name, column)| ((*name).to_owned(), json!(column.to_vec()))).collect();
        Report { answer, note: String::new(), json: json!({ "table": columns, "weights_moved": moved }) }
    }
}

/// What happens at recorded steps.
struct Watch<'a> {
    test: Option<&'a Samples>,
    bar: indicatif::ProgressBar,
    failed: Option<Error>,
}

impl Watch<'_> {
    fn see<M>(
        &mut self,
        step: &Step<'_, M>,
        outputs: impl Fn(&M, Batch<'_>) -> Result<Array2<f64>, ntk_empirical::Error>,
        moments: &mut Vec<Moment>,
    ) -> ControlFlow<()> {
        self.bar.inc(1);
        let ask = |test: &Samples| outputs(step.model, test.batch()?).map_err(Error::failed);
        match self.test.map(ask).transpose() {
            Ok(test) => {
                moments.push(Moment {
                    step: step.step,
                    loss: step.loss,
                    outputs: step.outputs.clone(),
                    test,
                });
                ControlFlow::Continue(())
            }
            Err(error) => {
                self.failed = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    fn check<T>(&mut self, done: Result<T, ntk_empirical::Error>) -> Result<(), Error> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        done.map(drop).map_err(Error::failed)
    }
}

/// Columns by name; steps that both models saw.
fn table([net, linear]: &[Vec<Moment>; 2]) -> Vec<(&'static str, Array1<f64>)> {
    let distance = |a: &Array2<f64>, b: &Array2<f64>| ((a - b).mapv(|d| d * d).sum() / a.len() as f64).sqrt();
    let both = || net.iter().zip(linear);
    let mut table = vec![
        ("step", net.iter().map(|moment| moment.step as f64).collect()),
        ("loss", net.iter().map(|moment| moment.loss).collect()),
        ("linearized_loss", linear.iter().map(|moment| moment.loss).collect()),
        ("distance", both().map(|(a, b)| distance(&a.outputs, &b.outputs)).collect()),
    ];
    let test: Vec<f64> =
        both().filter_map(|(a, b)| Some(distance(a.test.as_ref()?, b.test.as_ref()?))).collect();
    if !test.is_empty() {
        table.push(("test_distance", test.into()));
    }
    table
}
