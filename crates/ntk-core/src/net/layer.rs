//! The layers of a network, each a plain value.

use super::attention::Attention;
use super::window::Window;
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

    /// The same layer with parameters that do not learn: it enters the NNGP and not the NTK.
    pub fn frozen(self) -> Self {
        Affine { weight_rate: Rate::FROZEN, bias_rate: Rate::FROZEN, ..self }
    }

    /// Whether the layer adds a bias.
    pub fn has_bias(&self) -> bool {
        self.bias != Variance::ZERO || self.bias_rate != Rate::FROZEN
    }
}

/// Which weights a sliding window multiplies by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum ConvKind {
    /// The same at every position: a convolution.
    #[default]
    Shared,
    /// The same at every position, spreading each input over the outputs: a transposed convolution.
    Transposed,
    /// Weights of its own at every position: a locally connected layer.
    Local,
}

/// Which input channels an output channel of a convolution reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Groups {
    /// Those of its group, of this many groups of equal size; all of them if 1.
    Count(usize),
    /// One: as many groups as channels, and as many channels out as in.
    Depthwise,
}

/// What a pooling does with the positions under its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Pooling {
    /// Their sum over the number of positions of the window, padding included.
    Average,
    /// Their sum over the number of positions that are not padding.
    EdgeAverage,
    /// Their sum.
    Sum,
}

/// The axes over which a layer normalizes; channels are always among them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Axes {
    /// Channels only, each position by itself.
    Channels,
    /// Channels and all positions.
    All,
    /// Channels and these axes of the grid.
    With(Vec<usize>),
}

impl Axes {
    /// Which axes of a grid of this rank are normalized over.
    pub fn of(&self, rank: usize) -> Vec<bool> {
        (0..rank)
            .map(|axis| match self {
                Axes::Channels => false,
                Axes::All => true,
                Axes::With(axes) => axes.contains(&axis),
            })
            .collect()
    }
}

/// Positions along one axis, as `start..stop` with a step; negative numbers count from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Span {
    /// First position; the near end if none.
    #[cfg_attr(feature = "serde", serde(default))]
    pub start: Option<isize>,
    /// The position before which to stop; the far end if none.
    #[cfg_attr(feature = "serde", serde(default))]
    pub stop: Option<isize>,
    /// Step, not 0; negative steps walk backwards.
    pub step: isize,
}

impl Span {
    /// Every position.
    pub const ALL: Span = Span { start: None, stop: None, step: 1 };

    /// The positions of an axis of `side` positions.
    pub fn positions(&self, side: usize) -> Vec<usize> {
        let side = side as isize;
        let (low, high) = if self.step > 0 { (0, side) } else { (-1, side - 1) };
        let bound = |at: Option<isize>, default: isize| {
            at.map_or(default, |at| (if at < 0 { at + side } else { at }).clamp(low, high))
        };
        let (start, stop) = if self.step > 0 { (0, side) } else { (side - 1, -1) };
        let (mut at, stop) = (bound(self.start, start), bound(self.stop, stop));
        let mut positions = Vec::new();
        while self.step != 0 && (if self.step > 0 { at < stop } else { at > stop }) {
            positions.push(at as usize);
            at = at.saturating_add(self.step);
        }
        positions
    }
}

/// How an image is resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Interpolation {
    /// The nearest position.
    Nearest,
    /// The two nearest positions, in proportion; where the image shrinks, all under a triangle of the new spacing.
    Linear,
}

/// One layer.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// An affine map of the channels with weights of its own, the same at every position.
    Dense {
        /// Number of units.
        width: Width,
        /// Variances, parameterization, rates.
        affine: Affine,
    },
    /// A sliding affine map, with fan-in window × channels of a group.
    Conv {
        /// Shared, transposed or local weights.
        kind: ConvKind,
        /// Number of channels that go out.
        width: Width,
        /// Variances, parameterization, rates; one bias a channel (a channel and position if local).
        affine: Affine,
        /// Shape, strides, dilation, padding.
        window: Window,
        /// Which channels are read.
        groups: Groups,
    },
    /// A sliding average or sum of positions.
    Pool {
        /// Average or sum.
        pooling: Pooling,
        /// Shape, strides, padding.
        window: Window,
    },
    /// The average or sum of all positions of a sample: no axes are left.
    GlobalPool {
        /// Average or sum.
        pooling: Pooling,
    },
    /// All positions become channels: no axes are left.
    Flatten,
    /// The positions of each axis that a span names.
    Index {
        /// One for each axis of the grid.
        spans: Vec<Span>,
    },
    /// The image at another size.
    Resize {
        /// New sides; none keeps the side.
        sides: Vec<Option<usize>>,
        /// Nearest or linear.
        interpolation: Interpolation,
    },
    /// A fixed linear map along one axis.
    Linear {
        /// The axis.
        axis: usize,
        /// The matrix: one row for each position that goes out, one column for each that comes in.
        rows: Vec<Vec<f64>>,
        /// Whether the axis, then of one position, is removed.
        remove: bool,
    },
    /// y_p = Σ_q A_qp x_q over one axis, with the weighted adjacency A that comes with each sample of the batch.
    Aggregate {
        /// The axis of the nodes.
        axis: usize,
    },
    /// A vector of weights for each token; the input is a batch of tokens. K = σ_w² [same token], without division by
    /// the vocabulary.
    Embedding {
        /// Number of units.
        width: Width,
        /// Variances, parameterization, rates; without bias.
        affine: Affine,
    },
    /// Self-attention over the positions of a sample.
    Attention(Box<Attention>),
    /// A coordinatewise nonlinearity.
    Activation(Activation),
    /// (x − mean)/√(variance + ε) over the channels, and over positions if asked, without trained scale or shift.
    LayerNorm {
        /// Channels, alone or with positions.
        axes: Axes,
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
            Layer::Custom { name, .. } => name,
            Layer::Activation(phi) => phi.name(),
            _ => self.kind_name(),
        }
    }

    /// The name of the kind of layer.
    pub(crate) fn kind_name(&self) -> &'static str {
        match self {
            Layer::Dense { .. } => "dense",
            Layer::Conv { kind: ConvKind::Shared, .. } => "conv",
            Layer::Conv { kind: ConvKind::Transposed, .. } => "conv_transpose",
            Layer::Conv { kind: ConvKind::Local, .. } => "conv_local",
            Layer::Pool { pooling: Pooling::Sum, .. } => "sum_pool",
            Layer::Pool { .. } => "average_pool",
            Layer::GlobalPool { pooling: Pooling::Sum } => "global_sum_pool",
            Layer::GlobalPool { .. } => "global_average_pool",
            Layer::Flatten => "flatten",
            Layer::Index { .. } => "index",
            Layer::Resize { .. } => "resize",
            Layer::Linear { .. } => "linear",
            Layer::Aggregate { .. } => "aggregate",
            Layer::Embedding { .. } => "embedding",
            Layer::Attention(_) => "attention",
            Layer::Activation(_) => "activation",
            Layer::LayerNorm { .. } => "layer_norm",
            Layer::Dropout { .. } => "dropout",
            Layer::Custom { .. } => "custom",
        }
    }

    /// The width and the affine map of a layer that has one.
    pub fn affine(&self) -> Option<(Width, Affine)> {
        match *self {
            Layer::Dense { width, affine }
            | Layer::Conv { width, affine, .. }
            | Layer::Embedding { width, affine } => Some((width, affine)),
            _ => None,
        }
    }

    /// The same layer with every width and every affine map replaced.
    pub(crate) fn map_affine(self, to_width: impl Fn(Width) -> Width, f: impl Fn(Affine) -> Affine) -> Self {
        match self {
            Layer::Dense { width, affine } => Layer::Dense { width: to_width(width), affine: f(affine) },
            Layer::Conv { kind, width, affine, window, groups } => {
                Layer::Conv { kind, width: to_width(width), affine: f(affine), window, groups }
            }
            Layer::Embedding { width, affine } => {
                Layer::Embedding { width: to_width(width), affine: f(affine) }
            }
            Layer::Attention(attention) => Layer::Attention(Box::new(attention.map_widths(to_width))),
            other => other,
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let parameter = |parameter, value, domain| {
            Err(Error::LayerParameter { layer: self.kind_name(), parameter, value, domain })
        };
        match self {
            Layer::Dense { width, .. } => width.check(),
            Layer::Conv { kind, width, window, groups, .. } => {
                width.check()?;
                window.check(self.kind_name())?;
                match (*groups, kind) {
                    (Groups::Count(1), _) => Ok(()),
                    (Groups::Count(0), _) => parameter("groups", 0.0, "a positive number"),
                    (_, ConvKind::Shared) => Ok(()),
                    (groups, _) => Err(Error::NoGroups { layer: self.kind_name(), groups }),
                }
            }
            Layer::Pool { window, .. } => window.check(self.kind_name()),
            Layer::Embedding { width, affine } => {
                width.check()?;
                if affine.has_bias() {
                    parameter("bias", affine.bias.get(), "0: an embedding has no bias")
                } else {
                    Ok(())
                }
            }
            Layer::Attention(attention) => attention.check(),
            Layer::Index { spans } => match spans.iter().find(|span| span.step == 0) {
                Some(_) => parameter("step", 0.0, "not 0"),
                None => Ok(()),
            },
            Layer::Resize { sides, .. } => match sides.contains(&Some(0)) {
                true => parameter("side", 0.0, "a positive number"),
                false => Ok(()),
            },
            Layer::Linear { rows, remove, .. } => {
                let columns = rows.first().map_or(0, Vec::len);
                match rows.iter().flatten().find(|v| !v.is_finite()) {
                    Some(&value) => parameter("rows", value, "finite numbers"),
                    None if columns == 0 || rows.iter().any(|row| row.len() != columns) => {
                        parameter("rows", columns as f64, "at least one row, all of one positive length")
                    }
                    None if *remove && rows.len() != 1 => {
                        parameter("rows", rows.len() as f64, "one row, where the axis is removed")
                    }
                    None => Ok(()),
                }
            }
            Layer::LayerNorm { epsilon, .. } if epsilon.is_finite() && *epsilon >= 0.0 => Ok(()),
            Layer::LayerNorm { epsilon, .. } => {
                parameter("epsilon", *epsilon, "a finite number of at least 0")
            }
            Layer::GlobalPool { .. } | Layer::Flatten | Layer::Aggregate { .. } | Layer::Dropout { .. } => {
                Ok(())
            }
            Layer::Activation(phi) => phi.check(),
            Layer::Custom { parameters, .. } => match parameters.iter().find(|p| !p.is_finite()) {
                Some(&value) => parameter("parameters", value, "finite numbers"),
                None => Ok(()),
            },
        }
    }
}
