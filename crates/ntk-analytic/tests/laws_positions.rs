//! Theorems about kernels over positions, on random networks over grids and graphs.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

mod convergence;

use convergence::Draws;
use ndarray::Array2;
use ntk_analytic::{Analytic, Error, Precision, Rules};
use ntk_core::{Batch, KernelBlock, KernelFn, Net, Which};
use ntk_testkit::laws::{TOLERANCE, check_kernel_fn_within};
use ntk_testkit::strategies::{graph_inputs, graph_net, grid_inputs, grid_net};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// A quadrature that does not reach 1e-12, or kernels that leave the doubles, are refused; other errors are not expected.
fn known(net: Net, rules: &Rules) -> Result<Analytic, TestCaseError> {
    Analytic::with_rules(net, rules).map_err(|error| match error {
        Error::Quadrature { .. } | Error::Overflow { .. } => TestCaseError::reject(error.to_string()),
        other => TestCaseError::fail(other.to_string()),
    })
}

fn evaluated(kernel: &Analytic, x: Batch<'_>) -> Result<KernelBlock, TestCaseError> {
    kernel.symmetric(x, Which::Both).map_err(|error| match error {
        Error::Quadrature { .. }
        | Error::Overflow { .. }
        | Error::Expectation { .. }
        | Error::ZeroVariance { .. } => TestCaseError::reject(error.to_string()),
        other => TestCaseError::fail(other.to_string()),
    })
}

/// A step has an infinite slope where samples coincide, which turns rounding into half of its digits.
fn stepped(net: &Net) -> bool {
    ["sign", "step"].iter().any(|name| net.to_string().contains(name))
}

fn lawful(kernel: &Analytic, x: Batch<'_>) -> Result<(), TestCaseError> {
    let tolerance = if stepped(kernel.net()) { 1e-6 } else { TOLERANCE };
    check_kernel_fn_within(kernel, x, tolerance)
        .map_err(|violation| TestCaseError::fail(violation.to_string()))
}

/// The largest |a − b| / √(aᵢᵢ aⱼⱼ).
fn distance(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    let scale = a.diag().to_owned();
    let pairs = a.indexed_iter().zip(b);
    pairs.fold(0.0, |worst: f64, (((i, j), a), b)| match (a - b).abs() {
        0.0 => worst,
        d => worst.max(d / (scale[i] * scale[j]).abs().sqrt()),
    })
}

proptest! {
    #![proptest_config(Config { max_global_rejects: 1000, ..Config::with_cases(8) })]

    #[test]
    fn kernels_of_images_obey_the_laws(net in grid_net(&[3, 4], 2), x in grid_inputs(3, &[3, 4], 2)) {
        let kernel = known(net, &Rules::new())?;
        evaluated(&kernel, x.view())?;
        lawful(&kernel, x.view())?;
    }

    #[test]
    fn kernels_of_sequences_obey_the_laws(net in grid_net(&[6], 2), x in grid_inputs(3, &[6], 2)) {
        let kernel = known(net, &Rules::new())?;
        evaluated(&kernel, x.view())?;
        lawful(&kernel, x.view())?;
    }

    #[test]
    fn kernels_of_graphs_obey_the_laws(net in graph_net(4, 2), x in graph_inputs(3, 4, 2)) {
        let kernel = known(net, &Rules::new())?;
        evaluated(&kernel, x.view())?;
        lawful(&kernel, x.view())?;
    }

    #[test]
    fn shares_of_the_layers_add_up(net in grid_net(&[3, 3], 2), x in grid_inputs(3, &[3, 3], 2)) {
        let kernel = known(net, &Rules::new())?;
        let whole = evaluated(&kernel, x.view())?.ntk.unwrap();
        // Between different samples, as `ntk_layers` has it.
        let (one, other) = (x.view().range(0, 1), x.view().range(1, 3));
        let layers = kernel.ntk_layers(one, other).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let total = layers.iter().fold(Array2::zeros((1, 2)), |sum: Array2<f64>, (_, share)| sum + share);
        for j in 0..2 {
            let scale = (whole[[0, 0]] * whole[[j + 1, j + 1]]).sqrt();
            prop_assert!((total[[0, j]] - whole[[0, j + 1]]).abs() <= 1e-9 * scale);
        }
    }
}

/// Networks of convolutions, pooling and activations, where covariances in single precision are kept in sheets.
#[test]
fn single_precision_keeps_five_digits() {
    let mut runner = TestRunner::deterministic();
    let (nets, inputs) = (grid_net(&[6, 6], 3), grid_inputs(3, &[6, 6], 3));
    let mut compared = 0;
    for _ in 0..100 {
        let (net, x) =
            (nets.new_tree(&mut runner).unwrap().current(), inputs.new_tree(&mut runner).unwrap().current());
        // A division by a small variance, as of a layer norm, multiplies every error; kinked functions without a closed
        // form take milliseconds a pair.
        let text = net.to_string();
        let others = ["layer_norm", "attention", "elu(", "selu", "hard", "relu6", "softplus", "silu", "mish"];
        if stepped(&net) || others.iter().any(|name| text.contains(name)) {
            continue;
        }
        let both = [Precision::F64, Precision::F32].map(|precision| {
            let kernel = Analytic::with_rules(net.clone(), &Rules::new().precision(precision)).ok()?;
            kernel.symmetric(x.view(), Which::Both).ok()
        });
        let [Some(double), Some(single)] = both else { continue };
        compared += 1;
        for (a, b) in [(double.nngp, single.nngp), (double.ntk, single.ntk)] {
            let error = distance(&a.unwrap(), &b.unwrap());
            assert!(error < 1e-5, "{error:e} for\n{net}");
        }
    }
    assert!(compared > 20, "{compared} networks");
}

/// Random deep mixtures of all layers against random finite networks.
#[test]
fn random_networks_tend_to_their_limits() {
    let plan = Draws { widths: [16, 32, 64, 128, 256], draws: 32, faster: true };
    let mut runner = TestRunner::deterministic();
    let (nets, inputs) = (grid_net(&[3, 2], 2), grid_inputs(2, &[3, 2], 2));
    let (mut failures, mut done) = (Vec::new(), 0);
    while done < 6 {
        let (net, x) =
            (nets.new_tree(&mut runner).unwrap().current(), inputs.new_tree(&mut runner).unwrap().current());
        let limit = Analytic::new(net.clone()).and_then(|kernel| kernel.symmetric(x.view(), Which::Both));
        let smooth = !["monomial", "hermite", "exp", "sign", "step", "normalized"]
            .iter()
            .any(|n| net.to_string().contains(n));
        let varied = limit.is_ok_and(|k| {
            [k.nngp, k.ntk].into_iter().flatten().all(|k| k.diag().iter().all(|v| (1e-6..1e6).contains(v)))
        });
        if smooth && varied {
            done += 1;
            failures.extend(convergence::failures("random", |_| net.clone(), x.view(), &plan));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
