//! `Net`: an architecture as an immutable expression, from which both the infinite and the finite network are made.

mod attention;
mod facts;
mod grid;
#[cfg(feature = "serde")]
mod json;
mod layer;
mod shape;
mod show;
mod window;

use std::ops::Add;

pub use attention::{
    Attention, AttentionMask, LogitScaling, PositionCombine, PositionDecay, PositionEmbedding, Weighting,
};
pub use facts::{Facts, Law, Mean};
pub use grid::{AxisMap, Grid};
pub use layer::{Affine, Axes, ConvKind, Groups, Interpolation, Layer, Parameterization, Pooling, Span};
pub use shape::Shape;
pub use window::{AxisTaps, Padding, Window};

use crate::{Activation, DropRate, Error, Rate, Variance, Width};

/// An architecture. Every affine layer in it draws weights of its own; cloning clones the recipe, not the weights.
///
/// Every `Net` is a meaningful finite network as soon as its widths fit; whether its infinite-width limit is known is
/// for the interpreter to say.
///
/// ```
/// use ntk_core::{Activation, Net, Variance};
/// let hidden = || Net::dense(Variance::TWO, Variance::ZERO).then(Net::activation(Activation::Relu));
/// let net = hidden().then(hidden()).then(Net::readout(10, Variance::ONE, Variance::ZERO));
/// assert_eq!(net.facts().depth, 3);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Net {
    kind: NetKind,
    facts: Facts,
}

/// What a [`Net`] is made of; match on [`Net::kind`].
#[derive(Clone, Debug, PartialEq)]
pub enum NetKind {
    /// One layer.
    Layer(Layer),
    /// One network after another; the identity if empty.
    Serial(Vec<Net>),
    /// x ↦ Σᵢ fᵢ(x).
    Sum(Vec<Net>),
    /// x ↦ Πᵢ fᵢ(x), coordinate by coordinate.
    Product(Vec<Net>),
    /// x ↦ (f₁(x), f₂(x), …), side by side in the channels.
    Concat(Vec<Net>),
    /// x ↦ (f₁(x), f₂(x), …), one after another along an axis of positions.
    Join {
        /// The axis.
        axis: usize,
        /// The branches.
        nets: Vec<Net>,
    },
}

impl Net {
    fn build(kind: NetKind) -> Self {
        let facts = Facts::of(&kind);
        Net { kind, facts }
    }

    /// x ↦ x, the unit of [`Net::then`].
    pub fn identity() -> Self {
        Net::build(NetKind::Serial(Vec::new()))
    }

    /// One layer.
    pub fn layer(layer: Layer) -> Self {
        Net::build(NetKind::Layer(layer))
    }

    /// A hidden affine layer of n units in NTK parameterization, with σ_w² and σ_b².
    pub fn dense(weight: Variance, bias: Variance) -> Self {
        Net::dense_with(Width::HIDDEN, Affine::new(weight, bias))
    }

    /// An affine layer of any width and parameterization.
    pub fn dense_with(width: Width, affine: Affine) -> Self {
        Net::layer(Layer::Dense { width, affine })
    }

    /// A final affine layer with a fixed number of outputs, in NTK parameterization.
    pub fn readout(outputs: usize, weight: Variance, bias: Variance) -> Self {
        Net::dense_with(Width::Fixed(outputs), Affine::new(weight, bias))
    }

    /// A convolution to n channels in NTK parameterization, with σ_w² and σ_b².
    ///
    /// ```
    /// use ntk_core::{Activation, Net, Shape, Variance, Window};
    /// let block = || Net::conv(Window::same(&[3, 3]), Variance::TWO, Variance::ZERO).then(Net::activation(Activation::Relu));
    /// let net = Net::serial([block(), block(), Net::flatten(), Net::readout(10, Variance::ONE, Variance::ZERO)]);
    /// assert_eq!(net.output_shape(&Shape::grid(&[8, 8], 3)?)?.positions().rank(), 0);
    /// # Ok::<(), ntk_core::Error>(())
    /// ```
    pub fn conv(window: Window, weight: Variance, bias: Variance) -> Self {
        Net::conv_with(ConvKind::Shared, Width::HIDDEN, Affine::new(weight, bias), window, Groups::Count(1))
    }

    /// A convolution of any kind, width, parameterization and grouping.
    pub fn conv_with(kind: ConvKind, width: Width, affine: Affine, window: Window, groups: Groups) -> Self {
        Net::layer(Layer::Conv { kind, width, affine, window, groups })
    }

    /// A sliding average; see [`Window::blocks`] for windows side by side.
    pub fn average_pool(window: Window) -> Self {
        Net::layer(Layer::Pool { pooling: Pooling::Average, window })
    }

    /// The average over all positions.
    pub fn global_average_pool() -> Self {
        Net::layer(Layer::GlobalPool { pooling: Pooling::Average })
    }

    /// All positions side by side as channels.
    pub fn flatten() -> Self {
        Net::layer(Layer::Flatten)
    }

    /// An embedding of tokens to n units, with σ_w².
    pub fn embedding(weight: Variance) -> Self {
        Net::layer(Layer::Embedding { width: Width::HIDDEN, affine: Affine::new(weight, Variance::ZERO) })
    }

    /// Self-attention.
    pub fn attention(attention: Attention) -> Self {
        Net::layer(Layer::Attention(Box::new(attention)))
    }

    /// A coordinatewise nonlinearity.
    pub fn activation(phi: Activation) -> Self {
        Net::layer(Layer::Activation(phi))
    }

    /// Layer normalization over the channels, ε = 10⁻¹² .
    pub fn layer_norm() -> Self {
        Net::layer(Layer::LayerNorm { axes: Axes::Channels, epsilon: 1e-12 })
    }

    /// Dropout; the rate is the probability to drop.
    pub fn dropout(rate: DropRate) -> Self {
        Net::layer(Layer::Dropout { rate })
    }

    /// A fully connected network: `depth` hidden layers of n units, each followed by φ, and a readout.
    pub fn mlp(depth: usize, phi: Activation, outputs: usize, weight: Variance, bias: Variance) -> Self {
        let hidden = Net::dense(weight, bias).then(Net::activation(phi));
        Net::serial(std::iter::repeat_n(hidden, depth)).then(Net::readout(outputs, weight, bias))
    }

    /// One network after another. Nested chains are flattened, so `then` is associative with unit `identity`.
    pub fn serial(nets: impl IntoIterator<Item = Net>) -> Self {
        let mut flat: Vec<Net> = Vec::new();
        for net in nets {
            match net.kind {
                NetKind::Serial(inner) => flat.extend(inner),
                _ => flat.push(net),
            }
        }
        match flat.pop() {
            Some(only) if flat.is_empty() => only,
            Some(last) => {
                flat.push(last);
                Net::build(NetKind::Serial(flat))
            }
            None => Net::identity(),
        }
    }

    /// First `self`, then `next`.
    pub fn then(self, next: Net) -> Self {
        Net::serial([self, next])
    }

    /// x ↦ Σᵢ fᵢ(x). A sum of sums is one sum; a sum of one is that one.
    pub fn sum(nets: impl IntoIterator<Item = Net>) -> Self {
        Net::branches(nets, NetKind::Sum, |net| match net.kind {
            NetKind::Sum(inner) => inner,
            _ => vec![net],
        })
    }

    /// x ↦ Πᵢ fᵢ(x), coordinate by coordinate.
    pub fn product(nets: impl IntoIterator<Item = Net>) -> Self {
        Net::branches(nets, NetKind::Product, |net| match net.kind {
            NetKind::Product(inner) => inner,
            _ => vec![net],
        })
    }

    /// x ↦ (f₁(x), f₂(x), …): channels side by side.
    pub fn concat(nets: impl IntoIterator<Item = Net>) -> Self {
        Net::branches(nets, NetKind::Concat, |net| match net.kind {
            NetKind::Concat(inner) => inner,
            _ => vec![net],
        })
    }

    /// x ↦ (f₁(x), f₂(x), …): positions one after another along an axis.
    pub fn join(axis: usize, nets: impl IntoIterator<Item = Net>) -> Self {
        let mut nets: Vec<Net> = nets.into_iter().collect();
        match nets.len() {
            1 => nets.remove(0),
            _ => Net::build(NetKind::Join { axis, nets }),
        }
    }

    fn branches(
        nets: impl IntoIterator<Item = Net>,
        kind: fn(Vec<Net>) -> NetKind,
        inner: fn(Net) -> Vec<Net>,
    ) -> Self {
        let mut flat: Vec<Net> = nets.into_iter().flat_map(inner).collect();
        match flat.len() {
            1 => flat.remove(0),
            _ => Net::build(kind(flat)),
        }
    }

    /// x ↦ x + f(x).
    pub fn residual(self) -> Self {
        Net::identity() + self
    }

    /// What the network is made of.
    pub fn kind(&self) -> &NetKind {
        &self.kind
    }

    /// Facts true of the network at infinite width, O(1).
    pub fn facts(&self) -> Facts {
        self.facts
    }

    /// The same network with every affine layer in standard parameterization.
    pub fn standard(self) -> Self {
        self.map_layers(&|layer| layer.map_affine(|width| width, Affine::standard))
    }

    /// The same network with parameters that do not learn: it enters the NNGP and not the NTK.
    pub fn frozen(self) -> Self {
        self.map_layers(&|layer| match layer {
            Layer::Attention(attention) => {
                Layer::Attention(Box::new(Attention { rate: Rate::FROZEN, ..*attention }))
            }
            other => other.map_affine(|width| width, Affine::frozen),
        })
    }

    /// The same network with every hidden width fixed to its number of units at width n.
    pub fn at_width(self, n: usize) -> Self {
        self.map_layers(&|layer| layer.map_affine(|width| Width::Fixed(width.at(n)), |affine| affine))
    }

    /// The same tree with every layer replaced.
    pub fn map_layers(self, f: &impl Fn(Layer) -> Layer) -> Self {
        let all = |nets: Vec<Net>| nets.into_iter().map(|net| net.map_layers(f)).collect::<Vec<_>>();
        match self.kind {
            NetKind::Layer(layer) => Net::layer(f(layer)),
            NetKind::Serial(nets) => Net::serial(all(nets)),
            NetKind::Sum(nets) => Net::sum(all(nets)),
            NetKind::Product(nets) => Net::product(all(nets)),
            NetKind::Concat(nets) => Net::concat(all(nets)),
            NetKind::Join { axis, nets } => Net::join(axis, all(nets)),
        }
    }

    /// Checks what can be wrong in a description itself: widths of zero, combinators of nothing, parameters out of
    /// their domains. Interpreters and the JSON reader call it.
    ///
    /// # Errors
    /// The first defect found, in order of the layers.
    pub fn check(&self) -> Result<(), Error> {
        let branches = |combinator, nets: &[Net]| {
            if nets.is_empty() {
                return Err(Error::NoBranches { combinator });
            }
            nets.iter().try_for_each(Net::check)
        };
        match &self.kind {
            NetKind::Layer(layer) => layer.check(),
            NetKind::Serial(nets) => nets.iter().try_for_each(Net::check),
            NetKind::Sum(nets) => branches("sum", nets),
            NetKind::Product(nets) => branches("product", nets),
            NetKind::Concat(nets) => branches("concatenation", nets),
            NetKind::Join { nets, .. } => branches("join", nets),
        }
    }
}

/// x ↦ f(x) + g(x).
impl Add for Net {
    type Output = Net;
    fn add(self, other: Net) -> Net {
        Net::sum([self, other])
    }
}
