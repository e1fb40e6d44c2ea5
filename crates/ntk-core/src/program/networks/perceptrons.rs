//! Fully connected networks: plain, residual with weights of each layer or the same in all, and an autoencoder whose
//! decoder is the transpose of its encoder.

use ndarray::Array2;

use super::{Readout, Weights, Writer};
use crate::program::{Error, Expr, Program, VectorId};

/// x ↦ φ(W x + b), `depth` times after the embedding: \[yang2020tensor\] appendix E.1.
///
/// # Errors
/// [`Error::Law`] for what is no Gram matrix, [`Error::Number`] for variances that are none.
pub fn mlp(depth: usize, phi: &Expr, weights: &Weights, gram: &Array2<f64>) -> Result<Program, Error> {
    let mut w = Writer::new(weights);
    let mut h = w.embed("u", gram)?;
    for layer in 0..depth.max(1) {
        if layer > 0 {
            let matrix = w.matrix(&format!("W{layer}"))?;
            h = h.iter().map(|&x| w.p.matmul(matrix, x)).collect::<Result<_, _>>()?;
        }
        let b = w.bias(&format!("b{layer}"))?;
        h = activate(&mut w, &h, b, phi)?;
    }
    finish(w, h)
}

fn activate(
    w: &mut Writer<'_>,
    h: &[VectorId],
    bias: Option<VectorId>,
    phi: &Expr,
) -> Result<Vec<VectorId>, Error> {
    let one = |&g: &VectorId| {
        let g = w.sum([Some(g), bias])?;
        w.p.apply(phi.clone(), &[g])
    };
    h.iter().map(one).collect()
}

fn finish(mut w: Writer<'_>, states: Vec<VectorId>) -> Result<Program, Error> {
    let states: Vec<Vec<VectorId>> = states.into_iter().map(|x| vec![x]).collect();
    w.read(&states, Readout::Last)?;
    Ok(w.p.finish())
}

/// x ↦ x + V φ(W x + b) with matrices of each layer, `depth` times.
///
/// # Errors
/// As [`mlp`].
pub fn residual(depth: usize, phi: &Expr, weights: &Weights, gram: &Array2<f64>) -> Result<Program, Error> {
    let mut w = Writer::new(weights);
    let mut x = w.embed("u", gram)?;
    for layer in 1..=depth {
        let (first, last) = (w.matrix(&format!("W{layer}"))?, w.matrix(&format!("V{layer}"))?);
        let b = w.bias(&format!("b{layer}"))?;
        let g = x.iter().map(|&x| w.p.matmul(first, x)).collect::<Result<Vec<_>, _>>()?;
        let h = activate(&mut w, &g, b, phi)?;
        for (x, h) in x.iter_mut().zip(h) {
            let g = w.p.matmul(last, h)?;
            *x = w.sum([Some(*x), Some(g)])?;
        }
    }
    finish(w, x)
}

/// x ↦ x + W φ(x) with one matrix for all layers, `depth` times: \[yang2019scaling\] appendix D.14.
///
/// # Errors
/// As [`mlp`].
pub fn residual_tied(
    depth: usize,
    phi: &Expr,
    weights: &Weights,
    gram: &Array2<f64>,
) -> Result<Program, Error> {
    let mut w = Writer::new(weights);
    let mut x = w.embed("u", gram)?;
    let matrix = w.matrix("W")?;
    for _ in 0..depth {
        for x in &mut x {
            let h = w.p.apply(phi.clone(), &[*x])?;
            let g = w.p.matmul(matrix, h)?;
            *x = w.sum([Some(*x), Some(g)])?;
        }
    }
    finish(w, x)
}

/// x ↦ φ(Wᵀ φ(W x)): the decoder is the transpose of the encoder, so that gradients are not independent of the weights.
/// `ratio` is the width of the code over that of its input and output.
///
/// # Errors
/// As [`mlp`], and [`Error::Number`] unless the ratio is positive.
pub fn autoencoder(phi: &Expr, weights: &Weights, gram: &Array2<f64>, ratio: f64) -> Result<Program, Error> {
    let mut w = Writer::new(weights);
    let u = w.embed("u", gram)?;
    let matrix = w.matrix("W")?;
    let mut states = Vec::new();
    for (k, &u) in u.iter().enumerate() {
        let x = w.p.apply(phi.clone(), &[u])?;
        let code = w.p.matmul(matrix, x)?;
        if k == 0 {
            w.p.dimension(u, "n", 1.0)?;
            w.p.dimension(code, "m", ratio)?;
        }
        let h = w.p.apply(phi.clone(), &[code])?;
        let g = w.p.matmul_transposed(matrix, h)?;
        states.push(w.p.apply(phi.clone(), &[g])?);
    }
    finish(w, states)
}
