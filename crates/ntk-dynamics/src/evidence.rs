//! The log marginal likelihood of targets under a kernel, with its gradient: how kernels are chosen without held-out data.

use ndarray::{Array2, ArrayView2};
use ntk_linalg::{Cholesky, product};

use crate::layout::{Layout, check};
use crate::posterior::factored;
use crate::{Error, Gram, LeaveOneOut, Ridge};

/// Targets Y with prior covariance A = K + ρI, factored and inverted once: evidence, its gradient, cross-validation.
///
/// n³ operations and two matrices; whatever is asked of it costs O(n²) for each output.
///
/// ```
/// use ndarray::array;
/// use ntk_dynamics::{Evidence, Gram, Ridge};
/// let gram = Gram::new(array![[3.0]])?;
/// let evidence = Evidence::new(&gram, Ridge::Absolute(1.0), array![[2.0]].view())?;
/// // ln N(2; 0, 4)
/// assert!((evidence.log_likelihood() + 0.5 + 0.5 * (4.0 * std::f64::consts::TAU).ln()).abs() < 1e-15);
/// # Ok::<(), ntk_dynamics::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Evidence {
    layout: Layout,
    cholesky: Cholesky,
    /// A⁻¹.
    inverse: Array2<f64>,
    /// A⁻¹ Y, as the kernel sees outputs.
    dual: Array2<f64>,
    /// tr Yᵀ A⁻¹ Y.
    square: f64,
}

impl Evidence {
    /// Factors K + ρI for targets (N, k); outputs are independent unless the kernel tells them apart.
    ///
    /// # Errors
    /// As [`Posterior::new`](crate::Posterior::new).
    pub fn new(gram: &Gram, ridge: Ridge, targets: ArrayView2<'_, f64>) -> Result<Self, Error> {
        let layout = Layout::new(gram.len(), targets.dim())?;
        let targets = layout.flat("targets", targets, layout.samples)?;
        let (cholesky, _) = factored(gram, ridge)?;
        let dual = cholesky.solve(targets.view())?;
        if !dual.iter().all(|v| v.is_finite()) {
            return Err(Error::Overflow);
        }
        let square = (&dual * &targets).sum();
        Ok(Evidence { layout, inverse: cholesky.inverse(), cholesky, dual, square })
    }

    /// ln p(Y) = −½ tr Yᵀ A⁻¹ Y − (k/2) ln det A − (n k/2) ln 2π, summed over the k outputs (for a kernel that tells them
    /// apart, k = 1 and n counts samples and outputs).
    ///
    /// # Source
    /// \[rasmussen2006gaussian\], eq. (2.30).
    pub fn log_likelihood(&self) -> f64 {
        let (n, k) = self.dual.dim();
        let normal = n as f64 * std::f64::consts::TAU.ln();
        -0.5 * (self.square + k as f64 * (self.cholesky.log_determinant() + normal))
    }

    /// ∂ ln p(Y)/∂θ = ½ tr Yᵀ A⁻¹ K′ A⁻¹ Y − (k/2) tr A⁻¹ K′ for `derivative` = K′ = ∂K/∂θ, (n, n), symmetric: of a
    /// weight variance, for instance.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NonFinite`].
    ///
    /// # Source
    /// \[rasmussen2006gaussian\], eq. (5.9).
    pub fn gradient(&self, derivative: ArrayView2<'_, f64>) -> Result<f64, Error> {
        let (n, k) = self.dual.dim();
        check("the derivative of the kernel", derivative, (n, n))?;
        let fit = (&product(derivative, self.dual.view())? * &self.dual).sum();
        let trace = ndarray::Zip::from(&self.inverse).and(derivative).fold(0.0, |sum, a, b| sum + a * b);
        Ok(0.5 * (fit - k as f64 * trace))
    }

    /// ∂ ln p(Y)/∂ρ, the [gradient](Evidence::gradient) for K′ = I.
    pub fn ridge_gradient(&self) -> f64 {
        let k = self.dual.ncols() as f64;
        0.5 * (self.dual.iter().map(|v| v * v).sum::<f64>() - k * self.inverse.diag().sum())
    }

    /// The mean over targets of (f(x) − y)², estimated for new samples from the train set alone by generalized
    /// cross-validation, (|A⁻¹Y|²/n k)/(tr A⁻¹/n)²: the train error over the square of the share of directions left free.
    ///
    /// # Source
    /// \[jacot2020kernel\], eq. (7), who show when it is right.
    pub fn generalized_cross_validation(&self) -> f64 {
        let n = self.inverse.nrows() as f64;
        let square = self.dual.iter().map(|v| v * v).sum::<f64>() / self.dual.len() as f64;
        square / (self.inverse.diag().sum() / n).powi(2)
    }

    /// What all samples but one say of that one, for every sample, without refitting.
    ///
    /// # Errors
    /// [`Error::Linalg`] if outputs told apart are dependent to working precision.
    pub fn leave_one_out(&self) -> Result<LeaveOneOut, Error> {
        LeaveOneOut::new(self.layout, self.inverse.view(), self.dual.view())
    }
}
