//! Fully connected networks: the dense NTK with and without the Gram product, the finite NTK, factorizations.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use ndarray::Array2;
use ntk_analytic::Analytic;
use ntk_bench::record::Unit;
use ntk_core::{Activation, KernelFn, Net, Shape, Variance, Which};
use ntk_dynamics::{Gram, Posterior, Ridge, Spectrum};
use ntk_empirical::candle_core::DType;
use ntk_empirical::{FiniteNet, Lowering};

/// Hidden layers of the dense networks.
const LAYERS: usize = 4;
/// Features of the inputs with the Gram product; two features leave the recursion alone.
const FEATURES: usize = 784;

/// Inputs in [−½, ½) from a linear congruential sequence: seeded, and the same on every machine.
fn inputs(n: usize, d: usize) -> Array2<f64> {
    let mut state = 1u64;
    Array2::from_shape_simple_fn((n, d), || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / (1u64 << 31) as f64 - 0.5
    })
}

/// Nanoseconds for each entry of the n × n kernel and each layer, on this many cores at 3 GHz.
///
/// One triangle is computed. A core with two 256-bit multiply–add units does 8 a cycle: the Gram product needs d for
/// each entry of the triangle, the recursion about 45 (ReLU: two polynomials of degree 17 and 15, a square root).
fn roofline(features: usize, recursion: f64) -> f64 {
    let per_cycle = 8.0 * rayon::current_num_threads() as f64;
    0.5 * (features as f64 / LAYERS as f64 + recursion) / per_cycle / 3.0
}

fn kernels(c: &mut Criterion) {
    for n in [2000, 4000] {
        for (name, phi, recursion) in [
            ("relu", Activation::Relu, 45.0),
            ("erf", Activation::ERF, 130.0),
            ("gelu", Activation::Gelu, 150.0),
        ] {
            let net = Net::mlp(LAYERS, phi, 1, Variance::TWO, Variance::ZERO);
            for (what, features) in [("", FEATURES), ("recursion_", 2)] {
                let kernel = Analytic::new(net.clone()).expect("a network of dense layers");
                let x = inputs(n, features);
                let id = format!("dense_{name}_f64_n{n}_{what}ns_per_entry_layer");
                let gram = if features == FEATURES { FEATURES } else { 0 };
                let unit = Unit {
                    unit: "ns",
                    seconds: 1e-9,
                    per: (n * n * LAYERS) as f64,
                    roofline: Some(roofline(gram, recursion)),
                };
                unit.save(&id).expect("a writable target directory");
                // Into a block that is kept, as one computes kernel after kernel: fresh memory would cost page faults.
                let mut block = kernel.symmetric((&x).into(), Which::Both).expect("finite inputs");
                c.bench_function(&id, |b| {
                    b.iter(|| kernel.symmetric_into((&x).into(), &mut block).expect("finite inputs"));
                });
            }
        }
    }
}

fn finite_ntk(c: &mut Criterion) {
    let (width, samples, features, outputs, hidden) = (512, 16, 3072, 10, 3);
    let net = Net::mlp(hidden, Activation::Relu, outputs, Variance::TWO, Variance::ZERO);
    let lowering = Lowering { width, dtype: DType::F32, ..Lowering::for_inputs(Shape::vector(features)) };
    let finite = FiniteNet::lower(&net, &lowering).expect("a network of dense layers");
    let x = inputs(samples, features);
    let id = "finite_ntk_structured_3072_512x3_10_n16_f32_ms";
    // Forward once, backward once for each output, and Gram matrices of activations and cotangents; 16 multiply–adds
    // a cycle and core.
    let weights = (features * width + (hidden - 1) * width * width + width * outputs) as f64;
    let sweeps = samples as f64 * (weights + outputs as f64 * (hidden - 1) as f64 * (width * width) as f64);
    let grams = hidden as f64 * ((samples * outputs).pow(2) * width) as f64;
    let cycles = (sweeps + grams) / (16.0 * rayon::current_num_threads() as f64);
    let unit = Unit { unit: "ms", seconds: 1e-3, per: 1.0, roofline: Some(cycles / 3e6) };
    unit.save(id).expect("a writable target directory");
    c.bench_function(id, |b| b.iter(|| finite.ntk_blocks((&x).into(), (&x).into()).expect("finite inputs")));
}

fn factorizations(c: &mut Criterion) {
    for n in [1000, 2000, 4000] {
        let kernel = Analytic::new(Net::mlp(3, Activation::Relu, 1, Variance::TWO, Variance::ZERO));
        let kernel = kernel.expect("a network of dense layers");
        let x = inputs(n, 64);
        let ntk = kernel.symmetric((&x).into(), Which::Ntk).expect("finite inputs").ntk.expect("the NTK");
        let gram = Gram::new(ntk).expect("a symmetric kernel");
        let targets = inputs(n, 1);
        // Multiply–adds in units of n³: Cholesky ⅙, eigensystem about 4.
        let seconds = |n3: f64| n3 * (n as f64).powi(3) / (8.0 * rayon::current_num_threads() as f64) / 3e9;
        let mut bench = |id: String, n3: f64, f: &mut dyn FnMut()| {
            let unit = Unit { unit: "s", seconds: 1.0, per: 1.0, roofline: Some(seconds(n3)) };
            unit.save(&id).expect("a writable target directory");
            c.bench_function(&id, |b| b.iter(&mut *f));
        };
        bench(format!("gram_cholesky_n{n}_s"), 1.0 / 6.0, &mut || {
            Posterior::new(&gram, Ridge::RelativeToTrace(1e-6), targets.view()).expect("a positive kernel");
        });
        bench(format!("gram_eigen_n{n}_s"), 4.0, &mut || {
            Spectrum::new(&gram, Ridge::None).expect("a positive kernel");
        });
    }
}

fn config() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .without_plots()
}

criterion_group!(name = dense; config = config(); targets = kernels, finite_ntk, factorizations);
criterion_main!(dense);
