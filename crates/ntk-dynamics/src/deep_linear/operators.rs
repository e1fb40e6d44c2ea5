//! The operators Λ₁, …, Λ_q of a network in either representation.

use std::sync::Arc;

use super::lazy::Lazy;
use super::vector::Vector;
use super::walks::Walks;

/// All Gaussian operators of one network; number `at` maps space `at` to space `at` + 1.
#[derive(Clone, Debug)]
pub(super) enum Operators {
    /// Revealed as they are applied, with the coordinates so far of each space.
    Lazy { dimensions: Vec<usize>, operators: Vec<Lazy> },
    /// Written down up to a length of walks.
    Walks(Arc<Walks>),
}

impl Operators {
    /// Λ v.
    pub(super) fn apply(&mut self, at: usize, v: &[f64]) -> Vector {
        match self {
            Operators::Lazy { dimensions, operators } => operators[at].apply(v, &mut dimensions[at + 1]),
            Operators::Walks(walks) => walks.apply(at, v),
        }
    }

    /// Λᵀ v.
    pub(super) fn apply_transposed(&mut self, at: usize, v: &[f64]) -> Vector {
        match self {
            Operators::Lazy { dimensions, operators } => {
                operators[at].apply_transposed(v, &mut dimensions[at])
            }
            Operators::Walks(walks) => walks.apply_transposed(at, v),
        }
    }

    /// Coordinates of each space, so far.
    pub(super) fn dimensions(&self) -> &[usize] {
        match self {
            Operators::Lazy { dimensions, .. } => dimensions,
            Operators::Walks(walks) => walks.dimensions(),
        }
    }
}
