//! A symmetric matrix, checked once, so that factorizations need not check again.

use ndarray::{Array2, ArrayView2};

use crate::Error;
use crate::bridge::check_finite;

/// Two entries may differ by this much of the largest entry and still count as one.
const TOLERANCE: f64 = 1e-10;

/// Edge of the square blocks in which the two triangles are compared: two of them fit in L1.
const BLOCK: usize = 32;

/// A real symmetric matrix with finite entries, exactly symmetric.
///
/// ```
/// use ndarray::array;
/// use ntk_linalg::Symmetric;
/// let a = Symmetric::new(array![[2.0, 1.0], [1.0 + 1e-13, 3.0]])?;
/// assert_eq!(a.view()[[0, 1]], a.view()[[1, 0]]);
/// assert!(Symmetric::new(array![[2.0, 1.0], [-1.0, 3.0]]).is_err());
/// # Ok::<(), ntk_linalg::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Symmetric {
    matrix: Array2<f64>,
    largest: f64,
}

impl Symmetric {
    /// Checks the matrix and replaces it by (A + Aᵀ)/2. (n, n), contiguous ones in place.
    ///
    /// # Errors
    /// [`Error::NotSquare`]; [`Error::Empty`]; [`Error::NonFinite`]; [`Error::NotSymmetric`] if |aᵢⱼ − aⱼᵢ|
    /// exceeds 1e-10 of the largest entry.
    pub fn new(matrix: Array2<f64>) -> Result<Self, Error> {
        let (rows, columns) = matrix.dim();
        if rows != columns {
            return Err(Error::NotSquare { rows, columns });
        }
        if rows == 0 {
            return Err(Error::Empty);
        }
        let mut matrix =
            if matrix.is_standard_layout() { matrix } else { matrix.as_standard_layout().into_owned() };
        check_finite(matrix.view())?;
        let largest = matrix.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
        for top in (0..rows).step_by(BLOCK) {
            for left in (0..=top).step_by(BLOCK) {
                for i in top..rows.min(top + BLOCK) {
                    for j in left..i.min(left + BLOCK) {
                        let (a, b) = (matrix[[i, j]], matrix[[j, i]]);
                        // Halves first: the difference of two huge entries must not overflow.
                        if (a / 2.0 - b / 2.0).abs() > TOLERANCE * largest / 2.0 {
                            let difference = (a - b).abs();
                            return Err(Error::NotSymmetric { row: i, column: j, difference, largest });
                        }
                        let mean = a / 2.0 + b / 2.0;
                        (matrix[[i, j]], matrix[[j, i]]) = (mean, mean);
                    }
                }
            }
        }
        Ok(Symmetric { matrix, largest })
    }

    /// A + shift · I.
    ///
    /// # Errors
    /// [`Error::NonFinite`] if a sum on the diagonal is not finite.
    pub fn shifted(&self, shift: f64) -> Result<Self, Error> {
        let mut shifted = self.clone();
        for (i, value) in shifted.matrix.diag_mut().iter_mut().enumerate() {
            *value += shift;
            if !value.is_finite() {
                return Err(Error::NonFinite { row: i, column: i, value: *value });
            }
            shifted.largest = shifted.largest.max(value.abs());
        }
        Ok(shifted)
    }

    /// The matrix, (n, n).
    pub fn view(&self) -> ArrayView2<'_, f64> {
        self.matrix.view()
    }

    /// The matrix by value, (n, n), in row-major order.
    pub fn into_array(self) -> Array2<f64> {
        self.matrix
    }

    /// The number of rows n ≥ 1.
    #[allow(clippy::len_without_is_empty)] // A symmetric matrix has at least one row.
    pub fn len(&self) -> usize {
        self.matrix.nrows()
    }

    /// The trace Σᵢ aᵢᵢ.
    pub fn trace(&self) -> f64 {
        self.matrix.diag().sum()
    }

    /// An upper bound of the modulus of every entry, attained unless the diagonal was shifted.
    pub(crate) fn largest(&self) -> f64 {
        self.largest
    }
}

impl TryFrom<Array2<f64>> for Symmetric {
    type Error = Error;
    fn try_from(matrix: Array2<f64>) -> Result<Self, Error> {
        Self::new(matrix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn each_fault_has_its_error() {
        assert_eq!(Symmetric::new(Array2::zeros((2, 3))), Err(Error::NotSquare { rows: 2, columns: 3 }));
        assert_eq!(Symmetric::new(Array2::zeros((0, 0))), Err(Error::Empty));
        let mut a = Array2::<f64>::eye(3);
        a[[2, 1]] = f64::INFINITY;
        assert_eq!(
            Symmetric::new(a.clone()),
            Err(Error::NonFinite { row: 2, column: 1, value: f64::INFINITY })
        );
        a[[2, 1]] = 0.5;
        assert_eq!(
            Symmetric::new(a),
            Err(Error::NotSymmetric { row: 2, column: 1, difference: 0.5, largest: 1.0 })
        );
    }

    #[test]
    fn rounding_is_symmetrized_in_every_block() {
        let n = 2 * BLOCK + 5;
        let a = Array2::from_shape_fn((n, n), |(i, j)| {
            1.0 / (1 + i + j) as f64 + 1e-12 * (i as f64 - j as f64) / n as f64
        });
        let s = Symmetric::new(a).unwrap();
        assert_eq!(s.view(), s.view().t());
        assert!((s.view()[[n - 1, 0]] - 1.0 / n as f64).abs() < 1e-16);
    }

    #[test]
    fn shift_moves_the_diagonal_alone() {
        let a = Symmetric::new(array![[2.0, 1.0], [1.0, 3.0]]).unwrap();
        assert_eq!(a.shifted(0.5).unwrap().into_array(), array![[2.5, 1.0], [1.0, 3.5]]);
        assert_eq!(a.trace(), 5.0);
        assert!(matches!(a.shifted(f64::NAN), Err(Error::NonFinite { row: 0, column: 0, .. })));
    }
}
