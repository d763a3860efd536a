#![doc = include_str!("../README.md")]

mod column;
mod dialect;
mod encoding;
mod fault;
mod feed;
mod frame;
mod guess;
mod input;
mod layout;
mod masks;
mod nulls;
mod number;
mod options;
mod parse;
mod pool;
mod profile;
mod reader;
mod rules;
#[cfg(test)]
mod scan_tests;
mod sniff;
mod syntax;
mod text;
mod time;
mod tokens;
mod types;
mod unpack;
mod walk;
mod zip;

pub use dialect::{BlankLines, Compression, Dialect, Empty, Escape, LineEnd};
pub use fault::{Misfit, Misfits, RefusedRow, misfits};
pub use input::Input;
pub use layout::{ColumnPlan, Layout, Mark};
pub use options::{All, InferRows, Options, Ragged, Texts, Types};
pub use reader::{Aside, Lines, ReadOptions, Reader, prove};
pub use rules::Numbers;
pub use sniff::{layout, looks_like, sniff};
pub use syntax::Fault;
pub use types::{ColumnType, parse_type};
