//! Lee et al. 2019: standard parameterization with a rate for each layer trains the same functions as the NTK's.

use std::ops::ControlFlow;

use ndarray::{Array2, ArrayView2};
use ntk_analytic::Analytic;
use ntk_core::{Activation, Affine, Batch, KernelFn, Net, Rate, Variance, Which, Width};
use ntk_dynamics::{Gram, LossScale, Ridge, Spectrum};
use ntk_empirical::candle_core::DType;
use ntk_empirical::{FiniteNet, TrainOptions};

use super::common;
use crate::{BoxError, Claim, Context, Criterion, Experiment, Plot, Report, Side, Table, stats};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "parameterization",
    title: "Standard parameterization trains the same functions",
    source: "[lee2019wide] Section 2.1, Appendix F",
    claim: "Gradient descent in standard parameterization with rates η σ_w²/fan-in for weights and η σ_b² for biases \
            gives, at any width, the functions that the NTK parameterization gives with η; with one rate for all \
            layers it does not, and its kernel loses the first layer and the biases as n grows.",
    formula: "f(θ − η Λ ∇L) in standard parameterization = f(θ − η ∇L) in NTK parameterization, Λ = diag(σ_w²/nₗ₋₁, σ_b²)",
    seconds: [1.0, 8.0, 2000.0],
    memory: [[0.1, 0.05], [0.4, 0.1], [0.6, 0.1]],
    run,
};

const SOURCE: &str = "[lee2019wide] Section 2.1, Appendix F";
const DEPTH: usize = 2;
const OUTPUTS: usize = 10;

/// σ_w² and σ_b² of every layer.
#[derive(Clone, Copy)]
struct Variances(Variance, Variance);

fn run(ctx: &Context<'_>) -> Result<Report, BoxError> {
    let (width, steps) = (ctx.pick([64, 256, 2048]), ctx.pick([50, 200, 1000]));
    let variances = Variances(Variance::TWO, Variance::new(0.1)?);
    let (train, test) = common::images(ctx, ctx.pick([16, 32, 128]), ctx.pick([16, 32, 128]))?;
    let (x, y, elsewhere) = (train.inputs(), train.one_hot(), test.inputs());
    let features = x.ncols();

    let mut report = Report::default();
    report.size("width", width).size("hidden layers", DEPTH).size("steps", steps).seeds(ctx.seeds(1));
    common::credit(&mut report, &train, &test);
    let mut plot =
        Plot::new("Largest difference of outputs from the NTK parameterization", "step", "difference");
    plot = plot.log_y();
    let mut table = Table::new(
        "Largest difference over all steps, train and test",
        ["φ", "momentum", "η", "rates by layer", "one rate"],
    );
    let activations = [Activation::Tanh, Activation::ERF, Activation::Relu];
    let bar = ctx.progress("training", activations.len() * 2);
    for phi in activations {
        let draw = |net: &Net| common::draw(ctx, net, features, width, ctx.seed, DType::F64);
        let ntk = Net::mlp(DEPTH, phi.clone(), OUTPUTS, variances.0, variances.1);
        let by_layer = network(&phi, (features, width), |_, fan_in| layerwise(variances, fan_in))?;
        let theta = tangent_kernel(&draw(&ntk)?, &x)?;
        // One rate for all layers that gives the kernel the same trace.
        let plain = network(&phi, (features, width), |_, _| Ok(rated(variances, 1.0, 1.0)?))?;
        let single = theta.diag().sum() / tangent_kernel(&draw(&plain)?, &x)?.diag().sum();
        let one_rate = network(&phi, (features, width), |_, _| Ok(rated(variances, single, single)?))?;

        let spectrum = Spectrum::new(&Gram::new(theta)?, Ridge::None)?;
        let rate = 0.5 * spectrum.critical_learning_rate(LossScale::MeanNK, y.dim())?;
        for momentum in [0.0, 0.9] {
            let record = (0..=steps).step_by((steps / 50).max(1)).collect();
            let options = TrainOptions { momentum, record, ..TrainOptions::descent(rate, steps) };
            let path = |net: &Net| functions(draw(net)?, &options, &x, y.view(), &elsewhere);
            let (reference, ours, other) = (path(&ntk)?, path(&by_layer)?, path(&one_rate)?);
            let (ours, other) = (differences(&ours, &reference), differences(&other, &reference));
            let worst = |points: &[[f64; 2]]| points.iter().fold(0.0_f64, |worst, p| worst.max(p[1]));
            let (got, contrast) = (worst(&ours), worst(&other));
            let name = format!("{phi}, momentum {momentum}");
            report.claim(Claim::new(
                SOURCE,
                format!("largest difference of outputs over {steps} steps, rates by layer, {name}"),
                Criterion::AtMost(1e-12 * steps as f64),
                got,
            ));
            report.claim(Claim::new(
                SOURCE,
                format!("the same with one rate for all layers, {name}"),
                Criterion::AtLeast(1e-3),
                contrast,
            ));
            table = table.row([
                phi.to_string(),
                momentum.to_string(),
                crate::number::show(rate),
                crate::number::show(got),
                crate::number::show(contrast),
            ]);
            if momentum == 0.0 {
                plot = plot
                    .line(&format!("{phi}, rates by layer"), ours)
                    .line(&format!("{phi}, one rate"), other);
            }
            bar.step();
        }
    }
    report.plot(plot).table(table);
    infinite_width(ctx, &mut report, variances, &x)?;
    Ok(report)
}

/// At infinite width: equal kernels with rates by layer; with one rate η/n, a limit without first layer and biases.
fn infinite_width(
    ctx: &Context<'_>,
    report: &mut Report,
    variances: Variances,
    x: &Array2<f64>,
) -> Result<(), BoxError> {
    let (phi, features) = (Activation::ERF, x.ncols());
    let kernel = |net: Net| -> Result<Array2<f64>, BoxError> {
        let block = Analytic::new(net)?.symmetric(x.into(), Which::Ntk)?;
        Ok(block.ntk.ok_or("no NTK")?)
    };
    let distance = |a: &Array2<f64>, b: &Array2<f64>| norm(&(a - b)) / norm(b);
    let ntk = kernel(Net::mlp(DEPTH, phi.clone(), OUTPUTS, variances.0, variances.1))?;
    let limit = kernel(network(&phi, (features, 1), |index, _| {
        let weight_rate = if index == 0 { Rate::FROZEN } else { Rate::new(1.0 / variances.0.get())? };
        Ok(Affine { weight_rate, bias_rate: Rate::FROZEN, ..Affine::new(variances.0, variances.1) })
    })?)?;
    let widths: Vec<usize> = (6..ctx.pick([12, 16, 20])).map(|power| 1 << power).collect();
    let (mut equal, mut lost) = (0.0_f64, Vec::new());
    for &n in &widths {
        let by_layer = network(&phi, (features, n), |_, fan_in| layerwise(variances, fan_in))?;
        equal = equal.max(distance(&kernel(by_layer)?, &ntk));
        let one_rate =
            network(&phi, (features, n), |_, _| Ok(rated(variances, 1.0 / n as f64, 1.0 / n as f64)?))?;
        lost.push(distance(&kernel(one_rate)?, &limit));
    }
    let n: Vec<f64> = widths.iter().map(|&n| n as f64).collect();
    let fit = stats::power_law(&n, &lost)?;
    report.size("widths of the infinite-width kernels", common::list(&widths));
    report.claim(Claim::new(
        SOURCE,
        "largest relative distance of the two infinite-width NTKs, rates by layer",
        Criterion::AtMost(1e-12),
        equal,
    ));
    report.claim(common::rate(
        SOURCE,
        "exponent in n of the distance of the NTK with one rate η/n from its limit, without first layer and biases",
        -1.0,
        Side::Both,
        fit,
    ));
    report.claim(Claim::new(
        SOURCE,
        "relative distance of that limit from every multiple of the NTK parameterization's NTK",
        Criterion::AtLeast(1e-3),
        (1.0 - ((&limit * &ntk).sum() / (norm(&limit) * norm(&ntk))).powi(2)).sqrt(),
    ));
    let points = || n.iter().copied().zip(lost.iter().copied()).map(|(n, d)| [n, d]);
    report.plot(
        Plot::new(
            "Infinite-width NTK with one rate η/n: distance from its limit",
            "width n",
            "relative distance",
        )
        .log_log()
        .line("erf", points())
        .reference("n⁻¹", n.iter().map(|n0| [*n0, lost[0] * n[0] / n0])),
    );
    Ok(())
}

/// An affine layer in standard parameterization with the two multipliers given.
fn rated(
    Variances(weight, bias): Variances,
    of_weights: f64,
    of_bias: f64,
) -> Result<Affine, ntk_core::Error> {
    let (weight_rate, bias_rate) = (Rate::new(of_weights)?, Rate::new(of_bias)?);
    Ok(Affine { weight_rate, bias_rate, ..Affine::new(weight, bias).standard() })
}

/// Rates σ_w²/fan-in and σ_b²: those of the theorem.
fn layerwise(variances: Variances, fan_in: usize) -> Result<Affine, BoxError> {
    Ok(rated(variances, variances.0.get() / fan_in as f64, variances.1.get())?)
}

/// The same tree as [`Net::mlp`] at a width, with affine layers of any kind by their index and fan-in.
fn network(
    phi: &Activation,
    (features, width): (usize, usize),
    layer: impl Fn(usize, usize) -> Result<Affine, BoxError>,
) -> Result<Net, BoxError> {
    let mut nets = Vec::new();
    for index in 0..DEPTH {
        let fan_in = if index == 0 { features } else { width };
        nets.push(Net::dense_with(Width::Fixed(width), layer(index, fan_in)?));
        nets.push(Net::activation(phi.clone()));
    }
    nets.push(Net::dense_with(Width::Fixed(OUTPUTS), layer(DEPTH, width)?));
    Ok(Net::serial(nets))
}

fn tangent_kernel(net: &FiniteNet, x: &Array2<f64>) -> Result<Array2<f64>, BoxError> {
    Ok(net.symmetric(x.into(), Which::Ntk)?.ntk.ok_or("no NTK")?)
}

/// A step with the outputs on train and test inputs.
type Snapshot = (usize, [Array2<f64>; 2]);

/// Outputs along training.
fn functions(
    mut net: FiniteNet,
    options: &TrainOptions,
    x: &Array2<f64>,
    y: ArrayView2<'_, f64>,
    elsewhere: &Array2<f64>,
) -> Result<Vec<Snapshot>, BoxError> {
    let (mut path, mut failed) = (Vec::new(), None);
    net.train(options, x.into(), y, |step| match step.model.outputs(Batch::from(elsewhere)) {
        Ok(test) => {
            path.push((step.step, [step.outputs.clone(), test]));
            ControlFlow::Continue(())
        }
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    })?;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(path),
    }
}

/// (step, largest difference of outputs) of two runs recorded alike.
fn differences(a: &[Snapshot], b: &[Snapshot]) -> Vec<[f64; 2]> {
    let largest = |a: &Array2<f64>, b: &Array2<f64>| (a - b).iter().fold(0.0_f64, |m, d| m.max(d.abs()));
    let pairs = a.iter().zip(b);
    pairs
        .map(|((step, a), (_, b))| [*step as f64, largest(&a[0], &b[0]).max(largest(&a[1], &b[1]))])
        .collect()
}

fn norm(a: &Array2<f64>) -> f64 {
    a.iter().map(|v| v * v).sum::<f64>().sqrt()
}
