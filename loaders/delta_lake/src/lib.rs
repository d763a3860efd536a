#![doc = include_str!("../README.md")]

mod after;
mod batch;
mod columns;
mod commit;
mod config;
mod error;
mod finish;
mod lease;
mod ledger;
mod listing;
mod load;
mod loader;
mod merge;
mod options;
mod partitions;
mod physical;
mod place;
mod plan;
mod predicate;
mod removal;
mod resolve;
mod rules;
mod scan;
mod schema;
mod session;
mod source;
mod spark;
mod stats;
mod table;
mod target;
#[cfg(test)]
mod tests;
mod types;
mod verify;
mod versions;

pub use config::{DeltaLakeConfig, DeltaLakeSourceConfig};
pub use loader::{DeltaLakeLoader, DeltaLakeTarget};
pub use options::{
    DeltaLakeOptions, Nanoseconds, WhenMatched, WhenNotMatched, WhenNotMatchedBySource,
};
pub use session::DeltaLakeSession;
pub use source::DeltaLakeSource;

arrowload_core::register_loader!(DeltaLakeLoader);
arrowload_core::register_source!(DeltaLakeSource);
