//! Networks over positions against numbers of the reference implementation: one row a layer, images of 3 × 3 positions.
#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ndarray::{Array3, Array4};
use ntk_analytic::Analytic;
use ntk_core::{
    Activation, Affine, Attention, Axes, Batch, ConvKind, DropRate, Graphs, Groups, Interpolation, KernelFn,
    Layer, LogitScaling, Net, Pooling, Span, Variance, Weighting, Which, Width, Window,
};

/// (2, 3, 3, 2) with entries sin(0.7 (k + 1)).
fn images() -> Array4<f64> {
    Array4::from_shape_fn((2, 3, 3, 2), |(n, h, w, c)| {
        (0.7 * (((n * 3 + h) * 3 + w) * 2 + c + 1) as f64).sin()
    })
}

fn variances() -> (Variance, Variance) {
    (Variance::from_std(1.5).unwrap(), Variance::from_std(0.3).unwrap())
}

fn affine() -> Affine {
    let (weight, bias) = variances();
    Affine::new(weight, bias)
}

fn conv(window: Window) -> Net {
    let (weight, bias) = variances();
    Net::conv(window, weight, bias)
}

fn kind(kind: ConvKind, window: Window) -> Net {
    Net::conv_with(kind, Width::HIDDEN, affine(), window, Groups::Count(1))
}

fn dense() -> Net {
    let (weight, bias) = variances();
    Net::readout(1, weight, bias)
}

fn relu() -> Net {
    Net::activation(Activation::Relu)
}

fn gap() -> Net {
    Net::global_average_pool()
}

fn pool(pooling: Pooling, window: Window) -> Net {
    Net::layer(Layer::Pool { pooling, window })
}

fn same() -> Window {
    Window::same(&[3, 2])
}

fn std(std: f64) -> Variance {
    Variance::from_std(std).unwrap()
}

fn check(name: &str, net: Net, x: Batch<'_>, expected: [f64; 6]) {
    let block = Analytic::new(net).unwrap().symmetric(x, Which::Both).unwrap();
    let (k, t) = (block.nngp.unwrap(), block.ntk.unwrap());
    let found = [k[[0, 0]], k[[0, 1]], k[[1, 1]], t[[0, 0]], t[[0, 1]], t[[1, 1]]];
    for (i, (found, expected)) in found.into_iter().zip(expected).enumerate() {
        // Eleven digits are printed; the reference loses half of its digits on ReLU diagonals.
        assert!(
            (found - expected).abs() < 1e-8 * expected.abs(),
            "{name}, entry {i}: {found} and not {expected}"
        );
    }
}

fn check_images(name: &str, nets: impl IntoIterator<Item = Net>, expected: [f64; 6]) {
    let x = images();
    check(name, Net::serial(nets), Batch::grid(x.view()).unwrap(), expected);
}

#[test]
fn convolutions_equal_the_reference() {
    let flat = |window| [conv(window), relu(), Net::flatten(), dense()];
    let rows = [
        (
            "same",
            same(),
            [1.02543049566, 1.02479237314, 1.0250603701, 1.9608609909, 1.95037238145, 1.96012073888],
        ),
        (
            "valid",
            Window::valid(&[3, 2]),
            [1.45714209126, 1.45642315384, 1.45712530526, 2.82428418251, 2.8087694793, 2.82425060456],
        ),
        (
            "circular",
            Window::circular(&[3, 2]),
            [1.45414929317, 1.45352278275, 1.45432059679, 2.81829858531, 2.80296772256, 2.81864119225],
        ),
    ];
    for (name, window, expected) in rows {
        check_images(name, flat(window), expected);
    }
    let strided = conv(same().strides(&[2, 1]));
    let expected =
        [0.444166255644, 0.444219593705, 0.444325658204, 0.752500517955, 0.750481979522, 0.75336722276];
    check_images("strided", [strided, relu(), conv(same()), relu(), gap(), dense()], expected);
    let circular = || conv(Window::circular(&[3, 2]));
    let expected = [1.04867392715, 1.04868777209, 1.04878092518, 1.82810588578, 1.82287188494, 1.82830167977];
    check_images("circular twice", [circular(), relu(), circular(), relu(), gap(), dense()], expected);
    let local = || kind(ConvKind::Local, same());
    let expected =
        [0.38768033335, 0.387595217359, 0.387582767004, 0.550772779157, 0.548353179585, 0.550633060644];
    check_images("local", [local(), relu(), local(), relu(), gap(), dense()], expected);
    let up = kind(ConvKind::Transposed, same().strides(&[2, 2]));
    let expected =
        [0.270395017005, 0.270408965444, 0.270423887641, 0.343997997062, 0.343920457872, 0.344004276788];
    check_images("transposed", [up, relu(), gap(), dense()], expected);
    let up = kind(ConvKind::Transposed, Window::circular(&[3, 2]).strides(&[2, 1]));
    let expected =
        [0.386670580504, 0.386669290776, 0.386673094868, 0.484242542877, 0.483860434523, 0.484242569708];
    check_images("transposed circular", [up, relu(), gap(), dense()], expected);
    let standard =
        Net::conv_with(ConvKind::Shared, Width::Fixed(64), affine().standard(), same(), Groups::Count(1));
    let readout = Net::dense_with(Width::Fixed(1), affine().standard());
    let expected = [1.02543049566, 1.02479237314, 1.0250603701, 246.044169529, 245.8226164, 245.94744338];
    check_images("standard", [standard, relu(), Net::flatten(), readout], expected);
}

#[test]
fn pooling_equals_the_reference() {
    let global_sum = || Net::layer(Layer::GlobalPool { pooling: Pooling::Sum });
    let net = |pooling| {
        let window = Window::same(&[2, 2]).strides(&[2, 2]);
        [conv(same()), relu(), pool(pooling, window), conv(same()), relu(), global_sum(), dense()]
    };
    let expected = [2.52269373689, 2.52235239552, 2.52212812347, 4.72761873867, 4.71936463925, 4.72548735241];
    check_images("average", net(Pooling::Average), expected);
    let expected = [4.40562325701, 4.39930738435, 4.39351700518, 8.51209602348, 8.47314047692, 8.48686504044];
    check_images("edges", net(Pooling::EdgeAverage), expected);
    let sum = pool(Pooling::Sum, Window::valid(&[2, 2]));
    let expected = [8.31954806388, 8.31377615126, 8.31054931327, 13.0065567832, 12.9546542619, 12.9894068758];
    check_images("sum", [conv(same()), relu(), sum, Net::flatten(), dense()], expected);
}

#[test]
fn norms_dropout_and_maps_of_positions_equal_the_reference() {
    let norm = |axes| Net::layer(Layer::LayerNorm { axes, epsilon: 1e-12 });
    let expected =
        [0.573216964949, 0.573183757811, 0.573187027145, 0.765424417424, 0.764113767416, 0.765251192786];
    check_images("channels", [conv(same()), norm(Axes::Channels), relu(), gap(), dense()], expected);
    let expected =
        [0.563603574816, 0.563383778001, 0.563200909941, 0.753931374239, 0.752275215968, 0.753109243085];
    check_images("all axes", [conv(same()), norm(Axes::All), relu(), gap(), dense()], expected);
    let drop = Net::dropout(DropRate::new(0.3).unwrap());
    let expected =
        [1.16738000876, 0.920712778804, 1.16710903054, 3.22089002407, 2.02976805047, 3.22007708731];
    check_images(
        "dropout",
        [conv(same()), relu(), drop, conv(same()), relu(), Net::flatten(), dense()],
        expected,
    );
    // The reference, asked for 4 × 2 after a convolution, exchanges the axes; these are the numbers of 2 × 4.
    let resize =
        Net::layer(Layer::Resize { sides: vec![Some(2), Some(4)], interpolation: Interpolation::Linear });
    let expected =
        [0.260904082252, 0.260696803139, 0.260510433619, 0.36247906684, 0.361719678145, 0.361653211655];
    check_images("resize", [conv(same()), resize, relu(), gap(), dense()], expected);
    let spans = vec![Span { step: 2, ..Span::ALL }, Span { start: Some(1), ..Span::ALL }];
    let index = Net::layer(Layer::Index { spans });
    let expected =
        [0.524255503925, 0.524920208815, 0.525675461178, 0.78408407348, 0.783851369356, 0.787315903598];
    check_images("index", [conv(same()), index, relu(), gap(), dense()], expected);
    let linear = Net::layer(Layer::Linear { axis: 0, rows: vec![vec![1.0, -1.0, 0.5]], remove: true });
    let expected = [1.67432627817, 1.67717867609, 1.68069972973, 2.70168042789, 2.69766961659, 2.71424008568];
    check_images("linear", [conv(same()), linear, relu(), gap(), dense()], expected);
}

#[test]
fn branches_equal_the_reference() {
    let inner = || relu().then(conv(same()));
    let expected =
        [0.899169039097, 0.898730844912, 0.898369983055, 1.35918370561, 1.35494133626, 1.35742519717];
    check_images("sum", [conv(same()), inner().residual(), relu(), gap(), dense()], expected);
    let branches = || [conv(same()), conv(same()).then(inner())];
    let expected =
        [0.526983117262, 0.526562098516, 0.526201401212, 1.06155708905, 1.05980427856, 1.05967583059];
    check_images("concat", [Net::concat(branches()), gap(), dense()], expected);
    let expected =
        [0.426567854319, 0.426425329721, 0.426301404982, 0.546770105639, 0.545687031014, 0.546265686735];
    check_images("join", [Net::join(0, branches()), relu(), gap(), dense()], expected);
    let expected =
        [0.313410472111, 0.312974205077, 0.312663839888, 0.960962773665, 0.957917887884, 0.958174299783];
    check_images("product", [Net::product(branches()), gap(), dense()], expected);
}

#[test]
fn attention_equals_the_reference() {
    let net = |attention| [conv(same()), Net::attention(attention), gap(), dense()];
    let softmax = Attention {
        key_variance: std(1.2),
        query_variance: std(1.1),
        value_variance: std(0.9),
        output_variance: std(1.3),
        bias: std(0.2),
        ..Attention::default()
    };
    let expected =
        [0.536169388838, 0.535184559346, 0.534285392798, 1.69467755535, 1.69073823738, 1.68714157119];
    check_images("softmax", net(softmax), expected);
    let rectified = Attention { weighting: Weighting::Relu, bias: std(0.2), ..Attention::default() };
    let expected = [1.47822908464, 1.46966278005, 1.46150451628, 5.46291633854, 5.4286511202, 5.39601806514];
    check_images("relu", net(rectified), expected);
    let root = Attention {
        weighting: Weighting::Identity,
        scaling: LogitScaling::InverseRoot,
        key_variance: std(1.2),
        bias: std(0.2),
        ..Attention::default()
    };
    let expected = [5.5074519104, 5.49217253959, 5.47834730102, 42.8896152832, 42.7673803167, 42.6567784081];
    check_images("root", net(root), expected);
}

#[test]
fn sequences_and_graphs_equal_the_reference() {
    let x = Array3::from_shape_fn((2, 5, 2), |(n, t, c)| (0.7 * ((n * 5 + t) * 2 + c + 1) as f64).sin());
    let batch = Batch::grid(x.view()).unwrap();
    let net = Net::serial([conv(Window::same(&[3])), relu(), gap(), dense()]);
    let expected =
        [0.704696876868, 0.569433616302, 0.616964772559, 1.09800717464, 0.760745932338, 0.884307489625];
    check("masked", net, batch.with_lengths(&[3, 5]), expected);
    let hidden = || Net::dense(variances().0, variances().1).then(relu());
    let net = Net::serial([hidden(), Net::layer(Layer::Aggregate { axis: 0 }), hidden(), gap(), dense()]);
    let path: Vec<_> = (0..4).flat_map(|a| [(a, a + 1, 1.0), (a + 1, a, 1.0)]).collect();
    let mut second = path.clone();
    second.push((0, 4, 2.0));
    let graphs = [path, second];
    let expected = [2.14558039058, 2.5859854897, 3.286158307, 4.84184474091, 5.6440442106, 7.6770417282];
    check("graphs", net, batch.with_graphs(Graphs::Sparse(&graphs)), expected);
}
