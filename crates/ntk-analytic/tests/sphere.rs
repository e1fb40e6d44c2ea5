//! The spectrum on the sphere against kernel matrices of samples drawn there.

#![allow(clippy::unwrap_used)]

use ndarray::Array2;
use ntk_analytic::{Analytic, SphereSpectrum};
use ntk_core::{Activation, KernelFn, Net, Variance, Which};
use ntk_linalg::{Symmetric, eigenvalues};

/// Uniform points on the unit sphere, as normal vectors over their norms.
fn sphere(n: usize, d: usize, seed: u64) -> Array2<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut uniform = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = state;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    };
    let mut x = Array2::from_shape_simple_fn((n, d), || {
        (-2.0 * (1.0 - uniform()).ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()
    });
    for mut row in x.rows_mut() {
        let norm = row.dot(&row).sqrt();
        row /= norm;
    }
    x
}

fn slope(x: &[f64], y: &[f64]) -> f64 {
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let (mx, my) = (mean(x), mean(y));
    x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum::<f64>()
        / x.iter().map(|x| (x - mx).powi(2)).sum::<f64>()
}

/// λᵢ(K)/n tend to λ_k: each of the d of degree 1 with an error of order n^(−1/2), and the largest, whose fluctuation of
/// that order vanishes by symmetry, with one of order 1/n.
#[test]
fn kernel_matrices_tend_to_the_spectrum() {
    let d = 6;
    let net = Net::mlp(2, Activation::Relu, 1, Variance::TWO, Variance::new(0.1).unwrap());
    let kernel = Analytic::new(net).unwrap();
    let spectrum = SphereSpectrum::of(&kernel, Which::Ntk, d, 1.0, 20).unwrap();
    let (mut sizes, mut single, mut top) = (Vec::new(), Vec::new(), Vec::new());
    for n in [40usize, 80, 160, 320, 640] {
        let (mut squares, mut tops, draws) = (0.0, 0.0, 16);
        for seed in 0..draws {
            let x = sphere(n, d, 1000 * n as u64 + seed);
            let gram = kernel.symmetric((&x).into(), Which::Ntk).unwrap().ntk.unwrap();
            let found = eigenvalues(&Symmetric::new(gram).unwrap()).unwrap();
            let mut found: Vec<f64> = found.iter().map(|v| v / n as f64).collect();
            found.sort_by(|a, b| b.total_cmp(a));
            let error = |found: f64, k: usize| (found / spectrum.eigenvalues()[k] - 1.0).powi(2);
            tops += error(found[0], 0);
            squares += found[1..=d].iter().map(|&v| error(v, 1)).sum::<f64>() / d as f64;
        }
        sizes.push((n as f64).ln());
        single.push((squares / draws as f64).sqrt().ln());
        top.push((tops / draws as f64).sqrt().ln());
    }
    assert!((slope(&sizes, &single) + 0.5).abs() < 0.1, "{single:?}");
    assert!((slope(&sizes, &top) + 1.0).abs() < 0.15, "{top:?}");
}
