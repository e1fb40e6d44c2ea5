//! Laws of random matrices as programs: moments exactly, spectra of finite matrices beside their densities.

use ndarray::Array2;
use ntk_analytic::program::LinearLimit;
use ntk_core::program::{Builder, Program, VectorId};
use ntk_empirical::FiniteProgram;
use ntk_linalg::Symmetric;

use crate::{BoxError, Claim, Context, Criterion, Plot, Report, Table};

/// A program and the vectors v, Mv, M²v, ….
type Powers = (Program, Vec<VectorId>);

/// v, Mv, M²v, … for M = W + Wᵀ with entries N(0, 1/(2n)).
fn semicircle(count: usize) -> Result<Powers, BoxError> {
    let mut p = Builder::new();
    let (v, w) = (p.input("v", 0.0, 1.0)?, p.matrix("W", 0.5)?);
    let mut all = vec![v];
    for k in 0..count {
        let (a, b) = (p.matmul(w, all[k])?, p.matmul_transposed(w, all[k])?);
        all.push(p.combine(&[(1.0, a), (1.0, b)])?);
    }
    Ok((p.finish(), all))
}

/// v, AAᵀv, … for A of m × n with entries N(0, 1/n) and m/n = α.
fn wishart(count: usize, alpha: f64) -> Result<Powers, BoxError> {
    let mut p = Builder::new();
    let (v, w) = (p.input("v", 0.0, 1.0)?, p.matrix("A", 1.0)?);
    p.dimension(v, "m", alpha)?;
    let mut all = vec![v];
    for k in 0..count {
        let y = p.matmul_transposed(w, all[k])?;
        if k == 0 {
            p.dimension(y, "n", 1.0)?;
        }
        all.push(p.matmul(w, y)?);
    }
    Ok((p.finish(), all))
}

/// v, BBᵀv, … for B the product of `factors` square matrices.
fn products(count: usize, factors: usize) -> Result<Powers, BoxError> {
    let mut p = Builder::new();
    let v = p.input("v", 0.0, 1.0)?;
    let matrices = (0..factors).map(|k| p.matrix(&format!("W{k}"), 1.0)).collect::<Result<Vec<_>, _>>()?;
    let mut all = vec![v];
    for k in 0..count {
        let mut x = all[k];
        for &w in matrices.iter().rev() {
            x = p.matmul_transposed(w, x)?;
        }
        for &w in &matrices {
            x = p.matmul(w, x)?;
        }
        all.push(x);
    }
    Ok((p.finish(), all))
}

pub(super) fn study(ctx: &Context<'_>, report: &mut Report) -> Result<(), BoxError> {
    let mut table = Table::new("Moments of random matrices, as fractions", ["law", "moments"]);
    let known: [(&str, Powers, &[&str]); 5] = [
        ("semicircle (Catalan)", semicircle(10)?, &["0", "1", "0", "2", "0", "5", "0", "14", "0", "42"]),
        ("Marchenko–Pastur, α = 2 (Narayana)", wishart(6, 2.0)?, &["1", "3", "11", "45", "197", "903"]),
        ("Marchenko–Pastur, α = ½", wishart(6, 0.5)?, &["1", "3/2", "11/4", "45/8", "197/16", "903/32"]),
        ("products of 2 (Fuss–Catalan)", products(5, 2)?, &["1", "3", "12", "55", "273"]),
        ("products of 3 (Fuss–Catalan)", products(4, 3)?, &["1", "4", "22", "140"]),
    ];
    for (name, (program, powers), expected) in known {
        let limit = LinearLimit::new(program)?;
        let moments = powers[1..].iter().map(|&x| Ok(limit.exact(powers[0], x)?.to_string()));
        let moments = moments.collect::<Result<Vec<String>, BoxError>>()?;
        let wrong = moments.iter().zip(expected).filter(|(found, expected)| found != *expected).count();
        let missing = expected.len().abs_diff(moments.len());
        report.claim(Claim::new(
            "[yang2019scaling] §5",
            format!("{name}: moments that are not the integers of combinatorics"),
            Criterion::AtMost(0.0),
            (wrong + missing) as f64,
        ));
        table = table.row([name.to_owned(), moments.join(", ")]);
    }
    report.table(table);
    spectra(ctx, report)
}

/// Spectra of one draw of each matrix beside their densities.
fn spectra(ctx: &Context<'_>, report: &mut Report) -> Result<(), BoxError> {
    let n = ctx.pick([300, 800, 2000]);
    report.size("rows of the matrices whose spectra are drawn", n);
    let pi = std::f64::consts::PI;
    let circle = move |x: f64| (4.0 - x * x).max(0.0).sqrt() / (2.0 * pi);
    let alpha: f64 = 0.5;
    let [low, high] = [-1.0, 1.0].map(|sign| (1.0 + sign * alpha.sqrt()).powi(2));
    let pastur = move |x: f64| ((high - x) * (x - low)).max(0.0).sqrt() / (2.0 * pi * alpha * x);
    let (program, _) = semicircle(1)?;
    let w = matrix(program, n, ctx.seed)?;
    let symmetric = &w + &w.t();
    let (program, _) = wishart(1, alpha)?;
    let a = matrix(program, n, ctx.seed)?;
    let square = a.dot(&a.t());
    type Density = Box<dyn Fn(f64) -> f64>;
    let cases: [(&str, Array2<f64>, [f64; 2], Density); 2] = [
        ("semicircle", symmetric, [-2.0, 2.0], Box::new(circle)),
        ("Marchenko–Pastur, α = ½", square, [low, high], Box::new(pastur)),
    ];
    for (name, matrix, ends, density) in cases {
        let eigenvalues = ntk_linalg::eigenvalues(&Symmetric::new(matrix)?)?.to_vec();
        let steps = 400;
        let at = |k: usize| ends[0] + (ends[1] - ends[0]) * k as f64 / steps as f64;
        let half = 0.5 * (ends[1] - ends[0]) / steps as f64;
        // The distribution function, by the middle of each step.
        let mut below = vec![0.0];
        for k in 0..steps {
            below.push(below[k] + 2.0 * half * density(at(k) + half));
        }
        let mut largest: f64 = 0.0;
        for (k, below) in below.iter().enumerate() {
            let found = eigenvalues.iter().filter(|e| **e <= at(k)).count() as f64 / eigenvalues.len() as f64;
            largest = largest.max((found - below).abs());
        }
        // Eigenvalues repel each other: their distribution function is off by a few over n, not 1/√n.
        report.claim(Claim::new(
            "[yang2019scaling] §5",
            format!("{name}: distance of the distribution functions at n = {n}"),
            Criterion::AtMost(10.0 / n as f64),
            largest,
        ));
        let bins = 40;
        let width = (ends[1] - ends[0]) / f64::from(bins);
        let bin = |k: i32| {
            let from = ends[0] + width * f64::from(k);
            let count = eigenvalues.iter().filter(|e| (from..from + width).contains(*e)).count();
            [from + 0.5 * width, count as f64 / (eigenvalues.len() as f64 * width)]
        };
        let curve = (0..=200).map(|k| ends[0] + (ends[1] - ends[0]) * f64::from(k) / 200.0);
        report.plot(
            Plot::new(&format!("Spectrum: {name}"), "eigenvalue", "density")
                .points("one draw", (0..bins).map(bin))
                .line("limit", curve.map(|x| [x, density(x)])),
        );
    }
    Ok(())
}

/// The only matrix of a program, at width n.
fn matrix(program: Program, n: usize, seed: u64) -> Result<Array2<f64>, BoxError> {
    let vectors: Vec<VectorId> = program.vectors().collect();
    let w = vectors.iter().find_map(|&x| match program.vector(x) {
        ntk_core::program::VectorOp::MatMul { matrix, .. } => Some(*matrix),
        _ => None,
    });
    let draw = FiniteProgram::draw(program, n, seed)?;
    Ok(w.and_then(|w| draw.matrix_of(w).cloned()).ok_or("a program without matrices")?)
}
