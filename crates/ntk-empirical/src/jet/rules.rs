//! The two rules of every layer along a curve: forward, and the pullback of cotangents.
//!
//! They are those of [`Node`], written in operations on jets; there each is explained.

use candle_core::{Result, Tensor};

use super::attention::JetRecord;
use super::{Curve, Jet};
use crate::Error;
use crate::input::{Input, Lengths, Signal};
use crate::node::{Node, Sweep, concat, mask};

/// What travels from node to node along a curve.
#[derive(Clone)]
pub(crate) struct JetSignal {
    pub(crate) x: Jet,
    pub(crate) lengths: Option<Lengths>,
}

/// What is common to a sweep along a curve.
#[derive(Clone, Copy)]
pub(crate) struct JetSweep<'a> {
    pub(crate) sweep: Sweep<'a>,
    pub(crate) curve: &'a Curve,
}

/// What forward leaves behind for the pullback.
pub(crate) enum JetTape {
    /// The derivative is the identity.
    Empty,
    /// The input (n, w).
    Input(Jet),
    /// The derivative is multiplication by this (n, w).
    Factor(Jet),
    /// The derivative is linear over positions, times this (n, 1).
    Positions(Option<Tensor>),
    /// The normalized output, in parts, and 1/√(variance + ε).
    Normalized { output: Jet, inverse: Jet },
    /// What attention needs.
    Attention(Box<JetRecord>),
    /// The output was cleared beyond these lengths.
    Cleared(Lengths, Box<JetTape>),
    /// The tapes of the parts.
    Parts(Vec<JetTape>),
    /// Tapes and outputs of the branches of a product.
    Product(Vec<JetTape>, Vec<Jet>),
}

/// Called at each affine node with its index, input x (n, in) and cotangent d (n, o, out).
pub(crate) type JetVisit<'a> = dyn FnMut(usize, &Jet, &Jet) -> std::result::Result<(), Error> + 'a;

impl JetSignal {
    /// A batch, which does not move.
    pub(crate) fn still(input: &Input, order: usize) -> Self {
        let Signal { x, lengths } = input.signal.clone();
        JetSignal { x: Jet::constant(x, order), lengths }
    }
}

impl JetSweep<'_> {
    /// The output of one affine node.
    pub(super) fn forward(&self, index: usize, x: &Jet) -> Result<Jet> {
        self.curve.forward(index, &self.sweep.affines[index], x)
    }

    /// The pullback of one affine node, with its visit.
    pub(super) fn pullback(
        &self,
        index: usize,
        x: &Jet,
        d: &Jet,
        to_input: bool,
        visit: &mut JetVisit<'_>,
    ) -> std::result::Result<Option<Jet>, Error> {
        let pull = || self.curve.pullback(index, &self.sweep.affines[index], d);
        // Before the visit, which may move the weights.
        let input = if to_input { Some(pull()?) } else { None };
        if self.sweep.wants(index) {
            visit(index, x, d)?;
        }
        Ok(input)
    }
}

impl Node {
    /// y(s), and what the pullback needs. x: (n, in) → (n, out).
    pub(crate) fn record_jet(
        &self,
        sweep: JetSweep<'_>,
        signal: &JetSignal,
    ) -> std::result::Result<(JetSignal, JetTape), Error> {
        let (x, order) = (&signal.x, sweep.curve.order);
        type Branches = (Vec<Jet>, Option<Lengths>, Vec<JetTape>);
        let branches = |nodes: &[Node]| -> std::result::Result<Branches, Error> {
            let (mut values, mut lengths, mut tapes) = (Vec::new(), None, Vec::new());
            for node in nodes {
                let (signal, tape) = node.record_jet(sweep, signal)?;
                values.push(signal.x);
                lengths = Lengths::merge(lengths, signal.lengths);
                tapes.push(tape);
            }
            Ok((values, lengths, tapes))
        };
        let (y, tape) = match self {
            Node::Serial(nodes) => {
                let (mut signal, mut tapes) = (signal.clone(), Vec::with_capacity(nodes.len()));
                for node in nodes {
                    let (next, tape) = node.record_jet(sweep, &signal)?;
                    tapes.push(tape);
                    signal = next;
                }
                return Ok((signal, JetTape::Parts(tapes)));
            }
            Node::Sum(nodes) => {
                let (values, lengths, tapes) = branches(nodes)?;
                let x = fold(&values, Jet::plus)?;
                return Ok((JetSignal { x, lengths }, JetTape::Parts(tapes)));
            }
            Node::Product(nodes) => {
                let (values, lengths, tapes) = branches(nodes)?;
                let x = fold(&values, Jet::times)?;
                return Ok((JetSignal { x, lengths }, JetTape::Product(tapes, values)));
            }
            Node::Concat { outer, nodes, .. } => {
                let (values, lengths, tapes) = branches(nodes)?;
                let x = side_by_side(&values, *outer)?;
                return Ok((JetSignal { x, lengths }, JetTape::Parts(tapes)));
            }
            Node::Affine(index) => (sweep.forward(*index, x)?, JetTape::Input(x.clone())),
            Node::Attention(attention) => {
                let (y, record) = attention.record_jet(sweep, signal)?;
                (y, JetTape::Attention(Box::new(record)))
            }
            Node::Positions { map, pass } => {
                let factor = pass.factor(&x.value, signal.lengths.as_ref())?;
                let y = x.map(|x| {
                    let y = map.forward(x)?;
                    if let Some(factor) = &factor { y.broadcast_mul(factor) } else { Ok(y) }
                })?;
                (y, JetTape::Positions(factor))
            }
            Node::Aggregate { .. } => {
                let y = x.map(|x| self.aggregate(sweep.sweep, &x.unsqueeze(1)?, false)?.squeeze(1))?;
                (y, JetTape::Empty)
            }
            Node::Flatten => (x.clone(), JetTape::Empty),
            Node::Pointwise(phi) => {
                let derivatives = phi.derivatives(&x.value, order + 2)?;
                (x.compose(&derivatives)?, JetTape::Factor(x.compose(&derivatives[1..])?))
            }
            Node::LayerNorm(norm) => {
                let (output, inverse) = norm.forward_jet(x)?;
                (output.map(|y| norm.join(y))?, JetTape::Normalized { output, inverse })
            }
            Node::Dropout { keep, stream } => match sweep.sweep.pass {
                Some(pass) => {
                    let mask = Jet::constant(mask(&x.value, *keep, *stream, pass, sweep.sweep.first)?, order);
                    (x.times(&mask)?, JetTape::Factor(mask))
                }
                None => (x.clone(), JetTape::Empty),
            },
            Node::Custom { name, .. } => return Err(Error::SecondDerivative { name: name.clone() }),
        };
        Ok(match self.lengths(sweep.sweep, signal.lengths.as_ref()) {
            Some(lengths) => {
                let signal = JetSignal { x: y.map(|y| lengths.clear(y))?, lengths: Some(lengths.clone()) };
                (signal, JetTape::Cleared(lengths, Box::new(tape)))
            }
            None => (JetSignal { x: y, lengths: None }, tape),
        })
    }

    /// Carries cotangents of the output back to every affine node, calling `visit` there, and to the input if it is
    /// asked for. d: (n, o, out) → (n, o, in).
    pub(crate) fn pullback_jet(
        &self,
        sweep: JetSweep<'_>,
        tape: &JetTape,
        d: &Jet,
        to_input: bool,
        visit: &mut JetVisit<'_>,
    ) -> std::result::Result<Option<Jet>, Error> {
        let wanted = |d: &dyn Fn() -> Result<Jet>| if to_input { Ok(Some(d()?)) } else { Ok(None) };
        match (self, tape) {
            (_, JetTape::Cleared(lengths, tape)) => {
                self.pullback_jet(sweep, tape, &d.map(|d| lengths.clear(d))?, to_input, visit)
            }
            (Node::Affine(index), JetTape::Input(x)) => sweep.pullback(*index, x, d, to_input, visit),
            (Node::Attention(attention), JetTape::Attention(record)) => {
                attention.pullback_jet(sweep, record, d, to_input, visit)
            }
            (Node::Positions { map, .. }, JetTape::Positions(factor)) => wanted(&|| {
                d.map(|d| match factor {
                    Some(factor) => map.backward(&d.broadcast_mul(&factor.unsqueeze(1)?)?),
                    None => map.backward(d),
                })
            }),
            (Node::Aggregate { .. }, _) => wanted(&|| d.map(|d| self.aggregate(sweep.sweep, d, true))),
            (_, JetTape::Factor(factor)) => wanted(&|| d.scale_rows(factor)),
            (Node::LayerNorm(norm), JetTape::Normalized { output, inverse }) => {
                wanted(&|| norm.pullback_jet(d, output, inverse))
            }
            (Node::Serial(nodes), JetTape::Parts(tapes)) => {
                let reached = || nodes.iter().position(|node| node.reaches(sweep.sweep));
                let first = if to_input { 0 } else { reached().unwrap_or(nodes.len()) };
                let mut d = Some(d.clone());
                for (i, (node, tape)) in nodes.iter().zip(tapes).enumerate().skip(first).rev() {
                    let Some(here) = d else { return Ok(None) };
                    d = node.pullback_jet(sweep, tape, &here, to_input || i > first, visit)?;
                }
                Ok(d.filter(|_| to_input))
            }
            (Node::Sum(nodes), JetTape::Parts(tapes)) => {
                nodes.iter().zip(tapes).try_fold(None, |total, (node, tape)| {
                    Ok(sum(total, node.pullback_jet(sweep, tape, d, to_input, visit)?)?)
                })
            }
            (Node::Product(nodes), JetTape::Product(tapes, values)) => {
                let mut total = None;
                for (i, (node, tape)) in nodes.iter().zip(tapes).enumerate() {
                    let others = values.iter().enumerate().filter(|(j, _)| *j != i);
                    let d =
                        others.map(|(_, other)| other).try_fold(d.clone(), |d, other| d.scale_rows(other))?;
                    total = sum(total, node.pullback_jet(sweep, tape, &d, to_input, visit)?)?;
                }
                Ok(total)
            }
            (Node::Concat { outer, widths, nodes, .. }, JetTape::Parts(tapes)) => {
                let (mut total, mut start) = (None, 0);
                for ((node, tape), &width) in nodes.iter().zip(tapes).zip(widths) {
                    let part = |d: &Tensor| {
                        let (n, o, _) = d.dims3()?;
                        d.reshape((n, o, *outer, ()))?.narrow(3, start, width)?.contiguous()?.reshape((
                            n,
                            o,
                            (),
                        ))
                    };
                    total = sum(total, node.pullback_jet(sweep, tape, &d.map(part)?, to_input, visit)?)?;
                    start += width;
                }
                Ok(total)
            }
            _ => Ok(Some(d.clone())),
        }
    }
}

impl Jet {
    /// d ∘ v with v shared by the middle axis. d: (n, o, w), v: (n, w) → (n, o, w).
    fn scale_rows(&self, v: &Jet) -> Result<Jet> {
        self.bilinear(v, crate::tensor::scale_rows)
    }
}

/// a + b, where none is zero.
pub(super) fn sum(a: Option<Jet>, b: Option<Jet>) -> Result<Option<Jet>> {
    match (a, b) {
        (Some(a), Some(b)) => a.plus(&b).map(Some),
        (a, b) => Ok(a.or(b)),
    }
}

fn fold(parts: &[Jet], f: impl Fn(&Jet, &Jet) -> Result<Jet>) -> Result<Jet> {
    let mut parts = parts.iter();
    let first = parts.next().map_or_else(|| candle_core::bail!("at least one branch is needed"), Ok)?;
    parts.try_fold(first.clone(), |total, part| f(&total, part))
}

fn side_by_side(parts: &[Jet], outer: usize) -> Result<Jet> {
    let values: Vec<Tensor> = parts.iter().map(|part| part.value.clone()).collect();
    let value = concat(&values, outer)?;
    let higher = (1..=parts.first().map_or(0, Jet::order)).map(|k| {
        if parts.iter().all(|part| part.coefficient(k).is_none()) {
            return Ok(None);
        }
        let own = parts.iter().map(|part| match part.coefficient(k) {
            Some(c) => Ok(c.clone()),
            None => part.value.zeros_like(),
        });
        concat(&own.collect::<Result<Vec<_>>>()?, outer).map(Some)
    });
    Ok(Jet { value, higher: higher.collect::<Result<_>>()? })
}
