//! Adaptors: a kernel in, the same kernel out, computed tile by tile, remembered, or kept on disk.

mod cached;
#[cfg(feature = "store")]
mod store;
mod tiled;

pub use cached::Cached;
#[cfg(feature = "store")]
pub use store::{StoreSummary, StoreSurvey, Tile, TileStore};
pub use tiled::{Progress, Tiled};
