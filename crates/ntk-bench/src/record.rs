//! How a benchmark states its unit: a note beside criterion's numbers, from which `cargo xtask bench` makes its table.
//!
//! Criterion measures seconds for one call. A benchmark that wants to report nanoseconds for each matrix entry and
//! layer says, once for each id, by what to divide and what an ideal machine would need:
//!
//! ```no_run
//! use ntk_bench::record::Unit;
//! let (n, layers) = (4000.0, 4.0);
//! let id = "dense_relu_f64_n4000_ns_per_entry_layer";
//! Unit { unit: "ns", seconds: 1e-9, per: n * n * layers, roofline: Some(1.2) }.save(id)?;
//! // criterion.bench_function(id, |b| b.iter(|| …));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! The note is `criterion-meta/ID.json` in the target directory; the value reported is
//! median seconds / (`seconds` · `per`).

use std::path::PathBuf;
use std::{env, fs, io};

/// The unit of a benchmark.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unit {
    /// Name of the unit of time: `ns`, `ms`, `s`.
    pub unit: &'static str,
    /// That unit in seconds.
    pub seconds: f64,
    /// By how many things the time of one call is divided; 1 for the call itself.
    pub per: f64,
    /// What the machine's peak throughput or bandwidth would allow, in the same unit, where an estimate exists.
    pub roofline: Option<f64>,
}

impl Unit {
    /// Writes the note for the benchmark of this id, with the number of threads in use.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn save(&self, id: &str) -> io::Result<()> {
        let dir = target_directory().join("criterion-meta");
        fs::create_dir_all(&dir)?;
        let note = serde_json::json!({
            "name": id,
            "unit": self.unit,
            "divide_by": self.seconds * self.per,
            "roofline": self.roofline,
            "threads": rayon::current_num_threads(),
        });
        fs::write(dir.join(format!("{id}.json")), format!("{note}\n"))
    }
}

/// Where criterion writes: `CARGO_TARGET_DIR`, or `target` of the workspace.
fn target_directory() -> PathBuf {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target");
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from(default), PathBuf::from)
}
