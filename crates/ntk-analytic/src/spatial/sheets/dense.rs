//! Sheets beside other layouts: all pairs row by row, and the pairs inside of blocks of positions.

use std::sync::Arc;

use super::Sheets;
use super::layout::{Layout, Run};
use super::real::Real;

/// Sheets and positions that are copied together: their pairs lie side by side in a few rows of a matrix.
const TOGETHER: (usize, usize) = (16, 8);

/// All runs of all sheets in pieces that are near in a matrix, each with the first number of its sheet.
fn for_each_piece(layout: &Layout, mut f: impl FnMut(usize, Run)) {
    let ([height, width], stride) = (layout.sides(), layout.stride());
    for first in (0..layout.sheets()).step_by(TOGETHER.0) {
        let sheets = first..layout.sheets().min(first + TOGETHER.0);
        for y in 0..height {
            let runs: Vec<(usize, Run)> = sheets
                .clone()
                .flat_map(|sheet| layout.runs(sheet, y).map(|run| (sheet * layout.period(), run)))
                .filter(|(_, run)| run.len > 0)
                .collect();
            for x in (0..width).step_by(TOGETHER.1).map(|x| y * stride + x) {
                for &(sheet, Run { at, positions: [i, j], len }) in &runs {
                    let (start, end) = (at.max(x), (at + len).min(x + TOGETHER.1));
                    if start < end {
                        let positions = [i + start - at, j + start - at];
                        f(sheet, Run { at: start, positions, len: end - start });
                    }
                }
            }
        }
    }
}

impl<T: Real> Sheets<T> {
    /// D and, unless it does not travel, Θ of all pairs: entry p·P + p′, and 0 for offsets that are not kept.
    pub(crate) fn to_dense(&self) -> (Vec<f64>, Vec<f64>) {
        let positions = self.layout.positions();
        let copy = |from: &[T]| {
            let mut to = vec![0.0; if from.is_empty() { 0 } else { positions * positions }];
            if !from.is_empty() {
                for_each_piece(&self.layout, |sheet, Run { at, positions: [i, j], len }| {
                    let to = to[i * positions + j..].iter_mut().step_by(positions + 1);
                    to.zip(&from[sheet + at..][..len]).for_each(|(to, from)| *to = from.to_f64());
                });
            }
            to
        };
        (copy(&self.distance), copy(&self.ntk))
    }

    /// D and Θ of the pairs of the same position.
    pub(crate) fn to_same(&self) -> (Vec<f64>, Vec<f64>) {
        // Offset 0 is the first one of all, and always kept.
        let place = |p: usize| self.layout.place(p);
        let copy = |from: &[T]| -> Vec<f64> {
            let positions = if from.is_empty() { 0 } else { self.layout.positions() };
            (0..positions).map(|p| from[place(p)].to_f64()).collect()
        };
        (copy(&self.distance), copy(&self.ntk))
    }

    /// Adds `weight` times other sheets of the same layout; false if they are of another.
    pub(crate) fn add(&mut self, other: &Self, weight: f64) -> bool {
        let same = self.layout == other.layout && self.ntk.len() == other.ntk.len();
        if same {
            let weight = T::of(weight);
            for (to, from) in [(&mut self.distance, &other.distance), (&mut self.ntk, &other.ntk)] {
                to.iter_mut().zip(from).for_each(|(to, &from)| *to = *to + weight * from);
            }
        }
        same
    }

    /// Multiplies all numbers.
    pub(crate) fn scale(&mut self, weight: f64) {
        let weight = T::of(weight);
        self.distance.iter_mut().chain(&mut self.ntk).for_each(|value| *value = *value * weight);
    }

    /// The inverse of [`Sheets::to_same`]; an empty `ntk` does not travel.
    pub(crate) fn from_same(layout: &Arc<Layout>, distance: &[f64], ntk: &[f64]) -> Self {
        let copy = |from: &[f64]| {
            let mut to = vec![T::ZERO; if from.is_empty() { 0 } else { layout.numbers() }];
            for (p, &value) in from.iter().enumerate() {
                // Offset 0 is the first sheet.
                to[layout.place(p)] = T::of(value);
            }
            to
        };
        Sheets { layout: Arc::clone(layout), distance: copy(distance), ntk: copy(ntk) }
    }

    /// The inverse of [`Sheets::to_dense`]; an empty `ntk` does not travel.
    pub(crate) fn from_dense(layout: &Arc<Layout>, distance: &[f64], ntk: &[f64]) -> Self {
        let positions = layout.positions();
        let copy = |from: &[f64]| {
            let mut to = vec![T::ZERO; if from.is_empty() { 0 } else { layout.numbers() }];
            if !from.is_empty() {
                for_each_piece(layout, |sheet, Run { at, positions: [i, j], len }| {
                    let from = from[i * positions + j..].iter().step_by(positions + 1);
                    to[sheet + at..][..len].iter_mut().zip(from).for_each(|(to, &from)| *to = T::of(from));
                });
            }
            to
        };
        Sheets { layout: Arc::clone(layout), distance: copy(distance), ntk: copy(ntk) }
    }

    /// Of the sheets of a sample with itself, the mean distance in each block of positions side by side; None if an
    /// offset inside a block is not kept.
    pub(crate) fn own_spread(&self, window: [usize; 2]) -> Option<Vec<f64>> {
        let [height, width] = self.layout.sides();
        let taps = window[0] * window[1];
        let offsets = offsets(&self.layout, window);
        let block = |y: usize, x: usize| {
            let at = self.layout.place(y * width + x);
            (0..taps * taps).try_fold(0.0, |sum, k| {
                let (a, b) = (at + offsets[k / taps], at + offsets[k % taps]);
                let number = self.distance[self.layout.sheet(a, b)? * self.layout.period() + a];
                Some(sum + number.to_f64() / (taps * taps) as f64)
            })
        };
        let corners = (0..height / window[0]).flat_map(|y| (0..width / window[1]).map(move |x| (y, x)));
        corners.map(|(y, x)| block(y * window[0], x * window[1])).collect()
    }
}

/// The places of a block, from its first one on.
fn offsets(layout: &Layout, [rows, columns]: [usize; 2]) -> Vec<usize> {
    (0..rows).flat_map(|y| (0..columns).map(move |x| y * layout.stride() + x)).collect()
}
