//! Loops that run as wide as the processor allows: one formula on `f64`, compiled for each instruction set and chosen
//! when the program runs.
//!
//! A formula is written once, on one number, without branches; inside [`vectorized!`] the compiler widens the loop
//! over it. This is the only module that contains `unsafe`, to enter code compiled for a feature that was detected.

use crate::generated::polynomials::{ANGLE, ARCTANGENT, LUNE};

/// What the processor offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// The baseline of the target.
    Baseline,
    /// AVX2 and fused multiply–add.
    Avx2,
    /// AVX-512 (F, VL, DQ).
    Avx512,
}

/// The best level of this processor; the detection is cached by the standard library.
#[inline]
pub(crate) fn level() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq");
        if avx2 && avx512 {
            return Level::Avx512;
        }
        if avx2 {
            return Level::Avx2;
        }
    }
    Level::Baseline
}

/// Defines a function that is compiled once per [`Level`]; its body may use the constant `FMA`, which says whether
/// a fused multiply–add is one instruction. Generic parameters stand in brackets, declared and then used: `[T: X][T]`.
macro_rules! vectorized {
    ($(#[$meta:meta])* $vis:vis fn $name:ident$([$($generic:tt)*][$($use:tt)*])?($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        #[allow(unsafe_code, clippy::too_many_arguments)]
        $vis fn $name$(<$($generic)*>)?($($arg: $ty),*) {
            #[inline(always)]
            fn body<$($($generic)*,)? const FMA: bool>($($arg: $ty),*) $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2$(<$($generic)*>)?($($arg: $ty),*) {
                body::<$($($use)*,)? true>($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx2,fma")]
            fn avx512$(<$($generic)*>)?($($arg: $ty),*) {
                body::<$($($use)*,)? true>($($arg),*)
            }

            match $crate::lane::level() {
                // SAFETY: `level` has detected the features that each function is compiled for.
                #[cfg(target_arch = "x86_64")]
                $crate::lane::Level::Avx512 => unsafe { avx512$(::<$($use)*>)?($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                $crate::lane::Level::Avx2 => unsafe { avx2$(::<$($use)*>)?($($arg),*) },
                // On 64-bit Arm the fused multiply–add belongs to the baseline.
                _ => body::<$($($use)*,)? { cfg!(target_arch = "aarch64") }>($($arg),*),
            }
        }
    };
}
pub(crate) use vectorized;

/// a·b + c, fused where that is one instruction; elsewhere fusing would call a slow library function.
#[inline(always)]
pub(crate) fn fma<const FMA: bool>(a: f64, b: f64, c: f64) -> f64 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Σ cₖ xᵏ, the even and the odd powers in two chains that run side by side.
#[inline(always)]
pub(crate) fn polynomial<const FMA: bool, const N: usize>(c: &[f64; N], x: f64) -> f64 {
    let square = x * x;
    let (mut even, mut odd) = if N.is_multiple_of(2) { (c[N - 2], c[N - 1]) } else { (c[N - 1], c[N - 2]) };
    let mut k = N - 2;
    while k > 0 {
        k -= 1;
        if k.is_multiple_of(2) {
            even = fma::<FMA>(even, square, c[k]);
        } else {
            odd = fma::<FMA>(odd, square, c[k]);
        }
    }
    fma::<FMA>(odd, x, even)
}

/// acos(1 − u)/π for u in [0, 1], with `root` = √u: relative error 3·10⁻¹⁶.
#[inline(always)]
pub(crate) fn angle<const FMA: bool>(u: f64, root: f64) -> f64 {
    root * polynomial::<FMA, _>(&ANGLE, u)
}

/// (sin θ − θ cos θ)/π where cos θ = 1 − u, u in [0, 1], with `root` = √u: relative error 3·10⁻¹⁶.
#[inline(always)]
pub(crate) fn lune<const FMA: bool>(u: f64, root: f64) -> f64 {
    u * root * polynomial::<FMA, _>(&LUNE, u)
}

/// arctan(y/x) for x > 0, with one division: relative error 5·10⁻¹⁶.
#[inline(always)]
pub(crate) fn arctangent<const FMA: bool>(y: f64, x: f64) -> f64 {
    let steep = y.abs() > x;
    let (least, most) = if steep { (x, y.abs()) } else { (y.abs(), x) };
    let z = least / most;
    let part = z * polynomial::<FMA, _>(&ARCTANGENT, z * z);
    let value = if steep { std::f64::consts::FRAC_PI_2 - part } else { part };
    value.copysign(y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::PI;

    #[test]
    fn polynomials_equal_the_library_functions() {
        for k in 0..=1000 {
            let u = f64::from(k) / 1000.0;
            let theta = 2.0 * (0.5 * u).sqrt().asin();
            assert!((angle::<true>(u, u.sqrt()) - theta / PI).abs() < 4e-16, "angle at {u}");
            let x = 1.0 - u;
            for (y, x) in
                [(x, 1.0), (-x, 1.0), (1.0, x + 1e-9), (1e3 * x, 2.0), (1e200, 1.0), (1e-200 * x, 3.0)]
            {
                let (got, exact) = (arctangent::<true>(y, x), y.atan2(x));
                assert!((got - exact).abs() <= 5e-16 * exact.abs(), "arctangent of {y}/{x}: {got} {exact}");
            }
            let lune_here = lune::<true>(u, u.sqrt());
            assert!((lune_here - (theta.sin() - theta * theta.cos()) / PI).abs() < 4e-16, "lune at {u}");
            assert!((lune_here - lune::<false>(u, u.sqrt())).abs() < 1e-16);
        }
    }

    #[test]
    fn tiny_gaps_keep_their_digits() {
        // θ = √(2u)(1 + u/12 + …) and sin θ − θ cos θ = θ³/3 (1 − θ²/10 + …).
        for u in [1e-8_f64, 1e-16, 1e-30, 1e-200] {
            let theta = (2.0 * u).sqrt() * (1.0 + u / 12.0);
            assert!((angle::<true>(u, u.sqrt()) * PI / theta - 1.0).abs() < 1e-15);
            let exact = theta * theta * theta / 3.0 * (1.0 - theta * theta / 10.0);
            assert!(exact == 0.0 || (lune::<true>(u, u.sqrt()) * PI / exact - 1.0).abs() < 1e-15);
        }
    }
}
