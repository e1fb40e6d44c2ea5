//! `ntk program`: the limit of a tensor program, its tangent kernel, and which theorem gives them.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use ndarray::Array2;
use ntk_analytic::program::{self, KernelLimit, ParticleLimit, ParticleOptions};
use ntk_core::program::{
    Dependent, Estimate, Expr, Growth, Interpretation, Program, ScalarGradients, tangent_kernel,
};
use serde_json::{Value, json};

use super::wrote;
use crate::error::Error;
use crate::files::{self, Named, OptionalOutput};
use crate::provenance;
use crate::report::Report;

/// The limit of a tensor program: its checks, the laws of its vectors, and the kernels of its outputs.
///
/// Prints the program, what its checks find, mean and second moment of a coordinate of each vector, and the covariance
/// and the tangent kernel of the outputs. Integrals are exact to about 1e-12 up to two variables; --particles samples the
/// limit instead, which works for every program. Errors stand behind ±.
#[derive(Args)]
#[command(after_help = "A program, f = ⟨v, relu(W x)⟩/√n for an input x of variance 1:
  { \"version\": 1,
    \"program\": [
      { \"inputs\": { \"names\": [\"x\"], \"mean\": [0.0], \"covariance\": [[1.0]] } },
      { \"inputs\": { \"names\": [\"v\"], \"mean\": [0.0], \"covariance\": [[1.0]], \"tangent\": [[1.0]] } },
      { \"matrix\": { \"name\": \"W\", \"variance\": 2.0, \"rate\": 1.0 } },
      { \"matmul\": { \"name\": \"h\", \"matrix\": \"W\", \"vector\": \"x\" } },
      { \"apply\": { \"name\": \"y\", \"f\": { \"apply\": [\"relu\", { \"arg\": 0 }] }, \"vectors\": [\"h\"] } },
      { \"output\": { \"name\": \"f\", \"parts\": [[\"v\", \"y\"]] } } ] }

Examples:
  ntk program program.json
  ntk program program.json --particles 1000000 --seed 7 -o kernels.npz")]
pub(crate) struct Run {
    /// The program, a JSON file.
    program: PathBuf,
    /// Samples the limit by so many particles in place of integrals.
    #[arg(long, value_name = "N")]
    particles: Option<usize>,
    /// Seed of the particles.
    #[arg(long, default_value_t = 0, requires = "particles")]
    seed: u64,
    /// Prints the program and its checks, and computes nothing.
    #[arg(long, conflicts_with_all = ["particles", "output"])]
    checks: bool,
    #[command(flatten)]
    output: OptionalOutput,
}

/// A scalar or a vector: its name and its numbers, with their errors.
type Line = (String, Vec<(&'static str, Estimate)>);

/// The kernels of the outputs, by name.
type Kernels = Vec<(&'static str, Array2<Estimate>)>;

impl Run {
    pub(crate) fn run(&self) -> Result<Report, Error> {
        let file = self.program.display().to_string();
        let program = Program::from_json(&files::text(&self.program)?).map_err(Error::refused(&file))?;
        let output = self.output.get();
        let outputs = program.outputs().len();
        if let Some(output) = &output {
            if outputs == 0 {
                return Err(Error::input(file, "there is nothing to write: the program has no outputs"));
            }
            let count = if self.particles.is_some() { 5 } else { 3 };
            output.check(&vec![&[outputs, outputs][..]; count])?;
        }
        let (mut text, checks) = self.describe(&program);
        if self.checks {
            return Ok(Report { answer: text, json: checks, ..Report::default() });
        }
        let began = Instant::now();
        let (lines, kernels) = self.limit(&program)?;
        let mut json =
            json!({ "program": program.to_string(), "checks": checks, "values": {}, "kernels": {} });
        text += "\nLimit of a coordinate\n";
        for (name, values) in &lines {
            // Writing to a string cannot fail.
            let _infallible = write!(text, "  {name:12}");
            for (what, value) in values {
                let _infallible = write!(text, "  {what} {}", show(*value));
                json["values"][name][*what] = json!({ "value": value.value, "error": value.error });
            }
            text.push('\n');
        }
        for (name, kernel) in &kernels {
            let _infallible = writeln!(text, "\n{name} of the outputs");
            for row in kernel.rows() {
                let row: Vec<String> = row.iter().map(|value| show(*value)).collect();
                let _infallible = writeln!(text, "  {}", row.join("  "));
            }
            let rows = |f: &dyn Fn(&Estimate) -> f64| -> Vec<Vec<f64>> {
                kernel.rows().into_iter().map(|row| row.iter().map(f).collect()).collect()
            };
            json["kernels"][*name] = json!({ "value": rows(&|e| e.value), "error": rows(&|e| e.error) });
        }
        let mut report = Report { answer: text, note: String::new(), json };
        if let Some(output) = output {
            let arrays: Vec<(String, Array2<f64>)> = kernels
                .iter()
                .flat_map(|(name, kernel)| {
                    let values = (name.to_string(), kernel.mapv(|e| e.value));
                    let errors = (format!("{name}_error"), kernel.mapv(|e| e.error));
                    [Some(values), (*name != "cross").then_some(errors)]
                })
                .flatten()
                .collect();
            let arrays: Vec<Named<'_>> = arrays.iter().map(|(name, array)| Named::new(name, array)).collect();
            let names = program.outputs().iter().map(|output| output.name.clone());
            let provenance = provenance::of(json!({
                "kind": "limit kernels of the outputs of a tensor program",
                "program": serde_json::from_str::<Value>(&program.to_json()).unwrap_or_default(),
                "outputs": names.collect::<Vec<_>>(),
                "particles": self.particles,
                "seed": self.particles.map(|_| self.seed),
                "precision": "f64",
            }));
            output.write(&arrays, &provenance)?;
            let files = wrote(&output, &arrays, began.elapsed().as_secs_f64(), provenance);
            report.note = files.note;
            report.json["files"] = files.json;
        }
        Ok(report)
    }

    fn describe(&self, program: &Program) -> (String, Value) {
        let checks = program.checks();
        let verdict = |check: &Result<(), Dependent>| match check {
            Ok(()) => "yes".to_owned(),
            Err(dependent) => format!("no, {dependent}"),
        };
        let json = |check: &Result<(), Dependent>| match check {
            Ok(()) => json!({ "holds": true }),
            Err(dependent) => json!({ "holds": false, "line": dependent.line, "reason": dependent.reason }),
        };
        let (growth, line) = checks.growth;
        let growth = match growth {
            Growth::Polynomial => "polynomial",
            Growth::Controlled => "below exp(C|x|^a), a < 2",
            Growth::TooFast => "too fast for the theorems",
            Growth::Singular => "singular",
        };
        // A program without functions has no such line.
        let at = if line == 0 { String::new() } else { format!(", line {line}") };
        let text = format!(
            "{program}\n\nChecks\n  forward tangents give the tangent kernel: {}\n  transposes are as good as \
             independent: {}\n  fastest growth of a function: {growth}{at}\n",
            verdict(&checks.simple_gia),
            verdict(&checks.bp_like),
        );
        let json = json!({
            "simple_gia": json(&checks.simple_gia),
            "bp_like": json(&checks.bp_like),
            "growth": growth,
            "growth_line": line,
            "needs_z_dot": checks.needs_z_dot,
            "needs_rank_stability": checks.needs_rank_stability,
        });
        (text, json)
    }

    fn failed(&self, error: program::Error) -> Error {
        match error {
            program::Error::Dependent(dependent) => {
                let reason = format!("{dependent}: sample the limit with --particles N");
                Error::input(self.program.display().to_string(), reason)
            }
            error => Error::failed(error),
        }
    }

    /// By forward tangents where they may be taken, else by the program with its backward passes.
    fn limit(&self, program: &Program) -> Result<(Vec<Line>, Kernels), Error> {
        let failed = |error| self.failed(error);
        let options = self.particles.map(|particles| ParticleOptions {
            particles,
            seed: self.seed,
            ..Default::default()
        });
        let exact = |kernels: [Array2<f64>; 2]| kernels.map(|kernel| kernel.mapv(Estimate::exact));
        let pair = |[nngp, ntk]: [Array2<Estimate>; 2]| vec![("nngp", nngp), ("ntk", ntk)];
        if program.outputs().is_empty() || program.checks().simple_gia.is_ok() {
            let has_outputs = !program.outputs().is_empty();
            return match options {
                None => {
                    let limit = KernelLimit::new(program.clone()).map_err(failed)?;
                    let kernels =
                        if has_outputs { pair(exact(limit.kernels().map_err(failed)?)) } else { vec![] };
                    Ok((lines(&limit, program).map_err(failed)?, kernels))
                }
                Some(options) => {
                    let limit = ParticleLimit::new(program.clone(), options).map_err(failed)?;
                    let kernels =
                        if has_outputs { pair(limit.forward_tangents().map_err(failed)?) } else { vec![] };
                    Ok((lines(&limit, program).map_err(failed)?, kernels))
                }
            };
        }
        let (whole, gradients) = program.with_backward(ScalarGradients::Exact).map_err(Error::failed)?;
        let (lines, kernels) = match options {
            None => {
                let limit = KernelLimit::new(whole).map_err(failed)?;
                (lines(&limit, program).map_err(failed)?, tangent_kernel(&limit, &gradients).map_err(failed)?)
            }
            Some(options) => {
                let limit = ParticleLimit::new(whole, options).map_err(failed)?;
                (lines(&limit, program).map_err(failed)?, tangent_kernel(&limit, &gradients).map_err(failed)?)
            }
        };
        Ok((lines, vec![("nngp", kernels.nngp), ("ntk", kernels.ntk), ("cross", kernels.cross)]))
    }
}

/// Scalars, and mean and second moment of every vector of the program as it was given.
fn lines<I: Interpretation>(limit: &I, program: &Program) -> Result<Vec<Line>, I::Error> {
    let scalars =
        program.scalars().map(|s| Ok((program.scalar_name(s).to_owned(), vec![("value", limit.scalar(s)?)])));
    let vectors = program.vectors().map(|x| {
        let mean = limit.mean(&Expr::arg(0), &[x], &[])?;
        Ok((program.name(x).to_owned(), vec![("mean", mean), ("second moment", limit.inner(x, x)?)]))
    });
    scalars.chain(vectors).collect()
}

fn show(value: Estimate) -> String {
    if value.error == 0.0 {
        format!("{:>14.10}", value.value)
    } else {
        format!("{:>12.8} ± {:.1e}", value.value, value.error)
    }
}
