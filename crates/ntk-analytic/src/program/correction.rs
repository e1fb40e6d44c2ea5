//! What is lost where gradients are taken as independent of the weights that they pass: the naive tangent kernel beside the
//! right one.

use ndarray::{Array2, Zip};
use ntk_core::program::{Estimate, OutputKernels, Program, ScalarGradients, tangent_kernel};

use super::{Error, ParticleLimit, ParticleOptions};

/// The kernels of a program with the dependence of its gradients on its matrices, and without.
///
/// ```
/// use ndarray::array;
/// use ntk_analytic::program::{GradientDependence, ParticleOptions};
/// use ntk_core::program::Expr;
/// use ntk_core::program::networks::{self, Rates, Weights};
///
/// // A tied autoencoder uses W and Wᵀ: its readout has mean 0, and yet gradients are not independent of W.
/// let weights = Weights { weight: 1.4, input: 1.0, bias: 0.0, readout: 1.0, rates: Rates::Unit };
/// let program = networks::autoencoder(&Expr::arg(0).relu(), &weights, &array![[1.0]], 1.0)?;
/// let options = ParticleOptions { particles: 1 << 16, ..ParticleOptions::default() };
/// let kernels = GradientDependence::new(&program, options)?;
/// let lost = kernels.correction()[[0, 0]];
/// assert!(lost.value > 5.0 * lost.error, "{lost:?}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct GradientDependence {
    /// The limit: every product with Wᵀ knows what W has multiplied, Z = Ẑ + Ż.
    pub full: OutputKernels,
    /// The limit if W and Wᵀ were independent, which is right where [`Checks::simple_gia`](ntk_core::program::Checks) holds.
    pub naive: OutputKernels,
}

impl GradientDependence {
    /// Both limits of a forward program by the same number of particles; its backward passes are appended here.
    ///
    /// # Errors
    /// As [`ParticleLimit::new`].
    pub fn new(program: &Program, options: ParticleOptions) -> Result<Self, Error> {
        let (backward, gradients) = program.with_backward(ScalarGradients::Exact)?;
        let kernels = |gradient_independence| {
            let options = ParticleOptions { gradient_independence, ..options };
            tangent_kernel(&ParticleLimit::new(backward.clone(), options)?, &gradients)
        };
        Ok(GradientDependence { full: kernels(false)?, naive: kernels(true)? })
    }

    /// Full minus naive tangent kernel, (outputs, outputs), with the errors of both added.
    pub fn correction(&self) -> Array2<Estimate> {
        Zip::from(&self.full.ntk)
            .and(&self.naive.ntk)
            .map_collect(|full, naive| full.plus(naive.scaled(-1.0)))
    }
}
