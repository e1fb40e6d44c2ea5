//! Training of wide networks in function space: what a linearized network computes after t steps, in closed form where
//! there is one.
//!
//! Depend on this crate if you have kernel matrices, from anywhere, and ask what training does with them. It knows
//! kernels only as matrices: a train kernel enters as a [`Gram`], once checked, and is factored once.
//!
//! * [`Spectrum`]: the eigensystem of a Gram matrix; largest stable and optimal learning rates.
//! * [`GradientFlow`], [`Descent`], [`MomentumFlow`]: the ways to train under squared loss; [`Training::fit`] with
//!   targets and initial outputs gives a [`Trajectory`], to be asked at any time, infinity included.
//! * [`ScheduledDescent`]: steps with Nesterov's momentum, a [`Schedule`] and [`WeightDecay`].
//! * [`StochasticDescent`]: exact mean and covariance of mini-batches drawn with replacement.
//! * [`Trajectory::curve`], [`side_by_side`]: when to stop, and what the continuous limit leaves out.
//! * [`FunctionSpace`]: training in continuous time under any [`Loss`], by its differential equation: [`CrossEntropy`],
//!   [`Logistic`], [`Huber`], [`SquaredHinge`], [`SmoothHinge`] or one of yours, with events and a [`Tolerance`].
//! * [`Ensemble`]: mean and covariance of infinitely many networks, trained whole (NTK) or in the readout (NNGP).
//! * [`Posterior`]: kernel ridge regression and Gaussian-process posterior, by Cholesky.
//! * [`IterativePosterior`]: the same for kernels too large to factor, by conjugate gradients, with bounds;
//!   [`KernelOperator`] says what it asks of a kernel, [`RowTiles`] makes one that is never stored.
//! * [`Gaussian`], [`Posterior::pathwise`]: draws from posteriors and ensembles.
//! * [`Evidence`], [`LeaveOneOut`]: log marginal likelihood with its gradient, leave-one-out predictions, generalized
//!   cross-validation; [`Calibration`]: do intervals cover as often as they say; [`Temperature`]: class probabilities.
//! * [`Eigenlearning`]: learning curves, train and test error from the spectrum and the target's share of each mode.
//! * [`regression_error`], [`Spectrum::target_shares`]: what a kernel, frozen at any time, has learned of the targets.
//! * [`deep_linear`]: networks that learn features at infinite width, where no kernel stays as it was.
//! * [`Time`], [`Steps`], [`LearningRate`], [`LossScale`], [`Momentum`], [`Ridge`]: quantities that are easy to
//!   confuse, as types.
//!
//! Everywhere samples are rows and outputs are columns: targets (N, k). A Gram matrix of N rows serves all outputs
//! alike (Θ ⊗ I); one of N·k rows, sample by sample and output by output within a sample, is taken as it is.

mod alignment;
mod calibration;
mod curve;
mod decay;
pub mod deep_linear;
mod descent;
mod eigenlearning;
mod ensemble;
mod error;
mod evidence;
mod fit;
mod flow;
mod function_space;
mod gaussian;
mod gram;
mod iterative;
mod layout;
mod leave_one_out;
mod loss;
mod ode;
mod operator;
mod posterior;
mod schedule;
mod scheme;
mod spectrum;
mod stochastic;
mod temperature;
mod time;
mod training;
mod trajectory;
mod units;

pub use ndarray;
pub use ntk_linalg::{
    ConjugateGradients, centered_alignment, effective_rank, kernel_distance, kernel_velocity,
    relative_change, target_alignment,
};

pub use alignment::regression_error;
pub use calibration::Calibration;
pub use curve::{Curve, CurvePoint, SideBySide, side_by_side};
pub use decay::ShrinkingTrajectory;
pub use descent::{Descent, HeavyBall};
pub use eigenlearning::{Eigenlearning, Generalization, TargetMode};
pub use ensemble::{Ensemble, TestPoints};
pub use error::Error;
pub use evidence::Evidence;
pub use fit::fit;
pub use flow::{Flow, GradientFlow, HeavyBallFlow, MomentumFlow};
pub use function_space::{FunctionSpace, Snapshot, Solution};
pub use gaussian::Gaussian;
pub use gram::Gram;
pub use iterative::{Bounded, IterativePosterior};
pub use leave_one_out::LeaveOneOut;
pub use loss::{CrossEntropy, Huber, Logistic, Loss, SmoothHinge, Squared, SquaredHinge};
pub use ode::{Tolerance, Work};
pub use operator::{KernelOperator, RowTiles};
pub use posterior::Posterior;
pub use schedule::Schedule;
pub use scheme::{Method, ScheduledDescent, Scheme};
pub use spectrum::Spectrum;
pub use stochastic::{Moments, StochasticDescent};
pub use temperature::{Temperature, one_hot};
pub use time::{Steps, Time};
pub use training::{Law, Mode, Training};
pub use trajectory::Trajectory;
pub use units::{LearningRate, LossScale, Momentum, Ridge, WeightDecay};
