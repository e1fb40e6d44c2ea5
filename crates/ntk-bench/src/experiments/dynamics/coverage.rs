//! Calibration of the ensemble: do intervals of the predicted process hold as many trained networks as they should?

use std::ops::ControlFlow;

use ndarray::{Array2, Axis, concatenate, s};
use ntk_analytic::Analytic;
use ntk_core::{Activation, KernelBlock, KernelFn, Net, Variance, Which};
use ntk_dynamics::{Descent, Ensemble, Gram, LearningRate, LossScale, Momentum, Ridge, Spectrum, Steps};
use ntk_empirical::TrainOptions;
use ntk_empirical::candle_core::DType;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::super::common;
use crate::{BoxError, Claim, Context, Criterion, Plot, Report, Table, stats};

const SOURCE: &str = "[lee2019wide] Theorem 2.2";
const RATE: f64 = 0.5;
const TIMES: [usize; 3] = [16, 64, 256];
/// Probability and half width in standard deviations of central normal intervals.
const LEVELS: [(f64, f64); 5] =
    [(0.25, 0.318_639), (0.5, 0.674_490), (0.75, 1.150_349), (0.9, 1.644_854), (0.95, 1.959_964)];

pub(super) fn study(ctx: &Context<'_>, report: &mut Report) -> Result<(), BoxError> {
    let (width, count) = (ctx.pick([256, 512, 2048]), ctx.pick([32, 60, 100]));
    let seeds = ctx.seeds(count);
    let (train, test) = common::pair(ctx, [3, 8], 24, 60)?;
    let (x, y, elsewhere) = (train.inputs(), train.signs(0), test.inputs());
    let net = Net::mlp(2, Activation::ERF, 1, Variance::new(1.5)?, Variance::new(0.1)?);
    report.size("networks of the ensemble", format!("{count} of width {width}")).seeds(seeds.clone());
    common::credit(report, &train, &test);

    let n = x.nrows();
    let all = concatenate(Axis(0), &[x.view(), elsewhere.view()])?;
    let KernelBlock { nngp, ntk } = Analytic::new(net.clone())?.symmetric((&all).into(), Which::Both)?;
    let (nngp, ntk) = (nngp.ok_or("no NNGP")?, ntk.ok_or("no NTK")?);
    let gram = |kernel: &Array2<f64>| Gram::new(kernel.slice(s![..n, ..n]).to_owned());
    let cross = |kernel: &Array2<f64>| Some(kernel.slice(s![n.., ..n]).to_owned());
    let spectrum = Spectrum::new(&gram(&ntk)?, Ridge::None)?;
    let descent = Descent::new(&spectrum, LearningRate::new(RATE)?, LossScale::MeanNK, Momentum::NONE);
    let ensemble = Ensemble::ntk(&descent, &gram(&nngp)?, y.view())?;
    let points = ensemble.test(&KernelBlock { nngp: cross(&nngp), ntk: cross(&ntk) })?;
    let diagonal = nngp.diag().slice(s![n..]).to_owned();

    let bar = ctx.progress("training the ensemble", count);
    let runs: Vec<Array2<f64>> = seeds
        .par_iter()
        .map(|&seed| {
            let run = outputs(ctx, &net, [&x, &y, &elsewhere], width, seed);
            bar.step();
            run
        })
        .collect::<Result<_, _>>()?;

    let mut table = Table::new(
        "Share of the outputs of trained networks inside central intervals of the predicted process",
        ["step", "25 %", "50 %", "75 %", "90 %", "95 %"],
    );
    let mut plot = Plot::new("Calibration of the infinite ensemble", "predicted share", "share of networks")
        .reference("calibrated", [[0.0, 0.0], [1.0, 1.0]]);
    for (i, &time) in TIMES.iter().enumerate() {
        let at = Steps::Finite(time as u64);
        let (means, variances) = (points.mean(at)?, points.variance(at, diagonal.view())?);
        // Outputs of one network are correlated: each network has one vote.
        let covered = |run: &Array2<f64>, half: f64| {
            let inside = |j: &usize| (run[[i, *j]] - means[[*j, 0]]).abs() <= half * variances[*j].sqrt();
            (0..means.nrows()).filter(inside).count() as f64 / means.nrows() as f64
        };
        let mut row = vec![time as f64];
        let mut line = Vec::new();
        for (level, half) in LEVELS {
            let votes: Vec<f64> = runs.iter().map(|run| covered(run, half)).collect();
            let (share, error) = (stats::mean(&votes), stats::standard_error(&votes));
            row.push(share);
            line.push([level, share]);
            if level == 0.5 || level == 0.9 {
                report.claim(Claim::new(
                    SOURCE,
                    format!("share of outputs in the {:.0} % interval after {time} steps", 100.0 * level),
                    // The variance of the process has an error of order 1/n beside that of the sample.
                    Criterion::Within { expected: level, tolerance: 3.0 * error + 8.0 / width as f64 },
                    share,
                ));
            }
        }
        table = table.numbers(row);
        plot = plot.line(&format!("after {time} steps"), line);
    }
    report.table(table).plot(plot);
    Ok(())
}

/// Test outputs of one network, (times, points).
fn outputs(
    ctx: &Context<'_>,
    net: &Net,
    [x, y, elsewhere]: [&Array2<f64>; 3],
    width: usize,
    seed: u64,
) -> Result<Array2<f64>, BoxError> {
    let mut net = common::draw(ctx, net, x.ncols(), width, seed, DType::F32)?;
    let last = TIMES[TIMES.len() - 1];
    let options = TrainOptions { record: TIMES.to_vec(), ..TrainOptions::descent(RATE, last) };
    let mut found = Array2::zeros((TIMES.len(), elsewhere.nrows()));
    let (mut i, mut failed) = (0, None);
    net.train(&options, x.into(), y.view(), |step| match step.model.outputs(elsewhere.into()) {
        Ok(outputs) => {
            found.row_mut(i).assign(&outputs.column(0));
            i += 1;
            ControlFlow::Continue(())
        }
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    })?;
    failed.map_or(Ok(found), |error| Err(error.into()))
}
