//! `Function`: the functions of one number that expressions are made of.

use super::Expr;

/// A function of one number that expressions are made of; derivatives stay within the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
pub enum Function {
    /// max(x, 0).
    Relu,
    /// 1 for x > 0, 0 below, ½ at 0; its derivative is taken as 0.
    Step,
    /// The error function.
    Erf,
    /// eˣ.
    Exp,
    /// ln x.
    Ln,
    /// tanh x.
    Tanh,
    /// 1/(1 + e⁻ˣ).
    Sigmoid,
    /// ln(1 + eˣ).
    Softplus,
    /// sin x.
    Sin,
    /// cos x.
    Cos,
}

impl Function {
    /// f(x).
    pub fn eval(self, x: f64) -> f64 {
        match self {
            Function::Relu => x.max(0.0),
            Function::Step => match x {
                x if x > 0.0 => 1.0,
                x if x < 0.0 => 0.0,
                _ => 0.5,
            },
            Function::Erf => libm::erf(x),
            Function::Exp => x.exp(),
            Function::Ln => x.ln(),
            Function::Tanh => x.tanh(),
            Function::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Function::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
            Function::Sin => x.sin(),
            Function::Cos => x.cos(),
        }
    }

    /// f′ at an expression.
    pub(super) fn derivative(self, x: &Expr) -> Expr {
        let same = || Expr::apply(self, x.clone());
        match self {
            Function::Relu => Expr::apply(Function::Step, x.clone()),
            Function::Step => Expr::Constant(0.0),
            Function::Erf => {
                Expr::apply(Function::Exp, -x.clone().power(2.0)) * std::f64::consts::FRAC_2_SQRT_PI
            }
            Function::Exp => same(),
            Function::Ln => x.clone().power(-1.0),
            Function::Tanh => 1.0 - same().power(2.0),
            Function::Sigmoid => same() * (1.0 - same()),
            Function::Softplus => Expr::apply(Function::Sigmoid, x.clone()),
            Function::Sin => Expr::apply(Function::Cos, x.clone()),
            Function::Cos => -Expr::apply(Function::Sin, x.clone()),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Function::Relu => "relu",
            Function::Step => "step",
            Function::Erf => "erf",
            Function::Exp => "exp",
            Function::Ln => "ln",
            Function::Tanh => "tanh",
            Function::Sigmoid => "sigmoid",
            Function::Softplus => "softplus",
            Function::Sin => "sin",
            Function::Cos => "cos",
        }
    }

    /// Whether f(−x) = −f(x), and whether f(−x) = f(x).
    pub(super) fn parity(self) -> (bool, bool) {
        match self {
            Function::Erf | Function::Tanh | Function::Sin => (true, false),
            Function::Cos => (false, true),
            _ => (false, false),
        }
    }
}
