//! Pooling of blocks side by side, for states in sheets.

use std::sync::Arc;

use ntk_core::AxisMap;

use super::op::{Kind, Op};
use super::pass::{self, Samples};
use super::run::two;
use super::sheets::{Layout, Pooling, Real, Sheets};
use super::stage::{Of, Table, unless_rounding};
use super::state::{Form, State};

/// Blocks side by side of a state in sheets.
pub(crate) struct Pool {
    window: [usize; 2],
    weight: f64,
    layout: Arc<Layout>,
    own: Option<Arc<Layout>>,
    /// Mean distances of each sample with itself in each block.
    spread: Table,
    /// The same pooling as a map of positions, for states that are not in sheets.
    map: AxisMap,
}

/// A pooling of blocks, if states come in sheets and sheets can be pooled.
pub(crate) fn pool(op: &Op, samples: &mut Samples<'_>) -> Option<Pool> {
    let (frame, Kind::Mix { map, blocks: Some((sides, weight)), .. }) = (samples.frame?, &op.kind) else {
        return None;
    };
    // Without variances after it distances have no use, and where they have, the sample's own are needed.
    if !samples.sheets || frame.torus || op.need.own.is_none() || op.output.positions() == 1 {
        return None;
    }
    let window = two(sides)?;
    let layout = frame.layout(&op.output, &op.need.pairs)?;
    let own = op.need.own.as_ref().filter(|own| pass::wide(own));
    let own = match own {
        Some(own) => Some(frame.layout(&op.output, own)?),
        None => None,
    };
    let spreads: Option<Vec<Vec<f64>>> = samples.own.iter().map(|own| own.spread_of_blocks(window)).collect();
    let spread = Table::new(op.output.positions(), spreads.filter(|s| !s.is_empty())?.concat());
    let taps = (window[0] * window[1]) as f64;
    let read = |from: &Table| {
        let one = |i: usize| {
            let q = from.of(i);
            map.rows.iter().map(move |row| row.iter().map(|&(p, w)| w * q[p]).sum::<f64>())
        };
        Table::new(map.rows.len(), (0..from.samples()).flat_map(one).collect())
    };
    let stage = Pool { window, weight: *weight, layout, own, spread, map: map.clone() };
    let scale = weight * weight * taps * taps;
    samples.variance =
        read(&samples.variance).zip(&stage.spread, |q, s| (weight * taps * q - scale * s).max(0.0));
    samples.mean = samples.mean.as_ref().map(read);
    if stage.own.is_some() {
        pass::for_each_own(&mut samples.own, |(i, own)| stage.run_own(own, i));
    } else {
        samples.own.clear();
    }
    Some(stage)
}

impl Pool {
    /// The pooling of a pair of samples.
    pub(super) fn pooling<'a>(&'a self, layout: &'a Arc<Layout>, of: Of) -> Pooling<'a> {
        let spread = [self.spread.of(of.i), self.spread.of(of.j)];
        Pooling { window: self.window, weight: self.weight, spread, layout }
    }

    /// What comes out of pairs of samples.
    pub(super) fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    fn pooled<T: Real>(&self, sheets: &Sheets<T>, layout: &Arc<Layout>, of: Of) -> Option<Sheets<T>> {
        let pooling = self.pooling(layout, of);
        pooling.fits(sheets.layout()).then(|| pooling.of_sheets(sheets, &[], of.parallel))
    }

    /// Positions that come out.
    pub(super) fn outputs(&self) -> usize {
        self.map.rows.len()
    }

    pub(super) fn run_own(&self, state: &mut State, i: usize) {
        let of = Of::own(i);
        let pooled = match (&self.own, &state.form) {
            (Some(layout), Form::Double(sheets)) => self.pooled(sheets, layout, of).map(Form::Double),
            _ => None,
        };
        self.put(state, pooled, of);
    }

    /// Pools a pair of samples.
    pub(crate) fn run(&self, state: &mut State, of: Of) {
        if of.own {
            return self.run_own(state, of.i);
        }
        let pooled = match &state.form {
            Form::Single(sheets) => self.pooled(sheets, &self.layout, of).map(Form::Single),
            Form::Double(sheets) => self.pooled(sheets, &self.layout, of).map(Form::Double),
            Form::Dense | Form::Input(_) => None,
        };
        self.put(state, pooled, of);
    }

    /// The state as pooled sheets, or pooled row by row where there are none.
    fn put(&self, state: &mut State, pooled: Option<Form>, of: Of) {
        match pooled {
            Some(form) => (state.positions, state.form) = (self.outputs(), form),
            None => {
                state.dense(of);
                *state = state.mix([&self.map, &self.map]);
                let taps = (self.window[0] * self.window[1]) as f64;
                let half = 0.5 * self.weight * self.weight * taps * taps;
                let (a, b) = (self.spread.of(of.i), self.spread.of(of.j));
                state.each(|p, r, value, _| {
                    let both = half * (a[p] + b[r]);
                    *value = unless_rounding(*value - both, *value + both, of.same && p == r);
                });
            }
        }
    }
}
