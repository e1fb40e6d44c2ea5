//! Deep networks: the norm of the Hessian at the initial parameters and at a distance from them, its three terms, and the
//! bottleneck and the nonlinear output that keep it from falling.

use ndarray::array;
use ntk_core::{Activation, Net, Variance};
use ntk_empirical::candle_core::DType;
use ntk_empirical::{LayerRecursion, NetOutput, NonlinearOutput, ScalarFunction, Sphere};

use super::curve::{Curve, between, measure, show};
use super::{FEATURES, SOURCE, inputs, lanczos};
use crate::experiments::common;
use crate::{BoxError, Claim, Context, Criterion, Report, Side};

/// Distances from the initial parameters.
const RADII: [f64; 2] = [1.0, 4.0];

/// Norms of one network's derivatives.
struct Norms {
    gradient: f64,
    initial: f64,
    /// The largest on spheres of [`RADII`], along the gradient.
    moved: [f64; 2],
}

pub(super) fn judge(ctx: &Context<'_>, report: &mut Report) -> Result<(), BoxError> {
    let widths = ctx.pick([
        &[16, 32, 64, 128, 256][..],
        &[16, 32, 64, 128, 256, 512],
        &[16, 32, 64, 128, 256, 512, 1024, 2048],
    ]);
    let count = ctx.pick([6, 8, 32]);
    report.size("deep networks", format!("widths {}, {count} for each", common::list(widths)));
    report.seeds(ctx.seeds(count));
    let mut wide = None;
    for depth in [2, 3] {
        wide = Some(ball(ctx, report, depth, widths, count)?);
    }
    terms(ctx, report, widths, count)?;
    if let Some(wide) = wide {
        bottleneck(ctx, report, &wide, widths, 4 * count)?;
    }
    neck_width(ctx, report, 4 * count)?;
    nonlinear(ctx, report, 4 * count)
}

/// Chains of tanh layers of n units each, with one output.
fn mlp(depth: usize) -> Net {
    Net::mlp(depth, Activation::Tanh, 1, Variance::ONE, Variance::ZERO)
}

/// n units, a few, n units, one output.
pub(super) fn through(neck: usize) -> Net {
    let phi = || Net::activation(Activation::Tanh);
    let few = Net::readout(neck, Variance::ONE, Variance::ZERO);
    let hidden = || Net::dense(Variance::ONE, Variance::ZERO).then(phi());
    Net::serial([hidden(), few, phi(), hidden(), Net::readout(1, Variance::ONE, Variance::ZERO)])
}

/// Calls `f` with the output of a network as a function of its parameters, and these.
fn with_output<T>(
    ctx: &Context<'_>,
    net: &Net,
    width: usize,
    seed: u64,
    f: impl FnOnce(&NetOutput<'_>, &ndarray::Array1<f64>) -> Result<T, BoxError>,
) -> Result<T, BoxError> {
    let x = inputs(ctx, 1, seed)?;
    let network = common::draw(ctx, net, FEATURES, width, seed, DType::F64)?;
    let output = NetOutput::new(&network, (&x).into(), array![[1.0]].view())?;
    let w = output.initial()?;
    f(&output, &w)
}

/// A2: the norm at the start and in a ball.
fn ball(
    ctx: &Context<'_>,
    report: &mut Report,
    depth: usize,
    widths: &[usize],
    count: usize,
) -> Result<Curve, BoxError> {
    let name = format!("{depth} hidden layers");
    let results = measure(ctx, &name, widths, count, |m, seed| {
        with_output(ctx, &mlp(depth), m, seed, |f, w| {
            let start = f.linearity(w, &lanczos())?;
            let mut moved = [start.hessian; 2];
            for (norm, radius) in moved.iter_mut().zip(RADII) {
                for point in (Sphere { radius, random: 0, seed }).points(f, w)? {
                    *norm = norm.max(f.hessian_norm(&point, &lanczos())?);
                }
            }
            Ok(Norms { gradient: start.gradient, initial: start.hessian, moved })
        })
    })?;
    let curves = [
        Curve::means("‖∇²f‖ at the start", widths, &results, |norms| norms.initial),
        Curve::means("‖∇²f‖, R = 1", widths, &results, |norms| norms.moved[0]),
        Curve::means("‖∇²f‖, R = 4", widths, &results, |norms| norms.moved[1]),
        Curve::means("‖∇f‖", widths, &results, |norms| norms.gradient),
    ];
    for curve in &curves[..3] {
        report.claim(Claim::new(
            SOURCE,
            format!("A2: exponent in m of {}, {name}", curve.label),
            between(-0.6, -0.33),
            curve.fit()?.slope,
        ));
        report.claim(Claim::new(
            SOURCE,
            format!("A2: largest factor from one width to the next of {}, {name}", curve.label),
            Criterion::AtMost(1.0),
            curve.steepest_rise(),
        ));
    }
    report.claim(Claim::new(
        SOURCE,
        format!("A2: exponent in m of ‖∇f‖, {name}"),
        Criterion::Within { expected: 0.0, tolerance: 0.1 },
        curves[3].fit()?.slope,
    ));
    let all: Vec<&Curve> = curves.iter().collect();
    let (plot, table) = show(&format!("Derivatives of a network of {name}"), "width m", "norm", &all)?;
    report.plot(plot).table(table);
    let [start, ..] = curves;
    Ok(start.called(&format!("{depth} wide layers")))
}

/// The three terms of the recursion at the output of three hidden layers.
fn terms(ctx: &Context<'_>, report: &mut Report, widths: &[usize], count: usize) -> Result<(), BoxError> {
    let results = measure(ctx, "terms of the Hessian", widths, count, |m, seed| {
        let x = inputs(ctx, 1, seed)?;
        let network = common::draw(ctx, &mlp(3), FEATURES, m, seed, DType::F64)?;
        let spectra = LayerRecursion::new(&network, (&x).into(), 0)?.spectra(&lanczos())?;
        Ok(spectra.map(|ritz| ritz.norm()))
    })?;
    let mut curves = Vec::new();
    for (index, label) in ["Σ wⱼ φ′ ∇²aⱼ", "Σ wⱼ φ″ ∇aⱼ ∇aⱼᵀ", "cross blocks φ′ ∇aⱼ"].into_iter().enumerate()
    {
        let curve = Curve::means(label, widths, &results, |norms| norms[index]);
        let fit = curve.fit()?;
        let standard_error = fit.standard_error;
        report.claim(Claim::new(
            SOURCE,
            format!("exponent in m of the norm of a term of the Hessian: {label} / √m"),
            Criterion::Slope { expected: -0.5, tolerance: 0.17, standard_error, side: Side::Above },
            fit.slope,
        ));
        curves.push(curve);
    }
    let all: Vec<&Curve> = curves.iter().collect();
    let (plot, table) = show("The three terms of the Hessian, 3 hidden layers", "width m", "norm", &all)?;
    report.plot(plot).table(table);
    Ok(())
}

/// A3: a layer of one or four units between wide ones.
fn bottleneck(
    ctx: &Context<'_>,
    report: &mut Report,
    wide: &Curve,
    widths: &[usize],
    count: usize,
) -> Result<(), BoxError> {
    let mut curves = Vec::new();
    for neck in [1, 4] {
        let label = format!("bottleneck of {neck}");
        let norm =
            |m, seed| with_output(ctx, &through(neck), m, seed, |f, w| Ok(f.hessian_norm(w, &lanczos())?));
        let curve = Curve::means(&label, widths, &measure(ctx, &label, widths, count, norm)?, |norm| *norm);
        report.claim(Claim::new(
            SOURCE,
            format!("A3: exponent in m of ‖∇²f‖, {label}"),
            Criterion::Within { expected: 0.0, tolerance: 0.2 },
            curve.fit()?.slope,
        ));
        report.claim(Claim::new(
            SOURCE,
            format!("A3: ‖∇²f‖ over that of 3 wide layers at m = {}, {label}", widths[widths.len() - 1]),
            Criterion::AtLeast(3.0),
            curve.last() / wide.last(),
        ));
        curves.push(curve);
    }
    let mut all = vec![wide];
    all.extend(&curves);
    let (plot, table) = show("A bottleneck between wide layers", "width m", "‖∇²f‖", &all)?;
    report.plot(plot).table(table);
    Ok(())
}

/// A4: bottlenecks of many widths between layers of one width.
fn neck_width(ctx: &Context<'_>, report: &mut Report, count: usize) -> Result<(), BoxError> {
    let m = ctx.pick([128, 256, 1024]);
    let necks: Vec<usize> = (0..).map(|k| 1 << k).take_while(|neck| *neck <= m).collect();
    let results = measure(ctx, "width of the bottleneck", &necks, count, |neck, seed| {
        with_output(ctx, &through(neck), m, seed, |f, w| Ok(f.hessian_norm(w, &lanczos())?))
    })?;
    let label = format!("wide layers of {m}");
    let curve = Curve::means(&label, &necks, &results, |norm| *norm);
    report.claim(Claim::new(
        SOURCE,
        format!("A4: exponent in the width m_b ≤ m/4 of a bottleneck of ‖∇²f‖, m = {m}"),
        between(-0.6, -0.3),
        curve.fit_where(|neck| neck <= m / 4)?.slope,
    ));
    report.claim(Claim::new(
        SOURCE,
        format!("A4: largest factor of ‖∇²f‖ from one m_b to the next, m = {m}"),
        Criterion::AtMost(1.0),
        curve.steepest_rise(),
    ));
    let (plot, table) = show("The width of a bottleneck", "width of the bottleneck m_b", "‖∇²f‖", &[&curve])?;
    report.plot(plot).table(table);
    Ok(())
}

/// A5: softplus of the output of one hidden layer.
fn nonlinear(ctx: &Context<'_>, report: &mut Report, count: usize) -> Result<(), BoxError> {
    let widths: Vec<usize> = (5..=ctx.pick([11, 12, 14])).map(|k| 1 << k).collect();
    let results = measure(ctx, "nonlinear output", &widths, count, |m, seed| {
        with_output(ctx, &mlp(1), m, seed, |f, w| {
            let outer = NonlinearOutput { output: Activation::Softplus, inner: f };
            let norm = outer.hessian_norm(w, &lanczos())?;
            Ok([f.hessian_norm(w, &lanczos())?, norm, outer.outer_norm(w)?])
        })
    })?;
    let linear = Curve::means("linear output", &widths, &results, |norms| norms[0]);
    let curve = Curve::means("softplus of it", &widths, &results, |norms| norms[1]);
    let limit = Curve::means("|φ″| ‖∇f‖²", &widths, &results, |norms| norms[2]);
    let last = widths[widths.len() - 1];
    report.claim(Claim::new(
        SOURCE,
        "A5: exponent in the last three m of ‖∇²φ(f)‖, φ softplus, 1 hidden layer",
        Criterion::AtLeast(-0.2),
        curve.fit_where(|m| 8 * m > last)?.slope,
    ));
    report.claim(Claim::new(
        SOURCE,
        format!("A5: ‖∇²φ(f)‖ over |φ″(f)| ‖∇f‖² at m = {last}"),
        Criterion::Within { expected: 1.0, tolerance: 0.2 },
        curve.last() / limit.last(),
    ));
    let (plot, table) = show("A nonlinear output", "width m", "‖∇²f‖", &[&linear, &curve, &limit])?;
    report.plot(plot).table(table);
    Ok(())
}
