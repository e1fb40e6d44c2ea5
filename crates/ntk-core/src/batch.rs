//! `Batch`: inputs that carry their convention, samples first and channels last, so that no call needs an axis.

use ndarray::{Array2, ArrayBase, ArrayView, ArrayView2, ArrayView3, Data, Dimension, Ix2, s};

use crate::{Error, Grid, Shape};

/// A view of input samples: vectors, grids of positions with channels, or sequences of tokens; where asked with a
/// length or a graph for each sample.
///
/// ```
/// use ndarray::{Array4, array};
/// use ntk_core::Batch;
/// let x = array![[1.0, 0.5], [-0.3, 0.8]];
/// assert_eq!(Batch::from(&x).len(), 2);
/// let images = Array4::<f64>::zeros((5, 8, 8, 3));
/// let batch = Batch::grid(images.view())?;
/// assert_eq!((batch.len(), batch.positions().sides(), batch.features()), (5, &[8, 8][..], 3));
/// # Ok::<(), ntk_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Batch<'a> {
    values: Values<'a>,
    grid: Grid,
    lengths: Option<&'a [usize]>,
    graphs: Option<Graphs<'a>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Values<'a> {
    /// (n, positions · channels).
    Real(ArrayView2<'a, f64>),
    /// (n, positions).
    Tokens(ArrayView2<'a, u32>, usize),
}

/// A weighted directed graph for each sample, over the nodes of one axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Graphs<'a> {
    /// `a[[sample, from, to]]`, shape (n, nodes, nodes).
    Dense(ArrayView3<'a, f64>),
    /// For each sample its edges (from, to, weight); the weights of an edge that is named twice add.
    Sparse(&'a [Vec<(usize, usize, f64)>]),
}

impl Graphs<'_> {
    /// Number of samples.
    pub fn samples(&self) -> usize {
        match self {
            Graphs::Dense(a) => a.shape()[0],
            Graphs::Sparse(edges) => edges.len(),
        }
    }

    /// The edges of a sample, with weights that are not zero.
    pub fn edges(&self, sample: usize) -> Vec<(usize, usize, f64)> {
        match self {
            Graphs::Dense(a) => {
                let all = a.slice(s![sample, .., ..]);
                all.indexed_iter().filter(|(_, w)| **w != 0.0).map(|((from, to), &w)| (from, to, w)).collect()
            }
            Graphs::Sparse(edges) => edges[sample].clone(),
        }
    }
}

impl<'a> Batch<'a> {
    /// Samples of positions and channels: shape (n, sides …, channels), in standard layout.
    ///
    /// # Errors
    /// [`Error::BatchLayout`] for fewer than two axes or another layout; [`Error::Grid`].
    pub fn grid<D: Dimension>(values: ArrayView<'a, f64, D>) -> Result<Self, Error> {
        let shape = values.shape().to_vec();
        let layout = |remedy| Error::BatchLayout { shape: shape.clone(), remedy };
        let [samples, sides @ .., channels] = &shape[..] else {
            return Err(layout("give it an axis of samples and one of channels"));
        };
        let grid = if sides.contains(&0) { Grid::VECTOR } else { Grid::new(sides)? };
        let matrix = (*samples, sides.iter().product::<usize>() * channels);
        let values =
            values.into_shape_with_order(matrix).map_err(|_| layout("call as_standard_layout first"))?;
        Ok(Batch { grid, ..values.into() })
    }

    /// Sequences of tokens below `vocabulary`: shape (n, positions).
    ///
    /// # Errors
    /// [`Error::Grid`] for sequences of no positions.
    pub fn tokens(tokens: ArrayView2<'a, u32>, vocabulary: usize) -> Result<Self, Error> {
        let grid = Grid::new(&[tokens.ncols()])?;
        Ok(Batch { values: Values::Tokens(tokens, vocabulary), grid, lengths: None, graphs: None })
    }

    /// The same samples, of which only the first `lengths[i]` positions of sample i exist.
    pub fn with_lengths<'b>(self, lengths: &'b [usize]) -> Batch<'b>
    where
        'a: 'b,
    {
        Batch { lengths: Some(lengths), ..self.reborrow() }
    }

    /// The same samples with a graph for each.
    pub fn with_graphs<'b>(self, graphs: Graphs<'b>) -> Batch<'b>
    where
        'a: 'b,
    {
        Batch { graphs: Some(graphs), ..self.reborrow() }
    }

    /// The same batch for a shorter time, so that batches of several lifetimes fit one list: views of arrays do not
    /// shrink their lifetimes by themselves.
    pub fn reborrow<'b>(self) -> Batch<'b>
    where
        'a: 'b,
    {
        let values = match self.values {
            Values::Real(values) => Values::Real(values.reborrow()),
            Values::Tokens(tokens, vocabulary) => Values::Tokens(tokens.reborrow(), vocabulary),
        };
        let graphs = self.graphs.map(|graphs| match graphs {
            Graphs::Dense(a) => Graphs::Dense(a.reborrow()),
            Graphs::Sparse(edges) => Graphs::Sparse(edges),
        });
        Batch { values, graphs, grid: self.grid, lengths: self.lengths }
    }

    /// Number of samples n.
    pub fn len(&self) -> usize {
        match self.values {
            Values::Real(values) => values.nrows(),
            Values::Tokens(tokens, _) => tokens.nrows(),
        }
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The positions of a sample; [`Grid::VECTOR`] for vectors.
    pub fn positions(&self) -> Grid {
        self.grid
    }

    /// Number of features d at each position: channels, or the size of the vocabulary.
    pub fn features(&self) -> usize {
        match self.values {
            Values::Real(values) => values.ncols() / self.grid.positions(),
            Values::Tokens(_, vocabulary) => vocabulary,
        }
    }

    /// The shape of one sample.
    ///
    /// # Errors
    /// As [`Shape::grid`]; none for a batch that passes [`Batch::check`].
    pub fn shape(&self) -> Result<Shape, Error> {
        Shape::grid(self.grid.sides(), self.features())
    }

    /// The values, shape (n, positions · channels); no columns for tokens, which have [`Batch::token_ids`].
    pub fn values(&self) -> ArrayView2<'a, f64> {
        match self.values {
            Values::Real(values) => values,
            Values::Tokens(tokens, _) => ArrayView2::from_shape((tokens.nrows(), 0), &[])
                .unwrap_or_else(|_| unreachable!("an array without elements needs no storage")),
        }
    }

    /// The tokens, shape (n, positions), if the samples are sequences of tokens.
    pub fn token_ids(&self) -> Option<ArrayView2<'a, u32>> {
        match self.values {
            Values::Real(_) => None,
            Values::Tokens(tokens, _) => Some(tokens),
        }
    }

    /// How many positions of each sample exist, if not all.
    pub fn lengths(&self) -> Option<&'a [usize]> {
        self.lengths
    }

    /// The graphs, if there are any.
    pub fn graphs(&self) -> Option<Graphs<'a>> {
        self.graphs
    }

    /// Samples `start..end`.
    ///
    /// # Panics
    /// If the range does not lie within the batch.
    pub fn range(&self, start: usize, end: usize) -> Batch<'a> {
        let values = match self.values {
            Values::Real(values) => Values::Real(values.slice_move(s![start..end, ..])),
            Values::Tokens(tokens, vocabulary) => {
                Values::Tokens(tokens.slice_move(s![start..end, ..]), vocabulary)
            }
        };
        // Where lengths or graphs are too few, so are those of the range, for its check to find.
        let within = |count: usize| start.min(count)..end.min(count);
        let graphs = self.graphs.map(|graphs| match graphs {
            Graphs::Dense(a) => Graphs::Dense(a.slice_move(s![within(graphs.samples()), .., ..])),
            Graphs::Sparse(edges) => Graphs::Sparse(&edges[within(edges.len())]),
        });
        let lengths = self.lengths.map(|lengths| &lengths[within(lengths.len())]);
        Batch { values, grid: self.grid, lengths, graphs }
    }

    /// Checks that there is something, that all of it is finite, and that lengths, tokens and graphs belong to it.
    ///
    /// # Errors
    /// [`Error::EmptyBatch`], [`Error::NonFiniteInput`], [`Error::Token`], [`Error::LengthGrid`], [`Error::Length`],
    /// [`Error::GraphCount`], [`Error::Edge`].
    pub fn check(&self) -> Result<(), Error> {
        let (samples, features) = (self.len(), self.features());
        if samples == 0 || features == 0 {
            return Err(Error::EmptyBatch { samples, features });
        }
        match self.values {
            Values::Real(values) => {
                if let Some(((sample, feature), &value)) = values.indexed_iter().find(|(_, v)| !v.is_finite())
                {
                    return Err(Error::NonFiniteInput { sample, feature, value });
                }
            }
            Values::Tokens(tokens, vocabulary) => {
                let known = |token: u32| (token as usize) < vocabulary;
                if let Some(((sample, position), &token)) = tokens.indexed_iter().find(|(_, t)| !known(**t)) {
                    return Err(Error::Token { sample, position, token, vocabulary });
                }
            }
        }
        self.check_lengths()?;
        self.check_graphs()
    }

    fn check_lengths(&self) -> Result<(), Error> {
        let Some(lengths) = self.lengths else { return Ok(()) };
        let &[side] = self.grid.sides() else { return Err(Error::LengthGrid { grid: self.grid }) };
        let wrong = (0..self.len().max(lengths.len()))
            .map(|sample| (sample, lengths.get(sample).copied().unwrap_or(0)))
            .find(|&(sample, length)| sample >= self.len() || length == 0 || length > side);
        match wrong {
            Some((sample, length)) => Err(Error::Length { sample, length, side }),
            None => Ok(()),
        }
    }

    fn check_graphs(&self) -> Result<(), Error> {
        let Some(graphs) = self.graphs else { return Ok(()) };
        if graphs.samples() != self.len() {
            return Err(Error::GraphCount { samples: self.len(), graphs: graphs.samples() });
        }
        // Which axis the nodes are is for the layer to say; they cannot be more than its longest.
        let nodes = self.grid.sides().iter().copied().max().unwrap_or(1);
        for sample in 0..self.len() {
            let outside = |&(from, to, weight): &(usize, usize, f64)| {
                from >= nodes || to >= nodes || !weight.is_finite()
            };
            if let Some((from, to, weight)) = graphs.edges(sample).into_iter().find(outside) {
                return Err(Error::Edge { sample, from, to, weight, nodes });
            }
        }
        Ok(())
    }

    /// Checks both batches and that they live in one space.
    ///
    /// # Errors
    /// Those of [`Batch::check`], [`Error::Features`], and [`Error::Batches`] for different grids or kinds of values.
    pub fn check_pair(x1: Batch<'_>, x2: Batch<'_>) -> Result<(), Error> {
        x1.check()?;
        x2.check()?;
        if x1.grid != x2.grid || x1.token_ids().is_some() != x2.token_ids().is_some() {
            return Err(Error::Batches { left: x1.in_words(), right: x2.in_words() });
        }
        if x1.features() == x2.features() {
            Ok(())
        } else {
            Err(Error::Features { left: x1.features(), right: x2.features() })
        }
    }

    fn in_words(&self) -> String {
        match self.values {
            Values::Real(_) => format!("numbers on a grid {:?}", self.grid),
            Values::Tokens(..) => format!("tokens on a grid {:?}", self.grid),
        }
    }

    /// Everything that decides a kernel as a sequence of words, the same in every release and on every machine;
    /// different batches have different sequences, none the beginning of another.
    pub(crate) fn words(&self, mut word: impl FnMut(u64)) {
        let mut number = |n: usize| word(n as u64);
        number(self.grid.rank());
        self.grid.sides().iter().for_each(|&side| number(side));
        number(self.features());
        number(self.len());
        match self.values {
            Values::Real(values) => {
                number(0);
                values.iter().for_each(|v| word(v.to_bits()));
            }
            Values::Tokens(tokens, _) => {
                number(1);
                tokens.iter().for_each(|&token| word(token.into()));
            }
        }
        let mut number = |n: usize| word(n as u64);
        let lengths = self.lengths.unwrap_or_default();
        number(self.lengths.map_or(0, |lengths| 1 + lengths.len()));
        lengths.iter().for_each(|&length| number(length));
        number(self.graphs.map_or(0, |graphs| 1 + graphs.samples()));
        for sample in 0..self.graphs.map_or(0, |graphs| graphs.samples()) {
            let edges = self.graphs.map(|graphs| graphs.edges(sample)).unwrap_or_default();
            word(edges.len() as u64);
            for (from, to, weight) in edges {
                [from as u64, to as u64, weight.to_bits()].into_iter().for_each(&mut word);
            }
        }
    }

    /// Copies of the samples in another order or number, with what belongs to them.
    ///
    /// # Panics
    /// If a sample is named that the batch, its lengths or its graphs do not have.
    pub fn select(&self, samples: &[usize]) -> OwnedBatch {
        let axis = ndarray::Axis(0);
        OwnedBatch {
            values: match self.values {
                Values::Real(values) => OwnedValues::Real(values.select(axis, samples)),
                Values::Tokens(tokens, vocabulary) => {
                    OwnedValues::Tokens(tokens.select(axis, samples), vocabulary)
                }
            },
            grid: self.grid,
            lengths: self.lengths.map(|lengths| samples.iter().map(|&i| lengths[i]).collect()),
            graphs: self.graphs.map(|graphs| samples.iter().map(|&i| graphs.edges(i)).collect()),
        }
    }
}

/// Samples that own their memory; [`OwnedBatch::view`] is the batch.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedBatch {
    values: OwnedValues,
    grid: Grid,
    lengths: Option<Vec<usize>>,
    graphs: Option<Vec<Vec<(usize, usize, f64)>>>,
}

#[derive(Clone, Debug, PartialEq)]
enum OwnedValues {
    Real(Array2<f64>),
    Tokens(Array2<u32>, usize),
}

impl OwnedBatch {
    /// The batch.
    pub fn view(&self) -> Batch<'_> {
        Batch {
            values: match &self.values {
                OwnedValues::Real(values) => Values::Real(values.view()),
                OwnedValues::Tokens(tokens, vocabulary) => Values::Tokens(tokens.view(), *vocabulary),
            },
            grid: self.grid,
            lengths: self.lengths.as_deref(),
            graphs: self.graphs.as_deref().map(Graphs::Sparse),
        }
    }
}

impl<'a> From<ArrayView2<'a, f64>> for Batch<'a> {
    fn from(values: ArrayView2<'a, f64>) -> Self {
        Batch { values: Values::Real(values), grid: Grid::VECTOR, lengths: None, graphs: None }
    }
}

impl<'a, S: Data<Elem = f64>> From<&'a ArrayBase<S, Ix2>> for Batch<'a> {
    fn from(values: &'a ArrayBase<S, Ix2>) -> Self {
        values.view().into()
    }
}
