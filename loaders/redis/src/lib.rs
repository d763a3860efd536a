#![doc = include_str!("../README.md")]

mod around;
mod config;
mod encode;
mod error;
mod expiry;
mod hash;
mod key;
mod lane;
mod loader;
mod modules;
mod net;
mod nodes;
mod options;
mod packed;
mod pipeline;
mod read;
mod redirect;
mod resp;
mod rows;
mod session;
mod stage;
mod target;
mod tls;
mod types;

pub use config::RedisConfig;
pub use loader::RedisLoader;
pub use options::{
    Booleans, DataStructure, DistanceMetric, DuplicatePolicy, Encoding, ExpireAt, NullKey, Nulls,
    Overwrite, RedisOptions, StreamEntry, Times,
};
pub use read::RedisSource;
pub use session::RedisSession;

arrowload_core::register_loader!(RedisLoader);
arrowload_core::register_source!(RedisSource);
