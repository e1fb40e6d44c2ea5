//! Facts true of a network at infinite width, computed bottom-up when it is built.

use super::layer::{Axes, Groups};
use crate::{Activation, Layer, NetKind, Parity};

/// What happens to the law of the channels between the input and the output of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// The output is Gaussian with independent, identically distributed channels, whatever the input.
    Gaussian,
    /// Gaussian exactly if the input is.
    Same,
    /// Not Gaussian, or its channels differ in law: an affine layer must come before the next nonlinearity.
    Other,
}

/// What happens to the mean of the channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mean {
    /// Zero, by the symmetry of the network's own weights.
    Zero,
    /// Zero if the input's is, by the symmetry of the input.
    Same,
    /// Unknown.
    Nonzero,
}

/// Facts true of a network at infinite width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Law of the output's channels.
    pub law: Law,
    /// Mean of the output's channels.
    pub mean: Mean,
    /// Whether every path from input to output passes through weights drawn by this network: then its output is
    /// independent of every branch beside it, given the common input.
    pub fresh: bool,
    /// Affine layers on the longest path.
    pub depth: usize,
}

impl Facts {
    const IDENTITY: Facts = Facts { law: Law::Same, mean: Mean::Same, fresh: false, depth: 0 };

    /// Whether E f g = 0 for this network f and every branch g beside it.
    pub fn uncorrelated(&self) -> bool {
        self.fresh && self.mean == Mean::Zero
    }

    pub(crate) fn of(kind: &NetKind) -> Facts {
        match kind {
            NetKind::Layer(layer) => Facts::of_layer(layer),
            NetKind::Serial(nets) => nets.iter().fold(Facts::IDENTITY, |first, net| first.then(net.facts())),
            NetKind::Sum(nets) => combine(nets.iter().map(|n| n.facts()), |a, b| Facts {
                law: match (a.law, b.law) {
                    (Law::Other, _) | (_, Law::Other) => Law::Other,
                    (Law::Gaussian, Law::Gaussian) => Law::Gaussian,
                    _ => Law::Same,
                },
                mean: both_means(a, b),
                fresh: a.fresh && b.fresh,
                depth: a.depth.max(b.depth),
            }),
            NetKind::Product(nets) => combine(nets.iter().map(|n| n.facts()), |a, b| Facts {
                law: Law::Other,
                mean: if a.mean == Mean::Zero || b.mean == Mean::Zero { Mean::Zero } else { Mean::Nonzero },
                fresh: a.fresh && b.fresh,
                depth: a.depth.max(b.depth),
            }),
            NetKind::Join { nets, .. } => combine(nets.iter().map(|n| n.facts()), |a, b| Facts {
                law: if a.law == b.law { a.law } else { Law::Other },
                mean: both_means(a, b),
                fresh: a.fresh && b.fresh,
                depth: a.depth.max(b.depth),
            }),
            NetKind::Concat(nets) => combine(nets.iter().map(|n| n.facts()), |a, b| Facts {
                law: Law::Other,
                mean: both_means(a, b),
                fresh: a.fresh && b.fresh,
                depth: a.depth.max(b.depth),
            }),
        }
    }

    fn of_layer(layer: &Layer) -> Facts {
        let affine = Facts { law: Law::Gaussian, mean: Mean::Zero, fresh: true, depth: 1 };
        match layer {
            Layer::Dense { .. } | Layer::Embedding { .. } => affine,
            // One weight times one channel: not a sum of many.
            Layer::Conv { groups: Groups::Depthwise, .. } => Facts { law: Law::Other, ..affine },
            Layer::Conv { .. } => affine,
            // Values and outputs.
            Layer::Attention(_) => Facts { depth: 2, ..affine },
            // Linear over positions, each channel by itself.
            Layer::Pool { .. }
            | Layer::GlobalPool { .. }
            | Layer::Index { .. }
            | Layer::Resize { .. }
            | Layer::Linear { .. }
            | Layer::Aggregate { .. } => Facts::IDENTITY,
            // Channels of different positions differ in law.
            Layer::Flatten => Facts { law: Law::Other, ..Facts::IDENTITY },
            Layer::Activation(phi) => {
                let mean = if phi.parity() == Parity::Odd { Mean::Same } else { Mean::Nonzero };
                let identity = matches!(phi, Activation::Polynomial { coefficients } if coefficients[..] == [0.0, 1.0])
                    || matches!(phi, Activation::Monomial { degree: 1 });
                Facts { law: if identity { Law::Same } else { Law::Other }, mean, ..Facts::IDENTITY }
            }
            Layer::LayerNorm { axes: Axes::Channels, .. } => Facts { mean: Mean::Zero, ..Facts::IDENTITY },
            Layer::LayerNorm { .. } => Facts::IDENTITY,
            Layer::Dropout { .. } => Facts { law: Law::Other, ..Facts::IDENTITY },
            Layer::Custom { .. } => Facts { law: Law::Other, mean: Mean::Nonzero, ..Facts::IDENTITY },
        }
    }

    fn then(self, next: Facts) -> Facts {
        Facts {
            law: if next.law == Law::Same { self.law } else { next.law },
            mean: if next.mean == Mean::Same { self.mean } else { next.mean },
            fresh: self.fresh || next.fresh,
            depth: self.depth + next.depth,
        }
    }
}

fn both_means(a: Facts, b: Facts) -> Mean {
    match (a.mean, b.mean) {
        (Mean::Nonzero, _) | (_, Mean::Nonzero) => Mean::Nonzero,
        (Mean::Zero, Mean::Zero) => Mean::Zero,
        _ => Mean::Same,
    }
}

fn combine(facts: impl Iterator<Item = Facts>, both: impl Fn(Facts, Facts) -> Facts) -> Facts {
    facts.reduce(both).unwrap_or(Facts::IDENTITY)
}
