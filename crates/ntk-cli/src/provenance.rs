//! What is stored beside every matrix: where it comes from, so that it can be made again.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// Program, version, command line and date, with what the command adds.
pub(crate) fn of(details: Value) -> Value {
    let command = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    let mut all = json!({
        "program": "ntk",
        "version": env!("CARGO_PKG_VERSION"),
        "arguments": command.collect::<Vec<_>>(),
        "date": now(),
    });
    if let (Value::Object(all), Value::Object(details)) = (&mut all, details) {
        all.extend(details);
    }
    all
}

/// Now, as `2026-01-31T23:59:00Z`.
fn now() -> String {
    utc(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// Days to a date by the 400-year cycle of the Gregorian calendar, years beginning in March.
fn utc(seconds: u64) -> String {
    let (days, in_day) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let in_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let date = in_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + era * 400 + next;
    let (hour, minute, second) = (in_day / 3_600, in_day % 3_600 / 60, in_day % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn dates_by_hand() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_798_761_600, "2027-01-01T00:00:00Z"),
        ] {
            assert_eq!(utc(seconds), date);
        }
    }
}
