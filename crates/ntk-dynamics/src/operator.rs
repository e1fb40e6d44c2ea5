//! What an iterative solver asks of a train kernel: products, a few rows, the diagonal; so that it need not be stored.

use std::ops::Range;

use ndarray::{Array1, Array2, ArrayView2, s};
use ntk_linalg::product;

use crate::{Error, Gram};

/// A symmetric positive semidefinite kernel matrix K, (n, n), known by what it does.
#[allow(clippy::len_without_is_empty)] // A kernel matrix has at least one row.
pub trait KernelOperator {
    /// The number of rows n ≥ 1.
    fn len(&self) -> usize;

    /// The diagonal, (n).
    ///
    /// # Errors
    /// Those of the kernel's provider.
    fn diagonal(&self) -> Result<Array1<f64>, Error>;

    /// One row, (n).
    ///
    /// # Errors
    /// Those of the kernel's provider.
    fn row(&self, index: usize) -> Result<Array1<f64>, Error>;

    /// K V. v: (n, j) → (n, j).
    ///
    /// # Errors
    /// Those of the kernel's provider.
    fn product(&self, v: ArrayView2<'_, f64>) -> Result<Array2<f64>, Error>;
}

impl KernelOperator for Gram {
    fn len(&self) -> usize {
        Gram::len(self)
    }

    fn diagonal(&self) -> Result<Array1<f64>, Error> {
        Ok(self.view().diag().to_owned())
    }

    fn row(&self, index: usize) -> Result<Array1<f64>, Error> {
        Ok(self.view().row(index).to_owned())
    }

    fn product(&self, v: ArrayView2<'_, f64>) -> Result<Array2<f64>, Error> {
        Ok(product(self.view(), v)?)
    }
}

/// A kernel matrix that is computed tile by tile, again for every product: K(X, X) from a range of rows at a time.
///
/// Memory: one tile of `height` rows. For kernels that are larger than memory and cheap to compute, or that lie on disk.
///
/// ```
/// use ndarray::{Array1, Array2};
/// use ntk_dynamics::{KernelOperator, RowTiles};
/// let kernel = |i: usize, j: usize| (-(i as f64 - j as f64).abs()).exp();
/// let rows = |rows: std::ops::Range<usize>| {
///     Ok(Array2::from_shape_fn((rows.len(), 5), |(i, j)| kernel(rows.start + i, j)))
/// };
/// let tiles = RowTiles::new(Array1::ones(5), 2, rows)?;
/// assert_eq!(tiles.product(Array2::eye(5).view())?[[4, 3]], kernel(4, 3));
/// # Ok::<(), ntk_dynamics::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RowTiles<F> {
    diagonal: Array1<f64>,
    height: usize,
    rows: F,
}

impl<F: Fn(Range<usize>) -> Result<Array2<f64>, Error>> RowTiles<F> {
    /// The kernel of this diagonal, (n), whose `rows` are asked for `height` at a time.
    ///
    /// # Errors
    /// [`Error::Linalg`] for an empty diagonal; [`Error::Setting`] for a height of 0.
    pub fn new(diagonal: Array1<f64>, height: usize, rows: F) -> Result<Self, Error> {
        if diagonal.is_empty() {
            return Err(ntk_linalg::Error::Empty.into());
        }
        if height == 0 {
            return Err(Error::Setting { option: "height", value: 0.0, domain: "at least 1" });
        }
        Ok(RowTiles { diagonal, height, rows })
    }

    fn tile(&self, rows: Range<usize>) -> Result<Array2<f64>, Error> {
        let (expected, tile) = ((rows.len(), self.diagonal.len()), (self.rows)(rows)?);
        crate::layout::check("a tile of the kernel", tile.view(), expected)?;
        Ok(tile)
    }
}

impl<F: Fn(Range<usize>) -> Result<Array2<f64>, Error>> KernelOperator for RowTiles<F> {
    fn len(&self) -> usize {
        self.diagonal.len()
    }

    fn diagonal(&self) -> Result<Array1<f64>, Error> {
        Ok(self.diagonal.clone())
    }

    fn row(&self, index: usize) -> Result<Array1<f64>, Error> {
        Ok(self.tile(index..index + 1)?.row(0).to_owned())
    }

    fn product(&self, v: ArrayView2<'_, f64>) -> Result<Array2<f64>, Error> {
        let n = self.diagonal.len();
        let mut out = Array2::zeros((n, v.ncols()));
        for start in (0..n).step_by(self.height) {
            let rows = start..n.min(start + self.height);
            let tile = self.tile(rows.clone())?;
            out.slice_mut(s![rows, ..]).assign(&product(tile.view(), v)?);
        }
        Ok(out)
    }
}
