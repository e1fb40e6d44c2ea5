//! Convolutions over grids and over graphs: the same weights at every position.

use ndarray::Array2;

use super::{Readout, Weights, Writer, split};
use crate::program::{Error, Expr, MatrixId, Program, VectorId};
use crate::{AxisTaps, Grid, Window};

/// `depth` convolutions of stride 1 that keep the grid, each a mean over the window: x_p ← φ(√(1/k) Σ_κ W_κ x_{p+κ} + b).
/// The Gram matrix has a row for each position of each sample.
///
/// # Errors
/// As [`mlp`](super::mlp); [`Error::Law`] for a window that does not fit the grid or does not keep it.
pub fn convolution(
    depth: usize,
    phi: &Expr,
    weights: &Weights,
    gram: &Array2<f64>,
    grid: &Grid,
    window: &Window,
    readout: Readout,
) -> Result<Program, Error> {
    let law = |reason: String| Error::Law { line: 1, reason };
    let axes = window.axes("convolution", grid, false).map_err(|e| law(e.to_string()))?;
    if axes.iter().any(|axis| axis.inputs != axis.outputs) {
        return Err(law("the window of a convolution must keep the grid: pad, and take stride 1".to_owned()));
    }
    let positions = grid.positions();
    let samples = gram.nrows() / positions.max(1);
    let taps = window.taps();
    let reads = AxisTaps::product(&axes);
    let mut w = Writer::new(weights);
    let share = (1.0 / taps as f64).sqrt();
    // An embedding for each tap: a position is read by its neighbors through weights of their own.
    let mut inputs = Vec::new();
    for tap in 0..taps {
        inputs.push(split(w.embed(&format!("u{tap}_"), gram)?, &vec![positions; samples])?);
    }
    let mut states: Vec<Vec<VectorId>> = Vec::new();
    for layer in 0..depth.max(1) {
        let matrices = match layer {
            0 => Vec::new(),
            _ => (0..taps).map(|tap| w.matrix(&format!("W{layer}_{tap}"))).collect::<Result<Vec<_>, _>>()?,
        };
        let b = w.bias(&format!("b{layer}"))?;
        let mut next = Vec::new();
        for k in 0..samples {
            let mut all = Vec::new();
            for position in 0..positions {
                let mut terms: Vec<(f64, VectorId)> = Vec::new();
                for (tap, (inputs, reads)) in inputs.iter().zip(&reads).enumerate() {
                    let Some(from) = reads[position] else { continue };
                    let x = match matrices.get(tap) {
                        None => inputs[k][from],
                        Some(&matrix) => w.p.matmul(matrix, states[k][from])?,
                    };
                    terms.push((share, x));
                }
                terms.extend(b.map(|b| (1.0, b)));
                let g = w.p.combine(&terms)?;
                all.push(w.p.apply(phi.clone(), &[g])?);
            }
            next.push(all);
        }
        states = next;
    }
    w.read(&states, readout)?;
    Ok(w.p.finish())
}

/// X ← φ(A X Wᵀ), `depth` times, with the adjacency matrix A of each sample, normalized as the user wants it; the Gram matrix
/// has a row for each node of each sample, and outputs average over the nodes.
///
/// # Errors
/// As [`convolution`]; [`Error::Law`] for an adjacency matrix that is not square.
pub fn graph_convolution(
    depth: usize,
    phi: &Expr,
    weights: &Weights,
    gram: &Array2<f64>,
    adjacency: &[Array2<f64>],
) -> Result<Program, Error> {
    if let Some(a) = adjacency.iter().find(|a| a.nrows() != a.ncols()) {
        let reason = format!("an adjacency matrix is square, not {:?}", a.dim());
        return Err(Error::Law { line: 1, reason });
    }
    let lengths: Vec<usize> = adjacency.iter().map(Array2::nrows).collect();
    let mut w = Writer::new(weights);
    let mut states = split(w.embed("u", gram)?, &lengths)?;
    for layer in 0..depth.max(1) {
        let matrix = if layer > 0 { Some(w.matrix(&format!("W{layer}"))?) } else { None };
        let b = w.bias(&format!("b{layer}"))?;
        for (states, a) in states.iter_mut().zip(adjacency) {
            let h = multiplied(&mut w, matrix, states)?;
            let mut next = Vec::new();
            for row in a.rows() {
                let edges = row.iter().zip(&h).filter(|(a, _)| **a != 0.0);
                let mut terms: Vec<(f64, VectorId)> = edges.map(|(a, x)| (*a, *x)).collect();
                if terms.is_empty() {
                    // A node without edges stands at 0.
                    terms.push((0.0, h[0]));
                }
                terms.extend(b.map(|b| (1.0, b)));
                let g = w.p.combine(&terms)?;
                next.push(w.p.apply(phi.clone(), &[g])?);
            }
            *states = next;
        }
    }
    w.read(&states, Readout::Average)?;
    Ok(w.p.finish())
}

fn multiplied(w: &mut Writer<'_>, matrix: Option<MatrixId>, x: &[VectorId]) -> Result<Vec<VectorId>, Error> {
    match matrix {
        Some(matrix) => x.iter().map(|&x| w.p.matmul(matrix, x)).collect(),
        None => Ok(x.to_vec()),
    }
}
