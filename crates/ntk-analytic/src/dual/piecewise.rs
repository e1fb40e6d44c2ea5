//! Duals of piecewise linear functions, by one integral over the angle.
//!
//! By Price's theorem the slope S has the derivative E φ″(u)φ″(v) in q₁₂, and φ″ is a comb of jumps cⱼ at tⱼ. With
//! x = tⱼ/σ₁, y = tₖ/σ₂ and E(ψ) = exp(−(x − y)²/(2 sin²ψ) − xy/(1 + cos ψ)), integrating from ρ = 1 on gives
//! S(θ) = S(0) − Σⱼₖ cⱼcₖ ∫₀^θ E dψ/(2π) and, once more,
//! V(0) − V(θ) = σ₁σ₂ [(1 − cos θ) S(0) − Σⱼₖ cⱼcₖ ∫₀^θ (cos ψ − cos θ) E dψ/(2π)].
//! Integrated is E − 1: at large variances all E are near 1 while the jumps of a bounded φ add to 0.
//!
//! Where φ saturates, terms of order σ cancel in that difference. From ρ = 0 on none does: with A = x²/(2 sin²ψ),
//! B = y²/(2 sin²ψ), G = xy cos ψ/sin²ψ, and jumps that add to 0,
//! S(θ) = Eφ′(u) Eφ′(v) + Σⱼₖ cⱼcₖ ∫_θ^(π/2) F dψ/(2π),
//! V(θ) = Eφ(u) Eφ(v) + σ₁σ₂ [cos θ Eφ′(u) Eφ′(v) + Σⱼₖ cⱼcₖ ∫_θ^(π/2) (cos θ − cos ψ) F dψ/(2π)],
//! F = E − e⁻ᴬ − e⁻ᴮ + 1 = (e⁻ᴬ − 1)(e⁻ᴮ − 1) + e⁻ᴬ⁻ᴮ(eᴳ − 1).

use std::f64::consts::{FRAC_PI_2, PI, TAU};

use super::kinked::{Found, Kinked, Points, Rule};
use crate::lane::{angle, lune};

/// E(ψ) is below 1e-17 where its exponent is beyond this.
const FAR: f64 = 40.0;

/// Terms of this size, relative to the result, cost a digit.
const CANCELS: f64 = 10.0;

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
    let scale = sigma[0] * inverse[0] * (sigma[1] * inverse[1]);
    let (mut first, mut second) = (0.0, 0.0);
    if sigma[0] > 0.0 && sigma[1] > 0.0 {
        let total: f64 = jumps.iter().sum();
        let mut largest = u * slope.abs();
        let ones = of_one(theta, theta);
        (first, second) = (total * total * ones[0] / TAU, total * total * ones[1] / TAU);
        for (t, c) in function.kinks.iter().zip(jumps) {
            for (s, d) in function.kinks.iter().zip(jumps) {
                let integrals = of_the_rest(t / sigma[0], side * s / sigma[1], theta, rule);
                first += c * d * integrals[0] / TAU;
                second += c * d * integrals[1] / TAU;
                largest = largest.max((c * d * integrals[1] / TAU).abs());
            }
        }
        if total == 0.0 && scale * largest > CANCELS {
            let [value, slope] = from_independence(function, jumps, sigma, side, theta, rule);
            let rho = value * inverse[0] * inverse[1];
            return Found { distance: [1.0 - rho, 1.0 + rho], slope: side * slope };
        }
    }
    let fall = scale * (u * slope - second);
    Found { distance: [below + fall, above - fall], slope: side * (slope - first) }
}

/// V and S from ρ = 0 on, for φ(u) and φ(±v).
fn from_independence(
    function: &Kinked,
    jumps: &[f64],
    sigma: [f64; 2],
    side: f64,
    theta: f64,
    rule: &Rule,
) -> [f64; 2] {
    let [[mean1, slope1], [mean2, slope2]] = sigma.map(|sigma| {
        let (mut points, mut sums) = (Points::default(), [0.0; 2]);
        function.kinks.iter().for_each(|k| points.push(k / sigma));
        rule.panels(points.finish(), |x, w| {
            sums[0] += w * (function.f)(sigma * x);
            sums[1] += w * (function.df)(sigma * x);
        });
        sums
    });
    let (slopes, mut sums) = (side * slope1 * slope2, [0.0; 2]);
    for (t, c) in function.kinks.iter().zip(jumps) {
        for (s, d) in function.kinks.iter().zip(jumps) {
            let (x, y) = (t / sigma[0], side * s / sigma[1]);
            let mut low = theta;
            while low < FRAC_PI_2 {
                let high = (2.0 * low).min(FRAC_PI_2);
                rule.plain(low, high, |psi, w| {
                    let f = c * d * w * departure(x, y, psi);
                    sums[0] += f;
                    sums[1] += f * 2.0 * (0.5 * (psi + theta)).sin() * (0.5 * (psi - theta)).sin();
                });
                low = high;
            }
        }
    }
    let value = mean1 * mean2 + sigma[0] * sigma[1] * (theta.cos() * slopes + sums[1] / TAU);
    [value, slopes + sums[0] / TAU]
}

/// F(ψ).
fn departure(x: f64, y: f64, psi: f64) -> f64 {
    let square = psi.sin().powi(2);
    let (a, b, g) = (0.5 * x * x / square, 0.5 * y * y / square, x * y * psi.cos() / square);
    let joint =
        if g < 1.0 { (-a - b).exp() * g.exp_m1() } else { (-exponent(x, y, psi)).exp() - (-a - b).exp() };
    (-a).exp_m1() * (-b).exp_m1() + joint
}

/// −ln E(ψ).
fn exponent(x: f64, y: f64, psi: f64) -> f64 {
    let apart = if x == y { 0.0 } else { 0.5 * ((x - y) / psi.sin()).powi(2) };
    apart + x * y / (1.0 + psi.cos())
}

/// ∫₀^end dψ and ∫₀^end (cos ψ − cos θ) dψ.
fn of_one(end: f64, theta: f64) -> [f64; 2] {
    let root = std::f64::consts::SQRT_2 * (0.5 * end).sin();
    let above = 2.0 * (0.5 * (theta + end)).sin() * (0.5 * (theta - end)).sin();
    [end, PI * lune::<false>(root * root, root) + end * above]
}

/// ∫₀^θ (E − 1) dψ and ∫₀^θ (cos ψ − cos θ)(E − 1) dψ, on panels that double from where E begins to differ from 0.
fn of_the_rest(x: f64, y: f64, theta: f64, rule: &Rule) -> [f64; 2] {
    let zero = if x == y { 0.0 } else { ((x - y).abs() / (2.0 * FAR).sqrt()).min(1.0).asin() };
    let zero = if x * y > 2.0 * FAR { theta } else { zero.min(theta) };
    let mut sums = of_one(zero, theta).map(|one| -one);
    let mut low = zero;
    while low < theta {
        let high = if low == 0.0 || 2.0 * low > theta { theta } else { 2.0 * low };
        rule.plain(low, high, |psi, w| {
            let e = w * (-exponent(x, y, psi)).exp_m1();
            sums[0] += e;
            sums[1] += e * 2.0 * (0.5 * (theta + psi)).sin() * (0.5 * (theta - psi)).sin();
        });
        low = high;
    }
    sums
}
