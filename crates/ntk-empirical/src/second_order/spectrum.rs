//! Hessians and tangent kernels as operators on vectors, for their extreme eigenvalues and spectral densities.

use candle_core::{DType, Device, Tensor};
use ndarray::{Array1, Array2, Axis};
use ntk_core::Batch;
use ntk_linalg::{Lanczos, Probe, Ritz, SpectralDensity};

use crate::{Error, FiniteNet, Parameters, tensor};

/// Some parameters of a network as one vector, in the order of [`FiniteNet::parameter_names`]; the others stay where
/// they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coordinates {
    /// Names, shapes, and which are coordinates.
    parameters: Vec<(String, Vec<usize>, bool)>,
}

impl Coordinates {
    /// All parameters that learn: those whose rate is not 0.
    pub fn learning(net: &FiniteNet) -> Self {
        let learning = net.affines.iter().flat_map(|affine| {
            let bias = affine.bias.as_ref().map(|_| affine.bias_rate() > 0.0);
            std::iter::once(affine.weight_rate() > 0.0).chain(bias)
        });
        let parameters = net.variables().zip(learning);
        Coordinates {
            parameters: parameters.map(|((name, var), own)| (name, var.dims().to_vec(), own)).collect(),
        }
    }

    /// The parameters of these names.
    ///
    /// # Errors
    /// [`Error::UnknownParameter`].
    pub fn named(net: &FiniteNet, names: &[&str]) -> Result<Self, Error> {
        let known = net.parameter_names();
        if let Some(name) = names.iter().find(|name| known.iter().all(|known| known != *name)) {
            return Err(Error::UnknownParameter { name: (*name).to_owned() });
        }
        let own = |name: &str| names.contains(&name);
        let parameters = net.variables().map(|(name, var)| {
            let wanted = own(&name);
            (name, var.dims().to_vec(), wanted)
        });
        Ok(Coordinates { parameters: parameters.collect() })
    }

    /// Length p of the vector.
    pub fn len(&self) -> usize {
        self.parameters
            .iter()
            .filter(|(.., own)| *own)
            .map(|(_, dims, _)| dims.iter().product::<usize>())
            .sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The coordinates of a direction. → (p).
    ///
    /// # Errors
    /// [`Error::MissingParameter`], [`Error::ParameterShape`].
    pub fn flatten(&self, v: &Parameters) -> Result<Array1<f64>, Error> {
        let mut flat = Vec::with_capacity(self.len());
        for (name, dims, _) in self.parameters.iter().filter(|(.., own)| *own) {
            let tensor = v.get(name).ok_or_else(|| Error::MissingParameter { name: name.clone() })?;
            if tensor.dims() != dims {
                let (expected, found) = (dims.clone(), tensor.dims().to_vec());
                return Err(Error::ParameterShape { name: name.clone(), expected, found });
            }
            flat.extend(tensor::to_f64(tensor)?.flatten_all()?.to_vec1::<f64>()?);
        }
        Ok(Array1::from(flat))
    }

    /// The direction that has these coordinates, and zeros elsewhere. v: (p).
    ///
    /// # Errors
    /// [`Error::Setting`] if v is of another length.
    pub fn unflatten(&self, v: &Array1<f64>) -> Result<Parameters, Error> {
        if v.len() != self.len() {
            let domain = "the number of coordinates";
            return Err(Error::Setting { option: "length of a vector", value: v.len() as f64, domain });
        }
        let (mut direction, mut rest) = (Parameters::new(), v.view());
        for (name, dims, own) in &self.parameters {
            let tensor = if *own {
                let (here, after) = rest.split_at(Axis(0), dims.iter().product());
                rest = after;
                Tensor::from_vec(here.to_vec(), dims.as_slice(), &Device::Cpu)?
            } else {
                Tensor::zeros(dims.as_slice(), DType::F64, &Device::Cpu)?
            };
            direction.insert(name, tensor);
        }
        Ok(direction)
    }
}

/// A v.
type Product<'a> = dyn Fn(&Array1<f64>) -> Result<Array1<f64>, Error> + 'a;

/// A symmetric operator of a network, by its products with vectors.
///
/// ```
/// use ndarray::array;
/// use ntk_core::{Activation, Net, Shape, Variance};
/// use ntk_empirical::{Coordinates, FiniteNet, Lowering, Operator};
/// use ntk_linalg::Lanczos;
///
/// let net = Net::mlp(1, Activation::Tanh, 1, Variance::ONE, Variance::ZERO);
/// let finite = FiniteNet::lower(&net, &Lowering { width: 8, ..Lowering::for_inputs(Shape::vector(1)) })?;
/// let (x, u) = (array![[1.0]], array![[1.0]]);
/// let hessian =
///     Operator::on_parameters(Coordinates::learning(&finite), |v| finite.hvp((&x).into(), u.view(), v));
/// let ritz = hessian.eigenvalues(&Lanczos::norm(16, 1e-3))?;
/// // One hidden unit's weights at a time: σ″ may have either sign.
/// assert!(ritz.min() < 0.0 && ritz.max() > 0.0);
/// # Ok::<(), ntk_empirical::Error>(())
/// ```
pub struct Operator<'a> {
    dim: usize,
    product: Box<Product<'a>>,
}

impl<'a> Operator<'a> {
    /// The block of a symmetric product of parameters that belongs to some of them: a Hessian by [`FiniteNet::hvp`] or
    /// [`FiniteNet::loss_hvp`], a Gauss–Newton or Fisher matrix.
    pub fn on_parameters(
        coordinates: Coordinates,
        product: impl Fn(&Parameters) -> Result<Parameters, Error> + 'a,
    ) -> Self {
        let dim = coordinates.len();
        let product = move |v: &Array1<f64>| coordinates.flatten(&product(&coordinates.unflatten(v)?)?);
        Operator { dim, product: Box::new(product) }
    }

    /// Θ(x, x) = J R Jᵀ on samples · outputs, with learning-rate multipliers R: never formed, one backward and two
    /// forward sweeps for each product. x: (n, d), dimension n · o, outputs fastest.
    ///
    /// # Errors
    /// Those of products, when they are made: [`FiniteNet::vjp`].
    pub fn ntk(net: &'a FiniteNet, x: Batch<'a>) -> Self {
        let shape = (x.len(), net.output_width());
        let product = move |u: &Array1<f64>| {
            let u = u.view().into_shape_with_order(shape).map_err(candle_core::Error::wrap)?;
            let v = net.with_rates(net.vjp(x, u)?)?;
            Ok(Array1::from_iter(net.jvp(x, &v)?))
        };
        Operator { dim: shape.0 * shape.1, product: Box::new(product) }
    }

    /// p: the length of vectors.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// A v. (p) → (p).
    ///
    /// # Errors
    /// [`Error::Setting`] if v is of another length; those of the product.
    pub fn apply(&self, v: &Array1<f64>) -> Result<Array1<f64>, Error> {
        if v.len() != self.dim {
            let domain = "the dimension of the operator";
            return Err(Error::Setting { option: "length of a vector", value: v.len() as f64, domain });
        }
        (self.product)(v)
    }

    /// Ritz values with residual bounds: the extreme eigenvalues first.
    ///
    /// # Errors
    /// Those of [`Lanczos::run`] and of the product.
    pub fn eigenvalues(&self, lanczos: &Lanczos) -> Result<Ritz, Error> {
        lanczos.run(self.dim, |v| (self.product)(v))
    }

    /// The density of eigenvalues, by that many products from each of some random directions.
    ///
    /// # Errors
    /// Those of [`SpectralDensity::estimate`] and of the product.
    pub fn density(
        &self,
        steps: usize,
        probes: usize,
        law: Probe,
        seed: u64,
    ) -> Result<SpectralDensity, Error> {
        SpectralDensity::estimate(self.dim, steps, probes, law, seed, |v| (self.product)(v))
    }

    /// The matrix, by p products: for small p. → (p, p).
    ///
    /// # Errors
    /// Those of the product.
    pub fn to_dense(&self) -> Result<Array2<f64>, Error> {
        let mut dense = Array2::zeros((self.dim, self.dim));
        for (index, mut column) in dense.columns_mut().into_iter().enumerate() {
            let mut unit = Array1::zeros(self.dim);
            unit[index] = 1.0;
            column.assign(&(self.product)(&unit)?);
        }
        Ok(dense)
    }
}

impl std::fmt::Debug for Operator<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operator").field("dim", &self.dim).finish_non_exhaustive()
    }
}

impl FiniteNet {
    /// R g: each parameter times its learning-rate multiplier.
    pub(crate) fn with_rates(&self, gradient: Parameters) -> Result<Parameters, Error> {
        let mut scaled = Parameters::new();
        for affine in &self.affines {
            for (name, rate) in
                [(affine.weight_name(), affine.weight_rate()), (affine.bias_name(), affine.bias_rate())]
            {
                if let Some(tensor) = gradient.get(&name) {
                    scaled.insert(name, (tensor * rate)?);
                }
            }
        }
        Ok(scaled)
    }
}
