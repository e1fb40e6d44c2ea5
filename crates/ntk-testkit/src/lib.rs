//! Laws, random networks and golden values for testing kernels of wide networks, your own included.
//!
//! * [`laws`]: a conformance suite for any [`KernelFn`](ntk_core::KernelFn).
//! * [`strategies`]: random networks, activations, inputs and Gram matrices for proptest, with shrinking.
//! * [`golden`]: reference values of other programs and of 60-digit arithmetic.

pub mod golden;
pub mod laws;
pub mod strategies;
