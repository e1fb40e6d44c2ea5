//! Lee et al. 2019: a wide network trains as its first-order Taylor expansion does, in outputs and in weights.

use std::ops::ControlFlow;

use ndarray::{Array2, ArrayView2};
use ntk_analytic::Analytic;
use ntk_core::{Activation, KernelFn, Net, Variance, Which};
use ntk_dynamics::{
    Descent, Gram, HeavyBall, LearningRate, LossScale, Momentum, Ridge, Spectrum, Steps, Trajectory,
};
use ntk_empirical::candle_core::DType;
use ntk_empirical::{FiniteNet, Parameters, TrainOptions};
use rayon::prelude::*;

use super::common;
use crate::{BoxError, Claim, Context, Criterion, Experiment, Plot, Report, Side, Table, stats};

/// Networks against their linearizations.
pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "linearization",
    title: "Wide networks train as their linearization does",
    source: "[lee2019wide] Theorem 2.1, Fig. 3",
    claim: "Outputs and weights of a wide network follow those of its linearization through all of training, at least \
            as closely as one over the root of the width; with the analytic kernel for the empirical one, the \
            difference is that of the kernels at the start.",
    formula: "supₜ |fₜ(x) − fₜˡⁱⁿ(x)| = O(n^(−1/2))",
    seconds: [6.0, 55.0, 36000.0],
    // At full size the weights of 29 steps of the panel, of the network and of its linearization, all kept: 147 MB each.
    memory: [[0.1, 0.05], [0.5, 0.1], [9.5, 2.2]],
    run,
};

const SOURCE: &str = "[lee2019wide] Theorem 2.1";
const FIGURE: &str = "[lee2019wide] Fig. 3";

/// A training task and how it is run.
struct Task {
    x: Array2<f64>,
    y: Array2<f64>,
    test: Array2<f64>,
    /// Θ(x, x) and Θ(test, x) of the infinite network.
    limit: [Array2<f64>; 2],
    rate: f64,
    /// Steps at which the models are compared.
    record: Vec<usize>,
}

/// One network along its training, beside the closed forms.
struct Run {
    /// Outputs on the test points, by recorded step: network, linearization, linear model with the analytic kernel.
    outputs: Vec<[Array2<f64>; 3]>,
    /// Train loss by recorded step: network, linearization.
    losses: Vec<[f64; 2]>,
    /// Parameters by recorded step less those at the start: network, linearization.
    moved: Vec<[Parameters; 2]>,
}

impl Task {
    fn new(
        net: &Net,
        (x, y, test): (Array2<f64>, Array2<f64>, Array2<f64>),
        steps: usize,
    ) -> Result<Self, BoxError> {
        let kernel = Analytic::new(net.clone())?;
        let train = kernel.symmetric((&x).into(), Which::Ntk)?.ntk.ok_or("no kernel")?;
        let cross = kernel.block((&test).into(), (&x).into(), Which::Ntk)?.ntk.ok_or("no kernel")?;
        let spectrum = Spectrum::new(&Gram::new(train.clone())?, Ridge::None)?;
        // Narrow networks have kernels with far larger eigenvalues than the limit.
        let rate = 0.25 * spectrum.critical_learning_rate(LossScale::MeanNK, y.dim())?;
        let record = std::iter::once(0).chain(ladder(steps)).collect();
        Ok(Task { x, y, test, limit: [train, cross], rate, record })
    }

    /// Descent in the eigensystem of a train kernel, from the initial outputs of a network.
    fn closed_form(
        &self,
        train: &Array2<f64>,
        initial: ArrayView2<'_, f64>,
    ) -> Result<Trajectory<HeavyBall>, BoxError> {
        let spectrum = Spectrum::new(&Gram::new(train.clone())?, Ridge::None)?;
        let descent =
            Descent::new(&spectrum, LearningRate::new(self.rate)?, LossScale::MeanNK, Momentum::NONE);
        Ok(descent.fit(self.y.view(), initial)?)
    }

    fn options(&self) -> TrainOptions {
        let steps = self.record.last().copied().unwrap_or(0);
        TrainOptions { record: self.record.clone(), ..TrainOptions::descent(self.rate, steps) }
    }

    /// Trains a network. Weights are kept at all recorded steps, or at the last alone.
    fn run(&self, mut network: FiniteNet, all_weights: bool) -> Result<Run, BoxError> {
        let (x, test) = ((&self.x).into(), (&self.test).into());
        let (start, initial) = (network.try_clone()?, network.parameters()?);
        let f = [network.outputs(x)?, network.outputs(test)?];
        let train = network.symmetric(x, Which::Ntk)?.ntk.ok_or("no kernel")?;
        let cross = network.block(test, x, Which::Ntk)?.ntk.ok_or("no kernel")?;
        let linear = self.closed_form(&train, f[0].view())?;
        let analytic = self.closed_form(&self.limit[0], f[0].view())?;

        let mut run = Run { outputs: Vec::new(), losses: Vec::new(), moved: Vec::new() };
        let options = self.options();
        let mut failure = None;
        network.train(&options, x, self.y.view(), |step| {
            let mut record = || -> Result<(), BoxError> {
                let at = Steps::Finite(step.step as u64);
                run.outputs.push([
                    step.model.outputs(test)?,
                    linear.test(at, cross.view(), f[1].view())?,
                    analytic.test(at, self.limit[1].view(), f[1].view())?,
                ]);
                run.losses.push([step.loss, linear.loss(at)?]);
                if all_weights || step.step == options.steps {
                    let own = step.model.parameters()?.plus(-1.0, &initial)?;
                    run.moved.push([own, start.vjp(x, linear.dual(at)?.view())?]);
                }
                Ok(())
            };
            match record() {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failure = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        failure.map_or(Ok(run), Err)
    }
}

impl Run {
    /// RMS over test points of the network less a closed form (1: empirical, 2: analytic kernel), by recorded step.
    fn errors(&self, which: usize) -> Vec<f64> {
        let rms = |f: &[Array2<f64>; 3]| stats::rms(&(&f[0] - &f[which]).into_iter().collect::<Vec<_>>());
        self.outputs.iter().map(rms).collect()
    }

    fn worst(&self, which: usize) -> f64 {
        self.errors(which).into_iter().fold(0.0, f64::max)
    }

    /// ‖ωₜ − ωₜˡⁱⁿ‖ / ‖ωₜ‖ at the last step.
    fn weight_error(&self) -> Result<f64, BoxError> {
        let [network, linear] = self.moved.last().ok_or("no weights were kept")?;
        Ok(network.plus(-1.0, linear)?.norm()? / network.norm()?)
    }
}

fn run(ctx: &Context<'_>) -> Result<Report, BoxError> {
    let mut report = Report::default();
    panel(ctx, &mut report)?;
    sweep(ctx, &mut report)?;
    Ok(report)
}

/// One network of five hidden layers, looked at closely.
fn panel(ctx: &Context<'_>, report: &mut Report) -> Result<(), BoxError> {
    let width = ctx.pick([128, 512, 2048]);
    let (samples, steps) = ctx.pick([(24, 256), (64, 1024), (256, 16384)]);
    let (train, test) = common::pair(ctx, [3, 8], samples, 64)?;
    common::credit(report, &train, &test);
    report
        .size("panel", format!("5 hidden ReLU layers of width {width}, σ_w² = 2, σ_b² = 0.1, {steps} steps"));
    report.seeds(ctx.seeds(1));
    let net = Net::mlp(5, Activation::Relu, 1, Variance::TWO, Variance::new(0.1)?);
    let task = Task::new(&net, (train.inputs(), train.signs(0), test.inputs()), steps)?;
    let run = task.run(common::draw(ctx, &net, task.x.ncols(), width, ctx.seed, DType::F64)?, true)?;

    let at = |values: &[f64]| -> Vec<[f64; 2]> {
        task.record.iter().zip(values).map(|(&step, &value)| [step as f64, value]).collect()
    };
    let mut outputs = Plot::new("Outputs at three test points", "step t", "f(x)").log_x();
    for point in 0..3 {
        let curve = |which: usize| at(&run.outputs.iter().map(|f| f[which][[point, 0]]).collect::<Vec<_>>());
        outputs =
            outputs.line(&format!("network, x{}", point + 1), curve(0)).reference("linearization", curve(1));
    }
    let mut weights = Plot::new("The weight of a layer that moves most", "step t", "ωₜ").log_x();
    let names = net_weights(&run.moved[0][0]);
    for (layer, name) in
        names.iter().enumerate().filter(|(layer, _)| layer % 2 == 0 || layer + 1 == names.len())
    {
        let [own, linear]: [Vec<Array2<f64>>; 2] =
            [0, 1].map(|which| run.moved.iter().filter_map(|moved| moved[which].array(name).ok()).collect());
        let Some(last) = own.last() else { continue };
        let most =
            last.indexed_iter().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs())).map_or((0, 0), |(i, _)| i);
        let curve = |moved: &[Array2<f64>]| at(&moved.iter().map(|moved| moved[most]).collect::<Vec<_>>());
        weights = weights.line(&format!("network, layer {}", layer + 1), curve(&own));
        weights = weights.reference("linearization", curve(&linear));
    }
    let losses = |which: usize| at(&run.losses.iter().map(|loss| loss[which]).collect::<Vec<_>>());
    let loss = Plot::new("Train loss", "step t", "½ mean (f − y)²").log_log();
    let error =
        Plot::new("Difference to the network on the test points", "step t", "RMS |f − fˡⁱⁿ|").log_log();
    report.plot(outputs).plot(weights);
    report.plot(loss.line("network", losses(0)).reference("linearization", losses(1)));
    report
        .plot(error.line("empirical kernel", at(&run.errors(1))).line("analytic kernel", at(&run.errors(2))));
    let ratio = stats::rms(&run.errors(1)) / stats::rms(&run.errors(2));
    let quantity =
        format!("RMS |f − fˡⁱⁿ| with the empirical over that with the analytic kernel, width {width}");
    report.claim(Claim::new(FIGURE, quantity, Criterion::AtMost(1.0), ratio));

    // The closed form is no approximation: the linear model trained step by step says the same.
    let small = common::draw(ctx, &net, task.x.ncols(), 64, ctx.seed, DType::F64)?;
    let f = small.outputs((&task.x).into())?;
    let train = small.symmetric((&task.x).into(), Which::Ntk)?.ntk.ok_or("no kernel")?;
    let closed = task.closed_form(&train, f.view())?;
    let mut linear = small.linearize()?;
    let options = TrainOptions { steps: steps.min(256), ..task.options() };
    let trained = linear.train(&options, (&task.x).into(), task.y.view(), |_| ControlFlow::Continue(()))?;
    let expected = closed.train(Steps::Finite(options.steps as u64))?;
    let worst = (&trained.outputs - &expected).iter().fold(0.0_f64, |worst, d| worst.max(d.abs()));
    let quantity = "closed form against the linear model trained by Jacobian–vector products: largest |Δf|";
    report.claim(Claim::new(FIGURE, quantity, Criterion::AtMost(1e-8), worst));
    Ok(())
}

/// Networks of growing width.
fn sweep(ctx: &Context<'_>, report: &mut Report) -> Result<(), BoxError> {
    let (samples, steps, counts) = ctx.pick([(12, 256, [12, 8]), (16, 1024, [16, 8]), (32, 4096, [32, 16])]);
    let shallow = ctx.pick([
        &[64, 96, 128, 192, 256, 384, 512][..],
        &[64, 128, 256, 512, 1024, 2048],
        &[64, 128, 256, 512, 1024, 2048, 4096, 8192],
    ]);
    let deep = ctx.pick([
        &[48, 64, 96, 128, 192, 256][..],
        &[32, 64, 128, 256, 512],
        &[32, 64, 128, 256, 512, 1024, 2048, 4096],
    ]);
    report.size(
        "sweep",
        format!("{samples} training images, {steps} steps at a quarter of the critical learning rate"),
    );
    report.seeds(ctx.seeds(counts[0]));
    report.note(
        "Theorem 2.1 bounds the rates from above; smooth activations do better in the outputs. The derivative of ReLU \
         jumps and about n^(−1/2) of the units switch, so that its Jacobian, and with it the weights, are off by \
         n^(−1/4).",
    );
    let (train, test) = common::pair(ctx, [3, 8], samples, 64)?;
    let mut plot =
        Plot::new("Largest difference to the network through training", "width n", "supₜ RMS |f − fˡⁱⁿ|")
            .log_log();
    let mut weights =
        Plot::new("Difference of the weights at the end", "width n", "‖ω − ωˡⁱⁿ‖ / ‖ω‖").log_log();
    for (name, depth, phi, widths, count, weight_rate) in [
        ("1 hidden ReLU", 1, Activation::Relu, shallow, counts[0], -0.25),
        ("3 hidden tanh", 3, Activation::Tanh, deep, counts[1], -0.5),
    ] {
        let widths_of = format!("{count} networks of each of the widths {}", common::list(widths));
        report.size(name, format!("σ_w² = 2, σ_b² = 0.1, {widths_of}"));
        let net = Net::mlp(depth, phi, 1, Variance::TWO, Variance::new(0.1)?);
        let task = Task::new(&net, (train.inputs(), train.signs(0), test.inputs()), steps)?;
        let bar = ctx.progress(name, widths.len() * count);
        let one = |&(width, seed): &(usize, u64)| -> Result<[f64; 3], BoxError> {
            let run = task.run(common::draw(ctx, &net, task.x.ncols(), width, seed, DType::F64)?, false)?;
            bar.step();
            Ok([run.worst(1), run.worst(2), run.weight_error()?])
        };
        let jobs: Vec<(usize, u64)> = widths
            .iter()
            .rev() // The widest first, so that no core waits for it at the end.
            .flat_map(|&n| ctx.seeds(count).into_iter().map(move |seed| (n, seed)))
            .collect();
        let mut results = jobs.par_iter().with_max_len(1).map(one).collect::<Result<Vec<_>, _>>()?;
        results.reverse();

        let mut table = Table::new(
            &format!("{name}: RMS over networks ± standard error"),
            ["width", "empirical kernel", "analytic kernel", "weights"],
        );
        let mut curves: [Vec<[f64; 2]>; 3] = Default::default();
        for (&n, results) in widths.iter().zip(results.chunks(count)) {
            let column = |i: usize| results.iter().map(|r| r[i]).collect::<Vec<_>>();
            let mut row = vec![n.to_string()];
            for (i, curve) in curves.iter_mut().enumerate() {
                curve.push([n as f64, stats::rms(&column(i))]);
                row.push(format!("{:.4} ± {:.4}", stats::rms(&column(i)), stats::standard_error(&column(i))));
            }
            table = table.row(row);
        }
        report.table(table);
        let fit = |curve: &[[f64; 2]]| {
            let (x, y): (Vec<f64>, Vec<f64>) = curve.iter().map(|&[x, y]| (x, y)).unzip();
            stats::power_law(&x, &y)
        };
        let claims = [
            ("of supₜ RMS |f − fˡⁱⁿ| on test points", -0.5, Side::Above),
            ("of the same with the analytic kernel", -0.5, Side::Both),
            ("of ‖ω − ωˡⁱⁿ‖ / ‖ω‖", weight_rate, Side::Above),
        ];
        for (curve, (what, expected, side)) in curves.iter().zip(claims) {
            report.claim(common::rate(
                SOURCE,
                &format!("exponent in n {what}, {name}"),
                expected,
                side,
                fit(curve)?,
            ));
        }
        let [empirical, analytic, moved] = curves;
        plot = plot.line(&format!("{name}, empirical kernel"), empirical);
        plot = plot.line(&format!("{name}, analytic kernel"), analytic);
        weights = weights.line(name, moved);
    }
    let ends = [deep[0] as f64, shallow[shallow.len() - 1] as f64];
    report.plot(plot.reference("n^(−1/2)", ends.map(|n| [n, n.powf(-0.5)])));
    report.plot(weights.reference("3 n^(−1/2)", ends.map(|n| [n, 3.0 * n.powf(-0.5)])));
    Ok(())
}

/// 1, 2, 3, 4, 6, 8, 12, 16, … up to the last.
fn ladder(last: usize) -> impl Iterator<Item = usize> {
    let halves = (1..usize::BITS).flat_map(|i| [2 << (i - 1), 3 << (i - 1)]);
    std::iter::once(1).chain(halves).take_while(move |&step| step < last).chain([last])
}

/// Names of the weights in the order of the layers.
fn net_weights(parameters: &Parameters) -> Vec<String> {
    let mut names: Vec<&str> = parameters.names().filter(|name| name.ends_with(".weight")).collect();
    names.sort_by_key(|name| name.split('.').next().and_then(|place| place.parse::<usize>().ok()));
    names.into_iter().map(str::to_owned).collect()
}
