//! `ntk kernel`: the kernels of an infinitely wide network between samples.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use ntk_analytic::Analytic;
use ntk_core::{Batch, KernelBlock, KernelFn, Tiled, Which};
use serde_json::json;

use super::wrote;
use crate::error::Error;
use crate::files::{Named, Output};
use crate::network::{Limit, Network};
use crate::report::Report;
use crate::samples::Reading;
use crate::{memory, progress, provenance};

/// Kernels of an infinitely wide network: NNGP, the covariance of its outputs, and NTK, the kernel of its training.
///
/// Writes the arrays nngp and ntk, (n₁, n₂) each, per output: the kernel of several outputs is the same for each of them
/// and 0 between them. Without --x2, the symmetric kernel of x1 with itself.
#[derive(Args)]
#[command(after_help = "Examples:
  ntk kernel --net net.json --x1 train.npy -o train-kernel.npz
  ntk kernel --net net.json --x1 test.npy --x2 train.npy --which ntk -o k.csv
  ntk kernel --net net.json --x1 cifar.npz:images --precision f32 --memory 4G -o k.npz")]
pub(crate) struct Kernel {
    /// The network, a JSON file.
    #[arg(long, value_name = "FILE")]
    net: PathBuf,
    /// Samples of the rows.
    #[arg(long, value_name = "FILE")]
    x1: String,
    /// Samples of the columns, different from those of the rows; without it, x1 itself.
    #[arg(long, value_name = "FILE")]
    x2: Option<String>,
    /// Which kernels.
    #[arg(long, value_enum, default_value_t = Kind::Both)]
    which: Kind,
    /// Only the kernels of each sample of x1 with itself, n₁ numbers each.
    #[arg(long, conflicts_with = "x2")]
    diagonal: bool,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    limit: Limit,
    #[command(flatten)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Kind {
    Nngp,
    Ntk,
    Both,
}

impl From<Kind> for Which {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Nngp => Which::Nngp,
            Kind::Ntk => Which::Ntk,
            Kind::Both => Which::Both,
        }
    }
}

impl Kernel {
    pub(crate) fn run(&self, quiet: bool) -> Result<Report, Error> {
        let network = Network::read(&self.net)?;
        let kernel = network.limit(&self.limit)?;
        let x1 = self.reading.read(&self.x1)?;
        x1.check_for(&network.net)?;
        let x2 = self.x2.as_deref().map(|x2| self.reading.read(x2)).transpose()?;
        let mut shape = vec![x1.len()];
        if let Some(x2) = &x2 {
            x1.check_beside(x2)?;
            shape.push(x2.len());
        } else if !self.diagonal {
            shape.push(x1.len());
        }
        let which = Which::from(self.which);
        let shapes = vec![&shape[..]; 1 + usize::from(which == Which::Both)];
        self.output.check(&shapes)?;

        let began = Instant::now();
        let columns = x2.as_ref().map(|x2| x2.batch()).transpose()?;
        let arrays = if self.diagonal {
            let diag = kernel.diag(x1.batch()?, which).map_err(Error::failed)?;
            [diag.nngp.map(|nngp| nngp.into_dyn()), diag.ntk.map(|ntk| ntk.into_dyn())]
        } else {
            let request = Request { x1: x1.batch()?, x2: columns, which };
            let block = compute(&kernel, &request, &self.limit, quiet)?;
            [block.nngp.map(|nngp| nngp.into_dyn()), block.ntk.map(|ntk| ntk.into_dyn())]
        };
        let [nngp, ntk] = &arrays;
        let arrays: Vec<Named<'_>> = [("nngp", nngp), ("ntk", ntk)]
            .into_iter()
            .filter_map(|(name, array)| Some(Named::new(name, array.as_ref()?)))
            .collect();
        let seconds = began.elapsed().as_secs_f64();
        let provenance = provenance::of(json!({
            "kind": "kernels of the infinitely wide network, per output",
            "network": network.json(),
            "precision": self.limit.precision.name(),
            "seed": null,
            "x1": { "file": self.x1, "shape": x1.shape() },
            "x2": x2.as_ref().map(|x2| json!({ "file": x2.source, "shape": x2.shape() })),
        }));
        self.output.write(&arrays, &provenance)?;
        Ok(wrote(&self.output, &arrays, seconds, provenance))
    }
}

/// A block of a kernel.
pub(crate) struct Request<'a> {
    pub(crate) x1: Batch<'a>,
    /// None for the symmetric kernel of `x1`.
    pub(crate) x2: Option<Batch<'a>>,
    pub(crate) which: Which,
}

/// Work that takes longer is done in tiles, for a bar to tell how far it is.
const LONG: f64 = 2.0;

/// Tiles along a side of a long computation, and the fewest samples of one: what depends on a single sample is computed
/// once for each tile.
const TILES: usize = 14;
const SMALLEST: usize = 64;

/// Computes a block within the bound on memory, with a bar where it takes long.
pub(crate) fn compute(
    kernel: &Analytic,
    request: &Request<'_>,
    limit: &Limit,
    quiet: bool,
) -> Result<KernelBlock, Error> {
    let Request { x1, x2, which } = *request;
    let plan = kernel.plan(x1, x2, which).map_err(|error| match error {
        ntk_analytic::Error::Tokens { .. } => Error::input(
            "the samples",
            "tokens are read by an embedding and by nothing else: see --vocabulary",
        ),
        error => Error::refused("the samples")(error),
    })?;
    memory::check(plan.bytes(), limit.memory)?;
    let longest = x1.len().max(x2.map_or(0, |x2| x2.len()));
    let tile = longest.div_ceil(TILES).max(SMALLEST);
    if plan.seconds > LONG && tile < longest {
        return in_tiles(kernel, request, tile, quiet);
    }
    let block = match x2 {
        Some(x2) => kernel.block(x1, x2, which),
        None => kernel.symmetric(x1, which),
    };
    block.map_err(Error::failed)
}

/// Computes a block in tiles, with a bar.
fn in_tiles(
    kernel: &Analytic,
    request: &Request<'_>,
    tile: usize,
    quiet: bool,
) -> Result<KernelBlock, Error> {
    let Request { x1, x2, which } = *request;
    let bar = progress::bar("tiles", 0, quiet);
    let shown = bar.clone();
    let tiled = Tiled::new(kernel, tile).map_err(Error::failed)?.with_observer(move |progress| {
        shown.set_length(progress.total as u64);
        shown.set_position(progress.done as u64);
        ControlFlow::Continue(())
    });
    let block = match x2 {
        Some(x2) => tiled.block(x1, x2, which),
        None => tiled.symmetric(x1, which),
    };
    bar.finish_and_clear();
    block.map_err(Error::failed)
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use ntk_core::{Activation, Net, Variance};

    use super::*;

    #[test]
    fn tiles_change_nothing() {
        let kernel = Analytic::new(Net::mlp(2, Activation::ERF, 1, Variance::TWO, Variance::ONE)).unwrap();
        let x = |n: usize| Array2::from_shape_fn((n, 3), |(i, j)| ((5 * i + 3 * j + n) as f64).sin());
        let (a, b) = (x(7), x(4));
        let request = Request { x1: (&a).into(), x2: None, which: Which::Both };
        let tiled = in_tiles(&kernel, &request, 3, true).unwrap();
        assert_eq!(tiled, kernel.symmetric((&a).into(), Which::Both).unwrap());
        let request = Request { x1: (&a).into(), x2: Some((&b).into()), which: Which::Ntk };
        let tiled = in_tiles(&kernel, &request, 3, true).unwrap();
        assert_eq!(tiled, kernel.block((&a).into(), (&b).into(), Which::Ntk).unwrap());
    }
}
