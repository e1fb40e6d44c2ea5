//! The structured tangent kernel against candle's reverse mode, with Jacobians formed.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ndarray::Array2;
use ntk_core::{Activation, Affine, Batch, KernelFn, Net, Rate, Shape, Variance, Which, Width};
use ntk_empirical::{Autograd, FiniteNet, Lowering};

fn inputs(n: usize, d: usize, shift: f64) -> Array2<f64> {
    Array2::from_shape_fn((n, d), |(i, j)| (0.7 * (i * d + j + 1) as f64 + shift).sin())
}

fn dense(bias: f64) -> Net {
    Net::dense(Variance::new(1.5).unwrap(), Variance::new(bias).unwrap())
}

fn compare(net: &Net) {
    let lowering = Lowering { width: 12, seed: 5, ..Lowering::for_inputs(Shape::vector(4)) };
    let net = FiniteNet::lower(&net.clone().at_width(12), &lowering).unwrap();
    let (x1, x2) = (inputs(5, 4, 0.0), inputs(3, 4, 0.4));
    let (x1, x2) = (Batch::from(&x1), Batch::from(&x2));
    let autograd = Autograd::new(&net).unwrap();
    let close = |a: &[f64], b: &[f64]| {
        let scale = b.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        assert!(scale > 0.0);
        let worst = a.iter().zip(b).fold(0.0, |m: f64, (a, b)| m.max((a - b).abs()));
        assert!(worst <= 1e-10 * scale, "{worst:e} of {scale:e} in {:?}", net.net());
    };
    for other in [x1, x2] {
        let structured = net.ntk_blocks(x1, other).unwrap();
        close(structured.as_slice().unwrap(), autograd.ntk_blocks(x1, other).unwrap().as_slice().unwrap());
        let (a, b) =
            (net.block(x1, other, Which::Ntk).unwrap(), autograd.block(x1, other, Which::Ntk).unwrap());
        close(a.ntk.unwrap().as_slice().unwrap(), b.ntk.unwrap().as_slice().unwrap());
    }
    let gram = autograd.block(x1, x2, Which::Nngp).unwrap().nngp.unwrap();
    close(net.output_gram(x1, x2).unwrap().as_slice().unwrap(), gram.as_slice().unwrap());
    let layers = net.ntk_layers(x1, x1).unwrap();
    let total = layers.iter().fold(Array2::zeros((5, 5)), |sum: Array2<f64>, (_, share)| sum + share);
    close(total.as_slice().unwrap(), net.symmetric(x1, Which::Ntk).unwrap().ntk.unwrap().as_slice().unwrap());
}

#[test]
fn structured_equals_autograd() {
    let phi = |phi| Net::activation(phi);
    let affine = Affine::new(Variance::TWO, Variance::ONE);
    let rates = Affine { weight_rate: Rate::new(0.3).unwrap(), bias_rate: Rate::new(2.0).unwrap(), ..affine };
    let frozen = Affine { weight_rate: Rate::FROZEN, bias_rate: Rate::FROZEN, ..affine };
    let hidden = |affine| Net::dense_with(Width::HIDDEN, affine);
    let readout = || Net::readout(3, Variance::ONE, Variance::ZERO);
    let nets = [
        Net::readout(2, Variance::ONE, Variance::ONE),
        Net::mlp(2, Activation::Tanh, 3, Variance::TWO, Variance::ZERO),
        Net::mlp(2, Activation::Relu, 3, Variance::TWO, Variance::ONE).standard(),
        Net::serial([hidden(rates), phi(Activation::ERF), hidden(frozen), phi(Activation::Gelu), readout()]),
        Net::serial([
            hidden(frozen),
            phi(Activation::Sigmoid),
            hidden(rates.standard()),
            phi(Activation::Silu),
        ]),
        dense(0.1)
            .then((phi(Activation::SIN).then(dense(0.0))).residual())
            .then(phi(Activation::COS))
            .then(readout()),
        Net::product([dense(0.1), dense(0.0).then(phi(Activation::Sigmoid)), dense(0.2)]).then(readout()),
        Net::concat([Net::identity(), dense(0.3).then(phi(Activation::Abs)), dense(0.0)]).then(readout()),
        Net::concat([readout(), dense(0.3).then(phi(Activation::Tanh)).then(readout())]),
        Net::sum([readout(), dense(0.3).then(phi(Activation::Tanh)).then(readout())]),
        dense(0.1).then(Net::layer_norm()).then(phi(Activation::Exp { a: 1.0, b: 0.5 })).then(readout()),
        dense(0.1).then(Net::layer_norm()),
    ];
    for net in &nets {
        compare(net);
    }
}
