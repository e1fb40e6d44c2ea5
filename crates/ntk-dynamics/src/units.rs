//! Learning rates, loss scales, momenta and ridges: numbers whose units are easy to confuse.

use crate::Error;

/// A learning rate η > 0 of the loss as scaled by [`LossScale`].
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct LearningRate(f64);

impl LearningRate {
    /// η.
    ///
    /// # Errors
    /// [`Error::LearningRate`] unless 0 < η < ∞.
    pub fn new(rate: f64) -> Result<Self, Error> {
        if rate.is_finite() && rate > 0.0 {
            Ok(LearningRate(rate))
        } else {
            Err(Error::LearningRate { value: rate })
        }
    }

    /// η.
    pub fn get(self) -> f64 {
        self.0
    }
}

/// What the squared loss ½ Σ (f − y)² over N samples and k outputs is divided by.
///
/// The closed forms hold with the effective rate η/1, η/N or η/(N k).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LossScale {
    /// By nothing: ½ Σ (f − y)².
    Sum,
    /// By the number of samples N.
    MeanN,
    /// By the number of targets N k, as neural-tangents does.
    MeanNK,
}

impl LossScale {
    /// The divisor, for targets of N samples and k outputs.
    pub fn divisor(self, samples: usize, outputs: usize) -> f64 {
        match self {
            LossScale::Sum => 1.0,
            LossScale::MeanN => samples as f64,
            LossScale::MeanNK => samples as f64 * outputs as f64,
        }
    }
}

/// The momentum β ∈ [0, 1) of the heavy ball θ ← θ + β (θ − θ₋) − η ∇L; β = 0 is plain descent.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Momentum(f64);

impl Momentum {
    /// β = 0: plain gradient descent.
    pub const NONE: Momentum = Momentum(0.0);

    /// β.
    ///
    /// # Errors
    /// [`Error::Momentum`] outside [0, 1).
    pub fn new(beta: f64) -> Result<Self, Error> {
        if (0.0..1.0).contains(&beta) { Ok(Momentum(beta)) } else { Err(Error::Momentum { value: beta }) }
    }

    /// β.
    pub fn get(self) -> f64 {
        self.0
    }
}

/// The coefficient μ ≥ 0 of the penalty ½ μ |θ − θ₀|² or ½ μ |θ|², in units of the loss as scaled: each step shrinks
/// by 1 − η μ.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct WeightDecay(f64);

impl WeightDecay {
    /// μ = 0.
    pub const NONE: WeightDecay = WeightDecay(0.0);

    /// μ.
    ///
    /// # Errors
    /// [`Error::Setting`] unless 0 ≤ μ < ∞.
    pub fn new(decay: f64) -> Result<Self, Error> {
        if decay.is_finite() && decay >= 0.0 {
            Ok(WeightDecay(decay))
        } else {
            Err(Error::Setting { option: "weight decay", value: decay, domain: "finite, at least 0" })
        }
    }

    /// μ.
    pub fn get(self) -> f64 {
        self.0
    }
}

/// What is added to the diagonal of the train kernel: Θ + ρ I, checked where it is used.
///
/// In training this is one private feature of variance ρ for every train sample: train outputs include it, and so
/// still reach their targets at infinite time, while test outputs do not. In a [`Posterior`](crate::Posterior) it
/// is the variance of the noise in the targets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ridge {
    /// ρ = 0.
    None,
    /// ρ itself.
    Absolute(f64),
    /// ρ as a multiple of the mean of the diagonal, tr Θ / n.
    RelativeToTrace(f64),
}

impl Ridge {
    /// ρ for a kernel with this trace and number of rows.
    ///
    /// # Errors
    /// [`Error::Ridge`] if the number is negative, NaN or, times its unit, infinite.
    pub fn absolute(self, trace: f64, n: usize) -> Result<f64, Error> {
        let (value, unit) = match self {
            Ridge::None => (0.0, 1.0),
            Ridge::Absolute(value) => (value, 1.0),
            Ridge::RelativeToTrace(value) => (value, trace / n as f64),
        };
        let ridge = value * unit;
        if value >= 0.0 && ridge.is_finite() { Ok(ridge) } else { Err(Error::Ridge { value }) }
    }
}
