//! From the description of an attention layer to its affine nodes, its core and the embeddings of its positions.

use std::sync::Arc;

use ndarray::Array2;
use ntk_core::{
    Affine, Attention as Description, Grid, LogitScaling, PositionCombine, PositionDecay, PositionEmbedding,
    Rate, Shape, Variance,
};
use ntk_linalg::{Symmetric, SymmetricEigen};

use super::{Builder, join, units};
use crate::node::{Attention, Core, Embedding, Node};
use crate::{Error, tensor};

impl Builder<'_> {
    /// Affine nodes of embeddings, queries, keys, values and outputs: `position`, `query`, `key` (`query_key` where both
    /// are of the same weights), `value` and `output` below the path.
    pub(super) fn attention(
        &mut self,
        layer: &Description,
        path: &str,
        input: &Shape,
        output: &Shape,
    ) -> Result<Node, Error> {
        let (grid, channels, n) = (input.positions(), units(input), self.lowering.width);
        let (heads, key, value) = (layer.heads.at(n), layer.key.at(n), layer.value.at(n));
        let embedding = match &layer.position {
            Some(position) => Some(self.embedding(position, layer.rate, path, &grid, channels)?),
            None => None,
        };
        let embedded = channels + embedding.as_ref().and_then(|e| e.beside).unwrap_or(0);
        let read = if embedding.as_ref().is_some_and(|e| e.values) { embedded } else { channels };
        let mut map = |name: &str, weight, bias, sizes| {
            self.map(&join(path, name), Affine::new(weight, bias), layer.rate, &grid, sizes)
        };
        let (query_weight, key_weight) = (layer.query_variance, layer.key_variance);
        let (query, keys, scale) = match layer.scaling {
            LogitScaling::InverseRoot => {
                let query = map("query", query_weight, Variance::ZERO, (embedded, heads * key))?;
                let keys = map("key", key_weight, Variance::ZERO, (embedded, heads * key))?;
                (query, Some(keys), 1.0 / (key as f64).sqrt())
            }
            LogitScaling::InverseDimension => {
                let both = map("query_key", Variance::ONE, Variance::ZERO, (embedded, heads * key))?;
                (both, None, query_weight.std() * key_weight.std() / key as f64)
            }
        };
        let values = map("value", layer.value_variance, Variance::ZERO, (read, heads * value))?;
        let out = map("output", layer.output_variance, layer.bias, (heads * value, units(output)))?;
        let core = Core { grid, heads, scale, weighting: layer.weighting, mask: layer.mask };
        let node = Attention { core, query, key: keys, value: values, embedding };
        Ok(Node::Serial(vec![Node::Attention(Arc::new(node)), Node::Affine(out)]))
    }

    /// The index of a dense node whose parameters all learn at one rate.
    fn map(
        &mut self,
        path: &str,
        affine: Affine,
        rate: Rate,
        grid: &Grid,
        sizes: (usize, usize),
    ) -> Result<usize, Error> {
        let bias_rate = if affine.has_bias() { rate } else { Rate::FROZEN };
        let affine = Affine { weight_rate: rate, bias_rate, ..affine };
        self.dense(affine, path, grid.positions(), sizes)?;
        Ok(self.affines.len() - 1)
    }

    /// σ L ω, with L the root of the correlation of positions and ω (positions, channels) weights.
    fn embedding(
        &mut self,
        position: &PositionEmbedding,
        rate: Rate,
        path: &str,
        grid: &Grid,
        channels: usize,
    ) -> Result<Embedding, Error> {
        let positions = grid.positions();
        let beside = match position.combine {
            PositionCombine::Sum => None,
            PositionCombine::Concat(channels) => Some(channels.at(self.lowering.width)),
        };
        let root = match position.decay {
            PositionDecay::Independent => Array2::eye(positions),
            _ => root(position, grid)?,
        };
        let root = tensor::matrix(root.view(), self.lowering.dtype, &self.lowering.device)?;
        let root = root.reshape((1, positions * positions))?;
        // Affine nodes divide by their fan-in, which has no meaning here.
        let weight = Variance::new(position.variance.get() * positions as f64)?;
        let (affine, sizes) = (Affine::new(weight, Variance::ZERO), (positions, beside.unwrap_or(channels)));
        let affine = self.map(&join(path, "position"), affine, rate, grid, sizes)?;
        Ok(Embedding { affine, root, beside, values: position.values })
    }
}

/// The symmetric root of the correlation of positions.
fn root(position: &PositionEmbedding, grid: &Grid) -> Result<Array2<f64>, Error> {
    let positions = grid.positions();
    let refuse = || Error::PositionCovariance { power: position.power };
    let correlation =
        Array2::from_shape_fn((positions, positions), |(p, q)| position.correlation(grid, p, q));
    let eigen = Symmetric::new(correlation).and_then(|matrix| SymmetricEigen::new(&matrix));
    let eigen = eigen.map_err(|_| refuse())?;
    // Rounding of eigenvalues is a few ε times the largest, which is at most the number of positions.
    if eigen.values().iter().any(|&value| value < -1e-10 * positions as f64) {
        return Err(refuse());
    }
    let scaled = &eigen.vectors() * &eigen.values().mapv(|value| value.max(0.0).sqrt());
    Ok(scaled.dot(&eigen.vectors().t()))
}
