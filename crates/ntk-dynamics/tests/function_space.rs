//! Training under any loss: the integrator against closed forms, loops and the laws of its differential equation.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ndarray::{Array2, Axis, array, s};
use ntk_dynamics::{
    CrossEntropy, Error, FunctionSpace, GradientFlow, Gram, Huber, LearningRate, Logistic, Loss, LossScale,
    Momentum, MomentumFlow, Ridge, SmoothHinge, Spectrum, Squared, SquaredHinge, Time, Tolerance, Work,
};
use ntk_testkit::cases;
use proptest::prelude::*;

/// A kernel J Jᵀ/p on train and test points, targets and initial outputs.
#[derive(Clone, Debug)]
struct Task {
    kernel: Array2<f64>,
    targets: Array2<f64>,
    initial: Array2<f64>,
}

impl Task {
    fn samples(&self) -> usize {
        self.targets.nrows()
    }

    fn gram(&self) -> Gram {
        let n = self.samples();
        Gram::new(self.kernel.slice(s![..n, ..n]).to_owned()).unwrap()
    }

    fn test_train(&self) -> Array2<f64> {
        let n = self.samples();
        self.kernel.slice(s![n.., ..n]).to_owned()
    }

    fn f0(&self) -> (Array2<f64>, Array2<f64>) {
        let (train, test) = self.initial.view().split_at(Axis(0), self.samples());
        (train.to_owned(), test.to_owned())
    }

    /// Distributions over the outputs, or ±1.
    fn distributions(&self) -> Array2<f64> {
        let y = self.targets.mapv(|v| v + 1.001);
        let sums = y.sum_axis(Axis(1)).insert_axis(Axis(1));
        y / sums
    }

    fn signs(&self) -> Array2<f64> {
        self.targets.mapv(f64::signum)
    }
}

fn entries(rows: usize, columns: usize) -> impl Strategy<Value = Array2<f64>> {
    proptest::collection::vec(-1.0..1.0, rows * columns)
        .prop_map(move |v| Array2::from_shape_vec((rows, columns), v).unwrap())
}

/// 2–7 train points, 2 test points, 2 or 3 outputs; of rank `parameters` at most.
fn task_with(parameters: usize) -> impl Strategy<Value = Task> {
    (2usize..8, 2usize..4).prop_flat_map(move |(n, k)| {
        (entries(n + 2, parameters), entries(n, k), entries(n + 2, k))
            .prop_map(|(j, targets, initial)| Task { kernel: j.dot(&j.t()), targets, initial })
    })
}

fn rate(value: f64) -> LearningRate {
    LearningRate::new(value).unwrap()
}

fn flow<L: Loss>(task: &Task, loss: L, eta: f64) -> FunctionSpace<L> {
    FunctionSpace::flow(&task.gram(), Ridge::None, loss, rate(eta), LossScale::MeanN).unwrap()
}

fn far(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    assert_eq!(a.dim(), b.dim());
    a.iter().zip(b).fold(0.0, |worst: f64, (a, b)| worst.max((a - b).abs()))
}

fn gradient<L: Loss>(loss: &L, f: &Array2<f64>, y: &Array2<f64>) -> Array2<f64> {
    let mut gradient = Array2::zeros(f.dim());
    for ((mut g, f), y) in gradient.rows_mut().into_iter().zip(f.rows()).zip(y.rows()) {
        loss.gradient(f.as_slice().unwrap(), y.as_slice().unwrap(), g.as_slice_mut().unwrap());
    }
    gradient
}

/// RK4 of f″ = −γ f′ − (η/N) Θ ∇L, or of f′ = −(η/N) Θ ∇L, on train and test points.
fn looped<L: Loss>(
    task: &Task,
    loss: &L,
    y: &Array2<f64>,
    eta: f64,
    friction: Option<f64>,
    t: f64,
) -> Array2<f64> {
    let n = task.samples();
    let slope = |f: &Array2<f64>, v: &Array2<f64>| {
        let g = gradient(loss, &f.slice(s![..n, ..]).to_owned(), y);
        let force = -eta / n as f64 * task.kernel.slice(s![.., ..n]).dot(&g);
        friction.map_or((force.clone(), Array2::zeros(v.dim())), |c| (v.clone(), force - c * v))
    };
    let steps = 4000;
    let h = t / steps as f64;
    let start = (task.initial.clone(), Array2::zeros(task.initial.dim()));
    (0..steps)
        .fold(start, |(f, v), _| {
            let (f1, v1) = slope(&f, &v);
            let (f2, v2) = slope(&(&f + 0.5 * h * &f1), &(&v + 0.5 * h * &v1));
            let (f3, v3) = slope(&(&f + 0.5 * h * &f2), &(&v + 0.5 * h * &v2));
            let (f4, v4) = slope(&(&f + h * &f3), &(&v + h * &v3));
            (f + h / 6.0 * (f1 + 2.0 * f2 + 2.0 * f3 + f4), v + h / 6.0 * (v1 + 2.0 * v2 + 2.0 * v3 + v4))
        })
        .0
}

/// The largest distance of the integrator from the loop, on train and test points.
fn off<L: Loss + Clone>(task: &Task, loss: L, y: &Array2<f64>, friction: Option<f64>, t: f64) -> f64 {
    let eta = 0.5;
    let space = match friction {
        None => flow(task, loss.clone(), eta),
        Some(c) => {
            let momentum = Momentum::new(1.0 - c).unwrap();
            let scale = LossScale::MeanN;
            FunctionSpace::heavy_ball(&task.gram(), Ridge::None, loss.clone(), rate(eta), scale, momentum)
                .unwrap()
        }
    };
    let (train, test) = task.f0();
    let run = space.fit(y.view(), train.view(), &[Time::Finite(0.4 * t), Time::Finite(t)]).unwrap();
    let expected = looped(task, &loss, y, eta, friction, t);
    let (n, last) = (task.samples(), &run.snapshots[1]);
    let predicted = last.test(task.test_train().view(), test.view()).unwrap();
    far(&last.train, &expected.slice(s![..n, ..]).to_owned())
        .max(far(&predicted, &expected.slice(s![n.., ..]).to_owned()))
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn flow_of_every_loss_solves_its_differential_equation(task in task_with(12), t in 0.5..6.0) {
        for (error, name) in [
            (off(&task, CrossEntropy, &task.distributions(), None, t), "cross-entropy"),
            (off(&task, Logistic, &task.signs(), None, t), "logistic"),
            (off(&task, SmoothHinge::new(0.5).unwrap(), &task.signs(), None, t), "smooth hinge"),
            (off(&task, Squared, &task.targets, None, t), "squared"),
        ] {
            prop_assert!(error < 3e-8, "{name} {error:e}");
        }
    }

    #[test]
    fn heavy_ball_of_every_loss_solves_its_differential_equation(task in task_with(12), t in 0.5..6.0, friction in 0.05..1.0) {
        for (error, name) in [
            (off(&task, CrossEntropy, &task.distributions(), Some(friction), t), "cross-entropy"),
            (off(&task, Logistic, &task.signs(), Some(friction), t), "logistic"),
            (off(&task, Squared, &task.targets, Some(friction), t), "squared"),
        ] {
            prop_assert!(error < 3e-8, "{name} {error:e}");
        }
    }

    #[test]
    fn squared_loss_is_its_closed_form(task in task_with(12), t in 0.0..200.0, ridge in prop_oneof![Just(0.0), 0.01..1.0]) {
        let (ridge, eta) = (Ridge::Absolute(ridge), rate(0.7));
        let spectrum = Spectrum::new(&task.gram(), ridge).unwrap();
        let (train, test) = task.f0();
        let (y, k) = (task.targets.view(), task.test_train());
        let times = [Time::Finite(0.3 * t), Time::Finite(t)];
        let closed = GradientFlow::new(&spectrum, eta, LossScale::MeanN).fit(y, train.view()).unwrap();
        let solved = FunctionSpace::flow(&task.gram(), ridge, Squared, eta, LossScale::MeanN).unwrap()
            .fit(y, train.view(), &times).unwrap();
        for (snapshot, at) in solved.snapshots.iter().zip(times) {
            prop_assert!(far(&snapshot.train, &closed.train(at).unwrap()) < 1e-8);
            let predicted = snapshot.test(k.view(), test.view()).unwrap();
            prop_assert!(far(&predicted, &closed.test(at, k.view(), test.view()).unwrap()) < 1e-8);
            prop_assert!((snapshot.loss - closed.loss(at).unwrap()).abs() < 1e-8);
        }
        let momentum = Momentum::new(0.8).unwrap();
        let closed = MomentumFlow::new(&spectrum, eta, LossScale::MeanN, momentum).fit(y, train.view()).unwrap();
        let solved = FunctionSpace::heavy_ball(&task.gram(), ridge, Squared, eta, LossScale::MeanN, momentum).unwrap()
            .fit(y, train.view(), &times).unwrap();
        for (snapshot, at) in solved.snapshots.iter().zip(times) {
            prop_assert!(far(&snapshot.train, &closed.train(at).unwrap()) < 1e-8);
            let predicted = snapshot.test(k.view(), test.view()).unwrap();
            prop_assert!(far(&predicted, &closed.test(at, k.view(), test.view()).unwrap()) < 1e-8);
        }
    }

    #[test]
    fn singular_kernels_leave_zero_modes_alone(task in task_with(1), t in 0.0..50.0) {
        let (train, test) = task.f0();
        let (y, k, at) = (task.targets.view(), task.test_train(), Time::Finite(t));
        let spectrum = Spectrum::new(&task.gram(), Ridge::None).unwrap();
        let closed = GradientFlow::new(&spectrum, rate(0.5), LossScale::MeanN).fit(y, train.view()).unwrap();
        let solved = flow(&task, Squared, 0.5).fit(y, train.view(), &[at, Time::Infinite]).unwrap();
        for (snapshot, at) in solved.snapshots.iter().zip([at, Time::Infinite]) {
            prop_assert!(far(&snapshot.train, &closed.train(at).unwrap()) < 1e-8);
            let predicted = snapshot.test(k.view(), test.view()).unwrap();
            prop_assert!(far(&predicted, &closed.test(at, k.view(), test.view()).unwrap()) < 1e-7);
        }
    }

    #[test]
    fn a_kernel_of_all_outputs_gives_the_same_as_one_for_each(task in task_with(12), t in 0.0..5.0) {
        let k = task.targets.ncols();
        let n = task.samples();
        let full = Array2::from_shape_fn((n * k, n * k), |(i, j)| {
            if i % k == j % k { task.kernel[[i / k, j / k]] } else { 0.0 }
        });
        let (y, train) = (task.distributions(), task.f0().0);
        let each = flow(&task, CrossEntropy, 0.5).fit(y.view(), train.view(), &[Time::Finite(t)]).unwrap();
        let all = FunctionSpace::flow(&Gram::new(full).unwrap(), Ridge::None, CrossEntropy, rate(0.5), LossScale::MeanN)
            .unwrap().fit(y.view(), train.view(), &[Time::Finite(t)]).unwrap();
        prop_assert!(far(&each.snapshots[0].train, &all.snapshots[0].train) < 1e-8);
        prop_assert!(far(&each.snapshots[0].dual, &all.snapshots[0].dual) < 1e-6);
    }

    #[test]
    fn flow_is_a_semigroup(task in task_with(12), t1 in 0.0..5.0, t2 in 0.0..5.0) {
        let (y, space) = (task.distributions(), flow(&task, CrossEntropy, 0.5));
        let run = space.fit(y.view(), task.f0().0.view(), &[Time::Finite(t1), Time::Finite(t1 + t2)]).unwrap();
        let resumed = space.fit(y.view(), run.snapshots[0].train.view(), &[Time::Finite(t2)]).unwrap();
        prop_assert!(far(&resumed.snapshots[0].train, &run.snapshots[1].train) < 3e-8);
        prop_assert!(far(&(&run.snapshots[0].dual + &resumed.snapshots[0].dual), &run.snapshots[1].dual) < 1e-6);
    }

    #[test]
    fn adding_a_number_to_all_logits_of_a_sample_changes_no_step(task in task_with(12), t in 0.0..8.0, shift in -50.0..50.0) {
        let (y, train) = (task.distributions(), task.f0().0);
        let mut shifted = train.clone();
        shifted.row_mut(0).mapv_inplace(|v| v + shift);
        // The size of outputs must not count, which the shift changes.
        let absolute = Tolerance { relative: 0.0, ..Tolerance::default() };
        let space = flow(&task, CrossEntropy, 0.5).with_tolerance(absolute).unwrap();
        let moved = |f: &Array2<f64>| &space.fit(y.view(), f.view(), &[Time::Finite(t)]).unwrap().snapshots[0].train - f;
        prop_assert!(far(&moved(&train), &moved(&shifted)) < 1e-7);
        // Distributions: the outputs of a sample keep their sum.
        prop_assert!(moved(&train).sum_axis(Axis(1)).iter().all(|v| v.abs() < 1e-8));
    }

    #[test]
    fn loss_never_increases_under_flow(task in task_with(12)) {
        let times: Vec<Time> = (0..40).map(|i| Time::Finite(0.01 * 1.3_f64.powi(i))).collect();
        fn check<L: Loss>(task: &Task, loss: L, y: &Array2<f64>, times: &[Time]) -> bool {
            let run = flow(task, loss, 0.5).fit(y.view(), task.f0().0.view(), times).unwrap();
            run.snapshots.windows(2).all(|pair| pair[1].loss <= pair[0].loss + 1e-8)
        }
        prop_assert!(check(&task, CrossEntropy, &task.distributions(), &times));
        prop_assert!(check(&task, Logistic, &task.signs(), &times));
        prop_assert!(check(&task, Huber::new(0.5).unwrap(), &task.targets, &times));
        prop_assert!(check(&task, SquaredHinge, &task.signs(), &times));
    }

    #[test]
    fn outputs_settle_where_the_gradient_vanishes(task in task_with(20)) {
        let y = task.distributions();
        let run = flow(&task, CrossEntropy, 0.5).fit(y.view(), task.f0().0.view(), &[Time::Infinite]).unwrap();
        let g = gradient(&CrossEntropy, &run.snapshots[0].train, &y);
        prop_assert!(task.gram().view().dot(&g).iter().all(|v| v.abs() < 1e-7));
    }
}

/// Eight points on a circle, three classes; a kernel of condition 10⁴.
fn circle(classes: usize) -> (Gram, Array2<f64>, Array2<f64>) {
    let angle = |i: usize| i as f64 * std::f64::consts::TAU / 8.0;
    let kernel = |i, j| (2.0 * (angle(i) - angle(j)).cos() - 2.0).exp();
    let labels =
        Array2::from_shape_fn((8, classes), |(i, c)| if (3 * i) % 8 % classes == c { 1.0 } else { 0.0 });
    let initial = Array2::from_shape_fn((8, classes), |(i, c)| 0.3 * ((5 * i + 3 * c) as f64).sin());
    (Gram::new(Array2::from_shape_fn((8, 8), |(i, j)| kernel(i, j))).unwrap(), labels, initial)
}

/// Up to what the rounding of another processor may turn: a step, and the dimension of one Krylov space in fifty.
fn work_is(found: Work, snapshot: Work) {
    let near = |a: u64, b: u64, slack: u64| assert!(a.abs_diff(b) <= slack, "{found:?} for {snapshot:?}");
    near(found.evaluations, snapshot.evaluations, 1 + snapshot.evaluations / 50);
    near(found.accepted, snapshot.accepted, 1);
    near(found.rejected, snapshot.rejected, 1);
}

#[test]
fn work_is_reported() {
    let (gram, y, f) = circle(3);
    let times = [Time::Finite(1.0), Time::Finite(100.0)];
    let flow = FunctionSpace::flow(&gram, Ridge::None, CrossEntropy, rate(1.0), LossScale::MeanN).unwrap();
    let run = flow.fit(y.view(), f.view(), &times).unwrap();
    work_is(run.work, Work { evaluations: 1382, accepted: 106, rejected: 1 });
    let squared = FunctionSpace::flow(&gram, Ridge::None, Squared, rate(1.0), LossScale::MeanN).unwrap();
    let work = squared.fit(y.view(), f.view(), &times).unwrap().work;
    work_is(work, Work { evaluations: 42, accepted: 3, rejected: 0 });
    let none = flow.fit(y.view(), f.view(), &[Time::Finite(0.0)]).unwrap();
    assert_eq!((none.work, &none.snapshots[0].train), (Work::default(), &f));
    assert!(flow.fit(y.view(), f.view(), &[]).unwrap().snapshots.is_empty());
}

#[test]
fn stiffness_costs_its_square_root() {
    // The same flow with rates apart by 10⁴ and times to match: explicit steps would number 10⁴ times more at the end.
    let (gram, y, f) = circle(3);
    let soft = y * 0.8 + 0.2 / 3.0;
    let work = |t: f64| {
        let flow = FunctionSpace::flow(&gram, Ridge::None, CrossEntropy, rate(1.0), LossScale::Sum).unwrap();
        flow.fit(soft.view(), f.view(), &[Time::Finite(t)]).unwrap().work
    };
    let (short, long) = (work(1e2), work(1e6));
    assert!(long.evaluations < 2 * short.evaluations, "{short:?} {long:?}");
}

#[test]
fn errors_follow_the_tolerance() {
    let (gram, y, f) = circle(3);
    let solve = |tolerance: f64| {
        let flow =
            FunctionSpace::flow(&gram, Ridge::None, CrossEntropy, rate(1.0), LossScale::MeanN).unwrap();
        let settings = Tolerance { relative: tolerance, absolute: tolerance, ..Tolerance::default() };
        let flow = flow.with_tolerance(settings).unwrap();
        flow.fit(y.view(), f.view(), &[Time::Finite(60.0)]).unwrap().snapshots.remove(0).train
    };
    let exact = solve(1e-13);
    for tolerance in [1e-4, 1e-6, 1e-8, 1e-10] {
        let error = far(&solve(tolerance), &exact);
        assert!(error < 2.0 * tolerance && error > 1e-4 * tolerance, "{tolerance:e}: {error:e}");
    }
}

#[test]
fn flow_is_the_limit_of_small_steps_of_first_order() {
    let (gram, y, f) = circle(3);
    let flow = FunctionSpace::flow(&gram, Ridge::None, CrossEntropy, rate(1.0), LossScale::MeanN).unwrap();
    let exact = flow.fit(y.view(), f.view(), &[Time::Finite(8.0)]).unwrap().snapshots.remove(0).train;
    let logs: Vec<[f64; 2]> = [32u32, 64, 128, 256, 512, 1024]
        .map(|steps| {
            let h = 8.0 / f64::from(steps);
            let end = (0..steps)
                .fold(f.clone(), |f, _| &f - &(h / 8.0 * gram.view().dot(&gradient(&CrossEntropy, &f, &y))));
            [h.ln(), far(&end, &exact).ln()]
        })
        .to_vec();
    let mean = |c: usize| logs.iter().map(|l| l[c]).sum::<f64>() / logs.len() as f64;
    let (x, e) = (mean(0), mean(1));
    let cross: f64 = logs.iter().map(|l| (l[0] - x) * (l[1] - e)).sum();
    let square: f64 = logs.iter().map(|l| (l[0] - x).powi(2)).sum();
    let slope = cross / square;
    let residual: f64 = logs.iter().map(|l| (l[1] - e - slope * (l[0] - x)).powi(2)).sum();
    let error = (residual / (logs.len() - 2) as f64 / square).sqrt();
    assert!((slope - 1.0).abs() < 0.02 + 3.0 * error, "{slope} ± {error}");
}

#[test]
fn an_event_is_found_where_the_closed_form_has_it() {
    // One mode of λ = 2: L = ½ e^{−2·2·t}, which is 1e-3 at t = ln(500)/4.
    let gram = Gram::new(array![[2.0]]).unwrap();
    let (y, f) = (array![[1.0]], array![[0.0]]);
    let flow = FunctionSpace::flow(&gram, Ridge::None, Squared, rate(1.0), LossScale::Sum).unwrap();
    let run = flow.fit_until(y.view(), f.view(), 1e-3, Time::Infinite).unwrap();
    let Time::Finite(t) = run.snapshots[0].time else { panic!("an event has a time") };
    assert!((t - 500.0_f64.ln() / 4.0).abs() < 1e-7, "{t}");
    assert!(run.snapshots[0].loss <= 1e-3);
    let at_once = flow.fit_until(y.view(), f.view(), 0.5, Time::Finite(0.0)).unwrap();
    assert_eq!(at_once.snapshots[0].time, Time::Finite(0.0));
    assert!(matches!(
        flow.fit_until(y.view(), f.view(), 1e-3, Time::Finite(0.1)),
        Err(Error::NotReached { .. })
    ));
    assert!(matches!(
        flow.fit_until(y.view(), f.view(), -1.0, Time::Infinite),
        Err(Error::NotReached { .. })
    ));
    // A swing: the heavy ball passes its target at t = π/(2√2) if there is next to no friction.
    let momentum = Momentum::new(1.0 - 1e-9).unwrap();
    let ball =
        FunctionSpace::heavy_ball(&gram, Ridge::None, Squared, rate(1.0), LossScale::Sum, momentum).unwrap();
    let run = ball.fit_until(y.view(), f.view(), 1e-6, Time::Finite(10.0)).unwrap();
    let Time::Finite(t) = run.snapshots[0].time else { panic!("an event has a time") };
    let exact = (2e-6_f64.sqrt()).acos() / 2.0_f64.sqrt();
    assert!((t - exact).abs() < 1e-6, "{t} {exact}");
}

#[test]
fn cross_entropy_on_separable_labels_has_no_limit() {
    let (gram, y, f) = circle(2);
    let flow = FunctionSpace::flow(&gram, Ridge::None, CrossEntropy, rate(1.0), LossScale::MeanN).unwrap();
    let few = Tolerance { steps: 300, ..Tolerance::default() };
    let outcome = flow.with_tolerance(few).unwrap().fit(y.view(), f.view(), &[Time::Infinite]);
    assert!(matches!(outcome, Err(Error::Unfinished { steps: 300, .. })), "{outcome:?}");
}

#[test]
fn kernels_of_zero_move_nothing() {
    for n in [1, 3] {
        let gram = Gram::new(Array2::zeros((n, n))).unwrap();
        let (y, f) = (Array2::ones((n, 2)), Array2::zeros((n, 2)));
        let flow = FunctionSpace::flow(&gram, Ridge::None, Logistic, rate(1.0), LossScale::Sum).unwrap();
        let run =
            flow.fit(y.view(), f.view(), &[Time::Finite(0.0), Time::Finite(5.0), Time::Infinite]).unwrap();
        assert!(run.snapshots.iter().all(|snapshot| snapshot.train == f));
    }
}

#[test]
fn every_fault_has_its_error() {
    let (gram, y, f) = circle(3);
    let new = || FunctionSpace::flow(&gram, Ridge::None, CrossEntropy, rate(1.0), LossScale::MeanN);
    let flow = new().unwrap();
    let fit = |times: &[Time]| flow.fit(y.view(), f.view(), times);
    assert!(matches!(fit(&[Time::Finite(-1.0)]), Err(Error::Time { .. })));
    assert!(matches!(fit(&[Time::Finite(f64::NAN)]), Err(Error::Time { .. })));
    let back = fit(&[Time::Finite(0.0), Time::Finite(2.0), Time::Finite(1.0)]);
    assert_eq!(back.unwrap_err().to_string(), "times must ascend, but time 2 is 1 after 2: sort them");
    assert!(matches!(fit(&[Time::Infinite, Time::Finite(1.0)]), Err(Error::Unordered { index: 1, .. })));
    let at = [Time::Finite(1.0)];
    let tall = Array2::zeros((9, 3));
    assert!(matches!(flow.fit(tall.view(), f.view(), &at), Err(Error::Targets { .. })));
    assert!(matches!(flow.fit(y.view(), tall.view(), &at), Err(Error::Shape { .. })));
    let nan = Array2::from_elem((8, 3), f64::NAN);
    assert!(matches!(flow.fit(nan.view(), f.view(), &at), Err(Error::NonFinite { .. })));
    let indefinite = Gram::new(array![[1.0, 2.0], [2.0, 1.0]]).unwrap();
    let outcome = FunctionSpace::flow(&indefinite, Ridge::None, Squared, rate(1.0), LossScale::Sum);
    assert!(matches!(outcome, Err(Error::NotPositiveSemidefinite { .. })));
    assert!(
        FunctionSpace::flow(&indefinite, Ridge::Absolute(1.5), Squared, rate(1.0), LossScale::Sum).is_ok()
    );
    for (relative, absolute) in [(0.0, 0.0), (-1.0, 1.0), (f64::NAN, 1.0), (1e-15, 1e-15), (1e-8, 0.0)] {
        let outcome = new().unwrap().with_tolerance(Tolerance { relative, absolute, steps: 10 });
        assert!(matches!(outcome, Err(Error::Tolerance { .. })));
    }
    let state = fit(&at).unwrap().snapshots.remove(0);
    assert!(matches!(state.test(tall.view(), f.view()), Err(Error::Shape { .. })));

    /// A loss that breaks down: its gradient is not a number beyond f = 1.
    struct Broken;
    impl Loss for Broken {
        fn value(&self, f: &[f64], _y: &[f64]) -> f64 {
            -f.iter().sum::<f64>()
        }
        fn gradient(&self, f: &[f64], _y: &[f64], gradient: &mut [f64]) {
            gradient.fill(if f[0] > 1.0 { f64::NAN } else { -1.0 });
        }
    }
    let gram = Gram::new(array![[1.0]]).unwrap();
    let broken = FunctionSpace::flow(&gram, Ridge::None, Broken, rate(1.0), LossScale::Sum).unwrap();
    let outcome = broken.fit(array![[0.0]].view(), array![[0.0]].view(), &[Time::Finite(5.0)]);
    assert!(matches!(outcome, Err(Error::Stalled { time }) if (time - 1.0).abs() < 1e-4), "{outcome:?}");
}
