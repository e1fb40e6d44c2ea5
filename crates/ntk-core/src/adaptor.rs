//! Adaptors: a kernel in, the same kernel out, computed tile by tile or remembered.

mod cached;
mod tiled;

pub use cached::Cached;
pub use tiled::{Progress, Tiled};
