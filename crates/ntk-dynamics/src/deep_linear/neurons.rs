//! Standard normal numbers by position: the features of a neuron, the same whichever time they are asked about.

use std::f64::consts::TAU;

use ndarray::Array2;

/// Features of so many neurons of one hidden layer, (count, coordinates): independent standard normal numbers.
///
/// Number (i, s) depends on seed, layer, i and s alone, so that more coordinates, as of a later time, or more neurons
/// leave the others as they are.
pub(super) fn features(seed: u64, layer: usize, count: usize, coordinates: usize) -> Array2<f64> {
    let stream = mix(mix(seed).wrapping_add(layer as u64));
    Array2::from_shape_fn((count, coordinates), |(i, s)| {
        let position = mix(stream.wrapping_add(i as u64)).wrapping_add(2 * s as u64);
        // 53 bits; the first in (0, 1], so that its logarithm is finite.
        let unit = |offset| (mix(position.wrapping_add(offset)) >> 11) as f64 / (1u64 << 53) as f64;
        (-2.0 * (1.0 - unit(0)).ln()).sqrt() * (TAU * unit(1)).cos()
    })
}

/// One word of SplitMix64.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Axis, s};

    #[test]
    fn features_are_normal_and_independent() {
        let (n, m) = (4000, 8);
        let x = features(3, 1, n, m);
        // Four standard errors of entries of xᵀx/n, the variance of a square being 2.
        let gram = x.t().dot(&x) / n as f64 - Array2::<f64>::eye(m);
        assert!(gram.iter().all(|v| v.abs() < 4.0 * (2.0 / n as f64).sqrt()), "{gram}");
        assert!(x.mean_axis(Axis(0)).unwrap().iter().all(|v| v.abs() < 4.0 / (n as f64).sqrt()));
        let fourth = x.mapv(|v| v.powi(4)).mean().unwrap();
        assert!((fourth - 3.0).abs() < 4.0 * (96.0 / (n * m) as f64).sqrt());
    }

    #[test]
    fn features_do_not_depend_on_how_many_are_asked_for() {
        let large = features(7, 0, 20, 9);
        assert_eq!(large.slice(s![..5, ..4]), features(7, 0, 5, 4));
        assert_ne!(features(7, 0, 5, 4), features(7, 1, 5, 4));
        assert_ne!(features(7, 0, 5, 4), features(8, 0, 5, 4));
    }
}
