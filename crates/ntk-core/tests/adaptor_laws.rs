//! `Tiled`, `Cached` and erased kernels: the same kernel out, for less memory, less work, or in one list.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use ndarray::Array2;
use ntk_core::{Batch, Cached, Error, KernelBlock, KernelFn, Progress, Tiled, Which};
use ntk_testkit::{laws, strategies};
use proptest::prelude::*;

/// K = ⟨x, x′⟩, Θ = 2K, with a record of the shapes of the blocks that were computed.
#[derive(Debug, Default, Clone)]
struct Counting {
    blocks: Arc<Mutex<Vec<(usize, usize)>>>,
    /// Gives no NTK, or blocks of one entry, or fails from this block on.
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

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Fails(#[from] Error);

impl KernelFn for Counting {
    type Error = Fails;

    fn block(&self, x1: Batch<'_>, x2: Batch<'_>, which: Which) -> Result<KernelBlock, Fails> {
        Batch::check_pair(x1, x2)?;
        let mut blocks = self.blocks.lock().expect("no lock is poisoned");
        blocks.push((x1.len(), x2.len()));
        if matches!(self.defect, Defect::FailsAt(count) if blocks.len() > count) {
            return Err(Error::ZeroWidth.into());
        }
        let k = match self.defect {
            Defect::OneEntry => Array2::zeros((1, 1)),
            _ => Array2::from_shape_fn((x1.len(), x2.len()), |(i, j)| {
                x1.values().row(i).dot(&x2.values().row(j))
            }),
        };
        let ntk = (which.ntk() && self.defect != Defect::NoNtk).then(|| 2.0 * &k);
        Ok(KernelBlock { nngp: which.nngp().then_some(k), ntk })
    }
}

impl Counting {
    fn new(defect: Defect) -> Self {
        Counting { defect, ..Counting::default() }
    }

    /// The shapes since the last call.
    fn taken(&self) -> Vec<(usize, usize)> {
        std::mem::take(&mut self.blocks.lock().expect("no lock is poisoned"))
    }
}

fn samples(n: usize) -> Array2<f64> {
    Array2::from_shape_fn((n, 2), |(i, j)| (1 + i * i + 3 * j) as f64)
}

proptest! {
    #![proptest_config(ntk_testkit::cases(256))]

    #[test]
    fn adaptors_obey_the_laws_of_kernels(x in strategies::nasty_inputs(), tile in 1usize..12) {
        let kernel = Counting::default();
        laws::check_kernel_fn(&Tiled::new(&kernel, tile)?, (&x).into())?;
        laws::check_kernel_fn(&Cached::new(&kernel, 1 << 20), (&x).into())?;
        laws::check_kernel_fn(&Cached::new(Tiled::new(&kernel, tile)?, 0), (&x).into())?;
        laws::check_kernel_fn(&kernel.clone().erased(), (&x).into())?;
        laws::check_kernel_fn(&Arc::new(kernel), (&x).into())?;
    }

    #[test]
    fn symmetric_inputs_compute_one_triangle(n in 1usize..20, tile in 1usize..8) {
        let kernel = Counting::default();
        let x = samples(n);
        let whole = Tiled::new(&kernel, tile)?.symmetric((&x).into(), Which::Both)?;
        let shapes = kernel.taken();
        let tiles = n.div_ceil(tile);
        prop_assert_eq!(shapes.len(), tiles * (tiles + 1) / 2);
        prop_assert!(shapes.iter().all(|(rows, columns)| *rows <= tile && *columns <= tile));
        let diagonal: usize = (0..tiles).map(|i| tile.min(n - i * tile).pow(2)).sum();
        prop_assert_eq!(2 * shapes.iter().map(|(r, c)| r * c).sum::<usize>(), n * n + diagonal);
        prop_assert_eq!(whole, kernel.symmetric((&x).into(), Which::Both)?);
    }
}

#[test]
fn ragged_edges_are_the_rest() {
    let kernel = Counting::default();
    let (x1, x2) = (samples(5), samples(3));
    let tiled = Tiled::new(&kernel, 2).unwrap();
    let block = tiled.block((&x1).into(), (&x2).into(), Which::Nngp).unwrap();
    assert_eq!(kernel.taken(), [(2, 2), (2, 1), (2, 2), (2, 1), (1, 2), (1, 1)]);
    assert_eq!((block.nngp.unwrap().dim(), block.ntk), ((5, 3), None));
}

#[test]
fn the_observer_sees_every_tile_and_can_stop() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let kernel = Counting::default();
    let tiled = Tiled::new(&kernel, 2).unwrap().with_observer(move |progress: Progress| {
        record.lock().unwrap().push((progress.done, progress.total));
        if progress.done == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let x = samples(4);
    assert!(tiled.symmetric((&x).into(), Which::Both).is_ok());
    assert_eq!(*seen.lock().unwrap(), [(1, 3), (2, 3), (3, 3)]);

    kernel.taken();
    let x = samples(5);
    let stopped = tiled.symmetric((&x).into(), Which::Both);
    assert!(matches!(stopped, Err(Error::Cancelled { done: 4, total: 6 })));
    assert_eq!(stopped.unwrap_err().to_string(), "stopped by the observer after 4 of 6 tiles");
    assert_eq!(kernel.taken().len(), 4);
    assert!(matches!(
        tiled.block((&x).into(), (&x).into(), Which::Both),
        Err(Error::Cancelled { done: 4, total: 9 })
    ));
}

#[test]
fn tiled_passes_on_what_the_wrapped_kernel_does() {
    let x = samples(5);
    let ask = |defect| Tiled::new(Counting::new(defect), 2).unwrap().symmetric((&x).into(), Which::Both);
    let alone = ask(Defect::NoNtk).unwrap();
    assert!(alone.nngp.is_some() && alone.ntk.is_none(), "a kernel that is not given is not zero");
    assert!(matches!(ask(Defect::OneEntry), Err(Error::BlockShape { expected: (2, 2), got: (1, 1) })));
    let failed = ask(Defect::FailsAt(2)).unwrap_err();
    assert!(matches!(&failed, Error::Kernel(inner) if inner.is::<Fails>()), "{failed:?}");
}

#[test]
fn cached_computes_once() {
    let kernel = Counting::default();
    let cached = Cached::new(&kernel, 1 << 20);
    let (x, y) = (samples(3), samples(2));
    let both = cached.symmetric((&x).into(), Which::Both).unwrap();
    let ntk = cached.symmetric((&x).into(), Which::Ntk).unwrap();
    assert_eq!((ntk.ntk, ntk.nngp), (both.ntk, None), "one kernel is answered from a block of both");
    assert_eq!(kernel.taken(), [(3, 3)]);

    cached.block((&x).into(), (&x).into(), Which::Both).unwrap();
    assert_eq!(kernel.taken(), [(3, 3)], "noise makes block(x, x) another kernel than symmetric(x)");
    cached.block((&x).into(), (&y).into(), Which::Nngp).unwrap();
    cached.block((&x).into(), (&y).into(), Which::Nngp).unwrap();
    cached.block((&x).into(), (&y).into(), Which::Both).unwrap();
    assert_eq!(kernel.taken(), [(3, 2), (3, 2)], "a block of one does not answer for both");

    // The values decide, not where they lie in memory.
    let columns = x.t().as_standard_layout().to_owned();
    cached.symmetric(columns.t().into(), Which::Both).unwrap();
    assert_eq!(kernel.taken(), []);
    cached.symmetric((&columns).into(), Which::Both).unwrap();
    assert_eq!(kernel.taken(), [(2, 2)]);
}

#[test]
fn cached_forgets_the_oldest_beyond_its_capacity() {
    let kernel = Counting::default();
    // Room for two blocks of both kernels of two samples.
    let cached = Cached::new(&kernel, 2 * 2 * 4 * size_of::<f64>());
    let batches = [0.0, 1.0, 2.0].map(|shift| samples(2) + shift);
    let ask = |i: usize| drop(cached.symmetric((&batches[i]).into(), Which::Both).unwrap());
    for i in [0, 1, 0, 1] {
        ask(i);
    }
    assert_eq!(kernel.taken().len(), 2);
    ask(2);
    ask(1);
    ask(2);
    assert_eq!(kernel.taken().len(), 1);
    ask(0);
    assert_eq!(kernel.taken().len(), 1, "the first was forgotten");

    let none = Cached::new(&kernel, 0);
    none.symmetric((&batches[0]).into(), Which::Both).unwrap();
    none.symmetric((&batches[0]).into(), Which::Both).unwrap();
    assert_eq!(kernel.taken().len(), 2);

    let failing = Cached::new(Counting::new(Defect::FailsAt(0)), 1 << 20);
    assert!(failing.symmetric((&batches[0]).into(), Which::Both).is_err());
    assert!(failing.symmetric((&batches[0]).into(), Which::Both).is_err());
    assert_eq!(failing.into_inner().taken().len(), 2, "an error is not remembered");
}

#[test]
fn kernels_of_different_crates_fit_one_list() {
    let kernels = [
        Counting::default().erased(),
        Tiled::new(Counting::default(), 2).unwrap().erased(),
        Cached::new(Counting::default(), 1 << 10).erased(),
        Counting::new(Defect::FailsAt(0)).erased(),
    ];
    let x = samples(3);
    let answers: Vec<_> = kernels.iter().map(|k| k.symmetric((&x).into(), Which::Both)).collect();
    assert_eq!(answers[0].as_ref().unwrap(), answers[1].as_ref().unwrap());
    assert_eq!(answers[0].as_ref().unwrap(), answers[2].as_ref().unwrap());
    assert!(matches!(&answers[3], Err(Error::Kernel(inner)) if inner.is::<Fails>()));
}

#[test]
fn everything_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<ntk_core::Net>();
    shared::<Error>();
    shared::<Batch<'_>>();
    shared::<Tiled<Counting>>();
    shared::<Cached<Counting>>();
}
