//! Products with the Jacobian J = ∂f/∂θ, which is never formed: J v by one forward sweep, Jᵀ u by one backward sweep.

use candle_core::Tensor;
use ndarray::{Array2, ArrayView2};
use ntk_core::Batch;

use crate::affine::Tangent;
use crate::finite::finite;
use crate::node::Sweep;
use crate::{Error, FiniteNet, Parameters, tensor};

impl FiniteNet {
    /// J v: the derivative of the outputs along a direction in parameter space. x: (n, d) → (n, outputs).
    ///
    /// The Jacobian is that of all parameters, frozen ones included, without learning-rate multipliers.
    ///
    /// # Errors
    /// Those of [`FiniteNet::outputs`] for x and of [`FiniteNet::set_parameters`] for v.
    pub fn jvp(&self, x: Batch<'_>, v: &Parameters) -> Result<Array2<f64>, Error> {
        let input = self.input(x)?;
        let tangents = self.tangents(v)?;
        let sweep = self.sweep(&input);
        let (y, tape) = self.root.record(sweep, &input.signal)?;
        let t = match self.root.pushforward(sweep, &tape, None, &tangents)? {
            Some(t) => t,
            None => y.x.zeros_like()?,
        };
        finite(tensor::array(&t)?, "a Jacobian–vector product")
    }

    /// Jᵀ u: the gradient of ⟨u, f(x)⟩. x: (n, d), u: (n, outputs) → one tensor for each parameter.
    ///
    /// # Errors
    /// Those of [`FiniteNet::outputs`] for x; [`Error::Targets`], [`Error::Target`] for u.
    pub fn vjp(&self, x: Batch<'_>, u: ArrayView2<'_, f64>) -> Result<Parameters, Error> {
        let samples = x.len();
        let input = self.input(x)?;
        check_targets(u, (samples, self.output_width()))?;
        let u = tensor::matrix(u, self.lowering().dtype, &self.lowering().device)?.unsqueeze(1)?;
        let sweep = Sweep { frozen: true, ..self.sweep(&input) };
        let (_, tape) = self.root.record(sweep, &input.signal)?;
        let mut gradient = Parameters::new();
        self.root.pullback(sweep, &tape, &u, false, &mut |index, x, d| {
            let affine = &self.affines[index];
            let own = affine.gradient(x, d)?;
            gradient.insert(affine.weight_name(), own.weight);
            if let Some(bias) = own.bias {
                gradient.insert(affine.bias_name(), bias);
            }
            Ok(())
        })?;
        Ok(gradient)
    }

    /// Checked parameters in the order of the affine layers.
    pub(crate) fn tangents(&self, v: &Parameters) -> Result<Vec<Tangent>, Error> {
        self.check_parameters(v)?;
        let take = |name: String| -> Result<Tensor, Error> {
            let tensor = v.get(&name).ok_or(Error::MissingParameter { name })?;
            Ok(tensor.to_dtype(self.lowering().dtype)?.to_device(&self.lowering().device)?)
        };
        let tangent = |affine: &crate::affine::Affine| {
            let bias = affine.bias.as_ref().map(|_| take(affine.bias_name())).transpose()?;
            Ok(Tangent { weight: take(affine.weight_name())?, bias })
        };
        self.affines.iter().map(tangent).collect()
    }
}

/// Refuses targets or cotangents that do not fit the outputs or are not finite.
pub(crate) fn check_targets(u: ArrayView2<'_, f64>, expected: (usize, usize)) -> Result<(), Error> {
    if u.dim() != expected {
        return Err(Error::Targets { expected, found: u.dim() });
    }
    match u.indexed_iter().find(|(_, v)| !v.is_finite()) {
        Some(((sample, output), &value)) => {
            Err(Error::Target { sample, output, value, domain: "a finite number" })
        }
        None => Ok(()),
    }
}
