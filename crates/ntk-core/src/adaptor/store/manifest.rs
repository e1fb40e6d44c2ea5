//! What a store holds, so that no tile of one kernel is taken for a tile of another.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::checksum::Checksum;
use crate::{Batch, Error, Which};

pub(super) const FILE: &str = "manifest.json";
const VERSION: u64 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// Of the format; another version may have other fields.
    version: u64,
    /// The user's text.
    pub(super) description: String,
    /// Fingerprints of x₁ and x₂; of x₁ alone for a symmetric kernel.
    inputs: Vec<String>,
    /// Samples of x₁ and of x₂.
    pub(super) shape: [usize; 2],
    /// Samples of a tile, at most.
    pub(super) tile: usize,
    /// What a tile holds, in this order.
    pub(super) kernels: Vec<Kernel>,
}

/// What manifests of all versions have in common.
#[derive(Deserialize)]
struct Head {
    version: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kernel {
    Nngp,
    Ntk,
}

impl Manifest {
    pub(super) fn new(
        description: &str,
        x1: Batch<'_>,
        x2: Option<Batch<'_>>,
        which: Which,
        tile: usize,
    ) -> Result<Self, Error> {
        if tile == 0 {
            return Err(Error::ZeroTile);
        }
        let second = x2.map_or(x1.reborrow(), Batch::reborrow);
        Batch::check_pair(x1, second)?;
        let kernels = match which {
            Which::Nngp => vec![Kernel::Nngp],
            Which::Ntk => vec![Kernel::Ntk],
            Which::Both => vec![Kernel::Nngp, Kernel::Ntk],
        };
        Ok(Manifest {
            version: VERSION,
            description: description.to_owned(),
            inputs: [Some(fingerprint(x1)), x2.map(fingerprint)].into_iter().flatten().collect(),
            shape: [x1.len(), second.len()],
            tile,
            kernels,
        })
    }

    pub(super) fn is_symmetric(&self) -> bool {
        self.inputs.len() == 1
    }

    pub(super) fn which(&self) -> Which {
        match self.kernels[..] {
            [Kernel::Nngp] => Which::Nngp,
            [Kernel::Ntk] => Which::Ntk,
            _ => Which::Both,
        }
    }

    pub(super) fn text(&self) -> String {
        // Strings, whole numbers and names can always be written.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    pub(super) fn parse(text: &[u8], path: &Path) -> Result<Self, Error> {
        let refused = |message: String| Error::StoreManifest { path: path.to_owned(), message };
        let head: Head = serde_json::from_slice(text).map_err(|error| refused(error.to_string()))?;
        if head.version != VERSION {
            let version = head.version;
            return Err(refused(format!(
                "it has version {version}, and this library reads version {VERSION}"
            )));
        }
        let manifest: Manifest = serde_json::from_slice(text).map_err(|error| refused(error.to_string()))?;
        let Manifest { inputs, shape: [rows, columns], tile, kernels, .. } = &manifest;
        let known = matches!(kernels[..], [_] | [Kernel::Nngp, Kernel::Ntk]);
        let square = inputs.len() == 2 || (inputs.len() == 1 && rows == columns);
        let entries = rows.checked_mul(*columns).is_some_and(|n| (1..isize::MAX as usize / 16).contains(&n));
        if known && square && entries && *tile > 0 {
            Ok(manifest)
        } else {
            Err(refused("its numbers do not describe a kernel".to_owned()))
        }
    }

    /// Whether this, found in a directory, is what is wanted.
    pub(super) fn same_as(&self, wanted: &Manifest, directory: &Path) -> Result<(), Error> {
        let [found, expected] = [self, wanted].map(|m| {
            [
                ("number of batches", m.inputs.len().to_string()),
                ("shape", format!("{:?}", m.shape)),
                ("kernels", format!("{:?}", m.kernels)),
                ("tile", m.tile.to_string()),
                ("fingerprint of the inputs", m.inputs.join(" and ")),
            ]
        });
        let differ = found.into_iter().zip(expected).find(|(found, expected)| found != expected);
        let description = || {
            (self.description != wanted.description).then(|| {
                let [found, expected] = differing(&self.description, &wanted.description);
                (("description", found), ("description", expected))
            })
        };
        match differ.or_else(description) {
            None => Ok(()),
            Some(((part, found), (_, expected))) => {
                Err(Error::StoreMismatch { directory: directory.to_owned(), part, found, expected })
            }
        }
    }
}

/// A few characters of two texts from where they begin to differ.
fn differing(a: &str, b: &str) -> [String; 2] {
    const SHOWN: usize = 40;
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    let start = same.saturating_sub(SHOWN / 2);
    [a, b].map(|text| {
        let part: String = text.chars().skip(start).take(SHOWN).collect();
        format!(
            "{}{part}{}",
            if start > 0 { "…" } else { "" },
            if text.chars().count() > start + SHOWN { "…" } else { "" }
        )
    })
}

fn fingerprint(batch: Batch<'_>) -> String {
    let mut checksum = Checksum::default();
    batch.words(|word| checksum.word(word));
    checksum.to_string()
}
