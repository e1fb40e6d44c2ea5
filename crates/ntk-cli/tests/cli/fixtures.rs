//! Files for the tests, made by hand and read by hand, so that reader and writer cannot be wrong together.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use ndarray::{ArrayD, ArrayViewD, IxDyn};
use serde_json::Value;

/// A folder of a test's own, with the example networks in it.
pub(crate) struct Folder(PathBuf);

/// What the program said.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Folder {
    pub(crate) fn new(test: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for example in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples-data")).unwrap() {
            let example = example.unwrap();
            fs::copy(example.path(), folder.join(example.file_name())).unwrap();
        }
        Folder(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    pub(crate) fn put_array<'a>(&self, name: &str, array: impl Into<ArrayViewD<'a, f64>>) {
        self.put(name, npy_of(array.into()));
    }

    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn files(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    pub(crate) fn run(&self, line: &str) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ntk"));
        command.current_dir(&self.0).args(line.split_whitespace());
        finish(&mut command)
    }

    /// The report of a command that must succeed.
    pub(crate) fn json(&self, line: &str) -> Value {
        let run = self.run(&format!("{line} --json"));
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{line}");
        serde_json::from_str(&run.stdout).unwrap()
    }

    /// The message of a command that must fail with a code, on one line, leaving nothing behind.
    pub(crate) fn fails(&self, code: i32, line: &str) -> String {
        let before = self.files();
        let run = self.run(line);
        assert_eq!(run.code, code, "{line}: {run:?}");
        assert!(run.stderr.starts_with("error: ") && run.stderr.trim_end().lines().count() == 1, "{run:?}");
        assert_eq!(self.files(), before, "{line}");
        run.stderr.trim_end().to_owned()
    }

    /// An array of an archive that holds doubles in rows.
    pub(crate) fn array(&self, file: &str, name: &str) -> ArrayD<f64> {
        parse(&self.entry(file, name))
    }

    fn entry(&self, file: &str, name: &str) -> Vec<u8> {
        let mut archive = zip::ZipArchive::new(fs::File::open(self.path(file)).unwrap()).unwrap();
        let mut bytes = Vec::new();
        archive.by_name(&format!("{name}.npy")).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// The provenance inside an archive.
    pub(crate) fn provenance(&self, file: &str) -> Value {
        let bytes = self.entry(file, "provenance");
        let (header, data) = split(&bytes);
        let count: usize = header.split("<U").nth(1).unwrap().split('\'').next().unwrap().parse().unwrap();
        assert_eq!(data.len(), 4 * count);
        let letters = data.as_chunks::<4>().0.iter().map(|c| char::from_u32(u32::from_le_bytes(*c)).unwrap());
        serde_json::from_str(&letters.collect::<String>()).unwrap()
    }
}

pub(crate) fn finish(command: &mut Command) -> Run {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn split(bytes: &[u8]) -> (&str, &[u8]) {
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let end = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    (std::str::from_utf8(&bytes[10..end]).unwrap(), &bytes[end..])
}

/// Reads doubles in rows.
pub(crate) fn parse(bytes: &[u8]) -> ArrayD<f64> {
    let (header, data) = split(bytes);
    assert!(header.contains("'<f8'") && header.contains("'fortran_order': False"), "{header}");
    let shape = header.split("'shape': (").nth(1).unwrap().split(')').next().unwrap();
    let shape: Vec<usize> =
        shape.split(',').filter(|s| !s.trim().is_empty()).map(|s| s.trim().parse().unwrap()).collect();
    let values = data.as_chunks::<8>().0.iter().map(|number| f64::from_le_bytes(*number)).collect();
    ArrayD::from_shape_vec(IxDyn(&shape), values).unwrap()
}

/// A .npy file of any kind.
pub(crate) fn npy(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
    let fortran = if fortran { "True" } else { "False" };
    let mut text = format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}");
    while (10 + text.len() + 1) % 64 != 0 {
        text.push(' ');
    }
    text.push('\n');
    [b"\x93NUMPY\x01\x00".as_slice(), &(text.len() as u16).to_le_bytes(), text.as_bytes(), data].concat()
}

pub(crate) fn npy_of(array: ArrayViewD<'_, f64>) -> Vec<u8> {
    let shape: String = array.shape().iter().map(|side| format!("{side},")).collect();
    npy(
        "'<f8'",
        false,
        &format!("({shape})"),
        &array.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>(),
    )
}

/// A .npz archive, compressed or not.
pub(crate) fn npz(entries: &[(&str, Vec<u8>)], compressed: bool) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in entries {
        let name = format!("{name}.npy");
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let data = if compressed {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        } else {
            content.clone()
        };
        let method = if compressed { 8u16 } else { 0 };
        let mut common = Vec::new();
        common.extend([20u16, 0, method, 0, 33].iter().flat_map(|n| n.to_le_bytes()));
        for number in [crc.sum(), data.len() as u32, content.len() as u32] {
            common.extend(number.to_le_bytes());
        }
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        let at = archive.len() as u32;
        archive.extend([b"PK\x03\x04", &common[..], name.as_bytes(), &data].concat());
        directory.extend(
            [b"PK\x01\x02\x14\x00", &common[..], &[0; 10], &at.to_le_bytes(), name.as_bytes()].concat(),
        );
    }
    let count = (entries.len() as u16).to_le_bytes();
    let (length, start) = ((directory.len() as u32).to_le_bytes(), (archive.len() as u32).to_le_bytes());
    archive.extend(directory);
    archive.extend(
        [b"PK\x05\x06\x00\x00\x00\x00".as_slice(), &count, &count, &length, &start, &[0, 0]].concat(),
    );
    archive
}
