//! Infers the type of a column from all of its values.

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
    let mut fields = cells.column(index);
    while !profile.is_text() {
        let mut likely = profile.likely(rules);
        let other = fields.find(|field| {
            if field.is_escaped() {
                return true;
            }
            let (len, tail) = (field.len(), &cells.data[field.start()..]);
            if nulls.may_be(len) && nulls.is_null(&tail[..len], field.is_quoted()) {
                return false;
            }
            !likely.holds(tail, len)
        });
        profile.take(likely);
        let Some(field) = other else {
            return;
        };
        let (tail, len) = cells.text(field, &mut scratch).parts();
        // Its content may be what stands for null, if it was escaped.
        let null = nulls.may_be(len) && nulls.is_null(&tail[..len], field.is_quoted());
        if !null && profile.value(tail, len, rules) {
            profile.decided(line(field.start()), &tail[..len]);
        }
    }
}
