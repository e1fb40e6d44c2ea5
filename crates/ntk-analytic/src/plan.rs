//! The plan of a network: names resolved, laws and correlations checked once, so that evaluation cannot fail for them.

use std::sync::Arc;

use ntk_core::{Activation, Facts, Law, Layer, Mean, Net, NetKind, Parameterization, Width};

use crate::{DualActivation, Error, LayerRule, Rules};

/// A resolved network.
pub(crate) enum Node {
    /// K′ = σ_w² K + σ_b², Θ′ = σ_w² Θ + (`direct` · fan-in if `per_unit`) K + `bias_direct`.
    Affine {
        at: String,
        weight: f64,
        bias: f64,
        direct: f64,
        per_unit: Option<Channels>,
        bias_direct: f64,
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
    },
    Dropout {
        keep: f64,
    },
    Layer {
        at: String,
        rule: Arc<dyn LayerRule>,
    },
    Serial(Vec<Node>),
    Sum(Vec<Node>),
    Product(Vec<Node>),
    /// Branches with their channels.
    Concat(Vec<(Channels, Node)>),
}

/// A number of channels as a linear form in the number of input features d and the width n.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Channels {
    inputs: f64,
    fixed: f64,
    hidden: f64,
}

impl Channels {
    const INPUT: Channels = Channels { inputs: 1.0, fixed: 0.0, hidden: 0.0 };

    fn of(width: Width) -> Self {
        match width {
            Width::Fixed(units) => Channels { inputs: 0.0, fixed: units as f64, hidden: 0.0 },
            Width::Hidden(ratio) => Channels { inputs: 0.0, fixed: 0.0, hidden: ratio },
        }
    }

    fn plus(self, other: Self) -> Self {
        Channels {
            inputs: self.inputs + other.inputs,
            fixed: self.fixed + other.fixed,
            hidden: self.hidden + other.hidden,
        }
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
}

/// Resolves a network for inputs of any law.
pub(crate) fn plan(net: &Net, rules: &Rules) -> Result<Node, Error> {
    net.check()?;
    let mut here = Here { law: Law::Other, mean: Mean::Nonzero, wide: false, channels: Channels::INPUT };
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
            check_correlations(
                "sum",
                at,
                nets,
                "do not end in fresh weights of mean zero",
                Facts::uncorrelated,
            )?;
            let branches = resolve_branches(net, nets, rules, &format!("{at}.sum"), here)?;
            Ok(Node::Sum(branches.into_iter().map(|(_, node)| node).collect()))
        }
        NetKind::Product(nets) => {
            check_correlations("product", at, nets, "have no fresh weights", |facts| facts.fresh)?;
            let branches = resolve_branches(net, nets, rules, &format!("{at}.product"), here)?;
            Ok(Node::Product(branches.into_iter().map(|(_, node)| node).collect()))
        }
        NetKind::Concat(nets) => {
            Ok(Node::Concat(resolve_branches(net, nets, rules, &format!("{at}.concat"), here)?))
        }
        NetKind::Join { .. } => Err(Error::UnknownLayer { name: "join".to_owned() }),
    }
}

fn check_correlations(
    combinator: &'static str,
    at: &str,
    nets: &[Net],
    defect: &'static str,
    independent: impl Fn(&Facts) -> bool,
) -> Result<(), Error> {
    let count = nets.iter().filter(|net| !independent(&net.facts())).count();
    if count > 1 {
        Err(Error::CorrelatedBranches { combinator, at: at.to_owned(), count, defect })
    } else {
        Ok(())
    }
}

fn resolve_branches(
    net: &Net,
    nets: &[Net],
    rules: &Rules,
    at: &str,
    here: &mut Here,
) -> Result<Vec<(Channels, Node)>, Error> {
    let start = *here;
    let mut branches = Vec::with_capacity(nets.len());
    let mut ends = Vec::with_capacity(nets.len());
    for (i, branch) in nets.iter().enumerate() {
        let mut end = start;
        let node = resolve(branch, rules, &format!("{at}.{i}"), &mut end)?;
        branches.push((end.channels, node));
        ends.push(end);
    }
    let facts = net.facts();
    let channels = match net.kind() {
        NetKind::Concat(_) => ends.iter().map(|end| end.channels).reduce(Channels::plus),
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
    here.law = if facts.law == Law::Same { start.law } else { facts.law };
    here.mean = if facts.mean == Mean::Same { start.mean } else { facts.mean };
    Ok(branches)
}

fn resolve_layer(layer: &Layer, rules: &Rules, at: &str, here: &mut Here) -> Result<Node, Error> {
    let at = at.to_owned();
    let gaussian = |at: &str| match here.law {
        Law::Gaussian => Ok(()),
        _ => Err(Error::NotGaussian { layer: layer.name().to_owned(), at: at.to_owned() }),
    };
    let node = match layer {
        Layer::Dense { affine, .. } => {
            let standard = affine.parameterization == Parameterization::Standard;
            if standard && here.channels.is_symbolic() {
                return Err(Error::SymbolicWidth { at });
            }
            let (weight, bias) = (affine.weight.get(), affine.bias.get());
            let (direct, bias_direct) = if standard { (1.0, 1.0) } else { (weight, bias) };
            Node::Affine {
                at,
                weight,
                bias,
                direct: affine.weight_rate.get() * direct,
                per_unit: standard.then_some(here.channels),
                bias_direct: affine.bias_rate.get() * bias_direct,
            }
        }
        Layer::Activation(phi @ Activation::Custom { name, parameters }) => {
            gaussian(&at)?;
            let rule = rules.find_activation(name, parameters)?;
            Node::Custom { at, phi: phi.clone(), rule }
        }
        Layer::Activation(phi) => {
            gaussian(&at)?;
            Node::Activation { at, phi: phi.clone() }
        }
        Layer::LayerNorm { epsilon, axes: ntk_core::Axes::Channels } => {
            if here.mean == Mean::Nonzero {
                return Err(Error::NotCentered { layer: layer.name().to_owned(), at });
            }
            Node::LayerNorm { at, epsilon: *epsilon }
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
        other => return Err(Error::UnknownLayer { name: other.name().to_owned() }),
    };
    let facts = Net::layer(layer.clone()).facts();
    here.law = if facts.law == Law::Same { here.law } else { facts.law };
    here.mean = if facts.mean == Mean::Same { here.mean } else { facts.mean };
    if let Layer::Dense { width, .. } = layer {
        here.wide = true;
        here.channels = Channels::of(*width);
    }
    Ok(node)
}
