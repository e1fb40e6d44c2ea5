//! Two batches: integrals over s and t of ReLU under Gaussian weights e^{−s‖x‖² − t‖y‖²} of both, x and y the centered
//! preactivations of each.
//!
//! 1/‖x‖ = ∫ s^{−1/2} e^{−s‖x‖²} ds/√π is a sum over u = √s of an even function, and u = c sinh v leaves neither a tail to
//! the left nor an end: the trapezoid rule in v converges as that in log s does for one batch. Under the factor, (x, y)
//! has the covariance Π = (Σ⁻¹ + 2(s ⊕ t))⁻¹, kept as WWᵀ so that samples that are nearly the same in both stay so.

use ndarray::{Array1, Array2, Axis, concatenate};

use super::eigen::{eigen, positive};
use super::pairs::{Pairs, gap};
use super::same::Batch;
use super::{centered, step, total};
use crate::program::Error;

/// What a tail that is left out may contribute, relative.
const TAIL: f64 = 1e-16;

/// Eigenvalues below this share of the trace are rounding.
const NULL: f64 = 1e-14;

/// Two batches and the covariance between them: x = U√Λ z, y = P z + R w with standard normal z and w.
pub(super) struct Cross<'a> {
    first: &'a Batch,
    second: &'a Batch,
    known: Array2<f64>,
    rest: Array2<f64>,
}

/// Nodes v ≥ 0 of one integral.
struct Nodes<'a> {
    values: &'a Array1<f64>,
    /// 1/2c².
    trace: f64,
    epsilon: f64,
    step: f64,
}

impl Nodes<'_> {
    /// Calls `each(s, weight)`, with h cosh v · det(1 + 2sΛ)^{−1/2} e^{−sε} as a part of the weight, until that times
    /// cosh^`power` is nothing.
    fn each(&self, power: i32, scale: f64, mut each: impl FnMut(f64, f64)) {
        for k in 0.. {
            let v = f64::from(k) * self.step;
            let s = v.sinh().powi(2) / (2.0 * self.trace);
            let log_det: f64 = self.values.iter().map(|l| (2.0 * s * l).ln_1p()).sum();
            let weight = scale * (-0.5 * log_det - s * self.epsilon).exp();
            if weight * v.cosh().powi(power) < TAIL {
                return;
            }
            // Of even functions, all nodes but the first stand for two.
            let count = if k == 0 { 1.0 } else { 2.0 };
            each(s, weight * count * self.step * v.cosh());
        }
    }
}

/// (x, y) under one weight: its covariance Π in blocks, and what ReLU makes of it.
struct Tilted {
    s: f64,
    t: f64,
    first: Array2<f64>,
    second: Array2<f64>,
    cross: Array2<f64>,
    pairs: Pairs,
}

impl<'a> Cross<'a> {
    /// # Errors
    /// [`Error::Shape`] if the two batches have no joint covariance.
    pub(super) fn new(first: &'a Batch, second: &'a Batch, between: &Array2<f64>) -> Result<Self, Error> {
        let known = centered(between).t().dot(&first.vectors) / &first.values.mapv(f64::sqrt);
        let (values, vectors) = eigen((&second.sigma - &known.dot(&known.t())).view());
        let (trace, least) = (second.sigma.diag().sum(), values.iter().fold(0.0, |a: f64, &b| a.min(b)));
        if least < -1e-9 * trace {
            let reason = format!(
                "one batch given the other has a variance of {least}: the covariance of both has not only positive eigenvalues"
            );
            return Err(Error::Shape { reason });
        }
        let (values, vectors) = positive(&values, &vectors, NULL * trace);
        Ok(Cross { rest: vectors * &values.mapv(f64::sqrt), known, first, second })
    }

    /// √(B₁B₂)/π ∫∫ (st)^{−1/2} δ f ds dt.
    fn integrate(&self, gradient: bool, f: impl Fn(&Tilted) -> Array2<f64> + Sync) -> Array2<f64> {
        let [first, second] = [self.first, self.second];
        let dim = (first.size(), second.size());
        let (trace, other) = (first.values.sum(), second.values.sum());
        if trace == 0.0 || other == 0.0 {
            return Array2::zeros(dim);
        }
        // r = log s is 2v + const to the right.
        let step = 0.5 * step(first.values.len().max(second.values.len()), first.epsilon);
        let (mut outer, values, epsilon) = (Vec::new(), &first.values, first.epsilon);
        // Where y is nearly a function of x, the integral over t is as large as √s.
        let power = if gradient { 2 } else { 0 };
        Nodes { values, trace, epsilon, step }.each(power, 1.0, |s, weight| outer.push((s, weight)));
        let sum = total(&outer, dim, |&(s, weight)| {
            // (x, y) under e^{−s‖x‖²} as functions of standard normal variables.
            let a = values.mapv(|l| 1.0 / (1.0 + 2.0 * s * l).sqrt());
            let none = Array2::zeros((dim.0, self.rest.ncols()));
            let x = concatenate![Axis(1), &first.vectors * &(&a * &values.mapv(f64::sqrt)), none];
            let y = concatenate![Axis(1), &self.known * &a, self.rest];
            let square = y.dot(&y.t());
            let (values, vectors) = eigen(square.view());
            let (values, vectors) = positive(&values, &vectors, 0.1 * NULL * square.diag().sum());
            // An orthonormal basis of what y depends on: there e^{−t‖y‖²} narrows the variables.
            let basis = y.t().dot(&vectors) / &values.mapv(f64::sqrt);
            let (x_in, y_in) = (x.dot(&basis), y.dot(&basis));
            let mut sum = Array2::zeros(dim);
            let nodes = Nodes { values: &values, trace: other, epsilon: second.epsilon, step };
            nodes.each(i32::from(gradient), weight, |t, weight| {
                let lost = values.mapv(|l| 1.0 - 1.0 / (1.0 + 2.0 * t * l).sqrt());
                let [x, y] =
                    [(&x, &x_in), (&y, &y_in)].map(|(x, within)| x - &(within * &lost).dot(&basis.t()));
                let [d, e] =
                    [&x, &y].map(|x| x.rows().into_iter().map(|r| r.dot(&r).sqrt()).collect::<Vec<_>>());
                let cross = x.dot(&y.t());
                let pairs =
                    Pairs::new(&cross, &d, &e, |i, j, sign| gap(x.row(i), d[i], y.row(j), sign * e[j]));
                let (first, second) = (x.dot(&x.t()), y.dot(&y.t()));
                sum.scaled_add(weight, &f(&Tilted { s, t, first, second, cross, pairs }));
            });
            sum
        });
        let scale = ((dim.0 * dim.1) as f64).sqrt() / (2.0 * std::f64::consts::PI * (trace * other).sqrt());
        sum * scale
    }

    /// √(B₁B₂)/π ∫∫ (st)^{−1/2} δ V_relu(Π)₁₂ ds dt.
    pub(super) fn covariance(&self) -> Array2<f64> {
        self.integrate(false, |x| x.pairs.value.clone())
    }

    /// √(B₁B₂)/π ∫∫ (st)^{−1/2} δ [M ⊙ V_step + 4st(⟨M, Π₁₂⟩ V_relu + dV{ΠSΠ}) − 2s dV{AΠ + ΠAᵀ} − 2t dV{A′Π + ΠA′ᵀ}]₁₂
    /// with M ← GMG, S = (0 M; Mᵀ 0), A = (0 0; Mᵀ 0), A′ = (0 M; 0 0).
    pub(super) fn tangent(&self, m: &Array2<f64>) -> Array2<f64> {
        let m = centered(m);
        self.integrate(true, |Tilted { s, t, first, second, cross, pairs }| {
            let both = 4.0 * s * t;
            let (p, q) = (first.dot(&m), m.dot(second));
            let h = (&p * both - &m * (2.0 * t)).dot(second) - &p * (2.0 * s)
                + cross.dot(&m.t().dot(cross)) * both;
            // The diagonals of the blocks (1, 1) and (2, 2) of the direction.
            let share = &m * cross;
            let left = (&p * cross).sum_axis(Axis(1)) * (2.0 * both) - share.sum_axis(Axis(1)) * (4.0 * t);
            let right = (&q * cross).sum_axis(Axis(0)) * (2.0 * both) - share.sum_axis(Axis(0)) * (4.0 * s);
            let share = both * share.sum();
            Array2::from_shape_fn(m.dim(), |(i, j)| {
                let at = [i, j];
                let bend = 0.5 * (pairs.left[at] * left[i] + pairs.right[at] * right[j]);
                pairs.step[at] * (m[at] + h[at]) + share * pairs.value[at] + bend
            })
        })
    }

    /// √(B₁B₂)/π ∫∫ (st)^{−1/2} δ G[X ⊙ V_step + 4st(⟨V_relu, X⟩ Π + ΠJΠ) − 2t JΠ − 2s ΠJ]₁₂G with J = dV†{(0 X; Xᵀ 0)}.
    pub(super) fn backward(&self, x: &Array2<f64>) -> Array2<f64> {
        let sum = self.integrate(true, |Tilted { s, t, first, second, cross, pairs }| {
            let step = x * &pairs.step;
            let left = (x * &pairs.left).sum_axis(Axis(1)).insert_axis(Axis(1));
            let right = (x * &pairs.right).sum_axis(Axis(0)).insert_axis(Axis(1));
            // JΠ and ΠJ in blocks.
            let upper = &left * cross + step.dot(second);
            let lower = step.t().dot(cross) + &right * second;
            let other = first.dot(&step) + cross * &right.t();
            let share = (x * &pairs.value).sum();
            let both = (cross * share + first.dot(&upper) + cross.dot(&lower)) * (4.0 * s * t);
            step + both - upper * (2.0 * t) - other * (2.0 * s)
        });
        centered(&sum)
    }
}
