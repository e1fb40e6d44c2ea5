//! The affine layer at finite width: y = s_w x W + s_b b, with the scales of its parameterization.

use candle_core::{DType, Device, Result, Tensor, Var};
use ntk_core::{Affine as Description, Parameterization};

use crate::draw::Stream;
use crate::tensor::{product, times_transpose};

/// The parameters of one affine layer. W: (in, out), b: (out).
pub(crate) struct Affine {
    pub(crate) description: Description,
    pub(crate) path: String,
    pub(crate) weight: Var,
    pub(crate) bias: Option<Var>,
}

/// A direction in the space of one affine layer's parameters; shapes as those of the parameters.
#[derive(Clone)]
pub(crate) struct Tangent {
    pub(crate) weight: Tensor,
    pub(crate) bias: Option<Tensor>,
}

impl Affine {
    /// Draws the parameters, one stream for each by the path of the node.
    pub(crate) fn draw(
        description: Description,
        path: String,
        (fan_in, fan_out): (usize, usize),
        seed: u64,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let (weight_std, bias_std) = match description.parameterization {
            Parameterization::Ntk => (1.0, 1.0),
            Parameterization::Standard => {
                (description.weight.std() / (fan_in as f64).sqrt(), description.bias.std())
            }
        };
        let normal = |name: &str, std: f64, len: usize| {
            let mut values = Stream::new(seed, name).normals(len);
            values.iter_mut().for_each(|v| *v *= std);
            Tensor::from_vec(values, len, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
        };
        let weight = normal(&parameter(&path, "weight"), weight_std, fan_in * fan_out)?;
        let weight = Var::from_tensor(&weight.reshape((fan_in, fan_out))?)?;
        let bias = match description.has_bias() {
            true => Some(Var::from_tensor(&normal(&parameter(&path, "bias"), bias_std, fan_out)?)?),
            false => None,
        };
        Ok(Affine { description, path, weight, bias })
    }

    /// A copy with parameters of its own.
    pub(crate) fn deep_clone(&self) -> Result<Self> {
        let copy = |var: &Var| Var::from_tensor(&var.as_detached_tensor().copy()?);
        Ok(Affine {
            description: self.description,
            path: self.path.clone(),
            weight: copy(&self.weight)?,
            bias: self.bias.as_ref().map(copy).transpose()?,
        })
    }

    pub(crate) fn weight_name(&self) -> String {
        parameter(&self.path, "weight")
    }

    pub(crate) fn bias_name(&self) -> String {
        parameter(&self.path, "bias")
    }

    /// Names and variables.
    pub(crate) fn named(&self) -> impl Iterator<Item = (String, &Var)> {
        let bias = self.bias.as_ref().map(|bias| (self.bias_name(), bias));
        std::iter::once((self.weight_name(), &self.weight)).chain(bias)
    }

    fn fan_in(&self) -> f64 {
        self.weight.dims()[0] as f64
    }

    /// s_w: what W is multiplied by.
    pub(crate) fn weight_scale(&self) -> f64 {
        match self.description.parameterization {
            Parameterization::Ntk => self.description.weight.std() / self.fan_in().sqrt(),
            Parameterization::Standard => 1.0,
        }
    }

    /// s_b: what b is multiplied by.
    pub(crate) fn bias_scale(&self) -> f64 {
        match self.description.parameterization {
            Parameterization::Ntk => self.description.bias.std(),
            Parameterization::Standard => 1.0,
        }
    }

    /// λ_w.
    pub(crate) fn weight_rate(&self) -> f64 {
        self.description.weight_rate.get()
    }

    /// λ_b, 0 without a bias.
    pub(crate) fn bias_rate(&self) -> f64 {
        if self.bias.is_some() { self.description.bias_rate.get() } else { 0.0 }
    }

    /// Whether training moves anything here.
    pub(crate) fn learns(&self) -> bool {
        self.weight_rate() > 0.0 || self.bias_rate() > 0.0
    }

    /// (a, b) with the layer's own share of the tangent kernel (a ⟨x, x′⟩ + b) ⟨d, d′⟩.
    pub(crate) fn tangent_scales(&self) -> (f64, f64) {
        (self.weight_rate() * self.weight_scale().powi(2), self.bias_rate() * self.bias_scale().powi(2))
    }

    /// (a, b) with the covariance a ⟨x, x′⟩ + b of each output over the draw of this layer.
    pub(crate) fn covariance_scales(&self) -> (f64, f64) {
        (self.description.weight.get() / self.fan_in(), self.description.bias.get())
    }

    /// x: (n, in) → (n, out).
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.apply(
            x,
            &self.weight.as_detached_tensor(),
            self.bias.as_ref().map(Var::as_detached_tensor).as_ref(),
        )
    }

    /// The same with candle's graph, so that candle differentiates it.
    pub(crate) fn differentiable(&self, x: &Tensor) -> Result<Tensor> {
        let y = (x.matmul(&self.weight)? * self.weight_scale())?;
        match &self.bias {
            Some(bias) => y.broadcast_add(&(bias.as_tensor() * self.bias_scale())?),
            None => Ok(y),
        }
    }

    fn apply(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let y = product(self.weight_scale(), x, weight)?;
        match bias {
            Some(bias) => y.broadcast_add(&(bias * self.bias_scale())?),
            None => Ok(y),
        }
    }

    /// d ∂y/∂x. d: (n, o, out) → (n, o, in).
    pub(crate) fn pullback(&self, d: &Tensor) -> Result<Tensor> {
        let (n, outputs, width) = d.dims3()?;
        let d = d.reshape((n * outputs, width))?;
        times_transpose(self.weight_scale(), &d, &self.weight.as_detached_tensor())?.reshape((n, outputs, ()))
    }

    /// ∂y/∂x t + ∂y/∂(W, b) v. x, t: (n, in) → (n, out).
    pub(crate) fn pushforward(&self, x: &Tensor, t: Option<&Tensor>, v: &Tangent) -> Result<Tensor> {
        let own = self.apply(x, &v.weight, v.bias.as_ref())?;
        match t {
            Some(t) => own + product(self.weight_scale(), t, &self.weight.as_detached_tensor())?,
            None => Ok(own),
        }
    }

    /// dᵀ ∂y/∂(W, b), summed over samples. x: (n, in), d: (n, 1, out).
    pub(crate) fn gradient(&self, x: &Tensor, d: &Tensor) -> Result<Tangent> {
        let d = d.squeeze(1)?;
        let bias = match self.bias {
            Some(_) => Some((d.sum(0)? * self.bias_scale())?),
            None => None,
        };
        Ok(Tangent { weight: product(self.weight_scale(), &x.t()?, &d)?, bias })
    }
}

/// The name of a parameter of the node at a path.
fn parameter(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
