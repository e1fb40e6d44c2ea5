//! Finite networks of growing width: how far their predictors are from the limit, and how far their features move.

use ndarray::Array2;
use ntk_dynamics::deep_linear::{Basis, Risk};
use ntk_empirical::{DeepLinear, DeepLinearOptions, Scaling};
use rayon::prelude::*;

use super::super::common;
use super::SOURCE;
use crate::{BoxError, Claim, Context, Criterion, Plot, Report, Side, Table, stats};

const RATE: f64 = 0.1;

/// Widths, networks for each, steps.
struct Sizes {
    widths: &'static [usize],
    count: usize,
    steps: usize,
}

/// The paths of one network: its predictors, and the relative change of its last features at the end.
struct Run {
    path: Vec<Array2<f64>>,
    moved: f64,
}

pub(super) fn judge(ctx: &Context<'_>, report: &mut Report) -> Result<(), BoxError> {
    let widths = ctx.pick([
        &[16, 32, 64, 128, 256][..],
        &[16, 32, 64, 128, 256, 512, 1024],
        &[16, 32, 64, 128, 256, 512, 1024, 2048, 4096],
    ]);
    let count = ctx.pick([16, 24, 32]);
    let sizes = Sizes { widths, count, steps: 60 };
    let risk = super::risk([1.05, 0.45, 0.15])?;
    report.size("data", "3 inputs, one output, second moments of condition number 7");
    report.size("widths", common::list(widths));
    report.size("networks for each width", count).seeds(ctx.seeds(count));
    report.size("training", format!("{} steps of gradient descent, η = {RATE}", sizes.steps));

    let n: Vec<f64> = widths.iter().map(|&n| n as f64).collect();
    let mut table = Table::new("RMS over networks of supₖ |βₙ(k) − β(k)|", ["middle matrices q"]);
    table.columns.extend(widths.iter().map(|n| format!("n = {n}")));
    table.columns.push("exponent".to_owned());
    let mut plot = Plot::new("Predictors against their limit", "width n", "supₖ |βₙ(k) − β(k)|").log_log();
    let mut features =
        Plot::new("Features of the last hidden layer, q = 1", "width n", "‖H − H₀‖ / ‖H₀‖ at the end")
            .log_log();
    for q in 0..4 {
        let exact = super::path(super::limit(&risk, q, Basis::Lazy)?, RATE, sizes.steps)?;
        let runs = runs(ctx, &risk, &sizes, q, Scaling::MaximalUpdate)?;
        let sup =
            |run: &Run| run.path.iter().zip(&exact).map(|(a, b)| super::distance(a, b)).fold(0.0, f64::max);
        let errors: Vec<f64> =
            runs.iter().map(|group| stats::rms(&group.iter().map(sup).collect::<Vec<_>>())).collect();
        let fit = stats::power_law(&n, &errors)?;
        let quantity = format!("q = {q}: exponent in n of supₖ |βₙ(k) − β(k)|");
        report.claim(common::rate(SOURCE, &quantity, -0.5, Side::Both, fit));
        let (widest, last) = (widths[widths.len() - 1], errors[errors.len() - 1]);
        report.claim(Claim::new(
            SOURCE,
            format!("q = {q}: √(n/1024) times that error, n = {widest}"),
            Criterion::AtMost(0.08),
            last * (widest as f64 / 1024.0).sqrt(),
        ));
        let mut row = vec![q.to_string()];
        row.extend(errors.iter().map(|error| format!("{error:.3e}")));
        row.push(format!("{:.3} ± {:.3}", fit.slope, fit.standard_error));
        table = table.row(row);
        plot = plot.line(&format!("q = {q}"), n.iter().zip(&errors).map(|(&n, &error)| [n, error]));
        if q == 2 {
            report.plot(trajectories(&exact, &runs, widths));
        }
        if q == 1 {
            features = moved(report, features, &n, "maximal update", 0.0, &runs)?;
            let runs = self::runs(ctx, &risk, &sizes, q, Scaling::Ntk)?;
            features = moved(report, features, &n, "NTK", -0.5, &runs)?;
        }
    }
    let ends = [n[0], n[n.len() - 1]].map(|n| [n, n.powf(-0.5)]);
    report.plot(plot.reference("n^(−1/2)", ends)).plot(features.reference("n^(−1/2)", ends)).table(table);
    Ok(())
}

/// Networks of each width.
fn runs(
    ctx: &Context<'_>,
    risk: &Risk,
    sizes: &Sizes,
    middle: usize,
    scaling: Scaling,
) -> Result<Vec<Vec<Run>>, BoxError> {
    let bar = ctx.progress(&format!("q = {middle}"), sizes.widths.len() * sizes.count);
    // The widest first, so that no core waits for it at the end.
    let jobs: Vec<(usize, u64)> = sizes
        .widths
        .iter()
        .rev()
        .flat_map(|&width| ctx.seeds(sizes.count).into_iter().map(move |seed| (width, seed)))
        .collect();
    let one = |&(width, seed): &(usize, u64)| -> Result<Run, BoxError> {
        let shape = DeepLinearOptions::new(middle, width);
        let mut network = DeepLinear::draw(&DeepLinearOptions { inputs: 3, scaling, seed, ..shape })?;
        let first = hidden(&network);
        let mut path = vec![network.predictor().to_owned()];
        for _ in 0..sizes.steps {
            let r = risk.descent(network.predictor())?;
            network.descend(|_| r.clone(), RATE, 1)?;
            path.push(network.predictor().to_owned());
        }
        let norm = |a: &Array2<f64>| a.iter().map(|x| x * x).sum::<f64>().sqrt();
        bar.step();
        Ok(Run { path, moved: norm(&(hidden(&network) - &first)) / norm(&first) })
    };
    let mut runs = jobs.par_iter().with_max_len(1).map(one).collect::<Result<Vec<_>, _>>()?;
    runs.reverse();
    let mut groups = Vec::new();
    while !runs.is_empty() {
        let rest = runs.split_off(sizes.count.min(runs.len()));
        groups.push(std::mem::replace(&mut runs, rest));
    }
    Ok(groups)
}

/// M_q ⋯ M₁ A, the features of the unit inputs.
fn hidden(network: &DeepLinear) -> Array2<f64> {
    network.middle().iter().fold(network.input().to_owned(), |x, matrix| matrix.dot(&x))
}

/// The first coordinate along training: the limit, and one network of each of two widths.
fn trajectories(exact: &[Array2<f64>], runs: &[Vec<Run>], widths: &[usize]) -> Plot {
    let curve = |path: &[Array2<f64>]| -> Vec<[f64; 2]> {
        path.iter().enumerate().map(|(k, beta)| [k as f64, beta[[0, 0]]]).collect()
    };
    let mut plot = Plot::new("The first coordinate of β along training, q = 2", "step k", "β₁");
    for at in [0, widths.len() - 1] {
        let label = format!("n = {}", widths[at]);
        for run in runs[at].iter().take(4) {
            plot = plot.line(&label, curve(&run.path));
        }
    }
    plot.reference("limit", curve(exact))
}

/// Claim and curve of how the motion of features depends on the width.
fn moved(
    report: &mut Report,
    plot: Plot,
    n: &[f64],
    scaling: &str,
    expected: f64,
    runs: &[Vec<Run>],
) -> Result<Plot, BoxError> {
    let values: Vec<f64> =
        runs.iter().map(|group| stats::rms(&group.iter().map(|run| run.moved).collect::<Vec<_>>())).collect();
    let quantity = format!("{scaling}: exponent in n of the relative change of features");
    report.claim(common::rate(SOURCE, &quantity, expected, Side::Both, stats::power_law(n, &values)?));
    Ok(plot.line(scaling, n.iter().zip(&values).map(|(&n, &value)| [n, value])))
}
