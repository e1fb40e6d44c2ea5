//! ReLU, leaky ReLU, absolute value, step and sign: the arc-cosine kernels of degrees 0 and 1.
//!
//! Source: Cho and Saul, "Kernel methods for deep learning" (2009); [lee2019wide], appendix on ReLU.

use std::f64::consts::{FRAC_1_PI, PI};

use super::closed::ClosedForm;

/// t = arccos(1 − u) for u ∈ [0, 1], with full relative accuracy.
#[inline(always)]
pub(super) fn angle(u: f64) -> f64 {
    2.0 * (0.5 * u).sqrt().asin()
}

/// (sin t − t cos t)/π for t ∈ [0, π/2], by its Taylor series: the difference would cancel.
#[inline(always)]
pub(super) fn lens(t: f64) -> f64 {
    // Σ (−1)ᵏ⁺¹ 2k t²ᵏ⁺¹/(2k + 1)!; the first term left out is below 1e-19 at t = π/2.
    const SERIES: [f64; 12] = {
        let (mut c, mut k, mut factorial) = ([0.0; 12], 0, 1.0);
        while k < 12 {
            let n = (2 * k + 2) as f64;
            factorial *= n * (n + 1.0);
            c[k] = if k % 2 == 0 { n / factorial } else { -n / factorial };
            k += 1;
        }
        c
    };
    let t2 = t * t;
    let mut sum = SERIES[11];
    let mut k = 11;
    while k > 0 {
        k -= 1;
        sum = sum * t2 + SERIES[k];
    }
    FRAC_1_PI * t * t2 * sum
}

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
    fn pair(&self, _: &[f64; 0], _: &[f64; 0], gap: f64) -> (f64, f64) {
        let &AbRelu { half, c, rest } = self;
        let u = gap.abs();
        let t = angle(u);
        let (cj, ct) = (c * lens(t), c * FRAC_1_PI * t);
        if gap.is_sign_positive() {
            (u - cj, half * (1.0 - ct))
        } else {
            // θ = π − t: ρ′ = (c − 1)(1 − u) + c·lens, of either sign.
            let below_one = rest + (c - 1.0) * u - cj;
            let above_minus_one = c + (1.0 - c) * u + cj;
            let gap = if below_one <= above_minus_one { below_one } else { -above_minus_one };
            (gap, half * (1.0 - c + ct))
        }
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
    fn pair(&self, &[v1]: &[f64; 1], &[v2]: &[f64; 1], gap: f64) -> (f64, f64) {
        let share = FRAC_1_PI * angle(gap.abs());
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
    fn pair(&self, _: &[f64; 0], _: &[f64; 0], gap: f64) -> (f64, f64) {
        ((2.0 / PI * angle(gap.abs())).min(1.0).copysign(gap), 0.0)
    }
}
