//! Branches: sums, concatenations, products, and positions one after another.

use super::op::{Kind, Op};
use super::pass::{Samples, covariances, pass, serial};
use super::stage::{Stage, Table};
use crate::Error;

/// Every branch from the same samples.
fn each<'a, 'b>(
    ops: impl Iterator<Item = &'b Op>,
    samples: &Samples<'a>,
) -> Result<Vec<(Stage, Samples<'a>)>, Error> {
    ops.map(|op| {
        let mut end = samples.clone();
        let stage = match &op.kind {
            Kind::Serial(_) => pass(op, &mut end)?,
            // A lone layer may be a run too.
            _ => serial(std::slice::from_ref(op), &mut end)?,
        };
        Ok(match covariances(op, &mut end) {
            Some(switch) => (Stage::Serial(vec![stage, switch]), end),
            None => (stage, end),
        })
    })
    .collect()
}

/// A position exists after branches if it does in one of them.
fn longest(ends: &[(Stage, Samples<'_>)]) -> Option<Vec<usize>> {
    let lengths = ends.iter().filter_map(|(_, end)| end.lengths.clone());
    lengths.reduce(|a, b| a.into_iter().zip(b).map(|(a, b)| a.max(b)).collect())
}

fn means(ends: &[(Stage, Samples<'_>)]) -> Vec<Option<Table>> {
    ends.iter().map(|(_, end)| end.mean.clone()).collect()
}

/// A sum of branches with weights, and with the products of their means if `cross`.
pub(super) fn sum(ops: &[(f64, Op)], cross: bool, samples: &mut Samples<'_>) -> Result<Stage, Error> {
    let ends = each(ops.iter().map(|(_, op)| op), samples)?;
    let weighted = |tables: Vec<Table>| {
        let tables = tables.into_iter().zip(ops).map(|(table, (weight, _))| table.map(|v| weight * v));
        tables.reduce(|a, b| a.zip(&b, |a, b| a + b))
    };
    let all: Vec<Table> = means(&ends).into_iter().flatten().collect();
    let mut variance = weighted(ends.iter().map(|(_, end)| end.variance.clone()).collect());
    if cross {
        for (k, a) in all.iter().enumerate() {
            for b in &all[k + 1..] {
                variance = variance.map(|q| q.zip(&a.zip(b, |a, b| 2.0 * a * b), |q, ab| q + ab));
            }
        }
    }
    if let Some(variance) = variance {
        samples.variance = variance;
    }
    let zero = |mean: Option<Table>| mean.unwrap_or_else(|| samples.variance.map(|_| 0.0));
    let total = if all.is_empty() { None } else { weighted(means(&ends).into_iter().map(zero).collect()) };
    let (first, lengths) = (ends.iter().all(|(_, end)| end.covariances), longest(&ends));
    let in_sheets = !cross && ends.iter().all(|(_, end)| end.sheets);
    let branches = ops.iter().zip(ends).map(|((weight, _), (stage, _))| (*weight, stage)).collect();
    let stage = Stage::Sum { branches, means: if cross { all } else { Vec::new() } };
    samples.advance(&stage);
    (samples.mean, samples.covariances, samples.lengths) = (total, first, lengths);
    samples.sheets = in_sheets;
    Ok(stage)
}

/// A product of branches, whose kernels multiply.
pub(super) fn product(ops: &[Op], samples: &mut Samples<'_>) -> Result<Stage, Error> {
    let ends = each(ops.iter(), samples)?;
    samples.mean = means(&ends).into_iter().reduce(|a, b| Some(a?.zip(&b?, |a, b| a * b))).flatten();
    let variances = ends.iter().map(|(_, end)| end.variance.clone());
    if let Some(variance) = variances.reduce(|a, b| a.zip(&b, |a, b| a * b)) {
        samples.variance = variance;
    }
    let covariances = ends.iter().all(|(_, end)| end.covariances);
    let lengths = longest(&ends);
    let one = |(stage, end): (Stage, Samples<'_>)| (stage, (!covariances).then_some(end.variance));
    let stage = Stage::Product(ends.into_iter().map(one).collect());
    samples.advance(&stage);
    (samples.covariances, samples.lengths) = (covariances, lengths);
    Ok(stage)
}

/// Branches one after another along an axis.
pub(super) fn join(op: &Op, axis: usize, ops: &[Op], samples: &mut Samples<'_>) -> Result<Stage, Error> {
    if samples.lengths.is_some() {
        let remedy = "join samples of one length";
        return Err(Error::Lengths { layer: "join".to_owned(), at: op.at.clone(), remedy });
    }
    let ends = each(ops.iter(), samples)?;
    let starts: Vec<usize> = ops.iter().map(|op| op.output.sides()[axis]).collect();
    let place = |position: usize| {
        let mut at = op.output.coordinates(position);
        let mut branch = 0;
        while at[axis] >= starts[branch] {
            at[axis] -= starts[branch];
            branch += 1;
        }
        let sides = ops[branch].output.sides();
        (branch, sides.iter().enumerate().fold(0, |index, (k, side)| index * side + at[k]))
    };
    let places: Vec<(usize, usize)> = (0..op.output.positions()).map(place).collect();
    let gather = |tables: &[Option<Table>]| {
        let value = |sample: usize| {
            let places = &places;
            places.iter().map(move |&(b, at)| {
                tables.get(b).and_then(Option::as_ref).map_or(0.0, |table| table.of(sample)[at])
            })
        };
        Table::new(places.len(), (0..samples.count()).flat_map(value).collect())
    };
    let variances: Vec<Option<Table>> = ends.iter().map(|(_, end)| Some(end.variance.clone())).collect();
    let means = means(&ends);
    let covariances = ends.iter().all(|(_, end)| end.covariances);
    // Of no use for covariances, but of the right size.
    let total = gather(if covariances { &[] } else { &variances });
    let variance = (!covariances).then(|| total.clone());
    let mean = means.iter().any(Option::is_some).then(|| gather(&means));
    let stage = Stage::Join {
        branches: ends.into_iter().map(|(stage, _)| stage).collect(),
        places,
        variance: variance.clone(),
        means,
    };
    samples.advance(&stage);
    (samples.mean, samples.covariances) = (mean, covariances);
    samples.variance = total;
    Ok(stage)
}
