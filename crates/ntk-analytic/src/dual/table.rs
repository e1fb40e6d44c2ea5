//! The dual of one pair of variances as a function of the angle θ = arccos |ρ|, in Chebyshev polynomials.
//!
//! In θ a dual is smooth where in ρ it has a branch point, so one table of some dozens of quadratures serves a whole
//! kernel of samples that share their variances.

use std::f64::consts::FRAC_PI_2;

use super::kinked::Found;
use crate::lane::angle;

/// A polynomial on [0, π/2] by its Chebyshev coefficients.
struct Chebyshev(Vec<f64>);

impl Chebyshev {
    /// From the values at θⱼ = π/4 (1 + cos(πj/n)), j = 0 … n.
    fn interpolate(values: &[f64]) -> Self {
        let n = values.len() - 1;
        let end = |j: usize| if j == 0 || j == n { 0.5 } else { 1.0 };
        let coefficient = |k: usize| {
            let term = |(j, v): (usize, &f64)| {
                end(j) * v * (std::f64::consts::PI * ((k * j) % (2 * n)) as f64 / n as f64).cos()
            };
            2.0 / n as f64 * end(k) * values.iter().enumerate().map(term).sum::<f64>()
        };
        Chebyshev((0..=n).map(coefficient).collect())
    }

    fn at(&self, theta: f64) -> f64 {
        let x = theta / (0.5 * FRAC_PI_2) - 1.0;
        let (mut here, mut above) = (0.0, 0.0);
        for c in self.0.iter().skip(1).rev() {
            (here, above) = (2.0 * x * here - above + c, here);
        }
        x * here - above + self.0[0]
    }

    /// What a truncation of the last quarter would cost, a pessimistic measure of the interpolation error.
    fn tail(&self) -> f64 {
        self.0[self.0.len() - self.0.len() / 4..].iter().map(|c| c.abs()).sum()
    }
}

/// ρ > 0 or ρ < 0.
struct Half {
    /// Sign of the output's correlation at |ρ| = 1.
    sign: f64,
    /// 1 − sign·ρ′ is this at |ρ| = 1 …
    start: f64,
    /// … and start + θ^power times this elsewhere; power 2 keeps the relative accuracy of a small distance.
    rest: Chebyshev,
    quadratic: bool,
    slope: Chebyshev,
}

/// Both halves for one pair of variances.
pub(super) struct Table([Half; 2]);

/// Distances that start below this want relative accuracy.
const CLOSE: f64 = 1e-5;

/// The largest number of Chebyshev intervals.
const MOST: usize = 256;

impl Table {
    /// From `found(gap)` for signed gaps and `slopes` = √(q₁₁q₂₂/(V₁₁V₂₂)) and √(S₁₁S₂₂), with the error reached.
    pub(super) fn new(
        found: impl Fn(f64) -> Found,
        ratio: f64,
        slope_norm: f64,
        tolerance: f64,
    ) -> (Self, f64) {
        let mut worst = 0.0f64;
        let halves = [1.0, -1.0].map(|side| {
            let start = found(0f64.copysign(side));
            let sign = if start.distance[0] <= start.distance[1] { 1.0 } else { -1.0 };
            let distance = |f: &Found| if sign > 0.0 { f.distance[0] } else { f.distance[1] };
            let first = distance(&start);
            let quadratic = first < CLOSE;
            let gap = |theta: f64| (2.0 * (0.5 * theta).sin().powi(2)).min(1.0).copysign(side);
            let value = |theta: f64, f: &Found| match quadratic {
                // d(1 ∓ ρ′)/dρ = ∓ √(q₁₁q₂₂) S/√(V₁₁V₂₂) and 1 − |ρ| = θ²/2 + ….
                true if theta == 0.0 => 0.5 * ratio * f.slope * sign * side,
                true => (distance(f) - first) / (theta * theta),
                false => distance(f),
            };
            let mut samples: Vec<(f64, f64)> = Vec::new();
            let mut n = 16;
            loop {
                let previous = std::mem::take(&mut samples);
                samples = (0..=n)
                    .map(|j| {
                        if j % 2 == 0 && !previous.is_empty() {
                            return previous[j / 2];
                        }
                        let theta =
                            0.5 * FRAC_PI_2 * (1.0 + (std::f64::consts::PI * j as f64 / n as f64).cos());
                        let theta = if j == n { 0.0 } else { theta };
                        let f = if j == n { start } else { found(gap(theta)) };
                        (value(theta, &f), f.slope)
                    })
                    .collect();
                let column = |pick: fn(&(f64, f64)) -> f64| {
                    Chebyshev::interpolate(&samples.iter().map(pick).collect::<Vec<f64>>())
                };
                let (rest, slope) = (column(|s| s.0), column(|s| s.1));
                let error = rest.tail().max(if slope_norm > 0.0 { slope.tail() / slope_norm } else { 0.0 });
                if error <= tolerance || n >= MOST {
                    worst = worst.max(error);
                    let start = if quadratic { first } else { 0.0 };
                    break Half { sign, start, rest, quadratic, slope };
                }
                n *= 2;
            }
        });
        (Table(halves), worst)
    }

    /// The signed gap of the activations and the slope.
    pub(super) fn at(&self, gap: f64) -> (f64, f64) {
        let half = &self.0[usize::from(gap.is_sign_negative())];
        let theta = std::f64::consts::PI * angle::<false>(gap.abs(), gap.abs().sqrt());
        let scale = if half.quadratic { theta * theta } else { 1.0 };
        let distance = (half.start + scale * half.rest.at(theta)).clamp(0.0, 2.0);
        let output = if distance <= 1.0 { distance * half.sign } else { (distance - 2.0) * half.sign };
        (output, half.slope.at(theta))
    }
}
