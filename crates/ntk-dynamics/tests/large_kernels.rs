//! Posteriors by conjugate gradients against those by Cholesky, and their bounds against true errors.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use std::cell::Cell;

use ndarray::{Array1, Array2, s};
use ntk_dynamics::{
    ConjugateGradients, Error, Gram, IterativePosterior, KernelOperator, Posterior, Ridge, RowTiles,
};
use ntk_linalg::normals;
use ntk_testkit::cases;
use proptest::prelude::*;

/// exp(−|u − v|) between points of a line; the first n are train points.
fn kernel(points: usize, seed: u64) -> Array2<f64> {
    let x = normals(seed, (points, 1));
    Array2::from_shape_fn((points, points), |(i, j)| (-(x[[i, 0]] - x[[j, 0]]).abs()).exp())
}

/// K ⊗ I, as a kernel that tells outputs apart.
fn full(kernel: &Array2<f64>, k: usize) -> Array2<f64> {
    let (rows, columns) = (kernel.nrows() * k, kernel.ncols() * k);
    Array2::from_shape_fn((rows, columns), |(i, j)| if i % k == j % k { kernel[[i / k, j / k]] } else { 0.0 })
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn answers_are_those_of_cholesky_within_their_bounds(
        n in 1usize..80, m in 1usize..6, k in 1usize..4, apart: bool, rank in 1usize..30, exponent in -3.0..0.5, digits in 2i32..11, seed: u64
    ) {
        let (all, y, ridge) = (kernel(n + m, seed), normals(seed ^ 1, (n, k)), Ridge::Absolute(10f64.powf(exponent)));
        let part = |a: Array2<f64>| if apart { full(&a, k) } else { a };
        let gram = Gram::new(part(all.slice(s![..n, ..n]).to_owned())).unwrap();
        let (rows, diagonal) = (part(all.slice(s![n.., ..n]).to_owned()), part(all.slice(s![n.., n..]).to_owned()).into_diag());
        let method = ConjugateGradients { tolerance: 10f64.powi(-digits), steps: 1000 };
        let iterative = IterativePosterior::new(&gram, ridge, y.view(), rank, method).unwrap();
        let exact = Posterior::new(&gram, ridge, y.view()).unwrap();
        prop_assert!(iterative.residual() <= method.tolerance);

        let (mean, truth) = (iterative.mean(rows.view()).unwrap(), exact.mean(rows.view()).unwrap());
        for ((value, truth), bound) in mean.value.iter().zip(&truth).zip(&mean.bound) {
            prop_assert!((value - truth).abs() <= bound + 1e-11, "{value} {truth} {bound}");
        }
        let truth = exact.variance(rows.view(), diagonal.view()).unwrap();
        let by_solving = iterative.variance(rows.view(), diagonal.view()).unwrap();
        let by_lanczos = iterative.lanczos_variance(rows.view(), diagonal.view(), 20).unwrap();
        for answer in [by_solving, by_lanczos] {
            for ((value, truth), bound) in answer.value.iter().zip(&truth).zip(&answer.bound) {
                prop_assert!(*value >= truth - 1e-11 && value - bound <= truth + 1e-11, "{value} {truth} {bound}");
            }
        }
        prop_assert_eq!(iterative.dual().unwrap().dim(), (n, k));
    }

    #[test]
    fn tiles_are_the_matrix(n in 1usize..40, height in 1usize..50, seed: u64) {
        let k = kernel(n, seed);
        let tiles = RowTiles::new(Array1::ones(n), height, |rows| Ok(k.slice(s![rows, ..]).to_owned())).unwrap();
        let v = normals(seed ^ 1, (n, 3));
        let difference = tiles.product(v.view()).unwrap() - k.dot(&v);
        prop_assert!(difference.iter().all(|d| d.abs() < 1e-12));
        prop_assert_eq!(tiles.row(n / 2).unwrap(), k.row(n / 2));
    }
}

#[test]
fn work_for_tiles_is_one_pass_a_step() {
    let (n, k) = (300, kernel(310, 5));
    let tiles_made = Cell::new(0);
    let tiles = RowTiles::new(Array1::ones(n), 100, |rows| {
        tiles_made.set(tiles_made.get() + usize::from(rows.len() > 1));
        Ok(k.slice(s![rows, ..n]).to_owned())
    })
    .unwrap();
    let y = normals(6, (n, 4));
    let method = ConjugateGradients { tolerance: 1e-8, steps: 200 };
    let posterior = IterativePosterior::new(&tiles, Ridge::Absolute(0.01), y.view(), 40, method).unwrap();
    // Four outputs together: three tiles for each step and for the residual at the end.
    assert_eq!(tiles_made.get(), 3 * (posterior.steps() + 1));
    assert!(posterior.steps() < 60, "{}", posterior.steps());
}

#[test]
fn without_a_ridge_answers_hold_and_bounds_say_nothing() {
    let all = kernel(21, 9);
    let gram = Gram::new(all.slice(s![..20, ..20]).to_owned()).unwrap();
    let y = normals(2, (20, 1));
    let posterior =
        IterativePosterior::new(&gram, Ridge::None, y.view(), 5, ConjugateGradients::new(200)).unwrap();
    let row = all.slice(s![20.., ..20]);
    let mean = posterior.mean(row).unwrap();
    let exact = Posterior::new(&gram, Ridge::None, y.view()).unwrap().mean(row).unwrap();
    assert!((mean.value[[0, 0]] - exact[[0, 0]]).abs() < 1e-7);
    assert_eq!(mean.bound[[0, 0]], f64::INFINITY);
    assert!(matches!(
        posterior.lanczos_variance(row, Array1::ones(1).view(), 5),
        Err(Error::Linalg(ntk_linalg::Error::Setting { option: "smallest", .. }))
    ));
}

#[test]
fn bad_input_is_refused() {
    let method = ConjugateGradients::new(100);
    let y = Array2::ones((3, 1));
    let gram = Gram::new(kernel(3, 1)).unwrap();
    let new =
        |gram: &Gram, ridge, rank| IterativePosterior::new(gram, ridge, y.view(), rank, method).map(|_| ());
    assert!(matches!(new(&gram, Ridge::Absolute(-1.0), 2), Err(Error::Ridge { .. })));
    assert!(matches!(
        new(&gram, Ridge::None, 0),
        Err(Error::Linalg(ntk_linalg::Error::Setting { option: "rank", .. }))
    ));
    assert!(matches!(new(&Gram::new(kernel(4, 1)).unwrap(), Ridge::None, 2), Err(Error::Targets { .. })));
    let mut indefinite = Array2::eye(3);
    (indefinite[[0, 1]], indefinite[[1, 0]]) = (2.0, 2.0);
    let indefinite = Gram::new(indefinite).unwrap();
    assert!(matches!(
        new(&indefinite, Ridge::None, 2),
        Err(Error::Linalg(ntk_linalg::Error::NotPositiveDefinite { .. }))
    ));
    // Twins with the same target are solvable only with a ridge.
    let twins = Gram::new(Array2::ones((3, 3))).unwrap();
    assert!(matches!(
        new(&twins, Ridge::None, 3),
        Err(Error::Linalg(ntk_linalg::Error::NotPositiveDefinite { .. }))
    ));
    assert!(new(&twins, Ridge::Absolute(0.1), 3).is_ok());
    let few = ConjugateGradients { tolerance: 1e-12, steps: 1 };
    let large = Gram::new(kernel(50, 1)).unwrap();
    let unsolved = IterativePosterior::new(&large, Ridge::Absolute(1e-3), normals(1, (50, 1)).view(), 1, few);
    assert!(matches!(unsolved, Err(Error::Linalg(ntk_linalg::Error::Unsolved { steps: 1, .. }))));
    let posterior = IterativePosterior::new(&gram, Ridge::Absolute(0.1), y.view(), 2, method).unwrap();
    assert!(matches!(posterior.mean(Array2::zeros((1, 2)).view()), Err(Error::Shape { .. })));
    assert!(matches!(
        posterior.variance(Array2::zeros((1, 3)).view(), Array1::zeros(2).view()),
        Err(Error::Shape { .. })
    ));

    let rows = |rows: std::ops::Range<usize>| Ok(Array2::ones((rows.len(), 2)));
    assert!(matches!(RowTiles::new(Array1::zeros(0), 1, rows), Err(Error::Linalg(_))));
    assert!(matches!(RowTiles::new(Array1::ones(3), 0, rows), Err(Error::Setting { option: "height", .. })));
    let wrong = RowTiles::new(Array1::ones(3), 2, rows).unwrap();
    assert!(matches!(wrong.product(y.view()), Err(Error::Shape { what: "a tile of the kernel", .. })));
}
