//! `ntk-bench`: lists, describes and runs the experiments, and renders their report.
#![allow(clippy::print_stdout)] // a program speaks to its user

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use ntk_bench::experiments::{ALL, ON_REQUEST, select};
use ntk_bench::needs::Needs;
use ntk_bench::runner::{self, Options};
use ntk_bench::{Device, Error, Experiment, Size};

/// Experiments that rebuild the claims of the papers.
#[derive(Parser)]
#[command(name = "ntk-bench")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The experiments, with time (on two cores) and memory (on the cores here) at quick, default and full size.
    List,
    /// What an experiment claims, or what the project supports.
    Describe {
        /// Names; all if none is given.
        names: Vec<String>,
        /// The table of layers, activations and interpretations, in Markdown.
        #[arg(long, exclusive = true)]
        support: bool,
        /// The JSON schema of network files.
        #[arg(long, exclusive = true)]
        schema: bool,
    },
    /// Runs experiments, writes one JSON file for each and the page; fails if a claim fails.
    Run(Run),
    /// Measures one row of the comparison with neural-tangents and prints it as JSON.
    Time {
        /// The row; without one, the names of all are printed.
        row: Option<String>,
        /// float32 or float64.
        #[arg(long, default_value = "float64", value_parser = ["float32", "float64"])]
        dtype: String,
    },
    /// Writes the page again from the JSON files.
    Render {
        /// Directory of the reports.
        #[arg(long, value_name = "DIR", default_value = "target/reproduce")]
        out: PathBuf,
    },
}

#[derive(Args)]
struct Run {
    /// Names; all if none is given.
    names: Vec<String>,
    /// Small sizes: shows that everything works.
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// The sizes of the papers.
    #[arg(long)]
    full: bool,
    /// Directory of MNIST (IDX) or CIFAR-10 (binary) files.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Directory of the reports.
    #[arg(long, value_name = "DIR", default_value = "target/reproduce")]
    out: PathBuf,
    /// cpu, cuda, cuda:N, metal or metal:N.
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// First seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Begin anew where an interrupted run of the same options and commit could go on.
    #[arg(long)]
    fresh: bool,
}

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {}", runner::chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Whether every claim holds.
fn dispatch(command: Command) -> Result<bool, Error> {
    let everything = [ALL, ON_REQUEST].concat();
    match command {
        Command::List => {
            for experiment in &everything {
                let [quick, default, full] = needs(experiment).map(|needs| needs.to_string());
                println!("{:24}{quick:>14}{default:>21}{full:>21}  {}", experiment.name, experiment.title);
            }
            Ok(true)
        }
        Command::Describe { support: true, .. } => {
            print!("{}", ntk_bench::describe::support());
            Ok(true)
        }
        Command::Describe { schema: true, .. } => {
            println!("{:#}", ntk_bench::describe::schema());
            Ok(true)
        }
        Command::Describe { names, .. } => {
            for experiment in select(&everything, &names)? {
                println!("{}: {}\n{}", experiment.name, experiment.title, experiment.source);
                println!("{}\n{}", experiment.claim, experiment.formula);
                let [quick, default, full] = needs(experiment);
                println!("expected: {default}; with --quick {quick}; with --full {full}\n");
            }
            Ok(true)
        }
        Command::Run(run) => {
            let size = match (run.quick, run.full) {
                (true, _) => Size::Quick,
                (_, true) => Size::Full,
                _ => Size::Default,
            };
            let Run { seed, device, data_dir, fresh, .. } = run;
            let options = Options { size, seed, device, data_dir, fresh };
            let selected = select(if run.names.is_empty() { ALL } else { &everything }, &run.names)?;
            let records = runner::run(&everything, &selected, &options, &run.out)?;
            println!("{}", runner::render(&everything, &run.out)?.display());
            Ok(records.iter().all(runner::Record::holds))
        }
        Command::Time { row: None, .. } => {
            println!("{}", ntk_bench::peer::ROWS.join("\n"));
            Ok(true)
        }
        Command::Time { row: Some(row), dtype } => {
            let timing = ntk_bench::peer::time(&row, dtype == "float32")
                .map_err(|source| Error::Experiment { name: row, source })?;
            println!("{}", serde_json::json!(timing));
            Ok(true)
        }
        Command::Render { out } => {
            println!("{}", runner::render(&everything, &out)?.display());
            Ok(true)
        }
    }
}

/// What an experiment takes on this machine at quick, default and full size.
fn needs(experiment: &Experiment) -> [Needs; 3] {
    let cores = rayon::current_num_threads();
    [Size::Quick, Size::Default, Size::Full]
        .map(|size| Needs::of([experiment], &Options { size, ..Options::default() }, cores))
}
