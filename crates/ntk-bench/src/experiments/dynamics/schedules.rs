//! Nesterov's momentum and a schedule of learning rates: exact predictions for the linearization, against real networks.

use ndarray::{Array1, Array2, Axis};
use ntk_dynamics::{
    Gram, LearningRate, LossScale, Method, Momentum, Ridge, Schedule, ScheduledDescent, Spectrum, Steps,
    WeightDecay,
};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::super::common;
use crate::{BoxError, Claim, Context, Criterion, Plot, Report, Side, stats};

const SOURCE: &str = "[lee2019wide] Theorem 2.1";
const WEIGHT: f64 = 1.5;
const MOMENTUM: f64 = 0.9;
const WARM_UP: u64 = 10;

pub(super) fn study(ctx: &Context<'_>, report: &mut Report) -> Result<(), BoxError> {
    let widths =
        ctx.pick([[64, 128, 256, 512, 1024], [64, 128, 256, 512, 1024], [256, 512, 1024, 2048, 4096]]);
    let seeds = ctx.seeds(ctx.pick([6, 16, 32]));
    let steps = 120;
    let (train, test) = common::pair(ctx, [3, 8], 40, 60)?;
    let (x, y, elsewhere) = (train.inputs(), train.signs(0), test.inputs());
    report
        .size("widths, Nesterov with a schedule", common::list(&widths))
        .size("steps of the schedule", steps);
    report.seeds(seeds.clone());
    let task = Task { x: &x, y: &y, elsewhere: &elsewhere, steps };
    let bar = ctx.progress("Nesterov with a schedule", widths.len() * seeds.len());
    let jobs: Vec<(usize, u64)> =
        widths.iter().rev().flat_map(|&n| seeds.iter().map(move |&seed| (n, seed))).collect();
    let runs: Vec<Run> = jobs
        .par_iter()
        .map(|&(width, seed)| {
            let run = train_one(ctx, &task, width, seed);
            bar.step();
            run
        })
        .collect::<Result<_, _>>()?;
    let of_width = |n: usize| jobs.iter().zip(&runs).filter(move |((m, _), _)| *m == n).map(|(_, run)| run);
    let distances: Vec<f64> = widths
        .iter()
        .map(|&n| stats::rms(&of_width(n).map(|run| run.distance).collect::<Vec<_>>()))
        .collect();
    let n = widths.map(|n| n as f64);
    report.claim(common::rate(
        SOURCE,
        "exponent in n of sup_t |f − f_lin| on test images, Nesterov with warm-up and cosine",
        -0.5,
        Side::Above,
        stats::power_law(&n, &distances)?,
    ));
    report.claim(Claim::new(
        SOURCE,
        format!("rms over networks of that distance, Nesterov, n = {}", widths[4]),
        Criterion::AtMost(0.1),
        distances[4],
    ));
    let Some(one) = of_width(widths[4]).next() else { return Ok(()) };
    let line = |k: usize| (0..).map(f64::from).zip(&one.losses).map(move |(step, losses)| [step, losses[k]]);
    report.plot(
        Plot::new(
            &format!("Loss under Nesterov's momentum with warm-up and cosine, width {}", widths[4]),
            "step",
            "train loss",
        )
        .log_y()
        .points("network", line(0))
        .line("predicted from its first kernel", line(1)),
    );
    report.plot(
        Plot::new(
            "From the linearization, Nesterov with a schedule",
            "width n",
            "sup over t, rms over outputs",
        )
        .log_log()
        .line("networks", n.iter().zip(&distances).map(|(&n, &d)| [n, d]))
        .reference("n^(−1/2)", n.iter().map(|&m| [m, distances[0] * (n[0] / m).sqrt()])),
    );
    Ok(())
}

/// Data and length of training.
struct Task<'a> {
    x: &'a Array2<f64>,
    y: &'a Array2<f64>,
    elsewhere: &'a Array2<f64>,
    steps: u64,
}

/// One network against its prediction.
struct Run {
    /// sup over steps of the distance of test outputs.
    distance: f64,
    /// Of each step, trained and predicted.
    losses: Vec<[f64; 2]>,
}

/// f(x) = σ_w/√n v·tanh(σ_w/√d W x): parameters that can be added and scaled.
#[derive(Clone)]
struct Parameters {
    inner: Array2<f64>,
    outer: Array1<f64>,
}

impl Parameters {
    fn plus(&self, factor: f64, other: &Parameters) -> Parameters {
        let mut sum = self.clone();
        sum.inner.scaled_add(factor, &other.inner);
        sum.outer.scaled_add(factor, &other.outer);
        sum
    }

    fn scale(&self) -> (f64, f64) {
        let (n, d) = self.inner.dim();
        ((WEIGHT / n as f64).sqrt(), (WEIGHT / d as f64).sqrt())
    }

    /// tanh of the hidden layer, (N, n).
    fn hidden(&self, x: &Array2<f64>) -> Array2<f64> {
        (x.dot(&self.inner.t()) * self.scale().1).mapv_into(f64::tanh)
    }

    fn outputs(&self, x: &Array2<f64>) -> Array2<f64> {
        (self.hidden(x).dot(&self.outer) * self.scale().0).insert_axis(Axis(1))
    }

    /// ∂f/∂h of the hidden layer, over its scale: v tanh′, (N, n).
    fn back(&self, hidden: &Array2<f64>) -> Array2<f64> {
        hidden.mapv(|a| 1.0 - a * a) * &self.outer
    }

    /// Σ r ∇f over the samples.
    fn gradient(&self, x: &Array2<f64>, r: &Array1<f64>) -> Parameters {
        let (out, inside) = self.scale();
        let hidden = self.hidden(x);
        let back = self.back(&hidden) * r.view().insert_axis(Axis(1));
        Parameters { inner: back.t().dot(x) * (out * inside), outer: hidden.t().dot(r) * out }
    }

    /// The tangent kernel between two sets of inputs.
    fn kernel(&self, x: &Array2<f64>, other: &Array2<f64>) -> Array2<f64> {
        let (out, inside) = self.scale();
        let [a, b] = [x, other].map(|x| self.hidden(x));
        let inner = self.back(&a).dot(&self.back(&b).t()) * x.dot(&other.t()) * (inside * inside);
        (a.dot(&b.t()) + inner) * (out * out)
    }
}

fn train_one(ctx: &Context<'_>, task: &Task<'_>, width: usize, seed: u64) -> Result<Run, BoxError> {
    let &Task { x, y, elsewhere, steps } = task;
    let inner = common::normals(ctx, width, x.ncols(), 2 * seed)?;
    let outer = common::normals(ctx, 1, width, 2 * seed + 1)?.row(0).to_owned();
    let mut here = Parameters { inner, outer };
    let spectrum = Spectrum::new(&Gram::new(here.kernel(x, x))?, Ridge::None)?;
    let largest = spectrum.eigenvalues().iter().fold(0.0f64, |a, &b| a.max(b));
    let samples = x.nrows() as f64;
    // A third of the rate at which Nesterov's method diverges.
    let method = Method::Nesterov(Momentum::new(MOMENTUM)?);
    let rate = method.bound() * samples / (3.0 * largest);
    let schedule = Schedule::warm_up(WARM_UP).then(&Schedule::cosine(steps - WARM_UP, 0.0)?);
    let descent = ScheduledDescent::new(
        &spectrum,
        LearningRate::new(rate)?,
        LossScale::MeanN,
        method,
        schedule.clone(),
        WeightDecay::NONE,
    );
    let predicted = descent.fit(y.view(), here.outputs(x).view())?;
    let (cross, initial) = (here.kernel(elsewhere, x), here.outputs(elsewhere));
    let mut before = here.clone();
    let mut run = Run { distance: 0.0, losses: Vec::new() };
    for step in 0..=steps {
        let at = Steps::Finite(step);
        let residual = here.outputs(x) - y;
        let loss = 0.5 * residual.mapv(|r| r * r).sum() / samples;
        run.losses.push([loss, predicted.loss(at)?]);
        if step % 5 == 0 {
            let difference = here.outputs(elsewhere) - predicted.test(at, cross.view(), initial.view())?;
            run.distance = run.distance.max(stats::rms(&difference.into_raw_vec_and_offset().0));
        }
        let ahead = here.plus(MOMENTUM, &here.plus(-1.0, &before));
        let residual = (ahead.outputs(x) - y).column(0).to_owned();
        let factor = rate * schedule.factor(step) / samples;
        let next = ahead.plus(-factor, &ahead.gradient(x, &residual));
        before = std::mem::replace(&mut here, next);
    }
    Ok(run)
}
