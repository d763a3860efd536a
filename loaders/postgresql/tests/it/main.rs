//! The PostgreSQL loader from outside: conformance, types against the server's own text, modes, errors, crashes.
#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on says so and ends")]

mod checksums;
mod conformance;
mod decimals;
mod errors;
mod existing;
mod modes;
mod read;
mod reader;
mod server;
mod support;
mod values;
