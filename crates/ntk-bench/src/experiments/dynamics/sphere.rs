//! The spectrum on the sphere: eigenvalues of kernel matrices of random samples, against those of the kernel.

use ndarray::Array1;
use ntk_analytic::{Analytic, SphereSpectrum};
use ntk_core::{Activation, KernelFn, Net, Variance, Which};
use ntk_linalg::{Symmetric, eigenvalues};

use super::super::common;
use crate::{BoxError, Claim, Context, Criterion, Plot, Report, Side, stats};

const SOURCE: &str = "[atkinson2012spherical]";
const DIMENSION: usize = 6;

pub(super) fn study(ctx: &Context<'_>, report: &mut Report) -> Result<(), BoxError> {
    let sizes = ctx.pick([[32, 64, 128, 256, 512], [64, 128, 256, 512, 1024], [128, 256, 512, 1024, 2048]]);
    let seeds = ctx.seeds(ctx.pick([16, 16, 32]));
    report.size("samples on the sphere", common::list(&sizes)).seeds(seeds.clone());
    let net = Net::mlp(2, Activation::Relu, 1, Variance::TWO, Variance::new(0.1)?);
    let kernel = Analytic::new(net)?;
    let norm = (DIMENSION as f64).sqrt();
    let spectrum = SphereSpectrum::of(&kernel, Which::Ntk, DIMENSION, norm, 60)?;
    let (lambda, many) = (spectrum.eigenvalues(), spectrum.multiplicities());
    report.claim(Claim::new(
        SOURCE,
        "Σ N_k λ_k up to degree 60 over the trace κ(1)",
        Criterion::Within { expected: 1.0, tolerance: 0.03 },
        1.0 - spectrum.tail() / spectrum.trace(),
    ));
    let bar = ctx.progress("eigenvalues on the sphere", sizes.len() * seeds.len());
    let (mut single, mut top, mut last) = (Vec::new(), Vec::new(), Array1::zeros(0));
    for &n in &sizes {
        let (mut errors, mut tops) = (Vec::new(), Vec::new());
        for &seed in &seeds {
            let mut x = common::normals(ctx, n, DIMENSION, seed)?;
            for mut row in x.rows_mut() {
                let length = row.dot(&row).sqrt() / norm;
                row /= length;
            }
            let gram = kernel.symmetric((&x).into(), Which::Ntk)?.ntk.ok_or("no NTK")?;
            let mut found = eigenvalues(&Symmetric::new(gram)?)?.to_vec();
            found.sort_by(|a, b| b.total_cmp(a));
            let found = Array1::from(found) / n as f64;
            tops.push(found[0] / lambda[0] - 1.0);
            errors.extend((1..=DIMENSION).map(|i| found[i] / lambda[1] - 1.0));
            last = found;
            bar.step();
        }
        single.push(stats::rms(&errors));
        top.push(stats::rms(&tops));
    }
    let n = sizes.map(|n| n as f64);
    for (quantity, expected, values) in [
        ("those of degree 1", -0.5, &single),
        ("the largest, where symmetry spares the first order", -1.0, &top),
    ] {
        report.claim(common::rate(
            SOURCE,
            &format!("exponent in n of the relative error of λᵢ(K)/n, {quantity}"),
            expected,
            Side::Both,
            stats::power_law(&n, values)?,
        ));
    }
    let mut pairs: Vec<(f64, f64)> = lambda.iter().copied().zip(many.iter().copied()).collect();
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut levels, mut index) = (Vec::new(), 1.0);
    for (lambda, many) in pairs {
        let end = (index + many - 1.0).min(last.len() as f64);
        if lambda > 0.0 && index <= end {
            levels.extend([[index, lambda], [end, lambda]]);
        }
        index += many;
    }
    report.plot(
        Plot::new("NTK of a ReLU network on the sphere of ℝ⁶", "index i", "eigenvalue per sample")
            .log_log()
            .points("λᵢ(K)/n of one draw", last.iter().zip(1..).map(|(&v, i)| [f64::from(i), v]))
            .reference("λ_k, degree by degree", levels),
    );
    report.plot(
        Plot::new("Error of the eigenvalues of kernel matrices", "samples n", "relative error, rms")
            .log_log()
            .line("degree 1", n.iter().zip(&single).map(|(&n, &e)| [n, e]))
            .line("degree 0", n.iter().zip(&top).map(|(&n, &e)| [n, e])),
    );
    Ok(())
}
