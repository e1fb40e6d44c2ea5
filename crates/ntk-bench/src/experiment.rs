//! What an experiment is: words, expected time and memory, and a function from a context to a report.

use std::path::Path;
use std::str::FromStr;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use crate::data::Data;
use crate::{Claim, Error, Plot};

/// Any error of any crate; `?` makes one.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// One claim, or a few that share their runs, of one paper.
#[derive(Clone, Copy, Debug)]
pub struct Experiment {
    /// Name on the command line, in snake_case.
    pub name: &'static str,
    /// Title in the report.
    pub title: &'static str,
    /// Bibliography key and place: `[lee2019wide] Fig. 1`.
    pub source: &'static str,
    /// What is claimed, in words.
    pub claim: &'static str,
    /// The same as a formula, in Unicode.
    pub formula: &'static str,
    /// Seconds expected on two cores at quick, default and full size.
    pub seconds: [f64; 3],
    /// GiB of resident memory expected at most at quick, default and full size: once, and for each core that works.
    pub memory: [[f64; 2]; 3],
    /// Runs it. The size changes numbers, never the code path.
    pub run: fn(&Context<'_>) -> Result<Report, BoxError>,
}

/// How large the runs are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// Seconds: shows that everything works.
    Quick,
    /// Minutes: shows that the claims hold.
    #[default]
    Default,
    /// The sizes of the paper.
    Full,
}

impl Size {
    /// The entry of `[quick, default, full]` for this size.
    pub fn pick<T: Copy>(self, [quick, default, full]: [T; 3]) -> T {
        match self {
            Size::Quick => quick,
            Size::Default => default,
            Size::Full => full,
        }
    }
}

/// Where finite networks run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA device by its number.
    Cuda(usize),
    /// An Apple device by its number.
    Metal(usize),
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Device::Cpu => write!(f, "cpu"),
            Device::Cuda(n) => write!(f, "cuda:{n}"),
            Device::Metal(n) => write!(f, "metal:{n}"),
        }
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (kind, number) = text.split_once(':').unwrap_or((text, "0"));
        match (kind, number.parse()) {
            ("cpu", _) if kind == text => Ok(Device::Cpu),
            ("cuda", Ok(n)) => Ok(Device::Cuda(n)),
            ("metal", Ok(n)) => Ok(Device::Metal(n)),
            _ => Err(Error::Device { given: text.to_owned() }),
        }
    }
}

/// What a run is given.
#[derive(Debug)]
pub struct Context<'a> {
    /// How large it should be.
    pub size: Size,
    /// The first seed; an experiment counts up from it.
    pub seed: u64,
    /// Where finite networks run; [`ntk_empirical::device`] opens it by its name, `device.to_string()`.
    pub device: Device,
    /// The data sets.
    pub data: &'a Data,
    /// Where progress bars are drawn.
    pub bars: &'a MultiProgress,
    /// Where the reports go; what an experiment keeps for a later run goes into a directory of its own there.
    pub out: &'a Path,
}

impl Context<'_> {
    /// The entry of `[quick, default, full]` for this run's size.
    pub fn pick<T: Copy>(&self, sizes: [T; 3]) -> T {
        self.size.pick(sizes)
    }

    /// The first `count` seeds of this run.
    pub fn seeds(&self, count: usize) -> Vec<u64> {
        (self.seed..).take(count).collect()
    }

    /// A bar for `total` steps of work, hidden where standard error is not a terminal.
    pub fn progress(&self, what: &str, total: usize) -> Progress {
        let bar = self.bars.add(ProgressBar::new(total as u64).with_message(what.to_owned()));
        if let Ok(style) = ProgressStyle::with_template("  {msg:30} {wide_bar} {pos}/{len} {eta}") {
            bar.set_style(style);
        }
        Progress { bar }
    }
}

/// A progress bar that removes itself when it goes out of scope.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// One more step is done. May be called from any thread.
    pub fn step(&self) {
        self.bar.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// What a run found, filled piece by piece.
///
/// ```
/// use ntk_bench::{Claim, Criterion, Plot, Report, Table};
/// let mut report = Report::default();
/// report.size("widths", "64, 256, 1024").seeds(0..16);
/// report.claim(Claim::new("[key] Theorem 1", "exponent of the error", Criterion::AtMost(-0.4), -0.52));
/// report.plot(Plot::new("Error against width", "width n", "error").log_log().line("tanh", [[64.0, 0.1], [256.0, 0.05]]));
/// report.table(Table::new("Errors", ["n", "error"]).row(["64", "0.1"]));
/// assert!(report.claims.iter().all(|claim| claim.holds));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The verdicts.
    pub claims: Vec<Claim>,
    /// The figures.
    pub plots: Vec<Plot>,
    /// The numbers behind them.
    pub tables: Vec<Table>,
    /// Every seed used.
    pub seeds: Vec<u64>,
    /// Names and values of what sets the size: widths, samples, steps, the data set.
    pub sizes: Vec<(String, String)>,
    /// What a reader should know: departures from the paper, licenses of data.
    pub notes: Vec<String>,
}

impl Report {
    /// Adds a verdict.
    pub fn claim(&mut self, claim: Claim) -> &mut Self {
        self.claims.push(claim);
        self
    }

    /// Adds a figure.
    pub fn plot(&mut self, plot: Plot) -> &mut Self {
        self.plots.push(plot);
        self
    }

    /// Adds a table.
    pub fn table(&mut self, table: Table) -> &mut Self {
        self.tables.push(table);
        self
    }

    /// Adds the seeds of a group of runs; those already there do not count twice.
    pub fn seeds(&mut self, seeds: impl IntoIterator<Item = u64>) -> &mut Self {
        self.seeds.extend(seeds);
        self.seeds.sort_unstable();
        self.seeds.dedup();
        self
    }

    /// Adds one quantity that sets the size of the runs.
    pub fn size(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Self {
        self.sizes.push((name.to_owned(), value.to_string()));
        self
    }

    /// Adds a remark.
    pub fn note(&mut self, note: impl Into<String>) -> &mut Self {
        self.notes.push(note.into());
        self
    }
}

/// A table of text; [`Table::numbers`] formats numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// What it shows.
    pub caption: String,
    /// Heads of the columns.
    pub columns: Vec<String>,
    /// Cells, row by row; the first cell heads its row.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub fn new<const N: usize>(caption: &str, columns: [&str; N]) -> Self {
        Table { caption: caption.to_owned(), columns: columns.map(str::to_owned).to_vec(), rows: Vec::new() }
    }

    /// Adds a row of text.
    pub fn row(mut self, cells: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.rows.push(cells.into_iter().map(Into::into).collect());
        self
    }

    /// Adds a row of numbers, each to four digits.
    pub fn numbers(self, cells: impl IntoIterator<Item = f64>) -> Self {
        self.row(cells.into_iter().map(crate::number::show))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_read_as_they_print() {
        for device in [Device::Cpu, Device::Cuda(0), Device::Cuda(3), Device::Metal(1)] {
            assert_eq!(device.to_string().parse::<Device>().unwrap(), device);
        }
        assert_eq!("cuda".parse::<Device>().unwrap(), Device::Cuda(0));
        for wrong in ["", "gpu", "cuda:x", "cpu:1", "cuda:-1"] {
            assert!(matches!(wrong.parse::<Device>(), Err(Error::Device { given }) if given == wrong));
        }
    }

    #[test]
    fn seeds_are_listed_once() {
        let mut report = Report::default();
        report.seeds(0..3).seeds([2, 7]);
        assert_eq!(report.seeds, [0, 1, 2, 7]);
    }
}
