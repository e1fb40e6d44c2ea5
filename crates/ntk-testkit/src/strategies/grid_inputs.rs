//! Batches over grids as they come: images with duplicates, zeros and constants among them, sequences of unequal
//! lengths, graphs, tokens.

use ndarray::{Array2, ArrayD};
use ntk_core::{Batch, Graphs, OwnedBatch};
use proptest::prelude::*;

use super::inputs::normals;

/// Samples on a grid of these sides, N(0, 1) at each position and channel; at times one of them is zero, the same
/// everywhere, or another once more or its negative.
///
/// # Panics
/// If the sides are no grid.
pub fn grid_inputs(n: usize, sides: &[usize], channels: usize) -> impl Strategy<Value = OwnedBatch> + use<> {
    values(n, sides, channels).prop_map(|values| owned(grid(&values)))
}

/// As [`grid_inputs`] on one axis, each sample with a length from 1 to `side`.
pub fn sequence_inputs(n: usize, side: usize, channels: usize) -> impl Strategy<Value = OwnedBatch> {
    (values(n, &[side], channels), prop::collection::vec(1..=side, n))
        .prop_map(|(values, lengths)| owned(grid(&values).with_lengths(&lengths)))
}

/// As [`grid_inputs`] on one axis of nodes, each sample with up to two weighted edges a node.
pub fn graph_inputs(n: usize, nodes: usize, channels: usize) -> impl Strategy<Value = OwnedBatch> {
    let weight = prop_oneof![2 => Just(1.0), 1 => -1.0..1.0f64];
    let edges = prop::collection::vec((0..nodes, 0..nodes, weight), 0..=2 * nodes);
    (values(n, &[nodes], channels), prop::collection::vec(edges, n))
        .prop_map(|(values, edges)| owned(grid(&values).with_graphs(Graphs::Sparse(&edges))))
}

/// Sequences of tokens, often the same.
///
/// # Panics
/// If there are no positions.
pub fn token_inputs(n: usize, side: usize, vocabulary: usize) -> impl Strategy<Value = OwnedBatch> {
    let largest = u32::try_from(vocabulary).unwrap_or(u32::MAX);
    prop::collection::vec(0..largest, n * side).prop_map(move |tokens| {
        let tokens = Array2::from_shape_fn((n, side), |(i, p)| tokens[i * side + p]);
        owned(Batch::tokens(tokens.view(), vocabulary).unwrap_or_else(|error| panic!("{error}")))
    })
}

/// What may be particular about a sample.
#[derive(Clone, Copy, Debug)]
enum Defect {
    Zero,
    /// The features of its first position at every position.
    Constant,
    /// Another sample times a factor.
    Multiple(f64),
}

fn values(n: usize, sides: &[usize], channels: usize) -> impl Strategy<Value = ArrayD<f64>> + use<> {
    let shape = [&[n], sides, &[channels]].concat();
    let defect = prop_oneof![
        Just(Defect::Zero),
        Just(Defect::Constant),
        Just(Defect::Multiple(1.0)),
        Just(Defect::Multiple(-1.0))
    ];
    let index = any::<prop::sample::Index>;
    let defects = prop::collection::vec((defect, index(), index()), 0..=n);
    (normals(shape.iter().product()), defects).prop_map(move |(values, defects)| {
        let size = values.len() / n;
        let mut samples: Vec<Vec<f64>> = values.chunks(size).map(<[f64]>::to_vec).collect();
        for (defect, to, from) in &defects {
            let (to, from) = (to.index(n), from.index(n));
            samples[to] = match defect {
                Defect::Zero => vec![0.0; size],
                Defect::Constant => samples[to][..channels].repeat(size / channels),
                Defect::Multiple(factor) => samples[from].iter().map(|v| factor * v).collect(),
            };
        }
        // As many numbers as drawn for the shape.
        ArrayD::from_shape_vec(shape.clone(), samples.concat()).unwrap_or_default()
    })
}

fn grid(values: &ArrayD<f64>) -> Batch<'_> {
    Batch::grid(values.view()).unwrap_or_else(|error| panic!("{error}"))
}

fn owned(batch: Batch<'_>) -> OwnedBatch {
    batch.select(&(0..batch.len()).collect::<Vec<_>>())
}
