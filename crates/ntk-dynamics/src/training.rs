//! Training under squared loss, one eigenmode at a time: what differs between methods is the decay of one mode.

use ndarray::{Array1, ArrayView2};

use crate::layout::Layout;
use crate::{Error, LearningRate, LossScale, Spectrum, Trajectory};

/// How far one eigenmode has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mode {
    /// r: what is left of the initial residual.
    pub residual: f64,
    /// 1 − r, accurate also where it is small.
    pub progress: f64,
}

impl Mode {
    /// r = 1: nothing has happened.
    pub const START: Mode = Mode { residual: 1.0, progress: 0.0 };
    /// r = 0: the mode has learned its target.
    pub const END: Mode = Mode { residual: 0.0, progress: 1.0 };
}

/// A method of training: the decay r of a mode with x = η λ / scale > 0, a function of time that starts at 1.
pub trait Law: Clone {
    /// What time is: [`Time`](crate::Time) or [`Steps`](crate::Steps).
    type At: Copy;

    /// The decay of a mode with x > 0 at a time accepted by [`Law::check`].
    fn mode(&self, x: f64, at: Self::At) -> Mode;

    /// Refuses times for which there is no answer. `maximal`: the largest x among the modes; the error speaks of
    /// the learning rate `rate`.
    ///
    /// # Errors
    /// [`Error::Time`], [`Error::Unstable`].
    fn check(&self, at: Self::At, maximal: f64, rate: LearningRate) -> Result<(), Error>;
}

/// Training of a linearized network under squared loss, in closed form: a kernel's eigensystem, a method, a rate.
///
/// Use it under its names [`GradientFlow`](crate::GradientFlow), [`Descent`](crate::Descent) and
/// [`MomentumFlow`](crate::MomentumFlow).
#[derive(Clone, Debug)]
pub struct Training<L> {
    pub(crate) spectrum: Spectrum,
    pub(crate) law: L,
    pub(crate) rate: LearningRate,
    pub(crate) scale: LossScale,
}

impl<L: Law> Training<L> {
    /// Training by a method of your own; for those of this crate see their `new`.
    pub fn with_law(spectrum: &Spectrum, law: L, rate: LearningRate, scale: LossScale) -> Self {
        Training { spectrum: spectrum.clone(), law, rate, scale }
    }

    /// Sets targets and initial train outputs, both (N, k), and rotates them into the modes: O(n² k).
    ///
    /// # Errors
    /// [`Error::Targets`], [`Error::Shape`], [`Error::NonFinite`].
    pub fn fit(
        &self,
        targets: ArrayView2<'_, f64>,
        initial: ArrayView2<'_, f64>,
    ) -> Result<Trajectory<L>, Error> {
        Trajectory::new(self, targets, initial)
    }

    /// The eigensystem that this training runs in.
    pub fn spectrum(&self) -> &Spectrum {
        &self.spectrum
    }

    /// All modes at one time, ascending in λ; those of λ = 0 have not moved.
    pub(crate) fn modes(&self, layout: Layout, at: L::At) -> Result<Modes, Error> {
        let rate = self.rate.get() / self.scale.divisor(layout.samples, layout.outputs);
        let values = self.spectrum.eigenvalues();
        self.law.check(at, rate * self.spectrum.largest(), self.rate)?;
        let mode = |&value: &f64| if value == 0.0 { Mode::START } else { self.law.mode(rate * value, at) };
        let modes: Vec<Mode> = values.iter().map(mode).collect();
        if !modes.iter().all(|mode| mode.residual.is_finite() && mode.progress.is_finite()) {
            return Err(Error::Overflow);
        }
        Ok(Modes {
            residual: modes.iter().map(|mode| mode.residual).collect(),
            gain: modes
                .iter()
                .zip(values)
                .map(|(m, &v)| if v == 0.0 { 0.0 } else { m.progress / v })
                .collect(),
            progress: modes.iter().map(|mode| mode.progress).collect(),
        })
    }
}

/// r, 1 − r and (1 − r)/λ of all modes.
pub(crate) struct Modes {
    pub(crate) residual: Array1<f64>,
    pub(crate) progress: Array1<f64>,
    /// Zero for λ = 0: such a mode is seen from no test point.
    pub(crate) gain: Array1<f64>,
}
