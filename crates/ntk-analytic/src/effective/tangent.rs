//! Whether gradient descent can train a network of some depth at all: the tangent kernel of samples of equal norm, and its
//! condition number.

use ntk_core::Variance;

use super::MeanField;
use crate::Error;
use crate::dual::correlation;

/// Kernels of one layer for two different inputs of equal norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TangentPair {
    /// K: variance of the preactivations.
    pub variance: f64,
    /// c: their correlation between the inputs.
    pub correlation: f64,
    /// Θ of an input with itself.
    pub ntk: f64,
    /// Θ between the inputs.
    pub ntk_between: f64,
    /// Θ of an input with itself minus Θ between the inputs, which may be too small to be seen in the difference.
    pub ntk_difference: f64,
}

impl TangentPair {
    /// λ_max/λ_min of the tangent kernel of n inputs that pairwise have this correlation, at least 1:
    /// (Θ₁₁ + (n − 1)Θ₁₂)/(Θ₁₁ − Θ₁₂). Gradient descent at the best learning rate takes about as many steps as this
    /// to fit all modes, \[xiao2020disentangling\]. ∞ where the inputs have become one.
    pub fn condition_number(&self, samples: usize) -> f64 {
        let rest = samples.saturating_sub(1) as f64;
        let (common, single) = (self.ntk + rest * self.ntk_between, self.ntk_difference);
        if rest == 0.0 { 1.0 } else { (common / single).max(single / common) }
    }
}

impl MeanField {
    /// Layers 1, …, `depth` for two inputs whose first preactivations have the variance K¹ = `first` and the correlation
    /// 1 − `gap`, in NTK parameterization: Θˡ⁺¹ = Kˡ⁺¹ + σ_w² E φ′φ′ Θˡ.
    ///
    /// # Errors
    /// [`Error::NotCovariance`] unless first > 0 and 0 ≤ gap ≤ 2; [`Error::Overflow`]; those of the dual.
    pub fn tangents(&self, first: f64, gap: f64, depth: usize) -> Result<Vec<TangentPair>, Error> {
        Variance::new(first)?;
        if first == 0.0 || !(0.0..=2.0).contains(&gap) {
            return Err(Error::NotCovariance { q11: first, q22: first, q12: first * (1.0 - gap) });
        }
        // Signed: |s| = 1 − |c|.
        let mut signed = if gap <= 1.0 { gap } else { gap - 2.0 };
        let distance = |signed: f64| if signed.is_sign_positive() { signed } else { 2.0 + signed };
        let mut here = TangentPair {
            variance: first,
            correlation: correlation(signed),
            ntk: first,
            ntk_between: first * correlation(signed),
            ntk_difference: first * distance(signed),
        };
        let mut layers = Vec::with_capacity(depth);
        for layer in 0..depth {
            if layer > 0 {
                let prepared = self.moments.prepare(here.variance)?;
                let output = prepared.variances().0[0];
                let slopes = |gap: &mut [f64; 1]| {
                    let mut slope = [0.0];
                    prepared.row(0, 0, gap, Some(&mut slope));
                    self.weight * slope[0]
                };
                let (own, between) = (slopes(&mut [0.0]), slopes(&mut [signed]));
                let mut mapped = [signed];
                slopes(&mut mapped);
                let variance = self.bias + self.weight * output;
                // The bias is common to both inputs.
                let apart = self.weight * output * distance(mapped[0]);
                let covariance = variance - apart;
                let share = apart / variance;
                signed = if share <= 1.0 { share } else { share - 2.0 };
                here = TangentPair {
                    variance,
                    correlation: covariance / variance,
                    ntk: variance + own * here.ntk,
                    ntk_between: covariance + between * here.ntk_between,
                    ntk_difference: apart + own * here.ntk_difference + (own - between) * here.ntk_between,
                };
                if !(here.ntk.is_finite() && variance > 0.0) {
                    return Err(Error::Overflow { at: format!("layer {}", layer + 1), value: here.ntk });
                }
            }
            layers.push(here);
        }
        Ok(layers)
    }
}
