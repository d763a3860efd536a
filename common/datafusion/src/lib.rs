#![doc = include_str!("../README.md")]

mod calls;
mod engine;
mod error;
mod offer;
mod options;
mod params;
mod tables;
#[cfg(test)]
mod tests;

pub use calls::Call;
pub use engine::Engine;
pub use error::from_datafusion;
pub use options::{EngineOptions, MemoryLimit};
pub use tables::{Asked, Tables};
