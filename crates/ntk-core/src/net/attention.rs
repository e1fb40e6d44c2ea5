//! Self-attention over all positions of a sample, as a plain description.

use crate::{Error, Grid, Rate, Variance, Width};

/// How logits are scaled with the number d of key channels, and which weights make them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum LogitScaling {
    /// ⟨q, k⟩/d with queries and keys of the same weights, q = k up to their scales: the logits tend to constants.
    #[default]
    InverseDimension,
    /// ⟨q, k⟩/√d with independent queries and keys: the logits stay random, and the limit is that of many heads.
    InverseRoot,
}

/// What turns logits into the weights with which positions read each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Weighting {
    /// exp, normalized over the positions that are read.
    #[default]
    Softmax,
    /// The logits themselves.
    Identity,
    /// Their absolute values.
    Abs,
    /// Their positive parts.
    Relu,
}

/// Which positions a position reads; positions beyond the length of a sample are never read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum AttentionMask {
    /// All of them.
    #[default]
    Full,
    /// Itself and those before it (in the order of the grid, last axis fastest).
    Causal,
    /// Those at most this far from it along every axis.
    Local(usize),
    /// Those at most this far before it along every axis, and itself.
    CausalLocal(usize),
}

impl AttentionMask {
    /// Whether position `reader` reads position `read` of a grid.
    pub fn allows(self, grid: &Grid, reader: usize, read: usize) -> bool {
        let near = |radius: usize| {
            let (a, b) = (grid.coordinates(reader), grid.coordinates(read));
            a.iter().zip(b).all(|(a, b)| a.abs_diff(b) <= radius)
        };
        match self {
            AttentionMask::Full => true,
            AttentionMask::Causal => read <= reader,
            AttentionMask::Local(radius) => near(radius),
            AttentionMask::CausalLocal(radius) => read <= reader && near(radius),
        }
    }
}

/// How positional embeddings enter.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum PositionCombine {
    /// They are added to the channels.
    Sum,
    /// They stand beside the channels, this many of them.
    Concat(Width),
}

/// How the covariance of positional embeddings falls with the distance D = Σ |Δ|ᵖ of two positions.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
pub enum PositionDecay {
    /// 1 where D = 0, otherwise 0: independent embeddings.
    Independent,
    /// 1/(1 + D/scale).
    Inverse {
        /// Distance at which half is left, > 0.
        scale: f64,
    },
    /// exp(−D/scale).
    Exponential {
        /// Distance at which 1/e is left, > 0.
        scale: f64,
    },
}

/// Gaussian embeddings of the positions, shared by all samples; they learn at the rate of the layer.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct PositionEmbedding {
    /// Added or concatenated.
    pub combine: PositionCombine,
    /// Variance of each entry.
    pub variance: Variance,
    /// Covariance over positions.
    pub decay: PositionDecay,
    /// The exponent p of the distance, in (0, 2]: beyond 2 the covariances need not be positive.
    pub power: f64,
    /// Whether values carry them too, or queries and keys only.
    pub values: bool,
}

impl PositionEmbedding {
    /// Independent embeddings of variance σ², added to the channels that queries and keys read.
    pub fn sum(variance: Variance) -> Self {
        let (combine, decay) = (PositionCombine::Sum, PositionDecay::Independent);
        PositionEmbedding { combine, variance, decay, power: 2.0, values: false }
    }

    /// The correlation of the embeddings of two positions of a grid, before `variance`.
    pub fn correlation(&self, grid: &Grid, left: usize, right: usize) -> f64 {
        let (a, b) = (grid.coordinates(left), grid.coordinates(right));
        let distance: f64 = a.iter().zip(b).map(|(a, b)| (a.abs_diff(b) as f64).powf(self.power)).sum();
        match self.decay {
            PositionDecay::Independent => f64::from(u8::from(left == right)),
            PositionDecay::Inverse { scale } => 1.0 / (1.0 + distance / scale),
            PositionDecay::Exponential { scale } => (-distance / scale).exp(),
        }
    }
}

/// Multi-head self-attention: y = Σ_h ζ(Q_h K_hᵀ) V_h O_h + b, with logits masked and scaled.
///
/// Variances are those of the weights before division by their fan-in; parameters are in NTK parameterization. The
/// limit does not depend on `heads`, `key` and `value` with [`LogitScaling::InverseDimension`]; with
/// [`LogitScaling::InverseRoot`] it is that of many heads.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Attention {
    /// Channels that go out.
    pub width: Width,
    /// Number of heads.
    pub heads: Width,
    /// Channels d of a query and of a key in one head.
    pub key: Width,
    /// Channels of a value in one head.
    pub value: Width,
    /// σ² of the query weights.
    pub query_variance: Variance,
    /// σ² of the key weights.
    pub key_variance: Variance,
    /// σ² of the value weights.
    pub value_variance: Variance,
    /// σ² of the output weights.
    pub output_variance: Variance,
    /// σ_b², one bias a channel that goes out; none if 0.
    pub bias: Variance,
    /// Learning-rate multiplier of all parameters.
    pub rate: Rate,
    /// Scaling of the logits.
    pub scaling: LogitScaling,
    /// From logits to weights.
    pub weighting: Weighting,
    /// Who reads whom.
    pub mask: AttentionMask,
    /// Embeddings of the positions.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub position: Option<PositionEmbedding>,
}

impl Default for Attention {
    /// Softmax attention with logits ⟨q, k⟩/d, all variances 1, no bias, no mask, eight heads.
    fn default() -> Self {
        Attention {
            width: Width::HIDDEN,
            heads: Width::Fixed(8),
            key: Width::HIDDEN,
            value: Width::HIDDEN,
            query_variance: Variance::ONE,
            key_variance: Variance::ONE,
            value_variance: Variance::ONE,
            output_variance: Variance::ONE,
            bias: Variance::ZERO,
            rate: Rate::ONE,
            scaling: LogitScaling::InverseDimension,
            weighting: Weighting::Softmax,
            mask: AttentionMask::Full,
            position: None,
        }
    }
}

impl Attention {
    pub(crate) fn map_widths(self, f: impl Fn(Width) -> Width) -> Self {
        let position = self.position.map(|position| match position.combine {
            PositionCombine::Concat(channels) => {
                PositionEmbedding { combine: PositionCombine::Concat(f(channels)), ..position }
            }
            PositionCombine::Sum => position,
        });
        Attention {
            width: f(self.width),
            heads: f(self.heads),
            key: f(self.key),
            value: f(self.value),
            position,
            ..self
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let mut widths = vec![self.width, self.heads, self.key, self.value];
        if let Some(position) = self.position {
            if let PositionCombine::Concat(channels) = position.combine {
                widths.push(channels);
            }
            let within = |parameter, value: f64, largest: f64, domain| {
                let error = Error::LayerParameter { layer: "attention", parameter, value, domain };
                if value > 0.0 && value <= largest { Ok(()) } else { Err(error) }
            };
            within("power", position.power, 2.0, "a number in (0, 2]")?;
            match position.decay {
                PositionDecay::Independent => {}
                PositionDecay::Inverse { scale } | PositionDecay::Exponential { scale } => {
                    within("scale", scale, f64::MAX, "a finite positive number")?;
                }
            }
        }
        widths.into_iter().try_for_each(Width::check)
    }
}
