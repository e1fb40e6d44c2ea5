//! One pass over the samples before the pairs: variances, means and lengths at every position, and the covariances of
//! a sample with itself where a variance depends on them; whatever can fail fails here.

use std::sync::Arc;

use ntk_core::{Activation, AxisMap, Batch, Law, Padding, Pooling};
#[cfg(feature = "rayon")]
use rayon::iter::{IndexedParallelIterator, IntoParallelRefMutIterator, ParallelIterator};

use super::inputs::Inputs;
use super::op::{Kind, Op, Reach};
use super::run::{self, Frame};
use super::stage::{Correction, Maps, Of, Stage, Table};
use super::state::State;
use super::windows::{averaged, shorten, taps};
use super::{blocks, branches};
use crate::dual::{self, Prepared};
use crate::{DualActivation, Error};

/// What is known of the samples at one place of the network.
#[derive(Clone)]
pub(crate) struct Samples<'a> {
    /// Variances; of no use once states are covariances.
    pub(crate) variance: Table,
    /// Means over the channels; none where they are zero or nobody asks.
    pub(crate) mean: Option<Table>,
    /// Positions that exist; none if all do.
    pub(crate) lengths: Option<Vec<usize>>,
    /// Distances of each sample with itself; empty where none but those of a position with itself are read.
    pub(crate) own: Vec<State>,
    /// Whether states are covariances from here on.
    pub(crate) covariances: bool,
    /// The samples as they came, for what belongs to them.
    pub(crate) batches: [Option<Batch<'a>>; 2],
    /// Error bound of quadrature.
    pub(crate) tolerance: f64,
    /// Error bound of the integrals of attention.
    pub(crate) integral: f64,
    pub(crate) inputs: Arc<Inputs>,
    /// What sheets of this network have in common; none where they have no use.
    pub(crate) frame: Option<Frame>,
    /// Whether states are still those of the input.
    pub(crate) entering: bool,
    /// Whether states come in sheets.
    pub(crate) sheets: bool,
}

impl Samples<'_> {
    pub(crate) fn count(&self) -> usize {
        self.variance.samples()
    }

    /// Carries the covariances of each sample with itself through a stage.
    pub(crate) fn advance(&mut self, stage: &Stage) {
        for_each_own(&mut self.own, |(i, own)| stage.run(own, Of::own(i)));
    }

    pub(crate) fn check_finite(&self, at: &str) -> Result<(), Error> {
        // All of them, since a loop that may end early is not widened.
        if self.variance.all().iter().fold(true, |finite, q| finite & q.is_finite()) {
            return Ok(());
        }
        let value = self.variance.all().iter().copied().find(|q| !q.is_finite()).unwrap_or(f64::NAN);
        Err(Error::Overflow { at: at.to_owned(), value })
    }

    /// Clears the positions beyond the length of each sample.
    pub(crate) fn mask(&mut self, lengths: &[usize]) -> Stage {
        let positions = self.variance.positions();
        let mask = Stage::Mask { lengths: lengths.to_vec(), variance: self.variance.clone() };
        self.advance(&mask);
        for table in std::iter::once(&mut self.variance).chain(&mut self.mean) {
            let values = table.all().iter().enumerate();
            let value = |(k, &v): (usize, &f64)| if k % positions < lengths[k / positions] { v } else { 0.0 };
            *table = Table::new(positions, values.map(value).collect());
        }
        mask
    }

    /// The edges of the graph of a sample.
    fn edges(&self, sample: usize) -> Option<Vec<(usize, usize, f64)>> {
        let rows = self.batches[0].map_or(0, |batch| batch.len());
        let (batch, sample) = match sample.checked_sub(rows) {
            Some(sample) => (self.batches[1]?, sample),
            None => (self.batches[0]?, sample),
        };
        Some(batch.graphs()?.edges(sample))
    }
}

/// Does something with the covariances of each sample with itself.
pub(crate) fn for_each_own(own: &mut [State], f: impl Fn((usize, &mut State)) + Send + Sync) {
    if own.is_empty() {
        return;
    }
    #[cfg(feature = "rayon")]
    own.par_iter_mut().enumerate().for_each(f);
    #[cfg(not(feature = "rayon"))]
    own.iter_mut().enumerate().for_each(f);
}

/// Evaluates an op for the samples, which become those of its output.
///
/// # Errors
/// What has no limit for these samples.
pub(crate) fn pass(op: &Op, samples: &mut Samples<'_>) -> Result<Stage, Error> {
    let before = samples.lengths.clone();
    let asked = op.need.own.as_ref().is_some_and(wide);
    if asked && op.input.positions() == 1 && samples.own.is_empty() && !samples.covariances {
        // One position becomes several, which are read together from here on.
        samples.own = vec![State::same(1); samples.count()];
    }
    let stage = unmasked(op, samples)?;
    finish(op, samples);
    if let (Some(_), Some(lengths), false) = (before, &samples.lengths, matches!(op.kind, Kind::Serial(_))) {
        if matches!(op.kind, Kind::Flatten | Kind::Mix { global: Some(_), .. }) {
            samples.lengths = None;
            return Ok(stage);
        }
        let mask = samples.mask(&lengths.clone());
        return Ok(Stage::Serial(vec![stage, mask]));
    }
    Ok(stage)
}

/// Forgets what nobody asks for after an op.
pub(crate) fn finish(op: &Op, samples: &mut Samples<'_>) {
    if !op.need.own.as_ref().is_some_and(wide) {
        samples.own.clear();
    }
    if !matches!(op.kind, Kind::Serial(_)) {
        samples.entering = false;
        samples.sheets &= matches!(op.kind, Kind::Sum { .. });
    }
}

/// A chain, with runs of layers that sheets carry made one stage.
pub(crate) fn serial(ops: &[Op], samples: &mut Samples<'_>) -> Result<Stage, Error> {
    let (mut stages, mut at) = (Vec::new(), 0);
    while at < ops.len() {
        if let Some(count) = run::length(&ops[at..], samples) {
            let total = ops.get(at + count).filter(|op| run::is_total(op, samples));
            if let Some(stage) = run::pass(&ops[at..at + count], total, samples)? {
                stages.push(stage);
                at += count + usize::from(total.is_some());
                continue;
            }
        }
        match blocks::pool(&ops[at], samples) {
            // What a run writes can be pooled as it comes.
            Some(pool) => match stages.last_mut() {
                Some(Stage::Run(run)) if run.takes(&pool) => run.pool(pool),
                _ => stages.push(Stage::Pool(Box::new(pool))),
            },
            None => stages.push(pass(&ops[at], samples)?),
        }
        at += 1;
    }
    Ok(Stage::Serial(stages))
}

fn unmasked(op: &Op, samples: &mut Samples<'_>) -> Result<Stage, Error> {
    let at = &op.at;
    let stage = match &op.kind {
        Kind::Affine(numbers) | Kind::Embedding(numbers) => {
            let stage = Stage::Affine { numbers: *numbers, variance: samples.variance.clone() };
            samples.advance(&stage);
            samples.variance = samples.variance.map(|q| numbers.weight * q + numbers.bias);
            samples.mean = None;
            stage
        }
        Kind::Conv { numbers, axes, local, padding, transposed, .. } => {
            if let Some(lengths) = &mut samples.lengths {
                let remedy = match (transposed, local, padding) {
                    (false, false, Padding::Same | Padding::Valid) => None,
                    (_, true, _) => Some("weights of its own at every position have no use beyond a length"),
                    _ => Some("pad with zeros, and do not transpose"),
                };
                if let Some(remedy) = remedy {
                    return Err(Error::Lengths { layer: "conv".to_owned(), at: at.clone(), remedy });
                }
                shorten(lengths, axes);
            }
            let taps = Arc::new(taps(axes));
            let variance = samples.variance.clone();
            samples.variance = averaged(&variance, axes, *numbers);
            samples.mean = None;
            let stage = |local, spread: bool| {
                let spread = spread.then(|| samples.variance.clone());
                Stage::Conv {
                    numbers: *numbers,
                    taps: Arc::clone(&taps),
                    local,
                    variance: variance.clone(),
                    spread,
                }
            };
            let (pairs, own) = (stage(*local, *local && wide(&op.need.pairs)), stage(*local, *local));
            if *local && op.need.own.as_ref().is_some_and(wide) {
                // From here on positions of a sample are read together that were not before.
                samples.own = (0..samples.count()).map(|_| State::same(variance.positions())).collect();
            }
            samples.advance(&own);
            pairs
        }
        Kind::Activation { phi, rule } => {
            let before = samples.variance.map(f64::sqrt);
            let prepared = activate(op, phi, rule.as_ref(), samples)?;
            let after = samples.variance.map(f64::sqrt);
            let stage = Stage::Activation { prepared, before, after };
            samples.advance(&stage);
            stage
        }
        Kind::LayerNorm { epsilon, groups, center } => layer_norm(at, *epsilon, groups, *center, samples)?,
        Kind::Dropout { keep } => {
            let stage = Stage::Dropout { keep: *keep, variance: samples.variance.clone() };
            samples.advance(&stage);
            samples.variance = samples.variance.map(|q| q / keep);
            stage
        }
        Kind::Custom(rule) => {
            if op.need.mean && rule.law() != Law::Gaussian {
                return Err(Error::NotCentered { layer: "layer_norm".to_owned(), at: at.clone() });
            }
            let variance = samples.variance.clone();
            samples.variance = variance.map(|q| rule.variance(q));
            samples.mean = None;
            let (before, after) = (variance.map(f64::sqrt), samples.variance.map(f64::sqrt));
            let stage = Stage::Custom { rule: Arc::clone(rule), variance, before, after };
            samples.advance(&stage);
            stage
        }
        Kind::Mix { map, global, axes, padding, edges, name, .. } => {
            let maps = match (global, &mut samples.lengths) {
                (_, None) => Maps::Shared(map.clone()),
                (Some(pooling), Some(lengths)) => {
                    let row = |length: usize| {
                        let weight = if *pooling == Pooling::Sum { 1.0 } else { 1.0 / length as f64 };
                        AxisMap { inputs: map.inputs, rows: vec![(0..length).map(|p| (p, weight)).collect()] }
                    };
                    Maps::Each(lengths.iter().map(|&length| row(length)).collect())
                }
                (None, Some(lengths)) => {
                    let Some(axes) = axes.as_ref().filter(|_| *padding != Padding::Circular && !*edges)
                    else {
                        let remedy = "use it on samples of one length, or after a global pool";
                        return Err(Error::Lengths { layer: (*name).to_owned(), at: at.clone(), remedy });
                    };
                    shorten(lengths, axes);
                    Maps::Shared(map.clone())
                }
            };
            mix(op, maps, samples)
        }
        Kind::Aggregate(linear) => {
            if samples.lengths.is_some() && !linear.keeps_lengths() {
                let remedy = "add what keeps positions, or samples of one length";
                return Err(Error::Lengths { layer: "a sum".to_owned(), at: at.clone(), remedy });
            }
            let one = |sample: usize| {
                let edges = samples.edges(sample);
                linear.written(op.input.positions(), edges.as_deref()).map_err(|wrong| match wrong {
                    None => Error::NoGraphs { at: at.clone() },
                    Some(((from, to, weight), nodes)) => {
                        ntk_core::Error::Edge { sample, from, to, weight, nodes }.into()
                    }
                })
            };
            let maps: Result<Vec<AxisMap>, Error> = (0..samples.count()).map(one).collect();
            mix(op, Maps::Each(maps?), samples)
        }
        Kind::Flatten => {
            samples.own.clear();
            for table in std::iter::once(&mut samples.variance).chain(&mut samples.mean) {
                let n = table.positions();
                let mean = |values: &[f64]| values.iter().sum::<f64>() / n as f64;
                *table = Table::new(1, table.all().chunks_exact(n).map(mean).collect());
            }
            Stage::Flatten
        }
        Kind::Attention { attention, shares } => super::attend::pass(op, attention, *shares, samples)?,
        Kind::Serial(ops) => serial(ops, samples)?,
        Kind::Sum { ops, means } => branches::sum(ops, *means, samples)?,
        Kind::Product(ops) => branches::product(ops, samples)?,
        Kind::Join { axis, ops } => branches::join(op, *axis, ops, samples)?,
    };
    if !samples.covariances {
        samples.check_finite(at)?;
    }
    Ok(stage)
}

/// From distances to covariances, where no variance is read after this op.
pub(crate) fn covariances(op: &Op, samples: &mut Samples<'_>) -> Option<Stage> {
    let switch = op.need.own.is_none() && !samples.covariances;
    switch.then(|| {
        samples.covariances = true;
        Stage::Covariances { variance: samples.variance.clone() }
    })
}

/// Whether pairs of different positions are needed.
pub(crate) fn wide(reach: &Reach) -> bool {
    reach.iter().any(|&r| r > 0)
}

/// Evaluates an activation for the samples, which become those of its output.
pub(crate) fn activate(
    op: &Op,
    phi: &Activation,
    rule: Option<&Arc<dyn DualActivation>>,
    samples: &mut Samples<'_>,
) -> Result<Box<dyn Prepared>, Error> {
    let (q, positions) = (samples.variance.all(), samples.variance.positions());
    let prepared = prepare(phi, rule, q, samples.tolerance)?;
    if op.need.mean {
        let centered = || Error::NotCentered { layer: "layer_norm".to_owned(), at: op.at.clone() };
        let mean = Table::new(positions, dual::means(phi, q).ok_or_else(centered)?);
        samples.mean = Some(mean).filter(|mean| mean.all().iter().any(|&m| m != 0.0));
    }
    samples.variance = Table::new(positions, prepared.variances().0.to_vec());
    samples.check_finite(&op.at)?;
    Ok(prepared)
}

/// Positions and weights that an output is made of.
type Row = [(usize, f64)];

fn mix(op: &Op, maps: Maps, samples: &mut Samples<'_>) -> Stage {
    for_each_own(&mut samples.own, |(i, own)| own.dense(Of::own(i)));
    let switch = covariances(op, samples);
    let outputs = maps.of(0).rows.len();
    let n = samples.count();
    let table = |of: &dyn Fn(usize, &Row) -> f64| {
        let rows = (0..n).flat_map(|sample| maps.of(sample).rows.iter().map(move |row| (sample, row)));
        Table::new(outputs, rows.map(|(sample, row)| of(sample, row)).collect())
    };
    let read = |from: &Table| table(&|sample, row| row.iter().map(|&(p, w)| w * from.of(sample)[p]).sum());
    samples.mean = samples.mean.as_ref().map(read);
    let correction = (!samples.covariances).then(|| Correction {
        weight: table(&|_, row| row.iter().map(|(_, w)| w).sum()),
        variance: read(&samples.variance),
        spread: table(&|sample, row| {
            let Some(own) = samples.own.get(sample) else { return 0.0 };
            let distance = |p: usize, r: usize| own.values[p * own.positions + r];
            row.iter().map(|&(p, v)| row.iter().map(|&(r, w)| v * w * distance(p, r)).sum::<f64>()).sum()
        }),
    });
    // Of no use any more, but of the right size.
    samples.variance = Table::new(outputs, vec![0.0; n * outputs]);
    if let Some(Correction { weight, variance, spread }) = &correction {
        samples.variance = weight.zip(variance, |w, q| w * q).zip(spread, |q, s| (q - s).max(0.0));
    }
    let stage = Stage::Mix { maps, correction };
    samples.advance(&stage);
    match switch {
        Some(switch) => Stage::Serial(vec![switch, stage]),
        None => stage,
    }
}

fn layer_norm(
    at: &str,
    epsilon: f64,
    groups: &[usize],
    center: bool,
    samples: &mut Samples<'_>,
) -> Result<Stage, Error> {
    let positions = groups.len();
    let count = groups.iter().max().map_or(0, |group| group + 1);
    if samples.lengths.is_some() && count != positions {
        let remedy = "normalize over the channels alone";
        return Err(Error::Lengths { layer: "layer_norm".to_owned(), at: at.to_owned(), remedy });
    }
    // Means over the groups, given back to each position.
    let grouped = |table: &Table| {
        let one = |values: &[f64]| {
            let (mut sum, mut size) = (vec![0.0; count], vec![0.0; count]);
            for (value, &group) in values.iter().zip(groups) {
                sum[group] += value;
                size[group] += 1.0;
            }
            groups.iter().map(|&group| sum[group] / size[group]).collect::<Vec<f64>>()
        };
        Table::new(positions, table.all().chunks_exact(positions).flat_map(one).collect())
    };
    let before = samples.variance.clone();
    let mean = samples.mean.take().filter(|_| center);
    let centers = mean.as_ref().map(grouped);
    let variance = match (&mean, &centers) {
        (Some(m), Some(c)) => {
            before.zip(&c.zip(m, |c, m| c * (c - 2.0 * m)), |q, shift| (q + shift).max(0.0))
        }
        _ => before,
    };
    let scale = grouped(&variance);
    let valid =
        |k: usize| samples.lengths.as_ref().is_none_or(|lengths| k % positions < lengths[k / positions]);
    let zero = scale.all().iter().enumerate().position(|(k, q)| q + epsilon == 0.0 && valid(k));
    if let Some(k) = zero {
        return Err(Error::ZeroVariance { at: at.to_owned(), sample: k / positions });
    }
    let factor = scale.map(|q| if q + epsilon == 0.0 { 0.0 } else { 1.0 / (q + epsilon).sqrt() });
    samples.variance = variance.zip(&factor, |q, f| q * f * f);
    samples.mean = match (&mean, &centers) {
        (Some(m), Some(c)) => Some(m.zip(c, |m, c| m - c).zip(&factor, |m, f| m * f)),
        _ => None,
    };
    let stage = Stage::LayerNorm {
        factor,
        center: centers.zip(mean).map(|(c, m)| [c, m]),
        before: variance.map(f64::sqrt),
        after: samples.variance.map(f64::sqrt),
    };
    samples.advance(&stage);
    Ok(stage)
}

/// The dual of an activation for all samples and positions.
fn prepare(
    phi: &Activation,
    rule: Option<&Arc<dyn DualActivation>>,
    q: &[f64],
    tolerance: f64,
) -> Result<Box<dyn Prepared>, Error> {
    match rule {
        None => dual::prepare(phi, q, q, tolerance),
        Some(rule) => match rule.as_function() {
            Some(function) => function.prepare(q, q),
            None => crate::pass::custom(phi, rule, &[q.to_vec(), q.to_vec()]),
        },
    }
}
