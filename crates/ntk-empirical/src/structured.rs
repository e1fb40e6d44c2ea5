//! The tangent kernel of a finite network without its Jacobian: each affine layer adds its share
//! (λ_w s_w² X X′ᵀ + λ_b s_b²) ∘ (D D′ᵀ) during one backward sweep.
//!
//! X are the inputs of the layer and D the derivatives of the outputs with respect to its pre-activations.
//!
//! Peak memory for n samples, o outputs, widths w_l and b bytes per number: b (2 n Σ w_l + 3 n o max w_l) for the
//! sweep, and for full blocks (8 + b + 8) n₁ n₂ o² for the result; no term has the size of the parameters. For many samples,
//! wrap the network in [`Tiled`](ntk_core::Tiled).
//!
//! Source: structured derivatives of \[novak2022fast\].

use candle_core::Tensor;
use ndarray::{Array2, Array4, Axis, s};
use ntk_core::{Batch, KernelBlock, KernelFn, Which};

use crate::finite::finite;
use crate::node::Node;
use crate::{Error, FiniteNet, tensor};

/// The two sets of samples in one batch: the second is the first, or follows it.
struct Pair {
    x: Tensor,
    n1: usize,
    n2: usize,
    symmetric: bool,
}

impl Pair {
    fn first(&self, t: &Tensor) -> candle_core::Result<Tensor> {
        t.narrow(0, 0, self.n1)
    }

    fn second(&self, t: &Tensor) -> candle_core::Result<Tensor> {
        if self.symmetric { Ok(t.clone()) } else { t.narrow(0, self.n1, self.n2) }
    }

    /// ⟨a, a′⟩ of rows. a: (n, w) → (n₁, n₂).
    fn gram(&self, a: &Tensor) -> candle_core::Result<Array2<f64>> {
        tensor::array(&self.first(a)?.matmul(&self.second(a)?.t()?)?)
    }
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
        let pair = if same(x1, x2) { self.pair(x1, None)? } else { self.pair(x1, Some(x2))? };
        let (n1, n2, o) = (pair.n1, pair.n2, self.output_width());
        // Axes (n₁, o, n₂, o), as the product of the cotangents has them.
        let mut theta = Array4::<f64>::zeros((n1, o, n2, o));
        self.contract(&pair, |_, a, d| {
            let (samples, _, width) = d.dims3()?;
            if samples == 1 && pair.x.dim(0)? != 1 {
                let d = d.squeeze(0)?;
                let block = tensor::array(&d.matmul(&d.t()?)?)?;
                for ((p, q), &block) in block.indexed_iter() {
                    theta.slice_mut(s![.., p, .., q]).scaled_add(block, &a);
                }
                return Ok(());
            }
            let flat = |d: Tensor| d.contiguous()?.reshape(((), width));
            let products = flat(pair.first(d)?)?.matmul(&flat(pair.second(d)?)?.t()?)?;
            let products: Vec<f64> = tensor::to_f64(&products)?.flatten_all()?.to_vec1()?;
            let rows = theta.as_slice_mut().into_iter().flat_map(|t| t.chunks_exact_mut(n2 * o));
            for ((row, theta), products) in rows.enumerate().zip(products.chunks_exact(n2 * o)) {
                let a = a.row(row / o);
                for ((theta, products), a) in theta.chunks_exact_mut(o).zip(products.chunks_exact(o)).zip(a) {
                    theta.iter_mut().zip(products).for_each(|(t, p)| *t += a * p);
                }
            }
            Ok(())
        })?;
        let mut blocks = theta.permuted_axes([0, 2, 1, 3]).as_standard_layout().into_owned();
        if pair.symmetric {
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
        let pair = if same(x1, x2) { self.pair(x1, None)? } else { self.pair(x1, Some(x2))? };
        let mut layers: Vec<(String, Array2<f64>)> =
            self.affines.iter().map(|a| (a.path.clone(), Array2::zeros((pair.n1, pair.n2)))).collect();
        self.traces(&pair, |index, share| {
            layers[index].1 += &share;
        })?;
        Ok(layers)
    }

    /// f(x₁) f(x₂)ᵀ / o, the mean over outputs of this draw's products. x₁: (n₁, d), x₂: (n₂, d) → (n₁, n₂).
    ///
    /// It tends to the NNGP as the number of *outputs* grows.
    ///
    /// # Errors
    /// As [`FiniteNet::ntk_blocks`].
    pub fn output_gram(&self, x1: Batch<'_>, x2: Batch<'_>) -> Result<Array2<f64>, Error> {
        let pair = if same(x1, x2) { self.pair(x1, None)? } else { self.pair(x1, Some(x2))? };
        let f = self.forward(&pair.x)?;
        finite(pair.gram(&f)? / self.output_width() as f64, "the Gram matrix of the outputs")
    }

    fn pair(&self, x1: Batch<'_>, x2: Option<Batch<'_>>) -> Result<Pair, Error> {
        let (x, n2) = match x2 {
            Some(x2) => {
                Batch::check_pair(x1, x2)?;
                (Tensor::cat(&[self.input(x1)?, self.input(x2)?], 0)?, x2.len())
            }
            None => (self.input(x1)?, x1.len()),
        };
        Ok(Pair { x, n1: x1.len(), n2, symmetric: x2.is_none() })
    }

    /// One sweep; at each affine layer that learns, its index, λ_w s_w² X X′ᵀ + λ_b s_b² and D (n or 1, o, w).
    fn contract(
        &self,
        pair: &Pair,
        mut visit: impl FnMut(usize, Array2<f64>, &Tensor) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (_, tape) = self.root.record(self.sweep(), &pair.x)?;
        let identity = Tensor::eye(self.output_width(), self.lowering().dtype, &self.lowering().device)?;
        self.root.pullback(self.sweep(), &tape, &identity.unsqueeze(0)?, false, &mut |index, x, d| {
            let (weight, bias) = self.affines[index].tangent_scales();
            visit(index, pair.gram(x)? * weight + bias, d)
        })?;
        Ok(())
    }

    fn traces(&self, pair: &Pair, mut visit: impl FnMut(usize, Array2<f64>)) -> Result<(), Error> {
        let o = self.output_width() as f64;
        self.contract(pair, |index, a, d| {
            let (samples, ..) = d.dims3()?;
            let share = if samples == 1 && pair.x.dim(0)? != 1 {
                let trace = tensor::to_f64(&d.sqr()?.sum_all()?)?.to_scalar::<f64>()?;
                a * (trace / o)
            } else {
                a * pair.gram(&d.flatten_from(1)?)? / o
            };
            visit(index, share);
            Ok(())
        })
    }

    fn kernel(&self, pair: &Pair, which: Which) -> Result<KernelBlock, Error> {
        let mut block = KernelBlock::default();
        if which.ntk() {
            let mut theta = Array2::zeros((pair.n1, pair.n2));
            self.traces(pair, |_, share| theta += &share)?;
            block.ntk = Some(self.complete(pair, theta, "the tangent kernel")?);
        }
        if which.nngp() {
            let moment = self.moment(pair, &self.root, &pair.x)?;
            let mut nngp = moment.random;
            if let Some(fixed) = moment.fixed {
                nngp += &(pair.gram(&fixed)? / fixed.dim(1)? as f64);
            }
            block.nngp = Some(self.complete(pair, nngp, "the NNGP kernel")?);
        }
        Ok(block)
    }

    /// Products of matrices are symmetric up to rounding only.
    fn complete(
        &self,
        pair: &Pair,
        mut k: Array2<f64>,
        quantity: &'static str,
    ) -> Result<Array2<f64>, Error> {
        if pair.symmetric {
            for i in 0..pair.n1 {
                for j in 0..i {
                    k[[i, j]] = k[[j, i]];
                }
            }
        }
        finite(k, quantity)
    }

    /// E f fᵀ per output over the draw of the affine layers that end the network, given all others.
    fn moment(&self, pair: &Pair, node: &Node, x: &Tensor) -> Result<Moment, Error> {
        let none = || Array2::zeros((pair.n1, pair.n2));
        let widths = |node: &Node| -> Result<usize, Error> {
            Ok(node.forward(self.sweep(), &x.narrow(0, 0, 1)?)?.dim(1)?)
        };
        match node {
            Node::Affine(index) => {
                let (weight, bias) = self.affines[*index].covariance_scales();
                Ok(Moment { random: pair.gram(x)? * weight + bias, fixed: None })
            }
            Node::Serial(nodes) => match nodes.split_last() {
                Some((last, before)) => {
                    let h = before.iter().try_fold(x.clone(), |x, node| node.forward(self.sweep(), &x))?;
                    self.moment(pair, last, &h)
                }
                None => Ok(Moment { random: none(), fixed: Some(x.clone()) }),
            },
            Node::Sum(nodes) => {
                let mut total = Moment { random: none(), fixed: None };
                for node in nodes {
                    let own = self.moment(pair, node, x)?;
                    total.random += &own.random;
                    total.fixed = match (total.fixed, own.fixed) {
                        (Some(a), Some(b)) => Some((a + b)?),
                        (a, b) => a.or(b),
                    };
                }
                Ok(total)
            }
            Node::Concat(nodes) => {
                let (mut random, mut fixed, mut any) = (none(), Vec::new(), false);
                let (mut width, n) = (0, x.dim(0)?);
                for node in nodes {
                    let own = self.moment(pair, node, x)?;
                    let channels = widths(node)?;
                    random.scaled_add(channels as f64, &own.random);
                    any |= own.fixed.is_some();
                    fixed.push(match own.fixed {
                        Some(fixed) => fixed,
                        None => Tensor::zeros((n, channels), x.dtype(), x.device())?,
                    });
                    width += channels;
                }
                let fixed = if any { Some(Tensor::cat(&fixed, 1)?) } else { None };
                Ok(Moment { random: random / width as f64, fixed })
            }
            Node::Pointwise(_)
            | Node::LayerNorm { .. }
            | Node::Dropout { .. }
            | Node::Custom { .. }
            | Node::Product(_) => Ok(Moment { random: none(), fixed: Some(node.forward(self.sweep(), x)?) }),
        }
    }
}

/// The second moment of the outputs over the last affine layers, as a mean over channels: `random` is the part of
/// those layers, (n₁, n₂), and `fixed` the outputs of branches that end otherwise, (n, w), whose cross terms with the
/// former vanish.
struct Moment {
    random: Array2<f64>,
    fixed: Option<Tensor>,
}

/// Whether two batches are views of the same numbers.
fn same(x1: Batch<'_>, x2: Batch<'_>) -> bool {
    let (a, b) = (x1.values(), x2.values());
    a.as_ptr() == b.as_ptr() && a.dim() == b.dim() && a.strides() == b.strides() && a.len_of(Axis(0)) > 0
}

/// The tangent kernel is the mean over outputs of Θ's blocks (tr Θ(x, x′)/o). The NNGP is the covariance of an output
/// over the draw of the last affine layer given the earlier ones, σ_w²/w ⟨h, h′⟩ + σ_b², which tends to the limit with
/// the width at any number of outputs; through sums and concatenations it is that of all branches. What does not end
/// in an affine layer has [`FiniteNet::output_gram`] in its place.
impl KernelFn for FiniteNet {
    type Error = Error;

    fn block(&self, x1: Batch<'_>, x2: Batch<'_>, which: Which) -> Result<KernelBlock, Error> {
        self.kernel(&self.pair(x1, Some(x2))?, which)
    }

    fn symmetric(&self, x: Batch<'_>, which: Which) -> Result<KernelBlock, Error> {
        self.kernel(&self.pair(x, None)?, which)
    }
}
