//! Networks as files: what is written is read back, and what is wrong is refused with its place.

use ntk_core::{Activation, Affine, Error, Layer, Net, Rate, Variance, Width};
use ntk_testkit::strategies;
use proptest::prelude::*;

proptest! {
    #[test]
    fn reading_undoes_writing(net in prop_oneof![strategies::any_net(), strategies::analytic_net()]) {
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
        Net::layer(Layer::LayerNorm { axes: ntk_core::Axes::Channels, epsilon: 1e-5 }),
        Net::layer(Layer::Custom { name: "mine".to_owned(), parameters: vec![f64::MIN_POSITIVE, 0.1 + 0.2] }),
        Net::dense_with(Width::Hidden(1.0 / 3.0), free.standard()),
        Net::readout(usize::MAX, Variance::new(f64::MAX).unwrap(), Variance::new(5e-324).unwrap()),
    ] {
        assert_eq!(Net::from_json(&net.to_json()).unwrap(), net, "{net}");
    }
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
    let cases: [(String, &str, &str); 28] = [
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
        (plain(r#"{"conv": {}}"#), "net", "unknown variant `conv`"),
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
        (
            document(WIDTH, r#"1, "colour": 3"#, r#""relu""#),
            "net.sum[0].dense.colour",
            "unknown field `colour`",
        ),
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
