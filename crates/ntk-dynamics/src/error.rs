//! What can be wrong with kernels, targets, rates and times.

/// Errors of `ntk-dynamics`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not a matrix that can be factored.
    #[error(transparent)]
    Linalg(#[from] ntk_linalg::Error),
    /// A Gram matrix with a clearly negative eigenvalue.
    #[error(
        "a kernel matrix is positive semidefinite, but its eigenvalues reach from {smallest:e} to {largest:e}: check the kernel, or add a ridge above {:e}",
        -smallest
    )]
    NotPositiveSemidefinite {
        /// The smallest eigenvalue, below −1e-8 of the largest.
        smallest: f64,
        /// The largest eigenvalue.
        largest: f64,
    },
    /// A Gram matrix that is singular to working precision where its inverse is needed.
    #[error(
        "the kernel matrix is singular: rank {rank} of {n}, condition number {condition:.1e}; add a ridge, or use GradientFlow at Time::Infinite, which leaves the zero modes alone"
    )]
    Singular {
        /// Number of eigenvalues above rounding.
        rank: usize,
        /// Number of rows.
        n: usize,
        /// λ_max / |λ|_min.
        condition: f64,
    },
    /// A test–train kernel that cannot belong to a singular train kernel.
    #[error(
        "row {row} of the test-train kernel reaches {leak:.1e} into the null space of the train kernel (rank {rank} of {n}, condition number {condition:.1e}), so the two are not of one kernel: add a ridge, or compute both with the same function"
    )]
    OutOfRange {
        /// First such test row.
        row: usize,
        /// Norm of its part in the null space, relative to its norm.
        leak: f64,
        /// Number of eigenvalues above rounding.
        rank: usize,
        /// Number of rows of the train kernel.
        n: usize,
        /// λ_max / |λ|_min.
        condition: f64,
    },
    /// Targets that do not fit the Gram matrix.
    #[error(
        "targets of shape ({samples}, {outputs}) need a Gram matrix of {samples} or {} rows, not {gram}",
        samples * outputs
    )]
    Targets {
        /// Rows of the Gram matrix.
        gram: usize,
        /// Rows of the targets.
        samples: usize,
        /// Columns of the targets.
        outputs: usize,
    },
    /// An array of another shape than the ones before it ask for.
    #[error("{what} must have shape ({}, {}), not ({}, {})", expected.0, expected.1, found.0, found.1)]
    Shape {
        /// Which argument.
        what: &'static str,
        /// The shape that fits.
        expected: (usize, usize),
        /// The shape given.
        found: (usize, usize),
    },
    /// NaN or infinity among the arguments.
    #[error("{what} contains {value} at ({row}, {column}): all entries must be finite")]
    NonFinite {
        /// Which argument.
        what: &'static str,
        /// Row of the first such entry.
        row: usize,
        /// Its column.
        column: usize,
        /// Its value.
        value: f64,
    },
    /// A kernel that was not handed over.
    #[error("the block has no {which} kernel: compute it with Which::Both")]
    MissingKernel {
        /// `nngp` or `ntk`.
        which: &'static str,
    },
    /// Not a learning rate.
    #[error("a learning rate is a finite number above 0, not {value}")]
    LearningRate {
        /// The number given.
        value: f64,
    },
    /// Not a momentum.
    #[error("a momentum lies in [0, 1), not {value}")]
    Momentum {
        /// The number given.
        value: f64,
    },
    /// Not a ridge.
    #[error("a ridge is a finite number of at least 0, not {value}")]
    Ridge {
        /// The number given.
        value: f64,
    },
    /// Not a time.
    #[error("a time is a finite number of at least 0, not {value}; for the limit use Time::Infinite")]
    Time {
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
    /// A basis of too many walks.
    #[error("a basis of more than {largest} walks: shorten them, or use Basis::Lazy, which needs no bound")]
    Walks {
        /// The most there may be.
        largest: usize,
    },
    /// Times that go back.
    #[error("times must ascend, but time {index} is {after} after {before}: sort them")]
    Unordered {
        /// Position of the first time below the one before it.
        index: usize,
        /// The time before.
        before: f64,
        /// That time.
        after: f64,
    },
    /// Not a tolerance.
    #[error(
        "a relative tolerance is at least 0, an absolute one at least 1e-14, both finite; not {relative:e} and {absolute:e}"
    )]
    Tolerance {
        /// The relative one.
        relative: f64,
        /// The absolute one.
        absolute: f64,
    },
    /// An integration that has used up its steps.
    #[error(
        "the differential equation is at time {time:.3e} with a summed loss of {loss:.3e} after {steps} steps: allow more steps or a larger tolerance; the limit of infinite time exists only where the loss has a minimum, so cross-entropy on separable labels needs a finite time"
    )]
    Unfinished {
        /// Steps taken, rejected ones included.
        steps: u64,
        /// Where the integration is.
        time: f64,
        /// Σ ℓ there, not scaled.
        loss: f64,
    },
    /// An integration whose steps become shorter than rounding.
    #[error(
        "no step from time {time:e} meets the tolerance: the gradient of the loss is not continuous there, or not finite"
    )]
    Stalled {
        /// Where the integration is.
        time: f64,
    },
    /// A loss that was not reached.
    #[error(
        "the loss is {loss:e} at time {time:.3e} and has not come down to {level:e}: ask for a higher loss or a longer time"
    )]
    NotReached {
        /// What was asked for.
        level: f64,
        /// What was reached.
        loss: f64,
        /// When.
        time: f64,
    },
    /// Infinitely many steps of a descent that does not converge.
    #[error(
        "descent does not converge: the learning rate {rate} must be below {maximal}, at which the stiffest mode stops to decay"
    )]
    Unstable {
        /// The learning rate.
        rate: f64,
        /// The bound 2(1 + β)/λ_max in the units of the loss.
        maximal: f64,
    },
    /// A class label without a column of scores.
    #[error("sample {sample} has label {label}, but there are {classes} classes, counted from 0")]
    Label {
        /// The first such sample.
        sample: usize,
        /// Its label.
        label: usize,
        /// Number of classes.
        classes: usize,
    },
    /// Scores that no finite temperature fits.
    #[error(
        "the likelihood of the labels has no maximum at a temperature above 0 and finite, but rises towards {limit}: the scores get {correct} of {samples} samples right; fit on held-out samples, leave-one-out predictions for example"
    )]
    NoTemperature {
        /// 0 if the scores are right wherever they differ, infinity if they say nothing of the labels.
        limit: f64,
        /// Samples whose label has the largest score.
        correct: usize,
        /// All samples.
        samples: usize,
    },
    /// Finitely many steps of an unstable descent, beyond the largest number.
    #[error("the outputs overflow: ask for fewer steps, or lower the learning rate")]
    Overflow,
    /// The kernel provider's error.
    #[error("the kernel could not be computed")]
    Kernel(#[source] Box<dyn std::error::Error + Send + Sync>),
}
