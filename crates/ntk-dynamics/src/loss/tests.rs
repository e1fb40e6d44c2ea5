//! Gradients against differences of values, curvatures against differences of gradients.

use super::*;

fn losses() -> Vec<(&'static str, Box<dyn Loss>, bool)> {
    vec![
        ("squared", Box::new(Squared), false),
        ("cross-entropy", Box::new(CrossEntropy), false),
        ("logistic", Box::new(Logistic), true),
        ("huber", Box::new(Huber::new(0.7).unwrap()), false),
        ("squared hinge", Box::new(SquaredHinge), true),
        ("smooth hinge", Box::new(SmoothHinge::new(0.3).unwrap()), true),
    ]
}

/// What a loss without a curvature of its own gets.
struct Plain<'a>(&'a dyn Loss);

impl Loss for Plain<'_> {
    fn value(&self, f: &[f64], y: &[f64]) -> f64 {
        self.0.value(f, y)
    }
    fn gradient(&self, f: &[f64], y: &[f64], gradient: &mut [f64]) {
        self.0.gradient(f, y, gradient);
    }
}

#[test]
fn derivatives_are_those_of_the_value() {
    let f = [0.3, -1.2, 2.1];
    for (name, loss, labels) in losses() {
        let y = if labels { [1.0, -1.0, 1.0] } else { [0.2, 0.5, 0.3] };
        let mut gradient = [0.0; 3];
        loss.gradient(&f, &y, &mut gradient);
        for (j, g) in gradient.iter().enumerate() {
            let (mut up, mut down) = (f, f);
            up[j] += 1e-5;
            down[j] -= 1e-5;
            let difference = (loss.value(&up, &y) - loss.value(&down, &y)) / 2e-5;
            assert!((g - difference).abs() < 1e-9, "{name} {j}: {g} {difference}");
        }
        let direction = [0.7, -0.4, 1.1];
        let (mut exact, mut difference) = ([0.0; 3], [0.0; 3]);
        loss.curvature(&f, &y, &direction, &mut exact);
        Plain(&*loss).curvature(&f, &y, &direction, &mut difference);
        for (a, b) in exact.iter().zip(difference) {
            assert!((a - b).abs() < 1e-9, "{name}: {a} {b}");
        }
        Plain(&*loss).curvature(&f, &y, &[0.0; 3], &mut difference);
        assert_eq!(difference, [0.0; 3]);
    }
}

#[test]
fn values_by_hand() {
    let ln_2 = std::f64::consts::LN_2;
    assert!((CrossEntropy.value(&[1.0, 1.0], &[1.0, 0.0]) - ln_2).abs() < 1e-15);
    assert!((Logistic.value(&[0.0], &[-1.0]) - ln_2).abs() < 1e-15);
    assert_eq!(Huber::new(1.0).unwrap().value(&[3.0, 0.5], &[0.0, 0.0]), 2.5 + 0.125);
    assert_eq!(SquaredHinge.value(&[-1.0, 5.0], &[1.0, 1.0]), 2.0);
    assert!((SmoothHinge::new(0.5).unwrap().value(&[1.0], &[1.0]) - 0.5 * ln_2).abs() < 1e-15);
}

#[test]
fn huge_outputs_neither_overflow_nor_lose_small_losses() {
    for (name, loss, labels) in losses() {
        for size in [1e3, 1e8] {
            let y = if labels { [-1.0, 1.0] } else { [1.0, 0.0] };
            let mut gradient = [0.0; 2];
            loss.gradient(&[size, -size], &y, &mut gradient);
            let value = loss.value(&[size, -size], &y);
            assert!(value.is_finite() && gradient.iter().all(|g| g.is_finite()), "{name}");
        }
    }
    assert!((Logistic.value(&[50.0], &[1.0]) / (-50.0_f64).exp() - 1.0).abs() < 1e-15);
}

#[test]
fn parameters_are_positive() {
    for value in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(Huber::new(value), Err(Error::Setting { .. })));
        assert!(matches!(SmoothHinge::new(value), Err(Error::Setting { .. })));
    }
}
