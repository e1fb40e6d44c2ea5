//! Networks from files, and what every command asks of them before it works.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use ntk_analytic::{Analytic, Precision, Rules};
use ntk_core::Net;
use serde_json::{Value, json};

use crate::error::Error;
use crate::files;
use crate::memory::Bytes;

/// A network that was read, with the file for messages.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) path: PathBuf,
    pub(crate) net: Net,
}

impl Network {
    /// Reads a network from its JSON document.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let net = Net::from_json(&files::text(path)?).map_err(Error::refused(path.display()))?;
        Ok(Network { path: path.to_owned(), net })
    }

    /// The network for the provenance.
    pub(crate) fn json(&self) -> Value {
        let document = serde_json::from_str(&self.net.to_json()).unwrap_or(Value::Null);
        json!({ "file": self.path.display().to_string(), "document": document })
    }

    /// The kernels of its infinite-width limit.
    pub(crate) fn limit(&self, settings: &Limit) -> Result<Analytic, Error> {
        let mut rules = Rules::new().precision(settings.precision.into());
        if let Some(tolerance) = settings.tolerance {
            rules = rules.tolerance(tolerance).map_err(Error::refused("--tolerance"))?;
        }
        Analytic::with_rules(self.net.clone(), &rules).map_err(Error::refused(self.path.display()))
    }
}

/// How kernels of infinite networks are computed.
#[derive(Args, Clone, Debug)]
pub(crate) struct Limit {
    /// Digits of the large tensors of convolutional kernels: f32 is faster, and off by 1e-6. Dense networks always use f64.
    #[arg(long, value_enum, default_value_t = Digits::F64)]
    pub(crate) precision: Digits,
    /// Error bound of quadratures, relative to √(K₁₁K₂₂); 1e-12 unless given (1e-3 for the logits of attention).
    #[arg(long, allow_negative_numbers = true, value_name = "BOUND")]
    pub(crate) tolerance: Option<f64>,
    /// Refuses what would need more memory, as 800M or 4G; what the system has available unless given.
    #[arg(long, value_name = "BYTES")]
    pub(crate) memory: Option<Bytes>,
}

/// A number format.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub(crate) enum Digits {
    F64,
    F32,
}

impl Digits {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Digits::F64 => "f64",
            Digits::F32 => "f32",
        }
    }
}

impl From<Digits> for Precision {
    fn from(digits: Digits) -> Self {
        match digits {
            Digits::F64 => Precision::F64,
            Digits::F32 => Precision::F32,
        }
    }
}
