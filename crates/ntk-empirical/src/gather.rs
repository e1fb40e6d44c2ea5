//! Reading positions by index, so that a convolution is one matrix product of patches.

use candle_core::{DType, Device, Result, Tensor, WithDType};
use ndarray::{ArrayView2, ArrayViewMut2};
use ntk_core::AxisTaps;
use ntk_linalg::{Scalar, Threads};
use rayon::prelude::*;

use crate::tensor::{SMALL_PRODUCT, with_slice};

/// Where there is nothing to read: candle reads zeros there.
const NONE: u32 = u32::MAX;
/// Bytes of patches that are multiplied at a time: they stay in a second-level cache.
const BLOCK: usize = 1 << 18;

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

/// What the outputs of a window read, one slot for each tap.
pub(crate) struct Taps {
    pub(crate) gather: Gather,
    /// For each length of a sequence, how many outputs are valid; none if the grid is no sequence.
    pub(crate) valid: Option<Vec<usize>>,
}

impl Taps {
    /// The product of windows along the axes of a grid, last axis fastest.
    pub(crate) fn new(axes: &[AxisTaps]) -> Self {
        let one = Gather { from: 1, slots: 1, sources: vec![0] };
        let gather = axes.iter().fold(one, |all, axis| all.times(axis));
        let valid = match axes {
            [axis] => Some((0..=axis.inputs).map(|length| axis.valid(length)).collect()),
            _ => None,
        };
        Taps { gather, valid }
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

    /// The transpose of [`Gather::read`]: sums into the positions that were read. patches: (m · outputs, slots · c) →
    /// (m, from · c).
    pub(crate) fn spread(&self, patches: &Tensor) -> Result<Tensor> {
        let index = Tensor::from_slice(&self.sources, self.sources.len(), patches.device())?;
        let (rows, width) = patches.dims2()?;
        let (m, c) = (rows / self.outputs(), width / self.slots);
        let zero = Tensor::zeros((m, self.from, c), patches.dtype(), patches.device())?;
        let patches = patches.contiguous()?.reshape((m, self.sources.len(), c))?;
        zero.index_add(&index, &patches, 1)?.reshape((m, ()))
    }

    /// s · patches · w, without forming all patches on the CPU. x: (m, from · c), w: (slots · c, k) → (m, outputs · k).
    pub(crate) fn product(&self, s: f64, x: &Tensor, w: &Tensor) -> Result<Tensor> {
        match (x.dtype(), x.device()) {
            (DType::F32, Device::Cpu) => self.product_of(s as f32, x, w),
            (_, Device::Cpu) => self.product_of(s, x, w),
            _ => (self.read(x)?.matmul(w)? * s)?.reshape((x.dim(0)?, ())),
        }
    }

    fn product_of<T: WithDType + Scalar>(&self, s: T, x: &Tensor, w: &Tensor) -> Result<Tensor> {
        let (m, outputs, (f, k)) = (x.dim(0)?, self.outputs(), w.dims2()?);
        let (image, block) = (x.dim(1)?, block_rows::<T>(f));
        let mut y = vec![T::zero(); m * outputs * k];
        with_slices::<T>(x, w, |x, w| {
            let one = |patches: &mut Vec<T>, (at, y): (usize, &mut [T])| {
                let rows = y.len() / k;
                patches.clear();
                for row in at * block..at * block + rows {
                    let x = &x[row / outputs * image..][..image];
                    for &source in self.sources_of(row % outputs) {
                        match source {
                            NONE => patches.resize(patches.len() + f / self.slots, T::zero()),
                            at => patches
                                .extend_from_slice(&x[at as usize * f / self.slots..][..f / self.slots]),
                        }
                    }
                }
                multiply(s, (patches, rows, f), w, (y, k))
            };
            in_parts(&mut y, block * k, m * outputs * f * k, one)
        })?;
        Tensor::from_vec(y, (m, outputs * k), &Device::Cpu)
    }

    /// The transpose of [`Gather::product`]. d: (m, outputs · k), w: (slots · c, k) → (m, from · c).
    pub(crate) fn product_transposed(&self, s: f64, d: &Tensor, w: &Tensor) -> Result<Tensor> {
        match (d.dtype(), d.device()) {
            (DType::F32, Device::Cpu) => self.product_transposed_of(s as f32, d, w),
            (_, Device::Cpu) => self.product_transposed_of(s, d, w),
            _ => self.spread(&d.reshape(((), w.dim(1)?))?.matmul(&w.t()?)?)? * s,
        }
    }

    fn product_transposed_of<T: WithDType + Scalar>(&self, s: T, d: &Tensor, w: &Tensor) -> Result<Tensor> {
        let (m, outputs, (f, k)) = (d.dim(0)?, self.outputs(), w.dims2()?);
        let (c, block) = (f / self.slots, block_rows::<T>(f));
        let mut y = vec![T::zero(); m * self.from * c];
        // Transposed once, not each time that it is packed.
        with_slices::<T>(d, &w.t()?, |d, w| {
            let one = |patches: &mut Vec<T>, (image, y): (usize, &mut [T])| {
                for start in (0..outputs).step_by(block) {
                    let rows = block.min(outputs - start);
                    let d = &d[(image * outputs + start) * k..][..rows * k];
                    patches.resize(rows * f, T::zero());
                    multiply(s, (d, rows, k), w, (patches, f))?;
                    for (row, patch) in patches.chunks_exact(f).enumerate() {
                        for (&source, part) in self.sources_of(start + row).iter().zip(patch.chunks_exact(c))
                        {
                            if source != NONE {
                                let y = &mut y[source as usize * c..][..c];
                                y.iter_mut().zip(part).for_each(|(y, &part)| *y += part);
                            }
                        }
                    }
                }
                Ok(())
            };
            in_parts(&mut y, self.from * c, m * outputs * f * k, one)
        })?;
        Tensor::from_vec(y, (m, self.from * c), &Device::Cpu)
    }

    fn sources_of(&self, output: usize) -> &[u32] {
        &self.sources[output * self.slots..][..self.slots]
    }
}

/// Rows of patches that are multiplied at a time.
fn block_rows<T>(f: usize) -> usize {
    (BLOCK / (f * size_of::<T>())).max(1)
}

fn with_slices<T: WithDType>(a: &Tensor, b: &Tensor, f: impl FnOnce(&[T], &[T]) -> Result<()>) -> Result<()> {
    with_slice::<T, _>(a, |a| with_slice::<T, _>(b, |b| f(a, b)))??
}

/// c = s a b. a: (rows, inner), b: (inner, columns), c: (rows, columns).
fn multiply<T: Scalar>(
    s: T,
    (a, rows, inner): (&[T], usize, usize),
    b: &[T],
    (c, columns): (&mut [T], usize),
) -> Result<()> {
    let wrap = candle_core::Error::wrap;
    let a = ArrayView2::from_shape((rows, inner), a).map_err(wrap)?;
    let b = ArrayView2::from_shape((inner, columns), b).map_err(wrap)?;
    let c = ArrayViewMut2::from_shape((rows, columns), c).map_err(wrap)?;
    ntk_linalg::gemm(s, a, b, T::zero(), c, Threads::One).map_err(candle_core::Error::wrap)
}

/// Calls `f` with memory of its own on each part of `y` and its number, in parallel if there is much to multiply.
fn in_parts<T: Send>(
    y: &mut [T],
    part: usize,
    products: usize,
    f: impl Fn(&mut Vec<T>, (usize, &mut [T])) -> Result<()> + Sync,
) -> Result<()> {
    if products <= SMALL_PRODUCT {
        let mut memory = Vec::new();
        y.chunks_mut(part).enumerate().try_for_each(|part| f(&mut memory, part))
    } else {
        y.par_chunks_mut(part).enumerate().try_for_each_init(Vec::new, |memory, part| f(memory, part))
    }
}
