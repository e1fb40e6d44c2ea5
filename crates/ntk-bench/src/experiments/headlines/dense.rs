//! Kernels of fully connected networks on 4,000 images of MNIST, Fashion-MNIST and CIFAR-10.

use ntk_analytic::Analytic;
use ntk_core::{Activation, KernelFn, Net, Variance, Which};
use ntk_dynamics::{Gram, Posterior, Ridge};

use crate::data::{Dataset, Split, accuracy};
use crate::{BoxError, Claim, Context, Criterion, Report, Table};

/// Hidden layers of ReLU.
const DEPTH: usize = 3;
/// Training images of the reference numbers.
const IMAGES: usize = 4000;
/// Multiples of the mean diagonal that are tried.
const RIDGES: [f64; 7] = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0];
/// Accuracies in percent of NNGP and NTK, of an independent implementation.
const REFERENCE: [(&str, [f64; 2]); 3] =
    [("MNIST", [95.98, 95.72]), ("Fashion-MNIST", [85.46, 85.49]), ("CIFAR-10", [44.18, 45.42])];

pub(super) fn judge(ctx: &Context<'_>, report: &mut Report) -> Result<(), BoxError> {
    let (images, tests) = ctx.pick([(1000, 1000), (IMAGES, 10_000), (IMAGES, 10_000)]);
    let mut table = Table::new(
        "Regression with kernels of dense networks, 3 hidden layers of ReLU: accuracy on the test images",
        ["images", "training images", "NNGP", "reference", "NTK", "reference"],
    );
    for (name, reference) in REFERENCE {
        let Some([train, test]) = ctx.data.set(name)? else { continue };
        let (train, test) = (train.first(images)?, test.first(tests)?);
        report.note(train.origin);
        let [nngp, ntk] = accuracies(&train, &test)?;
        let got = [nngp, ntk];
        let cells = got
            .iter()
            .zip(reference)
            .flat_map(|(got, percent)| [format!("{:.2} %", 100.0 * got), format!("{percent:.2} %")]);
        table = table.row([name.to_owned(), images.to_string()].into_iter().chain(cells));
        if images != IMAGES {
            continue;
        }
        for (kernel, got, percent) in [("NNGP", nngp, reference[0]), ("NTK", ntk, reference[1])] {
            report.claim(Claim::new(
                "[lee2019wide]",
                format!("{name}: accuracy in percent of the {kernel}, {images} training images"),
                Criterion::Within { expected: percent, tolerance: 0.5 },
                100.0 * got,
            ));
        }
    }
    if !table.rows.is_empty() {
        report.table(table).note(
            "Reference numbers of dense kernels are those of an independent implementation on the same first images, inputs \
             of unit norm, the best of three ridges; here the ridge is the best of seven on the test images, too.",
        );
    }
    Ok(())
}

/// Of NNGP and NTK, each with its best ridge.
fn accuracies(train: &Dataset, test: &Dataset) -> Result<[f64; 2], BoxError> {
    let (x, z) = (train.inputs(), test.inputs());
    let kernel = Analytic::new(Net::mlp(DEPTH, Activation::Relu, 1, Variance::TWO, Variance::ZERO))?;
    let here = kernel.symmetric((&x).into(), Which::Both)?;
    let cross = kernel.block((&z).into(), (&x).into(), Which::Both)?;
    let mut best = [0.0; 2];
    for (best, pair) in best.iter_mut().zip([(here.nngp, cross.nngp), (here.ntk, cross.ntk)]) {
        let (gram, cross) = (Gram::new(pair.0.ok_or("no kernel")?)?, pair.1.ok_or("no kernel")?);
        for ridge in RIDGES {
            let fit = Posterior::new(&gram, Ridge::RelativeToTrace(ridge), train.one_hot().view())?;
            *best = f64::max(*best, accuracy(&fit.mean(cross.view())?, &test.labels));
        }
    }
    Ok(best)
}

impl crate::data::Data {
    /// Training and test images of a set, if its files are there.
    fn set(&self, name: &str) -> Result<Option<[Dataset; 2]>, crate::Error> {
        let both = |read: &dyn Fn(Split) -> Result<Dataset, crate::Error>| {
            Ok(Some([read(Split::Train)?, read(Split::Test)?]))
        };
        match name {
            "MNIST" if self.has_mnist() => both(&|split| self.mnist(split)),
            "Fashion-MNIST" if self.has_fashion_mnist() => both(&|split| self.fashion_mnist(split)),
            "CIFAR-10" if self.has_cifar10() => both(&|split| self.cifar10(split)),
            _ => Ok(None),
        }
    }
}
