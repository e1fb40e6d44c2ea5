//! A tangent kernel by sweeps over chunks of samples: what each layer reads and its cotangents, or its derivative, are
//! multiplied with what was kept of earlier chunks.

use std::ops::Range;

use candle_core::Tensor;
use ndarray::{Array2, Array4};

use super::plan::ranges;
use super::{Ntk, NtkPart, NtkPlan};
use crate::contract::{Features, Kept, Part, add_share};
use crate::node::Sweep;
use crate::{Error, tensor};

/// Outputs, and samples of one of the sets.
#[derive(Clone)]
struct Unit {
    outputs: Range<usize>,
    samples: Range<usize>,
    second: bool,
}

/// A chunk, and what becomes of it.
struct Step {
    unit: Unit,
    /// Rows that products are taken with: those kept, the chunk itself included if it is kept; none for rows alone.
    rows: Option<Unit>,
    /// Whether it is kept, and of how many samples it is the first.
    keep: bool,
    starts: Option<usize>,
}

impl Ntk<'_> {
    /// As [`Ntk::compute`](super::Ntk), not yet divided by the number of outputs.
    pub(super) fn by_tiles(&self, plan: &NtkPlan) -> Result<Vec<Array4<f64>>, Error> {
        let steps = self.steps(plan);
        let mut results = self.zeros(plan.part);
        let mut kept: Vec<Option<Kept>> = self.net.affines.iter().map(|_| None).collect();
        for (done, step) in steps.iter().enumerate() {
            if step.starts.is_some() {
                kept.fill_with(|| None);
            }
            let totals = self.step(plan, step, &mut kept)?;
            if let Some(rows) = &step.rows {
                for (result, total) in results.iter_mut().zip(&totals) {
                    self.put(plan.part.contraction(), rows, &step.unit, total, result);
                }
            }
            self.observe(done + 1, steps.len())?;
        }
        Ok(results)
    }

    /// Every pair of samples and outputs once; of symmetric ones, one of both.
    fn steps(&self, plan: &NtkPlan) -> Vec<Step> {
        let ((n1, n2), _) = self.dim();
        let mut steps = Vec::new();
        let all = if plan.part == NtkPart::SumOfLogits { 1 } else { self.net.output_width() };
        for outputs in ranges(0..all, plan.outputs) {
            for rows in ranges(0..n1, plan.rows) {
                let unit = |outputs: &Range<usize>, samples, second| Unit {
                    outputs: outputs.clone(),
                    samples,
                    second,
                };
                for chunk in ranges(rows.clone(), plan.chunk) {
                    let so_far = unit(&outputs, rows.start..chunk.end, false);
                    steps.push(Step {
                        rows: self.symmetric.then_some(so_far),
                        keep: true,
                        starts: (chunk.start == rows.start).then_some(rows.len()),
                        unit: unit(&outputs, chunk, false),
                    });
                }
                let others = match plan.part {
                    NtkPart::Blocks if self.symmetric => outputs.start..all,
                    NtkPart::Blocks => 0..all,
                    _ => outputs.clone(),
                };
                for other in ranges(others, plan.outputs) {
                    let later = if self.symmetric && other == outputs { rows.end..n2 } else { 0..n2 };
                    for chunk in ranges(later, plan.chunk) {
                        let rows = Some(unit(&outputs, rows.clone(), false));
                        let unit = unit(&other, chunk, !self.symmetric);
                        steps.push(Step { unit, rows, keep: false, starts: None });
                    }
                }
            }
        }
        steps
    }

    /// Sweeps one chunk. → the products with the rows, one matrix or one for each layer.
    fn step(
        &self,
        plan: &NtkPlan,
        step: &Step,
        kept: &mut [Option<Kept>],
    ) -> Result<Vec<Array2<f64>>, Error> {
        let (part, layers) = (plan.part.contraction(), plan.part == NtkPart::Layers);
        let (samples, columns) = (&step.unit.samples, step.unit.samples.len());
        let shape = match (&step.rows, part) {
            (None, _) => (0, 0),
            (Some(rows), Part::Blocks) => {
                (rows.samples.len() * rows.outputs.len(), columns * step.unit.outputs.len())
            }
            (Some(rows), Part::Diagonals) => (rows.samples.len() * rows.outputs.len(), columns),
            (Some(rows), Part::Trace) => (rows.samples.len(), columns),
        };
        let mut totals = vec![Array2::zeros(shape); if layers { self.net.affines.len() } else { 1 }];
        let x = if step.unit.second { self.x2 } else { self.x1 };
        let input = self.net.input(x.range(samples.start, samples.end))?;
        let first = if step.unit.second { self.x1.len() } else { 0 };
        let sweep = Sweep { first: first + samples.start, ..self.net.sweep(&input) };
        let (_, tape) = self.net.root.record(sweep, &input.signal)?;
        let mut cotangents = self.cotangents(plan.part, step.unit.outputs.clone())?.unsqueeze(0)?;
        if input.signal.lengths.is_some() {
            // They differ as soon as one sample is shorter.
            let (_, o, width) = cotangents.dims3()?;
            cotangents = cotangents.broadcast_as((columns, o, width))?.contiguous()?;
        }
        // What has all its rows in this chunk need not be kept.
        let alone = step.keep && step.starts == Some(columns) && step.rows.is_some();
        let alone =
            alone && plan.rows >= self.x1.len() && plan.part.covers(plan.outputs, self.net.output_width());
        self.net.root.pullback(sweep, &tape, &cotangents, false, &mut |index, x, d| {
            let affine = &self.net.affines[index];
            let features = Features::new(affine, plan.forms(index), x, d)?;
            let total = &mut totals[if layers { index } else { 0 }];
            if alone {
                return Ok(add_share(affine, [&features, &features], part, total)?);
            }
            if step.keep {
                match (step.starts, &mut kept[index]) {
                    (None, Some(kept)) => kept.push(&features)?,
                    (starts, empty) => *empty = Some(Kept::new(&features, starts.unwrap_or(columns))?),
                }
            }
            if let (Some(_), Some(kept)) = (&step.rows, &kept[index]) {
                add_share(affine, [&kept.features()?, &features], part, total)?;
            }
            Ok(())
        })?;
        Ok(totals)
    }

    /// Unit vectors of some outputs, or the one vector whose product is the sum over √o. → (outputs, o).
    pub(super) fn cotangents(&self, part: NtkPart, outputs: Range<usize>) -> candle_core::Result<Tensor> {
        let (o, lowering) = (self.net.output_width(), self.net.lowering());
        let u = match part {
            NtkPart::SumOfLogits => Array2::from_elem((1, o), 1.0 / (o as f64).sqrt()),
            _ => Array2::from_shape_fn((outputs.len(), o), |(row, c)| {
                f64::from(u8::from(outputs.start + row == c))
            }),
        };
        tensor::matrix(u.view(), lowering.dtype, &lowering.device)
    }

    /// Adds the products of a tile where they belong, and where symmetry puts them.
    fn put(&self, part: Part, rows: &Unit, columns: &Unit, total: &Array2<f64>, result: &mut Array4<f64>) {
        let across = if part == Part::Blocks { columns.outputs.len() } else { 1 };
        let own = self.symmetric && rows.outputs == columns.outputs;
        for ((row, column), &value) in total.indexed_iter() {
            let (i, p) = match part {
                Part::Blocks => (row / rows.outputs.len(), rows.outputs.start + row % rows.outputs.len()),
                Part::Diagonals => (row % rows.samples.len(), rows.outputs.start + row / rows.samples.len()),
                Part::Trace => (row, 0),
            };
            let (j, q) = (column / across, column % across);
            let (i, j) = (rows.samples.start + i, columns.samples.start + j);
            let q = if part == Part::Blocks { columns.outputs.start + q } else { q };
            // Rounding differs between the triangles: one of them counts.
            if own && (i > j || i == j && part == Part::Blocks && p > q) {
                continue;
            }
            result[[i, j, p, q]] += value;
            let (p2, q2) = if part == Part::Blocks { (q, p) } else { (p, q) };
            if self.symmetric && (i, p) != (j, p2) {
                result[[j, i, p2, q2]] += value;
            }
        }
    }
}

impl NtkPart {
    /// Whether all pairs of outputs lie in one group.
    fn covers(self, outputs: usize, all: usize) -> bool {
        self != NtkPart::Blocks || outputs >= all
    }
}
