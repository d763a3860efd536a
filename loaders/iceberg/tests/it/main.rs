//! The Iceberg loader from outside: conformance, and tables read back by PyIceberg and DuckDB.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so and ends"
)]

mod conformance;
mod kills;
mod postgresql;
mod races;
mod replace;
mod rest;
mod support;
mod tables;
mod upsert;
