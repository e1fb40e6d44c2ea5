//! Layer normalization: y = (x − mean)/√(variance + ε) over channels and, if asked, positions.

use candle_core::{D, Result, Tensor};

/// What is normalized together: `parts` groups of numbers in each sample.
#[derive(Clone)]
pub(crate) struct Norm {
    pub(crate) epsilon: f64,
    pub(crate) parts: usize,
    /// The positions part by part, and back; none if they stand so.
    pub(crate) order: Option<(Vec<u32>, Vec<u32>)>,
}

impl Norm {
    /// y in parts and 1/√(variance + ε). x: (n, w) → (n, parts, w/parts), (n, parts, 1).
    pub(super) fn forward(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let x = self.split(x)?;
        let centered = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let inverse = centered.sqr()?.mean_keepdim(D::Minus1)?.affine(1.0, self.epsilon)?.sqrt()?.recip()?;
        Ok((centered.broadcast_mul(&inverse)?, inverse))
    }

    /// (d − mean d − y mean(d y))/√(variance + ε), the derivative, which is symmetric.
    /// d: (n or 1, o, w), y: (n, parts, w/parts), inverse: (n, parts, 1) → (n, o, w).
    pub(super) fn pullback(&self, d: &Tensor, y: &Tensor, inverse: &Tensor) -> Result<Tensor> {
        let (samples, outputs, width) = d.dims3()?;
        let d = self.split(&d.reshape((samples * outputs, width))?)?;
        let d = d.reshape((samples, outputs, self.parts, ()))?;
        let (y, inverse) = (y.unsqueeze(1)?, inverse.unsqueeze(1)?);
        let along = d.broadcast_mul(&y)?.mean_keepdim(D::Minus1)?;
        let centered = d.broadcast_sub(&d.mean_keepdim(D::Minus1)?)?;
        let d = centered.broadcast_sub(&along.broadcast_mul(&y)?)?.broadcast_mul(&inverse)?;
        self.join(&d.flatten(0, 1)?)?.reshape((y.dim(0)?, outputs, width))
    }

    /// (m, w) → (m, parts, w/parts).
    pub(crate) fn split(&self, x: &Tensor) -> Result<Tensor> {
        let parts = (x.dim(0)?, self.parts, ());
        match &self.order {
            Some((order, _)) => reorder(x, order)?.reshape(parts),
            None => x.reshape(parts),
        }
    }

    /// (m, parts, w/parts) → (m, w).
    pub(crate) fn join(&self, y: &Tensor) -> Result<Tensor> {
        let y = y.flatten_from(1)?;
        match &self.order {
            Some((_, back)) => reorder(&y, back),
            None => Ok(y),
        }
    }
}

fn reorder(x: &Tensor, order: &[u32]) -> Result<Tensor> {
    let (m, width) = x.dims2()?;
    let order_tensor = Tensor::from_slice(order, order.len(), x.device())?;
    x.reshape((m, order.len(), width / order.len()))?.index_select(&order_tensor, 1)?.reshape((m, width))
}
