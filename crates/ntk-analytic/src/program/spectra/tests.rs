//! Laws that are known, and densities against their moments.

use ntk_core::Activation;

use super::*;

const LINEAR: Activation = Activation::Monomial { degree: 1 };

fn spectrum(phi: Activation, depth: usize, variance: f64, q: f64, ensemble: Ensemble) -> JacobianSpectrum {
    JacobianSpectrum::new(&phi, depth, variance, q, ensemble).unwrap()
}

#[track_caller]
fn close(found: &[f64], expected: &[f64], relative: f64) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= relative * b.abs().max(1e-3), "{found:?} {expected:?}");
    }
}

/// ∫ f over (0, end), with powers at both ends: the tanh-sinh rule.
fn integral(end: f64, f: impl Fn(f64) -> f64) -> f64 {
    let h = 0.02;
    (-300..=220)
        .map(|k| {
            let t = h * f64::from(k);
            let e = (PI * t.sinh()).exp();
            // x = end/(1 + 1/e).
            let (x, slope) = (end * e / (1.0 + e), end * e / (1.0 + e).powi(2) * PI * t.cosh());
            if x > 0.0 && x < end && slope > 0.0 { h * slope * f(x) } else { 0.0 }
        })
        .sum()
}

#[test]
fn moments_are_those_of_combinatorics() {
    use Ensemble::{Gaussian, Orthogonal};
    // Fuss–Catalan numbers, Narayana polynomials of their mixtures, and what was found otherwise.
    close(&spectrum(LINEAR, 1, 1.0, 1.0, Gaussian).moments(5), &[1.0, 2.0, 5.0, 14.0, 42.0], 1e-13);
    close(&spectrum(LINEAR, 3, 1.0, 1.0, Gaussian).moments(5), &[1.0, 4.0, 22.0, 140.0, 969.0], 1e-13);
    close(&spectrum(Activation::Relu, 3, 2.0, 0.3, Gaussian).moments(3), &[1.0, 7.0, 67.0], 1e-13);
    close(&spectrum(Activation::Relu, 3, 2.0, 0.3, Orthogonal).moments(3), &[1.0, 4.0, 19.0], 1e-13);
    close(&spectrum(LINEAR, 7, 1.1, 1.0, Orthogonal).moments(2), &[1.1f64.powi(7), 1.1f64.powi(14)], 1e-13);
    let q = fixed_point_variance(&Activation::HardTanh, 1.05, 0.0).unwrap();
    close(&[q], &[0.2040], 3e-4);
    for (ensemble, second) in [(Gaussian, 6.074), (Orthogonal, 1.320)] {
        let one = spectrum(Activation::HardTanh, 4, 1.05, q, ensemble);
        close(&one.moments(2), &[1.090, second], 5e-4);
    }
    // One orthogonal layer has the law of the slopes alone.
    let erf = spectrum(Activation::ERF, 1, 1.0, 0.5, Orthogonal);
    let exact: Vec<f64> = (1..6).map(|k| (4.0 / PI).powi(k) / (1.0 + 2.0 * f64::from(k)).sqrt()).collect();
    close(&erf.moments(5), &exact, 1e-12);
    assert!(erf.moments(0).is_empty());
}

#[test]
fn mean_and_variance_are_moments() {
    for phi in [Activation::ERF, Activation::HardTanh, Activation::LeakyRelu { alpha: 0.2 }] {
        for ensemble in [Ensemble::Gaussian, Ensemble::Orthogonal] {
            let one = spectrum(phi.clone(), 6, 1.3, 0.7, ensemble);
            let m = one.moments(2);
            close(&one.mean_and_variance(), &[m[0], m[1] - m[0] * m[0]], 1e-11);
        }
    }
}

#[test]
fn one_linear_layer_has_the_law_of_marchenko_and_pastur() {
    let (one, law) = (spectrum(LINEAR, 1, 1.0, 1.0, Ensemble::Gaussian), MarchenkoPastur::new(1.0).unwrap());
    assert!((one.largest() - 4.0).abs() < 1e-12);
    for x in [1e-8, 1e-3, 0.1, 1.0, 2.5, 3.9, 3.999_999, 4.000_001, 7.0] {
        let (found, expected) = (one.density(x).unwrap(), law.density(x));
        assert!((found - expected).abs() <= 1e-11 * (1.0 + expected), "{x}: {found} {expected}");
        assert_eq!(
            one.singular_value_density(x.sqrt()).unwrap(),
            2.0 * x.sqrt() * one.density(x.sqrt().powi(2)).unwrap()
        );
    }
    // The largest value of products of Gaussian matrices.
    for depth in [2, 3, 10, 50] {
        let n = depth as f64;
        let found = spectrum(LINEAR, depth, 1.0, 1.0, Ensemble::Gaussian).largest();
        assert!((found / ((n + 1.0) * (1.0 + 1.0 / n).powf(n)) - 1.0).abs() < 1e-12);
    }
}

#[test]
fn one_orthogonal_layer_has_the_law_of_the_slopes() {
    let (q, top) = (0.5, 4.0 / PI);
    let one = spectrum(Activation::ERF, 1, 1.0, q, Ensemble::Orthogonal);
    for x in [1e-6, 0.01, 0.3, 1.0, 1.27, 1.3] {
        let z = ((top / x).ln() / (2.0 * q)).sqrt();
        let exact = if x < top { 2.0 * (-0.5 * z * z).exp() / TAU.sqrt() / (4.0 * q * z * x) } else { 0.0 };
        let found = one.density(x).unwrap();
        assert!((found - exact).abs() < 1e-10 * (1.0 + exact), "{x}: {found} {exact}");
    }
}

#[test]
fn densities_have_their_moments() {
    use Ensemble::{Gaussian, Orthogonal};
    // The rule knows no edges inside, which two of the laws have.
    let all = [
        (LINEAR, 3, 1.0, 1.0, Gaussian, 1e-12),
        (LINEAR, 20, 1.0, 1.0, Gaussian, 1e-12),
        (Activation::Relu, 3, 2.0, 1.0, Gaussian, 1e-12),
        (Activation::Relu, 2, 2.0, 1.0, Orthogonal, 1e-6),
        (Activation::LeakyRelu { alpha: 0.1 }, 2, 1.5, 1.0, Gaussian, 1e-12),
        (Activation::HardTanh, 4, 1.05, 0.204, Gaussian, 1e-12),
        (Activation::HardTanh, 4, 1.05, 0.204, Orthogonal, 1e-4),
        (Activation::ERF, 3, 1.2, 0.4, Gaussian, 1e-9),
        (Activation::ERF, 3, 1.2, 0.4, Orthogonal, 1e-9),
    ];
    for (phi, depth, variance, q, ensemble, tolerance) in all {
        let one = spectrum(phi, depth, variance, q, ensemble);
        // Below, less than 10⁻¹³ of the values are left: the density is x^{−L/(L+1)} at 0 for Gaussian weights.
        let least = match (depth, ensemble) {
            (20, _) => 1e-275,
            (_, Gaussian) => 1e-80,
            (_, Orthogonal) => 1e-30,
        };
        let atoms = one.atoms();
        let free = |x: f64| x > least && atoms.iter().all(|(a, _)| (x - a).abs() > 1e-9 * a);
        let found: Vec<f64> = (0..4)
            .map(|k| {
                let mass: f64 = atoms.iter().map(|(x, share)| share * x.powi(k)).sum();
                let density = |x| if free(x) { x.powi(k) * one.density(x).unwrap() } else { 0.0 };
                mass + integral(one.largest(), density)
            })
            .collect();
        let mut expected = vec![1.0];
        expected.extend(one.moments(3));
        close(&found, &expected, tolerance);
    }
}

#[test]
fn densities_are_found_whatever_the_network() {
    use Ensemble::{Gaussian, Orthogonal};
    let all = [
        (Activation::Relu, 40, 2.0, 1.0, Gaussian),
        (Activation::Relu, 8, 2.0, 1.0, Orthogonal),
        (Activation::HardTanh, 100, 1.0, 0.05, Orthogonal),
        (Activation::LeakyRelu { alpha: 0.01 }, 3, 2.0, 1.0, Orthogonal),
        (Activation::HardSigmoid, 2, 36.0, 4.0, Gaussian),
        (Activation::Relu6, 5, 1.9, 9.0, Gaussian),
        (Activation::ERF, 30, 0.9, 0.01, Orthogonal),
        (Activation::ERF, 2, 3.0, 50.0, Gaussian),
    ];
    for (phi, depth, variance, q, ensemble) in all {
        let one = spectrum(phi, depth, variance, q, ensemble);
        let (end, atoms) = (one.largest(), one.atoms());
        let free = |x: f64| x > 1e-30 * end && atoms.iter().all(|(a, _)| (x - a).abs() > 1e-9 * a);
        let density = |x| if free(x) { x * one.density(x).unwrap() } else { 0.0 };
        let mass: f64 = atoms.iter().map(|(x, share)| share * x).sum();
        let found = mass + integral(end, density);
        close(&[found], &one.moments(1), 1e-3);
    }
}

#[test]
fn classical_laws_have_their_moments() {
    for (alpha, moments) in [(2.0, [1.0, 1.0, 3.0, 11.0]), (0.5, [1.0, 1.0, 1.5, 2.75])] {
        let law = MarchenkoPastur::new(alpha).unwrap();
        let [a, b] = law.support();
        let moment = |k: i32| integral(b - a, |x| (x + a).powi(k) * law.density(x + a));
        let found: Vec<f64> =
            (0..4).map(|k| moment(k) + if k == 0 { law.mass_at_zero() } else { 0.0 }).collect();
        close(&found, &moments, 1e-10);
    }
    let moment = |k: i32| integral(4.0, |x| (x - 2.0).powi(k) * semicircle_density(x - 2.0));
    close(&[moment(0), moment(2), moment(4), moment(6)], &[1.0, 1.0, 2.0, 5.0], 1e-10);
    assert!(MarchenkoPastur::new(0.0).is_err() && semicircle_density(2.5) == 0.0);
}

#[test]
fn only_orthogonal_weights_keep_all_gradients() {
    // Hard tanh and erf at σ²μ₁ = 1 as q falls; ReLU has no such limit.
    let variance = |phi: &Activation, q: f64, ensemble| {
        let first = JacobianSpectrum::new(phi, 1, 1.0, q, ensemble).unwrap().moments(1)[0];
        let [mean, variance] = spectrum(phi.clone(), 10, 1.0 / first, q, ensemble).mean_and_variance();
        assert!((mean - 1.0).abs() < 1e-12);
        variance
    };
    for phi in [Activation::HardTanh, Activation::ERF] {
        let all = [0.2, 0.02, 0.002].map(|q| variance(&phi, q, Ensemble::Orthogonal));
        assert!(all[1] < 0.1 * all[0] && all[2] < 0.02 * all[1] + 1e-12, "{all:?}");
        assert!(variance(&phi, 0.002, Ensemble::Gaussian) >= 10.0 - 1e-9);
    }
    assert!((variance(&Activation::Relu, 0.002, Ensemble::Orthogonal) - 10.0).abs() < 1e-9);
}

#[test]
fn variances_settle() {
    // ReLU: q = σ_w² q/2 + σ_b².
    assert!((fixed_point_variance(&Activation::Relu, 1.0, 0.1).unwrap() - 0.2).abs() < 1e-15);
    assert_eq!(fixed_point_variance(&Activation::ERF, 0.5, 0.0).unwrap(), 0.0);
    let q = fixed_point_variance(&Activation::ERF, 2.0, 0.05).unwrap();
    // E erf(√q z)² = (2/π) arcsin(2q/(1 + 2q)).
    assert!((4.0 / PI * (2.0 * q / (1.0 + 2.0 * q)).asin() + 0.05 - q).abs() < 1e-14);
    let wild = fixed_point_variance(&Activation::Relu, 2.5, 0.1);
    assert!(matches!(wild, Err(Error::FixedPoint { .. } | Error::Dual(_))), "{wild:?}");
    assert!(matches!(fixed_point_variance(&Activation::Relu, -1.0, 0.1), Err(Error::Shape { .. })));
}

#[test]
fn nonsense_is_refused() {
    let new =
        |depth, variance, q| JacobianSpectrum::new(&Activation::Relu, depth, variance, q, Ensemble::Gaussian);
    for bad in [new(0, 1.0, 1.0), new(1, 0.0, 1.0), new(1, 1.0, f64::NAN)] {
        assert!(matches!(bad, Err(Error::Shape { .. })));
    }
    let one = new(2, 2.0, 1.0).unwrap();
    assert!(matches!(one.density(0.0), Err(Error::Shape { .. })));
    assert_eq!(one.atoms(), [(0.0, 0.5)]);
    // All singular values of a linear orthogonal network are 1.
    let rigid = spectrum(LINEAR, 5, 1.0, 1.0, Ensemble::Orthogonal);
    assert_eq!((rigid.atoms(), rigid.mean_and_variance()), (vec![(1.0, 1.0)], [1.0, 0.0]));
    assert!(matches!(rigid.density(1.0), Err(Error::Unresolved { .. })));
    assert_eq!(rigid.density(0.7).unwrap(), 0.0);
}
