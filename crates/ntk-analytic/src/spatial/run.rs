//! Runs of layers that sheets carry: which ones they are, and how the samples' numbers reach them.

use std::sync::Arc;

use ntk_core::{Grid, Padding};
#[cfg(feature = "rayon")]
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::blocks::Pool;
use super::op::{Kind, Numbers, Op, Reach};
use super::pass::{self, Samples};
use super::sheets::{self, Image, Layout, Real, Sheets, Step};
use super::stage::{Of, Stage, Table};
use super::state::{Form, State};
use super::windows::averaged;
use crate::dual::Prepared;
use crate::{Error, Precision};

/// What all runs of a network have in common.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    /// The largest window.
    window: [usize; 2],
    /// Whether opposite edges touch.
    pub(super) torus: bool,
    pub(crate) precision: Precision,
}

impl Frame {
    /// Of a network whose windows agree on what stands beyond the edges; none where sheets have no use.
    pub(crate) fn new(op: &Op, precision: Precision) -> Option<Self> {
        let mut windows = Vec::new();
        collect(op, &mut windows);
        let (mut window, torus) = ([1, 1], windows.iter().any(|(_, padding)| *padding == Padding::Circular));
        for (sides, padding) in windows {
            if (padding == Padding::Circular) != torus {
                return None;
            }
            let sides = two(sides)?;
            window = [window[0].max(sides[0]), window[1].max(sides[1])];
        }
        Some(Frame { window, torus, precision })
    }

    /// The layout of a grid, with pairs up to `reach`.
    pub(super) fn layout(self, grid: &Grid, reach: &Reach) -> Option<Arc<Layout>> {
        let sides = two(grid.sides())?;
        // An axis before the only one has no offsets.
        let reach = if let [reach] = reach[..] { [0, reach] } else { two(reach)? };
        Layout::new(sides, reach, self.window, self.torus).map(Arc::new)
    }
}

/// One or two numbers as two.
pub(super) fn two(values: &[usize]) -> Option<[usize; 2]> {
    match *values {
        [x] => Some([1, x]),
        [y, x] => Some([y, x]),
        _ => None,
    }
}

fn collect<'a>(op: &'a Op, windows: &mut Vec<(&'a [usize], Padding)>) {
    match &op.kind {
        Kind::Conv { sliding: Some(window), padding, .. } => windows.push((window, *padding)),
        Kind::Serial(ops) | Kind::Product(ops) | Kind::Join { ops, .. } => {
            ops.iter().for_each(|op| collect(op, windows));
        }
        Kind::Sum { ops, .. } => ops.iter().for_each(|(_, op)| collect(op, windows)),
        _ => {}
    }
}

/// Whether sheets carry this op.
fn carried(op: &Op) -> bool {
    match &op.kind {
        Kind::Conv { sliding, .. } => sliding.is_some(),
        Kind::Affine(_) | Kind::Activation { .. } => true,
        Kind::LayerNorm { groups, center, .. } => {
            !center && groups.iter().enumerate().all(|(k, &group)| k == group)
        }
        _ => false,
    }
}

/// How many of these ops make one run, if any.
pub(crate) fn length(ops: &[Op], samples: &Samples<'_>) -> Option<usize> {
    let first = ops.first()?;
    let layout = samples.frame?.layout(&first.input, &first.need.pairs);
    if samples.lengths.is_some() || samples.covariances || first.input.positions() == 1 || layout.is_none() {
        return None;
    }
    let count = ops.iter().take_while(|op| carried(op)).count();
    let windows = ops[..count].iter().any(|op| matches!(op.kind, Kind::Conv { .. }));
    // Changing over to sheets costs as much as a layer.
    (count > 0 && (windows || samples.entering || samples.sheets)).then_some(count)
}

/// How a run ends.
enum End {
    /// In sheets.
    Keep,
    /// In sheets of blocks.
    Pool(Box<Pool>),
    /// In a weighted sum over all pairs that are kept: that of a global pool, or the mean of a flatten.
    Total {
        scale: f64,
        /// Σ of K over the sample's part of Σ ½(q + q′): covariances come out, from variances summed for each sample.
        covariances: Option<Vec<f64>>,
        /// Half of the spread of each sample, where distances come out.
        spread: Vec<f64>,
    },
}

/// A run with the numbers of the samples at hand.
pub(crate) struct Run {
    own: Option<Carrier<f64>>,
    pairs: Pairs,
    end: End,
    steps: Vec<Layer>,
    positions: usize,
}

enum Pairs {
    Single(Carrier<f32>),
    Double(Carrier<f64>),
}

/// Roots of the variances before the first layer and after each, for one layout and precision.
struct Carrier<T> {
    layout: Arc<Layout>,
    /// `roots[sample][k]`; empty where no step reads it.
    roots: Vec<Vec<sheets::Table<T>>>,
    /// Factors of the layers that scale, in the same order.
    factors: Vec<Vec<sheets::Table<T>>>,
    /// The samples themselves, where the run reads the input.
    images: Option<Vec<Image>>,
}

enum Layer {
    Conv { window: [usize; 2], numbers: Numbers },
    Activation(Box<dyn Prepared>),
    Scale(usize),
}

/// Makes a stage of a run of ops, and of the pooling of all positions that follows if there is one: `total`.
///
/// # Errors
/// As [`pass::pass`].
pub(crate) fn pass(
    ops: &[Op],
    total: Option<&Op>,
    samples: &mut Samples<'_>,
) -> Result<Option<Stage>, Error> {
    let (Some(frame), Some(first), Some(last)) = (samples.frame, ops.first(), ops.last()) else {
        return Ok(None);
    };
    let Some(layout) = frame.layout(&first.input, &first.need.pairs) else { return Ok(None) };
    let own = first.need.own.as_ref().filter(|own| pass::wide(own));
    let own_layout = match own {
        Some(own) if !samples.own.is_empty() => match frame.layout(&first.input, own) {
            Some(layout) => Some(layout),
            None => return Ok(None),
        },
        _ => None,
    };
    let (positions, entering) = (first.input.positions(), samples.entering);
    let mut variances: Vec<Option<Table>> = vec![None; ops.len() + 1];
    let (mut steps, mut factors) = (Vec::new(), Vec::new());
    let keep = |slot: &mut Option<Table>, samples: &Samples<'_>| *slot = Some(samples.variance.clone());
    // Variances alone; what a sample makes of itself follows in one go.
    let inner = std::mem::take(&mut samples.own);
    for (k, op) in ops.iter().enumerate() {
        // An activation leaves sheets as the convolution behind it wants them, which then asks for no variances.
        if !matches!(
            (&op.kind, steps.last()),
            (Kind::Conv { .. } | Kind::Affine(_), Some(Layer::Activation(_) | Layer::Scale(_)))
        ) {
            keep(&mut variances[k], samples);
        }
        match &op.kind {
            Kind::Conv { numbers, axes, sliding, .. } => {
                samples.variance = averaged(&samples.variance, axes, *numbers);
                samples.mean = None;
                let window = sliding.as_deref().and_then(two).unwrap_or([1, 1]);
                steps.push(Layer::Conv { window, numbers: *numbers });
            }
            Kind::Affine(numbers) => {
                samples.variance = samples.variance.map(|q| numbers.weight * q + numbers.bias);
                samples.mean = None;
                steps.push(Layer::Conv { window: [1, 1], numbers: *numbers });
            }
            Kind::Activation { phi, rule } => {
                steps.push(Layer::Activation(pass::activate(op, phi, rule.as_ref(), samples)?));
            }
            _ => {
                // The only other op that is carried is a layer norm of the channels.
                let Stage::LayerNorm { factor, .. } = pass::pass(op, samples)? else { return Ok(None) };
                steps.push(Layer::Scale(factors.len()));
                factors.push(factor);
            }
        }
        samples.check_finite(&op.at)?;
        let reads_output = match steps.last() {
            Some(Layer::Activation(prepared)) => prepared.arc_cosine().is_none(),
            Some(Layer::Scale(_)) => true,
            _ => false,
        };
        if reads_output {
            keep(&mut variances[k + 1], samples);
        }
    }
    // A layer norm was passed as a layer of its own, which says that the input is behind it.
    (samples.own, samples.entering) = (inner, entering);
    let own = own_layout.map(|layout| Carrier::new(layout, &variances, &factors, samples));
    let pairs = match frame.precision {
        Precision::F64 => Pairs::Double(Carrier::new(layout, &variances, &factors, samples)),
        Precision::F32 => Pairs::Single(Carrier::new(layout, &variances, &factors, samples)),
    };
    let mut run = Run { own, pairs, end: End::Keep, steps, positions };
    if run.own.is_some() {
        let one = |(i, own): (usize, &mut State)| run.carry_own(own, i);
        pass::for_each_own(&mut samples.own, one);
    }
    (samples.entering, samples.sheets) = (false, true);
    if !last.need.own.as_ref().is_some_and(pass::wide) {
        samples.own.clear();
    }
    if let Some(op) = total {
        run.end = end(op, positions, samples);
        pass::finish(op, samples);
        samples.sheets = false;
    }
    Ok(Some(Stage::Run(Box::new(run))))
}

/// The sum that a global pool or a flatten asks for; the samples become those of its output.
fn end(op: &Op, positions: usize, samples: &mut Samples<'_>) -> End {
    let n = positions as f64;
    // Of a map with one row, all of whose weights are equal.
    let (weight, pairs) = match &op.kind {
        Kind::Mix { map, .. } => (map.rows.first().and_then(|row| row.first()).map_or(0.0, |(_, w)| *w), n),
        _ => (1.0 / n.sqrt(), 1.0),
    };
    let scale = weight * weight;
    let count = samples.variance.samples();
    let sums: Vec<f64> = (0..count).map(|i| samples.variance.of(i).iter().sum()).collect();
    let covariances = op.need.own.is_none();
    let spread: Vec<f64> =
        (0..count).map(|i| samples.own.get(i).map_or(0.0, |own| 0.5 * scale * own.total().0)).collect();
    let mean = |table: &Table| {
        let factor = if pairs == 1.0 { 1.0 / n } else { weight };
        Table::new(1, (0..count).map(|i| factor * table.of(i).iter().sum::<f64>()).collect())
    };
    samples.mean = samples.mean.as_ref().map(mean);
    let variance = sums.iter().zip(&spread).map(|(q, s)| (scale * pairs * q - 2.0 * s).max(0.0)).collect();
    samples.variance = Table::new(1, variance);
    samples.covariances = covariances;
    let halves = sums.iter().map(|q| 0.5 * scale * pairs * q).collect();
    End::Total { scale, covariances: covariances.then_some(halves), spread }
}

/// Whether an op ends a run in one sum.
pub(crate) fn is_total(op: &Op, samples: &Samples<'_>) -> bool {
    samples.lengths.is_none()
        && match &op.kind {
            Kind::Mix { global, .. } => global.is_some(),
            Kind::Flatten => true,
            _ => false,
        }
}

impl<T: Real> Carrier<T> {
    fn new(
        layout: Arc<Layout>,
        variances: &[Option<Table>],
        factors: &[Table],
        samples: &Samples<'_>,
    ) -> Self {
        let one = |i: usize| {
            let root = |q: &Option<Table>| {
                q.as_ref().map_or_else(sheets::Table::default, |q| layout.table::<T, true>(q.of(i)))
            };
            let roots: Vec<sheets::Table<T>> = variances.iter().map(root).collect();
            (roots, factors.iter().map(|f| layout.table::<T, false>(f.of(i))).collect::<Vec<_>>())
        };
        let count = samples.variance.samples();
        #[cfg(feature = "rayon")]
        let (roots, factors) = (0..count).into_par_iter().map(one).unzip();
        #[cfg(not(feature = "rayon"))]
        let (roots, factors) = (0..count).map(one).unzip();
        let images = samples.entering.then(|| samples.inputs.images(&layout)).flatten();
        Carrier { layout, roots, factors, images }
    }

    fn steps<'a>(&'a self, layers: &'a [Layer], of: Of, positions: usize) -> Vec<Step<'a, T>> {
        let two = |tables: &'a [Vec<sheets::Table<T>>], k: usize| [&tables[of.i][k], &tables[of.j][k]];
        let step = |(k, layer): (usize, &'a Layer)| {
            let (input, output) = (two(&self.roots, k), two(&self.roots, k + 1));
            match layer {
                Layer::Conv { window, numbers } => Step::Conv {
                    window: *window,
                    weight: numbers.weight,
                    direct: numbers.direct,
                    constant: numbers.bias_direct,
                    roots: input,
                },
                Layer::Activation(prepared) => {
                    let (rows, columns) = (of.i * positions, of.j * positions);
                    Step::Activation { prepared: prepared.as_ref(), rows, columns, input, output }
                }
                Layer::Scale(k) => Step::Scale { factors: two(&self.factors, *k), input, output },
            }
        };
        layers.iter().enumerate().map(step).collect()
    }

    /// The images to start from, where nothing came before.
    fn input(&self, state: &State, of: Of) -> Option<[&Image; 2]> {
        let images = self.images.as_ref().filter(|_| matches!(state.form, Form::Input(_)))?;
        Some([&images[of.i], &images[of.j]])
    }

    /// Sheets of a state of any other form.
    fn sheets(&self, state: &mut State, of: Of, taken: Option<Sheets<T>>) -> Sheets<T> {
        match taken {
            Some(sheets) if *sheets.layout() == self.layout => sheets,
            Some(sheets) => {
                let (distance, ntk) = sheets.to_dense();
                Sheets::from_dense(&self.layout, &distance, &ntk)
            }
            None => {
                state.dense(of);
                match state.full {
                    true => Sheets::from_dense(&self.layout, &state.values, &state.ntk),
                    false => Sheets::from_same(&self.layout, &state.values, &state.ntk),
                }
            }
        }
    }

    /// All steps, from a state of any form.
    fn carry(&self, state: &mut State, of: Of, taken: Option<Sheets<T>>, steps: &[Step<'_, T>]) -> Sheets<T> {
        if let Some(images) = self.input(state, of) {
            return Sheets::from_input(&self.layout, images, steps, state.wants_ntk, of.parallel);
        }
        let mut sheets = self.sheets(state, of, taken);
        sheets.run(steps, of.parallel);
        sheets
    }
}

impl Run {
    /// Carries the covariances of a sample with itself through, in double precision.
    fn carry_own(&self, state: &mut State, i: usize) {
        let Some(carrier) = &self.own else {
            // Nobody reads more than the same position, whose distance from itself is 0.
            *state = State::same(self.outputs());
            return;
        };
        let of = Of::own(i);
        let taken = state.take_double();
        let steps = carrier.steps(&self.steps, of, self.positions);
        let sheets = carrier.carry(state, of, taken, &steps);
        if matches!(self.end, End::Total { .. }) {
            *state = State::same(1);
            return;
        }
        (state.values, state.ntk) = (Vec::new(), Vec::new());
        state.form = Form::Double(sheets);
        if let End::Pool(pool) = &self.end {
            pool.run_own(state, i);
        }
    }

    /// Positions that come out.
    fn outputs(&self) -> usize {
        match &self.end {
            End::Keep => self.positions,
            End::Pool(pool) => pool.outputs(),
            End::Total { .. } => 1,
        }
    }

    /// Whether this pooling can be done to each sheet as it is written.
    pub(crate) fn takes(&self, pool: &Pool) -> bool {
        let layout = match &self.pairs {
            Pairs::Single(carrier) => &carrier.layout,
            Pairs::Double(carrier) => &carrier.layout,
        };
        matches!(self.end, End::Keep) && pool.pooling(pool.layout(), Of::own(0)).fits(layout)
    }

    /// Pools what comes out.
    pub(crate) fn pool(&mut self, pool: Pool) {
        self.end = End::Pool(Box::new(pool));
    }

    /// The largest error bound of a quadrature.
    pub(crate) fn quadrature_error(&self) -> f64 {
        let error = |layer: &Layer| match layer {
            Layer::Activation(prepared) => prepared.error(),
            Layer::Conv { .. } | Layer::Scale(_) => 0.0,
        };
        self.steps.iter().map(error).fold(0.0, f64::max)
    }

    /// Carries a pair of samples through.
    pub(crate) fn run(&self, state: &mut State, of: Of) {
        if of.own {
            return self.carry_own(state, of.i);
        }
        match &self.pairs {
            Pairs::Single(carrier) => {
                let taken = state.take_single();
                self.through(carrier, taken, state, of, Form::Single);
            }
            Pairs::Double(carrier) => {
                let taken = state.take_double();
                self.through(carrier, taken, state, of, Form::Double);
            }
        }
    }

    fn through<T: Real>(
        &self,
        carrier: &Carrier<T>,
        taken: Option<Sheets<T>>,
        state: &mut State,
        of: Of,
        form: fn(Sheets<T>) -> Form,
    ) {
        let steps = carrier.steps(&self.steps, of, self.positions);
        let input = carrier.input(state, of);
        let keep = |state: &mut State, sheets: Sheets<T>| {
            (state.values, state.ntk) = (Vec::new(), Vec::new());
            (state.positions, state.form) = (self.outputs(), form(sheets));
        };
        let total = match (&self.end, input) {
            (End::Total { .. }, Some(images)) => {
                sheets::totals_of_input(&carrier.layout, images, &steps, state.wants_ntk, of.parallel)
            }
            (End::Total { .. }, None) => carrier.carry(state, of, taken, &steps).totals(),
            (End::Keep, _) => {
                let sheets = carrier.carry(state, of, taken, &steps);
                return keep(state, sheets);
            }
            (End::Pool(pool), input) => {
                let pooling = pool.pooling(pool.layout(), of);
                let sheets = match input {
                    Some(images) => {
                        pooling.of_input(&carrier.layout, images, &steps, state.wants_ntk, of.parallel)
                    }
                    None => pooling.of_sheets(&carrier.sheets(state, of, taken), &steps, of.parallel),
                };
                return keep(state, sheets);
            }
        };
        let End::Total { scale, covariances, spread } = &self.end else { return };
        let distance = scale * total.0;
        let value = match covariances {
            // What has no variance has no covariance, to the last digit.
            Some(halves) if halves[of.i] == 0.0 || halves[of.j] == 0.0 => 0.0,
            Some(halves) => halves[of.i] + halves[of.j] - distance,
            None if of.i == of.j => 0.0,
            None => (distance - spread[of.i] - spread[of.j]).max(0.0),
        };
        *state = State {
            positions: 1,
            full: true,
            covariances: covariances.is_some(),
            values: vec![value],
            ntk: if state.wants_ntk { vec![scale * total.1] } else { Vec::new() },
            wants_ntk: state.wants_ntk,
            form: Form::Dense,
        };
    }
}
