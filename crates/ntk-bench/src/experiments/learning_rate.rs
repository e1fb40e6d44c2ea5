//! Lee et al. 2019: descent converges below 2/λ_max and is fastest at η_critical; wide networks obey both numbers.

use std::ops::ControlFlow;

use ndarray::{Array2, Axis};
use ntk_core::{Activation, KernelFn, Net, Variance, Which};
use ntk_dynamics::{Descent, Gram, LearningRate, LossScale, Momentum, Ridge, Spectrum, Steps};
use ntk_empirical::candle_core::DType;
use ntk_empirical::{FiniteNet, TrainOptions};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::common;
use crate::{BoxError, Claim, Context, Criterion, Experiment, Plot, Report, Table, data, stats};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "learning_rate",
    title: "How large a learning rate may be, and which one is fastest",
    source: "[lee2019wide] Theorem 2.1",
    claim: "Gradient descent of a wide network converges for learning rates below 2/λ_max of its tangent kernel, with \
            momentum β below 2(1 + β)/λ_max, and diverges above; at η_critical = 2/(λ_min + λ_max) the residual shrinks \
            by (κ − 1)/(κ + 1) a step, faster than at any other rate.",
    formula: "‖fₜ − Y‖ ≤ (max|1 − ηλ|)ᵗ ‖f₀ − Y‖, least at η = 2/(λ_min + λ_max), where it is (κ − 1)/(κ + 1)",
    seconds: [4.0, 20.0, 1800.0],
    memory: [[0.1, 0.05], [0.4, 0.1], [0.5, 0.5]],
    run,
};

const SOURCE: &str = "[lee2019wide] Theorem 2.1";

/// Multiple of the first loss at which a network is no longer watched.
const BLOWN_UP: f64 = 1e4;

fn run(ctx: &Context<'_>) -> Result<Report, BoxError> {
    let (width, samples) = (ctx.pick([512, 2048, 16384]), ctx.pick([8, 12, 16]));
    let (train, others) = common::pair(ctx, [3, 8], samples, 128)?;
    // Less the mean image of others: otherwise one large eigenvalue, that of the mean, puts 2/λ_max at η_critical.
    let mean = others.pixels.sum_axis(Axis(0)) / others.len() as f64;
    let (x, y) = (data::normalized(&train.pixels - &mean), train.signs(0));
    let net = Net::mlp(1, Activation::ERF, 1, Variance::TWO, Variance::new(0.1)?);
    let net = common::draw(ctx, &net, x.ncols(), width, ctx.seed, DType::F64)?;

    let theta = net.symmetric((&x).into(), Which::Ntk)?.ntk.ok_or("no tangent kernel")?;
    let spectrum = Spectrum::new(&Gram::new(theta)?, Ridge::None)?;
    let critical = spectrum.critical_learning_rate(LossScale::MeanNK, y.dim())?;
    let maximal = |momentum| spectrum.maximal_learning_rate(LossScale::MeanNK, y.dim(), momentum);
    let kappa = spectrum.condition();
    let initial = net.outputs((&x).into())?;
    // A relative change of the kernel that the theorem allows.
    let change = (width as f64).sqrt().recip();
    let model = Model { x: &x, y: &y, initial: &initial, net: &net, spectrum: &spectrum, change };

    let mut report = Report::default();
    report.size("width", width).size("condition number κ of the tangent kernel", crate::number::show(kappa));
    report.seeds(ctx.seeds(1)).note("Images are taken less the mean image of 128 others.");
    common::credit(&mut report, &train, &train.subset(0, ctx.seed)?);

    contraction(ctx, &mut report, &model, critical, maximal(Momentum::NONE)?)?;
    // Far above the bound a network bends its kernel until it is stable again; near its targets there is no such way.
    let near_y = &initial + &(1e-4 * &y);
    let near = Model { y: &near_y, ..model };
    let mut table = Table::new(
        "Largest learning rate that converges, over 2(1 + β)/λ_max",
        ["β", "2(1 + β)/λ_max", "linear model", "network, targets f₀ ± 10⁻⁴"],
    );
    let bar = ctx.progress("bisecting", 2);
    for beta in [0.0, 0.9] {
        let momentum = Momentum::new(beta)?;
        let bound = maximal(momentum)?;
        let (below, above) = (0.9 * bound, 1.5 * bound);
        let losses = model.network(below, momentum, 400)?;
        let left = losses.last().map_or(f64::NAN, |last| last / losses[0]);
        let losses = model.network(above, momentum, 400)?;
        let grown = losses.iter().fold(0.0_f64, |m, loss| m.max(loss / losses[0]));
        let linear = threshold(bound, 1e-4, |rate| Ok(diverges(&model.linear(rate, momentum, 20_000)?)))?;
        let network = threshold(bound, 4e-3, |rate| Ok(diverges(&near.network(rate, momentum, 400)?)))?;
        let within = |tolerance| Criterion::Within { expected: 1.0, tolerance };
        for (quantity, criterion, got) in [
            (
                "loss after 400 steps over the first at 0.9 times the bound, network",
                Criterion::AtMost(1e-6),
                left,
            ),
            ("largest loss over the first at 1.5 times the bound, network", Criterion::AtLeast(2.0), grown),
            ("largest rate that converges over the bound, linear model", within(1e-3), linear),
            ("largest rate that converges over the bound, network near its targets", within(change), network),
        ] {
            report.claim(Claim::new(SOURCE, format!("{quantity}, β = {beta}"), criterion, got));
        }
        table = table.numbers([beta, bound, linear, network]);
        bar.step();
    }
    report.table(table);
    Ok(report)
}

/// Losses along training below and above the bounds, and the contraction of the residual at many rates.
fn contraction(
    ctx: &Context<'_>,
    report: &mut Report,
    model: &Model<'_>,
    critical: f64,
    maximal: f64,
) -> Result<(), BoxError> {
    let (none, kappa) = (Momentum::NONE, model.spectrum.condition());
    let optimal = (kappa - 1.0) / (kappa + 1.0);
    let (least, largest) = (2.0 / (1.0 + kappa) / critical, 2.0 * kappa / (1.0 + kappa) / critical);
    let theory = |rate: f64| (1.0 - rate * least).abs().max((1.0 - rate * largest).abs());

    // Up to half way between η_critical and the bound, in equal steps, with η_critical among them.
    let scan: Vec<f64> =
        (1..=24).map(|i| critical + (maximal - critical) * f64::from(i - 20) / 8.0).collect();
    let scan: Vec<f64> = scan.into_iter().filter(|rate| *rate > 0.1 * critical).collect();
    let bar = ctx.progress("training", scan.len());
    let measure = |&rate: &f64| -> Result<[f64; 3], BoxError> {
        // The residual falls by e⁻¹² while it is watched, and has fallen by as much before.
        let steps = (24.0 / -theory(rate).ln()).ceil().min(4000.0) as usize;
        let late = |losses: &[f64]| -> Result<f64, BoxError> {
            let (t, ln): (Vec<f64>, Vec<f64>) = losses
                .iter()
                .enumerate()
                .skip(losses.len() / 2)
                .map(|(t, loss)| (t as f64, 0.5 * loss.ln()))
                .unzip();
            Ok(stats::line(&t, &ln)?.slope.exp())
        };
        let network = late(&model.network(rate, none, steps)?)?;
        let linear = late(&model.linear(rate, none, 10 * steps)?)?;
        bar.step();
        Ok([rate, linear, network])
    };
    let measured: Vec<[f64; 3]> = scan.par_iter().map(measure).collect::<Result<_, _>>()?;
    let worst = |who: usize| measured.iter().fold(0.0_f64, |m, p| m.max((p[who] - theory(p[0])).abs()));
    let fastest = |who: usize| {
        measured.iter().min_by(|a, b| a[who].total_cmp(&b[who])).map_or(f64::NAN, |p| p[0] / critical)
    };
    let at_critical = |who: usize| measured.iter().find(|p| p[0] == critical).map_or(f64::NAN, |p| p[who]);
    let spacing = (maximal - critical) / (8.0 * critical);
    for (who, name, change) in [(1, "linear model", 0.0), (2, "network", model.change)] {
        // ηλ is below 2, so |1 − ηλ| moves by less than twice the relative change of λ.
        let tolerance = 1e-3 + 2.0 * change;
        for (quantity, criterion, got) in [
            (
                "shrinkage of the residual a step at η_critical",
                Criterion::Within { expected: optimal, tolerance },
                at_critical(who),
            ),
            (
                "largest distance of the shrinkage from max|1 − ηλ| over all rates",
                Criterion::AtMost(tolerance),
                worst(who),
            ),
            (
                "rate of fastest shrinkage over η_critical",
                Criterion::Within { expected: 1.0, tolerance: 1.01 * spacing + change },
                fastest(who),
            ),
        ] {
            report.claim(Claim::new(SOURCE, format!("{quantity}, {name}"), criterion, got));
        }
    }
    let points = |who: usize| measured.iter().map(move |p| [p[0] / critical, p[who]]).collect::<Vec<_>>();
    let curve =
        (0..=200).map(|i| 1.3 * maximal * f64::from(i) / 200.0).map(|rate| [rate / critical, theory(rate)]);
    report.plot(
        Plot::new("Shrinkage of the residual a step", "η / η_critical", "‖fₜ₊₁ − Y‖ / ‖fₜ − Y‖")
            .reference("max|1 − ηλ|", curve)
            .points("linear model", points(1))
            .points("network", points(2)),
    );

    let title = "Loss at learning rates around the bound: linear model (lines) and network (markers)";
    let mut plot = Plot::new(title, "step", "loss").log_y();
    for (label, rate) in [
        ("η_critical / 2", 0.5 * critical),
        ("η_critical", critical),
        ("1.98/λ_max", 0.99 * maximal),
        ("2.1/λ_max", 1.05 * maximal),
    ] {
        let numbered = |losses: Vec<f64>| {
            losses.into_iter().enumerate().map(|(t, loss)| [t as f64, loss]).collect::<Vec<_>>()
        };
        plot = plot.line(label, numbered(model.linear(rate, none, 40)?));
        plot = plot.points(label, numbered(model.network(rate, none, 40)?));
    }
    report.plot(plot);
    Ok(())
}

/// A network, its linear model, their data, and the relative change of the kernel that is allowed for.
#[derive(Clone, Copy)]
struct Model<'a> {
    x: &'a Array2<f64>,
    y: &'a Array2<f64>,
    initial: &'a Array2<f64>,
    net: &'a FiniteNet,
    spectrum: &'a Spectrum,
    change: f64,
}

impl Model<'_> {
    /// Losses of the linear model at all steps, in closed form.
    fn linear(&self, rate: f64, momentum: Momentum, steps: usize) -> Result<Vec<f64>, BoxError> {
        let descent = Descent::new(self.spectrum, LearningRate::new(rate)?, LossScale::MeanNK, momentum);
        let run = descent.fit(self.y.view(), self.initial.view())?;
        let loss = |t: usize| run.loss(Steps::Finite(t as u64)).unwrap_or(f64::INFINITY);
        Ok((0..=steps).map(loss).collect())
    }

    /// Losses of the network at all steps, up to where they have blown up.
    fn network(&self, rate: f64, momentum: Momentum, steps: usize) -> Result<Vec<f64>, BoxError> {
        let record = (0..=steps).collect();
        let options = TrainOptions { momentum: momentum.get(), record, ..TrainOptions::descent(rate, steps) };
        let mut losses: Vec<f64> = Vec::with_capacity(steps + 1);
        self.net.try_clone()?.train(&options, self.x.into(), self.y.view(), |step| {
            losses.push(step.loss);
            if step.loss > BLOWN_UP * losses[0] { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(losses)
    }
}

/// Whether losses have left all bounds, or grow at the end: largest of the last quarter above that of the one before.
fn diverges(losses: &[f64]) -> bool {
    if losses[losses.len() - 1] > BLOWN_UP * losses[0] {
        return true;
    }
    let largest = |part: &[f64]| part.iter().fold(0.0_f64, |m, v| m.max(*v));
    let quarter = losses.len() / 4;
    let (before, last) = losses[losses.len() - 2 * quarter..].split_at(quarter);
    // What is left of a residual that has died out is rounding, which has no trend.
    largest(last) > largest(before).max(1e-12 * losses[0])
}

/// The rate between 0 and twice the bound where training begins to diverge, over the bound, by bisection.
fn threshold(
    bound: f64,
    precision: f64,
    diverges: impl Fn(f64) -> Result<bool, BoxError>,
) -> Result<f64, BoxError> {
    let (mut low, mut high) = (0.0, 2.0);
    while high - low > precision {
        let middle = 0.5 * (low + high);
        *(if diverges(middle * bound)? { &mut high } else { &mut low }) = middle;
    }
    Ok(0.5 * (low + high))
}
