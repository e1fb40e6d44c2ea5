//! The strategies give what they promise.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use std::collections::BTreeSet;

use ndarray::Array2;
use ntk_core::{Batch, Law, Layer, Mean, Net, NetKind, OwnedBatch, Parity, Shape, Width};
use ntk_testkit::strategies::{self, Gram};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};

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
        NetKind::Layer(Layer::Activation(_)) => law == Law::Gaussian,
        // On vectors; over positions it may follow an activation.
        NetKind::Layer(Layer::LayerNorm { epsilon: 1e-12, .. }) => law == Law::Gaussian,
        NetKind::Layer(_) => true,
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
    #![proptest_config(ntk_testkit::cases(256))]

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
    fn networks_over_positions_fit_and_have_a_known_limit(
        (sides, net) in grid().prop_flat_map(|sides| {
            let net = strategies::grid_net(&sides, 3);
            (Just(sides), net)
        }),
        graph in strategies::graph_net(5, 2),
    ) {
        for (net, input) in [(&net, Shape::grid(&sides, 3)?), (&graph, Shape::grid(&[5], 2)?)] {
            let end = net.output_shape(&input)?;
            prop_assert!(end.positions().rank() == 0 && matches!(end.channels(), Width::Fixed(1..=3)), "{net}");
            prop_assert!(net.clone().at_width(8).output_shape(&input).is_ok(), "{net}");
            prop_assert!(branches_are_additive(net), "{net}");
            prop_assert!(nonlinearities_read_gaussians(net, Law::Other), "{net}");
            prop_assert!(net.facts().fresh);
        }
    }

    #[test]
    fn batches_are_what_they_promise(
        (n, sides, image) in (1usize..5, grid()).prop_flat_map(|(n, sides)| {
            let image = strategies::grid_inputs(n, &sides, 2);
            (Just(n), Just(sides), image)
        }),
        sequence in strategies::sequence_inputs(3, 4, 2),
        graph in strategies::graph_inputs(3, 4, 2),
        token in strategies::token_inputs(3, 4, 5),
    ) {
        let image = image.view();
        image.check()?;
        prop_assert_eq!((image.len(), image.shape()?), (n, Shape::grid(&sides, 2)?));
        for batch in [&sequence, &graph, &token] {
            batch.view().check()?;
            prop_assert_eq!((batch.view().len(), batch.view().positions()), (3, ntk_core::Grid::new(&[4])?));
        }
        prop_assert_eq!(sequence.view().lengths().map(<[usize]>::len), Some(3));
        prop_assert_eq!(graph.view().graphs().map(|graphs| graphs.samples()), Some(3));
        prop_assert_eq!((token.view().features(), token.view().token_ids().is_some()), (5, true));
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

/// One or two axes.
fn grid() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1usize..=5, 1..=2)
}

fn layers(net: &Net) -> Vec<&Layer> {
    match net.kind() {
        NetKind::Layer(layer) => vec![layer],
        NetKind::Serial(nets)
        | NetKind::Sum(nets)
        | NetKind::Product(nets)
        | NetKind::Concat(nets)
        | NetKind::Join { nets, .. } => nets.iter().flat_map(layers).collect(),
    }
}

fn draws<S: Strategy>(strategy: &S, count: usize) -> Vec<S::Value> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

#[test]
fn every_layer_and_combinator_occurs() {
    // The first word of each line that shows a network.
    let mut found = BTreeSet::new();
    for net in draws(&strategies::grid_net(&[5, 4], 3), 400) {
        for line in net.to_string().lines() {
            let word = line.trim_start_matches([' ', '-']).split([' ', ',', '(']).next().unwrap_or_default();
            found.insert(word.to_owned());
        }
    }
    for word in [
        "relu",
        "erf",
        "attention",
        "average_pool",
        "concatenation",
        "conv",
        "conv_local",
        "conv_transpose",
        "dense",
        "flatten",
        "global_average_pool",
        "global_sum_pool",
        "index",
        "layer_norm",
        "resize",
        "sum",
        "sum_pool",
    ] {
        assert!(found.contains(word), "{word} is not among {found:?}");
    }
    let graphs = draws(&strategies::graph_net(4, 2), 100);
    let aggregates = |net: &Net| layers(net).iter().any(|layer| matches!(layer, Layer::Aggregate { .. }));
    assert!(graphs.iter().filter(|net| aggregates(net)).count() > 50);
}

#[test]
fn networks_shrink_to_the_layer_that_matters() {
    let attends = |net: &Net| layers(net).iter().any(|layer| matches!(layer, Layer::Attention(_)));
    let config = ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() };
    let seeded = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let result = TestRunner::new_with_rng(config, seeded).run(&strategies::grid_net(&[5, 4], 3), |net| {
        prop_assert!(!attends(&net));
        Ok(())
    });
    let Err(TestError::Fail(_, net)) = result else { panic!("{result:?}") };
    // A first layer, attention, what removes the positions, and the readout; a branch beside it may be left.
    assert!(layers(&net).len() <= 6, "{net}");
}

#[test]
fn particular_samples_occur() {
    let batches: Vec<OwnedBatch> = draws(&strategies::grid_inputs(4, &[3, 2], 2), 200);
    let count = |holds: &dyn Fn(Batch<'_>, usize) -> bool| {
        batches.iter().filter(|batch| (0..4).any(|sample| holds(batch.view(), sample))).count()
    };
    let zero = count(&|x, i| x.values().row(i).iter().all(|v| *v == 0.0));
    let constant = count(&|x, i| {
        let row = x.values().row(i).to_vec();
        row[0] != 0.0 && row.chunks(2).all(|position| position == &row[..2])
    });
    let multiple = |factor: f64| {
        count(&|x, i| {
            (0..4).any(|j| {
                i != j && x.values()[[i, 0]] != 0.0 && x.values().row(i) == &x.values().row(j) * factor
            })
        })
    };
    for (name, count) in
        [("zero", zero), ("constant", constant), ("twice", multiple(1.0)), ("opposite", multiple(-1.0))]
    {
        assert!(count > 20, "{name}: {count} of 200");
    }
}
