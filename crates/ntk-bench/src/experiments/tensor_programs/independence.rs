//! Where gradients are independent of the weights they pass, and where they are not.

use ndarray::array;
use ntk_analytic::program::{ParticleLimit, ParticleOptions};
use ntk_core::program::networks::{self, Rates, Weights};
use ntk_core::program::{
    Builder, Estimate, Expr, Interpretation, Program, ScalarGradients, VectorId, tangent_kernel,
};
use ntk_empirical::FiniteProgram;
use rayon::prelude::*;

use crate::{BoxError, Claim, Context, Criterion, Report, Table, stats};

/// A number of a program: the same question to a limit and to a draw.
enum Question {
    /// The tangent kernel of the last output with the first.
    Kernel(Program),
    /// E Z^x Z^y, or E Z^x.
    Inner(Program, VectorId, Option<VectorId>),
}

impl Question {
    fn ask<I: Interpretation>(
        &self,
        of: &I,
        gradients: &[ntk_core::program::Gradients],
    ) -> Result<Estimate, I::Error> {
        match self {
            Question::Kernel(_) => Ok(tangent_kernel(of, gradients)?.ntk[[0, gradients.len() - 1]]),
            Question::Inner(_, x, Some(y)) => of.inner(*x, *y),
            Question::Inner(_, x, None) => of.mean(&Expr::arg(0), &[*x], &[]),
        }
    }
}

struct Case {
    name: &'static str,
    question: Question,
    /// Whether the naive value is the right one.
    independent: bool,
}

/// Two samples through three hidden layers of ReLU, with a readout of this mean and variance.
fn perceptron(mean: f64, variance: f64) -> Result<Program, BoxError> {
    let mut p = Builder::new();
    let gram = array![[1.0, 0.4], [0.4, 0.8]];
    let mut x: Vec<VectorId> = Vec::new();
    for layer in 0..3 {
        let h = if layer == 0 {
            p.inputs(&["u0", "u1"], &[0.0; 2], &gram * 2.0, Some(gram.clone()))?
        } else {
            let w = p.matrix_with(&format!("W{layer}"), 2.0, 1.0)?;
            x.iter().map(|&x| p.matmul(w, x)).collect::<Result<_, _>>()?
        };
        let b = p.inputs(&[&format!("b{layer}")], &[0.0], array![[0.1]], Some(array![[1.0]]))?[0];
        x.clear();
        for h in h {
            let g = p.combine(&[(1.0, h), (1.0, b)])?;
            x.push(p.apply(Expr::arg(0).relu(), &[g])?);
        }
    }
    let v = p.inputs(&["v"], &[mean], array![[variance]], Some(array![[1.0]]))?[0];
    for (k, &x) in x.iter().enumerate() {
        p.output(&format!("f{k}"), v, x)?;
    }
    Ok(p.finish())
}

fn cases() -> Result<Vec<Case>, BoxError> {
    let mut p = Builder::new();
    let (x, w) = (p.input("x", 1.0, 1.0)?, p.matrix("W", 1.0)?);
    let g = p.matmul(w, x)?;
    let gradient = p.matmul_transposed(w, g)?;
    let squares = p.finish();
    let weights = Weights { weight: 1.4, input: 1.0, bias: 0.0, readout: 1.0, rates: Rates::Unit };
    let tied = |phi: Expr| networks::autoencoder(&phi, &weights, &array![[1.0]], 1.0);
    let case = |name, question, independent| Case { name, question, independent };
    Ok(vec![
        case("∇ = WᵀWx, x ~ N(1, 1): E ∇", Question::Inner(squares.clone(), gradient, None), false),
        case("the same: ⟨∇, x⟩/n", Question::Inner(squares, gradient, Some(x)), false),
        case("ReLU, 3 layers, readout 1", Question::Kernel(perceptron(1.0, 0.0)?), false),
        case("the same, readout N(0, 1)", Question::Kernel(perceptron(0.0, 1.0)?), true),
        case("tied autoencoder, ReLU", Question::Kernel(tied(Expr::arg(0).relu())?), false),
        case("tied autoencoder, tanh", Question::Kernel(tied(Expr::arg(0).tanh())?), false),
    ])
}

pub(super) fn study(ctx: &Context<'_>, report: &mut Report) -> Result<(), BoxError> {
    let (n, count, particles) = ctx.pick([(512, 32, 1 << 17), (1024, 64, 1 << 20), (2048, 128, 1 << 22)]);
    report.size("width and draws for gradient independence", format!("{n}, {count}"));
    let mut table = Table::new(
        "Gradient independence: the limit that follows Ż, the naive limit, and networks of finite width",
        ["quantity", "limit", "naive", "finite", "s.e. from limit", "s.e. from naive"],
    );
    let bar = ctx.progress("gradient independence", 6 * count);
    for Case { name, question, independent } in cases()? {
        let (Question::Kernel(program) | Question::Inner(program, ..)) = &question;
        let (backward, gradients) = program.with_backward(ScalarGradients::Exact)?;
        let limit = |gradient_independence| -> Result<Estimate, BoxError> {
            let options = ParticleOptions { particles, seed: ctx.seed, gradient_independence };
            Ok(question.ask(&ParticleLimit::new(backward.clone(), options)?, &gradients)?)
        };
        let (full, naive) = (limit(false)?, limit(true)?);
        let one = |&seed: &u64| -> Result<f64, BoxError> {
            let draw = FiniteProgram::draw(backward.clone(), n, seed)?;
            bar.step();
            Ok(question.ask(&draw, &gradients)?.value)
        };
        let draws = ctx.seeds(count).par_iter().map(one).collect::<Result<Vec<_>, _>>()?;
        let (mean, error) = (stats::mean(&draws), stats::standard_error(&draws));
        let apart = |limit: Estimate| (mean - limit.value).abs() / error.hypot(limit.error);
        let (right, wrong) = (apart(full), apart(naive));
        let source = "[yang2019scaling] §6 and [yang2020tensor] §6.3";
        let claim = |quantity: String, criterion, got| Claim::new(source, quantity, criterion, got);
        let quantity = format!("{name}: standard errors between finite width and the limit");
        report.claim(claim(quantity, Criterion::AtMost(4.0), right));
        if !independent {
            let quantity = format!("{name}: standard errors between finite width and the naive limit");
            report.claim(claim(quantity, Criterion::AtLeast(4.0), wrong));
        }
        let show = |value: f64, error: f64| format!("{value:.4} ± {error:.4}");
        table = table.row([
            name.to_owned(),
            show(full.value, full.error),
            show(naive.value, naive.error),
            show(mean, error),
            format!("{right:.1}"),
            format!("{wrong:.1}"),
        ]);
    }
    report.note(
        "Errors of limits by uses of the weights are bounds over all their terms, several times a standard error; they \
         make the first test mild and the second one severe.",
    );
    report.table(table);
    Ok(())
}
