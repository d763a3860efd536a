#![doc = include_str!("../README.md")]

mod environment;
mod file;
mod interpolate;
mod layers;
mod resolve;

pub use layers::{ConnectionSummary, Connections, ConnectionsBuilder};
