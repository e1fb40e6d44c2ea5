//! What the tangent kernel of a network takes, in operations and numbers: its sweeps, and the share of each layer in
//! either way, from the shapes that one sample passes through.
//!
//! An operation is a multiplication with an addition in a product of matrices; a number that is merely read and written
//! takes the time of about eight.

use ntk_core::Batch;

use crate::affine::Affine;
use crate::contract::Part;
use crate::input::Signal;
use crate::node::{Node, Sweep, concat};
use crate::sites::{Reads, Sharing};
use crate::{Error, FiniteNet};

/// Operations in whose time a number is read and written.
const PASS: f64 = 8.0;

/// One affine layer that learns.
pub(crate) struct Layer {
    /// Its index among the affine layers.
    pub(crate) index: usize,
    /// Blocks of weights that are used together, and of each the positions, the numbers that a channel reads and the
    /// channels.
    blocks: f64,
    positions: f64,
    features: f64,
    channels: f64,
    /// Numbers that come in and go out.
    input: f64,
    output: f64,
    /// Parameters that learn.
    parameters: f64,
    tokens: bool,
    /// Whether patches are copies.
    gathers: bool,
}

/// A network as a cost.
pub(crate) struct Cost {
    pub(crate) layers: Vec<Layer>,
    /// Operations of a sample forward, and of a sample and output backward.
    pub(crate) forward: f64,
    pub(crate) backward: f64,
    /// Operations in whose time all parameters are read once.
    pub(crate) read: f64,
    /// Numbers: of a sample's input, of what forward leaves behind, at most between layers in forward, and at most
    /// between layers backward, for each output.
    pub(crate) input: f64,
    pub(crate) tape: f64,
    pub(crate) signal: f64,
    pub(crate) cotangent: f64,
    /// Numbers of the largest weight and of all parameters.
    pub(crate) weight: f64,
    pub(crate) parameters: f64,
}

/// How much of a share is computed.
#[derive(Clone, Copy)]
pub(crate) struct Work {
    /// Pairs of samples, and samples whose derivatives are taken.
    pub(crate) pairs: f64,
    pub(crate) swept: f64,
    /// Outputs at a time.
    pub(crate) outputs: f64,
    pub(crate) part: Part,
}

impl Work {
    /// Products of outputs for each pair of samples.
    pub(crate) fn products(&self) -> f64 {
        if self.part == Part::Blocks { self.outputs * self.outputs } else { self.outputs }
    }
}

impl Layer {
    fn new(index: usize, affine: &Affine) -> Self {
        let sites = &affine.sites;
        let (blocks, (_, channels)) = (sites.blocks(), sites.block_channels());
        let positions = if sites.sharing == Sharing::Positions { 1 } else { sites.positions };
        let tokens = matches!(sites.reads, Reads::Tokens);
        let (weight, bias) = affine.tangent_scales();
        let count = |scale: f64, numbers: usize| if scale > 0.0 { numbers as f64 } else { 0.0 };
        let biases = affine.bias.as_ref().map_or(0, |b| b.elem_count());
        Layer {
            index,
            blocks: blocks as f64,
            positions: positions as f64,
            features: sites.fan_in() as f64,
            channels: channels as f64,
            input: (sites.inputs * if tokens { sites.positions } else { 1 }) as f64,
            output: (sites.positions * sites.outputs) as f64,
            parameters: count(weight, affine.weight.elem_count()) + count(bias, biases),
            tokens,
            gathers: matches!(sites.reads, Reads::Window(_)),
        }
    }

    /// Multiply–adds of a sample through the layer.
    fn product(&self) -> f64 {
        self.blocks * self.positions * self.features * self.channels
    }

    /// Operations of the share, with its derivative formed or by Gram matrices.
    pub(crate) fn operations(&self, form: bool, work: Work) -> f64 {
        let q = work.products();
        if form {
            let patches =
                if self.gathers { PASS * self.blocks * self.positions * self.features } else { 0.0 };
            let each = work.outputs * (self.product() + PASS * self.output) + patches;
            return work.swept * each + work.pairs * q * self.parameters;
        }
        let squares = self.blocks * self.positions * self.positions;
        let each = self.features + q * self.channels + if self.positions > 1.0 { 2.0 * PASS * q } else { q };
        work.pairs * squares * each
    }

    /// Numbers that are kept of a sample for later ones.
    pub(crate) fn kept(&self, form: bool, outputs: f64) -> f64 {
        if form { outputs * self.parameters } else { self.input + outputs * self.output + self.patch() }
    }

    /// Numbers in memory for a sample while its share is computed.
    pub(crate) fn passing(&self, form: bool, outputs: f64) -> f64 {
        if form {
            return self.patch() * self.positions + outputs * (self.output + 2.0 * self.parameters);
        }
        let pairs = if self.positions > 1.0 {
            self.positions * self.positions * (1.0 + 3.0 * outputs) + self.positions * self.patch()
        } else {
            self.patch()
        };
        pairs + 2.0 * outputs * self.output
    }

    /// Numbers of a patch that is copied.
    fn patch(&self) -> f64 {
        if self.gathers { self.blocks * self.features } else { 0.0 }
    }
}

impl FiniteNet {
    /// What a sample costs, from the shapes of this one.
    pub(crate) fn cost(&self, sample: Batch<'_>) -> Result<Cost, Error> {
        let input = self.input(sample)?;
        let count = |var: &candle_core::Var| var.elem_count() as f64;
        let mut walk = Walk {
            sweep: self.sweep(&input),
            cost: Cost {
                layers: Vec::new(),
                forward: 0.0,
                backward: 0.0,
                read: PASS * self.parameter_count() as f64,
                input: width(&input.signal)?,
                tape: 0.0,
                signal: 0.0,
                cotangent: 0.0,
                weight: self.affines.iter().map(|affine| count(&affine.weight)).fold(0.0, f64::max),
                parameters: self.parameter_count() as f64,
            },
        };
        let (_, cotangent) = walk.node(&self.root, &input.signal)?;
        walk.cost.cotangent = cotangent;
        walk.cost.layers.sort_by_key(|layer| layer.index);
        Ok(walk.cost)
    }
}

/// Follows one sample through the nodes.
struct Walk<'a> {
    sweep: Sweep<'a>,
    cost: Cost,
}

fn width(signal: &Signal) -> Result<f64, Error> {
    Ok(signal.x.dim(1)? as f64)
}

impl Walk<'_> {
    /// The output, of the right shape only behind branches, and the most numbers of cotangents for each output.
    fn node(&mut self, node: &Node, signal: &Signal) -> Result<(Signal, f64), Error> {
        match node {
            Node::Serial(nodes) => {
                let (mut signal, mut most) = (signal.clone(), width(signal)?);
                for node in nodes {
                    let (next, cotangent) = self.node(node, &signal)?;
                    (signal, most) = (next, most.max(cotangent));
                }
                Ok((signal, most))
            }
            Node::Sum(nodes) => self.branches(nodes, signal, |outputs| outputs.into_iter().next()),
            Node::Product(nodes) => {
                let (output, cotangent) =
                    self.branches(nodes, signal, |outputs| outputs.into_iter().next())?;
                let width = width(&output)?;
                self.cost.tape += width * nodes.len() as f64;
                Ok((output, cotangent + width))
            }
            Node::Concat { nodes, outer, .. } => self.branches(nodes, signal, |outputs| {
                let lengths = outputs.first()?.lengths.clone();
                let x: Vec<_> = outputs.into_iter().map(|output| output.x).collect();
                Some(Signal { x: concat(&x, *outer).ok()?, lengths })
            }),
            _ => self.leaf(node, signal),
        }
    }

    fn branches(
        &mut self,
        nodes: &[Node],
        signal: &Signal,
        combine: impl FnOnce(Vec<Signal>) -> Option<Signal>,
    ) -> Result<(Signal, f64), Error> {
        let (mut outputs, mut most) = (Vec::with_capacity(nodes.len()), 0.0_f64);
        for node in nodes {
            let (output, cotangent) = self.node(node, signal)?;
            outputs.push(output);
            most = most.max(cotangent);
        }
        // The outputs of all branches wait for each other, and so do the cotangents of their input.
        let waiting = outputs.iter().map(width).sum::<Result<f64, Error>>()?;
        self.cost.signal = self.cost.signal.max(2.0 * waiting);
        let output = combine(outputs).unwrap_or_else(|| signal.clone());
        let live = width(&output)? + 2.0 * width(signal)?;
        Ok((output, most + live))
    }

    fn leaf(&mut self, node: &Node, signal: &Signal) -> Result<(Signal, f64), Error> {
        let output = node.forward(self.sweep, signal)?;
        let (into, out) = (width(signal)?, width(&output)?);
        let (tape, cotangent) = match node {
            Node::Affine(index) => (into, self.affine(*index) + 2.0 * into + out),
            Node::Attention(attention) => {
                let squares = (attention.core.heads * attention.core.grid.positions().pow(2)) as f64;
                let mut parts = 0.0;
                let own = [Some(attention.query), attention.key, Some(attention.value)];
                let embedding = attention.embedding.as_ref().map(|embedding| embedding.affine);
                for index in own.into_iter().chain([embedding]).flatten() {
                    self.affine(index);
                    parts += self.sweep.affines[index].sites.outputs as f64;
                }
                let parts = parts * attention.core.grid.positions() as f64;
                self.cost.forward += squares * parts / attention.core.heads as f64;
                self.cost.backward += 2.0 * squares * parts / attention.core.heads as f64;
                self.cost.signal = self.cost.signal.max(5.0 * squares + 4.0 * parts);
                (2.0 * into + 2.0 * parts + 2.0 * squares, 4.0 * squares + 3.0 * parts + 4.0 * into + out)
            }
            Node::Pointwise(_) | Node::Dropout { .. } => (out, into + out),
            Node::LayerNorm(_) => (2.0 * out, 5.0 * out),
            Node::Custom { .. } => (into, 3.0 * (into + out)),
            _ => (0.0, into + 2.0 * out),
        };
        self.cost.forward += PASS * out;
        self.cost.backward += PASS * (into + out);
        self.cost.tape += tape;
        self.cost.signal = self.cost.signal.max(into + 3.0 * out);
        Ok((output, cotangent))
    }

    /// Adds an affine layer; the numbers of its patches in memory where they are formed for each output.
    fn affine(&mut self, index: usize) -> f64 {
        let affine = &self.sweep.affines[index];
        let layer = Layer::new(index, affine);
        let operations = if layer.tokens { layer.output } else { layer.product() };
        self.cost.forward += operations;
        self.cost.backward += operations;
        let patches = layer.patch() * layer.positions;
        self.cost.signal = self.cost.signal.max(3.0 * patches + layer.input + layer.output);
        let formed = if affine.sites.sharing == Sharing::All { 0.0 } else { 4.0 * patches };
        if affine.learns() {
            self.cost.layers.push(layer);
        }
        formed
    }
}
