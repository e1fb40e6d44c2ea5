//! The recursion over layers for one row sample and a run of column samples, all of it in L1.
//!
//! Two numbers travel for each pair. The first is the *signed gap*: its modulus is 1 − |ρ| with all its digits, its
//! sign that of the correlation ρ. Together with the variances of [`pass`](crate::pass) it is the NNGP, and unlike
//! ρ itself it does not lose the angle between nearly equal or opposite inputs. The second is the NTK as it is.

use crate::lane::{fma, vectorized};
use crate::pass::{Affine, Mix, Sides, Stage};
use crate::rules::Pair;

/// Columns that are worked on together: with the factors of the columns they fit L1.
pub(crate) const RUN: usize = 256;

/// Which entries a run holds.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Row sample.
    pub(crate) i: usize,
    /// First column sample.
    pub(crate) j0: usize,
    /// Position in the run of the row sample itself, where rows and columns are the same samples.
    pub(crate) diagonal: Option<usize>,
}

/// Buffers for slopes and branches, kept from run to run.
#[derive(Default)]
pub(crate) struct Scratch(Vec<Vec<f64>>);

impl Scratch {
    fn take(&mut self, from: &[f64]) -> Vec<f64> {
        let mut buffer = self.0.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(from);
        buffer
    }

    fn put(&mut self, buffer: Vec<f64>) {
        self.0.push(buffer);
    }
}

/// Runs a stage over signed gaps and, unless `ntk` is empty, tangent kernels.
pub(crate) fn run(stage: &Stage, place: Place, gap: &mut [f64], ntk: &mut [f64], scratch: &mut Scratch) {
    let (i, columns) = (place.i, place.j0..place.j0 + gap.len());
    match stage {
        Stage::Serial(stages) => stages.iter().for_each(|stage| run(stage, place, gap, ntk, scratch)),
        Stage::Affine(affine) => run_affine(affine, place, gap, ntk),
        Stage::Activation(prepared) => {
            if ntk.is_empty() {
                prepared.row(i, place.j0, gap, None);
            } else {
                let mut slope = scratch.take(gap);
                prepared.row(i, place.j0, gap, Some(&mut slope));
                multiply(ntk, &slope);
                scratch.put(slope);
            }
        }
        Stage::LayerNorm { factor } => {
            let row = factor[0][i];
            ntk.iter_mut().zip(&factor[1][columns]).for_each(|(ntk, column)| *ntk *= row * column);
        }
        Stage::Dropout { keep } => {
            // The covariance of two samples is untouched, their variances have grown by 1/keep: ρ ← keep ρ. A sample
            // with itself keeps ρ = 1, and its tangent kernel grows with its variance.
            let before = place.diagonal.map(|d| gap[d]);
            gap.iter_mut().for_each(|gap| *gap = (1.0 - keep + keep * gap.abs()).copysign(*gap));
            if let (Some(d), Some(before)) = (place.diagonal, before) {
                gap[d] = before;
                if let Some(ntk) = ntk.get_mut(d) {
                    *ntk /= keep;
                }
            }
        }
        Stage::Layer { rule, input, output } => {
            for (k, gap) in gap.iter_mut().enumerate() {
                let j = place.j0 + k;
                let (q11, q22) = (input[0][i], input[1][j]);
                let q12 = covariance((q11 * q22).sqrt(), *gap);
                let theta = ntk.get(k).copied().unwrap_or(0.0);
                let out = rule.pair(Pair { q11, q22, q12, gap: gap.abs(), ntk: theta });
                debug_assert!(
                    output[0][i] == out.q11 && output[1][j] == out.q22,
                    "variance and pair disagree"
                );
                *gap = out.gap.copysign(out.q12);
                if let Some(ntk) = ntk.get_mut(k) {
                    *ntk = out.ntk;
                }
            }
        }
        Stage::Sum { branches, mixes, ntk_weights } => {
            let (gap_in, ntk_in) = (scratch.take(gap), scratch.take(ntk));
            for (b, (branch, weight)) in branches.iter().zip(ntk_weights).enumerate() {
                let (mut branch_gap, mut branch_ntk) = (scratch.take(&gap_in), scratch.take(&ntk_in));
                run(branch, place, &mut branch_gap, &mut branch_ntk, scratch);
                if b == 0 {
                    gap.copy_from_slice(&branch_gap);
                    ntk.iter_mut().zip(&branch_ntk).for_each(|(sum, t)| *sum = weight * t);
                } else {
                    run_mix(&mixes[b - 1], place, gap, &branch_gap);
                    ntk.iter_mut().zip(&branch_ntk).for_each(|(sum, t)| *sum += weight * t);
                }
                scratch.put(branch_gap);
                scratch.put(branch_ntk);
            }
            scratch.put(gap_in);
            scratch.put(ntk_in);
        }
        Stage::Product { branches, roots } => run_product(branches, roots, place, gap, ntk, scratch),
    }
}

fn run_product(
    branches: &[Stage],
    roots: &[Sides],
    place: Place,
    gap: &mut [f64],
    ntk: &mut [f64],
    scratch: &mut Scratch,
) {
    let (gap_in, ntk_in) = (scratch.take(gap), scratch.take(ntk));
    // (K₁K₂)(x, x′) and Θ₁K₂ + K₁Θ₂, one branch after another; `kernel` is the product of the covariances so far.
    let mut kernel = scratch.take(&gap_in);
    kernel.fill(1.0);
    gap.fill(0.0);
    ntk.fill(0.0);
    for (branch, root) in branches.iter().zip(roots) {
        let (mut branch_gap, mut branch_ntk) = (scratch.take(&gap_in), scratch.take(&ntk_in));
        run(branch, place, &mut branch_gap, &mut branch_ntk, scratch);
        for k in 0..gap.len() {
            let value = covariance(root[0][place.i] * root[1][place.j0 + k], branch_gap[k]);
            if let Some(ntk) = ntk.get_mut(k) {
                *ntk = *ntk * value + kernel[k] * branch_ntk[k];
            }
            kernel[k] *= value;
            // 1 − |ρ₁ρ₂| = g₁ + g₂ − g₁g₂
            let (g1, g2) = (gap[k].abs(), branch_gap[k].abs());
            let negative = gap[k].is_sign_negative() != branch_gap[k].is_sign_negative();
            gap[k] = (g1 + g2 - g1 * g2).copysign(if negative { -1.0 } else { 1.0 });
        }
        scratch.put(branch_gap);
        scratch.put(branch_ntk);
    }
    for buffer in [gap_in, ntk_in, kernel] {
        scratch.put(buffer);
    }
}

/// √(q₁₁q₂₂) ρ of a signed gap.
#[inline(always)]
pub(crate) fn covariance(scale: f64, gap: f64) -> f64 {
    (scale * (1.0 - gap.abs())).copysign(gap)
}

vectorized! {
    /// Covariances in place of signed gaps.
    pub(crate) fn covariances(row: f64, column: &[f64], gap: &mut [f64]) {
        let _ = FMA;
        gap.iter_mut().zip(column).for_each(|(gap, column)| *gap = covariance(row * column, *gap));
    }
}

fn run_affine(affine: &Affine, place: Place, gap: &mut [f64], ntk: &mut [f64]) {
    let (i, columns) = (place.i, place.j0..place.j0 + gap.len());
    if !ntk.is_empty() {
        let row = affine.direct * affine.root[0][i];
        affine_ntk(row, &affine.root[1][columns.clone()], affine.ntk, affine.bias_direct, gap, ntk);
    }
    let mix = &affine.mix;
    if mix.beta[0][i] != 0.0 || mix.zeros {
        let (alpha, beta) = (&mix.alpha[1][columns.clone()], &mix.beta[1][columns]);
        mix_constant(mix.alpha[0][i], alpha, mix.beta[0][i], beta, gap);
        fix_zeros(mix, place, gap);
    }
}

fn run_mix(mix: &Mix, place: Place, gap: &mut [f64], other: &[f64]) {
    let (i, columns) = (place.i, place.j0..place.j0 + gap.len());
    let (alpha, beta) = (&mix.alpha[1][columns.clone()], &mix.beta[1][columns]);
    mix_pair(mix.alpha[0][i], alpha, mix.beta[0][i], beta, other, gap);
    fix_zeros(mix, place, gap);
}

/// A sample of variance 0 has correlation 0 with every other, by convention.
fn fix_zeros(mix: &Mix, place: Place, gap: &mut [f64]) {
    if mix.zeros {
        let zero = |side: usize, s: usize| mix.alpha[side][s] == 0.0 && mix.beta[side][s] == 0.0;
        for (k, gap) in gap.iter_mut().enumerate() {
            if zero(0, place.i) || zero(1, place.j0 + k) {
                *gap = 1.0;
            }
        }
    }
}

vectorized! {
    fn multiply(to: &mut [f64], by: &[f64]) {
        let _ = FMA;
        to.iter_mut().zip(by).for_each(|(to, by)| *to *= by);
    }
}

vectorized! {
    /// Θ′ = w Θ + r rⱼ ρ + c.
    fn affine_ntk(row: f64, root: &[f64], weight: f64, constant: f64, gap: &[f64], ntk: &mut [f64]) {
        for ((ntk, &gap), &column) in ntk.iter_mut().zip(gap).zip(root) {
            let kernel = (1.0 - gap.abs()).copysign(gap);
            *ntk = fma::<FMA>(row * column, kernel, fma::<FMA>(weight, *ntk, constant));
        }
    }
}

/// Signed gap of ρ = ααⱼ ρ_a + ββⱼ ρ_b, where α² + β² = 1 for both samples:
/// 1 ∓ ρ = ½[(α − αⱼ)² + (β − βⱼ)²] + ααⱼ(1 ∓ ρ_a) + ββⱼ(1 ∓ ρ_b) for the upper sign, and likewise for the lower
/// one; no term cancels another.
#[inline(always)]
fn mixed<const FMA: bool>(alpha: [f64; 2], beta: [f64; 2], a: f64, b: f64) -> f64 {
    let distance = |gap: f64| {
        let (near, far) = (gap.abs(), 2.0 - gap.abs());
        if gap.is_sign_negative() { (far, near) } else { (near, far) }
    };
    let ((below_a, above_a), (below_b, above_b)) = (distance(a), distance(b));
    let (da, db) = (alpha[0] - alpha[1], beta[0] - beta[1]);
    let spread = 0.5 * fma::<FMA>(da, da, db * db);
    let (aa, bb) = (alpha[0] * alpha[1], beta[0] * beta[1]);
    let below = fma::<FMA>(aa, below_a, fma::<FMA>(bb, below_b, spread));
    let above = fma::<FMA>(aa, above_a, fma::<FMA>(bb, above_b, spread));
    if below <= 1.0 { below } else { -above }
}

vectorized! {
    /// A bias is a part of correlation 1.
    fn mix_constant(alpha_i: f64, alpha: &[f64], beta_i: f64, beta: &[f64], gap: &mut [f64]) {
        for ((gap, &alpha), &beta) in gap.iter_mut().zip(alpha).zip(beta) {
            *gap = mixed::<FMA>([alpha_i, alpha], [beta_i, beta], *gap, 0.0);
        }
    }
}

vectorized! {
    fn mix_pair(alpha_i: f64, alpha: &[f64], beta_i: f64, beta: &[f64], other: &[f64], gap: &mut [f64]) {
        for (((gap, &alpha), &beta), &other) in gap.iter_mut().zip(alpha).zip(beta).zip(other) {
            *gap = mixed::<FMA>([alpha_i, alpha], [beta_i, beta], *gap, other);
        }
    }
}
