//! A sentence of a paper as a number with a tolerance, and whether it held.

use serde::{Deserialize, Serialize};

use crate::number::{lossless, show};

/// On which sides of the expected value a measured slope may not leave the tolerance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The rate is the expected one: |got − expected| ≤ tolerance.
    Both,
    /// The expected rate is an upper bound, faster decay is welcome: got ≤ expected + tolerance.
    Above,
    /// The expected rate is a lower bound: got ≥ expected − tolerance.
    Below,
}

/// What a measured number must satisfy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Criterion {
    /// |got − expected| ≤ tolerance.
    Within {
        /// The number of the paper, or of an exact computation.
        #[serde(with = "lossless")]
        expected: f64,
        /// Largest distance allowed.
        #[serde(with = "lossless")]
        tolerance: f64,
    },
    /// got ≤ the bound.
    AtMost(#[serde(with = "lossless")] f64),
    /// got ≥ the bound.
    AtLeast(#[serde(with = "lossless")] f64),
    /// A fitted rate: off by at most `tolerance` plus three standard errors of the fit, on the sides named.
    Slope {
        /// The exponent of the theorem.
        #[serde(with = "lossless")]
        expected: f64,
        /// Allowance for finite sizes, normally 0.1.
        #[serde(with = "lossless")]
        tolerance: f64,
        /// Standard error of the fit, from [`Fit`](crate::stats::Fit).
        #[serde(with = "lossless")]
        standard_error: f64,
        /// Where it counts.
        side: Side,
    },
}

impl Criterion {
    /// Whether a number satisfies it; NaN never does.
    pub fn holds(&self, got: f64) -> bool {
        match *self {
            Criterion::Within { expected, tolerance } => (got - expected).abs() <= tolerance,
            Criterion::AtMost(bound) => got <= bound,
            Criterion::AtLeast(bound) => got >= bound,
            Criterion::Slope { expected, tolerance, standard_error, side } => {
                let allowed = tolerance + 3.0 * standard_error;
                match side {
                    Side::Both => (got - expected).abs() <= allowed,
                    Side::Above => got - expected <= allowed,
                    Side::Below => expected - got <= allowed,
                }
            }
        }
    }
}

impl Criterion {
    /// The share of its allowance that a number uses: at most 1 where it holds, 0 for the best number, infinite for NaN.
    ///
    /// For bounds it is got/bound or bound/got, where both have one sign; else 0 or infinite.
    pub fn used(&self, got: f64) -> f64 {
        let share = |distance: f64, allowed: f64| if distance <= 0.0 { 0.0 } else { distance / allowed };
        let used = match *self {
            Criterion::Within { expected, tolerance } => share((got - expected).abs(), tolerance),
            // A negative upper bound is passed on its far side.
            Criterion::AtMost(bound) if bound > 0.0 => share(got, bound),
            Criterion::AtMost(bound) if bound < 0.0 && got < 0.0 => bound / got,
            Criterion::AtLeast(bound) if bound > 0.0 && got > 0.0 => bound / got,
            Criterion::AtMost(_) | Criterion::AtLeast(_) if self.holds(got) => 0.0,
            Criterion::AtMost(_) | Criterion::AtLeast(_) => f64::INFINITY,
            Criterion::Slope { expected, tolerance, standard_error, side } => {
                let distance = match side {
                    Side::Both => (got - expected).abs(),
                    Side::Above => got - expected,
                    Side::Below => expected - got,
                };
                share(distance, tolerance + 3.0 * standard_error)
            }
        };
        if used.is_nan() { f64::INFINITY } else { used }
    }
}

impl std::fmt::Display for Criterion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Criterion::Within { expected, tolerance } => {
                write!(f, "{} ± {}", show(expected), show(tolerance))
            }
            Criterion::AtMost(bound) => write!(f, "≤ {}", show(bound)),
            Criterion::AtLeast(bound) => write!(f, "≥ {}", show(bound)),
            Criterion::Slope { expected, tolerance, standard_error, side } => {
                let (expected, allowed) = (show(expected), show(tolerance + 3.0 * standard_error));
                match side {
                    Side::Both => write!(f, "{expected} ± {allowed}"),
                    Side::Above => write!(f, "≤ {expected} + {allowed}"),
                    Side::Below => write!(f, "≥ {expected} − {allowed}"),
                }
            }
        }
    }
}

/// A sentence of a paper as a number with a tolerance.
///
/// ```
/// use ntk_bench::{Claim, Criterion};
/// let claim = Claim::new("[lee2019wide] Fig. 1", "exponent in n of the change of Θ", Criterion::AtMost(-0.4), -0.93);
/// assert!(claim.holds);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Claim {
    /// Where it is claimed: bibliography key and place.
    pub source: String,
    /// What was measured, in words, with its unit.
    pub quantity: String,
    /// What it must satisfy.
    pub criterion: Criterion,
    /// The number measured.
    #[serde(with = "lossless")]
    pub got: f64,
    /// Whether it held. A claim that fails stays in the report.
    pub holds: bool,
}

impl Claim {
    /// Judges a measured number.
    pub fn new(
        source: impl Into<String>,
        quantity: impl Into<String>,
        criterion: Criterion,
        got: f64,
    ) -> Self {
        let holds = criterion.holds(got);
        Claim { source: source.into(), quantity: quantity.into(), criterion, got, holds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn criteria_judge_by_hand() {
        let slope = |side| Criterion::Slope { expected: -0.5, tolerance: 0.125, standard_error: 0.125, side };
        for (criterion, inside, outside) in [
            (Criterion::Within { expected: 2.0, tolerance: 0.25 }, 2.25, 2.26),
            (Criterion::AtMost(-0.5), -0.5, -0.49),
            (Criterion::AtLeast(0.95), 0.95, 0.94),
            (slope(Side::Both), -1.0, -1.01),
            (slope(Side::Above), -7.0, 0.01),
            (slope(Side::Below), 7.0, -1.01),
        ] {
            assert!(criterion.holds(inside), "{criterion}");
            assert!(!criterion.holds(outside), "{criterion}");
            assert!(!criterion.holds(f64::NAN), "{criterion}");
            assert!(criterion.used(inside) <= 1.0 && criterion.used(outside) > 1.0, "{criterion}");
            assert_eq!(criterion.used(f64::NAN), f64::INFINITY);
        }
    }

    #[test]
    fn a_claim_survives_json() {
        for got in [0.25, f64::NAN, f64::INFINITY] {
            let claim = Claim::new("[key]", "a number", Criterion::AtMost(0.5), got);
            let text = serde_json::to_string(&claim).unwrap();
            let back: Claim = serde_json::from_str(&text).unwrap();
            assert_eq!((back.got.to_bits(), back.holds), (got.to_bits(), got == 0.25));
        }
    }
}
