//! What can go wrong between the command line, the data files and the reports.

use std::path::PathBuf;

use crate::experiment::BoxError;

/// Errors of `ntk-bench`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that is not in the table.
    #[error("no experiment is called \"{name}\"; there are: {known}")]
    UnknownExperiment {
        /// The name given.
        name: String,
        /// All names.
        known: String,
    },
    /// A device that cannot be named so.
    #[error("a device is cpu, cuda, cuda:N, metal or metal:N, not \"{given}\"")]
    Device {
        /// The text given.
        given: String,
    },
    /// A device that this program was not built for, or that does not open.
    #[error("device {device} does not open (build with --features cuda or metal where there is one)")]
    DeviceNotOpen {
        /// The device asked for.
        device: String,
        /// Why.
        source: BoxError,
    },
    /// An experiment that did not come to an end.
    #[error("experiment \"{name}\" stopped")]
    Experiment {
        /// Its name.
        name: String,
        /// Why.
        source: BoxError,
    },
    /// A file or directory that cannot be read or written.
    #[error("cannot open {path}")]
    File {
        /// The path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A report that is not of this version's format.
    #[error("{path} is not a report of this version: remove it or run the experiment again")]
    Record {
        /// The path.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A data directory without data.
    #[error(
        "{dir} holds neither MNIST (train-images-idx3-ubyte, …) nor CIFAR-10 (data_batch_1.bin, …), uncompressed"
    )]
    NoData {
        /// The directory given.
        dir: PathBuf,
    },
    /// A data set that was asked for without a directory that holds it.
    #[error("{set} is read from files: give their directory with --data-dir")]
    NoDataDir {
        /// `MNIST` or `CIFAR-10`.
        set: &'static str,
    },
    /// A file that does not begin as an IDX file of bytes should.
    #[error("{path} is not an IDX file of unsigned bytes with {axes} axes: it begins with {found:02x?}")]
    IdxHeader {
        /// The file.
        path: PathBuf,
        /// Axes expected.
        axes: u8,
        /// Its first bytes.
        found: Vec<u8>,
    },
    /// A file shorter or longer than its header says.
    #[error("{path} should have {expected} bytes and has {found}: fetch it again")]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes expected.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// Images and labels that do not belong together.
    #[error("{path} labels {labels} samples, but there are {images} images")]
    LabelCount {
        /// The file of the labels.
        path: PathBuf,
        /// Number of labels.
        labels: usize,
        /// Number of images.
        images: usize,
    },
    /// A label that is not a class.
    #[error("{path}: label {label} of sample {sample} is not below {classes}")]
    Label {
        /// The file.
        path: PathBuf,
        /// The label found.
        label: u8,
        /// Its sample.
        sample: usize,
        /// Number of classes.
        classes: u8,
    },
    /// More samples asked for than there are.
    #[error("{wanted} samples were asked for, and {set} has {available}")]
    TooFewSamples {
        /// The data set.
        set: &'static str,
        /// Samples asked for.
        wanted: usize,
        /// Samples there are.
        available: usize,
    },
    /// Numbers from which nothing can be estimated.
    #[error("{what} needs at least {needed} finite numbers, not {found}")]
    TooFewNumbers {
        /// The estimate.
        what: &'static str,
        /// Numbers needed.
        needed: usize,
        /// Usable numbers given.
        found: usize,
    },
    /// A line of a table or of a graph file that cannot be read.
    #[error("{path}, line {line}: {expected} should stand there; unpack the archive again")]
    Line {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What was expected.
        expected: &'static str,
    },
    /// An experiment that needs more memory than there is.
    #[error(
        "{name} is expected to take {needed:.1} GiB of memory on {cores} cores, and {available:.1} GiB are available: name \
         experiments that take less (`cargo xtask reproduce list`), take a smaller size (the default one or --quick), fewer \
         cores (RAYON_NUM_THREADS) or a larger machine"
    )]
    Memory {
        /// The experiment that needs most.
        name: &'static str,
        /// GiB that it needs.
        needed: f64,
        /// Cores that would work on it.
        cores: usize,
        /// GiB that there are.
        available: f64,
    },
    /// The sizes of the papers without their images.
    #[error(
        "at the papers' sizes {name} wants MNIST or CIFAR-10: `cargo xtask data mnist` brings it, then give its folder with --data-dir"
    )]
    FullWithoutImages {
        /// The first experiment that does.
        name: &'static str,
    },
}
