//! One draw of a network at a finite width, and what it will take before it is drawn.

use clap::Args;
use ntk_core::Shape;
use ntk_empirical::candle_core::DType;
use ntk_empirical::{FiniteNet, Lowering};
use serde_json::Value;

use crate::error::Error;
use crate::memory::{self, Bytes};
use crate::network::{Digits, Network};

/// How a finite network is drawn.
#[derive(Args, Clone, Debug)]
pub(crate) struct Draw {
    /// n: the number of units of a hidden layer.
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub(crate) width: usize,
    /// Seed of the draws: the same seed gives the same network to the bit.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Number format of weights and activations.
    #[arg(long, value_enum, default_value_t = Digits::F64)]
    pub(crate) precision: Digits,
    /// Where they live: cpu, cuda, cuda:N, metal or metal:N, as far as the program was built for it.
    #[arg(long, value_name = "NAME", default_value = "cpu")]
    pub(crate) device: String,
    /// Refuses what would need more memory, as 800M or 4G; what the system has available unless given.
    #[arg(long, value_name = "BYTES")]
    pub(crate) memory: Option<Bytes>,
}

/// Widths that tell the number of parameters at any other: it is quadratic in the width.
const SMALL: [usize; 3] = [16, 32, 64];

/// What is known of the parameters of finite networks.
pub(crate) struct Parameters {
    /// Their number at a width, exactly but for rounding of relative widths.
    pub(crate) count: f64,
    /// Their names in the order of the layers.
    pub(crate) names: Vec<String>,
}

/// The parameters at a width, at which nothing is drawn.
pub(crate) fn parameters(
    network: &Network,
    inputs: &Shape,
    width: usize,
) -> Result<Parameters, ntk_empirical::Error> {
    let mut parameters = Parameters { count: 0.0, names: Vec::new() };
    for (i, &at) in SMALL.iter().enumerate() {
        let lowering = Lowering { width: at, ..Lowering::for_inputs(*inputs) };
        let net = FiniteNet::lower(&network.net, &lowering)?;
        let others = SMALL.iter().enumerate().filter(|(j, _)| *j != i);
        let weight: f64 = others.map(|(_, &x)| (width as f64 - x as f64) / (at as f64 - x as f64)).product();
        parameters.count += weight * net.parameter_count() as f64;
        parameters.names = net.parameter_names();
    }
    Ok(parameters)
}

/// Refuses sizes in a description whose weights would not fit in memory at the smallest width that is drawn.
pub(crate) fn check_sizes(network: &Network, memory: Option<Bytes>) -> Result<(), Error> {
    let mut sizes = Sizes::default();
    sizes.collect(&network.json());
    sizes.widths.sort_by(|a, b| b.total_cmp(a));
    // A weight lies between two layers, for each position of a window.
    let [first, second] = [0, 1].map(|k| sizes.widths.get(k).copied().unwrap_or(1.0));
    memory::check((8.0 * first * second * sizes.window.max(1.0)) as usize, memory)
}

/// The sizes that a description names.
#[derive(Default)]
struct Sizes {
    widths: Vec<f64>,
    /// Positions of the largest window.
    window: f64,
}

impl Sizes {
    fn collect(&mut self, part: &Value) {
        match part {
            Value::Object(fields) => {
                self.widths.extend(fields.get("fixed").and_then(Value::as_f64));
                let hidden = fields.get("hidden").and_then(Value::as_f64);
                self.widths.extend(hidden.map(|ratio| ratio * SMALL[2] as f64));
                let sides = fields.get("shape").and_then(Value::as_array);
                let positions = sides.map_or(1.0, |sides| sides.iter().filter_map(Value::as_f64).product());
                self.window = self.window.max(positions);
                fields.values().for_each(|field| self.collect(field));
            }
            Value::Array(parts) => parts.iter().for_each(|part| self.collect(part)),
            _ => {}
        }
    }
}

impl Draw {
    /// Draws the network for inputs of a shape, if it fits the bound on memory.
    pub(crate) fn lower(&self, network: &Network, inputs: &Shape) -> Result<FiniteNet, Error> {
        check_sizes(network, self.memory)?;
        let refused = |error| Error::refused(network.path.display())(error);
        let dtype = match self.precision {
            Digits::F64 => DType::F64,
            Digits::F32 => DType::F32,
        };
        let Parameters { count, .. } = parameters(network, inputs, self.width).map_err(refused)?;
        memory::check((count * dtype.size_in_bytes() as f64) as usize, self.memory)?;
        let lowering = Lowering {
            inputs: *inputs,
            width: self.width,
            seed: self.seed,
            dtype,
            device: ntk_empirical::device(&self.device).map_err(Error::refused("--device"))?,
            mode: ntk_empirical::Mode::Evaluation,
        };
        FiniteNet::lower(&network.net, &lowering).map_err(refused)
    }
}
