//! Every command from files to files, and every bad file to its error.
#![allow(clippy::unwrap_used)]

mod bad;
mod fixtures;
mod good;
mod hard;
