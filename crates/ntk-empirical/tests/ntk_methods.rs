//! All ways to the tangent kernel of a finite network, in any tiles, against each other and against its Jacobian.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

mod common;

use std::cell::Cell;
use std::ops::ControlFlow;

use common::{Case, cases, numbers};
use ndarray::{Array2, Array4, ArrayD, Axis, s};
use ntk_core::{Activation, Batch, KernelFn, Net, Shape, Variance, Which};
use ntk_empirical::candle_core::{DType, Device};
use ntk_empirical::{Autograd, Error, FiniteNet, Lowering, Mode, Ntk, NtkMethod, NtkOptions, NtkPart};
use ntk_testkit::strategies;
use proptest::prelude::*;

const METHODS: [NtkMethod; 4] =
    [NtkMethod::Auto, NtkMethod::Structured, NtkMethod::Jacobian, NtkMethod::Products];
const PARTS: [NtkPart; 5] =
    [NtkPart::Blocks, NtkPart::Diagonals, NtkPart::Trace, NtkPart::SumOfLogits, NtkPart::Layers];

fn close(name: &str, got: &ArrayD<f64>, expected: &ArrayD<f64>, tolerance: f64) {
    let largest = |a: &ArrayD<f64>| a.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    assert_eq!(got.shape(), expected.shape(), "{name}");
    let (worst, scale) = (largest(&(got - expected)), largest(expected));
    assert!(worst <= tolerance * scale, "{name}: {worst:e} of {scale:e}");
}

/// A part as one array, layers along the first axis.
fn part(ntk: &Ntk<'_>, part: NtkPart) -> Result<ArrayD<f64>, Error> {
    Ok(match part {
        NtkPart::Blocks => ntk.blocks()?.into_dyn(),
        NtkPart::Diagonals => ntk.diagonals()?.into_dyn(),
        NtkPart::Trace => ntk.trace()?.into_dyn(),
        NtkPart::SumOfLogits => ntk.sum_of_logits()?.into_dyn(),
        NtkPart::Layers => {
            let layers = ntk.layers()?;
            let views: Vec<_> = layers.iter().map(|(_, share)| share.view()).collect();
            ndarray::stack(Axis(0), &views).unwrap().into_dyn()
        }
    })
}

/// What the blocks of Θ say of a part; of layers, their sum.
fn expected(blocks: &Array4<f64>, part: NtkPart) -> ArrayD<f64> {
    let (n1, n2, o, _) = blocks.dim();
    let of = |f: &dyn Fn(usize, usize) -> f64| Array2::from_shape_fn((n1, n2), |(i, j)| f(i, j)).into_dyn();
    match part {
        NtkPart::Blocks => blocks.clone().into_dyn(),
        NtkPart::Diagonals => {
            ndarray::Array3::from_shape_fn((n1, n2, o), |(i, j, c)| blocks[[i, j, c, c]]).into_dyn()
        }
        NtkPart::Trace | NtkPart::Layers => {
            of(&|i, j| blocks.slice(s![i, j, .., ..]).diag().sum() / o as f64)
        }
        NtkPart::SumOfLogits => of(&|i, j| blocks.slice(s![i, j, .., ..]).sum() / o as f64),
    }
}

/// All methods, parts and tiles against given blocks.
fn agree(
    name: &str,
    net: &FiniteNet,
    x1: Batch<'_>,
    x2: Option<Batch<'_>>,
    blocks: &Array4<f64>,
    tolerance: f64,
) {
    for method in METHODS {
        for which in PARTS {
            let whole = NtkOptions { method, memory: usize::MAX };
            let ntk = |options| net.ntk(x1.reborrow(), x2.map(Batch::reborrow), options).unwrap();
            let plan = ntk(whole).plan(which).unwrap();
            let needed = match ntk(NtkOptions { memory: 0, ..whole }).plan(which) {
                Err(Error::Memory { needed, bound: 0 }) => needed,
                other => panic!("{other:?}"),
            };
            let middle = needed + plan.bytes.saturating_sub(needed) / 3;
            // In single precision the extremes will do.
            let all =
                if tolerance > 1e-9 { vec![usize::MAX, needed] } else { vec![usize::MAX, middle, needed] };
            for memory in all {
                let options = NtkOptions { method, memory };
                let name = format!("{name}, {method:?}, {which:?}, {memory} of {needed} bytes");
                let plan = ntk(options).plan(which).unwrap();
                assert!(plan.bytes <= memory, "{name}: {plan}");
                let got = part(&ntk(options), which).unwrap();
                let expected = expected(blocks, which);
                let got = if which == NtkPart::Layers { got.sum_axis(Axis(0)) } else { got };
                close(&name, &got, &expected, tolerance);
            }
        }
    }
}

/// J Λ Jᵀ, one vector–Jacobian product for each sample and output.
fn by_rows(net: &FiniteNet, x: Batch<'_>) -> Array4<f64> {
    let (n, o) = (x.len(), net.output_width());
    let rates = ntk_empirical::Model::rates(net);
    let rows: Vec<_> = (0..n * o)
        .map(|row| {
            let mut u = Array2::zeros((n, o));
            u[[row / o, row % o]] = 1.0;
            net.vjp(x, u.view()).unwrap()
        })
        .collect();
    let names = net.parameter_names();
    let dot = |a: usize, b: usize| -> f64 {
        let product = |(name, rate): (&String, &f64)| {
            let (a, b) = (rows[a].get(name).unwrap(), rows[b].get(name).unwrap());
            let sum = (a * b).unwrap().sum_all().unwrap().to_dtype(DType::F64).unwrap();
            rate * sum.to_scalar::<f64>().unwrap()
        };
        names.iter().zip(&rates).map(product).sum()
    };
    Array4::from_shape_fn((n, n, o, o), |(i, j, p, q)| dot(i * o + p, j * o + q))
}

fn between(blocks: &Array4<f64>, n1: usize) -> Array4<f64> {
    blocks.slice(s![..n1, n1.., .., ..]).to_owned()
}

fn case_agrees(case: &Case, dtype: DType, tolerance: f64) {
    let net = case.lowered_in(dtype, Device::Cpu, 3, Mode::Training);
    let exact = case.lowered_in(DType::F64, Device::Cpu, 3, Mode::Training);
    let (x, n) = (case.batch(), case.batch().len());
    let blocks = by_rows(&exact, x);
    agree(&case.name, &net, x, None, &blocks, tolerance);
    let (x1, x2) = (x.range(0, n - 1), x.range(n - 1, n));
    agree(&case.name, &net, x1, Some(x2), &between(&blocks, n - 1), tolerance);
}

#[test]
fn all_methods_agree_in_any_tiles() {
    for case in cases() {
        case_agrees(&case, DType::F64, 1e-10);
    }
}

#[test]
fn all_methods_agree_in_single_precision() {
    // Without ε a norm over four channels magnifies roundings.
    for case in cases().into_iter().filter(|case| case.name != "lengths, norm") {
        case_agrees(&case, DType::F32, 1e-5);
    }
}

#[test]
fn all_methods_agree_with_candle() {
    for case in cases().into_iter().filter(Case::plain) {
        let net = case.lowered(7, Mode::Evaluation);
        let blocks = Autograd::new(&net).unwrap().ntk_blocks(case.batch(), case.batch()).unwrap();
        agree(&case.name, &net, case.batch(), None, &blocks, 1e-10);
    }
}

proptest! {
    #![proptest_config(ntk_testkit::cases(24))]

    #[test]
    fn all_methods_agree_on_random_networks(net in strategies::any_net(), seed in 0u64..1000) {
        let lowering = Lowering { width: 5, seed, mode: Mode::Training, ..Lowering::for_inputs(Shape::vector(3)) };
        let net = FiniteNet::lower(&net.at_width(5), &lowering).unwrap();
        let x = numbers(4, 3, seed);
        let blocks = by_rows(&net, (&x).into());
        agree("random", &net, (&x).into(), None, &blocks, 1e-10);
    }

    #[test]
    fn all_methods_agree_on_random_networks_of_grids(
        net in strategies::grid_net(&[3, 4], 2),
        x in strategies::grid_inputs(3, &[3, 4], 2),
        seed in 0u64..1000,
    ) {
        let lowering = Lowering { width: 4, seed, ..Lowering::for_inputs(x.view().shape().unwrap()) };
        let net = FiniteNet::lower(&net.at_width(4), &lowering).unwrap();
        let blocks = by_rows(&net, x.view());
        agree("random grid", &net, x.view(), None, &blocks, 1e-10);
    }
}

#[test]
fn products_with_vectors_are_those_of_the_matrix() {
    for case in cases() {
        for (mode, seed) in [(Mode::Evaluation, 3), (Mode::Training, 4)] {
            let net = case.lowered(seed, mode);
            let (x, n, o) = (case.batch(), case.batch().len(), net.output_width());
            let needed = |ntk: Ntk<'_>| match ntk.apply(numbers(ntk.dim().0.1, o, 1).view()) {
                Err(Error::Memory { needed, .. }) => needed,
                other => panic!("{other:?}"),
            };
            let none = NtkOptions { memory: 0, ..NtkOptions::default() };
            let tight = NtkOptions { memory: needed(net.ntk(x, None, none).unwrap()), ..none };
            for options in [NtkOptions::default(), tight] {
                let pairs =
                    [net.ntk(x, None, options), net.ntk(x.range(0, n - 1), Some(x.range(n - 1, n)), options)];
                for ntk in pairs.map(Result::unwrap) {
                    let ((n1, n2), _) = ntk.dim();
                    let blocks = net.ntk(x, None, NtkOptions::default()).unwrap().blocks().unwrap();
                    let blocks = if n1 == n { blocks } else { between(&blocks, n1) };
                    let theta = blocks.permuted_axes([0, 2, 1, 3]).as_standard_layout().into_owned();
                    let theta = theta.into_shape_with_order((n1 * o, n2 * o)).unwrap();
                    let times = |m: &Array2<f64>, u: &Array2<f64>| {
                        let rows = m.nrows() / o;
                        m.dot(&u.clone().into_shape_with_order(u.len()).unwrap())
                            .into_shape_with_order((rows, o))
                            .unwrap()
                            .into_dyn()
                    };
                    let (u, v) = (numbers(n2, o, 5), numbers(n1, o, 6));
                    close(&case.name, &ntk.apply(u.view()).unwrap().into_dyn(), &times(&theta, &u), 1e-11);
                    let transposed = theta.t().as_standard_layout().into_owned();
                    let product = ntk.apply_transposed(v.view()).unwrap().into_dyn();
                    close(&case.name, &product, &times(&transposed, &v), 1e-11);
                }
            }
        }
    }
}

fn dense(outputs: usize) -> (FiniteNet, Array2<f64>) {
    let net = Net::mlp(2, Activation::Tanh, outputs, Variance::TWO, Variance::ONE);
    let lowering = Lowering { width: 32, ..Lowering::for_inputs(Shape::vector(6)) };
    (FiniteNet::lower(&net, &lowering).unwrap(), numbers(12, 6, 0))
}

#[test]
fn kernels_are_symmetric_to_the_bit() {
    for case in cases() {
        let net = case.lowered_in(DType::F32, Device::Cpu, 3, Mode::Evaluation);
        for method in METHODS {
            let ntk = net.ntk(case.batch(), None, NtkOptions { method, ..NtkOptions::default() }).unwrap();
            let blocks = ntk.blocks().unwrap();
            assert_eq!(blocks, blocks.view().permuted_axes([1, 0, 3, 2]), "{}, {method:?}", case.name);
            assert_eq!(ntk.trace().unwrap(), ntk.trace().unwrap().t(), "{}, {method:?}", case.name);
        }
    }
}

#[test]
fn the_model_prefers_gram_matrices_for_dense_layers_and_derivatives_for_convolutions() {
    let (net, x) = dense(3);
    let ntk = net.ntk((&x).into(), None, NtkOptions::default()).unwrap();
    let plan = ntk.plan(NtkPart::Blocks).unwrap();
    assert!(plan.layers.iter().all(|layer| layer.method == NtkMethod::Structured), "{plan}");
    for method in METHODS {
        let other = net.ntk((&x).into(), None, NtkOptions { method, ..NtkOptions::default() }).unwrap();
        assert!(other.plan(NtkPart::Blocks).unwrap().operations() >= plan.operations());
    }
    let conv = cases().into_iter().find(|case| case.name == "conv, global average").unwrap();
    let lowering = Lowering { width: 3, ..Lowering::for_inputs(conv.batch().shape().unwrap()) };
    let net = FiniteNet::lower(&conv.net.clone().at_width(3), &lowering).unwrap();
    let plan = net.ntk(conv.batch(), None, NtkOptions::default()).unwrap().plan(NtkPart::Trace).unwrap();
    assert!(plan.layers.iter().any(|layer| layer.method == NtkMethod::Jacobian), "{plan}");
    let text = plan.to_string();
    assert!(plan.layers.iter().all(|layer| text.contains(&layer.layer)), "{text}");
}

#[test]
fn an_observer_counts_and_stops() {
    let (net, x) = dense(3);
    for method in METHODS {
        let none = NtkOptions { method, memory: 0 };
        let needed = match net.ntk((&x).into(), None, none).unwrap().trace() {
            Err(Error::Memory { needed, bound: 0 }) => needed,
            other => panic!("{other:?}"),
        };
        let options = NtkOptions { method, memory: needed };
        let seen = Cell::new(0);
        let ntk = net.ntk((&x).into(), None, options).unwrap().with_observer(|progress| {
            assert_eq!(progress.done, seen.get() + 1);
            seen.set(progress.done);
            assert!(progress.done <= progress.total && progress.total > 2);
            ControlFlow::Continue(())
        });
        ntk.trace().unwrap();
        let stopped = net.ntk((&x).into(), None, options).unwrap().with_observer(|progress| {
            if progress.done == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match stopped.trace() {
            Err(Error::Net(ntk_core::Error::Cancelled { done: 2, .. })) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn bad_input_is_refused_before_work() {
    let (net, x) = dense(2);
    let ntk = |x1: &Array2<f64>, x2: Option<&Array2<f64>>| {
        net.ntk(x1.into(), x2.map(Into::into), NtkOptions::default()).map(|_| ()).unwrap_err()
    };
    assert!(matches!(ntk(&numbers(2, 5, 0), None), Error::Features { expected: 6, found: 5 }));
    assert!(matches!(ntk(&x, Some(&numbers(2, 5, 0))), Error::Net(ntk_core::Error::Features { .. })));
    assert!(matches!(ntk(&Array2::zeros((0, 6)), None), Error::Net(ntk_core::Error::EmptyBatch { .. })));
    let mut bad = x.clone();
    bad[[3, 2]] = f64::NAN;
    assert!(matches!(ntk(&x, Some(&bad)), Error::Net(ntk_core::Error::NonFiniteInput { sample: 3, .. })));
    let none = Net::readout(0, Variance::ONE, Variance::ZERO);
    let none = FiniteNet::lower(&none, &Lowering::for_inputs(Shape::vector(6)));
    assert!(matches!(none, Err(Error::Net(ntk_core::Error::ZeroWidth))), "{none:?}");
    let whole = net.ntk((&x).into(), None, NtkOptions::default()).unwrap();
    let wrong = whole.apply(numbers(12, 3, 0).view());
    assert!(matches!(wrong, Err(Error::Targets { expected: (12, 2), found: (12, 3) })));
    let mut infinite = numbers(12, 2, 0);
    infinite[[1, 1]] = f64::INFINITY;
    assert!(matches!(whole.apply(infinite.view()), Err(Error::Target { sample: 1, output: 1, .. })));
}

#[test]
fn the_kernel_of_a_network_is_the_trace() {
    let (net, x) = dense(4);
    let ntk = net.ntk((&x).into(), None, NtkOptions::default()).unwrap();
    let kernel = net.symmetric((&x).into(), Which::Ntk).unwrap().ntk.unwrap();
    assert_eq!(kernel, ntk.trace().unwrap());
}
