//! Deep linear networks that learn features at infinite width: what training does to them, without a large matrix.
//!
//! A network x ↦ βᵀx with β = Aᵀ M₁ᵀ ⋯ M_qᵀ B has q + 1 hidden layers; A is (n₀, d), Mⱼ is (nⱼ, nⱼ₋₁), B is (n_q, k).
//! Entries start as independent N(0, σ²/n), n the width that the matrix reads from (n₀ for A), and descent with rate η
//! acts on A, M and B alike. In the entries U = √n A, V = √n B and W = n (M − M(0)) this is the maximal-update
//! parameterization: features move by O(1), and the limit n → ∞ is not a kernel method.
//!
//! In the limit a matrix becomes an operator Λ + G between Hilbert spaces: Λ, fixed, remembers the Gaussian start, and
//! the Hilbert–Schmidt operator G is what training adds. Finitely many steps reach finitely many directions, so the
//! limit runs on a computer to rounding:
//!
//! * [`Risk`]: what is minimized, F(β) = ½ E|βᵀx − y|², by second moments.
//! * [`Architecture`]: the number of matrices, ratios of widths, variances.
//! * [`Limit`]: the network in the limit; steps of gradient descent, gradient flow, tangent kernel, conserved
//!   quantities.
//! * [`Basis`]: two ways to represent Λ, each a check of the other.
//! * [`WeightLaw`]: the law of the weights at one time; samplers.
//! * [`shallow_flow`], [`feature_response`]: solutions for one input dimension.
//!
//! What is proved (\[chizat2022infinite\]): one middle matrix, q = 1, and one output, k = 1. For q ≥ 2 the construction
//! is formal there, and for k ≥ 2 it is the same computation without the theorem; both agree with finite networks.
//!
//! ```
//! use ndarray::array;
//! use ntk_dynamics::LearningRate;
//! use ntk_dynamics::deep_linear::{Architecture, Basis, Limit, Risk};
//! let risk = Risk::new(array![[1.0, 0.3], [0.3, 0.6]], array![[1.2], [-0.7]])?;
//! let mut network = Limit::new(&risk, &Architecture::new(1)?, Basis::Lazy)?;
//! network.descend(LearningRate::new(0.1)?, 25)?;
//! assert!((network.predictor()[[0, 0]] - 1.1993012146).abs() < 1e-9);
//! # Ok::<(), ntk_dynamics::Error>(())
//! ```

mod architecture;
mod flow;
mod law;
mod lazy;
mod limit;
mod observe;
mod one_input;
mod operators;
mod risk;
mod vector;
mod walks;
mod weights;

pub use architecture::Architecture;
pub use flow::Integration;
pub use law::WeightLaw;
pub use limit::{Basis, Limit};
pub use one_input::{feature_response, shallow_flow};
pub use risk::Risk;

#[cfg(test)]
mod tests;
