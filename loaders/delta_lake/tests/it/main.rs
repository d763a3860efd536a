//! The Delta Lake loader from outside: conformance, and tables read back by Python's `deltalake`.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so and ends"
)]

mod after;
mod conformance;
mod contract;
mod full_disk;
mod places;
mod races;
mod replace;
mod rules;
#[cfg(feature = "aws")]
mod s3;
mod source;
mod spark;
mod support;
mod tables;
mod upsert;
