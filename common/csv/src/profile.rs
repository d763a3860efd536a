//! Types are proved: what all values of a column are.

use arrowload_common_text_files::{Profile, Rules};

use crate::column::Cells;
use crate::nulls::Nulls;

/// Looks at the field `index` of each row; `line` says in which line a byte of the chunk is.
pub(crate) fn add(
    profile: &mut Profile,
    cells: Cells<'_>,
    index: usize,
    nulls: &Nulls,
    rules: &Rules,
    line: impl Fn(usize) -> u64,
) {
    let mut scratch = Vec::new();
    for field in cells.column(index) {
        if profile.is_text() {
            return;
        }
        let text = cells.text(field, &mut scratch);
        if nulls.may_be(text.len()) && nulls.is_null(text.bytes(), field.is_quoted()) {
            continue;
        }
        if profile.value(text, rules) {
            profile.decided(line(field.start()), text.bytes());
        }
    }
}
