//! From a kernel function to the trained ensemble in one call, for those who need nothing in between.

use ndarray::ArrayView2;
use ntk_core::{Batch, KernelFn, Which};

use crate::{Ensemble, Error, Flow, GradientFlow, Gram, LearningRate, LossScale, Ridge, Spectrum};

/// The ensemble of infinitely wide networks, all layers trained by gradient flow under squared loss.
///
/// # Shapes
/// `inputs`: (N, d); `targets`: (N, k).
///
/// # Errors
/// [`Error::Kernel`] with the provider's error; those of [`Gram::new`], [`Spectrum::new`] and [`Ensemble::ntk`].
pub fn fit<K: KernelFn>(
    kernel: &K,
    inputs: Batch<'_>,
    targets: ArrayView2<'_, f64>,
    rate: LearningRate,
    scale: LossScale,
    ridge: Ridge,
) -> Result<Ensemble<Flow>, Error> {
    let block = kernel.symmetric(inputs, Which::Both).map_err(|error| Error::Kernel(Box::new(error)))?;
    let nngp = Gram::new(block.nngp.ok_or(Error::MissingKernel { which: "nngp" })?)?;
    let ntk = Gram::new(block.ntk.ok_or(Error::MissingKernel { which: "ntk" })?)?;
    Ensemble::ntk(&GradientFlow::new(&Spectrum::new(&ntk, ridge)?, rate, scale), &nngp, targets)
}
