//! `Analytic`: the kernels of a network at infinite width, computed tile by tile on all cores.

use ndarray::{Array1, Array2, ArrayView1, ArrayViewMut2, Axis, s};
use ntk_core::{Batch, Grid, KernelBlock, KernelDiag, KernelFn, Net, Which};
#[cfg(feature = "rayon")]
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::dual::TOLERANCE;
use crate::input::{self, Directions};
use crate::pass::{self, Request, Sides, Stage};
use crate::plan::{self, Node};
use crate::report::Plan;
use crate::row::{self, Place, RUN, Scratch};
use crate::spatial::Engine;
use crate::{Error, Precision, Rules};

/// Rows and columns of a tile: its Gram product and its results fit the second-level cache.
const TILE: usize = RUN;

/// Rows and columns of the squares that are mirrored at once: they fit the first-level cache and its page table.
const SQUARE: usize = 32;

/// The error bound of integrals over logits unless a tolerance is asked for, relative to √(K₁₁K₂₂).
const INTEGRAL: f64 = 1e-3;

/// The kernels of a network at infinite width: `nngp` = σ_w² E φφ + σ_b² of the last layer and so on, per output.
///
/// Inputs enter by their uncentered second moments x·x′/d. Values are for one output; the kernel of several outputs is
/// K ⊗ I. Fixed widths in the middle of a network are treated as wide, except that standard parameterization and
/// concatenation read them.
///
/// Peak memory for an (n₁, n₂) block of inputs with d features and L layers: the result, 8(n₁ + n₂)(d + 6L) bytes for
/// the samples, and under 1 MiB a core.
///
/// # Source
/// \[lee2019wide\] equations (14)–(15) and \[jacot2018neural\] Theorem 1; our σ_w² and σ_b² are variances.
pub struct Analytic {
    net: Net,
    node: Node,
    settings: Settings,
}

/// What [`Rules`] say about the evaluation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) tolerance: f64,
    /// Error bound of the integrals of attention.
    pub(crate) integral: f64,
    pub(crate) precision: Precision,
    pub(crate) memory: Option<usize>,
}

impl std::fmt::Debug for Analytic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Analytic")
            .field("net", &self.net)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Analytic {
    /// Resolves a network of layers whose limits are known.
    ///
    /// # Errors
    /// What has no limit is refused here: [`Error::NotGaussian`], [`Error::NotCentered`],
    /// [`Error::CorrelatedBranches`], [`Error::InputDropout`], [`Error::SymbolicWidth`], unknown names; and
    /// descriptions that are wrong in themselves.
    pub fn new(net: Net) -> Result<Self, Error> {
        Self::with_rules(net, &Rules::new())
    }

    /// The same with rules for custom activations and layers.
    ///
    /// # Errors
    /// As [`Analytic::new`].
    pub fn with_rules(net: Net, rules: &Rules) -> Result<Self, Error> {
        let node = plan::plan(&net, rules)?;
        let Rules { tolerance, precision, memory, .. } = *rules;
        let settings = Settings {
            tolerance: tolerance.unwrap_or(TOLERANCE),
            integral: tolerance.unwrap_or(INTEGRAL),
            precision,
            memory,
        };
        Ok(Analytic { net, node, settings })
    }

    /// The network.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// [`KernelFn::symmetric`] into a block that is kept from call to call, all of whose kernels are overwritten: fresh
    /// memory of this size costs the system about as much time as the recursion itself.
    ///
    /// # Errors
    /// As [`KernelFn::symmetric`], and [`ntk_core::Error::BlockShape`] unless every kernel in the block is (n, n).
    pub fn symmetric_into(&self, x: Batch<'_>, block: &mut KernelBlock) -> Result<(), Error> {
        x.check()?;
        let expected = (x.len(), x.len());
        for kernel in [&block.nngp, &block.ntk].into_iter().flatten() {
            if kernel.dim() != expected {
                return Err(ntk_core::Error::BlockShape { expected, got: kernel.dim() }.into());
            }
        }
        let which = match (&block.nngp, &block.ntk) {
            (Some(_), None) => Which::Nngp,
            (None, _) => Which::Ntk,
            _ => Which::Both,
        };
        self.check_memory(x, None, which)?;
        match self.engine(x)? {
            Some(engine) => engine.fill(x, None, block),
            None => self.evaluate(Directions::new(x), None, x.features())?.fill_block(block),
        }
    }

    /// What a block of these samples will cost; the symmetric kernel of `x1` if there is no `x2`. Nothing is computed.
    ///
    /// ```
    /// use ndarray::Array4;
    /// use ntk_analytic::{Analytic, Pairs};
    /// use ntk_core::{Activation, Batch, Net, Variance, Which, Window};
    ///
    /// let conv = Net::conv(Window::same(&[3, 3]), Variance::TWO, Variance::ZERO);
    /// let net = Net::serial([conv, Net::activation(Activation::Relu), Net::flatten(), Net::readout(1, Variance::ONE, Variance::ZERO)]);
    /// let images = Array4::zeros((100, 32, 32, 3));
    /// let plan = Analytic::new(net)?.plan(Batch::grid(images.view())?, None, Which::Both)?;
    /// assert_eq!(plan.layers[0].pairs, Pairs::Same); // A flatten asks for no other pairs.
    /// println!("{plan}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// What does not fit the shapes of the samples.
    pub fn plan(&self, x1: Batch<'_>, x2: Option<Batch<'_>>, which: Which) -> Result<Plan, Error> {
        self.net.output_shape(&x1.shape()?)?;
        Ok(Engine::new(&self.node, x1, self.settings)?.plan(x1.len(), x2.map(|x2| x2.len()), which))
    }

    /// The share of each layer with parameters in the tangent kernel, in the order of the layers, with its path.
    /// x₁: (n₁, …), x₂: (n₂, …) → (n₁, n₂) each; they add up to the tangent kernel. One evaluation a layer.
    ///
    /// # Errors
    /// As [`KernelFn::block`].
    pub fn ntk_layers(&self, x1: Batch<'_>, x2: Batch<'_>) -> Result<Vec<(String, Array2<f64>)>, Error> {
        let mut paths = Vec::new();
        self.node.clone().trained(&mut |path, _| {
            paths.push(path.strip_prefix("net.").unwrap_or("").to_owned());
        });
        let share = |(k, path): (usize, String)| {
            let (mut node, mut layer) = (self.node.clone(), 0);
            node.trained(&mut |_, trained| {
                if layer != k {
                    trained.freeze();
                }
                layer += 1;
            });
            let one = self.with_node(node);
            Ok((path, one.block(x1, x2, Which::Ntk)?.ntk.unwrap_or_default()))
        };
        paths.into_iter().enumerate().map(share).collect()
    }

    /// The network as it was resolved.
    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    /// The same settings with other numbers in the network.
    pub(crate) fn with_node(&self, node: Node) -> Self {
        Analytic { net: self.net.clone(), node, settings: self.settings }
    }

    /// The error bound that quadrature reaches in the worst activation for these inputs, relative to √(V₁₁V₂₂) and
    /// √(S₁₁S₂₂) of its dual; 0 where all duals have closed forms.
    ///
    /// # Errors
    /// As [`KernelFn::diag`].
    pub fn quadrature_error(&self, x: Batch<'_>) -> Result<f64, Error> {
        x.check()?;
        match self.engine(x)? {
            Some(engine) => engine.quadrature_error(x),
            None => Ok(self.evaluate(Directions::new(x), None, x.features())?.stage.quadrature_error()),
        }
    }

    /// Refuses what does not fit the bound on memory, if there is one.
    fn check_memory(&self, x1: Batch<'_>, x2: Option<Batch<'_>>, which: Which) -> Result<(), Error> {
        if self.settings.memory.is_none() {
            return Ok(());
        }
        let engine = Engine::new(&self.node, x1, self.settings)?;
        engine.check_memory(x1.len(), x2.map(|x2| x2.len()), which)
    }

    /// The engine for networks or inputs with positions.
    fn engine(&self, x: Batch<'_>) -> Result<Option<Engine>, Error> {
        if !self.node.is_spatial() && x.positions() == Grid::VECTOR && x.token_ids().is_none() {
            return Ok(None);
        }
        self.net.output_shape(&x.shape()?)?;
        Engine::new(&self.node, x, self.settings).map(Some)
    }

    fn evaluate(
        &self,
        rows: Directions,
        columns: Option<Directions>,
        features: usize,
    ) -> Result<Evaluated, Error> {
        self.net.output_shape(&ntk_core::Shape::vector(features))?;
        let other = columns.as_ref().unwrap_or(&rows);
        let mut q: Sides = [rows.variance.clone(), other.variance.clone()];
        let stage =
            pass::pass(&self.node, &mut q, &Request { features, tolerance: self.settings.tolerance })?;
        Ok(Evaluated { stage, roots: pass::roots(&q), rows, columns })
    }
}

impl KernelFn for Analytic {
    type Error = Error;

    fn block(&self, x1: Batch<'_>, x2: Batch<'_>, which: Which) -> Result<KernelBlock, Error> {
        Batch::check_pair(x1, x2)?;
        self.check_memory(x1, Some(x2), which)?;
        if let Some(engine) = self.engine(x1)? {
            return engine.block(x1.reborrow(), Some(x2.reborrow()), which);
        }
        self.evaluate(Directions::new(x1), Some(Directions::new(x2)), x1.features())?.block(which)
    }

    fn symmetric(&self, x: Batch<'_>, which: Which) -> Result<KernelBlock, Error> {
        x.check()?;
        self.check_memory(x, None, which)?;
        if let Some(engine) = self.engine(x)? {
            return engine.block(x, None, which);
        }
        self.evaluate(Directions::new(x), None, x.features())?.block(which)
    }

    fn diag(&self, x: Batch<'_>, which: Which) -> Result<KernelDiag, Error> {
        x.check()?;
        if let Some(engine) = self.engine(x)? {
            return engine.diag(x, which);
        }
        self.evaluate(Directions::new(x), None, x.features())?.diag(which)
    }
}

/// A network with the numbers of the samples at hand.
struct Evaluated {
    stage: Stage,
    /// √q of the output.
    roots: Sides,
    rows: Directions,
    /// None where the columns are the rows.
    columns: Option<Directions>,
}

/// One tile and where its results go: `upper` at (rows, columns), `lower` mirrored.
struct Tile<'a> {
    rows: (usize, usize),
    columns: (usize, usize),
    nngp: Option<Target<'a>>,
    ntk: Option<Target<'a>>,
}

struct Target<'a> {
    upper: ArrayViewMut2<'a, f64>,
    lower: Option<ArrayViewMut2<'a, f64>>,
}

impl Evaluated {
    fn is_symmetric(&self) -> bool {
        self.columns.is_none()
    }

    fn columns(&self) -> &Directions {
        self.columns.as_ref().unwrap_or(&self.rows)
    }

    fn block(&self, which: Which) -> Result<KernelBlock, Error> {
        let shape = (self.roots[0].len(), self.roots[1].len());
        let zeros = |wanted: bool| wanted.then(|| Array2::<f64>::zeros(shape));
        let mut block = KernelBlock { nngp: zeros(which.nngp()), ntk: zeros(which.ntk()) };
        self.fill_block(&mut block)?;
        Ok(block)
    }

    /// Fills the kernels that are there, of the shape of the samples.
    fn fill_block(&self, block: &mut KernelBlock) -> Result<(), Error> {
        let mut tiles = self.tiles((self.roots[0].len(), self.roots[1].len()));
        for (kernel, choose) in [
            (
                &mut block.nngp,
                (|tile| &mut tile.nngp) as for<'a, 'b> fn(&'a mut Tile<'b>) -> &'a mut Option<Target<'b>>,
            ),
            (&mut block.ntk, |tile| &mut tile.ntk),
        ] {
            if let Some(kernel) = kernel {
                let targets = targets(kernel.view_mut(), self.is_symmetric());
                tiles.iter_mut().zip(targets).for_each(|(tile, target)| *choose(tile) = Some(target));
            }
        }
        #[cfg(feature = "rayon")]
        let finite =
            tiles.into_par_iter().map_init(Work::default, |work, tile| self.fill(tile, work)).all(|ok| ok);
        #[cfg(not(feature = "rayon"))]
        let finite = {
            let mut work = Work::default();
            tiles.into_iter().all(|tile| self.fill(tile, &mut work))
        };
        if finite { Ok(()) } else { Err(Error::Overflow { at: "net".to_owned(), value: f64::NAN }) }
    }

    fn tiles<'a>(&self, shape: (usize, usize)) -> Vec<Tile<'a>> {
        let range = |tile: usize, n: usize| (tile * TILE, n.min((tile + 1) * TILE));
        places(shape.0.div_ceil(TILE), shape.1.div_ceil(TILE), self.is_symmetric())
            .map(|(i, j)| Tile { rows: range(i, shape.0), columns: range(j, shape.1), nngp: None, ntk: None })
            .collect()
    }

    /// Computes one tile; false if a value is not finite.
    fn fill(&self, mut tile: Tile<'_>, work: &mut Work) -> bool {
        let (height, width) = (tile.rows.1 - tile.rows.0, tile.columns.1 - tile.columns.0);
        let mut gaps = work.gaps.slice_mut(s![..height, ..width]);
        let x = self.rows.rows(tile.rows.0, tile.rows.1);
        let y = self.columns().rows(tile.columns.0, tile.columns.1);
        input::signed_gaps(x, y, gaps.view_mut());
        let on_diagonal = self.is_symmetric() && tile.rows.0 == tile.columns.0;
        let ntk_length = if tile.ntk.is_some() { width } else { 0 };
        let mut finite = true;
        for (k, mut gap) in gaps.rows_mut().into_iter().enumerate() {
            let place = Place { i: tile.rows.0 + k, j0: tile.columns.0, diagonal: on_diagonal.then_some(k) };
            let ntk = &mut work.ntk[..ntk_length];
            ntk.fill(0.0);
            // A row of a standard-layout array is contiguous; the alternative is never taken.
            let Some(gap) = gap.as_slice_mut() else { return false };
            row::run(&self.stage, place, gap, ntk, &mut work.scratch);
            if let Some(target) = &mut tile.nngp {
                let root = self.roots[0][place.i];
                row::covariances(root, &self.roots[1][tile.columns.0..tile.columns.1], gap);
                finite &= target.put(k, gap);
            }
            if let Some(target) = &mut tile.ntk {
                finite &= target.put(k, ntk);
            }
        }
        for target in [tile.nngp, tile.ntk].into_iter().flatten() {
            target.mirror(on_diagonal);
        }
        finite
    }

    fn diag(&self, which: Which) -> Result<KernelDiag, Error> {
        let n = self.roots[0].len();
        let nngp =
            which.nngp().then(|| self.roots[0].iter().map(|root| root * root).collect::<Array1<f64>>());
        let mut scratch = Scratch::default();
        let ntk = which.ntk().then(|| {
            let one = |i| {
                let (mut gap, mut ntk) = ([0.0], [0.0]);
                if self.rows.variance[i] == 0.0 {
                    gap[0] = 1.0;
                }
                row::run(
                    &self.stage,
                    Place { i, j0: i, diagonal: Some(0) },
                    &mut gap,
                    &mut ntk,
                    &mut scratch,
                );
                ntk[0]
            };
            (0..n).map(one).collect::<Array1<f64>>()
        });
        let infinite =
            [&nngp, &ntk].into_iter().flatten().flatten().copied().find(|value| !value.is_finite());
        match infinite {
            Some(value) => Err(Error::Overflow { at: "net".to_owned(), value }),
            None => Ok(KernelDiag { nngp, ntk }),
        }
    }
}

/// Buffers of one thread.
struct Work {
    gaps: Array2<f64>,
    ntk: Vec<f64>,
    scratch: Scratch,
}

impl Default for Work {
    fn default() -> Self {
        Work { gaps: Array2::zeros((TILE, TILE)), ntk: vec![0.0; TILE], scratch: Scratch::default() }
    }
}

impl Target<'_> {
    fn put(&mut self, row: usize, values: &[f64]) -> bool {
        let mut to = self.upper.row_mut(row);
        match to.as_slice_mut() {
            Some(to) => to.copy_from_slice(values),
            // A block of the caller's may be stored by columns.
            None => to.assign(&ArrayView1::from(values)),
        }
        // No early exit, so that the loop is widened.
        values.iter().fold(true, |finite, value| finite & value.is_finite())
    }

    /// Copies the tile to the other side of the diagonal; a tile on the diagonal copies its own upper triangle.
    fn mirror(mut self, on_diagonal: bool) {
        if on_diagonal {
            for i in 1..self.upper.nrows() {
                for j in 0..i {
                    self.upper[[i, j]] = self.upper[[j, i]];
                }
            }
        }
        if let Some(mut lower) = self.lower {
            // Square by square: a column of the tile lies on as many pages as it has rows.
            let (height, width) = self.upper.dim();
            for i in (0..height).step_by(SQUARE) {
                for j in (0..width).step_by(SQUARE) {
                    let (rows, columns) = (i..height.min(i + SQUARE), j..width.min(j + SQUARE));
                    let from = self.upper.slice(s![rows.clone(), columns.clone()]);
                    lower.slice_mut(s![columns, rows]).assign(&from.t());
                }
            }
        }
    }
}

/// Splits a kernel into the tiles of [`Evaluated::tiles`], in the same order.
fn targets(kernel: ArrayViewMut2<'_, f64>, symmetric: bool) -> Vec<Target<'_>> {
    let mut bands: Vec<Vec<Option<ArrayViewMut2<'_, f64>>>> = split(kernel, Axis(0))
        .into_iter()
        .map(|band| split(band, Axis(1)).into_iter().map(Some).collect())
        .collect();
    let columns = bands.first().map_or(0, Vec::len);
    places(bands.len(), columns, symmetric)
        .filter_map(|(i, j)| {
            let upper = bands[i][j].take()?;
            let lower = if symmetric && i != j { bands[j][i].take() } else { None };
            Some(Target { upper, lower })
        })
        .collect()
}

/// Rows and columns of the tiles to compute: all of them, or one triangle.
fn places(rows: usize, columns: usize, symmetric: bool) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).flat_map(move |i| (if symmetric { i } else { 0 }..columns).map(move |j| (i, j)))
}

fn split(mut view: ArrayViewMut2<'_, f64>, axis: Axis) -> Vec<ArrayViewMut2<'_, f64>> {
    let mut parts = Vec::new();
    while view.len_of(axis) > TILE {
        let (part, rest) = view.split_at(axis, TILE);
        parts.push(part);
        view = rest;
    }
    parts.push(view);
    parts
}
