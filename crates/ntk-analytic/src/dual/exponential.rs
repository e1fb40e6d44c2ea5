//! Exponentials: eˣ and the radial basis function, Gaussians, Gabor's function and the compositional kernel.

use super::closed::{ClosedForm, LARGEST, Part, combine};

/// 1 − ρ from a signed gap.
#[inline(always)]
fn one_minus(gap: f64) -> f64 {
    if gap.is_sign_positive() { gap } else { 2.0 + gap }
}

/// a·e^{bx}, and √2 sin(√(2γ)x + π/4): with Q = b²q (or 2γq), V₁₂/√(V₁₁V₂₂) = exp(−(Q₁₁ + Q₂₂ − 2Q₁₂)/2), and the slope
/// is b² (or 2γ) times the value.
pub(super) struct Shifted {
    rate: f64,
    factor: f64,
    /// V = factor · exp(growth · Q).
    growth: f64,
}

impl Shifted {
    pub(super) fn exp(a: f64, b: f64) -> Self {
        Shifted { rate: b * b, factor: a * a, growth: 2.0 }
    }

    pub(super) fn rbf(gamma: f64) -> Self {
        Shifted { rate: 2.0 * gamma, factor: 1.0, growth: 0.0 }
    }
}

impl ClosedForm<2> for Shifted {
    fn variance(&self, q: f64) -> f64 {
        self.factor * (self.growth * (self.rate * q)).exp()
    }

    fn factors(&self, q: f64) -> [f64; 2] {
        [(self.rate * q).sqrt(), self.variance(q).sqrt()]
    }

    #[inline(always)]
    fn pair<const FMA: bool>(&self, a: &[f64; 2], b: &[f64; 2], gap: f64) -> (f64, f64) {
        let step = a[0] - b[0];
        let h = 0.5 * step * step + a[0] * b[0] * one_minus(gap);
        (-(-h).exp_m1(), self.rate * (a[1] * b[1]) * (-h).exp())
    }
}

/// a·exp(bx²): with Q = 2bq, V = a²/√D, D = (1 − Q₁₁)(1 − Q₂₂) − Q₁₂², and slope 4b²q₁₂V/D. Finite where 4bq < 1.
pub(super) struct Gaussian {
    pub a: f64,
    pub b: f64,
}

impl ClosedForm<3> for Gaussian {
    fn variance(&self, q: f64) -> f64 {
        let x = 4.0 * self.b * q;
        if x.abs() <= LARGEST { self.a * self.a / (1.0 - x).sqrt() } else { f64::NAN }
    }

    fn factors(&self, q: f64) -> [f64; 3] {
        let x = 2.0 * self.b * q;
        [x, x.abs().sqrt(), 1.0 - 2.0 * x]
    }

    #[inline(always)]
    fn pair<const FMA: bool>(&self, s: &[f64; 3], o: &[f64; 3], gap: f64) -> (f64, f64) {
        let u = gap.abs();
        let w = s[0] * o[0] * (u * (2.0 - u));
        let d = 0.5 * (s[2] + o[2]) + w;
        // D²/(D₁₁D₂₂) − 1, a sum of squares and products of positive numbers.
        let excess = ((s[0] - o[0]).powi(2) + w * (s[2] + o[2] + w)) / (s[2] * o[2]);
        let x12 = ((1.0 - u) * (s[1] * o[1])).copysign(gap);
        let slope = self.a * self.a * 2.0 * self.b.abs() * x12 / (d * d.sqrt());
        (-(-0.25 * excess.ln_1p()).exp_m1(), slope)
    }
}

/// e^{−x²} sin x: with n = 1 + 2(q₁₁ + q₂₂) + d, d = 4(q₁₁q₂₂ − q₁₂²) and h = (q₁₁ + q₂₂ − 2q₁₂ + d)/(2n),
/// V = e^{−h}(1 − e^{−2q₁₂/n})/(2√n).
pub(super) struct Gabor;

impl ClosedForm<5> for Gabor {
    fn variance(&self, q: f64) -> f64 {
        let n = 1.0 + 4.0 * q;
        -0.5 * (-2.0 * q / n).exp_m1() / n.sqrt()
    }

    fn factors(&self, q: f64) -> [f64; 5] {
        [q, q.sqrt(), (1.0 + 4.0 * q).sqrt(), self.variance(q), self.variance(q).sqrt()]
    }

    #[inline(always)]
    fn pair<const FMA: bool>(&self, a: &[f64; 5], b: &[f64; 5], gap: f64) -> (f64, f64) {
        let u = gap.abs();
        let (step, root, product) = (a[1] - b[1], a[1] * b[1], a[0] * b[0]);
        let sum = a[0] + b[0];
        let d = 4.0 * product * (u * (2.0 - u));
        let n = 1.0 + 2.0 * sum + d;
        let root_n = n.sqrt();
        let q12 = (1.0 - u) * root;
        let h = (step * step + 2.0 * root * u + d) / (2.0 * n);
        let (near, rise) = ((-h).exp(), -(-2.0 * q12 / n).exp_m1());
        let difference = |s: &[f64; 5], other: &[f64; 5], step: f64| {
            let &[q, sigma, root_n1, v, _] = s;
            let n1 = 1.0 + 4.0 * q;
            let dn = 2.0 * (other[0] - q) + d;
            let shift = 2.0 * (sigma * (step + u * other[1]) * n1 + q * dn) / (n1 * n);
            let rises = -(1.0 - rise) * (-shift).exp_m1() / root_n1;
            let roots = rise * (dn / (root_n1 * root_n * (root_n1 + root_n)));
            -v * (-h).exp_m1() + 0.5 * near * (rises + roots)
        };
        let odd = Part {
            diagonal: [a[3], b[3]],
            value: 0.5 * near * rise / root_n,
            difference: [difference(a, b, step), difference(b, a, -step)],
        };
        let zero = Part { diagonal: [0.0; 2], value: 0.0, difference: [0.0; 2] };
        let even = 1.0 + 2.0 * sum + 4.0 * (q12 * q12 + product);
        let odd_in_q12 = 4.0 * q12 * (d + 3.0 * sum + 2.0);
        let slope = near * (even * (2.0 - rise) + odd_in_q12 * rise) / (2.0 * n * n * root_n);
        (combine(gap, odd, zero, a[4] * b[4]), slope)
    }
}

/// The compositional kernel √(q₁₁q₂₂) exp(γ(ρ + shift)); its slope γ exp(γ(ρ + shift)) is its derivative in q₁₂.
pub(super) struct Compositional {
    pub gamma: f64,
    pub shift: f64,
}

impl ClosedForm<0> for Compositional {
    fn variance(&self, q: f64) -> f64 {
        q * (self.gamma * (1.0 + self.shift)).exp()
    }

    fn factors(&self, _: f64) -> [f64; 0] {
        []
    }

    #[inline(always)]
    fn pair<const FMA: bool>(&self, _: &[f64; 0], _: &[f64; 0], gap: f64) -> (f64, f64) {
        let fall = self.gamma * one_minus(gap);
        (-(-fall).exp_m1(), self.gamma * (self.gamma * (1.0 + self.shift) - fall).exp())
    }
}
