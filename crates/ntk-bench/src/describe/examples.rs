//! One small network for everything that the table of support asks about, with samples that it reads.

use ndarray::{Array2, Array3, ArrayD};
use ntk_core::{
    Activation, Affine, Attention, AttentionMask, Axes, Batch, ConvKind, DropRate, Error, Graphs, Groups,
    Interpolation, Layer, LogitScaling, Net, Padding, Pooling, PositionCombine, PositionDecay,
    PositionEmbedding, Rate, Span, Variance, Weighting, Width, Window,
};

/// A network under the name of what it shows.
pub(super) struct Example {
    pub(super) name: String,
    pub(super) net: Net,
    pub(super) samples: Samples,
}

/// What is asked about under one head.
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) column: &'static str,
    pub(super) examples: Vec<Example>,
}

/// A few small samples.
#[derive(Clone, Copy)]
pub(super) enum Samples {
    /// Two features.
    Vectors,
    /// Five by four positions of two channels.
    Images,
    /// Five positions of two channels.
    Sequences,
    /// The same, of which the second sample has three.
    Lengths,
    /// Sequences with a dense graph over their positions.
    Graphs,
    /// Sequences with a list of edges.
    Edges,
    /// Five tokens of a vocabulary of three.
    Tokens,
}

impl Samples {
    /// Calls a function with the samples.
    pub(super) fn with<R>(self, f: impl FnOnce(Batch<'_>) -> R) -> Result<R, Error> {
        let sides: &[usize] = match self {
            Samples::Vectors => &[],
            Samples::Images => &[5, 4],
            _ => &[5],
        };
        let shape = [&[2], sides, &[2]].concat();
        let count: usize = shape.iter().product();
        let numbers = (0..count).map(|i| (0.7 * (i + 1) as f64).sin()).collect();
        let values = ArrayD::from_shape_vec(shape, numbers).unwrap_or_else(|_| ArrayD::zeros(vec![2, 2]));
        let x = Batch::grid(values.view())?;
        Ok(match self {
            Samples::Vectors | Samples::Images | Samples::Sequences => f(x),
            Samples::Lengths => f(x.with_lengths(&[5, 3])),
            Samples::Graphs => {
                let ring =
                    Array3::from_shape_fn((2, 5, 5), |(_, i, j)| f64::from(u8::from((i + 1) % 5 == j)));
                f(x.with_graphs(Graphs::Dense(ring.view())))
            }
            Samples::Edges => {
                f(x.with_graphs(Graphs::Sparse(&[vec![(0, 1, 1.0), (1, 2, 0.5)], vec![(4, 0, 1.0)]])))
            }
            Samples::Tokens => {
                let tokens = Array2::from_shape_fn((2, 5), |(i, j)| (i + j) as u32 % 3);
                f(Batch::tokens(tokens.view(), 3)?)
            }
        })
    }
}

/// All of them.
pub(super) fn sections() -> Vec<Section> {
    vec![
        Section { title: "Layers and combinators", column: "network", examples: vectors() },
        Section { title: "Layers over positions", column: "network", examples: images() },
        Section { title: "Attention, graphs and tokens", column: "network", examples: sequences() },
        Section { title: "Samples of several lengths", column: "network", examples: lengths() },
        Section { title: "Activations", column: "activation", examples: activations() },
    ]
}

fn example(name: &str, samples: Samples, nets: impl IntoIterator<Item = Net>) -> Example {
    Example { name: name.to_owned(), net: Net::serial(nets), samples }
}

fn affine() -> Affine {
    Affine::new(Variance::TWO, Variance::ONE)
}

fn dense() -> Net {
    Net::dense(Variance::TWO, Variance::ONE)
}

fn relu() -> Net {
    Net::activation(Activation::Relu)
}

fn readout() -> Net {
    Net::readout(1, Variance::ONE, Variance::ZERO)
}

fn branch() -> Net {
    dense().then(relu()).then(dense())
}

fn dropout() -> Net {
    // A half lies in the domain of the type, so nothing is left out.
    DropRate::new(0.5).map(Net::dropout).unwrap_or_else(|_| Net::identity())
}

fn norm(axes: Axes) -> Net {
    Net::layer(Layer::LayerNorm { axes, epsilon: 1e-12 })
}

fn custom() -> Net {
    Net::layer(Layer::Custom { name: "my_layer".to_owned(), parameters: vec![1.0] })
}

fn vectors() -> Vec<Example> {
    let standard = || Net::mlp(2, Activation::Relu, 1, Variance::TWO, Variance::ONE).standard();
    let slow =
        Rate::new(0.25).map(|rate| Affine { weight_rate: rate, ..affine() }).unwrap_or_else(|_| affine());
    let chain = |nets: Vec<Net>| [vec![dense()], nets, vec![readout()]].concat();
    let rows = vec![
        ("dense, NTK parameterization", vec![readout()]),
        ("dense, standard parameterization, hidden width n", vec![standard()]),
        ("dense, standard parameterization, fixed width", vec![standard().at_width(64)]),
        ("dense, learning rate of its own", vec![Net::dense_with(Width::HIDDEN, slow), relu(), readout()]),
        ("frozen layers", chain(vec![relu(), branch().frozen(), relu()])),
        ("serial chain", chain(vec![relu()])),
        ("activation after activation", chain(vec![relu(), relu()])),
        ("layer normalization after dense", chain(vec![Net::layer_norm(), relu()])),
        ("layer normalization after an activation", chain(vec![relu(), Net::layer_norm()])),
        ("layer normalization of the input", vec![Net::layer_norm(), readout()]),
        ("dropout after an activation", chain(vec![relu(), dropout()])),
        ("dropout of the input", vec![dropout(), readout()]),
        ("residual block", chain(vec![branch().residual(), relu()])),
        ("residual block without weights at its end", chain(vec![relu().residual()])),
        ("sum of branches", vec![branch() + branch(), relu(), readout()]),
        ("product of branches", vec![Net::product([branch(), branch()]), readout()]),
        ("product of a branch and its own input", chain(vec![Net::product([Net::identity(), branch()])])),
        ("product of dependent branches", chain(vec![Net::product([Net::identity(), relu()])])),
        ("concatenation of branches", vec![Net::concat([branch(), branch()]), readout()]),
        ("concatenation of dependent branches", chain(vec![Net::concat([Net::identity(), relu()])])),
        ("custom layer without a rule", chain(vec![custom()])),
    ];
    rows.into_iter().map(|(name, nets)| example(name, Samples::Vectors, nets)).collect()
}

fn conv_of(kind: ConvKind, window: Window, groups: Groups) -> Net {
    Net::conv_with(kind, Width::HIDDEN, affine(), window, groups)
}

fn shared(window: Window) -> Net {
    conv_of(ConvKind::Shared, window, Groups::Count(1))
}

fn pool(pooling: Pooling, window: Window) -> Net {
    Net::layer(Layer::Pool { pooling, window })
}

fn sum_pool() -> Net {
    Net::layer(Layer::GlobalPool { pooling: Pooling::Sum })
}

fn resize(sides: &[usize], interpolation: Interpolation) -> Net {
    Net::layer(Layer::Resize { sides: sides.iter().map(|&side| Some(side)).collect(), interpolation })
}

fn images() -> Vec<Example> {
    let square = || Window::same(&[3, 3]);
    let first = || shared(square());
    let every_second = Span { step: 2, ..Span::ALL };
    let linear = |rows: Vec<Vec<f64>>, remove| Net::layer(Layer::Linear { axis: 1, rows, remove });
    let block = || relu().then(first());
    let rows = vec![
        ("dense at every position", dense()),
        ("convolution, zeros beyond the edges", first()),
        ("convolution, inside", shared(Window::valid(&[3, 3]))),
        ("convolution, torus", shared(Window::circular(&[3, 3]))),
        ("convolution, strides", shared(square().strides(&[2, 1]))),
        ("convolution, dilation", shared(square().dilation(&[1, 2]))),
        ("convolution, standard parameterization, fixed width", first().standard().at_width(8)),
        ("convolution in groups", conv_of(ConvKind::Shared, square(), Groups::Count(2))),
        ("convolution, depthwise", dense().then(conv_of(ConvKind::Shared, square(), Groups::Depthwise))),
        (
            "transposed convolution",
            conv_of(ConvKind::Transposed, square().strides(&[2, 2]), Groups::Count(1)),
        ),
        ("local weights", conv_of(ConvKind::Local, square(), Groups::Count(1))),
        ("average pooling, inside", pool(Pooling::Average, Window::blocks(&[2, 2]))),
        ("average pooling, zeros beyond the edges", pool(Pooling::Average, square())),
        ("average pooling, torus", pool(Pooling::Average, Window::circular(&[3, 3]))),
        ("average pooling of what lies inside", pool(Pooling::EdgeAverage, square())),
        ("sum pooling", pool(Pooling::Sum, Window::blocks(&[2, 2]))),
        ("global average pooling", Net::global_average_pool()),
        ("global sum pooling", sum_pool()),
        ("flatten", Net::flatten()),
        ("index", Net::layer(Layer::Index { spans: vec![every_second, Span::ALL] })),
        ("resize, nearest", resize(&[7, 3], Interpolation::Nearest)),
        ("resize, linear", resize(&[7, 3], Interpolation::Linear)),
        ("fixed linear map along an axis", linear(vec![vec![1.0, 0.5, 0.0, -1.0]; 2], false)),
        ("fixed linear map that removes an axis", linear(vec![vec![0.25; 4]], true)),
        ("pooling before the nonlinearity", first().then(pool(Pooling::Average, square())).then(relu())),
        ("layer normalization at every position", first().then(norm(Axes::Channels)).then(relu())),
        ("layer normalization over all positions", first().then(norm(Axes::All)).then(relu())),
        ("layer normalization along one axis", first().then(norm(Axes::With(vec![0]))).then(relu())),
        ("layer normalization after a nonlinearity", first().then(relu()).then(norm(Axes::All))),
        ("dropout", first().then(relu()).then(dropout())),
        ("residual block", first().then(block().residual())),
        (
            "sum of a branch and its own average",
            first().then(Net::identity() + pool(Pooling::Average, square())),
        ),
        ("product of branches", Net::product([first(), shared(Window::same(&[1, 3]))])),
        ("concatenation of branches", Net::concat([first(), shared(Window::same(&[1, 3]))])),
        ("branches joined along an axis", Net::join(1, [first(), shared(Window::valid(&[1, 2]))])),
    ];
    let end = |net: Net| [net, relu_after_weights(), Net::flatten(), readout()];
    rows.into_iter().map(|(name, net)| example(name, Samples::Images, end(net))).collect()
}

/// A hidden layer behind whatever the example shows.
fn relu_after_weights() -> Net {
    dense().then(relu())
}

fn position(combine: PositionCombine, decay: PositionDecay, values: bool) -> Option<PositionEmbedding> {
    Some(PositionEmbedding { combine, decay, values, ..PositionEmbedding::sum(Variance::ONE) })
}

fn sequences() -> Vec<Example> {
    let attention = |change: &dyn Fn(Attention) -> Attention| Net::attention(change(Attention::default()));
    let mut rows = Vec::new();
    for (scaling, scale) in [(LogitScaling::InverseDimension, "1/d"), (LogitScaling::InverseRoot, "1/√d")] {
        for (weighting, name) in [
            (Weighting::Softmax, "softmax"),
            (Weighting::Identity, "identity"),
            (Weighting::Abs, "abs"),
            (Weighting::Relu, "relu"),
        ] {
            let net = attention(&|a| Attention { scaling, weighting, ..a });
            rows.push((format!("attention, {name} of logits with {scale}"), net));
        }
    }
    let decay = PositionDecay::Exponential { scale: 2.0 };
    let (sum, beside) = (PositionCombine::Sum, PositionCombine::Concat(Width::HIDDEN));
    let options: [(&str, &dyn Fn(Attention) -> Attention); 8] = [
        ("causal", &|a| Attention { mask: AttentionMask::Causal, ..a }),
        ("local", &|a| Attention { mask: AttentionMask::Local(1), ..a }),
        ("causal and local", &|a| Attention { mask: AttentionMask::CausalLocal(1), ..a }),
        ("positions added", &|a| Attention {
            position: position(sum, PositionDecay::Independent, false),
            ..a
        }),
        ("positions beside the channels", &|a| Attention { position: position(beside, decay, false), ..a }),
        ("decaying positions", &|a| Attention { position: position(sum, decay, false), ..a }),
        ("positions in the values", &|a| Attention { position: position(sum, decay, true), ..a }),
        ("frozen", &|a| Attention { rate: Rate::FROZEN, ..a }),
    ];
    rows.extend(options.map(|(name, change)| (format!("attention, {name}"), attention(change))));
    let after_dense = |net: Net| [dense(), net, relu_after_weights(), Net::global_average_pool(), readout()];
    let mut examples: Vec<Example> =
        rows.into_iter().map(|(name, net)| example(&name, Samples::Sequences, after_dense(net))).collect();
    let aggregate = || after_dense(Net::layer(Layer::Aggregate { axis: 0 }));
    let tokens = |net: Net| [net, relu(), dense(), relu(), Net::flatten(), readout()];
    let embedding = || Net::embedding(Variance::ONE);
    examples.extend([
        example("sum over neighbors, dense graphs", Samples::Graphs, aggregate()),
        example("sum over neighbors, lists of edges", Samples::Edges, aggregate()),
        example("embedding of tokens", Samples::Tokens, tokens(embedding())),
        example("embedding of tokens, frozen", Samples::Tokens, tokens(embedding().frozen())),
    ]);
    examples
}

fn lengths() -> Vec<Example> {
    let window = || Window::same(&[3]);
    let with = |padding| shared(Window { padding, ..window() });
    let linear = |rows: Vec<Vec<f64>>| Net::layer(Layer::Linear { axis: 0, rows, remove: false });
    let rows = vec![
        ("dense", dense()),
        ("convolution, zeros beyond the edges", with(Padding::Same)),
        ("convolution, inside", with(Padding::Valid)),
        ("convolution, torus", with(Padding::Circular)),
        ("convolution, strides", shared(window().strides(&[2]))),
        ("transposed convolution", conv_of(ConvKind::Transposed, window(), Groups::Count(1))),
        ("local weights", conv_of(ConvKind::Local, window(), Groups::Count(1))),
        ("average pooling, inside", pool(Pooling::Average, Window::blocks(&[2]))),
        ("average pooling of what lies inside", pool(Pooling::EdgeAverage, window())),
        ("sum pooling", pool(Pooling::Sum, window())),
        ("global average pooling", Net::global_average_pool()),
        ("global sum pooling", sum_pool()),
        ("flatten", Net::flatten()),
        ("index", Net::layer(Layer::Index { spans: vec![Span { step: 2, ..Span::ALL }] })),
        ("resize", resize(&[7], Interpolation::Nearest)),
        ("fixed linear map", linear(vec![vec![0.2; 5]; 2])),
        ("attention", Net::attention(Attention::default())),
        ("layer normalization at every position", norm(Axes::Channels)),
        ("layer normalization over all positions", norm(Axes::All)),
        ("dropout", dropout()),
        ("sum of branches", with(Padding::Same) + dense()),
        ("concatenation of branches", Net::concat([with(Padding::Same), dense()])),
        ("branches joined along the axis", Net::join(0, [with(Padding::Same), dense()])),
    ];
    let chain = |net: Net| [dense(), net, relu_after_weights(), Net::global_average_pool(), readout()];
    rows.into_iter().map(|(name, net)| example(name, Samples::Lengths, chain(net))).collect()
}

fn activations() -> Vec<Example> {
    let one = |phi: Activation| {
        let name = format!("`{}`", phi.name());
        let net = Net::mlp(1, phi, 1, Variance::ONE, Variance::ZERO);
        Example { name, net, samples: Samples::Vectors }
    };
    every_activation().into_iter().map(one).collect()
}

/// One value of every activation.
fn every_activation() -> Vec<Activation> {
    use Activation as A;
    let (name, parameters) = ("my_activation".to_owned(), vec![1.0]);
    vec![
        A::Relu,
        A::LeakyRelu { alpha: 0.1 },
        A::Abs,
        A::AbRelu { a: -0.5, b: 1.0 },
        A::Step,
        A::Sign,
        A::ERF,
        A::SigmoidLike,
        A::Gelu,
        A::SIN,
        A::COS,
        A::Rbf { gamma: 0.5 },
        A::Exp { a: 1.0, b: 0.5 },
        A::Gaussian { a: 1.0, b: -0.5 },
        A::Gabor,
        A::ExpNormalized { gamma: 1.0, shift: -1.0 },
        A::Hermite { degree: 3 },
        A::Monomial { degree: 2 },
        A::Polynomial { coefficients: vec![0.5, 1.0, -0.25] },
        A::RectifiedMonomial { degree: 2 },
        A::Tanh,
        A::Sigmoid,
        A::Softplus,
        A::Silu,
        A::Mish,
        A::ELU,
        A::Selu,
        A::HardTanh,
        A::HardSigmoid,
        A::Relu6,
        A::Custom { name, parameters },
    ]
}
