//! Cross-entropy in function space: the differential equation of the infinite network, against finite ones.

use std::ops::ControlFlow;

use ndarray::{Array2, Axis, concatenate, s};
use ntk_analytic::Analytic;
use ntk_core::{Activation, KernelFn, Net, Variance, Which};
use ntk_dynamics::{CrossEntropy, FunctionSpace, Gram, LearningRate, LossScale, Ridge, Spectrum, Time};
use ntk_empirical::candle_core::DType;
use ntk_empirical::{Loss, Reduction, TrainOptions};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::super::common;
use crate::data::accuracy;
use crate::{BoxError, Context, Plot, Report, Side, Table, stats};

const SOURCE: &str = "[lee2019wide] Theorem 2.1";
const CLASSES: usize = 10;
/// Of the rate N/λ_max at which a step and the flow part: descent is close to the flow.
const SLOWNESS: f64 = 0.05;

pub(super) fn study(ctx: &Context<'_>, report: &mut Report) -> Result<(), BoxError> {
    let widths = ctx.pick([[16, 32, 64, 128, 256], [32, 64, 128, 256, 512], [64, 128, 256, 512, 1024]]);
    let seeds = ctx.seeds(ctx.pick([6, 8, 16]));
    let steps = ctx.pick([150, 300, 1000]);
    let (train, test) = common::images(ctx, 60, 60)?;
    let (x, elsewhere) = (train.inputs(), test.inputs());
    // One-hot targets are distributions over the classes.
    let y = train.one_hot() + 1.0 / CLASSES as f64;
    let net = Net::mlp(2, Activation::ERF, CLASSES, Variance::TWO, Variance::new(0.1)?);
    let all = concatenate(Axis(0), &[x.view(), elsewhere.view()])?;
    let kernel = Analytic::new(net.clone())?.symmetric((&all).into(), Which::Ntk)?.ntk.ok_or("no NTK")?;
    let n = x.nrows();
    let gram = Gram::new(kernel.slice(s![..n, ..n]).to_owned())?;
    let cross = kernel.slice(s![n.., ..n]).to_owned();
    let spectrum = Spectrum::new(&gram, Ridge::None)?;
    let largest = spectrum.eigenvalues().iter().fold(0.0f64, |a, &b| a.max(b));
    let rate = SLOWNESS * n as f64 / largest;
    let record: Vec<usize> = (0..=10).map(|k| k * steps / 10).collect();
    let times: Vec<Time> = record.iter().map(|&step| Time::Finite(step as f64)).collect();
    let flow =
        FunctionSpace::flow(&gram, Ridge::None, CrossEntropy, LearningRate::new(rate)?, LossScale::MeanN)?;
    report.size("widths, cross-entropy", common::list(&widths)).size("steps, cross-entropy", steps);
    report.seeds(seeds.clone());

    let options = TrainOptions {
        loss: Loss::CrossEntropy,
        reduction: Reduction::MeanN,
        record: record.clone(),
        ..TrainOptions::descent(rate, steps)
    };
    let bar = ctx.progress("training on cross-entropy", widths.len() * seeds.len());
    let jobs: Vec<(usize, u64)> =
        widths.iter().rev().flat_map(|&n| seeds.iter().map(move |&seed| (n, seed))).collect();
    let runs: Vec<Run> = jobs
        .par_iter()
        .map(|&(width, seed)| -> Result<Run, BoxError> {
            let mut net = common::draw(ctx, &net, x.ncols(), width, seed, DType::F32)?;
            let [f0, g0] = [&x, &elsewhere].map(|x| net.outputs(x.into()));
            let (f0, g0) = (f0?, g0?);
            let predicted = flow.fit(y.view(), f0.view(), &times)?;
            let mut run = Run::default();
            let (mut i, mut failed) = (0, None);
            net.train(&options, (&x).into(), y.view(), |step| {
                let snapshot = &predicted.snapshots[i];
                let compared =
                    step.model.outputs((&elsewhere).into()).map_err(BoxError::from).and_then(|outputs| {
                        let expected = snapshot.test(cross.view(), g0.view())?;
                        run.distance = run.distance.max(rms_distance(&outputs, &expected));
                        run.losses.push([step.loss, snapshot.loss]);
                        let both = [&outputs, &expected];
                        run.accuracies.push(both.map(|outputs| accuracy(outputs, &test.labels)));
                        Ok(())
                    });
                i += 1;
                match compared {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => {
                        failed = Some(error);
                        ControlFlow::Break(())
                    }
                }
            })?;
            bar.step();
            failed.map_or(Ok(run), Err)
        })
        .collect::<Result<_, _>>()?;

    let of_width = |n: usize| jobs.iter().zip(&runs).filter(move |((m, _), _)| *m == n).map(|(_, run)| run);
    let distances: Vec<f64> = widths
        .iter()
        .map(|&n| stats::rms(&of_width(n).map(|run| run.distance).collect::<Vec<_>>()))
        .collect();
    let n: Vec<f64> = widths.iter().map(|&n| n as f64).collect();
    report.claim(common::rate(
        SOURCE,
        "exponent in n of sup_t |f − f_∞| on test images, cross-entropy by its differential equation",
        -0.5,
        Side::Above,
        stats::power_law(&n, &distances)?,
    ));
    let widest = widths[widths.len() - 1];
    let mut table = Table::new(
        &format!(
            "Cross-entropy at width {widest}, mean over networks: trained, and predicted from its first outputs"
        ),
        ["step", "loss", "predicted", "test accuracy", "predicted accuracy"],
    );
    let mut lines: [Vec<[f64; 2]>; 2] = Default::default();
    for (i, &step) in record.iter().enumerate() {
        let mean = |pick: &dyn Fn(&Run) -> f64| stats::mean(&of_width(widest).map(pick).collect::<Vec<_>>());
        let losses = [0, 1].map(|k| mean(&|run| run.losses[i][k]));
        let accuracies = [0, 1].map(|k| mean(&|run| run.accuracies[i][k]));
        for k in 0..2 {
            lines[k].push([step as f64, losses[k]]);
        }
        table = table.numbers([step as f64, losses[0], losses[1], accuracies[0], accuracies[1]]);
    }
    let [found, predicted] = lines;
    report.table(table).plot(
        Plot::new(&format!("Cross-entropy on the train images, width {widest}"), "step", "loss")
            .points("networks", found)
            .line("differential equation with the infinite kernel", predicted),
    );
    report.plot(
        Plot::new(
            "From the infinite network, trained on cross-entropy",
            "width n",
            "sup over t, rms over outputs",
        )
        .log_log()
        .line("networks", n.iter().zip(&distances).map(|(&n, &d)| [n, d]))
        .reference("n^(−1/2)", n.iter().map(|&m| [m, distances[0] * (n[0] / m).sqrt()])),
    );
    Ok(())
}

/// One network against its prediction.
#[derive(Default)]
struct Run {
    /// sup over the recorded steps of the distance of test outputs.
    distance: f64,
    /// Trained and predicted.
    losses: Vec<[f64; 2]>,
    accuracies: Vec<[f64; 2]>,
}

fn rms_distance(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    stats::rms(&(a - b).into_raw_vec_and_offset().0)
}
