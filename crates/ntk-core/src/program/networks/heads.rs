//! Attention with logits over √d: they stay random, and many independent heads average over them.

use ndarray::Array2;

use super::{Readout, Weights, Writer, split};
use crate::program::{Error, Expr, Program, VectorId};

/// What turns logits into the weights with which tokens read each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shares {
    /// exp, normalized over the tokens of the sample.
    Softmax,
    /// The logits themselves.
    Identity,
}

/// One layer of self-attention y_a = Σ_c ζ(G)_ac V x_c over tokens x with logits G = QKᵀ/√d, in the limit of many heads.
///
/// `gram` is the kernel K̃ of the tokens, `tangent` their tangent kernel Θ̃ (0 for tokens that are not trained). With σ² =
/// [`Weights::input`] the variance of query and key weights alike, logits are Gaussian and independent of the values, with
/// Cov(G_ac, G_bd) = σ⁴ K̃_ab K̃_cd and the tangent kernel 2λσ² K̃_ab K̃_cd + σ⁴ (Θ̃_ab K̃_cd + K̃_ab Θ̃_cd), λ the rate: they
/// stand in the program as inputs, one coordinate for each head. [`Weights::weight`] is the variance of values,
/// [`Weights::readout`] that of the outputs' weights; there is no bias. Blocks in a row take the kernels of one as the
/// `gram` and `tangent` of the next.
///
/// With [`Shares::Softmax`] the functions are not polynomially bounded in form: ask for the tangent kernel by forward
/// tangents, which need no backward pass.
///
/// # Errors
/// As [`rnn`](super::rnn); [`Error::Law`] for a tangent kernel of another shape.
///
/// # Source
/// \[hron2020infinite\] theorems 3 and 8.
pub fn attention_of_heads(
    shares: Shares,
    weights: &Weights,
    gram: &Array2<f64>,
    tangent: &Array2<f64>,
    lengths: &[usize],
    readout: Readout,
) -> Result<Program, Error> {
    if tangent.dim() != gram.dim() {
        let reason =
            format!("kernels of shapes {:?} and {:?} are not of the same tokens", gram.dim(), tangent.dim());
        return Err(Error::Law { line: 1, reason });
    }
    let mut w = Writer::new(weights);
    let tokens: Vec<String> = (0..gram.nrows()).map(|k| format!("x{k}")).collect();
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let tokens = w.p.inputs(&tokens, &vec![0.0; gram.nrows()], gram.clone(), Some(tangent.clone()))?;
    let samples = split((0..tokens.len()).collect(), lengths)?;
    // Who reads whom, as pairs of tokens within a sample.
    let pairs: Vec<[usize; 2]> = samples
        .iter()
        .flat_map(|sample| sample.iter().flat_map(|&a| sample.iter().map(move |&c| [a, c])))
        .collect();
    let (variance, rate) = (weights.input, w.rate(weights.input));
    let of = |f: &dyn Fn([usize; 2], [usize; 2]) -> f64| {
        Array2::from_shape_fn((pairs.len(), pairs.len()), |(i, j)| f(pairs[i], pairs[j]))
    };
    let covariance = of(&|[a, c], [b, d]| variance * variance * gram[[a, b]] * gram[[c, d]]);
    let moved = of(&|[a, c], [b, d]| {
        let (first, second) = (gram[[a, b]], gram[[c, d]]);
        let trained = tangent[[a, b]] * second + first * tangent[[c, d]];
        2.0 * rate * variance * first * second + variance * variance * trained
    });
    let names: Vec<String> = pairs.iter().map(|[a, c]| format!("G{a}_{c}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut logits = w.p.inputs(&names, &vec![0.0; names.len()], covariance, Some(moved))?.into_iter();
    let matrix = w.matrix("V")?;
    let mut states = Vec::new();
    for sample in &samples {
        let values =
            sample.iter().map(|&c| w.p.matmul(matrix, tokens[c])).collect::<Result<Vec<VectorId>, _>>()?;
        let count = values.len();
        let share = |j: usize| match shares {
            Shares::Softmax => {
                // In differences, of which one is 0: the sum stays away from 0.
                Expr::sum(
                    (0..count)
                        .map(|l| if l == j { Expr::from(1.0) } else { (Expr::arg(l) - Expr::arg(j)).exp() }),
                )
                .power(-1.0)
            }
            Shares::Identity => Expr::arg(j),
        };
        let sum = Expr::sum((0..count).map(|j| share(j) * Expr::arg(count + j)));
        let mut out = Vec::new();
        for _ in sample {
            let args: Vec<VectorId> = logits.by_ref().take(count).chain(values.iter().copied()).collect();
            out.push(w.p.apply(sum.clone(), &args)?);
        }
        states.push(out);
    }
    w.read(&states, readout)?;
    Ok(w.p.finish())
}
