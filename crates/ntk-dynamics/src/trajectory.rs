//! The outputs of one linearized network along its training, at any time asked for.

use ndarray::{Array1, Array2, ArrayView2, Axis};
use ntk_linalg::product;

use crate::layout::{Layout, check};
use crate::{Curve, CurvePoint, Error, Law, Training};

/// Training of one network with its targets and initial outputs: every question is answered in O(n² k).
#[derive(Clone, Debug)]
pub struct Trajectory<L> {
    training: Training<L>,
    layout: Layout,
    /// f₀(X), as the kernel sees it.
    initial: Array2<f64>,
    /// Uᵀ(Y − f₀).
    residual: Array2<f64>,
}

impl<L: Law> Trajectory<L> {
    pub(crate) fn new(
        training: &Training<L>,
        targets: ArrayView2<'_, f64>,
        initial: ArrayView2<'_, f64>,
    ) -> Result<Self, Error> {
        let layout = Layout::new(training.spectrum.len(), targets.dim())?;
        let targets = layout.flat("targets", targets, layout.samples)?;
        let initial = layout.flat("initial train outputs", initial, layout.samples)?;
        let residual = training.spectrum.to_modes((targets - &initial).view())?;
        Ok(Trajectory { training: training.clone(), layout, initial, residual })
    }

    /// Train outputs f_t(X) = f₀ + (I − R_t)(Y − f₀), (N, k), with R_t = e^{−ηΘt} for gradient flow.
    ///
    /// In the limit these are the targets, but for modes of eigenvalue zero, which stay at f₀.
    ///
    /// # Errors
    /// Those of [`Law::check`]; [`Error::Overflow`].
    pub fn train(&self, at: L::At) -> Result<Array2<f64>, Error> {
        let modes = self.training.modes(self.layout, at)?;
        let moved = self.training.spectrum.to_samples(self.scaled(&modes.progress).view())?;
        self.layout.outputs(&self.initial + &moved)
    }

    /// Test outputs f_t(x) = f₀(x) + Θ(x, X) a_t, (M, k), with a_t from [`Trajectory::dual`].
    ///
    /// # Shapes
    /// `test_train`: Θ(x, X), (M, n), where n is that of the Gram matrix (M·k rows if that has N·k);
    /// `initial`: f₀(x), (M, k).
    ///
    /// # Errors
    /// Those of [`Law::check`]; [`Error::Shape`], [`Error::NonFinite`]; [`Error::OutOfRange`] if the train kernel is
    /// singular and the test–train kernel sees one of its zero modes; [`Error::Overflow`].
    pub fn test(
        &self,
        at: L::At,
        test_train: ArrayView2<'_, f64>,
        initial: ArrayView2<'_, f64>,
    ) -> Result<Array2<f64>, Error> {
        let samples = initial.nrows();
        let initial = self.layout.flat("initial test outputs", initial, samples)?;
        check("the test-train kernel", test_train, (initial.nrows(), self.initial.nrows()))?;
        self.training.spectrum.check_range(test_train)?;
        self.layout.outputs(initial + product(test_train, self.coefficients(at)?.view())?)
    }

    /// The coefficients a_t = (Θ + ρI)⁻¹ (I − R_t)(Y − f₀), (N, k), on the range of the kernel: parameters have
    /// moved by ω_t = J₀ᵀ a_t and test outputs by Θ(x, X) a_t.
    ///
    /// # Errors
    /// Those of [`Law::check`]; [`Error::Overflow`].
    ///
    /// # Source
    /// \[lee2019wide\], section 2.2: ω_t = −J₀ᵀ Θ⁻¹ (I − e^{−ηΘt})(f₀ − Y).
    pub fn dual(&self, at: L::At) -> Result<Array2<f64>, Error> {
        self.layout.outputs(self.coefficients(at)?)
    }

    /// The train loss ½ Σ (f_t − Y)² / scale.
    ///
    /// # Errors
    /// Those of [`Law::check`]; [`Error::Overflow`].
    pub fn loss(&self, at: L::At) -> Result<f64, Error> {
        let modes = self.training.modes(self.layout, at)?;
        let squares: f64 = self.scaled(&modes.residual).iter().map(|r| r * r).sum();
        let loss = 0.5 * squares / self.training.scale.divisor(self.layout.samples, self.layout.outputs);
        if loss.is_finite() { Ok(loss) } else { Err(Error::Overflow) }
    }

    /// Train and test loss at these times, ½ Σ (f − Y)²/scale each over its own samples; test outputs cost M n k
    /// operations a time, and M n² once.
    ///
    /// # Shapes
    /// `test_train`: Θ(x, X), (M, n); `initial`: f₀(x), `targets`: y(x), (M, k) each.
    ///
    /// # Errors
    /// Those of [`Trajectory::test`].
    pub fn curve(
        &self,
        times: &[L::At],
        test_train: ArrayView2<'_, f64>,
        initial: ArrayView2<'_, f64>,
        targets: ArrayView2<'_, f64>,
    ) -> Result<Curve<L::At>, Error> {
        let samples = initial.nrows();
        let initial = self.layout.flat("initial test outputs", initial, samples)?;
        let targets = self.layout.flat("test targets", targets, samples)?;
        check("the test-train kernel", test_train, (initial.nrows(), self.initial.nrows()))?;
        self.training.spectrum.check_range(test_train)?;
        let rotated = product(test_train, self.training.spectrum.eigenvectors())?;
        let (left, divisor) = (initial - targets, self.training.scale.divisor(samples, self.layout.outputs));
        let point = |&at: &L::At| {
            let gain = self.training.modes(self.layout, at)?.gain;
            let residual = &left + &product(rotated.view(), self.scaled(&gain).view())?;
            let test = 0.5 * residual.iter().map(|r| r * r).sum::<f64>() / divisor;
            let train = self.loss(at)?;
            if test.is_finite() { Ok(CurvePoint { at, train, test }) } else { Err(Error::Overflow) }
        };
        Ok(Curve { points: times.iter().map(point).collect::<Result<_, _>>()? })
    }

    fn coefficients(&self, at: L::At) -> Result<Array2<f64>, Error> {
        let modes = self.training.modes(self.layout, at)?;
        self.training.spectrum.to_samples(self.scaled(&modes.gain).view())
    }

    fn scaled(&self, factor: &Array1<f64>) -> Array2<f64> {
        &self.residual * &factor.view().insert_axis(Axis(1))
    }
}
