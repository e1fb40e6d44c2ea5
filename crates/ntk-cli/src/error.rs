//! What can go wrong, and the exit code that says whose turn it is: 2 for what was handed in, 1 for the work itself.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::files::Malformed;

/// An error of any crate.
pub(crate) type Boxed = Box<dyn std::error::Error + Send + Sync>;

/// Everything that ends a command early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file that cannot be read or is not what its name says.
    #[error("{}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        problem: Malformed,
    },
    /// Something handed in that does not fit.
    #[error("{of}: {reason}")]
    Input {
        /// A file or an option.
        of: String,
        /// Why, and what to do.
        reason: String,
    },
    /// Something handed in that a library refuses.
    #[error("{of}")]
    Refused {
        /// A file or an option.
        of: String,
        /// Why.
        source: Boxed,
    },
    /// A place where nothing can be written.
    #[error("{}: {reason}", path.display())]
    Output {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// A write that failed; nothing is left of it.
    #[error("{} could not be written, and nothing was left behind", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Standard output that takes no more.
    #[error("standard output could not be written")]
    Stdout(#[source] io::Error),
    /// More memory than there may be.
    #[error(
        "{needed} of memory are needed and {bound} may be taken: ask for fewer samples at a time, or raise --memory"
    )]
    Memory {
        /// Bytes in words.
        needed: String,
        /// Bytes in words.
        bound: String,
    },
    /// A computation that did not come to an end.
    #[error("{0}")]
    Failed(Boxed),
}

impl Error {
    /// Something handed in that does not fit.
    pub(crate) fn input(of: impl Into<String>, reason: impl Into<String>) -> Self {
        Error::Input { of: of.into(), reason: reason.into() }
    }

    /// Turns what a library refuses into an error about a file or an option.
    pub(crate) fn refused<E: Into<Boxed>>(of: impl ToString) -> impl FnOnce(E) -> Self {
        move |source| Error::Refused { of: of.to_string(), source: source.into() }
    }

    /// Turns what a library could not do into an error about the computation.
    pub(crate) fn failed(source: impl Into<Boxed>) -> Self {
        Error::Failed(source.into())
    }

    /// 2 where something else has to be handed in, 1 elsewhere.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Error::Read { .. } | Error::Input { .. } | Error::Refused { .. } | Error::Output { .. } => {
                ExitCode::from(2)
            }
            Error::Write { .. } | Error::Stdout(_) | Error::Memory { .. } | Error::Failed(_) => {
                ExitCode::FAILURE
            }
        }
    }

    /// The error with its causes on one line.
    pub(crate) fn line(&self) -> String {
        let mut text = self.to_string();
        let mut next = std::error::Error::source(self);
        if let Error::Failed(error) = self {
            next = error.source();
        }
        while let Some(error) = next {
            // Some messages tell their cause themselves.
            let cause = error.to_string();
            if !text.ends_with(&cause) {
                text = format!("{text}: {cause}");
            }
            next = error.source();
        }
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}
