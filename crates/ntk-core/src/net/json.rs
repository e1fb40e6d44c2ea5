//! Networks as files: a versioned JSON document, read through the constructors.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    Affine, Attention, Axes, ConvKind, Groups, Interpolation, Layer, Net, NetKind, Padding, Parameterization,
    Pooling, Span, Window,
};
use crate::{Activation, DropRate, Error, Rate, Variance, Width};

const VERSION: u64 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a document of a version and a net")]
struct Document {
    version: u64,
    net: Net,
}

/// What documents of all versions have in common.
#[derive(Deserialize)]
struct Head {
    version: u64,
}

/// The tree as it stands in the file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Wire {
    Serial(Vec<Net>),
    Sum(Vec<Net>),
    Product(Vec<Net>),
    Concat(Vec<Net>),
    Join(Join),
    Dense(Dense),
    Conv(Conv),
    Pool(Pool),
    GlobalPool(GlobalPool),
    Flatten(Empty),
    Index(Index),
    Resize(Resize),
    Linear(Linear),
    Aggregate(Aggregate),
    Embedding(Dense),
    Attention(Box<Attention>),
    Activation(Activation),
    LayerNorm(LayerNorm),
    Dropout(Dropout),
    Custom(Custom),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dense {
    width: Width,
    weight: Variance,
    bias: Variance,
    #[serde(default)]
    parameterization: Parameterization,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight_rate: Option<Rate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bias_rate: Option<Rate>,
}

impl Dense {
    fn new(width: Width, affine: Affine) -> Self {
        let plain = Affine::new(affine.weight, affine.bias);
        let unless = |rate: Rate, default: Rate| (rate != default).then_some(rate);
        Dense {
            width,
            weight: affine.weight,
            bias: affine.bias,
            parameterization: affine.parameterization,
            weight_rate: unless(affine.weight_rate, plain.weight_rate),
            bias_rate: unless(affine.bias_rate, plain.bias_rate),
        }
    }

    fn affine(&self) -> Affine {
        let plain = Affine::new(self.weight, self.bias);
        Affine {
            parameterization: self.parameterization,
            weight_rate: self.weight_rate.unwrap_or(plain.weight_rate),
            bias_rate: self.bias_rate.unwrap_or(plain.bias_rate),
            ..plain
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Join {
    axis: usize,
    nets: Vec<Net>,
}

/// A convolution; strides and dilation default to 1, groups to one.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Conv {
    #[serde(default)]
    kind: ConvKind,
    window: Sliding,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    groups: Option<Groups>,
    affine: Dense,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sliding {
    shape: Vec<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    strides: Option<Vec<usize>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dilation: Option<Vec<usize>>,
    padding: Padding,
}

impl From<Sliding> for Window {
    fn from(s: Sliding) -> Window {
        let ones = vec![1; s.shape.len()];
        let strides = s.strides.unwrap_or_else(|| ones.clone());
        Window { shape: s.shape, strides, dilation: s.dilation.unwrap_or(ones), padding: s.padding }
    }
}

impl From<Window> for Sliding {
    fn from(w: Window) -> Sliding {
        let unless_one = |values: Vec<usize>| values.iter().any(|&v| v != 1).then_some(values);
        let (strides, dilation) = (unless_one(w.strides), unless_one(w.dilation));
        Sliding { shape: w.shape, strides, dilation, padding: w.padding }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pool {
    pooling: Pooling,
    window: Sliding,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GlobalPool {
    pooling: Pooling,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    spans: Vec<Span>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Resize {
    sides: Vec<Option<usize>>,
    interpolation: Interpolation,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Linear {
    axis: usize,
    rows: Vec<Vec<f64>>,
    #[serde(default)]
    remove: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Aggregate {
    axis: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LayerNorm {
    #[serde(default = "channels", skip_serializing_if = "is_channels")]
    axes: Axes,
    epsilon: f64,
}

fn channels() -> Axes {
    Axes::Channels
}

fn is_channels(axes: &Axes) -> bool {
    *axes == Axes::Channels
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dropout {
    rate: DropRate,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Custom {
    name: String,
    parameters: Vec<f64>,
}

impl From<Wire> for Net {
    fn from(wire: Wire) -> Net {
        match wire {
            Wire::Serial(nets) => Net::serial(nets),
            Wire::Sum(nets) => Net::sum(nets),
            Wire::Product(nets) => Net::product(nets),
            Wire::Concat(nets) => Net::concat(nets),
            Wire::Join(j) => Net::join(j.axis, j.nets),
            Wire::Dense(d) => Net::dense_with(d.width, d.affine()),
            Wire::Embedding(d) => Net::layer(Layer::Embedding { width: d.width, affine: d.affine() }),
            Wire::Conv(c) => {
                let groups = c.groups.unwrap_or(Groups::Count(1));
                Net::conv_with(c.kind, c.affine.width, c.affine.affine(), c.window.into(), groups)
            }
            Wire::Pool(p) => Net::layer(Layer::Pool { pooling: p.pooling, window: p.window.into() }),
            Wire::GlobalPool(p) => Net::layer(Layer::GlobalPool { pooling: p.pooling }),
            Wire::Flatten(_) => Net::flatten(),
            Wire::Index(i) => Net::layer(Layer::Index { spans: i.spans }),
            Wire::Resize(r) => Net::layer(Layer::Resize { sides: r.sides, interpolation: r.interpolation }),
            Wire::Linear(l) => Net::layer(Layer::Linear { axis: l.axis, rows: l.rows, remove: l.remove }),
            Wire::Aggregate(a) => Net::layer(Layer::Aggregate { axis: a.axis }),
            Wire::Attention(attention) => Net::attention(*attention),
            Wire::Activation(phi) => Net::activation(phi),
            Wire::LayerNorm(l) => Net::layer(Layer::LayerNorm { axes: l.axes, epsilon: l.epsilon }),
            Wire::Dropout(d) => Net::dropout(d.rate),
            Wire::Custom(c) => Net::layer(Layer::Custom { name: c.name, parameters: c.parameters }),
        }
    }
}

impl From<Net> for Wire {
    fn from(net: Net) -> Wire {
        let layer = match net.kind {
            NetKind::Serial(nets) => return Wire::Serial(nets),
            NetKind::Sum(nets) => return Wire::Sum(nets),
            NetKind::Product(nets) => return Wire::Product(nets),
            NetKind::Concat(nets) => return Wire::Concat(nets),
            NetKind::Join { axis, nets } => return Wire::Join(Join { axis, nets }),
            NetKind::Layer(layer) => layer,
        };
        match layer {
            Layer::Dense { width, affine } => Wire::Dense(Dense::new(width, affine)),
            Layer::Embedding { width, affine } => Wire::Embedding(Dense::new(width, affine)),
            Layer::Conv { kind, width, affine, window, groups } => Wire::Conv(Conv {
                kind,
                window: window.into(),
                groups: (groups != Groups::Count(1)).then_some(groups),
                affine: Dense::new(width, affine),
            }),
            Layer::Pool { pooling, window } => Wire::Pool(Pool { pooling, window: window.into() }),
            Layer::GlobalPool { pooling } => Wire::GlobalPool(GlobalPool { pooling }),
            Layer::Flatten => Wire::Flatten(Empty {}),
            Layer::Index { spans } => Wire::Index(Index { spans }),
            Layer::Resize { sides, interpolation } => Wire::Resize(Resize { sides, interpolation }),
            Layer::Linear { axis, rows, remove } => Wire::Linear(Linear { axis, rows, remove }),
            Layer::Aggregate { axis } => Wire::Aggregate(Aggregate { axis }),
            Layer::Attention(attention) => Wire::Attention(attention),
            Layer::Activation(phi) => Wire::Activation(phi),
            Layer::LayerNorm { axes, epsilon } => Wire::LayerNorm(LayerNorm { axes, epsilon }),
            Layer::Dropout { rate } => Wire::Dropout(Dropout { rate }),
            Layer::Custom { name, parameters } => Wire::Custom(Custom { name, parameters }),
        }
    }
}

impl Serialize for Net {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Wire::from(self.clone()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Net {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let net = Net::from(Wire::deserialize(deserializer)?);
        match net.kind {
            // The parts of a tree have checked themselves; what is left is the node at hand.
            NetKind::Serial(_) => Ok(net),
            _ => net.check().map(|()| net).map_err(serde::de::Error::custom),
        }
    }
}

impl Net {
    /// The network as a JSON document `{"version": 1, "net": …}`.
    ///
    /// ```
    /// use ntk_core::{Net, Variance};
    /// let net = Net::dense(Variance::TWO, Variance::ZERO);
    /// assert_eq!(Net::from_json(&net.to_json())?, net);
    /// # Ok::<(), ntk_core::Error>(())
    /// ```
    pub fn to_json(&self) -> String {
        let document = Document { version: VERSION, net: self.clone() };
        // Every number in a checked description is finite and every key a string, so writing cannot fail; an
        // unchecked NaN becomes `null`, which the reader refuses.
        serde_json::to_string_pretty(&document).unwrap_or_default()
    }

    /// Reads what [`Net::to_json`] wrote. Unknown fields, names and versions are refused.
    ///
    /// So is a tree of more than about 60 combinators inside one another; chains of any length are one combinator.
    ///
    /// # Errors
    /// [`Error::Version`]; [`Error::Json`] with the path to the offending place.
    pub fn from_json(text: &str) -> Result<Net, Error> {
        let document = parse::<Document>(text);
        // Only a document of this version can be judged by what else is wrong with it.
        match parse::<Head>(text) {
            Ok(Head { version }) if version != VERSION => {
                Err(Error::Version { found: version, supported: VERSION })
            }
            _ => document.map(|document| document.net),
        }
    }
}

fn parse<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| Error::Json {
        path: error.path().to_string(),
        message: error.inner().to_string(),
    })?;
    let at_end =
        |error: serde_json::Error| Error::Json { path: "end".to_owned(), message: error.to_string() };
    deserializer.end().map_err(at_end)?;
    Ok(value)
}
