//! Self-attention up to its output weights: positional embeddings, the affine maps to queries, keys and values, heads.

use candle_core::{Result, Tensor};

use super::core::{Core, Memory};
use super::{Sweep, Visit, add};
use crate::affine::Tangent;
use crate::input::Signal;

/// Attention without its output weights, which are an affine node that follows.
#[derive(Clone)]
pub(crate) struct Attention {
    pub(crate) core: Core,
    /// Affine nodes of queries, keys (none if they are the queries) and values.
    pub(crate) query: usize,
    pub(crate) key: Option<usize>,
    pub(crate) value: usize,
    pub(crate) embedding: Option<Embedding>,
}

/// Embeddings of the positions: an affine node without bias, read by the root of the correlation of positions, so that
/// its weights are independent and learn as all others do.
#[derive(Clone)]
pub(crate) struct Embedding {
    pub(crate) affine: usize,
    /// (1, positions · positions).
    pub(crate) root: Tensor,
    /// Channels that stand beside those of the input; none if the embeddings are added to them.
    pub(crate) beside: Option<usize>,
    pub(crate) values: bool,
}

/// What the other rules need.
pub(crate) struct Record {
    input: Tensor,
    /// What queries and keys read.
    embedded: Tensor,
    /// What values read.
    plain: Tensor,
    memory: Memory,
}

impl Attention {
    /// x: (n, in) → (n, positions · heads · value channels).
    pub(crate) fn record(&self, sweep: Sweep<'_>, signal: &Signal) -> Result<(Tensor, Record)> {
        self.run(signal, |index, x| sweep.affines[index].forward(x))
    }

    /// The same with candle's graph.
    pub(crate) fn differentiable(&self, sweep: Sweep<'_>, x: &Tensor) -> Result<Tensor> {
        let signal = Signal { x: x.clone(), lengths: None };
        Ok(self.run(&signal, |index, x| sweep.affines[index].differentiable(x))?.0)
    }

    fn run(
        &self,
        signal: &Signal,
        affine: impl Fn(usize, &Tensor) -> Result<Tensor>,
    ) -> Result<(Tensor, Record)> {
        let embedded = match &self.embedding {
            Some(embedding) => embedding.add(&signal.x, &affine(embedding.affine, &embedding.root)?)?,
            None => signal.x.clone(),
        };
        let plain = if self.values() { embedded.clone() } else { signal.x.clone() };
        let q = affine(self.query, &embedded)?;
        let k = self.key.map(|key| affine(key, &embedded)).transpose()?;
        let v = affine(self.value, &plain)?;
        let (y, memory) = self.core.forward([&q, k.as_ref().unwrap_or(&q), &v], signal.lengths.as_ref())?;
        Ok((y, Record { input: signal.x.clone(), embedded, plain, memory }))
    }

    pub(crate) fn values(&self) -> bool {
        self.embedding.as_ref().is_some_and(|embedding| embedding.values)
    }

    /// As [`Node::pullback`](super::Node::pullback).
    pub(crate) fn pullback(
        &self,
        sweep: Sweep<'_>,
        record: &Record,
        d: &Tensor,
        to_input: bool,
        visit: &mut Visit<'_>,
    ) -> std::result::Result<Option<Tensor>, crate::Error> {
        let (_, outputs, width) = d.dims3()?;
        let d = d.broadcast_as((record.plain.dim(0)?, outputs, width))?;
        let [dq, dk, dv] = self.core.pullback(&record.memory, &d)?;
        let (mut embedded, mut parts) = (None, vec![(self.query, dq)]);
        match self.key {
            Some(key) => parts.push((key, dk)),
            // The cotangents of one and the same tensor.
            None => parts[0].1 = (&parts[0].1 + dk)?,
        }
        let deep = to_input || self.embedding.as_ref().is_some_and(|embedding| sweep.wants(embedding.affine));
        for (index, d) in parts {
            embedded = add(embedded, sweep.affine(index, &record.embedded, &d, deep, visit)?)?;
        }
        let reads_all = deep && self.values() || to_input;
        let plain = sweep.affine(self.value, &record.plain, &dv, reads_all, visit)?;
        let Some(embedding) = &self.embedding else { return Ok(add(embedded, plain)?) };
        let (embedded, plain) =
            if embedding.values { (add(embedded, plain)?, None) } else { (embedded, plain) };
        let Some(embedded) = embedded else { return Ok(None) };
        let (input, own) = embedding.split(&embedded, self.core.grid.positions())?;
        let root = embedding.root.broadcast_as((own.dim(0)?, embedding.root.dim(1)?))?.contiguous()?;
        sweep.affine(embedding.affine, &root, &own, false, visit)?;
        Ok(add(Some(input), plain)?.filter(|_| to_input))
    }

    /// As [`Node::pushforward`](super::Node::pushforward).
    pub(crate) fn pushforward(
        &self,
        sweep: Sweep<'_>,
        record: &Record,
        t: Option<&Tensor>,
        tangents: &[Tangent],
    ) -> Result<Tensor> {
        let embedded = match &self.embedding {
            Some(embedding) => {
                let own = &tangents[embedding.affine];
                let own = sweep.affines[embedding.affine].pushforward(&embedding.root, None, own)?;
                let t = t.map_or_else(|| record.input.zeros_like(), |t| Ok(t.clone()))?;
                Some(embedding.add(&t, &own)?)
            }
            None => t.cloned(),
        };
        let embedded = embedded.as_ref();
        let plain = if self.values() { embedded } else { t };
        let push = |index: usize, x: &Tensor, t: Option<&Tensor>| {
            sweep.affines[index].pushforward(x, t, &tangents[index])
        };
        let q = push(self.query, &record.embedded, embedded)?;
        let k = self.key.map(|key| push(key, &record.embedded, embedded)).transpose()?;
        let v = push(self.value, &record.plain, plain)?;
        self.core.pushforward(&record.memory, [&q, k.as_ref().unwrap_or(&q), &v])
    }
}

impl Embedding {
    /// x, or 0, with the embeddings. x: (n, positions · in), table: (1, positions · channels) → (n or 1, …).
    pub(crate) fn add(&self, x: &Tensor, table: &Tensor) -> Result<Tensor> {
        let Some(channels) = self.beside else { return x.broadcast_add(table) };
        let (n, positions) = (x.dim(0)?, table.dim(1)? / channels);
        let table = table.reshape((1, positions, channels))?.broadcast_as((n, positions, channels))?;
        Tensor::cat(&[x.reshape((n, positions, ()))?, table], 2)?.reshape((n, ()))
    }

    /// The cotangents of x and of the embeddings. d: (n, o, …).
    pub(crate) fn split(&self, d: &Tensor, positions: usize) -> Result<(Tensor, Tensor)> {
        let Some(channels) = self.beside else { return Ok((d.clone(), d.clone())) };
        let (n, o, width) = d.dims3()?;
        let (d, inputs) = (d.reshape((n, o, positions, ()))?, width / positions - channels);
        let part = |start, len| d.narrow(3, start, len)?.contiguous()?.reshape((n, o, ()));
        Ok((part(0, inputs)?, part(inputs, channels)?))
    }
}
