//! Cholesky's factorization in single precision, corrected in double: half the memory of the factor.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{LltError, cholesky_in_place, cholesky_in_place_scratch};
use faer::linalg::triangular_solve::{solve_lower_triangular_in_place, solve_upper_triangular_in_place};
use faer::{MatMut, MatRef};
use ndarray::{Array1, Array2, ArrayView2, Axis};

use crate::bridge::{check_rows, parallelism, product};
use crate::{ConjugateGradients, Error, Preconditioner, Solution, Symmetric};

/// A factor in single precision of K + ρI, with which systems are solved to double precision.
///
/// The factor of D⁻¹ᐟ² (K + ρI) D⁻¹ᐟ², of unit diagonal, is taken in f32 with √n ε₃₂ added to the diagonal against its
/// rounding, and preconditions conjugate gradients in f64: a handful of steps at condition numbers up to 1e6, where
/// plain refinement converges too; more beyond, and a typed error where the steps do not suffice.
///
/// n³/3 operations in f32 and 4 n² for each step and right-hand side; n²/2 numbers of f64 beside the matrix, which is
/// borrowed.
///
/// ```
/// use ndarray::array;
/// use ntk_linalg::{ConjugateGradients, MixedCholesky, Symmetric};
/// let k = Symmetric::new(array![[4.0, 2.0], [2.0, 4.0]])?;
/// let mixed = MixedCholesky::new(&k, 1.0)?;
/// let solution = mixed.solve(array![[8.0], [11.0]].view(), ConjugateGradients { tolerance: 1e-14, steps: 20 })?;
/// assert!((solution.x[[0, 0]] - 6.0 / 7.0).abs() < 1e-13);
/// # Ok::<(), ntk_linalg::Error>(())
/// ```
///
/// Source: \[higham2021exploiting\].
#[derive(Clone, Debug)]
pub struct MixedCholesky<'a> {
    matrix: &'a Symmetric,
    ridge: f64,
    factor: SingleFactor,
}

#[derive(Clone, Debug)]
struct SingleFactor {
    /// By rows, the upper triangle holds Lᵀ.
    upper: Array2<f32>,
    /// D⁻¹ᐟ².
    scale: Array1<f64>,
}

impl<'a> MixedCholesky<'a> {
    /// Factors K + ρI in single precision.
    ///
    /// # Errors
    /// [`Error::Setting`] for a ridge that is negative or not finite; [`Error::NotPositiveDefinite`] if the matrix is
    /// not positive definite to single precision: use [`Cholesky`](crate::Cholesky), or a larger ridge.
    pub fn new(matrix: &'a Symmetric, ridge: f64) -> Result<Self, Error> {
        if !(ridge >= 0.0 && ridge.is_finite()) {
            let domain = "a finite number, at least 0";
            return Err(Error::Setting { option: "ridge", value: ridge, domain });
        }
        let (n, entries) = (matrix.len(), matrix.view());
        let diagonal = entries.diag().mapv(|v| v + ridge);
        if let Some((pivot, &value)) =
            diagonal.iter().enumerate().find(|(_, v)| !(**v > 0.0 && v.is_finite()))
        {
            return Err(Error::NotPositiveDefinite { pivot, value });
        }
        let scale = diagonal.mapv(|v| 1.0 / v.sqrt());
        let mut upper = Array2::<f32>::zeros((n, n));
        for ((mut out, row), scaled) in upper.rows_mut().into_iter().zip(entries.rows()).zip(&scale) {
            ndarray::Zip::from(&mut out)
                .and(row)
                .and(&scale)
                .for_each(|out, v, s| *out = (v * scaled * s) as f32);
        }
        upper.diag_mut().fill(1.0 + (n as f32).sqrt() * f32::EPSILON);
        let par = parallelism();
        let mut memory = MemBuffer::new(cholesky_in_place_scratch::<f32>(n, par, Default::default()));
        let outcome = cholesky_in_place(
            MatMut::from_column_major_slice_mut(upper.as_slice_mut().unwrap_or(&mut []), n, n),
            Default::default(),
            par,
            MemStack::new(&mut memory),
            Default::default(),
        );
        if let Err(LltError::NonPositivePivot { index }) = outcome {
            let value = f64::from(upper[[index, index]]) * diagonal[index];
            return Err(Error::NotPositiveDefinite { pivot: index, value });
        }
        Ok(MixedCholesky { matrix, ridge, factor: SingleFactor { upper, scale } })
    }

    /// (K + ρI)⁻¹ B to the tolerance of `method`. b: (n, k) → (n, k).
    ///
    /// # Errors
    /// As [`ConjugateGradients::solve`], among them [`Error::Unsolved`] where the condition number is too high for
    /// single precision; [`Error::Rows`].
    pub fn solve(&self, b: ArrayView2<'_, f64>, method: ConjugateGradients) -> Result<Solution, Error> {
        check_rows(self.matrix.len(), b.nrows())?;
        method.solve(b, &self.factor, |v| Ok(product(self.matrix.view(), v)? + &(self.ridge * &v)))
    }
}

impl Preconditioner for SingleFactor {
    fn precondition(&self, r: ArrayView2<'_, f64>) -> Result<Array2<f64>, Error> {
        let (n, k) = r.dim();
        let scale = self.scale.view().insert_axis(Axis(1));
        let scaled = &r * &scale;
        // Columns of largest entry 1 stay inside the range of f32.
        let largest = scaled.map_axis(Axis(0), |column| column.fold(0.0, |m: f64, v| m.max(v.abs())));
        let unit = largest.mapv(|m| if m > 0.0 { m } else { 1.0 }).insert_axis(Axis(0));
        let mut x = (scaled / &unit).mapv(|v| v as f32).as_standard_layout().into_owned();
        let lower = MatRef::from_column_major_slice(self.upper.as_slice().unwrap_or(&[]), n, n);
        let mut block = MatMut::from_row_major_slice_mut(x.as_slice_mut().unwrap_or(&mut []), n, k);
        solve_lower_triangular_in_place(lower, block.as_mut(), parallelism());
        solve_upper_triangular_in_place(lower.transpose(), block, parallelism());
        Ok(x.mapv(f64::from) * unit * scale)
    }
}
