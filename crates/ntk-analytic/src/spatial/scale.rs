//! Samples brought to one scale, where a network only multiplies it: otherwise a pair of a large and a small sample would
//! keep the digits of the large one alone.

use ntk_core::{Activation, Batch};

use super::op::{Kind, Op};

impl Op {
    /// The degree d with f(cx) = cᵈf(x) for all c > 0, if there is one.
    pub(crate) fn degree(&self) -> Option<i32> {
        match &self.kind {
            Kind::Affine(numbers) | Kind::Conv { numbers, .. } => {
                (numbers.bias == 0.0 && numbers.bias_direct == 0.0).then_some(1)
            }
            Kind::Activation { phi, rule: None } => match *phi {
                Activation::Relu
                | Activation::LeakyRelu { .. }
                | Activation::Abs
                | Activation::AbRelu { .. } => Some(1),
                Activation::Step | Activation::Sign => Some(0),
                Activation::RectifiedMonomial { degree } | Activation::Monomial { degree } => {
                    i32::try_from(degree).ok()
                }
                _ => None,
            },
            Kind::LayerNorm { epsilon, .. } => (*epsilon == 0.0).then_some(0),
            Kind::Dropout { .. } | Kind::Mix { .. } | Kind::Flatten | Kind::Aggregate(_) => Some(1),
            Kind::Serial(ops) => ops.iter().try_fold(1, |all: i32, op| all.checked_mul(op.degree()?)),
            Kind::Sum { ops, .. } => same(ops.iter().map(|(_, op)| op.degree())),
            Kind::Join { ops, .. } => same(ops.iter().map(Op::degree)),
            Kind::Product(ops) => ops.iter().try_fold(0, |all: i32, op| all.checked_add(op.degree()?)),
            Kind::Activation { .. } | Kind::Embedding(_) | Kind::Attention { .. } | Kind::Custom(_) => None,
        }
    }
}

/// The degree of all branches, if they agree.
fn same(mut degrees: impl Iterator<Item = Option<i32>>) -> Option<i32> {
    let first = degrees.next()??;
    degrees.all(|degree| degree == Some(first)).then_some(first)
}

/// For each sample the power of two below its largest number; 1 for one of zeros.
pub(crate) fn scales(batch: Batch<'_>) -> Vec<f64> {
    let scale = |row: ndarray::ArrayView1<'_, f64>| {
        let largest = row.iter().fold(0.0, |a: f64, x| a.max(x.abs()));
        // Not further than that it and its reciprocal are normal numbers.
        if largest > 0.0 { largest.log2().floor().clamp(-1000.0, 1000.0).exp2() } else { 1.0 }
    };
    batch.values().rows().into_iter().map(scale).collect()
}
