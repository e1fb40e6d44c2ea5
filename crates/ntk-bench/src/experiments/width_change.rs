//! Lee et al. 2019: the wider a network, the less training changes its weights, its kernels and its Jacobian.

use std::ops::ControlFlow;

use ndarray::Array2;
use ntk_core::{Activation, KernelFn, Net, Variance, Which};
use ntk_empirical::candle_core::DType;
use ntk_empirical::{FiniteNet, TrainOptions};
use rayon::prelude::*;

use super::common;
use crate::{BoxError, Context, Experiment, Plot, Report, Side, Table, stats};

/// Changes through training against width.
pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "width_change",
    title: "Training moves wide networks little",
    source: "[lee2019wide] Figs. 1 and S6",
    claim: "Relative changes through training fall with the width n: of the first and last weights as n^(−1/2), of \
            those between as 1/n, of both kernels at least as n^(−1/2); all parameters together move a distance that \
            does not depend on n, and the Jacobian by n^(−1/2) times that distance.",
    formula: "‖θ_T − θ₀‖ = O(1), ‖Θ̂_T − Θ̂₀‖ / ‖Θ̂₀‖ = O(n^(−1/2)), ‖J_T − J₀‖ / ‖θ_T − θ₀‖ = O(n^(−1/2))",
    seconds: [8.0, 40.0, 2e6],
    memory: [[0.1, 0.05], [0.4, 0.1], [0.5, 2.4]],
    run,
};

const SOURCE: &str = "[lee2019wide] Fig. 1";

/// Samples whose Jacobian is formed, one product for each of their outputs.
const PROBES: usize = 8;

/// An architecture with the rates that the theory gives for it.
struct Subject {
    name: &'static str,
    depth: usize,
    phi: Activation,
    source: &'static str,
    /// Whether φ′ is Lipschitz, so that the Jacobian is; ReLU is outside.
    smooth: bool,
    /// σ_w².
    weight: f64,
    widths: &'static [usize],
}

/// What training changed in one network.
struct Change {
    /// ‖W_T − W₀‖ / ‖W₀‖ of each layer.
    weights: Vec<f64>,
    /// ‖θ_T − θ₀‖ in NTK parameterization.
    distance: f64,
    /// ‖θ_T − θ₀‖ / ‖θ₀‖.
    relative: f64,
    /// ‖K_T − K₀‖ / ‖K₀‖.
    nngp: f64,
    /// ‖J_T − J₀‖ / ‖θ_T − θ₀‖.
    jacobian: f64,
    /// ‖Θ̂ₜ − Θ̂₀‖ / ‖Θ̂₀‖ at recorded steps; the last is that of Fig. 1.
    ntk: Vec<f64>,
}

/// Training data and the number of steps.
struct Task {
    x: Array2<f64>,
    y: Array2<f64>,
    record: Vec<usize>,
}

impl Task {
    fn train(&self, mut network: FiniteNet) -> Result<Change, BoxError> {
        let x = (&self.x).into();
        let (start, initial) = (network.try_clone()?, network.parameters()?);
        let theta = network.ntk_blocks(x, x)?;
        let nngp = network.symmetric(x, Which::Nngp)?.nngp.ok_or("no kernel")?;
        let steps = self.record.last().copied().unwrap_or(0);
        let options = TrainOptions { record: self.record.clone(), ..TrainOptions::descent(1.0, steps) };
        let mut ntk = Vec::new();
        network.train(&options, x, self.y.view(), |step| {
            let change = step.model.ntk_blocks(x, x).map(|now| norm(&(now - &theta)) / norm(&theta));
            ntk.push(change.unwrap_or(f64::NAN));
            ControlFlow::Continue(())
        })?;
        let moved = network.parameters()?.plus(-1.0, &initial)?;
        let mut names = network.parameter_names();
        names.retain(|name| name.ends_with(".weight"));
        let weights = names.iter().map(|name| -> Result<f64, BoxError> {
            Ok(norm(&moved.array(name)?) / norm(&initial.array(name)?))
        });
        let now = network.symmetric(x, Which::Nngp)?.nngp.ok_or("no kernel")?;
        let distance = moved.norm()?;
        Ok(Change {
            weights: weights.collect::<Result<_, _>>()?,
            distance,
            relative: distance / initial.norm()?,
            nngp: norm(&(now - &nngp)) / norm(&nngp),
            jacobian: self.jacobian_change(&start, &network)? / distance,
            ntk,
        })
    }

    /// ‖J_T − J₀‖_F on a few samples, by one vector–Jacobian product for each row.
    fn jacobian_change(&self, start: &FiniteNet, end: &FiniteNet) -> Result<f64, BoxError> {
        let mut square = 0.0;
        for sample in 0..PROBES.min(self.x.nrows()) {
            let x = self.x.slice(ndarray::s![sample..=sample, ..]);
            for output in 0..self.y.ncols() {
                let mut u = Array2::zeros((1, self.y.ncols()));
                u[[0, output]] = 1.0;
                let change = end.vjp(x.into(), u.view())?.plus(-1.0, &start.vjp(x.into(), u.view())?)?;
                square += change.dot(&change)?;
            }
        }
        Ok(square.sqrt())
    }
}

fn run(ctx: &Context<'_>) -> Result<Report, BoxError> {
    let widths = ctx.pick([
        &[32, 64, 96, 128, 192, 256][..],
        &[32, 64, 96, 128, 192, 256, 384, 512],
        &[16, 32, 64, 128, 256, 512, 1024, 2048, 4096],
    ]);
    let relu_widths = ctx.pick([&[32, 64, 96, 128, 192, 256][..], &[32, 64, 96, 128, 192, 256], widths]);
    let (samples, steps, count) = ctx.pick([(16, 128, 6), (32, 1024, 4), (128, 1 << 17, 8)]);
    let (train, test) = common::images(ctx, samples, 0)?;
    let record = std::iter::successors(Some(1), |&step| Some(4 * step)).take_while(|&step| step < steps);
    let task = Task {
        x: train.inputs(),
        y: train.one_hot(),
        record: [0].into_iter().chain(record).chain([steps]).collect(),
    };
    let mut report = Report::default();
    common::credit(&mut report, &train, &test);
    report.size("steps", format!("{steps} of full-batch descent, η = 1 (mean over samples and outputs)"));
    report.size("networks for each width", count).seeds(ctx.seeds(count));
    report.note("Rates are fitted for n ≥ 64: below, weights are not yet in the regime of large widths.");
    report.note(
        "Theorem 2.1 bounds the change of the kernels by n^(−1/2); smooth activations do better, with rates near 1/n. \
         The derivative of ReLU jumps, so its Jacobian has no rate of −1/2: about n^(−1/2) of the units switch, which \
         makes it −1/4.",
    );
    for subject in [
        Subject {
            name: "3 hidden tanh",
            depth: 3,
            phi: Activation::Tanh,
            source: "[lee2019wide] Fig. S6",
            smooth: true,
            weight: 1.5,
            widths,
        },
        Subject {
            name: "3 hidden ReLU",
            depth: 3,
            phi: Activation::Relu,
            source: SOURCE,
            smooth: false,
            weight: 2.0,
            widths: relu_widths,
        },
        Subject {
            name: "1 hidden ReLU",
            depth: 1,
            phi: Activation::Relu,
            source: "[lee2019wide] Fig. S6",
            smooth: false,
            weight: 2.0,
            widths,
        },
    ] {
        study(ctx, &task, &subject, count, &mut report)?;
    }
    Ok(report)
}

/// Trains an architecture at all widths.
fn study(
    ctx: &Context<'_>,
    task: &Task,
    subject: &Subject,
    count: usize,
    report: &mut Report,
) -> Result<(), BoxError> {
    let Subject { name, depth, ref phi, source, smooth, weight, widths } = *subject;
    report.size(name, format!("σ_w² = {weight}, σ_b² = 0.1, widths {}", common::list(widths)));
    let net = Net::mlp(depth, phi.clone(), task.y.ncols(), Variance::new(weight)?, Variance::new(0.1)?);
    let bar = ctx.progress(name, widths.len() * count);
    // The widest first, so that no core waits for it at the end.
    let jobs: Vec<(usize, u64)> =
        widths.iter().rev().flat_map(|&n| ctx.seeds(count).into_iter().map(move |seed| (n, seed))).collect();
    let one = |&(width, seed): &(usize, u64)| -> Result<Change, BoxError> {
        let change = task.train(common::draw(ctx, &net, task.x.ncols(), width, seed, DType::F64)?)?;
        bar.step();
        Ok(change)
    };
    let mut changes = jobs.par_iter().with_max_len(1).map(one).collect::<Result<Vec<_>, _>>()?;
    changes.reverse();

    type Pick = Box<dyn Fn(&Change) -> f64>;
    let mut quantities: Vec<(String, Pick, f64, Side)> = Vec::new();
    for layer in 0..=depth {
        let inner = 0 < layer && layer < depth;
        let rate = if inner { -1.0 } else { -0.5 };
        let pick: Pick = Box::new(move |change| change.weights[layer]);
        quantities.push((format!("weights {}", layer + 1), pick, rate, Side::Both));
    }
    quantities.push((
        "Θ".to_owned(),
        Box::new(|c| c.ntk.last().copied().unwrap_or(f64::NAN)),
        -0.5,
        Side::Above,
    ));
    quantities.push(("K".to_owned(), Box::new(|c| c.nngp), -0.5, Side::Above));
    quantities.push(("‖θ_T − θ₀‖".to_owned(), Box::new(|c| c.distance), 0.0, Side::Both));
    if depth == 1 {
        quantities.push(("‖θ_T − θ₀‖ / ‖θ₀‖".to_owned(), Box::new(|c| c.relative), -0.5, Side::Both));
    }
    let (rate, side) = if smooth { (-0.5, Side::Both) } else { (-0.25, Side::Above) };
    quantities.push(("‖J_T − J₀‖ / ‖θ_T − θ₀‖".to_owned(), Box::new(|c| c.jacobian), rate, side));

    let mut plot =
        Plot::new(&format!("{name}: relative change through training"), "width n", "relative change")
            .log_log();
    let mut table =
        Table::new(&format!("{name}: relative changes and distances, RMS over networks"), ["quantity"]);
    table.columns.extend(widths.iter().map(|n| format!("n = {n}")));
    table.columns.push("exponent".to_owned());
    for (what, pick, expected, side) in &quantities {
        let values: Vec<f64> = changes
            .chunks(count)
            .map(|group| stats::rms(&group.iter().map(pick).collect::<Vec<_>>()))
            .collect();
        let curve = || widths.iter().zip(&values).map(|(&n, &value)| [n as f64, value]);
        let (n, y): (Vec<f64>, Vec<f64>) = curve().filter(|[n, _]| *n >= 64.0).map(|[n, y]| (n, y)).unzip();
        let fit = stats::power_law(&n, &y)?;
        report.claim(common::rate(
            source,
            &format!("exponent in n of the change of {what}, {name}"),
            *expected,
            *side,
            fit,
        ));
        let mut row = vec![what.clone()];
        row.extend(values.iter().map(|value| format!("{value:.3e}")));
        row.push(format!("{:.3} ± {:.3}", fit.slope, fit.standard_error));
        table = table.row(row);
        if what != "‖θ_T − θ₀‖" {
            plot = plot.line(what, curve());
        }
    }
    let ends = [widths[0] as f64, widths[widths.len() - 1] as f64];
    plot = plot
        .reference("n^(−1/2)", ends.map(|n| [n, n.powf(-0.5)]))
        .reference("1/n", ends.map(|n| [n, 1.0 / n]));

    let mut curves = Plot::new(
        &format!("{name}: change of the tangent kernel through training"),
        "step t",
        "‖Θ̂ₜ − Θ̂₀‖ / ‖Θ̂₀‖",
    )
    .log_log();
    for (&n, group) in widths.iter().zip(changes.chunks(count)) {
        let at = |i: usize| stats::rms(&group.iter().map(|change| change.ntk[i]).collect::<Vec<_>>());
        curves = curves
            .line(&format!("n = {n}"), task.record.iter().enumerate().map(|(i, &step)| [step as f64, at(i)]));
    }
    report.plot(plot).plot(curves).table(table);
    Ok(())
}

fn norm<D: ndarray::Dimension>(a: &ndarray::Array<f64, D>) -> f64 {
    a.iter().map(|v| v * v).sum::<f64>().sqrt()
}
