//! Deep linear networks of one input and one output, where the limit is an equation on paper.

use ndarray::{Array1, Array2};

use crate::{Error, Time};

/// β(t) of gradient flow with one hidden layer (q = 0) and one input, S = `moment` > 0, towards b = `target`.
///
/// In feature time, ds = r dt, β = sinh 2s; hence β′ = 2 S (b − β) √(1 + β²), and with w = β + √(1 + β²), w± = b ± √(1 + b²):
/// (w − w₋)/(w₊ − w) = e^{2S√(1+b²)t} (1 − w₋)/(w₊ − 1).
///
/// # Errors
/// [`Error::Time`]; [`Error::Setting`] for a moment that is negative or not finite, or a target that is not finite.
///
/// ```
/// use ntk_dynamics::Time;
/// use ntk_dynamics::deep_linear::shallow_flow;
/// assert_eq!(shallow_flow(1.0, -0.7, Time::Infinite)?, -0.7);
/// # Ok::<(), ntk_dynamics::Error>(())
/// ```
pub fn shallow_flow(moment: f64, target: f64, time: Time) -> Result<f64, Error> {
    if !(moment.is_finite() && moment >= 0.0) {
        let domain = "finite numbers of at least 0";
        return Err(Error::Setting { option: "moment", value: moment, domain });
    }
    finite("target", target)?;
    let t = time.value()?;
    if moment == 0.0 || t == 0.0 {
        return Ok(0.0);
    }
    let b = target.abs();
    let root = b.hypot(1.0);
    let decay = (-2.0 * moment * root * t).exp();
    if decay == 0.0 {
        return Ok(target);
    }
    // Everything less one: w₊ − 1 and w − 1 keep their digits where b is small. And 1 − w₋ = 1 + 1/w₊.
    let above = b + b * (b / (1.0 + root));
    let below = 1.0 + 1.0 / (1.0 + above);
    let progress = -(-2.0 * moment * root * t).exp_m1();
    let w = below * above * progress / (above * decay + below);
    Ok((0.5 * w * (2.0 + w) / (1.0 + w)).copysign(target))
}

/// The predictor β as a function of feature time s = ∫ r dt, r = −F′(β), for one input and q = `middle` ∈ {0, 1}: what
/// gradient flow makes of any loss.
///
/// sinh 2s for q = 0. For q = 1 the column u of A obeys u″ = (C + 2‖u‖²) u with C = ΛᵀΛ − aaᵀ, u(0) = a, u′(0) = Λᵀb, and
/// β = u·u′. In the basis of walks ΛᵀΛ is tridiagonal, the law of Marchenko and Pastur: diagonal 1, 2, 2, … from a and
/// 2, 2, … from Λᵀb, off-diagonal 1. A Taylor series, continued in steps, solves it to rounding.
///
/// # Errors
/// [`Error::Setting`] for another q, or for s not finite; [`Error::Overflow`]: for q = 1 β is infinite at a finite s.
pub fn feature_response(middle: usize, s: f64) -> Result<f64, Error> {
    finite("feature time", s)?;
    let value = match middle {
        0 => (2.0 * s).sinh(),
        1 => one_matrix(s.abs()).copysign(s),
        _ => {
            let domain = "0 or 1 middle matrices";
            return Err(Error::Setting { option: "middle", value: middle as f64, domain });
        }
    };
    if value.is_finite() { Ok(value) } else { Err(Error::Overflow) }
}

fn finite(option: &'static str, value: f64) -> Result<(), Error> {
    if value.is_finite() { Ok(()) } else { Err(Error::Setting { option, value, domain: "finite numbers" }) }
}

/// Coordinates from each root: that of number n is of the order s²ⁿ/(2n)!.
const COORDINATES: usize = 32;

/// Order of the series.
const ORDER: usize = 24;

/// β at s ≥ 0 for q = 1, infinite beyond the pole.
fn one_matrix(s: f64) -> f64 {
    // Coordinates from a, then those from Λᵀb.
    let mut series = Array2::zeros((ORDER + 1, 2 * COORDINATES));
    series[[0, 0]] = 1.0;
    series[[1, COORDINATES]] = 1.0;
    let (mut left, mut steps) = (s, 0);
    loop {
        extend(&mut series);
        let size = |n: usize| series.row(n).dot(&series.row(n)).sqrt();
        let radius = (size(0) / size(ORDER)).powf(1.0 / ORDER as f64);
        // The first term left out is of the order of rounding.
        let h = left.min(radius * f64::EPSILON.powf(1.0 / ORDER as f64));
        let [value, slope] = [0, 1].map(|derivative| horner(&series, h, derivative));
        left -= h;
        steps += 1;
        if left <= 0.0 {
            return value.dot(&slope);
        }
        // Each step covers a fifth of the way to the pole.
        if steps > 150 || h <= f64::EPSILON * s {
            return f64::INFINITY;
        }
        series.row_mut(0).assign(&value);
        series.row_mut(1).assign(&slope);
    }
}

/// The coefficients from the first two on: (n + 2)(n + 1) uₙ₊₂ = C uₙ + 2 Σ hₘ uₙ₋ₘ with hₘ = Σ uₗ·uₘ₋ₗ.
fn extend(series: &mut Array2<f64>) {
    let mut squares = Vec::with_capacity(ORDER);
    for n in 0..=ORDER - 2 {
        squares.push((0..=n).map(|l| series.row(l).dot(&series.row(n - l))).sum::<f64>());
        let u = series.row(n);
        let mut next = Array1::from_shape_fn(2 * COORDINATES, |i| {
            let place = i % COORDINATES;
            let diagonal = if i == 0 { 0.0 } else { 2.0 * u[i] };
            let before = if place == 0 { 0.0 } else { u[i - 1] };
            let after = if place == COORDINATES - 1 { 0.0 } else { u[i + 1] };
            diagonal + before + after
        });
        for (m, &square) in squares.iter().enumerate() {
            next.scaled_add(2.0 * square, &series.row(n - m));
        }
        series.row_mut(n + 2).assign(&(next / ((n + 2) * (n + 1)) as f64));
    }
}

/// u(h), or u′(h) for the first derivative.
fn horner(series: &Array2<f64>, h: f64, derivative: usize) -> Array1<f64> {
    (derivative..=ORDER).rev().fold(Array1::zeros(2 * COORDINATES), |sum, n| {
        let factor = if derivative == 0 { 1.0 } else { n as f64 };
        sum * h + &series.row(n) * factor
    })
}
