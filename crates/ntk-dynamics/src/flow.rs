//! Training in continuous time: gradient flow, and the differential equation of momentum.

use crate::training::Training;
use crate::{Error, Law, LearningRate, LossScale, Mode, Momentum, Spectrum, Time};

/// Gradient flow θ′ = −η ∇L: f_t(X) = f₀ + (I − e^{−ηΘt})(Y − f₀), in closed form at any time, infinity included.
///
/// # Source
/// \[lee2019wide\], section 2.2.
///
/// ```
/// use ndarray::array;
/// use ntk_dynamics::{GradientFlow, Gram, LearningRate, LossScale, Ridge, Spectrum, Time};
/// let spectrum = Spectrum::new(&Gram::new(array![[2.0, 0.0], [0.0, 1.0]])?, Ridge::None)?;
/// let flow = GradientFlow::new(&spectrum, LearningRate::new(0.5)?, LossScale::Sum);
/// let run = flow.fit(array![[1.0], [1.0]].view(), array![[0.0], [0.0]].view())?;
/// let f = run.train(Time::Finite(2.0))?;
/// assert!((f[[0, 0]] - (1.0 - (-2.0_f64).exp())).abs() < 1e-15);
/// assert!((f[[1, 0]] - (1.0 - (-1.0_f64).exp())).abs() < 1e-15);
/// # Ok::<(), ntk_dynamics::Error>(())
/// ```
pub type GradientFlow = Training<Flow>;

impl GradientFlow {
    /// Gradient flow in this eigensystem.
    pub fn new(spectrum: &Spectrum, rate: LearningRate, scale: LossScale) -> Self {
        Training::with_law(spectrum, Flow, rate, scale)
    }
}

/// The law of gradient flow: r = e^{−xt}.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow;

impl Law for Flow {
    type At = Time;

    fn mode(&self, x: f64, at: Time) -> Mode {
        match at {
            Time::Finite(t) => Mode { residual: (-x * t).exp(), progress: -(-x * t).exp_m1() },
            Time::Infinite => Mode::END,
        }
    }

    fn check(&self, at: Time, _maximal: f64, _rate: LearningRate) -> Result<(), Error> {
        at.value().map(drop)
    }
}

/// The differential equation of momentum, f″ = −(1 − β)/√η f′ − Θ ∇L at time t √η: t counts steps.
///
/// It is what [`Descent`](crate::Descent) with momentum tends to for η → 0, and off by a good part of the initial
/// residual at common rates (0.1 and more for stiff modes at η = 0.01, β = 0.9): use it to compare with results so
/// obtained. At t = 0 the velocity is zero.
///
/// # Source
/// \[lee2019wide\], supplement (momentum).
pub type MomentumFlow = Training<HeavyBallFlow>;

impl MomentumFlow {
    /// Flow with momentum in this eigensystem.
    pub fn new(spectrum: &Spectrum, rate: LearningRate, scale: LossScale, momentum: Momentum) -> Self {
        Training::with_law(spectrum, HeavyBallFlow { momentum }, rate, scale)
    }
}

/// The law of flow with momentum: r″ = −(1 − β) r′ − x r in units of steps, r(0) = 1, r′(0) = 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeavyBallFlow {
    /// β.
    pub momentum: Momentum,
}

impl Law for HeavyBallFlow {
    type At = Time;

    fn mode(&self, x: f64, at: Time) -> Mode {
        let Time::Finite(t) = at else { return Mode::END };
        let friction = 1.0 - self.momentum.get();
        let discriminant = friction * friction - 4.0 * x;
        if discriminant < 0.0 {
            // Roots −friction/2 ± iω.
            let omega = 0.5 * (-discriminant).sqrt();
            let decay = (-0.5 * friction * t).exp();
            let swing = decay * 0.5 * friction * (omega * t).sin() / omega;
            let residual = decay * (omega * t).cos() + swing;
            let turned = (0.5 * omega * t).sin();
            let progress = -(-0.5 * friction * t).exp_m1() + 2.0 * decay * turned * turned - swing;
            return Mode { residual, progress };
        }
        // Roots −slow ≥ −fast, and (e^{−slow t} − e^{−fast t})/(fast − slow), which is t e^{−slow t} where they meet.
        let split = discriminant.sqrt();
        let fast = 0.5 * (friction + split);
        let slow = x / fast;
        let spread = if split == 0.0 { t } else { -(-split * t).exp_m1() / split };
        let swing = slow * (-slow * t).exp() * spread;
        Mode { residual: (-slow * t).exp() + swing, progress: -(-slow * t).exp_m1() - swing }
    }

    fn check(&self, at: Time, _maximal: f64, _rate: LearningRate) -> Result<(), Error> {
        at.value().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_branches_meet_at_critical_damping() {
        let momentum = Momentum::new(0.5).unwrap();
        let law = HeavyBallFlow { momentum };
        let critical = 0.0625; // (1 − β)²/4
        for t in [0.0_f64, 1.0, 10.0, 80.0] {
            // r = (1 + t/4) e^{−t/4} at the critical point; its slope in x is at most t².
            let exact = (1.0 + 0.25 * t) * (-0.25 * t).exp();
            for x in [critical, critical * (1.0 - 1e-13), critical * (1.0 + 1e-13)] {
                let mode = law.mode(x, Time::Finite(t));
                assert!((mode.residual - exact).abs() < 1e-10, "{t} {x} {}", mode.residual);
                assert!((mode.progress - (1.0 - exact)).abs() < 1e-10);
            }
        }
    }

    #[test]
    fn progress_keeps_its_digits_for_slow_modes() {
        let (x, t) = (1e-14, 3.0);
        assert!((Flow.mode(x, Time::Finite(t)).progress / (x * t) - 1.0).abs() < 1e-13);
        let law = HeavyBallFlow { momentum: Momentum::new(0.9).unwrap() };
        // r″ + d r′ = −x to first order in x: 1 − r = x (t/d − (1 − e^{−dt})/d²).
        let d: f64 = 1.0 - 0.9;
        let expected = x * (t / d + (-d * t).exp_m1() / (d * d));
        assert!((law.mode(x, Time::Finite(t)).progress / expected - 1.0).abs() < 1e-12);
    }
}
