//! Published accuracies beside ours, on the data sets that `cargo xtask data` brings: images, tables, graphs.

mod dense;
mod graphs;
mod svm;
mod tables;

use super::cnn::published;
use crate::{BoxError, Context, Error, Experiment, Report};

/// Accuracies of kernels on real data.
pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "headlines",
    title: "Published accuracies of kernels of infinite networks",
    source: "[lee2019wide], [arora2019exact], [arora2020harnessing], [du2019graph]",
    claim: "Kernels of infinite networks have the accuracy that was published: by regression on images (dense and \
            convolutional, without pooling), in support-vector machines on graphs and on small tables.",
    formula: "f(x) = Θ(x, X)(Θ + ρI)⁻¹Y, or sign(Σ_i β_i Θ(x, x_i) + b) with 0 ≤ y_iβ_i ≤ C",
    seconds: [10.0, 400.0, 1500.0],
    memory: [[1.7, 0.05], [3.6, 0.1], [3.6, 0.8]],
    run,
};

fn run(ctx: &Context<'_>) -> Result<Report, BoxError> {
    let mut report = Report::default();
    dense::judge(ctx, &mut report)?;
    published::judge(ctx, &mut report)?;
    graphs::judge(ctx, &mut report)?;
    tables::judge(ctx, &mut report)?;
    if report.claims.is_empty() && report.tables.is_empty() {
        return Err(Error::NoDataDir { set: "one of the sets that `cargo xtask data` lists" }.into());
    }
    Ok(report)
}
