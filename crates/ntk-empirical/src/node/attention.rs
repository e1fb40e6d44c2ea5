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

/// Embeddings of the positions.
#[derive(Clone)]
pub(crate) struct Embedding {
    /// (1, positions · channels).
    pub(crate) table: Tensor,
    /// Whether they stand beside the channels or are added to them.
    pub(crate) beside: bool,
    pub(crate) values: bool,
}

/// What the other rules need: the inputs of queries and keys, and of values.
pub(crate) struct Record {
    embedded: Tensor,
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
        let (plain, embedded) = (signal.x.clone(), self.embed(&signal.x)?);
        let plain = if self.values() { embedded.clone() } else { plain };
        let q = affine(self.query, &embedded)?;
        let k = self.key.map(|key| affine(key, &embedded)).transpose()?;
        let v = affine(self.value, &plain)?;
        let (y, memory) = self.core.forward([&q, k.as_ref().unwrap_or(&q), &v], signal.lengths.as_ref())?;
        Ok((y, Record { embedded, plain, memory }))
    }

    fn values(&self) -> bool {
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
        for (index, d) in parts {
            embedded = add(embedded, sweep.affine(index, &record.embedded, &d, to_input, visit)?)?;
        }
        let plain = sweep.affine(self.value, &record.plain, &dv, to_input, visit)?;
        let (embedded, plain) = if self.values() { (add(embedded, plain)?, None) } else { (embedded, plain) };
        let embedded = embedded.map(|d| self.forget(&d)).transpose()?;
        Ok(add(embedded, plain)?)
    }

    /// As [`Node::pushforward`](super::Node::pushforward).
    pub(crate) fn pushforward(
        &self,
        sweep: Sweep<'_>,
        record: &Record,
        t: Option<&Tensor>,
        tangents: &[Tangent],
    ) -> Result<Tensor> {
        let widened = t.map(|t| self.widen(t)).transpose()?;
        let embedded = widened.as_ref();
        let plain = if self.values() { embedded } else { t };
        let push = |index: usize, x: &Tensor, t: Option<&Tensor>| {
            sweep.affines[index].pushforward(x, t, &tangents[index])
        };
        let q = push(self.query, &record.embedded, embedded)?;
        let k = self.key.map(|key| push(key, &record.embedded, embedded)).transpose()?;
        let v = push(self.value, &record.plain, plain)?;
        self.core.pushforward(&record.memory, [&q, k.as_ref().unwrap_or(&q), &v])
    }

    /// x with the embeddings. (n, positions · in) → (n, positions · channels).
    fn embed(&self, x: &Tensor) -> Result<Tensor> {
        match &self.embedding {
            None => Ok(x.clone()),
            Some(Embedding { table, beside: false, .. }) => x.broadcast_add(table),
            Some(Embedding { table, .. }) => self.beside(x, table),
        }
    }

    /// A tangent of x as one of x with the embeddings, which are constant.
    fn widen(&self, t: &Tensor) -> Result<Tensor> {
        match &self.embedding {
            Some(Embedding { table, beside: true, .. }) => self.beside(t, &table.zeros_like()?),
            _ => Ok(t.clone()),
        }
    }

    /// The cotangent of x from that of x with the embeddings. d: (n, o, …).
    fn forget(&self, d: &Tensor) -> Result<Tensor> {
        match &self.embedding {
            Some(Embedding { table, beside: true, .. }) => {
                let (n, o, width) = d.dims3()?;
                let positions = self.core.grid.positions();
                let channels = (width - table.dim(1)?) / positions;
                d.reshape((n, o, positions, ()))?.narrow(3, 0, channels)?.contiguous()?.reshape((n, o, ()))
            }
            _ => Ok(d.clone()),
        }
    }

    fn beside(&self, x: &Tensor, table: &Tensor) -> Result<Tensor> {
        let (n, positions) = (x.dim(0)?, self.core.grid.positions());
        let table = table.reshape((1, positions, ()))?;
        let table = table.broadcast_as((n, positions, table.dim(2)?))?;
        Tensor::cat(&[x.reshape((n, positions, ()))?, table], 2)?.reshape((n, ()))
    }
}
