//! Limits of tensor programs: what a computation with random matrices becomes when they are infinitely large.
//!
//! Three interpretations of one [`Program`], each with an error on every value:
//!
//! * [`KernelLimit`]: covariances by closed forms and quadrature, for programs whose gradients are independent of their
//!   matrices ([`Program::checks`]).
//! * [`ParticleLimit`]: joint samples, for any program.
//! * [`LinearLimit`]: fractions, for linear programs.
//!
//! Kernels of the outputs come from [`KernelLimit::kernels`], [`ParticleLimit::forward_tangents`], or for any program from
//! [`ntk_core::program::tangent_kernel`] on the program with its backward passes; [`GradientDependence`] says what is lost by
//! taking gradients as independent of the matrices.
//!
//! What has a recursion or an integral of its own goes without a program: [`BatchNormRelu`], [`rnn_kernels`], and the
//! singular values of Jacobians in [`JacobianSpectrum`].

mod batch_norm;
mod correction;
mod error;
mod expectation;
mod gaussian;
mod kernel;
mod linear;
mod particle;
mod quadrature;
mod recurrent;
mod spectra;
mod tangent;

use ntk_core::program::{Growth, Program, VectorOp};

pub use batch_norm::BatchNormRelu;
pub use correction::GradientDependence;
pub use error::Error;
pub use kernel::KernelLimit;
pub use linear::{Fraction, LinearLimit};
pub use particle::{ParticleLimit, ParticleOptions, REPLICATES};
pub use recurrent::{rnn_kernels, rnn_states};
pub use spectra::{Ensemble, JacobianSpectrum, MarchenkoPastur, fixed_point_variance, semicircle_density};

/// Refuses functions that no theorem covers: faster than exponential, singular, or exponential beside a transpose.
fn check_growth(program: &Program) -> Result<(), Error> {
    let (growth, line) = program.checks().growth;
    let transposes =
        program.vectors().any(|x| matches!(program.vector(x), VectorOp::MatMul { transposed: true, .. }));
    let (covered, known) = if transposes {
        (Growth::Polynomial, "polynomial growth")
    } else {
        (Growth::Controlled, "growth below exp(C|x|^α) with α < 2")
    };
    if growth > covered { Err(Error::Growth { line, growth, known }) } else { Ok(()) }
}

#[cfg(test)]
mod networks_tests;
#[cfg(test)]
mod tests;
