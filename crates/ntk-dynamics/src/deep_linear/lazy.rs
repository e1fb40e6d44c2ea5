//! A Gaussian matrix of infinite size of which only the products asked for so far exist.

use super::vector::{Vector, add, dot, norm};

/// A new direction shorter than this part of its vector is rounding. Orthogonalizing twice leaves 1e-16.
const TOLERANCE: f64 = 1e-13;

/// Orthonormal directions with their images under Λ, or under Λᵀ.
#[derive(Clone, Debug, Default)]
struct Images {
    directions: Vec<Vector>,
    images: Vec<Vector>,
}

/// The limit Λ of a matrix with independent Gaussian entries, revealed as it is applied.
///
/// Given all products so far, such a matrix maps a direction û orthogonal to the right factors of those products to
/// Σ ⟨Λᵀv, û⟩ v, over the directions v that Λᵀ was applied to, plus an independent Gaussian vector; as the width grows,
/// that vector is orthogonal to everything known and its norm is a constant: one fresh coordinate. (Bolthausen's
/// conditioning, \[bolthausen2014iterative\].)
///
/// A product with n directions known costs O(n) operations for each coordinate.
#[derive(Clone, Debug)]
pub(super) struct Lazy {
    right: Images,
    left: Images,
    /// Norm of Λû and of Λᵀv̂ in the fresh coordinate.
    norms: [f64; 2],
}

impl Lazy {
    /// An operator that was never applied; the norms of Λû and Λᵀv̂ for unit vectors.
    pub(super) fn new(norms: [f64; 2]) -> Self {
        Lazy { right: Images::default(), left: Images::default(), norms }
    }

    /// Λ v; `dimension` counts the coordinates of the space of the result.
    pub(super) fn apply(&mut self, v: &[f64], dimension: &mut usize) -> Vector {
        self.right.product(v, &self.left, self.norms[0], dimension)
    }

    /// Λᵀ v, likewise.
    pub(super) fn apply_transposed(&mut self, v: &[f64], dimension: &mut usize) -> Vector {
        self.left.product(v, &self.right, self.norms[1], dimension)
    }
}

impl Images {
    fn product(&mut self, v: &[f64], adjoint: &Images, fresh: f64, dimension: &mut usize) -> Vector {
        let (mut rest, mut out) = (v.to_vec(), Vector::new());
        for _ in 0..2 {
            for (direction, image) in self.directions.iter().zip(&self.images) {
                let coefficient = dot(direction, &rest);
                add(&mut rest, -coefficient, direction);
                add(&mut out, coefficient, image);
            }
        }
        let size = norm(&rest);
        if size > TOLERANCE * norm(v) {
            rest.iter_mut().for_each(|x| *x /= size);
            let mut image = Vector::new();
            for (direction, back) in adjoint.directions.iter().zip(&adjoint.images) {
                add(&mut image, dot(back, &rest), direction);
            }
            image.resize(*dimension, 0.0);
            image.push(fresh);
            *dimension += 1;
            add(&mut out, size, &image);
            self.directions.push(rest);
            self.images.push(image);
        }
        out
    }
}
