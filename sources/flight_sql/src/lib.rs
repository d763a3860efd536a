#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod announced;
mod cancel;
mod channel;
mod config;
mod connect;
mod credentials;
mod error;
mod fetch;
mod listing;
mod oauth;
mod source;
mod statement;
mod stream;
mod tls;
mod transaction;

pub use config::FlightSqlConfig;
pub use source::FlightSqlSource;
pub use stream::{FlightBatch, FlightStream};
pub use transaction::Transaction;

arrowload_core::register_source!(FlightSqlSource);
