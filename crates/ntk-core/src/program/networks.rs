//! Networks as programs: functions that write what a front end of a user would.
//!
//! All samples stand in one program, so that all pairs of outputs come out together. Samples enter by the inner products
//! ξᵀξ̄/d of their tokens (words, pixels, nodes), one row of a Gram matrix for each token of each sample in order.

mod cells;
mod grids;
mod heads;
mod layers;
mod perceptrons;
mod transformers;

use ndarray::Array2;

use super::{Builder, Error, Expr, MatrixId, VectorId};

pub use cells::{gru, lstm, rnn};
pub use grids::{convolution, graph_convolution};
pub use heads::{Shares, attention_of_heads};
pub use layers::{attention, batch_norm, layer_norm};
pub use perceptrons::{autoencoder, mlp, residual, residual_tied};
pub use transformers::{Transformer, transformer};

/// The variances of the layers of a network, and how their parameters learn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    /// σ_w² of hidden matrices.
    pub weight: f64,
    /// σ_u² of the embedding of inputs.
    pub input: f64,
    /// σ_b² of biases; there are none at 0 with [`Rates::Variance`].
    pub bias: f64,
    /// σ_v² of the readout.
    pub readout: f64,
    /// Rates of all of them.
    pub rates: Rates,
}

/// What the derivatives in the parameters ω are multiplied by in the tangent kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rates {
    /// 1, with ω ~ N(0, σ²): the convention of \[yang2020tensor\].
    Unit,
    /// σ², which is ω ~ N(0, 1) behind a factor σ: NTK parameterization.
    Variance,
}

/// Which states of a sequence, or of the positions of a grid, an output reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readout {
    /// The last one.
    Last,
    /// Their average.
    Average,
    /// All of them, each by a readout of its own over √positions.
    Each,
}

/// A builder with the weights at hand.
struct Writer<'a> {
    p: Builder,
    weights: &'a Weights,
}

impl<'a> Writer<'a> {
    fn new(weights: &'a Weights) -> Self {
        Writer { p: Builder::new(), weights }
    }

    fn rate(&self, variance: f64) -> f64 {
        match self.weights.rates {
            Rates::Unit => 1.0,
            Rates::Variance => variance,
        }
    }

    /// Embeddings Uξ of all tokens.
    fn embed(&mut self, name: &str, gram: &Array2<f64>) -> Result<Vec<VectorId>, Error> {
        let names: Vec<String> = (0..gram.nrows()).map(|k| format!("{name}{k}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let tangent = gram * self.rate(self.weights.input);
        self.p.inputs(&names, &vec![0.0; gram.nrows()], gram * self.weights.input, Some(tangent))
    }

    /// An input of one vector that is trained: a bias or a readout.
    fn parameter(&mut self, name: &str, variance: f64) -> Result<VectorId, Error> {
        let one = |value: f64| Array2::from_elem((1, 1), value);
        let rate = self.rate(variance);
        Ok(self.p.inputs(&[name], &[0.0], one(variance), Some(one(rate)))?[0])
    }

    fn bias(&mut self, name: &str) -> Result<Option<VectorId>, Error> {
        if self.weights.bias == 0.0 && self.weights.rates == Rates::Variance {
            return Ok(None);
        }
        self.parameter(name, self.weights.bias).map(Some)
    }

    fn matrix(&mut self, name: &str) -> Result<MatrixId, Error> {
        self.p.matrix_with(name, self.weights.weight, self.rate(self.weights.weight))
    }

    /// The sum of what there is.
    fn sum(&mut self, parts: impl IntoIterator<Item = Option<VectorId>>) -> Result<VectorId, Error> {
        let terms: Vec<(f64, VectorId)> = parts.into_iter().flatten().map(|x| (1.0, x)).collect();
        self.p.combine(&terms)
    }

    /// An output for each sample, of its states.
    fn read(&mut self, states: &[Vec<VectorId>], readout: Readout) -> Result<(), Error> {
        let longest = states.iter().map(Vec::len).max().unwrap_or(0);
        let count = if readout == Readout::Each { longest } else { 1 };
        let share = 1.0 / count.max(1) as f64;
        let (variance, rate) = (self.weights.readout * share, self.rate(self.weights.readout) * share);
        let one = |value: f64| Array2::from_elem((1, 1), value);
        let v = (0..count)
            .map(|k| Ok(self.p.inputs(&[&format!("v{k}")], &[0.0], one(variance), Some(one(rate)))?[0]))
            .collect::<Result<Vec<_>, Error>>()?;
        for (k, states) in states.iter().enumerate() {
            let parts: Vec<(VectorId, VectorId)> = match (readout, states.last()) {
                (Readout::Each, _) => v.iter().copied().zip(states.iter().copied()).collect(),
                (Readout::Last, Some(&last)) => vec![(v[0], last)],
                (Readout::Average, Some(_)) => {
                    let share = 1.0 / states.len() as f64;
                    let terms: Vec<(f64, VectorId)> = states.iter().map(|&x| (share, x)).collect();
                    vec![(v[0], self.p.combine(&terms)?)]
                }
                (_, None) => return Err(Error::Empty { line: 0, operation: "a sample" }),
            };
            self.p.output_of(&format!("f{k}"), &parts)?;
        }
        Ok(())
    }
}

/// Rows of tokens, sample by sample.
fn split<T>(tokens: Vec<T>, lengths: &[usize]) -> Result<Vec<Vec<T>>, Error> {
    let total: usize = lengths.iter().sum();
    if total != tokens.len() || lengths.contains(&0) {
        let reason =
            format!("samples of {lengths:?} tokens need a Gram matrix of {total}, not {}", tokens.len());
        return Err(Error::Law { line: 1, reason });
    }
    let mut rest = tokens.into_iter();
    Ok(lengths.iter().map(|&n| rest.by_ref().take(n).collect()).collect())
}

/// x · y.
fn times() -> Expr {
    Expr::arg(0) * Expr::arg(1)
}
