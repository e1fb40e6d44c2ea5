//! `Lowering`: what turns a description into one finite network.

mod attention;

use std::sync::Arc;

use candle_core::{DType, Device};
use ntk_core::{Activation, ConvKind, Grid, Groups, Layer, Net, NetKind, Padding, Shape};

use crate::affine::Affine;
use crate::draw::Stream;
use crate::gather::Taps;
use crate::node::{Node, Norm, Pass};
use crate::pointwise::Pointwise;
use crate::positions::PositionMap;
use crate::sites::{Reads, Sharing, Sites};
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

/// What a lowered network asks of its inputs.
#[derive(Clone, Default)]
pub(crate) struct Demands {
    /// Whether it reads tokens.
    pub(crate) tokens: bool,
    /// The first layer that does not take lengths, while they last.
    pub(crate) no_lengths: Option<String>,
    /// The sizes of the graphs that it sums over, the smallest of them; none if it needs no graphs.
    pub(crate) nodes: Option<usize>,
}

/// Walks a description whose widths are numbers, resolves names and draws parameters.
pub(crate) struct Builder<'a> {
    pub(crate) lowering: &'a Lowering,
    pub(crate) rules: &'a Rules,
    pub(crate) affines: Vec<Affine>,
    pub(crate) demands: Demands,
}

impl Builder<'_> {
    /// The node of a description at a path, for inputs of a given shape.
    pub(crate) fn node(&mut self, net: &Net, path: &str, input: &Shape) -> Result<Node, Error> {
        Ok(match net.kind() {
            NetKind::Layer(layer) => self.layer(layer, path, input)?,
            NetKind::Serial(nets) => {
                let (mut nodes, mut shape) = (Vec::with_capacity(nets.len()), *input);
                for (i, net) in nets.iter().enumerate() {
                    nodes.push(self.node(net, &join(path, &i.to_string()), &shape)?);
                    shape = net.output_shape(&shape)?;
                }
                Node::Serial(nodes)
            }
            NetKind::Sum(nets) => Node::Sum(self.branches(nets, path, "sum", input)?),
            NetKind::Product(nets) => Node::Product(self.branches(nets, path, "product", input)?),
            NetKind::Concat(nets) => {
                let nodes = self.branches(nets, path, "concat", input)?;
                let outer = net.output_shape(input)?.positions().positions();
                self.concat(nodes, nets, outer, input, false)?
            }
            NetKind::Join { axis, nets } => {
                let nodes = self.branches(nets, path, "join", input)?;
                self.refuse_lengths("join", input);
                let outer = net.output_shape(input)?.positions().sides()[..*axis].iter().product();
                self.concat(nodes, nets, outer, input, true)?
            }
        })
    }

    fn branches(
        &mut self,
        nets: &[Net],
        path: &str,
        combinator: &str,
        input: &Shape,
    ) -> Result<Vec<Node>, Error> {
        let path = join(path, combinator);
        nets.iter().enumerate().map(|(i, net)| self.node(net, &join(&path, &i.to_string()), input)).collect()
    }

    fn concat(
        &self,
        nodes: Vec<Node>,
        nets: &[Net],
        outer: usize,
        input: &Shape,
        join: bool,
    ) -> Result<Node, Error> {
        let width = |net: &Net| Ok(size(&net.output_shape(input)?) / outer);
        let widths = nets.iter().map(width).collect::<Result<_, Error>>()?;
        Ok(Node::Concat { outer, widths, join, nodes })
    }

    fn layer(&mut self, layer: &Layer, path: &str, input: &Shape) -> Result<Node, Error> {
        let (grid, output) = (input.positions(), layer.output_shape(input)?);
        let (positions, channels) = (grid.positions(), units(input));
        Ok(match layer {
            Layer::Dense { affine, .. } => {
                self.dense(*affine, path, positions, (channels, units(&output)))?
            }
            Layer::Embedding { affine, .. } => {
                let (inputs, outputs) = (channels, units(&output));
                let sites = Sites { reads: Reads::Tokens, sharing: Sharing::All, positions, inputs, outputs };
                self.affine(*affine, path, sites, &[inputs, outputs])?
            }
            Layer::Conv { kind, affine, window, groups, .. } => {
                let transposed = *kind == ConvKind::Transposed;
                let taps = Taps::new(&window.axes("conv", &grid, transposed)?);
                if transposed || *kind == ConvKind::Local || window.padding == Padding::Circular {
                    self.refuse_lengths(layer.name(), input);
                }
                let sharing = match (kind, groups) {
                    (ConvKind::Local, _) => Sharing::Positions,
                    (_, Groups::Depthwise) => Sharing::Groups(channels),
                    (_, Groups::Count(1)) => Sharing::All,
                    (_, Groups::Count(count)) => Sharing::Groups(*count),
                };
                let sites = Sites {
                    reads: Reads::Window(Arc::new(taps)),
                    sharing,
                    positions: output.positions().positions(),
                    inputs: channels,
                    outputs: units(&output),
                };
                let mut shape = window.shape.clone();
                if sharing == Sharing::Positions {
                    shape.splice(0..0, output.positions().sides().iter().copied());
                }
                shape.extend([sites.block_channels().0, sites.outputs]);
                self.affine(*affine, path, sites, &shape)?
            }
            Layer::Pool { window, .. } => {
                if window.padding == Padding::Circular {
                    self.refuse_lengths(layer.name(), input);
                }
                let taps = Taps::new(&window.axes("pool", &grid, false)?);
                self.positions(layer, &grid, taps.valid.map_or(Pass::Never, Pass::Window))?
            }
            Layer::GlobalPool { pooling } => self.positions(layer, &grid, Pass::Global(*pooling))?,
            Layer::Index { .. } | Layer::Resize { .. } | Layer::Linear { .. } => {
                self.refuse_lengths(layer.name(), input);
                self.positions(layer, &grid, Pass::Never)?
            }
            Layer::Flatten => Node::Flatten,
            Layer::Aggregate { axis } => {
                let nodes = grid.sides()[*axis];
                self.demands.nodes = Some(self.demands.nodes.map_or(nodes, |least| least.min(nodes)));
                Node::Aggregate { before: grid.sides()[..*axis].iter().product(), nodes }
            }
            Layer::Attention(attention) => self.attention(attention, path, input, &output)?,
            Layer::Activation(phi) => Node::Pointwise(self.activation(phi)?),
            Layer::LayerNorm { epsilon, axes } => {
                let over = axes.of(grid.rank());
                if over.contains(&true) {
                    self.refuse_lengths(layer.name(), input);
                }
                Node::LayerNorm(norm(*epsilon, &grid, &over))
            }
            Layer::Dropout { rate } => {
                let stream = Stream::new(self.lowering.seed, &join(path, "mask"));
                Node::Dropout { keep: rate.keep(), stream }
            }
            Layer::Custom { name, parameters } => {
                let rule =
                    self.rules.find_layer(name).ok_or_else(|| Error::UnknownLayer { name: name.clone() })?;
                Node::Custom { name: name.clone(), rule, numbers: parameters.clone(), channels }
            }
        })
    }

    fn dense(
        &mut self,
        affine: ntk_core::Affine,
        path: &str,
        positions: usize,
        (inputs, outputs): (usize, usize),
    ) -> Result<Node, Error> {
        let sites = Sites { reads: Reads::Here, sharing: Sharing::All, positions, inputs, outputs };
        self.affine(affine, path, sites, &[inputs, outputs])
    }

    fn affine(
        &mut self,
        affine: ntk_core::Affine,
        path: &str,
        sites: Sites,
        shape: &[usize],
    ) -> Result<Node, Error> {
        self.affines.push(Affine::draw(affine, path.to_owned(), sites, shape, self.lowering)?);
        Ok(Node::Affine(self.affines.len() - 1))
    }

    fn positions(&self, layer: &Layer, grid: &Grid, pass: Pass) -> Result<Node, Error> {
        let axes = layer.axis_maps(grid)?.unwrap_or_default();
        Ok(Node::Positions { map: Arc::new(PositionMap::of_axes(&axes)), pass })
    }

    fn refuse_lengths(&mut self, layer: &str, input: &Shape) {
        // Lengths belong to the only axis of a sequence, and end where it ends.
        if input.positions().rank() == 1 && self.demands.no_lengths.is_none() {
            self.demands.no_lengths = Some(layer.to_owned());
        }
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

/// Whether a network reads tokens: an embedding stands first on every path, or on none.
pub(crate) fn reads_tokens(net: &Net) -> Result<bool, Error> {
    let none =
        |nets: &[Net]| match nets.iter().map(reads_tokens).collect::<Result<Vec<_>, _>>()?.contains(&true) {
            true => Err(Error::EmbeddingPlace),
            false => Ok(false),
        };
    match net.kind() {
        NetKind::Layer(layer) => Ok(matches!(layer, Layer::Embedding { .. })),
        NetKind::Serial(nets) => match nets.split_first() {
            Some((first, rest)) => {
                none(rest)?;
                reads_tokens(first)
            }
            None => Ok(false),
        },
        NetKind::Sum(nets) | NetKind::Product(nets) | NetKind::Concat(nets) | NetKind::Join { nets, .. } => {
            let all = nets.iter().map(reads_tokens).collect::<Result<Vec<_>, _>>()?;
            match (all.contains(&true), all.contains(&false)) {
                (true, true) => Err(Error::EmbeddingPlace),
                (tokens, _) => Ok(tokens),
            }
        }
    }
}

/// The channels of a shape whose width is a number.
fn units(shape: &Shape) -> usize {
    shape.channels().at(1)
}

/// Numbers of one sample.
pub(crate) fn size(shape: &Shape) -> usize {
    shape.positions().positions() * units(shape)
}

/// The groups of positions that are normalized together, and their order if they do not stand together.
fn norm(epsilon: f64, grid: &Grid, over: &[bool]) -> Norm {
    let positions = grid.positions();
    let kept = |position: u32| {
        let at = grid.coordinates(position as usize);
        let axes = grid.sides().iter().zip(at).zip(over).filter(|(_, over)| !**over);
        axes.fold(0, |part, ((side, at), _)| part * side + at)
    };
    let parts = grid.sides().iter().zip(over).filter(|(_, over)| !**over).map(|(side, _)| side).product();
    let mut order: Vec<u32> = (0..positions as u32).collect();
    order.sort_by_key(|&position| kept(position));
    let mut back = vec![0; positions];
    order.iter().enumerate().for_each(|(to, &from)| back[from as usize] = to as u32);
    let order = if order.is_sorted() { None } else { Some((order, back)) };
    Norm { epsilon, parts, order }
}

fn join(path: &str, segment: &str) -> String {
    if path.is_empty() { segment.to_owned() } else { format!("{path}.{segment}") }
}
