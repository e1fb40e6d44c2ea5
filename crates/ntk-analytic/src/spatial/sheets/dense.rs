//! Sheets beside other layouts: all pairs row by row, and blocks of positions joined to one.

use std::sync::Arc;

use super::layout::{Layout, Run};
use super::real::Real;
use super::{CHUNK, Sheets, for_each};

/// Sheets that are copied together: their pairs with one position lie side by side in a row of a matrix.
const TOGETHER: usize = 16;

/// All runs of all sheets, near ones in a matrix one after another.
fn runs(layout: &Layout) -> impl Iterator<Item = (usize, Run)> {
    (0..layout.sheets()).step_by(TOGETHER).flat_map(move |first| {
        let sheets = first..layout.sheets().min(first + TOGETHER);
        (0..layout.sides()[0]).flat_map(move |y| {
            sheets
                .clone()
                .flat_map(move |sheet| layout.runs(sheet, y).map(|run| (sheet * layout.period(), run)))
        })
    })
}

impl<T: Real> Sheets<T> {
    /// D and, unless it does not travel, Θ of all pairs: entry p·P + p′, and 0 for offsets that are not kept.
    pub(crate) fn to_dense(&self) -> (Vec<f64>, Vec<f64>) {
        let positions = self.layout.positions();
        let copy = |from: &[T]| {
            let mut to = vec![0.0; if from.is_empty() { 0 } else { positions * positions }];
            for (sheet, Run { at, positions: [i, j], len }) in runs(&self.layout) {
                let from = from.get(sheet + at..sheet + at + len).unwrap_or_default();
                let to = to.get_mut(i * positions + j..).unwrap_or_default();
                to.iter_mut().step_by(positions + 1).zip(from).for_each(|(to, from)| *to = from.to_f64());
            }
            to
        };
        (copy(&self.distance), copy(&self.ntk))
    }

    /// D and Θ of the pairs of the same position.
    pub(crate) fn to_same(&self) -> (Vec<f64>, Vec<f64>) {
        let copy = |from: &[T]| {
            let place =
                |p: usize| self.layout.find(p, p).map(|(sheet, at)| sheet * self.layout.period() + at);
            let value = |p: usize| place(p).and_then(|at| from.get(at)).map_or(0.0, |v| v.to_f64());
            if from.is_empty() { Vec::new() } else { (0..self.layout.positions()).map(value).collect() }
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

    /// The inverse of [`Sheets::to_dense`]; an empty `ntk` does not travel.
    pub(crate) fn from_dense(layout: &Arc<Layout>, distance: &[f64], ntk: &[f64]) -> Self {
        let positions = layout.positions();
        let copy = |from: &[f64]| {
            let mut to = vec![T::ZERO; if from.is_empty() { 0 } else { layout.numbers() }];
            for (sheet, Run { at, positions: [i, j], len }) in runs(layout) {
                let to = to.get_mut(sheet + at..sheet + at + len).unwrap_or_default();
                let from = from.get(i * positions + j..).unwrap_or_default();
                to.iter_mut()
                    .zip(from.iter().step_by(positions + 1))
                    .for_each(|(to, &from)| *to = T::of(from));
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
        let pool = |numbers: &[T], spread: Option<[&[f64]; 2]>| {
            let mut pooled = vec![T::ZERO; if numbers.is_empty() { 0 } else { to.numbers() }];
            let items: Vec<_> = pooled.chunks_mut(CHUNK * to.period()).enumerate().collect();
            for_each(
                parallel,
                items,
                || vec![0.0; to.sides()[1]],
                |sums, (k, chunk)| {
                    for (sheet, out) in chunk.chunks_exact_mut(to.period()).enumerate() {
                        for run in (0..to.sides()[0]).flat_map(|y| to.runs(k * CHUNK + sheet, y)) {
                            let [i, j] = run.positions;
                            let sums = &mut sums[..run.len];
                            sums.fill(0.0);
                            add_blocks(
                                from,
                                numbers,
                                window,
                                [i, j].map(|p| corner(from, to, window, p)),
                                sums,
                            );
                            for (m, (out, sum)) in out[run.at..][..run.len].iter_mut().zip(sums).enumerate() {
                                let mean = *sum / (taps * taps);
                                // Distances are positive; tangent kernels may be anything.
                                let value = match spread {
                                    Some([x, y]) => (mean - 0.5 * (x[i + m] + y[j + m])).max(0.0),
                                    None => mean,
                                };
                                *out = T::of(scale * value);
                            }
                        }
                    }
                },
            );
            pooled
        };
        let (distance, ntk) = (pool(&self.distance, Some(spread)), pool(&self.ntk, None));
        Some(Sheets { layout: Arc::clone(to), distance, ntk })
    }

    /// Of the sheets of a sample with itself, the mean distance in each block of positions side by side; None if an
    /// offset inside a block is not kept.
    pub(crate) fn own_spread(&self, window: [usize; 2]) -> Option<Vec<f64>> {
        let [height, width] = self.layout.sides();
        let taps = window[0] * window[1];
        let block = |y: usize, x: usize| {
            let place = |k: usize| (y + k / window[1]) * width + x + k % window[1];
            (0..taps * taps).try_fold(0.0, |sum, k| {
                let (sheet, at) = self.layout.find(place(k / taps), place(k % taps))?;
                Some(sum + self.distance[sheet * self.layout.period() + at].to_f64() / (taps * taps) as f64)
            })
        };
        let corners = (0..height / window[0]).flat_map(|y| (0..width / window[1]).map(move |x| (y, x)));
        corners.map(|(y, x)| block(y * window[0], x * window[1])).collect()
    }
}

/// The first position of a block.
fn corner(from: &Layout, to: &Layout, window: [usize; 2], position: usize) -> usize {
    let width = to.sides()[1];
    position / width * window[0] * from.sides()[1] + position % width * window[1]
}

/// Adds to each sum all pairs of two blocks; those of the first sum begin at `corners`, the others follow in the row.
fn add_blocks<T: Real>(
    layout: &Layout,
    numbers: &[T],
    [rows, columns]: [usize; 2],
    corners: [usize; 2],
    sums: &mut [f64],
) {
    let width = layout.sides()[1];
    let place = |k: usize| k / columns * width + k % columns;
    let taps = rows * columns;
    for (a, b) in (0..taps).flat_map(|a| (0..taps).map(move |b| (a, b))) {
        if let Some((sheet, at)) = layout.find(corners[0] + place(a), corners[1] + place(b)) {
            let from = &numbers[sheet * layout.period() + at..];
            sums.iter_mut().zip(from.iter().step_by(columns)).for_each(|(sum, from)| *sum += from.to_f64());
        }
    }
}
