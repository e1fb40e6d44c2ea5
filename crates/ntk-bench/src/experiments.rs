//! The table of all experiments. A new one is a file beside this module's others and a line in [`ALL`].

mod cnn;
mod common;
mod cross_entropy_momentum;
mod deep_linear;
mod dynamics;
mod ensemble;
mod headlines;
mod hierarchy;
mod lazy;
mod learning_rate;
mod linearity;
mod parameterization;
mod tensor_programs;

mod linearization;
mod monte_carlo;
mod width_change;

use crate::{Error, Experiment};

/// Every experiment, in the order of the report.
///
/// One file holds one experiment:
///
/// ```
/// //! Lee et al. 2019: the tangent kernel of a wide network barely moves.
/// use ntk_bench::{BoxError, Claim, Context, Criterion, Experiment, Report, Side, stats};
///
/// pub const EXPERIMENT: Experiment = Experiment {
///     name: "kernel_change",
///     title: "The tangent kernel of a wide network barely moves",
///     source: "[lee2019wide] Theorem 2.1, Fig. 1",
///     claim: "The relative change of the kernel falls at least as fast as one over the root of the width.",
///     formula: "‖Θ̂ₜ − Θ̂₀‖ / ‖Θ̂₀‖ = O(n^(−1/2))",
///     seconds: [5.0, 60.0, 3600.0],
///     memory: [[0.1, 0.1], [0.1, 0.1], [0.5, 0.4]],
///     run,
/// };
///
/// fn run(ctx: &Context<'_>) -> Result<Report, BoxError> {
///     let widths = ctx.pick([&[16, 32, 64, 128, 256][..], &[32, 64, 128, 256, 512], &[64, 128, 256, 512, 1024]]);
///     let bar = ctx.progress("training", widths.len());
///     let changes: Vec<f64> = widths.iter().map(|&n| { bar.step(); 1.0 / (n as f64) }).collect();
///     let n: Vec<f64> = widths.iter().map(|&n| n as f64).collect();
///     let fit = stats::power_law(&n, &changes)?;
///     let rate = Criterion::Slope {
///         expected: -0.5, tolerance: 0.1, standard_error: fit.standard_error, side: Side::Above,
///     };
///     let mut report = Report::default();
///     report.size("widths", format!("{widths:?}")).seeds(ctx.seeds(1));
///     report.claim(Claim::new("[lee2019wide] Theorem 2.1", "exponent in n of the change of Θ", rate, fit.slope));
///     Ok(report)
/// }
/// ```
pub const ALL: &[Experiment] = &[
    linearization::EXPERIMENT,
    monte_carlo::EXPERIMENT,
    width_change::EXPERIMENT,
    parameterization::EXPERIMENT,
    learning_rate::EXPERIMENT,
    ensemble::EXPERIMENT,
    cross_entropy_momentum::EXPERIMENT,
    cnn::EXPERIMENT,
    hierarchy::EXPERIMENT,
    lazy::EXPERIMENT,
    linearity::EXPERIMENT,
    deep_linear::EXPERIMENT,
    tensor_programs::EXPERIMENT,
    dynamics::EXPERIMENT,
];

/// Experiments on images: at the papers' sizes they want the papers' images.
pub const OF_IMAGES: &[&str] = &[
    "linearization",
    "monte_carlo",
    "width_change",
    "parameterization",
    "learning_rate",
    "ensemble",
    "cross_entropy_momentum",
    "cnn",
    "hierarchy",
    "lazy",
];

/// Experiments that run only if they are named: they need data that nobody has at hand.
pub const ON_REQUEST: &[Experiment] = &[headlines::EXPERIMENT];

/// The experiments of these names, in the order of the table; all of them if there is no name.
///
/// # Errors
/// [`Error::UnknownExperiment`].
pub fn select<'a>(all: &'a [Experiment], names: &[String]) -> Result<Vec<&'a Experiment>, Error> {
    for name in names {
        if all.iter().all(|experiment| experiment.name != name) {
            let known: Vec<&str> = all.iter().map(|experiment| experiment.name).collect();
            return Err(Error::UnknownExperiment { name: name.clone(), known: known.join(", ") });
        }
    }
    let wanted = |experiment: &&Experiment| names.is_empty() || names.iter().any(|n| n == experiment.name);
    Ok(all.iter().filter(wanted).collect())
}
