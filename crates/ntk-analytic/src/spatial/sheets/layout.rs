//! `Layout`: where the pairs of positions with one offset lie in memory.
//!
//! Zeros beyond the edges need no edges: a grid of H×W followed by k_y − 1 rows and k_x − 1 columns of zeros, read as
//! one cyclic sequence of N = (H + k_y − 1)(W + k_x − 1) numbers, has a zero wherever a k_y×k_x window leaves the
//! grid. So one offset δ in ℤ_N is a sheet of N pairs (i, i + δ), a window a handful of offsets that are the same
//! for all i, and what the column sample has at i + δ a contiguous slice of a table of twice the length.
//!
//! A torus keeps its H rows; a sheet there is an offset of both coordinates, and the last k_x − 1 columns repeat the
//! opposite edge.

use super::real::Real;
use crate::lane::vectorized;

/// Lengths of loops are multiples of this: a register of f32 at the widest.
pub(super) const LANES: usize = 16;

pub(super) fn round_up(n: usize) -> usize {
    n.next_multiple_of(LANES)
}

/// Positions before the center of a window; those after it are the rest.
pub(super) fn before(window: usize) -> usize {
    (window - 1) / 2
}

/// The pairs of positions of two samples on one grid, by offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    sides: [usize; 2],
    reach: [usize; 2],
    /// The largest window of a convolution, along each axis.
    window: [usize; 2],
    torus: bool,
    /// Numbers in a row of a sheet.
    stride: usize,
    /// Numbers in a sheet.
    period: usize,
    /// Offset of each sheet: flat, and (rows, columns) on a torus.
    offsets: Vec<[usize; 2]>,
    /// Sheet of a flat offset or, on a torus, of rows·W + columns; `usize::MAX` where none is kept.
    index: Vec<usize>,
}

/// Pairs side by side in a row of a sheet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// First place in the sheet.
    pub(super) at: usize,
    /// First positions of the two samples.
    pub(super) positions: [usize; 2],
    pub(super) len: usize,
}

impl Layout {
    /// A layout that keeps the offsets up to `reach` along each axis (and others where that costs nothing), for
    /// convolutions with windows up to `window`; None for windows that a torus is too small for.
    pub(crate) fn new(sides: [usize; 2], reach: [usize; 2], window: [usize; 2], torus: bool) -> Option<Self> {
        if torus && (window[0] > sides[0] || window[1] > sides[1]) {
            return None;
        }
        let reach = [reach[0].min(sides[0] - 1), reach[1].min(sides[1] - 1)];
        let stride = sides[1] + window[1] - 1;
        let period = stride * if torus { sides[0] } else { sides[0] + window[0] - 1 };
        let (mut offsets, mut index) = (Vec::new(), vec![usize::MAX; period]);
        let signed = |axis: usize| {
            let reach = reach[axis] as isize;
            -reach..=reach
        };
        let mut keep = vec![false; period];
        for (rows, columns) in signed(0).flat_map(|y| signed(1).map(move |x| (y, x))) {
            let flat = if torus {
                let [y, x] = [(rows, 0), (columns, 1)].map(|(d, axis)| d.rem_euclid(sides[axis] as isize));
                // By columns, so that sheets that share a shifted table follow one another.
                x * sides[0] as isize + y
            } else {
                (rows * stride as isize + columns).rem_euclid(period as isize)
            };
            keep[flat as usize] = true;
        }
        for flat in (0..period).filter(|&flat| keep[flat]) {
            index[flat] = offsets.len();
            offsets.push(if torus { [flat % sides[0], flat / sides[0]] } else { [flat, 0] });
        }
        Some(Layout { sides, reach, window, torus, stride, period, offsets, index })
    }

    /// Rows and columns of the grid.
    pub(crate) fn sides(&self) -> [usize; 2] {
        self.sides
    }

    /// Largest offsets asked for.
    pub(crate) fn reach(&self) -> [usize; 2] {
        self.reach
    }

    /// Whether opposite edges touch.
    pub(crate) fn torus(&self) -> bool {
        self.torus
    }

    /// Positions of a sample.
    pub(crate) fn positions(&self) -> usize {
        self.sides[0] * self.sides[1]
    }

    /// Numbers in each of the two tensors.
    pub(crate) fn numbers(&self) -> usize {
        self.offsets.len() * self.period
    }

    pub(super) fn window(&self) -> [usize; 2] {
        self.window
    }

    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    pub(super) fn period(&self) -> usize {
        self.period
    }

    /// The period in whole registers.
    pub(super) fn length(&self) -> usize {
        round_up(self.period)
    }

    pub(super) fn sheets(&self) -> usize {
        self.offsets.len()
    }

    /// For a torus, the columns by which a table is shifted for this sheet; and where its slice begins.
    pub(super) fn slice(&self, sheet: usize) -> (usize, usize) {
        let [first, columns] = self.offsets[sheet];
        if self.torus { (columns, first * self.stride) } else { (0, first) }
    }

    /// The pairs of row `y` of a sheet, in two runs that may be empty.
    pub(super) fn runs(&self, sheet: usize, y: usize) -> [Run; 2] {
        let ([height, width], at) = (self.sides, y * self.stride);
        let [first, columns] = self.offsets[sheet];
        let run = |x: usize, row: usize, x2: usize, end: usize| {
            let len = if row < height { (end.min(width)).saturating_sub(x) } else { 0 };
            let positions = if len > 0 { [y * width + x, row * width + x2] } else { [0, 0] };
            Run { at: at + x, positions, len }
        };
        if self.torus {
            let row = (y + first) % height;
            return [run(0, row, columns, width - columns), run(width - columns, row, 0, width)];
        }
        let j = (at + first) % self.period;
        let (row, column) = (j / self.stride, j % self.stride);
        let below = if (row + 1) * self.stride == self.period { 0 } else { row + 1 };
        [run(0, row, column, width.saturating_sub(column)), run(self.stride - column, below, 0, width)]
    }

    /// Where the numbers of a position lie in a sheet.
    pub(super) fn place(&self, position: usize) -> usize {
        position / self.sides[1] * self.stride + position % self.sides[1]
    }

    /// The sheet of a pair of places, if it is kept.
    pub(super) fn sheet(&self, at: usize, other: usize) -> Option<usize> {
        let flat = if self.torus {
            let apart = |side: usize, from: usize, to: usize| (to + side - from) % side;
            let rows = apart(self.sides[0], at / self.stride, other / self.stride);
            apart(self.sides[1], at % self.stride, other % self.stride) * self.sides[0] + rows
        } else if other >= at {
            other - at
        } else {
            other + self.period - at
        };
        let sheet = self.index[flat];
        (sheet != usize::MAX).then_some(sheet)
    }

    /// A quantity at each position of one sample, or its roots, in the order that sheets read.
    pub(crate) fn table<T: Real, const ROOTS: bool>(&self, from: &[f64]) -> Table<T> {
        let [mut value, mut inverse] = [self.zeros(), self.zeros()];
        let width = self.sides[1];
        for (y, from) in from.chunks_exact(width).enumerate() {
            let at = y * self.stride..y * self.stride + width;
            fill::<T, ROOTS>(from, &mut value[at.clone()], &mut inverse[at]);
        }
        self.repeat(&mut value);
        self.repeat(&mut inverse);
        Table { value, inverse, zeros: from.contains(&0.0) }
    }

    /// The table of a torus moved by some columns.
    pub(super) fn shifted<T: Real>(&self, table: &Table<T>, columns: usize) -> Table<T> {
        Table {
            value: self.shifted_values(&table.value, columns),
            inverse: self.shifted_values(&table.inverse, columns),
            zeros: table.zeros,
        }
    }

    pub(super) fn shifted_values<T: Real>(&self, from: &[T], columns: usize) -> Vec<T> {
        let (mut to, width) = (vec![T::ZERO; from.len()], self.sides[1]);
        for (to, from) in to.chunks_exact_mut(self.stride).zip(from.chunks_exact(self.stride)) {
            to[..width - columns].copy_from_slice(&from[columns..width]);
            to[width - columns..width].copy_from_slice(&from[..columns]);
        }
        to
    }

    /// Zeros beyond the grid, and all of it twice where offsets go beyond the end.
    pub(super) fn spread<T: Real>(&self, values: &[f64]) -> Vec<T> {
        let mut to = self.zeros();
        for (to, row) in to.chunks_exact_mut(self.stride).zip(values.chunks_exact(self.sides[1])) {
            to.iter_mut().zip(row).for_each(|(to, &value)| *to = T::of(value));
        }
        self.repeat(&mut to);
        to
    }

    fn twice(&self) -> bool {
        self.offsets.last().is_some_and(|last| *last != [0, 0])
    }

    fn zeros<T: Real>(&self) -> Vec<T> {
        vec![T::ZERO; self.length() + LANES + if self.twice() { self.period } else { 0 }]
    }

    fn repeat<T: Real>(&self, numbers: &mut [T]) {
        if self.twice() {
            numbers.copy_within(..self.period, self.period);
        }
    }
}

vectorized! {
    /// Numbers or, if asked, their roots; and the inverses.
    fn fill[T: Real, const ROOTS: bool][T, ROOTS](from: &[f64], values: &mut [T], inverses: &mut [T]) {
        let n = from.len();
        let (values, inverses) = (&mut values[..n], &mut inverses[..n]);
        for i in 0..n {
            let value = if ROOTS { from[i].sqrt() } else { from[i] };
            values[i] = T::of(value);
            inverses[i] = T::of(1.0 / if value > 0.0 { value } else { 1.0 });
        }
    }
}

/// A quantity at the positions of one sample; outside the grid it is 0 and so is `inverse`, which is positive inside.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table<T> {
    pub(super) value: Vec<T>,
    pub(super) inverse: Vec<T>,
    /// Whether it is 0 somewhere inside.
    pub(super) zeros: bool,
}
