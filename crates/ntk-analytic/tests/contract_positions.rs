//! The numerical contract over positions: convolutional kernels against 60-digit values, for sequences that are
//! identical, opposite, nearly identical, proportional, constant or zero.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ndarray::Array3;
use ntk_analytic::Analytic;
use ntk_core::{Activation, Batch, KernelFn, Net, Variance, Which, Window};

#[derive(serde::Deserialize)]
struct Contract {
    x: Vec<Vec<f64>>,
    rows: Vec<Row>,
}

#[derive(serde::Deserialize)]
struct Row {
    activation: String,
    weight: f64,
    bias: f64,
    end: String,
    depth: usize,
    pair: String,
    y: Vec<Vec<f64>>,
    nngp: f64,
    ntk: f64,
}

fn net(row: &Row) -> Net {
    let (weight, bias) = (Variance::new(row.weight).unwrap(), Variance::new(row.bias).unwrap());
    let phi = if row.activation == "relu" { Activation::Relu } else { Activation::ERF };
    let mut layers = Vec::new();
    for layer in 0..row.depth {
        layers.push(Net::conv(Window::same(&[3]), weight, bias).then(Net::activation(phi.clone())));
        if row.end == "pool" && layer == 0 {
            layers.push(Net::average_pool(Window::blocks(&[2])));
        }
    }
    layers.push(if row.end == "flatten" { Net::flatten() } else { Net::global_average_pool() });
    layers.push(Net::readout(1, weight, bias));
    Net::serial(layers)
}

/// What a pooling that a nonlinearity follows costs in digits: differences of covariances of different positions lose
/// the angle between nearly equal samples.
fn tolerance(row: &Row) -> f64 {
    if row.end == "pool" && row.pair == "near" { 1e-8 } else { 1e-10 }
}

#[test]
fn convolutional_kernels_equal_sixty_digit_values() {
    let contract: Contract = serde_json::from_str(include_str!("data/contract_positions.json")).unwrap();
    let (mut worst, mut failures) = (0.0f64, Vec::new());
    for row in &contract.rows {
        let values = [&contract.x, &row.y].into_iter().flatten().flatten().copied().collect();
        let x = Array3::from_shape_vec((2, 4, 2), values).unwrap();
        let kernel = Analytic::new(net(row)).unwrap();
        let block = kernel.symmetric(Batch::grid(x.view()).unwrap(), Which::Both).unwrap();
        for (kernel, got, expected) in [("nngp", block.nngp, row.nngp), ("ntk", block.ntk, row.ntk)] {
            let got = got.unwrap();
            let scale = (got[[0, 0]] * got[[1, 1]]).sqrt();
            let difference = (got[[0, 1]] - expected).abs();
            let error = if difference == 0.0 { 0.0 } else { difference / scale };
            worst = worst.max(error);
            if error.is_nan() || error > tolerance(row) {
                let Row { activation, weight, end, depth, pair, .. } = row;
                failures.push(format!(
                    "{kernel} {activation} σ_w² = {weight}, {end}, depth {depth}, {pair}: {error:e}"
                ));
            }
        }
    }
    println!("worst error over {} rows: {worst:e}", contract.rows.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// f(cx) = cᵈf(x) for networks without biases, whatever the scale: a faint image keeps its digits beside a bright one.
#[test]
fn homogeneous_kernels_scale_exactly_with_their_inputs() {
    let x = Array3::from_shape_fn((2, 6, 3), |(n, h, c)| {
        (7.0 * n as f64 + 2.0 * h as f64 + 3.0 * c as f64).sin()
    });
    let block = |phi| Net::conv(Window::same(&[3]), Variance::TWO, Variance::ZERO).then(Net::activation(phi));
    let pooled = |first: Net| {
        let pool = Net::average_pool(Window::blocks(&[2]));
        let second = block(Activation::LeakyRelu { alpha: 0.3 }).residual();
        Net::serial([
            first,
            pool,
            second,
            Net::global_average_pool(),
            Net::readout(1, Variance::ONE, Variance::ZERO),
        ])
    };
    let square = Activation::RectifiedMonomial { degree: 2 };
    for (net, degree) in [(pooled(block(Activation::Relu)), 1), (pooled(block(square)), 2)] {
        let kernel = Analytic::new(net).unwrap();
        let both = |x: &Array3<f64>| kernel.symmetric(Batch::grid(x.view()).unwrap(), Which::Both).unwrap();
        let reference = both(&x);
        for scale in [1e-3, 1e-9, 1e-30, 1e-70, 1e40] {
            let mut y = x.clone();
            y.slice_mut(ndarray::s![1, .., ..]).mapv_inplace(|v| v * scale);
            let scaled = both(&y);
            for (got, expected) in [(scaled.nngp, &reference.nngp), (scaled.ntk, &reference.ntk)] {
                let (got, expected) = (got.unwrap(), expected.as_ref().unwrap());
                let root = (expected[[0, 0]] * expected[[1, 1]]).sqrt();
                let error = (got[[0, 1]] / scale.powi(degree) - expected[[0, 1]]).abs() / root;
                assert!(error < 1e-13, "degree {degree}, scale {scale:e}: {error:e}");
            }
        }
    }
}
