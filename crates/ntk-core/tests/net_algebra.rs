//! The algebra of networks: laws of the combinators, facts, widths, shapes, and how they are shown.

use ntk_core::{
    Activation, Affine, Attention, AttentionMask, Axes, ConvKind, DropRate, Error, Groups, Interpolation,
    Law, Layer, LogitScaling, Mean, Net, NetKind, Parameterization, Pooling, PositionCombine, PositionDecay,
    PositionEmbedding, Rate, Shape, Span, Variance, Weighting, Width, Window,
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

fn depthwise() -> Net {
    let affine = Affine::new(Variance::ONE, Variance::ZERO);
    Net::conv_with(ConvKind::Shared, Width::HIDDEN, affine, Window::same(&[3]), Groups::Depthwise)
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
        NetKind::Layer(layer) => layer.affine().is_none_or(|(width, affine)| holds(width, affine)),
        NetKind::Serial(nets)
        | NetKind::Sum(nets)
        | NetKind::Product(nets)
        | NetKind::Concat(nets)
        | NetKind::Join { nets, .. } => nets.iter().all(|net| all_affine(net, holds)),
    }
}

proptest! {
    #![proptest_config(ntk_testkit::cases(256))]

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
    let one = [Net::sum([relu()]), Net::product([relu()]), Net::concat([relu()]), Net::serial([relu()])];
    for only in one.into_iter().chain([Net::join(3, [relu()])]) {
        assert_eq!(only, relu());
    }
    // Joins do not associate: their axes may differ.
    let nested = Net::join(0, [Net::join(1, [relu(), relu()]), relu()]);
    assert!(matches!(nested.kind(), NetKind::Join { axis: 0, nets } if nets.len() == 2));
}

fn conv() -> Net {
    Net::conv(Window::same(&[3, 3]), Variance::TWO, Variance::ONE)
}

#[test]
fn mapping_reaches_every_layer_of_a_join() {
    let attention = Attention {
        position: Some(PositionEmbedding {
            combine: PositionCombine::Concat(Width::Hidden(0.5)),
            ..PositionEmbedding::sum(Variance::ONE)
        }),
        ..Attention::default()
    };
    let net = Net::join(0, [conv(), Net::attention(attention).then(Net::embedding(Variance::ONE))]);
    let frozen = |affine: Affine| affine.weight_rate == Rate::FROZEN && affine.bias_rate == Rate::FROZEN;
    assert!(all_affine(&net.clone().frozen(), &|_, affine| frozen(affine)));
    assert!(all_affine(&net.clone().standard(), &|_, a| a.parameterization == Parameterization::Standard));
    assert!(all_affine(&net.clone().at_width(6), &|width, _| width == Width::Fixed(6)));
    let attention = |net: &Net| match net.kind() {
        NetKind::Join { nets, .. } => match nets[1].kind() {
            NetKind::Serial(nets) => match nets[0].kind() {
                NetKind::Layer(Layer::Attention(attention)) => (**attention).clone(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    assert_eq!(attention(&net.clone().frozen()).rate, Rate::FROZEN);
    let fixed = attention(&net.clone().at_width(6));
    assert_eq!((fixed.width, fixed.key, fixed.value), (Width::Fixed(6), Width::Fixed(6), Width::Fixed(6)));
    assert_eq!(fixed.heads, Width::Fixed(8));
    assert_eq!(fixed.position.unwrap().combine, PositionCombine::Concat(Width::Fixed(3)));
    assert_eq!(net.clone().map_layers(&|layer| layer), net);
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
        (chain.clone().then(Net::layer_norm()), (Law::Other, Mean::Zero, true)),
        (dense().then(Net::layer_norm()), (Law::Gaussian, Mean::Zero, true)),
        (conv(), (Law::Gaussian, Mean::Zero, true)),
        // One weight times one channel is not a sum of many.
        (depthwise(), (Law::Other, Mean::Zero, true)),
        (Net::attention(Attention::default()), (Law::Gaussian, Mean::Zero, true)),
        (Net::embedding(Variance::ONE), (Law::Gaussian, Mean::Zero, true)),
        (Net::average_pool(Window::same(&[2])), (Law::Same, Mean::Same, false)),
        (conv().then(Net::global_average_pool()), (Law::Gaussian, Mean::Zero, true)),
        (Net::layer(Layer::Aggregate { axis: 0 }), (Law::Same, Mean::Same, false)),
        // Channels of different positions differ in law.
        (conv().then(Net::flatten()), (Law::Other, Mean::Zero, true)),
        (Net::layer(Layer::LayerNorm { axes: Axes::All, epsilon: 0.0 }), (Law::Same, Mean::Same, false)),
        (Net::join(0, [conv(), conv()]), (Law::Gaussian, Mean::Zero, true)),
        (Net::join(0, [conv(), Net::identity()]), (Law::Other, Mean::Same, false)),
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
    assert_eq!(Net::attention(Attention::default()).facts().depth, 2);
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
fn display_says_what_layers_over_positions_do() {
    let affine = Affine::new(Variance::TWO, Variance::ONE);
    let with = |kind, window, groups| Net::conv_with(kind, Width::Fixed(4), affine, window, groups);
    let layer = Net::layer;
    let bare = Attention { heads: Width::Fixed(2), ..Attention::default() };
    let full = Attention {
        bias: Variance::ONE,
        query_variance: Variance::TWO,
        rate: Rate::FROZEN,
        scaling: LogitScaling::InverseRoot,
        weighting: Weighting::Relu,
        mask: AttentionMask::CausalLocal(3),
        position: Some(PositionEmbedding {
            combine: PositionCombine::Concat(Width::HIDDEN),
            decay: PositionDecay::Exponential { scale: 4.0 },
            ..PositionEmbedding::sum(Variance::TWO)
        }),
        ..Attention::default()
    };
    let local = Attention {
        mask: AttentionMask::Local(1),
        position: Some(PositionEmbedding { values: true, ..PositionEmbedding::sum(Variance::ONE) }),
        ..Attention::default()
    };
    let spans = vec![Span::ALL, Span { start: Some(-3), stop: None, step: -2 }];
    let net = Net::serial([
        conv(),
        with(ConvKind::Local, Window::valid(&[3, 2]).strides(&[2, 1]), Groups::Count(1)),
        with(ConvKind::Transposed, Window::circular(&[2, 2]).dilation(&[1, 3]), Groups::Count(1)),
        with(ConvKind::Shared, Window::same(&[1, 1]), Groups::Count(2)),
        depthwise(),
        Net::average_pool(Window::blocks(&[2, 2])),
        layer(Layer::Pool { pooling: Pooling::EdgeAverage, window: Window::same(&[2, 2]) }),
        layer(Layer::Pool { pooling: Pooling::Sum, window: Window::same(&[2, 2]) }),
        layer(Layer::Index { spans }),
        layer(Layer::Resize { sides: vec![None, Some(9)], interpolation: Interpolation::Nearest }),
        layer(Layer::Linear { axis: 0, rows: vec![vec![1.0; 3]; 2], remove: false }),
        layer(Layer::Linear { axis: 0, rows: vec![vec![1.0; 2]], remove: true }),
        layer(Layer::Aggregate { axis: 0 }),
        Net::embedding(Variance::TWO),
        Net::attention(bare),
        Net::attention(full),
        Net::attention(local),
        layer(Layer::LayerNorm { axes: Axes::All, epsilon: 1e-5 }),
        layer(Layer::LayerNorm { axes: Axes::With(vec![1]), epsilon: 0.0 }),
        Net::join(0, [Net::identity(), relu()]),
        layer(Layer::GlobalPool { pooling: Pooling::Sum }),
        Net::global_average_pool(),
        Net::flatten(),
    ]);
    let expected = "conv 3×3 same to n channels, σ_w² = 2, σ_b² = 1
conv_local 3×2 valid stride 2×1 to 4 channels, σ_w² = 2, σ_b² = 1
conv_transpose 2×2 circular dilation 1×3 to 4 channels, σ_w² = 2, σ_b² = 1
conv 1×1 same to 4 channels, σ_w² = 2, σ_b² = 1, 2 groups
conv 3 same to n channels, σ_w² = 1, depthwise
average_pool 2×2 valid stride 2×2
average_pool 2×2 same, without padding in the average
sum_pool 2×2 same
index [:, -3::-2]
resize to · × 9, nearest
linear map of axis 0 to 2 positions
linear map of axis 0, which it removes
aggregate over the graph of axis 0
embedding in n units, σ_w² = 2
attention softmax, logits over d, 2 heads, to n channels
attention relu, logits over √d, 8 heads, to n channels, causal and local 3, σ_q² = 2, σ_b² = 1, λ = 0, n channels of positions beside queries and keys, σ_p² = 2, exp(−Δ^2/4)
attention softmax, logits over d, 8 heads, to n channels, local 1, positions added to queries, keys and values, σ_p² = 1
layer_norm over channels and positions, ε = 1e-5
layer_norm over channels and axes [1], ε = 0e0
join along axis 0 of
  - identity
  - relu
global_sum_pool
global_average_pool
flatten";
    assert_eq!(net.to_string(), expected);
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
