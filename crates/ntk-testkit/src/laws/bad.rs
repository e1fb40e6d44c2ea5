//! What is wrong with a batch in every way there is, made from a good one.

use ndarray::{Array2, ArrayD};
use ntk_core::{Batch, Graphs, OwnedBatch};

type Bad = Vec<(&'static str, OwnedBatch)>;

/// Batches that no kernel may answer.
pub(super) fn batches(x: Batch<'_>) -> Bad {
    let mut bad = vec![("a batch of no samples", x.select(&[]))];
    let all = whole(x);
    match x.token_ids() {
        Some(tokens) => {
            let unknown = tokens.mapv(|token| token.saturating_add(x.features() as u32));
            bad.push(("a batch with unknown tokens", with_tokens(x, &unknown, x.features())));
            bad.push(("a batch of no vocabulary", with_tokens(x, &tokens.to_owned(), 0)));
        }
        None => {
            for (name, value) in [
                ("a batch with NaN", f64::NAN),
                ("a batch with ∞", f64::INFINITY),
                ("a batch with −∞", f64::NEG_INFINITY),
            ] {
                let mut values = x.values().to_owned();
                // The first position exists in samples of any length.
                values[[x.len() - 1, 0]] = value;
                bad.push((name, with_values(x, values.into_raw_vec_and_offset().0, x.features())));
            }
            bad.push(("a batch of no features", with_values(x, Vec::new(), 0)));
        }
    }
    if let (Some(lengths), &[side]) = (x.lengths(), x.positions().sides()) {
        let wrong = |length: usize| {
            let lengths: Vec<usize> = std::iter::once(length).chain(lengths[1..].iter().copied()).collect();
            whole(all.view().with_lengths(&lengths))
        };
        bad.push(("a batch with a length of 0", wrong(0)));
        bad.push(("a batch with a length beyond its positions", wrong(side + 1)));
    }
    if let Some(graphs) = x.graphs() {
        let nodes = x.positions().sides().iter().copied().max().unwrap_or(1);
        for (name, edge) in [
            ("a batch with an edge to no node", (0, nodes, 1.0)),
            ("a batch with an edge of weight NaN", (0, 0, f64::NAN)),
        ] {
            let mut edges: Vec<_> = (0..x.len()).map(|sample| graphs.edges(sample)).collect();
            edges[0].push(edge);
            bad.push((name, whole(all.view().with_graphs(Graphs::Sparse(&edges)))));
        }
    }
    bad
}

/// Good batches that live in another space than x does.
pub(super) fn elsewhere(x: Batch<'_>) -> Bad {
    let mut other = match x.token_ids() {
        Some(tokens) => {
            vec![("batches of different vocabularies", with_tokens(x, &tokens.to_owned(), x.features() + 1))]
        }
        None => {
            let size = x.len() * x.positions().positions() * (x.features() + 1);
            vec![("batches of different features", with_values(x, vec![1.0; size], x.features() + 1))]
        }
    };
    if let (None, [first, rest @ ..]) = (x.token_ids(), x.positions().sides()) {
        let shape = [&[x.len(), first + 1], rest, &[x.features()]].concat();
        other.push((
            "batches of different positions",
            grid(shape.clone(), vec![1.0; shape.iter().product()], None),
        ));
    }
    other
}

fn whole(batch: Batch<'_>) -> OwnedBatch {
    batch.select(&(0..batch.len()).collect::<Vec<_>>())
}

/// x with other values at its positions.
fn with_values(x: Batch<'_>, values: Vec<f64>, channels: usize) -> OwnedBatch {
    grid([&[x.len()], x.positions().sides(), &[channels]].concat(), values, Some(x))
}

fn with_tokens(x: Batch<'_>, tokens: &Array2<u32>, vocabulary: usize) -> OwnedBatch {
    // A batch of tokens has positions, and so have these.
    Batch::tokens(tokens.view(), vocabulary).map_or_else(|_| whole(x), |batch| beside(batch, x))
}

fn grid(shape: Vec<usize>, values: Vec<f64>, like: Option<Batch<'_>>) -> OwnedBatch {
    // Shapes and numbers of values are made for one another here.
    let values = ArrayD::from_shape_vec(shape, values).unwrap_or_default();
    let batch = Batch::grid(values.view()).unwrap_or_else(|error| unreachable!("{error}"));
    like.map_or_else(|| whole(batch), |x| beside(batch, x))
}

/// The batch with the lengths and graphs of x.
fn beside(batch: Batch<'_>, x: Batch<'_>) -> OwnedBatch {
    let edges: Option<Vec<_>> = x.graphs().map(|graphs| (0..x.len()).map(|i| graphs.edges(i)).collect());
    let mut batch = batch.reborrow();
    if let Some(lengths) = x.lengths() {
        batch = batch.with_lengths(lengths);
    }
    match &edges {
        Some(edges) => whole(batch.with_graphs(Graphs::Sparse(edges))),
        None => whole(batch),
    }
}
