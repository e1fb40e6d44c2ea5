//! How wide must a network be for its tangent kernel to be that of the infinite one?
//!
//! The error of one random network falls as n^(−1/2); the mean over a hundred networks is off by a tenth of that and
//! by a bias of order 1/n.

#![allow(clippy::print_stdout)] // An example prints.

use std::ops::ControlFlow;

use ndarray::Array2;
use ntk_analytic::Analytic;
use ntk_core::{Activation, KernelFn, Net, Shape, Variance, Which};
use ntk_empirical::{Lowering, MonteCarlo};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let net = Net::mlp(3, Activation::Relu, 1, Variance::TWO, Variance::new(0.1)?);
    let x = Array2::from_shape_fn((8, 5), |(i, j)| (1.0 + i as f64 + 2.3 * (i * j) as f64).sin());
    let exact = Analytic::new(net.clone())?.symmetric((&x).into(), Which::Ntk)?.ntk.ok_or("no kernel")?;
    let square = |a: &Array2<f64>| a.iter().map(|v| v * v).sum::<f64>();

    println!("{:>6} {:>14} {:>14} {:>14}", "width", "one network", "mean of 100", "its s.e.");
    for width in [16, 32, 64, 128, 256, 512] {
        let lowering = Lowering { width, ..Lowering::for_inputs(Shape::vector(5)) };
        let run = MonteCarlo::new(net.clone(), lowering, 100);
        let estimate = run.estimate((&x).into(), None, Which::Ntk, |_| ControlFlow::Continue(()))?;
        let mean = estimate.mean.ntk.ok_or("no kernel")?;
        let error = estimate.standard_error.ntk.ok_or("no kernel")?;
        let (bias, variance) = (square(&(mean - &exact)), square(&error));
        // Relative Frobenius norms; draws vary around their mean by √99 standard errors.
        let [one, mean, error] =
            [bias + 99.0 * variance, bias, variance].map(|v| (v / square(&exact)).sqrt());
        println!("{width:6} {one:14.4} {mean:14.4} {error:14.4}");
    }
    Ok(())
}
