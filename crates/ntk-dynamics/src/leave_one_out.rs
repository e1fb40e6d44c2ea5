//! Leave-one-out predictions in closed form: honest predictions for the train set itself.

use ndarray::{Array2, ArrayView2, s};
use ntk_linalg::{Cholesky, Symmetric};

use crate::layout::Layout;
use crate::{Calibration, Error};

/// For every sample i the prediction of its targets from the others, with the same kernel and ridge.
///
/// With A = K + ρI and α = A⁻¹Y: y − μ₋ᵢ = αᵢ/[A⁻¹]ᵢᵢ and σ²₋ᵢ = 1/[A⁻¹]ᵢᵢ. Where the kernel tells outputs apart, a sample is
/// left out with all of its outputs, and [A⁻¹]ᵢᵢ is a block. Made by [`Evidence::leave_one_out`](crate::Evidence::leave_one_out).
///
/// # Source
/// \[rasmussen2006gaussian\], eqs. (5.10)–(5.12).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LeaveOneOut {
    /// y − μ₋ᵢ, (N, k).
    pub residuals: Array2<f64>,
    /// Variances of the targets, noise included, (N, k).
    pub variances: Array2<f64>,
    /// Σᵢ ln p(yᵢ | Y₋ᵢ), the log predictive likelihood summed over samples and outputs.
    pub log_likelihood: f64,
}

impl LeaveOneOut {
    pub(crate) fn new(
        layout: Layout,
        inverse: ArrayView2<'_, f64>,
        dual: ArrayView2<'_, f64>,
    ) -> Result<Self, Error> {
        let (rows, (n, k)) = (layout.rows_each(), dual.dim());
        let (mut residuals, mut variances) = (Array2::zeros((n, k)), Array2::zeros((n, k)));
        let mut log_likelihood = -0.5 * (n * k) as f64 * std::f64::consts::TAU.ln();
        for start in (0..n).step_by(rows) {
            let of = start..start + rows;
            let block = Cholesky::new(Symmetric::new(inverse.slice(s![of.clone(), of.clone()]).to_owned())?)?;
            let alpha = dual.slice(s![of.clone(), ..]);
            let residual = block.solve(alpha)?;
            let variance = block.inverse().into_diag();
            log_likelihood += 0.5 * (k as f64 * block.log_determinant() - (&residual * &alpha).sum());
            residuals.slice_mut(s![of.clone(), ..]).assign(&residual);
            let mut out = variances.slice_mut(s![of, ..]);
            out.assign(&variance.insert_axis(ndarray::Axis(1)));
        }
        let (residuals, variances) = (layout.outputs(residuals)?, layout.outputs(variances)?);
        Ok(LeaveOneOut { residuals, variances, log_likelihood })
    }

    /// Whether these predictions cover their targets as often as they say.
    ///
    /// # Errors
    /// Those of [`Calibration::new`].
    pub fn calibration(&self) -> Result<Calibration, Error> {
        Calibration::new(self.residuals.view(), self.variances.view())
    }
}
