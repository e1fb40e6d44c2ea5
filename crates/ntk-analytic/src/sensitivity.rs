//! Derivatives of kernels in the variances of the weights and biases, for choosing them by the marginal likelihood.

use ndarray::Array2;
use ntk_core::{Batch, KernelBlock, KernelFn, Variance, Which};

use crate::plan::Trained;
use crate::{Analytic, Error};

/// A variance of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VarianceOf {
    /// σ_w² of an affine layer or a convolution.
    Weights,
    /// σ_b².
    Biases,
    /// σ² of the queries of attention.
    Queries,
    /// σ² of the keys of attention.
    Keys,
    /// σ² of the values of attention.
    Values,
    /// σ² of the output weights of attention.
    Outputs,
}

const ALL: [VarianceOf; 6] = [
    VarianceOf::Weights,
    VarianceOf::Biases,
    VarianceOf::Queries,
    VarianceOf::Keys,
    VarianceOf::Values,
    VarianceOf::Outputs,
];

/// ∂K/∂ ln σ² = σ² ∂K/∂σ² for one variance of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct VarianceDerivative {
    /// The path of the layer.
    pub layer: String,
    /// Which of its variances.
    pub of: VarianceOf,
    /// σ², as it is.
    pub variance: f64,
    /// The derivatives of the kernels asked for, (n₁, n₂) each.
    pub block: KernelBlock,
}

/// The step in ln σ². With sixth order, truncation and rounding are both near 10⁻¹³ of the kernel.
const STEP: f64 = 1.0 / 64.0;

/// Of the differences f(kh) − f(−kh), over h.
const SIXTH_ORDER: [f64; 3] = [0.75, -0.15, 1.0 / 60.0];

impl Trained<'_> {
    /// The variance, if the layer has it, after multiplication by `factor`.
    fn scaled(self, of: VarianceOf, factor: f64) -> Result<Option<f64>, Error> {
        Ok(match self {
            Trained::Affine(affine) => {
                // In standard parameterization gradients do not depend on the variances.
                let direct = if affine.per_unit.is_none() { factor } else { 1.0 };
                match of {
                    VarianceOf::Weights => {
                        (affine.weight, affine.direct) = (affine.weight * factor, affine.direct * direct);
                        Some(affine.weight)
                    }
                    VarianceOf::Biases => {
                        affine.bias *= factor;
                        affine.bias_direct *= direct;
                        Some(affine.bias)
                    }
                    _ => None,
                }
            }
            Trained::Attention(attention) => {
                let variance = match of {
                    VarianceOf::Weights => return Ok(None),
                    VarianceOf::Biases => &mut attention.bias,
                    VarianceOf::Queries => &mut attention.query_variance,
                    VarianceOf::Keys => &mut attention.key_variance,
                    VarianceOf::Values => &mut attention.value_variance,
                    VarianceOf::Outputs => &mut attention.output_variance,
                };
                *variance = Variance::new(variance.get() * factor)?;
                Some(variance.get())
            }
        })
    }
}

impl Analytic {
    /// ∂K/∂ ln σ² for every variance of every layer that is not 0, in the order of the layers; of the symmetric kernel of
    /// `x1` if there is no `x2`. Variances that are tied between layers add their derivatives.
    ///
    /// By central differences of sixth order, with six evaluations of the kernel for each variance: exact to about
    /// 10⁻¹² of √(K₁₁K₂₂), with attention to what its integrals allow. Embeddings of positions are not varied.
    ///
    /// ```
    /// use ndarray::array;
    /// use ntk_analytic::Analytic;
    /// use ntk_core::{Activation, Net, Variance, Which};
    ///
    /// let kernel = Analytic::new(Net::mlp(2, Activation::Relu, 1, Variance::TWO, Variance::ZERO))?;
    /// let x = array![[1.0, 0.5], [-0.3, 0.8]];
    /// // K is proportional to each σ_w² of a ReLU network without biases.
    /// let derivatives = kernel.variance_derivatives((&x).into(), None, Which::Nngp)?;
    /// assert_eq!(derivatives.len(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`KernelFn::block`].
    pub fn variance_derivatives(
        &self,
        x1: Batch<'_>,
        x2: Option<Batch<'_>>,
        which: Which,
    ) -> Result<Vec<VarianceDerivative>, Error> {
        let mut found = Vec::new();
        let mut index = 0;
        self.node().clone().trained(&mut |path, mut trained| {
            for of in ALL {
                let variance = trained.reborrow().scaled(of, 1.0);
                if let Ok(Some(variance)) = variance
                    && variance > 0.0
                {
                    let layer = path.strip_prefix("net.").unwrap_or("").to_owned();
                    found.push((index, layer, of, variance));
                }
            }
            index += 1;
        });
        let derivative = |(index, layer, of, variance): (usize, String, VarianceOf, f64)| {
            let mut block: Option<KernelBlock> = None;
            for (k, weight) in (1..).zip(SIXTH_ORDER) {
                for sign in [1.0, -1.0] {
                    let shift: f64 = sign * f64::from(k) * STEP;
                    let (mut node, mut at, mut refused) = (self.node().clone(), 0, None);
                    node.trained(&mut |_, trained| {
                        if at == index {
                            refused = trained.scaled(of, shift.exp()).err();
                        }
                        at += 1;
                    });
                    if let Some(error) = refused {
                        return Err(error);
                    }
                    let kernel = self.with_node(node);
                    let value = match &x2 {
                        Some(x2) => kernel.block(x1.reborrow(), x2.reborrow(), which)?,
                        None => kernel.symmetric(x1.reborrow(), which)?,
                    };
                    add(&mut block, value, sign * weight / STEP);
                }
            }
            Ok(VarianceDerivative { layer, of, variance, block: block.unwrap_or_default() })
        };
        found.into_iter().map(derivative).collect()
    }
}

/// Adds `factor` times a block.
fn add(sum: &mut Option<KernelBlock>, mut value: KernelBlock, factor: f64) {
    let each = |kernel: &mut Option<Array2<f64>>, f: &mut dyn FnMut(&mut Array2<f64>)| {
        if let Some(kernel) = kernel {
            f(kernel);
        }
    };
    for kernel in [&mut value.nngp, &mut value.ntk] {
        each(kernel, &mut |kernel| kernel.mapv_inplace(|v| factor * v));
    }
    match sum {
        None => *sum = Some(value),
        Some(sum) => {
            for (to, from) in [(&mut sum.nngp, value.nngp), (&mut sum.ntk, value.ntk)] {
                if let Some(from) = from {
                    each(to, &mut |to| *to += &from);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;
    use ntk_core::{Activation, Net};

    use super::*;

    fn variance(value: f64) -> Variance {
        Variance::new(value).unwrap()
    }

    /// K′ = σ_w² x·x′/d + σ_b², E φφ linear in it for ReLU: products of variances have their logarithms' derivatives.
    #[test]
    fn relu_kernels_are_homogeneous_in_each_variance() {
        let x = array![[1.0, 0.5, -0.2], [-0.3, 0.8, 0.4], [0.1, 0.1, 2.0]];
        let kernel = Analytic::new(Net::mlp(3, Activation::Relu, 1, variance(1.7), Variance::ZERO)).unwrap();
        let whole = kernel.symmetric((&x).into(), Which::Both).unwrap();
        let derivatives = kernel.variance_derivatives((&x).into(), None, Which::Both).unwrap();
        assert_eq!(derivatives.len(), 4);
        for derivative in derivatives {
            assert_eq!((derivative.of, derivative.variance), (VarianceOf::Weights, 1.7));
            let found = derivative.block;
            for (found, whole) in [(&found.nngp, &whole.nngp), (&found.ntk, &whole.ntk)] {
                let (found, whole) = (found.as_ref().unwrap(), whole.as_ref().unwrap());
                let scale = whole.iter().fold(0.0f64, |a, b| a.max(b.abs()));
                assert!((found - whole).iter().all(|e| e.abs() < 1e-11 * scale), "{found} {whole}");
            }
        }
    }

    /// Two erf layers by the chain rule: with K the kernel before and T, Ṫ its duals, ∂ ln σ_b² of the first layer is
    /// σ_w² σ_b² (Ṫ between, and half of E (φ²)″ on the diagonal).
    #[test]
    fn biases_move_the_diagonal_and_what_is_between() {
        let x = array![[1.0, 0.5], [-0.3, 0.8]];
        let (weight, bias) = (1.3, 0.4);
        let net = Net::mlp(1, Activation::ERF, 1, variance(weight), variance(bias));
        let kernel = Analytic::new(net).unwrap();
        let derivatives = kernel.variance_derivatives((&x).into(), None, Which::Nngp).unwrap();
        assert_eq!(derivatives.len(), 4);
        let k = Analytic::new(Net::dense(variance(weight), variance(bias)))
            .unwrap()
            .symmetric((&x).into(), Which::Nngp)
            .unwrap()
            .nngp
            .unwrap();
        // T = (2/π) asin(2b/√((1 + 2a)(1 + 2c))): all three arguments grow by σ_b².
        let (a, b, c) = (k[[0, 0]], k[[0, 1]], k[[1, 1]]);
        let root = ((1.0 + 2.0 * a) * (1.0 + 2.0 * c)).sqrt();
        let s = 2.0 * b / root;
        let growth = 2.0 / root - s * (1.0 / (1.0 + 2.0 * a) + 1.0 / (1.0 + 2.0 * c));
        let expected = weight * bias * std::f64::consts::FRAC_2_PI * growth / (1.0 - s * s).sqrt();
        let found = derivatives.iter().find(|d| d.of == VarianceOf::Biases).unwrap();
        let found = found.block.nngp.as_ref().unwrap();
        assert!((found[[0, 1]] - expected).abs() < 1e-12, "{found} {expected}");
        // The last bias adds itself, everywhere.
        let last = derivatives.last().unwrap();
        assert_eq!(last.of, VarianceOf::Biases);
        assert!(last.block.nngp.as_ref().unwrap().iter().all(|v| (v - bias).abs() < 1e-12));
    }

    /// In standard parameterization the gradients with respect to the weights know no variance.
    #[test]
    fn standard_parameterization_is_told_apart() {
        let x = array![[1.0, 0.5]];
        let net = Net::dense(variance(1.3), Variance::ZERO).standard().at_width(5);
        let kernel = Analytic::new(net).unwrap();
        let derivatives = kernel.variance_derivatives((&x).into(), None, Which::Ntk).unwrap();
        assert!(derivatives[0].block.ntk.as_ref().unwrap()[[0, 0]].abs() < 1e-13);
    }
}
