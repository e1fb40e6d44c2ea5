//! Published accuracies beside ours, on the data sets that `cargo xtask data` brings: images, tables, graphs.

mod dense;
mod graphs;
mod tables;

use super::cnn::published;
use crate::{BoxError, Context, Error, Experiment, Report};

/// Accuracies of kernel regression on real data.
pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "headlines",
    title: "Published accuracies of kernels of infinite networks",
    source: "[lee2019wide], [arora2019exact], [arora2020harnessing], [du2019graph]",
    claim: "Regression with the kernels of infinite networks has the accuracy that was published for images (dense and \
            convolutional, without pooling), for graphs, and for small tables.",
    formula: "f(x) = Θ(x, X)(Θ + ρI)⁻¹Y",
    seconds: [10.0, 600.0, 7200.0],
    memory: [[1.7, 0.05], [3.6, 0.1], [3.6, 0.8]],
    run,
};

/// Numbers chosen as the best of these ridges, multiples of the mean diagonal.
const RIDGES: [f64; 7] = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0];

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
