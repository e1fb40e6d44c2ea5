//! Weight decay toward zero, which also shrinks what the initial parameters say.

use ndarray::{Array1, Array2, ArrayView2, Axis};
use ntk_linalg::product;

use crate::layout::{Layout, check};
use crate::{Error, ScheduledDescent, Steps};

/// Training with the penalty ½ μ |θ|² of a linearized network: f(x) = f₀(x) + J(x)(θ − θ₀).
///
/// Parameters are pulled to zero and not to θ₀, so that beside the data the tangent J(x)θ₀ of the initial parameters
/// enters. With the progress p of each mode, x = ηλ/s and κ = ημ, train outputs are f₀ + p (Y − f₀) − (κ/x) p Jθ₀ mode
/// by mode, and test outputs f₀(x) − b J(x)θ₀ + Θ(x, X) a, where b is the part of θ₀ that no data hold and that decay
/// has removed. Infinitely many steps end at λ/(λ + μs) (Y − f₀ + Jθ₀) + f₀ − Jθ₀: ridge regression of what θ₀
/// does not contribute linearly.
///
/// For a model linear in its parameters Jθ₀ = f₀. For a network of L affine layers without bias and with
/// positively homogeneous activations (ReLU), Jθ₀ = L f₀ by Euler's theorem. Otherwise it is one derivative in the
/// direction of the parameters.
#[derive(Clone, Debug)]
pub struct ShrinkingTrajectory {
    training: ScheduledDescent,
    layout: Layout,
    initial: Array2<f64>,
    /// Uᵀ(Y − f₀) and UᵀJθ₀.
    residual: Array2<f64>,
    tangent: Array2<f64>,
    targets: Array2<f64>,
}

impl ScheduledDescent {
    /// Training whose weight decay pulls toward zero. Targets, initial train outputs f₀(X) and the tangent of the initial
    /// parameters J(X)θ₀: (N, k) each.
    ///
    /// # Errors
    /// [`Error::Targets`], [`Error::Shape`], [`Error::NonFinite`].
    pub fn fit_toward_zero(
        &self,
        targets: ArrayView2<'_, f64>,
        initial: ArrayView2<'_, f64>,
        tangent: ArrayView2<'_, f64>,
    ) -> Result<ShrinkingTrajectory, Error> {
        let layout = Layout::new(self.spectrum.len(), targets.dim())?;
        let flat = |what, values| layout.flat(what, values, layout.samples);
        let targets = flat("targets", targets)?;
        let initial = flat("initial train outputs", initial)?;
        let tangent = flat("the tangent of the initial parameters", tangent)?;
        let residual = self.spectrum.to_modes((&targets - &initial).view())?;
        let tangent = self.spectrum.to_modes(tangent.view())?;
        Ok(ShrinkingTrajectory { training: self.clone(), layout, initial, residual, tangent, targets })
    }
}

impl ShrinkingTrajectory {
    /// Train outputs, (N, k), in O(n² k).
    ///
    /// # Errors
    /// [`Error::Unstable`], [`Error::Overflow`].
    pub fn train(&self, at: Steps) -> Result<Array2<f64>, Error> {
        self.layout.outputs(self.flat(at)?)
    }

    /// Test outputs, (M, k). `test_train`: Θ(x, X), (M, n); `initial`: f₀(x), `tangent`: J(x)θ₀, (M, k) each.
    ///
    /// # Errors
    /// [`Error::Unstable`], [`Error::Overflow`]; [`Error::Shape`], [`Error::NonFinite`], [`Error::OutOfRange`].
    pub fn test(
        &self,
        at: Steps,
        test_train: ArrayView2<'_, f64>,
        initial: ArrayView2<'_, f64>,
        tangent: ArrayView2<'_, f64>,
    ) -> Result<Array2<f64>, Error> {
        let samples = initial.nrows();
        let initial = self.layout.flat("initial test outputs", initial, samples)?;
        let tangent = self.layout.flat("the tangent of the initial parameters", tangent, samples)?;
        check("the test-train kernel", test_train, (initial.nrows(), self.initial.nrows()))?;
        self.training.spectrum.check_range(test_train)?;
        let (gain, shrunk, forgotten) = self.factors(at)?;
        // (κ/x p − b)/λ, of use on the range of the kernel alone.
        let values = self.training.spectrum.eigenvalues();
        let lost: Array1<f64> = shrunk
            .iter()
            .zip(values)
            .map(|(s, &v)| if v == 0.0 { 0.0 } else { (s - forgotten) / v })
            .collect();
        let dual = rows(&self.residual, &gain) - rows(&self.tangent, &lost);
        let dual = self.training.spectrum.to_samples(dual.view())?;
        self.layout.outputs(initial - forgotten * tangent + product(test_train, dual.view())?)
    }

    /// The train loss ½ Σ (f_t − Y)² / scale, without the penalty.
    ///
    /// # Errors
    /// [`Error::Unstable`], [`Error::Overflow`].
    pub fn loss(&self, at: Steps) -> Result<f64, Error> {
        let left = self.flat(at)? - &self.targets;
        let divisor = self.training.scale.divisor(self.layout.samples, self.layout.outputs);
        let loss = 0.5 * left.iter().map(|r| r * r).sum::<f64>() / divisor;
        if loss.is_finite() { Ok(loss) } else { Err(Error::Overflow) }
    }

    fn flat(&self, at: Steps) -> Result<Array2<f64>, Error> {
        let (_, shrunk, _) = self.factors(at)?;
        let progress = self.training.modes(self.layout, at)?.progress;
        let moved = rows(&self.residual, &progress) - rows(&self.tangent, &shrunk);
        Ok(&self.initial + &self.training.spectrum.to_samples(moved.view())?)
    }

    /// p/λ and κp/x of each mode, and b.
    fn factors(&self, at: Steps) -> Result<(Array1<f64>, Array1<f64>, f64), Error> {
        let gain = self.training.modes(self.layout, at)?.gain;
        let forgotten = self.training.law.forgotten(at);
        let divisor = self.training.scale.divisor(self.layout.samples, self.layout.outputs);
        let factor = self.training.law.shrink * divisor / self.training.rate.get();
        let values = self.training.spectrum.eigenvalues();
        let shrunk =
            gain.iter().zip(values).map(|(g, &v)| if v == 0.0 { forgotten } else { factor * g }).collect();
        Ok((gain, shrunk, forgotten))
    }
}

fn rows(matrix: &Array2<f64>, factor: &Array1<f64>) -> Array2<f64> {
    matrix * &factor.view().insert_axis(Axis(1))
}
