//! `ntk describe`: what is known of a network before anything is computed.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use ntk_analytic::{Analytic, Plan};
use ntk_core::{Facts, Law, Mean, Shape, Which};
use serde_json::{Value, json};

use crate::draw::{self, Parameters};
use crate::error::Error;
use crate::memory;
use crate::network::{Limit, Network};
use crate::report::Report;
use crate::samples::Samples;

/// What is known of a network before anything is computed: its parts, its limit, its size and what its kernels cost.
///
/// Says whether the kernels of its infinite-width limit and its finite networks are known, and if not, why. With
/// --sample-shape, also shapes, the number of parameters, and time and memory of a kernel of --samples samples.
#[derive(Args)]
#[command(
    after_help = "A network, f(x) = √(2/n) W₂ relu(√(2/d) W₁ x + √0.1 b), weights and biases standard normal:
  { \"version\": 1,
    \"net\": { \"serial\": [
      { \"dense\": { \"width\": { \"hidden\": 1.0 }, \"weight\": 2.0, \"bias\": 0.1 } },
      { \"activation\": \"relu\" },
      { \"dense\": { \"width\": { \"fixed\": 1 }, \"weight\": 2.0, \"bias\": 0.0 } } ] } }

Examples:
  ntk describe net.json
  ntk describe net.json --sample-shape 32,32,3 --samples 10000 --precision f32"
)]
pub(crate) struct Describe {
    /// The network, a JSON file.
    net: PathBuf,
    /// Shape of one sample, channels last: 784 for vectors, 32,32,3 for images, their length for tokens.
    #[arg(long, value_name = "SIDES,CHANNELS", value_delimiter = ',')]
    sample_shape: Option<Vec<usize>>,
    /// The samples are sequences of tokens, integers below this size.
    #[arg(long, value_name = "SIZE", requires = "sample_shape")]
    vocabulary: Option<usize>,
    /// Number of samples whose symmetric kernels are planned.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    samples: usize,
    /// Width at which the parameters are counted.
    #[arg(long, value_name = "N", default_value_t = 512)]
    width: usize,
    #[command(flatten)]
    limit: Limit,
}

impl Describe {
    pub(crate) fn run(&self) -> Result<Report, Error> {
        let network = Network::read(&self.net)?;
        let facts = network.net.facts();
        let mut text = format!("{}\n\n", network.net);
        line(&mut text, "depth", &format!("{} layers with weights, one after another", facts.depth));
        line(&mut text, "outputs", law(facts.law));
        line(&mut text, "mean", mean(facts.mean));
        let limit = network.limit(&self.limit);
        line(&mut text, "infinite width", &support(&limit));
        let mut json = json!({
            "network": network.json(),
            "facts": facts_json(facts),
            "infinite_width": support_json(&limit),
        });
        match self.sample_shape.as_deref() {
            None | Some([]) => {
                let remedy = "give --sample-shape for shapes, parameters, time and memory";
                line(&mut text, "finite width", remedy);
            }
            Some(sample) => self.for_samples(&network, sample, limit, &mut text, &mut json)?,
        }
        Ok(Report { answer: text, note: String::new(), json })
    }

    fn for_samples(
        &self,
        network: &Network,
        sample: &[usize],
        limit: Result<Analytic, Error>,
        text: &mut String,
        json: &mut Value,
    ) -> Result<(), Error> {
        let refused = |error| Error::refused("--sample-shape")(error);
        let (channels, sides) = match &self.vocabulary {
            Some(_) if sample.len() != 1 => {
                return Err(Error::input(
                    "--sample-shape",
                    "a sequence of tokens has a length and nothing else",
                ));
            }
            Some(vocabulary) => (vocabulary, sample),
            None => sample.split_last().unwrap_or((&0, &[])),
        };
        if *channels == 0 || self.samples == 0 {
            return Err(Error::input(
                "--sample-shape",
                "there is at least one sample of at least one number",
            ));
        }
        let inputs = &Shape::grid(sides, *channels).map_err(refused)?;
        let output = network.net.output_shape(inputs).map_err(refused)?;
        line(text, "shapes", &format!("{} → {}", shape(inputs), shape(&output)));
        draw::check_sizes(network, self.limit.memory)?;
        let parameters = draw::parameters(network, inputs, self.width);
        let finite = match &parameters {
            Ok(Parameters { count, .. }) => format!("yes, {count:.0} parameters at width {}", self.width),
            Err(error) => format!("no: {error}"),
        };
        line(text, "finite width", &finite);
        json["finite_width"] = support_json(&parameters);
        json["finite_width"]["width"] = json!(self.width);
        if let Ok(Parameters { count, names }) = parameters {
            line(text, "parameters", &names.join(", "));
            json["finite_width"]["parameters"] = json!(count);
            json["finite_width"]["names"] = json!(names);
        }
        json["shapes"] = json!({ "inputs": shape(inputs), "outputs": shape(&output) });
        if let Ok(limit) = limit {
            let samples = Samples::blank(self.samples, sample, self.vocabulary)?;
            let plan =
                limit.plan(samples.batch()?, None, Which::Both).map_err(Error::refused("--sample-shape"))?;
            // Writing to a string cannot fail.
            let _infallible = write!(text, "\nBoth kernels of {} samples:\n{plan}", self.samples);
            if let Err(error) = memory::check(plan.bytes(), self.limit.memory) {
                let _infallible = write!(text, "\nToo large: {}", error.line());
            }
            json["plan"] = plan_json(&plan);
        }
        Ok(())
    }
}

fn line(text: &mut String, name: &str, value: &str) {
    // Writing to a string cannot fail.
    let _infallible = writeln!(text, "{name:16}{value}");
}

fn support<T>(answer: &Result<T, Error>) -> String {
    match answer {
        Ok(_) => "yes".to_owned(),
        Err(error) => format!("no: {}", reason(error)),
    }
}

/// The reason without the file, which the reader has just named.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

fn support_json<T, E: std::error::Error + 'static>(answer: &Result<T, E>) -> Value {
    match answer {
        Ok(_) => json!({ "known": true }),
        Err(error) => json!({ "known": false, "reason": reason(error) }),
    }
}

fn law(law: Law) -> &'static str {
    match law {
        Law::Gaussian => "a Gaussian process, the same and independent for each output",
        Law::Same => "a Gaussian process where the inputs are one: add a layer with weights",
        Law::Other => "not a Gaussian process: end in a layer with weights",
    }
}

fn mean(mean: Mean) -> &'static str {
    match mean {
        Mean::Zero => "zero",
        Mean::Same => "that of the inputs",
        Mean::Nonzero => "not zero",
    }
}

fn facts_json(facts: Facts) -> Value {
    let law = match facts.law {
        Law::Gaussian => "gaussian",
        Law::Same => "same",
        Law::Other => "other",
    };
    let mean = match facts.mean {
        Mean::Zero => "zero",
        Mean::Same => "same",
        Mean::Nonzero => "nonzero",
    };
    json!({ "depth": facts.depth, "law": law, "mean": mean, "fresh": facts.fresh })
}

/// A shape as it is written on the command line.
fn shape(shape: &Shape) -> String {
    let channels = match shape.channels() {
        ntk_core::Width::Fixed(n) => n.to_string(),
        ntk_core::Width::Hidden(1.0) => "n".to_owned(),
        ntk_core::Width::Hidden(ratio) => format!("{ratio} n"),
    };
    let grid = shape.positions();
    let sides = grid.sides().iter().map(ToString::to_string);
    sides.chain([channels]).collect::<Vec<_>>().join(",")
}

fn plan_json(plan: &Plan) -> Value {
    let layer = |layer: &ntk_analytic::PlannedLayer| {
        json!({
            "path": layer.path,
            "kind": layer.layer,
            "positions": layer.grid.sides(),
            "pairs": layer.pairs.to_string(),
            "own": layer.own.as_ref().map(ToString::to_string),
            "operations": layer.operations,
        })
    };
    json!({
        "layers": plan.layers.iter().map(layer).collect::<Vec<_>>(),
        "pairs_of_samples": plan.pairs,
        "operations": plan.operations,
        "seconds": plan.seconds,
        "threads": plan.threads,
        "tile": plan.tile,
        "work_bytes": plan.work_bytes,
        "result_bytes": plan.result_bytes,
    })
}
