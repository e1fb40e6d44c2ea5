//! Lewkowycz et al. 2020: learning rates between 2/λ and 4/λ throw a network to where the curvature is small.

use std::ops::ControlFlow;

use ndarray::{Array2, array};
use ntk_core::{Activation, KernelFn, Net, Variance, Which};
use ntk_empirical::candle_core::DType;
use ntk_empirical::{Error, FiniteNet, TrainOptions};
use ntk_linalg::{Symmetric, eigenvalues};
use rayon::prelude::*;

use super::common;
use crate::{BoxError, Claim, Context, Criterion, Plot, Report, Table, stats};

const SOURCE: &str = "[lewkowycz2020large] section 2";
const IMAGES: &str = "[lewkowycz2020large] section 3";

/// Growth of the loss that no catapult reaches: they stop where the loss is about the width.
const BLOWN_UP: f64 = 1e14;

/// Loss over the first at which training of the linear network is over.
const DONE: f64 = 1e-12;

/// Loss over the first below which a network has learned its images.
const LEARNED: f64 = 0.1;

/// One training at κ = ηλ₀.
struct Flight {
    kappa: f64,
    rate: f64,
    /// The losses, unless training was over earlier.
    losses: Vec<f64>,
    /// ηλ at the same steps, or at the end alone.
    curvature: Vec<f64>,
    diverged: bool,
}

impl Flight {
    /// The largest loss over the first.
    fn peak(&self) -> f64 {
        self.losses.iter().fold(0.0, |m: f64, v| m.max(*v)) / self.losses[0]
    }

    /// The last loss over the first.
    fn left(&self) -> f64 {
        if self.diverged { f64::INFINITY } else { self.losses[self.losses.len() - 1] / self.losses[0] }
    }

    /// ηλ_T.
    fn landed(&self) -> f64 {
        if self.diverged { f64::NAN } else { self.curvature[self.curvature.len() - 1] }
    }

    /// The last loss over the one before.
    fn decay(&self) -> f64 {
        let n = self.losses.len();
        if self.diverged || n < 2 { f64::INFINITY } else { self.losses[n - 1] / self.losses[n - 2] }
    }

    /// The largest loss over the one before.
    fn growth(&self) -> f64 {
        self.losses.windows(2).fold(0.0, |m, pair| m.max(pair[1] / pair[0]))
    }

    fn steps(&self, values: &[f64]) -> Vec<[f64; 2]> {
        values.iter().enumerate().map(|(t, &value)| [t as f64, value]).collect()
    }
}

/// What is trained, at any κ.
#[derive(Clone, Copy)]
struct Launch<'a> {
    net: &'a FiniteNet,
    x: &'a Array2<f64>,
    y: &'a Array2<f64>,
    steps: usize,
    /// Loss over the first at which training is done.
    done: f64,
    /// Whether ηλ is wanted at every step.
    follow: bool,
}

impl Launch<'_> {
    /// λ: the largest eigenvalue of the tangent kernel over the number of samples, in which the mean squared error has
    /// its gradient.
    fn lambda(&self, net: &FiniteNet) -> Result<f64, BoxError> {
        let theta = net.symmetric(self.x.into(), Which::Ntk)?.ntk.ok_or("no kernel")?;
        let values = eigenvalues(&Symmetric::new(theta)?)?;
        Ok(values[values.len() - 1] / self.y.len() as f64)
    }

    fn at(&self, kappa: f64) -> Result<Flight, BoxError> {
        let mut net = self.net.try_clone()?;
        let rate = kappa / self.lambda(&net)?;
        let options =
            TrainOptions { record: (0..=self.steps).collect(), ..TrainOptions::descent(rate, self.steps) };
        let (mut losses, mut curvature, mut failed): (Vec<f64>, Vec<f64>, _) = (Vec::new(), Vec::new(), None);
        let result = net.train(&options, self.x.into(), self.y.view(), |step| {
            losses.push(step.loss);
            if self.follow {
                match self.lambda(step.model) {
                    Ok(lambda) => curvature.push(rate * lambda),
                    Err(error) => failed = Some(error),
                }
            }
            let over = step.loss > BLOWN_UP * losses[0] || step.loss < self.done * losses[0];
            if over || failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        let diverged = match result {
            Ok(trained) => trained.loss > BLOWN_UP * losses[0],
            Err(Error::Diverged { .. }) => true,
            Err(error) => return Err(error.into()),
        };
        if !diverged && !self.follow {
            curvature.push(rate * self.lambda(&net)?);
        }
        Ok(Flight { kappa, rate, losses, curvature, diverged })
    }
}

/// The linear network of two layers f = vᵀu x/√n on one sample x = 1, y = 0, whose (f, λ) are a closed map:
/// f′ = f (1 − ηλ + η²f²/n), λ′ = λ + ηf²(ηλ − 4)/n.
pub(super) fn exact(ctx: &Context<'_>, report: &mut Report) -> Result<(), BoxError> {
    let (width, count) = ctx.pick([(256, 4), (1024, 8), (4096, 16)]);
    report.size("catapult of the linear network", format!("width {width}, one sample, {count} networks"));
    report.seeds(ctx.seeds(count));
    let net = Net::dense(Variance::ONE, Variance::ZERO).then(Net::readout(1, Variance::ONE, Variance::ZERO));
    let (x, y) = (array![[1.0]], array![[0.0]]);
    // Steps of 1/8, with 2 and 4 half way between two of them.
    let kappas: Vec<f64> = (0..36).map(|i| (f64::from(i) + 0.5) / 8.0).collect();
    let bar = ctx.progress("linear catapult", count);
    let one = |&seed: &u64| -> Result<(Vec<Flight>, [f64; 2]), BoxError> {
        let net = common::draw(ctx, &net, 1, width, seed, DType::F64)?;
        let launch = Launch { net: &net, x: &x, y: &y, steps: 4000, done: DONE, follow: true };
        let flights = kappas.iter().map(|&kappa| launch.at(kappa)).collect::<Result<Vec<_>, _>>()?;
        // Whether the loss grows is seen at once: afterwards λ only falls.
        let brief = Launch { steps: 40, follow: false, ..launch };
        let lower = edge(1.0, 3.0, |kappa| Ok(brief.at(kappa)?.peak() > 1.0))?;
        let long = Launch { follow: false, ..launch };
        let upper = edge(3.0, 5.0, |kappa| Ok(long.at(kappa)?.diverged))?;
        bar.step();
        Ok((flights, [lower, upper]))
    };
    let runs = ctx.seeds(count).par_iter().with_max_len(1).map(one).collect::<Result<Vec<_>, _>>()?;
    let flights = || runs.iter().flat_map(|(flights, _)| flights);
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::NEG_INFINITY, f64::max);
    let within = |low: f64, high: f64| flights().filter(move |f| low < f.kappa && f.kappa < high);
    let edges = |which: usize, at: f64| most(&mut runs.iter().map(|(_, edges)| (edges[which] - at).abs()));

    let n = width as f64;
    for (quantity, criterion, got) in [
        (
            "largest |ηλ − ηλ of the closed map| at all steps below ηλ₀ = 4",
            Criterion::AtMost(1e-8),
            most(&mut within(0.0, 4.0).map(|flight| off_the_map(flight, n))),
        ),
        (
            "largest growth of the loss in a step, ηλ₀ < 2",
            Criterion::AtMost(1.0),
            most(&mut within(0.0, 2.0).map(Flight::growth)),
        ),
        (
            "largest |1 − δ| where λ falls by δ times its first order in 1/n, ηλ₀ < 1.5",
            Criterion::AtMost(20.0 / n),
            most(&mut within(0.0, 1.5).map(|flight| (1.0 - fall(flight, n)).abs())),
        ),
        (
            "largest ηλ_T, 2 < ηλ₀ < 4",
            Criterion::AtMost(2.0),
            most(&mut within(2.0, 4.0).map(Flight::landed)),
        ),
        // A network that lands on a small λ needs more steps than were made; its loss falls at the rate of this λ.
        (
            "largest |L_T/L_(T−1) − (1 − ηλ_T)²|, ηλ₀ < 4",
            Criterion::AtMost(1e-5),
            most(
                &mut within(0.0, 4.0).map(|flight| (flight.decay() - (1.0 - flight.landed()).powi(2)).abs()),
            ),
        ),
        (
            "networks that converge, ηλ₀ > 4",
            Criterion::AtMost(0.0),
            within(4.0, 5.0).filter(|flight| !flight.diverged).count() as f64,
        ),
        (
            "largest distance from 2 of the ηλ₀ at which the loss begins to grow",
            Criterion::AtMost(20.0 / n),
            edges(0, 2.0),
        ),
        (
            "largest distance from 4 of the ηλ₀ at which training begins to diverge",
            Criterion::AtMost(0.01),
            edges(1, 4.0),
        ),
    ] {
        report.claim(Claim::new(SOURCE, format!("{quantity}, linear network"), criterion, got));
    }
    let peaks = within(2.5, 4.0).map(|flight| flight.peak() * flight.losses[0] / n).collect::<Vec<_>>();
    let mut plot =
        Plot::new("Where training ends: curvature against learning rate, linear network", "ηλ₀", "ηλ_T")
            .reference("λ_T = λ₀", [[0.0, 0.0], [4.0, 4.0]])
            .reference("2", [[0.0, 2.0], [4.0, 2.0]]);
    for (seed, (flights, _)) in ctx.seeds(count).iter().zip(&runs).take(4) {
        plot = plot.points(&format!("seed {seed}"), flights.iter().map(|f| [f.kappa, f.landed()]));
    }
    report.plot(plot);
    let mut loss = Plot::new("Loss along training, linear network", "step", "loss").log_y();
    let mut curvature = Plot::new("Curvature along training, linear network", "step", "ηλ");
    for kappa in [1.4375, 1.9375, 2.3125, 3.0625, 3.8125] {
        if let Some(flight) = runs[0].0.iter().find(|flight| flight.kappa == kappa) {
            let (label, cut) = (format!("ηλ₀ = {kappa}"), flight.losses.len().min(60));
            loss = loss.line(&label, flight.steps(&flight.losses[..cut]));
            curvature = curvature.line(&label, flight.steps(&flight.curvature[..cut]));
        }
    }
    report.plot(loss).plot(curvature.reference("2", [[0.0, 2.0], [60.0, 2.0]]));
    report.note(format!(
        "At its peak the loss of the linear network is of the order of its width: {:.2} to {:.2} n for 2.5 < ηλ₀ < 4.",
        peaks.iter().fold(f64::INFINITY, |m, v| m.min(*v)),
        peaks.iter().fold(0.0_f64, |m, v| m.max(*v)),
    ));
    Ok(())
}

/// The largest distance of ηλ from that of the closed map.
fn off_the_map(flight: &Flight, n: f64) -> f64 {
    let (eta, mut f2, mut kappa) = (flight.rate, 2.0 * flight.losses[0], flight.kappa);
    let mut worst = 0.0_f64;
    for &got in &flight.curvature {
        worst = worst.max((got - kappa).abs());
        let phi = eta * eta * f2 / n;
        (f2, kappa) = (f2 * (1.0 - kappa + phi).powi(2), kappa + phi * (kappa - 4.0));
    }
    worst
}

/// 1 − λ_T/λ₀ over its first order f₀² (4 − ηλ₀)/(n λ₀² (2 − ηλ₀)), the sum of the map's steps at constant λ.
fn fall(flight: &Flight, n: f64) -> f64 {
    let (kappa, lambda) = (flight.kappa, flight.kappa / flight.rate);
    let first = 2.0 * flight.losses[0] * (4.0 - kappa) / (n * lambda * lambda * (2.0 - kappa));
    (1.0 - flight.landed() / kappa) / first
}

/// Where a property that begins to hold does so, by bisection to 1e-4.
fn edge(mut low: f64, mut high: f64, holds: impl Fn(f64) -> Result<bool, BoxError>) -> Result<f64, BoxError> {
    while high - low > 1e-4 {
        let middle = 0.5 * (low + high);
        *(if holds(middle)? { &mut high } else { &mut low }) = middle;
    }
    Ok(0.5 * (low + high))
}

/// Networks with one hidden layer on images, where the window is an observation.
pub(super) fn networks(ctx: &Context<'_>, report: &mut Report) -> Result<(), BoxError> {
    let (width, samples, steps, count) =
        ctx.pick([(256, 8, 150, 3), (512, 12, 400, 6), (2048, 32, 2000, 10)]);
    let (train, _) = common::pair(ctx, [3, 8], samples, 0)?;
    let (x, y) = (train.inputs(), train.signs(0));
    report.size(
        "catapult on images",
        format!("{samples} samples, 1 hidden layer of width {width}, {steps} steps, {count} networks"),
    );
    report.seeds(ctx.seeds(count));
    let kappas = [
        0.5, 1.0, 1.5, 1.75, 2.25, 2.5, 3.0, 3.5, 3.75, 4.25, 4.5, 5.0, 6.0, 8.0, 10.0, 12.0, 16.0, 24.0,
        32.0,
    ];
    let mut shares = Plot::new("Networks that learn their images", "ηλ₀", "share").log_x();
    let mut landings = Plot::new("Where training ends on images: median curvature", "ηλ₀", "ηλ_T")
        .log_x()
        .reference("2", [[0.5, 2.0], [32.0, 2.0]]);
    for (name, phi, weight) in [("tanh", Activation::Tanh, 1.5), ("ReLU", Activation::Relu, 2.0)] {
        let net = Net::mlp(1, phi, 1, Variance::new(weight)?, Variance::ZERO);
        let bar = ctx.progress(name, count * kappas.len());
        let one = |&(kappa, seed): &(f64, u64)| -> Result<Flight, BoxError> {
            let net = common::draw(ctx, &net, x.ncols(), width, seed, DType::F64)?;
            let flight = Launch { net: &net, x: &x, y: &y, steps, done: 1e-6, follow: false }.at(kappa)?;
            bar.step();
            Ok(flight)
        };
        let jobs: Vec<(f64, u64)> = kappas
            .iter()
            .flat_map(|&kappa| ctx.seeds(count).into_iter().map(move |seed| (kappa, seed)))
            .collect();
        let flights = jobs.par_iter().with_max_len(1).map(one).collect::<Result<Vec<_>, _>>()?;
        let within = |low: f64, high: f64| flights.iter().filter(move |f| low < f.kappa && f.kappa < high);
        let most = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::NEG_INFINITY, f64::max);
        let learn = |group: &mut dyn Iterator<Item = &Flight>| {
            stats::mean(&group.map(|f| f64::from(u8::from(f.left() < LEARNED))).collect::<Vec<_>>())
        };
        // Beyond 4 the two part: ReLU units that die take curvature with them.
        let (beyond, criterion, high) = match name {
            "tanh" => ("share of networks that learn, ηλ₀ > 4", Criterion::AtMost(0.0), f64::INFINITY),
            _ => ("share of networks that learn, 4 < ηλ₀ < 10", Criterion::AtLeast(0.9), 10.0),
        };
        for (quantity, criterion, got) in [
            (
                "largest growth of the loss in a step, ηλ₀ < 2",
                Criterion::AtMost(1.0),
                most(&mut within(0.0, 2.0).map(Flight::growth)),
            ),
            (
                "largest relative change of λ, ηλ₀ < 2",
                // Of order n^(−1/2) at most, by the theory of wide networks.
                Criterion::AtMost(3.0 / (width as f64).sqrt()),
                most(&mut within(0.0, 2.0).map(|f| (f.landed() / f.kappa - 1.0).abs())),
            ),
            // Closer to 2, other modes may bend λ below 2/η before the loss has grown.
            (
                "smallest peak of the loss over the first, 2.5 ≤ ηλ₀ < 4",
                Criterion::AtLeast(1.1),
                -most(&mut within(2.4, 4.0).map(|f| -f.peak())),
            ),
            (
                "largest loss at the end over the first, 2 < ηλ₀ < 4",
                Criterion::AtMost(LEARNED),
                most(&mut within(2.0, 4.0).map(Flight::left)),
            ),
            (
                "largest ηλ_T, 2 < ηλ₀ < 4",
                Criterion::AtMost(2.0),
                most(&mut within(2.0, 4.0).map(Flight::landed)),
            ),
            (beyond, criterion, learn(&mut within(4.0, high))),
        ] {
            report.claim(Claim::new(IMAGES, format!("{quantity}, {name} on images"), criterion, got));
        }
        let columns = ["ηλ₀", "share that learns", "peak over first", "end over first", "ηλ_T"];
        let mut table = Table::new(&format!("Catapult of {name} on images, medians over networks"), columns);
        let (mut share, mut landed) = (Vec::new(), Vec::new());
        for (&kappa, group) in kappas.iter().zip(flights.chunks(count)) {
            let median =
                |pick: fn(&Flight) -> f64| stats::median(&group.iter().map(pick).collect::<Vec<_>>());
            let (learned, end) = (learn(&mut group.iter()), median(Flight::landed));
            table = table.numbers([kappa, learned, median(Flight::peak), median(Flight::left), end]);
            share.push([kappa, learned]);
            landed.push([kappa, end]);
        }
        shares = shares.line(name, share);
        landings = landings.line(name, landed);
        report.table(table);
    }
    report.plot(shares).plot(landings);
    report.note(
        "Beyond 4 there is no theory: tanh diverges as the linear network does; ReLU learns up to about 12, the edge \
         that the paper observes.",
    );
    Ok(())
}
