//! The file loader from outside: conformance, formats, single files and folders.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so and ends"
)]

mod conformance;
mod crash;
mod files;
mod folders;
mod formats;
mod full_disk;
mod gate;
mod leftovers;
mod promises;
#[cfg(feature = "aws")]
mod s3;
mod said;
mod support;
mod text;
