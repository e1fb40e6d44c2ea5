//! Training in function space: the ensemble through training, cross-entropy by its differential equation, deep linear
//! networks of infinite width.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use ndarray::{Array2, array, s};
use ntk_analytic::Analytic;
use ntk_bench::record::Unit;
use ntk_core::{Activation, KernelBlock, KernelFn, Net, Variance, Which};
use ntk_dynamics::deep_linear::{Architecture, Basis, Limit, Risk};
use ntk_dynamics::{
    ConjugateGradients, CrossEntropy, Ensemble, FunctionSpace, GradientFlow, Gram, IterativePosterior,
    LearningRate, LossScale, Posterior, Ridge, Spectrum, Time,
};

/// Features of the inputs.
const FEATURES: usize = 64;

/// Inputs in [−½, ½) from a linear congruential sequence: seeded, and the same on every machine.
fn inputs(n: usize, d: usize) -> Array2<f64> {
    let mut state = 1u64;
    Array2::from_shape_simple_fn((n, d), || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / (1u64 << 31) as f64 - 0.5
    })
}

/// NNGP and NTK of a ReLU network with three hidden layers, between so many inputs.
fn kernels(n: usize) -> (Array2<f64>, Array2<f64>) {
    let net = Net::mlp(3, Activation::Relu, 1, Variance::TWO, Variance::ZERO);
    let kernel = Analytic::new(net).expect("a network of dense layers");
    let block = kernel.symmetric((&inputs(n, FEATURES)).into(), Which::Both).expect("finite inputs");
    (block.nngp.expect("the NNGP"), block.ntk.expect("the NTK"))
}

/// States the unit of a benchmark whose arithmetic is so many multiply–adds: 8 a cycle and core, at 3 GHz.
fn state(id: &str, multiply_adds: f64) {
    let seconds = multiply_adds / (8.0 * rayon::current_num_threads() as f64) / 3e9;
    let unit = Unit { unit: "s", seconds: 1.0, per: 1.0, roofline: Some(seconds) };
    unit.save(id).expect("a writable target directory");
}

/// Mean and covariance of trained networks at 20 times, from kernel matrices: the eigensystem included.
fn ensemble(c: &mut Criterion) {
    let (n, m, times) = (2000, 500, 20);
    let (nngp, ntk) = kernels(n + m);
    let train = |kernel: &Array2<f64>| Gram::new(kernel.slice(s![..n, ..n]).to_owned()).expect("symmetric");
    let test = |kernel: &Array2<f64>| Some(kernel.slice(s![n.., ..n]).to_owned());
    let blocks = KernelBlock { nngp: test(&nngp), ntk: test(&ntk) };
    let (k, theta, prior) = (train(&nngp), train(&ntk), nngp.slice(s![n.., n..]));
    let targets = inputs(n, 1);
    // The eigensystem takes about 4 n³, UᵀKU 2 n³, test rows in the modes 2 m n²; each time m n² + m² n.
    let (rows, points) = (n as f64, m as f64);
    let each = points * rows * rows + points * points * rows;
    let id = format!("ensemble_20_times_n{n}_test{m}_s");
    state(&id, 6.0 * rows.powi(3) + 2.0 * points * rows * rows + times as f64 * each);
    c.bench_function(&id, |b| {
        b.iter(|| {
            let spectrum = Spectrum::new(&theta, Ridge::None).expect("a positive kernel");
            let rate = LearningRate::new(1.0).expect("a rate");
            let flow = GradientFlow::new(&spectrum, rate, LossScale::Sum);
            let ensemble = Ensemble::ntk(&flow, &k, targets.view()).expect("kernels that fit");
            let points = ensemble.test(&blocks).expect("kernels that fit");
            for i in 0..times {
                let at = Time::Finite(1e-3 * 2.0_f64.powi(i));
                points.mean(at).expect("finite");
                points.covariance(at, prior).expect("finite");
            }
        });
    });
}

/// Cross-entropy to t = 10⁴ at the default tolerance, labels without structure.
fn cross_entropy(c: &mut Criterion) {
    let (n, classes) = (1000, 10);
    let gram = Gram::new(kernels(n).1).expect("symmetric");
    let labels =
        Array2::from_shape_fn(
            (n, classes),
            |(i, class)| {
                if (i * i + i / 7) % classes == class { 1.0 } else { 0.0 }
            },
        );
    let (initial, times) = (Array2::zeros((n, classes)), [Time::Finite(1e4)]);
    let rate = LearningRate::new(1.0).expect("a rate");
    let solve = || {
        let flow = FunctionSpace::flow(&gram, Ridge::None, CrossEntropy, rate, LossScale::MeanN);
        flow.expect("a positive kernel").fit(labels.view(), initial.view(), &times).expect("a finite time")
    };
    // Each evaluation is one product of the kernel with n · k numbers.
    let evaluations = solve().work.evaluations as f64;
    let id = format!("cross_entropy_n{n}_classes{classes}_t1e4_s");
    state(&id, evaluations * (n * n * classes) as f64);
    c.bench_function(&id, |b| b.iter(solve));
}

/// A posterior's coefficients for one output at a ridge of 1e-3: by Cholesky, and by conjugate gradients to a residual
/// of 1e-8 behind a preconditioner of rank 100.
fn posterior(c: &mut Criterion) {
    let (n, outputs, rank) = (8000, 1, 100);
    let gram = Gram::new(kernels(n).1).expect("symmetric");
    let (ridge, targets) = (Ridge::RelativeToTrace(1e-3), inputs(n, outputs));
    let method = ConjugateGradients { tolerance: 1e-8, steps: 1000 };
    let solve =
        || IterativePosterior::new(&gram, ridge, targets.view(), rank, method).expect("a positive kernel");
    let (rows, columns, inner) = (n as f64, outputs as f64, rank as f64);
    let id = format!("posterior_cholesky_n{n}_outputs{outputs}_s");
    state(&id, rows.powi(3) / 6.0 + rows * rows * columns);
    c.bench_function(&id, |b| {
        b.iter(|| Posterior::new(&gram, ridge, targets.view()).expect("a positive kernel"))
    });
    // Each step is a product of the kernel with n · k numbers, and two of the preconditioner.
    let steps = (solve().steps() + 1) as f64;
    let id = format!("posterior_conjugate_gradients_n{n}_outputs{outputs}_s");
    state(&id, 1.5 * rows * inner * inner + steps * columns * rows * (rows + 2.0 * inner));
    c.bench_function(&id, |b| b.iter(solve));
}

/// The limit of a deep linear network with four hidden layers through 400 steps.
fn deep_linear(c: &mut Criterion) {
    let id = "deep_linear_4_layers_400_steps_ms";
    let unit = Unit { unit: "ms", seconds: 1e-3, per: 1.0, roofline: None };
    unit.save(id).expect("a writable target directory");
    let risk =
        Risk::new(array![[1.0, 0.3], [0.3, 0.6]], array![[1.2], [-0.7]]).expect("a positive definite moment");
    let (three, rate) =
        (Architecture::new(3).expect("few matrices"), LearningRate::new(0.1).expect("a rate"));
    c.bench_function(id, |b| {
        b.iter(|| {
            let mut network = Limit::new(&risk, &three, Basis::Lazy).expect("a network");
            network.descend(rate, 400).expect("a stable rate");
            network
        });
    });
}

fn config() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .without_plots()
}

criterion_group!(name = dynamics; config = config(); targets = ensemble, cross_entropy, posterior, deep_linear);
criterion_main!(dynamics);
