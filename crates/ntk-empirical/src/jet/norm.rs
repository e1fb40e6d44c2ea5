//! Layer normalization along a curve.

use candle_core::{D, Result};

use super::Jet;
use crate::node::Norm;

impl Norm {
    /// y in parts and 1/√(variance + ε). x: (n, w) → (n, parts, w/parts), (n, parts, 1).
    pub(super) fn forward_jet(&self, x: &Jet) -> Result<(Jet, Jet)> {
        let x = x.map(|x| self.split(x))?;
        let centered = x.minus(&x.map(|x| x.mean_keepdim(D::Minus1))?)?;
        let variance = centered.times(&centered)?.map(|square| square.mean_keepdim(D::Minus1))?;
        let total = variance.value.affine(1.0, self.epsilon)?;
        let root = total.sqrt()?.recip()?;
        let slope = (root.div(&total)? * -0.5)?;
        let curvature = (slope.div(&total)? * -1.5)?;
        let inverse = variance.compose(&[root, slope, curvature])?;
        Ok((centered.times(&inverse)?, inverse))
    }

    /// (d − mean d − y mean(d y))/√(variance + ε). d: (n, o, w) → (n, o, w).
    pub(super) fn pullback_jet(&self, d: &Jet, y: &Jet, inverse: &Jet) -> Result<Jet> {
        let (samples, outputs, width) = d.value.dims3()?;
        let d = d.map(|d| {
            let d = self.split(&d.reshape((samples * outputs, width))?)?;
            d.reshape((samples, outputs, self.parts, ()))
        })?;
        let (y, inverse) = (y.map(|y| y.unsqueeze(1))?, inverse.map(|i| i.unsqueeze(1))?);
        let along = d.times(&y)?.map(|dy| dy.mean_keepdim(D::Minus1))?;
        let centered = d.minus(&d.map(|d| d.mean_keepdim(D::Minus1))?)?;
        let d = centered.minus(&along.times(&y)?)?.times(&inverse)?;
        d.map(|d| self.join(&d.flatten(0, 1)?)?.reshape((samples, outputs, width)))
    }
}
