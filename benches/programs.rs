//! Limits of programs: recurrent networks over long sequences, gated networks by particles, batch normalization.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use ndarray::Array2;
use ntk_analytic::program::{BatchNormRelu, ParticleLimit, ParticleOptions, rnn_kernels};
use ntk_bench::record::Unit;
use ntk_core::Activation;
use ntk_core::program::Expr;
use ntk_core::program::networks::{self, Rates, Readout, Weights};

const WEIGHTS: Weights = Weights { weight: 1.5, input: 1.0, bias: 0.3, readout: 1.0, rates: Rates::Unit };

/// Inner products of tokens of which near ones are alike.
fn gram(n: usize) -> Array2<f64> {
    Array2::from_shape_fn((n, n), |(i, j)| (-0.25 * (i as f64 - j as f64).powi(2)).exp())
}

fn unit(id: &str) {
    Unit { unit: "s", seconds: 1.0, per: 1.0, roofline: None }.save(id).expect("a writable target directory");
}

fn recurrent(c: &mut Criterion) {
    let id = "rnn_2x100_tokens_ntk_s";
    unit(id);
    let gram = gram(200);
    c.bench_function(id, |b| {
        b.iter(|| {
            rnn_kernels(&Activation::ERF, &WEIGHTS, &gram, &[100, 100], Readout::Average)
                .expect("a Gram matrix")
        });
    });
}

fn gated(c: &mut Criterion) {
    let id = "gru_8x10_tokens_particles_s";
    unit(id);
    let (tanh, sigmoid) = (Expr::arg(0).tanh(), Expr::arg(0).sigmoid());
    let program =
        networks::gru(&tanh, &sigmoid, &WEIGHTS, &gram(80), &[10; 8], Readout::Last).expect("a Gram matrix");
    c.bench_function(id, |b| {
        b.iter(|| {
            let limit = ParticleLimit::new(program.clone(), ParticleOptions::default())
                .expect("functions of a limit");
            limit.forward_tangents().expect("independent gradients")
        });
    });
}

fn batch_norm(c: &mut Criterion) {
    let id = "batch_norm_64_ntk_s";
    unit(id);
    let (gram, layer) = (gram(64), BatchNormRelu::new(0.0, &[64]).expect("a batch"));
    c.bench_function(id, |b| b.iter(|| layer.kernels(&gram, 2, &WEIGHTS).expect("a Gram matrix")));
}

fn config() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .without_plots()
}

criterion_group!(
    name = programs;
    config = config();
    targets = recurrent, gated, batch_norm
);
criterion_main!(programs);
