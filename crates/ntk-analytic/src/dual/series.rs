//! Mehler's series: V₁₂ = Σₖ aₖ(q₁₁) aₖ(q₂₂) ρᵏ with the Hermite coefficients aₖ(q) = E φ(√q x) heₖ(x), x ~ N(0, 1).
//!
//! The coefficients depend on one variance each, so a kernel of n² entries needs n expansions and then a polynomial
//! in ρ for each entry. Source: Mehler (1866); [daniely2016toward] call the series the dual of φ.

use std::collections::HashMap;

use super::closed::no_moment;
use super::{Prepared, correlation};
use crate::Error;
use crate::lane::{fma, vectorized};

/// One activation at one variance, in the orthonormal Hermite polynomials.
pub(super) struct Expansion {
    /// E φ².
    pub(super) variance: f64,
    /// aₖ of φ.
    pub(super) value: Vec<f64>,
    /// aₖ of φ′.
    pub(super) slope: Vec<f64>,
    /// Share of E φ² or of E φ′² that the coefficients miss, the larger; by Cauchy–Schwarz the errors of value and
    /// slope of a pair are at most the geometric mean of its shares.
    pub(super) error: f64,
}

impl Expansion {
    /// A finite expansion.
    pub(super) fn exact(value: Vec<f64>, slope: Vec<f64>) -> Self {
        Expansion { variance: square(&value), value, slope, error: 0.0 }
    }
}

fn square(a: &[f64]) -> f64 {
    a.iter().map(|a| a * a).sum()
}

/// Coefficients of the samples of one side, term by term: entry k·n + j is term k of sample j. Behind the last one is
/// room to read whole registers.
struct Side {
    variances: Vec<f64>,
    /// Of φ, with Σₖ aₖ² = 1.
    value: Vec<f64>,
    slope: Vec<f64>,
}

struct Series {
    sides: [Side; 2],
    /// Numbers of terms of value and slope.
    value: Terms,
    slope: Terms,
    error: f64,
}

/// How many terms, and whether those of even and odd degree occur.
#[derive(Clone, Copy)]
struct Terms {
    count: usize,
    occurs: [bool; 2],
}

/// Expands φ at every distinct variance: `expand(q, terms)` gives at least `terms` coefficients unless fewer are exact.
pub(super) fn prepare_series(
    q1: &[f64],
    q2: &[f64],
    name: &str,
    expand: impl Fn(f64, usize) -> Result<Expansion, Error>,
) -> Result<Box<dyn Prepared>, Error> {
    let mut distinct: Vec<f64> = q1.iter().chain(q2).copied().collect();
    // Large variances first: they want the most terms.
    distinct.sort_by(|a, b| b.total_cmp(a));
    distinct.dedup_by_key(|q| q.to_bits());
    let (mut expansions, mut most): (Vec<Expansion>, usize) = (Vec::with_capacity(distinct.len()), 0);
    for &q in &distinct {
        let expansion = expand(q, most)?;
        if !(expansion.variance.is_finite() && square(&expansion.slope).is_finite()) {
            return Err(no_moment(name, q));
        }
        most = most.max(expansion.value.len());
        expansions.push(expansion);
    }
    // The error of a pair is the geometric mean of what its samples miss after the same number of terms.
    for (e, &q) in expansions.iter_mut().zip(&distinct) {
        if e.error > 0.0 && e.value.len() < most {
            *e = expand(q, most)?;
        }
    }
    let index: HashMap<u64, usize> = distinct.iter().enumerate().map(|(k, q)| (q.to_bits(), k)).collect();
    let terms = |coefficients: fn(&Expansion) -> &Vec<f64>| {
        let mut terms = Terms { count: 0, occurs: [false; 2] };
        for list in expansions.iter().map(coefficients) {
            terms.count = terms.count.max(list.len());
            list.iter().enumerate().for_each(|(k, &a)| terms.occurs[k % 2] |= a != 0.0);
        }
        terms
    };
    let (value, slope) = (terms(|e| &e.value), terms(|e| &e.slope));
    let side = |q: &[f64]| {
        let own: Vec<&Expansion> = q.iter().map(|q| &expansions[index[&q.to_bits()]]).collect();
        let norms: Vec<f64> = own.iter().map(|e| square(&e.value).sqrt()).collect();
        let (n, mut side) = (q.len(), Side { variances: Vec::new(), value: Vec::new(), slope: Vec::new() });
        side.variances = own.iter().map(|e| e.variance).collect();
        side.value.resize(value.count * n + LANES, 0.0);
        side.slope.resize(slope.count * n + LANES, 0.0);
        for (j, (e, &norm)) in own.iter().zip(&norms).enumerate() {
            e.value.iter().enumerate().for_each(|(k, a)| {
                side.value[k * n + j] = if norm > 0.0 { a / norm } else { 0.0 };
            });
            e.slope.iter().enumerate().for_each(|(k, b)| side.slope[k * n + j] = *b);
        }
        side
    };
    let error = expansions.iter().map(|e| e.error).fold(0.0, f64::max);
    Ok(Box::new(Series { sides: [side(q1), side(q2)], value, slope, error }))
}

/// Numbers in the widest register.
const LANES: usize = 8;

/// Columns that share one sweep over the terms.
const CHUNK: usize = 64;

/// Below this, 1 − |Σ aₖaₖρᵏ| is computed again without cancellation.
const CLOSE: f64 = 1.0 / (1u64 << 20) as f64;

vectorized! {
    /// p ← p ρ² + a b.
    fn horner(partial: &mut [f64], rho: &[f64], a: f64, b: &[f64]) {
        for ((partial, &rho), &b) in partial.iter_mut().zip(rho).zip(b) {
            *partial = fma::<FMA>(*partial, rho * rho, a * b);
        }
    }
}

vectorized! {
    /// Σₖ aₖ bₖ ρᵏ where a and b advance together: the sums of a sweep, register by register.
    fn diagonal_sweep(terms: Terms, a: &[f64], n1: usize, b: &[f64], n2: usize, rho: &[f64], sum: &mut [f64]) {
        for first in (0..rho.len()).step_by(LANES) {
            let len = if rho.len() - first < LANES { rho.len() - first } else { LANES };
            let mut r = [0.0; LANES];
            r[..len].copy_from_slice(&rho[first..first + len]);
            let (mut even, mut odd) = ([0.0; LANES], [0.0; LANES]);
            let mut k = terms.count;
            while k > 0 {
                k -= 1;
                if !terms.occurs[k % 2] {
                    continue;
                }
                let (a, b) = (&a[k * n1 + first..][..LANES], &b[k * n2 + first..][..LANES]);
                let partial = if k.is_multiple_of(2) { &mut even } else { &mut odd };
                for l in 0..LANES {
                    partial[l] = fma::<FMA>(partial[l], r[l] * r[l], a[l] * b[l]);
                }
            }
            for l in 0..LANES {
                even[l] = fma::<FMA>(odd[l], r[l], even[l]);
            }
            sum[first..first + len].copy_from_slice(&even[..len]);
        }
    }
}

/// Σₖ aₖ[i] bₖ[j] ρᵏ for the columns j of one chunk, by Horner's rule in ρ² for each parity.
fn sweep(
    terms: Terms,
    a: impl Fn(usize) -> f64,
    b: &[f64],
    n: usize,
    j0: usize,
    rho: &[f64],
    sum: &mut [f64],
) {
    let len = rho.len();
    sum.fill(0.0);
    for parity in [1, 0] {
        if !terms.occurs[parity] {
            continue;
        }
        let mut partial = [0.0; CHUNK];
        for k in (parity..terms.count).step_by(2).rev() {
            horner(&mut partial[..len], rho, a(k), &b[k * n + j0..][..len]);
        }
        for ((s, p), rho) in sum.iter_mut().zip(&partial).zip(rho) {
            *s += if parity == 1 { p * rho } else { *p };
        }
    }
}

impl Series {
    /// 1 − |V₁₂|/√(V₁₁V₂₂) as a sum of terms that do not cancel: with unit vectors a, b,
    /// 1 − Σ aₖbₖrᵏ = Σ [½(aₖ − bₖ)² + aₖbₖ(1 − rᵏ)].
    fn close(&self, i: usize, j: usize, gap: f64, output_sign: f64) -> f64 {
        let [rows, columns] = &self.sides;
        let (n1, n2) = (rows.variances.len(), columns.variances.len());
        let u = gap.abs();
        // Terms whose sign is not that of the output enter as 1 + aₖbₖrᵏ.
        let flips = [output_sign < 0.0, (output_sign < 0.0) != gap.is_sign_negative()];
        let (mut sum, mut w) = (0.0, 0.0);
        for k in 0..self.value.count {
            let (a, b) = (rows.value[k * n1 + i], columns.value[k * n2 + j]);
            sum += if flips[k % 2] {
                0.5 * (a * a + b * b) + a * b * (1.0 - w)
            } else {
                0.5 * (a - b) * (a - b) + a * b * w
            };
            // 1 − rᵏ⁺¹ = r (1 − rᵏ) + (1 − r).
            w = w * (1.0 - u) + u;
        }
        sum.clamp(0.0, 1.0)
    }
}

impl Series {
    /// The signed gap of the output of one pair, given its correlation.
    fn finish(&self, i: usize, j: usize, gap: &mut f64, value: f64) {
        let naive = (1.0 - value.abs()).max(0.0);
        let exact = if naive < CLOSE { self.close(i, j, *gap, value) } else { naive };
        *gap = exact.copysign(value);
    }
}

impl Prepared for Series {
    fn variances(&self) -> (&[f64], &[f64]) {
        (&self.sides[0].variances, &self.sides[1].variances)
    }

    fn row(&self, i: usize, j0: usize, gap: &mut [f64], mut slope: Option<&mut [f64]>) {
        let [rows, columns] = &self.sides;
        let (n1, n2) = (rows.variances.len(), columns.variances.len());
        for start in (0..gap.len()).step_by(CHUNK) {
            let len = CHUNK.min(gap.len() - start);
            let (gap, j0) = (&mut gap[start..start + len], j0 + start);
            let (mut rho, mut value) = ([0.0; CHUNK], [0.0; CHUNK]);
            rho.iter_mut().zip(gap.iter()).for_each(|(rho, &gap)| *rho = correlation(gap));
            let rho = &rho[..len];
            if let Some(slope) = slope.as_deref_mut() {
                let slope = &mut slope[start..start + len];
                sweep(self.slope, |k| rows.slope[k * n1 + i], &columns.slope, n2, j0, rho, slope);
            }
            sweep(self.value, |k| rows.value[k * n1 + i], &columns.value, n2, j0, rho, &mut value[..len]);
            for (j, (gap, &value)) in gap.iter_mut().zip(&value).enumerate() {
                self.finish(i, j0 + j, gap, value);
            }
        }
    }

    fn diagonal(&self, i0: usize, j0: usize, gap: &mut [f64], mut slope: Option<&mut [f64]>) {
        let [rows, columns] = &self.sides;
        let (n1, n2) = (rows.variances.len(), columns.variances.len());
        for start in (0..gap.len()).step_by(CHUNK) {
            let len = CHUNK.min(gap.len() - start);
            let (gap, i, j) = (&mut gap[start..start + len], i0 + start, j0 + start);
            let (mut rho, mut value) = ([0.0; CHUNK], [0.0; CHUNK]);
            rho.iter_mut().zip(gap.iter()).for_each(|(rho, &gap)| *rho = correlation(gap));
            let rho = &rho[..len];
            // There may be no terms at all, and then there is nothing to begin with.
            if let Some(slope) = slope.as_deref_mut() {
                let (a, b) =
                    (rows.slope.get(i..).unwrap_or_default(), columns.slope.get(j..).unwrap_or_default());
                diagonal_sweep(self.slope, a, n1, b, n2, rho, &mut slope[start..start + len]);
            }
            let (a, b) =
                (rows.value.get(i..).unwrap_or_default(), columns.value.get(j..).unwrap_or_default());
            diagonal_sweep(self.value, a, n1, b, n2, rho, &mut value[..len]);
            for (k, (gap, &value)) in gap.iter_mut().zip(&value).enumerate() {
                self.finish(i + k, j + k, gap, value);
            }
        }
    }

    fn error(&self) -> f64 {
        self.error
    }
}
