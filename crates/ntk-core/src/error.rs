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
    /// A grid without positions, or of too many axes or positions.
    #[error(
        "a grid has at most 6 axes, at least one position along each and at most 2³¹ in all, not sides {sides:?}"
    )]
    Grid {
        /// The sides given.
        sides: Vec<usize>,
    },
    /// A window with a zero or an enormous number, or with nothing in it.
    #[error(
        "{layer}: the {part} {values:?} of a window must be numbers from 1 to 65536, at least one of them"
    )]
    WindowPart {
        /// The layer's kind.
        layer: &'static str,
        /// `shape`, `strides` or `dilation`.
        part: &'static str,
        /// The numbers given.
        values: Vec<usize>,
    },
    /// A window whose parts differ in their number of axes.
    #[error("{layer}: the {part} {values:?} must have one number for each axis of the window {shape:?}")]
    WindowRank {
        /// The layer's kind.
        layer: &'static str,
        /// `strides` or `dilation`.
        part: &'static str,
        /// The window's shape.
        shape: Vec<usize>,
        /// The numbers given.
        values: Vec<usize>,
    },
    /// A window asked for an axis that it does not have.
    #[error("{layer}: the window has {rank} axes and no axis {axis}")]
    WindowAxis {
        /// The layer's kind.
        layer: &'static str,
        /// The axis asked for.
        axis: usize,
        /// Axes of the window.
        rank: usize,
    },
    /// A window larger than what it slides over.
    #[error(
        "{layer}: a window of {window} positions does not fit the {side} positions of axis {axis}: make it smaller, or pad with Padding::Same"
    )]
    WindowSize {
        /// The layer's kind.
        layer: &'static str,
        /// The axis.
        axis: usize,
        /// Positions from the first to the last of the window.
        window: usize,
        /// Positions there are.
        side: usize,
    },
    /// A layer for another number of axes.
    #[error("{layer}: describes {expected} axes of positions, and its input has {found}")]
    Rank {
        /// The layer's kind.
        layer: &'static str,
        /// Axes of the layer.
        expected: usize,
        /// Axes of its input.
        found: usize,
    },
    /// An axis that is not there.
    #[error("{layer}: there is no axis {axis} among the {rank} axes of positions of its input")]
    Axis {
        /// The layer's kind.
        layer: &'static str,
        /// The axis asked for.
        axis: usize,
        /// Axes of its input.
        rank: usize,
    },
    /// A span that names no position.
    #[error("index: the span of axis {axis} names none of its {side} positions")]
    EmptyIndex {
        /// The axis.
        axis: usize,
        /// Positions along it.
        side: usize,
    },
    /// A matrix that does not fit the axis it acts on.
    #[error("linear: a matrix of {columns} columns does not fit the {side} positions of axis {axis}")]
    LinearSide {
        /// The axis.
        axis: usize,
        /// Columns of the matrix.
        columns: usize,
        /// Positions along the axis.
        side: usize,
    },
    /// Groups where there are none.
    #[error(
        "{layer}: has no groups, but {groups:?}: leave them at Groups::Count(1), or use ConvKind::Shared"
    )]
    NoGroups {
        /// The layer's kind.
        layer: &'static str,
        /// The groups asked for.
        groups: crate::Groups,
    },
    /// Channels that do not fall into groups.
    #[error(
        "conv: {input} channels to {output} cannot be split into groups {groups:?}: both must be multiples of the count, and equal if depthwise"
    )]
    Groups {
        /// The groups asked for.
        groups: crate::Groups,
        /// Channels that come in.
        input: crate::Width,
        /// Channels that go out.
        output: crate::Width,
    },
    /// Branches on different grids.
    #[error("the branches of a {combinator} must end on the same grid, not on {left:?} and {right:?}")]
    BranchGrids {
        /// `sum`, `product`, `concatenation` or `join`.
        combinator: &'static str,
        /// Sides of the first branch's grid.
        left: Vec<usize>,
        /// Sides of the grid that differs.
        right: Vec<usize>,
    },
    /// An array that cannot be read as samples, positions, channels.
    #[error(
        "a batch is an array of samples, positions and channels in standard layout, not of shape {shape:?}: {remedy}"
    )]
    BatchLayout {
        /// The array's shape.
        shape: Vec<usize>,
        /// What to do.
        remedy: &'static str,
    },
    /// Two batches of different kinds or grids.
    #[error(
        "the two batches must have the same positions and the same kind of values, not {left} and {right}"
    )]
    Batches {
        /// The first batch in words.
        left: String,
        /// The second batch in words.
        right: String,
    },
    /// Lengths that do not belong to the batch.
    #[error(
        "sample {sample} has length {length}, and lengths lie between 1 and the {side} positions of a sequence"
    )]
    Length {
        /// The sample.
        sample: usize,
        /// Its length; 0 also where there is none.
        length: usize,
        /// Positions of a sequence.
        side: usize,
    },
    /// Lengths on something that is no sequence.
    #[error("lengths belong to samples with exactly one axis of positions, not to a grid {grid:?}")]
    LengthGrid {
        /// The grid of the batch.
        grid: crate::Grid,
    },
    /// A token beyond the vocabulary.
    #[error(
        "token {token} of sample {sample}, position {position} is not below the vocabulary's size {vocabulary}"
    )]
    Token {
        /// The sample.
        sample: usize,
        /// The position.
        position: usize,
        /// The token.
        token: u32,
        /// Size of the vocabulary.
        vocabulary: usize,
    },
    /// Graphs that do not belong to the batch.
    #[error("a batch of {samples} samples needs as many graphs, not {graphs}")]
    GraphCount {
        /// Samples of the batch.
        samples: usize,
        /// Graphs given.
        graphs: usize,
    },
    /// An edge that is not between nodes, or whose weight is not a number.
    #[error(
        "the edge {from} → {to} of weight {weight} in the graph of sample {sample} is not one between its {nodes} nodes with a finite weight"
    )]
    Edge {
        /// The sample.
        sample: usize,
        /// Where the edge starts.
        from: usize,
        /// Where it ends.
        to: usize,
        /// Its weight.
        weight: f64,
        /// Number of nodes.
        nodes: usize,
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
    /// A file of a store that cannot be read or written.
    #[cfg(feature = "store")]
    #[error("cannot read or write {}", path.display())]
    StoreIo {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A directory that is no store.
    #[cfg(feature = "store")]
    #[error("{} is not the manifest of a store: {message}", path.display())]
    StoreManifest {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A store of another kernel.
    #[cfg(feature = "store")]
    #[error(
        "the store {} holds another kernel: its {part} is {found}, not {expected}; choose another directory, or ask for what it holds",
        directory.display()
    )]
    StoreMismatch {
        /// The directory.
        directory: std::path::PathBuf,
        /// What differs.
        part: &'static str,
        /// What the store has.
        found: String,
        /// What was asked for.
        expected: String,
    },
    /// Rows or columns that a stored kernel does not have.
    #[cfg(feature = "store")]
    #[error("rows {rows:?} and columns {columns:?} do not lie within a kernel of shape {shape:?}")]
    StoreRange {
        /// Rows asked for.
        rows: std::ops::Range<usize>,
        /// Columns asked for.
        columns: std::ops::Range<usize>,
        /// (n₁, n₂) of the kernel.
        shape: (usize, usize),
    },
    /// A tile that was not computed yet.
    #[cfg(feature = "store")]
    #[error("the tile {} is not computed yet: call TileStore::run", path.display())]
    StoreMissing {
        /// Where it will be.
        path: std::path::PathBuf,
    },
    /// A tile that does not match its checksum.
    #[cfg(feature = "store")]
    #[error("the tile {} does not match its checksum: call TileStore::run, which replaces it", path.display())]
    StoreDamaged {
        /// Where it is.
        path: std::path::PathBuf,
    },
    /// A kernel that leaves out what a store is for.
    #[cfg(feature = "store")]
    #[error("the kernel does not give the {kernel}, which the store is for: start one with another Which")]
    StoreKernel {
        /// `NNGP` or `NTK`.
        kernel: &'static str,
    },
    /// An error of the wrapped kernel.
    #[error(transparent)]
    Kernel(Box<dyn std::error::Error + Send + Sync>),
}
