//! Kernels of random finite networks over positions tend to the analytic ones: one network of each family.

use ndarray::{Array2, Array4};
use ntk_analytic::Analytic;
use ntk_core::{
    Activation, Attention, Batch, Graphs, KernelBlock, KernelFn, Layer, Net, Variance, Which, Window,
};
use ntk_empirical::candle_core::DType;
use rayon::prelude::*;

use super::{WEIGHT, bias, conv, convolutions, draw, norm, readout};
use crate::experiments::common;
use crate::stats::{self, Fit};
use crate::{BoxError, Context, Plot, Report, Side, Table};

const SOURCE: &str = "[yang2020tensor]";

/// What the positions of a sample are.
#[derive(Clone, Copy)]
enum Positions {
    /// The pixels of an image.
    Pixels,
    /// Its rows, of which each image keeps as many as its length says.
    Rows,
    /// Its pixels, joined to their neighbors where both are brighter than the mean.
    Graph,
}

struct Family {
    name: &'static str,
    positions: Positions,
    net: Net,
    widths: [usize; 5],
}

pub(super) fn judge(ctx: &Context<'_>, report: &mut Report) -> Result<(), BoxError> {
    // Narrow networks cost little and vary much: they get more draws, up to four times as many.
    let (samples, draws) = ctx.pick([(4, 24), (6, 32), (10, 128)]);
    let images = ctx.data.digits().subset(samples, ctx.seed)?;
    let inputs = Inputs::new(images.standardized(&images));
    let families = families(ctx)?;
    report
        .size(
            "random networks",
            format!("{draws} of the widest of each family, up to {} of others, {samples} images", 4 * draws),
        )
        .seeds(ctx.seeds(4 * draws));
    let mut plots = ["K", "Θ"].map(|kernel| {
        let title = format!("Error of {kernel} of one network of each family");
        Plot::new(&title, "width n", &format!("‖{kernel}̂ − {kernel}‖ / ‖{kernel}‖")).log_log()
    });
    let mut table =
        Table::new("Error of one network, RMS over draws ± standard error", ["family", "width", "K", "Θ"]);
    let bar = ctx.progress("networks of each family", families.len() * 5);
    for family in &families {
        let x = inputs.batch(family.positions)?;
        let limit = Analytic::new(family.net.clone())?.symmetric(x, Which::Both)?;
        let mut curves: [Vec<[f64; 3]>; 2] = Default::default();
        for width in family.widths {
            let one = |&seed: &u64| -> Result<[f64; 2], BoxError> {
                let x = inputs.batch(family.positions)?;
                let network = draw(ctx, &family.net, x.shape()?, width, seed, DType::F64)?;
                errors(&network.symmetric(x, Which::Both)?, &limit)
            };
            let draws = draws * (family.widths[4] / width).min(4);
            let all = ctx.seeds(draws).par_iter().map(one).collect::<Result<Vec<_>, _>>()?;
            bar.step();
            let mut row = vec![family.name.to_owned(), width.to_string()];
            for (kernel, curve) in curves.iter_mut().enumerate() {
                let errors: Vec<f64> = all.iter().map(|errors| errors[kernel]).collect();
                let squares: Vec<f64> = errors.iter().map(|e| e * e).collect();
                let rms = stats::rms(&errors);
                let error = stats::standard_error(&squares) / (2.0 * rms);
                curve.push([width as f64, rms, error]);
                row.push(format!("{rms:.4} ± {error:.4}"));
            }
            table = table.row(row);
        }
        for ((plot, curve), kernel) in plots.iter_mut().zip(curves).zip(["K", "Θ"]) {
            let quantity = format!("exponent in n of the error of {kernel}, {}", family.name);
            report.claim(common::rate(SOURCE, &quantity, -0.5, Side::Both, fit(&curve)?));
            let bars = curve.iter().map(|[n, rms, error]| [*n, rms - 2.0 * error, rms + 2.0 * error]);
            let line = curve.iter().map(|[n, rms, _]| [*n, *rms]);
            *plot = plot.clone().error_bars(family.name, bars).line(family.name, line);
        }
    }
    for plot in plots {
        report.plot(plot.reference("2 n^(−1/2)", [16.0_f64, 256.0].map(|n| [n, 2.0 * n.powf(-0.5)])));
    }
    report.table(table);
    Ok(())
}

fn families(ctx: &Context<'_>) -> Result<Vec<Family>, BoxError> {
    let widths = ctx.pick([[16, 24, 48, 80, 128], [16, 32, 64, 128, 256], [32, 64, 128, 256, 512]]);
    let relu = || Net::activation(Activation::Relu);
    let dense = || -> Result<Net, BoxError> { Ok(Net::dense(WEIGHT, bias()?).then(relu())) };
    let pool = Net::global_average_pool;
    let halve = || Net::average_pool(Window::blocks(&[2, 2]));
    let thin = || Net::conv(Window::same(&[3, 3]), Variance::ONE, Variance::ZERO);
    let block = Net::serial([relu(), thin(), relu(), thin()]).residual();
    let along =
        || -> Result<Net, BoxError> { Ok(Net::conv(Window::same(&[3]), WEIGHT, bias()?).then(relu())) };
    let sum = || Net::layer(Layer::Aggregate { axis: 0 });
    let attention = Net::attention(Attention::default());
    let family = |name, positions, nets: Vec<Net>| -> Result<Family, BoxError> {
        Ok(Family { name, positions, net: Net::serial(nets).then(readout()?), widths })
    };
    let twice = |family: Family| Family { widths: widths.map(|n| 2 * n), ..family };
    Ok(vec![
        family("convolutions, flattened", Positions::Pixels, vec![convolutions(2)?, Net::flatten()])?,
        family(
            "convolutions, pooled",
            Positions::Pixels,
            vec![convolutions(1)?, halve(), convolutions(1)?, pool()],
        )?,
        family("residual convolutions", Positions::Pixels, vec![conv()?, block, relu(), pool()])?,
        // Its kernels vary more: queries and keys enter as products.
        twice(family("attention", Positions::Pixels, vec![convolutions(1)?, halve(), attention, pool()])?),
        family("sequences of several lengths", Positions::Rows, vec![along()?, along()?, pool()])?,
        family("graphs", Positions::Graph, vec![dense()?, sum(), dense()?, sum(), pool()])?,
    ])
}

/// The power law through points (n, rms, standard error), with the larger of two standard errors of its exponent: that
/// of the residuals, and that of the points, which may lie on a line by chance.
fn fit(curve: &[[f64; 3]]) -> Result<Fit, BoxError> {
    let [n, rms] = [0, 1].map(|i| curve.iter().map(|point| point[i]).collect::<Vec<_>>());
    let fit = stats::power_law(&n, &rms)?;
    let x: Vec<f64> = n.iter().map(|n| n.ln()).collect();
    let center = stats::mean(&x);
    let (mut sum, mut squares) = (0.0, 0.0);
    for (x, [_, rms, error]) in x.iter().zip(curve) {
        squares += (x - center).powi(2);
        sum += ((x - center) * error / rms).powi(2);
    }
    Ok(Fit { standard_error: fit.standard_error.max(sum.sqrt() / squares), ..fit })
}

/// Relative errors of K and Θ.
fn errors(block: &KernelBlock, limit: &KernelBlock) -> Result<[f64; 2], BoxError> {
    let error = |a: &Option<Array2<f64>>, b: &Option<Array2<f64>>| -> Result<f64, BoxError> {
        let (a, b) = (a.as_ref().ok_or("no kernel")?, b.as_ref().ok_or("no kernel")?);
        Ok(norm(&(a - b)) / norm(b))
    };
    Ok([error(&block.nngp, &limit.nngp)?, error(&block.ntk, &limit.ntk)?])
}

/// Images with what else belongs to a sample.
struct Inputs {
    images: Array4<f64>,
    lengths: Vec<usize>,
    edges: Vec<Vec<(usize, usize, f64)>>,
}

impl Inputs {
    fn new(images: Array4<f64>) -> Self {
        let (samples, rows, columns, _) = images.dim();
        let lengths = (0..samples).map(|i| rows - i % 4).collect();
        let bright = |i: usize, row: usize, column: usize| images[[i, row, column, 0]] > 0.0;
        let edges = (0..samples).map(|i| {
            let mut edges = Vec::new();
            for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
                let here = row * columns + column;
                edges.push((here, here, 0.5));
                for (row2, column2) in [(row + 1, column), (row, column + 1)] {
                    if row2 < rows && column2 < columns && bright(i, row, column) && bright(i, row2, column2)
                    {
                        let there = row2 * columns + column2;
                        edges.extend([(here, there, 0.5), (there, here, 0.5)]);
                    }
                }
            }
            edges
        });
        let edges = edges.collect();
        Inputs { images, lengths, edges }
    }

    fn batch(&self, positions: Positions) -> Result<Batch<'_>, BoxError> {
        let (samples, rows, columns, channels) = self.images.dim();
        let view = self.images.view();
        Ok(match positions {
            Positions::Pixels => Batch::grid(view)?,
            Positions::Rows => {
                let view = view.into_shape_with_order((samples, rows, columns * channels))?;
                Batch::grid(view)?.with_lengths(&self.lengths)
            }
            Positions::Graph => {
                let view = view.into_shape_with_order((samples, rows * columns, channels))?;
                Batch::grid(view)?.with_graphs(Graphs::Sparse(&self.edges))
            }
        })
    }
}
