//! Golden values: reference numbers of other programs, read from this crate's `testdata` or from `NTK_GOLDEN_DIR`.
//!
//! Every golden test fills a [`Tally`] and ends with one line, `golden: A agree, U unsupported, F fail`.

mod case;
mod network;

use std::path::PathBuf;

use ndarray::{Array1, Array2, ArrayD, Dimension, IxDyn};
use serde::de::DeserializeOwned;

pub use case::Case;
pub use network::{Unsupported, dual_activation, net, net_for};

/// What can be wrong with a golden file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not of the format.
    #[error("{path} is not a golden file")]
    Format {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

/// The directory of the golden files: `NTK_GOLDEN_DIR`, or this crate's `testdata`.
pub fn directory() -> PathBuf {
    std::env::var_os("NTK_GOLDEN_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata")), PathBuf::from)
}

/// Reads one golden file of [`directory`], for example `kernels.json`.
///
/// # Errors
/// [`Error::Read`], [`Error::Format`].
pub fn read<T: DeserializeOwned>(file: &str) -> Result<T, Error> {
    let path = directory().join(file);
    let text = std::fs::read_to_string(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
    serde_json::from_str(&text).map_err(|source| Error::Format { path, source })
}

/// An array as it stands in a golden file: `{"shape": […], "data": […]}`, row-major.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(try_from = "RawArray")]
pub struct Array(pub ArrayD<f64>);

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawArray {
    shape: Vec<usize>,
    data: Vec<f64>,
}

impl TryFrom<RawArray> for Array {
    type Error = String;
    fn try_from(raw: RawArray) -> Result<Self, String> {
        let (shape, numbers) = (raw.shape.clone(), raw.data.len());
        ArrayD::from_shape_vec(IxDyn(&raw.shape), raw.data)
            .map(Array)
            .map_err(|_| format!("{numbers} numbers do not fill shape {shape:?}"))
    }
}

impl Array {
    /// An array as it stands in a golden file, or as nested lists of one or two levels.
    pub(crate) fn read(value: &serde_json::Value) -> Option<Array> {
        let read = |value: &serde_json::Value| serde_json::from_value::<Array>(value.clone()).ok();
        let vector = |value: &serde_json::Value| serde_json::from_value::<Vec<f64>>(value.clone()).ok();
        let list =
            value.as_array().and_then(|_| vector(value)).map(|list| Array(Array1::from_vec(list).into_dyn()));
        let rows = || {
            let rows: Vec<Vec<f64>> = value.as_array()?.iter().map(vector).collect::<Option<_>>()?;
            let columns = rows.first()?.len();
            Array2::from_shape_vec((rows.len(), columns), rows.concat())
                .ok()
                .map(|rows| Array(rows.into_dyn()))
        };
        read(value).or(list).or_else(rows)
    }

    /// As a matrix, if it has two axes.
    pub fn matrix(&self) -> Option<Array2<f64>> {
        self.0.clone().into_dimensionality().ok()
    }

    /// As a vector, if it has one axis.
    pub fn vector(&self) -> Option<Array1<f64>> {
        self.0.clone().into_dimensionality().ok()
    }
}

/// The largest |got − expected| ÷ `scale`, which is infinite where shapes differ or a number is not finite.
pub fn error<D: Dimension>(got: &ndarray::Array<f64, D>, expected: &ArrayD<f64>, scale: f64) -> f64 {
    if got.shape() != expected.shape() {
        return f64::INFINITY;
    }
    let worst = got.iter().zip(expected).map(|(g, e)| (g - e).abs() / scale);
    worst.fold(0.0, |a, b| if b.is_nan() { f64::INFINITY } else { b.max(a) })
}

/// The largest modulus of an array: the scale to which golden kernels are exact.
pub fn largest(values: &ArrayD<f64>) -> f64 {
    values.iter().fold(f64::MIN_POSITIVE, |a, b| b.abs().max(a))
}

/// The count of a golden test.
#[derive(Debug, Default)]
pub struct Tally {
    agree: usize,
    unsupported: Vec<String>,
    fail: Vec<String>,
}

impl Tally {
    /// Counts a case by its worst relative error.
    pub fn case(&mut self, name: &str, error: f64, tolerance: f64) {
        if error <= tolerance {
            self.agree += 1;
        } else {
            self.fail.push(format!("{name}: worst relative error {error:.2e}, tolerance {tolerance:.0e}"));
        }
    }

    /// Counts a case that a provider refuses, with its reason.
    pub fn unsupported(&mut self, name: &str, reason: &dyn std::fmt::Display) {
        self.unsupported.push(format!("{name}: {reason}"));
    }

    /// Counts a case that should have been answered and was not.
    pub fn fail(&mut self, name: &str, reason: &dyn std::fmt::Display) {
        self.fail.push(format!("{name}: {reason}"));
    }

    /// Names of the unsupported cases, with reasons.
    pub fn refused(&self) -> &[String] {
        &self.unsupported
    }

    /// The lists of unsupported and failing cases, then the line `golden: A agree, U unsupported, F fail`.
    pub fn report(&self) -> String {
        let lines =
            |title: &str, list: &[String]| list.iter().map(|l| format!("{title} {l}\n")).collect::<String>();
        format!(
            "{}{}golden: {} agree, {} unsupported, {} fail",
            lines("unsupported", &self.unsupported),
            lines("fail", &self.fail),
            self.agree,
            self.unsupported.len(),
            self.fail.len()
        )
    }

    /// Ends a golden test: prints the report and panics if a case failed or none was found.
    ///
    /// # Panics
    /// If a case failed, or there was no case at all.
    pub fn finish(self) {
        use std::io::Write as _;
        let report = self.report();
        // Straight to the terminal, past the test harness's capture: the line is the point of a golden test.
        let _ = writeln!(std::io::stderr(), "{report}");
        assert!(self.fail.is_empty(), "{report}");
        assert!(self.agree + self.unsupported.len() > 0, "no golden case found in {}", directory().display());
    }
}
