//! Kernel matrices of nearly low rank: a few of their rows say nearly all, which makes a preconditioner.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, s};

use crate::bridge::{check_rows, product};
use crate::lanczos::Source;
use crate::{Cholesky, Error, Preconditioner, Symmetric};

/// A variance is negative by rounding, of the kernel's provider perhaps, down to this multiple of the largest.
const NOISE: f64 = 1e-8;

/// How the samples that stand for all are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Landmarks<'a> {
    /// The one of largest variance given those before, each time: pivoted Cholesky.
    #[default]
    Greedy,
    /// At random with probabilities proportional to these variances: Nyström's method with good landmarks, also where
    /// a few samples lie apart from the rest.
    Random {
        /// Of the choice.
        seed: u64,
    },
    /// These, in this order: Nyström's method. One that the others determine is left out.
    Given(&'a [usize]),
}

/// The approximation K ≈ F Fᵀ of a positive semidefinite matrix that is exact in the rows of a few landmarks S.
///
/// F Fᵀ = K(·, S) K(S, S)⁻¹ K(S, ·), computed as a partial Cholesky factorization with the landmarks as pivots. What is
/// left, K − F Fᵀ, is the covariance given the values at S, positive semidefinite too; its trace bounds its norm.
///
/// k landmarks ask for k rows of K and cost n k² operations and n k numbers; K is never formed.
///
/// ```
/// use ndarray::array;
/// use ntk_linalg::{Error, Landmarks, LowRank};
/// let k = array![[4.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
/// let row = |i: usize| Ok::<_, Error>(k.row(i).to_owned());
/// let one = LowRank::new(1, Landmarks::Greedy, k.diag(), row)?;
/// assert_eq!((one.landmarks(), one.residual_trace()), (&[0][..], 1.0));
/// # Ok::<(), Error>(())
/// ```
///
/// Source: \[harbrecht2012low\] for pivots by size; \[chen2025randomly\] for random ones.
#[derive(Clone, Debug)]
pub struct LowRank {
    /// Fᵀ, (k, n).
    rows: Array2<f64>,
    landmarks: Vec<usize>,
    residual: f64,
}

impl LowRank {
    /// At most `rank` landmarks, fewer if they determine all. `diagonal`: (n); `row`: i ↦ K(i, ·), (n).
    ///
    /// # Errors
    /// Those of `row`, and as the same type: [`Error::Setting`] for a rank of 0 or a landmark that is no index;
    /// [`Error::Empty`]; [`Error::NonFinite`]; [`Error::Rows`] for a row of another length;
    /// [`Error::NotPositiveDefinite`] if a variance given the landmarks is below −1e-8 of the largest.
    pub fn new<E: From<Error>>(
        rank: usize,
        landmarks: Landmarks<'_>,
        diagonal: ArrayView1<'_, f64>,
        mut row: impl FnMut(usize) -> Result<Array1<f64>, E>,
    ) -> Result<Self, E> {
        let n = diagonal.len();
        check(rank, landmarks, diagonal)?;
        let largest = diagonal.fold(0.0, |m: f64, &v| m.max(v));
        let cutoff = n as f64 * f64::EPSILON * largest;
        let mut left = diagonal.to_owned();
        let mut rows = Array2::<f64>::zeros((rank.min(n), n));
        let mut chosen: Vec<usize> = Vec::new();
        let mut choice = Choice::new(landmarks);
        while chosen.len() < rank.min(n) {
            let Some(at) = choice.next(&left, cutoff) else { break };
            let column = row(at)?;
            check_rows(n, column.len())?;
            let k = chosen.len();
            let made = rows.slice(s![..k, ..]);
            let known = product(made.t(), made.column(at).to_owned().insert_axis(Axis(1)).view())?;
            let mut fresh = column - known.column(0);
            fresh /= left[at].sqrt();
            if let Some((column, &value)) = fresh.iter().enumerate().find(|(_, v)| !v.is_finite()) {
                return Err(Error::NonFinite { row: at, column, value }.into());
            }
            left.zip_mut_with(&fresh, |left, f| *left -= f * f);
            left[at] = 0.0;
            let (pivot, value) =
                left.iter().enumerate().fold((0, 0.0), |m, (i, &v)| if v < m.1 { (i, v) } else { m });
            if value < -NOISE * largest {
                return Err(Error::NotPositiveDefinite { pivot, value }.into());
            }
            rows.row_mut(k).assign(&fresh);
            chosen.push(at);
        }
        let rows = rows.slice_move(s![..chosen.len(), ..]);
        let residual = left.iter().map(|v| v.max(0.0)).sum();
        Ok(LowRank { rows, landmarks: chosen, residual })
    }

    /// F, (n, k).
    pub fn factor(&self) -> ArrayView2<'_, f64> {
        self.rows.t()
    }

    /// The k landmarks, in the order of their choice.
    pub fn landmarks(&self) -> &[usize] {
        &self.landmarks
    }

    /// tr(K − F Fᵀ) ≥ 0: at least the norm of what is left out, and n times its mean eigenvalue.
    pub fn residual_trace(&self) -> f64 {
        self.residual
    }

    /// The preconditioner F Fᵀ + (ρ + τ) I for K + ρI, with τ = tr(K − F Fᵀ)/n in the place of what is left out.
    ///
    /// n k² operations, n k numbers.
    ///
    /// # Errors
    /// [`Error::Setting`] for a ridge that is negative or not finite; [`Error::NotPositiveDefinite`] if ρ + τ is zero
    /// to working precision.
    pub fn preconditioner(&self, ridge: f64) -> Result<Woodbury, Error> {
        if !(ridge >= 0.0 && ridge.is_finite()) {
            let domain = "a finite number, at least 0";
            return Err(Error::Setting { option: "ridge", value: ridge, domain });
        }
        let (k, n) = self.rows.dim();
        let shift = ridge + self.residual / n as f64;
        if k == 0 || shift == 0.0 {
            return match shift > 0.0 {
                true => Ok(Woodbury { basis: self.rows.clone(), shift }),
                false => Err(Error::NotPositiveDefinite { pivot: k, value: shift }),
            };
        }
        let inner = Symmetric::new(product(self.rows.view(), self.rows.t())?)?.shifted(shift)?;
        let basis = Cholesky::new(inner)?.solve_lower(self.rows.view())?;
        Ok(Woodbury { basis, shift })
    }
}

/// The inverse of F Fᵀ + μI by Woodbury's identity, (I − Q Qᵀ)/μ with Q Qᵀ = F (FᵀF + μI)⁻¹ Fᵀ.
///
/// 4 n k operations for each vector. Made by [`LowRank::preconditioner`].
#[derive(Clone, Debug)]
pub struct Woodbury {
    /// Qᵀ, (k, n).
    basis: Array2<f64>,
    shift: f64,
}

impl Woodbury {
    /// μ.
    pub fn shift(&self) -> f64 {
        self.shift
    }
}

impl Preconditioner for Woodbury {
    fn precondition(&self, r: ArrayView2<'_, f64>) -> Result<Array2<f64>, Error> {
        let along = product(self.basis.view(), r)?;
        let mut rest = &r - &product(self.basis.t(), along.view())?;
        rest /= self.shift;
        Ok(rest)
    }
}

/// The landmarks one after the other.
enum Choice<'a> {
    Greedy,
    Random(Source),
    Given(std::slice::Iter<'a, usize>),
}

impl<'a> Choice<'a> {
    fn new(landmarks: Landmarks<'a>) -> Self {
        match landmarks {
            Landmarks::Greedy => Choice::Greedy,
            Landmarks::Random { seed } => Choice::Random(Source::new(seed)),
            Landmarks::Given(indices) => Choice::Given(indices.iter()),
        }
    }

    /// A sample whose variance given those before is above the cutoff.
    fn next(&mut self, left: &Array1<f64>, cutoff: f64) -> Option<usize> {
        let open = |i: &usize| left[*i] > cutoff;
        match self {
            Choice::Greedy => (0..left.len()).filter(open).max_by(|&i, &j| left[i].total_cmp(&left[j])),
            Choice::Random(source) => {
                let total: f64 = (0..left.len()).filter(open).map(|i| left[i]).sum();
                let mut rest = source.unit() * total;
                // Rounding may leave something of the sum: then it is the last one.
                (0..left.len())
                    .filter(open)
                    .find(|&i| {
                        rest -= left[i];
                        rest <= 0.0
                    })
                    .or_else(|| (0..left.len()).rev().find(open))
            }
            Choice::Given(indices) => indices.find(|i| open(i)).copied(),
        }
    }
}

fn check(rank: usize, landmarks: Landmarks<'_>, diagonal: ArrayView1<'_, f64>) -> Result<(), Error> {
    let n = diagonal.len();
    if n == 0 {
        return Err(Error::Empty);
    }
    if rank == 0 {
        return Err(Error::Setting { option: "rank", value: 0.0, domain: "at least 1" });
    }
    if let Landmarks::Given(indices) = landmarks
        && let Some(&index) = indices.iter().find(|&&index| index >= n)
    {
        return Err(Error::Setting { option: "landmark", value: index as f64, domain: "an index of a row" });
    }
    crate::bridge::check_finite(diagonal.insert_axis(Axis(1)))
}
