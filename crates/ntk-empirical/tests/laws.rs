//! Theorems about finite networks, their derivatives, their training and their linearization.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use std::ops::ControlFlow;

use ndarray::{Array2, array};
use ntk_core::{Activation, Affine, Batch, DropRate, KernelFn, Net, Rate, Shape, Variance, Which, Width};
use ntk_empirical::{FiniteNet, Loss, Lowering, Mode, MonteCarlo, Parameters, Reduction, TrainOptions};
use proptest::prelude::*;

fn numbers(n: usize, d: usize, seed: u64) -> Array2<f64> {
    Array2::from_shape_fn((n, d), |(i, j)| (1.3 * (i * d + j + 1) as f64 + 0.37 * seed as f64).sin() * 1.2)
}

fn lowered(net: &Net, width: usize, seed: u64, mode: Mode) -> FiniteNet {
    let lowering = Lowering { width, seed, mode, ..Lowering::for_inputs(Shape::vector(3)) };
    FiniteNet::lower(&net.clone().at_width(width), &lowering).unwrap()
}

fn direction(net: &FiniteNet, seed: u64) -> Parameters {
    let mut v = Parameters::new();
    for (k, (name, tensor)) in net.parameters().unwrap().iter().enumerate() {
        let dims = tensor.dims();
        let (rows, columns) = if dims.len() == 1 { (1, dims[0]) } else { (dims[0], dims[1]) };
        v.insert_array(name, &numbers(rows, columns, seed + 17 * k as u64)).unwrap();
    }
    v
}

fn largest(a: &Array2<f64>) -> f64 {
    a.iter().fold(0.0, |m: f64, v| m.max(v.abs()))
}

/// Analytic activations first: the others have kinks.
fn activations() -> Vec<Activation> {
    vec![
        Activation::Tanh,
        Activation::ERF,
        Activation::Gelu,
        Activation::SIN,
        Activation::Softplus,
        Activation::Silu,
        Activation::Mish,
        Activation::Gabor,
        Activation::Hermite { degree: 3 },
        Activation::Rbf { gamma: 0.7 },
        Activation::Relu,
        Activation::ELU,
        Activation::HardTanh,
        Activation::RectifiedMonomial { degree: 2 },
    ]
}

/// Every combinator and layer around a given activation.
fn networks(phi: &Activation) -> Vec<Net> {
    let variance = |v| Variance::new(v).unwrap();
    let dense = || Net::dense(variance(1.7), variance(0.3));
    let phi = || Net::activation(phi.clone());
    let readout = || Net::readout(2, variance(1.2), variance(0.1));
    let rates = Affine {
        weight_rate: Rate::new(0.5).unwrap(),
        bias_rate: Rate::new(3.0).unwrap(),
        ..Affine::new(Variance::TWO, Variance::ONE)
    };
    vec![
        Net::serial([dense(), phi(), Net::dense_with(Width::HIDDEN, rates), phi(), readout()]),
        Net::serial([dense(), phi(), dense(), phi(), readout()]).standard(),
        Net::serial([dense(), phi().then(dense()).residual(), phi(), readout()]),
        Net::serial([dense(), Net::product([phi().then(dense()), dense(), phi()]), readout()]),
        Net::serial([
            dense(),
            Net::concat([phi(), dense(), Net::identity()]),
            Net::layer_norm(),
            phi(),
            readout(),
        ]),
        Net::serial([dense(), phi(), Net::dropout(DropRate::new(0.3).unwrap()), dense(), phi(), readout()]),
        Net::concat([readout(), dense().then(phi()).then(readout())]),
        Net::product([readout(), dense().then(phi()).then(readout())]),
    ]
}

fn network() -> impl Strategy<Value = Net> {
    (0..activations().len(), 0usize..8).prop_map(|(phi, net)| networks(&activations()[phi]).swap_remove(net))
}

fn smooth_network() -> impl Strategy<Value = Net> {
    (0usize..10, 0usize..8).prop_map(|(phi, net)| networks(&activations()[phi]).swap_remove(net))
}

proptest! {
    #![proptest_config(ntk_testkit::cases(48))]

    #[test]
    fn jvp_is_adjoint_to_vjp(net in network(), seed in 0u64..1000) {
        let net = lowered(&net, 6, seed, Mode::Training);
        let x = numbers(5, 3, seed);
        let u = numbers(5, net.output_width(), seed + 1);
        let v = direction(&net, seed);
        let jv = net.jvp((&x).into(), &v).unwrap();
        let jtu = net.vjp((&x).into(), u.view()).unwrap();
        let (left, right) = ((&jv * &u).sum(), jtu.dot(&v).unwrap());
        let scale = (&jv * &u).mapv(f64::abs).sum();
        prop_assert!((left - right).abs() <= 1e-12 * scale.max(1.0), "{left} {right}");
    }

    #[test]
    fn jvp_is_the_derivative_of_the_outputs(net in smooth_network(), seed in 0u64..1000) {
        let mut net = lowered(&net, 6, seed, Mode::Training);
        let x = numbers(5, 3, seed);
        let (theta, v) = (net.parameters().unwrap(), direction(&net, seed));
        let jv = net.jvp((&x).into(), &v).unwrap();
        let mut at = |h: f64| {
            net.set_parameters(&theta.plus(h, &v).unwrap()).unwrap();
            net.outputs((&x).into()).unwrap()
        };
        // Central differences of order 4, exact to h⁴ and to rounding/h.
        let h = 3e-4;
        let difference = ((at(h) - at(-h)) * 8.0 - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
        prop_assert!(largest(&(&difference - &jv)) <= 1e-6 * largest(&jv).max(1.0), "{difference} {jv}");
    }

    #[test]
    fn structured_kernel_is_jacobian_times_its_transpose(net in network(), seed in 0u64..1000) {
        let net = lowered(&net, 6, seed, Mode::Training);
        let x = numbers(4, 3, seed);
        let o = net.output_width();
        let rates: Vec<f64> = ntk_empirical::Model::rates(&net);
        // One row of J for each sample and output, each parameter with the root of its rate.
        let rows: Vec<Parameters> = (0..4 * o).map(|row| {
            let mut u = Array2::zeros((4, o));
            u[[row / o, row % o]] = 1.0;
            let gradient = net.vjp((&x).into(), u.view()).unwrap();
            let mut scaled = Parameters::new();
            for (name, rate) in net.parameter_names().into_iter().zip(&rates) {
                let tensor = (gradient.get(&name).unwrap() * rate.sqrt()).unwrap();
                scaled.insert(name, tensor);
            }
            scaled
        }).collect();
        let theta = net.ntk_blocks((&x).into(), (&x).into()).unwrap();
        let scale = theta.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        for ((i, j, a, b), &got) in theta.indexed_iter() {
            let expected = rows[i * o + a].dot(&rows[j * o + b]).unwrap();
            prop_assert!((got - expected).abs() <= 1e-12 * scale, "{got} {expected} of {scale}");
        }
    }

    #[test]
    fn finite_kernels_obey_the_laws_of_kernels(net in network(), seed in 0u64..1000) {
        let net = lowered(&net, 6, seed, Mode::Evaluation);
        ntk_testkit::laws::check_kernel_fn(&net, (&numbers(6, 3, seed)).into())?;
    }

    #[test]
    fn linearization_starts_as_the_network_and_is_linear(net in network(), seed in 0u64..1000) {
        let net = lowered(&net, 6, seed, Mode::Training);
        let x = numbers(5, 3, seed);
        let mut linear = net.linearize().unwrap();
        let f0 = net.outputs((&x).into()).unwrap();
        prop_assert_eq!(&linear.outputs((&x).into()).unwrap(), &f0);
        let v = direction(&net, seed);
        linear.set_omega(&v).unwrap();
        let expected = &f0 + &net.jvp((&x).into(), &v).unwrap();
        let got = linear.outputs((&x).into()).unwrap();
        prop_assert!(largest(&(got - &expected)) <= 1e-12 * largest(&expected).max(1.0));
    }

    #[test]
    fn a_model_linear_in_its_parameters_is_its_linearization(seed in 0u64..1000, momentum in 0.0..0.95f64) {
        let net = Net::readout(2, Variance::TWO, Variance::ONE);
        let mut net = lowered(&net, 4, seed, Mode::Evaluation);
        let mut linear = net.linearize().unwrap();
        let (x, y) = (numbers(5, 3, seed), numbers(5, 2, seed + 1));
        for batch in [None, Some(2)] {
            let options = TrainOptions { momentum, batch, seed, ..TrainOptions::descent(0.3, 40) };
            let go = ControlFlow::Continue(());
            let a = net.train(&options, (&x).into(), y.view(), |_| go).unwrap();
            let b = linear.train(&options, (&x).into(), y.view(), |_| go).unwrap();
            prop_assert!(largest(&(&a.outputs - &b.outputs)) <= 1e-12 * largest(&a.outputs).max(1.0));
        }
    }

    #[test]
    fn training_the_linearization_follows_the_tangent_kernel(seed in 0u64..1000) {
        let net = lowered(&Net::mlp(2, Activation::Tanh, 1, Variance::TWO, Variance::ONE), 8, seed, Mode::Evaluation);
        let mut linear = net.linearize().unwrap();
        let (x, y) = (numbers(4, 3, seed), numbers(4, 1, seed + 1));
        let theta = net.symmetric((&x).into(), Which::Ntk).unwrap().ntk.unwrap();
        let rate = 1.0 / theta.diag().sum();
        let mut f = net.outputs((&x).into()).unwrap();
        let mut sum = Array2::zeros(f.dim());
        for _ in 0..30 {
            sum = &sum - &((&f - &y) * rate);
            f = &f - &(theta.dot(&(&f - &y)) * rate);
        }
        let options = TrainOptions { reduction: Reduction::Sum, ..TrainOptions::descent(rate, 30) };
        let end = linear.train(&options, (&x).into(), y.view(), |_| ControlFlow::Continue(())).unwrap();
        prop_assert!(largest(&(&end.outputs - &f)) <= 1e-11 * largest(&f).max(1.0));
        // f_lin = f₀ + J₀ω at the ω that training found, and ω lies in the row space of J₀.
        let omega = linear.omega().unwrap();
        let again = net.outputs((&x).into()).unwrap() + net.jvp((&x).into(), &omega).unwrap();
        prop_assert!(largest(&(&end.outputs - &again)) <= 1e-12 * largest(&f).max(1.0));
        let rows = net.vjp((&x).into(), sum.view()).unwrap();
        prop_assert!(omega.plus(-1.0, &rows).unwrap().norm().unwrap() <= 1e-11 * omega.norm().unwrap());
    }

    #[test]
    fn standard_parameterization_with_rates_trains_as_ntk_parameterization(seed in 0u64..1000) {
        let (w2, b2, n, steps) = (1.5, 0.2, 7usize, 50);
        let affine = Affine::new(Variance::new(w2).unwrap(), Variance::new(b2).unwrap());
        let layer = |width: Width, fan_in: usize, standard: bool| {
            // η σ_w²/n for weights and η σ_b² for biases.
            let rates = Affine {
                weight_rate: Rate::new(w2 / fan_in as f64).unwrap(),
                bias_rate: Rate::new(b2).unwrap(),
                ..affine.standard()
            };
            Net::dense_with(width, if standard { rates } else { affine })
        };
        let net = |standard| {
            let phi = || Net::activation(Activation::Tanh);
            Net::serial([
                layer(Width::HIDDEN, 3, standard), phi(), layer(Width::HIDDEN, n, standard), phi(),
                layer(Width::Fixed(2), n, standard),
            ])
        };
        let mut ntk = lowered(&net(false), n, seed, Mode::Evaluation);
        let mut standard = lowered(&net(true), n, seed, Mode::Evaluation);
        let (x, y) = (numbers(5, 3, seed), numbers(5, 2, seed + 1));
        let theta = ntk.symmetric((&x).into(), Which::Ntk).unwrap().ntk.unwrap();
        let same = standard.symmetric((&x).into(), Which::Ntk).unwrap().ntk.unwrap();
        prop_assert!(largest(&(&theta - &same)) <= 1e-12 * largest(&theta));
        let options = TrainOptions {
            momentum: 0.5,
            reduction: Reduction::Sum,
            ..TrainOptions::descent(0.25 / theta.diag().sum(), steps)
        };
        let go = ControlFlow::Continue(());
        let a = ntk.train(&options, (&x).into(), y.view(), |_| go).unwrap().outputs;
        let b = standard.train(&options, (&x).into(), y.view(), |_| go).unwrap().outputs;
        prop_assert!(largest(&(&a - &b)) <= 1e-12 * steps as f64 * largest(&a).max(1.0));
    }

    #[test]
    fn permuting_hidden_units_changes_nothing(seed in 0u64..1000) {
        let net = Net::mlp(2, Activation::Gelu, 2, Variance::TWO, Variance::ONE);
        let mut net = lowered(&net, 5, seed, Mode::Evaluation);
        let x = numbers(4, 3, seed);
        let (f, theta) = (net.outputs((&x).into()).unwrap(), net.ntk_blocks((&x).into(), (&x).into()).unwrap());
        let mut order: Vec<usize> = (0..5).collect();
        order.rotate_left(1 + seed as usize % 4);
        let old = net.parameters().unwrap();
        let mut new = old.clone();
        let permute = |name: &str, axis: usize| old.array(name).unwrap().select(ndarray::Axis(axis), &order);
        new.insert_array("0.weight", &permute("0.weight", 1)).unwrap();
        new.insert_array("0.bias", &permute("0.bias", 1)).unwrap();
        new.insert_array("2.weight", &permute("2.weight", 0)).unwrap();
        net.set_parameters(&new).unwrap();
        prop_assert!(largest(&(net.outputs((&x).into()).unwrap() - &f)) <= 1e-13 * largest(&f).max(1.0));
        let scale = theta.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        let change = net.ntk_blocks((&x).into(), (&x).into()).unwrap() - &theta;
        prop_assert!(change.iter().all(|v| v.abs() <= 1e-13 * scale));
    }
}

fn with_threads<T: Send>(threads: usize, f: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
}

#[test]
fn same_seed_same_bits_on_any_number_of_threads() {
    let net = networks(&Activation::Tanh).swap_remove(2);
    let bits = |threads| {
        with_threads(threads, || {
            let parameters = lowered(&net, 33, 11, Mode::Evaluation).parameters().unwrap();
            let names: Vec<String> = parameters.names().map(str::to_owned).collect();
            let values =
                names.iter().flat_map(|name| parameters.array(name).unwrap().into_iter().map(f64::to_bits));
            (names.clone(), values.collect::<Vec<_>>())
        })
    };
    assert_eq!(bits(1), bits(2));
}

#[test]
fn averaged_kernels_obey_the_laws_of_kernels() {
    for net in networks(&Activation::ERF) {
        let lowering = Lowering { width: 6, ..Lowering::for_inputs(Shape::vector(3)) };
        let monte_carlo = MonteCarlo::new(net.at_width(6), lowering, 3);
        ntk_testkit::laws::check_kernel_fn(&monte_carlo, (&numbers(5, 3, 0)).into()).unwrap();
    }
}

#[test]
fn monte_carlo_is_the_same_on_any_number_of_threads_and_stops_when_precise() {
    let net = Net::mlp(1, Activation::ERF, 1, Variance::TWO, Variance::ONE);
    let lowering = Lowering { width: 64, seed: 3, ..Lowering::for_inputs(Shape::vector(3)) };
    let x = numbers(4, 3, 0);
    let estimate = |threads, relative_error| {
        let monte_carlo = MonteCarlo { relative_error, ..MonteCarlo::new(net.clone(), lowering.clone(), 64) };
        let go = |_: &ntk_empirical::Estimate| ControlFlow::Continue(());
        with_threads(threads, || monte_carlo.estimate((&x).into(), None, Which::Both, go).unwrap())
    };
    let all = estimate(1, 0.0);
    assert_eq!(all.draws, 64);
    let (a, b) = (all.mean.ntk.as_ref().unwrap(), estimate(2, 0.0).mean.ntk.unwrap());
    assert!(largest(&(a - &b)) <= 1e-12 * largest(a));
    let some = estimate(2, 0.05);
    assert!(some.draws < 64);
    for (mean, error) in
        [(&some.mean.nngp, &some.standard_error.nngp), (&some.mean.ntk, &some.standard_error.ntk)]
    {
        let norm = |a: &Array2<f64>| a.iter().map(|v| v * v).sum::<f64>().sqrt();
        let (mean, error) = (mean.as_ref().unwrap(), error.as_ref().unwrap());
        assert!(norm(error) <= 0.05 * norm(mean) && norm(error) > 0.0);
    }
}

#[test]
fn finite_nngp_is_the_covariance_over_the_readout() {
    // Σ over many readouts of f fᵀ/k with the hidden layers fixed tends to σ_w²/n ⟨h, h′⟩ + σ_b²: the standard error
    // of the mean of k products of Gaussians is √((K₁₁K₂₂ + K₁₂²)/k).
    let k = 20_000;
    let net = |outputs| Net::mlp(1, Activation::Tanh, outputs, Variance::TWO, Variance::ONE);
    let x = numbers(3, 3, 0);
    let net = lowered(&net(k), 8, 1, Mode::Evaluation);
    let nngp = net.symmetric((&x).into(), Which::Nngp).unwrap().nngp.unwrap();
    let gram = net.output_gram((&x).into(), (&x).into()).unwrap();
    for ((i, j), &gram) in gram.indexed_iter() {
        let error = ((nngp[[i, i]] * nngp[[j, j]] + nngp[[i, j]].powi(2)) / k as f64).sqrt();
        assert!((gram - nngp[[i, j]]).abs() <= 4.0 * error, "{gram} {} {error}", nngp[[i, j]]);
    }
}

#[test]
fn momentum_and_cross_entropy_by_hand() {
    // One weight per output, f = (a, b) at x = 1: θᵢ₊₁ = θᵢ + β (θᵢ − θᵢ₋₁) − η (softmax − y).
    let net = Net::readout(2, Variance::ONE, Variance::ZERO);
    let lowering = Lowering::for_inputs(Shape::vector(1));
    let mut net = FiniteNet::lower(&net, &lowering).unwrap();
    let mut start = Parameters::new();
    start.insert_array("weight", &array![[0.4, -0.3]]).unwrap();
    net.set_parameters(&start).unwrap();
    let options = TrainOptions {
        momentum: 0.9,
        loss: Loss::CrossEntropy,
        reduction: Reduction::MeanN,
        ..TrainOptions::descent(0.5, 25)
    };
    let end = net
        .train(&options, (&array![[1.0]]).into(), array![[1.0, 0.0]].view(), |_| ControlFlow::Continue(()));
    let (mut now, mut before) = ([0.4, -0.3], [0.4, -0.3]);
    for _ in 0..25 {
        let p = 1.0 / (1.0 + f64::exp(now[1] - now[0]));
        let gradient = [p - 1.0, 1.0 - p];
        let next = [0, 1].map(|i| now[i] + 0.9 * (now[i] - before[i]) - 0.5 * gradient[i]);
        (before, now) = (now, next);
    }
    let outputs = end.unwrap().outputs;
    assert!((outputs[[0, 0]] - now[0]).abs() < 1e-13 && (outputs[[0, 1]] - now[1]).abs() < 1e-13);
}

#[test]
fn observers_see_recorded_steps_and_can_stop() {
    let mut net =
        lowered(&Net::mlp(1, Activation::Tanh, 1, Variance::ONE, Variance::ZERO), 8, 0, Mode::Evaluation);
    let (x, y) = (numbers(4, 3, 0), numbers(4, 1, 1));
    let options = TrainOptions { record: vec![0, 3, 5, 9], ..TrainOptions::descent(0.1, 20) };
    let mut seen = Vec::new();
    let end = net.train(&options, (&x).into(), y.view(), |step| {
        seen.push(step.step);
        assert_eq!(step.outputs, &step.model.outputs(Batch::from(&x)).unwrap());
        if step.step == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((seen, end.unwrap().steps), (vec![0, 3, 5], 5));
}

#[test]
fn f32_follows_f64() {
    let net = networks(&Activation::ERF).swap_remove(0);
    let lower = |dtype| {
        let lowering = Lowering { width: 64, dtype, ..Lowering::for_inputs(Shape::vector(3)) };
        FiniteNet::lower(&net, &lowering).unwrap()
    };
    use ntk_empirical::candle_core::DType;
    let (mut single, mut double) = (lower(DType::F32), lower(DType::F64));
    let (x, y) = (numbers(4, 3, 0), numbers(4, 2, 1));
    // 2⁻²⁴ for each of a few hundred roundings that do not conspire.
    let close = |a: &Array2<f64>, b: &Array2<f64>| assert!(largest(&(a - b)) <= 3e-6 * largest(b), "{a} {b}");
    let kernel = |net: &FiniteNet| net.symmetric((&x).into(), Which::Ntk).unwrap().ntk.unwrap();
    close(&kernel(&single), &kernel(&double));
    let options = TrainOptions::descent(0.05, 20);
    let go = ControlFlow::Continue(());
    let a = single.train(&options, (&x).into(), y.view(), |_| go).unwrap();
    let b = double.train(&options, (&x).into(), y.view(), |_| go).unwrap();
    close(&a.outputs, &b.outputs);
}
