//! Conjugate gradients: solutions with a positive definite matrix that is too large to be factored, by products alone.

use ndarray::{Array1, Array2, ArrayView2, Axis};

use crate::bridge::check_finite;
use crate::{Error, normals};

/// A residual is rounding below this multiple of ‖A‖ ‖x‖.
const ROUNDING: f64 = 4.0 * f64::EPSILON;

/// An approximation P of a positive definite matrix A with which systems are solved cheaply.
///
/// P must be symmetric and positive definite. The fewer and the closer together the eigenvalues of P⁻¹A, the fewer
/// steps are needed; solutions do not depend on P.
pub trait Preconditioner {
    /// P⁻¹ R. r: (n, k) → (n, k).
    ///
    /// # Errors
    /// [`Error::Rows`] and what else the solution may meet.
    fn precondition(&self, r: ArrayView2<'_, f64>) -> Result<Array2<f64>, Error>;
}

/// P = I: no preconditioner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpreconditioned;

impl Preconditioner for Unpreconditioned {
    fn precondition(&self, r: ArrayView2<'_, f64>) -> Result<Array2<f64>, Error> {
        Ok(r.to_owned())
    }
}

/// The method of conjugate gradients for A X = B with A symmetric positive definite, all right-hand sides at once.
///
/// Every step makes one product with a block of as many vectors as right-hand sides are unfinished, so that a matrix
/// is read once for all of them; steps and residuals are those of each side alone. After m steps the error has fallen
/// by 2 ((√κ − 1)/(√κ + 1))ᵐ at least, κ the condition number of P⁻¹A. Directions are updated by the formula that
/// forgives a preconditioner in lower precision.
///
/// Memory: six blocks of the size of B. The residual that is compared with the tolerance in the end is b − A x,
/// computed from x; where it and the one of the recursion have drifted apart, the method starts again from x. Below
/// 4 ε ‖A‖ ‖x‖ a residual is rounding, no method can lower it, and its side counts as solved.
///
/// ```
/// use ndarray::{ArrayView2, array};
/// use ntk_linalg::{ConjugateGradients, Error, Unpreconditioned, product};
/// let a = array![[4.0, 2.0], [2.0, 5.0]];
/// let apply = |v: ArrayView2<'_, f64>| product(a.view(), v);
/// let b = array![[8.0], [12.0]];
/// let solution = ConjugateGradients::new(10).solve(b.view(), &Unpreconditioned, apply)?;
/// assert!((solution.x[[0, 0]] - 1.0).abs() < 1e-12 && (solution.x[[1, 0]] - 2.0).abs() < 1e-12);
/// // λ_min is above 2, so that the solution is known up to ‖b − A x‖/2.
/// assert!(solution.error_bounds(2.0)[0] < 1e-9);
/// # Ok::<(), Error>(())
/// ```
///
/// Source: \[hestenes1952methods\]; \[notay2000flexible\] for the update of directions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConjugateGradients {
    /// A right-hand side is done when ‖b − A x‖ is at most this multiple of ‖b‖, or rounding.
    pub tolerance: f64,
    /// Most steps, those after starting again included.
    pub steps: usize,
}

/// Solutions with what is known about their errors.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Solution {
    /// A⁻¹ B up to the residuals, (n, k).
    pub x: Array2<f64>,
    /// ‖b − A x‖ of each of the k right-hand sides, computed from x.
    pub residuals: Array1<f64>,
    /// ‖b − A x‖/‖b‖, at most the tolerance if that is above rounding; 0 for a right-hand side of zeros.
    pub relative: Array1<f64>,
    /// ⟨x, 2b − A x⟩, which tends to bᵀA⁻¹b from below with the square of the error; see [`Solution::form_bounds`].
    pub forms: Array1<f64>,
    /// Steps made: products with A but for those that compute residuals.
    pub steps: usize,
}

impl Solution {
    /// ‖x − A⁻¹b‖ ≤ ‖b − A x‖/λ for each right-hand side, if no eigenvalue of A is below `smallest` = λ.
    ///
    /// For a kernel with a ridge, K + ρI, that is ρ. Infinite for λ = 0.
    pub fn error_bounds(&self, smallest: f64) -> Array1<f64> {
        self.residuals.mapv(|r| if r == 0.0 { 0.0 } else { r / smallest.max(0.0) })
    }

    /// 0 ≤ bᵀA⁻¹b − `forms` = rᵀA⁻¹r ≤ ‖b − A x‖²/λ for each right-hand side, if no eigenvalue of A is below
    /// `smallest` = λ. Infinite for λ = 0.
    pub fn form_bounds(&self, smallest: f64) -> Array1<f64> {
        self.error_bounds(smallest) * &self.residuals
    }
}

impl ConjugateGradients {
    /// At most that many steps to a relative residual of 1e-10.
    pub fn new(steps: usize) -> Self {
        ConjugateGradients { tolerance: 1e-10, steps }
    }

    /// A⁻¹ B. b: (n, k) → (n, k); `apply`: V ↦ A V, (n, j) → (n, j) for any j ≤ k.
    ///
    /// # Errors
    /// Those of the operator, and as the same type: [`Error::Setting`] for a tolerance that is not in (0, 1);
    /// [`Error::Empty`], [`Error::NonFinite`] for B; [`Error::ProductLength`], [`Error::NonFiniteProduct`];
    /// [`Error::Indefinite`] if a direction p of ⟨p, A p⟩ ≤ 0 is met; [`Error::Unsolved`] with the residual reached if
    /// the steps are used up or rounding leaves no progress.
    pub fn solve<E: From<Error>>(
        &self,
        b: ArrayView2<'_, f64>,
        preconditioner: &impl Preconditioner,
        mut apply: impl FnMut(ArrayView2<'_, f64>) -> Result<Array2<f64>, E>,
    ) -> Result<Solution, E> {
        if !(self.tolerance > 0.0 && self.tolerance < 1.0) {
            let domain = "above 0 and below 1";
            return Err(Error::Setting { option: "tolerance", value: self.tolerance, domain }.into());
        }
        if b.is_empty() {
            return Err(Error::Empty.into());
        }
        check_finite(b)?;
        // Right-hand sides as rows of largest entry 1: contiguous, with squares that do not overflow.
        let mut b = b.t().as_standard_layout().into_owned();
        let scale: Array1<f64> =
            b.rows().into_iter().map(|row| row.fold(0.0, |m: f64, v| m.max(v.abs()))).collect();
        let unit = scale.mapv(|s| if s > 0.0 { s } else { 1.0 });
        b /= &unit.view().insert_axis(Axis(1));
        let norms = lengths(&b).mapv(|norm| if norm > 0.0 { norm } else { 1.0 });
        let mut x = Array2::zeros(b.dim());
        let mut residual = b.clone();
        let mut relative = lengths(&residual) / &norms;
        let (mut steps, mut stuck) = (0, false);
        loop {
            let late: Vec<usize> = (0..b.nrows()).filter(|&j| relative[j] > self.tolerance).collect();
            if late.is_empty() {
                break;
            }
            if stuck {
                let norm = largest_eigenvalue(&mut apply, b.ncols())?;
                let rounding = lengths(&x) / &norms * (ROUNDING * norm);
                let above = late.iter().filter(|&&j| relative[j] > rounding[j]).map(|&j| relative[j]);
                let Some(residual) = above.reduce(f64::max) else { break };
                return Err(Error::Unsolved { steps, residual, tolerance: self.tolerance }.into());
            }
            let mut block = Block::new(late.clone(), &residual, preconditioner)?;
            while !block.rows.is_empty() && steps < self.steps {
                steps += 1;
                block.step(steps, &mut apply, &mut x)?;
                // Half, because the residual of the recursion differs a little from the true one.
                block.finish(|j, r| r <= 0.5 * self.tolerance * norms[j]);
                block.turn(preconditioner)?;
            }
            residual = &b - &multiply(&mut apply, steps, &x)?;
            let before = std::mem::replace(&mut relative, lengths(&residual) / &norms);
            stuck = steps == self.steps || late.iter().all(|&j| relative[j] > 0.5 * before[j]);
        }
        let forms = x
            .rows()
            .into_iter()
            .zip((&b + &residual).rows())
            .map(|(x, c)| x.dot(&c))
            .collect::<Array1<f64>>();
        Ok(Solution {
            residuals: lengths(&residual) * &unit,
            relative,
            forms: forms * &unit * &unit,
            x: (x * unit.insert_axis(Axis(1))).reversed_axes(),
            steps,
        })
    }
}

/// The right-hand sides that are unfinished, one a row.
struct Block {
    /// Which right-hand sides.
    rows: Vec<usize>,
    r: Array2<f64>,
    p: Array2<f64>,
    /// A p of the last step.
    ap: Array2<f64>,
    /// ⟨r, P⁻¹r⟩.
    rho: Vec<f64>,
    /// Length of the last step along p.
    alpha: Vec<f64>,
}

impl Block {
    fn new(
        rows: Vec<usize>,
        residual: &Array2<f64>,
        preconditioner: &impl Preconditioner,
    ) -> Result<Self, Error> {
        let r = residual.select(Axis(0), &rows);
        let p = solved(preconditioner, &r)?;
        let rho = r.rows().into_iter().zip(p.rows()).map(|(r, z)| r.dot(&z)).collect();
        let (ap, alpha) = (Array2::zeros(r.dim()), vec![0.0; rows.len()]);
        Ok(Block { rows, r, p, ap, rho, alpha })
    }

    /// To the minimum along the directions.
    fn step<E: From<Error>>(
        &mut self,
        step: usize,
        apply: &mut impl FnMut(ArrayView2<'_, f64>) -> Result<Array2<f64>, E>,
        x: &mut Array2<f64>,
    ) -> Result<(), E> {
        self.ap = multiply(apply, step, &self.p)?;
        for (i, &row) in self.rows.iter().enumerate() {
            let (p, ap) = (self.p.row(i), self.ap.row(i));
            let curvature = p.dot(&ap);
            if !(curvature > 0.0 && self.rho[i] > 0.0) {
                return Err(Error::Indefinite { step, curvature: curvature / p.dot(&p) }.into());
            }
            self.alpha[i] = self.rho[i] / curvature;
            x.row_mut(row).scaled_add(self.alpha[i], &p);
            self.r.row_mut(i).scaled_add(-self.alpha[i], &ap);
        }
        Ok(())
    }

    /// Drops the right-hand sides whose residual is small.
    fn finish(&mut self, small: impl Fn(usize, f64) -> bool) {
        let lengths = lengths(&self.r);
        let keep: Vec<usize> = (0..self.rows.len()).filter(|&i| !small(self.rows[i], lengths[i])).collect();
        if keep.len() < self.rows.len() {
            self.rows = keep.iter().map(|&i| self.rows[i]).collect();
            (self.rho, self.alpha) = keep.iter().map(|&i| (self.rho[i], self.alpha[i])).unzip();
            for block in [&mut self.r, &mut self.p, &mut self.ap] {
                *block = block.select(Axis(0), &keep);
            }
        }
    }

    /// New directions: β = ⟨r₊ − r, z₊⟩/⟨r, z⟩ with r₊ − r = −α A p.
    fn turn(&mut self, preconditioner: &impl Preconditioner) -> Result<(), Error> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let z = solved(preconditioner, &self.r)?;
        for i in 0..self.rows.len() {
            let z = z.row(i);
            let beta = -self.alpha[i] * self.ap.row(i).dot(&z) / self.rho[i];
            self.rho[i] = self.r.row(i).dot(&z);
            self.p.row_mut(i).zip_mut_with(&z, |p, z| *p = z + beta * *p);
        }
        Ok(())
    }
}

/// ‖A‖ from below, by a few powers of A on a vector.
fn largest_eigenvalue<E: From<Error>>(
    apply: &mut impl FnMut(ArrayView2<'_, f64>) -> Result<Array2<f64>, E>,
    n: usize,
) -> Result<f64, E> {
    let (mut v, mut norm) = (normals(0, (1, n)), 0.0);
    for step in 1..=4 {
        v /= lengths(&v)[0].max(f64::MIN_POSITIVE);
        v = multiply(apply, step, &v)?;
        norm = lengths(&v)[0];
    }
    Ok(norm)
}

/// A applied to rows, checked.
fn multiply<E: From<Error>>(
    apply: &mut impl FnMut(ArrayView2<'_, f64>) -> Result<Array2<f64>, E>,
    step: usize,
    v: &Array2<f64>,
) -> Result<Array2<f64>, E> {
    let product = apply(v.t())?.reversed_axes();
    if product.dim() != v.dim() {
        return Err(Error::ProductLength { expected: v.len(), found: product.len() }.into());
    }
    if !product.iter().all(|value| value.is_finite()) {
        return Err(Error::NonFiniteProduct { step }.into());
    }
    Ok(by_rows(product))
}

/// P⁻¹ applied to rows.
fn solved(preconditioner: &impl Preconditioner, r: &Array2<f64>) -> Result<Array2<f64>, Error> {
    let z = preconditioner.precondition(r.t())?.reversed_axes();
    if z.dim() != r.dim() {
        return Err(Error::ProductLength { expected: r.len(), found: z.len() });
    }
    Ok(by_rows(z))
}

fn by_rows(a: Array2<f64>) -> Array2<f64> {
    if a.is_standard_layout() { a } else { a.as_standard_layout().into_owned() }
}

fn lengths(rows: &Array2<f64>) -> Array1<f64> {
    rows.rows().into_iter().map(|row| row.dot(&row).sqrt()).collect()
}
