#![doc = include_str!("../README.md")]

mod bits;
mod keys;
mod meeting;
mod old_values;
mod spool;
#[cfg(test)]
mod tests;

pub use meeting::{Counts, Meeting, Part, Target, meet};
pub use old_values::{OldValues, OldValuesSpool};
pub use spool::{Spool, Spooled};
