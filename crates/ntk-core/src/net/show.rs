//! `Display`: an architecture on one screen, with repeated blocks written once.

use std::fmt;

use super::{
    Attention, AttentionMask, Axes, Groups, Interpolation, LogitScaling, Pooling, PositionCombine,
    PositionDecay, PositionEmbedding, Span, Window,
};
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
        NetKind::Join { axis, nets } => branches(&format!("join along axis {axis}"), nets, lines),
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
        let name = self.kind_name();
        match self {
            Layer::Dense { width, affine } => write!(f, "{name} to {width} units, {affine}"),
            Layer::Embedding { width, affine } => write!(f, "{name} in {width} units, {affine}"),
            Layer::Conv { width, affine, window, groups, .. } => {
                write!(f, "{name} {window} to {width} channels, {affine}")?;
                match groups {
                    Groups::Count(1) => Ok(()),
                    Groups::Count(groups) => write!(f, ", {groups} groups"),
                    Groups::Depthwise => write!(f, ", depthwise"),
                }
            }
            Layer::Pool { pooling, window } => {
                let edges =
                    if *pooling == Pooling::EdgeAverage { ", without padding in the average" } else { "" };
                write!(f, "{name} {window}{edges}")
            }
            Layer::Index { spans } => {
                let end = |at: Option<isize>| at.map_or(String::new(), |at| at.to_string());
                let span = |s: &Span| match s.step {
                    1 => format!("{}:{}", end(s.start), end(s.stop)),
                    step => format!("{}:{}:{step}", end(s.start), end(s.stop)),
                };
                write!(f, "{name} [{}]", spans.iter().map(span).collect::<Vec<_>>().join(", "))
            }
            Layer::Resize { sides, interpolation } => {
                let side = |side: &Option<usize>| side.map_or("·".to_owned(), |side| side.to_string());
                let how = if *interpolation == Interpolation::Nearest { "nearest" } else { "linear" };
                write!(f, "{name} to {}, {how}", sides.iter().map(side).collect::<Vec<_>>().join(" × "))
            }
            Layer::Linear { axis, remove: true, .. } => {
                write!(f, "{name} map of axis {axis}, which it removes")
            }
            Layer::Linear { axis, rows, .. } => {
                write!(f, "{name} map of axis {axis} to {} positions", rows.len())
            }
            Layer::Aggregate { axis } => write!(f, "{name} over the graph of axis {axis}"),
            Layer::Attention(attention) => write!(f, "{name} {attention}"),
            Layer::GlobalPool { .. } | Layer::Flatten => write!(f, "{name}"),
            Layer::Activation(phi) => write!(f, "{phi}"),
            Layer::LayerNorm { axes, epsilon } => {
                write!(f, "{name}")?;
                match axes {
                    Axes::Channels => {}
                    Axes::All => write!(f, " over channels and positions")?,
                    Axes::With(axes) => write!(f, " over channels and axes {axes:?}")?,
                }
                write!(f, ", ε = {epsilon:e}")
            }
            Layer::Dropout { rate } => write!(f, "dropout, drops {}", rate.get()),
            Layer::Custom { name, parameters } => write!(f, "{name} {parameters:?}"),
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = |sides: &[usize]| sides.iter().map(usize::to_string).collect::<Vec<_>>().join("×");
        write!(f, "{} {}", times(&self.shape), format!("{:?}", self.padding).to_lowercase())?;
        for (name, values) in [("stride", &self.strides), ("dilation", &self.dilation)] {
            if values.iter().any(|&v| v != 1) {
                write!(f, " {name} {}", times(values))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Attention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scale = if self.scaling == LogitScaling::InverseRoot { "√d" } else { "d" };
        let weighting = format!("{:?}", self.weighting).to_lowercase();
        write!(f, "{weighting}, logits over {scale}, {} heads, to {} channels", self.heads, self.width)?;
        match self.mask {
            AttentionMask::Full => {}
            AttentionMask::Causal => write!(f, ", causal")?,
            AttentionMask::Local(radius) => write!(f, ", local {radius}")?,
            AttentionMask::CausalLocal(radius) => write!(f, ", causal and local {radius}")?,
        }
        let [q, k] = [("σ_q²", self.query_variance), ("σ_k²", self.key_variance)];
        let [v, o] = [("σ_v²", self.value_variance), ("σ_o²", self.output_variance)];
        for (name, variance) in [q, k, v, o].into_iter().filter(|(_, variance)| *variance != Variance::ONE) {
            write!(f, ", {name} = {}", variance.get())?;
        }
        if self.bias != Variance::ZERO {
            write!(f, ", σ_b² = {}", self.bias.get())?;
        }
        if self.rate != Rate::ONE {
            write!(f, ", λ = {}", self.rate.get())?;
        }
        self.position.map_or(Ok(()), |position| write!(f, ", {position}"))
    }
}

impl fmt::Display for PositionEmbedding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let readers = if self.values { "queries, keys and values" } else { "queries and keys" };
        match self.combine {
            PositionCombine::Sum => write!(f, "positions added to {readers}")?,
            PositionCombine::Concat(width) => write!(f, "{width} channels of positions beside {readers}")?,
        }
        write!(f, ", σ_p² = {}", self.variance.get())?;
        match self.decay {
            PositionDecay::Independent => Ok(()),
            PositionDecay::Inverse { scale } => write!(f, ", 1/(1 + Δ^{}/{scale})", self.power),
            PositionDecay::Exponential { scale } => write!(f, ", exp(−Δ^{}/{scale})", self.power),
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
