//! How far does a network stray from its linearization, and how does that depend on the width?
//!
//! Trains both with softmax and momentum on the same data and prints the largest difference of their test outputs.

#![allow(clippy::print_stdout)] // An example prints.

use std::ops::ControlFlow;

use ndarray::Array2;
use ntk_core::{Activation, Net, Shape, Variance};
use ntk_empirical::{Error, FiniteNet, Loss, Lowering, TrainOptions};

fn main() -> Result<(), Error> {
    let net = Net::mlp(2, Activation::ERF, 2, Variance::TWO, Variance::new(0.1)?);
    // Points on a circle; the class is the sign of the product of the coordinates.
    let circle = |n: usize, shift: f64| {
        Array2::from_shape_fn((n, 2), |(i, j)| {
            let angle = (i as f64 + shift) / n as f64 * std::f64::consts::TAU;
            2f64.sqrt() * if j == 0 { angle.cos() } else { angle.sin() }
        })
    };
    let (train, test) = (circle(12, 0.25), circle(31, 0.0));
    let classes = Array2::from_shape_fn((12, 2), |(i, c)| {
        f64::from(u8::from((train[[i, 0]] * train[[i, 1]] > 0.0) == (c == 0)))
    });
    let options = TrainOptions { momentum: 0.9, loss: Loss::CrossEntropy, ..TrainOptions::descent(0.5, 200) };
    let on_to_the_end = ControlFlow::Continue(());

    println!("{:>6} {:>12} {:>12} {:>16}", "width", "loss", "linearized", "max |f − f_lin|");
    for width in [32, 64, 128, 256, 512] {
        let lowering = Lowering { width, seed: 1, ..Lowering::for_inputs(Shape::vector(2)) };
        let mut finite = FiniteNet::lower(&net, &lowering)?;
        let mut linear = finite.linearize()?;
        let a = finite.train(&options, (&train).into(), classes.view(), |_| on_to_the_end)?;
        let b = linear.train(&options, (&train).into(), classes.view(), |_| on_to_the_end)?;
        let difference = finite.outputs((&test).into())? - linear.outputs((&test).into())?;
        let largest = difference.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        println!("{width:>6} {:>12.6} {:>12.6} {largest:>16.6}", a.loss, b.loss);
    }
    Ok(())
}
