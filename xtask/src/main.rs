//! The project's commands. It starts other programs and links none of our crates, so that it starts in seconds.
#![allow(clippy::print_stdout)] // a program speaks to its user

mod bench;
mod browser;
mod ci;
mod codegen;
mod data;
mod docs;
mod flags;
mod golden;
mod links;
mod peer;
mod project;
mod release;
mod reproduce;
mod tidy;

use clap::Parser as _;
use flags::{Command, Xtask};
use project::Project;

fn main() -> anyhow::Result<()> {
    let Xtask { command } = Xtask::parse();
    let project = Project::find()?;
    match command {
        Command::Ci => ci::run(&project),
        Command::Tidy => tidy::run(&project),
        Command::Codegen { check } => codegen::run(&project, check),
        Command::Reproduce(options) => reproduce::run(&project, &options),
        Command::Bench { names, json } => bench::run(&project, &names, json.as_deref()),
        Command::Data { names, to, archive } => {
            data::run(&project, &names, to.as_deref(), archive.as_deref())
        }
        Command::Peer { rows, install, json } => peer::run(&project, &rows, install, json.as_deref()),
        Command::Docs => docs::run(&project),
        Command::Golden => golden::run(&project),
    }
}
