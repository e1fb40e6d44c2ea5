//! `Display`: an architecture on one screen, with repeated blocks written once.

use std::fmt;

use crate::{Affine, Layer, Net, NetKind, Parameterization, Rate, Variance};

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        write_net(self, 0, &mut lines);
        f.write_str(&lines.join("\n"))
    }
}

fn write_net(net: &Net, indent: usize, lines: &mut Vec<String>) {
    let pad = "  ".repeat(indent);
    let branches = |name: &str, nets: &[Net], lines: &mut Vec<String>| {
        lines.push(format!("{pad}{name} of"));
        for net in nets {
            let start = lines.len();
            write_net(net, indent + 2, lines);
            lines[start].replace_range(2 * indent + 2..2 * indent + 4, "- ");
        }
    };
    match net.kind() {
        NetKind::Layer(layer) => lines.push(format!("{pad}{layer}")),
        NetKind::Serial(nets) if nets.is_empty() => lines.push(format!("{pad}identity")),
        NetKind::Serial(nets) => write_serial(nets, indent, lines),
        NetKind::Sum(nets) => branches("sum", nets, lines),
        NetKind::Product(nets) => branches("product", nets, lines),
        NetKind::Concat(nets) => branches("concatenation", nets, lines),
    }
}

/// Finds, at each place, the period that repeats over the most layers, and writes it once.
fn write_serial(nets: &[Net], indent: usize, lines: &mut Vec<String>) {
    let pad = "  ".repeat(indent);
    let mut at = 0;
    while at < nets.len() {
        let rest = &nets[at..];
        let best = (1..=rest.len() / 2)
            .map(|period| {
                (period, 1 + rest.chunks_exact(period).skip(1).take_while(|c| *c == &rest[..period]).count())
            })
            .filter(|(_, times)| *times > 1)
            .max_by_key(|(period, times)| (period * times, usize::MAX - period));
        match best {
            Some((period, times)) => {
                lines.push(format!("{pad}{times} times"));
                write_serial(&rest[..period], indent + 1, lines);
                at += period * times;
            }
            None => {
                write_net(&rest[0], indent, lines);
                at += 1;
            }
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Layer::Dense { width, affine } => write!(f, "dense to {width} units, {affine}"),
            Layer::Activation(phi) => write!(f, "{phi}"),
            Layer::LayerNorm { epsilon } => write!(f, "layer_norm, ε = {epsilon:e}"),
            Layer::Dropout { rate } => write!(f, "dropout, drops {}", rate.get()),
            Layer::Custom { name, parameters } => write!(f, "{name} {parameters:?}"),
        }
    }
}

impl fmt::Display for Affine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "σ_w² = {}", self.weight.get())?;
        if self.has_bias() {
            write!(f, ", σ_b² = {}", self.bias.get())?;
        }
        if self.parameterization == Parameterization::Standard {
            write!(f, ", standard")?;
        }
        if self.weight_rate != Rate::ONE {
            write!(f, ", λ_w = {}", self.weight_rate.get())?;
        }
        if self.has_bias() && self.bias_rate != Rate::ONE && self.bias != Variance::ZERO {
            write!(f, ", λ_b = {}", self.bias_rate.get())?;
        }
        Ok(())
    }
}

impl fmt::Display for crate::Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::Activation as A;
        let name = self.name();
        match self {
            A::LeakyRelu { alpha } | A::Elu { alpha } => write!(f, "{name}(α = {alpha})"),
            A::AbRelu { a, b } | A::Exp { a, b } | A::Gaussian { a, b } => {
                write!(f, "{name}(a = {a}, b = {b})")
            }
            A::Erf { a: 1.0, b: 1.0, c: 0.0 }
            | A::Sin { a: 1.0, b: 1.0, c: 0.0 }
            | A::Cos { a: 1.0, b: 1.0, c: 0.0 } => {
                write!(f, "{name}")
            }
            A::Erf { a, b, c } | A::Sin { a, b, c } | A::Cos { a, b, c } => {
                write!(f, "{name}(a = {a}, b = {b}, c = {c})")
            }
            A::Rbf { gamma } => write!(f, "{name}(γ = {gamma})"),
            A::ExpNormalized { gamma, shift } => write!(f, "{name}(γ = {gamma}, shift = {shift})"),
            A::Hermite { degree } | A::Monomial { degree } | A::RectifiedMonomial { degree } => {
                write!(f, "{name}(degree = {degree})")
            }
            A::Polynomial { coefficients } => write!(f, "{name}({coefficients:?})"),
            A::Custom { parameters, .. } if !parameters.is_empty() => write!(f, "{name}({parameters:?})"),
            _ => write!(f, "{name}"),
        }
    }
}
