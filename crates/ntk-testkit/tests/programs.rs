//! What random programs are made of, and how they shrink.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ntk_core::program::{Growth, Program, ScalarGradients, VectorOp};
use ntk_testkit::strategies;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};

fn draws<S: Strategy<Value = Program>>(strategy: &S, count: usize) -> Vec<Program> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

fn transposes(program: &Program) -> bool {
    program.vectors().any(|x| matches!(program.vector(x), VectorOp::MatMul { transposed: true, .. }))
}

#[test]
fn every_line_occurs() {
    let all = draws(&strategies::any_program(), 300);
    let share = |holds: &dyn Fn(&Program) -> bool| {
        all.iter().filter(|program| holds(program)).count() as f64 / all.len() as f64
    };
    assert!(share(&|p| p.checks().needs_z_dot) > 0.2);
    assert!(share(&|p| p.checks().bp_like.is_ok()) > 0.2);
    assert!(share(&|p| p.checks().needs_rank_stability) > 0.2);
    assert!(share(&|p| p.vectors().any(|x| p.ratio(x) != 1.0)) > 0.2);
    assert!(share(&|p| p.outputs().len() > 1) > 0.2);
    assert!(share(&|p| p.vectors().len() > 8) > 0.2);
    let products =
        |p: &Program| p.vectors().filter(|&x| matches!(p.vector(x), VectorOp::MatMul { .. })).count();
    assert!(all.iter().all(|p| products(p) <= 6 && p.checks().growth.0 == Growth::Polynomial));
    assert!(all.iter().any(|p| products(p) == 6));
}

#[test]
fn programs_keep_to_their_grammar() {
    for program in draws(&strategies::linear_program(), 100) {
        let linear = |op: &VectorOp| match op {
            VectorOp::Nonlin { f, .. } => f.derivative(0).arity().0 == 0,
            _ => true,
        };
        assert!(program.vectors().all(|x| linear(program.vector(x))), "{program}");
    }
    let planar = draws(&strategies::planar_program(), 100);
    for program in planar.into_iter().chain(draws(&strategies::forward_program(), 100)) {
        assert!(!transposes(&program) && !program.outputs().is_empty(), "{program}");
        assert_eq!(program.checks().simple_gia, Ok(()));
        let (backward, _) = program.with_backward(ScalarGradients::Dropped).unwrap();
        assert_eq!(backward.checks().bp_like, Ok(()), "{program}");
    }
}

#[test]
fn programs_shrink_to_the_lines_that_matter() {
    let config = ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() };
    let seeded = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let result = TestRunner::new_with_rng(config, seeded).run(&strategies::any_program(), |program| {
        prop_assert!(!program.checks().needs_z_dot);
        Ok(())
    });
    let Err(TestError::Fail(_, program)) = result else { panic!("{result:?}") };
    // Two inputs, a matrix, a product with it and one with its transpose, and an output.
    assert_eq!(program.to_string().lines().count(), 6, "{program}");
}
