#![doc = include_str!("../README.md")]

mod client;
mod connected;
mod destination;
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

pub use arrowload_connections::{ConnectionSummary, Connections};
pub use arrowload_core::{
    AfterFailure, Aftermath, Atomicity, BatchStream, Capabilities, ColumnPlan, ConnectionKey,
    Error, ErrorKind, Guarantees, KeyCounts, Listed, Listing, LoadReport, LoadState, LoadStatus,
    LoaderDescriptor, Mode, NullKeys, OnError, Operator, Param, Params, Phase, Plan, Progress,
    Query, Registry, Rename, Result, Retry, Secret, SourceDescriptor, TypeSupport, Verify,
};

/// The options that files of a format are read with, as the embedded engine has them.
#[cfg(feature = "source-datafusion")]
pub use arrowload_datafusion::read_options;

/// The contract, for those who write loaders and sources.
pub use arrowload_core as core;

// Registration is linking: a crate that is not named here would be dropped by the linker.
#[cfg(feature = "source-datafusion")]
use arrowload_datafusion as _;
#[cfg(feature = "loader-delta-lake")]
use arrowload_delta_lake as _;
#[cfg(feature = "loader-file")]
use arrowload_file as _;
#[cfg(feature = "source-flight-sql")]
use arrowload_flight_sql as _;
#[cfg(feature = "loader-iceberg")]
use arrowload_iceberg as _;
#[cfg(feature = "loader-mongodb")]
use arrowload_mongodb as _;
#[cfg(feature = "loader-postgresql")]
use arrowload_postgresql as _;
#[cfg(feature = "loader-redis")]
use arrowload_redis as _;
