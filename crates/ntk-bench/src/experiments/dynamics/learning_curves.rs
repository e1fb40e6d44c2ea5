//! Learning curves of kernel regression on images, predicted from a spectrum and measured.

use ndarray::Axis;
use ntk_analytic::Analytic;
use ntk_core::{Activation, KernelBlock, KernelFn, Net, Variance, Which};
use ntk_dynamics::{Eigenlearning, Gram, Posterior, Ridge};

use super::super::common;
use crate::data::shuffled;
use crate::{BoxError, Claim, Context, Criterion, Plot, Report, Table, stats};

const SOURCE: &str = "[simon2023eigenlearning] eqs. (4)–(9)";

pub(super) fn study(ctx: &Context<'_>, report: &mut Report) -> Result<(), BoxError> {
    let pool = ctx.pick([600, 1200, 1700]);
    let draws = ctx.seeds(ctx.pick([8, 16, 32]));
    let counts: Vec<usize> = [8, 16, 32, 64, 128, 256].into_iter().filter(|n| 4 * n <= pool).collect();
    let (images, none) = common::images(ctx, pool, 0)?;
    let (x, y) = (images.inputs(), images.one_hot());
    let net = Net::mlp(3, Activation::Relu, 10, Variance::TWO, Variance::new(0.1)?);
    let KernelBlock { nngp, ntk } = Analytic::new(net)?.symmetric((&x).into(), Which::Both)?;
    report.size("images of the learning curves", pool).size("samples", common::list(&counts));
    report.seeds(draws.clone());
    common::credit(report, &images, &none);
    let bar = ctx.progress("learning curves", 4 * counts.len());
    let mut table = Table::new(
        "Error of kernel regression on the other images, per image and summed over classes",
        ["kernel, ridge", "N", "measured", "standard error", "predicted", "train error", "predicted"],
    );
    let mut plot = Plot::new("Learning curves of kernel regression", "samples N", "test error").log_log();
    let mut ratios = Vec::new();
    for (name, kernel) in [("NNGP", nngp), ("NTK", ntk)] {
        let kernel = kernel.ok_or("no kernel")?;
        let curve = Eigenlearning::from_samples(&Gram::new(kernel.clone())?, y.view())?;
        let mean = kernel.diag().sum() / pool as f64;
        for share in [0.01, 1.0] {
            let ridge = share * mean;
            let label = format!("{name}, ridge {share} of the mean variance");
            let (mut measured, mut predicted) = (Vec::new(), Vec::new());
            for &n in &counts {
                let mut errors = [Vec::new(), Vec::new()];
                for &seed in &draws {
                    let mut inside = shuffled(pool, pool, seed);
                    let outside = inside.split_off(n);
                    let gram = kernel.select(Axis(0), &inside).select(Axis(1), &inside);
                    let cross = kernel.select(Axis(0), &outside).select(Axis(1), &inside);
                    let targets = y.select(Axis(0), &inside);
                    let posterior =
                        Posterior::new(&Gram::new(gram.clone())?, Ridge::Absolute(ridge), targets.view())?;
                    for (errors, (kernel, rows)) in
                        errors.iter_mut().zip([(&cross, &outside), (&gram, &inside)])
                    {
                        let residual = posterior.mean(kernel.view())? - y.select(Axis(0), rows);
                        errors.push(residual.mapv(|r| r * r).sum() / rows.len() as f64);
                    }
                }
                let expected = curve.at(n as f64, ridge)?;
                let [test, train] = errors;
                let (found, error) = (stats::mean(&test), stats::standard_error(&test));
                measured.push([n as f64, found]);
                predicted.push([n as f64, expected.test]);
                ratios.push((found / expected.test).ln().abs());
                table = table.row(
                    [label.clone()].into_iter().chain(
                        [n as f64, found, error, expected.test, stats::mean(&train), expected.train]
                            .map(crate::number::show),
                    ),
                );
                bar.step();
            }
            plot = plot.points(&label, measured).line(&label, predicted);
        }
    }
    report.claim(Claim::new(
        SOURCE,
        "mean |ln(measured / predicted test error)| over kernels, ridges and samples",
        Criterion::AtMost(0.1),
        stats::mean(&ratios),
    ));
    report.table(table).plot(plot);
    Ok(())
}
