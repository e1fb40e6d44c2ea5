//! Random numbers by position: number i of a stream is a pure function of the seed, the stream's name and i.
//!
//! So the same seed gives the same bits in any order, on any number of threads and on any platform, and a parameter
//! does not change when another one changes its size.

use std::f64::consts::TAU;

use rayon::prelude::*;

/// Pairs that one thread draws at a time.
const PAIRS: usize = 4096;

/// A stream of random numbers, addressed by a counter.
///
/// Source: Philox4x32-10 of \[salmon2011parallel\].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    key: [u32; 2],
}

impl Stream {
    /// The stream of one node.
    pub(crate) fn new(seed: u64, path: &str) -> Self {
        // FNV-1a of the name, then both words through the finalizer of SplitMix64.
        let name = path.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let key = mix(mix(seed) ^ name);
        Stream { key: [key as u32, (key >> 32) as u32] }
    }

    /// Four words at a position.
    pub(crate) fn words(&self, counter: [u32; 4]) -> [u32; 4] {
        let [mut a, mut b, mut c, mut d] = counter;
        let [mut k0, mut k1] = self.key;
        for _ in 0..10 {
            let x = u64::from(a) * 0xd251_1f53;
            let y = u64::from(c) * 0xcd9e_8d57;
            (a, b, c, d) = ((y >> 32) as u32 ^ b ^ k0, y as u32, (x >> 32) as u32 ^ d ^ k1, x as u32);
            k0 = k0.wrapping_add(0x9e37_79b9);
            k1 = k1.wrapping_add(0xbb67_ae85);
        }
        [a, b, c, d]
    }

    /// The first `len` standard normal numbers, by the transform of Box and Muller in f64.
    pub(crate) fn normals(&self, len: usize) -> Vec<f64> {
        let mut values = vec![0.0; len];
        values.par_chunks_mut(2 * PAIRS).enumerate().for_each(|(block, values)| {
            for (i, values) in values.chunks_mut(2).enumerate() {
                values.copy_from_slice(&self.normal_pair((block * PAIRS + i) as u64)[..values.len()]);
            }
        });
        values
    }

    fn normal_pair(&self, pair: u64) -> [f64; 2] {
        let [a, b, c, d] = self.words([pair as u32, (pair >> 32) as u32, 0, 0]);
        // 53 bits each; the first in (0, 1], so that its logarithm is finite.
        let radius = (-2.0 * libm::log(unit(a, b) + UNIT)).sqrt();
        let (sin, cos) = libm::sincos(TAU * unit(c, d));
        [radius * cos, radius * sin]
    }

    /// The first `len` signs ±1.
    pub(crate) fn signs(&self, len: usize) -> Vec<f64> {
        let sign = |i: usize| {
            let word = self.words([(i / 128) as u32, (i as u64 >> 39) as u32, 1, 0])[i / 32 % 4];
            if word >> (i % 32) & 1 == 0 { 1.0 } else { -1.0 }
        };
        (0..len).map(sign).collect()
    }

    /// A permutation of 0..len, by the shuffle of Fisher and Yates; `round` chooses another.
    pub(crate) fn permutation(&self, len: usize, round: u64) -> Vec<u32> {
        let mut order: Vec<u32> = (0..len as u32).collect();
        for i in (1..len).rev() {
            let [a, b, _, _] = self.words([i as u32, 0, round as u32, (round >> 32) as u32]);
            order.swap(i, (unit(a, b) * (i + 1) as f64) as usize);
        }
        order
    }
}

const UNIT: f64 = 1.0 / (1u64 << 53) as f64;

/// A number in [0, 1) of 53 bits.
fn unit(high: u32, low: u32) -> f64 {
    ((u64::from(high) << 32 | u64::from(low)) >> 11) as f64 * UNIT
}

fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_published_words() {
        let zero = Stream { key: [0; 2] };
        assert_eq!(zero.words([0; 4]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let ones = Stream { key: [u32::MAX; 2] };
        assert_eq!(ones.words([u32::MAX; 4]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    }

    #[test]
    fn normals_have_the_moments_of_a_normal_law() {
        let x = Stream::new(3, "0.weight").normals(100_000);
        let moment = |p: i32| x.iter().map(|v| v.powi(p)).sum::<f64>() / x.len() as f64;
        // Four standard errors: √(1, 2, 15, 96)/√n.
        let s = 4.0 / (x.len() as f64).sqrt();
        assert!(moment(1).abs() < s);
        assert!((moment(2) - 1.0).abs() < s * 2f64.sqrt());
        assert!(moment(3).abs() < s * 15f64.sqrt());
        assert!((moment(4) - 3.0).abs() < s * 96f64.sqrt());
    }

    #[test]
    fn a_longer_draw_begins_with_the_shorter_one() {
        let stream = Stream::new(1, "a");
        assert_eq!(stream.normals(7), stream.normals(3 * PAIRS)[..7]);
        assert_eq!(stream.normals(2 * PAIRS + 3), stream.normals(5 * PAIRS)[..2 * PAIRS + 3]);
        assert_ne!(stream.normals(7), Stream::new(1, "b").normals(7));
        assert_ne!(stream.normals(7), Stream::new(2, "a").normals(7));
    }

    #[test]
    fn signs_are_fair_and_independent() {
        let (n, stream) = (100_000, Stream::new(3, "A"));
        let x = stream.signs(n);
        let s = 4.0 * (n as f64).sqrt();
        assert!(x.iter().sum::<f64>().abs() < s);
        for lag in [1, 32, 128] {
            assert!(x.iter().zip(&x[lag..]).map(|(a, b)| a * b).sum::<f64>().abs() < s);
        }
        assert_eq!(stream.signs(200), x[..200]);
    }

    #[test]
    fn a_permutation_holds_every_index_once() {
        let mut order = Stream::new(0, "order").permutation(100, 3);
        assert_ne!(order, Stream::new(0, "order").permutation(100, 4));
        order.sort_unstable();
        assert!(order.iter().copied().eq(0..100));
    }
}
