//! Convolutional kernels on images, a convolutional network beside its linearization, and kernels of every family of
//! networks over positions.

mod accuracy;
mod families;
pub(super) mod published;
mod residual;

use ndarray::Array2;
use ntk_core::{Activation, Net, Shape, Variance, Window};
use ntk_empirical::candle_core::DType;
use ntk_empirical::{FiniteNet, Lowering};

use crate::data::Dataset;
use crate::{BoxError, Context, Experiment, Report};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "cnn",
    title: "Convolutional networks of infinite and of finite width",
    source: "[arora2019exact], [novak2019bayesian], [lee2019wide] Figs. 4 and S2",
    claim: "Regression with kernels of convolutional networks recognizes small images at least as well as with those of \
            dense networks, and better with global pooling; a residual convolutional network with momentum trains as its \
            linearization does; kernels of finite networks over positions tend to the analytic ones, family by family.",
    formula: "‖Θ̂ − Θ‖_F / ‖Θ‖_F = O(n^(−1/2)), supₜ |fₜ(x) − fₜˡⁱⁿ(x)| = O(n^(−1/2)), n channels",
    seconds: [13.0, 90.0, 5000.0],
    memory: [[0.1, 0.05], [0.5, 0.1], [0.8, 2.3]],
    run,
};

fn run(ctx: &Context<'_>) -> Result<Report, BoxError> {
    let mut report = Report::default();
    accuracy::judge(ctx, &mut report)?;
    published::judge(ctx, &mut report)?;
    residual::judge(ctx, &mut report)?;
    families::judge(ctx, &mut report)?;
    Ok(report)
}

/// σ_w² = 2.
const WEIGHT: Variance = Variance::TWO;

/// σ_b² = 0.1.
fn bias() -> Result<Variance, BoxError> {
    Ok(Variance::new(0.1)?)
}

fn conv() -> Result<Net, BoxError> {
    Ok(Net::conv(Window::same(&[3, 3]), WEIGHT, bias()?))
}

/// Convolutions of 3 × 3, each followed by ReLU.
fn convolutions(depth: usize) -> Result<Net, BoxError> {
    let layer = conv()?.then(Net::activation(Activation::Relu));
    Ok(Net::serial(std::iter::repeat_n(layer, depth)))
}

fn readout() -> Result<Net, BoxError> {
    Ok(Net::readout(1, WEIGHT, bias()?))
}

/// Images of at most `side` × `side` pixels: averages over blocks where they are larger.
fn small(images: &Dataset, side: usize) -> Dataset {
    images.reduced(images.shape.0.max(images.shape.1).div_ceil(side))
}

/// One draw of a network on the device of the run.
fn draw(
    ctx: &Context<'_>,
    net: &Net,
    inputs: Shape,
    width: usize,
    seed: u64,
    dtype: DType,
) -> Result<FiniteNet, BoxError> {
    let device = ntk_empirical::device(&ctx.device.to_string())?;
    Ok(FiniteNet::lower(net, &Lowering { width, seed, dtype, device, ..Lowering::for_inputs(inputs) })?)
}

/// The Frobenius norm.
fn norm(a: &Array2<f64>) -> f64 {
    a.iter().map(|v| v * v).sum::<f64>().sqrt()
}
