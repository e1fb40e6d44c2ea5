//! The covariances of a pair of samples between positions, and what each kind of layer does to them.
//!
//! Two forms. As long as a variance is read later, an entry is the *distance* D = ½E(u − v)² = ½(q + q′) − K: it is
//! linear under every sum of independent parts, a bias drops out of it, and nearly equal positions keep their digits.
//! After that it is the covariance K itself.

use std::sync::Arc;

use ntk_core::AxisMap;

use super::inputs::Inputs;
use super::sheets::Sheets;
use super::stage::Of;
use crate::lane::vectorized;

/// Where the entries of a pair of samples are.
#[derive(Clone)]
pub(crate) enum Form {
    /// In [`State::values`] and [`State::ntk`].
    Dense,
    /// Nowhere yet: they are those of the input.
    Input(Arc<Inputs>),
    /// In sheets, of single precision.
    Single(Sheets<f32>),
    /// In sheets, of double precision.
    Double(Sheets<f64>),
}

/// Entries of one pair of samples.
#[derive(Clone)]
pub(crate) struct State {
    /// Positions of each sample.
    pub(crate) positions: usize,
    /// All pairs of positions, row by row; otherwise the same position in both samples.
    pub(crate) full: bool,
    /// Covariances; otherwise distances.
    pub(crate) covariances: bool,
    /// Distances or covariances.
    pub(crate) values: Vec<f64>,
    /// Tangent kernels; empty if nobody asks.
    pub(crate) ntk: Vec<f64>,
    /// Whether somebody asks.
    pub(crate) wants_ntk: bool,
    pub(crate) form: Form,
}

/// Numbers for each position of a sample, one slice for the sample of the rows and one for that of the columns.
pub(crate) type Two<'a> = [&'a [f64]; 2];

impl State {
    /// A sample with itself, the same position in both.
    pub(crate) fn same(positions: usize) -> Self {
        State {
            positions,
            full: positions == 1,
            covariances: false,
            values: vec![0.0; positions],
            ntk: Vec::new(),
            wants_ntk: false,
            form: Form::Dense,
        }
    }

    /// The distances of a pair of inputs, all pairs of positions or the same position in both.
    pub(crate) fn input(inputs: &Arc<Inputs>, full: bool, wants_ntk: bool) -> Self {
        State {
            positions: inputs.positions(),
            full: full || inputs.positions() == 1,
            covariances: false,
            values: Vec::new(),
            ntk: Vec::new(),
            wants_ntk,
            form: Form::Input(Arc::clone(inputs)),
        }
    }

    /// Entries row by row from now on.
    pub(crate) fn dense(&mut self, of: Of) {
        (self.values, self.ntk) = match std::mem::replace(&mut self.form, Form::Dense) {
            Form::Dense => return,
            Form::Input(inputs) => inputs.distances(of, self.full, self.wants_ntk),
            Form::Single(sheets) if self.full => sheets.to_dense(),
            Form::Double(sheets) if self.full => sheets.to_dense(),
            Form::Single(sheets) => sheets.to_same(),
            Form::Double(sheets) => sheets.to_same(),
        };
    }

    /// The sheets of single precision, if it has some.
    pub(crate) fn take_single(&mut self) -> Option<Sheets<f32>> {
        match std::mem::replace(&mut self.form, Form::Dense) {
            Form::Single(sheets) => Some(sheets),
            other => {
                self.form = other;
                None
            }
        }
    }

    /// The sheets of double precision, if it has some.
    pub(crate) fn take_double(&mut self) -> Option<Sheets<f64>> {
        match std::mem::replace(&mut self.form, Form::Dense) {
            Form::Double(sheets) => Some(sheets),
            other => {
                self.form = other;
                None
            }
        }
    }

    /// Σ D and Σ Θ over all pairs.
    pub(crate) fn total(&self) -> (f64, f64) {
        match &self.form {
            Form::Single(sheets) => sheets.totals(),
            Form::Double(sheets) => sheets.totals(),
            Form::Dense | Form::Input(_) => (self.values.iter().sum(), self.ntk.iter().sum()),
        }
    }

    /// The mean distance in each block side by side of a sample with itself; none if it is not in sheets.
    pub(crate) fn spread_of_blocks(&self, window: [usize; 2]) -> Option<Vec<f64>> {
        match &self.form {
            Form::Double(sheets) => sheets.own_spread(window),
            _ => None,
        }
    }

    /// Calls `f` with the positions of every entry, its value and its tangent kernel (0 if nobody asks).
    pub(crate) fn each(&mut self, mut f: impl FnMut(usize, usize, &mut f64, &mut f64)) {
        let (width, full) = (self.positions, self.full);
        let mut nothing = 0.0;
        for (k, value) in self.values.iter_mut().enumerate() {
            let (p, q) = if full { (k / width, k % width) } else { (k, k) };
            f(p, q, value, self.ntk.get_mut(k).unwrap_or(&mut nothing));
        }
    }

    /// Rows of values and tangent kernels with the position of the row, and those of their columns.
    fn rows(&mut self, mut f: impl FnMut(usize, &mut [f64], &mut [f64])) {
        let width = if self.full { self.positions } else { 1 };
        let mut ntk = self.ntk.chunks_exact_mut(width);
        for (p, values) in self.values.chunks_exact_mut(width).enumerate() {
            f(p, values, ntk.next().unwrap_or(&mut []));
        }
    }

    /// Covariances from now on. q: variances.
    pub(crate) fn become_covariances(&mut self, q: Two<'_>) {
        if !self.covariances {
            self.each(|p, r, value, _| *value = covariance(q[0][p], q[1][r], *value));
            self.covariances = true;
        }
    }

    /// Drops all pairs but those of the same position.
    pub(crate) fn keep_same(&mut self) {
        if self.full && self.positions > 1 {
            let step = self.positions + 1;
            for values in [&mut self.values, &mut self.ntk] {
                *values = values.iter().step_by(step).copied().collect();
            }
            self.full = false;
        }
    }

    /// K′ = w K + b, Θ′ = w Θ + d K + c. q: variances before.
    pub(crate) fn affine(&mut self, numbers: super::op::Numbers, q: Two<'_>) {
        let super::op::Numbers { weight, bias, direct, bias_direct } = numbers;
        let covariances = self.covariances;
        if !self.ntk.is_empty() {
            self.each(|p, r, value, ntk| {
                let k = if covariances { *value } else { covariance(q[0][p], q[1][r], *value) };
                *ntk = weight * *ntk + direct * k + bias_direct;
            });
        }
        let bias = if covariances { bias } else { 0.0 };
        self.values.iter_mut().for_each(|value| *value = weight * *value + bias);
    }

    /// K′(s, s′) = Σ_t w/|t| K(p_t(s), p_t(s′)) + b and likewise Θ, with zeros where a tap reads padding.
    ///
    /// `taps[t][s]` is a position, or the number of positions where there is padding. `local`: only pairs of the same
    /// position, since weights of their own leave others without covariance.
    pub(crate) fn conv(
        &self,
        numbers: super::op::Numbers,
        taps: &[Vec<u32>],
        local: bool,
        q: Two<'_>,
    ) -> State {
        let super::op::Numbers { weight, bias, direct, bias_direct } = numbers;
        let (positions, outputs) = (self.positions, taps.first().map_or(0, Vec::len));
        let share = 1.0 / taps.len() as f64;
        let mut inner = self.clone();
        // What the window averages: the values, and for the tangent kernel w Θ + d K.
        inner.affine(super::op::Numbers { weight, bias: 0.0, direct, bias_direct: 0.0 }, q);
        let half = |q: f64| if self.covariances { 0.0 } else { 0.5 * weight * q };
        let count = |full: bool| if full { outputs * outputs } else { outputs };
        let full = (self.full && !local) || outputs == 1;
        let mut values = vec![0.0; count(full)];
        let mut ntk = vec![0.0; if self.ntk.is_empty() { 0 } else { count(full) }];
        if full && self.full {
            let stride = positions + 1;
            // One more row and column for padding.
            let extend = |from: &[f64], edge: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
                let mut out = Vec::with_capacity(stride * stride);
                for p in 0..positions {
                    out.extend_from_slice(&from[p * positions..(p + 1) * positions]);
                    out.push(edge(0, p));
                }
                out.extend((0..positions).map(|p| edge(1, p)));
                out.push(0.0);
                out
            };
            let extended = extend(&inner.values, &|side, p| half(q[side][p]));
            average(taps, stride, share, &extended, &mut values);
            if !ntk.is_empty() {
                average(taps, stride, share, &extend(&inner.ntk, &|_, _| 0.0), &mut ntk);
            }
        } else {
            let step = if self.full { positions + 1 } else { 1 };
            for tap in taps {
                for (s, &p) in tap.iter().enumerate().filter(|(_, p)| (**p as usize) < positions) {
                    values[s] += share * inner.values[p as usize * step];
                    if let Some(ntk) = ntk.get_mut(s) {
                        *ntk += share * inner.ntk[p as usize * step];
                    }
                }
            }
        }
        let bias = if self.covariances { bias } else { 0.0 };
        values.iter_mut().for_each(|value| *value += bias);
        ntk.iter_mut().for_each(|ntk| *ntk += bias_direct);
        State { positions: outputs, full, values, ntk, form: Form::Dense, ..*self }
    }

    /// From pairs of the same position to all pairs, of which the others have no covariance. q: variances.
    pub(crate) fn spread(&mut self, q: Two<'_>) {
        let n = self.positions;
        let mut all = State {
            full: true,
            values: vec![0.0; n * n],
            ntk: vec![0.0; if self.ntk.is_empty() { 0 } else { n * n }],
            form: Form::Dense,
            ..*self
        };
        let (values, ntk, covariances) = (&self.values, &self.ntk, self.covariances);
        all.each(|p, r, value, theta| {
            if p == r {
                (*value, *theta) = (values[p], ntk.get(p).copied().unwrap_or(0.0));
            } else if !covariances {
                *value = 0.5 * (q[0][p] + q[1][r]);
            }
        });
        *self = all;
    }

    /// Signed gaps of every row go through `f` (position of the row, gaps, tangent kernels), and come back as distances.
    /// Roots of the variances before and after.
    pub(crate) fn gaps(
        &mut self,
        before: Two<'_>,
        after: Two<'_>,
        mut f: impl FnMut(usize, &mut [f64], &mut [f64]),
    ) {
        let full = self.full;
        self.rows(|p, values, ntk| {
            let columns =
                |roots: &'_ [f64]| -> std::ops::Range<usize> { if full { 0..roots.len() } else { p..p + 1 } };
            to_gaps(before[0][p], &before[1][columns(before[1])], values);
            f(p, values, ntk);
            from_gaps(after[0][p], &after[1][columns(after[1])], values);
        });
    }

    /// K′ = A K Bᵀ and likewise Θ, for maps of the positions of each sample.
    pub(crate) fn mix(&self, maps: [&AxisMap; 2]) -> State {
        let outputs = maps[0].rows.len();
        if !self.full {
            // Rows of one entry each, the same in both samples.
            let pick = |values: &[f64]| -> Vec<f64> {
                let rows = maps[0].rows.iter().zip(&maps[1].rows);
                let one = |row: &[(usize, f64)]| row.first().copied().unwrap_or((0, 0.0));
                rows.map(|(a, b)| one(a).1 * one(b).1 * values[one(a).0]).collect()
            };
            let ntk = if self.ntk.is_empty() { Vec::new() } else { pick(&self.ntk) };
            return State { positions: outputs, values: pick(&self.values), ntk, form: Form::Dense, ..*self };
        }
        let n = self.positions;
        let apply = |values: &[f64]| -> Vec<f64> {
            let (mut out, mut line) = (Vec::with_capacity(outputs * outputs), vec![0.0; n]);
            for row in &maps[0].rows {
                line.fill(0.0);
                for &(p, w) in row {
                    line.iter_mut().zip(&values[p * n..(p + 1) * n]).for_each(|(sum, v)| *sum += w * v);
                }
                out.extend(maps[1].rows.iter().map(|row| row.iter().map(|&(p, w)| w * line[p]).sum::<f64>()));
            }
            out
        };
        let ntk = if self.ntk.is_empty() { Vec::new() } else { apply(&self.ntk) };
        State { positions: outputs, values: apply(&self.values), ntk, form: Form::Dense, ..*self }
    }

    /// The mean over positions.
    pub(crate) fn flatten(&mut self) {
        self.keep_same();
        let n = self.positions as f64;
        for values in [&mut self.values, &mut self.ntk] {
            if !values.is_empty() {
                *values = vec![values.iter().sum::<f64>() / n];
            }
        }
        (self.positions, self.full) = (1, true);
    }

    /// Positions from the given numbers on do not exist. q: variances before.
    pub(crate) fn mask(&mut self, lengths: [usize; 2], q: Two<'_>) {
        let covariances = self.covariances;
        self.each(|p, r, value, ntk| {
            let missing = [p >= lengths[0], r >= lengths[1]];
            if missing[0] || missing[1] {
                *ntk = 0.0;
                *value = match missing {
                    _ if covariances => 0.0,
                    [true, false] => 0.5 * q[1][r],
                    [false, true] => 0.5 * q[0][p],
                    _ => 0.0,
                };
            }
        });
    }
}

/// out(s, s′) = `share` Σ_t from(p_t(s), p_t(s′)).
fn average(taps: &[Vec<u32>], stride: usize, share: f64, from: &[f64], out: &mut [f64]) {
    let outputs = taps.first().map_or(0, Vec::len);
    for tap in taps {
        for (out, &p) in out.chunks_exact_mut(outputs).zip(tap) {
            let line = &from[p as usize * stride..(p as usize + 1) * stride];
            out.iter_mut().zip(tap).for_each(|(out, &p)| *out += line[p as usize]);
        }
    }
    out.iter_mut().for_each(|out| *out *= share);
}

/// K of a distance; exactly 0 where a variance is.
#[inline(always)]
fn covariance(q: f64, other: f64, distance: f64) -> f64 {
    if q > 0.0 && other > 0.0 { 0.5 * (q + other) - distance } else { 0.0 }
}

/// A distance below this many roundings of its terms is that of equal or opposite directions.
const SNAP: f64 = 4.0 * f64::EPSILON;

vectorized! {
    /// Signed gaps in place of distances. Roots of the variances.
    pub(crate) fn to_gaps(root: f64, roots: &[f64], values: &mut [f64]) {
        let _ = FMA;
        for (value, &other) in values.iter_mut().zip(roots) {
            let (norm, spread) = (root * other, 0.5 * (root - other) * (root - other));
            let distance = *value;
            let below = distance - spread;
            let below = if below <= SNAP * distance { 0.0 } else { below };
            let total = root * root + other * other;
            let above = total - distance - spread;
            let above = if above <= SNAP * total { 0.0 } else { above };
            let gap = if below <= norm { below / norm } else { -(above / norm) };
            *value = if norm > 0.0 { gap } else { 1.0 };
        }
    }
}

vectorized! {
    /// Distances in place of signed gaps. Roots of the variances.
    pub(crate) fn from_gaps(root: f64, roots: &[f64], values: &mut [f64]) {
        let _ = FMA;
        for (value, &other) in values.iter_mut().zip(roots) {
            let gap = *value;
            let below = if gap.is_sign_negative() { 2.0 - gap.abs() } else { gap };
            *value = 0.5 * (root - other) * (root - other) + root * other * below;
        }
    }
}
