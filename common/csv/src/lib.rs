#![doc = include_str!("../README.md")]

mod column;
mod dialect;
mod frame;
mod masks;
mod nulls;
mod number;
mod options;
mod profile;
mod rules;
#[cfg(test)]
mod scan_tests;
mod syntax;
mod text;
mod time;
mod tokens;
mod types;
mod walk;

pub use dialect::{BlankLines, Compression, Dialect, Empty, Escape, LineEnd};
pub use options::{All, InferRows, Options, Ragged, Texts, Types};
pub use rules::Numbers;
pub use syntax::Fault;
pub use types::{ColumnType, parse_type};
