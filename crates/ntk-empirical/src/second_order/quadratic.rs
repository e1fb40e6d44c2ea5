//! The second-order model around initial parameters: f₂(x; ω) = f₀(x) + J₀(x) ω + ½ ωᵀ H₀(x) ω.

use std::ops::ControlFlow;

use candle_core::{Tensor, Var};
use ndarray::{Array2, ArrayView2};
use ntk_core::Batch;

use crate::affine::Tangent;
use crate::finite::finite;
use crate::input::Input;
use crate::jet::{Curve, Jet, JetSignal, JetSweep};
use crate::train::{Descent, Learner, run};
use crate::{Error, FiniteNet, Parameters, Step, TrainOptions, Trained, tensor};

impl FiniteNet {
    /// The second-order Taylor expansion in the parameters around their present values.
    ///
    /// # Errors
    /// [`Error::SecondDerivative`] for custom activations and layers, when it is used; candle's.
    pub fn quadratic(&self) -> Result<Quadratic, Error> {
        let base = self.try_clone()?;
        let zero = |var: &Var| Var::from_tensor(&var.as_detached_tensor().zeros_like()?);
        let zeros = base
            .affines
            .iter()
            .map(|affine| Ok((zero(&affine.weight)?, affine.bias.as_ref().map(zero).transpose()?)));
        let omega = zeros.collect::<Result<Vec<_>, candle_core::Error>>()?;
        Ok(Quadratic { base, omega })
    }
}

/// f₂(x; ω) = f₀(x) + J₀(x) ω + ½ ωᵀ H₀(x) ω with ω = θ − θ₀.
///
/// Neither J nor H is formed: along the line θ₀ + s ω the three terms are the Taylor coefficients of f. In its kernel,
/// unlike that of the linearized model, training moves: it is the simplest model with a catapult, which a learning rate
/// between 2/λ and 4/λ sets off. In training mode its dropout masks are those of evaluation, the same at every step.
///
/// Source: \[bai2020linearization\], \[zhu2022quadratic\].
#[derive(Debug)]
pub struct Quadratic {
    base: FiniteNet,
    omega: Vec<(Var, Option<Var>)>,
}

impl Quadratic {
    /// The network at the initial parameters.
    pub fn base(&self) -> &FiniteNet {
        &self.base
    }

    /// ω, zero at first.
    ///
    /// # Errors
    /// Candle's.
    pub fn omega(&self) -> Result<Parameters, Error> {
        let mut omega = Parameters::new();
        for (affine, (weight, bias)) in self.base.affines.iter().zip(&self.omega) {
            omega.insert(affine.weight_name(), weight.as_detached_tensor().copy()?);
            if let Some(bias) = bias {
                omega.insert(affine.bias_name(), bias.as_detached_tensor().copy()?);
            }
        }
        Ok(omega)
    }

    /// Replaces ω.
    ///
    /// # Errors
    /// As [`FiniteNet::set_parameters`].
    pub fn set_omega(&mut self, omega: &Parameters) -> Result<(), Error> {
        for ((weight, bias), new) in self.omega.iter().zip(self.base.tangents(omega)?) {
            weight.set(&new.weight)?;
            if let (Some(bias), Some(new)) = (bias, new.bias) {
                bias.set(&new)?;
            }
        }
        Ok(())
    }

    /// f₂(x; ω). x: (n, d) → (n, outputs).
    ///
    /// # Errors
    /// As [`FiniteNet::outputs`]; [`Error::SecondDerivative`].
    pub fn outputs(&self, x: Batch<'_>) -> Result<Array2<f64>, Error> {
        finite(tensor::array(&self.predict(&self.base.input(x)?)?)?, "an output of the quadratic model")
    }

    /// Trains ω by gradient descent in parameter space, with the options and the multipliers of the network.
    /// x: (n, d), y: (n, outputs).
    ///
    /// # Errors
    /// As [`FiniteNet::train`]; [`Error::SecondDerivative`].
    pub fn train(
        &mut self,
        options: &TrainOptions,
        x: Batch<'_>,
        y: ArrayView2<'_, f64>,
        observe: impl FnMut(&Step<'_, Quadratic>) -> ControlFlow<()>,
    ) -> Result<Trained, Error> {
        run(self, options, x, y, observe)
    }

    /// The line θ₀ + s ω.
    fn line(&self, order: usize) -> Result<Curve, Error> {
        let omega: Vec<Tangent> = self
            .omega
            .iter()
            .map(|(weight, bias)| Tangent {
                weight: weight.as_detached_tensor(),
                bias: bias.as_ref().map(Var::as_detached_tensor),
            })
            .collect();
        Ok(Curve::new(&self.base.affines, order, &omega, None)?)
    }
}

impl Learner for Quadratic {
    type Prepared = Input;

    fn net(&self) -> &FiniteNet {
        &self.base
    }

    fn prepare(&self, x: Input) -> Result<Input, Error> {
        Ok(x)
    }

    fn predict(&self, x: &Input) -> Result<Tensor, Error> {
        let sweep = JetSweep { sweep: self.base.sweep(x), curve: &self.line(2)? };
        Ok(self.base.root.record_jet(sweep, &JetSignal::still(x, 2))?.0.x.total()?)
    }

    /// The gradient of ⟨u, f₂⟩ is Jᵀu + H_u ω: the sum of the first two coefficients of that of ⟨u, f⟩.
    fn step(
        &mut self,
        x: &Input,
        _pass: u64,
        cotangent: &mut dyn FnMut(&Tensor) -> Result<Tensor, Error>,
        descent: &mut Descent,
    ) -> Result<(), Error> {
        let u = cotangent(&self.predict(x)?)?.unsqueeze(1)?;
        let sweep = JetSweep { sweep: self.base.sweep(x), curve: &self.line(1)? };
        let (_, tape) = self.base.root.record_jet(sweep, &JetSignal::still(x, 1))?;
        self.base.root.pullback_jet(sweep, &tape, &Jet::constant(u, 1), false, &mut |index, x, d| {
            // (x₀ + x₁) d₀ + x₀ d₁, as samples of one batch.
            let (moved, affine) = (x.total()?, &self.base.affines[index]);
            let (x, d) = match d.coefficient(1) {
                Some(turned) => (Tensor::cat(&[&moved, &x.value], 0)?, Tensor::cat(&[&d.value, turned], 0)?),
                None => (moved, d.value.clone()),
            };
            let (weight, bias) = &self.omega[index];
            descent.step(index, affine, weight, bias.as_ref(), &x, &d)
        })?;
        Ok(())
    }
}
