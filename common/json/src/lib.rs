#![doc = include_str!("../README.md")]

mod build;
mod fault;
mod feed;
mod layout;
mod lexer;
mod names;
mod node;
mod options;
mod parse;
mod path;
mod profile;
mod reader;
mod scalar;
mod scan;
mod sniff;
mod stops;

pub use arrowload_common_text_files::{
    All, Compression, InferRows, Input, Mark, Numbers, Types, parse_type,
};
pub use fault::{Fault, Misfit, Misfits, RefusedRow, misfits};
pub use layout::{ColumnPlan, Layout};
pub use node::is_readable;
pub use options::{DuplicateKeys, Format, Mixed, Options};
pub use reader::{Aside, Lines, ReadOptions, Reader, prove};
pub use sniff::{layout, sniff};
