//! What `cargo xtask codegen` has made.

#[rustfmt::skip] // As the generator writes it.
pub(crate) mod polynomials;
