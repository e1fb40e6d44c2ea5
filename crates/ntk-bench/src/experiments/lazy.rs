//! Two dials between lazy and rich training: the scale α of Chizat et al. 2019, and learning rates beyond 2/λ.

mod catapult;

use std::ops::ControlFlow;

use ndarray::Array2;
use ntk_core::{Activation, KernelFn, Net, Variance, Which};
use ntk_dynamics::{Gram, Ridge, regression_error};
use ntk_empirical::candle_core::DType;
use ntk_empirical::{FiniteNet, TrainOptions, Trajectory};
use ntk_linalg::Symmetric;
use rayon::prelude::*;

use super::common;
use crate::{BoxError, Claim, Context, Criterion, Experiment, Plot, Report, Table, stats};

/// Training of α (f − f₀) against α, and the catapult window.
pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "lazy",
    title: "Scale and learning rate decide whether a network is lazy",
    source: "[chizat2019lazy] Theorem 2.2",
    claim: "Trained as F = α (f − f₀) with loss/α², a network of any fixed width becomes its linearization as α grows: \
            weights and tangent kernel move by 1/α, F differs from the linear model by 1/α. Learning rates decide \
            likewise: below 2/λ the loss falls and the curvature λ stays; from there to 4/λ, in the linear network of \
            two layers exactly, the loss first grows and training ends where λ is below 2/η; above, it diverges.",
    formula: "‖θ_T − θ₀‖ ~ 1/α, ‖Θ̂_T − Θ̂₀‖/‖Θ̂₀‖ ~ 1/α; f′ = f (1 − ηλ + η²f²/n), λ′ = λ + ηf²(ηλ − 4)/n",
    seconds: [6.0, 45.0, 15000.0],
    memory: [[0.1, 0.05], [0.4, 0.1], [0.4, 0.1]],
    run,
};

const SOURCE: &str = "[chizat2019lazy] Theorem 2.2";

/// The α of every run. Rates are fitted from [`LAZY`] on: below, terms of higher order in 1/α count.
const ALPHAS: [f64; 11] = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
const LAZY: f64 = 8.0;

/// Ridge of the regressions with the kernel before and after.
const RIDGE: Ridge = Ridge::RelativeToTrace(1e-3);

fn run(ctx: &Context<'_>) -> Result<Report, BoxError> {
    let mut report = Report::default();
    dial(ctx, &mut report)?;
    catapult::exact(ctx, &mut report)?;
    catapult::networks(ctx, &mut report)?;
    Ok(report)
}

struct Task {
    x: Array2<f64>,
    y: Array2<f64>,
    test: Array2<f64>,
    test_y: Array2<f64>,
    steps: usize,
}

/// A network before training, and what does not depend on α.
struct Start {
    net: FiniteNet,
    options: TrainOptions,
    /// f₀ on the test samples.
    outputs: Array2<f64>,
    /// F_lin after training there.
    linear: Array2<f64>,
    /// Test error of regression with the initial kernel.
    regression: f64,
}

/// What training did at one α.
struct Outcome {
    /// ‖θ_T − θ₀‖.
    moved: f64,
    /// ‖Θ̂_T − Θ̂₀‖/‖Θ̂₀‖.
    change: f64,
    /// The largest |F − F_lin| on the test samples.
    nonlinear: f64,
    /// Test errors of the network, of regression with its kernel after training, and with that before.
    errors: [f64; 3],
    /// Alignment of the kernel with the labels, before and after.
    alignment: [f64; 2],
    /// Effective rank of the kernel, before and after.
    rank: [f64; 2],
    /// Step, distance of the kernel.
    distances: Vec<[f64; 2]>,
}

impl Task {
    fn regression(&self, net: &FiniteNet) -> Result<f64, BoxError> {
        let (x, test) = ((&self.x).into(), (&self.test).into());
        let train = Gram::new(net.symmetric(x, Which::Ntk)?.ntk.ok_or("no kernel")?)?;
        let cross = net.block(test, x, Which::Ntk)?.ntk.ok_or("no kernel")?;
        Ok(regression_error(&train, cross.view(), self.y.view(), self.test_y.view(), RIDGE)?)
    }

    fn start(&self, net: FiniteNet) -> Result<Start, BoxError> {
        let (x, test) = ((&self.x).into(), (&self.test).into());
        let theta = net.symmetric(x, Which::Ntk)?.ntk.ok_or("no kernel")?;
        let eigenvalues = ntk_linalg::eigenvalues(&Symmetric::new(theta)?)?;
        let lambda = eigenvalues[eigenvalues.len() - 1] / self.y.len() as f64;
        // Small enough to stay stable where the kernel grows with what it learns.
        let options = TrainOptions { alpha: Some(1.0), ..TrainOptions::descent(0.25 / lambda, self.steps) };
        let (outputs, mut linear) = (net.outputs(test)?, net.linearize()?);
        linear.train(&options, x, self.y.view(), |_| ControlFlow::Continue(()))?;
        let linear = linear.outputs(test)? - &outputs;
        Ok(Start { regression: self.regression(&net)?, net, options, outputs, linear })
    }

    fn train(&self, start: &Start, alpha: f64) -> Result<Outcome, BoxError> {
        let (x, test) = ((&self.x).into(), (&self.test).into());
        let mut net = start.net.try_clone()?;
        let mut trajectory = Trajectory::new(&net, x, self.y.view())?;
        let record = std::iter::successors(Some(1), |&t| Some(2 * t)).take_while(|&t| t < self.steps);
        let record = [0].into_iter().chain(record).collect();
        let options = TrainOptions { alpha: Some(alpha), record, ..start.options.clone() };
        net.train(&options, x, self.y.view(), |step| trajectory.observe(step))?;
        let records = trajectory.finish()?;
        let (first, last) = (&records[0], &records[records.len() - 1]);
        let f = alpha * (net.outputs(test)? - &start.outputs);
        let error = 0.5 * (&f - &self.test_y).mapv(|v| v * v).mean().unwrap_or(f64::NAN);
        Ok(Outcome {
            moved: last.displacement,
            change: last.change,
            nonlinear: (f - &start.linear).iter().fold(0.0, |m, v| v.abs().max(m)),
            errors: [error, self.regression(&net)?, start.regression],
            alignment: [first.alignment, last.alignment],
            rank: [first.effective_rank, last.effective_rank],
            distances: records.iter().map(|r| [r.step as f64, r.distance]).collect(),
        })
    }
}

/// All quantities against α.
fn dial(ctx: &Context<'_>, report: &mut Report) -> Result<(), BoxError> {
    let (width, samples, steps, count) =
        ctx.pick([(48, 16, 200, 3), (128, 32, 500, 8), (512, 128, 4000, 16)]);
    let (train, test) = common::pair(ctx, [3, 8], samples, ctx.pick([64, 128, 200]))?;
    let task =
        Task { x: train.inputs(), y: train.signs(0), test: test.inputs(), test_y: test.signs(0), steps };
    common::credit(report, &train, &test);
    report.size("α", format!("{} to {}, rates fitted from {LAZY} on", ALPHAS[0], ALPHAS[ALPHAS.len() - 1]));
    report.size("network of the dial", format!("2 hidden tanh of width {width}, σ_w² = 1.5, σ_b² = 0.1"));
    report.size("steps of the dial", format!("{steps} of descent, η = 1/(4 λ_max), mean squared error"));
    report.size("networks for each α", count).seeds(ctx.seeds(count));

    let net = Net::mlp(2, Activation::Tanh, 1, Variance::new(1.5)?, Variance::new(0.1)?);
    let bar = ctx.progress("α dial", ALPHAS.len() * count);
    let start = |&seed: &u64| -> Result<Start, BoxError> {
        task.start(common::draw(ctx, &net, task.x.ncols(), width, seed, DType::F64)?)
    };
    let starts = ctx.seeds(count).par_iter().with_max_len(1).map(start).collect::<Result<Vec<_>, _>>()?;
    let jobs: Vec<(f64, &Start)> =
        ALPHAS.iter().flat_map(|&alpha| starts.iter().map(move |start| (alpha, start))).collect();
    let one = |&(alpha, start): &(f64, &Start)| -> Result<Outcome, BoxError> {
        let outcome = task.train(start, alpha)?;
        bar.step();
        Ok(outcome)
    };
    let outcomes = jobs.par_iter().with_max_len(1).map(one).collect::<Result<Vec<_>, _>>()?;
    let rms = |pick: &dyn Fn(&Outcome) -> f64| -> Vec<f64> {
        outcomes.chunks(count).map(|g| stats::rms(&g.iter().map(pick).collect::<Vec<_>>())).collect()
    };
    let mean = |pick: &dyn Fn(&Outcome) -> f64| -> Vec<f64> {
        outcomes.chunks(count).map(|g| stats::mean(&g.iter().map(pick).collect::<Vec<_>>())).collect()
    };
    let curve = |values: &[f64]| ALPHAS.iter().zip(values).map(|(&a, &v)| [a, v]).collect::<Vec<_>>();

    let mut plot =
        Plot::new("What training changes against the scale α, RMS over networks", "α", "change").log_log();
    let mut table = Table::new(
        "Against α, over networks",
        [
            "α",
            "‖θ_T − θ₀‖",
            "relative change of Θ̂",
            "largest |F − F_lin|",
            "alignment after",
            "effective rank after",
            "test error",
            "after-kernel",
            "initial kernel",
        ],
    );
    let mut columns = Vec::new();
    for (what, pick, tolerance) in [
        ("‖θ_T − θ₀‖", &(|o: &Outcome| o.moved) as &dyn Fn(&Outcome) -> f64, 0.02),
        ("‖Θ̂_T − Θ̂₀‖/‖Θ̂₀‖", &|o| o.change, 0.25),
        ("largest |F − F_lin|", &|o| o.nonlinear, 0.25),
    ] {
        let values = rms(pick);
        let (a, v): (Vec<f64>, Vec<f64>) =
            curve(&values).iter().filter(|[a, _]| *a >= LAZY).map(|[a, v]| (*a, *v)).unzip();
        let fit = stats::power_law(&a, &v)?;
        // The tolerance is the whole allowance: these rates are not noisy.
        let criterion = Criterion::Within { expected: -1.0, tolerance };
        report.claim(Claim::new(SOURCE, format!("exponent in α of {what}"), criterion, fit.slope));
        plot = plot.line(what, curve(&values));
        columns.push(values);
    }
    report.plot(plot.reference("1/α", [ALPHAS[0], ALPHAS[ALPHAS.len() - 1]].map(|a| [a, 1.0 / a])));

    let names = ["network", "regression with Θ̂_T", "regression with Θ̂₀"];
    let errors: Vec<Vec<f64>> = (0..3).map(|i| mean(&|o| o.errors[i])).collect();
    let mut plot =
        Plot::new("Test error: the network, the kernel after training, the kernel before", "α", "½ (F − y)²")
            .log_x();
    for (name, values) in names.iter().zip(&errors) {
        plot = plot.line(name, curve(values));
    }
    report.plot(plot);
    let last = ALPHAS.len() - 1;
    report.claim(Claim::new(
        SOURCE,
        format!("test error with the kernel after training over that before, α = {}", ALPHAS[last]),
        Criterion::Within { expected: 1.0, tolerance: 0.02 },
        errors[1][last] / errors[2][last],
    ));
    let gained = |i: usize| {
        let group = &outcomes[i * count..(i + 1) * count];
        stats::mean(&group.iter().map(|o| o.alignment[1] / o.alignment[0]).collect::<Vec<_>>())
    };
    report.claim(Claim::new(
        "[fort2020deep]",
        format!("alignment of the kernel with the labels after training over that before, α = {}", ALPHAS[0]),
        Criterion::AtLeast(1.1),
        gained(0),
    ));
    report.claim(Claim::new(
        SOURCE,
        format!("the same ratio at α = {}", ALPHAS[last]),
        Criterion::Within { expected: 1.0, tolerance: 0.02 },
        gained(last),
    ));

    let mut plot =
        Plot::new("Distance of the tangent kernel from the initial one", "step", "1 − cos(Θ̂ₜ, Θ̂₀)").log_log();
    for (i, alpha) in ALPHAS.iter().enumerate().filter(|(i, _)| i % 2 == 0) {
        plot = plot.line(&format!("α = {alpha}"), outcomes[i * count].distances.iter().copied().skip(1));
    }
    report.plot(plot);
    let (alignment, rank) = (mean(&|o| o.alignment[1]), mean(&|o| o.rank[1]));
    for (i, alpha) in ALPHAS.iter().enumerate() {
        table = table.numbers([
            *alpha,
            columns[0][i],
            columns[1][i],
            columns[2][i],
            alignment[i],
            rank[i],
            errors[0][i],
            errors[1][i],
            errors[2][i],
        ]);
    }
    report.table(table);
    report.note(format!(
        "Before training the alignment is {:.3} and the effective rank {:.2}, in the mean.",
        stats::mean(&outcomes.iter().map(|o| o.alignment[0]).collect::<Vec<_>>()),
        stats::mean(&outcomes.iter().map(|o| o.rank[0]).collect::<Vec<_>>()),
    ));
    Ok(())
}
