//! The memory of a process while tangent kernels are computed, against the bound that was asked for.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ndarray::Array4;
use ntk_core::{Activation, Affine, Batch, ConvKind, Groups, Net, Variance, Width, Window};
use ntk_empirical::candle_core::DType;
use ntk_empirical::{Error, FiniteNet, Lowering, NtkMethod, NtkOptions, NtkPart};

const MIB: usize = 1 << 20;

/// A line of the process status, in bytes.
fn status(name: &str) -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// The most memory that `f` holds at a time, beyond what there was at the start of the test.
fn peak(base: usize, f: impl FnOnce()) -> usize {
    // Sets the high-water mark back to what is resident now.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    f();
    status("VmHWM").saturating_sub(base)
}

// Alone in its binary: the mark is that of the whole process.
#[test]
fn memory_stays_within_its_bound() {
    let affine = Affine::new(Variance::TWO, Variance::ONE);
    let relu = || Net::activation(Activation::Relu);
    let conv = || {
        let window = Window::same(&[3, 3]);
        Net::conv_with(ConvKind::Shared, Width::HIDDEN, affine, window, Groups::Count(1)).then(relu())
    };
    let readout = Net::readout(10, Variance::ONE, Variance::ZERO);
    let net = Net::serial([conv(), conv(), Net::global_average_pool(), readout]);
    let x =
        Array4::from_shape_fn((160, 16, 16, 3), |(n, i, j, c)| (0.7 * (n + 3 * i + 5 * j + c) as f64).sin());
    let x = Batch::grid(x.view()).unwrap();
    let lowering = Lowering { width: 24, dtype: DType::F32, ..Lowering::for_inputs(x.shape().unwrap()) };
    let net = FiniteNet::lower(&net, &lowering).unwrap();
    // What threads, caches and the first product hold forever.
    net.ntk(x.range(0, 2), None, NtkOptions::default()).unwrap().blocks().unwrap();
    let base = status("VmRSS");
    for memory in [8 * MIB, 16 * MIB, 32 * MIB] {
        for method in [NtkMethod::Auto, NtkMethod::Structured, NtkMethod::Products] {
            let options = NtkOptions { method, memory };
            for part in [NtkPart::Trace, NtkPart::SumOfLogits] {
                let samples = if method == NtkMethod::Auto { 160 } else { 6 };
                let ntk = net.ntk(x.range(0, samples), None, options).unwrap();
                let plan = ntk.plan(part).unwrap();
                let held = peak(base, || {
                    let result = if part == NtkPart::Trace { ntk.trace() } else { ntk.sum_of_logits() };
                    result.unwrap();
                });
                let bound = memory + plan.result + 2 * MIB;
                assert!(held <= bound, "{method:?}, {part:?}: {} MiB of {}\n{plan}", held / MIB, bound / MIB);
            }
        }
    }
    // The bound is not idle: without it more is held.
    let ntk = net.ntk(x, None, NtkOptions::default()).unwrap();
    let plan = ntk.plan(NtkPart::Trace).unwrap();
    let held = peak(base, || drop(ntk.trace().unwrap()));
    assert!(plan.bytes > 40 * MIB && held > 40 * MIB, "{} MiB\n{plan}", held / MIB);
    let none = net.ntk(x, None, NtkOptions { memory: 1000, ..NtkOptions::default() }).unwrap();
    match none.trace() {
        Err(Error::Memory { needed, bound: 1000 }) => assert!(needed < 8 * MIB),
        other => panic!("{other:?}"),
    }
}
