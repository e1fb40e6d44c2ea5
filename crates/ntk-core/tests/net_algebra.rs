//! The algebra of networks: laws of the combinators, facts, widths, shapes, and how they are shown.

use ntk_core::{
    Activation, Affine, DropRate, Error, Law, Layer, Mean, Net, NetKind, Parameterization, Shape, Variance,
    Width,
};
use ntk_testkit::strategies::any_net;
use proptest::prelude::*;

fn dense() -> Net {
    Net::dense(Variance::ONE, Variance::ZERO)
}

fn relu() -> Net {
    Net::activation(Activation::Relu)
}

fn erf() -> Net {
    Net::activation(Activation::ERF)
}

/// Facts of a chain, of two by two: law and mean of the later one where it decides, depths added.
fn composed(first: &Net, next: &Net) -> (Law, Mean, bool, usize) {
    let (a, b) = (first.facts(), next.facts());
    let law = if b.law == Law::Same { a.law } else { b.law };
    let mean = if b.mean == Mean::Same { a.mean } else { b.mean };
    (law, mean, a.fresh || b.fresh, a.depth + b.depth)
}

fn all_affine(net: &Net, holds: &impl Fn(Width, Affine) -> bool) -> bool {
    match net.kind() {
        NetKind::Layer(Layer::Dense { width, affine }) => holds(*width, *affine),
        NetKind::Layer(_) => true,
        NetKind::Serial(nets)
        | NetKind::Sum(nets)
        | NetKind::Product(nets)
        | NetKind::Concat(nets)
        | NetKind::Join { nets, .. } => nets.iter().all(|net| all_affine(net, holds)),
    }
}

proptest! {
    #[test]
    fn then_is_associative(a in any_net(), b in any_net(), c in any_net()) {
        let (left, right) = (a.clone().then(b.clone()).then(c.clone()), a.clone().then(b.clone().then(c.clone())));
        prop_assert_eq!(&left, &right);
        prop_assert_eq!(Net::serial([a, b, c]), left);
    }

    #[test]
    fn identity_is_unit(a in any_net()) {
        prop_assert_eq!(&Net::identity().then(a.clone()), &a);
        prop_assert_eq!(&a.clone().then(Net::identity()), &a);
        prop_assert_eq!(Net::serial([]), Net::identity());
    }

    #[test]
    fn addition_is_associative(a in any_net(), b in any_net(), c in any_net()) {
        let left = (a.clone() + b.clone()) + c.clone();
        prop_assert_eq!(&left, &(a.clone() + (b.clone() + c.clone())));
        prop_assert_eq!(Net::sum([a, b, c]), left);
    }

    #[test]
    fn facts_compose(a in any_net(), b in any_net()) {
        let (chain, sum) = (a.clone().then(b.clone()).facts(), (a.clone() + b.clone()).facts());
        prop_assert_eq!((chain.law, chain.mean, chain.fresh, chain.depth), composed(&a, &b));
        prop_assert_eq!(sum.depth, a.facts().depth.max(b.facts().depth));
        prop_assert_eq!(sum.fresh, a.facts().fresh && b.facts().fresh);
        prop_assert_eq!(sum.uncorrelated(), a.facts().uncorrelated() && b.facts().uncorrelated());
        prop_assert_eq!(sum, (b + a).facts());
    }

    #[test]
    fn at_width_fixes_every_width(a in any_net(), n in 1usize..100) {
        let fixed = a.clone().at_width(n);
        prop_assert!(all_affine(&fixed, &|width, _| matches!(width, Width::Fixed(_))));
        prop_assert_eq!(&fixed.clone().at_width(n + 1), &fixed);
        prop_assert_eq!(fixed.facts(), a.facts());
    }

    #[test]
    fn standard_is_idempotent(a in any_net()) {
        let standard = a.clone().standard();
        prop_assert!(all_affine(&standard, &|_, affine| affine.parameterization == Parameterization::Standard));
        prop_assert_eq!(&standard.clone().standard(), &standard);
        prop_assert_eq!(standard.facts(), a.facts());
    }

    #[test]
    fn mapping_by_the_identity_changes_nothing(a in any_net()) {
        prop_assert_eq!(&a.clone().map_layers(&|layer| layer), &a);
    }
}

#[test]
fn combinators_of_one_are_that_one() {
    for only in [Net::sum([relu()]), Net::product([relu()]), Net::concat([relu()]), Net::serial([relu()])] {
        assert_eq!(only, relu());
    }
}

#[test]
fn facts_of_small_networks() {
    let facts = |net: &Net| (net.facts().law, net.facts().mean, net.facts().fresh);
    let chain = dense().then(relu());
    for (net, expected) in [
        (Net::identity(), (Law::Same, Mean::Same, false)),
        (dense(), (Law::Gaussian, Mean::Zero, true)),
        (relu(), (Law::Other, Mean::Nonzero, false)),
        (erf(), (Law::Other, Mean::Same, false)),
        (chain.clone(), (Law::Other, Mean::Nonzero, true)),
        (dense().then(erf()), (Law::Other, Mean::Zero, true)),
        (chain.clone().then(Net::layer_norm()), (Law::Other, Mean::Nonzero, true)),
        (dense().residual(), (Law::Same, Mean::Same, false)),
        (dense().then(dense().residual()), (Law::Gaussian, Mean::Zero, true)),
        (dense() + dense(), (Law::Gaussian, Mean::Zero, true)),
        (dense() + relu(), (Law::Other, Mean::Nonzero, false)),
        // An even function of one factor's weights cannot undo the odd one of the other's.
        (Net::product([dense(), chain]), (Law::Other, Mean::Zero, true)),
        (Net::product([Net::identity(), Net::identity()]), (Law::Other, Mean::Nonzero, false)),
        (Net::concat([dense(), dense()]), (Law::Other, Mean::Zero, true)),
    ] {
        assert_eq!(facts(&net), expected, "{net}");
    }
    assert!(!dense().then(relu()).facts().uncorrelated(), "fresh, and yet of positive mean");
    assert_eq!(Net::mlp(3, Activation::Relu, 1, Variance::TWO, Variance::ZERO).facts().depth, 4);
}

#[test]
fn display_shows_repeated_blocks_once() {
    let bias = Variance::new(0.1).unwrap();
    let mlp = Net::mlp(3, Activation::Relu, 10, Variance::TWO, bias);
    let expected = "3 times
  dense to n units, σ_w² = 2, σ_b² = 0.1
  relu
dense to 10 units, σ_w² = 2, σ_b² = 0.1";
    assert_eq!(mlp.to_string(), expected);

    // A block inside a block.
    let stage = Net::serial([dense(), erf(), dense(), erf(), relu()]);
    let expected = "2 times
  2 times
    dense to n units, σ_w² = 1
    erf
  relu";
    assert_eq!(stage.clone().then(stage).to_string(), expected);

    let net = Net::serial([
        Net::product([dense(), Net::identity()]),
        Net::concat([dense().then(relu()), Net::dropout(DropRate::new(0.1).unwrap())]),
        (relu().then(dense())).residual(),
    ]);
    let expected = "product of
  - dense to n units, σ_w² = 1
  - identity
concatenation of
  - dense to n units, σ_w² = 1
    relu
  - dropout, drops 0.1
sum of
  - identity
  - relu
    dense to n units, σ_w² = 1";
    assert_eq!(net.to_string(), expected);

    let affine =
        Affine { weight_rate: ntk_core::Rate::FROZEN, ..Affine::new(Variance::ONE, bias).standard() };
    let wide = Net::dense_with(Width::Hidden(2.0), affine);
    assert_eq!(wide.to_string(), "dense to 2n units, σ_w² = 1, σ_b² = 0.1, standard, λ_w = 0");
    assert_eq!(Net::identity().to_string(), "identity");
}

#[test]
fn output_shapes() {
    let input = Shape::vector(7);
    let shape = |net: &Net| net.output_shape(&input).map(|shape| shape.channels());
    assert_eq!(shape(&Net::identity()).unwrap(), Width::Fixed(7));
    assert_eq!(shape(&dense().then(relu())).unwrap(), Width::HIDDEN);
    assert_eq!(shape(&Net::concat([dense(), dense().then(erf())])).unwrap(), Width::Hidden(2.0));
    assert_eq!(shape(&Net::concat([Net::identity(), Net::identity()])).unwrap(), Width::Fixed(14));
    assert_eq!(Width::Hidden(0.5).at(3), 2);
    assert_eq!(Width::Hidden(0.01).at(3), 1);

    let unequal = (dense() + Net::identity()).output_shape(&input);
    assert!(matches!(
        unequal,
        Err(Error::BranchWidths { combinator: "sum", left: Width::HIDDEN, right: Width::Fixed(7) })
    ));
    // The same network fits once n is the width of the input.
    assert!((dense() + Net::identity()).at_width(7).output_shape(&input).is_ok());
    let mixed = Net::concat([dense(), Net::identity()]);
    assert!(matches!(mixed.output_shape(&input), Err(Error::MixedWidths { .. })));
    assert_eq!(shape(&mixed.at_width(64)).unwrap(), Width::Fixed(71));
}
