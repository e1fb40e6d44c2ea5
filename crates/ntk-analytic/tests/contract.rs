//! The numerical contract: 1e-10 of √(K₁₁K₂₂) against 60-digit values, for identical, opposite, nearly identical,
//! proportional and zero inputs, down to depth 100.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ndarray::Array2;
use ntk_analytic::Analytic;
use ntk_core::{Activation, KernelFn, Net, Variance, Which};

#[derive(serde::Deserialize)]
struct Contract {
    rows: Vec<Row>,
}

#[derive(serde::Deserialize)]
struct Row {
    activations: String,
    weight: f64,
    bias: f64,
    depth: usize,
    pair: String,
    x: Vec<f64>,
    y: Vec<f64>,
    nngp: f64,
    ntk: f64,
}

fn activations(names: &str) -> Vec<Activation> {
    match names {
        "relu" => vec![Activation::Relu],
        "erf" => vec![Activation::ERF],
        "gelu" => vec![Activation::Gelu],
        "erf_relu" => vec![Activation::ERF, Activation::Relu],
        other => panic!("no activations {other}"),
    }
}

fn net(row: &Row) -> Net {
    let (weight, bias) = (Variance::new(row.weight).unwrap(), Variance::new(row.bias).unwrap());
    let phis = activations(&row.activations);
    let hidden =
        (0..row.depth).map(|l| Net::dense(weight, bias).then(Net::activation(phis[l % phis.len()].clone())));
    Net::serial(hidden).then(Net::readout(1, weight, bias))
}

fn error(got: &Array2<f64>, expected: f64) -> f64 {
    let error = (got[[0, 1]] - expected).abs();
    if error == 0.0 { 0.0 } else { error / (got[[0, 0]] * got[[1, 1]]).sqrt() }
}

#[test]
fn deep_kernels_equal_sixty_digit_values() {
    let contract: Contract = serde_json::from_str(include_str!("data/contract.json")).unwrap();
    let mut worst = 0.0f64;
    for row in &contract.rows {
        let x = Array2::from_shape_vec((2, row.x.len()), [&row.x[..], &row.y[..]].concat()).unwrap();
        let block = Analytic::new(net(row)).unwrap().symmetric((&x).into(), Which::Both).unwrap();
        for (kernel, got, expected) in [("nngp", block.nngp, row.nngp), ("ntk", block.ntk, row.ntk)] {
            let error = error(&got.unwrap(), expected);
            worst = worst.max(error);
            let Row { activations, weight, bias, depth, pair, .. } = row;
            assert!(
                error <= 1e-10,
                "{kernel} of {depth} layers of {activations}, σ_w² = {weight}, σ_b² = {bias}, {pair} inputs: {error:e}"
            );
        }
    }
    println!("worst error {worst:e}");
}
