//! The Redis loader from outside: each data structure read back by `redis-cli` and redis-py, conformance, faults, cluster.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so and ends"
)]

mod cluster;
mod config;
mod conformance;
mod connections;
mod emulator;
mod faults;
mod hashes;
mod leases;
mod modes;
mod ownership;
mod promises;
mod proxy;
mod questions;
mod read;
mod reader;
mod structures;
mod support;
