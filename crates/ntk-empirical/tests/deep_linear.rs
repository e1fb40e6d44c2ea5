//! Finite deep linear networks: their gradients, what flow conserves, and the limit that they approach with width.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ndarray::{Array1, Array2, ArrayView2, array};
use ntk_core::Variance;
use ntk_dynamics::LearningRate;
use ntk_dynamics::deep_linear::{Architecture, Basis, Limit, Risk};
use ntk_empirical::{DeepLinear, DeepLinearOptions, Entries, Error, Scaling};

fn risk() -> Risk {
    Risk::new(array![[1.0, 0.3], [0.3, 0.6]], array![[1.2], [-0.7]]).unwrap()
}

/// Two inputs, one output.
fn options(middle: usize, width: usize, seed: u64) -> DeepLinearOptions {
    DeepLinearOptions { inputs: 2, seed, ..DeepLinearOptions::new(middle, width) }
}

fn descent(risk: &Risk) -> impl Fn(ArrayView2<'_, f64>) -> Array2<f64> {
    |beta| risk.descent(beta).unwrap()
}

fn largest(a: &Array2<f64>) -> f64 {
    a.iter().fold(0.0, |worst: f64, x| worst.max(x.abs()))
}

/// RMS over draws of the largest error of β along descent, against the limit of the same shape.
fn error(
    template: &DeepLinearOptions,
    architecture: &Architecture,
    risk: &Risk,
    width: usize,
    draws: u64,
) -> f64 {
    let (steps, rate) = (20, 0.1);
    let mut limit = Limit::new(risk, architecture, Basis::Lazy).unwrap();
    let path: Vec<Array2<f64>> = (0..steps)
        .map(|_| {
            limit.descend(LearningRate::new(rate).unwrap(), 1).unwrap();
            limit.predictor().to_owned()
        })
        .collect();
    let one = |seed: u64| {
        let mut network = DeepLinear::draw(&DeepLinearOptions { width, seed, ..template.clone() }).unwrap();
        let mut worst = 0.0_f64;
        for expected in &path {
            network.descend(descent(risk), rate, 1).unwrap();
            worst = worst.max(largest(&(&network.predictor() - expected)));
        }
        worst * worst
    };
    ((0..draws).map(one).sum::<f64>() / draws as f64).sqrt()
}

/// The exponent in the width of a quantity at seven widths, with its standard error.
fn exponent(quantity: impl Fn(usize) -> f64) -> (f64, f64) {
    let points: Vec<(f64, f64)> =
        (0..7).map(|i| 12 << i).map(|n: usize| ((n as f64).ln(), quantity(n).ln())).collect();
    let count = points.len() as f64;
    let mean = |f: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(f).sum::<f64>() / count;
    let (x, y) = (mean(&|p| p.0), mean(&|p| p.1));
    let sxx = mean(&|p| (p.0 - x).powi(2));
    let slope = mean(&|p| (p.0 - x) * (p.1 - y)) / sxx;
    let rest = mean(&|p| (p.1 - y - slope * (p.0 - x)).powi(2));
    (slope, (rest / sxx / (count - 2.0)).sqrt())
}

fn has_exponent(expected: f64, quantity: impl Fn(usize) -> f64) {
    let (slope, error) = exponent(quantity);
    assert!((slope - expected).abs() < 0.1 + 3.0 * error && error < 0.07, "{slope} ± {error}");
}

#[test]
fn predictor_approaches_its_limit_as_the_root_of_the_width() {
    for middle in [0, 1, 2] {
        let architecture = Architecture::new(middle).unwrap();
        has_exponent(-0.5, |n| error(&options(middle, n, 0), &architecture, &risk(), n, 16));
    }
}

#[test]
fn limit_does_not_depend_on_the_law_of_the_entries() {
    let template = DeepLinearOptions { entries: Entries::Rademacher, ..options(1, 1, 0) };
    has_exponent(-0.5, |n| error(&template, &Architecture::new(1).unwrap(), &risk(), n, 16));
}

#[test]
fn limit_covers_unequal_widths_variances_and_several_outputs() {
    let (ratios, variances) = ([1.0, 0.5, 2.0], [0.8, 1.3, 0.6].map(|v| Variance::new(v).unwrap()));
    let risk = Risk::new(array![[1.0, 0.3], [0.3, 0.6]], array![[0.7, 0.2], [-0.4, 0.5]]).unwrap();
    let template = DeepLinearOptions { outputs: 2, ratios: ratios.to_vec(), variances, ..options(2, 1, 0) };
    let [input, middle, output] = variances;
    let architecture = Architecture::new(2).unwrap().with_widths(&ratios).unwrap();
    let architecture = architecture.with_variances(input, middle, output);
    has_exponent(-0.5, |n| error(&template, &architecture, &risk, n, 12));
}

#[test]
fn features_move_under_maximal_update_and_stand_still_under_the_ntk() {
    let change = |scaling| {
        move |n| {
            let moved = |seed| {
                let first = DeepLinear::draw(&DeepLinearOptions { scaling, ..options(1, n, seed) }).unwrap();
                let mut network = first.clone();
                network.descend(descent(&risk()), 0.1, 20).unwrap();
                let norm = |a: &Array2<f64>| a.iter().map(|x| x * x).sum::<f64>();
                norm(&(&network.input() - &first.input())) / norm(&first.input().to_owned())
            };
            ((0..16).map(moved).sum::<f64>() / 16.0).sqrt()
        }
    };
    has_exponent(0.0, change(Scaling::MaximalUpdate));
    has_exponent(-0.5, change(Scaling::Ntk));
}

#[test]
fn steps_follow_the_gradient() {
    for (middle, outputs) in [(0, 1), (1, 2), (3, 1)] {
        let target = Array2::from_shape_fn((2, outputs), |(i, c)| 1.0 - i as f64 * 1.3 + c as f64 * 0.4);
        let risk = Risk::new(array![[1.0, 0.3], [0.3, 0.6]], target).unwrap();
        let mut network = DeepLinear::draw(&DeepLinearOptions { outputs, ..options(middle, 7, 5) }).unwrap();
        network.descend(descent(&risk), 0.1, 3).unwrap();
        let (before, h) = (network.clone(), 1e-7);
        let r = risk.descent(before.predictor()).unwrap();
        network.descend(descent(&risk), h, 1).unwrap();
        // Along −∇F the loss falls by the square of the speed: any other direction of this speed does worse.
        let square =
            |a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>| (&a - &b).mapv(|x| x * x).sum() / (h * h);
        let middles: f64 =
            network.middle().iter().zip(before.middle()).map(|(a, b)| square(a.view(), b.view())).sum();
        let speed =
            square(network.input(), before.input()) + middles + square(network.output(), before.output());
        let loss = |network: &DeepLinear| risk.excess(network.predictor()).unwrap();
        let fall = (loss(&before) - loss(&network)) / h;
        assert!((fall / speed - 1.0).abs() < 1e-5, "{fall} and {speed}");
        // And the predictor moves by the tangent kernel.
        let expected = before.tangent_kernel().dot(&Array1::from_iter(r.iter().copied()));
        let slope = Array1::from_iter((&network.predictor() - &before.predictor()).iter().map(|x| x / h));
        assert!((&slope - &expected).iter().all(|x| x.abs() < 1e-5), "{slope} and {expected}");
    }
}

/// (A ± B) ← (1 ± η r)(A ± B) for one input, so that 4β = ‖A + B‖² Π(1 + ηr)² − ‖A − B‖² Π(1 − ηr)².
#[test]
fn one_hidden_layer_of_one_input_is_a_product() {
    let mut network =
        DeepLinear::draw(&DeepLinearOptions { seed: 2, ..DeepLinearOptions::new(0, 5) }).unwrap();
    let norm = |sign: f64| -> f64 { (&network.input() + &(&network.output() * sign)).mapv(|x| x * x).sum() };
    let (mut plus, mut minus) = (norm(1.0), norm(-1.0));
    for _ in 0..10 {
        let beta = network.predictor()[[0, 0]];
        assert!((beta - (plus - minus) / 4.0).abs() < 1e-13);
        let r: f64 = 0.8 * (1.5 - beta);
        (plus, minus) = (plus * (1.0 + 0.1 * r).powi(2), minus * (1.0 - 0.1 * r).powi(2));
        network.descend(|beta| (1.5 - &beta) * 0.8, 0.1, 1).unwrap();
    }
}

#[test]
fn flow_conserves_balance_and_descent_nearly() {
    let drift = |train: &dyn Fn(&mut DeepLinear)| {
        let mut network = DeepLinear::draw(&options(2, 9, 1)).unwrap();
        let before = network.balance().unwrap();
        train(&mut network);
        let after = network.balance().unwrap();
        before.iter().zip(&after).map(|(a, b)| largest(&(a - b))).fold(0.0, f64::max)
    };
    assert!(drift(&|network| network.flow(descent(&risk()), 1.0, 200).unwrap()) < 1e-8);
    let by_steps = |n: usize| drift(&|network| network.descend(descent(&risk()), 1.0 / n as f64, n).unwrap());
    let [coarse, fine] = [100, 200].map(by_steps);
    assert!(coarse > 1e-5 && (coarse / fine - 2.0).abs() < 0.2, "{coarse} and {fine}");
}

#[test]
fn flow_is_of_fourth_order_and_the_limit_of_descent() {
    let end = |train: &dyn Fn(&mut DeepLinear)| {
        let mut network = DeepLinear::draw(&options(1, 8, 3)).unwrap();
        train(&mut network);
        network.predictor().to_owned()
    };
    let flow = |n: usize| end(&|network| network.flow(descent(&risk()), 1.0, n).unwrap());
    let exact = flow(400);
    let ratio = largest(&(flow(10) - &exact)) / largest(&(flow(20) - &exact));
    assert!((ratio - 16.0).abs() < 4.0, "{ratio}");
    let descend = |n: usize| end(&|network| network.descend(descent(&risk()), 1.0 / n as f64, n).unwrap());
    let ratio = largest(&(descend(200) - &exact)) / largest(&(descend(400) - &exact));
    assert!((ratio - 2.0).abs() < 0.1, "{ratio}");
}

#[test]
fn bad_input_is_refused_with_its_remedy() {
    fn says<T>(outcome: Result<T, Error>, expected: &str) {
        match outcome {
            Ok(_) => panic!("accepted; should say: {expected}"),
            Err(error) => assert!(error.to_string().contains(expected), "{error}"),
        }
    }
    let draw = |change: &dyn Fn(&mut DeepLinearOptions)| {
        let mut options = options(1, 6, 0);
        change(&mut options);
        DeepLinear::draw(&options)
    };
    says(draw(&|o| o.width = 0), "at a width of at least 1");
    says(draw(&|o| o.inputs = 0), "inputs = 0");
    says(draw(&|o| o.outputs = 0), "outputs = 0");
    says(draw(&|o| o.ratios.clear()), "ratios = 0");
    says(draw(&|o| o.ratios[1] = 1e-3), "a ratio of widths = 0.001");
    says(draw(&|o| o.ratios[1] = f64::NAN), "a ratio of widths = NaN");
    let mut network = draw(&|_| ()).unwrap();
    says(network.descend(|_| Array2::zeros((2, 1)), f64::NAN, 1), "rate = NaN");
    says(network.flow(|_| Array2::zeros((2, 1)), -1.0, 1), "time = -1");
    says(network.flow(|_| Array2::zeros((2, 1)), 1.0, 0), "steps = 0");
    says(network.descend(|_| Array2::zeros((1, 1)), 0.1, 1), "expected shape (2, 1), not (1, 1)");
    says(network.descend(descent(&risk()), 1e3, 100), "diverged at step");
}
