//! Activations as data: φ, its derivative, its kinks and its parity, by name and parameters.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, FRAC_PI_4};

use crate::Error;

/// Scale that makes [`Activation::SigmoidLike`] close to the logistic function on [−5, 5].
const SIGMOID_LIKE: f64 = 1.0 / 2.402_056_353_171_979_6;
const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
const SELU_SCALE: f64 = 1.050_700_987_355_480_5;

/// A coordinatewise nonlinearity φ.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// x for x > 0, αx below.
    LeakyRelu {
        /// Slope below 0.
        alpha: f64,
    },
    /// |x|.
    Abs,
    /// a·min(x, 0) + b·max(x, 0).
    AbRelu {
        /// Slope below 0.
        a: f64,
        /// Slope above 0.
        b: f64,
    },
    /// 1 for x > 0, 0 below, ½ at 0. Its derivative is 0 almost everywhere and is taken as 0.
    Step,
    /// sgn x. Its derivative is 0 almost everywhere and is taken as 0.
    Sign,
    /// a·erf(bx) + c.
    Erf {
        /// Factor.
        a: f64,
        /// Scale of the argument.
        b: f64,
        /// Shift of the value.
        c: f64,
    },
    /// ½ erf(x / 2.402…) + ½, an erf that follows the logistic function on [−5, 5].
    SigmoidLike,
    /// x Φ(x), with the normal distribution function Φ (the exact GELU, not its tanh approximation).
    Gelu,
    /// a·sin(bx + c).
    Sin {
        /// Factor.
        a: f64,
        /// Frequency.
        b: f64,
        /// Phase.
        c: f64,
    },
    /// a·cos(bx + c).
    Cos {
        /// Factor.
        a: f64,
        /// Frequency.
        b: f64,
        /// Phase.
        c: f64,
    },
    /// √2 sin(√(2γ) x + π/4), whose dual is the kernel exp(−γ (q₁₁ + q₂₂ − 2q₁₂)).
    Rbf {
        /// γ ≥ 0.
        gamma: f64,
    },
    /// a·exp(bx).
    Exp {
        /// Factor.
        a: f64,
        /// Rate.
        b: f64,
    },
    /// a·exp(bx²).
    Gaussian {
        /// Factor.
        a: f64,
        /// Rate; the dual exists where 4 b q < 1.
        b: f64,
    },
    /// exp(−x²) sin x.
    Gabor,
    /// No function: the compositional kernel √(q₁₁q₂₂) exp(γ(ρ + shift)). Infinite width only.
    ExpNormalized {
        /// γ ≥ 0.
        gamma: f64,
        /// −1 makes the diagonal √(q₁₁q₂₂).
        shift: f64,
    },
    /// The normalized probabilists' Hermite polynomial heₙ(x) = Heₙ(x)/√n!.
    Hermite {
        /// n.
        degree: u32,
    },
    /// xⁿ.
    Monomial {
        /// n.
        degree: u32,
    },
    /// Σᵢ cᵢ xⁱ.
    Polynomial {
        /// c₀, c₁, …
        coefficients: Vec<f64>,
    },
    /// max(x, 0)ⁿ; the step function for n = 0.
    RectifiedMonomial {
        /// n.
        degree: u32,
    },
    /// tanh x.
    Tanh,
    /// 1/(1 + e⁻ˣ).
    Sigmoid,
    /// ln(1 + eˣ).
    Softplus,
    /// x/(1 + e⁻ˣ), also called swish.
    Silu,
    /// x tanh(ln(1 + eˣ)).
    Mish,
    /// x for x > 0, α(eˣ − 1) below.
    Elu {
        /// α.
        alpha: f64,
    },
    /// 1.0507… · Elu with α = 1.6732….
    Selu,
    /// x clamped to [−1, 1].
    HardTanh,
    /// (x + 3)/6 clamped to [0, 1].
    HardSigmoid,
    /// x clamped to [0, 6].
    Relu6,
    /// A function that each interpreter looks up by name in its registry, at construction.
    Custom {
        /// Name in the registry.
        name: String,
        /// Numbers handed to the registered rule.
        parameters: Vec<f64>,
    },
}

/// What a reflection of the argument does to a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Parity {
    /// φ(−x) = φ(x).
    Even,
    /// φ(−x) = −φ(x).
    Odd,
    /// Neither is known.
    Neither,
}

impl Activation {
    /// erf x.
    pub const ERF: Activation = Activation::Erf { a: 1.0, b: 1.0, c: 0.0 };
    /// sin x.
    pub const SIN: Activation = Activation::Sin { a: 1.0, b: 1.0, c: 0.0 };
    /// cos x.
    pub const COS: Activation = Activation::Cos { a: 1.0, b: 1.0, c: 0.0 };
    /// ELU with α = 1.
    pub const ELU: Activation = Activation::Elu { alpha: 1.0 };

    /// The name used in files, messages and tables.
    pub fn name(&self) -> &str {
        match self {
            Activation::Relu => "relu",
            Activation::LeakyRelu { .. } => "leaky_relu",
            Activation::Abs => "abs",
            Activation::AbRelu { .. } => "ab_relu",
            Activation::Step => "step",
            Activation::Sign => "sign",
            Activation::Erf { .. } => "erf",
            Activation::SigmoidLike => "sigmoid_like",
            Activation::Gelu => "gelu",
            Activation::Sin { .. } => "sin",
            Activation::Cos { .. } => "cos",
            Activation::Rbf { .. } => "rbf",
            Activation::Exp { .. } => "exp",
            Activation::Gaussian { .. } => "gaussian",
            Activation::Gabor => "gabor",
            Activation::ExpNormalized { .. } => "exp_normalized",
            Activation::Hermite { .. } => "hermite",
            Activation::Monomial { .. } => "monomial",
            Activation::Polynomial { .. } => "polynomial",
            Activation::RectifiedMonomial { .. } => "rectified_monomial",
            Activation::Tanh => "tanh",
            Activation::Sigmoid => "sigmoid",
            Activation::Softplus => "softplus",
            Activation::Silu => "silu",
            Activation::Mish => "mish",
            Activation::Elu { .. } => "elu",
            Activation::Selu => "selu",
            Activation::HardTanh => "hard_tanh",
            Activation::HardSigmoid => "hard_sigmoid",
            Activation::Relu6 => "relu6",
            Activation::Custom { name, .. } => name,
        }
    }

    /// φ(x); none for [`Activation::ExpNormalized`], which has no function, and for custom names.
    ///
    /// ```
    /// use ntk_core::Activation;
    /// assert_eq!(Activation::Relu.eval(-2.0), Some(0.0));
    /// assert_eq!(Activation::ExpNormalized { gamma: 1.0, shift: -1.0 }.eval(0.0), None);
    /// ```
    pub fn eval(&self, x: f64) -> Option<f64> {
        Some(match *self {
            Activation::Relu => x.max(0.0),
            Activation::LeakyRelu { alpha } => ab_relu(x, alpha, 1.0),
            Activation::Abs => x.abs(),
            Activation::AbRelu { a, b } => ab_relu(x, a, b),
            Activation::Step => at_kink(x, 0.0, 0.0, 1.0),
            Activation::Sign => at_kink(x, 0.0, -1.0, 1.0),
            Activation::Erf { a, b, c } => a * libm::erf(b * x) + c,
            Activation::SigmoidLike => 0.5 * libm::erf(SIGMOID_LIKE * x) + 0.5,
            Activation::Gelu => x * normal_cdf(x),
            Activation::Sin { a, b, c } => a * (b * x + c).sin(),
            Activation::Cos { a, b, c } => a * (b * x + c).cos(),
            Activation::Rbf { gamma } => {
                std::f64::consts::SQRT_2 * ((2.0 * gamma).sqrt() * x + FRAC_PI_4).sin()
            }
            // Also where the exponential overflows.
            Activation::Exp { a: 0.0, .. } | Activation::Gaussian { a: 0.0, .. } => 0.0,
            Activation::Exp { a, b } => a * (b * x).exp(),
            Activation::Gaussian { a, b } => a * (b * x * x).exp(),
            Activation::Gabor => (-x * x).exp() * x.sin(),
            Activation::Hermite { degree } => hermite(degree, x),
            Activation::Monomial { degree } => x.powi(degree as i32),
            Activation::Polynomial { ref coefficients } => {
                coefficients.iter().rev().fold(0.0, |y, c| y * x + c)
            }
            Activation::RectifiedMonomial { degree: 0 } => at_kink(x, 0.0, 0.0, 1.0),
            Activation::RectifiedMonomial { degree } => x.max(0.0).powi(degree as i32),
            Activation::Tanh => x.tanh(),
            Activation::Sigmoid => sigmoid(x),
            Activation::Softplus => softplus(x),
            Activation::Silu => x * sigmoid(x),
            Activation::Mish => x * softplus(x).tanh(),
            Activation::Elu { alpha } => elu(x, alpha),
            Activation::Selu => SELU_SCALE * elu(x, SELU_ALPHA),
            Activation::HardTanh => x.clamp(-1.0, 1.0),
            Activation::HardSigmoid => ((x + 3.0) / 6.0).clamp(0.0, 1.0),
            Activation::Relu6 => x.clamp(0.0, 6.0),
            Activation::ExpNormalized { .. } | Activation::Custom { .. } => return None,
        })
    }

    /// φ′(x), the mean of both sides at a kink; none where [`Activation::eval`] is none.
    pub fn derivative(&self, x: f64) -> Option<f64> {
        Some(match *self {
            Activation::Relu => at_kink(x, 0.0, 0.0, 1.0),
            Activation::LeakyRelu { alpha } => at_kink(x, 0.0, alpha, 1.0),
            Activation::Abs => at_kink(x, 0.0, -1.0, 1.0),
            Activation::AbRelu { a, b } => at_kink(x, 0.0, a, b),
            Activation::Step | Activation::Sign | Activation::RectifiedMonomial { degree: 0 } => 0.0,
            Activation::Erf { a, b, .. } => a * b * FRAC_2_SQRT_PI * (-(b * x) * (b * x)).exp(),
            Activation::SigmoidLike => {
                let y = SIGMOID_LIKE * x;
                0.5 * SIGMOID_LIKE * FRAC_2_SQRT_PI * (-y * y).exp()
            }
            Activation::Gelu => normal_cdf(x) + x * normal_density(x),
            Activation::Sin { a, b, c } => a * b * (b * x + c).cos(),
            Activation::Cos { a, b, c } => -a * b * (b * x + c).sin(),
            Activation::Rbf { gamma } => {
                let b = (2.0 * gamma).sqrt();
                std::f64::consts::SQRT_2 * b * (b * x + FRAC_PI_4).cos()
            }
            Activation::Exp { a: 0.0, .. } | Activation::Gaussian { a: 0.0, .. } => 0.0,
            Activation::Exp { a, b } => a * b * (b * x).exp(),
            Activation::Gaussian { a, b } => 2.0 * a * b * (x * (b * x * x).exp()),
            Activation::Gabor => (-x * x).exp() * (x.cos() - 2.0 * (x * x.sin())),
            // heₙ′ = √n heₙ₋₁
            Activation::Hermite { degree: 0 } | Activation::Monomial { degree: 0 } => 0.0,
            Activation::Hermite { degree } => f64::from(degree).sqrt() * hermite(degree - 1, x),
            Activation::Monomial { degree } => f64::from(degree) * x.powi(degree as i32 - 1),
            Activation::Polynomial { ref coefficients } => {
                coefficients.iter().enumerate().skip(1).rev().fold(0.0, |y, (i, c)| y * x + i as f64 * c)
            }
            Activation::RectifiedMonomial { degree: 1 } => at_kink(x, 0.0, 0.0, 1.0),
            Activation::RectifiedMonomial { degree } => {
                f64::from(degree) * x.max(0.0).powi(degree as i32 - 1)
            }
            Activation::Tanh => {
                let y = x.tanh();
                (1.0 - y) * (1.0 + y)
            }
            Activation::Sigmoid => sigmoid(x) * sigmoid(-x),
            Activation::Softplus => sigmoid(x),
            Activation::Silu => sigmoid(x) * (1.0 + x * sigmoid(-x)),
            Activation::Mish => {
                let t = softplus(x).tanh();
                t + x * (1.0 - t) * (1.0 + t) * sigmoid(x)
            }
            Activation::Elu { alpha } => elu_derivative(x, alpha),
            Activation::Selu => SELU_SCALE * elu_derivative(x, SELU_ALPHA),
            Activation::HardTanh => at_kink(x, -1.0, 0.0, at_kink(x, 1.0, 1.0, 0.0)),
            Activation::HardSigmoid => at_kink(x, -3.0, 0.0, at_kink(x, 3.0, 1.0, 0.0)) / 6.0,
            Activation::Relu6 => at_kink(x, 0.0, 0.0, at_kink(x, 6.0, 1.0, 0.0)),
            Activation::ExpNormalized { .. } | Activation::Custom { .. } => return None,
        })
    }

    /// The points where φ or φ′ jumps or φ is not analytic, in increasing order.
    pub fn kinks(&self) -> &'static [f64] {
        match *self {
            Activation::Relu
            | Activation::LeakyRelu { .. }
            | Activation::Abs
            | Activation::AbRelu { .. }
            | Activation::Step
            | Activation::Sign
            | Activation::RectifiedMonomial { .. }
            | Activation::Elu { .. }
            | Activation::Selu => &[0.0],
            Activation::HardTanh => &[-1.0, 1.0],
            Activation::HardSigmoid => &[-3.0, 3.0],
            Activation::Relu6 => &[0.0, 6.0],
            _ => &[],
        }
    }

    /// Even, odd or neither.
    pub fn parity(&self) -> Parity {
        let even_or_odd = |degree: u32| if degree.is_multiple_of(2) { Parity::Even } else { Parity::Odd };
        match *self {
            Activation::Abs | Activation::Gaussian { .. } => Parity::Even,
            Activation::Sign | Activation::Tanh | Activation::HardTanh | Activation::Gabor => Parity::Odd,
            Activation::Erf { c: 0.0, .. } | Activation::Sin { c: 0.0, .. } => Parity::Odd,
            Activation::Cos { c: 0.0, .. } => Parity::Even,
            Activation::AbRelu { a, b } if a == b => Parity::Odd,
            Activation::AbRelu { a, b } if a == -b => Parity::Even,
            Activation::LeakyRelu { alpha: 1.0 } => Parity::Odd,
            Activation::LeakyRelu { alpha: -1.0 } => Parity::Even,
            Activation::Hermite { degree } | Activation::Monomial { degree } => even_or_odd(degree),
            Activation::Polynomial { ref coefficients } => {
                let zero = |skip: usize| coefficients.iter().skip(skip).step_by(2).all(|&c| c == 0.0);
                if zero(1) {
                    Parity::Even
                } else if zero(0) {
                    Parity::Odd
                } else {
                    Parity::Neither
                }
            }
            _ => Parity::Neither,
        }
    }

    /// Checks that every parameter lies in its domain.
    ///
    /// # Errors
    /// [`Error::ActivationParameter`].
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |parameter, value, domain| {
            Err(Error::ActivationParameter { activation: self.name().to_owned(), parameter, value, domain })
        };
        let parameters: &[(&'static str, f64)] = match *self {
            Activation::LeakyRelu { alpha } | Activation::Elu { alpha } => &[("alpha", alpha)],
            Activation::AbRelu { a, b } | Activation::Exp { a, b } | Activation::Gaussian { a, b } => {
                &[("a", a), ("b", b)]
            }
            Activation::Erf { a, b, c } | Activation::Sin { a, b, c } | Activation::Cos { a, b, c } => {
                &[("a", a), ("b", b), ("c", c)]
            }
            Activation::Rbf { gamma } => &[("gamma", gamma)],
            Activation::ExpNormalized { gamma, shift } => &[("gamma", gamma), ("shift", shift)],
            _ => &[],
        };
        for &(parameter, value) in parameters {
            if !value.is_finite() {
                return refuse(parameter, value, "a finite number");
            }
            if parameter == "gamma" && value < 0.0 {
                return refuse(parameter, value, "at least 0");
            }
        }
        let finite = |parameter, list: &[f64]| match list.iter().find(|v| !v.is_finite()) {
            Some(&value) => refuse(parameter, value, "finite numbers"),
            None => Ok(()),
        };
        match self {
            Activation::Polynomial { coefficients } if coefficients.is_empty() => {
                refuse("coefficients", 0.0, "at least one coefficient")
            }
            Activation::Polynomial { coefficients } => finite("coefficients", coefficients),
            Activation::Custom { parameters, .. } => finite("parameters", parameters),
            Activation::Hermite { degree }
            | Activation::Monomial { degree }
            | Activation::RectifiedMonomial { degree }
                if *degree > i32::MAX as u32 =>
            {
                refuse("degree", f64::from(*degree), "at most 2147483647")
            }
            _ => Ok(()),
        }
    }
}

/// `below` for x < kink, `above` for x > kink, their mean at the kink.
fn at_kink(x: f64, kink: f64, below: f64, above: f64) -> f64 {
    if x < kink {
        below
    } else if x > kink {
        above
    } else {
        0.5 * (below + above)
    }
}

fn ab_relu(x: f64, a: f64, b: f64) -> f64 {
    if x < 0.0 { a * x } else { b * x }
}

fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x * FRAC_1_SQRT_2)
}

fn normal_density(x: f64) -> f64 {
    0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * (-0.5 * x * x).exp()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn elu(x: f64, alpha: f64) -> f64 {
    if x > 0.0 { x } else { alpha * x.exp_m1() }
}

fn elu_derivative(x: f64, alpha: f64) -> f64 {
    if x == 0.0 { 0.5 * (1.0 + alpha) } else { at_kink(x, 0.0, alpha * x.exp(), 1.0) }
}

/// heₙ by the stable recurrence √(k+1) heₖ₊₁ = x heₖ − √k heₖ₋₁.
fn hermite(degree: u32, x: f64) -> f64 {
    let (mut below, mut here) = (0.0, 1.0);
    for k in 0..degree {
        let k = f64::from(k);
        (below, here) = (here, (x * here - k.sqrt() * below) / (k + 1.0).sqrt());
        if here.is_infinite() {
            // The leading term rules, with the sign of xⁿ; one step more would be ∞ − ∞.
            return if degree.is_multiple_of(2) { f64::INFINITY } else { f64::INFINITY.copysign(x) };
        }
    }
    here
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivative_at_a_kink_is_the_mean_of_both_sides() {
        assert_eq!(Activation::Relu.derivative(0.0), Some(0.5));
        assert_eq!(Activation::HardTanh.derivative(1.0), Some(0.5));
        assert_eq!(Activation::HardTanh.derivative(0.3), Some(1.0));
        assert_eq!(Activation::HardTanh.derivative(-1.3), Some(0.0));
        assert_eq!(Activation::HardSigmoid.derivative(0.0), Some(1.0 / 6.0));
        assert_eq!(Activation::Elu { alpha: 0.5 }.derivative(0.0), Some(0.75));
    }

    #[test]
    fn hermite_polynomials_by_hand() {
        // He₃(2) = 8 − 6 = 2, normalized by √6.
        assert!((hermite(3, 2.0) - 2.0 / 6f64.sqrt()).abs() < 1e-15);
        assert_eq!(hermite(0, 2.0), 1.0);
    }
}
