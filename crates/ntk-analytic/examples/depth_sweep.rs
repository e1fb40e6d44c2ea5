//! How do depth and weight variance shape the kernel of two different inputs?
//!
//! Tanh networks without bias: below σ_w² = 1 signals die out while correlations settle; above, any two inputs become
//! uncorrelated and the NTK of equal inputs grows without bound; at σ_w² = 1 the NTK hardly depends on the depth.

#![allow(clippy::print_stdout)] // An example prints.

use ndarray::array;
use ntk_analytic::Analytic;
use ntk_core::{Activation, KernelFn, Net, Variance, Which};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Two inputs with |x|²/d = 1 and correlation 0.6.
    let x = array![[1.0, 1.0], [1.4, -0.2]];
    println!("{:>6} {:>6} {:>12} {:>12} {:>12} {:>12}", "σ_w²", "depth", "K₁₁", "K₁₂/K₁₁", "Θ₁₁", "Θ₁₂/Θ₁₁");
    for weight in [0.8, 1.0, 2.0] {
        for depth in [1, 2, 4, 8, 16, 32] {
            let net = Net::mlp(depth, Activation::Tanh, 1, Variance::new(weight)?, Variance::ZERO);
            let block = Analytic::new(net)?.symmetric((&x).into(), Which::Both)?;
            let mut row = format!("{weight:6} {depth:6}");
            for kernel in [block.nngp, block.ntk].into_iter().flatten() {
                row += &format!(" {:12.4e} {:12.6}", kernel[[0, 0]], kernel[[0, 1]] / kernel[[0, 0]]);
            }
            println!("{row}");
        }
    }
    Ok(())
}
