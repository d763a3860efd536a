//! The suite over the reference loader, and over loaders that are broken on purpose.

#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on says so and ends"
)]

mod faults;
mod full_disk;
mod memory;
mod mutants;
mod postgres;
