//! The tangent kernel of a finite network without its Jacobian: each affine layer adds its share during one backward
//! sweep, for a dense layer (λ_w s_w² X X′ᵀ + λ_b s_b²) ∘ (D D′ᵀ).
//!
//! X are the inputs of the layer and D the derivatives of the outputs with respect to its pre-activations. Layers that
//! use their weights at many positions sum over pairs of positions, or form the derivative in their own weights, slab
//! by slab, whichever takes fewer multiplications.
//!
//! Peak memory for n samples, o outputs, w_l = positions · channels and b bytes per number: b (2 n Σ w_l +
//! 3 n o max w_l) for the sweep, at a convolution b (taps n w_l + 2²⁵) more, and for full blocks (8 + b + 8) n₁ n₂ o²
//! for the result. For many samples, wrap the network in [`Tiled`](ntk_core::Tiled).
//!
//! Source: structured derivatives of \[novak2022fast\].

use candle_core::Tensor;
use ndarray::{Array2, Array4, ArrayView, Dimension, s};
use ntk_core::{Batch, Graphs, KernelBlock, KernelFn, Which};

use crate::affine::Affine;
use crate::contract::{Pair, Part, add_share};
use crate::finite::finite;
use crate::input::Input;
use crate::moment::moment;
use crate::{Error, FiniteNet};

/// Two sets of samples in one batch.
struct Both {
    input: Input,
    pair: Pair,
}

impl FiniteNet {
    /// Θ(x₁, x₂) with all pairs of outputs. x₁: (n₁, d), x₂: (n₂, d) → (n₁, n₂, o, o).
    ///
    /// Parameters enter with their learning-rate multipliers; frozen ones do not. Noise of dropout is drawn for x₁ and
    /// x₂ independently, unless they are one and the same view.
    ///
    /// # Errors
    /// Those of [`FiniteNet::outputs`]; [`Error::Net`] if features differ.
    pub fn ntk_blocks(&self, x1: Batch<'_>, x2: Batch<'_>) -> Result<Array4<f64>, Error> {
        let both = self.unless_same(x1, x2)?;
        let (Pair { n1, n2, symmetric }, o) = (both.pair, self.output_width());
        let mut theta = Array2::zeros((n1 * o, n2 * o));
        self.contract(&both, |index, x, d| {
            add_share(&self.affines[index], both.pair, x, d, Part::Blocks, &mut theta)
        })?;
        let theta = theta.into_shape_with_order((n1, o, n2, o)).map_err(candle_core::Error::wrap)?;
        let mut blocks = theta.permuted_axes([0, 2, 1, 3]).as_standard_layout().into_owned();
        if symmetric {
            for i in 0..n1 {
                for j in 0..i {
                    let upper = blocks.slice(s![j, i, .., ..]).t().to_owned();
                    blocks.slice_mut(s![i, j, .., ..]).assign(&upper);
                }
            }
        }
        finite(blocks, "the tangent kernel")
    }

    /// The share of each affine layer in the mean over outputs of Θ, in the order of the layers, with its path.
    /// x₁: (n₁, d), x₂: (n₂, d) → (n₁, n₂) each; they add up to the tangent kernel of [`KernelFn`].
    ///
    /// # Errors
    /// As [`FiniteNet::ntk_blocks`].
    pub fn ntk_layers(&self, x1: Batch<'_>, x2: Batch<'_>) -> Result<Vec<(String, Array2<f64>)>, Error> {
        let both = self.unless_same(x1, x2)?;
        let empty = |affine: &Affine| (affine.path.clone(), Array2::zeros((both.pair.n1, both.pair.n2)));
        let mut layers: Vec<(String, Array2<f64>)> = self.affines.iter().map(empty).collect();
        self.contract(&both, |index, x, d| {
            add_share(&self.affines[index], both.pair, x, d, Part::Trace, &mut layers[index].1)
        })?;
        layers.iter_mut().for_each(|(_, share)| *share /= self.output_width() as f64);
        Ok(layers)
    }

    /// f(x₁) f(x₂)ᵀ / o, the mean over outputs of this draw's products. x₁: (n₁, d), x₂: (n₂, d) → (n₁, n₂).
    ///
    /// It tends to the NNGP as the number of *outputs* grows.
    ///
    /// # Errors
    /// As [`FiniteNet::ntk_blocks`].
    pub fn output_gram(&self, x1: Batch<'_>, x2: Batch<'_>) -> Result<Array2<f64>, Error> {
        let both = self.unless_same(x1, x2)?;
        let f = self.predict(&both.input)?;
        finite(both.pair.gram(&f)? / self.output_width() as f64, "the Gram matrix of the outputs")
    }

    fn unless_same(&self, x1: Batch<'_>, x2: Batch<'_>) -> Result<Both, Error> {
        self.both(x1, if same(x1, x2) { None } else { Some(x2) })
    }

    fn both(&self, x1: Batch<'_>, x2: Option<Batch<'_>>) -> Result<Both, Error> {
        let (input, n2) = match x2 {
            Some(x2) => {
                Batch::check_pair(x1, x2)?;
                (self.input(x1)?.join(&self.input(x2)?)?, x2.len())
            }
            None => (self.input(x1)?, x1.len()),
        };
        Ok(Both { input, pair: Pair { n1: x1.len(), n2, symmetric: x2.is_none() } })
    }

    /// One sweep; at each affine layer that learns, its index, its input and its cotangents (n or 1, o, w).
    fn contract(
        &self,
        both: &Both,
        mut visit: impl FnMut(usize, &Tensor, &Tensor) -> candle_core::Result<()>,
    ) -> Result<(), Error> {
        let sweep = self.sweep(&both.input);
        let (_, tape) = self.root.record(sweep, &both.input.signal)?;
        let identity = Tensor::eye(self.output_width(), self.lowering().dtype, &self.lowering().device)?;
        self.root.pullback(sweep, &tape, &identity.unsqueeze(0)?, false, &mut |index, x, d| {
            Ok(visit(index, x, d)?)
        })?;
        Ok(())
    }

    fn kernel(&self, both: &Both, which: Which) -> Result<KernelBlock, Error> {
        let (pair, mut block) = (both.pair, KernelBlock::default());
        if which.ntk() {
            let mut theta = Array2::zeros((pair.n1, pair.n2));
            self.contract(both, |index, x, d| {
                add_share(&self.affines[index], pair, x, d, Part::Trace, &mut theta)
            })?;
            theta /= self.output_width() as f64;
            block.ntk = Some(complete(pair, theta, "the tangent kernel")?);
        }
        if which.nngp() {
            let moment = moment(&self.root, self.sweep(&both.input), &both.input.signal, false)?;
            let mut nngp = Array2::zeros((pair.n1, pair.n2));
            for features in moment.independent.iter().chain(&moment.fixed) {
                nngp += &pair.gram(&features.x)?;
            }
            nngp /= self.output_width() as f64;
            block.nngp = Some(complete(pair, nngp, "the NNGP kernel")?);
        }
        Ok(block)
    }
}

/// Products of matrices are symmetric up to rounding only.
fn complete(pair: Pair, mut k: Array2<f64>, quantity: &'static str) -> Result<Array2<f64>, Error> {
    if pair.symmetric {
        for i in 0..pair.n1 {
            for j in 0..i {
                k[[i, j]] = k[[j, i]];
            }
        }
    }
    finite(k, quantity)
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
        self.kernel(&self.both(x1, Some(x2))?, which)
    }

    fn symmetric(&self, x: Batch<'_>, which: Which) -> Result<KernelBlock, Error> {
        self.kernel(&self.both(x, None)?, which)
    }
}
