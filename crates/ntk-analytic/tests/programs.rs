//! Theorems about tensor programs, on random ones: limits against each other and against finite widths.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ndarray::{Array2, array};
use ntk_analytic::program::{KernelLimit, LinearLimit, ParticleLimit, ParticleOptions};
use ntk_core::program::{
    Builder, Estimate, Interpretation, Line, Program, ScalarGradients, ScalarOp, VectorId, VectorOp,
    tangent_kernel,
};
use ntk_empirical::FiniteProgram;
use ntk_linalg::{Symmetric, SymmetricEigen};
use ntk_testkit::{cases, strategies};
use proptest::prelude::*;

fn kernel(program: &Program) -> KernelLimit {
    KernelLimit::new(program.clone()).unwrap()
}

fn particles(program: &Program, log: u32, seed: u64) -> ParticleLimit {
    let options = ParticleOptions { particles: 1 << log, seed, ..ParticleOptions::default() };
    ParticleLimit::new(program.clone(), options).unwrap()
}

/// Pairs of vectors of one dimension, of which one is among the last three.
fn pairs(program: &Program) -> Vec<(VectorId, VectorId)> {
    let all: Vec<VectorId> = program.vectors().collect();
    let last = &all[all.len().saturating_sub(3)..];
    let of = |&y: &VectorId| {
        let same = move |x: &VectorId| program.class(*x) == program.class(y);
        all.iter().copied().filter(same).map(move |x| (x, y)).collect::<Vec<_>>()
    };
    last.iter().flat_map(of).collect()
}

/// √(E x² E y²).
fn scale<I: Interpretation>(of: &I, (x, y): (VectorId, VectorId)) -> f64 {
    (of.inner(x, x).unwrap().value * of.inner(y, y).unwrap().value).sqrt()
}

/// The largest |a − b| relative to √(bᵢᵢbⱼⱼ).
fn distance(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    let worst = a.indexed_iter().map(|((i, j), a)| {
        let error = (a - b[[i, j]]).abs();
        if error == 0.0 { 0.0 } else { error / (b[[i, i]] * b[[j, j]]).sqrt() }
    });
    worst.fold(0.0, f64::max)
}

fn values(kernel: &Array2<Estimate>) -> Array2<f64> {
    kernel.mapv(|x| x.value)
}

fn lowest_eigenvalue(matrix: &Array2<f64>) -> f64 {
    SymmetricEigen::new(&Symmetric::new(matrix.clone()).unwrap())
        .unwrap()
        .values()
        .iter()
        .fold(f64::INFINITY, |a, &b| a.min(b))
}

/// The program with lines at its end that make W and Wᵀ dependent, so that nothing before them may be simplified.
fn entangled(program: &Program) -> Program {
    let mut p = Builder::extend(program.clone());
    let w = p.matrix("entangled", 1.0).unwrap();
    let x = p.input("entangling", 0.0, 1.0).unwrap();
    let y = p.matmul(w, x).unwrap();
    p.matmul_transposed(w, y).unwrap();
    let program = p.finish();
    assert!(program.checks().needs_z_dot);
    program
}

/// The lines in another order in which each still follows those it reads, with other names; and what became of each
/// vector.
fn reordered(program: &Program, seed: u64) -> (Program, Vec<VectorId>) {
    let mut p = Builder::new();
    let mut vectors = vec![None; program.vectors().len()];
    let mut scalars = vec![None; program.scalars().len()];
    let mut matrices = vec![None; program.matrices().len()];
    let mut rest: Vec<&Line> = program.lines().iter().collect();
    let mut state = seed;
    while !rest.is_empty() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let start = (state >> 33) as usize;
        let at = (0..rest.len()).map(|k| (start + k) % rest.len());
        let mut done = None;
        for k in at {
            let vector = |x: &VectorId| vectors[x.index()];
            let all = |xs: &[VectorId]| xs.iter().map(vector).collect::<Option<Vec<VectorId>>>();
            let params = |s: &[ntk_core::program::ScalarId]| {
                s.iter().map(|s| scalars[s.index()]).collect::<Option<Vec<_>>>()
            };
            match rest[k] {
                Line::Matrix(id) => {
                    let m = &program.matrices()[id.index()];
                    let w = p.matrix_with(&format!("matrix {}", m.name), m.variance, m.rate);
                    matrices[id.index()] = Some(w.unwrap());
                }
                Line::Inputs(group) => {
                    let inputs = &program.inputs()[*group];
                    let names: Vec<String> =
                        inputs.vectors.iter().map(|&x| format!("input {}", program.name(x))).collect();
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    let (covariance, tangent) = (inputs.covariance.clone(), inputs.tangent.clone());
                    let new = p.inputs(&names, &inputs.mean, covariance, tangent).unwrap();
                    inputs.vectors.iter().zip(new).for_each(|(x, new)| vectors[x.index()] = Some(new));
                }
                Line::Dimension { vector: x, name, ratio } => {
                    let Some(x) = vector(x) else { continue };
                    p.dimension(x, name, *ratio).unwrap();
                }
                Line::Vector(id) => {
                    let new = match program.vector(*id) {
                        VectorOp::Input { .. } => continue,
                        VectorOp::MatMul { matrix, transposed, vector: x } => {
                            let (Some(w), Some(x)) = (matrices[matrix.index()], vector(x)) else { continue };
                            if *transposed { p.matmul_transposed(w, x) } else { p.matmul(w, x) }
                        }
                        VectorOp::LinComb(terms) => {
                            let terms = terms.iter().map(|(a, x)| Some((*a, vector(x)?)));
                            let Some(terms) = terms.collect::<Option<Vec<_>>>() else { continue };
                            p.combine(&terms)
                        }
                        VectorOp::Nonlin { f, vectors: args, scalars: thetas } => {
                            let (Some(args), Some(thetas)) = (all(args), params(thetas)) else { continue };
                            p.apply_with(f.clone(), &args, &thetas)
                        }
                    };
                    vectors[id.index()] = Some(new.unwrap());
                }
                Line::Scalar(id) => {
                    let new = match program.scalar(*id) {
                        ScalarOp::Moment { f, vectors: args, scalars: thetas } => {
                            let (Some(args), Some(thetas)) = (all(args), params(thetas)) else { continue };
                            p.moment(f.clone(), &args, &thetas)
                        }
                        ScalarOp::Function { f, scalars: thetas } => {
                            let Some(thetas) = params(thetas) else { continue };
                            p.function(f.clone(), &thetas)
                        }
                    };
                    scalars[id.index()] = Some(new.unwrap());
                }
                // Outputs keep their order, which is that of the kernels.
                Line::Output(_) => {
                    if rest.iter().any(|line| !matches!(line, Line::Output(_))) {
                        continue;
                    }
                    for output in program.outputs() {
                        let parts: Vec<_> = output
                            .parts
                            .iter()
                            .map(|(v, x)| (vector(v).unwrap(), vector(x).unwrap()))
                            .collect();
                        p.output_of(&format!("output {}", output.name), &parts).unwrap();
                    }
                    rest.clear();
                }
            }
            done = Some(k);
            break;
        }
        match done {
            Some(k) if !rest.is_empty() => drop(rest.remove(k)),
            Some(_) => {}
            None => panic!("a line of {program} reads what no line makes"),
        }
    }
    (p.finish(), vectors.into_iter().flatten().collect())
}

proptest! {
    #![proptest_config(cases(16))]

    #[test]
    fn finite_programs_tend_to_their_limits(program in strategies::any_program()) {
        const WIDTH: usize = 256;
        const SEEDS: u64 = 20;
        let limit = particles(&program, 15, 1);
        let draws: Vec<FiniteProgram> =
            (0..SEEDS).map(|seed| FiniteProgram::draw(program.clone(), WIDTH, seed).unwrap()).collect();
        let check = |found: Vec<f64>, limit: Estimate, scale: f64, what: &str| {
            let n = found.len() as f64;
            let mean = found.iter().sum::<f64>() / n;
            let variance = found.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
            let error = (variance / n).sqrt() + limit.error;
            let bound = 5.0 * error + 5.0 / WIDTH as f64 * scale;
            prop_assert!((mean - limit.value).abs() <= bound, "{what}: {mean} ± {error} for {limit:?} in\n{program}");
            Ok(())
        };
        for (x, y) in pairs(&program) {
            let found = draws.iter().map(|draw| draw.inner(x, y).unwrap().value).collect();
            let what = format!("⟨{}, {}⟩", program.name(x), program.name(y));
            check(found, limit.inner(x, y).unwrap(), 1.0 + scale(&limit, (x, y)), &what)?;
        }
        for s in program.scalars() {
            let found = draws.iter().map(|draw| draw.scalar(s).unwrap().value).collect();
            let value = limit.scalar(s).unwrap();
            check(found, value, 1.0 + value.value.abs(), program.scalar_name(s))?;
        }
    }

    #[test]
    fn transposes_of_backward_passes_are_independent(program in strategies::forward_program()) {
        let (backward, _) = program.with_backward(ScalarGradients::Dropped).unwrap();
        prop_assert_eq!(backward.checks().bp_like, Ok(()));
        let (exact, sampled) = (kernel(&backward), particles(&entangled(&backward), 14, 2));
        for (x, y) in pairs(&backward) {
            let (a, b) = (exact.inner(x, y).unwrap(), sampled.inner(x, y).unwrap());
            // Particles have a bias of order 16/N.
            let bound = 5.0 * (a.error + b.error) + 1e-3 * scale(&exact, (x, y)) + 1e-12;
            prop_assert!(
                (a.value - b.value).abs() <= bound,
                "⟨{}, {}⟩: {:?} and {:?} in\n{}", backward.name(x), backward.name(y), a, b, backward
            );
        }
        for s in backward.scalars() {
            let (a, b) = (exact.scalar(s).unwrap(), sampled.scalar(s).unwrap());
            prop_assert!((a.value - b.value).abs() <= 5.0 * (a.error + b.error) + 1e-3 * (1.0 + a.value.abs()));
        }
    }

    #[test]
    fn tangents_forward_and_backward_agree_by_particles(program in strategies::forward_program()) {
        let (backward, gradients) = program.with_backward(ScalarGradients::Dropped).unwrap();
        let [nngp, ntk] = particles(&program, 14, 3).forward_tangents().unwrap();
        let uses = tangent_kernel(&particles(&backward, 14, 4), &gradients).unwrap();
        for (forward, backward) in [(nngp, uses.nngp), (ntk, uses.ntk)] {
            for (a, b) in forward.iter().zip(&backward) {
                // Errors of the second are bounds.
                let bound = 5.0 * a.error + 3.0 * b.error + 1e-3 * a.value.abs() + 1e-12;
                prop_assert!((a.value - b.value).abs() <= bound, "{:?} and {:?} in\n{}", a, b, program);
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn programs_survive_a_file(program in prop_oneof![strategies::any_program(), strategies::linear_program()]) {
        let again = Program::from_json(&program.to_json()).unwrap();
        prop_assert_eq!(again.to_string(), program.to_string());
        prop_assert_eq!(again, program);
    }

    #[test]
    fn linear_programs_have_the_limit_of_particles(program in strategies::linear_program()) {
        let (exact, sampled) = (LinearLimit::new(program.clone()).unwrap(), particles(&program, 14, 5));
        for (x, y) in pairs(&program) {
            let (a, b) = (exact.exact(x, y).unwrap().to_f64(), sampled.inner(x, y).unwrap());
            let bound = 5.0 * b.error + 3e-3 * scale(&exact, (x, y)) + 1e-12;
            prop_assert!((a - b.value).abs() <= bound, "⟨{}, {}⟩: {} and {:?} in\n{}", program.name(x), program.name(y), a, b, program);
        }
        if exact.program().checks().bp_like.is_ok() {
            let kernel = kernel(&program);
            for (x, y) in pairs(&program) {
                let (a, b) = (exact.exact(x, y).unwrap().to_f64(), kernel.inner(x, y).unwrap().value);
                prop_assert!((a - b).abs() <= 1e-12 * (1.0 + scale(&exact, (x, y))), "{} and {} in\n{}", a, b, program);
            }
        }
    }

    #[test]
    fn covariances_are_covariances(program in strategies::planar_program()) {
        let limit = kernel(&program);
        let inner = |x, y| limit.inner(x, y).unwrap().value;
        for class in program.vectors().map(|x| program.class(x)) {
            let all: Vec<VectorId> = program.vectors().filter(|&x| program.class(x) == class).collect();
            let gram = Array2::from_shape_fn((all.len(), all.len()), |(i, j)| inner(all[i], all[j]));
            prop_assert!(distance(&gram, &gram.t().to_owned()) <= 1e-12);
            for ((i, j), c) in gram.indexed_iter() {
                prop_assert!(c.abs() <= (gram[[i, i]] * gram[[j, j]]).sqrt() * (1.0 + 1e-10));
            }
            let symmetric = (&gram + &gram.t()) * 0.5;
            prop_assert!(lowest_eigenvalue(&symmetric) >= -1e-9 * gram.diag().sum(), "{gram} in\n{program}");
        }
    }

    #[test]
    fn tangent_kernels_exceed_those_of_readouts(program in strategies::planar_program()) {
        let [nngp, ntk] = kernel(&program).kernels().unwrap();
        // The rate of the readout is its variance, so that its own part of the tangent kernel is the NNGP.
        for matrix in [&nngp, &ntk, &(&ntk - &nngp)] {
            prop_assert!(lowest_eigenvalue(matrix) >= -1e-9 * ntk.diag().sum(), "{matrix} in\n{program}");
        }
        for ((i, j), c) in ntk.indexed_iter() {
            prop_assert!(c.abs() <= (ntk[[i, i]] * ntk[[j, j]]).sqrt() * (1.0 + 1e-10));
        }
    }

    #[test]
    fn tangents_forward_and_backward_agree(program in strategies::planar_program()) {
        let [nngp, ntk] = kernel(&program).kernels().unwrap();
        let (backward, gradients) = program.with_backward(ScalarGradients::Dropped).unwrap();
        let uses = tangent_kernel(&kernel(&backward), &gradients).unwrap();
        prop_assert!(distance(&values(&uses.nngp), &nngp) <= 1e-10);
        prop_assert!(distance(&values(&uses.ntk), &ntk) <= 1e-10, "{} and {ntk} in\n{program}", values(&uses.ntk));
        prop_assert!(uses.cross.iter().all(|x| x.value == 0.0));
    }

    #[test]
    fn order_and_names_of_lines_mean_nothing(program in strategies::planar_program(), seed in any::<u64>()) {
        let (other, now) = reordered(&program, seed);
        let (a, b) = (kernel(&program), kernel(&other));
        for (x, y) in pairs(&program) {
            let (first, second) = (a.inner(x, y).unwrap(), b.inner(now[x.index()], now[y.index()]).unwrap());
            prop_assert!((first.value - second.value).abs() <= 1e-12 * scale(&a, (x, y)) + 1e-300);
        }
        for (first, second) in a.kernels().unwrap().iter().zip(&b.kernels().unwrap()) {
            prop_assert!(distance(first, second) <= 1e-12, "{first} and {second} of\n{program}\nand\n{other}");
        }
    }

    #[test]
    fn matrices_are_linear_in_the_limit(program in strategies::planar_program(), a in -2.0..2.0f64, b in -2.0..2.0f64) {
        let all: Vec<VectorId> = program.vectors().collect();
        let y = *all.last().unwrap();
        let x = *all.iter().rev().find(|&&x| x != y && program.class(x) == program.class(y)).unwrap_or(&y);
        let mut p = Builder::extend(program);
        let w = p.matrix("linear", 1.5).unwrap();
        let sum = p.combine(&[(a, x), (b, y)]).unwrap();
        let [of_sum, of_x, of_y] = [sum, x, y].map(|x| p.matmul(w, x).unwrap());
        let zero = p.combine(&[(1.0, of_sum), (-a, of_x), (-b, of_y)]).unwrap();
        let program = p.finish();
        let limit = kernel(&program);
        let size = (a * a + b * b) * (scale(&limit, (of_x, of_x)) + scale(&limit, (of_y, of_y)));
        for value in [limit.inner(zero, zero).unwrap(), particles(&program, 8, 6).inner(zero, zero).unwrap()] {
            prop_assert!(value.value.abs() <= 1e-12 * size, "{value:?} of {size} in\n{program}");
        }
    }

    #[test]
    fn widths_mean_nothing_without_transposes(program in strategies::planar_program(), ratio in 0.1..10.0f64) {
        let mut p = Builder::extend(program.clone());
        for (k, x) in program.vectors().enumerate() {
            if p.program().ratio(x) == 1.0 {
                // Refused where the dimension has a name.
                let _ = p.dimension(x, &format!("width {k}"), ratio * (k + 1) as f64);
            }
        }
        for (first, second) in kernel(&program).kernels().unwrap().iter().zip(&kernel(&p.finish()).kernels().unwrap()) {
            prop_assert_eq!(first, second);
        }
    }

    #[test]
    fn independent_readouts_give_independent_outputs(program in strategies::planar_program(), rho in -1.0..1.0f64) {
        let states: Vec<VectorId> = program.outputs().iter().map(|output| output.parts[0].1).collect();
        let [c, theta] = kernel(&program).kernels_of(&states).unwrap();
        let mut p = Builder::extend(program.clone());
        let covariance = array![[1.5, rho], [rho, 0.7]];
        let v = p.inputs(&["r0", "r1"], &[0.0; 2], covariance.clone(), Some(Array2::eye(2))).unwrap();
        for (i, &v) in v.iter().enumerate() {
            for (k, &x) in states.iter().enumerate() {
                p.output(&format!("r{i} of f{k}"), v, x).unwrap();
            }
        }
        let [nngp, ntk] = kernel(&p.finish()).kernels().unwrap();
        let n = states.len();
        for ((i, k), (j, l)) in (0..2 * n).flat_map(|a| (0..2 * n).map(move |b| ((a / n, a % n), (b / n, b % n)))) {
            let at = [n + i * n + k, n + j * n + l];
            let gamma = covariance[[i, j]];
            let own = f64::from(u8::from(i == j));
            let size = 1e-12 * (c[[k, k]] * c[[l, l]]).sqrt();
            prop_assert!((nngp[at] - gamma * c[[k, l]]).abs() <= 4.0 * size);
            let expected = own * c[[k, l]] + gamma * theta[[k, l]];
            prop_assert!((ntk[at] - expected).abs() <= 1e-12 * (ntk[[at[0], at[0]]] * ntk[[at[1], at[1]]]).sqrt());
        }
    }
}
