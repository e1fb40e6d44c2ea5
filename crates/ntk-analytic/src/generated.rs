//! What `cargo xtask codegen` has made.

pub(crate) mod polynomials;
