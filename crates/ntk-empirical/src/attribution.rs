//! Data attribution: which training samples made a prediction what it is, by the tangent kernel or by its random
//! features.
//!
//! A network in its linear regime, trained to the end on squared loss with weight decay towards its start, predicts
//! f(x) = f₀(x) + Θ(x, X) (Θ + λ I)⁻¹ (y − f₀(X)): [`Attribution`] splits that into shares of samples, and says exactly
//! how it changes without one of them. Where n × n kernels of all pairs cost too much, [`Projection`] gives k numbers a
//! sample whose products are the kernel up to 1/√k, and [`Trak`] attributes by these.

mod projection;
mod trak;

use ndarray::{Array2, Array3, Array4, ArrayView2, s};
use ntk_linalg::{Cholesky, Symmetric};

pub use projection::Projection;
pub use trak::Trak;

use crate::Error;
use crate::finite::finite;
use crate::products::check_targets;

/// Shares and influences of training samples in kernel regression.
///
/// The kernel is (n, n), the same for all outputs, or (n·o, n·o), sample by sample, for full blocks, as
/// [`blocks_as_matrix`] makes it; kernels with other samples have the same form. Factors once, in n³ operations; memory
/// is that of two such matrices.
///
/// ```
/// use ndarray::array;
/// use ntk_empirical::Attribution;
/// let attribution = Attribution::new(array![[2.0, 1.0], [1.0, 2.0]], array![[3.0], [0.0]].view(), 0.0)?;
/// let shares = attribution.representers(array![[1.0, 1.0]].view())?;
/// assert!((shares[[0, 0, 0]] - 2.0).abs() < 1e-14 && (shares[[0, 1, 0]] + 1.0).abs() < 1e-14);
/// # Ok::<(), ntk_empirical::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Attribution {
    /// G = (Θ + λ I)⁻¹, (n·b, n·b), with b = 1 or o.
    inverse: Array2<f64>,
    /// α = G (y − f₀), (n, o).
    alpha: Array2<f64>,
    /// D with D_i = G_ii⁻¹ α_i: (n, o).
    left_out: Array2<f64>,
}

impl Attribution {
    /// Solves α = (Θ + λ I)⁻¹ (y − f₀). theta: (n, n) or (n·o, n·o), residual = y − f₀: (n, o), ridge λ ≥ 0.
    ///
    /// # Errors
    /// [`Error::MatrixShape`] for a kernel of another shape; [`Error::Target`] for a residual, [`Error::Setting`] for a
    /// ridge that is not finite; [`Error::Linalg`] for a kernel that is not symmetric, or not positive definite with the
    /// ridge.
    pub fn new(theta: Array2<f64>, residual: ArrayView2<'_, f64>, ridge: f64) -> Result<Self, Error> {
        check_ridge(ridge)?;
        check_targets(residual, residual.dim())?;
        let (n, o) = residual.dim();
        let size = if theta.nrows() == n { n } else { n * o };
        check_shape("the kernel of the training samples", theta.dim(), (size, size))?;
        let cholesky = Cholesky::new(Symmetric::new(theta)?.shifted(ridge)?)?;
        let inverse = cholesky.solve(Array2::eye(size).view())?;
        let right = as_shape(residual.to_owned(), (size, n * o / size))?;
        let alpha = as_shape(cholesky.solve(right.view())?, (n, o))?;
        let b = size / n;
        let mut left_out = Array2::zeros((n, o));
        for i in 0..n {
            let own = inverse.slice(s![i * b..(i + 1) * b, i * b..(i + 1) * b]).to_owned();
            let right = as_shape(alpha.slice(s![i..=i, ..]).to_owned(), (b, o / b))?;
            let solved = Cholesky::new(Symmetric::new(own)?)?.solve(right.view())?;
            left_out.slice_mut(s![i..=i, ..]).assign(&as_shape(solved, (1, o))?);
        }
        Ok(Attribution { inverse, alpha, left_out })
    }

    /// α, the weights of the samples. (n, o).
    pub fn alpha(&self) -> ArrayView2<'_, f64> {
        self.alpha.view()
    }

    /// Θ(x, x_i) α_i, the share of each training sample in f(x) − f₀(x), which is their sum over i.
    /// cross = Θ(x, X): (m, n) or (m·o, n·o) → (m, n, o).
    ///
    /// # Errors
    /// [`Error::MatrixShape`]; [`Error::NonFinite`].
    ///
    /// Source: \[yeh2018representer\], with the weights of squared loss.
    pub fn representers(&self, cross: ArrayView2<'_, f64>) -> Result<Array3<f64>, Error> {
        self.check_cross(cross)?;
        finite(self.combine(cross, &self.alpha), "a representer value")
    }

    /// f₋ᵢ(x) − f(x): how the prediction changes if training leaves sample i out, exactly, without training again:
    /// −(Θ(x, X) G)_i G_ii⁻¹ α_i. cross = Θ(x, X): (m, n) or (m·o, n·o) → (m, n, o).
    ///
    /// f₀ and λ stay what they are. For x = x_i it gives the residual of leave-one-out cross-validation,
    /// y_i − f₋ᵢ(x_i) = G_ii⁻¹ α_i.
    ///
    /// # Errors
    /// As [`Attribution::representers`].
    ///
    /// Source: \[rasmussen2006gaussian\], equation 5.12, away from the training samples; the influence of
    /// \[koh2017understanding\] without its linearization.
    pub fn leave_one_out(&self, cross: ArrayView2<'_, f64>) -> Result<Array3<f64>, Error> {
        self.check_cross(cross)?;
        let weights = ntk_linalg::product(cross, self.inverse.view())?;
        finite(-self.combine(weights.view(), &self.left_out), "an influence value")
    }

    /// Σ over the outputs of a sample of w v_i, for each sample. w: (m·b, n·b), v: (n, o) → (m, n, o).
    fn combine(&self, w: ArrayView2<'_, f64>, v: &Array2<f64>) -> Array3<f64> {
        let ((n, o), b) = (v.dim(), self.block());
        Array3::from_shape_fn((w.nrows() / b, n, o), |(a, i, c)| {
            if b == 1 {
                return w[[a, i]] * v[[i, c]];
            }
            (0..o).map(|other| w[[a * o + c, i * o + other]] * v[[i, other]]).sum()
        })
    }

    fn block(&self) -> usize {
        self.inverse.nrows() / self.alpha.nrows()
    }

    fn check_cross(&self, cross: ArrayView2<'_, f64>) -> Result<(), Error> {
        let b = self.block();
        let expected = (cross.nrows().next_multiple_of(b), self.inverse.nrows());
        check_shape("the kernel with the training samples", cross.dim(), expected)
    }
}

/// Full blocks as a matrix with the outputs of one sample beside each other. (n₁, n₂, o, o) → (n₁·o, n₂·o).
pub fn blocks_as_matrix(blocks: &Array4<f64>) -> Array2<f64> {
    let (n1, n2, o1, o2) = blocks.dim();
    Array2::from_shape_fn((n1 * o1, n2 * o2), |(i, j)| blocks[[i / o1, j / o2, i % o1, j % o2]])
}

fn as_shape(a: Array2<f64>, shape: (usize, usize)) -> Result<Array2<f64>, Error> {
    let a = if a.is_standard_layout() { a } else { a.as_standard_layout().into_owned() };
    Ok(a.into_shape_with_order(shape).map_err(candle_core::Error::wrap)?)
}

fn check_ridge(ridge: f64) -> Result<(), Error> {
    if ridge.is_finite() && ridge >= 0.0 {
        return Ok(());
    }
    Err(Error::Setting { option: "ridge", value: ridge, domain: "a finite number of at least 0" })
}

fn check_shape(what: &'static str, found: (usize, usize), expected: (usize, usize)) -> Result<(), Error> {
    if found == expected { Ok(()) } else { Err(Error::MatrixShape { what, expected, found }) }
}
