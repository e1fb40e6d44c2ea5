//! What every fallible entry point says to bad input: the variant, and a message that names the remedy.
//! Files have a table of their own, in `json.rs`.

use ndarray::{Array2, array};
use ntk_core::{
    Activation, Affine, Batch, DropRate, Error, KernelBlock, KernelFn, Layer, Net, Rate, Shape, Tiled,
    Variance, Which, Width,
};

/// The variant's name and the message.
fn told<T: std::fmt::Debug>(result: Result<T, Error>) -> (String, String) {
    let error = result.expect_err("bad input must be refused");
    let debug = format!("{error:?}");
    let name = debug.split([' ', '(']).next().unwrap_or_default().to_owned();
    (name, error.to_string())
}

fn table(rows: Vec<((String, String), &str, &str)>) {
    for ((variant, message), expected_variant, expected) in rows {
        assert_eq!((variant.as_str(), message.as_str()), (expected_variant, expected));
    }
}

#[test]
fn units_refuse_numbers_out_of_their_domains() {
    let variance = |value: &str| {
        format!(
            "a variance is a finite number of at least 0, not {value}; from a standard deviation use Variance::from_std"
        )
    };
    let rate = |value: &str| {
        format!(
            "a learning-rate multiplier is a finite number of at least 0, not {value}; 0 freezes the parameters"
        )
    };
    let drop = |value: &str| format!("a dropout rate is the probability to drop, in [0, 1), not {value}");
    table(vec![
        (told(Variance::new(-0.5)), "Variance", &variance("-0.5")),
        (told(Variance::new(f64::NAN)), "Variance", &variance("NaN")),
        (told(Variance::try_from(f64::INFINITY)), "Variance", &variance("inf")),
        (told(Variance::from_std(1e200)), "Variance", &variance("inf")),
        (told(Variance::from_std(f64::NAN)), "Variance", &variance("NaN")),
        (told(Rate::new(-1.0)), "Rate", &rate("-1")),
        (told(Rate::new(f64::NAN)), "Rate", &rate("NaN")),
        (told(Rate::try_from(f64::INFINITY)), "Rate", &rate("inf")),
        (told(DropRate::new(1.0)), "DropRate", &drop("1")),
        (told(DropRate::new(-0.1)), "DropRate", &drop("-0.1")),
        (told(DropRate::try_from(f64::NAN)), "DropRate", &drop("NaN")),
    ]);
}

#[test]
fn activations_refuse_parameters_out_of_their_domains() {
    use Activation as A;
    let check = |phi: A| told(phi.check());
    let variant = "ActivationParameter";
    let finite = "is out of its domain (a finite number)";
    table(vec![
        (check(A::LeakyRelu { alpha: f64::NAN }), variant, &format!("leaky_relu: alpha = NaN {finite}")),
        (check(A::Elu { alpha: f64::INFINITY }), variant, &format!("elu: alpha = inf {finite}")),
        (check(A::AbRelu { a: 1.0, b: f64::NAN }), variant, &format!("ab_relu: b = NaN {finite}")),
        (check(A::Exp { a: f64::NAN, b: 1.0 }), variant, &format!("exp: a = NaN {finite}")),
        (check(A::Gaussian { a: 1.0, b: f64::NAN }), variant, &format!("gaussian: b = NaN {finite}")),
        (check(A::Erf { a: 1.0, b: 1.0, c: f64::NAN }), variant, &format!("erf: c = NaN {finite}")),
        (check(A::Sin { a: 1.0, b: f64::INFINITY, c: 0.0 }), variant, &format!("sin: b = inf {finite}")),
        (check(A::Cos { a: f64::NAN, b: 1.0, c: 0.0 }), variant, &format!("cos: a = NaN {finite}")),
        (check(A::Rbf { gamma: -1.0 }), variant, "rbf: gamma = -1 is out of its domain (at least 0)"),
        (check(A::Rbf { gamma: f64::NAN }), variant, &format!("rbf: gamma = NaN {finite}")),
        (
            check(A::ExpNormalized { gamma: -1.0, shift: -1.0 }),
            variant,
            "exp_normalized: gamma = -1 is out of its domain (at least 0)",
        ),
        (
            check(A::ExpNormalized { gamma: 1.0, shift: f64::NAN }),
            variant,
            &format!("exp_normalized: shift = NaN {finite}"),
        ),
        (
            check(A::Polynomial { coefficients: vec![] }),
            variant,
            "polynomial: coefficients = 0 is out of its domain (at least one coefficient)",
        ),
        (
            check(A::Polynomial { coefficients: vec![1.0, f64::NAN] }),
            variant,
            "polynomial: coefficients = NaN is out of its domain (finite numbers)",
        ),
        (
            check(A::Custom { name: "mine".to_owned(), parameters: vec![f64::INFINITY] }),
            variant,
            "mine: parameters = inf is out of its domain (finite numbers)",
        ),
        (
            check(A::Hermite { degree: u32::MAX }),
            variant,
            "hermite: degree = 4294967295 is out of its domain (at most 2147483647)",
        ),
    ]);
}

#[test]
fn nets_refuse_what_no_width_can_mend() {
    let affine = Affine::new(Variance::ONE, Variance::ZERO);
    let wide = |width| Net::dense_with(width, affine);
    let no_unit = "a layer needs at least one unit: give Width::Fixed and Net::readout a positive number";
    let ratio = |value: &str| format!("a hidden width is a finite positive multiple of n, not {value}");
    let norm = |epsilon| Net::layer(Layer::LayerNorm { axes: ntk_core::Axes::Channels, epsilon });
    let custom = Layer::Custom { name: "mine".to_owned(), parameters: vec![f64::NAN] };
    let bad = || Net::activation(Activation::Rbf { gamma: -1.0 });
    let rows = vec![
        (Net::readout(0, Variance::ONE, Variance::ZERO), "ZeroWidth", no_unit.to_owned()),
        (wide(Width::Fixed(0)).residual(), "ZeroWidth", no_unit.to_owned()),
        (wide(Width::Hidden(0.0)), "WidthRatio", ratio("0")),
        (wide(Width::Hidden(-1.0)), "WidthRatio", ratio("-1")),
        (wide(Width::Hidden(f64::NAN)), "WidthRatio", ratio("NaN")),
        (wide(Width::Hidden(f64::INFINITY)), "WidthRatio", ratio("inf")),
        (Net::sum([]), "NoBranches", "a sum needs at least one branch".to_owned()),
        (Net::product([]), "NoBranches", "a product needs at least one branch".to_owned()),
        (Net::concat([]), "NoBranches", "a concatenation needs at least one branch".to_owned()),
        (
            norm(-1.0),
            "LayerParameter",
            "layer_norm: epsilon = -1 is out of its domain (a finite number of at least 0)".to_owned(),
        ),
        (
            norm(f64::NAN),
            "LayerParameter",
            "layer_norm: epsilon = NaN is out of its domain (a finite number of at least 0)".to_owned(),
        ),
        (
            Net::layer(custom),
            "LayerParameter",
            "custom: parameters = NaN is out of its domain (finite numbers)".to_owned(),
        ),
        (
            Net::concat([Net::identity(), bad().then(bad())]),
            "ActivationParameter",
            "rbf: gamma = -1 is out of its domain (at least 0)".to_owned(),
        ),
    ];
    for (net, variant, message) in rows {
        assert_eq!(told(net.check()), (variant.to_owned(), message.clone()));
        assert_eq!(told(net.output_shape(&Shape::vector(3))), (variant.to_owned(), message));
    }
    let hidden = || Net::dense(Variance::ONE, Variance::ZERO);
    let shape = |net: Net| told(net.output_shape(&Shape::vector(3)));
    table(vec![
        (
            shape(hidden().residual()),
            "BranchWidths",
            "the branches of a sum must have equal widths, not 3 and n: end one in Net::dense_with of the other's width",
        ),
        (
            shape(Net::product([wide(Width::Hidden(0.5)), hidden()])),
            "BranchWidths",
            "the branches of a product must have equal widths, not 0.5n and n: end one in Net::dense_with of the other's width",
        ),
        (
            shape(Net::concat([hidden(), Net::identity()])),
            "MixedWidths",
            "a concatenation of n and 3 channels has no width before n is known: take the network at_width(n), or give both branches hidden widths",
        ),
    ]);
}

/// Gives one entry for any inputs.
#[derive(Debug)]
struct OneEntry;

impl KernelFn for OneEntry {
    type Error = Error;
    fn block(&self, _: Batch<'_>, _: Batch<'_>, _: Which) -> Result<KernelBlock, Error> {
        Ok(KernelBlock { nngp: Some(Array2::zeros((1, 1))), ntk: None })
    }
}

#[test]
fn batches_and_tiles_refuse_bad_inputs() {
    let good = array![[1.0, 2.0], [3.0, 4.0]];
    let (nan, infinite) = (array![[1.0, 2.0], [3.0, f64::NAN]], array![[f64::NEG_INFINITY]]);
    let (no_samples, no_features) = (Array2::zeros((0, 2)), Array2::zeros((3, 0)));
    let narrow = array![[1.0]];
    let rows = |ask: &dyn Fn(Batch<'_>, Batch<'_>) -> (String, String)| {
        table(vec![
            (
                ask((&good).into(), (&nan).into()),
                "NonFiniteInput",
                "input value NaN of sample 1, feature 1 is not finite",
            ),
            (
                ask((&infinite).into(), (&narrow).into()),
                "NonFiniteInput",
                "input value -inf of sample 0, feature 0 is not finite",
            ),
            (
                ask((&no_samples).into(), (&good).into()),
                "EmptyBatch",
                "a batch needs at least one sample and one feature, not shape (0, 2)",
            ),
            (
                ask((&good).into(), (&no_features).into()),
                "EmptyBatch",
                "a batch needs at least one sample and one feature, not shape (3, 0)",
            ),
            (
                ask((&good).into(), (&narrow).into()),
                "Features",
                "the two batches must have the same number of features, not 2 and 1",
            ),
        ]);
    };
    rows(&|x1, x2| told(Batch::check_pair(x1, x2)));
    let tiled = Tiled::new(OneEntry, 1).unwrap();
    rows(&|x1, x2| told(tiled.block(x1, x2, Which::Nngp)));
    table(vec![
        (
            told(Batch::from(&nan).check()),
            "NonFiniteInput",
            "input value NaN of sample 1, feature 1 is not finite",
        ),
        (
            told(tiled.symmetric((&no_samples).into(), Which::Nngp)),
            "EmptyBatch",
            "a batch needs at least one sample and one feature, not shape (0, 2)",
        ),
        (
            told(Tiled::new(OneEntry, 2).unwrap().symmetric((&good).into(), Which::Nngp)),
            "BlockShape",
            "the wrapped kernel gave a block of shape (1, 1) for inputs that ask for (2, 2)",
        ),
        (
            told(Tiled::new(OneEntry, 0)),
            "ZeroTile",
            "a tile needs at least one row: give Tiled::new a positive size",
        ),
    ]);
}
