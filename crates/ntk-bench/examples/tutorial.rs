//! How do I get from an architecture to predictions with error bars, and do real networks agree?
//!
//! The listings of the book's tutorial, in their order.

#![allow(clippy::print_stdout)] // An example prints.

// ANCHOR: imports
use std::error::Error;
use std::ops::ControlFlow;

use ndarray::{Array1, Array2};
use ntk_analytic::Analytic;
use ntk_core::{Activation, KernelFn, Net, Shape, Variance, Which};
use ntk_dynamics::{
    Descent, Ensemble, Gram, LearningRate, LossScale, Momentum, Posterior, Ridge, Spectrum, Steps,
};
use ntk_empirical::{FiniteNet, Lowering, TrainOptions};
// ANCHOR_END: imports

// ANCHOR: data
/// n points on the circle ‖x‖² = 2, from an angle on, (n, 2).
fn circle(n: usize, first: f64) -> Array2<f64> {
    Array2::from_shape_fn((n, 2), |(i, j)| {
        let angle = first + i as f64 / n as f64 * std::f64::consts::TAU;
        2f64.sqrt() * if j == 0 { angle.cos() } else { angle.sin() }
    })
}

/// The function to be learned: x₀x₁, which goes around twice.
fn target(x: &Array2<f64>) -> Array2<f64> {
    Array2::from_shape_fn((x.nrows(), 1), |(i, _)| x[[i, 0]] * x[[i, 1]])
}
// ANCHOR_END: data

fn main() -> Result<(), Box<dyn Error>> {
    // ANCHOR: net
    let net = Net::mlp(2, Activation::ERF, 1, Variance::new(1.5)?, Variance::new(0.05)?);
    println!("{net}");
    // ANCHOR_END: net

    // ANCHOR: kernels
    let (x, test) = (circle(7, 0.375), circle(6, 0.0));
    let y = target(&x);
    let kernel = Analytic::new(net.clone())?;
    let train_train = kernel.symmetric((&x).into(), Which::Both)?; // (7, 7) each
    let test_train = kernel.block((&test).into(), (&x).into(), Which::Both)?; // (6, 7) each
    let test_test = kernel.diag((&test).into(), Which::Nngp)?.nngp.ok_or("no kernel")?; // 6 variances
    // ANCHOR_END: kernels

    // ANCHOR: spectrum
    let nngp = Gram::new(train_train.nngp.ok_or("no kernel")?)?;
    let ntk = Gram::new(train_train.ntk.ok_or("no kernel")?)?;
    let spectrum = Spectrum::new(&ntk, Ridge::None)?;
    println!("condition number {:.1}", spectrum.condition());
    // Half of the fastest rate, so that finite networks, whose kernels vary, are stable, too.
    let rate = 0.5 * spectrum.critical_learning_rate(LossScale::MeanNK, y.dim())?;
    // ANCHOR_END: spectrum

    // ANCHOR: ensemble
    let descent = Descent::new(&spectrum, LearningRate::new(rate)?, LossScale::MeanNK, Momentum::NONE);
    let ensemble = Ensemble::ntk(&descent, &nngp, y.view())?;
    let points = ensemble.test(&test_train)?;
    let (steps, mut predictions) = (100, Vec::new());
    for at in [Steps::Finite(0), Steps::Finite(steps), Steps::Infinite] {
        let mean = points.mean(at)?.column(0).to_owned();
        let deviation = points.variance(at, test_test.view())?.mapv(f64::sqrt);
        println!("{at:?}: {mean:.3} ± {deviation:.3}");
        predictions.push((mean, deviation));
    }
    // ANCHOR_END: ensemble

    // ANCHOR: finite
    let options = TrainOptions::descent(rate, steps as usize);
    let networks = 40;
    let mut outputs = Vec::new();
    for seed in 0..networks {
        let lowering = Lowering { width: 128, seed, ..Lowering::for_inputs(Shape::vector(2)) };
        let mut finite = FiniteNet::lower(&net, &lowering)?;
        finite.train(&options, (&x).into(), y.view(), |_| ControlFlow::Continue(()))?;
        outputs.push(finite.outputs((&test).into())?.column(0).to_owned());
    }
    // ANCHOR_END: finite

    // ANCHOR: compare
    let m = networks as f64;
    let mean = outputs.iter().fold(Array1::zeros(6), |sum, f| sum + f) / m;
    let variance =
        outputs.iter().fold(Array1::zeros(6), |sum, f| sum + (f - &mean).mapv(|d| d * d)) / (m - 1.0);
    let (predicted, deviation) = &predictions[1];
    println!("after {steps} steps, mean ± standard deviation of an output");
    println!("    target     infinite width     {networks} networks of width 128");
    for (i, goal) in target(&test).iter().enumerate() {
        println!(
            "{goal:10.3}   {:6.3} ± {:.3}     {:6.3} ± {:.3}",
            predicted[i],
            deviation[i],
            mean[i],
            f64::sqrt(variance[i])
        );
    }
    // The mean over networks is off by s/√m by chance, and by the finite width.
    let z: Array1<f64> = (&mean - predicted) / (deviation / m.sqrt());
    println!("largest distance in standard errors: {:.1}", z.iter().fold(0.0_f64, |a, z| a.max(z.abs())));
    // ANCHOR_END: compare

    // ANCHOR: posterior
    let posterior = Posterior::new(&nngp, Ridge::Absolute(0.01), y.view())?;
    let k = test_train.nngp.as_ref().ok_or("no kernel")?;
    let mean = posterior.mean(k.view())?;
    let deviation = posterior.variance(k.view(), test_test.view())?.mapv(f64::sqrt);
    println!("Bayesian, noise of variance 0.01: {:.3} ± {deviation:.3}", mean.column(0));
    // ANCHOR_END: posterior
    Ok(())
}
