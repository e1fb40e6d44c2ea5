//! Transformers whose logits are averages over the width, so that they converge.

use ndarray::Array2;

use super::{Readout, Weights, Writer, attention, layer_norm, split};
use crate::program::{Error, Expr, Program, VectorId};

/// What kind of transformer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transformer {
    /// Blocks.
    pub depth: usize,
    /// Whether a token attends to those before it and itself alone.
    pub causal: bool,
    /// Whether queries are the keys. Independent ones have logits 0 in the limit: every token attends to all alike.
    pub tied: bool,
    /// ε of the layer norms.
    pub epsilon: f64,
}

/// Blocks k = U x, y = Attn(q, k, k) + k, z = LN(y), g = W₁z + b₁, h = W₂ φ(g) + b₂, x = LN(h + z) on embedded tokens:
/// the network of \[yang2019wide\] and \[yang2020tensor\] appendix E. Outputs average over tokens. U has variance σ_u², W₁ and W₂
/// have σ_w².
///
/// # Errors
/// As [`rnn`](super::rnn).
pub fn transformer(
    kind: &Transformer,
    phi: &Expr,
    weights: &Weights,
    gram: &Array2<f64>,
    lengths: &[usize],
) -> Result<Program, Error> {
    let mut w = Writer::new(weights);
    let rate = w.rate(weights.input);
    let mut states: Vec<Vec<VectorId>> = Vec::new();
    for block in 0..kind.depth.max(1) {
        // The first key matrix is the embedding of the tokens.
        let matrix =
            |w: &mut Writer<'_>, name: &str| w.p.matrix_with(&format!("{name}{block}"), weights.input, rate);
        let (keys, queries) = if block == 0 {
            let keys = split(w.embed("k", gram)?, lengths)?;
            let queries = if kind.tied { keys.clone() } else { split(w.embed("q", gram)?, lengths)? };
            (keys, queries)
        } else {
            let (u, q) = (matrix(&mut w, "U")?, if kind.tied { None } else { Some(matrix(&mut w, "Q")?) });
            let mut product = |m| -> Result<Vec<Vec<VectorId>>, Error> {
                states.iter().map(|xs| xs.iter().map(|&x| w.p.matmul(m, x)).collect()).collect()
            };
            let keys = product(u)?;
            let queries = q.map(&mut product).transpose()?.unwrap_or_else(|| keys.clone());
            (keys, queries)
        };
        let (first, last) = (w.matrix(&format!("W1_{block}"))?, w.matrix(&format!("W2_{block}"))?);
        let (b1, b2) = (w.bias(&format!("b1_{block}"))?, w.bias(&format!("b2_{block}"))?);
        let mut next = Vec::new();
        for (k, q) in keys.iter().zip(&queries) {
            let mut out = Vec::new();
            for (a, &k) in attention(&mut w.p, q, k, k, kind.causal)?.into_iter().zip(k) {
                let y = w.sum([Some(a), Some(k)])?;
                let z = layer_norm(&mut w.p, y, kind.epsilon)?;
                let product = w.p.matmul(first, z)?;
                let g = w.sum([Some(product), b1])?;
                let g = w.p.apply(phi.clone(), &[g])?;
                let product = w.p.matmul(last, g)?;
                let h = w.sum([Some(product), b2, Some(z)])?;
                out.push(layer_norm(&mut w.p, h, kind.epsilon)?);
            }
            next.push(out);
        }
        states = next;
    }
    w.read(&states, Readout::Average)?;
    Ok(w.p.finish())
}
