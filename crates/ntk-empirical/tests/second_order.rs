//! Theorems about second derivatives of finite networks, for every layer.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

mod common;

use std::ops::ControlFlow;

use common::{Case, cases, direction, numbers, variance};
use ndarray::{Array2, Array4, array};
use ntk_core::{Activation, KernelFn, Net, Shape, Which};
use ntk_empirical::candle_core::{Result as CandleResult, Tensor};
use ntk_empirical::{
    Coordinates, Error, FiniteNet, LayerRule, Loss, Lowering, Mode, Model, Operator, Parameters, Quadratic,
    Reduction, Rules, Step, TrainOptions,
};
use ntk_linalg::{Lanczos, Probe, Symmetric, SymmetricEigen};
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
    #![proptest_config(ntk_testkit::cases(48))]

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

/// A symmetric eigenvalue problem solved as a matrix.
fn eigenvalues(matrix: Array2<f64>) -> Vec<f64> {
    let symmetric = (&matrix + &matrix.t()) * 0.5;
    let eigen = SymmetricEigen::new(&Symmetric::new(symmetric).unwrap()).unwrap();
    let mut values = eigen.values().to_vec();
    values.sort_by(f64::total_cmp);
    values
}

#[test]
fn lanczos_finds_the_eigenvalues_of_the_dense_matrix() {
    let net = Net::mlp(2, Activation::Tanh, 2, variance(1.5), variance(0.2));
    let lowering = Lowering { width: 7, seed: 3, ..Lowering::for_inputs(Shape::vector(3)) };
    let net = FiniteNet::lower(&net, &lowering).unwrap();
    let (x, u) = (numbers(5, 3, 0), numbers(5, 2, 1));
    let weights = Coordinates::named(&net, &["0.weight", "2.weight"]).unwrap();
    assert_eq!(weights.len(), 3 * 7 + 7 * 7);
    let hessian = |v: &Parameters| net.hvp((&x).into(), u.view(), v);
    let fisher = |v: &Parameters| net.fisher_product(Loss::CrossEntropy, Reduction::Sum, (&x).into(), v);
    for operator in [
        Operator::on_parameters(Coordinates::learning(&net), hessian),
        Operator::on_parameters(weights, hessian),
        Operator::on_parameters(Coordinates::learning(&net), fisher),
        Operator::ntk(&net, (&x).into()),
    ] {
        let expected = eigenvalues(operator.to_dense().unwrap());
        let (first, last) = (expected[0], expected[expected.len() - 1]);
        let scale = first.abs().max(last.abs());
        let ritz = operator.eigenvalues(&Lanczos::new(operator.dim())).unwrap();
        for (got, expected) in ritz.values().iter().zip(&expected) {
            assert!((got - expected).abs() <= 1e-10 * scale, "{got} {expected}");
        }
        let few = operator.eigenvalues(&Lanczos::norm(operator.dim(), 1e-6)).unwrap();
        assert!((few.norm() - scale).abs() <= few.norm_bound() + 1e-10 * scale);
        let density = operator.density(operator.dim(), 20, Probe::Rademacher, 1).unwrap();
        let square = density.moment(2).unwrap();
        let exact = expected.iter().map(|v| v * v).sum::<f64>() / expected.len() as f64;
        assert!((square.mean - exact).abs() <= 4.0 * square.standard_error, "{square:?} {exact}");
    }
    let theta = net.ntk_blocks((&x).into(), (&x).into()).unwrap();
    let dense = Operator::ntk(&net, (&x).into()).to_dense().unwrap();
    for ((i, j, a, b), &theta) in theta.indexed_iter() {
        assert!((dense[[2 * i + a, 2 * j + b]] - theta).abs() <= 1e-12 * dense[[0, 0]]);
    }
}

#[test]
fn coordinates_are_refused_where_they_do_not_fit() {
    let net = Net::mlp(1, Activation::Tanh, 1, variance(1.5), variance(0.2));
    let net =
        FiniteNet::lower(&net, &Lowering { width: 4, ..Lowering::for_inputs(Shape::vector(2)) }).unwrap();
    let error = Coordinates::named(&net, &["0.weight", "7.weight"]).unwrap_err();
    assert!(matches!(&error, Error::UnknownParameter { name } if name == "7.weight"), "{error}");
    let all = Coordinates::learning(&net);
    let flat = all.flatten(&net.parameters().unwrap()).unwrap();
    assert_eq!(flat.len(), net.parameter_count());
    assert_eq!(all.flatten(&all.unflatten(&flat).unwrap()).unwrap(), flat);
    assert!(matches!(all.unflatten(&array![1.0]), Err(Error::Setting { .. })));
    assert!(matches!(all.flatten(&Parameters::new()), Err(Error::MissingParameter { .. })));
}

#[test]
fn error_of_the_quadratic_model_is_of_third_order() {
    for case in cases().into_iter().filter(|case| case.smooth() && case.name != "tokens that end") {
        let mut net = case.lowered(3, Mode::Evaluation);
        let mut quadratic = net.quadratic().unwrap();
        let (theta, v) = (net.parameters().unwrap(), direction(&net, 2));
        let mut error = |h: f64| {
            let zero = v.plus(-1.0, &v).unwrap();
            let step = zero.plus(h, &v).unwrap();
            quadratic.set_omega(&step).unwrap();
            net.set_parameters(&theta.plus(h, &v).unwrap()).unwrap();
            let exact = net.outputs(case.batch()).unwrap();
            (quadratic.outputs(case.batch()).unwrap() - exact).mapv(|e| e * e).sum().sqrt()
        };
        let (near, far) = (error(2e-3), error(4e-3));
        let order = (far / near).log2();
        assert!((order - 3.0).abs() < 0.1, "{}: {near:e} {far:e} {order}", case.name);
    }
}

#[test]
fn network_that_is_quadratic_trains_as_its_quadratic_model() {
    // One hidden layer without activation is of second order in its parameters.
    let net = Net::serial([common::dense(), common::readout()]);
    let lowering = Lowering { width: 5, seed: 2, ..Lowering::for_inputs(Shape::vector(3)) };
    let mut net = FiniteNet::lower(&net, &lowering).unwrap();
    let mut quadratic = net.quadratic().unwrap();
    let (x, y) = (numbers(6, 3, 0), numbers(6, 2, 4));
    for options in [
        TrainOptions { momentum: 0.5, ..TrainOptions::descent(0.1, 20) },
        TrainOptions { batch: Some(4), reduction: Reduction::MeanN, ..TrainOptions::descent(0.05, 20) },
    ] {
        let go = |_: &Step<'_, FiniteNet>| ControlFlow::Continue(());
        let exact = net.train(&options, (&x).into(), y.view(), go).unwrap();
        let model = quadratic.train(&options, (&x).into(), y.view(), |_| ControlFlow::Continue(())).unwrap();
        common::close("outputs", &model.outputs, &exact.outputs, 1e-12);
    }
    let moved = quadratic.base().parameters().unwrap().plus(1.0, &quadratic.omega().unwrap()).unwrap();
    assert!(distance(&moved, &net.parameters().unwrap()) <= 1e-12);
}

#[test]
fn quadratic_model_catapults() {
    let net = Net::mlp(1, Activation::Tanh, 1, variance(1.0), variance(0.0));
    let lowering = Lowering { width: 256, seed: 2, ..Lowering::for_inputs(Shape::vector(2)) };
    let net = FiniteNet::lower(&net, &lowering).unwrap();
    let (x, y) = (array![[1.0, -0.5]], array![[0.7]]);
    let lambda = net.ntk_blocks((&x).into(), (&x).into()).unwrap()[[0, 0, 0, 0]];
    let options = TrainOptions { record: (0..200).collect(), ..TrainOptions::descent(2.6 / lambda, 200) };
    let mut losses = Vec::new();
    let mut quadratic = net.quadratic().unwrap();
    let observe = |step: &Step<'_, Quadratic>| {
        losses.push(step.loss);
        ControlFlow::Continue(())
    };
    quadratic.train(&options, (&x).into(), y.view(), observe).unwrap();
    let largest = losses.iter().fold(0.0, |m: f64, &loss| m.max(loss));
    assert!(largest > 4.0 * losses[0], "{losses:?}");
    assert!(losses[200] < 1e-6 * losses[0], "{losses:?}");
    // The linearized model diverges at this rate.
    let mut linear = net.linearize().unwrap();
    linear.train(&options, (&x).into(), y.view(), |_| ControlFlow::Continue(())).unwrap();
    assert!(linear.outputs((&x).into()).unwrap()[[0, 0]].abs() > 1e20);
}

/// Blocks as a matrix.
fn matrix(blocks: &Array4<f64>) -> Array2<f64> {
    let (n1, n2, o, _) = blocks.dim();
    Array2::from_shape_fn((n1 * o, n2 * o), |(i, j)| blocks[[i / o, j / o, i % o, j % o]])
}

/// (g(h) − g(−h))/2h to order 4 of matrices.
fn slope(h: f64, mut at: impl FnMut(f64) -> Array2<f64>) -> Array2<f64> {
    ((at(h) - at(-h)) * 8.0 - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h)
}

fn at<T>(net: &mut FiniteNet, theta: &Parameters, f: impl Fn(&FiniteNet) -> T) -> T {
    let before = net.parameters().unwrap();
    net.set_parameters(theta).unwrap();
    let value = f(net);
    net.set_parameters(&before).unwrap();
    value
}

#[test]
fn derivatives_of_the_kernel_are_its_differences() {
    for_each_case(|case, mut net| {
        if !case.smooth() || case.name == "tokens that end" {
            return;
        }
        let (theta, v, a) = (net.parameters().unwrap(), direction(&net, 2), direction(&net, 7));
        let curve = |h: f64| theta.plus(h, &v).unwrap().plus(0.5 * h * h, &a).unwrap();
        let [kernel, first, second] = net.ntk_derivatives(case.batch(), None, &v, Some(&a)).unwrap();
        let expected = net.ntk_blocks(case.batch(), case.batch()).unwrap();
        common::close(&case.name, &matrix(&kernel), &matrix(&expected), 1e-12);
        let kernel = |net: &FiniteNet| matrix(&net.ntk_blocks(case.batch(), case.batch()).unwrap());
        let difference = slope(1e-3, |h| at(&mut net, &curve(h), kernel));
        common::close(&case.name, &matrix(&first), &difference, 1e-6);
        // dΘ/ds at s = h has velocity v + h a.
        let difference = slope(1e-3, |h| {
            let velocity = v.plus(h, &a).unwrap();
            at(&mut net, &curve(h), |net| {
                matrix(&net.ntk_derivatives(case.batch(), None, &velocity, None).unwrap()[1])
            })
        });
        common::close(&case.name, &matrix(&second), &difference, 1e-6);
    });
}

/// R Jᵀr.
fn field(net: &FiniteNet, x: &Array2<f64>, r: &Array2<f64>) -> Parameters {
    let gradient = net.vjp(x.into(), r.view()).unwrap();
    let mut field = Parameters::new();
    for (name, rate) in net.parameter_names().into_iter().zip(Model::rates(net)) {
        field.insert(name.clone(), (gradient.get(&name).unwrap() * rate).unwrap());
    }
    field
}

#[test]
fn third_and_fourth_kernels_are_derivatives_along_gradient_flow() {
    let net =
        Net::serial([common::dense(), common::phi(), common::dense(), common::phi(), common::readout()]);
    let lowering = Lowering { width: 6, seed: 5, ..Lowering::for_inputs(Shape::vector(3)) };
    let mut net = FiniteNet::lower(&net, &lowering).unwrap();
    let (x, other) = (numbers(3, 3, 0), numbers(2, 3, 4));
    let (r, q) = (numbers(3, 2, 1), numbers(3, 2, 2));
    let theta = net.parameters().unwrap();
    let along = |v: &Parameters, h: f64| theta.plus(h, v).unwrap();

    let hierarchy = net.hierarchy((&x).into(), Some((&other).into()), (&x).into(), r.view()).unwrap();
    let v = field(&net, &x, &r);
    let kernel = |net: &FiniteNet| matrix(&net.ntk_blocks((&x).into(), (&other).into()).unwrap());
    common::close("Θ", &matrix(&hierarchy.ntk), &kernel(&net), 1e-12);
    let [trace, ..] = hierarchy.traces();
    let expected = net.block((&x).into(), (&other).into(), Which::Ntk).unwrap().ntk.unwrap();
    common::close("tr Θ", &trace, &expected, 1e-12);
    // ∂ₜ Θ = −K₃ r, and ∂ₜ θ = −R Jᵀr.
    let difference = slope(1e-3, |t| at(&mut net, &along(&v, -t), kernel));
    common::close("K₃ r", &matrix(&hierarchy.third), &-difference, 1e-6);
    let third = |net: &FiniteNet| {
        matrix(&net.hierarchy((&x).into(), Some((&other).into()), (&x).into(), r.view()).unwrap().third)
    };
    let difference = slope(1e-3, |t| at(&mut net, &along(&v, -t), third));
    common::close("K₄ r r", &matrix(&hierarchy.fourth), &-difference, 1e-6);

    let tensors = net.hierarchy_tensors((&x).into()).unwrap();
    let (flat, m) = (|a: &Array2<f64>| a.iter().copied().collect::<Vec<f64>>(), 6);
    let hierarchy = net.hierarchy((&x).into(), None, (&x).into(), r.view()).unwrap();
    let (r0, q0) = (flat(&r), flat(&q));
    let contracted = |f: &dyn Fn(usize, usize) -> f64| Array2::from_shape_fn((m, m), |(a, b)| f(a, b));
    let all = || (0..m).flat_map(|i| (0..m).map(move |j| (i, j)));
    common::close("Θ", &tensors.ntk, &matrix(&hierarchy.ntk), 1e-12);
    let third = contracted(&|a, b| (0..m).map(|i| tensors.third[[i, a, b]] * r0[i]).sum());
    common::close("K₃ r", &third, &matrix(&hierarchy.third), 1e-12);
    let fourth = contracted(&|a, b| all().map(|(i, j)| tensors.fourth[[i, j, a, b]] * r0[i] * r0[j]).sum());
    common::close("K₄ r r", &fourth, &matrix(&hierarchy.fourth), 1e-11);
    // K₄ r q is the derivative of K₃ r along R Jᵀq: the order matters.
    let mixed = contracted(&|a, b| all().map(|(i, j)| tensors.fourth[[i, j, a, b]] * r0[i] * q0[j]).sum());
    let v = field(&net, &x, &q);
    let third =
        |net: &FiniteNet| matrix(&net.hierarchy((&x).into(), None, (&x).into(), r.view()).unwrap().third);
    let difference = slope(1e-3, |t| at(&mut net, &along(&v, t), third));
    common::close("K₄ r q", &mixed, &difference, 1e-6);
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
