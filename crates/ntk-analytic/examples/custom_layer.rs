//! How do I add a layer of my own?
//!
//! Gives "gain", x ↦ c x, a rule for infinite and one for finite width, and compares both with the same network written
//! without it: a gain before an affine layer is a weight variance c² times as large.

#![allow(clippy::print_stdout)] // An example prints.

use ndarray::array;
use ntk_analytic::{Analytic, Pair};
use ntk_core::{Activation, DropRate, KernelFn, Law, Layer, Net, Shape, Variance, Which};
use ntk_empirical::candle_core::{Result as CandleResult, Tensor};
use ntk_empirical::{FiniteNet, Lowering};

// ANCHOR: infinite
/// y = c x: covariances and tangent kernels are c² times as large, angles stay.
struct Gain(f64);

impl ntk_analytic::LayerRule for Gain {
    fn variance(&self, q: f64) -> f64 {
        self.0.powi(2) * q
    }

    fn pair(&self, input: Pair) -> Pair {
        let scale = |v: f64| self.0.powi(2) * v;
        let (q11, q22, q12) = (scale(input.q11), scale(input.q22), scale(input.q12));
        Pair { q11, q22, q12, gap: input.gap, ntk: scale(input.ntk) }
    }

    fn law(&self) -> Law {
        Law::Same
    }
}
// ANCHOR_END: infinite

// ANCHOR: finite
/// y, and its derivative along a tangent and against cotangents; `numbers` come from the description.
struct FiniteGain;

impl ntk_empirical::LayerRule for FiniteGain {
    fn forward(&self, x: &Tensor, numbers: &[f64]) -> CandleResult<Tensor> {
        x * numbers[0]
    }

    fn pushforward(&self, _x: &Tensor, t: &Tensor, numbers: &[f64]) -> CandleResult<Tensor> {
        t * numbers[0]
    }

    fn pullback(&self, _x: &Tensor, d: &Tensor, numbers: &[f64]) -> CandleResult<Tensor> {
        d * numbers[0]
    }
}
// ANCHOR_END: finite

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let around = |middle: Net, readout: f64| -> Result<Net, ntk_core::Error> {
        let hidden = Net::dense(Variance::TWO, Variance::ONE).then(Net::activation(Activation::Relu));
        Ok(hidden.then(middle).then(Net::readout(1, Variance::new(readout)?, Variance::ONE)))
    };
    // ANCHOR: use
    let gain = Net::layer(Layer::Custom { name: "gain".to_owned(), parameters: vec![1.5] });
    let net = around(gain, 1.0)?;
    let rules = ntk_analytic::Rules::new().layer("gain", |parameters| Gain(parameters[0]));
    let infinite = Analytic::with_rules(net.clone(), &rules)?;
    let lowering = Lowering { width: 256, ..Lowering::for_inputs(Shape::vector(2)) };
    let rules = ntk_empirical::Rules::new().layer("gain", FiniteGain);
    let finite = FiniteNet::lower_with(&net, &lowering, &rules)?;
    // ANCHOR_END: use

    // Draws depend on the place of a layer: a dropout that drops nothing keeps the places.
    let plain = around(Net::dropout(DropRate::new(0.0)?), 1.5 * 1.5)?;
    let x = array![[1.0, 0.5], [-0.2, 0.8]];
    let kernel = |kernel: Option<ndarray::Array2<f64>>| kernel.ok_or("no kernel");
    for (name, with, without) in [
        (
            "∞",
            kernel(infinite.symmetric((&x).into(), Which::Ntk)?.ntk)?,
            kernel(Analytic::new(plain.clone())?.symmetric((&x).into(), Which::Ntk)?.ntk)?,
        ),
        (
            "256",
            kernel(finite.symmetric((&x).into(), Which::Ntk)?.ntk)?,
            kernel(FiniteNet::lower(&plain, &lowering)?.symmetric((&x).into(), Which::Ntk)?.ntk)?,
        ),
    ] {
        println!("width {name}: Θ with the gain {with:.6}, without {without:.6}");
    }
    Ok(())
}
