//! The published accuracies of un-pooled convolutional tangent kernels on CIFAR-10, where its files are at hand.

use ntk_analytic::{Analytic, Precision, Rules};
use ntk_core::{Activation, Batch, KernelFn, Net, Variance, Which, Window};
use ntk_dynamics::{Gram, Posterior, Ridge};

use crate::data::{Split, accuracy};
use crate::{BoxError, Claim, Context, Criterion, Report, Table};

/// Training images of the table.
const IMAGES: usize = 2000;
/// Depth (convolutions + 1) and accuracy in percent, of the first images of CIFAR-10.
const ACCURACIES: [(usize, f64); 4] = [(3, 40.94), (4, 42.54), (6, 43.43), (11, 43.42)];

pub(in super::super) fn judge(ctx: &Context<'_>, report: &mut Report) -> Result<(), BoxError> {
    if !ctx.data.has_cifar10() {
        return Ok(());
    }
    let (images, tests, depths) = ctx.pick([(300, 300, 1), (IMAGES, 2000, 1), (IMAGES, 10_000, 4)]);
    let (train, test) =
        (ctx.data.cifar10(Split::Train)?.first(images)?, ctx.data.cifar10(Split::Test)?.first(tests)?);
    report
        .size("un-pooled kernels", format!("{images} images of CIFAR-10 for training, {tests} for testing"));
    report.note(train.origin);
    let (x, elsewhere) = (train.standardized(&train), test.standardized(&train));
    let (x, elsewhere) = (Batch::grid(x.view())?, Batch::grid(elsewhere.view())?);
    let mut table = Table::new(
        "CNTK without pooling, first and last layer frozen, no ridge: accuracy on CIFAR-10",
        ["depth", "training images", "here", "published, 2000 training images"],
    );
    let bar = ctx.progress("un-pooled kernels", depths);
    for &(depth, percent) in &ACCURACIES[..depths] {
        let published = percent / 100.0;
        let conv = Net::conv(Window::same(&[3, 3]), Variance::TWO, Variance::ZERO);
        let relu = || Net::activation(Activation::Relu);
        let hidden = vec![conv.clone().then(relu()); depth - 2];
        let last = Net::readout(1, Variance::ONE, Variance::ZERO).frozen();
        let net = Net::serial([conv.frozen().then(relu()), Net::serial(hidden), Net::flatten(), last]);
        let kernel = Analytic::with_rules(net, &Rules::new().precision(Precision::F32))?;
        let gram = kernel.symmetric(x, Which::Ntk)?.ntk.ok_or("no kernel")?;
        let cross = kernel.block(elsewhere, x, Which::Ntk)?.ntk.ok_or("no kernel")?;
        let posterior = Posterior::new(&Gram::new(gram)?, Ridge::None, train.one_hot().view())?;
        let got = accuracy(&posterior.mean(cross.view())?, &test.labels);
        table = table.row([
            depth.to_string(),
            images.to_string(),
            format!("{got:.4}"),
            format!("{published:.4}"),
        ]);
        // A table for other images says nothing about other numbers of them.
        if images == IMAGES {
            let tolerance = 0.01 + 3.0 * (published * (1.0 - published) / tests as f64).sqrt();
            report.claim(Claim::new(
                "[arora2019exact]",
                format!("accuracy of the un-pooled CNTK of depth {depth}, {images} training images"),
                Criterion::Within { expected: published, tolerance },
                got,
            ));
        }
        bar.step();
    }
    report.table(table);
    Ok(())
}
