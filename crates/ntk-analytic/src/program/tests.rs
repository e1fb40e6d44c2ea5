//! The three interpretations against each other and against numbers known otherwise.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use super::*;
use ndarray::{Array2, array};
use ntk_core::program::{Builder, Estimate, Expr, Interpretation, ScalarGradients, VectorId, tangent_kernel};

/// Two samples of inner product matrix [[1, 0.4], [0.4, 0.8]] through L hidden layers, σ_w² = 2, σ_b² = 0.1, all rates 1.
fn perceptron(phi: &Expr, depth: usize, readout: (f64, f64)) -> Program {
    let mut p = Builder::new();
    let gram = array![[1.0, 0.4], [0.4, 0.8]];
    let one = || Some(array![[1.0]]);
    let mut x: Vec<VectorId> = Vec::new();
    for layer in 0..depth {
        let h = if layer == 0 {
            p.inputs(&["u0", "u1"], &[0.0; 2], &gram * 2.0, Some(gram.clone())).unwrap()
        } else {
            let w = p.matrix_with(&format!("W{layer}"), 2.0, 1.0).unwrap();
            x.iter().map(|&x| p.matmul(w, x).unwrap()).collect()
        };
        let b = p.inputs(&[&format!("b{layer}")], &[0.0], array![[0.1]], one()).unwrap()[0];
        x = h
            .into_iter()
            .map(|h| {
                let g = p.combine(&[(1.0, h), (1.0, b)]).unwrap();
                p.apply(phi.clone(), &[g]).unwrap()
            })
            .collect();
    }
    let (mean, variance) = readout;
    let v = p.inputs(&["v"], &[mean], array![[variance]], one()).unwrap()[0];
    for (k, &x) in x.iter().enumerate() {
        p.output(&format!("f{k}"), v, x).unwrap();
    }
    p.finish()
}

fn close(found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "{found} for {expected}");
}

/// Within five standard errors, which must be small.
fn near(found: Estimate, expected: f64, error: f64) {
    assert!(found.error <= error, "{found:?}");
    assert!((found.value - expected).abs() <= 5.0 * found.error, "{found:?} for {expected}");
}

#[test]
fn perceptrons_have_their_kernels() {
    let x = || Expr::arg(0);
    let gelu = x() * (1.0 + (x() * 0.5f64.sqrt()).erf()) * 0.5;
    let known = [
        (x().relu(), 0.785_558_645_5, 2.074_020_692_5),
        (x().erf(), 0.215_274_575_6, 1.381_314_797_8),
        (gelu, 0.522_040_341_1, 1.740_488_683_1),
    ];
    for (phi, nngp, ntk) in known {
        let program = perceptron(&phi, 3, (0.0, 1.0));
        let [k, theta] = KernelLimit::new(program.clone()).unwrap().kernels().unwrap();
        close(k[[0, 1]], nngp, 1e-9);
        close(theta[[0, 1]], ntk, 1e-9);
        // The decomposition over uses of the weights gives the same numbers.
        let (backward, gradients) = program.with_backward(ScalarGradients::Dropped).unwrap();
        let kernels = tangent_kernel(&KernelLimit::new(backward).unwrap(), &gradients).unwrap();
        for at in [(0, 0), (0, 1), (1, 1)] {
            close(kernels.ntk[at].value, theta[at], 1e-9);
            close(kernels.nngp[at].value, k[at], 1e-9);
            assert_eq!(kernels.cross[at].value, 0.0);
        }
    }
}

#[test]
fn particles_tend_to_the_kernels() {
    let program = perceptron(&Expr::arg(0).relu(), 3, (0.0, 1.0));
    let options = ParticleOptions { particles: 1 << 14, seed: 1, ..ParticleOptions::default() };
    let particles = ParticleLimit::new(program.clone(), options).unwrap();
    let [k, theta] = particles.forward_tangents().unwrap();
    near(k[[0, 1]], 0.785_558_645_5, 0.03);
    near(theta[[0, 1]], 2.074_020_692_5, 0.06);
}

#[test]
fn gradients_that_depend_on_their_matrices_are_followed() {
    let relu = Expr::arg(0).relu();
    for ((mean, variance), expected) in [((1.0, 0.0), 2.8298), ((0.5, 1.0), 2.5851), ((0.0, 1.0), 2.0740)] {
        let program = perceptron(&relu, 3, (mean, variance));
        let (backward, gradients) = program.with_backward(ScalarGradients::Dropped).unwrap();
        let kernel = |gradient_independence| {
            let options = ParticleOptions { particles: 1 << 16, seed: 5, gradient_independence };
            let limit = ParticleLimit::new(backward.clone(), options).unwrap();
            tangent_kernel(&limit, &gradients).unwrap().ntk[[0, 1]]
        };
        // The value given has four digits.
        let full = kernel(false);
        assert!(
            full.error < 0.05 && (full.value - expected).abs() < 5.0 * full.error + 1e-4,
            "{full:?} for {expected}"
        );
        let naive = kernel(true);
        if mean == 1.0 {
            assert!((naive.value - 2.0740).abs() < 5.0 * naive.error + 1e-4);
            assert!((naive.value - expected).abs() > 4.0 * naive.error);
        }
    }
    let refused =
        KernelLimit::new(perceptron(&relu, 3, (1.0, 0.0)).with_backward(ScalarGradients::Dropped).unwrap().0);
    assert!(matches!(refused, Err(Error::Dependent(_))));
}

/// Powers of a symmetric random matrix applied to v.
fn powers(count: usize, alpha: Option<f64>) -> (Program, Vec<VectorId>) {
    let mut p = Builder::new();
    let v = p.input("v", 0.0, 1.0).unwrap();
    let w = p.matrix("W", if alpha.is_some() { 1.0 } else { 0.5 }).unwrap();
    let mut all = vec![v];
    for k in 0..count {
        let x = all[k];
        let next = match alpha {
            None => {
                let (a, b) = (p.matmul(w, x).unwrap(), p.matmul_transposed(w, x).unwrap());
                p.combine(&[(1.0, a), (1.0, b)]).unwrap()
            }
            // A is m × n with entries N(0, 1/n), m/n = α; AAᵀ acts on vectors of m coordinates.
            Some(alpha) => {
                let y = p.matmul_transposed(w, x).unwrap();
                if k == 0 {
                    p.dimension(v, "m", alpha).unwrap();
                    p.dimension(y, "n", 1.0).unwrap();
                }
                p.matmul(w, y).unwrap()
            }
        };
        all.push(next);
    }
    (p.finish(), all)
}

#[test]
fn random_matrices_have_the_moments_of_combinatorics() {
    let exact = |alpha: Option<f64>, count: usize| -> Vec<String> {
        let (program, x) = powers(count, alpha);
        let limit = LinearLimit::new(program).unwrap();
        x.iter().map(|&y| limit.exact(x[0], y).unwrap().to_string()).collect()
    };
    assert_eq!(exact(None, 10), ["1", "0", "1", "0", "2", "0", "5", "0", "14", "0", "42"]);
    assert_eq!(exact(Some(2.0), 6), ["1", "1", "3", "11", "45", "197", "903"]);
    assert_eq!(exact(Some(3.0), 5), ["1", "1", "4", "19", "100", "562"]);
    assert_eq!(exact(Some(0.5), 6), ["1", "1", "3/2", "11/4", "45/8", "197/16", "903/32"]);
    // Particles follow the same program without knowing that it is linear.
    let (program, x) = powers(4, None);
    let options = ParticleOptions { particles: 1 << 15, seed: 2, ..ParticleOptions::default() };
    let particles = ParticleLimit::new(program, options).unwrap();
    near(particles.inner(x[0], x[4]).unwrap(), 2.0, 0.2);
    near(particles.inner(x[0], x[3]).unwrap(), 0.0, 0.2);
}

#[test]
fn gradients_of_squares_have_means() {
    // ∇ = WᵀWx for x ~ N(1, 1): mean 1, ⟨∇, x⟩ = 2, ⟨∇, ∇⟩ = 4; with independent transposes 0, 0, 2.
    let mut p = Builder::new();
    let (x, w) = (p.input("x", 1.0, 1.0).unwrap(), p.matrix("W", 1.0).unwrap());
    let g = p.matmul(w, x).unwrap();
    let nabla = p.matmul_transposed(w, g).unwrap();
    let program = p.finish();
    let limit = LinearLimit::new(program.clone()).unwrap();
    let mean = limit.mean(&Expr::arg(0), &[nabla], &[]).unwrap();
    let exact = |a, b| limit.exact(a, b).unwrap().to_f64();
    assert_eq!([mean.value, exact(nabla, x), exact(nabla, nabla)], [1.0, 2.0, 4.0]);
    let options = ParticleOptions { particles: 1 << 15, seed: 3, ..ParticleOptions::default() };
    let particles = ParticleLimit::new(program, options).unwrap();
    near(particles.mean(&Expr::arg(0), &[nabla], &[]).unwrap(), 1.0, 0.05);
    near(particles.inner(nabla, x).unwrap(), 2.0, 0.1);
}

#[test]
fn linear_relations_hold_exactly() {
    let mut p = Builder::new();
    let gram = Array2::from_shape_fn((2, 2), |(i, j)| if i == j { 1.0 } else { 0.3 });
    let x = p.inputs(&["x", "y"], &[0.0; 2], gram, None).unwrap();
    let w = p.matrix("W", 1.5).unwrap();
    let sum = p.combine(&[(2.0, x[0]), (-3.0, x[1])]).unwrap();
    let (a, b, c) = (p.matmul(w, x[0]).unwrap(), p.matmul(w, x[1]).unwrap(), p.matmul(w, sum).unwrap());
    let zero = p.combine(&[(1.0, c), (-2.0, a), (3.0, b)]).unwrap();
    let program = p.finish();
    let options = ParticleOptions { particles: 1 << 10, ..ParticleOptions::default() };
    let particles = ParticleLimit::new(program.clone(), options).unwrap();
    assert!(particles.inner(zero, zero).unwrap().value < 1e-20);
    assert!(KernelLimit::new(program).unwrap().inner(zero, zero).unwrap().value.abs() < 1e-14);
}
