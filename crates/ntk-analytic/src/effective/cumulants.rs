//! What a finite width adds: the fluctuations of kernel and tangent kernel over draws of the weights, layer by layer.
//!
//! Given the layer before, the preactivations of a layer are independent Gaussians of a random variance G, and its tangent
//! kernel has the mean H over outputs. Both are averages over n units, so a layer adds fluctuations of its own and carries
//! those of the layer before through the derivatives of the recursion. Everything here is the coefficient of 1/n.

use ntk_core::Variance;

use super::MeanField;
use crate::Error;

/// Statistics of the preactivations of one layer for one input, and of its tangent kernel Θ̂ᵢⱼ between units i and j, in
/// networks whose hidden layers have n units each (NTK parameterization). Source: \[roberts2022principles\] chapters 4
/// and 8; the letters are theirs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cumulants {
    /// K: variance of the preactivations.
    pub variance: f64,
    /// Θ: mean of Θ̂ᵢᵢ.
    pub ntk: f64,
    /// V: the four-point vertex, n Var G. E zᵢ²zⱼ² − K² = V/n and the excess kurtosis of zᵢ is 3V/(nK²).
    pub vertex: f64,
    /// A: n Cov(Θ̂ᵢᵢ, Θ̂ⱼⱼ), i ≠ j.
    pub ntk_common: f64,
    /// B: n E Θ̂ᵢⱼ², i ≠ j; Θ̂ᵢᵢ fluctuates by 2B/n besides the common A/n.
    pub ntk_single: f64,
    /// D: n Cov(zᵢ², Θ̂ⱼⱼ), i ≠ j.
    pub cross_common: f64,
    /// F: n E zᵢzⱼΘ̂ᵢⱼ, i ≠ j.
    pub cross_single: f64,
}

impl Cumulants {
    /// n Var Θ̂ᵢᵢ = A + 2B.
    pub fn ntk_variance(&self) -> f64 {
        self.ntk_common + 2.0 * self.ntk_single
    }

    /// n (E G² − K²)/K², where G is the mean of z² over the n units of this layer: V/K² + 2, the 2 being the noise of an
    /// average over n units.
    pub fn norm_variance(&self) -> f64 {
        self.vertex / (self.variance * self.variance) + 2.0
    }

    /// n times the excess kurtosis of one unit, 3V/K².
    pub fn excess_kurtosis(&self) -> f64 {
        3.0 * self.vertex / (self.variance * self.variance)
    }
}

impl MeanField {
    /// The statistics of layers 1, …, `depth` from K¹ = `first`, the first layer being exactly Gaussian.
    ///
    /// ```
    /// use ntk_analytic::effective::MeanField;
    /// use ntk_core::{Activation, Variance};
    ///
    /// // Critical ReLU networks: V = 5(l − 1)K².
    /// let relu = MeanField::new(&Activation::Relu, Variance::TWO, Variance::ZERO)?;
    /// let layers = relu.cumulants(1.0, 4)?;
    /// assert!((layers[3].vertex - 15.0).abs() < 1e-10);
    /// # Ok::<(), ntk_analytic::Error>(())
    /// ```
    ///
    /// With χ_∥, χ_⊥ and χ′ = dχ_⊥/dK at K, and ⟨·⟩ over u ~ N(0, K):
    /// * K′ = σ_b² + σ_w²⟨φ²⟩ and Θ′ = K′ + χ_⊥Θ;
    /// * the covariance of (G, H): (V, D; D, A)′ = J (V, D; D, A) Jᵀ + σ_w⁴ Cov(φ², φ² + Θφ′²) with
    ///   J = (χ_∥, 0; χ_∥ + Θχ′, χ_⊥);
    /// * B′ = χ_⊥²B + σ_w⁴⟨φ′⁴⟩Θ² and F′ = χ_∥²F + σ_w⁴⟨φ²φ′²⟩Θ.
    ///
    /// # Errors
    /// [`Error::Expectation`] where ⟨φ⁴⟩ does not exist, [`Error::Overflow`], and a variance that is negative or not finite.
    pub fn cumulants(&self, first: f64, depth: usize) -> Result<Vec<Cumulants>, Error> {
        Variance::new(first)?;
        let mut here = Cumulants {
            variance: first,
            ntk: first,
            vertex: 0.0,
            ntk_common: 0.0,
            ntk_single: 0.0,
            cross_common: 0.0,
            cross_single: 0.0,
        };
        let mut layers = Vec::with_capacity(depth);
        for layer in 0..depth {
            if layer > 0 {
                here = self.advance(&here)?;
            }
            let largest = here.vertex.abs().max(here.ntk_variance().abs()).max(here.variance);
            if !largest.is_finite() {
                return Err(Error::Overflow { at: format!("layer {}", layer + 1), value: largest });
            }
            layers.push(here);
        }
        Ok(layers)
    }

    fn advance(&self, here: &Cumulants) -> Result<Cumulants, Error> {
        let (k, theta) = (here.variance, here.ntk);
        let [second, slope, fourth, slope4, mixed] =
            self.moments.expect(k, |_, y, dy| [y * y, dy * dy, y.powi(4), dy.powi(4), (y * dy).powi(2)])?;
        // dχ_⊥/dK only matters where there are fluctuations, not at K = 0.
        let bend = if k == 0.0 {
            0.0
        } else {
            self.moments.expect(k, |z, _, dy| [dy * dy * (z * z - 1.0)])?[0] / (2.0 * k)
        };
        let chi = self.susceptibilities(k)?;
        let (weight, square) = (self.weight, self.weight * self.weight);
        let variance = self.bias + weight * second;
        let (own, cross) = (chi.parallel, chi.parallel + theta * weight * bend);
        let [value, both, slopes] =
            [fourth - second * second, mixed - second * slope, slope4 - slope * slope];
        let (v, d, a) = (here.vertex, here.cross_common, here.ntk_common);
        let perpendicular = chi.perpendicular;
        Ok(Cumulants {
            variance,
            ntk: variance + perpendicular * theta,
            vertex: own * own * v + square * value,
            cross_common: own * (cross * v + perpendicular * d) + square * (value + theta * both),
            ntk_common: cross * cross * v
                + 2.0 * cross * perpendicular * d
                + perpendicular * perpendicular * a
                + square * (value + 2.0 * theta * both + theta * theta * slopes),
            ntk_single: perpendicular * perpendicular * here.ntk_single + square * slope4 * theta * theta,
            cross_single: own * own * here.cross_single + square * mixed * theta,
        })
    }
}
