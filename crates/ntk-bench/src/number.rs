//! Numbers in reports: to four digits or in the unit that fits for readers, and in JSON without loss of NaN and ±∞.

/// Four significant digits; powers of ten outside 10⁻³ … 10⁶.
pub(crate) fn show(x: f64) -> String {
    let size = x.abs();
    if x == 0.0 {
        return "0".to_owned();
    }
    if !x.is_finite() {
        return if x.is_nan() {
            "NaN".to_owned()
        } else {
            format!("{}∞", if x < 0.0 { "−" } else { "" })
        };
    }
    let text = if (1e-3..1e6).contains(&size) {
        let decimals = (3 - size.log10().floor() as i32).max(0) as usize;
        let text = format!("{x:.decimals$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    } else {
        let text = format!("{x:.3e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
        format!("{mantissa}·10{}", superscript(exponent))
    };
    text.replace('-', "−")
}

/// A time in the largest unit that it fills one and a half times: `55 s`, `12 minutes`, `10 hours`, `160 days`.
pub(crate) fn duration(seconds: f64) -> String {
    let units = [(86_400.0, "days"), (3600.0, "hours"), (60.0, "minutes")];
    let (length, unit) = units.into_iter().find(|(length, _)| seconds >= 1.5 * length).unwrap_or((1.0, "s"));
    format!("{:.0} {unit}", seconds / length)
}

/// Digits and signs raised: `-12` → `⁻¹²`.
pub(crate) fn superscript(digits: &str) -> String {
    let raise = |c: char| match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        '0' | '4'..='9' => char::from_u32('⁰' as u32 + c as u32 - '0' as u32).unwrap_or(c),
        _ => c,
    };
    digits.chars().map(raise).collect()
}

/// Serde for a number that may be NaN or infinite, which JSON lacks: those are written as strings.
pub(crate) mod lossless {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Wire {
        Number(f64),
        Text(String),
    }

    pub(crate) fn serialize<S: Serializer>(x: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        if x.is_finite() { x.serialize(serializer) } else { x.to_string().serialize(serializer) }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        match Wire::deserialize(deserializer)? {
            Wire::Number(x) => Ok(x),
            Wire::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{duration, show};

    #[test]
    fn numbers_are_shown_to_four_digits() {
        for (x, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (-0.5, "−0.5"),
            (1234.5678, "1235"),
            (0.012344, "0.01234"),
            (99999.6, "100000"),
            (2.5e-7, "2.5·10⁻⁷"),
            (-3e12, "−3·10¹²"),
            (f64::NEG_INFINITY, "−∞"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(show(x), text);
        }
    }

    #[test]
    fn times_have_the_unit_that_fits() {
        for (seconds, text) in [
            (0.4, "0 s"),
            (89.0, "89 s"),
            (90.0, "2 minutes"),
            (5000.0, "83 minutes"),
            (36_000.0, "10 hours"),
            (1.4e7, "162 days"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }
}
