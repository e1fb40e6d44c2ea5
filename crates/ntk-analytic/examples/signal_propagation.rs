//! Which variances keep a deep network alive, and how much does it fluctuate at finite width?
//!
//! The listings of the chapter on signal propagation.

#![allow(clippy::print_stdout)] // An example prints.

use std::error::Error;

// ANCHOR: imports
use ntk_analytic::effective::{MeanField, Phase, critical, edge_of_chaos};
use ntk_core::{Activation, Variance};
// ANCHOR_END: imports

fn main() -> Result<(), Box<dyn Error>> {
    // ANCHOR: ordered
    let bias = Variance::new(0.05)?;
    let edge = edge_of_chaos(&Activation::Tanh, bias)?;
    let field = MeanField::new(&Activation::Tanh, Variance::new(0.9 * edge.weight)?, bias)?;
    let limit = field.propagation(1.0)?;
    assert_eq!(limit.phase, Phase::Ordered);
    assert!(limit.correlation_depth > 5.0 && limit.correlation_depth < 50.0);
    // ANCHOR_END: ordered
    println!("edge of chaos of tanh: σ_w² = {:.4} at σ_b² = 0.05", edge.weight);
    println!("below it by a tenth: {:?}, ξ_c = {:.2} layers", limit.phase, limit.correlation_depth);

    // ANCHOR: cumulants
    let relu = critical(&Activation::Relu)?.mean_field(&Activation::Relu)?;
    let last = relu.cumulants(1.0, 20)?[19];
    assert!((last.vertex - 5.0 * 19.0).abs() < 1e-9);
    // ANCHOR_END: cumulants
    println!("four-point vertex of 20 critical ReLU layers: {:.6}", last.vertex);
    Ok(())
}
