//! What layers over positions compute, written out in loops.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

mod common;

use common::{Data, attention, close, conv, global, numbers, phi, pool, shared, variance};
use ndarray::{Array2, ArrayD, array};
use ntk_core::{
    Attention, AttentionMask, Batch, ConvKind, Graphs, Grid, Groups, Layer, LogitScaling, Net, Pooling,
    Shape, Weighting, Width, Window,
};
use ntk_empirical::{FiniteNet, Lowering};

fn lower(net: &Net, inputs: Shape, width: usize) -> FiniteNet {
    FiniteNet::lower(net, &Lowering { width, seed: 5, ..Lowering::for_inputs(inputs) }).unwrap()
}

fn parameter(net: &FiniteNet, name: &str) -> Vec<f64> {
    net.parameters().unwrap().get(name).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// For each position that goes out, its taps, each a position or none.
fn sources(window: &Window, grid: &Grid, transposed: bool) -> Vec<Vec<Option<usize>>> {
    let axes = window.axes("conv", grid, transposed).unwrap();
    let [rows, columns] = &axes[..] else { panic!("two axes") };
    let side = grid.sides()[1];
    let mut all = Vec::new();
    for i in 0..rows.outputs {
        for j in 0..columns.outputs {
            let taps = rows
                .sources
                .iter()
                .flat_map(|r| columns.sources.iter().map(move |c| Some(r[i]? * side + c[j]?)));
            all.push(taps.collect());
        }
    }
    all
}

#[test]
fn convolutions_are_sums_over_their_windows() {
    let (grid, channels, width) = (Grid::new(&[4, 5]).unwrap(), 4, 6);
    let data = Data::numbers(2, &[4, 5], channels);
    let x = |n: usize, p: usize, c: usize| data.values[[n, p / 5, p % 5, c]];
    let windows = [
        Window::same(&[3, 2]),
        Window::valid(&[2, 3]).strides(&[2, 1]),
        Window::circular(&[3, 3]).strides(&[1, 2]),
        Window::same(&[2, 2]).dilation(&[2, 3]),
    ];
    let kinds = [
        (ConvKind::Shared, Groups::Count(1)),
        (ConvKind::Shared, Groups::Count(2)),
        (ConvKind::Transposed, Groups::Count(1)),
        (ConvKind::Local, Groups::Count(1)),
    ];
    let depthwise = (ConvKind::Shared, Groups::Depthwise);
    for window in windows {
        for (kind, groups) in kinds.into_iter().chain([depthwise]) {
            let out = if groups == Groups::Depthwise { channels } else { width };
            let net = conv(kind, window.clone(), groups).at_width(out);
            let net = lower(&net, Shape::grid(&[4, 5], channels).unwrap(), out);
            let (w, b) = (parameter(&net, "weight"), parameter(&net, "bias"));
            let sources = sources(&window, &grid, kind == ConvKind::Transposed);
            let groups = match groups {
                Groups::Count(count) => count,
                Groups::Depthwise => channels,
            };
            let (taps, inputs) = (window.taps(), channels / groups);
            let scale = (1.7 / (taps * inputs) as f64).sqrt();
            let expected = Array2::from_shape_fn((2, sources.len() * out), |(n, column)| {
                let (q, o) = (column / out, column % out);
                let own = if kind == ConvKind::Local { q } else { 0 };
                let first = o / (out / groups) * inputs;
                let mut y = 0.3f64.sqrt() * b[own * out + o];
                for (tap, source) in sources[q].iter().enumerate() {
                    let Some(p) = *source else { continue };
                    for c in 0..inputs {
                        y += scale * w[((own * taps + tap) * inputs + c) * out + o] * x(n, p, first + c);
                    }
                }
                y
            });
            close(
                &format!("{kind:?} {groups} {window:?}"),
                &net.outputs(data.batch()).unwrap(),
                &expected,
                1e-14,
            );
        }
    }
}

#[test]
fn attention_is_a_mean_of_values() {
    let (heads, d, v, channels, width, positions) = (2, 3, 2, 3, 4, 5);
    let data = Data::numbers(1, &[positions], channels);
    let x = |p: usize, c: usize| data.values[[0, p, c]];
    let grid = Grid::new(&[positions]).unwrap();
    for scaling in [LogitScaling::InverseRoot, LogitScaling::InverseDimension] {
        for weighting in [Weighting::Softmax, Weighting::Identity, Weighting::Abs, Weighting::Relu] {
            let mask = AttentionMask::CausalLocal(2);
            let layer = Attention { scaling, weighting, mask, width: Width::Fixed(width), ..attention() };
            let net = lower(&Net::attention(layer), Shape::grid(&[positions], channels).unwrap(), width);
            let (query, key) = match scaling {
                LogitScaling::InverseRoot => ("query.weight", "key.weight"),
                LogitScaling::InverseDimension => ("query_key.weight", "query_key.weight"),
            };
            let map = |name: &str, std: f64, columns: usize| {
                let w = parameter(&net, name);
                let std = std / (channels as f64).sqrt();
                Array2::from_shape_fn((positions, columns), |(p, k)| {
                    (0..channels).map(|c| std * x(p, c) * w[c * columns + k]).sum::<f64>()
                })
            };
            let q = map(query, 1.3f64.sqrt(), heads * d);
            let k = map(key, 0.8f64.sqrt(), heads * d);
            let values = map("value.weight", 1.4f64.sqrt(), heads * v);
            let (w, b) = (parameter(&net, "output.weight"), parameter(&net, "output.bias"));
            let power = if scaling == LogitScaling::InverseRoot { 0.5 } else { 1.0 };
            let read = |h: usize, p: usize| -> Vec<(usize, f64)> {
                let seen = (0..positions).filter(|&r| mask.allows(&grid, p, r));
                let logit = |r: usize| {
                    (h * d..(h + 1) * d).map(|i| q[[p, i]] * k[[r, i]]).sum::<f64>() / (d as f64).powf(power)
                };
                let total: f64 = seen.clone().map(|r| logit(r).exp()).sum();
                seen.map(|r| {
                    let weight = match weighting {
                        Weighting::Softmax => logit(r).exp() / total,
                        Weighting::Identity => logit(r),
                        Weighting::Abs => logit(r).abs(),
                        Weighting::Relu => logit(r).max(0.0),
                    };
                    (r, weight)
                })
                .collect()
            };
            let expected = Array2::from_shape_fn((1, positions * width), |(_, column)| {
                let (p, o) = (column / width, column % width);
                let mut y = 0.2f64.sqrt() * b[o];
                for h in 0..heads {
                    for (r, weight) in read(h, p) {
                        for i in h * v..(h + 1) * v {
                            let scale = (0.9 / (heads * v) as f64).sqrt();
                            y += scale * weight * values[[r, i]] * w[i * width + o];
                        }
                    }
                }
                y
            });
            close(
                &format!("{scaling:?} {weighting:?}"),
                &net.outputs(data.batch()).unwrap(),
                &expected,
                1e-14,
            );
        }
    }
}

/// One sample of one channel.
fn sequence(values: &[f64]) -> ArrayD<f64> {
    ArrayD::from_shape_vec(vec![1, values.len(), 1], values.to_vec()).unwrap()
}

fn apply(net: &Net, values: &[f64]) -> Vec<f64> {
    let x = sequence(values);
    let batch = Batch::grid(x.view()).unwrap();
    lower(net, batch.shape().unwrap(), 1).outputs(batch).unwrap().into_raw_vec_and_offset().0
}

#[test]
fn pools_by_hand() {
    let x = [1.0, 2.0, 6.0];
    assert_eq!(apply(&pool(Pooling::Average, Window::same(&[2])), &x), [1.5, 4.0, 3.0]);
    assert_eq!(apply(&pool(Pooling::EdgeAverage, Window::same(&[2])), &x), [1.5, 4.0, 6.0]);
    assert_eq!(apply(&pool(Pooling::Sum, Window::same(&[3]).strides(&[2])), &x), [3.0, 8.0]);
    assert_eq!(apply(&pool(Pooling::Sum, Window::circular(&[2])), &x), [3.0, 8.0, 7.0]);
    assert_eq!(apply(&global(), &x), [3.0]);
    assert_eq!(apply(&Net::join(0, [Net::identity(), Net::identity()]), &x), [1.0, 2.0, 6.0, 1.0, 2.0, 6.0]);
    assert_eq!(apply(&Net::concat([Net::identity(), Net::identity()]), &x), [1.0, 1.0, 2.0, 2.0, 6.0, 6.0]);
}

#[test]
fn graphs_by_hand() {
    let net = Net::layer(Layer::Aggregate { axis: 0 });
    let x = sequence(&[1.0, 2.0, 6.0]);
    let dense =
        ArrayD::from_shape_vec(vec![1, 3, 3], vec![0.0, 2.0, 0.0, 0.0, 0.0, 1.0, 0.0, -1.0, 0.5]).unwrap();
    let dense = dense.into_dimensionality().unwrap();
    let edges = vec![vec![(0, 1, 1.5), (0, 1, 0.5), (1, 2, 1.0), (2, 1, -1.0), (2, 2, 0.5)]];
    for graphs in [Graphs::Dense(dense.view()), Graphs::Sparse(&edges)] {
        let batch = Batch::grid(x.view()).unwrap().with_graphs(graphs);
        let y = lower(&net, batch.shape().unwrap(), 1).outputs(batch).unwrap();
        assert_eq!(y, array![[0.0, 2.0 - 6.0, 2.0 + 3.0]]);
    }
}

#[test]
fn embeddings_look_up_their_rows() {
    let tokens = array![[2u32, 0, 2], [1, 1, 0]];
    let batch = Batch::tokens(tokens.view(), 3).unwrap();
    for standard in [false, true] {
        let net = Net::embedding(variance(4.0));
        let net = lower(&if standard { net.standard() } else { net }, batch.shape().unwrap(), 2);
        let w = parameter(&net, "weight");
        let scale = if standard { 1.0 } else { 2.0 };
        let row = |(n, column): (usize, usize)| scale * w[tokens[[n, column / 2]] as usize * 2 + column % 2];
        assert_eq!(net.outputs(batch).unwrap(), Array2::from_shape_fn((2, 6), row));
    }
}

#[test]
fn a_large_batch_is_its_samples() {
    let net = Net::serial([
        shared(Window::same(&[3, 3])),
        phi(),
        shared(Window::same(&[3, 3])),
        phi(),
        global(),
        Net::readout(3, variance(1.0), variance(0.0)),
    ]);
    let data = Data::numbers(8, &[16, 16], 3);
    let net = lower(&net, data.batch().shape().unwrap(), 32);
    let (all, u) = (net.outputs(data.batch()).unwrap(), numbers(8, 3, 1));
    let gradient = net.vjp(data.batch(), u.view()).unwrap();
    let mut sum = gradient.plus(-1.0, &gradient).unwrap();
    for i in 0..8 {
        let one = data.batch().range(i, i + 1);
        let row = all.slice(ndarray::s![i..i + 1, ..]).to_owned();
        close("outputs", &net.outputs(one).unwrap(), &row, 1e-13);
        let u = u.slice(ndarray::s![i..i + 1, ..]);
        sum = sum.plus(1.0, &net.vjp(one, u).unwrap()).unwrap();
    }
    let error = sum.plus(-1.0, &gradient).unwrap().norm().unwrap();
    assert!(error <= 1e-12 * gradient.norm().unwrap(), "{error:e}");
}
