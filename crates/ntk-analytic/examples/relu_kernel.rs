//! What are the kernels of an infinitely wide ReLU network, as a function of the angle between two inputs?
//!
//! With σ_w² = 2 and no bias the NNGP K keeps the length of the inputs, and the NTK Θ of L hidden layers is (L + 1) K
//! on the diagonal. Away from it Θ falls faster than K, with a kink at angle 0: Θ has the rougher functions.

#![allow(clippy::print_stdout)] // An example prints.

use ndarray::Array2;
use ntk_analytic::Analytic;
use ntk_core::{Activation, KernelFn, Net, Variance, Which};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let degrees = [0.0, 1.0, 10.0, 45.0, 90.0, 135.0, 180.0_f64];
    // Inputs of length √2 in the plane, so that |x|²/d = 1; the first is at angle 0.
    let x = Array2::from_shape_fn((degrees.len(), 2), |(i, j)| {
        let angle = degrees[i].to_radians();
        2.0_f64.sqrt() * if j == 0 { angle.cos() } else { angle.sin() }
    });
    let first = x.slice(ndarray::s![..1, ..]);

    println!("{:>8} {:>12} {:>12} {:>12} {:>12}", "angle", "K, L = 1", "Θ, L = 1", "K, L = 3", "Θ, L = 3");
    let mut columns = Vec::new();
    for depth in [1, 3] {
        let net = Net::mlp(depth, Activation::Relu, 1, Variance::TWO, Variance::ZERO);
        let block = Analytic::new(net)?.block(first.into(), (&x).into(), Which::Both)?;
        columns.extend([block.nngp, block.ntk].into_iter().flatten());
    }
    for (i, angle) in degrees.iter().enumerate() {
        let values: Vec<String> = columns.iter().map(|column| format!("{:12.6}", column[[0, i]])).collect();
        println!("{angle:7}° {}", values.join(" "));
    }
    Ok(())
}
