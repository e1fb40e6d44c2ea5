//! Kernels of random finite networks over positions tend to those computed here: every layer, and deep mixtures.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

mod convergence;

use convergence::{Draws, failures};
use ndarray::{Array2, Array3, Array4};
use ntk_core::{
    Activation, Affine, Attention, AttentionMask, Axes, Batch, ConvKind, DropRate, Graphs, Groups,
    Interpolation, Layer, LogitScaling, Net, Pooling, PositionEmbedding, Span, Variance, Weighting, Width,
    Window,
};

const PLAN: Draws = Draws { widths: [8, 16, 32, 64, 128], draws: 32, faster: false };

/// An architecture as a function of the width.
type AtWidth = fn(usize) -> Net;

fn variance(value: f64) -> Variance {
    Variance::new(value).unwrap()
}

fn affine() -> Affine {
    Affine::new(variance(1.7), variance(0.2))
}

fn relu() -> Net {
    Net::activation(Activation::Relu)
}

fn erf() -> Net {
    Net::activation(Activation::ERF)
}

fn conv(window: Window) -> Net {
    Net::conv(window, variance(1.7), variance(0.2))
}

fn kind(kind: ConvKind, window: Window) -> Net {
    Net::conv_with(kind, Width::HIDDEN, affine(), window, Groups::Count(1))
}

fn dense() -> Net {
    Net::dense(variance(1.7), variance(0.2))
}

fn readout() -> Net {
    Net::readout(1, variance(1.3), variance(0.1))
}

fn flat(nets: impl IntoIterator<Item = Net>) -> Net {
    Net::serial(nets).then(Net::flatten()).then(readout())
}

fn pooled(nets: impl IntoIterator<Item = Net>) -> Net {
    Net::serial(nets).then(Net::global_average_pool()).then(readout())
}

fn same() -> Window {
    Window::same(&[3, 2])
}

fn pool(pooling: Pooling, window: Window) -> Net {
    Net::layer(Layer::Pool { pooling, window })
}

fn norm(axes: Axes) -> Net {
    Net::layer(Layer::LayerNorm { axes, epsilon: 1e-6 })
}

fn images(nets: Vec<(&'static str, AtWidth)>) -> Vec<String> {
    let x = Array4::from_shape_fn((3, 4, 3, 2), |(n, h, w, c)| {
        1.3 * (0.9 * n as f64 + (n + 2) as f64 * (0.7 * h as f64 + 1.1 * w as f64) + 2.0 * c as f64).sin()
    });
    nets.into_iter()
        .flat_map(|(name, net)| failures(name, net, Batch::grid(x.view()).unwrap(), &PLAN))
        .collect()
}

fn sequences() -> Array3<f64> {
    Array3::from_shape_fn((3, 4, 3), |(n, t, c)| {
        1.2 * (1.7 * n as f64 + (n + 1) as f64 * t as f64 + 0.8 * c as f64).cos()
    })
}

/// The inside of a residual block.
fn inner() -> Net {
    erf().then(conv(same()))
}

fn none(failures: Vec<String>) {
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn convolutions_tend_to_their_limits() {
    none(images(vec![
        ("same, flatten", |_| flat([conv(same()), relu(), conv(same()), erf()])),
        ("valid, pooled", |_| {
            pooled([conv(Window::valid(&[2, 2])), relu(), conv(Window::valid(&[2, 1])), relu()])
        }),
        ("circular", |_| {
            pooled([conv(Window::circular(&[3, 2])), relu(), conv(Window::circular(&[2, 2])), relu()])
        }),
        ("strided", |_| pooled([conv(same().strides(&[2, 1])), relu(), conv(same()), relu()])),
        ("dilated", |_| {
            pooled([conv(Window::same(&[2, 2]).dilation(&[2, 1])), relu(), conv(same()), relu()])
        }),
        ("transposed", |_| {
            pooled([kind(ConvKind::Transposed, same().strides(&[2, 2])), relu(), conv(same()), relu()])
        }),
        ("local", |_| pooled([kind(ConvKind::Local, same()), relu(), kind(ConvKind::Local, same()), relu()])),
        ("groups", |_| {
            let grouped = Net::conv_with(ConvKind::Shared, Width::HIDDEN, affine(), same(), Groups::Count(4));
            pooled([conv(same()), relu(), grouped, relu()])
        }),
        ("depthwise", |_| {
            let depthwise =
                Net::conv_with(ConvKind::Shared, Width::HIDDEN, affine(), same(), Groups::Depthwise);
            pooled([conv(same()), relu(), depthwise, dense(), relu()])
        }),
        ("standard", |n| flat([conv(same()), relu(), conv(same()), relu()]).standard().at_width(n)),
        ("dense on positions", |_| flat([dense(), relu(), conv(same()), relu(), dense(), erf()])),
    ]));
}

#[test]
fn maps_of_positions_tend_to_their_limits() {
    none(images(vec![
        ("average pool", |_| {
            let window = Window::same(&[2, 2]).strides(&[2, 1]);
            pooled([conv(same()), relu(), pool(Pooling::Average, window), conv(same()), relu()])
        }),
        ("edge average", |_| {
            flat([
                conv(same()),
                relu(),
                pool(Pooling::EdgeAverage, Window::same(&[3, 3])),
                conv(same()),
                relu(),
            ])
        }),
        ("sum pool", |_| {
            flat([
                conv(same()),
                relu(),
                pool(Pooling::Sum, Window::blocks(&[2, 3])),
                conv(Window::same(&[1, 1])),
                relu(),
            ])
        }),
        ("global pool, then dense", |_| {
            Net::serial([conv(same()), relu(), Net::global_average_pool(), dense(), relu(), readout()])
        }),
        ("index", |_| {
            let spans = vec![Span { step: -2, ..Span::ALL }, Span { start: Some(1), ..Span::ALL }];
            pooled([conv(same()), Net::layer(Layer::Index { spans }), relu(), conv(same()), relu()])
        }),
        ("resize", |_| {
            let sides = vec![Some(3), Some(5)];
            let resize = Net::layer(Layer::Resize { sides, interpolation: Interpolation::Linear });
            pooled([conv(same()), relu(), resize, conv(same()), relu()])
        }),
        ("linear", |_| {
            let rows = vec![vec![1.0, -0.5, 0.3, 0.0], vec![0.2, 0.0, 0.0, 1.0]];
            let linear = Net::layer(Layer::Linear { axis: 0, rows, remove: false });
            flat([conv(same()), linear, relu(), conv(same()), relu()])
        }),
        ("layer norm, all axes", |_| pooled([conv(same()), norm(Axes::All), relu(), conv(same()), relu()])),
        ("layer norm, one axis", |_| {
            pooled([conv(same()), norm(Axes::With(vec![1])), erf(), conv(same()), relu()])
        }),
        ("layer norm after relu", |_| {
            let block = || conv(same()).then(relu());
            pooled([block(), norm(Axes::Channels), block(), norm(Axes::Channels), block()])
        }),
        ("layer norm of all after relu", |_| {
            pooled([conv(same()), relu(), norm(Axes::All), conv(same()), relu()])
        }),
        ("dropout", |_| {
            let drop = Net::dropout(DropRate::new(0.3).unwrap());
            pooled([conv(same()), relu(), drop, conv(same()), relu()])
        }),
    ]));
}

#[test]
fn branches_tend_to_their_limits() {
    none(images(vec![
        ("residual", |_| pooled([conv(same()), inner().residual(), inner().residual(), relu()])),
        ("branches with means", |_| {
            let branch = || conv(same()).then(relu());
            pooled([conv(same()), relu(), branch() + branch(), conv(same()), relu()])
        }),
        ("skip with a mean", |_| {
            pooled([conv(same()), relu(), conv(same()).then(relu()).residual(), conv(same()), relu()])
        }),
        ("maps that share the input", |_| {
            let smooth = pool(Pooling::EdgeAverage, Window::same(&[3, 3]));
            pooled([conv(same()), smooth.residual() + Net::identity(), relu(), conv(same()), relu()])
        }),
        ("product", |_| {
            pooled([
                conv(same()),
                relu(),
                Net::product([conv(same()), conv(same()).then(relu())]),
                dense(),
                relu(),
            ])
        }),
        ("concat", |_| pooled([Net::concat([conv(same()), conv(same()).then(inner())]), dense(), relu()])),
        ("join", |_| {
            let narrow =
                || Net::layer(Layer::Index { spans: vec![Span { stop: Some(2), ..Span::ALL }, Span::ALL] });
            pooled([
                Net::join(0, [conv(same()).then(relu()), narrow().then(conv(same())).then(relu())]),
                conv(same()),
                relu(),
            ])
        }),
    ]));
}

/// Pools inside of branches, and one position that becomes several.
#[test]
fn grids_that_change_in_branches_tend_to_their_limits() {
    let window = || Window::same(&[3]);
    let x = |positions: usize| {
        Array3::from_shape_fn((3, positions, 2), |(n, t, c)| {
            1.2 * (1.7 * n as f64 + (n + 1) as f64 * t as f64 + 0.8 * c as f64).cos()
        })
    };
    let blocks = || pool(Pooling::Average, Window::blocks(&[2]));
    let spread = kind(ConvKind::Transposed, Window::valid(&[2]).strides(&[2]));
    let pooled_branches = Net::serial([
        conv(window()),
        relu(),
        Net::sum([
            blocks().then(conv(Window::same(&[1]))),
            Net::serial([conv(window()), relu(), blocks(), conv(Window::same(&[1]))]),
        ]),
        relu(),
        blocks(),
        conv(window()),
        relu(),
    ]);
    let smooth = || pool(Pooling::Average, window());
    let rows = vec![
        ("pools in branches", 8, pooled([pooled_branches])),
        ("one position to two", 1, pooled([spread.clone(), relu()])),
        (
            "two positions to one to two",
            2,
            pooled([conv(window()), relu(), blocks(), spread, relu()]).then(Net::identity()),
        ),
        (
            "one position to two, then dense",
            2,
            Net::serial([
                conv(window()),
                relu(),
                blocks(),
                Net::layer(Layer::Linear { axis: 0, rows: vec![vec![1.0], vec![2.0]], remove: false }),
                dense(),
                relu(),
                Net::global_average_pool(),
                dense(),
                relu(),
                readout(),
            ]),
        ),
        (
            "maps in maps",
            4,
            pooled([dense(), Net::identity() + smooth().residual().then(smooth()), relu(), dense(), relu()]),
        ),
        (
            "one axis to two by joining",
            1,
            pooled([Net::join(0, [dense(), dense().then(erf())]), dense(), relu()]),
        ),
    ];
    let mut all = Vec::new();
    for (name, positions, net) in rows {
        let x = x(positions);
        all.extend(failures(name, |_| net.clone(), Batch::grid(x.view()).unwrap(), &PLAN));
    }
    none(all);
}

#[test]
fn sequences_graphs_and_tokens_tend_to_their_limits() {
    let x = sequences();
    let batch = Batch::grid(x.view()).unwrap();
    let lengths: Vec<(&str, AtWidth)> = vec![
        ("lengths, pooled", |_| pooled([conv(Window::same(&[3])), relu(), conv(Window::same(&[3])), relu()])),
        ("lengths, strided", |_| {
            let pool = pool(Pooling::Average, Window::same(&[2]));
            flat([conv(Window::same(&[3]).strides(&[2])), erf(), pool, conv(Window::same(&[2])), relu()])
        }),
    ];
    let mut all = Vec::new();
    for (name, net) in lengths {
        all.extend(failures(name, net, batch.with_lengths(&[2, 4, 3]), &PLAN));
    }
    let graph: AtWidth = |_| {
        let aggregate = || Net::layer(Layer::Aggregate { axis: 0 });
        pooled([aggregate(), dense(), relu(), aggregate(), dense(), relu()])
    };
    let edges = [
        vec![(0, 1, 1.0), (1, 2, 0.5), (2, 0, 1.0), (3, 3, 1.0)],
        vec![(0, 1, 1.0), (1, 0, 1.0), (0, 3, 2.0), (2, 2, 0.3)],
        vec![(1, 3, 1.0), (3, 1, 0.7), (0, 0, 1.0), (2, 1, -1.0)],
    ];
    // The node itself and its neighbors, under the same weights.
    let isomorphism: AtWidth = |_| {
        let sum = || Net::layer(Layer::Aggregate { axis: 0 }).residual();
        pooled([sum(), dense(), relu(), sum().residual(), dense(), relu()])
    };
    let graphs = batch.with_graphs(Graphs::Sparse(&edges));
    all.extend(failures("graphs", graph, graphs, &PLAN));
    all.extend(failures("graphs, nodes and neighbors", isomorphism, graphs, &PLAN));
    let tokens = Array2::from_shape_fn((3, 4), |(n, t)| ((n * t + n + 2 * t) % 5) as u32);
    let text: AtWidth = |_| {
        pooled([
            Net::embedding(variance(1.5)),
            conv(Window::same(&[2])),
            relu(),
            conv(Window::same(&[3])),
            relu(),
        ])
    };
    all.extend(failures("tokens", text, Batch::tokens(tokens.view(), 5).unwrap(), &PLAN));
    none(all);
}

#[test]
fn attention_tends_to_its_limit() {
    let x = sequences();
    let batch = Batch::grid(x.view()).unwrap();
    let nets: Vec<(&str, AtWidth)> = vec![
        ("softmax, logits over d", |_| {
            let attention =
                Attention { key: Width::Hidden(4.0), bias: variance(0.1), ..Attention::default() };
            pooled([dense(), erf(), Net::attention(attention), relu(), dense(), relu()])
        }),
        ("causal, positions", |_| {
            let attention = Attention {
                key: Width::Hidden(4.0),
                mask: AttentionMask::Causal,
                position: Some(PositionEmbedding::sum(variance(0.5))),
                ..Attention::default()
            };
            pooled([dense(), Net::attention(attention), relu(), dense(), relu()])
        }),
        ("identity, logits over the root of d", |_| {
            let (heads, scaling) = (Width::HIDDEN, LogitScaling::InverseRoot);
            let (key, value) = (Width::Hidden(0.5), Width::Hidden(0.5));
            let weighting = Weighting::Identity;
            let attention = Attention { heads, scaling, key, value, weighting, ..Attention::default() };
            pooled([dense(), erf(), Net::attention(attention), relu()])
        }),
        ("softmax, logits over the root of d", |_| {
            let (heads, scaling) = (Width::HIDDEN, LogitScaling::InverseRoot);
            let (key, value) = (Width::Hidden(0.5), Width::Hidden(0.5));
            let attention = Attention { heads, scaling, key, value, ..Attention::default() };
            pooled([dense(), erf(), Net::attention(attention), relu()])
        }),
    ];
    none(nets.into_iter().flat_map(|(name, net)| failures(name, net, batch, &PLAN)).collect());
}
