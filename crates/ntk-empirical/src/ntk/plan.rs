//! `NtkPlan`: which way each layer goes, how many samples and outputs at a time, and what that is predicted to take.

use std::fmt;
use std::ops::Range;

use super::cost::{Cost, Layer, Work};
use super::{NtkMethod, NtkOptions, NtkPart};
use crate::contract::Part;
use crate::{Error, FiniteNet};

/// Bytes beyond which a chunk of samples only leaves the caches.
const CHUNK: f64 = (1u64 << 25) as f64;
/// Of a sample: so that the least bound that is reported is one that does.
const ROUNDING: f64 = 1e-6;

/// What was chosen for a tangent kernel before it is computed; `Display` prints it as a table.
///
/// Operations are multiplications with an addition, of symmetric kernels in one triangle; bytes are those beside the
/// result. Both are predictions.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NtkPlan {
    /// What is computed.
    pub part: NtkPart,
    /// Products for the whole network, or layer by layer.
    pub method: NtkMethod,
    /// Each layer that learns; none for products.
    pub layers: Vec<LayerPlan>,
    /// Operations of all sweeps forward and backward; for products, of everything.
    pub sweeps: f64,
    /// Bytes at the peak, beside the result.
    pub bytes: usize,
    /// Bytes of the result.
    pub result: usize,
    /// Samples of x₁ whose features are kept at a time.
    pub rows: usize,
    /// Samples that are swept at a time.
    pub chunk: usize,
    /// Outputs whose cotangents are carried at a time.
    pub outputs: usize,
}

/// What was chosen for one layer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LayerPlan {
    /// Its path.
    pub layer: String,
    /// [`NtkMethod::Structured`] or [`NtkMethod::Jacobian`].
    pub method: NtkMethod,
    /// Operations of its share.
    pub operations: f64,
    /// Bytes that are kept of all samples of x₁ at a time.
    pub bytes: usize,
    pub(super) index: usize,
}

impl NtkPlan {
    /// Operations in all.
    pub fn operations(&self) -> f64 {
        self.sweeps + self.layers.iter().map(|layer| layer.operations).sum::<f64>()
    }

    /// Whether the derivative of a layer is formed.
    pub(super) fn forms(&self, index: usize) -> bool {
        self.layers.iter().any(|layer| layer.index == index && layer.method == NtkMethod::Jacobian)
    }
}

impl fmt::Display for NtkPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:24} {:12} {:>12} {:>14}", "layer", "method", "operations", "bytes kept")?;
        for LayerPlan { layer, method, operations, bytes, .. } in &self.layers {
            writeln!(f, "{layer:24} {:12} {operations:12.2e} {bytes:14}", method.name())?;
        }
        let name = if self.method == NtkMethod::Products { self.method.name() } else { "" };
        writeln!(f, "{:24} {name:12} {:12.2e}", "sweeps", self.sweeps)?;
        writeln!(f, "{:24} {:12} {:12.2e} {:14}", "all", "", self.operations(), self.bytes)?;
        write!(
            f,
            "{} rows, {} samples and {} outputs at a time; {} bytes of result",
            self.rows, self.chunk, self.outputs, self.result
        )
    }
}

/// A question to the planner.
pub(super) struct Request<'a> {
    pub(super) net: &'a FiniteNet,
    pub(super) cost: Cost,
    pub(super) n1: usize,
    pub(super) n2: usize,
    pub(super) symmetric: bool,
    pub(super) part: NtkPart,
    pub(super) options: NtkOptions,
}

/// Samples and outputs at a time, and which layers form their derivatives.
struct Choice {
    rows: usize,
    chunk: usize,
    outputs: usize,
    forms: Vec<bool>,
}

impl Request<'_> {
    /// The fewest operations within the bound.
    pub(super) fn plan(&self) -> Result<NtkPlan, Error> {
        let method = self.options.method;
        let structured = if method == NtkMethod::Products { None } else { self.best() };
        let products =
            if matches!(method, NtkMethod::Products | NtkMethod::Auto) { self.products() } else { None };
        let plan = match (structured, products) {
            (Some(a), Some(b)) => Some(if b.operations() < a.operations() { b } else { a }),
            (a, b) => a.or(b),
        };
        plan.ok_or_else(|| Error::Memory { bound: self.options.memory, needed: self.least() })
    }

    /// Samples at a time for one product.
    pub(super) fn product_rows(&self) -> Result<usize, Error> {
        let most = (CHUNK / (self.product_bytes(1) - self.product_bytes(0))) as usize;
        let plan = self.products();
        plan.map(|plan| plan.rows.min(most.max(1))).ok_or_else(|| Error::Memory {
            bound: self.options.memory,
            needed: self.product_bytes(1).ceil() as usize,
        })
    }

    /// Outputs whose cotangents are told apart.
    fn outputs(&self) -> usize {
        if self.part == NtkPart::SumOfLogits { 1 } else { self.net.output_width() }
    }

    fn number(&self) -> f64 {
        self.net.lowering().dtype.size_in_bytes() as f64
    }

    fn bound(&self) -> f64 {
        self.options.memory as f64
    }

    fn result(&self) -> usize {
        let o = self.net.output_width();
        let each = match self.part {
            NtkPart::Blocks => o * o,
            NtkPart::Diagonals => o,
            NtkPart::Layers => self.net.affines.len(),
            NtkPart::Trace | NtkPart::SumOfLogits => 1,
        };
        8 * self.n1 * self.n2 * each
    }

    fn best(&self) -> Option<NtkPlan> {
        let mut best: Option<NtkPlan> = None;
        for outputs in halves(self.outputs()) {
            let mut before: Option<Vec<bool>> = None;
            // What a byte is worth in operations: from nothing to everything.
            let prices = (0..16).map(|k| if k == 0 { 0.0 } else { 4f64.powi(k) });
            for price in prices.chain([f64::INFINITY]) {
                let forms = self.forms(outputs, price);
                if before.as_ref() == Some(&forms) {
                    continue;
                }
                let most = (CHUNK / self.sample_bytes(outputs, &forms)) as usize;
                for chunk in halves(most.clamp(1, self.n1.max(self.n2))) {
                    let choice = Choice {
                        rows: self.rows(chunk, outputs, &forms),
                        chunk,
                        outputs,
                        forms: forms.clone(),
                    };
                    if choice.rows > 0 {
                        let plan = self.priced(&choice);
                        let better = |best: &NtkPlan| plan.operations() < 0.999 * best.operations();
                        if best.as_ref().is_none_or(better) {
                            best = Some(plan);
                        }
                    }
                }
                before = Some(forms);
            }
        }
        best
    }

    /// Which layers form their derivatives if memory has a price.
    fn forms(&self, outputs: usize, price: f64) -> Vec<bool> {
        let work = self.work(self.n1, self.outputs());
        let cheaper = |layer: &Layer| {
            let bytes = |form: bool| layer.kept(form, outputs as f64) + layer.passing(form, outputs as f64);
            let value = |form: bool| {
                let operations = layer.operations(form, work);
                if price.is_infinite() {
                    bytes(form)
                } else {
                    operations + price * bytes(form) * self.number()
                }
            };
            value(true) < value(false)
        };
        let form = |layer| match self.options.method {
            NtkMethod::Structured => false,
            NtkMethod::Jacobian => true,
            _ => cheaper(layer),
        };
        self.cost.layers.iter().map(form).collect()
    }

    /// Whether all samples are swept at once and nothing is kept.
    fn alone(&self, chunk: usize, outputs: usize) -> bool {
        self.symmetric && chunk >= self.n1 && (outputs == self.outputs() || self.part != NtkPart::Blocks)
    }

    /// Samples whose features may be kept: 0 if none.
    fn rows(&self, chunk: usize, outputs: usize, forms: &[bool]) -> usize {
        if self.alone(chunk, outputs) {
            return if self.bytes(self.n1, chunk, outputs, forms) <= self.bound() { self.n1 } else { 0 };
        }
        let fixed = self.bytes(0, chunk, outputs, forms);
        let each = self.bytes(1, chunk, outputs, forms) - fixed;
        let rows = ((self.bound() - fixed) / each + ROUNDING).max(0.0) as usize;
        rows.min(self.n1)
    }

    /// Bytes of a sample while it is swept.
    fn sample_bytes(&self, outputs: usize, forms: &[bool]) -> f64 {
        let (cost, o) = (&self.cost, outputs as f64);
        let passing = self.layers(forms).map(|(layer, form)| layer.passing(form, o)).fold(0.0, f64::max);
        let sweep = cost.signal.max(o * cost.cotangent + passing);
        self.number() * (2.0 * cost.input + cost.tape + sweep) + 8.0 * cost.input
    }

    /// Bytes at the peak.
    fn bytes(&self, rows: usize, chunk: usize, outputs: usize, forms: &[bool]) -> f64 {
        let o = outputs as f64;
        let kept = self.layers(forms).map(|(layer, form)| layer.kept(form, o)).sum::<f64>();
        let kept = if self.alone(chunk, outputs) { 0.0 } else { kept };
        let layers = if self.part == NtkPart::Layers { self.net.affines.len() as f64 } else { 1.0 };
        let pair = (self.number() + 40.0) * self.work(1, outputs).products() + 8.0 * layers;
        let chunk = chunk as f64;
        2.0 * self.number() * self.cost.weight
            + chunk * self.sample_bytes(outputs, forms)
            + rows as f64 * (self.number() * kept + chunk * pair)
    }

    /// The bound that would do.
    fn least(&self) -> usize {
        let structured = self.bytes(1, 1, 1, &self.forms(1, f64::INFINITY));
        let least = match self.options.method {
            NtkMethod::Products => self.product_bytes(1),
            NtkMethod::Auto => structured.min(self.product_bytes(1)),
            _ => structured,
        };
        least.ceil() as usize
    }

    fn layers(&self, forms: &[bool]) -> impl Iterator<Item = (&Layer, bool)> {
        self.cost.layers.iter().zip(forms.to_vec())
    }

    /// What the layers compute, in sweeps of so many rows and outputs.
    fn work(&self, rows: usize, outputs: usize) -> Work {
        let groups = self.outputs().div_ceil(outputs) as f64;
        let (n1, n2) = (self.n1 as f64, self.n2 as f64);
        let tiles = self.n1.div_ceil(rows.max(1)) as f64;
        let blocks = self.part == NtkPart::Blocks;
        // Groups of outputs beside each, and pairs of different groups.
        let others = if blocks { groups * (groups - 1.0) / 2.0 } else { 0.0 };
        let (pairs, swept) = if self.symmetric {
            // One triangle, whatever the chunks.
            let later = tiles * n1 - rows as f64 * tiles * (tiles - 1.0) / 2.0;
            let triangle = n1 * (n1 + 1.0) / 2.0;
            (groups * triangle + others * n1 * n1, groups * later + others * tiles * n1)
        } else {
            let times = if blocks { groups * groups } else { groups };
            (times * n1 * n2, groups * n1 + times * tiles * n2)
        };
        Work { pairs, swept, outputs: outputs as f64, part: self.part.contraction() }
    }

    /// A choice with what it takes.
    fn priced(&self, choice: &Choice) -> NtkPlan {
        let &Choice { rows, chunk, outputs, ref forms } = choice;
        let work = self.work(rows, outputs);
        let alone = self.alone(chunk, outputs);
        let layer = |(layer, form): (&Layer, bool)| LayerPlan {
            layer: self.net.affines[layer.index].path.clone(),
            method: if form { NtkMethod::Jacobian } else { NtkMethod::Structured },
            operations: layer.operations(form, work),
            bytes: if alone { 0 } else { (self.number() * layer.kept(form, work.outputs)) as usize * rows },
            index: layer.index,
        };
        NtkPlan {
            part: self.part,
            method: self.options.method,
            layers: self.layers(forms).map(layer).collect(),
            sweeps: work.swept * (self.cost.forward + work.outputs * self.cost.backward)
                + 2.0 * work.swept / chunk as f64 * self.cost.read,
            bytes: self.bytes(rows, chunk, outputs, forms) as usize,
            result: self.result(),
            rows,
            chunk,
            outputs,
        }
    }

    fn product_bytes(&self, rows: usize) -> f64 {
        let Cost { input, tape, signal, cotangent, parameters, .. } = self.cost;
        let sample = 2.0 * input + tape + 4.0 * signal;
        self.number() * (rows as f64 * sample + sample + cotangent + 3.0 * parameters)
            + 8.0 * (rows as f64 * (input + 2.0 * self.outputs() as f64))
    }

    /// Products with one unit vector after another.
    fn products(&self) -> Option<NtkPlan> {
        let fixed = self.product_bytes(0);
        let rows = (self.bound() - fixed) / (self.product_bytes(1) - fixed) + ROUNDING;
        let rows = (rows.max(0.0) as usize).min(self.n1);
        if rows == 0 {
            return None;
        }
        let (n1, n2, o) = (self.n1 as f64, self.n2 as f64, self.outputs() as f64);
        let tiles = self.n1.div_ceil(rows) as f64;
        let Cost { forward, backward, read, .. } = self.cost;
        let times = if self.part == NtkPart::Layers { self.net.affines.len() as f64 } else { 1.0 };
        let sweeps = n1 * forward
            + tiles * n2 * (forward + o * (backward + forward + 3.0 * read))
            + times * n2 * o * 2.0 * (n1 * forward + tiles * read);
        Some(NtkPlan {
            part: self.part,
            method: NtkMethod::Products,
            layers: Vec::new(),
            sweeps,
            bytes: self.product_bytes(rows) as usize,
            result: self.result(),
            rows,
            chunk: 1,
            outputs: 1,
        })
    }
}

impl NtkPart {
    pub(super) fn contraction(self) -> Part {
        match self {
            NtkPart::Blocks | NtkPart::SumOfLogits => Part::Blocks,
            NtkPart::Diagonals => Part::Diagonals,
            NtkPart::Trace | NtkPart::Layers => Part::Trace,
        }
    }
}

/// All of it, half of it, …, one.
fn halves(all: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(all), |&n| (n > 1).then(|| n.div_ceil(2)))
}

/// Parts of at most `len` of a range.
pub(super) fn ranges(all: Range<usize>, len: usize) -> impl Iterator<Item = Range<usize>> {
    let end = all.end;
    all.step_by(len).map(move |start| start..end.min(start + len))
}
