//! Properties that define the factorizations, for random matrices of many sizes.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ndarray::{Array2, Axis};
use ntk_linalg::{Cholesky, Symmetric, SymmetricEigen, eigenvalues, product};
use ntk_testkit::cases;
use proptest::prelude::*;

/// A B with entries in [−1, 1], (n, k).
fn matrix(n: usize, k: usize) -> impl Strategy<Value = Array2<f64>> {
    proptest::collection::vec(-1.0..1.0, n * k).prop_map(move |v| Array2::from_shape_vec((n, k), v).unwrap())
}

/// A symmetric matrix and a right-hand side.
fn symmetric() -> impl Strategy<Value = (Symmetric, Array2<f64>)> {
    (1usize..70, 1usize..4).prop_flat_map(|(n, k)| {
        (matrix(n, n), matrix(n, k)).prop_map(|(b, rhs)| (Symmetric::new(&b + &b.t()).unwrap(), rhs))
    })
}

/// A positive definite matrix B Bᵀ/n + I/10 and a right-hand side.
fn definite() -> impl Strategy<Value = (Symmetric, Array2<f64>)> {
    (1usize..150, 1usize..4).prop_flat_map(|(n, k)| {
        (matrix(n, n), matrix(n, k)).prop_map(move |(b, rhs)| {
            let a = Symmetric::new(b.dot(&b.t()) / n as f64).unwrap();
            (a.shifted(0.1).unwrap(), rhs)
        })
    })
}

fn largest(a: &Array2<f64>) -> f64 {
    a.iter().fold(0.0, |m, v| v.abs().max(m))
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn eigensystem_reconstructs((a, _) in symmetric()) {
        let n = a.len();
        let eigen = SymmetricEigen::new(&a).unwrap();
        let (values, u) = (eigen.values(), eigen.vectors());
        prop_assert!(values.iter().zip(values.iter().skip(1)).all(|(a, b)| a <= b));
        let scaled = &u * &values.insert_axis(Axis(0));
        let tolerance = 20.0 * n as f64 * f64::EPSILON;
        prop_assert!(largest(&(product(scaled.view(), u.t()).unwrap() - a.view())) < 2.0 * tolerance);
        prop_assert!(largest(&(u.t().dot(&u) - Array2::<f64>::eye(n))) < tolerance);
    }

    #[test]
    fn eigenvalues_alone_are_those_of_the_eigensystem((a, _) in symmetric()) {
        let eigen = SymmetricEigen::new(&a).unwrap();
        for (alone, with) in eigenvalues(&a).unwrap().iter().zip(eigen.values()) {
            prop_assert!((alone - with).abs() < 1e-13 * a.len() as f64);
        }
    }

    #[test]
    fn solution_satisfies_the_system((a, b) in definite()) {
        let x = Cholesky::new(a.clone()).unwrap().solve(b.view()).unwrap();
        prop_assert!(largest(&(a.view().dot(&x) - &b)) < 1e-13 * a.len() as f64 * largest(&x));
    }

    #[test]
    fn whitened_matrix_is_the_identity((a, _) in definite()) {
        let cholesky = Cholesky::new(a.clone()).unwrap();
        let half = cholesky.solve_lower(a.view()).unwrap();
        let whole = cholesky.solve_lower(half.t()).unwrap();
        prop_assert!(largest(&(whole - Array2::<f64>::eye(a.len()))) < 1e-12 * a.len() as f64);
    }

    #[test]
    fn inverse_is_the_solution_for_the_identity((a, _) in definite()) {
        let cholesky = Cholesky::new(a.clone()).unwrap();
        let (inverse, solved) = (cholesky.inverse(), cholesky.solve(Array2::eye(a.len()).view()).unwrap());
        prop_assert!(largest(&(&inverse - &solved)) < 1e-13 * a.len() as f64 * largest(&solved));
        prop_assert_eq!(inverse.t(), inverse.view());
    }

    #[test]
    fn log_determinant_is_the_sum_of_log_eigenvalues((a, _) in definite()) {
        let sum: f64 = eigenvalues(&a).unwrap().iter().map(|v| v.ln()).sum();
        prop_assert!((Cholesky::new(a.clone()).unwrap().log_determinant() - sum).abs() < 1e-12 * a.len() as f64);
    }

    #[test]
    fn product_is_the_sum_over_the_inner_index((a, b) in (1usize..40, 1usize..40, 1usize..40).prop_flat_map(|(m, n, k)| (matrix(m, n), matrix(n, k)))) {
        prop_assert!(largest(&(product(a.view(), b.view()).unwrap() - a.dot(&b))) < 1e-13);
    }
}
