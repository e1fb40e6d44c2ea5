//! A scalar function of its parameters up to second order: how far from linear it is.

use ndarray::{Array1, ArrayView1};
use ntk_core::Activation;
use ntk_linalg::{Lanczos, Ritz};

use crate::Error;
use crate::pointwise::derivatives;

/// A scalar function f(w) of p parameters, with its gradient and products with its Hessian.
///
/// On a ball of radius R around w₀, |f − f_lin| ≤ ½ R² sup ‖∇²f‖ with f_lin the linearization at w₀: where the Hessian
/// is small beside the gradient the function is nearly linear.
pub trait ScalarFunction {
    /// p.
    fn dimension(&self) -> usize;

    /// f(w). w: (p).
    ///
    /// # Errors
    /// [`Error::Point`] if w is not p finite numbers; others by implementation.
    fn value(&self, w: &Array1<f64>) -> Result<f64, Error>;

    /// ∇f(w). w: (p) → (p).
    ///
    /// # Errors
    /// As [`ScalarFunction::value`].
    fn gradient(&self, w: &Array1<f64>) -> Result<Array1<f64>, Error>;

    /// The operator v ↦ ∇²f(w) v, (p) → (p).
    ///
    /// # Errors
    /// As [`ScalarFunction::value`], also of the operator.
    fn hessian(&self, w: &Array1<f64>) -> Result<impl Fn(&Array1<f64>) -> Result<Array1<f64>, Error>, Error>;

    /// Extreme eigenvalues of ∇²f(w) with residual bounds.
    ///
    /// # Errors
    /// As [`ScalarFunction::hessian`]; [`Error::Linalg`].
    fn hessian_spectrum(&self, w: &Array1<f64>, lanczos: &Lanczos) -> Result<Ritz, Error> {
        lanczos.run(self.dimension(), self.hessian(w)?)
    }

    /// ‖∇²f(w)‖, the largest modulus of an eigenvalue: by Lanczos, unless there is an exact way.
    ///
    /// # Errors
    /// As [`ScalarFunction::hessian_spectrum`].
    fn hessian_norm(&self, w: &Array1<f64>, lanczos: &Lanczos) -> Result<f64, Error> {
        Ok(self.hessian_spectrum(w, lanczos)?.norm())
    }

    /// The norms of Hessian and gradient at w.
    ///
    /// # Errors
    /// As [`ScalarFunction::hessian_spectrum`].
    fn linearity(&self, w: &Array1<f64>, lanczos: &Lanczos) -> Result<Linearity, Error> {
        let gradient = self.gradient(w)?;
        Ok(Linearity { hessian: self.hessian_norm(w, lanczos)?, gradient: gradient.dot(&gradient).sqrt() })
    }

    /// f(w) − f(w₀) − ⟨∇f(w₀), w − w₀⟩.
    ///
    /// # Errors
    /// As [`ScalarFunction::value`].
    fn linearization_error(&self, w0: &Array1<f64>, w: &Array1<f64>) -> Result<f64, Error> {
        Ok(self.value(w)? - self.value(w0)? - self.gradient(w0)?.dot(&(w - w0)))
    }
}

impl<F: ScalarFunction> ScalarFunction for &F {
    fn dimension(&self) -> usize {
        F::dimension(self)
    }

    fn value(&self, w: &Array1<f64>) -> Result<f64, Error> {
        F::value(self, w)
    }

    fn gradient(&self, w: &Array1<f64>) -> Result<Array1<f64>, Error> {
        F::gradient(self, w)
    }

    fn hessian(&self, w: &Array1<f64>) -> Result<impl Fn(&Array1<f64>) -> Result<Array1<f64>, Error>, Error> {
        F::hessian(self, w)
    }

    fn hessian_norm(&self, w: &Array1<f64>, lanczos: &Lanczos) -> Result<f64, Error> {
        F::hessian_norm(self, w, lanczos)
    }
}

/// Norms of the first two derivatives of a function at a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linearity {
    /// ‖∇²f‖.
    pub hessian: f64,
    /// ‖∇f‖.
    pub gradient: f64,
}

impl Linearity {
    /// ‖∇²f‖/‖∇f‖: the inverse of the distance over which the gradient changes by its own size.
    pub fn ratio(&self) -> f64 {
        self.hessian / self.gradient
    }
}

/// φ(f(w)): a nonlinear output, which keeps a function from becoming linear.
///
/// ∇² φ(f) = φ′ ∇²f + φ″ ∇f ∇fᵀ, and the second term has the norm |φ″| ‖∇f‖², O(1) at any width.
#[derive(Clone, Debug, PartialEq)]
pub struct NonlinearOutput<F> {
    /// φ.
    pub output: Activation,
    /// f.
    pub inner: F,
}

impl<F: ScalarFunction> NonlinearOutput<F> {
    /// φ, φ′ and φ″ at f(w).
    fn jet(&self, w: &Array1<f64>) -> Result<[f64; 3], Error> {
        if self.output.eval(0.0).is_none() {
            return Err(Error::SecondDerivative { name: self.output.name().to_owned() });
        }
        let [value, slope, curvature, _] = derivatives(&self.output, self.inner.value(w)?);
        Ok([value, slope, curvature])
    }

    /// |φ″(f)| ‖∇f‖², the norm of the term of rank one.
    ///
    /// # Errors
    /// As [`ScalarFunction::value`]; [`Error::SecondDerivative`] for a φ without a function.
    pub fn outer_norm(&self, w: &Array1<f64>) -> Result<f64, Error> {
        let gradient = self.inner.gradient(w)?;
        Ok(self.jet(w)?[2].abs() * gradient.dot(&gradient))
    }
}

impl<F: ScalarFunction> ScalarFunction for NonlinearOutput<F> {
    fn dimension(&self) -> usize {
        self.inner.dimension()
    }

    fn value(&self, w: &Array1<f64>) -> Result<f64, Error> {
        Ok(self.jet(w)?[0])
    }

    fn gradient(&self, w: &Array1<f64>) -> Result<Array1<f64>, Error> {
        Ok(self.inner.gradient(w)? * self.jet(w)?[1])
    }

    fn hessian(&self, w: &Array1<f64>) -> Result<impl Fn(&Array1<f64>) -> Result<Array1<f64>, Error>, Error> {
        let ([_, slope, curvature], gradient) = (self.jet(w)?, self.inner.gradient(w)?);
        let inner = self.inner.hessian(w)?;
        Ok(move |v: &Array1<f64>| {
            let mut product = inner(v)? * slope;
            product.scaled_add(curvature * gradient.dot(v), &gradient);
            Ok(product)
        })
    }
}

/// Refuses vectors of another length, and NaN or infinity.
pub(super) fn check_point(w: ArrayView1<'_, f64>, expected: usize) -> Result<(), Error> {
    if w.len() != expected || !w.iter().all(|v| v.is_finite()) {
        return Err(Error::Point { expected, found: w.len() });
    }
    Ok(())
}
