//! The integrator of training in function space: exponential, of fourth order, by products with the kernel alone.
//!
//! One step linearizes the loss where it stands, solves the linear equation exactly in Krylov spaces, and corrects for
//! the rest of the gradient at two stages (the scheme `exprb43` of \[hochbruck2009exponential\]). Squared loss has no
//! rest: any step is exact. Stiffness costs the square root of what it costs explicit methods.
//!
//! Errors are measured in the function space of the kernel, ‖v‖ = √(vᵀΘv): |Θ(x, X)v| ≤ √Θ(x, x) ‖v‖ at every input x,
//! so that one number controls train and test outputs.
//!
//! The Jacobian −ηΘH of gradient flow, with H the curvature of the loss, is symmetric in that geometry, so that Lanczos'
//! short recursion applies; the heavy ball is the same operator seen twice, as position and velocity.

mod krylov;
mod phi;
mod problem;

use ndarray::Array2;

use self::krylov::Krylov;
use self::phi::{Mode, Square};
pub(crate) use self::problem::{Pair, Problem};
use crate::{Error, Loss, Time};

/// How exactly the differential equation is solved.
///
/// The estimated error of a step is at most `absolute` + `relative` · max |f|, in units of outputs, at any input x
/// whose Θ(x, x) is no larger than on the train set. The estimate is that of a third-order solution while one of
/// fourth order is carried on, so that the defaults, 1e-7 both, leave outputs right to about 1e-8.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// In units of the largest output.
    pub relative: f64,
    /// In units of outputs.
    pub absolute: f64,
    /// The largest number of steps, rejected ones included.
    pub steps: u64,
}

impl Default for Tolerance {
    fn default() -> Self {
        Tolerance { relative: 1e-7, absolute: 1e-7, steps: 10_000 }
    }
}

/// What a solution cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Evaluations of the linearized right-hand side: each is one product of the kernel, (n, n), with (n, k) numbers.
    pub evaluations: u64,
    /// Steps that met the tolerance.
    pub accepted: u64,
    /// Steps tried and made shorter.
    pub rejected: u64,
}

/// Coefficients, their velocity if there is momentum, and the time.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) time: f64,
    pub(crate) position: Pair,
    velocity: Option<Pair>,
}

/// One accepted step with its continuous extension, right to the order of the step.
pub(crate) struct Step<'s> {
    pub(crate) start: &'s State,
    pub(crate) length: f64,
    mode: Mode,
    /// Krylov spaces of the components of the right-hand side.
    slopes: &'s [Krylov],
    /// Those of what the linearization leaves at half and at the whole step.
    rests: &'s [Krylov; 2],
}

impl Step<'_> {
    /// The state at the time `start.time + part · length`, 0 < part ≤ 1.
    pub(crate) fn at(&self, part: f64) -> State {
        let (h, mut state) = (part * self.length, self.start.clone());
        state.time += h;
        let rests = self.slopes.len() - 1;
        for (component, slope) in self.slopes.iter().enumerate() {
            state.add(slope, |lambda| column(self.mode.phi(h, lambda)[1], component, h));
        }
        let (square, cube) = (part * part * h, part * part * part * h);
        for (rest, [second, third]) in self.rests.iter().zip([[16.0, -48.0], [-2.0, 12.0]]) {
            state.add(rest, |lambda| {
                let phi = self.mode.phi(h, lambda);
                let [a, b] = [column(phi[3], rests, second * square), column(phi[4], rests, third * cube)];
                [a[0] + b[0], a[1] + b[1]]
            });
        }
        state
    }
}

impl State {
    /// Adds φ(A) w to position and velocity.
    fn add(&mut self, space: &Krylov, phi: impl Fn(f64) -> [f64; 2]) {
        let [position, velocity] = space.coefficients(phi);
        space.add_to(&mut self.position, &position);
        if let Some(pair) = &mut self.velocity {
            space.add_to(pair, &velocity);
        }
    }
}

/// Where to stop.
pub(crate) enum Next {
    Go,
    Stop,
}

/// What happened when the integration ended.
pub(crate) enum End {
    /// The horizon was reached, or a visitor stopped.
    Done(Box<State>),
    /// Outputs have settled before infinite time.
    Settled(Box<State>),
}

impl<L: Loss> Problem<'_, L> {
    pub(crate) fn start(&self) -> State {
        let zero = || Pair::zeros(self.initial.dim());
        State { time: 0.0, position: zero(), velocity: self.friction.map(|_| zero()) }
    }

    /// Train outputs f₀ + Θa.
    pub(crate) fn train(&self, state: &State) -> Array2<f64> {
        &self.initial + &state.position.output
    }

    /// dL/dt up to a positive factor: the gradient times the velocity, of the heavy ball.
    pub(crate) fn descent(&self, state: &State) -> f64 {
        let gradient = self.gradient(&self.train(state));
        state.velocity.as_ref().map_or(0.0, |v| krylov::dot(&gradient, &v.output))
    }

    /// Integrates to the horizon, with a visit at every accepted step.
    pub(crate) fn integrate(
        &self,
        horizon: Time,
        tolerance: &Tolerance,
        work: &mut Work,
        mut visit: impl FnMut(&Step<'_>) -> Result<Next, Error>,
    ) -> Result<End, Error> {
        let (horizon, mode) = (horizon.value()?, self.mode());
        let mut state = self.start();
        // A time in which the stiffest mode of a loss of curvature one moves.
        let stiffness = if self.bound > 0.0 { self.rate * self.bound } else { 1.0 };
        let first = self.friction.map_or(1.0 / stiffness, |_| 1.0 / stiffness.sqrt());
        let mut h = first;
        while state.time < horizon {
            let f = self.train(&state);
            let gradient = self.gradient(&f);
            if !f.iter().all(|v| v.is_finite()) {
                return Err(Error::Overflow);
            }
            if !gradient.iter().all(|v| v.is_finite()) {
                return Err(Error::Stalled { time: state.time });
            }
            let size = f.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
            // In units of the norm of functions.
            let allowed = (tolerance.absolute + tolerance.relative * size)
                / if self.unit > 0.0 { self.unit } else { 1.0 };
            h = h.min(horizon - state.time);
            let slopes = self.slopes(&state, &f, &gradient, h, 0.02 * allowed, work)?;
            if horizon.is_infinite() && self.settled(&state, &slopes, 1e3 * h, 0.1 * allowed) {
                return Ok(End::Settled(Box::new(state)));
            }
            while !slopes.iter().enumerate().all(|(c, s)| self.sufficient(s, c, h, 0.02 * allowed)) {
                h *= 0.5; // The spaces are as large as they get.
            }
            let mut rejected = false;
            let (rests, factor) = loop {
                if work.accepted + work.rejected >= tolerance.steps {
                    let loss = self.loss(&f);
                    return Err(Error::Unfinished { steps: tolerance.steps, time: state.time, loss });
                }
                if rejected && h <= f64::EPSILON * (state.time + first) {
                    return Err(Error::Stalled { time: state.time });
                }
                let shorter = match self.rests(&f, &gradient, &slopes, h, 0.02 * allowed, work)? {
                    Some((rests, error)) => {
                        let factor = 0.9 * (allowed / error).powf(0.25);
                        if error <= allowed {
                            work.accepted += 1;
                            break (rests, factor.min(if rejected { 1.0 } else { 8.0 }));
                        }
                        factor.max(0.1)
                    }
                    None => 0.1,
                };
                (work.rejected, rejected) = (work.rejected + 1, true);
                h *= shorter;
            };
            let step = Step { start: &state, length: h, mode, slopes: &slopes, rests: &rests };
            let stop = matches!(visit(&step)?, Next::Stop);
            let mut end = step.at(1.0);
            if h == horizon - state.time {
                end.time = horizon;
            }
            state = end;
            if stop {
                break;
            }
            h *= factor;
        }
        Ok(End::Done(Box::new(state)))
    }

    /// The components of the right-hand side, each with a space sufficient for a step of h.
    fn slopes(
        &self,
        state: &State,
        f: &Array2<f64>,
        gradient: &Array2<f64>,
        h: f64,
        allowed: f64,
        work: &mut Work,
    ) -> Result<Vec<Krylov>, Error> {
        let components = match (&state.velocity, self.friction) {
            (Some(v), Some(friction)) => {
                vec![v.dual.clone(), -(&v.dual * friction + gradient)]
            }
            _ => vec![-gradient],
        };
        let space = |(component, w)| {
            let enough = |space: &Krylov| self.sufficient(space, component, h, allowed);
            Krylov::new(self, f, w, &mut work.evaluations, enough).map_err(|error| match error {
                Error::Overflow => Error::Stalled { time: state.time }, // The curvature is not finite.
                error => error,
            })
        };
        components.into_iter().enumerate().map(space).collect()
    }

    /// Whether what a space misses of h ϕ₁(hM) of one component is within what is allowed.
    fn sufficient(&self, space: &Krylov, component: usize, h: f64, allowed: f64) -> bool {
        let [c] = space.coefficients(|lambda| [column(self.mode().phi(h, lambda)[1], component, h)[0]]);
        // Of the heavy ball, the residual is an acceleration.
        let error = space.error(&c, h);
        self.friction.map_or(error, |friction| error / friction) <= allowed
    }

    /// Position and velocity as one: in the time that friction gives it, a velocity moves so far.
    fn combined(&self, position: f64, velocity: f64) -> f64 {
        self.friction.map_or(position, |friction| position + velocity / friction)
    }

    /// What the linearization leaves of the gradient at the half and at the whole step, and the error of the step;
    /// nothing for a step so long that outputs overflow or no space suffices.
    fn rests(
        &self,
        f: &Array2<f64>,
        gradient: &Array2<f64>,
        slopes: &[Krylov],
        h: f64,
        allowed: f64,
        work: &mut Work,
    ) -> Result<Option<([Krylov; 2], f64)>, Error> {
        let (mode, last) = (self.mode(), slopes.len() - 1);
        let linear = |part: f64| {
            let mut moved = Array2::zeros(f.dim());
            for (component, slope) in slopes.iter().enumerate() {
                let [c] = slope
                    .coefficients(|lambda| [column(mode.phi(part * h, lambda)[1], component, part * h)[0]]);
                slope.add_outputs_to(&mut moved, &c);
            }
            moved
        };
        let mut rest = |moved: &Array2<f64>| -> Result<Option<Krylov>, Error> {
            let rest = gradient + &self.curvature(f, moved) - self.gradient(&(f + moved));
            if !rest.iter().all(|v| v.is_finite()) {
                return Ok(None);
            }
            let enough = |space: &Krylov| self.sufficient(space, last, h, allowed);
            let space = Krylov::new(self, f, rest, &mut work.evaluations, enough)?;
            Ok(Some(space).filter(|space| space.sufficient))
        };
        let Some(half) = rest(&linear(0.5))? else { return Ok(None) };
        let mut moved = linear(1.0);
        let [c] = half.coefficients(|lambda| [column(mode.phi(h, lambda)[1], last, h)[0]]);
        half.add_outputs_to(&mut moved, &c);
        let Some(whole) = rest(&moved)? else { return Ok(None) };
        let mut error = State {
            time: h,
            position: Pair::zeros(f.dim()),
            velocity: self.friction.map(|_| Pair::zeros(f.dim())),
        };
        error.add(&half, |lambda| column(mode.phi(h, lambda)[4], last, -48.0 * h));
        error.add(&whole, |lambda| column(mode.phi(h, lambda)[4], last, 12.0 * h));
        let norm = self.combined(error.position.norm(), error.velocity.map_or(0.0, |v| v.norm()));
        Ok(Some(([half, whole], norm)).filter(|(_, norm)| norm.is_finite()))
    }

    /// Whether the linearized equation, left alone for a time of `horizon`, moves outputs by less than allowed.
    fn settled(&self, state: &State, slopes: &[Krylov], horizon: f64, allowed: f64) -> bool {
        let mut end = Pair::zeros(self.initial.dim());
        for (component, slope) in slopes.iter().enumerate() {
            let [c] = slope
                .coefficients(|lambda| [column(self.mode().phi(horizon, lambda)[1], component, horizon)[0]]);
            slope.add_to(&mut end, &c);
        }
        let velocity = state.velocity.as_ref().map_or(0.0, Pair::norm);
        state.time > 0.0 && self.combined(end.norm(), velocity) <= allowed
    }
}

/// What one component of the right-hand side does to position and velocity.
fn column(phi: Square, component: usize, factor: f64) -> [f64; 2] {
    [factor * phi[0][component], factor * phi[1][component]]
}
