//! Gradient flow of the network in the limit, by the pair of Runge–Kutta methods of Dormand and Prince.
//!
//! The method is written out here because the state grows as it goes: every evaluation may reveal new coordinates.

use super::Limit;
use super::weights::{Signals, Weights};
use crate::Error;

/// Stages: the coefficients of those before; the last line is the solution of order five.
const STAGES: [&[f64]; 6] = [
    &[1.0 / 5.0],
    &[3.0 / 40.0, 9.0 / 40.0],
    &[44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0],
    &[19372.0 / 6561.0, -25360.0 / 2187.0, 64448.0 / 6561.0, -212.0 / 729.0],
    &[9017.0 / 3168.0, -355.0 / 33.0, 46732.0 / 5247.0, 49.0 / 176.0, -5103.0 / 18656.0],
    &[35.0 / 384.0, 0.0, 500.0 / 1113.0, 125.0 / 192.0, -2187.0 / 6784.0, 11.0 / 84.0],
];

/// Order five less order four.
const ERROR: [f64; 7] =
    [71.0 / 57600.0, 0.0, -71.0 / 16695.0, 71.0 / 1920.0, -17253.0 / 339_200.0, 22.0 / 525.0, -1.0 / 40.0];

/// What an integration has cost, and how exact it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Integration {
    /// The sum over steps of the estimated error of the weights, in norm.
    ///
    /// The predictor is off by about √λ_max(K) times this, as long as training brings nearby networks together. It does
    /// not count what a basis of walks leaves out.
    pub error: f64,
    /// Steps taken, of six evaluations each.
    pub accepted: usize,
    /// Steps tried in vain.
    pub rejected: usize,
}

impl Limit {
    /// Gradient flow θ′ = −∇F for a time; one step of descent with rate η takes a time of about η.
    ///
    /// Steps are chosen such that each is wrong by at most `tolerance` of the norm of the weights. Their number grows
    /// like λ_max(S) ‖K‖ `time`/3.
    ///
    /// # Errors
    /// [`Error::Time`]; [`Error::Setting`] for a tolerance outside [1e-12, 0.1]; [`Error::Overflow`].
    ///
    /// Source: \[dormand1980family\].
    pub fn flow(&mut self, time: f64, tolerance: f64) -> Result<Integration, Error> {
        if !(time.is_finite() && time >= 0.0) {
            return Err(Error::Time { value: time });
        }
        if !(1e-12..=0.1).contains(&tolerance) {
            let domain = "between 1e-12 and 0.1";
            return Err(Error::Setting { option: "tolerance", value: tolerance, domain });
        }
        let mut work = Integration::default();
        let mut left = time;
        let mut first = self.signals(self.backward.clone())?;
        let mut h = left.min(self.first_step(&first, tolerance));
        while left > 0.0 {
            let before = self.weights.clone();
            let (last, error) = self.attempt(&before, first.clone(), h)?;
            let ratio = error / (tolerance * self.weights.norm());
            if ratio <= 1.0 {
                first = last;
                left -= h;
                work.error += error;
                work.accepted += 1;
            } else {
                if h <= f64::EPSILON * time {
                    return Err(Error::Overflow);
                }
                self.weights = before;
                self.refresh()?;
                work.rejected += 1;
            }
            // A ratio that is not a number is a step far too large.
            let factor = if ratio.is_nan() { 0.2 } else { 0.9 * ratio.powf(-0.2) };
            h = left.min(h * factor.clamp(0.2, 5.0));
        }
        Ok(work)
    }

    /// One step of the method from these weights: the signals at its end and its error.
    fn attempt(&mut self, before: &Weights, first: Signals, h: f64) -> Result<(Signals, f64), Error> {
        let mut stages = vec![first];
        for coefficients in STAGES {
            self.weights = before.clone();
            for (&a, stage) in coefficients.iter().zip(&stages) {
                if a != 0.0 {
                    self.weights.add(h * a, stage);
                }
            }
            // An overflow here belongs to a step that is refused for its error.
            if self.refresh().is_err() {
                return Ok((stages.swap_remove(0), f64::INFINITY));
            }
            stages.push(self.signals(self.backward.clone())?);
        }
        let mut difference = before.zero();
        for (&e, stage) in ERROR.iter().zip(&stages) {
            difference.add(h * e, stage);
        }
        let error = difference.norm();
        stages.pop().map_or(Err(Error::Overflow), |last| Ok((last, error)))
    }

    /// A step so short that the first derivative alone would do, within a few orders of magnitude.
    fn first_step(&self, signals: &Signals, tolerance: f64) -> f64 {
        let mut slope = self.weights.zero();
        slope.add(1.0, signals);
        0.1 * tolerance.powf(0.2) * self.weights.norm() / slope.norm().max(f64::MIN_POSITIVE)
    }
}
