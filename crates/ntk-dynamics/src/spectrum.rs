//! The eigensystem of the train kernel: modes in which every method of training is diagonal.

use std::sync::Arc;

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, s};
use ntk_linalg::{SymmetricEigen, product};

use crate::layout::Layout;
use crate::{Error, Gram, LearningRate, LossScale, Method, Momentum, Ridge};

/// A negative eigenvalue is rounding, of the kernel's provider perhaps, down to this multiple of the largest.
const NOISE: f64 = 1e-8;

/// The eigensystem Θ + ρI = U Λ Uᵀ of a train kernel, factored once and shared by clones.
///
/// Eigenvalues at or below n ε λ_max are rounding and count as zero. Modes of eigenvalue zero do not move in
/// training: their part of the train outputs stays as it was, and they contribute nothing at test points, where an
/// honest kernel has no overlap with them (|Θ(x, X)u|² ≤ Θ(x, x) uᵀΘu = 0).
///
/// Costs about 9 n³ operations and, at its peak, 3.7 n² numbers beside the Gram matrix.
///
/// ```
/// use ndarray::array;
/// use ntk_dynamics::{Gram, LossScale, Momentum, Ridge, Spectrum};
/// let spectrum = Spectrum::new(&Gram::new(array![[3.0, 1.0], [1.0, 3.0]])?, Ridge::None)?;
/// assert!((spectrum.condition() - 2.0).abs() < 1e-14);
/// // One output, loss ½ Σ (f − y)²: steps converge below 2/4 and do so fastest at 2/(2 + 4).
/// let maximal = spectrum.maximal_learning_rate(LossScale::Sum, (2, 1), Momentum::NONE)?;
/// let critical = spectrum.critical_learning_rate(LossScale::Sum, (2, 1))?;
/// assert!((maximal - 0.5).abs() < 1e-14 && (critical - 1.0 / 3.0).abs() < 1e-14);
/// # Ok::<(), ntk_dynamics::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Spectrum {
    /// Of Θ, without the ridge.
    eigen: Arc<SymmetricEigen>,
    /// With the ridge, rounding set to zero, ascending.
    values: Array1<f64>,
    zeros: usize,
    condition: f64,
}

impl Spectrum {
    /// Factors Θ + ρI.
    ///
    /// # Errors
    /// [`Error::Ridge`]; [`Error::NotPositiveSemidefinite`] if an eigenvalue of Θ + ρI is below −1e-8 λ_max;
    /// [`Error::Linalg`] if the eigenvalue iteration fails.
    pub fn new(gram: &Gram, ridge: Ridge) -> Result<Self, Error> {
        ridge.absolute(0.0, 1)?; // Refused before the work starts.
        Self::assemble(Arc::new(SymmetricEigen::new(gram.symmetric())?), ridge)
    }

    /// The same kernel with another ridge, which replaces the old one; nothing is factored again.
    ///
    /// # Errors
    /// [`Error::Ridge`], [`Error::NotPositiveSemidefinite`].
    pub fn with_ridge(&self, ridge: Ridge) -> Result<Self, Error> {
        Self::assemble(Arc::clone(&self.eigen), ridge)
    }

    fn assemble(eigen: Arc<SymmetricEigen>, ridge: Ridge) -> Result<Self, Error> {
        let raw = eigen.values();
        let n = raw.len();
        let ridge = ridge.absolute(raw.sum(), n)?;
        let (smallest, largest) = (raw[0] + ridge, raw[n - 1] + ridge);
        if smallest < -NOISE * largest.abs() {
            return Err(Error::NotPositiveSemidefinite { smallest, largest });
        }
        let cutoff = n as f64 * f64::EPSILON * largest;
        let values = raw.mapv(|value| if value + ridge > cutoff { value + ridge } else { 0.0 });
        let zeros = values.iter().filter(|value| **value == 0.0).count();
        let least = raw.iter().fold(f64::INFINITY, |a, value| a.min((value + ridge).abs()));
        let condition = if least == 0.0 { f64::INFINITY } else { largest / least };
        Ok(Spectrum { eigen, values, zeros, condition })
    }

    /// The eigenvalues of Θ + ρI, ascending, those that are rounding set to zero.
    pub fn eigenvalues(&self) -> ArrayView1<'_, f64> {
        self.values.view()
    }

    /// The eigenvectors U, (n, n): column j belongs to `eigenvalues()[j]`.
    pub fn eigenvectors(&self) -> ArrayView2<'_, f64> {
        self.eigen.vectors()
    }

    /// The number of rows n ≥ 1.
    #[allow(clippy::len_without_is_empty)] // A Gram matrix has at least one row.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// The number of eigenvalues above rounding.
    pub fn rank(&self) -> usize {
        self.len() - self.zeros
    }

    /// The condition number λ_max / |λ|_min as computed, before rounding is set to zero: above 1e15 or so it says no
    /// more than "singular".
    pub fn condition(&self) -> f64 {
        self.condition
    }

    /// The learning rate 2/(λ_min + λ_max) that shrinks the slowest mode fastest, by (κ − 1)/(κ + 1) a step, in units
    /// of the loss scale; targets are (N, k). Infinite for a kernel of zeros.
    ///
    /// # Errors
    /// [`Error::Targets`] if targets of that shape do not fit.
    ///
    /// # Source
    /// \[lee2019wide\], Theorem 2.1.
    pub fn critical_learning_rate(&self, scale: LossScale, targets: (usize, usize)) -> Result<f64, Error> {
        Ok(2.0 * self.divisor(scale, targets)? / (self.values[0] + self.largest()))
    }

    /// The learning rate 2(1 + β)/λ_max below which steps converge, in units of the loss scale; targets are (N, k).
    /// Infinite for a kernel of zeros.
    ///
    /// # Errors
    /// [`Error::Targets`] if targets of that shape do not fit.
    pub fn maximal_learning_rate(
        &self,
        scale: LossScale,
        targets: (usize, usize),
        momentum: Momentum,
    ) -> Result<f64, Error> {
        Ok(2.0 * (1.0 + momentum.get()) * self.divisor(scale, targets)? / self.largest())
    }

    /// The time 1/(η λ) in which gradient flow shrinks the residual along each mode by e, ascending in λ, in units of
    /// the loss scale; targets are (N, k). Infinite for modes of eigenvalue zero, which do not move.
    ///
    /// # Errors
    /// [`Error::Targets`] if targets of that shape do not fit.
    pub fn time_scales(
        &self,
        rate: LearningRate,
        scale: LossScale,
        targets: (usize, usize),
    ) -> Result<Array1<f64>, Error> {
        let divisor = self.divisor(scale, targets)?;
        Ok(self.values.mapv(|value| divisor / (rate.get() * value)))
    }

    /// The learning rate from which each mode does not converge, in the order of the eigenvalues (descending in rate), in
    /// units of the loss scale: the modes below η diverge at the rate η. Infinite for zero modes.
    ///
    /// # Errors
    /// [`Error::Targets`] if targets of that shape do not fit.
    pub fn divergence_rates(
        &self,
        scale: LossScale,
        targets: (usize, usize),
        method: Method,
    ) -> Result<Array1<f64>, Error> {
        let unit = method.bound() * self.divisor(scale, targets)?;
        Ok(self.values.mapv(|value| unit / value))
    }

    fn divisor(&self, scale: LossScale, targets: (usize, usize)) -> Result<f64, Error> {
        let layout = Layout::new(self.len(), targets)?;
        Ok(scale.divisor(layout.samples, layout.outputs))
    }

    /// Of Θ, without the ridge, whose eigenvectors are the same.
    pub(crate) fn eigen(&self) -> &SymmetricEigen {
        &self.eigen
    }

    pub(crate) fn largest(&self) -> f64 {
        self.values[self.len() - 1]
    }

    /// Uᵀ b: from samples to modes.
    pub(crate) fn to_modes(&self, b: ArrayView2<'_, f64>) -> Result<Array2<f64>, Error> {
        Ok(product(self.eigenvectors().t(), b)?)
    }

    /// U c: from modes to samples.
    pub(crate) fn to_samples(&self, c: ArrayView2<'_, f64>) -> Result<Array2<f64>, Error> {
        Ok(product(self.eigenvectors(), c)?)
    }

    /// Refuses a test–train kernel with rows that overlap with zero modes: by |Θ(x, X)u|² ≤ Θ(x, x) uᵀΘu and
    /// uᵀΘu ≤ 1e-8 λ_max, noise in the kernel explains an overlap of 1e-4 in units of a row, no more.
    pub(crate) fn check_range(&self, test_train: ArrayView2<'_, f64>) -> Result<(), Error> {
        if self.zeros == 0 {
            return Ok(());
        }
        let overlap = product(test_train, self.eigenvectors().slice(s![.., ..self.zeros]))?;
        let typical = self.largest() / (self.len() as f64).sqrt();
        for (row, (part, whole)) in overlap.rows().into_iter().zip(test_train.rows()).enumerate() {
            let scale = whole.dot(&whole).sqrt().max(typical);
            let norm = part.dot(&part).sqrt();
            if norm > NOISE.sqrt() * scale {
                let (rank, n, condition) = (self.rank(), self.len(), self.condition);
                return Err(Error::OutOfRange { row, leak: norm / scale, rank, n, condition });
            }
        }
        Ok(())
    }
}
