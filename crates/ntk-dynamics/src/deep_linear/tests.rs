//! Values of the limit from independent programs and from equations on paper; what no public call shows.

use ndarray::{Array2, array};

use super::operators::Operators;
use super::vector::dot;
use super::*;
use crate::{LearningRate, Time};

const LAZY: Basis = Basis::Lazy;

fn risk() -> Risk {
    Risk::new(array![[1.0, 0.3], [0.3, 0.6]], array![[1.2], [-0.7]]).unwrap()
}

fn limit(middle: usize, basis: Basis) -> Limit {
    Limit::new(&risk(), &Architecture::new(middle).unwrap(), basis).unwrap()
}

fn rate(eta: f64) -> LearningRate {
    LearningRate::new(eta).unwrap()
}

fn close(network: &Limit, expected: [f64; 2], tolerance: f64) {
    let got = network.predictor();
    let error = (got[[0, 0]] - expected[0]).abs().max((got[[1, 0]] - expected[1]).abs());
    assert!(error < tolerance, "{got} should be {expected:?}, off by {error:e}");
}

/// Predictors of an independent program, to ten digits.
#[test]
fn descent_gives_the_golden_values() {
    for (middle, steps, expected) in [
        (0, 5, [0.706_601_418_6, -0.143_096_627_8]),
        (0, 25, [1.179_018_782_1, -0.654_060_967_4]),
        (1, 1, [0.297, -0.018]),
        (1, 2, [0.520_748_340_4, -0.061_733_468_5]),
        (1, 5, [0.936_141_949_7, -0.275_644_292_6]),
        (1, 25, [1.199_301_214_6, -0.698_280_583_7]),
        (2, 2, [0.675_492_466_9, -0.097_840_788_4]),
    ] {
        let mut network = limit(middle, LAZY);
        network.descend(rate(0.1), steps).unwrap();
        close(&network, expected, 1e-10);
    }
}

/// Likewise, to the unit of their last digit; both representations give one flow.
#[test]
fn flow_gives_the_golden_values() {
    for (middle, time, expected) in [
        (0, 1.0, [0.969_660_77, -0.348_718_59]),
        (1, 0.5, [0.893_056_27, -0.275_256_61]),
        (1, 1.0, [1.127_922_39, -0.547_892_15]),
    ] {
        let run = |basis| {
            let mut network = limit(middle, basis);
            let work = network.flow(time, 1e-11).unwrap();
            assert!(work.error < 3e-9 && work.accepted > 5, "{work:?}");
            close(&network, expected, 1e-8);
            network.predictor().to_owned()
        };
        let difference = run(LAZY) - run(Basis::Walks { length: 12 });
        assert!(difference.iter().all(|x| x.abs() < 1e-10), "{difference}");
    }
}

/// With r = 1 at all times feature time is time.
#[test]
fn feature_responses_have_their_golden_values() {
    let f = |middle, s| feature_response(middle, s).unwrap();
    assert!((f(1, 0.1) - 0.308_123_541_055).abs() < 1e-12);
    assert!((f(1, 0.4) - 1.867_250_75).abs() < 1e-8);
    assert_eq!(f(1, -0.4), -f(1, 0.4));
    assert_eq!(f(1, 0.0), 0.0);
    assert_eq!(f(0, 0.3), 0.6f64.sinh());
    assert!(feature_response(1, 40.0).is_err() && feature_response(0, 1e3).is_err());
    assert!(feature_response(2, 0.1).is_err() && feature_response(0, f64::NAN).is_err());
}

/// β of flow at the time at which feature time is s, ∫ ds/r by Simpson's rule.
#[test]
fn one_input_obeys_the_equation_on_paper() {
    let (moment, target, s) = (0.8, -1.3, 0.25);
    let risk = Risk::new(array![[moment]], array![[target]]).unwrap();
    for middle in [0, 1] {
        let panels = 400;
        let rule = |i| if i == 0 || i == panels { 1.0 } else { 2.0 + 2.0 * f64::from(i % 2) };
        let f = |i: i32| feature_response(middle, s * f64::from(i) / f64::from(panels)).unwrap();
        let inverse = |i| rule(i) / (moment * (target.abs() - f(i)));
        let time = (0..=panels).map(inverse).sum::<f64>() * s / (3.0 * f64::from(panels));
        let mut network = Limit::new(&risk, &Architecture::new(middle).unwrap(), LAZY).unwrap();
        network.flow(time, 1e-11).unwrap();
        let got = network.predictor()[[0, 0]];
        assert!((got + f(panels)).abs() < 1e-9, "q = {middle}: {got} and {}", -f(panels));
        if middle == 0 {
            let closed = shallow_flow(moment, target, Time::Finite(time)).unwrap();
            assert!((got - closed).abs() < 1e-9, "{got} and {closed}");
        }
    }
}

#[test]
fn shallow_flow_has_its_limits() {
    let at = |target, t| shallow_flow(0.5, target, Time::Finite(t)).unwrap();
    assert_eq!(at(3.0, 0.0), 0.0);
    assert_eq!(at(3.0, 1e6), 3.0);
    assert_eq!(at(0.0, 2.0), 0.0);
    assert_eq!(at(-3.0, 0.2), -at(3.0, 0.2));
    // Linear where the target is small: β = b (1 − e^{−2St}).
    assert!((at(1e-9, 0.7) / (1e-9 * -(-0.7f64).exp_m1()) - 1.0).abs() < 1e-8);
    assert_eq!(shallow_flow(0.0, 1.0, Time::Infinite).unwrap(), 0.0);
    for (moment, target, t) in
        [(-1.0, 1.0, 1.0), (f64::NAN, 1.0, 1.0), (1.0, f64::INFINITY, 1.0), (1.0, 1.0, -1.0)]
    {
        assert!(shallow_flow(moment, target, Time::Finite(t)).is_err());
    }
}

/// ⟨y, Λx⟩ = ⟨Λᵀy, x⟩ after products that know each other, and norms as for a wide matrix.
#[test]
fn lazy_operators_have_adjoints() {
    let architecture = Architecture::new(2).unwrap().with_widths(&[1.0, 2.0, 0.5]).unwrap();
    let risk = Risk::new(Array2::eye(3), array![[1.0], [2.0], [-1.0]]).unwrap();
    let mut network = Limit::new(&risk, &architecture, LAZY).unwrap();
    network.descend(rate(0.05), 6).unwrap();
    let operators: &mut Operators = &mut network.operators;
    for at in 0..2 {
        let x: Vec<f64> = (0..operators.dimensions()[at]).map(|i| (i as f64 + 1.0).sin()).collect();
        let y: Vec<f64> = (0..operators.dimensions()[at + 1]).map(|i| (i as f64 + 0.5).cos()).collect();
        let (forward, backward) = (operators.apply(at, &x), operators.apply_transposed(at, &y));
        let [left, right] = [dot(&y, &forward), dot(&backward, &x)];
        assert!((left - right).abs() < 1e-12, "{left} and {right}");
        assert!((dot(&operators.apply(at, &x), &forward) - dot(&forward, &forward)).abs() < 1e-12);
    }
}

#[test]
fn coordinates_stop_to_grow() {
    let mut network = limit(3, LAZY);
    network.descend(rate(0.1), 400).unwrap();
    assert!(network.dimensions().iter().all(|&d| d < 110), "{:?}", network.dimensions());
    assert!(network.loss().unwrap() < 1e-28);
}
