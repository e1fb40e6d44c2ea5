//! What does global pooling cost over a flatten, and what does single precision save?
//!
//! The plan says it before anything is computed: a flatten reads the same position in both images, a global pool all pairs.

#![allow(clippy::print_stdout)] // An example prints.

use std::time::Instant;

use ndarray::Array4;
use ntk_analytic::{Analytic, Precision, Rules};
use ntk_core::{Activation, Batch, KernelFn, Net, Variance, Which, Window};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let images = Array4::from_shape_fn((4, 16, 16, 3), |(n, h, w, c)| {
        ((n + 1) as f64 * (0.3 * h as f64 + 0.2 * w as f64) + c as f64).sin()
    });
    let images = Batch::grid(images.view())?;
    let conv = || Net::conv(Window::same(&[3, 3]), Variance::TWO, Variance::ZERO);
    let body = Net::serial((0..5).flat_map(|_| [conv(), Net::activation(Activation::Relu)]));
    let readout = || Net::readout(1, Variance::ONE, Variance::ZERO);
    for (name, end) in [("flatten", Net::flatten()), ("global pool", Net::global_average_pool())] {
        let net = body.clone().then(end).then(readout());
        for precision in [Precision::F64, Precision::F32] {
            let kernel = Analytic::with_rules(net.clone(), &Rules::new().precision(precision))?;
            if precision == Precision::F64 {
                println!("{}\n", kernel.plan(images, None, Which::Both)?);
            }
            let start = Instant::now();
            let ntk = kernel.symmetric(images, Which::Ntk)?.ntk.unwrap_or_default();
            println!("{name}, {precision:?}: Θ₀₁ = {:.12}, {:?}", ntk[[0, 1]], start.elapsed());
        }
        println!();
    }
    Ok(())
}
