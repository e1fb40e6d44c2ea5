//! Layers that read more than one coordinate or more than one vector, for programs that are written by hand.

use crate::program::{Builder, Error, Expr, Function, ScalarId, VectorId};

/// (x − ν)/√(σ² + ε) with the mean ν and variance σ² of the coordinates of x.
///
/// # Errors
/// Those of the builder.
pub fn layer_norm(p: &mut Builder, x: VectorId, epsilon: f64) -> Result<VectorId, Error> {
    let mean = p.moment(Expr::arg(0), &[x], &[])?;
    let variance = p.moment((Expr::arg(0) - Expr::param(0)).power(2.0), &[x], &[mean])?;
    let scale = p.function((Expr::param(0) + epsilon).power(-0.5), &[variance])?;
    p.apply_with((Expr::arg(0) - Expr::param(0)) * Expr::param(1), &[x], &[mean, scale])
}

/// Each vector of a batch minus the mean of the batch, over the root of its variance in the batch plus ε, coordinate by
/// coordinate. At ε = 0 gradients have no limit that a theorem gives.
///
/// # Errors
/// Those of the builder.
pub fn batch_norm(p: &mut Builder, batch: &[VectorId], epsilon: f64) -> Result<Vec<VectorId>, Error> {
    let n = batch.len() as f64;
    let mean = Expr::sum((0..batch.len()).map(Expr::arg)) * n.recip();
    let variance = Expr::sum((0..batch.len()).map(|k| (Expr::arg(k) - mean.clone()).power(2.0))) * n.recip();
    let scale = (variance + epsilon).power(-0.5);
    (0..batch.len()).map(|k| p.apply((Expr::arg(k) - mean.clone()) * scale.clone(), batch)).collect()
}

/// Σ_j a_ij v_j with a = softmax over j of the logits ⟨q_i, k_j⟩/n, which converge; `causal` lets i attend to j ≤ i alone.
///
/// # Errors
/// Those of the builder.
pub fn attention(
    p: &mut Builder,
    queries: &[VectorId],
    keys: &[VectorId],
    values: &[VectorId],
    causal: bool,
) -> Result<Vec<VectorId>, Error> {
    let mut all = Vec::new();
    for (i, &q) in queries.iter().enumerate() {
        let seen = if causal { keys.len().min(i + 1) } else { keys.len() };
        let logits: Vec<ScalarId> =
            keys[..seen].iter().map(|&k| p.moment(super::times(), &[q, k], &[])).collect::<Result<_, _>>()?;
        let exp = |j: usize| Expr::apply(Function::Exp, Expr::param(j));
        let total = Expr::sum((0..seen).map(exp)).power(-1.0);
        let shares: Vec<ScalarId> =
            (0..seen).map(|j| p.function(exp(j) * total.clone(), &logits)).collect::<Result<_, _>>()?;
        let sum = Expr::sum((0..seen).map(|j| Expr::param(j) * Expr::arg(j)));
        all.push(p.apply_with(sum, &values[..seen.min(values.len())], &shares)?);
    }
    Ok(all)
}
