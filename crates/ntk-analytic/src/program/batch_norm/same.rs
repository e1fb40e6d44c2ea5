//! One batch: integrals over s = eʳ of ReLU under Gaussian weights e^{−s‖y‖²}, by the trapezoid rule in r.
//!
//! 1/‖y‖^{2k} = ∫ s^{k−1} e^{−s‖y‖²} ds/Γ(k), and under that factor y ~ N(0, Σ) becomes N(0, K(s)) with
//! K(s) = Σ(1 + 2sΣ)⁻¹ and mass δ(s) = det(1 + 2sΣ)^{−1/2}. All is analytic for |Im r| < π.

use ndarray::{Array1, Array2, ArrayView2, Axis};

use super::eigen::{eigen, positive};
use super::pairs::{Pairs, gap};
use super::{centered, step, total};
use crate::program::Error;

/// Eigenvalues below this share of the trace are rounding.
const NULL: f64 = 1e-14;

/// What a tail that is left out may contribute, relative.
const TAIL: f64 = 1e-17;

/// A batch around its mean.
pub(super) struct Batch {
    /// GΣG.
    pub(super) sigma: Array2<f64>,
    /// Its positive eigenvalues.
    pub(super) values: Array1<f64>,
    /// Their eigenvectors, as columns.
    pub(super) vectors: Array2<f64>,
    /// B ε.
    pub(super) epsilon: f64,
}

/// One node, with B · δ · s · h · e^{−sBε} as its weight.
struct Node {
    s: f64,
    weight: f64,
}

impl Batch {
    /// # Errors
    /// [`Error::Shape`] for a covariance that is not positive semidefinite, or without variance while ε = 0.
    pub(super) fn new(sigma: ArrayView2<'_, f64>, epsilon: f64) -> Result<Self, Error> {
        let (n, trace) = (sigma.nrows(), sigma.diag().sum());
        let sigma = centered(&sigma.to_owned());
        let (values, vectors) = eigen(sigma.view());
        let least = values.iter().fold(0.0, |a: f64, &b| a.min(b));
        if least < -1e-9 * trace {
            let reason =
                format!("the covariance of a batch has the eigenvalue {least}, not only positive ones");
            return Err(Error::Shape { reason });
        }
        let (values, vectors) = positive(&values, &vectors, NULL * trace);
        if values.is_empty() && epsilon == 0.0 {
            let reason = format!("{n} samples without variance cannot be normalized: give epsilon > 0");
            return Err(Error::Shape { reason });
        }
        Ok(Batch { values, vectors, sigma, epsilon: epsilon * n as f64 })
    }

    pub(super) fn size(&self) -> usize {
        self.sigma.nrows()
    }

    /// Refuses gradients that have no second moment, or no value.
    pub(super) fn check_gradient(&self) -> Result<(), Error> {
        let (n, rank) = (self.size(), self.values.len());
        if self.epsilon == 0.0 && n < 4 {
            let what = "the gradient of batch normalization without epsilon";
            return Err(Error::Batch { what, least: 4, found: n });
        }
        if self.epsilon == 0.0 && rank < 3 {
            let reason = format!(
                "{n} samples differ in {rank} directions, and the gradient of batch normalization needs 3: give epsilon > 0, or inputs of more dimensions"
            );
            return Err(Error::Shape { reason });
        }
        let scale = self.values.sum();
        match (0..n).find(|&i| self.sigma[[i, i]] <= NULL * scale) {
            Some(i) => {
                let reason = format!("sample {i} is the mean of its batch, where ReLU has no derivative");
                Err(Error::Shape { reason })
            }
            None => Ok(()),
        }
    }

    fn nodes(&self, gradient: bool) -> Vec<Node> {
        if self.values.is_empty() {
            return Vec::new();
        }
        let trace = self.values.sum();
        let step = step(self.values.len(), self.epsilon);
        let (mut nodes, mut peak) = (Vec::new(), 0.0f64);
        // The integrand falls as s to the left of 1/trace.
        let mut r = -(2.0 * trace).ln() + TAIL.ln();
        loop {
            let s = r.exp();
            let log_det: f64 = self.values.iter().map(|l| (2.0 * s * l).ln_1p()).sum();
            let weight = (r - 0.5 * log_det - s * self.epsilon).exp() * step * self.size() as f64;
            // It has one maximum. K(s) is below 1/2s.
            let bound = if gradient { weight } else { weight / (1.0 + 2.0 * s * trace) };
            peak = peak.max(bound);
            if bound < TAIL * peak {
                return nodes;
            }
            nodes.push(Node { s, weight });
            r += step;
        }
    }

    /// K(s) and what ReLU makes of it.
    fn at(&self, s: f64) -> (Array1<f64>, Array2<f64>, Pairs) {
        let k = self.values.mapv(|l| l / (1.0 + 2.0 * s * l));
        let factor = &self.vectors * &k.mapv(f64::sqrt);
        let covariance = factor.dot(&factor.t());
        let d: Vec<f64> = factor.rows().into_iter().map(|row| row.dot(&row).sqrt()).collect();
        let pairs = Pairs::new(&covariance, &d, &d, |i, j, sign| {
            gap(factor.row(i), d[i], factor.row(j), sign * d[j])
        });
        (k, covariance, pairs)
    }

    /// V(Σ) = B ∫ δ V_relu(K) ds.
    pub(super) fn covariance(&self) -> Array2<f64> {
        let n = self.size();
        total(&self.nodes(false), (n, n), |node| self.at(node.s).2.value * node.weight)
    }

    /// B ∫ δ [M ⊙ V_step(K) + ½s²⟨M, K⟩ V_relu(K) + dV_K{s² KMK − s(KM + MK)}] ds for M ← GMG.
    pub(super) fn tangent(&self, m: &Array2<f64>) -> Array2<f64> {
        let (n, m) = (self.size(), centered(m));
        // In the basis of eigenvectors, K is diagonal.
        let inner = self.vectors.t().dot(&m).dot(&self.vectors);
        total(&self.nodes(true), (n, n), |&Node { s, weight }| {
            let (k, covariance, pairs) = self.at(s);
            let scaled = Array2::from_shape_fn(inner.dim(), |(a, b)| {
                (s * s * k[a] * k[b] - s * (k[a] + k[b])) * inner[[a, b]]
            });
            let h = self.vectors.dot(&scaled).dot(&self.vectors.t());
            let share = 0.5 * s * s * (&m * &covariance).sum();
            Array2::from_shape_fn((n, n), |(i, j)| {
                let at = [i, j];
                // ∂V_ij/∂K along h: two variances and a covariance, or one variance.
                let along =
                    pairs.step[at] * h[at] + 0.5 * (pairs.left[at] * h[[i, i]] + pairs.right[at] * h[[j, j]]);
                weight * (m[at] * pairs.step[at] + share * pairs.value[at] + along)
            })
        })
    }

    /// B ∫ δ G[Δ ⊙ V_step(K) + ½s²⟨Δ, V_relu(K)⟩ K + s² KJK − s(KJ + JK)]G ds with J = dV_K†{Δ}, for symmetric Δ.
    pub(super) fn backward(&self, delta: &Array2<f64>) -> Array2<f64> {
        let n = self.size();
        let sum = total(&self.nodes(true), (n, n), |&Node { s, weight }| {
            let (k, covariance, pairs) = self.at(s);
            let step = delta * &pairs.step;
            let mut j = step.clone();
            let slopes = (delta * &pairs.left).sum_axis(Axis(1));
            j.diag_mut().iter_mut().zip(&slopes).for_each(|(j, slope)| *j += slope);
            let inner = self.vectors.t().dot(&j).dot(&self.vectors);
            let scaled = Array2::from_shape_fn(inner.dim(), |(a, b)| {
                (s * s * k[a] * k[b] - s * (k[a] + k[b])) * inner[[a, b]]
            });
            let share = 0.5 * s * s * (delta * &pairs.value).sum();
            let all = step + covariance * share + self.vectors.dot(&scaled).dot(&self.vectors.t());
            all * weight
        });
        centered(&sum)
    }
}
