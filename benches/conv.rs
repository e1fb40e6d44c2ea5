//! Convolutional kernels of 32 × 32 images, single entries and 8 × 8 symmetric blocks.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use ndarray::Array4;
use ntk_analytic::{Analytic, Precision, Rules};
use ntk_bench::record::Unit;
use ntk_core::{Activation, Batch, KernelFn, Net, Variance, Which, Window};

/// Positions along each side, channels, images of a block.
const SIDE: usize = 32;
const CHANNELS: usize = 3;
const IMAGES: usize = 8;

/// Images in [−½, ½) from a linear congruential sequence: seeded, and the same on every machine.
fn images(n: usize) -> Array4<f64> {
    let mut state = 1u64;
    Array4::from_shape_simple_fn((n, SIDE, SIDE, CHANNELS), || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / (1u64 << 31) as f64 - 0.5
    })
}

fn convolutions(count: usize) -> Net {
    let block = Net::conv(Window::same(&[3, 3]), Variance::TWO, Variance::ZERO);
    Net::serial(std::iter::repeat_n(block.then(Net::activation(Activation::Relu)), count))
}

fn readout() -> Net {
    Net::readout(1, Variance::ONE, Variance::ZERO)
}

/// A network with the pairs of positions that its layers see, one layer after another.
fn networks() -> Vec<(&'static str, Net, f64)> {
    let positions = (SIDE * SIDE) as f64;
    let pairs = |scale: f64| (positions / (scale * scale)).powi(2);
    let pool = || Net::average_pool(Window::blocks(&[2, 2]));
    let pooled = Net::global_average_pool;
    let myrtle = [convolutions(3), pool(), convolutions(3), pool(), convolutions(3), pooled(), readout()];
    vec![
        ("conv21_gap", Net::serial([convolutions(21), pooled(), readout()]), 21.0 * pairs(1.0)),
        ("conv21_flatten", Net::serial([convolutions(21), Net::flatten(), readout()]), 21.0 * positions),
        ("myrtle10", Net::serial(myrtle), 3.0 * (pairs(1.0) + pairs(2.0) + pairs(4.0))),
    ]
}

fn kernels(c: &mut Criterion) {
    let x = images(IMAGES);
    let all = Batch::grid(x.view()).expect("images in standard layout");
    for (network, net, visits) in networks() {
        for (format, precision, lanes, operations) in
            [("f32", Precision::F32, 16.0, 44.0), ("f64", Precision::F64, 8.0, 66.0)]
        {
            let rules = Rules::new().precision(precision);
            let kernel = Analytic::with_rules(net.clone(), &rules).expect("a network of known layers");
            // Multiply–adds of a pair of positions and a layer, at two 256-bit units a core and 3 GHz.
            let seconds = visits * operations / (lanes * rayon::current_num_threads() as f64) / 3e9;
            let bench = |c: &mut Criterion, id: String, entries: f64, computed: f64, f: &mut dyn FnMut()| {
                let roofline = Some(1e3 * seconds * computed / entries);
                let unit = Unit { unit: "ms", seconds: 1e-3, per: entries, roofline };
                unit.save(&id).expect("a writable target directory");
                c.bench_function(&id, |b| b.iter(&mut *f));
            };
            let (n, square) = (IMAGES as f64, (IMAGES * IMAGES) as f64);
            let id = format!("{network}_{format}_ms_per_entry");
            bench(c, id, square, 0.5 * n * (n + 1.0), &mut || {
                kernel.symmetric(all, Which::Both).expect("finite images");
            });
            let (one, other) = (all.range(0, 1), all.range(1, 2));
            bench(c, format!("{network}_{format}_single_ms"), 1.0, 1.0, &mut || {
                kernel.block(one, other, Which::Both).expect("finite images");
            });
        }
    }
}

fn config() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(5))
        .without_plots()
}

criterion_group!(name = conv; config = config(); targets = kernels);
criterion_main!(conv);
