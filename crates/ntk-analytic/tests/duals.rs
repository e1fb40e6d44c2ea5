//! Dual activations against 60-digit golden values, against quadrature and against each other.

use ntk_analytic::{Cov2, dual};
use ntk_testkit::golden::{self, Tally};

#[derive(serde::Deserialize)]
struct Golden {
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

/// Value and slope of every row of `duals.json`, relative to √(V₁₁V₂₂) and √(S₁₁S₂₂).
pub fn duals(tally: &mut Tally) {
    let golden: Golden = golden::read("duals.json").expect("a golden file");
    for row in golden.rows {
        let name = format!("{} at ({}, {}, {})", row.activation, row.q11, row.q22, row.q12);
        let Some(phi) = golden::dual_activation(&row.activation) else {
            tally.unsupported(&name, &"unknown activation");
            continue;
        };
        let diagonal = |q| dual(&phi, Cov2::new(q, q, q)?);
        let all = || {
            Ok([dual(&phi, Cov2::new(row.q11, row.q22, row.q12)?)?, diagonal(row.q11)?, diagonal(row.q22)?])
        };
        let all: Result<_, ntk_analytic::Error> = all();
        match all {
            Ok([pair, first, second]) => {
                let scaled =
                    |error: f64, a: f64, b: f64| if error == 0.0 { 0.0 } else { error / (a * b).sqrt() };
                let value = scaled((pair.value - row.value).abs(), first.value, second.value);
                let slope = scaled((pair.slope - row.slope).abs(), first.slope, second.slope);
                let worst = if value.is_nan() || slope.is_nan() { f64::INFINITY } else { value.max(slope) };
                tally.case(&name, worst, 1e-10);
            }
            Err(error) => tally.fail(&name, &error),
        }
    }
}

#[test]
fn golden_duals() {
    let mut tally = Tally::default();
    duals(&mut tally);
    tally.finish();
}
