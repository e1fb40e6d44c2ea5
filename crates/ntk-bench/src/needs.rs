//! What a run will take, told before it starts: time, and memory, of which a machine may have too little.

use std::fmt;

use crate::runner::Options;
use crate::{Error, Experiment, number};

/// GiB that reading CIFAR-10 takes at any size; MNIST takes a third of it.
const DATA: f64 = 1.8;

/// Time and memory of experiments that run one after another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Needs {
    /// Seconds of all of them, on two cores.
    pub seconds: f64,
    /// GiB of the one that takes most.
    pub gib: f64,
    /// Its name, empty if there is none.
    pub largest: &'static str,
    /// Cores that work, each on networks of its own.
    pub cores: usize,
}

impl Needs {
    /// Of experiments with these options.
    pub fn of<'a>(
        experiments: impl IntoIterator<Item = &'a Experiment>,
        options: &Options,
        cores: usize,
    ) -> Self {
        let none = Needs { seconds: 0.0, gib: 0.0, largest: "", cores };
        experiments.into_iter().fold(none, |sum, experiment| {
            let [once, each] = options.size.pick(experiment.memory);
            let data = if options.data_dir.is_some() { DATA } else { 0.0 };
            let gib = data.max(once + cores as f64 * each);
            let (gib, largest) = if gib > sum.gib { (gib, experiment.name) } else { (sum.gib, sum.largest) };
            Needs { seconds: sum.seconds + options.size.pick(experiment.seconds), gib, largest, cores }
        })
    }

    /// Refuses more than the bytes that are available, if their number is known.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn check(&self, available: Option<u64>) -> Result<(), Error> {
        match available.map(|bytes| bytes as f64 / GIB) {
            Some(available) if available < self.gib => {
                let Needs { gib: needed, largest: name, cores, .. } = *self;
                Err(Error::Memory { name, needed, cores, available })
            }
            _ => Ok(()),
        }
    }

    /// The memory in bytes.
    pub fn bytes(&self) -> u64 {
        (self.gib * GIB) as u64
    }
}

/// Bytes.
const GIB: f64 = (1u64 << 30) as f64;

/// `55 s, 0.6 GiB`.
impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {:.1} GiB", number::duration(self.seconds), self.gib)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::{ALL, ON_REQUEST};
    use crate::{Report, Size};

    const fn takes(name: &'static str, seconds: f64, memory: [f64; 2]) -> Experiment {
        Experiment {
            name,
            title: "",
            source: "",
            claim: "",
            formula: "",
            seconds: [seconds, 0.0, 0.0],
            memory: [memory, [0.0; 2], [0.0; 2]],
            run: |_| Ok(Report::default()),
        }
    }

    fn quick() -> Options {
        Options { size: Size::Quick, ..Options::default() }
    }

    #[test]
    fn times_add_up_and_memory_is_that_of_the_largest() {
        let [flat, steep] = [takes("flat", 40.0, [3.0, 0.0]), takes("steep", 60.0, [1.0, 0.5])];
        let needs = |cores| Needs::of([&flat, &steep], &quick(), cores);
        assert_eq!(needs(2), Needs { seconds: 100.0, gib: 3.0, largest: "flat", cores: 2 });
        assert_eq!(needs(8), Needs { seconds: 100.0, gib: 5.0, largest: "steep", cores: 8 });
        assert_eq!(needs(8).to_string(), "2 minutes, 5.0 GiB");
        assert_eq!(Needs::of([], &quick(), 2).check(Some(0)).ok(), Some(()));
    }

    #[test]
    fn too_little_memory_is_refused_by_name() {
        let needs = Needs::of([&takes("wide", 1.0, [2.0, 1.0])], &quick(), 4);
        assert!(needs.check(None).is_ok() && needs.check(Some(6 << 30)).is_ok());
        let error = needs.check(Some((6 << 30) - 1)).unwrap_err();
        assert!(matches!(error, Error::Memory { name: "wide", needed: 6.0, cores: 4, .. }));
        let text = Needs { gib: 6.5, ..needs }.check(Some(3 << 29)).unwrap_err().to_string();
        for part in
            ["wide", "6.5 GiB", "4 cores", "1.5 GiB", "reproduce list", "--quick", "RAYON_NUM_THREADS"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn images_from_files_take_memory_at_any_size() {
        let small = takes("small", 1.0, [0.1, 0.0]);
        let options = Options { data_dir: Some("data".into()), ..quick() };
        assert_eq!(Needs::of([&small], &options, 1).gib, DATA);
    }

    #[test]
    fn every_experiment_says_what_it_takes_and_more_at_larger_sizes() {
        for experiment in [ALL, ON_REQUEST].concat() {
            let needs = [Size::Quick, Size::Default, Size::Full]
                .map(|size| Needs::of([&experiment], &Options { size, ..Options::default() }, 2));
            assert!(needs[0].gib > 0.0 && needs[0].seconds > 0.0, "{}", experiment.name);
            for pair in needs.windows(2) {
                assert!(
                    pair[0].gib <= pair[1].gib && pair[0].seconds < pair[1].seconds,
                    "{}",
                    experiment.name
                );
            }
        }
    }
}
