//! Networks over positions: convolutions, pooling, attention, graphs, sequences, one pair of samples after another.
//!
//! A description is written out for the grid of the inputs ([`op`]), samples are passed through once for their
//! variances ([`pass`]), and each pair then runs through the stages that come out of it ([`stage`], [`state`]).

mod attend;
mod attention;
mod blocks;
mod branches;
mod cost;
mod inputs;
mod linear;
mod op;
mod pass;
mod run;
mod scale;
mod sheets;
mod stage;
mod state;
mod windows;

use std::sync::Arc;

use ntk_core::{Batch, Grid, KernelBlock, KernelDiag, Which};
#[cfg(feature = "rayon")]
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::Error;
use crate::analytic::Settings;
use crate::plan::Node;
use crate::report::{Plan, bytes};
use inputs::Inputs;
use op::{Kind, Need, Op};
use pass::Samples;
use run::Frame;
use stage::{Of, Stage};
use state::State;

/// Bytes of tables that a tile of samples may take.
const TABLES: usize = 1 << 26;

/// Largest number of samples on one side of a tile.
const TILE: usize = 32;

/// A network on the grid of the inputs.
pub(crate) struct Engine {
    op: Op,
    /// What is needed of the input.
    need: Need,
    /// What sheets of the network have in common; none where they have no use.
    frame: Option<Frame>,
    settings: Settings,
}

/// The samples of a tile: those of the rows, then those of the columns unless they are the same.
struct Tile<'a> {
    stage: Stage,
    inputs: Arc<Inputs>,
    rows: Batch<'a>,
    columns: Option<Batch<'a>>,
    /// What the outputs of each sample were divided by.
    scales: Vec<f64>,
}

/// (i, j, K, Θ) of one pair.
type Entry = (usize, usize, f64, f64);

impl Engine {
    /// Writes a network out for the positions and features of a batch.
    ///
    /// # Errors
    /// What does not fit them.
    pub(crate) fn new(node: &Node, x: Batch<'_>, settings: Settings) -> Result<Self, Error> {
        check_tokens(node, x)?;
        let mut op = op::compile(node, x.positions(), x.features())?;
        if op.output.positions() != 1 {
            return Err(Error::Positions { grid: op.output });
        }
        let need = op.require(Need { pairs: vec![0; op.output.rank()], own: None, mean: false });
        let frame = Frame::new(&op, settings.precision);
        Ok(Engine { op, need, frame, settings })
    }

    pub(crate) fn block<'a>(
        &self,
        x1: Batch<'a>,
        x2: Option<Batch<'a>>,
        which: Which,
    ) -> Result<KernelBlock, Error> {
        let shape = (x1.len(), x2.unwrap_or(x1).len());
        let zeros = |wanted: bool| wanted.then(|| ndarray::Array2::<f64>::zeros(shape));
        let mut block = KernelBlock { nngp: zeros(which.nngp()), ntk: zeros(which.ntk()) };
        self.fill(x1, x2, &mut block)?;
        Ok(block)
    }

    /// Fills the kernels that are there.
    pub(crate) fn fill<'a>(
        &self,
        x1: Batch<'a>,
        x2: Option<Batch<'a>>,
        block: &mut KernelBlock,
    ) -> Result<(), Error> {
        let side = self.tile();
        for i in (0..x1.len()).step_by(side) {
            let rows = x1.range(i, x1.len().min(i + side));
            let other = x2.unwrap_or(x1);
            for j in (if x2.is_none() { i } else { 0 }..other.len()).step_by(side) {
                let diagonal = x2.is_none() && i == j;
                let columns = (!diagonal).then(|| other.range(j, other.len().min(j + side)));
                let tile = self.tile_of(rows, columns)?;
                for (a, b, k, theta) in
                    self.entries(&tile, block.ntk.is_some(), |a, b| !diagonal || a <= b)?
                {
                    for (kernel, value) in [(&mut block.nngp, k), (&mut block.ntk, theta)] {
                        if let Some(kernel) = kernel {
                            kernel[[i + a, j + b]] = value;
                            if x2.is_none() {
                                kernel[[j + b, i + a]] = value;
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }

    pub(crate) fn diag(&self, x: Batch<'_>, which: Which) -> Result<KernelDiag, Error> {
        let zeros = |wanted: bool| wanted.then(|| ndarray::Array1::<f64>::zeros(x.len()));
        let mut diag = KernelDiag { nngp: zeros(which.nngp()), ntk: zeros(which.ntk()) };
        let side = self.tile();
        for i in (0..x.len()).step_by(side) {
            let tile = self.tile_of(x.range(i, x.len().min(i + side)), None)?;
            for (a, _, k, theta) in self.entries(&tile, which.ntk(), |a, b| a == b)? {
                for (kernel, value) in [(&mut diag.nngp, k), (&mut diag.ntk, theta)] {
                    if let Some(kernel) = kernel {
                        kernel[i + a] = value;
                    }
                }
            }
        }
        Ok(diag)
    }

    /// The error bound that quadrature reaches for these samples.
    pub(crate) fn quadrature_error(&self, x: Batch<'_>) -> Result<f64, Error> {
        let mut largest: f64 = 0.0;
        for i in (0..x.len()).step_by(self.tile()) {
            let tile = self.tile_of(x.range(i, x.len().min(i + self.tile())), None)?;
            // Integrals over logits are known by their errors once they are done.
            self.entries(&tile, true, |a, b| a == b)?;
            largest = largest.max(tile.stage.quadrature_error());
        }
        Ok(largest)
    }

    /// What a request costs.
    pub(crate) fn plan(&self, rows: usize, columns: Option<usize>, which: Which) -> Plan {
        let mut layers = Vec::new();
        let cost = self.op.cost(&mut layers);
        let threads = threads();
        let n = rows as f64;
        let pairs = columns.map_or(0.5 * n * (n + 1.0), |columns| n * columns as f64);
        let kernels = usize::from(which.nngp()) + usize::from(which.ntk());
        let samples = self.tile().min(rows) + columns.map_or(0, |columns| self.tile().min(columns));
        let first = 16 * cost::entries(&self.op.input, &self.need.pairs) as usize;
        // Of a state in work: before, after, and two more in between.
        let states = 4 * cost.bytes.max(first) * threads;
        Plan {
            layers,
            pairs,
            operations: pairs * cost.operations,
            seconds: 1e-9 * pairs * cost.nanoseconds / threads as f64,
            threads,
            tile: self.tile(),
            work_bytes: samples * self.op.table_bytes() + states,
            result_bytes: 8 * kernels * rows * columns.unwrap_or(rows),
        }
    }

    /// Refuses a request that does not fit the bound on memory.
    pub(crate) fn check_memory(
        &self,
        rows: usize,
        columns: Option<usize>,
        which: Which,
    ) -> Result<(), Error> {
        let Some(budget) = self.settings.memory else { return Ok(()) };
        let plan = self.plan(rows, columns, which);
        if plan.bytes() <= budget {
            return Ok(());
        }
        let fits = |n: usize| self.plan(n, columns.map(|_| n), which).bytes() <= budget;
        let (mut low, mut high) = (0, rows.max(columns.unwrap_or(rows)));
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if fits(middle) { low = middle } else { high = middle }
        }
        let remedy = if low > 0 {
            format!("{low} × {low} would fit: compute tiles of this size with Tiled or TileStore")
        } else {
            let one = self.plan(1, columns.map(|_| 1), which).bytes();
            format!("not even one pair fits, which takes {}", bytes(one))
        };
        let (needed, columns) = (plan.bytes(), columns.unwrap_or(rows));
        Err(Error::Memory { rows, columns, needed, budget, remedy })
    }

    /// Samples on one side of a tile, so that its tables stay within bounds.
    fn tile(&self) -> usize {
        (TABLES / self.op.table_bytes().max(1)).clamp(1, TILE)
    }

    fn tile_of<'a>(&self, rows: Batch<'a>, columns: Option<Batch<'a>>) -> Result<Tile<'a>, Error> {
        let batches = [Some(rows), columns];
        let samples = || batches.into_iter().flatten();
        let degree = self.op.degree();
        let scales: Vec<f64> = match degree {
            Some(_) => samples().flat_map(scale::scales).collect(),
            None => vec![1.0; samples().map(|batch| batch.len()).sum()],
        };
        let inputs = Arc::new(Inputs::new(batches, &scales));
        let scales = scales.iter().map(|scale| scale.powi(degree.unwrap_or(0))).collect();
        let variance = inputs.variances();
        let lengths = samples().any(|batch| batch.lengths().is_some()).then(|| {
            let positions = rows.positions().positions();
            let all =
                |batch: Batch<'_>| batch.lengths().map_or(vec![positions; batch.len()], <[usize]>::to_vec);
            samples().flat_map(all).collect::<Vec<usize>>()
        });
        let own = match &self.need.own {
            Some(reach) if pass::wide(reach) => vec![State::input(&inputs, true, false); variance.samples()],
            _ => Vec::new(),
        };
        let mut samples = Samples {
            mean: self.need.mean.then(|| inputs.means()),
            variance,
            lengths,
            own,
            covariances: false,
            batches,
            tolerance: self.settings.tolerance,
            integral: self.settings.integral,
            frame: self.frame,
            entering: true,
            sheets: false,
            inputs: Arc::clone(&inputs),
        };
        let mut stages = Vec::new();
        if let Some(lengths) = samples.lengths.clone() {
            stages.push(samples.mask(&lengths));
        }
        stages.push(pass::pass(&self.op, &mut samples)?);
        stages.extend(pass::covariances(&self.op, &mut samples));
        Ok(Tile { stage: Stage::Serial(stages), inputs, rows, columns, scales })
    }

    fn entries(
        &self,
        tile: &Tile<'_>,
        ntk: bool,
        wanted: impl Fn(usize, usize) -> bool,
    ) -> Result<Vec<Entry>, Error> {
        let columns = tile.columns.unwrap_or(tile.rows);
        let offset = tile.columns.map_or(0, |_| tile.rows.len());
        let pairs: Vec<(usize, usize)> = (0..tile.rows.len())
            .flat_map(|a| (0..columns.len()).map(move |b| (a, b)))
            .filter(|&(a, b)| wanted(a, b))
            .collect();
        let (full, parallel) = (pass::wide(&self.need.pairs), pairs.len() < 2 * threads());
        let one = |(a, b): (usize, usize)| -> Entry {
            let mut state = State::input(&tile.inputs, full, ntk);
            let of = Of { i: a, j: offset + b, same: offset == 0 && a == b, own: false, parallel };
            tile.stage.run(&mut state, of);
            state.dense(of);
            let unscaled = |value: f64| value * tile.scales[of.i] * tile.scales[of.j];
            (a, b, unscaled(state.values[0]), unscaled(state.ntk.first().copied().unwrap_or(0.0)))
        };
        #[cfg(feature = "rayon")]
        let entries: Vec<Entry> = pairs.into_par_iter().map(one).collect();
        #[cfg(not(feature = "rayon"))]
        let entries: Vec<Entry> = pairs.into_iter().map(one).collect();
        match entries.iter().flat_map(|&(_, _, k, theta)| [k, theta]).find(|value| !value.is_finite()) {
            Some(value) => Err(Error::Overflow { at: "net".to_owned(), value }),
            None => Ok(entries),
        }
    }
}

impl Op {
    /// Bytes of the tables of one sample.
    fn table_bytes(&self) -> usize {
        let own = |grid: &Grid| match &self.need.own {
            Some(reach) if pass::wide(reach) => grid.positions() * grid.positions(),
            _ => 0,
        };
        let here = 8 * (8 * self.output.positions() + own(&self.output));
        let parts: usize = match &self.kind {
            Kind::Serial(ops) | Kind::Product(ops) | Kind::Join { ops, .. } => {
                ops.iter().map(Op::table_bytes).sum()
            }
            Kind::Sum { ops, .. } => ops.iter().map(|(_, op)| op.table_bytes()).sum(),
            Kind::Attention { .. } => 8 * 4 * self.input.positions() * self.input.positions(),
            _ => 0,
        };
        here + parts
    }
}

fn threads() -> usize {
    #[cfg(feature = "rayon")]
    return rayon::current_num_threads();
    #[cfg(not(feature = "rayon"))]
    1
}

/// Tokens need an embedding, and an embedding tokens.
fn check_tokens(node: &Node, x: Batch<'_>) -> Result<(), Error> {
    let tokens = x.token_ids().is_some();
    match node {
        Node::Serial(nodes) => match nodes.first() {
            Some(node) => check_tokens(node, x),
            None if tokens => {
                Err(Error::Tokens { layer: "the identity", at: "net".to_owned(), found: "tokens" })
            }
            None => Ok(()),
        },
        Node::Sum { nodes, .. } | Node::Product(nodes) | Node::Join { nodes, .. } => {
            nodes.iter().try_for_each(|node| check_tokens(node, x))
        }
        Node::Concat(nodes) => nodes.iter().try_for_each(|(_, node)| check_tokens(node, x)),
        Node::Embedding { .. } if !tokens => {
            Err(Error::Tokens { layer: "embedding", at: "net".to_owned(), found: "numbers" })
        }
        Node::Embedding { .. } => Ok(()),
        _ if tokens => Err(Error::Tokens { layer: "a layer", at: "net".to_owned(), found: "tokens" }),
        _ => Ok(()),
    }
}
