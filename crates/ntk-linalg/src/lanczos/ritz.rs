//! What the method of Lanczos found: Ritz values, how far each is from an eigenvalue at most, and Ritz vectors.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};

use super::{Krylov, tridiagonal};
use crate::Error;
use crate::bridge::{check_finite, check_rows, product};

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

    /// Quadratic forms bᵀA⁻¹b from below, for each column of b, (p, M) → M values and M bounds: with the Ritz vectors V
    /// and values Θ, the form is at least value = |Θ⁻¹ᐟ² Vᵀb|² and at most value + bound, if A has no eigenvalue below
    /// `smallest` > 0, as K + ρI has none below ρ.
    ///
    /// x = V Θ⁻¹ Vᵀb leaves the residual r = b − A x, which is orthogonal to V, so that the form is the value plus
    /// rᵀA⁻¹r ≤ |r|²/`smallest`. No product is needed: 2 k p operations for each column, for all variances of a
    /// Gaussian process from one run.
    ///
    /// # Errors
    /// [`Error::Setting`] if `smallest` is not above 0 and finite, or a Ritz value is below half of it;
    /// [`Error::Rows`], [`Error::NonFinite`] for b.
    ///
    /// # Source
    /// \[pleiss2018constant\]; the bound is ours.
    pub fn inverse_forms(&self, b: ArrayView2<'_, f64>, smallest: f64) -> Result<[Array1<f64>; 2], Error> {
        let domain = "above 0, finite, and no more than the smallest eigenvalue";
        // A Ritz value below the smallest eigenvalue, by more than rounding, contradicts the promise.
        if !(smallest > 0.0 && smallest.is_finite() && self.min() >= 0.5 * smallest) {
            return Err(Error::Setting { option: "smallest", value: smallest, domain });
        }
        let p = self.basis[0].len();
        check_rows(p, b.nrows())?;
        check_finite(b)?;
        let mut basis = Array2::zeros((self.basis.len(), p));
        for (mut row, v) in basis.rows_mut().into_iter().zip(&self.basis) {
            row.assign(v);
        }
        let along = product(basis.view(), b)?;
        // What is orthogonal to the space, by subtraction: the difference of squares would lose half of the digits.
        let outside = &b - &product(basis.t(), along.view())?;
        let along = product(self.vectors.t(), along.view())?;
        let solved = &along / &self.values.view().insert_axis(Axis(1));
        let values = (&along * &solved).sum_axis(Axis(0));
        // A V = V T + β vₖ₊₁ eₖᵀ: the last direction is orthogonal to V, and not to what is outside.
        let last = (solved * self.bounds.view().insert_axis(Axis(1))).mapv(f64::abs).sum_axis(Axis(0));
        let squares = (&outside * &outside).sum_axis(Axis(0)).mapv(f64::sqrt) + last;
        Ok([values, squares.mapv(|r| r * r / smallest)])
    }
}
