//! Devices by name, so that a command line can choose one.

use candle_core::Device;

use crate::Error;

/// Opens `cpu`, `cuda`, `cuda:1`, `metal` or `metal:1`; without a number, the first.
///
/// # Errors
/// [`Error::UnknownDevice`] for other names; [`Error::Device`] where the device is not compiled in (features `cuda`,
/// `metal`) or does not open.
///
/// ```
/// assert!(ntk_empirical::device("cpu")?.is_cpu());
/// assert!(ntk_empirical::device("abacus").is_err());
/// # Ok::<(), ntk_empirical::Error>(())
/// ```
pub fn device(name: &str) -> Result<Device, Error> {
    let unknown = || Error::UnknownDevice { name: name.to_owned() };
    let (kind, ordinal) = match name.split_once(':') {
        Some((kind, ordinal)) => (kind, ordinal.parse::<usize>().map_err(|_| unknown())?),
        None => (name, 0),
    };
    let opened = match kind {
        "cpu" if kind == name => Ok(Device::Cpu),
        "cuda" => Device::new_cuda(ordinal),
        "metal" => Device::new_metal(ordinal),
        _ => return Err(unknown()),
    };
    opened.map_err(|source| Error::Device { name: name.to_owned(), source: Box::new(source) })
}
