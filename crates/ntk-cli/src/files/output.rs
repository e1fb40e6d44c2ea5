//! Files that are there whole or not at all: written beside their place, then renamed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::{Format, Named, csv, npy, npz};
use crate::error::Error;

/// Where results go.
#[derive(Args, Clone, Debug)]
pub(crate) struct Output {
    /// File to write: .npz for all arrays and their provenance, .npy or .csv with the provenance in FILE.json beside it.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Replaces a file that is already there.
    #[arg(long)]
    pub(crate) force: bool,
}

/// Where results go besides standard output.
#[derive(Args, Clone, Debug)]
pub(crate) struct OptionalOutput {
    /// File to write: .npz for all arrays and their provenance; .csv or .npy where they fit, with the provenance in
    /// FILE.json beside it.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replaces a file that is already there.
    #[arg(long, requires = "output")]
    force: bool,
}

impl OptionalOutput {
    pub(crate) fn get(&self) -> Option<Output> {
        let output = self.output.clone()?;
        Some(Output { output, force: self.force })
    }
}

impl Output {
    /// Refuses, before anything is computed, what could not be written: `shapes` are those of the arrays, where they
    /// are known.
    pub(crate) fn check(&self, shapes: &[&[usize]]) -> Result<(), Error> {
        let path = &self.output;
        let refuse = |reason: &str| Err(Error::Output { path: path.clone(), reason: reason.to_owned() });
        let Some(format) = Format::of(path) else {
            return refuse("the name of an output ends in .npz, .npy or .csv");
        };
        match format {
            Format::Npy if shapes.len() != 1 => {
                return refuse("a .npy file holds one array, and there are several: name it .npz");
            }
            Format::Csv if !csv::is_table(shapes.iter().copied()) => {
                return refuse("a table holds arrays of one or two axes and equally many rows: name it .npz");
            }
            _ => {}
        }
        match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
                return refuse("there is no such folder: make it first");
            }
            _ => {}
        }
        for file in self.files(format) {
            match fs::symlink_metadata(&file) {
                Err(_) => {}
                Ok(there) if !there.is_file() && !there.is_symlink() => {
                    return refuse("it is there and is no regular file: choose another name");
                }
                Ok(_) if !self.force => {
                    let reason = "it is already there: choose another name, or replace it with --force";
                    return Err(Error::Output { path: file, reason: reason.to_owned() });
                }
                Ok(_) => {}
            }
        }
        Ok(())
    }

    /// All files that are written.
    fn files(&self, format: Format) -> Vec<PathBuf> {
        if format == Format::Npz {
            vec![self.output.clone()]
        } else {
            vec![self.output.clone(), self.sidecar()]
        }
    }

    fn sidecar(&self) -> PathBuf {
        let mut name = self.output.clone().into_os_string();
        name.push(".json");
        name.into()
    }

    /// Writes all or nothing.
    pub(crate) fn write(&self, arrays: &[Named<'_>], provenance: &Value) -> Result<(), Error> {
        self.check(&arrays.iter().map(|array| array.values.shape()).collect::<Vec<_>>())?;
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Write { path, source }
        };
        let place = &self.output;
        let Some(format) = Format::of(place) else { return Ok(()) };
        let mut file = Unfinished::new(place).map_err(failed(place))?;
        let mut out = BufWriter::with_capacity(1 << 16, &mut file.file);
        let written = match (format, arrays) {
            (Format::Npz, _) => npz::write(&mut out, arrays, &provenance.to_string()),
            (Format::Csv, _) => csv::write(&mut out, arrays),
            (Format::Npy, [array, ..]) => npy::write(&mut out, array.values.view()),
            (Format::Npy, []) => Ok(()),
        };
        written.and_then(|()| out.flush()).map_err(failed(place))?;
        drop(out);
        if format == Format::Npz {
            return file.finish().map_err(failed(place));
        }
        let sidecar = self.sidecar();
        let mut about = Unfinished::new(&sidecar).map_err(failed(&sidecar))?;
        about.file.write_all(format!("{provenance:#}\n").as_bytes()).map_err(failed(&sidecar))?;
        about.finish().map_err(failed(&sidecar))?;
        file.finish().map_err(|source| {
            // A sidecar without its array says nothing; the first error is the one to tell.
            let _ = fs::remove_file(&sidecar);
            Error::Write { path: place.clone(), source }
        })
    }
}

/// A file that is removed unless it is finished.
struct Unfinished {
    file: File,
    path: PathBuf,
    place: PathBuf,
}

impl Unfinished {
    fn new(place: &Path) -> io::Result<Self> {
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        for attempt in 0u32.. {
            let path = place.with_file_name(format!(".{name}.{}-{attempt}.tmp", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Unfinished { file, path, place: place.to_owned() }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Moves the file to its place once all of it is on the disk.
    fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, &self.place)?;
        self.path = PathBuf::new();
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            // Nothing can be done about a file that cannot be removed, and another error is on its way.
            let _ = fs::remove_file(&self.path);
        }
    }
}
