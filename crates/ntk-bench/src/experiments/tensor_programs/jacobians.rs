//! Singular values of input–output Jacobians: finite networks beside the law of free probability, and who is isometric.

use ndarray::{Array1, Array2};
use ntk_analytic::program::{Ensemble, JacobianSpectrum, fixed_point_variance};
use ntk_core::Activation;
use ntk_linalg::{Symmetric, SymmetricEigen, eigenvalues, product};
use rayon::prelude::*;

use crate::experiments::common;
use crate::{BoxError, Claim, Context, Criterion, Plot, Report, Side, Table, stats};

const DEPTH: usize = 3;
const SOURCE: &str = "[pennington2017resurrecting], [yang2020tensor3]";
/// Points at which distribution functions are compared.
const POINTS: usize = 160;

struct Case {
    name: &'static str,
    phi: Activation,
    /// σ² of the weights, and the variance of all preactivations.
    variance: f64,
    q: f64,
}

fn cases() -> Result<[Case; 4], BoxError> {
    let fixed = |phi: &Activation, variance| fixed_point_variance(phi, variance, 0.0);
    let (tanh, erf) = (Activation::HardTanh, Activation::ERF);
    // Of ReLU and linear networks every variance is a fixed point.
    Ok([
        Case { name: "linear", phi: Activation::Monomial { degree: 1 }, variance: 1.0, q: 1.0 },
        Case { name: "ReLU", phi: Activation::Relu, variance: 2.0, q: 1.0 },
        Case { name: "hard tanh", q: fixed(&tanh, 1.05)?, phi: tanh, variance: 1.05 },
        Case { name: "erf", q: fixed(&erf, 0.9)?, phi: erf, variance: 0.9 },
    ])
}

fn name(ensemble: Ensemble) -> &'static str {
    if ensemble == Ensemble::Gaussian { "Gaussian" } else { "orthogonal" }
}

/// Singular values of D_L W_L ⋯ D₁ W₁ at one input, n of them.
fn draw(
    ctx: &Context<'_>,
    case: &Case,
    ensemble: Ensemble,
    n: usize,
    seed: u64,
) -> Result<Vec<f64>, BoxError> {
    // A row of signs for each layer after the matrices.
    let all = common::normals(ctx, DEPTH * (n + 1), n, seed)?;
    let mut jacobian = Array2::<f64>::eye(n);
    // An input whose first preactivations have the variance q.
    let mut x = Array1::from_elem(n, (case.q / case.variance).sqrt());
    for layer in 0..DEPTH {
        let noise = all.slice(ndarray::s![layer * n..(layer + 1) * n, ..]);
        let w = match ensemble {
            Ensemble::Gaussian => noise.mapv(|z| z * (case.variance / n as f64).sqrt()),
            // Eigenvectors of a symmetric Gaussian matrix, with signs at random, are uniform.
            Ensemble::Orthogonal => {
                let eigen = SymmetricEigen::new(&Symmetric::new(&noise + &noise.t())?)?;
                let mut w = &eigen.vectors() * case.variance.sqrt();
                for (mut column, z) in w.columns_mut().into_iter().zip(all.row(DEPTH * n + layer)) {
                    column *= z.signum();
                }
                w
            }
        };
        let h = w.dot(&x);
        let applied =
            |f: &dyn Fn(f64) -> Option<f64>| h.iter().map(|&h| f(h)).collect::<Option<Array1<f64>>>();
        let none = || format!("{} has no values", case.name);
        x = applied(&|h| case.phi.eval(h)).ok_or_else(none)?;
        let slopes = applied(&|h| case.phi.derivative(h)).ok_or_else(none)?;
        jacobian = product(w.view(), jacobian.view())?;
        for (mut row, slope) in jacobian.rows_mut().into_iter().zip(&slopes) {
            row *= *slope;
        }
    }
    let squares = eigenvalues(&Symmetric::new(product(jacobian.view(), jacobian.t())?)?)?;
    Ok(squares.iter().map(|x| x.max(0.0).sqrt()).collect())
}

/// The density and the distribution function of the singular values at points from the largest downwards.
struct Law {
    points: Vec<f64>,
    density: Vec<f64>,
    below: Vec<f64>,
}

impl Law {
    fn new(spectrum: &JacobianSpectrum) -> Result<Self, BoxError> {
        // Beyond the largest value, which may be an atom.
        let end = spectrum.largest().sqrt() * (1.0 + 1e-6);
        let atoms = spectrum.atoms();
        // Points crowd towards both ends, where densities have roots and poles.
        let at = |k: f64| end * 0.5 * (1.0 + (std::f64::consts::PI * k / POINTS as f64).cos());
        let mut law = Law { points: vec![end], density: vec![0.0], below: vec![1.0] };
        let mut above = 0.0;
        for k in 1..POINTS {
            let (last, s) = (at(k as f64 - 1.0), at(k as f64));
            let middle = at(k as f64 - 0.5);
            let mass = (last - s) * spectrum.singular_value_density(middle)?;
            let passed = |atom: &&(f64, f64)| (s..last).contains(&atom.0.sqrt());
            above += mass + atoms.iter().filter(passed).map(|atom| atom.1).sum::<f64>();
            law.points.push(s);
            law.density.push(spectrum.singular_value_density(s)?);
            law.below.push(1.0 - above);
        }
        Ok(law)
    }

    /// The largest distance of the distribution functions at the points.
    fn distance(&self, values: &[f64]) -> f64 {
        let one = |(s, below): (&f64, &f64)| {
            let found = values.iter().filter(|value| *value <= s).count() as f64 / values.len() as f64;
            (found - below).abs()
        };
        self.points.iter().zip(&self.below).map(one).fold(0.0, f64::max)
    }
}

pub(super) fn study(ctx: &Context<'_>, report: &mut Report) -> Result<(), BoxError> {
    let widths = ctx.pick([&[20, 40, 80, 160][..], &[25, 50, 100, 200, 400], &[100, 200, 400, 800, 1600]]);
    let count = ctx.pick([24, 32, 32]);
    report.size("widths of Jacobians", common::list(widths)).size("Jacobians of each width", count);
    let mut table = Table::new(
        "Squared singular values of Jacobians, three layers: the law, and draws of the largest width",
        ["network", "weights", "mean", "drawn", "variance", "drawn", "largest", "drawn"],
    );
    let bar = ctx.progress("Jacobians", 8 * widths.len() * count);
    for case in cases()? {
        let mut plot =
            Plot::new(&format!("Singular values of Jacobians, {}", case.name), "singular value", "density")
                .log_y();
        for ensemble in [Ensemble::Gaussian, Ensemble::Orthogonal] {
            let spectrum = JacobianSpectrum::new(&case.phi, DEPTH, case.variance, case.q, ensemble)?;
            let seeds = ctx.seeds(count);
            let one = |n: usize, seed: u64| -> Result<Vec<f64>, BoxError> {
                bar.step();
                draw(ctx, &case, ensemble, n, seed)
            };
            let all = widths
                .iter()
                .map(|&n| seeds.par_iter().map(|&seed| one(n, seed)).collect::<Result<Vec<_>, _>>())
                .collect::<Result<Vec<_>, _>>()?;
            let last = &all[widths.len() - 1];
            let [mean, variance] = spectrum.mean_and_variance();
            let moment = |values: &[f64], k: i32| {
                stats::mean(&values.iter().map(|s| s.powi(2 * k)).collect::<Vec<_>>())
            };
            let first: Vec<f64> = last.iter().map(|values| moment(values, 1)).collect();
            let spread: Vec<f64> =
                last.iter().zip(&first).map(|(values, first)| moment(values, 2) - first * first).collect();
            let top: Vec<f64> =
                last.iter().map(|values| values.iter().fold(0.0, |a: f64, s| a.max(s * s))).collect();
            let shown =
                |values: &[f64]| format!("{:.3} ± {:.3}", stats::mean(values), stats::standard_error(values));
            table = table.row([
                case.name.to_owned(),
                name(ensemble).to_owned(),
                format!("{mean:.3}"),
                shown(&first),
                format!("{variance:.3}"),
                shown(&spread),
                format!("{:.3}", spectrum.largest()),
                shown(&top),
            ]);
            // All singular values of a linear orthogonal network are one: exact at any width, without a density.
            if case.name == "linear" && ensemble == Ensemble::Orthogonal {
                let worst = last.iter().flatten().fold(0.0, |a: f64, s| a.max((s - 1.0).abs()));
                let quantity = "largest |s − 1| of a linear orthogonal network";
                report.claim(Claim::new(SOURCE, quantity, Criterion::AtMost(1e-10), worst));
                continue;
            }
            let law = Law::new(&spectrum)?;
            let distances: Vec<f64> = all
                .iter()
                .map(|draws| {
                    stats::mean(&draws.iter().map(|values| law.distance(values)).collect::<Vec<_>>())
                })
                .collect();
            let n: Vec<f64> = widths.iter().map(|&n| n as f64).collect();
            // Slopes that are 0 or 1 vary in number by √n; eigenvalues of matrices without them are stiffer.
            let fit = stats::power_law(&n, &distances)?;
            let quantity = format!(
                "exponent in n of the distance of distribution functions, {}, {}",
                case.name,
                name(ensemble)
            );
            report.claim(common::rate(SOURCE, &quantity, -0.5, Side::Above, fit));
            let label = name(ensemble);
            let bins = histogram(last, law.points[0], 40);
            plot = plot
                .points(&format!("{label}, drawn"), bins)
                .line(label, law.points.iter().zip(&law.density).map(|(&s, &d)| [s, d]));
        }
        report.plot(plot);
    }
    report.table(table);
    isometry(report)
}

/// Middles of bins and densities, of positive values.
fn histogram(draws: &[Vec<f64>], end: f64, bins: usize) -> Vec<[f64; 2]> {
    let total: usize = draws.iter().map(Vec::len).sum();
    let width = end / bins as f64;
    let one = |k: usize| {
        let from = width * k as f64;
        let inside = |s: &&f64| **s > from.max(1e-9) && **s <= from + width;
        let count = draws.iter().flatten().filter(inside).count();
        [from + 0.5 * width, count as f64 / (total as f64 * width)]
    };
    (0..bins).map(one).collect()
}

/// The variance of the squared singular values against depth, where their mean is kept at 1.
fn isometry(report: &mut Report) -> Result<(), BoxError> {
    let mut plot = Plot::new(
        "Isometry: the spread of squared singular values of mean 1",
        "depth L",
        "standard deviation",
    )
    .log_log();
    let depths = [1, 2, 4, 8, 16, 32, 64, 128];
    let spread = |phi: &Activation, q: f64, ensemble: Ensemble| -> Result<Vec<[f64; 2]>, BoxError> {
        // σ² E φ′² = 1.
        let slope = JacobianSpectrum::new(phi, 1, 1.0, q, ensemble)?.moments(1)[0];
        depths
            .iter()
            .map(|&depth| {
                let spectrum = JacobianSpectrum::new(phi, depth, 1.0 / slope, q, ensemble)?;
                Ok([depth as f64, spectrum.mean_and_variance()[1].max(0.0).sqrt()])
            })
            .collect()
    };
    let (relu, erf) = (Activation::Relu, Activation::ERF);
    let tanh = Activation::HardTanh;
    for (label, phi, q, ensemble) in [
        ("linear, Gaussian", &Activation::Monomial { degree: 1 }, 1.0, Ensemble::Gaussian),
        ("ReLU, Gaussian", &relu, 1.0, Ensemble::Gaussian),
        ("ReLU, orthogonal", &relu, 1.0, Ensemble::Orthogonal),
        ("hard tanh, orthogonal, q = 0.1", &tanh, 0.1, Ensemble::Orthogonal),
        ("erf, orthogonal, q = 0.1", &erf, 0.1, Ensemble::Orthogonal),
        ("erf, orthogonal, q = 0.001", &erf, 0.001, Ensemble::Orthogonal),
    ] {
        plot = plot.line(label, spread(phi, q, ensemble)?);
    }
    // Orthogonal weights and smooth slopes: the variance vanishes with q, and with L q it stays as it is.
    let rows: Vec<[f64; 2]> = [0.01, 0.003, 0.001, 0.0003]
        .iter()
        .map(|&q| Ok([q, spread(&erf, q, Ensemble::Orthogonal)?[4][1].powi(2)]))
        .collect::<Result<_, BoxError>>()?;
    let [q, variances] = [0, 1].map(|k| rows.iter().map(|row| row[k]).collect::<Vec<f64>>());
    let fit = stats::power_law(&q, &variances)?;
    let quantity = "exponent in q of the variance of squared singular values, erf, orthogonal, 16 layers";
    report.claim(common::rate(SOURCE, quantity, 2.0, Side::Both, fit));
    let worst = depths
        .iter()
        .zip(spread(&relu, 1.0, Ensemble::Orthogonal)?)
        .map(|(&depth, [_, sd])| (sd * sd / depth as f64 - 1.0).abs());
    let quantity = "ReLU, orthogonal: variance over depth, distance from 1 (never isometric)";
    report.claim(Claim::new(SOURCE, quantity, Criterion::AtMost(1e-9), worst.fold(0.0, f64::max)));
    report.plot(plot);
    Ok(())
}
