//! How fast does each part of a target become learned, and what do steps of finite size change?

#![allow(clippy::print_stdout)] // An example prints.

use ndarray::{Array2, Axis};
use ntk_dynamics::{
    Descent, Error, GradientFlow, Gram, LearningRate, LossScale, Momentum, Ridge, Spectrum, Steps, Time,
};

fn main() -> Result<(), Error> {
    // Sixteen points on a circle and a smooth kernel of their angle: low frequencies have large eigenvalues.
    let n = 16;
    let angle = |i: usize| i as f64 / n as f64 * std::f64::consts::TAU;
    let kernel = |i, j| (4.0 * (angle(i) - angle(j)).cos() - 4.0).exp();
    let gram = Gram::new(Array2::from_shape_fn((n, n), |(i, j)| kernel(i, j)))?;

    // One output that oscillates once around the circle, one that oscillates four times.
    let targets = Array2::from_shape_fn((n, 2), |(i, k)| (if k == 0 { 1.0 } else { 4.0 } * angle(i)).sin());
    let zero = Array2::zeros(targets.dim());

    let spectrum = Spectrum::new(&gram, Ridge::None)?;
    let critical = spectrum.critical_learning_rate(LossScale::MeanNK, targets.dim())?;
    let rate = LearningRate::new(critical)?;
    let flow = GradientFlow::new(&spectrum, rate, LossScale::MeanNK).fit(targets.view(), zero.view())?;
    let descent =
        Descent::new(&spectrum, rate, LossScale::MeanNK, Momentum::NONE).fit(targets.view(), zero.view())?;

    println!("condition number {:.1e}, critical learning rate {critical:.3}", spectrum.condition());
    println!("   step   rms error, slow and fast target      loss (flow)    loss (descent)");
    for step in [0, 1, 4, 16, 64, 256, 1024] {
        let error = &targets - &flow.train(Time::Finite(step as f64))?;
        let rms = (&error * &error).mean_axis(Axis(0)).unwrap_or_default().mapv(f64::sqrt);
        let (flow, descent) = (flow.loss(Time::Finite(step as f64))?, descent.loss(Steps::Finite(step))?);
        println!("{step:7}   {:10.3e}   {:10.3e}          {flow:12.3e}      {descent:12.3e}", rms[0], rms[1]);
    }
    Ok(())
}
