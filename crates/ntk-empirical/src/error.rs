//! What can be wrong with a lowering, its inputs, its parameters or its training.

use std::path::PathBuf;

/// Errors of `ntk-empirical`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An error of the description or of a batch.
    #[error(transparent)]
    Net(#[from] ntk_core::Error),
    /// An error of candle.
    #[error(transparent)]
    Candle(Box<candle_core::Error>),
    /// A node that exists at infinite width only.
    #[error("{name} has no finite network: it exists at infinite width only")]
    NoFiniteNetwork {
        /// The node's name.
        name: String,
    },
    /// A custom activation without a rule.
    #[error(
        "no rule for the activation {name:?}: register it with Rules::activation and use FiniteNet::lower_with"
    )]
    UnknownActivation {
        /// The name looked up.
        name: String,
    },
    /// A custom layer without a rule.
    #[error("no rule for the layer {name:?}: register it with Rules::layer and use FiniteNet::lower_with")]
    UnknownLayer {
        /// The name looked up.
        name: String,
    },
    /// A number format that is not supported.
    #[error("parameters are f32 or f64 (f32 on Metal), not {dtype} on {device}")]
    DType {
        /// The format asked for.
        dtype: &'static str,
        /// The kind of device.
        device: &'static str,
    },
    /// Not the name of a device.
    #[error("no device is called {name:?}: use cpu, cuda, cuda:1, metal or metal:1")]
    UnknownDevice {
        /// The name given.
        name: String,
    },
    /// A device that does not open, or that is not compiled in.
    #[error("device {name} does not open: {source}")]
    Device {
        /// The name given.
        name: String,
        /// Why.
        source: Box<candle_core::Error>,
    },
    /// A hidden width of zero.
    #[error("a network is lowered at a width of at least 1")]
    ZeroWidth,
    /// Inputs that do not fit the network.
    #[error("the network was lowered for {expected} features, not {found}")]
    Features {
        /// Features in `Lowering::inputs`.
        expected: usize,
        /// Features of the batch.
        found: usize,
    },
    /// Inputs on another grid.
    #[error("the network was lowered for positions {expected:?}, not {found:?}: see Lowering::inputs")]
    Positions {
        /// Grid of `Lowering::inputs`.
        expected: ntk_core::Grid,
        /// Grid of the batch.
        found: ntk_core::Grid,
    },
    /// Numbers for a network that begins with an embedding.
    #[error("the network begins with an embedding and reads tokens: give it Batch::tokens")]
    NeedsTokens,
    /// Tokens for a network that reads numbers.
    #[error("the network reads numbers, not tokens: begin it with Net::embedding")]
    RefusesTokens,
    /// An embedding behind another layer, or beside a branch without one.
    #[error("an embedding reads tokens: it must be the first layer of every branch, and of no later part")]
    EmbeddingPlace,
    /// Samples of several lengths for a network that does not take them.
    #[error(
        "{layer} does not take lengths: end them before it with Net::global_average_pool or Net::flatten"
    )]
    Lengths {
        /// The first layer that does not.
        layer: String,
    },
    /// Samples without graphs for a network that sums over them.
    #[error("aggregate sums over the graph of each sample: give the batch Batch::with_graphs")]
    NeedsGraphs,
    /// Lengths or graphs for a candle model.
    #[error("a candle model is given numbers or tokens alone, not {what}: use FiniteNet")]
    ModelInput {
        /// What the batch carries.
        what: &'static str,
    },
    /// Distances of positions that no Gaussian embedding has.
    #[error(
        "no Gaussian has the covariance of positional embeddings of power {power} on this grid: a power of at most 2 is safe"
    )]
    PositionCovariance {
        /// The exponent of the distance.
        power: f64,
    },
    /// Targets or cotangents that do not fit the outputs.
    #[error("targets must have the shape of the outputs, {expected:?}, not {found:?}")]
    Targets {
        /// Samples and outputs.
        expected: (usize, usize),
        /// Shape given.
        found: (usize, usize),
    },
    /// NaN or infinity in a target or cotangent, or not a distribution where one is needed.
    #[error("target {value} of sample {sample}, output {output} is not {domain}")]
    Target {
        /// Row.
        sample: usize,
        /// Column.
        output: usize,
        /// The value found.
        value: f64,
        /// What is allowed.
        domain: &'static str,
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
    /// A parameter that is not there.
    #[error("the parameter {name:?} is missing")]
    MissingParameter {
        /// Its name, the path of the node.
        name: String,
    },
    /// A parameter that the network does not have.
    #[error("the network has no parameter {name:?}: its parameters are named by FiniteNet::parameters")]
    UnknownParameter {
        /// The name given.
        name: String,
    },
    /// A parameter of the wrong shape.
    #[error("parameter {name:?} has shape {expected:?}, not {found:?}")]
    ParameterShape {
        /// Its name.
        name: String,
        /// Shape in the network.
        expected: Vec<usize>,
        /// Shape given.
        found: Vec<usize>,
    },
    /// NaN or infinity in a parameter.
    #[error("parameter {name:?} holds a number that is not finite")]
    NonFiniteParameter {
        /// Its name.
        name: String,
    },
    /// A parameter file that cannot be written, read, or understood.
    #[error("parameter file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<candle_core::Error>,
    },
    /// Outputs or kernels that overflowed.
    #[error(
        "{quantity} is not finite: an activation overflowed, or a normalization met a constant sample with ε = 0"
    )]
    NonFinite {
        /// What overflowed.
        quantity: &'static str,
    },
    /// Training that diverged.
    #[error(
        "training diverged at step {step}: lower the learning rate (gradient descent on squared loss needs η < 2/λ_max of the NTK)"
    )]
    Diverged {
        /// The first step whose outputs are not finite.
        step: usize,
    },
    /// A model whose output is not a matrix of samples by outputs.
    #[error(
        "a model must map (n, d) to (n, outputs) with at least one output, not {samples} samples to shape {found:?}"
    )]
    ModelOutput {
        /// Samples given.
        samples: usize,
        /// Shape that came back.
        found: Vec<usize>,
    },
    /// A variable that a model names twice.
    #[error("a model names each variable once: {name:?} and {other:?} have one name or are one variable")]
    RepeatedVariable {
        /// The later name.
        name: String,
        /// The earlier name.
        other: String,
    },
    /// Variables of several number formats or devices.
    #[error(
        "the variables of a model have one number format and device: {first:?} is {expected}, {name:?} is {found}"
    )]
    MixedVariables {
        /// The first variable.
        first: String,
        /// Its format and device.
        expected: String,
        /// The first variable that differs.
        name: String,
        /// Its format and device.
        found: String,
    },
    /// A bound on memory that is too small for the derivatives of the fewest samples.
    #[error(
        "derivatives need {needed} bytes at a time, and may take {bound}: see Autograd::with_memory, or select fewer variables"
    )]
    ModelMemory {
        /// Bytes for the fewest samples.
        needed: usize,
        /// Bytes allowed.
        bound: usize,
    },
    /// A model whose outputs for one and the same batch differ.
    #[error(
        "two evaluations of one batch differ by {difference:e}: turn dropout and other noise off (forward_t with train = false)"
    )]
    Randomness {
        /// The largest difference of an output.
        difference: f64,
    },
    /// A model whose output for a sample depends on the samples beside it.
    #[error(
        "the output for a sample changes by {difference:e} with the batch around it: evaluate batch normalization by its running statistics (forward_t with train = false)"
    )]
    BatchDependence {
        /// The largest difference of an output.
        difference: f64,
    },
    /// A variable that candle's graph has lost.
    #[error(
        "the output depends on {name:?}, but candle's graph has no path to it: replace the operation without a gradient (softmax_last_dim, LayerNorm on contiguous inputs, detach), or leave the variable out with Model::select"
    )]
    CutVariable {
        /// Its name.
        name: String,
    },
    /// A gradient of candle that is not the derivative.
    #[error(
        "candle's gradient of {name:?} is wrong: it says {backward:e} where the output changes by {difference:e}; the operations to replace are listed at Autograd"
    )]
    WrongGradient {
        /// Name of the variable.
        name: String,
        /// The change that the gradient predicts.
        backward: f64,
        /// The change of the output.
        difference: f64,
    },
    /// A matrix whose shape does not fit what it is.
    #[error("{what}: expected shape {expected:?}, not {found:?}")]
    MatrixShape {
        /// What the matrix is.
        what: &'static str,
        /// Rows and columns expected.
        expected: (usize, usize),
        /// Rows and columns given.
        found: (usize, usize),
    },
    /// Weights of a file and variables of a model that do not match.
    #[error("the file lacks {missing:?} and holds {surplus:?}, which the model does not have")]
    WeightNames {
        /// Variables that the file does not have.
        missing: Vec<String>,
        /// Tensors that the model does not have.
        surplus: Vec<String>,
    },
    /// Model variables that do not fit what is said of them.
    #[error(
        "a model needs at least one variable and one rate for each, not {vars} variables and {rates} rates"
    )]
    ModelVariables {
        /// Number of variables.
        vars: usize,
        /// Number of rates.
        rates: usize,
    },
    /// A custom activation or layer whose rule knows first derivatives only.
    #[error(
        "no second derivatives of {name:?}: its rule gives the first only; build it of known layers instead"
    )]
    SecondDerivative {
        /// Its name.
        name: String,
    },
    /// A kernel or labels without a direction, or a matrix that cannot be factored.
    #[error(transparent)]
    Linalg(#[from] ntk_linalg::Error),
    /// A tracked model whose kernel does not fit the probe.
    #[error("a kernel of {expected} probe samples has {expected} rows and columns, not {rows} and {columns}")]
    KernelShape {
        /// Samples of the probe.
        expected: usize,
        /// Rows that came back.
        rows: usize,
        /// Columns that came back.
        columns: usize,
    },
    /// Parts that make no assembly.
    #[error("an assembly needs {what}")]
    Assembly {
        /// What is missing.
        what: &'static str,
    },
    /// A point, direction or input of the wrong length, or not finite.
    #[error("a point or direction here has {expected} finite coordinates; this one has {found} numbers")]
    Point {
        /// Coordinates of the space.
        expected: usize,
        /// Numbers given.
        found: usize,
    },
    /// A network that the recursion of the Hessian does not describe.
    #[error(
        "the recursion of the Hessian is about chains that end with an activation and a dense layer, on layers with parameters"
    )]
    NotLayered,
    /// A bound on memory that nothing fits.
    #[error(
        "one pair of samples and outputs takes {needed} bytes beside the result, more than the bound of {bound}: raise NtkOptions::memory"
    )]
    Memory {
        /// The bound, in bytes.
        bound: usize,
        /// The least that would do.
        needed: usize,
    },
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Error::Candle(Box::new(error))
    }
}
