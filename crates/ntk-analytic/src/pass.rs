//! One pass over the samples before the pairs: everything that depends on one sample alone, layer by layer.
//!
//! Variances never depend on other samples, so they are computed once, n numbers a layer, with every factor that the
//! rows of a kernel need; whatever can fail fails here.

use std::sync::Arc;

use ntk_core::Activation;

use crate::dual::{self, Prepared};
use crate::plan::{self, Node};
use crate::{Cov2, DualActivation, Error, LayerRule};

/// A vector for the row samples and one for the column samples.
pub(crate) type Sides = [Vec<f64>; 2];

/// A node with the numbers of the samples at hand.
pub(crate) enum Stage {
    Affine(Affine),
    Activation(Box<dyn Prepared>),
    /// Θ ← Θ fᵢ fⱼ, with f = 1/√(q + ε).
    LayerNorm {
        factor: Sides,
    },
    Dropout {
        keep: f64,
    },
    Layer {
        rule: Arc<dyn LayerRule>,
        input: Sides,
        output: Sides,
    },
    Serial(Vec<Stage>),
    /// Kernels add; `mixes[b]` joins branch b + 1 to those before it, and Θ is weighted.
    Sum {
        branches: Vec<Stage>,
        mixes: Vec<Mix>,
        ntk_weights: Vec<f64>,
    },
    /// Kernels multiply; the standard deviations of each branch turn correlations into covariances.
    Product {
        branches: Vec<Stage>,
        roots: Vec<Sides>,
    },
}

impl Stage {
    /// The largest error bound of a quadrature in this stage.
    pub(crate) fn quadrature_error(&self) -> f64 {
        let largest = |stages: &[Stage]| stages.iter().map(Stage::quadrature_error).fold(0.0, f64::max);
        match self {
            Stage::Activation(prepared) => prepared.error(),
            Stage::Serial(stages) => largest(stages),
            Stage::Sum { branches, .. } | Stage::Product { branches, .. } => largest(branches),
            Stage::Affine(_) | Stage::LayerNorm { .. } | Stage::Dropout { .. } | Stage::Layer { .. } => 0.0,
        }
    }
}

/// K′ = σ_w² K + σ_b², Θ′ = `ntk` Θ + `direct` K + `bias_direct`.
pub(crate) struct Affine {
    pub(crate) mix: Mix,
    /// √q of the input.
    pub(crate) root: Sides,
    pub(crate) ntk: f64,
    pub(crate) direct: f64,
    pub(crate) bias_direct: f64,
}

/// Shares of two independent parts in the standard deviation of their sum: α² + β² = 1 for every sample.
pub(crate) struct Mix {
    pub(crate) alpha: Sides,
    pub(crate) beta: Sides,
    /// Whether some sample has variance 0 in all.
    pub(crate) zeros: bool,
}

impl Mix {
    fn new(first: [&[f64]; 2], second: [&[f64]; 2]) -> Self {
        let share = |a: &[f64], b: &[f64]| -> Vec<f64> {
            a.iter().zip(b).map(|(&a, &b)| if a == 0.0 { 0.0 } else { (a / (a + b)).sqrt() }).collect()
        };
        let zeros = (0..2).any(|side| first[side].iter().zip(second[side]).any(|(&a, &b)| a + b == 0.0));
        Mix {
            alpha: [share(first[0], second[0]), share(first[1], second[1])],
            beta: [share(second[0], first[0]), share(second[1], first[1])],
            zeros,
        }
    }
}

/// What a pass needs besides the variances.
pub(crate) struct Request {
    /// Input features d.
    pub(crate) features: usize,
    /// Error bound of quadrature.
    pub(crate) tolerance: f64,
}

pub(crate) fn roots(q: &Sides) -> Sides {
    [0, 1].map(|side| q[side].iter().map(|q| q.sqrt()).collect())
}

fn map(q: &Sides, f: impl Fn(f64) -> f64) -> Sides {
    [0, 1].map(|side| q[side].iter().map(|&q| f(q)).collect())
}

fn check_finite(q: &Sides, at: &str) -> Result<(), Error> {
    match q.iter().flatten().find(|q| !q.is_finite()) {
        Some(&value) => Err(Error::Overflow { at: at.to_owned(), value }),
        None => Ok(()),
    }
}

/// Evaluates a node for samples of variances `q`, which become those of its output.
pub(crate) fn pass(node: &Node, q: &mut Sides, request: &Request) -> Result<Stage, Error> {
    match node {
        Node::Affine { at, affine } => {
            let plan::Affine { weight, bias, bias_direct, .. } = *affine;
            let fan_in = affine.per_unit.map_or(1.0, |channels| channels.at(request.features));
            let root = roots(q);
            let weighted = map(q, |q| weight * q);
            let constant = map(q, |_| bias);
            let mix = Mix::new([&weighted[0], &weighted[1]], [&constant[0], &constant[1]]);
            *q = map(&weighted, |q| q + bias);
            check_finite(q, at)?;
            Ok(Stage::Affine(Affine { mix, root, ntk: weight, direct: affine.direct(fan_in), bias_direct }))
        }
        Node::Activation { at, phi } => {
            activation(at, dual::prepare(phi, &q[0], &q[1], request.tolerance), q)
        }
        Node::Custom { at, phi, rule } => {
            let prepared = match rule.as_function() {
                Some(function) => function.prepare(&q[0], &q[1]),
                None => custom(phi, rule, q),
            };
            activation(at, prepared, q)
        }
        Node::LayerNorm { at, epsilon, .. } => {
            if let Some(sample) = q.iter().find_map(|side| side.iter().position(|q| q + epsilon == 0.0)) {
                return Err(Error::ZeroVariance { at: at.clone(), sample });
            }
            let factor = map(q, |q| 1.0 / (q + epsilon).sqrt());
            *q = map(q, |q| q / (q + epsilon));
            Ok(Stage::LayerNorm { factor })
        }
        Node::Dropout { keep } => {
            *q = map(q, |q| q / keep);
            Ok(Stage::Dropout { keep: *keep })
        }
        Node::Layer { at, rule } => {
            let input = q.clone();
            *q = map(q, |q| rule.variance(q));
            check_finite(q, at)?;
            Ok(Stage::Layer { rule: Arc::clone(rule), input, output: q.clone() })
        }
        Node::Serial(nodes) => {
            Ok(Stage::Serial(nodes.iter().map(|node| pass(node, q, request)).collect::<Result<_, _>>()?))
        }
        Node::Sum { nodes, .. } => branches(nodes.iter().map(|node| (node, 1.0)), q, request),
        Node::Concat(nodes) => {
            let widths = nodes.iter().map(|(channels, _)| channels.at(request.features));
            let total: f64 = widths.clone().sum();
            branches(nodes.iter().zip(widths).map(|((_, node), width)| (node, width / total)), q, request)
        }
        Node::Product(nodes) => {
            let mut stages = Vec::with_capacity(nodes.len());
            let mut all = Vec::with_capacity(nodes.len());
            let mut product = map(q, |_| 1.0);
            for node in nodes {
                let mut end = q.clone();
                stages.push(pass(node, &mut end, request)?);
                all.push(roots(&end));
                for side in 0..2 {
                    product[side].iter_mut().zip(&end[side]).for_each(|(p, q)| *p *= q);
                }
            }
            *q = product;
            check_finite(q, "a product")?;
            Ok(Stage::Product { branches: stages, roots: all })
        }
        // Networks with these nodes are evaluated position by position.
        Node::Conv { .. }
        | Node::Embedding { .. }
        | Node::Positions { .. }
        | Node::Flatten
        | Node::Aggregate { .. }
        | Node::Attention { .. }
        | Node::Join { .. } => Err(Error::Positions { grid: ntk_core::Grid::VECTOR }),
    }
}

/// Σ_b w_b (K_b, Θ_b): a sum has weights 1, a concatenation the shares of its channels.
fn branches<'a>(
    nodes: impl Iterator<Item = (&'a Node, f64)>,
    q: &mut Sides,
    request: &Request,
) -> Result<Stage, Error> {
    let (mut stages, mut mixes, mut ntk_weights) = (Vec::new(), Vec::new(), Vec::new());
    let mut total: Option<Sides> = None;
    for (node, weight) in nodes {
        let mut end = q.clone();
        stages.push(pass(node, &mut end, request)?);
        ntk_weights.push(weight);
        let end = map(&end, |q| weight * q);
        total = Some(match total {
            None => end,
            Some(before) => {
                mixes.push(Mix::new([&before[0], &before[1]], [&end[0], &end[1]]));
                [0, 1].map(|side| before[side].iter().zip(&end[side]).map(|(a, b)| a + b).collect())
            }
        });
    }
    if let Some(total) = total {
        *q = total;
    }
    check_finite(q, "a sum")?;
    Ok(Stage::Sum { branches: stages, mixes, ntk_weights })
}

fn activation(at: &str, prepared: Result<Box<dyn Prepared>, Error>, q: &mut Sides) -> Result<Stage, Error> {
    let prepared = prepared?;
    let (rows, columns) = prepared.variances();
    *q = [rows.to_vec(), columns.to_vec()];
    check_finite(q, at)?;
    Ok(Stage::Activation(prepared))
}

/// The rule of a custom activation, asked pair by pair.
pub(crate) fn custom(
    phi: &Activation,
    rule: &Arc<dyn DualActivation>,
    q: &Sides,
) -> Result<Box<dyn Prepared>, Error> {
    let variances = |q: &[f64]| -> Result<Vec<f64>, Error> {
        q.iter()
            .map(|&q| {
                let v = rule.variance(q)?;
                let reason = "the registered rule gives no finite value of at least 0 there";
                let refuse = || Error::Expectation { activation: phi.name().to_owned(), variance: q, reason };
                if v.is_finite() && v >= 0.0 { Ok(v) } else { Err(refuse()) }
            })
            .collect()
    };
    let output = [variances(&q[0])?, variances(&q[1])?];
    Ok(Box::new(PairByPair { rule: Arc::clone(rule), input: q.clone(), output }))
}

struct PairByPair {
    rule: Arc<dyn DualActivation>,
    input: Sides,
    output: Sides,
}

impl Prepared for PairByPair {
    fn variances(&self) -> (&[f64], &[f64]) {
        (&self.output[0], &self.output[1])
    }

    fn row(&self, i: usize, j0: usize, gap: &mut [f64], mut slope: Option<&mut [f64]>) {
        for (k, gap) in gap.iter_mut().enumerate() {
            let (q11, q22) = (self.input[0][i], self.input[1][j0 + k]);
            let q12 = ((q11 * q22).sqrt() * (1.0 - gap.abs())).copysign(*gap);
            let dual = self.rule.dual(Cov2 { q11, q22, q12, gap: gap.abs() });
            *gap = dual.gap.copysign(dual.value);
            if let Some(slope) = slope.as_deref_mut() {
                slope[k] = dual.slope;
            }
        }
    }
}
