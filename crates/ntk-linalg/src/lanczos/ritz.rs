//! What the method of Lanczos found: Ritz values, how far each is from an eigenvalue at most, and Ritz vectors.

use ndarray::{Array1, Array2, ArrayView1};

use super::{Krylov, tridiagonal};
use crate::Error;

/// Ritz values θ₁ ≤ … ≤ θₖ of a symmetric operator with residual bounds.
///
/// Within `bounds()[i]` of θᵢ lies an eigenvalue, up to rounding; which one, no number of steps short of p proves,
/// but from a random start the extreme ones come first. θ₁ and θₖ lie inside the spectrum.
#[derive(Clone, Debug)]
pub struct Ritz {
    values: Array1<f64>,
    bounds: Array1<f64>,
    vectors: Array2<f64>,
    basis: Vec<Array1<f64>>,
}

impl Ritz {
    pub(super) fn new(space: &Krylov) -> Result<Self, Error> {
        let (values, vectors) = tridiagonal::eigensystem(&space.alpha, &space.beta)?;
        let k = values.len();
        let bounds = vectors.row(k - 1).mapv(|s| (space.beta[k - 1] * s).abs());
        Ok(Ritz { values, bounds, vectors, basis: Vec::new() })
    }

    pub(super) fn with_basis(self, basis: Vec<Array1<f64>>) -> Self {
        Ritz { basis, ..self }
    }

    /// The Ritz values, ascending; as many as steps were made.
    pub fn values(&self) -> ArrayView1<'_, f64> {
        self.values.view()
    }

    /// The residual norms ‖A y − θ y‖ = |βₖ sₖᵢ| of the Ritz pairs: a bound on the distance to an eigenvalue.
    pub fn bounds(&self) -> ArrayView1<'_, f64> {
        self.bounds.view()
    }

    /// The smallest Ritz value, at least λ_min.
    pub fn min(&self) -> f64 {
        self.values[0]
    }

    /// The largest Ritz value, at most λ_max.
    pub fn max(&self) -> f64 {
        self.values[self.values.len() - 1]
    }

    /// max |θ|, at most the norm of the operator.
    pub fn norm(&self) -> f64 {
        self.values[self.modulus()].abs()
    }

    /// The residual bound of the Ritz value of largest modulus: the norm is at least `norm() − norm_bound()`, and
    /// equal to `norm()` up to it if the extreme eigenvalue has been found.
    pub fn norm_bound(&self) -> f64 {
        self.bounds[self.modulus()]
    }

    /// The index of the Ritz value of largest modulus.
    pub fn modulus(&self) -> usize {
        let last = self.values.len() - 1;
        if self.values[last] >= -self.values[0] { last } else { 0 }
    }

    /// The Ritz vector y = V sᵢ of unit length, (p); none if there is no Ritz value of that index.
    pub fn vector(&self, index: usize) -> Option<Array1<f64>> {
        if index >= self.values.len() {
            return None;
        }
        let mut y = Array1::zeros(self.basis[0].len());
        for (v, &s) in self.basis.iter().zip(self.vectors.column(index)) {
            y.scaled_add(s, v);
        }
        Some(y)
    }
}
