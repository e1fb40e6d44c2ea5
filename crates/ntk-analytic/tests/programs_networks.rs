//! Theorems about tensor programs, on those of networks: tied weights, readouts with means, widths, and what is refused.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ndarray::{Array2, array};
use ntk_analytic::Analytic;
use ntk_analytic::program::{KernelLimit, LinearLimit, ParticleLimit, ParticleOptions};
use ntk_core::program::networks::{self, Rates, Readout, Weights};
use ntk_core::program::{
    Builder, Estimate, Expr, Function, Interpretation, Program, ScalarGradients, tangent_kernel,
};
use ntk_core::{KernelFn, Which};
use ntk_empirical::FiniteProgram;
use ntk_testkit::{cases, strategies};
use proptest::prelude::*;

fn kernel(program: &Program) -> KernelLimit {
    KernelLimit::new(program.clone()).unwrap()
}

fn particles(program: &Program, log: u32, seed: u64) -> ParticleLimit {
    let options = ParticleOptions { particles: 1 << log, seed, ..ParticleOptions::default() };
    ParticleLimit::new(program.clone(), options).unwrap()
}

/// The largest |a − b| relative to √(bᵢᵢbⱼⱼ).
fn distance(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    let worst = a.indexed_iter().map(|((i, j), a)| {
        let error = (a - b[[i, j]]).abs();
        if error == 0.0 { 0.0 } else { error / (b[[i, i]] * b[[j, j]]).sqrt() }
    });
    worst.fold(0.0, f64::max)
}

fn jumps(f: &Expr) -> bool {
    let mut found = false;
    f.visit(&mut |part| found |= matches!(part, Expr::Apply(Function::Step, _)));
    found
}

/// No bias at all: the rates are the variances.
fn weights(weight: f64, input: f64) -> Weights {
    Weights { weight, input, bias: 0.0, readout: 1.2, rates: Rates::Variance }
}

fn odd() -> impl Strategy<Value = Expr> {
    let x = || Expr::arg(0);
    prop_oneof![
        Just(x().erf()),
        Just(x().tanh()),
        Just(Expr::apply(Function::Sin, x() * 0.7)),
        Just(x() * 0.5 + (x() * 2.0).erf()),
    ]
}

fn any_phi() -> impl Strategy<Value = Expr> {
    prop_oneof![odd(), Just(Expr::arg(0).relu()), Just(Expr::arg(0).sigmoid())]
}

proptest! {
    #![proptest_config(cases(12))]

    #[test]
    fn nets_and_their_programs_have_the_same_kernels(net in strategies::analytic_net(), x in strategies::gaussian_inputs()) {
        let (program, ends) = match Program::of_net(&net, (&x).into()) {
            Ok(lowered) => lowered,
            // Activations that are not expressions.
            Err(ntk_core::program::Error::Uncovered { .. }) => return Ok(()),
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        // A kink halves the digits of correlations near ±1, and a jump does so once more: these have laws of their own.
        prop_assume!(program.vectors().all(|x| match program.vector(x) {
            ntk_core::program::VectorOp::Nonlin { f, .. } => !jumps(f),
            _ => true,
        }));
        let expected = Analytic::new(net.clone()).unwrap().symmetric((&x).into(), Which::Both).unwrap();
        let [nngp, ntk] = kernel(&program).kernels_of(&ends).unwrap();
        for (found, expected) in [(nngp, expected.nngp.unwrap()), (ntk, expected.ntk.unwrap())] {
            let apart = distance(&found, &expected);
            prop_assert!(apart < 1e-7, "{net}: {apart:e}: {found} for {expected}");
        }
    }

    #[test]
    fn derivatives_in_covariances_are_those_of_price_and_stein(
        phi in any_phi(), a in 0.3..2.0f64, b in 0.3..2.0f64, rho in -0.8..0.8f64,
    ) {
        let c = rho * (a * b).sqrt();
        let mean = |c: f64, f: Expr| {
            let mut p = Builder::new();
            let u = p.inputs(&["u", "v"], &[0.0, 0.0], array![[a, c], [c, b]], None).unwrap();
            kernel(&p.finish()).mean(&f, &u, &[]).unwrap().value
        };
        let at = |f: &Expr, i: usize| f.substitute(&[Expr::arg(i)], &[]);
        let slope = phi.derivative(0);
        // ∂/∂c E φ(u)φ(v) = E φ′(u)φ′(v), and E u φ(u) = a E φ′(u).
        let step = 1e-4;
        let product = || at(&phi, 0) * at(&phi, 1);
        let difference = (mean(c + step, product()) - mean(c - step, product())) / (2.0 * step);
        let price = mean(c, at(&slope, 0) * at(&slope, 1));
        prop_assert!((difference - price).abs() < 1e-6, "{difference} for {price}");
        let (stein, moment) = (a * mean(c, at(&slope, 0)), mean(c, Expr::arg(0) * at(&phi, 0)));
        prop_assert!((stein - moment).abs() < 1e-10, "{stein} for {moment}");
    }
}

proptest! {
    #![proptest_config(cases(12))]

    #[test]
    fn tied_weights_are_untied_for_odd_functions(phi in odd(), depth in 1usize..5, w in 0.5..2.5f64, u in 0.2..2.0f64) {
        // All input at the first step.
        let mut gram = Array2::zeros((depth, depth));
        gram[[0, 0]] = 0.9;
        let w = weights(w, u);
        let tied = networks::rnn(&phi, &w, &gram, &[depth], Readout::Last).unwrap();
        let untied = networks::mlp(depth, &phi, &w, &array![[0.9]]).unwrap();
        for (a, b) in kernel(&tied).kernels().unwrap().iter().zip(&kernel(&untied).kernels().unwrap()) {
            prop_assert!(distance(a, b) <= 1e-12, "{a} and {b}");
        }
    }

    #[test]
    fn one_step_is_one_layer(phi in any_phi(), w in 0.5..2.5f64, u in 0.2..2.0f64, b in 0.0..1.0f64, c in -0.8..0.8f64) {
        let gram = array![[1.0, c], [c, 0.8]];
        let w = Weights { bias: b, rates: Rates::Unit, ..weights(w, u) };
        let recurrent = networks::rnn(&phi, &w, &gram, &[1, 1], Readout::Last).unwrap();
        let perceptron = networks::mlp(1, &phi, &w, &gram).unwrap();
        for (a, b) in kernel(&recurrent).kernels().unwrap().iter().zip(&kernel(&perceptron).kernels().unwrap()) {
            prop_assert!(distance(a, b) <= 1e-12);
        }
    }

    #[test]
    fn duplicate_inputs_have_equal_rows(phi in any_phi(), depth in 1usize..4, c in -0.8..0.8f64) {
        let gram = array![[1.0, c, 1.0], [c, 0.8, c], [1.0, c, 1.0]];
        let program = networks::mlp(depth, &phi, &weights(1.3, 0.8), &gram).unwrap();
        for kernel in kernel(&program).kernels().unwrap() {
            for k in 0..3 {
                let apart = (kernel[[0, k]] - kernel[[2, k]]).abs();
                // Kernels of ReLU have infinite slope at equal inputs: rounding of 1e-16 is one of 1e-8 there.
                prop_assert!(apart <= 1e-12 * kernel[[0, 0]] || phi == Expr::arg(0).relu() && apart < 1e-7, "{kernel}");
            }
        }
    }

    #[test]
    fn kernels_of_linear_networks_scale(depth in 1usize..5, c in 0.3..3.0f64) {
        let gram = array![[1.0, 0.4], [0.4, 0.8]];
        let of = |w: &Weights| kernel(&networks::mlp(depth, &Expr::arg(0), w, &gram).unwrap()).kernels().unwrap();
        let (one, scaled) = (of(&weights(1.3, 0.8)), of(&weights(1.3 * c, 0.8 * c)));
        for (one, scaled) in one.iter().zip(&scaled) {
            prop_assert!(distance(scaled, &(one * c.powi(depth as i32))) <= 1e-12);
        }
    }
}

/// The tangent kernel of a network of `depth` matrices whose readout has a mean, as it is and as it would be with independent
/// gradients.
fn with_mean(phi: &Expr, depth: usize, mean: f64, seed: u64) -> [Estimate; 2] {
    let mut p = Builder::new();
    let mut x = p.input("x", 0.0, 1.3).unwrap();
    for layer in 0..depth {
        let h = p.apply(phi.clone(), &[x]).unwrap();
        let w = p.matrix_with(&format!("W{layer}"), 1.6, 1.0).unwrap();
        x = p.matmul(w, h).unwrap();
    }
    let h = p.apply(phi.clone(), &[x]).unwrap();
    let v = p.input("v", mean, 1.0).unwrap();
    p.output("f", v, h).unwrap();
    let (backward, gradients) = p.finish().with_backward(ScalarGradients::Dropped).unwrap();
    [false, true].map(|gradient_independence| {
        let options = ParticleOptions { particles: 1 << 16, seed, gradient_independence };
        let limit = ParticleLimit::new(backward.clone(), options).unwrap();
        tangent_kernel(&limit, &gradients).unwrap().ntk[[0, 0]]
    })
}

fn apart(a: Estimate, b: Estimate) -> f64 {
    (a.value - b.value).abs() / (a.error + b.error)
}

proptest! {
    #![proptest_config(cases(6))]

    #[test]
    fn odd_functions_rescue_readouts_with_means(phi in odd(), depth in 1usize..4, mean in 0.5..1.5f64) {
        let [full, naive] = with_mean(&phi, depth, mean, 7);
        prop_assert!(apart(full, naive) <= 5.0, "{full:?} and {naive:?}");
    }

    #[test]
    fn corrections_are_even_in_the_mean_and_square(depth in 2usize..4, mean in 1.0..2.0f64) {
        let relu = Expr::arg(0).relu();
        let [plain, none] = with_mean(&relu, depth, 0.0, 8);
        prop_assert!(apart(plain, none) <= 5.0);
        let [full, naive] = with_mean(&relu, depth, mean, 9);
        prop_assert!(apart(full, naive) > 5.0, "{full:?} and {naive:?}");
        let [minus, _] = with_mean(&relu, depth, -mean, 10);
        prop_assert!(apart(full, minus) <= 5.0, "{full:?} and {minus:?}");
        let [twice, _] = with_mean(&relu, depth, 2.0 * mean, 11);
        let (one, two) = (full.plus(plain.scaled(-1.0)).scaled(4.0), twice.plus(plain.scaled(-1.0)));
        prop_assert!(apart(one, two) <= 5.0, "{one:?} and {two:?}");
    }
}

#[test]
fn tied_decoders_see_the_ratio_of_widths() {
    // Z^{Wᵀφ(Wx)} = α σ² E φ′ Z^x + an independent Gaussian, for codes of width αn.
    for (ratio, seed) in [(0.25, 12), (2.0, 13)] {
        let mut p = Builder::new();
        let x = p.input("x", 0.0, 1.2).unwrap();
        let w = p.matrix("W", 1.4).unwrap();
        let code = p.matmul(w, x).unwrap();
        p.dimension(x, "n", 1.0).unwrap();
        p.dimension(code, "m", ratio).unwrap();
        let h = p.apply(Expr::arg(0).erf(), &[code]).unwrap();
        let g = p.matmul_transposed(w, h).unwrap();
        let program = p.finish();
        // E erf′(√q z) = 2/√(π(1 + 2q)).
        let slope = 2.0 / (std::f64::consts::PI * (1.0 + 2.0 * 1.4 * 1.2)).sqrt();
        let expected = ratio * 1.4 * slope * 1.2;
        let found = particles(&program, 17, seed).inner(g, x).unwrap();
        assert!((found.value - expected).abs() <= 5.0 * found.error, "{found:?} for {expected}");
        let draws: Vec<f64> = (0..16)
            .map(|seed| FiniteProgram::draw(program.clone(), 400, seed).unwrap().inner(g, x).unwrap().value)
            .collect();
        let mean = draws.iter().sum::<f64>() / 16.0;
        let error = (draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / 15.0 / 16.0).sqrt();
        assert!((mean - expected).abs() <= 5.0 * error + 5.0 / 400.0, "{mean} ± {error} for {expected}");
    }
}

#[test]
fn wrong_programs_are_refused_with_their_line() {
    let limit = |p: Builder| KernelLimit::new(p.finish()).unwrap_err().to_string();
    let start = || {
        let mut p = Builder::new();
        let (x, w) = (p.input("x", 0.0, 1.0).unwrap(), p.matrix("W", 1.0).unwrap());
        (p, x, w)
    };
    let apply = |f: Expr| {
        let (mut p, x, w) = start();
        let g = p.matmul(w, x).unwrap();
        p.apply(f, &[g]).unwrap();
        p
    };

    let (mut long, x, w) = start();
    let y = (0..3).fold(x, |y, _| long.matmul(w, y).unwrap());
    let (mut p, _, _) = start();
    let error = p.matmul(w, y).unwrap_err().to_string();
    assert_eq!(error, "line 3: vector 3 is used before it is defined");

    let (mut p, x, w) = start();
    let g = p.matmul(w, x).unwrap();
    p.dimension(x, "n", 1.0).unwrap();
    p.dimension(g, "m", 2.0).unwrap();
    let error = p.combine(&[(1.0, x), (1.0, g)]).unwrap_err().to_string();
    assert_eq!(error, "line 6: x has dimension n and g1 has dimension m = 2·n, which must be equal here");

    let (mut p, x, w) = start();
    let g = p.matmul(w, x).unwrap();
    p.matmul_transposed(w, g).unwrap();
    assert_eq!(
        limit(p),
        "line 4: Wᵀ multiplies g1, which is free of the readouts, beside another product with W or Wᵀ that forbids \
         it: take ParticleLimit, which follows the dependence"
    );

    let remedy = "bound its argument, or add a constant to what it divides by";
    let controlled = "limits are known for growth below exp(C|x|^α) with α < 2";
    let expected =
        |growth: &str| format!("line 4: the function grows as {growth}, and {controlled}: {remedy}");
    assert_eq!(limit(apply(Expr::arg(0).power(-1.0))), expected("Singular"));
    assert_eq!(limit(apply(Expr::apply(Function::Ln, Expr::arg(0)))), expected("Singular"));
    assert_eq!(limit(apply(Expr::arg(0).power(2.0).exp())), expected("TooFast"));
    assert!(KernelLimit::new(apply(Expr::arg(0).exp()).finish()).is_ok());

    // An exponential beside a transpose, as in a backward pass.
    let mut p = apply(Expr::arg(0).exp());
    let h = p.program().vectors().last().unwrap();
    let v = p.input("v", 0.0, 1.0).unwrap();
    p.output("f", v, h).unwrap();
    let (backward, _) = p.finish().with_backward(ScalarGradients::Dropped).unwrap();
    let expected = format!(
        "line 4: the function grows as Controlled, and limits are known for polynomial growth: {remedy}"
    );
    assert_eq!(KernelLimit::new(backward.clone()).unwrap_err().to_string(), expected);
    assert_eq!(ParticleLimit::new(backward, ParticleOptions::default()).unwrap_err().to_string(), expected);

    // The derivative of √(x² + y²) is singular where the function is not.
    let (mut p, x, w) = start();
    let g = p.matmul(w, x).unwrap();
    let norm = (Expr::arg(0).power(2.0) + Expr::arg(1).power(2.0)).power(0.5);
    let h = p.apply(norm, &[g, x]).unwrap();
    let v = p.input("v", 0.0, 1.0).unwrap();
    p.output("f", v, h).unwrap();
    let program = p.finish();
    assert!(KernelLimit::new(program.clone()).is_ok());
    let (backward, _) = program.with_backward(ScalarGradients::Dropped).unwrap();
    let error = KernelLimit::new(backward).unwrap_err().to_string();
    assert!(error.starts_with("line 7: the function grows as Singular"), "{error}");

    let error = LinearLimit::new(apply(Expr::arg(0).relu()).finish()).unwrap_err().to_string();
    assert_eq!(
        error,
        "line 4: h2 is not a linear function with rational coefficients, which LinearLimit needs"
    );
    let few = ParticleOptions { particles: 16, ..ParticleOptions::default() };
    let error = ParticleLimit::new(apply(Expr::arg(0)).finish(), few).unwrap_err().to_string();
    assert_eq!(error, "at least 32 particles are needed, not 16");

    let message = |text: &str| Program::from_json(text).unwrap_err().to_string();
    assert_eq!(message("["), "not a program: EOF while parsing a list at line 1 column 1");
    assert_eq!(
        message(r#"{"version":1,"program":[{"matrix":{"name":"W","variance":"a","rate":1}}]}"#),
        "not a program: program[0].matrix.variance: invalid type: string \"a\", expected f64 at line 1 column 60"
    );
    assert_eq!(
        message(r#"{"version":1,"program":[{"multiply":{}}]}"#),
        "not a program: program[0]: unknown variant `multiply`, expected one of `matrix`, `inputs`, `dimension`, `matmul`, `combine`, `apply`, `moment`, `function`, `output` at line 1 column 35"
    );
}

#[test]
fn functions_of_products_have_means() {
    // Stein's identity for x leads from tanh x² to x tanh′ x², and on without end.
    let mut p = Builder::new();
    let x = p.inputs(&["x", "y"], &[0.5, -0.2], array![[1.0, 0.4], [0.4, 0.8]], None).unwrap();
    let (a, b) = (Expr::arg(0), Expr::arg(1));
    let all = [
        p.apply(a.clone().power(2.0).tanh(), &x).unwrap(),
        p.apply((a.clone() * b.clone()).erf() * b.clone(), &x).unwrap(),
        p.apply(Expr::apply(Function::Sin, a.clone() * b.tanh() + a), &x).unwrap(),
    ];
    let program = p.finish();
    let (exact, sampled) = (kernel(&program), particles(&program, 14, 14));
    for y in all {
        for x in x.iter().chain(&all) {
            let (a, b) = (exact.inner(*x, y).unwrap(), sampled.inner(*x, y).unwrap());
            assert!((a.value - b.value).abs() <= 5.0 * b.error + a.error, "{a:?} and {b:?}");
        }
    }
}

#[test]
fn draws_depend_on_their_seed_alone() {
    let gram = array![[1.0, 0.4, 0.1], [0.4, 0.8, 0.3], [0.1, 0.3, 1.1]];
    let w = Weights { bias: 0.2, ..weights(1.5, 0.8) };
    let program = networks::rnn(&Expr::arg(0).relu(), &w, &gram, &[2, 1], Readout::Last).unwrap();
    let x = program.outputs()[0].parts[0].1;
    let limit = |seed| particles(&program, 12, seed).inner(x, x).unwrap();
    assert_eq!(limit(1), limit(1));
    assert_ne!(limit(1), limit(2));
    let exact = kernel(&program).inner(x, x).unwrap().value;
    assert_eq!(kernel(&program).inner(x, x).unwrap().value, exact);
    // The mean square of the deviation falls as 1/n.
    let variance = |n: usize| {
        let square = |seed| {
            let draw = FiniteProgram::draw(program.clone(), n, seed).unwrap();
            (draw.inner(x, x).unwrap().value - exact).powi(2)
        };
        (0..400).map(square).sum::<f64>() / 400.0
    };
    let ratio = variance(80) / variance(40);
    assert!((0.35..0.7).contains(&ratio), "{ratio}");
}
