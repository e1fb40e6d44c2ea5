//! Self-attention along a curve: y = ζ(c q kᵀ) v, head by head, with the affine maps before it.

use candle_core::{D, Result, Tensor};
use ntk_core::Weighting;

use super::rules::{JetSweep, JetVisit, sum};
use super::{Jet, JetSignal};
use crate::Error;
use crate::input::Lengths;
use crate::node::{Attention, Core};

/// What the derivative needs: (n · heads, positions, channels), and weights (n · heads, reader, read).
struct Memory {
    q: Jet,
    k: Jet,
    v: Jet,
    weights: Jet,
    /// ∂weights/∂logits where it acts entry by entry; none for the softmax.
    slope: Option<Tensor>,
}

/// What the pullback needs.
pub(crate) struct JetRecord {
    embedded: Jet,
    plain: Jet,
    memory: Memory,
}

impl Core {
    fn forward_jet(&self, [q, k, v]: [&Jet; 3], lengths: Option<&Lengths>) -> Result<(Jet, Memory)> {
        let split = |t: &Jet| t.map(|t| self.split(&t.unsqueeze(1)?));
        let [q, k, v] = [split(q)?, split(k)?, split(v)?];
        let logits = q.bilinear(&k, |q, k| q.matmul(&k.t()?)? * self.scale)?;
        let mask = self.mask(&logits.value, lengths)?;
        let (weights, slope) = match self.weighting {
            Weighting::Softmax => {
                let exp = self.exp(&logits.value, &mask)?;
                let exp = logits.compose(&[exp.clone(), exp.clone(), exp])?;
                let total = exp.map(|exp| exp.sum_keepdim(D::Minus1))?;
                // Who reads nobody, beyond the length of a sample, has weights 0.
                let empty = total.value.eq(0.0)?.to_dtype(total.value.dtype())?;
                let inverse = (&total.value + empty)?.recip()?;
                let derivatives = [inverse.clone(), inverse.sqr()?.neg()?, (inverse.powf(3.0)? * 2.0)?];
                (exp.times(&total.compose(&derivatives)?)?, None)
            }
            weighting => {
                let (value, slope) = self.entrywise(weighting, &logits.value, &mask)?;
                // Weightings by entries are linear up to their kink.
                let higher = logits.higher.iter().map(|c| c.as_ref().map(|c| c * &slope).transpose());
                (Jet { value, higher: higher.collect::<Result<_>>()? }, Some(slope))
            }
        };
        let y = weights.bilinear(&v, |weights, v| self.join(&weights.matmul(v)?, 1)?.squeeze(1))?;
        Ok((y, Memory { q, k, v, weights, slope }))
    }

    fn pullback_jet(&self, memory: &Memory, d: &Jet) -> Result<[Jet; 3]> {
        let (o, p) = (d.value.dim(1)?, self.grid.positions());
        let d = d.map(|d| self.split(d))?;
        let heads = d.value.dim(0)?;
        // (n · heads, o, reader, read)
        let dw = d.bilinear(&memory.v, |d, v| d.matmul(&v.t()?)?.reshape((heads, o, p, p)))?;
        let dl = match &memory.slope {
            Some(slope) => dw.map(|dw| dw.broadcast_mul(&slope.unsqueeze(1)?))?,
            None => {
                let weights = memory.weights.map(|weights| weights.unsqueeze(1))?;
                let along = dw.times(&weights)?.map(|t| t.sum_keepdim(D::Minus1))?;
                dw.minus(&along)?.times(&weights)?
            }
        };
        let dl = dl.map(|dl| dl * self.scale)?;
        let dq = dl.bilinear(&memory.k, |dl, k| dl.reshape((heads, o * p, p))?.matmul(k))?;
        let dk = dl.bilinear(&memory.q, |dl, q| {
            dl.transpose(2, 3)?.contiguous()?.reshape((heads, o * p, p))?.matmul(q)
        })?;
        let d =
            d.map(|d| d.reshape((heads, o, p, ()))?.transpose(1, 2)?.contiguous()?.reshape((heads, p, ())))?;
        let dv = memory.weights.bilinear(&d, |weights, d| {
            let dv = weights.t()?.matmul(d)?.reshape((heads, p, o, ()))?.transpose(1, 2)?.contiguous()?;
            dv.reshape((heads, o * p, ()))
        })?;
        let join = |t: Jet| t.map(|t| self.join(t, o));
        Ok([join(dq)?, join(dk)?, join(dv)?])
    }
}

impl Attention {
    /// x: (n, in) → (n, positions · heads · value channels).
    pub(super) fn record_jet(&self, sweep: JetSweep<'_>, signal: &JetSignal) -> Result<(Jet, JetRecord)> {
        let x = &signal.x;
        let embedded = match &self.embedding {
            Some(embedding) => {
                let root = Jet::constant(embedding.root.clone(), x.order());
                let table = sweep.forward(embedding.affine, &root)?;
                let value = embedding.add(&x.value, &table.value)?;
                let (still, zero) = (x.value.zeros_like()?, table.value.zeros_like()?);
                let higher = x.higher.iter().zip(&table.higher).map(|pair| match pair {
                    (None, None) => Ok(None),
                    (x, table) => {
                        let (x, table) = (x.as_ref().unwrap_or(&still), table.as_ref().unwrap_or(&zero));
                        embedding.add(x, table).map(Some)
                    }
                });
                Jet { value, higher: higher.collect::<Result<_>>()? }
            }
            None => x.clone(),
        };
        let plain = if self.values() { embedded.clone() } else { x.clone() };
        let q = sweep.forward(self.query, &embedded)?;
        let k = self.key.map(|key| sweep.forward(key, &embedded)).transpose()?;
        let v = sweep.forward(self.value, &plain)?;
        let (y, memory) =
            self.core.forward_jet([&q, k.as_ref().unwrap_or(&q), &v], signal.lengths.as_ref())?;
        Ok((y, JetRecord { embedded, plain, memory }))
    }

    /// As the pullback of [`Node`](crate::node::Node) over jets.
    pub(super) fn pullback_jet(
        &self,
        sweep: JetSweep<'_>,
        record: &JetRecord,
        d: &Jet,
        to_input: bool,
        visit: &mut JetVisit<'_>,
    ) -> std::result::Result<Option<Jet>, Error> {
        let [dq, dk, dv] = self.core.pullback_jet(&record.memory, d)?;
        let parts = match self.key {
            Some(key) => vec![(self.query, dq), (key, dk)],
            // The cotangents of one and the same tensor.
            None => vec![(self.query, dq.plus(&dk)?)],
        };
        let deep = to_input || self.embedding.as_ref().is_some_and(|e| sweep.sweep.wants(e.affine));
        let mut embedded = None;
        for (index, d) in parts {
            embedded = sum(embedded, sweep.pullback(index, &record.embedded, &d, deep, visit)?)?;
        }
        let reads_all = deep && self.values() || to_input;
        let plain = sweep.pullback(self.value, &record.plain, &dv, reads_all, visit)?;
        let Some(embedding) = &self.embedding else { return Ok(sum(embedded, plain)?) };
        let (embedded, plain) =
            if embedding.values { (sum(embedded, plain)?, None) } else { (embedded, plain) };
        let Some(embedded) = embedded else { return Ok(None) };
        let positions = self.core.grid.positions();
        let input = embedded.map(|d| Ok(embedding.split(d, positions)?.0))?;
        let own = embedded.map(|d| Ok(embedding.split(d, positions)?.1))?;
        let rows = (own.value.dim(0)?, embedding.root.dim(1)?);
        let root = Jet::constant(embedding.root.broadcast_as(rows)?.contiguous()?, d.order());
        sweep.pullback(embedding.affine, &root, &own, false, visit)?;
        Ok(sum(Some(input), plain)?.filter(|_| to_input))
    }
}
