//! `Real`: the two precisions in which sheets are kept, each with its own polynomials.

use std::ops::{Add, Div, Mul, Neg, Sub};

use crate::generated::polynomials::{ANGLE_F32, LUNE_F32};
use crate::lane;

/// f32 or f64.
pub(crate) trait Real:
    Copy
    + Default
    + PartialOrd
    + Send
    + Sync
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + 'static
{
    const ZERO: Self;
    const HALF: Self;
    const ONE: Self;
    const TWO: Self;
    /// Eight times the distance from 1 to the next number.
    const SNAP: Self;

    /// The nearest number.
    fn of(x: f64) -> Self;
    fn to_f64(self) -> f64;
    fn sqrt(self) -> Self;
    fn abs(self) -> Self;
    /// a·b + c, fused where that is one instruction.
    fn fma<const FMA: bool>(self, b: Self, c: Self) -> Self;
    /// acos(1 − u)/π for u in [0, 1], with `root` = √u.
    fn angle<const FMA: bool>(self, root: Self) -> Self;
    /// (sin θ − θ cos θ)/π where cos θ = 1 − u, with `root` = √u.
    fn lune<const FMA: bool>(self, root: Self) -> Self;
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const HALF: Self = 0.5;
    const ONE: Self = 1.0;
    const TWO: Self = 2.0;
    const SNAP: Self = 8.0 * f64::EPSILON;

    #[inline(always)]
    fn of(x: f64) -> Self {
        x
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        self.sqrt()
    }

    #[inline(always)]
    fn abs(self) -> Self {
        self.abs()
    }

    #[inline(always)]
    fn fma<const FMA: bool>(self, b: Self, c: Self) -> Self {
        lane::fma::<FMA>(self, b, c)
    }

    #[inline(always)]
    fn angle<const FMA: bool>(self, root: Self) -> Self {
        lane::angle::<FMA>(self, root)
    }

    #[inline(always)]
    fn lune<const FMA: bool>(self, root: Self) -> Self {
        lane::lune::<FMA>(self, root)
    }
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const HALF: Self = 0.5;
    const ONE: Self = 1.0;
    const TWO: Self = 2.0;
    const SNAP: Self = 8.0 * f32::EPSILON;

    #[inline(always)]
    fn of(x: f64) -> Self {
        x as f32
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        self.sqrt()
    }

    #[inline(always)]
    fn abs(self) -> Self {
        self.abs()
    }

    #[inline(always)]
    fn fma<const FMA: bool>(self, b: Self, c: Self) -> Self {
        if FMA { self.mul_add(b, c) } else { self * b + c }
    }

    #[inline(always)]
    fn angle<const FMA: bool>(self, root: Self) -> Self {
        root * polynomial::<FMA, _>(&ANGLE_F32, self)
    }

    #[inline(always)]
    fn lune<const FMA: bool>(self, root: Self) -> Self {
        self * root * polynomial::<FMA, _>(&LUNE_F32, self)
    }
}

/// [`lane::polynomial`] in f32.
#[inline(always)]
fn polynomial<const FMA: bool, const N: usize>(c: &[f32; N], x: f32) -> f32 {
    let square = x * x;
    let (mut even, mut odd) = if N.is_multiple_of(2) { (c[N - 2], c[N - 1]) } else { (c[N - 1], c[N - 2]) };
    let mut k = N - 2;
    while k > 0 {
        k -= 1;
        if k.is_multiple_of(2) {
            even = Real::fma::<FMA>(even, square, c[k]);
        } else {
            odd = Real::fma::<FMA>(odd, square, c[k]);
        }
    }
    Real::fma::<FMA>(odd, x, even)
}
