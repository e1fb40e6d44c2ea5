//! Training in steps with everything that optimizers add: Nesterov's momentum, schedules, weight decay.

use crate::training::Training;
use crate::{Error, Law, LearningRate, LossScale, Mode, Momentum, Schedule, Spectrum, Steps, WeightDecay};

/// How momentum enters a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// θ ← θ + β (θ − θ₋) − η ∇L(θ); β = 0 is plain descent.
    HeavyBall(Momentum),
    /// y = θ + β (θ − θ₋), θ ← y − η ∇L(y): the gradient is taken ahead.
    Nesterov(Momentum),
}

impl Method {
    /// The x = η λ from which a mode does not converge: 2(1 + β), and 2(1 + β)/(1 + 2β) with the gradient taken ahead.
    pub fn bound(self) -> f64 {
        match self {
            Method::HeavyBall(beta) => 2.0 * (1.0 + beta.get()),
            Method::Nesterov(beta) => 2.0 * (1.0 + beta.get()) / (1.0 + 2.0 * beta.get()),
        }
    }

    fn momentum(self) -> f64 {
        match self {
            Method::HeavyBall(beta) | Method::Nesterov(beta) => beta.get(),
        }
    }

    /// One step e ← e + d, where d ← b d − s e + source and b is β, or β (1 − s) with the gradient taken ahead.
    fn step(self, s: f64) -> Affine {
        let b = match self {
            Method::HeavyBall(beta) => beta.get(),
            Method::Nesterov(beta) => beta.get() * (1.0 - s),
        };
        Affine { change: [[-s, b], [-s, b - 1.0]], response: [1.0, 1.0] }
    }
}

/// Full-batch descent with momentum of either kind, a schedule of learning rates, and weight decay toward the
/// initialization, exact at every step: O(log t) operations a mode for each run of equal rates.
///
/// With the penalty ½ μ |θ − θ₀|² added to the loss, modes tend to λ/(λ + μ s) of their targets, where s is the divisor
/// of the [`LossScale`]: training ends at kernel ridge regression of ridge μ s, see [`Posterior`](crate::Posterior).
/// The loss reported by [`Trajectory::loss`](crate::Trajectory::loss) is without the penalty. For decay toward zero
/// see [`ScheduledDescent::fit_toward_zero`].
///
/// # Source
/// Momentum: \[lee2019wide\], supplement.
///
/// ```
/// use ndarray::array;
/// use ntk_dynamics::{Gram, LearningRate, LossScale, Method, Momentum, Ridge, Schedule, ScheduledDescent, Spectrum};
/// use ntk_dynamics::{Steps, WeightDecay};
/// let spectrum = Spectrum::new(&Gram::new(array![[2.0]])?, Ridge::None)?;
/// let (rate, nesterov) = (LearningRate::new(0.1)?, Method::Nesterov(Momentum::new(0.5)?));
/// let schedule = Schedule::piecewise(&[(1, 1.0), (1, 0.5)])?;
/// let descent =
///     ScheduledDescent::new(&spectrum, rate, LossScale::Sum, nesterov, schedule, WeightDecay::NONE);
/// let run = descent.fit(array![[1.0]].view(), array![[0.0]].view())?;
/// // x = 0.2: f₁ = 0.2; then x = 0.1 from y = 0.2 + 0.5 · 0.2.
/// assert!((run.train(Steps::Finite(2))?[[0, 0]] - (0.3 + 0.1 * 0.7)).abs() < 1e-15);
/// # Ok::<(), ntk_dynamics::Error>(())
/// ```
pub type ScheduledDescent = Training<Scheme>;

impl ScheduledDescent {
    /// Descent in this eigensystem. `decay`: μ of the penalty ½ μ |θ − θ₀|², which [`LossScale`] does not divide.
    pub fn new(
        spectrum: &Spectrum,
        rate: LearningRate,
        scale: LossScale,
        method: Method,
        schedule: Schedule,
        decay: WeightDecay,
    ) -> Self {
        let shrink = rate.get() * decay.get();
        Training::with_law(spectrum, Scheme { method, schedule, shrink }, rate, scale)
    }
}

/// The law of [`ScheduledDescent`].
#[derive(Clone, Debug, PartialEq)]
pub struct Scheme {
    method: Method,
    schedule: Schedule,
    /// κ = η μ.
    pub(crate) shrink: f64,
}

impl Scheme {
    /// 1 − b, where b is what is left of initial parameters that the data do not hold: the decay toward zero alone.
    pub(crate) fn forgotten(&self, at: Steps) -> f64 {
        if self.shrink == 0.0 {
            return 0.0;
        }
        Scheme { shrink: 0.0, ..self.clone() }.mode(self.shrink, at).progress
    }

    /// The runs of steps in order, from rest: progress from 0 with source x, residual from 1 with source κ; with velocities.
    fn run(&self, x: f64, steps: u64) -> ([f64; 2], [f64; 2]) {
        let (mut progress, mut residual) = ([0.0, 0.0], [1.0, 0.0]);
        for (count, factor) in self.schedule.runs(steps) {
            let (x, shrink) = (factor * x, factor * self.shrink);
            let run = self.method.step(x + shrink).power(count);
            progress = run.apply(progress, x);
            residual = run.apply(residual, shrink);
        }
        (progress, residual)
    }
}

impl Law for Scheme {
    type At = Steps;

    fn mode(&self, x: f64, at: Steps) -> Mode {
        match at {
            Steps::Finite(steps) => {
                let (progress, residual) = self.run(x, steps);
                Mode { residual: residual[0], progress: progress[0] }
            }
            Steps::Infinite if self.schedule.last() > 0.0 => {
                Mode { residual: self.shrink / (x + self.shrink), progress: x / (x + self.shrink) }
            }
            Steps::Infinite => {
                // A rate of zero: what is left of the velocity rolls out.
                let (p, r) = self.run(x, self.schedule.len());
                let beta = self.method.momentum();
                let roll = |[e, velocity]: [f64; 2]| e + beta / (1.0 - beta) * velocity;
                Mode { residual: roll(r), progress: roll(p) }
            }
        }
    }

    fn check(&self, at: Steps, maximal: f64, rate: LearningRate) -> Result<(), Error> {
        let (bound, reached) = (self.method.bound(), self.schedule.last() * (maximal + self.shrink));
        if at == Steps::Infinite && reached >= bound {
            return Err(Error::Unstable { rate: rate.get(), maximal: rate.get() * bound / reached });
        }
        Ok(())
    }
}

/// (e, d) ↦ (1 + change) · (e, d) + response · source: the change alone is kept, so that slow modes keep their digits.
#[derive(Clone, Copy, Debug)]
struct Affine {
    change: [[f64; 2]; 2],
    response: [f64; 2],
}

impl Affine {
    const IDENTITY: Affine = Affine { change: [[0.0; 2]; 2], response: [0.0; 2] };

    fn apply(self, v: [f64; 2], source: f64) -> [f64; 2] {
        let [first, second] = self.change.map(|row| row[0] * v[0] + row[1] * v[1]);
        [v[0] + first + self.response[0] * source, v[1] + second + self.response[1] * source]
    }

    /// First `self`, then `next`.
    fn then(self, next: Affine) -> Affine {
        let (a, b) = (self.change, next.change);
        let entry = |i: usize, j: usize| a[i][j] + b[i][j] + (b[i][0] * a[0][j] + b[i][1] * a[1][j]);
        let change = [[entry(0, 0), entry(0, 1)], [entry(1, 0), entry(1, 1)]];
        Affine { change, response: next.apply(self.response, 1.0) }
    }

    /// By repeated squaring.
    fn power(self, mut count: u64) -> Affine {
        let (mut square, mut product) = (self, Affine::IDENTITY);
        while count > 0 {
            if count % 2 == 1 {
                product = product.then(square);
            }
            count /= 2;
            if count > 0 {
                square = square.then(square);
            }
        }
        product
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_additions_it_is_the_heavy_ball() {
        for beta in [0.0, 0.3, 0.9] {
            let momentum = Momentum::new(beta).unwrap();
            let plain = crate::HeavyBall { momentum };
            let method = Method::HeavyBall(momentum);
            let scheme = Scheme { method, schedule: Schedule::constant(), shrink: 0.0 };
            for x in [1e-14, 1e-3, 0.5, 1.0, 1.7] {
                for steps in [0, 1, 2, 17, 1000, 100_000] {
                    let at = Steps::Finite(steps);
                    let (a, b) = (plain.mode(x, at), scheme.mode(x, at));
                    assert!((a.residual - b.residual).abs() < 1e-11, "{beta} {x} {steps}: {a:?} {b:?}");
                    assert!(
                        (a.progress - b.progress).abs() < 1e-11 * b.progress.abs().min(1.0) + 1e-30,
                        "{a:?} {b:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_rate_of_zero_in_the_end_is_the_limit_of_many_steps() {
        let schedule = Schedule::factors([1.0, 0.7, 0.0]).unwrap();
        let method = Method::Nesterov(Momentum::new(0.6).unwrap());
        let scheme = Scheme { method, schedule, shrink: 0.1 };
        let (late, limit) = (scheme.mode(0.3, Steps::Finite(200)), scheme.mode(0.3, Steps::Infinite));
        assert!((late.progress - limit.progress).abs() < 1e-14, "{late:?} {limit:?}");
        assert!((late.residual - limit.residual).abs() < 1e-14);
    }
}
