//! Self-attention of infinite width: from the covariances of all pairs of positions of two samples to those of what
//! the layer makes of them.
//!
//! K is the kernel and Θ the NTK of what comes in. Queries and keys read K̃ = w K + w′R, with R the covariance of
//! positional embeddings, which learn too, and Θ̃ = w Θ + λw′R; values read K* and Θ*, which are K̃ and Θ̃ if they carry embeddings, and K and Θ
//! otherwise. With logits ⟨q, k⟩/d the weights are constants G = ζ(σ_Qσ_K K̃), one matrix a sample:
//!
//! K′ = κ + σ_b², κ = (σ_Oσ_V)² G₁K*G₂ᵀ, Θ′ = λ(2κ + σ_b²) + (σ_Oσ_V)² G₁Θ*G₂ᵀ
//!
//! ([yang2019wide], appendix on attention; λ is the rate). With ⟨q, k⟩/√d and many heads the logits of row a are
//! Gaussian, E u_c v_d = (σ_Qσ_K)² K̃_ab K̃_cd between rows a of one sample and b of another ([hron2020infinite]), and
//!
//! κ_ab = (σ_Oσ_V)² Σ E[ζ_c(u) ζ_d(v)] K*_cd,
//! Θ′_ab = λ(2κ_ab + σ_b²) + (σ_Oσ_V)² Σ E[ζ_c(u) ζ_d(v)] Θ*_cd + (σ_Oσ_Vσ_Qσ_K)² Σ E[∂_e ζ_c(u) ∂_f ζ_d(v)] K*_cd M_ef,
//! M_ef = 2λ K̃_ab K̃_ef + Θ̃_ab K̃_ef + K̃_ab Θ̃_ef:
//!
//! the identity, |x| and max(x, 0) in closed form, softmax as an integral with an error estimate.

use ndarray::{Array2, Axis};
use ntk_core::{Activation, Attention, Grid, LogitScaling, Weighting};

use self::rectified::Homogeneous;
use self::softmax::{Cross, Side};
use crate::Error;
use crate::nodes::Nodes;

mod rectified;
mod softmax;

/// An attention layer, ready for pairs of samples on one grid.
pub(crate) struct Limit {
    /// Where in the network.
    at: String,
    attention: Attention,
    /// Positions that each position reads, before lengths.
    reads: Vec<Vec<usize>>,
    /// w of K̃ = w K + w′R.
    share: f64,
    /// w′R, if there are embeddings.
    embedding: Option<Array2<f64>>,
    tolerance: f64,
    nodes: Nodes,
}

/// What the layer needs of one sample.
pub(crate) struct Sample {
    length: usize,
    /// K̃ of the sample.
    logits: Array2<f64>,
    /// K* of the sample.
    values: Array2<f64>,
    weights: Weights,
}

/// How far the weights of one sample are known before the other comes.
enum Weights {
    /// G: the weights do not vary.
    Constant(Array2<f64>),
    /// They do.
    Random,
    /// Softmax of random logits: E sᵀK*s of each row, and the largest error relative to them.
    Softmax { rows: Vec<f64>, error: f64 },
}

/// What two samples share.
struct Shared {
    /// K̃₁₂.
    logits: Array2<f64>,
    /// K*₁₂.
    values: Array2<f64>,
    /// Θ*₁₂ and Θ̃₁₂.
    tangent: Option<[Array2<f64>; 2]>,
}

/// One entry of what the layer makes of a pair, before (σ_Oσ_V)² and without the weights of values, outputs and bias.
struct Entry {
    kernel: f64,
    ntk: f64,
    error: f64,
}

/// What the layer makes of a pair of samples.
pub(crate) struct Output {
    /// K′, of shape (P₁, P₂); 0 beyond the lengths.
    pub kernel: Array2<f64>,
    /// Θ′, of the same shape, if Θ was given.
    pub ntk: Option<Array2<f64>>,
    /// Three standard errors of the integral, relative to √(K₁₁K₂₂) of the entry for the kernel and to the larger of
    /// Θ and 2λ√(K₁₁K₂₂) for the NTK, the largest of all entries; 0 in closed form.
    pub error: f64,
}

impl Limit {
    /// Of a layer over a grid. `shares` are the weights of K and of the embeddings' covariance in K̃: (1, 1) if they are
    /// added, shares of the channels if they are concatenated. Integrals stop at `tolerance`, or at the bound on their
    /// nodes; which of them it was is seen from [`Output::error`].
    ///
    /// One pair of samples with P positions each costs O(P³) operations with constant weights and for the identity,
    /// O(P⁴) for |x| and max(x, 0), and O(N P⁴) for softmax of random logits, with N up to 2¹⁸ nodes, and at most
    /// 2²¹/P.
    pub(crate) fn new(
        at: &str,
        attention: &Attention,
        grid: &Grid,
        shares: [f64; 2],
        tolerance: f64,
    ) -> Self {
        let positions = grid.positions();
        let reads: Vec<Vec<usize>> = (0..positions)
            .map(|a| (0..positions).filter(|&c| attention.mask.allows(grid, a, c)).collect())
            .collect();
        let embedding = attention.position.map(|position| {
            let factor = shares[1] * position.variance.get();
            Array2::from_shape_fn((positions, positions), |(p, q)| factor * position.correlation(grid, p, q))
        });
        let random =
            attention.scaling == LogitScaling::InverseRoot && attention.weighting == Weighting::Softmax;
        let most = reads.iter().map(Vec::len).max().unwrap_or(1);
        let nodes = Nodes::new(if random { 2 * (most - 1) } else { 0 });
        let attention = attention.clone();
        Limit { at: at.to_owned(), attention, reads, share: shares[0], embedding, tolerance, nodes }
    }

    /// Prepares a sample of `length` positions, P in all, from its kernel with itself, (P, P).
    ///
    /// # Errors
    /// [`Error::Overflow`]: softmax of random logits whose variance is not finite.
    pub(crate) fn sample(&self, own: &Array2<f64>, length: usize) -> Result<Sample, Error> {
        let logits = self.logits(own);
        let values = self.values(own);
        let weights = match (self.attention.scaling, self.attention.weighting) {
            (LogitScaling::InverseDimension, _) => Weights::Constant(self.constant(&logits, length)),
            (LogitScaling::InverseRoot, Weighting::Softmax) => {
                let largest = logits.diag().iter().fold(0.0, |m: f64, &q| m.max(q));
                let variance = self.logit_scale() * largest * largest;
                if !variance.is_finite() {
                    return Err(Error::Overflow { at: self.at.clone(), value: variance });
                }
                let mut error: f64 = 0.0;
                let rows = (0..length).map(|a| {
                    let estimate =
                        softmax::own(&self.nodes, &self.side(&logits, &values, a, length), self.tolerance);
                    if estimate.value > 0.0 {
                        error = error.max(estimate.error / estimate.value);
                    }
                    estimate.value
                });
                let rows = rows.collect();
                Weights::Softmax { rows, error }
            }
            (LogitScaling::InverseRoot, _) => Weights::Random,
        };
        Ok(Sample { length, logits, values, weights })
    }

    /// K′ and Θ′ of two samples from their K₁₂ and Θ₁₂, each (P, P).
    ///
    /// # Errors
    /// [`Error::NotCovariance`] where K₁₂ exceeds √(K₁₁K₂₂) and |x| or max(x, 0) of random logits are asked for.
    pub(crate) fn pair(
        &self,
        samples: [&Sample; 2],
        kernel: &Array2<f64>,
        ntk: Option<&Array2<f64>>,
    ) -> Result<Output, Error> {
        let shared = Shared {
            logits: self.logits(kernel),
            values: self.values(kernel),
            tangent: ntk.map(|ntk| {
                let mut logits = ntk * self.share;
                if let Some(embedding) = &self.embedding {
                    // Embeddings learn as the weights of the layer do.
                    logits.scaled_add(self.attention.rate.get(), embedding);
                }
                [if self.embedded_values() { logits.clone() } else { ntk.clone() }, logits]
            }),
        };
        let mut output = match [&samples[0].weights, &samples[1].weights] {
            [Weights::Constant(left), Weights::Constant(right)] => {
                let map = |k: &Array2<f64>| left.dot(k).dot(&right.t());
                Output {
                    kernel: map(&shared.values),
                    ntk: shared.tangent.as_ref().map(|[theta, _]| map(theta)),
                    error: 0.0,
                }
            }
            _ if self.attention.weighting == Weighting::Identity => self.identity(samples, &shared),
            _ => self.random(samples, &shared)?,
        };
        self.close(samples, &mut output);
        Ok(output)
    }

    /// From Σ E[ζζ] K* to K′ and from the sums of Θ without those of the values' and outputs' weights to Θ′.
    fn close(&self, samples: [&Sample; 2], output: &mut Output) {
        let a = &self.attention;
        let (scale, bias, rate) =
            (a.output_variance.get() * a.value_variance.get(), a.bias.get(), a.rate.get());
        for ((p, q), k) in output.kernel.indexed_iter_mut() {
            let valid = p < samples[0].length && q < samples[1].length;
            let kappa = scale * *k;
            *k = if valid { kappa + bias } else { 0.0 };
            if let Some(ntk) = &mut output.ntk {
                let through = scale * ntk[[p, q]];
                ntk[[p, q]] = if valid { rate * (2.0 * kappa + bias) + through } else { 0.0 };
            }
        }
    }

    /// κ = (σ_Qσ_K)² K̃ ∘ A₁(K̃∘K*)A₂ᵀ where A says who reads whom, and so on for Θ.
    fn identity(&self, samples: [&Sample; 2], shared: &Shared) -> Output {
        let [left, right] = samples.map(|sample| {
            let mut reads = Array2::zeros(sample.logits.dim());
            for a in 0..sample.length {
                self.reads(a, sample.length).iter().for_each(|&c| reads[[a, c]] = 1.0);
            }
            reads
        });
        let sum = |m: Array2<f64>| left.dot(&m).dot(&right.t()) * self.logit_scale();
        let Shared { logits, values, tangent } = shared;
        let products = sum(logits * values);
        let ntk = tangent.as_ref().map(|[theta, through]| {
            let direct = logits * (2.0 * self.attention.rate.get()) + through;
            direct * &products + logits * sum(logits * theta + values * through)
        });
        Output { kernel: logits * products, ntk, error: 0.0 }
    }

    fn random(&self, samples: [&Sample; 2], shared: &Shared) -> Result<Output, Error> {
        let shape = shared.values.dim();
        let mut output = Output {
            kernel: Array2::zeros(shape),
            ntk: shared.tangent.as_ref().map(|_| Array2::zeros(shape)),
            error: 0.0,
        };
        let activation = match self.attention.weighting {
            Weighting::Abs => Some(Activation::Abs),
            Weighting::Relu => Some(Activation::Relu),
            Weighting::Identity | Weighting::Softmax => None,
        };
        let homogeneous = activation
            .as_ref()
            .map(|activation| {
                Homogeneous::new(activation, samples.map(|sample| &sample.logits), &shared.logits)
            })
            .transpose()?;
        for a in 0..samples[0].length {
            for b in 0..samples[1].length {
                let at = [a, b];
                let entry = match &homogeneous {
                    Some(dual) => self.entrywise(samples, shared, at, |reads| dual.row(at, reads)),
                    None => self.integral(samples, shared, at),
                };
                output.kernel[at] = entry.kernel;
                if let Some(ntk) = &mut output.ntk {
                    ntk[at] = entry.ntk;
                }
                output.error = output.error.max(entry.error);
            }
        }
        Ok(output)
    }

    /// An entry where ζ acts on each logit alone: from E ζ(u_c)ζ(v_d) and E ζ′(u_c)ζ′(v_d), before (σ_Qσ_K)².
    fn entrywise(
        &self,
        samples: [&Sample; 2],
        shared: &Shared,
        at: [usize; 2],
        duals: impl Fn([&[usize]; 2]) -> [Array2<f64>; 2],
    ) -> Entry {
        let [left, right] = [self.reads(at[0], samples[0].length), self.reads(at[1], samples[1].length)];
        let [value, slope] = duals([left, right]);
        let values = gather(&shared.values, left, right);
        let scale = self.logit_scale();
        let mut entry = Entry { kernel: scale * (&value * &values).sum(), ntk: 0.0, error: 0.0 };
        if let Some([theta, m]) = self.tangent(shared, at, left, right) {
            // M already has the factor (σ_Qσ_K)².
            entry.ntk = scale * (value * theta).sum() + (slope * values * m).sum();
        }
        entry
    }

    /// An entry of softmax.
    fn integral(&self, samples: [&Sample; 2], shared: &Shared, at: [usize; 2]) -> Entry {
        let reads = [self.reads(at[0], samples[0].length), self.reads(at[1], samples[1].length)];
        let [left, right] = [0, 1].map(|k| {
            let sample = samples[k];
            self.side(&sample.logits, &sample.values, at[k], sample.length)
        });
        let cross = Cross {
            logits: gather(&shared.logits, reads[0], reads[1]) * (self.logit_scale() * shared.logits[at]),
            values: gather(&shared.values, reads[0], reads[1]),
            tangent: self.tangent(shared, at, reads[0], reads[1]),
        };
        let own = [0, 1].map(|k| match &samples[k].weights {
            Weights::Softmax { rows, error } => (rows[at[k]], *error),
            Weights::Constant(_) | Weights::Random => (0.0, 0.0),
        });
        // √K·√K may differ from K in the last digit; equal rows have K itself.
        let norm = if own[0].0 == own[1].0 { own[0].0 } else { own[0].0.sqrt() * own[1].0.sqrt() };
        let scale = 2.0 * self.attention.rate.get() * norm;
        let (rho, tangent) = softmax::pair(&self.nodes, [&left, &right], &cross, self.tolerance, scale);
        let mut error = rho.error + 0.5 * rho.value.abs() * (own[0].1 + own[1].1);
        if let Some(tangent) = tangent {
            let size = tangent.value.abs().max(scale);
            error = error.max(if tangent.error > 0.0 { tangent.error / size } else { 0.0 });
        }
        Entry { kernel: rho.value * norm, ntk: tangent.map_or(0.0, |tangent| tangent.value), error }
    }

    /// Θ* and (σ_Qσ_K)² M over the positions that two rows read.
    fn tangent(
        &self,
        shared: &Shared,
        at: [usize; 2],
        left: &[usize],
        right: &[usize],
    ) -> Option<[Array2<f64>; 2]> {
        let [values, logits] = shared.tangent.as_ref()?;
        let scale = self.logit_scale();
        let (k, theta) = (shared.logits[at], logits[at]);
        let m = gather(&shared.logits, left, right) * (scale * (2.0 * self.attention.rate.get() * k + theta))
            + gather(logits, left, right) * (scale * k);
        Some([gather(values, left, right), m])
    }

    fn side(&self, logits: &Array2<f64>, values: &Array2<f64>, row: usize, length: usize) -> Side {
        let reads = self.reads(row, length);
        Side {
            logits: gather(logits, reads, reads) * (self.logit_scale() * logits[[row, row]]),
            values: gather(values, reads, reads),
        }
    }

    /// The positions that a row of a sample reads, in ascending order.
    fn reads(&self, row: usize, length: usize) -> &[usize] {
        let reads = &self.reads[row];
        &reads[..reads.partition_point(|&c| c < length)]
    }

    /// G = ζ(σ_Qσ_K K̃), with rows and columns of zeros beyond the length.
    fn constant(&self, logits: &Array2<f64>, length: usize) -> Array2<f64> {
        let scale = self.logit_scale().sqrt();
        let mut weights = Array2::zeros(logits.dim());
        for a in 0..length {
            let reads = self.reads(a, length);
            let row = || reads.iter().map(|&c| scale * logits[[a, c]]);
            let largest = row().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = row().map(|x| (x - largest).exp()).sum();
            for (&c, x) in reads.iter().zip(row()) {
                weights[[a, c]] = match self.attention.weighting {
                    Weighting::Softmax => (x - largest).exp() / total,
                    Weighting::Identity => x,
                    Weighting::Abs => x.abs(),
                    Weighting::Relu => x.max(0.0),
                };
            }
        }
        weights
    }

    /// (σ_Qσ_K)².
    fn logit_scale(&self) -> f64 {
        self.attention.query_variance.get() * self.attention.key_variance.get()
    }

    /// K̃.
    fn logits(&self, kernel: &Array2<f64>) -> Array2<f64> {
        match &self.embedding {
            Some(embedding) => kernel * self.share + embedding,
            None => kernel.clone(),
        }
    }

    /// K*.
    fn values(&self, kernel: &Array2<f64>) -> Array2<f64> {
        if self.embedded_values() { self.logits(kernel) } else { kernel.clone() }
    }

    fn embedded_values(&self) -> bool {
        self.attention.position.is_some_and(|position| position.values)
    }
}

fn gather(m: &Array2<f64>, rows: &[usize], columns: &[usize]) -> Array2<f64> {
    m.select(Axis(0), rows).select(Axis(1), columns)
}

#[cfg(test)]
mod tests;
