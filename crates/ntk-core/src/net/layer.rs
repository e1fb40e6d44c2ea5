//! The layers of a network, each a plain value.

use crate::{Activation, DropRate, Error, Rate, Variance, Width};

/// How the weights of an affine layer are scaled, which decides what a global learning rate does to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Parameterization {
    /// y = σ_w/√fan_in · ω x + σ_b β, with ω, β drawn from N(0, 1).
    #[default]
    Ntk,
    /// y = W x + b, with W drawn from N(0, σ_w²/fan_in) and b from N(0, σ_b²).
    Standard,
}

/// What an affine layer multiplies by and adds: variances, parameterization and learning-rate multipliers.
///
/// With K, Θ the kernels of the layer's input, its output has K′ = σ_w² K + σ_b² and
/// Θ′ = λ_w σ_w² K + λ_b σ_b² + σ_w² Θ (NTK parameterization) or
/// Θ′ = λ_w fan_in K + λ_b + σ_w² Θ (standard).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// σ_w².
    pub weight: Variance,
    /// σ_b².
    pub bias: Variance,
    /// Scaling of the parameters.
    pub parameterization: Parameterization,
    /// λ_w: learning-rate multiplier of the weights.
    pub weight_rate: Rate,
    /// λ_b: learning-rate multiplier of the bias; `Rate::FROZEN` together with σ_b² = 0 means that there is none.
    pub bias_rate: Rate,
}

impl Affine {
    /// NTK parameterization, both rates 1; without a bias if σ_b² = 0.
    pub fn new(weight: Variance, bias: Variance) -> Self {
        let bias_rate = if bias == Variance::ZERO { Rate::FROZEN } else { Rate::ONE };
        Affine { weight, bias, parameterization: Parameterization::Ntk, weight_rate: Rate::ONE, bias_rate }
    }

    /// The same layer in standard parameterization.
    pub fn standard(self) -> Self {
        Affine { parameterization: Parameterization::Standard, ..self }
    }

    /// Whether the layer adds a bias.
    pub fn has_bias(&self) -> bool {
        self.bias != Variance::ZERO || self.bias_rate != Rate::FROZEN
    }
}

/// One layer.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// A fully connected affine map of the channels with weights of its own.
    Dense {
        /// Number of units.
        width: Width,
        /// Variances, parameterization, rates.
        affine: Affine,
    },
    /// A coordinatewise nonlinearity.
    Activation(Activation),
    /// (x − mean)/√(variance + ε) over the channels of a sample, without trained scale or shift.
    LayerNorm {
        /// ε ≥ 0.
        epsilon: f64,
    },
    /// Sets units to zero at random and divides the others by the probability to keep, independently for each sample.
    Dropout {
        /// Probability to drop.
        rate: DropRate,
    },
    /// A layer that each interpreter looks up by name in its registry, at construction.
    Custom {
        /// Name in the registry.
        name: String,
        /// Numbers handed to the registered rule.
        parameters: Vec<f64>,
    },
}

impl Layer {
    /// The name used in messages and tables.
    pub fn name(&self) -> &str {
        match self {
            Layer::Dense { .. } => "dense",
            Layer::Activation(phi) => phi.name(),
            Layer::LayerNorm { .. } => "layer_norm",
            Layer::Dropout { .. } => "dropout",
            Layer::Custom { name, .. } => name,
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        match self {
            Layer::Dense { width, .. } => width.check(),
            Layer::Activation(phi) => phi.check(),
            Layer::LayerNorm { epsilon } if epsilon.is_finite() && *epsilon >= 0.0 => Ok(()),
            Layer::LayerNorm { epsilon } => Err(Error::LayerParameter {
                layer: "layer_norm",
                parameter: "epsilon",
                value: *epsilon,
                domain: "a finite number of at least 0",
            }),
            Layer::Dropout { .. } => Ok(()),
            Layer::Custom { parameters, .. } => match parameters.iter().find(|p| !p.is_finite()) {
                Some(&value) => Err(Error::LayerParameter {
                    layer: "custom",
                    parameter: "parameters",
                    value,
                    domain: "finite numbers",
                }),
                None => Ok(()),
            },
        }
    }
}
