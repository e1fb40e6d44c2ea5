//! Duals against 120-digit values, against each other and against the theorems that they obey.

// Reference values stand as they were printed, with 17 digits.
#![allow(clippy::unwrap_used, clippy::excessive_precision)]

use ntk_analytic::{Cov2, Dual, DualActivation, Error, FunctionDual, dual};
use ntk_core::{Activation, Parity};
use proptest::prelude::*;

/// A pair by its variances and signed gap.
fn pair(q11: f64, q22: f64, gap: f64) -> Cov2 {
    let q12 = ((1.0 - gap.abs()) * (q11 * q22).sqrt()).copysign(gap);
    Cov2 { q11, q22, q12: if q12 == 0.0 { f64::MIN_POSITIVE.copysign(gap) } else { q12 }, gap: gap.abs() }
}

fn at(phi: &Activation, q11: f64, q22: f64, gap: f64) -> Dual {
    dual(phi, pair(q11, q22, gap)).unwrap()
}

/// √(V₁₁V₂₂) and √(S₁₁S₂₂).
fn scales(phi: &Activation, q11: f64, q22: f64) -> (f64, f64) {
    let (a, b) = (at(phi, q11, q11, 0.0), at(phi, q22, q22, 0.0));
    ((a.value * b.value).sqrt(), (a.slope * b.slope).sqrt())
}

/// Activation, q₁₁, q₂₂, signed gap before, gap after: from closed forms with 120 digits (mpmath), the last two
/// activations from 460 and 170 Hermite coefficients with 30 digits (at 10⁻³⁰ from q E φ′²/E φ²).
#[rustfmt::skip]
const GAPS: &[(Activation, f64, f64, f64, f64)] = &[
    (Activation::Relu, 1.5, 1.5, 0.001, 9.9050935816979745e-4),
    (Activation::Relu, 1.5, 1.5, 1e-12, 9.9999969989456126e-13),
    (Activation::Relu, 1.5, 1.5, 1e-30, 9.9999999999999978e-31),
    (Activation::Relu, 1.5, 1.25, 1e-14, 9.9999996998945613e-15),
    (Activation::Relu, 0.75, 0.75, -1e-12, 1.0),
    (Activation::Abs, 1.5, 1.5, 0.001, 9.8101871633959488e-4),
    (Activation::Abs, 1.5, 1.5, 1e-12, 9.9999939978912254e-13),
    (Activation::Abs, 1.5, 1.5, 1e-30, 9.9999999999999948e-31),
    (Activation::Abs, 1.5, 1.25, 1e-14, 9.9999993997891226e-15),
    (Activation::Abs, 0.75, 0.75, -1e-12, 9.9999939978912254e-13),
    (Activation::AbRelu { a: -0.5, b: 2.0 }, 1.5, 1.5, 0.001, 9.8604317377911389e-4),
    (Activation::AbRelu { a: -0.5, b: 2.0 }, 1.5, 1.5, 1e-12, 9.9999955866847245e-13),
    (Activation::AbRelu { a: -0.5, b: 2.0 }, 1.5, 1.5, 1e-30, 9.9999999999999964e-31),
    (Activation::AbRelu { a: -0.5, b: 2.0 }, 1.5, 1.25, 1e-14, 9.9999995586684725e-15),
    (Activation::AbRelu { a: -0.5, b: 2.0 }, 0.75, 0.75, -1e-12, 5.2941176470635294e-1),
    (Activation::Step, 1.5, 1.5, 0.001, 1.4236437406239655e-2),
    (Activation::Step, 1.5, 1.5, 1e-12, 4.5015815807859054e-7),
    (Activation::Step, 1.5, 1.5, 1e-30, 4.5015815807855305e-16),
    (Activation::Step, 1.5, 1.25, 1e-14, 4.5015815807855341e-8),
    (Activation::Step, 0.75, 0.75, -1e-12, 9.9999954984184192e-1),
    (Activation::ERF, 1.5, 1.5, 0.001, 1.3361824489019381e-3),
    (Activation::ERF, 1.5, 1.5, 1e-12, 1.3370405859778024e-12),
    (Activation::ERF, 1.5, 1.5, 1e-30, 1.3370405859786621e-30),
    (Activation::ERF, 1.5, 1.25, 1e-14, 3.2985880074839981e-4),
    (Activation::ERF, 0.75, 0.75, -1e-12, 1.1654991572682992e-12),
    (Activation::SigmoidLike, 1.5, 1.5, 0.001, 1.8960023919066468e-4),
    (Activation::SigmoidLike, 1.5, 1.5, 1e-12, 1.8961279774417836e-13),
    (Activation::SigmoidLike, 1.5, 1.5, 1e-30, 1.8961279774419095e-31),
    (Activation::SigmoidLike, 1.5, 1.25, 1e-14, 3.20150193541021e-4),
    (Activation::SigmoidLike, 0.75, 0.75, -1e-12, 2.3369095708837518e-1),
    (Activation::Gelu, 1.5, 1.5, 0.001, 1.0662349808215058e-3),
    (Activation::Gelu, 1.5, 1.5, 1e-12, 1.0666240879971939e-12),
    (Activation::Gelu, 1.5, 1.5, 1e-30, 1.0666240879975834e-30),
    (Activation::Gelu, 1.5, 1.25, 1e-14, 1.6747304217193407e-4),
    (Activation::Gelu, 0.75, 0.75, -1e-12, 7.7080453680958408e-1),
    (Activation::SIN, 1.5, 1.5, 0.001, 1.6560627107080588e-3),
    (Activation::SIN, 1.5, 1.5, 1e-12, 1.6571870894726428e-12),
    (Activation::SIN, 1.5, 1.5, 1e-30, 1.657187089473768e-30),
    (Activation::SIN, 1.5, 1.25, 1e-14, 4.1702143158251212e-3),
    (Activation::SIN, 0.75, 0.75, -1e-12, 1.1808253751830211e-12),
    (Activation::COS, 1.5, 1.5, 0.001, 1.3565978894023121e-3),
    (Activation::COS, 1.5, 1.5, 1e-12, 1.3577223804661746e-12),
    (Activation::COS, 1.5, 1.5, 1e-30, 1.3577223804672998e-30),
    (Activation::COS, 1.5, 1.25, 1e-14, 6.7537570353002652e-3),
    (Activation::COS, 0.75, 0.75, -1e-12, 4.7636171429018423e-13),
    (Activation::Gaussian { a: 1.0, b: -1.0 }, 1.5, 1.5, 0.001, 1.2825996092478304e-3),
    (Activation::Gaussian { a: 1.0, b: -1.0 }, 1.5, 1.5, 1e-12, 1.2857142857111632e-12),
    (Activation::Gaussian { a: 1.0, b: -1.0 }, 1.5, 1.5, 1e-30, 1.2857142857142858e-30),
    (Activation::Gaussian { a: 1.0, b: -1.0 }, 1.5, 1.25, 1e-14, 1.4825837651787955e-3),
    (Activation::Gaussian { a: 1.0, b: -1.0 }, 0.75, 0.75, -1e-12, 5.6249999999924413e-13),
    (Activation::Gabor, 1.5, 1.5, 0.001, 5.6215949460655429e-3),
    (Activation::Gabor, 1.5, 1.5, 1e-12, 5.6463348451792903e-12),
    (Activation::Gabor, 1.5, 1.5, 1e-30, 5.6463348452041322e-30),
    (Activation::Gabor, 1.5, 1.25, 1e-14, 4.7156670293243959e-3),
    (Activation::Gabor, 0.75, 0.75, -1e-12, 3.0639066736087168e-12),
    (Activation::Exp { a: 1.0, b: 0.5 }, 1.5, 1.5, 0.001, 3.7492969628823859e-4),
    (Activation::Exp { a: 1.0, b: 0.5 }, 1.5, 1.5, 1e-12, 3.7499999999992968e-13),
    (Activation::Exp { a: 1.0, b: 0.5 }, 1.5, 1.5, 1e-30, 3.7500000000000003e-31),
    (Activation::Exp { a: 1.0, b: 0.5 }, 1.5, 1.25, 1e-14, 1.4223890037564784e-3),
    (Activation::Exp { a: 1.0, b: 0.5 }, 0.75, 0.75, -1e-12, 3.1271072120889893e-1),
    (Activation::Hermite { degree: 3 }, 1.5, 1.5, 0.001, 2.7117151428571429e-3),
    (Activation::Hermite { degree: 3 }, 1.5, 1.5, 1e-12, 2.7142857142831428e-12),
    (Activation::Hermite { degree: 3 }, 1.5, 1.5, 1e-30, 2.7142857142857145e-30),
    (Activation::Hermite { degree: 3 }, 1.5, 1.25, 1e-14, 1.0840428605229766e-2),
    (Activation::Hermite { degree: 3 }, 0.75, 0.75, -1e-12, 2.7142857142831428e-12),
    (Activation::Monomial { degree: 4 }, 1.5, 1.5, 0.001, 2.2836580569142858e-3),
    (Activation::Monomial { degree: 4 }, 1.5, 1.5, 1e-12, 2.2857142857122285e-12),
    (Activation::Monomial { degree: 4 }, 1.5, 1.5, 1e-30, 2.2857142857142859e-30),
    (Activation::Monomial { degree: 4 }, 1.5, 1.25, 1e-14, 2.2857142857142651e-14),
    (Activation::Monomial { degree: 4 }, 0.75, 0.75, -1e-12, 2.2857142857122285e-12),
    (Activation::RectifiedMonomial { degree: 3 }, 1.5, 1.5, 0.001, 1.7988003973969104e-3),
    (Activation::RectifiedMonomial { degree: 3 }, 1.5, 1.5, 1e-12, 1.7999999999988e-12),
    (Activation::RectifiedMonomial { degree: 3 }, 1.5, 1.5, 1e-30, 1.8000000000000002e-30),
    (Activation::RectifiedMonomial { degree: 3 }, 1.5, 1.25, 1e-14, 1.799999999999988e-14),
    (Activation::RectifiedMonomial { degree: 3 }, 0.75, 0.75, -1e-12, 1.0),
    (Activation::Tanh, 1.5, 1.5, 0.001, 1.2641758432103265e-3),
    (Activation::Tanh, 1.5, 1.5, 1e-12, 1.2648287124933292e-12),
    (Activation::Tanh, 1.5, 1.5, 1e-30, 1.2648287124939832e-30),
    (Activation::Tanh, 1.5, 1.25, 1e-14, 2.6539748925932417e-4),
    (Activation::Tanh, 0.75, 0.75, -1e-12, 1.131060382688604e-12),
    (Activation::Softplus, 1.5, 1.5, 0.001, 4.0072651389557776e-4),
    (Activation::Softplus, 1.5, 1.5, 1e-12, 4.0076599534139951e-13),
    (Activation::Softplus, 1.5, 1.5, 1e-30, 4.0076599534143901e-31),
    (Activation::Softplus, 1.5, 1.25, 1e-14, 5.7631507928306735e-4),
    (Activation::Softplus, 0.75, 0.75, -1e-12, 4.6380344539452498e-1),
];

#[test]
fn gaps_agree_with_120_digits() {
    for (phi, q11, q22, before, after) in GAPS {
        let error = (at(phi, *q11, *q22, *before).gap - after).abs() / after;
        // Where the variances differ, rounding of their difference enters; a slope sees the square root of the gap.
        let tolerance = if q11 == q22 { 2e-12 } else { 1e-10 };
        assert!(error < tolerance, "{} at ({q11}, {q22}, {before:e}): {error:e}", phi.name());
    }
}

/// Network, K₀₁ and Θ₀₁ of dense–φ–dense with σ_w = 1.5, σ_b = 0.3 for the inputs (1, 0.5) and (−0.3, 0.8), to 12 digits
/// by neural-tangents.
const ONE_HIDDEN_LAYER: &[(Activation, f64, f64)] = &[
    (Activation::Relu, 0.628351719307, 0.754897564913),
    (Activation::LeakyRelu { alpha: 0.1 }, 0.571627392639, 0.719692027579),
    (Activation::AbRelu { a: -0.5, b: 2.0 }, 2.99907324567, 3.3343597807),
    (Activation::Abs, 1.78778187723, 1.83834025965),
    (Activation::Sign, 0.339671024303, 0.339671024303),
    (Activation::ERF, 0.263235728672, 0.437321057223),
    (Activation::Erf { a: 2.0, b: 0.5, c: 0.3 }, 0.656413955485, 1.02081806321),
    (Activation::SigmoidLike, 0.670288386922, 0.688091419607),
    (Activation::Gelu, 0.434624172456, 0.562927866053),
    (Activation::SIN, 0.227654257399, 0.367184952716),
    (Activation::Sin { a: 2.0, b: 0.5, c: 0.3 }, 0.980375917203, 1.29003087266),
    (Activation::COS, 0.779040470702, 0.806915457825),
    (Activation::Rbf { gamma: 0.7 }, 0.643873042431, 0.800896049961),
    (Activation::Exp { a: 0.5, b: 0.4 }, 0.794431527858, 0.817255109361),
    (Activation::Gaussian { a: 1.0, b: -1.0 }, 0.765191591697, 0.77516459783),
    (Activation::Gaussian { a: 0.5, b: -0.3 }, 0.419145394605, 0.420809078647),
    (Activation::ExpNormalized { gamma: 1.0, shift: -1.0 }, 1.23954268864, 1.43889867379),
    (Activation::Gabor, 0.0987066148746, 0.107839491369),
    (Activation::Monomial { degree: 2 }, 3.34230820313, 3.71136445313),
    (Activation::Monomial { degree: 3 }, 5.79313002832, 11.7204617285),
    (Activation::Monomial { degree: 5 }, 206.044723559, 442.936146021),
    (Activation::RectifiedMonomial { degree: 0 }, 0.714917756076, 0.714917756076),
    (Activation::RectifiedMonomial { degree: 2 }, 1.24347213244, 1.67953702507),
];

#[test]
fn one_hidden_layer_agrees_with_neural_tangents() {
    let (w, b) = (2.25, 0.09);
    let k = |x: [f64; 2], y: [f64; 2]| w * (x[0] * y[0] + x[1] * y[1]) / 2.0 + b;
    let (x, y) = ([1.0, 0.5], [-0.3, 0.8]);
    let cov = Cov2::new(k(x, x), k(y, y), k(x, y)).unwrap();
    let cubic = Activation::Polynomial { coefficients: vec![0.1, 1.0, 0.5, -0.2] };
    for (phi, nngp, ntk) in ONE_HIDDEN_LAYER.iter().cloned().chain([(cubic, 1.22202068941, 1.34885270742)]) {
        let found = dual(&phi, cov).unwrap();
        let here = w * found.value + b;
        assert!((here / nngp - 1.0).abs() < 1e-11, "{}: K = {here}, not {nngp}", phi.name());
        let here = here + w * found.slope * cov.q12;
        assert!((here / ntk - 1.0).abs() < 1e-11, "{}: Θ = {here}, not {ntk}", phi.name());
    }
}

/// Every activation that is a function, with parameters that leave no symmetry.
fn activations() -> Vec<Activation> {
    vec![
        Activation::Relu,
        Activation::LeakyRelu { alpha: 0.2 },
        Activation::Abs,
        Activation::AbRelu { a: -0.4, b: 1.3 },
        Activation::Step,
        Activation::Sign,
        Activation::ERF,
        Activation::Erf { a: 1.2, b: 0.7, c: 0.3 },
        Activation::SigmoidLike,
        Activation::Gelu,
        Activation::SIN,
        Activation::Sin { a: 1.1, b: 0.6, c: 0.4 },
        Activation::COS,
        Activation::Cos { a: 1.1, b: 0.6, c: 0.4 },
        Activation::Rbf { gamma: 0.3 },
        Activation::Exp { a: 0.7, b: 0.4 },
        Activation::Gaussian { a: 1.3, b: -0.4 },
        Activation::Gaussian { a: 1.3, b: 0.02 },
        Activation::Gabor,
        Activation::Hermite { degree: 4 },
        Activation::Monomial { degree: 3 },
        Activation::Polynomial { coefficients: vec![0.1, 1.0, 0.5, -0.2] },
        Activation::RectifiedMonomial { degree: 3 },
        Activation::Tanh,
        Activation::Sigmoid,
        Activation::Softplus,
        Activation::Silu,
        Activation::Mish,
        Activation::ELU,
        Activation::Selu,
        Activation::HardTanh,
        Activation::HardSigmoid,
        Activation::Relu6,
    ]
}

/// φ as a closure, so that nothing is known of it but values, derivatives and kinks.
fn as_function(phi: &Activation) -> FunctionDual {
    let (f, df) = (phi.clone(), phi.clone());
    FunctionDual::new(phi.name(), move |x| f.eval(x).unwrap())
        .kinks(phi.kinks())
        .derivative(move |x| df.derivative(x).unwrap())
}

fn variance() -> impl Strategy<Value = f64> {
    prop_oneof![(-3.0..1.0f64).prop_map(|e| 10f64.powf(e)), Just(1.0)]
}

fn signed_gap() -> impl Strategy<Value = f64> {
    (prop_oneof![0.0..1.0f64, (-12.0..0.0f64).prop_map(|e| 10f64.powf(e))], any::<bool>())
        .prop_map(|(gap, negative)| if negative { -gap } else { gap })
}

proptest! {
    #![proptest_config(ntk_testkit::cases(4))]

    #[test]
    fn every_dual_equals_quadrature(q11 in variance(), other in variance(), equal: bool, gap in signed_gap()) {
        let q22 = if equal { q11 } else { other };
        for phi in activations() {
            let (value, slope) = scales(&phi, q11, q22);
            let (ours, theirs) = (at(&phi, q11, q22, gap), as_function(&phi).dual(pair(q11, q22, gap)));
            let name = phi.name();
            prop_assert!((ours.value - theirs.value).abs() <= 2e-11 * value, "{name}: value {ours:?} {theirs:?}");
            prop_assert!((ours.slope - theirs.slope).abs() <= 2e-11 * slope, "{name}: slope {ours:?} {theirs:?}");
            let error = (ours.gap - theirs.gap).abs();
            prop_assert!(error <= 1e-10 * theirs.gap.sqrt(), "{name}: gap {ours:?} {theirs:?}");
        }
    }

    #[test]
    fn dual_slope_is_derivative_of_dual(q11 in variance(), q22 in variance(), rho in -0.9..0.9f64) {
        for phi in activations() {
            // The slope of a step is 0 by convention, the derivative of its dual is not.
            if matches!(phi, Activation::Step | Activation::Sign) {
                continue;
            }
            let root = (q11 * q22).sqrt();
            let value = |rho: f64| dual(&phi, Cov2::new(q11, q22, rho * root).unwrap()).unwrap().value;
            let h = 2e-3;
            let difference =
                (8.0 * (value(rho + h) - value(rho - h)) - (value(rho + 2.0 * h) - value(rho - 2.0 * h))) / (12.0 * h);
            let slope = dual(&phi, Cov2::new(q11, q22, rho * root).unwrap()).unwrap().slope;
            let scale = scales(&phi, q11, q22);
            let error = (difference - slope * root).abs() / scale.0.max(scale.1 * root);
            prop_assert!(error < 1e-6, "{}: {difference} {}", phi.name(), slope * root);
        }
    }

    #[test]
    fn correlation_of_the_output_is_within_one(q11 in variance(), q22 in variance(), gap in signed_gap()) {
        for phi in activations() {
            let (found, (value, slope)) = (at(&phi, q11, q22, gap), scales(&phi, q11, q22));
            prop_assert!((0.0..=1.0).contains(&found.gap), "{}", phi.name());
            let naive = 1.0 - found.value.abs() / value;
            prop_assert!((found.gap - naive).abs() < 1e-14, "{}: {} {naive}", phi.name(), found.gap);
            prop_assert!(found.slope.abs() <= slope * (1.0 + 1e-11), "{}: {} {slope}", phi.name(), found.slope);
        }
    }

    #[test]
    fn dual_is_symmetric(q11 in variance(), q22 in variance(), gap in signed_gap()) {
        for phi in activations() {
            let (a, b) = (at(&phi, q11, q22, gap), at(&phi, q22, q11, gap));
            let (value, slope) = scales(&phi, q11, q22);
            prop_assert!((a.value - b.value).abs() <= 1e-11 * value, "{}", phi.name());
            prop_assert!((a.slope - b.slope).abs() <= 1e-11 * slope, "{}", phi.name());
        }
    }
}

#[test]
fn identical_samples_keep_correlation_one_and_opposite_ones_follow_parity() {
    for phi in activations() {
        for q in [1e-300, 1e-12, 0.3, 1.0, 11.0] {
            let same = at(&phi, q, q, 0.0);
            if same.value == 0.0 {
                continue; // φ(u)² underflows
            }
            assert_eq!(same.gap, 0.0, "{} at {q}", phi.name());
            let opposite = at(&phi, q, q, -0.0);
            let expected = match phi.parity() {
                Parity::Even => same.value,
                Parity::Odd => -same.value,
                Parity::Neither => continue,
            };
            assert!((opposite.gap, opposite.value) == (0.0, expected), "{} at {q}: {opposite:?}", phi.name());
        }
    }
}

#[test]
fn a_sample_of_variance_zero_is_a_constant() {
    for phi in activations() {
        // Against 1e-14, which any continuous φ cannot tell from 0 at the accuracy asked for.
        let (zero, constant) = (Cov2::new(0.0, 0.7, 0.0).unwrap(), phi.eval(0.0).unwrap());
        let found = dual(&phi, zero).unwrap();
        let both = dual(&phi, Cov2::new(0.0, 0.0, 0.0).unwrap()).unwrap();
        assert!((both.value - constant * constant).abs() < 1e-15, "{}: {both:?}", phi.name());
        if matches!(phi, Activation::Step | Activation::Sign) {
            continue;
        }
        let near = at(&phi, 1e-20, 0.7, 1.0);
        let scale = at(&phi, 0.7, 0.7, 0.0).value.sqrt();
        assert!((found.value - near.value).abs() < 1e-9 * scale, "{}: {found:?} {near:?}", phi.name());
        assert!(found.slope.is_finite(), "{}", phi.name());
    }
}

#[test]
fn a_function_known_by_its_values_has_the_same_dual() {
    // No derivative given: differences of φ, on the right side of each kink.
    for phi in [Activation::Tanh, Activation::Silu, Activation::ELU, Activation::HardTanh] {
        let f = phi.clone();
        let function = FunctionDual::new(phi.name(), move |x| f.eval(x).unwrap()).kinks(phi.kinks());
        let (ours, theirs) = (at(&phi, 0.8, 1.3, 0.2), function.dual(pair(0.8, 1.3, 0.2)));
        assert!((ours.value - theirs.value).abs() < 1e-12, "{}", phi.name());
        assert!((ours.slope - theirs.slope).abs() < 1e-10, "{}: {} {}", phi.name(), ours.slope, theirs.slope);
    }
}

#[test]
fn large_variances_approach_the_scaled_limit() {
    // tanh, erf and the hard tanh become the sign. Their duals see the odd transition, of width 1/√q, twice: rate 1/q.
    for phi in [Activation::Tanh, Activation::ERF, Activation::HardTanh] {
        let sign = at(&Activation::Sign, 1.0, 1.0, 0.3).value;
        let error = |q: f64| (at(&phi, q, q, 0.3).value - sign).abs();
        let rate = (error(1e6) / error(1e4)).ln() / 100f64.ln();
        assert!((rate + 1.0).abs() < 0.02, "{}: {rate}", phi.name());
    }
}

#[test]
fn what_does_not_exist_is_an_error() {
    let unit = |q| Cov2::new(q, q, 0.0).unwrap();
    let refused = |phi: &Activation, q: f64| {
        let error = dual(phi, unit(q)).unwrap_err();
        assert!(matches!(error, Error::Expectation { .. }), "{}: {error}", phi.name());
    };
    refused(&Activation::Gaussian { a: 1.0, b: 1.0 }, 0.25);
    refused(&Activation::Gaussian { a: 1.0, b: 1.0 }, 0.6);
    refused(&Activation::Exp { a: 1.0, b: 1.0 }, 400.0);
    refused(&Activation::Monomial { degree: 200 }, 1.0);
    refused(&Activation::RectifiedMonomial { degree: 400 }, 1.0);
    refused(&Activation::ERF, 1e200);
    let unknown = Activation::Custom { name: "mine".to_owned(), parameters: vec![] };
    assert!(matches!(dual(&unknown, unit(1.0)), Err(Error::UnknownActivation { .. })));
    for (q11, q22, q12) in
        [(1.0, 1.0, 1.1), (-1.0, 1.0, 0.0), (f64::NAN, 1.0, 0.0), (0.0, 1.0, 0.5), (1.0, f64::INFINITY, 0.0)]
    {
        assert!(matches!(Cov2::new(q11, q22, q12), Err(Error::NotCovariance { .. })), "{q11} {q22} {q12}");
    }
    let wrong = Cov2 { q11: 1.0, q22: 1.0, q12: 0.5, gap: f64::NAN };
    assert!(matches!(dual(&Activation::Relu, wrong), Err(Error::NotCovariance { .. })));
}

#[test]
fn gap_of_doubles_is_exact() {
    // 1 − ρ for ρ² = q₁₂²/(q₁₁q₂₂) with 120 digits (mpmath) from the doubles.
    for (q11, q22, q12, gap) in GAPS_OF_DOUBLES {
        let found = Cov2::new(*q11, *q22, *q12).unwrap().gap;
        assert!((found - gap).abs() <= 4e-16 * gap.max(1e-18), "{q11} {q22} {q12}: {found:e} {gap:e}");
    }
}

#[rustfmt::skip]
const GAPS_OF_DOUBLES: &[(f64, f64, f64, f64)] = &[
    (0.5, 2.3, 1.0723805293691229, 9.999987500477994e-11),
    (3.7, 0.2, 0.8602325267, 4.9552490779123174e-12),
    (1.0, 1.0, 0.9999999999999999, 1.1102230246251565e-16),
    (1.0, 1.0, -0.3, 7.0000000000000001e-1),
    (1e-200, 3e-200, 1.7320508075688e-200, 4.456894752529514e-14),
    (7e250, 1e-40, 2.645751311e105, 2.441296016781195e-11),
];
