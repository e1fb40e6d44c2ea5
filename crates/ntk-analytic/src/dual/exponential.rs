//! Exponentials: eˣ and the radial basis function, Gaussians, Gabor's function and the compositional kernel.

use super::closed::{ClosedForm, LARGEST};

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

/// ln(sinh x/x) = Σ cₘ x²ᵐ⁺²; for x ≤ ¼ the rest is below 1e-17.
const LOG_SINHC: [f64; 7] = [
    1.0 / 6.0,
    -1.0 / 180.0,
    1.0 / 2835.0,
    -1.0 / 37_800.0,
    1.0 / 467_775.0,
    -691.0 / 3_831_077_250.0,
    2.0 / 127_702_575.0,
];

/// e^{−x²} sin x: with nᵢ = 1 + 4qᵢᵢ, d = 4(q₁₁q₂₂ − q₁₂²) and n = 1 + 2(q₁₁ + q₂₂) + d,
/// V = exp(−(q₁₁ + q₂₂ + d)/(2n)) sinh(q₁₂/n)/√n, on the diagonal e^{−q/n} sinh(q/n)/√n.
pub(super) struct Gabor;

impl ClosedForm<3> for Gabor {
    fn variance(&self, q: f64) -> f64 {
        let n = 1.0 + 4.0 * q;
        -0.5 * (-2.0 * q / n).exp_m1() / n.sqrt()
    }

    fn factors(&self, q: f64) -> [f64; 3] {
        [q, q.sqrt(), 1.0 + 4.0 * q]
    }

    #[inline(always)]
    fn pair<const FMA: bool>(&self, a: &[f64; 3], b: &[f64; 3], gap: f64) -> (f64, f64) {
        let u = gap.abs();
        let (step, root, product, sum) = (a[1] - b[1], a[1] * b[1], a[0] * b[0], a[0] + b[0]);
        let d = 4.0 * product * (u * (2.0 - u));
        let n = 1.0 + 2.0 * sum + d;
        let q12 = (1.0 - u) * root;
        // The logarithm of V₁₂/√(V₁₁V₂₂), factor by factor: powers of n, exponentials, sinh x/x.
        let (apart, all) = (a[0] - b[0], a[2] * b[2]);
        let powers = -0.75 * ((4.0 * apart * apart + d * (a[2] + b[2] + d)) / all).ln_1p();
        let exponentials = -(2.0 * apart * apart + d * (1.0 + 3.0 * sum + 8.0 * product)) / (2.0 * n * all);
        let sinhc = 0.5 * (log_sinhc(a, b, step, u, n, d, q12) + log_sinhc(b, a, -step, u, n, d, q12));
        let output = -((-u).ln_1p() + powers + exponentials + sinhc).exp_m1();
        // The slope is even in q₁₂.
        let h = (step * step + 2.0 * root * u + d) / (2.0 * n);
        let rise = -(-2.0 * q12 / n).exp_m1();
        let even = 1.0 + 2.0 * sum + 4.0 * (q12 * q12 + product);
        let odd = 4.0 * q12 * (d + 3.0 * sum + 2.0);
        let slope = (-h).exp() * (even * (2.0 - rise) + odd * rise) / (2.0 * n * n * n.sqrt());
        (output.clamp(0.0, 1.0).copysign(gap), slope)
    }
}

/// ln(sinh x/x) at x₁₂ = q₁₂/n minus the same at x = q/(1 + 4q), from x₁₂² − x² without cancellation.
#[inline(always)]
fn log_sinhc(s: &[f64; 3], other: &[f64; 3], step: f64, u: f64, n: f64, d: f64, q12: f64) -> f64 {
    let &[q, sigma, own] = s;
    let (x, x12) = (q / own, q12 / n);
    let fall = (sigma * (step + u * other[1]) * own + q * (2.0 * (other[0] - q) + d)) / (n * own);
    let (a, b, first) = (x12 * x12, x * x, -fall * (x12 + x));
    let (mut power, mut difference, mut sum) = (1.0, 0.0, 0.0);
    for c in LOG_SINHC {
        difference = a * difference + power * first;
        power *= b;
        sum += c * difference;
    }
    sum
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
