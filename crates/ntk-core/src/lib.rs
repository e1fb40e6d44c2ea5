//! One description of a network for finite and infinite width, and the seam between providers and users of kernels.
//!
//! Depend on this crate if you write a kernel provider, a solver or a tool that reads architectures; depend on
//! `ntk-analytic` for infinite-width kernels, on `ntk-empirical` for finite networks.
//!
//! * [`Net`]: an architecture as an immutable expression, built by constructors, matched with [`Net::kind`].
//! * [`Activation`], [`Layer`], [`Variance`], [`Width`]: what it is made of, plain data.
//! * [`KernelFn`]: anything that gives the block K(x₁, x₂); [`Batch`] in, [`KernelBlock`] out.
//! * [`program`]: the language of everything else that has a limit, with weights used again and transposed.
//! * [`Tiled`], [`Cached`]: a kernel in, the same kernel out.
//!
//! Feature `serde` adds [`Net::to_json`](Net) and `Net::from_json`, and `Serialize`/`Deserialize` for descriptions.
//! Feature `store` adds `TileStore`: a kernel in a directory, tile by tile, that goes on where it was stopped.
#![cfg_attr(docsrs, feature(doc_cfg))] // docs.rs marks what a feature adds

mod activation;
mod adaptor;
mod batch;
mod error;
mod kernel;
mod net;
pub mod program;
mod units;

pub use ndarray;

pub use activation::{Activation, Parity};
pub use adaptor::{Cached, Progress, Tiled};
#[cfg(feature = "store")]
pub use adaptor::{StoreSummary, StoreSurvey, Tile, TileStore};
pub use batch::{Batch, Graphs, OwnedBatch};
pub use error::Error;
pub use kernel::{KernelBlock, KernelDiag, KernelFn, Which};
pub use net::{
    Affine, Attention, AttentionMask, Axes, AxisMap, AxisTaps, ConvKind, Facts, Grid, Groups, Interpolation,
    Law, Layer, LogitScaling, Mean, Net, NetKind, Padding, Parameterization, Pooling, PositionCombine,
    PositionDecay, PositionEmbedding, Shape, Span, Weighting, Window,
};
pub use units::{DropRate, Rate, Variance, Width};
