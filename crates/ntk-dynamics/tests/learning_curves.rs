//! Predicted learning curves against measured kernel regression, and the conservation law they rest on.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ndarray::{Array1, Array2, Axis, array};
use ntk_dynamics::{
    Eigenlearning, Error, Evidence, Gram, LearningRate, LossScale, Posterior, Ridge, Spectrum, TargetMode,
};
use ntk_linalg::normals;
use ntk_testkit::cases;
use proptest::prelude::*;

const MODES: usize = 300;

/// λᵢ = i^−1.5 and vᵢ = ±1/i on Gaussian features.
fn problem() -> (Array1<f64>, Array1<f64>) {
    let rank = |i: usize| (i + 1) as f64;
    let sign = |i: usize| if i.is_multiple_of(3) { -1.0 } else { 1.0 };
    (
        Array1::from_shape_fn(MODES, |i| rank(i).powf(-1.5)),
        Array1::from_shape_fn(MODES, |i| sign(i) / rank(i)),
    )
}

fn theory(noise: f64) -> Eigenlearning {
    let (values, target) = problem();
    let mode = |(&eigenvalue, v): (&f64, &f64)| TargetMode { eigenvalue, multiplicity: 1.0, power: v * v };
    Eigenlearning::new(values.iter().zip(&target).map(mode).collect(), noise).unwrap()
}

/// Gram matrix and noisy targets of n random samples, with their features.
fn draw(n: usize, noise: f64, seed: u64) -> (Array2<f64>, Gram, Array2<f64>) {
    let (values, target) = problem();
    let features = normals(seed, (n, MODES));
    let gram = (&features * &values).dot(&features.t());
    let y = features.dot(&target.insert_axis(Axis(1))) + noise.sqrt() * normals(seed + 1_000_000, (n, 1));
    (features, Gram::new((&gram + &gram.t()) / 2.0).unwrap(), y)
}

/// Test error, train error and the estimate of generalized cross-validation, of one draw.
fn measure(n: usize, ridge: f64, noise: f64, seed: u64) -> [f64; 3] {
    let (values, target) = problem();
    let (features, gram, y) = draw(n, noise, seed);
    let dual = Posterior::new(&gram, Ridge::Absolute(ridge), y.view()).unwrap().dual().unwrap();
    // The error over all inputs, exactly: features are orthonormal there.
    let learned = features.t().dot(&dual).column(0).to_owned() * &values;
    let test = (&learned - &target).mapv(|d| d * d).sum() + noise;
    let train = ridge * ridge * (&dual * &dual).mean().unwrap();
    let estimate =
        Evidence::new(&gram, Ridge::Absolute(ridge), y.view()).unwrap().generalized_cross_validation();
    [test, train, estimate]
}

#[test]
fn measured_regression_follows_the_curve() {
    let draws = 60;
    for (noise, ridge) in [(0.0, 0.05), (0.1, 0.0), (0.1, 0.3)] {
        for n in [20, 60, 120] {
            let runs: Vec<[f64; 3]> = (0..draws).map(|seed| measure(n, ridge, noise, seed)).collect();
            let predicted = theory(noise).at(n as f64, ridge).unwrap();
            for (which, expected) in [predicted.test, predicted.train, predicted.test].iter().enumerate() {
                let mean = runs.iter().map(|run| run[which]).sum::<f64>() / draws as f64;
                let square = runs.iter().map(|run| (run[which] - mean).powi(2)).sum::<f64>();
                let error = (square / (draws * (draws - 1)) as f64).sqrt();
                assert!(
                    (mean - expected).abs() <= 4.0 * error,
                    "N = {n}, ridge {ridge}, noise {noise}, quantity {which}: {mean:.5} ± {error:.5}, predicted {expected:.5}"
                );
            }
        }
    }
}

#[test]
fn curves_from_samples_approach_those_of_the_spectrum() {
    // The error of estimated curves falls with the number of samples: a fitted exponent of −½ or steeper.
    let exact = theory(0.0).at(30.0, 0.05).unwrap().test;
    let sizes = [100, 200, 400, 800];
    let errors: Vec<f64> = sizes
        .iter()
        .map(|&n| {
            let square = |seed| {
                let (_, gram, y) = draw(n, 0.0, seed);
                let estimate =
                    Eigenlearning::from_samples(&gram, y.view()).unwrap().at(30.0, 0.05).unwrap().test;
                (estimate / exact - 1.0).powi(2)
            };
            ((0..8).map(square).sum::<f64>() / 8.0).sqrt()
        })
        .collect();
    let exponent = (errors[3] / errors[0]).ln() / 8.0_f64.ln();
    assert!(exponent < -0.4 && errors[3] < 0.1, "{exponent} {errors:?}");
}

fn modes() -> impl Strategy<Value = Vec<TargetMode>> {
    let mode =
        (-6.0..3.0, 1.0..50.0, 0.0..2.0).prop_map(|(exponent, multiplicity, power): (f64, f64, f64)| {
            TargetMode { eigenvalue: 10f64.powf(exponent), multiplicity: multiplicity.floor(), power }
        });
    proptest::collection::vec(mode, 1..12)
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn learnabilities_sum_to_the_samples(modes in modes(), samples in 0.1..200.0, exponent in -8.0..3.0, noise in 0.0..1.0) {
        let ridge = 10f64.powf(exponent);
        let at = Eigenlearning::new(modes.clone(), noise).unwrap().at(samples, ridge).unwrap();
        let learned: f64 = modes.iter().zip(&at.learnability).map(|(mode, l)| mode.multiplicity * l).sum();
        prop_assert!((learned + ridge / at.kappa - samples).abs() < 1e-12 * samples, "{at:?}");
        prop_assert!(at.learnability.iter().all(|l| (0.0..=1.0).contains(l)) && at.overfitting >= 1.0);
        prop_assert!(at.test >= noise && at.train <= at.test);
        prop_assert!((at.train - (1.0 - learned / samples).powi(2) * at.test).abs() <= 1e-10 * at.test);
    }

    #[test]
    fn a_multiple_mode_is_many_simple_ones(modes in modes(), samples in 0.1..200.0) {
        let simple = modes.iter().flat_map(|mode| {
            let count = mode.multiplicity as usize;
            std::iter::repeat_n(TargetMode { multiplicity: 1.0, power: mode.power / count as f64, ..*mode }, count)
        });
        let at = |modes: Vec<TargetMode>| Eigenlearning::new(modes, 0.1).unwrap().at(samples, 0.01).unwrap();
        let (short, long) = (at(modes.clone()), at(simple.collect()));
        prop_assert!((short.test / long.test - 1.0).abs() < 1e-11 && (short.kappa / long.kappa - 1.0).abs() < 1e-11);
    }
}

#[test]
fn limits_are_reached() {
    let curve = theory(0.1);
    let power: f64 = curve.modes().iter().map(|mode| mode.power).sum();
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-6 * b, "{a} {b}");
    close(curve.at(1e9, 1.0).unwrap().test, 0.1); // All is learned but the noise.
    close(curve.at(10.0, 1e9).unwrap().test, power + 0.1); // Nothing is.
    close(curve.at(1e-9, 0.0).unwrap().test, power + 0.1);
    // More samples than modes and no ridge: ordinary least squares, with its errors σ² N/(N − M) and σ² (N − M)/N.
    let beyond = curve.at(400.0, 0.0).unwrap();
    close(beyond.test, 0.1 * 400.0 / 100.0);
    close(beyond.train, 0.1 * 100.0 / 400.0);
    assert_eq!(curve.at(100.0, 0.0).unwrap().train, 0.0);
    // As many samples as modes: the peak of double descent, if there is anything to blow up.
    let peak = curve.at(300.0, 0.0).unwrap();
    assert_eq!((peak.overfitting, peak.test, peak.train), (f64::INFINITY, f64::INFINITY, 0.0));
    assert_eq!(theory(0.0).at(300.0, 0.0).unwrap().test, 0.0);
    // A mode that the kernel does not have is never learned.
    let outside = vec![
        TargetMode { eigenvalue: 1.0, multiplicity: 1.0, power: 0.0 },
        TargetMode { eigenvalue: 0.0, multiplicity: 3.0, power: 2.0 },
    ];
    let at = Eigenlearning::new(outside, 0.0).unwrap().at(50.0, 0.0).unwrap();
    assert_eq!((at.learnability[1], at.test), (0.0, 2.0 * 50.0 / 49.0));
    assert_eq!(curve.curve(&[1.0, 2.0], 0.1).unwrap()[1], curve.at(2.0, 0.1).unwrap());
}

#[test]
fn modes_decay_in_their_time() {
    let gram = Gram::new(array![[4.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]).unwrap();
    let spectrum = Spectrum::new(&gram, Ridge::None).unwrap();
    let times = spectrum.time_scales(LearningRate::new(0.5).unwrap(), LossScale::MeanN, (3, 1)).unwrap();
    assert_eq!(times, array![f64::INFINITY, 6.0, 1.5]);
    assert!(spectrum.time_scales(LearningRate::new(0.5).unwrap(), LossScale::Sum, (2, 1)).is_err());
}

#[test]
fn bad_input_is_refused() {
    let mode = |eigenvalue, multiplicity, power| vec![TargetMode { eigenvalue, multiplicity, power }];
    let new = Eigenlearning::new;
    for value in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(new(mode(value, 1.0, 1.0), 0.0), Err(Error::Setting { option: "eigenvalue", .. })));
        assert!(matches!(
            new(mode(1.0, value, 1.0), 0.0),
            Err(Error::Setting { option: "multiplicity", .. })
        ));
        assert!(matches!(new(mode(1.0, 1.0, value), 0.0), Err(Error::Setting { option: "power", .. })));
        assert!(matches!(new(mode(1.0, 1.0, 1.0), value), Err(Error::Setting { option: "noise", .. })));
        assert!(matches!(theory(0.0).at(value, 0.0), Err(Error::Setting { option: "samples", .. })));
        assert!(matches!(theory(0.0).at(1.0, value), Err(Error::Setting { option: "ridge", .. })));
    }
    assert!(matches!(new(mode(1.0, 0.0, 1.0), 0.0), Err(Error::Setting { option: "multiplicity", .. })));
    assert!(matches!(
        new(mode(0.0, 1.0, 1.0), 0.0),
        Err(Error::Setting { option: "the largest eigenvalue", .. })
    ));
    assert!(matches!(new(vec![], 0.0), Err(Error::Setting { .. })));
    let zero = Gram::new(Array2::zeros((2, 2))).unwrap();
    assert!(Eigenlearning::from_samples(&zero, Array2::ones((2, 1)).view()).is_err());
    assert!(Eigenlearning::from_samples(&zero, Array2::ones((3, 1)).view()).is_err());
}
