//! max(x, 0)ⁿ: the arc-cosine kernel of any degree, by a recursion that is finite at identical inputs.

use super::closed::ClosedForm;
use crate::lane::{angle, lune};

/// max(x, 0)ⁿ, n ≥ 1: V = (q₁₁q₂₂)^{n/2} n!/(2π) Iₙ(ρ), Iₙ = ∫₀^{π−θ} (cos ψ + cos θ)ⁿ dψ.
///
/// Integration by parts gives n Iₙ = (2n − 1) ρ Iₙ₋₁ + (n − 1)(1 − ρ²) Iₙ₋₂. In terms of κₙ = Iₙ(ρ)/Iₙ(1) this is
/// κₙ = ρκₙ₋₁ + βₙ(1 − ρ²)κₙ₋₂ with βₙ = (n − 1)²/((2n − 1)(2n − 3)); for ρ > 0 the gaps gₙ = 1 − κₙ obey
/// gₙ = u(1 − (2 − u)βₙ) + ρgₙ₋₁ + βₙ(1 − ρ²)gₙ₋₂, a sum of positive terms. The slope is n² times the value for n − 1.
pub(super) struct RectifiedMonomial {
    degree: u32,
    /// (2n − 1)!!/2 = E φ² at unit variance.
    diagonal: f64,
    /// n²(2n − 3)!!/2 = E φ′² at unit variance.
    slope: f64,
}

impl RectifiedMonomial {
    pub(super) fn new(degree: u32) -> Self {
        let odd = |n: u32| (1..=n).map(|k| f64::from(2 * k - 1)).take_while(|_| n < 200).product::<f64>();
        let n = f64::from(degree);
        // From n = 151 on the double factorial overflows, and the caller hears of it.
        let odd = |n: u32| if n < 200 { odd(n) } else { f64::INFINITY };
        RectifiedMonomial { degree, diagonal: 0.5 * odd(degree), slope: 0.5 * n * n * odd(degree - 1) }
    }
}

impl ClosedForm<1> for RectifiedMonomial {
    fn variance(&self, q: f64) -> f64 {
        self.diagonal * q.powi(self.degree as i32)
    }

    fn factors(&self, q: f64) -> [f64; 1] {
        [q.sqrt().powi(self.degree as i32 - 1)]
    }

    #[inline(always)]
    fn pair<const FMA: bool>(&self, &[p1]: &[f64; 1], &[p2]: &[f64; 1], gap: f64) -> (f64, f64) {
        let u = gap.abs();
        let (root, w) = (u.sqrt(), u * (2.0 - u));
        let (share, lune) = (angle::<FMA>(u, root), lune::<FMA>(u, root));
        let positive = gap.is_sign_positive();
        // Gaps for ρ > 0, the κ themselves for ρ < 0.
        let (mut below, mut here) = if positive { (share, u - lune) } else { (share, lune) };
        for n in 2..=self.degree {
            let n = f64::from(n);
            let beta = (n - 1.0) * (n - 1.0) / ((2.0 * n - 1.0) * (2.0 * n - 3.0));
            let next = if positive {
                u * (1.0 - (2.0 - u) * beta) + (1.0 - u) * here + beta * w * below
            } else {
                beta * w * below - (1.0 - u) * here
            };
            (below, here) = (here, next);
        }
        let (kappa, gap) = if positive { (1.0 - below, here) } else { (below, 1.0 - here) };
        (gap.clamp(0.0, 1.0), self.slope * p1 * p2 * kappa)
    }
}
