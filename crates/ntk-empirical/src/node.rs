//! One node of a finite network and its three rules: forward, pullback of cotangents, pushforward of tangents.
//!
//! Activations are (n, w) with w = positions · channels, channels fastest. Cotangents are (n, o, w): o of them for each
//! sample, carried through the network together; the first axis is 1 as long as they are the same for all samples, as
//! the identity at the output is. Where samples have lengths, what a layer writes beyond them is cleared, and so are the
//! cotangents of it.

mod attention;
mod backward;
mod core;
mod norm;

use std::sync::Arc;

use candle_core::{Device, Result, Tensor};
use ntk_core::Pooling;

pub(crate) use self::attention::{Attention, Embedding};
pub(crate) use self::core::Core;
pub(crate) use self::norm::Norm;

use crate::affine::Affine;
use crate::draw::Stream;
use crate::input::{Edges, Lengths, Signal};
use crate::pointwise::Pointwise;
use crate::positions::PositionMap;
use crate::rules::LayerRule;
use crate::sites::Reads;

/// What a node does. Affine nodes hold the index of their parameters.
#[derive(Clone)]
pub(crate) enum Node {
    Affine(usize),
    Attention(Arc<Attention>),
    /// A map of positions, and how lengths pass it.
    Positions {
        map: Arc<PositionMap>,
        pass: Pass,
    },
    /// Sums along the edges of each sample's graph; an axis of nodes with `before` positions before it.
    Aggregate {
        before: usize,
        nodes: usize,
    },
    Flatten,
    Pointwise(Pointwise),
    LayerNorm(Norm),
    Dropout {
        keep: f64,
        stream: Stream,
    },
    /// A map of the channels, at each of some positions.
    Custom {
        name: String,
        rule: Arc<dyn LayerRule>,
        numbers: Vec<f64>,
        channels: usize,
    },
    Serial(Vec<Node>),
    Sum(Vec<Node>),
    Product(Vec<Node>),
    /// Channels side by side, or positions along an axis if `join`: branch i has `widths[i]` numbers for each of `outer`
    /// positions before them.
    Concat {
        outer: usize,
        widths: Vec<usize>,
        join: bool,
        nodes: Vec<Node>,
    },
}

/// How lengths pass a map of positions.
#[derive(Clone)]
pub(crate) enum Pass {
    /// For each length, that of the output.
    Window(Vec<usize>),
    /// All positions become one.
    Global(Pooling),
    /// Not at all.
    Never,
}

/// What forward leaves behind for the two other rules.
pub(crate) enum Tape {
    /// Nothing to remember: the derivative is the identity, or nothing was recorded.
    Empty,
    /// The input (n, w).
    Input(Tensor),
    /// The derivative is multiplication by this (n, w).
    Factor(Tensor),
    /// The derivative is linear over positions, times this (n, 1).
    Positions(Option<Tensor>),
    /// The normalized output, in parts, and 1/√(variance + ε).
    Normalized { output: Tensor, inverse: Tensor },
    /// What attention needs.
    Attention(Box<attention::Record>),
    /// The output was cleared beyond these lengths.
    Cleared(Lengths, Box<Tape>),
    /// The tapes of the parts.
    Parts(Vec<Tape>),
    /// Tapes and outputs of the branches of a product.
    Product(Vec<Tape>, Vec<Tensor>),
}

/// What is common to a whole sweep.
#[derive(Clone, Copy)]
pub(crate) struct Sweep<'a> {
    pub(crate) affines: &'a [Affine],
    /// The graphs of the samples, if there are any.
    pub(crate) graphs: Option<&'a [Edges]>,
    /// The number of the pass, by which dropout draws its masks; none in evaluation.
    pub(crate) pass: Option<u64>,
    /// The number of the first row, by which dropout draws its masks, too.
    pub(crate) first: usize,
    /// Whether frozen parameters count among those that cotangents must reach.
    pub(crate) frozen: bool,
}

/// Called at each affine node with its index, input x (n, in) and cotangent d (n or 1, o, out).
pub(crate) type Visit<'a> = dyn FnMut(usize, &Tensor, &Tensor) -> std::result::Result<(), crate::Error> + 'a;

impl Sweep<'_> {
    pub(crate) fn wants(&self, index: usize) -> bool {
        self.frozen || self.affines[index].learns()
    }

    /// The pullback of one affine node, with its visit.
    pub(crate) fn affine(
        &self,
        index: usize,
        x: &Tensor,
        d: &Tensor,
        to_input: bool,
        visit: &mut Visit<'_>,
    ) -> std::result::Result<Option<Tensor>, crate::Error> {
        // Before the visit, which may move the weights.
        let input = if to_input { Some(self.affines[index].pullback(d)?) } else { None };
        if self.wants(index) {
            visit(index, x, d)?;
        }
        Ok(input)
    }

    fn graph(&self, sample: usize, nodes: usize) -> Result<PositionMap> {
        match self.graphs {
            Some(graphs) => Ok(PositionMap::of_graph(nodes, &graphs[sample])),
            None => candle_core::bail!("no graphs"),
        }
    }
}

impl Node {
    /// y = f(x). x: (n, in) → (n, out).
    pub(crate) fn forward(&self, sweep: Sweep<'_>, signal: &Signal) -> Result<Signal> {
        let x = &signal.x;
        let branches = |nodes: &[Node]| -> Result<(Vec<Tensor>, Option<Lengths>)> {
            let all = nodes.iter().map(|node| node.forward(sweep, signal)).collect::<Result<Vec<_>>>()?;
            Ok(gather(all))
        };
        let combined = |(values, lengths), f: &dyn Fn(Vec<Tensor>) -> Result<Tensor>| {
            Ok(Signal { x: f(values)?, lengths })
        };
        let y = match self {
            Node::Serial(nodes) => {
                return nodes.iter().try_fold(signal.clone(), |signal, node| node.forward(sweep, &signal));
            }
            Node::Sum(nodes) => return combined(branches(nodes)?, &sum),
            Node::Product(nodes) => return combined(branches(nodes)?, &product),
            Node::Concat { outer, nodes, .. } => {
                return combined(branches(nodes)?, &|values| concat(&values, *outer));
            }
            Node::Affine(index) => sweep.affines[*index].forward(x)?,
            Node::Pointwise(phi) => phi.value(x)?,
            _ => return Ok(self.record(sweep, signal)?.0),
        };
        self.seal(sweep, y, signal)
    }

    /// The same, and what the other rules need.
    pub(crate) fn record(&self, sweep: Sweep<'_>, signal: &Signal) -> Result<(Signal, Tape)> {
        let x = &signal.x;
        let branches = |nodes: &[Node]| -> Result<(Vec<Tensor>, Option<Lengths>, Vec<Tape>)> {
            let all = nodes.iter().map(|node| node.record(sweep, signal)).collect::<Result<Vec<_>>>()?;
            let (signals, tapes) = all.into_iter().unzip();
            let (values, lengths) = gather(signals);
            Ok((values, lengths, tapes))
        };
        let (y, tape) = match self {
            Node::Serial(nodes) => {
                let (mut signal, mut tapes) = (signal.clone(), Vec::with_capacity(nodes.len()));
                for node in nodes {
                    let (next, tape) = node.record(sweep, &signal)?;
                    tapes.push(tape);
                    signal = next;
                }
                return Ok((signal, Tape::Parts(tapes)));
            }
            Node::Sum(nodes) => {
                let (values, lengths, tapes) = branches(nodes)?;
                return Ok((Signal { x: sum(values)?, lengths }, Tape::Parts(tapes)));
            }
            Node::Product(nodes) => {
                let (values, lengths, tapes) = branches(nodes)?;
                return Ok((Signal { x: product(values.clone())?, lengths }, Tape::Product(tapes, values)));
            }
            Node::Concat { outer, nodes, .. } => {
                let (values, lengths, tapes) = branches(nodes)?;
                return Ok((Signal { x: concat(&values, *outer)?, lengths }, Tape::Parts(tapes)));
            }
            Node::Affine(index) => (sweep.affines[*index].forward(x)?, Tape::Input(x.clone())),
            Node::Custom { rule, numbers, channels, .. } => {
                let y = rule.forward(&x.reshape(((), *channels))?, numbers)?.reshape(x.shape())?;
                (y, Tape::Input(x.clone()))
            }
            Node::Attention(attention) => {
                let (y, record) = attention.record(sweep, signal)?;
                (y, Tape::Attention(Box::new(record)))
            }
            Node::Positions { map, pass } => {
                let (y, factor) = (map.forward(x)?, pass.factor(x, signal.lengths.as_ref())?);
                match factor {
                    Some(factor) => (y.broadcast_mul(&factor)?, Tape::Positions(Some(factor))),
                    None => (y, Tape::Positions(None)),
                }
            }
            Node::Aggregate { .. } => {
                (self.aggregate(sweep, &x.unsqueeze(1)?, false)?.squeeze(1)?, Tape::Empty)
            }
            Node::Flatten => (x.clone(), Tape::Empty),
            Node::Pointwise(phi) => {
                let (y, slope) = phi.value_and_slope(x)?;
                (y, Tape::Factor(slope))
            }
            Node::LayerNorm(norm) => {
                let (output, inverse) = norm.forward(x)?;
                (norm.join(&output)?, Tape::Normalized { output, inverse })
            }
            Node::Dropout { keep, stream } => match sweep.pass {
                Some(pass) => {
                    let mask = mask(x, *keep, *stream, pass, sweep.first)?;
                    ((x * &mask)?, Tape::Factor(mask))
                }
                None => (x.clone(), Tape::Empty),
            },
        };
        let signal = self.seal(sweep, y, signal)?;
        Ok(match &signal.lengths {
            Some(lengths) => {
                let tape = Tape::Cleared(lengths.clone(), Box::new(tape));
                (signal, tape)
            }
            None => (signal, tape),
        })
    }

    /// The output of a layer with its lengths, and zeros beyond them.
    pub(crate) fn seal(&self, sweep: Sweep<'_>, y: Tensor, input: &Signal) -> Result<Signal> {
        Ok(match self.lengths(sweep, input.lengths.as_ref()) {
            Some(lengths) => Signal { x: lengths.clear(&y)?, lengths: Some(lengths) },
            None => Signal { x: y, lengths: None },
        })
    }

    /// The lengths that go out of a layer.
    pub(crate) fn lengths(&self, sweep: Sweep<'_>, input: Option<&Lengths>) -> Option<Lengths> {
        let lengths = input?;
        let valid = match self {
            Node::Flatten | Node::Positions { pass: Pass::Global(_) | Pass::Never, .. } => return None,
            Node::Positions { pass: Pass::Window(valid), .. } => Some(valid),
            Node::Affine(index) => match &sweep.affines[*index].sites.reads {
                Reads::Window(taps) => taps.valid.as_ref(),
                Reads::Here | Reads::Tokens => None,
            },
            _ => None,
        };
        Some(match valid {
            Some(valid) => lengths.map(self.positions(sweep, lengths.side), |length| valid[length]),
            None => lengths.clone(),
        })
    }

    /// Positions that go out of a layer, of which some come in.
    fn positions(&self, sweep: Sweep<'_>, inputs: usize) -> usize {
        match self {
            Node::Affine(index) => sweep.affines[*index].sites.positions,
            Node::Positions { map, .. } => map.outputs(),
            _ => inputs,
        }
    }

    /// Sums along edges, or against them. t: (n, o, w) → (n, o, w).
    pub(crate) fn aggregate(&self, sweep: Sweep<'_>, t: &Tensor, back: bool) -> Result<Tensor> {
        let Node::Aggregate { before, nodes } = *self else { return Ok(t.clone()) };
        let (n, o, w) = t.dims3()?;
        let sample = |i: usize| {
            let graph = sweep.graph(i, nodes)?;
            let t = t.get(i)?.reshape((1, o * before, w / before))?;
            let y = if back { graph.backward(&t)? } else { graph.forward(&t.squeeze(0)?)? };
            y.reshape((1, o, w))
        };
        Tensor::cat(&(0..n).map(sample).collect::<Result<Vec<_>>>()?, 0)
    }

    /// y = f(x) with candle's graph, so that candle differentiates it; none where its gradient would not be right.
    pub(crate) fn differentiable(&self, sweep: Sweep<'_>, x: &Tensor) -> Result<Tensor> {
        let branches = |nodes: &[Node]| -> Result<Vec<Tensor>> {
            nodes.iter().map(|node| node.differentiable(sweep, x)).collect()
        };
        match self {
            Node::Affine(index) => sweep.affines[*index].differentiable(x),
            Node::Attention(attention) => attention.differentiable(sweep, x),
            Node::Positions { map, .. } => map.composed(x),
            Node::Pointwise(phi) => phi.composed(x).unwrap_or_else(|| {
                candle_core::bail!("{} is not composed of candle operations with right gradients", phi.name())
            }),
            Node::LayerNorm(norm) => norm.join(&norm.forward(x)?.0),
            Node::Flatten => Ok(x.clone()),
            Node::Aggregate { .. } => candle_core::bail!("graphs do not reach candle models"),
            Node::Dropout { .. } => Ok(self.forward(sweep, &Signal { x: x.clone(), lengths: None })?.x),
            Node::Custom { rule, numbers, channels, .. } => {
                rule.forward(&x.reshape(((), *channels))?, numbers)?.reshape(x.shape())
            }
            Node::Serial(nodes) => nodes.iter().try_fold(x.clone(), |x, node| node.differentiable(sweep, &x)),
            Node::Sum(nodes) => sum(branches(nodes)?),
            Node::Product(nodes) => product(branches(nodes)?),
            Node::Concat { outer, nodes, .. } => concat(&branches(nodes)?, *outer),
        }
    }

    /// Whether it is a linear map of positions, the same for all channels.
    pub(crate) fn maps_positions(&self, sweep: Sweep<'_>) -> bool {
        match self {
            Node::Positions { .. } | Node::Aggregate { .. } | Node::Flatten => true,
            Node::Dropout { .. } => sweep.pass.is_none(),
            Node::Serial(nodes) => nodes.iter().all(|node| node.maps_positions(sweep)),
            _ => false,
        }
    }

    /// Whether a cotangent must pass this node or end in it.
    pub(crate) fn reaches(&self, sweep: Sweep<'_>) -> bool {
        match self {
            Node::Affine(index) => sweep.wants(*index),
            Node::Attention(attention) => {
                let all = [Some(attention.query), attention.key, Some(attention.value)];
                all.into_iter().flatten().any(|index| sweep.wants(index))
            }
            Node::Serial(nodes) | Node::Sum(nodes) | Node::Product(nodes) | Node::Concat { nodes, .. } => {
                nodes.iter().any(|node| node.reaches(sweep))
            }
            Node::Positions { .. }
            | Node::Aggregate { .. }
            | Node::Flatten
            | Node::Pointwise(_)
            | Node::LayerNorm(_)
            | Node::Dropout { .. }
            | Node::Custom { .. } => false,
        }
    }
}

impl Pass {
    /// What an average over all positions is multiplied by where samples are shorter. → (n, 1).
    pub(crate) fn factor(&self, x: &Tensor, lengths: Option<&Lengths>) -> Result<Option<Tensor>> {
        let (Pass::Global(Pooling::Average | Pooling::EdgeAverage), Some(lengths)) = (self, lengths) else {
            return Ok(None);
        };
        // The average over no positions is 0, as their sum is.
        let factors = lengths.of.iter().map(|&length| lengths.side as f64 / length.max(1) as f64).collect();
        crate::tensor::from_vec(factors, (lengths.of.len(), 1), x.dtype(), x.device()).map(Some)
    }
}

fn gather(signals: Vec<Signal>) -> (Vec<Tensor>, Option<Lengths>) {
    let lengths = signals.iter().map(|signal| signal.lengths.clone()).fold(None, Lengths::merge);
    (signals.into_iter().map(|signal| signal.x).collect(), lengths)
}

fn add(total: Option<Tensor>, more: Option<Tensor>) -> Result<Option<Tensor>> {
    match (total, more) {
        // One branch may still carry cotangents common to all samples.
        (Some(a), Some(b)) if a.dims() != b.dims() => a.broadcast_add(&b).map(Some),
        (Some(a), Some(b)) => (a + b).map(Some),
        (a, b) => Ok(a.or(b)),
    }
}

fn sum(parts: Vec<Tensor>) -> Result<Tensor> {
    let mut parts = parts.into_iter();
    let first = parts.next().map_or_else(|| candle_core::bail!("a sum needs at least one branch"), Ok)?;
    parts.try_fold(first, |total, part| total + part)
}

fn product(parts: Vec<Tensor>) -> Result<Tensor> {
    let mut parts = parts.into_iter();
    let first = parts.next().map_or_else(|| candle_core::bail!("a product needs at least one branch"), Ok)?;
    parts.try_fold(first, |total, part| total * part)
}

/// Side by side after `outer` positions. Parts: (n, outer · wᵢ) → (n, outer · Σ wᵢ).
pub(crate) fn concat(parts: &[Tensor], outer: usize) -> Result<Tensor> {
    if outer == 1 {
        return Tensor::cat(parts, 1);
    }
    let parts =
        parts.iter().map(|part| part.reshape((part.dim(0)?, outer, ()))).collect::<Result<Vec<_>>>()?;
    Tensor::cat(&parts, 2)?.flatten_from(1)
}

/// 1/keep where a unit stays, 0 where it is dropped. Row i of a mask depends on the stream, the pass and i alone.
pub(crate) fn mask(x: &Tensor, keep: f64, stream: Stream, pass: u64, first: usize) -> Result<Tensor> {
    let (n, width) = x.dims2()?;
    let threshold = keep * 2f64.powi(32);
    let mut values = Vec::with_capacity(n * width);
    for row in first as u32..(first + n) as u32 {
        let words = (0..width.div_ceil(4) as u32)
            .flat_map(|block| stream.words([block, row, pass as u32, (pass >> 32) as u32]));
        values
            .extend(words.take(width).map(|word| if f64::from(word) < threshold { 1.0 / keep } else { 0.0 }));
    }
    Tensor::from_vec(values, (n, width), &Device::Cpu)?.to_dtype(x.dtype())?.to_device(x.device())
}
