//! Training under any loss, in continuous time: a differential equation for the outputs, solved to a tolerance.

use ndarray::{Array2, ArrayView2};
use ntk_linalg::{Cholesky, product};

use crate::layout::{Layout, check};
use crate::ode::{End, Next, Pair, Problem, State, Step};
use crate::{Error, Gram, LearningRate, Loss, LossScale, Momentum, Ridge, Spectrum, Time, Tolerance, Work};

/// Gradient flow f′ = −η Θ ∇L(f), or its heavy ball, of a linearized network under any [`Loss`].
///
/// L = Σ ℓ(f, y)/scale. Carried along are the coefficients a_t with f_t(x) = f₀(x) + Θ(x, X) a_t, so that test points
/// cost one product at the end. A ridge belongs to the train kernel, as in training with squared loss.
///
/// Work is counted in products of the kernel with (n, k) numbers, 2 n² k operations each: about √(η λ_max h) for a
/// step of length h, in which outputs may move by as much as the tolerance lets a method of fourth order go.
/// Memory: at most some 800 times N·k numbers beside the kernel, a tenth of that for steps that are not stiff.
///
/// # Source
/// \[lee2019wide\], section 2.2; the integrator: \[hochbruck2009exponential\].
///
/// ```
/// use ndarray::array;
/// use ntk_dynamics::{CrossEntropy, FunctionSpace, Gram, LearningRate, LossScale, Ridge, Time};
/// let gram = Gram::new(array![[2.0, 0.5], [0.5, 1.0]])?;
/// let flow = FunctionSpace::flow(&gram, Ridge::None, CrossEntropy, LearningRate::new(1.0)?, LossScale::MeanN)?;
/// let labels = array![[1.0, 0.0], [0.0, 1.0]];
/// let initial = array![[0.0, 0.0], [0.0, 0.0]];
/// let times = [Time::Finite(0.0), Time::Finite(10.0)];
/// let run = flow.fit(labels.view(), initial.view(), &times)?;
/// let (before, after) = (&run.snapshots[0], &run.snapshots[1]);
/// assert!((before.loss - 2.0_f64.ln()).abs() < 1e-14 && after.loss < before.loss);
/// assert!(after.train[[0, 0]] > after.train[[0, 1]]); // The first sample is recognized.
/// # Ok::<(), ntk_dynamics::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct FunctionSpace<L> {
    gram: Gram,
    ridge: f64,
    loss: L,
    rate: LearningRate,
    scale: LossScale,
    momentum: Option<Momentum>,
    tolerance: Tolerance,
}

/// Outputs of one network at one time of training.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// When: as asked for, or when an event occurred.
    pub time: Time,
    /// f_t(X), (N, k).
    pub train: Array2<f64>,
    /// The coefficients a_t, (N, k), up to parts that the kernel does not see.
    pub dual: Array2<f64>,
    /// L, divided by the scale.
    pub loss: f64,
    layout: Layout,
}

impl Snapshot {
    /// Test outputs f_t(x) = f₀(x) + Θ(x, X) a_t, (M, k). `test_train`: Θ(x, X), (M, n); `initial`: f₀(x), (M, k).
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NonFinite`], [`Error::Overflow`].
    pub fn test(
        &self,
        test_train: ArrayView2<'_, f64>,
        initial: ArrayView2<'_, f64>,
    ) -> Result<Array2<f64>, Error> {
        let initial = self.layout.flat("initial test outputs", initial, initial.nrows())?;
        let dual = self.layout.flat("coefficients", self.dual.view(), self.layout.samples)?;
        check("the test-train kernel", test_train, (initial.nrows(), dual.nrows()))?;
        self.layout.outputs(initial + product(test_train, dual.view())?)
    }
}

/// A solution at the times asked for, and what it cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Solution {
    /// One for each time, in order.
    pub snapshots: Vec<Snapshot>,
    /// Of the whole integration.
    pub work: Work,
}

impl<L: Loss> FunctionSpace<L> {
    /// Gradient flow θ′ = −η ∇L; a step of descent with rate η takes a time of about 1.
    ///
    /// # Errors
    /// [`Error::Ridge`]; [`Error::NotPositiveSemidefinite`] if Θ + ρI has an eigenvalue below −1e-8 ‖Θ‖, found by a
    /// Cholesky factorization.
    pub fn flow(
        gram: &Gram,
        ridge: Ridge,
        loss: L,
        rate: LearningRate,
        scale: LossScale,
    ) -> Result<Self, Error> {
        let ridge = ridge.absolute(gram.symmetric().trace(), gram.len())?;
        let shift = ridge + 1e-8 * frobenius(gram, ridge);
        if shift > 0.0 && Cholesky::new(gram.symmetric().shifted(shift)?).is_err() {
            // The eigenvalues, for the message; if they are sound after all, so is the kernel.
            Spectrum::new(gram, Ridge::Absolute(ridge))?;
        }
        let tolerance = Tolerance::default();
        Ok(FunctionSpace { gram: gram.clone(), ridge, loss, rate, scale, momentum: None, tolerance })
    }

    /// The differential equation of momentum, with time as in [`MomentumFlow`](crate::MomentumFlow): t counts steps.
    ///
    /// # Errors
    /// Those of [`FunctionSpace::flow`].
    pub fn heavy_ball(
        gram: &Gram,
        ridge: Ridge,
        loss: L,
        rate: LearningRate,
        scale: LossScale,
        momentum: Momentum,
    ) -> Result<Self, Error> {
        Ok(FunctionSpace { momentum: Some(momentum), ..Self::flow(gram, ridge, loss, rate, scale)? })
    }

    /// The same with another tolerance.
    ///
    /// # Errors
    /// [`Error::Tolerance`] unless both are finite, the relative one at least 0 and the absolute one at least 1e-14.
    pub fn with_tolerance(self, tolerance: Tolerance) -> Result<Self, Error> {
        let Tolerance { relative, absolute, .. } = tolerance;
        let sound = |value: f64, least: f64| value.is_finite() && value >= least;
        if !(sound(relative, 0.0) && sound(absolute, 1e-14)) {
            return Err(Error::Tolerance { relative, absolute });
        }
        Ok(FunctionSpace { tolerance, ..self })
    }

    /// Solves from initial train outputs, (N, k), with targets, (N, k), and keeps the outputs at ascending times.
    ///
    /// At infinite time the outputs are those where they have settled: where the linearized equation would move them
    /// by less than a tenth of the tolerance.
    ///
    /// # Errors
    /// [`Error::Targets`], [`Error::Shape`], [`Error::NonFinite`]; [`Error::Time`], [`Error::Unordered`];
    /// [`Error::Unfinished`] if the steps of the [`Tolerance`] do not suffice, as for a limit that does not exist;
    /// [`Error::Stalled`] where the gradient of the loss is not continuous; [`Error::Overflow`] if outputs do.
    pub fn fit(
        &self,
        targets: ArrayView2<'_, f64>,
        initial: ArrayView2<'_, f64>,
        times: &[Time],
    ) -> Result<Solution, Error> {
        let values = times.iter().map(|time| time.value()).collect::<Result<Vec<f64>, _>>()?;
        if let Some(at) = values.windows(2).position(|pair| pair[0] > pair[1]) {
            return Err(Error::Unordered { index: at + 1, before: values[at], after: values[at + 1] });
        }
        let (problem, layout) = self.problem(targets, initial)?;
        let (mut snapshots, mut work) = (Vec::new(), Work::default());
        let keep = |time: Time, state: &State| self.snapshot(&problem, layout, time, state);
        let ahead = values.iter().position(|&t| t > 0.0).unwrap_or(values.len());
        for &time in &times[..ahead] {
            snapshots.push(keep(time, &problem.start())?);
        }
        let Some(&horizon) = times.last() else { return Ok(Solution { snapshots, work }) };
        let end = problem.integrate(horizon, &self.tolerance, &mut work, |step| {
            while let Some(&t) = values.get(snapshots.len()) {
                let part = (t - step.start.time) / step.length;
                if part > 1.0 {
                    break;
                }
                snapshots.push(keep(times[snapshots.len()], &step.at(part))?);
            }
            Ok(Next::Go)
        })?;
        let (End::Done(last) | End::Settled(last)) = end;
        // Beyond the time at which outputs settled, and at the end itself where rounding hid it.
        while let Some(&time) = times.get(snapshots.len()) {
            snapshots.push(keep(time, &last)?);
        }
        Ok(Solution { snapshots, work })
    }

    /// Solves until the loss is at or below `level` for the first time, which is the one snapshot's time; `within`
    /// a horizon, which may be infinite.
    ///
    /// # Errors
    /// Those of [`FunctionSpace::fit`]; [`Error::NotReached`] if the loss stays above.
    pub fn fit_until(
        &self,
        targets: ArrayView2<'_, f64>,
        initial: ArrayView2<'_, f64>,
        level: f64,
        within: Time,
    ) -> Result<Solution, Error> {
        within.value()?;
        let (problem, layout) = self.problem(targets, initial)?;
        let divisor = self.scale.divisor(layout.samples, layout.outputs);
        let sum = level * divisor;
        let mut work = Work::default();
        let mut found = Some(problem.start()).filter(|start| problem.loss(&problem.train(start)) <= sum);
        let end = if found.is_some() {
            None
        } else {
            Some(problem.integrate(within, &self.tolerance, &mut work, |step| {
                found = first(&problem, step, sum);
                Ok(if found.is_some() { Next::Stop } else { Next::Go })
            })?)
        };
        match (found, end) {
            (Some(state), _) => {
                let snapshot = self.snapshot(&problem, layout, Time::Finite(state.time), &state)?;
                Ok(Solution { snapshots: vec![snapshot], work })
            }
            (None, Some(End::Done(last) | End::Settled(last))) => {
                let loss = problem.loss(&problem.train(&last)) / divisor;
                Err(Error::NotReached { level, loss, time: last.time })
            }
            (None, None) => Err(Error::NotReached { level, loss: f64::NAN, time: 0.0 }),
        }
    }

    fn problem(
        &self,
        targets: ArrayView2<'_, f64>,
        initial: ArrayView2<'_, f64>,
    ) -> Result<(Problem<'_, L>, Layout), Error> {
        let layout = Layout::new(self.gram.len(), targets.dim())?;
        let kernel = self.gram.view();
        let largest = kernel.diag().fold(0.0_f64, |m, &v| m.max(v)) + self.ridge;
        let problem = Problem {
            kernel,
            ridge: self.ridge,
            loss: &self.loss,
            targets: layout.flat("targets", targets, layout.samples)?,
            initial: layout.flat("initial train outputs", initial, layout.samples)?,
            outputs: layout.outputs,
            rate: self.rate.get() / self.scale.divisor(layout.samples, layout.outputs),
            friction: self.momentum.map(|momentum| 1.0 - momentum.get()),
            bound: frobenius(&self.gram, self.ridge),
            unit: largest.sqrt(),
        };
        Ok((problem, layout))
    }

    fn snapshot(
        &self,
        problem: &Problem<'_, L>,
        layout: Layout,
        time: Time,
        state: &State,
    ) -> Result<Snapshot, Error> {
        let train = problem.train(state);
        let loss = problem.loss(&train) / self.scale.divisor(layout.samples, layout.outputs);
        if !loss.is_finite() {
            return Err(Error::Overflow);
        }
        let Pair { dual, .. } = state.position.clone();
        Ok(Snapshot { time, train: layout.outputs(train)?, dual: layout.outputs(dual)?, loss, layout })
    }
}

/// The first state within a step at which the loss has come down to the level.
fn first<L: Loss>(problem: &Problem<'_, L>, step: &Step<'_>, level: f64) -> Option<State> {
    let reached = |state: &State| problem.loss(&problem.train(state)) <= level;
    if problem.friction.is_none() {
        return reached(&step.at(1.0)).then(|| bisect(step, 0.0, 1.0, reached).1);
    }
    // The heavy ball may come down and rise again: look at every minimum, some ten times in the fastest swing.
    let rising = |state: &State| problem.descent(state) >= 0.0;
    let parts = (2.0 * step.length * (problem.rate * problem.bound).sqrt()).ceil().clamp(4.0, 1e4);
    let mut low = 0.0;
    for part in (1..=parts as u32).map(|part| f64::from(part) / parts) {
        let state = step.at(part);
        let falling = low == 0.0 || !rising(&step.at(low));
        let lowest = if falling && rising(&state) { bisect(step, low, part, rising).0 } else { part };
        if let Some(high) = [lowest, part].into_iter().find(|&part| reached(&step.at(part))) {
            return Some(bisect(step, low, high, reached).1);
        }
        low = part;
    }
    None
}

/// Where a condition that holds at `high` begins to hold.
fn bisect(step: &Step<'_>, mut low: f64, mut high: f64, holds: impl Fn(&State) -> bool) -> (f64, State) {
    let resolution = 4.0 * f64::EPSILON * (step.start.time / step.length).max(1.0);
    let mut state = step.at(high);
    while high - low > resolution {
        let middle = 0.5 * (low + high);
        let candidate = step.at(middle);
        if holds(&candidate) {
            (high, state) = (middle, candidate);
        } else {
            low = middle;
        }
    }
    (high, state)
}

fn frobenius(gram: &Gram, ridge: f64) -> f64 {
    let square = gram.view().fold(0.0, |sum, v| sum + v * v);
    square.sqrt() + ridge
}
