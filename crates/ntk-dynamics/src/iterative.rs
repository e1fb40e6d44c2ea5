//! The Gaussian-process posterior for kernels too large to factor: conjugate gradients, and bounds on every answer.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use ntk_linalg::{ConjugateGradients, Lanczos, Landmarks, LowRank, Solution, Woodbury, product};

use crate::layout::{Layout, check, check_vector};
use crate::{Error, KernelOperator, Ridge};

/// An answer and by how much it may be off, entry by entry, but for rounding.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounded<A> {
    /// The answer.
    pub value: A,
    /// At least the distance to the exact one; infinite without a ridge, where the residual bounds nothing.
    pub bound: A,
}

/// [`Posterior`](crate::Posterior) by preconditioned conjugate gradients: the kernel is only multiplied with, 2 n²
/// operations for each step and right-hand side, and never copied.
///
/// A partial pivoted Cholesky factorization of K of some rank r preconditions, with n r numbers of memory. All outputs
/// are solved for together, and so are all test points whose variances are asked for.
///
/// Bounds come from residuals, r = b − (K + ρI) x, and the ridge, which is a lower bound of the eigenvalues: solutions
/// are off by |r|/ρ at most, quadratic forms by |r|²/ρ.
///
/// ```
/// use ndarray::array;
/// use ntk_dynamics::{ConjugateGradients, Gram, IterativePosterior, Ridge};
/// let gram = Gram::new(array![[2.0, 0.0], [0.0, 1.0]])?;
/// let (ridge, y) = (Ridge::Absolute(1.0), array![[3.0], [4.0]]);
/// let posterior = IterativePosterior::new(&gram, ridge, y.view(), 1, ConjugateGradients::new(100))?;
/// let mean = posterior.mean(array![[1.0, 1.0]].view())?;
/// assert!((mean.value[[0, 0]] - 3.0).abs() <= mean.bound[[0, 0]] + 1e-14 && mean.bound[[0, 0]] < 1e-8);
/// # Ok::<(), ntk_dynamics::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct IterativePosterior<'a, K: ?Sized> {
    kernel: &'a K,
    ridge: f64,
    layout: Layout,
    preconditioner: Woodbury,
    method: ConjugateGradients,
    /// For the targets.
    solution: Solution,
}

impl<'a, K: KernelOperator + ?Sized> IterativePosterior<'a, K> {
    /// Solves for targets (N, k). `rank`: of the preconditioner, at least 1; some hundreds are good for large n.
    ///
    /// # Errors
    /// [`Error::Targets`], [`Error::NonFinite`], [`Error::Ridge`]; those of the kernel; [`Error::Linalg`] if the kernel
    /// turns out not to be positive semidefinite, if it is singular and there is no ridge, or if the residual does not
    /// fall below the tolerance of `method` within its steps, with the residual reached.
    pub fn new(
        kernel: &'a K,
        ridge: Ridge,
        targets: ArrayView2<'_, f64>,
        rank: usize,
        method: ConjugateGradients,
    ) -> Result<Self, Error> {
        let layout = Layout::new(kernel.len(), targets.dim())?;
        let targets = layout.flat("targets", targets, layout.samples)?;
        let diagonal = kernel.diagonal()?;
        check_vector("the diagonal of the kernel", diagonal.view(), kernel.len())?;
        let ridge = ridge.absolute(diagonal.sum(), kernel.len())?;
        let part = LowRank::new(rank, Landmarks::Greedy, diagonal.view(), |index| kernel.row(index))?;
        let preconditioner = part.preconditioner(ridge)?;
        let solution = method.solve(targets.view(), &preconditioner, |v| shifted(kernel, ridge, v))?;
        Ok(IterativePosterior { kernel, ridge, layout, preconditioner, method, solution })
    }

    /// Posterior mean, (M, k). `test_train`: K(x, X), (M, n).
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NonFinite`], [`Error::Overflow`].
    pub fn mean(&self, test_train: ArrayView2<'_, f64>) -> Result<Bounded<Array2<f64>>, Error> {
        self.check(test_train)?;
        let value = self.layout.outputs(product(test_train, self.solution.x.view())?)?;
        let lengths: Array1<f64> = test_train.rows().into_iter().map(|row| row.dot(&row).sqrt()).collect();
        let errors = self.solution.error_bounds(self.ridge);
        let bound = Array2::from_shape_fn((lengths.len(), errors.len()), |(i, j)| match lengths[i] {
            0.0 => 0.0,
            length => length * errors[j],
        });
        Ok(Bounded { value, bound: self.layout.split(bound) })
    }

    /// Posterior variances, M of them, from above: the exact ones are at most `bound` below. `test_train`: K(x, X), (M, n);
    /// `test_test`: the diagonal K(x, x).
    ///
    /// One solution with M right-hand sides; takes 6 M n numbers of memory, so ask for many test points in parts.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NonFinite`]; [`Error::Linalg`] as [`IterativePosterior::new`].
    pub fn variance(
        &self,
        test_train: ArrayView2<'_, f64>,
        test_test: ArrayView1<'_, f64>,
    ) -> Result<Bounded<Array1<f64>>, Error> {
        self.check_variances(test_train, test_test)?;
        let apply = |v: ArrayView2<'_, f64>| shifted(self.kernel, self.ridge, v);
        let solution = self.method.solve(test_train.t(), &self.preconditioner, apply)?;
        let value = (&test_test - &solution.forms).mapv_into(|v| v.max(0.0));
        Ok(Bounded { value, bound: solution.form_bounds(self.ridge) })
    }

    /// The same variances for any number of test points from one run of Lanczos with that many `steps`, products with
    /// one vector each; then 2 n steps operations for each test point.
    ///
    /// Starts at the mean of the rows of `test_train`. Bounds are wider than those of [`IterativePosterior::variance`]
    /// and shrink as the Krylov space comes to hold the test–train kernel; `steps` n numbers of memory.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NonFinite`]; [`Error::Linalg`] for 0 steps or without a ridge, and if the kernel turns
    /// out not to be positive semidefinite.
    ///
    /// # Source
    /// \[pleiss2018constant\].
    pub fn lanczos_variance(
        &self,
        test_train: ArrayView2<'_, f64>,
        test_test: ArrayView1<'_, f64>,
        steps: usize,
    ) -> Result<Bounded<Array1<f64>>, Error> {
        self.check_variances(test_train, test_test)?;
        let start = test_train.sum_axis(Axis(0));
        let start = start.iter().any(|v| *v != 0.0).then_some(start);
        let ritz = Lanczos { start, ..Lanczos::new(steps) }.run(self.kernel.len(), |v| {
            let product = shifted(self.kernel, self.ridge, v.view().insert_axis(Axis(1)))?;
            Ok::<_, Error>(product.column(0).to_owned())
        })?;
        let [forms, bound] = ritz.inverse_forms(test_train.t(), self.ridge)?;
        Ok(Bounded { value: (&test_test - &forms).mapv_into(|v| v.max(0.0)), bound })
    }

    /// The coefficients (K + ρI)⁻¹ Y, (N, k); each output is off by at most |Y − (K + ρI) x|/ρ in length.
    ///
    /// # Errors
    /// [`Error::Overflow`] if a coefficient is not finite.
    pub fn dual(&self) -> Result<Array2<f64>, Error> {
        self.layout.outputs(self.solution.x.clone())
    }

    /// The largest residual |Y − (K + ρI) x|/|Y| of an output.
    pub fn residual(&self) -> f64 {
        self.solution.relative.fold(0.0, |m: f64, v| m.max(*v))
    }

    /// Steps that were made for the targets.
    pub fn steps(&self) -> usize {
        self.solution.steps
    }

    fn check(&self, test_train: ArrayView2<'_, f64>) -> Result<(), Error> {
        let rows = self.layout.whole(test_train.nrows());
        check("the test-train kernel", test_train, (rows, self.kernel.len()))
    }

    fn check_variances(&self, rows: ArrayView2<'_, f64>, diagonal: ArrayView1<'_, f64>) -> Result<(), Error> {
        self.check(rows)?;
        check_vector("the diagonal of the test-test kernel", diagonal, rows.nrows())
    }
}

/// (K + ρI) V.
fn shifted<K: KernelOperator + ?Sized>(
    kernel: &K,
    ridge: f64,
    v: ArrayView2<'_, f64>,
) -> Result<Array2<f64>, Error> {
    let mut product = kernel.product(v)?;
    check("a product with the kernel", product.view(), v.dim())?;
    product.scaled_add(ridge, &v);
    Ok(product)
}
