//! Which variances of weights and biases make a deep network trainable?
//!
//! Prints the phase diagram of tanh networks (`.` ordered, `#` chaotic) with the edge of chaos, how deep signals reach
//! beside it, the condition number of the tangent kernel against depth, and critical variances of other activations.

#![allow(clippy::print_stdout)] // An example prints.

use ntk_analytic::effective::{MeanField, Phase, critical, edge_of_chaos};
use ntk_core::{Activation, Variance};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let weights = (1..=16).map(|k| Variance::new(0.25 * f64::from(k))).collect::<Result<Vec<_>, _>>()?;
    let biases = (0..=12).map(|k| Variance::new(0.05 * f64::from(k))).collect::<Result<Vec<_>, _>>()?;
    let tanh = MeanField::new(&Activation::Tanh, Variance::ONE, Variance::ZERO)?;
    let diagram = tanh.phase_diagram(&weights, &biases, 1.0)?;
    println!("tanh: σ_b² from 0 to 0.6 (right), σ_w² from 4 down to 0.25");
    for (row, weight) in diagram.rows().into_iter().zip(&weights).rev() {
        let mark = |phase| match phase {
            Phase::Ordered => '.',
            Phase::Critical => '+',
            Phase::Chaotic => '#',
            Phase::Divergent => '!',
        };
        println!("{:6.2}  {}", weight.get(), row.iter().map(|cell| mark(cell.phase)).collect::<String>());
    }

    let bias = Variance::new(0.05)?;
    let edge = edge_of_chaos(&Activation::Tanh, bias)?;
    println!("\nat σ_b² = 0.05 the edge of chaos is at σ_w² = {:.4}", edge.weight);
    println!("{:>6} {:>8} {:>8} {:>8} {:>12} {:>12}", "σ_w²", "K*", "c*", "ξ_c", "cond. at 10", "at 40");
    for factor in [0.6, 0.9, 0.99, 1.01, 1.1, 1.6] {
        let field = tanh.with_variances(Variance::new(factor * edge.weight)?, bias);
        let limit = field.propagation(1.0)?;
        // 100 inputs with correlation one half.
        let layers = field.tangents(limit.variance, 0.5, 40)?;
        println!(
            "{:6.3} {:8.4} {:8.4} {:8.2} {:12.3e} {:12.3e}",
            factor * edge.weight,
            limit.variance,
            limit.correlation.unwrap_or(f64::NAN),
            limit.correlation_depth,
            layers[9].condition_number(100),
            layers[39].condition_number(100),
        );
    }

    println!("\ncritical initialization, and fluctuations of the kernel at depth 10 and width n (times n)");
    println!(
        "{:>10} {:>8} {:>8} {:>8}  {:<18} {:>8} {:>10}",
        "φ", "σ_w²", "σ_b²", "K*", "class", "V/K²", "Var Θ̂/Θ²"
    );
    for phi in [Activation::Relu, Activation::Tanh, Activation::ERF, Activation::Gelu, Activation::Silu] {
        let point = critical(&phi)?;
        let first = point.variance.filter(|k| *k > 0.0).unwrap_or(1.0);
        let layers = point.mean_field(&phi)?.cumulants(first, 10)?;
        let last = layers[9];
        println!(
            "{:>10} {:8.4} {:8.4} {:>8}  {:<18} {:8.3} {:10.3}",
            phi.name(),
            point.weight,
            point.bias,
            point.variance.map_or("any".to_owned(), |k| format!("{k:.4}")),
            format!("{:?}", point.class),
            last.vertex / last.variance.powi(2),
            last.ntk_variance() / last.ntk.powi(2),
        );
    }
    match critical(&Activation::Sigmoid) {
        Ok(point) => println!("sigmoid: {point:?}"),
        Err(error) => println!("{error}"),
    }
    Ok(())
}
