//! What a deep linear network minimizes: the squared loss of a predictor, by second moments of the data.

use ndarray::{Array2, ArrayView2};
use ntk_linalg::product;

use crate::layout::check;
use crate::{Error, Gram, Ridge, Spectrum};

/// The risk F(β) = ½ E|βᵀx − y|² = ½ tr (β − b)ᵀ S (β − b) + const, S = E x xᵀ, for predictors β of shape (d, k).
///
/// Sums over outputs, means over data: the learning rates of this module are for this F.
///
/// ```
/// use ndarray::array;
/// use ntk_dynamics::deep_linear::Risk;
/// let risk = Risk::of_samples(array![[1.0, 1.0], [2.0, 2.0]].view(), array![[1.0], [2.0]].view())?;
/// // Many predictors interpolate; the one of least norm weighs both inputs alike.
/// assert!((risk.minimal_norm() - array![[0.5], [0.5]]).iter().all(|x| x.abs() < 1e-14));
/// # Ok::<(), ntk_dynamics::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Risk {
    moment: Array2<f64>,
    target: Array2<f64>,
    spectrum: Spectrum,
}

impl Risk {
    /// S, (d, d), symmetric and positive semidefinite, singular ones included; b, (d, k).
    ///
    /// # Errors
    /// [`Error::Linalg`] for S empty, not square, not finite or not symmetric; [`Error::NotPositiveSemidefinite`];
    /// [`Error::Shape`] if b has not d rows or no column; [`Error::NonFinite`].
    pub fn new(moment: Array2<f64>, target: Array2<f64>) -> Result<Self, Error> {
        let gram = Gram::new(moment)?;
        check("the predictor b", target.view(), (gram.len(), target.ncols().max(1)))?;
        let spectrum = Spectrum::new(&gram, Ridge::None)?;
        Ok(Risk { moment: gram.view().to_owned(), target, spectrum })
    }

    /// The empirical risk of N samples, inputs (N, d) and targets (N, k): S = XᵀX/N and b = (XᵀX)⁺XᵀY.
    ///
    /// The constant, what no linear predictor fits, is left out of [`Risk::excess`].
    ///
    /// # Errors
    /// [`Error::Shape`] for targets of another number of samples; [`Error::NonFinite`]; [`Error::Linalg`] if there are
    /// no samples or no inputs.
    pub fn of_samples(inputs: ArrayView2<'_, f64>, targets: ArrayView2<'_, f64>) -> Result<Self, Error> {
        check("inputs", inputs, inputs.dim())?;
        check("targets", targets, (inputs.nrows(), targets.ncols().max(1)))?;
        if inputs.is_empty() {
            return Err(ntk_linalg::Error::Empty.into());
        }
        let n = inputs.nrows() as f64;
        let mut risk = Risk::new(product(inputs.t(), inputs)? / n, product(inputs.t(), targets)? / n)?;
        let correlation = std::mem::take(&mut risk.target);
        risk.target = risk.on_modes(&correlation, |value| 1.0 / value);
        Ok(risk)
    }

    /// The number of inputs d and of outputs k.
    pub fn dim(&self) -> (usize, usize) {
        self.target.dim()
    }

    /// −∇F(β) = S (b − β), (d, k).
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn descent(&self, predictor: ArrayView2<'_, f64>) -> Result<Array2<f64>, Error> {
        Ok(self.moment.dot(&self.distance(predictor)?))
    }

    /// F(β) less its least value.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn excess(&self, predictor: ArrayView2<'_, f64>) -> Result<f64, Error> {
        let distance = self.distance(predictor)?;
        Ok(0.5 * (&self.moment.dot(&distance) * &distance).sum())
    }

    /// The minimizer of least norm, S⁺S b, (d, k): where gradient flow from β = 0 goes.
    pub fn minimal_norm(&self) -> Array2<f64> {
        self.on_modes(&self.target, |_| 1.0)
    }

    /// The largest and the smallest nonzero eigenvalue of S; none if S = 0.
    pub fn curvature(&self) -> Option<[f64; 2]> {
        let values = self.spectrum.eigenvalues();
        let least = values.iter().copied().find(|value| *value > 0.0)?;
        Some([self.spectrum.largest(), least])
    }

    fn distance(&self, predictor: ArrayView2<'_, f64>) -> Result<Array2<f64>, Error> {
        let (expected, found) = (self.dim(), predictor.dim());
        if expected != found {
            return Err(Error::Shape { what: "a predictor", expected, found });
        }
        Ok(&self.target - &predictor)
    }

    /// f(S) applied to b on the modes of nonzero eigenvalue, zero on the others.
    fn on_modes(&self, b: &Array2<f64>, f: impl Fn(f64) -> f64) -> Array2<f64> {
        let (vectors, values) = (self.spectrum.eigenvectors(), self.spectrum.eigenvalues());
        let mut modes = vectors.t().dot(b);
        for (mut mode, &value) in modes.rows_mut().into_iter().zip(&values) {
            mode *= if value > 0.0 { f(value) } else { 0.0 };
        }
        vectors.dot(&modes)
    }
}
