//! ReLU, leaky ReLU, absolute value, step and sign: the arc-cosine kernels of degrees 0 and 1.
//!
//! Source: Cho and Saul, "Kernel methods for deep learning" (2009); [lee2019wide], appendix on ReLU.

use super::closed::ClosedForm;
use crate::lane::{angle, lune};

/// a·min(x, 0) + b·max(x, 0): V = √(q₁₁q₂₂) (a² + b²)/2 · [cos θ + c (sin θ − θ cos θ)/π] with
/// c = (a − b)²/(a² + b²), and slope (a² + b²)/2 · [1 − cθ/π].
pub(super) struct AbRelu {
    /// (a² + b²)/2 = E φ² at unit variance.
    half: f64,
    /// c: 0 for a line, 1 for ReLU, 2 for |x|.
    c: f64,
    /// 2 − c = (a + b)²/(a² + b²).
    rest: f64,
}

impl AbRelu {
    pub(super) fn new(a: f64, b: f64) -> Self {
        let sum = a * a + b * b;
        let share = |x: f64| if sum > 0.0 { x * x / sum } else { 0.0 };
        AbRelu { half: 0.5 * sum, c: share(a - b), rest: share(a + b) }
    }
}

impl ClosedForm<0> for AbRelu {
    fn variance(&self, q: f64) -> f64 {
        self.half * q
    }

    fn factors(&self, _: f64) -> [f64; 0] {
        []
    }

    #[inline(always)]
    fn pair<const FMA: bool>(&self, _: &[f64; 0], _: &[f64; 0], gap: f64) -> (f64, f64) {
        let &AbRelu { half, c, rest } = self;
        let u = gap.abs();
        let root = u.sqrt();
        let (cj, ct) = (c * lune::<FMA>(u, root), c * angle::<FMA>(u, root));
        // For ρ < 0, θ = π − t and ρ′ = (c − 1)(1 − u) + c (sin t − t cos t)/π, of either sign.
        let below_one = rest + (c - 1.0) * u - cj;
        let above_minus_one = c + (1.0 - c) * u + cj;
        let turned = if below_one <= above_minus_one { below_one } else { -above_minus_one };
        let positive = gap.is_sign_positive();
        (if positive { u - cj } else { turned }, half * (1.0 - if positive { ct } else { c - ct }))
    }

    fn arc_cosine(&self) -> Option<[f64; 2]> {
        Some([self.half, self.c])
    }
}

/// 1 for x > 0, ½ at 0: V = (π − θ)/(2π).
pub(super) struct Step;

impl ClosedForm<1> for Step {
    fn variance(&self, q: f64) -> f64 {
        if q > 0.0 { 0.5 } else { 0.25 }
    }

    fn factors(&self, q: f64) -> [f64; 1] {
        [self.variance(q)]
    }

    #[inline(always)]
    fn pair<const FMA: bool>(&self, &[v1]: &[f64; 1], &[v2]: &[f64; 1], gap: f64) -> (f64, f64) {
        let share = angle::<FMA>(gap.abs(), gap.abs().sqrt());
        let below_one = if gap.is_sign_positive() { share } else { 1.0 - share };
        // Normalized by ½ where both samples vary; a sample at 0 has the smaller second moment ¼.
        let norm = 0.5 / (v1 * v2).sqrt();
        (((1.0 - norm) + norm * below_one).clamp(0.0, 1.0), 0.0)
    }
}

/// sgn x: V = 1 − 2θ/π.
pub(super) struct Sign;

impl ClosedForm<0> for Sign {
    fn variance(&self, q: f64) -> f64 {
        if q > 0.0 { 1.0 } else { 0.0 }
    }

    fn factors(&self, _: f64) -> [f64; 0] {
        []
    }

    #[inline(always)]
    fn pair<const FMA: bool>(&self, _: &[f64; 0], _: &[f64; 0], gap: f64) -> (f64, f64) {
        ((2.0 * angle::<FMA>(gap.abs(), gap.abs().sqrt())).min(1.0).copysign(gap), 0.0)
    }
}
