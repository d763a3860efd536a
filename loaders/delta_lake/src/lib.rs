#![doc = include_str!("../README.md")]

mod after;
mod commit;
mod config;
mod error;
#[cfg(test)]
mod faults;
mod finish;
mod keys;
mod loader;
mod merge;
mod options;
mod partitions;
mod physical;
mod place;
mod predicate;
mod removal;
mod rules;
mod scan;
mod schema;
mod session;
mod source;
mod spark;
mod spool;
mod stats;
mod table;
mod target;
mod types;
mod verify;

pub use config::{DeltaLakeConfig, DeltaLakeSourceConfig};
pub use loader::DeltaLakeLoader;
pub use options::{
    DeltaLakeOptions, Nanoseconds, WhenMatched, WhenNotMatched, WhenNotMatchedBySource,
};
pub use session::DeltaLakeSession;
pub use source::DeltaLakeSource;

arrowload_core::register_loader!(DeltaLakeLoader);
arrowload_core::register_source!(DeltaLakeSource);
