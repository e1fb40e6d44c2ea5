//! What can be wrong with a program: always with the line it is wrong in.

/// Errors of tensor programs.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A variable that no earlier line defines.
    #[error("line {line}: {name} is used before it is defined")]
    Undefined {
        /// The line.
        line: usize,
        /// The variable.
        name: String,
    },
    /// A name that is taken.
    #[error("line {line}: the name {name} is taken")]
    Duplicate {
        /// The line.
        line: usize,
        /// The name.
        name: String,
    },
    /// Two dimensions that must be one.
    #[error(
        "line {line}: {left} has dimension {left_dimension} and {right} has dimension {right_dimension}, which must be equal here"
    )]
    Dimension {
        /// The line.
        line: usize,
        /// One side.
        left: String,
        /// Its dimension.
        left_dimension: String,
        /// The other.
        right: String,
        /// Its dimension.
        right_dimension: String,
    },
    /// A number out of its domain.
    #[error("line {line}: {what} is {domain}, not {value}")]
    Number {
        /// The line.
        line: usize,
        /// What it is.
        what: &'static str,
        /// The number given.
        value: f64,
        /// What would be right.
        domain: &'static str,
    },
    /// An expression that reads more than it is given.
    #[error("line {line}: the function reads {reads} {what}, and {given} are given")]
    Arity {
        /// The line.
        line: usize,
        /// `vectors` or `scalars`.
        what: &'static str,
        /// How many it reads.
        reads: usize,
        /// How many there are.
        given: usize,
    },
    /// Inputs whose mean or covariance has another shape, or no covariance.
    #[error("line {line}: {reason}")]
    Law {
        /// The line.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// An operation that needs at least one operand.
    #[error("line {line}: {operation} of nothing")]
    Empty {
        /// The line.
        line: usize,
        /// The operation.
        operation: &'static str,
    },
    /// A readout that is no input.
    #[error("line {line}: a readout is an input, and {name} is not")]
    Readout {
        /// The line.
        line: usize,
        /// The vector.
        name: String,
    },
    /// A network that does not fit its samples.
    #[error("{reason}")]
    Net {
        /// What is wrong.
        reason: String,
    },
    /// A layer that has no program here.
    #[error("{layer} has no program: write it with a Builder")]
    Uncovered {
        /// The layer.
        layer: String,
    },
    /// A document that is no program.
    #[error("not a program: {reason}")]
    Json {
        /// What is wrong, and where.
        reason: String,
    },
}
