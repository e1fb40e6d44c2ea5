//! From the golden files' network format (the terms of neural-tangents' `stax`) to a `Net`.

use ntk_core::{Activation, Affine, DropRate, Layer, Net, Rate, Variance, Width};
use serde_json::Value;

/// Why a golden network has no `Net`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unsupported {
    /// A node that `Net` does not have.
    #[error("no node {name}")]
    Node {
        /// Name in the file.
        name: String,
    },
    /// An argument that the node does not take here.
    #[error("{node} with {argument} = {value}")]
    Argument {
        /// Name of the node.
        node: String,
        /// Name of the argument.
        argument: String,
        /// What the file gives.
        value: String,
    },
    /// A tree that does not follow the format.
    #[error("malformed network: {reason}")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
    /// A number that the description refuses.
    #[error(transparent)]
    Core(#[from] ntk_core::Error),
}

/// The `Net` of a golden network.
///
/// Widths are fixed to those of the file (16 where it is silent), since standard parameterization and channel
/// concatenation read them.
///
/// # Errors
/// [`Unsupported`], naming the first node or argument without a counterpart.
pub fn net(network: &Value) -> Result<Net, Unsupported> {
    let (name, arguments) = node(network)?;
    match name {
        "serial" => serial(list(name, arguments)?),
        "Dense" => dense(arguments),
        "Identity" => Ok(Net::identity()),
        "LayerNorm" => match arguments.get("axis") {
            None => Ok(Net::layer_norm()),
            Some(axis)
                if *axis == -1
                    || *axis == 1
                    || *axis == serde_json::json!([-1])
                    || *axis == serde_json::json!([1]) =>
            {
                Ok(Net::layer_norm())
            }
            Some(axis) => Err(argument(name, "axis", axis)),
        },
        "Dropout" => Ok(Net::dropout(DropRate::new(1.0 - number(name, arguments, "rate", None)?)?)),
        _ => activation(name, arguments).map(Net::activation),
    }
}

fn node(network: &Value) -> Result<(&str, &Value), Unsupported> {
    match network.as_object().and_then(|o| o.iter().next().filter(|_| o.len() == 1)) {
        Some((name, arguments)) => Ok((name, arguments)),
        None => {
            Err(Unsupported::Malformed { reason: format!("a node is an object with one key, not {network}") })
        }
    }
}

fn list<'a>(name: &str, arguments: &'a Value) -> Result<&'a [Value], Unsupported> {
    let malformed = || Unsupported::Malformed { reason: format!("{name} holds a list") };
    arguments.as_array().map(Vec::as_slice).ok_or_else(malformed)
}

/// A chain, in which `FanOut`, `parallel`, `FanIn…` in a row make one combinator.
fn serial(nodes: &[Value]) -> Result<Net, Unsupported> {
    let mut nets = Vec::new();
    let mut rest = nodes.iter();
    while let Some(here) = rest.next() {
        let (name, arguments) = node(here)?;
        let parallel = match name {
            "FanOut" => {
                let next = rest.next().map(node).transpose()?;
                match next {
                    Some(("parallel", branches)) => Some(branches),
                    _ => return Err(Unsupported::Malformed { reason: "FanOut without parallel".to_owned() }),
                }
            }
            "parallel" => Some(arguments),
            _ => None,
        };
        let Some(branches) = parallel else {
            nets.push(net(here)?);
            continue;
        };
        let branches = list("parallel", branches)?.iter().map(net).collect::<Result<Vec<_>, _>>()?;
        match rest.next().map(node).transpose()? {
            Some(("FanInSum", _)) => nets.push(Net::sum(branches)),
            Some(("FanInProd", _)) => nets.push(Net::product(branches)),
            Some(("FanInConcat", arguments)) => match arguments.get("axis") {
                None => nets.push(Net::concat(branches)),
                Some(axis) if *axis == -1 || *axis == 1 => nets.push(Net::concat(branches)),
                Some(axis) => return Err(argument("FanInConcat", "axis", axis)),
            },
            _ => return Err(Unsupported::Malformed { reason: "parallel without a fan-in".to_owned() }),
        }
    }
    Ok(Net::serial(nets))
}

fn dense(arguments: &Value) -> Result<Net, Unsupported> {
    let weight = Variance::from_std(number("Dense", arguments, "W_std", Some(1.0))?)?;
    let bias = match arguments.get("b_std") {
        None | Some(Value::Null) => None,
        Some(_) => Some(Variance::from_std(number("Dense", arguments, "b_std", None)?)?),
    };
    let mut affine = Affine::new(weight, bias.unwrap_or(Variance::ZERO));
    match arguments.get("parameterization").and_then(Value::as_str) {
        None | Some("ntk") => {}
        Some("standard") => {
            // f = s₀^(−1/2) W x with W ~ N(0, σ_w²/(fan_in/s₀)): as a fan-in of fan_in/s₀ for the learning rate.
            let scale = match arguments.get("s") {
                None | Some(Value::Null) => 1.0,
                Some(s) => s.get(0).and_then(Value::as_f64).ok_or_else(|| argument("Dense", "s", s))?,
            };
            let bias_rate = if bias.is_some() { Rate::ONE } else { Rate::FROZEN };
            affine = Affine { weight_rate: Rate::new(1.0 / scale)?, bias_rate, ..affine.standard() };
        }
        Some(other) => return Err(argument("Dense", "parameterization", &Value::from(other))),
    }
    let width = number("Dense", arguments, "width", Some(16.0))? as usize;
    Ok(Net::layer(Layer::Dense { width: Width::Fixed(width), affine }))
}

fn activation(name: &str, arguments: &Value) -> Result<Activation, Unsupported> {
    let number = |argument, default| number(name, arguments, argument, default);
    Ok(match name {
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
        "Hermite" => Activation::Hermite { degree: number("degree", None)? as u32 },
        "Monomial" => Activation::Monomial { degree: number("degree", None)? as u32 },
        "RectifiedMonomial" => Activation::RectifiedMonomial { degree: number("degree", None)? as u32 },
        "Polynomial" => {
            let list = arguments.get("coef").and_then(Value::as_array).cloned().unwrap_or_default();
            Activation::Polynomial { coefficients: list.iter().filter_map(Value::as_f64).collect() }
        }
        "ElementwiseNumerical" => match arguments.get("fn").and_then(Value::as_str) {
            Some("tanh") => Activation::Tanh,
            Some("softplus") => Activation::Softplus,
            Some("silu") => Activation::Silu,
            // cos x + 0.3 x, to be registered by the reader.
            Some("cos_plus") => Activation::Custom { name: "cos_plus".to_owned(), parameters: Vec::new() },
            _ => return Err(argument(name, "fn", arguments.get("fn").unwrap_or(&Value::Null))),
        },
        _ => return Err(Unsupported::Node { name: name.to_owned() }),
    })
}

fn number(node: &str, arguments: &Value, name: &str, default: Option<f64>) -> Result<f64, Unsupported> {
    match arguments.get(name) {
        None | Some(Value::Null) => {
            default.ok_or_else(|| Unsupported::Malformed { reason: format!("{node} needs {name}") })
        }
        Some(value) => value.as_f64().ok_or_else(|| argument(node, name, value)),
    }
}

fn argument(node: &str, argument: &str, value: &Value) -> Unsupported {
    Unsupported::Argument { node: node.to_owned(), argument: argument.to_owned(), value: value.to_string() }
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
