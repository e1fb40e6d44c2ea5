//! Kernels of random finite networks tend to those computed here, at the rate of the central limit theorem.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

mod convergence;

use convergence::{Draws, failures};
use ndarray::Array2;
use ntk_core::{Activation, Affine, DropRate, Net, Rate, Variance, Width};

/// An architecture as a function of the width.
type AtWidth = fn(usize) -> Net;

fn variance(value: f64) -> Variance {
    Variance::new(value).unwrap()
}

fn hidden(phi: Activation) -> Net {
    Net::dense(variance(1.7), variance(0.2)).then(Net::activation(phi))
}

fn readout() -> Net {
    Net::readout(1, variance(1.3), variance(0.1))
}

/// Two hidden layers: the first depth at which both the kernel and its slope are random.
fn mlp(phi: Activation) -> Net {
    Net::serial([hidden(phi.clone()), hidden(phi), readout()])
}

fn half(phi: Activation) -> Net {
    let affine = Affine::new(variance(1.2), variance(0.1));
    Net::dense_with(Width::Hidden(0.5), affine).then(Net::activation(phi))
}

/// Every affine layer with other rates: the first frozen, the last with a frozen bias.
fn rated() -> Net {
    let dense = |width, weight_rate: f64, bias_rate: f64| {
        let (weight_rate, bias_rate) = (Rate::new(weight_rate).unwrap(), Rate::new(bias_rate).unwrap());
        let affine = Affine { weight_rate, bias_rate, ..Affine::new(variance(1.5), variance(0.3)) };
        Net::dense_with(width, affine)
    };
    let relu = || Net::activation(Activation::Relu);
    Net::serial([
        dense(Width::HIDDEN, 0.0, 0.0).then(relu()),
        dense(Width::HIDDEN, 0.5, 2.0).then(relu()),
        dense(Width::Fixed(1), 3.0, 0.0),
    ])
}

/// Architectures by name, as a function of the width.
fn architectures() -> Vec<(&'static str, AtWidth)> {
    use Activation as A;
    vec![
        ("relu", |_| mlp(A::Relu)),
        ("leaky relu", |_| mlp(A::LeakyRelu { alpha: 0.2 })),
        ("abs", |_| mlp(A::Abs)),
        ("step", |_| mlp(A::Step)),
        ("erf", |_| mlp(A::ERF)),
        ("gelu", |_| mlp(A::Gelu)),
        ("sin", |_| mlp(A::SIN)),
        ("tanh", |_| mlp(A::Tanh)),
        ("silu", |_| mlp(A::Silu)),
        ("elu", |_| mlp(A::ELU)),
        ("hard tanh", |_| mlp(A::HardTanh)),
        ("one hidden", |_| hidden(A::Relu).then(readout())),
        ("four outputs", |_| Net::mlp(2, A::ERF, 4, variance(1.5), variance(0.1))),
        ("residual", |_| {
            let block = || Net::activation(A::ERF).then(Net::dense(Variance::ONE, variance(0.1))).residual();
            Net::serial([
                Net::dense(Variance::ONE, Variance::ZERO),
                block(),
                block(),
                hidden(A::Relu),
                readout(),
            ])
        }),
        ("sum", |_| (mlp(A::Relu) + mlp(A::Tanh)).then(Net::identity())),
        ("product", |_| {
            Net::product([hidden(A::Relu), hidden(A::ERF)]).then(hidden(A::Relu)).then(readout())
        }),
        ("concat", |_| {
            Net::concat([half(A::Relu), half(A::ERF).then(half(A::Gelu))])
                .then(hidden(A::Tanh))
                .then(readout())
        }),
        ("layer norm", |_| {
            let normal = |phi| {
                Net::serial([
                    Net::dense(variance(1.7), variance(0.2)),
                    Net::layer_norm(),
                    Net::activation(phi),
                ])
            };
            Net::serial([normal(A::Relu), normal(A::ERF), readout()])
        }),
        ("dropout", |_| {
            let drop = || Net::dropout(DropRate::new(0.3).unwrap());
            Net::serial([hidden(A::Relu), drop(), hidden(A::ERF), drop(), readout()])
        }),
        ("rates", |_| rated()),
        ("standard", |n| mlp(A::Relu).standard().at_width(n)),
        ("standard rates", |n| rated().standard().at_width(n)),
    ]
}

/// Five samples of six features: two nearly parallel, two opposite.
fn inputs() -> Array2<f64> {
    let mut x = Array2::from_shape_fn((5, 6), |(i, j)| {
        (1.3 * i as f64 + 0.7 * (i + 2) as f64 * j as f64).sin() * 1.2
    });
    let first = x.row(0).to_owned();
    x.row_mut(3).assign(&(&first * -0.8));
    let mut near = first;
    near[2] += 0.1;
    x.row_mut(4).assign(&near);
    x
}

#[test]
fn finite_kernel_tends_to_infinite_one() {
    let x = inputs();
    let plan = Draws { widths: [16, 32, 64, 128, 256], draws: 64, faster: false };
    let failures: Vec<String> =
        architectures().into_iter().flat_map(|(name, net)| failures(name, net, (&x).into(), &plan)).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
