//! The exactly linear model around initial parameters: f_lin(x; ω) = f₀(x) + J₀(x) ω.

use std::ops::ControlFlow;

use candle_core::{Tensor, Var};
use ndarray::{Array2, ArrayView2};
use ntk_core::Batch;

use crate::affine::Tangent;
use crate::finite::finite;
use crate::input::Input;
use crate::node::Tape;
use crate::train::{Descent, Learner, run};
use crate::{Error, FiniteNet, Parameters, Step, TrainOptions, Trained, tensor};

impl FiniteNet {
    /// The first-order Taylor expansion in the parameters around their present values.
    ///
    /// # Errors
    /// Candle's.
    pub fn linearize(&self) -> Result<Linearized, Error> {
        let base = self.try_clone()?;
        let zero = |var: &Var| Var::from_tensor(&var.as_detached_tensor().zeros_like()?);
        let omega = base
            .affines
            .iter()
            .map(|affine| Ok((zero(&affine.weight)?, affine.bias.as_ref().map(zero).transpose()?)));
        let omega = omega.collect::<Result<Vec<_>, candle_core::Error>>()?;
        Ok(Linearized { base, omega })
    }
}

/// f_lin(x; ω) = f₀(x) + J₀(x) ω with ω = θ − θ₀, evaluated by Jacobian–vector products.
///
/// In training mode its dropout masks are those of evaluation, the same at every step.
///
/// Source: \[lee2019wide\], eq. (3).
#[derive(Debug)]
pub struct Linearized {
    base: FiniteNet,
    omega: Vec<(Var, Option<Var>)>,
}

impl Linearized {
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

    /// f_lin(x; ω). x: (n, d) → (n, outputs).
    ///
    /// # Errors
    /// As [`FiniteNet::outputs`].
    pub fn outputs(&self, x: Batch<'_>) -> Result<Array2<f64>, Error> {
        let x = self.prepare(self.base.input(x)?)?;
        finite(tensor::array(&self.predict(&x)?)?, "an output of the linearized model")
    }

    /// Trains ω by gradient descent in parameter space, with the options and the multipliers of the network.
    /// x: (n, d), y: (n, outputs).
    ///
    /// # Errors
    /// As [`FiniteNet::train`].
    pub fn train(
        &mut self,
        options: &TrainOptions,
        x: Batch<'_>,
        y: ArrayView2<'_, f64>,
        observe: impl FnMut(&Step<'_, Linearized>) -> ControlFlow<()>,
    ) -> Result<Trained, Error> {
        run(self, options, x, y, observe)
    }
}

/// The initial outputs and what they left behind, which no step changes.
pub(crate) struct Expansion {
    input: Input,
    outputs: Tensor,
    tape: Tape,
}

impl Learner for Linearized {
    type Prepared = Expansion;

    fn net(&self) -> &FiniteNet {
        &self.base
    }

    fn prepare(&self, input: Input) -> Result<Expansion, Error> {
        let (outputs, tape) = self.base.root.record(self.base.sweep(&input), &input.signal)?;
        Ok(Expansion { outputs: outputs.x, tape, input })
    }

    fn predict(&self, x: &Expansion) -> Result<Tensor, Error> {
        let omega: Vec<Tangent> = self
            .omega
            .iter()
            .map(|(weight, bias)| Tangent {
                weight: weight.as_detached_tensor(),
                bias: bias.as_ref().map(Var::as_detached_tensor),
            })
            .collect();
        match self.base.root.pushforward(self.base.sweep(&x.input), &x.tape, None, &omega)? {
            Some(change) => Ok((&x.outputs + change)?),
            None => Ok(x.outputs.clone()),
        }
    }

    fn step(
        &mut self,
        x: &Expansion,
        _pass: u64,
        cotangent: &mut dyn FnMut(&Tensor) -> Result<Tensor, Error>,
        descent: &mut Descent,
    ) -> Result<(), Error> {
        let d = cotangent(&self.predict(x)?)?.unsqueeze(1)?;
        self.base.root.pullback(self.base.sweep(&x.input), &x.tape, &d, false, &mut |index, x, d| {
            let (weight, bias) = &self.omega[index];
            descent.step(index, &self.base.affines[index], weight, bias.as_ref(), x, d)
        })?;
        Ok(())
    }
}
