//! Complex numbers, as far as a functional equation needs them.

use std::ops::{Add, Div, Mul, Neg, Sub};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Complex {
    pub(super) re: f64,
    pub(super) im: f64,
}

impl Complex {
    pub(super) const I: Complex = Complex { re: 0.0, im: 1.0 };

    pub(super) fn new(re: f64, im: f64) -> Self {
        Complex { re, im }
    }

    pub(super) fn abs(self) -> f64 {
        self.re.hypot(self.im)
    }

    pub(super) fn ln(self) -> Self {
        Complex { re: self.abs().ln(), im: self.im.atan2(self.re) }
    }

    pub(super) fn exp(self) -> Self {
        let (sin, cos) = self.im.sin_cos();
        Complex { re: cos, im: sin } * self.re.exp()
    }

    /// The root with a real part of at least 0.
    pub(super) fn sqrt(self) -> Self {
        let root = (0.5 * (self.abs() + self.re.abs())).sqrt();
        if root == 0.0 {
            return self;
        }
        let other = 0.5 * self.im.abs() / root;
        let (re, im) = if self.re >= 0.0 { (root, other) } else { (other, root) };
        Complex { re, im: im.copysign(self.im) }
    }
}

impl From<f64> for Complex {
    fn from(re: f64) -> Self {
        Complex { re, im: 0.0 }
    }
}

impl Neg for Complex {
    type Output = Self;
    fn neg(self) -> Self {
        Complex { re: -self.re, im: -self.im }
    }
}

impl<T: Into<Complex>> Add<T> for Complex {
    type Output = Self;
    fn add(self, other: T) -> Self {
        let other = other.into();
        Complex { re: self.re + other.re, im: self.im + other.im }
    }
}

impl<T: Into<Complex>> Sub<T> for Complex {
    type Output = Self;
    fn sub(self, other: T) -> Self {
        self + -other.into()
    }
}

impl<T: Into<Complex>> Mul<T> for Complex {
    type Output = Self;
    fn mul(self, other: T) -> Self {
        let other = other.into();
        Complex { re: self.re * other.re - self.im * other.im, im: self.re * other.im + self.im * other.re }
    }
}

impl<T: Into<Complex>> Div<T> for Complex {
    type Output = Self;
    fn div(self, other: T) -> Self {
        let other = other.into();
        // Without overflow where only |other|² overflows.
        let size = other.abs();
        let unit = Complex { re: other.re / size, im: -other.im / size };
        let product = self * unit;
        Complex { re: product.re / size, im: product.im / size }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_invert_each_other() {
        for z in [
            Complex::new(0.3, 2.0),
            Complex::new(-1.5, 0.2),
            Complex::new(-2.0, -1e-3),
            Complex::new(-4.0, 0.0),
        ] {
            let near = |w: Complex| assert!((w - z).abs() < 1e-15 * z.abs() * 4.0, "{w:?} {z:?}");
            near(z.ln().exp());
            near(z.sqrt() * z.sqrt());
            near(z * Complex::I / Complex::I);
            near(z / Complex::new(1e200, -1e200) * Complex::new(1e200, -1e200));
        }
        assert_eq!(Complex::from(0.0).sqrt(), Complex::from(0.0));
    }
}
