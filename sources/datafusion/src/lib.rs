#![doc = include_str!("../README.md")]

mod config;
mod csv;
mod file;
mod hive;
mod how;
mod ipc;
mod json;
mod kind;
mod known;
mod lattice;
mod listing;
mod look;
mod parquet;
mod peek;
mod place;
mod scan;
mod source;
mod table;
mod tables;
mod union;

pub use config::DataFusionConfig;
pub use how::{FileName, FileOptions, ReadConfig, read_options};
pub use source::DataFusionSource;

arrowload_core::register_source!(DataFusionSource);
