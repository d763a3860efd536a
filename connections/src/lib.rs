#![doc = include_str!("../README.md")]

mod backend;
mod builder;
mod connections;
mod ecosystem;
mod effective;
mod environment;
mod expand;
mod file;
mod interpolate;
mod lookup;
mod merge;
mod overlay;
mod profiles;

pub use builder::ConnectionsBuilder;
pub use connections::Connections;
pub use file::FoundFile;
pub use profiles::ConnectionSummary;
