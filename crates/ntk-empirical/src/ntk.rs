//! `Ntk`: the tangent kernel of one draw in every form, by the cheapest way that fits in memory.
//!
//! Θ(x, x′)_cc′ = Σ λ ∂f_c(x)/∂θ ∂f_c′(x′)/∂θ over all parameters, each with its learning-rate multiplier λ. Three ways
//! lead there, for N samples, O outputs and P parameters:
//!
//! * *structured*: each affine layer adds its share during one backward sweep, for a dense layer
//!   (λ_w s_w² X X′ᵀ + λ_b s_b²) ∘ (D D′ᵀ) with inputs X and cotangents D; N²O² operations for each unit;
//! * *Jacobian*: the derivative in the parameters of a layer is formed, and multiplied; N²O²P;
//! * *products*: Θu by one vector–Jacobian and one Jacobian–vector product, for each unit vector u; N²O forward passes.
//!
//! The first two are chosen layer by layer, from predicted operations: what convolutions read at many positions is
//! better formed, what dense layers read is not. Samples are swept in chunks, and what later chunks need of earlier ones
//! is kept as far as memory allows.
//!
//! Source: structured derivatives and the costs of the three ways, \[novak2022fast\].

mod cost;
mod plan;
mod tiles;
mod vector;

use std::ops::ControlFlow;

use ndarray::{Array2, Array3, Array4};
use ntk_core::{Batch, Progress};

use self::plan::Request;
pub use self::plan::{LayerPlan, NtkPlan};
use crate::finite::finite;
use crate::{Error, FiniteNet};

/// How a tangent kernel is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum NtkMethod {
    /// What takes the fewest operations within the bound on memory, layer by layer.
    #[default]
    Auto,
    /// Gram matrices of inputs and cotangents; derivatives in the parameters are never formed.
    Structured,
    /// Derivatives in the parameters of every layer, multiplied.
    Jacobian,
    /// NTK–vector products with every unit vector.
    Products,
}

impl NtkMethod {
    fn name(self) -> &'static str {
        match self {
            NtkMethod::Auto => "auto",
            NtkMethod::Structured => "structured",
            NtkMethod::Jacobian => "jacobian",
            NtkMethod::Products => "products",
        }
    }
}

/// What is wanted of Θ, for o outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NtkPart {
    /// All pairs of outputs: (n₁, n₂, o, o).
    Blocks,
    /// Each output with itself: (n₁, n₂, o).
    Diagonals,
    /// The mean over outputs, tr Θ/o: (n₁, n₂).
    Trace,
    /// The kernel of Σ_c f_c/√o, which for independent outputs has the mean of [`NtkPart::Trace`] and costs one output
    /// only: (n₁, n₂).
    SumOfLogits,
    /// The share of each layer in the mean over outputs: (n₁, n₂) each.
    Layers,
}

/// Method and bound on memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NtkOptions {
    /// How it is computed.
    pub method: NtkMethod,
    /// Bytes that may be in memory beside the network, the inputs and the result. Samples and outputs are taken in
    /// tiles that fit, by a prediction that [`NtkPlan::bytes`] tells.
    pub memory: usize,
}

impl Default for NtkOptions {
    /// The cheapest method in 2 GiB.
    fn default() -> Self {
        NtkOptions { method: NtkMethod::Auto, memory: 1 << 31 }
    }
}

type Observer<'a> = Box<dyn Fn(Progress) -> ControlFlow<()> + 'a>;

/// The tangent kernel between two batches: computed in the form that is asked for, or applied to vectors without ever
/// being formed.
///
/// ```
/// use ndarray::array;
/// use ntk_core::{Activation, Net, Shape, Variance};
/// use ntk_empirical::{FiniteNet, Lowering, NtkOptions, NtkPart};
///
/// let net = Net::mlp(2, Activation::Tanh, 3, Variance::TWO, Variance::ONE);
/// let finite = FiniteNet::lower(&net, &Lowering { width: 64, ..Lowering::for_inputs(Shape::vector(2)) })?;
/// let x = array![[1.0, 0.5], [-0.3, 0.8]];
/// let ntk = finite.ntk((&x).into(), None, NtkOptions::default())?;
/// assert_eq!(ntk.blocks()?.dim(), (2, 2, 3, 3));
/// println!("{}", ntk.plan(NtkPart::Blocks)?);
/// let u = array![[1.0, 0.0, -1.0], [0.5, 0.5, 0.0]];
/// assert_eq!(ntk.apply(u.view())?.dim(), (2, 3));
/// # Ok::<(), ntk_empirical::Error>(())
/// ```
pub struct Ntk<'a> {
    net: &'a FiniteNet,
    x1: Batch<'a>,
    x2: Batch<'a>,
    symmetric: bool,
    options: NtkOptions,
    observer: Option<Observer<'a>>,
}

impl FiniteNet {
    /// The tangent kernel between x₁ and x₂, or of x₁ with itself. x₁: (n₁, d), x₂: (n₂, d).
    ///
    /// Nothing is computed yet. Parameters enter with their learning-rate multipliers; frozen ones do not. Noise of
    /// dropout is drawn for x₁ and x₂ independently, whatever the tiles.
    ///
    /// # Errors
    /// Those of [`FiniteNet::outputs`] for the inputs; [`Error::Net`] if features differ.
    pub fn ntk<'a>(
        &'a self,
        x1: Batch<'a>,
        x2: Option<Batch<'a>>,
        options: NtkOptions,
    ) -> Result<Ntk<'a>, Error> {
        self.check_input(x1)?;
        if let Some(x2) = x2 {
            Batch::check_pair(x1, x2)?;
            self.check_input(x2)?;
        }
        let symmetric = x2.is_none();
        Ok(Ntk { net: self, x1, x2: x2.unwrap_or(x1), symmetric, options, observer: None })
    }
}

impl std::fmt::Debug for Ntk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ntk").field("net", &self.net).field("options", &self.options).finish_non_exhaustive()
    }
}

impl<'a> Ntk<'a> {
    /// Calls the observer after each chunk of samples; `ControlFlow::Break` stops with
    /// [`ntk_core::Error::Cancelled`].
    pub fn with_observer(mut self, observer: impl Fn(Progress) -> ControlFlow<()> + 'a) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// (n₁, n₂) and o.
    pub fn dim(&self) -> ((usize, usize), usize) {
        ((self.x1.len(), self.x2.len()), self.net.output_width())
    }

    /// What would be chosen for a part, at the cost of one sample forward.
    ///
    /// # Errors
    /// [`Error::Memory`] with the bound that one pair of samples fits.
    pub fn plan(&self, part: NtkPart) -> Result<NtkPlan, Error> {
        self.request(part)?.plan()
    }

    fn request(&self, part: NtkPart) -> Result<Request<'_>, Error> {
        let cost = self.net.cost(self.x1.range(0, 1))?;
        let ((n1, n2), _) = self.dim();
        let (symmetric, options) = (self.symmetric, self.options);
        Ok(Request { net: self.net, cost, n1, n2, symmetric, part, options })
    }

    /// All pairs of outputs. → (n₁, n₂, o, o).
    ///
    /// # Errors
    /// [`Error::Memory`]; [`Error::Net`] if the observer stops; [`Error::NonFinite`] on overflow; candle's.
    pub fn blocks(&self) -> Result<Array4<f64>, Error> {
        self.only(NtkPart::Blocks)
    }

    /// Each output with itself. → (n₁, n₂, o).
    ///
    /// # Errors
    /// As [`Ntk::blocks`].
    pub fn diagonals(&self) -> Result<Array3<f64>, Error> {
        let all = self.only(NtkPart::Diagonals)?;
        let (n1, n2, o, _) = all.dim();
        Ok(all.into_shape_with_order((n1, n2, o)).map_err(candle_core::Error::wrap)?)
    }

    /// The mean over outputs, tr Θ/o, as [`KernelFn`](ntk_core::KernelFn) gives it. → (n₁, n₂).
    ///
    /// # Errors
    /// As [`Ntk::blocks`].
    pub fn trace(&self) -> Result<Array2<f64>, Error> {
        matrix(self.only(NtkPart::Trace)?)
    }

    /// ⟨Σ_c ∇f_c, Σ_c ∇f′_c⟩/o, at the cost of a network with one output. → (n₁, n₂).
    ///
    /// Source: \[mohamadi2023fast\], who show that it stands in for Θ as outputs are many and wide.
    ///
    /// # Errors
    /// As [`Ntk::blocks`].
    pub fn sum_of_logits(&self) -> Result<Array2<f64>, Error> {
        matrix(self.only(NtkPart::SumOfLogits)?)
    }

    /// The share of each affine layer in [`Ntk::trace`], in the order of the layers, with its path. → (n₁, n₂) each;
    /// they add up.
    ///
    /// # Errors
    /// As [`Ntk::blocks`].
    pub fn layers(&self) -> Result<Vec<(String, Array2<f64>)>, Error> {
        let paths = self.net.affines.iter().map(|affine| affine.path.clone());
        let shares = self.compute(NtkPart::Layers)?.into_iter();
        let share = |share| matrix(finite(share, "the tangent kernel")?);
        paths.zip(shares).map(|(path, own)| Ok((path, share(own)?))).collect()
    }

    fn only(&self, part: NtkPart) -> Result<Array4<f64>, Error> {
        let mut all = self.compute(part)?;
        finite(all.swap_remove(0), "the tangent kernel")
    }

    /// One array, or one for each layer; axes that the part does not have are 1 long.
    fn compute(&self, part: NtkPart) -> Result<Vec<Array4<f64>>, Error> {
        let plan = self.plan(part)?;
        let mut results = match plan.method {
            NtkMethod::Products => self.by_products(&plan)?,
            _ => self.by_tiles(&plan)?,
        };
        if let NtkPart::Trace | NtkPart::Layers = part {
            results.iter_mut().for_each(|theta| *theta /= self.net.output_width() as f64);
        }
        Ok(results)
    }

    /// Zeros in the shape of a part.
    fn zeros(&self, part: NtkPart) -> Vec<Array4<f64>> {
        let ((n1, n2), o) = self.dim();
        let (rows, columns, count) = match part {
            NtkPart::Blocks => (o, o, 1),
            NtkPart::Diagonals => (o, 1, 1),
            NtkPart::Trace | NtkPart::SumOfLogits => (1, 1, 1),
            NtkPart::Layers => (1, 1, self.net.affines.len()),
        };
        vec![Array4::zeros((n1, n2, rows, columns)); count]
    }

    fn observe(&self, done: usize, total: usize) -> Result<(), Error> {
        match self.observer.as_ref().map(|observer| observer(Progress { done, total })) {
            Some(ControlFlow::Break(())) => Err(ntk_core::Error::Cancelled { done, total }.into()),
            _ => Ok(()),
        }
    }
}

fn matrix(array: Array4<f64>) -> Result<Array2<f64>, Error> {
    let (n1, n2, _, _) = array.dim();
    Ok(array.into_shape_with_order((n1, n2)).map_err(candle_core::Error::wrap)?)
}
