//! `ntk`: kernels, predictions and finite networks for people who do not write Rust; arrays are files.

mod cli;
mod commands;
mod draw;
mod error;
mod files;
mod memory;
mod network;
mod progress;
mod provenance;
mod report;
mod samples;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let done = cli.command.run(cli.quiet).and_then(|report| report.print(cli.json, cli.quiet));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", error.line());
            error.exit_code()
        }
    }
}
