#![doc = include_str!("../README.md")]

mod apply;
mod catalog;
mod config;
mod config_service;
mod config_url;
mod connect;
mod copy;
mod declared;
mod decode;
mod encode;
mod error;
mod ident;
mod lanes;
mod layout;
mod ledger;
mod loader;
mod matrix;
mod options;
mod parallel;
mod passfile;
mod privileges;
mod read;
mod session;
mod target;
mod tls;
mod types;
mod variables;
mod verify;

pub use config::{
    ChannelBinding, GssEncMode, LoadBalanceHosts, PostgresqlConfig, ReadNumeric, SslMode,
    SslNegotiation, TargetSessionAttrs,
};
pub use encode::CopyEncoder;
pub use loader::PostgresqlLoader;
pub use options::{Case, OnConflict, PostgresqlOptions};
pub use read::PostgresqlSource;
pub use session::PostgresqlSession;
pub use target::PostgresqlTarget;

arrowload_core::register_loader!(PostgresqlLoader);
arrowload_core::register_source!(PostgresqlSource);
