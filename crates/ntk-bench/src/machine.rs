//! Where and when a report was made: commit, processor, date, memory.

use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The machine of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name for itself, empty where the system does not tell.
    pub processor: String,
    /// Threads that run at once.
    pub threads: usize,
    /// Operating system and architecture.
    pub system: String,
}

impl Machine {
    /// This machine.
    pub fn here() -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        Machine {
            processor: model.map_or(String::new(), |(_, name)| name.trim().to_owned()),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }
}

/// The commit of the working directory, with `+` if tracked files differ from it; empty outside a checkout.
pub fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let Some(head) = git(&["rev-parse", "--short=12", "HEAD"]) else { return String::new() };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|s| !s.is_empty());
    head + if changed { "+" } else { "" }
}

/// Now, as `2026-01-31 23:59 UTC`.
pub fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    format_utc(seconds)
}

/// Days to a date by the 400-year cycle of the Gregorian calendar, years beginning in March.
fn format_utc(seconds: u64) -> String {
    let (days, in_day) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let in_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let date = in_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + era * 400 + next;
    format!("{year:04}-{month:02}-{date:02} {:02}:{:02} UTC", in_day / 3_600, in_day % 3_600 / 60)
}

/// The largest resident memory of this process since [`reset_peak_memory`], in bytes; none where the system does not
/// tell.
pub fn peak_memory() -> Option<u64> {
    kibibytes(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// Memory that programs may still take without swapping, in bytes; none where the system does not tell.
pub fn available_memory() -> Option<u64> {
    kibibytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

/// The value of a line `name   123 kB`, in bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Starts the measurement of [`peak_memory`] afresh; where the system refuses, the peak is that of the process.
pub fn reset_peak_memory() {
    let _refused = fs::write("/proc/self/clear_refs", "5");
}

#[cfg(test)]
mod tests {
    use super::{format_utc, kibibytes};

    #[test]
    fn memory_is_read_by_its_name() {
        let text = "MemTotal:       24000000 kB\nMemAvailable:    1536 kB\nHugePages_Total:       0\n";
        assert_eq!(kibibytes(text, "MemAvailable:"), Some(1536 << 10));
        assert_eq!(kibibytes(text, "HugePages_Total:"), None);
        assert_eq!(kibibytes("", "MemAvailable:"), None);
    }

    #[test]
    fn dates_by_hand() {
        for (seconds, date) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59 UTC"),
            (1_798_761_600, "2027-01-01 00:00 UTC"),
        ] {
            assert_eq!(format_utc(seconds), date);
        }
    }
}
