//! Order and chaos: the correlation of two inputs through the layers of wide networks, against the mean-field map.

use ndarray::{Array2, Axis, s};
use ntk_analytic::effective::{MeanField, Propagation, edge_of_chaos};
use ntk_core::{Activation, Variance};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::super::common;
use crate::{BoxError, Claim, Context, Criterion, Plot, Report, Table, stats};

const SOURCE: &str = "[schoenholz2017deep] section 3";
const BIAS: f64 = 0.05;
/// Multiples of the critical σ_w².
const FACTORS: [f64; 6] = [0.5, 0.7, 0.85, 1.3, 1.8, 2.5];

pub(super) fn study(ctx: &Context<'_>, report: &mut Report) -> Result<(), BoxError> {
    let (width, depth) = (ctx.pick([300, 600, 2000]), ctx.pick([24, 30, 60]));
    let seeds = ctx.seeds(ctx.pick([4, 8, 32]));
    let bias = Variance::new(BIAS)?;
    let edge = edge_of_chaos(&Activation::Tanh, bias)?;
    let field = MeanField::new(&Activation::Tanh, Variance::new(edge.weight)?, bias)?;
    let cells = FACTORS
        .iter()
        .map(|factor| -> Result<Cell, BoxError> {
            let weight = factor * edge.weight;
            let field = field.with_variances(Variance::new(weight)?, bias);
            let limit = field.propagation(1.0)?;
            // From the fixed point of the variance on, with the inputs uncorrelated.
            let expected: Vec<f64> =
                field.tangents(limit.variance, 1.0, depth)?.iter().map(|layer| layer.correlation).collect();
            Ok(Cell { weight, limit, expected })
        })
        .collect::<Result<Vec<_>, _>>()?;
    report.size("width of the networks of many layers", width).size("layers", depth);
    report.seeds(seeds.clone());
    let bar = ctx.progress("deep networks", seeds.len());
    let runs: Vec<Array2<f64>> = seeds
        .par_iter()
        .map(|&seed| {
            let run = correlations(ctx, &cells, width, depth, seed);
            bar.step();
            run
        })
        .collect::<Result<_, _>>()?;

    let mut table = Table::new(
        "Correlations of two inputs in deep tanh networks, against the mean-field map",
        [
            "σ_w²",
            "c*",
            "c of the last layer",
            "standard error",
            "ξ_c",
            "fitted in the networks",
            "in the map",
        ],
    );
    let mut plot = Plot::new("Correlation of two inputs, tanh, σ_b² = 0.05", "layer", "correlation");
    let (mut distances, mut ratios, mut scales) = (Vec::new(), Vec::new(), Vec::new());
    for (i, cell) in cells.iter().enumerate() {
        let column = |l: usize| runs.iter().map(|run| run[[i, l]]).collect::<Vec<f64>>();
        let means: Vec<f64> = (0..depth).map(|l| stats::mean(&column(l))).collect();
        let last = column(depth - 1);
        let (c, error) = (cell.limit.correlation.unwrap_or(f64::NAN), stats::standard_error(&last));
        distances.push((means[depth - 1] - cell.expected[depth - 1]).abs());
        let found = [&means, &cell.expected].map(|values| depth_scale(values, c));
        ratios.push(found[0] / found[1]);
        scales.push([cell.weight, found[0], cell.limit.correlation_depth]);
        table = table.numbers([
            cell.weight,
            c,
            means[depth - 1],
            error,
            cell.limit.correlation_depth,
            found[0],
            found[1],
        ]);
        let label = format!("σ_w² = {:.2}", cell.weight);
        let points = |values: &[f64]| (1..).map(f64::from).zip(values.to_vec()).map(|(l, c)| [l, c]);
        plot = plot.points(&label, points(&means)).line(&label, points(&cell.expected));
    }
    let worst = distances.iter().copied().fold(0.0, f64::max);
    report.claim(Claim::new(
        SOURCE,
        format!("largest |c − mean field| in layer {depth}, over σ_w², width {width}"),
        // Fluctuations of a layer, averaged over networks, and a bias of order 1/n.
        Criterion::AtMost(5.0 / (width as f64 * seeds.len() as f64).sqrt() + 20.0 / width as f64),
        worst,
    ));
    report.claim(Claim::new(
        SOURCE,
        "median over σ_w² of the depth scale fitted in networks over that fitted in the map",
        Criterion::Within { expected: 1.0, tolerance: 0.1 },
        stats::median(&ratios),
    ));
    report.plot(plot).table(table);
    diagram(report, &field, edge.weight, &scales)
}

/// Depth scales over σ_w², and the edge of chaos of three activations.
fn diagram(report: &mut Report, field: &MeanField, edge: f64, scales: &[[f64; 3]]) -> Result<(), BoxError> {
    let weights: Vec<Variance> =
        (1..=60).map(|k| Variance::new(0.05 * f64::from(k) * edge)).collect::<Result<_, _>>()?;
    let cells = field.phase_diagram(&weights, &[Variance::new(BIAS)?], 1.0)?;
    let line = |pick: fn(&Propagation) -> f64| {
        weights.iter().zip(&cells).map(move |(weight, cell)| [weight.get(), pick(cell)]).collect::<Vec<_>>()
    };
    report.plot(
        Plot::new("How deep signals reach, tanh, σ_b² = 0.05", "σ_w²", "layers")
            .log_y()
            .line("ξ_c", line(|cell| cell.correlation_depth))
            .line("ξ_q", line(|cell| cell.variance_depth))
            .points("fitted in networks", scales.iter().map(|&[weight, found, _]| [weight, found])),
    );
    let mut plot = Plot::new("The edge of chaos", "σ_b²", "σ_w²");
    for phi in [Activation::Tanh, Activation::ERF, Activation::HardTanh] {
        let points = (0..=20).map(|k| 0.025 * f64::from(k)).map(|bias| -> Result<[f64; 2], BoxError> {
            Ok([bias, edge_of_chaos(&phi, Variance::new(bias)?).map_or(f64::NAN, |edge| edge.weight)])
        });
        plot = plot.line(phi.name(), points.collect::<Result<Vec<_>, BoxError>>()?);
    }
    report.plot(plot);
    Ok(())
}

/// One σ_w² with what the limit says.
struct Cell {
    weight: f64,
    limit: Propagation,
    /// c of each layer.
    expected: Vec<f64>,
}

/// Correlations of the preactivations of two inputs, (cells, layers), all cells with the same draws.
fn correlations(
    ctx: &Context<'_>,
    cells: &[Cell],
    width: usize,
    depth: usize,
    seed: u64,
) -> Result<Array2<f64>, BoxError> {
    let seed = |layer: usize| seed * 1000 + layer as u64;
    let first = common::normals(ctx, 2, width, seed(0))?;
    // (inputs of all cells, units).
    let mut h = Array2::zeros((2 * cells.len(), width));
    for (i, cell) in cells.iter().enumerate() {
        h.slice_mut(s![2 * i..2 * i + 2, ..]).assign(&(&first * cell.limit.variance.sqrt()));
    }
    let mut found = Array2::zeros((cells.len(), depth));
    for layer in 0..depth {
        if layer > 0 {
            let weights = common::normals(ctx, width, width, seed(layer))?;
            let biases = common::normals(ctx, 1, width, seed(layer + 500))?;
            h = h.mapv(f64::tanh).dot(&weights) / (width as f64).sqrt();
            for (i, cell) in cells.iter().enumerate() {
                for k in 2 * i..2 * i + 2 {
                    let mut row = h.row_mut(k);
                    row *= cell.weight.sqrt();
                    row.scaled_add(BIAS.sqrt(), &biases.row(0));
                }
            }
        }
        for i in 0..cells.len() {
            let (a, b) = (h.index_axis(Axis(0), 2 * i), h.index_axis(Axis(0), 2 * i + 1));
            found[[i, layer]] = a.dot(&b) / (a.dot(&a) * b.dot(&b)).sqrt();
        }
    }
    Ok(found)
}

/// −1 over the slope of ln |c_l − c*| while that lies between 0.7 and 0.15 of what it was in the first layer.
fn depth_scale(correlations: &[f64], c: f64) -> f64 {
    let start = (correlations[0] - c).abs();
    let (x, y): (Vec<f64>, Vec<f64>) = (0..)
        .map(f64::from)
        .zip(correlations)
        .map(|(l, value)| (l, (value - c).abs() / start))
        .take_while(|(_, share)| *share > 0.15)
        .filter(|(_, share)| *share < 0.7)
        .map(|(l, share)| (l, share.ln()))
        .unzip();
    stats::line(&x, &y).map_or(f64::NAN, |fit| -1.0 / fit.slope)
}
