//! Products with second derivatives in the parameters, which are never formed: one sweep along a direction.
//!
//! The gradient along the line θ + s v is a jet, and its first coefficient is H v; it costs about three gradients.

mod quadratic;
mod spectrum;

use candle_core::Tensor;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Zip};
use ntk_core::Batch;

pub use self::quadratic::Quadratic;
pub use self::spectrum::{Coordinates, Operator};

use crate::finite::finite;
use crate::jet::{Curve, Jet, JetSignal, JetSweep};
use crate::node::Sweep;
use crate::products::check_targets;
use crate::{Error, FiniteNet, Loss, Parameters, Reduction, tensor};

impl FiniteNet {
    /// ∇²⟨u, f(x)⟩ v: the derivative along v of the gradient Jᵀu. x: (n, d), u: (n, outputs) → one tensor for each
    /// parameter.
    ///
    /// The Hessian is in all parameters, frozen ones included, without learning-rate multipliers. At kinks of
    /// activations it is that of either side: the Hessian of almost every network.
    ///
    /// # Errors
    /// Those of [`FiniteNet::vjp`] for x and u and of [`FiniteNet::set_parameters`] for v; [`Error::SecondDerivative`]
    /// for custom activations and layers.
    ///
    /// ```
    /// use ndarray::array;
    /// use ntk_core::{Activation, Net, Shape, Variance};
    /// use ntk_empirical::{FiniteNet, Lowering};
    ///
    /// let net = Net::mlp(1, Activation::Tanh, 1, Variance::ONE, Variance::ZERO);
    /// let finite = FiniteNet::lower(&net, &Lowering { width: 8, ..Lowering::for_inputs(Shape::vector(1)) })?;
    /// let (x, u) = (array![[1.0], [0.5]], array![[1.0], [-2.0]]);
    /// let v = finite.vjp((&x).into(), u.view())?;
    /// let hv = finite.hvp((&x).into(), u.view(), &v)?;
    /// // The Hessian of the last layer alone is 0, so that only its products with the first are left.
    /// assert!(hv.dot(&v)?.is_finite() && hv.norm()? > 0.0);
    /// # Ok::<(), ntk_empirical::Error>(())
    /// ```
    pub fn hvp(&self, x: Batch<'_>, u: ArrayView2<'_, f64>, v: &Parameters) -> Result<Parameters, Error> {
        check_targets(u, (x.len(), self.output_width()))?;
        self.gradient_derivative(x, v, |_, _| Ok((u.to_owned(), None)))
    }

    /// ∇²L v of the reduced loss L = Σ ℓ(f(x), y). x: (n, d), y: (n, outputs).
    ///
    /// ∇²L = Jᵀ ∇²ℓ J + Σ ∂ℓ/∂f ∇²f: the Gauss–Newton matrix and the curvature of the network.
    ///
    /// # Errors
    /// As [`FiniteNet::hvp`]; [`Error::Targets`], [`Error::Target`] for y.
    pub fn loss_hvp(
        &self,
        loss: Loss,
        reduction: Reduction,
        x: Batch<'_>,
        y: ArrayView2<'_, f64>,
        v: &Parameters,
    ) -> Result<Parameters, Error> {
        loss.check(y, (x.len(), self.output_width()))?;
        self.gradient_derivative(x, v, |f, df| {
            let (_, u) = loss.gradient(reduction, f.view(), y);
            Ok((u, Some(curvature(loss, reduction, f, df))))
        })
    }

    /// Jᵀ ∇²ℓ J v: the Hessian of the reduced loss without the curvature of the network, never negative. x: (n, d).
    ///
    /// For both losses ∇²ℓ does not depend on the targets.
    ///
    /// Source: \[schraudolph2002fast\].
    ///
    /// # Errors
    /// As [`FiniteNet::jvp`].
    pub fn gauss_newton_product(
        &self,
        loss: Loss,
        reduction: Reduction,
        x: Batch<'_>,
        v: &Parameters,
    ) -> Result<Parameters, Error> {
        let u = curvature(loss, reduction, &self.outputs(x)?, &self.jvp(x, v)?);
        self.vjp(x, u.view())
    }

    /// Jᵀ F J v with the Fisher information F = E[∇ ln p(y|f) ∇ ln p(y|f)ᵀ] of the network's own likelihood, reduced as
    /// the loss −ln p is. x: (n, d).
    ///
    /// Squared error is the likelihood of a Gaussian of variance 1, cross-entropy that of a softmax; of both, as of all
    /// exponential families in their natural parameters, it is the Gauss–Newton product.
    ///
    /// # Errors
    /// As [`FiniteNet::jvp`].
    pub fn fisher_product(
        &self,
        likelihood: Loss,
        reduction: Reduction,
        x: Batch<'_>,
        v: &Parameters,
    ) -> Result<Parameters, Error> {
        let (f, mut t) = (self.outputs(x)?, self.jvp(x, v)?);
        if likelihood == Loss::CrossEntropy {
            Zip::from(t.rows_mut()).and(f.rows()).for_each(|mut t, f| {
                let mean = mean_score(f, t.view());
                t.assign(&mean);
            });
        }
        t *= reduction.factor(f.nrows(), f.ncols());
        self.vjp(x, t.view())
    }

    /// The derivative along v of the gradient whose cotangents `seed` gives, with their own derivative, from the
    /// outputs and their derivative.
    fn gradient_derivative(
        &self,
        x: Batch<'_>,
        v: &Parameters,
        seed: impl FnOnce(&Array2<f64>, &Array2<f64>) -> Result<(Array2<f64>, Option<Array2<f64>>), Error>,
    ) -> Result<Parameters, Error> {
        let input = self.input(x)?;
        let curve = Curve::new(&self.affines, 1, &self.tangents(v)?, None)?;
        let sweep = JetSweep { sweep: Sweep { frozen: true, ..self.sweep(&input) }, curve: &curve };
        let (f, tape) = self.root.record_jet(sweep, &JetSignal::still(&input, 1))?;
        let value = finite(tensor::array(&f.x.value)?, "an output")?;
        let slope = match f.x.coefficient(1) {
            Some(slope) => tensor::array(slope)?,
            None => Array2::zeros(value.dim()),
        };
        let (u, du) = seed(&value, &slope)?;
        let cotangent = |u: Array2<f64>| -> Result<Tensor, Error> {
            Ok(tensor::matrix(u.view(), self.lowering().dtype, &self.lowering().device)?.unsqueeze(1)?)
        };
        let d = Jet { value: cotangent(u)?, higher: vec![du.map(cotangent).transpose()?] };
        let mut product = Parameters::new();
        self.root.pullback_jet(sweep, &tape, &d, false, &mut |index, x, d| {
            let affine = &self.affines[index];
            let own = affine.gradient_coefficient(1, x, d)?;
            product.insert(affine.weight_name(), own.weight);
            if let Some(bias) = own.bias {
                product.insert(affine.bias_name(), bias);
            }
            Ok(())
        })?;
        Ok(product)
    }
}

/// ∇²ℓ t of the reduced loss. f, t: (n, k) → (n, k).
fn curvature(loss: Loss, reduction: Reduction, f: &Array2<f64>, t: &Array2<f64>) -> Array2<f64> {
    let mut product = t * reduction.factor(f.nrows(), f.ncols());
    if loss == Loss::CrossEntropy {
        // diag(p) − p pᵀ
        Zip::from(product.rows_mut()).and(f.rows()).for_each(|mut t, f| {
            let p = softmax(f);
            let along = p.dot(&t);
            Zip::from(&mut t).and(&p).for_each(|t, &p| *t = p * (*t - along));
        });
    }
    product
}

/// E[(e_y − p)(e_y − p)ᵀ] t over classes y drawn from the softmax p of f.
fn mean_score(f: ArrayView1<'_, f64>, t: ArrayView1<'_, f64>) -> Array1<f64> {
    let p = softmax(f);
    let mut total = Array1::zeros(p.len());
    for (class, &probability) in p.iter().enumerate() {
        let mut score = -&p;
        score[class] += 1.0;
        let along = score.dot(&t);
        total.scaled_add(probability * along, &score);
    }
    total
}

fn softmax(f: ArrayView1<'_, f64>) -> Array1<f64> {
    let largest = f.fold(f64::NEG_INFINITY, |a, &b| a.max(b));
    let exp = f.mapv(|f| (f - largest).exp());
    let total = exp.sum();
    exp / total
}
