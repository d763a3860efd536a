#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod access;
mod error;
mod keys;
mod location;
mod open;
mod task;

pub use access::keep_access;
pub use error::{Fault, from_io, from_store, said};
pub use keys::{check_key, settings};
pub use location::{Location, check_scheme, real_path};
pub use open::open;
pub use task::{blocking, from_join};
