//! Training in steps: full-batch gradient descent and the heavy ball, exact for every learning rate.

use crate::training::Training;
use crate::{Error, Law, LearningRate, LossScale, Mode, Momentum, Spectrum, Steps};

/// Full-batch gradient descent θ ← θ + β (θ − θ₋) − η ∇L in closed form: f_t(X) = f₀ + (I − (I − ηΘ)^t)(Y − f₀) for
/// β = 0.
///
/// Converges if and only if η λ_max < 2(1 + β), see
/// [`Spectrum::maximal_learning_rate`](crate::Spectrum::maximal_learning_rate); finite steps of a divergent descent
/// are answered too, as long as the numbers fit.
///
/// ```
/// use ndarray::array;
/// use ntk_dynamics::{Descent, Gram, LearningRate, LossScale, Momentum, Ridge, Spectrum, Steps};
/// let spectrum = Spectrum::new(&Gram::new(array![[2.0, 0.0], [0.0, 1.0]])?, Ridge::None)?;
/// let descent = Descent::new(&spectrum, LearningRate::new(0.25)?, LossScale::Sum, Momentum::NONE);
/// let run = descent.fit(array![[1.0], [1.0]].view(), array![[0.0], [0.0]].view())?;
/// let f = run.train(Steps::Finite(2))?;
/// assert!((f[[0, 0]] - 0.75).abs() < 1e-15 && (f[[1, 0]] - 0.4375).abs() < 1e-15);
/// # Ok::<(), ntk_dynamics::Error>(())
/// ```
pub type Descent = Training<HeavyBall>;

impl Descent {
    /// Descent in this eigensystem; without momentum, [`Momentum::NONE`].
    pub fn new(spectrum: &Spectrum, rate: LearningRate, scale: LossScale, momentum: Momentum) -> Self {
        Training::with_law(spectrum, HeavyBall { momentum }, rate, scale)
    }
}

/// The law of the heavy ball: r_{i+1} = (1 + β − x) rᵢ − β r_{i−1}, r₀ = 1, r₁ = 1 − x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeavyBall {
    /// β.
    pub momentum: Momentum,
}

impl Law for HeavyBall {
    type At = Steps;

    fn mode(&self, x: f64, at: Steps) -> Mode {
        let steps = match at {
            Steps::Finite(0) => return Mode::START,
            Steps::Finite(steps) => steps,
            Steps::Infinite => return Mode::END,
        };
        let beta = self.momentum.get();
        if beta == 0.0 {
            return power(1.0 - x, x, steps);
        }
        // Roots of z² − a z + β.
        let (a, root) = (1.0 + beta - x, beta.sqrt());
        let discriminant = (a - 2.0 * root) * (a + 2.0 * root);
        let i = steps as f64;
        if discriminant < 0.0 {
            // z = ±√β e^{±iθ}, the sign that of a: θ is measured from the nearer critical point, to keep digits.
            let sine = (-discriminant).sqrt() / (2.0 * root);
            let cosine = a / (2.0 * root);
            let theta = sine.atan2(cosine.abs());
            let start = ((1.0 - x) / root - cosine) * 1.0_f64.copysign(a);
            let swing = (i * theta).cos() + start * (i * theta).sin() / sine;
            let modulus = (0.5 * i * beta.ln()).exp();
            let residual =
                if a < 0.0 && !steps.is_multiple_of(2) { -modulus * swing } else { modulus * swing };
            return Mode { residual, progress: 1.0 - residual };
        }
        let split = discriminant.sqrt();
        let large = 0.5 * (a + split.copysign(a));
        let small = beta / large;
        // (largeⁱ − smallⁱ)/(large − small), which is i large^{i−1} where they meet.
        let apart = (split / large.abs()).min(1.0);
        let ratio = if apart == 0.0 { i } else { -(i * (-apart).ln_1p()).exp_m1() / apart };
        if a > 0.0 {
            // (1 − large)(1 − small) = x gives 1 − large without cancellation.
            let step = x / (1.0 - small);
            let Mode { residual, progress } = power(large, step, steps);
            let swing = x * small / (1.0 - small) * ratio * power(large, step, steps - 1).residual;
            return Mode { residual: residual + swing, progress: progress - swing };
        }
        let before = power(large, 1.0 - large, steps - 1).residual;
        let residual = before * (large + (1.0 - x - large) * ratio);
        Mode { residual, progress: 1.0 - residual }
    }

    fn check(&self, at: Steps, maximal: f64, rate: LearningRate) -> Result<(), Error> {
        let bound = 2.0 * (1.0 + self.momentum.get());
        if at == Steps::Infinite && maximal >= bound {
            return Err(Error::Unstable { rate: rate.get(), maximal: rate.get() * bound / maximal });
        }
        Ok(())
    }
}

/// z^i and 1 − z^i for z = 1 − step, given both because one of them may be the more exact.
fn power(z: f64, step: f64, steps: u64) -> Mode {
    let i = steps as f64;
    if step < 1.0 {
        let exponent = i * (-step).ln_1p();
        return Mode { residual: exponent.exp(), progress: -exponent.exp_m1() };
    }
    let modulus = z.abs().powf(i);
    let residual = if steps.is_multiple_of(2) { modulus } else { -modulus };
    Mode { residual, progress: 1.0 - residual }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looped(x: f64, beta: f64, steps: u64) -> f64 {
        let (mut before, mut now) = (1.0, 1.0);
        for _ in 0..steps {
            (before, now) = (now, now + beta * (now - before) - x * now);
        }
        now
    }

    #[test]
    fn one_mode_is_the_recursion() {
        for beta in [0.0, 1e-20, 0.3, 0.9] {
            // Both critical points, (1 ∓ √β)², are among the values.
            let root = f64::sqrt(beta);
            let critical = [(1.0 - root) * (1.0 - root), (1.0 + root) * (1.0 + root)];
            for x in
                [1e-13, 1e-3, 0.02, 0.5, 1.0, 1.0 + beta, 1.9, 2.0 + 1.9 * beta].into_iter().chain(critical)
            {
                for steps in [0, 1, 2, 3, 17, 100] {
                    let law = HeavyBall { momentum: Momentum::new(beta).unwrap() };
                    let mode = law.mode(x, Steps::Finite(steps));
                    let expected = looped(x, beta, steps);
                    assert!((mode.residual - expected).abs() < 1e-12, "β {beta} x {x} i {steps}");
                    assert!((mode.progress - (1.0 - expected)).abs() < 1e-12, "β {beta} x {x} i {steps}");
                }
            }
        }
    }

    #[test]
    fn progress_keeps_its_digits_for_slow_modes() {
        // To first order in x each step adds x (1 − β^j)/(1 − β).
        let (x, beta, steps) = (1e-14, 0.9_f64, 20);
        let law = HeavyBall { momentum: Momentum::new(beta).unwrap() };
        let expected: f64 = (1..=steps).map(|j| x * (1.0 - beta.powi(j)) / (1.0 - beta)).sum();
        let progress = law.mode(x, Steps::Finite(steps as u64)).progress;
        assert!((progress / expected - 1.0).abs() < 1e-12);
    }
}
