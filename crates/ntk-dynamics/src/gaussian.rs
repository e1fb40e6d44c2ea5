//! Normal laws of outputs, to draw whole functions from: variances alone say nothing of how points move together.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use ntk_linalg::{Symmetric, SymmetricEigen, normals, product};

use crate::layout::{Layout, check};
use crate::{Error, Gram};

/// A negative eigenvalue is rounding down to this multiple of the scale of the covariance.
const NOISE: f64 = 1e-8;

/// Outputs (M, k) with a mean and a covariance C = U Λ Uᵀ between points, which may be singular.
///
/// A covariance of M rows serves all outputs alike, which are independent; one of M·k rows tells them apart.
/// Eigenvalues at or below M ε of the largest count as zero. About 9 M³ operations once; a draw costs 2 M² k.
///
/// ```
/// use ndarray::array;
/// use ntk_dynamics::Gaussian;
/// // Two points that are always equal.
/// let law = Gaussian::new(array![[1.0], [1.0]].view(), array![[4.0, 4.0], [4.0, 4.0]])?;
/// let draw = law.sample(7)?;
/// assert!((draw[[0, 0]] - draw[[1, 0]]).abs() < 1e-14);
/// # Ok::<(), ntk_dynamics::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Gaussian {
    layout: Layout,
    /// (M, k) or (M·k, 1).
    mean: Array2<f64>,
    eigen: SymmetricEigen,
    /// Λ with rounding set to zero.
    values: Array1<f64>,
}

impl Gaussian {
    /// The law of this mean, (M, k), and covariance, (M, M) or (M·k, M·k).
    ///
    /// # Errors
    /// [`Error::Linalg`] for a covariance that is empty, not square, not finite or not symmetric; [`Error::Targets`] if
    /// it does not fit the mean; [`Error::NonFinite`]; [`Error::NotPositiveSemidefinite`] if an eigenvalue is below
    /// −1e-8 of the largest.
    pub fn new(mean: ArrayView2<'_, f64>, covariance: Array2<f64>) -> Result<Self, Error> {
        let gram = Gram::new(covariance)?;
        Self::assemble(mean, gram.as_ref(), 0.0)
    }

    /// The same where the covariance is a small difference of matrices with entries up to `scale`.
    pub(crate) fn with_scale(
        mean: ArrayView2<'_, f64>,
        covariance: Array2<f64>,
        scale: f64,
    ) -> Result<Self, Error> {
        Self::assemble(mean, &Symmetric::new((&covariance + &covariance.t()) * 0.5)?, scale)
    }

    fn assemble(mean: ArrayView2<'_, f64>, covariance: &Symmetric, scale: f64) -> Result<Self, Error> {
        let layout = Layout::new(covariance.len(), mean.dim())?;
        let mean = layout.flat("the mean", mean, layout.samples)?;
        let eigen = SymmetricEigen::new(covariance)?;
        let rows = covariance.len();
        let (smallest, largest) = (eigen.values()[0], eigen.values()[rows - 1]);
        let scale = largest.abs().max(scale);
        if smallest < -NOISE * scale {
            return Err(Error::NotPositiveSemidefinite { smallest, largest });
        }
        let cutoff = rows as f64 * f64::EPSILON * scale;
        let values = eigen.values().mapv(|value| if value > cutoff { value } else { 0.0 });
        Ok(Gaussian { layout, mean, eigen, values })
    }

    /// The law of the outputs plus independent noise of this variance: of targets, if it was that of a function.
    ///
    /// # Errors
    /// [`Error::Setting`] for a variance that is negative or not finite.
    pub fn with_noise(mut self, variance: f64) -> Result<Self, Error> {
        if !(variance >= 0.0 && variance.is_finite()) {
            let domain = "a finite number, at least 0";
            return Err(Error::Setting { option: "noise variance", value: variance, domain });
        }
        self.values += variance;
        Ok(self)
    }

    /// A draw, (M, k), the same for the same seed.
    ///
    /// # Errors
    /// [`Error::Overflow`] if an output is not finite.
    pub fn sample(&self, seed: u64) -> Result<Array2<f64>, Error> {
        self.transport(normals(seed, (self.layout.samples, self.layout.outputs)).view())
    }

    /// U Λ¹ᐟ² z + mean: independent standard normal numbers, (M, k), become a draw, (M, k).
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NonFinite`]; [`Error::Overflow`] if an output is not finite.
    pub fn transport(&self, normals: ArrayView2<'_, f64>) -> Result<Array2<f64>, Error> {
        let z = self.layout.flat("normal numbers", normals, self.layout.samples)?;
        let spread = z * self.values.mapv(f64::sqrt).insert_axis(Axis(1));
        self.layout.outputs(product(self.eigen.vectors(), spread.view())? + &self.mean)
    }

    /// ln p of outputs (M, k): −½ Σ (ln 2πλ + |uᵀ(f − mean)|²/λ) over eigenvectors and outputs.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NonFinite`]; [`Error::Singular`] if an eigenvalue is zero: there is no density.
    pub fn log_density(&self, outputs: ArrayView2<'_, f64>) -> Result<f64, Error> {
        check("outputs", outputs, (self.layout.samples, self.layout.outputs))?;
        let n = self.values.len();
        let rank = self.values.iter().filter(|value| **value > 0.0).count();
        if rank < n {
            return Err(Error::Singular { rank, n, condition: f64::INFINITY });
        }
        let away = self.layout.flat("outputs", outputs, self.layout.samples)? - &self.mean;
        let modes = product(self.eigen.vectors().t(), away.view())?;
        let mode = |(row, &value): (ArrayView1<'_, f64>, &f64)| {
            row.len() as f64 * (std::f64::consts::TAU * value).ln() + row.dot(&row) / value
        };
        Ok(-0.5 * modes.rows().into_iter().zip(&self.values).map(mode).sum::<f64>())
    }

    /// The mean, (M, k).
    pub fn mean(&self) -> Array2<f64> {
        self.layout.split(self.mean.clone())
    }

    /// The eigenvalues of the covariance, ascending, rounding set to zero.
    pub fn eigenvalues(&self) -> ArrayView1<'_, f64> {
        self.values.view()
    }
}
