#![doc = include_str!("../README.md")]

mod client;
mod connected;
mod destination;
mod linked;
mod load;
mod load_all;
mod query;
mod read;
mod replay;
mod table;

pub use client::{Client, ClientBuilder};
pub use destination::Destination;
pub use load::LoadBuilder;
pub use load_all::{DestinationOutcome, LoadAllBuilder};
pub use query::QueryBuilder;
pub use read::ReadBuilder;
pub use table::Table;

pub use arrowload_connections::{ConnectionSummary, Connections, FoundFile};
pub use arrowload_core::{
    AfterFailure, Aftermath, Atomicity, BatchStream, Capabilities, ColumnPlan, ConnectionKey,
    Error, ErrorKind, Guarantees, KeyCounts, Listed, Listing, LoadReport, LoadState, LoadStatus,
    LoaderDescriptor, Mode, NullKeys, OnError, Operator, Param, Params, Phase, Plan, Progress,
    Query, Registry, Rename, Result, Retry, Secret, SourceDescriptor, TypeSupport, Verify,
};

/// The options that files of a format are read with, as the embedded engine has them; `None` for a format that it does not know,
/// and without the feature `source-datafusion`.
pub fn read_options(format: &str) -> Option<core::KeySchema> {
    #[cfg(feature = "source-datafusion")]
    return source_datafusion::read_options(format);
    #[cfg(not(feature = "source-datafusion"))]
    {
        let _ = format;
        None
    }
}

/// For `.config(json!({ … }))`, without a dependency of your own.
pub use serde_json::json;

/// The contract, for those who write loaders and sources.
pub use arrowload_core as core;

/// The examples of the guide to the library compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/guide/library.md")]
mod guide {}
