//! Parameters, gradients and tangents by name: one tensor for each weight and bias of a network.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use ndarray::{Array2, Axis};

use crate::Error;
use crate::tensor::to_f64;

/// Tensors by the path of their node, as `0.weight` (in, out) and `0.bias` (out).
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    tensors: BTreeMap<String, Tensor>,
}

impl Parameters {
    /// None yet.
    pub fn new() -> Self {
        Parameters::default()
    }

    /// Adds one tensor or replaces it.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) {
        self.tensors.insert(name.into(), tensor);
    }

    /// One tensor.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// Names in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Names and tensors, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// One tensor as an array; a bias has one row.
    ///
    /// # Errors
    /// [`Error::MissingParameter`], and candle's if the tensor is no matrix and no vector.
    pub fn array(&self, name: &str) -> Result<Array2<f64>, Error> {
        let tensor = self.get(name).ok_or_else(|| Error::MissingParameter { name: name.to_owned() })?;
        let tensor = if tensor.rank() == 1 { tensor.unsqueeze(0)? } else { tensor.clone() };
        Ok(crate::tensor::array(&tensor)?)
    }

    /// Adds an array; one row is a bias if `name` ends in `bias`.
    ///
    /// # Errors
    /// Candle's.
    pub fn insert_array(&mut self, name: impl Into<String>, values: &Array2<f64>) -> Result<(), Error> {
        let name = name.into();
        let mut tensor = crate::tensor::matrix(values.view(), DType::F64, &Device::Cpu)?;
        if name.ends_with("bias") && values.len_of(Axis(0)) == 1 {
            tensor = tensor.squeeze(0)?;
        }
        self.insert(name, tensor);
        Ok(())
    }

    /// Σ ⟨a, b⟩ over all names, in f64.
    ///
    /// # Errors
    /// [`Error::MissingParameter`] if names differ, [`Error::ParameterShape`] if shapes do.
    pub fn dot(&self, other: &Parameters) -> Result<f64, Error> {
        let mut total = 0.0;
        self.pair(other, |_, a, b| {
            total += (to_f64(a)? * to_f64(b)?)?.sum_all()?.to_scalar::<f64>()?;
            Ok(())
        })?;
        Ok(total)
    }

    /// √⟨a, a⟩.
    ///
    /// # Errors
    /// Candle's.
    pub fn norm(&self) -> Result<f64, Error> {
        Ok(self.dot(self)?.sqrt())
    }

    /// a + s b, name by name.
    ///
    /// # Errors
    /// As [`Parameters::dot`].
    pub fn plus(&self, s: f64, other: &Parameters) -> Result<Parameters, Error> {
        let mut total = Parameters::new();
        self.pair(other, |name, a, b| {
            total.insert(name, (a + (b * s)?)?);
            Ok(())
        })?;
        Ok(total)
    }

    fn pair(
        &self,
        other: &Parameters,
        mut f: impl FnMut(&str, &Tensor, &Tensor) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if let Some(name) = other.names().find(|name| self.get(name).is_none()) {
            return Err(Error::MissingParameter { name: name.to_owned() });
        }
        for (name, a) in self.iter() {
            let b = other.get(name).ok_or_else(|| Error::MissingParameter { name: name.to_owned() })?;
            if a.dims() != b.dims() {
                let (expected, found) = (a.dims().to_vec(), b.dims().to_vec());
                return Err(Error::ParameterShape { name: name.to_owned(), expected, found });
            }
            f(name, a, b)?;
        }
        Ok(())
    }

    /// Writes a safetensors file.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let tensors = self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
        candle_core::safetensors::save(&tensors, path).map_err(|source| file(path, source))
    }

    /// Reads a safetensors file.
    ///
    /// # Errors
    /// [`Error::File`] if it is absent, truncated, or not of the format.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let tensors =
            candle_core::safetensors::load(path, &Device::Cpu).map_err(|source| file(path, source))?;
        Ok(Parameters { tensors: tensors.into_iter().collect() })
    }
}

/// Refuses a tensor that is not finite.
pub(crate) fn check_finite(name: &str, tensor: &Tensor) -> Result<(), Error> {
    // 0 · x is 0 for finite x only.
    if (to_f64(tensor)? * 0.0)?.sum_all()?.to_scalar::<f64>()? == 0.0 {
        Ok(())
    } else {
        Err(Error::NonFiniteParameter { name: name.to_owned() })
    }
}

fn file(path: &Path, source: candle_core::Error) -> Error {
    Error::File { path: path.to_owned(), source: Box::new(source) }
}
