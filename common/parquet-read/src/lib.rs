#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod columns;
mod error;
mod facts;
mod format;
mod int96;
mod opener;
mod options;
mod repair;
mod source;
mod statistics;

pub use format::parquet_format;
pub use options::{Int96, ParquetOptions};
