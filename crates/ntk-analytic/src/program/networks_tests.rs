//! Networks as programs against numbers known otherwise.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use super::*;
use ndarray::{Array2, array};
use ntk_core::program::networks::{self, Rates, Readout, Weights};
use ntk_core::program::{Estimate, Expr, Interpretation, ScalarGradients, tangent_kernel};
use ntk_core::{Grid, Window};

/// Gᵢⱼ = dᵢdⱼ exp(−(i − j)²/4): the tokens of two sequences, three and two.
fn gram() -> Array2<f64> {
    let d = [1.0, 0.9, 1.1, 0.8, 1.2];
    Array2::from_shape_fn((5, 5), |(i, j)| {
        let apart = i as f64 - j as f64;
        d[i] * d[j] * (-0.25 * apart * apart).exp()
    })
}

const LENGTHS: [usize; 2] = [3, 2];

fn weights(weight: f64, input: f64, bias: f64) -> Weights {
    Weights { weight, input, bias, readout: 1.0, rates: Rates::Unit }
}

fn erf_gate() -> Expr {
    (1.0 + Expr::arg(0).erf()) * 0.5
}

fn assert_close(found: &Array2<f64>, expected: [f64; 3], tolerance: f64) {
    for (at, expected) in [(0, 0), (0, 1), (1, 1)].into_iter().zip(expected) {
        assert!((found[at] - expected).abs() < tolerance, "{at:?}: {} for {expected}", found[at]);
    }
}

fn particles(program: Program, log: u32) -> ParticleLimit {
    let options = ParticleOptions { particles: 1 << log, seed: 9, ..ParticleOptions::default() };
    ParticleLimit::new(program, options).unwrap()
}

#[test]
fn recurrent_networks_have_their_kernels() {
    let w = weights(1.3, 0.8, 0.2);
    let (erf, relu) = (Expr::arg(0).erf(), Expr::arg(0).relu());
    let cases = [
        (&erf, Readout::Last, [2.823_556_291_1, 0.900_345_695_3, 2.424_939_038_5]),
        (&erf, Readout::Average, [1.447_331_404_0, 0.733_774_923_2, 1.500_206_158_7]),
        (&relu, Readout::Last, [3.7236, 1.344_202_944_1, 2.8384]),
    ];
    for (phi, readout, expected) in cases {
        let program = networks::rnn(phi, &w, &gram(), &LENGTHS, readout).unwrap();
        let [_, ntk] = KernelLimit::new(program.clone()).unwrap().kernels().unwrap();
        assert_close(&ntk, expected, 1e-9);
        let (backward, gradients) = program.with_backward(ScalarGradients::Dropped).unwrap();
        let kernels = tangent_kernel(&KernelLimit::new(backward).unwrap(), &gradients).unwrap();
        assert_close(&kernels.ntk.mapv(|x| x.value), expected, 1e-9);
    }
}

#[test]
fn gated_networks_have_their_kernels() {
    let w = weights(1.5, 1.0, 0.3);
    let program =
        networks::gru(&Expr::arg(0).erf(), &erf_gate(), &w, &gram(), &LENGTHS, Readout::Last).unwrap();
    let limit = particles(program, 16);
    let [nngp, _] = limit.forward_tangents().unwrap();
    // Orthant probabilities give these to 2·10⁻⁶.
    for (at, expected) in [((0, 0), 0.332_325), ((0, 1), 0.128_361), ((1, 1), 0.293_036)] {
        let Estimate { value, error } = nngp[at];
        assert!(error < 3e-3 && (value - expected).abs() < 5.0 * error, "{value} ± {error} for {expected}");
    }
    let (tanh, sigmoid) = (Expr::arg(0).tanh(), Expr::arg(0).sigmoid());
    let w = weights(1.5, 1.0, 0.3);
    let program = networks::gru(&tanh, &sigmoid, &w, &gram(), &LENGTHS, Readout::Last).unwrap();
    let forward = particles(program.clone(), 15).forward_tangents().unwrap();
    let (backward, gradients) = program.with_backward(ScalarGradients::Dropped).unwrap();
    let uses = tangent_kernel(&particles(backward, 15), &gradients).unwrap();
    for at in [(0, 0), (0, 1), (1, 1)] {
        let (a, b) = (forward[1][at], uses.ntk[at]);
        // Errors of the second are bounds, several times a standard error.
        assert!((a.value - b.value).abs() < 5.0 * a.error + b.error, "{at:?}: {a:?}, {b:?}");
    }
    let program = networks::lstm(&tanh, &sigmoid, &w, &gram(), &LENGTHS, Readout::Last).unwrap();
    let [nngp, ntk] = particles(program, 13).forward_tangents().unwrap();
    assert!(nngp.iter().zip(&ntk).all(|(k, theta)| theta.value > k.value && k.value > 0.0));
}

#[test]
fn tied_residual_networks_do_not_grow_like_others() {
    let one = array![[1.0]];
    let variance = |phi: &Expr, weight: f64, depth: usize| {
        let w = Weights { rates: Rates::Variance, ..weights(weight, 1.0, 0.0) };
        let program = networks::residual_tied(depth, phi, &w, &one).unwrap();
        let state = program.outputs()[0].parts[0].1;
        KernelLimit::new(program).unwrap().inner(state, state).unwrap().value
    };
    for (depth, expected) in [1.0, 1.5, 3.25, 7.875, 20.0625].into_iter().enumerate() {
        assert!((variance(&Expr::arg(0), 0.5, depth) - expected).abs() < 1e-12);
    }
    for (depth, expected) in [1.0, 1.5, 3.2792, 8.1187, 21.2753].into_iter().enumerate() {
        let found = variance(&Expr::arg(0).relu(), 1.0, depth);
        assert!((found - expected).abs() < 1e-4, "{found} for {expected}");
    }
}

#[test]
fn convolutions_and_graphs_agree_with_the_kernels_of_nets() {
    use ntk_core::{Activation, Batch, KernelFn, Net, Variance, Which};
    // Two samples of four positions of two channels, as a Gram matrix and as numbers.
    let x = ndarray::Array3::from_shape_fn((2, 4, 2), |(n, p, c)| ((3 * n + 2 * p + 5 * c) as f64).sin());
    let flat = x.to_shape((8, 2)).unwrap().to_owned();
    let gram = flat.dot(&flat.t()) / 2.0;
    let w = Weights { rates: Rates::Variance, ..weights(1.7, 1.7, 0.3) };
    let window = Window::same(&[3]);
    let relu = Expr::arg(0).relu();
    let block = || {
        let conv = Net::conv(window.clone(), Variance::new(1.7).unwrap(), Variance::new(0.3).unwrap());
        conv.then(Net::activation(Activation::Relu))
    };
    let readout = || Net::readout(1, Variance::ONE, Variance::ZERO);
    for (pool, read) in [(Net::global_average_pool(), Readout::Average), (Net::flatten(), Readout::Each)] {
        let net = Net::serial([block(), block(), pool, readout()]);
        let batch = Batch::grid(x.view()).unwrap();
        let expected = crate::Analytic::new(net).unwrap().symmetric(batch, Which::Both).unwrap();
        let grid = Grid::new(&[4]).unwrap();
        let program = networks::convolution(2, &relu, &w, &gram, &grid, &window, read).unwrap();
        let [nngp, ntk] = KernelLimit::new(program).unwrap().kernels().unwrap();
        for (found, expected) in [(nngp, expected.nngp.unwrap()), (ntk, expected.ntk.unwrap())] {
            let worst = (&found - &expected).iter().fold(0.0f64, |a, b| a.max(b.abs()));
            assert!(worst < 1e-10, "{read:?}: {found} for {expected}");
        }
    }
}

/// The recursion of tensor_programs §4.9, block by block.
fn transformer_recursion(
    gram: &Array2<f64>,
    lengths: &[usize],
    depth: usize,
    w: &Weights,
    causal: bool,
) -> Array2<f64> {
    let n = gram.nrows();
    let starts: Vec<usize> = lengths.iter().scan(0, |at, l| Some(std::mem::replace(at, *at + l))).collect();
    let correlation =
        |c: &Array2<f64>| Array2::from_shape_fn((n, n), |(i, j)| c[[i, j]] / (c[[i, i]] * c[[j, j]]).sqrt());
    let v_relu = |c: &Array2<f64>| {
        Array2::from_shape_fn((n, n), |(i, j)| {
            crate::dual(
                &ntk_core::Activation::Relu,
                crate::Cov2::new(c[[i, i]], c[[j, j]], c[[i, j]]).unwrap(),
            )
            .unwrap()
            .value
        })
    };
    let mut x = gram.clone();
    for _ in 0..depth {
        let k = &x * w.input;
        let mut a = Array2::<f64>::eye(n);
        for (&start, &length) in starts.iter().zip(lengths) {
            for i in 0..length {
                let seen = if causal { i + 1 } else { length };
                let total: f64 = (0..seen).map(|j| k[[start + i, start + j]].exp()).sum();
                for j in 0..seen {
                    a[[start + i, start + j]] += k[[start + i, start + j]].exp() / total;
                }
            }
        }
        let z = correlation(&a.dot(&k).dot(&a.t()));
        let g = &z * w.weight + w.bias;
        x = correlation(&(v_relu(&g) * w.weight + w.bias + &z));
    }
    let mean = |i: usize, j: usize| {
        let block =
            x.slice(ndarray::s![starts[i]..starts[i] + lengths[i], starts[j]..starts[j] + lengths[j]]);
        block.sum() / (lengths[i] * lengths[j]) as f64
    };
    Array2::from_shape_fn((lengths.len(), lengths.len()), |(i, j)| w.readout * mean(i, j))
}

#[test]
fn transformers_follow_their_recursion() {
    let w = weights(1.7, 1.3, 0.1);
    for causal in [false, true] {
        let kind = networks::Transformer { depth: 2, causal, tied: true, epsilon: 0.0 };
        let program = networks::transformer(&kind, &Expr::arg(0).relu(), &w, &gram(), &LENGTHS).unwrap();
        let [nngp, ntk] = KernelLimit::new(program).unwrap().kernels().unwrap();
        let expected = transformer_recursion(&gram(), &LENGTHS, 2, &w, causal);
        assert!((&nngp - &expected).iter().all(|e| e.abs() < 1e-10), "{nngp} for {expected}");
        assert!(ntk.diag().iter().zip(nngp.diag()).all(|(theta, k)| theta > k));
    }
    // Independent queries: attention is an average.
    let kind = networks::Transformer { depth: 1, causal: false, tied: false, epsilon: 1e-3 };
    let program = networks::transformer(&kind, &Expr::arg(0).relu(), &w, &gram(), &LENGTHS).unwrap();
    let limit = KernelLimit::new(program.clone()).unwrap();
    for s in program.scalars().take(3) {
        assert_eq!(limit.scalar(s).unwrap().value, 0.0);
    }
}

#[test]
fn tied_autoencoders_break_gradient_independence() {
    let w = weights(1.4, 1.0, 0.0);
    let program = networks::autoencoder(&Expr::arg(0).relu(), &w, &array![[1.0]], 1.0).unwrap();
    assert!(matches!(KernelLimit::new(program.clone()), Err(Error::Dependent(_))));
    let (backward, gradients) = program.with_backward(ScalarGradients::Dropped).unwrap();
    let kernel = |gradient_independence| {
        let options = ParticleOptions { particles: 1 << 16, seed: 4, gradient_independence };
        let limit = ParticleLimit::new(backward.clone(), options).unwrap();
        tangent_kernel(&limit, &gradients).unwrap().ntk[[0, 0]]
    };
    let (full, naive) = (kernel(false), kernel(true));
    assert!(full.value - naive.value > 4.0 * (full.error + naive.error));
}

#[test]
fn nets_and_their_programs_have_the_same_kernels() {
    use ntk_core::{Activation, Batch, KernelFn, Net, Variance, Which};
    let variance = |v: f64| Variance::new(v).unwrap();
    let dense = || Net::dense(variance(1.4), variance(0.2));
    let phi = Net::activation;
    let x = ndarray::Array3::from_shape_fn((3, 4, 2), |(n, p, c)| ((3 * n + 2 * p + 5 * c) as f64).sin());
    let conv = |window| Net::conv(window, variance(1.6), variance(0.1));
    let readout = || Net::readout(1, Variance::ONE, variance(0.3));
    let nets = [
        Net::serial([
            dense(),
            phi(Activation::Relu),
            dense(),
            phi(Activation::ERF),
            Net::flatten(),
            readout(),
        ]),
        Net::serial([
            conv(Window::same(&[3])),
            phi(Activation::Relu),
            conv(Window::valid(&[2])).then(phi(Activation::Gelu)),
            Net::average_pool(Window::same(&[2]).strides(&[2])),
            Net::global_average_pool(),
            readout(),
        ]),
        Net::serial([
            dense(),
            phi(Activation::ERF).then(dense()).residual(),
            Net::layer(ntk_core::Layer::LayerNorm { axes: ntk_core::Axes::Channels, epsilon: 0.1 }),
            phi(Activation::Relu),
            Net::concat([dense(), dense().then(phi(Activation::ERF))]),
            Net::global_average_pool(),
            readout(),
        ]),
        Net::serial([
            Net::product([dense().then(phi(Activation::Relu)), dense().then(phi(Activation::ERF))]),
            Net::flatten(),
            readout(),
        ]),
    ];
    let attention = |weighting, mask| {
        let attention = ntk_core::Attention {
            query_variance: variance(0.7),
            value_variance: variance(1.6),
            bias: variance(0.2),
            weighting,
            mask,
            ..Default::default()
        };
        Net::layer(ntk_core::Layer::Attention(Box::new(attention)))
    };
    let attend = |weighting, mask| {
        let hidden = dense().then(phi(Activation::ERF));
        Net::serial([
            hidden,
            attention(weighting, mask),
            phi(Activation::Relu),
            Net::global_average_pool(),
            readout(),
        ])
    };
    use ntk_core::{AttentionMask, Weighting};
    let nets = nets.into_iter().chain([
        attend(Weighting::Softmax, AttentionMask::Full),
        attend(Weighting::Identity, AttentionMask::Causal),
        attend(Weighting::Abs, AttentionMask::Local(1)),
        attend(Weighting::Relu, AttentionMask::Full),
    ]);
    for net in nets {
        let batch = Batch::grid(x.view()).unwrap();
        let expected = crate::Analytic::new(net.clone()).unwrap().symmetric(batch, Which::Both).unwrap();
        let (program, ends) = Program::of_net(&net, Batch::grid(x.view()).unwrap()).unwrap();
        let [nngp, ntk] = KernelLimit::new(program).unwrap().kernels_of(&ends).unwrap();
        for (found, expected) in [(nngp, expected.nngp.unwrap()), (ntk, expected.ntk.unwrap())] {
            let worst = (&found - &expected).iter().fold(0.0f64, |a, b| a.max(b.abs()));
            assert!(worst < 1e-9, "{net}: {found} for {expected}");
        }
    }
}

#[test]
fn sums_over_graphs_lower_to_programs() {
    use ntk_core::{Activation, Batch, Graphs, KernelFn, Layer, Net, Variance, Which};
    let x = ndarray::Array3::from_shape_fn((2, 3, 2), |(n, p, c)| ((3 * n + 2 * p + 5 * c) as f64).sin());
    let edges = [vec![(0, 1, 0.5), (1, 2, 1.0), (2, 0, -0.3), (0, 0, 1.0)], vec![(2, 1, 0.7), (0, 2, 1.2)]];
    let block = |phi: Activation| {
        let dense = Net::dense(Variance::TWO, Variance::ONE);
        Net::serial([dense, Net::layer(Layer::Aggregate { axis: 0 }), Net::activation(phi)])
    };
    let end = Net::global_average_pool().then(Net::readout(1, Variance::ONE, Variance::ZERO));
    let net = Net::serial([block(Activation::Relu), block(Activation::ERF), end]);
    let batch = || Batch::grid(x.view()).unwrap().with_graphs(Graphs::Sparse(&edges));
    let expected = crate::Analytic::new(net.clone()).unwrap().symmetric(batch(), Which::Both).unwrap();
    let (program, ends) = Program::of_net(&net, batch()).unwrap();
    let [nngp, ntk] = KernelLimit::new(program).unwrap().kernels_of(&ends).unwrap();
    for (found, expected) in [(nngp, expected.nngp.unwrap()), (ntk, expected.ntk.unwrap())] {
        let worst = (&found - &expected).iter().fold(0.0f64, |a, b| a.max(b.abs()));
        assert!(worst < 1e-9, "{found} for {expected}");
    }
}

#[test]
fn many_heads_have_the_closed_form_of_linear_attention_and_the_kernels_of_nets() {
    use networks::{Shares, attention_of_heads};
    use ntk_core::{Activation, Attention, Batch, KernelFn, Layer, LogitScaling, Net, Variance, Which};
    let (k, w) = (gram(), Weights { rates: Rates::Variance, ..weights(1.4, 0.8, 0.0) });
    let theta = Array2::from_shape_fn((5, 5), |(i, j)| k[[i, j]] * (0.5 + k[[i, j]]));
    let program = attention_of_heads(Shares::Identity, &w, &k, &theta, &LENGTHS, Readout::Last).unwrap();
    let kernels = KernelLimit::new(program).unwrap().kernels().unwrap();
    // κ = σ² K̃_ab Σ K̃², Θ = 4κ + σ² (Θ̃_ab Σ K̃² + 2 K̃_ab Σ Θ̃ K̃), sums over the tokens of both sequences.
    let exact = |a: usize, b: usize, first: std::ops::Range<usize>, second: std::ops::Range<usize>| {
        let scale = 1.4 * 0.8 * 0.8;
        let over = |f: &dyn Fn(usize, usize) -> f64| -> f64 {
            first.clone().flat_map(|c| second.clone().map(move |d| (c, d))).map(|(c, d)| f(c, d)).sum()
        };
        let squares = over(&|c, d| k[[c, d]].powi(2));
        let mixed = over(&|c, d| k[[c, d]] * theta[[c, d]]);
        let nngp = scale * k[[a, b]] * squares;
        [nngp, 4.0 * nngp + scale * (theta[[a, b]] * squares + 2.0 * k[[a, b]] * mixed)]
    };
    let all = [exact(2, 2, 0..3, 0..3), exact(2, 4, 0..3, 3..5), exact(4, 4, 3..5, 3..5)];
    for (kernel, which) in kernels.iter().zip(0..) {
        assert_close(kernel, all.map(|pair| pair[which]), 1e-10);
    }
    // Softmax: the limit of the layer of a network, by other integrals.
    let x = ndarray::array![[[1.0, 0.3], [-0.4, 0.9]], [[0.2, -1.1], [0.8, 0.5]]];
    let variance = |v| Variance::new(v).unwrap();
    let attention = Attention {
        query_variance: variance(0.8),
        key_variance: variance(0.8),
        value_variance: variance(1.4),
        scaling: LogitScaling::InverseRoot,
        ..Attention::default()
    };
    let net = Net::layer(Layer::Attention(Box::new(attention)))
        .then(Net::global_average_pool())
        .then(Net::activation(Activation::Monomial { degree: 1 }));
    let batch = Batch::grid(x.view()).unwrap();
    let expected = crate::Analytic::new(net).unwrap().symmetric(batch, Which::Both).unwrap();
    let flat = x.to_shape((4, 2)).unwrap().to_owned();
    let gram = flat.dot(&flat.t()) / 2.0;
    let none = Array2::zeros((4, 4));
    let program = attention_of_heads(Shares::Softmax, &w, &gram, &none, &[2, 2], Readout::Average).unwrap();
    let options = ParticleOptions { particles: 1 << 18, ..ParticleOptions::default() };
    let found = ParticleLimit::new(program, options).unwrap().forward_tangents().unwrap();
    for (found, expected) in found.iter().zip([expected.nngp.unwrap(), expected.ntk.unwrap()]) {
        for (found, expected) in found.iter().zip(&expected) {
            let apart = (found.value - expected).abs();
            assert!(apart < 4.0 * found.error + 2e-3 * expected.abs().max(0.1), "{found:?} for {expected}");
        }
    }
}

#[test]
fn attention_without_logits_averages() {
    // At infinite temperature, and with 1/n logits of independent queries and keys: κ = σ² mean K̃.
    use networks::{Shares, attention_of_heads};
    let (k, w) = (gram(), Weights { rates: Rates::Variance, ..weights(1.4, 1e-9, 0.0) });
    let none = Array2::zeros((5, 5));
    let program = attention_of_heads(Shares::Softmax, &w, &k, &none, &LENGTHS, Readout::Last).unwrap();
    let options = ParticleOptions { particles: 1 << 16, ..ParticleOptions::default() };
    let [nngp, _] = ParticleLimit::new(program, options).unwrap().forward_tangents().unwrap();
    let mean = |a: std::ops::Range<usize>, b: std::ops::Range<usize>| {
        1.4 * a.clone().flat_map(|i| b.clone().map(move |j| (i, j))).map(|(i, j)| gram()[[i, j]]).sum::<f64>()
            / (a.len() * b.len()) as f64
    };
    for ((i, j), exact) in
        [((0, 0), mean(0..3, 0..3)), ((0, 1), mean(0..3, 3..5)), ((1, 1), mean(3..5, 3..5))]
    {
        let found = nngp[[i, j]];
        assert!((found.value - exact).abs() < 4.0 * found.error, "{found:?} for {exact}");
    }
}
