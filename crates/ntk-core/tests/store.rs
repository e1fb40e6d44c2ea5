//! `TileStore`: whatever happens to a run or to its files, the kernel that comes out is the kernel.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ndarray::{Array2, s};
use ntk_core::{Batch, Error, KernelBlock, KernelFn, Progress, Tile, TileStore, Tiled, Which};
use proptest::prelude::*;

/// K = ⟨x, x′⟩, Θ = sin K, with a record of how many blocks were computed.
#[derive(Debug, Default)]
struct Linear {
    blocks: AtomicUsize,
    pause: Duration,
    defect: Defect,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Defect {
    #[default]
    None,
    NoNtk,
    OneEntry,
    FailsAt(usize),
}

impl KernelFn for Linear {
    type Error = Error;

    fn block(&self, x1: Batch<'_>, x2: Batch<'_>, which: Which) -> Result<KernelBlock, Error> {
        Batch::check_pair(x1, x2)?;
        let before = self.blocks.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(self.pause);
        if matches!(self.defect, Defect::FailsAt(count) if before >= count) {
            return Err(Error::ZeroWidth);
        }
        let entry = |(i, j)| x1.values().row(i).dot(&x2.values().row(j));
        let k = match self.defect {
            Defect::OneEntry => Array2::zeros((1, 1)),
            _ => Array2::from_shape_fn((x1.len(), x2.len()), entry),
        };
        let ntk = (which.ntk() && self.defect != Defect::NoNtk).then(|| k.mapv(f64::sin));
        Ok(KernelBlock { nngp: which.nngp().then_some(k), ntk })
    }
}

impl Linear {
    fn taken(&self) -> usize {
        self.blocks.swap(0, Ordering::SeqCst)
    }
}

/// A directory that goes with its owner.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::SeqCst);
        let name = format!("store-{}-{count}", std::process::id());
        Directory(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name))
    }

    fn tile(&self, name: &str) -> PathBuf {
        self.0.join("tiles").join(name)
    }

    /// Names of the files of the tiles.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.join("tiles")).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn samples(n: usize) -> Array2<f64> {
    Array2::from_shape_fn((n, 3), |(i, j)| ((1 + i * i + 3 * j) as f64).sqrt() - 2.0)
}

fn on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Stops once so many tiles are done.
fn until(done: usize) -> impl FnMut(Progress) -> ControlFlow<()> {
    move |progress| if progress.done < done { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

/// The store of a symmetric kernel in tiles of three: for seven samples six tiles, above and on the diagonal.
fn threes(directory: &Directory, x: &Array2<f64>) -> TileStore {
    TileStore::create_or_open(&directory.0, "linear", x.into(), None, Which::Both, 3).unwrap()
}

fn exact(x: &Array2<f64>) -> KernelBlock {
    Tiled::new(Linear::default(), 3).unwrap().symmetric(x.into(), Which::Both).unwrap()
}

fn told<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.expect_err("it must be refused").to_string()
}

proptest! {
    #![proptest_config(ntk_testkit::cases(32))]

    #[test]
    fn a_stored_kernel_is_the_kernel(
        n1 in 1usize..9, n2 in 1usize..7, tile in 1usize..6, symmetric: bool,
        which in prop_oneof![Just(Which::Nngp), Just(Which::Ntk), Just(Which::Both)],
        ends in any::<[prop::sample::Index; 4]>(),
    ) {
        let directory = Directory::new();
        let (x1, x2, kernel) = (samples(n1), samples(n2) + 0.5, Linear::default());
        let second = || (!symmetric).then_some(Batch::from(&x2));
        let store = TileStore::create_or_open(&directory.0, "any", (&x1).into(), second(), which, tile)?;
        let tiled = Tiled::new(&kernel, tile)?;
        let whole = match second() {
            Some(x2) => tiled.block((&x1).into(), x2, which)?,
            None => tiled.symmetric((&x1).into(), which)?,
        };
        prop_assert_eq!(store.tiles().count(), kernel.taken());
        let summary = store.run(&kernel, (&x1).into(), second(), on)?;
        prop_assert_eq!((summary.computed, summary.found), (kernel.taken(), 0));
        let again = TileStore::open(&directory.0)?;
        prop_assert_eq!((again.shape(), again.which(), again.description()), ((n1, if symmetric { n1 } else { n2 }), which, "any"));
        prop_assert_eq!(&again.to_block()?, &whole);
        let [a, b, c, d] = ends;
        let within = |a: prop::sample::Index, b: prop::sample::Index, n: usize| {
            let (a, b) = (a.index(n + 1), b.index(n + 1));
            a.min(b)..a.max(b)
        };
        let (rows, columns) = (within(a, b, again.shape().0), within(c, d, again.shape().1));
        let part = |k: Option<Array2<f64>>| k.map(|k| k.slice(s![rows.clone(), columns.clone()]).to_owned());
        let expected = KernelBlock { nngp: part(whole.nngp), ntk: part(whole.ntk) };
        prop_assert_eq!(again.read(rows, columns)?, expected);
    }
}

#[test]
fn a_run_stopped_at_any_tile_goes_on_where_it_was() {
    let (x, kernel) = (samples(7), Linear::default());
    for first in 0..=6 {
        for second in first..=6 {
            let directory = Directory::new();
            for done in [first, second] {
                let stopped = threes(&directory, &x).run(&kernel, (&x).into(), None, until(done));
                assert!(matches!(stopped, Err(Error::Cancelled { done: d, total: 6 }) if d == done));
            }
            assert_eq!(kernel.taken(), second);
            let summary = threes(&directory, &x).run(&kernel, (&x).into(), None, on).unwrap();
            assert_eq!((summary.computed, summary.found, kernel.taken()), (6 - second, second, 6 - second));
            assert_eq!(threes(&directory, &x).to_block().unwrap(), exact(&x));
        }
    }
}

#[test]
fn the_observer_sees_the_survey_and_every_tile() {
    let (x, directory, seen) = (samples(7), Directory::new(), Mutex::new(Vec::new()));
    let record = |stop: usize| {
        let seen = &seen;
        move |progress: Progress| {
            seen.lock().unwrap().push((progress.done, progress.total));
            until(stop)(progress)
        }
    };
    let store = threes(&directory, &x);
    assert!(store.run(&Linear::default(), (&x).into(), None, record(2)).is_err());
    store.run(&Linear::default(), (&x).into(), None, record(9)).unwrap();
    assert_eq!(*seen.lock().unwrap(), [(0, 6), (1, 6), (2, 6), (2, 6), (3, 6), (4, 6), (5, 6), (6, 6)]);
}

#[test]
fn files_are_tiles_of_one_triangle_with_their_checksums() {
    let (x, directory) = (samples(7), Directory::new());
    let store = threes(&directory, &x);
    store.run(&Linear::default(), (&x).into(), None, on).unwrap();
    let tiles = ["00000-00000", "00000-00001", "00000-00002", "00001-00001", "00001-00002", "00002-00002"];
    let expected: Vec<String> =
        tiles.iter().flat_map(|tile| [format!("{tile}.npy"), format!("{tile}.sum")]).collect();
    assert_eq!(directory.names(), expected);
    assert_eq!(store.tiles().map(|tile| tile.to_string()).collect::<Vec<_>>(), tiles);
    // The last column of tiles is one sample wide; both kernels of three rows fit after a header of 128 bytes.
    let bytes = std::fs::read(directory.tile("00000-00002.npy")).unwrap();
    assert!(
        bytes.len() == 128 + 2 * 3 * 8
            && bytes[10..].starts_with(b"{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3, 1), }")
    );
}

/// What a kill or a disk can leave, done to the files of tile (0, 1); whether the survey calls the tile damaged.
type Accident = (fn(&Directory), bool);

const ACCIDENTS: [Accident; 9] = [
    (|d| std::fs::write(d.tile("00000-00001.npy.0123456789abcdef.tmp"), b"half").unwrap(), false),
    (|d| std::fs::remove_file(d.tile("00000-00001.sum")).unwrap(), false),
    (|d| std::fs::remove_file(d.tile("00000-00001.npy")).unwrap(), true),
    (|d| std::fs::write(d.tile("00000-00001.npy"), b"").unwrap(), true),
    (|d| std::fs::write(d.tile("00000-00001.sum"), b"").unwrap(), true),
    (|d| truncate(&d.tile("00000-00001.npy"), 200), true),
    (|d| flip(&d.tile("00000-00001.npy"), 250), true),
    (|d| flip(&d.tile("00000-00001.npy"), 100), true),
    // A whole tile, of another place.
    (
        |d| {
            for suffix in ["npy", "sum"] {
                let (from, to) = (format!("00001-00001.{suffix}"), format!("00000-00001.{suffix}"));
                std::fs::copy(d.tile(&from), d.tile(&to)).unwrap();
            }
        },
        true,
    ),
];

fn truncate(path: &Path, length: usize) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..length]).unwrap();
}

fn flip(path: &Path, byte: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[byte] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn what_an_accident_leaves_is_found_and_replaced() {
    let (x, kernel) = (samples(7), Linear::default());
    let tile = Tile { row: 0, column: 1 };
    for (index, (accident, damages)) in ACCIDENTS.into_iter().enumerate() {
        let directory = Directory::new();
        let store = threes(&directory, &x);
        store.run(&kernel, (&x).into(), None, on).unwrap();
        accident(&directory);
        kernel.taken();
        let survey = store.survey().unwrap();
        assert_eq!(survey.whole.len() + survey.missing.len() + survey.damaged.len(), 6);
        assert_eq!(survey.damaged, if damages { vec![tile] } else { vec![] }, "accident {index}");
        let lost = usize::from(!survey.whole.contains(&tile));
        if lost > 0 {
            let message = told(store.to_block());
            let path = directory.tile("00000-00001.npy").display().to_string();
            let expected = match damages {
                true => format!(
                    "the tile {path} does not match its checksum: call TileStore::run, which replaces it"
                ),
                false => format!("the tile {path} is not computed yet: call TileStore::run"),
            };
            assert_eq!(message, expected);
            // What does not touch the tile can be read.
            assert!(store.read(3..7, 3..7).is_ok());
        }
        let before = directory.names();
        let summary = store.run(&kernel, (&x).into(), None, on).unwrap();
        assert_eq!(
            (summary.computed, summary.found, kernel.taken()),
            (lost, 6 - lost, lost),
            "accident {index}"
        );
        assert_eq!(summary.damaged, survey.damaged);
        assert_eq!(store.to_block().unwrap(), exact(&x));
        assert!(before.iter().all(|name| directory.names().contains(name)), "nothing is deleted");
    }
}

#[test]
fn every_changed_byte_of_a_tile_shows() {
    let (x, directory) = (samples(2), Directory::new());
    let store = TileStore::create_or_open(&directory.0, "", (&x).into(), None, Which::Nngp, 2).unwrap();
    store.run(&Linear::default(), (&x).into(), None, on).unwrap();
    for name in ["00000-00000.npy", "00000-00000.sum"] {
        let path = directory.tile(name);
        for byte in 0..std::fs::read(&path).unwrap().len() {
            flip(&path, byte);
            assert_eq!(store.survey().unwrap().damaged.len(), 1, "{name} {byte}");
            flip(&path, byte);
        }
    }
    assert_eq!(store.survey().unwrap().whole.len(), 1);
}

#[test]
fn tiles_of_another_store_do_not_count() {
    let (x, kernel, here, there) = (samples(7), Linear::default(), Directory::new(), Directory::new());
    threes(&here, &x).run(&kernel, (&x).into(), None, on).unwrap();
    let other = samples(7) + 1.0;
    let store = TileStore::create_or_open(&there.0, "linear", (&other).into(), None, Which::Both, 3).unwrap();
    for name in here.names() {
        std::fs::copy(here.tile(&name), there.tile(&name)).unwrap();
    }
    assert_eq!(store.survey().unwrap().damaged.len(), 6);
    store.run(&kernel, (&other).into(), None, on).unwrap();
    assert_eq!(store.to_block().unwrap(), exact(&other));
}

#[test]
fn several_runs_at_once_fill_one_store() {
    let (x, directory) = (samples(13), Directory::new());
    let kernel = Linear { pause: Duration::from_millis(1), ..Linear::default() };
    let open =
        || TileStore::create_or_open(&directory.0, "linear", (&x).into(), None, Which::Both, 1).unwrap();
    let summaries: Vec<_> = std::thread::scope(|scope| {
        let run = || open().run(&kernel, (&x).into(), None, on).unwrap();
        let runs: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    let (total, computed) = (13 * 14 / 2, kernel.taken());
    assert!(
        summaries
            .iter()
            .all(|summary| summary.computed + summary.found == total && summary.damaged.is_empty())
    );
    assert_eq!(summaries.iter().map(|summary| summary.computed).sum::<usize>(), computed);
    // Each tile at least once; far from once for each run, since they share the work.
    assert!((total..3 * total).contains(&computed), "{computed}");
    assert_eq!(open().to_block().unwrap(), exact(&x));
    assert_eq!(directory.names().len(), 2 * total);
}

#[test]
fn a_killed_process_goes_on_where_it_was() {
    let x = samples(20);
    let open =
        |path: &Path| TileStore::create_or_open(path, "linear", (&x).into(), None, Which::Both, 2).unwrap();
    if let Some(path) = std::env::var_os("NTK_TEST_STORE") {
        // The process that is killed.
        let slow = Linear { pause: Duration::from_millis(4), ..Linear::default() };
        open(Path::new(&path)).run(&slow, (&x).into(), None, on).unwrap();
        return;
    }
    let directory = Directory::new();
    let mut done = 0;
    for _ in 0..3 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_killed_process_goes_on_where_it_was"])
            .env("NTK_TEST_STORE", &directory.0)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Wherever it is once there are some tiles more than before.
        while directory.0.join("tiles").read_dir().map_or(0, |files| files.count()) < 2 * done + 9 {
            assert!(child.try_wait().unwrap().is_none(), "the run ended before it was killed");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let survey = open(&directory.0).survey().unwrap();
        assert!(survey.damaged.is_empty() && survey.whole.len() > done, "{survey:?}");
        done = survey.whole.len();
    }
    let kernel = Linear::default();
    let summary = open(&directory.0).run(&kernel, (&x).into(), None, on).unwrap();
    assert_eq!((summary.found, summary.computed, kernel.taken()), (done, 55 - done, 55 - done));
    assert_eq!(open(&directory.0).to_block().unwrap(), exact(&x));
}

#[test]
fn another_kernel_is_refused_with_what_differs() {
    let (x, y, directory) = (samples(7), samples(5), Directory::new());
    let long = |end: &str| format!("{}{end}", "a description of many characters, all the same, ".repeat(3));
    let open = |description: &str, x: &Array2<f64>, x2: Option<Batch<'_>>, which, tile| {
        TileStore::create_or_open(&directory.0, description, x.into(), x2, which, tile)
    };
    let store = open(&long("v1"), &x, None, Which::Both, 3).unwrap();
    assert_eq!(open(&long("v1"), &x, None, Which::Both, 3).unwrap(), store);
    let differs = |part: &str| {
        format!(
            "the store {} holds another kernel: its {part}; choose another directory, or ask for what it holds",
            directory.0.display()
        )
    };
    let shown = differs("description is …ers, all the same, v1, not …ers, all the same, v2");
    assert_eq!(told(open(&long("v2"), &x, None, Which::Both, 3)), shown);
    let same = long("v1");
    assert_eq!(told(open(&same, &x, None, Which::Both, 4)), differs("tile is 3, not 4"));
    assert_eq!(told(open(&same, &x, None, Which::Ntk, 3)), differs("kernels is [Nngp, Ntk], not [Ntk]"));
    assert_eq!(told(open(&same, &y, None, Which::Both, 3)), differs("shape is [7, 7], not [5, 5]"));
    let twice = open(&same, &x, Some((&x).into()), Which::Both, 3);
    assert_eq!(told(twice), differs("number of batches is 1, not 2"));
    let moved = told(open(&same, &(&x + 1e-12), None, Which::Both, 3));
    assert!(moved.contains("its fingerprint of the inputs is "), "{moved}");
    // A run is held to the inputs of its store.
    let run = store.run(&Linear::default(), (&(&x + 1e-12)).into(), None, on);
    assert!(matches!(run, Err(Error::StoreMismatch { part: "fingerprint of the inputs", .. })));
    assert_eq!(store.survey().unwrap().missing.len(), 6);
}

/// The fingerprint is that of the values, lengths and graphs, in every release.
#[test]
fn fingerprints_do_not_change() {
    let x = ndarray::array![[1.0, 2.0], [3.0, -0.5]];
    let text = |batch: Batch<'_>| {
        let directory = Directory::new();
        TileStore::create_or_open(&directory.0, "net", batch, None, Which::Ntk, 2).unwrap();
        std::fs::read_to_string(directory.0.join("manifest.json")).unwrap()
    };
    let expected = r#"{
  "version": 1,
  "description": "net",
  "inputs": [
    "FINGERPRINT"
  ],
  "shape": [
    2,
    2
  ],
  "tile": 2,
  "kernels": [
    "ntk"
  ]
}"#;
    assert_eq!(text((&x).into()), expected.replace("FINGERPRINT", "275fe9b0b90c3aeb5ba5ecdabe6ee02d"));
    let sequences = x.view().insert_axis(ndarray::Axis(2));
    let sequences = Batch::grid(sequences).unwrap();
    let distinct = [text((&x).into()), text(sequences), text(sequences.with_lengths(&[2, 1]))];
    assert!(distinct[0] != distinct[1] && distinct[1] != distinct[2]);
}

#[test]
fn what_is_no_store_is_refused() {
    let (x, directory) = (samples(4), Directory::new());
    let path = directory.0.join("manifest.json");
    let not = |message: &str| format!("{} is not the manifest of a store: {message}", path.display());
    let none = "there is none: start a store with TileStore::create_or_open";
    assert_eq!(told(TileStore::open(&directory.0)), not(none));
    std::fs::create_dir_all(&directory.0).unwrap();
    assert_eq!(told(TileStore::open(&directory.0)), not(none));
    let manifest = |version: u64, shape: &str, tile: usize, kernels: &str| {
        format!(
            r#"{{"version": {version}, "description": "", "inputs": [""], "shape": {shape}, "tile": {tile}, "kernels": {kernels}}}"#
        )
    };
    let numbers = "its numbers do not describe a kernel";
    for (text, message) in [
        ("{}".to_owned(), "missing field `version` at line 1 column 2"),
        (r#"{"version": 2, "more": 3}"#.to_owned(), "it has version 2, and this library reads version 1"),
        (manifest(1, "[2, 2]", 0, r#"["ntk"]"#), numbers),
        (manifest(1, "[2, 3]", 1, r#"["ntk"]"#), numbers),
        (manifest(1, "[0, 0]", 1, r#"["ntk"]"#), numbers),
        (manifest(1, "[2, 2]", 1, "[]"), numbers),
        (manifest(1, "[2, 2]", 1, r#"["ntk", "nngp"]"#), numbers),
        (manifest(1, "[9223372036854775807, 9223372036854775807]", 1, r#"["ntk"]"#), numbers),
    ] {
        std::fs::write(&path, &text).unwrap();
        assert_eq!(told(TileStore::open(&directory.0)), not(message), "{text}");
        let create = TileStore::create_or_open(&directory.0, "", (&x).into(), None, Which::Ntk, 1);
        assert_eq!(told(create), not(message));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "what was there stays");
    }
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let error = told(TileStore::open(&directory.0));
    assert_eq!(error, format!("cannot read or write {}", path.display()));
}

#[test]
fn bad_requests_are_refused_before_work() {
    let (x, directory) = (samples(7), Directory::new());
    let open = |x: &Array2<f64>, tile| {
        TileStore::create_or_open(&directory.0, "", x.into(), None, Which::Both, tile)
    };
    assert!(matches!(open(&x, 0), Err(Error::ZeroTile)));
    assert!(matches!(open(&samples(0), 2), Err(Error::EmptyBatch { .. })));
    assert!(matches!(open(&(&x * f64::NAN), 2), Err(Error::NonFiniteInput { .. })));
    assert!(!directory.0.exists());
    let store = open(&x, 3).unwrap();
    assert_eq!(
        told(store.read(0..8, 2..3)),
        "rows 0..8 and columns 2..3 do not lie within a kernel of shape (7, 7)"
    );
    #[allow(clippy::reversed_empty_ranges)]
    let reversed = 3..2;
    assert!(matches!(store.read(reversed, 0..1), Err(Error::StoreRange { .. })));
    assert_eq!(store.read(3..3, 0..7).unwrap().ntk.unwrap().dim(), (0, 7));
    assert!(matches!(store.read(0..1, 0..1), Err(Error::StoreMissing { .. })));
}

#[test]
fn kernels_that_fail_leave_what_was_computed() {
    let (x, directory) = (samples(6), Directory::new());
    let store = threes(&directory, &x);
    let run = |defect| store.run(&Linear { defect, ..Linear::default() }, (&x).into(), None, on);
    assert_eq!(
        told(run(Defect::NoNtk)),
        "the kernel does not give the NTK, which the store is for: start one with another Which"
    );
    assert!(matches!(run(Defect::OneEntry), Err(Error::BlockShape { expected: (3, 3), got: (1, 1) })));
    assert_eq!(store.survey().unwrap().missing.len(), 3);
    assert!(matches!(run(Defect::FailsAt(2)), Err(Error::Kernel(_))));
    assert_eq!(store.survey().unwrap().whole.len(), 2);
}
