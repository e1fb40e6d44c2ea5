//! `FiniteNet`: one draw of a network, with its parameters and its outputs.

use std::path::Path;

use candle_core::{Tensor, Var};
use candle_nn::VarMap;
use ndarray::Array2;
use ntk_core::{Batch, Graphs, Net};

use crate::affine::Affine;
use crate::input::Input;
use crate::lower::{Builder, Demands, reads_tokens, size};
use crate::node::{Node, Sweep};
use crate::parameters::check_finite;
use crate::{Error, Lowering, Mode, Parameters, Rules, tensor};

/// One draw of a network.
///
/// As a [`KernelFn`](ntk_core::KernelFn) it gives the mean over outputs of its own tangent kernel, and the covariance
/// of an output over the draw of the last affine layers. Inputs are numbers, or tokens if it begins with an embedding,
/// on the grid of [`Lowering::inputs`], with lengths and graphs where its layers take them.
pub struct FiniteNet {
    net: Net,
    lowering: Lowering,
    outputs: usize,
    demands: Demands,
    pub(crate) root: Node,
    pub(crate) affines: Vec<Affine>,
    variables: VarMap,
}

impl FiniteNet {
    /// Draws the network of a description that has no custom names.
    ///
    /// # Errors
    /// As [`FiniteNet::lower_with`].
    pub fn lower(net: &Net, lowering: &Lowering) -> Result<Self, Error> {
        FiniteNet::lower_with(net, lowering, &Rules::new())
    }

    /// Draws the network of a description.
    ///
    /// # Errors
    /// Those of the description ([`Error::Net`]) and of the lowering ([`Error::ZeroWidth`], [`Error::DType`]);
    /// [`Error::UnknownActivation`], [`Error::UnknownLayer`] for names without a rule; [`Error::NoFiniteNetwork`] for
    /// nodes that exist at infinite width only; [`Error::EmbeddingPlace`], [`Error::PositionCovariance`].
    pub fn lower_with(net: &Net, lowering: &Lowering, rules: &Rules) -> Result<Self, Error> {
        lowering.check()?;
        net.check()?;
        net.output_shape(&lowering.inputs)?;
        if lowering.inputs.channels().at(lowering.width) == 0 {
            return Err(ntk_core::Error::ZeroWidth.into());
        }
        // Widths that are equal as multiples of n may still round to different numbers of units.
        let at_width = net.clone().at_width(lowering.width);
        let outputs = size(&at_width.output_shape(&lowering.inputs)?);
        let demands = Demands { tokens: reads_tokens(net)?, ..Demands::default() };
        let mut builder = Builder { lowering, rules, affines: Vec::new(), demands };
        let root = builder.node(&at_width, "", &lowering.inputs)?;
        let Builder { affines, demands, .. } = builder;
        let variables = variables(&affines);
        let (net, lowering) = (net.clone(), lowering.clone());
        Ok(FiniteNet { net, lowering, outputs, demands, root, affines, variables })
    }

    /// A copy with parameters of its own: training one leaves the other.
    ///
    /// # Errors
    /// Candle's.
    pub fn try_clone(&self) -> Result<Self, Error> {
        let affines = self.affines.iter().map(Affine::deep_clone).collect::<Result<Vec<_>, _>>()?;
        let variables = variables(&affines);
        let (net, lowering, root) = (self.net.clone(), self.lowering.clone(), self.root.clone());
        let (outputs, demands) = (self.outputs, self.demands.clone());
        Ok(FiniteNet { net, lowering, outputs, demands, root, affines, variables })
    }

    /// The description.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// What it was lowered with.
    pub fn lowering(&self) -> &Lowering {
        &self.lowering
    }

    /// Number of outputs.
    pub fn output_width(&self) -> usize {
        self.outputs
    }

    /// Number of scalar parameters.
    pub fn parameter_count(&self) -> usize {
        self.variables().map(|(_, var)| var.elem_count()).sum()
    }

    /// Names of the parameters in the order of the layers, a weight before its bias: `0.weight`, `0.bias`,
    /// `2.sum.1.0.weight`, … by the path of the node.
    pub fn parameter_names(&self) -> Vec<String> {
        self.variables().map(|(name, _)| name).collect()
    }

    /// The variables by name; writing to them moves the network.
    pub fn var_map(&self) -> &VarMap {
        &self.variables
    }

    pub(crate) fn variables(&self) -> impl Iterator<Item = (String, &Var)> {
        self.affines.iter().flat_map(Affine::named)
    }

    /// f(x). x: (n, d) with d = positions · channels, or (n, positions) of u32 for tokens → (n, outputs), in the number
    /// format and on the device of the lowering.
    ///
    /// # Errors
    /// Candle's, for tensors of another shape, format or device; [`Error::NeedsGraphs`].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, Error> {
        if self.demands.nodes.is_some() {
            return Err(Error::NeedsGraphs);
        }
        self.predict(&Input::plain(x.clone()))
    }

    pub(crate) fn predict(&self, input: &Input) -> Result<Tensor, Error> {
        Ok(self.root.forward(self.sweep(input), &input.signal)?.x)
    }

    /// f(x). x: (n, d) → (n, outputs). Outputs that still have positions are positions · channels columns.
    ///
    /// # Errors
    /// Those of [`Batch::check`]; for inputs of another kind than the network's, [`Error::Features`],
    /// [`Error::Positions`], [`Error::NeedsTokens`], [`Error::RefusesTokens`], [`Error::NeedsGraphs`],
    /// [`Error::Lengths`]; [`Error::NonFinite`] on overflow.
    pub fn outputs(&self, x: Batch<'_>) -> Result<Array2<f64>, Error> {
        let outputs = tensor::array(&self.predict(&self.input(x)?)?)?;
        finite(outputs, "an output")
    }

    /// A checked batch as tensors.
    pub(crate) fn input(&self, x: Batch<'_>) -> Result<Input, Error> {
        self.check_input(x)?;
        Ok(Input::new(x, self.lowering.dtype, &self.lowering.device)?)
    }

    /// Refuses inputs of another kind than the network's.
    pub(crate) fn check_input(&self, x: Batch<'_>) -> Result<(), Error> {
        x.check()?;
        match (self.demands.tokens, x.token_ids().is_some()) {
            (true, false) => return Err(Error::NeedsTokens),
            (false, true) => return Err(Error::RefusesTokens),
            _ => {}
        }
        let (expected, found) = (self.lowering.inputs.positions(), x.positions());
        if found != expected {
            return Err(Error::Positions { expected, found });
        }
        let expected = self.lowering.inputs.channels().at(self.lowering.width);
        if x.features() != expected {
            return Err(Error::Features { expected, found: x.features() });
        }
        if let (Some(layer), Some(_)) = (&self.demands.no_lengths, x.lengths()) {
            return Err(Error::Lengths { layer: layer.clone() });
        }
        if let Some(nodes) = self.demands.nodes {
            check_graphs(x.graphs().ok_or(Error::NeedsGraphs)?, nodes)?;
        }
        Ok(())
    }

    pub(crate) fn sweep<'a>(&'a self, input: &'a Input) -> Sweep<'a> {
        self.sweep_at(input, 0)
    }

    /// A sweep that draws the masks of a given training step.
    pub(crate) fn sweep_at<'a>(&'a self, input: &'a Input, pass: u64) -> Sweep<'a> {
        let pass = (self.lowering.mode == Mode::Training).then_some(pass);
        Sweep { affines: &self.affines, graphs: input.graphs.as_deref(), pass, first: 0, frozen: false }
    }

    /// Copies of the parameters.
    ///
    /// # Errors
    /// Candle's.
    pub fn parameters(&self) -> Result<Parameters, Error> {
        let mut parameters = Parameters::new();
        for (name, var) in self.variables() {
            parameters.insert(name, var.as_detached_tensor().copy()?);
        }
        Ok(parameters)
    }

    /// Replaces all parameters; nothing changes if there is an error.
    ///
    /// # Errors
    /// [`Error::MissingParameter`], [`Error::UnknownParameter`], [`Error::ParameterShape`],
    /// [`Error::NonFiniteParameter`].
    pub fn set_parameters(&mut self, parameters: &Parameters) -> Result<(), Error> {
        self.check_parameters(parameters)?;
        for (name, var) in self.variables() {
            if let Some(tensor) = parameters.get(&name) {
                var.set(&tensor.to_dtype(var.dtype())?.to_device(var.device())?)?;
            }
        }
        Ok(())
    }

    /// Checks names, shapes and finiteness.
    pub(crate) fn check_parameters(&self, parameters: &Parameters) -> Result<(), Error> {
        for (name, var) in self.variables() {
            let Some(tensor) = parameters.get(&name) else { return Err(Error::MissingParameter { name }) };
            if tensor.dims() != var.dims() {
                let (expected, found) = (var.dims().to_vec(), tensor.dims().to_vec());
                return Err(Error::ParameterShape { name, expected, found });
            }
            check_finite(&name, tensor)?;
        }
        let known: std::collections::BTreeSet<String> = self.variables().map(|(name, _)| name).collect();
        match parameters.names().find(|name| !known.contains(*name)) {
            Some(name) => Err(Error::UnknownParameter { name: name.to_owned() }),
            None => Ok(()),
        }
    }

    /// Writes the parameters to a safetensors file.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        self.parameters()?.save(path)
    }

    /// Reads the parameters from a safetensors file; nothing changes if there is an error.
    ///
    /// # Errors
    /// [`Error::File`], and those of [`FiniteNet::set_parameters`].
    pub fn load(&mut self, path: impl AsRef<Path>) -> Result<(), Error> {
        self.set_parameters(&Parameters::load(path)?)
    }
}

impl std::fmt::Debug for FiniteNet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FiniteNet")
            .field("net", &self.net)
            .field("lowering", &self.lowering)
            .finish_non_exhaustive()
    }
}

/// Refuses edges beyond the axis of an aggregation, which may be shorter than the longest of the batch.
fn check_graphs(graphs: Graphs<'_>, nodes: usize) -> Result<(), Error> {
    for sample in 0..graphs.samples() {
        let outside = |&(from, to, _): &(usize, usize, f64)| from >= nodes || to >= nodes;
        if let Some((from, to, weight)) = graphs.edges(sample).into_iter().find(outside) {
            return Err(ntk_core::Error::Edge { sample, from, to, weight, nodes }.into());
        }
    }
    Ok(())
}

/// Refuses what overflowed.
pub(crate) fn finite<D: ndarray::Dimension>(
    values: ndarray::Array<f64, D>,
    quantity: &'static str,
) -> Result<ndarray::Array<f64, D>, Error> {
    if values.iter().all(|v| v.is_finite()) { Ok(values) } else { Err(Error::NonFinite { quantity }) }
}

fn variables(affines: &[Affine]) -> VarMap {
    let variables = VarMap::new();
    {
        // A lock is poisoned only by a panic of its holder, and this map is new.
        let mut map = variables.data().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        map.extend(affines.iter().flat_map(Affine::named).map(|(name, var)| (name, var.clone())));
    }
    variables
}
