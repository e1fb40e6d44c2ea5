//! Duals of piecewise linear functions, by one integral over the angle.
//!
//! By Price's theorem the slope S has the derivative E φ″(u)φ″(v) in q₁₂, and φ″ is a comb of jumps cⱼ at tⱼ. With
//! x = tⱼ/σ₁, y = tₖ/σ₂ and E(ψ) = exp(−(x − y)²/(2 sin²ψ) − xy/(1 + cos ψ)), integrating from ρ = 1 on gives
//! S(θ) = S(0) − Σⱼₖ cⱼcₖ ∫₀^θ E dψ/(2π) and, once more,
//! V(0) − V(θ) = σ₁σ₂ [(1 − cos θ) S(0) − Σⱼₖ cⱼcₖ ∫₀^θ (cos ψ − cos θ) E dψ/(2π)].
//! Integrated is E − 1: at large variances all E are near 1 while the jumps of a bounded φ add to 0.

use std::f64::consts::{PI, TAU};

use super::kinked::{Found, Kinked, Points, Rule};
use crate::lane::{angle, lune};

/// E(ψ) is below 1e-17 where its exponent is beyond this.
const FAR: f64 = 40.0;

/// One pair from its signed gap, for φ with the jumps `jumps` of φ′ at its kinks; `inverse` = 1/√V₁₁, 1/√V₂₂.
pub(super) fn pair(
    function: &Kinked,
    jumps: &[f64],
    sigma: [f64; 2],
    inverse: [f64; 2],
    gap: f64,
    rule: &Rule,
) -> Found {
    // ρ < 0 is ρ > 0 for u and −v.
    let side = 1f64.copysign(gap);
    let u = gap.abs();
    let theta = PI * angle::<false>(u, u.sqrt());
    let mut points = Points::default();
    for (sigma, side) in [(sigma[0], 1.0), (sigma[1], side)] {
        if sigma > 0.0 {
            function.kinks.iter().for_each(|k| points.push(side * k / sigma));
        }
    }
    let (mut below, mut above, mut slope) = (0.0, 0.0, 0.0);
    rule.panels(points.finish(), |x, w| {
        let (x, y) = (sigma[0] * x, side * sigma[1] * x);
        let (a, b) = ((function.f)(x) * inverse[0], (function.f)(y) * inverse[1]);
        below += 0.5 * w * (a - b) * (a - b);
        above += 0.5 * w * (a + b) * (a + b);
        slope += w * side * (function.df)(x) * (function.df)(y);
    });
    let (mut first, mut second) = (0.0, 0.0);
    if sigma[0] > 0.0 && sigma[1] > 0.0 {
        let total: f64 = jumps.iter().sum();
        let ones = of_one(theta, theta);
        (first, second) = (total * total * ones[0] / TAU, total * total * ones[1] / TAU);
        for (t, c) in function.kinks.iter().zip(jumps) {
            for (s, d) in function.kinks.iter().zip(jumps) {
                let integrals = of_the_rest(t / sigma[0], side * s / sigma[1], theta, rule);
                first += c * d * integrals[0] / TAU;
                second += c * d * integrals[1] / TAU;
            }
        }
    }
    let fall = sigma[0] * inverse[0] * (sigma[1] * inverse[1]) * (u * slope - second);
    Found { distance: [below + fall, above - fall], slope: side * (slope - first) }
}

/// ∫₀^end dψ and ∫₀^end (cos ψ − cos θ) dψ.
fn of_one(end: f64, theta: f64) -> [f64; 2] {
    let root = std::f64::consts::SQRT_2 * (0.5 * end).sin();
    let above = 2.0 * (0.5 * (theta + end)).sin() * (0.5 * (theta - end)).sin();
    [end, PI * lune::<false>(root * root, root) + end * above]
}

/// ∫₀^θ (E − 1) dψ and ∫₀^θ (cos ψ − cos θ)(E − 1) dψ, on panels that double from where E begins to differ from 0.
fn of_the_rest(x: f64, y: f64, theta: f64, rule: &Rule) -> [f64; 2] {
    let exponent = |psi: f64| {
        let apart = if x == y { 0.0 } else { 0.5 * ((x - y) / psi.sin()).powi(2) };
        apart + x * y / (1.0 + psi.cos())
    };
    let zero = if x == y { 0.0 } else { ((x - y).abs() / (2.0 * FAR).sqrt()).min(1.0).asin() };
    let zero = if x * y > 2.0 * FAR { theta } else { zero.min(theta) };
    let mut sums = of_one(zero, theta).map(|one| -one);
    let mut low = zero;
    while low < theta {
        let high = if low == 0.0 || 2.0 * low > theta { theta } else { 2.0 * low };
        rule.plain(low, high, |psi, w| {
            let e = w * (-exponent(psi)).exp_m1();
            sums[0] += e;
            sums[1] += e * 2.0 * (0.5 * (theta + psi)).sin() * (0.5 * (theta - psi)).sin();
        });
        low = high;
    }
    sums
}
