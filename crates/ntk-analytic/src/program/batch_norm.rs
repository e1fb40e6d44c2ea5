//! Batch normalization followed by ReLU, without sampling: kernels of a batch of any size by integrals over one or two
//! dimensions, where programs would integrate over as many as the batch has samples.
//!
//! With the mean subtracted, y = Gh for G = 1 − 11ᵀ/B, the layer is x = relu(√B y/√(‖y‖² + Bε)); since ReLU is
//! homogeneous, the norm leaves the expectation as an integral over Gaussian weights e^{−s‖y‖²}. Sources:
//! \[yang2019wide\] and \[yang2020tensor\] on batch normalization; the tangent kernel of all pairs in one pass is by the
//! adjoint of their backward operator.

mod cross;
mod eigen;
mod pairs;
mod same;

use std::f64::consts::PI;
use std::ops::Range;

use ndarray::{Array2, Axis, s};
use ntk_core::program::networks::{Rates, Weights};
#[cfg(feature = "rayon")]
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::error::Error;
use cross::Cross;
use same::Batch;

/// x = relu((h − mean)/√(variance + ε)), mean and variance being those of each coordinate in each batch.
///
/// All matrices have a row for each sample, batch after batch; samples of one batch are normalized together. Values are
/// exact to about 10⁻¹¹ of the largest.
///
/// ```
/// use ndarray::array;
/// use ntk_analytic::program::BatchNormRelu;
///
/// // Of two samples, one is at +1 and one at −1 in every coordinate.
/// let layer = BatchNormRelu::new(0.0, &[2])?;
/// let v = layer.covariance(&array![[1.0, 0.3], [0.3, 2.0]])?;
/// assert!((v - array![[0.5, 0.0], [0.0, 0.5]]).iter().all(|x: &f64| x.abs() < 1e-12));
/// # Ok::<(), ntk_analytic::program::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNormRelu {
    epsilon: f64,
    /// The first sample of each batch, and the number of samples.
    ends: Vec<usize>,
}

impl BatchNormRelu {
    /// Batches of these sizes, with ε ≥ 0 added to their variances.
    ///
    /// # Errors
    /// [`Error::Batch`] for a batch of less than two samples; [`Error::Shape`] for no batch, or ε < 0 or not finite.
    pub fn new(epsilon: f64, batches: &[usize]) -> Result<Self, Error> {
        if !(epsilon >= 0.0 && epsilon.is_finite()) || batches.is_empty() {
            let reason = format!("{} batches with ε = {epsilon}: give one batch and ε ≥ 0", batches.len());
            return Err(Error::Shape { reason });
        }
        if let Some(&found) = batches.iter().find(|&&n| n < 2) {
            return Err(Error::Batch { what: "batch normalization", least: 2, found });
        }
        let mut ends = vec![0];
        ends.extend(batches.iter().scan(0, |end, n| {
            *end += n;
            Some(*end)
        }));
        Ok(BatchNormRelu { epsilon, ends })
    }

    /// E x xᵀ for h ~ N(0, Σ).
    ///
    /// Of one batch, B ∫ δ V_relu(K) ds with K = Σ(1 + 2sΣ)⁻¹ and δ = det(1 + 2sΣ)^{−1/2} e^{−sBε}, Σ ← GΣG. Its trace is
    /// B/2 at ε = 0.
    ///
    /// # Errors
    /// [`Error::Shape`] unless Σ is symmetric, positive semidefinite and of the size of the batches, and for samples that
    /// are all the same while ε = 0.
    pub fn covariance(&self, sigma: &Array2<f64>) -> Result<Array2<f64>, Error> {
        let v = self.blocks(sigma, None, |batch, _| batch.covariance(), |cross, _| cross.covariance())?;
        Ok(self.identify(v, &[sigma]))
    }

    /// E (∂x/∂h) Θ (∂x/∂h)ᵀ for h ~ N(0, Σ): the tangent kernel of x from that of h.
    ///
    /// # Errors
    /// As [`BatchNormRelu::covariance`], also for Θ; [`Error::Batch`] for less than four samples while ε = 0, where it is
    /// infinite; [`Error::Shape`] where samples differ in less than three directions then, or one is the mean of its batch.
    pub fn tangent(&self, sigma: &Array2<f64>, theta: &Array2<f64>) -> Result<Array2<f64>, Error> {
        self.check("tangent kernel", theta)?;
        let out = self.blocks(sigma, Some(theta), Batch::tangent, |cross, m| cross.tangent(m))?;
        Ok(self.identify(out, &[sigma, theta]))
    }

    /// E (∂x/∂h)ᵀ Δ (∂x/∂h) for h ~ N(0, Σ), of each two batches: covariances of gradients in h from those of gradients in
    /// x. The adjoint of [`BatchNormRelu::tangent`].
    ///
    /// # Errors
    /// As [`BatchNormRelu::tangent`].
    pub fn backward(&self, sigma: &Array2<f64>, delta: &Array2<f64>) -> Result<Array2<f64>, Error> {
        self.check("covariance of gradients", delta)?;
        self.blocks(sigma, Some(delta), Batch::backward, |cross, m| cross.backward(m))
    }

    /// NNGP and NTK of `depth` of these layers, each behind a matrix, with a readout, in one pass for all pairs of samples:
    /// Σ_h = σ² Σ_x and Θ_h = λ Σ_x + σ² Θ_x from layer to layer, with σ_u² and the Gram matrix before the first layer, σ_v²
    /// after the last one, and λ by [`Rates`].
    ///
    /// `gram` holds ξᵀξ̄/d. Biases before a normalization do nothing, here as in the network.
    ///
    /// # Errors
    /// As [`BatchNormRelu::tangent`]; [`Error::Shape`] for variances that are negative or not finite.
    pub fn kernels(
        &self,
        gram: &Array2<f64>,
        depth: usize,
        weights: &Weights,
    ) -> Result<[Array2<f64>; 2], Error> {
        let variances = [weights.input, weights.weight, weights.readout];
        if let Some(value) = variances.iter().find(|v| !(**v >= 0.0 && v.is_finite())) {
            return Err(Error::Shape {
                reason: format!("a variance is a finite number of at least 0, not {value}"),
            });
        }
        let rate = |variance: f64| match weights.rates {
            Rates::Unit => 1.0,
            Rates::Variance => variance,
        };
        self.check("Gram matrix", gram)?;
        let (mut x, mut tangent) = (gram.clone(), Array2::zeros(gram.dim()));
        for layer in 0..=depth {
            let variance = match layer {
                _ if layer == depth => weights.readout,
                0 => weights.input,
                _ => weights.weight,
            };
            tangent = &x * rate(variance) + tangent * variance;
            x *= variance;
            if layer < depth {
                tangent = self.tangent(&x, &tangent)?;
                x = self.covariance(&x)?;
            }
        }
        Ok([x, tangent])
    }

    fn check(&self, what: &str, matrix: &Array2<f64>) -> Result<(), Error> {
        let n = self.ends[self.ends.len() - 1];
        if matrix.dim() != (n, n) {
            let reason = format!("a {what} of {n} samples is {n} × {n}, not {:?}", matrix.dim());
            return Err(Error::Shape { reason });
        }
        if let Some(x) = matrix.iter().find(|x| !x.is_finite()) {
            return Err(Error::Shape { reason: format!("a {what} has finite entries, not {x}") });
        }
        let largest = matrix.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
        let difference = (matrix - &matrix.t()).iter().fold(0.0, |a: f64, b| a.max(b.abs()));
        if difference > 1e-9 * largest {
            let reason =
                format!("a {what} is symmetric, and this one differs from its transpose by {difference:e}");
            return Err(Error::Shape { reason });
        }
        Ok(())
    }

    /// A matrix of all samples from its blocks of one batch and of two; `given` is a matrix that gradients act on.
    fn blocks(
        &self,
        sigma: &Array2<f64>,
        given: Option<&Array2<f64>>,
        same: impl Fn(&Batch, &Array2<f64>) -> Array2<f64>,
        cross: impl Fn(&Cross<'_>, &Array2<f64>) -> Array2<f64>,
    ) -> Result<Array2<f64>, Error> {
        self.check("covariance", sigma)?;
        let ranges: Vec<Range<usize>> = self.ends.windows(2).map(|ends| ends[0]..ends[1]).collect();
        let batches = ranges
            .iter()
            .map(|range| {
                let batch = Batch::new(block(sigma, [range, range]).view(), self.epsilon)?;
                if given.is_some() {
                    batch.check_gradient()?;
                }
                Ok(batch)
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let mut out = Array2::zeros(sigma.dim());
        for (a, first) in ranges.iter().enumerate() {
            for (b, second) in ranges.iter().enumerate().skip(a) {
                let at = [first, second];
                let part = given.map_or_else(|| Array2::zeros((0, 0)), |m| block(m, at));
                let found = if a == b {
                    let found = same(&batches[a], &part);
                    // Both triangles were computed, and agree to rounding.
                    (&found + &found.t()) * 0.5
                } else {
                    cross(&Cross::new(&batches[a], &batches[b], &block(sigma, at))?, &part)
                };
                out.slice_mut(s![second.clone(), first.clone()]).assign(&found.t());
                out.slice_mut(s![first.clone(), second.clone()]).assign(&found);
            }
        }
        Ok(out)
    }

    /// Gives samples of a batch that are the same to the last digit results that are.
    ///
    /// The slope of ReLU depends on √(1 − ρ), which rounding of ρ would move by 10⁻⁸ in the next layer.
    fn identify(&self, result: Array2<f64>, given: &[&Array2<f64>]) -> Array2<f64> {
        let batches = self.ends.windows(2).flat_map(|ends| (ends[0]..ends[1]).map(move |i| (ends[0], i)));
        let first: Vec<usize> = batches
            .map(|(start, i)| {
                let equal = |j: &usize| given.iter().all(|matrix| matrix.row(i) == matrix.row(*j));
                (start..i).find(equal).unwrap_or(i)
            })
            .collect();
        Array2::from_shape_fn(result.dim(), |(i, j)| result[[first[i], first[j]]])
    }
}

fn block(matrix: &Array2<f64>, [rows, columns]: [&Range<usize>; 2]) -> Array2<f64> {
    matrix.slice(s![rows.clone(), columns.clone()]).to_owned()
}

/// G M G, with the G of each side.
fn centered(matrix: &Array2<f64>) -> Array2<f64> {
    let (rows, columns) = (matrix.nrows() as f64, matrix.ncols() as f64);
    let across = matrix.sum_axis(Axis(1)) / columns;
    let down = matrix.sum_axis(Axis(0)) / rows;
    let mean = down.sum() / columns;
    Array2::from_shape_fn(matrix.dim(), |(i, j)| matrix[[i, j]] - (across[i] - mean) - down[j])
}

/// Σ f over the nodes of an integral, in an order that does not depend on the number of cores.
fn total<T: Sync>(nodes: &[T], dim: (usize, usize), f: impl Fn(&T) -> Array2<f64> + Sync) -> Array2<f64> {
    let part = |nodes: &[T]| nodes.iter().fold(Array2::<f64>::zeros(dim), |sum, node| sum + f(node));
    #[cfg(feature = "rayon")]
    let parts: Vec<Array2<f64>> = nodes.chunks(CHUNK).collect::<Vec<_>>().into_par_iter().map(part).collect();
    #[cfg(not(feature = "rayon"))]
    let parts = nodes.chunks(CHUNK).map(part);
    parts.into_iter().fold(Array2::zeros(dim), |sum, part| sum + part)
}

/// The step of the trapezoid rule in log s that leaves an error of e⁻³⁷.
///
/// At log s = r + iθ the determinant of the rank R is δ ≤ |sin θ|^{−R/2}, so that the error is the least e^{−2πθ/h} δ for
/// θ < π; and e^{−sε} grows beyond θ = π/2.
fn step(rank: usize, epsilon: f64) -> f64 {
    let (rank, mut h) = (rank as f64, 0.5f64);
    loop {
        let beyond = if epsilon > 0.0 { 0.0 } else { (4.0 * PI / (h * rank)).atan() };
        if 2.0 * PI * (0.5 * PI + beyond) / h + 0.5 * rank * beyond.cos().ln() >= 37.0 {
            return h;
        }
        h *= 0.95;
    }
}

/// Nodes that one core takes at a time.
const CHUNK: usize = 4;

#[cfg(test)]
mod tests;
