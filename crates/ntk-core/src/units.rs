//! Numbers that are easy to confuse: variances (not standard deviations), widths that may be symbolic,
//! learning-rate multipliers, probabilities to drop.

use crate::Error;

/// A variance σ² ≥ 0: never a standard deviation.
///
/// ```
/// use ntk_core::Variance;
/// assert_eq!(Variance::from_std(1.5)?.get(), 2.25);
/// assert!(Variance::new(-1.0).is_err());
/// # Ok::<(), ntk_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "f64", into = "f64")
)]
pub struct Variance(f64);

impl Variance {
    /// σ² = 0: no bias, or weights that start at zero.
    pub const ZERO: Variance = Variance(0.0);
    /// σ² = 1.
    pub const ONE: Variance = Variance(1.0);
    /// σ² = 2, which keeps the variance of a ReLU network constant over depth (He initialization).
    pub const TWO: Variance = Variance(2.0);

    /// The variance σ² itself.
    ///
    /// # Errors
    /// [`Error::Variance`] if the number is negative, infinite or NaN.
    pub fn new(variance: f64) -> Result<Self, Error> {
        if variance.is_finite() && variance >= 0.0 {
            Ok(Variance(variance))
        } else {
            Err(Error::Variance { value: variance })
        }
    }

    /// The variance σ² of a given standard deviation σ.
    ///
    /// # Errors
    /// [`Error::Variance`] if the square is not finite.
    pub fn from_std(std: f64) -> Result<Self, Error> {
        Self::new(std * std)
    }

    /// σ².
    pub fn get(self) -> f64 {
        self.0
    }

    /// σ = √σ².
    pub fn std(self) -> f64 {
        self.0.sqrt()
    }
}

impl TryFrom<f64> for Variance {
    type Error = Error;
    fn try_from(variance: f64) -> Result<Self, Error> {
        Self::new(variance)
    }
}

impl From<Variance> for f64 {
    fn from(variance: Variance) -> f64 {
        variance.0
    }
}

/// A learning-rate multiplier ≥ 0 of one group of parameters; 0 freezes it.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "f64", into = "f64")
)]
pub struct Rate(f64);

impl Rate {
    /// The group does not learn: it enters the NNGP and not the NTK.
    pub const FROZEN: Rate = Rate(0.0);
    /// The global learning rate as it is.
    pub const ONE: Rate = Rate(1.0);

    /// A multiplier of the learning rate.
    ///
    /// # Errors
    /// [`Error::Rate`] if the number is negative, infinite or NaN.
    pub fn new(rate: f64) -> Result<Self, Error> {
        if rate.is_finite() && rate >= 0.0 { Ok(Rate(rate)) } else { Err(Error::Rate { value: rate }) }
    }

    /// The multiplier.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Rate {
    type Error = Error;
    fn try_from(rate: f64) -> Result<Self, Error> {
        Self::new(rate)
    }
}

impl From<Rate> for f64 {
    fn from(rate: Rate) -> f64 {
        rate.0
    }
}

/// The probability, in [0, 1), with which dropout sets a unit to zero (not the probability to keep it).
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "f64", into = "f64")
)]
pub struct DropRate(f64);

impl DropRate {
    /// The probability to drop.
    ///
    /// # Errors
    /// [`Error::DropRate`] outside [0, 1).
    pub fn new(rate: f64) -> Result<Self, Error> {
        if (0.0..1.0).contains(&rate) { Ok(DropRate(rate)) } else { Err(Error::DropRate { value: rate }) }
    }

    /// The probability to drop.
    pub fn get(self) -> f64 {
        self.0
    }

    /// The probability to keep, 1 − rate.
    pub fn keep(self) -> f64 {
        1.0 - self.0
    }
}

impl TryFrom<f64> for DropRate {
    type Error = Error;
    fn try_from(rate: f64) -> Result<Self, Error> {
        Self::new(rate)
    }
}

impl From<DropRate> for f64 {
    fn from(rate: DropRate) -> f64 {
        rate.0
    }
}

/// The number of units of a layer: relative to the width n that the network is lowered at, or fixed.
///
/// One `Net` is lowered at n = 64, 256, 1024; n → ∞ is the limit that `ntk-analytic` computes.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Width {
    /// `ratio` · n units, rounded, at least one.
    Hidden(f64),
    /// This many units at every n, as for a readout.
    Fixed(usize),
}

impl Width {
    /// n units.
    pub const HIDDEN: Width = Width::Hidden(1.0);

    /// The number of units at width n.
    pub fn at(self, n: usize) -> usize {
        match self {
            Width::Hidden(ratio) => ((ratio * n as f64).round() as usize).max(1),
            Width::Fixed(units) => units,
        }
    }

    pub(crate) fn check(self) -> Result<(), Error> {
        match self {
            Width::Hidden(ratio) if ratio.is_finite() && ratio > 0.0 => Ok(()),
            Width::Hidden(ratio) => Err(Error::WidthRatio { value: ratio }),
            Width::Fixed(0) => Err(Error::ZeroWidth),
            Width::Fixed(_) => Ok(()),
        }
    }
}

impl std::fmt::Display for Width {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Width::Hidden(1.0) => write!(f, "n"),
            Width::Hidden(ratio) => write!(f, "{ratio}n"),
            Width::Fixed(units) => write!(f, "{units}"),
        }
    }
}
