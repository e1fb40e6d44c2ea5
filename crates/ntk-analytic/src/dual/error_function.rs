//! erf and the exact GELU: two arcs whose differences replace the differences of their values.
//!
//! Sources: Williams, "Computing with infinite networks" (1997) for erf; [lee2019wide]; Tsuchida, Pearce, van der
//! Heide, Roosta and Gallagher, "Avoiding kernel fixed points" (2021) for GELU.

use std::f64::consts::{FRAC_1_PI, FRAC_2_PI, PI};

use super::closed::{ClosedForm, LARGEST, Part, combine, nearly_linear};
use crate::lane::arctangent;

/// α(x) = arcsin(x/(1 + x)) = atan2(x, √(1 + 2x)).
fn diagonal_arc(x: f64) -> f64 {
    x.atan2((1.0 + 2.0 * x).sqrt())
}

/// arcsin z = z Σ cₘ z²ᵐ with cₘ = (2m)!/(4ᵐ m!² (2m + 1)); for z ≤ 1/5 the rest is below 1e-17.
const ARCSINE: [f64; 12] = {
    let (mut c, mut m, mut binomial) = ([0.0; 12], 0, 1.0);
    while m < 12 {
        c[m] = binomial / (2 * m + 1) as f64;
        binomial *= (2 * m + 1) as f64 / (2 * m + 2) as f64;
        m += 1;
    }
    c
};

/// What both activations need of a pair with scaled variances x₁, x₂ and correlation r = 1 − u ≥ 0.
#[derive(Clone, Copy)]
struct Arcs {
    /// √(x₁x₂).
    root: f64,
    /// 1 − r².
    w: f64,
    /// D = (1 + x₁)(1 + x₂) − x₁₂², and its root.
    d: f64,
    root_d: f64,
    /// arcsin(x₁₂/√((1 + x₁)(1 + x₂))), and the diagonal arcs minus it.
    part: Part,
    /// xᵢ − x₁₂.
    excess: [f64; 2],
}

/// x, √x, √(1 + 2x), α(x) and √V of one sample.
type Sample = [f64; 5];

fn sample(x: f64, variance: f64) -> Sample {
    [x, x.sqrt(), (1.0 + 2.0 * x).sqrt(), diagonal_arc(x), variance.sqrt()]
}

#[inline(always)]
fn arcs<const FMA: bool>(a: &Sample, b: &Sample, u: f64) -> Arcs {
    let (r, w) = (1.0 - u, u * (2.0 - u));
    let root = a[1] * b[1];
    let d = 1.0 + (a[0] + b[0]) + (a[0] * b[0]) * w;
    let root_d = d.sqrt();
    let x12 = r * root;
    let (excess1, arc1) = differences::<FMA>(a, b, u, root_d, x12);
    let (excess2, arc2) = differences::<FMA>(b, a, u, root_d, x12);
    let part =
        Part { diagonal: [a[3], b[3]], value: arctangent::<FMA>(x12, root_d), difference: [arc1, arc2] };
    Arcs { root, w, d, root_d, part, excess: [excess1, excess2] }
}

/// x₁ − x₁₂ and α₁ − α₁₂. A function and not a closure, since only functions can be forced into the widened loop.
#[inline(always)]
fn differences<const FMA: bool>(s: &Sample, o: &Sample, u: f64, root_d: f64, x12: f64) -> (f64, f64) {
    let &[x, sigma, e, ..] = s;
    let (r, w) = (1.0 - u, u * (2.0 - u));
    // σ₁ − rσ₂ and the tangent of α₁ − α₁₂, expanded so that nothing of order 1 is subtracted.
    let step = (sigma - o[1]) + u * o[1];
    let bracket = step * (sigma + r * o[1]) + x * o[0] * w;
    let below = (sigma * root_d + r * o[1] * e).max(f64::MIN_POSITIVE) * (root_d * e + x * x12);
    (sigma * step, arctangent::<FMA>(sigma * (1.0 + x) * bracket, below))
}

/// a·erf(bx) + c, with `SMALL` for c = 0 and all 2b²q < ¼: V = a² (2/π) arcsin(2b²q₁₂/√((1 + 2b²q₁₁)(1 + 2b²q₂₂))) + c².
pub(super) struct Erf<const SMALL: bool> {
    pub a: f64,
    pub b: f64,
    pub c: f64,
}

impl<const SMALL: bool> Erf<SMALL> {
    /// ½ erf(x/2.402…) + ½.
    pub(super) const SIGMOID_LIKE: Self = Erf { a: 0.5, b: 1.0 / 2.402_056_353_171_979_6, c: 0.5 };

    pub(super) fn scaled(&self, q: f64) -> f64 {
        2.0 * self.b * self.b * q
    }
}

impl<const SMALL: bool> ClosedForm<5> for Erf<SMALL> {
    fn variance(&self, q: f64) -> f64 {
        let x = self.scaled(q);
        if x <= LARGEST { self.a * self.a * FRAC_2_PI * diagonal_arc(x) + self.c * self.c } else { f64::NAN }
    }

    fn factors(&self, q: f64) -> [f64; 5] {
        sample(self.scaled(q), self.variance(q))
    }

    #[inline(always)]
    fn pair<const FMA: bool>(&self, x: &[f64; 5], y: &[f64; 5], gap: f64) -> (f64, f64) {
        let &Erf { a, b, c } = self;
        let arcs = arcs::<FMA>(x, y, gap.abs());
        let constant = Part { diagonal: [c * c; 2], value: c * c, difference: [0.0; 2] };
        let gap = if SMALL {
            nearly_linear(&ARCSINE, [x[0] / (1.0 + x[0]), y[0] / (1.0 + y[0])], gap.abs()).copysign(gap)
        } else {
            combine(gap, arcs.part.times(a * a * FRAC_2_PI), constant, x[4] * y[4])
        };
        (gap, a * a * b * b * 4.0 * FRAC_1_PI / arcs.root_d)
    }
}

/// x Φ(x) = x/2 + (x/2) erf(x/√2), a line and an even function: with D = (1 + q₁₁)(1 + q₂₂) − q₁₂² and
/// N = q₁₁q₂₂(1 − ρ²) + (2 + q₁₁ + q₂₂) q₁₂²/((1 + q₁₁)(1 + q₂₂)), the latter has the dual
/// [N/√D + q₁₂ arcsin(q₁₂/√((1 + q₁₁)(1 + q₂₂)))]/(2π).
pub(super) struct Gelu;

impl ClosedForm<5> for Gelu {
    fn variance(&self, q: f64) -> f64 {
        let even = 2.0 * q * (q / (1.0 + q)) / (1.0 + 2.0 * q).sqrt() + q * diagonal_arc(q);
        0.25 * q + even / (2.0 * PI)
    }

    fn factors(&self, q: f64) -> [f64; 5] {
        sample(q, self.variance(q))
    }

    #[inline(always)]
    fn pair<const FMA: bool>(&self, a: &[f64; 5], b: &[f64; 5], gap: f64) -> (f64, f64) {
        let Arcs { root, w, d, root_d, part: arc, excess } = arcs::<FMA>(a, b, gap.abs());
        let (sum, product) = (a[0] + b[0], a[0] * b[0]);
        let all = (1.0 + a[0]) * (1.0 + b[0]);
        let q12 = (1.0 - gap.abs()) * root;
        let n = product * w + (2.0 + sum) * (q12 * (q12 / all));
        let line = Part { diagonal: [a[0], b[0]], value: q12, difference: excess };
        let even = Part {
            diagonal: [gelu_diagonal(a), gelu_diagonal(b)],
            value: n / root_d + q12 * arc.value,
            difference: [
                gelu_difference(a, b[0], [excess[0], arc.difference[0]], [q12, all, n, root_d]),
                gelu_difference(b, a[0], [excess[1], arc.difference[1]], [q12, all, n, root_d]),
            ],
        };
        let odd_slope = arc.value
            + q12 * (((1.0 + sum) * (3.0 + sum) + product + (2.0 + sum) * product * w) / all) / (d * root_d);
        let slope = 0.25 + odd_slope.copysign(gap) / (2.0 * PI);
        (combine(gap, line.times(0.25), even.times(1.0 / (2.0 * PI)), a[4] * b[4]), slope)
    }
}

/// N₁₁/√D₁₁ + q₁₁α₁₁.
#[inline(always)]
fn gelu_diagonal(&[q, _, e, arc, _]: &Sample) -> f64 {
    2.0 * q * (q / (1.0 + q)) / e + q * arc
}

/// N₁₁/√D₁₁ − N/√D + q₁₁α₁₁ − q₁₂α₁₂, through differences of its parts.
#[inline(always)]
fn gelu_difference(
    &[q, _, e, arc, _]: &Sample,
    other: f64,
    [excess, arc_difference]: [f64; 2],
    [q12, all, n, root_d]: [f64; 4],
) -> f64 {
    let squares = excess * (q + q12);
    let dn = q * (q - other) + (1.0 - q) / (1.0 + q) * squares + (other - q) * (q12 * (q12 / all));
    let dd = (1.0 + q) * (other - q) + squares;
    let quotient = dn / e + n / root_d * (dd / (e * (e + root_d)));
    quotient + excess * arc + q12 * arc_difference
}
