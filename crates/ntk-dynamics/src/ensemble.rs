//! The Gaussian process that an ensemble of trained networks of infinite width is, at any time of training.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use ntk_core::KernelBlock;
use ntk_linalg::product;

use crate::layout::{Layout, check, check_vector};
use crate::training::Modes;
use crate::{Error, Gaussian, Gram, Law, Training};

/// Mean and covariance over random initializations of the outputs after training; each output alike.
///
/// Trained whole ([`Ensemble::ntk`]), with C_t = Θ(x, X) Θ⁻¹ (I − R_t) and R_t = e^{−ηΘt} for gradient flow:
///
/// * mean: C_t Y;
/// * covariance: K(x, x′) + C_t K C_tᵀ − C_t K(X, x′) − (C_t K(X, x))ᵀ, which is R_t K R_t on the train set.
///
/// Trained in the readout alone ([`Ensemble::nngp`]), Θ is K, and the limit is the exact posterior of the Gaussian
/// process. A ridge belongs to the trained kernel: Θ + ρI for [`Ensemble::ntk`], where K remains as it is; K + ρI for
/// [`Ensemble::nngp`], whose covariance on the train set starts at K + ρI. Either way the train mean tends to the
/// targets and the train covariance to zero, except on zero modes.
///
/// # Source
/// \[lee2019wide\], eqs. (14) and (15).
///
/// ```
/// use ndarray::array;
/// use ntk_dynamics::{Ensemble, GradientFlow, Gram, LearningRate, LossScale, Ridge, Spectrum, Time};
/// let theta = Spectrum::new(&Gram::new(array![[3.0, 1.0], [1.0, 3.0]])?, Ridge::None)?;
/// let flow = GradientFlow::new(&theta, LearningRate::new(1.0)?, LossScale::MeanNK);
/// let nngp = Gram::new(array![[1.0, 0.5], [0.5, 1.0]])?;
/// let ensemble = Ensemble::ntk(&flow, &nngp, array![[1.0], [-1.0]].view())?;
/// assert!((ensemble.variance(Time::Finite(0.0))?[0] - 1.0).abs() < 1e-14);
/// assert!(ensemble.variance(Time::Infinite)?[0] < 1e-14);
/// # Ok::<(), ntk_dynamics::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Ensemble<L> {
    training: Training<L>,
    layout: Layout,
    /// UᵀY.
    targets: Array2<f64>,
    /// UᵀKU, if K is not the trained kernel itself.
    nngp: Option<Array2<f64>>,
}

impl<L: Law> Ensemble<L> {
    /// All layers trained: `training` in the spectrum of the NTK. `nngp`: K(X, X), (n, n); `targets`: (N, k).
    ///
    /// # Errors
    /// [`Error::Targets`], [`Error::Shape`], [`Error::NonFinite`].
    pub fn ntk(training: &Training<L>, nngp: &Gram, targets: ArrayView2<'_, f64>) -> Result<Self, Error> {
        let mut ensemble = Self::nngp(training, targets)?;
        let n = training.spectrum.len();
        check("the NNGP train kernel", nngp.view(), (n, n))?;
        let half = training.spectrum.to_modes(nngp.view())?;
        ensemble.nngp = Some(product(half.view(), training.spectrum.eigenvectors())?);
        Ok(ensemble)
    }

    /// The readout alone trained: `training` in the spectrum of the NNGP. `targets`: (N, k).
    ///
    /// # Errors
    /// [`Error::Targets`], [`Error::Shape`], [`Error::NonFinite`].
    pub fn nngp(training: &Training<L>, targets: ArrayView2<'_, f64>) -> Result<Self, Error> {
        let layout = Layout::new(training.spectrum.len(), targets.dim())?;
        let targets = layout.flat("targets", targets, layout.samples)?;
        let targets = training.spectrum.to_modes(targets.view())?;
        Ok(Ensemble { training: training.clone(), layout, targets, nngp: None })
    }

    /// Mean of the train outputs, (N, k), in O(n² k).
    ///
    /// # Errors
    /// Those of [`Law::check`]; [`Error::Overflow`].
    pub fn mean(&self, at: L::At) -> Result<Array2<f64>, Error> {
        let modes = self.training.modes(self.layout, at)?;
        let learned = scale_rows(&self.targets, &modes.progress);
        self.layout.outputs(self.training.spectrum.to_samples(learned.view())?)
    }

    /// Covariance of the train outputs, (n, n), the same for every output, in O(n³).
    ///
    /// # Errors
    /// Those of [`Law::check`]; [`Error::Overflow`].
    pub fn covariance(&self, at: L::At) -> Result<Array2<f64>, Error> {
        let half = self.half_covariance(at)?;
        finite(symmetrized(product(half.view(), self.training.spectrum.eigenvectors().t())?))
    }

    /// Variances of the train outputs, n of them, in O(n³) for the NTK and O(n²) for the NNGP.
    ///
    /// # Errors
    /// Those of [`Law::check`]; [`Error::Overflow`].
    pub fn variance(&self, at: L::At) -> Result<Array1<f64>, Error> {
        let vectors = self.training.spectrum.eigenvectors();
        nonnegative(row_products(self.half_covariance(at)?.view(), vectors))
    }

    /// U · (covariance in the modes).
    fn half_covariance(&self, at: L::At) -> Result<Array2<f64>, Error> {
        let Modes { residual, .. } = self.training.modes(self.layout, at)?;
        let spectrum = &self.training.spectrum;
        match &self.nngp {
            None => {
                let left = &residual * &residual * spectrum.eigenvalues();
                Ok(&spectrum.eigenvectors() * &left.insert_axis(Axis(0)))
            }
            Some(nngp) => {
                let left = scale_rows(nngp, &residual) * residual.view().insert_axis(Axis(0));
                spectrum.to_samples(left.view())
            }
        }
    }

    /// Test points, prepared once for all times in O(M n²). `test_train`: K(x, X) and, where all layers are trained,
    /// Θ(x, X), (M, n) each.
    ///
    /// # Errors
    /// [`Error::MissingKernel`], [`Error::Shape`], [`Error::NonFinite`]; [`Error::OutOfRange`] if the trained kernel is
    /// singular and the test–train kernel sees one of its zero modes.
    pub fn test(&self, test_train: &KernelBlock) -> Result<TestPoints<'_, L>, Error> {
        let spectrum = &self.training.spectrum;
        let rotated = |kernel: &Array2<f64>| product(kernel.view(), spectrum.eigenvectors());
        let nngp = test_train.nngp.as_ref().ok_or(Error::MissingKernel { which: "nngp" })?;
        check("the NNGP test-train kernel", nngp.view(), (self.layout.whole(nngp.nrows()), spectrum.len()))?;
        let trained = match self.nngp {
            None => {
                spectrum.check_range(nngp.view())?;
                None
            }
            Some(_) => {
                let ntk = test_train.ntk.as_ref().ok_or(Error::MissingKernel { which: "ntk" })?;
                check("the NTK test-train kernel", ntk.view(), nngp.dim())?;
                spectrum.check_range(ntk.view())?;
                Some(rotated(ntk)?)
            }
        };
        Ok(TestPoints { ensemble: self, nngp: rotated(nngp)?, trained })
    }
}

/// Test points of an [`Ensemble`]: mean and covariance at any time in O(M n² + M² n).
#[derive(Clone, Debug)]
pub struct TestPoints<'a, L> {
    ensemble: &'a Ensemble<L>,
    /// K(x, X) U.
    nngp: Array2<f64>,
    /// Θ(x, X) U, if Θ is not K.
    trained: Option<Array2<f64>>,
}

impl<L: Law> TestPoints<'_, L> {
    /// Mean of the test outputs, (M, k).
    ///
    /// # Errors
    /// Those of [`Law::check`]; [`Error::Overflow`].
    pub fn mean(&self, at: L::At) -> Result<Array2<f64>, Error> {
        let modes = self.modes(at)?;
        let dual = scale_rows(&self.ensemble.targets, &modes.gain);
        let trained = self.trained.as_ref().unwrap_or(&self.nngp);
        self.ensemble.layout.outputs(product(trained.view(), dual.view())?)
    }

    /// Covariance of the test outputs, (M, M), the same for every output. `test_test`: K(x, x′), (M, M).
    ///
    /// # Errors
    /// Those of [`Law::check`]; [`Error::Shape`], [`Error::NonFinite`], [`Error::Overflow`].
    pub fn covariance(&self, at: L::At, test_test: ArrayView2<'_, f64>) -> Result<Array2<f64>, Error> {
        let points = self.nngp.nrows();
        check("the NNGP test-test kernel", test_test, (points, points))?;
        let (left, right) = self.correction(at)?;
        let correction = product(left.view(), right.t())?;
        finite(&test_test + &symmetrized(correction))
    }

    /// The ensemble at test points as a law to draw from: outputs of networks trained from independent initializations.
    /// `test_test`: K(x, x′), (M, M).
    ///
    /// # Errors
    /// Those of [`TestPoints::covariance`] and [`Gaussian::new`].
    pub fn gaussian(&self, at: L::At, test_test: ArrayView2<'_, f64>) -> Result<Gaussian, Error> {
        let covariance = self.covariance(at, test_test)?;
        // What is left of the prior may be rounding altogether: the prior is the scale.
        let scale = test_test.diag().fold(0.0, |m: f64, v| m.max(v.abs()));
        Gaussian::with_scale(self.mean(at)?.view(), covariance, scale)
    }

    /// Variances of the test outputs, M of them. `test_test`: the diagonal K(x, x), M numbers.
    ///
    /// # Errors
    /// Those of [`Law::check`]; [`Error::Shape`], [`Error::NonFinite`], [`Error::Overflow`].
    pub fn variance(&self, at: L::At, test_test: ArrayView1<'_, f64>) -> Result<Array1<f64>, Error> {
        check_vector("the diagonal of the NNGP test-test kernel", test_test, self.nngp.nrows())?;
        let (left, right) = self.correction(at)?;
        nonnegative(row_products(left.view(), right.view()) + test_test)
    }

    /// A and B such that the covariance is K(x, x′) plus the symmetric part of A Bᵀ.
    fn correction(&self, at: L::At) -> Result<(Array2<f64>, Array2<f64>), Error> {
        let modes = self.modes(at)?;
        match (&self.trained, &self.ensemble.nngp) {
            (Some(trained), Some(nngp)) => {
                let c = trained * &modes.gain.insert_axis(Axis(0));
                let right = product(c.view(), nngp.view())? - 2.0 * &self.nngp;
                Ok((c, right))
            }
            // C K Cᵀ − 2 C K(X, x) is diagonal in the modes: −(1 − r²)/λ.
            _ => {
                let weight = -modes.gain * (1.0 + modes.residual);
                Ok((&self.nngp * &weight.insert_axis(Axis(0)), self.nngp.clone()))
            }
        }
    }

    fn modes(&self, at: L::At) -> Result<Modes, Error> {
        self.ensemble.training.modes(self.ensemble.layout, at)
    }
}

fn scale_rows(matrix: &Array2<f64>, factor: &Array1<f64>) -> Array2<f64> {
    matrix * &factor.view().insert_axis(Axis(1))
}

/// The diagonal of A Bᵀ.
fn row_products(a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>) -> Array1<f64> {
    a.rows().into_iter().zip(b.rows()).map(|(a, b)| a.dot(&b)).collect()
}

fn symmetrized(matrix: Array2<f64>) -> Array2<f64> {
    (&matrix + &matrix.t()) * 0.5
}

fn finite(matrix: Array2<f64>) -> Result<Array2<f64>, Error> {
    if matrix.iter().all(|v| v.is_finite()) { Ok(matrix) } else { Err(Error::Overflow) }
}

/// Variances, of which rounding may have left some below zero.
fn nonnegative(variances: Array1<f64>) -> Result<Array1<f64>, Error> {
    if !variances.iter().all(|v| v.is_finite()) {
        return Err(Error::Overflow);
    }
    Ok(variances.mapv(|v| v.max(0.0)))
}
