//! What a shell and `man` want to know about the program.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::error::Error;
use crate::report::{self, Report};

/// Prints the completions of a shell.
///
/// For bash: ntk completions bash > ~/.local/share/bash-completion/completions/ntk
#[derive(Args)]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self) -> Result<Report, Error> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "ntk", &mut text);
        report::print(&String::from_utf8_lossy(&text))?;
        Ok(Report::default())
    }
}

/// Prints the manual page of the program or of one command.
///
/// To read one: ntk man kernel | man -l -
#[derive(Args)]
pub(crate) struct Man {
    /// The command; without it, the program.
    command: Option<String>,
}

impl Man {
    pub(crate) fn run(&self) -> Result<Report, Error> {
        let mut program = Cli::command().disable_help_subcommand(true);
        program.build();
        let page = match &self.command {
            None => program,
            Some(name) => {
                let known: Vec<String> = program.get_subcommands().map(|c| c.get_name().to_owned()).collect();
                let unknown = || {
                    Error::input(
                        "man",
                        format!("there is no command {name:?}; there are {}", known.join(", ")),
                    )
                };
                program.find_subcommand(name).ok_or_else(unknown)?.clone()
            }
        };
        let mut text = Vec::new();
        clap_mangen::Man::new(page).render(&mut text).map_err(Error::Stdout)?;
        report::print(&String::from_utf8_lossy(&text))?;
        Ok(Report::default())
    }
}
