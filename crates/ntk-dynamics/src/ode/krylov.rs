//! Functions of the curvature times the kernel, by Lanczos in the geometry in which that operator is symmetric.

use ndarray::{Array1, Array2};
use ntk_linalg::{Symmetric, SymmetricEigen};

use super::problem::{Pair, Problem};
use crate::Error;

/// The largest dimension: two vectors of N·k numbers for each.
const LARGEST: usize = 120;
/// Dimensions between two looks at the outcome, each of which takes an eigensystem of that size.
const BETWEEN: usize = 3;

/// The Krylov space of w under A = HΘ, orthonormal in ⟨u, v⟩ = uᵀΘv, in which A is symmetric.
///
/// H: the curvature of the loss, block diagonal; the matrix of A in this space is tridiagonal. One product with the
/// kernel for each dimension, which also gives the image Θqⱼ, so that outputs cost nothing more.
#[derive(Clone, Debug)]
pub(super) struct Krylov {
    /// ‖w‖ = √(wᵀΘw).
    norm: f64,
    /// qⱼ and Θqⱼ.
    basis: Vec<Pair>,
    /// Eigenvalues of A in the space.
    values: Array1<f64>,
    /// Their eigenvectors, as columns.
    vectors: Array2<f64>,
    /// What A makes of the last vector outside the space; zero if the space is invariant.
    leak: f64,
    /// Whether the space was large enough for the one who asked.
    pub(super) sufficient: bool,
}

impl Krylov {
    /// Extends the space until `sufficient` or invariant or of the largest dimension. f: where the curvature is taken.
    pub(super) fn new<L: crate::Loss>(
        problem: &Problem<'_, L>,
        f: &Array2<f64>,
        w: Array2<f64>,
        products: &mut u64,
        sufficient: impl Fn(&Krylov) -> bool,
    ) -> Result<Self, Error> {
        let mut space = Krylov {
            norm: 0.0,
            basis: Vec::new(),
            values: Array1::zeros(0),
            vectors: Array2::zeros((0, 0)),
            leak: 0.0,
            sufficient: true,
        };
        let Some((norm, mut next)) = unit(problem, w, products)? else { return Ok(space) };
        space.norm = norm;
        let (mut diagonal, mut beside) = (Vec::new(), Vec::new());
        loop {
            let mut z = problem.curvature(f, &next.output);
            diagonal.push(dot(&z, &next.output));
            space.basis.push(next);
            // Twice: once leaves the rounding of a large projection.
            for _ in 0..2 {
                for q in &space.basis {
                    let overlap = dot(&z, &q.output);
                    z.scaled_add(-overlap, &q.dual);
                }
            }
            let scale = diagonal.iter().chain(&beside).fold(0.0_f64, |m: f64, v: &f64| m.max(v.abs()));
            let residual = unit(problem, z, products)?.filter(|(beta, _)| *beta > 1e-13 * scale);
            let dimension = diagonal.len();
            let full = dimension == LARGEST;
            if residual.is_none() || full || dimension.is_multiple_of(BETWEEN) {
                space.solve(&diagonal, &beside)?;
                space.leak = residual.as_ref().map_or(0.0, |(beta, _)| *beta);
                space.sufficient = sufficient(&space);
                if space.sufficient || full {
                    return Ok(space);
                }
            }
            let Some((beta, unit)) = residual else { return Ok(space) };
            beside.push(beta);
            next = unit;
        }
    }

    fn solve(&mut self, diagonal: &[f64], beside: &[f64]) -> Result<(), Error> {
        let m = diagonal.len();
        let mut matrix = Array2::from_diag(&Array1::from(diagonal.to_vec()));
        for (i, &b) in beside.iter().enumerate() {
            (matrix[[i, i + 1]], matrix[[i + 1, i]]) = (b, b);
        }
        debug_assert_eq!(beside.len() + 1, m);
        let eigen = SymmetricEigen::new(&Symmetric::new(matrix)?)?;
        self.values = eigen.values().to_owned();
        self.vectors = eigen.vectors().to_owned();
        Ok(())
    }

    /// The coefficients of φ(A) w in the basis, for every φ of the family at once.
    pub(super) fn coefficients<const K: usize>(&self, phi: impl Fn(f64) -> [f64; K]) -> [Vec<f64>; K] {
        let m = self.basis.len();
        let mut c = std::array::from_fn(|_| vec![0.0; m]);
        for (&value, vector) in self.values.iter().zip(self.vectors.columns()) {
            let weight = phi(value).map(|phi| self.norm * vector[0] * phi);
            for (c, weight) in c.iter_mut().zip(weight) {
                for (c, v) in c.iter_mut().zip(vector) {
                    *c += weight * v;
                }
            }
        }
        c
    }

    /// A bound of what the space misses of u(h), u′ = −Au + w: h times the residual, the part of Au outside.
    pub(super) fn error(&self, coefficients: &[f64], h: f64) -> f64 {
        coefficients.last().map_or(0.0, |last| h * self.leak * last.abs())
    }

    /// Adds Σⱼ cⱼ qⱼ, and to outputs Σⱼ cⱼ Θqⱼ.
    pub(super) fn add_to(&self, sum: &mut Pair, coefficients: &[f64]) {
        for (q, &c) in self.basis.iter().zip(coefficients) {
            sum.dual.scaled_add(c, &q.dual);
            sum.output.scaled_add(c, &q.output);
        }
    }

    /// The same for outputs alone.
    pub(super) fn add_outputs_to(&self, sum: &mut Array2<f64>, coefficients: &[f64]) {
        for (q, &c) in self.basis.iter().zip(coefficients) {
            sum.scaled_add(c, &q.output);
        }
    }
}

/// ‖w‖ and w/‖w‖ with its image; nothing if the kernel does not see w beyond rounding.
fn unit<L: crate::Loss>(
    problem: &Problem<'_, L>,
    w: Array2<f64>,
    products: &mut u64,
) -> Result<Option<(f64, Pair)>, Error> {
    let length = dot(&w, &w);
    if length == 0.0 {
        return Ok(None);
    }
    let output = problem.image(&w)?;
    *products += 1;
    let square = dot(&w, &output);
    if !square.is_finite() {
        return Err(Error::Overflow);
    }
    // Eigenvalues at or below n ε λ_max are rounding, here as in `Spectrum`.
    if square <= problem.kernel.nrows() as f64 * f64::EPSILON * problem.bound * length {
        return Ok(None);
    }
    let norm = square.sqrt();
    Ok(Some((norm, Pair { dual: w / norm, output: output / norm })))
}

pub(super) fn dot(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    ndarray::Zip::from(a).and(b).fold(0.0, |sum, a, b| sum + a * b)
}
