//! The loops over a sheet, widened to whole registers.
//!
//! All of them read numbers of the pairs of one sheet and the tables of the two samples at the same places. A place
//! where either position lies outside the grid has root 0 and inverse 0 there.

use super::layout::LANES;
use super::real::Real;
use crate::lane::vectorized;

/// Roots of variances r, r′ (or other factors) of the pairs of a sheet, and their inverses.
#[derive(Clone, Copy)]
pub(super) struct Sides<'a, T> {
    pub(super) value: [&'a [T]; 2],
    pub(super) inverse: [&'a [T]; 2],
}

impl<'a, T> Sides<'a, T> {
    /// The first `n` of each, said once to spare loops their checks.
    #[inline(always)]
    fn first(&self, n: usize) -> [&'a [T]; 4] {
        let Sides { value, inverse } = self;
        [&value[0][..n], &value[1][..n], &inverse[0][..n], &inverse[1][..n]]
    }
}

/// What the layer behind wants: a multiple of the distance and, in place of Θ, `ntk`·Θ + `kernel`·K.
#[derive(Clone, Copy)]
pub(super) struct Emit<T> {
    pub(super) distance: T,
    pub(super) ntk: T,
    pub(super) kernel: T,
}

/// Where D − ½(r − r′)² counts as rounded: an error relative to D, and two rounded roots of about equal size.
#[inline(always)]
fn noise<T: Real, const FMA: bool>(distance: T, difference: T, r: T) -> T {
    T::SNAP * difference.abs().fma::<FMA>(r, distance)
}

/// (½(r − r′)², rr′, D − ½(r − r′)²): what a distance has because the variances differ, the scale, and rr′(1 − ρ),
/// which is 0 where it is no more than rounding.
#[inline(always)]
fn parts<T: Real, const FMA: bool>(distance: T, r: T, s: T) -> (T, T, T) {
    let (difference, product) = (r - s, r * s);
    let spread = T::HALF * difference * difference;
    let excess = distance - spread;
    let noise = noise::<T, FMA>(distance, difference, r);
    (spread, product, if product > T::ZERO && excess > noise { excess } else { T::ZERO })
}

/// 1 − ρ and 1 − |ρ|.
#[inline(always)]
fn gap<T: Real>((spread, product, excess): (T, T, T), inverse: T) -> (T, T) {
    let u = if product > T::ZERO { excess * inverse } else { T::ONE };
    // r² + r′² = 2(½(r − r′)² + rr′) and 1 + ρ = (2rr′ − excess)/rr′.
    let opposite = T::TWO * product - excess <= T::SNAP * (spread + product) && product > T::ZERO;
    let above = if opposite { T::ZERO } else { T::TWO - u };
    (u, if u > T::ONE { above } else { u })
}

vectorized! {
    /// The activations a·min(x, 0) + b·max(x, 0), `form` = [(a² + b²)/2, (a − b)²/(a² + b²)], of the sums of TAPS
    /// neighbors, to whose Θ `constant` is added.
    pub(super) fn arc_cosine[T: Real, const TAPS: usize, const NTK: bool][T, TAPS, NTK](
        form: [T; 2],
        constant: T,
        emit: &Emit<T>,
        roots: &Sides<'_, T>,
        distance: &[T],
        ntk: &[T],
        distance_out: &mut [T],
        ntk_out: &mut [T],
    ) {
        let n = distance_out.len();
        let [half, c] = form;
        let [r, s, r_inverse, s_inverse] = roots.first(n);
        let (middle, last) = (TAPS / 2, TAPS - 1);
        let d = [&distance[..n], &distance[middle..middle + n], &distance[last..last + n]];
        let t = if NTK { [&ntk[..n], &ntk[middle..middle + n], &ntk[last..last + n]] } else { [&ntk[..0]; 3] };
        let ntk_out = if NTK { &mut ntk_out[..n] } else { ntk_out };
        let (to_distance, to_ntk, to_kernel) = (emit.distance * half, emit.ntk * half, emit.kernel * half);
        for i in 0..n {
            let distance = if TAPS == 3 { d[0][i] + d[1][i] + d[2][i] } else { d[0][i] };
            let parts = parts::<T, FMA>(distance, r[i], s[i]);
            let inverse = r_inverse[i] * s_inverse[i];
            let (u, m) = gap(parts, inverse);
            let (spread, product, excess) = parts;
            let root = m.sqrt();
            // 1 − ρ′ = u − c (λ(m) + max(u − 1, 0)) for either sign of ρ, with λ the lune.
            let beyond = if u > T::ONE { u - T::ONE } else { T::ZERO };
            let less = c * (m.lune::<FMA>(root) + beyond);
            let excess = (-product).fma::<FMA>(less, excess);
            distance_out[i] = to_distance * (spread + excess);
            if NTK {
                let theta = if TAPS == 3 { t[0][i] + t[1][i] + t[2][i] } else { t[0][i] } + constant;
                let share = m.angle::<FMA>(root);
                let slope = T::ONE - c * if u > T::ONE { T::ONE - share } else { share };
                let value = (to_ntk * theta).fma::<FMA>(slope, to_kernel * (product - excess));
                ntk_out[i] = if inverse > T::ZERO { value } else { T::ZERO };
            }
        }
    }
}

vectorized! {
    /// [`arc_cosine`] for ReLU where all correlations are positive and all variances inside the grid.
    pub(super) fn relu[T: Real, const TAPS: usize, const NTK: bool][T, TAPS, NTK](
        constant: T,
        emit: &Emit<T>,
        roots: &Sides<'_, T>,
        distance: &[T],
        ntk: &[T],
        distance_out: &mut [T],
        ntk_out: &mut [T],
    ) {
        let n = distance_out.len();
        let [r, s, r_inverse, s_inverse] = roots.first(n);
        let (middle, last) = (TAPS / 2, TAPS - 1);
        let d = [&distance[..n], &distance[middle..middle + n], &distance[last..last + n]];
        let t = if NTK { [&ntk[..n], &ntk[middle..middle + n], &ntk[last..last + n]] } else { [&ntk[..0]; 3] };
        let ntk_out = if NTK { &mut ntk_out[..n] } else { ntk_out };
        let (to_distance, to_ntk, to_kernel) =
            (T::HALF * emit.distance, T::HALF * emit.ntk, T::HALF * emit.kernel);
        for i in 0..n {
            let (r, s, inverse) = (r[i], s[i], r_inverse[i] * s_inverse[i]);
            let distance = if TAPS == 3 { d[0][i] + d[1][i] + d[2][i] } else { d[0][i] };
            let (difference, product) = (r - s, r * s);
            let spread = T::HALF * difference * difference;
            let excess = distance - spread;
            let inside = product > T::ZERO;
            let apart = excess > noise::<T, FMA>(distance, difference, r);
            let excess = if inside & apart { excess } else { T::ZERO };
            let u = excess * inverse;
            // Above 1 by rounding, and by much where one variance is tiny beside the other.
            let u = if u < T::ONE { u } else { T::ONE };
            let root = u.sqrt();
            let excess = (-product).fma::<FMA>(u.lune::<FMA>(root), excess);
            distance_out[i] = to_distance * (spread + excess);
            if NTK {
                let theta = if TAPS == 3 { t[0][i] + t[1][i] + t[2][i] } else { t[0][i] } + constant;
                let theta = to_ntk * theta;
                let value = (-theta).fma::<FMA>(u.angle::<FMA>(root), theta);
                let value = to_kernel.fma::<FMA>(product - excess, value);
                ntk_out[i] = if inside { value } else { T::ZERO };
            }
        }
    }
}

vectorized! {
    /// Distances and Θ as the next layer wants them.
    pub(super) fn close[T: Real, const NTK: bool][T, NTK](
        constant: T,
        emit: &Emit<T>,
        roots: &Sides<'_, T>,
        distance: &[T],
        ntk: &[T],
        distance_out: &mut [T],
        ntk_out: &mut [T],
    ) {
        let n = distance_out.len();
        let [r, s, r_inverse, s_inverse] = roots.first(n);
        let distance = &distance[..n];
        let (ntk, ntk_out) = if NTK { (&ntk[..n], &mut ntk_out[..n]) } else { (ntk, ntk_out) };
        for i in 0..n {
            let (difference, product) = (r[i] - s[i], r[i] * s[i]);
            let spread = T::HALF * difference * difference;
            let inside = r_inverse[i] * s_inverse[i] > T::ZERO;
            distance_out[i] = emit.distance * if inside { distance[i] } else { spread };
            if NTK {
                let kernel = if product > T::ZERO { product - (distance[i] - spread) } else { T::ZERO };
                let value = emit.ntk.fma::<FMA>(ntk[i] + constant, emit.kernel * kernel);
                ntk_out[i] = if inside { value } else { T::ZERO };
            }
        }
    }
}

vectorized! {
    /// Signed gaps, in the order of [`crate::dual`].
    pub(super) fn signed_gaps[T: Real][T](roots: &Sides<'_, T>, distance: &[T], gaps: &mut [f64]) {
        let n = gaps.len();
        let [r, s, r_inverse, s_inverse] = roots.first(n);
        let distance = &distance[..n];
        for i in 0..n {
            let parts = parts::<T, FMA>(distance[i], r[i], s[i]);
            let (u, m) = gap(parts, r_inverse[i] * s_inverse[i]);
            let m = m.to_f64();
            gaps[i] = if u > T::ONE { -m } else { m };
        }
    }
}

vectorized! {
    /// Distances of signed gaps between variables of the roots given, and Θ·slope.
    pub(super) fn from_gaps[T: Real, const NTK: bool][T, NTK](
        constant: T,
        emit: &Emit<T>,
        roots: &Sides<'_, T>,
        gaps: &[f64],
        slopes: &[f64],
        ntk: &[T],
        distance_out: &mut [T],
        ntk_out: &mut [T],
    ) {
        let n = distance_out.len();
        let [r, s, r_inverse, s_inverse] = roots.first(n);
        let gaps = &gaps[..n];
        let (slopes, ntk, ntk_out) =
            if NTK { (&slopes[..n], &ntk[..n], &mut ntk_out[..n]) } else { (slopes, ntk, ntk_out) };
        for i in 0..n {
            let (difference, product) = (r[i] - s[i], r[i] * s[i]);
            let modulus = T::of(gaps[i].abs());
            let negative = gaps[i].is_sign_negative();
            let u = if negative { T::TWO - modulus } else { modulus };
            let spread = T::HALF * difference * difference;
            distance_out[i] = emit.distance * product.fma::<FMA>(u, spread);
            if NTK {
                let rho = T::ONE - modulus;
                let kernel = product * if negative { -rho } else { rho };
                let theta = (ntk[i] + constant) * T::of(slopes[i]);
                let value = emit.ntk.fma::<FMA>(theta, emit.kernel * kernel);
                let inside = r_inverse[i] * s_inverse[i] > T::ZERO;
                ntk_out[i] = if inside { value } else { T::ZERO };
            }
        }
    }
}

vectorized! {
    /// Products of two tables as slopes.
    pub(super) fn products[T: Real][T](factors: &Sides<'_, T>, slopes: &mut [f64]) {
        let _ = FMA;
        let [f, g, ..] = factors.first(slopes.len());
        for (i, slope) in slopes.iter_mut().enumerate() {
            *slope = (f[i] * g[i]).to_f64();
        }
    }
}

vectorized! {
    /// Numbers of pairs inside the grid plus `constant`, and 0 at the others.
    pub(super) fn inside[T: Real][T](constant: T, roots: &Sides<'_, T>, from: &[T], to: &mut [T]) {
        let _ = FMA;
        let n = to.len();
        let [_, _, r_inverse, s_inverse] = roots.first(n);
        let from = &from[..n];
        for i in 0..n {
            to[i] = if r_inverse[i] * s_inverse[i] > T::ZERO { from[i] + constant } else { T::ZERO };
        }
    }
}

vectorized! {
    /// Sums of three numbers that lie `step` apart, the first ones from the beginning of `from` on.
    pub(super) fn sum_of_three[T: Real][T](step: usize, from: &[T], to: &mut [T]) {
        let _ = FMA;
        let n = to.len();
        let (a, b, c) = (&from[..n], &from[step..step + n], &from[2 * step..2 * step + n]);
        for i in 0..n {
            to[i] = a[i] + b[i] + c[i];
        }
    }
}

vectorized! {
    pub(super) fn add[T: Real][T](from: &[T], to: &mut [T]) {
        let _ = FMA;
        for (to, &from) in to.iter_mut().zip(from) {
            *to = *to + from;
        }
    }
}

/// Adds every `step`-th number. Too few at a time for a call that asks which processor this is.
#[inline(always)]
pub(super) fn add_every<T: Real>(step: usize, from: &[T], to: &mut [f64]) {
    if step == 2 {
        // The last one may lack its neighbor.
        let (pairs, rest) = from.as_chunks::<2>();
        for (to, [first, _]) in to.iter_mut().zip(pairs) {
            *to += first.to_f64();
        }
        if let ([last], Some(to)) = (rest, to.last_mut()) {
            *to += last.to_f64();
        }
    } else {
        to.iter_mut().zip(from.iter().step_by(step)).for_each(|(to, from)| *to += from.to_f64());
    }
}

vectorized! {
    /// Adds `scale` times the squares of differences, channel by channel.
    pub(super) fn add_distances['a, I: Iterator<Item = [&'a [f64]; 2]>][I](
        channels: I, scale: f64, to: &mut [f64],
    ) {
        let _ = FMA;
        for [x, y] in channels {
            let (x, y) = (&x[..to.len()], &y[..to.len()]);
            for (i, to) in to.iter_mut().enumerate() {
                let difference = x[i] - y[i];
                *to += scale * difference * difference;
            }
        }
    }
}

/// Σ x in f64, in partial sums that do not depend on the processor.
pub(super) fn sum<T: Real>(x: &[T]) -> f64 {
    let mut sums = [0.0; LANES];
    for chunk in x.chunks(LANES) {
        sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum += x.to_f64());
    }
    sums.iter().sum()
}
