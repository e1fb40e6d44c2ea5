//! What every kernel must obey, as functions to call from a test: run them on your own [`KernelFn`].
//!
//! [`check_kernel_fn`] runs all laws on one batch, of vectors, grids, sequences, graphs or tokens. Errors are relative to √(k(xᵢ, xᵢ) k(xⱼ, xⱼ)) and may reach
//! [`TOLERANCE`]; a kernel in single precision states its own by [`check_kernel_fn_within`].
//!
//! ```
//! use ntk_core::{Batch, Error, KernelBlock, KernelFn, Which};
//! use ntk_testkit::{laws, strategies};
//! use proptest::prelude::*;
//!
//! /// K = ⟨x, x′⟩ and Θ = 2K: two linear layers.
//! struct Linear;
//!
//! impl KernelFn for Linear {
//!     type Error = Error;
//!     fn block(&self, x1: Batch<'_>, x2: Batch<'_>, which: Which) -> Result<KernelBlock, Error> {
//!         Batch::check_pair(x1, x2)?;
//!         let k = ndarray::Array2::from_shape_fn((x1.len(), x2.len()), |(i, j)| {
//!             x1.values().row(i).dot(&x2.values().row(j))
//!         });
//!         Ok(KernelBlock { ntk: which.ntk().then(|| 2.0 * &k), nngp: which.nngp().then_some(k) })
//!     }
//! }
//!
//! proptest!(|(x in strategies::nasty_inputs())| laws::check_kernel_fn(&Linear, (&x).into())?);
//! ```

mod bad;
mod check;
mod violation;

use ntk_core::{Batch, KernelFn};

pub use violation::Violation;

use check::Check;

/// The numerical contract of double precision: 10⁻¹⁰ of √(k(xᵢ, xᵢ) k(xⱼ, xⱼ)).
pub const TOLERANCE: f64 = 1e-10;

/// All laws on one batch, best of five samples or more; the first violation is returned.
///
/// # Errors
/// [`Violation`].
pub fn check_kernel_fn<K: KernelFn>(kernel: &K, x: Batch<'_>) -> Result<(), Violation> {
    check_kernel_fn_within(kernel, x, TOLERANCE)
}

/// As [`check_kernel_fn`], with a tolerance of one's own in place of [`TOLERANCE`].
///
/// # Errors
/// [`Violation`].
pub fn check_kernel_fn_within<K: KernelFn>(
    kernel: &K,
    x: Batch<'_>,
    tolerance: f64,
) -> Result<(), Violation> {
    let law = |name| Check::new(kernel, name, tolerance);
    law("kernel_is_finite").finite(x)?;
    law("kernel_is_symmetric").symmetric(x)?;
    law("kernel_is_psd").psd(x)?;
    law("cauchy_schwarz").cauchy_schwarz(x)?;
    law("diagonal_agrees").diagonal(x)?;
    law("which_changes_nothing").which(x)?;
    for tile in [1, 2, 3, x.len()] {
        law("tiling_changes_nothing").tiled(x, tile)?;
    }
    // Every order is a product of the two: a reversal and a rotation.
    let reversed: Vec<usize> = (0..x.len()).rev().collect();
    let rotated: Vec<usize> = (0..x.len()).map(|i| (i + 1) % x.len()).collect();
    law("permuting_samples_permutes_the_kernel").permuted(x, &reversed)?;
    law("permuting_samples_permutes_the_kernel").permuted(x, &rotated)?;
    law("caching_changes_nothing").cached(x)?;
    law("bad_input_is_refused").bad_input(x)
}

/// Every value is finite, and every block that is asked for has the shape of its inputs.
///
/// # Errors
/// [`Violation`].
pub fn kernel_is_finite<K: KernelFn>(kernel: &K, x: Batch<'_>) -> Result<(), Violation> {
    Check::new(kernel, "kernel_is_finite", TOLERANCE).finite(x)
}

/// `symmetric` is symmetric to the bit, and `block(a, b)` is the transpose of `block(b, a)`.
///
/// # Errors
/// [`Violation`].
pub fn kernel_is_symmetric<K: KernelFn>(kernel: &K, x: Batch<'_>) -> Result<(), Violation> {
    Check::new(kernel, "kernel_is_symmetric", TOLERANCE).symmetric(x)
}

/// No eigenvalue of the kernel, scaled to a unit diagonal, lies below −`TOLERANCE` · n.
///
/// # Errors
/// [`Violation`].
pub fn kernel_is_psd<K: KernelFn>(kernel: &K, x: Batch<'_>) -> Result<(), Violation> {
    Check::new(kernel, "kernel_is_psd", TOLERANCE).psd(x)
}

/// |k(x, x′)|² ≤ k(x, x) k(x′, x′).
///
/// # Errors
/// [`Violation`].
pub fn cauchy_schwarz<K: KernelFn>(kernel: &K, x: Batch<'_>) -> Result<(), Violation> {
    Check::new(kernel, "cauchy_schwarz", TOLERANCE).cauchy_schwarz(x)
}

/// `diag` is the diagonal of `symmetric`.
///
/// # Errors
/// [`Violation`].
pub fn diagonal_agrees<K: KernelFn>(kernel: &K, x: Batch<'_>) -> Result<(), Violation> {
    Check::new(kernel, "diagonal_agrees", TOLERANCE).diagonal(x)
}

/// Asking for the NNGP or the NTK alone gives that one and nothing else, with the values of asking for both.
///
/// # Errors
/// [`Violation`].
pub fn which_changes_nothing<K: KernelFn>(kernel: &K, x: Batch<'_>) -> Result<(), Violation> {
    Check::new(kernel, "which_changes_nothing", TOLERANCE).which(x)
}

/// The kernel in tiles of at most `tile` samples is the kernel at once.
///
/// # Errors
/// [`Violation`].
pub fn tiling_changes_nothing<K: KernelFn>(kernel: &K, x: Batch<'_>, tile: usize) -> Result<(), Violation> {
    Check::new(kernel, "tiling_changes_nothing", TOLERANCE).tiled(x, tile)
}

/// k(x ∘ π, x ∘ π) = k(x, x) ∘ (π × π), where sample i of x ∘ π is sample `order[i]` of x.
///
/// # Errors
/// [`Violation`].
///
/// # Panics
/// If `order` names a sample that x does not have.
pub fn permuting_samples_permutes_the_kernel<K: KernelFn>(
    kernel: &K,
    x: Batch<'_>,
    order: &[usize],
) -> Result<(), Violation> {
    Check::new(kernel, "permuting_samples_permutes_the_kernel", TOLERANCE).permuted(x, order)
}

/// [`ntk_core::Cached`] gives the same bits, the first time and the second.
///
/// # Errors
/// [`Violation`].
pub fn caching_changes_nothing<K: KernelFn>(kernel: &K, x: Batch<'_>) -> Result<(), Violation> {
    Check::new(kernel, "caching_changes_nothing", TOLERANCE).cached(x)
}

/// Batches that are empty, that hold NaN, ∞ or unknown tokens, whose lengths or graphs do not fit, or that differ in
/// their positions or number of features are errors, not panics or numbers.
///
/// # Errors
/// [`Violation`].
pub fn bad_input_is_refused<K: KernelFn>(kernel: &K, x: Batch<'_>) -> Result<(), Violation> {
    Check::new(kernel, "bad_input_is_refused", TOLERANCE).bad_input(x)
}
