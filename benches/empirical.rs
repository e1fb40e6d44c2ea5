//! Finite tangent kernels in single precision: all pairs of outputs of a fully connected and a convolutional network,
//! and the sum of logits of many samples within a bound of memory.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use ndarray::Array2;
use ntk_bench::record::Unit;
use ntk_core::{Activation, Affine, Batch, ConvKind, Groups, Net, Shape, Variance, Width, Window};
use ntk_empirical::candle_core::DType;
use ntk_empirical::{FiniteNet, Lowering, NtkOptions};

/// Outputs, and features of an input: 32 × 32 positions of 3 channels.
const OUTPUTS: usize = 10;
const FEATURES: usize = 3072;
/// What the kernel of many samples may take, its result included.
const MEMORY: usize = 1 << 31;

/// Numbers in [−½, ½) from a linear congruential sequence: seeded, and the same on every machine.
fn inputs(n: usize) -> Array2<f64> {
    let mut state = 1u64;
    Array2::from_shape_simple_fn((n, FEATURES), || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / (1u64 << 31) as f64 - 0.5
    })
}

fn lower(net: &Net, width: usize, inputs: Shape) -> FiniteNet {
    let lowering = Lowering { width, dtype: DType::F32, ..Lowering::for_inputs(inputs) };
    FiniteNet::lower(net, &lowering).expect("a network of known layers")
}

/// A network of three convolutions of 3 × 3 with 32 channels, ReLU, and global average pooling.
fn convolutional() -> FiniteNet {
    let affine = Affine::new(Variance::TWO, Variance::ZERO);
    let window = || Window::same(&[3, 3]);
    let conv = || Net::conv_with(ConvKind::Shared, Width::HIDDEN, affine, window(), Groups::Count(1));
    let block = || conv().then(Net::activation(Activation::Relu));
    let readout = Net::readout(OUTPUTS, Variance::ONE, Variance::ZERO);
    let net = Net::serial([block(), block(), block(), Net::global_average_pool(), readout]);
    lower(&net, 32, Shape::grid(&[32, 32], 3).expect("a grid"))
}

/// Seconds for multiply–adds at 16 a cycle and core, and 3 GHz.
fn seconds(operations: f64) -> f64 {
    operations / (16.0 * rayon::current_num_threads() as f64) / 3e9
}

/// Multiply–adds of a sample forward through the convolutions, and their number of weights.
const CONVOLUTIONS: [(f64, f64); 3] = [
    (1024.0 * 27.0 * 32.0, 27.0 * 32.0),
    (1024.0 * 288.0 * 32.0, 288.0 * 32.0),
    (1024.0 * 288.0 * 32.0, 288.0 * 32.0),
];

/// Forward; for each output backward to the first layer, and derivatives in the weights; products of these.
fn convolutional_operations(samples: f64, outputs: f64, pairs: f64) -> f64 {
    let forward: f64 = CONVOLUTIONS.iter().map(|(operations, _)| operations).sum();
    let weights: f64 = CONVOLUTIONS.iter().map(|(_, weights)| weights).sum();
    let backward = forward - CONVOLUTIONS[0].0;
    samples * (forward + outputs * (backward + forward)) + pairs * outputs * outputs * weights
}

fn fully_connected(c: &mut Criterion) {
    let (samples, width) = (16, 512);
    let net = Net::mlp(3, Activation::Relu, OUTPUTS, Variance::TWO, Variance::ZERO);
    let net = lower(&net, width, Shape::vector(FEATURES));
    let x = inputs(samples);
    let id = "fcn512_blocks_f32_ms";
    // Forward once, backward once for each output, and Gram matrices of the cotangents.
    let weights = (FEATURES * width + 2 * width * width + width * OUTPUTS) as f64;
    let sweeps = samples as f64 * (weights + (OUTPUTS * 2 * width * width) as f64);
    let grams = (3 * (samples * OUTPUTS).pow(2) * width) as f64;
    let roofline = Some(1e3 * seconds(sweeps + grams));
    Unit { unit: "ms", seconds: 1e-3, per: 1.0, roofline }.save(id).expect("a writable target directory");
    let ntk = net.ntk((&x).into(), None, NtkOptions::default()).expect("finite inputs");
    c.bench_function(id, |b| b.iter(|| ntk.blocks().expect("finite inputs")));
}

fn convolutions(c: &mut Criterion) {
    let samples = 8;
    let net = convolutional();
    let x = inputs(samples).into_shape_with_order((samples, 32, 32, 3)).expect("images");
    let x = Batch::grid(x.view()).expect("images in standard layout");
    let id = "cnn32_blocks_f32_ms";
    let n = samples as f64;
    let roofline = Some(1e3 * seconds(convolutional_operations(n, OUTPUTS as f64, n * n)));
    Unit { unit: "ms", seconds: 1e-3, per: 1.0, roofline }.save(id).expect("a writable target directory");
    let ntk = net.ntk(x, None, NtkOptions::default()).expect("finite images");
    c.bench_function(id, |b| b.iter(|| ntk.blocks().expect("finite images")));
}

fn many_samples(c: &mut Criterion) {
    let samples = 2000;
    let net = convolutional();
    let x = inputs(samples).into_shape_with_order((samples, 32, 32, 3)).expect("images");
    let x = Batch::grid(x.view()).expect("images in standard layout");
    let id = "cnn32_sum_of_logits_2000_f32_s";
    let n = samples as f64;
    let roofline = Some(seconds(convolutional_operations(n, 1.0, 0.5 * n * (n + 1.0))));
    Unit { unit: "s", seconds: 1.0, per: 1.0, roofline }.save(id).expect("a writable target directory");
    let options = NtkOptions { memory: MEMORY - 8 * samples * samples, ..NtkOptions::default() };
    let ntk = net.ntk(x, None, options).expect("finite images");
    c.bench_function(id, |b| b.iter(|| ntk.sum_of_logits().expect("finite images")));
}

fn config() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .without_plots()
}

criterion_group!(
    name = empirical;
    config = config();
    targets = fully_connected, convolutions, many_samples
);
criterion_main!(empirical);
