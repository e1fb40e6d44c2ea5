//! Experiments that rebuild the claims of the papers as numbers with tolerances, and the benchmarks.
//!
//! * [`Experiment`]: a claim in words, and a function from a [`Context`] to a [`Report`] of [`Claim`]s, plots and tables.
//! * [`experiments::ALL`]: the table of all of them; [`run`](runner::run) works through it, if memory [`needs`] are met.
//! * [`data`]: the embedded digits, MNIST and CIFAR-10 from files.
//! * [`stats`]: fitted rates with standard errors, quantiles, tests of normality.
//! * [`page`]: one HTML file with every verdict, plot and number; [`record`]: how a benchmark states its unit;
//!   [`peer`]: rows of the comparison with neural-tangents.

pub mod claim;
pub mod data;
pub mod describe;
mod error;
pub mod experiment;
pub mod experiments;
pub mod machine;
pub mod needs;
mod number;
pub mod page;
pub mod peer;
pub mod plot;
pub mod record;
pub mod runner;
pub mod stats;

pub use claim::{Claim, Criterion, Side};
pub use error::Error;
pub use experiment::{BoxError, Context, Device, Experiment, Progress, Report, Size, Table};
pub use plot::Plot;

/// The listings of the README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
