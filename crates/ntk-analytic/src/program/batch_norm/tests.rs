//! Numbers known otherwise, exact properties, and particles.

use ndarray::{Array2, array};
use ntk_core::program::Expr;
use ntk_core::program::networks::{Rates, Weights, batch_norm};
use ntk_core::program::{Builder, VectorId};

use super::*;
use crate::program::{ParticleLimit, ParticleOptions};

const UNIT: Weights = Weights { weight: 1.0, input: 1.0, bias: 0.0, readout: 1.0, rates: Rates::Unit };

/// d_i d_j exp(−(i − j)²/4).
fn gram() -> Array2<f64> {
    let d = [1.0, 0.9, 1.1, 0.8, 1.2];
    Array2::from_shape_fn((5, 5), |(i, j)| d[i] * d[j] * (-0.25 * (i as f64 - j as f64).powi(2)).exp())
}

/// Inner products of n points in m dimensions.
fn points(n: usize, m: usize, seed: u64) -> Array2<f64> {
    let x = crate::program::gaussian::Normals::new(seed).take(n * m);
    let x = Array2::from_shape_vec((n, m), x).unwrap();
    x.dot(&x.t()) / m as f64
}

#[track_caller]
fn equal(found: &Array2<f64>, expected: &Array2<f64>, tolerance: f64) {
    assert_eq!(found.dim(), expected.dim());
    let worst = (found - expected).iter().fold(0.0, |a: f64, b| a.max(b.abs()));
    assert!(worst <= tolerance, "{worst:e}\n{found}\n{expected}");
}

fn layer(epsilon: f64, batches: &[usize]) -> BatchNormRelu {
    BatchNormRelu::new(epsilon, batches).unwrap()
}

#[test]
fn known_numbers() {
    let one = layer(0.0, &[5]);
    let v = one.covariance(&gram()).unwrap();
    let row = [0.670_507_986_0, 0.251_388_490_6, 0.058_350_987_8, 0.034_826_816_9, 0.095_366_737_7];
    let diagonal = [0.670_507_99, 0.314_504_39, 0.436_424_51, 0.278_103_55, 0.800_459_56];
    let b = one.backward(&gram(), &Array2::eye(5)).unwrap();
    // By another quadrature, in more digits.
    let gradient =
        [2.022_225_140_060, -0.765_500_638_540, -0.361_659_354_251, -0.467_421_205_487, -0.427_643_941_782];
    for k in 0..5 {
        assert!((v[[0, k]] - row[k]).abs() < 1e-10, "{}", v[[0, k]]);
        assert!((v[[k, k]] - diagonal[k]).abs() < 1e-8, "{}", v[[k, k]]);
        assert!((b[[0, k]] - gradient[k]).abs() < 1e-12, "{}", b[[0, k]]);
    }
    assert!((b.diag().sum() - 10.808_784_270_891).abs() < 1e-11);
    let [nngp, ntk] = one.kernels(&gram(), 1, &UNIT).unwrap();
    equal(&nngp, &v, 1e-14);
    for (at, expected) in [([0, 0], 2.110_913_97), ([0, 1], 0.296_681_23), ([2, 4], -0.336_454_21)] {
        assert!((ntk[at] - expected).abs() < 1e-8, "{}", ntk[at]);
    }
}

#[test]
fn exchangeable_samples_have_a_fixed_point() {
    let known = [
        (4, 0.1695, 3.084),
        (8, 0.2501, 1.788),
        (16, 0.2857, 1.590),
        (32, 0.3023, 1.522),
        (64, 0.3104, 1.493),
    ];
    for (n, correlation, growth) in known {
        let one = layer(0.0, &[n]);
        let v = one.covariance(&Array2::eye(n)).unwrap();
        assert!((v[[0, 0]] - 0.5).abs() < 1e-12 && (v[[0, 1]] / v[[0, 0]] - correlation).abs() < 5e-5);
        equal(&one.covariance(&v).unwrap(), &v, 1e-12);
        let g = centered(&Array2::eye(n));
        let gradient = one.backward(&v, &g).unwrap();
        let factor = gradient[[0, 0]] / g[[0, 0]];
        equal(&gradient, &(&g * factor), 1e-10);
        assert!((factor - growth).abs() < 6e-4, "{n}: {factor}");
    }
}

#[test]
fn means_and_scales_of_the_batch_do_nothing() {
    let sigma = points(6, 9, 1);
    let (one, delta) = (layer(0.0, &[6]), points(6, 4, 2));
    let v = one.covariance(&sigma).unwrap();
    assert!((v.diag().sum() - 3.0).abs() < 1e-12);
    let moved = &sigma * 1e-7 + 0.3e-7;
    equal(&one.covariance(&moved).unwrap(), &v, 1e-12);
    let b = one.backward(&sigma, &delta).unwrap();
    assert!(b.sum_axis(Axis(0)).iter().all(|x| x.abs() < 1e-13));
    equal(&(one.backward(&moved, &delta).unwrap() * 1e-7), &b, 1e-10);
    equal(
        &one.tangent(&(&sigma * 3.0), &(&delta * 3.0 + 1.0)).unwrap(),
        &one.tangent(&sigma, &delta).unwrap(),
        1e-12,
    );
    // Samples in another order.
    let turned = |m: &Array2<f64>| Array2::from_shape_fn(m.dim(), |(i, j)| m[[(i + 2) % 6, (j + 2) % 6]]);
    equal(
        &one.tangent(&turned(&sigma), &turned(&delta)).unwrap(),
        &turned(&one.tangent(&sigma, &delta).unwrap()),
        1e-12,
    );
}

#[test]
fn tangents_are_adjoint_to_gradients() {
    for (epsilon, batches) in [(0.0, vec![6]), (0.2, vec![3]), (0.0, vec![5, 4]), (0.1, vec![3, 2, 4])] {
        let n = batches.iter().sum();
        let (sigma, theta, delta) = (points(n, 12, 3), points(n, 3, 4), points(n, 5, 5));
        let one = layer(epsilon, &batches);
        let forward = (one.tangent(&sigma, &theta).unwrap() * &delta).sum();
        let backward = (one.backward(&sigma, &delta).unwrap() * &theta).sum();
        assert!((forward / backward - 1.0).abs() < 1e-10, "{batches:?} {forward} {backward}");
    }
}

#[test]
fn two_copies_of_a_batch_are_one_batch() {
    for (epsilon, n) in [(0.0, 6), (0.3, 3)] {
        let (sigma, m) = (points(n, 8, 6), points(n, 4, 7));
        let twice = |m: &Array2<f64>| Array2::from_shape_fn((2 * n, 2 * n), |(i, j)| m[[i % n, j % n]]);
        let (one, two) = (layer(epsilon, &[n]), layer(epsilon, &[n, n]));
        equal(&two.covariance(&twice(&sigma)).unwrap(), &twice(&one.covariance(&sigma).unwrap()), 1e-11);
        for f in [BatchNormRelu::tangent, BatchNormRelu::backward] {
            let found = f(&two, &twice(&sigma), &twice(&m)).unwrap();
            equal(&found, &twice(&f(&one, &sigma, &m).unwrap()), 1e-10);
        }
    }
}

#[test]
fn one_sweep_equals_a_sweep_for_each_pair() {
    for batches in [vec![5], vec![4, 5]] {
        let n = batches.iter().sum();
        let (x, one) = (points(n, 7, 8), layer(0.0, &batches));
        let ntk = &one.kernels(&x, 2, &UNIT).unwrap()[1];
        let h = one.covariance(&x).unwrap();
        let y = one.covariance(&h).unwrap();
        for i in 0..n {
            for j in i..n {
                let mut top = Array2::zeros((n, n));
                top[[i, j]] += 0.5;
                top[[j, i]] += 0.5;
                let middle = one.backward(&h, &top).unwrap();
                let bottom = one.backward(&x, &middle).unwrap();
                let sum = (&y * &top).sum() + (&h * &middle).sum() + (&x * &bottom).sum();
                assert!((sum - ntk[[i, j]]).abs() < 1e-9, "{i} {j}: {sum} {}", ntk[[i, j]]);
            }
        }
    }
}

#[test]
fn equal_samples_stay_equal() {
    let sigma = points(5, 9, 9);
    let copy = |m: &Array2<f64>| Array2::from_shape_fn((6, 6), |(i, j)| m[[i % 5, j % 5]]);
    let [nngp, ntk] = layer(0.0, &[6]).kernels(&copy(&sigma), 4, &UNIT).unwrap();
    assert_eq!((nngp[[0, 0]], ntk[[0, 0]], ntk[[0, 5]]), (nngp[[0, 5]], ntk[[5, 0]], ntk[[5, 5]]));
}

#[test]
fn particles_agree() {
    let (epsilon, sizes, n) = (0.3, [4, 3], 7);
    let (gram, weights) = (points(n, 5, 10), Weights { weight: 1.3, input: 0.8, readout: 1.1, ..UNIT });
    let mut p = Builder::new();
    let names: Vec<String> = (0..n).map(|k| format!("u{k}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut x: Vec<VectorId> = p.inputs(&names, &vec![0.0; n], &gram * 0.8, Some(gram.clone())).unwrap();
    for layer in 0..2 {
        if layer > 0 {
            let w = p.matrix_with("W", 1.3, 1.0).unwrap();
            x = x.iter().map(|&x| p.matmul(w, x).unwrap()).collect();
        }
        let (first, second) = x.split_at(sizes[0]);
        let normal = [first, second].map(|batch| batch_norm(&mut p, batch, epsilon).unwrap()).concat();
        x = normal.iter().map(|&y| p.apply(Expr::arg(0).relu(), &[y]).unwrap()).collect();
    }
    let v = p.inputs(&["v"], &[0.0], array![[1.1]], Some(array![[1.0]])).unwrap()[0];
    for (k, &x) in x.iter().enumerate() {
        p.output(&format!("f{k}"), v, x).unwrap();
    }
    let options = ParticleOptions { particles: 1 << 15, seed: 4, ..ParticleOptions::default() };
    let sampled = ParticleLimit::new(p.finish(), options).unwrap().forward_tangents().unwrap();
    let exact = layer(epsilon, &sizes).kernels(&gram, 2, &weights).unwrap();
    for (sampled, exact) in sampled.iter().zip(&exact) {
        for (at, estimate) in sampled.indexed_iter() {
            assert!(estimate.error < 0.05, "{estimate:?}");
            assert!(
                (estimate.value - exact[at]).abs() < 5.0 * estimate.error,
                "{at:?} {estimate:?} {}",
                exact[at]
            );
        }
    }
}

#[test]
fn what_has_no_limit_is_refused() {
    assert!(matches!(BatchNormRelu::new(0.0, &[4, 1]), Err(Error::Batch { least: 2, found: 1, .. })));
    assert!(matches!(BatchNormRelu::new(-0.1, &[4]), Err(Error::Shape { .. })));
    let (three, four) = (layer(0.0, &[3]), layer(0.0, &[4]));
    let sigma = points(3, 6, 11);
    assert!(three.covariance(&sigma).is_ok() && layer(0.1, &[3]).tangent(&sigma, &sigma).is_ok());
    assert!(matches!(three.tangent(&sigma, &sigma), Err(Error::Batch { least: 4, found: 3, .. })));
    // Four samples of two dimensions.
    let plane = points(4, 2, 12);
    let said = four.backward(&plane, &plane).unwrap_err().to_string();
    assert!(said.starts_with("4 samples differ in 2 directions"), "{said}");
    let mut indefinite = Array2::eye(4);
    indefinite[[0, 1]] = 3.0;
    indefinite[[1, 0]] = 3.0;
    let mut skew = points(4, 6, 13);
    skew[[0, 1]] += 1.0;
    let nan = Array2::from_elem((4, 4), f64::NAN);
    for bad in [indefinite, skew, nan, sigma, Array2::ones((4, 4)), Array2::zeros((4, 4))] {
        assert!(matches!(four.covariance(&bad), Err(Error::Shape { .. })), "{bad}");
    }
    // Two batches whose covariance is larger than their variances allow.
    let joint = Array2::from_shape_fn((8, 8), |(i, j)| {
        if i == j {
            1.0
        } else if i % 4 == j % 4 {
            1.5
        } else {
            0.0
        }
    });
    assert!(matches!(layer(0.0, &[4, 4]).covariance(&joint), Err(Error::Shape { .. })));
    assert_eq!(layer(0.1, &[4]).covariance(&Array2::ones((4, 4))).unwrap(), Array2::<f64>::zeros((4, 4)));
}
