//! Theorems about every layer over positions, at finite width: its derivatives, its kernels, its training.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

mod common;

use std::ops::ControlFlow;

use common::{Case, Data, attention, cases, close, direction, global, numbers, phi, pool, shared, variance};
use ndarray::{Array2, Axis, s};
use ntk_core::{Affine, Attention, ConvKind, Groups, KernelFn, Net, Pooling, Which, Width, Window};
use ntk_empirical::candle_core::{DType, Device};
use ntk_empirical::{Autograd, FiniteNet, Mode, Model, Parameters, Reduction, TrainOptions};

fn for_each_case(test: impl Fn(&Case, FiniteNet)) {
    for case in cases() {
        for (mode, seed) in [(Mode::Evaluation, 3), (Mode::Training, 4)] {
            test(&case, case.lowered(seed, mode));
        }
    }
}

#[test]
fn jvp_is_adjoint_to_vjp() {
    for_each_case(|case, net| {
        let u = numbers(case.batch().len(), net.output_width(), 1);
        let v = direction(&net, 2);
        let jv = net.jvp(case.batch(), &v).unwrap();
        let jtu = net.vjp(case.batch(), u.view()).unwrap();
        let (left, right) = ((&jv * &u).sum(), jtu.dot(&v).unwrap());
        let scale = (&jv * &u).mapv(f64::abs).sum();
        assert!((left - right).abs() <= 1e-12 * scale, "{}: {left} {right}", case.name);
    });
}

#[test]
fn jvp_is_the_derivative_of_the_outputs() {
    for_each_case(|case, mut net| {
        if !case.smooth() {
            return;
        }
        let (theta, v) = (net.parameters().unwrap(), direction(&net, 5));
        let jv = net.jvp(case.batch(), &v).unwrap();
        let mut at = |h: f64| {
            net.set_parameters(&theta.plus(h, &v).unwrap()).unwrap();
            net.outputs(case.batch()).unwrap()
        };
        // Central differences of order 4, exact to h⁴ and to rounding/h.
        let h = 3e-4;
        let difference = ((at(h) - at(-h)) * 8.0 - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
        close(&case.name, &difference, &jv, 1e-8);
    });
}

/// Rows of the Jacobian, each parameter with the root of its rate.
fn jacobian(case: &Case, net: &FiniteNet) -> Vec<Parameters> {
    let (n, o) = (case.batch().len(), net.output_width());
    let rates: Vec<f64> = Model::rates(net);
    let row = |row: usize| {
        let mut u = Array2::zeros((n, o));
        u[[row / o, row % o]] = 1.0;
        let gradient = net.vjp(case.batch(), u.view()).unwrap();
        let mut scaled = Parameters::new();
        for (name, rate) in net.parameter_names().into_iter().zip(&rates) {
            scaled.insert(name.clone(), (gradient.get(&name).unwrap() * rate.sqrt()).unwrap());
        }
        scaled
    };
    (0..n * o).map(row).collect()
}

#[test]
fn structured_kernel_is_jacobian_times_its_transpose() {
    for_each_case(|case, net| {
        let (n, o) = (case.batch().len(), net.output_width());
        let rows = jacobian(case, &net);
        let theta = Array2::from_shape_fn((n * o, n * o), |(a, b)| rows[a].dot(&rows[b]).unwrap());
        let blocks = net.ntk_blocks(case.batch(), case.batch()).unwrap().permuted_axes([0, 2, 1, 3]);
        let blocks = blocks.as_standard_layout().into_owned().into_shape_with_order((n * o, n * o)).unwrap();
        close(&case.name, &blocks, &theta, 1e-12);
        let trace = |(i, j)| (0..o).map(|c| theta[[i * o + c, j * o + c]]).sum::<f64>() / o as f64;
        let ntk = net.symmetric(case.batch(), Which::Ntk).unwrap().ntk.unwrap();
        close(&case.name, &ntk, &Array2::from_shape_fn((n, n), trace), 1e-12);
        let layers = net.ntk_layers(case.batch(), case.batch()).unwrap();
        let total = layers.iter().fold(Array2::zeros((n, n)), |sum: Array2<f64>, (_, share)| sum + share);
        close(&case.name, &total, &ntk, 1e-12);
    });
}

#[test]
fn structured_kernel_is_that_of_candle() {
    for case in cases().into_iter().filter(Case::plain) {
        let net = case.lowered(7, Mode::Evaluation);
        let ntk = net.symmetric(case.batch(), Which::Ntk).unwrap().ntk.unwrap();
        let autograd = Autograd::new(&net).unwrap().symmetric(case.batch(), Which::Both).unwrap();
        close(&case.name, &ntk, &autograd.ntk.unwrap(), 1e-11);
        let gram = net.output_gram(case.batch(), case.batch()).unwrap();
        close(&case.name, &gram, &autograd.nngp.unwrap(), 1e-11);
    }
}

#[test]
fn f32_follows_f64() {
    for case in cases() {
        let kernels = |dtype| {
            let net = case.lowered_in(dtype, Device::Cpu, 1, Mode::Evaluation);
            (net.outputs(case.batch()).unwrap(), net.symmetric(case.batch(), Which::Both).unwrap())
        };
        let ((f, k), (f64s, k64)) = (kernels(DType::F32), kernels(DType::F64));
        // A few hundred roundings of 2⁻²⁴; without ε a norm over four channels magnifies them.
        let tolerance = if case.name == "lengths, norm" { 1e-4 } else { 2e-5 };
        close(&case.name, &f, &f64s, tolerance);
        close(&case.name, &k.nngp.unwrap(), &k64.nngp.unwrap(), tolerance);
        close(&case.name, &k.ntk.unwrap(), &k64.ntk.unwrap(), tolerance);
    }
}

#[test]
fn blocks_of_a_kernel_are_kernels_of_blocks() {
    for case in cases() {
        let net = case.lowered(1, Mode::Evaluation);
        let (n, all) = (case.batch().len(), net.symmetric(case.batch(), Which::Both).unwrap());
        let order: Vec<usize> = (0..n).rev().collect();
        let reversed = case.batch().select(&order);
        let block = net.block(reversed.view(), case.batch().range(0, 1), Which::Both).unwrap();
        for (all, block) in [(all.nngp, block.nngp), (all.ntk, block.ntk)] {
            let (all, block) = (all.unwrap(), block.unwrap());
            assert_eq!(all, all.t(), "{}", case.name);
            let expected = all.select(Axis(0), &order).slice_move(s![.., 0..1]);
            close(&case.name, &block, &expected, 1e-12);
            let diagonal = all.diag().to_owned();
            let psd =
                all.indexed_iter().all(|((i, j), k)| k * k <= diagonal[i] * diagonal[j] * (1.0 + 1e-12));
            assert!(psd && diagonal.iter().all(|k| *k >= 0.0), "{}", case.name);
        }
    }
}

#[test]
fn one_step_of_training_is_one_step_along_the_gradient() {
    for_each_case(|case, mut net| {
        if case.dropout {
            return; // Each step draws masks of its own.
        }
        let y = numbers(case.batch().len(), net.output_width(), 9);
        let (before, f) = (net.parameters().unwrap(), net.outputs(case.batch()).unwrap());
        let gradient = net.vjp(case.batch(), (&f - &y).view()).unwrap();
        let mut expected = Parameters::new();
        for (name, rate) in net.parameter_names().iter().zip(Model::rates(&net)) {
            let step = (gradient.get(name).unwrap() * (1e-3 * rate)).unwrap();
            expected.insert(name, (before.get(name).unwrap() - step).unwrap());
        }
        let mut linear = net.linearize().unwrap();
        for momentum in [0.0, 0.5] {
            let options =
                TrainOptions { momentum, reduction: Reduction::Sum, ..TrainOptions::descent(1e-3, 1) };
            net.set_parameters(&before).unwrap();
            net.train(&options, case.batch(), y.view(), |_| ControlFlow::Continue(())).unwrap();
            let error = net.parameters().unwrap().plus(-1.0, &expected).unwrap().norm().unwrap();
            assert!(error <= 1e-13 * expected.norm().unwrap(), "{}: {error:e}", case.name);
        }
        let options = TrainOptions { reduction: Reduction::Sum, ..TrainOptions::descent(1e-3, 1) };
        let end = linear.train(&options, case.batch(), y.view(), |_| ControlFlow::Continue(())).unwrap();
        let step = expected.plus(-1.0, &before).unwrap();
        net.set_parameters(&before).unwrap();
        close(&case.name, &end.outputs, &(&f + &net.jvp(case.batch(), &step).unwrap()), 1e-12);
    });
}

#[test]
fn a_shorter_sample_is_that_of_a_shorter_grid() {
    for case in cases().into_iter().filter(|case| case.name.starts_with("lengths, ")) {
        if ["strides", "pool", "flatten"].iter().any(|name| case.name.ends_with(name)) {
            continue; // What stands at the edge depends on the grid.
        }
        let net = case.lowered(6, Mode::Evaluation);
        let (f, lengths) = (net.outputs(case.batch()).unwrap(), case.data.lengths.clone().unwrap());
        let theta = net.symmetric(case.batch(), Which::Both).unwrap();
        let alone: Vec<Data> = lengths
            .iter()
            .enumerate()
            .map(|(i, &length)| {
                let values = case.data.values.slice_each_axis(|axis| match axis.axis.index() {
                    0 => (i..i + 1).into(),
                    1 => (0..length).into(),
                    _ => (..).into(),
                });
                Data { values: values.as_standard_layout().into_owned(), ..Data::numbers(1, &[length], 2) }
            })
            .collect();
        for (i, data) in alone.into_iter().enumerate() {
            let single = Case { data, ..case.clone() };
            let net = single.lowered(6, Mode::Evaluation);
            let row = f.slice(s![i..i + 1, ..]).to_owned();
            close(&case.name, &net.outputs(single.batch()).unwrap(), &row, 1e-13);
            let own = net.symmetric(single.batch(), Which::Both).unwrap();
            for (own, all) in [(own.nngp, &theta.nngp), (own.ntk, &theta.ntk)] {
                let all = all.as_ref().unwrap().slice(s![i..i + 1, i..i + 1]).to_owned();
                close(&case.name, &own.unwrap(), &all, 1e-12);
            }
        }
    }
}

#[test]
fn finite_nngp_is_the_covariance_over_the_last_affine_layers() {
    // As the mean of k products of Gaussians, whose standard error is √((K₁₁K₂₂ + K₁₂²)/k), times the root of the
    // number of positions that one draw is used at.
    let k = 3000;
    let wide = |kind, window: Window, groups| {
        Net::conv_with(kind, Width::Fixed(k), Affine::new(variance(1.7), variance(0.3)), window, groups)
    };
    let one = || wide(ConvKind::Shared, Window::same(&[3, 3]), Groups::Count(1));
    let local = || wide(ConvKind::Local, Window::valid(&[2, 2]), Groups::Count(1));
    let first = || shared(Window::same(&[3, 3])).then(phi());
    let average = || pool(Pooling::Average, Window::same(&[2, 2]));
    let plain = Net::dense_with(Width::Fixed(k), Affine::new(variance(0.9), variance(0.1)));
    let attention = Attention { width: Width::Fixed(k), ..attention() };
    let nets = [
        ("global average", one().then(global())),
        ("positions", one()),
        ("flatten", one().then(average()).then(Net::flatten())),
        ("local", local()),
        ("local, mixed", local().then(average()).then(global())),
        ("groups", wide(ConvKind::Shared, Window::same(&[3, 3]), Groups::Count(4)).then(global())),
        ("sum", Net::sum([one(), plain.clone()]).then(global())),
        ("concatenation", Net::concat([one(), plain.clone()]).then(global())),
        ("join", Net::join(0, [one(), plain]).then(global())),
        ("attention", Net::attention(attention).then(global())),
    ];
    for (name, net) in nets {
        let net = first().then(net);
        let case = Case { name: name.to_owned(), net, data: Data::numbers(2, &[3, 4], 2), dropout: false };
        let net = case.lowered(8, Mode::Evaluation);
        let nngp = net.symmetric(case.batch(), Which::Nngp).unwrap().nngp.unwrap();
        let gram = net.output_gram(case.batch(), case.batch()).unwrap();
        for ((i, j), &gram) in gram.indexed_iter() {
            let error = ((nngp[[i, i]] * nngp[[j, j]] + nngp[[i, j]].powi(2)) / k as f64).sqrt();
            assert!((gram - nngp[[i, j]]).abs() <= 4.0 * error, "{name}: {gram} {} {error}", nngp[[i, j]]);
        }
    }
}
