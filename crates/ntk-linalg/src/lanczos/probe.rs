//! Random directions from a seed, the same in every run.

use std::f64::consts::TAU;

use ndarray::{Array1, Array2};

/// The law of random directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Probe {
    /// Entries ±1 with equal probability; exact for the trace of a diagonal operator.
    #[default]
    Rademacher,
    /// Independent standard normal entries: after normalization, uniform on the sphere.
    Gaussian,
}

/// Independent standard normal numbers from a seed, (rows, columns), the same in every run.
///
/// ```
/// let draws = ntk_linalg::normals(7, (2, 3));
/// assert_eq!(draws, ntk_linalg::normals(7, (2, 3)));
/// assert_ne!(draws, ntk_linalg::normals(8, (2, 3)));
/// ```
pub fn normals(seed: u64, (rows, columns): (usize, usize)) -> Array2<f64> {
    // Seeds that differ by one step of the generator would give shifted sequences: one word goes between them.
    let mut source = Source::new(seed);
    let mut source = Source::new(source.word());
    Array2::from_shape_simple_fn((rows, columns), || source.normal())
}

/// The generator SplitMix64 (Steele et al. 2014).
pub(crate) struct Source {
    state: u64,
}

impl Source {
    pub(crate) fn new(seed: u64) -> Self {
        Source { state: seed }
    }

    fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in (0, 1], so that its logarithm is finite.
    pub(crate) fn unit(&mut self) -> f64 {
        ((self.word() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// A standard normal number, by the transform of Box and Muller.
    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (TAU * self.unit()).cos()
    }

    /// A vector of p numbers, not normalized.
    pub(super) fn probe(&mut self, law: Probe, p: usize) -> Array1<f64> {
        match law {
            Probe::Rademacher => {
                Array1::from_shape_simple_fn(p, || if self.word() >> 63 == 0 { 1.0 } else { -1.0 })
            }
            Probe::Gaussian => Array1::from_shape_simple_fn(p, || self.normal()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_gives_the_published_words() {
        let mut source = Source::new(1_234_567);
        assert_eq!(source.word(), 6_457_827_717_110_365_317);
        assert_eq!(source.word(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn entries_have_mean_zero_and_variance_one() {
        let n = 40_000;
        for law in [Probe::Rademacher, Probe::Gaussian] {
            let v = Source::new(5).probe(law, n);
            // Four standard errors; the variance of a square is 2 at most.
            assert!(v.sum().abs() / (n as f64).sqrt() < 4.0);
            assert!((v.dot(&v) / n as f64 - 1.0).abs() < 4.0 * (2.0 / n as f64).sqrt());
        }
    }
}
