//! Losses of finite networks: value and gradient in the outputs, and what they are a mean over.

use ndarray::{Array2, ArrayView2, Zip};

use crate::Error;
use crate::products::check_targets;

/// A loss of one sample's outputs f and targets y.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Loss {
    /// ½ Σₖ (fₖ − yₖ)².
    #[default]
    SquaredError,
    /// −Σₖ yₖ ln softmax(f)ₖ, for targets that are distributions over the outputs.
    CrossEntropy,
}

/// What the loss is summed or averaged over, which scales the learning rate.
///
/// With N samples (of the mini-batch, if there is one) and k outputs, a rate η acts as η, η/N, η/(N k).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Reduction {
    /// The sum over samples and outputs.
    Sum,
    /// The mean over samples of the sum over outputs.
    MeanN,
    /// The mean over samples and outputs.
    ///
    /// Source: the convention of \[lee2019wide\].
    #[default]
    MeanNK,
}

impl Reduction {
    /// The factor of the sum over N samples and k outputs.
    pub fn factor(self, samples: usize, outputs: usize) -> f64 {
        match self {
            Reduction::Sum => 1.0,
            Reduction::MeanN => 1.0 / samples as f64,
            Reduction::MeanNK => 1.0 / (samples as f64 * outputs as f64),
        }
    }
}

impl Loss {
    /// The reduced loss and its gradient in the outputs. f, y: (n, k) → one number, (n, k).
    pub(crate) fn gradient(
        self,
        reduction: Reduction,
        f: ArrayView2<'_, f64>,
        y: ArrayView2<'_, f64>,
    ) -> (f64, Array2<f64>) {
        let factor = reduction.factor(f.nrows(), f.ncols());
        let mut gradient = &f - &y;
        let mut value = 0.5 * gradient.iter().map(|g| g * g).sum::<f64>();
        if self == Loss::CrossEntropy {
            value = 0.0;
            Zip::from(gradient.rows_mut()).and(f.rows()).and(y.rows()).for_each(|mut g, f, y| {
                let largest = f.fold(f64::NEG_INFINITY, |a, &b| a.max(b));
                let log_sum = largest + f.mapv(|f| (f - largest).exp()).sum().ln();
                Zip::from(&mut g).and(f).and(y).for_each(|g, &f, &y| {
                    *g = (f - log_sum).exp() - y;
                    value -= y * (f - log_sum);
                });
            });
        }
        gradient *= factor;
        (factor * value, gradient)
    }

    /// Refuses targets that do not fit the outputs or the loss.
    pub(crate) fn check(self, y: ArrayView2<'_, f64>, expected: (usize, usize)) -> Result<(), Error> {
        check_targets(y, expected)?;
        if self == Loss::SquaredError {
            return Ok(());
        }
        let domain = "a probability in a row that sums to 1, as cross-entropy needs";
        for (sample, row) in y.rows().into_iter().enumerate() {
            let stray = row.iter().enumerate().find(|(_, v)| !(0.0..=1.0).contains(*v));
            // 1e-6 admits distributions that passed through f32.
            let stray = stray.or_else(|| ((row.sum() - 1.0).abs() > 1e-6).then_some((0, &row[0])));
            if let Some((output, &value)) = stray {
                return Err(Error::Target { sample, output, value, domain });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn losses_by_hand() {
        let (f, y) = (array![[1.0, 3.0], [0.0, 0.0]], array![[0.0, 1.0], [1.0, 0.0]]);
        let (value, gradient) = Loss::SquaredError.gradient(Reduction::MeanNK, f.view(), y.view());
        assert_eq!((value, gradient), (0.75, array![[0.25, 0.5], [-0.25, 0.0]]));

        let (value, gradient) = Loss::CrossEntropy.gradient(Reduction::Sum, f.view(), y.view());
        let p = 1.0 / (1.0 + (2f64).exp());
        assert!((value - (2f64.ln() - (1.0 - p).ln())).abs() < 1e-15);
        assert!((gradient - array![[p, -p], [-0.5, 0.5]]).iter().all(|g| g.abs() < 1e-15));
    }
}
