//! Steps over sheets, in the order in which the loops of [`kernel`](super::kernel) do them best.
//!
//! Between the layers of a sheet there are two states. *Open*: D and Θ at the pairs inside the grid, anything
//! elsewhere. *Closed*: what a window may sum, that is multiples of D and of Θ with the share of K that the weights
//! add; beyond the edges what zeros there make of it, and the ends of the cycle repeated before and behind.

use super::Step;
use super::kernel::{self, Emit, Sides};
use super::layout::{LANES, Layout, Table, before, round_up};
use super::real::Real;
use crate::dual::Prepared;

/// A table for the row sample and, by its place in [`Program::columns`], one for the column sample.
struct Tables<'a, T> {
    row: &'a Table<T>,
    column: usize,
}

enum Op<'a, T> {
    /// Sums over a column of a window, closed to closed.
    Vertical { taps: usize },
    /// Sums over a row of a window, closed to open.
    Horizontal { taps: usize },
    /// Open to closed.
    Close { constant: T, emit: Emit<T>, roots: Tables<'a, T> },
    /// Sums over a row of a window of 1 or 3, and then an activation.
    ArcCosine { three: bool, form: Form<T>, constant: T, emit: Emit<T>, roots: Tables<'a, T>, closed: bool },
    /// An activation, or a scale for each sample.
    Dual {
        slope: Slope<'a, T>,
        constant: T,
        emit: Emit<T>,
        input: Tables<'a, T>,
        output: Tables<'a, T>,
        closed: bool,
    },
}

enum Form<T> {
    /// ReLU where all correlations are positive.
    Relu,
    Any([T; 2]),
}

enum Slope<'a, T> {
    Dual { prepared: &'a dyn Prepared, rows: usize, columns: usize },
    Factors(Tables<'a, T>),
}

/// The steps of one pair of samples.
pub(super) struct Program<'a, T> {
    layout: &'a Layout,
    ops: Vec<Op<'a, T>>,
    columns: Vec<&'a Table<T>>,
    /// What remains to be added to Θ at the end.
    constant: T,
    inside: Tables<'a, T>,
}

impl<'a, T: Real> Program<'a, T> {
    /// None where there is nothing to do.
    pub(super) fn new(layout: &'a Layout, steps: &[Step<'a, T>]) -> Option<Self> {
        let (mut ops, mut columns) = (Vec::new(), Vec::<&'a Table<T>>::new());
        let mut tables = |[row, column]: [&'a Table<T>; 2]| {
            let same = columns.iter().position(|other| std::ptr::eq(*other, column));
            let column = same.unwrap_or_else(|| {
                columns.push(column);
                columns.len() - 1
            });
            Tables { row, column }
        };
        let (mut constant, mut closed) = (T::ZERO, false);
        // Whether the next activation sees no correlation below 0: kernels of ReLU and |x| are positive.
        let (mut three, mut positive) = (false, false);
        for (k, step) in steps.iter().enumerate() {
            let (next, wanted) = match steps.get(k + 1) {
                Some(Step::Conv { window, weight, direct, .. }) => (true, emit(*window, *weight, *direct)),
                _ => (false, emit([1, 1], 1.0, 0.0)),
            };
            match *step {
                Step::Conv { window, weight, direct, constant: added, roots } => {
                    if !closed {
                        let emit = emit(window, weight, direct);
                        ops.push(Op::Close { constant, emit, roots: tables(roots) });
                    }
                    if window[0] > 1 {
                        ops.push(Op::Vertical { taps: window[0] });
                    }
                    let fused = matches!(steps.get(k + 1),
                        Some(Step::Activation { prepared, .. }) if prepared.arc_cosine().is_some());
                    three = fused && window[1] == 3;
                    if window[1] > 1 && !three {
                        ops.push(Op::Horizontal { taps: window[1] });
                    }
                    (constant, closed) = (T::of(added), false);
                }
                Step::Activation { prepared, rows, columns, input, output } => {
                    let roots = tables(input);
                    let relu = positive && !input.iter().any(|table| table.zeros);
                    ops.push(match prepared.arc_cosine() {
                        Some(form) => {
                            positive = form[1] >= 1.0;
                            let form = if relu && form == [0.5, 1.0] {
                                Form::Relu
                            } else {
                                Form::Any(form.map(T::of))
                            };
                            Op::ArcCosine { three, form, constant, emit: wanted, roots, closed: next }
                        }
                        None => {
                            positive = false;
                            let slope = Slope::Dual { prepared, rows, columns };
                            Op::Dual {
                                slope,
                                constant,
                                emit: wanted,
                                input: roots,
                                output: tables(output),
                                closed: next,
                            }
                        }
                    });
                    (constant, closed, three) = (T::ZERO, next, false);
                }
                Step::Scale { factors, input, output } => {
                    let slope = Slope::Factors(tables(factors));
                    let (input, output) = (tables(input), tables(output));
                    ops.push(Op::Dual { slope, constant, emit: wanted, input, output, closed: next });
                    (constant, closed) = (T::ZERO, next);
                }
            }
        }
        let inside = match *steps.first()? {
            Step::Conv { roots, .. } => roots,
            Step::Activation { input, .. } | Step::Scale { input, .. } => input,
        };
        let inside = tables(inside);
        Some(Program { layout, ops, columns, constant, inside })
    }
}

/// A mean over a window is a sum of shares.
fn emit<T: Real>(window: [usize; 2], weight: f64, direct: f64) -> Emit<T> {
    let taps = (window[0] * window[1]) as f64;
    Emit { distance: T::of(weight / taps), ntk: T::of(weight / taps), kernel: T::of(direct / taps) }
}

/// Numbers of a sheet with room before and behind, the first one at the beginning of a cache line.
struct Buffer<T> {
    numbers: Vec<T>,
    start: usize,
}

impl<T: Real> Buffer<T> {
    fn new(len: usize) -> Self {
        let numbers = vec![T::ZERO; len + LINE];
        let start = numbers.as_ptr().align_offset(LINE).min(LINE);
        Buffer { numbers, start }
    }

    fn get(&self) -> &[T] {
        &self.numbers[self.start..]
    }

    fn get_mut(&mut self) -> &mut [T] {
        &mut self.numbers[self.start..]
    }
}

/// Bytes of a cache line, and more numbers than it holds.
const LINE: usize = 64;

/// Distances or tangent kernels of the sheet at hand, before a loop and after it.
struct Tensor<T> {
    now: Buffer<T>,
    next: Buffer<T>,
}

impl<T: Real> Tensor<T> {
    fn swap(&mut self) {
        std::mem::swap(&mut self.now, &mut self.next);
    }
}

/// What one thread works with.
pub(super) struct Scratch<T> {
    distance: Tensor<T>,
    ntk: Tensor<T>,
    gaps: Vec<f64>,
    slopes: Vec<f64>,
    /// On a torus, the column tables moved by the columns in front.
    shifted: Option<(usize, Vec<Table<T>>)>,
    /// Where the first number of a sheet lies.
    lead: usize,
}

impl<T: Real> Scratch<T> {
    pub(super) fn new(layout: &Layout) -> Self {
        let [rows, columns] = layout.window();
        // A window reaches back by `before` rows and columns, and where the columns are summed after the rows, the
        // sums are wanted for a few more places.
        let lead = round_up(before(rows) * layout.stride()) + round_up(before(columns));
        let room = round_up((rows - 1) * layout.stride()) + 2 * round_up(columns) + 2 * LANES;
        let len = lead + layout.length() + room;
        let tensor = || Tensor { now: Buffer::new(len), next: Buffer::new(len) };
        Scratch {
            distance: tensor(),
            ntk: tensor(),
            gaps: vec![0.0; layout.length()],
            slopes: vec![0.0; layout.length()],
            shifted: None,
            lead,
        }
    }

    /// Room for the numbers of a sheet before the first step.
    pub(super) fn input(&mut self, period: usize) -> (&mut [T], &mut [T]) {
        let lead = self.lead;
        (&mut self.distance.now.get_mut()[lead..][..period], &mut self.ntk.now.get_mut()[lead..][..period])
    }

    fn tensors<const NTK: bool>(&mut self) -> impl Iterator<Item = &mut Tensor<T>> {
        [&mut self.distance, &mut self.ntk].into_iter().take(1 + usize::from(NTK))
    }

    /// Sums of `taps` numbers that lie `step` apart, for `len` places.
    fn sum<const NTK: bool>(&mut self, taps: usize, step: usize, first: usize, len: usize) {
        for Tensor { now, next } in self.tensors::<NTK>() {
            let from = &now.get()[first - before(taps) * step..];
            sum(taps, step, from, &mut next.get_mut()[first..][..len]);
            std::mem::swap(now, next);
        }
    }

    /// Distances and tangent kernels from place `first` on, where the next `n` go, and room for gaps and slopes.
    #[allow(clippy::type_complexity)] // Named, the three would be no clearer.
    fn split(&mut self, first: usize, n: usize) -> ([&[T]; 2], [&mut [T]; 2], [&mut [f64]; 2]) {
        let Scratch { distance: d, ntk: t, gaps, slopes, lead, .. } = self;
        (
            [&d.now.get()[first..], &t.now.get()[first..]],
            [&mut d.next.get_mut()[*lead..][..n], &mut t.next.get_mut()[*lead..][..n]],
            [gaps, slopes],
        )
    }
}

impl<T: Real> Program<'_, T> {
    /// All steps for one sheet, from [`Scratch::input`]; the results go to `distance` and, unless it is empty, `ntk`.
    pub(super) fn run(&self, sheet: usize, scratch: &mut Scratch<T>, distance: &mut [T], ntk: &mut [T]) {
        let columns = self.layout.slice(sheet).0;
        if self.layout.torus() && scratch.shifted.as_ref().is_none_or(|shifted| shifted.0 != columns) {
            let shifted = self.columns.iter().map(|table| self.layout.shifted(table, columns)).collect();
            scratch.shifted = Some((columns, shifted));
        }
        let shifted = scratch.shifted.take();
        let with = shifted.as_ref().map_or(&[][..], |shifted| &shifted.1);
        for op in &self.ops {
            if ntk.is_empty() {
                self.step::<false>(op, sheet, scratch, with);
            } else {
                self.step::<true>(op, sheet, scratch, with);
            }
        }
        let (roots, lead) = (self.sides(&self.inside, sheet, with), scratch.lead);
        kernel::inside(T::ZERO, &roots, &scratch.distance.now.get()[lead..], distance);
        if !ntk.is_empty() {
            kernel::inside(self.constant, &roots, &scratch.ntk.now.get()[lead..], ntk);
        }
        scratch.shifted = shifted;
    }

    fn sides<'s>(&'s self, tables: &'s Tables<'_, T>, sheet: usize, shifted: &'s [Table<T>]) -> Sides<'s, T> {
        let column = shifted.get(tables.column).unwrap_or(self.columns[tables.column]);
        let from = self.layout.slice(sheet).1;
        Sides {
            value: [&tables.row.value, &column.value[from..]],
            inverse: [&tables.row.inverse, &column.inverse[from..]],
        }
    }

    fn step<const NTK: bool>(
        &self,
        op: &Op<'_, T>,
        sheet: usize,
        scratch: &mut Scratch<T>,
        shifted: &[Table<T>],
    ) {
        let (lead, n, stride) = (scratch.lead, self.layout.length(), self.layout.stride());
        let sides = |tables| self.sides(tables, sheet, shifted);
        match op {
            Op::Vertical { taps } => {
                let columns = self.layout.window()[1];
                let first = lead - round_up(before(columns));
                let len = n + round_up(before(columns)) + round_up(columns);
                scratch.sum::<NTK>(*taps, stride, first, len);
            }
            Op::Horizontal { taps } => scratch.sum::<NTK>(*taps, 1, lead, n),
            Op::Close { constant, emit, roots } => {
                let ([d, t], [d_out, t_out], _) = scratch.split(lead, n);
                kernel::close::<T, NTK>(*constant, emit, &sides(roots), d, t, d_out, t_out);
                self.finish::<NTK>(scratch, true);
            }
            Op::ArcCosine { three, form, constant, emit, roots, closed } => {
                let ([d, t], [d_out, t_out], _) = scratch.split(lead - usize::from(*three), n);
                let roots = &sides(roots);
                match (form, three) {
                    (Form::Relu, false) => {
                        kernel::relu::<T, 1, NTK>(*constant, emit, roots, d, t, d_out, t_out)
                    }
                    (Form::Relu, true) => {
                        kernel::relu::<T, 3, NTK>(*constant, emit, roots, d, t, d_out, t_out)
                    }
                    (Form::Any(form), false) => {
                        kernel::arc_cosine::<T, 1, NTK>(*form, *constant, emit, roots, d, t, d_out, t_out)
                    }
                    (Form::Any(form), true) => {
                        kernel::arc_cosine::<T, 3, NTK>(*form, *constant, emit, roots, d, t, d_out, t_out)
                    }
                }
                self.finish::<NTK>(scratch, *closed);
            }
            Op::Dual { slope, constant, emit, input, output, closed } => {
                let ([d, t], [d_out, t_out], [gaps, slopes]) = scratch.split(lead, n);
                kernel::signed_gaps(&sides(input), d, gaps);
                match slope {
                    Slope::Factors(factors) => kernel::products(&sides(factors), slopes),
                    Slope::Dual { prepared, rows, columns } => {
                        for run in (0..self.layout.sides()[0]).flat_map(|y| self.layout.runs(sheet, y)) {
                            let places = run.at..run.at + run.len;
                            let slope = NTK.then(|| &mut slopes[places.clone()]);
                            let [i, j] = run.positions;
                            if run.len > 0 {
                                prepared.diagonal(rows + i, columns + j, &mut gaps[places], slope);
                            }
                        }
                    }
                }
                kernel::from_gaps::<T, NTK>(*constant, emit, &sides(output), gaps, slopes, t, d_out, t_out);
                self.finish::<NTK>(scratch, *closed);
            }
        }
    }

    /// Makes what was written the present, with its ends repeated if a window comes next.
    fn finish<const NTK: bool>(&self, scratch: &mut Scratch<T>, closed: bool) {
        let lead = scratch.lead;
        for tensor in scratch.tensors::<NTK>() {
            tensor.swap();
            if closed {
                self.wrap(tensor.now.get_mut(), lead);
            }
        }
    }

    fn wrap(&self, numbers: &mut [T], lead: usize) {
        let ([rows, columns], stride, period) =
            (self.layout.window(), self.layout.stride(), self.layout.period());
        if self.layout.torus() {
            let [height, width] = self.layout.sides();
            for y in 0..height {
                let row = lead + y * stride;
                let (right, left) = (columns - 1 - before(columns), before(columns));
                numbers.copy_within(row..row + right, row + width);
                // What lies before the first column of the next row.
                let next = lead + (y + 1) % height * stride;
                numbers.copy_within(next + width - left..next + width, row + width + right);
            }
        }
        let first = before(rows) * stride + before(columns);
        let last = (rows - 1) * stride + (columns - 1) - first;
        numbers.copy_within(lead + period - first..lead + period, lead - first);
        numbers.copy_within(lead..lead + last, lead + period);
    }
}

/// Sums of `taps` numbers that lie `step` apart.
fn sum<T: Real>(taps: usize, step: usize, from: &[T], to: &mut [T]) {
    if taps == 3 {
        return kernel::sum_of_three(step, from, to);
    }
    to.copy_from_slice(&from[..to.len()]);
    for tap in 1..taps {
        kernel::add(&from[tap * step..], to);
    }
}
