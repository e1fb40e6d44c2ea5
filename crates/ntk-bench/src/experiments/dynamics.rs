//! Predictions about training and depth from kernels alone, each held against finite networks or measured regression.

mod coverage;
mod cross_entropy;
mod learning_curves;
mod phases;
mod schedules;
mod sphere;
mod widths;

use crate::{BoxError, Context, Experiment, Report};

/// From phases of depth to learning curves.
pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "dynamics",
    title: "What kernels say about depth, width, data and time",
    source: "[schoenholz2017deep], [roberts2022principles], [simon2023eigenlearning], [lee2019wide]",
    claim: "Correlations of inputs settle with depth where and as fast as the mean-field map says; kernels of finite \
            networks fluctuate as 1/n with the coefficients of the four-point vertices; eigenvalues on the sphere are \
            those of large kernel matrices; the error of kernel regression follows from the spectrum; intervals of the \
            infinite ensemble hold as many networks as they should; wide networks follow the \
            differential equation of cross-entropy and the closed form of Nesterov's steps.",
    formula: "ξ_c = −1/ln χ, n Var K̂ → V, λᵢ(K)/n → λ_k",
    seconds: [40.0, 150.0, 3600.0],
    memory: [[0.1, 0.05], [0.4, 0.1], [0.9, 0.3]],
    run,
};

fn run(ctx: &Context<'_>) -> Result<Report, BoxError> {
    let mut report = Report::default();
    phases::study(ctx, &mut report)?;
    widths::study(ctx, &mut report)?;
    sphere::study(ctx, &mut report)?;
    learning_curves::study(ctx, &mut report)?;
    coverage::study(ctx, &mut report)?;
    cross_entropy::study(ctx, &mut report)?;
    schedules::study(ctx, &mut report)?;
    Ok(report)
}
