//! From Arrow columns to the bytes of commands.

mod json;
mod text;
mod values;

pub(crate) use json::{length, object};
pub(crate) use text::{Format, Refusal};
pub(crate) use values::{Column, Values};
