#![doc = include_str!("../README.md")]

pub mod arrow_types;
mod capabilities;
mod checksum;
mod dead_letter;
mod definition;
mod erased;
mod error;
mod frames;
mod guarantees;
mod handle;
mod keys;
mod listing;
mod loader;
pub mod memory;
mod options;
mod panics;
mod params;
mod pipeline;
mod plan;
mod query_progress;
mod reading;
mod rebatch;
mod registry;
mod report;
mod schema;
mod secret;
mod settings;
mod size;
mod source;
mod stream;
mod target_names;
mod url;

pub use arrow_types::relabel;
pub use capabilities::{Atomicity, BatchSize, Capabilities, Mode, TypeSupport};
pub use checksum::{Checksums, ColumnChecksum};
pub use dead_letter::{CODE, DeadLetterOrigin, REASON, ROW, Rejects, read_dead_letters};
pub use definition::{Definition, Mark};
pub use error::{Error, ErrorKind, Result, Retry};
pub use guarantees::{AfterFailure, Aftermath, Guarantees};
pub use handle::{Loader, Source};
pub use listing::{Listed, Listing};
pub use loader::{Begun, DataLoader, LoadRequest, LoadSession};
pub use options::{
    ChangeLimit, ChangeLimits, LoadOptions, NullKeys, OnError, SplitSettings, Verify,
};
pub use params::{Param, Params, Query};
pub use pipeline::{
    Destination, Input, LoadSpec, LoadStatus, OnProgress, Operator, Phase, Rename,
    describe_metrics, load, load_all, plan as plan_load, plan_all,
};
pub use plan::{ColumnPlan, Plan, TargetColumn, TargetColumns};
pub use query_progress::QueryProgress;
pub use reading::{
    Found, Reading, UNPARSED_BYTES, UNPARSED_FILE, UNPARSED_LINE, UNPARSED_OPTIONS, Unparsed,
    UnparsedRow,
};
pub use registry::{LoaderDescriptor, Registry, SourceDescriptor, is_snake_case, not_linked};
pub use report::{KeyCounts, LoadReport, LoadState, Prepared, Progress, Receipt};
pub use schema::ColumnMapping;
pub use secret::Secret;
pub use settings::{ConnectionKey, KeySchema, Setting, Settings, looks_secret, nearest};
pub use size::batch_bytes;
pub use source::DataSource;
pub use stream::BatchStream;
pub use target_names::TargetNames;
pub use url::{ConnectionUrl, hosts, url_scheme, url_to_config};

/// What the macros expand to. Not part of the public surface.
#[doc(hidden)]
pub mod __private {
    pub use inventory;

    pub use crate::pipeline::count_unconnected;
}
