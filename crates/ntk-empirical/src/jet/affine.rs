//! Affine layers along a curve: y = s_w x W + s_b b is bilinear in inputs and weights.

use candle_core::{Result, Tensor, Var};

use super::{Jet, cauchy};
use crate::affine::{Affine, Tangent};

/// θ(s) = θ + s v + ½ s² a, layer by layer.
pub(crate) struct Curve {
    pub(crate) order: usize,
    affines: Vec<AffineJet>,
}

struct AffineJet {
    weight: Jet,
    bias: Option<Jet>,
}

impl Curve {
    /// The curve of a velocity and, of order 2, an acceleration (none is zero), in the order of the layers.
    pub(crate) fn new(
        affines: &[Affine],
        order: usize,
        velocity: &[Tangent],
        acceleration: Option<&[Tangent]>,
    ) -> Result<Self> {
        let jet = |var: &Var, v: &Tensor, a: Option<&Tensor>| -> Result<Jet> {
            let higher = [Some(v.clone()), a.map(|a| a * 0.5).transpose()?];
            Ok(Jet { value: var.as_detached_tensor(), higher: higher.into_iter().take(order).collect() })
        };
        let one = |(index, affine): (usize, &Affine)| {
            let (v, a) = (&velocity[index], acceleration.map(|a| &a[index]));
            let bias = match (&affine.bias, &v.bias) {
                (Some(var), Some(v)) => Some(jet(var, v, a.and_then(|a| a.bias.as_ref()))?),
                _ => None,
            };
            Ok(AffineJet { weight: jet(&affine.weight, &v.weight, a.map(|a| &a.weight))?, bias })
        };
        let affines = affines.iter().enumerate().map(one).collect::<Result<_>>()?;
        Ok(Curve { order, affines })
    }

    /// y = s_w x W + s_b b. x: (n, in) → (n, out).
    pub(crate) fn forward(&self, index: usize, affine: &Affine, x: &Jet) -> Result<Jet> {
        let AffineJet { weight, bias } = &self.affines[index];
        let mut y = x.bilinear(weight, |x, w| affine.sites.multiply(affine.weight_scale(), x, w))?;
        let Some(bias) = bias else { return Ok(y) };
        y.value = affine.shift(y.value, Some(&bias.value))?;
        for (y, b) in y.higher.iter_mut().zip(&bias.higher) {
            // A bias moves only if the weights do.
            *y = y.take().map(|y| affine.shift(y, b.as_ref())).transpose()?;
        }
        Ok(y)
    }

    /// s_w d Wᵀ. d: (n, o, out) → (n, o, in).
    pub(crate) fn pullback(&self, index: usize, affine: &Affine, d: &Jet) -> Result<Jet> {
        let weight = &self.affines[index].weight;
        d.bilinear(weight, |d, w| {
            let (n, outputs, _) = d.dims3()?;
            let rows = affine.sites.multiply_transposed(affine.weight_scale(), &d.flatten(0, 1)?, w)?;
            rows.reshape((n, outputs, ()))
        })
    }
}

impl Affine {
    /// The coefficient of sᵏ of dᵀ ∂y/∂(W, b), summed over samples. x: (n, in), d: (n, 1, out).
    pub(crate) fn gradient_coefficient(&self, k: usize, x: &Jet, d: &Jet) -> Result<Tangent> {
        let weight = cauchy(k, x, d, |x, d| self.sites.gradient(x, &d.squeeze(1)?, self.weight.dims()))?;
        let weight = match weight {
            Some(weight) => (weight * self.weight_scale())?,
            None => self.weight.zeros_like()?,
        };
        let bias = |bias: &Var| match d.coefficient(k) {
            Some(d) => self.bias_gradient(&d.squeeze(1)?, bias)? * self.bias_scale(),
            None => bias.zeros_like(),
        };
        Ok(Tangent { weight, bias: self.bias.as_ref().map(bias).transpose()? })
    }
}
