//! Files that are either there whole or not there.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::Error;

/// The directory of the tiles, within that of the store.
pub(super) const TILES: &str = "tiles";

fn failed(path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::StoreIo { path: path.to_owned(), source }
}

/// The bytes of a file, if it is there.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path)(error)),
    }
}

pub(super) fn create_directory(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(failed(path))
}

/// Writes beside the file, then renames, which replaces the file at once.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let (temporary, mut file) = temporary(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.and_then(|()| fs::rename(&temporary, path)).map_err(|error| {
        // It was made here and holds nothing of use; an error in removing it would hide the first.
        let _ = fs::remove_file(&temporary);
        failed(path)(error)
    })
}

/// A new file beside another, under a name that nobody else writes to.
fn temporary(path: &Path) -> Result<(PathBuf, File), Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    loop {
        let unique = RandomState::new().build_hasher().finish();
        let temporary = path.with_file_name(format!("{name}.{unique:016x}.tmp"));
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Ok(file) => return Ok((temporary, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(&temporary)(error)),
        }
    }
}

/// Makes the names in a directory survive a loss of power, where the system can.
pub(super) fn keep(directory: &Path) -> Result<(), Error> {
    if cfg!(unix) {
        File::open(directory).and_then(|file| file.sync_all()).map_err(failed(directory))
    } else {
        Ok(())
    }
}
