//! What a train kernel has learned: its alignment with labels, and what regression with it, frozen, predicts.
//!
//! The measures that compare matrices come from `ntk-linalg` and take a [`Gram`] by `gram.as_ref()`.

use ndarray::{Array1, ArrayView2, Zip};
use ntk_linalg::Symmetric;

use crate::layout::{Layout, check};
use crate::{Error, Gram, Posterior, Ridge, Spectrum};

impl AsRef<Symmetric> for Gram {
    fn as_ref(&self) -> &Symmetric {
        self.symmetric()
    }
}

impl Spectrum {
    /// The share of the targets in the span of the leading eigenvectors, Σ_{i ≤ j} |uᵢᵀY|²/‖Y‖². y: (N, k) → n shares.
    ///
    /// Entry j − 1 belongs to the j eigenvectors of largest eigenvalues; the last is 1. Large shares at small j are
    /// what makes training fast: a mode of eigenvalue λ is learned in a time of 1/λ.
    ///
    /// # Errors
    /// [`Error::Targets`], [`Error::NonFinite`]; [`Error::Linalg`] for targets that are all zero.
    pub fn target_shares(&self, y: ArrayView2<'_, f64>) -> Result<Array1<f64>, Error> {
        let layout = Layout::new(self.len(), y.dim())?;
        let y = layout.flat("targets", y, layout.samples)?;
        Ok(ntk_linalg::target_shares(self.eigen(), y.view())?)
    }
}

/// The test error of kernel regression, the mean over samples and outputs of ½ (K(x, X)(K + ρI)⁻¹Y − y)².
///
/// With the tangent kernel of a trained network, frozen at the end of training, this is after-kernel regression: beside
/// the error with the initial kernel it says how much of what the network learned is in its kernel.
///
/// # Shapes
/// `train`: K(X, X), (N, N); `test_train`: K(x, X), (M, N); `targets`: (N, k); `test_targets`: (M, k). All of N·k and
/// M·k rows if the kernel tells outputs apart.
///
/// ```
/// use ndarray::array;
/// use ntk_dynamics::{Gram, Ridge, regression_error};
/// let train = Gram::new(array![[2.0, 0.0], [0.0, 1.0]])?;
/// let (y, test) = (array![[2.0], [1.0]], array![[1.0]]);
/// let error = regression_error(&train, array![[1.0, 1.0]].view(), y.view(), test.view(), Ridge::None)?;
/// assert!((error - 0.5).abs() < 1e-15); // The prediction is 2.
/// # Ok::<(), ntk_dynamics::Error>(())
/// ```
///
/// # Errors
/// Those of [`Posterior::new`] and [`Posterior::mean`]; [`Error::Shape`], [`Error::NonFinite`] for test targets.
///
/// # Source
/// \[fort2020deep\], where the kernel is frozen at any time of training.
pub fn regression_error(
    train: &Gram,
    test_train: ArrayView2<'_, f64>,
    targets: ArrayView2<'_, f64>,
    test_targets: ArrayView2<'_, f64>,
    ridge: Ridge,
) -> Result<f64, Error> {
    let mean = Posterior::new(train, ridge, targets)?.mean(test_train)?;
    check("test targets", test_targets, mean.dim())?;
    let square = Zip::from(&mean).and(test_targets).fold(0.0, |sum, f, y| sum + (f - y).powi(2));
    Ok(0.5 * square / mean.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, array};

    #[test]
    fn shares_of_targets_by_hand() {
        let gram = Gram::new(array![[1.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 0.0, 4.0]]).unwrap();
        let spectrum = Spectrum::new(&gram, Ridge::None).unwrap();
        let shares = spectrum.target_shares(array![[1.0], [2.0], [2.0]].view()).unwrap();
        assert!((shares - array![4.0 / 9.0, 8.0 / 9.0, 1.0]).iter().all(|d| d.abs() < 1e-15));
        // Three rows that tell outputs apart are one sample of three outputs.
        let shares = spectrum.target_shares(array![[0.0, 3.0, 4.0]].view()).unwrap();
        assert!((shares - array![0.36, 1.0, 1.0]).iter().all(|d| d.abs() < 1e-15));
        let zeros = Array2::zeros((3, 1));
        assert!(matches!(spectrum.target_shares(zeros.view()), Err(Error::Linalg(_))));
        assert!(matches!(spectrum.target_shares(array![[1.0]].view()), Err(Error::Targets { .. })));
    }

    #[test]
    fn a_kernel_aligned_with_the_labels_predicts_them() {
        // k(x, x′) = y(x) y(x′) + ε δ: regression recovers the sign of y at a test point with |y| = 1.
        let y = array![[1.0], [-1.0], [1.0]];
        let aligned = Gram::new(y.dot(&y.t()) + 1e-9 * Array2::<f64>::eye(3)).unwrap();
        let indifferent = Gram::new(Array2::eye(3)).unwrap();
        let test = array![[-1.0]];
        let error = |gram: &Gram, row: Array2<f64>| {
            regression_error(gram, row.view(), y.view(), test.view(), Ridge::None).unwrap()
        };
        assert!(error(&aligned, -&y.t().to_owned()) < 1e-15);
        assert!((error(&indifferent, Array2::zeros((1, 3))) - 0.5).abs() < 1e-15);
        assert!((ntk_linalg::target_alignment(aligned.as_ref(), y.view()).unwrap() - 1.0).abs() < 1e-8);
        let wide = array![[1.0, 1.0]];
        let result = regression_error(&indifferent, y.t(), y.view(), wide.view(), Ridge::None);
        assert!(matches!(result, Err(Error::Shape { what: "test targets", .. })));
    }
}
