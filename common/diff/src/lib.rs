#![doc = include_str!("../README.md")]

mod block;
mod comparison;
mod form;
mod pairs;
mod schemas;
mod sort;
mod sums;
#[cfg(test)]
mod tests;

pub use arrowload_common_datafusion::MemoryLimit;
pub use block::{Block, Change};
pub use comparison::{Comparison, Selection, Side};
/// The version of the engine that sorts, which is that of the sources that embed it.
pub use datafusion::DATAFUSION_VERSION as ENGINE_VERSION;
pub use pairs::{Counts, Differences};
pub use schemas::{OtherType, SchemaDiff};
pub use sort::Limits;
pub use sums::Sums;
