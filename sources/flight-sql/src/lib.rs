#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod config;
mod connect;
mod error;
mod fetch;
mod source;
mod tls;

pub use config::FlightSqlConfig;
pub use source::FlightSqlSource;

arrowload_core::register_source!(FlightSqlSource);
