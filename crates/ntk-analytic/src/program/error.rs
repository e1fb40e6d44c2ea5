//! What of a program has no limit, or none by the way that was asked for.

use ntk_core::program::{Dependent, Growth};

/// Errors of the limits of programs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A line that is wrong in itself.
    #[error(transparent)]
    Program(#[from] ntk_core::program::Error),
    /// A matrix and its transpose that may not be taken as independent.
    #[error("{0}: take ParticleLimit, which follows the dependence")]
    Dependent(Dependent),
    /// A function that no theorem covers.
    #[error(
        "line {line}: the function grows as {growth:?}, and limits are known for {known}: bound its argument, or add a constant to what it divides by"
    )]
    Growth {
        /// The line.
        line: usize,
        /// What it does.
        growth: Growth,
        /// What would be covered.
        known: &'static str,
    },
    /// A function that is not linear, where only those are followed exactly.
    #[error(
        "line {line}: {name} is not a linear function with rational coefficients, which LinearLimit needs"
    )]
    NotLinear {
        /// The line.
        line: usize,
        /// The vector or scalar.
        name: String,
    },
    /// Rational numbers that outgrow 128 bits.
    #[error("the exact value of {name} does not fit into fractions of 128 bits")]
    Fraction {
        /// The vector or scalar.
        name: String,
    },
    /// Too few particles for an estimate.
    #[error("at least {least} particles are needed, not {found}")]
    Particles {
        /// The smallest number.
        least: usize,
        /// The number given.
        found: usize,
    },
    /// A variable that overflows.
    #[error("{name} is not finite: lower the variances before it, or normalize")]
    NotFinite {
        /// The vector or scalar.
        name: String,
    },
    /// A batch too small for what is asked.
    #[error(
        "{what} needs a batch of at least {least} samples, not {found}: its second moment diverges below"
    )]
    Batch {
        /// What is asked.
        what: &'static str,
        /// The smallest batch.
        least: usize,
        /// The batch given.
        found: usize,
    },
    /// Matrices or sequences of the wrong shape or with wrong numbers.
    #[error("{reason}")]
    Shape {
        /// What is wrong.
        reason: String,
    },
    /// A dual activation that does not exist, or an argument that is no covariance.
    #[error(transparent)]
    Dual(#[from] crate::Error),
    /// A law of slopes that is not known.
    #[error(
        "the squared slopes of {activation} have no law in closed form here: take an activation of straight lines, or an erf"
    )]
    Slopes {
        /// The activation's name.
        activation: String,
    },
    /// A density at a point that has a mass of its own, or hardly any below it.
    #[error("no density was found at {x}: there is none at an atom and next to 0, so ask elsewhere")]
    Unresolved {
        /// The point.
        x: f64,
    },
    /// A variance that does not settle with depth.
    #[error(
        "the variance of {activation} does not settle with depth: it came to {variance}, lower the weight variance"
    )]
    FixedPoint {
        /// The activation's name.
        activation: String,
        /// What it came to.
        variance: f64,
    },
}
