//! `Tiled`: any kernel in tiles of bounded size, symmetric inputs one triangle, with progress and a way to stop.

use std::ops::ControlFlow;

use ndarray::{Array2, s};

use crate::{Batch, Error, KernelBlock, KernelFn, Which};

/// How far a tiled computation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Tiles finished.
    pub done: usize,
    /// Tiles in all.
    pub total: usize,
}

type Observer = Box<dyn Fn(Progress) -> ControlFlow<()> + Send + Sync>;

/// A kernel computed in tiles of at most `tile` × `tile` entries; edges may be ragged, numbers do not change.
///
/// Peak memory beyond the result is that of one tile of the wrapped kernel. Symmetric inputs compute the diagonal
/// tiles and one triangle, and mirror the rest.
///
/// ```
/// use std::ops::ControlFlow;
/// # use ntk_core::{Batch, Error, KernelBlock, KernelFn, Tiled, Which};
/// # struct Linear;
/// # impl KernelFn for Linear {
/// #     type Error = Error;
/// #     fn block(&self, x1: Batch<'_>, x2: Batch<'_>, _: Which) -> Result<KernelBlock, Error> {
/// #         Ok(KernelBlock { nngp: Some(x1.values().dot(&x2.values().t())), ntk: None })
/// #     }
/// # }
/// # let kernel = Linear;
/// let tiled = Tiled::new(kernel, 256)?.with_observer(|progress| {
///     eprintln!("{} of {} tiles", progress.done, progress.total);
///     ControlFlow::Continue(())
/// });
/// # let x = ndarray::array![[1.0], [2.0]];
/// # assert!(tiled.symmetric((&x).into(), Which::Nngp).is_ok());
/// # Ok::<(), Error>(())
/// ```
pub struct Tiled<K> {
    kernel: K,
    tile: usize,
    observer: Option<Observer>,
}

impl<K: std::fmt::Debug> std::fmt::Debug for Tiled<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tiled")
            .field("kernel", &self.kernel)
            .field("tile", &self.tile)
            .finish_non_exhaustive()
    }
}

impl<K> Tiled<K> {
    /// Tiles of at most `tile` rows and columns.
    ///
    /// # Errors
    /// [`Error::ZeroTile`].
    pub fn new(kernel: K, tile: usize) -> Result<Self, Error> {
        if tile == 0 { Err(Error::ZeroTile) } else { Ok(Tiled { kernel, tile, observer: None }) }
    }

    /// Calls the observer after each tile; `ControlFlow::Break` stops with [`Error::Cancelled`].
    pub fn with_observer(
        mut self,
        observer: impl Fn(Progress) -> ControlFlow<()> + Send + Sync + 'static,
    ) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    fn observe(&self, progress: Progress) -> Result<(), Error> {
        match self.observer.as_ref().map(|observer| observer(progress)) {
            Some(ControlFlow::Break(())) => {
                Err(Error::Cancelled { done: progress.done, total: progress.total })
            }
            _ => Ok(()),
        }
    }
}

impl<K: KernelFn> KernelFn for Tiled<K> {
    type Error = Error;

    fn block(&self, x1: Batch<'_>, x2: Batch<'_>, which: Which) -> Result<KernelBlock, Error> {
        Batch::check_pair(x1, x2)?;
        let mut whole = Whole::new(x1.len(), x2.len(), which);
        let tiles1 = x1.len().div_ceil(self.tile);
        let tiles2 = x2.len().div_ceil(self.tile);
        for (index, (i, j)) in (0..tiles1).flat_map(|i| (0..tiles2).map(move |j| (i, j))).enumerate() {
            let (rows, columns) = (self.range(i, x1.len()), self.range(j, x2.len()));
            let tile = self.kernel.block(x1.range(rows.0, rows.1), x2.range(columns.0, columns.1), which);
            whole.put(rows, columns, &tile.map_err(|e| Error::Kernel(Box::new(e)))?, false)?;
            self.observe(Progress { done: index + 1, total: tiles1 * tiles2 })?;
        }
        Ok(whole.block)
    }

    fn symmetric(&self, x: Batch<'_>, which: Which) -> Result<KernelBlock, Error> {
        x.check()?;
        let mut whole = Whole::new(x.len(), x.len(), which);
        let tiles = x.len().div_ceil(self.tile);
        for (index, (i, j)) in (0..tiles).flat_map(|i| (i..tiles).map(move |j| (i, j))).enumerate() {
            let (rows, columns) = (self.range(i, x.len()), self.range(j, x.len()));
            let (x1, x2) = (x.range(rows.0, rows.1), x.range(columns.0, columns.1));
            let tile =
                if i == j { self.kernel.symmetric(x1, which) } else { self.kernel.block(x1, x2, which) };
            whole.put(rows, columns, &tile.map_err(|e| Error::Kernel(Box::new(e)))?, i != j)?;
            self.observe(Progress { done: index + 1, total: tiles * (tiles + 1) / 2 })?;
        }
        Ok(whole.block)
    }

    fn diag(&self, x: Batch<'_>, which: Which) -> Result<crate::KernelDiag, Error> {
        self.kernel.diag(x, which).map_err(|e| Error::Kernel(Box::new(e)))
    }
}

impl<K> Tiled<K> {
    fn range(&self, tile: usize, n: usize) -> (usize, usize) {
        (tile * self.tile, n.min((tile + 1) * self.tile))
    }
}

/// The result while it fills.
struct Whole {
    block: KernelBlock,
}

impl Whole {
    fn new(n1: usize, n2: usize, which: Which) -> Self {
        let zeros = |wanted: bool| wanted.then(|| Array2::zeros((n1, n2)));
        Whole { block: KernelBlock { nngp: zeros(which.nngp()), ntk: zeros(which.ntk()) } }
    }

    /// Copies a tile to its place; a kernel that the tile does not hold is left out of the whole, too.
    fn put(
        &mut self,
        rows: (usize, usize),
        columns: (usize, usize),
        tile: &KernelBlock,
        mirror: bool,
    ) -> Result<(), Error> {
        let expected = (rows.1 - rows.0, columns.1 - columns.0);
        let copy = |whole: &mut Option<Array2<f64>>, tile: &Option<Array2<f64>>| match (&mut *whole, tile) {
            (_, Some(from)) if from.dim() != expected => Err(Error::BlockShape { expected, got: from.dim() }),
            (Some(to), Some(from)) => {
                to.slice_mut(s![rows.0..rows.1, columns.0..columns.1]).assign(from);
                if mirror {
                    to.slice_mut(s![columns.0..columns.1, rows.0..rows.1]).assign(&from.t());
                }
                Ok(())
            }
            _ => {
                *whole = None;
                Ok(())
            }
        };
        copy(&mut self.block.nngp, &tile.nngp)?;
        copy(&mut self.block.ntk, &tile.ntk)
    }
}
