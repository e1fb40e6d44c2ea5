//! Random networks, programs, activations, inputs and Gram matrices for proptest, all of which shrink to something readable.
//!
//! ```
//! use ntk_core::{Net, Shape};
//! use ntk_testkit::strategies;
//! use proptest::prelude::*;
//!
//! proptest!(|(net in strategies::any_net())| {
//!     prop_assert_eq!(Net::from_json(&net.to_json())?, net);
//! });
//! ```

mod activation;
mod grid_inputs;
mod grid_net;
mod inputs;
mod net;
mod program;

pub use activation::{activation, homogeneous_activation, smooth_activation, tame_activation};
pub use grid_inputs::{graph_inputs, grid_inputs, sequence_inputs, token_inputs};
pub use grid_net::{graph_net, grid_net};
pub use inputs::{Gram, gaussian_inputs, gram, inputs, nasty_inputs, singular_gram, spherical_inputs};
pub use net::{affine, analytic_net, any_net, variance};
pub use program::{any_program, forward_program, linear_program, planar_program};
