//! A residual convolutional network, trained by gradient descent with momentum, beside its linearization.

use std::ops::ControlFlow;

use ndarray::Array2;
use ntk_analytic::Analytic;
use ntk_core::{Activation, Batch, KernelFn, Net, Shape, Variance, Which, Window};
use ntk_dynamics::{
    Descent, Gram, HeavyBall, LearningRate, LossScale, Momentum, Ridge, Spectrum, Steps, Trajectory,
};
use ntk_empirical::TrainOptions;
use ntk_empirical::candle_core::DType;
use rayon::prelude::*;

use super::draw;
use crate::experiments::common;
use crate::{BoxError, Claim, Context, Criterion, Plot, Report, Side, Table, stats};

const SOURCE: &str = "[lee2019wide] Figs. 4 and S2";
const STEPS: usize = 200;
const MOMENTUM: f64 = 0.9;
/// As a share of the critical rate without momentum.
const RATE: f64 = 0.01;

/// Images with targets, and how networks are trained on them.
struct Task<'a> {
    net: &'a Net,
    shape: Shape,
    x: Batch<'a>,
    y: &'a Array2<f64>,
    test: Batch<'a>,
    rate: f64,
}

/// What is kept of a network and its linearization, in this order, at a recorded step.
struct Record {
    step: usize,
    losses: [f64; 2],
    /// On the test images, (n, 1).
    outputs: [Array2<f64>; 2],
}

pub(super) fn judge(ctx: &Context<'_>, report: &mut Report) -> Result<(), BoxError> {
    let widths = ctx.pick([&[8, 12, 16, 24, 40][..], &[8, 16, 32, 64, 96], &[32, 64, 128, 256, 512]]);
    let (samples, networks) = ctx.pick([(8, 6), (12, 6), (64, 4)]);
    let seeds = ctx.seeds(networks);
    let conv = || Net::conv(Window::same(&[3, 3]), Variance::ONE, Variance::ZERO);
    let relu = || Net::activation(Activation::Relu);
    let block = Net::serial([relu(), conv(), relu(), conv()]).residual();
    let readout = Net::readout(1, Variance::ONE, Variance::ZERO);
    let net = Net::serial([conv(), block, relu(), Net::global_average_pool(), readout]);
    let (train, test) = ctx.data.digits().only(&[3, 8]).split(samples, 2 * samples, ctx.seed)?;
    let (x, elsewhere) = (train.standardized(&train), test.standardized(&train));
    // 1 for one class and 0 for the other, as in one column of one-hot targets: their mean makes the early bump.
    let y = train.signs(0).mapv(|sign| 0.5 * (1.0 + sign));
    let (x, test) = (Batch::grid(x.view())?, Batch::grid(elsewhere.view())?);
    let limit = Analytic::new(net.clone())?.symmetric(x, Which::Ntk)?.ntk.ok_or("no kernel")?;
    let critical =
        Spectrum::new(&Gram::new(limit)?, Ridge::None)?.critical_learning_rate(LossScale::MeanNK, y.dim())?;
    let task = Task { net: &net, shape: x.shape()?, x, y: &y, test, rate: RATE * critical };
    report
        .size(
            "residual network",
            "two residual convolutions after the first, ReLU, σ_w² = 1, no bias, global pooling",
        )
        .size(
            "its training",
            format!("{samples} digits of two classes, {STEPS} steps, η = {:.3}, β = {MOMENTUM}", task.rate),
        )
        .size("its channels", format!("{}; {} networks of each", common::list(widths), seeds.len()))
        .seeds(seeds.clone());
    report.note(
        "Fig. 4 trains a wide residual network of 1024 channels on CIFAR-10 by mini-batches; here a smaller one is \
         trained on a few images by full batches, for which its linearization has a closed form.",
    );

    let bar = ctx.progress("residual networks", widths.len() * seeds.len());
    let jobs: Vec<(usize, u64)> =
        widths.iter().rev().flat_map(|&n| seeds.iter().map(move |&seed| (n, seed))).collect();
    let one = |&(width, seed): &(usize, u64)| {
        let records = task.run(ctx, width, seed);
        bar.step();
        records
    };
    let mut runs = jobs.par_iter().with_max_len(1).map(one).collect::<Result<Vec<_>, _>>()?;
    runs.reverse();
    let of_width: Vec<&[Vec<Record>]> = runs.chunks(seeds.len()).collect();
    let Some(widest) = of_width.last() else { return Ok(()) };

    let rms = |record: &Record| stats::rms(&record.difference());
    let mut table = Table::new(
        "Residual network against its linearization: largest RMS of f − fˡⁱⁿ over the test images, quartiles over networks",
        ["channels", "a quarter below", "median", "a quarter above"],
    );
    let (mut curve, mut bars) = (Vec::new(), Vec::new());
    for (&n, runs) in widths.iter().zip(&of_width) {
        let sups: Vec<f64> = runs.iter().map(|run| sup(run, rms)).collect();
        let [low, median, high] = [0.25, 0.5, 0.75].map(|p| stats::quantile(&sups, p));
        table = table.numbers([n as f64, low, median, high]);
        curve.push([n as f64, median]);
        bars.push([n as f64, low, high]);
    }
    let (x, y): (Vec<f64>, Vec<f64>) = curve.iter().map(|&[n, median]| (n, median)).unzip();
    let fit = stats::power_law(&x, &y)?;
    let quantity = "exponent in the channels of supₜ RMS |f − fˡⁱⁿ| on test images, median residual network";
    report.claim(common::rate(SOURCE, quantity, -0.5, Side::Above, fit));
    let anchor = y[0] * x[0].sqrt();
    let label = "residual network, median and quartiles";
    let plot = Plot::new("Residual network against its linearization", "channels n", "supₜ RMS |f − fˡⁱⁿ|")
        .log_log();
    let plot = plot.error_bars(label, bars).line(label, curve);
    report.table(table).plot(plot.reference("n^(−1/2)", x.iter().map(|n| [*n, anchor / n.sqrt()])));

    let channels = widths[widths.len() - 1];
    let largest =
        widest.iter().map(|run| sup(run, |record| largest(&record.difference()))).fold(0.0, f64::max);
    report.claim(Claim::new(
        SOURCE,
        format!("largest |f − fˡⁱⁿ| on a test image in {STEPS} steps, {channels} channels"),
        Criterion::AtMost(0.1),
        largest,
    ));
    let [own, linear] = [0, 1].map(|which| bump(widest, which));
    report.claim(Claim::new(
        SOURCE,
        format!("early bump of the mean loss, network over linearization, {channels} channels"),
        Criterion::Within { expected: 1.0, tolerance: 0.05 },
        own / linear,
    ));
    trajectories(report, &widest[0], channels);
    Ok(())
}

impl Task<'_> {
    fn run(&self, ctx: &Context<'_>, width: usize, seed: u64) -> Result<Vec<Record>, BoxError> {
        let mut network = draw(ctx, self.net, self.shape, width, seed, DType::F32)?;
        let initial = network.outputs(self.test)?;
        let (linear, cross) = self.linearization(ctx, width, seed)?;
        let record = (0..40).chain((40..STEPS).step_by(8)).collect();
        let options = TrainOptions { momentum: MOMENTUM, record, ..TrainOptions::descent(self.rate, STEPS) };
        let (mut records, mut failure) = (Vec::new(), None);
        network.train(&options, self.x, self.y.view(), |step| {
            let mut keep = || -> Result<(), BoxError> {
                let at = Steps::Finite(step.step as u64);
                let outputs =
                    [step.model.outputs(self.test)?, linear.test(at, cross.view(), initial.view())?];
                records.push(Record { step: step.step, losses: [step.loss, linear.loss(at)?], outputs });
                Ok(())
            };
            match keep() {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failure = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        failure.map_or(Ok(records), Err)
    }

    /// The closed form of the linear model around a draw, from its own kernel in double precision, and the kernel
    /// between test and training images.
    fn linearization(
        &self,
        ctx: &Context<'_>,
        width: usize,
        seed: u64,
    ) -> Result<(Trajectory<HeavyBall>, Array2<f64>), BoxError> {
        let network = draw(ctx, self.net, self.shape, width, seed, DType::F64)?;
        let train = network.symmetric(self.x, Which::Ntk)?.ntk.ok_or("no kernel")?;
        let cross = network.block(self.test, self.x, Which::Ntk)?.ntk.ok_or("no kernel")?;
        let spectrum = Spectrum::new(&Gram::new(train)?, Ridge::None)?;
        let (rate, momentum) = (LearningRate::new(self.rate)?, Momentum::new(MOMENTUM)?);
        let descent = Descent::new(&spectrum, rate, LossScale::MeanNK, momentum);
        Ok((descent.fit(self.y.view(), network.outputs(self.x)?.view())?, cross))
    }
}

impl Record {
    fn difference(&self) -> Vec<f64> {
        (&self.outputs[0] - &self.outputs[1]).into_iter().collect()
    }
}

fn sup(run: &[Record], of: impl Fn(&Record) -> f64) -> f64 {
    run.iter().map(of).fold(0.0, f64::max)
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |most, value| most.max(value.abs()))
}

/// The first local maximum after the first local minimum of the mean loss over runs; NaN if there is none.
fn bump(runs: &[Vec<Record>], which: usize) -> f64 {
    let mean = |step: usize| {
        stats::mean(&runs.iter().filter_map(|run| run.get(step)).map(|r| r.losses[which]).collect::<Vec<_>>())
    };
    let losses: Vec<f64> = (0..runs.first().map_or(0, Vec::len)).map(mean).collect();
    let dip = losses.windows(2).position(|pair| pair[1] > pair[0]).unwrap_or(losses.len());
    let after = losses.get(dip..).unwrap_or_default();
    after.windows(2).find(|pair| pair[1] < pair[0]).map_or(f64::NAN, |pair| pair[0])
}

/// Loss and a few outputs of one network (markers) and its linearization (lines).
fn trajectories(report: &mut Report, run: &[Record], channels: usize) {
    let title =
        |what: &str| format!("{what}, {channels} channels: linearization (lines) and network (markers)");
    let every = |steps: usize, of: &dyn Fn(&Record) -> f64| -> Vec<[f64; 2]> {
        run.iter().filter(|r| r.step.is_multiple_of(steps)).map(|r| [r.step as f64, of(r)]).collect()
    };
    report.plot(
        Plot::new(&title("Train loss of a residual network"), "step", "loss")
            .line("train", every(1, &|r| r.losses[1]))
            .points("train", every(4, &|r| r.losses[0])),
    );
    let mut plot = Plot::new(&title("Outputs of a residual network"), "step", "f(x)");
    for image in 0..4 {
        let label = format!("test image {image}");
        plot = plot
            .line(&label, every(1, &|r| r.outputs[1][[image, 0]]))
            .points(&label, every(4, &|r| r.outputs[0][[image, 0]]));
    }
    report.plot(plot);
}
