//! Regression with convolutional kernels beside that with kernels of dense networks of the same depth, split by split;
//! the largest kernel is computed tile by tile to disk.

use std::ops::ControlFlow;

use ndarray::{Array2, Axis};
use ntk_analytic::Analytic;
use ntk_core::{
    Activation, Affine, Batch, ConvKind, Error as CoreError, Groups, KernelBlock, KernelFn, Net, TileStore,
    Which, Width, Window,
};
use ntk_dynamics::{Gram, Posterior, Ridge};
use rayon::prelude::*;

use super::{WEIGHT, bias, convolutions, norm, readout, small};
use crate::data::{Dataset, Split, accuracy};
use crate::{BoxError, Claim, Context, Criterion, Plot, Report, Table, machine, stats};

/// Convolutions, and hidden layers of the dense network.
const DEPTH: usize = 4;
/// Among these, as multiples of the mean diagonal, a ridge is chosen on a fifth of the training images.
const RIDGES: [f64; 6] = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1];
/// In this order everywhere.
const NAMES: [&str; 6] =
    ["dense NNGP", "dense NTK", "CNN-GP, flattened", "CNTK, flattened", "CNN-GP, pooled", "CNTK, pooled"];

pub(super) fn judge(ctx: &Context<'_>, report: &mut Report) -> Result<(), BoxError> {
    // Whether pooling pays beyond doubt for so few images; on color photographs it takes thousands.
    let mut sets = vec![(ctx.data.digits(), true)];
    if ctx.data.has_cifar10() {
        sets.push((ctx.data.cifar10(Split::Train)?, false));
    }
    let sizes = ctx.pick([&[20, 40, 80, 160][..], &[20, 50, 100, 200, 400], &[50, 100, 200, 400, 1000]]);
    let (tests, splits, side) = ctx.pick([(100, 16, 8), (400, 32, 8), (700, 32, 16)]);
    report
        .size("splits", format!("{splits}, {tests} images for testing in each"))
        .size("kernels", format!("{DEPTH} convolutions of 3 × 3 or dense layers, ReLU, σ_w² = 2, σ_b² = 0.1"))
        .note(
            "Splits are drawn from one pool of images, equally many of each class: standard errors are those over the \
             splits, of differences between kernels on the same splits. Ridges are chosen on a fifth of the training \
             images.",
        )
        .seeds(ctx.seeds(splits));
    for (set, pooling_pays) in sets {
        let pool = small(&set.balanced(sizes[sizes.len() - 1] + tests, ctx.seed)?, side);
        let (height, width, _) = pool.shape;
        report
            .size(pool.name, format!("{} images of {height} × {width} pixels", pool.len()))
            .note(pool.origin);
        let kernels = kernels(ctx, report, &pool)?;
        let bar = ctx.progress("kernel regression", NAMES.len() * sizes.len());
        let mut scores = Scores::new();
        for kernel in &kernels {
            let of_size = |&n: &usize| -> Result<Vec<f64>, BoxError> {
                let one = |&seed: &u64| score(kernel, &pool, n, tests, seed);
                bar.step();
                ctx.seeds(splits).par_iter().map(one).collect()
            };
            scores.push(sizes.iter().map(of_size).collect::<Result<_, _>>()?);
        }
        compare(report, pool.name, &scores, pooling_pays);
        show(report, pool.name, sizes, &scores);
    }
    Ok(())
}

/// Accuracies by kernel (in the order of [`NAMES`]), number of training images, and split.
type Scores = Vec<Vec<Vec<f64>>>;

/// The claims: pooled convolutions against dense layers and against flattened ones.
fn compare(report: &mut Report, set: &str, scores: &Scores, pooling_pays: bool) {
    let pairs = [("[arora2019exact] section 5", 5, [1, 3]), ("[novak2019bayesian] section 5.2", 4, [0, 2])];
    for (source, a, b) in pairs.into_iter().flat_map(|(source, a, others)| others.map(|b| (source, a, b))) {
        // The splits are the samples: of each, the mean over the sizes of its training set.
        let gains: Vec<f64> = (0..scores[a][0].len())
            .map(|split| {
                let gain = |(a, b): (&Vec<f64>, &Vec<f64>)| a[split] - b[split];
                stats::mean(&scores[a].iter().zip(&scores[b]).map(gain).collect::<Vec<_>>())
            })
            .collect();
        let (mean, error) = (stats::mean(&gains), stats::standard_error(&gains));
        let (sign, got) = if pooling_pays { ("−", mean - 3.0 * error) } else { ("+", mean + 3.0 * error) };
        let quantity =
            format!("{set}: accuracy of {} less that of {}, {sign} 3 standard errors", NAMES[a], NAMES[b]);
        report.claim(Claim::new(source, quantity, Criterion::AtLeast(0.0), got));
    }
}

fn show(report: &mut Report, set: &str, sizes: &[usize], scores: &Scores) {
    let title = format!("Accuracy of kernel regression, {set}");
    let mut plot = Plot::new(&title, "training images", "accuracy").log_x();
    let columns = std::iter::once("training images").chain(NAMES).map(str::to_owned).collect();
    let mut rows: Vec<Vec<String>> = sizes.iter().map(|n| vec![n.to_string()]).collect();
    for (name, of_kernel) in NAMES.iter().zip(scores) {
        let (mut line, mut bars) = (Vec::new(), Vec::new());
        for ((&n, scores), row) in sizes.iter().zip(of_kernel).zip(&mut rows) {
            let (mean, error) = (stats::mean(scores), stats::standard_error(scores));
            line.push([n as f64, mean]);
            bars.push([n as f64, mean - 2.0 * error, mean + 2.0 * error]);
            row.push(format!("{mean:.4} ± {error:.4}"));
        }
        plot = plot.error_bars(name, bars).line(name, line);
    }
    let caption = format!("{title}: mean over the splits ± standard error");
    report.plot(plot).table(Table { caption, columns, rows });
}

/// The kernels of [`NAMES`] between all images of the pool.
fn kernels(ctx: &Context<'_>, report: &mut Report, pool: &Dataset) -> Result<Vec<Array2<f64>>, BoxError> {
    let (vectors, images) = (pool.inputs(), pool.images());
    let images = Batch::grid(images.view())?;
    let dense = Net::mlp(DEPTH, Activation::Relu, 1, WEIGHT, bias()?);
    let flat = Net::serial([convolutions(DEPTH)?, Net::flatten(), readout()?]);
    let pooled = Net::serial([convolutions(DEPTH)?, Net::global_average_pool(), readout()?]);
    weights_need_not_be_shared(report, pool.name, &flat, images)?;
    let blocks = [
        Analytic::new(dense)?.symmetric((&vectors).into(), Which::Both)?,
        Analytic::new(flat)?.symmetric(images, Which::Both)?,
        to_disk(ctx, report, pool.name, pooled, images)?,
    ];
    let kernels: Option<Vec<_>> = blocks.into_iter().flat_map(|block| [block.nngp, block.ntk]).collect();
    Ok(kernels.ok_or("no kernel")?)
}

/// Without pooling, sharing weights over positions leaves no trace at infinite width.
fn weights_need_not_be_shared(
    report: &mut Report,
    set: &str,
    flat: &Net,
    images: Batch<'_>,
) -> Result<(), BoxError> {
    let affine = Affine::new(WEIGHT, bias()?);
    let conv =
        Net::conv_with(ConvKind::Local, Width::HIDDEN, affine, Window::same(&[3, 3]), Groups::Count(1));
    let layer = conv.then(Net::activation(Activation::Relu));
    let local = Net::serial([Net::serial(vec![layer; DEPTH]), Net::flatten(), readout()?]);
    let few = images.range(0, 20);
    let [shared, local] = [flat, &local].map(|net| Analytic::new(net.clone())?.symmetric(few, Which::Both));
    let (shared, local) = (shared?, local?);
    let mut worst = 0.0_f64;
    for (a, b) in [(shared.nngp, local.nngp), (shared.ntk, local.ntk)] {
        let (a, b) = (a.ok_or("no kernel")?, b.ok_or("no kernel")?);
        worst = worst.max(norm(&(&a - &b)) / norm(&a));
    }
    report.claim(Claim::new(
        "[novak2019bayesian] section 5.1",
        format!("{set}: relative difference of the flattened kernels with shared and with local weights"),
        Criterion::AtMost(1e-12),
        worst,
    ));
    Ok(())
}

/// A kernel computed into a directory, stopped in the middle, and gone on with; a later run finds its tiles.
fn to_disk(
    ctx: &Context<'_>,
    report: &mut Report,
    set: &str,
    net: Net,
    x: Batch<'_>,
) -> Result<KernelBlock, BoxError> {
    let commit = machine::commit();
    // Tiles of another commit are another kernel's.
    let name = format!("{set}-{:?}-seed{}-at{commit}", ctx.size, ctx.seed).to_lowercase();
    let (description, tile) = (format!("{}\ncommit {commit}", net.to_json()), ctx.pick([50, 100, 100]));
    let kernel = Analytic::new(net)?;
    let directory = ctx.out.join("cnn-kernels").join(name);
    let store = TileStore::create_or_open(directory, &description, x, None, Which::Both, tile)?;
    let total = store.tiles().count();
    let bar = ctx.progress("pooled kernel, tiles", total);
    let mut shown = 0;
    let mut run = |stop: usize| {
        store.run(&kernel, x, None, |progress| {
            (shown..progress.done).for_each(|_| bar.step());
            shown = shown.max(progress.done);
            if progress.done == stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    };
    let before = match run(total / 2) {
        Err(CoreError::Cancelled { done, .. }) => done,
        outcome => outcome.map(|_| total)?,
    };
    let rest = run(usize::MAX)?;
    report.claim(Claim::new(
        "TileStore",
        format!(
            "{set}: tiles of {total} that were lost when the kernel with pooling was stopped in the middle"
        ),
        Criterion::AtMost(0.0),
        before as f64 - rest.found as f64,
    ));
    let few = x.len().min(10);
    let (stored, again) = (store.read(0..few, 0..few)?, kernel.symmetric(x.range(0, few), Which::Both)?);
    let (stored, again) = (stored.ntk.ok_or("no kernel")?, again.ntk.ok_or("no kernel")?);
    report.claim(Claim::new(
        "TileStore",
        format!("{set}: relative difference of {few} × {few} entries from disk to the same computed again"),
        Criterion::AtMost(1e-12),
        norm(&(&stored - &again)) / norm(&again),
    ));
    Ok(store.to_block()?)
}

/// The accuracy on the last images of a random order of the pool, of regression on the first `n`.
fn score(kernel: &Array2<f64>, pool: &Dataset, n: usize, tests: usize, seed: u64) -> Result<f64, BoxError> {
    let (order, y) = (pool.balanced_order(seed), pool.one_hot());
    let (train, test) = (&order[..n], &order[order.len() - tests..]);
    let at = |rows: &[usize], columns: &[usize]| kernel.select(Axis(0), rows).select(Axis(1), columns);
    let predict = |ridge: f64, from: &[usize], to: &[usize]| -> Result<Array2<f64>, BoxError> {
        let gram = Gram::new(at(from, from))?;
        let targets = y.select(Axis(0), from);
        let posterior = Posterior::new(&gram, Ridge::RelativeToTrace(ridge), targets.view())?;
        Ok(posterior.mean(at(to, from).view())?)
    };
    // Whole turns of the classes, so that both parts are balanced.
    let turns = n / usize::from(pool.classes);
    let (first, rest) = train.split_at((turns - (turns / 5).max(1)) * usize::from(pool.classes));
    let mut best = (f64::INFINITY, RIDGES[0]);
    for ridge in RIDGES {
        let error = norm(&(predict(ridge, first, rest)? - y.select(Axis(0), rest)));
        if error < best.0 {
            best = (error, ridge);
        }
    }
    let labels: Vec<u8> = test.iter().map(|&i| pool.labels[i]).collect();
    Ok(accuracy(&predict(best.1, train, test)?, &labels))
}
