//! Every node of the golden files' format and every argument of it, as a `Net`.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ntk_core::{
    Activation, Affine, Attention, Axes, Batch, ConvKind, DropRate, Groups, Interpolation, Layer,
    LogitScaling, Net, Padding, Pooling, PositionCombine, PositionEmbedding, Rate, Shape, Span, Variance,
    Weighting, Width, Window,
};
use ntk_testkit::golden::{self, Case, Unsupported};
use serde_json::{Value, json};

/// A network on images of 6 × 5 positions and 3 channels.
fn on_images(network: Value) -> Result<Net, Unsupported> {
    golden::net_for(&network, &Shape::grid(&[6, 5], 3).unwrap())
}

fn reads(network: Value, expected: Net) {
    let got = on_images(network.clone()).unwrap_or_else(|error| panic!("{network}: {error}"));
    assert_eq!(got, expected, "{network}");
}

fn refuses(network: Value, message: &str) {
    match on_images(network.clone()) {
        Err(error) => assert_eq!(error.to_string(), message, "{network}"),
        Ok(net) => panic!("{network}\n{net}"),
    }
}

fn variance(std: f64) -> Variance {
    Variance::from_std(std).unwrap()
}

fn plain() -> Affine {
    Affine::new(Variance::ONE, Variance::ZERO)
}

fn dense(width: usize) -> Net {
    Net::dense_with(Width::Fixed(width), plain())
}

fn conv(kind: ConvKind, width: usize, affine: Affine, window: Window) -> Net {
    Net::conv_with(kind, Width::Fixed(width), affine, window, Groups::Count(1))
}

#[test]
fn dense_layers_and_their_parameterizations() {
    reads(json!({"Dense": {}}), dense(16));
    let affine = Affine::new(variance(1.4), variance(0.3));
    let fixed = |width, affine| Net::dense_with(Width::Fixed(width), affine);
    reads(json!({"Dense": {"W_std": 1.4, "b_std": 0.3, "width": 5}}), fixed(5, affine));
    reads(json!({"Dense": {"W_std": null, "b_std": null, "parameterization": "ntk"}}), dense(16));
    reads(json!({"Dense": {"parameterization": "standard"}}), fixed(16, plain().standard()));
    // A bias of standard deviation 0 learns in standard parameterization.
    let learning = Affine { bias_rate: Rate::ONE, ..plain().standard() };
    reads(json!({"Dense": {"b_std": 0.0, "parameterization": "standard"}}), fixed(16, learning));
    // s₀ divides the fan-in that the learning rate sees, and s₁ times the units are made.
    let scaled = Affine { weight_rate: Rate::new(0.25).unwrap(), ..plain().standard() };
    reads(json!({"Dense": {"width": 8, "parameterization": "standard", "s": [4, 3]}}), fixed(24, scaled));
    refuses(json!({"Dense": {"parameterization": "mup"}}), r#"Dense with parameterization = "mup""#);
    refuses(json!({"Dense": {"parameterization": "standard", "s": [1]}}), "Dense with s = [1]");
    refuses(json!({"Dense": {"channel_axis": 1}}), "Dense with channel_axis = 1");
    refuses(json!({"Dense": {"W_std": "large"}}), r#"Dense with W_std = "large""#);
}

#[test]
fn convolutions_with_all_their_arguments() {
    let (shared, ones) = (ConvKind::Shared, Window::valid(&[3, 2]));
    reads(json!({"Conv": {"filter_shape": [3, 2]}}), conv(shared, 16, plain(), ones.clone()));
    let window = Window::same(&[3, 3]).strides(&[2, 1]);
    let affine = Affine::new(variance(1.2), variance(0.1));
    reads(
        json!({"Conv": {"filter_shape": [3, 3], "strides": [2, 1], "padding": "SAME", "W_std": 1.2, "b_std": 0.1, "width": 4}}),
        conv(shared, 4, affine, window),
    );
    let circular = Window { padding: Padding::Circular, ..ones.clone() };
    reads(
        json!({"ConvLocal": {"filter_shape": [3, 2], "padding": "CIRCULAR", "strides": null}}),
        conv(ConvKind::Local, 16, plain(), circular),
    );
    reads(
        json!({"ConvTranspose": {"filter_shape": [3, 2], "strides": [2, 2], "padding": "VALID"}}),
        conv(ConvKind::Transposed, 16, plain(), ones.clone().strides(&[2, 2])),
    );
    let standard = Affine { weight_rate: Rate::new(0.5).unwrap(), ..plain().standard() };
    let scaled = json!({"filter_shape": [3, 2], "width": 8, "parameterization": "standard", "s": [2, 3]});
    reads(json!({"Conv": scaled}), conv(shared, 24, standard, ones.clone()));
    reads(json!({"ConvLocal": scaled}), conv(ConvKind::Local, 8, standard, ones));
    refuses(json!({"Conv": {}}), "malformed network: Conv needs filter_shape");
    refuses(json!({"Conv": {"filter_shape": [3, 3], "padding": "FULL"}}), r#"Conv with padding = "FULL""#);
    refuses(json!({"Conv": {"filter_shape": [3, -3]}}), "Conv with filter_shape = [3,-3]");
    // A window that does not fit is found where the next layer asks for the shape.
    let twice = json!({"Conv": {"filter_shape": [4, 4]}});
    refuses(
        json!({"serial": [twice, twice]}),
        "conv: a window of 4 positions does not fit the 3 positions of axis 0: make it smaller, or pad with Padding::Same",
    );
}

#[test]
fn pools_and_readouts() {
    let pool = |pooling, window| Net::layer(Layer::Pool { pooling, window });
    let (average, edges, sum) = (Pooling::Average, Pooling::EdgeAverage, Pooling::Sum);
    reads(json!({"AvgPool": {"window_shape": [2, 2]}}), pool(average, Window::valid(&[2, 2])));
    reads(
        json!({"AvgPool": {"window_shape": [2, 3], "strides": [2, 3], "padding": "SAME", "normalize_edges": true}}),
        pool(edges, Window::same(&[2, 3]).strides(&[2, 3])),
    );
    reads(
        json!({"AvgPool": {"window_shape": [2, 2], "padding": "CIRCULAR", "normalize_edges": false}}),
        pool(average, Window::circular(&[2, 2])),
    );
    reads(
        json!({"SumPool": {"window_shape": [2, 2], "strides": [1, 2]}}),
        pool(sum, Window::valid(&[2, 2]).strides(&[1, 2])),
    );
    refuses(
        json!({"SumPool": {"window_shape": [2, 2], "normalize_edges": true}}),
        "SumPool with normalize_edges = true",
    );
    reads(json!({"GlobalAvgPool": {}}), Net::global_average_pool());
    reads(json!({"GlobalSumPool": {}}), Net::layer(Layer::GlobalPool { pooling: sum }));
    reads(json!({"Flatten": {}}), Net::flatten());
    reads(json!({"Identity": {}}), Net::identity());
    refuses(json!({"Flatten": {"batch_axis": 1}}), "Flatten with batch_axis = 1");
}

#[test]
fn layer_norm_over_array_axes() {
    let norm = |axes| Net::layer(Layer::LayerNorm { axes, epsilon: 1e-12 });
    reads(json!({"LayerNorm": {}}), norm(Axes::Channels));
    reads(json!({"LayerNorm": {"axis": -1}}), norm(Axes::Channels));
    reads(json!({"LayerNorm": {"axis": [3]}}), norm(Axes::Channels));
    reads(json!({"LayerNorm": {"axis": [1, 2, 3]}}), norm(Axes::All));
    reads(json!({"LayerNorm": {"axis": [-1, -3]}}), norm(Axes::With(vec![0])));
    reads(
        json!({"LayerNorm": {"axis": [2, 3], "eps": 1e-3}}),
        Net::layer(Layer::LayerNorm { axes: Axes::With(vec![1]), epsilon: 1e-3 }),
    );
    refuses(json!({"LayerNorm": {"axis": [1, 2]}}), "LayerNorm with axis = [1,2]");
    refuses(json!({"LayerNorm": {"axis": [0, 3]}}), "LayerNorm with axis = [0,3]");
    refuses(json!({"LayerNorm": {"axis": 4}}), "LayerNorm with axis = 4");
    // Axes count from the shape at their place: after a global pool, 1 is the axis of the channels.
    let after = json!({"serial": [{"GlobalAvgPool": {}}, {"LayerNorm": {"axis": 1}}]});
    reads(after, Net::global_average_pool().then(norm(Axes::Channels)));
    assert_eq!(golden::net(&json!({"LayerNorm": {"axis": [1]}})).unwrap(), norm(Axes::Channels));
}

#[test]
fn dropout_keeps_where_ours_drops() {
    let quarter = Net::dropout(DropRate::new(0.25).unwrap());
    reads(json!({"Dropout": {"rate": 0.75}}), quarter.clone());
    reads(json!({"Dropout": {"rate": 0.75, "mode": "train"}}), quarter);
    reads(json!({"Dropout": {"rate": 0.75, "mode": "test"}}), Net::identity());
    refuses(json!({"Dropout": {"rate": 0.0}}), "a dropout rate is the probability to drop, in [0, 1), not 1");
    refuses(json!({"Dropout": {}}), "malformed network: Dropout needs rate");
}

#[test]
fn attention_with_all_its_arguments() {
    let sixteen = Width::Fixed(16);
    let bare =
        Attention { width: sixteen, heads: sixteen, key: sixteen, value: sixteen, ..Attention::default() };
    reads(json!({"GlobalSelfAttention": {}}), Net::attention(bare.clone()));
    let full = Attention {
        width: Width::Fixed(1),
        key: Width::Fixed(2),
        value: Width::Fixed(3),
        heads: Width::Fixed(4),
        scaling: LogitScaling::InverseRoot,
        key_variance: variance(1.1),
        value_variance: variance(1.2),
        query_variance: variance(1.3),
        output_variance: variance(1.4),
        bias: variance(0.1),
        weighting: Weighting::Relu,
        position: Some(PositionEmbedding {
            power: 1.5,
            values: true,
            combine: PositionCombine::Concat(Width::Fixed(7)),
            ..PositionEmbedding::sum(variance(0.6))
        }),
        ..Attention::default()
    };
    reads(
        json!({"GlobalSelfAttention": {
            "n_chan_out": 1, "n_chan_key": 2, "n_chan_val": 3, "n_heads": 4, "linear_scaling": false,
            "W_key_std": 1.1, "W_value_std": 1.2, "W_query_std": 1.3, "W_out_std": 1.4, "b_std": 0.1,
            "attention_mechanism": "RELU", "pos_emb_type": "CONCAT", "pos_emb_p_norm": 1.5,
            "n_chan_pos_emb": 7, "W_pos_emb_std": 0.6, "val_pos_emb": true,
        }}),
        Net::attention(full),
    );
    for (name, weighting) in
        [("SOFTMAX", Weighting::Softmax), ("IDENTITY", Weighting::Identity), ("ABS", Weighting::Abs)]
    {
        let attention = Attention { weighting, ..bare.clone() };
        reads(json!({"GlobalSelfAttention": {"attention_mechanism": name}}), Net::attention(attention));
    }
    let position = Some(PositionEmbedding::sum(Variance::ONE));
    let sum = Attention { position, ..bare.clone() };
    reads(json!({"GlobalSelfAttention": {"pos_emb_type": "SUM"}}), Net::attention(sum));
    // Without a number, as many channels of positions as come in.
    let concat = |channels| {
        let combine = PositionCombine::Concat(Width::Fixed(channels));
        let position = Some(PositionEmbedding { combine, ..PositionEmbedding::sum(Variance::ONE) });
        Net::attention(Attention { position, ..bare.clone() })
    };
    let node = json!({"GlobalSelfAttention": {"pos_emb_type": "CONCAT"}});
    reads(node.clone(), concat(3));
    reads(json!({"serial": [{"Dense": {"width": 5}}, node]}), dense(5).then(concat(5)));
    refuses(
        json!({"GlobalSelfAttention": {"attention_mechanism": "TANH"}}),
        r#"GlobalSelfAttention with attention_mechanism = "TANH""#,
    );
    refuses(
        json!({"GlobalSelfAttention": {"pos_emb_decay_fn": "exp"}}),
        r#"GlobalSelfAttention with pos_emb_decay_fn = "exp""#,
    );
}

#[test]
fn image_resize() {
    let resize = |sides: &[Option<usize>], interpolation| {
        Net::layer(Layer::Resize { sides: sides.to_vec(), interpolation })
    };
    let (nearest, linear) = (Interpolation::Nearest, Interpolation::Linear);
    let node = |shape: Value, method: &str| json!({"ImageResize": {"shape": shape, "method": method}});
    reads(node(json!([-1, 8, -1, -1]), "nearest"), resize(&[Some(8), None], nearest));
    for method in ["linear", "bilinear"] {
        reads(node(json!([-1, 3, 4, -1]), method), resize(&[Some(3), Some(4)], linear));
    }
    refuses(node(json!([-1, 8, 8, 3]), "linear"), "ImageResize with shape = [-1,8,8,3]");
    refuses(node(json!([2, 8, 8, -1]), "linear"), "ImageResize with shape = [2,8,8,-1]");
    refuses(node(json!([-1, 8, -1]), "linear"), "ImageResize with shape = [-1,8,-1]");
    refuses(node(json!([-1, 8, -2, -1]), "linear"), "ImageResize with shape = [-1,8,-2,-1]");
    refuses(node(json!([-1, 8, 8, -1]), "cubic"), r#"ImageResize with method = "cubic""#);
    let sharp = |side: usize| json!({"ImageResize": {"shape": [-1, side, -1, -1], "method": "linear", "antialias": false}});
    reads(sharp(9), resize(&[Some(9), None], linear));
    refuses(sharp(3), "ImageResize with antialias = false");
}

#[test]
fn index_by_slices_and_numbers() {
    let index = |spans: [Span; 2]| Net::layer(Layer::Index { spans: spans.to_vec() });
    let span = |start, stop, step| Span { start, stop, step };
    let node = |slices: Value| json!({"Index": {"slices": slices}});
    reads(
        node(json!([null, [1, 4, null], [null, null, -2], [null, null, null]])),
        index([span(Some(1), Some(4), 1), span(None, None, -2)]),
    );
    reads(node(json!([[0, null, 1], [1]])), index([span(Some(1), None, 1), Span::ALL]));
    reads(node(json!([])), index([Span::ALL, Span::ALL]));
    // A number removes its axis.
    let drop = |axis| Net::layer(Layer::Linear { axis, rows: vec![vec![1.0]], remove: true });
    reads(node(json!([null, 2])), index([span(Some(2), Some(3), 1), Span::ALL]).then(drop(0)));
    let both = index([span(Some(-2), Some(-1), 1), span(Some(-1), None, 1)]).then(drop(1)).then(drop(0));
    reads(node(json!([null, -2, -1])), both.clone());
    assert_eq!(both.output_shape(&Shape::grid(&[6, 5], 3).unwrap()).unwrap(), Shape::vector(3));
    for slices in [
        json!([[0, 2, 1]]),
        json!([0]),
        json!([null, null, null, [0, 2, 1]]),
        json!([null, null, null, null, null]),
        json!([null, [1, 2, 1, 1]]),
        json!([null, "all"]),
    ] {
        let shown = format!("Index with slices = {slices}");
        refuses(node(slices), &shown);
    }
}

#[test]
fn dot_general_contracts_or_maps_an_axis() {
    let linear = |axis, rows: &[&[f64]], remove| {
        let rows = rows.iter().map(|row| row.to_vec()).collect();
        Net::layer(Layer::Linear { axis, rows, remove })
    };
    let vector = json!([1.0, 0.0, -1.0, 0.5, 2.0]);
    let contracted = linear(1, &[&[1.0, 0.0, -1.0, 0.5, 2.0]], true);
    reads(json!({"DotGeneral": {"rhs": vector, "axis": 2}}), contracted.clone());
    reads(json!({"DotGeneral": {"lhs": {"shape": [5], "data": vector}, "axis": -2}}), contracted);
    // x R and L x.
    let matrix = json!([[1.0, 2.0], [3.0, 4.0]]);
    let halves = json!({"ImageResize": {"shape": [-1, 2, -1, -1], "method": "nearest"}});
    let small =
        Net::layer(Layer::Resize { sides: vec![Some(2), None], interpolation: Interpolation::Nearest });
    let after = |dot: Value| json!({"serial": [halves, {"DotGeneral": dot}]});
    reads(
        after(json!({"rhs": matrix, "axis": 1})),
        small.clone().then(linear(0, &[&[1.0, 3.0], &[2.0, 4.0]], false)),
    );
    reads(
        after(json!({"lhs": matrix, "axis": 1})),
        small.clone().then(linear(0, &[&[1.0, 2.0], &[3.0, 4.0]], false)),
    );
    let flat = json!({"shape": [2, 2], "data": [1.0, 2.0, 3.0, 4.0]});
    reads(after(json!({"lhs": flat, "axis": 1})), small.then(linear(0, &[&[1.0, 2.0], &[3.0, 4.0]], false)));
    reads(json!({"DotGeneral": {}}), Net::identity());
    refuses(json!({"DotGeneral": {"rhs": [1.0], "axis": 0}}), "DotGeneral with axis = 0");
    refuses(json!({"DotGeneral": {"rhs": [1.0], "axis": 3}}), "DotGeneral with axis = 3");
    refuses(json!({"DotGeneral": {"rhs": [1.0]}}), "DotGeneral with axis = null");
    refuses(json!({"DotGeneral": {"rhs": 2.0, "axis": 1}}), "DotGeneral with rhs = 2.0");
    refuses(
        json!({"DotGeneral": {"rhs": [[1.0], [1.0, 2.0]], "axis": 1}}),
        "DotGeneral with rhs = [[1.0],[1.0,2.0]]",
    );
    refuses(
        json!({"serial": [{"DotGeneral": {"rhs": [1.0, 2.0], "axis": 1}}]}),
        "linear: a matrix of 2 columns does not fit the 6 positions of axis 0",
    );
}

#[test]
fn aggregate_over_one_axis() {
    let aggregate = |axis| Net::layer(Layer::Aggregate { axis });
    reads(json!({"Aggregate": {"axis": 2}}), aggregate(1));
    reads(json!({"Aggregate": {"axis": [1], "implementation": "SPARSE"}}), aggregate(0));
    refuses(json!({"Aggregate": {"axis": [1, 2]}}), "Aggregate with axis = [1,2]");
    refuses(json!({"Aggregate": {}}), "Aggregate with axis = null");
    refuses(json!({"Aggregate": {"axis": 3}}), "Aggregate with axis = 3");
    let sequence = Shape::grid(&[4], 2).unwrap();
    assert_eq!(golden::net_for(&json!({"Aggregate": {}}), &sequence).unwrap(), aggregate(0));
}

#[test]
fn branches() {
    let relu = || Net::activation(Activation::Relu);
    let (two, dense_relu) =
        (json!({"FanOut": {"n": 2}}), json!({"serial": [{"Dense": {"width": 3}}, {"Relu": {}}]}));
    let parallel = json!({"parallel": [{"Identity": {}}, dense_relu]});
    let branches = || [Net::identity(), dense(3).then(relu())];
    let with = |fan_in: Value| json!({"serial": [two, parallel, fan_in]});
    reads(with(json!({"FanInSum": {}})), Net::sum(branches()));
    reads(with(json!({"FanInProd": {}})), Net::product(branches()));
    reads(with(json!({"FanInConcat": {}})), Net::concat(branches()));
    reads(with(json!({"FanInConcat": {"axis": 3}})), Net::concat(branches()));
    reads(with(json!({"FanInConcat": {"axis": 1}})), Net::join(0, branches()));
    reads(with(json!({"FanInConcat": {"axis": -2}})), Net::join(1, branches()));
    refuses(with(json!({"FanInConcat": {"axis": 0}})), "FanInConcat with axis = 0");
    // Branches may go on in parallel, or not at all.
    let one = json!({"parallel": [{"Relu": {}}, {"Identity": {}}]});
    reads(
        json!({"serial": [two, parallel, one, {"FanInSum": {}}, {"Dense": {}}]}),
        Net::sum([relu(), dense(3).then(relu())]).then(dense(16)),
    );
    reads(json!({"serial": [two, {"FanInSum": {}}]}), Net::sum([Net::identity(), Net::identity()]));
    // The axis counts from where the branches end.
    let flat = json!({"parallel": [{"Flatten": {}}, {"Flatten": {}}]});
    reads(
        json!({"serial": [two, flat, {"FanInConcat": {"axis": 1}}]}),
        Net::concat([Net::flatten(), Net::flatten()]),
    );
    for (nodes, message) in [
        (json!([two, {"Relu": {}}]), "malformed network: Relu where a parallel or a fan-in should follow"),
        (json!([two, parallel]), "malformed network: branches without a fan-in"),
        (json!([{"FanOut": {"n": 3}}, parallel]), "malformed network: parallel of 2 branches after 3"),
        (json!([{"FanInSum": {}}]), "no node FanInSum"),
        (json!([{"parallel": {}}]), "malformed network: parallel holds a list"),
        (json!(["Relu"]), r#"malformed network: a node is an object with one key, not "Relu""#),
        (json!([{"MaxPool": {}}]), "no node MaxPool"),
    ] {
        refuses(json!({"serial": nodes}), message);
    }
    refuses(
        json!({"serial": [two, {"parallel": [{"Flatten": {}}, {"Identity": {}}]}, {"FanInSum": {}}]}),
        "the branches of a sum must end on the same grid, not on [] and [6, 5]",
    );
}

#[test]
fn activations_with_their_defaults() {
    use Activation as A;
    for (node, phi) in [
        (json!({"Relu": {}}), A::Relu),
        (json!({"Relu": {"do_stabilize": true}}), A::Relu),
        (json!({"LeakyRelu": {"alpha": 0.3}}), A::LeakyRelu { alpha: 0.3 }),
        (json!({"Abs": {}}), A::Abs),
        (json!({"ABRelu": {"a": -0.5, "b": 2}}), A::AbRelu { a: -0.5, b: 2.0 }),
        (json!({"Sign": {}}), A::Sign),
        (json!({"Erf": {"b": 0.5}}), A::Erf { a: 1.0, b: 0.5, c: 0.0 }),
        (json!({"Sigmoid_like": {}}), A::SigmoidLike),
        (json!({"Gelu": {"approximate": false}}), A::Gelu),
        (json!({"Sin": {"a": 2, "c": 0.1}}), A::Sin { a: 2.0, b: 1.0, c: 0.1 }),
        (json!({"Cos": {}}), A::COS),
        (json!({"Rbf": {"gamma": 0.2}}), A::Rbf { gamma: 0.2 }),
        (json!({"Exp": {"b": 0.2}}), A::Exp { a: 1.0, b: 0.2 }),
        (json!({"Gaussian": {}}), A::Gaussian { a: 1.0, b: -1.0 }),
        (json!({"Gabor": {}}), A::Gabor),
        (json!({"ExpNormalized": {}}), A::ExpNormalized { gamma: 1.0, shift: -1.0 }),
        (json!({"Hermite": {"degree": 3}}), A::Hermite { degree: 3 }),
        (json!({"Monomial": {"degree": 2}}), A::Monomial { degree: 2 }),
        (json!({"RectifiedMonomial": {"degree": 1}}), A::RectifiedMonomial { degree: 1 }),
        (json!({"Polynomial": {"coef": [0.5, 1]}}), A::Polynomial { coefficients: vec![0.5, 1.0] }),
        (json!({"ElementwiseNumerical": {"fn": "tanh", "deg": 25}}), A::Tanh),
    ] {
        reads(node, Net::activation(phi));
    }
    refuses(json!({"Relu": {"alpha": 1}}), "Relu with alpha = 1");
    refuses(json!({"Monomial": {"degree": 1.5}}), "Monomial with degree = 1.5");
    refuses(json!({"Monomial": {}}), "malformed network: Monomial needs degree");
    refuses(json!({"Polynomial": {"coef": "x"}}), r#"Polynomial with coef = "x""#);
    refuses(json!({"ElementwiseNumerical": {"fn": "mish"}}), r#"ElementwiseNumerical with fn = "mish""#);
}

#[derive(serde::Deserialize)]
struct Kernels {
    cases: Vec<Case>,
}

#[test]
fn every_case_of_the_file_is_read() {
    let kernels: Kernels = golden::read("kernels.json").unwrap();
    assert!(!kernels.cases.is_empty());
    for case in &kernels.cases {
        let net = case.net().unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let (x1, x2) = (case.batch1().unwrap(), case.batch2().unwrap());
        let x1 = x1.view();
        let end = net.output_shape(&x1.shape().unwrap()).unwrap();
        assert_eq!(end.positions().rank(), 0, "{}", case.name);
        let columns = x2.as_ref().map_or(x1.len(), |x2| x2.view().len());
        assert_eq!(case.nngp.0.shape(), [x1.len(), columns], "{}", case.name);
        assert_eq!(case.ntk.0.shape(), [x1.len(), columns], "{}", case.name);
    }
}

#[test]
fn cases_carry_lengths_and_graphs() {
    let matrix = json!({"shape": [2, 1], "data": [1.0, 2.0]});
    let case = |rest: Value| {
        let mut case = json!({
            "name": "sequence", "network": {"Aggregate": {}}, "nngp": matrix, "ntk": matrix,
            "x1": {"shape": [2, 3, 1], "data": [1, 2, 3, 4, 5, 6]}, "x2": {"shape": [1, 3, 1], "data": [1, 2, 3]},
        });
        for (name, value) in rest.as_object().unwrap() {
            case[name] = value.clone();
        }
        serde_json::from_value::<Case>(case)
    };
    let bare = case(json!({})).unwrap();
    assert_eq!((bare.batch1().unwrap().view().lengths(), bare.lengths2.clone()), (None, None));
    let full = case(json!({
        "lengths1": [3, 2], "lengths2": {"shape": [1], "data": [1.0]},
        "graph1": {"shape": [2, 3, 3], "data": [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.5, 0, 0]}, "graph2": null,
    }))
    .unwrap();
    let (x1, x2) = (full.batch1().unwrap(), full.batch2().unwrap().unwrap());
    let (x1, x2): (Batch<'_>, Batch<'_>) = (x1.view(), x2.view());
    assert_eq!((x1.lengths(), x2.lengths()), (Some(&[3, 2][..]), Some(&[1][..])));
    assert_eq!(x1.graphs().unwrap().edges(0), [(0, 1, 1.0)]);
    assert_eq!(x1.graphs().unwrap().edges(1), [(2, 0, 0.5)]);
    assert!(x2.graphs().is_none());
    assert_eq!(full.net().unwrap(), Net::layer(Layer::Aggregate { axis: 0 }));
    let refused = |rest: Value| case(rest).unwrap().batch1().unwrap_err().to_string();
    assert_eq!(
        refused(json!({"lengths1": [3, 4]})),
        "sample 1 has length 4, and lengths lie between 1 and the 3 positions of a sequence"
    );
    assert_eq!(
        refused(json!({"graph1": {"shape": [3, 3], "data": vec![0; 9]}})),
        "malformed network: a graph is one matrix for each sample, not an array of shape [3, 3]"
    );
    let error = case(json!({"lengths1": [1.5, 2]})).unwrap_err().to_string();
    assert_eq!(error, "lengths are whole numbers, not [1.5,2]");
}
