//! One case of `kernels.json`: a network, its inputs with what belongs to them, and their kernels.

use ndarray::Ix3;
use ntk_core::{Batch, Graphs, Net, OwnedBatch, Shape};
use serde::de::{Deserialize, Deserializer, Error as _};
use serde_json::Value;

use super::{Array, Unsupported, net_for};

/// A network, inputs, and the kernels of another program.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[non_exhaustive]
pub struct Case {
    /// Name in the file.
    pub name: String,
    /// The network in the format of the files.
    pub network: Value,
    /// The first inputs: samples first, channels last.
    pub x1: Array,
    /// The second inputs; the first again if none.
    pub x2: Option<Array>,
    /// Covariance of the outputs at initialization, (n₁, n₂).
    pub nngp: Array,
    /// Neural tangent kernel per output, (n₁, n₂).
    pub ntk: Array,
    /// How many positions of each first input exist, if not all.
    #[serde(default, deserialize_with = "lengths")]
    pub lengths1: Option<Vec<usize>>,
    /// How many positions of each second input exist, if not all.
    #[serde(default, deserialize_with = "lengths")]
    pub lengths2: Option<Vec<usize>>,
    /// Adjacency of each first input, (n₁, nodes, nodes): from, to.
    #[serde(default)]
    pub graph1: Option<Array>,
    /// Adjacency of each second input, (n₂, nodes, nodes).
    #[serde(default)]
    pub graph2: Option<Array>,
}

impl Case {
    /// The network for inputs of this case's shape.
    ///
    /// # Errors
    /// As [`net_for`], and as [`Case::batch1`].
    pub fn net(&self) -> Result<Net, Unsupported> {
        net_for(&self.network, &self.shape()?)
    }

    /// The shape of an input.
    ///
    /// # Errors
    /// [`Unsupported::Core`] for an array that is no batch.
    pub fn shape(&self) -> Result<Shape, Unsupported> {
        Ok(Batch::grid(self.x1.0.view())?.shape()?)
    }

    /// The first inputs, with their lengths and graphs.
    ///
    /// # Errors
    /// [`Unsupported::Core`] for an array that is no batch, or lengths or graphs that do not belong to it;
    /// [`Unsupported::Malformed`] for a graph that is not one matrix a sample.
    pub fn batch1(&self) -> Result<OwnedBatch, Unsupported> {
        batch(&self.x1, self.lengths1.as_deref(), self.graph1.as_ref())
    }

    /// The second inputs, if they are not the first again.
    ///
    /// # Errors
    /// As [`Case::batch1`].
    pub fn batch2(&self) -> Result<Option<OwnedBatch>, Unsupported> {
        self.x2.as_ref().map(|x2| batch(x2, self.lengths2.as_deref(), self.graph2.as_ref())).transpose()
    }
}

/// Whole numbers, as a list or as an array of the files.
fn lengths<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<usize>>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    if value.is_null() {
        return Ok(None);
    }
    let whole = |&length: &f64| (length >= 0.0 && length.fract() == 0.0).then_some(length as usize);
    let lengths = Array::read(&value).and_then(|array| array.0.iter().map(whole).collect());
    lengths.map(Some).ok_or_else(|| D::Error::custom(format!("lengths are whole numbers, not {value}")))
}

fn batch(x: &Array, lengths: Option<&[usize]>, graph: Option<&Array>) -> Result<OwnedBatch, Unsupported> {
    let mut batch = Batch::grid(x.0.view())?;
    if let Some(lengths) = lengths {
        batch = batch.with_lengths(lengths);
    }
    if let Some(Array(graph)) = graph {
        let matrices = graph.view().into_dimensionality::<Ix3>().map_err(|_| Unsupported::Malformed {
            reason: format!(
                "a graph is one matrix for each sample, not an array of shape {:?}",
                graph.shape()
            ),
        })?;
        batch = batch.with_graphs(Graphs::Dense(matrices));
    }
    batch.check()?;
    Ok(batch.select(&(0..batch.len()).collect::<Vec<_>>()))
}
