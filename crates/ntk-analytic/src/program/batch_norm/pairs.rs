//! What ReLU makes of pairs of two Gaussian vectors, with derivatives in their covariance.

use std::f64::consts::{PI, TAU};

use ndarray::{Array2, ArrayView1};

/// Correlations beyond this are taken as gaps 1 − |ρ|, where these are known better.
const NEAR: f64 = 0.99;

/// For each pair (i, j) of entries of Gaussian vectors x and y with standard deviations d and e:
pub(super) struct Pairs {
    /// E relu(xᵢ) relu(yⱼ).
    pub(super) value: Array2<f64>,
    /// E step(xᵢ) step(yⱼ) = ∂ value/∂ Cov(xᵢ, yⱼ).
    pub(super) step: Array2<f64>,
    /// √(1 − ρ²)/2π · eⱼ/dᵢ = 2 ∂ value/∂ Var xᵢ.
    pub(super) left: Array2<f64>,
    /// √(1 − ρ²)/2π · dᵢ/eⱼ = 2 ∂ value/∂ Var yⱼ.
    pub(super) right: Array2<f64>,
}

/// 1 − |ρ| of two variables, given as combinations of standard normal ones and their standard deviations, the second with
/// the sign of ρ.
pub(super) fn gap(x: ArrayView1<'_, f64>, d: f64, y: ArrayView1<'_, f64>, e: f64) -> f64 {
    0.5 * x.iter().zip(y).map(|(x, y)| (x / d - y / e).powi(2)).sum::<f64>()
}

impl Pairs {
    /// From the covariances; `gap` gives 1 − |ρ| of a pair for the sign of ρ. Entries without variance have value and
    /// derivatives 0.
    pub(super) fn new(
        covariance: &Array2<f64>,
        d: &[f64],
        e: &[f64],
        gap: impl Fn(usize, usize, f64) -> f64,
    ) -> Self {
        let zeros = || Array2::zeros(covariance.dim());
        let mut pairs = Pairs { value: zeros(), step: zeros(), left: zeros(), right: zeros() };
        for ((i, j), c) in covariance.indexed_iter() {
            let norm = d[i] * e[j];
            if norm == 0.0 {
                continue;
            }
            let rho = (c / norm).clamp(-1.0, 1.0);
            // The angle between the two, and its sine.
            let (rho, sine, angle) = if rho.abs() > NEAR {
                let gap = gap(i, j, rho.signum());
                let (sine, angle) = ((gap * (2.0 - gap)).sqrt(), 2.0 * (0.5 * gap).sqrt().asin());
                ((1.0 - gap).copysign(rho), sine, if rho > 0.0 { angle } else { PI - angle })
            } else {
                (rho, ((1.0 - rho) * (1.0 + rho)).sqrt(), rho.acos())
            };
            pairs.value[[i, j]] = norm * (sine + (PI - angle) * rho) / TAU;
            pairs.step[[i, j]] = (PI - angle) / TAU;
            pairs.left[[i, j]] = sine / TAU * e[j] / d[i];
            pairs.right[[i, j]] = sine / TAU * d[i] / e[j];
        }
        pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn derivatives_are_those_of_the_value() {
        let value = |d2: f64, e2: f64, c: f64| {
            Pairs::new(&array![[c]], &[d2.sqrt()], &[e2.sqrt()], |_, _, _| 0.0).value[[0, 0]]
        };
        let pairs = Pairs::new(&array![[0.4]], &[0.7f64.sqrt()], &[1.3f64.sqrt()], |_, _, _| 0.0);
        let h = 1e-5;
        let slope = |up: f64, down: f64| (up - down) / (2.0 * h);
        let known = [
            (pairs.step[[0, 0]], slope(value(0.7, 1.3, 0.4 + h), value(0.7, 1.3, 0.4 - h))),
            (0.5 * pairs.left[[0, 0]], slope(value(0.7 + h, 1.3, 0.4), value(0.7 - h, 1.3, 0.4))),
            (0.5 * pairs.right[[0, 0]], slope(value(0.7, 1.3 + h, 0.4), value(0.7, 1.3 - h, 0.4))),
        ];
        for (found, expected) in known {
            assert!((found - expected).abs() < 1e-10, "{found} {expected}");
        }
    }

    #[test]
    fn gaps_are_angles() {
        // A gap of 1e-20 is an angle of √2·1e-10, which a rounded correlation does not know.
        for sign in [1.0, -1.0] {
            let pairs = Pairs::new(&array![[sign]], &[1.0], &[1.0], |_, _, _| 1e-20);
            let angle = 2f64.sqrt() * 1e-10;
            let step = if sign > 0.0 { (PI - angle) / TAU } else { angle / TAU };
            assert!((pairs.step[[0, 0]] - step).abs() < 1e-16);
        }
        assert_eq!(Pairs::new(&array![[0.0]], &[0.0], &[1.0], |_, _, _| 0.0).left[[0, 0]], 0.0);
    }
}
