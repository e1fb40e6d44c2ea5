//! Layer normalization over the channels: y = (x − mean)/√(variance + ε).

use candle_core::{D, Result, Tensor};

/// y and 1/√(variance + ε). x: (n, w) → (n, w), (n, 1).
pub(super) fn forward(x: &Tensor, epsilon: f64) -> Result<(Tensor, Tensor)> {
    let centered = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let inverse = centered.sqr()?.mean_keepdim(D::Minus1)?.affine(1.0, epsilon)?.sqrt()?.recip()?;
    Ok((centered.broadcast_mul(&inverse)?, inverse))
}

/// (d − mean d − y mean(d y))/√(variance + ε), the derivative, which is symmetric.
/// d: (n or 1, o, w), y: (n, w), inverse: (n, 1) → (n, o, w).
pub(super) fn pullback(d: &Tensor, y: &Tensor, inverse: &Tensor) -> Result<Tensor> {
    let (y, inverse) = (y.unsqueeze(1)?, inverse.unsqueeze(1)?);
    let along = d.broadcast_mul(&y)?.mean_keepdim(D::Minus1)?;
    let centered = d.broadcast_sub(&d.mean_keepdim(D::Minus1)?)?;
    centered.broadcast_sub(&along.broadcast_mul(&y)?)?.broadcast_mul(&inverse)
}
