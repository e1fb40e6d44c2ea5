//! Yang 2019–2020: the limit of any program, the tangent kernel of any architecture, and where gradients depend on weights.

mod independence;
mod jacobians;
mod matrices;
mod widths;

use crate::{BoxError, Context, Experiment, Report};

/// Programs at finite width against their limits.
pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "tensor-programs",
    title: "Any program has a limit",
    source: "[yang2019scaling], [yang2020tensor], [yang2020tensor3]",
    claim: "Kernels of recurrent networks, gated networks, transformers and batch norm tend to those of their programs with the rate \
            n^(−1/2); where gradients are not independent of the weights, the limit that follows the dependence is right \
            and the naive one is wrong; random-matrix laws are programs, too.",
    formula: "‖Θ̂ − Θ̊‖ / ‖Θ̊‖ = O(n^(−1/2)), Z^{Wx} = Ẑ^{Wx} + Ż^{Wx}, (1/n) tr Mᵏ → E[Z^v Z^{Mᵏv}]",
    seconds: [8.0, 60.0, 1500.0],
    memory: [[0.1, 0.05], [0.4, 0.2], [1.5, 0.9]],
    run,
};

fn run(ctx: &Context<'_>) -> Result<Report, BoxError> {
    let mut report = Report::default();
    widths::study(ctx, &mut report)?;
    independence::study(ctx, &mut report)?;
    matrices::study(ctx, &mut report)?;
    jacobians::study(ctx, &mut report)?;
    Ok(report)
}
