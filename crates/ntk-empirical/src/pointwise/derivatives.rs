//! φ and its first three derivatives, by Taylor arithmetic on numbers: each activation is one expression.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, FRAC_PI_4, SQRT_2};

use candle_core::{DType, Device, Tensor, WithDType};
use ntk_core::Activation;

use super::Pointwise;
use crate::Error;
use crate::tensor::with_slice;

impl Pointwise {
    /// φ(z), φ′(z), …, of which `count` are wanted, at most 4. At a kink φ′ is the mean of both sides, and higher
    /// derivatives are those of either side: what stands there in almost every direction.
    pub(crate) fn derivatives(&self, z: &Tensor, count: usize) -> Result<Vec<Tensor>, Error> {
        let Pointwise::Known(phi) = self else {
            return Err(Error::SecondDerivative { name: self.name().to_owned() });
        };
        let here = z.to_device(&Device::Cpu)?;
        let all = match z.dtype() {
            DType::F32 => map::<f32>(&here, phi, count)?,
            _ => map::<f64>(&here, phi, count)?,
        };
        Ok(all.into_iter().map(|t| t.to_device(z.device())).collect::<Result<_, _>>()?)
    }
}

fn map<T: WithDType>(z: &Tensor, phi: &Activation, count: usize) -> candle_core::Result<Vec<Tensor>> {
    let columns = with_slice(z, |z: &[T]| {
        let mut columns = vec![Vec::with_capacity(z.len()); count];
        for x in z {
            let derivatives = derivatives(phi, x.to_f64());
            columns.iter_mut().zip(derivatives).for_each(|(column, d)| column.push(T::from_f64(d)));
        }
        columns
    })?;
    columns.into_iter().map(|column| Tensor::from_vec(column, z.shape(), &Device::Cpu)).collect()
}

/// φ, φ′, φ″, φ‴ at x.
pub(crate) fn derivatives(phi: &Activation, x: f64) -> [f64; 4] {
    let (at, scaled) = (Taylor::variable(x), |b: f64, c: f64| Taylor([b * x + c, b, 0.0, 0.0]));
    let series = match *phi {
        Activation::Erf { a, b, c } => scaled(b, 0.0).of(erf).times(a).plus(c),
        Activation::Gelu => at * at.of(normal_cdf),
        Activation::SigmoidLike => {
            let slope = phi.derivative(0.0).unwrap_or(f64::NAN);
            scaled(2.0 * slope / FRAC_2_SQRT_PI, 0.0).of(erf).times(0.5).plus(0.5)
        }
        Activation::Sin { a, b, c } => scaled(b, c).of(sin).times(a),
        Activation::Cos { a, b, c } => scaled(b, c + 2.0 * FRAC_PI_4).of(sin).times(a),
        Activation::Rbf { gamma } => scaled((2.0 * gamma).sqrt(), FRAC_PI_4).of(sin).times(SQRT_2),
        // Also where the exponential overflows.
        Activation::Exp { a: 0.0, .. } | Activation::Gaussian { a: 0.0, .. } => Taylor([0.0; 4]),
        Activation::Exp { a, b } => scaled(b, 0.0).of(exp).times(a),
        Activation::Gaussian { a, b } => (at * at).times(b).of(exp).times(a),
        Activation::Gabor => (at * at).times(-1.0).of(exp) * at.of(sin),
        Activation::Polynomial { ref coefficients } => {
            coefficients.iter().rev().fold(Taylor([0.0; 4]), |y, &c| (y * at).plus(c))
        }
        Activation::Tanh => at.of(tanh),
        Activation::Sigmoid => at.of(sigmoid),
        Activation::Softplus => at.of(softplus),
        Activation::Silu => at * at.of(sigmoid),
        Activation::Mish => at * at.of(softplus).of(tanh),
        // The exponential branch is its own derivative, up to the constant.
        Activation::Elu { .. } | Activation::Selu if x < 0.0 => {
            let slope = phi.derivative(x).unwrap_or(f64::NAN);
            return [phi.eval(x).unwrap_or(f64::NAN), slope, slope, slope];
        }
        Activation::Hermite { degree } => {
            return lowered(degree, |k| Activation::Hermite { degree: k }, x, f64::sqrt);
        }
        Activation::Monomial { degree } => {
            return lowered(degree, |k| Activation::Monomial { degree: k }, x, |k| k);
        }
        Activation::RectifiedMonomial { degree } if x > 0.0 => {
            return lowered(degree, |k| Activation::Monomial { degree: k }, x, |k| k);
        }
        // Linear, or constant, on each side of its kinks.
        _ => {
            let number = |value: Option<f64>| value.unwrap_or(f64::NAN);
            return [number(phi.eval(x)), number(phi.derivative(x)), 0.0, 0.0];
        }
    };
    series.derivatives()
}

/// The derivatives of a family with φₙ′ = r(n) φₙ₋₁.
fn lowered(degree: u32, family: impl Fn(u32) -> Activation, x: f64, r: impl Fn(f64) -> f64) -> [f64; 4] {
    let mut factor = 1.0;
    std::array::from_fn(|k| {
        let Some(rest) = degree.checked_sub(k as u32) else { return 0.0 };
        let value = factor * family(rest).eval(x).unwrap_or(f64::NAN);
        factor *= r(f64::from(rest));
        value
    })
}

/// c₀ + c₁ ε + c₂ ε² + c₃ ε³.
#[derive(Clone, Copy)]
struct Taylor([f64; 4]);

impl Taylor {
    fn variable(x: f64) -> Self {
        Taylor([x, 1.0, 0.0, 0.0])
    }

    fn times(self, a: f64) -> Self {
        Taylor(self.0.map(|c| a * c))
    }

    fn plus(mut self, a: f64) -> Self {
        self.0[0] += a;
        self
    }

    /// f of it, where f gives its first derivatives at a number.
    fn of(self, f: impl Fn(f64) -> [f64; 4]) -> Self {
        let [x, a, b, c] = self.0;
        let [f0, f1, f2, f3] = f(x);
        Taylor([f0, f1 * a, f1 * b + 0.5 * f2 * a * a, f1 * c + f2 * a * b + f3 * a * a * a / 6.0])
    }

    fn derivatives(self) -> [f64; 4] {
        let [a, b, c, d] = self.0;
        [a, b, 2.0 * c, 6.0 * d]
    }
}

impl std::ops::Mul for Taylor {
    type Output = Taylor;

    fn mul(self, other: Taylor) -> Taylor {
        Taylor(std::array::from_fn(|k| (0..=k).map(|i| self.0[i] * other.0[k - i]).sum()))
    }
}

fn exp(x: f64) -> [f64; 4] {
    [x.exp(); 4]
}

fn sin(x: f64) -> [f64; 4] {
    let (sin, cos) = x.sin_cos();
    [sin, cos, -sin, -cos]
}

fn tanh(x: f64) -> [f64; 4] {
    let t = x.tanh();
    let slope = (1.0 - t) * (1.0 + t);
    [t, slope, -2.0 * t * slope, slope * (6.0 * t * t - 2.0)]
}

fn sigmoid(x: f64) -> [f64; 4] {
    let (p, q) = (1.0 / (1.0 + (-x).exp()), 1.0 / (1.0 + x.exp()));
    [p, p * q, p * q * (q - p), p * q * (1.0 - 6.0 * p * q)]
}

fn softplus(x: f64) -> [f64; 4] {
    let [p, slope, curvature, _] = sigmoid(x);
    [x.max(0.0) + (-x.abs()).exp().ln_1p(), p, slope, curvature]
}

fn erf(x: f64) -> [f64; 4] {
    let density = FRAC_2_SQRT_PI * (-x * x).exp();
    [libm::erf(x), density, -2.0 * x * density, (4.0 * x * x - 2.0) * density]
}

fn normal_cdf(x: f64) -> [f64; 4] {
    let density = 0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * (-0.5 * x * x).exp();
    [0.5 * libm::erfc(-x * FRAC_1_SQRT_2), density, -x * density, (x * x - 1.0) * density]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_the_derivative_of_the_one_before() {
        let all = [
            Activation::Relu,
            Activation::LeakyRelu { alpha: 0.1 },
            Activation::Abs,
            Activation::AbRelu { a: -0.3, b: 1.2 },
            Activation::Step,
            Activation::Sign,
            Activation::Erf { a: 1.3, b: 0.7, c: 0.2 },
            Activation::SigmoidLike,
            Activation::Gelu,
            Activation::Sin { a: 1.1, b: 0.8, c: 0.3 },
            Activation::Cos { a: 1.1, b: 0.8, c: 0.3 },
            Activation::Rbf { gamma: 0.6 },
            Activation::Exp { a: 0.9, b: -0.4 },
            Activation::Gaussian { a: 1.2, b: -0.7 },
            Activation::Gabor,
            Activation::Hermite { degree: 5 },
            Activation::Hermite { degree: 1 },
            Activation::Monomial { degree: 4 },
            Activation::Monomial { degree: 0 },
            Activation::Polynomial { coefficients: vec![0.3, -1.0, 0.5, 0.2, 0.1] },
            Activation::RectifiedMonomial { degree: 3 },
            Activation::RectifiedMonomial { degree: 0 },
            Activation::Tanh,
            Activation::Sigmoid,
            Activation::Softplus,
            Activation::Silu,
            Activation::Mish,
            Activation::Elu { alpha: 0.8 },
            Activation::Selu,
            Activation::HardTanh,
            Activation::HardSigmoid,
            Activation::Relu6,
        ];
        let h = 1e-3;
        for phi in &all {
            for x in [-3.7, -1.3, -0.4, 0.6, 1.9, 4.2] {
                let (here, at) = (derivatives(phi, x), |h: f64| derivatives(phi, x + h));
                let scale = here.iter().fold(1.0, |m: f64, d| m.max(d.abs()));
                let known = [phi.eval(x), phi.derivative(x)];
                for (k, known) in known.into_iter().flatten().enumerate() {
                    assert!((here[k] - known).abs() <= 1e-14 * scale, "{phi:?} at {x}: {k}");
                }
                for k in 0..3 {
                    let difference =
                        ((at(h)[k] - at(-h)[k]) * 8.0 - (at(2.0 * h)[k] - at(-2.0 * h)[k])) / (12.0 * h);
                    assert!(
                        (difference - here[k + 1]).abs() <= 1e-9 * scale,
                        "{phi:?} at {x}: {difference} {here:?}"
                    );
                }
            }
        }
    }
}
