//! Datasets as images: draws that are equal to all classes, smaller images, and the scales at which networks see them.

use ndarray::{Array2, Array4, s};

use super::{Dataset, shuffled};
use crate::Error;

impl Dataset {
    /// A random order, which depends on the seed alone, in which the classes take turns: as many samples of each class as
    /// the rarest has. Any beginning of it is balanced as well as its length allows.
    pub fn balanced_order(&self, seed: u64) -> Vec<usize> {
        let mut of_class = vec![Vec::new(); usize::from(self.classes)];
        for i in shuffled(self.len(), self.len(), seed) {
            of_class[usize::from(self.labels[i])].push(i);
        }
        let turns = of_class.iter().map(Vec::len).min().unwrap_or(0);
        (0..turns).flat_map(|turn| of_class.iter().map(move |class| class[turn])).collect()
    }

    /// `n` different samples, equally many of each class or nearly so, in the order of [`Dataset::balanced_order`].
    ///
    /// # Errors
    /// [`Error::TooFewSamples`].
    pub fn balanced(&self, n: usize, seed: u64) -> Result<Dataset, Error> {
        let order = self.balanced_order(seed);
        match order.get(..n) {
            Some(first) => Ok(self.select(first)),
            None => Err(Error::TooFewSamples { set: self.name, wanted: n, available: order.len() }),
        }
    }

    /// The first `n` samples in the order of their files.
    ///
    /// # Errors
    /// [`Error::TooFewSamples`].
    pub fn first(&self, n: usize) -> Result<Dataset, Error> {
        if n > self.len() {
            return Err(Error::TooFewSamples { set: self.name, wanted: n, available: self.len() });
        }
        Ok(self.select(&(0..n).collect::<Vec<_>>()))
    }

    /// Smaller images of the averages over blocks of `factor` × `factor` pixels; blocks beyond the far edges are left
    /// out.
    ///
    /// # Panics
    /// If the factor is 0.
    pub fn reduced(&self, factor: usize) -> Dataset {
        let (height, width, channels) = (self.shape.0 / factor, self.shape.1 / factor, self.shape.2);
        let mut pixels = Array2::zeros((self.len(), height * width * channels));
        for ((i, j), pixel) in pixels.indexed_iter_mut() {
            let (row, column, channel) = (j / channels / width, j / channels % width, j % channels);
            let at =
                |y: usize, x: usize| ((row * factor + y) * self.shape.1 + column * factor + x) * channels;
            let block = (0..factor).flat_map(|y| (0..factor).map(move |x| at(y, x) + channel));
            *pixel = block.map(|k| self.pixels[[i, k]]).sum::<f64>() / (factor * factor) as f64;
        }
        Dataset { pixels, labels: self.labels.clone(), shape: (height, width, channels), ..*self }
    }

    /// [`Dataset::inputs`] as images, (n, height, width, channels).
    pub fn images(&self) -> Array4<f64> {
        let (height, width, channels) = self.shape;
        let x = self.inputs();
        Array4::from_shape_fn((self.len(), height, width, channels), |(i, row, column, c)| {
            x[[i, (row * width + column) * channels + c]]
        })
    }

    /// Images of mean 0 and variance 1 in each channel over all samples and pixels of a (training) set, (n, height,
    /// width, channels). A channel that does not vary is only centered.
    pub fn standardized(&self, over: &Dataset) -> Array4<f64> {
        let (height, width, channels) = self.shape;
        let of_channel = |c: usize| over.pixels.slice(s![.., c..; channels]);
        let moments: Vec<(f64, f64)> = (0..channels)
            .map(|c| (of_channel(c).mean().unwrap_or(0.0), of_channel(c).std(0.0)))
            .map(|(mean, deviation)| (mean, if deviation > 0.0 { deviation } else { 1.0 }))
            .collect();
        Array4::from_shape_fn((self.len(), height, width, channels), |(i, y, x, c)| {
            (self.pixels[[i, (y * width + x) * channels + c]] - moments[c].0) / moments[c].1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_take_turns() {
        let set = Dataset::digits();
        let order = set.balanced_order(3);
        assert_eq!(order.len(), 10 * 174);
        assert!(order.iter().enumerate().all(|(i, &k)| usize::from(set.labels[k]) == i % 10));
        let mut different = order.clone();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), order.len());
        assert_ne!(set.balanced_order(4)[..10], order[..10]);
        assert_eq!(set.balanced(20, 3).unwrap().labels[7], 7);
        assert!(matches!(set.balanced(1741, 3), Err(Error::TooFewSamples { available: 1740, .. })));
    }

    #[test]
    fn images_by_hand() {
        let pixels = Array2::from_shape_fn((1, 24), |(_, j)| j as f64);
        let set = Dataset { name: "", origin: "", pixels, labels: vec![0], classes: 1, shape: (4, 3, 2) };
        let half = set.reduced(2);
        // Blocks of rows 0–1 and 2–3, columns 0–1; the third column is left out.
        assert_eq!((half.shape, half.pixels), ((2, 1, 2), ndarray::array![[4.0, 5.0, 16.0, 17.0]]));
        let images = set.images();
        assert_eq!(images.dim(), (1, 4, 3, 2));
        assert_eq!(images[[0, 2, 1, 1]], set.inputs()[[0, 15]]);
        // Even numbers up to 22 in one channel, odd ones in the other: mean 11 and 12, variance 143/3.
        let unit = set.standardized(&set);
        for (at, expected) in [((0, 0, 0, 0), -11.0), ((0, 3, 2, 1), 11.0)] {
            assert!((unit[at] - expected / (143.0_f64 / 3.0).sqrt()).abs() < 1e-15);
        }
    }
}
