//! The command line: every command with its help, in one place each.

use clap::{Parser, Subcommand};

use crate::commands::{describe, finite, kernel, manual, predict, program, train_compare};
use crate::error::Error;
use crate::report::Report;

/// Kernels of infinitely wide networks, predictions of their training, and finite networks beside them.
///
/// A network is a JSON file (`ntk describe --help` shows one). Samples, targets and kernels are .npy, .npz (an array of
/// an archive is FILE.npz:NAME) or .csv files: samples along the first axis, channels along the last. Beside every matrix
/// stands where it comes from: the array `provenance` of an .npz file, or FILE.json beside .npy and .csv files.
///
/// Exit codes: 0, all is well; 1, a computation failed or its result could not be written; 2, what was handed in is
/// wrong. After an error no output is left behind.
#[derive(Parser)]
#[command(name = "ntk", version, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Prints what was done as JSON.
    #[arg(long, global = true, help_heading = "Options of every command")]
    pub(crate) json: bool,
    /// No progress, and no notes about files that were written.
    #[arg(short, long, global = true, help_heading = "Options of every command")]
    pub(crate) quiet: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    Kernel(kernel::Kernel),
    Predict(predict::Predict),
    Finite(finite::Finite),
    Program(program::Run),
    Describe(describe::Describe),
    TrainCompare(train_compare::TrainCompare),
    Completions(manual::Completions),
    Man(manual::Man),
}

impl Command {
    /// Does what was asked.
    pub(crate) fn run(&self, quiet: bool) -> Result<Report, Error> {
        match self {
            Command::Kernel(kernel) => kernel.run(quiet),
            Command::Predict(predict) => predict.run(quiet),
            Command::Finite(finite) => finite.run(quiet),
            Command::Program(program) => program.run(),
            Command::TrainCompare(compare) => compare.run(quiet),
            Command::Describe(describe) => describe.run(),
            Command::Completions(completions) => completions.run(),
            Command::Man(man) => man.run(),
        }
    }
}
