#![doc = include_str!("../README.md")]

mod config;
mod encode;
mod error;
mod expiry;
mod key;
mod lane;
mod lease;
mod ledger;
mod limits;
mod loader;
mod modules;
mod net;
mod nodes;
mod options;
mod own;
mod packed;
mod pipeline;
mod pool;
mod publish;
mod read;
mod record;
mod redirect;
mod resp;
mod sender;
mod session;
mod stage;
mod structures;
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
