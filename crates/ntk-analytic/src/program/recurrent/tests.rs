//! Known numbers, programs, and what ties of weights do not change.

use ndarray::{Array2, Axis, array, s};
use ntk_core::program::Expr;
use ntk_core::program::networks::{mlp, rnn};
use ntk_core::{KernelFn, Net, Variance, Which};

use super::*;
use crate::Analytic;
use crate::program::KernelLimit;

const WEIGHTS: Weights = Weights { weight: 1.3, input: 0.8, bias: 0.2, readout: 1.0, rates: Rates::Unit };

/// Sequences of three and of two tokens.
fn gram() -> Array2<f64> {
    let d = [1.0, 0.9, 1.1, 0.8, 1.2];
    Array2::from_shape_fn((5, 5), |(i, j)| d[i] * d[j] * (-0.25 * (i as f64 - j as f64).powi(2)).exp())
}

#[track_caller]
fn equal(found: &Array2<f64>, expected: &Array2<f64>, tolerance: f64) {
    assert_eq!(found.dim(), expected.dim());
    assert!((found - expected).iter().all(|x| x.abs() <= tolerance), "{found}\n{expected}");
}

#[test]
fn known_numbers() {
    let known = [
        (Activation::ERF, Readout::Last, [2.823_556_291_1, 0.900_345_695_3, 2.424_939_038_5]),
        (Activation::ERF, Readout::Average, [1.447_331_404_0, 0.733_774_923_2, 1.500_206_158_7]),
        (Activation::Relu, Readout::Last, [3.723_6, 1.344_202_944_1, 2.838_4]),
    ];
    for (phi, readout, [first, cross, second]) in known {
        let [_, ntk] = rnn_kernels(&phi, &WEIGHTS, &gram(), &[3, 2], readout).unwrap();
        equal(&ntk, &array![[first, cross], [cross, second]], 5.1e-11);
    }
}

#[test]
fn programs_agree() {
    let variance = Weights { rates: Rates::Variance, readout: 1.4, ..WEIGHTS };
    for (phi, weights) in
        [(Activation::Gelu, WEIGHTS), (Activation::Relu, variance), (Activation::Tanh, WEIGHTS)]
    {
        let expr = Expr::activation(&phi).unwrap();
        for readout in [Readout::Last, Readout::Average, Readout::Each] {
            let program = rnn(&expr, &weights, &gram(), &[1, 2, 2], readout).unwrap();
            let [nngp, ntk] = KernelLimit::new(program).unwrap().kernels().unwrap();
            let found = rnn_kernels(&phi, &weights, &gram(), &[1, 2, 2], readout).unwrap();
            equal(&found[0], &nngp, 1e-9);
            equal(&found[1], &ntk, 1e-9);
        }
    }
}

#[test]
fn outputs_read_states() {
    let lengths = [2, 3];
    let [c, theta] = rnn_states(&Activation::ERF, &WEIGHTS, &gram(), &lengths).unwrap();
    let [nngp, ntk] = rnn_kernels(&Activation::ERF, &WEIGHTS, &gram(), &lengths, Readout::Average).unwrap();
    let mean = |m: &Array2<f64>| {
        let block = |a: [usize; 2], b: [usize; 2]| m.slice(s![a[0]..a[1], b[0]..b[1]]).mean().unwrap();
        array![[block([0, 2], [0, 2]), block([0, 2], [2, 5])], [block([2, 5], [0, 2]), block([2, 5], [2, 5])]]
    };
    equal(&nngp, &mean(&c), 1e-14);
    equal(&ntk, &mean(&(&c + &theta)), 1e-14);
    equal(&c, &c.t().to_owned(), 0.0);
}

#[test]
fn odd_networks_that_read_once_are_perceptrons() {
    // Without biases, and with tokens 0 after the first, a tied network has the kernels of one with a matrix a layer.
    let mut tokens = Array2::zeros((6, 6));
    let inputs = array![[1.0, 0.3], [0.3, 0.7]];
    for ((i, j), value) in inputs.indexed_iter() {
        tokens[[3 * i, 3 * j]] = *value;
    }
    let weights = Weights { bias: 0.0, rates: Rates::Variance, ..WEIGHTS };
    let [nngp, ntk] = rnn_kernels(&Activation::ERF, &weights, &tokens, &[3, 3], Readout::Last).unwrap();
    let program = mlp(3, &Expr::arg(0).erf(), &weights, &inputs).unwrap();
    let [k, theta] = KernelLimit::new(program).unwrap().kernels().unwrap();
    equal(&nngp, &k, 1e-12);
    equal(&ntk, &theta, 1e-12);
}

#[test]
fn sequences_that_end_alike_keep_their_angle() {
    // With biases, 1 − ρ falls by a constant factor at each step, soon below the rounding of ρ: the slope of ReLU still
    // sees it, as in the perceptron of as many layers.
    let x = array![[1.0, 0.4], [-0.3, 0.8]];
    let steps = 80;
    let mut tokens = Array2::zeros((2 * steps, 2 * steps));
    for ((i, j), value) in (x.dot(&x.t()) / 2.0).indexed_iter() {
        tokens[[steps * i, steps * j]] = *value;
    }
    let rates = Rates::Variance;
    let weights = Weights { weight: 0.8, input: 0.8, bias: 0.5, readout: 0.8, rates };
    let found = rnn_kernels(&Activation::Relu, &weights, &tokens, &[steps; 2], Readout::Last).unwrap();
    let (weight, bias) = (Variance::new(0.8).unwrap(), Variance::new(0.5).unwrap());
    let net = Analytic::new(Net::mlp(steps, Activation::Relu, 1, weight, bias)).unwrap();
    let block = net.symmetric((&x).into(), Which::Both).unwrap();
    // The readout of the perceptron has a bias too.
    equal(&(&found[0] + 0.5), &block.nngp.unwrap(), 1e-13);
    equal(&(&found[1] + 0.5), &block.ntk.unwrap(), 1e-13);
}

#[test]
fn equal_sequences_have_equal_kernels() {
    let same = gram().select(Axis(0), &[0, 1, 2, 0, 1, 2]).select(Axis(1), &[0, 1, 2, 0, 1, 2]);
    let found = rnn_kernels(&Activation::Relu, &WEIGHTS, &same, &[3, 3], Readout::Last).unwrap();
    for kernel in found {
        assert!(kernel.iter().all(|x| *x == kernel[[0, 0]]), "{kernel}");
    }
}

#[test]
fn nonsense_is_refused() {
    let phi = Activation::Relu;
    let run = |gram: &Array2<f64>, lengths: &[usize], weights: &Weights| {
        rnn_kernels(&phi, weights, gram, lengths, Readout::Last)
    };
    for lengths in [&[3, 3][..], &[5, 0], &[]] {
        assert!(matches!(run(&gram(), lengths, &WEIGHTS), Err(Error::Shape { .. })));
    }
    let negative = Weights { bias: -1.0, ..WEIGHTS };
    assert!(matches!(run(&gram(), &[5], &negative), Err(Error::Shape { .. })));
    for entry in [f64::NAN, 2.0] {
        let mut bad = gram();
        bad[[0, 4]] = entry;
        bad[[4, 0]] = entry;
        assert!(matches!(run(&bad, &[3, 2], &WEIGHTS), Err(Error::Dual(_))));
    }
    let unknown = Activation::Custom { name: "mine".to_owned(), parameters: vec![] };
    let result = rnn_kernels(&unknown, &WEIGHTS, &gram(), &[5], Readout::Last);
    assert!(matches!(result, Err(Error::Dual(crate::Error::UnknownActivation { .. }))));
    // Zero tokens without a bias are zero states.
    let weights = Weights { bias: 0.0, rates: Rates::Variance, ..WEIGHTS };
    let [nngp, ntk] = run(&Array2::zeros((5, 5)), &[3, 2], &weights).unwrap();
    assert!(nngp.iter().chain(&ntk).all(|x| *x == 0.0));
}
