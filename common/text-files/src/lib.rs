#![doc = include_str!("../README.md")]

mod encoding;
mod float;
mod input;
pub mod number;
mod options;
mod pool;
mod profile;
mod rules;
mod text;
pub mod time;
mod types;
mod unpack;
mod zip;

pub use input::{HEAD, Input, Opening, from_io, read_up_to};
pub use options::{All, InferRows, Mark, Types, invalid};
pub use pool::{Chunks, Pool, Work, cores};
pub use profile::{Class, Likely, Number, NumberProfile, Profile, classify, number_of, shown};
pub use rules::{Numbers, Rules};
pub use text::Text;
pub use types::{ColumnType, UTC, check_supported, decimal, is_supported, parse_type};
pub use unpack::Compression;
