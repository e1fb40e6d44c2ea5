//! Conjugate gradients against Cholesky, their bounds against true errors, and preconditioners by what they must be.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ndarray::{Array1, Array2, ArrayView2, Axis, array, s};
use ntk_linalg::{
    Cholesky, ConjugateGradients, Error, Lanczos, Landmarks, LowRank, MixedCholesky, Preconditioner,
    Symmetric, Unpreconditioned, eigenvalues, normals, product,
};
use ntk_testkit::cases;
use proptest::prelude::*;

/// A smooth kernel of random points on an interval: eigenvalues fall fast.
fn smooth(n: usize, seed: u64) -> Symmetric {
    let x = normals(seed, (n, 1));
    Symmetric::new(Array2::from_shape_fn((n, n), |(i, j)| (-0.5 * (x[[i, 0]] - x[[j, 0]]).powi(2)).exp()))
        .unwrap()
}

/// K(u, v) = exp(−|u − v|): eigenvalues fall slowly.
fn rough(n: usize, seed: u64) -> Symmetric {
    let x = normals(seed, (n, 1));
    Symmetric::new(Array2::from_shape_fn((n, n), |(i, j)| (-(x[[i, 0]] - x[[j, 0]]).abs()).exp())).unwrap()
}

fn shifted(k: &Symmetric, ridge: f64) -> impl Fn(ArrayView2<'_, f64>) -> Result<Array2<f64>, Error> {
    move |v| Ok(product(k.view(), v)? + &(ridge * &v))
}

fn low_rank(k: &Symmetric, rank: usize, landmarks: Landmarks<'_>) -> LowRank {
    LowRank::new(rank, landmarks, k.view().diag(), |i| Ok::<_, Error>(k.view().row(i).to_owned())).unwrap()
}

fn exact(k: &Symmetric, ridge: f64, b: &Array2<f64>) -> Array2<f64> {
    Cholesky::new(k.shifted(ridge).unwrap()).unwrap().solve(b.view()).unwrap()
}

fn length(v: impl IntoIterator<Item = f64>) -> f64 {
    v.into_iter().map(|v| v * v).sum::<f64>().sqrt()
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn conjugate_gradients_solve_what_cholesky_solves(
        n in 1usize..120, k in 1usize..5, rank in 1usize..40, exponent in -4.0..1.0, seed: u64, choice in 0..4
    ) {
        let (kernel, ridge, b) = (rough(n, seed), 10f64.powf(exponent), normals(seed ^ 1, (n, k)));
        let method = ConjugateGradients { tolerance: 1e-11, steps: 2000 };
        let given: Vec<usize> = (0..n).step_by(3).collect();
        let solution = match choice {
            0 => method.solve(b.view(), &Unpreconditioned, shifted(&kernel, ridge)),
            1 => method.solve(b.view(), &low_rank(&kernel, rank, Landmarks::Greedy).preconditioner(ridge).unwrap(), shifted(&kernel, ridge)),
            2 => method.solve(b.view(), &low_rank(&kernel, rank, Landmarks::Random { seed }).preconditioner(ridge).unwrap(), shifted(&kernel, ridge)),
            _ => method.solve(b.view(), &low_rank(&kernel, rank, Landmarks::Given(&given)).preconditioner(ridge).unwrap(), shifted(&kernel, ridge)),
        }.unwrap();
        let expected = exact(&kernel, ridge, &b);
        let residual = &b - &shifted(&kernel, ridge)(solution.x.view()).unwrap();
        let forms = (&expected * &b).sum_axis(Axis(0));
        for j in 0..k {
            // The residual is what it is said to be, within the tolerance; errors and forms are within their bounds.
            let scale = length(b.column(j).iter().copied());
            let size = length(expected.column(j).iter().copied());
            let rounding = 4.0 * f64::EPSILON * (n as f64 + ridge) * size;
            prop_assert!((length(residual.column(j).iter().copied()) - solution.residuals[j]).abs() <= rounding);
            prop_assert!(solution.residuals[j] <= (1e-11 * scale).max(rounding));
            let error = length((&solution.x.column(j) - &expected.column(j)).iter().copied());
            prop_assert!(error <= solution.error_bounds(ridge)[j] + rounding / ridge);
            let missed = forms[j] - solution.forms[j];
            let rounding = rounding * size;
            prop_assert!(missed >= -rounding && missed <= solution.form_bounds(ridge)[j] + rounding);
        }
    }

    #[test]
    fn mixed_precision_reaches_double_precision(n in 1usize..150, k in 1usize..4, exponent in -6.0..1.0, seed: u64) {
        let (kernel, ridge, b) = (rough(n, seed), 10f64.powf(exponent), normals(seed ^ 1, (n, k)));
        let mixed = MixedCholesky::new(&kernel, ridge).unwrap();
        let solution = mixed.solve(b.view(), ConjugateGradients { tolerance: 1e-13, steps: 60 }).unwrap();
        let expected = exact(&kernel, ridge, &b);
        let error = length((&solution.x - &expected).iter().copied());
        prop_assert!(error <= 1e-12 / ridge * length(b.iter().copied()), "{error:e} {}", solution.steps);
    }

    #[test]
    fn what_a_low_rank_leaves_is_positive_and_exact_at_landmarks(n in 2usize..60, rank in 1usize..20, seed: u64, random: bool) {
        let kernel = rough(n, seed);
        let part = low_rank(&kernel, rank, if random { Landmarks::Random { seed } } else { Landmarks::Greedy });
        let rest = &kernel.view() - &product(part.factor(), part.factor().t()).unwrap();
        prop_assert!(part.landmarks().iter().all(|&i| rest.row(i).iter().all(|v| v.abs() < 1e-12)));
        let rest = Symmetric::new(rest).unwrap();
        prop_assert!((rest.trace() - part.residual_trace()).abs() < 1e-12 * n as f64);
        prop_assert!(eigenvalues(&rest).unwrap()[0] > -1e-12);
    }

    #[test]
    fn woodbury_inverts_the_low_rank_and_the_shift(n in 2usize..60, rank in 1usize..20, exponent in -6.0..2.0, seed: u64) {
        let ridge = 10f64.powf(exponent);
        let part = low_rank(&smooth(n, seed), rank, Landmarks::Greedy);
        let woodbury = part.preconditioner(ridge).unwrap();
        prop_assert!((woodbury.shift() - ridge - part.residual_trace() / n as f64).abs() < 1e-15 * (1.0 + ridge));
        let b = normals(seed ^ 1, (n, 2));
        let x = woodbury.precondition(b.view()).unwrap();
        let back = product(part.factor(), product(part.factor().t(), x.view()).unwrap().view()).unwrap() + woodbury.shift() * &x;
        let condition = 1.0 + n as f64 / woodbury.shift();
        prop_assert!((back - &b).iter().all(|v| v.abs() < 1e-14 * condition * n as f64));
    }

    #[test]
    fn inverse_forms_of_lanczos_are_within_their_bounds(n in 2usize..100, steps in 1usize..60, exponent in -3.0..1.0, seed: u64) {
        let (kernel, ridge) = (smooth(n, seed), 10f64.powf(exponent));
        let b = product(kernel.view(), normals(seed ^ 1, (n, 3)).view()).unwrap();
        let lanczos = Lanczos { seed, ..Lanczos::new(steps) };
        let ritz = lanczos.run(n, |v| Ok::<_, Error>(kernel.view().dot(v) + ridge * v)).unwrap();
        let [values, bounds] = ritz.inverse_forms(b.view(), ridge).unwrap();
        let forms = (&exact(&kernel, ridge, &b) * &b).sum_axis(Axis(0));
        for ((form, value), bound) in forms.iter().zip(&values).zip(&bounds) {
            let rounding = 1e-11 * form * (1.0 + 1e-3 / ridge);
            prop_assert!(*value <= form + rounding && *form <= value + bound + rounding, "{form} {value} {bound}");
        }
        if steps >= n {
            prop_assert!(bounds.iter().zip(&forms).all(|(bound, form)| *bound < 1e-10 * form));
        }
    }
}

#[test]
fn products_are_shared_and_finished_columns_leave_them() {
    // Three eigenvalues: a right-hand side with parts along m of them takes m steps.
    let diagonal = array![1.0, 2.0, 5.0, 5.0];
    let b = array![[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]];
    let mut widths = Vec::new();
    let solution = ConjugateGradients::new(10)
        .solve(b.view(), &Unpreconditioned, |v| {
            widths.push(v.ncols());
            Ok::<_, Error>(&v * &diagonal.view().insert_axis(Axis(1)))
        })
        .unwrap();
    assert_eq!((solution.steps, &widths[..]), (3, &[2, 1, 1, 3][..])); // The last one computes the residual.
    assert_eq!((solution.relative[2], solution.x.column(2).sum()), (0.0, 0.0));
    assert!((solution.x[[3, 1]] - 0.2).abs() < 1e-14);
}

#[test]
fn preconditioners_save_steps() {
    let (n, ridge) = (600, 1e-4);
    let (kernel, b) = (smooth(n, 3), normals(4, (n, 2)));
    let method = ConjugateGradients::new(5000);
    let steps = |part: Option<LowRank>| match part {
        Some(part) => method.solve(b.view(), &part.preconditioner(ridge).unwrap(), shifted(&kernel, ridge)),
        None => method.solve(b.view(), &Unpreconditioned, shifted(&kernel, ridge)),
    };
    let plain = steps(None).unwrap().steps;
    for landmarks in [Landmarks::Greedy, Landmarks::Random { seed: 5 }] {
        let few = steps(Some(low_rank(&kernel, 24, landmarks))).unwrap().steps;
        assert!(few <= 12 && 5 * few < plain, "{landmarks:?}: {few} of {plain}");
    }
}

#[test]
fn bad_input_is_refused() {
    let (kernel, b) = (smooth(5, 1), Array2::ones((5, 1)));
    let method = ConjugateGradients::new(50);
    let solve = |b: &Array2<f64>| method.solve(b.view(), &Unpreconditioned, shifted(&kernel, 1.0));
    assert_eq!(solve(&Array2::ones((5, 0))), Err(Error::Empty));
    assert_eq!(solve(&Array2::ones((0, 2))), Err(Error::Empty));
    assert!(matches!(solve(&Array2::from_elem((5, 1), f64::NAN)), Err(Error::NonFinite { .. })));
    assert!(matches!(solve(&Array2::ones((4, 1))), Err(Error::Rows { expected: 5, rows: 4 })));
    for tolerance in [0.0, 1.0, f64::NAN] {
        let method = ConjugateGradients { tolerance, steps: 5 };
        let refused = method.solve(b.view(), &Unpreconditioned, shifted(&kernel, 1.0));
        assert!(matches!(refused, Err(Error::Setting { option: "tolerance", .. })));
    }
    let indefinite = method.solve(b.view(), &Unpreconditioned, |v| Ok::<_, Error>(-&v));
    assert_eq!(indefinite, Err(Error::Indefinite { step: 1, curvature: -1.0 }));
    let product = method.solve(b.view(), &Unpreconditioned, |v| Ok::<_, Error>(f64::INFINITY * &v));
    assert_eq!(product, Err(Error::NonFiniteProduct { step: 1 }));
    let short =
        method.solve(b.view(), &Unpreconditioned, |v| Ok::<_, Error>(v.slice(s![1.., ..]).to_owned()));
    assert_eq!(short, Err(Error::ProductLength { expected: 5, found: 4 }));
    // Singular, with a right-hand side outside the range: no solution, and no number that looks like one.
    let ones = |v: ArrayView2<'_, f64>| product_of_ones(v);
    let unsolvable = method.solve(array![[1.0], [2.0]].view(), &Unpreconditioned, ones);
    assert!(matches!(unsolvable, Err(Error::Indefinite { .. } | Error::Unsolved { .. })), "{unsolvable:?}");
    let few = ConjugateGradients { tolerance: 1e-14, steps: 2 };
    match few.solve(normals(3, (5, 1)).view(), &Unpreconditioned, shifted(&kernel, 1e-3)) {
        Err(Error::Unsolved { steps: 2, residual, tolerance: 1e-14 }) => {
            assert!(residual > 1e-14 && residual < 5.0)
        }
        other => panic!("{other:?}"),
    }
}

fn product_of_ones(v: ArrayView2<'_, f64>) -> Result<Array2<f64>, Error> {
    Ok(v.sum_axis(Axis(0)).insert_axis(Axis(0)).broadcast(v.dim()).unwrap().to_owned())
}

#[test]
fn bad_kernels_are_refused_by_low_ranks_and_single_precision() {
    let build = |rank, landmarks, diagonal: Array1<f64>, k: Array2<f64>| {
        LowRank::new(rank, landmarks, diagonal.view(), |i| Ok::<_, Error>(k.row(i).to_owned()))
            .map(|l| l.residual_trace())
    };
    let eye = Array2::eye(2);
    assert_eq!(build(1, Landmarks::Greedy, array![], eye.clone()), Err(Error::Empty));
    assert!(matches!(
        build(0, Landmarks::Greedy, array![1.0, 1.0], eye.clone()),
        Err(Error::Setting { option: "rank", .. })
    ));
    let out = build(1, Landmarks::Given(&[2]), array![1.0, 1.0], eye.clone());
    assert!(matches!(out, Err(Error::Setting { option: "landmark", .. })));
    let wrong = build(1, Landmarks::Given(&[0]), array![1.0, 1.0, 1.0], eye.clone());
    assert_eq!(wrong, Err(Error::Rows { expected: 3, rows: 2 }));
    let indefinite = build(2, Landmarks::Greedy, array![1.0, 1.0], array![[1.0, 2.0], [2.0, 1.0]]);
    assert!(matches!(indefinite, Err(Error::NotPositiveDefinite { value: -3.0, .. })), "{indefinite:?}");
    // Rank 1 of two equal samples: nothing is left, and without a ridge nothing to precondition with.
    let twins = Symmetric::new(Array2::ones((2, 2))).unwrap();
    let part = low_rank(&twins, 2, Landmarks::Given(&[1, 0]));
    assert_eq!((part.landmarks(), part.residual_trace()), (&[1][..], 0.0));
    assert!(matches!(part.preconditioner(0.0), Err(Error::NotPositiveDefinite { .. })));
    assert!(matches!(part.preconditioner(-1.0), Err(Error::Setting { option: "ridge", .. })));
    // A kernel of zeros has no landmark and only its ridge.
    let zero = low_rank(&Symmetric::new(Array2::zeros((3, 3))).unwrap(), 2, Landmarks::Greedy);
    assert_eq!(
        zero.preconditioner(2.0).unwrap().precondition(Array2::ones((3, 1)).view()).unwrap()[[0, 0]],
        0.5
    );

    let indefinite = Symmetric::new(array![[1.0, 2.0], [2.0, 1.0]]).unwrap();
    assert!(matches!(MixedCholesky::new(&indefinite, 0.0), Err(Error::NotPositiveDefinite { pivot: 1, .. })));
    assert!(matches!(MixedCholesky::new(&indefinite, f64::NAN), Err(Error::Setting { option: "ridge", .. })));
    let negative = Symmetric::new(array![[-1.0]]).unwrap();
    assert_eq!(
        MixedCholesky::new(&negative, 0.0).map(|_| ()),
        Err(Error::NotPositiveDefinite { pivot: 0, value: -1.0 })
    );
    // Condition number 1e13: steps that would do at 1e6 do not suffice, and the error says how far they came.
    let kernel = smooth(200, 9);
    let mixed = MixedCholesky::new(&kernel, 1e-11).unwrap();
    let outcome =
        mixed.solve(normals(1, (200, 1)).view(), ConjugateGradients { tolerance: 1e-13, steps: 20 });
    assert!(
        matches!(outcome, Err(Error::Unsolved { steps: 20, .. } | Error::Indefinite { .. })),
        "{outcome:?}"
    );
}

#[test]
fn bad_arguments_of_inverse_forms_are_refused() {
    let ritz = Lanczos::new(2).run(2, |v| Ok::<_, Error>(v * &array![1.0, 3.0])).unwrap();
    for smallest in [0.0, -1.0, f64::NAN, 2.5] {
        let refused = ritz.inverse_forms(Array2::ones((2, 1)).view(), smallest);
        assert!(matches!(refused, Err(Error::Setting { option: "smallest", .. })));
    }
    assert!(matches!(ritz.inverse_forms(Array2::ones((3, 1)).view(), 1.0), Err(Error::Rows { .. })));
    let [values, bounds] = ritz.inverse_forms(array![[1.0], [3.0]].view(), 1.0).unwrap();
    assert!((values[0] - 4.0).abs() < 1e-13 && bounds[0] < 1e-25);
}
