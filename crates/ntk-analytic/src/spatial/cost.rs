//! What an op costs for one pair of samples: entries, multiply–adds, nanoseconds, bytes.

use ntk_core::{Activation, Grid};

use super::op::{Kind, Op, Reach, all};
use super::pass::wide;
use crate::report::{Pairs, PlannedLayer};

/// Nanoseconds that a multiply–add of these loops takes on one core, measured: inside a run of sheets, where eight
/// lanes work side by side, and elsewhere, where memory is what limits.
const SHEET: f64 = 0.06;
const ELSEWHERE: f64 = 0.4;

/// Costs of one pair of samples.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) operations: f64,
    pub(crate) nanoseconds: f64,
    /// Bytes of the largest state.
    pub(crate) bytes: usize,
}

/// Pairs of positions within reach.
pub(crate) fn entries(grid: &Grid, reach: &Reach) -> f64 {
    let along = |(&side, &reach): (&usize, &usize)| {
        let (side, reach) = (side as f64, reach as f64);
        // Σ over offsets −r … r of the positions that have a partner.
        side * (2.0 * reach + 1.0) - reach * (reach + 1.0)
    };
    grid.sides().iter().zip(reach).map(along).product()
}

fn pairs(grid: &Grid, reach: &Reach) -> Pairs {
    match reach {
        reach if !wide(reach) => Pairs::Same,
        reach if *reach == all(grid) => Pairs::All,
        reach => Pairs::Within(reach.clone()),
    }
}

impl Op {
    /// Adds the costs of this op and its parts, and the lines of the layers.
    pub(crate) fn cost(&self, lines: &mut Vec<PlannedLayer>) -> Cost {
        let parts = |ops: &mut dyn Iterator<Item = &Op>, lines: &mut Vec<PlannedLayer>, kept: usize| {
            ops.fold(Cost::default(), |total, op| {
                let one = op.cost(lines);
                Cost {
                    operations: total.operations + one.operations,
                    nanoseconds: total.nanoseconds + one.nanoseconds,
                    bytes: total.bytes.max(one.bytes + kept),
                }
            })
        };
        let before = entries(&self.input, &all(&self.input));
        // Where more than the same position is read, room is made for all pairs.
        let room = if wide(&self.need.pairs) { all(&self.output) } else { self.need.pairs.clone() };
        let state = 16 * entries(&self.output, &room) as usize;
        match &self.kind {
            Kind::Serial(ops) => return parts(&mut ops.iter(), lines, 0),
            Kind::Sum { ops, .. } => return parts(&mut ops.iter().map(|(_, op)| op), lines, 2 * state),
            Kind::Product(ops) | Kind::Join { ops, .. } => return parts(&mut ops.iter(), lines, 2 * state),
            _ => {}
        }
        let count = entries(&self.output, &self.need.pairs);
        let (layer, per_entry, speed) = match &self.kind {
            Kind::Affine(_) | Kind::Embedding(_) => ("affine", 6.0, ELSEWHERE),
            Kind::Conv { sliding: Some(window), .. } => {
                ("conv", 2.0 * window.iter().sum::<usize>() as f64 + 4.0, SHEET)
            }
            Kind::Conv { axes, .. } => {
                let taps: usize = axes.iter().map(|axis| axis.sources.len()).product();
                ("conv", 2.0 * taps as f64 + 4.0, ELSEWHERE)
            }
            Kind::Activation { phi, .. } => ("activation", activation(phi), SHEET),
            Kind::LayerNorm { .. } => ("layer_norm", 10.0, ELSEWHERE),
            Kind::Dropout { .. } => ("dropout", 2.0, ELSEWHERE),
            Kind::Custom(_) => ("custom", 50.0, ELSEWHERE),
            Kind::Mix { name, blocks: Some((sides, _)), .. } => {
                (*name, 2.0 * (sides.iter().product::<usize>() as f64).powi(2), SHEET)
            }
            Kind::Mix { name, .. } => (*name, 2.0 * (before / count).max(1.0), ELSEWHERE),
            Kind::Flatten => ("flatten", 2.0 * self.input.positions() as f64, ELSEWHERE),
            Kind::Aggregate(_) => ("aggregate", 8.0, ELSEWHERE),
            Kind::Attention { .. } => ("attention", 4.0 * self.input.positions() as f64, ELSEWHERE),
            Kind::Serial(_) | Kind::Sum { .. } | Kind::Product(_) | Kind::Join { .. } => ("", 0.0, ELSEWHERE),
        };
        let operations = count * per_entry;
        let output = self.output;
        lines.push(PlannedLayer {
            path: self.at.strip_prefix("net.").unwrap_or(&self.at).to_owned(),
            layer,
            grid: output,
            pairs: pairs(&output, &self.need.pairs),
            own: self.need.own.as_ref().map(|own| pairs(&output, own)),
            operations,
        });
        Cost { operations, nanoseconds: operations * speed, bytes: state }
    }
}

/// Multiply–adds of a dual: two polynomials, or series and quadratures.
fn activation(phi: &Activation) -> f64 {
    match phi {
        Activation::Relu | Activation::LeakyRelu { .. } | Activation::Abs | Activation::AbRelu { .. } => 60.0,
        Activation::Erf { .. }
        | Activation::Gelu
        | Activation::SigmoidLike
        | Activation::Sign
        | Activation::Step => 150.0,
        Activation::Elu { .. } | Activation::Selu => 3e5,
        Activation::HardTanh | Activation::HardSigmoid | Activation::Relu6 => 3e3,
        _ => 500.0,
    }
}
