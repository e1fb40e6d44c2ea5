//! Closed forms: one formula a pair, with what depends on a single variance computed once for each sample.

use std::array::from_fn;

use super::Prepared;
use crate::Error;
use crate::lane::vectorized;

/// A dual activation in closed form, with N factors for each sample.
pub(super) trait ClosedForm<const N: usize>: Send + Sync {
    /// E φ(u)² for E u² = q; not finite where it does not exist.
    fn variance(&self, q: f64) -> f64;

    /// What the formula needs of one sample of pre-activation variance q.
    fn factors(&self, q: f64) -> [f64; N];

    /// The signed gap of the activations and the slope, from the signed gap of the pre-activations: without branches
    /// where speed matters, since the loop over it is widened.
    fn pair<const FMA: bool>(&self, a: &[f64; N], b: &[f64; N], gap: f64) -> (f64, f64);

    /// [`Prepared::arc_cosine`].
    fn arc_cosine(&self) -> Option<[f64; 2]> {
        None
    }
}

/// Variances above this, after the scaling of the argument, have no use, and their products overflow.
pub(super) const LARGEST: f64 = 1e140;

/// The error of a second moment that does not exist or overflows.
pub(crate) fn no_moment(name: &str, variance: f64) -> Error {
    let reason = "it is infinite or too large; lower the variances of the layer before, or normalize";
    Error::Expectation { activation: name.to_owned(), variance, reason }
}

struct Closed<F, const N: usize> {
    form: F,
    rows: [Vec<f64>; N],
    columns: [Vec<f64>; N],
    variances: (Vec<f64>, Vec<f64>),
    /// Columns of output variance 0, which have no correlation.
    blank: Vec<usize>,
}

pub(super) fn prepare_closed<F: ClosedForm<N> + 'static, const N: usize>(
    form: F,
    name: &str,
    q1: &[f64],
    q2: &[f64],
) -> Result<Box<dyn Prepared>, Error> {
    // By Cauchy–Schwarz the slope of a pair is finite where both diagonal ones are; without factors it is that of all.
    let slope = |q: f64| {
        let f = form.factors(q);
        form.pair::<false>(&f, &f, if q > 0.0 { 0.0 } else { 1.0 }).1
    };
    let common = slope(1.0).is_finite();
    let variances = |q: &[f64]| -> Result<Vec<f64>, Error> {
        let variances: Vec<f64> = q.iter().map(|&q| form.variance(q)).collect();
        let right = |(&q, &v): (&f64, &f64)| {
            (q <= LARGEST) & v.is_finite() & if N == 0 { common } else { slope(q).is_finite() }
        };
        // All of them, since a loop that may end early is not widened.
        if q.iter().zip(&variances).fold(true, |all, one| all & right(one)) {
            return Ok(variances);
        }
        let wrong = q.iter().zip(&variances).find(|&one| !right(one));
        Err(no_moment(name, wrong.map_or(f64::NAN, |(&q, _)| q)))
    };
    let factors = |q: &[f64]| -> [Vec<f64>; N] {
        let samples: Vec<[f64; N]> = q.iter().map(|&q| form.factors(q)).collect();
        from_fn(|k| samples.iter().map(|f| f[k]).collect())
    };
    let first = variances(q1)?;
    let second = if std::ptr::eq(q1, q2) { first.clone() } else { variances(q2)? };
    let variances = (first, second);
    let blank = (0..q2.len()).filter(|&j| variances.1[j] == 0.0).collect();
    let (rows, columns) = (factors(q1), factors(q2));
    Ok(Box::new(Closed { form, rows, columns, variances, blank }))
}

impl<F: ClosedForm<N>, const N: usize> Prepared for Closed<F, N> {
    fn variances(&self) -> (&[f64], &[f64]) {
        (&self.variances.0, &self.variances.1)
    }

    fn row(&self, i: usize, j0: usize, gap: &mut [f64], slope: Option<&mut [f64]>) {
        let n = gap.len();
        let a: [f64; N] = from_fn(|k| self.rows[k][i]);
        let columns: [&[f64]; N] = from_fn(|k| &self.columns[k][j0..j0 + n]);
        match slope {
            Some(slope) => gaps_and_slopes(&self.form, &a, columns, gap, slope),
            None => gaps_alone(&self.form, &a, columns, gap),
        }
        if self.variances.0[i] == 0.0 {
            gap.fill(1.0);
        } else {
            let first = self.blank.partition_point(|&j| j < j0);
            for &j in self.blank[first..].iter().take_while(|&&j| j < j0 + n) {
                gap[j - j0] = 1.0;
            }
        }
    }

    fn diagonal(&self, i0: usize, j0: usize, gap: &mut [f64], slope: Option<&mut [f64]>) {
        let n = gap.len();
        let rows: [&[f64]; N] = from_fn(|k| &self.rows[k][i0..i0 + n]);
        let columns: [&[f64]; N] = from_fn(|k| &self.columns[k][j0..j0 + n]);
        match slope {
            Some(slope) => both_advance(&self.form, rows, columns, gap, slope),
            None => both_advance(&self.form, rows, columns, gap, &mut []),
        }
        let zero = |side: &[f64], s: usize| side[s] == 0.0;
        for (k, gap) in gap.iter_mut().enumerate() {
            if zero(&self.variances.0, i0 + k) || zero(&self.variances.1, j0 + k) {
                *gap = 1.0;
            }
        }
    }

    fn arc_cosine(&self) -> Option<[f64; 2]> {
        self.form.arc_cosine()
    }
}

/// Numbers in the widest register.
const LANES: usize = 8;

/// The factors of column j. A loop, since `array::map` is a call that the widened loop would have to make.
#[inline(always)]
fn at<const N: usize>(columns: &[&[f64]; N], j: usize) -> [f64; N] {
    let mut factors = [0.0; N];
    for (factor, column) in factors.iter_mut().zip(columns) {
        *factor = column[j];
    }
    factors
}

vectorized! {
    fn gaps_and_slopes[F: ClosedForm<N>, const N: usize][F, N](
        form: &F, a: &[f64; N], columns: [&[f64]; N], gap: &mut [f64], slope: &mut [f64],
    ) {
        // Equal lengths, said once, spare the loop its checks.
        let n = gap.len().min(slope.len());
        let (gap, slope, columns) = (&mut gap[..n], &mut slope[..n], columns.map(|column| &column[..n]));
        for j in 0..n {
            (gap[j], slope[j]) = form.pair::<FMA>(a, &at(&columns, j), gap[j]);
        }
    }
}

vectorized! {
    fn gaps_alone[F: ClosedForm<N>, const N: usize][F, N](
        form: &F, a: &[f64; N], columns: [&[f64]; N], gap: &mut [f64],
    ) {
        let columns = columns.map(|column| &column[..gap.len()]);
        for (j, gap) in gap.iter_mut().enumerate() {
            *gap = form.pair::<FMA>(a, &at(&columns, j), *gap).0;
        }
    }
}

vectorized! {
    /// Register by register: runs are short, and what is missing in the last register is computed for nothing.
    fn both_advance[F: ClosedForm<N>, const N: usize][F, N](
        form: &F, rows: [&[f64]; N], columns: [&[f64]; N], gap: &mut [f64], slope: &mut [f64],
    ) {
        let n = gap.len();
        for first in (0..n).step_by(LANES) {
            let (mut a, mut b, mut slopes) = ([[1.0; LANES]; N], [[1.0; LANES]; N], [0.0; LANES]);
            for k in 0..N {
                load(&rows[k][first..], &mut a[k]);
                load(&columns[k][first..], &mut b[k]);
            }
            let mut gaps = [1.0; LANES];
            load(&gap[first..], &mut gaps);
            for k in 0..LANES {
                (gaps[k], slopes[k]) = form.pair::<FMA>(&entry(&a, k), &entry(&b, k), gaps[k]);
            }
            store(&gaps, &mut gap[first..]);
            if !slope.is_empty() {
                store(&slopes, &mut slope[first..]);
            }
        }
    }
}

/// As many numbers as there are, whole registers in one piece.
#[inline(always)]
fn load(from: &[f64], to: &mut [f64; LANES]) {
    match from.first_chunk() {
        Some(whole) => *to = *whole,
        None => to[..from.len()].copy_from_slice(from),
    }
}

#[inline(always)]
fn store(from: &[f64; LANES], to: &mut [f64]) {
    match to.first_chunk_mut() {
        Some(whole) => *whole = *from,
        None => to.copy_from_slice(&from[..to.len()]),
    }
}

/// [`at`] for registers.
#[inline(always)]
fn entry<const N: usize>(registers: &[[f64; LANES]; N], k: usize) -> [f64; N] {
    let mut factors = [0.0; N];
    for (factor, register) in factors.iter_mut().zip(registers) {
        *factor = register[k];
    }
    factors
}

/// 1 − ω from ω = V₁₂/√(V₁₁V₂₂) ≥ 0 and δᵢ = (Vᵢᵢ − V₁₂)/√(V₁₁V₂₂), without cancellation where V₁₁ = V₂₂, and with an
/// error far below the square root of the result elsewhere.
#[inline(always)]
pub(super) fn gap_of(omega: f64, delta: [f64; 2]) -> f64 {
    // V₁₁V₂₂ − V₁₂² = V₁₂(d₁ + d₂) + d₁d₂ for dᵢ = Vᵢᵢ − V₁₂; where the dᵢ are large these terms cancel, and ω does not.
    let exact = (omega * (delta[0] + delta[1]) + delta[0] * delta[1]) / (1.0 + omega);
    let far = delta[0].abs().max(delta[1].abs()) > 1.0;
    (if far { 1.0 - omega } else { exact }).clamp(0.0, 1.0)
}

/// 1 − |ρ′| for an odd φ whose dual is a power series f in one number, ρ′ = f(r√(z₁z₂))/√(f(z₁)f(z₂)) with
/// f(z) = z Σ cₘ z²ᵐ, c₀ = 1 and small z: φ is nearly a line there, so u comes first and the rest is of order z².
#[inline(always)]
pub(super) fn nearly_linear<const M: usize>(c: &[f64; M], z: [f64; 2], u: f64) -> f64 {
    let (r, w) = (1.0 - u, u * (2.0 - u));
    let b = r * r * z[0] * z[1];
    // f(z)/z − 1 at the pair, and the diagonal ones minus it, from zᵢ²ᵐ − z₁₂²ᵐ without cancellation.
    let difference = |z: f64, other: f64| {
        let (a, first) = (z * z, z * ((z - other) + w * other));
        let (mut power, mut difference, mut sum) = (1.0, 0.0, 0.0);
        for c in &c[1..] {
            difference = a * difference + power * first;
            power *= b;
            sum += c * difference;
        }
        sum
    };
    let pair = 1.0 + b * c[1..].iter().rev().fold(0.0, |sum, c| sum * b + c);
    let d = [difference(z[0], z[1]), difference(z[1], z[0])];
    let norm = ((pair + d[0]) * (pair + d[1])).sqrt();
    (u + r * gap_of(pair / norm, [d[0] / norm, d[1] / norm])).clamp(0.0, 1.0)
}

/// One parity of a dual at correlation |ρ|: its diagonal, its value and diagonal minus value, the last without
/// cancellation.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub diagonal: [f64; 2],
    pub value: f64,
    pub difference: [f64; 2],
}

impl Part {
    /// The same for c·φ, given c².
    #[inline(always)]
    pub(super) fn times(self, c: f64) -> Self {
        let Part { diagonal: [a, b], value, difference: [d, e] } = self;
        Part { diagonal: [c * a, c * b], value: c * value, difference: [c * d, c * e] }
    }
}

/// The signed gap of φ from the duals of its odd and even parts (E of a mixed product is 0): V₁₂ = ±odd + even, and from
/// `norm` = √(V₁₁V₂₂).
#[inline(always)]
pub(super) fn combine(gap: f64, odd: Part, even: Part, norm: f64) -> f64 {
    let positive = gap.is_sign_positive();
    let (keep_odd, keep_even) = (positive || odd.value > even.value, positive || even.value >= odd.value);
    // Of a sample without variance, whose gap is set elsewhere.
    let scale = 1.0 / norm.max(f64::MIN_POSITIVE);
    let value = even.value + if positive { odd.value } else { -odd.value };
    // Vᵢᵢ − |V₁₂|, where a part of the other sign adds to the distance. Selected, not branched over.
    let mut distance = [0.0; 2];
    for (side, distance) in distance.iter_mut().enumerate() {
        let odd = if keep_odd { odd.difference[side] } else { odd.diagonal[side] + odd.value };
        let even = if keep_even { even.difference[side] } else { even.diagonal[side] + even.value };
        *distance = (odd + even) * scale;
    }
    gap_of(value.abs() * scale, distance).copysign(value)
}
