//! Activations, from the tame to all that have a function.

use ntk_core::Activation;
use proptest::prelude::*;

/// Positively homogeneous of degree 1: φ(cx) = cφ(x) for c > 0.
pub fn homogeneous_activation() -> impl Strategy<Value = Activation> + Clone {
    let slope = || -1.5..1.5f64;
    prop_oneof![
        Just(Activation::Relu),
        slope().prop_map(|alpha| Activation::LeakyRelu { alpha }),
        Just(Activation::Abs),
        (slope(), 0.5..1.5f64).prop_map(|(a, b)| Activation::AbRelu { a, b }),
    ]
}

/// Analytic on the whole line.
pub fn smooth_activation() -> impl Strategy<Value = Activation> + Clone {
    prop_oneof![4 => tame_smooth(), 1 => growing_smooth()]
}

/// Of at most linear growth, so that deep networks of them stay in range whatever their variances.
pub fn tame_activation() -> impl Strategy<Value = Activation> + Clone {
    prop_oneof![homogeneous_activation(), tame_smooth(), tame_with_kinks()]
}

/// Every activation that has a function, parameters included.
pub fn activation() -> impl Strategy<Value = Activation> + Clone {
    let rectified = (2u32..5).prop_map(|degree| Activation::RectifiedMonomial { degree });
    prop_oneof![
        homogeneous_activation(),
        smooth_activation(),
        prop_oneof![4 => tame_with_kinks(), 1 => rectified]
    ]
}

fn tame_smooth() -> impl Strategy<Value = Activation> + Clone {
    let (factor, rate, shift) = (0.5..1.5f64, 0.5..1.5f64, -1.0..1.0f64);
    let three = (factor.clone(), rate, prop_oneof![Just(0.0), shift]);
    prop_oneof![
        three.clone().prop_map(|(a, b, c)| Activation::Erf { a, b, c }),
        Just(Activation::SigmoidLike),
        Just(Activation::Gelu),
        three.clone().prop_map(|(a, b, c)| Activation::Sin { a, b, c }),
        three.prop_map(|(a, b, c)| Activation::Cos { a, b, c }),
        (0.1..1.0f64).prop_map(|gamma| Activation::Rbf { gamma }),
        (factor, -1.5..-0.1f64).prop_map(|(a, b)| Activation::Gaussian { a, b }),
        Just(Activation::Gabor),
        Just(Activation::Tanh),
        Just(Activation::Sigmoid),
        Just(Activation::Softplus),
        Just(Activation::Silu),
        Just(Activation::Mish),
    ]
}

fn growing_smooth() -> impl Strategy<Value = Activation> + Clone {
    prop_oneof![
        (0.5..1.5f64, -0.5..0.5f64).prop_map(|(a, b)| Activation::Exp { a, b }),
        (0u32..6).prop_map(|degree| Activation::Hermite { degree }),
        (0u32..5).prop_map(|degree| Activation::Monomial { degree }),
        prop::collection::vec(-1.0..1.0f64, 1..5)
            .prop_map(|coefficients| Activation::Polynomial { coefficients }),
    ]
}

fn tame_with_kinks() -> impl Strategy<Value = Activation> + Clone {
    prop_oneof![
        Just(Activation::Step),
        Just(Activation::Sign),
        (0u32..2).prop_map(|degree| Activation::RectifiedMonomial { degree }),
        (0.2..1.5f64).prop_map(|alpha| Activation::Elu { alpha }),
        Just(Activation::Selu),
        Just(Activation::HardTanh),
        Just(Activation::HardSigmoid),
        Just(Activation::Relu6),
    ]
}
