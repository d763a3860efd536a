#![doc = include_str!("../README.md")]

mod apply;
mod catalog;
mod config;
mod connect;
mod copy;
mod encode;
mod error;
mod ident;
mod layout;
mod ledger;
mod loader;
mod matrix;
mod options;
mod passfile;
mod session;
mod tls;
mod types;

pub use config::{PostgresqlConfig, SslMode};
pub use encode::CopyEncoder;
pub use loader::PostgresqlLoader;
pub use options::{Case, OnConflict, PostgresqlOptions};
pub use session::PostgresqlSession;

arrowload_core::register_loader!(PostgresqlLoader);
