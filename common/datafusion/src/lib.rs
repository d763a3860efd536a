#![doc = include_str!("../README.md")]

mod engine;
mod error;
mod options;
mod params;
mod tables;
#[cfg(test)]
mod tests;

pub use engine::Engine;
pub use error::from_datafusion;
pub use options::{EngineOptions, MemoryLimit};
pub use tables::Tables;
