//! What a trajectory records is what a direct computation gives, costs what it says, and loses no error; the lazy dial
//! trains α (f − f₀) exactly.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

mod common;

use std::cell::Cell;
use std::ops::ControlFlow;

use common::{close, numbers};
use ndarray::{Array2, array};
use ntk_core::{Activation, Batch, KernelFn, Net, Shape, Variance, Which};
use ntk_empirical::candle_core::DType;
use ntk_empirical::{
    Error, FiniteNet, Loss, Lowering, Parameters, Reduction, Step, Tracked, TrainOptions, Trajectory,
};

const ON: ControlFlow<()> = ControlFlow::Continue(());

fn draw(outputs: usize, seed: u64, dtype: DType) -> FiniteNet {
    let net = Net::mlp(2, Activation::Tanh, outputs, Variance::TWO, Variance::new(0.1).unwrap());
    let lowering = Lowering { width: 24, seed, dtype, ..Lowering::for_inputs(Shape::vector(3)) };
    FiniteNet::lower(&net, &lowering).unwrap()
}

fn norm(a: &Array2<f64>) -> f64 {
    a.iter().map(|v| v * v).sum::<f64>().sqrt()
}

fn dot(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    (a * b).sum()
}

fn ntk(net: &FiniteNet, x: &Array2<f64>) -> Array2<f64> {
    net.symmetric(x.into(), Which::Ntk).unwrap().ntk.unwrap()
}

#[test]
fn records_are_what_a_direct_computation_gives() {
    let (x, y, probe, labels) = (numbers(12, 3, 0), numbers(12, 2, 1), numbers(5, 3, 2), numbers(5, 2, 3));
    let mut net = draw(2, 0, DType::F64);
    let (start, theta, layers) = (
        net.parameters().unwrap(),
        ntk(&net, &probe),
        net.ntk_layers((&probe).into(), (&probe).into()).unwrap(),
    );
    let options = TrainOptions { momentum: 0.5, record: vec![0, 3, 20], ..TrainOptions::descent(0.5, 40) };
    let mut trajectory = Trajectory::new(&net, (&probe).into(), labels.view()).unwrap();
    let mut seen = Vec::new();
    net.train(&options, (&x).into(), y.view(), |step| {
        let shares = step.model.ntk_layers((&probe).into(), (&probe).into()).unwrap();
        seen.push((step.step, step.loss, ntk(step.model, &probe), shares, step.model.parameters().unwrap()));
        trajectory.observe(step)
    })
    .unwrap();
    close("the last kernel", &trajectory.kernel().to_owned(), &seen[3].2, 1e-14);
    close("the first kernel", &trajectory.initial_kernel().to_owned(), &theta, 1e-14);
    let records = trajectory.finish().unwrap();
    assert_eq!(records.iter().map(|r| r.step).collect::<Vec<_>>(), [0, 3, 20, 40]);
    let near = |what: &str, got: f64, expected: f64| {
        assert!((got - expected).abs() <= 1e-12 * expected.abs().max(1e-3), "{what}: {got:e} {expected:e}");
    };
    for (i, (record, (step, loss, now, shares, parameters))) in records.iter().zip(&seen).enumerate() {
        assert_eq!((record.step, record.loss), (*step, *loss));
        near("distance", record.distance, 1.0 - dot(now, &theta) / (norm(now) * norm(&theta)));
        near("change", record.change, norm(&(now - &theta)) / norm(&theta));
        let labels = labels.dot(&labels.t());
        near("alignment", record.alignment, dot(now, &labels) / (norm(now) * norm(&labels)));
        near("rank", record.effective_rank, now.diag().sum().powi(2) / dot(now, now));
        near("displacement", record.displacement, parameters.plus(-1.0, &start).unwrap().norm().unwrap());
        match record.velocity {
            None => assert_eq!(i, 0),
            Some(velocity) => {
                let (before, last) = (&seen[i - 1].2, (step - seen[i - 1].0) as f64);
                near("velocity", velocity, (1.0 - dot(now, before) / (norm(now) * norm(before))) / last);
            }
        }
        assert_eq!(record.parameters.len(), start.len());
        for (name, change) in &record.parameters {
            let (now, then) = (parameters.array(name).unwrap(), start.array(name).unwrap());
            near(name, *change, norm(&(now - &then)) / norm(&then));
        }
        for (((path, change), (name, share)), (_, initial)) in record.shares.iter().zip(shares).zip(&layers) {
            assert_eq!(path, name);
            near(path, *change, norm(&(share - initial)) / norm(&theta));
        }
    }
    assert!(records[0].distance == 0.0 && records[0].displacement == 0.0 && records[3].distance > 1e-4);
}

/// A network that counts the samples whose kernel it was asked for, and fails from some call on.
struct Counting<'a> {
    net: &'a FiniteNet,
    samples: &'a Cell<usize>,
    calls_left: &'a Cell<usize>,
}

impl Tracked for Counting<'_> {
    fn kernel_shares(&self, x: Batch<'_>) -> Result<Vec<(String, Array2<f64>)>, Error> {
        if self.calls_left.get() == 0 {
            return Err(Error::NonFinite { quantity: "the tangent kernel" });
        }
        self.calls_left.set(self.calls_left.get() - 1);
        self.samples.set(self.samples.get() + x.len());
        self.net.kernel_shares(x)
    }

    fn tracked_parameters(&self) -> Result<Parameters, Error> {
        self.net.parameters()
    }
}

/// Trains with a trajectory of a counting network, which fails after some calls: the trajectory and the steps made.
fn counted<'a>(
    probe: &'a Array2<f64>,
    options: &TrainOptions,
    samples: &Cell<usize>,
    calls: usize,
) -> (Trajectory<'a>, usize) {
    let (x, y, calls_left) = (numbers(32, 3, 0), numbers(32, 1, 1), Cell::new(calls));
    let mut net = draw(1, 0, DType::F64);
    let counting = Counting { net: &net, samples, calls_left: &calls_left };
    let labels = Array2::ones((probe.nrows(), 1));
    let mut trajectory = Trajectory::new(&counting, probe.into(), labels.view()).unwrap();
    let trained = net.train(options, (&x).into(), y.view(), |step| {
        let model = &Counting { net: step.model, samples, calls_left: &calls_left };
        trajectory.observe(&Step { step: step.step, loss: step.loss, outputs: step.outputs, model })
    });
    (trajectory, trained.unwrap().steps)
}

#[test]
fn recording_costs_one_kernel_of_the_probe_a_record() {
    let (probe, samples) = (numbers(8, 3, 2), Cell::new(0));
    let options = TrainOptions { record: vec![0, 50, 100, 150], ..TrainOptions::descent(0.1, 200) };
    let (trajectory, steps) = counted(&probe, &options, &samples, usize::MAX);
    // The kernel at the start, and those of four records after it: none at step 0, where nothing has moved.
    assert_eq!((trajectory.evaluations(), samples.get()), (5, 5 * 8));
    assert_eq!(trajectory.finish().unwrap().len(), 5);
    // Sweeps of samples, forward and backward: well below a hundredth of the training.
    assert!(100 * samples.get() < steps * 32, "{} of {}", samples.get(), steps * 32);
}

#[test]
fn errors_in_the_observer_are_kept() {
    let (probe, samples) = (numbers(8, 3, 2), Cell::new(0));
    let options = TrainOptions { record: vec![0, 5, 10, 15], ..TrainOptions::descent(0.1, 20) };
    let (trajectory, steps) = counted(&probe, &options, &samples, 2);
    assert_eq!((steps, trajectory.records().len()), (10, 2), "training ends at the error");
    assert!(matches!(trajectory.finish(), Err(Error::NonFinite { .. })));
}

#[test]
fn bad_probes_are_refused_before_training() {
    let (net, probe) = (draw(2, 0, DType::F64), numbers(4, 3, 0));
    let begin = |probe: &Array2<f64>, labels: &Array2<f64>| {
        Trajectory::new(&net, probe.into(), labels.view()).map(|t| t.evaluations())
    };
    let labels = numbers(4, 2, 1);
    assert_eq!(begin(&probe, &labels).unwrap(), 1);
    assert!(matches!(begin(&numbers(4, 2, 0), &labels), Err(Error::Features { expected: 3, found: 2 })));
    assert!(matches!(begin(&probe, &numbers(3, 2, 1)), Err(Error::Targets { .. })));
    assert!(matches!(begin(&probe, &(&labels * f64::NAN)), Err(Error::Target { .. })));
    let error = begin(&probe, &Array2::zeros((4, 2))).unwrap_err();
    assert!(matches!(error, Error::Linalg(_)) && error.to_string().contains("labels"), "{error}");
    assert!(begin(&(&probe * f64::NAN), &labels).is_err());

    // One trajectory is for one training: steps do not go back.
    let (mut net, mut trajectory) =
        (draw(2, 0, DType::F64), Trajectory::new(&net, (&probe).into(), labels.view()).unwrap());
    let options = TrainOptions::descent(0.1, 3);
    net.train(&options, (&probe).into(), labels.view(), |step| trajectory.observe(step)).unwrap();
    net.train(&options, (&probe).into(), labels.view(), |step| trajectory.observe(step)).unwrap();
    assert!(matches!(trajectory.finish(), Err(Error::Linalg(ntk_linalg::Error::Interval { .. }))));
}

#[test]
fn a_linear_model_moves_and_keeps_its_kernel() {
    let (x, y) = (numbers(10, 3, 0), numbers(10, 1, 1));
    let mut linear = draw(1, 3, DType::F32).linearize().unwrap();
    let mut trajectory = Trajectory::new(&linear, (&x).into(), y.view()).unwrap();
    let options = TrainOptions { record: vec![0, 10, 20], ..TrainOptions::descent(0.5, 30) };
    linear.train(&options, (&x).into(), y.view(), |step| trajectory.observe(step)).unwrap();
    assert_eq!(trajectory.evaluations(), 1);
    let records = trajectory.finish().unwrap();
    let last = &records[3];
    assert!(records.iter().all(|r| r.distance == 0.0 && r.change == 0.0));
    let omega = linear.omega().unwrap().norm().unwrap();
    assert!((last.displacement / omega - 1.0).abs() < 1e-5 && omega > 0.01, "{} {omega}", last.displacement);
    assert!(records.windows(2).all(|pair| pair[1].loss < pair[0].loss));
}

/// For squared loss, α (f − f₀) against y is f against f₀ + y/α.
#[test]
fn the_lazy_dial_is_a_shift_of_squared_targets() {
    let (x, y) = (numbers(11, 3, 0), numbers(11, 2, 1));
    for (alpha, momentum, batch) in
        [(0.25, 0.0, None), (8.0, 0.9, None), (8.0, 0.0, Some(4)), (50.0, 0.9, Some(3))]
    {
        let (mut lazy, mut plain) = (draw(2, 1, DType::F64), draw(2, 1, DType::F64));
        let initial = plain.outputs((&x).into()).unwrap();
        let options =
            TrainOptions { momentum, batch, seed: 5, record: vec![0, 7], ..TrainOptions::descent(0.2, 30) };
        let shifted = &initial + &(&y / alpha);
        let plain = plain.train(&options, (&x).into(), shifted.view(), |_| ON).unwrap();
        let options = TrainOptions { alpha: Some(alpha), ..options };
        let mut first = None;
        let trained = lazy
            .train(&options, (&x).into(), y.view(), |step| {
                first.get_or_insert_with(|| step.outputs.clone());
                ON
            })
            .unwrap();
        assert_eq!(first.unwrap(), Array2::<f64>::zeros((11, 2)), "F begins at zero");
        close("outputs", &lazy.outputs((&x).into()).unwrap(), &plain.outputs, 1e-12);
        close("F", &trained.outputs, &((&plain.outputs - &initial) * alpha), 1e-10);
        assert!(
            (trained.loss / (plain.loss * alpha * alpha) - 1.0).abs() < 1e-9,
            "loss(F) is α² times the other"
        );
    }
}

#[test]
fn the_lazy_dial_divides_the_gradient_of_any_loss_by_alpha() {
    let (x, y, alpha, rate) = (numbers(2, 3, 0), array![[1.0, 0.0], [0.0, 1.0]], 5.0, 0.3);
    let mut net = draw(2, 1, DType::F64);
    // At F = 0 the softmax is 1/2.
    let descent = net.vjp((&x).into(), (&y - 0.5).view()).unwrap();
    let expected = net.parameters().unwrap().plus(rate / alpha, &descent).unwrap();
    let options = TrainOptions {
        alpha: Some(alpha),
        loss: Loss::CrossEntropy,
        reduction: Reduction::Sum,
        ..TrainOptions::descent(rate, 1)
    };
    net.train(&options, (&x).into(), y.view(), |_| ON).unwrap();
    let off = net.parameters().unwrap().plus(-1.0, &expected).unwrap().norm().unwrap();
    assert!(off < 1e-14, "{off:e}");

    for alpha in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let options = TrainOptions { alpha: Some(alpha), ..options.clone() };
        let refused = net.train(&options, (&x).into(), y.view(), |_| ON);
        assert!(matches!(refused, Err(Error::Setting { option: "alpha", .. })), "{alpha}");
    }
}

#[test]
fn a_large_alpha_is_the_linear_model() {
    let (x, y) = (numbers(6, 3, 0), numbers(6, 1, 1));
    let train = |alpha: f64| {
        let options = TrainOptions { alpha: Some(alpha), ..TrainOptions::descent(0.5, 60) };
        let net = draw(1, 2, DType::F64);
        let mut linear = net.linearize().unwrap();
        let linear = linear.train(&options, (&x).into(), y.view(), |_| ON).unwrap().outputs;
        let mut net = net;
        norm(&(net.train(&options, (&x).into(), y.view(), |_| ON).unwrap().outputs - linear))
    };
    // The distance is of order 1/α: it halves when α doubles.
    let ratio = train(200.0) / train(400.0);
    assert!((ratio - 2.0).abs() < 0.05, "{ratio}");
}
