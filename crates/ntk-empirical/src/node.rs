//! One node of a finite network and its three rules: forward, pullback of cotangents, pushforward of tangents.
//!
//! Activations are (n, w). Cotangents are (n, o, w): o of them for each sample, carried through the network together;
//! the first axis is 1 as long as they are the same for all samples, as the identity at the output is.

mod norm;

use std::sync::Arc;

use candle_core::{Device, Result, Tensor};

use crate::affine::{Affine, Tangent};
use crate::draw::Stream;
use crate::pointwise::Pointwise;
use crate::rules::LayerRule;
use crate::tensor::scale_rows;

/// What a node does. Affine nodes hold the index of their parameters.
#[derive(Clone)]
pub(crate) enum Node {
    Affine(usize),
    Pointwise(Pointwise),
    LayerNorm { epsilon: f64 },
    Dropout { keep: f64, stream: Stream },
    Custom { rule: Arc<dyn LayerRule>, numbers: Vec<f64> },
    Serial(Vec<Node>),
    Sum(Vec<Node>),
    Product(Vec<Node>),
    Concat(Vec<Node>),
}

/// What forward leaves behind for the two other rules.
pub(crate) enum Tape {
    /// Nothing to remember: the derivative is the identity, or nothing was recorded.
    Empty,
    /// The input (n, w).
    Input(Tensor),
    /// The derivative is multiplication by this (n, w).
    Factor(Tensor),
    /// The normalized output (n, w) and 1/√(variance + ε) (n, 1).
    Normalized { output: Tensor, inverse: Tensor },
    /// The tapes of the parts.
    Parts(Vec<Tape>),
    /// Tapes and outputs of the branches of a product.
    Product(Vec<Tape>, Vec<Tensor>),
    /// Tapes and widths of the branches of a concatenation.
    Concat(Vec<Tape>, Vec<usize>),
}

/// What is common to a whole sweep.
#[derive(Clone, Copy)]
pub(crate) struct Sweep<'a> {
    pub(crate) affines: &'a [Affine],
    /// The number of the pass, by which dropout draws its masks; none in evaluation.
    pub(crate) pass: Option<u64>,
    /// Whether frozen parameters count among those that cotangents must reach.
    pub(crate) frozen: bool,
}

/// Called at each affine node with its index, input x (n, in) and cotangent d (n or 1, o, out).
pub(crate) type Visit<'a> = dyn FnMut(usize, &Tensor, &Tensor) -> std::result::Result<(), crate::Error> + 'a;

impl Sweep<'_> {
    fn wants(&self, index: usize) -> bool {
        self.frozen || self.affines[index].learns()
    }
}

impl Node {
    /// y = f(x). x: (n, in) → (n, out).
    pub(crate) fn forward(&self, sweep: Sweep<'_>, x: &Tensor) -> Result<Tensor> {
        match self {
            Node::Affine(index) => sweep.affines[*index].forward(x),
            Node::Pointwise(phi) => phi.value(x),
            Node::LayerNorm { epsilon } => Ok(norm::forward(x, *epsilon)?.0),
            Node::Dropout { keep, stream } => match sweep.pass {
                Some(pass) => x * mask(x, *keep, *stream, pass)?,
                None => Ok(x.clone()),
            },
            Node::Custom { rule, numbers } => rule.forward(x, numbers),
            Node::Serial(nodes) => nodes.iter().try_fold(x.clone(), |x, node| node.forward(sweep, &x)),
            Node::Sum(nodes) => sum(nodes.iter().map(|node| node.forward(sweep, x))),
            Node::Product(nodes) => product(nodes.iter().map(|node| node.forward(sweep, x))),
            Node::Concat(nodes) => {
                let parts = nodes.iter().map(|node| node.forward(sweep, x)).collect::<Result<Vec<_>>>()?;
                Tensor::cat(&parts, 1)
            }
        }
    }

    /// The same, and what the other rules need.
    pub(crate) fn record(&self, sweep: Sweep<'_>, x: &Tensor) -> Result<(Tensor, Tape)> {
        let branches = |nodes: &[Node]| -> Result<(Vec<Tensor>, Vec<Tape>)> {
            let both = nodes.iter().map(|node| node.record(sweep, x)).collect::<Result<Vec<_>>>()?;
            Ok(both.into_iter().unzip())
        };
        Ok(match self {
            Node::Affine(_) | Node::Custom { .. } => (self.forward(sweep, x)?, Tape::Input(x.clone())),
            Node::Pointwise(phi) => {
                let (y, slope) = phi.value_and_slope(x)?;
                (y, Tape::Factor(slope))
            }
            Node::LayerNorm { epsilon } => {
                let (output, inverse) = norm::forward(x, *epsilon)?;
                (output.clone(), Tape::Normalized { output, inverse })
            }
            Node::Dropout { keep, stream } => match sweep.pass {
                Some(pass) => {
                    let mask = mask(x, *keep, *stream, pass)?;
                    ((x * &mask)?, Tape::Factor(mask))
                }
                None => (x.clone(), Tape::Empty),
            },
            Node::Serial(nodes) => {
                let (mut x, mut tapes) = (x.clone(), Vec::with_capacity(nodes.len()));
                for node in nodes {
                    let (y, tape) = node.record(sweep, &x)?;
                    tapes.push(tape);
                    x = y;
                }
                (x, Tape::Parts(tapes))
            }
            Node::Sum(nodes) => {
                let (values, tapes) = branches(nodes)?;
                (sum(values.into_iter().map(Ok))?, Tape::Parts(tapes))
            }
            Node::Product(nodes) => {
                let (values, tapes) = branches(nodes)?;
                (product(values.iter().cloned().map(Ok))?, Tape::Product(tapes, values))
            }
            Node::Concat(nodes) => {
                let (values, tapes) = branches(nodes)?;
                let widths = values.iter().map(|v| v.dim(1)).collect::<Result<_>>()?;
                (Tensor::cat(&values, 1)?, Tape::Concat(tapes, widths))
            }
        })
    }

    /// Carries cotangents of the output back to every affine node, calling `visit` there, and to the input if it is
    /// asked for. d: (n or 1, o, out) → (n or 1, o, in).
    pub(crate) fn pullback(
        &self,
        sweep: Sweep<'_>,
        tape: &Tape,
        d: &Tensor,
        to_input: bool,
        visit: &mut Visit<'_>,
    ) -> std::result::Result<Option<Tensor>, crate::Error> {
        let wanted = |d: Result<Tensor>| if to_input { Ok(Some(d?)) } else { Ok(None) };
        match (self, tape) {
            (Node::Affine(index), Tape::Input(x)) => {
                // Before the visit, which may move the weights.
                let input = if to_input { Some(sweep.affines[*index].pullback(d)?) } else { None };
                if sweep.wants(*index) {
                    visit(*index, x, d)?;
                }
                Ok(input)
            }
            (Node::Custom { rule, numbers }, Tape::Input(x)) => {
                let (_, outputs, width) = d.dims3()?;
                wanted(
                    d.broadcast_as((x.dim(0)?, outputs, width)).and_then(|d| rule.pullback(x, &d, numbers)),
                )
            }
            (_, Tape::Factor(factor)) => wanted(if to_input { scale_rows(d, factor) } else { Ok(d.clone()) }),
            (_, Tape::Normalized { output, inverse }) => wanted(norm::pullback(d, output, inverse)),
            (Node::Serial(nodes), Tape::Parts(tapes)) => {
                let first = if to_input {
                    0
                } else {
                    nodes.iter().position(|n| n.reaches(sweep)).unwrap_or(nodes.len())
                };
                let mut d = Some(d.clone());
                for (i, (node, tape)) in nodes.iter().zip(tapes).enumerate().skip(first).rev() {
                    let Some(here) = d else { return Ok(None) };
                    d = node.pullback(sweep, tape, &here, to_input || i > first, visit)?;
                }
                Ok(d.filter(|_| to_input))
            }
            (Node::Sum(nodes), Tape::Parts(tapes)) => {
                let mut total = None;
                for (node, tape) in nodes.iter().zip(tapes) {
                    total = add(total, node.pullback(sweep, tape, d, to_input, visit)?)?;
                }
                Ok(total)
            }
            (Node::Product(nodes), Tape::Product(tapes, values)) => {
                let mut total = None;
                for (i, (node, tape)) in nodes.iter().zip(tapes).enumerate() {
                    let d = match others(values, i)? {
                        Some(others) => scale_rows(d, &others)?,
                        None => d.clone(),
                    };
                    total = add(total, node.pullback(sweep, tape, &d, to_input, visit)?)?;
                }
                Ok(total)
            }
            (Node::Concat(nodes), Tape::Concat(tapes, widths)) => {
                let (mut total, mut start) = (None, 0);
                for ((node, tape), &width) in nodes.iter().zip(tapes).zip(widths) {
                    let d = d.narrow(2, start, width)?.contiguous()?;
                    total = add(total, node.pullback(sweep, tape, &d, to_input, visit)?)?;
                    start += width;
                }
                Ok(total)
            }
            _ => Ok(Some(d.clone())),
        }
    }

    /// Carries a tangent of the input and of the parameters to the output; none is zero. t: (n, in) → (n, out).
    pub(crate) fn pushforward(
        &self,
        sweep: Sweep<'_>,
        tape: &Tape,
        t: Option<&Tensor>,
        tangents: &[Tangent],
    ) -> Result<Option<Tensor>> {
        match (self, tape) {
            (Node::Affine(index), Tape::Input(x)) => {
                sweep.affines[*index].pushforward(x, t, &tangents[*index]).map(Some)
            }
            (Node::Custom { rule, numbers }, Tape::Input(x)) => {
                t.map(|t| rule.pushforward(x, t, numbers)).transpose()
            }
            (_, Tape::Factor(factor)) => t.map(|t| t * factor).transpose(),
            (_, Tape::Normalized { output, inverse }) => {
                let Some(t) = t else { return Ok(None) };
                norm::pullback(&t.unsqueeze(1)?, output, inverse)?.squeeze(1).map(Some)
            }
            (Node::Serial(nodes), Tape::Parts(tapes)) => {
                let mut t = t.cloned();
                for (node, tape) in nodes.iter().zip(tapes) {
                    t = node.pushforward(sweep, tape, t.as_ref(), tangents)?;
                }
                Ok(t)
            }
            (Node::Sum(nodes), Tape::Parts(tapes)) => {
                let mut total = None;
                for (node, tape) in nodes.iter().zip(tapes) {
                    total = add(total, node.pushforward(sweep, tape, t, tangents)?)?;
                }
                Ok(total)
            }
            (Node::Product(nodes), Tape::Product(tapes, values)) => {
                let mut total = None;
                for (i, (node, tape)) in nodes.iter().zip(tapes).enumerate() {
                    let Some(own) = node.pushforward(sweep, tape, t, tangents)? else { continue };
                    let own = match others(values, i)? {
                        Some(others) => (own * others)?,
                        None => own,
                    };
                    total = add(total, Some(own))?;
                }
                Ok(total)
            }
            (Node::Concat(nodes), Tape::Concat(tapes, widths)) => {
                let own =
                    nodes.iter().zip(tapes).map(|(node, tape)| node.pushforward(sweep, tape, t, tangents));
                let own = own.collect::<Result<Vec<_>>>()?;
                let Some(known) = own.iter().flatten().next() else { return Ok(None) };
                let (n, dtype, device) = (known.dim(0)?, known.dtype(), known.device());
                let parts = own.iter().zip(widths).map(|(t, &width)| match t {
                    Some(t) => Ok(t.clone()),
                    None => Tensor::zeros((n, width), dtype, device),
                });
                Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 1).map(Some)
            }
            _ => Ok(t.cloned()),
        }
    }

    /// y = f(x) with candle's graph, so that candle differentiates it; none where its gradient would not be right.
    pub(crate) fn differentiable(&self, sweep: Sweep<'_>, x: &Tensor) -> Result<Tensor> {
        match self {
            Node::Affine(index) => sweep.affines[*index].differentiable(x),
            Node::Pointwise(phi) => phi.composed(x).unwrap_or_else(|| {
                candle_core::bail!("{} is not composed of candle operations with right gradients", phi.name())
            }),
            Node::LayerNorm { epsilon } => Ok(norm::forward(x, *epsilon)?.0),
            Node::Dropout { .. } => self.forward(sweep, x),
            Node::Custom { rule, numbers } => rule.forward(x, numbers),
            Node::Serial(nodes) => nodes.iter().try_fold(x.clone(), |x, node| node.differentiable(sweep, &x)),
            Node::Sum(nodes) => sum(nodes.iter().map(|node| node.differentiable(sweep, x))),
            Node::Product(nodes) => product(nodes.iter().map(|node| node.differentiable(sweep, x))),
            Node::Concat(nodes) => {
                let parts =
                    nodes.iter().map(|node| node.differentiable(sweep, x)).collect::<Result<Vec<_>>>()?;
                Tensor::cat(&parts, 1)
            }
        }
    }

    /// Whether a cotangent must pass this node or end in it.
    fn reaches(&self, sweep: Sweep<'_>) -> bool {
        match self {
            Node::Affine(index) => sweep.wants(*index),
            Node::Serial(nodes) | Node::Sum(nodes) | Node::Product(nodes) | Node::Concat(nodes) => {
                nodes.iter().any(|node| node.reaches(sweep))
            }
            Node::Pointwise(_) | Node::LayerNorm { .. } | Node::Dropout { .. } | Node::Custom { .. } => false,
        }
    }
}

fn add(total: Option<Tensor>, more: Option<Tensor>) -> Result<Option<Tensor>> {
    match (total, more) {
        // One branch may still carry cotangents common to all samples.
        (Some(a), Some(b)) if a.dims() != b.dims() => a.broadcast_add(&b).map(Some),
        (Some(a), Some(b)) => (a + b).map(Some),
        (a, b) => Ok(a.or(b)),
    }
}

fn sum(mut parts: impl Iterator<Item = Result<Tensor>>) -> Result<Tensor> {
    let first = parts.next().unwrap_or_else(|| candle_core::bail!("a sum needs at least one branch"))?;
    parts.try_fold(first, |total, part| total + part?)
}

fn product(mut parts: impl Iterator<Item = Result<Tensor>>) -> Result<Tensor> {
    let first = parts.next().unwrap_or_else(|| candle_core::bail!("a product needs at least one branch"))?;
    parts.try_fold(first, |total, part| total * part?)
}

/// The product of all factors but one; none if there is no other.
fn others(values: &[Tensor], except: usize) -> Result<Option<Tensor>> {
    let mut rest = values.iter().enumerate().filter(|(j, _)| *j != except).map(|(_, v)| v);
    let Some(first) = rest.next() else { return Ok(None) };
    rest.try_fold(first.clone(), |total, v| total * v).map(Some)
}

/// 1/keep where a unit stays, 0 where it is dropped. Row i of a mask depends on the stream, the pass and i alone.
fn mask(x: &Tensor, keep: f64, stream: Stream, pass: u64) -> Result<Tensor> {
    let (n, width) = x.dims2()?;
    let threshold = keep * 2f64.powi(32);
    let mut values = Vec::with_capacity(n * width);
    for row in 0..n as u32 {
        let words = (0..width.div_ceil(4) as u32)
            .flat_map(|block| stream.words([block, row, pass as u32, (pass >> 32) as u32]));
        values
            .extend(words.take(width).map(|word| if f64::from(word) < threshold { 1.0 / keep } else { 0.0 }));
    }
    Tensor::from_vec(values, (n, width), &Device::Cpu)?.to_dtype(x.dtype())?.to_device(x.device())
}
