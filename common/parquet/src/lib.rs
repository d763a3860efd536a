#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod compression;
mod destination;
mod encode;
mod error;
mod extremes;
mod file;
mod local;
mod options;
mod partition;
mod pool;
mod profile;
mod report;
mod sink;
mod slots;
mod staged;
mod types;
mod upload;
mod writer;

pub use compression::Compression;
pub use destination::{Destination, FileNaming};
pub use options::{Encodings, ParquetOptions, Statistics};
pub use partition::{NULL_PARTITION, partition_support};
pub use report::{ColumnStats, FileInfo};
pub use staged::Staged;
pub use types::{storage_schema, storage_type, supports_field, supports_type};
pub use writer::ParquetWriter;
