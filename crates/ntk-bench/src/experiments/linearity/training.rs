//! What the Hessian means for training: the tangent kernel of a wide network barely changes, that of a network with a
//! bottleneck does at any width.

use std::ops::ControlFlow;

use ndarray::Array2;
use ntk_core::KernelFn as _;
use ntk_core::{Activation, Net, Variance, Which};
use ntk_empirical::candle_core::DType;
use ntk_empirical::{Error, FiniteNet, Reduction, TrainOptions};
use ntk_linalg::{Symmetric, eigenvalues};

use super::curve::{Curve, between, measure, show};
use super::{FEATURES, SOURCE, deep, inputs};
use crate::experiments::common;
use crate::{BoxError, Claim, Context, Criterion, Report};

/// Training samples.
const SAMPLES: usize = 10;

/// Training ends when the loss has fallen to this part of its initial value.
const FITTED: f64 = 1e-4;

/// How training changed the kernel.
struct Change {
    /// ‖Θ̂_T − Θ̂₀‖/‖Θ̂₀‖ in the norm of Frobenius.
    kernel: f64,
    fitted: bool,
}

pub(super) fn judge(ctx: &Context<'_>, report: &mut Report) -> Result<(), BoxError> {
    let widths =
        ctx.pick([&[32, 64, 128, 256][..], &[32, 64, 128, 256, 512], &[32, 64, 128, 256, 512, 1024, 2048]]);
    let count = ctx.pick([7, 9, 33]);
    report.size(
        "training",
        format!(
            "{SAMPLES} samples with labels ±1, descent to {FITTED:.0e} of the loss, widths {}",
            common::list(widths)
        ),
    );
    report.seeds(ctx.seeds(count));
    let wide = Net::mlp(3, Activation::Tanh, 1, Variance::ONE, Variance::ZERO);
    let mut curves = Vec::new();
    for (label, net, criterion) in [
        ("3 wide layers", wide, Criterion::AtMost(-0.45)),
        ("bottleneck of 1", deep::through(1), between(-0.3, 0.3)),
        ("bottleneck of 4", deep::through(4), between(-0.3, 0.3)),
    ] {
        let results = measure(ctx, label, widths, count, |m, seed| {
            train(ctx, common::draw(ctx, &net, FEATURES, m, seed, DType::F64)?, seed)
        })?;
        let curve = Curve::medians(label, widths, &results, |change| change.kernel);
        report.claim(Claim::new(
            SOURCE,
            format!("A7: exponent in m of the median change of Θ̂, {label}"),
            criterion,
            curve.fit()?.slope,
        ));
        let (fitted, all) =
            (results.iter().flatten().filter(|change| change.fitted).count(), widths.len() * count);
        report.note(format!("{label}: {fitted} of {all} networks fitted the labels."));
        curves.push(curve);
    }
    let all: Vec<&Curve> = curves.iter().collect();
    let (plot, table) =
        show("Change of the tangent kernel through training", "width m", "‖Θ̂_T − Θ̂₀‖ / ‖Θ̂₀‖", &all)?;
    report.plot(plot).table(table);
    Ok(())
}

/// Descends until the labels are fitted, with a smaller rate where the sharpness grows beyond what the first bears.
fn train(ctx: &Context<'_>, start: FiniteNet, seed: u64) -> Result<Change, BoxError> {
    let x = inputs(ctx, SAMPLES, seed)?;
    let y = common::normals(ctx, SAMPLES, 1, seed ^ 0x1abe1)?.mapv(f64::signum);
    let kernel = |net: &FiniteNet| -> Result<Array2<f64>, BoxError> {
        Ok(net.symmetric((&x).into(), Which::Ntk)?.ntk.ok_or("no kernel")?)
    };
    let before = kernel(&start)?;
    let largest = eigenvalues(&Symmetric::new(before.clone())?)?.iter().fold(0.0, |m: f64, v| m.max(*v));
    let norm = |a: &Array2<f64>| a.iter().map(|v| v * v).sum::<f64>().sqrt();
    let mut rate = 0.5 / largest;
    loop {
        let mut net = start.try_clone()?;
        let steps = 3000;
        let options = TrainOptions {
            reduction: Reduction::Sum,
            record: (0..steps).step_by(10).collect(),
            ..TrainOptions::descent(rate, steps)
        };
        let (mut initial, mut fitted, mut grew) = (None, false, false);
        let trained = net.train(&options, (&x).into(), y.view(), |step| {
            let first = *initial.get_or_insert(step.loss);
            fitted = step.loss < FITTED * first;
            grew = step.loss > 4.0 * first;
            if fitted || grew { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match trained {
            Err(Error::Diverged { .. }) => {}
            Err(other) => return Err(other.into()),
            Ok(_) if grew => {}
            Ok(_) => return Ok(Change { kernel: norm(&(kernel(&net)? - &before)) / norm(&before), fitted }),
        }
        rate /= 4.0;
    }
}
