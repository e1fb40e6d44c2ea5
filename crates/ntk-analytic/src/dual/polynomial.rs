//! Polynomials: finitely many Hermite coefficients, exact for any variances.

use super::series::Expansion;

/// Coefficients in heₖ of heₙ(√q x), by the multiplication theorem
/// heₙ(σx) = Σᵢ √(n!/k!) σᵏ (σ² − 1)ⁱ/(2ⁱ i!) heₖ(x), k = n − 2i.
fn scaled_hermite(degree: u32, q: f64) -> Vec<f64> {
    let mut a = vec![0.0; degree as usize + 1];
    let mut factor = 1.0;
    for i in 0..=degree / 2 {
        let k = degree - 2 * i;
        a[k as usize] = factor * q.sqrt().powi(k as i32);
        let (k, i) = (f64::from(k), f64::from(i));
        factor *= (q - 1.0) / (2.0 * (i + 1.0)) * (k * (k - 1.0)).sqrt();
    }
    a
}

/// heₙ with heₙ′ = √n heₙ₋₁.
pub(super) fn hermite(degree: u32, q: f64) -> Expansion {
    let slope = match degree {
        0 => vec![0.0],
        _ => scaled_hermite(degree - 1, q).iter().map(|a| f64::from(degree).sqrt() * a).collect(),
    };
    Expansion::exact(scaled_hermite(degree, q), slope)
}

/// Σᵢ cᵢ xⁱ, by Horner's rule in the basis heₖ, where x heₖ = √(k+1) heₖ₊₁ + √k heₖ₋₁.
pub(super) fn polynomial(coefficients: &[f64], q: f64) -> Expansion {
    let sigma = q.sqrt();
    let expand = |c: &mut dyn Iterator<Item = f64>| {
        let mut a: Vec<f64> = Vec::new();
        for c in c {
            let at = |k: usize| a.get(k).copied().unwrap_or(0.0);
            let times_x = |k: usize| {
                let below = if k > 0 { (k as f64).sqrt() * at(k - 1) } else { 0.0 };
                sigma * (below + ((k + 1) as f64).sqrt() * at(k + 1))
            };
            let mut next: Vec<f64> = (0..=a.len()).map(times_x).collect();
            next[0] += c;
            a = next;
        }
        a
    };
    let value = expand(&mut coefficients.iter().copied().rev());
    let slope = expand(&mut coefficients.iter().enumerate().skip(1).rev().map(|(i, c)| i as f64 * c));
    Expansion::exact(value, slope)
}
