//! The contract as its users meet it: options, registry, pipeline, and what plugin authors' compilers say.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on says so and ends"
)]

mod faults;
mod options;
mod pipeline;
mod promises;
mod reading;
mod registry;

/// The messages that plugin authors meet are part of the contract. Compilers word them differently, so they are compared
/// under the oldest one that the workspace supports.
#[test]
fn compile_errors() {
    let version = std::process::Command::new("rustc")
        .arg("--version")
        .output()
        .expect("rustc answers")
        .stdout;
    let version = String::from_utf8_lossy(&version).into_owned();
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass_*.rs");
    if version.starts_with(concat!("rustc ", env!("CARGO_PKG_RUST_VERSION"))) {
        cases.compile_fail("tests/ui/fail_*.rs");
    } else {
        println!(
            "skipped: messages are pinned for Rust {}, and this is {version}",
            env!("CARGO_PKG_RUST_VERSION")
        );
    }
}
