//! The sub-model of a shallow network: one neuron.

use ndarray::{Array1, ArrayView1};
use ntk_core::Activation;

use super::SubModel;
use crate::Error;
use crate::pointwise::derivatives;

/// g(w; x) = φ(⟨w, x⟩/√d + c), with a fixed offset c that tells neurons apart that share their parameters.
///
/// Its Hessian φ″ x xᵀ/d has rank one and norm |φ″| ‖x‖²/d.
#[derive(Clone, Debug, PartialEq)]
pub struct Neuron {
    activation: Activation,
    inputs: usize,
    offset: f64,
}

impl Neuron {
    /// A neuron with d = `inputs` and offset 0.
    ///
    /// # Errors
    /// [`Error::Net`] for parameters of φ out of their domain; [`Error::SecondDerivative`] for a custom name or one that
    /// exists at infinite width only; [`Error::Setting`] for no inputs.
    pub fn new(activation: Activation, inputs: usize) -> Result<Self, Error> {
        activation.check()?;
        if activation.eval(0.0).is_none() {
            return Err(Error::SecondDerivative { name: activation.name().to_owned() });
        }
        if inputs == 0 {
            return Err(Error::Setting { option: "inputs", value: 0.0, domain: "at least 1" });
        }
        Ok(Neuron { activation, inputs, offset: 0.0 })
    }

    /// The same neuron with another offset c.
    ///
    /// # Errors
    /// [`Error::Setting`] if it is not finite.
    pub fn with_offset(self, offset: f64) -> Result<Self, Error> {
        if !offset.is_finite() {
            return Err(Error::Setting { option: "offset", value: offset, domain: "a finite number" });
        }
        Ok(Neuron { offset, ..self })
    }

    /// φ and its first two derivatives at the pre-activation.
    fn jet(&self, w: ArrayView1<'_, f64>, x: ArrayView1<'_, f64>) -> [f64; 3] {
        let [value, slope, curvature, _] =
            derivatives(&self.activation, w.dot(&x) * self.scale() + self.offset);
        [value, slope, curvature]
    }

    /// 1/√d.
    fn scale(&self) -> f64 {
        1.0 / (self.inputs as f64).sqrt()
    }
}

impl SubModel for Neuron {
    fn inputs(&self) -> usize {
        self.inputs
    }

    fn parameters(&self) -> usize {
        self.inputs
    }

    fn value(&self, w: ArrayView1<'_, f64>, x: ArrayView1<'_, f64>) -> f64 {
        self.jet(w, x)[0]
    }

    fn gradient(&self, w: ArrayView1<'_, f64>, x: ArrayView1<'_, f64>) -> Array1<f64> {
        &x * (self.jet(w, x)[1] * self.scale())
    }

    fn hessian_product(
        &self,
        w: ArrayView1<'_, f64>,
        x: ArrayView1<'_, f64>,
        v: ArrayView1<'_, f64>,
    ) -> Array1<f64> {
        &x * (self.jet(w, x)[2] * x.dot(&v) / self.inputs as f64)
    }
}
