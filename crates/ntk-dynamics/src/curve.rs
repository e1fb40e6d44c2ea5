//! Learning curves: train and test loss over time, when to stop, and steps beside their continuous limit.

use ndarray::{Array2, ArrayView2};

use crate::{
    Descent, Error, GradientFlow, LearningRate, LossScale, Momentum, MomentumFlow, Spectrum, Steps, Time,
};

/// Losses at one time of training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CurvePoint<At> {
    /// When.
    pub at: At,
    /// ½ Σ (f − Y)²/scale on the train set.
    pub train: f64,
    /// The same on the test set.
    pub test: f64,
}

/// A learning curve, from [`Trajectory::curve`](crate::Trajectory::curve).
#[derive(Clone, Debug, PartialEq)]
pub struct Curve<At> {
    /// In the order of the times.
    pub points: Vec<CurvePoint<At>>,
}

impl<At> Curve<At> {
    /// Where to stop: the first point of least test loss; nothing on an empty curve.
    pub fn best(&self) -> Option<&CurvePoint<At>> {
        self.points.iter().reduce(|best, point| if point.test < best.test { point } else { best })
    }
}

/// Train outputs of steps and of their continuous limit at the same time.
#[derive(Clone, Debug, PartialEq)]
pub struct SideBySide {
    /// The number of steps t, which is the time of the flow.
    pub step: u64,
    /// f_t of [`Descent`], (N, k).
    pub descent: Array2<f64>,
    /// f(t) of [`GradientFlow`], or of [`MomentumFlow`] with momentum, (N, k).
    pub flow: Array2<f64>,
    /// max |f_t − f(t)|.
    pub distance: f64,
}

/// Discrete and continuous predictions for the same training, at these numbers of steps: what the continuous limit
/// leaves out at this learning rate. `targets`, `initial`: (N, k).
///
/// ```
/// use ndarray::array;
/// use ntk_dynamics::{Gram, LearningRate, LossScale, Momentum, Ridge, Spectrum, side_by_side};
/// let spectrum = Spectrum::new(&Gram::new(array![[2.0]])?, Ridge::None)?;
/// let (y, f, rate) = (array![[1.0]], array![[0.0]], LearningRate::new(0.25)?);
/// let both =
///     side_by_side(&spectrum, rate, LossScale::Sum, Momentum::NONE, y.view(), f.view(), &[0, 1])?;
/// assert_eq!(both[0].distance, 0.0);
/// assert!((both[1].distance - ((-0.5_f64).exp() - 0.5)).abs() < 1e-15);
/// # Ok::<(), ntk_dynamics::Error>(())
/// ```
///
/// # Errors
/// [`Error::Targets`], [`Error::Shape`], [`Error::NonFinite`]; [`Error::Overflow`] for steps that diverge.
pub fn side_by_side(
    spectrum: &Spectrum,
    rate: LearningRate,
    scale: LossScale,
    momentum: Momentum,
    targets: ArrayView2<'_, f64>,
    initial: ArrayView2<'_, f64>,
    steps: &[u64],
) -> Result<Vec<SideBySide>, Error> {
    let descent = Descent::new(spectrum, rate, scale, momentum).fit(targets, initial)?;
    let flow = GradientFlow::new(spectrum, rate, scale).fit(targets, initial)?;
    let heavy = MomentumFlow::new(spectrum, rate, scale, momentum).fit(targets, initial)?;
    let each = |&step: &u64| {
        let time = Time::Finite(step as f64);
        let flow = if momentum == Momentum::NONE { flow.train(time)? } else { heavy.train(time)? };
        let descent = descent.train(Steps::Finite(step))?;
        let distance = descent.iter().zip(&flow).fold(0.0_f64, |m, (a, b)| m.max((a - b).abs()));
        Ok(SideBySide { step, descent, flow, distance })
    };
    steps.iter().map(each).collect()
}
