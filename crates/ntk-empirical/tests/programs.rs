//! Finite programs against their limits, and their tangent kernel against derivatives.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ndarray::{Array2, array};
use ntk_analytic::program::{KernelLimit, LinearLimit, ParticleLimit, ParticleOptions};
use ntk_core::program::networks::{self, Rates, Readout, Weights};
use ntk_core::program::{Expr, Function, Interpretation, MatrixId, Program, ScalarGradients, tangent_kernel};
use ntk_empirical::candle_core::{DType, Device};
use ntk_empirical::{DeviceProgram, Error, FiniteProgram};

const WEIGHTS: Weights = Weights { weight: 1.3, input: 0.8, bias: 0.2, readout: 1.0, rates: Rates::Unit };

/// Tokens of two sequences, three and two.
fn gram() -> Array2<f64> {
    let d = [1.0, 0.9, 1.1, 0.8, 1.2];
    Array2::from_shape_fn((5, 5), |(i, j)| {
        let apart = i as f64 - j as f64;
        d[i] * d[j] * (-0.25 * apart * apart).exp()
    })
}

fn rnn() -> Program {
    networks::rnn(&Expr::arg(0).erf(), &WEIGHTS, &gram(), &[3, 2], Readout::Last).unwrap()
}

/// Root mean square over seeds of the relative distance of finite tangent kernels from `limit`.
fn deviation(program: &Program, limit: &Array2<f64>, n: usize, seeds: u64) -> f64 {
    let (backward, gradients) = program.with_backward(ScalarGradients::Exact).unwrap();
    let norm = |a: &Array2<f64>| a.iter().map(|x| x * x).sum::<f64>().sqrt();
    let one = |seed| {
        let draw = FiniteProgram::draw(backward.clone(), n, seed).unwrap();
        let ntk = tangent_kernel(&draw, &gradients).unwrap().ntk.mapv(|x| x.value);
        (norm(&(&ntk - limit)) / norm(limit)).powi(2)
    };
    ((0..seeds).map(one).sum::<f64>() / seeds as f64).sqrt()
}

/// The exponent of a fit over widths, and its standard error.
fn exponent(points: &[(f64, f64)]) -> (f64, f64) {
    let n = points.len() as f64;
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let (mx, my) = logs.iter().fold((0.0, 0.0), |(a, b), (x, y)| (a + x / n, b + y / n));
    let sxx: f64 = logs.iter().map(|(x, _)| (x - mx).powi(2)).sum();
    let slope = logs.iter().map(|(x, y)| (x - mx) * (y - my)).sum::<f64>() / sxx;
    let rest: f64 = logs.iter().map(|(x, y)| (y - my - slope * (x - mx)).powi(2)).sum();
    (slope, (rest / (n - 2.0) / sxx).sqrt())
}

#[test]
fn tangent_kernels_tend_to_their_limits() {
    let transformer = networks::Transformer { depth: 1, causal: true, tied: true, epsilon: 1e-6 };
    let relu = Expr::arg(0).relu();
    let programs = [
        ("recurrent", rnn()),
        ("transformer", networks::transformer(&transformer, &relu, &WEIGHTS, &gram(), &[3, 2]).unwrap()),
    ];
    for (name, program) in programs {
        let [_, limit] = KernelLimit::new(program.clone()).unwrap().kernels().unwrap();
        let widths = [32, 64, 128, 256, 512];
        let points: Vec<(f64, f64)> =
            widths.iter().map(|&n| (n as f64, deviation(&program, &limit, n, 24))).collect();
        let (slope, error) = exponent(&points);
        assert!((slope + 0.5).abs() < 0.1 + 3.0 * error, "{name}: {slope} ± {error}, {points:?}");
    }
}

#[test]
fn tied_weights_tend_to_the_limit_that_follows_them() {
    let weights = Weights { weight: 1.4, input: 1.0, bias: 0.0, ..WEIGHTS };
    let program = networks::autoencoder(&Expr::arg(0).relu(), &weights, &array![[1.0]], 1.0).unwrap();
    let (backward, gradients) = program.with_backward(ScalarGradients::Dropped).unwrap();
    let limit = |gradient_independence| {
        let options = ParticleOptions { particles: 1 << 17, seed: 1, gradient_independence };
        let limit = ParticleLimit::new(backward.clone(), options).unwrap();
        tangent_kernel(&limit, &gradients).unwrap().ntk[[0, 0]]
    };
    let (full, naive) = (limit(false), limit(true));
    let draws: Vec<f64> = (0..24)
        .map(|seed| {
            let draw = FiniteProgram::draw(backward.clone(), 1024, seed).unwrap();
            tangent_kernel(&draw, &gradients).unwrap().ntk[[0, 0]].value
        })
        .collect();
    let mean = draws.iter().sum::<f64>() / 24.0;
    let error = (draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 23.0 / 24.0).sqrt();
    assert!((mean - full.value).abs() < 4.0 * (error + full.error), "{mean} ± {error}, {full:?}");
    assert!((mean - naive.value).abs() > 4.0 * (error + naive.error), "{mean} ± {error}, {naive:?}");
}

/// ⟨∂f/∂W, V⟩ by a central difference.
fn difference(program: &Program, w: MatrixId, v: &Array2<f64>, n: usize) -> f64 {
    let start = FiniteProgram::draw(program.clone(), n, 3).unwrap();
    let matrix = start.matrix_of(w).unwrap().clone();
    let at = |step: f64| {
        let moved = &matrix + &(v * step);
        FiniteProgram::with_matrices(program.clone(), n, 3, &[(w, moved)]).unwrap().outputs()[0]
    };
    (at(1e-5) - at(-1e-5)) / 2e-5
}

#[test]
fn backward_passes_are_derivatives() {
    let transformer = networks::Transformer { depth: 2, causal: false, tied: true, epsilon: 1e-2 };
    let tanh = Expr::arg(0).tanh();
    let sigmoid = Expr::arg(0).sigmoid();
    let programs = [
        ("recurrent", rnn()),
        ("gated", networks::gru(&tanh, &sigmoid, &WEIGHTS, &gram(), &[3, 2], Readout::Last).unwrap()),
        ("transformer", networks::transformer(&transformer, &tanh, &WEIGHTS, &gram(), &[3, 2]).unwrap()),
        ("autoencoder", networks::autoencoder(&tanh, &WEIGHTS, &gram(), 0.5).unwrap()),
    ];
    for (name, program) in programs {
        let n = 12;
        let (backward, gradients) = program.with_backward(ScalarGradients::Exact).unwrap();
        let draw = FiniteProgram::draw(backward, n, 3).unwrap();
        for (k, matrix) in program.matrices().iter().enumerate() {
            let used = |x: ntk_core::program::VectorId| match program.vector(x) {
                ntk_core::program::VectorOp::MatMul { matrix, transposed, vector } if matrix.index() == k => {
                    Some((*matrix, *transposed, *vector, x))
                }
                _ => None,
            };
            let uses: Vec<_> = program.vectors().filter_map(used).collect();
            let w = draw.matrix_of(uses[0].0).unwrap();
            let v = Array2::from_shape_fn(w.dim(), |(i, j)| ((3 * i + 7 * j) as f64).sin());
            // ∇_y f = dy/√N with N the width of the readout.
            let width = draw.vector_of(program.outputs()[0].parts[0].1).len() as f64;
            let by_uses: f64 = uses
                .iter()
                .filter_map(|&(_, transposed, z, y)| {
                    let dy = draw.vector_of(gradients[0].of(y)?);
                    let z = draw.vector_of(z);
                    Some(if transposed { z.dot(&v.dot(dy)) } else { dy.dot(&v.dot(z)) } / width.sqrt())
                })
                .sum();
            let by_difference = difference(&program, uses[0].0, &v, n);
            let apart = (by_uses - by_difference).abs();
            assert!(
                apart < 1e-7 * by_difference.abs().max(1.0),
                "{name}, {}: {by_uses}, {by_difference}",
                matrix.name
            );
        }
    }
}

#[test]
fn draws_are_reproduced_and_refused() {
    let program = rnn();
    let draw = |seed| FiniteProgram::draw(program.clone(), 20, seed).unwrap().outputs();
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    assert!(matches!(FiniteProgram::draw(program.clone(), 0, 1), Err(Error::Setting { .. })));
    let w = program.vectors().find_map(|x| match program.vector(x) {
        ntk_core::program::VectorOp::MatMul { matrix, .. } => Some(*matrix),
        _ => None,
    });
    let wrong = FiniteProgram::with_matrices(program.clone(), 20, 1, &[(w.unwrap(), Array2::zeros((3, 20)))]);
    assert!(matches!(wrong, Err(Error::ParameterShape { .. })));
    let draw = FiniteProgram::draw(program, 20, 1).unwrap();
    assert_eq!(draw.width(), 20);
    assert!(draw.program().vectors().len() > 10);
}

#[test]
fn draws_on_devices_have_the_same_numbers() {
    let x = || Expr::arg(0);
    let functions = [Function::Step, Function::Softplus, Function::Sin, Function::Cos, Function::Sigmoid];
    let phi = Expr::sum(functions.map(|f| Expr::apply(f, x()))) + x().erf().power(3.0);
    let program = networks::gru(&phi, &x().sigmoid(), &WEIGHTS, &gram(), &[3, 2], Readout::Last).unwrap();
    let transformer = networks::Transformer { depth: 1, causal: true, tied: true, epsilon: 1e-2 };
    let attentive = networks::transformer(&transformer, &x().relu(), &WEIGHTS, &gram(), &[3, 2]).unwrap();
    for program in [program, attentive] {
        let (backward, gradients) = program.with_backward(ScalarGradients::Exact).unwrap();
        let here = FiniteProgram::draw(backward.clone(), 24, 5).unwrap();
        let here = tangent_kernel(&here, &gradients).unwrap().ntk.mapv(|x| x.value);
        for (dtype, tolerance) in [(DType::F64, 1e-9), (DType::F32, 1e-4)] {
            let there = DeviceProgram::draw(backward.clone(), 24, 5, &Device::Cpu, dtype).unwrap();
            let there = tangent_kernel(&there, &gradients).unwrap().ntk.mapv(|x| x.value);
            let worst = (&there - &here).iter().fold(0.0f64, |m, v| m.max(v.abs()));
            assert!(worst < tolerance * here[[0, 0]], "{dtype:?}: {there} for {here}");
        }
    }
    let none = DeviceProgram::draw(rnn(), 0, 1, &Device::Cpu, DType::F64);
    assert!(matches!(none, Err(Error::Setting { .. })));
}

#[test]
fn traces_of_powers_are_near_their_limits() {
    // A of n/2 × n, entries N(0, 1/n): the polynomials of Narayana at ½, and their recursion.
    let mut p = ntk_core::program::Builder::new();
    let (v, w) = (p.input("v", 0.0, 1.0).unwrap(), p.matrix("A", 1.0).unwrap());
    p.dimension(v, "m", 0.5).unwrap();
    let mut all = vec![v];
    for k in 0..4 {
        let y = p.matmul_transposed(w, all[k]).unwrap();
        if k == 0 {
            p.dimension(y, "n", 1.0).unwrap();
        }
        all.push(p.matmul(w, y).unwrap());
    }
    let program = p.finish();
    let limit = LinearLimit::new(program.clone()).unwrap();
    let moment = |k: usize| limit.inner(v, all[k]).unwrap().value;
    for s in 2..=4 {
        let convolution: f64 = (1..=s - 2).map(|r| moment(r) * moment(s - 1 - r)).sum();
        assert!((moment(s) - 1.5 * moment(s - 1) - 0.5 * convolution).abs() < 1e-12);
    }
    let draws: Vec<FiniteProgram> =
        (0..16).map(|seed| FiniteProgram::draw(program.clone(), 1000, seed).unwrap()).collect();
    for (k, &power) in all.iter().enumerate().skip(1) {
        let found: Vec<f64> = draws.iter().map(|draw| draw.inner(v, power).unwrap().value).collect();
        let mean = found.iter().sum::<f64>() / 16.0;
        let error = (found.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 15.0 / 16.0).sqrt();
        assert!((mean - moment(k)).abs() < 4.0 * error + 5e-3 * moment(k), "{k}: {mean} ± {error}");
    }
}
