//! Networks as files: a versioned JSON document, read through the constructors.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Affine, Layer, Net, NetKind, Parameterization};
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
    Dense(Dense),
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

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LayerNorm {
    epsilon: f64,
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
            Wire::Dense(d) => {
                let plain = Affine::new(d.weight, d.bias);
                let affine = Affine {
                    parameterization: d.parameterization,
                    weight_rate: d.weight_rate.unwrap_or(plain.weight_rate),
                    bias_rate: d.bias_rate.unwrap_or(plain.bias_rate),
                    ..plain
                };
                Net::dense_with(d.width, affine)
            }
            Wire::Activation(phi) => Net::activation(phi),
            Wire::LayerNorm(l) => Net::layer(Layer::LayerNorm { epsilon: l.epsilon }),
            Wire::Dropout(d) => Net::dropout(d.rate),
            Wire::Custom(c) => Net::layer(Layer::Custom { name: c.name, parameters: c.parameters }),
        }
    }
}

impl From<Net> for Wire {
    fn from(net: Net) -> Wire {
        match net.kind {
            NetKind::Serial(nets) => Wire::Serial(nets),
            NetKind::Sum(nets) => Wire::Sum(nets),
            NetKind::Product(nets) => Wire::Product(nets),
            NetKind::Concat(nets) => Wire::Concat(nets),
            NetKind::Layer(Layer::Dense { width, affine }) => {
                let plain = Affine::new(affine.weight, affine.bias);
                let unless = |rate: Rate, default: Rate| (rate != default).then_some(rate);
                Wire::Dense(Dense {
                    width,
                    weight: affine.weight,
                    bias: affine.bias,
                    parameterization: affine.parameterization,
                    weight_rate: unless(affine.weight_rate, plain.weight_rate),
                    bias_rate: unless(affine.bias_rate, plain.bias_rate),
                })
            }
            NetKind::Layer(Layer::Activation(phi)) => Wire::Activation(phi),
            NetKind::Layer(Layer::LayerNorm { epsilon }) => Wire::LayerNorm(LayerNorm { epsilon }),
            NetKind::Layer(Layer::Dropout { rate }) => Wire::Dropout(Dropout { rate }),
            NetKind::Layer(Layer::Custom { name, parameters }) => Wire::Custom(Custom { name, parameters }),
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
