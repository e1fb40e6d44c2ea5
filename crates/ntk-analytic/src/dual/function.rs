//! Duals of functions known by their values: a user's, and the activations without a closed form.

use std::collections::HashMap;
use std::sync::Arc;

use ntk_core::Activation;

use super::closed::no_moment;
use super::kinked::{Kinked, Rule};
use super::table::Table;
use super::{Cov2, Dual, DualActivation, Prepared, TOLERANCE, dual_of, hermite_series, series};
use crate::Error;

/// An activation given by a closure: its dual by Mehler's series if it is analytic, by quadrature between its kinks
/// otherwise.
///
/// ```
/// use ntk_analytic::{Cov2, DualActivation, FunctionDual};
///
/// let squareplus = FunctionDual::new("squareplus", |x| 0.5 * (x + (x * x + 4.0).sqrt()));
/// assert!((squareplus.variance(1.0)? - 1.5).abs() < 1e-11); // E (x² + 2)/2, and x√(x² + 4) is odd
/// # Ok::<(), ntk_analytic::Error>(())
/// ```
#[derive(Clone)]
pub struct FunctionDual {
    name: String,
    function: Kinked,
    tolerance: f64,
}

impl std::fmt::Debug for FunctionDual {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FunctionDual").field("name", &self.name).field("kinks", &self.function.kinks).finish()
    }
}

impl FunctionDual {
    /// φ = `f`, analytic; its derivative is taken by differences of eighth order.
    pub fn new(name: &str, f: impl Fn(f64) -> f64 + Send + Sync + 'static) -> Self {
        let f: Arc<dyn Fn(f64) -> f64 + Send + Sync> = Arc::new(f);
        let df = derivative(Arc::clone(&f), Vec::new());
        let function = Kinked { f, df, kinks: Vec::new(), linear: false };
        FunctionDual { name: name.to_owned(), function, tolerance: TOLERANCE }
    }

    /// The points where φ or φ′ jumps or φ is not analytic; call before [`FunctionDual::derivative`].
    pub fn kinks(mut self, kinks: &[f64]) -> Self {
        self.function.kinks = kinks.to_vec();
        self.function.kinks.sort_by(f64::total_cmp);
        self.function.df = derivative(Arc::clone(&self.function.f), self.function.kinks.clone());
        self
    }

    /// φ′ (almost everywhere), which costs less and is exact to more digits than differences of φ.
    pub fn derivative(mut self, df: impl Fn(f64) -> f64 + Send + Sync + 'static) -> Self {
        self.function.df = Arc::new(df);
        self
    }

    /// The error bound that must be reached, relative to √(V₁₁V₂₂) and √(S₁₁S₂₂); 10⁻¹² by default.
    /// Where rounding leaves no more, at extreme variances, 10⁻¹⁰ is enough; what was reached stands in the report.
    pub fn tolerance(mut self, tolerance: f64) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// φ, φ′ and the kinks.
    pub(crate) fn function(&self) -> &Kinked {
        &self.function
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn prepare(&self, q1: &[f64], q2: &[f64]) -> Result<Box<dyn Prepared>, Error> {
        prepare_function(&self.function, &self.name, q1, q2, self.tolerance)
    }
}

impl DualActivation for FunctionDual {
    fn as_function(&self) -> Option<&FunctionDual> {
        Some(self)
    }

    fn dual(&self, cov: Cov2) -> Dual {
        let found = cov.signed_gap().and_then(|gap| {
            let prepared = self.prepare(&[cov.q11], &[cov.q22])?;
            Ok(dual_of(prepared.as_ref(), gap))
        });
        // A variance that fails here has failed in `variance` before.
        found.unwrap_or(Dual { value: 0.0, slope: 0.0, gap: 1.0 })
    }

    fn variance(&self, q: f64) -> Result<f64, Error> {
        Ok(self.prepare(&[q], &[q])?.variances().0[0])
    }
}

/// φ′ from nine values of φ on the piece between two kinks that x lies in, centered where the piece has room.
fn derivative(
    f: Arc<dyn Fn(f64) -> f64 + Send + Sync>,
    kinks: Vec<f64>,
) -> Arc<dyn Fn(f64) -> f64 + Send + Sync> {
    Arc::new(move |x| {
        let above = kinks.partition_point(|&k| k <= x);
        let low = if above > 0 { kinks[above - 1] } else { f64::NEG_INFINITY };
        let high = kinks.get(above).copied().unwrap_or(f64::INFINITY);
        // The truncation error is of order h⁸ and the rounding error of order 1e-16/h.
        let h = (x.abs().max(1.0) / 128.0).min((high - low) / 10.0);
        // A little inside the piece, so that no value of the wrong branch is taken.
        let first = (x - 4.0 * h).max(low + 1e-3 * h).min(high - 8.001 * h);
        let (mut value, t) = (0.0, (x - first) / h);
        for k in 0..9 {
            // The derivative at t of the Lagrange polynomial of node k among 0 … 8.
            let mut weight = 0.0;
            for skip in (0..9).filter(|&m| m != k) {
                let product = |m: usize| if m == skip { 1.0 } else { t - m as f64 };
                weight +=
                    (0..9).filter(|&m| m != k).map(|m| product(m) / (k as f64 - m as f64)).product::<f64>();
            }
            value += weight * f(first + k as f64 * h);
        }
        value / h
    })
}

/// A named activation as a function of which nothing is used but values, derivatives and kinks.
pub(crate) fn of_activation(phi: &Activation) -> Kinked {
    let (f, df) = (phi.clone(), phi.clone());
    Kinked {
        f: Arc::new(move |x| f.eval(x).unwrap_or(f64::NAN)),
        df: Arc::new(move |x| df.derivative(x).unwrap_or(f64::NAN)),
        kinks: phi.kinks().to_vec(),
        linear: matches!(phi, Activation::HardTanh | Activation::HardSigmoid | Activation::Relu6),
    }
}

/// Prepares a function for samples of variances `q1` and `q2`.
pub(super) fn prepare_function(
    function: &Kinked,
    name: &str,
    q1: &[f64],
    q2: &[f64],
    tolerance: f64,
) -> Result<Box<dyn Prepared>, Error> {
    if !function.kinks.is_empty() {
        return prepare_nested(function.clone(), name, q1, q2, tolerance);
    }
    let (f, df) = (function.f.as_ref(), function.df.as_ref());
    let series = series::prepare_series(q1, q2, name, |q, least| {
        hermite_series::expand(&f, &df, q, least, tolerance, name)
    });
    match series {
        // At large variances the series is long; to a quadrature the function looks as if it had a kink at 0.
        Err(Error::Quadrature { .. }) => {
            let kinked = Kinked { kinks: vec![0.0], ..function.clone() };
            prepare_nested(kinked, name, q1, q2, tolerance)
        }
        other => other,
    }
}

/// A table pays off from this many pairs for each pair of variances.
const TABLE_PAYS: usize = 400;

/// Every pair by its own quadrature.
struct Nested {
    function: Kinked,
    rule: Rule,
    q: [Vec<f64>; 2],
    v: [Vec<f64>; 2],
    error: f64,
}

/// One table for each pair of distinct variances.
struct Tabled {
    tables: Vec<Table>,
    /// Which of the distinct variances a sample has.
    class: [Vec<usize>; 2],
    columns: usize,
    v: [Vec<f64>; 2],
    error: f64,
}

/// By rules of more and more nodes, until two of them agree.
fn prepare_nested(
    function: Kinked,
    name: &str,
    q1: &[f64],
    q2: &[f64],
    tolerance: f64,
) -> Result<Box<dyn Prepared>, Error> {
    for nodes in [[20, 28], [32, 44]] {
        match nested(function.clone(), name, q1, q2, tolerance, nodes) {
            Err(Error::Quadrature { .. }) => {}
            done => return done,
        }
    }
    nested(function, name, q1, q2, tolerance.max(ROUNDING), [48, 64])
}

/// What the finest rules may differ by, relative to the smallest moment: where variances are extreme, rounding is all that
/// is left between them.
const ROUNDING: f64 = 1e-10;

fn nested(
    function: Kinked,
    name: &str,
    q1: &[f64],
    q2: &[f64],
    tolerance: f64,
    nodes: [usize; 2],
) -> Result<Box<dyn Prepared>, Error> {
    let [rule, finer] = nodes.map(Rule::new);
    let mut moments = HashMap::new();
    let mut error = 0.0f64;
    for &q in q1.iter().chain(q2) {
        if let std::collections::hash_map::Entry::Vacant(entry) = moments.entry(q.to_bits()) {
            let (coarse, fine) = (function.moments(q, &rule), function.moments(q, &finer));
            if !(fine[0].is_finite() && fine[1].is_finite()) {
                return Err(no_moment(name, q));
            }
            for d in (0..2).filter(|&d| fine[d] > 0.0) {
                error = error.max((coarse[d] - fine[d]).abs() / fine[d]);
            }
            entry.insert(coarse);
        }
    }
    let moment = |q: f64, d: usize| moments[&q.to_bits()][d];
    let distinct = [q1, q2].map(|q| {
        let mut distinct = q.to_vec();
        distinct.sort_by(f64::total_cmp);
        distinct.dedup_by_key(|q| q.to_bits());
        distinct
    });
    let v = [q1, q2].map(|q| q.iter().map(|&q| moment(q, 0)).collect::<Vec<f64>>());
    // Two rules on pairs of the extreme variances, close and far, tell the error of all.
    let ends = |q: &[f64]| [q.first().copied().unwrap_or(0.0), q.last().copied().unwrap_or(0.0)];
    for (q, gap) in ends(&distinct[0])
        .into_iter()
        .zip(ends(&distinct[1]))
        .flat_map(|(a, b)| [0.4, 1e-3, -0.1].map(|gap| ([a, b], gap)))
    {
        let v = q.map(|q| moment(q, 0));
        if v[0] * v[1] > 0.0 {
            let slope = (moment(q[0], 1) * moment(q[1], 1)).sqrt();
            let (a, b) = (function.pair(q, v, gap, &rule), function.pair(q, v, gap, &finer));
            let slopes = if slope > 0.0 { (a.slope - b.slope).abs() / slope } else { 0.0 };
            error = error.max((a.distance[0] - b.distance[0]).abs()).max(slopes);
        }
    }
    let refuse = |reached: f64| Error::Quadrature { activation: name.to_owned(), reached, asked: tolerance };
    if error.is_nan() || error > tolerance {
        return Err(refuse(error));
    }
    let count = distinct[0].len() * distinct[1].len();
    if q1.len() * q2.len() < TABLE_PAYS * count {
        let q = [q1.to_vec(), q2.to_vec()];
        return Ok(Box::new(Nested { function, rule, q, v, error }));
    }
    let mut tables = Vec::with_capacity(count);
    for (&a, &b) in distinct[0].iter().flat_map(|a| distinct[1].iter().map(move |b| (a, b))) {
        let (q, v) = ([a, b], [moment(a, 0), moment(b, 0)]);
        let ratio = if v[0] * v[1] > 0.0 { (a / v[0]).sqrt() * (b / v[1]).sqrt() } else { 0.0 };
        let slope = (moment(a, 1) * moment(b, 1)).sqrt();
        let (table, reached) = Table::new(|gap| function.pair(q, v, gap, &rule), ratio, slope, tolerance);
        if reached > tolerance {
            // Kinks that nearly coincide make the angle too sharp for polynomials.
            let q = [q1.to_vec(), q2.to_vec()];
            return Ok(Box::new(Nested {
                function,
                rule,
                q,
                v: [q1, q2].map(|q| q.iter().map(|&q| moment(q, 0)).collect()),
                error,
            }));
        }
        error = error.max(reached);
        tables.push(table);
    }
    let class = [0, 1].map(|side| {
        let of = |q: &f64| distinct[side].partition_point(|other| other.total_cmp(q).is_lt());
        [q1, q2][side].iter().map(of).collect()
    });
    Ok(Box::new(Tabled { tables, class, columns: distinct[1].len(), v, error }))
}

impl Prepared for Nested {
    fn variances(&self) -> (&[f64], &[f64]) {
        (&self.v[0], &self.v[1])
    }

    fn row(&self, i: usize, j0: usize, gap: &mut [f64], mut slope: Option<&mut [f64]>) {
        for (k, gap) in gap.iter_mut().enumerate() {
            let (q, v) = ([self.q[0][i], self.q[1][j0 + k]], [self.v[0][i], self.v[1][j0 + k]]);
            let found = self.function.pair(q, v, *gap, &self.rule);
            let [below, above] = found.distance;
            *gap = if v[0] == 0.0 || v[1] == 0.0 {
                1.0
            } else if below <= above {
                below.clamp(0.0, 1.0)
            } else {
                -above.clamp(0.0, 1.0)
            };
            if let Some(slope) = slope.as_deref_mut() {
                slope[k] = found.slope;
            }
        }
    }

    fn error(&self) -> f64 {
        self.error
    }
}

impl Prepared for Tabled {
    fn variances(&self) -> (&[f64], &[f64]) {
        (&self.v[0], &self.v[1])
    }

    fn row(&self, i: usize, j0: usize, gap: &mut [f64], mut slope: Option<&mut [f64]>) {
        for (k, gap) in gap.iter_mut().enumerate() {
            let table = &self.tables[self.class[0][i] * self.columns + self.class[1][j0 + k]];
            let (output, derivative) = table.at(*gap);
            *gap = if self.v[0][i] == 0.0 || self.v[1][j0 + k] == 0.0 { 1.0 } else { output };
            if let Some(slope) = slope.as_deref_mut() {
                slope[k] = derivative;
            }
        }
    }

    fn error(&self) -> f64 {
        self.error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dual::prepare;

    fn gaps() -> Vec<f64> {
        let gap = |k: i32| 10f64.powf(-0.025 * f64::from(k));
        (1..=TABLE_PAYS as i32).map(|k| if k % 2 == 0 { gap(k) } else { -gap(k) }).collect()
    }

    #[test]
    fn table_equals_quadrature_pair_by_pair() {
        let one = [(Activation::ELU, 1.0, 1.0), (Activation::Selu, 0.5, 2.3)];
        let linear = [Activation::HardTanh, Activation::HardSigmoid, Activation::Relu6];
        for (phi, q1, q2) in one.into_iter().chain(linear.map(|phi| (phi, 1.5, 1.5))) {
            let (mut table, mut slopes) = (gaps(), vec![0.0; TABLE_PAYS]);
            let prepared = prepare(&phi, &[q1], &[q2; TABLE_PAYS], 1e-12).unwrap();
            prepared.row(0, 0, &mut table, Some(&mut slopes));
            let single = prepare(&phi, &[q1], &[q2], 1e-12).unwrap();
            for k in (0..TABLE_PAYS).step_by(7) {
                let (mut gap, mut slope) = ([gaps()[k]], [0.0]);
                single.row(0, 0, &mut gap, Some(&mut slope));
                let error = (table[k].abs() - gap[0].abs()).abs() / gap[0].abs().sqrt();
                assert!(error < 1e-12, "{} at {}: {} {}", phi.name(), gaps()[k], table[k], gap[0]);
                assert!((slopes[k] - slope[0]).abs() < 1e-12, "{}: {} {}", phi.name(), slopes[k], slope[0]);
            }
        }
    }

    #[test]
    fn saturated_functions_keep_their_digits() {
        let f = of_activation(&Activation::HardTanh);
        let rules = [20, 28, 64].map(Rule::new);
        for q in [[0.3, 1e9], [1e5, 3e5], [1e9, 1e9], [20.0, 1e13], [7e12, 1e13]] {
            let moments = q.map(|q| f.moments(q, &rules[2]));
            let (v, slope) = (moments.map(|m| m[0]), (moments[0][1] * moments[1][1]).sqrt());
            for gap in [1.0, 0.4, 1e-3, 1e-9, -0.1, -1e-5] {
                let [a, b, c] = [0, 1, 2].map(|k| f.pair(q, v, gap, &rules[k]));
                for other in [a, b] {
                    let error = (other.distance[0] - c.distance[0]).abs();
                    assert!(error < 1e-12, "{q:?}, {gap}: {other:?} {c:?}");
                    assert!((other.slope - c.slope).abs() < 1e-12 * slope, "{q:?}, {gap}: {other:?} {c:?}");
                }
            }
        }
        // Nested quadrature loses digits there, but fewer than it would have to lose to hide a wrong formula.
        let nested = Kinked { linear: false, ..f.clone() };
        for (q, gap) in [([1e6, 1e6], 0.4), ([20.0, 1e9], 0.4), ([1e9, 7e8], -0.1)] {
            let v = q.map(|q| f.moments(q, &rules[0])[0]);
            let (a, b) = (f.pair(q, v, gap, &rules[0]), nested.pair(q, v, gap, &rules[0]));
            assert!((a.distance[0] - b.distance[0]).abs() < 1e-10, "{q:?}: {a:?} {b:?}");
            assert!((a.slope / b.slope - 1.0).abs() < 1e-9, "{q:?}: {a:?} {b:?}");
        }
        // The sign, up to terms of order 1/σ²: ρ′ = 1 − 2θ/π.
        let q = [1e13, 1e13];
        let v = q.map(|q| f.moments(q, &rules[0])[0]);
        let found = f.pair(q, v, 0.5, &rules[0]);
        assert!((found.distance[0] - 2.0 / 3.0).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn price_equals_nested_quadrature() {
        let rule = Rule::new(20);
        for phi in [Activation::HardTanh, Activation::HardSigmoid, Activation::Relu6] {
            for q in [[1.0, 1.0], [0.5, 2.3], [30.0, 31.0]] {
                let linear = of_activation(&phi);
                let nested = Kinked { linear: false, ..linear.clone() };
                let v = q.map(|q| nested.moments(q, &rule)[0]);
                for gap in [0.7, 1e-2, 1e-9, -0.2, -1e-6] {
                    let (a, b) = (linear.pair(q, v, gap, &rule), nested.pair(q, v, gap, &rule));
                    let near = usize::from(b.distance[1] < b.distance[0]);
                    let error = (a.distance[near] - b.distance[near]).abs() / b.distance[near].sqrt();
                    assert!(error < 2e-12, "{} at {q:?}, {gap}: {a:?} {b:?}", phi.name());
                    assert!((a.slope - b.slope).abs() < 1e-12, "{} at {q:?}, {gap}: {a:?} {b:?}", phi.name());
                }
            }
        }
    }
}
