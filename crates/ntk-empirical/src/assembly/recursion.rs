//! The Hessian of a layer from that of the layer below: three terms, each of which vanishes with the width.

use ndarray::{Array1, Array2, concatenate, s};
use ntk_core::{Batch, Layer, Net, NetKind};
use ntk_linalg::{Lanczos, Ritz};

use super::scalar::check_point;
use crate::pointwise::derivatives;
use crate::{Coordinates, Error, FiniteNet, tensor};

/// The Hessian of one output a = c Σⱼ wⱼ φ(aⱼ) + b of a network that ends with an activation and a dense layer, split
/// into terms by what it owes to the pre-activations aⱼ below.
///
/// With Jⱼ = ∇aⱼ and Hⱼ = ∇²aⱼ in the parameters below, and c = σ_w/√m:
///
/// ∇²a = c [ Σⱼ wⱼ φ′(aⱼ) Hⱼ + Σⱼ wⱼ φ″(aⱼ) Jⱼ Jⱼᵀ + Σⱼ φ′(aⱼ) (e_wⱼ Jⱼᵀ + Jⱼ e_wⱼᵀ) ].
///
/// A layer is an assembly of the neurons below it, and each term is O(m^(−1/2)) up to logarithms if theirs are. The
/// coordinates are the parameters below that learn, [`Coordinates::learning`], then the m weights wⱼ; in the bias and the
/// weights of other outputs a is linear and the Hessian 0.
///
/// Source: \[liu2022transition\], where it bounds the Hessian layer by layer.
pub struct LayerRecursion<'a> {
    below: FiniteNet,
    coordinates: Coordinates,
    x: Batch<'a>,
    /// c wⱼ φ′(aⱼ), c wⱼ φ″(aⱼ) and c φ′(aⱼ), each (1, m).
    inherited: Array2<f64>,
    curved: Array2<f64>,
    crossed: Array2<f64>,
}

impl<'a> LayerRecursion<'a> {
    /// The recursion for one output at one input. x: (1, d).
    ///
    /// # Errors
    /// [`Error::NotLayered`] unless the network is a chain that ends with an activation and a dense layer on something
    /// that has parameters; [`Error::Targets`] unless x is one sample, and the output one of the network's; those of
    /// [`FiniteNet::outputs`]; [`Error::SecondDerivative`].
    pub fn new(net: &FiniteNet, x: Batch<'a>, output: usize) -> Result<Self, Error> {
        let whole = net.net().clone().at_width(net.lowering().width);
        let NetKind::Serial(nets) = whole.kind() else { return Err(Error::NotLayered) };
        let [rest @ .., activation, last] = &nets[..] else { return Err(Error::NotLayered) };
        let (NetKind::Layer(Layer::Activation(phi)), NetKind::Layer(Layer::Dense { .. })) =
            (activation.kind(), last.kind())
        else {
            return Err(Error::NotLayered);
        };
        if x.len() != 1 || output >= net.output_width() {
            return Err(Error::Targets { expected: (1, net.output_width()), found: (x.len(), output) });
        }
        if phi.eval(0.0).is_none() {
            return Err(Error::SecondDerivative { name: phi.name().to_owned() });
        }
        let below = truncated(net, rest)?;
        let affine = net.affines.last().ok_or(Error::NotLayered)?;
        let (w, c) = (tensor::array(affine.weight.as_tensor())?, affine.weight_scale());
        let a = below.outputs(x)?;
        if a.ncols() != w.nrows() {
            return Err(Error::NotLayered);
        }
        let term = |f: &dyn Fn(f64, [f64; 4]) -> f64| {
            Array2::from_shape_fn(a.dim(), |(i, j)| c * f(w[[j, output]], derivatives(phi, a[[i, j]])))
        };
        Ok(LayerRecursion {
            inherited: term(&|w, [_, slope, ..]| w * slope),
            curved: term(&|w, [_, _, curvature, _]| w * curvature),
            crossed: term(&|_, [_, slope, ..]| slope),
            coordinates: Coordinates::learning(&below),
            below,
            x,
        })
    }

    /// The network below, whose outputs are the pre-activations aⱼ: apply the recursion to it for the next layer down.
    pub fn below(&self) -> &FiniteNet {
        &self.below
    }

    /// p: parameters below and weights wⱼ together.
    pub fn dimension(&self) -> usize {
        self.coordinates.len() + self.crossed.ncols()
    }

    /// The first term: c Σⱼ wⱼ φ′(aⱼ) Hⱼ v, what the layer below hands on. v: (p) → (p).
    ///
    /// # Errors
    /// [`Error::Point`] if v is not p finite numbers; those of [`FiniteNet::hvp`].
    pub fn inherited(&self, v: &Array1<f64>) -> Result<Array1<f64>, Error> {
        let lower = self.split(v)?;
        let product = self.below.hvp(self.x, self.inherited.view(), &self.coordinates.unflatten(&lower)?)?;
        self.join(self.coordinates.flatten(&product)?, Array1::zeros(self.crossed.ncols()))
    }

    /// The second term: c Σⱼ wⱼ φ″(aⱼ) Jⱼ ⟨Jⱼ, v⟩, the curvature of the activation. v: (p) → (p).
    ///
    /// # Errors
    /// [`Error::Point`]; those of [`FiniteNet::jvp`] and [`FiniteNet::vjp`].
    pub fn curved(&self, v: &Array1<f64>) -> Result<Array1<f64>, Error> {
        let lower = self.split(v)?;
        let along = self.below.jvp(self.x, &self.coordinates.unflatten(&lower)?)?;
        let product = self.below.vjp(self.x, (along * &self.curved).view())?;
        self.join(self.coordinates.flatten(&product)?, Array1::zeros(self.crossed.ncols()))
    }

    /// The third term, between the weights wⱼ and the parameters below:
    /// c Σⱼ φ′(aⱼ) (e_wⱼ ⟨Jⱼ, v⟩ + Jⱼ v_wⱼ). v: (p) → (p).
    ///
    /// # Errors
    /// As [`LayerRecursion::curved`].
    pub fn crossed(&self, v: &Array1<f64>) -> Result<Array1<f64>, Error> {
        let lower = self.split(v)?;
        let along = self.below.jvp(self.x, &self.coordinates.unflatten(&lower)?)? * &self.crossed;
        let top = v.slice(s![self.coordinates.len()..]);
        let product = self.below.vjp(self.x, (&self.crossed * &top).view())?;
        self.join(self.coordinates.flatten(&product)?, along.row(0).to_owned())
    }

    /// The sum of the three terms: ∇²a v. v: (p) → (p).
    ///
    /// # Errors
    /// As the terms.
    pub fn hessian(&self, v: &Array1<f64>) -> Result<Array1<f64>, Error> {
        Ok(self.inherited(v)? + self.curved(v)? + self.crossed(v)?)
    }

    /// Extreme eigenvalues of the three terms, in their order.
    ///
    /// # Errors
    /// As the terms; [`Error::Linalg`].
    pub fn spectra(&self, lanczos: &Lanczos) -> Result<[Ritz; 3], Error> {
        let p = self.dimension();
        Ok([
            lanczos.run(p, |v| self.inherited(v))?,
            lanczos.run(p, |v| self.curved(v))?,
            lanczos.run(p, |v| self.crossed(v))?,
        ])
    }

    /// The coordinates of the parameters below.
    fn split(&self, v: &Array1<f64>) -> Result<Array1<f64>, Error> {
        check_point(v.view(), self.dimension())?;
        Ok(v.slice(s![..self.coordinates.len()]).to_owned())
    }

    fn join(&self, lower: Array1<f64>, top: Array1<f64>) -> Result<Array1<f64>, Error> {
        let (expected, found) = (self.dimension(), lower.len() + top.len());
        concatenate(ndarray::Axis(0), &[lower.view(), top.view()])
            .map_err(|_| Error::Point { expected, found })
    }
}

impl std::fmt::Debug for LayerRecursion<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LayerRecursion").field("below", &self.below).finish_non_exhaustive()
    }
}

/// The first layers of a network, with the parameters that they have in it.
fn truncated(net: &FiniteNet, rest: &[Net]) -> Result<FiniteNet, Error> {
    let mut below = FiniteNet::lower(&Net::serial(rest.iter().cloned()), net.lowering())?;
    if below.parameter_count() == 0 {
        return Err(Error::NotLayered);
    }
    // Names are paths, which differ if one layer is left; the order of the layers is the same.
    let mut parameters = crate::Parameters::new();
    for (name, (_, var)) in below.parameter_names().into_iter().zip(net.variables()) {
        parameters.insert(name, var.as_detached_tensor());
    }
    below.set_parameters(&parameters)?;
    Ok(below)
}
