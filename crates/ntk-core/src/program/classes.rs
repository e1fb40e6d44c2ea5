//! Common dimension classes, and the laws of inputs: what a builder checks.

use ndarray::Array2;

use super::Dimension;

/// Classes of dimensions that are equal, by union–find.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Classes {
    parent: Vec<usize>,
    named: Vec<Option<Dimension>>,
}

impl Classes {
    pub(super) fn new_class(&mut self) -> usize {
        self.parent.push(self.parent.len());
        self.named.push(None);
        self.parent.len() - 1
    }

    pub(super) fn root(&self, mut class: usize) -> usize {
        while self.parent[class] != class {
            class = self.parent[class];
        }
        class
    }

    pub(super) fn dimension(&self, class: usize) -> Option<&Dimension> {
        self.named[self.root(class)].as_ref()
    }

    /// The class of a name.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.named.iter().position(|d| d.as_ref().is_some_and(|d| d.name == name))
    }

    /// Names a class that has no name.
    pub(super) fn call(&mut self, class: usize, dimension: Dimension) {
        let root = self.root(class);
        self.named[root] = Some(dimension);
    }

    /// Makes two classes one; the dimensions of both if these differ.
    pub(super) fn join(&mut self, a: usize, b: usize) -> Result<(), [Dimension; 2]> {
        let (a, b) = (self.root(a), self.root(b));
        if a == b {
            return Ok(());
        }
        match (&self.named[a], &self.named[b]) {
            (Some(x), Some(y)) if x != y => return Err([x.clone(), y.clone()]),
            (None, Some(_)) => self.parent[a] = b,
            _ => self.parent[b] = a,
        }
        Ok(())
    }
}

/// Why a matrix is no covariance of n variables; a negative eigenvalue is found by elimination.
pub(super) fn not_covariance(what: &str, matrix: &Array2<f64>, n: usize) -> Option<String> {
    if matrix.dim() != (n, n) {
        return Some(format!("the {what} of {n} inputs is ({n}, {n}), not {:?}", matrix.dim()));
    }
    if let Some(((i, j), value)) = matrix.indexed_iter().find(|(_, v)| !v.is_finite()) {
        return Some(format!("entry ({i}, {j}) of the {what} is {value}"));
    }
    let scale = matrix.diag().iter().fold(0.0, |a: f64, &b| a.max(b.abs()));
    let apart = |(i, j): (usize, usize)| (matrix[[i, j]] - matrix[[j, i]]).abs() > 1e-12 * scale;
    if let Some((i, j)) = (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).find(|&at| apart(at)) {
        return Some(format!("the {what} is not symmetric at ({i}, {j})"));
    }
    let (mut rest, tolerance) = (matrix.clone(), 1e-10 * scale * n as f64);
    for k in 0..n {
        let pivot = rest[[k, k]];
        let column: Vec<f64> = (k + 1..n).map(|i| rest[[i, k]]).collect();
        if pivot < -tolerance
            || (pivot <= tolerance && column.iter().any(|c| c.abs() > (tolerance * scale).sqrt()))
        {
            return Some(format!("the {what} is not positive semidefinite"));
        }
        if pivot > tolerance {
            for (a, i) in (k + 1..n).enumerate() {
                for (b, j) in (k + 1..n).enumerate() {
                    rest[[i, j]] -= column[a] * column[b] / pivot;
                }
            }
        }
    }
    None
}
