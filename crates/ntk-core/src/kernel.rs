//! The seam between all providers and all users of kernels: `KernelFn` gives the block K(x₁, x₂).

use ndarray::{Array1, Array2};

use crate::{Batch, Error};

/// Which kernels a caller wants: ask only for what you need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Which {
    /// The covariance of the outputs at initialization.
    Nngp,
    /// The neural tangent kernel.
    Ntk,
    /// Both, for little more than the NTK alone.
    Both,
}

impl Which {
    /// Whether the NNGP is asked for.
    pub fn nngp(self) -> bool {
        self != Which::Ntk
    }

    /// Whether the NTK is asked for.
    pub fn ntk(self) -> bool {
        self != Which::Nngp
    }
}

/// A block of kernel values, (n₁, n₂) each, per output (Θ ⊗ I over the outputs is understood).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct KernelBlock {
    /// Covariance of the outputs at initialization, if asked for.
    pub nngp: Option<Array2<f64>>,
    /// Neural tangent kernel, if asked for.
    pub ntk: Option<Array2<f64>>,
}

/// The values k(xᵢ, xᵢ), n of each kind.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct KernelDiag {
    /// Variances of the outputs at initialization, if asked for.
    pub nngp: Option<Array1<f64>>,
    /// Diagonal of the neural tangent kernel, if asked for.
    pub ntk: Option<Array1<f64>>,
}

/// Anything that gives kernel blocks: pure, and `block(a, b)` is the transpose of `block(b, a)`.
pub trait KernelFn {
    /// What can go wrong.
    type Error: std::error::Error + Send + Sync + 'static;

    /// K(x₁, x₂) between two sets of *different* samples. x₁: (n₁, d), x₂: (n₂, d) → (n₁, n₂).
    ///
    /// A network with noise of its own (dropout) draws it independently for x₁ and x₂ here.
    ///
    /// # Errors
    /// The provider's, for inputs that do not fit it.
    fn block(&self, x1: Batch<'_>, x2: Batch<'_>, which: Which) -> Result<KernelBlock, Self::Error>;

    /// K(x, x), exactly symmetric. x: (n, d) → (n, n).
    ///
    /// Entry (i, i) is that of a sample with itself, noise included.
    ///
    /// # Errors
    /// As [`KernelFn::block`].
    fn symmetric(&self, x: Batch<'_>, which: Which) -> Result<KernelBlock, Self::Error> {
        self.block(x, x, which)
    }

    /// The diagonal of [`KernelFn::symmetric`]. x: (n, d) → n values.
    ///
    /// # Errors
    /// As [`KernelFn::block`].
    fn diag(&self, x: Batch<'_>, which: Which) -> Result<KernelDiag, Self::Error> {
        if x.is_empty() {
            // Nothing to loop over: let the provider refuse in its own words.
            self.symmetric(x, which)?;
        }
        let mut diag = KernelDiag {
            nngp: which.nngp().then(|| Array1::zeros(x.len())),
            ntk: which.ntk().then(|| Array1::zeros(x.len())),
        };
        for i in 0..x.len() {
            let one = self.symmetric(x.range(i, i + 1), which)?;
            for (to, from) in [(&mut diag.nngp, one.nngp), (&mut diag.ntk, one.ntk)] {
                if let (Some(to), Some(from)) = (to, from) {
                    to[i] = from[[0, 0]];
                }
            }
        }
        Ok(diag)
    }

    /// The same kernel with its error boxed, so that kernels of different crates fit one list.
    fn erased(self) -> Box<dyn KernelFn<Error = Error> + Send + Sync>
    where
        Self: Sized + Send + Sync + 'static,
    {
        Box::new(Erased(self))
    }
}

struct Erased<K>(K);

fn boxed<E: std::error::Error + Send + Sync + 'static>(error: E) -> Error {
    Error::Kernel(Box::new(error))
}

impl<K: KernelFn> KernelFn for Erased<K> {
    type Error = Error;

    fn block(&self, x1: Batch<'_>, x2: Batch<'_>, which: Which) -> Result<KernelBlock, Error> {
        self.0.block(x1, x2, which).map_err(boxed)
    }

    fn symmetric(&self, x: Batch<'_>, which: Which) -> Result<KernelBlock, Error> {
        self.0.symmetric(x, which).map_err(boxed)
    }

    fn diag(&self, x: Batch<'_>, which: Which) -> Result<KernelDiag, Error> {
        self.0.diag(x, which).map_err(boxed)
    }
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        impl<K: KernelFn + ?Sized> KernelFn for $pointer {
            type Error = K::Error;

            fn block(&self, x1: Batch<'_>, x2: Batch<'_>, which: Which) -> Result<KernelBlock, K::Error> {
                (**self).block(x1, x2, which)
            }

            fn symmetric(&self, x: Batch<'_>, which: Which) -> Result<KernelBlock, K::Error> {
                (**self).symmetric(x, which)
            }

            fn diag(&self, x: Batch<'_>, which: Which) -> Result<KernelDiag, K::Error> {
                (**self).diag(x, which)
            }
        }
    )*};
}
forward!(&K, Box<K>, std::sync::Arc<K>);
