#![doc = include_str!("../README.md")]

mod commit;
mod config;
mod error;
mod finish;
mod keys;
mod loader;
mod merge;
mod options;
mod partitions;
mod place;
mod predicate;
mod removal;
mod rules;
mod scan;
mod schema;
mod session;
mod spool;
mod stats;
mod table;
mod target;
mod types;

pub use config::DeltaLakeConfig;
pub use loader::DeltaLakeLoader;
pub use options::{DeltaLakeOptions, Nanoseconds, WhenMatched, WhenNotMatched, WhenNotMatchedBySource};
pub use session::DeltaLakeSession;

arrowload_core::register_loader!(DeltaLakeLoader);
