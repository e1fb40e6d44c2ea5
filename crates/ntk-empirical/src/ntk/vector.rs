//! Θu without Θ: one vector–Jacobian product, the learning-rate multipliers, one Jacobian–vector product.

use candle_core::Tensor;
use ndarray::{Array2, Array4, ArrayView2, s};
use ntk_core::Batch;

use super::plan::ranges;
use super::{Ntk, NtkPart, NtkPlan};
use crate::affine::Tangent;
use crate::finite::finite;
use crate::input::Input;
use crate::node::{Sweep, Tape};
use crate::products::check_targets;
use crate::{Error, tensor};

/// Samples with what forward left behind.
struct Recorded {
    input: Input,
    tape: Tape,
    outputs: Tensor,
    /// The number of the first row among those of both batches.
    first: usize,
}

impl<'a> Ntk<'a> {
    /// Θ u = J(x₁) Λ J(x₂)ᵀ u. u: (n₂, o) → (n₁, o).
    ///
    /// A symmetric one is a linear operator of n·o dimensions for conjugate gradients or Lanczos. Memory is that of a
    /// chunk of samples and of three sets of parameters.
    ///
    /// # Errors
    /// [`Error::Targets`], [`Error::Target`] for u; [`Error::NonFinite`] on overflow; candle's.
    pub fn apply(&self, u: ArrayView2<'_, f64>) -> Result<Array2<f64>, Error> {
        self.product([false, !self.symmetric], u)
    }

    /// Θᵀ u = J(x₂) Λ J(x₁)ᵀ u. u: (n₁, o) → (n₂, o).
    ///
    /// # Errors
    /// As [`Ntk::apply`].
    pub fn apply_transposed(&self, u: ArrayView2<'_, f64>) -> Result<Array2<f64>, Error> {
        self.product([!self.symmetric, false], u)
    }

    /// With the derivatives of one batch on the left, and of one on the right; true is the second.
    fn product(&self, [left, right]: [bool; 2], u: ArrayView2<'_, f64>) -> Result<Array2<f64>, Error> {
        let ((left_x, _), (right_x, _)) = (self.side(left), self.side(right));
        check_targets(u, (right_x.len(), self.net.output_width()))?;
        let chunk = self.request(NtkPart::Blocks)?.product_rows()?;
        let mut direction = None;
        for samples in ranges(0..right_x.len(), chunk) {
            let u = u.slice(s![samples.clone(), ..]);
            let u = tensor::matrix(u, self.net.lowering().dtype, &self.net.lowering().device)?;
            let recorded = self.recorded(right, samples)?;
            direction = Some(self.gradient(&recorded, &u, direction)?);
        }
        let mut product = Array2::zeros((left_x.len(), self.net.output_width()));
        for samples in ranges(0..left_x.len(), chunk) {
            let recorded = self.recorded(left, samples.clone())?;
            let t = self.forward(&recorded, direction.as_deref().unwrap_or_default())?;
            product.slice_mut(s![samples, ..]).assign(&tensor::array(&t)?);
        }
        finite(product, "a product with the tangent kernel")
    }

    /// One batch, and the number of its first row.
    fn side(&self, second: bool) -> (Batch<'a>, usize) {
        if second { (self.x2, self.x1.len()) } else { (self.x1, 0) }
    }

    fn recorded(&self, second: bool, samples: std::ops::Range<usize>) -> Result<Recorded, Error> {
        let (x, first) = self.side(second);
        let first = first + samples.start;
        let input = self.net.input(x.range(samples.start, samples.end))?;
        let sweep = Sweep { first, ..self.net.sweep(&input) };
        let (outputs, tape) = self.net.root.record(sweep, &input.signal)?;
        Ok(Recorded { tape, outputs: outputs.x, first, input })
    }

    fn sweep<'b>(&'b self, recorded: &'b Recorded) -> Sweep<'b> {
        Sweep { first: recorded.first, ..self.net.sweep(&recorded.input) }
    }

    /// Λ Jᵀ u, added to what is there. u: (n, o).
    fn gradient(
        &self,
        recorded: &Recorded,
        u: &Tensor,
        sum: Option<Vec<Tangent>>,
    ) -> Result<Vec<Tangent>, Error> {
        let mut tangents = match sum {
            Some(tangents) => tangents,
            None => self.no_direction()?,
        };
        let net = self.net;
        net.root.pullback(
            self.sweep(recorded),
            &recorded.tape,
            &u.unsqueeze(1)?,
            false,
            &mut |index, x, d| {
                let (affine, sum) = (&net.affines[index], &mut tangents[index]);
                let (_, _, width) = d.dims3()?;
                let own = affine.gradient(x, &d.broadcast_as((x.dim(0)?, 1, width))?.contiguous()?)?;
                sum.weight = (&sum.weight + (own.weight * affine.weight_rate())?)?;
                if let (Some(sum), Some(own)) = (&mut sum.bias, own.bias) {
                    *sum = (&*sum + (own * affine.bias_rate())?)?;
                }
                Ok(())
            },
        )?;
        Ok(tangents)
    }

    /// Zero in every parameter.
    fn no_direction(&self) -> Result<Vec<Tangent>, Error> {
        let zero = |affine: &crate::affine::Affine| {
            let bias = affine.bias.as_ref().map(|bias| bias.zeros_like()).transpose()?;
            Ok(Tangent { weight: affine.weight.zeros_like()?, bias })
        };
        self.net.affines.iter().map(zero).collect()
    }

    /// J v. → (n, o).
    fn forward(&self, recorded: &Recorded, v: &[Tangent]) -> Result<Tensor, Error> {
        let t = self.net.root.pushforward(self.sweep(recorded), &recorded.tape, None, v)?;
        Ok(t.map_or_else(|| recorded.outputs.zeros_like(), Ok)?)
    }

    /// As [`Ntk::compute`](super::Ntk), not yet divided by the number of outputs: one unit vector after another.
    pub(super) fn by_products(&self, plan: &NtkPlan) -> Result<Vec<Array4<f64>>, Error> {
        let ((n1, n2), o) = self.dim();
        let second = !self.symmetric;
        let mut results = self.zeros(plan.part);
        let total = n1.div_ceil(plan.rows) * n2;
        for (tile, rows) in ranges(0..n1, plan.rows).enumerate() {
            let left = self.recorded(false, rows.clone())?;
            for j in 0..n2 {
                let right = self.recorded(second, j..j + 1)?;
                let directions = if plan.part == NtkPart::SumOfLogits { 1 } else { o };
                for c in 0..directions {
                    let direction = self.gradient(&right, &self.cotangents(plan.part, c..c + 1)?, None)?;
                    for (layer, result) in results.iter_mut().enumerate() {
                        let part = match plan.part {
                            NtkPart::Layers => Some(self.only_layer(&direction, layer)?),
                            _ => None,
                        };
                        let t = self.forward(&left, part.as_deref().unwrap_or(&direction))?;
                        for (i, t) in rows.clone().zip(tensor::array(&t)?.rows()) {
                            match plan.part {
                                NtkPart::Blocks => result.slice_mut(s![i, j, .., c]).assign(&t),
                                NtkPart::Diagonals => result[[i, j, c, 0]] = t[c],
                                NtkPart::Trace | NtkPart::Layers => result[[i, j, 0, 0]] += t[c],
                                NtkPart::SumOfLogits => result[[i, j, 0, 0]] = t.sum() / (o as f64).sqrt(),
                            }
                        }
                    }
                }
                self.observe(tile * n2 + j + 1, total)?;
            }
        }
        if self.symmetric {
            results.iter_mut().for_each(symmetrize);
        }
        Ok(results)
    }

    fn only_layer(&self, direction: &[Tangent], layer: usize) -> Result<Vec<Tangent>, Error> {
        let mut only = self.no_direction()?;
        only[layer] = direction[layer].clone();
        Ok(only)
    }
}

/// Products are symmetric up to rounding only: one triangle counts.
fn symmetrize(theta: &mut Array4<f64>) {
    let (n, _, rows, columns) = theta.dim();
    for (i, j) in (0..n).flat_map(|i| (0..=i).map(move |j| (i, j))) {
        for (p, q) in (0..rows).flat_map(|p| (0..columns).map(move |q| (p, q))) {
            let (p2, q2) = if rows == columns { (q, p) } else { (p, q) };
            if (i, p) > (j, p2) {
                theta[[i, j, p, q]] = theta[[j, i, p2, q2]];
            }
        }
    }
}
