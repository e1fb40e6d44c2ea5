//! Lee et al. 2019: the kernels of random finite networks tend to those of the infinite one, in width and in draws.

use ndarray::Array2;
use ntk_analytic::Analytic;
use ntk_core::{Activation, KernelBlock, KernelFn, Net, Shape, Variance, Which};
use ntk_empirical::candle_core::DType;
use ntk_empirical::{Estimate, Lowering, MonteCarlo};
use rayon::prelude::*;

use super::common;
use crate::{BoxError, Claim, Context, Criterion, Experiment, Plot, Report, Side, Table, stats};

/// Monte-Carlo convergence of both kernels.
pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "monte_carlo",
    title: "Kernels of random networks tend to the analytic ones",
    source: "[lee2019wide] Figs. S9 and S10",
    claim: "The kernels K̂ and Θ̂ of one random network of width n are off by one over the root of n, and the mean over \
            M networks by one over the root of nM.",
    formula: "‖Θ̂ − Θ‖_F / ‖Θ‖_F = O((nM)^(−1/2))",
    seconds: [3.0, 12.0, 300.0],
    memory: [[0.1, 0.05], [0.4, 0.1], [0.4, 0.5]],
    run,
};

type Kernel = (&'static str, fn(&KernelBlock) -> Option<&Array2<f64>>);
const KERNELS: [Kernel; 2] = [("K", |block| block.nngp.as_ref()), ("Θ", |block| block.ntk.as_ref())];

fn run(ctx: &Context<'_>) -> Result<Report, BoxError> {
    let widths = ctx.pick([
        &[32, 64, 128, 256, 512][..],
        &[32, 64, 128, 256, 512, 1024],
        &[32, 64, 128, 256, 512, 1024, 2048, 4096],
    ]);
    let draws = ctx.pick([32, 32, 32]);
    let (fixed_width, many) = ctx.pick([(64, 512), (128, 2048), (256, 8192)]);
    let samples = ctx.pick([10, 16, 20]);
    let (set, none) = common::images(ctx, samples, 0)?;
    let x = set.inputs();
    let mut seeds = ctx.seed..;

    let mut report = Report::default();
    common::credit(&mut report, &set, &none);
    report
        .size("widths", common::list(widths))
        .size("draws for each width", draws)
        .size("draws at fixed width", format!("{many} of width {fixed_width}"));
    report.size("networks", "1 and 3 hidden ReLU layers, σ_w² = 2, σ_b² = 0.1, NTK parameterization");
    report.note(
        "The mean of K̂ and Θ̂ is the limit itself for one hidden layer only. Deeper it is off by O(1/n), where the \
         curves of the second figure flatten; the rate in M is fitted for M ≤ n/4.",
    );
    let mut by_width =
        Plot::new("Error of one network against its width", "width n", "‖Θ̂ − Θ‖ / ‖Θ‖").log_log();
    let mut by_draws = Plot::new(
        &format!("Error of the mean over M networks of width {fixed_width}"),
        "M",
        "‖mean − Θ‖ / ‖Θ‖",
    )
    .log_log();
    let mut table = Table::new(
        "Error of one network, RMS over draws ± standard error",
        ["width", "K, 1 hidden", "Θ, 1 hidden", "K, 3 hidden", "Θ, 3 hidden"],
    );
    let mut rows: Vec<Vec<String>> = widths.iter().map(|n| vec![n.to_string()]).collect();

    for depth in [1, 3] {
        let net = Net::mlp(depth, Activation::Relu, 1, Variance::TWO, Variance::new(0.1)?);
        let limit = Analytic::new(net.clone())?.symmetric((&x).into(), Which::Both)?;
        let bar = ctx.progress(&format!("{depth} hidden: widths"), widths.len() * draws + many);
        let mut draw = |width, count| -> Result<Vec<KernelBlock>, BoxError> {
            let own: Vec<u64> = seeds.by_ref().take(count).collect();
            let one = |&seed: &u64| -> Result<KernelBlock, BoxError> {
                let network = common::draw(ctx, &net, x.ncols(), width, seed, DType::F64)?;
                bar.step();
                Ok(network.symmetric((&x).into(), Which::Both)?)
            };
            own.par_iter().map(one).collect()
        };
        let singles = widths.iter().map(|&n| draw(n, draws)).collect::<Result<Vec<_>, _>>()?;
        let pool = draw(fixed_width, many)?;

        for (name, pick) in KERNELS {
            let Some(exact) = pick(&limit) else { continue };
            let label = format!("{name}, {depth} hidden");
            let error = |blocks: &[KernelBlock]| {
                let mut mean = Array2::zeros(exact.dim());
                blocks.iter().filter_map(pick).for_each(|k| mean += k);
                norm(&(mean / blocks.len() as f64 - exact)) / norm(exact)
            };
            let errors: Vec<Vec<f64>> =
                singles.iter().map(|blocks| blocks.chunks(1).map(error).collect()).collect();
            let curve: Vec<[f64; 2]> =
                widths.iter().zip(&errors).map(|(&n, errors)| [n as f64, stats::rms(errors)]).collect();
            for (row, errors) in rows.iter_mut().zip(&errors) {
                let (rms, spread) = (stats::rms(errors), rms_standard_error(errors));
                row.push(format!("{rms:.4} ± {spread:.4}"));
            }
            claim_slope(&mut report, &format!("exponent in n of the error of {label}"), &curve, 0.1)?;
            let bars = curve.iter().zip(&errors).map(|(&[n, rms], errors)| {
                let two = 2.0 * rms_standard_error(errors);
                [n, rms - two, rms + two]
            });
            by_width = by_width.error_bars(&label, bars).line(&label, curve.clone());

            let groups: Vec<usize> = (0..).map(|i| 1 << i).take_while(|&m| 8 * m <= many).collect();
            let curve: Vec<[f64; 2]> = groups
                .iter()
                .map(|&m| [m as f64, stats::rms(&pool.chunks_exact(m).map(error).collect::<Vec<_>>())])
                .collect();
            let few: Vec<[f64; 2]> =
                curve.iter().copied().filter(|[m, _]| 4.0 * m <= fixed_width as f64).collect();
            claim_slope(&mut report, &format!("exponent in M of the error of {label}"), &few, 0.15)?;
            by_draws = by_draws.line(&label, curve);
        }
    }
    table = rows.into_iter().fold(table, Table::row);
    by_width = by_width.reference("n^(−1/2)", half_power(widths[0] as f64, widths[widths.len() - 1] as f64));
    by_draws = by_draws.reference("M^(−1/2)", half_power(1.0, (many / 8) as f64).map(|[m, y]| [m, y * 0.5]));
    report.plot(by_width).plot(by_draws).table(table);
    coverage(ctx, &mut report, &x, &mut seeds)?;
    report.seeds(ctx.seed..seeds.start);
    Ok(report)
}

/// The standard errors of [`MonteCarlo`] say how far its mean is from the limit, where the mean has no bias.
fn coverage(
    ctx: &Context<'_>,
    report: &mut Report,
    x: &Array2<f64>,
    seeds: &mut std::ops::RangeFrom<u64>,
) -> Result<(), BoxError> {
    let device = ntk_empirical::device(&ctx.device.to_string())?;
    let (runs, draws) = ctx.pick([(192, 32), (256, 64), (1024, 64)]);
    let net = Net::mlp(1, Activation::Relu, 1, Variance::TWO, Variance::new(0.1)?);
    let limit = Analytic::new(net.clone())?.symmetric(x.into(), Which::Both)?;
    let bar = ctx.progress("standard errors", runs);
    let starts: Vec<u64> = seeds.by_ref().step_by(draws).take(runs).collect();
    seeds.start += draws as u64;
    let estimate = |&seed: &u64| -> Result<Estimate, BoxError> {
        let lowering = Lowering {
            width: 128,
            seed,
            device: device.clone(),
            ..Lowering::for_inputs(Shape::vector(x.ncols()))
        };
        bar.step();
        let run = MonteCarlo::new(net.clone(), lowering, draws);
        Ok(run.estimate(x.into(), None, Which::Both, |_| std::ops::ControlFlow::Continue(()))?)
    };
    let estimates = starts.par_iter().map(estimate).collect::<Result<Vec<_>, _>>()?;
    for (name, pick) in KERNELS {
        // Entries of one run are correlated: a run counts as one number, its share of entries.
        let share = |estimate: &Estimate| {
            let (mean, error) = (pick(&estimate.mean)?, pick(&estimate.standard_error)?);
            let inside =
                mean.iter().zip(pick(&limit)?).zip(error).filter(|((m, k), e)| (*m - *k).abs() < 2.0 * *e);
            Some(inside.count() as f64 / mean.len() as f64)
        };
        let shares: Vec<f64> = estimates.iter().filter_map(share).collect();
        // The normal law puts 0.954 within two deviations; a deviation estimated from 32 draws takes away 0.009.
        let tolerance = 0.015 + 3.0 * stats::standard_error(&shares);
        report.claim(Claim::new(
            "[lee2019wide] Fig. S9",
            format!("share of entries of {name} within 2 standard errors of the limit, {runs} means of {draws} draws"),
            Criterion::Within { expected: 0.9545, tolerance },
            stats::mean(&shares),
        ));
    }
    Ok(())
}

fn claim_slope(
    report: &mut Report,
    quantity: &str,
    curve: &[[f64; 2]],
    tolerance: f64,
) -> Result<(), BoxError> {
    let (x, y): (Vec<f64>, Vec<f64>) = curve.iter().map(|&[x, y]| (x, y)).unzip();
    let fit = stats::power_law(&x, &y)?;
    let (expected, standard_error) = (-0.5, fit.standard_error);
    let rate = Criterion::Slope { expected, tolerance, standard_error, side: Side::Both };
    report.claim(Claim::new("[lee2019wide] Figs. S9 and S10", quantity, rate, fit.slope));
    Ok(())
}

/// Standard error of a root mean square, s.e.(x²) / (2 rms).
fn rms_standard_error(values: &[f64]) -> f64 {
    let squares: Vec<f64> = values.iter().map(|v| v * v).collect();
    stats::standard_error(&squares) / (2.0 * stats::rms(values))
}

/// The ends of x^(−1/2), scaled to 1 at x = 1.
fn half_power(from: f64, to: f64) -> [[f64; 2]; 2] {
    [from, to].map(|x| [x, 1.0 / x.sqrt()])
}

fn norm(a: &Array2<f64>) -> f64 {
    a.iter().map(|v| v * v).sum::<f64>().sqrt()
}
