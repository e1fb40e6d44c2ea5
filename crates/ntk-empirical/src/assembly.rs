//! Transition to linearity: wide networks are assemblies of weak sub-models, and their Hessians vanish with the width.
//!
//! Source: \[liu2022transition\].

mod neuron;
mod output;
mod recursion;
mod scalar;
mod sphere;

use ndarray::{Array1, Array2, ArrayView1, Axis, s};
use ntk_linalg::{Lanczos, Symmetric};

pub use neuron::Neuron;
pub use output::NetOutput;
pub use recursion::LayerRecursion;
pub use scalar::{Linearity, NonlinearOutput, ScalarFunction};
pub use sphere::Sphere;

use crate::Error;

/// A weak sub-model: a smooth scalar function g(w; x) of a few parameters.
pub trait SubModel {
    /// d: numbers of an input x.
    fn inputs(&self) -> usize;

    /// q: numbers of a parameter vector w.
    fn parameters(&self) -> usize;

    /// g(w; x). w: (q), x: (d).
    fn value(&self, w: ArrayView1<'_, f64>, x: ArrayView1<'_, f64>) -> f64;

    /// ∂g/∂w. w: (q), x: (d) → (q).
    fn gradient(&self, w: ArrayView1<'_, f64>, x: ArrayView1<'_, f64>) -> Array1<f64>;

    /// ∂²g/∂w² v. w, v: (q), x: (d) → (q).
    fn hessian_product(
        &self,
        w: ArrayView1<'_, f64>,
        x: ArrayView1<'_, f64>,
        v: ArrayView1<'_, f64>,
    ) -> Array1<f64>;
}

/// f(w; x) = s⁻¹ Σᵢ vᵢ gᵢ(w_b(i); x): m sub-models with fixed weights vᵢ and parameters in blocks.
///
/// Sub-models with blocks of their own are independent: the Hessian is block diagonal and its norm the largest of
/// |vᵢ| ‖∇²gᵢ‖/s, while the gradients add up to s⁻¹ (Σ vᵢ² ‖∇gᵢ‖²)^½. With |vᵢ| = 1 and s = √m these are
/// O(m^(−1/2)) and O(1): f becomes linear on every ball. Where one weight dominates, or many sub-models share a block,
/// it does not.
///
/// ```
/// use ndarray::{Array1, array};
/// use ntk_core::Activation;
/// use ntk_empirical::{Assembly, Neuron, ScalarFunction};
/// use ntk_linalg::Lanczos;
///
/// let neurons = vec![Neuron::new(Activation::Tanh, 2)?; 4];
/// let assembly = Assembly::independent(neurons, array![1.0, -1.0, 1.0, -1.0], 2.0)?;
/// let x = array![1.0, -1.0];
/// let w = Array1::from_shape_fn(8, |i| 0.3 * i as f64);
/// let f = assembly.at(x.view())?;
/// let linearity = f.linearity(&w, &Lanczos::new(8))?;
/// assert!(linearity.hessian < 0.77 / 2.0 && linearity.gradient > linearity.hessian);
/// # Ok::<(), ntk_empirical::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Assembly<G> {
    models: Vec<G>,
    weights: Array1<f64>,
    scale: f64,
    /// The block of each sub-model.
    block: Vec<usize>,
    /// Where each block begins in the parameter vector, and where the last one ends.
    begin: Vec<usize>,
}

impl<G: SubModel> Assembly<G> {
    /// Sub-models with parameters of their own, one block after another. weights: (m); scale: s > 0.
    ///
    /// # Errors
    /// As [`Assembly::shared`].
    pub fn independent(models: Vec<G>, weights: Array1<f64>, scale: f64) -> Result<Self, Error> {
        let block = (0..models.len()).collect();
        Assembly::shared(models, weights, scale, block)
    }

    /// Sub-models of which each `size` in a row share one block. weights: (m); scale: s > 0.
    ///
    /// # Errors
    /// As [`Assembly::shared`]; [`Error::Setting`] for groups of size 0.
    pub fn in_groups(models: Vec<G>, weights: Array1<f64>, scale: f64, size: usize) -> Result<Self, Error> {
        if size == 0 {
            return Err(Error::Setting { option: "size", value: 0.0, domain: "at least 1" });
        }
        let block = (0..models.len()).map(|i| i / size).collect();
        Assembly::shared(models, weights, scale, block)
    }

    /// Sub-model i reads block `block[i]` of the parameters; blocks are numbered from 0 without gaps.
    /// weights: (m); scale: s > 0.
    ///
    /// # Errors
    /// [`Error::Assembly`] unless there is at least one sub-model, a finite weight and a block for each, at least one
    /// sub-model for each block, and all of one block have equally many parameters; [`Error::Setting`] for a scale that
    /// is not positive.
    pub fn shared(
        models: Vec<G>,
        weights: Array1<f64>,
        scale: f64,
        block: Vec<usize>,
    ) -> Result<Self, Error> {
        let refuse = |what| Err(Error::Assembly { what });
        if models.is_empty() || weights.len() != models.len() || block.len() != models.len() {
            return refuse("at least one sub-model, with one weight and one block for each");
        }
        if !weights.iter().all(|v| v.is_finite()) {
            return refuse("finite weights");
        }
        if models.iter().any(|model| model.inputs() != models[0].inputs()) {
            return refuse("sub-models of equally many inputs");
        }
        if !(scale > 0.0 && scale.is_finite()) {
            return Err(Error::Setting { option: "scale", value: scale, domain: "a positive finite number" });
        }
        let mut sizes = vec![None; block.iter().max().map_or(0, |last| last + 1).min(models.len())];
        for (model, &b) in models.iter().zip(&block) {
            match sizes.get_mut(b) {
                Some(size @ None) => *size = Some(model.parameters()),
                Some(Some(size)) if *size == model.parameters() => {}
                Some(_) => return refuse("equally many parameters in all sub-models of a block"),
                None => return refuse("blocks numbered from 0 without gaps"),
            }
        }
        let mut begin = vec![0];
        for size in sizes {
            let Some(size) = size else { return refuse("blocks numbered from 0 without gaps") };
            begin.push(begin[begin.len() - 1] + size);
        }
        Ok(Assembly { models, weights, scale, block, begin })
    }

    /// Number of scalar parameters.
    pub fn parameters(&self) -> usize {
        self.begin[self.begin.len() - 1]
    }

    /// Number of blocks: m if all sub-models are independent.
    pub fn blocks(&self) -> usize {
        self.begin.len() - 1
    }

    /// max |vᵢ|/‖v‖: the weakness of the sub-models, m^(−1/2) if they are equal and 1 if there is one that dominates.
    pub fn weakness(&self) -> f64 {
        let largest = self.weights.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
        // Divided first, so that squares neither overflow nor vanish.
        let relative = if largest > 0.0 { &self.weights / largest } else { return 1.0 };
        1.0 / relative.dot(&relative).sqrt()
    }

    /// The function of the parameters at an input. x: (d).
    ///
    /// # Errors
    /// [`Error::Point`] if x is not d finite numbers.
    pub fn at<'a>(&'a self, x: ArrayView1<'a, f64>) -> Result<AssemblyAt<'a, G>, Error> {
        scalar::check_point(x, self.models[0].inputs())?;
        Ok(AssemblyAt { assembly: self, x })
    }
}

/// An [`Assembly`] at one input, as a function of its parameters.
#[derive(Clone, Debug)]
pub struct AssemblyAt<'a, G> {
    assembly: &'a Assembly<G>,
    x: ArrayView1<'a, f64>,
}

impl<G: SubModel> AssemblyAt<'_, G> {
    /// Each sub-model with vᵢ/s and the place of its parameters.
    fn terms(&self) -> impl Iterator<Item = (&G, f64, std::ops::Range<usize>)> {
        let Assembly { models, weights, scale, block, begin } = self.assembly;
        let with =
            move |((model, weight), &b): ((_, &f64), &usize)| (model, weight / scale, begin[b]..begin[b + 1]);
        models.iter().zip(weights).zip(block).map(with)
    }

    /// The norms of the blocks of the Hessian, (blocks), by their dense matrices.
    ///
    /// # Errors
    /// [`Error::Point`]; [`Error::Linalg`] for a sub-model whose Hessian is not finite or not symmetric.
    pub fn block_norms(&self, w: &Array1<f64>) -> Result<Array1<f64>, Error> {
        scalar::check_point(w.view(), self.dimension())?;
        let begin = &self.assembly.begin;
        let mut dense: Vec<Array2<f64>> =
            begin.windows(2).map(|b| Array2::zeros((b[1] - b[0], b[1] - b[0]))).collect();
        for ((model, weight, place), &b) in self.terms().zip(&self.assembly.block) {
            let mut unit = Array1::zeros(place.len());
            for j in 0..place.len() {
                unit[j] = 1.0;
                let column = model.hessian_product(w.slice(s![place.clone()]), self.x, unit.view());
                dense[b].column_mut(j).scaled_add(weight, &column);
                unit[j] = 0.0;
            }
        }
        let norm = |matrix: Array2<f64>| -> Result<f64, Error> {
            if matrix.len_of(Axis(0)) == 0 {
                return Ok(0.0);
            }
            let values = ntk_linalg::eigenvalues(&Symmetric::new(matrix)?)?;
            Ok(values.iter().fold(0.0, |m, value| m.max(value.abs())))
        };
        dense.into_iter().map(norm).collect()
    }
}

impl<G: SubModel> ScalarFunction for AssemblyAt<'_, G> {
    fn dimension(&self) -> usize {
        self.assembly.parameters()
    }

    fn value(&self, w: &Array1<f64>) -> Result<f64, Error> {
        scalar::check_point(w.view(), self.dimension())?;
        Ok(self.terms().map(|(model, weight, place)| weight * model.value(w.slice(s![place]), self.x)).sum())
    }

    fn gradient(&self, w: &Array1<f64>) -> Result<Array1<f64>, Error> {
        scalar::check_point(w.view(), self.dimension())?;
        let mut gradient = Array1::zeros(w.len());
        for (model, weight, place) in self.terms() {
            let own = model.gradient(w.slice(s![place.clone()]), self.x);
            gradient.slice_mut(s![place]).scaled_add(weight, &own);
        }
        Ok(gradient)
    }

    fn hessian(&self, w: &Array1<f64>) -> Result<impl Fn(&Array1<f64>) -> Result<Array1<f64>, Error>, Error> {
        scalar::check_point(w.view(), self.dimension())?;
        Ok(move |v: &Array1<f64>| {
            scalar::check_point(v.view(), w.len())?;
            let mut product = Array1::zeros(v.len());
            for (model, weight, place) in self.terms() {
                let (w, v) = (w.slice(s![place.clone()]), v.slice(s![place.clone()]));
                product.slice_mut(s![place]).scaled_add(weight, &model.hessian_product(w, self.x, v));
            }
            Ok(product)
        })
    }

    /// The largest norm of a block, exactly; the options of Lanczos are not used.
    fn hessian_norm(&self, w: &Array1<f64>, _: &Lanczos) -> Result<f64, Error> {
        Ok(self.block_norms(w)?.iter().fold(0.0, |m, norm| m.max(*norm)))
    }
}
