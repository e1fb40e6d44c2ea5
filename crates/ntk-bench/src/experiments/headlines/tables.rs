//! Support-vector machines with the NTK on small tables, with the published protocol of tuning: UCI-90.

use std::time::Instant;

use ndarray::Array2;
use ntk_analytic::Analytic;
use ntk_core::{Activation, KernelFn, Net, Variance, Which};
use rayon::prelude::*;

use super::svm;
use crate::data::TableSet;
use crate::{BoxError, Claim, Context, Criterion, Report, Table, stats};

/// Mean accuracy in percent over the sets that is published for support-vector machines with the NTK.
const PUBLISHED: f64 = 81.95;
/// Hidden layers that are tried; from none to all of them are not trained.
const MOST_HIDDEN: usize = 4;
/// Costs that are tried.
const COSTS: [f64; 7] = [1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3, 1e4];

pub(super) fn judge(ctx: &Context<'_>, report: &mut Report) -> Result<(), BoxError> {
    let most = ctx.pick([200, 5000, 5000]);
    let sets = ctx.data.tables(most)?;
    if sets.is_empty() {
        return Ok(());
    }
    let started = Instant::now();
    let bar = ctx.progress("tables", sets.len());
    let one = |set: &TableSet| -> Result<f64, BoxError> {
        let got = score(set)?;
        bar.step();
        Ok(got)
    };
    let scores = sets.par_iter().with_max_len(1).map(one).collect::<Result<Vec<_>, _>>()?;
    let mut table = Table::new(
        "UCI-90: accuracy of support-vector machines with the NTK over four folds, in percent",
        ["set", "rows", "classes", "accuracy"],
    );
    for (set, score) in sets.iter().zip(&scores) {
        table = table.row([
            set.name.clone(),
            set.labels.len().to_string(),
            set.classes.to_string(),
            format!("{:.2}", 100.0 * score),
        ]);
    }
    let percent: Vec<f64> = scores.iter().map(|score| 100.0 * score).collect();
    report.size("UCI-90", format!("{} sets of at most {most} rows", sets.len())).table(table).note(format!(
        "UCI-90: hidden layers (0 to {MOST_HIDDEN}), frozen ones and the cost (10⁻² to 10⁴) are tuned on the split that comes \
         with each set. Mean {:.2} ± {:.2} (standard deviation over sets), {:.0} s.",
        stats::mean(&percent),
        stats::variance(&percent).sqrt(),
        started.elapsed().as_secs_f64()
    ));
    // The mean over fewer sets is another number.
    if most == 5000 {
        report.claim(Claim::new(
            "[arora2020harnessing] Table 1",
            format!("UCI-90: mean accuracy in percent over {} sets", sets.len()),
            Criterion::Within { expected: PUBLISHED, tolerance: 1.0 },
            stats::mean(&percent),
        ));
    }
    Ok(())
}

/// The mean accuracy over the folds, with what is best on the split for tuning, of equals the first.
fn score(set: &TableSet) -> Result<f64, BoxError> {
    let mut best = (-1.0, 0, 0, 0);
    for hidden in 0..=MOST_HIDDEN {
        for frozen in 0..=hidden {
            let kernel = kernel(set, hidden, frozen)?;
            for (k, got) in svm::accuracies(&kernel, &set.labels, &set.tuning, &COSTS).into_iter().enumerate()
            {
                if got > best.0 {
                    best = (got, hidden, frozen, k);
                }
            }
        }
    }
    let (_, hidden, frozen, k) = best;
    let kernel = kernel(set, hidden, frozen)?;
    let folds = set.folds.iter().map(|fold| svm::accuracies(&kernel, &set.labels, fold, &COSTS[..=k])[k]);
    Ok(stats::mean(&folds.collect::<Vec<_>>()))
}

/// The NTK of all rows, the first `frozen` layers not trained.
fn kernel(set: &TableSet, hidden: usize, frozen: usize) -> Result<Array2<f64>, BoxError> {
    // Weights of variance one, as published: the costs belong to that scale.
    let layer = || Net::dense(Variance::ONE, Variance::ZERO).then(Net::activation(Activation::Relu));
    let layers = (0..hidden).map(|k| if k < frozen { layer().frozen() } else { layer() });
    let net = Net::serial(layers).then(Net::readout(1, Variance::ONE, Variance::ZERO));
    Analytic::new(net)?.symmetric((&set.x).into(), Which::Ntk)?.ntk.ok_or_else(|| "no kernel".into())
}
