//! `Model`: what a candle model must tell for its tangent kernel, in a few lines for any `candle_nn` module.

use candle_core::{Module, Result, Tensor, Var};
use candle_nn::VarMap;

use crate::FiniteNet;
use crate::input::Input;

/// Any candle model that maps (n, d) to (n, outputs), sample by sample, with d = positions · channels; batches of tokens
/// are (n, positions) of u32.
///
/// Images come with their channels last, in one row: [`channels_first`] makes them (n, channels, height, width).
pub trait Model {
    /// The outputs, with candle's graph.
    ///
    /// # Errors
    /// Candle's.
    fn forward(&self, x: &Tensor) -> Result<Tensor>;

    /// The variables that the tangent kernel is taken in, with names, always in the same order.
    fn named_vars(&self) -> Vec<(String, Var)>;

    /// The learning-rate multiplier of each variable: 1 if not said otherwise.
    fn rates(&self) -> Vec<f64> {
        vec![1.0; self.named_vars().len()]
    }

    /// The same model, its kernel taken in the variables whose names are kept: the others are frozen.
    ///
    /// Candle still sweeps back to the frozen ones, but nothing of them is stored or multiplied.
    fn select(self, keep: impl Fn(&str) -> bool) -> Selected<Self>
    where
        Self: Sized,
    {
        let kept = self.named_vars().iter().map(|(name, _)| keep(name)).collect();
        Selected { model: self, kept }
    }
}

impl<M: Model + ?Sized> Model for &M {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        (**self).forward(x)
    }

    fn named_vars(&self) -> Vec<(String, Var)> {
        (**self).named_vars()
    }

    fn rates(&self) -> Vec<f64> {
        (**self).rates()
    }
}

/// Names are those of [`FiniteNet::parameter_names`].
impl Model for FiniteNet {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.root.differentiable(self.sweep(&Input::plain(x.clone())), x)
    }

    fn named_vars(&self) -> Vec<(String, Var)> {
        self.variables().map(|(name, var)| (name, var.clone())).collect()
    }

    fn rates(&self) -> Vec<f64> {
        let rates =
            self.affines.iter().flat_map(|a| [Some(a.weight_rate()), a.bias.as_ref().map(|_| a.bias_rate())]);
        rates.flatten().collect()
    }
}

/// A model in some of its variables; made by [`Model::select`].
#[derive(Clone, Debug)]
pub struct Selected<M> {
    model: M,
    kept: Vec<bool>,
}

impl<M> Selected<M> {
    fn keep<T>(&self, all: Vec<T>) -> Vec<T> {
        all.into_iter().zip(&self.kept).filter_map(|(one, kept)| kept.then_some(one)).collect()
    }
}

impl<M: Model> Model for Selected<M> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.model.forward(x)
    }

    fn named_vars(&self) -> Vec<(String, Var)> {
        self.keep(self.model.named_vars())
    }

    fn rates(&self) -> Vec<f64> {
        self.keep(self.model.rates())
    }
}

/// A `candle_nn` module, or a closure, with the variables of the map that it was built from.
///
/// ```
/// use candle_nn::{Activation, VarBuilder, VarMap, linear, seq};
/// use ntk_core::{KernelFn, Which};
/// use ntk_empirical::candle_core::{DType, Device};
/// use ntk_empirical::{Autograd, Model, VarModel};
///
/// let map = VarMap::new();
/// let vb = VarBuilder::from_varmap(&map, DType::F64, &Device::Cpu);
/// let module = seq().add(linear(2, 16, vb.pp("0"))?).add(Activation::Silu).add(linear(16, 1, vb.pp("1"))?);
/// let model = VarModel::new(&map, module).select(|name| name.starts_with("1."));
/// let x = ndarray::array![[1.0, 0.5], [-0.3, 0.8]];
/// let ntk = Autograd::new(model)?.symmetric((&x).into(), Which::Ntk)?.ntk;
/// # Ok::<(), ntk_empirical::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct VarModel<F> {
    module: F,
    vars: Vec<(String, Var)>,
}

/// What batch normalization keeps among its variables and does not learn.
const BUFFERS: [&str; 2] = ["running_mean", "running_var"];

impl<F: Module> VarModel<F> {
    /// The module with all variables of the map in the order of their names, but for the `running_mean` and
    /// `running_var` of batch normalization, which are no parameters.
    ///
    /// A module that behaves differently in training is given as a closure, `|x: &Tensor| module.forward_t(x, false)`;
    /// so is one whose inputs or outputs need another shape.
    pub fn new(map: &VarMap, module: F) -> Self {
        // A lock is poisoned only by a panic of its holder; the variables are whole all the same.
        let map = map.data().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let learns = |name: &str| !BUFFERS.contains(&name.rsplit('.').next().unwrap_or(name));
        let named = map.iter().filter(|(name, _)| learns(name));
        let mut vars: Vec<(String, Var)> = named.map(|(name, var)| (name.clone(), var.clone())).collect();
        vars.sort_by(|a, b| a.0.cmp(&b.0));
        VarModel { module, vars }
    }
}

impl<F: Module> Model for VarModel<F> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.module.forward(x)
    }

    fn named_vars(&self) -> Vec<(String, Var)> {
        self.vars.clone()
    }
}

/// A batch as candle's convolutions take it. x: (n, positions · channels) → (n, channels, sides …).
///
/// # Errors
/// Candle's, if the sides do not divide the row.
pub fn channels_first(x: &Tensor, sides: &[usize]) -> Result<Tensor> {
    let (n, d) = x.dims2()?;
    let positions = sides.iter().product::<usize>();
    if positions == 0 || d % positions != 0 {
        candle_core::bail!("channels_first: rows of {d} numbers are not channels at {sides:?} positions")
    }
    let last = sides.len() + 1;
    let axes: Vec<usize> = [0, last].into_iter().chain(1..last).collect();
    x.reshape([&[n], sides, &[d / positions]].concat())?.permute(axes)?.contiguous()
}
