//! Archives of named arrays, stored or compressed, as `numpy.savez` and `numpy.savez_compressed` write them.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use flate2::CrcReader;
use flate2::read::DeflateDecoder;
use ndarray::ArrayD;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::{Malformed, Named, npy};

/// The name of the provenance inside an archive.
pub(crate) const PROVENANCE: &str = "provenance";

/// No byte of a compressed entry stands for more.
const DENSEST: u64 = 1032;

/// Bytes beyond which an entry needs the long form of the format.
const LONG: usize = (u32::MAX as usize) / 2;

/// An archive open for reading.
pub(crate) struct Npz {
    archive: ZipArchive<BufReader<File>>,
    length: u64,
}

impl Npz {
    pub(super) fn new(file: File) -> Result<Self, Malformed> {
        let length = file.metadata()?.len();
        let archive = ZipArchive::new(BufReader::new(file)).map_err(|source| Malformed::NotNpz { source })?;
        Ok(Npz { archive, length })
    }

    /// The arrays, without what this program wrote about them.
    pub(super) fn names(&mut self) -> Vec<String> {
        let names = self.archive.file_names().filter_map(Result::ok);
        let arrays = names.filter_map(|name| name.strip_suffix(".npy").map(str::to_owned));
        arrays.filter(|name| name != PROVENANCE).collect()
    }

    /// One array; without a name, the only one.
    pub(super) fn read(&mut self, name: Option<&str>) -> Result<ArrayD<f64>, Malformed> {
        let names = self.names();
        let name = match (name, &names[..]) {
            (Some(name), names) if names.iter().any(|known| known == name) => name.to_owned(),
            (None, [only]) => only.clone(),
            (name, _) => return Err(Malformed::Name { asked: name.map(str::to_owned), names }),
        };
        let index = (0..self.archive.len()).find(|&index| {
            let entry = self.archive.name_for_index(index).and_then(Result::ok);
            entry.is_some_and(|entry| entry.strip_suffix(".npy") == Some(&name))
        });
        let Some(index) = index else { return Err(Malformed::Name { asked: Some(name), names }) };
        let broken = |source| Malformed::NotNpz { source };
        let entry = self.archive.by_index_raw(index).map_err(broken)?;
        let (method, size, crc) = (entry.compression(), entry.size(), entry.crc32());
        // The entry is read as it lies there, so that this program asks no more of the archive library than candle does.
        let (content, most): (Box<dyn Read>, u64) = if method == CompressionMethod::STORE {
            (Box::new(entry), self.length)
        } else if method == CompressionMethod::DEFLATE {
            (Box::new(DeflateDecoder::new(entry)), self.length.saturating_mul(DENSEST))
        } else {
            return Err(Malformed::Compression { method: method.to_string() });
        };
        let mut content = CrcReader::new(content.take(size));
        let array = npy::read(&mut content, size.min(most))?;
        if content.crc().sum() == crc { Ok(array) } else { Err(Malformed::Checksum { name }) }
    }
}

/// Writes the arrays one after another, uncompressed, and the provenance last.
pub(super) fn write<W: Write + Seek>(out: W, arrays: &[Named<'_>], provenance: &str) -> io::Result<()> {
    let mut archive = ZipWriter::new(out);
    match write_entries(&mut archive, arrays, provenance) {
        Ok(()) => archive.finish().map(drop).map_err(io::Error::from),
        Err(error) => {
            // An archive that is dropped tries to complete itself, and prints what it thinks of a full disk.
            std::mem::forget(archive);
            Err(error)
        }
    }
}

fn write_entries<W: Write + Seek>(
    archive: &mut ZipWriter<W>,
    arrays: &[Named<'_>],
    provenance: &str,
) -> io::Result<()> {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::STORE);
    let mut entry = |name: &str, length: usize, content: &dyn Fn(&mut dyn Write) -> io::Result<()>| {
        archive.start_file(format!("{name}.npy"), options.large_file(length > LONG))?;
        let mut buffer = BufWriter::with_capacity(1 << 16, &mut *archive);
        content(&mut buffer)?;
        // As far as the disk: what is left to write when the archive is completed finds its place there.
        buffer.flush()
    };
    for Named { name, values } in arrays {
        entry(name, 8 * values.len(), &|out| npy::write(out, values.view()))?;
    }
    entry(PROVENANCE, 4 * provenance.len(), &|out| npy::write_text(out, provenance))
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, SeekFrom};

    use ndarray::Array2;

    use super::*;

    /// A disk of so many bytes.
    struct Disk {
        content: Cursor<Vec<u8>>,
        size: u64,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.content.position() + bytes.len() as u64 > self.size {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.content.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Seek for Disk {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.content.seek(to)
        }
    }

    #[test]
    fn a_full_disk_is_an_error_wherever_it_ends() {
        let array = Array2::from_shape_fn((5, 4), |(i, j)| (i + j) as f64);
        let write_to = |size| {
            let mut disk = Disk { content: Cursor::new(Vec::new()), size };
            let arrays = [Named::new("ntk", &array)];
            write(&mut disk, &arrays, "{}").map(|()| disk.content.into_inner().len() as u64)
        };
        let whole = write_to(u64::MAX).unwrap();
        assert_eq!(write_to(whole).unwrap(), whole);
        for size in 0..whole {
            assert_eq!(write_to(size).unwrap_err().kind(), io::ErrorKind::StorageFull, "{size}");
        }
    }
}
