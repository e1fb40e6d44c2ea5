//! Arrays in files: npy, npz and csv in; the same out, whole or not at all.

mod csv;
mod npy;
mod npz;
mod output;

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use ndarray::{Array2, ArrayD, ArrayViewD, Axis, Ix2};

use crate::error::Error;
pub(crate) use npz::Npz;
pub(crate) use output::{OptionalOutput, Output};

/// What is wrong with the content of a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("it does not begin as a .npy file does")]
    NotNpy,
    #[error("not a header of a .npy file: {reason}")]
    Header { reason: &'static str },
    #[error("{descr}: real numbers and integers are read; convert with x.astype(\"float64\")")]
    Kind { descr: String },
    #[error(
        "the integer {value:e} is beyond 2^53 and has no exact double: convert with x.astype(\"float64\")"
    )]
    LargeInteger { value: f64 },
    #[error(
        "an array of shape {shape:?} is promised, but {found} bytes follow: the file is cut off or damaged"
    )]
    TooFewBytes { shape: Vec<usize>, found: u64 },
    #[error("there are {surplus} bytes more than an array of shape {shape:?} has: the file is damaged")]
    TooManyBytes { shape: Vec<usize>, surplus: u64 },
    #[error("there is not enough memory for an array of shape {shape:?}")]
    Memory { shape: Vec<usize> },
    #[error("not a whole .npz archive")]
    NotNpz { source: zip::result::ZipError },
    #[error("{}; it holds {}: name one as FILE.npz:NAME", match asked {
        Some(name) => format!("there is no array {name:?}"),
        None => "it is not said which array".to_owned(),
    }, names.join(", "))]
    Name { asked: Option<String>, names: Vec<String> },
    #[error(
        "entries compressed by {method} are not read: write it with numpy.savez or numpy.savez_compressed"
    )]
    Compression { method: String },
    #[error("the array {name:?} does not match its checksum: the file is damaged")]
    Checksum { name: String },
    #[error("line {line}: {cell:?} is not a number")]
    Cell { line: usize, cell: String },
    #[error("line {line} has {found} numbers, those before it {expected}")]
    Ragged { line: usize, expected: usize, found: usize },
    #[error("there are no numbers in it")]
    NoNumbers,
    #[error("the name of an array file ends in .npy, .npz or .csv")]
    Suffix,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// An array that goes into a file.
pub(crate) struct Named<'a> {
    pub(crate) name: String,
    pub(crate) values: ArrayViewD<'a, f64>,
}

impl<'a> Named<'a> {
    pub(crate) fn new<D: ndarray::Dimension>(
        name: impl Into<String>,
        values: &'a ndarray::Array<f64, D>,
    ) -> Self {
        Named { name: name.into(), values: values.view().into_dyn() }
    }
}

/// How arrays lie in a file, by the end of its name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Format {
    Npy,
    Npz,
    Csv,
}

impl Format {
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "npy" => Some(Format::Npy),
            "npz" => Some(Format::Npz),
            "csv" | "txt" => Some(Format::Csv),
            _ => None,
        }
    }
}

/// A file, or one array of an archive as `FILE.npz:NAME`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Source {
    path: PathBuf,
    name: Option<String>,
}

impl Source {
    pub(crate) fn new(text: &str) -> Self {
        match text.rsplit_once(':') {
            Some((path, name)) if path.ends_with(".npz") && !name.is_empty() => {
                Source { path: path.into(), name: Some(name.to_owned()) }
            }
            _ => Source { path: text.into(), name: None },
        }
    }

    fn failed(&self) -> impl Fn(Malformed) -> Error + '_ {
        |problem| Error::Read { path: self.path.clone(), problem }
    }

    /// The array, in standard layout.
    pub(crate) fn read(&self) -> Result<ArrayD<f64>, Error> {
        let format = Format::of(&self.path).ok_or(Malformed::Suffix).map_err(self.failed())?;
        let read = || match format {
            Format::Npy => {
                let file = File::open(&self.path)?;
                let length = file.metadata()?.len();
                npy::read(BufReader::with_capacity(1 << 16, file), length)
            }
            Format::Npz => Npz::new(File::open(&self.path)?)?.read(self.name.as_deref()),
            Format::Csv => csv::read(&fs::read_to_string(&self.path)?),
        };
        read().map_err(self.failed())
    }

    /// The array as a matrix, a vector as one column.
    pub(crate) fn matrix(&self) -> Result<Array2<f64>, Error> {
        let array = self.read()?;
        let array = if array.ndim() == 1 { array.insert_axis(Axis(1)) } else { array };
        let shape = array.shape().to_vec();
        array.into_dimensionality::<Ix2>().map_err(|_| {
            let reason = format!("it must be a matrix, not of shape {shape:?}");
            Error::Input { of: self.path.display().to_string(), reason }
        })
    }
}

/// The arrays of an archive that are there among those named.
pub(crate) fn archive<const N: usize>(
    path: &Path,
    names: [&str; N],
) -> Result<[Option<ArrayD<f64>>; N], Error> {
    let failed = |problem| Error::Read { path: path.to_owned(), problem };
    if Format::of(path) != Some(Format::Npz) {
        let reason = format!("kernels are read from a .npz archive that holds {}", names.join(" or "));
        return Err(Error::Input { of: path.display().to_string(), reason });
    }
    let mut archive = File::open(path).map_err(Malformed::Io).and_then(Npz::new).map_err(failed)?;
    let known = archive.names();
    let mut found = [const { None }; N];
    for (found, name) in found.iter_mut().zip(names) {
        if known.iter().any(|known| known == name) {
            *found = Some(archive.read(Some(name)).map_err(failed)?);
        }
    }
    Ok(found)
}

/// A text file.
pub(crate) fn text(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path)
        .map_err(|source| Error::Read { path: path.to_owned(), problem: Malformed::Io(source) })
}
