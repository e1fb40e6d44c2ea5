//! Recurrent networks: the same weights at every step.

use ndarray::Array2;

use super::{Readout, Weights, Writer, split, times};
use crate::program::{Error, Expr, MatrixId, Program, VectorId};

/// s_t = φ(W s_{t−1} + U ξ_t + b), s₀ = 0: \[yang2019wide\] and \[yang2020tensor\] appendix E.2. `lengths`: tokens of each
/// sequence.
///
/// # Errors
/// As [`mlp`](super::mlp); [`Error::Law`] if the lengths do not add up to the rows of the Gram matrix.
pub fn rnn(
    phi: &Expr,
    weights: &Weights,
    gram: &Array2<f64>,
    lengths: &[usize],
    readout: Readout,
) -> Result<Program, Error> {
    let mut w = Writer::new(weights);
    let tokens = split(w.embed("u", gram)?, lengths)?;
    let (matrix, b) = (w.matrix("W")?, w.bias("b")?);
    let mut states = Vec::new();
    for sequence in tokens {
        let mut all: Vec<VectorId> = Vec::new();
        for u in sequence {
            let back = all.last().map(|&s| w.p.matmul(matrix, s)).transpose()?;
            let g = w.sum([back, Some(u), b])?;
            all.push(w.p.apply(phi.clone(), &[g])?);
        }
        states.push(all);
    }
    w.read(&states, readout)?;
    Ok(w.p.finish())
}

/// One gate: its matrix, its bias, and its embeddings of all tokens.
struct Gate {
    matrix: MatrixId,
    bias: Option<VectorId>,
    tokens: Vec<Vec<VectorId>>,
}

impl Gate {
    fn new(w: &mut Writer<'_>, name: &str, gram: &Array2<f64>, lengths: &[usize]) -> Result<Self, Error> {
        let tokens = split(w.embed(&format!("u{name}"), gram)?, lengths)?;
        Ok(Gate { matrix: w.matrix(&format!("W{name}"))?, bias: w.bias(&format!("b{name}"))?, tokens })
    }

    /// W h + U ξ + b.
    fn at(&self, w: &mut Writer<'_>, at: [usize; 2], h: Option<VectorId>) -> Result<VectorId, Error> {
        let back = h.map(|h| w.p.matmul(self.matrix, h)).transpose()?;
        w.sum([back, Some(self.tokens[at[0]][at[1]]), self.bias])
    }
}

/// z = σ(W_z h + U_z ξ + b_z), r likewise, h ← (1 − z) h + z φ(W_h (r h) + U_h ξ + b_h), with gates σ; h₀ = 0.
///
/// # Errors
/// As [`rnn`].
pub fn gru(
    phi: &Expr,
    gate: &Expr,
    weights: &Weights,
    gram: &Array2<f64>,
    lengths: &[usize],
    readout: Readout,
) -> Result<Program, Error> {
    let mut w = Writer::new(weights);
    let [z, r, h] = ["z", "r", "h"].map(|name| Gate::new(&mut w, name, gram, lengths));
    let (z, r, h) = (z?, r?, h?);
    let at = |k: usize| gate.substitute(&[Expr::arg(k)], &[]);
    let inner = |k: usize| phi.substitute(&[Expr::arg(k)], &[]);
    let mut states = Vec::new();
    for (k, &length) in lengths.iter().enumerate() {
        let mut all: Vec<VectorId> = Vec::new();
        for t in 0..length {
            let last = all.last().copied();
            let z = z.at(&mut w, [k, t], last)?;
            let reset = match last {
                Some(last) => {
                    let r = r.at(&mut w, [k, t], Some(last))?;
                    Some(w.p.apply(Expr::arg(0) * at(1), &[last, r])?)
                }
                None => None,
            };
            let candidate = h.at(&mut w, [k, t], reset)?;
            all.push(match last {
                Some(last) => {
                    let f = Expr::arg(0) * (1.0 - at(1)) + at(1) * inner(2);
                    w.p.apply(f, &[last, z, candidate])?
                }
                None => w.p.apply(at(0) * inner(1), &[z, candidate])?,
            });
        }
        states.push(all);
    }
    w.read(&states, readout)?;
    Ok(w.p.finish())
}

/// Gates i, f, o = σ(W h + U ξ + b) and g = φ(W h + U ξ + b), c ← f c + i g, h = o φ(c); h₀ = c₀ = 0.
///
/// # Errors
/// As [`rnn`].
pub fn lstm(
    phi: &Expr,
    gate: &Expr,
    weights: &Weights,
    gram: &Array2<f64>,
    lengths: &[usize],
    readout: Readout,
) -> Result<Program, Error> {
    let mut w = Writer::new(weights);
    let gates = ["i", "f", "o", "g"].map(|name| Gate::new(&mut w, name, gram, lengths));
    let [i, f, o, g] = gates;
    let (i, f, o, g) = (i?, f?, o?, g?);
    let sigma = |k: usize| gate.substitute(&[Expr::arg(k)], &[]);
    let inner = |k: usize| phi.substitute(&[Expr::arg(k)], &[]);
    let mut states = Vec::new();
    for (k, &length) in lengths.iter().enumerate() {
        let (mut all, mut cell): (Vec<VectorId>, Option<VectorId>) = (Vec::new(), None);
        for t in 0..length {
            let last = all.last().copied();
            let mut at = |gate: &Gate| gate.at(&mut w, [k, t], last);
            let (input, output, value) = (at(&i)?, at(&o)?, at(&g)?);
            let new = sigma(0) * inner(1);
            cell = Some(match cell {
                Some(cell) => {
                    let forget = f.at(&mut w, [k, t], last)?;
                    let kept = new + sigma(2) * Expr::arg(3);
                    w.p.apply(kept, &[input, value, forget, cell])?
                }
                None => w.p.apply(new, &[input, value])?,
            });
            if let Some(cell) = cell {
                let shown = times().substitute(&[sigma(0), inner(1)], &[]);
                all.push(w.p.apply(shown, &[output, cell])?);
            }
        }
        states.push(all);
    }
    w.read(&states, readout)?;
    Ok(w.p.finish())
}
