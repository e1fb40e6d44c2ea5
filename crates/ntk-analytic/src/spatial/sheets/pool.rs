//! Blocks of positions side by side joined to one, each sheet as it comes: what is pooled need not be kept.

use std::sync::Arc;

#[cfg(feature = "rayon")]
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

use super::layout::{Layout, Run};
use super::program::{Program, Scratch};
use super::real::Real;
use super::{Image, Input, Sheets, Step, kernel};

/// Sums over blocks side by side, times `weight`: with B positions in a block,
/// D′(s, s′) = `weight`² B² (mean D − ½(spread_s + spread′_s′)) and Θ′ = `weight`² Σ Θ.
pub(crate) struct Pooling<'a> {
    pub(crate) window: [usize; 2],
    pub(crate) weight: f64,
    /// The mean distances of each sample with itself in each block ([`Sheets::own_spread`]).
    pub(crate) spread: [&'a [f64]; 2],
    /// What comes out.
    pub(crate) layout: &'a Arc<Layout>,
}

/// Sums of D and of Θ for the pairs of blocks.
type Sums = [Vec<f64>; 2];

impl Pooling<'_> {
    /// Whether sheets of this layout can be pooled: not on a torus, nor where the window does not divide the sides or
    /// an offset that comes out needs one that is not kept.
    pub(crate) fn fits(&self, from: &Layout) -> bool {
        let to = self.layout;
        let axis = |axis: usize| {
            let whole = to.reach()[axis] * self.window[axis] + self.window[axis] - 1;
            from.sides()[axis] == to.sides()[axis] * self.window[axis]
                && (from.reach()[axis] >= whole.min(from.sides()[axis] - 1))
        };
        !from.torus() && !to.torus() && axis(0) && axis(1)
    }

    /// The place of the block of each position.
    fn blocks(&self, from: &Layout) -> Vec<usize> {
        let (to, [rows, columns], width) = (self.layout, self.window, from.sides()[1]);
        let block = |p: usize| to.place(p / width / rows * to.sides()[1] + p % width / columns);
        (0..from.positions()).map(block).collect()
    }

    /// Adds the numbers of one sheet, D and Θ, to those of their pairs of blocks.
    fn add<T: Real>(
        &self,
        blocks: &[usize],
        from: &Layout,
        sheet: usize,
        numbers: [&[T]; 2],
        sums: &mut Sums,
    ) {
        let (to, columns) = (self.layout, self.window[1]);
        for Run { at, positions: [i, j], len } in (0..from.sides()[0]).flat_map(|y| from.runs(sheet, y)) {
            // Pairs that lie the width of a window apart belong to pairs of blocks side by side.
            for first in 0..columns.min(len) {
                let (a, b) = (blocks[i + first], blocks[j + first]);
                let Some(sheet) = to.sheet(a, b) else { continue };
                let count = (len - first).div_ceil(columns);
                for (numbers, sums) in
                    numbers.iter().zip(&mut *sums).filter(|(numbers, _)| !numbers.is_empty())
                {
                    let sums = &mut sums[sheet * to.period() + a..][..count];
                    kernel::add_every(columns, &numbers[at + first..at + len], sums);
                }
            }
        }
    }

    fn finish<T: Real>(&self, [mut distance, mut ntk]: Sums) -> Sheets<T> {
        let to = self.layout;
        let taps = (self.window[0] * self.window[1]) as f64;
        let scale = self.weight * self.weight;
        let [x, y] = self.spread;
        for (sheet, sums) in distance.chunks_exact_mut(to.period()).enumerate() {
            for Run { at, positions: [i, j], len } in (0..to.sides()[0]).flat_map(|y| to.runs(sheet, y)) {
                for m in 0..len {
                    let spread = 0.5 * (x[i + m] + y[j + m]);
                    let mean = sums[at + m] / (taps * taps);
                    // What is left of equal samples is rounding.
                    let nothing = spread > 0.0 && mean - spread <= T::SNAP.to_f64() * (mean + spread);
                    let rest = if nothing { 0.0 } else { mean - spread };
                    sums[at + m] = (scale * taps * taps * rest).max(0.0);
                }
            }
        }
        ntk.iter_mut().for_each(|sum| *sum *= scale);
        let all = |sums: Vec<f64>| sums.into_iter().map(T::of).collect();
        Sheets { layout: Arc::clone(to), distance: all(distance), ntk: all(ntk) }
    }

    /// Pools sheets that `f` writes one after another, D and, if it travels, Θ; on all threads if `parallel`.
    fn of<T: Real, W: Send>(
        &self,
        from: &Layout,
        ntk: bool,
        parallel: bool,
        work: impl Fn() -> W + Send + Sync,
        f: impl Fn(&mut W, usize, &mut [T], &mut [T]) + Send + Sync,
    ) -> Sheets<T> {
        let blocks = self.blocks(from);
        let tangents = |len: usize| if ntk { len } else { 0 };
        let start = || {
            let (period, numbers) = (from.period(), self.layout.numbers());
            let sheet = [vec![T::ZERO; period], vec![T::ZERO; tangents(period)]];
            (work(), sheet, [vec![0.0; numbers], vec![0.0; tangents(numbers)]])
        };
        let one = |(mut work, [mut distance, mut ntk], mut sums): (W, [Vec<T>; 2], Sums), sheet: usize| {
            f(&mut work, sheet, &mut distance, &mut ntk);
            self.add(&blocks, from, sheet, [&distance, &ntk], &mut sums);
            (work, [distance, ntk], sums)
        };
        #[cfg(feature = "rayon")]
        if parallel {
            // A part for each thread, since each has sums of its own.
            let least = from.sheets().div_ceil(rayon::current_num_threads());
            let parts = (0..from.sheets()).into_par_iter().with_min_len(least).fold(start, one);
            let total = parts.map(|(_, _, sums)| sums).reduce_with(|mut a, b| {
                for (a, b) in a.iter_mut().zip(b) {
                    a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
                }
                a
            });
            return self.finish(total.unwrap_or_default());
        }
        let _ = parallel;
        self.finish((0..from.sheets()).fold(start(), one).2)
    }

    /// The pooled layers after the input: [`Sheets::from_input`].
    pub(crate) fn of_input<T: Real>(
        &self,
        from: &Layout,
        [x, y]: [&Image; 2],
        steps: &[Step<'_, T>],
        ntk: bool,
        parallel: bool,
    ) -> Sheets<T> {
        let program = Program::new(from, steps);
        let work = || (Scratch::new(from), Input::new(from, x, y));
        self.of(from, ntk, parallel, work, |(scratch, input), sheet, distance, tangents| match &program {
            Some(program) => {
                let (d, t) = scratch.input(from.period());
                input.write(sheet, d);
                t.fill(T::ZERO);
                program.run(sheet, scratch, distance, tangents);
            }
            None => input.write_inside(sheet, distance),
        })
    }

    /// The pooled layers after sheets.
    pub(crate) fn of_sheets<T: Real>(
        &self,
        sheets: &Sheets<T>,
        steps: &[Step<'_, T>],
        parallel: bool,
    ) -> Sheets<T> {
        let from = &sheets.layout;
        let (period, program) = (from.period(), Program::new(from, steps));
        let work = || Scratch::new(from);
        self.of(from, !sheets.ntk.is_empty(), parallel, work, |scratch, sheet, distance, ntk| {
            let at = sheet * period..(sheet + 1) * period;
            let (first, second) = (&sheets.distance[at.clone()], sheets.ntk.get(at).unwrap_or_default());
            match &program {
                Some(program) => {
                    let (d, t) = scratch.input(period);
                    d.copy_from_slice(first);
                    t[..second.len()].copy_from_slice(second);
                    program.run(sheet, scratch, distance, ntk);
                }
                None => {
                    distance.copy_from_slice(first);
                    ntk.copy_from_slice(second);
                }
            }
        })
    }
}
