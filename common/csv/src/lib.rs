#![doc = include_str!("../README.md")]

mod column;
mod dialect;
mod fault;
mod feed;
mod frame;
mod guess;
mod header;
mod layout;
mod masks;
mod nulls;
mod options;
mod parse;
mod profile;
mod reader;
mod rules;
#[cfg(test)]
mod scan_tests;
mod sniff;
mod syntax;
mod tokens;
mod walk;

pub use arrowload_common_text_files::{
    All, ColumnType, Compression, InferRows, Input, Mark, Numbers, Types, parse_type,
};
pub use dialect::{BlankLines, Dialect, Empty, Escape, LineEnd};
pub use fault::{Misfit, Misfits, RefusedRow, misfits};
pub use layout::{ColumnPlan, Layout};
pub use options::{Options, Ragged, Texts};
pub use reader::{Aside, Lines, ReadOptions, Reader, prove};
pub use sniff::{layout, looks_like, sniff};
pub use syntax::Fault;
