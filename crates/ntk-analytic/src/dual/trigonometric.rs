//! Sines and cosines of any phase: an odd and an even wave with hyperbolic duals.

use super::closed::{ClosedForm, Part, combine};

/// a·sin(bx + c) or a·cos(bx + c): with Q = b²q, its odd part has the dual e^{−(Q₁₁+Q₂₂)/2} sinh Q₁₂, its even part
/// the same with cosh, and differentiation exchanges the two.
pub(super) struct Wave {
    /// b².
    rate: f64,
    /// a² times cos²c (for the sine).
    odd: f64,
    /// a² times sin²c (for the sine).
    even: f64,
}

impl Wave {
    pub(super) fn sin(a: f64, b: f64, c: f64) -> Self {
        let (sin, cos) = c.sin_cos();
        Wave { rate: b * b, odd: (a * cos).powi(2), even: (a * sin).powi(2) }
    }

    pub(super) fn cos(a: f64, b: f64, c: f64) -> Self {
        let (sin, cos) = c.sin_cos();
        Wave { rate: b * b, odd: (a * sin).powi(2), even: (a * cos).powi(2) }
    }
}

impl ClosedForm<3> for Wave {
    fn variance(&self, q: f64) -> f64 {
        let decay = -2.0 * self.rate * q;
        0.5 * (self.even * (1.0 + decay.exp()) - self.odd * decay.exp_m1())
    }

    fn factors(&self, q: f64) -> [f64; 3] {
        let q = self.rate * q;
        [q, q.sqrt(), (-2.0 * q).exp()]
    }

    #[inline(always)]
    fn pair(&self, a: &[f64; 3], b: &[f64; 3], gap: f64) -> (f64, f64) {
        let u = gap.abs();
        let step = a[1] - b[1];
        let root = a[1] * b[1];
        // h = (Q₁₁ + Q₂₂ − 2Q₁₂)/2 ≥ 0 and g = (Q₁₁ + Q₂₂ + 2Q₁₂)/2, so that the duals are (e^{−h} ∓ e^{−g})/2.
        let h = 0.5 * step * step + root * u;
        let g = 0.5 * (a[0] + b[0]) + root * (1.0 - u);
        let (near, far) = ((-h).exp(), (-g).exp());
        let fall = -(-h).exp_m1();
        // e^{−g} − e^{−2Q}, where 2Q − g = 2(Q − Q₁₂) − h.
        let tail = |s: &[f64; 3], step: f64, other: f64| {
            let x = 2.0 * s[1] * (step + u * other) - h;
            let (base, sign) = if x < 0.0 { (s[2], 1.0) } else { (far, -1.0) };
            sign * base * (-x.abs()).exp_m1()
        };
        let tails = [tail(a, step, b[1]), tail(b, -step, a[1])];
        let bracket = 2.0 * root * (1.0 - u);
        let odd = Part {
            diagonal: [0.5 * (1.0 - a[2]), 0.5 * (1.0 - b[2])],
            value: -0.5 * near * (-bracket).exp_m1(),
            difference: tails.map(|t| 0.5 * (fall + t)),
        };
        let even = Part {
            diagonal: [0.5 * (1.0 + a[2]), 0.5 * (1.0 + b[2])],
            value: 0.5 * (near + far),
            difference: tails.map(|t| 0.5 * (fall - t)),
        };
        let slope = self.rate * (self.odd * even.value + (self.even * odd.value).copysign(gap));
        (combine(gap, odd.times(self.odd), even.times(self.even)), slope)
    }
}
