//! What training changes, A, G and B, and the signals of a forward and a backward pass that say how.

use ndarray::Array2;

use super::operators::Operators;
use super::vector::{Matrix, Vector, add, dot};

/// A as d columns in space 0, Gⱼ as a matrix, B as k columns in space q.
#[derive(Clone, Debug)]
pub(super) struct Weights {
    pub(super) input: Vec<Vector>,
    pub(super) updates: Vec<Matrix>,
    pub(super) output: Vec<Vector>,
}

/// Where the weights go: A′ = z₀ rᵀ, Mⱼ′ = zⱼ pⱼ₋₁ᵀ, B′ = p_q.
#[derive(Clone, Debug)]
pub(super) struct Signals {
    /// zⱼ = Mⱼ₊₁ᵀ ⋯ M_qᵀ B: k columns for each space.
    pub(super) backward: Vec<Vec<Vector>>,
    /// pⱼ = Mⱼ ⋯ M₁ A r, likewise.
    pub(super) forward: Vec<Vec<Vector>>,
    /// r = −∇F, (d, k).
    pub(super) descent: Array2<f64>,
}

impl Weights {
    /// The same shape, all zero.
    pub(super) fn zero(&self) -> Self {
        Weights {
            input: vec![Vector::new(); self.input.len()],
            updates: vec![Matrix::default(); self.updates.len()],
            output: vec![Vector::new(); self.output.len()],
        }
    }

    /// θ ← θ + h θ′.
    pub(super) fn add(&mut self, h: f64, signals: &Signals) {
        let Signals { backward, forward, descent } = signals;
        for (column, r) in self.input.iter_mut().zip(descent.rows()) {
            backward[0].iter().zip(r).for_each(|(z, &r)| add(column, h * r, z));
        }
        for (j, update) in self.updates.iter_mut().enumerate() {
            for (z, p) in backward[j + 1].iter().zip(&forward[j]) {
                update.add_outer(h, z, p);
            }
        }
        for (column, p) in self.output.iter_mut().zip(&forward[self.updates.len()]) {
            add(column, h, p);
        }
    }

    /// ‖θ‖, with the Hilbert–Schmidt norms of G.
    pub(super) fn norm(&self) -> f64 {
        let square = |columns: &[Vector]| columns.iter().map(|c| dot(c, c)).sum::<f64>();
        let updates: f64 = self.updates.iter().map(Matrix::square).sum();
        (square(&self.input) + updates + square(&self.output)).sqrt()
    }

    /// z₀, …, z_q.
    pub(super) fn backward(&self, operators: &mut Operators) -> Vec<Vec<Vector>> {
        let mut all = vec![self.output.clone()];
        for at in (0..self.updates.len()).rev() {
            let last = &all[all.len() - 1];
            let next = last.iter().map(|z| {
                let mut out = operators.apply_transposed(at, z);
                self.updates[at].apply_transposed(z, &mut out);
                out
            });
            let next = next.collect();
            all.push(next);
        }
        all.reverse();
        all
    }

    /// x, M₁x, …, M_q ⋯ M₁ x for a few vectors x of space 0.
    pub(super) fn forward(&self, operators: &mut Operators, x: Vec<Vector>) -> Vec<Vec<Vector>> {
        let mut all = vec![x];
        for (at, update) in self.updates.iter().enumerate() {
            let next = all[at].iter().map(|p| {
                let mut out = operators.apply(at, p);
                update.apply(p, &mut out);
                out
            });
            let next = next.collect();
            all.push(next);
        }
        all
    }

    /// A r: k vectors of space 0.
    pub(super) fn read(&self, descent: &Array2<f64>) -> Vec<Vector> {
        let column = |r: ndarray::ArrayView1<'_, f64>| {
            let mut out = Vector::new();
            self.input.iter().zip(r).for_each(|(a, &r)| add(&mut out, r, a));
            out
        };
        descent.columns().into_iter().map(column).collect()
    }
}
