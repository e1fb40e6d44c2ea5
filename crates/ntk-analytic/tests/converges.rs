//! Kernels of random finite networks tend to those computed here, at the rate of the central limit theorem.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use std::ops::ControlFlow;

use ndarray::{Array2, Zip};
use ntk_analytic::Analytic;
use ntk_core::{
    Activation, Affine, DropRate, KernelBlock, KernelFn, Net, Rate, Shape, Variance, Which, Width,
};
use ntk_empirical::{Estimate, Lowering, Mode, MonteCarlo};

const WIDTHS: [usize; 5] = [16, 32, 64, 128, 256];
const DRAWS: usize = 64;

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

type AtWidth = fn(usize) -> Net;

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

/// RMS over draws of ‖K̂ − K‖ / ‖K‖: the spread of the draws, and the distance of their mean.
fn error(estimate: &Estimate, limit: &Array2<f64>, pick: Pick) -> f64 {
    let square = |a: &Array2<f64>| a.iter().map(|v| v * v).sum::<f64>();
    let spread = square(pick(&estimate.standard_error)) * (estimate.draws - 1) as f64;
    ((square(&(pick(&estimate.mean) - limit)) + spread) / square(limit)).sqrt()
}

type Pick = fn(&KernelBlock) -> &Array2<f64>;

/// Slope of ln y in ln x, and its standard error.
fn exponent(x: &[f64], y: &[f64]) -> (f64, f64) {
    let n = x.len() as f64;
    let center = |v: &[f64]| {
        let mean = v.iter().map(|v| v.ln()).sum::<f64>() / n;
        v.iter().map(|v| v.ln() - mean).collect::<Vec<f64>>()
    };
    let (x, y) = (center(x), center(y));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let slope = dot(&x, &y) / dot(&x, &x);
    let residual: f64 = x.iter().zip(&y).map(|(x, y)| (y - slope * x).powi(2)).sum();
    (slope, (residual / ((n - 2.0) * dot(&x, &x))).sqrt())
}

#[test]
fn finite_kernel_tends_to_infinite_one() {
    let x = inputs();
    let mut failures = Vec::new();
    for (name, net) in architectures() {
        let runs: Vec<(KernelBlock, Estimate)> = WIDTHS
            .iter()
            .map(|&width| {
                let net = net(width);
                let limit = Analytic::new(net.clone()).unwrap().symmetric((&x).into(), Which::Both).unwrap();
                // Draws of different widths have different seeds.
                let (seed, mode) = ((1000 * width) as u64, Mode::Training);
                let lowering =
                    Lowering { width, seed, mode, ..Lowering::for_inputs(Shape::vector(x.ncols())) };
                let run = MonteCarlo::new(net, lowering, DRAWS);
                let estimate = run.estimate((&x).into(), None, Which::Both, |_| ControlFlow::Continue(()));
                (limit, estimate.unwrap())
            })
            .collect();
        let kernels: [(&str, Pick); 2] =
            [("nngp", |b| b.nngp.as_ref().unwrap()), ("ntk", |b| b.ntk.as_ref().unwrap())];
        for (kernel, pick) in kernels {
            let errors: Vec<f64> = runs.iter().map(|(limit, run)| error(run, pick(limit), pick)).collect();
            let (slope, deviation) = exponent(&WIDTHS.map(|n| n as f64), &errors);
            if (slope + 0.5).abs() > 0.1 + 3.0 * deviation {
                failures.push(format!(
                    "{kernel} of {name}: exponent {slope:.3} ± {deviation:.3}, errors {errors:.4?}"
                ));
            }
            // The mean is off by O(1/n) and by chance.
            for ((limit, run), n) in runs.iter().zip(WIDTHS) {
                let (limit, scale) = (pick(limit), pick(limit).diag().to_owned());
                let mut worst = 0.0_f64;
                Zip::indexed(limit).and(pick(&run.mean)).and(pick(&run.standard_error)).for_each(
                    |(i, j), k, mean, e| {
                        let allowed = 5.0 * e + 4.0 / n as f64 * (scale[i] * scale[j]).sqrt();
                        worst = worst.max((mean - k).abs() / allowed);
                    },
                );
                println!(
                    "{kernel:5} {name:16} {n:4}: {worst:.3} of the allowance, exponent {slope:.3} ± {deviation:.3}"
                );
                if worst.is_nan() || worst > 1.0 {
                    failures.push(format!(
                        "{kernel} of {name} at n = {n}: mean off by {worst:.2} of what is allowed"
                    ));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
