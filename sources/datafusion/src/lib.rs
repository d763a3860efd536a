#![doc = include_str!("../README.md")]

mod config;
mod format;
mod source;
mod stores;
mod tables;

pub use config::DataFusionConfig;
pub use source::DataFusionSource;

arrowload_core::register_source!(DataFusionSource);
