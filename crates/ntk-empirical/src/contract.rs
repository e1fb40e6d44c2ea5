//! The share of one affine layer in the tangent kernel, from its inputs X and the cotangents D of its outputs.
//!
//! With patches X_p at the positions p that share weights, the derivative of an output in the weights is Σ_p X_p ⊗ D_p.
//! Its products with those of other samples are taken in one of two ways: by Σ_pq ⟨X_p, X′_q⟩ ⟨D_p, D′_q⟩, for a single
//! position the usual product of two Gram matrices, or by forming it. Which takes fewer operations, or less memory, is
//! for [`cost`](crate::ntk::cost) to say.

use candle_core::{DType, Result, Tensor, WithDType};
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, concatenate};
use ntk_linalg::{Scalar, Threads};
use rayon::prelude::*;

use crate::affine::Affine;
use crate::sites::{Reads, Sites};
use crate::tensor::{self, with_slice};

/// Which products of outputs are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All pairs: (n₁ · o₁, n₂ · o₂).
    Blocks,
    /// Equal ones: (o · n₁, n₂).
    Diagonals,
    /// The sum over equal ones: (n₁, n₂).
    Trace,
}

/// What a layer keeps of some samples.
#[derive(Clone)]
pub(crate) enum Features {
    /// Inputs (n, in) and cotangents (n, o, positions · out), or (1, o, positions · out) if all samples have the same.
    Apart { x: Tensor, d: Tensor },
    /// Derivatives in the parameters, each times the root of its rate: (n, o, parameters).
    Formed(Tensor),
}

impl Features {
    /// x: (n, in), d: (n or 1, o, positions · out).
    pub(crate) fn new(affine: &Affine, form: bool, x: &Tensor, d: &Tensor) -> Result<Self> {
        if form && affine.tangent_scales() != (0.0, 0.0) {
            return form_derivative(affine, x, &expand(d, x.dim(0)?)?).map(Features::Formed);
        }
        Ok(Features::Apart { x: x.clone(), d: d.clone() })
    }

    /// Some of the samples from the first on.
    fn first(&self, n: usize) -> Result<Self> {
        Ok(match self {
            Features::Apart { x, d } => {
                let d = if d.dim(0)? < x.dim(0)? { d.clone() } else { d.narrow(0, 0, n)? };
                Features::Apart { x: x.narrow(0, 0, n)?, d }
            }
            Features::Formed(t) => Features::Formed(t.narrow(0, 0, n)?),
        })
    }
}

/// The features of many samples, filled chunk by chunk.
pub(crate) struct Kept {
    features: Features,
    filled: usize,
    capacity: usize,
}

impl Kept {
    /// Room for as many samples, of which these are the first.
    pub(crate) fn new(first: &Features, capacity: usize) -> Result<Self> {
        let room = |t: &Tensor| {
            let shape = [&[capacity], &t.dims()[1..]].concat();
            Tensor::zeros(shape, t.dtype(), t.device())
        };
        let features = match first {
            Features::Apart { x, d } if d.dim(0)? < x.dim(0)? => {
                Features::Apart { x: room(x)?, d: d.clone() }
            }
            Features::Apart { x, d } => Features::Apart { x: room(x)?, d: room(d)? },
            Features::Formed(t) => Features::Formed(room(t)?),
        };
        let mut kept = Kept { features, filled: 0, capacity };
        kept.push(first)?;
        Ok(kept)
    }

    /// More samples.
    pub(crate) fn push(&mut self, more: &Features) -> Result<()> {
        let put = |all: &Tensor, t: &Tensor| all.slice_set(&t.contiguous()?, 0, self.filled);
        self.filled += match (&self.features, more) {
            (Features::Apart { x: all, d: all_d }, Features::Apart { x, d }) => {
                put(all, x)?;
                if all_d.dim(0)? == self.capacity && d.dim(0)? == x.dim(0)? {
                    put(all_d, d)?;
                }
                x.dim(0)?
            }
            (Features::Formed(all), Features::Formed(t)) => {
                put(all, t)?;
                t.dim(0)?
            }
            _ => candle_core::bail!("features of two kinds"),
        };
        Ok(())
    }

    /// Those that are there.
    pub(crate) fn features(&self) -> Result<Features> {
        self.features.first(self.filled)
    }
}

/// Adds λ_w ∂f/∂W ∂f′/∂W + λ_b ∂f/∂b ∂f′/∂b to `total`.
pub(crate) fn add_share(
    affine: &Affine,
    [left, right]: [&Features; 2],
    part: Part,
    total: &mut Array2<f64>,
) -> Result<()> {
    let (weight, bias) = affine.tangent_scales();
    let (x1, d1, x2, d2) = match (left, right) {
        (Features::Formed(left), Features::Formed(right)) => {
            *total += &outer(left, right, part)?;
            return Ok(());
        }
        (Features::Apart { x: x1, d: d1 }, Features::Apart { x: x2, d: d2 }) => (x1, d1, x2, d2),
        _ => candle_core::bail!("features of two kinds"),
    };
    let (sites, n1, n2) = (&affine.sites, x1.dim(0)?, x2.dim(0)?);
    let common = d1.dim(0)? < n1 && d2.dim(0)? < n2;
    if sites.blocks() == 1 && sites.positions == 1 {
        let a = inputs_gram(sites, 0, x1, x2, d1.dtype())? * weight + bias;
        let products =
            if common { outer(d1, d2, part)? } else { outer(&expand(d1, n1)?, &expand(d2, n2)?, part)? };
        add_product(&a, &products, common, part, total);
        return Ok(());
    }
    let (d1, d2) = (expand(d1, n1)?, expand(d2, n2)?);
    if weight > 0.0 {
        for index in 0..sites.blocks() {
            let (d1, d2) = (sites.cotangents(&d1, index)?, sites.cotangents(&d2, index)?);
            if d1.dim(2)? == 1 {
                let a = inputs_gram(sites, index, x1, x2, d1.dtype())? * weight;
                add_product(&a, &outer(&d1.squeeze(2)?, &d2.squeeze(2)?, part)?, false, part, total);
            } else {
                Pairs { sites, index, weight, x1, x2, d1, d2, part }.add_to(total)?;
            }
        }
    }
    if let Some(b) = affine.bias.as_ref().filter(|_| bias > 0.0) {
        let sum = |d: &Tensor, n: usize| d.reshape((n, d.dim(1)?, (), b.elem_count()))?.sum(2);
        total.scaled_add(bias, &outer(&sum(&d1, n1)?, &sum(&d2, n2)?, part)?);
    }
    Ok(())
}

/// Cotangents common to all samples, once for each.
fn expand(d: &Tensor, n: usize) -> Result<Tensor> {
    let (_, o, width) = d.dims3()?;
    d.broadcast_as((n, o, width))?.contiguous()
}

/// ⟨a, a′⟩ of rows. a: (n, w) → (n₁, n₂).
pub(crate) fn gram(a1: &Tensor, a2: &Tensor) -> Result<Array2<f64>> {
    tensor::array(&tensor::product(1.0, a1, &a2.t()?)?)
}

/// ⟨d, d′⟩ of the outputs that are wanted. d: (n, o, w).
fn outer(d1: &Tensor, d2: &Tensor, part: Part) -> Result<Array2<f64>> {
    match part {
        Part::Trace => gram(&d1.flatten_from(1)?, &d2.flatten_from(1)?),
        Part::Blocks => gram(&d1.contiguous()?.flatten(0, 1)?, &d2.contiguous()?.flatten(0, 1)?),
        Part::Diagonals => {
            let one = |c: usize| gram(&d1.narrow(1, c, 1)?.squeeze(1)?, &d2.narrow(1, c, 1)?.squeeze(1)?);
            let all = (0..d1.dim(1)?).map(one).collect::<Result<Vec<_>>>()?;
            concatenate(Axis(0), &all.iter().map(|one| one.view()).collect::<Vec<_>>())
                .map_err(candle_core::Error::wrap)
        }
    }
}

/// ⟨X, X′⟩ of a block of weights that is used at one position. → (n₁, n₂).
fn inputs_gram(sites: &Sites, index: usize, x1: &Tensor, x2: &Tensor, dtype: DType) -> Result<Array2<f64>> {
    if let Reads::Tokens = sites.reads {
        return tensor::array(&equal(x1, x2, dtype)?);
    }
    gram(&patches(sites, index, x1)?.squeeze(1)?, &patches(sites, index, x2)?.squeeze(1)?)
}

/// All channels of the patches of one block. x: (n, in) → (n, positions, features).
fn patches(sites: &Sites, index: usize, x: &Tensor) -> Result<Tensor> {
    sites.patches(x, index, 0..sites.block_channels().0, x.dtype())
}

/// The products of unit vectors: 1 where tokens are equal. x: (n, positions) → (n₁ · positions, n₂ · positions).
fn equal(x1: &Tensor, x2: &Tensor, dtype: DType) -> Result<Tensor> {
    let (rows, columns) = (x1.flatten_all()?.unsqueeze(1)?, x2.flatten_all()?.unsqueeze(0)?);
    rows.broadcast_eq(&columns)?.to_dtype(dtype)
}

/// Pairs of positions that share a block of weights.
struct Pairs<'a> {
    sites: &'a Sites,
    index: usize,
    /// What the products are multiplied by.
    weight: f64,
    /// (n, in).
    x1: &'a Tensor,
    x2: &'a Tensor,
    /// (n, o, positions, out).
    d1: Tensor,
    d2: Tensor,
    part: Part,
}

impl Pairs<'_> {
    /// Σ_pq ⟨X_p, X′_q⟩ ⟨D_p, D′_q⟩, one sample of the first set at a time.
    fn add_to(&self, total: &mut Array2<f64>) -> Result<()> {
        let (n2, part) = (self.x2.dim(0)?, self.part);
        let (_, o, positions, _) = self.d1.dims4()?;
        let rows = |t: &Tensor| t.contiguous()?.flatten_to(t.rank() - 2);
        let tokens = matches!(self.sites.reads, Reads::Tokens);
        let x2 = if tokens { self.x2.clone() } else { rows(&patches(self.sites, self.index, self.x2)?)? };
        // Outputs beside channels, where their products are summed.
        let beside = |d: &Tensor| match part {
            Part::Trace => d.transpose(1, 2)?.flatten_from(2)?.unsqueeze(1),
            _ => Ok(d.clone()),
        };
        let d2 = beside(&self.d2)?;
        let outputs = if part == Part::Trace { 1 } else { o };
        let across = if part == Part::Blocks { self.d2.dim(1)? } else { 1 };
        let all = if part == Part::Diagonals { None } else { Some(rows(&d2)?) };
        let n1 = self.x1.dim(0)?;
        for i in 0..n1 {
            let x1 = self.x1.narrow(0, i, 1)?;
            let g = match tokens {
                true => equal(&x1, &x2, self.d1.dtype())?,
                false => patches(self.sites, self.index, &x1)?.squeeze(0)?.matmul(&x2.t()?)?,
            };
            let g = g.reshape((positions, n2, 1, positions))?;
            let d1 = beside(&self.d1.narrow(0, i, 1)?)?.squeeze(0)?;
            for a in 0..outputs {
                let d2 = match &all {
                    Some(d2) => d2.clone(),
                    None => rows(&d2.narrow(1, a, 1)?)?,
                };
                let h = d1.get(a)?.contiguous()?.matmul(&d2.t()?)?;
                let h = h.reshape((positions, n2, across, positions))?;
                let row = tensor::array(&h.broadcast_mul(&g)?.sum((0, 3))?.flatten_all()?.unsqueeze(0)?)?;
                let at = if part == Part::Diagonals { a * n1 + i } else { i * outputs + a };
                total.row_mut(at).scaled_add(self.weight, &row.row(0));
            }
        }
        Ok(())
    }
}

/// total += a ∘ products, where an entry of a stands for a block. a: (n₁, n₂); products: as total, or those of one
/// sample if they are common to all.
fn add_product(a: &Array2<f64>, products: &Array2<f64>, common: bool, part: Part, total: &mut Array2<f64>) {
    let (rows, across) = (total.nrows() / a.nrows(), total.ncols() / a.ncols());
    for (at, mut total) in total.rows_mut().into_iter().enumerate() {
        let (sample, output) = match part {
            Part::Diagonals => (at % a.nrows(), at / a.nrows()),
            _ => (at / rows, at % rows),
        };
        let products = products.row(if common { output } else { at });
        if let (Some(total), Some(products)) = (total.as_slice_mut(), products.to_slice()) {
            for (j, (total, a)) in total.chunks_exact_mut(across).zip(a.row(sample)).enumerate() {
                let start = if common { 0 } else { j * across };
                let products = &products[start..start + across];
                total.iter_mut().zip(products).for_each(|(t, p)| *t += a * p);
            }
        }
    }
}

/// ∂f/∂(W, b) of each sample and output, each times the root of its rate. x: (n, in), d: (n, o, positions · out) →
/// (n, o, parameters that learn).
fn form_derivative(affine: &Affine, x: &Tensor, d: &Tensor) -> Result<Tensor> {
    let (sites, (n, o, _)) = (&affine.sites, d.dims3()?);
    let (weight, bias) = affine.tangent_scales();
    let mut parts = Vec::new();
    if weight > 0.0 && matches!(sites.reads, Reads::Tokens) {
        // (n, vocabulary, o · out), of which one row for each token is not 0.
        let d = d.reshape((n, o, sites.positions, sites.outputs))?.transpose(1, 2)?.contiguous()?;
        let d = d.reshape((n, sites.positions, o * sites.outputs))?;
        let rows = (0..n).map(|i| {
            let zero = Tensor::zeros((sites.inputs, o * sites.outputs), d.dtype(), d.device())?;
            zero.index_add(&x.get(i)?.contiguous()?, &d.get(i)?, 0)
        });
        let formed = Tensor::stack(&rows.collect::<Result<Vec<_>>>()?, 0)?;
        let formed = formed.reshape((n, sites.inputs, o, sites.outputs))?.transpose(1, 2)?;
        parts.push((formed.contiguous()?.reshape((n, o, ()))? * weight.sqrt())?);
    } else if weight > 0.0 {
        for index in 0..sites.blocks() {
            let (patches, d) = (patches(sites, index, x)?, sites.cotangents(d, index)?);
            parts.push(sum_of_products(weight.sqrt(), &patches, &d)?);
        }
    }
    if let Some(b) = affine.bias.as_ref().filter(|_| bias > 0.0) {
        parts.push((d.reshape((n, o, (), b.elem_count()))?.sum(2)? * bias.sqrt())?);
    }
    if parts.len() == 1 { Ok(parts.swap_remove(0)) } else { Tensor::cat(&parts, 2) }
}

/// s Σ_p D_p ⊗ X_p. x: (n, positions, f), d: (n, o, positions, w) → (n, o, w · f).
fn sum_of_products(s: f64, x: &Tensor, d: &Tensor) -> Result<Tensor> {
    let (n, o, positions, w) = d.dims4()?;
    match (x.device().is_cpu(), x.dtype()) {
        (true, DType::F32) => sum_of_slices(s as f32, x, d),
        (true, _) => sum_of_slices(s, x, d),
        _ => {
            let d = d.transpose(2, 3)?.contiguous()?.reshape((n, o * w, positions))?;
            d.matmul(x)?.reshape((n, o, ()))? * s
        }
    }
}

// A product of matrices for each sample, on a thread of its own: batches of candle's products go one after another.
fn sum_of_slices<T: WithDType + Scalar>(s: T, x: &Tensor, d: &Tensor) -> Result<Tensor> {
    let ((n, positions, f), (_, o, _, w)) = (x.dims3()?, d.dims4()?);
    // Few samples are cut into single outputs, so that all threads have work.
    let outputs = if n < rayon::current_num_threads() { 1 } else { o };
    let mut y = vec![T::zero(); n * o * w * f];
    with_slice::<T, _>(x, |x| {
        with_slice::<T, _>(d, |d| {
            let one = |rows: &mut Vec<T>, (at, y): (usize, &mut [T])| {
                let x = &x[at * outputs / o * positions * f..][..positions * f];
                let d = &d[at * outputs * positions * w..][..outputs * positions * w];
                rows.clear();
                for p in 0..positions {
                    (0..outputs).for_each(|c| rows.extend_from_slice(&d[(c * positions + p) * w..][..w]));
                }
                let wrap = candle_core::Error::wrap;
                let rows = ArrayView2::from_shape((positions, outputs * w), rows).map_err(wrap)?;
                let x = ArrayView2::from_shape((positions, f), x).map_err(wrap)?;
                let y = ArrayViewMut2::from_shape((outputs * w, f), y).map_err(wrap)?;
                ntk_linalg::gemm(s, rows.t(), x, T::zero(), y, Threads::One).map_err(candle_core::Error::wrap)
            };
            y.par_chunks_mut(outputs * w * f).enumerate().try_for_each_init(Vec::new, one)
        })
    })???;
    Tensor::from_vec(y, (n, o, w * f), x.device())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // Tests may.
mod tests {
    use super::*;
    use crate::gather::Taps;
    use crate::sites::Sharing;
    use crate::tensor::from_vec;
    use candle_core::{Device, Var};
    use ntk_core::{Affine as Description, Grid, Rate, Variance, Window};

    fn numbers(shape: &[usize]) -> Tensor {
        let count: usize = shape.iter().product();
        from_vec((0..count).map(|i| (1.7 * i as f64).sin()).collect(), shape, DType::F64, &Device::Cpu)
            .unwrap()
    }

    fn conv(sharing: Sharing) -> Affine {
        let axes = Window::same(&[3]).axes("conv", &Grid::new(&[4]).unwrap(), false).unwrap();
        let reads = Reads::Window(std::sync::Arc::new(Taps::new(&axes)));
        let description = Description {
            weight_rate: Rate::new(0.3).unwrap(),
            bias_rate: Rate::new(2.0).unwrap(),
            ..Description::new(Variance::TWO, Variance::ONE)
        };
        let sites = Sites { reads, sharing, positions: 4, inputs: 6, outputs: 2 };
        let bias = if sharing == Sharing::Positions { numbers(&[4, 2]) } else { numbers(&[2]) };
        Affine {
            description,
            path: String::new(),
            sites,
            weight: Var::from_tensor(&numbers(&[1])).unwrap(),
            bias: Some(Var::from_tensor(&bias).unwrap()),
        }
    }

    #[test]
    fn both_ways_give_the_same_products_in_any_chunks() {
        for sharing in [Sharing::All, Sharing::Groups(2), Sharing::Positions] {
            let affine = conv(sharing);
            let (x, d) = (numbers(&[5, 24]), numbers(&[5, 3, 8]));
            for (part, shape) in [(Part::Trace, (2, 3)), (Part::Blocks, (6, 9)), (Part::Diagonals, (6, 3))] {
                let share = |form: bool, chunks: &[(usize, usize)]| {
                    let features = |start: usize, len: usize| {
                        let (x, d) = (x.narrow(0, start, len).unwrap(), d.narrow(0, start, len).unwrap());
                        Features::new(&affine, form, &x, &d.contiguous().unwrap()).unwrap()
                    };
                    let mut kept = Kept::new(&features(chunks[0].0, chunks[0].1), 2).unwrap();
                    chunks[1..].iter().for_each(|&(start, len)| kept.push(&features(start, len)).unwrap());
                    let mut total = Array2::zeros(shape);
                    let left = kept.features().unwrap();
                    add_share(&affine, [&left, &features(2, 3)], part, &mut total).unwrap();
                    total
                };
                let apart = share(false, &[(0, 2)]);
                assert!(apart.iter().any(|v| v.abs() > 0.1));
                for (form, chunks) in
                    [(true, &[(0, 2)][..]), (true, &[(0, 1), (1, 1)]), (false, &[(0, 1), (1, 1)])]
                {
                    let other = share(form, chunks);
                    assert!((&other - &apart).iter().all(|error: &f64| error.abs() < 1e-12));
                }
            }
        }
    }

    #[test]
    fn cotangents_common_to_all_samples_count_once_for_each() {
        let mut affine = conv(Sharing::All);
        affine.sites =
            Sites { reads: Reads::Here, sharing: Sharing::All, positions: 1, inputs: 6, outputs: 2 };
        let (x, d) = (numbers(&[4, 6]), numbers(&[1, 3, 2]));
        for (part, shape) in [(Part::Trace, (4, 4)), (Part::Blocks, (12, 12)), (Part::Diagonals, (12, 4))] {
            let share = |form: bool, d: &Tensor| {
                let features = Features::new(&affine, form, &x, d).unwrap();
                let mut total = Array2::zeros(shape);
                add_share(&affine, [&features, &features], part, &mut total).unwrap();
                total
            };
            let all = share(false, &expand(&d, 4).unwrap());
            for other in [share(false, &d), share(true, &d)] {
                assert!((&other - &all).iter().all(|error: &f64| error.abs() < 1e-12));
            }
        }
    }
}
