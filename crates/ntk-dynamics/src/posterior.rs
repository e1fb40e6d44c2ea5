//! Kernel ridge regression, which is the mean of a Gaussian-process posterior, and the posterior's covariance.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use ntk_linalg::{Cholesky, product};

use crate::layout::{Layout, check, check_vector};
use crate::{Error, Gaussian, Gram, Ridge, Spectrum};

/// The posterior of a Gaussian process with prior covariance K, given targets with noise of variance ρ (the ridge).
///
/// * mean K(x, X)(K + ρI)⁻¹ Y: kernel ridge regression;
/// * covariance K(x, x′) − K(x, X)(K + ρI)⁻¹ K(X, x′), of the function without noise.
///
/// With the NTK in the place of K the mean is that of networks trained to the end; their covariance is
/// [`Ensemble::ntk`](crate::Ensemble::ntk)'s and no posterior.
///
/// One Cholesky factorization, n³/3 operations and one copy of the matrix.
///
/// # Source
/// \[rasmussen2006gaussian\], eqs. (2.25) and (2.26).
///
/// ```
/// use ndarray::array;
/// use ntk_dynamics::{Gram, Posterior, Ridge};
/// let gram = Gram::new(array![[2.0, 0.0], [0.0, 1.0]])?;
/// let posterior = Posterior::new(&gram, Ridge::Absolute(1.0), array![[3.0], [4.0]].view())?;
/// let k = array![[1.0, 1.0]]; // K(x, X) at one test point
/// assert!((posterior.mean(k.view())?[[0, 0]] - 3.0).abs() < 1e-14);
/// assert!((posterior.variance(k.view(), array![1.0].view())?[0] - 1.0 / 6.0).abs() < 1e-14);
/// # Ok::<(), ntk_dynamics::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Posterior {
    cholesky: Cholesky,
    layout: Layout,
    /// (K + ρI)⁻¹ Y.
    dual: Array2<f64>,
}

impl Posterior {
    /// Factors K + ρI and solves for the targets, (N, k).
    ///
    /// # Errors
    /// [`Error::Targets`], [`Error::NonFinite`], [`Error::Ridge`]; [`Error::Singular`] or
    /// [`Error::NotPositiveSemidefinite`] if K + ρI is not positive definite to working precision, found at the
    /// price of its eigenvalues.
    pub fn new(gram: &Gram, ridge: Ridge, targets: ArrayView2<'_, f64>) -> Result<Self, Error> {
        let layout = Layout::new(gram.len(), targets.dim())?;
        let targets = layout.flat("targets", targets, layout.samples)?;
        let (cholesky, _) = factored(gram, ridge)?;
        let dual = cholesky.solve(targets.view())?;
        Ok(Posterior { cholesky, layout, dual })
    }

    /// Posterior mean, (M, k). `test_train`: K(x, X), (M, n).
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NonFinite`].
    pub fn mean(&self, test_train: ArrayView2<'_, f64>) -> Result<Array2<f64>, Error> {
        self.check(test_train)?;
        self.layout.outputs(product(test_train, self.dual.view())?)
    }

    /// Posterior covariance, (M, M), the same for every output. `test_train`: K(x, X), (M, n); `test_test`: K(x, x′).
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NonFinite`].
    pub fn covariance(
        &self,
        test_train: ArrayView2<'_, f64>,
        test_test: ArrayView2<'_, f64>,
    ) -> Result<Array2<f64>, Error> {
        self.check(test_train)?;
        check("the test-test kernel", test_test, (test_train.nrows(), test_train.nrows()))?;
        let half = self.cholesky.solve_lower(test_train.t())?;
        Ok(&test_test - &product(half.t(), half.view())?)
    }

    /// Posterior variances, M of them. `test_train`: K(x, X), (M, n); `test_test`: the diagonal K(x, x).
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NonFinite`].
    pub fn variance(
        &self,
        test_train: ArrayView2<'_, f64>,
        test_test: ArrayView1<'_, f64>,
    ) -> Result<Array1<f64>, Error> {
        self.check(test_train)?;
        check_vector("the diagonal of the test-test kernel", test_test, test_train.nrows())?;
        let half = self.cholesky.solve_lower(test_train.t())?;
        let explained = half.mapv_into(|v| v * v).sum_axis(Axis(0));
        // Rounding may leave a variance of zero slightly negative.
        Ok((&test_test - &explained).mapv_into(|v| v.max(0.0)))
    }

    /// The posterior at test points as a law to draw from. `test_train`: K(x, X), (M, n); `test_test`: K(x, x′).
    ///
    /// Of the function itself; [`Gaussian::with_noise`] of the ridge ρ makes it the law of new targets.
    ///
    /// # Errors
    /// Those of [`Posterior::covariance`] and [`Gaussian::new`].
    pub fn gaussian(
        &self,
        test_train: ArrayView2<'_, f64>,
        test_test: ArrayView2<'_, f64>,
    ) -> Result<Gaussian, Error> {
        let covariance = self.covariance(test_train, test_test)?;
        // What is left of the prior may be rounding altogether: the prior is the scale.
        let scale = test_test.diag().fold(0.0, |m: f64, v| m.max(v.abs()));
        Gaussian::with_scale(self.mean(test_train)?.view(), covariance, scale)
    }

    /// A function drawn from the prior, corrected by what the data say: a draw from the posterior at test points, (M, k).
    ///
    /// f(x) + K(x, X)(K + ρI)⁻¹ (Y − f(X) − ε), Matheron's rule, for f drawn from the prior and ε of variance ρ. One
    /// function may be drawn at many test points in parts, in O(M n k), with no covariance between them formed; and
    /// f may be a finite network with K its finite NNGP: the draw is then what gradient descent on the readout alone
    /// ends at, from there and towards targets with noise.
    ///
    /// # Shapes
    /// `test_train`: K(x, X), (M, n); `train`: f(X), (N, k); `test`: f(x), (M, k); `noise`: ε, (N, k).
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NonFinite`], [`Error::Overflow`].
    ///
    /// # Source
    /// \[wilson2020efficiently\], eq. (10); \[matthews2017sample\] for networks.
    pub fn pathwise(
        &self,
        test_train: ArrayView2<'_, f64>,
        train: ArrayView2<'_, f64>,
        test: ArrayView2<'_, f64>,
        noise: ArrayView2<'_, f64>,
    ) -> Result<Array2<f64>, Error> {
        self.check(test_train)?;
        let samples = self.layout.samples;
        check("noise", noise, (samples, self.layout.outputs))?;
        let prior = self.layout.flat("prior outputs at train points", train, samples)?;
        let points = test_train.nrows() / self.layout.rows_each();
        check("prior outputs at test points", test, (points, self.layout.outputs))?;
        let noise = self.layout.flat("noise", noise, samples)?;
        let change = &self.dual - &self.cholesky.solve((prior + noise).view())?;
        Ok(self.layout.outputs(product(test_train, change.view())?)? + test)
    }

    /// The coefficients (K + ρI)⁻¹ Y, (N, k).
    ///
    /// # Errors
    /// [`Error::Overflow`] if targets and kernel are so badly scaled that a coefficient is.
    pub fn dual(&self) -> Result<Array2<f64>, Error> {
        self.layout.outputs(self.dual.clone())
    }

    /// ln det(K + ρI), of use for marginal likelihoods.
    pub fn log_determinant(&self) -> f64 {
        self.cholesky.log_determinant()
    }

    fn check(&self, test_train: ArrayView2<'_, f64>) -> Result<(), Error> {
        let rows = self.layout.whole(test_train.nrows());
        check("the test-train kernel", test_train, (rows, self.cholesky.len()))
    }
}

/// The factor of K + ρI, and ρ.
pub(crate) fn factored(gram: &Gram, ridge: Ridge) -> Result<(Cholesky, f64), Error> {
    let shift = ridge.absolute(gram.symmetric().trace(), gram.len())?;
    match Cholesky::new(gram.symmetric().shifted(shift)?) {
        Err(ntk_linalg::Error::NotPositiveDefinite { .. }) => {
            let spectrum = Spectrum::new(gram, ridge)?;
            let (rank, n, condition) = (spectrum.rank(), spectrum.len(), spectrum.condition());
            Err(Error::Singular { rank, n, condition })
        }
        outcome => Ok((outcome?, shift)),
    }
}
