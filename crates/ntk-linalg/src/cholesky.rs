//! Cholesky's factorization A = L Lᵀ: the fastest way to solve with a positive definite kernel matrix.

use std::cmp::Ordering;

use faer::MatRef;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{LltError, cholesky_in_place, cholesky_in_place_scratch};
use faer::linalg::cholesky::llt::inverse::{inverse as inverse_lower, inverse_scratch};
use faer::linalg::triangular_solve::{solve_lower_triangular_in_place, solve_upper_triangular_in_place};
use ndarray::{Array2, ArrayView2};

use crate::bridge::{check_finite, check_rows, mat_mut, parallelism};
use crate::{Error, Symmetric};

/// The factor L of a positive definite matrix A = L Lᵀ: factor once, solve many times.
///
/// n³/3 operations. The factor overwrites the matrix that was handed over: peak memory is that one matrix
/// (1.01 n² numbers).
///
/// ```
/// use ndarray::array;
/// use ntk_linalg::{Cholesky, Symmetric};
/// let a = Symmetric::new(array![[4.0, 2.0], [2.0, 5.0]])?;
/// let cholesky = Cholesky::new(a)?;
/// assert_eq!(cholesky.solve(array![[8.0], [12.0]].view())?, array![[1.0], [2.0]]);
/// assert!((cholesky.log_determinant() - 16.0_f64.ln()).abs() < 1e-15);
/// # Ok::<(), ntk_linalg::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Cholesky {
    /// By rows, the upper triangle holds Lᵀ; what stands below the diagonal has no meaning.
    factor: Array2<f64>,
}

impl Cholesky {
    /// Factors the matrix in place.
    ///
    /// # Errors
    /// [`Error::NotPositiveDefinite`] if a pivot (a squared diagonal entry of L) is at most n ε maxᵢ aᵢᵢ: the
    /// matrix is then indefinite or singular to working precision, and solutions would be noise.
    pub fn new(matrix: Symmetric) -> Result<Self, Error> {
        let n = matrix.len();
        let mut factor = matrix.into_array();
        let cutoff = n as f64 * f64::EPSILON * factor.diag().iter().fold(0.0_f64, |a, &b| a.max(b));
        let par = parallelism();
        let mut memory = MemBuffer::new(cholesky_in_place_scratch::<f64>(n, par, Default::default()));
        let outcome = cholesky_in_place(
            // By columns, that is transposed: faer's lower triangle is the upper one of the array.
            mat_mut(&mut factor).transpose_mut(),
            Default::default(),
            par,
            MemStack::new(&mut memory),
            Default::default(),
        );
        if let Err(LltError::NonPositivePivot { index }) = outcome {
            // faer leaves the pivot, reduced by the columns before it, where it found it.
            return Err(Error::NotPositiveDefinite { pivot: index, value: factor[[index, index]] });
        }
        let pivots = factor.diag();
        // Not `<=`: a pivot that overflowed to NaN is refused too.
        let positive = |root: &f64| (root * root).partial_cmp(&cutoff) == Some(Ordering::Greater);
        match pivots.iter().position(|root| !positive(root)) {
            Some(pivot) => Err(Error::NotPositiveDefinite { pivot, value: pivots[pivot] * pivots[pivot] }),
            None => Ok(Cholesky { factor }),
        }
    }

    /// A⁻¹ B. b: (n, k) → (n, k).
    ///
    /// # Errors
    /// [`Error::Rows`]; [`Error::NonFinite`] for a right-hand side that is not finite.
    pub fn solve(&self, b: ArrayView2<'_, f64>) -> Result<Array2<f64>, Error> {
        let mut x = self.solve_lower(b)?;
        solve_upper_triangular_in_place(self.lower().transpose(), mat_mut(&mut x), parallelism());
        Ok(x)
    }

    /// L⁻¹ B: its squared column norms are the quadratic forms bᵀ A⁻¹ b. b: (n, k) → (n, k).
    ///
    /// # Errors
    /// As [`Cholesky::solve`].
    pub fn solve_lower(&self, b: ArrayView2<'_, f64>) -> Result<Array2<f64>, Error> {
        check_rows(self.len(), b.nrows())?;
        check_finite(b)?;
        let mut x = b.as_standard_layout().into_owned();
        solve_lower_triangular_in_place(self.lower(), mat_mut(&mut x), parallelism());
        Ok(x)
    }

    /// A⁻¹, (n, n), exactly symmetric, where all of it is needed: 2 n³/3 operations and 2 n² numbers, half of which stay.
    pub fn inverse(&self) -> Array2<f64> {
        let n = self.len();
        let mut inverse = Array2::zeros((n, n));
        let mut memory = MemBuffer::new(inverse_scratch::<f64>(n, parallelism()));
        // By columns: what faer writes into its lower triangle is the upper one of the array.
        let out = mat_mut(&mut inverse).transpose_mut();
        inverse_lower(out, self.lower(), parallelism(), MemStack::new(&mut memory));
        for i in 0..n {
            for j in 0..i {
                inverse[[i, j]] = inverse[[j, i]];
            }
        }
        inverse
    }

    /// ln det A = 2 Σᵢ ln Lᵢᵢ.
    pub fn log_determinant(&self) -> f64 {
        2.0 * self.factor.diag().iter().map(|root| root.ln()).sum::<f64>()
    }

    /// The number of rows n ≥ 1.
    #[allow(clippy::len_without_is_empty)] // A symmetric matrix has at least one row.
    pub fn len(&self) -> usize {
        self.factor.nrows()
    }

    fn lower(&self) -> MatRef<'_, f64> {
        let n = self.len();
        MatRef::from_column_major_slice(self.factor.as_slice().unwrap_or(&[]), n, n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn indefinite(n: usize, at: usize, value: f64) -> Symmetric {
        // L Lᵀ with a unit lower triangular L, the pivot `at` replaced: pivots are 1 but for that one.
        let lower = Array2::from_shape_fn((n, n), |(i, j)| match i.cmp(&j) {
            Ordering::Less => 0.0,
            Ordering::Equal => 1.0,
            Ordering::Greater => ((i * 7 + j * 3) % 5) as f64 / 8.0 - 0.25,
        });
        let mut a = lower.dot(&lower.t());
        a[[at, at]] += value - 1.0;
        Symmetric::new(a).unwrap()
    }

    #[test]
    fn failing_pivot_is_named_with_its_value() {
        for (n, at) in
            [(1, 0), (2, 1), (7, 3), (40, 39), (40, 5), (65, 64), (150, 70), (300, 290), (700, 513)]
        {
            match Cholesky::new(indefinite(n, at, -0.5)) {
                Err(Error::NotPositiveDefinite { pivot, value }) => {
                    assert_eq!((n, pivot), (n, at));
                    assert!((value + 0.5).abs() < 1e-10, "n = {n}: {value}");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn equal_rows_are_refused_even_if_rounding_leaves_a_positive_pivot() {
        let a = Symmetric::new(array![[0.1, 0.1, 0.3], [0.1, 0.1 + 1e-17, 0.3], [0.3, 0.3, 5.0]]).unwrap();
        assert!(matches!(Cholesky::new(a), Err(Error::NotPositiveDefinite { pivot: 1, .. })));
    }

    #[test]
    fn message_names_the_remedy() {
        assert_eq!(
            Cholesky::new(Symmetric::new(array![[1.0, 2.0], [2.0, 3.0]]).unwrap()).unwrap_err().to_string(),
            "the matrix is not positive definite to working precision: pivot 1 is -1e0; add a ridge to the diagonal, or use the eigensystem"
        );
        let cholesky = Cholesky::new(Symmetric::new(Array2::eye(2)).unwrap()).unwrap();
        let error = cholesky.solve(Array2::zeros((3, 1)).view()).unwrap_err();
        assert_eq!(error.to_string(), "the right operand needs 2 rows, not 3");
    }

    #[test]
    fn right_hand_sides_are_checked() {
        let cholesky = Cholesky::new(Symmetric::new(Array2::eye(2)).unwrap()).unwrap();
        assert_eq!(cholesky.solve(Array2::zeros((3, 1)).view()), Err(Error::Rows { expected: 2, rows: 3 }));
        assert!(matches!(
            cholesky.solve_lower(array![[0.0, f64::NAN], [0.0, 0.0]].view()),
            Err(Error::NonFinite { row: 0, column: 1, .. })
        ));
    }
}
