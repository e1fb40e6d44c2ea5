//! Activations of golden networks and of the rows of `duals.json`, by the names used there.

use ntk_core::Activation;
use serde_json::Value;

use super::{Arguments, Unsupported};

/// The activation of a node.
pub(super) fn activation(arguments: Arguments<'_>) -> Result<Activation, Unsupported> {
    let number = |name, default| arguments.number(name, default);
    let known: &[&str] = match arguments.node() {
        "LeakyRelu" => &["alpha", "do_stabilize"],
        "ABRelu" => &["a", "b", "do_stabilize"],
        "Relu" | "Abs" => &["do_stabilize"],
        "Erf" | "Sin" | "Cos" => &["a", "b", "c"],
        "Exp" | "Gaussian" => &["a", "b"],
        "Gelu" => &["approximate"],
        "Rbf" => &["gamma"],
        "ExpNormalized" => &["gamma", "shift", "do_clip"],
        "Hermite" | "Monomial" | "RectifiedMonomial" => &["degree"],
        "Polynomial" => &["coef"],
        "ElementwiseNumerical" => &["fn", "deg", "df"],
        _ => &[],
    };
    let degree = || Ok::<_, Unsupported>(arguments.count("degree", None)? as u32);
    let phi = match arguments.node() {
        "Relu" => Activation::Relu,
        "LeakyRelu" => Activation::LeakyRelu { alpha: number("alpha", Some(0.01))? },
        "Abs" => Activation::Abs,
        "ABRelu" => Activation::AbRelu { a: number("a", None)?, b: number("b", None)? },
        "Sign" => Activation::Sign,
        "Erf" => Activation::Erf {
            a: number("a", Some(1.0))?,
            b: number("b", Some(1.0))?,
            c: number("c", Some(0.0))?,
        },
        "Sigmoid_like" => Activation::SigmoidLike,
        "Gelu" => Activation::Gelu,
        "Sin" => Activation::Sin {
            a: number("a", Some(1.0))?,
            b: number("b", Some(1.0))?,
            c: number("c", Some(0.0))?,
        },
        "Cos" => Activation::Cos {
            a: number("a", Some(1.0))?,
            b: number("b", Some(1.0))?,
            c: number("c", Some(0.0))?,
        },
        "Rbf" => Activation::Rbf { gamma: number("gamma", Some(1.0))? },
        "Exp" => Activation::Exp { a: number("a", Some(1.0))?, b: number("b", Some(1.0))? },
        "Gaussian" => Activation::Gaussian { a: number("a", Some(1.0))?, b: number("b", Some(-1.0))? },
        "Gabor" => Activation::Gabor,
        "ExpNormalized" => Activation::ExpNormalized {
            gamma: number("gamma", Some(1.0))?,
            shift: number("shift", Some(-1.0))?,
        },
        "Hermite" => Activation::Hermite { degree: degree()? },
        "Monomial" => Activation::Monomial { degree: degree()? },
        "RectifiedMonomial" => Activation::RectifiedMonomial { degree: degree()? },
        "Polynomial" => {
            let coefficients =
                arguments.get("coef").and_then(|coef| serde_json::from_value(coef.clone()).ok());
            Activation::Polynomial { coefficients: coefficients.ok_or_else(|| arguments.wrong("coef"))? }
        }
        "ElementwiseNumerical" => match arguments.get("fn").and_then(Value::as_str) {
            Some("tanh") => Activation::Tanh,
            Some("softplus") => Activation::Softplus,
            Some("silu") => Activation::Silu,
            // cos x + 0.3 x, to be registered by the reader.
            Some("cos_plus") => Activation::Custom { name: "cos_plus".to_owned(), parameters: Vec::new() },
            _ => return Err(arguments.wrong("fn")),
        },
        name => return Err(Unsupported::Node { name: name.to_owned() }),
    };
    arguments.only(known)?;
    Ok(phi)
}

/// The activation of a row of `duals.json`, by the name used there.
pub fn dual_activation(name: &str) -> Option<Activation> {
    let (stem, argument) = match name.split_once('(') {
        Some((stem, rest)) if rest.ends_with(')') => (stem, rest[..rest.len() - 1].parse::<f64>().ok()),
        _ => (name, None),
    };
    Some(match (stem.trim(), argument) {
        ("relu", None) => Activation::Relu,
        ("abs", None) => Activation::Abs,
        ("leaky_relu", alpha) => Activation::LeakyRelu { alpha: alpha.unwrap_or(0.01) },
        ("step", None) => Activation::Step,
        ("sign", None) => Activation::Sign,
        ("erf", None) => Activation::ERF,
        ("gelu", None) => Activation::Gelu,
        ("sin", None) => Activation::SIN,
        ("cos", None) => Activation::COS,
        ("exp", None) => Activation::Exp { a: 1.0, b: 1.0 },
        ("gaussian exp", _) => Activation::Gaussian { a: 1.0, b: -1.0 },
        ("gabor", None) => Activation::Gabor,
        ("monomial", Some(degree)) => Activation::Monomial { degree: degree as u32 },
        ("hermite", Some(degree)) => Activation::Hermite { degree: degree as u32 },
        ("rectified_monomial", Some(degree)) => Activation::RectifiedMonomial { degree: degree as u32 },
        ("tanh", None) => Activation::Tanh,
        ("sigmoid", None) => Activation::Sigmoid,
        ("softplus", None) => Activation::Softplus,
        ("silu", None) => Activation::Silu,
        ("mish", None) => Activation::Mish,
        ("elu", alpha) => Activation::Elu { alpha: alpha.unwrap_or(1.0) },
        ("selu", None) => Activation::Selu,
        ("hard_tanh", None) => Activation::HardTanh,
        ("hard_sigmoid", None) => Activation::HardSigmoid,
        ("relu6", None) => Activation::Relu6,
        _ => return None,
    })
}
