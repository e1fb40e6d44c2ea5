//! When does a wide model become linear in its parameters?
//!
//! Prints the norm of the Hessian over that of the gradient, a mean over draws, for assemblies of more and more neurons:
//! of equal weights, with one that dominates, and with shared parameters. Then the norms of the three terms of the
//! Hessian of a deep network.

#![allow(clippy::print_stdout)] // An example prints.

use ndarray::{Array1, array};
use ntk_core::{Activation, Net, Shape, Variance};
use ntk_empirical::{Assembly, Error, FiniteNet, LayerRecursion, Lowering, Neuron, ScalarFunction};
use ntk_linalg::Lanczos;

fn main() -> Result<(), Error> {
    let x = array![1.0, -1.0, 0.5, 1.3];
    // Signs, offsets and parameters without a pattern that would cancel.
    let scattered = |i: usize, draw: usize| (12.9898 * (i * i + 1000 * draw + 1) as f64).sin();
    let neurons = |m: usize, draw: usize| -> Result<Vec<Neuron>, Error> {
        (0..m).map(|i| Neuron::new(Activation::Tanh, 4)?.with_offset(scattered(i + 7, draw))).collect()
    };
    println!("{:>6} {:>14} {:>14} {:>14}", "m", "equal", "one dominates", "all shared");
    for m in [16, 64, 256, 1024] {
        let (scale, draws, mut ratios) = ((m as f64).sqrt(), 32, [0.0; 3]);
        for draw in 0..draws {
            let signs = Array1::from_shape_fn(m, |i| scattered(i, draw).signum());
            let mut dominated = signs.clone();
            dominated[0] *= scale;
            let assemblies = [
                Assembly::independent(neurons(m, draw)?, signs.clone(), scale)?,
                Assembly::independent(neurons(m, draw)?, dominated, scale)?,
                Assembly::in_groups(neurons(m, draw)?, signs, scale, m)?,
            ];
            for (mean, assembly) in ratios.iter_mut().zip(&assemblies) {
                let f = assembly.at(x.view())?;
                let w = Array1::from_shape_fn(f.dimension(), |i| 1.4 * scattered(i + 3, draw));
                *mean += f.linearity(&w, &Lanczos::new(1))?.ratio() / draws as f64;
            }
        }
        println!("{m:>6} {:>14.4} {:>14.4} {:>14.4}", ratios[0], ratios[1], ratios[2]);
    }

    let net = Net::mlp(3, Activation::Tanh, 1, Variance::ONE, Variance::ZERO);
    let sample = x.insert_axis(ndarray::Axis(0));
    println!("\n{:>6} {:>14} {:>14} {:>14}", "width", "inherited", "curved", "crossed");
    for width in [16, 32, 64, 128] {
        let lowering = Lowering { width, ..Lowering::for_inputs(Shape::vector(4)) };
        let finite = FiniteNet::lower(&net, &lowering)?;
        let spectra = LayerRecursion::new(&finite, (&sample).into(), 0)?.spectra(&Lanczos::norm(60, 1e-3))?;
        let [inherited, curved, crossed] = spectra.map(|ritz| ritz.norm());
        println!("{width:>6} {inherited:>14.4} {curved:>14.4} {crossed:>14.4}");
    }
    Ok(())
}
