//! Softmax of random logits: an expectation over the logits of one row of each sample, by quasi-Monte Carlo.
//!
//! For readers a and b with logits u and v, jointly Gaussian, and s = softmax(u), t = softmax(v), the layer needs
//! E sᵀKt and E⟨J(s) K J(t), M⟩ with J(s) = diag s − ssᵀ. Softmax does not change when all logits move together, so
//! only differences to the first logit are drawn: 2(T − 1) dimensions for T positions, none for one.
//!
//! E sᵀKt is estimated as a correlation, Σ sᵀK₁₂t / √(Σ sᵀK₁₁s · Σ tᵀK₂₂t) over the same nodes: it never leaves [−1, 1],
//! and 1 − ρ of samples that nearly coincide has a small relative error.

use std::cmp::Ordering;

use ndarray::{Array2, Axis};

use crate::lane::vectorized;
use crate::nodes::{Lanes, Nodes, SHIFTS};

/// An estimate and three standard errors of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Estimate {
    pub value: f64,
    pub error: f64,
}

impl Estimate {
    /// The mean over shifts.
    fn of(lanes: &Lanes) -> Self {
        let n = SHIFTS as f64;
        // Around one of them: equal numbers have themselves as mean.
        let value = lanes[0] + lanes.iter().map(|x| x - lanes[0]).sum::<f64>() / n;
        let square: f64 = lanes.iter().map(|x| (x - value) * (x - value)).sum();
        Estimate { value, error: 3.0 * (square / (n * (n - 1.0))).sqrt() }
    }
}

/// What one sample brings to an expectation: over the positions that its row reads.
pub(super) struct Side {
    /// Covariance of the logits.
    pub logits: Array2<f64>,
    /// Covariance of the values, K₁₁ or K₂₂.
    pub values: Array2<f64>,
}

/// What two samples bring, over the positions that both rows read.
pub(super) struct Cross {
    /// Covariance of the logits.
    pub logits: Array2<f64>,
    /// Covariance of the values, K₁₂.
    pub values: Array2<f64>,
    /// Θ and M of E sᵀΘt + E⟨J(s) K J(t), M⟩, if asked for.
    pub tangent: Option<[Array2<f64>; 2]>,
}

/// E sᵀKs of one row, within `tolerance` of itself or with all nodes.
pub(super) fn own(nodes: &Nodes, side: &Side, tolerance: f64) -> Estimate {
    let block = Block::own(side);
    let mut sums = Sums::default();
    let mut estimate = Estimate { value: 0.0, error: 0.0 };
    for level in nodes.levels() {
        sums.add(&block, level, nodes.dimension());
        estimate = Estimate::of(&sums.own[0].map(|sum| sum / sums.count));
        if estimate.error <= tolerance * estimate.value {
            break;
        }
    }
    estimate
}

/// The correlation E sᵀK₁₂t / √(E sᵀK₁₁s · E tᵀK₂₂t), and E sᵀΘt + E⟨J(s) K₁₂ J(t), M⟩ if asked for: within `tolerance`,
/// the second relative to itself or `scale`, or with all nodes. Swapping the samples gives the same numbers.
pub(super) fn pair(
    nodes: &Nodes,
    sides: [&Side; 2],
    cross: &Cross,
    tolerance: f64,
    scale: f64,
) -> (Estimate, Option<Estimate>) {
    let transposed = cross.transposed();
    let swap = order(sides, cross, &transposed) == Ordering::Greater;
    let block = if swap { Block::pair([sides[1], sides[0]], &transposed) } else { Block::pair(sides, cross) };
    let same = sides.iter().all(|side| side.logits == cross.logits && side.values == cross.values);
    let mut sums = Sums::default();
    let (mut rho, mut tangent) = (Estimate { value: 0.0, error: 0.0 }, None);
    for level in nodes.levels() {
        sums.add(&block, level, nodes.dimension());
        rho = if same { Estimate { value: 1.0, error: 0.0 } } else { sums.correlation() };
        tangent = cross.tangent.as_ref().map(|_| Estimate::of(&sums.tangent.map(|sum| sum / sums.count)));
        let close = |e: Estimate| e.error <= tolerance * e.value.abs().max(scale);
        if rho.error <= tolerance && tangent.is_none_or(close) {
            break;
        }
    }
    (rho, tangent)
}

impl Cross {
    fn transposed(&self) -> Cross {
        let t = |m: &Array2<f64>| m.t().as_standard_layout().into_owned();
        Cross {
            logits: t(&self.logits),
            values: t(&self.values),
            tangent: self.tangent.as_ref().map(|[theta, m]| [t(theta), t(m)]),
        }
    }
}

/// Which sample comes first, by the numbers alone. An expectation does not depend on it and its estimate would.
fn order(sides: [&Side; 2], cross: &Cross, transposed: &Cross) -> Ordering {
    let compare = |a: &Array2<f64>, b: &Array2<f64>| a.iter().partial_cmp(b).unwrap_or(Ordering::Equal);
    let mut order = compare(&sides[0].logits, &sides[1].logits)
        .then_with(|| compare(&sides[0].values, &sides[1].values))
        .then_with(|| compare(&cross.logits, &transposed.logits))
        .then_with(|| compare(&cross.values, &transposed.values));
    if let (Some(a), Some(b)) = (&cross.tangent, &transposed.tangent) {
        order = order.then_with(|| compare(&a[0], &b[0])).then_with(|| compare(&a[1], &b[1]));
    }
    order
}

/// Everything an expectation needs, factored.
struct Block<'a> {
    /// Differences drawn for each sample.
    sizes: [usize; 2],
    /// L with LLᵀ the covariance of all differences, row by row.
    lower: Vec<f64>,
    own: [&'a Array2<f64>; 2],
    values: &'a Array2<f64>,
    tangent: Option<&'a [Array2<f64>; 2]>,
    /// Whether the second sample is the first, so that the first alone is drawn.
    single: bool,
}

impl<'a> Block<'a> {
    fn own(side: &'a Side) -> Self {
        let sizes = [side.values.nrows() - 1, 0];
        let lower = semidefinite_cholesky(&differences(&side.logits));
        let own = [&side.values; 2];
        Block { sizes, lower, own, values: &side.values, tangent: None, single: true }
    }

    fn pair(sides: [&'a Side; 2], cross: &'a Cross) -> Self {
        let sizes = sides.map(|side| side.values.nrows() - 1);
        let [n, m] = sizes;
        let mut covariance = Array2::zeros((n + m, n + m));
        let between = differences(&cross.logits);
        covariance.slice_mut(ndarray::s![..n, ..n]).assign(&differences(&sides[0].logits));
        covariance.slice_mut(ndarray::s![n.., n..]).assign(&differences(&sides[1].logits));
        covariance.slice_mut(ndarray::s![..n, n..]).assign(&between);
        covariance.slice_mut(ndarray::s![n.., ..n]).assign(&between.t());
        let lower = semidefinite_cholesky(&covariance);
        let own = sides.map(|side| &side.values);
        Block { sizes, lower, own, values: &cross.values, tangent: cross.tangent.as_ref(), single: false }
    }
}

/// Covariance of the differences of all logits but the first to the first, from that of the logits.
fn differences(covariance: &Array2<f64>) -> Array2<f64> {
    let (n, m) = covariance.dim();
    let c = |i, j| covariance[[i, j]];
    // Differences first: identical logits give exact zeros.
    Array2::from_shape_fn((n - 1, m - 1), |(i, j)| (c(i + 1, j + 1) - c(i + 1, 0)) - (c(0, j + 1) - c(0, 0)))
}

/// Pivots below this, relative to the variance, are rounding.
const RANK: f64 = 1e-13;

/// L with LLᵀ = A for a symmetric A without negative eigenvalues, where A may be singular, row by row. Where A misses
/// that by errors of its entries, L has its diagonal and entries as near to it as that allows.
fn semidefinite_cholesky(a: &Array2<f64>) -> Vec<f64> {
    let n = a.nrows();
    let mut lower = vec![0.0; n * n];
    // What is left of the variances.
    let mut rest: Vec<f64> = a.diag().iter().map(|v| v.max(0.0)).collect();
    for j in 0..n {
        if rest[j] <= RANK * a[[j, j]] {
            continue;
        }
        let pivot = rest[j].sqrt();
        lower[j * n + j] = pivot;
        for i in j + 1..n {
            let sum: f64 = (0..j).map(|k| lower[i * n + k] * lower[j * n + k]).sum();
            let bound = rest[i].max(0.0).sqrt();
            let l = ((a[[i, j]] - sum) / pivot).clamp(-bound, bound);
            lower[i * n + j] = l;
            rest[i] -= l * l;
        }
    }
    lower
}

/// Sums over nodes, of each shift.
#[derive(Default)]
struct Sums {
    count: f64,
    /// sᵀK₁₁s and tᵀK₂₂t.
    own: [Lanes; 2],
    /// sᵀK₁₂t.
    cross: Lanes,
    /// sᵀΘt + ⟨J(s) K₁₂ J(t), M⟩.
    tangent: Lanes,
}

impl Sums {
    /// Adds each node and its opposite, which cancels what is odd in the logits.
    fn add(&mut self, block: &Block, nodes: &[Lanes], dimension: usize) {
        let one = [[0.0; SHIFTS]];
        // Without differences to draw, one node is exact.
        let (nodes, stride) = match block.sizes {
            [0, 0] if self.count > 0.0 => return,
            [0, 0] => (one.as_slice(), 1),
            _ => (nodes, dimension),
        };
        self.count += 2.0 * (nodes.len() / stride) as f64;
        let [n, m] = block.sizes;
        let lanes = |size| vec![[0.0; SHIFTS]; size];
        let mut scratch = [lanes(n + m), lanes(n + 1), lanes(m + 1), lanes(m + 1)];
        add_nodes(block, nodes, stride, &mut scratch, self);
    }

    fn correlation(&self) -> Estimate {
        let of = |cross: f64, own: [f64; 2]| {
            let norm = own[0].sqrt() * own[1].sqrt();
            if norm > 0.0 { (cross / norm).clamp(-1.0, 1.0) } else { 0.0 }
        };
        let lanes = std::array::from_fn(|i| of(self.cross[i], [self.own[0][i], self.own[1][i]]));
        let sum = |lanes: &Lanes| lanes.iter().sum();
        let value = of(sum(&self.cross), [sum(&self.own[0]), sum(&self.own[1])]);
        Estimate { value, ..Estimate::of(&lanes) }
    }
}

vectorized! {
    fn add_nodes(
        block: &Block, nodes: &[Lanes], stride: usize, scratch: &mut [Vec<Lanes>; 4], sums: &mut Sums,
    ) {
        let size = block.sizes[0] + block.sizes[1];
        let [logits, s, t, alpha] = scratch;
        for z in nodes.chunks_exact(stride) {
            for (i, logit) in logits.iter_mut().enumerate() {
                let mut sum = [0.0; SHIFTS];
                for (l, z) in block.lower[i * size..][..=i].iter().zip(z) {
                    axpy::<FMA>(&mut sum, *l, z);
                }
                *logit = sum;
            }
            let (u, v) = logits.split_at(block.sizes[0]);
            for sign in [1.0, -1.0] {
                softmax(u, sign, s);
                let first = form::<FMA>(block.own[0], s, s);
                add(&mut sums.own[0], &first);
                if block.single {
                    continue;
                }
                softmax(v, sign, t);
                let second = form::<FMA>(block.own[1], t, t);
                add(&mut sums.own[1], &second);
                let gamma = form::<FMA>(block.values, s, t);
                add(&mut sums.cross, &gamma);
                let Some([theta, m]) = block.tangent else { continue };
                // ⟨J(s) K J(t), M⟩ = Σ s_d t_e M_de (K_de − α_e − β_d + γ) with α = Kᵀs, β = Kt, γ = sᵀKt.
                alpha.fill([0.0; SHIFTS]);
                for (row, s) in block.values.rows().into_iter().zip(s.iter()) {
                    for (k, alpha) in row.iter().zip(alpha.iter_mut()) {
                        axpy::<FMA>(alpha, *k, s);
                    }
                }
                for (d, s) in s.iter().enumerate() {
                    let k = block.values.row(d);
                    let mut shift = gamma;
                    for (k, t) in k.iter().zip(t.iter()) {
                        axpy::<FMA>(&mut shift, -k, t);
                    }
                    let mut sum = [0.0; SHIFTS];
                    for (e, (t, alpha)) in t.iter().zip(alpha.iter()).enumerate() {
                        let (k, m, theta) = (k[e], m[[d, e]], theta[[d, e]]);
                        for i in 0..SHIFTS {
                            sum[i] += t[i] * (theta + m * (k + shift[i] - alpha[i]));
                        }
                    }
                    for i in 0..SHIFTS {
                        sums.tangent[i] += s[i] * sum[i];
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn add(sum: &mut Lanes, x: &Lanes) {
    for i in 0..SHIFTS {
        sum[i] += x[i];
    }
}

#[inline(always)]
fn axpy<const FMA: bool>(y: &mut Lanes, a: f64, x: &Lanes) {
    for i in 0..SHIFTS {
        y[i] = crate::lane::fma::<FMA>(a, x[i], y[i]);
    }
}

/// sᵀKt.
#[inline(always)]
fn form<const FMA: bool>(k: &Array2<f64>, s: &[Lanes], t: &[Lanes]) -> Lanes {
    let mut form = [0.0; SHIFTS];
    for (row, s) in k.axis_iter(Axis(0)).zip(s) {
        let mut sum = [0.0; SHIFTS];
        for (k, t) in row.iter().zip(t) {
            axpy::<FMA>(&mut sum, *k, t);
        }
        for i in 0..SHIFTS {
            form[i] += s[i] * sum[i];
        }
    }
    form
}

/// softmax(0, ±x₁, ±x₂, …).
#[inline(always)]
fn softmax(x: &[Lanes], sign: f64, out: &mut [Lanes]) {
    let mut largest = [0.0; SHIFTS];
    for x in x {
        for i in 0..SHIFTS {
            let x = sign * x[i];
            largest[i] = if x > largest[i] { x } else { largest[i] };
        }
    }
    let mut total = [0.0; SHIFTS];
    for (c, out) in out.iter_mut().enumerate() {
        for i in 0..SHIFTS {
            let x = if c == 0 { 0.0 } else { sign * x[c - 1][i] };
            out[i] = (x - largest[i]).exp();
            total[i] += out[i];
        }
    }
    for out in out {
        for i in 0..SHIFTS {
            out[i] /= total[i];
        }
    }
}
