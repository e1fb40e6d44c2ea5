//! Cotangents backward and tangents forward through one node.

use candle_core::{Result, Tensor};

use super::{Node, Sweep, Tape, Visit, add, concat};
use crate::affine::Tangent;
use crate::tensor::scale_rows;

impl Node {
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
        let wanted = |d: &dyn Fn() -> Result<Tensor>| if to_input { Ok(Some(d()?)) } else { Ok(None) };
        match (self, tape) {
            (_, Tape::Cleared(lengths, tape)) => {
                self.pullback(sweep, tape, &lengths.clear(d)?, to_input, visit)
            }
            (Node::Affine(index), Tape::Input(x)) => sweep.affine(*index, x, d, to_input, visit),
            (Node::Attention(attention), Tape::Attention(record)) => {
                attention.pullback(sweep, record, d, to_input, visit)
            }
            (Node::Custom { rule, numbers, channels, .. }, Tape::Input(x)) => wanted(&|| {
                let (n, (_, o, width)) = (x.dim(0)?, d.dims3()?);
                let positions = width / channels;
                // At each position, the cotangents of its channels.
                let d = d.broadcast_as((n, o, width))?.reshape((n, o, positions, *channels))?;
                let d = d.transpose(1, 2)?.contiguous()?.reshape((n * positions, o, *channels))?;
                let d = rule.pullback(&x.reshape((n * positions, *channels))?, &d, numbers)?;
                d.reshape((n, positions, o, *channels))?.transpose(1, 2)?.contiguous()?.reshape((n, o, width))
            }),
            (Node::Positions { map, .. }, Tape::Positions(factor)) => wanted(&|| match factor {
                Some(factor) => map.backward(&d.broadcast_mul(&factor.unsqueeze(1)?)?),
                None => map.backward(d),
            }),
            (Node::Aggregate { .. }, _) => wanted(&|| {
                let (_, o, width) = d.dims3()?;
                let n = sweep.graphs.map_or(1, <[_]>::len);
                self.aggregate(sweep, &d.broadcast_as((n, o, width))?.contiguous()?, true)
            }),
            (_, Tape::Factor(factor)) => wanted(&|| scale_rows(d, factor)),
            (Node::LayerNorm(norm), Tape::Normalized { output, inverse }) => {
                wanted(&|| norm.pullback(d, output, inverse))
            }
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
            (Node::Concat { outer, widths, nodes, .. }, Tape::Parts(tapes)) => {
                let (n, o, _) = d.dims3()?;
                let d = d.reshape((n, o, *outer, ()))?;
                let (mut total, mut start) = (None, 0);
                for ((node, tape), &width) in nodes.iter().zip(tapes).zip(widths) {
                    let d = d.narrow(3, start, width)?.contiguous()?.reshape((n, o, ()))?;
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
        let branches = |nodes: &[Node], tapes: &[Tape]| -> Result<Vec<Option<Tensor>>> {
            nodes.iter().zip(tapes).map(|(node, tape)| node.pushforward(sweep, tape, t, tangents)).collect()
        };
        match (self, tape) {
            (_, Tape::Cleared(lengths, tape)) => {
                let t = self.pushforward(sweep, tape, t, tangents)?;
                t.map(|t| lengths.clear(&t)).transpose()
            }
            (Node::Affine(index), Tape::Input(x)) => {
                sweep.affines[*index].pushforward(x, t, &tangents[*index]).map(Some)
            }
            (Node::Attention(attention), Tape::Attention(record)) => {
                attention.pushforward(sweep, record, t, tangents).map(Some)
            }
            (Node::Custom { rule, numbers, channels, .. }, Tape::Input(x)) => {
                let rows = |t: &Tensor| t.reshape(((), *channels));
                t.map(|t| rule.pushforward(&rows(x)?, &rows(t)?, numbers)?.reshape(x.shape())).transpose()
            }
            (Node::Positions { map, .. }, Tape::Positions(factor)) => {
                let Some(t) = t else { return Ok(None) };
                let t = map.forward(t)?;
                Ok(Some(match factor {
                    Some(factor) => t.broadcast_mul(factor)?,
                    None => t,
                }))
            }
            (Node::Aggregate { .. }, _) => {
                t.map(|t| self.aggregate(sweep, &t.unsqueeze(1)?, false)?.squeeze(1)).transpose()
            }
            (_, Tape::Factor(factor)) => t.map(|t| t * factor).transpose(),
            (Node::LayerNorm(norm), Tape::Normalized { output, inverse }) => {
                t.map(|t| norm.pullback(&t.unsqueeze(1)?, output, inverse)?.squeeze(1)).transpose()
            }
            (Node::Serial(nodes), Tape::Parts(tapes)) => {
                let mut t = t.cloned();
                for (node, tape) in nodes.iter().zip(tapes) {
                    t = node.pushforward(sweep, tape, t.as_ref(), tangents)?;
                }
                Ok(t)
            }
            (Node::Sum(nodes), Tape::Parts(tapes)) => branches(nodes, tapes)?.into_iter().try_fold(None, add),
            (Node::Product(nodes), Tape::Product(tapes, values)) => {
                let mut total = None;
                for (i, own) in branches(nodes, tapes)?.into_iter().enumerate() {
                    let Some(own) = own else { continue };
                    let own = match others(values, i)? {
                        Some(others) => (own * others)?,
                        None => own,
                    };
                    total = add(total, Some(own))?;
                }
                Ok(total)
            }
            (Node::Concat { outer, widths, nodes, .. }, Tape::Parts(tapes)) => {
                let own = branches(nodes, tapes)?;
                let Some(known) = own.iter().flatten().next() else { return Ok(None) };
                let (n, dtype, device) = (known.dim(0)?, known.dtype(), known.device());
                let parts = own.iter().zip(widths).map(|(t, &width)| match t {
                    Some(t) => Ok(t.clone()),
                    None => Tensor::zeros((n, outer * width), dtype, device),
                });
                concat(&parts.collect::<Result<Vec<_>>>()?, *outer).map(Some)
            }
            _ => Ok(t.cloned()),
        }
    }
}

/// The product of all factors but one; none if there is no other.
fn others(values: &[Tensor], except: usize) -> Result<Option<Tensor>> {
    let mut rest = values.iter().enumerate().filter(|(j, _)| *j != except).map(|(_, v)| v);
    let Some(first) = rest.next() else { return Ok(None) };
    rest.try_fold(first.clone(), |total, v| total * v).map(Some)
}
