//! The share of one affine layer in the tangent kernel, from its inputs X and the cotangents D of its outputs.
//!
//! With patches X_p at the positions p that share weights, the derivative of an output in the weights is Σ_p X_p ⊗ D_p.
//! Its products with those of other samples are taken in whichever of two ways costs fewer multiplications: by forming
//! it, a slab of input channels at a time, or by Σ_pq ⟨X_p, X′_q⟩ ⟨D_p, D′_q⟩, which for a single position is the usual
//! product of two Gram matrices.

use candle_core::{Result, Tensor};
use ndarray::{Array2, s};

use crate::affine::Affine;
use crate::sites::Sites;
use crate::tensor;

/// Numbers of a slab of derivatives: what may be in memory beside the activations.
const SLAB: usize = 1 << 25;

/// How two sets of samples lie in one batch: the second is the first, or follows it.
#[derive(Clone, Copy)]
pub(crate) struct Pair {
    pub(crate) n1: usize,
    pub(crate) n2: usize,
    pub(crate) symmetric: bool,
}

/// Which products of outputs are wanted.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Part {
    /// All pairs: (n₁ · o, n₂ · o).
    Blocks,
    /// The sum over equal ones: (n₁, n₂).
    Trace,
}

impl Pair {
    fn first(&self, t: &Tensor) -> Result<Tensor> {
        t.narrow(0, 0, self.n1)
    }

    fn second(&self, t: &Tensor) -> Result<Tensor> {
        if self.symmetric { Ok(t.clone()) } else { t.narrow(0, self.n1, self.n2) }
    }

    /// ⟨a, a′⟩ of rows. a: (n, w) → (n₁, n₂).
    pub(crate) fn gram(&self, a: &Tensor) -> Result<Array2<f64>> {
        tensor::array(&self.first(a)?.matmul(&self.second(a)?.t()?)?)
    }

    /// ⟨d, d′⟩, for pairs of outputs or summed over outputs. d: (n, o, w).
    fn outer(&self, d: &Tensor, part: Part) -> Result<Array2<f64>> {
        match part {
            Part::Trace => self.gram(&d.flatten_from(1)?),
            Part::Blocks => {
                let flat = |d: Tensor| d.contiguous()?.flatten(0, 1);
                tensor::array(&flat(self.first(d)?)?.matmul(&flat(self.second(d)?)?.t()?)?)
            }
        }
    }
}

/// Adds λ_w ∂f/∂W ∂f′/∂W + λ_b ∂f/∂b ∂f′/∂b to `total`. x: (n, in), d: (n or 1, o, positions · out).
pub(crate) fn add_share(
    affine: &Affine,
    pair: Pair,
    x: &Tensor,
    d: &Tensor,
    part: Part,
    total: &mut Array2<f64>,
) -> Result<()> {
    let (sites, n, (samples, o, width)) = (&affine.sites, x.dim(0)?, d.dims3()?);
    let (weight, bias) = affine.tangent_scales();
    if sites.blocks() == 1 && sites.positions == 1 {
        let patches = sites.patches(x, 0, 0..sites.patch_channels(x)?, d.dtype())?;
        let a = pair.gram(&patches.squeeze(1)?)? * weight + bias;
        if samples != n {
            return add_common(&a, &d.squeeze(0)?, part, total);
        }
        add_product(&a, &pair.outer(d, part)?, total);
        return Ok(());
    }
    let d = d.broadcast_as((n, o, width))?.contiguous()?;
    if weight > 0.0 {
        for index in 0..sites.blocks() {
            let d = sites.cotangents(&d, index)?;
            Block { sites, index, pair, weight, x, d, part }.add_share(total)?;
        }
    }
    if let Some(b) = affine.bias.as_ref().filter(|_| bias > 0.0) {
        let d = d.reshape((n, o, (), b.elem_count()))?.sum(2)?;
        total.scaled_add(bias, &pair.outer(&d, part)?);
    }
    Ok(())
}

/// One block of weights that are used together.
struct Block<'a> {
    sites: &'a Sites,
    index: usize,
    pair: Pair,
    /// What the products are multiplied by.
    weight: f64,
    /// (n, in).
    x: &'a Tensor,
    /// (n, o, positions, out).
    d: Tensor,
    part: Part,
}

impl Block<'_> {
    fn add_share(&self, total: &mut Array2<f64>) -> Result<()> {
        let (n, o, positions, width) = self.d.dims4()?;
        let channels = self.sites.patch_channels(self.x)?;
        if positions == 1 {
            let a = self.pair.gram(&self.patches(0..channels)?.squeeze(1)?)? * self.weight;
            let products = self.pair.outer(&self.d.squeeze(2)?.contiguous()?, self.part)?;
            add_product(&a, &products, total);
            return Ok(());
        }
        let (slots, pairs) = (self.sites.slots(), self.pair.n1 * self.pair.n2);
        let products = if self.part == Part::Trace { o } else { o * o };
        let count = |factors: &[usize]| factors.iter().map(|&factor| factor as f64).product::<f64>();
        let features = slots * channels;
        let formed = count(&[n * o * positions + pairs * products, features, width]);
        let squared = count(&[pairs, positions, positions, features + products * (width + 1)]);
        if squared < formed {
            return self.add_squared(total);
        }
        self.add_formed((SLAB / (n * slots * (o * width).max(positions))).max(1), total)
    }

    /// → (n, positions, slots · channels).
    fn patches(&self, channels: std::ops::Range<usize>) -> Result<Tensor> {
        self.sites.patches(self.x, self.index, channels, self.d.dtype())
    }

    /// By Σ_p X_p ⊗ D_p, `slab` channels at a time.
    fn add_formed(&self, slab: usize, total: &mut Array2<f64>) -> Result<()> {
        let (n, o, positions, width) = self.d.dims4()?;
        let channels = self.sites.patch_channels(self.x)?;
        let d = self.d.transpose(1, 2)?.contiguous()?.reshape((n, positions, o * width))?;
        for start in (0..channels).step_by(slab) {
            let patches = self.patches(start..(start + slab).min(channels))?;
            let formed = patches.transpose(1, 2)?.matmul(&d)?;
            let formed = match self.part {
                Part::Trace => formed.reshape((n, 1, ()))?,
                Part::Blocks => {
                    formed.reshape((n, (), o, width))?.transpose(1, 2)?.contiguous()?.reshape((n, o, ()))?
                }
            };
            total.scaled_add(self.weight, &self.pair.outer(&formed, self.part)?);
        }
        Ok(())
    }

    /// By Σ_pq ⟨X_p, X′_q⟩ ⟨D_p, D′_q⟩, one sample of the first set at a time.
    fn add_squared(&self, total: &mut Array2<f64>) -> Result<()> {
        let (pair, (_, o, positions, _)) = (self.pair, self.d.dims4()?);
        let rows = |t: &Tensor| t.contiguous()?.flatten_to(t.rank() - 2);
        let x = self.patches(0..self.sites.patch_channels(self.x)?)?;
        let x2 = rows(&pair.second(&x)?)?;
        // Outputs beside channels, where their products are summed.
        let (d, outputs) = match self.part {
            Part::Trace => (self.d.transpose(1, 2)?.flatten_from(2)?.unsqueeze(1)?, 1),
            Part::Blocks => (self.d.clone(), o),
        };
        let d2 = rows(&pair.second(&d)?)?;
        for i in 0..pair.n1 {
            // (p, n₂, 1, q)
            let g = x.get(i)?.matmul(&x2.t()?)?.reshape((positions, pair.n2, 1, positions))?;
            for a in 0..outputs {
                let h = d.get(i)?.get(a)?.contiguous()?.matmul(&d2.t()?)?;
                let h = h.reshape((positions, pair.n2, outputs, positions))?;
                let row = h.broadcast_mul(&g)?.sum((0, 3))?.flatten_all()?;
                let row = ndarray::Array1::from_vec(tensor::to_f64(&row)?.to_vec1()?);
                total.row_mut(i * outputs + a).scaled_add(self.weight, &row);
            }
        }
        Ok(())
    }
}

/// total += a ∘ products, where an entry of a stands for a block. a: (n₁, n₂), products: as total.
fn add_product(a: &Array2<f64>, products: &Array2<f64>, total: &mut Array2<f64>) {
    let o = total.ncols() / a.ncols();
    for (row, (mut total, products)) in total.rows_mut().into_iter().zip(products.rows()).enumerate() {
        let (total, products) = (total.as_slice_mut(), products.to_slice());
        if let (Some(total), Some(products)) = (total, products) {
            let blocks = total.chunks_exact_mut(o).zip(products.chunks_exact(o));
            for ((total, products), a) in blocks.zip(a.row(row / o)) {
                total.iter_mut().zip(products).for_each(|(t, p)| *t += a * p);
            }
        }
    }
}

/// The same for cotangents common to all samples. d: (o, out).
fn add_common(a: &Array2<f64>, d: &Tensor, part: Part, total: &mut Array2<f64>) -> Result<()> {
    match part {
        Part::Trace => {
            let trace = tensor::to_f64(&d.sqr()?.sum_all()?)?.to_scalar::<f64>()?;
            total.scaled_add(trace, a);
        }
        Part::Blocks => {
            let block = tensor::array(&d.matmul(&d.t()?)?)?;
            let o = block.nrows() as isize;
            for ((p, q), &block) in block.indexed_iter() {
                total.slice_mut(s![p as isize..;o, q as isize..;o]).scaled_add(block, a);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // Tests may.
mod tests {
    use super::*;
    use crate::gather::Taps;
    use crate::sites::{Reads, Sharing};
    use candle_core::Device;
    use ntk_core::{Grid, Window};

    #[test]
    fn both_ways_give_the_same_products_in_any_slabs() {
        let axes = Window::same(&[3]).axes("conv", &Grid::new(&[4]).unwrap(), false).unwrap();
        let reads = Reads::Window(std::sync::Arc::new(Taps::new(&axes)));
        let sites = Sites { reads, sharing: Sharing::All, positions: 4, inputs: 5, outputs: 2 };
        let numbers = |shape: &[usize]| {
            let count: usize = shape.iter().product();
            let values: Vec<f64> = (0..count).map(|i| (1.7 * i as f64).sin()).collect();
            Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
        };
        let (x, d) = (numbers(&[5, 20]), numbers(&[5, 3, 4, 2]));
        for (part, shape) in [(Part::Trace, (2, 3)), (Part::Blocks, (6, 9))] {
            let pair = Pair { n1: 2, n2: 3, symmetric: false };
            let block = Block { sites: &sites, index: 0, pair, weight: 0.5, x: &x, d: d.clone(), part };
            let mut squared = Array2::zeros(shape);
            block.add_squared(&mut squared).unwrap();
            for slab in [1, 2, 5, 100] {
                let mut formed = Array2::zeros(shape);
                block.add_formed(slab, &mut formed).unwrap();
                assert!((&formed - &squared).iter().all(|error: &f64| error.abs() < 1e-13));
                assert!(formed.iter().any(|v| v.abs() > 0.1));
            }
        }
    }
}
