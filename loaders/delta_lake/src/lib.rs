#![doc = include_str!("../README.md")]

mod commit;
mod config;
mod error;
mod loader;
mod options;
mod place;
mod schema;
mod session;
mod stats;
mod table;
mod target;
mod types;

pub use config::DeltaLakeConfig;
pub use loader::DeltaLakeLoader;
pub use options::{DeltaLakeOptions, Nanoseconds, WhenMatched, WhenNotMatched, WhenNotMatchedBySource};
pub use session::DeltaLakeSession;

arrowload_core::register_loader!(DeltaLakeLoader);
