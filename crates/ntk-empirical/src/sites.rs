//! `Sites`: what an affine layer reads at each position, so that dense layers, embeddings and convolutions of all kinds
//! are products of patches and weights.
//!
//! Samples are rows of positions · channels, channels fastest. Patches are F numbers for each position that goes out.

use std::sync::Arc;

use candle_core::{DType, Result, Tensor};

use crate::gather::Taps;
use crate::tensor::{from_vec, product};

/// What stands before the weights.
#[derive(Clone)]
pub(crate) enum Reads {
    /// The channels of the position itself.
    Here,
    /// Those under a window.
    Window(Arc<Taps>),
    /// The token at the position, as the unit vector that it stands for.
    Tokens,
}

/// Which products share weights.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Sharing {
    /// All positions, all channels.
    All,
    /// All positions; channels fall into this many groups of weights of their own.
    Groups(usize),
    /// None: each position has weights of its own.
    Positions,
}

/// Where an affine layer reads, and which weights it multiplies by there.
#[derive(Clone)]
pub(crate) struct Sites {
    pub(crate) reads: Reads,
    pub(crate) sharing: Sharing,
    /// Positions that go out.
    pub(crate) positions: usize,
    /// Channels that come in; the vocabulary for tokens.
    pub(crate) inputs: usize,
    /// Channels that go out.
    pub(crate) outputs: usize,
}

impl Sites {
    /// Positions under the window.
    pub(crate) fn slots(&self) -> usize {
        if let Reads::Window(taps) = &self.reads { taps.gather.slots } else { 1 }
    }

    /// Numbers of weights that are used apart from each other: 1, groups or positions.
    pub(crate) fn blocks(&self) -> usize {
        match self.sharing {
            Sharing::All => 1,
            Sharing::Groups(groups) => groups,
            Sharing::Positions => self.positions,
        }
    }

    /// Channels in and out of a block.
    pub(crate) fn block_channels(&self) -> (usize, usize) {
        match self.sharing {
            Sharing::Groups(groups) => (self.inputs / groups, self.outputs / groups),
            _ => (self.inputs, self.outputs),
        }
    }

    /// F: numbers that an output channel reads; 1 for tokens, of whose unit vectors one number is not 0.
    pub(crate) fn fan_in(&self) -> usize {
        match self.reads {
            Reads::Tokens => 1,
            _ => self.slots() * self.block_channels().0,
        }
    }

    /// s W applied to patches. x: (m, in) → (m, positions · outputs).
    pub(crate) fn multiply(&self, s: f64, x: &Tensor, w: &Tensor) -> Result<Tensor> {
        match (&self.reads, self.sharing) {
            (Reads::Here, Sharing::All) => {
                let y = product(s, &x.reshape(((), self.inputs))?, w)?;
                y.reshape((x.dim(0)?, ()))
            }
            (Reads::Window(taps), Sharing::All) => {
                taps.gather.product(s, x, &w.reshape((self.fan_in(), self.outputs))?)
            }
            _ => self.composed(x, w)? * s,
        }
    }

    /// The same without s, of candle's operations alone, so that candle differentiates it.
    pub(crate) fn composed(&self, x: &Tensor, w: &Tensor) -> Result<Tensor> {
        let (m, f) = (x.dim(0)?, self.fan_in());
        let y = match (&self.reads, self.sharing) {
            (Reads::Tokens, _) => w.index_select(&x.flatten_all()?, 0)?,
            (Reads::Here, _) => x.reshape(((), self.inputs))?.matmul(w)?,
            (Reads::Window(taps), Sharing::All) => {
                taps.gather.read(x)?.matmul(&w.reshape((f, self.outputs))?)?
            }
            (Reads::Window(taps), Sharing::Groups(groups)) => {
                let patches = split(&taps.gather.read(x)?, self.slots(), groups)?;
                unsplit(&patches.matmul(&self.group_weights(w, groups)?)?, 1)?
            }
            (Reads::Window(taps), Sharing::Positions) => {
                let patches = by_position(&taps.gather.read(x)?, self.positions, f)?;
                patches
                    .matmul(&w.reshape((self.positions, f, self.outputs))?)?
                    .transpose(0, 1)?
                    .contiguous()?
            }
        };
        y.reshape((m, ()))
    }

    /// s Wᵀ applied to cotangents, summed where positions are read more than once. d: (m, positions · outputs) →
    /// (m, in).
    pub(crate) fn multiply_transposed(&self, s: f64, d: &Tensor, w: &Tensor) -> Result<Tensor> {
        let (m, f) = (d.dim(0)?, self.fan_in());
        let y = match (&self.reads, self.sharing) {
            (Reads::Tokens, _) => candle_core::bail!("tokens have no derivative"),
            (Reads::Here, _) => product(s, &d.reshape(((), self.outputs))?, &w.t()?)?,
            (Reads::Window(taps), Sharing::All) => {
                return taps.gather.product_transposed(s, d, &w.reshape((f, self.outputs))?);
            }
            (Reads::Window(taps), Sharing::Groups(groups)) => {
                let w = self.group_weights(w, groups)?.transpose(1, 2)?;
                let patches = split(&d.reshape(((), self.outputs))?, 1, groups)?.matmul(&w)?;
                (taps.gather.spread(&unsplit(&patches, self.slots())?)? * s)?
            }
            (Reads::Window(taps), Sharing::Positions) => {
                let w = w.reshape((self.positions, f, self.outputs))?;
                let patches = by_position(d, self.positions, self.outputs)?.matmul(&w.transpose(1, 2)?)?;
                (taps.gather.spread(&patches.transpose(0, 1)?.contiguous()?.reshape(((), f))?)? * s)?
            }
        };
        y.reshape((m, ()))
    }

    /// ∂⟨d, W x⟩/∂W in the shape of the weights. x: (n, in), d: (n, positions · outputs).
    pub(crate) fn gradient(&self, x: &Tensor, d: &Tensor, shape: &[usize]) -> Result<Tensor> {
        let rows = || d.reshape(((), self.outputs));
        let gradient = match (&self.reads, self.sharing) {
            (Reads::Tokens, _) => {
                let zero = Tensor::zeros(shape, d.dtype(), d.device())?;
                zero.index_add(&x.flatten_all()?, &rows()?.contiguous()?, 0)?
            }
            (_, Sharing::All) => product(1.0, &self.rows(x)?.t()?, &rows()?)?,
            (_, Sharing::Groups(groups)) => {
                let (i, o) = self.block_channels();
                let patches = split(&self.rows(x)?, self.slots(), groups)?;
                let d = split(&rows()?, 1, groups)?;
                let gradient = patches.transpose(1, 2)?.matmul(&d)?;
                gradient.reshape((groups, self.slots() * i, o))?.transpose(0, 1)?.contiguous()?
            }
            (_, Sharing::Positions) => {
                let patches = by_position(&self.rows(x)?, self.positions, self.fan_in())?;
                patches.transpose(1, 2)?.matmul(&by_position(d, self.positions, self.outputs)?)?
            }
        };
        gradient.reshape(shape)
    }

    /// All patches, one row for each position. x: (n, in) → (n · positions, taps · in).
    pub(crate) fn rows(&self, x: &Tensor) -> Result<Tensor> {
        match &self.reads {
            Reads::Here => x.reshape(((), self.inputs)),
            Reads::Window(taps) => taps.gather.read(x),
            Reads::Tokens => candle_core::bail!("patches of tokens are not formed"),
        }
    }

    /// How many channels [`Sites::patches`] has to offer: for tokens, those that occur.
    pub(crate) fn patch_channels(&self, x: &Tensor) -> Result<usize> {
        Ok(if let Reads::Tokens = self.reads { distinct(x)?.len() } else { self.block_channels().0 })
    }

    /// The patches of one block of weights, of some channels only. x: (n, in) → (n, positions, taps · channels).
    pub(crate) fn patches(
        &self,
        x: &Tensor,
        block: usize,
        channels: std::ops::Range<usize>,
        dtype: DType,
    ) -> Result<Tensor> {
        let n = x.dim(0)?;
        if let Reads::Tokens = self.reads {
            return unit_vectors(x, &distinct(x)?[channels], dtype);
        }
        let first = if let Sharing::Groups(_) = self.sharing { block * self.block_channels().0 } else { 0 };
        let len = channels.len();
        let x = x.reshape((n, (), self.inputs))?;
        let x =
            if len == self.inputs { x } else { x.narrow(2, first + channels.start, len)?.contiguous()? };
        let x = x.reshape((n, ()))?;
        match (&self.reads, self.sharing) {
            (Reads::Window(taps), Sharing::Positions) => taps.gather.at(block).read(&x)?.reshape((n, 1, ())),
            (Reads::Window(taps), _) => taps.gather.read(&x)?.reshape((n, self.positions, ())),
            _ => x.reshape((n, self.positions, len)),
        }
    }

    /// The cotangents of one block of weights. d: (n or 1, o, positions · outputs) → (n or 1, o, positions, outputs).
    pub(crate) fn cotangents(&self, d: &Tensor, block: usize) -> Result<Tensor> {
        let (n, o, _) = d.dims3()?;
        let d = d.reshape((n, o, self.positions, self.outputs))?;
        match self.sharing {
            Sharing::All => Ok(d),
            Sharing::Groups(_) => {
                let channels = self.block_channels().1;
                d.narrow(3, block * channels, channels)
            }
            Sharing::Positions => d.narrow(2, block, 1),
        }
    }

    /// The weights of groups as one matrix for each. w: (…, in/groups, out) → (groups, taps · in/groups, out/groups).
    fn group_weights(&self, w: &Tensor, groups: usize) -> Result<Tensor> {
        w.reshape((self.fan_in(), groups, self.outputs / groups))?.transpose(0, 1)?.contiguous()
    }
}

/// Rows of (slots, groups, channels), group by group. rows: (r, slots · groups · c) → (groups, r, slots · c).
fn split(rows: &Tensor, slots: usize, groups: usize) -> Result<Tensor> {
    let r = rows.dim(0)?;
    let parts = rows.reshape((r, slots, groups, ()))?.permute((2, 0, 1, 3))?.contiguous()?;
    parts.reshape((groups, r, ()))
}

/// The inverse of [`split`]. parts: (groups, r, slots · c) → (r, slots · groups · c).
fn unsplit(parts: &Tensor, slots: usize) -> Result<Tensor> {
    let (groups, r, _) = parts.dims3()?;
    parts.reshape((groups, r, slots, ()))?.permute((1, 2, 0, 3))?.contiguous()?.reshape((r, ()))
}

/// (m, positions · c) in any grouping of rows → (positions, m, c).
fn by_position(rows: &Tensor, positions: usize, c: usize) -> Result<Tensor> {
    rows.reshape(((), positions, c))?.transpose(0, 1)?.contiguous()
}

/// The tokens that occur, in ascending order.
fn distinct(tokens: &Tensor) -> Result<Vec<u32>> {
    let mut tokens: Vec<u32> = tokens.flatten_all()?.to_vec1()?;
    tokens.sort_unstable();
    tokens.dedup();
    Ok(tokens)
}

/// tokens: (n, positions) → (n, positions, names), 1 where the token has the name.
fn unit_vectors(tokens: &Tensor, names: &[u32], dtype: DType) -> Result<Tensor> {
    let (n, positions) = tokens.dims2()?;
    let mut values = vec![0.0; n * positions * names.len()];
    for (row, token) in tokens.flatten_all()?.to_vec1::<u32>()?.into_iter().enumerate() {
        if let Ok(at) = names.binary_search(&token) {
            values[row * names.len() + at] = 1.0;
        }
    }
    from_vec(values, (n, positions, names.len()), dtype, tokens.device())
}
