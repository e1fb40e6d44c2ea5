//! `Trajectory`: what training does to the tangent kernel and to each layer, recorded while a network trains.

use std::ops::ControlFlow;

use ndarray::{Array2, ArrayView2};
use ntk_core::Batch;
use ntk_linalg::{
    Symmetric, effective_rank, kernel_distance, kernel_velocity, relative_change, target_alignment,
};

use crate::products::check_targets;
use crate::tensor::to_f64;
use crate::{Error, FiniteNet, Linearized, Parameters, Step};

/// What a [`Trajectory`] asks of a model.
pub trait Tracked {
    /// Shares of the tangent kernel on a probe batch, with their names, which add up to it. x: (m, d) → (m, m) each.
    ///
    /// # Errors
    /// The model's, for inputs that do not fit it.
    fn kernel_shares(&self, x: Batch<'_>) -> Result<Vec<(String, Array2<f64>)>, Error>;

    /// Copies of the parameters.
    ///
    /// # Errors
    /// The model's.
    fn tracked_parameters(&self) -> Result<Parameters, Error>;

    /// Whether the kernel is the same at all parameters, so that it is computed once.
    fn is_linear(&self) -> bool {
        false
    }
}

/// The share of each affine layer in the mean over outputs of Θ̂.
impl Tracked for FiniteNet {
    fn kernel_shares(&self, x: Batch<'_>) -> Result<Vec<(String, Array2<f64>)>, Error> {
        self.ntk_layers(x, x)
    }

    fn tracked_parameters(&self) -> Result<Parameters, Error> {
        self.parameters()
    }
}

/// The kernel of the network that was linearized, and θ₀ + ω.
impl Tracked for Linearized {
    fn kernel_shares(&self, x: Batch<'_>) -> Result<Vec<(String, Array2<f64>)>, Error> {
        self.base().ntk_layers(x, x)
    }

    fn tracked_parameters(&self) -> Result<Parameters, Error> {
        self.base().parameters()?.plus(1.0, &self.omega()?)
    }

    fn is_linear(&self) -> bool {
        true
    }
}

/// What was measured at one step, relative to where the trajectory began.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Record {
    /// Number of steps made.
    pub step: usize,
    /// Loss on all training samples.
    pub loss: f64,
    /// 1 − ⟨Θₜ, Θ₀⟩/(‖Θₜ‖ ‖Θ₀‖), see [`kernel_distance`].
    pub distance: f64,
    /// ‖Θₜ − Θ₀‖/‖Θ₀‖.
    pub change: f64,
    /// The distance from the kernel of the record before, for each step between; none in the first record. Divide it by
    /// the learning rate for the time of gradient flow.
    pub velocity: Option<f64>,
    /// ⟨Θₜ, YYᵀ⟩/(‖Θₜ‖ ‖YYᵀ‖), see [`target_alignment`].
    pub alignment: f64,
    /// (tr Θₜ)²/tr(Θₜ²).
    pub effective_rank: f64,
    /// ‖θₜ − θ₀‖ over all parameters.
    pub displacement: f64,
    /// ‖θₜ − θ₀‖/‖θ₀‖ of each parameter, by name; infinite for one that began at zero and moved.
    pub parameters: Vec<(String, f64)>,
    /// ‖Θₜˡ − Θ₀ˡ‖/‖Θ₀‖ of the share Θˡ of each layer l in the kernel, by path.
    pub shares: Vec<(String, f64)>,
}

/// Records what training does, by [`observe`](Trajectory::observe) at the steps of
/// [`TrainOptions::record`](crate::TrainOptions::record).
///
/// A record costs one trace tangent kernel of the probe batch: for m samples and o outputs one forward sweep of m
/// samples, one backward sweep of m·o, and m² products a layer. Recorded at r steps of T on n samples, with T steps of
/// one sweep each way, that is about r m (1 + o)/(2 T n) of the training. Where no parameter has moved, and for a
/// linear model, no kernel is computed. Beside it a record copies the parameters once; a trajectory holds one copy of
/// them and m² numbers a layer.
///
/// ```
/// use ndarray::array;
/// use ntk_core::{Activation, Net, Shape, Variance};
/// use ntk_empirical::{FiniteNet, Lowering, TrainOptions, Trajectory};
///
/// let net = Net::mlp(1, Activation::Tanh, 1, Variance::ONE, Variance::ZERO);
/// let mut finite = FiniteNet::lower(&net, &Lowering { width: 32, ..Lowering::for_inputs(Shape::vector(1)) })?;
/// let (x, y) = (array![[1.0], [0.5], [-0.2]], array![[1.0], [0.0], [0.5]]);
/// let mut trajectory = Trajectory::new(&finite, (&x).into(), y.view())?;
/// let options = TrainOptions { record: vec![0, 10, 50], ..TrainOptions::descent(0.5, 100) };
/// finite.train(&options, (&x).into(), y.view(), |step| trajectory.observe(step))?;
/// let records = trajectory.finish()?;
/// assert_eq!(records.iter().map(|record| record.step).collect::<Vec<_>>(), [0, 10, 50, 100]);
/// assert!(records[0].distance == 0.0 && records[3].distance > records[1].distance);
/// # Ok::<(), ntk_empirical::Error>(())
/// ```
#[derive(Debug)]
pub struct Trajectory<'a> {
    probe: Batch<'a>,
    labels: Array2<f64>,
    parameters: Parameters,
    initial: Kernel,
    /// Step and kernel of the last record.
    last: Option<(usize, Symmetric)>,
    records: Vec<Record>,
    evaluations: usize,
    error: Option<Error>,
}

impl<'a> Trajectory<'a> {
    /// Begins at the present parameters of a model. probe: (m, d), labels of the probe: (m, k).
    ///
    /// # Errors
    /// Those of [`Tracked::kernel_shares`] for the probe; [`Error::KernelShape`]; [`Error::Targets`], [`Error::Target`]
    /// for labels that do not fit it; [`Error::Linalg`] if the kernel or the labels are zero.
    pub fn new<M: Tracked>(model: &M, probe: Batch<'a>, labels: ArrayView2<'_, f64>) -> Result<Self, Error> {
        check_targets(labels, (probe.len(), labels.ncols()))?;
        let initial = Kernel::of(model, probe)?;
        target_alignment(&initial.whole, labels)?;
        Ok(Trajectory {
            probe,
            labels: labels.to_owned(),
            parameters: model.tracked_parameters()?,
            initial,
            last: None,
            records: Vec::new(),
            evaluations: 1,
            error: None,
        })
    }

    /// The observer. An error ends training and is returned by [`finish`](Trajectory::finish).
    pub fn observe<M: Tracked>(&mut self, step: &Step<'_, M>) -> ControlFlow<()> {
        if self.error.is_none() {
            match self.measure(step) {
                Ok(record) => self.records.push(record),
                Err(error) => self.error = Some(error),
            }
        }
        if self.error.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// The records so far.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The tangent kernel of the probe where the trajectory began, (m, m).
    pub fn initial_kernel(&self) -> ArrayView2<'_, f64> {
        self.initial.whole.view()
    }

    /// The tangent kernel of the probe at the last record, (m, m).
    pub fn kernel(&self) -> ArrayView2<'_, f64> {
        self.last.as_ref().map_or(&self.initial.whole, |(_, kernel)| kernel).view()
    }

    /// How many kernels of the probe have been computed.
    pub fn evaluations(&self) -> usize {
        self.evaluations
    }

    /// All records, or the error that ended them.
    ///
    /// # Errors
    /// Those of [`Tracked::kernel_shares`] at a recorded step, as [`Error::NonFinite`] if the kernel overflowed;
    /// [`Error::Linalg`] if it became zero, or if steps do not increase from record to record.
    pub fn finish(self) -> Result<Vec<Record>, Error> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.records),
        }
    }

    fn measure<M: Tracked>(&mut self, step: &Step<'_, M>) -> Result<Record, Error> {
        let moved = step.model.tracked_parameters()?.plus(-1.0, &self.parameters)?;
        let displacement = moved.norm()?;
        let mut parameters = Vec::with_capacity(moved.len());
        for ((name, change), (_, initial)) in moved.iter().zip(self.parameters.iter()) {
            let (change, initial) = (norm(change)?, norm(initial)?);
            parameters.push((name.to_owned(), if change == 0.0 { 0.0 } else { change / initial }));
        }
        let unchanged = displacement == 0.0 || step.model.is_linear();
        let now = if unchanged {
            self.initial.clone()
        } else {
            self.evaluations += 1;
            Kernel::of(step.model, self.probe)?
        };
        let (first, kernel) = (&self.initial.whole, &now.whole);
        let (scale, shares) = (frobenius(first.view()), self.initial.shares.iter().zip(&now.shares));
        let shares = shares.map(|((name, a), (_, b))| (name.clone(), frobenius((b - a).view()) / scale));
        let velocity = match &self.last {
            Some((before, last)) => Some(kernel_velocity(last, kernel, step.step as f64 - *before as f64)?),
            None => None,
        };
        let record = Record {
            step: step.step,
            loss: step.loss,
            distance: kernel_distance(first, kernel)?,
            change: relative_change(first, kernel)?,
            velocity,
            alignment: target_alignment(kernel, self.labels.view())?,
            effective_rank: effective_rank(kernel)?,
            displacement,
            parameters,
            shares: shares.collect(),
        };
        self.last = Some((step.step, now.whole));
        Ok(record)
    }
}

/// A kernel and the shares that it is the sum of.
#[derive(Clone, Debug)]
struct Kernel {
    whole: Symmetric,
    shares: Vec<(String, Array2<f64>)>,
}

impl Kernel {
    fn of<M: Tracked>(model: &M, probe: Batch<'_>) -> Result<Self, Error> {
        let shares = model.kernel_shares(probe)?;
        let m = probe.len();
        if let Some((rows, columns)) = shares.iter().map(|(_, share)| share.dim()).find(|dim| *dim != (m, m))
        {
            return Err(Error::KernelShape { expected: m, rows, columns });
        }
        let whole = shares.iter().fold(Array2::zeros((m, m)), |sum, (_, share)| sum + share);
        if whole.iter().any(|v: &f64| !v.is_finite()) {
            return Err(Error::NonFinite { quantity: "the tangent kernel" });
        }
        // The triangles differ by the rounding of the model's number format.
        let whole = Symmetric::new(0.5 * (&whole + &whole.t()))?;
        Ok(Kernel { whole, shares })
    }
}

fn norm(tensor: &candle_core::Tensor) -> Result<f64, Error> {
    Ok(to_f64(tensor)?.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt())
}

fn frobenius(a: ArrayView2<'_, f64>) -> f64 {
    a.iter().map(|v| v * v).sum::<f64>().sqrt()
}
