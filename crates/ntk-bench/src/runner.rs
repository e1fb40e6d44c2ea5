//! Runs experiments one after another, each with a record on disk before the next begins.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use indicatif::MultiProgress;
use serde::{Deserialize, Serialize};

use crate::data::Data;
use crate::machine::{self, Machine};
use crate::needs::Needs;
use crate::{Context, Device, Error, Experiment, Report, Size, number, page};

/// How to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How large.
    pub size: Size,
    /// First seed of every experiment.
    pub seed: u64,
    /// Where finite networks run.
    pub device: Device,
    /// Directory of MNIST or CIFAR-10.
    pub data_dir: Option<PathBuf>,
    /// Begins anew where an interrupted run could go on.
    pub fresh: bool,
}

impl Options {
    /// The command that repeats the run of one experiment.
    pub fn command(&self, name: &str) -> String {
        let mut command = format!("cargo xtask reproduce {name}");
        match self.size {
            Size::Quick => command += " --quick",
            Size::Default => {}
            Size::Full => command += " --full",
        }
        if self.device != Device::Cpu {
            command += &format!(" --device {}", self.device);
        }
        if self.seed != 0 {
            command += &format!(" --seed {}", self.seed);
        }
        if self.data_dir.is_some() {
            command += " --data-dir DIR";
        }
        command
    }
}

/// One run of one experiment: what the JSON file holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Name of the experiment.
    pub name: String,
    /// Its title.
    pub title: String,
    /// Bibliography key and place.
    pub source: String,
    /// The claim in words.
    pub claim: String,
    /// The claim as a formula.
    pub formula: String,
    /// The command that repeats the run.
    pub command: String,
    /// How large it was.
    pub size: Size,
    /// The device of the finite networks.
    pub device: Device,
    /// The commit, empty outside a checkout.
    pub commit: String,
    /// The machine.
    pub machine: Machine,
    /// When it ended.
    pub date: String,
    /// How long it took.
    pub seconds: f64,
    /// How long it was expected to take.
    pub expected_seconds: f64,
    /// Largest resident memory while it ran, where known.
    pub peak_memory_bytes: Option<u64>,
    /// How much of it was expected at most; none in older records.
    #[serde(default)]
    pub expected_memory_bytes: Option<u64>,
    /// What it found.
    pub report: Report,
    /// Why it stopped, if it did not come to its end.
    pub error: Option<String>,
}

impl Record {
    /// Whether it came to its end and every claim holds.
    pub fn holds(&self) -> bool {
        self.error.is_none() && self.report.claims.iter().all(|claim| claim.holds)
    }
}

/// A run that has not come to its end: what another one must be like to go on with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Unfinished {
    size: Size,
    seed: u64,
    device: Device,
    data_dir: Option<PathBuf>,
    commit: String,
    /// Experiments with a record of this run.
    finished: Vec<String>,
}

impl Unfinished {
    /// The interrupted run in a directory if it is one like this, else this one.
    fn or_resumed(self, path: &Path, fresh: bool) -> Self {
        // Changes that are not committed cannot be told apart.
        let told = !fresh && !self.commit.ends_with('+');
        let earlier = fs::read_to_string(path).ok().and_then(|text| serde_json::from_str(&text).ok());
        match earlier {
            Some(Unfinished { finished, .. })
                if told && earlier == Some(Unfinished { finished: finished.clone(), ..self.clone() }) =>
            {
                Unfinished { finished, ..self }
            }
            _ => self,
        }
    }
}

/// Runs experiments one after another, each on all cores; after each, writes `NAME.json` and `index.html` into `out`. An
/// experiment that stops with an error is recorded with its reason, and the next one begins.
///
/// A run that was interrupted is gone on with by one of the same options and commit in the same directory: finished
/// experiments are kept, so that at most one is lost.
///
/// `all` is the table whose earlier records in `out` the page also shows.
///
/// # Errors
/// [`Error::NoData`], [`Error::FullWithoutImages`], [`Error::DeviceNotOpen`] and [`Error::Memory`] before anything runs;
/// [`Error::File`] and [`Error::Record`] of the directory.
pub fn run(
    all: &[Experiment],
    selected: &[&Experiment],
    options: &Options,
    out: &Path,
) -> Result<Vec<Record>, Error> {
    let of_images = |e: &&&Experiment| crate::experiments::OF_IMAGES.contains(&e.name);
    if let (Size::Full, None, Some(first)) =
        (options.size, &options.data_dir, selected.iter().find(of_images))
    {
        return Err(Error::FullWithoutImages { name: first.name });
    }
    let data = Data::open(options.data_dir.clone())?;
    let device = options.device.to_string();
    if let Err(source) = ntk_empirical::device(&device) {
        return Err(Error::DeviceNotOpen { device, source: source.into() });
    }
    let (machine, commit, bars) = (Machine::here(), machine::commit(), MultiProgress::new());
    let marker = out.join("unfinished");
    let mut run = Unfinished {
        size: options.size,
        seed: options.seed,
        device: options.device,
        data_dir: options.data_dir.clone(),
        commit: commit.clone(),
        finished: Vec::new(),
    }
    .or_resumed(&marker, options.fresh);
    let ahead = selected.iter().copied().filter(|e| !run.finished.iter().any(|name| name == e.name));
    let cores = rayon::current_num_threads();
    let needs = Needs::of(ahead, options, cores);
    needs.check(machine::available_memory())?;
    create(out)?;
    let (time, gib) = (number::duration(needs.seconds), needs.gib);
    say(
        &bars,
        &format!("{} experiments, about {time} on two cores, at most {gib:.1} GiB of memory", selected.len()),
    );
    let mut records = Vec::new();
    for (at, experiment) in selected.iter().enumerate() {
        let expected = Needs::of([*experiment], options, cores);
        let (name, of) = (experiment.name, selected.len());
        let path = out.join(format!("{name}.json"));
        if run.finished.iter().any(|finished| finished == name)
            && let Ok(record) = read(&path)
        {
            say(&bars, &format!("[{}/{of}] {name}: kept from the run that was interrupted", at + 1));
            records.push(record);
            continue;
        }
        write(&marker, &json(&run))?;
        say(&bars, &format!("[{}/{of}] {name}: expected to take {expected}", at + 1));
        machine::reset_peak_memory();
        let started = Instant::now();
        let context = Context {
            size: options.size,
            seed: options.seed,
            device: options.device,
            data: &data,
            bars: &bars,
            out,
        };
        let outcome = (experiment.run)(&context);
        let record = Record {
            name: name.to_owned(),
            title: experiment.title.to_owned(),
            source: experiment.source.to_owned(),
            claim: experiment.claim.to_owned(),
            formula: experiment.formula.to_owned(),
            command: options.command(name),
            size: options.size,
            device: options.device,
            commit: commit.clone(),
            machine: machine.clone(),
            date: machine::now(),
            seconds: started.elapsed().as_secs_f64(),
            expected_seconds: expected.seconds,
            peak_memory_bytes: machine::peak_memory(),
            expected_memory_bytes: Some(expected.bytes()),
            error: outcome.as_ref().err().map(|error| chain(error.as_ref())),
            report: outcome.unwrap_or_default(),
        };
        say(&bars, &summary(&record));
        write(&path, &json(&record))?;
        run.finished.push(name.to_owned());
        write(&marker, &json(&run))?;
        records.push(record);
        render(all, out)?;
    }
    match fs::remove_file(&marker) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::File { path: marker, source })
        }
        _ => Ok(records),
    }
}

fn read(path: &Path) -> Result<Record, Error> {
    let file = |source| Error::File { path: path.to_owned(), source };
    let text = fs::read_to_string(path).map_err(file)?;
    serde_json::from_str(&text).map_err(|source| Error::Record { path: path.to_owned(), source })
}

/// Writes `index.html` from the records that lie in `out`, in the order of the table, and returns its path.
///
/// # Errors
/// [`Error::File`], [`Error::Record`].
pub fn render(all: &[Experiment], out: &Path) -> Result<PathBuf, Error> {
    create(out)?;
    let mut records = Vec::new();
    for experiment in all {
        let path = out.join(format!("{}.json", experiment.name));
        if path.exists() {
            records.push(read(&path)?);
        }
    }
    let index = out.join("index.html");
    write(&index, &page::html(&records))?;
    Ok(index)
}

/// An error and its causes in one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

fn summary(record: &Record) -> String {
    let held = record.report.claims.iter().filter(|claim| claim.holds).count();
    let mut text = format!("  {held} of {} claims hold, {:.1} s", record.report.claims.len(), record.seconds);
    for claim in record.report.claims.iter().filter(|claim| !claim.holds) {
        let got = crate::number::show(claim.got);
        text += &format!("\n  FAILS {}: {got}, should be {}", claim.quantity, claim.criterion);
    }
    if let Some(error) = &record.error {
        text += &format!("\n  STOPPED {error}");
    }
    text
}

/// Standard error, above the bars where there is a terminal.
fn say(bars: &MultiProgress, line: &str) {
    if bars.is_hidden() {
        eprintln!("{line}");
    } else {
        // Without a terminal to draw on there is nobody to tell.
        let _closed = bars.println(line);
    }
}

fn json(record: &impl Serialize) -> String {
    // Keys are strings and every number is finite or written as text, so writing cannot fail.
    serde_json::to_string_pretty(record).unwrap_or_default() + "\n"
}

fn create(dir: &Path) -> Result<(), Error> {
    fs::create_dir_all(dir).map_err(|source| Error::File { path: dir.to_owned(), source })
}

/// Writes beside the file and renames, so that no reader finds half of it.
fn write(path: &Path, text: &str) -> Result<(), Error> {
    let part = path.with_extension("part");
    let written = fs::write(&part, text).and_then(|()| fs::rename(&part, path));
    written.map_err(|source| Error::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BoxError, Claim, Criterion, Plot, Table};

    /// Experiments that only tests see: one that holds, one that fails a claim, one that stops.
    const FAKES: &[Experiment] = &[
        fake("holds", |ctx| {
            let bar = ctx.progress("counting", 2);
            bar.step();
            let mut report = Report::default();
            report.size("width <n>", ctx.pick([1, 2, 3])).seeds(ctx.seeds(3)).note("A & B");
            report.claim(Claim::new("[key] <1>", "one & one", Criterion::AtMost(2.0), 2.0));
            report.plot(Plot::new("Counts", "n", "count").line("<count>", [[0.0, 0.0], [1.0, 1.0]]));
            report.table(Table::new("Counts", ["n", "count"]).numbers([1.0, 1.0]));
            Ok(report)
        }),
        fake("fails", |_| {
            let mut report = Report::default();
            report.claim(Claim::new("[key]", "not a number", Criterion::AtLeast(0.0), f64::NAN));
            Ok(report)
        }),
        fake("stops", |ctx| Ok(ctx.data.mnist(crate::data::Split::Train).map(|_| Report::default())?)),
    ];

    const fn fake(name: &'static str, run: fn(&Context<'_>) -> Result<Report, BoxError>) -> Experiment {
        Experiment {
            name,
            title: "A title with <angles>",
            source: "[key] p. 1",
            claim: "One & one is two.",
            formula: "1 + 1 < 3",
            seconds: [1.0, 2.0, 3.0],
            memory: [[0.001; 2]; 3],
            run,
        }
    }

    fn in_scratch(name: &str, test: impl FnOnce(&Path)) {
        let dir = std::env::temp_dir().join(format!("ntk-bench-run-{name}-{}", std::process::id()));
        test(&dir);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_run_leaves_one_record_for_each_experiment_and_a_page() {
        in_scratch("all", |out| {
            let selected: Vec<&Experiment> = FAKES.iter().collect();
            let options = Options { size: Size::Quick, seed: 5, ..Options::default() };
            let records = run(FAKES, &selected, &options, out).unwrap();
            assert_eq!(records.iter().map(Record::holds).collect::<Vec<_>>(), [true, false, false]);
            assert_eq!(records[0].report.seeds, [5, 6, 7]);
            assert_eq!(records[0].command, "cargo xtask reproduce holds --quick --seed 5");
            assert!(records[2].error.as_deref().unwrap().contains("--data-dir"));
            let page = fs::read_to_string(out.join("index.html")).unwrap();
            for part in
                ["1 of 2 claims hold", "one &amp; one", "&lt;count&gt;", "width &lt;n&gt;", "NaN", "stopped"]
            {
                assert!(page.contains(part), "{part}");
            }
            assert!(!page.contains("<angles>") && !page.contains("http://") && !page.contains("src="));
            // The claim that is not a number is nearest to failing.
            assert!(page.contains("Claims, by source") && page.contains("1 of 2") && page.contains("∞"));
        });
    }

    #[test]
    fn the_page_keeps_what_earlier_runs_found() {
        in_scratch("twice", |out| {
            run(FAKES, &[&FAKES[1]], &Options::default(), out).unwrap();
            run(FAKES, &[&FAKES[0]], &Options::default(), out).unwrap();
            let page = fs::read_to_string(out.join("index.html")).unwrap();
            assert!(page.contains("1 of 2 claims hold"));
            // In the order of the table, not of the runs.
            assert!(page.find("id=\"holds\"").unwrap() < page.find("id=\"fails\"").unwrap());
        });
    }

    #[test]
    fn an_interrupted_run_goes_on() {
        in_scratch("resumed", |out| {
            let options = Options { seed: 3, ..Options::default() };
            let first = run(FAKES, &[&FAKES[0]], &options, out).unwrap();
            assert!(!out.join("unfinished").exists());
            // As if it had been killed in the second experiment.
            let unfinished = Unfinished {
                size: options.size,
                seed: 3,
                device: options.device,
                data_dir: None,
                commit: "0123".to_owned(),
                finished: vec!["holds".to_owned()],
            };
            let path = out.join("unfinished");
            write(&path, &json(&unfinished)).unwrap();
            let begun = Unfinished { finished: Vec::new(), ..unfinished.clone() };
            assert_eq!(begun.clone().or_resumed(&path, false), unfinished);
            assert_eq!(begun.clone().or_resumed(&path, true), begun);
            for other in [
                Unfinished { seed: 4, ..begun.clone() },
                Unfinished { size: Size::Quick, ..begun.clone() },
                Unfinished { commit: "4567".to_owned(), ..begun.clone() },
                Unfinished { data_dir: Some("data".into()), ..begun.clone() },
            ] {
                assert_eq!(other.clone().or_resumed(&path, false), other);
            }
            let changed = Unfinished { commit: "0123+".to_owned(), ..unfinished };
            write(&path, &json(&changed)).unwrap();
            assert!(
                Unfinished { finished: Vec::new(), ..changed }.or_resumed(&path, false).finished.is_empty()
            );
            write(&path, "half a file").unwrap();
            assert_eq!(begun.clone().or_resumed(&path, false), begun);
            // The whole way, with the commit of this checkout, if it has no changes.
            let here = Unfinished { commit: machine::commit(), finished: vec!["holds".to_owned()], ..begun };
            write(&path, &json(&here)).unwrap();
            let second = run(FAKES, &[&FAKES[0], &FAKES[1]], &options, out).unwrap();
            assert_eq!(second[0] == first[0], !here.commit.ends_with('+'));
            assert!(second[1].name == "fails" && !path.exists());
        });
    }

    #[test]
    fn a_file_that_is_not_a_record_is_named() {
        in_scratch("garbage", |out| {
            create(out).unwrap();
            fs::write(out.join("holds.json"), "{\"name\": 1}").unwrap();
            assert!(
                matches!(render(FAKES, out), Err(Error::Record { path, .. }) if path.ends_with("holds.json"))
            );
        });
    }

    #[test]
    fn the_sizes_of_the_papers_want_their_images() {
        let images = crate::experiments::select(crate::experiments::ALL, &["ensemble".to_owned()]).unwrap();
        let options = Options { size: Size::Full, ..Options::default() };
        let out = std::env::temp_dir().join("ntk-bench-never-made");
        let error = run(crate::experiments::ALL, &images, &options, &out).unwrap_err();
        assert!(error.to_string().contains("cargo xtask data mnist") && !out.exists(), "{error}");
        for name in crate::experiments::OF_IMAGES {
            assert!(crate::experiments::ALL.iter().any(|e| e.name == *name), "{name}");
        }
    }

    #[test]
    fn unknown_names_list_the_known_ones() {
        let error = crate::experiments::select(FAKES, &["hold".to_owned()]).unwrap_err();
        assert_eq!(error.to_string(), "no experiment is called \"hold\"; there are: holds, fails, stops");
        let picked = crate::experiments::select(FAKES, &["stops".to_owned(), "holds".to_owned()]).unwrap();
        assert_eq!(picked.iter().map(|e| e.name).collect::<Vec<_>>(), ["holds", "stops"]);
    }
}
