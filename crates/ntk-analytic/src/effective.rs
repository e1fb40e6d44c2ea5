//! How signals, gradients and their fluctuations travel through a deep network: which variances of weights and biases
//! make it trainable, and how far a finite width is from the limit.
//!
//! A fully connected network of activation φ has preactivations of variance K¹ in the first layer and
//! Kˡ⁺¹ = σ_b² + σ_w² E φ(u)² with u ~ N(0, Kˡ) after that. [`MeanField`] follows this map and the one of correlations to
//! their fixed points, [`critical()`] finds the variances at which signals neither die nor explode, and
//! [`MeanField::cumulants`] gives what a finite width adds in 1/n.
//!
//! Sources: \[poole2016exponential\], \[schoenholz2017deep\], \[roberts2022principles\].

mod critical;
mod cumulants;
mod moments;
mod phase;
mod tangent;

use std::sync::Arc;

use ntk_core::{Activation, Variance};

use crate::{Error, FunctionDual};
pub use critical::{Class, Critical, critical, critical_function, edge_of_chaos};
pub use cumulants::Cumulants;
use moments::Moments;
pub use phase::{FixedPoint, Phase, Propagation, Stability};
pub use tangent::TangentPair;

/// A fully connected network of any depth, seen through the variance of its preactivations: Kˡ⁺¹ = σ_b² + σ_w² E φ².
///
/// ```
/// use ntk_analytic::effective::{MeanField, Phase};
/// use ntk_core::{Activation, Variance};
///
/// let tanh = |weight: f64| -> Result<_, Box<dyn std::error::Error>> {
///     let field = MeanField::new(&Activation::Tanh, Variance::new(weight)?, Variance::new(0.05)?)?;
///     Ok(field.propagation(1.0)?)
/// };
/// assert_eq!(tanh(1.0)?.phase, Phase::Ordered); // All inputs become alike,
/// assert_eq!(tanh(3.0)?.phase, Phase::Chaotic); // or equally different.
/// assert!(tanh(3.0)?.correlation.is_some_and(|c| c < 0.5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct MeanField {
    moments: Arc<Moments>,
    weight: f64,
    bias: f64,
}

/// What a layer does to small changes of the kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Susceptibilities {
    /// χ_∥ = σ_w² dE φ²/dK: by how much a change of a sample's variance grows.
    pub parallel: f64,
    /// χ_⊥ = σ_w² E φ′²: by how much the distance of two close samples of equal norm, and the mean square of
    /// gradients, grow.
    pub perpendicular: f64,
}

impl std::fmt::Debug for MeanField {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut f = f.debug_struct("MeanField");
        f.field("activation", &self.moments.name()).field("weight", &self.weight);
        f.field("bias", &self.bias).finish()
    }
}

impl MeanField {
    /// Layers of activation φ with σ_w² and σ_b².
    ///
    /// # Errors
    /// [`Error::NoFunction`], [`Error::UnknownActivation`], [`Error::Discontinuous`], and a parameter of φ out of its domain.
    pub fn new(phi: &Activation, weight: Variance, bias: Variance) -> Result<Self, Error> {
        let moments = Arc::new(Moments::of_activation(phi)?);
        Ok(MeanField { moments, weight: weight.get(), bias: bias.get() })
    }

    /// The same for an activation given by a closure.
    ///
    /// # Errors
    /// [`Error::Discontinuous`].
    pub fn from_function(phi: FunctionDual, weight: Variance, bias: Variance) -> Result<Self, Error> {
        let moments = Arc::new(Moments::of_function(phi)?);
        Ok(MeanField { moments, weight: weight.get(), bias: bias.get() })
    }

    /// The same activation with other variances; what is known about the activation is shared.
    pub fn with_variances(&self, weight: Variance, bias: Variance) -> Self {
        MeanField { weight: weight.get(), bias: bias.get(), moments: Arc::clone(&self.moments) }
    }

    /// Kˡ⁺¹ = σ_b² + σ_w² E φ(u)² for u ~ N(0, Kˡ), to 10⁻¹³ of itself.
    ///
    /// # Errors
    /// [`Error::Expectation`], and a variance that is negative or not finite.
    pub fn next(&self, variance: f64) -> Result<f64, Error> {
        Ok(self.bias + self.weight * self.moments.second(variance)?)
    }

    /// K¹, …, K^depth from K¹ = `first`.
    ///
    /// # Errors
    /// As [`MeanField::next`].
    pub fn variances(&self, first: f64, depth: usize) -> Result<Vec<f64>, Error> {
        Variance::new(first)?;
        let mut variances = Vec::with_capacity(depth);
        let mut k = first;
        for layer in 0..depth {
            if layer > 0 {
                k = self.next(k)?;
            }
            variances.push(k);
        }
        Ok(variances)
    }

    /// χ_∥ and χ_⊥ at the variance K of the preactivations; at K = 0 their limits.
    ///
    /// χ_∥ = σ_w² E φφ′z/√K with u = √K z; for smooth φ it is σ_w² E (φ′² + φφ″).
    ///
    /// # Errors
    /// As [`MeanField::next`].
    pub fn susceptibilities(&self, variance: f64) -> Result<Susceptibilities, Error> {
        let [parallel, perpendicular] = self.moments.slopes(variance)?;
        Ok(Susceptibilities { parallel: self.weight * parallel, perpendicular: self.weight * perpendicular })
    }
}

#[cfg(test)]
mod tests;
