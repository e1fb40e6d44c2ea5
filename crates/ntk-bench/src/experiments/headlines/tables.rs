//! Kernel regression on small tables with the tuning protocol of the tables' comparison: UCI-90.

use std::time::Instant;

use ndarray::{Array2, Axis};
use ntk_analytic::Analytic;
use ntk_core::{Activation, KernelFn, Net, Variance, Which};
use ntk_dynamics::{Gram, Posterior, Ridge};
use rayon::prelude::*;

use super::RIDGES;
use crate::data::{Fold, TableSet, accuracy};
use crate::{BoxError, Claim, Context, Criterion, Report, Table, stats};

/// Mean accuracy in percent over the sets that is published for support-vector machines with the NTK.
const PUBLISHED: f64 = 81.95;
/// Hidden layers that are tried; of each, so many of the first ones are not trained.
const DEPTHS: std::ops::RangeInclusive<usize> = 1..=5;

pub(super) fn judge(ctx: &Context<'_>, report: &mut Report) -> Result<(), BoxError> {
    let most = ctx.pick([200, 1000, 5000]);
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
        "UCI-90: accuracy of regression with the NTK over four folds, in percent",
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
        "UCI-90: kernel ridge regression in place of a support-vector machine; depth, frozen layers and ridge are tuned on \
         the split that comes with each set. Mean {:.2} ± {:.2} (standard deviation over sets), {:.0} s.",
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

/// The mean accuracy over the folds, with what is best on the split for tuning.
fn score(set: &TableSet) -> Result<f64, BoxError> {
    let mut best = (-1.0, None);
    for depth in DEPTHS {
        for frozen in 0..depth {
            let (kernel, ridges) = (kernel(set, depth, frozen)?, RIDGES);
            for ridge in ridges {
                let got = predicted(set, &kernel, ridge, &set.tuning)?;
                if got > best.0 {
                    best = (got, Some((depth, frozen, ridge)));
                }
            }
        }
    }
    let (depth, frozen, ridge) = best.1.ok_or("nothing was tuned")?;
    let kernel = kernel(set, depth, frozen)?;
    let folds =
        set.folds.iter().map(|fold| predicted(set, &kernel, ridge, fold)).collect::<Result<Vec<_>, _>>()?;
    Ok(stats::mean(&folds))
}

/// The NTK of all rows, the first `frozen` layers not trained.
fn kernel(set: &TableSet, depth: usize, frozen: usize) -> Result<Array2<f64>, BoxError> {
    let hidden = || Net::dense(Variance::TWO, Variance::ZERO).then(Net::activation(Activation::Relu));
    let layers = (0..depth).map(|k| if k < frozen { hidden().frozen() } else { hidden() });
    let net = Net::serial(layers).then(Net::readout(1, Variance::ONE, Variance::ZERO));
    Analytic::new(net)?.symmetric((&set.x).into(), Which::Ntk)?.ntk.ok_or_else(|| "no kernel".into())
}

fn predicted(set: &TableSet, kernel: &Array2<f64>, ridge: f64, fold: &Fold) -> Result<f64, BoxError> {
    let select = |rows: &[usize]| kernel.select(Axis(0), rows).select(Axis(1), &fold.train);
    let targets = Array2::from_shape_fn((fold.train.len(), set.classes), |(k, class)| {
        let hit = usize::from(set.labels[fold.train[k]]) == class;
        f64::from(u8::from(hit)) - 1.0 / set.classes as f64
    });
    let fit =
        Posterior::new(&Gram::new(select(&fold.train))?, Ridge::RelativeToTrace(ridge), targets.view())?;
    let labels: Vec<u8> = fold.test.iter().map(|&i| set.labels[i]).collect();
    Ok(accuracy(&fit.mean(select(&fold.test).view())?, &labels))
}
