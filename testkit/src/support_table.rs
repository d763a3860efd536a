//! The table of types of a loader, in its README or a file of its own, made from what the suite saw.

use std::path::Path;

use crate::ConformanceReport;

const BEGIN: &str = "<!-- support-table:begin -->\n";
const END: &str = "<!-- support-table:end -->";

/// Compares the table between the markers of a file with what the suite saw; rewrites it if `ARROWLOAD_BLESS` is set.
#[expect(
    clippy::panic,
    clippy::expect_used,
    reason = "this is an assertion about a file of the crate under test"
)]
pub fn check_support_table(report: &ConformanceReport, file: &Path) {
    let text = std::fs::read_to_string(file).expect("the file is there");
    let parts = text
        .split_once(BEGIN)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let Some((before, after)) = parts else {
        panic!("{} lacks the markers {BEGIN}{END}", file.display())
    };
    let made = format!("{before}{BEGIN}{}{END}{after}", report.support_table());
    if std::env::var_os("ARROWLOAD_BLESS").is_some() {
        std::fs::write(file, made).expect("the file can be written");
    } else {
        assert!(
            text == made,
            "the table of types in {} is out of date; run the tests with ARROWLOAD_BLESS=1",
            file.display()
        );
    }
}
