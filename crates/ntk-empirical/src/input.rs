//! Batches as tensors: numbers or tokens, with what belongs to each sample.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};
use ntk_core::Batch;

use crate::tensor;

/// Edges (from, to, weight) of one sample's graph.
pub(crate) type Edges = Vec<(usize, usize, f64)>;

/// How many positions of each sample exist, of those along the only axis.
#[derive(Clone)]
pub(crate) struct Lengths {
    pub(crate) of: Arc<[usize]>,
    pub(crate) side: usize,
}

/// What travels from node to node: x (n, positions · channels), or tokens (n, positions), and the lengths.
#[derive(Clone)]
pub(crate) struct Signal {
    pub(crate) x: Tensor,
    pub(crate) lengths: Option<Lengths>,
}

/// A batch.
#[derive(Clone)]
pub(crate) struct Input {
    pub(crate) signal: Signal,
    pub(crate) graphs: Option<Arc<[Edges]>>,
}

impl Input {
    /// Numbers of samples that have neither lengths nor graphs.
    pub(crate) fn plain(x: Tensor) -> Self {
        Input { signal: Signal { x, lengths: None }, graphs: None }
    }

    /// A checked batch.
    pub(crate) fn new(batch: Batch<'_>, dtype: DType, device: &Device) -> Result<Self> {
        let lengths = batch
            .lengths()
            .map(|lengths| Lengths { of: lengths.into(), side: batch.positions().positions() });
        let graphs = batch.graphs().map(|graphs| (0..batch.len()).map(|i| graphs.edges(i)).collect());
        let x = values(batch, dtype, device)?;
        let x = match &lengths {
            Some(lengths) if batch.token_ids().is_none() => lengths.clear(&x)?,
            _ => x,
        };
        Ok(Input { signal: Signal { x, lengths }, graphs })
    }

    /// One batch after another. Where one has no lengths or graphs and the other has, its lengths are full and its
    /// graphs empty.
    pub(crate) fn join(&self, other: &Input) -> Result<Self> {
        let x = Tensor::cat(&[&self.signal.x, &other.signal.x], 0)?;
        let both = [self, other];
        let side = both.iter().find_map(|input| input.signal.lengths.as_ref().map(|l| l.side));
        let lengths = match side {
            Some(side) => {
                let mut all = Vec::new();
                for input in both {
                    match &input.signal.lengths {
                        Some(lengths) => all.extend_from_slice(&lengths.of),
                        None => all.extend(std::iter::repeat_n(side, input.signal.x.dim(0)?)),
                    }
                }
                Some(Lengths { of: all.into(), side })
            }
            None => None,
        };
        let graphs = match (&self.graphs, &other.graphs) {
            (Some(a), Some(b)) => Some(a.iter().chain(b.iter()).cloned().collect()),
            _ => None,
        };
        Ok(Input { signal: Signal { x, lengths }, graphs })
    }

    /// Some of the samples.
    pub(crate) fn select(&self, samples: &[u32]) -> Result<Self> {
        let rows = Tensor::from_slice(samples, samples.len(), self.signal.x.device())?;
        let pick = |i: &u32| *i as usize;
        let lengths = self.signal.lengths.as_ref().map(|lengths| Lengths {
            of: samples.iter().map(|i| lengths.of[pick(i)]).collect(),
            side: lengths.side,
        });
        let graphs =
            self.graphs.as_ref().map(|graphs| samples.iter().map(|i| graphs[pick(i)].clone()).collect());
        Ok(Input { signal: Signal { x: self.signal.x.index_select(&rows, 0)?, lengths }, graphs })
    }
}

impl Lengths {
    /// Zeros beyond the lengths, whatever stands there. x: (n or 1, …, side · c), where 1 stands for n equal ones.
    pub(crate) fn clear(&self, x: &Tensor) -> Result<Tensor> {
        if self.of.iter().all(|&length| length == self.side) {
            return Ok(x.clone());
        }
        let (shape, n) = (x.dims().to_vec(), self.of.len());
        let rows = shape[1..shape.len() - 1].iter().product::<usize>();
        let c = shape[shape.len() - 1] / self.side;
        let full = (n, rows, self.side, c);
        let exists: Vec<u8> =
            self.of.iter().flat_map(|&length| (0..self.side).map(move |p| u8::from(p < length))).collect();
        let exists = Tensor::from_vec(exists, (n, 1, self.side, 1), x.device())?;
        let x = x.reshape((shape[0], rows, self.side, c))?.broadcast_as(full)?;
        let cleared = exists.broadcast_as(full)?.where_cond(&x, &x.zeros_like()?)?;
        cleared.reshape([&[n], &shape[1..]].concat())
    }

    /// The same samples after a layer by which lengths change.
    pub(crate) fn map(&self, side: usize, length: impl Fn(usize) -> usize) -> Lengths {
        Lengths { of: self.of.iter().map(|&l| length(l)).collect(), side }
    }

    /// Positions that exist in one branch or the other.
    pub(crate) fn merge(a: Option<Lengths>, b: Option<Lengths>) -> Option<Lengths> {
        match (a, b) {
            (Some(a), Some(b)) => {
                let of = a.of.iter().zip(b.of.iter()).map(|(&a, &b)| a.max(b)).collect();
                Some(Lengths { of, side: a.side })
            }
            (a, b) => a.or(b),
        }
    }
}

/// The numbers (n, positions · channels) or tokens (n, positions) of a batch.
pub(crate) fn values(batch: Batch<'_>, dtype: DType, device: &Device) -> Result<Tensor> {
    match batch.token_ids() {
        Some(tokens) => {
            let ids: Vec<u32> = tokens.iter().copied().collect();
            Tensor::from_vec(ids, tokens.dim(), &Device::Cpu)?.to_device(device)
        }
        None => tensor::matrix(batch.values(), dtype, device),
    }
}
