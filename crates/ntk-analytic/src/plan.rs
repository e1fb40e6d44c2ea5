//! The plan of a network: names resolved, laws and correlations checked once, so that evaluation cannot fail for them.

use std::sync::Arc;

use ntk_core::{
    Activation, Attention, Axes, ConvKind, Groups, Law, Layer, Mean, Net, NetKind, Parameterization,
    PositionCombine, Rate, Width, Window,
};

use crate::{DualActivation, Error, LayerRule, Rules};

/// The numbers of an affine layer: K′ = σ_w² K + σ_b², Θ′ = σ_w² Θ + (`direct` · fan-in if `per_unit`) K +
/// `bias_direct`, where K and Θ are those that its window averages.
#[derive(Clone)]
pub(crate) struct Affine {
    pub(crate) weight: f64,
    pub(crate) bias: f64,
    pub(crate) direct: f64,
    /// Channels that the fan-in of the standard parameterization counts.
    pub(crate) per_unit: Option<Channels>,
    pub(crate) bias_direct: f64,
    /// Channels that come out.
    pub(crate) output: Channels,
}

impl Affine {
    /// `direct` for this many inputs of one output.
    pub(crate) fn direct(&self, fan_in: f64) -> f64 {
        if self.per_unit.is_some() { self.direct * fan_in } else { self.direct }
    }
}

/// A resolved network.
#[derive(Clone)]
pub(crate) enum Node {
    Affine {
        at: String,
        affine: Affine,
    },
    Conv {
        at: String,
        affine: Affine,
        kind: ConvKind,
        window: Window,
        groups: Groups,
    },
    Embedding {
        at: String,
        affine: Affine,
    },
    Activation {
        at: String,
        phi: Activation,
    },
    Custom {
        at: String,
        phi: Activation,
        rule: Arc<dyn DualActivation>,
    },
    LayerNorm {
        at: String,
        epsilon: f64,
        axes: Axes,
        /// Whether the channels have a mean that must be subtracted.
        center: bool,
    },
    Dropout {
        keep: f64,
    },
    Layer {
        at: String,
        rule: Arc<dyn LayerRule>,
    },
    /// Pooling, index, resize, linear: a map of positions.
    Positions {
        at: String,
        layer: Layer,
    },
    Flatten,
    Aggregate {
        at: String,
        axis: usize,
    },
    Attention {
        at: String,
        attention: Box<Attention>,
    },
    Serial(Vec<Node>),
    Sum {
        nodes: Vec<Node>,
        /// Whether kernels simply add: at most one branch has a mean, and at most one shares its weights.
        plain: bool,
    },
    Product(Vec<Node>),
    /// Branches with their channels.
    Concat(Vec<(Channels, Node)>),
    Join {
        at: String,
        axis: usize,
        nodes: Vec<Node>,
    },
}

impl Node {
    /// Whether the network needs more than one variance for each sample: positions, tokens, or means.
    pub(crate) fn is_spatial(&self) -> bool {
        match self {
            Node::Affine { .. }
            | Node::Activation { .. }
            | Node::Custom { .. }
            | Node::Dropout { .. }
            | Node::Layer { .. } => false,
            Node::LayerNorm { axes, center, .. } => *center || *axes != Axes::Channels,
            Node::Conv { .. }
            | Node::Embedding { .. }
            | Node::Positions { .. }
            | Node::Flatten
            | Node::Aggregate { .. }
            | Node::Attention { .. }
            | Node::Join { .. } => true,
            Node::Serial(nodes) | Node::Product(nodes) => nodes.iter().any(Node::is_spatial),
            Node::Sum { nodes, plain } => !plain || nodes.iter().any(Node::is_spatial),
            Node::Concat(nodes) => nodes.iter().any(|(_, node)| node.is_spatial()),
        }
    }

    /// Calls `f` with the path and the parameters of every layer that has some, in their order.
    pub(crate) fn trained(&mut self, f: &mut impl FnMut(&str, Trained<'_>)) {
        match self {
            Node::Affine { at, affine } | Node::Conv { at, affine, .. } | Node::Embedding { at, affine } => {
                f(at, Trained::Affine(affine));
            }
            Node::Attention { at, attention, .. } => f(at, Trained::Attention(attention)),
            Node::Serial(nodes)
            | Node::Sum { nodes, .. }
            | Node::Product(nodes)
            | Node::Join { nodes, .. } => {
                nodes.iter_mut().for_each(|node| node.trained(f));
            }
            Node::Concat(nodes) => nodes.iter_mut().for_each(|(_, node)| node.trained(f)),
            Node::Activation { .. }
            | Node::Custom { .. }
            | Node::LayerNorm { .. }
            | Node::Dropout { .. }
            | Node::Layer { .. }
            | Node::Positions { .. }
            | Node::Flatten
            | Node::Aggregate { .. } => {}
        }
    }
}

/// What learns in a layer.
pub(crate) enum Trained<'a> {
    Affine(&'a mut Affine),
    Attention(&'a mut Attention),
}

impl Trained<'_> {
    /// The same for a shorter time.
    pub(crate) fn reborrow(&mut self) -> Trained<'_> {
        match self {
            Trained::Affine(affine) => Trained::Affine(affine),
            Trained::Attention(attention) => Trained::Attention(attention),
        }
    }

    /// Takes the layer out of the tangent kernel.
    pub(crate) fn freeze(self) {
        match self {
            Trained::Affine(affine) => (affine.direct, affine.bias_direct) = (0.0, 0.0),
            Trained::Attention(attention) => attention.rate = Rate::FROZEN,
        }
    }
}

/// A number of channels as a linear form in the number of input features d and the width n.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Channels {
    inputs: f64,
    fixed: f64,
    hidden: f64,
}

impl Channels {
    pub(crate) const INPUT: Channels = Channels { inputs: 1.0, fixed: 0.0, hidden: 0.0 };

    pub(crate) fn of(width: Width) -> Self {
        match width {
            Width::Fixed(units) => Channels { inputs: 0.0, fixed: units as f64, hidden: 0.0 },
            Width::Hidden(ratio) => Channels { inputs: 0.0, fixed: 0.0, hidden: ratio },
        }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Channels {
            inputs: self.inputs + other.inputs,
            fixed: self.fixed + other.fixed,
            hidden: self.hidden + other.hidden,
        }
    }

    /// As many for each of several positions.
    pub(crate) fn times(self, positions: f64) -> Self {
        let Channels { inputs, fixed, hidden } = self;
        Channels { inputs: inputs * positions, fixed: fixed * positions, hidden: hidden * positions }
    }

    /// The number for d input features; in units of the width n where hidden, which only ratios may use.
    pub(crate) fn at(self, features: usize) -> f64 {
        self.inputs * features as f64 + self.fixed + self.hidden
    }

    /// As a width, for messages; input features count as the one channel they are at least.
    fn width(self) -> Width {
        if self.is_symbolic() { Width::Hidden(self.hidden) } else { Width::Fixed(self.at(1) as usize) }
    }

    fn is_symbolic(self) -> bool {
        self.hidden > 0.0
    }

    fn is_mixed(self) -> bool {
        self.is_symbolic() && (self.inputs > 0.0 || self.fixed > 0.0)
    }
}

/// What is known of the channels at one place of the network.
#[derive(Clone, Copy)]
struct Here {
    law: Law,
    mean: Mean,
    /// Whether an affine layer has been passed, so that averages over channels are averages over many.
    wide: bool,
    channels: Channels,
    /// Whether all channels have one law, so that the mean of a product is the product of means.
    uniform: bool,
    /// Layers passed.
    depth: usize,
}

/// Resolves a network for inputs of any law.
pub(crate) fn plan(net: &Net, rules: &Rules) -> Result<Node, Error> {
    net.check()?;
    let mut here = Here {
        law: Law::Other,
        mean: Mean::Nonzero,
        wide: false,
        channels: Channels::INPUT,
        uniform: false,
        depth: 0,
    };
    resolve(net, rules, "net", &mut here)
}

fn resolve(net: &Net, rules: &Rules, at: &str, here: &mut Here) -> Result<Node, Error> {
    match net.kind() {
        NetKind::Layer(layer) => resolve_layer(layer, rules, at, here),
        NetKind::Serial(nets) => {
            let nodes =
                nets.iter().enumerate().map(|(i, net)| resolve(net, rules, &format!("{at}.{i}"), here));
            Ok(Node::Serial(nodes.collect::<Result<_, _>>()?))
        }
        NetKind::Sum(nets) => {
            let start = here.mean;
            let branches = resolve_branches("sum", nets, rules, at, here)?;
            let mean = |net: &&Net| match net.facts().mean {
                Mean::Same => start != Mean::Zero,
                mean => mean != Mean::Zero,
            };
            let dependent = nets.iter().filter(|net| !net.facts().fresh).count();
            let plain = nets.iter().filter(mean).count() < 2 && dependent < 2;
            Ok(Node::Sum { nodes: branches.into_iter().map(|(_, node)| node).collect(), plain })
        }
        NetKind::Product(nets) => {
            let branches = resolve_branches("product", nets, rules, at, here)?;
            Ok(Node::Product(branches.into_iter().map(|(_, node)| node).collect()))
        }
        NetKind::Concat(nets) => Ok(Node::Concat(resolve_branches("concat", nets, rules, at, here)?)),
        NetKind::Join { axis, nets } => {
            let nodes =
                resolve_branches("join", nets, rules, at, here)?.into_iter().map(|(_, node)| node).collect();
            Ok(Node::Join { at: at.to_owned(), axis: *axis, nodes })
        }
    }
}

/// Whether a network without weights is one linear map of positions, channel by channel.
fn is_linear(net: &Net) -> bool {
    match net.kind() {
        NetKind::Serial(nets) | NetKind::Sum(nets) => nets.iter().all(is_linear),
        NetKind::Layer(layer) => matches!(
            layer,
            Layer::Pool { .. }
                | Layer::GlobalPool { .. }
                | Layer::Index { .. }
                | Layer::Resize { .. }
                | Layer::Linear { .. }
                | Layer::Aggregate { .. }
        ),
        NetKind::Product(_) | NetKind::Concat(_) | NetKind::Join { .. } => false,
    }
}

/// Branches are independent given their input if all but one pass through weights of their own. Several that do not
/// can still be added where they are linear maps of positions: the sum of the maps is one map.
fn check_correlations(combinator: &'static str, at: &str, nets: &[Net]) -> Result<(), Error> {
    let dependent: Vec<&Net> = nets.iter().filter(|net| !net.facts().fresh).collect();
    let count = dependent.len();
    let refused = match combinator {
        "sum" => count > 1 && !dependent.iter().all(|net| is_linear(net)),
        // Channels side by side stand in no product.
        "concat" => false,
        _ => count > 1,
    };
    if refused { Err(Error::CorrelatedBranches { combinator, at: at.to_owned(), count }) } else { Ok(()) }
}

fn resolve_branches(
    combinator: &'static str,
    nets: &[Net],
    rules: &Rules,
    at: &str,
    here: &mut Here,
) -> Result<Vec<(Channels, Node)>, Error> {
    check_correlations(combinator, at, nets)?;
    let at = format!("{at}.{combinator}");
    let start = *here;
    let mut branches = Vec::with_capacity(nets.len());
    let mut ends = Vec::with_capacity(nets.len());
    for (i, branch) in nets.iter().enumerate() {
        let mut end = start;
        let node = resolve(branch, rules, &format!("{at}.{i}"), &mut end)?;
        branches.push((end.channels, node));
        ends.push(end);
    }
    let channels = match combinator {
        "concat" => ends.iter().map(|end| end.channels).reduce(Channels::plus),
        _ => ends.first().map(|end| end.channels),
    };
    if let Some(channels) = channels {
        here.channels = channels;
    }
    let symbolic = |end: &&Here| end.channels.is_symbolic();
    if here.channels.is_mixed() {
        let left = ends.iter().find(symbolic).map_or(Width::HIDDEN, |end| end.channels.width());
        let right =
            ends.iter().find(|end| !symbolic(end)).map_or(Width::Fixed(1), |end| end.channels.width());
        return Err(ntk_core::Error::MixedWidths { left, right }.into());
    }
    here.wide = ends.iter().all(|end| end.wide);
    here.depth = ends.iter().map(|end| end.depth).max().unwrap_or(here.depth);
    // Where channels meet channel by channel, averages may be multiplied if all but one branch have one law for all.
    let meets = |end: &Here| match combinator {
        "product" => true,
        "sum" | "join" => end.mean != Mean::Zero,
        _ => false,
    };
    // Linear maps of positions that are added are one map, one branch.
    let linear = |net: &Net| combinator == "sum" && !net.facts().fresh && is_linear(net);
    let (joined, others): (Vec<_>, Vec<_>) = ends.iter().zip(nets).partition(|(_, net)| linear(net));
    let meeting = others.iter().chain(joined.first()).map(|(end, _)| *end).filter(|end| meets(end));
    if meeting.filter(|end| !end.uniform).count() > 1 {
        return Err(Error::UnequalChannels { combinator, at });
    }
    here.uniform = combinator != "concat" && ends.iter().all(|end| end.uniform);
    let all = |holds: fn(&Here) -> bool| ends.iter().all(holds);
    let gaussian = matches!(combinator, "sum" | "join") && all(|end| end.law == Law::Gaussian);
    here.law = if gaussian { Law::Gaussian } else { Law::Other };
    let centered = match combinator {
        // One factor of mean zero is enough, since the others are independent of it.
        "product" => ends.iter().any(|end| end.mean == Mean::Zero),
        _ => all(|end| end.mean == Mean::Zero),
    };
    here.mean = if centered { Mean::Zero } else { Mean::Nonzero };
    Ok(branches)
}

fn resolve_layer(layer: &Layer, rules: &Rules, at: &str, here: &mut Here) -> Result<Node, Error> {
    let at = at.to_owned();
    let mut grouped = false;
    let gaussian = |at: &str| match here.law {
        Law::Gaussian => Ok(()),
        _ => Err(Error::NotGaussian { layer: layer.name().to_owned(), at: at.to_owned() }),
    };
    let node = match layer {
        Layer::Dense { width, affine } => {
            Node::Affine { affine: resolve_affine(affine, *width, here.channels, &at)?, at }
        }
        Layer::Conv { kind, affine, window, groups, width } => {
            // A few channels a group: each output channel sees others, with a kernel of its own.
            grouped = *groups != Groups::Count(1) && !here.wide;
            let affine = resolve_affine(affine, *width, here.channels, &at)?;
            Node::Conv { at, affine, kind: *kind, window: window.clone(), groups: *groups }
        }
        Layer::Embedding { width, affine } => {
            if here.depth > 0 {
                return Err(Error::LateEmbedding { at });
            }
            Node::Embedding {
                affine: resolve_affine(affine, *width, Channels::of(Width::Fixed(1)), &at)?,
                at,
            }
        }
        Layer::Attention(attention) => {
            let beside = match attention.position.map(|position| position.combine) {
                Some(PositionCombine::Concat(width)) => Some(width),
                _ => None,
            };
            if let Some(right) = beside.filter(|width| here.channels.plus(Channels::of(*width)).is_mixed()) {
                return Err(ntk_core::Error::MixedWidths { left: here.channels.width(), right }.into());
            }
            Node::Attention { at, attention: attention.clone() }
        }
        Layer::Pool { .. }
        | Layer::GlobalPool { .. }
        | Layer::Index { .. }
        | Layer::Resize { .. }
        | Layer::Linear { .. } => Node::Positions { at, layer: layer.clone() },
        Layer::Flatten => Node::Flatten,
        Layer::Aggregate { axis } => Node::Aggregate { at, axis: *axis },
        Layer::Activation(phi @ Activation::Custom { name, parameters }) => {
            gaussian(&at)?;
            let rule = rules.find_activation(name, parameters)?;
            Node::Custom { at, phi: phi.clone(), rule }
        }
        Layer::Activation(phi) => {
            gaussian(&at)?;
            Node::Activation { at, phi: phi.clone() }
        }
        Layer::LayerNorm { axes, epsilon } => {
            // Features of the input have a mean of their own in each sample.
            if here.mean == Mean::Nonzero && !here.wide {
                return Err(Error::NotCentered { layer: layer.name().to_owned(), at });
            }
            let center = here.mean == Mean::Nonzero;
            Node::LayerNorm { at, epsilon: *epsilon, axes: axes.clone(), center }
        }
        Layer::Dropout { rate } => {
            if !here.wide {
                return Err(Error::InputDropout { at });
            }
            Node::Dropout { keep: rate.keep() }
        }
        Layer::Custom { name, parameters } => {
            let rule = rules.find_layer(name, parameters)?;
            here.law = rule.law();
            here.mean = if here.law == Law::Gaussian { Mean::Zero } else { Mean::Nonzero };
            return Ok(Node::Layer { at, rule });
        }
    };
    let facts = Net::layer(layer.clone()).facts();
    here.law = if facts.law == Law::Same { here.law } else { facts.law };
    here.mean = if facts.mean == Mean::Same { here.mean } else { facts.mean };
    let width = match layer {
        Layer::Attention(attention) => Some(attention.width),
        _ => layer.affine().map(|(width, _)| width),
    };
    if let Some(width) = width {
        here.wide = true;
        here.channels = Channels::of(width);
    }
    match layer {
        Layer::Dense { .. } | Layer::Embedding { .. } | Layer::Attention(_) => here.uniform = true,
        Layer::Conv { groups, .. } => here.uniform = !grouped && *groups != Groups::Depthwise,
        Layer::Flatten => here.uniform = false,
        _ => {}
    }
    if grouped {
        here.law = Law::Other;
    }
    here.depth += 1;
    Ok(node)
}

fn resolve_affine(
    affine: &ntk_core::Affine,
    width: Width,
    channels: Channels,
    at: &str,
) -> Result<Affine, Error> {
    let standard = affine.parameterization == Parameterization::Standard;
    if standard && channels.is_symbolic() {
        return Err(Error::SymbolicWidth { at: at.to_owned() });
    }
    let (weight, bias) = (affine.weight.get(), affine.bias.get());
    let (direct, bias_direct) = if standard { (1.0, 1.0) } else { (weight, bias) };
    Ok(Affine {
        weight,
        bias,
        direct: affine.weight_rate.get() * direct,
        per_unit: standard.then_some(channels),
        bias_direct: affine.bias_rate.get() * bias_direct,
        output: Channels::of(width),
    })
}
