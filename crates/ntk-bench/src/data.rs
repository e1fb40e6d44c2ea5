//! Labeled images: the embedded digits, MNIST and CIFAR-10 from files, and what turns them into inputs and targets.

mod files;
mod images;
mod sets;

use std::path::PathBuf;

use ndarray::{Array2, Axis, Zip};

use crate::Error;
pub use sets::{Fold, GraphSet, TableSet};

const DIGITS: &[u8] = include_bytes!("../data/digits.u8");
const DIGITS_LICENSE: &str = "Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI Machine \
    Learning Repository, 1998, https://doi.org/10.24432/C50P49, licensed under CC BY 4.0";

/// Which part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// For training.
    Train,
    /// For testing.
    Test,
}

/// Labeled images.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Its name.
    pub name: &'static str,
    /// Where it comes from and under which license: goes into the notes of a report.
    pub origin: &'static str,
    /// Pixels in [0, 1], (n, height · width · channels), channels last.
    pub pixels: Array2<f64>,
    /// Classes, n of them.
    pub labels: Vec<u8>,
    /// Number of classes.
    pub classes: u8,
    /// Height, width, channels.
    pub shape: (usize, usize, usize),
}

impl Dataset {
    /// The 1797 embedded images of digits, 8×8.
    pub fn digits() -> Self {
        let rows = DIGITS.chunks_exact(65);
        let pixels = Array2::from_shape_fn((rows.len(), 64), |(i, j)| f64::from(DIGITS[65 * i + j]) / 16.0);
        let labels = rows.map(|row| row[64]).collect();
        Dataset { name: "digits", origin: DIGITS_LICENSE, pixels, labels, classes: 10, shape: (8, 8, 1) }
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// `n` different samples in a random order that depends on the seed alone; those of a smaller `n` come first.
    ///
    /// # Errors
    /// [`Error::TooFewSamples`].
    pub fn subset(&self, n: usize, seed: u64) -> Result<Dataset, Error> {
        self.split(n, 0, seed).map(|(subset, _)| subset)
    }

    /// A training set and a test set of different samples, drawn as by [`Dataset::subset`].
    ///
    /// # Errors
    /// [`Error::TooFewSamples`].
    pub fn split(&self, train: usize, test: usize, seed: u64) -> Result<(Dataset, Dataset), Error> {
        if train.saturating_add(test) > self.len() {
            let (set, wanted) = (self.name, train.saturating_add(test));
            return Err(Error::TooFewSamples { set, wanted, available: self.len() });
        }
        let order = shuffled(self.len(), train + test, seed);
        Ok((self.select(&order[..train]), self.select(&order[train..])))
    }

    /// The samples of two or more classes, relabeled 0, 1, … in the order given.
    pub fn only(&self, classes: &[u8]) -> Dataset {
        let place = |label: &u8| classes.iter().position(|class| class == label);
        let indices: Vec<usize> = (0..self.len()).filter(|&i| place(&self.labels[i]).is_some()).collect();
        let mut set = self.select(&indices);
        set.labels = set.labels.iter().filter_map(place).map(|p| p as u8).collect();
        set.classes = classes.len() as u8;
        set
    }

    fn select(&self, indices: &[usize]) -> Dataset {
        let labels = indices.iter().map(|&i| self.labels[i]).collect();
        Dataset { pixels: self.pixels.select(Axis(0), indices), labels, ..*self }
    }

    /// Inputs with |x|²/d = 1 for every sample, (n, d): the scale at which the theory is stated. A black image stays 0.
    pub fn inputs(&self) -> Array2<f64> {
        normalized(self.pixels.clone())
    }

    /// One-hot targets less their mean over classes, (n, classes): 1 − 1/k for the class, −1/k elsewhere.
    pub fn one_hot(&self) -> Array2<f64> {
        let k = f64::from(self.classes);
        Array2::from_shape_fn((self.len(), usize::from(self.classes)), |(i, class)| {
            f64::from(usize::from(self.labels[i]) == class) - 1.0 / k
        })
    }

    /// Targets +1 for one class and −1 for the others, (n, 1).
    pub fn signs(&self, positive: u8) -> Array2<f64> {
        Array2::from_shape_fn((self.len(), 1), |(i, _)| if self.labels[i] == positive { 1.0 } else { -1.0 })
    }
}

/// Scales every row to |x|²/d = 1, (n, d); a row of zeros stays.
pub fn normalized(mut x: Array2<f64>) -> Array2<f64> {
    let d = x.ncols() as f64;
    Zip::from(x.rows_mut()).for_each(|mut row| {
        let norm = (row.dot(&row) / d).sqrt();
        if norm > 0.0 {
            row /= norm;
        }
    });
    x
}

/// The share of samples whose largest output is at their label.
pub fn accuracy(outputs: &Array2<f64>, labels: &[u8]) -> f64 {
    let hit = |row: ndarray::ArrayView1<'_, f64>, label: u8| {
        let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        best.is_some_and(|(at, _)| at == usize::from(label))
    };
    let hits = outputs.rows().into_iter().zip(labels).filter(|(row, label)| hit(*row, **label)).count();
    hits as f64 / labels.len() as f64
}

/// The data sets within reach of a run.
#[derive(Clone, Debug, Default)]
pub struct Data {
    dir: Option<PathBuf>,
}

impl Data {
    /// The embedded data, and the files of a directory if there is one.
    ///
    /// # Errors
    /// [`Error::NoData`] if the directory holds nothing known.
    pub fn open(dir: Option<PathBuf>) -> Result<Self, Error> {
        match dir {
            Some(dir) => {
                let data = Data { dir: Some(dir.clone()) };
                let known = [data.has_mnist(), data.has_cifar10(), data.has_fashion_mnist()];
                let folders = ["uci-90", "graphs"].map(|name| dir.join(name).is_dir());
                if known.contains(&true) || folders.contains(&true) {
                    Ok(data)
                } else {
                    Err(Error::NoData { dir })
                }
            }
            None => Ok(Data { dir }),
        }
    }

    /// The embedded digits.
    pub fn digits(&self) -> Dataset {
        Dataset::digits()
    }

    /// MNIST, 28×28, read from the four uncompressed IDX files.
    ///
    /// # Errors
    /// [`Error::NoDataDir`]; those of the files.
    pub fn mnist(&self, split: Split) -> Result<Dataset, Error> {
        files::mnist(self.dir("MNIST")?, split)
    }

    /// CIFAR-10, 32×32×3 with channels last, read from the binary batches.
    ///
    /// # Errors
    /// [`Error::NoDataDir`]; those of the files.
    pub fn cifar10(&self, split: Split) -> Result<Dataset, Error> {
        files::cifar10(self.dir("CIFAR-10")?, split)
    }

    /// Fashion-MNIST, 28×28, read from the four uncompressed IDX files in the folder `fashion-mnist`.
    ///
    /// # Errors
    /// [`Error::NoDataDir`]; those of the files.
    pub fn fashion_mnist(&self, split: Split) -> Result<Dataset, Error> {
        let set = files::mnist(&self.dir("Fashion-MNIST")?.join("fashion-mnist"), split)?;
        let origin = "Fashion-MNIST, Zalando SE, MIT license, read from files";
        Ok(Dataset { name: "Fashion-MNIST", origin, ..set })
    }

    /// Whether the directory holds Fashion-MNIST.
    pub fn has_fashion_mnist(&self) -> bool {
        self.dir.as_deref().is_some_and(|dir| files::has_mnist(&dir.join("fashion-mnist")))
    }

    /// Whether the directory holds MNIST.
    pub fn has_mnist(&self) -> bool {
        self.dir.as_deref().is_some_and(files::has_mnist)
    }

    /// The tables of UCI-90 with at most so many rows, none if they are not there.
    ///
    /// # Errors
    /// Those of the files.
    pub fn tables(&self, most: usize) -> Result<Vec<TableSet>, Error> {
        let folder = self.dir.as_deref().map(|dir| dir.join("uci-90")).filter(|dir| dir.is_dir());
        folder.map_or(Ok(Vec::new()), |folder| sets::tables(&folder, most))
    }

    /// A set of graphs, if its file is there.
    ///
    /// # Errors
    /// Those of the file.
    pub fn graphs(&self, name: &str) -> Result<Option<GraphSet>, Error> {
        let file = self.dir.as_deref().map(|dir| dir.join("graphs").join(format!("{name}.txt")));
        file.filter(|file| file.exists()).map(|file| sets::graphs(&file)).transpose()
    }

    /// Whether the directory holds CIFAR-10.
    pub fn has_cifar10(&self) -> bool {
        self.dir.as_deref().is_some_and(files::has_cifar10)
    }

    /// Images of ten classes for experiments that take any: MNIST if its files are there, else CIFAR-10, else the
    /// digits (the same ones for either split; use [`Dataset::split`]).
    ///
    /// # Errors
    /// Those of the files.
    pub fn images(&self, split: Split) -> Result<Dataset, Error> {
        match &self.dir {
            Some(dir) if files::has_mnist(dir) => files::mnist(dir, split),
            Some(dir) if files::has_cifar10(dir) => files::cifar10(dir, split),
            _ => Ok(self.digits()),
        }
    }

    fn dir(&self, set: &'static str) -> Result<&std::path::Path, Error> {
        self.dir.as_deref().ok_or(Error::NoDataDir { set })
    }
}

/// The first `take` places of a random order of `0..n`, by Fisher–Yates on SplitMix64.
pub(crate) fn shuffled(n: usize, take: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    let mut state = seed;
    for i in 0..take {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // The high word of the product is uniform below n − i up to 2⁻⁶⁴ n.
        let pick = ((u128::from(z ^ (z >> 31)) * (n - i) as u128) >> 64) as usize;
        order.swap(i, i + pick);
    }
    order.truncate(take);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_digits_are_whole() {
        let set = Dataset::digits();
        assert_eq!(set.pixels.dim(), (1797, 64));
        let mut counts = [0; 10];
        set.labels.iter().for_each(|&label| counts[usize::from(label)] += 1);
        assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
        assert!(set.pixels.iter().all(|p| (0.0..=1.0).contains(p)));
        // The sum of all 115008 pixel values, as the source gives it.
        assert_eq!(set.pixels.sum() * 16.0, 561_718.0);
    }

    #[test]
    fn subsets_are_nested_disjoint_and_seeded() {
        let set = Dataset::digits();
        let (train, test) = set.split(20, 30, 7).unwrap();
        assert_eq!(set.subset(20, 7).unwrap(), train);
        assert_eq!(set.subset(10, 7).unwrap().labels, train.labels[..10]);
        assert_ne!(set.subset(20, 8).unwrap(), train);
        let mut order = shuffled(50, 50, 3);
        order.sort_unstable();
        assert_eq!(order, (0..50).collect::<Vec<_>>());
        assert!(matches!(
            set.split(1700, 98, 0),
            Err(Error::TooFewSamples { wanted: 1798, available: 1797, .. })
        ));
        assert_eq!(test.len(), 30);
    }

    #[test]
    fn inputs_and_targets_by_hand() {
        let pixels = ndarray::array![[0.5, 0.5], [0.7, 0.1], [0.0, 0.0]];
        let labels = vec![3, 8, 3];
        let set = Dataset { name: "", origin: "", pixels, labels, classes: 10, shape: (1, 2, 1) };
        let error = set.inputs() - ndarray::array![[1.0, 1.0], [1.4, 0.2], [0.0, 0.0]];
        assert!(error.iter().all(|e| e.abs() < 1e-15));
        let two = set.only(&[8, 3]);
        assert_eq!(two.labels, [1, 0, 1]);
        assert_eq!(two.one_hot(), ndarray::array![[-0.5, 0.5], [0.5, -0.5], [-0.5, 0.5]]);
        assert_eq!(two.signs(0), ndarray::array![[-1.0], [1.0], [-1.0]]);
        assert_eq!(accuracy(&two.one_hot(), &[1, 0, 0]), 2.0 / 3.0);
    }
}
