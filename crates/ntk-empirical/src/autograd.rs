//! The tangent kernel of any candle model by candle's reverse mode: one backward pass for each sample and output.
//!
//! Candle's own gradients are wrong for a few operations, and a model made of them inherits the error:
//!
//! * no gradient at all through `candle_nn::ops::softmax_last_dim`, `layer_norm`, `rms_norm` (and so through
//!   `candle_nn::LayerNorm` on contiguous inputs) and the fused rotary embeddings: write `candle_nn::ops::softmax` and
//!   the normalization out of sums, as `layer_norm_slow` does;
//! * `max_pool2d` divides by the size of the window; `scatter` and `scatter_add` pass the wrong part of what they write
//!   into; `upsample_nearest` forgets other uses of its input;
//! * `gelu` and `gelu_erf` have truncated constants (2e-7); `relu` has derivative 1 at 0, and ties of `max` all count.
//!
//! Matrix products, convolutions, average pooling, `index_select`, `gather` and embeddings, `softmax`, batch
//! normalization in evaluation mode and the elementwise functions are right. [`Autograd::check_gradients`] compares a
//! given model with differences, variable by variable; what a variable is cut off from without a trace is refused in any
//! case. [`FiniteNet`](crate::FiniteNet) as a [`Model`] uses only operations whose gradients are right away from kinks,
//! and refuses activations that it cannot compose of them.
//!
//! Candle walks a graph recursively: chains of more than some thousand operations need a thread with a large stack.

mod check;
mod jacobian;
mod model;

use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;

use candle_core::{DType, Device, Tensor, Var};
use ndarray::{Array1, Array2, Array3, Array4, s};
use ntk_core::{Batch, KernelBlock, KernelDiag, KernelFn, Progress, Which};

pub use model::{Model, Selected, VarModel, channels_first};

use crate::finite::finite;
use crate::{Error, input, tensor};

type Observer = Box<dyn Fn(Progress) -> ControlFlow<()> + Send + Sync>;

/// Samples of one evaluation without a graph.
const SAMPLES: usize = 32;

/// The kernels of a candle model: full blocks, traces, diagonals, sums of logits, or one part for each variable.
///
/// Parameters enter with their rates. Samples are swept one at a time; for P selected parameters in numbers of b bytes
/// and o outputs (1 for the sum of logits), the derivatives of at most k = memory/(b P o) samples exist at a time, beside
/// the graph of one sample and the result: of a row of tiles k − c samples, of its columns c = k/8 (at most 16) at a
/// time. n₁ and n₂ samples take n₁ + n₂ ⌈n₁/(k − c)⌉ sweeps of o backward passes each; a symmetric request takes about
/// half of that, n if all fit. The NNGP is f fᵀ/o, as for [`FiniteNet::output_gram`](crate::FiniteNet::output_gram).
///
/// Before the first kernel, its first and its last sample are evaluated together, alone and twice, so that models whose
/// outputs depend on the batch, or on chance, are refused; and variables without a path to the output are moved and put
/// back, so that those which do matter are named rather than counted as zeros.
pub struct Autograd<M> {
    model: M,
    vars: Vec<(String, Var)>,
    rates: Vec<f64>,
    memory: usize,
    observer: Option<Observer>,
    probed: AtomicBool,
}

impl<M: std::fmt::Debug> std::fmt::Debug for Autograd<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Autograd")
            .field("model", &self.model)
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}

impl<M: Model> Autograd<M> {
    /// The kernels of a model, in the number format and on the device of its variables, with 2 GiB for derivatives.
    ///
    /// # Errors
    /// [`Error::ModelVariables`] without variables or with another number of rates; [`Error::Setting`] for a rate that
    /// is negative or not finite; [`Error::RepeatedVariable`]; [`Error::MixedVariables`] for more than one number format
    /// or device, [`Error::DType`] for one that is not f32 or f64; [`Error::NonFiniteParameter`].
    pub fn new(model: M) -> Result<Self, Error> {
        let (vars, rates) = (model.named_vars(), model.rates());
        check::variables(&vars, &rates)?;
        let probed = AtomicBool::new(false);
        Ok(Autograd { model, vars, rates, memory: 1 << 31, observer: None, probed })
    }

    /// The bytes that derivatives of samples may take at a time.
    pub fn with_memory(self, bytes: usize) -> Self {
        Autograd { memory: bytes, ..self }
    }

    /// Calls the observer after each sample is swept (for [`Progress`], a tile); `ControlFlow::Break` stops with
    /// [`ntk_core::Error::Cancelled`].
    pub fn with_observer(
        self,
        observer: impl Fn(Progress) -> ControlFlow<()> + Send + Sync + 'static,
    ) -> Self {
        Autograd { observer: Some(Box::new(observer)), ..self }
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The number P of scalar parameters that the kernel is taken in.
    pub fn parameter_count(&self) -> usize {
        self.vars.iter().map(|(_, var)| var.elem_count()).sum()
    }

    /// f(x). x: (n, d) → (n, outputs).
    ///
    /// # Errors
    /// Those of [`Batch::check`]; [`Error::ModelInput`], [`Error::ModelOutput`]; [`Error::NonFinite`]; candle's.
    pub fn outputs(&self, x: Batch<'_>) -> Result<Array2<f64>, Error> {
        x.check()?;
        let mut outputs = Vec::new();
        for start in (0..x.len()).step_by(SAMPLES) {
            let y = self.forward(&self.tensor(x.range(start, x.len().min(start + SAMPLES)))?)?;
            outputs.push(tensor::array(&y)?);
        }
        let views: Vec<_> = outputs.iter().map(|y| y.view()).collect();
        finite(ndarray::concatenate(ndarray::Axis(0), &views).map_err(candle_core::Error::wrap)?, "an output")
    }

    /// The Jacobian of one variable after another, each times the root of its rate. x: (n, d) → (n·o, P), and o.
    ///
    /// Variables without a path to the output have columns of zeros. All of it is in memory, whatever the bound.
    ///
    /// # Errors
    /// Those of [`Autograd::outputs`]; [`Error::BatchDependence`], [`Error::Randomness`], [`Error::CutVariable`].
    pub fn jacobian(&self, x: Batch<'_>) -> Result<(Array2<f64>, usize), Error> {
        let outputs = self.probe(x, x)?;
        let mut after = self.progress(x.len());
        let part = self.sweep(&self.tensor(x)?, &self.identity(outputs)?, &mut after)?;
        let mut jacobian = Array2::zeros((x.len() * outputs, self.parameter_count()));
        let mut column = 0;
        for (block, rate) in part.blocks.iter().zip(&self.rates) {
            let width = block.dim(1)?;
            jacobian
                .slice_mut(s![.., column..column + width])
                .scaled_add(rate.sqrt(), &tensor::array(block)?);
            column += width;
        }
        Ok((finite(jacobian, "the Jacobian")?, outputs))
    }

    /// Θ(x₁, x₂) with all pairs of outputs. x₁: (n₁, d), x₂: (n₂, d) → (n₁, n₂, o, o).
    ///
    /// # Errors
    /// As [`Autograd::jacobian`]; [`Error::Net`] if features differ or the observer stops; [`Error::ModelMemory`].
    pub fn ntk_blocks(&self, x1: Batch<'_>, x2: Batch<'_>) -> Result<Array4<f64>, Error> {
        let o = self.probe(x1, x2)?;
        let (n1, n2) = (x1.len(), x2.len());
        let mut theta = Array2::zeros((n1 * o, n2 * o));
        let symmetric = self.contract(x1, x2, &self.identity(o)?, |tile| {
            let part = tile.blocks()?;
            let place =
                s![o * tile.rows.start..o * tile.rows.end, o * tile.columns.start..o * tile.columns.end];
            theta.slice_mut(place).scaled_add(tile.rate, &part);
            Ok(())
        })?;
        mirror(symmetric, &mut theta);
        let theta = theta.into_shape_with_order((n1, o, n2, o)).map_err(candle_core::Error::wrap)?;
        finite(theta.permuted_axes([0, 2, 1, 3]).as_standard_layout().into_owned(), "the tangent kernel")
    }

    /// Θ(x₁, x₂) of each output with itself. x₁: (n₁, d), x₂: (n₂, d) → (n₁, n₂, o).
    ///
    /// # Errors
    /// As [`Autograd::ntk_blocks`].
    pub fn ntk_diagonals(&self, x1: Batch<'_>, x2: Batch<'_>) -> Result<Array3<f64>, Error> {
        let o = self.probe(x1, x2)?;
        let mut theta = vec![Array2::zeros((x1.len(), x2.len())); o];
        let symmetric = self.contract(x1, x2, &self.identity(o)?, |tile| {
            for (output, theta) in theta.iter_mut().enumerate() {
                tile.add_to(theta, &tile.output(output)?);
            }
            Ok(())
        })?;
        theta.iter_mut().for_each(|theta| mirror(symmetric, theta));
        let diagonal = Array3::from_shape_fn((x1.len(), x2.len(), o), |(i, j, c)| theta[c][[i, j]]);
        finite(diagonal, "the tangent kernel")
    }

    /// The tangent kernel of the sum of all outputs, over o: Σ Θ_cc′/o. x₁: (n₁, d), x₂: (n₂, d) → (n₁, n₂).
    ///
    /// One backward pass a sample in place of o. At large widths, where Θ is a multiple of the identity over outputs, it
    /// tends to the trace over o.
    ///
    /// # Errors
    /// As [`Autograd::ntk_blocks`].
    pub fn ntk_sum_of_logits(&self, x1: Batch<'_>, x2: Batch<'_>) -> Result<Array2<f64>, Error> {
        let o = self.probe(x1, x2)?;
        let ones = Tensor::ones((1, 1, o), self.dtype(), self.device())?;
        Ok(self.traces(x1, x2, &ones, o, false)?.swap_remove(0))
    }

    /// The share of each variable in the mean over outputs of Θ, by name. x₁: (n₁, d), x₂: (n₂, d) → (n₁, n₂) each;
    /// they add up to the tangent kernel of [`KernelFn`].
    ///
    /// # Errors
    /// As [`Autograd::ntk_blocks`].
    pub fn ntk_parts(&self, x1: Batch<'_>, x2: Batch<'_>) -> Result<Vec<(String, Array2<f64>)>, Error> {
        let o = self.probe(x1, x2)?;
        let parts = self.traces(x1, x2, &self.identity(o)?, o, true)?;
        Ok(self.vars.iter().map(|(name, _)| name.clone()).zip(parts).collect())
    }

    /// Sums over the rows of cotangents, over o: one for each variable, or one in all.
    fn traces(
        &self,
        x1: Batch<'_>,
        x2: Batch<'_>,
        cotangents: &Tensor,
        o: usize,
        apart: bool,
    ) -> Result<Vec<Array2<f64>>, Error> {
        let count = if apart { self.vars.len() } else { 1 };
        let mut theta = vec![Array2::zeros((x1.len(), x2.len())); count];
        let symmetric = self.contract(x1, x2, cotangents, |tile| {
            let part = tile.trace()?;
            tile.add_to(&mut theta[if apart { tile.variable } else { 0 }], &part);
            Ok(())
        })?;
        let complete = |mut theta: Array2<f64>| {
            mirror(symmetric, &mut theta);
            finite(theta / o as f64, "the tangent kernel")
        };
        theta.into_iter().map(complete).collect()
    }

    fn dtype(&self) -> DType {
        self.vars[0].1.dtype()
    }

    fn device(&self) -> &Device {
        self.vars[0].1.device()
    }

    /// One row of cotangents for each output, for all samples: (1, o, o).
    fn identity(&self, outputs: usize) -> Result<Tensor, Error> {
        Ok(Tensor::eye(outputs, self.dtype(), self.device())?.unsqueeze(0)?)
    }

    fn tensor(&self, x: Batch<'_>) -> Result<Tensor, Error> {
        for (what, given) in [("lengths", x.lengths().is_some()), ("graphs", x.graphs().is_some())] {
            if given {
                return Err(Error::ModelInput { what });
            }
        }
        Ok(input::values(x, self.dtype(), self.device())?)
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor, Error> {
        let (y, samples) = (self.model.forward(x)?, x.dim(0)?);
        match *y.dims() {
            [n, outputs] if n == samples && outputs > 0 => Ok(y),
            _ => Err(Error::ModelOutput { samples, found: y.dims().to_vec() }),
        }
    }
}

/// Products of matrices are symmetric up to rounding only, and below the diagonal some were not taken.
fn mirror(symmetric: bool, theta: &mut Array2<f64>) {
    if symmetric {
        for i in 0..theta.nrows() {
            for j in 0..i {
                theta[[i, j]] = theta[[j, i]];
            }
        }
    }
}

/// The mean over outputs of tr Θ, and f fᵀ/o.
impl<M: Model> KernelFn for Autograd<M> {
    type Error = Error;

    fn block(&self, x1: Batch<'_>, x2: Batch<'_>, which: Which) -> Result<KernelBlock, Error> {
        let o = self.probe(x1, x2)?;
        let mut block = KernelBlock::default();
        if which.ntk() {
            block.ntk = Some(self.traces(x1, x2, &self.identity(o)?, o, false)?.swap_remove(0));
        }
        if which.nngp() {
            let symmetric = x1.reborrow() == x2.reborrow();
            let f1 = self.outputs(x1)?;
            let f2 = if symmetric { f1.clone() } else { self.outputs(x2)? };
            let mut gram = f1.dot(&f2.t()) / o as f64;
            mirror(symmetric, &mut gram);
            block.nngp = Some(finite(gram, "the Gram matrix of the outputs")?);
        }
        Ok(block)
    }

    fn diag(&self, x: Batch<'_>, which: Which) -> Result<KernelDiag, Error> {
        let o = self.probe(x, x)?;
        let mut diag = KernelDiag::default();
        if which.ntk() {
            let (mut theta, identity) = (Array1::zeros(x.len()), self.identity(o)?);
            self.capacity(o, 1)?;
            let mut after = self.progress(x.len());
            for i in 0..x.len() {
                let part = self.sweep(&self.tensor(x.range(i, i + 1))?, &identity, &mut after)?;
                for (block, rate) in part.blocks.iter().zip(&self.rates) {
                    theta[i] +=
                        rate * tensor::to_f64(block)?.sqr()?.sum_all()?.to_scalar::<f64>()? / o as f64;
                }
            }
            diag.ntk = Some(finite(theta, "the tangent kernel")?);
        }
        if which.nngp() {
            let squares = self.outputs(x)?.mapv(|f| f * f).sum_axis(ndarray::Axis(1));
            diag.nngp = Some(finite(squares / o as f64, "the Gram matrix of the outputs")?);
        }
        Ok(diag)
    }
}
