//! MongoDB from outside, through a real socket: to the test kit's emulator, unless `MONGODB_TEST_URI` names a deployment.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so and ends"
)]

mod both;
mod conformance;
mod corpus;
mod loading;
mod reader;
mod reading;
mod support;
mod types;
