//! Draws of a network at several widths against its limit: the exponent of the error, and the bias of the mean.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // Helpers are not tests in clippy's eyes.

use std::ops::ControlFlow;

use ndarray::{Array2, Zip};
use ntk_analytic::{Analytic, Error};
use ntk_core::{Batch, KernelBlock, KernelFn, Net, Which};
use ntk_empirical::{Estimate, Lowering, Mode, MonteCarlo};

/// What is drawn, and how often.
pub(crate) struct Draws {
    pub(crate) widths: [usize; 5],
    pub(crate) draws: usize,
    /// Whether the error may also fall faster, as where the bias of order 1/n still shows at these widths.
    pub(crate) faster: bool,
}

/// RMS over draws of ‖K̂ − K‖ / ‖K‖: the spread of the draws, and the distance of their mean.
fn error(estimate: &Estimate, limit: &Array2<f64>, pick: Pick) -> f64 {
    let square = |a: &Array2<f64>| a.iter().map(|v| v * v).sum::<f64>();
    let spread = square(pick(&estimate.standard_error)) * (estimate.draws - 1) as f64;
    ((square(&(pick(&estimate.mean) - limit)) + spread) / square(limit)).sqrt()
}

type Pick = fn(&KernelBlock) -> &Array2<f64>;

/// Slope of ln y in ln x, and its standard error.
fn exponent(x: &[f64], y: &[f64]) -> (f64, f64) {
    let n = x.len() as f64;
    let center = |v: &[f64]| {
        let mean = v.iter().map(|v| v.ln()).sum::<f64>() / n;
        v.iter().map(|v| v.ln() - mean).collect::<Vec<f64>>()
    };
    let (x, y) = (center(x), center(y));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let slope = dot(&x, &y) / dot(&x, &x);
    let residual: f64 = x.iter().zip(&y).map(|(x, y)| (y - slope * x).powi(2)).sum();
    (slope, (residual / ((n - 2.0) * dot(&x, &x))).sqrt())
}

/// The limits and the draws of a network disagree on these points; none if the rate is −½ and the means are right.
pub(crate) fn failures(name: &str, net: impl Fn(usize) -> Net, x: Batch<'_>, plan: &Draws) -> Vec<String> {
    let runs: Vec<(KernelBlock, Estimate)> =
        plan.widths.iter().map(|&width| run(net(width), x, width, plan)).collect();
    let mut failures = Vec::new();
    let kernels: [(&str, Pick); 2] =
        [("nngp", |b| b.nngp.as_ref().unwrap()), ("ntk", |b| b.ntk.as_ref().unwrap())];
    for (kernel, pick) in kernels {
        let errors: Vec<f64> = runs.iter().map(|(limit, run)| error(run, pick(limit), pick)).collect();
        let (slope, deviation) = exponent(&plan.widths.map(|n| n as f64), &errors);
        let off = if plan.faster { slope + 0.5 } else { (slope + 0.5).abs() };
        if off.is_nan() || off > 0.1 + 3.0 * deviation {
            failures.push(format!(
                "{kernel} of {name}: exponent {slope:.3} ± {deviation:.3}, errors {errors:.4?}"
            ));
        }
        // The mean is off by O(1/n) and by chance.
        for ((limit, run), n) in runs.iter().zip(plan.widths) {
            let (limit, scale) = (pick(limit), pick(limit).diag().to_owned());
            let mut worst = 0.0_f64;
            Zip::indexed(limit).and(pick(&run.mean)).and(pick(&run.standard_error)).for_each(
                |(i, j), k, mean, e| {
                    let allowed = 5.0 * e + 4.0 / n as f64 * (scale[i] * scale[j]).sqrt();
                    worst = worst.max((mean - k).abs() / allowed);
                },
            );
            println!(
                "{kernel:5} {name:24} {n:4}: {worst:.3} of the allowance, exponent {slope:.3} ± {deviation:.3}"
            );
            if worst.is_nan() || worst > 1.0 {
                failures.push(format!(
                    "{kernel} of {name} at n = {n}: mean off by {worst:.2} of what is allowed"
                ));
            }
        }
    }
    failures
}

fn run(net: Net, x: Batch<'_>, width: usize, plan: &Draws) -> (KernelBlock, Estimate) {
    let limit = limit(&net, x).unwrap();
    // Draws of different widths have different seeds.
    let (seed, mode) = ((1000 * width) as u64, Mode::Training);
    let lowering = Lowering { width, seed, mode, ..Lowering::for_inputs(x.shape().unwrap()) };
    let run = MonteCarlo::new(net, lowering, plan.draws);
    let estimate = run.estimate(x, None, Which::Both, |_| ControlFlow::Continue(()));
    (limit, estimate.unwrap())
}

fn limit(net: &Net, x: Batch<'_>) -> Result<KernelBlock, Error> {
    Analytic::new(net.clone())?.symmetric(x, Which::Both)
}
