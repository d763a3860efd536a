//! What a test does when the server or reader that it needs is missing.

use std::io::Write;

/// Whether `ARROWLOAD_REQUIRE`, names with commas between them, holds this one: then a skipped test is a failure.
pub fn is_required(name: &str) -> bool {
    std::env::var("ARROWLOAD_REQUIRE")
        .unwrap_or_default()
        .split(',')
        .any(|required| required.trim() == name)
}

/// Says why a test is skipped, or fails it if `ARROWLOAD_REQUIRE` names what is missing.
#[expect(clippy::panic, reason = "a required test fails")]
pub fn skip(name: &str, why: &str) {
    if is_required(name) {
        panic!("ARROWLOAD_REQUIRE names {name}, and {why}");
    }
    // Not `eprintln!`: of a test that passes, cargo shows nothing that went that way.
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}
