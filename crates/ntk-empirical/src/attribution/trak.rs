//! TRAK: attribution by features of samples, at the cost of one k × k factorization whatever the number of samples.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2};
use ntk_linalg::{Cholesky, Symmetric, product};

use super::{check_ridge, check_shape};
use crate::Error;
use crate::finite::finite;

/// Scores of training samples from their features Φ (n, k), usually those of [`Projection`](super::Projection).
///
/// The features are those of one model; scores of several models, trained apart, are averaged by their user, as are
/// their weights.
#[derive(Clone, Debug)]
pub struct Trak {
    features: Array2<f64>,
    weights: Array1<f64>,
    factor: Cholesky,
}

impl Trak {
    /// Factors Φᵀ Φ + λ I. features: (n, k).
    ///
    /// # Errors
    /// [`Error::Linalg`] for features that are not finite, and if the matrix is not positive definite: λ = 0 takes n ≥ k
    /// independent features; [`Error::Setting`] for a ridge that is negative or not finite.
    pub fn new(features: Array2<f64>, ridge: f64) -> Result<Self, Error> {
        check_ridge(ridge)?;
        let gram = Symmetric::new(product(features.t(), features.view())?)?;
        let factor = Cholesky::new(gram.shifted(ridge)?)?;
        Ok(Trak { weights: Array1::ones(features.nrows()), features, factor })
    }

    /// The diagonal of Q, one weight for each training sample: 1 if not said otherwise. For a classifier, 1 − p of the
    /// right class.
    ///
    /// # Errors
    /// [`Error::MatrixShape`]; [`Error::NonFinite`].
    pub fn with_weights(self, weights: ArrayView1<'_, f64>) -> Result<Self, Error> {
        check_shape("the weights of the training samples", (weights.len(), 1), (self.features.nrows(), 1))?;
        Ok(Trak { weights: finite(weights.to_owned(), "a weight")?, ..self })
    }

    /// τ(x) = φ(x)ᵀ (Φᵀ Φ + λ I)⁻¹ Φᵀ Q. features φ: (m, k) → (m, n).
    ///
    /// With Q = diag(y − f₀) the scores add up to the prediction of ridge regression on the features.
    ///
    /// # Errors
    /// [`Error::MatrixShape`]; [`Error::Linalg`], [`Error::NonFinite`] for features that are not finite.
    ///
    /// Source: \[park2023trak\], for one model.
    pub fn scores(&self, features: ArrayView2<'_, f64>) -> Result<Array2<f64>, Error> {
        check_shape("features", features.dim(), (features.nrows(), self.features.ncols()))?;
        let solved = self.factor.solve(features.t())?;
        finite(product(solved.t(), self.features.t())? * &self.weights, "a score")
    }
}
