//! The kernels of neural-tangents for the golden networks, from this project's copy or from `NTK_GOLDEN_DIR`.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ndarray::{Array2, ArrayD, Axis};
use ntk_analytic::{Analytic, Cov2, Dual, DualActivation, Rules};
use ntk_core::{Activation, KernelFn, Layer, Net, NetKind, Which};
use ntk_testkit::golden::{self, Array, Case, Tally};

#[derive(serde::Deserialize)]
struct Kernels {
    cases: Vec<Case>,
}

/// cos x + 0.3 x, a sum of an even and an odd function, so that their duals add.
struct CosPlus;

impl DualActivation for CosPlus {
    fn dual(&self, cov: Cov2) -> Dual {
        let value = |q11: f64, q22: f64, q12: f64| (-0.5 * (q11 + q22)).exp() * q12.cosh() + 0.09 * q12;
        let Cov2 { q11, q22, q12, .. } = cov;
        let v12 = value(q11, q22, q12);
        let norm = (value(q11, q11, q11) * value(q22, q22, q22)).sqrt();
        Dual {
            value: v12,
            slope: (-0.5 * (q11 + q22)).exp() * q12.sinh() + 0.09,
            gap: (1.0 - v12.abs() / norm).clamp(0.0, 1.0),
        }
    }
}

fn layers(net: &Net) -> Vec<&Layer> {
    match net.kind() {
        NetKind::Layer(layer) => vec![layer],
        NetKind::Serial(nets)
        | NetKind::Sum(nets)
        | NetKind::Product(nets)
        | NetKind::Concat(nets)
        | NetKind::Join { nets, .. } => nets.iter().flat_map(layers).collect(),
    }
}

/// Whether some pair of inputs is identical or opposite.
fn coincide(case: &Case) -> bool {
    let samples = |array: &Array| -> Vec<Vec<f64>> {
        array.0.axis_iter(Axis(0)).map(|sample| sample.iter().copied().collect()).collect()
    };
    let (x1, x2) = (samples(&case.x1), samples(case.x2.as_ref().unwrap_or(&case.x1)));
    let opposite = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| *a == -b);
    x1.iter().any(|a| x2.iter().any(|b| a == b || opposite(a, b)))
}

/// How exact the reference is, by its own account: 1e-9, but half the digits for ReLU-like activations on identical
/// inputs, and two digits for tensor Gauss–Hermite.
fn tolerance(case: &Case, net: &Net) -> f64 {
    let arc_cosine = |layer: &&Layer| {
        matches!(
            layer,
            Layer::Activation(
                Activation::Relu
                    | Activation::LeakyRelu { .. }
                    | Activation::Abs
                    | Activation::AbRelu { .. }
                    | Activation::Sign
                    | Activation::RectifiedMonomial { .. }
            )
        )
    };
    if case.network.to_string().contains("ElementwiseNumerical") {
        1e-2
    } else if coincide(case) && layers(net).iter().any(arc_cosine) {
        2e-6
    } else {
        1e-9
    }
}

fn evaluate(case: &Case) -> Result<f64, (bool, String)> {
    let unsupported = |reason: String| (true, reason);
    let net = case.net().map_err(|e| unsupported(e.to_string()))?;
    let x1 = case.batch1().map_err(|e| unsupported(e.to_string()))?;
    let x2 = case.batch2().map_err(|e| unsupported(e.to_string()))?;
    let rules = Rules::new().activation("cos_plus", |_| CosPlus);
    let kernel = Analytic::with_rules(net, &rules).map_err(|e| (false, e.to_string()))?;
    let block = match &x2 {
        Some(x2) => kernel.block(x1.view(), x2.view(), Which::Both),
        None => kernel.symmetric(x1.view(), Which::Both),
    };
    let block = block.map_err(|e| (false, e.to_string()))?;
    let error = |got: Option<Array2<f64>>, expected: &ArrayD<f64>| {
        got.map_or(f64::INFINITY, |got| golden::error(&got.into_dyn(), expected, golden::largest(expected)))
    };
    Ok(error(block.nngp, &case.nngp.0).max(error(block.ntk, &case.ntk.0)))
}

fn kernels(tally: &mut Tally) {
    let kernels: Kernels = golden::read("kernels.json").unwrap();
    for case in &kernels.cases {
        match evaluate(case) {
            Ok(error) => {
                let net = case.net().unwrap();
                tally.case(&case.name, error, tolerance(case, &net));
            }
            Err((true, reason)) => tally.unsupported(&case.name, &reason),
            Err((false, reason)) => tally.fail(&case.name, &reason),
        }
    }
}

#[derive(serde::Deserialize)]
struct Duals {
    rows: Vec<Row>,
}

#[derive(serde::Deserialize)]
struct Row {
    activation: String,
    q11: f64,
    q22: f64,
    q12: f64,
    value: f64,
    slope: f64,
}

/// Errors relative to √(V₁₁V₂₂) and √(S₁₁S₂₂), which the library gives at the diagonal.
fn row_error(phi: &Activation, row: &Row) -> Result<f64, ntk_analytic::Error> {
    let dual = |q11, q22, q12| ntk_analytic::dual(phi, Cov2::new(q11, q22, q12)?);
    let Row { q11, q22, q12, value, slope, .. } = *row;
    let (got, first, second) = (dual(q11, q22, q12)?, dual(q11, q11, q11)?, dual(q22, q22, q22)?);
    let relative = |got: f64, expected: f64, scale: f64| {
        let error = (got - expected).abs();
        if error == 0.0 { 0.0 } else { error / scale }
    };
    let worst = relative(got.value, value, (first.value * second.value).sqrt());
    Ok(worst.max(relative(got.slope, slope, (first.slope * second.slope).sqrt())))
}

fn duals(tally: &mut Tally) {
    let duals: Duals = golden::read("duals.json").unwrap();
    for row in &duals.rows {
        let name = format!("{} at ({}, {}, {})", row.activation, row.q11, row.q22, row.q12);
        match golden::dual_activation(&row.activation) {
            None => tally.unsupported(&name, &"no such activation"),
            Some(phi) => match row_error(&phi, row) {
                Ok(error) => tally.case(&name, error, 1e-10),
                Err(error) => tally.fail(&name, &error),
            },
        }
    }
}

#[test]
fn golden() {
    let mut tally = Tally::default();
    kernels(&mut tally);
    duals(&mut tally);
    tally.finish();
}
