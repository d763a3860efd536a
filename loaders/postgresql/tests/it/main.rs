//! The PostgreSQL loader from outside: conformance, types against the server's own text, modes, errors, crashes.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so and ends"
)]

mod aftermath;
mod by_default;
mod checksums;
mod clients;
mod concurrent;
mod conformance;
mod crash;
mod decimals;
mod declared;
mod errors;
mod existing;
mod hostile;
mod ledgers;
mod memory;
mod modes;
mod odd;
mod parallel;
mod plans;
mod proxy;
mod random;
mod read;
mod reader;
mod refusals;
mod resolved;
mod round_trips;
mod server;
mod skip;
mod support;
mod tls;
mod values;
mod vectors;
mod wire;
