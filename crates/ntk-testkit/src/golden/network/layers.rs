//! Layers of golden networks, each with all arguments of its counterpart in neural-tangents.

use ndarray::Ix2;
use ntk_core::{
    Affine, Attention, Axes, ConvKind, DropRate, Groups, Interpolation, Layer, LogitScaling, Net, Padding,
    Pooling, PositionCombine, PositionEmbedding, Rate, Span, Variance, Weighting, Width, Window,
};
use serde_json::Value;

use super::activation::activation;
use super::{Arguments, Place, Unsupported, malformed};
use crate::golden::Array;

/// Units of a layer whose width the file does not give.
const WIDTH: usize = 16;
const AFFINE: [&str; 5] = ["W_std", "b_std", "width", "parameterization", "s"];

pub(super) fn layer(arguments: Arguments<'_>, place: Place) -> Result<Net, Unsupported> {
    let plain = |layer| arguments.only(&[]).map(|()| Net::layer(layer));
    match arguments.node() {
        "Identity" => arguments.only(&[]).map(|()| Net::identity()),
        "Flatten" => plain(Layer::Flatten),
        "GlobalAvgPool" => plain(Layer::GlobalPool { pooling: Pooling::Average }),
        "GlobalSumPool" => plain(Layer::GlobalPool { pooling: Pooling::Sum }),
        "Dense" => {
            arguments.only(&AFFINE)?;
            let (width, affine) = affine(arguments)?;
            Ok(Net::dense_with(width, affine))
        }
        "Conv" => conv(arguments, ConvKind::Shared),
        "ConvTranspose" => conv(arguments, ConvKind::Transposed),
        "ConvLocal" => conv(arguments, ConvKind::Local),
        "AvgPool" => {
            arguments.only(&["window_shape", "strides", "padding", "normalize_edges"])?;
            let edges = arguments.flag("normalize_edges", false)?;
            let pooling = if edges { Pooling::EdgeAverage } else { Pooling::Average };
            Ok(Net::layer(Layer::Pool { pooling, window: window(arguments, "window_shape")? }))
        }
        "SumPool" => {
            arguments.only(&["window_shape", "strides", "padding"])?;
            let window = window(arguments, "window_shape")?;
            Ok(Net::layer(Layer::Pool { pooling: Pooling::Sum, window }))
        }
        "LayerNorm" => layer_norm(arguments, place),
        "Dropout" => {
            arguments.only(&["rate", "mode"])?;
            let rate = DropRate::new(1.0 - arguments.number("rate", None)?)?;
            match arguments.word("mode", "train")? {
                "train" => Ok(Net::dropout(rate)),
                "test" => Ok(Net::identity()),
                _ => Err(arguments.wrong("mode")),
            }
        }
        "GlobalSelfAttention" => attention(arguments, place),
        "ImageResize" => resize(arguments, place),
        "Index" => index(arguments, place),
        "DotGeneral" => dot_general(arguments, place),
        "Aggregate" => {
            arguments.only(&["axis", "implementation"])?;
            let positions: Vec<isize> = (1..=place.sides().len() as isize).collect();
            match positions_only(arguments, place, &positions)?[..] {
                [axis] => Ok(Net::layer(Layer::Aggregate { axis })),
                _ => Err(arguments.wrong("axis")),
            }
        }
        _ => activation(arguments).map(Net::activation),
    }
}

/// The axes of positions among the array axes named `axis`, all of which must be such.
fn positions_only(
    arguments: Arguments<'_>,
    place: Place,
    default: &[isize],
) -> Result<Vec<usize>, Unsupported> {
    let rank = place.rank();
    let axes = arguments.axes("axis", rank, default)?;
    let position = |&axis: &usize| axis.checked_sub(1).filter(|axis| axis + 2 < rank);
    axes.iter().map(position).collect::<Option<_>>().ok_or_else(|| arguments.wrong("axis"))
}

fn affine(arguments: Arguments<'_>) -> Result<(Width, Affine), Unsupported> {
    let weight = Variance::from_std(arguments.number("W_std", Some(1.0))?)?;
    let bias = match arguments.get("b_std") {
        None => None,
        Some(_) => Some(Variance::from_std(arguments.number("b_std", None)?)?),
    };
    let width = arguments.count("width", Some(WIDTH))?;
    let affine = Affine::new(weight, bias.unwrap_or(Variance::ZERO));
    match arguments.word("parameterization", "ntk")? {
        "ntk" => Ok((Width::Fixed(width), affine)),
        "standard" => {
            let [inputs, outputs] = match arguments.counts("s", Some(vec![1, 1]))?[..] {
                [inputs, outputs] if inputs > 0 && outputs > 0 => [inputs, outputs],
                _ => return Err(arguments.wrong("s")),
            };
            // f = s₀^(−1/2) W x with W ~ N(0, σ_w²/(fan_in/s₀)), as a fan-in of fan_in/s₀ for the learning rate; s₁
            // times the channels go out, except from the peer's layer without shared weights.
            let outputs = if arguments.node() == "ConvLocal" { 1 } else { outputs };
            let bias_rate = if bias.is_some() { Rate::ONE } else { Rate::FROZEN };
            let weight_rate = Rate::new(1.0 / inputs as f64)?;
            let affine = Affine { weight_rate, bias_rate, ..affine.standard() };
            Ok((Width::Fixed(width.saturating_mul(outputs)), affine))
        }
        _ => Err(arguments.wrong("parameterization")),
    }
}

fn conv(arguments: Arguments<'_>, kind: ConvKind) -> Result<Net, Unsupported> {
    arguments.only(&[&AFFINE[..], &["filter_shape", "strides", "padding"]].concat())?;
    let (width, affine) = affine(arguments)?;
    Ok(Net::conv_with(kind, width, affine, window(arguments, "filter_shape")?, Groups::Count(1)))
}

fn window(arguments: Arguments<'_>, shape: &str) -> Result<Window, Unsupported> {
    let shape = arguments.counts(shape, None)?;
    let strides = arguments.counts("strides", Some(vec![1; shape.len()]))?;
    let padding = match arguments.word("padding", "VALID")? {
        "SAME" => Padding::Same,
        "VALID" => Padding::Valid,
        "CIRCULAR" => Padding::Circular,
        _ => return Err(arguments.wrong("padding")),
    };
    Ok(Window { padding, ..Window::same(&shape).strides(&strides) })
}

fn layer_norm(arguments: Arguments<'_>, place: Place) -> Result<Net, Unsupported> {
    arguments.only(&["axis", "eps"])?;
    let channels = place.rank() - 1;
    let axes = arguments.axes("axis", place.rank(), &[-1])?;
    if axes.contains(&0) || !axes.contains(&channels) {
        return Err(arguments.wrong("axis"));
    }
    let over: Vec<usize> = (0..channels - 1).filter(|axis| axes.contains(&(axis + 1))).collect();
    let axes = match over.len() {
        0 => Axes::Channels,
        all if all == channels - 1 => Axes::All,
        _ => Axes::With(over),
    };
    Ok(Net::layer(Layer::LayerNorm { axes, epsilon: arguments.number("eps", Some(1e-12))? }))
}

fn attention(arguments: Arguments<'_>, place: Place) -> Result<Net, Unsupported> {
    arguments.only(&[
        "n_chan_out",
        "n_chan_key",
        "n_chan_val",
        "n_heads",
        "linear_scaling",
        "W_key_std",
        "W_value_std",
        "W_query_std",
        "W_out_std",
        "b_std",
        "attention_mechanism",
        "pos_emb_type",
        "pos_emb_p_norm",
        "n_chan_pos_emb",
        "W_pos_emb_std",
        "val_pos_emb",
    ])?;
    let width = |name| arguments.count(name, Some(WIDTH)).map(Width::Fixed);
    let variance =
        |name, default| Ok::<_, Unsupported>(Variance::from_std(arguments.number(name, Some(default))?)?);
    let linear = arguments.flag("linear_scaling", true)?;
    let combine = match arguments.word("pos_emb_type", "NONE")? {
        "NONE" => None,
        "SUM" => Some(PositionCombine::Sum),
        "CONCAT" => {
            let channels = match (arguments.get("n_chan_pos_emb"), place.0) {
                (Some(_), _) => Width::Fixed(arguments.count("n_chan_pos_emb", None)?),
                (None, Some(shape)) => shape.channels(),
                (None, None) => return Err(arguments.wrong("n_chan_pos_emb")),
            };
            Some(PositionCombine::Concat(channels))
        }
        _ => return Err(arguments.wrong("pos_emb_type")),
    };
    let embedding = PositionEmbedding {
        power: arguments.number("pos_emb_p_norm", Some(2.0))?,
        values: arguments.flag("val_pos_emb", false)?,
        ..PositionEmbedding::sum(variance("W_pos_emb_std", 1.0)?)
    };
    Ok(Net::attention(Attention {
        width: width("n_chan_out")?,
        heads: width("n_heads")?,
        key: width("n_chan_key")?,
        value: width("n_chan_val")?,
        query_variance: variance("W_query_std", 1.0)?,
        key_variance: variance("W_key_std", 1.0)?,
        value_variance: variance("W_value_std", 1.0)?,
        output_variance: variance("W_out_std", 1.0)?,
        bias: variance("b_std", 0.0)?,
        scaling: if linear { LogitScaling::InverseDimension } else { LogitScaling::InverseRoot },
        weighting: match arguments.word("attention_mechanism", "SOFTMAX")? {
            "SOFTMAX" => Weighting::Softmax,
            "IDENTITY" => Weighting::Identity,
            "ABS" => Weighting::Abs,
            "RELU" => Weighting::Relu,
            _ => return Err(arguments.wrong("attention_mechanism")),
        },
        position: combine.map(|combine| PositionEmbedding { combine, ..embedding }),
        ..Attention::default()
    }))
}

fn resize(arguments: Arguments<'_>, place: Place) -> Result<Net, Unsupported> {
    arguments.only(&["shape", "method", "antialias"])?;
    let interpolation = match arguments.word("method", "")? {
        "nearest" => Interpolation::Nearest,
        "linear" | "bilinear" | "trilinear" | "triangle" => Interpolation::Linear,
        _ => return Err(arguments.wrong("method")),
    };
    let shape: Option<Vec<i64>> =
        arguments.get("shape").and_then(|shape| serde_json::from_value(shape.clone()).ok());
    let new: Vec<Option<usize>> = match shape.as_deref() {
        Some([-1, sides @ .., -1])
            if sides.len() + 2 == place.rank() && sides.iter().all(|side| *side >= -1) =>
        {
            sides.iter().map(|&side| usize::try_from(side).ok()).collect()
        }
        _ => return Err(arguments.wrong("shape")),
    };
    let shrinks = new.iter().zip(place.sides()).any(|(new, side)| new.is_some_and(|new| new < side));
    if !arguments.flag("antialias", true)? && interpolation == Interpolation::Linear && shrinks {
        return Err(arguments.wrong("antialias"));
    }
    Ok(Net::layer(Layer::Resize { sides: new, interpolation }))
}

/// One slice an axis of the array, `[start, stop, step]` with null for a default, or null for all; or one number, which
/// removes the axis.
fn index(arguments: Arguments<'_>, place: Place) -> Result<Net, Unsupported> {
    arguments.only(&["slices"])?;
    let wrong = || arguments.wrong("slices");
    let slices = arguments.get("slices").and_then(Value::as_array).ok_or_else(wrong)?;
    if slices.len() > place.rank() {
        return Err(wrong());
    }
    let read = |axis: usize| match slices.get(axis) {
        None | Some(Value::Null) => Some((Span::ALL, false)),
        Some(Value::Array(parts)) if parts.len() <= 3 => {
            let part =
                |at| parts.get(at).map_or(Ok(None), |part: &Value| serde_json::from_value(part.clone()));
            let (start, stop, step) = (part(0).ok()?, part(1).ok()?, part(2).ok()?);
            Some((Span { start, stop, step: step.unwrap_or(1) }, false))
        }
        Some(number) => {
            let start = isize::try_from(number.as_i64()?).ok()?;
            Some((Span { start: Some(start), stop: (start != -1).then_some(start + 1), step: 1 }, true))
        }
    };
    let spans: Vec<(Span, bool)> = (0..place.rank()).map(read).collect::<Option<_>>().ok_or_else(wrong)?;
    let all = |(span, removed): &(Span, bool)| {
        !removed && span.start.unwrap_or(0) == 0 && span.stop.is_none() && span.step == 1
    };
    let [samples, positions @ .., channels] = &spans[..] else { return Err(wrong()) };
    if !all(samples) || !all(channels) {
        return Err(wrong());
    }
    let index = Net::layer(Layer::Index { spans: positions.iter().map(|(span, _)| *span).collect() });
    let removed = (0..positions.len()).rev().filter(|&axis| positions[axis].1);
    let removals =
        removed.map(|axis| Net::layer(Layer::Linear { axis, rows: vec![vec![1.0]], remove: true }));
    Ok(Net::serial([index].into_iter().chain(removals)))
}

/// A vector contracts the axis and removes it; a matrix multiplies along it, by its first axis as `rhs` and by its last
/// as `lhs`.
fn dot_general(arguments: Arguments<'_>, place: Place) -> Result<Net, Unsupported> {
    arguments.only(&["lhs", "rhs", "axis"])?;
    let (name, value) = match (arguments.get("lhs"), arguments.get("rhs")) {
        (None, None) => return Ok(Net::identity()),
        (Some(lhs), None) => ("lhs", lhs),
        (None, Some(rhs)) => ("rhs", rhs),
        _ => return Err(malformed("DotGeneral takes lhs or rhs, not both".to_owned())),
    };
    let array = Array::read(value).ok_or_else(|| arguments.wrong(name))?.0;
    let axis = match positions_only(arguments, place, &[])?[..] {
        [axis] => axis,
        _ => return Err(arguments.wrong("axis")),
    };
    let (matrix, remove) = match array.ndim() {
        1 => (array.insert_axis(ndarray::Axis(0)), true),
        2 if name == "rhs" => (array.reversed_axes(), false),
        2 => (array, false),
        _ => return Err(arguments.wrong(name)),
    };
    let matrix = matrix.into_dimensionality::<Ix2>().map_err(|_| arguments.wrong(name))?;
    let rows = matrix.rows().into_iter().map(|row| row.to_vec()).collect();
    Ok(Net::layer(Layer::Linear { axis, rows, remove }))
}
