//! Sheets beside other layouts: all pairs row by row, and blocks of positions joined to one.

use std::sync::Arc;

use super::layout::{Layout, Run};
use super::real::Real;
use super::{CHUNK, Sheets, for_each};

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

    /// Sums over blocks side by side, times `weight`: with B positions in a block,
    /// D′(s, s′) = `weight`² B² (mean D − ½(spread_s + spread′_s′)) and Θ′ = `weight`² Σ Θ, where `spread` are the mean
    /// distances of each sample with itself in each block ([`Sheets::own_spread`]).
    ///
    /// None on a torus, for windows that do not divide the sides, and where an offset that `layout` keeps needs one
    /// that these sheets do not.
    pub(crate) fn pool(
        &self,
        window: [usize; 2],
        weight: f64,
        spread: [&[f64]; 2],
        layout: &Arc<Layout>,
        parallel: bool,
    ) -> Option<Self> {
        let (from, to) = (&self.layout, layout);
        let fits = (0..2).all(|axis| {
            let whole = to.reach()[axis] * window[axis] + window[axis] - 1;
            from.sides()[axis] == to.sides()[axis] * window[axis]
                && (from.reach()[axis] >= whole.min(from.sides()[axis] - 1))
        });
        if from.torus() || to.torus() || !fits {
            return None;
        }
        let taps = (window[0] * window[1]) as f64;
        let scale = weight * weight * taps * taps;
        let blocks = Blocks { from, to, window, offsets: offsets(from, window) };
        let pool = |numbers: &[T], spread: Option<[&[f64]; 2]>| {
            let mut pooled = vec![T::ZERO; if numbers.is_empty() { 0 } else { to.numbers() }];
            let items: Vec<_> = pooled.chunks_mut(CHUNK * to.period()).enumerate().collect();
            let work = || vec![0.0; to.sides()[1]];
            for_each(parallel, items, work, |sums, (k, chunk)| {
                for (sheet, out) in chunk.chunks_exact_mut(to.period()).enumerate() {
                    for run in (0..to.sides()[0]).flat_map(|y| to.runs(k * CHUNK + sheet, y)) {
                        let ([i, j], sums) = (run.positions, &mut sums[..run.len]);
                        blocks.sum(numbers, run, sums);
                        for (m, (out, sum)) in out[run.at..].iter_mut().zip(sums).enumerate() {
                            let spread = spread.map_or(0.0, |[x, y]| 0.5 * (x[i + m] + y[j + m]));
                            let mean = *sum / (taps * taps);
                            // What is left of equal samples is rounding.
                            let nothing = spread > 0.0 && mean - spread <= T::SNAP.to_f64() * (mean + spread);
                            *out = T::of(if nothing { 0.0 } else { scale * (mean - spread) });
                        }
                    }
                }
            });
            pooled
        };
        let (mut distance, ntk) = (pool(&self.distance, Some(spread)), pool(&self.ntk, None));
        distance.iter_mut().for_each(|d| *d = if *d < T::ZERO { T::ZERO } else { *d });
        Some(Sheets { layout: Arc::clone(to), distance, ntk })
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

/// Blocks of one layout that are the positions of another.
struct Blocks<'a> {
    from: &'a Layout,
    to: &'a Layout,
    window: [usize; 2],
    offsets: Vec<usize>,
}

impl Blocks<'_> {
    /// The place of the first position of a block.
    fn corner(&self, position: usize) -> usize {
        let width = self.to.sides()[1];
        position / width * self.window[0] * self.from.stride() + position % width * self.window[1]
    }

    /// For each pair of a run the sum over all pairs of the two blocks.
    fn sum<T: Real>(&self, numbers: &[T], run: Run, sums: &mut [f64]) {
        sums.fill(0.0);
        let [i, j] = run.positions.map(|position| self.corner(position));
        for (a, b) in self.offsets.iter().flat_map(|a| self.offsets.iter().map(move |b| (i + a, j + b))) {
            if let Some(sheet) = self.from.sheet(a, b) {
                let from = numbers[sheet * self.from.period() + a..].iter().step_by(self.window[1]);
                sums.iter_mut().zip(from).for_each(|(sum, from)| *sum += from.to_f64());
            }
        }
    }
}
