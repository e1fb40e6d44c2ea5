//! The Gram matrix of the train set: checked once, so that no solver checks again.

use ndarray::{Array2, ArrayView2};
use ntk_linalg::Symmetric;

use crate::Error;

/// A symmetric kernel matrix between train samples, n × n with n ≥ 1, every entry finite.
///
/// Positive semidefiniteness costs an eigensystem and is reported by [`Spectrum::new`](crate::Spectrum::new).
///
/// ```
/// use ndarray::array;
/// use ntk_dynamics::Gram;
/// let gram = Gram::new(array![[2.0, 0.5], [0.5, 1.0]])?;
/// assert_eq!(gram.len(), 2);
/// assert!(Gram::new(array![[2.0, 0.5], [0.4, 1.0]]).is_err());
/// # Ok::<(), ntk_dynamics::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Gram(Symmetric);

impl Gram {
    /// Checks the matrix and replaces it by (Θ + Θᵀ)/2. (n, n), contiguous ones in place.
    ///
    /// # Errors
    /// [`Error::Linalg`] for a matrix that is empty, not square, not finite, or whose triangles differ by more than
    /// 1e-10 of the largest entry.
    pub fn new(matrix: Array2<f64>) -> Result<Self, Error> {
        Ok(Gram(Symmetric::new(matrix)?))
    }

    /// The matrix, (n, n).
    pub fn view(&self) -> ArrayView2<'_, f64> {
        self.0.view()
    }

    /// The number of rows n ≥ 1: N samples, or N·k if outputs are told apart.
    #[allow(clippy::len_without_is_empty)] // A Gram matrix has at least one row.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn symmetric(&self) -> &Symmetric {
        &self.0
    }
}

impl TryFrom<Array2<f64>> for Gram {
    type Error = Error;
    fn try_from(matrix: Array2<f64>) -> Result<Self, Error> {
        Self::new(matrix)
    }
}
