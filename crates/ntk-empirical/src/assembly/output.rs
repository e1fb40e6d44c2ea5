//! An output of a finite network as a function of its parameters.

use ndarray::{Array1, Array2, ArrayView2};
use ntk_core::Batch;

use super::{ScalarFunction, scalar};
use crate::{Coordinates, Error, FiniteNet, Parameters};

/// w ↦ ⟨u, f(x; w)⟩: outputs of a network on a batch, contracted with fixed weights.
///
/// w are the [`Coordinates`] given, all parameters that learn unless said otherwise; the others stay where they are.
pub struct NetOutput<'a> {
    net: FiniteNet,
    coordinates: Coordinates,
    x: Batch<'a>,
    u: Array2<f64>,
}

impl<'a> NetOutput<'a> {
    /// Takes a copy of the network, as a function of all parameters that learn. x: (n, d), u: (n, outputs).
    ///
    /// # Errors
    /// As [`NetOutput::of`].
    pub fn new(net: &FiniteNet, x: Batch<'a>, u: ArrayView2<'_, f64>) -> Result<Self, Error> {
        NetOutput::of(net, Coordinates::learning(net), x, u)
    }

    /// Takes a copy of the network, as a function of some parameters. x: (n, d), u: (n, outputs).
    ///
    /// # Errors
    /// Those of [`FiniteNet::vjp`] for x and u; [`Error::MissingParameter`], [`Error::ParameterShape`] for coordinates
    /// of another network.
    pub fn of(
        net: &FiniteNet,
        coordinates: Coordinates,
        x: Batch<'a>,
        u: ArrayView2<'_, f64>,
    ) -> Result<Self, Error> {
        coordinates.flatten(&net.vjp(x, u)?)?;
        Ok(NetOutput { net: net.try_clone()?, coordinates, x, u: u.to_owned() })
    }

    /// The coordinates of the network given, (p).
    ///
    /// # Errors
    /// Candle's.
    pub fn initial(&self) -> Result<Array1<f64>, Error> {
        self.coordinates.flatten(&self.net.parameters()?)
    }

    /// A network with these coordinates.
    fn moved(&self, w: &Array1<f64>) -> Result<FiniteNet, Error> {
        scalar::check_point(w.view(), self.dimension())?;
        let (mut net, initial) = (self.net.try_clone()?, self.net.parameters()?);
        // Zero in the other parameters, so that the sum leaves them.
        let change = self.coordinates.unflatten(&(w - &self.coordinates.flatten(&initial)?))?;
        let mut parameters = Parameters::new();
        for (name, tensor) in initial.iter() {
            let change = change.get(name).ok_or_else(|| Error::MissingParameter { name: name.to_owned() })?;
            let change = change.to_dtype(tensor.dtype())?.to_device(tensor.device())?;
            parameters.insert(name, (tensor + change)?);
        }
        net.set_parameters(&parameters)?;
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
        self.coordinates.len()
    }

    fn value(&self, w: &Array1<f64>) -> Result<f64, Error> {
        Ok((self.moved(w)?.outputs(self.x)? * &self.u).sum())
    }

    fn gradient(&self, w: &Array1<f64>) -> Result<Array1<f64>, Error> {
        let net = self.moved(w)?;
        self.coordinates.flatten(&net.vjp(self.x, self.u.view())?)
    }

    fn hessian(&self, w: &Array1<f64>) -> Result<impl Fn(&Array1<f64>) -> Result<Array1<f64>, Error>, Error> {
        let net = self.moved(w)?;
        Ok(move |v: &Array1<f64>| {
            scalar::check_point(v.view(), self.dimension())?;
            self.coordinates.flatten(&net.hvp(self.x, self.u.view(), &self.coordinates.unflatten(v)?)?)
        })
    }
}
