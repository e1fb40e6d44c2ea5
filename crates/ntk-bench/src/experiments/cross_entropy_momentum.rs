//! Lee et al. 2019: a wide classifier trained by momentum on mini-batches runs along its linearization.

use std::ops::ControlFlow;

use ndarray::Array2;
use ntk_core::{Activation, Net, Variance};
use ntk_dynamics::{Descent, Gram, LearningRate, LossScale, Momentum, Ridge, Spectrum, Steps};
use ntk_empirical::candle_core::DType;
use ntk_empirical::{Error as NetError, Loss, TrainOptions};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::common;
use crate::data::{Dataset, accuracy};
use crate::{BoxError, Claim, Context, Criterion, Experiment, Plot, Report, Side, Table, stats};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "cross_entropy_momentum",
    title: "Cross-entropy, mini-batches and momentum: the linearization keeps up",
    source: "[lee2019wide] Fig. S3",
    claim: "Trained on softmax cross-entropy by stochastic gradient descent with momentum, a wide network and its \
            linearization have the same losses and accuracies, and their outputs differ less the wider it is; on squared \
            loss, the linearization with momentum is solved exactly by its kernel.",
    formula: "supₜ |fₜ(x) − f_lin,t(x)| = O(n^(−1/2))",
    seconds: [8.0, 75.0, 7200.0],
    memory: [[0.1, 0.05], [0.4, 0.1], [1.3, 0.5]],
    run,
};

const SOURCE: &str = "[lee2019wide] Fig. S3";
const DEPTH: usize = 2;
const CLASSES: usize = 10;
const RATE: f64 = 1.0;
const MOMENTUM: f64 = 0.9;
/// On squared loss: that of Fig. S2.
const SQUARED_RATE: f64 = 0.1;

fn run(ctx: &Context<'_>) -> Result<Report, BoxError> {
    let powers = ctx.pick([(5, 10), (6, 11), (6, 12)]);
    let widths: &[usize] = &(powers.0..powers.1).map(|power| 1 << power).collect::<Vec<_>>();
    let seeds = ctx.seeds(ctx.pick([5, 6, 16]));
    let steps = ctx.pick([60, 100, 1000]);
    let (train, test) = common::images(ctx, ctx.pick([128, 256, 1024]), ctx.pick([64, 256, 512]))?;
    let net = Net::mlp(DEPTH, Activation::Relu, CLASSES, Variance::TWO, Variance::new(0.1)?);
    let task = Task { train: &train, test: &test, net: &net, steps };

    let mut report = Report::default();
    report
        .size("widths", common::list(widths))
        .size("hidden layers", DEPTH)
        .size("networks of each width", seeds.len());
    report
        .size("steps", steps)
        .size("learning rate, momentum", format!("{RATE}, {MOMENTUM}"))
        .seeds(seeds.clone());
    common::credit(&mut report, &train, &test);
    stochastic(ctx, &mut report, &task, widths, &seeds)?;
    squared(ctx, &mut report, &task, widths, &seeds)?;
    Ok(report)
}

/// Data, architecture and length of training.
struct Task<'a> {
    train: &'a Dataset,
    test: &'a Dataset,
    net: &'a Net,
    steps: usize,
}

/// What is kept of a run at each recorded step.
struct Record {
    step: usize,
    loss: f64,
    accuracies: [f64; 2],
    /// Outputs on train and test images.
    outputs: [Array2<f64>; 2],
}

/// Softmax cross-entropy on mini-batches with momentum: network against linearization.
fn stochastic(
    ctx: &Context<'_>,
    report: &mut Report,
    task: &Task<'_>,
    widths: &[usize],
    seeds: &[u64],
) -> Result<(), BoxError> {
    let record = (0..=task.steps).step_by((task.steps / 40).max(1)).collect();
    let options = TrainOptions {
        momentum: MOMENTUM,
        batch: Some(64),
        loss: Loss::CrossEntropy,
        record,
        ..TrainOptions::descent(RATE, task.steps)
    };
    // One-hot targets are distributions over the classes.
    let y = task.train.one_hot() + 1.0 / CLASSES as f64;
    let (x, elsewhere) = (task.train.inputs(), task.test.inputs());
    let bar = ctx.progress("training on cross-entropy", widths.len() * seeds.len());
    let both = |&(width, seed): &(usize, u64)| -> Result<[Vec<Record>; 2], BoxError> {
        let mut net = common::draw(ctx, task.net, x.ncols(), width, seed, DType::F32)?;
        let mut linear = net.linearize()?;
        let options = TrainOptions { seed, ..options.clone() };
        let mut records = [Vec::new(), Vec::new()];
        let mut failed = None;
        let [of_net, of_linear] = &mut records;
        net.train(&options, (&x).into(), y.view(), |step| {
            let test = step.model.outputs((&elsewhere).into());
            keep(task, of_net, &mut failed, (step.step, step.loss, step.outputs), test)
        })?;
        linear.train(&options, (&x).into(), y.view(), |step| {
            let test = step.model.outputs((&elsewhere).into());
            keep(task, of_linear, &mut failed, (step.step, step.loss, step.outputs), test)
        })?;
        bar.step();
        failed.map_or(Ok(records), |error| Err(error.into()))
    };
    let jobs: Vec<(usize, u64)> =
        widths.iter().rev().flat_map(|&n| seeds.iter().map(move |&s| (n, s))).collect();
    let pairs: Vec<[Vec<Record>; 2]> = jobs.par_iter().map(both).collect::<Result<_, _>>()?;
    let of_width =
        |n: usize| jobs.iter().zip(&pairs).filter(move |((width, _), _)| *width == n).map(|(_, pair)| pair);

    let mut table = Table::new(
        "Network against linearization, cross-entropy on mini-batches with momentum",
        ["n", "sup |f − f_lin|, rms over outputs", "standard error", "sup |loss − loss_lin| / loss₀"],
    );
    let (mut distances, mut bars) = (Vec::new(), Vec::new());
    let mut gap = f64::NAN;
    for &n in widths {
        let sups: Vec<f64> =
            of_width(n).map(|[a, b]| sup(a, b, |a, b| rms_distance(&a.outputs, &b.outputs))).collect();
        let loss_gaps = of_width(n).map(|[a, b]| sup(a, b, |a, b| (a.loss - b.loss).abs()) / a[0].loss);
        gap = loss_gaps.fold(0.0, f64::max);
        let (mean, error) = (stats::rms(&sups), stats::standard_error(&sups));
        distances.push(mean);
        bars.push([n as f64, mean - 2.0 * error, mean + 2.0 * error]);
        table = table.numbers([n as f64, mean, error, gap]);
    }
    let widest = widths[widths.len() - 1];
    report.claim(Claim::new(
        SOURCE,
        format!("largest |loss − loss_lin| over loss₀ at any recorded step, n = {widest}"),
        Criterion::AtMost(0.05),
        gap,
    ));
    let n: Vec<f64> = widths.iter().map(|&n| n as f64).collect();
    let fit = stats::power_law(&n, &distances)?;
    report.claim(common::rate(
        SOURCE,
        "exponent in n of sup |f − f_lin|, cross-entropy",
        -0.5,
        Side::Above,
        fit,
    ));
    report.table(table);
    report.plot(
        Plot::new("Largest distance of a network from its linearization", "width n", "sup |f − f_lin|")
            .log_log()
            .error_bars("cross-entropy, mini-batches, momentum", bars)
            .line("cross-entropy, mini-batches, momentum", n.iter().zip(&distances).map(|(n, d)| [*n, *d]))
            .reference("n^(−1/2)", n.iter().map(|m| [*m, distances[0] * (n[0] / m).sqrt()])),
    );
    if let Some([net, linear]) = of_width(widest).next() {
        curves(report, widest, net, linear);
    }
    Ok(())
}

/// Appends a record, or stops training at an error.
fn keep(
    task: &Task<'_>,
    records: &mut Vec<Record>,
    failed: &mut Option<NetError>,
    (step, loss, outputs): (usize, f64, &Array2<f64>),
    test: Result<Array2<f64>, NetError>,
) -> ControlFlow<()> {
    match test {
        Ok(test) => {
            let accuracies = [accuracy(outputs, &task.train.labels), accuracy(&test, &task.test.labels)];
            records.push(Record { step, loss, accuracies, outputs: [outputs.clone(), test] });
            ControlFlow::Continue(())
        }
        Err(error) => {
            *failed = Some(error);
            ControlFlow::Break(())
        }
    }
}

/// The figure: losses and accuracies of one network and its linearization.
fn curves(report: &mut Report, width: usize, net: &[Record], linear: &[Record]) {
    let series = |records: &[Record], value: fn(&Record) -> f64| {
        records.iter().map(|r| [r.step as f64, value(r)]).collect::<Vec<_>>()
    };
    let title = |what: &str| format!("{what} at n = {width}: linearization (lines) and network (markers)");
    report.plot(
        Plot::new(&title("Train loss"), "step", "cross-entropy, mean over samples and classes")
            .line("train", series(linear, |r| r.loss))
            .points("train", series(net, |r| r.loss)),
    );
    report.plot(
        Plot::new(&title("Accuracy"), "step", "share of images")
            .line("train", series(linear, |r| r.accuracies[0]))
            .points("train", series(net, |r| r.accuracies[0]))
            .line("test", series(linear, |r| r.accuracies[1]))
            .points("test", series(net, |r| r.accuracies[1])),
    );
}

/// Squared loss, all samples, momentum: the linearization against the closed form, and the network against both.
fn squared(
    ctx: &Context<'_>,
    report: &mut Report,
    task: &Task<'_>,
    widths: &[usize],
    seeds: &[u64],
) -> Result<(), BoxError> {
    // The kernel of all outputs has (10 N)² entries.
    let few = task.train.subset(ctx.pick([16, 32, 64]), ctx.seed)?;
    let (x, y) = (few.inputs(), few.one_hot());
    let record: Vec<usize> = (0..=task.steps).step_by((task.steps / 40).max(1)).collect();
    let options =
        TrainOptions { momentum: MOMENTUM, record, ..TrainOptions::descent(SQUARED_RATE, task.steps) };
    let bar = ctx.progress("training on squared loss", widths.len() * seeds.len());
    let measure = |&(width, seed): &(usize, u64)| -> Result<[f64; 2], BoxError> {
        let mut net = common::draw(ctx, task.net, x.ncols(), width, seed, DType::F64)?;
        let mut linear = net.linearize()?;
        let n = few.len() * CLASSES;
        let blocks = net.ntk_blocks((&x).into(), (&x).into())?.permuted_axes([0, 2, 1, 3]);
        let theta = blocks.as_standard_layout().into_owned().into_shape_with_order((n, n))?;
        let spectrum = Spectrum::new(&Gram::new(theta)?, Ridge::None)?;
        let descent = Descent::new(
            &spectrum,
            LearningRate::new(SQUARED_RATE)?,
            LossScale::MeanNK,
            Momentum::new(MOMENTUM)?,
        );
        let exact = descent.fit(y.view(), net.outputs((&x).into())?.view())?;
        let (mut distances, mut failed) = ([0.0_f64; 2], None);
        let [of_net, of_linear] = &mut distances;
        let mut compare = |worst: &mut f64, step: usize, outputs: &Array2<f64>| match exact
            .train(Steps::Finite(step as u64))
        {
            Ok(expected) => {
                *worst = worst.max(stats::rms((outputs - &expected).as_slice().unwrap_or(&[f64::NAN])));
                ControlFlow::Continue(())
            }
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        };
        net.train(&options, (&x).into(), y.view(), |step| compare(of_net, step.step, step.outputs))?;
        linear.train(&options, (&x).into(), y.view(), |step| compare(of_linear, step.step, step.outputs))?;
        bar.step();
        failed.map_or(Ok(distances), |error| Err(error.into()))
    };
    let mut table = Table::new(
        "Squared loss with momentum: distance from the closed form with the empirical kernel, sup over steps of the rms",
        ["n", "network", "standard error", "linearization"],
    );
    let (mut distances, mut worst) = (Vec::new(), 0.0_f64);
    for &width in widths {
        let jobs: Vec<(usize, u64)> = seeds.iter().map(|&seed| (width, seed)).collect();
        let measured: Vec<[f64; 2]> = jobs.par_iter().map(measure).collect::<Result<_, _>>()?;
        let networks: Vec<f64> = measured.iter().map(|d| d[0]).collect();
        let linear = measured.iter().fold(0.0_f64, |m, d| m.max(d[1]));
        worst = worst.max(linear);
        distances.push(stats::rms(&networks));
        table =
            table.numbers([width as f64, stats::rms(&networks), stats::standard_error(&networks), linear]);
    }
    let n: Vec<f64> = widths.iter().map(|&n| n as f64).collect();
    let fit = stats::power_law(&n, &distances)?;
    report.claim(Claim::new(
        "[lee2019wide] Section 2.2, momentum",
        "largest distance of the linearization trained with momentum from the closed form",
        Criterion::AtMost(1e-10),
        worst,
    ));
    report.claim(common::rate(
        SOURCE,
        "exponent in n of the distance of the network from the closed form, squared loss with momentum",
        -0.5,
        Side::Above,
        fit,
    ));
    report.table(table);
    Ok(())
}

/// The largest of a distance over the steps of two runs.
fn sup(a: &[Record], b: &[Record], distance: impl Fn(&Record, &Record) -> f64) -> f64 {
    a.iter().zip(b).map(|(a, b)| distance(a, b)).fold(0.0, f64::max)
}

/// The rms over samples and outputs of the difference on the test images.
fn rms_distance(a: &[Array2<f64>; 2], b: &[Array2<f64>; 2]) -> f64 {
    stats::rms((&a[1] - &b[1]).as_slice().unwrap_or(&[f64::NAN]))
}
