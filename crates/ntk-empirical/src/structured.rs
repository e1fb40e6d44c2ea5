//! A finite network as a kernel: its tangent kernel through [`Ntk`](crate::Ntk), and the covariance of its outputs over
//! the draw of the last affine layers.

use ndarray::{Array2, Array4, ArrayView, Dimension};
use ntk_core::{Batch, Graphs, KernelBlock, KernelFn, Which};

use crate::contract::gram;
use crate::finite::finite;
use crate::input::Input;
use crate::moment::moment;
use crate::{Error, FiniteNet, NtkOptions};

/// Two sets of samples in one batch: the second is the first, or follows it.
struct Both {
    input: Input,
    n1: usize,
    n2: usize,
    symmetric: bool,
}

impl Both {
    /// ⟨a, a′⟩ of rows. a: (n, w) → (n₁, n₂).
    fn gram(&self, a: &candle_core::Tensor) -> candle_core::Result<Array2<f64>> {
        gram(&a.narrow(0, 0, self.n1)?, &a.narrow(0, if self.symmetric { 0 } else { self.n1 }, self.n2)?)
    }
}

impl FiniteNet {
    /// Θ(x₁, x₂) with all pairs of outputs, by [`FiniteNet::ntk`] as it is. x₁: (n₁, d), x₂: (n₂, d) → (n₁, n₂, o, o).
    ///
    /// Noise of dropout is drawn for x₁ and x₂ independently, unless they are one and the same view.
    ///
    /// # Errors
    /// Those of [`FiniteNet::ntk`] and [`Ntk::blocks`](crate::Ntk::blocks).
    pub fn ntk_blocks(&self, x1: Batch<'_>, x2: Batch<'_>) -> Result<Array4<f64>, Error> {
        self.ntk(x1.reborrow(), unless_same(x1, x2).map(Batch::reborrow), NtkOptions::default())?.blocks()
    }

    /// The share of each affine layer in the mean over outputs of Θ, in the order of the layers, with its path.
    /// x₁: (n₁, d), x₂: (n₂, d) → (n₁, n₂) each; they add up to the tangent kernel of [`KernelFn`].
    ///
    /// # Errors
    /// As [`FiniteNet::ntk_blocks`].
    pub fn ntk_layers(&self, x1: Batch<'_>, x2: Batch<'_>) -> Result<Vec<(String, Array2<f64>)>, Error> {
        self.ntk(x1.reborrow(), unless_same(x1, x2).map(Batch::reborrow), NtkOptions::default())?.layers()
    }

    /// f(x₁) f(x₂)ᵀ / o, the mean over outputs of this draw's products. x₁: (n₁, d), x₂: (n₂, d) → (n₁, n₂).
    ///
    /// It tends to the NNGP as the number of *outputs* grows.
    ///
    /// # Errors
    /// As [`FiniteNet::ntk_blocks`].
    pub fn output_gram(&self, x1: Batch<'_>, x2: Batch<'_>) -> Result<Array2<f64>, Error> {
        let both = self.both(x1, unless_same(x1, x2))?;
        let f = self.predict(&both.input)?;
        finite(both.gram(&f)? / self.output_width() as f64, "the Gram matrix of the outputs")
    }

    fn both(&self, x1: Batch<'_>, x2: Option<Batch<'_>>) -> Result<Both, Error> {
        let (input, n2) = match x2 {
            Some(x2) => {
                Batch::check_pair(x1, x2)?;
                (self.input(x1)?.join(&self.input(x2)?)?, x2.len())
            }
            None => (self.input(x1)?, x1.len()),
        };
        Ok(Both { input, n1: x1.len(), n2, symmetric: x2.is_none() })
    }

    fn kernel(&self, x1: Batch<'_>, x2: Option<Batch<'_>>, which: Which) -> Result<KernelBlock, Error> {
        let mut block = KernelBlock::default();
        if which.ntk() {
            block.ntk =
                Some(self.ntk(x1.reborrow(), x2.map(Batch::reborrow), NtkOptions::default())?.trace()?);
        }
        if which.nngp() {
            let both = self.both(x1, x2)?;
            let moment = moment(&self.root, self.sweep(&both.input), &both.input.signal, false)?;
            let mut nngp = Array2::zeros((both.n1, both.n2));
            for features in moment.independent.iter().chain(&moment.fixed) {
                nngp += &both.gram(&features.x)?;
            }
            nngp /= self.output_width() as f64;
            if both.symmetric {
                complete(&mut nngp);
            }
            block.nngp = Some(finite(nngp, "the NNGP kernel")?);
        }
        Ok(block)
    }
}

/// Products of matrices are symmetric up to rounding only.
fn complete(k: &mut Array2<f64>) {
    for i in 0..k.nrows() {
        for j in 0..i {
            k[[i, j]] = k[[j, i]];
        }
    }
}

/// The second batch, or none if it is the first.
fn unless_same<'a>(x1: Batch<'_>, x2: Batch<'a>) -> Option<Batch<'a>> {
    if same(x1, x2) { None } else { Some(x2) }
}

/// Whether two batches are views of the same samples.
fn same(x1: Batch<'_>, x2: Batch<'_>) -> bool {
    let values = match (x1.token_ids(), x2.token_ids()) {
        (Some(a), Some(b)) => same_view(a, b),
        (None, None) => same_view(x1.values(), x2.values()),
        _ => false,
    };
    let graphs = match (x1.graphs(), x2.graphs()) {
        (Some(Graphs::Dense(a)), Some(Graphs::Dense(b))) => same_view(a, b),
        (Some(Graphs::Sparse(a)), Some(Graphs::Sparse(b))) => a == b,
        (a, b) => a.is_none() && b.is_none(),
    };
    values && graphs && x1.positions() == x2.positions() && x1.lengths() == x2.lengths()
}

fn same_view<T, D: Dimension>(a: ArrayView<'_, T, D>, b: ArrayView<'_, T, D>) -> bool {
    a.as_ptr() == b.as_ptr() && a.shape() == b.shape() && a.strides() == b.strides() && !a.is_empty()
}

/// The tangent kernel is the mean over outputs of Θ's blocks (tr Θ(x, x′)/o); outputs that still have positions are
/// positions · channels of them, so that it is the mean over positions too. The NNGP is the covariance of an output over
/// the draw of the last affine layer given the earlier ones, for a dense layer σ_w²/w ⟨h, h′⟩ + σ_b², which tends to the
/// limit with the width at any number of outputs; through sums, concatenations and linear maps of positions it is that of
/// all branches. What does not end in an affine layer has [`FiniteNet::output_gram`] in its place.
impl KernelFn for FiniteNet {
    type Error = Error;

    fn block(&self, x1: Batch<'_>, x2: Batch<'_>, which: Which) -> Result<KernelBlock, Error> {
        self.kernel(x1, Some(x2), which)
    }

    fn symmetric(&self, x: Batch<'_>, which: Which) -> Result<KernelBlock, Error> {
        self.kernel(x, None, which)
    }
}
