//! Mini-batches: the exact mean and covariance of stochastic gradient descent, at every step.

use ndarray::{Array1, Array2, ArrayView2, Axis, s};
use ntk_linalg::product;

use crate::layout::{Layout, check};
use crate::{Error, LearningRate, LossScale, Spectrum};

/// Stochastic gradient descent on squared loss, each step on a batch of B samples drawn with replacement.
///
/// The gradient is that of the batch, scaled so that its mean is the gradient of the loss. With ε = η/s, s the divisor of
/// the [`LossScale`], and the residual r = f − Y, a step is r ← (I − ε (N/B) Θ S) r with the counts S of the samples in
/// the batch; the mean is that of full-batch descent, and the second moments M = E r rᵀ of an output follow
///
/// M ← (I − εΘ) M (I − εΘ) + (ε²/B) Θ (N diag M − M) Θ,
///
/// with blocks of samples in the place of diag M if the kernel tells outputs apart.
///
/// ```
/// use ndarray::array;
/// use ntk_dynamics::{Gram, LearningRate, LossScale, Ridge, Spectrum, StochasticDescent};
/// let spectrum = Spectrum::new(&Gram::new(array![[1.0, 0.0], [0.0, 1.0]])?, Ridge::None)?;
/// let descent = StochasticDescent::new(&spectrum, LearningRate::new(0.5)?, LossScale::MeanN, 1)?;
/// let mut moments = descent.fit(array![[1.0], [1.0]].view(), array![[0.0], [0.0]].view())?;
/// moments.advance(1)?;
/// // One of the two samples has come half-way, each with probability one half.
/// assert!((moments.mean()?[[0, 0]] - 0.25).abs() < 1e-15);
/// assert!((moments.covariance(0)?[[0, 1]] + 0.0625).abs() < 1e-15);
/// # Ok::<(), ntk_dynamics::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct StochasticDescent {
    spectrum: Spectrum,
    rate: LearningRate,
    scale: LossScale,
    batch: usize,
}

impl StochasticDescent {
    /// `batch`: B ≥ 1.
    ///
    /// # Errors
    /// [`Error::Setting`] for an empty batch.
    pub fn new(
        spectrum: &Spectrum,
        rate: LearningRate,
        scale: LossScale,
        batch: usize,
    ) -> Result<Self, Error> {
        if batch == 0 {
            return Err(Error::Setting { option: "the batch", value: 0.0, domain: "at least one sample" });
        }
        Ok(StochasticDescent { spectrum: spectrum.clone(), rate, scale, batch })
    }

    /// Sets targets and initial train outputs, (N, k) each; the moments at step 0.
    ///
    /// # Errors
    /// [`Error::Targets`], [`Error::Shape`], [`Error::NonFinite`].
    pub fn fit(&self, targets: ArrayView2<'_, f64>, initial: ArrayView2<'_, f64>) -> Result<Moments, Error> {
        let layout = Layout::new(self.spectrum.len(), targets.dim())?;
        let targets = layout.flat("targets", targets, layout.samples)?;
        let initial = layout.flat("initial train outputs", initial, layout.samples)?;
        let start = self.spectrum.to_modes((&initial - &targets).view())?;
        let covariance = vec![Array2::zeros((targets.nrows(), targets.nrows())); targets.ncols()];
        let mean = start.clone();
        Ok(Moments { descent: self.clone(), layout, initial, targets, start, step: 0, mean, covariance })
    }

    /// The factor by which one step changes E |r|² in the long run, on the range of the kernel, for targets of this
    /// shape: below 1 the mean square converges, which happens at rates below those at which the mean does.
    ///
    /// By power iteration on second moments: 2 n³ multiply–adds each, until the factor stands to 1e-10.
    ///
    /// # Errors
    /// [`Error::Targets`]; [`Error::Overflow`] if second moments do.
    pub fn growth(&self, targets: (usize, usize)) -> Result<f64, Error> {
        let layout = Layout::new(self.spectrum.len(), targets)?;
        let values = self.spectrum.eigenvalues();
        if self.spectrum.rank() == 0 {
            return Ok(1.0);
        }
        // Of the coefficients, on the range; a positive matrix meets the leading direction of a positive map.
        let mut c = Array2::from_diag(&values.mapv(|v| if v > 0.0 { 1.0 / v } else { 0.0 }));
        let mut factor = 0.0_f64;
        for _ in 0..10_000 {
            let moments = scaled(&c, values.view());
            let before = moments.diag().sum();
            c = self.next(layout, &c, &moments)?;
            let after = scaled(&c, values.view()).diag().sum();
            let last = std::mem::replace(&mut factor, after / before);
            if !factor.is_finite() {
                return Err(Error::Overflow);
            }
            if (factor - last).abs() <= 1e-10 * factor || factor == 0.0 {
                break;
            }
            c /= after;
        }
        Ok(factor)
    }

    /// ε = η/s.
    fn epsilon(&self, layout: Layout) -> f64 {
        self.rate.get() / self.scale.divisor(layout.samples, layout.outputs)
    }

    /// The covariance of coefficients after a step, in the modes, from it and from the second moments of residuals.
    fn next(&self, layout: Layout, c: &Array2<f64>, moments: &Array2<f64>) -> Result<Array2<f64>, Error> {
        let (epsilon, u) = (self.epsilon(layout), self.spectrum.eigenvectors());
        let block = layout.rows(layout.samples) / layout.samples;
        let half = product(u, moments.view())?;
        // N diag M, times U: M is needed in blocks of one sample alone.
        let mut picked = Array2::zeros(u.dim());
        for start in (0..u.nrows()).step_by(block) {
            let rows = s![start..start + block, ..];
            let own = half.slice(rows).dot(&u.slice(rows).t());
            picked.slice_mut(rows).assign(&(layout.samples as f64 * own.dot(&u.slice(rows))));
        }
        let noise = product(u.t(), picked.view())? - moments;
        let keep = self.spectrum.eigenvalues().mapv(|v| 1.0 - epsilon * v);
        let next = scaled(c, keep.view()) + noise * (epsilon * epsilon / self.batch as f64);
        // Zero modes are seen by nobody; their coefficients would grow for ever.
        let range = self.spectrum.eigenvalues().mapv(|v| if v > 0.0 { 1.0 } else { 0.0 });
        Ok(scaled(&next, range.view()))
    }
}

/// Mean and covariance of the outputs over the draws of batches, step by step.
#[derive(Clone, Debug)]
pub struct Moments {
    descent: StochasticDescent,
    layout: Layout,
    initial: Array2<f64>,
    targets: Array2<f64>,
    /// Uᵀ(f₀ − Y), and the mean of Uᵀ(f_t − Y).
    start: Array2<f64>,
    step: u64,
    mean: Array2<f64>,
    /// Of the coefficients Uᵀa, for each output, or of all outputs if the kernel tells them apart.
    covariance: Vec<Array2<f64>>,
}

impl Moments {
    /// So many steps on, each with 2 n³ multiply–adds for each output.
    ///
    /// # Errors
    /// [`Error::Overflow`]: the moments diverge, see [`StochasticDescent::growth`]; they stay at the last finite step.
    pub fn advance(&mut self, steps: u64) -> Result<(), Error> {
        let values = self.descent.spectrum.eigenvalues();
        let keep = values.mapv(|v| 1.0 - self.descent.epsilon(self.layout) * v);
        for _ in 0..steps {
            let step = |(c, mean): (&Array2<f64>, ndarray::ArrayView1<'_, f64>)| {
                let column = mean.insert_axis(Axis(1));
                let moments = scaled(c, values) + column.dot(&column.t());
                self.descent.next(self.layout, c, &moments)
            };
            let pairs = self.covariance.iter().zip(self.mean.columns());
            let next = pairs.map(step).collect::<Result<Vec<_>, _>>()?;
            let mean = &self.mean * &keep.view().insert_axis(Axis(1));
            if !next.iter().flatten().chain(&mean).all(|v| v.is_finite()) {
                return Err(Error::Overflow);
            }
            (self.covariance, self.mean, self.step) = (next, mean, self.step + 1);
        }
        Ok(())
    }

    /// The number of steps so far.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Mean of the train outputs, (N, k).
    ///
    /// # Errors
    /// [`Error::Overflow`].
    pub fn mean(&self) -> Result<Array2<f64>, Error> {
        let moved = self.descent.spectrum.to_samples((&self.mean - &self.start).view())?;
        self.layout.outputs(&self.initial + &moved)
    }

    /// Covariance of the train outputs of one output, (n, n); of all outputs, as output 0, if the kernel tells them
    /// apart.
    ///
    /// # Errors
    /// [`Error::Setting`] if there is no such output.
    pub fn covariance(&self, output: usize) -> Result<Array2<f64>, Error> {
        let moments = scaled(self.of(output)?, self.descent.spectrum.eigenvalues());
        let half = self.descent.spectrum.to_samples(moments.view())?;
        Ok(product(half.view(), self.descent.spectrum.eigenvectors().t())?)
    }

    /// Mean of the test outputs, (M, k). `test_train`: Θ(x, X), (M, n); `initial`: f₀(x), (M, k).
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NonFinite`], [`Error::OutOfRange`], [`Error::Overflow`].
    pub fn test_mean(
        &self,
        test_train: ArrayView2<'_, f64>,
        initial: ArrayView2<'_, f64>,
    ) -> Result<Array2<f64>, Error> {
        let initial = self.layout.flat("initial test outputs", initial, initial.nrows())?;
        check("the test-train kernel", test_train, (initial.nrows(), self.initial.nrows()))?;
        self.descent.spectrum.check_range(test_train)?;
        let values = self.descent.spectrum.eigenvalues();
        let inverse: Array1<f64> = values.mapv(|v| if v > 0.0 { 1.0 / v } else { 0.0 });
        let dual = (&self.mean - &self.start) * inverse.insert_axis(Axis(1));
        let dual = self.descent.spectrum.to_samples(dual.view())?;
        self.layout.outputs(initial + product(test_train, dual.view())?)
    }

    /// Covariance of the test outputs of one output, (M, M), as [`Moments::covariance`] counts them.
    ///
    /// # Errors
    /// [`Error::Setting`], [`Error::Shape`], [`Error::NonFinite`], [`Error::OutOfRange`].
    pub fn test_covariance(
        &self,
        output: usize,
        test_train: ArrayView2<'_, f64>,
    ) -> Result<Array2<f64>, Error> {
        let rows = self.layout.whole(test_train.nrows());
        check("the test-train kernel", test_train, (rows, self.initial.nrows()))?;
        self.descent.spectrum.check_range(test_train)?;
        let rotated = product(test_train, self.descent.spectrum.eigenvectors())?;
        let half = product(rotated.view(), self.of(output)?.view())?;
        Ok(product(half.view(), rotated.t())?)
    }

    /// The mean of the train loss ½ Σ (f − Y)²/scale over draws: that of the mean outputs and half the variances.
    ///
    /// # Errors
    /// [`Error::Overflow`].
    pub fn loss(&self) -> Result<f64, Error> {
        let flat = &self.initial + &self.descent.spectrum.to_samples((&self.mean - &self.start).view())?
            - &self.targets;
        let values = self.descent.spectrum.eigenvalues();
        let variances: f64 = self.covariance.iter().map(|c| scaled(c, values).diag().sum()).sum();
        let sum = flat.iter().map(|r| r * r).sum::<f64>() + variances;
        let loss = 0.5 * sum / self.descent.scale.divisor(self.layout.samples, self.layout.outputs);
        if loss.is_finite() { Ok(loss) } else { Err(Error::Overflow) }
    }

    fn of(&self, output: usize) -> Result<&Array2<f64>, Error> {
        let domain = "outputs count from 0; a kernel that tells outputs apart has them all in output 0";
        let value = output as f64;
        self.covariance.get(output).ok_or(Error::Setting { option: "output", value, domain })
    }
}

/// D A D with the diagonal D.
fn scaled(a: &Array2<f64>, d: ndarray::ArrayView1<'_, f64>) -> Array2<f64> {
    a * &d.insert_axis(Axis(1)) * d.insert_axis(Axis(0))
}
