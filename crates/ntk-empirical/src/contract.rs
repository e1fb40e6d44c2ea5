//! The share of one affine layer in the tangent kernel, from its inputs X and the cotangents D of its outputs.
//!
//! With patches X_p at the positions p that share weights, the derivative of an output in the weights is Σ_p X_p ⊗ D_p.
//! Its products with those of other samples are taken in whichever of two ways costs fewer multiplications: by forming
//! it, a slab of input channels at a time, or by Σ_pq ⟨X_p, X′_q⟩ ⟨D_p, D′_q⟩, which for a single position is the usual
//! product of two Gram matrices.

use candle_core::{Result, Tensor};
use ndarray::{Array2, s};

use crate::affine::Affine;
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
        let a = pair.gram(&patches(affine, x, d, 0)?.squeeze(1)?)? * weight + bias;
        if samples != n {
            return add_common(&a, &d.squeeze(0)?, part, total);
        }
        add_product(&a, &pair.outer(d, part)?, total);
        return Ok(());
    }
    let d = d.broadcast_as((n, o, width))?.contiguous()?;
    if weight > 0.0 {
        for block in 0..sites.blocks() {
            add_block(affine, block, pair, x, &sites.cotangents(&d, block)?, part, total)?;
        }
    }
    if let Some(b) = affine.bias.as_ref().filter(|_| bias > 0.0) {
        let d = d.reshape((n, o, (), b.elem_count()))?.sum(2)?;
        total.scaled_add(bias, &pair.outer(&d, part)?);
    }
    Ok(())
}

/// All patches of a block. → (n, positions, f).
fn patches(affine: &Affine, x: &Tensor, like: &Tensor, block: usize) -> Result<Tensor> {
    affine.sites.patches(x, block, 0..affine.sites.patch_channels(x)?, like.dtype())
}

/// The share of one block of weights. d: (n, o, positions, out).
fn add_block(
    affine: &Affine,
    block: usize,
    pair: Pair,
    x: &Tensor,
    d: &Tensor,
    part: Part,
    total: &mut Array2<f64>,
) -> Result<()> {
    let (weight, _) = affine.tangent_scales();
    let (n, o, positions, width) = d.dims4()?;
    let channels = affine.sites.patch_channels(x)?;
    if positions == 1 {
        let a = pair.gram(&patches(affine, x, d, block)?.squeeze(1)?)? * weight;
        add_product(&a, &pair.outer(&d.squeeze(2)?.contiguous()?, part)?, total);
        return Ok(());
    }
    let taps = affine.sites.slots();
    let (features, pairs) = (taps * channels, pair.n1 * pair.n2);
    let products = if part == Part::Trace { o } else { o * o };
    let formed = (n * o * positions + pairs * products) as f64 * (features * width) as f64;
    let squared = (pairs * positions * positions) as f64 * (features + products * (width + 1)) as f64;
    if squared < formed {
        return add_squared(weight, pair, &patches(affine, x, d, block)?, d, part, total);
    }
    // (n, positions, o · out)
    let d = d.transpose(1, 2)?.contiguous()?.reshape((n, positions, o * width))?;
    let slab = (SLAB / (n * taps * (o * width).max(positions))).max(1);
    for start in (0..channels).step_by(slab) {
        let range = start..(start + slab).min(channels);
        let patches = affine.sites.patches(x, block, range, d.dtype())?;
        let derivative = patches.transpose(1, 2)?.matmul(&d)?;
        let derivative = match part {
            Part::Trace => derivative.reshape((n, 1, ()))?,
            Part::Blocks => {
                derivative.reshape((n, (), o, width))?.transpose(1, 2)?.contiguous()?.reshape((n, o, ()))?
            }
        };
        total.scaled_add(weight, &pair.outer(&derivative, part)?);
    }
    Ok(())
}

/// Σ_pq ⟨X_p, X′_q⟩ ⟨D_p, D′_q⟩, one sample of the first set at a time. x: (n, positions, f), d: (n, o, positions, out).
fn add_squared(
    scale: f64,
    pair: Pair,
    x: &Tensor,
    d: &Tensor,
    part: Part,
    total: &mut Array2<f64>,
) -> Result<()> {
    let (_, o, positions, _) = d.dims4()?;
    let rows = |t: &Tensor| t.contiguous()?.flatten_to(t.rank() - 2);
    let x2 = rows(&pair.second(x)?)?;
    // Outputs beside channels, where their products are summed.
    let d = if part == Part::Trace { d.transpose(1, 2)?.flatten_from(2)? } else { d.clone() };
    let d2 = rows(&pair.second(&d)?)?;
    for i in 0..pair.n1 {
        // (p, n₂, 1, q)
        let g = x.get(i)?.matmul(&x2.t()?)?.reshape((positions, pair.n2, 1, positions))?;
        let outputs = if part == Part::Trace { 1 } else { o };
        for a in 0..outputs {
            let d = if part == Part::Trace { d.get(i)? } else { d.get(i)?.get(a)? };
            let h = d.contiguous()?.matmul(&d2.t()?)?.reshape((positions, pair.n2, outputs, positions))?;
            let row = h.broadcast_mul(&g)?.sum((0, 3))?.flatten_all()?;
            let row = ndarray::Array1::from_vec(tensor::to_f64(&row)?.to_vec1()?);
            total.row_mut(i * outputs + a).scaled_add(scale, &row);
        }
    }
    Ok(())
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
