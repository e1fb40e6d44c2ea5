//! What is lost at finite width: fluctuations of kernel and tangent kernel, against the four-point vertices.

use ndarray::Array2;
use ntk_analytic::effective::MeanField;
use ntk_core::{Activation, KernelFn, Net, Variance, Which};
use ntk_empirical::candle_core::DType;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::super::common;
use crate::{BoxError, Claim, Context, Criterion, Plot, Report, Side, Table, stats};

const SOURCE: &str = "[roberts2022principles] chapters 4, 8";
const DEPTH: usize = 3;
const FEATURES: usize = 8;

pub(super) fn study(ctx: &Context<'_>, report: &mut Report) -> Result<(), BoxError> {
    let widths = [32, 64, 128, 256, 512];
    let seeds = ctx.seeds(ctx.pick([400, 1000, 4000]));
    report.size("widths of the fluctuations", common::list(&widths)).size("networks of each", seeds.len());
    report.seeds(seeds.clone());
    let x = Array2::from_elem((1, FEATURES), 1.0);
    let bar = ctx.progress("drawing networks", 2 * widths.len());
    let mut table = Table::new(
        "n times the variance of the kernels of one input, 3 hidden layers",
        ["φ", "n", "n Var K̂ / K²", "limit V/K²", "n Var Θ̂ / Θ²", "limit (A + 2B)/Θ²"],
    );
    let mut plot =
        Plot::new("Fluctuations of the kernels of a random network", "width n", "variance / mean²").log_log();
    for (phi, weight, bias) in [(Activation::Relu, 2.0, 0.0), (Activation::Tanh, 1.5, 0.1)] {
        let net = Net::mlp(DEPTH, phi.clone(), 1, Variance::new(weight)?, Variance::new(bias)?);
        let field = MeanField::new(&phi, Variance::new(weight)?, Variance::new(bias)?)?;
        let layers = field.cumulants(weight + bias, DEPTH + 1)?;
        let last = layers[DEPTH];
        let limits = [last.vertex / last.variance.powi(2), last.ntk_variance() / last.ntk.powi(2)];
        let mut found: [Vec<f64>; 2] = Default::default();
        for &n in &widths {
            let kernels: Vec<[f64; 2]> = seeds
                .par_iter()
                .map(|&seed| -> Result<[f64; 2], BoxError> {
                    let net = common::draw(ctx, &net, FEATURES, n, seed, DType::F64)?;
                    let diag = net.diag((&x).into(), Which::Both)?;
                    let (k, ntk) = (diag.nngp.ok_or("no NNGP")?, diag.ntk.ok_or("no NTK")?);
                    Ok([k[0] / last.variance, ntk[0] / last.ntk])
                })
                .collect::<Result<_, _>>()?;
            bar.step();
            for (k, found) in found.iter_mut().enumerate() {
                found.push(stats::variance(&kernels.iter().map(|kernel| kernel[k]).collect::<Vec<_>>()));
            }
            let times = [0, 1].map(|k| found[k][found[k].len() - 1] * n as f64);
            table = table.row(
                [phi.name().to_owned()]
                    .into_iter()
                    .chain([n as f64, times[0], limits[0], times[1], limits[1]].map(crate::number::show)),
            );
        }
        let n: Vec<f64> = widths.iter().map(|&n| n as f64).collect();
        for (k, name) in ["K̂", "Θ̂"].into_iter().enumerate() {
            let fit = stats::power_law(&n, &found[k])?;
            report.claim(common::rate(
                SOURCE,
                &format!("exponent in n of the variance of {name}, {phi}"),
                -1.0,
                Side::Both,
                fit,
            ));
            // A variance of this many nearly normal numbers, and the next order in 1/n.
            let tolerance = 4.0 * (2.0 / seeds.len() as f64).sqrt() + 16.0 / n[4];
            report.claim(Claim::new(
                SOURCE,
                format!("n Var {name} at n = {} over its limit, {phi}", n[4]),
                Criterion::Within { expected: 1.0, tolerance },
                found[k][4] * n[4] / limits[k],
            ));
            let label = format!("{name}, {phi}");
            plot = plot
                .points(&label, n.iter().zip(&found[k]).map(|(&n, &v)| [n, v]))
                .line(&label, n.iter().map(|&n| [n, limits[k] / n]));
        }
    }
    report.table(table).plot(plot);
    Ok(())
}
