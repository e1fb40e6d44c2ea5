//! Theorems about second derivatives of finite networks, for every layer.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

mod common;

use common::{Case, cases, direction, numbers, variance};
use ndarray::{Array2, array};
use ntk_core::{Activation, Net, Shape};
use ntk_empirical::candle_core::{Result as CandleResult, Tensor};
use ntk_empirical::{Error, FiniteNet, LayerRule, Loss, Lowering, Mode, Parameters, Reduction, Rules};
use ntk_testkit::strategies;
use proptest::prelude::*;

fn for_each_case(test: impl Fn(&Case, FiniteNet)) {
    for case in cases() {
        for (mode, seed) in [(Mode::Evaluation, 3), (Mode::Training, 4)] {
            test(&case, case.lowered(seed, mode));
        }
    }
}

/// The largest difference of two sets of parameters, relative to the largest number of the second.
fn distance(a: &Parameters, b: &Parameters) -> f64 {
    let scale = b.norm().unwrap();
    assert!(scale > 0.0);
    a.plus(-1.0, b).unwrap().norm().unwrap() / scale
}

/// (g(h) − g(−h))/2h to order 4, exact to h⁴ and to rounding/h.
fn difference(h: f64, mut at: impl FnMut(f64) -> Parameters) -> Parameters {
    let mut pair = |h: f64| at(h).plus(-1.0, &at(-h)).unwrap();
    let near = pair(h);
    let far = pair(2.0 * h);
    let total = near.plus(-0.125, &far).unwrap();
    // 8 (near − far/8)/12h
    total.plus(8.0 / (12.0 * h) - 1.0, &total).unwrap()
}

fn along(net: &mut FiniteNet, v: &Parameters, h: f64, f: impl Fn(&FiniteNet) -> Parameters) -> Parameters {
    let theta = net.parameters().unwrap();
    difference(h, |h| {
        net.set_parameters(&theta.plus(h, v).unwrap()).unwrap();
        let value = f(net);
        net.set_parameters(&theta).unwrap();
        value
    })
}

#[test]
fn hvp_is_symmetric_and_the_derivative_of_the_gradient() {
    for_each_case(|case, mut net| {
        let u = numbers(case.batch().len(), net.output_width(), 1);
        let (v, w) = (direction(&net, 2), direction(&net, 5));
        let hv = net.hvp(case.batch(), u.view(), &v).unwrap();
        let hw = net.hvp(case.batch(), u.view(), &w).unwrap();
        let (left, right) = (hv.dot(&w).unwrap(), hw.dot(&v).unwrap());
        let scale = hv.norm().unwrap() * w.norm().unwrap();
        assert!((left - right).abs() <= 1e-10 * scale, "{}: {left} {right}", case.name);
        if case.smooth() && case.name != "tokens that end" {
            let expected = along(&mut net, &v, 3e-4, |net| net.vjp(case.batch(), u.view()).unwrap());
            let error = distance(&hv, &expected);
            assert!(error <= 1e-7, "{}: {error:e}", case.name);
        }
    });
}

#[test]
fn hessian_of_a_loss_is_the_derivative_of_its_gradient() {
    let net = Net::mlp(2, Activation::Gelu, 3, variance(1.5), variance(0.2));
    let lowering = Lowering { width: 6, seed: 3, ..Lowering::for_inputs(Shape::vector(3)) };
    let mut net = FiniteNet::lower(&net, &lowering).unwrap();
    let x = numbers(5, 3, 0);
    let y = Array2::from_shape_fn((5, 3), |(i, k)| if i % 3 == k { 0.8 } else { 0.1 });
    let v = direction(&net, 1);
    for loss in [Loss::SquaredError, Loss::CrossEntropy] {
        for reduction in [Reduction::Sum, Reduction::MeanN, Reduction::MeanNK] {
            let hv = net.loss_hvp(loss, reduction, (&x).into(), y.view(), &v).unwrap();
            let factor = reduction.factor(5, 3);
            let expected = along(&mut net, &v, 3e-4, |net| {
                let f = net.outputs((&x).into()).unwrap();
                let mut u = f.clone();
                if loss == Loss::CrossEntropy {
                    u.mapv_inplace(f64::exp);
                    for mut row in u.rows_mut() {
                        let total = row.sum();
                        row /= total;
                    }
                }
                net.vjp((&x).into(), ((u - &y) * factor).view()).unwrap()
            });
            let error = distance(&hv, &expected);
            assert!(error <= 1e-9, "{loss:?} {reduction:?}: {error:e}");
        }
    }
}

#[test]
fn gauss_newton_is_the_hessian_of_the_loss_of_the_linearized_network() {
    // Gauss–Newton = Hessian − curvature of the network, ⟨∂ℓ/∂f, ∇²f⟩.
    for_each_case(|case, net| {
        let shape = (case.batch().len(), net.output_width());
        let y = Array2::from_shape_fn(shape, |(i, k)| if k == i % shape.1 { 1.0 } else { 0.0 });
        let v = direction(&net, 2);
        let f = net.outputs(case.batch()).unwrap();
        for loss in [Loss::SquaredError, Loss::CrossEntropy] {
            let mut p = f.clone();
            if loss == Loss::CrossEntropy {
                p.mapv_inplace(f64::exp);
                for mut row in p.rows_mut() {
                    let total = row.sum();
                    row /= total;
                }
            }
            let factor = Reduction::MeanN.factor(shape.0, shape.1);
            let all = net.loss_hvp(loss, Reduction::MeanN, case.batch(), y.view(), &v).unwrap();
            let own = net.hvp(case.batch(), ((p - &y) * factor).view(), &v).unwrap();
            let gn = net.gauss_newton_product(loss, Reduction::MeanN, case.batch(), &v).unwrap();
            let fisher = net.fisher_product(loss, Reduction::MeanN, case.batch(), &v).unwrap();
            let rest = all.plus(-1.0, &own).unwrap();
            assert!(gn.dot(&v).unwrap() >= 0.0);
            let scale = all.norm().unwrap();
            assert!(gn.plus(-1.0, &rest).unwrap().norm().unwrap() <= 1e-12 * scale, "{}", case.name);
            assert!(distance(&fisher, &gn) <= 1e-12, "{}", case.name);
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn hvp_is_the_derivative_of_the_gradient(
        phi in strategies::smooth_activation(),
        depth in 1usize..4,
        seed in 0u64..1000,
    ) {
        let net = Net::mlp(depth, phi, 2, variance(1.1), variance(0.3));
        let lowering = Lowering { width: 7, seed, ..Lowering::for_inputs(Shape::vector(3)) };
        let mut net = FiniteNet::lower(&net, &lowering).unwrap();
        let (x, u) = (numbers(4, 3, seed), numbers(4, 2, seed + 1));
        let v = direction(&net, seed);
        let hv = net.hvp((&x).into(), u.view(), &v).unwrap();
        let expected = along(&mut net, &v, 1e-4, |net| net.vjp((&x).into(), u.view()).unwrap());
        let gradient = net.vjp((&x).into(), u.view()).unwrap().norm().unwrap();
        let error = hv.plus(-1.0, &expected).unwrap().norm().unwrap();
        prop_assert!(error <= 1e-6 * hv.norm().unwrap() + 1e-10 * gradient, "{error:e}");
    }

    #[test]
    fn hessian_of_the_last_layer_is_zero(
        phi in strategies::smooth_activation(),
        depth in 1usize..3,
        seed in 0u64..1000,
    ) {
        let net = Net::mlp(depth, phi, 2, variance(1.1), variance(0.3));
        let lowering = Lowering { width: 5, seed, ..Lowering::for_inputs(Shape::vector(3)) };
        let net = FiniteNet::lower(&net, &lowering).unwrap();
        let (x, u) = (numbers(4, 3, seed), numbers(4, 2, seed + 1));
        let last = format!("{}.", 2 * depth);
        let mut v = direction(&net, seed);
        for (name, tensor) in direction(&net, seed).iter() {
            if !name.starts_with(&last) {
                v.insert(name, tensor.zeros_like().unwrap());
            }
        }
        prop_assert!(v.norm().unwrap() > 0.0);
        let hv = net.hvp((&x).into(), u.view(), &v).unwrap();
        for (name, tensor) in hv.iter().filter(|(name, _)| name.starts_with(&last)) {
            let largest = tensor.abs().unwrap().flatten_all().unwrap().max(0).unwrap();
            prop_assert_eq!(largest.to_scalar::<f64>().unwrap(), 0.0, "{}", name);
        }
    }
}

struct Twice;

impl LayerRule for Twice {
    fn forward(&self, x: &Tensor, _: &[f64]) -> CandleResult<Tensor> {
        x * 2.0
    }
    fn pushforward(&self, _: &Tensor, t: &Tensor, _: &[f64]) -> CandleResult<Tensor> {
        t * 2.0
    }
    fn pullback(&self, _: &Tensor, d: &Tensor, _: &[f64]) -> CandleResult<Tensor> {
        d * 2.0
    }
}

#[test]
fn custom_rules_know_no_second_derivatives() {
    let rules = Rules::new().layer("twice", Twice).activation("cube", |x, _| x.powi(3), |x, _| 3.0 * x * x);
    let custom = Net::layer(ntk_core::Layer::Custom { name: "twice".into(), parameters: vec![] });
    let cube = Net::activation(Activation::Custom { name: "cube".into(), parameters: vec![] });
    for (net, name) in [(custom, "twice"), (cube, "cube")] {
        let net = Net::serial([common::dense(), net, common::readout()]);
        let lowering = Lowering { width: 4, ..Lowering::for_inputs(Shape::vector(2)) };
        let net = FiniteNet::lower_with(&net, &lowering, &rules).unwrap();
        let (x, u) = (array![[1.0, 0.5]], array![[1.0, 2.0]]);
        let error = net.hvp((&x).into(), u.view(), &direction(&net, 1)).unwrap_err();
        assert!(matches!(&error, Error::SecondDerivative { name: found } if found == name), "{error}");
    }
}
