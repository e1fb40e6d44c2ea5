//! How far does a network stray from its linearization, and how does that depend on the width?
//!
//! Trains both with softmax and momentum on the same data and prints how far their test outputs differ, over eight seeds.

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
    let options = TrainOptions { momentum: 0.9, loss: Loss::CrossEntropy, ..TrainOptions::descent(0.5, 40) };
    let on_to_the_end = ControlFlow::Continue(());

    println!("{:>6} {:>12} {:>12} {:>16}", "width", "loss", "linearized", "rms |f − f_lin|");
    for width in [32, 64, 128, 256, 512] {
        let (mut losses, mut squares, seeds) = ([0.0; 2], 0.0, 8);
        for seed in 0..seeds {
            let lowering = Lowering { width, seed, ..Lowering::for_inputs(Shape::vector(2)) };
            let mut finite = FiniteNet::lower(&net, &lowering)?;
            let mut linear = finite.linearize()?;
            losses[0] += finite.train(&options, (&train).into(), classes.view(), |_| on_to_the_end)?.loss;
            losses[1] += linear.train(&options, (&train).into(), classes.view(), |_| on_to_the_end)?.loss;
            let difference = finite.outputs((&test).into())? - linear.outputs((&test).into())?;
            squares += difference.iter().map(|v| v * v).sum::<f64>() / difference.len() as f64;
        }
        let [network, linear] = losses.map(|loss| loss / seeds as f64);
        println!("{width:>6} {network:>12.6} {linear:>12.6} {:>16.6}", (squares / seeds as f64).sqrt());
    }
    Ok(())
}
