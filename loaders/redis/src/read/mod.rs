//! Reading Redis as a source.

mod decode;
mod hashes;
mod listing;
mod source;
mod sql;
mod streams;

pub use source::RedisSource;
