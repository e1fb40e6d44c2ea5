//! Lee et al. 2019: outputs of an ensemble of trained wide networks follow one Gaussian process, at all times.

use std::ops::ControlFlow;

use ndarray::{Array1, Array2, Axis, concatenate, s};
use ntk_analytic::Analytic;
use ntk_core::{Activation, KernelBlock, KernelFn, Net, Variance, Which};
use ntk_dynamics::{Descent, Ensemble, Gram, LearningRate, LossScale, Momentum, Ridge, Spectrum, Steps};
use ntk_empirical::TrainOptions;
use ntk_empirical::candle_core::DType;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::common;
use crate::{BoxError, Claim, Context, Criterion, Experiment, Plot, Report, Table, data, stats};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "ensemble",
    title: "An ensemble of trained networks is a Gaussian process at all times",
    source: "[lee2019wide] Theorem 2.2, Fig. 2",
    claim: "Over random initializations, the outputs of a wide network after t steps of gradient descent are normal, with \
            the mean and covariance that the NTK and NNGP kernels predict; training the readout alone gives another \
            process.",
    formula: "fₜ(x) ~ N(C Y, K(x, x) + C K Cᵀ − 2 C K(X, x)), C = Θ(x, X) Θ⁻¹ (I − (I − ηΘ)ᵗ)",
    seconds: [6.0, 115.0, 1.4e7],
    memory: [[0.1, 0.05], [0.4, 0.1], [0.5, 1.2]],
    run,
};

const SOURCE: &str = "[lee2019wide] Theorem 2.2, Fig. 2";
const DEPTH: usize = 3;
const RATE: f64 = 0.5;

/// Points whose predicted standard deviation is below this share of the first are closed and not judged: training has
/// pinned them, and what is left there is of order 1/√n and not of order 1, as in the theorem.
const CLOSED: f64 = 0.05;

fn run(ctx: &Context<'_>) -> Result<Report, BoxError> {
    let (width, networks) = (ctx.pick([256, 512, 8192]), ctx.pick([32, 100, 100]));
    let times = ctx.pick([&[0, 16, 256][..], &[0, 16, 256, 1024], &[0, 16, 256, 65536]]);
    let (train, test) = common::pair(ctx, [0, 1], ctx.pick([8, 16, 128]), 0)?;
    let (x, y) = (train.inputs(), train.signs(0));
    let first =
        |class: u8| train.labels.iter().position(|label| *label == class).ok_or("no image of a class");
    let (one, other) = (x.row(first(0)?), x.row(first(1)?));
    let alphas = Array1::linspace(-2.0, 3.0, 26);
    let mut curve = Array2::zeros((alphas.len(), x.ncols()));
    for (mut point, &alpha) in curve.rows_mut().into_iter().zip(&alphas) {
        point.assign(&(&one * alpha + &other * (1.0 - alpha)));
    }
    let task = Task { x: &x, y: &y, curve: &data::normalized(curve), alphas, times, width, networks };

    let mut report = Report::default();
    report.size("width", width).size("hidden layers", DEPTH).size("networks", networks);
    report.size("steps", common::list(times)).size("learning rate", RATE).seeds(ctx.seeds(networks));
    common::credit(&mut report, &train, &test);
    let bar = ctx.progress("training the ensembles", 2 * networks);
    for phi in [Activation::Tanh, Activation::ERF] {
        let net = Net::mlp(DEPTH, phi.clone(), 1, Variance::new(1.5)?, Variance::ZERO);
        let theory = Theory::new(&net, &task)?;
        let runs: Vec<Run> = ctx
            .seeds(networks)
            .par_iter()
            .map(|&seed| {
                let run = train_one(ctx, &net, &task, seed);
                bar.step();
                run
            })
            .collect::<Result<_, _>>()?;
        judge(&mut report, &phi, &task, &theory, &runs);
        if phi == Activation::Tanh {
            report.claim(Claim::new(
                SOURCE,
                "2 √K(x, x) of the infinite tanh network, as read off the figure",
                Criterion::Within { expected: 1.28, tolerance: 0.005 },
                2.0 * theory.initial,
            ));
            panels(&mut report, &task, &theory, &runs);
        }
    }
    Ok(report)
}

/// What is trained on and where it is looked at.
struct Task<'a> {
    x: &'a Array2<f64>,
    y: &'a Array2<f64>,
    /// x(α) = α x₁ + (1 − α) x₂, scaled to |x|²/d = 1.
    curve: &'a Array2<f64>,
    alphas: Array1<f64>,
    times: &'a [usize],
    width: usize,
    networks: usize,
}

/// Outputs of one network: on the curve, (times, α), and on the train set, (times, N).
struct Run {
    curve: Array2<f64>,
    train: Array2<f64>,
}

fn train_one(ctx: &Context<'_>, net: &Net, task: &Task<'_>, seed: u64) -> Result<Run, BoxError> {
    let mut net = common::draw(ctx, net, task.x.ncols(), task.width, seed, DType::F32)?;
    let last = task.times.iter().copied().max().unwrap_or(0);
    let options = TrainOptions { record: task.times.to_vec(), ..TrainOptions::descent(RATE, last) };
    let mut run = Run {
        curve: Array2::zeros((task.times.len(), task.alphas.len())),
        train: Array2::zeros((task.times.len(), task.x.nrows())),
    };
    let (mut i, mut failed) = (0, None);
    net.train(&options, task.x.into(), task.y.view(), |step| match step.model.outputs(task.curve.into()) {
        Ok(outputs) => {
            run.curve.row_mut(i).assign(&outputs.column(0));
            run.train.row_mut(i).assign(&step.outputs.column(0));
            i += 1;
            ControlFlow::Continue(())
        }
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    })?;
    failed.map_or(Ok(run), |error| Err(error.into()))
}

/// Predicted means and standard deviations on the curve, (times, α), when all layers train and when the readout does.
struct Theory {
    ntk: [Array2<f64>; 2],
    nngp: [Array2<f64>; 2],
    /// √K(x, x) at initialization.
    initial: f64,
}

impl Theory {
    fn new(net: &Net, task: &Task<'_>) -> Result<Self, BoxError> {
        let n = task.x.nrows();
        let all = concatenate(Axis(0), &[task.x.view(), task.curve.view()])?;
        let KernelBlock { nngp, ntk } = Analytic::new(net.clone())?.symmetric((&all).into(), Which::Both)?;
        let (nngp, ntk) = (nngp.ok_or("no NNGP")?, ntk.ok_or("no NTK")?);
        let train = |kernel: &Array2<f64>| Gram::new(kernel.slice(s![..n, ..n]).to_owned());
        let cross = |kernel: &Array2<f64>| Some(kernel.slice(s![n.., ..n]).to_owned());
        let block = KernelBlock { nngp: cross(&nngp), ntk: cross(&ntk) };
        let diagonal = nngp.diag().slice(s![n..]).to_owned();
        let descent = |kernel: &Array2<f64>| -> Result<Descent, BoxError> {
            let spectrum = Spectrum::new(&train(kernel)?, Ridge::None)?;
            Ok(Descent::new(&spectrum, LearningRate::new(RATE)?, LossScale::MeanNK, Momentum::NONE))
        };
        let moments = |ensemble: Ensemble<_>| -> Result<[Array2<f64>; 2], BoxError> {
            let points = ensemble.test(&block)?;
            let shape = (task.times.len(), task.alphas.len());
            let (mut means, mut deviations) = (Array2::zeros(shape), Array2::zeros(shape));
            for (i, &time) in task.times.iter().enumerate() {
                let at = Steps::Finite(time as u64);
                means.row_mut(i).assign(&points.mean(at)?.column(0));
                deviations.row_mut(i).assign(&points.variance(at, diagonal.view())?.mapv(f64::sqrt));
            }
            Ok([means, deviations])
        };
        Ok(Theory {
            ntk: moments(Ensemble::ntk(&descent(&ntk)?, &train(&nngp)?, task.y.view())?)?,
            nngp: moments(Ensemble::nngp(&descent(&nngp)?, task.y.view())?)?,
            initial: diagonal[0].sqrt(),
        })
    }
}

/// What the points of one activation say, counted over all open points or read off the last time.
fn judge(report: &mut Report, phi: &Activation, task: &Task<'_>, theory: &Theory, runs: &[Run]) {
    let (m, last) = (task.networks as f64, task.times.len() - 1);
    let at = |i: usize, j: usize| runs.iter().map(|run| run.curve[[i, j]]).collect::<Vec<_>>();
    let open = |[_, deviations]: &[Array2<f64>; 2], i, j| deviations[[i, j]] >= CLOSED * theory.initial;

    let mut table = Table::new(
        &format!("{phi}: the ensemble against the process of the NTK, over the open points of a time"),
        [
            "t",
            "points",
            "rms of (mean − C Y)/s.e.",
            "mean of variance/predicted",
            "least p-value of normality",
        ],
    );
    let [means, deviations] = &theory.ntk;
    let (mut z, mut ratios, mut p_values) = (Vec::new(), Vec::new(), Vec::new());
    for (i, &time) in task.times.iter().enumerate() {
        let start = z.len();
        for j in (0..task.alphas.len()).filter(|&j| open(&theory.ntk, i, j)) {
            let (sample, mean, deviation) = (at(i, j), means[[i, j]], deviations[[i, j]]);
            z.push((stats::mean(&sample) - mean) / (deviation / m.sqrt()));
            ratios.push(stats::variance(&sample) / deviation.powi(2));
            p_values.push(stats::kolmogorov_smirnov(&sample, |f| normal((f - mean) / deviation)).1);
        }
        table = table.numbers([
            time as f64,
            (z.len() - start) as f64,
            stats::rms(&z[start..]),
            stats::mean(&ratios[start..]),
            stats::quantile(&p_values[start..], 0.0),
        ]);
    }
    let share =
        |held: &dyn Fn(usize) -> bool| (0..z.len()).filter(|&k| held(k)).count() as f64 / z.len() as f64;
    // The cube root of χ²/ν is normal with variance 2/(9ν) about 1 − 2/(9ν), already for few networks.
    let error = 2.0 / (9.0 * (m - 1.0));
    let alike = |ratio: f64| (ratio.cbrt() - (1.0 - error)).abs() <= 3.0 * error.sqrt();

    // Each network has one vote, its mean over points and times, so that correlated outputs do not count twice.
    let both: Vec<(usize, usize)> = (1..task.times.len())
        .flat_map(|i| (0..task.alphas.len()).map(move |j| (i, j)))
        .filter(|&(i, j)| open(&theory.ntk, i, j) && open(&theory.nngp, i, j))
        .collect();
    let log_likelihood = |[means, deviations]: &[Array2<f64>; 2], f: f64, at: (usize, usize)| {
        -0.5 * ((f - means[at]) / deviations[at]).powi(2) - deviations[at].ln()
    };
    let vote = |run: &Run| {
        let ratio = |&at: &(usize, usize)| {
            log_likelihood(&theory.ntk, run.curve[at], at) - log_likelihood(&theory.nngp, run.curve[at], at)
        };
        stats::mean(&both.iter().map(ratio).collect::<Vec<_>>())
    };
    let votes: Vec<f64> = runs.iter().map(vote).collect();

    let spread = |i: usize| {
        let of_sample = |k| stats::variance(&runs.iter().map(|run| run.train[[i, k]]).collect::<Vec<_>>());
        stats::mean(&(0..task.x.nrows()).map(of_sample).collect::<Vec<_>>()).sqrt()
    };
    let initial: Vec<f64> = (0..task.alphas.len()).map(|j| stats::variance(&at(0, j))).collect();
    for (quantity, criterion, got) in [
        (
            "2 standard deviations at t = 0, rms over the curve".to_owned(),
            Criterion::Within {
                expected: 2.0 * theory.initial,
                tolerance: 6.0 * theory.initial / (2.0 * (m - 1.0)).sqrt(),
            },
            2.0 * stats::mean(&initial).sqrt(),
        ),
        (
            "share of points with the mean within 3 standard errors".to_owned(),
            Criterion::AtLeast(0.95),
            share(&|k| z[k].abs() <= 3.0),
        ),
        (
            "share of points with the variance within 3 standard errors".to_owned(),
            Criterion::AtLeast(0.95),
            share(&|k| alike(ratios[k])),
        ),
        (
            format!("least p-value of normality (Kolmogorov–Smirnov) times {} points", z.len()),
            Criterion::AtLeast(0.01),
            stats::quantile(&p_values, 0.0) * z.len() as f64,
        ),
        (
            "log-likelihood of the NTK process over the NNGP's for t > 0, in standard errors".to_owned(),
            Criterion::AtLeast(3.0),
            stats::mean(&votes) / stats::standard_error(&votes),
        ),
        (
            format!("standard deviation on the train set at t = {} over that at t = 0", task.times[last]),
            Criterion::AtMost(0.1),
            spread(last) / spread(0),
        ),
    ] {
        report.claim(Claim::new(SOURCE, format!("{quantity}, {phi}"), criterion, got));
    }
    report.table(table);
}

/// One panel of the figure for each time.
fn panels(report: &mut Report, task: &Task<'_>, theory: &Theory, runs: &[Run]) {
    for (i, time) in task.times.iter().enumerate() {
        let band = |[means, deviations]: &[Array2<f64>; 2]| -> Vec<[f64; 3]> {
            let ends = |j| {
                let (mean, two): (f64, f64) = (means[[i, j]], 2.0 * deviations[[i, j]]);
                [task.alphas[j], mean - two, mean + two]
            };
            (0..task.alphas.len()).map(ends).collect()
        };
        let bars: Vec<[f64; 3]> = (0..task.alphas.len())
            .map(|j| {
                let sample: Vec<f64> = runs.iter().map(|run| run.curve[[i, j]]).collect();
                let (mean, two) = (stats::mean(&sample), 2.0 * stats::variance(&sample).sqrt());
                [task.alphas[j], mean - two, mean + two]
            })
            .collect();
        let middle = |ends: &[[f64; 3]]| ends.iter().map(|p| [p[0], 0.5 * (p[1] + p[2])]).collect::<Vec<_>>();
        let (ntk, nngp) = (band(&theory.ntk), band(&theory.nngp));
        report.plot(
            Plot::new(
                &format!("tanh, mean ± 2 standard deviations after {time} steps"),
                "α",
                "output on αx₁ + (1 − α)x₂",
            )
            .band("readout alone trained (NNGP)", nngp.clone())
            .line("readout alone trained (NNGP)", middle(&nngp))
            .band("all layers trained (NTK)", ntk.clone())
            .line("all layers trained (NTK)", middle(&ntk))
            .error_bars("ensemble of networks", bars.clone())
            .points("ensemble of networks", middle(&bars)),
        );
    }
}

/// The distribution function of N(0, 1).
fn normal(z: f64) -> f64 {
    0.5 * (1.0 + Activation::ERF.eval(z / 2f64.sqrt()).unwrap_or(f64::NAN))
}
