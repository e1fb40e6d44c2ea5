//! Eigenvalues of a kernel on the sphere: which functions of evenly spread inputs a network learns first.
//!
//! A kernel κ(x·y) that depends on the angle alone has the spherical harmonics as eigenfunctions, whatever it is; the
//! eigenvalue of degree k is λ_k = ∫κ P_k dν with the Gegenbauer polynomial P_k, P_k(1) = 1, and the law ν of one
//! coordinate.

use ndarray::Array2;
use ntk_core::{KernelFn, Which};

use crate::dual::Rule;
use crate::{Analytic, Error};

/// Panels are halved at most this often.
const HALVINGS: usize = 7;

/// What the last halving may change, relative to the largest value of the kernel that it meets.
const TOLERANCE: f64 = 1e-10;

/// The spectrum of a rotation-invariant kernel under the uniform law on the unit sphere of ℝᵈ: κ(t) = Σ N_k λ_k P_k(t).
///
/// Kernel matrices of n such samples have eigenvalues near nλ_k, N_k of each; gradient flow learns harmonics of degree
/// k at the rate λ_k (per sample).
///
/// ```
/// use ntk_analytic::SphereSpectrum;
///
/// // (x·y)² in ℝ³ = 1/3 + (2/3) P₂, with five harmonics of degree 2.
/// let spectrum = SphereSpectrum::new(3, 3, |t| t * t)?;
/// let expected = [1.0 / 3.0, 0.0, 2.0 / 15.0, 0.0];
/// assert!(spectrum.eigenvalues().iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1e-14));
/// assert_eq!(spectrum.multiplicities(), [1.0, 3.0, 5.0, 7.0]);
/// # Ok::<(), ntk_analytic::Error>(())
/// ```
///
/// Source: \[cho2009kernel\] for the kernels, \[atkinson2012spherical\] for the Funk–Hecke formula.
#[derive(Clone, Debug, PartialEq)]
pub struct SphereSpectrum {
    dimension: usize,
    eigenvalues: Vec<f64>,
    multiplicities: Vec<f64>,
    trace: f64,
    error: f64,
}

impl SphereSpectrum {
    /// The eigenvalues of degrees 0, …, `degree` of κ(cos θ) on the unit sphere of ℝᵈ, d ≥ 2.
    ///
    /// By Gauss–Legendre rules over the angle θ, in which kernels of ReLU networks are smooth up to both ends, on panels that
    /// are halved until √N_k λ_k changes by less than 10⁻¹⁴ of the kernel. Small eigenvalues are exact to about
    /// 10⁻¹⁵ κ(1)/√N_k, not to all their digits.
    ///
    /// # Errors
    /// [`Error::Sphere`] for d < 2 or multiplicities that overflow; [`Error::KernelValue`] where κ is not finite;
    /// [`Error::Quadrature`] for a κ with kinks between −1 and 1.
    pub fn new(dimension: usize, degree: usize, kernel: impl Fn(f64) -> f64) -> Result<Self, Error> {
        Self::integrate(dimension, degree, |angles| {
            let value = |theta: &f64| {
                let cosine = theta.cos();
                let value = kernel(cosine);
                if value.is_finite() { Ok(value) } else { Err(Error::KernelValue { cosine, value }) }
            };
            angles.iter().map(value).collect()
        })
    }

    /// Those of the NNGP (or the NTK) of a network without positions, at inputs of norm `norm` in ℝᵈ.
    ///
    /// # Errors
    /// As [`SphereSpectrum::new`]; [`Error::Sphere`] for [`Which::Both`] or a norm that is not positive and finite; those of
    /// the network's kernel.
    pub fn of(
        kernel: &Analytic,
        which: Which,
        dimension: usize,
        norm: f64,
        degree: usize,
    ) -> Result<Self, Error> {
        if which == Which::Both || !(norm > 0.0 && norm.is_finite()) {
            let reason = format!("one kernel at a positive norm has a spectrum, not {which:?} at {norm}");
            return Err(Error::Sphere { reason });
        }
        Self::integrate(dimension, degree, |angles| {
            let at = |angles: &[f64]| {
                let mut x = Array2::zeros((angles.len(), dimension));
                for (mut x, theta) in x.rows_mut().into_iter().zip(angles) {
                    (x[0], x[1]) = (norm * theta.cos(), norm * theta.sin());
                }
                x
            };
            let block = kernel.block((&at(&[0.0])).into(), (&at(angles)).into(), which)?;
            Ok(block.nngp.or(block.ntk).map_or_else(Vec::new, |values| values.into_raw_vec_and_offset().0))
        })
    }

    fn integrate(
        dimension: usize,
        degree: usize,
        kernel: impl Fn(&[f64]) -> Result<Vec<f64>, Error>,
    ) -> Result<Self, Error> {
        if dimension < 2 {
            let reason = format!("a sphere lies in two dimensions or more, not in {dimension}");
            return Err(Error::Sphere { reason });
        }
        let multiplicities = multiplicities(dimension, degree);
        if !multiplicities.iter().all(|n| n.is_finite()) {
            let reason = format!(
                "the number of harmonics of degree {degree} in {dimension} dimensions overflows: ask for less"
            );
            return Err(Error::Sphere { reason });
        }
        let trace = kernel(&[0.0])?[0];
        let rule = Rule::new(20);
        // A panel resolves ten radians of a polynomial, and half a standard deviation of the coordinate.
        let first = (0.25 * degree as f64).max(0.5 * (dimension as f64).sqrt()).max(2.0);
        let mut panels = (std::f64::consts::PI * first).ceil() as usize;
        let mut before: Option<Vec<f64>> = None;
        let mut error = f64::INFINITY;
        for _ in 0..HALVINGS {
            let (coefficients, scale) = coefficients(dimension, degree, &rule, panels, &kernel)?;
            if let Some(before) = &before {
                let change = coefficients.iter().zip(before).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                error = change / scale.max(f64::MIN_POSITIVE);
            }
            let done = error < 1e-14;
            before = Some(coefficients);
            if done {
                break;
            }
            panels *= 2;
        }
        if error > TOLERANCE {
            let activation = "the kernel on the sphere".to_owned();
            return Err(Error::Quadrature { activation, reached: error, asked: TOLERANCE });
        }
        let coefficients = before.unwrap_or_default();
        let eigenvalues = coefficients.iter().zip(&multiplicities).map(|(c, n)| c / n.sqrt()).collect();
        Ok(SphereSpectrum { dimension, eigenvalues, multiplicities, trace, error })
    }

    /// d.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// λ_0, λ_1, …: eigenvalues of f ↦ ∫κ(x·y) f(y) dσ(y) with the uniform probability σ.
    pub fn eigenvalues(&self) -> &[f64] {
        &self.eigenvalues
    }

    /// N_0, N_1, …: the number of independent harmonics of each degree,
    /// N_k = (2k + d − 2)/(k + d − 2) · C(k + d − 2, k).
    pub fn multiplicities(&self) -> &[f64] {
        &self.multiplicities
    }

    /// κ(1), the sum of all eigenvalues with their multiplicities.
    pub fn trace(&self) -> f64 {
        self.trace
    }

    /// κ(1) − Σ N_k λ_k over the degrees computed: the variance of a Gaussian process in those beyond.
    pub fn tail(&self) -> f64 {
        let terms = self.eigenvalues.iter().zip(&self.multiplicities);
        self.trace - terms.map(|(eigenvalue, n)| n * eigenvalue).sum::<f64>()
    }

    /// What the last halving of the panels changed in √N_k λ_k, relative to the kernel.
    pub fn error(&self) -> f64 {
        self.error
    }

    /// Σ N_k λ_k P_k(t) over the degrees computed, at t = cos θ in [−1, 1].
    pub fn partial_sum(&self, cosine: f64) -> f64 {
        let mut sum = 0.0;
        let terms: Vec<f64> =
            self.eigenvalues.iter().zip(&self.multiplicities).map(|(l, n)| l * n.sqrt()).collect();
        polynomials(self.dimension, cosine, terms.len(), |k, p| sum += terms[k] * p);
        sum
    }
}

/// √N_k λ_k of each degree, and the root mean square of κ.
fn coefficients(
    dimension: usize,
    degree: usize,
    rule: &Rule,
    panels: usize,
    kernel: &impl Fn(&[f64]) -> Result<Vec<f64>, Error>,
) -> Result<(Vec<f64>, f64), Error> {
    let (mut angles, mut weights) = (Vec::new(), Vec::new());
    for panel in 0..panels {
        let end = |k: usize| std::f64::consts::PI * k as f64 / panels as f64;
        rule.plain(end(panel), end(panel + 1), |theta, w| {
            angles.push(theta);
            weights.push(w * ((dimension - 2) as f64 * theta.sin().ln()).exp());
        });
    }
    // The constant of the law of a coordinate, by the same rule.
    let total: f64 = weights.iter().sum();
    let values = kernel(&angles)?;
    let (mut sums, mut square) = (vec![0.0; degree + 1], 0.0);
    for ((theta, weight), value) in angles.iter().zip(&weights).zip(values) {
        let share = weight / total * value;
        square += share * value;
        polynomials(dimension, theta.cos(), degree + 1, |k, p| sums[k] += share * p);
    }
    Ok((sums, square.sqrt()))
}

/// Calls `each(k, √N_k P_k(t))` for the first degrees, by the recurrence of orthonormal polynomials.
fn polynomials(dimension: usize, t: f64, count: usize, mut each: impl FnMut(usize, f64)) {
    let d = dimension as f64;
    let coefficient = |k: usize| {
        let k = k as f64;
        let square =
            if k == 1.0 { 1.0 / d } else { k * (k + d - 3.0) / ((2.0 * k + d - 2.0) * (2.0 * k + d - 4.0)) };
        square.sqrt()
    };
    let (mut below, mut here, mut last) = (0.0, 1.0, 0.0);
    for k in 0..count {
        each(k, here);
        let next = coefficient(k + 1);
        (below, here) = (here, (t * here - last * below) / next);
        last = next;
    }
}

fn multiplicities(dimension: usize, degree: usize) -> Vec<f64> {
    let d = dimension as f64;
    let mut list = vec![1.0];
    for k in 1..=degree {
        let (k, before) = (k as f64, list[k - 1]);
        let growth =
            if k == 1.0 { d } else { (2.0 * k + d - 2.0) * (k + d - 3.0) / ((2.0 * k + d - 4.0) * k) };
        // A whole number as long as doubles hold one.
        list.push((before * growth).round());
    }
    list
}

#[cfg(test)]
mod tests {
    use ntk_core::{Activation, Net, Variance};

    use super::*;

    #[test]
    fn harmonics_are_counted() {
        assert_eq!(multiplicities(2, 4), [1.0, 2.0, 2.0, 2.0, 2.0]);
        assert_eq!(multiplicities(3, 4), [1.0, 3.0, 5.0, 7.0, 9.0]);
        assert_eq!(multiplicities(4, 4), [1.0, 4.0, 9.0, 16.0, 25.0]);
        // C(k + d − 1, k) − C(k + d − 3, k − 2).
        assert_eq!(multiplicities(10, 3)[3], 220.0 - 10.0);
    }

    #[test]
    fn a_line_has_one_eigenvalue() {
        for d in [2, 3, 10, 784] {
            let spectrum = SphereSpectrum::new(d, 6, |t| 3.0 * t).unwrap();
            for (k, found) in spectrum.eigenvalues().iter().enumerate() {
                let expected = if k == 1 { 3.0 / d as f64 } else { 0.0 };
                assert!((found - expected).abs() < 1e-14, "{d} {k} {found}");
            }
            // Each degree is exact to a rounding times √N_k.
            let bound = 1e-15 * spectrum.multiplicities().iter().map(|n| n.sqrt()).sum::<f64>();
            assert!(spectrum.tail().abs() < bound.max(1e-14), "{d} {}", spectrum.tail());
        }
    }

    /// On the circle λ_k are Fourier coefficients: of Σ e^{−k} cos kθ, and of the arc-cosine kernel of degree 0.
    #[test]
    fn the_circle_has_fourier_coefficients() {
        let q = (-1.0f64).exp();
        let poisson = SphereSpectrum::new(2, 8, |t| (1.0 - q * q) / (1.0 - 2.0 * q * t + q * q)).unwrap();
        for (k, found) in poisson.eigenvalues().iter().enumerate() {
            assert!((found - q.powi(k as i32)).abs() < 1e-14, "{k} {found}");
        }
        // (π − θ)/π = 1/2 + (4/π²) Σ_{odd} cos kθ/k².
        let step = SphereSpectrum::new(2, 9, |t| 1.0 - t.acos() / std::f64::consts::PI).unwrap();
        for (k, found) in step.eigenvalues().iter().enumerate() {
            let odd = 2.0 / (std::f64::consts::PI * k as f64).powi(2);
            let expected = if k == 0 {
                0.5
            } else if k % 2 == 1 {
                odd
            } else {
                0.0
            };
            assert!((found - expected).abs() < 1e-13, "{k} {found} {expected}");
        }
    }

    #[test]
    fn relu_kernels_have_no_odd_degrees_beyond_one() {
        let net = Net::mlp(1, Activation::Relu, 1, Variance::TWO, Variance::ZERO);
        let kernel = Analytic::new(net).unwrap();
        for d in [3, 8, 40] {
            let spectrum = SphereSpectrum::of(&kernel, Which::Nngp, d, (d as f64).sqrt(), 9).unwrap();
            let (eigenvalues, many) = (spectrum.eigenvalues(), spectrum.multiplicities());
            for k in [3, 5, 7, 9] {
                assert!(eigenvalues[k].abs() * many[k].sqrt() < 1e-13, "{d} {k} {}", eigenvalues[k]);
            }
            for k in [0, 1, 2, 4, 6, 8] {
                assert!(eigenvalues[k] * many[k].sqrt() > 1e-9, "{d} {k} {}", eigenvalues[k]);
            }
            assert!((spectrum.trace() - 2.0).abs() < 1e-12 && spectrum.tail() > 0.0, "{spectrum:?}");
            // relu = (u + |u|)/2, so that the odd part of κ is t.
            assert!((eigenvalues[1] - 1.0 / d as f64).abs() < 1e-13, "{d} {}", eigenvalues[1]);
        }
    }

    #[test]
    fn degrees_add_up_to_the_kernel() {
        let net = Net::mlp(3, Activation::Relu, 1, Variance::TWO, Variance::new(0.1).unwrap());
        let kernel = Analytic::new(net).unwrap();
        let mut tails = Vec::new();
        for degree in [20, 40, 80, 160] {
            let spectrum = SphereSpectrum::of(&kernel, Which::Ntk, 3, 1.0, degree).unwrap();
            assert!(spectrum.eigenvalues().iter().all(|l| *l > 0.0));
            tails.push(spectrum.tail() / spectrum.trace());
        }
        // NTK of ReLU networks: λ_k ~ k^{−d}, so that what is left falls as 1/degree.
        let slope = (tails[3] / tails[0]).ln() / 8f64.ln();
        assert!((slope + 1.0).abs() < 0.1, "{tails:?} {slope}");
        let tanh = Net::mlp(2, Activation::Tanh, 1, Variance::TWO, Variance::ZERO);
        let tanh = Analytic::new(tanh).unwrap();
        let spectrum = SphereSpectrum::of(&tanh, Which::Nngp, 5, 1.0, 40).unwrap();
        let x = ndarray::array![[1.0, 0.0, 0.0, 0.0, 0.0], [0.6, 0.8, 0.0, 0.0, 0.0]];
        let exact = tanh.symmetric((&x).into(), Which::Nngp).unwrap().nngp.unwrap();
        assert!((spectrum.partial_sum(0.6) - exact[[0, 1]]).abs() < 1e-13);
        assert!(spectrum.tail().abs() < 1e-12, "{}", spectrum.tail());
    }

    #[test]
    fn what_has_no_spectrum_is_refused() {
        assert!(matches!(SphereSpectrum::new(1, 3, |t| t), Err(Error::Sphere { .. })));
        assert!(matches!(SphereSpectrum::new(2000, 2000, |t| t), Err(Error::Sphere { .. })));
        assert!(matches!(SphereSpectrum::new(3, 3, |t| 1.0 / (0.0 * t)), Err(Error::KernelValue { .. })));
        assert!(matches!(
            SphereSpectrum::new(3, 3, |t| f64::from(u8::from(t > 0.3))),
            Err(Error::Quadrature { .. })
        ));
        let kernel = Analytic::new(Net::dense(Variance::ONE, Variance::ZERO)).unwrap();
        assert!(matches!(SphereSpectrum::of(&kernel, Which::Both, 3, 1.0, 3), Err(Error::Sphere { .. })));
        assert!(matches!(SphereSpectrum::of(&kernel, Which::Ntk, 3, 0.0, 3), Err(Error::Sphere { .. })));
    }
}
