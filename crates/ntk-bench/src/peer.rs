//! The rows of the comparison with neural-tangents: the same networks, sizes and inputs as `benches/peer/peer.py`.

use std::f64::consts::FRAC_2_PI;
use std::time::Instant;

use ndarray::{Array, Array2, Dimension, ShapeBuilder, s};
use ntk_analytic::{Analytic, Precision, Rules};
use ntk_core::{Activation, Batch, KernelFn, Layer, Net, Shape, Variance, Which, Window};
use ntk_dynamics::{Ensemble, GradientFlow, Gram, LearningRate, LossScale, Ridge, Spectrum, Time};
use ntk_empirical::candle_core::DType;
use ntk_empirical::{FiniteNet, Lowering};
use serde::Serialize;

use crate::{BoxError, Error};

/// The names of the rows.
pub const ROWS: [&str; 11] = [
    "dense_relu",
    "dense_erf",
    "dense_gelu",
    "depth_100",
    "conv_flatten",
    "conv_pool",
    "myrtle_10",
    "attention",
    "finite_dense",
    "finite_conv",
    "ensemble",
];

/// What one process measured of a row.
#[derive(Clone, Debug, Serialize)]
pub struct Timing {
    /// The row.
    pub row: String,
    /// `float32` or `float64`.
    pub dtype: String,
    /// Seconds of the first call.
    pub cold: f64,
    /// Seconds of later calls.
    pub warm: Vec<f64>,
    /// The mean of what was computed: both programs must compute the same.
    pub check: f64,
    /// The largest relative error on the diagonal of Θ, where its exact value is known.
    pub diagonal_error: Option<f64>,
}

/// Measures a row, `f32` or `f64`.
///
/// Where a row has no single precision here, which dense kernels and ensembles have not, `f32` is computed in f64.
///
/// # Errors
/// [`Error::UnknownExperiment`] for a row of another name; those of the crates.
pub fn time(row: &str, single: bool) -> Result<Timing, BoxError> {
    let mut run = prepare(row, single)?;
    let (mut times, mut found) = (Vec::<f64>::new(), Found::default());
    while times.is_empty() || (times.len() < 12 && times[1..].iter().sum::<f64>() < 10.0) {
        let started = Instant::now();
        found = run()?;
        times.push(started.elapsed().as_secs_f64());
    }
    let warm = if times.len() > 1 { times[1..].to_vec() } else { times.clone() };
    let dtype = if single { "float32" } else { "float64" }.to_owned();
    let Found { check, diagonal_error } = found;
    Ok(Timing { row: row.to_owned(), dtype, cold: times[0], warm, check, diagonal_error })
}

#[derive(Default)]
struct Found {
    check: f64,
    diagonal_error: Option<f64>,
}

type Run = Box<dyn FnMut() -> Result<Found, BoxError>>;

fn prepare(row: &str, single: bool) -> Result<Run, BoxError> {
    let dense = |phi: Activation, depth, n, features| {
        let (net, x) =
            (Net::mlp(depth, phi.clone(), 1, Variance::TWO, Variance::ZERO), inputs((n, features)));
        let exact =
            x.rows().into_iter().map(|x| diagonal(&phi, depth, 2.0 * x.dot(&x) / features as f64)).collect();
        infinite(net, x, exact, single)
    };
    let conv = |net, x| infinite(net, x, None, single);
    let image = |n| inputs((n, 32, 32, 3));
    match row {
        "dense_relu" => dense(Activation::Relu, 4, 4000, 784),
        "dense_erf" => dense(Activation::ERF, 4, 4000, 784),
        "dense_gelu" => dense(Activation::Gelu, 4, 4000, 784),
        "depth_100" => dense(Activation::Relu, 100, 500, 64),
        "conv_flatten" => conv(Net::serial([convolutions(21), Net::flatten(), readout(1)]), image(8)),
        "conv_pool" => {
            conv(Net::serial([convolutions(21), Net::global_average_pool(), readout(1)]), image(2))
        }
        "myrtle_10" => {
            let pool = || Net::average_pool(Window::valid(&[2, 2]).strides(&[2, 2]));
            let blocks = [convolutions(3), pool(), convolutions(3), pool(), convolutions(3)];
            let end = Net::global_average_pool().then(readout(1));
            conv(Net::serial(blocks).then(end), image(2))
        }
        "attention" => {
            let dense = Net::dense(Variance::TWO, Variance::ZERO).then(Net::activation(Activation::Relu));
            let attention = Net::layer(Layer::Attention(Box::default()));
            let end = Net::global_average_pool().then(readout(1));
            infinite(Net::serial([dense, attention, end]), inputs((32, 16, 32)), None, single)
        }
        "finite_dense" => {
            let net = Net::mlp(3, Activation::Relu, 10, Variance::TWO, Variance::ZERO);
            finite(net, inputs((16, 3072)), Shape::vector(3072), 512, single)
        }
        "finite_conv" => {
            let net = Net::serial([convolutions(3), Net::global_average_pool(), readout(10)]);
            finite(net, image(8), Shape::grid(&[32, 32], 3)?, 32, single)
        }
        "ensemble" => ensemble(),
        _ => Err(Error::UnknownExperiment { name: row.to_owned(), known: ROWS.join(", ") }.into()),
    }
}

/// Numbers of the golden sequence in [−½, ½).
fn inputs<D: Dimension>(shape: impl ShapeBuilder<Dim = D>) -> Array<f64, D> {
    let mut at = 0.0;
    Array::from_shape_simple_fn(shape, || {
        at += 1.0;
        let step: f64 = at * 0.618_033_988_749_894_9;
        step - step.floor() - 0.5
    })
}

fn convolutions(count: usize) -> Net {
    let block = || {
        Net::conv(Window::same(&[3, 3]), Variance::TWO, Variance::ZERO)
            .then(Net::activation(Activation::Relu))
    };
    Net::serial((0..count).map(|_| block()))
}

fn readout(outputs: usize) -> Net {
    Net::readout(outputs, Variance::TWO, Variance::ZERO)
}

/// Θ(x, x) of a dense network, whose layers need no correlation on the diagonal: `q` is the covariance of the first layer.
fn diagonal(phi: &Activation, depth: usize, mut q: f64) -> Option<f64> {
    let mut ntk = q;
    for _ in 0..depth {
        let (square, slope) = match phi {
            Activation::Relu => (0.5 * q, 0.5),
            _ if *phi == Activation::ERF => {
                (FRAC_2_PI * (2.0 * q / (1.0 + 2.0 * q)).asin(), 2.0 * FRAC_2_PI / (1.0 + 4.0 * q).sqrt())
            }
            _ => return None,
        };
        q = 2.0 * square;
        ntk = q + 2.0 * slope * ntk;
    }
    Some(ntk)
}

fn infinite<D: Dimension + 'static>(
    net: Net,
    x: Array<f64, D>,
    exact: Option<Vec<f64>>,
    single: bool,
) -> Result<Run, BoxError> {
    let precision = if single { Precision::F32 } else { Precision::F64 };
    let kernel = Analytic::with_rules(net, &Rules::new().precision(precision))?;
    Ok(Box::new(move || {
        let ntk = kernel.symmetric(Batch::grid(x.view())?, Which::Ntk)?.ntk.ok_or("no kernel")?;
        let off = |exact: &Vec<f64>| {
            let errors = ntk.diag().into_iter().zip(exact).map(|(got, exact)| (got / exact - 1.0).abs());
            errors.fold(0.0, f64::max)
        };
        Ok(Found { check: ntk.mean().unwrap_or(f64::NAN), diagonal_error: exact.as_ref().map(off) })
    }))
}

/// Networks of other random numbers than the peer's: `check` is near its own, not equal.
fn finite<D: Dimension + 'static>(
    net: Net,
    x: Array<f64, D>,
    shape: Shape,
    width: usize,
    single: bool,
) -> Result<Run, BoxError> {
    let dtype = if single { DType::F32 } else { DType::F64 };
    let lowering = Lowering { width, dtype, ..Lowering::for_inputs(shape) };
    let finite = FiniteNet::lower(&net, &lowering)?;
    Ok(Box::new(move || {
        let x = Batch::grid(x.view())?;
        let check = finite.ntk_blocks(x.reborrow(), x.reborrow())?.mean().unwrap_or(f64::NAN);
        Ok(Found { check, diagonal_error: None })
    }))
}

fn ensemble() -> Result<Run, BoxError> {
    let all: Array2<f64> = inputs((1200, 64));
    let net = Net::mlp(3, Activation::Relu, 1, Variance::TWO, Variance::ZERO);
    let kernel = Analytic::new(net)?;
    Ok(Box::new(move || {
        let (x, z) = (all.slice(s![..1000, ..]), all.slice(s![1000.., ..]));
        let y = x.slice(s![.., ..1]).mapv(f64::signum);
        let here = kernel.symmetric((&x).into(), Which::Both)?;
        let cross = kernel.block((&z).into(), (&x).into(), Which::Both)?;
        let there = kernel.symmetric((&z).into(), Which::Nngp)?.nngp.ok_or("no NNGP")?;
        let ntk = Spectrum::new(&Gram::new(here.ntk.ok_or("no NTK")?)?, Ridge::RelativeToTrace(1e-4))?;
        let flow = GradientFlow::new(&ntk, LearningRate::new(1.0)?, LossScale::MeanNK);
        let ensemble = Ensemble::ntk(&flow, &Gram::new(here.nngp.ok_or("no NNGP")?)?, y.view())?;
        let test = ensemble.test(&cross)?;
        let at = Time::Finite(100.0);
        let (mean, variance) = (test.mean(at)?, test.variance(at, there.diag())?);
        let check = (mean.sum() + variance.sum()) / (mean.len() + variance.len()) as f64;
        Ok(Found { check, diagonal_error: None })
    }))
}
