//! The registry that says what custom names mean at finite width.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;

type Scalar = Arc<dyn Fn(f64, &[f64]) -> f64 + Send + Sync>;

/// A custom activation: φ and φ′ of (x, parameters).
#[derive(Clone)]
pub(crate) struct ActivationRule {
    pub(crate) value: Scalar,
    pub(crate) derivative: Scalar,
}

/// A custom layer without parameters of its own: a differentiable map of the channels, sample by sample and position by
/// position, that keeps their number. `numbers` are the parameters of its description.
pub trait LayerRule: Send + Sync {
    /// y = f(x). x: (n, w) → (n, w).
    ///
    /// # Errors
    /// Candle's.
    fn forward(&self, x: &Tensor, numbers: &[f64]) -> candle_core::Result<Tensor>;

    /// J(x) t. x, t: (n, w) → (n, w).
    ///
    /// # Errors
    /// Candle's.
    fn pushforward(&self, x: &Tensor, t: &Tensor, numbers: &[f64]) -> candle_core::Result<Tensor>;

    /// J(x)ᵀ d for several cotangents of each sample. x: (n, w), d: (n, o, w) → (n, o, w).
    ///
    /// # Errors
    /// Candle's.
    fn pullback(&self, x: &Tensor, d: &Tensor, numbers: &[f64]) -> candle_core::Result<Tensor>;
}

/// What custom names mean; names are looked up when a network is lowered.
///
/// ```
/// use ntk_core::{Activation, Net, Shape};
/// use ntk_empirical::{FiniteNet, Lowering, Rules};
///
/// let rules = Rules::new().activation("squareplus", |x, b| 0.5 * (x + (x * x + b[0]).sqrt()), |x, b| {
///     0.5 * (1.0 + x / (x * x + b[0]).sqrt())
/// });
/// let net = Net::activation(Activation::Custom { name: "squareplus".into(), parameters: vec![4.0] });
/// let finite = FiniteNet::lower_with(&net, &Lowering::for_inputs(Shape::vector(1)), &rules)?;
/// assert_eq!(finite.outputs((&ndarray::array![[0.0]]).into())?[[0, 0]], 1.0);
/// # Ok::<(), ntk_empirical::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Rules {
    activations: BTreeMap<String, ActivationRule>,
    layers: BTreeMap<String, Arc<dyn LayerRule>>,
}

impl Rules {
    /// No rules.
    pub fn new() -> Self {
        Rules::default()
    }

    /// Adds an activation by φ and φ′, each a function of x and of the description's parameters.
    #[must_use]
    pub fn activation(
        mut self,
        name: &str,
        value: impl Fn(f64, &[f64]) -> f64 + Send + Sync + 'static,
        derivative: impl Fn(f64, &[f64]) -> f64 + Send + Sync + 'static,
    ) -> Self {
        let rule = ActivationRule { value: Arc::new(value), derivative: Arc::new(derivative) };
        self.activations.insert(name.to_owned(), rule);
        self
    }

    /// Adds a layer.
    #[must_use]
    pub fn layer(mut self, name: &str, rule: impl LayerRule + 'static) -> Self {
        self.layers.insert(name.to_owned(), Arc::new(rule));
        self
    }

    pub(crate) fn find_activation(&self, name: &str) -> Option<ActivationRule> {
        self.activations.get(name).cloned()
    }

    pub(crate) fn find_layer(&self, name: &str) -> Option<Arc<dyn LayerRule>> {
        self.layers.get(name).cloned()
    }
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules")
            .field("activations", &self.activations.keys())
            .field("layers", &self.layers.keys())
            .finish()
    }
}
