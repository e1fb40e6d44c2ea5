//! The share of one affine layer in the tangent kernel along a curve: products of the derivatives in its parameters.
//!
//! With jets of the inputs X and of the cotangents D of a dense layer, that of Θ is
//! (λ_w s_w² X X′ᵀ + λ_b s_b²) ∘ (D D′ᵀ). Layers that use their weights at many positions form the derivative of each
//! output.

use candle_core::{Result, Tensor};
use ndarray::Array2;

use super::Jet;
use crate::affine::{Affine, Tangent};
use crate::sites::{Reads, Sharing};
use crate::tensor;

/// The coefficients in s of a matrix.
type Series = Vec<Option<Array2<f64>>>;

/// Adds λ_w ∂f/∂W ∂f′/∂W + λ_b ∂f/∂b ∂f′/∂b to `totals`, coefficient by coefficient, for samples below `n1` against
/// those from `start`. x: (n, in), d: (n, o, out) → (n₁ · o, n₂ · o) each.
pub(crate) fn add_share(
    affine: &Affine,
    (n1, start): (usize, usize),
    x: &Jet,
    d: &Jet,
    totals: &mut [Array2<f64>],
) -> Result<()> {
    let (n, o, _) = d.value.dims3()?;
    let products = |t: &Jet, each: usize| products(t, n1 * each, start * each..n * each);
    if affine.sites.positions == 1
        && affine.sites.sharing == Sharing::All
        && matches!(affine.sites.reads, Reads::Here)
    {
        let (weight, bias) = affine.tangent_scales();
        let mut inputs = products(x, 1)?;
        inputs.iter_mut().flatten().for_each(|gram| *gram *= weight);
        if let Some(Some(gram)) = inputs.first_mut() {
            *gram += bias;
        }
        let outer = products(&d.map(|d| d.flatten(0, 1))?, o)?;
        for (k, total) in totals.iter_mut().enumerate() {
            for i in 0..=k {
                if let (Some(gram), Some(outer)) = (&inputs[i], &outer[k - i]) {
                    total.zip_mut_with(&(spread(gram, o) * outer), |total, share| *total += share);
                }
            }
        }
        return Ok(());
    }
    let derivatives = (0..totals.len()).map(|k| formed(affine, k, x, d)).collect::<Result<Vec<_>>>()?;
    let jet = |part: fn(&(Tensor, Option<Tensor>)) -> Option<Tensor>| -> Option<Jet> {
        let mut parts = derivatives.iter().map(part);
        Some(Jet { value: parts.next()??, higher: parts.collect() })
    };
    let weights = (jet(|(weight, _)| Some(weight.clone())), affine.weight_rate());
    for (jet, rate) in [weights, (jet(|(_, bias)| bias.clone()), affine.bias_rate())] {
        let Some(jet) = jet.filter(|_| rate > 0.0) else { continue };
        for (total, share) in totals.iter_mut().zip(products(&jet, o)?) {
            if let Some(share) = share {
                total.scaled_add(rate, &share);
            }
        }
    }
    Ok(())
}

/// The coefficient of sᵏ of the derivative of each output in the weights and in the bias. → (n · o, parameters).
fn formed(affine: &Affine, k: usize, x: &Jet, d: &Jet) -> Result<(Tensor, Option<Tensor>)> {
    let (n, o, _) = d.value.dims3()?;
    let (mut weights, mut biases) = (Vec::with_capacity(n * o), Vec::with_capacity(n * o));
    for sample in 0..n {
        let x = x.map(|x| x.narrow(0, sample, 1))?;
        for output in 0..o {
            let d = d.map(|d| d.narrow(0, sample, 1)?.narrow(1, output, 1)?.contiguous())?;
            let Tangent { weight, bias } = affine.gradient_coefficient(k, &x, &d)?;
            weights.push(weight.flatten_all()?);
            biases.extend(bias.map(|bias| bias.flatten_all()).transpose()?);
        }
    }
    let biases = if biases.is_empty() { None } else { Some(Tensor::stack(&biases, 0)?) };
    Ok((Tensor::stack(&weights, 0)?, biases))
}

/// t t′ᵀ of rows below `first` and of those in `second`. t: (rows, w).
fn products(t: &Jet, first: usize, second: std::ops::Range<usize>) -> Result<Series> {
    let one = |i: usize, j: usize| -> Result<Option<Array2<f64>>> {
        let (Some(a), Some(b)) = (t.coefficient(i), t.coefficient(j)) else { return Ok(None) };
        let b = b.narrow(0, second.start, second.len())?;
        tensor::array(&a.narrow(0, 0, first)?.matmul(&b.t()?)?).map(Some)
    };
    let sum = |k: usize| {
        (0..=k).try_fold(None, |total: Option<Array2<f64>>, i| {
            Ok(match (total, one(i, k - i)?) {
                (Some(total), Some(more)) => Some(total + more),
                (total, more) => total.or(more),
            })
        })
    };
    (0..=t.order()).map(sum).collect()
}

/// Each entry as a block of o × o. → (n₁ · o, n₂ · o).
fn spread(gram: &Array2<f64>, o: usize) -> Array2<f64> {
    Array2::from_shape_fn((gram.nrows() * o, gram.ncols() * o), |(i, j)| gram[[i / o, j / o]])
}
