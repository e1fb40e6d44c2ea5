//! The registry of custom activations and layers: names in a description, formulas here.

use std::collections::HashMap;
use std::sync::Arc;

use ntk_core::Law;

use crate::{DualActivation, Error};

/// What a layer rule reads and returns: the covariance of two samples and their tangent kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// Variance of the first sample.
    pub q11: f64,
    /// Variance of the second sample.
    pub q22: f64,
    /// Covariance.
    pub q12: f64,
    /// 1 − |ρ|, with its leading digits also where ρ is within rounding of ±1.
    pub gap: f64,
    /// Tangent kernel Θ₁₂.
    pub ntk: f64,
}

/// The limit of a custom layer: how it maps variances, covariances and tangent kernels, channel by channel.
pub trait LayerRule: Send + Sync {
    /// Variance of the output for a variance of the input.
    fn variance(&self, q: f64) -> f64;

    /// Output of a pair of samples; `q11` and `q22` must be those of [`LayerRule::variance`]. A sample with itself
    /// comes with `gap` = 0 and `q11` = `q22` = `q12`.
    fn pair(&self, input: Pair) -> Pair;

    /// Law of the output's channels.
    fn law(&self) -> Law;
}

/// Rules for the custom names of a network.
///
/// The numbers of [`Activation::Custom`](ntk_core::Activation) and [`Layer::Custom`](ntk_core::Layer) are handed to
/// the registered function, once, when the network is resolved.
#[derive(Clone, Default)]
pub struct Rules {
    activations: HashMap<String, ActivationRule>,
    layers: HashMap<String, LayerMaker>,
    pub(crate) tolerance: Option<f64>,
    pub(crate) precision: Precision,
    pub(crate) memory: Option<usize>,
}

/// How many digits the large tensors of convolutional kernels carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// Double precision throughout: 10⁻¹⁰ of √(K₁₁K₂₂).
    #[default]
    F64,
    /// Covariances between positions in single precision, variances and sums in double: about 10⁻⁶ of √(K₁₁K₂₂), in a
    /// third of the time and half of the memory. Networks without positions are not affected.
    F32,
}

type ActivationRule = Arc<dyn Fn(&[f64]) -> Arc<dyn DualActivation> + Send + Sync>;
type LayerMaker = Arc<dyn Fn(&[f64]) -> Arc<dyn LayerRule> + Send + Sync>;

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules")
            .field("activations", &self.activations.keys())
            .field("layers", &self.layers.keys())
            .field("tolerance", &self.tolerance)
            .field("precision", &self.precision)
            .field("memory", &self.memory)
            .finish()
    }
}

impl Rules {
    /// No custom names, and the default tolerance of quadrature, 10⁻¹².
    pub fn new() -> Self {
        Rules::default()
    }

    /// Registers the dual of a custom activation; the rule gets the parameters of the description.
    pub fn activation<D: DualActivation + 'static>(
        mut self,
        name: &str,
        rule: impl Fn(&[f64]) -> D + Send + Sync + 'static,
    ) -> Self {
        self.activations.insert(name.to_owned(), Arc::new(move |parameters| Arc::new(rule(parameters))));
        self
    }

    /// Registers the limit of a custom layer; the rule gets the parameters of the description.
    pub fn layer<L: LayerRule + 'static>(
        mut self,
        name: &str,
        rule: impl Fn(&[f64]) -> L + Send + Sync + 'static,
    ) -> Self {
        self.layers.insert(name.to_owned(), Arc::new(move |parameters| Arc::new(rule(parameters))));
        self
    }

    /// Sets the error bound, relative to √(V₁₁V₂₂), that quadrature must reach.
    ///
    /// # Errors
    /// [`Error::Tolerance`] outside 10⁻¹⁴ … 1.
    pub fn tolerance(mut self, tolerance: f64) -> Result<Self, Error> {
        if !(1e-14..=1.0).contains(&tolerance) {
            return Err(Error::Tolerance { value: tolerance });
        }
        self.tolerance = Some(tolerance);
        Ok(self)
    }

    /// Sets the precision of covariances between positions.
    pub fn precision(self, precision: Precision) -> Self {
        Rules { precision, ..self }
    }

    /// Refuses, before any work, what would need more than this many bytes; see [`Analytic::plan`](crate::Analytic::plan).
    pub fn memory(self, bytes: usize) -> Self {
        Rules { memory: Some(bytes), ..self }
    }

    pub(crate) fn find_activation(
        &self,
        name: &str,
        parameters: &[f64],
    ) -> Result<Arc<dyn DualActivation>, Error> {
        let rule =
            self.activations.get(name).ok_or_else(|| Error::UnknownActivation { name: name.to_owned() })?;
        Ok(rule(parameters))
    }

    pub(crate) fn find_layer(&self, name: &str, parameters: &[f64]) -> Result<Arc<dyn LayerRule>, Error> {
        let rule = self.layers.get(name).ok_or_else(|| Error::UnknownLayer { name: name.to_owned() })?;
        Ok(rule(parameters))
    }
}
