//! Batches of grids, sequences, tokens and graphs: what they refuse, and that parts of them are parts of all they hold.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use std::sync::Mutex;

use ndarray::{Array1, Array2, Array3, Array4, ShapeBuilder, array, s};
use ntk_core::{Batch, Cached, Error, Graphs, KernelBlock, KernelFn, Which};
use proptest::prelude::*;

/// The variant's name and the message.
fn told<T: std::fmt::Debug>(result: Result<T, Error>) -> (String, String) {
    let error = result.expect_err("bad input must be refused");
    let debug = format!("{error:?}");
    (debug.split([' ', '(']).next().unwrap_or_default().to_owned(), error.to_string())
}

fn assert_told<T: std::fmt::Debug>(result: Result<T, Error>, variant: &str, message: &str) {
    assert_eq!(told(result), (variant.to_owned(), message.to_owned()));
}

fn images(n: usize) -> Array4<f64> {
    Array4::from_shape_fn((n, 2, 3, 2), |(i, p, q, c)| (1 + i * 12 + p * 6 + q * 2 + c) as f64)
}

#[test]
fn arrays_are_read_samples_first_and_channels_last() {
    let x = images(4);
    let batch = Batch::grid(x.view()).unwrap();
    assert_eq!((batch.len(), batch.positions().sides(), batch.features()), (4, &[2, 3][..], 2));
    assert_eq!(batch.values().row(1), Array1::from_iter((13..25).map(f64::from)));
    assert_eq!(batch.shape().unwrap(), ntk_core::Shape::grid(&[2, 3], 2).unwrap());
    // A matrix is a batch of vectors, by either name.
    let matrix = array![[1.0, 2.0], [3.0, 4.0]];
    assert_eq!(Batch::grid(matrix.view()).unwrap(), Batch::from(&matrix));
    assert!(Batch::from(&matrix).token_ids().is_none() && batch.check().is_ok());
    // Every second sample is no array in standard layout; a range of samples is.
    assert!(Batch::grid(x.slice(s![1..3, .., .., ..])).unwrap().check().is_ok());
    let standard = |shape: &str| {
        format!(
            "a batch is an array of samples, positions and channels in standard layout, not of shape {shape}: call as_standard_layout first"
        )
    };
    assert_told(Batch::grid(x.slice(s![..;2, .., .., ..])), "BatchLayout", &standard("[2, 2, 3, 2]"));
    assert_told(Batch::grid(x.slice(s![.., ..;-1, .., ..])), "BatchLayout", &standard("[4, 2, 3, 2]"));
    let columns = Array3::<f64>::zeros((2, 3, 4).f());
    assert_told(Batch::grid(columns.view()), "BatchLayout", &standard("[2, 3, 4]"));
    assert_told(
        Batch::grid(Array1::zeros(3).view()),
        "BatchLayout",
        "a batch is an array of samples, positions and channels in standard layout, not of shape [3]: give it an axis of samples and one of channels",
    );
    let many = ndarray::ArrayD::zeros(vec![1; 9]);
    assert_eq!(told(Batch::grid(many.view())).0, "Grid");
}

#[test]
fn what_is_empty_is_refused() {
    let empty = |shape: (usize, usize, usize)| {
        let values = Array3::zeros(shape);
        told(Batch::grid(values.view()).and_then(|batch| batch.check()))
    };
    let message = |samples, features| {
        format!("a batch needs at least one sample and one feature, not shape ({samples}, {features})")
    };
    assert_eq!(empty((0, 3, 2)), ("EmptyBatch".to_owned(), message(0, 2)));
    assert_eq!(empty((2, 3, 0)), ("EmptyBatch".to_owned(), message(2, 0)));
    assert_eq!(empty((2, 0, 3)), ("EmptyBatch".to_owned(), message(2, 0)));
    assert_eq!(told(Batch::tokens(Array2::zeros((2, 0)).view(), 5)).0, "Grid");
    let none = Array2::zeros((2, 3));
    assert_eq!(told(Batch::tokens(none.view(), 0).unwrap().check()).1, message(2, 0));
}

#[test]
fn values_and_tokens_are_checked() {
    let mut x = images(2);
    x[[1, 0, 2, 1]] = f64::NAN;
    assert_told(
        Batch::grid(x.view()).unwrap().check(),
        "NonFiniteInput",
        "input value NaN of sample 1, feature 5 is not finite",
    );
    let tokens = array![[0, 1, 2], [3, 4, 5]];
    assert!(Batch::tokens(tokens.view(), 6).unwrap().check().is_ok());
    assert_told(
        Batch::tokens(tokens.view(), 4).unwrap().check(),
        "Token",
        "token 4 of sample 1, position 1 is not below the vocabulary's size 4",
    );
    let batch = Batch::tokens(tokens.view(), 6).unwrap();
    assert_eq!((batch.len(), batch.features(), batch.positions().sides()), (2, 6, &[3][..]));
    assert_eq!((batch.token_ids(), batch.values().dim()), (Some(tokens.view()), (2, 0)));
}

#[test]
fn lengths_are_those_of_sequences() {
    let x = Array3::<f64>::ones((3, 4, 2));
    let check = |lengths: &[usize]| Batch::grid(x.view()).unwrap().with_lengths(lengths).check();
    assert!(check(&[4, 1, 3]).is_ok());
    let message = |sample, length| {
        format!(
            "sample {sample} has length {length}, and lengths lie between 1 and the 4 positions of a sequence"
        )
    };
    assert_told(check(&[4, 5, 3]), "Length", &message(1, 5));
    assert_told(check(&[0, 5, 3]), "Length", &message(0, 0));
    assert_told(check(&[4, 4]), "Length", &message(2, 0));
    assert_told(check(&[4, 4, 4, 2]), "Length", &message(3, 2));
    let image = images(2);
    let batch = Batch::grid(image.view()).unwrap();
    assert_told(
        batch.with_lengths(&[1, 1]).check(),
        "LengthGrid",
        "lengths belong to samples with exactly one axis of positions, not to a grid [2, 3]",
    );
    let vectors = Array2::ones((2, 3));
    let error = told(Batch::from(&vectors).with_lengths(&[1, 1]).check());
    assert_eq!(error.1, "lengths belong to samples with exactly one axis of positions, not to a grid []");
}

#[test]
fn graphs_are_those_of_their_samples() {
    let x = Array3::<f64>::ones((2, 3, 1));
    let batch = Batch::grid(x.view()).unwrap();
    let check = |edges: &[Vec<(usize, usize, f64)>]| batch.with_graphs(Graphs::Sparse(edges)).check();
    assert!(check(&[vec![(0, 2, 1.0), (0, 2, -0.5)], vec![]]).is_ok());
    assert_told(check(&[vec![]]), "GraphCount", "a batch of 2 samples needs as many graphs, not 1");
    let edge = |sample, edge: &str| {
        format!(
            "the edge {edge} in the graph of sample {sample} is not one between its 3 nodes with a finite weight"
        )
    };
    assert_told(check(&[vec![], vec![(0, 1, 1.0), (3, 0, 1.0)]]), "Edge", &edge(1, "3 → 0 of weight 1"));
    assert_told(check(&[vec![(0, 4, 1.0)], vec![]]), "Edge", &edge(0, "0 → 4 of weight 1"));
    assert_told(check(&[vec![(0, 1, f64::NAN)], vec![]]), "Edge", &edge(0, "0 → 1 of weight NaN"));
    let mut dense = Array3::zeros((2, 3, 3));
    dense[[1, 2, 0]] = 0.5;
    assert_eq!(Graphs::Dense(dense.view()).edges(1), [(2, 0, 0.5)]);
    assert!(batch.with_graphs(Graphs::Dense(dense.view())).check().is_ok());
    dense[[0, 1, 1]] = f64::INFINITY;
    let infinite = batch.with_graphs(Graphs::Dense(dense.view())).check();
    assert_told(infinite, "Edge", &edge(0, "1 → 1 of weight inf"));
    let three = Array3::zeros((3, 3, 3));
    let error = batch.with_graphs(Graphs::Dense(three.view())).check();
    assert_told(error, "GraphCount", "a batch of 2 samples needs as many graphs, not 3");
}

#[test]
fn pairs_live_in_one_space() {
    let (image, other) = (images(2), Array4::<f64>::ones((2, 3, 2, 2)));
    let (image, other) = (Batch::grid(image.view()).unwrap(), Batch::grid(other.view()).unwrap());
    let differ = |left: &str, right: &str| {
        format!(
            "the two batches must have the same positions and the same kind of values, not {left} and {right}"
        )
    };
    assert_told(
        Batch::check_pair(image, other),
        "Batches",
        &differ("numbers on a grid [2, 3]", "numbers on a grid [3, 2]"),
    );
    let (sequence, tokens) = (Array3::<f64>::ones((1, 3, 5)), array![[0, 1, 2]]);
    let sequence = Batch::grid(sequence.view()).unwrap();
    let of = |vocabulary| Batch::tokens(tokens.view(), vocabulary).unwrap();
    assert_told(
        Batch::check_pair(of(5), sequence),
        "Batches",
        &differ("tokens on a grid [3]", "numbers on a grid [3]"),
    );
    let features = "the two batches must have the same number of features, not 5 and 6";
    assert_told(Batch::check_pair(of(5), of(6)), "Features", features);
    let wide = Array3::<f64>::ones((1, 3, 6));
    assert_told(Batch::check_pair(sequence, Batch::grid(wide.view()).unwrap()), "Features", features);
    // One side may have lengths and the other none.
    assert!(Batch::check_pair(sequence.with_lengths(&[2]), sequence).is_ok());
    assert_eq!(told(Batch::check_pair(sequence, sequence.with_lengths(&[4]))).0, "Length");
}

type Edges = Vec<(usize, usize, f64)>;

/// Values and tokens of sequences, with lengths and graphs.
fn everything() -> impl Strategy<Value = (Array3<f64>, Array2<u32>, Vec<usize>, Vec<Edges>)> {
    (1usize..5, 1usize..4).prop_flat_map(|(n, side)| {
        let values = prop::collection::vec(-1.0..1.0f64, n * side * 2);
        let tokens = prop::collection::vec(0u32..5, n * side);
        let edge = (0..side, 0..side, -1.0..1.0f64);
        (
            values.prop_map(move |v| Array3::from_shape_vec((n, side, 2), v).unwrap()),
            tokens.prop_map(move |v| Array2::from_shape_vec((n, side), v).unwrap()),
            prop::collection::vec(1..=side, n),
            prop::collection::vec(prop::collection::vec(edge, 0..4), n),
        )
    })
}

proptest! {
    #![proptest_config(ntk_testkit::cases(256))]

    #[test]
    fn ranges_and_selections_take_along_what_belongs_to_samples(
        (values, tokens, lengths, edges) in everything(),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..5),
        ends in any::<[prop::sample::Index; 2]>(),
    ) {
        let n = lengths.len();
        let (a, b) = (ends[0].index(n + 1), ends[1].index(n + 1));
        let (start, end) = (a.min(b), a.max(b));
        let dense = Array3::from_shape_fn((n, values.dim().1, values.dim().1), |(i, from, to)| {
            edges[i].iter().filter(|edge| (edge.0, edge.1) == (from, to)).map(|edge| edge.2).sum()
        });
        for whole in [Batch::grid(values.view())?, Batch::tokens(tokens.view(), 5)?] {
            for graphs in [Graphs::Sparse(&edges), Graphs::Dense(dense.view())] {
                let whole = whole.with_lengths(&lengths).with_graphs(graphs);
                whole.check()?;
                let same = |part: Batch<'_>, at: usize, sample: usize| {
                    part.values().rows().into_iter().nth(at) == whole.values().rows().into_iter().nth(sample)
                        && part.token_ids().map(|t| t.row(at).to_owned()) == whole.token_ids().map(|t| t.row(sample).to_owned())
                        && part.lengths().map(|l| l[at]) == Some(lengths[sample])
                        && part.graphs().map(|g| g.edges(at)) == Some(graphs.edges(sample))
                };
                let range = whole.range(start, end);
                prop_assert_eq!((range.len(), range.positions(), range.features()), (end - start, whole.positions(), whole.features()));
                prop_assert!((start..end).all(|i| same(range, i - start, i)));
                let samples: Vec<usize> = picks.iter().map(|pick| pick.index(n)).collect();
                let selected = whole.select(&samples);
                let selected = selected.view();
                selected.check()?;
                prop_assert_eq!((selected.len(), selected.positions()), (samples.len(), whole.positions()));
                prop_assert!(samples.iter().enumerate().all(|(at, &i)| same(selected, at, i)));
            }
        }
    }
}

/// Gives zeros and counts how often it is asked.
#[derive(Debug, Default)]
struct Counting(Mutex<usize>);

impl KernelFn for Counting {
    type Error = Error;
    fn block(&self, x1: Batch<'_>, x2: Batch<'_>, _: Which) -> Result<KernelBlock, Error> {
        Batch::check_pair(x1, x2)?;
        *self.0.lock().unwrap() += 1;
        Ok(KernelBlock { nngp: Some(Array2::zeros((x1.len(), x2.len()))), ntk: None })
    }
}

#[test]
fn cached_tells_batches_apart_by_all_that_they_hold() {
    let values = Array3::<f64>::ones((2, 4, 2));
    let other = Array4::<f64>::ones((2, 2, 2, 2));
    let (tokens, edges, none) =
        (array![[0, 1, 0, 1], [1, 1, 1, 1]], [vec![(0, 1, 1.0)], vec![]], [vec![], vec![]]);
    let moved = [vec![], vec![(0, 1, 1.0)]];
    let (plain, flat) = (Batch::grid(values.view()).unwrap(), Array2::ones((2, 8)));
    let token = |vocabulary| Batch::tokens(tokens.view(), vocabulary).unwrap();
    let batches = [
        plain,
        Batch::grid(other.view()).unwrap(),
        Batch::from(&flat),
        plain.with_lengths(&[4, 4]),
        plain.with_lengths(&[4, 3]),
        plain.with_graphs(Graphs::Sparse(&none)),
        plain.with_graphs(Graphs::Sparse(&edges)),
        plain.with_graphs(Graphs::Sparse(&moved)),
        plain.with_lengths(&[4, 3]).with_graphs(Graphs::Sparse(&edges)),
        token(2),
        token(3),
        token(3).with_lengths(&[1, 4]),
        plain.range(0, 1),
    ];
    let kernel = Counting::default();
    let cached = Cached::new(&kernel, 1 << 20);
    for _ in 0..2 {
        for batch in batches {
            cached.symmetric(batch, Which::Nngp).unwrap();
        }
    }
    assert_eq!(*kernel.0.lock().unwrap(), batches.len());
    // Dense and sparse graphs are one graph, as owned samples are the samples.
    let mut dense = Array3::zeros((2, 4, 4));
    dense[[0, 0, 1]] = 1.0;
    cached.symmetric(plain.with_graphs(Graphs::Dense(dense.view())), Which::Nngp).unwrap();
    cached.symmetric(batches[8].select(&[0, 1]).view(), Which::Nngp).unwrap();
    assert_eq!(*kernel.0.lock().unwrap(), batches.len());
}

#[test]
fn a_diagonal_of_too_few_lengths_is_refused() {
    let values = Array3::<f64>::ones((3, 4, 2));
    let batch = Batch::grid(values.view()).unwrap();
    let diag = |batch: Batch<'_>| told(Counting::default().diag(batch, Which::Nngp));
    assert_eq!(diag(batch.with_lengths(&[4])).0, "Length");
    assert_eq!(diag(batch.with_graphs(Graphs::Sparse(&[vec![]]))).0, "GraphCount");
    let graphs = Array3::zeros((2, 4, 4));
    assert_eq!(diag(batch.with_graphs(Graphs::Dense(graphs.view()))).0, "GraphCount");
}
