//! Polynomials for the vectorized dual activations: truncated Chebyshev series of power series known exactly, computed
//! with twice the digits of a double, each with a bound on what truncation leaves out.

use std::f64::consts::PI;
use std::fmt::Write as _;
use std::ops::{Add, Mul};

/// Terms of the power series; the slowest one converges like 2⁻ᵏ.
const TERMS: usize = 130;

/// A number as the unevaluated sum of two doubles: about 32 digits.
#[derive(Clone, Copy)]
struct Double2(f64, f64);

impl Double2 {
    const ZERO: Double2 = Double2(0.0, 0.0);
    /// 1/π.
    const FRAC_1_PI: Double2 = Double2(std::f64::consts::FRAC_1_PI, -1.967_867_667_518_248_6e-17);
    const SQRT_2: Double2 = Double2(std::f64::consts::SQRT_2, -9.667_293_313_452_913e-17);

    /// numerator / denominator, both exact.
    fn ratio(numerator: f64, denominator: f64) -> Double2 {
        let quotient = numerator / denominator;
        let rest = (-quotient).mul_add(denominator, numerator);
        fast_two_sum(quotient, rest / denominator)
    }
}

fn fast_two_sum(a: f64, b: f64) -> Double2 {
    let sum = a + b;
    Double2(sum, b - (sum - a))
}

impl Add for Double2 {
    type Output = Double2;
    fn add(self, other: Double2) -> Double2 {
        let sum = self.0 + other.0;
        let part = sum - self.0;
        let error = (self.0 - (sum - part)) + (other.0 - part);
        fast_two_sum(sum, error + self.1 + other.1)
    }
}

impl Mul for Double2 {
    type Output = Double2;
    fn mul(self, other: Double2) -> Double2 {
        let product = self.0 * other.0;
        let error = self.0.mul_add(other.0, -product);
        fast_two_sum(product, error + (self.0 * other.1 + self.1 * other.0))
    }
}

/// aₖ of asin x = Σ aₖ x²ᵏ⁺¹: (2k)!/(4ᵏ k!² (2k+1)).
fn arcsine() -> Vec<Double2> {
    let mut binomial = Double2(1.0, 0.0);
    (0..TERMS)
        .map(|k| {
            let here = binomial * Double2::ratio(1.0, (2 * k + 1) as f64);
            binomial = binomial * Double2::ratio((2 * k + 1) as f64, (2 * k + 2) as f64);
            here
        })
        .collect()
}

/// cₖ of acos(1 − u) = √(2u) Σ cₖ uᵏ, from acos(1 − u) = 2 asin √(u/2).
fn arccosine() -> Vec<Double2> {
    let mut scale = 1.0;
    arcsine()
        .into_iter()
        .map(|a| {
            let here = a * Double2(scale, 0.0);
            scale *= 0.5;
            here
        })
        .collect()
}

/// H(u) = acos(1 − u) / (π √u).
fn angle() -> Vec<Double2> {
    let scale = Double2::SQRT_2 * Double2::FRAC_1_PI;
    arccosine().into_iter().map(|c| c * scale).collect()
}

/// G(u) = (sin θ − θ cos θ) / (π u^(3/2)) with cos θ = 1 − u: the terms of √(1 − u/2) − (1 − u) Σ cₖ uᵏ, divided by u.
fn lune() -> Vec<Double2> {
    let scale = Double2::SQRT_2 * Double2::FRAC_1_PI;
    let c = arccosine();
    let mut root = Double2(1.0, 0.0);
    (1..TERMS)
        .map(|k| {
            // binomial(½, k) (−½)ᵏ
            root = root * Double2::ratio((2 * k) as f64 - 3.0, (4 * k) as f64);
            let minus = |x: Double2| Double2(-x.0, -x.1);
            (root + minus(c[k]) + c[k - 1]) * scale
        })
        .collect()
}

/// Coefficients in T*ⱼ(x²) = T₂ⱼ(x) of arctan(x)/x on [0, 1]: with q = √2 − 1, arctan x = 2 Σ (−1)ᵏ q²ᵏ⁺¹/(2k + 1) T₂ₖ₊₁(x),
/// and T₂ₖ₊₁(x)/x = 2 Σⱼ (−1)ᵏ⁻ʲ T₂ⱼ(x), the term of T₀ halved.
fn arctangent() -> Vec<Double2> {
    let q = Double2::SQRT_2 + Double2(-1.0, 0.0);
    let mut power = q;
    let mut rest: Vec<Double2> = (0..TERMS)
        .map(|k| {
            let here = power * Double2::ratio(1.0, (2 * k + 1) as f64);
            power = power * q * q;
            here
        })
        .collect();
    for k in (1..TERMS).rev() {
        rest[k - 1] = rest[k - 1] + rest[k];
    }
    let sign = |j: usize| if j.is_multiple_of(2) { 1.0 } else { -1.0 };
    let scale = |j: usize| if j == 0 { 2.0 } else { 4.0 * sign(j) };
    rest.into_iter().enumerate().map(|(j, sum)| sum * Double2(scale(j), 0.0)).collect()
}

/// Coefficients aⱼ in the shifted Chebyshev polynomials T*ⱼ on [0, 1] of Σ pₖ uᵏ:
/// uᵏ = 2⁻²ᵏ [C(2k, k) + 2 Σⱼ C(2k, k−j) T*ⱼ(u)].
fn chebyshev(series: &[Double2]) -> Vec<Double2> {
    let mut coefficients = vec![Double2::ZERO; series.len()];
    for (k, &p) in series.iter().enumerate() {
        // 2⁻²ᵏ C(2k, k − j), from j = 0 upwards.
        let mut weight =
            (1..=k).fold(Double2(1.0, 0.0), |w, i| w * Double2::ratio((2 * i - 1) as f64, (2 * i) as f64));
        for (j, to) in coefficients.iter_mut().enumerate().take(k + 1) {
            let factor = if j == 0 { 1.0 } else { 2.0 };
            *to = *to + p * weight * Double2(factor, 0.0);
            weight = weight * Double2::ratio((k - j) as f64, (k + j + 1) as f64);
        }
    }
    coefficients
}

/// Back to powers: Σⱼ≤degree aⱼ T*ⱼ(u) = Σ cₖ uᵏ.
fn powers(coefficients: &[Double2], degree: usize) -> Vec<f64> {
    let mut sum = vec![Double2::ZERO; degree + 1];
    let mut before = vec![Double2::ZERO; degree + 1];
    let mut here = before.clone();
    here[0] = Double2(1.0, 0.0);
    for (j, &a) in coefficients.iter().enumerate().take(degree + 1) {
        for (s, &t) in sum.iter_mut().zip(&here) {
            *s = *s + a * t;
        }
        // T*ⱼ₊₁ = (4u − 2) T*ⱼ − T*ⱼ₋₁, and T*₁ = 2u − 1.
        let factor = if j == 0 { 1.0 } else { 2.0 };
        let next = (0..=degree)
            .map(|k| {
                let shifted = if k == 0 { Double2::ZERO } else { here[k - 1] * Double2(2.0 * factor, 0.0) };
                shifted + here[k] * Double2(-factor, 0.0) + before[k] * Double2(-1.0, 0.0)
            })
            .collect();
        before = std::mem::replace(&mut here, next);
    }
    sum.into_iter().map(|c| c.0).collect()
}

/// Writes one table of f64, of the smallest degree whose neglected coefficients add up to less than 1e-16.
fn table(out: &mut String, name: &str, formula: &str, coefficients: &[Double2]) {
    let (list, left_out) = truncated(coefficients, 1e-16);
    // Writing to a String cannot fail.
    let _ = writeln!(out, "\n/// {formula} on [0, 1]; truncation error below {left_out:.1e}.");
    let _ = writeln!(out, "pub(crate) const {name}: [f64; {}] = [", list.len());
    for c in list {
        let _ = writeln!(out, "    {c:?},");
    }
    let _ = writeln!(out, "];");
}

/// The same in f32, to 2e-8.
fn table_f32(out: &mut String, name: &str, formula: &str, coefficients: &[Double2]) {
    let (list, left_out) = truncated(coefficients, 2e-8);
    let _ = writeln!(out, "\n/// {formula} on [0, 1]; truncation error below {left_out:.1e}.");
    let _ = writeln!(out, "pub(crate) const {name}: [f32; {}] = [", list.len());
    for c in list {
        let _ = writeln!(out, "    {:?},", c as f32);
    }
    let _ = writeln!(out, "];");
}

/// The powers of the truncated series, and a bound on what it leaves out.
fn truncated(coefficients: &[Double2], tolerance: f64) -> (Vec<f64>, f64) {
    let neglected = |degree: usize| coefficients[degree + 1..].iter().map(|a| a.0.abs()).sum::<f64>();
    let degree = (1..TERMS / 2).find(|&d| neglected(d) < tolerance).unwrap_or(TERMS / 2);
    (powers(coefficients, degree), neglected(degree))
}

/// The contents of `crates/ntk-analytic/src/generated/polynomials.rs`.
pub(crate) fn generate() -> anyhow::Result<String> {
    let mut out = String::from(
        "//! Polynomials of the vectorized dual activations, lowest power first.\n//!\n//! Generated by `cargo xtask codegen`; do not edit.\n",
    );
    let (angle_formula, lune_formula) =
        ("acos(1 − u) / (π √u)", "(sin θ − θ cos θ) / (π u^(3/2)), cos θ = 1 − u,");
    let (angle_series, lune_series) = (chebyshev(&angle()), chebyshev(&lune()));
    table(&mut out, "ANGLE", angle_formula, &angle_series);
    table_f32(&mut out, "ANGLE_F32", angle_formula, &angle_series);
    table(&mut out, "LUNE", lune_formula, &lune_series);
    table_f32(&mut out, "LUNE_F32", lune_formula, &lune_series);
    table(&mut out, "ARCTANGENT", "arctan(√z) / √z", &arctangent());
    anyhow::ensure!(
        (angle()[0].0 * PI - std::f64::consts::SQRT_2).abs() < 1e-15,
        "the series of the angle is wrong"
    );
    Ok(out)
}
