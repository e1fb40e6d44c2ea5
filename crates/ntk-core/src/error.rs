//! What can be wrong with a description, a batch or a request.

/// Errors of `ntk-core`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not a variance.
    #[error(
        "a variance is a finite number of at least 0, not {value}; from a standard deviation use Variance::from_std"
    )]
    Variance {
        /// The number given.
        value: f64,
    },
    /// Not a learning-rate multiplier.
    #[error(
        "a learning-rate multiplier is a finite number of at least 0, not {value}; 0 freezes the parameters"
    )]
    Rate {
        /// The number given.
        value: f64,
    },
    /// Not a probability to drop.
    #[error("a dropout rate is the probability to drop, in [0, 1), not {value}")]
    DropRate {
        /// The number given.
        value: f64,
    },
    /// Not a relative width.
    #[error("a hidden width is a finite positive multiple of n, not {value}")]
    WidthRatio {
        /// The number given.
        value: f64,
    },
    /// A layer without units.
    #[error("a layer needs at least one unit: give Width::Fixed and Net::readout a positive number")]
    ZeroWidth,
    /// A sum, product or concatenation of nothing.
    #[error("a {combinator} needs at least one branch")]
    NoBranches {
        /// `sum`, `product` or `concatenation`.
        combinator: &'static str,
    },
    /// Branches that cannot be combined coordinate by coordinate.
    #[error(
        "the branches of a {combinator} must have equal widths, not {left} and {right}: end one in Net::dense_with of the other's width"
    )]
    BranchWidths {
        /// `sum` or `product`.
        combinator: &'static str,
        /// Width of the first branch.
        left: crate::Width,
        /// Width of the branch that differs.
        right: crate::Width,
    },
    /// Branches side by side of which one grows with n and the other does not.
    #[error(
        "a concatenation of {left} and {right} channels has no width before n is known: take the network at_width(n), or give both branches hidden widths"
    )]
    MixedWidths {
        /// Width of the branches before.
        left: crate::Width,
        /// Width of the branch that differs in kind.
        right: crate::Width,
    },
    /// A parameter of an activation out of its domain.
    #[error("{activation}: {parameter} = {value} is out of its domain ({domain})")]
    ActivationParameter {
        /// The activation's name.
        activation: String,
        /// The parameter's name.
        parameter: &'static str,
        /// The number given.
        value: f64,
        /// What is allowed.
        domain: &'static str,
    },
    /// A layer's parameter out of its domain.
    #[error("{layer}: {parameter} = {value} is out of its domain ({domain})")]
    LayerParameter {
        /// The layer's name.
        layer: &'static str,
        /// The parameter's name.
        parameter: &'static str,
        /// The number given.
        value: f64,
        /// What is allowed.
        domain: &'static str,
    },
    /// No samples, or samples without features.
    #[error("a batch needs at least one sample and one feature, not shape ({samples}, {features})")]
    EmptyBatch {
        /// Number of samples.
        samples: usize,
        /// Number of features.
        features: usize,
    },
    /// NaN or infinity among the inputs.
    #[error("input value {value} of sample {sample}, feature {feature} is not finite")]
    NonFiniteInput {
        /// Row.
        sample: usize,
        /// Column.
        feature: usize,
        /// The value found.
        value: f64,
    },
    /// Two batches that do not live in one space.
    #[error("the two batches must have the same number of features, not {left} and {right}")]
    Features {
        /// Features of the first batch.
        left: usize,
        /// Features of the second batch.
        right: usize,
    },
    /// A tile of no entries.
    #[error("a tile needs at least one row: give Tiled::new a positive size")]
    ZeroTile,
    /// A wrapped kernel that gives a block of the wrong shape.
    #[error("the wrapped kernel gave a block of shape {got:?} for inputs that ask for {expected:?}")]
    BlockShape {
        /// (n₁, n₂) of the inputs.
        expected: (usize, usize),
        /// Shape of the block.
        got: (usize, usize),
    },
    /// The observer asked to stop.
    #[error("stopped by the observer after {done} of {total} tiles")]
    Cancelled {
        /// Tiles finished.
        done: usize,
        /// Tiles in all.
        total: usize,
    },
    /// A file of a version that this library does not read.
    #[error("version {found} of the network format is not known: this library reads version {supported}")]
    Version {
        /// The version in the file.
        found: u64,
        /// The version understood.
        supported: u64,
    },
    /// A document that is not a network.
    #[error("at {path}: {message}")]
    Json {
        /// Where in the document.
        path: String,
        /// What is wrong there.
        message: String,
    },
    /// An error of the wrapped kernel.
    #[error(transparent)]
    Kernel(Box<dyn std::error::Error + Send + Sync>),
}
