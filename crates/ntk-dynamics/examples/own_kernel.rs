//! How do I use a kernel of my own, and how do I know that it is one?

#![allow(clippy::print_stdout)] // An example prints.

use ndarray::{Array2, array};
use ntk_core::{Batch, KernelBlock, KernelFn, Which};
use ntk_dynamics::{LearningRate, LossScale, Ridge, Time, fit};
use ntk_testkit::laws;

// ANCHOR: provider
/// exp(−‖x − x′‖²/(2ℓ²)), as covariance of the outputs and as tangent kernel: a model that is linear in Gaussian weights.
struct Rbf {
    length: f64,
}

impl KernelFn for Rbf {
    type Error = ntk_core::Error;

    fn block(&self, x1: Batch<'_>, x2: Batch<'_>, which: Which) -> Result<KernelBlock, Self::Error> {
        Batch::check_pair(x1, x2)?; // empty, not finite, of unequal width: refused
        let k = Array2::from_shape_fn((x1.len(), x2.len()), |(i, j)| {
            let difference = &x1.values().row(i) - &x2.values().row(j);
            (-difference.dot(&difference) / (2.0 * self.length.powi(2))).exp()
        });
        Ok(KernelBlock { ntk: which.ntk().then(|| k.clone()), nngp: which.nngp().then_some(k) })
    }
}
// ANCHOR_END: provider

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // ANCHOR: use
    let kernel = Rbf { length: 0.7 };
    let x = Array2::from_shape_fn((6, 1), |(i, _)| i as f64 - 2.5);
    laws::check_kernel_fn(&kernel, (&x).into())?; // symmetric, positive semidefinite, the same in tiles, …

    let y = x.mapv(f64::sin);
    let ensemble = fit(&kernel, (&x).into(), y.view(), LearningRate::new(1.0)?, LossScale::Sum, Ridge::None)?;
    let test = array![[1.0], [10.0]];
    let points = ensemble.test(&kernel.block((&test).into(), (&x).into(), Which::Both)?)?;
    let mean = points.mean(Time::Infinite)?;
    let variance = points.variance(Time::Infinite, array![1.0, 1.0].view())?;
    // ANCHOR_END: use
    for (i, point) in test.rows().into_iter().enumerate() {
        println!("f({point}) = {:.4} ± {:.4}", mean[[i, 0]], variance[i].sqrt());
    }
    Ok(())
}
