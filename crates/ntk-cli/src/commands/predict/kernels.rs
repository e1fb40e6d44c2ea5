//! The kernels that predictions are made of: computed from a network, or read.

use std::path::{Path, PathBuf};

use ndarray::{Array1, Array2, ArrayD};
use ntk_core::{KernelBlock, KernelFn, Which};
use ntk_dynamics::Gram;
use serde_json::{Value, json};

use super::{Kind, Predict};
use crate::commands::kernel::{Request, compute};
use crate::error::Error;
use crate::files;
use crate::network::Network;

/// The kernels that predictions are made of, and where they come from.
pub(super) struct Kernels {
    pub(super) train: KernelBlock,
    pub(super) test_train: KernelBlock,
    /// NNGP of the test samples: variances, or covariances where they were asked for.
    pub(super) variances: Option<Array1<f64>>,
    pub(super) covariances: Option<Array2<f64>>,
    pub(super) about: Value,
}

impl Predict {
    /// Computes them from the network and its samples.
    pub(super) fn kernels_of_network(
        &self,
        net: &Path,
        targets: &Array2<f64>,
        test_targets: Option<&Array2<f64>>,
        quiet: bool,
    ) -> Result<Kernels, Error> {
        let network = Network::read(net)?;
        let kernel = network.limit(&self.limit)?;
        let read = |file: &Option<String>| self.reading.read(file.as_deref().unwrap_or_default());
        let (train, test) = (read(&self.train)?, read(&self.test)?);
        train.check_for(&network.net)?;
        train.check_beside(&test)?;
        self.check_targets(targets, train.len(), &train.source)?;
        self.check_test_targets(test_targets, test.len(), targets.ncols())?;
        let which = if self.kind == Kind::Ntk { Which::Both } else { Which::Nngp };
        let (x, t) = (train.batch()?, test.batch()?);
        let block = |x1, x2, which| compute(&kernel, &Request { x1, x2, which }, &self.limit, quiet);
        let diag = |t| Ok(kernel.diag(t, Which::Nngp).map_err(Error::failed)?.nngp);
        Ok(Kernels {
            train: block(train.batch()?, None, which)?,
            test_train: block(test.batch()?, Some(x), which)?,
            variances: if self.covariance { None } else { diag(test.batch()?)? },
            covariances: if self.covariance { block(t, None, Which::Nngp)?.nngp } else { None },
            about: json!({
                "network": network.json(),
                "train": { "file": train.source, "shape": train.shape() },
                "test": { "file": test.source, "shape": test.shape() },
            }),
        })
    }

    /// Reads them from archives.
    pub(super) fn kernels_of_files(
        &self,
        train: &Path,
        targets: &Array2<f64>,
        test_targets: Option<&Array2<f64>>,
    ) -> Result<Kernels, Error> {
        let matrix = |path: &Path, array: ArrayD<f64>| {
            let shape = array.shape().to_vec();
            let wrong = || {
                Error::input(
                    path.display().to_string(),
                    format!("a kernel is a matrix, not of shape {shape:?}"),
                )
            };
            array.into_dimensionality().map_err(|_| wrong())
        };
        let block = |path: &Path| -> Result<KernelBlock, Error> {
            let [nngp, ntk] = files::archive(path, ["nngp", "ntk"])?;
            let absent = |name: &str| {
                let reason = format!(
                    "there is no array {name:?}, which --kind {} needs: write it with ntk kernel --which both",
                    kind_name(self.kind)
                );
                Error::input(path.display().to_string(), reason)
            };
            let nngp = nngp.ok_or_else(|| absent("nngp"))?;
            let ntk = match self.kind {
                Kind::Ntk => Some(matrix(path, ntk.ok_or_else(|| absent("ntk"))?)?),
                _ => None,
            };
            Ok(KernelBlock { nngp: Some(matrix(path, nngp)?), ntk })
        };
        let train_block = block(train)?;
        let samples = train_block.nngp.as_ref().map_or(0, |k| k.nrows());
        for kernel in [&train_block.nngp, &train_block.ntk].into_iter().flatten() {
            Gram::new(kernel.clone()).map_err(Error::refused(train.display()))?;
            if kernel.nrows() != samples {
                return Err(Error::input(train.display().to_string(), "nngp and ntk are not of one size"));
            }
        }
        self.check_targets(targets, samples, &train.display().to_string())?;
        let cross = self.test_train_kernel.clone().unwrap_or_default();
        let test_train = block(&cross)?;
        let tests = test_train.nngp.as_ref().map_or(0, |k| k.nrows());
        for kernel in [&test_train.nngp, &test_train.ntk].into_iter().flatten() {
            if kernel.dim() != (tests, samples) {
                let reason = format!(
                    "kernels between test and train samples have shape (M, {samples}), not {:?}",
                    kernel.dim()
                );
                return Err(Error::input(cross.display().to_string(), reason));
            }
        }
        self.check_test_targets(test_targets, tests, targets.ncols())?;
        let (mut variances, mut covariances) = (None, None);
        if let Some(path) = &self.test_kernel {
            let wrong = |reason: String| Error::input(path.display().to_string(), reason);
            let [nngp] = files::archive(path, ["nngp"])?;
            let nngp = nngp.ok_or_else(|| wrong("there is no array \"nngp\"".to_owned()))?;
            if nngp.shape().iter().any(|&side| side != tests) || !(1..=2).contains(&nngp.ndim()) {
                let shape = nngp.shape();
                return Err(wrong(format!("the nngp of {tests} test samples has not shape {shape:?}")));
            }
            match (self.covariance, nngp.ndim()) {
                (true, 2) => covariances = Some(matrix(path, nngp)?),
                (true, _) => {
                    return Err(wrong("--covariance needs the whole kernel, not its diagonal".to_owned()));
                }
                (false, 2) => variances = Some(matrix(path, nngp)?.diag().to_owned()),
                (false, _) => variances = Some(nngp.iter().copied().collect()),
            }
        } else if self.covariance {
            return Err(Error::input(
                "--covariance",
                "needs --test-kernel with the nngp of the test samples",
            ));
        }
        let name = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let about = json!({
            "train_kernel": name(&self.train_kernel),
            "test_train_kernel": name(&self.test_train_kernel),
            "test_kernel": name(&self.test_kernel),
        });
        Ok(Kernels { train: train_block, test_train, variances, covariances, about })
    }

    fn check_targets(&self, targets: &Array2<f64>, samples: usize, of: &str) -> Result<(), Error> {
        if targets.nrows() == samples {
            return Ok(());
        }
        let reason = format!("there are {} targets for the {samples} train samples of {of}", targets.nrows());
        Err(Error::input(&self.targets, reason))
    }

    fn check_test_targets(
        &self,
        targets: Option<&Array2<f64>>,
        samples: usize,
        outputs: usize,
    ) -> Result<(), Error> {
        match targets {
            Some(targets) if targets.dim() != (samples, outputs) => {
                let reason =
                    format!("test targets have shape {:?}, not {:?}", (samples, outputs), targets.dim());
                Err(Error::input(self.test_targets.as_deref().unwrap_or_default(), reason))
            }
            _ => Ok(()),
        }
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Ntk => "ntk",
        Kind::Nngp => "nngp",
        Kind::Posterior => "posterior",
    }
}
