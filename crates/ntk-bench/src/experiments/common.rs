//! What experiments share: images in two or ten classes, networks on the run's device, claims about fitted rates.

use ndarray::Array2;
use ntk_core::{Net, Shape, Variance};
use ntk_empirical::candle_core::DType;
use ntk_empirical::{FiniteNet, Lowering};

use crate::data::{Dataset, Split};
use crate::stats::Fit;
use crate::{BoxError, Claim, Context, Criterion, Report, Side};

/// Different images for training and for testing, of all classes, in an order that depends on the run's seed.
pub(crate) fn images(ctx: &Context<'_>, train: usize, test: usize) -> Result<(Dataset, Dataset), BoxError> {
    Ok(ctx.data.images(Split::Train)?.split(train, test, ctx.seed)?)
}

/// The same of two classes, relabeled 0 and 1: targets ±1 are `signs(0)`.
pub(crate) fn pair(
    ctx: &Context<'_>,
    classes: [u8; 2],
    train: usize,
    test: usize,
) -> Result<(Dataset, Dataset), BoxError> {
    Ok(ctx.data.images(Split::Train)?.only(&classes).split(train, test, ctx.seed)?)
}

/// One draw of a network for inputs of `features` numbers, on the device of the run.
pub(crate) fn draw(
    ctx: &Context<'_>,
    net: &Net,
    features: usize,
    width: usize,
    seed: u64,
    dtype: DType,
) -> Result<FiniteNet, BoxError> {
    let device = ntk_empirical::device(&ctx.device.to_string())?;
    let lowering = Lowering { width, seed, dtype, device, ..Lowering::for_inputs(Shape::vector(features)) };
    Ok(FiniteNet::lower(net, &lowering)?)
}

/// Standard normal numbers: the weights of a layer.
pub(crate) fn normals(
    ctx: &Context<'_>,
    rows: usize,
    columns: usize,
    seed: u64,
) -> Result<Array2<f64>, BoxError> {
    let layer = Net::readout(columns, Variance::ONE, Variance::ZERO);
    let drawn = draw(ctx, &layer, rows, 1, seed, DType::F64)?.parameters()?;
    let name = drawn.names().next().ok_or("a layer without weights")?;
    Ok(drawn.array(name)?)
}

/// States in a report which images were used.
pub(crate) fn credit(report: &mut Report, train: &Dataset, test: &Dataset) {
    let test = if test.is_empty() { String::new() } else { format!(", {} for testing", test.len()) };
    report.size("images", format!("{}, {} for training{test}", train.name, train.len()));
    report.note(train.origin);
}

/// A list of widths, steps or the like: `16, 32, 64`.
pub(crate) fn list(numbers: &[usize]) -> String {
    numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

/// The claim that a fitted exponent is the expected one, up to 0.1 and three standard errors of the fit.
pub(crate) fn rate(source: &str, quantity: &str, expected: f64, side: Side, fit: Fit) -> Claim {
    let criterion = Criterion::Slope { expected, tolerance: 0.1, standard_error: fit.standard_error, side };
    Claim::new(source, quantity, criterion, fit.slope)
}
