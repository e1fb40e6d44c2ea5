//! What a command says: an answer, a note about files, or both as JSON.

use std::io::{self, Write};

use serde_json::Value;

use crate::error::Error;

/// What a command found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// What was asked for, printed always.
    pub(crate) answer: String,
    /// What was done besides, not printed under `--quiet`.
    pub(crate) note: String,
    /// All of it for programs, under `--json`.
    pub(crate) json: Value,
}

impl Report {
    /// Prints it to standard output.
    pub(crate) fn print(&self, json: bool, quiet: bool) -> Result<(), Error> {
        let text = if json {
            format!("{:#}\n", self.json)
        } else {
            let note = if quiet { "" } else { &self.note };
            let parts = [self.answer.trim_end(), note.trim_end()].into_iter().filter(|part| !part.is_empty());
            parts.map(|part| format!("{part}\n")).collect()
        };
        print(&text)
    }
}

/// Prints to standard output; a reader that went away has seen enough.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(Error::Stdout),
    }
}
