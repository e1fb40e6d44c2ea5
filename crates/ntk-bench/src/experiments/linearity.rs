//! Liu, Zhu and Belkin 2022: wide networks are assemblies of weak models and become linear in their parameters, and what
//! keeps models from it.

mod curve;
mod deep;
mod shallow;
mod training;

use ndarray::{Array2, Axis};
use ntk_linalg::Lanczos;

use super::common;
use crate::{BoxError, Context, Experiment, Report};

/// Hessian against gradient and width.
pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "linearity",
    title: "Wide networks become linear because they assemble weak models",
    source: "[liu2022transition]",
    claim: "The norm of the Hessian of a wide network falls as m^(−1/2) while that of its gradient stays, at the initial \
            parameters and in a ball around them, because the network is an assembly of m weak sub-models. It does not \
            fall if one sub-model dominates, if sub-models share their parameters, through a bottleneck, or under a \
            nonlinear output; and where it does not, training changes the tangent kernel at any width.",
    formula: "‖∇²f‖ = O(m^(−1/2)), ‖∇f‖ = Θ(1), |f − f_lin| ≤ ½ R² sup ‖∇²f‖",
    seconds: [22.0, 65.0, 6000.0],
    // The bases of three runs of Lanczos: about 126 vectors of 34 MB at full size, at most 180.
    memory: [[0.1, 0.05], [0.4, 0.3], [0.5, 5.0]],
    run,
};

const SOURCE: &str = "[liu2022transition]";

/// Numbers of an input.
const FEATURES: usize = 10;

fn run(ctx: &Context<'_>) -> Result<Report, BoxError> {
    let mut report = Report::default();
    report.size("inputs", format!("{FEATURES} normal numbers, scaled to ‖x‖² = {FEATURES}"));
    report.size("networks", "tanh, σ_w² = 1, no bias, NTK parameterization");
    report.note(
        "Norms of Hessians are moduli of extreme eigenvalues by Lanczos with full reorthogonalization, to a residual of \
         1e-2 of the norm, and exact for assemblies. They are largest values over many similar blocks, so that rates \
         carry factors √(ln m) and exponents fitted at these widths lie somewhat above −1/2.",
    );
    shallow::judge(ctx, &mut report)?;
    deep::judge(ctx, &mut report)?;
    training::judge(ctx, &mut report)?;
    Ok(report)
}

/// Inputs on the sphere ‖x‖² = d, (samples, d).
fn inputs(ctx: &Context<'_>, samples: usize, seed: u64) -> Result<Array2<f64>, BoxError> {
    // Weights of the networks are drawn from the seeds themselves.
    let mut x = common::normals(ctx, samples, FEATURES, seed ^ 0x5eed_0000)?;
    for mut row in x.axis_iter_mut(Axis(0)) {
        let scale = (FEATURES as f64 / row.dot(&row)).sqrt();
        row *= scale;
    }
    Ok(x)
}

/// The norm of a Hessian to a hundredth.
fn lanczos() -> Lanczos {
    Lanczos::norm(60, 1e-2)
}
