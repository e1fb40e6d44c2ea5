//! `Lowering`: what turns a description into one finite network.

use candle_core::{DType, Device};
use ntk_core::{Activation, Layer, Net, NetKind, Shape, Width};

use crate::affine::Affine;
use crate::draw::Stream;
use crate::node::Node;
use crate::pointwise::Pointwise;
use crate::{Error, Rules};

/// Whether dropout drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// Dropout is the identity.
    #[default]
    Evaluation,
    /// Dropout draws masks from the seed: one for each row of a batch, the same in every evaluation of that row and
    /// new ones at every training step. Kernels averaged over seeds tend to those of the infinite network.
    Training,
}

/// Width, seed, number format and device of a finite network.
///
/// ```
/// use ntk_core::Shape;
/// use ntk_empirical::Lowering;
/// let lowering = Lowering { width: 1024, seed: 7, ..Lowering::for_inputs(Shape::vector(64)) };
/// assert_eq!(lowering.dtype, ntk_empirical::candle_core::DType::F64);
/// ```
#[derive(Clone, Debug)]
pub struct Lowering {
    /// Shape of one input sample.
    pub inputs: Shape,
    /// n: the number of units of a hidden layer of ratio 1.
    pub width: usize,
    /// Seed of the draws. The same seed gives the same parameters to the bit, on any number of threads.
    pub seed: u64,
    /// f32 or f64; drawn in f64 and rounded.
    pub dtype: DType,
    /// Where parameters and activations live; see [`device()`](crate::device()).
    pub device: Device,
    /// Whether dropout drops.
    pub mode: Mode,
}

impl Lowering {
    /// Width 512, seed 0, f64, on the CPU, in evaluation mode.
    pub fn for_inputs(inputs: Shape) -> Self {
        Lowering {
            inputs,
            width: 512,
            seed: 0,
            dtype: DType::F64,
            device: Device::Cpu,
            mode: Mode::Evaluation,
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.width == 0 {
            return Err(Error::ZeroWidth);
        }
        match self.dtype {
            DType::F32 => Ok(()),
            DType::F64 if !self.device.is_metal() => Ok(()),
            other => Err(Error::DType { dtype: other.as_str(), device: kind(&self.device) }),
        }
    }
}

fn kind(device: &Device) -> &'static str {
    match device {
        Device::Cpu => "the CPU",
        Device::Cuda(_) => "CUDA",
        Device::Metal(_) => "Metal",
    }
}

/// Walks a description, resolves names and draws parameters.
pub(crate) struct Builder<'a> {
    pub(crate) lowering: &'a Lowering,
    pub(crate) rules: &'a Rules,
    pub(crate) affines: Vec<Affine>,
}

impl Builder<'_> {
    /// The node of a description at a path, with its output width for a given input width.
    pub(crate) fn node(&mut self, net: &Net, path: &str, width: usize) -> Result<(Node, usize), Error> {
        match net.kind() {
            NetKind::Layer(layer) => self.layer(layer, path, width),
            NetKind::Serial(nets) => {
                let (mut nodes, mut width) = (Vec::with_capacity(nets.len()), width);
                for (i, net) in nets.iter().enumerate() {
                    let (node, out) = self.node(net, &join(path, &i.to_string()), width)?;
                    nodes.push(node);
                    width = out;
                }
                Ok((Node::Serial(nodes), width))
            }
            NetKind::Sum(nets) => {
                let (nodes, widths) = self.branches(nets, path, "sum", width)?;
                Ok((Node::Sum(nodes), equal("sum", &widths)?))
            }
            NetKind::Product(nets) => {
                let (nodes, widths) = self.branches(nets, path, "product", width)?;
                Ok((Node::Product(nodes), equal("product", &widths)?))
            }
            NetKind::Concat(nets) => {
                let (nodes, widths) = self.branches(nets, path, "concat", width)?;
                Ok((Node::Concat(nodes), widths.iter().sum()))
            }
            NetKind::Join { .. } => Err(Error::NoFiniteNetwork { name: "join".to_owned() }),
        }
    }

    fn branches(
        &mut self,
        nets: &[Net],
        path: &str,
        combinator: &str,
        width: usize,
    ) -> Result<(Vec<Node>, Vec<usize>), Error> {
        let path = join(path, combinator);
        let both =
            nets.iter().enumerate().map(|(i, net)| self.node(net, &join(&path, &i.to_string()), width));
        Ok(both.collect::<Result<Vec<_>, _>>()?.into_iter().unzip())
    }

    fn layer(&mut self, layer: &Layer, path: &str, width: usize) -> Result<(Node, usize), Error> {
        Ok(match layer {
            Layer::Dense { width: out, affine } => {
                let Lowering { seed, dtype, ref device, .. } = *self.lowering;
                let out = out.at(self.lowering.width);
                self.affines.push(Affine::draw(*affine, path.to_owned(), (width, out), seed, dtype, device)?);
                (Node::Affine(self.affines.len() - 1), out)
            }
            Layer::Activation(phi) => (Node::Pointwise(self.activation(phi)?), width),
            Layer::LayerNorm { epsilon, axes: ntk_core::Axes::Channels } => {
                (Node::LayerNorm { epsilon: *epsilon }, width)
            }
            Layer::Dropout { rate } => {
                let stream = Stream::new(self.lowering.seed, &join(path, "mask"));
                (Node::Dropout { keep: rate.keep(), stream }, width)
            }
            Layer::Custom { name, parameters } => {
                let rule =
                    self.rules.find_layer(name).ok_or_else(|| Error::UnknownLayer { name: name.clone() })?;
                (Node::Custom { rule, numbers: parameters.clone() }, width)
            }
            other => return Err(Error::NoFiniteNetwork { name: other.name().to_owned() }),
        })
    }

    fn activation(&self, phi: &Activation) -> Result<Pointwise, Error> {
        match phi {
            Activation::ExpNormalized { .. } => Err(Error::NoFiniteNetwork { name: phi.name().to_owned() }),
            Activation::Custom { name, parameters } => {
                let rule = self.rules.find_activation(name);
                let rule = rule.ok_or_else(|| Error::UnknownActivation { name: name.clone() })?;
                Ok(Pointwise::Custom { name: name.clone(), rule, numbers: parameters.clone() })
            }
            _ => Ok(Pointwise::Known(phi.clone())),
        }
    }
}

/// Widths that are equal as multiples of n may still round to different numbers of units.
fn equal(combinator: &'static str, widths: &[usize]) -> Result<usize, Error> {
    let first = *widths.first().ok_or(ntk_core::Error::NoBranches { combinator })?;
    match widths.iter().find(|&&width| width != first) {
        Some(&other) => {
            let (left, right) = (Width::Fixed(first), Width::Fixed(other));
            Err(ntk_core::Error::BranchWidths { combinator, left, right }.into())
        }
        None => Ok(first),
    }
}

fn join(path: &str, segment: &str) -> String {
    if path.is_empty() { segment.to_owned() } else { format!("{path}.{segment}") }
}
