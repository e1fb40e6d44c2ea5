//! The covariance of the outputs over the draw of the affine layers that end a network, given all others, as the Gram
//! matrix of features: so that linear maps of positions may follow.

use candle_core::{Result, Tensor};

use crate::input::{Lengths, Signal};
use crate::node::{Node, Sweep, concat};
use crate::sites::{Reads, Sharing};

/// Features whose products, summed over positions and features, are the second moments of the outputs, summed over
/// positions and channels.
pub(crate) struct Moment {
    /// Those of affine layers, each independent of all others: (n, positions · features).
    pub(crate) independent: Vec<Signal>,
    /// The outputs of branches that end otherwise, whose products with the former vanish in the mean.
    pub(crate) fixed: Option<Signal>,
}

/// The moments of a node's outputs; `mixed` tells whether positions are mixed afterwards.
pub(crate) fn moment(node: &Node, sweep: Sweep<'_>, signal: &Signal, mixed: bool) -> Result<Moment> {
    match node {
        Node::Affine(index) => {
            let affine = &sweep.affines[*index];
            let (weight, bias) = affine.covariance_scales();
            let (sites, dtype) = (&affine.sites, affine.weight.dtype());
            let (n, outputs) = (signal.x.dim(0)?, sites.outputs as f64);
            // Groups have the means of their own patches, and outputs of a group are as many as theirs is the share.
            let groups = if let Sharing::Groups(groups) = sites.sharing { groups as f64 } else { 1.0 };
            let rows = if let Reads::Tokens = sites.reads {
                sites.patches(&signal.x, 0, 0..sites.patch_channels(&signal.x)?, dtype)?
            } else {
                sites.rows(&signal.x)?.reshape((n, sites.positions, ()))?
            };
            let rows = (rows * (weight * outputs / groups).sqrt())?;
            let constant =
                (Tensor::ones((n, sites.positions, 1), dtype, rows.device())? * (bias * outputs).sqrt())?;
            let features = Tensor::cat(&[rows, constant], 2)?;
            let parts = if sites.sharing == Sharing::Positions && mixed {
                (0..sites.positions).map(|p| only(&features, p)).collect::<Result<Vec<_>>>()?
            } else {
                vec![features]
            };
            let seal = |features: Tensor| node.seal(sweep, features.flatten_from(1)?, signal);
            Ok(Moment { independent: parts.into_iter().map(seal).collect::<Result<_>>()?, fixed: None })
        }
        Node::Serial(nodes) => {
            let tail = nodes.iter().rev().take_while(|node| node.maps_positions(sweep)).count();
            let (before, after) = nodes.split_at(nodes.len() - tail);
            let Some((last, before)) = before.split_last() else {
                return Ok(Moment { independent: vec![], fixed: Some(node.forward(sweep, signal)?) });
            };
            let h = before.iter().try_fold(signal.clone(), |signal, node| node.forward(sweep, &signal))?;
            let mixes = after.iter().any(|node| !matches!(node, Node::Flatten));
            let moment = moment(last, sweep, &h, mixed || mixes)?;
            let map =
                |signal: Signal| after.iter().try_fold(signal, |signal, node| node.forward(sweep, &signal));
            Ok(Moment {
                independent: moment.independent.into_iter().map(map).collect::<Result<_>>()?,
                fixed: moment.fixed.map(map).transpose()?,
            })
        }
        Node::Sum(nodes) => {
            let all =
                nodes.iter().map(|node| moment(node, sweep, signal, mixed)).collect::<Result<Vec<_>>>()?;
            let fixed = all.iter().filter_map(|own| own.fixed.as_ref().map(|fixed| fixed.x.clone()));
            let fixed = fixed.map(Ok).reduce(|a, b| a? + b?).transpose()?;
            Ok(gather(all, fixed))
        }
        Node::Concat { outer, widths, join, nodes } => {
            let mut all =
                nodes.iter().map(|node| moment(node, sweep, signal, mixed)).collect::<Result<Vec<_>>>()?;
            let known = all.iter().find_map(|own| own.fixed.as_ref().map(|fixed| fixed.x.clone()));
            let fixed = match known {
                Some(known) => {
                    let part = |(own, width): (&Moment, &usize)| match &own.fixed {
                        Some(fixed) => Ok(fixed.x.clone()),
                        None => Tensor::zeros((known.dim(0)?, outer * width), known.dtype(), known.device()),
                    };
                    Some(concat(&all.iter().zip(widths).map(part).collect::<Result<Vec<_>>>()?, *outer)?)
                }
                None => None,
            };
            if *join && mixed {
                for (branch, own) in all.iter_mut().enumerate() {
                    for part in &mut own.independent {
                        part.x = place(&part.x, *outer, widths, branch)?;
                    }
                }
            }
            Ok(gather(all, fixed))
        }
        _ => Ok(Moment { independent: vec![], fixed: Some(node.forward(sweep, signal)?) }),
    }
}

/// The features of all branches, with the lengths of their union.
fn gather(all: Vec<Moment>, fixed: Option<Tensor>) -> Moment {
    let lengths = all.iter().flat_map(|own| own.independent.iter().chain(&own.fixed));
    let lengths = lengths.map(|signal| signal.lengths.clone()).fold(None, Lengths::merge);
    let signal = |x| Signal { x, lengths: lengths.clone() };
    let independent = all.into_iter().flat_map(|own| own.independent).map(|part| signal(part.x)).collect();
    Moment { independent, fixed: fixed.map(signal) }
}

/// Features at one position only, zeros at the others. features: (n, positions, f).
fn only(features: &Tensor, position: usize) -> Result<Tensor> {
    let here = features.narrow(1, position, 1)?;
    here.pad_with_zeros(1, position, features.dim(1)? - position - 1)
}

/// The features of a branch at its own positions along the axis that branches are joined on, zeros at those of the
/// others. x: (n, outer · …).
fn place(x: &Tensor, outer: usize, widths: &[usize], branch: usize) -> Result<Tensor> {
    let x = x.reshape((x.dim(0)?, outer, ()))?;
    let own = x.dim(2)?;
    let scaled = |part: &[usize]| part.iter().sum::<usize>() * own / widths[branch];
    x.pad_with_zeros(2, scaled(&widths[..branch]), scaled(&widths[branch + 1..]))?.flatten_from(1)
}
