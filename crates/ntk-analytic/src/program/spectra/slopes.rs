//! The law of φ′(√q z)² for a standard normal z: what a layer multiplies the squared singular values by.

use std::f64::consts::{PI, TAU};

use ntk_core::Activation;

use super::complex::Complex;
use crate::program::Error;

/// The step of the trapezoid rule over z, and where it ends.
const STEP: f64 = 0.2;
const NODES: usize = 45;

/// Poles farther than this from the real axis are not seen by the rule.
const STRIP: f64 = 1.3;

/// A law of squared slopes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Slopes {
    /// Values, different ones, with their probabilities.
    Atoms(Vec<(f64, f64)>),
    /// `top` · e^{−2 `rate` z²}.
    Bell { top: f64, rate: f64 },
}

impl Slopes {
    /// # Errors
    /// [`Error::Slopes`] for activations that are neither piecewise linear nor an erf.
    pub(super) fn new(phi: &Activation, q: f64) -> Result<Self, Error> {
        // Slopes, and the kinks between them.
        let (slopes, kinks): (Vec<f64>, Vec<f64>) = match *phi {
            Activation::Monomial { degree: 1 } => (vec![1.0], vec![]),
            Activation::Relu | Activation::RectifiedMonomial { degree: 1 } => (vec![0.0, 1.0], vec![0.0]),
            Activation::LeakyRelu { alpha } => (vec![alpha, 1.0], vec![0.0]),
            Activation::Abs => (vec![1.0], vec![]),
            Activation::AbRelu { a, b } => (vec![a, b], vec![0.0]),
            Activation::HardTanh => (vec![0.0, 1.0, 0.0], vec![-1.0, 1.0]),
            Activation::HardSigmoid => (vec![0.0, 1.0 / 6.0, 0.0], vec![-3.0, 3.0]),
            Activation::Relu6 => (vec![0.0, 1.0, 0.0], vec![0.0, 6.0]),
            Activation::Erf { a, b, .. } => {
                return Ok(Slopes::Bell { top: 4.0 / PI * (a * b).powi(2), rate: b * b * q });
            }
            _ => return Err(Error::Slopes { activation: phi.name().to_owned() }),
        };
        // P(√q z < kink), without cancellation on the side of the kink.
        let beyond = |x: f64| 0.5 * libm::erfc(x / (2.0 * q).sqrt());
        let mut atoms: Vec<(f64, f64)> = Vec::new();
        for (k, slope) in slopes.iter().enumerate() {
            let low = k.checked_sub(1).map_or(f64::NEG_INFINITY, |k| kinks[k]);
            let high = kinks.get(k).copied().unwrap_or(f64::INFINITY);
            let probability =
                if low >= 0.0 { beyond(low) - beyond(high) } else { beyond(-high) - beyond(-low) };
            match atoms.iter_mut().find(|(value, _)| *value == slope * slope) {
                Some((_, sum)) => *sum += probability,
                None => atoms.push((slope * slope, probability)),
            }
        }
        atoms.retain(|(_, probability)| *probability > 0.0);
        Ok(Slopes::Atoms(atoms))
    }

    /// The largest value.
    pub(super) fn top(&self) -> f64 {
        match self {
            Slopes::Atoms(atoms) => atoms.iter().fold(0.0, |top, (value, _)| value.max(top)),
            Slopes::Bell { top, .. } => *top,
        }
    }

    pub(super) fn atoms(&self) -> &[(f64, f64)] {
        match self {
            Slopes::Atoms(atoms) => atoms,
            Slopes::Bell { .. } => &[],
        }
    }

    /// E dᵏ.
    pub(super) fn moment(&self, k: usize) -> f64 {
        let power = |d: f64| d.powi(k as i32);
        match self {
            Slopes::Atoms(atoms) => atoms.iter().map(|(d, p)| p * power(*d)).sum(),
            Slopes::Bell { top, rate } => power(*top) / (1.0 + 4.0 * k as f64 * rate).sqrt(),
        }
    }

    /// ψ = E[ωd/(1 − ωd)] and 1 + ψ, for ω in the closed upper half-plane.
    pub(super) fn psi(&self, omega: Complex) -> [Complex; 2] {
        let add = |sums: &mut [Complex; 2], d: f64, weight: f64| {
            let x = omega * d;
            let inverse = Complex::from(weight) / (-x + 1.0);
            *sums = [sums[0] + x * inverse, sums[1] + inverse];
        };
        let mut sums = [Complex::from(0.0); 2];
        match *self {
            Slopes::Atoms(ref atoms) => atoms.iter().for_each(|&(d, p)| add(&mut sums, d, p)),
            Slopes::Bell { top, rate } => {
                for k in 0..NODES {
                    let z = (k as f64 + 0.5) * STEP;
                    let density = (-0.5 * z * z).exp() / TAU.sqrt();
                    add(&mut sums, top * (-2.0 * rate * z * z).exp(), 2.0 * STEP * density);
                }
                let correction = poles(omega * top, rate);
                sums = sums.map(|sum| sum + correction);
            }
        }
        sums
    }
}

/// What the trapezoid rule with nodes (k + ½)h lacks where poles ±p of e^{−z²/2}/(1 − x e^{−2βz²}) are near the real axis:
/// the residue at p over 1 + e^{−2πip/h}, times 4πi.
fn poles(x: Complex, rate: f64) -> Complex {
    let mut sum = Complex::from(0.0);
    if x.abs() == 0.0 || rate == 0.0 {
        return sum;
    }
    for sign in [1.0, -1.0] {
        for k in 0.. {
            if k == 0 && sign < 0.0 {
                continue;
            }
            let square = (x.ln() + Complex::new(0.0, sign * TAU * f64::from(k))) / (2.0 * rate);
            let root = square.sqrt();
            // The pole that belongs above the axis, also where rounding has brought the first one below.
            let crossed = k == 0 && square.re > 0.0;
            let p = if root.im < 0.0 && !crossed { -root } else { root };
            if p.im > STRIP {
                break;
            }
            let density = (p * p * -0.5).exp() / TAU.sqrt();
            let seen = (p * Complex::new(0.0, -TAU / STEP)).exp() + 1.0;
            sum = sum + Complex::I * PI * density / (p * rate * seen);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_tanh_has_slope_one_inside() {
        let slopes = Slopes::new(&Activation::HardTanh, 0.204).unwrap();
        let inside = libm::erf(1.0 / (2.0 * 0.204f64).sqrt());
        let Slopes::Atoms(atoms) = &slopes else { panic!("{slopes:?}") };
        assert!(
            atoms.len() == 2
                && (atoms[1].1 - inside).abs() < 1e-15
                && (atoms[0].1 - (1.0 - inside)).abs() < 1e-15
        );
        assert!((slopes.moment(2) - inside).abs() < 1e-15 && slopes.top() == 1.0);
        assert!(matches!(Slopes::new(&Activation::Tanh, 1.0), Err(Error::Slopes { .. })));
    }

    #[test]
    fn bells_are_integrated_to_rounding() {
        for rate in [0.01, 0.7, 3.0, 200.0] {
            let slopes = Slopes::Bell { top: 1.3, rate };
            // As a power series, inside its circle.
            let omega = Complex::new(0.2, 0.3);
            let (mut sum, mut factor) = (Complex::from(0.0), Complex::from(1.0));
            for k in 1..200 {
                factor = factor * omega;
                sum = sum + factor * slopes.moment(k);
            }
            let [psi, one] = slopes.psi(omega);
            assert!((psi - sum).abs() < 1e-14 && (one - sum - 1.0).abs() < 1e-14, "{rate}");
            // On the real axis beyond the pole: π times the density of d at 1/ω is the imaginary part over ω · d².
            let d = 0.4f64;
            let z = ((1.3f64 / d).ln() / (2.0 * rate)).sqrt();
            let density = 2.0 * (-0.5 * z * z).exp() / TAU.sqrt() / (4.0 * rate * z * d);
            let found = slopes.psi(Complex::from(1.0 / d))[1].im;
            assert!(
                (found - PI * density * d).abs() < 1e-13 * (1.0 + found),
                "{rate}: {found} {}",
                PI * density * d
            );
        }
    }
}
