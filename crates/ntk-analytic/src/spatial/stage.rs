//! A network with the numbers of the samples at hand: one pass over the samples makes it, every pair of them runs it.

use std::sync::Arc;

use ntk_core::AxisMap;

use super::op::Numbers;
use super::state::{Form, State, Two};
use crate::dual::Prepared;
use crate::{LayerRule, Pair};

/// One number for each position of each sample.
#[derive(Clone)]
pub(crate) struct Table {
    positions: usize,
    values: Vec<f64>,
}

impl Table {
    pub(crate) fn new(positions: usize, values: Vec<f64>) -> Self {
        Table { positions, values }
    }

    pub(crate) fn of(&self, sample: usize) -> &[f64] {
        &self.values[sample * self.positions..(sample + 1) * self.positions]
    }

    pub(crate) fn two(&self, pair: Of) -> Two<'_> {
        [self.of(pair.i), self.of(pair.j)]
    }

    pub(crate) fn all(&self) -> &[f64] {
        &self.values
    }

    pub(crate) fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Table { positions: self.positions, values: self.values.iter().map(|&v| f(v)).collect() }
    }

    pub(crate) fn zip(&self, other: &Table, f: impl Fn(f64, f64) -> f64) -> Self {
        let values = self.values.iter().zip(&other.values).map(|(&a, &b)| f(a, b)).collect();
        Table { positions: self.positions, values }
    }

    pub(crate) fn positions(&self) -> usize {
        self.positions
    }

    pub(crate) fn samples(&self) -> usize {
        self.values.len() / self.positions
    }
}

/// Which samples a state belongs to, and whether they are one and the same, noise included.
#[derive(Clone, Copy)]
pub(crate) struct Of {
    pub(crate) i: usize,
    pub(crate) j: usize,
    pub(crate) same: bool,
    /// Whether this is a covariance of a sample with itself that its variances are made of.
    pub(crate) own: bool,
    /// Whether a pair may use all threads, as where there are fewer pairs than threads.
    pub(crate) parallel: bool,
}

impl Of {
    /// A sample with itself, for its variances.
    pub(crate) fn own(i: usize) -> Self {
        Of { i, j: i, same: true, own: true, parallel: false }
    }
}

/// One map of positions for all samples, or one for each.
pub(crate) enum Maps {
    Shared(AxisMap),
    Each(Vec<AxisMap>),
}

impl Maps {
    pub(crate) fn of(&self, sample: usize) -> &AxisMap {
        match self {
            Maps::Shared(map) => map,
            Maps::Each(maps) => &maps[sample],
        }
    }
}

/// What turns distances that were averaged into the distances of averages, for each output of each sample.
pub(crate) struct Correction {
    /// Σ_p a_p.
    pub(crate) weight: Table,
    /// Σ_p a_p q_p.
    pub(crate) variance: Table,
    /// ΣΣ a_p a_r D(p, r) of the sample with itself.
    pub(crate) spread: Table,
}

pub(crate) enum Stage {
    Affine {
        numbers: Numbers,
        variance: Table,
    },
    Conv {
        numbers: Numbers,
        taps: Arc<Vec<Vec<u32>>>,
        /// Weights differ between positions.
        local: bool,
        variance: Table,
        /// Variances of the output, where pairs of positions are needed that weights of their own leave uncorrelated.
        spread: Option<Table>,
    },
    Activation {
        prepared: Box<dyn Prepared>,
        before: Table,
        after: Table,
    },
    /// D ← f f′ (D − (c − c′)(m − m′) + ½(c − c′)² − ½(r − r′)²) + ½(R − R′)²
    LayerNorm {
        factor: Table,
        /// Centers c and means m, where channels have a mean.
        center: Option<[Table; 2]>,
        before: Table,
        after: Table,
    },
    Dropout {
        keep: f64,
        variance: Table,
    },
    Custom {
        rule: Arc<dyn LayerRule>,
        variance: Table,
        before: Table,
        after: Table,
    },
    /// From distances to covariances.
    Covariances {
        variance: Table,
    },
    Mix {
        maps: Maps,
        /// None for covariances.
        correction: Option<Correction>,
    },
    Flatten,
    Attention(Box<super::attend::Stage>),
    /// Layers that sheets carry.
    Run(Box<super::run::Run>),
    /// Blocks side by side of sheets.
    Pool(Box<super::blocks::Pool>),
    Serial(Vec<Stage>),
    Sum {
        branches: Vec<(f64, Stage)>,
        /// Means of the branches that have one.
        means: Vec<Table>,
    },
    /// Branches with the variances of their outputs, none for covariances.
    Product(Vec<(Stage, Option<Table>)>),
    Join {
        branches: Vec<Stage>,
        /// Branch and position in it, for each position.
        places: Vec<(usize, usize)>,
        variance: Option<Table>,
        means: Vec<Option<Table>>,
    },
    Mask {
        lengths: Vec<usize>,
        variance: Table,
    },
}

impl Stage {
    /// Carries a pair of samples through.
    pub(crate) fn run(&self, state: &mut State, of: Of) {
        match self {
            Stage::Run(_) | Stage::Pool(_) | Stage::Serial(_) | Stage::Sum { .. } => {}
            _ => state.dense(of),
        }
        match self {
            Stage::Run(run) => run.run(state, of),
            Stage::Pool(pool) => pool.run(state, of),
            Stage::Affine { numbers, variance } => state.affine(*numbers, variance.two(of)),
            Stage::Conv { numbers, taps, local, variance, spread } => {
                *state = state.conv(*numbers, taps, *local, variance.two(of));
                if let Some(output) = spread {
                    state.spread(output.two(of));
                }
            }
            Stage::Activation { prepared, before, after } => {
                let width = before.positions();
                let full = state.full;
                let mut slope = Vec::new();
                state.gaps(before.two(of), after.two(of), |p, gaps, ntk| {
                    let column = of.j * width + if full { 0 } else { p };
                    if ntk.is_empty() {
                        prepared.row(of.i * width + p, column, gaps, None);
                    } else {
                        slope.resize(gaps.len(), 0.0);
                        prepared.row(of.i * width + p, column, gaps, Some(&mut slope));
                        ntk.iter_mut().zip(&slope).for_each(|(ntk, slope)| *ntk *= slope);
                    }
                });
            }
            Stage::LayerNorm { factor, center, before, after } => {
                let (f, r, out) = (factor.two(of), before.two(of), after.two(of));
                let center = center.as_ref().map(|[c, m]| (c.two(of), m.two(of)));
                state.each(|p, s, value, ntk| {
                    let scale = f[0][p] * f[1][s];
                    let mut distance = *value;
                    if let Some((c, m)) = &center {
                        let apart = c[0][p] - c[1][s];
                        distance += apart * (0.5 * apart - (m[0][p] - m[1][s]));
                    }
                    let square = |a: f64, b: f64| 0.5 * (a - b) * (a - b);
                    let across = (distance - square(r[0][p], r[1][s])).max(0.0);
                    *value = scale * across + square(out[0][p], out[1][s]);
                    *ntk *= scale;
                });
            }
            Stage::Dropout { keep, variance } => {
                let (q, covariances) = (variance.two(of), state.covariances);
                state.each(|p, s, value, ntk| {
                    if of.same && p == s {
                        *ntk /= keep;
                        *value /= if covariances { *keep } else { 1.0 };
                    } else if !covariances {
                        *value += 0.5 * (q[0][p] + q[1][s]) * (1.0 / keep - 1.0);
                    }
                });
            }
            Stage::Custom { rule, variance, before, after } => {
                let (q, full) = (variance.two(of), state.full);
                state.gaps(before.two(of), after.two(of), |p, gaps, ntk| {
                    for (k, gap) in gaps.iter_mut().enumerate() {
                        let (q11, q22) = (q[0][p], q[1][if full { k } else { p }]);
                        let q12 = crate::row::covariance((q11 * q22).sqrt(), *gap);
                        let theta = ntk.get(k).copied().unwrap_or(0.0);
                        let out = rule.pair(Pair { q11, q22, q12, gap: gap.abs(), ntk: theta });
                        *gap = out.gap.copysign(out.q12);
                        if let Some(ntk) = ntk.get_mut(k) {
                            *ntk = out.ntk;
                        }
                    }
                });
            }
            Stage::Covariances { variance } => state.become_covariances(variance.two(of)),
            Stage::Mix { maps, correction } => {
                let mut mixed = state.mix([maps.of(of.i), maps.of(of.j)]);
                if let Some(Correction { weight, variance, spread }) = correction {
                    let (w, a, s) = (weight.two(of), variance.two(of), spread.two(of));
                    mixed.each(|p, r, value, _| {
                        let (apart, both) = ((w[0][p] - w[1][r]) * (a[0][p] - a[1][r]), s[0][p] + s[1][r]);
                        let distance = *value + 0.5 * (apart - both);
                        *value = unless_rounding(distance, *value + both, of.same && p == r);
                    });
                }
                *state = mixed;
            }
            Stage::Flatten => state.flatten(),
            Stage::Attention(stage) => stage.run(state, of),
            Stage::Serial(stages) => stages.iter().for_each(|stage| stage.run(state, of)),
            Stage::Sum { branches, means } => {
                let mut total: Option<State> = None;
                for (weight, stage) in branches {
                    let mut branch = state.clone();
                    stage.run(&mut branch, of);
                    if let Form::Input(_) = branch.form {
                        branch.dense(of);
                    }
                    match &mut total {
                        None => {
                            scale(&mut branch, *weight);
                            total = Some(branch);
                        }
                        Some(total) => add(total, branch, *weight, of),
                    }
                }
                let Some(mut total) = total else { return };
                let means: Vec<Two<'_>> = means.iter().map(|mean| mean.two(of)).collect();
                if means.len() > 1 {
                    total.dense(of);
                }
                let covariances = total.covariances;
                for (k, a) in means.iter().enumerate() {
                    for b in &means[k + 1..] {
                        total.each(|p, s, value, _| {
                            *value += if covariances {
                                a[0][p] * b[1][s] + b[0][p] * a[1][s]
                            } else {
                                (a[0][p] - a[1][s]) * (b[0][p] - b[1][s])
                            };
                        });
                    }
                }
                *state = total;
            }
            Stage::Product(branches) => {
                let mut total: Option<(State, Option<[Vec<f64>; 2]>)> = None;
                for (stage, variance) in branches {
                    let mut branch = state.clone();
                    stage.run(&mut branch, of);
                    branch.dense(of);
                    let q = variance.as_ref().map(|variance| variance.two(of).map(<[f64]>::to_vec));
                    total = Some(match total {
                        None => (branch, q),
                        Some((mut product, before)) => {
                            alike(&mut product, &mut branch);
                            multiply(&mut product, before.as_ref(), &branch, q.as_ref());
                            let both = before.zip(q).map(|([a, b], [c, d])| {
                                let times =
                                    |a: Vec<f64>, c: Vec<f64>| a.iter().zip(&c).map(|(a, c)| a * c).collect();
                                [times(a, c), times(b, d)]
                            });
                            (product, both)
                        }
                    });
                }
                if let Some((product, _)) = total {
                    *state = product;
                }
            }
            Stage::Join { branches, places, variance, means } => {
                let parts: Vec<State> = branches
                    .iter()
                    .map(|stage| {
                        let mut branch = state.clone();
                        stage.run(&mut branch, of);
                        branch.dense(of);
                        branch
                    })
                    .collect();
                let (full, n) = (parts.iter().all(|part| part.full), places.len());
                let count = if full { n * n } else { n };
                let covariances = parts.iter().all(|part| part.covariances);
                let ntk = vec![0.0; if state.ntk.is_empty() { 0 } else { count }];
                let (values, wants_ntk) = (vec![0.0; count], state.wants_ntk);
                let mut joined =
                    State { positions: n, full, covariances, values, ntk, wants_ntk, form: Form::Dense };
                let q = variance.as_ref().map(|variance| variance.two(of));
                joined.each(|p, s, value, ntk| {
                    let ((a, at), (b, to)) = (places[p], places[s]);
                    if a == b {
                        let part = &parts[a];
                        let k = if part.full { at * part.positions + to } else { at };
                        *value = part.values[k];
                        *ntk = part.ntk.get(k).copied().unwrap_or(0.0);
                    } else {
                        let mean = |branch: usize, sample: usize, at: usize| {
                            means[branch].as_ref().map_or(0.0, |mean| mean.of(sample)[at])
                        };
                        let k = mean(a, of.i, at) * mean(b, of.j, to);
                        *value = q.map_or(k, |q| 0.5 * (q[0][p] + q[1][s]) - k);
                    }
                });
                *state = joined;
            }
            Stage::Mask { lengths, variance } => state.mask([lengths[of.i], lengths[of.j]], variance.two(of)),
        }
    }

    /// The largest error bound of a quadrature in this stage.
    pub(crate) fn quadrature_error(&self) -> f64 {
        let largest = |errors: &mut dyn Iterator<Item = f64>| errors.fold(0.0, f64::max);
        match self {
            Stage::Activation { prepared, .. } => prepared.error(),
            Stage::Attention(stage) => stage.error(),
            Stage::Run(run) => run.quadrature_error(),
            Stage::Serial(stages) | Stage::Join { branches: stages, .. } => {
                largest(&mut stages.iter().map(Stage::quadrature_error))
            }
            Stage::Sum { branches, .. } => {
                largest(&mut branches.iter().map(|(_, stage)| stage.quadrature_error()))
            }
            Stage::Product(branches) => {
                largest(&mut branches.iter().map(|(stage, _)| stage.quadrature_error()))
            }
            _ => 0.0,
        }
    }
}

/// A distance that a difference has left; what is left of equal samples is rounding of its `terms`.
pub(crate) fn unless_rounding(distance: f64, terms: f64, same: bool) -> f64 {
    if same || distance <= 8.0 * f64::EPSILON * terms { 0.0 } else { distance }
}

fn scale(state: &mut State, weight: f64) {
    match &mut state.form {
        _ if weight == 1.0 => {}
        Form::Single(sheets) => sheets.scale(weight),
        Form::Double(sheets) => sheets.scale(weight),
        Form::Dense | Form::Input(_) => {
            state.values.iter_mut().chain(&mut state.ntk).for_each(|value| *value *= weight);
        }
    }
}

fn add(total: &mut State, mut other: State, weight: f64, of: Of) {
    let added = match (&mut total.form, &other.form) {
        (Form::Single(total), Form::Single(other)) => total.add(other, weight),
        (Form::Double(total), Form::Double(other)) => total.add(other, weight),
        _ => false,
    };
    if !added {
        total.dense(of);
        other.dense(of);
        alike(total, &mut other);
        total.values.iter_mut().zip(&other.values).for_each(|(a, b)| *a += weight * b);
        total.ntk.iter_mut().zip(&other.ntk).for_each(|(a, b)| *a += weight * b);
    }
}

/// A branch that leaves pairs of the same position says that no others are read: the other branch drops them too.
fn alike(a: &mut State, b: &mut State) {
    if a.full != b.full {
        a.keep_same();
        b.keep_same();
    }
}

/// (K₁K₂, Θ₁K₂ + K₁Θ₂). q: variances of both factors, none where they are covariances.
fn multiply(product: &mut State, q1: Option<&[Vec<f64>; 2]>, factor: &State, q2: Option<&[Vec<f64>; 2]>) {
    let full = product.full;
    let width = product.positions;
    product.each(|p, s, value, ntk| {
        let k = if full { p * width + s } else { p };
        let (v2, t2) = (factor.values[k], factor.ntk.get(k).copied().unwrap_or(0.0));
        let (k1, k2) = match (q1, q2) {
            (Some(a), Some(b)) => {
                let (m1, m2) = (0.5 * (a[0][p] + a[1][s]), 0.5 * (b[0][p] + b[1][s]));
                let (k1, k2) = (m1 - *value, m2 - v2);
                // ½(a b + a′b′) − K₁K₂, without cancellation.
                *value = 0.25 * (a[0][p] - a[1][s]) * (b[0][p] - b[1][s]) + m1 * v2 + k2 * *value;
                (k1, k2)
            }
            _ => {
                let k1 = *value;
                *value *= v2;
                (k1, v2)
            }
        };
        *ntk = *ntk * k2 + k1 * t2;
    });
}
