//! Bad input gets a typed error that names the cause and the remedy, before work starts; nothing panics.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ndarray::{Array2, array};
use ntk_analytic::{Analytic, Cov2, Error, Rules, dual};
use ntk_core::{Activation, Affine, Batch, DropRate, KernelFn, Layer, Net, Variance, Which, Width};

fn dense() -> Net {
    Net::dense(Variance::ONE, Variance::ZERO)
}

fn phi(phi: Activation) -> Net {
    Net::activation(phi)
}

fn refused(net: Net) -> String {
    Analytic::new(net).expect_err("a network without a known limit").to_string()
}

fn refused_inputs(net: Net, x1: &Array2<f64>, x2: &Array2<f64>) -> String {
    let kernel = Analytic::new(net).unwrap();
    kernel.block(Batch::from(x1), Batch::from(x2), Which::Both).expect_err("bad inputs").to_string()
}

#[test]
fn networks_without_a_limit_are_refused_when_they_are_resolved() {
    let dropout = || Net::dropout(DropRate::new(0.5).unwrap());
    let custom = |name: &str| Activation::Custom { name: name.to_owned(), parameters: vec![] };
    let layer = |name: &str| Net::layer(Layer::Custom { name: name.to_owned(), parameters: vec![] });
    for (net, message) in [
        (
            phi(Activation::Relu),
            "relu at net must read the output of an affine layer, whose channels are Gaussian: put Net::dense before it",
        ),
        (
            dense().then(phi(Activation::Relu)).then(phi(Activation::Gelu)),
            "gelu at net.2 must read the output of an affine layer, whose channels are Gaussian: put Net::dense before it",
        ),
        (
            dense().then(phi(Activation::Relu)).then(Net::layer_norm()),
            "layer_norm at net.2 must read channels of mean zero: put it after an affine layer, before the nonlinearity",
        ),
        (
            dropout(),
            "dropout at net acts on the input features, where its noise does not average out: put an affine layer before it",
        ),
        (
            dense().then(Net::identity() + Net::identity()).then(dense()),
            "the branches of the sum at net.1 are correlated, since 2 of them do not end in fresh weights of mean zero: end all but one in Net::dense",
        ),
        (
            Net::product([Net::identity(), Net::identity()]),
            "the branches of the product at net are correlated, since 2 of them have no fresh weights: end all but one in Net::dense",
        ),
        (
            dense().then(phi(custom("nobody"))),
            "no dual activation is registered under the name \"nobody\": use Rules::activation",
        ),
        (layer("nobody"), "no layer is registered under the name \"nobody\": use Rules::layer"),
        (
            Net::mlp(2, Activation::Relu, 1, Variance::ONE, Variance::ZERO).standard(),
            "the NTK of the standard parameterization at net.2 grows with the width n: take the network with Net::at_width(n)",
        ),
        (
            Net::dense_with(Width::Fixed(0), Affine::new(Variance::ONE, Variance::ZERO)),
            "a layer needs at least one unit: give Width::Fixed and Net::readout a positive number",
        ),
        (Net::sum([]), "a sum needs at least one branch"),
        (
            dense().then(phi(Activation::Rbf { gamma: -1.0 })),
            "rbf: gamma = -1 is out of its domain (at least 0)",
        ),
    ] {
        assert_eq!(refused(net), message);
    }
    let mixed = Net::concat([dense(), Net::readout(3, Variance::ONE, Variance::ZERO)]);
    assert!(matches!(Analytic::new(mixed), Err(Error::Core(ntk_core::Error::MixedWidths { .. }))));
}

#[test]
fn inputs_that_do_not_fit_are_refused_before_work_starts() {
    let net = || Net::mlp(1, Activation::Relu, 1, Variance::ONE, Variance::ZERO);
    let x = array![[1.0, 2.0], [0.5, -1.0]];
    for (x2, message) in [
        (array![[1.0, 2.0, 3.0]], "the two batches must have the same number of features, not 2 and 3"),
        (array![[1.0, f64::NAN]], "input value NaN of sample 0, feature 1 is not finite"),
        (array![[1.0, 2.0], [f64::INFINITY, 0.0]], "input value inf of sample 1, feature 0 is not finite"),
        (Array2::zeros((0, 2)), "a batch needs at least one sample and one feature, not shape (0, 2)"),
        (Array2::zeros((2, 0)), "a batch needs at least one sample and one feature, not shape (2, 0)"),
    ] {
        assert_eq!(refused_inputs(net(), &x, &x2), message);
        if x2.nrows() != 1 || x2.ncols() != 3 {
            let kernel = Analytic::new(net()).unwrap();
            assert_eq!(kernel.symmetric((&x2).into(), Which::Both).unwrap_err().to_string(), message);
            assert_eq!(kernel.diag((&x2).into(), Which::Ntk).unwrap_err().to_string(), message);
        }
    }
    let unequal = dense().then(Net::identity() + Net::readout(3, Variance::ONE, Variance::ZERO));
    let error = Analytic::new(unequal.at_width(4)).unwrap().symmetric((&x).into(), Which::Both).unwrap_err();
    assert!(matches!(error, Error::Core(ntk_core::Error::BranchWidths { .. })), "{error}");
}

#[test]
fn expectations_that_do_not_exist_are_refused_and_never_nan() {
    let x = array![[10.0, 20.0], [0.5, -1.0]];
    for phi_ in [
        Activation::Gaussian { a: 1.0, b: 1.0 },
        Activation::Exp { a: 1.0, b: 30.0 },
        Activation::Monomial { degree: 200 },
        Activation::RectifiedMonomial { degree: 300 },
    ] {
        let name = phi_.name().to_owned();
        let kernel = Analytic::new(dense().then(phi(phi_)).then(dense())).unwrap();
        let error = kernel.symmetric((&x).into(), Which::Both).unwrap_err();
        assert!(matches!(&error, Error::Expectation { activation, .. } if *activation == name), "{error}");
    }
    let huge = Variance::new(1e300).unwrap();
    let kernel = Analytic::new(Net::mlp(3, Activation::Relu, 1, huge, Variance::ZERO)).unwrap();
    let error = kernel.symmetric((&x).into(), Which::Both).unwrap_err();
    assert!(matches!(error, Error::Overflow { .. } | Error::Expectation { .. }), "{error}");
    let normed = Net::dense(Variance::ONE, Variance::ZERO)
        .then(Net::layer(Layer::LayerNorm { axes: ntk_core::Axes::Channels, epsilon: 0.0 }));
    let error = Analytic::new(normed.clone())
        .unwrap()
        .symmetric((&array![[1.0], [0.0]]).into(), Which::Both)
        .unwrap_err();
    assert!(matches!(error, Error::ZeroVariance { sample: 1, .. }), "{error}");
    let (x1, x2) = (array![[1.0]], array![[1.0], [2.0], [0.0]]);
    let error = Analytic::new(normed).unwrap().block((&x1).into(), (&x2).into(), Which::Both).unwrap_err();
    assert!(matches!(error, Error::ZeroVariance { sample: 2, .. }), "{error}");
}

#[test]
fn what_is_no_covariance_is_refused() {
    for (q11, q22, q12) in
        [(1.0, 1.0, 1.1), (-1.0, 1.0, 0.0), (f64::NAN, 1.0, 0.0), (1.0, f64::INFINITY, 0.0), (0.0, 1.0, 0.5)]
    {
        assert!(
            matches!(Cov2::new(q11, q22, q12), Err(Error::NotCovariance { .. })),
            "({q11}, {q22}, {q12})"
        );
        let gap = 0.5;
        if q12.abs() > 1.0 || !(q11 + q22).is_finite() || q11 < 0.0 {
            assert!(q12 == 1.1 || dual(&Activation::Relu, Cov2 { q11, q22, q12, gap }).is_err());
        }
    }
    assert!(matches!(
        dual(&Activation::Relu, Cov2 { q11: 1.0, q22: 1.0, q12: 0.0, gap: 1.5 }),
        Err(Error::NotCovariance { .. })
    ));
    assert!(matches!(Rules::new().tolerance(0.0), Err(Error::Tolerance { .. })));
    assert!(matches!(Rules::new().tolerance(f64::NAN), Err(Error::Tolerance { .. })));
}
