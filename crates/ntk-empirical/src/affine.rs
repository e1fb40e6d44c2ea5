//! Affine layers at finite width: y = s_w x W + s_b b, with the scales of their parameterization.

use candle_core::{Result, Tensor, Var};
use ntk_core::{Affine as Description, Parameterization};

use crate::Lowering;
use crate::draw::Stream;
use crate::sites::{Reads, Sharing, Sites};
use crate::tensor::{accumulate, from_vec};

/// The parameters of one affine layer, and where it applies them.
///
/// W: (in, out) for a dense layer and an embedding, (window …, in/groups, out) for a convolution,
/// (grid …, window …, in, out) for a local one. b: (out), or (positions, out) for a local convolution.
pub(crate) struct Affine {
    pub(crate) description: Description,
    pub(crate) path: String,
    pub(crate) sites: Sites,
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
        sites: Sites,
        shape: &[usize],
        lowering: &Lowering,
    ) -> Result<Self> {
        let &Lowering { seed, dtype, ref device, .. } = lowering;
        let (weight_std, bias_std) = match description.parameterization {
            Parameterization::Ntk => (1.0, 1.0),
            Parameterization::Standard => {
                (description.weight.std() / (sites.fan_in() as f64).sqrt(), description.bias.std())
            }
        };
        let normal = |name: &str, std: f64, shape: &[usize]| {
            let mut values = Stream::new(seed, &parameter(&path, name)).normals(shape.iter().product());
            values.iter_mut().for_each(|v| *v *= std);
            Var::from_tensor(&from_vec(values, shape, dtype, device)?)
        };
        let weight = normal("weight", weight_std, shape)?;
        let bias = match (description.has_bias(), sites.sharing) {
            (false, _) => None,
            (true, Sharing::Positions) => Some(normal("bias", bias_std, &[sites.positions, sites.outputs])?),
            (true, _) => Some(normal("bias", bias_std, &[sites.outputs])?),
        };
        Ok(Affine { description, path, sites, weight, bias })
    }

    /// A copy with parameters of its own.
    pub(crate) fn deep_clone(&self) -> Result<Self> {
        let copy = |var: &Var| Var::from_tensor(&var.as_detached_tensor().copy()?);
        Ok(Affine {
            description: self.description,
            path: self.path.clone(),
            sites: self.sites.clone(),
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
        self.sites.fan_in() as f64
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
        let bias = self.bias.as_ref().map(Var::as_detached_tensor);
        self.apply(x, &self.weight.as_detached_tensor(), bias.as_ref())
    }

    /// The same with candle's graph, so that candle differentiates it.
    pub(crate) fn differentiable(&self, x: &Tensor) -> Result<Tensor> {
        let y = (self.sites.composed(x, &self.weight)? * self.weight_scale())?;
        self.shift(y, self.bias.as_ref().map(Var::as_tensor))
    }

    fn apply(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        self.shift(self.sites.multiply(self.weight_scale(), x, weight)?, bias)
    }

    /// y + s_b b: one bias a channel, or a channel and position.
    pub(crate) fn shift(&self, y: Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let Some(bias) = bias else { return Ok(y) };
        let rows = y.reshape(((), bias.elem_count()))?;
        rows.broadcast_add(&(bias.flatten_all()? * self.bias_scale())?)?.reshape(y.shape())
    }

    /// d ∂y/∂x. d: (n, o, out) → (n, o, in).
    pub(crate) fn pullback(&self, d: &Tensor) -> Result<Tensor> {
        let (n, outputs, _) = d.dims3()?;
        let d = d.flatten(0, 1)?;
        let weight = self.weight.as_detached_tensor();
        self.sites.multiply_transposed(self.weight_scale(), &d, &weight)?.reshape((n, outputs, ()))
    }

    /// ∂y/∂x t + ∂y/∂(W, b) v. x, t: (n, in) → (n, out).
    pub(crate) fn pushforward(&self, x: &Tensor, t: Option<&Tensor>, v: &Tangent) -> Result<Tensor> {
        let own = self.apply(x, &v.weight, v.bias.as_ref())?;
        match t {
            Some(t) => {
                own + self.sites.multiply(self.weight_scale(), t, &self.weight.as_detached_tensor())?
            }
            None => Ok(own),
        }
    }

    /// dᵀ ∂y/∂(W, b), summed over samples. x: (n, in), d: (n, 1, out).
    pub(crate) fn gradient(&self, x: &Tensor, d: &Tensor) -> Result<Tangent> {
        let d = d.squeeze(1)?;
        let bias = match &self.bias {
            Some(bias) => Some((self.bias_gradient(&d, bias)? * self.bias_scale())?),
            None => None,
        };
        let weight = (self.sites.gradient(x, &d, self.weight.dims())? * self.weight_scale())?;
        Ok(Tangent { weight, bias })
    }

    /// d summed over all that share a bias, in the shape of the bias. d: (n, out).
    pub(crate) fn bias_gradient(&self, d: &Tensor, bias: &Tensor) -> Result<Tensor> {
        d.reshape(((), bias.elem_count()))?.sum(0)?.reshape(bias.shape())
    }

    /// target ← β target + α dᵀ ∂(W x)/∂W, in place on the CPU where one matrix of weights is shared by all positions.
    /// target: as the weights, x: (n, in), d: (n, out).
    pub(crate) fn accumulate(
        &self,
        target: &Var,
        beta: f64,
        alpha: f64,
        x: &Tensor,
        d: &Tensor,
    ) -> Result<()> {
        if self.sites.sharing == Sharing::All && !matches!(self.sites.reads, Reads::Tokens) {
            let d = d.reshape(((), self.sites.outputs))?;
            return accumulate(target, beta, alpha, &self.sites.rows(x)?, &d);
        }
        let step = (self.sites.gradient(x, d, target.dims())? * alpha)?;
        target.set(&((target.as_detached_tensor() * beta)? + step)?)
    }
}

/// The name of a parameter of the node at a path.
fn parameter(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
