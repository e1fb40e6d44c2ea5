//! How do I get the kernels of an activation that this crate does not know?
//!
//! Gives squareplus, ½ (x + √(x² + 4)), a name and a formula, once for the infinite network and once for finite ones,
//! and compares the two.

#![allow(clippy::print_stdout)] // An example prints.

use std::ops::ControlFlow;

use ndarray::array;
use ntk_analytic::{Analytic, FunctionDual};
use ntk_core::{Activation, KernelFn, Net, Shape, Variance, Which};
use ntk_empirical::{Lowering, MonteCarlo};

// ANCHOR: formula
fn squareplus(x: f64) -> f64 {
    0.5 * (x + (x * x + 4.0).sqrt())
}

fn slope(x: f64) -> f64 {
    0.5 * (1.0 + x / (x * x + 4.0).sqrt())
}
// ANCHOR_END: formula

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // ANCHOR: net
    let phi = Activation::Custom { name: "squareplus".to_owned(), parameters: Vec::new() };
    let net = Net::mlp(2, phi, 1, Variance::new(1.5)?, Variance::new(0.1)?);
    // ANCHOR_END: net
    let x = array![[1.0, 0.5, -0.3], [-0.2, 0.8, 1.1]];

    // ANCHOR: infinite
    // The derivative is optional: without it, differences of the values serve.
    let dual = || FunctionDual::new("squareplus", squareplus).derivative(slope);
    let infinite = Analytic::with_rules(
        net.clone(),
        &ntk_analytic::Rules::new().activation("squareplus", move |_| dual()),
    )?;
    // ANCHOR_END: infinite
    let exact = infinite.symmetric((&x).into(), Which::Ntk)?.ntk.ok_or("no kernel")?;
    println!("{:>6} {:>12} {:>12} {:>12}", "width", "Θ₁₁", "Θ₁₂", "Θ₂₂");
    for width in [16, 64, 256] {
        let lowering = Lowering { width, ..Lowering::for_inputs(Shape::vector(3)) };
        // ANCHOR: finite
        let rules =
            ntk_empirical::Rules::new().activation("squareplus", |x, _| squareplus(x), |x, _| slope(x));
        let draws = MonteCarlo { rules, ..MonteCarlo::new(net.clone(), lowering, 100) };
        // ANCHOR_END: finite
        let mean = draws.estimate((&x).into(), None, Which::Ntk, |_| ControlFlow::Continue(()))?.mean;
        let mean = mean.ntk.ok_or("no kernel")?;
        println!("{width:6} {:12.5} {:12.5} {:12.5}", mean[[0, 0]], mean[[0, 1]], mean[[1, 1]]);
    }
    println!("{:>6} {:12.5} {:12.5} {:12.5}", "∞", exact[[0, 0]], exact[[0, 1]], exact[[1, 1]]);
    Ok(())
}
