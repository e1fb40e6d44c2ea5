//! The basis in which the Gaussian operators are written once and for all: walks on the chain of hidden layers.

use super::vector::Vector;
use crate::Error;

/// Walks that a basis may have.
const LARGEST: usize = 1 << 20;

/// All operators in the basis of walks 0 – 1 – ⋯ – q of bounded length that start at a column of A(0) or B(0).
///
/// A walk that ends at j is a unit vector of space j, and Λⱼ joins each walk with the walk of one step more over the
/// edge j−1 – j: Λ e = (norm forward) e·j + (norm backward) e without its last step. The walks form a tree, and Λⱼ is a
/// part of its adjacency matrix. \[chizat2022infinite\]
#[derive(Clone, Debug)]
pub(super) struct Walks {
    /// For Λ₁, Λ₂, …: coordinates before and after, and the entry.
    edges: Vec<Vec<(usize, usize, f64)>>,
    /// Walks that end in each space.
    dimensions: Vec<usize>,
}

impl Walks {
    /// Walks of at most `length` steps from so many roots in each space; norms of Λⱼ forward and backward.
    ///
    /// # Errors
    /// [`Error::Walks`] beyond 2²⁰ walks.
    pub(super) fn new(roots: &[usize], norms: &[[f64; 2]], length: usize) -> Result<Self, Error> {
        let mut walks = Walks { edges: vec![Vec::new(); norms.len()], dimensions: roots.to_vec() };
        // Ends and coordinates of the longest walks so far.
        let mut ends: Vec<(usize, usize)> = Vec::new();
        for (space, &count) in roots.iter().enumerate() {
            ends.extend((0..count).map(|coordinate| (space, coordinate)));
        }
        // Without a matrix no walk has a second space to go to.
        for _ in 0..if norms.is_empty() { 0 } else { length } {
            let mut longer = Vec::new();
            for &(space, coordinate) in &ends {
                if space > 0 {
                    let to = walks.grow(space - 1)?;
                    walks.edges[space - 1].push((to, coordinate, norms[space - 1][1]));
                    longer.push((space - 1, to));
                }
                if space < norms.len() {
                    let to = walks.grow(space + 1)?;
                    walks.edges[space].push((coordinate, to, norms[space][0]));
                    longer.push((space + 1, to));
                }
            }
            ends = longer;
        }
        Ok(walks)
    }

    fn grow(&mut self, space: usize) -> Result<usize, Error> {
        if self.dimensions.iter().sum::<usize>() >= LARGEST {
            return Err(Error::Walks { largest: LARGEST });
        }
        self.dimensions[space] += 1;
        Ok(self.dimensions[space] - 1)
    }

    /// Λ v for operator `at`.
    pub(super) fn apply(&self, at: usize, v: &[f64]) -> Vector {
        self.scatter(at, self.dimensions[at + 1], |&(from, to, entry)| Some((to, entry * v.get(from)?)))
    }

    /// Λᵀ v for operator `at`.
    pub(super) fn apply_transposed(&self, at: usize, v: &[f64]) -> Vector {
        self.scatter(at, self.dimensions[at], |&(to, from, entry)| Some((to, entry * v.get(from)?)))
    }

    fn scatter(
        &self,
        at: usize,
        len: usize,
        term: impl Fn(&(usize, usize, f64)) -> Option<(usize, f64)>,
    ) -> Vector {
        let mut out = vec![0.0; len];
        self.edges[at].iter().filter_map(term).for_each(|(to, value)| out[to] += value);
        // Later walks are longer: what a vector has not reached costs nothing afterwards.
        let reached = out.iter().rposition(|&x| x != 0.0).map_or(0, |last| last + 1);
        out.truncate(reached);
        out
    }

    /// Coordinates of each space.
    pub(super) fn dimensions(&self) -> &[usize] {
        &self.dimensions
    }
}
