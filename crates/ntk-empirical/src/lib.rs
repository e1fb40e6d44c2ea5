//! Finite-width networks on candle: forward, training, tangent kernels without Jacobians, linearization.
//!
//! Depend on this crate to draw and train a finite network of a [`Net`](ntk_core::Net), to compare it with its
//! infinite-width limit, or to compute the tangent kernel of any candle model. It is the only crate of the family
//! that knows candle and devices.
//!
//! * [`Lowering`], [`FiniteNet`]: one draw of a network; a [`KernelFn`](ntk_core::KernelFn) without its Jacobian.
//! * [`Ntk`]: its tangent kernel in every form, by the cheapest way within a bound on memory, or applied to vectors.
//! * [`TrainOptions`]: gradient descent with momentum, full-batch or mini-batch, observed at recorded steps.
//! * [`Trajectory`]: what training does to the tangent kernel and the layers, recorded along the way.
//! * [`Linearized`]: the exactly linear model around the initial parameters, trained by the same options.
//! * [`Quadratic`]: the second-order model; [`Operator`]: Hessians and kernels by their products, for eigenvalues.
//! * [`Hierarchy`]: how the tangent kernel moves, by its derivatives along gradient flow.
//! * [`MonteCarlo`]: kernels averaged over draws, with standard errors.
//! * [`Assembly`], [`LayerRecursion`], [`ScalarFunction`]: Hessian against gradient, the transition to linearity.
//! * [`DeepLinear`]: deep linear networks, with or without features that move.
//! * [`Model`], [`Autograd`]: any candle model, by candle's reverse mode; [`load_weights`] for its safetensors.
//! * [`Attribution`], [`Trak`], [`Projection`]: which training samples made a prediction what it is.
//! * [`FiniteProgram`], [`DeviceProgram`]: one draw of a tensor program.
//! * [`Rules`]: what custom names mean at finite width.
//!
//! ```
//! use ndarray::array;
//! use ntk_core::{Activation, Net, Shape, Variance};
//! use ntk_empirical::{FiniteNet, Lowering};
//!
//! let net = Net::mlp(2, Activation::ERF, 1, Variance::new(1.5)?, Variance::new(0.1)?);
//! let finite = FiniteNet::lower(&net, &Lowering { width: 64, seed: 7, ..Lowering::for_inputs(Shape::vector(2)) })?;
//! let x = array![[1.0, 0.5], [-0.3, 0.8]];
//! assert_eq!(finite.outputs((&x).into())?.dim(), (2, 1));
//! assert_eq!(finite.ntk_blocks((&x).into(), (&x).into())?.dim(), (2, 2, 1, 1));
//! # Ok::<(), ntk_empirical::Error>(())
//! ```
//!
//! Features: `cuda` and `metal` compile candle for those devices; choose one at run time with [`device()`].

mod affine;
mod assembly;
mod attribution;
mod autograd;
mod contract;
mod deep_linear;
mod device;
mod draw;
mod error;
mod finite;
mod gather;
mod hierarchy;
mod input;
mod jet;
mod linearize;
mod loss;
mod lower;
mod moment;
mod monte_carlo;
mod node;
mod ntk;
mod parameters;
mod pointwise;
mod positions;
mod products;
mod program;
mod rules;
mod second_order;
mod sites;
mod structured;
mod tensor;
mod train;
mod trajectory;
mod weights;

pub use candle_core;
pub use candle_nn;

pub use assembly::{
    Assembly, AssemblyAt, LayerRecursion, Linearity, NetOutput, Neuron, NonlinearOutput, ScalarFunction,
    Sphere, SubModel,
};
pub use attribution::{Attribution, Projection, Trak, blocks_as_matrix};
pub use autograd::{Autograd, Model, Selected, VarModel, channels_first};
pub use deep_linear::{DeepLinear, DeepLinearOptions, Entries, Scaling};
pub use device::device;
pub use error::Error;
pub use finite::FiniteNet;
pub use hierarchy::{Hierarchy, HierarchyTensors};
pub use linearize::Linearized;
pub use loss::{Loss, Reduction};
pub use lower::{Lowering, Mode};
pub use monte_carlo::{Estimate, MonteCarlo};
pub use ntk::{LayerPlan, Ntk, NtkMethod, NtkOptions, NtkPart, NtkPlan};
pub use parameters::Parameters;
pub use program::{DeviceProgram, FiniteProgram};
pub use rules::{LayerRule, Rules};
pub use second_order::{Coordinates, Operator, Quadratic};
pub use train::{Step, TrainOptions, Trained};
pub use trajectory::{Record, Tracked, Trajectory};
pub use weights::load_weights;
