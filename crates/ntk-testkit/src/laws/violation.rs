//! A law that does not hold: which, where, and by how much.

/// A law that does not hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// The kernel refused what it should have answered.
    #[error("{law}: the kernel refuses valid inputs: {source}")]
    Refused {
        /// The law.
        law: &'static str,
        /// The kernel's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The kernel answered what it should have refused.
    #[error("{law}: {request} of {input} is answered, and should be an error")]
    Accepted {
        /// The law.
        law: &'static str,
        /// The method called.
        request: &'static str,
        /// What is bad about the input.
        input: &'static str,
    },
    /// The kernel panicked where it should have given an error.
    #[error("{law}: {request} of {input} panics, and should be an error")]
    Panicked {
        /// The law.
        law: &'static str,
        /// The method called.
        request: &'static str,
        /// What is bad about the input.
        input: &'static str,
    },
    /// A kernel that was asked for is missing, or one that was not is there.
    #[error("{law}: asked for {asked:?}, the kernel {} the {kernel}", if *given { "also gives" } else { "leaves out" })]
    Presence {
        /// The law.
        law: &'static str,
        /// `NNGP` or `NTK`.
        kernel: &'static str,
        /// The request.
        asked: ntk_core::Which,
        /// Whether it is there.
        given: bool,
    },
    /// A block that has not the shape of its inputs.
    #[error("{law}: the {kernel} has shape {got:?}, not {expected:?}")]
    Shape {
        /// The law.
        law: &'static str,
        /// `NNGP` or `NTK`.
        kernel: &'static str,
        /// Its shape.
        got: Vec<usize>,
        /// The shape that the inputs ask for.
        expected: Vec<usize>,
    },
    /// An entry that is not what the law says.
    #[error(
        "{law}: the {kernel} has entry ({row}, {column}) = {got:e}, not {expected:e} within {allowed:.1e}"
    )]
    Entry {
        /// The law.
        law: &'static str,
        /// `NNGP` or `NTK`.
        kernel: &'static str,
        /// Row.
        row: usize,
        /// Column.
        column: usize,
        /// The entry.
        got: f64,
        /// What the law says; for a bound, the bound that it exceeds.
        expected: f64,
        /// The deviation allowed.
        allowed: f64,
    },
    /// NaN or infinity.
    #[error("{law}: the {kernel} has entry ({row}, {column}) = {got}, which is not finite")]
    NotFinite {
        /// The law.
        law: &'static str,
        /// `NNGP` or `NTK`.
        kernel: &'static str,
        /// Row.
        row: usize,
        /// Column.
        column: usize,
        /// The entry.
        got: f64,
    },
    /// A kernel with a negative eigenvalue.
    #[error(
        "{law}: the {kernel}, scaled to a unit diagonal, has the eigenvalue {smallest:e}, below −{allowed:.1e}"
    )]
    Indefinite {
        /// The law.
        law: &'static str,
        /// `NNGP` or `NTK`.
        kernel: &'static str,
        /// Its smallest eigenvalue.
        smallest: f64,
        /// How far below zero eigenvalues may lie.
        allowed: f64,
    },
}
