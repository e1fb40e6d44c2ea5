//! The strategies give what they promise.

use ndarray::Array2;
use ntk_core::{Law, Mean, Net, NetKind, Parity, Shape, Width};
use ntk_testkit::strategies::{self, Gram};
use proptest::prelude::*;

/// Whether every sum and product in a network has at most one correlated branch.
fn branches_are_additive(net: &Net) -> bool {
    match net.kind() {
        NetKind::Layer(_) => true,
        NetKind::Serial(nets) | NetKind::Concat(nets) | NetKind::Join { nets, .. } => {
            nets.iter().all(branches_are_additive)
        }
        NetKind::Sum(nets) | NetKind::Product(nets) => {
            nets.iter().filter(|net| !net.facts().uncorrelated()).count() <= 1
                && nets.iter().all(branches_are_additive)
        }
    }
}

/// Whether every nonlinearity and layer norm reads something Gaussian, the input being `law`.
fn nonlinearities_read_gaussians(net: &Net, law: Law) -> bool {
    match net.kind() {
        NetKind::Layer(ntk_core::Layer::Dense { .. }) => true,
        NetKind::Layer(_) => law == Law::Gaussian,
        NetKind::Sum(nets) | NetKind::Product(nets) | NetKind::Concat(nets) | NetKind::Join { nets, .. } => {
            nets.iter().all(|net| nonlinearities_read_gaussians(net, law))
        }
        NetKind::Serial(nets) => {
            let mut here = law;
            nets.iter().all(|net| {
                let reads = nonlinearities_read_gaussians(net, here);
                here = if net.facts().law == Law::Same { here } else { net.facts().law };
                reads
            })
        }
    }
}

proptest! {
    #[test]
    fn an_analytic_net_has_a_known_limit(net in strategies::analytic_net()) {
        prop_assert!(branches_are_additive(&net), "{net}");
        prop_assert!(nonlinearities_read_gaussians(&net, Law::Other), "{net}");
        prop_assert_eq!((net.facts().law, net.facts().mean), (Law::Gaussian, Mean::Zero));
    }

    #[test]
    fn widths_fit_for_every_input(net in prop_oneof![strategies::analytic_net(), strategies::any_net()], d in 1usize..9) {
        prop_assert!(net.check().is_ok());
        let channels = net.output_shape(&Shape::vector(d))?.channels();
        prop_assert!(matches!(channels, Width::Fixed(1..=3)), "{channels}");
        prop_assert!(net.at_width(16).output_shape(&Shape::vector(d)).is_ok());
    }

    #[test]
    fn activations_are_what_they_promise(
        any in strategies::activation(),
        homogeneous in strategies::homogeneous_activation(),
        smooth in strategies::smooth_activation(),
        tame in strategies::tame_activation(),
        x in -10.0..10.0f64,
    ) {
        prop_assert!(any.check().is_ok());
        prop_assert!(any.eval(x).is_some_and(f64::is_finite) && any.derivative(x).is_some_and(f64::is_finite));
        prop_assert_eq!(homogeneous.eval(4.0 * x), homogeneous.eval(x).map(|y| 4.0 * y));
        prop_assert_eq!(smooth.kinks(), &[] as &[f64]);
        prop_assert!(tame.eval(1e6 * x).is_some_and(|y| y.abs() <= 3e6 * x.abs() + 3.0), "{tame}");
        prop_assert!(any.parity() != Parity::Odd || any.eval(0.0) == Some(0.0));
    }

    #[test]
    fn samples_are_apart(x in strategies::inputs(), sphere in strategies::spherical_inputs()) {
        prop_assert!((2..=10).contains(&x.nrows()) && (1..=8).contains(&x.ncols()));
        let cos = |i: usize, j: usize| {
            let (a, b) = (x.row(i), x.row(j));
            a.dot(&b) / (a.dot(&a) * b.dot(&b)).sqrt()
        };
        for i in 0..x.nrows() {
            for j in 0..i {
                prop_assert!(cos(i, j) < 0.05f64.cos() + 1e-15);
            }
        }
        for row in sphere.rows() {
            prop_assert!((row.dot(&row) / row.len() as f64 - 1.0).abs() < 1e-14);
        }
    }

    #[test]
    fn gram_matrices_have_their_spectrum(
        Gram { matrix, spectrum } in strategies::singular_gram(),
        nasty in strategies::nasty_inputs(),
    ) {
        prop_assert_eq!(&matrix, &matrix.t());
        prop_assert!(spectrum.last() == Some(&0.0) && spectrum.is_sorted_by(|a, b| a >= b));
        // Moments of the spectrum: tr A = Σλ, tr A² = Σλ², tr A³ = Σλ³.
        let (mut power, n) = (Array2::eye(matrix.nrows()), matrix.nrows() as f64);
        for k in 1..=3 {
            power = power.dot(&matrix);
            let sum: f64 = spectrum.iter().map(|v| v.powi(k)).sum();
            prop_assert!((power.diag().sum() - sum).abs() < 1e-13 * n * spectrum[0].powi(k), "{k}");
        }
        prop_assert!(nasty.iter().all(|v| v.is_finite()));
    }
}
