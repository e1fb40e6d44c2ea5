//! `ntk finite`: the tangent kernel of one network of finite width.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use ndarray::ArrayD;
use ntk_empirical::{FiniteNet, NtkMethod, NtkOptions};
use serde_json::json;

use super::wrote;
use crate::draw::Draw;
use crate::error::Error;
use crate::files::{Named, Output};
use crate::memory::{self, Bytes};
use crate::network::Network;
use crate::report::Report;
use crate::samples::Reading;
use crate::{progress, provenance};

/// The tangent kernel of one network of finite width, drawn from a seed or with weights from a file.
///
/// Θ(x, x′)_cc′ = Σ ∂f_c(x)/∂θ ∂f_c′(x′)/∂θ over all parameters, each with its learning-rate multiplier.
#[derive(Args)]
#[command(after_help = "Examples:
  ntk finite --net net.json --x1 x.npy --width 1024 --seed 7 -o theta.npz
  ntk finite --net net.json --x1 test.npy --x2 train.npy --part full --precision f32 -o theta.npz
  ntk finite --net net.json --x1 x.npy --width 256 --weights trained.safetensors --part layers -o theta.npz")]
pub(crate) struct Finite {
    /// The network, a JSON file.
    #[arg(long, value_name = "FILE")]
    net: PathBuf,
    /// Samples of the rows.
    #[arg(long, value_name = "FILE")]
    x1: String,
    /// Samples of the columns; without it, x1 itself.
    #[arg(long, value_name = "FILE")]
    x2: Option<String>,
    /// Which part of the kernel of o outputs.
    #[arg(long, value_enum, default_value_t = Part::Trace)]
    part: Part,
    /// How it is computed.
    #[arg(long, value_enum, default_value_t = Method::Auto)]
    method: Method,
    /// Weights in place of those drawn, a safetensors file: 0.weight (in, out), 0.bias (out), … by the path of the layer.
    #[arg(long, value_name = "FILE", conflicts_with = "seed")]
    weights: Option<PathBuf>,
    #[command(flatten)]
    draw: Draw,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Part {
    /// The mean over outputs, (n₁, n₂).
    Trace,
    /// The kernel of the sum of the outputs over √o, (n₁, n₂): as cheap as one output.
    SumOfLogits,
    /// All pairs of outputs, (n₁, n₂, o, o).
    Full,
    /// Each output with itself, (n₁, n₂, o).
    Diagonal,
    /// The share of each layer in the trace, an array ntk.PATH of shape (n₁, n₂) each.
    Layers,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Method {
    /// What takes the fewest operations within the memory.
    Auto,
    /// Gram matrices of inputs and cotangents, layer by layer.
    Structured,
    /// Derivatives in the parameters, multiplied.
    Jacobian,
    /// One product with the kernel for each sample and output.
    Products,
}

impl From<Method> for NtkMethod {
    fn from(method: Method) -> Self {
        match method {
            Method::Auto => NtkMethod::Auto,
            Method::Structured => NtkMethod::Structured,
            Method::Jacobian => NtkMethod::Jacobian,
            Method::Products => NtkMethod::Products,
        }
    }
}

impl Finite {
    pub(crate) fn run(&self, quiet: bool) -> Result<Report, Error> {
        let network = Network::read(&self.net)?;
        let x1 = self.reading.read(&self.x1)?;
        x1.check_for(&network.net)?;
        let x2 = self.x2.as_deref().map(|x2| self.reading.read(x2)).transpose()?;
        if let Some(x2) = &x2 {
            x1.check_beside(x2)?;
        }
        let inputs = x1.batch()?.shape().map_err(Error::refused(&x1.source))?;
        let mut finite = self.draw.lower(&network, &inputs)?;
        if let Some(path) = &self.weights {
            finite.load(path).map_err(Error::refused("--weights"))?;
        }
        let samples = (x1.len(), x2.as_ref().map_or(x1.len(), |x2| x2.len()));
        let shapes = self.shapes(samples, &finite);
        let sizes = shapes.iter().map(|shape| shape.iter().map(|&side| side as f64).product::<f64>());
        memory::check((8.0 * sizes.sum::<f64>()) as usize, self.draw.memory)?;
        self.output.check(&shapes.iter().map(|shape| &shape[..]).collect::<Vec<_>>())?;

        let began = Instant::now();
        let mut options = NtkOptions { method: self.method.into(), ..NtkOptions::default() };
        if let Some(Bytes(memory)) = self.draw.memory {
            options.memory = memory;
        }
        let columns = x2.as_ref().map(|x2| x2.batch()).transpose()?;
        let bar = progress::bar("chunks", 0, quiet);
        let ntk = finite.ntk(x1.batch()?, columns, options).map_err(Error::refused(&x1.source))?;
        let ntk = ntk.with_observer(|progress| {
            bar.set_length(progress.total as u64);
            bar.set_position(progress.done as u64);
            ControlFlow::Continue(())
        });
        let one = |array: ArrayD<f64>| vec![("ntk".to_owned(), array)];
        let arrays = match self.part {
            Part::Trace => ntk.trace().map(|k| one(k.into_dyn())),
            Part::SumOfLogits => ntk.sum_of_logits().map(|k| one(k.into_dyn())),
            Part::Full => ntk.blocks().map(|k| one(k.into_dyn())),
            Part::Diagonal => ntk.diagonals().map(|k| one(k.into_dyn())),
            Part::Layers => ntk.layers().map(|layers| {
                layers.into_iter().map(|(path, k)| (format!("ntk.{path}"), k.into_dyn())).collect()
            }),
        };
        bar.finish_and_clear();
        let arrays = arrays.map_err(Error::failed)?;
        let arrays: Vec<Named<'_>> = arrays.iter().map(|(name, array)| Named::new(name, array)).collect();
        let provenance = provenance::of(json!({
            "kind": "tangent kernel of one network of finite width",
            "network": network.json(),
            "width": self.draw.width,
            "seed": if self.weights.is_some() { None } else { Some(self.draw.seed) },
            "weights": self.weights.as_ref().map(|path| path.display().to_string()),
            "precision": self.draw.precision.name(),
            "device": self.draw.device,
            "parameters": finite.parameter_count(),
            "x1": { "file": self.x1, "shape": x1.shape() },
            "x2": x2.as_ref().map(|x2| json!({ "file": x2.source, "shape": x2.shape() })),
        }));
        self.output.write(&arrays, &provenance)?;
        Ok(wrote(&self.output, &arrays, began.elapsed().as_secs_f64(), provenance))
    }

    /// Shapes of what will be written.
    fn shapes(&self, (n1, n2): (usize, usize), finite: &FiniteNet) -> Vec<Vec<usize>> {
        let outputs = finite.output_width();
        match self.part {
            Part::Trace | Part::SumOfLogits => vec![vec![n1, n2]],
            Part::Full => vec![vec![n1, n2, outputs, outputs]],
            Part::Diagonal => vec![vec![n1, n2, outputs]],
            Part::Layers => {
                let layers = finite.parameter_names().iter().filter(|name| name.ends_with("weight")).count();
                vec![vec![n1, n2]; layers]
            }
        }
    }
}
