//! Networks of every layer over positions, each with a batch that it takes.

#![allow(clippy::unwrap_used, dead_code)] // Helpers are not tests in clippy's eyes; each test binary uses some.

use ndarray::{Array2, ArrayD, IxDyn};
use ntk_core::{
    Activation, Affine, Attention, AttentionMask, Axes, Batch, ConvKind, DropRate, Graphs, Groups,
    Interpolation, Layer, LogitScaling, Net, Pooling, PositionCombine, PositionDecay, PositionEmbedding,
    Rate, Span, Variance, Weighting, Width, Window,
};
use ntk_empirical::candle_core::{DType, Device, Tensor};
use ntk_empirical::{FiniteNet, Lowering, Mode, Parameters};

pub(crate) fn numbers(n: usize, d: usize, seed: u64) -> Array2<f64> {
    Array2::from_shape_fn((n, d), |(i, j)| (1.3 * (i * d + j + 1) as f64 + 0.37 * seed as f64).sin() * 1.2)
}

pub(crate) fn close(name: &str, got: &Array2<f64>, expected: &Array2<f64>, tolerance: f64) {
    let largest = |a: &Array2<f64>| a.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    let (worst, scale) = (largest(&(got - expected)), largest(expected));
    assert!(scale > 0.0, "{name}: nothing but zeros");
    assert!(worst <= tolerance * scale, "{name}: {worst:e} of {scale:e}");
}

/// A direction in the space of parameters.
pub(crate) fn direction(net: &FiniteNet, seed: u64) -> Parameters {
    let mut v = Parameters::new();
    for (k, (name, tensor)) in net.parameters().unwrap().iter().enumerate() {
        let values = numbers(1, tensor.elem_count(), seed + 17 * k as u64).into_raw_vec_and_offset().0;
        v.insert(name, Tensor::from_vec(values, tensor.dims(), &Device::Cpu).unwrap());
    }
    v
}

/// What a batch views.
#[derive(Clone)]
pub(crate) struct Data {
    pub(crate) values: ArrayD<f64>,
    pub(crate) tokens: Option<Array2<u32>>,
    pub(crate) lengths: Option<Vec<usize>>,
    pub(crate) graphs: Option<Vec<Vec<(usize, usize, f64)>>>,
}

const VOCABULARY: usize = 5;

impl Data {
    pub(crate) fn numbers(n: usize, sides: &[usize], channels: usize) -> Self {
        let shape = [&[n], sides, &[channels]].concat();
        let width = shape[1..].iter().product();
        let values = numbers(n, width, 0).into_shape_with_order(IxDyn(&shape)).unwrap();
        Data { values, tokens: None, lengths: None, graphs: None }
    }

    fn tokens(n: usize, positions: usize) -> Self {
        let tokens = Array2::from_shape_fn((n, positions), |(i, p)| ((3 * i + p * p) % VOCABULARY) as u32);
        Data { tokens: Some(tokens), ..Data::numbers(n, &[], 1) }
    }

    pub(crate) fn lengths(self, lengths: &[usize]) -> Self {
        Data { lengths: Some(lengths.to_vec()), ..self }
    }

    fn graphs(self, graphs: &[&[(usize, usize, f64)]]) -> Self {
        Data { graphs: Some(graphs.iter().map(|edges| edges.to_vec()).collect()), ..self }
    }

    pub(crate) fn batch(&self) -> Batch<'_> {
        let mut batch = match &self.tokens {
            Some(tokens) => Batch::tokens(tokens.view(), VOCABULARY).unwrap(),
            None => Batch::grid(self.values.view()).unwrap(),
        };
        if let Some(lengths) = &self.lengths {
            batch = batch.with_lengths(lengths);
        }
        if let Some(graphs) = &self.graphs {
            batch = batch.with_graphs(Graphs::Sparse(graphs));
        }
        batch
    }
}

#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) net: Net,
    pub(crate) data: Data,
    /// Whether training mode draws masks.
    pub(crate) dropout: bool,
}

impl Case {
    pub(crate) fn batch(&self) -> Batch<'_> {
        self.data.batch()
    }

    pub(crate) fn lowered(&self, seed: u64, mode: Mode) -> FiniteNet {
        self.lowered_in(DType::F64, Device::Cpu, seed, mode)
    }

    pub(crate) fn lowered_in(&self, dtype: DType, device: Device, seed: u64, mode: Mode) -> FiniteNet {
        let inputs = self.batch().shape().unwrap();
        let lowering = Lowering { width: 4, seed, mode, dtype, device, ..Lowering::for_inputs(inputs) };
        FiniteNet::lower(&self.net.clone().at_width(4), &lowering)
            .unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }

    /// Whether all of it has derivatives: |x| and its positive part have kinks.
    pub(crate) fn smooth(&self) -> bool {
        !["attention, abs", "attention, relu"].contains(&self.name.as_str())
    }

    /// Whether it is of numbers or tokens alone.
    pub(crate) fn plain(&self) -> bool {
        self.data.lengths.is_none() && self.data.graphs.is_none()
    }
}

pub(crate) fn variance(v: f64) -> Variance {
    Variance::new(v).unwrap()
}

pub(crate) fn phi() -> Net {
    Net::activation(Activation::Tanh)
}

pub(crate) fn affine() -> Affine {
    Affine {
        weight_rate: Rate::new(0.7).unwrap(),
        bias_rate: Rate::new(2.0).unwrap(),
        ..Affine::new(variance(1.7), variance(0.3))
    }
}

pub(crate) fn dense() -> Net {
    Net::dense_with(Width::HIDDEN, affine())
}

pub(crate) fn readout() -> Net {
    Net::readout(2, variance(1.2), variance(0.1))
}

pub(crate) fn conv(kind: ConvKind, window: Window, groups: Groups) -> Net {
    Net::conv_with(kind, Width::HIDDEN, affine(), window, groups)
}

pub(crate) fn shared(window: Window) -> Net {
    conv(ConvKind::Shared, window, Groups::Count(1))
}

pub(crate) fn global() -> Net {
    Net::global_average_pool()
}

pub(crate) fn attention() -> Attention {
    Attention {
        heads: Width::Fixed(2),
        key: Width::Fixed(3),
        value: Width::Fixed(2),
        query_variance: variance(1.3),
        key_variance: variance(0.8),
        value_variance: variance(1.4),
        output_variance: variance(0.9),
        bias: variance(0.2),
        rate: Rate::new(0.6).unwrap(),
        ..Attention::default()
    }
}

pub(crate) fn pool(pooling: Pooling, window: Window) -> Net {
    Net::layer(Layer::Pool { pooling, window })
}

fn span(start: Option<isize>, stop: Option<isize>, step: isize) -> Span {
    Span { start, stop, step }
}

/// Networks over images (3, 4) of 2 channels: from there to a vector.
fn images() -> Vec<(&'static str, Net)> {
    let first = || shared(Window::same(&[3, 3]));
    let from = |net: Net| Net::serial([first(), phi(), net, phi(), global(), readout()]);
    let flat = |net: Net| Net::serial([first(), phi(), net, phi(), Net::flatten(), readout()]);
    let position = PositionEmbedding::sum(variance(0.5));
    let beside = PositionEmbedding {
        combine: PositionCombine::Concat(Width::Fixed(3)),
        decay: PositionDecay::Exponential { scale: 2.0 },
        values: true,
        ..position
    };
    let distant = PositionEmbedding {
        decay: PositionDecay::Inverse { scale: 1.5 },
        values: true,
        power: 1.0,
        ..position
    };
    let root = LogitScaling::InverseRoot;
    let attend = |attention: Attention| from(Net::attention(attention));
    let norm = |axes| Net::layer(Layer::LayerNorm { axes, epsilon: 1e-3 });
    let resize = |interpolation| Layer::Resize { sides: vec![Some(5), Some(2)], interpolation };
    let rows = vec![vec![1.0, -0.5, 0.0], vec![0.2, 0.0, 2.0]];
    vec![
        ("conv, global average", from(Net::identity())),
        ("conv, flatten", flat(Net::identity())),
        ("conv that ends", first().then(phi()).then(shared(Window::valid(&[3, 2])))),
        ("conv, global average that ends", Net::serial([first(), phi(), first(), global()])),
        ("standard", from(shared(Window::same(&[2, 3])).then(phi()).then(dense())).standard()),
        ("frozen", from(shared(Window::same(&[3, 3])).frozen())),
        ("valid, strides", flat(shared(Window::valid(&[2, 2]).strides(&[1, 2])))),
        ("strides", flat(shared(Window::same(&[3, 3]).strides(&[2, 2])))),
        ("circular, strides", flat(shared(Window::circular(&[3, 3]).strides(&[2, 1])))),
        ("circular, beyond the torus", flat(shared(Window::circular(&[5, 2])))),
        ("dilation", flat(shared(Window::same(&[2, 2]).dilation(&[2, 3])))),
        (
            "transposed",
            flat(conv(ConvKind::Transposed, Window::same(&[3, 2]).strides(&[2, 1]), Groups::Count(1))),
        ),
        (
            "transposed, valid",
            flat(conv(ConvKind::Transposed, Window::valid(&[2, 3]).strides(&[1, 2]), Groups::Count(1))),
        ),
        (
            "transposed, circular",
            flat(conv(ConvKind::Transposed, Window::circular(&[3, 3]).strides(&[1, 2]), Groups::Count(1))),
        ),
        ("local", from(conv(ConvKind::Local, Window::same(&[3, 3]), Groups::Count(1)))),
        (
            "local, strides, standard",
            flat(conv(ConvKind::Local, Window::valid(&[2, 2]).strides(&[1, 2]), Groups::Count(1))).standard(),
        ),
        ("groups", from(conv(ConvKind::Shared, Window::same(&[3, 2]), Groups::Count(2)))),
        (
            "groups, strides",
            flat(conv(ConvKind::Shared, Window::same(&[3, 2]).strides(&[2, 2]), Groups::Count(2))),
        ),
        ("depthwise", from(conv(ConvKind::Shared, Window::same(&[2, 3]), Groups::Depthwise)).standard()),
        ("average pool", flat(pool(Pooling::Average, Window::same(&[2, 2])))),
        ("edge average", flat(pool(Pooling::EdgeAverage, Window::same(&[3, 3]).strides(&[2, 2])))),
        ("sum pool", flat(pool(Pooling::Sum, Window::circular(&[2, 3])))),
        (
            "global sum",
            Net::serial([first(), phi(), Net::layer(Layer::GlobalPool { pooling: Pooling::Sum }), readout()]),
        ),
        (
            "index",
            flat(Net::layer(Layer::Index { spans: vec![span(None, None, -1), span(Some(1), None, 2)] })),
        ),
        ("resize, nearest", flat(Net::layer(resize(Interpolation::Nearest)))),
        ("resize, linear", flat(Net::layer(resize(Interpolation::Linear)))),
        ("linear", flat(Net::layer(Layer::Linear { axis: 0, rows, remove: false }))),
        (
            "linear, removed",
            flat(Net::layer(Layer::Linear { axis: 1, rows: vec![vec![1.0, -1.0, 0.5, 2.0]], remove: true })),
        ),
        ("norm", flat(norm(Axes::Channels))),
        ("norm over all", flat(norm(Axes::All))),
        ("norm over rows", flat(norm(Axes::With(vec![0])))),
        ("norm over columns", flat(norm(Axes::With(vec![1])))),
        ("residual", from(phi().then(first()).residual())),
        ("product", from(Net::product([first(), dense()]))),
        ("concatenation", from(Net::concat([first(), dense(), Net::identity()]))),
        ("join", flat(Net::join(1, [first(), shared(Window::valid(&[1, 3])), Net::identity()]))),
        ("join of rows", from(Net::join(0, [Net::identity(), first()]))),
        ("dropout", from(Net::dropout(DropRate::new(0.3).unwrap()).then(first()))),
        ("attention", attend(attention())),
        ("attention, root", attend(Attention { scaling: root, ..attention() })),
        (
            "attention, identity",
            attend(Attention { weighting: Weighting::Identity, mask: AttentionMask::Causal, ..attention() }),
        ),
        ("attention, abs", attend(Attention { weighting: Weighting::Abs, scaling: root, ..attention() })),
        (
            "attention, relu",
            attend(Attention {
                weighting: Weighting::Relu,
                scaling: root,
                mask: AttentionMask::Local(1),
                ..attention()
            }),
        ),
        (
            "attention, causal",
            attend(Attention { mask: AttentionMask::Causal, scaling: root, ..attention() }),
        ),
        ("attention, local", attend(Attention { mask: AttentionMask::CausalLocal(1), ..attention() })),
        ("attention, positions", attend(Attention { position: Some(position), ..attention() })),
        ("attention, distances", attend(Attention { position: Some(distant), ..attention() })),
        (
            "attention, positions beside",
            attend(Attention { position: Some(beside), scaling: root, ..attention() }),
        ),
        (
            "attention, positions beside keys",
            attend(Attention {
                position: Some(PositionEmbedding { values: false, ..beside }),
                ..attention()
            }),
        ),
    ]
}

/// Networks over sequences of 5 positions and 2 channels that take lengths.
fn sequences() -> Vec<(&'static str, Net)> {
    let first = || shared(Window::same(&[3]));
    let cos = || Net::activation(Activation::COS);
    let from = |net: Net| Net::serial([first(), cos(), net, cos(), global(), readout()]);
    let sum = || Net::layer(Layer::GlobalPool { pooling: Pooling::Sum });
    vec![
        ("lengths, conv", from(Net::identity())),
        ("lengths, dense", from(dense().then(cos()).then(dense()))),
        ("lengths, global sum", Net::serial([first(), cos(), sum(), readout()])),
        ("lengths, residual", from(cos().then(first()).residual())),
        (
            "lengths, product and concatenation",
            from(Net::concat([Net::product([first(), dense()]), first()])),
        ),
        ("lengths, norm", from(Net::layer(Layer::LayerNorm { axes: Axes::Channels, epsilon: 0.0 }))),
        ("lengths, attention", from(Net::attention(attention()))),
        (
            "lengths, attention, root",
            from(Net::attention(Attention {
                scaling: LogitScaling::InverseRoot,
                mask: AttentionMask::Local(1),
                ..attention()
            })),
        ),
        ("lengths, groups", from(conv(ConvKind::Shared, Window::same(&[3]), Groups::Depthwise))),
    ]
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |(name, net): (&str, Net), data| Case {
        dropout: name == "dropout",
        name: name.to_owned(),
        net,
        data,
    };
    let mut cases: Vec<Case> =
        images().into_iter().map(|net| case(net, Data::numbers(3, &[3, 4], 2))).collect();
    let lengths = || Data::numbers(3, &[5], 2).lengths(&[2, 5, 4]);
    cases.extend(sequences().into_iter().map(|net| case(net, lengths())));
    let strided = Net::serial([shared(Window::same(&[3]).strides(&[2])), phi(), global(), readout()]);
    cases.push(case(("lengths, strides", strided), lengths()));
    let flat = Net::serial([shared(Window::valid(&[2])), phi(), Net::flatten(), readout()]);
    cases.push(case(("lengths, flatten", flat), lengths()));
    let pooled =
        Net::serial([dense(), phi(), pool(Pooling::Average, Window::same(&[2])), global(), readout()]);
    cases.push(case(("lengths, pool", pooled), lengths()));

    let graphs: [&[(usize, usize, f64)]; 3] =
        [&[(0, 1, 1.0), (1, 0, 0.5), (2, 2, -1.0)], &[(0, 2, 2.0), (0, 2, 1.0), (1, 1, 1.0)], &[(2, 0, 1.0)]];
    let aggregate = |axis| Net::layer(Layer::Aggregate { axis });
    let net = |axis| Net::serial([dense(), phi(), aggregate(axis), dense(), phi(), global(), readout()]);
    let inputs = |sides: &[usize]| Data::numbers(3, sides, 2);
    cases.push(case(("graphs", net(0)), inputs(&[4]).graphs(&graphs)));
    cases.push(case(("graphs on the second axis", net(1)), inputs(&[2, 3, 2]).graphs(&graphs)));
    cases.push(case(("graphs with lengths", net(0)), inputs(&[4]).lengths(&[4, 3, 2]).graphs(&graphs)));

    let embedding = || Net::embedding(variance(1.3));
    let text = Net::serial([embedding(), phi(), shared(Window::same(&[3])), phi(), global(), readout()]);
    cases.push(case(("tokens", text.clone()), Data::tokens(3, 4)));
    cases.push(case(("tokens, standard", text.clone().standard()), Data::tokens(3, 4)));
    cases.push(case(("tokens with lengths", text), Data::tokens(3, 4).lengths(&[4, 1, 3])));
    cases.push(case(("tokens that end", embedding().then(global())), Data::tokens(3, 4)));
    let sum = Net::serial([embedding() + embedding().then(phi()), Net::flatten(), readout()]);
    cases.push(case(("tokens, branches", sum), Data::tokens(3, 4)));

    let wide =
        || Net::conv_with(ConvKind::Shared, Width::Fixed(24), affine(), Window::same(&[3]), Groups::Count(1));
    let few = Net::serial([wide(), phi(), wide(), phi(), global(), readout()]);
    cases.push(case(("few positions, many channels", few), Data::numbers(3, &[2], 2)));
    let volumes = Net::serial([shared(Window::same(&[2, 1, 2])), phi(), global(), readout()]);
    cases.push(case(("volumes", volumes), Data::numbers(2, &[2, 2, 3], 1)));
    cases
}
