//! Assemblies of single neurons, where the norm of the Hessian is known exactly: equal weights, weights with a power
//! law, one that dominates, shared parameters.

use ndarray::{Array1, Array2};
use ntk_core::Activation;
use ntk_empirical::{Assembly, Neuron, ScalarFunction};
use ntk_linalg::Lanczos;

use super::curve::{Curve, measure, show};
use super::{FEATURES, SOURCE, inputs};
use crate::experiments::common;
use crate::{BoxError, Claim, Context, Criterion, Plot, Report};

/// Largest number of neurons for which all different eigenvalues are found by Lanczos.
const SMALL: usize = 256;

/// m neurons with random signs, at random parameters and at a random input.
struct Shallow {
    signs: Array1<f64>,
    offsets: Array1<f64>,
    w: Array1<f64>,
    x: Array1<f64>,
}

impl Shallow {
    fn draw(ctx: &Context<'_>, m: usize, seed: u64) -> Result<Self, BoxError> {
        let drawn: Array2<f64> = common::normals(ctx, m, FEATURES + 2, seed)?;
        let (w, rest) = drawn.view().split_at(ndarray::Axis(1), FEATURES);
        Ok(Shallow {
            signs: rest.column(0).mapv(f64::signum),
            offsets: rest.column(1).to_owned(),
            w: w.iter().copied().collect(),
            x: inputs(ctx, 1, seed)?.row(0).to_owned(),
        })
    }

    fn neurons(&self) -> Result<Vec<Neuron>, BoxError> {
        Ok(vec![Neuron::new(Activation::Tanh, FEATURES)?; self.signs.len()])
    }

    /// ‖∇²f‖ with these weights, in units of their norm.
    fn norm(&self, weights: Array1<f64>) -> Result<f64, BoxError> {
        let scale = weights.dot(&weights).sqrt();
        let assembly = Assembly::independent(self.neurons()?, weights, scale)?;
        Ok(assembly.at(self.x.view())?.hessian_norm(&self.w, &Lanczos::new(1))?)
    }

    /// ‖∇²f‖ where each `size` neurons share their parameters and are told apart by offsets.
    fn grouped(&self, size: usize) -> Result<f64, BoxError> {
        let (m, neurons) = (self.signs.len(), self.neurons()?.into_iter());
        let neurons = neurons.zip(&self.offsets).map(|(neuron, &c)| neuron.with_offset(c));
        let scale = (m as f64).sqrt();
        let assembly =
            Assembly::in_groups(neurons.collect::<Result<_, _>>()?, self.signs.clone(), scale, size)?;
        let w = self.w.slice(ndarray::s![..assembly.parameters()]).to_owned();
        Ok(assembly.at(self.x.view())?.hessian_norm(&w, &Lanczos::new(1))?)
    }

    /// The relative differences of the exact norm from max |σ″(aᵢ)| ‖x‖²/(d √m), and from Lanczos where m is small.
    fn differences(&self) -> Result<[f64; 2], BoxError> {
        let m = self.signs.len();
        let exact = self.norm(self.signs.clone())?;
        let curvature = |row: ndarray::ArrayView1<'_, f64>| {
            let t = (row.dot(&self.x) / (FEATURES as f64).sqrt()).tanh();
            (2.0 * t * (1.0 - t) * (1.0 + t)).abs()
        };
        let w = self.w.view().into_shape_with_order((m, FEATURES))?;
        let largest = w.outer_iter().map(curvature).fold(0.0, f64::max);
        let formula = largest * self.x.dot(&self.x) / (FEATURES as f64 * (m as f64).sqrt());
        let mut differences = [(formula - exact).abs() / exact, 0.0];
        if m <= SMALL {
            let assembly = Assembly::independent(self.neurons()?, self.signs.clone(), (m as f64).sqrt())?;
            // m eigenvalues differ from 0, so that m + 1 steps reach the end of the Krylov space.
            let lanczos = Lanczos::norm(m + 2, 1e-12);
            let ritz = assembly.at(self.x.view())?.hessian_spectrum(&self.w, &lanczos)?;
            differences[1] = (ritz.norm() - exact).abs() / exact;
        }
        Ok(differences)
    }
}

pub(super) fn judge(ctx: &Context<'_>, report: &mut Report) -> Result<(), BoxError> {
    let count = ctx.pick([8, 16, 64]);
    let sizes: Vec<usize> = (5..=14).map(|k| 1 << k).collect();
    report.size("assemblies", format!("m = 32 … 16384 tanh neurons, {count} for each m"));
    report.seeds(ctx.seeds(count));
    equal(ctx, report, &sizes, count)?;

    let dominance = dial(ctx, report, &sizes, count)?;
    let sharing = shared(ctx, report, &sizes, count)?;
    let ends = [sizes[0] as f64, sizes[sizes.len() - 1] as f64];
    for (title, quantity, curves) in [
        ("Assemblies with weights i^(−a) or one that dominates", "‖∇²f‖", dominance),
        ("Assemblies whose sub-models share parameters", "‖∇²f‖ / √(2 ln 2b)", sharing),
    ] {
        let (plot, table) = show(title, "m", quantity, &curves.iter().collect::<Vec<_>>())?;
        report.plot(reference(plot, ends)).table(table);
    }
    Ok(())
}

/// A1: equal weights.
fn equal(ctx: &Context<'_>, report: &mut Report, sizes: &[usize], count: usize) -> Result<(), BoxError> {
    let results = measure(ctx, "equal weights", sizes, count, |m, seed| {
        let shallow = Shallow::draw(ctx, m, seed)?;
        Ok((shallow.norm(shallow.signs.clone())?, shallow.differences()?))
    })?;
    let curve = Curve::means("equal weights", sizes, &results, |(norm, _)| *norm);
    report.claim(Claim::new(
        SOURCE,
        "A1: exponent in m of ‖∇²f‖, shallow, weights ±1",
        Criterion::Within { expected: -0.5, tolerance: 0.03 },
        curve.fit()?.slope,
    ));
    let worst = |which: usize| results.iter().flatten().fold(0.0_f64, |w, (_, d)| w.max(d[which]));
    let small = format!("A1: largest relative distance of Lanczos from the exact norm, m ≤ {SMALL}");
    for (quantity, got) in [
        ("A1: largest relative distance of max|σ″| ‖x‖²/(d√m) from the exact norm", worst(0)),
        (small.as_str(), worst(1)),
    ] {
        report.claim(Claim::new(SOURCE, quantity, Criterion::AtMost(1e-9), got));
    }
    Ok(())
}

/// A6: weights with a power law, and one that dominates.
fn dial(
    ctx: &Context<'_>,
    report: &mut Report,
    sizes: &[usize],
    count: usize,
) -> Result<Vec<Curve>, BoxError> {
    let exponents = [0.0, 0.125, 0.25, 0.375, 0.75, 1.0];
    let results = measure(ctx, "power laws", sizes, count, |m, seed| {
        let shallow = Shallow::draw(ctx, m, seed)?;
        let law = |a: f64| Array1::from_shape_fn(m, |i| shallow.signs[i] * (i as f64 + 1.0).powf(-a));
        let mut norms = exponents.map(|a| shallow.norm(law(a))).into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut dominated = shallow.signs.clone();
        dominated[0] *= (m as f64).sqrt();
        norms.push(shallow.norm(dominated)?);
        Ok(norms)
    })?;
    let labels = exponents.iter().map(|a| format!("a = {a}")).chain(["one weight √m".to_owned()]);
    let rates = exponents.iter().map(|a| -(0.5 - a).max(0.0)).chain([0.0]);
    let mut curves = Vec::new();
    for (index, (label, expected)) in labels.zip(rates).enumerate() {
        let curve = Curve::means(&label, sizes, &results, |norms| norms[index]);
        report.claim(Claim::new(
            SOURCE,
            format!("A6: exponent in m of ‖∇²f‖, {label}"),
            Criterion::Within { expected, tolerance: 0.08 },
            curve.fit()?.slope,
        ));
        curves.push(curve);
    }
    Ok(curves)
}

/// Sub-models that share parameters: all of them, √m, or 16. A block of G has a norm of about √(G/m) times a normal
/// number, and the largest of b normal numbers grows as √(2 ln 2b), which is taken out before the rate is fitted.
fn shared(
    ctx: &Context<'_>,
    report: &mut Report,
    sizes: &[usize],
    count: usize,
) -> Result<Vec<Curve>, BoxError> {
    let results = measure(ctx, "shared parameters", sizes, count, |m, seed| {
        let shallow = Shallow::draw(ctx, m, seed)?;
        let relative = |size: usize| -> Result<f64, BoxError> {
            let blocks = m.div_ceil(size) as f64;
            Ok(shallow.grouped(size)? / (2.0 * (2.0 * blocks).ln()).sqrt())
        };
        [m, m.isqrt(), 16].map(relative).into_iter().collect::<Result<Vec<_>, _>>()
    })?;
    let mut curves = Vec::new();
    for (index, (label, expected)) in
        [("all share", 0.0), ("groups of √m", -0.25), ("groups of 16", -0.5)].into_iter().enumerate()
    {
        let curve = Curve::means(label, sizes, &results, |norms| norms[index]);
        report.claim(Claim::new(
            SOURCE,
            format!("exponent in m of ‖∇²f‖ / √(2 ln 2b), parameters shared in b blocks: {label}"),
            Criterion::Within { expected, tolerance: 0.08 },
            curve.fit()?.slope,
        ));
        curves.push(curve);
    }
    Ok(curves)
}

/// The rate of equal weights, drawn through 1.
fn reference(plot: Plot, ends: [f64; 2]) -> Plot {
    plot.reference("m^(−1/2)", ends.map(|m| [m, m.powf(-0.5)]))
}
