//! How do I find out that a kernel of mine is wrong?

#![allow(clippy::print_stdout)] // An example prints.

use std::f64::consts::PI;

use ndarray::Array2;
use ntk_core::{Batch, Error, KernelBlock, KernelFn, Which};
use ntk_testkit::{laws, strategies};
use proptest::test_runner::{Config, TestError, TestRunner};

/// K = ‖x‖‖x′‖ (sin θ + (π − θ) cos θ)/π, random ReLU features of samples at the angle θ; what keeps cos θ a cosine?
struct ArcCosine(fn(f64) -> f64);

impl KernelFn for ArcCosine {
    type Error = Error;

    fn block(&self, x1: Batch<'_>, x2: Batch<'_>, which: Which) -> Result<KernelBlock, Error> {
        Batch::check_pair(x1, x2)?;
        let (left, right) = (x1.values(), x2.values());
        let k = Array2::from_shape_fn((x1.len(), x2.len()), |(i, j)| {
            let (a, b) = (left.row(i), right.row(j));
            let norms = (a.dot(&a) * b.dot(&b)).sqrt();
            let cosine = (self.0)(a.dot(&b) / norms);
            let angle = cosine.acos();
            norms * (angle.sin() + (PI - angle) * cosine) / PI
        });
        // Only the readout is trained, so that the tangent kernel is the same.
        Ok(KernelBlock { ntk: which.ntk().then(|| k.clone()), nngp: which.nngp().then_some(k) })
    }
}

/// The laws on inputs with zeros, duplicates, opposites and nearly equal samples; the smallest that breaks one.
fn check(kernel: &ArcCosine) -> Option<String> {
    let config = Config { failure_persistence: None, ..ntk_testkit::cases(256) };
    let law = |x: Array2<f64>| Ok(laws::check_kernel_fn(kernel, (&x).into())?);
    match TestRunner::new(config).run(&strategies::nasty_inputs(), law) {
        Ok(()) => None,
        Err(TestError::Fail(reason, x)) => Some(format!("{}\n  x = {x:?}", reason.message())),
        Err(TestError::Abort(reason)) => Some(reason.message().to_owned()),
    }
}

fn main() {
    let textbook = check(&ArcCosine(|c| c));
    let clamped = check(&ArcCosine(|c| c.clamp(-1.0, 1.0)));
    let careful = check(&ArcCosine(|c| if c.is_nan() { 0.0 } else { c.clamp(-1.0, 1.0) }));
    for (name, found) in [("textbook", &textbook), ("clamped", &clamped), ("careful", &careful)] {
        println!("{name}: {}", found.as_deref().unwrap_or("every law holds"));
    }
    for wrong in [textbook, clamped] {
        assert!(wrong.is_some_and(|found| found.starts_with("kernel_is_finite")));
    }
    assert_eq!(careful, None);
}
