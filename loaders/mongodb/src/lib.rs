#![doc = include_str!("../README.md")]

mod config;
mod error;
mod query;
mod source;
mod walk;

pub use config::MongoConfig;
pub use source::MongoSource;
pub use walk::shape::Mixed;

arrowload_core::register_source!(MongoSource);
