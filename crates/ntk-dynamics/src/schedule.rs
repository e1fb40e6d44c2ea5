//! Learning rates that change with the step, as multiples of a base rate.

use std::f64::consts::PI;
use std::sync::Arc;

use crate::Error;

/// A factor of the learning rate for each step; the last factor holds for ever after.
///
/// Weight decay, where there is some, is multiplied by it as well, as the gradient of the penalty is.
///
/// ```
/// use ntk_dynamics::Schedule;
/// let schedule = Schedule::warm_up(4).then(&Schedule::cosine(8, 0.0)?);
/// assert_eq!((schedule.factor(0), schedule.factor(3)), (0.25, 1.0));
/// assert!((schedule.factor(8) - 0.5).abs() < 1e-15); // Half-way down the cosine.
/// assert_eq!(schedule.factor(1_000_000), 0.0);
/// # Ok::<(), ntk_dynamics::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Numbers of steps with their factors.
    runs: Arc<[(u64, f64)]>,
    last: f64,
}

impl Schedule {
    /// The base rate at every step.
    pub fn constant() -> Self {
        Schedule { runs: Arc::new([]), last: 1.0 }
    }

    /// One factor for each step, in order, by a function too: `Schedule::factors((0..100).map(|i| …))`.
    ///
    /// # Errors
    /// [`Error::Setting`] for a factor that is negative or not finite.
    pub fn factors(factors: impl IntoIterator<Item = f64>) -> Result<Self, Error> {
        let steps: Vec<(u64, f64)> = factors.into_iter().map(|factor| (1, factor)).collect();
        Self::piecewise(&steps)
    }

    /// Numbers of steps with their factors, in order; none: constant.
    ///
    /// # Errors
    /// [`Error::Setting`] for a factor that is negative or not finite.
    pub fn piecewise(pieces: &[(u64, f64)]) -> Result<Self, Error> {
        if let Some(&(_, value)) = pieces.iter().find(|(_, factor)| !(factor.is_finite() && *factor >= 0.0)) {
            let domain = "finite numbers of at least 0";
            return Err(Error::Setting { option: "a factor of the learning rate", value, domain });
        }
        let mut runs: Vec<(u64, f64)> = Vec::with_capacity(pieces.len());
        for &(steps, factor) in pieces {
            match runs.last_mut() {
                Some(run) if run.1 == factor => run.0 = run.0.saturating_add(steps),
                _ => runs.push((steps, factor)),
            }
        }
        let last = runs.last().map_or(1.0, |run| run.1);
        Ok(Schedule { runs: runs.into(), last })
    }

    /// From 1 down to `floor` along half a cosine, c(i) = floor + (1 − floor)(1 + cos(πi/steps))/2.
    ///
    /// # Errors
    /// [`Error::Setting`] for a floor that is negative or not finite.
    pub fn cosine(steps: u64, floor: f64) -> Result<Self, Error> {
        let part = |i: u64| (PI * i as f64 / steps as f64).cos();
        Self::factors((0..steps).map(|i| floor + (1.0 - floor) * 0.5 * (1.0 + part(i))).chain([floor]))
    }

    /// From 1/steps up to 1, linearly.
    pub fn warm_up(steps: u64) -> Self {
        let runs = (1..=steps).map(|i| (1, i as f64 / steps as f64)).collect();
        Schedule { runs, last: 1.0 }
    }

    /// This schedule, for its own steps, and the next one afterwards.
    #[must_use]
    pub fn then(&self, next: &Schedule) -> Self {
        let runs = self.runs.iter().chain(next.runs.iter()).copied().collect();
        Schedule { runs, last: next.last }
    }

    /// The factor of one step, counted from 0.
    pub fn factor(&self, step: u64) -> f64 {
        let mut before = 0u64;
        for &(steps, factor) in self.runs.iter() {
            before = before.saturating_add(steps);
            if step < before {
                return factor;
            }
        }
        self.last
    }

    /// The factor that holds in the end.
    pub(crate) fn last(&self) -> f64 {
        self.last
    }

    /// The number of steps before the last factor holds for ever.
    pub(crate) fn len(&self) -> u64 {
        self.runs.iter().fold(0, |sum, run| sum.saturating_add(run.0))
    }

    /// The runs of the first `steps` steps.
    pub(crate) fn runs(&self, steps: u64) -> impl Iterator<Item = (u64, f64)> {
        let mut left = steps;
        self.runs.iter().copied().chain([(u64::MAX, self.last)]).map_while(move |(steps, factor)| {
            let taken = steps.min(left);
            left -= taken;
            (taken > 0 || left > 0).then_some((taken, factor))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_the_factors() {
        let schedule = Schedule::piecewise(&[(2, 1.0), (0, 7.0), (3, 0.5), (1, 0.5)]).unwrap();
        for steps in 0..12 {
            let listed: Vec<f64> =
                schedule.runs(steps).flat_map(|(count, factor)| vec![factor; count as usize]).collect();
            let expected: Vec<f64> = (0..steps).map(|step| schedule.factor(step)).collect();
            assert_eq!(listed, expected);
        }
        assert_eq!(schedule.len(), 6);
        assert_eq!(Schedule::constant().runs(5).collect::<Vec<_>>(), [(5, 1.0)]);
        assert!(matches!(Schedule::factors([1.0, -0.1]), Err(Error::Setting { .. })));
        assert!(matches!(Schedule::cosine(3, f64::NAN), Err(Error::Setting { .. })));
    }
}
