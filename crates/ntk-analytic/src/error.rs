//! What has no known limit, and what does not fit.

/// Errors of `ntk-analytic`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The description or the inputs are wrong in themselves.
    #[error(transparent)]
    Core(#[from] ntk_core::Error),
    /// A layer whose limit needs a Gaussian input.
    #[error(
        "{layer} at {at} must read the output of an affine layer, whose channels are Gaussian: put Net::dense before it"
    )]
    NotGaussian {
        /// The layer's name.
        layer: String,
        /// Where in the network.
        at: String,
    },
    /// A layer whose limit needs channels of mean zero.
    #[error(
        "{layer} at {at} must read channels of mean zero: put it after an affine layer, before the nonlinearity"
    )]
    NotCentered {
        /// The layer's name.
        layer: String,
        /// Where in the network.
        at: String,
    },
    /// Dropout that acts on the finitely many input features.
    #[error(
        "dropout at {at} acts on the input features, where its noise does not average out: put an affine layer before it"
    )]
    InputDropout {
        /// Where in the network.
        at: String,
    },
    /// Branches whose kernels do not simply add or multiply.
    #[error(
        "the branches of the {combinator} at {at} are correlated, since {count} of them have no weights of their own: put Net::dense into all but one"
    )]
    CorrelatedBranches {
        /// `sum`, `product` or `join`.
        combinator: &'static str,
        /// Where in the network.
        at: String,
        /// Number of branches without weights.
        count: usize,
    },
    /// Branches that meet channel by channel while the channels of more than one differ in law.
    #[error(
        "the {combinator} at {at} multiplies averages of branches whose channels differ in law (a flatten, a concatenation, groups): put Net::dense at the end of all but one"
    )]
    UnequalChannels {
        /// `sum`, `product` or `join`.
        combinator: &'static str,
        /// Where in the network.
        at: String,
    },
    /// A network whose outputs still have positions.
    #[error("the outputs have positions {grid:?}: end the network in Net::flatten or a global pool")]
    Positions {
        /// The positions of the outputs.
        grid: ntk_core::Grid,
    },
    /// An embedding that does not read the input.
    #[error("the embedding at {at} must be the first layer: it reads tokens")]
    LateEmbedding {
        /// Where in the network.
        at: String,
    },
    /// Tokens without an embedding, or an embedding without tokens.
    #[error(
        "{layer} at {at} cannot read {found}: an embedding reads Batch::tokens, and every other first layer numbers"
    )]
    Tokens {
        /// The layer's name.
        layer: &'static str,
        /// Where in the network.
        at: String,
        /// What the batch holds.
        found: &'static str,
    },
    /// A graph layer on a batch without graphs.
    #[error("aggregate at {at} needs a graph for each sample: give the batch Batch::with_graphs")]
    NoGraphs {
        /// Where in the network.
        at: String,
    },
    /// A layer that has no meaning for samples of several lengths.
    #[error("{layer} at {at} does not take samples of several lengths: {remedy}")]
    Lengths {
        /// The layer's name.
        layer: String,
        /// Where in the network.
        at: String,
        /// What to do instead.
        remedy: &'static str,
    },
    /// A name without a rule.
    #[error("no dual activation is registered under the name {name:?}: use Rules::activation")]
    UnknownActivation {
        /// The name.
        name: String,
    },
    /// A name without a rule.
    #[error("no layer is registered under the name {name:?}: use Rules::layer")]
    UnknownLayer {
        /// The name.
        name: String,
    },
    /// Standard parameterization without a width.
    #[error(
        "the NTK of the standard parameterization at {at} grows with the width n: take the network with Net::at_width(n)"
    )]
    SymbolicWidth {
        /// Where in the network.
        at: String,
    },
    /// An expectation that does not exist or does not fit a double.
    #[error("E φ² of {activation} at variance {variance:e} is not a finite number: {reason}")]
    Expectation {
        /// The activation's name.
        activation: String,
        /// Variance of its input.
        variance: f64,
        /// Why, and what to change.
        reason: &'static str,
    },
    /// Three numbers that are no covariance.
    #[error(
        "q11 = {q11}, q22 = {q22}, q12 = {q12} is not a covariance: variances are finite and at least 0, and q12² ≤ q11 q22"
    )]
    NotCovariance {
        /// First variance.
        q11: f64,
        /// Second variance.
        q22: f64,
        /// Covariance.
        q12: f64,
    },
    /// A quadrature that did not reach its tolerance.
    #[error(
        "the quadrature of {activation} reached {reached:e} and not the tolerance {asked:e}: list its kinks, or ask for less"
    )]
    Quadrature {
        /// The activation's name.
        activation: String,
        /// Error bound reached, relative.
        reached: f64,
        /// Tolerance asked for.
        asked: f64,
    },
    /// A tolerance that no quadrature can meet.
    #[error("a quadrature tolerance lies between 1e-14 and 1, not {value}")]
    Tolerance {
        /// The number given.
        value: f64,
    },
    /// A request that does not fit the bound on memory.
    #[error("{rows} × {columns} samples need {needed} bytes and may take {budget}: {remedy}")]
    Memory {
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        columns: usize,
        /// Bytes at the peak.
        needed: usize,
        /// Bytes allowed.
        budget: usize,
        /// The number of samples that would fit, or that not even one does.
        remedy: String,
    },
    /// A variance that left the range of a double.
    #[error(
        "the variance after {at} is {value}, not a finite number: lower the weight variances of the network"
    )]
    Overflow {
        /// Where in the network.
        at: String,
        /// The value found.
        value: f64,
    },
    /// Layer normalization of a sample without variance.
    #[error(
        "layer_norm at {at} divides by the variance of sample {sample}, which is 0: give it an epsilon or the layer before it a bias"
    )]
    ZeroVariance {
        /// Where in the network.
        at: String,
        /// The sample.
        sample: usize,
    },
    /// An activation that is a dual and no function.
    #[error(
        "{activation} is known by its dual alone: a finite network needs a function, so give FunctionDual"
    )]
    NoFunction {
        /// The activation's name.
        activation: String,
    },
    /// An activation that jumps, where slopes at finite width are infinite.
    #[error(
        "{activation} jumps at {at}, so that inputs that are close separate at an infinite rate: take a continuous activation"
    )]
    Discontinuous {
        /// The activation's name.
        activation: String,
        /// The kink.
        at: f64,
    },
    /// Variances that neither settle nor grow with depth.
    #[error(
        "the variance of {activation} layers neither settles nor diverges from {variance}: start elsewhere, or change the variances of weights and biases"
    )]
    NoFixedPoint {
        /// The activation's name.
        activation: String,
        /// Where the iteration came to.
        variance: f64,
    },
    /// An activation that no variances make critical.
    #[error("no variances make {activation} critical: {reason}")]
    NoCriticality {
        /// The activation's name.
        activation: String,
        /// Why, and what to do.
        reason: &'static str,
    },
    /// A kernel on a sphere that has no spectrum.
    #[error("{reason}")]
    Sphere {
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A kernel that is not finite.
    #[error("the kernel is {value} at the cosine {cosine}: give one that is finite on [-1, 1]")]
    KernelValue {
        /// cos θ.
        cosine: f64,
        /// What was found.
        value: f64,
    },
}
