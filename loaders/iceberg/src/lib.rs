#![doc = include_str!("../README.md")]

mod catalog;
mod columns;
mod commit;
mod config;
mod deletes;
mod error;
mod evolve;
mod ledger;
mod load;
mod loader;
mod merge;
mod metrics;
mod options;
mod partitions;
mod plan;
mod predicate;
mod removal;
mod resolve;
mod scan;
mod schema;
mod session;
mod snapshot;
mod storage;
mod table;
mod target;
#[cfg(test)]
mod tests;
mod types;
mod verify;
mod writer;

pub use config::{CatalogType, IcebergConfig};
pub use loader::{IcebergLoader, IcebergTarget};
pub use options::{IcebergOptions, Nanoseconds};
pub use session::IcebergSession;

arrowload_core::register_loader!(IcebergLoader);
