//! Vectors of a space whose coordinates appear as they are needed: those beyond the end are zero.

use ndarray::{Array2, ArrayView1};

/// Coordinates in one of the spaces.
pub(super) type Vector = Vec<f64>;

/// ⟨a, b⟩.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len().min(b.len());
    ArrayView1::from(&a[..n]).dot(&ArrayView1::from(&b[..n]))
}

/// ‖a‖.
pub(super) fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

/// a ← a + s b.
pub(super) fn add(a: &mut Vector, s: f64, b: &[f64]) {
    if a.len() < b.len() {
        a.resize(b.len(), 0.0);
    }
    a.iter_mut().zip(b).for_each(|(a, b)| *a += s * b);
}

/// Inner products of two lists of vectors, (m, n).
pub(super) fn gram(a: &[Vector], b: &[Vector]) -> Array2<f64> {
    Array2::from_shape_fn((a.len(), b.len()), |(i, j)| dot(&a[i], &b[j]))
}

/// The vectors as columns, as long as the longest of them.
pub(super) fn columns(vectors: &[Vector]) -> Array2<f64> {
    let rows = vectors.iter().map(Vec::len).max().unwrap_or(0);
    let entry = |(i, j): (usize, usize)| vectors[j].get(i).copied().unwrap_or(0.0);
    Array2::from_shape_fn((rows, vectors.len()), entry)
}

/// A matrix between two such spaces, by rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Matrix {
    rows: Vec<Vector>,
}

impl Matrix {
    /// G ← G + s z pᵀ.
    pub(super) fn add_outer(&mut self, s: f64, z: &[f64], p: &[f64]) {
        if self.rows.len() < z.len() {
            self.rows.resize(z.len(), Vector::new());
        }
        self.rows.iter_mut().zip(z).for_each(|(row, z)| add(row, s * z, p));
    }

    /// out ← out + G v.
    pub(super) fn apply(&self, v: &[f64], out: &mut Vector) {
        if out.len() < self.rows.len() {
            out.resize(self.rows.len(), 0.0);
        }
        out.iter_mut().zip(&self.rows).for_each(|(out, row)| *out += dot(row, v));
    }

    /// out ← out + Gᵀ v.
    pub(super) fn apply_transposed(&self, v: &[f64], out: &mut Vector) {
        self.rows.iter().zip(v).for_each(|(row, &v)| add(out, v, row));
    }

    /// ‖G‖², the sum of squares.
    pub(super) fn square(&self) -> f64 {
        self.rows.iter().map(|row| dot(row, row)).sum()
    }

    /// As an array.
    pub(super) fn dense(&self) -> Array2<f64> {
        columns(&self.rows).reversed_axes()
    }

    /// The rows.
    pub(super) fn rows(&self) -> &[Vector] {
        &self.rows
    }
}
