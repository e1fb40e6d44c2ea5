//! What does training do to the tangent kernel, and how does the scale α of the output decide?
//!
//! Trains α (f − f₀) on the same data at three α and prints how far the kernel turns, how well it is aligned with the
//! labels, and how far the weights of each layer move.

#![allow(clippy::print_stdout)] // An example prints.

use ndarray::Array2;
use ntk_core::{Activation, Net, Shape, Variance};
use ntk_empirical::{Error, FiniteNet, Lowering, TrainOptions, Trajectory};

fn main() -> Result<(), Error> {
    let net = Net::mlp(2, Activation::Tanh, 1, Variance::new(1.5)?, Variance::new(0.3)?);
    // Points on a circle; the label is the sign of the product of the coordinates.
    let x = Array2::from_shape_fn((24, 2), |(i, j)| {
        let angle = (i as f64 + 0.5) / 24.0 * std::f64::consts::TAU;
        2f64.sqrt() * if j == 0 { angle.cos() } else { angle.sin() }
    });
    let y = Array2::from_shape_fn((24, 1), |(i, _)| (x[[i, 0]] * x[[i, 1]]).signum());

    for alpha in [0.5, 2.0, 100.0] {
        let mut finite =
            FiniteNet::lower(&net, &Lowering { width: 64, ..Lowering::for_inputs(Shape::vector(2)) })?;
        let mut trajectory = Trajectory::new(&finite, (&x).into(), y.view())?;
        let options = TrainOptions {
            alpha: Some(alpha),
            record: vec![0, 100, 400],
            ..TrainOptions::descent(0.25, 1600)
        };
        finite.train(&options, (&x).into(), y.view(), |step| trajectory.observe(step))?;

        println!("α = {alpha}");
        println!("{:>6} {:>9} {:>10} {:>10} {:>6}  weights", "step", "loss", "distance", "alignment", "rank");
        for record in trajectory.finish()? {
            let weights = record.parameters.iter().filter(|(name, _)| name.ends_with("weight"));
            let layers: Vec<String> = weights.map(|(_, change)| format!("{change:.4}")).collect();
            println!(
                "{:>6} {:>9.5} {:>10.2e} {:>10.4} {:>6.3}  {}",
                record.step,
                record.loss,
                record.distance,
                record.alignment,
                record.effective_rank,
                layers.join(" ")
            );
        }
    }
    Ok(())
}
