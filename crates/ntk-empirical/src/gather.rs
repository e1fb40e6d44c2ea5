//! Reading positions by index, so that a convolution is one matrix product of patches.

use candle_core::{Device, Result, Tensor, WithDType};
use ndarray::{ArrayView2, ArrayViewMut2, LinalgScalar, linalg::general_mat_mul};
use ntk_core::AxisTaps;
use rayon::prelude::*;

use crate::tensor::{SMALL_PRODUCT, with_slice};

/// Where there is nothing to read: candle reads zeros there.
const NONE: u32 = u32::MAX;
/// Bytes of patches that are multiplied at a time: they stay in a second-level cache.
const BLOCK: usize = 1 << 17;

/// For each position that goes out, the positions that fill its slots.
#[derive(Clone)]
pub(crate) struct Gather {
    /// Positions that come in.
    from: usize,
    /// Positions read for each that goes out.
    pub(crate) slots: usize,
    /// (positions out, slots).
    sources: Vec<u32>,
}

/// A window in both directions.
pub(crate) struct Taps {
    /// What each output reads, one slot for each tap.
    pub(crate) forward: Gather,
    /// Which outputs read each input, one slot for each tap.
    pub(crate) backward: Gather,
    /// For each length of a sequence, how many outputs are valid; none if the grid is no sequence.
    pub(crate) valid: Option<Vec<usize>>,
}

impl Taps {
    /// The product of windows along the axes of a grid, last axis fastest.
    pub(crate) fn new(axes: &[AxisTaps]) -> Self {
        let one = Gather { from: 1, slots: 1, sources: vec![0] };
        let forward = axes.iter().fold(one, |all, axis| all.times(axis));
        // Under one tap no input is read twice, since steps between outputs are smaller than the torus.
        let mut sources = vec![NONE; forward.from * forward.slots];
        for (at, &source) in forward.sources.iter().enumerate().filter(|(_, source)| **source != NONE) {
            sources[source as usize * forward.slots + at % forward.slots] = (at / forward.slots) as u32;
        }
        let (from, slots) = (forward.outputs(), forward.slots);
        let valid = match axes {
            [axis] => Some((0..=axis.inputs).map(|length| axis.valid(length)).collect()),
            _ => None,
        };
        Taps { forward, backward: Gather { from, slots, sources }, valid }
    }

    /// Sums patches into the positions that they were read from. patches: (m, outputs · taps · c) → (m, inputs · c).
    pub(crate) fn spread(&self, patches: &Tensor) -> Result<Tensor> {
        let slots = self.backward.slots;
        let slot = |(at, &source): (usize, &u32)| match source {
            NONE => NONE,
            output => output * slots as u32 + (at % slots) as u32,
        };
        let sources = self.backward.sources.iter().enumerate().map(slot).collect();
        let each = Gather { from: self.backward.from * slots, slots, sources };
        let (m, rows) = (patches.dim(0)?, each.read(patches)?);
        rows.reshape((rows.dim(0)?, slots, ()))?.sum(1)?.reshape((m, ()))
    }
}

impl Gather {
    fn outputs(&self) -> usize {
        self.sources.len() / self.slots
    }

    fn times(self, axis: &AxisTaps) -> Gather {
        let taps = axis.sources.len();
        let mut sources = Vec::with_capacity(self.sources.len() * axis.outputs * taps);
        for first in self.sources.chunks_exact(self.slots) {
            for output in 0..axis.outputs {
                for &first in first {
                    let join = |tap: &Vec<Option<usize>>| match tap[output] {
                        Some(at) if first != NONE => first * axis.inputs as u32 + at as u32,
                        _ => NONE,
                    };
                    sources.extend(axis.sources.iter().map(join));
                }
            }
        }
        Gather { from: self.from * axis.inputs, slots: self.slots * taps, sources }
    }

    /// The slots of one output alone.
    pub(crate) fn at(&self, output: usize) -> Gather {
        let sources = self.sources[output * self.slots..][..self.slots].to_vec();
        Gather { from: self.from, slots: self.slots, sources }
    }

    /// x: (m, from · c) → (m · outputs, slots · c).
    pub(crate) fn read(&self, x: &Tensor) -> Result<Tensor> {
        let index = Tensor::from_slice(&self.sources, self.sources.len(), x.device())?;
        let m = x.dim(0)?;
        let patches = x.reshape((m, self.from, ()))?.contiguous()?.index_select(&index, 1)?;
        patches.reshape((m * self.outputs(), ()))
    }

    /// s · patches · w, without forming all patches on the CPU. x: (m, from · c), w: (slots · c, k) → (m, outputs · k).
    pub(crate) fn product(&self, s: f64, x: &Tensor, w: &Tensor) -> Result<Tensor> {
        match (x.dtype(), x.device()) {
            (candle_core::DType::F32, Device::Cpu) => self.product_of(s as f32, x, w),
            (_, Device::Cpu) => self.product_of(s, x, w),
            _ => (self.read(x)?.matmul(w)? * s)?.reshape((x.dim(0)?, ())),
        }
    }

    fn product_of<T: WithDType + LinalgScalar>(&self, s: T, x: &Tensor, w: &Tensor) -> Result<Tensor> {
        let (m, outputs) = (x.dim(0)?, self.outputs());
        let (f, k) = w.dims2()?;
        let c = f / self.slots;
        let mut y = vec![T::zero(); m * outputs * k];
        let block = (BLOCK / (f * size_of::<T>())).max(1);
        with_slice::<T, _>(x, |x| {
            with_slice::<T, _>(w, |w| {
                let w = ArrayView2::from_shape((f, k), w).map_err(candle_core::Error::wrap)?;
                let multiply = |patches: &mut Vec<T>, (at, y): (usize, &mut [T])| {
                    patches.clear();
                    for row in at * block..at * block + y.len() / k {
                        let image = &x[row / outputs * self.from * c..][..self.from * c];
                        for &source in &self.sources[row % outputs * self.slots..][..self.slots] {
                            match source {
                                NONE => patches.resize(patches.len() + c, T::zero()),
                                at => patches.extend_from_slice(&image[at as usize * c..][..c]),
                            }
                        }
                    }
                    let patches = ArrayView2::from_shape((y.len() / k, f), patches);
                    let y = ArrayViewMut2::from_shape((y.len() / k, k), y);
                    if let (Ok(patches), Ok(mut y)) = (patches, y) {
                        general_mat_mul(s, &patches, &w, T::zero(), &mut y);
                    }
                };
                if m * outputs * f * k <= SMALL_PRODUCT {
                    let mut patches = Vec::new();
                    y.chunks_mut(block * k).enumerate().for_each(|part| multiply(&mut patches, part));
                } else {
                    y.par_chunks_mut(block * k).enumerate().for_each_init(Vec::new, multiply);
                }
                Ok::<_, candle_core::Error>(())
            })
        })???;
        Tensor::from_vec(y, (m, outputs * k), &Device::Cpu)
    }
}
