//! NNGP and neural tangent kernels of infinitely wide networks, exactly.
//!
//! Depend on this crate to evaluate kernels of an architecture: [`Analytic::new`] takes a [`Net`](ntk_core::Net),
//! refuses what has no known limit, and is a [`KernelFn`](ntk_core::KernelFn) from then on.
//!
//! ```
//! use ndarray::array;
//! use ntk_analytic::Analytic;
//! use ntk_core::{Activation, KernelFn, Net, Variance, Which};
//!
//! let net = Net::mlp(3, Activation::Relu, 1, Variance::TWO, Variance::new(0.1)?);
//! let kernel = Analytic::new(net)?;
//! let x = array![[1.0, 0.5], [-0.3, 0.8]];
//! let block = kernel.symmetric((&x).into(), Which::Both)?;
//! assert!(block.ntk.is_some_and(|ntk| ntk[[0, 1]] == ntk[[1, 0]]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Entries are exact to 10⁻¹⁰ relative to √(K₁₁K₂₂), also for identical, opposite, zero and nearly identical inputs
//! and at depth 100: between layers travels not the correlation ρ but the gap 1 − |ρ|.
//!
//! Feature `rayon` (default) computes tiles on all cores; results are the same to the bit on any number of them.

mod analytic;
mod dual;
pub mod effective;
mod error;
mod generated;
mod input;
mod lane;
mod nodes;
mod pass;
mod plan;
pub mod program;
mod report;
mod row;
mod rules;
mod sensitivity;
mod spatial;
mod sphere;

pub use ntk_core;

pub use analytic::Analytic;
pub use dual::{Cov2, Dual, DualActivation, FunctionDual, dual};
pub use error::Error;
pub use report::{Pairs, Plan, PlannedLayer};
pub use rules::{LayerRule, Pair, Precision, Rules};
pub use sensitivity::{VarianceDerivative, VarianceOf};
pub use sphere::SphereSpectrum;
