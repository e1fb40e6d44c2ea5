//! The bilinear core of self-attention between its affine layers: y = ζ(c q kᵀ) v, head by head.
//!
//! Queries, keys and values are affine nodes of their own, so that kernels, training and parameters need no rules here.

use candle_core::{D, Result, Tensor};
use ntk_core::{AttentionMask, Grid, Weighting};

use crate::input::Lengths;

/// What a head does with queries, keys and values, all (n, positions · heads · channels).
#[derive(Clone)]
pub(crate) struct Core {
    pub(crate) grid: Grid,
    pub(crate) heads: usize,
    /// c: what ⟨q, k⟩ is multiplied by.
    pub(crate) scale: f64,
    pub(crate) weighting: Weighting,
    pub(crate) mask: AttentionMask,
}

/// What the derivative needs: (n · heads, positions, channels), and weights (n · heads, reader, read).
pub(crate) struct Memory {
    q: Tensor,
    k: Tensor,
    v: Tensor,
    weights: Tensor,
    /// ∂weights/∂logits where it acts entry by entry; none for the softmax.
    slope: Option<Tensor>,
}

/// A logit that stands for −∞ and is finite in f32.
const NEVER: f64 = -1e30;

impl Core {
    /// → (n, positions · heads · value channels).
    pub(crate) fn forward(
        &self,
        [q, k, v]: [&Tensor; 3],
        lengths: Option<&Lengths>,
    ) -> Result<(Tensor, Memory)> {
        let [q, k, v] =
            [self.split(&q.unsqueeze(1)?)?, self.split(&k.unsqueeze(1)?)?, self.split(&v.unsqueeze(1)?)?];
        let logits = (q.matmul(&k.t()?)? * self.scale)?;
        let mask = self.mask(&logits, lengths)?;
        let (weights, slope) = match self.weighting {
            Weighting::Softmax => {
                let exp = self.exp(&logits, &mask)?;
                let sum = exp.sum_keepdim(D::Minus1)?;
                // Who reads nobody, beyond the length of a sample, has weights 0.
                let sum = (&sum + sum.eq(0.0)?.to_dtype(sum.dtype())?)?;
                (exp.broadcast_div(&sum)?, None)
            }
            weighting => {
                let (weights, slope) = self.entrywise(weighting, &logits, &mask)?;
                (weights, Some(slope))
            }
        };
        let y = self.join(&weights.matmul(&v)?, 1)?.squeeze(1)?;
        Ok((y, Memory { q, k, v, weights, slope }))
    }

    /// exp(logits − the largest of each row) where the mask is 1, 0 elsewhere. → (n · heads, reader, read).
    pub(crate) fn exp(&self, logits: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let never = (logits.zeros_like()? + NEVER)?;
        let allowed = mask.where_cond(logits, &never)?;
        let largest = allowed.max_keepdim(D::Minus1)?.detach();
        allowed.broadcast_sub(&largest)?.exp()? * mask.to_dtype(logits.dtype())?
    }

    /// Weights that are a function of their own logit alone, and its slope.
    pub(crate) fn entrywise(
        &self,
        weighting: Weighting,
        logits: &Tensor,
        mask: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let mask = mask.to_dtype(logits.dtype())?;
        let (weights, slope) = match weighting {
            Weighting::Softmax | Weighting::Identity => return Ok(((logits * &mask)?, mask)),
            Weighting::Abs => (logits.abs()?, logits.sign()?.detach()),
            Weighting::Relu => (logits.relu()?, logits.sign()?.detach().affine(0.5, 0.5)?),
        };
        Ok(((weights * &mask)?, (slope * &mask)?))
    }

    /// d: (n, o, positions · heads · value channels) → the cotangents of q, k and v.
    pub(crate) fn pullback(&self, memory: &Memory, d: &Tensor) -> Result<[Tensor; 3]> {
        let (o, p) = (d.dim(1)?, self.grid.positions());
        let d = self.split(d)?;
        let heads = d.dim(0)?;
        // (n · heads, o · reader, read)
        let dw = d.matmul(&memory.v.t()?)?;
        let dl = (self.slope(memory, &dw.reshape((heads, o, p, p))?)? * self.scale)?;
        let dq = dl.reshape((heads, o * p, p))?.matmul(&memory.k)?;
        let by_read = |t: &Tensor| t.transpose(2, 3)?.contiguous()?.reshape((heads, o * p, p));
        let dk = by_read(&dl)?.matmul(&memory.q)?;
        let d = d.reshape((heads, o, p, ()))?.transpose(1, 2)?.contiguous()?.reshape((heads, p, ()))?;
        let dv = memory.weights.t()?.matmul(&d)?.reshape((heads, p, o, ()))?.transpose(1, 2)?.contiguous()?;
        let dv = dv.reshape((heads, o * p, ()))?;
        Ok([self.join(&dq, o)?, self.join(&dk, o)?, self.join(&dv, o)?])
    }

    /// Tangents of q, k and v, (n, …) each → (n, positions · heads · value channels).
    pub(crate) fn pushforward(&self, memory: &Memory, [q, k, v]: [&Tensor; 3]) -> Result<Tensor> {
        let [q, k, v] =
            [self.split(&q.unsqueeze(1)?)?, self.split(&k.unsqueeze(1)?)?, self.split(&v.unsqueeze(1)?)?];
        let logits = ((q.matmul(&memory.k.t()?)? + memory.q.matmul(&k.t()?)?)? * self.scale)?;
        let weights = self.slope(memory, &logits.unsqueeze(1)?)?.squeeze(1)?;
        let y = (weights.matmul(&memory.v)? + memory.weights.matmul(&v)?)?;
        self.join(&y, 1)?.squeeze(1)
    }

    /// The derivative of the weights in the logits, which is symmetric. t: (n · heads, o, reader, read).
    fn slope(&self, memory: &Memory, t: &Tensor) -> Result<Tensor> {
        match &memory.slope {
            Some(slope) => t.broadcast_mul(&slope.unsqueeze(1)?),
            None => {
                let weights = memory.weights.unsqueeze(1)?;
                let along = t.broadcast_mul(&weights)?.sum_keepdim(D::Minus1)?;
                t.broadcast_sub(&along)?.broadcast_mul(&weights)
            }
        }
    }

    /// (n, o, positions · heads · c) → (n · heads, o · positions, c).
    pub(crate) fn split(&self, t: &Tensor) -> Result<Tensor> {
        let (n, o, p) = (t.dim(0)?, t.dim(1)?, self.grid.positions());
        let t = t.reshape((n, o, p, self.heads, ()))?.permute((0, 3, 1, 2, 4))?.contiguous()?;
        t.reshape((n * self.heads, o * p, ()))
    }

    /// (n · heads, o · positions, c) → (n, o, positions · heads · c).
    pub(crate) fn join(&self, t: &Tensor, o: usize) -> Result<Tensor> {
        let (n, p) = (t.dim(0)? / self.heads, self.grid.positions());
        let t = t.reshape((n, self.heads, o, p, ()))?.permute((0, 2, 3, 1, 4))?.contiguous()?;
        t.reshape((n, o, ()))
    }

    /// 1 where a position reads another. → (n · heads, reader, read) of bytes.
    pub(crate) fn mask(&self, logits: &Tensor, lengths: Option<&Lengths>) -> Result<Tensor> {
        let (p, rows) = (self.grid.positions(), logits.dim(0)?);
        let one = |length: usize| {
            (0..p * p)
                .map(move |at| u8::from(at % p < length && self.mask.allows(&self.grid, at / p, at % p)))
        };
        let lengths: Vec<usize> = lengths.map_or_else(|| vec![p], |lengths| lengths.of.to_vec());
        let samples = lengths.len();
        let mask: Vec<u8> = lengths.into_iter().flat_map(one).collect();
        let mask = Tensor::from_vec(mask, (samples, 1, p, p), logits.device())?;
        mask.broadcast_as((rows / self.heads, self.heads, p, p))?.contiguous()?.reshape((rows, p, p))
    }
}
