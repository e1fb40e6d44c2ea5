//! Randomly projected gradients: k numbers a sample in place of P, made without the Jacobian or the projection in memory.

use std::ops::Range;

use candle_core::Tensor;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, s};
use ntk_core::Batch;
use rayon::prelude::*;

use crate::autograd::{Autograd, Model};
use crate::draw::Stream;
use crate::finite::finite;
use crate::node::Sweep;
use crate::products::check_targets;
use crate::{Error, FiniteNet, tensor};

/// Numbers of the projection that exist at a time.
const BLOCK: usize = 1 << 20;

/// Numbers of gradients that exist at a time, and samples that share one pass over the projection, at most.
const GRADIENTS: usize = 1 << 25;
const SAMPLES: usize = 64;

/// A random projection P → k of gradients with entries ±1/√k, by names of parameters and a seed.
///
/// The projected gradients of ⟨u, f(x)⟩ are features φ(x) with E⟨φ(x), φ(x′)⟩ = uᵀ Θ(x, x′) u′ and a standard deviation
/// of at most √(2/k) √(Θ Θ′). The sign of a parameter's entry depends on the seed, its name, its place and the column
/// alone: the same for all samples, batches, widths of k, and ways to differentiate.
///
/// ```
/// use ndarray::{Array2, array};
/// use ntk_core::{Activation, Net, Shape, Variance};
/// use ntk_empirical::{FiniteNet, Lowering, Projection, Trak};
///
/// let net = Net::mlp(1, Activation::Tanh, 1, Variance::ONE, Variance::ONE);
/// let finite = FiniteNet::lower(&net, &Lowering { width: 64, ..Lowering::for_inputs(Shape::vector(2)) })?;
/// let (x, new) = (array![[1.0, 0.5], [-0.3, 0.8], [0.2, 0.0]], array![[0.9, 0.5]]);
/// let projection = Projection { dimension: 32, seed: 7 };
/// let features = finite.projected_gradients((&x).into(), Array2::ones((3, 1)).view(), &projection)?;
/// let query = finite.projected_gradients((&new).into(), Array2::ones((1, 1)).view(), &projection)?;
/// assert_eq!(Trak::new(features, 1e-3)?.scores(query.view())?.dim(), (1, 3));
/// # Ok::<(), ntk_empirical::Error>(())
/// ```
///
/// Source: \[park2023trak\].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Projection {
    /// k, the number of features.
    pub dimension: usize,
    /// Seed of the signs.
    pub seed: u64,
}

impl Projection {
    fn check(&self) -> Result<(), Error> {
        if self.dimension > 0 {
            return Ok(());
        }
        Err(Error::Setting { option: "dimension", value: 0.0, domain: "a number of at least 1" })
    }

    /// The projection of one variable of p numbers, R/√k, written out: (p, k).
    pub fn matrix(&self, name: &str, p: usize) -> Array2<f64> {
        let k = self.dimension;
        let mut matrix = Array2::zeros((p, k));
        if let Some(entries) = matrix.as_slice_mut().filter(|_| k > 0) {
            self.fill(name, 0, 1.0 / (k as f64).sqrt(), entries);
        }
        matrix
    }

    /// Entries ±`size` of consecutive rows from `start` on.
    fn fill(&self, name: &str, start: usize, size: f64, rows: &mut [f64]) {
        let (stream, size) = (Stream::new(self.seed, name), size.to_bits());
        rows.par_chunks_mut(self.dimension).enumerate().for_each(|(row, entries)| {
            let place = (start + row) as u64;
            for (group, entries) in entries.chunks_mut(128).enumerate() {
                let words = stream.words([place as u32, (place >> 32) as u32, group as u32, 0]);
                for (entries, word) in entries.chunks_mut(32).zip(words) {
                    for (bit, entry) in entries.iter_mut().enumerate() {
                        // The sign of a number is its highest bit.
                        *entry = f64::from_bits(size ^ (u64::from(word >> bit) << 63));
                    }
                }
            }
        });
    }

    /// features += s g R/√k, a block of the p rows of R at a time; `g` gives its columns. g: (t, p), features: (t, k).
    fn add(
        &self,
        name: &str,
        s: f64,
        p: usize,
        g: impl Fn(Range<usize>) -> candle_core::Result<Tensor>,
        mut features: ArrayViewMut2<'_, f64>,
    ) -> Result<(), Error> {
        let k = self.dimension;
        let height = (BLOCK / k).clamp(1, p.max(1));
        let mut block = vec![0.0; height * k];
        for start in (0..p).step_by(height) {
            let end = p.min(start + height);
            let rows = &mut block[..(end - start) * k];
            self.fill(name, start, s / (k as f64).sqrt(), rows);
            let rows = ArrayView2::from_shape((end - start, k), rows).map_err(candle_core::Error::wrap)?;
            features += &ntk_linalg::product(tensor::array(&g(start..end)?)?.view(), rows)?;
        }
        Ok(())
    }
}

/// Samples at a time, each with so many numbers of gradients.
fn tile(numbers: usize) -> usize {
    (GRADIENTS / numbers.max(1)).clamp(1, SAMPLES)
}

impl FiniteNet {
    /// φ(x_i) = Rᵀ ∇⟨u_i, f(x_i)⟩/√k. x: (n, d), u: (n, outputs) → (n, k).
    ///
    /// Parameters enter with the roots of their learning-rate multipliers, so that products of features estimate
    /// u_iᵀ Θ(x_i, x_j) u_j; frozen ones do not, and dropout is off. For a single output, u is one column of ones; for a loss or a margin, its
    /// gradient in the outputs.
    ///
    /// One backward sweep for every tile of t samples (at most 64), then the gradients of one layer at a time: memory is
    /// that of the sweep and t p_l numbers for the layer's p_l parameters (at most 2²⁵ unless one sample has more), and
    /// 2²⁰ entries of R. Takes n P k multiplications and P k/128 random numbers a tile.
    ///
    /// # Errors
    /// Those of [`FiniteNet::outputs`] for x; [`Error::Targets`], [`Error::Target`] for u; [`Error::Setting`] without
    /// features.
    pub fn projected_gradients(
        &self,
        x: Batch<'_>,
        u: ArrayView2<'_, f64>,
        projection: &Projection,
    ) -> Result<Array2<f64>, Error> {
        projection.check()?;
        x.check()?;
        check_targets(u, (x.len(), self.output_width()))?;
        let largest = self.affines.iter().map(|affine| affine.weight.elem_count()).max().unwrap_or(0);
        let mut features = Array2::zeros((x.len(), projection.dimension));
        for start in (0..x.len()).step_by(tile(largest)) {
            let samples = start..x.len().min(start + tile(largest));
            let input = self.input(x.range(samples.start, samples.end))?;
            let u = tensor::matrix(
                u.slice(s![samples.clone(), ..]),
                self.lowering().dtype,
                &self.lowering().device,
            )?;
            let mut features = features.slice_mut(s![samples.clone(), ..]);
            let sweep = Sweep { pass: None, ..self.sweep(&input) };
            let (_, tape) = self.root.record(sweep, &input.signal)?;
            self.root.pullback(sweep, &tape, &u.unsqueeze(1)?, false, &mut |index, x, d| {
                let affine = &self.affines[index];
                let (mut weights, mut biases) = (Vec::new(), Vec::new());
                for i in 0..samples.len() {
                    let own = affine.gradient(&x.narrow(0, i, 1)?, &d.narrow(0, i, 1)?)?;
                    weights.push(own.weight.flatten_all()?);
                    biases.extend(own.bias.map(|bias| bias.flatten_all()).transpose()?);
                }
                let parts = [
                    (affine.weight_name(), affine.weight_rate(), weights),
                    (affine.bias_name(), affine.bias_rate(), biases),
                ];
                for (name, rate, all) in parts.iter().filter(|(_, rate, all)| *rate > 0.0 && !all.is_empty())
                {
                    let columns = |range: Range<usize>| {
                        let some = |g: &Tensor| g.narrow(0, range.start, range.len());
                        Tensor::stack(&all.iter().map(some).collect::<candle_core::Result<Vec<_>>>()?, 0)
                    };
                    projection.add(name, rate.sqrt(), all[0].elem_count(), columns, features.view_mut())?;
                }
                Ok(())
            })?;
        }
        finite(features, "a projected gradient")
    }
}

impl<M: Model> Autograd<M> {
    /// φ(x_i) = Rᵀ ∇⟨u_i, f(x_i)⟩/√k. x: (n, d), u: (n, outputs) → (n, k).
    ///
    /// Parameters enter with the roots of their rates, so that products of features estimate u_iᵀ Θ(x_i, x_j) u_j. One
    /// backward pass a sample; the gradients of a tile of t ≤ 64 samples exist at a time, t P numbers within the bound on
    /// memory, and 2²⁰ entries of R. Takes n P k multiplications and P k/128 random numbers a tile.
    ///
    /// # Errors
    /// As [`Autograd::ntk_blocks`]; [`Error::Targets`], [`Error::Target`] for u; [`Error::Setting`] without features.
    pub fn projected_gradients(
        &self,
        x: Batch<'_>,
        u: ArrayView2<'_, f64>,
        projection: &Projection,
    ) -> Result<Array2<f64>, Error> {
        projection.check()?;
        let outputs = self.probe(x, x)?;
        check_targets(u, (x.len(), outputs))?;
        let tile = self.capacity(1, 1)?.min(SAMPLES);
        let mut after = self.progress(x.len());
        let mut features = Array2::zeros((x.len(), projection.dimension));
        for start in (0..x.len()).step_by(tile) {
            let samples = start..x.len().min(start + tile);
            let u = u.slice(s![samples.clone(), ..]);
            let gradients = self.weighted_gradients(x.range(samples.start, samples.end), u, &mut after)?;
            for (name, rate, g) in gradients {
                let columns = |range: Range<usize>| g.narrow(1, range.start, range.len());
                let features = features.slice_mut(s![samples.clone(), ..]);
                projection.add(name, rate.sqrt(), g.dim(1)?, columns, features)?;
            }
        }
        finite(features, "a projected gradient")
    }
}
