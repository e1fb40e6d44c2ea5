//! Nodes for expectations over many independent Gaussians: a randomly shifted sequence, so that an integral comes with
//! an estimate of its error.

use std::sync::OnceLock;

/// Independent shifts of the sequence; their spread is the error estimate. One number for each stands in [`Lanes`].
pub(crate) const SHIFTS: usize = 16;

/// The same quantity for all shifts, side by side, so that loops over it are widened.
pub(crate) type Lanes = [f64; SHIFTS];

/// Nodes of the first level; each level after it has as many as all before it together.
const FIRST: usize = 64;
/// The largest number of nodes of one shift.
const MOST: usize = 1 << 14;
/// The largest number of coordinates kept (32 MiB): in many dimensions there are fewer nodes.
const MEMORY: usize = 1 << 22;

/// Standard normal nodes: zᵢⱼ = Φ⁻¹(|2{i√pⱼ + Δⱼ} − 1|) for the j-th prime pⱼ, {·} the fractional part, and random
/// shifts Δ of a fixed seed (Richtmyer's sequence, folded; Genz and Bretz, "Computation of multivariate normal and t
/// probabilities", 2009, §4.2.2).
pub(crate) struct Nodes {
    dimension: usize,
    levels: Vec<OnceLock<Vec<Lanes>>>,
}

impl Nodes {
    /// Of up to this many coordinates; a level is computed when it is asked for.
    pub(crate) fn new(dimension: usize) -> Self {
        let most = (MEMORY / SHIFTS / dimension.max(1)).min(MOST);
        let levels = if dimension == 0 { 1 } else { 1 + (most / FIRST).max(1).ilog2() as usize };
        Nodes { dimension, levels: (0..levels).map(|_| OnceLock::new()).collect() }
    }

    /// Coordinates of a node.
    pub(crate) fn dimension(&self) -> usize {
        self.dimension
    }

    /// The nodes of each level, one after the other, each of [`Nodes::dimension`] coordinates.
    pub(crate) fn levels(&self) -> impl Iterator<Item = &[Lanes]> {
        self.levels.iter().enumerate().map(|(level, nodes)| {
            let (first, end) = (if level == 0 { 0 } else { FIRST << (level - 1) }, FIRST << level);
            nodes.get_or_init(|| self.range(first, end)).as_slice()
        })
    }

    fn range(&self, first: usize, end: usize) -> Vec<Lanes> {
        let roots: Vec<f64> = primes().take(self.dimension).map(|p| (p as f64).sqrt()).collect();
        let mut nodes = Vec::with_capacity((end - first) * self.dimension);
        for i in first + 1..=end {
            nodes.extend(roots.iter().enumerate().map(|(j, root)| -> Lanes {
                std::array::from_fn(|lane| {
                    let x = i as f64 * root + uniform((j * SHIFTS + lane) as u64);
                    normal_quantile((2.0 * x.fract() - 1.0).abs())
                })
            }));
        }
        nodes
    }
}

fn primes() -> impl Iterator<Item = usize> {
    (2..).filter(|&n: &usize| (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d)))
}

/// The `index`-th number of SplitMix64 (Steele, Lea and Flood, 2014), in [0, 1).
pub(crate) fn uniform(index: u64) -> f64 {
    let mut z = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 * 2f64.powi(-53)
}

/// Φ⁻¹(p), with p moved into [2⁻⁵⁴, 1 − 2⁻⁵³]: Winitzki's approximation and two of Halley's steps.
pub(crate) fn normal_quantile(p: f64) -> f64 {
    use std::f64::consts::{PI, SQRT_2};
    if p > 0.5 {
        return -normal_quantile(1.0 - p);
    }
    let p = p.max(2f64.powi(-54));
    const A: f64 = 0.147;
    let log = (4.0 * p * (1.0 - p)).ln();
    let center = 2.0 / (PI * A) + 0.5 * log;
    let mut z = -SQRT_2 * ((center * center - log / A).sqrt() - center).max(0.0).sqrt();
    for _ in 0..2 {
        let step = (0.5 * libm::erfc(-z / SQRT_2) - p) * (2.0 * PI).sqrt() * (0.5 * z * z).exp();
        z -= step / (1.0 + 0.5 * z * step);
    }
    z
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // Tests may.
mod tests {
    use super::*;

    #[test]
    fn the_quantile_inverts_the_distribution() {
        for p in [1e-15, 1e-9, 0.01, 0.3, 0.499_999, 0.5] {
            let z = normal_quantile(p);
            assert!((0.5 * libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2) / p - 1.0).abs() < 1e-13, "{p}");
            assert_eq!(normal_quantile(1.0 - p), -normal_quantile(1.0 - (1.0 - p)));
        }
        assert!((normal_quantile(0.975) - 1.959_963_984_540_054).abs() < 1e-14);
        assert!(normal_quantile(0.0).is_finite() && normal_quantile(1.0).is_finite());
    }

    #[test]
    fn moments_of_the_nodes_are_those_of_gaussians() {
        let nodes = Nodes::new(5);
        let (mut count, mut fourth, mut product) = (0.0, 0.0, 0.0);
        for z in nodes.levels().take(6).flat_map(|level| level.chunks_exact(nodes.dimension())) {
            for ((a, b), c) in z[0].iter().zip(&z[3]).zip(&z[4]) {
                count += 1.0;
                fourth += c.powi(4);
                product += (a * b).powi(2);
            }
        }
        assert_eq!(count, ((SHIFTS * FIRST) << 5) as f64);
        assert!((fourth / count - 3.0).abs() < 0.02 && (product / count - 1.0).abs() < 0.01);
    }

    #[test]
    fn many_dimensions_keep_the_bound_on_memory() {
        for dimension in [0, 1, 16, 126, 4000] {
            let levels = Nodes::new(dimension).levels.len();
            assert!((FIRST << (levels - 1)) * SHIFTS * dimension <= MEMORY.max(FIRST * SHIFTS * dimension));
        }
    }
}
