#![doc = include_str!("../README.md")]

mod config;
mod decode;
mod encode;
mod error;
mod ledger;
mod loader;
mod options;
mod query;
mod session;
mod source;
mod target;
mod types;
mod walk;

pub use config::MongoConfig;
pub use decode::Decoder;
pub use loader::MongoLoader;
pub use options::{MongoOptions, Nulls, Submilliseconds};
pub use session::MongoSession;
pub use source::MongoSource;
pub use target::Resolved;
pub use walk::shape::Mixed;

arrowload_core::register_loader!(MongoLoader);
arrowload_core::register_source!(MongoSource);
