//! Bad input gets a typed error that names the cause and the remedy, before work starts; nothing panics.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ndarray::{Array2, array};
use ntk_analytic::{Analytic, Cov2, Error, Rules, dual};
use ntk_core::{
    Activation, Affine, Batch, ConvKind, DropRate, Graphs, Groups, KernelFn, Layer, Net, Variance, Which,
    Width, Window,
};

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
            Net::layer_norm(),
            "layer_norm at net must read channels of mean zero: put it after an affine layer, before the nonlinearity",
        ),
        (
            dropout(),
            "dropout at net acts on the input features, where its noise does not average out: put an affine layer before it",
        ),
        (
            dense().then(Net::identity() + phi(Activation::Relu)).then(dense()),
            "the branches of the sum at net.1 are correlated, since 2 of them have no weights of their own: put Net::dense into all but one",
        ),
        (
            Net::product([Net::identity(), Net::identity()]),
            "the branches of the product at net are correlated, since 2 of them have no weights of their own: put Net::dense into all but one",
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

/// Networks over positions, the inputs they do not fit, and what they say.
#[test]
fn positions_that_do_not_fit_are_refused_before_work_starts() {
    let images = ndarray::Array4::<f64>::from_elem((2, 4, 4, 2), 0.5);
    let sequences = ndarray::Array3::<f64>::from_elem((2, 4, 2), 0.5);
    let tokens = ndarray::Array2::<u32>::zeros((2, 4));
    let (images, sequences) = (Batch::grid(images.view()).unwrap(), Batch::grid(sequences.view()).unwrap());
    let graphs = [vec![(0, 1, 1.0)], vec![(1, 4, 2.0)]];
    let conv = |window| Net::conv(window, Variance::ONE, Variance::ZERO);
    let pooled = |net: Net| net.then(Net::global_average_pool()).then(dense());
    let local = Net::conv_with(
        ConvKind::Local,
        Width::HIDDEN,
        Affine::new(Variance::ONE, Variance::ZERO),
        Window::same(&[3]),
        Groups::Count(1),
    );
    for (net, x, message) in [
        (
            conv(Window::same(&[3, 3])),
            images,
            "the outputs have positions [4, 4]: end the network in Net::flatten or a global pool",
        ),
        (
            pooled(conv(Window::valid(&[5, 1]))),
            images,
            "conv: a window of 5 positions does not fit the 4 positions of axis 0: make it smaller, or pad with Padding::Same",
        ),
        (
            pooled(conv(Window::same(&[3]))),
            images,
            "conv: describes 1 axes of positions, and its input has 2",
        ),
        (
            pooled(dense().then(Net::embedding(Variance::ONE))),
            sequences,
            "the embedding at net.1 must be the first layer: it reads tokens",
        ),
        (
            pooled(Net::embedding(Variance::ONE)),
            sequences,
            "embedding at net cannot read numbers: an embedding reads Batch::tokens, and every other first layer numbers",
        ),
        (
            pooled(dense()),
            Batch::tokens(tokens.view(), 5).unwrap(),
            "a layer at net cannot read tokens: an embedding reads Batch::tokens, and every other first layer numbers",
        ),
        (
            pooled(Net::layer(Layer::Aggregate { axis: 0 }).then(dense())),
            sequences,
            "aggregate at net.0 needs a graph for each sample: give the batch Batch::with_graphs",
        ),
        (
            pooled(local),
            sequences.with_lengths(&[2, 4]),
            "conv at net.0 does not take samples of several lengths: weights of its own at every position have no use beyond a length",
        ),
        (
            Net::product([
                conv(Window::same(&[3])).then(Net::flatten()),
                Net::serial([dense(), Net::flatten()]),
            ]),
            sequences,
            "the product at net.product multiplies averages of branches whose channels differ in law (a flatten, a concatenation, groups): put Net::dense at the end of all but one",
        ),
        (
            pooled((dense() + dense()).then(Net::embedding(Variance::ONE))),
            sequences,
            "the embedding at net.1 must be the first layer: it reads tokens",
        ),
        (
            pooled(Net::layer(Layer::Aggregate { axis: 0 }).then(dense())),
            sequences.with_graphs(Graphs::Sparse(&graphs)),
            "the edge 1 → 4 of weight 2 in the graph of sample 1 is not one between its 4 nodes with a finite weight",
        ),
        (
            pooled(conv(Window::same(&[3]))),
            sequences.with_lengths(&[2, 5]),
            "sample 1 has length 5, and lengths lie between 1 and the 4 positions of a sequence",
        ),
    ] {
        let found = Analytic::new(net).and_then(|kernel| kernel.symmetric(x, Which::Both)).unwrap_err();
        assert_eq!(found.to_string(), message);
    }
}

#[test]
fn requests_beyond_the_bound_on_memory_say_what_would_fit() {
    let x = ndarray::Array4::<f64>::from_elem((200, 16, 16, 1), 0.5);
    let batch = Batch::grid(x.view()).unwrap();
    let conv = Net::conv(Window::same(&[3, 3]), Variance::ONE, Variance::ZERO).then(phi(Activation::Relu));
    let net = Net::serial([conv.clone(), conv, Net::flatten(), dense()]);
    let needed = Analytic::new(net.clone()).unwrap().plan(batch, None, Which::Both).unwrap().bytes();
    let bounded = |bytes| Analytic::with_rules(net.clone(), &Rules::new().memory(bytes)).unwrap();
    assert!(bounded(needed).symmetric(batch, Which::Both).is_ok());
    match bounded(needed - 1).symmetric(batch, Which::Both).unwrap_err() {
        Error::Memory { rows: 200, columns: 200, budget, needed: found, remedy } => {
            assert!(
                found == needed && budget == needed - 1 && remedy.contains("199 × 199 would fit"),
                "{remedy}"
            );
        }
        other => panic!("{other}"),
    }
}
