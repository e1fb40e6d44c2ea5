//! Activations are what they say: derivative, parity, kinks, and numbers for every finite argument.

use ntk_core::{Activation, Parity};
use ntk_testkit::strategies;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ntk_testkit::cases(256))]

    #[test]
    fn derivative_equals_central_difference(phi in strategies::activation(), x in -4.0..4.0f64) {
        let away = phi.kinks().iter().all(|kink| (x - kink).abs() > 2e-3);
        prop_assume!(away);
        // Two steps and Richardson: the error is of order h⁴ φ⁽⁵⁾, near 1e-8 for the steepest of them.
        let slope = |h: f64| Some((phi.eval(x + h)? - phi.eval(x - h)?) / (2.0 * h));
        let (coarse, fine) = (slope(1e-3).unwrap(), slope(5e-4).unwrap());
        let expected = (4.0 * fine - coarse) / 3.0;
        let got = phi.derivative(x).unwrap();
        prop_assert!((got - expected).abs() < 1e-7 * (1.0 + got.abs()), "{phi} at {x}: {got} and {expected}");
    }

    #[test]
    fn derivative_at_a_kink_is_the_mean_of_both_sides(phi in strategies::activation()) {
        for &kink in phi.kinks() {
            let (below, above) = (phi.derivative(kink - 1e-9).unwrap(), phi.derivative(kink + 1e-9).unwrap());
            let got = phi.derivative(kink).unwrap();
            prop_assert!((got - 0.5 * (below + above)).abs() < 1e-7, "{phi}: {below}, {got}, {above}");
        }
    }

    #[test]
    fn parity_is_what_it_says(phi in strategies::activation(), x in -4.0..4.0f64) {
        let (right, left) = (phi.eval(x).unwrap(), phi.eval(-x).unwrap());
        match phi.parity() {
            Parity::Even => prop_assert_eq!(left, right),
            Parity::Odd => prop_assert_eq!(left, -right),
            Parity::Neither => {}
        }
    }

    #[test]
    fn no_finite_argument_gives_nan(
        phi in strategies::activation(),
        degree in 0u32..40,
        size in -300.0..300.0f64,
        sign in prop_oneof![Just(-1.0), Just(1.0)],
    ) {
        let zero = Activation::Gaussian { a: 0.0, b: 1.0 };
        let steep = Activation::Gaussian { a: 1e10, b: -1e10 };
        for phi in [phi, Activation::Hermite { degree }, Activation::Monomial { degree }, zero, steep] {
            for x in [sign * 10f64.powf(size), sign * 1e300, 0.0] {
                let (value, slope) = (phi.eval(x).unwrap(), phi.derivative(x).unwrap());
                prop_assert!(!value.is_nan() && !slope.is_nan(), "{phi} at {x}: {value}, {slope}");
            }
        }
    }
}

/// What holds in both tails, at arguments where exponentials underflow or overflow.
#[test]
fn tails_are_exact() {
    use Activation as A;
    let cases = [
        (A::Softplus, -800.0, 0.0),
        (A::Softplus, 800.0, 800.0),
        (A::Softplus, -40.0, 4.248354255291589e-18),
        (A::Sigmoid, -800.0, 0.0),
        (A::Sigmoid, -40.0, 4.248354255291589e-18),
        (A::Silu, -1e300, 0.0),
        (A::Mish, -1e300, 0.0),
        (A::Mish, 1e300, 1e300),
        (A::Gelu, -1e300, 0.0),
        (A::Gelu, 1e300, 1e300),
        // −10 Φ(−10), which x − x Φ(−x) would lose.
        (A::Gelu, -10.0, -7.61985302416052e-23),
        (A::ELU, -1e300, -1.0),
        (A::ELU, 1e300, 1e300),
        (A::Gabor, 1e300, 0.0),
    ];
    for (phi, x, expected) in cases {
        let got = phi.eval(x).unwrap();
        assert!((got - expected).abs() <= 1e-14 * expected.abs(), "{phi} at {x}: {got:e}, not {expected:e}");
    }
}

#[test]
fn parities_of_special_parameters() {
    use Activation as A;
    for (phi, parity) in [
        (A::AbRelu { a: 2.0, b: 2.0 }, Parity::Odd),
        (A::AbRelu { a: -2.0, b: 2.0 }, Parity::Even),
        (A::LeakyRelu { alpha: -1.0 }, Parity::Even),
        (A::LeakyRelu { alpha: 1.0 }, Parity::Odd),
        (A::LeakyRelu { alpha: 0.5 }, Parity::Neither),
        (A::SIN, Parity::Odd),
        (A::COS, Parity::Even),
        (A::Sin { a: 1.0, b: 2.0, c: 0.1 }, Parity::Neither),
        (A::Polynomial { coefficients: vec![0.0, 1.0, 0.0, 2.0] }, Parity::Odd),
        (A::Polynomial { coefficients: vec![1.0, 0.0, 2.0] }, Parity::Even),
        (A::Polynomial { coefficients: vec![1.0, 1.0] }, Parity::Neither),
        (A::Hermite { degree: 3 }, Parity::Odd),
        (A::ExpNormalized { gamma: 1.0, shift: -1.0 }, Parity::Neither),
    ] {
        assert_eq!(phi.parity(), parity, "{phi}");
    }
}
