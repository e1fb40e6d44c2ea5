//! The way from ndarray to faer and back: slices under another name, no copies for contiguous arrays.

use faer::{Accum, MatMut, MatRef, Par};
use ndarray::{Array2, ArrayView2, CowArray, Ix2, ShapeBuilder as _};

use crate::Error;

/// All threads of the global rayon pool with the feature `rayon`, otherwise the caller's alone.
pub(crate) fn parallelism() -> Par {
    #[cfg(feature = "rayon")]
    let par = Par::rayon(0);
    #[cfg(not(feature = "rayon"))]
    let par = Par::Seq;
    par
}

/// The matrix product A · B on all cores. a: (m, n), b: (n, k) → (m, k).
///
/// Either operand may be transposed or sliced; only a view that is contiguous in neither order is copied. The result
/// has the memory order of a.
///
/// ```
/// use ndarray::array;
/// let a = array![[1.0, 2.0], [3.0, 4.0]];
/// assert_eq!(ntk_linalg::product(a.t(), a.view())?, array![[10.0, 14.0], [14.0, 20.0]]);
/// # Ok::<(), ntk_linalg::Error>(())
/// ```
///
/// # Errors
/// [`Error::Rows`] if b has not as many rows as a has columns.
pub fn product(a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>) -> Result<Array2<f64>, Error> {
    check_rows(a.ncols(), b.nrows())?;
    let (a, b) = (contiguous(a), contiguous(b));
    // By columns where A is: five times faster for a few right-hand sides.
    let mut c = Array2::zeros((a.nrows(), b.ncols()).set_f(!a.is_standard_layout()));
    faer::linalg::matmul::matmul(mat_mut(&mut c), Accum::Replace, mat(&a), mat(&b), 1.0, parallelism());
    Ok(c)
}

pub(crate) fn check_rows(expected: usize, rows: usize) -> Result<(), Error> {
    if rows == expected { Ok(()) } else { Err(Error::Rows { expected, rows }) }
}

pub(crate) fn check_finite(values: ArrayView2<'_, f64>) -> Result<(), Error> {
    // The plain scan runs at the speed of memory; who fails may search again.
    if values.iter().all(|value| value.is_finite()) {
        return Ok(());
    }
    match values.indexed_iter().find(|(_, value)| !value.is_finite()) {
        Some(((row, column), &value)) => Err(Error::NonFinite { row, column, value }),
        None => Ok(()),
    }
}

fn contiguous(a: ArrayView2<'_, f64>) -> CowArray<'_, f64, Ix2> {
    if a.is_standard_layout() || a.t().is_standard_layout() {
        a.into()
    } else {
        a.as_standard_layout().into_owned().into()
    }
}

/// A contiguous array, of either order, as faer sees it.
fn mat<'a>(a: &'a CowArray<'_, f64, Ix2>) -> MatRef<'a, f64> {
    let (rows, columns) = a.dim();
    if let Some(slice) = a.as_slice() {
        return MatRef::from_row_major_slice(slice, rows, columns);
    }
    let by_columns = a.as_slice_memory_order().unwrap_or(&[]);
    MatRef::from_column_major_slice(by_columns, rows, columns)
}

/// A contiguous array, of either order, as faer sees it, to be written.
pub(crate) fn mat_mut(a: &mut Array2<f64>) -> MatMut<'_, f64> {
    let ((rows, columns), by_rows) = (a.dim(), a.is_standard_layout());
    // Arrays made in this crate are contiguous, so that the empty slice never stands in for entries.
    let slice = a.as_slice_memory_order_mut().unwrap_or(&mut []);
    if by_rows {
        MatMut::from_row_major_slice_mut(slice, rows, columns)
    } else {
        MatMut::from_column_major_slice_mut(slice, rows, columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, array, s};

    #[test]
    fn product_takes_any_layout() {
        let wide = Array2::from_shape_fn((4, 6), |(i, j)| (3 * i + 5 * j) as f64);
        let b = array![[1.0, -2.0], [0.5, 4.0]];
        for a in
            [wide.slice(s![..;2, ..;3]), wide.slice(s![..2, ..2]), wide.slice(s![..2, ..2]).reversed_axes()]
        {
            assert_eq!(product(a, b.view()).unwrap(), a.dot(&b));
            assert_eq!(product(a, b.t()).unwrap(), a.dot(&b.t()));
        }
    }

    #[test]
    fn product_of_operands_that_do_not_fit_is_refused() {
        let a = Array2::zeros((2, 3));
        assert_eq!(product(a.view(), a.view()), Err(Error::Rows { expected: 3, rows: 2 }));
    }
}
