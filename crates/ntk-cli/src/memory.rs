//! How much memory may be taken: what was asked for, or what the system has.

use std::fs;
use std::str::FromStr;

use crate::error::Error;

/// A number of bytes, written as `800M` or `4G`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bytes(pub(crate) usize);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("a number of bytes is written as 800M, 4G or 500000000, not {text:?}");
        let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match text[number.len()..].to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "k" | "kb" => 1e3,
            "m" | "mb" => 1e6,
            "g" | "gb" => 1e9,
            "t" | "tb" => 1e12,
            "kib" => 1024.0,
            "mib" => 1024f64.powi(2),
            "gib" => 1024f64.powi(3),
            _ => return Err(wrong()),
        };
        let bytes = number.parse::<f64>().map_err(|_| wrong())? * unit;
        if (1.0..1e18).contains(&bytes) { Ok(Bytes(bytes as usize)) } else { Err(wrong()) }
    }
}

/// Refuses what needs more than the bound or, without one, than the system has to give.
pub(crate) fn check(needed: usize, bound: Option<Bytes>) -> Result<(), Error> {
    match bound.map(|Bytes(bound)| bound).or_else(available) {
        Some(bound) if needed > bound => {
            Err(Error::Memory { needed: in_words(needed), bound: in_words(bound) })
        }
        _ => Ok(()),
    }
}

/// Bytes that the system can give without swapping, where it tells.
fn available() -> Option<usize> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// A number of bytes as `1.5 GB`.
pub(crate) fn in_words(bytes: usize) -> String {
    let bytes = bytes as f64;
    match bytes {
        b if b < 1e3 => format!("{b} B"),
        b if b < 1e6 => format!("{:.1} kB", b / 1e3),
        b if b < 1e9 => format!("{:.1} MB", b / 1e6),
        b => format!("{:.2} GB", b / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_by_hand() {
        for (text, bytes) in
            [("17", 17), ("800M", 800_000_000), ("1.5GiB", 3 << 29), ("2k", 2000), ("4GB", 4_000_000_000)]
        {
            assert_eq!(text.parse(), Ok(Bytes(bytes)));
        }
        for text in ["", "G", "-1M", "0", "4X", "1e30", "nan", "4 G"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(check(1000, Some(Bytes(1000))).is_ok());
        let message = check(2_000_000, Some(Bytes(1000))).unwrap_err().to_string();
        assert!(message.starts_with("2.0 MB of memory are needed and 1.0 kB may be taken"), "{message}");
    }
}
