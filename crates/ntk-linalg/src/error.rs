//! What can be wrong with a matrix or a right-hand side.

/// Errors of `ntk-linalg`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A symmetric matrix must be square.
    #[error("a symmetric matrix is square, not {rows} × {columns}")]
    NotSquare {
        /// Rows given.
        rows: usize,
        /// Columns given.
        columns: usize,
    },
    /// A matrix without entries.
    #[error("a matrix needs at least one row")]
    Empty,
    /// A product is written where it does not fit.
    #[error("a product of shape {expected:?} does not fit into {found:?}")]
    Product {
        /// Rows of the left factor, columns of the right one.
        expected: (usize, usize),
        /// Shape of what it should be written into.
        found: (usize, usize),
    },
    /// NaN or infinity.
    #[error("entry ({row}, {column}) = {value} is not finite")]
    NonFinite {
        /// Row of the first such entry.
        row: usize,
        /// Its column.
        column: usize,
        /// Its value.
        value: f64,
    },
    /// The two triangles differ by more than rounding.
    #[error(
        "entries ({row}, {column}) and ({column}, {row}) differ by {difference:e}, more than 1e-10 of the largest entry {largest:e}: symmetrize the matrix if the difference is meant to be noise"
    )]
    NotSymmetric {
        /// Row of the first such pair, the larger index.
        row: usize,
        /// Its column.
        column: usize,
        /// The modulus of the difference.
        difference: f64,
        /// The largest modulus of an entry.
        largest: f64,
    },
    /// A pivot of Cholesky's factorization is negative, or zero up to rounding.
    #[error(
        "the matrix is not positive definite to working precision: pivot {pivot} is {value:e}; add a ridge to the diagonal, or use the eigensystem"
    )]
    NotPositiveDefinite {
        /// Index of the pivot.
        pivot: usize,
        /// Its value: the variance left of coordinate `pivot` given those before it.
        value: f64,
    },
    /// A direction along which a quadratic form does not rise.
    #[error(
        "the operator or its preconditioner is not positive definite: ⟨p, A p⟩/⟨p, p⟩ = {curvature:e} at step {step}; add a ridge"
    )]
    Indefinite {
        /// Which step, from 1.
        step: usize,
        /// ⟨p, A p⟩/⟨p, p⟩.
        curvature: f64,
    },
    /// Conjugate gradients that did not reach their tolerance.
    #[error(
        "after {steps} steps the residual is {residual:e} of the right-hand side, more than {tolerance:e}: allow more steps, use a preconditioner of higher rank, or add a ridge"
    )]
    Unsolved {
        /// Steps made.
        steps: usize,
        /// The largest ‖b − A x‖/‖b‖ that was left.
        residual: f64,
        /// The tolerance asked for.
        tolerance: f64,
    },
    /// The eigenvalue iteration did not end, which needs extreme entries.
    #[error(
        "the eigenvalue iteration did not converge: rescale the matrix, whose largest entry is {largest:e}"
    )]
    NoConvergence {
        /// The largest modulus of an entry.
        largest: f64,
    },
    /// Two operands that do not fit.
    #[error("the right operand needs {expected} rows, not {rows}")]
    Rows {
        /// Rows that fit.
        expected: usize,
        /// Rows given.
        rows: usize,
    },
    /// A kernel or labels that are zero where their direction is asked for.
    #[error("{what} is zero up to rounding and points nowhere: alignments compare directions")]
    NoDirection {
        /// Which argument.
        what: &'static str,
    },
    /// Not a time between two kernels.
    #[error("two kernels are compared over a finite time above 0, not {value}")]
    Interval {
        /// The number given.
        value: f64,
    },
    /// An option out of its domain.
    #[error("{option} = {value} is out of its domain ({domain})")]
    Setting {
        /// The option's name.
        option: &'static str,
        /// The number given.
        value: f64,
        /// What is allowed.
        domain: &'static str,
    },
    /// A start that is no direction of the operator's space.
    #[error("a start has {expected} finite numbers that are not all zero; this one has {found} numbers")]
    Start {
        /// Dimension of the operator.
        expected: usize,
        /// Numbers given.
        found: usize,
    },
    /// An operator that leaves its space.
    #[error("the operator maps {expected} numbers to {found}: a symmetric one maps them to as many")]
    ProductLength {
        /// Dimension of the operator.
        expected: usize,
        /// Length of its product.
        found: usize,
    },
    /// A product with NaN or infinity, or whose length overflows.
    #[error("product {step} with the operator is not finite: rescale it, or look for what overflows in it")]
    NonFiniteProduct {
        /// Which product, from 1.
        step: usize,
    },
    /// ⟨u, A v⟩ and ⟨v, A u⟩ differ.
    #[error(
        "the operator is not symmetric: ⟨u, A v⟩ and ⟨v, A u⟩ differ by {difference:e} at product {step}, more than 1e-4 of the largest ‖A v‖ = {largest:e}"
    )]
    OperatorNotSymmetric {
        /// Which product, from 1.
        step: usize,
        /// The modulus of the difference.
        difference: f64,
        /// The largest length of a product with a unit vector.
        largest: f64,
    },
}
