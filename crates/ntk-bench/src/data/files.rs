//! Readers of MNIST (IDX) and CIFAR-10 (binary), which say what is wrong with a file.

use std::fs;
use std::path::{Path, PathBuf};

use ndarray::Array2;

use super::{Dataset, Split};
use crate::Error;

/// The files of MNIST lie in the directory itself or in its folder `mnist`, in one of two spellings.
fn mnist_path(dir: &Path, part: &str, kind: &str) -> PathBuf {
    let folder = dir.join("mnist");
    let dir = if folder.is_dir() { &folder } else { dir };
    let dashes = dir.join(format!("{part}-{kind}-ubyte"));
    if dashes.exists() { dashes } else { dir.join(format!("{part}-{kind}-ubyte").replace("-idx", ".idx")) }
}

pub(super) fn has_mnist(dir: &Path) -> bool {
    mnist_path(dir, "train", "images-idx3").exists()
}

pub(super) fn mnist(dir: &Path, split: Split) -> Result<Dataset, Error> {
    let part = if split == Split::Train { "train" } else { "t10k" };
    let images_path = mnist_path(dir, part, "images-idx3");
    let labels_path = mnist_path(dir, part, "labels-idx1");
    let (images, labels) = (idx(&images_path, 3)?, idx(&labels_path, 1)?);
    let [n, height, width] = [images.axes[0], images.axes[1], images.axes[2]];
    if labels.axes[0] != n {
        return Err(Error::LabelCount { path: labels_path, labels: labels.axes[0], images: n });
    }
    check_labels(&labels_path, &labels.bytes, 10)?;
    let d = height * width;
    Ok(Dataset {
        name: "MNIST",
        origin: "MNIST, Y. LeCun, C. Cortes and C. J. C. Burges, read from files",
        pixels: Array2::from_shape_fn((n, d), |(i, j)| f64::from(images.bytes[i * d + j]) / 255.0),
        labels: labels.bytes,
        classes: 10,
        shape: (height, width, 1),
    })
}

struct Idx {
    axes: Vec<usize>,
    bytes: Vec<u8>,
}

/// Header: 0, 0, 8 (unsigned bytes), the number of axes, then each axis as a big-endian word of four bytes.
fn idx(path: &Path, axes: u8) -> Result<Idx, Error> {
    let mut bytes = read(path)?;
    let header = 4 + 4 * usize::from(axes);
    if bytes.len() < header || bytes[..4] != [0, 0, 8, axes] {
        bytes.truncate(4);
        return Err(Error::IdxHeader { path: path.to_owned(), axes, found: bytes });
    }
    let word = |w: &[u8]| w.iter().fold(0, |value, &byte| value << 8 | usize::from(byte));
    let sizes: Vec<usize> = bytes[4..header].chunks_exact(4).map(word).collect();
    let entries = sizes.iter().fold(1_usize, |product, &size| product.saturating_mul(size));
    check_length(path, entries.saturating_add(header), bytes.len())?;
    Ok(Idx { axes: sizes, bytes: bytes.split_off(header) })
}

/// The batches lie in the directory itself, in its folder `cifar-10`, or in the one that the archive unpacks to.
fn cifar10_path(dir: &Path, file: &str) -> PathBuf {
    let folders = ["cifar-10-batches-bin", "cifar-10"].map(|folder| dir.join(folder).join(file));
    folders.into_iter().find(|path| path.exists()).unwrap_or_else(|| dir.join(file))
}

pub(super) fn has_cifar10(dir: &Path) -> bool {
    cifar10_path(dir, "data_batch_1.bin").exists()
}

pub(super) fn cifar10(dir: &Path, split: Split) -> Result<Dataset, Error> {
    let files = match split {
        Split::Train => (1..=5).map(|i| format!("data_batch_{i}.bin")).collect(),
        Split::Test => vec!["test_batch.bin".to_owned()],
    };
    let (mut labels, mut images) = (Vec::new(), Vec::new());
    for file in files {
        let path = cifar10_path(dir, &file);
        let bytes = read(&path)?;
        // A record is the label and three planes of 32×32, one for each color.
        check_length(&path, (bytes.len() / 3073).max(1) * 3073, bytes.len())?;
        let batch: Vec<u8> = bytes.chunks_exact(3073).map(|record| record[0]).collect();
        check_labels(&path, &batch, 10)?;
        labels.extend(batch);
        images.extend(bytes.chunks_exact(3073).flat_map(|record| record[1..].to_vec()));
    }
    let pixel = |(i, j): (usize, usize)| f64::from(images[3072 * i + 1024 * (j % 3) + j / 3]) / 255.0;
    Ok(Dataset {
        name: "CIFAR-10",
        origin: "CIFAR-10, A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009, read from files",
        pixels: Array2::from_shape_fn((labels.len(), 3072), pixel),
        labels,
        classes: 10,
        shape: (32, 32, 3),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

fn check_length(path: &Path, expected: usize, found: usize) -> Result<(), Error> {
    if expected == found { Ok(()) } else { Err(Error::Length { path: path.to_owned(), expected, found }) }
}

fn check_labels(path: &Path, labels: &[u8], classes: u8) -> Result<(), Error> {
    match labels.iter().position(|&label| label >= classes) {
        Some(sample) => Err(Error::Label { path: path.to_owned(), label: labels[sample], sample, classes }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Data;

    /// A directory of its own for each test, removed when the test ends.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("ntk-bench-{name}-{}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            Scratch(dir)
        }

        fn write(&self, file: &str, bytes: &[u8]) {
            fs::write(self.0.join(file), bytes).unwrap();
        }

        fn data(&self) -> Result<Data, Error> {
            Data::open(Some(self.0.clone()))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _already_gone = fs::remove_dir_all(&self.0);
        }
    }

    const IMAGES: &str = "train-images-idx3-ubyte";
    const LABELS: &str = "train-labels-idx1-ubyte";

    /// Two images of 1×2 pixels.
    fn images() -> Vec<u8> {
        [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2][..], &[0, 51, 255, 102]].concat()
    }

    #[test]
    fn mnist_is_read() {
        let dir = Scratch::new("mnist");
        dir.write(IMAGES, &images());
        dir.write(LABELS, &[0, 0, 8, 1, 0, 0, 0, 2, 7, 2]);
        let set = dir.data().unwrap().images(Split::Train).unwrap();
        assert_eq!(set.pixels, ndarray::array![[0.0, 0.2], [1.0, 0.4]]);
        assert_eq!((set.labels, set.shape), (vec![7, 2], (1, 2, 1)));
        assert!(matches!(dir.data().unwrap().mnist(Split::Test), Err(Error::File { .. })));
    }

    #[test]
    fn mnist_says_what_is_wrong() {
        let dir = Scratch::new("mnist-wrong");
        let good_labels = [0, 0, 8, 1, 0, 0, 0, 2, 7, 2];
        let read = |images: &[u8], labels: &[u8]| {
            dir.write(IMAGES, images);
            dir.write(LABELS, labels);
            dir.data().unwrap().mnist(Split::Train).unwrap_err()
        };
        assert!(matches!(read(&[], &good_labels), Error::IdxHeader { found, .. } if found.is_empty()));
        // What an HTML page of an error looks like.
        assert!(matches!(read(b"<!DOCTYPE html>", &good_labels), Error::IdxHeader { axes: 3, .. }));
        let cut = &images()[..19];
        assert!(matches!(read(cut, &good_labels), Error::Length { expected: 20, found: 19, .. }));
        let long = [images(), vec![0]].concat();
        assert!(matches!(read(&long, &good_labels), Error::Length { expected: 20, found: 21, .. }));
        let huge = [0, 0, 8, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255];
        assert!(matches!(read(&huge, &good_labels), Error::Length { found: 16, .. }));
        assert!(matches!(
            read(&images(), &[0, 0, 8, 1, 0, 0, 0, 1, 7]),
            Error::LabelCount { labels: 1, images: 2, .. }
        ));
        assert!(matches!(
            read(&images(), &[0, 0, 8, 1, 0, 0, 0, 2, 7, 10]),
            Error::Label { label: 10, sample: 1, .. }
        ));
    }

    #[test]
    fn cifar10_is_read_with_channels_last() {
        let dir = Scratch::new("cifar");
        let mut record = vec![9];
        (0..3072).for_each(|i: usize| record.push((i / 1024 * 51) as u8));
        for i in 1..=5 {
            dir.write(&format!("data_batch_{i}.bin"), &record);
        }
        let data = dir.data().unwrap();
        let set = data.images(Split::Train).unwrap();
        assert_eq!(set.pixels.dim(), (5, 3072));
        assert_eq!(set.pixels.row(4).to_vec()[..6], [0.0, 0.2, 0.4, 0.0, 0.2, 0.4]);
        dir.write("test_batch.bin", &record[..3000]);
        assert!(matches!(data.cifar10(Split::Test), Err(Error::Length { expected: 3073, found: 3000, .. })));
        dir.write("test_batch.bin", &[10; 3073]);
        assert!(matches!(data.cifar10(Split::Test), Err(Error::Label { label: 10, sample: 0, .. })));
    }

    #[test]
    fn a_directory_without_data_is_refused() {
        let dir = Scratch::new("empty");
        assert!(matches!(dir.data(), Err(Error::NoData { .. })));
        assert!(matches!(Data::default().mnist(Split::Train), Err(Error::NoDataDir { set: "MNIST" })));
    }
}
