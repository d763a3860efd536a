#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod decode;
mod error;
mod footer;
mod layout;
mod message;
mod reader;
mod schema;
mod swap;

pub use decode::{Decoded, Decoder};
pub use message::{End, Kind, end_of_stream, looks_like};
pub use reader::{IpcOptions, IpcReader};
pub use schema::{read_schema, refuse_twins};
