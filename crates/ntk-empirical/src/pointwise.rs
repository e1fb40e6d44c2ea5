//! Activations on tensors: on the CPU by our own φ and φ′, on devices composed of candle's operations where these are
//! exact, otherwise by way of the CPU.

mod derivatives;
mod single;

pub(crate) use self::derivatives::derivatives;

use candle_core::{DType, Device, Result, Tensor, WithDType};
use ntk_core::Activation;

use crate::rules::ActivationRule;
use crate::tensor::with_slice;

/// An activation whose name is resolved.
#[derive(Clone)]
pub(crate) enum Pointwise {
    /// One of the vocabulary that has a function.
    Known(Activation),
    /// A registered one.
    Custom { name: String, rule: ActivationRule, numbers: Vec<f64> },
}

impl Pointwise {
    /// φ(z).
    pub(crate) fn value(&self, z: &Tensor) -> Result<Tensor> {
        if !z.device().is_cpu() {
            if let Some(value) = self.composed(z) {
                return value;
            }
            return self.value(&z.to_device(&Device::Cpu)?)?.to_device(z.device());
        }
        match (z.dtype(), self) {
            (DType::F32, Pointwise::Known(Activation::Tanh)) => Ok(single::map(z, single::tanh)?.0),
            (DType::F32, Pointwise::Known(Activation::Erf { a, b, c })) => {
                Ok(single::map(z, single::erf(*a, *b, *c))?.0)
            }
            (DType::F32, _) => self.value_of::<f32>(z),
            _ => self.value_of::<f64>(z),
        }
    }

    /// φ(z) and φ′(z), the latter the mean of both sides at a kink.
    pub(crate) fn value_and_slope(&self, z: &Tensor) -> Result<(Tensor, Tensor)> {
        if !z.device().is_cpu() {
            if let (Some(value), Some(slope)) = (self.composed(z), self.composed_slope(z)) {
                return Ok((value?, slope?));
            }
            let (value, slope) = self.value_and_slope(&z.to_device(&Device::Cpu)?)?;
            return Ok((value.to_device(z.device())?, slope.to_device(z.device())?));
        }
        match (z.dtype(), self) {
            (DType::F32, Pointwise::Known(Activation::Tanh)) => single::map(z, single::tanh),
            (DType::F32, Pointwise::Known(Activation::Erf { a, b, c })) => {
                single::map(z, single::erf(*a, *b, *c))
            }
            (DType::F32, _) => self.value_and_slope_of::<f32>(z),
            _ => self.value_and_slope_of::<f64>(z),
        }
    }

    fn value_of<T: WithDType>(&self, z: &Tensor) -> Result<Tensor> {
        match self {
            Pointwise::Known(phi) => map::<T>(z, |x| phi.eval(x).unwrap_or(f64::NAN)),
            Pointwise::Custom { rule, numbers, .. } => map::<T>(z, |x| (rule.value)(x, numbers)),
        }
    }

    fn value_and_slope_of<T: WithDType>(&self, z: &Tensor) -> Result<(Tensor, Tensor)> {
        match self {
            // The derivative is free where it is a function of the value.
            Pointwise::Known(Activation::Tanh) => map_pair::<T>(z, |x| {
                let y = x.tanh();
                (y, (1.0 - y) * (1.0 + y))
            }),
            Pointwise::Known(Activation::Relu) => map_pair::<T>(z, |x| {
                (
                    x.max(0.0),
                    if x > 0.0 {
                        1.0
                    } else if x < 0.0 {
                        0.0
                    } else {
                        0.5
                    },
                )
            }),
            Pointwise::Known(phi) => {
                map_pair::<T>(z, |x| (phi.eval(x).unwrap_or(f64::NAN), phi.derivative(x).unwrap_or(f64::NAN)))
            }
            Pointwise::Custom { rule, numbers, .. } => {
                map_pair::<T>(z, |x| ((rule.value)(x, numbers), (rule.derivative)(x, numbers)))
            }
        }
    }

    /// φ(z) by candle's operations, where the value is exact and candle's gradient of it is right except at kinks.
    ///
    /// Left out: ops whose gradient candle gets wrong (its gelu and gelu_erf have truncated constants, elu and silu
    /// have better compositions) and functions that would lose digits (softplus, mish).
    pub(crate) fn composed(&self, z: &Tensor) -> Option<Result<Tensor>> {
        let Pointwise::Known(phi) = self else { return None };
        Some(match *phi {
            Activation::Relu => z.relu(),
            Activation::LeakyRelu { alpha } => ab_relu(z, alpha, 1.0),
            Activation::Abs => ab_relu(z, -1.0, 1.0),
            Activation::AbRelu { a, b } => ab_relu(z, a, b),
            Activation::Sign => z.sign(),
            Activation::Step => z.sign().and_then(|s| s.affine(0.5, 0.5)),
            Activation::Erf { a, b, c } => {
                z.affine(b, 0.0).and_then(|z| z.erf()).and_then(|y| y.affine(a, c))
            }
            Activation::Gelu => (z * std::f64::consts::FRAC_1_SQRT_2)
                .and_then(|y| y.erf())
                .and_then(|y| y.affine(0.5, 0.5))
                .and_then(|cdf| z * cdf),
            Activation::Sin { a, b, c } => z.affine(b, c).and_then(|z| z.sin()).and_then(|y| y * a),
            Activation::Cos { a, b, c } => z.affine(b, c).and_then(|z| z.cos()).and_then(|y| y * a),
            Activation::Rbf { gamma } => z
                .affine((2.0 * gamma).sqrt(), std::f64::consts::FRAC_PI_4)
                .and_then(|z| z.sin())
                .and_then(|y| y * std::f64::consts::SQRT_2),
            Activation::Exp { a, b } => z.affine(b, 0.0).and_then(|z| z.exp()).and_then(|y| y * a),
            Activation::Gaussian { a, b } => {
                z.sqr().and_then(|z| z.affine(b, 0.0)).and_then(|z| z.exp()).and_then(|y| y * a)
            }
            Activation::Tanh => z.tanh(),
            Activation::Sigmoid => sigmoid(z),
            Activation::Silu => sigmoid(z).and_then(|s| z * s),
            Activation::HardTanh => z.clamp(-1.0, 1.0),
            Activation::Polynomial { ref coefficients } => horner(z, coefficients),
            _ => return None,
        })
    }

    /// φ′(z) by candle's operations, for the activations that networks on devices use most.
    fn composed_slope(&self, z: &Tensor) -> Option<Result<Tensor>> {
        let Pointwise::Known(phi) = self else { return None };
        let jump = |a: f64, b: f64| z.sign().and_then(|s| s.affine(0.5 * (b - a), 0.5 * (a + b)));
        Some(match *phi {
            Activation::Relu => jump(0.0, 1.0),
            Activation::LeakyRelu { alpha } => jump(alpha, 1.0),
            Activation::Abs => jump(-1.0, 1.0),
            Activation::AbRelu { a, b } => jump(a, b),
            Activation::Sign | Activation::Step => z.zeros_like(),
            Activation::Erf { a, b, .. } => z
                .affine(b, 0.0)
                .and_then(|z| z.sqr()?.neg()?.exp())
                .and_then(|y| y * (a * b * std::f64::consts::FRAC_2_SQRT_PI)),
            Activation::Sin { a, b, c } => z.affine(b, c).and_then(|z| z.cos()).and_then(|y| y * (a * b)),
            Activation::Cos { a, b, c } => z.affine(b, c).and_then(|z| z.sin()).and_then(|y| y * (-a * b)),
            Activation::Exp { a, b } => z.affine(b, 0.0).and_then(|z| z.exp()).and_then(|y| y * (a * b)),
            Activation::Tanh => z.tanh().and_then(|y| y.sqr()?.affine(-1.0, 1.0)),
            Activation::Sigmoid => sigmoid(z).and_then(|s| &s * s.affine(-1.0, 1.0)?),
            Activation::Polynomial { ref coefficients } => {
                let derived: Vec<f64> =
                    coefficients.iter().enumerate().skip(1).map(|(i, c)| i as f64 * c).collect();
                horner(z, &derived)
            }
            _ => return None,
        })
    }

    /// The name used in messages.
    pub(crate) fn name(&self) -> &str {
        match self {
            Pointwise::Known(phi) => phi.name(),
            Pointwise::Custom { name, .. } => name,
        }
    }
}

fn ab_relu(z: &Tensor, a: f64, b: f64) -> Result<Tensor> {
    (z.relu()? * b)? - (z.neg()?.relu()? * a)?
}

/// ½ + ½ tanh(z/2), whose gradient candle has right and which does not overflow.
fn sigmoid(z: &Tensor) -> Result<Tensor> {
    (z * 0.5)?.tanh()?.affine(0.5, 0.5)
}

fn horner(z: &Tensor, coefficients: &[f64]) -> Result<Tensor> {
    let mut y = z.zeros_like()?;
    for &c in coefficients.iter().rev() {
        y = (y * z)?.affine(1.0, c)?;
    }
    Ok(y)
}

fn map<T: WithDType>(z: &Tensor, f: impl Fn(f64) -> f64) -> Result<Tensor> {
    let values: Vec<T> = with_slice(z, |z: &[T]| z.iter().map(|x| T::from_f64(f(x.to_f64()))).collect())?;
    Tensor::from_vec(values, z.shape(), z.device())
}

fn map_pair<T: WithDType>(z: &Tensor, f: impl Fn(f64) -> (f64, f64)) -> Result<(Tensor, Tensor)> {
    let (values, slopes): (Vec<T>, Vec<T>) = with_slice(z, |z: &[T]| {
        z.iter()
            .map(|x| {
                let (value, slope) = f(x.to_f64());
                (T::from_f64(value), T::from_f64(slope))
            })
            .unzip()
    })?;
    Ok((Tensor::from_vec(values, z.shape(), z.device())?, Tensor::from_vec(slopes, z.shape(), z.device())?))
}
