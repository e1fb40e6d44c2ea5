//! Weights of candle models from safetensors files, checked name by name before any of them is set.

use std::path::Path;

use candle_nn::VarMap;

use crate::parameters::check_finite;
use crate::{Error, Parameters};

/// Sets all variables of a map from a safetensors file; nothing changes if there is an error.
///
/// Number formats are converted, names and shapes must match. `VarMap::save` writes such a file.
///
/// # Errors
/// [`Error::File`] if it is absent, truncated, or not of the format; [`Error::WeightNames`] with the names of all tensors
/// that it lacks or has too many; [`Error::ParameterShape`], [`Error::NonFiniteParameter`].
pub fn load_weights(map: &VarMap, path: impl AsRef<Path>) -> Result<(), Error> {
    let file = Parameters::load(path)?;
    // A lock is poisoned only by a panic of its holder; the variables are whole all the same.
    let map = map.data().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut missing: Vec<String> = map.keys().filter(|name| file.get(name).is_none()).cloned().collect();
    let surplus: Vec<String> =
        file.names().filter(|name| !map.contains_key(*name)).map(str::to_owned).collect();
    if !(missing.is_empty() && surplus.is_empty()) {
        missing.sort();
        return Err(Error::WeightNames { missing, surplus });
    }
    for (name, tensor) in file.iter() {
        let Some(var) = map.get(name) else { continue };
        if tensor.dims() != var.dims() {
            let (expected, found) = (var.dims().to_vec(), tensor.dims().to_vec());
            return Err(Error::ParameterShape { name: name.to_owned(), expected, found });
        }
        check_finite(name, tensor)?;
    }
    for (name, tensor) in file.iter() {
        if let Some(var) = map.get(name) {
            var.set(&tensor.to_dtype(var.dtype())?.to_device(var.device())?)?;
        }
    }
    Ok(())
}
