//! Axes, linear or logarithmic, with ticks at round numbers.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::prelude::Ranged;
use serde::{Deserialize, Serialize};

use crate::number::{show, superscript};

/// How distances on an axis measure numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// By differences.
    Linear,
    /// By ratios.
    Log,
}

/// An axis of a figure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Axis {
    /// What it measures, with its unit.
    pub label: String,
    /// Its scale.
    pub scale: Scale,
}

impl Axis {
    /// Whether a value has a place on the axis.
    pub(super) fn shows(&self, value: f64) -> bool {
        value.is_finite() && (self.scale == Scale::Linear || value > 0.0)
    }

    /// The axis over a range of values, with a margin on both sides.
    pub(super) fn over(&self, [low, high]: [f64; 2]) -> Coordinate {
        let (log, place) =
            (self.scale == Scale::Log, |v: f64| if self.scale == Scale::Log { v.log10() } else { v });
        let (low, high) = (place(low), place(high));
        let span = high - low;
        let margin = if span > 0.0 { 0.04 * span } else { (0.1 * low.abs()).max(0.5) };
        Coordinate { log, low: low - margin, high: high + margin }
    }
}

/// The places low … high on paper; on a logarithmic axis they are decimal logarithms.
#[derive(Clone, Debug)]
pub(super) struct Coordinate {
    log: bool,
    low: f64,
    high: f64,
}

impl Coordinate {
    fn value(&self, place: f64) -> f64 {
        if self.log { 10f64.powf(place) } else { place }
    }

    /// The value moved onto the axis where it lies beyond its ends, as the foot of an error bar may.
    pub(super) fn clamp(&self, value: f64) -> f64 {
        value.clamp(self.value(self.low), self.value(self.high))
    }

    /// At most about `count` round numbers on the axis.
    fn ticks(&self, count: usize) -> Vec<f64> {
        let count = count.max(2) as f64;
        if !self.log {
            return multiples(self.low, self.high, round_step((self.high - self.low) / count));
        }
        let stride = ((self.high - self.low) / count).ceil().max(1.0);
        let decades = multiples(self.low.floor(), self.high, stride);
        // Over less than two decades their multiples by 2 and 5 are needed too.
        let factors: &[f64] = if self.high - self.low < 2.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let all = decades.iter().flat_map(|d| factors.iter().map(|f| f * 10f64.powf(*d)));
        all.filter(|v| (self.low..=self.high).contains(&v.log10())).collect()
    }
}

/// 1, 2 or 5 times a power of ten, the smallest that is not below `least`.
fn round_step(least: f64) -> f64 {
    let decade = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|f| f * decade).into_iter().find(|&s| s >= least).unwrap_or(least)
}

fn multiples(low: f64, high: f64, step: f64) -> Vec<f64> {
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    (first..=last).map(|i| i as f64 * step).collect()
}

impl Ranged for Coordinate {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let place = if self.log { value.log10() } else { *value };
        let share = (place - self.low) / (self.high - self.low);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // Light grid lines between the bold ones are not drawn.
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks(hint.max_num_points()) }
    }

    fn range(&self) -> Range<f64> {
        self.value(self.low)..self.value(self.high)
    }
}

impl ValueFormatter<f64> for Coordinate {
    fn format_ext(&self, value: &f64) -> String {
        let exponent = value.abs().log10();
        if self.log && !(-2.5..4.5).contains(&exponent) && exponent.round() == (exponent * 1e6).round() / 1e6
        {
            return format!("10{}", superscript(&exponent.round().to_string()));
        }
        // Away from zero, rounding noise of the step has no place on the label.
        let noise = (self.high - self.low).abs() * 1e-9;
        show(if !self.log && value.abs() < noise { 0.0 } else { *value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, low: f64, high: f64) -> Vec<String> {
        let axis = Axis { label: String::new(), scale }.over([low, high]);
        axis.ticks(6).iter().map(|v| axis.format_ext(v)).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(labels(Scale::Linear, 0.0, 1.0), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        assert_eq!(labels(Scale::Linear, -2.0, 3.0), ["−2", "−1", "0", "1", "2", "3"]);
        assert_eq!(labels(Scale::Log, 16.0, 512.0), ["20", "50", "100", "200", "500"]);
        assert_eq!(labels(Scale::Log, 1e-4, 1.0), ["10⁻⁴", "10⁻³", "0.01", "0.1", "1"]);
        assert_eq!(labels(Scale::Log, 1e-12, 1.0), ["10⁻¹²", "10⁻⁹", "10⁻⁶", "10⁻³", "1"]);
    }

    #[test]
    fn the_ends_map_to_the_ends() {
        let axis = Axis { label: String::new(), scale: Scale::Log }.over([1.0, 100.0]);
        assert_eq!([1.0, 10.0, 100.0].map(|v| axis.map(&v, (0, 1080))), [40, 540, 1040]);
    }
}
