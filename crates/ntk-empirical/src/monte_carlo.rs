//! Kernels averaged over draws of a network, with standard errors, until they are precise enough.

use std::ops::ControlFlow;

use ndarray::{Array2, Zip};
use ntk_core::{Batch, KernelBlock, KernelFn, Net, Which};
use rayon::prelude::*;

use crate::{Error, FiniteNet, Lowering, Rules};

/// Draws between two decisions whether to stop; a constant, so that the answer is the same on any number of threads.
const ROUND: usize = 8;

/// The mean over draws of the kernels of a finite network: seed, seed + 1, … of a lowering.
///
/// As a [`KernelFn`] it gives the means.
#[derive(Clone, Debug)]
pub struct MonteCarlo {
    /// The description.
    pub net: Net,
    /// What to lower it with; its seed is the first of the draws.
    pub lowering: Lowering,
    /// What custom names mean.
    pub rules: Rules,
    /// The largest number of draws, at least 2.
    pub max_draws: usize,
    /// Stop as soon as ‖standard errors‖ ≤ this · ‖mean‖ (Frobenius norms) for each kernel asked for; 0 makes all
    /// draws.
    pub relative_error: f64,
}

/// A mean over draws.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Estimate {
    /// Number of draws.
    pub draws: usize,
    /// The mean.
    pub mean: KernelBlock,
    /// The standard error of each entry of the mean, s/√draws.
    pub standard_error: KernelBlock,
}

impl MonteCarlo {
    /// At most `max_draws` draws, without a target precision and without custom names.
    pub fn new(net: Net, lowering: Lowering, max_draws: usize) -> Self {
        MonteCarlo { net, lowering, rules: Rules::new(), max_draws, relative_error: 0.0 }
    }

    /// K(x₁, x₂) or, without x₂, K(x₁, x₁). x₁: (n₁, d), x₂: (n₂, d) → (n₁, n₂) each.
    ///
    /// `observe` is called after each round of a few draws with the estimate so far;
    /// [`ControlFlow::Break`] ends there. Draws run in parallel; the result does not depend on how many threads.
    ///
    /// # Errors
    /// [`Error::Setting`]; those of [`FiniteNet::lower_with`] and of its kernels.
    pub fn estimate(
        &self,
        x1: Batch<'_>,
        x2: Option<Batch<'_>>,
        which: Which,
        mut observe: impl FnMut(&Estimate) -> ControlFlow<()>,
    ) -> Result<Estimate, Error> {
        if self.max_draws < 2 {
            let value = self.max_draws as f64;
            return Err(Error::Setting { option: "max_draws", value, domain: "at least 2" });
        }
        if !(self.relative_error.is_finite() && self.relative_error >= 0.0) {
            let value = self.relative_error;
            return Err(Error::Setting {
                option: "relative_error",
                value,
                domain: "a finite number of at least 0",
            });
        }
        let one = |draw: usize| -> Result<KernelBlock, Error> {
            let seed = self.lowering.seed.wrapping_add(draw as u64);
            let net =
                FiniteNet::lower_with(&self.net, &Lowering { seed, ..self.lowering.clone() }, &self.rules)?;
            match x2 {
                Some(x2) => net.block(x1, x2, which),
                None => net.symmetric(x1, which),
            }
        };
        let (mut nngp, mut ntk) = (None, None);
        let mut draws = 0;
        loop {
            let round = draws..(draws + ROUND).min(self.max_draws);
            let blocks: Vec<_> = round.into_par_iter().map(one).collect::<Result<_, _>>()?;
            for block in blocks {
                draws += 1;
                for (moments, value) in [(&mut nngp, block.nngp), (&mut ntk, block.ntk)] {
                    if let Some(value) = value {
                        Moments::add(moments, value, draws);
                    }
                }
            }
            let both = |f: fn(&Moments, usize) -> Array2<f64>| KernelBlock {
                nngp: nngp.as_ref().map(|m| f(m, draws)),
                ntk: ntk.as_ref().map(|m| f(m, draws)),
            };
            let estimate = Estimate {
                draws,
                mean: both(|m, _| m.mean.clone()),
                standard_error: both(Moments::standard_error),
            };
            let precise =
                [&nngp, &ntk].into_iter().flatten().all(|m| m.relative_error(draws) <= self.relative_error);
            let enough = draws == self.max_draws || (self.relative_error > 0.0 && precise);
            if observe(&estimate).is_break() || enough {
                return Ok(estimate);
            }
        }
    }
}

/// Running mean and sum of squared deviations, by the recurrence of Welford.
struct Moments {
    mean: Array2<f64>,
    squares: Array2<f64>,
}

impl Moments {
    fn add(moments: &mut Option<Moments>, value: Array2<f64>, draws: usize) {
        let Some(Moments { mean, squares }) = moments else {
            *moments = Some(Moments { squares: Array2::zeros(value.dim()), mean: value });
            return;
        };
        Zip::from(mean).and(squares).and(&value).for_each(|mean, squares, &value| {
            let before = value - *mean;
            *mean += before / draws as f64;
            *squares += before * (value - *mean);
        });
    }

    fn standard_error(&self, draws: usize) -> Array2<f64> {
        self.squares.mapv(|s| (s / ((draws - 1) as f64 * draws as f64)).sqrt())
    }

    fn relative_error(&self, draws: usize) -> f64 {
        let norm = |a: &Array2<f64>| a.iter().map(|v| v * v).sum::<f64>().sqrt();
        norm(&self.standard_error(draws)) / norm(&self.mean)
    }
}

impl KernelFn for MonteCarlo {
    type Error = Error;

    fn block(&self, x1: Batch<'_>, x2: Batch<'_>, which: Which) -> Result<KernelBlock, Error> {
        Ok(self.estimate(x1, Some(x2), which, |_| ControlFlow::Continue(()))?.mean)
    }

    fn symmetric(&self, x: Batch<'_>, which: Which) -> Result<KernelBlock, Error> {
        Ok(self.estimate(x, None, which, |_| ControlFlow::Continue(()))?.mean)
    }
}
