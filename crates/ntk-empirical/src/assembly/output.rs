//! An output of a finite network as a function of its parameters.

use candle_core::Tensor;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, s};
use ntk_core::Batch;

use super::{ScalarFunction, scalar};
use crate::{Error, FiniteNet, Parameters, tensor};

/// w ↦ ⟨u, f(x; w)⟩: outputs of a network on a batch, contracted with fixed weights.
///
/// w are all parameters, in the order of [`FiniteNet::parameter_names`], each in row-major order.
pub struct NetOutput<'a> {
    net: FiniteNet,
    x: Batch<'a>,
    u: Array2<f64>,
}

impl<'a> NetOutput<'a> {
    /// Takes a copy of the network. x: (n, d), u: (n, outputs).
    ///
    /// # Errors
    /// Those of [`FiniteNet::vjp`] for x and u.
    pub fn new(net: &FiniteNet, x: Batch<'a>, u: ArrayView2<'_, f64>) -> Result<Self, Error> {
        net.vjp(x, u)?;
        Ok(NetOutput { net: net.try_clone()?, x, u: u.to_owned() })
    }

    /// The parameters of the network given, (p).
    ///
    /// # Errors
    /// Candle's.
    pub fn initial(&self) -> Result<Array1<f64>, Error> {
        flatten(&self.net, &self.net.parameters()?)
    }

    /// A network with these parameters.
    fn moved(&self, w: &Array1<f64>) -> Result<FiniteNet, Error> {
        let mut net = self.net.try_clone()?;
        net.set_parameters(&unflatten(&net, w.view())?)?;
        Ok(net)
    }
}

impl std::fmt::Debug for NetOutput<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetOutput").field("net", &self.net).field("u", &self.u).finish_non_exhaustive()
    }
}

impl ScalarFunction for NetOutput<'_> {
    fn dimension(&self) -> usize {
        self.net.parameter_count()
    }

    fn value(&self, w: &Array1<f64>) -> Result<f64, Error> {
        Ok((self.moved(w)?.outputs(self.x)? * &self.u).sum())
    }

    fn gradient(&self, w: &Array1<f64>) -> Result<Array1<f64>, Error> {
        let net = self.moved(w)?;
        flatten(&net, &net.vjp(self.x, self.u.view())?)
    }

    fn hessian(&self, w: &Array1<f64>) -> Result<impl Fn(&Array1<f64>) -> Result<Array1<f64>, Error>, Error> {
        let net = self.moved(w)?;
        Ok(move |v: &Array1<f64>| {
            flatten(&net, &net.hvp(self.x, self.u.view(), &unflatten(&net, v.view())?)?)
        })
    }
}

/// One vector of all tensors, in the order of the layers.
pub(super) fn flatten(net: &FiniteNet, parameters: &Parameters) -> Result<Array1<f64>, Error> {
    let mut flat = Vec::with_capacity(net.parameter_count());
    for name in net.parameter_names() {
        let tensor = parameters.get(&name).ok_or(Error::MissingParameter { name })?;
        flat.extend(tensor::to_f64(tensor)?.flatten_all()?.to_vec1::<f64>()?);
    }
    Ok(Array1::from(flat))
}

/// The tensors of such a vector, in the format and on the device of the network.
pub(super) fn unflatten(net: &FiniteNet, flat: ArrayView1<'_, f64>) -> Result<Parameters, Error> {
    scalar::check_point(flat, net.parameter_count())?;
    let (mut parameters, mut begin) = (Parameters::new(), 0);
    for (name, var) in net.variables() {
        let end = begin + var.elem_count();
        let values = flat.slice(s![begin..end]).to_vec();
        let tensor: Tensor = tensor::from_vec(values, var.shape(), var.dtype(), var.device())?;
        parameters.insert(name, tensor);
        begin = end;
    }
    Ok(parameters)
}
