//! What a request will cost, printed before anything is computed: layouts, memory, operations, seconds.

use std::fmt;

use ntk_core::Grid;

/// Which pairs of positions of two samples a layer computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pairs {
    /// The same position in both, as a flatten asks.
    Same,
    /// Positions at most this far apart along each axis, as a pooling asks that a flatten follows.
    Within(Vec<usize>),
    /// All pairs, as a global pool asks.
    All,
}

/// One layer of a [`Plan`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PlannedLayer {
    /// Where in the network.
    pub path: String,
    /// Its kind.
    pub layer: &'static str,
    /// Positions of its output.
    pub grid: Grid,
    /// Pairs of positions of two samples.
    pub pairs: Pairs,
    /// Covariances of each sample with itself; none where no variance is read later.
    pub own: Option<Pairs>,
    /// Multiply–adds for one pair of samples.
    pub operations: f64,
}

/// What [`Analytic::plan`](crate::Analytic::plan) predicts for a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// The layers in their order.
    pub layers: Vec<PlannedLayer>,
    /// Pairs of samples that are computed: one triangle where the request is symmetric.
    pub pairs: f64,
    /// Multiply–adds in all.
    pub operations: f64,
    /// Seconds expected on this number of threads, by rates measured on one machine: a guide, not a promise.
    pub seconds: f64,
    /// Threads.
    pub threads: usize,
    /// Rows and columns of the tiles that are worked on together.
    pub tile: usize,
    /// Bytes of the tables of a tile and of the pairs in work.
    pub work_bytes: usize,
    /// Bytes of the result.
    pub result_bytes: usize,
}

impl Plan {
    /// Bytes at the peak.
    pub fn bytes(&self) -> usize {
        self.work_bytes + self.result_bytes
    }
}

impl fmt::Display for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pairs::Same => write!(f, "same position"),
            Pairs::Within(reach) => write!(f, "within {reach:?}"),
            Pairs::All => write!(f, "all pairs"),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["layer", "kind", "positions", "of two samples", "of one", "operations"];
        writeln!(
            f,
            "{:20} {:14} {:>12}  {:16} {:16} {:>10}",
            header[0], header[1], header[2], header[3], header[4], header[5]
        )?;
        for layer in &self.layers {
            let own = layer.own.as_ref().map_or("–".to_owned(), ToString::to_string);
            let (grid, pairs) = (format!("{:?}", layer.grid), layer.pairs.to_string());
            let PlannedLayer { path, layer, operations, .. } = layer;
            writeln!(f, "{path:20} {layer:14} {grid:>12}  {pairs:16} {own:16} {operations:>10.2e}")?;
        }
        writeln!(
            f,
            "{:.3e} pairs of samples, {:.2e} operations, about {} on {} threads",
            self.pairs,
            self.operations,
            duration(self.seconds),
            self.threads
        )?;
        write!(
            f,
            "tiles of {} samples; {} of result and {} of work",
            self.tile,
            bytes(self.result_bytes),
            bytes(self.work_bytes)
        )
    }
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.1} µs", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s if s < 600.0 => format!("{s:.1} s"),
        s if s < 36_000.0 => format!("{:.1} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// A number of bytes in words.
pub(crate) fn bytes(count: usize) -> String {
    let count = count as f64;
    match count {
        b if b < 1e6 => format!("{:.1} kB", b / 1e3),
        b if b < 1e9 => format!("{:.1} MB", b / 1e6),
        b => format!("{:.2} GB", b / 1e9),
    }
}
