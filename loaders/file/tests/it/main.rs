//! The file loader from outside: conformance, formats, single files and folders.
#![expect(clippy::expect_used, reason = "a test that cannot go on says so and ends")]

mod conformance;
