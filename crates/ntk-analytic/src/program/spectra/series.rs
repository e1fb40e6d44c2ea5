//! Power series, for moments.

/// The coefficients of fᵖ, for f with f₀ ≠ 0: the recursion f (fᵖ)′ = p f′ fᵖ.
pub(super) fn power(f: &[f64], p: f64) -> Vec<f64> {
    let mut g = vec![f[0].powf(p)];
    for n in 1..f.len() {
        let term = |k: usize| (p * k as f64 - (n - k) as f64) * f[k] * g[n - k];
        g.push((1..=n).map(term).sum::<f64>() / (n as f64 * f[0]));
    }
    g
}

/// The product, to as many terms as the first factor has.
pub(super) fn product(f: &[f64], g: &[f64]) -> Vec<f64> {
    (0..f.len()).map(|n| (0..=n).map(|k| f[k] * g[n - k]).sum()).collect()
}

/// The coefficients c₁, c₂, … of the inverse function of t/f(t), by Lagrange: cₖ = \[t^{k−1}\] fᵏ/k.
pub(super) fn inverse(f: &[f64]) -> Vec<f64> {
    (1..=f.len()).map(|k| power(f, k as f64)[k - 1] / k as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_known_functions() {
        // √(1 + t)² = 1 + t; the inverse of t e^{−t} has the coefficients k^{k−1}/k!.
        let root = power(&[1.0, 1.0, 0.0, 0.0, 0.0], 0.5);
        let square = product(&root, &root);
        assert!(square.iter().zip([1.0, 1.0, 0.0, 0.0, 0.0]).all(|(a, b)| (a - b).abs() < 1e-15));
        let tree = inverse(&[1.0, 1.0, 0.5, 1.0 / 6.0]);
        assert!(tree.iter().zip([1.0, 1.0, 1.5, 8.0 / 3.0]).all(|(a, b): (&f64, f64)| (a - b).abs() < 1e-14));
    }
}
