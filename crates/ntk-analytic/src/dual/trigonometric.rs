//! Sines and cosines of any phase: an odd and an even wave with hyperbolic duals.

use super::closed::{ClosedForm, Part, combine, nearly_linear};

/// sinh z = z Σ z²ᵐ/(2m + 1)!; for z ≤ ¼ the rest is below 1e-17.
const SINH: [f64; 7] =
    [1.0, 1.0 / 6.0, 1.0 / 120.0, 1.0 / 5040.0, 1.0 / 362_880.0, 1.0 / 39_916_800.0, 1.0 / 6_227_020_800.0];

/// a·sin(bx + c) or a·cos(bx + c), with `SMALL` for a pure sine and all b²q < ¼: with Q = b²q, its odd part has the dual e^{−(Q₁₁+Q₂₂)/2} sinh Q₁₂, its even part
/// the same with cosh, and differentiation exchanges the two.
pub(super) struct Wave<const SMALL: bool> {
    /// b².
    rate: f64,
    /// a² times cos²c (for the sine).
    odd: f64,
    /// a² times sin²c (for the sine).
    even: f64,
}

impl<const SMALL: bool> Wave<SMALL> {
    pub(super) fn sin(a: f64, b: f64, c: f64) -> Self {
        let (sin, cos) = c.sin_cos();
        Wave { rate: b * b, odd: (a * cos).powi(2), even: (a * sin).powi(2) }
    }

    pub(super) fn cos(a: f64, b: f64, c: f64) -> Self {
        let (sin, cos) = c.sin_cos();
        Wave { rate: b * b, odd: (a * sin).powi(2), even: (a * cos).powi(2) }
    }
}

impl<const SMALL: bool> ClosedForm<4> for Wave<SMALL> {
    fn variance(&self, q: f64) -> f64 {
        let decay = -2.0 * self.rate * q;
        0.5 * (self.even * (1.0 + decay.exp()) - self.odd * decay.exp_m1())
    }

    fn factors(&self, q: f64) -> [f64; 4] {
        let scaled = self.rate * q;
        [scaled.sqrt(), (-2.0 * scaled).exp(), -(-2.0 * scaled).exp_m1(), self.variance(q).sqrt()]
    }

    #[inline(always)]
    fn pair<const FMA: bool>(&self, a: &[f64; 4], b: &[f64; 4], gap: f64) -> (f64, f64) {
        let u = gap.abs();
        let step = a[0] - b[0];
        let root = a[0] * b[0];
        // The duals are e^{−h}(1 ∓ e^{−2Q₁₂})/2 with h = (Q₁₁ + Q₂₂ − 2Q₁₂)/2 ≥ 0, on the diagonal (1 ∓ e^{−2Q})/2.
        let h = 0.5 * step * step + root * u;
        let (near, fall) = ((-h).exp(), -(-h).exp_m1());
        let twice = 2.0 * root * (1.0 - u);
        let (far, rise) = ((-twice).exp(), -(-twice).exp_m1());
        // e^{−2Q₁₂} − e^{−2Q}, from 2(Q − Q₁₂), with the larger factor outside.
        let tail = |s: &[f64; 4], step: f64, other: f64| {
            let x = 2.0 * s[0] * (step + u * other);
            if x < 0.0 { s[1] * x.exp_m1() } else { -far * (-x).exp_m1() }
        };
        let tails = [near * tail(a, step, b[0]), near * tail(b, -step, a[0])];
        let odd = Part {
            diagonal: [0.5 * a[2], 0.5 * b[2]],
            value: 0.5 * near * rise,
            difference: [0.5 * (a[2] * fall + tails[0]), 0.5 * (b[2] * fall + tails[1])],
        };
        let even = Part {
            diagonal: [0.5 * (1.0 + a[1]), 0.5 * (1.0 + b[1])],
            value: 0.5 * near * (1.0 + far),
            difference: [0.5 * ((1.0 + a[1]) * fall - tails[0]), 0.5 * ((1.0 + b[1]) * fall - tails[1])],
        };
        let slope = self.rate * (self.odd * even.value + (self.even * odd.value).copysign(gap));
        if SMALL {
            // e^{−(Q₁₁+Q₂₂)/2} falls out of the correlation of a pure sine, and sinh Q₁₂ remains.
            return (nearly_linear(&SINH, [a[0] * a[0], b[0] * b[0]], u).copysign(gap), slope);
        }
        (combine(gap, odd.times(self.odd), even.times(self.even), a[3] * b[3]), slope)
    }
}
