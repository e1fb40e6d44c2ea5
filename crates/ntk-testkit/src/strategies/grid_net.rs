//! Networks over grids and graphs that fit a given input, built layer by layer: what does not fit its place is left out.

use ntk_core::{
    Affine, Attention, AttentionMask, Axes, ConvKind, Groups, Interpolation, Law, Layer, Net, Padding,
    Pooling, PositionEmbedding, Shape, Span, Variance, Weighting, Width, Window,
};
use proptest::prelude::*;

use super::net::{affine, readout};
use super::tame_activation;

/// No grid on the way has more positions, unless the input has.
const POSITIONS: usize = 36;

/// Networks with a known limit for inputs of one or two axes of positions, up to a readout of one to three outputs
/// without positions.
///
/// Convolutions of every kind, padding, stride and dilation, dense layers, activations, pools, layer norm, attention with
/// constant logits (softmax or identity), crops, resizes, residual connections, sums and concatenations occur. Every
/// activation reads something Gaussian, layer norm reads many channels, and at most one branch of a sum is correlated
/// with the others.
///
/// # Panics
/// If the sides are no grid.
pub fn grid_net(sides: &[usize], channels: usize) -> impl Strategy<Value = Net> + use<> {
    let rank = sides.len();
    net(sides, channels, (conv(rank), simple(rank).boxed()))
}

/// As [`grid_net`], for one axis of nodes with a graph on them: dense layers, aggregation, activations, layer norm and
/// branches, all of which keep the nodes.
///
/// # Panics
/// If there are no nodes.
pub fn graph_net(nodes: usize, channels: usize) -> impl Strategy<Value = Net> {
    let dense = affine().prop_map(|affine| Layer::Dense { width: Width::HIDDEN, affine });
    let layer = prop_oneof![
        3 => Just(Layer::Aggregate { axis: 0 }),
        3 => dense.clone(),
        3 => tame_activation().prop_map(Layer::Activation),
        1 => layer_norm(Axes::Channels),
    ];
    net(&[nodes], channels, (dense.boxed(), layer.boxed()))
}

/// One step of a recipe.
#[derive(Clone, Debug)]
enum Block {
    Layer(Layer),
    /// x ↦ x + f(x).
    Residual(Vec<Layer>),
    Sum([Vec<Layer>; 2]),
    Concat([Vec<Layer>; 2]),
}

type Layers = BoxedStrategy<Layer>;

fn net(
    sides: &[usize],
    channels: usize,
    (first, layer): (Layers, Layers),
) -> impl Strategy<Value = Net> + use<> {
    let input = Shape::grid(sides, channels).unwrap_or_else(|error| panic!("{error}"));
    let layers = || prop::collection::vec(layer.clone(), 1..=3);
    let block = prop_oneof![
        6 => layer.clone().prop_map(Block::Layer),
        1 => layers().prop_map(Block::Residual),
        1 => [layers(), layers()].prop_map(Block::Sum),
        1 => [layers(), layers()].prop_map(Block::Concat),
    ];
    let flat = prop_oneof![
        2 => Just(Layer::Flatten),
        2 => Just(Layer::GlobalPool { pooling: Pooling::Average }),
        1 => Just(Layer::GlobalPool { pooling: Pooling::Sum }),
    ];
    let end = (flat, any::<bool>(), readout());
    (first, prop::collection::vec(block, 1..=6), end, affine()).prop_map(
        move |(first, blocks, (flat, positions_last, readout), affine)| {
            let dense = Layer::Dense { width: Width::HIDDEN, affine };
            let mut walk = Walk { start: input, law: Law::Other, net: Net::identity() };
            if !walk.add(&first) {
                walk.add(&dense);
            }
            blocks.iter().for_each(|block| walk.block(block, &dense));
            // The readout before or after the positions are gone: a network of sums, or a sum of networks.
            let flat = Net::layer(flat);
            let pools = !matches!(flat.kind(), ntk_core::NetKind::Layer(Layer::Flatten));
            let ends = if positions_last && pools { [readout, flat] } else { [flat, readout] };
            walk.net.then(Net::serial(ends))
        },
    )
}

/// A network as it grows.
struct Walk {
    start: Shape,
    /// Of what comes in.
    law: Law,
    net: Net,
}

impl Walk {
    fn law(&self) -> Law {
        if self.net.facts().law == Law::Same { self.law } else { self.net.facts().law }
    }

    fn shape(&self, net: &Net) -> Option<Shape> {
        let limit = self.start.positions().positions().max(POSITIONS);
        net.output_shape(&self.start).ok().filter(|shape| shape.positions().positions() <= limit)
    }

    /// Adds what fits here; whether it did.
    fn push(&mut self, next: Net) -> bool {
        let longer = self.net.clone().then(next);
        let fits = self.shape(&longer).is_some();
        if fits {
            self.net = longer;
        }
        fits
    }

    fn add(&mut self, layer: &Layer) -> bool {
        let reads_what_it_needs = match layer {
            Layer::Activation(_) => self.law() == Law::Gaussian,
            Layer::LayerNorm { .. } | Layer::Attention(_) => self.is_wide(),
            // As many channels out as in.
            Layer::Conv { groups: Groups::Depthwise, .. } => self.is_wide(),
            _ => true,
        };
        reads_what_it_needs && self.push(Net::layer(layer.clone()))
    }

    /// Whether there are n channels here.
    fn is_wide(&self) -> bool {
        self.shape(&self.net).is_some_and(|shape| shape.channels() == Width::HIDDEN)
    }

    fn block(&mut self, block: &Block, dense: &Layer) {
        let branch = |layers: &[Layer]| self.branch(layers, dense);
        let next = match block {
            Block::Layer(layer) => {
                self.add(layer);
                return;
            }
            Block::Residual(layers) => branch(layers).residual(),
            Block::Sum([a, b]) => Net::sum([branch(a), branch(b)]),
            Block::Concat([a, b]) => Net::concat([branch(a), branch(b)]).then(Net::layer(dense.clone())),
        };
        self.push(next);
    }

    /// A branch from here that ends in weights of its own.
    fn branch(&self, layers: &[Layer], dense: &Layer) -> Net {
        let Some(start) = self.shape(&self.net) else { return Net::identity() };
        let mut walk = Walk { start, law: self.law(), net: Net::identity() };
        for layer in layers {
            walk.add(layer);
        }
        if walk.net.facts().law != Law::Gaussian || !walk.net.facts().uncorrelated() {
            walk.add(dense);
        }
        walk.net
    }
}

fn window(rank: usize) -> impl Strategy<Value = Window> + Clone {
    let numbers = |largest: usize| prop::collection::vec(1..=largest, rank);
    let padding =
        prop_oneof![3 => Just(Padding::Same), 2 => Just(Padding::Valid), 1 => Just(Padding::Circular)];
    let ones = Just(vec![1; rank]);
    let strides = prop_oneof![2 => ones.clone(), 1 => numbers(2)];
    let dilation = prop_oneof![3 => ones, 1 => numbers(2)];
    (numbers(3), strides, dilation, padding).prop_map(|(shape, strides, dilation, padding)| Window {
        shape,
        strides,
        dilation,
        padding,
    })
}

fn conv(rank: usize) -> Layers {
    let kind =
        prop_oneof![6 => Just(ConvKind::Shared), 1 => Just(ConvKind::Local), 1 => Just(ConvKind::Transposed)];
    let conv = (kind, affine(), window(rank), any::<prop::sample::Index>());
    conv.prop_map(|(kind, affine, window, depthwise)| {
        let depthwise = kind == ConvKind::Shared && depthwise.index(8) == 7;
        let groups = if depthwise { Groups::Depthwise } else { Groups::Count(1) };
        Layer::Conv { kind, width: Width::HIDDEN, affine, window, groups }
    })
    .boxed()
}

fn layer_norm(axes: Axes) -> impl Strategy<Value = Layer> + Clone {
    Just(Layer::LayerNorm { axes, epsilon: 1e-3 })
}

fn attention() -> impl Strategy<Value = Layer> + Clone {
    let weighting = prop_oneof![3 => Just(Weighting::Softmax), 1 => Just(Weighting::Identity)];
    let mask = prop_oneof![
        2 => Just(AttentionMask::Full),
        1 => Just(AttentionMask::Causal),
        1 => (0usize..3).prop_map(AttentionMask::Local),
    ];
    let position = prop_oneof![2 => Just(None), 1 => (0.2..1.0f64).prop_map(Some)];
    (weighting, mask, position, affine()).prop_map(
        |(weighting, mask, position, Affine { weight, bias, .. })| {
            let variance = |v: f64| PositionEmbedding::sum(Variance::new(v).unwrap_or(Variance::ONE));
            let position = position.map(variance);
            Layer::Attention(Box::new(Attention {
                weighting,
                mask,
                position,
                value_variance: weight,
                bias,
                ..Attention::default()
            }))
        },
    )
}

/// Any layer that keeps or changes the grid, one at a time.
fn simple(rank: usize) -> impl Strategy<Value = Layer> + Clone {
    let pooling = prop_oneof![Just(Pooling::Average), Just(Pooling::EdgeAverage), Just(Pooling::Sum)];
    let axes = prop_oneof![
        2 => Just(Axes::Channels),
        1 => Just(Axes::All),
        1 => (0..rank).prop_map(|axis| Axes::With(vec![axis])),
    ];
    let span = (0isize..2, prop_oneof![Just(1isize), Just(2), Just(-1)]).prop_map(|(start, step)| Span {
        start: (step > 0).then_some(start),
        stop: None,
        step,
    });
    let sides = prop::collection::vec(prop_oneof![Just(None), (1usize..=5).prop_map(Some)], rank);
    let how = prop_oneof![Just(Interpolation::Nearest), Just(Interpolation::Linear)];
    prop_oneof![
        6 => conv(rank),
        2 => affine().prop_map(|affine| Layer::Dense { width: Width::HIDDEN, affine }),
        6 => tame_activation().prop_map(Layer::Activation),
        2 => (pooling, window(rank)).prop_map(|(pooling, window)| Layer::Pool { pooling, window }),
        1 => axes.prop_flat_map(layer_norm),
        1 => attention(),
        1 => prop::collection::vec(span, rank).prop_map(|spans| Layer::Index { spans }),
        1 => (sides, how).prop_map(|(sides, interpolation)| Layer::Resize { sides, interpolation }),
    ]
}
