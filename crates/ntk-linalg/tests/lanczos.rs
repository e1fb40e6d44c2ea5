//! Lanczos against dense eigenvalues, its bounds, its errors, and moments of the spectral density.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ndarray::{Array1, Array2, array};
use ntk_linalg::{Error, Extreme, Lanczos, Probe, SpectralDensity, Symmetric, eigenvalues};

/// A symmetric matrix with entries that look random, (p, p), with a spectrum close to a semicircle on [−2, 2].
fn wigner(p: usize) -> Array2<f64> {
    let mut state = 17_u64;
    let b = Array2::from_shape_simple_fn((p, p), || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    });
    (&b + &b.t()) * (1.5 / p as f64).sqrt()
}

fn product(a: &Array2<f64>) -> impl Fn(&Array1<f64>) -> Result<Array1<f64>, Error> {
    move |v| Ok(a.dot(v))
}

fn dense(a: &Array2<f64>) -> Array1<f64> {
    eigenvalues(&Symmetric::new(a.clone()).unwrap()).unwrap()
}

#[test]
fn all_steps_give_all_eigenvalues() {
    for p in [1, 2, 17, 120, 400] {
        let a = wigner(p);
        let (exact, ritz) = (dense(&a), Lanczos::new(p + 3).run(p, product(&a)).unwrap());
        assert_eq!((ritz.values().len(), ritz.norm_bound()), (p, 0.0));
        for (value, exact) in ritz.values().iter().zip(&exact) {
            assert!((value - exact).abs() < 1e-13 * p as f64, "{p}: {value} {exact}");
        }
    }
}

#[test]
fn multiple_eigenvalues_occur_as_often_as_they_do() {
    let d = array![2.0, 2.0, -1.0, 0.0, 2.0, -1.0, 0.0, 0.0];
    let apply = |v: &Array1<f64>| Ok::<_, Error>(&d * v);
    let ritz = Lanczos::new(8).run(8, apply).unwrap();
    for (value, exact) in ritz.values().iter().zip([-1.0, -1.0, 0.0, 0.0, 0.0, 2.0, 2.0, 2.0]) {
        assert!((value - exact).abs() < 1e-13, "{:?}", ritz.values());
    }
    // With a tolerance the run ends at the invariant space, where three steps found three different eigenvalues.
    let ritz = Lanczos { tolerance: 1e-10, ..Lanczos::new(8) }.run(8, apply).unwrap();
    assert_eq!((ritz.values().len(), ritz.bounds().sum()), (3, 0.0));
    assert!((ritz.max() - 2.0).abs() < 1e-14 && (ritz.min() + 1.0).abs() < 1e-14);
}

#[test]
fn an_eigenvalue_lies_within_every_bound() {
    let a = wigner(300);
    let exact = dense(&a);
    for steps in [1, 5, 20, 80] {
        let ritz = Lanczos { seed: 3, ..Lanczos::new(steps) }.run(300, product(&a)).unwrap();
        assert!(exact[0] <= ritz.min() + 1e-12 && ritz.max() <= exact[299] + 1e-12);
        for (i, (value, bound)) in ritz.values().iter().zip(ritz.bounds()).enumerate() {
            let nearest = exact.iter().map(|e| (e - value).abs()).fold(f64::INFINITY, f64::min);
            assert!(nearest <= bound + 1e-12, "{steps}: {value} is {nearest} off, bound {bound}");
            let y = ritz.vector(i).unwrap();
            let residual = a.dot(&y) - *value * &y;
            assert!((residual.dot(&residual).sqrt() - bound).abs() < 1e-12);
            assert!((y.dot(&y) - 1.0).abs() < 1e-12);
        }
        assert!(ritz.vector(steps).is_none());
    }
}

#[test]
fn opposite_extremes_are_found_where_power_iteration_is_not_settled() {
    // ±1 at the ends of 400 eigenvalues: powers oscillate between two vectors for ever.
    let d = Array1::from_shape_fn(400, |i| match i {
        0 => 1.0,
        1 => -1.0,
        _ => 0.9 * (i as f64).sin(),
    });
    let apply = |v: &Array1<f64>| Ok::<_, Error>(&d * v);
    let mut v = Array1::from_elem(400, 0.05);
    for _ in 0..200 {
        v = &d * &v;
        v /= v.dot(&v).sqrt();
    }
    assert!(v.dot(&(&d * &v)).abs() < 1e-6, "the Rayleigh quotient is the mean of 1 and −1");
    let run = Lanczos { tolerance: 1e-8, ..Lanczos::new(100) }.run(400, apply).unwrap();
    assert!(run.values().len() < 60, "{}", run.values().len());
    assert!((run.max() - 1.0).abs() < 1e-8 && (run.min() + 1.0).abs() < 1e-8);
}

#[test]
fn the_tolerance_is_about_the_extreme_named() {
    // A spectrum with a gap at the lower end alone, so that this end is found in fewer steps.
    let d = Array1::from_shape_fn(500, |i| if i == 0 { -1.0 } else { 1.0 + i as f64 / 500.0 });
    let steps = |wanted| {
        let lanczos = Lanczos { tolerance: 1e-6, wanted, ..Lanczos::new(500) };
        let ritz = lanczos.run(500, |v| Ok::<_, Error>(&d * v)).unwrap();
        let error = match wanted {
            Extreme::Smallest => (ritz.min() + 1.0).abs(),
            _ => (ritz.max() - d[499]).abs(),
        };
        assert!(error < 1e-6, "{wanted:?}: {error}");
        ritz.values().len()
    };
    let [smallest, largest, modulus, both] =
        [Extreme::Smallest, Extreme::Largest, Extreme::Modulus, Extreme::Both].map(steps);
    assert!(smallest < largest && largest == modulus && largest == both, "{smallest} {largest} {modulus}");
}

#[test]
fn a_given_start_spans_its_own_space() {
    let d = array![1.0, 2.0, 3.0, 4.0];
    let lanczos = Lanczos { start: Some(array![0.0, 1e200, 1e200, 0.0]), ..Lanczos::norm(4, 1e-12) };
    let ritz = lanczos.run(4, |v| Ok::<_, Error>(&d * v)).unwrap();
    assert_eq!(ritz.values().len(), 2);
    assert!((ritz.norm() - 3.0).abs() < 1e-14 && (ritz.min() - 2.0).abs() < 1e-14);
}

#[test]
fn zero_and_tiny_operators_are_no_exception() {
    let zero = Lanczos::new(3).run(5, |v| Ok::<_, Error>(v * 0.0)).unwrap();
    assert_eq!(zero.values().to_vec(), [0.0; 3]);
    assert_eq!((zero.norm(), zero.norm_bound()), (0.0, 0.0));
    let tiny = Lanczos::new(5).run(5, |v| Ok::<_, Error>(v * 1e-140)).unwrap();
    assert!((tiny.norm() / 1e-140 - 1.0).abs() < 1e-14);
}

#[test]
fn each_fault_has_its_error() {
    let fine = |v: &Array1<f64>| Ok(v.clone());
    let run = |lanczos: Lanczos, p: usize| lanczos.run(p, fine).unwrap_err();
    assert_eq!(run(Lanczos::new(3), 0), Error::Empty);
    assert!(matches!(run(Lanczos::new(0), 3), Error::Setting { option: "steps", .. }));
    assert!(matches!(run(Lanczos::norm(2, -1.0), 3), Error::Setting { option: "tolerance", .. }));
    assert!(matches!(run(Lanczos::norm(2, f64::NAN), 3), Error::Setting { option: "tolerance", .. }));
    for start in [array![0.0, 0.0, 0.0], array![1.0, 2.0], array![1.0, f64::NAN, 0.0]] {
        let found = start.len();
        let lanczos = Lanczos { start: Some(start), ..Lanczos::new(2) };
        assert_eq!(run(lanczos, 3), Error::Start { expected: 3, found });
    }
    let longer = |_: &Array1<f64>| Ok::<_, Error>(Array1::zeros(4));
    assert_eq!(Lanczos::new(2).run(3, longer).unwrap_err(), Error::ProductLength { expected: 3, found: 4 });
    let infinite = |v: &Array1<f64>| Ok::<_, Error>(v * f64::INFINITY);
    assert_eq!(Lanczos::new(2).run(3, infinite).unwrap_err(), Error::NonFiniteProduct { step: 1 });
    let failing = |_: &Array1<f64>| Err(Error::Rows { expected: 1, rows: 2 });
    assert_eq!(Lanczos::new(2).run(3, failing).unwrap_err(), Error::Rows { expected: 1, rows: 2 });
    let mut a = wigner(50);
    for i in 0..50 {
        a[[i, (i + 1) % 50]] += 0.1;
    }
    let error = Lanczos::new(9).run(50, product(&a)).unwrap_err();
    assert!(matches!(error, Error::OperatorNotSymmetric { step: 2, .. }), "{error}");
    let estimate = |p, steps, probes| SpectralDensity::estimate(p, steps, probes, Probe::Gaussian, 0, fine);
    assert_eq!(estimate(0, 1, 1).unwrap_err(), Error::Empty);
    assert!(matches!(estimate(3, 0, 1).unwrap_err(), Error::Setting { option: "steps", .. }));
    assert!(matches!(estimate(3, 1, 0).unwrap_err(), Error::Setting { option: "probes", .. }));
    let density = estimate(3, 1, 1).unwrap();
    assert!(matches!(density.moment(2), Err(Error::Setting { option: "order", .. })));
    assert!(matches!(density.smoothed(array![0.0].view(), 0.0), Err(Error::Setting { option: "width", .. })));
}

#[test]
fn moments_of_a_diagonal_operator_are_exact_for_signs() {
    // ⟨z, Aᵠ z⟩ = tr Aᵠ whatever the signs; Gauss quadrature is exact up to order 2 · 4 − 1.
    let d = Array1::from_shape_fn(60, |i| ((i * i) as f64).cos());
    let apply = |v: &Array1<f64>| Ok::<_, Error>(&d * v);
    let density = SpectralDensity::estimate(60, 4, 3, Probe::Rademacher, 1, apply).unwrap();
    for order in 0..8 {
        let (exact, moment) =
            (d.mapv(|x| x.powi(order)).mean().unwrap(), density.moment(order as u32).unwrap());
        assert!((moment.mean - exact).abs() < 1e-13 && moment.standard_error < 1e-13, "{order}: {moment:?}");
    }
}

#[test]
fn moments_are_those_of_the_trace_within_four_standard_errors() {
    let a = wigner(200);
    let exact = dense(&a);
    for law in [Probe::Rademacher, Probe::Gaussian] {
        let density = SpectralDensity::estimate(200, 20, 30, law, 5, product(&a)).unwrap();
        for order in 1..8 {
            let trace = exact.mapv(|x| x.powi(order)).mean().unwrap();
            let moment = density.moment(order as u32).unwrap();
            let z = (moment.mean - trace) / moment.standard_error;
            assert!(z.abs() < 4.0, "{law:?}, order {order}: z = {z}");
            assert!(moment.standard_error < 0.02 * 2f64.powi(order), "{moment:?}");
        }
        let log = density.expectation(|x| (3.0 + x).ln());
        let z = (log.mean - exact.mapv(|x| (3.0 + x).ln()).mean().unwrap()) / log.standard_error;
        assert!(z.abs() < 4.0, "{law:?}: z = {z}");
    }
}

#[test]
fn the_smoothed_density_is_one_and_follows_the_semicircle() {
    let a = wigner(400);
    let density = SpectralDensity::estimate(400, 40, 8, Probe::Rademacher, 0, product(&a)).unwrap();
    assert!(density.quadratures().all(|(_, weights)| (weights.sum() - 1.0).abs() < 1e-12));
    let step = 0.02;
    let grid = Array1::from_shape_fn(301, |i| step * (i as f64 - 150.0));
    let smooth = density.smoothed(grid.view(), 0.15).unwrap();
    assert!((smooth.sum() * step - 1.0).abs() < 1e-6);
    for (x, y) in grid.iter().zip(&smooth).filter(|(x, _)| x.abs() < 1.4) {
        let circle = (4.0 - x * x).sqrt() / std::f64::consts::TAU;
        assert!((y - circle).abs() < 0.03, "{x}: {y} {circle}");
    }
}
