//! When does a wide model become linear in its parameters?
//!
//! Prints the norm of the Hessian beside that of the gradient for assemblies of more and more neurons, of equal weights,
//! with one that dominates, and with shared parameters; then the three terms of the Hessian of a deep network.

#![allow(clippy::print_stdout)] // An example prints.

use ndarray::{Array1, array};
use ntk_core::{Activation, Net, Shape, Variance};
use ntk_empirical::{Assembly, Error, FiniteNet, LayerRecursion, Lowering, Neuron, ScalarFunction};
use ntk_linalg::Lanczos;

fn main() -> Result<(), Error> {
    let x = array![1.0, -1.0, 0.5, 1.3];
    let signs = |m: usize| Array1::from_shape_fn(m, |i| if i % 2 == 0 { 1.0 } else { -1.0 });
    let neurons = |m: usize| -> Result<Vec<Neuron>, Error> {
        (0..m).map(|i| Neuron::new(Activation::Tanh, 4)?.with_offset((i as f64).sin())).collect()
    };
    println!("{:>6} {:>14} {:>14} {:>14}", "m", "equal", "one dominates", "all shared");
    for m in [16, 64, 256, 1024] {
        let mut dominated = signs(m);
        dominated[0] = (m as f64).sqrt();
        let scale = (m as f64).sqrt();
        let w = |p: usize| Array1::from_shape_fn(p, |i| (12.9898 * (i + 1) as f64).sin() * 1.4);
        let ratio = |assembly: Assembly<Neuron>| -> Result<f64, Error> {
            let f = assembly.at(x.view())?;
            Ok(f.linearity(&w(f.dimension()), &Lanczos::new(1))?.ratio())
        };
        println!(
            "{m:>6} {:>14.4} {:>14.4} {:>14.4}",
            ratio(Assembly::independent(neurons(m)?, signs(m), scale)?)?,
            ratio(Assembly::independent(neurons(m)?, dominated, scale)?)?,
            ratio(Assembly::in_groups(neurons(m)?, signs(m), scale, m)?)?,
        );
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
