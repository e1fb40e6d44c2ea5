//! The eigensystem A = U Λ Uᵀ of a symmetric matrix: what training dynamics are diagonal in.

use faer::diag::DiagMut;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::{MatMut, MatRef};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, ShapeBuilder as _};

use crate::bridge::{mat_mut, parallelism};
use crate::{Error, Symmetric};

/// Eigenvalues λ₁ ≤ … ≤ λₙ with orthonormal eigenvectors, A = U Λ Uᵀ.
///
/// About 9 n³ operations by divide and conquer. Peak memory: 3.7 n² numbers beside the matrix, of which n² (the
/// vectors) stay: 0.5 GB for n = 4000.
///
/// ```
/// use ndarray::array;
/// use ntk_linalg::{Symmetric, SymmetricEigen};
/// let eigen = SymmetricEigen::new(&Symmetric::new(array![[2.0, 1.0], [1.0, 2.0]])?)?;
/// assert!((eigen.values()[0] - 1.0).abs() < 1e-15 && (eigen.values()[1] - 3.0).abs() < 1e-15);
/// assert_eq!(eigen.rank(), 2);
/// # Ok::<(), ntk_linalg::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SymmetricEigen {
    values: Array1<f64>,
    vectors: Array2<f64>,
}

impl SymmetricEigen {
    /// Computes all eigenvalues and eigenvectors.
    ///
    /// # Errors
    /// [`Error::NoConvergence`], for extreme entries.
    pub fn new(matrix: &Symmetric) -> Result<Self, Error> {
        let n = matrix.len();
        let mut vectors = Array2::zeros((n, n).f());
        let values = decompose(matrix, Some(mat_mut(&mut vectors)))?;
        Ok(SymmetricEigen { values, vectors })
    }

    /// The eigenvalues, ascending.
    pub fn values(&self) -> ArrayView1<'_, f64> {
        self.values.view()
    }

    /// The eigenvectors U, (n, n): column j belongs to `values()[j]`.
    pub fn vectors(&self) -> ArrayView2<'_, f64> {
        self.vectors.view()
    }

    /// The number of eigenvalues that differ from zero by more than rounding: |λ| > n ε max |λ|.
    pub fn rank(&self) -> usize {
        let cutoff = self.values.len() as f64 * f64::EPSILON * self.largest_modulus();
        self.values.iter().filter(|value| value.abs() > cutoff).count()
    }

    /// The condition number max |λ| / min |λ|, infinite for a matrix without full [rank](Self::rank).
    pub fn condition(&self) -> f64 {
        if self.rank() < self.values.len() {
            return f64::INFINITY;
        }
        self.largest_modulus() / self.values.iter().fold(f64::INFINITY, |a, b| a.min(b.abs()))
    }

    fn largest_modulus(&self) -> f64 {
        self.values.iter().fold(0.0_f64, |a, b| a.max(b.abs()))
    }
}

/// The eigenvalues λ₁ ≤ … ≤ λₙ alone: n² numbers beside the matrix and no work for vectors; the reduction to
/// tridiagonal form, a good part of the time of [`SymmetricEigen::new`], remains.
///
/// # Errors
/// [`Error::NoConvergence`], for extreme entries.
pub fn eigenvalues(matrix: &Symmetric) -> Result<Array1<f64>, Error> {
    decompose(matrix, None)
}

fn decompose(matrix: &Symmetric, vectors: Option<MatMut<'_, f64>>) -> Result<Array1<f64>, Error> {
    let (n, par) = (matrix.len(), parallelism());
    let wanted = if vectors.is_some() { ComputeEigenvectors::Yes } else { ComputeEigenvectors::No };
    let mut memory = MemBuffer::new(self_adjoint_evd_scratch::<f64>(n, wanted, par, Default::default()));
    let mut values = vec![0.0; n];
    let entries = matrix.view();
    self_adjoint_evd(
        MatRef::from_column_major_slice(entries.as_slice().unwrap_or(&[]), n, n),
        DiagMut::from_slice_mut(&mut values),
        vectors,
        par,
        MemStack::new(&mut memory),
        Default::default(),
    )
    .ok()
    .filter(|()| values.iter().all(|value| value.is_finite()))
    .ok_or(Error::NoConvergence { largest: matrix.largest() })?;
    Ok(Array1::from(values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn one_by_one() {
        let eigen = SymmetricEigen::new(&Symmetric::new(array![[-3.0]]).unwrap()).unwrap();
        assert_eq!((eigen.values()[0], eigen.vectors()[[0, 0]].abs()), (-3.0, 1.0));
        assert_eq!((eigen.rank(), eigen.condition()), (1, 1.0));
    }

    #[test]
    fn extreme_entries_are_solved_or_refused() {
        for scale in [1e-320, 1e-300, 1e-150, 1e150, 1e300, f64::MAX] {
            let a = Symmetric::new(array![
                [scale, 0.0, scale / 2.0],
                [0.0, scale, 0.0],
                [scale / 2.0, 0.0, scale]
            ]);
            match SymmetricEigen::new(&a.unwrap()) {
                Ok(eigen) => assert!((eigen.values()[2] / scale - 1.5).abs() < 1e-3, "{scale}: {eigen:?}"),
                Err(error) => assert_eq!(error, Error::NoConvergence { largest: scale }),
            }
        }
    }

    #[test]
    fn rank_and_condition() {
        let singular = Symmetric::new(Array2::ones((5, 5))).unwrap();
        let eigen = SymmetricEigen::new(&singular).unwrap();
        assert_eq!((eigen.rank(), eigen.condition()), (1, f64::INFINITY));
        let zero = SymmetricEigen::new(&Symmetric::new(Array2::zeros((4, 4))).unwrap()).unwrap();
        assert_eq!((zero.rank(), zero.condition()), (0, f64::INFINITY));
        let diagonal =
            SymmetricEigen::new(&Symmetric::new(array![[4.0, 0.0], [0.0, -0.5]]).unwrap()).unwrap();
        assert_eq!((diagonal.rank(), diagonal.condition()), (2, 8.0));
    }
}
