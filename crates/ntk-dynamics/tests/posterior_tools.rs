//! Evidence, cross-validation, draws, calibration and temperatures, each against refitting, differences or counting.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ndarray::{Array1, Array2, Axis, array, concatenate, s};
use ntk_core::KernelBlock;
use ntk_dynamics::{
    Calibration, Ensemble, Error, Evidence, Gaussian, GradientFlow, Gram, LearningRate, LossScale, Posterior,
    Ridge, Spectrum, Temperature, Time, one_hot,
};
use ntk_linalg::normals;
use ntk_testkit::cases;
use proptest::prelude::*;

fn kernel(rows: usize, rank: usize, seed: u64) -> Array2<f64> {
    let features = normals(seed, (rows, rank));
    features.dot(&features.t()) / rank as f64
}

fn gram(kernel: Array2<f64>) -> Gram {
    Gram::new(kernel).unwrap()
}

fn far(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    assert_eq!(a.dim(), b.dim());
    a.iter().zip(b).fold(0.0, |worst: f64, (a, b)| worst.max((a - b).abs()))
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn leaving_one_out_is_refitting(n in 2usize..8, k in 1usize..4, full: bool, ridge in 0.05..2.0, seed: u64) {
        let each = if full { k } else { 1 };
        let (all, y) = (kernel(n * each, 2 * n * each, seed), normals(seed ^ 1, (n, k)));
        let one_out = Evidence::new(&gram(all.clone()), Ridge::Absolute(ridge), y.view()).unwrap().leave_one_out().unwrap();
        let mut log_likelihood = 0.0;
        for i in 0..n {
            let mine: Vec<usize> = (i * each..(i + 1) * each).collect();
            let others: Vec<usize> = (0..n * each).filter(|j| !mine.contains(j)).collect();
            let pick = |a: &[usize], b: &[usize]| all.select(Axis(0), a).select(Axis(1), b);
            let rest: Vec<usize> = (0..n).filter(|j| *j != i).collect();
            let posterior = Posterior::new(
                &gram(pick(&others, &others)), Ridge::Absolute(ridge), y.select(Axis(0), &rest).view()
            ).unwrap();
            let (test, prior) = (pick(&mine, &others), pick(&mine, &mine));
            let target = y.slice(s![i..i + 1, ..]);
            let residual = &target - &posterior.mean(test.view()).unwrap();
            prop_assert!(far(&residual, &one_out.residuals.slice(s![i..i + 1, ..]).to_owned()) < 1e-10);
            let variance = posterior.variance(test.view(), prior.diag()).unwrap() + ridge;
            for (c, found) in one_out.variances.row(i).iter().enumerate() {
                let same = (found - variance[c % each]).abs() < 1e-10;
                prop_assert!(same);
            }
            let law = posterior.gaussian(test.view(), prior.view()).unwrap().with_noise(ridge).unwrap();
            log_likelihood += law.log_density(target).unwrap();
        }
        prop_assert!((log_likelihood - one_out.log_likelihood).abs() < 1e-9);
    }

    #[test]
    fn gradient_of_the_evidence_is_its_difference(n in 1usize..8, k in 1usize..4, full: bool, theta in 0.5..2.0, ridge in 0.2..2.0, seed: u64) {
        // K(θ) = A + θ² B, whose derivative is 2 θ B.
        let rows = if full { n * k } else { n };
        let (a, b, y) = (kernel(rows, rows + 1, seed), kernel(rows, 3, seed ^ 2), normals(seed ^ 1, (n, k)));
        let evidence = |theta: f64, ridge: f64| {
            Evidence::new(&gram(&a + &(theta * theta * &b)), Ridge::Absolute(ridge), y.view()).unwrap()
        };
        let h = 1e-4;
        // Richardson: the error of the difference is of fourth order.
        let difference = |f: &dyn Fn(f64) -> f64| (8.0 * (f(h) - f(-h)) - (f(2.0 * h) - f(-2.0 * h))) / (12.0 * h);
        let at = evidence(theta, ridge);
        let in_theta = difference(&|d| evidence(theta + d, ridge).log_likelihood());
        let in_ridge = difference(&|d| evidence(theta, ridge + d).log_likelihood());
        let scale = 1.0 + at.log_likelihood().abs();
        prop_assert!((at.gradient((2.0 * theta * &b).view()).unwrap() - in_theta).abs() < 1e-8 * scale);
        prop_assert!((at.ridge_gradient() - in_ridge).abs() < 1e-8 * scale);
        prop_assert!((at.gradient(Array2::eye(rows).view()).unwrap() - at.ridge_gradient()).abs() < 1e-10 * scale);
    }

    #[test]
    fn evidence_is_a_product_of_conditionals(n in 1usize..6, m in 1usize..4, k in 1usize..3, ridge in 0.05..2.0, seed: u64) {
        // ln p(all) = ln p(train) + ln p(test | train), and ln p(all) is the density of a normal law.
        let (all, y) = (kernel(n + m, n + m + 2, seed), normals(seed ^ 1, (n + m, k)));
        let (train, test) = y.view().split_at(Axis(0), n);
        let part = |a: std::ops::Range<usize>, b: std::ops::Range<usize>| all.slice(s![a, b]).to_owned();
        let ridge_of = Ridge::Absolute(ridge);
        let log = |kernel, y| Evidence::new(&gram(kernel), ridge_of, y).unwrap().log_likelihood();
        let posterior = Posterior::new(&gram(part(0..n, 0..n)), ridge_of, train).unwrap();
        let law = posterior.gaussian(part(n..n + m, 0..n).view(), part(n..n + m, n..n + m).view()).unwrap();
        let conditional = law.with_noise(ridge).unwrap().log_density(test).unwrap();
        let joint = log(all.clone(), y.view());
        prop_assert!((joint - log(part(0..n, 0..n), train) - conditional).abs() < 1e-9);
        let law = Gaussian::new(Array2::zeros((n + m, k)).view(), &all + &(ridge * Array2::<f64>::eye(n + m))).unwrap();
        prop_assert!((joint - law.log_density(y.view()).unwrap()).abs() < 1e-9);
    }

    #[test]
    fn pathwise_draws_have_the_law_of_the_posterior(n in 1usize..7, m in 1usize..5, ridge in 0.0..1.0, seed: u64) {
        // A draw is linear in the prior's function and the noise: outputs that are unit vectors give the map itself.
        let (all, points) = (kernel(n + m, n + m + 3, seed), n + m);
        let y = normals(seed ^ 1, (n, 1));
        let wide = |k: usize| y.broadcast((n, k)).unwrap().to_owned();
        let (k_test, prior) = (all.slice(s![n.., ..n]), all.slice(s![n.., n..]));
        let posterior = |y: &Array2<f64>| {
            Posterior::new(&gram(all.slice(s![..n, ..n]).to_owned()), Ridge::Absolute(ridge), y.view()).unwrap()
        };
        let unit = Array2::<f64>::eye(points);
        let none = Array2::zeros((n, points));
        let map = posterior(&none).pathwise(k_test, unit.slice(s![..n, ..]), unit.slice(s![n.., ..]), none.view()).unwrap();
        let nothing = Array2::zeros((m, n));
        let zero = Array2::zeros((n, n));
        let of_noise = posterior(&zero).pathwise(k_test, zero.view(), nothing.view(), Array2::eye(n).view()).unwrap();
        let law = map.dot(&all).dot(&map.t()) + ridge * of_noise.dot(&of_noise.t());
        prop_assert!(far(&law, &posterior(&y).covariance(k_test, prior).unwrap()) < 1e-9);
        let mean = posterior(&wide(2)).pathwise(
            k_test, Array2::zeros((n, 2)).view(), Array2::zeros((m, 2)).view(), Array2::zeros((n, 2)).view()
        ).unwrap();
        prop_assert!(far(&mean, &posterior(&wide(2)).mean(k_test).unwrap()) < 1e-12);
    }

    #[test]
    fn training_the_readout_from_its_prior_draws_from_the_posterior(n in 1usize..6, m in 1usize..4, width in 1usize..20, ridge in 0.1..1.0, seed: u64) {
        // Sample, then optimize: h = tanh(W x)/√width, readout θ₀ ~ N(0, I), and descent on
        // ½|h θ − (Y − ε)|² + ½ρ|θ − θ₀|² to its end, for three outputs.
        let x = normals(seed, (n + m, 3));
        let hidden: Array2<f64> = x.dot(&normals(seed ^ 1, (3, width))).mapv(f64::tanh) / (width as f64).sqrt();
        let (start, y) = (normals(seed ^ 2, (width, 3)), normals(seed ^ 3, (n, 3)));
        let noise = f64::sqrt(ridge) * normals(seed ^ 4, (n, 3));
        let (train, test) = hidden.view().split_at(Axis(0), n);
        let rate = 1.0 / (ridge + train.iter().map(|v| v * v).sum::<f64>());
        let mut readout = start.clone();
        for _ in 0..2000 {
            let residual: Array2<f64> = train.dot(&readout) + &noise - &y;
            readout = &readout - &(rate * (train.t().dot(&residual) + ridge * (&readout - &start)));
        }
        let posterior = Posterior::new(&gram(train.dot(&train.t())), Ridge::Absolute(ridge), y.view()).unwrap();
        let (f, f_test) = (train.dot(&start), test.dot(&start));
        let drawn = posterior.pathwise(test.dot(&train.t()).view(), f.view(), f_test.view(), noise.view()).unwrap();
        prop_assert!(far(&drawn, &test.dot(&readout)) < 1e-9);
    }

    #[test]
    fn draws_have_their_covariance(rows in 1usize..8, rank in 1usize..9, noise in prop_oneof![Just(0.0), 0.1..2.0], seed: u64) {
        // As many outputs as rows, and the unit matrix for normal numbers: the draw is a root of the covariance.
        let covariance = kernel(rows, rank, seed);
        let mean = normals(seed ^ 1, (rows, rows));
        let law = Gaussian::new(mean.view(), covariance.clone()).unwrap().with_noise(noise).unwrap();
        let root = law.transport(Array2::eye(rows).view()).unwrap() - &mean;
        prop_assert!(far(&root.dot(&root.t()), &(&covariance + &(noise * Array2::<f64>::eye(rows)))) < 1e-12 * rows as f64);
        prop_assert_eq!(law.mean(), mean);
        if noise == 0.0 && rank < rows {
            prop_assert_eq!(law.eigenvalues().iter().filter(|v| **v > 0.0).count(), rank);
            let refused = matches!(law.log_density(Array2::zeros((rows, rows)).view()), Err(Error::Singular { .. }));
            prop_assert!(refused);
        }
    }

    #[test]
    fn fitted_temperature_has_the_largest_likelihood(m in 4usize..40, classes in 2usize..5, scale in 0.1..10.0, seed: u64) {
        // Labels drawn from the scores at temperature `scale`, one of them wrong, so that there is a maximum.
        let scores: Array2<f64> = normals(seed, (m, classes)) * scale;
        let best = |i: usize| (0..classes).max_by(|&a, &b| scores[[i, a]].total_cmp(&scores[[i, b]])).unwrap();
        let labels: Vec<usize> = (0..m).map(|i| if i % 4 == 1 { (best(i) + 1) % classes } else { best(i) }).collect();
        match Temperature::fit(scores.view(), &labels) {
            Ok(fitted) => {
                let loss = |factor: f64| {
                    Temperature::new(factor * fitted.get()).unwrap().negative_log_likelihood(scores.view(), &labels).unwrap()
                };
                prop_assert!(loss(1.0) <= loss(1.01) && loss(1.0) <= loss(0.99));
                // The slope vanishes: the difference is of second order.
                prop_assert!((loss(1.001) - loss(0.999)).abs() < 1e-7, "{}", loss(1.001) - loss(0.999));
                let p = fitted.probabilities(scores.view()).unwrap();
                prop_assert!(p.sum_axis(Axis(1)).iter().all(|s| (s - 1.0).abs() < 1e-14));
                let mean = (0..m).map(|i| -p[[i, labels[i]]].ln()).sum::<f64>() / m as f64;
                prop_assert!((mean - loss(1.0)).abs() < 1e-12);
                let doubled = Temperature::fit((2.0 * &scores).view(), &labels).unwrap();
                prop_assert!((doubled.get() - 2.0 * fitted.get()).abs() < 1e-12 * fitted.get());
            }
            Err(Error::NoTemperature { limit, .. }) => prop_assert_eq!(limit, f64::INFINITY),
            Err(other) => return Err(TestCaseError::fail(other.to_string())),
        }
    }

    #[test]
    fn expected_calibration_error_is_the_integral_of_the_gap(n in 1usize..30, spread in 0.2..4.0, seed: u64) {
        let residuals: Array2<f64> = normals(seed, (n, 1)) * spread;
        let calibration = Calibration::new(residuals.view(), Array2::ones((n, 1)).view()).unwrap();
        let steps = 20_000;
        let gap = |i: usize| {
            let p = (i as f64 + 0.5) / steps as f64;
            (calibration.coverage(p).unwrap() - p).abs()
        };
        let sum = (0..steps).map(gap).sum::<f64>() / steps as f64;
        prop_assert!((calibration.expected_error() - sum).abs() < 1e-4);
        prop_assert!((calibration.histogram(7).unwrap().sum() - 1.0).abs() < 1e-14);
    }
}

#[test]
fn generalized_and_plain_cross_validation_agree_where_samples_are_alike() {
    // Equal angles on a circle: every sample sees the others alike, so that the diagonal of A⁻¹ is constant.
    let n = 12;
    let angle = |i: usize, j: usize| (i as f64 - j as f64) / n as f64 * std::f64::consts::TAU;
    let gram = gram(Array2::from_shape_fn((n, n), |(i, j)| angle(i, j).cos().exp()));
    let evidence = Evidence::new(&gram, Ridge::Absolute(0.1), normals(5, (n, 2)).view()).unwrap();
    let residuals = evidence.leave_one_out().unwrap().residuals;
    let plain = (&residuals * &residuals).mean().unwrap();
    assert!((evidence.generalized_cross_validation() / plain - 1.0).abs() < 1e-10);
}

#[test]
fn samples_have_the_moments_of_their_law() {
    let covariance = array![[2.0, 1.0], [1.0, 1.5]];
    let law = Gaussian::new(array![[1.0], [-2.0]].view(), covariance.clone()).unwrap();
    let draws = 20_000;
    let columns: Vec<Array2<f64>> = (0..draws).map(|seed| law.sample(seed).unwrap()).collect();
    let views: Vec<_> = columns.iter().map(|c| c.view()).collect();
    let all = concatenate(Axis(1), &views).unwrap() - &law.mean();
    let second = all.dot(&all.t()) / draws as f64;
    let mean = all.mean_axis(Axis(1)).unwrap();
    for i in 0..2 {
        assert!(mean[i].abs() < 4.0 * (covariance[[i, i]] / draws as f64).sqrt());
        for j in 0..2 {
            let variance = covariance[[i, i]] * covariance[[j, j]] + covariance[[i, j]].powi(2);
            assert!((second[[i, j]] - covariance[[i, j]]).abs() < 4.0 * (variance / draws as f64).sqrt());
        }
    }
    assert_eq!(law.sample(3).unwrap(), law.sample(3).unwrap());
}

#[test]
fn draws_of_a_trained_ensemble_pass_through_the_targets() {
    // Test points of which the first are the train points: at infinite time the covariance there is zero.
    let (n, all) = (4, kernel(7, 12, 3));
    let ntk = kernel(7, 9, 4);
    let part = |a: &Array2<f64>, from: usize| a.slice(s![from.., ..n]).to_owned();
    let theta = Spectrum::new(&gram(ntk.slice(s![..n, ..n]).to_owned()), Ridge::None).unwrap();
    let flow = GradientFlow::new(&theta, LearningRate::new(1.0).unwrap(), LossScale::Sum);
    let y = normals(8, (n, 2));
    let ensemble = Ensemble::ntk(&flow, &gram(all.slice(s![..n, ..n]).to_owned()), y.view()).unwrap();
    let blocks = KernelBlock { nngp: Some(part(&all, 0)), ntk: Some(part(&ntk, 0)) };
    let law = ensemble.test(&blocks).unwrap().gaussian(Time::Infinite, all.view()).unwrap();
    assert_eq!(law.eigenvalues().iter().filter(|v| **v > 0.0).count(), 3);
    let draw = law.sample(1).unwrap();
    assert!(far(&draw.slice(s![..n, ..]).to_owned(), &y) < 1e-6);
    assert!(far(&draw, &law.mean()) > 0.1);
    // Train points alone: nothing is left to draw.
    let blocks = KernelBlock {
        nngp: Some(part(&all, 0).slice(s![..n, ..]).to_owned()),
        ntk: Some(part(&ntk, 0).slice(s![..n, ..]).to_owned()),
    };
    let law = ensemble.test(&blocks).unwrap().gaussian(Time::Infinite, all.slice(s![..n, ..n])).unwrap();
    assert!(far(&law.sample(1).unwrap(), &y) < 1e-6);
}

#[test]
fn intervals_of_the_right_width_cover_as_they_say() {
    let n = 10_000;
    let z = normals(11, (n, 1));
    let right = Calibration::new(z.view(), Array2::ones((n, 1)).view()).unwrap();
    for level in [0.1, 0.5, 0.9, 0.99] {
        let error = (level * (1.0 - level) / n as f64).sqrt();
        assert!((right.coverage(level).unwrap() - level).abs() < 4.0 * error);
    }
    // The transforms are uniform: the largest gap of the coverage to its level is that of Kolmogorov, 1.63/√n at 1%.
    assert!(right.expected_error() < 1.63 / (n as f64).sqrt());
    assert!(
        right.histogram(10).unwrap().iter().all(|share| (share - 0.1).abs() < 4.0 * (0.09 / n as f64).sqrt())
    );
    assert!((right.transforms().mean().unwrap() - 0.5).abs() < 4.0 / (12.0 * n as f64).sqrt());
    // Twice the standard deviation: what claims 68.27% holds 95.45%.
    let timid = Calibration::new(z.view(), Array2::from_elem((n, 1), 4.0).view()).unwrap();
    assert!((timid.coverage(0.682_689).unwrap() - 0.954_500).abs() < 4.0 * (0.045 / n as f64).sqrt());
    assert!(timid.mean_log_likelihood() < right.mean_log_likelihood());
}

#[test]
fn posterior_of_its_own_prior_is_calibrated() {
    // Targets drawn from the prior: leave-one-out predictions hold them as often as they say.
    let (n, outputs, ridge) = (40, 50, 0.1);
    let k = kernel(n, 60, 21);
    let law =
        Gaussian::new(Array2::zeros((n, outputs)).view(), k.clone()).unwrap().with_noise(ridge).unwrap();
    let evidence = Evidence::new(&gram(k), Ridge::Absolute(ridge), law.sample(1).unwrap().view()).unwrap();
    let calibration = evidence.leave_one_out().unwrap().calibration().unwrap();
    // Samples of one draw are dependent, outputs are not: 50 independent shares, each of variance 1/4 at most.
    assert!((calibration.coverage(0.5).unwrap() - 0.5).abs() < 4.0 * (0.25 / (n * outputs) as f64).sqrt());
    assert!(calibration.expected_error() < 0.05);
}

#[test]
fn bad_input_is_refused() {
    let nan = f64::NAN;
    let one = array![[1.0]];
    assert!(matches!(Gaussian::new(one.view(), Array2::zeros((0, 0))), Err(Error::Linalg(_))));
    assert!(matches!(Gaussian::new(one.view(), Array2::eye(2)), Err(Error::Targets { .. })));
    assert!(matches!(Gaussian::new(one.view(), array![[-1.0]]), Err(Error::NotPositiveSemidefinite { .. })));
    assert!(matches!(Gaussian::new(array![[nan]].view(), array![[1.0]]), Err(Error::NonFinite { .. })));
    let law = Gaussian::new(one.view(), array![[0.0]]).unwrap();
    assert_eq!(law.sample(1).unwrap(), one);
    assert!(matches!(law.clone().with_noise(nan), Err(Error::Setting { .. })));
    assert!(matches!(law.transport(Array2::zeros((2, 1)).view()), Err(Error::Shape { .. })));

    let singular = gram(Array2::ones((2, 2)));
    let y = Array2::ones((2, 1));
    assert!(matches!(
        Evidence::new(&singular, Ridge::None, y.view()),
        Err(Error::Singular { rank: 1, n: 2, .. })
    ));
    let indefinite = gram(array![[1.0, 2.0], [2.0, 1.0]]);
    let refused = Evidence::new(&indefinite, Ridge::None, y.view());
    assert!(matches!(refused, Err(Error::NotPositiveSemidefinite { .. })));
    let evidence = Evidence::new(&singular, Ridge::Absolute(1.0), y.view()).unwrap();
    assert!(matches!(evidence.gradient(Array2::zeros((1, 2)).view()), Err(Error::Shape { .. })));
    assert!(matches!(evidence.gradient(Array2::from_elem((2, 2), nan).view()), Err(Error::NonFinite { .. })));

    let none = Array2::zeros((0, 1));
    assert!(matches!(Calibration::new(none.view(), none.view()), Err(Error::Linalg(_))));
    assert!(matches!(Calibration::new(y.view(), one.view()), Err(Error::Shape { .. })));
    assert!(matches!(Calibration::new(one.view(), array![[0.0]].view()), Err(Error::Setting { .. })));
    let calibration = Calibration::new(one.view(), one.view()).unwrap();
    assert!(matches!(calibration.coverage(1.5), Err(Error::Setting { option: "level", .. })));
    assert!(matches!(calibration.histogram(0), Err(Error::Setting { option: "bins", .. })));

    for value in [0.0, -1.0, nan, f64::INFINITY] {
        assert!(matches!(Temperature::new(value), Err(Error::Setting { option: "temperature", .. })));
    }
    let scores = array![[1.0, 0.0], [0.0, 1.0]];
    let fit = |labels: &[usize]| Temperature::fit(scores.view(), labels);
    assert!(matches!(fit(&[0, 2]), Err(Error::Label { sample: 1, label: 2, classes: 2 })));
    assert!(matches!(fit(&[0]), Err(Error::Shape { .. })));
    assert!(matches!(one_hot(&[], 3), Err(Error::Linalg(_))));
    assert!(matches!(fit(&[0, 1]), Err(Error::NoTemperature { limit: 0.0, correct: 2, samples: 2 })));
    assert!(matches!(fit(&[1, 0]), Err(Error::NoTemperature { limit: f64::INFINITY, correct: 0, .. })));
    let level = Temperature::fit(Array2::zeros((2, 2)).view(), &[0, 1]);
    assert!(matches!(level, Err(Error::NoTemperature { limit: f64::INFINITY, .. })));
    let variances: Array1<f64> = Posterior::new(&singular, Ridge::Absolute(1.0), y.view())
        .unwrap()
        .variance(array![[1.0, 1.0]].view(), array![1.0].view())
        .unwrap();
    assert!((variances[0] - 1.0 / 3.0).abs() < 1e-14);
}
