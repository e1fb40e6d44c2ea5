//! `TileStore`: a kernel larger than memory or longer than a sitting, in a directory that fills tile by tile.

mod checksum;
mod files;
mod manifest;
mod npy;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use ndarray::{Array3, Axis, s};

use super::Progress;
use crate::{Batch, Error, KernelBlock, KernelFn, Which};
use checksum::Checksum;
use manifest::Manifest;

/// A kernel in a directory: it can be stopped or killed at any moment and goes on where it was, in as many processes at
/// once as one likes.
///
/// The directory holds `manifest.json` (what is computed, for which inputs, in which tiles) and for each tile
/// `tiles/ROW-COLUMN.npy`, an array of shape (kernels, rows, columns), with its checksum in `tiles/ROW-COLUMN.sum`. Of a
/// symmetric kernel there are the diagonal tiles and those above. Files appear under their names when they are complete;
/// a killed run leaves at most one `*.tmp`, which nobody reads. The store deletes nothing.
///
/// Memory: [`TileStore::run`] holds two copies of one tile beside what the kernel needs to compute it;
/// [`TileStore::read`] its result and two copies of one tile.
///
/// ```
/// use std::ops::ControlFlow;
/// # use ntk_core::{Batch, Error, KernelBlock, KernelFn, TileStore, Which};
/// # struct Linear;
/// # impl KernelFn for Linear {
/// #     type Error = Error;
/// #     fn block(&self, x1: Batch<'_>, x2: Batch<'_>, _: Which) -> Result<KernelBlock, Error> {
/// #         Ok(KernelBlock { nngp: Some(x1.values().dot(&x2.values().t())), ntk: None })
/// #     }
/// # }
/// # let kernel = Linear;
/// # let directory = std::env::temp_dir().join(format!("ntk-doc-{}", std::process::id()));
/// let x = ndarray::array![[1.0], [2.0], [3.0]];
/// // The description is any text that tells one kernel from another: a network as JSON and the settings, say.
/// let store = TileStore::create_or_open(&directory, "linear", (&x).into(), None, Which::Nngp, 2)?;
/// let summary = store.run(&kernel, (&x).into(), None, |progress| {
///     eprintln!("{} of {} tiles", progress.done, progress.total);
///     ControlFlow::Continue(())
/// })?;
/// assert_eq!((summary.computed, summary.found), (3, 0));
/// let column = store.read(0..3, 2..3)?.nngp;
/// assert_eq!(column, Some(ndarray::array![[3.0], [6.0], [9.0]]));
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TileStore {
    directory: PathBuf,
    manifest: Manifest,
}

/// A tile by its place among the tiles: rows and columns of tiles, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    /// Row of tiles.
    pub row: usize,
    /// Column of tiles.
    pub column: usize,
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:05}-{:05}", self.row, self.column)
    }
}

/// What a store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreSurvey {
    /// Tiles that match their checksums.
    pub whole: Vec<Tile>,
    /// Tiles that are not there.
    pub missing: Vec<Tile>,
    /// Tiles that do not match their checksums.
    pub damaged: Vec<Tile>,
}

/// What [`TileStore::run`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreSummary {
    /// Tiles computed by this run.
    pub computed: usize,
    /// Tiles found whole, from earlier runs or from others at work.
    pub found: usize,
    /// Tiles that did not match their checksums and were replaced.
    pub damaged: Vec<Tile>,
}

impl TileStore {
    /// The store of a kernel between x₁ and x₂, or of the symmetric kernel of x₁, in tiles of at most `tile` × `tile`
    /// samples; it is started if there is none in the directory.
    ///
    /// `description` is any text; two stores are the same only if their texts are.
    ///
    /// # Errors
    /// [`Error::ZeroTile`], those of [`Batch::check_pair`]; [`Error::StoreMismatch`] if the directory holds another
    /// kernel; [`Error::StoreManifest`], [`Error::StoreIo`].
    pub fn create_or_open(
        directory: impl Into<PathBuf>,
        description: &str,
        x1: Batch<'_>,
        x2: Option<Batch<'_>>,
        which: Which,
        tile: usize,
    ) -> Result<Self, Error> {
        let directory = directory.into();
        let wanted = Manifest::new(description, x1, x2, which, tile)?;
        let path = directory.join(manifest::FILE);
        match files::read(&path)? {
            Some(text) => Manifest::parse(&text, &path)?.same_as(&wanted, &directory)?,
            None => {
                files::create_directory(&directory.join(files::TILES))?;
                files::write(&path, wanted.text().as_bytes())?;
                files::keep(&directory)?;
            }
        }
        Ok(TileStore { directory, manifest: wanted })
    }

    /// The store that a directory holds, to read from.
    ///
    /// # Errors
    /// [`Error::StoreManifest`] if there is none, or none that can be read; [`Error::StoreIo`].
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, Error> {
        let directory = directory.into();
        let path = directory.join(manifest::FILE);
        let text = files::read(&path)?.ok_or_else(|| Error::StoreManifest {
            path: path.clone(),
            message: "there is none: start a store with TileStore::create_or_open".to_owned(),
        })?;
        Ok(TileStore { manifest: Manifest::parse(&text, &path)?, directory })
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The text that the store was started with.
    pub fn description(&self) -> &str {
        &self.manifest.description
    }

    /// (n₁, n₂).
    pub fn shape(&self) -> (usize, usize) {
        let [rows, columns] = self.manifest.shape;
        (rows, columns)
    }

    /// Which kernels it holds.
    pub fn which(&self) -> Which {
        self.manifest.which()
    }

    /// Every tile, row after row: all, or the diagonal and those above.
    pub fn tiles(&self) -> impl Iterator<Item = Tile> + '_ {
        let [rows, columns] = self.manifest.shape.map(|n| n.div_ceil(self.manifest.tile));
        let first = |row| if self.manifest.is_symmetric() { row } else { 0 };
        (0..rows).flat_map(move |row| (first(row)..columns).map(move |column| Tile { row, column }))
    }

    /// Reads every tile that is there and compares it with its checksum.
    ///
    /// # Errors
    /// [`Error::StoreIo`].
    pub fn survey(&self) -> Result<StoreSurvey, Error> {
        let mut survey = StoreSurvey { whole: Vec::new(), missing: Vec::new(), damaged: Vec::new() };
        for tile in self.tiles() {
            match self.load(tile) {
                Ok(_) => survey.whole.push(tile),
                Err(Error::StoreMissing { .. }) => survey.missing.push(tile),
                Err(Error::StoreDamaged { .. }) => survey.damaged.push(tile),
                Err(other) => return Err(other),
            }
        }
        Ok(survey)
    }

    /// Computes the tiles that are missing or damaged. The observer is called once all are surveyed and after each tile;
    /// `ControlFlow::Break` stops with [`Error::Cancelled`], and what is done stays.
    ///
    /// Several processes may run the same store: each goes through the tiles in an order of its own and passes over
    /// those that another has finished.
    ///
    /// # Errors
    /// [`Error::StoreMismatch`] for inputs other than the store's; [`Error::Kernel`]; [`Error::BlockShape`] or
    /// [`Error::StoreKernel`] for a kernel that gives something else than it is asked for; [`Error::StoreIo`].
    pub fn run<K: KernelFn>(
        &self,
        kernel: &K,
        x1: Batch<'_>,
        x2: Option<Batch<'_>>,
        mut observer: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<StoreSummary, Error> {
        let Manifest { description, tile, .. } = &self.manifest;
        self.manifest.same_as(&Manifest::new(description, x1, x2, self.which(), *tile)?, &self.directory)?;
        let StoreSurvey { whole, missing, damaged } = self.survey()?;
        let total = self.tiles().count();
        let mut summary = StoreSummary { computed: 0, found: whole.len(), damaged };
        let mut observe = |done| match observer(Progress { done, total }) {
            ControlFlow::Break(()) => Err(Error::Cancelled { done, total }),
            ControlFlow::Continue(()) => Ok(()),
        };
        observe(summary.found)?;
        let mut rest = [missing, summary.damaged.clone()].concat();
        // An order of its own for each run, so that several seldom compute the same tile.
        let order = RandomState::new();
        rest.sort_by_cached_key(|tile| order.hash_one(tile));
        for tile in rest {
            if self.load(tile).is_ok() {
                summary.found += 1;
            } else {
                self.save(tile, &self.compute(kernel, x1, x2, tile)?)?;
                summary.computed += 1;
            }
            observe(summary.found + summary.computed)?;
        }
        Ok(summary)
    }

    /// Rows and columns of the kernel, from all tiles that they touch.
    ///
    /// # Errors
    /// [`Error::StoreRange`] beyond the kernel; [`Error::StoreMissing`], [`Error::StoreDamaged`] for a tile that has yet
    /// to be computed; [`Error::StoreIo`].
    pub fn read(&self, rows: Range<usize>, columns: Range<usize>) -> Result<KernelBlock, Error> {
        let shape = self.shape();
        let within = |range: &Range<usize>, n: usize| range.start <= range.end && range.end <= n;
        if !within(&rows, shape.0) || !within(&columns, shape.1) {
            return Err(Error::StoreRange { rows, columns, shape });
        }
        let kernels = self.manifest.kernels.len();
        let mut whole = Array3::zeros((kernels, rows.len(), columns.len()));
        for row in self.touched(&rows) {
            for column in self.touched(&columns) {
                let below = self.manifest.is_symmetric() && row > column;
                let tile = if below { Tile { row: column, column: row } } else { Tile { row, column } };
                let mut values = self.load(tile)?;
                if below {
                    values.swap_axes(1, 2);
                }
                // Where the tile and the request meet, from the beginning of each.
                let (r, c) = (self.span(row, shape.0), self.span(column, shape.1));
                let meet = |a: &Range<usize>, b: &Range<usize>| a.start.max(b.start)..a.end.min(b.end);
                let (both_r, both_c) = (meet(&r, &rows), meet(&c, &columns));
                let from = |both: &Range<usize>, start: usize| both.start - start..both.end - start;
                let part = values.slice(s![.., from(&both_r, r.start), from(&both_c, c.start)]);
                whole
                    .slice_mut(s![.., from(&both_r, rows.start), from(&both_c, columns.start)])
                    .assign(&part);
            }
        }
        let mut matrices = whole.axis_iter(Axis(0)).map(|matrix| matrix.to_owned());
        let which = self.which();
        let nngp = if which.nngp() { matrices.next() } else { None };
        Ok(KernelBlock { nngp, ntk: if which.ntk() { matrices.next() } else { None } })
    }

    /// The whole kernel in memory.
    ///
    /// # Errors
    /// As [`TileStore::read`].
    pub fn to_block(&self) -> Result<KernelBlock, Error> {
        let (rows, columns) = self.shape();
        self.read(0..rows, 0..columns)
    }

    /// The tiles along one axis that a range touches.
    fn touched(&self, range: &Range<usize>) -> Range<usize> {
        let tile = self.manifest.tile;
        if range.is_empty() { 0..0 } else { range.start / tile..(range.end - 1) / tile + 1 }
    }

    /// The samples of a tile along one axis of n.
    fn span(&self, tile: usize, n: usize) -> Range<usize> {
        let start = tile * self.manifest.tile;
        start..n.min(start.saturating_add(self.manifest.tile))
    }

    fn spans(&self, tile: Tile) -> (Range<usize>, Range<usize>) {
        let (rows, columns) = self.shape();
        (self.span(tile.row, rows), self.span(tile.column, columns))
    }

    fn compute<K: KernelFn>(
        &self,
        kernel: &K,
        x1: Batch<'_>,
        x2: Option<Batch<'_>>,
        tile: Tile,
    ) -> Result<Array3<f64>, Error> {
        let (rows, columns) = self.spans(tile);
        let left = x1.range(rows.start, rows.end);
        let right = x2.map_or(x1.reborrow(), Batch::reborrow).range(columns.start, columns.end);
        let block = if x2.is_none() && tile.row == tile.column {
            kernel.symmetric(left, self.which())
        } else {
            kernel.block(left, right, self.which())
        };
        let KernelBlock { nngp, ntk } = block.map_err(|error| Error::Kernel(Box::new(error)))?;
        let expected = (rows.len(), columns.len());
        let mut values = Array3::zeros((self.manifest.kernels.len(), expected.0, expected.1));
        let which = self.which();
        let asked =
            [("NNGP", which.nngp(), nngp), ("NTK", which.ntk(), ntk)].into_iter().filter(|asked| asked.1);
        for (mut to, (kernel, _, from)) in values.outer_iter_mut().zip(asked) {
            match from {
                None => return Err(Error::StoreKernel { kernel }),
                Some(from) if from.dim() != expected => {
                    return Err(Error::BlockShape { expected, got: from.dim() });
                }
                Some(from) => to.assign(&from),
            }
        }
        Ok(values)
    }

    fn path(&self, tile: Tile, suffix: &str) -> PathBuf {
        self.directory.join(files::TILES).join(format!("{tile}.{suffix}"))
    }

    fn load(&self, tile: Tile) -> Result<Array3<f64>, Error> {
        let path = self.path(tile, "npy");
        // The checksum is written last: a tile without one was never finished.
        let (sum, bytes) = match (files::read(&self.path(tile, "sum"))?, files::read(&path)?) {
            (None, _) => return Err(Error::StoreMissing { path }),
            (Some(_), None) => return Err(Error::StoreDamaged { path }),
            (Some(sum), Some(bytes)) => (sum, bytes),
        };
        let (rows, columns) = self.spans(tile);
        let shape = [self.manifest.kernels.len(), rows.len(), columns.len()];
        let values = npy::decode(&bytes, shape).filter(|_| sum == self.checksum(tile, &bytes).as_bytes());
        values.ok_or(Error::StoreDamaged { path })
    }

    fn save(&self, tile: Tile, values: &Array3<f64>) -> Result<(), Error> {
        let bytes = npy::encode(values);
        files::write(&self.path(tile, "npy"), &bytes)?;
        files::write(&self.path(tile, "sum"), self.checksum(tile, &bytes).as_bytes())
    }

    /// The checksum of a tile at its place in this store: no tile of another store or place matches it.
    fn checksum(&self, tile: Tile, bytes: &[u8]) -> String {
        let mut checksum = Checksum::default();
        checksum.word(tile.row as u64);
        checksum.word(tile.column as u64);
        checksum.bytes(self.manifest.text().as_bytes());
        checksum.bytes(bytes);
        checksum.to_string()
    }
}
