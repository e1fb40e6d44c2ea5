//! The linear algebra that kernels need, over faer, with ndarray in and out: so that no other crate meets faer.
//!
//! Depend on this crate if you factor kernel matrices of your own; solvers for training are in `ntk-dynamics`.
//!
//! * [`Symmetric`]: a matrix checked once; what every factorization takes.
//! * [`Cholesky`]: factor a positive definite matrix once, solve many times; log-determinant.
//! * [`SymmetricEigen`]: eigenvalues in ascending order with orthonormal eigenvectors; rank, condition number.
//! * [`ConjugateGradients`]: solutions by products alone, with residual bounds; [`LowRank`] makes preconditioners
//!   (pivoted Cholesky, Nyström), [`MixedCholesky`] one in single precision.
//! * [`Lanczos`], [`SpectralDensity`]: extreme eigenvalues and the spectral density of an operator given by products.
//! * [`product`]: A · B on all cores; [`gemm`]: α A · B + β C in place, in f32 or f64; [`normals`]: standard normal numbers from a seed.
//! * [`kernel_distance`], [`target_alignment`], [`centered_alignment`], [`effective_rank`] and others: how kernels
//!   compare with each other and with labels.
//!
//! A symmetric matrix reads the same by rows and by columns, so nothing is transposed on the way to faer.
//! Feature `rayon` (default) uses all threads of the global rayon pool; results agree to rounding on any number.

mod alignment;
mod bridge;
mod cholesky;
mod conjugate;
mod eigen;
mod error;
mod lanczos;
mod low_rank;
mod mixed;
mod symmetric;

pub use alignment::{
    centered_alignment, effective_rank, kernel_distance, kernel_velocity, relative_change, target_alignment,
    target_shares,
};
pub use bridge::{Scalar, Threads, gemm, product};
pub use cholesky::Cholesky;
pub use conjugate::{ConjugateGradients, Preconditioner, Solution, Unpreconditioned};
pub use eigen::{SymmetricEigen, eigenvalues};
pub use error::Error;
pub use lanczos::{Extreme, Lanczos, Moment, Probe, Ritz, SpectralDensity, normals};
pub use low_rank::{Landmarks, LowRank, Woodbury};
pub use mixed::MixedCholesky;
pub use symmetric::Symmetric;
