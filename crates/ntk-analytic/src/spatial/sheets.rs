//! `Sheets`: the covariances between all positions of one pair of images, fast.
//!
//! Convolutions of stride 1 with shared weights move both positions of a pair together, so the pairs (p, p + δ) of one
//! offset δ never meet those of another: a sheet of them goes through all layers in the first-level cache.
//!
//! Of each pair two numbers travel. The first is the distance D = ½E(u_p − v_p′)² = ½(q_p + q′_p′) − K, which is
//! linear under a convolution and without a bias, and of which ½(r − r′)² + rr′(1 − ρ), with r = √q, gives the gap
//! 1 − ρ that [`crate::dual`] maps. The second is the tangent kernel Θ.

mod dense;
mod kernel;
mod layout;
mod pool;
mod program;
mod real;
#[cfg(test)]
mod tests;

use std::sync::Arc;

#[cfg(feature = "rayon")]
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::dual::Prepared;
pub(crate) use layout::{Layout, Table};
pub(crate) use pool::Pooling;
use program::{Program, Scratch};
pub(crate) use real::Real;

/// Distances and tangent kernels of the pairs of positions of two samples; at places outside the grid both are 0.
#[derive(Clone, Debug)]
pub(crate) struct Sheets<T> {
    layout: Arc<Layout>,
    distance: Vec<T>,
    /// Empty where it is not asked for.
    ntk: Vec<T>,
}

/// One layer, with the numbers of the two samples (row, column) at hand.
#[derive(Clone, Copy)]
pub(crate) enum Step<'a, T> {
    /// A convolution of stride 1 that keeps the grid: D′ = σ_w² A(D), Θ′ = σ_w² A(Θ) + `direct` A(K) + `constant` with
    /// A the mean over the window. `roots` = √q of the input.
    Conv { window: [usize; 2], weight: f64, direct: f64, constant: f64, roots: [&'a Table<T>; 2] },
    /// An activation: `rows` and `columns` are the places of the first positions in the tables of `prepared`; roots of
    /// the variances before and after it.
    Activation {
        prepared: &'a dyn Prepared,
        rows: usize,
        columns: usize,
        input: [&'a Table<T>; 2],
        output: [&'a Table<T>; 2],
    },
    /// A factor for each position of each sample, u_p ← f_p u_p and Θ ← f_p f′_p′ Θ; roots before and after it.
    Scale { factors: [&'a Table<T>; 2], input: [&'a Table<T>; 2], output: [&'a Table<T>; 2] },
}

/// Samples as they enter, channel by channel, in the order that sheets read.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    channels: Vec<Vec<f64>>,
}

impl Image {
    /// From `channels` numbers at each position, position by position.
    pub(crate) fn new(layout: &Layout, x: &[f64], channels: usize) -> Self {
        let channel = |c: usize| {
            let values: Vec<f64> = x.iter().skip(c).step_by(channels).copied().collect();
            layout.spread(&values)
        };
        Image { channels: (0..channels).map(channel).collect() }
    }
}

/// Sheets that one thread takes at a time.
const CHUNK: usize = 8;

impl<T: Real> Sheets<T> {
    /// The steps done to D = Σ_c ½(x_c − y_c)²/C and, if it is asked for, Θ = 0; on all threads if `parallel`.
    pub(crate) fn from_input(
        layout: &Arc<Layout>,
        [x, y]: [&Image; 2],
        steps: &[Step<'_, T>],
        ntk: bool,
        parallel: bool,
    ) -> Self {
        let numbers = layout.numbers();
        let mut sheets = Sheets {
            layout: Arc::clone(layout),
            distance: vec![T::ZERO; numbers],
            ntk: vec![T::ZERO; if ntk { numbers } else { 0 }],
        };
        let program = Program::new(layout, steps);
        let work = || (Scratch::new(layout), Input::new(layout, x, y));
        sheets.each(parallel, work, |(scratch, input), sheet, distance, ntk| match &program {
            Some(program) => {
                let (d, t) = scratch.input(layout.period());
                input.write(sheet, d);
                t.fill(T::ZERO);
                program.run(sheet, scratch, distance, ntk);
            }
            None => input.write_inside(sheet, distance),
        });
        sheets
    }

    /// The pairs that are kept.
    pub(crate) fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// All steps, sheet by sheet, on all threads if `parallel`.
    pub(crate) fn run(&mut self, steps: &[Step<'_, T>], parallel: bool) {
        let layout = Arc::clone(&self.layout);
        let Some(program) = Program::new(&layout, steps) else { return };
        self.each(
            parallel,
            || Scratch::new(&layout),
            |scratch, sheet, distance, ntk| {
                let (d, t) = scratch.input(layout.period());
                d.copy_from_slice(distance);
                t[..ntk.len()].copy_from_slice(ntk);
                program.run(sheet, scratch, distance, ntk);
            },
        );
    }

    /// Does something to each sheet: to its distances and to its tangent kernels, none if they do not travel.
    fn each<W>(
        &mut self,
        parallel: bool,
        work: impl Fn() -> W + Send + Sync,
        f: impl Fn(&mut W, usize, &mut [T], &mut [T]) + Send + Sync,
    ) {
        let period = self.layout.period();
        let mut tangents = self.ntk.chunks_mut(CHUNK * period);
        let distances = self.distance.chunks_mut(CHUNK * period).enumerate();
        let items: Vec<_> =
            distances.map(|(k, d)| (k * CHUNK, d, tangents.next().unwrap_or_default())).collect();
        for_each(parallel, items, work, |work, (first, distances, ntk)| {
            let mut ntk = ntk.chunks_exact_mut(period);
            for (k, distance) in distances.chunks_exact_mut(period).enumerate() {
                f(work, first + k, distance, ntk.next().unwrap_or_default());
            }
        });
    }

    /// Σ D and Σ Θ over all pairs that are inside.
    pub(crate) fn totals(&self) -> (f64, f64) {
        let period = self.layout.period();
        let total = |x: &[T]| x.chunks(period).map(kernel::sum).sum();
        (total(&self.distance), total(&self.ntk))
    }
}

/// Σ D and Σ Θ after all steps, from the input and without keeping the sheets.
pub(crate) fn totals_of_input<T: Real>(
    layout: &Layout,
    [x, y]: [&Image; 2],
    steps: &[Step<'_, T>],
    ntk: bool,
    parallel: bool,
) -> (f64, f64) {
    let Some(program) = Program::new(layout, steps) else { return (0.0, 0.0) };
    let (period, sheets) = (layout.period(), layout.sheets());
    let mut totals = vec![(0.0, 0.0); sheets];
    let items: Vec<_> = totals.chunks_mut(CHUNK).enumerate().map(|(k, to)| (k * CHUNK, to)).collect();
    let work = || {
        let ntk = vec![T::ZERO; if ntk { period } else { 0 }];
        (Scratch::new(layout), Input::new(layout, x, y), vec![T::ZERO; period], ntk)
    };
    for_each(parallel, items, work, |(scratch, input, distance, ntk), (first, totals)| {
        for (k, total) in totals.iter_mut().enumerate() {
            let (d, t) = scratch.input(period);
            input.write(first + k, d);
            t.fill(T::ZERO);
            program.run(first + k, scratch, distance, ntk);
            *total = (kernel::sum(distance), kernel::sum(ntk));
        }
    });
    totals.iter().fold((0.0, 0.0), |sum, total| (sum.0 + total.0, sum.1 + total.1))
}

/// Does all items, each thread with its own working memory.
fn for_each<I: Send, W>(
    parallel: bool,
    items: Vec<I>,
    work: impl Fn() -> W + Send + Sync,
    f: impl Fn(&mut W, I) + Send + Sync,
) {
    #[cfg(feature = "rayon")]
    if parallel {
        return items.into_par_iter().for_each_init(work, f);
    }
    let _ = parallel;
    let mut work = work();
    items.into_iter().for_each(|item| f(&mut work, item));
}

/// Distances of two inputs, sheet by sheet.
struct Input<'a> {
    layout: &'a Layout,
    x: &'a Image,
    y: &'a Image,
    sums: Vec<f64>,
}

impl<'a> Input<'a> {
    fn new(layout: &'a Layout, x: &'a Image, y: &'a Image) -> Self {
        Input { layout, x, y, sums: vec![0.0; layout.period()] }
    }

    fn write<T: Real>(&mut self, sheet: usize, to: &mut [T]) {
        self.sums.fill(0.0);
        let (columns, from) = self.layout.slice(sheet);
        let scale = 0.5 / self.x.channels.len() as f64;
        let moved: Vec<Vec<f64>>;
        let second = if self.layout.torus() && columns > 0 {
            moved = self.y.channels.iter().map(|y| self.layout.shifted_values(y, columns)).collect();
            &moved
        } else {
            &self.y.channels
        };
        let channels = self.x.channels.iter().zip(second).map(|(x, y)| [&x[..], &y[from..]]);
        kernel::add_distances(channels, scale, &mut self.sums);
        to.iter_mut().zip(&self.sums).for_each(|(to, &sum)| *to = T::of(sum));
    }

    /// The same for pairs inside the grid.
    fn write_inside<T: Real>(&mut self, sheet: usize, to: &mut [T]) {
        let mut all = vec![T::ZERO; to.len()];
        self.write(sheet, &mut all);
        for run in (0..self.layout.sides()[0]).flat_map(|y| self.layout.runs(sheet, y)) {
            let places = run.at..run.at + run.len;
            to[places.clone()].copy_from_slice(&all[places]);
        }
    }
}
