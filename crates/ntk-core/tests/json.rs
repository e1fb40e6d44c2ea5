//! Networks as files: what is written is read back, and what is wrong is refused with its place.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ntk_core::{
    Activation, Affine, Attention, AttentionMask, Axes, ConvKind, Error, Groups, Interpolation, Layer,
    LogitScaling, Net, Pooling, PositionCombine, PositionDecay, PositionEmbedding, Rate, Span, Variance,
    Weighting, Width, Window,
};
use ntk_testkit::strategies;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ntk_testkit::cases(256))]

    #[test]
    fn reading_undoes_writing(
        net in prop_oneof![
            strategies::any_net(),
            strategies::analytic_net(),
            strategies::grid_net(&[5, 4], 3),
            strategies::graph_net(4, 2),
        ],
    ) {
        prop_assert_eq!(Net::from_json(&net.to_json())?, net);
    }

    #[test]
    fn activations_survive(phi in strategies::activation()) {
        let net = Net::activation(phi);
        prop_assert_eq!(Net::from_json(&net.to_json())?, net);
    }

    #[test]
    fn every_truncation_is_refused(net in strategies::any_net(), cut in any::<prop::sample::Index>()) {
        let text = net.to_json();
        let end = cut.index(text.len());
        let refused = matches!(Net::from_json(&text[..end]), Err(Error::Json { .. }));
        prop_assert!(refused, "{}", &text[..end]);
    }

    #[test]
    fn no_damage_panics(net in strategies::any_net(), at in any::<prop::sample::Index>(), byte in " -~") {
        let mut text = net.to_json().into_bytes();
        let at = at.index(text.len());
        text[at] = byte.as_bytes()[0];
        // Damage may leave a network; it must then be one that can be written and read.
        if let Ok(net) = Net::from_json(&String::from_utf8(text)?) {
            prop_assert_eq!(Net::from_json(&net.to_json())?, net);
        }
    }
}

#[test]
fn what_strategies_leave_out_survives() {
    let custom = Activation::Custom { name: "cos_plus".to_owned(), parameters: vec![0.3, -0.0] };
    let free = Affine { bias_rate: Rate::ONE, ..Affine::new(Variance::TWO, Variance::ZERO) };
    for net in [
        Net::identity(),
        Net::activation(custom),
        Net::activation(Activation::ExpNormalized { gamma: 0.5, shift: -1.0 }),
        Net::activation(Activation::Hermite { degree: 40 }),
        Net::layer(Layer::LayerNorm { axes: Axes::Channels, epsilon: 1e-5 }),
        Net::layer(Layer::Custom { name: "mine".to_owned(), parameters: vec![f64::MIN_POSITIVE, 0.1 + 0.2] }),
        Net::dense_with(Width::Hidden(1.0 / 3.0), free.standard()),
        Net::readout(usize::MAX, Variance::new(f64::MAX).unwrap(), Variance::new(5e-324).unwrap()),
    ] {
        assert_eq!(Net::from_json(&net.to_json()).unwrap(), net, "{net}");
    }
}

/// Every layer over positions, each choice of each argument in one of them.
fn layers_over_positions() -> Vec<Net> {
    let affine = Affine::new(Variance::TWO, Variance::ONE);
    let position = PositionEmbedding {
        combine: PositionCombine::Concat(Width::Hidden(0.5)),
        decay: PositionDecay::Exponential { scale: 0.3 },
        power: 1.5,
        values: true,
        ..PositionEmbedding::sum(Variance::TWO)
    };
    let inverse = PositionEmbedding {
        decay: PositionDecay::Inverse { scale: 2.0 },
        ..PositionEmbedding::sum(Variance::ONE)
    };
    let attention = |weighting, mask, position| Attention {
        width: Width::Fixed(4),
        heads: Width::Hidden(2.0),
        bias: Variance::ONE,
        rate: Rate::FROZEN,
        scaling: LogitScaling::InverseRoot,
        weighting,
        mask,
        position,
        ..Attention::default()
    };
    let embedding =
        Affine { weight_rate: Rate::new(0.3).unwrap(), ..Affine::new(Variance::TWO, Variance::ZERO) };
    let spans = vec![Span::ALL, Span { start: Some(-3), stop: None, step: -2 }];
    let layer = Net::layer;
    vec![
        Net::conv(Window::same(&[3, 3]), Variance::TWO, Variance::ZERO),
        Net::conv_with(
            ConvKind::Local,
            Width::Fixed(3),
            affine.standard(),
            Window::valid(&[2]),
            Groups::Count(1),
        ),
        Net::conv_with(
            ConvKind::Transposed,
            Width::HIDDEN,
            affine.frozen(),
            Window::circular(&[2]).strides(&[2]),
            Groups::Count(1),
        ),
        Net::conv_with(
            ConvKind::Shared,
            Width::Fixed(4),
            affine,
            Window::same(&[2]).dilation(&[3]),
            Groups::Count(2),
        ),
        Net::conv_with(ConvKind::Shared, Width::HIDDEN, affine, Window::same(&[1, 2, 3]), Groups::Depthwise),
        Net::average_pool(Window::blocks(&[2, 2])),
        layer(Layer::Pool { pooling: Pooling::EdgeAverage, window: Window::same(&[2]) }),
        layer(Layer::Pool { pooling: Pooling::Sum, window: Window::circular(&[2]) }),
        Net::global_average_pool(),
        layer(Layer::GlobalPool { pooling: Pooling::Sum }),
        Net::flatten(),
        layer(Layer::Index { spans }),
        layer(Layer::Index { spans: vec![] }),
        layer(Layer::Resize { sides: vec![None, Some(4)], interpolation: Interpolation::Nearest }),
        layer(Layer::Resize { sides: vec![Some(1)], interpolation: Interpolation::Linear }),
        layer(Layer::Linear { axis: 1, rows: vec![vec![0.1, -0.0], vec![f64::MAX, 5e-324]], remove: false }),
        layer(Layer::Linear { axis: 0, rows: vec![vec![1.0]], remove: true }),
        layer(Layer::Aggregate { axis: 2 }),
        Net::embedding(Variance::TWO),
        layer(Layer::Embedding { width: Width::Fixed(7), affine: embedding.standard() }),
        Net::attention(Attention::default()),
        Net::attention(attention(Weighting::Identity, AttentionMask::Causal, None)),
        Net::attention(attention(Weighting::Abs, AttentionMask::Local(3), Some(position))),
        Net::attention(attention(Weighting::Relu, AttentionMask::CausalLocal(0), Some(inverse))),
        layer(Layer::LayerNorm { axes: Axes::All, epsilon: 0.0 }),
        layer(Layer::LayerNorm { axes: Axes::With(vec![0, 2]), epsilon: 1e-3 }),
        Net::join(0, [Net::identity(), Net::flatten()]),
        Net::join(1, [Net::join(0, [Net::identity(), Net::identity()]), Net::flatten()]),
    ]
}

#[test]
fn every_layer_over_positions_survives() {
    for net in layers_over_positions() {
        assert_eq!(Net::from_json(&net.to_json()).unwrap(), net, "{net}");
    }
    let all = Net::serial(layers_over_positions());
    assert_eq!(Net::from_json(&all.to_json()).unwrap(), all);
}

#[test]
fn a_misspelt_field_of_any_layer_is_refused() {
    // A field renamed in the file is unknown, wherever it stands.
    for net in layers_over_positions() {
        let text = net.to_json();
        let fields = text.match_indices("\": ").map(|(end, _)| end);
        for end in
            fields.filter(|&end| !text[..end].ends_with("\"version") && !text[..end].ends_with("\"net"))
        {
            let renamed = format!("{}x{}", &text[..end], &text[end..]);
            let error = Net::from_json(&renamed).unwrap_err().to_string();
            assert!(
                error.contains("unknown field") || error.contains("unknown variant"),
                "{error}\n{renamed}"
            );
        }
    }
}

#[test]
fn a_convolution_is_as_short_as_it_can_be() {
    let net = Net::conv(Window::same(&[3, 3]), Variance::TWO, Variance::ZERO);
    let affine = r#"{"width": {"hidden": 1}, "weight": 2, "bias": 0}"#;
    let text = |conv: &str| format!(r#"{{"version": 1, "net": {{"conv": {{{conv}, "affine": {affine}}}}}}}"#);
    let short = r#""window": {"shape": [3, 3], "padding": "same"}"#;
    assert_eq!(Net::from_json(&text(short)).unwrap(), net);
    let long = r#""kind": "shared", "groups": {"count": 1}, "window": {"shape": [3, 3], "strides": [1, 1], "dilation": [1, 1], "padding": "same"}"#;
    assert_eq!(Net::from_json(&text(long)).unwrap(), net);
    assert!(!net.to_json().contains("strides") && !net.to_json().contains("groups"));
}

#[test]
fn a_number_that_is_none_is_not_read_back() {
    let rows = vec![vec![1.0, f64::NAN]];
    let text = Net::layer(Layer::Linear { axis: 0, rows, remove: false }).to_json();
    assert!(
        matches!(Net::from_json(&text), Err(Error::Json { path, .. }) if path == "net.linear.rows[0][1]")
    );
}

#[test]
fn the_format_is_what_the_documents_say() {
    let net = Net::dense(Variance::TWO, Variance::ZERO).then(Net::activation(Activation::Relu));
    let compact: String = net.to_json().split_whitespace().collect();
    let dense = r#"{"dense":{"width":{"hidden":1.0},"weight":2.0,"bias":0.0,"parameterization":"ntk"}}"#;
    assert_eq!(compact, format!(r#"{{"version":1,"net":{{"serial":[{dense},{{"activation":"relu"}}]}}}}"#));
    let short = r#"{"version": 1, "net": {"dense": {"width": {"fixed": 3}, "weight": 1, "bias": 0.5}}}"#;
    let half = Variance::new(0.5).unwrap();
    assert_eq!(Net::from_json(short).unwrap(), Net::readout(3, Variance::ONE, half));
}

/// The document of one dense layer beside a nonlinearity, in a sum, with the texts given.
fn document(width: &str, weight: &str, phi: &str) -> String {
    let dense = format!(r#"{{"dense": {{"width": {width}, "weight": {weight}, "bias": 0}}}}"#);
    format!(r#"{{"version": 1, "net": {{"sum": [{dense}, {{"activation": {phi}}}]}}}}"#)
}

const WIDTH: &str = r#"{"hidden": 1}"#;

#[test]
fn what_is_wrong_is_refused_with_its_place() {
    let plain = |net: &str| format!(r#"{{"version": 1, "net": {net}}}"#);
    let cases: [(String, &str, &str); 41] = [
        (String::new(), ".", "EOF while parsing a value"),
        ("null".to_owned(), ".", "invalid type: null, expected a document of a version and a net"),
        ("{}".to_owned(), ".", "missing field `version`"),
        (r#"{"net": {"serial": []}}"#.to_owned(), ".", "missing field `version`"),
        (r#"{"version": 1}"#.to_owned(), ".", "missing field `net`"),
        (r#"{"version": "1"}"#.to_owned(), "version", "invalid type: string \"1\", expected u64"),
        (r#"{"version": -1}"#.to_owned(), "version", "invalid value: integer `-1`, expected u64"),
        (plain(r#"{"serial": []}"#) + "x", "end", "trailing characters"),
        (
            r#"{"version": 1, "net": {"serial": []}, "author": "me"}"#.to_owned(),
            "author",
            "unknown field `author`",
        ),
        (plain(r#""relu""#), "net", "unknown variant `relu`"),
        (plain(r#"{"convolution": {}}"#), "net", "unknown variant `convolution`"),
        (plain(r#"{"conv": {}}"#), "net.conv", "missing field `window`"),
        (plain(r#"{"flatten": {"axis": 1}}"#), "net.flatten.axis", "unknown field `axis`"),
        (
            plain(r#"{"pool": {"pooling": "sum", "window": {"shape": [0], "padding": "same"}}}"#),
            "net",
            "sum_pool: the shape [0] of a window must be numbers from 1 to 65536, at least one of them",
        ),
        (
            plain(r#"{"pool": {"pooling": "max", "window": {"shape": [2], "padding": "same"}}}"#),
            "net.pool.pooling",
            "unknown variant `max`",
        ),
        (
            plain(
                r#"{"pool": {"pooling": "sum", "window": {"shape": [2], "strides": [1, 1], "padding": "same"}}}"#,
            ),
            "net",
            "sum_pool: the strides [1, 1] must have one number for each axis of the window [2]",
        ),
        (
            plain(r#"{"pool": {"pooling": "sum", "window": {"shape": [-2], "padding": "same"}}}"#),
            "net.pool.window.shape[0]",
            "invalid value: integer `-2`",
        ),
        (
            plain(r#"{"index": {"spans": [{"step": 0}]}}"#),
            "net",
            "index: step = 0 is out of its domain (not 0)",
        ),
        (plain(r#"{"index": {"spans": [{"stop": 3}]}}"#), "net.index.spans[0]", "missing field `step`"),
        (
            plain(r#"{"resize": {"sides": [0], "interpolation": "linear"}}"#),
            "net",
            "resize: side = 0 is out of its",
        ),
        (
            plain(r#"{"linear": {"axis": 0, "rows": [[1, 2], [3]]}}"#),
            "net",
            "linear: rows = 2 is out of its domain (at least one row, all of one positive length)",
        ),
        (plain(r#"{"join": {"axis": 0, "nets": []}}"#), "net", "a join needs at least one branch"),
        (
            plain(r#"{"embedding": {"width": {"hidden": 1}, "weight": 1, "bias": 2}}"#),
            "net",
            "embedding: bias = 2 is out of its domain (0: an embedding has no bias)",
        ),
        (plain(r#"{"attention": {"heads": {"fixed": 3}}}"#), "net.attention", "missing field `width`"),
        (plain(r#"{"sum": []}"#), "net", "a sum needs at least one branch"),
        (
            plain(r#"{"serial": [{"concat": []}]}"#),
            "net.serial[0]",
            "a concatenation needs at least one branch",
        ),
        (plain(r#"{"layer_norm": {"epsilon": -1}}"#), "net", "layer_norm: epsilon = -1 is out of its domain"),
        (
            plain(r#"{"dropout": {"rate": 1}}"#),
            "net.dropout.rate",
            "a dropout rate is the probability to drop, in [0, 1), not 1",
        ),
        (plain(r#"{"custom": {"name": "mine"}}"#), "net.custom", "missing field `parameters`"),
        (
            document(WIDTH, "-1", r#""relu""#),
            "net.sum[0].dense.weight",
            "a variance is a finite number of at least 0, not -1",
        ),
        (document(WIDTH, "null", r#""relu""#), "net.sum[0].dense.weight", "invalid type: null, expected f64"),
        (document(WIDTH, "NaN", r#""relu""#), "net.sum[0].dense.weight", "expected value"),
        (document(WIDTH, "1e999", r#""relu""#), "net.sum[0].dense.weight", "number out of range"),
        (document(r#"{"fixed": 0}"#, "1", r#""relu""#), "net.sum[0]", "a layer needs at least one unit"),
        (
            document(r#"{"fixed": 1.5}"#, "1", r#""relu""#),
            "net.sum[0].dense.width.fixed",
            "invalid type: floating point",
        ),
        (
            document(r#"{"hidden": -2}"#, "1", r#""relu""#),
            "net.sum[0]",
            "a hidden width is a finite positive multiple of n, not -2",
        ),
        (document(r#""all""#, "1", r#""relu""#), "net.sum[0].dense.width", "unknown variant `all`"),
        (document(WIDTH, r#"1, "color": 3"#, r#""relu""#), "net.sum[0].dense.color", "unknown field `color`"),
        (document(WIDTH, "1", r#""rleu""#), "net.sum[1].activation", "unknown variant `rleu`"),
        (
            document(WIDTH, "1", r#"{"rbf": {"gamma": -1}}"#),
            "net.sum[1]",
            "rbf: gamma = -1 is out of its domain (at least 0)",
        ),
        (
            document(WIDTH, "1", r#"{"erf": {"a": 1, "b": 1, "d": 0}}"#),
            "net.sum[1].activation.erf.d",
            "unknown field `d`",
        ),
    ];
    for (text, place, start) in &cases {
        match Net::from_json(text) {
            Err(Error::Json { path, message }) => {
                assert!(message.starts_with(start), "{text}\n{message}");
                assert_eq!(&path, place, "{text}\n{message}");
            }
            other => panic!("{text}\n{other:?}"),
        }
    }
}

#[test]
fn another_version_is_refused_by_number() {
    let error = Net::from_json(r#"{"version": 2, "net": {"something": "new"}}"#).unwrap_err();
    assert!(matches!(error, Error::Version { found: 2, supported: 1 }));
    assert_eq!(
        error.to_string(),
        "version 2 of the network format is not known: this library reads version 1"
    );
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| {
        let net = format!(
            "{}{}{}",
            r#"{"serial": ["#.repeat(depth),
            r#"{"activation": "relu"}"#,
            "]}".repeat(depth)
        );
        Net::from_json(&format!(r#"{{"version": 1, "net": {net}}}"#))
    };
    assert_eq!(nested(50).unwrap(), Net::activation(Activation::Relu));
    for depth in [100, 100_000] {
        match nested(depth) {
            Err(Error::Json { path, message }) => {
                assert!(message.starts_with("recursion limit exceeded"), "{message}");
                assert!(path.starts_with("net.serial[0].serial[0]"), "{path}");
            }
            other => panic!("{other:?}"),
        }
    }
}
