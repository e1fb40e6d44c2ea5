//! Kernels of programs against width: the figures of GP4A and NTK4A on tokens of our own.

use ndarray::{Array2, array};
use ntk_analytic::program::{BatchNormRelu, KernelLimit, ParticleLimit, ParticleOptions};
use ntk_core::program::networks::{self, Rates, Readout, Transformer, Weights};
use ntk_core::program::{Builder, Estimate, Expr, Program, ScalarGradients, tangent_kernel};
use ntk_empirical::FiniteProgram;
use rayon::prelude::*;

use super::super::common;
use crate::{BoxError, Claim, Context, Criterion, Plot, Report, Side, Table, stats};

/// Inner products of the tokens of two sequences, five and three: nearby tokens are alike.
fn gram() -> Array2<f64> {
    let d = [1.0, 0.9, 1.1, 0.8, 1.2, 1.0, 0.7, 1.1];
    Array2::from_shape_fn((8, 8), |(i, j)| {
        let apart = i as f64 - j as f64;
        d[i] * d[j] * (-0.25 * apart * apart).exp()
    })
}

const LENGTHS: [usize; 2] = [5, 3];

/// A network with its limit and the constant that the notebooks show for deviation · √n.
struct Subject {
    name: &'static str,
    program: Program,
    /// NNGP and tangent kernel.
    limit: [Array2<f64>; 2],
    constant: Option<f64>,
}

fn subjects(ctx: &Context<'_>) -> Result<Vec<Subject>, BoxError> {
    let weights = |weight, input, bias| Weights { weight, input, bias, readout: 1.0, rates: Rates::Unit };
    let (erf, relu) = (Expr::arg(0).erf(), Expr::arg(0).relu());
    let gate = (1.0 + Expr::arg(0).erf()) * 0.5;
    let rnn = networks::rnn(&erf, &weights(1.0, 2.0, 0.2), &gram(), &LENGTHS, Readout::Average)?;
    let gru = networks::gru(&erf, &gate, &weights(1.0, 1.0, 1.0), &gram(), &LENGTHS, Readout::Last)?;
    let kind = Transformer { depth: 1, causal: false, tied: true, epsilon: 0.0 };
    let transformer = networks::transformer(&kind, &relu, &weights(1.0, 1.0, 1.0), &gram(), &LENGTHS)?;
    let (batch, batch_limit) = batch_norm()?;
    let exact = |program: &Program| KernelLimit::new(program.clone())?.kernels();
    let options = ParticleOptions {
        particles: ctx.pick([1 << 16, 1 << 18, 1 << 20]),
        seed: ctx.seed,
        ..ParticleOptions::default()
    };
    let sampled = ParticleLimit::new(gru.clone(), options)?.forward_tangents()?;
    Ok(vec![
        Subject { name: "RNN, average pool", limit: exact(&rnn)?, program: rnn, constant: Some(1.8) },
        Subject {
            name: "GRU, last state",
            limit: sampled.map(|kernel| kernel.mapv(|x: Estimate| x.value)),
            program: gru,
            constant: None,
        },
        Subject {
            name: "transformer",
            limit: exact(&transformer)?,
            program: transformer,
            constant: Some(1.15),
        },
        Subject { name: "batch norm and ReLU", limit: batch_limit, program: batch, constant: Some(3.7) },
    ])
}

/// Two layers of batch normalization and ReLU over the tokens as one batch, without ε: no theorem covers their gradients,
/// and the deviations are heavy-tailed.
fn batch_norm() -> Result<(Program, [Array2<f64>; 2]), BoxError> {
    let mut p = Builder::new();
    let names = (0..8).map(|k| format!("u{k}")).collect::<Vec<_>>();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let u = p.inputs(&names, &[0.0; 8], gram(), Some(gram()))?;
    let x = networks::batch_norm(&mut p, &u, 0.0)?;
    let x = x.iter().map(|&x| p.apply(Expr::arg(0).relu(), &[x])).collect::<Result<Vec<_>, _>>()?;
    let w = p.matrix_with("W", 1.0, 1.0)?;
    let h = x.iter().map(|&x| p.matmul(w, x)).collect::<Result<Vec<_>, _>>()?;
    let y = networks::batch_norm(&mut p, &h, 0.0)?;
    let v = p.inputs(&["v"], &[0.0], array![[1.0]], Some(array![[1.0]]))?[0];
    for (k, y) in y.into_iter().enumerate() {
        let y = p.apply(Expr::arg(0).relu(), &[y])?;
        p.output(&format!("f{k}"), v, y)?;
    }
    let weights = Weights { weight: 1.0, input: 1.0, bias: 0.0, readout: 1.0, rates: Rates::Unit };
    Ok((p.finish(), BatchNormRelu::new(0.0, &[8])?.kernels(&gram(), 2, &weights)?))
}

pub(super) fn study(ctx: &Context<'_>, report: &mut Report) -> Result<(), BoxError> {
    let widths = ctx.pick([
        &[32, 64, 128, 256, 512][..],
        &[32, 64, 128, 256, 512, 1024],
        &[64, 128, 256, 512, 1024, 2048, 4096],
    ]);
    let count = ctx.pick([16, 48, 100]);
    report.size("widths", common::list(widths)).size("draws for each width", count).seeds(ctx.seeds(count));
    let mut table = Table::new(
        "Relative deviation of the tangent kernel, RMS over draws (batch norm: median)",
        ["network"],
    );
    table.columns.extend(widths.iter().map(|n| format!("n = {n}")));
    table.columns.extend(["exponent".to_owned(), "deviation · √n".to_owned()]);
    let mut plot = Plot::new("Deviation of kernels from their limits", "width n", "‖Θ̂ − Θ̊‖ / ‖Θ̊‖").log_log();
    for Subject { name, program, limit, constant } in subjects(ctx)? {
        let (backward, gradients) = program.with_backward(ScalarGradients::Exact)?;
        let bar = ctx.progress(name, widths.len() * count);
        let jobs: Vec<(usize, u64)> = widths
            .iter()
            .rev()
            .flat_map(|&n| ctx.seeds(count).into_iter().map(move |seed| (n, seed)))
            .collect();
        let one = |&(n, seed): &(usize, u64)| -> Result<[f64; 2], BoxError> {
            let draw = FiniteProgram::draw(backward.clone(), n, seed)?;
            let kernels = tangent_kernel(&draw, &gradients)?;
            bar.step();
            let found = [kernels.nngp, kernels.ntk].map(|kernel| kernel.mapv(|x| x.value));
            Ok([0, 1].map(|k: usize| norm(&(&found[k] - &limit[k])) / norm(&limit[k])))
        };
        let mut all = jobs.par_iter().with_max_len(1).map(one).collect::<Result<Vec<_>, _>>()?;
        all.reverse();
        // Of a heavy-tailed law the median.
        let typical = if name.starts_with("batch") { stats::median } else { stats::rms };
        let n: Vec<f64> = widths.iter().map(|&n| n as f64).collect();
        for (k, kernel) in ["NNGP", "NTK"].into_iter().enumerate() {
            let deviations: Vec<f64> = all
                .chunks(count)
                .map(|draws| typical(&draws.iter().map(|both| both[k]).collect::<Vec<_>>()))
                .collect();
            let fit = stats::power_law(&n, &deviations)?;
            let source = if k == 0 { "[yang2019wide] Fig. 1" } else { "[yang2020tensor] Fig. 2" };
            let quantity = format!("exponent in n of the deviation of the {kernel}, {name}");
            report.claim(common::rate(source, &quantity, -0.5, Side::Both, fit));
            if k == 0 {
                continue;
            }
            let constants: Vec<f64> = n.iter().zip(&deviations).map(|(n, d)| n.sqrt() * d).collect();
            let middle = stats::median(&constants);
            if let Some(constant) = constant {
                // On other data than the notebooks', so within a factor.
                let criterion = Criterion::Within { expected: 0.0, tolerance: 1.5f64.ln() };
                let quantity = format!("logarithm of deviation · √n over {constant}, {name}");
                report.claim(Claim::new(source, quantity, criterion, (middle / constant).ln()));
            }
            let mut row = vec![name.to_owned()];
            row.extend(deviations.iter().map(|d| format!("{d:.4}")));
            row.extend([format!("{:.3} ± {:.3}", fit.slope, fit.standard_error), format!("{middle:.2}")]);
            table = table.row(row);
            plot = plot.line(name, n.iter().zip(&deviations).map(|(&n, &d)| [n, d]));
        }
    }
    let ends = [widths[0] as f64, widths[widths.len() - 1] as f64];
    plot = plot.reference("n^(−1/2)", ends.map(|n| [n, n.powf(-0.5)]));
    report.plot(plot).table(table);
    Ok(())
}

fn norm(a: &Array2<f64>) -> f64 {
    a.iter().map(|x| x * x).sum::<f64>().sqrt()
}
