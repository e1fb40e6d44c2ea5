//! A network met by its grid: every node with its positions written out, and what later nodes need of it.
//!
//! Two needs decide what a network costs. Which *pairs* of positions of two samples are needed: a flatten asks only for
//! the same position in both, a global pool for all pairs, and everything before them for what these ask. And which
//! covariances of a sample with *itself* are needed to know the variances: none if nothing nonlinear follows, the
//! variances alone in most places, those of neighbors before a pooling that a nonlinearity follows.

use std::sync::Arc;

use ntk_core::{Activation, Attention, Axes, AxisMap, AxisTaps, ConvKind, Grid, Groups, Layer, LogitScaling};
use ntk_core::{Padding, Pooling, PositionCombine, Weighting};

use super::linear::Linear;
use crate::plan::{self, Channels, Node};
use crate::{DualActivation, Error, LayerRule};

/// Largest offset along each axis between two positions whose covariance is needed.
pub(crate) type Reach = Vec<usize>;

/// What later nodes need of an output.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Need {
    /// Pairs of positions of two samples.
    pub(crate) pairs: Reach,
    /// Covariances of a sample with itself; none where no variance is read later.
    pub(crate) own: Option<Reach>,
    /// Whether means are read later.
    pub(crate) mean: bool,
}

/// An affine map with its fan-in counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    pub(crate) weight: f64,
    pub(crate) bias: f64,
    pub(crate) direct: f64,
    pub(crate) bias_direct: f64,
}

impl Numbers {
    fn new(affine: &plan::Affine, fan_in: f64) -> Self {
        let plan::Affine { weight, bias, bias_direct, .. } = *affine;
        Numbers { weight, bias, direct: affine.direct(fan_in), bias_direct }
    }
}

/// A node on its grid.
pub(crate) struct Op {
    pub(crate) at: String,
    pub(crate) kind: Kind,
    pub(crate) input: Grid,
    pub(crate) output: Grid,
    /// What is needed of the output.
    pub(crate) need: Need,
}

pub(crate) enum Kind {
    Affine(Numbers),
    Conv {
        numbers: Numbers,
        axes: Vec<AxisTaps>,
        local: bool,
        /// The window, where it keeps the grid: stride 1, no dilation, weights shared.
        sliding: Option<Vec<usize>>,
        padding: Padding,
        transposed: bool,
    },
    Embedding(Numbers),
    Activation {
        phi: Activation,
        rule: Option<Arc<dyn DualActivation>>,
    },
    LayerNorm {
        epsilon: f64,
        /// The group of positions normalized together that each position belongs to.
        groups: Vec<usize>,
        center: bool,
    },
    Dropout {
        keep: f64,
    },
    Custom(Arc<dyn LayerRule>),
    /// A linear map of positions.
    Mix {
        map: AxisMap,
        /// A pooling of all positions, which divides by the length of the sample.
        global: Option<Pooling>,
        /// Taps of a sliding window, by which lengths pass.
        axes: Option<Vec<AxisTaps>>,
        padding: Padding,
        /// Whether weights depend on how many positions there are.
        edges: bool,
        /// The sides of blocks side by side, all of one weight a position.
        blocks: Option<(Vec<usize>, f64)>,
        name: &'static str,
    },
    Flatten,
    /// A linear map of positions that reads the graph of each sample.
    Aggregate(Linear),
    Attention {
        attention: Box<Attention>,
        shares: [f64; 2],
    },
    Serial(Vec<Op>),
    /// Σ w_b f_b with weights of kernels, 1 or shares of channels; `means` where their products count.
    Sum {
        ops: Vec<(f64, Op)>,
        means: bool,
    },
    Product(Vec<Op>),
    Join {
        axis: usize,
        ops: Vec<Op>,
    },
}

/// Writes a network out for a grid.
///
/// # Errors
/// What does not fit the grid.
pub(crate) fn compile(node: &Node, grid: Grid, features: usize) -> Result<Op, Error> {
    let mut compiler = Compiler { grid, channels: Channels::INPUT, features };
    compiler.op(node)
}

struct Compiler {
    grid: Grid,
    channels: Channels,
    features: usize,
}

impl Compiler {
    fn op(&mut self, node: &Node) -> Result<Op, Error> {
        let input = self.grid;
        let (at, kind) = match node {
            Node::Affine { at, affine } => {
                let kind = Kind::Affine(Numbers::new(affine, self.channels.at(self.features)));
                self.channels = affine.output;
                (at.as_str(), kind)
            }
            Node::Embedding { at, affine } => {
                self.channels = affine.output;
                (at.as_str(), Kind::Embedding(Numbers::new(affine, 1.0)))
            }
            Node::Conv { at, affine, kind, window, groups } => {
                let transposed = *kind == ConvKind::Transposed;
                let axes = window.axes("conv", &self.grid, transposed)?;
                let channels = match groups {
                    Groups::Depthwise => 1.0,
                    Groups::Count(count) => self.channels.at(self.features) / *count as f64,
                };
                let numbers = Numbers::new(affine, channels * window.taps() as f64);
                let plain = window.strides.iter().chain(&window.dilation).all(|&v| v == 1);
                let keeps = window.padding != Padding::Valid && plain && *kind == ConvKind::Shared;
                let kind = Kind::Conv {
                    numbers,
                    local: *kind == ConvKind::Local,
                    sliding: keeps.then(|| window.shape.clone()),
                    padding: window.padding,
                    transposed,
                    axes,
                };
                self.channels = affine.output;
                self.regrid(&kind)?;
                (at.as_str(), kind)
            }
            Node::Activation { at, phi } => (at.as_str(), Kind::Activation { phi: phi.clone(), rule: None }),
            Node::Custom { at, phi, rule } => {
                (at.as_str(), Kind::Activation { phi: phi.clone(), rule: Some(Arc::clone(rule)) })
            }
            Node::LayerNorm { at, epsilon, axes, center } => {
                let kind =
                    Kind::LayerNorm { epsilon: *epsilon, groups: groups(axes, &self.grid), center: *center };
                (at.as_str(), kind)
            }
            Node::Dropout { keep } => ("dropout", Kind::Dropout { keep: *keep }),
            Node::Layer { at, rule } => (at.as_str(), Kind::Custom(Arc::clone(rule))),
            Node::Positions { at, layer } => {
                let kind = mix(layer, &self.grid)?;
                self.grid = layer.output_shape(&self.grid.into())?.positions();
                (at.as_str(), kind)
            }
            Node::Flatten => {
                self.channels = self.channels.times(self.grid.positions() as f64);
                self.grid = Grid::VECTOR;
                ("flatten", Kind::Flatten)
            }
            Node::Aggregate { at, axis } => {
                (at.as_str(), Kind::Aggregate(Linear::Edges { grid: self.grid, axis: *axis }))
            }
            Node::Attention { at, attention } => {
                let width = match attention.position.map(|position| position.combine) {
                    Some(PositionCombine::Concat(width)) => Some(Channels::of(width).at(self.features)),
                    _ => None,
                };
                let here = self.channels.at(self.features);
                let shares = width.map_or([1.0; 2], |width| [here / (here + width), width / (here + width)]);
                self.channels = Channels::of(attention.width);
                (at.as_str(), Kind::Attention { attention: attention.clone(), shares })
            }
            Node::Serial(nodes) => {
                ("net", Kind::Serial(nodes.iter().map(|node| self.op(node)).collect::<Result<_, _>>()?))
            }
            Node::Sum { nodes, plain } => {
                let branches = self.branches(nodes.iter())?;
                let ops = merge(branches.into_iter().map(|(_, op)| op).collect());
                ("a sum", Kind::Sum { ops: ops.into_iter().map(|op| (1.0, op)).collect(), means: !plain })
            }
            Node::Concat(nodes) => {
                let branches = self.branches(nodes.iter().map(|(_, node)| node))?;
                let widths: Vec<f64> =
                    branches.iter().map(|(channels, _)| channels.at(self.features)).collect();
                let total: f64 = widths.iter().sum();
                if let Some(all) = branches.iter().map(|(channels, _)| *channels).reduce(Channels::plus) {
                    self.channels = all;
                }
                let ops = branches.into_iter().zip(widths).map(|((_, op), width)| (width / total, op));
                ("a concatenation", Kind::Sum { ops: ops.collect(), means: false })
            }
            Node::Product(nodes) => {
                let ops = self.branches(nodes.iter())?.into_iter().map(|(_, op)| op).collect();
                ("a product", Kind::Product(ops))
            }
            Node::Join { at, axis, nodes } => {
                let ops: Vec<Op> = self.branches(nodes.iter())?.into_iter().map(|(_, op)| op).collect();
                let mut sides = self.grid.sides().to_vec();
                sides[*axis] = ops.iter().map(|op| op.output.sides()[*axis]).sum();
                self.grid = Grid::new(&sides)?;
                (at.as_str(), Kind::Join { axis: *axis, ops })
            }
        };
        let need = Need { pairs: Vec::new(), own: None, mean: false };
        Ok(Op { at: at.to_owned(), kind, input, output: self.grid, need })
    }

    fn regrid(&mut self, kind: &Kind) -> Result<(), Error> {
        if let Kind::Conv { axes, .. } = kind {
            self.grid = Grid::new(&axes.iter().map(|axis| axis.outputs).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// Branches that start here; goes on from the end of the first.
    fn branches<'a>(&mut self, nodes: impl Iterator<Item = &'a Node>) -> Result<Vec<(Channels, Op)>, Error> {
        let (grid, channels) = (self.grid, self.channels);
        let mut branches = Vec::new();
        for node in nodes {
            let mut branch = Compiler { grid, channels, features: self.features };
            let op = branch.op(node)?;
            branches.push((branch.channels, op));
        }
        if let Some((channels, op)) = branches.first() {
            (self.grid, self.channels) = (op.output, *channels);
        }
        Ok(branches)
    }
}

fn mix(layer: &Layer, grid: &Grid) -> Result<Kind, Error> {
    let maps = layer.axis_maps(grid)?.unwrap_or_default();
    let map = AxisMap::product(&maps);
    let (name, global, axes, blocks) = match layer {
        Layer::GlobalPool { pooling } => ("global_pool", Some(*pooling), None, None),
        Layer::Pool { pooling, window } => {
            let weight = if *pooling == Pooling::Sum { 1.0 } else { 1.0 / window.taps() as f64 };
            let divides = grid.sides().iter().zip(&window.shape).all(|(side, k)| side.is_multiple_of(*k));
            let side_by_side = window.strides == window.shape && window.dilation.iter().all(|&d| d == 1);
            let blocks = (divides && side_by_side).then(|| (window.shape.clone(), weight));
            ("pool", None, Some(window.axes("pool", grid, false)?), blocks)
        }
        Layer::Index { .. } => ("index", None, None, None),
        Layer::Resize { .. } => ("resize", None, None, None),
        _ => ("linear", None, None, None),
    };
    let padding = match layer {
        Layer::Pool { window, .. } => window.padding,
        _ => Padding::Valid,
    };
    let edges = matches!(layer, Layer::Pool { pooling: Pooling::EdgeAverage, .. });
    Ok(Kind::Mix { map, global, axes, padding, edges, blocks, name })
}

/// The group of each position, where axes are normalized over together.
fn groups(axes: &Axes, grid: &Grid) -> Vec<usize> {
    let over = axes.of(grid.rank());
    let group = |position: usize| {
        let at = grid.coordinates(position);
        let kept = grid.sides().iter().enumerate().filter(|(axis, _)| !over[*axis]);
        kept.fold(0, |group, (axis, side)| group * side + at[axis])
    };
    (0..grid.positions()).map(group).collect()
}

/// The branches of a sum, those without weights of their own joined into one map: they are linear maps of positions,
/// which is why they were let pass.
fn merge(ops: Vec<Op>) -> Vec<Op> {
    let maps: Vec<Option<Linear>> = ops.iter().map(Linear::of).collect();
    if maps.iter().flatten().count() < 2 {
        return ops;
    }
    let (mut terms, mut joined, mut rest) = (Vec::new(), None, Vec::new());
    for (op, map) in ops.into_iter().zip(maps) {
        match map {
            None => rest.push(op),
            Some(map) => {
                terms.push(map);
                joined.get_or_insert(op);
            }
        }
    }
    if let Some(op) = joined {
        rest.insert(0, Op { kind: Linear::Sum(terms).kind(op.input.positions()), ..op });
    }
    rest
}

/// All pairs of positions of a grid.
pub(crate) fn all(grid: &Grid) -> Reach {
    grid.sides().iter().map(|side| side - 1).collect()
}

fn none(grid: &Grid) -> Reach {
    vec![0; grid.rank()]
}

fn clamp(reach: Reach, grid: &Grid) -> Reach {
    reach.into_iter().zip(grid.sides()).map(|(reach, side)| reach.min(side - 1)).collect()
}

fn larger(a: Need, b: Need) -> Need {
    let max = |a: Reach, b: &Reach| a.into_iter().zip(b).map(|(a, b)| a.max(*b)).collect();
    let own = match (a.own, b.own) {
        (Some(a), Some(b)) => Some(max(a, &b)),
        (a, b) => a.or(b),
    };
    Need { pairs: max(a.pairs, &b.pairs), own, mean: a.mean || b.mean }
}

impl Op {
    /// Notes what is needed of the output, and returns what is then needed of the input.
    pub(crate) fn require(&mut self, need: Need) -> Need {
        self.need = need.clone();
        let input = self.input;
        let variances = |need: Need| Need { own: Some(need.own.unwrap_or_else(|| none(&input))), ..need };
        // Of a map that reads `through(reach)` for pairs within `reach`.
        let mapped = |need: Need, through: &dyn Fn(&Reach) -> Reach| Need {
            pairs: clamp(through(&need.pairs), &input),
            own: need.own.map(|own| clamp(through(&own), &input)),
            mean: need.mean,
        };
        match &mut self.kind {
            Kind::Affine(_) | Kind::Embedding(_) => Need { mean: false, ..need },
            Kind::Conv { local: true, .. } => {
                Need { pairs: none(&input), own: need.own.map(|_| none(&input)), mean: false }
            }
            Kind::Conv { axes, padding, transposed, .. } => {
                let through = |reach: &Reach| -> Reach {
                    let torus = *padding == Padding::Circular;
                    reach
                        .iter()
                        .zip(axes.iter())
                        .map(|(&reach, axis)| match (reach, torus) {
                            (0, _) => 0,
                            (_, true) => axis.inputs,
                            _ if *transposed => reach,
                            _ => reach * stride(axis),
                        })
                        .collect()
                };
                Need { mean: false, ..mapped(need, &through) }
            }
            Kind::Activation { .. } => Need { mean: false, ..variances(need) },
            Kind::LayerNorm { center, .. } => {
                let need = variances(need);
                Need { mean: need.mean || *center, ..need }
            }
            Kind::Dropout { .. } => need,
            Kind::Custom(_) => variances(need),
            Kind::Mix { map, axes, blocks, .. } => {
                let single = map.rows.iter().all(|row| row.len() <= 1);
                let through = |reach: &Reach| -> Reach {
                    match (axes.as_ref(), blocks.as_ref()) {
                        _ if single && reach.iter().all(|&r| r == 0) => none(&input),
                        (_, Some((sides, _))) => {
                            reach.iter().zip(sides).map(|(r, k)| r * k + k - 1).collect()
                        }
                        _ => all(&input),
                    }
                };
                mapped(need, &through)
            }
            Kind::Flatten => {
                Need { pairs: none(&input), own: need.own.map(|_| none(&input)), mean: need.mean }
            }
            Kind::Aggregate(_) => mapped(need, &|_| all(&input)),
            Kind::Attention { attention, .. } => {
                let closed = attention.scaling == LogitScaling::InverseRoot
                    && attention.weighting == Weighting::Identity;
                let own = if closed && need.own.is_none() { None } else { Some(all(&input)) };
                Need { pairs: all(&input), own, mean: false }
            }
            Kind::Serial(ops) => ops.iter_mut().rev().fold(need, |need, op| op.require(need)),
            Kind::Sum { ops, means } => {
                let need = Need { mean: need.mean || *means, ..need };
                let needs = ops.iter_mut().map(|(_, op)| op.require(need.clone()));
                needs.reduce(larger).unwrap_or(need)
            }
            Kind::Product(ops) => {
                let needs = ops.iter_mut().map(|op| op.require(need.clone()));
                needs.reduce(larger).unwrap_or(need)
            }
            Kind::Join { ops, .. } => {
                let need = Need { mean: true, ..need };
                let needs = ops.iter_mut().map(|op| {
                    let output = op.output;
                    let within = |reach: &Reach| clamp(reach.clone(), &output);
                    op.require(Need {
                        pairs: within(&need.pairs),
                        own: need.own.as_ref().map(within),
                        mean: true,
                    })
                });
                needs.reduce(larger).unwrap_or(need)
            }
        }
    }
}

/// The step between what successive outputs read.
fn stride(axis: &AxisTaps) -> usize {
    axis.sources
        .iter()
        .flat_map(|tap| tap.windows(2))
        .find_map(|w| Some(w[1]? - w[0]?))
        .unwrap_or(axis.inputs)
}
