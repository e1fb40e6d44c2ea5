//! The tangent kernel of any candle model by candle's reverse mode: slow, general, and an independent check.
//!
//! Candle's own gradients are wrong for a few operations (max_pool2d, scatter, upsample_nearest, the softmax over the
//! last dimension; truncated constants in gelu and gelu_erf; one-sided derivatives at kinks): a model built of them
//! inherits the error. [`FiniteNet`] as a [`Model`] uses only operations whose gradients are right away from kinks,
//! and refuses activations that it cannot compose of them.

use candle_core::{DType, Device, Result as CandleResult, Tensor, Var};
use ndarray::{Array2, Array4};
use ntk_core::{Batch, KernelBlock, KernelFn, Which};

use crate::finite::finite;
use crate::input::{self, Input};
use crate::{Error, FiniteNet, tensor};

/// Any candle model that maps (n, d) to (n, outputs), sample by sample, with d = positions · channels; batches of tokens
/// are (n, positions) of u32.
pub trait Model {
    /// The outputs, with candle's graph.
    ///
    /// # Errors
    /// Candle's.
    fn forward(&self, x: &Tensor) -> CandleResult<Tensor>;

    /// The variables that the tangent kernel is taken in.
    fn vars(&self) -> Vec<Var>;

    /// The learning-rate multiplier of each variable: 1 if not said otherwise.
    fn rates(&self) -> Vec<f64> {
        vec![1.0; self.vars().len()]
    }
}

impl<M: Model + ?Sized> Model for &M {
    fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        (**self).forward(x)
    }

    fn vars(&self) -> Vec<Var> {
        (**self).vars()
    }

    fn rates(&self) -> Vec<f64> {
        (**self).rates()
    }
}

impl Model for FiniteNet {
    fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        self.root.differentiable(self.sweep(&Input::plain(x.clone())), x)
    }

    fn vars(&self) -> Vec<Var> {
        self.variables().map(|(_, var)| var.clone()).collect()
    }

    fn rates(&self) -> Vec<f64> {
        let rates =
            self.affines.iter().flat_map(|a| [Some(a.weight_rate()), a.bias.as_ref().map(|_| a.bias_rate())]);
        rates.flatten().collect()
    }
}

/// The kernels of a candle model, one backward pass for each sample and output.
///
/// The Jacobian is formed: memory is (n₁ + n₂) o P numbers for P parameters. The NNGP is f f ᵀ/o, as for
/// [`FiniteNet::output_gram`].
pub struct Autograd<M> {
    model: M,
    dtype: DType,
    device: Device,
    rates: Vec<f64>,
}

impl<M: Model> Autograd<M> {
    /// The kernels of a model, in the number format and on the device of its variables.
    ///
    /// # Errors
    /// [`Error::ModelVariables`] without variables or with another number of rates; [`Error::Setting`] for a rate that
    /// is negative or not finite.
    pub fn new(model: M) -> Result<Self, Error> {
        let (vars, rates) = (model.vars(), model.rates());
        let Some(first) = vars.first().filter(|_| vars.len() == rates.len()) else {
            return Err(Error::ModelVariables { vars: vars.len(), rates: rates.len() });
        };
        if let Some(&value) = rates.iter().find(|r| !(r.is_finite() && **r >= 0.0)) {
            return Err(Error::Setting { option: "rate", value, domain: "a finite number of at least 0" });
        }
        let (dtype, device) = (first.dtype(), first.device().clone());
        Ok(Autograd { model, dtype, device, rates })
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The Jacobian of one variable after another, each times the root of its rate. x: (n, d) → (n·o, P), and o.
    ///
    /// # Errors
    /// Those of [`Batch::check`]; [`Error::ModelOutput`]; candle's.
    pub fn jacobian(&self, x: Batch<'_>) -> Result<(Array2<f64>, usize), Error> {
        x.check()?;
        let vars = self.model.vars();
        let columns: usize = vars.iter().map(|var| var.elem_count()).sum();
        let (mut rows, mut outputs) = (Vec::new(), 0);
        for i in 0..x.len() {
            let y = self.evaluate(x.range(i, i + 1))?;
            outputs = y.dim(1)?;
            for c in 0..outputs {
                let gradients = y.narrow(1, c, 1)?.sum_all()?.backward()?;
                for (var, rate) in vars.iter().zip(&self.rates) {
                    match gradients.get(var) {
                        Some(g) => {
                            let g: Vec<f64> = tensor::to_f64(g)?.flatten_all()?.to_vec1()?;
                            rows.extend(g.into_iter().map(|g| g * rate.sqrt()));
                        }
                        None => rows.extend(std::iter::repeat_n(0.0, var.elem_count())),
                    }
                }
            }
        }
        let jacobian = Array2::from_shape_vec((x.len() * outputs, columns), rows);
        Ok((finite(jacobian.map_err(candle_core::Error::wrap)?, "the Jacobian")?, outputs))
    }

    /// Θ(x₁, x₂) with all pairs of outputs. x₁: (n₁, d), x₂: (n₂, d) → (n₁, n₂, o, o).
    ///
    /// # Errors
    /// As [`Autograd::jacobian`]; [`Error::Net`] if features differ.
    pub fn ntk_blocks(&self, x1: Batch<'_>, x2: Batch<'_>) -> Result<Array4<f64>, Error> {
        Batch::check_pair(x1, x2)?;
        let ((j1, o), (j2, _)) = (self.jacobian(x1)?, self.jacobian(x2)?);
        let theta = j1.dot(&j2.t()).into_shape_with_order((x1.len(), o, x2.len(), o));
        let theta = theta.map_err(candle_core::Error::wrap)?;
        Ok(theta.permuted_axes([0, 2, 1, 3]).as_standard_layout().into_owned())
    }

    fn evaluate(&self, x: Batch<'_>) -> Result<Tensor, Error> {
        for (what, given) in [("lengths", x.lengths().is_some()), ("graphs", x.graphs().is_some())] {
            if given {
                return Err(Error::ModelInput { what });
            }
        }
        let y = self.model.forward(&input::values(x, self.dtype, &self.device)?)?;
        match *y.dims() {
            [n, outputs] if n == x.len() && outputs > 0 => Ok(y),
            _ => Err(Error::ModelOutput { samples: x.len(), found: y.dims().to_vec() }),
        }
    }
}

/// The mean over outputs of tr Θ, and f fᵀ/o.
impl<M: Model> KernelFn for Autograd<M> {
    type Error = Error;

    fn block(&self, x1: Batch<'_>, x2: Batch<'_>, which: Which) -> Result<KernelBlock, Error> {
        Batch::check_pair(x1, x2)?;
        let mut block = KernelBlock::default();
        if which.ntk() {
            let blocks = self.ntk_blocks(x1, x2)?;
            let (n1, n2, o, _) = blocks.dim();
            let trace = |(i, j)| (0..o).map(|c| blocks[[i, j, c, c]]).sum::<f64>() / o as f64;
            block.ntk = Some(Array2::from_shape_fn((n1, n2), trace));
        }
        if which.nngp() {
            let (f1, f2) = (tensor::array(&self.evaluate(x1)?)?, tensor::array(&self.evaluate(x2)?)?);
            block.nngp = Some(finite(f1.dot(&f2.t()) / f1.ncols() as f64, "the Gram matrix of the outputs")?);
        }
        Ok(block)
    }
}
