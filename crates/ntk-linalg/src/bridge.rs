//! The way from ndarray to faer and back: slices under another name, no copies for contiguous arrays.

use faer::traits::ComplexField;
use faer::{Accum, MatMut, MatRef, Par};
use ndarray::{
    Array2, ArrayBase, ArrayView2, ArrayViewMut2, CowArray, DataMut, Ix2, LinalgScalar, ShapeBuilder as _,
};

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
    let a = contiguous(a);
    // By columns where A is: five times faster for a few right-hand sides.
    let mut c = Array2::zeros((a.nrows(), b.ncols()).set_f(!a.is_standard_layout()));
    gemm(1.0, a.view(), b, 0.0, c.view_mut(), Threads::All)?;
    Ok(c)
}

/// Numbers that [`gemm`] multiplies: f32 and f64.
pub trait Scalar: LinalgScalar + sealed::Faer {}
impl Scalar for f32 {}
impl Scalar for f64 {}

mod sealed {
    pub trait Faer: faer::traits::ComplexField {}
    impl Faer for f32 {}
    impl Faer for f64 {}
}

/// Which threads take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// The caller's: for small matrices, or where many are multiplied side by side.
    One,
    /// Those of the global rayon pool with the feature `rayon`, otherwise the caller's alone.
    All,
}

/// C ← α A · B + β C in place. a: (m, n), b: (n, k), c: (m, k).
///
/// Operands that are contiguous, by rows or by columns, are read where they are; where β = 0, what C held does not matter.
///
/// ```
/// use ndarray::array;
/// use ntk_linalg::{Threads, gemm};
/// let (a, mut c) = (array![[1f32, 2.0], [3.0, 4.0]], array![[1f32, 0.0], [0.0, 1.0]]);
/// gemm(2.0, a.t(), a.view(), 1.0, c.view_mut(), Threads::One)?;
/// assert_eq!(c, array![[21.0, 28.0], [28.0, 41.0]]);
/// # Ok::<(), ntk_linalg::Error>(())
/// ```
///
/// # Errors
/// [`Error::Rows`] if b has not as many rows as a has columns; [`Error::Product`] if c is not of the shape of A · B.
pub fn gemm<T: Scalar>(
    alpha: T,
    a: ArrayView2<'_, T>,
    b: ArrayView2<'_, T>,
    beta: T,
    mut c: ArrayViewMut2<'_, T>,
    threads: Threads,
) -> Result<(), Error> {
    check_rows(a.ncols(), b.nrows())?;
    let shape = (a.nrows(), b.ncols());
    if c.dim() != shape {
        return Err(Error::Product { expected: shape, found: c.dim() });
    }
    let (a, b) = (contiguous(a), contiguous(b));
    if beta != T::zero() && beta != T::one() {
        c.map_inplace(|c| *c = beta * *c);
    }
    let accum = if beta == T::zero() { Accum::Replace } else { Accum::Add };
    let par = if threads == Threads::One { Par::Seq } else { parallelism() };
    if c.is_standard_layout() || c.t().is_standard_layout() {
        faer::linalg::matmul::matmul(mat_mut(&mut c), accum, mat(&a), mat(&b), alpha, par);
    } else {
        let mut apart = c.as_standard_layout().into_owned();
        faer::linalg::matmul::matmul(mat_mut(&mut apart), accum, mat(&a), mat(&b), alpha, par);
        c.assign(&apart);
    }
    Ok(())
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

fn contiguous<T: Copy>(a: ArrayView2<'_, T>) -> CowArray<'_, T, Ix2> {
    if a.is_standard_layout() || a.t().is_standard_layout() {
        a.into()
    } else {
        a.as_standard_layout().into_owned().into()
    }
}

/// A contiguous array, of either order, as faer sees it.
fn mat<'a, T: ComplexField>(a: &'a CowArray<'_, T, Ix2>) -> MatRef<'a, T> {
    let (rows, columns) = a.dim();
    if let Some(slice) = a.as_slice() {
        return MatRef::from_row_major_slice(slice, rows, columns);
    }
    let by_columns = a.as_slice_memory_order().unwrap_or(&[]);
    MatRef::from_column_major_slice(by_columns, rows, columns)
}

/// A contiguous array, of either order, as faer sees it, to be written.
pub(crate) fn mat_mut<T: ComplexField, S: DataMut<Elem = T>>(a: &mut ArrayBase<S, Ix2>) -> MatMut<'_, T> {
    let ((rows, columns), by_rows) = (a.dim(), a.is_standard_layout());
    // What comes here is contiguous, so that the empty slice never stands in for entries.
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
    fn gemm_writes_into_any_layout() {
        let wide = Array2::from_shape_fn((7, 9), |(i, j)| (3 * i + 5 * j) as f64);
        let (a, b) = (wide.slice(s![..4, ..6]), wide.slice(s![1.., ..3]));
        for beta in [0.0, 1.0, -0.5] {
            let expected = a.dot(&b) * 2.0 + wide.slice(s![..4, 6..]).to_owned() * beta;
            for strided in [false, true] {
                let mut all = wide.clone();
                let mut apart = wide.slice(s![..4, 6..]).reversed_axes().to_owned();
                let c = if strided { all.slice_mut(s![..4, 6..]) } else { apart.view_mut().reversed_axes() };
                gemm(2.0, a, b, beta, c, Threads::One).unwrap();
                let got = if strided { all.slice(s![..4, 6..]) } else { apart.t() };
                assert_eq!(got, expected, "{beta} {strided}");
            }
        }
        let mut c = Array2::from_elem((2, 2), f32::NAN);
        gemm(
            1.0,
            Array2::zeros((2, 0)).view(),
            Array2::zeros((0, 2)).view(),
            0.0,
            c.view_mut(),
            Threads::All,
        )
        .unwrap();
        assert_eq!(c, Array2::zeros((2, 2)));
        let refused = gemm(1.0, a, b, 0.0, Array2::zeros((4, 4)).view_mut(), Threads::One);
        assert_eq!(refused, Err(Error::Product { expected: (4, 3), found: (4, 4) }));
    }

    #[test]
    fn product_of_operands_that_do_not_fit_is_refused() {
        let a = Array2::zeros((2, 3));
        assert_eq!(product(a.view(), a.view()), Err(Error::Rows { expected: 3, rows: 2 }));
    }
}
