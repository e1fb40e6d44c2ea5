//! What is measured on a network in the limit: tangent kernel, speed of convergence, conserved quantities.

use ndarray::{Array2, s};
use ntk_linalg::{Symmetric, eigenvalues};

use super::limit::start;
use super::operators::Operators;
use super::vector::{Matrix, Vector, add, gram};
use super::{Limit, WeightLaw};
use crate::Error;

impl Limit {
    /// The tangent kernel K with β′ = K r between unit inputs, (d k, d k), input by input and output by output.
    ///
    /// K = Σⱼ (Hⱼ₋₁ᵀHⱼ₋₁) ⊗ (zⱼᵀzⱼ) with Hⱼ = Mⱼ ⋯ M₁ A, over j = 0, …, q + 1, the first factor of j = 0 and the last of
    /// j = q + 1 the identity. For inputs x, x′ it is (x ⊗ I)ᵀ K (x′ ⊗ I). At the start, with equal widths and variances
    /// 1, K = (q + 2) I.
    pub fn tangent_kernel(&self) -> Array2<f64> {
        let (d, k) = self.risk.dim();
        // Rows of A never seen by training are new directions: the network itself stays as it is.
        let hidden = self.weights.forward(&mut self.operators.clone(), self.weights.input.clone());
        let mut kernel = Array2::zeros((d * k, d * k));
        for term in 0..=hidden.len() {
            let left = if term == 0 { Array2::eye(d) } else { gram(&hidden[term - 1], &hidden[term - 1]) };
            let right = self.backward.get(term).map_or_else(|| Array2::eye(k), |z| gram(z, z));
            for ((i, j), &value) in left.indexed_iter() {
                let mut block = kernel.slice_mut(s![i * k..(i + 1) * k, j * k..(j + 1) * k]);
                block.scaled_add(value, &right);
            }
        }
        kernel
    }

    /// A speed that gradient flow exceeds now: F′ ≤ −2 λ₊(S) λ_min(z₀ᵀz₀) F, λ₊ the smallest nonzero eigenvalue.
    ///
    /// From K ≥ I ⊗ z₀ᵀz₀; zero if S = 0. For q = 1 and k = 1 it stays above a positive number along gradient flow, so
    /// that β goes to [`Risk::minimal_norm`](super::Risk::minimal_norm) exponentially.
    ///
    /// # Errors
    /// [`Error::Linalg`] if the eigenvalue iteration fails.
    ///
    /// Source: \[chizat2022infinite\] Theorem 2.3, Proposition 5.5.
    pub fn rate_bound(&self) -> Result<f64, Error> {
        let Some([_, curvature]) = self.risk.curvature() else { return Ok(0.0) };
        let least = eigenvalues(&Symmetric::new(gram(&self.backward[0], &self.backward[0]))?)?[0];
        Ok(2.0 * curvature * least.max(0.0))
    }

    /// How far each conserved quantity is from its value at the start, in Hilbert–Schmidt norm, one for each hidden
    /// layer: AAᵀ − M₁ᵀM₁, MⱼMⱼᵀ − Mⱼ₊₁ᵀMⱼ₊₁, M_qM_qᵀ − BBᵀ (for q = 0: AAᵀ − BBᵀ).
    ///
    /// Zero along gradient flow; of the order of the rate along gradient descent. Costs O(D³).
    pub fn imbalance(&self) -> Vec<f64> {
        let (d, k) = self.risk.dim();
        let first = start(&self.architecture, d, k);
        let mut operators = self.operators.clone();
        let updates = &self.weights.updates;
        let change = |layer: usize| {
            let mut change = Matrix::default();
            match layer.checked_sub(1) {
                None => outer(&mut change, 1.0, &self.weights.input, &first.input),
                Some(at) => after(&mut change, &mut operators, at, &updates[at]),
            }
            match updates.get(layer) {
                None => outer(&mut change, -1.0, &self.weights.output, &first.output),
                Some(update) => before(&mut change, &mut operators, layer, update),
            }
            change.square().sqrt()
        };
        (0..=updates.len()).map(change).collect()
    }

    /// The law of the weights as they are.
    pub fn law(&self) -> WeightLaw {
        WeightLaw::new(&self.weights)
    }
}

/// C ← C + s (X Xᵀ − X₀X₀ᵀ).
fn outer(change: &mut Matrix, s: f64, now: &[Vector], first: &[Vector]) {
    now.iter().for_each(|x| change.add_outer(s, x, x));
    first.iter().for_each(|x| change.add_outer(-s, x, x));
}

/// C ← C + MMᵀ − ΛΛᵀ, by rows g of G: (Λg + ½Gg) eᵀ and its transpose.
fn after(change: &mut Matrix, operators: &mut Operators, at: usize, update: &Matrix) {
    for (i, row) in update.rows().iter().enumerate() {
        let mut v = operators.apply(at, row);
        let mut own = Vector::new();
        update.apply(row, &mut own);
        add(&mut v, 0.5, &own);
        symmetric(change, 1.0, i, &v);
    }
}

/// C ← C − (MᵀM − ΛᵀΛ), likewise by columns.
fn before(change: &mut Matrix, operators: &mut Operators, at: usize, update: &Matrix) {
    for (i, column) in update.dense().columns().into_iter().enumerate() {
        let column = column.to_vec();
        let mut v = operators.apply_transposed(at, &column);
        let mut own = Vector::new();
        update.apply_transposed(&column, &mut own);
        add(&mut v, 0.5, &own);
        symmetric(change, -1.0, i, &v);
    }
}

/// C ← C + s (v eᵢᵀ + eᵢ vᵀ).
fn symmetric(change: &mut Matrix, s: f64, i: usize, v: &[f64]) {
    let unit = [vec![0.0; i], vec![1.0]].concat();
    change.add_outer(s, v, &unit);
    change.add_outer(s, &unit, v);
}
