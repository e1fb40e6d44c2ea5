//! Numbers by hand, of the literature and of the kernels themselves.

use ndarray::Array2;
use ntk_core::{KernelFn, Net, Which};

use super::*;
use crate::Analytic;

fn field(phi: &Activation, weight: f64, bias: f64) -> MeanField {
    MeanField::new(phi, Variance::new(weight).unwrap(), Variance::new(bias).unwrap()).unwrap()
}

fn near(found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance * expected.abs().max(1e-300), "{found} against {expected}");
}

#[test]
fn expectations_of_lines_and_sines_by_hand() {
    let relu = field(&Activation::Relu, 1.5, 0.2);
    near(relu.next(4.0).unwrap(), 3.2, 1e-14);
    let chi = relu.susceptibilities(4.0).unwrap();
    near(chi.parallel, 0.75, 1e-13);
    near(chi.perpendicular, 0.75, 1e-14);
    // E sin² = (1 − e^{−2K})/2, E cos² = (1 + e^{−2K})/2.
    for k in [1e-9, 0.3, 2.0, 900.0] {
        let sine = field(&Activation::SIN, 1.3, 0.0);
        near(sine.next(k).unwrap(), 1.3 * 0.5 * -(-2.0 * k).exp_m1(), 1e-13);
        let chi = sine.susceptibilities(k).unwrap();
        assert!((chi.parallel - 1.3 * (-2.0 * k).exp()).abs() < 2e-13, "{chi:?}");
        near(chi.perpendicular, 1.3 * 0.5 * (1.0 + (-2.0 * k).exp()), 1e-13);
    }
    // Polynomials reach far out: E x¹² = 10395 K⁶.
    let cubic = field(&Activation::Monomial { degree: 6 }, 1.0, 0.0);
    near(cubic.next(2.0).unwrap(), 64.0 * 10395.0, 1e-13);
    // E e^{2bu} = e^{2b²K}, far from the center.
    near(field(&Activation::Exp { a: 1.0, b: 3.0 }, 1.0, 0.0).next(4.0).unwrap(), 72f64.exp(), 1e-11);
    assert!(matches!(
        field(&Activation::Gaussian { a: 1.0, b: 1.0 }, 1.0, 0.0).next(0.3),
        Err(Error::Expectation { .. })
    ));
}

#[test]
fn susceptibilities_are_derivatives() {
    for phi in
        [Activation::Tanh, Activation::Gelu, Activation::HardTanh, Activation::ELU, Activation::Sigmoid]
    {
        let field = field(&phi, 1.7, 0.1);
        for k in [1e-3, 0.5, 20.0] {
            let h = 1e-3 * k;
            let next = |k: f64| field.next(k).unwrap();
            let slope =
                (8.0 * (next(k + h) - next(k - h)) - (next(k + 2.0 * h) - next(k - 2.0 * h))) / (12.0 * h);
            assert!((field.susceptibilities(k).unwrap().parallel - slope).abs() < 1e-8, "{phi:?} {k}");
        }
        let limit = field.susceptibilities(0.0).unwrap();
        let small = field.susceptibilities(1e-7).unwrap();
        assert!((limit.parallel - small.parallel).abs() < 1e-3, "{phi:?} {limit:?} {small:?}");
        assert!((limit.perpendicular - small.perpendicular).abs() < 1e-3, "{phi:?} {limit:?} {small:?}");
    }
}

#[test]
fn critical_variances_are_those_of_the_literature() {
    let erf = critical(&Activation::ERF).unwrap();
    assert_eq!((erf.class, erf.variance), (Class::VanishingVariance, Some(0.0)));
    near(erf.weight, std::f64::consts::FRAC_PI_4, 1e-14);
    for phi in [Activation::Tanh, Activation::SIN] {
        let found = critical(&phi).unwrap();
        assert_eq!((found.weight, found.bias, found.class), (1.0, 0.0, Class::VanishingVariance));
    }
    let leaky = critical(&Activation::LeakyRelu { alpha: 0.5 }).unwrap();
    near(leaky.weight, 2.0 / 1.25, 1e-12);
    // roberts2022principles, chapter 5.
    let swish = critical(&Activation::Silu).unwrap();
    assert_eq!(swish.class, Class::HalfStable);
    near(swish.variance.unwrap(), 14.320_173_62, 1e-9);
    near(swish.weight, 1.988_004_68, 1e-8);
    near(swish.bias, 0.555_143_17, 1e-7);
    let gelu = critical(&Activation::Gelu).unwrap();
    near(gelu.variance.unwrap(), 0.5 * (3.0 + 17f64.sqrt()), 1e-10);
    near(gelu.weight, 1.983_058_26, 1e-8);
    near(gelu.bias, 0.172_922_39, 1e-7);
    let half = gelu.mean_field(&Activation::Gelu).unwrap();
    // From above variances fall to K*; from below they stop at another fixed point, in the ordered phase.
    let limit = half.propagation(5.0).unwrap();
    assert_eq!(limit.phase, Phase::Critical, "{limit:?} {:?} {gelu:?}", half.fixed_points());
    near(limit.variance, 0.5 * (3.0 + 17f64.sqrt()), 1e-6);
    let below = half.propagation(1.0).unwrap();
    assert!(below.phase == Phase::Ordered && (below.variance - 3.035).abs() < 1e-3, "{below:?}");
    for phi in [Activation::Sigmoid, Activation::Softplus, Activation::COS] {
        let found = critical(&phi);
        assert!(matches!(found, Err(Error::NoCriticality { .. })), "{phi:?} {found:?}");
    }
    assert!(matches!(critical(&Activation::Step), Err(Error::Discontinuous { .. })));
    assert!(matches!(critical(&Activation::Monomial { degree: 0 }), Err(Error::NoCriticality { .. })));
}

#[test]
fn the_edge_of_chaos_separates_the_phases() {
    for (phi, bias) in [(Activation::Tanh, 0.05), (Activation::ERF, 0.3), (Activation::HardTanh, 0.02)] {
        let edge = edge_of_chaos(&phi, Variance::new(bias).unwrap()).unwrap();
        let phase = |weight: f64| field(&phi, weight, bias).propagation(1.0).unwrap();
        assert_eq!(phase(edge.weight * 0.98).phase, Phase::Ordered);
        assert_eq!(phase(edge.weight * 1.02).phase, Phase::Chaotic);
        let on = phase(edge.weight);
        near(on.variance, edge.variance.unwrap(), 1e-9);
        assert!((on.perpendicular - 1.0).abs() < 1e-9 && on.correlation_depth > 1e8, "{on:?}");
    }
    assert!(matches!(edge_of_chaos(&Activation::Relu, Variance::ONE), Err(Error::NoCriticality { .. })));
}

#[test]
fn scale_invariant_networks_vanish_settle_or_diverge() {
    let limit = |weight: f64, bias: f64| field(&Activation::Relu, weight, bias).propagation(0.7).unwrap();
    assert_eq!((limit(1.5, 0.0).phase, limit(1.5, 0.0).variance), (Phase::Ordered, 0.0));
    assert_eq!((limit(2.0, 0.0).phase, limit(2.0, 0.0).variance), (Phase::Critical, 0.7));
    assert_eq!(limit(2.5, 0.0).phase, Phase::Divergent);
    assert_eq!(limit(2.0, 0.1).phase, Phase::Divergent);
    let settled = limit(1.5, 0.1);
    near(settled.variance, 0.4, 1e-12);
    near(settled.correlation_depth, -1.0 / 0.75f64.ln(), 1e-12);
    let points = field(&Activation::Relu, 1.5, 0.1).fixed_points().unwrap();
    assert_eq!((points.len(), points[0].stability()), (1, Stability::Stable));
    let tanh = field(&Activation::Tanh, 2.0, 0.0).fixed_points().unwrap();
    let found: Vec<_> = tanh.iter().map(FixedPoint::stability).collect();
    assert_eq!(found, [Stability::Unstable, Stability::Stable]);
}

/// The correlation of deep networks, and how it settles, by the kernel itself.
#[test]
fn depth_scales_are_those_of_the_kernel() {
    for (phi, weight, bias) in [
        (Activation::Tanh, 2.5, 0.1),
        (Activation::ERF, 1.0, 0.05),
        (Activation::Gelu, 1.5, 0.1),
        (Activation::HardTanh, 3.0, 0.0),
    ] {
        let expected = field(&phi, weight, bias).propagation(1.0).unwrap();
        // From the fixed point of the variance on, so that correlations alone change.
        let scale = ((expected.variance - bias) / weight).sqrt();
        let x = ndarray::array![[1.0, 1.0], [1.4, -0.2]] * scale;
        let correlation = |depth: usize| {
            let net =
                Net::mlp(depth, phi.clone(), 1, Variance::new(weight).unwrap(), Variance::new(bias).unwrap());
            let k: Array2<f64> =
                Analytic::new(net).unwrap().symmetric((&x).into(), Which::Nngp).unwrap().nngp.unwrap();
            (k[[0, 0]], k[[0, 1]] / k[[0, 0]])
        };
        let c = expected.correlation.unwrap();
        let settled = correlation(600);
        near(settled.0, expected.variance, 1e-11);
        assert!((settled.1 - c).abs() < 1e-11, "{phi:?} {settled:?} {expected:?}");
        // Where deviations are small, and far above rounding.
        let depth = (8.0 * expected.correlation_depth) as usize;
        let [near_one, near_two] = [depth, depth + 1].map(|depth| correlation(depth).1 - c);
        let rate = (-1.0 / expected.correlation_depth).exp();
        assert!((near_two / near_one - rate).abs() < 1e-3, "{phi:?} {} {rate}", near_two / near_one);
    }
}

#[test]
fn tangents_are_those_of_the_kernel() {
    let x = ndarray::array![[1.0, 1.0], [1.4, -0.2]];
    for (phi, weight, bias) in
        [(Activation::Tanh, 1.5, 0.1), (Activation::Relu, 2.0, 0.0), (Activation::SIN, 2.0, 0.3)]
    {
        let (k, c) = (weight + bias, weight * 0.6 + bias);
        let layers = field(&phi, weight, bias).tangents(k, 1.0 - c / k, 7).unwrap();
        for (depth, found) in layers.iter().enumerate() {
            let net =
                Net::mlp(depth, phi.clone(), 1, Variance::new(weight).unwrap(), Variance::new(bias).unwrap());
            let block = Analytic::new(net).unwrap().symmetric((&x).into(), Which::Both).unwrap();
            let (nngp, ntk) = (block.nngp.unwrap(), block.ntk.unwrap());
            near(found.variance, nngp[[0, 0]], 1e-12);
            near(found.correlation, nngp[[0, 1]] / nngp[[0, 0]], 1e-11);
            near(found.ntk, ntk[[0, 0]], 1e-12);
            near(found.ntk_between, ntk[[0, 1]], 1e-11);
            near(found.ntk_difference, ntk[[0, 0]] - ntk[[0, 1]], 1e-11);
            near(
                found.condition_number(2),
                (ntk[[0, 0]] + ntk[[0, 1]].abs()) / (ntk[[0, 0]] - ntk[[0, 1]].abs()),
                1e-10,
            );
        }
    }
}

#[test]
fn cumulants_of_critical_networks_by_hand() {
    let identity = Activation::Monomial { degree: 1 };
    for (phi, weight, step) in [(identity, 1.0, 2.0), (Activation::Relu, 2.0, 5.0)] {
        let layers = field(&phi, weight, 0.0).cumulants(1.3, 9).unwrap();
        for (l, layer) in layers.iter().enumerate() {
            near(layer.norm_variance(), step * l as f64 + 2.0, 1e-12);
            near(layer.ntk, 1.3 * (l + 1) as f64, 1e-12);
        }
    }
    // A linear network of two layers, Θ̂ᵢⱼ = K(δᵢⱼ|x̂|² + wᵢ·wⱼ) by hand: B = 1, Var Θ̂ᵢᵢ = E(2 G′) …
    let two = field(&Activation::Monomial { degree: 1 }, 1.0, 0.0).cumulants(1.0, 2).unwrap()[1];
    // Θ̂ᵢⱼ = δᵢⱼ|z|²/n + wᵢ·wⱼ with |z|² and w independent: A = Var z² = 2, B = 1, D = 2, F = 1.
    assert!((two.ntk_common - 2.0).abs() < 1e-12 && (two.ntk_single - 1.0).abs() < 1e-12, "{two:?}");
    assert!((two.cross_common - 2.0).abs() < 1e-12 && (two.cross_single - 1.0).abs() < 1e-12, "{two:?}");
}

#[test]
fn phase_diagram_is_cell_by_cell() {
    let variances = |list: &[f64]| list.iter().map(|&v| Variance::new(v).unwrap()).collect::<Vec<_>>();
    let (weights, biases) = (variances(&[0.5, 1.5, 3.0]), variances(&[0.0, 0.2]));
    let tanh = field(&Activation::Tanh, 1.0, 0.0);
    let diagram = tanh.phase_diagram(&weights, &biases, 1.0).unwrap();
    for ((i, j), cell) in diagram.indexed_iter() {
        assert_eq!(*cell, tanh.with_variances(weights[i], biases[j]).propagation(1.0).unwrap());
    }
    assert_eq!(diagram[[0, 0]].phase, Phase::Ordered);
    assert_eq!(diagram[[2, 1]].phase, Phase::Chaotic);
}

#[test]
fn what_is_no_variance_is_refused() {
    let tanh = field(&Activation::Tanh, 1.0, 0.1);
    for wrong in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(tanh.next(wrong), Err(Error::Core(_))));
        assert!(matches!(tanh.propagation(wrong), Err(Error::Core(_))));
        assert!(matches!(tanh.cumulants(wrong, 2), Err(Error::Core(_))));
        assert!(tanh.tangents(wrong, 0.5, 2).is_err());
    }
    assert!(matches!(tanh.tangents(1.0, 2.5, 2), Err(Error::NotCovariance { .. })));
    let custom = Activation::Custom { name: "mine".to_owned(), parameters: Vec::new() };
    assert!(matches!(
        MeanField::new(&custom, Variance::ONE, Variance::ONE),
        Err(Error::UnknownActivation { .. })
    ));
    let square = FunctionDual::new("squareplus", |x: f64| 0.5 * (x + (x * x + 4.0).sqrt()));
    let found = MeanField::from_function(square, Variance::ONE, Variance::ONE).unwrap();
    near(found.next(1.0).unwrap(), 2.5, 1e-13);
    let chi = found.susceptibilities(1.0).unwrap();
    let h = 1e-3;
    let slope = (found.next(1.0 + h).unwrap() - found.next(1.0 - h).unwrap()) / (2.0 * h);
    assert!((chi.parallel - slope).abs() < 1e-6, "{chi:?} {slope}");
}
