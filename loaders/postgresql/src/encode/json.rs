//! `json` and `jsonb` from nested values, in the profile that `arrowload_common_text` has for them.

use arrow_array::ArrayRef;
use arrowload_common_text::{Column as Values, Format, Nul};

use super::bind::Frame;
use super::column::{Column, Reason};
use super::conversion::TextTarget;
use super::staged::staged;
use super::text::JSONB_VERSION;

pub(super) fn column(
    array: &ArrayRef,
    frame: Frame,
    target: &TextTarget,
    binary: bool,
) -> Box<dyn Column> {
    let values = Values::new(array);
    let replacement = target.replace_nul.clone();
    staged(frame, move |index, out| {
        let format = Format {
            nul: replacement.as_deref().map_or(Nul::Refuse, Nul::Replace),
            ..Format::POSTGRES_JSON
        };
        if binary {
            out.push(JSONB_VERSION);
        }
        values
            .json(index, &format, out)
            .map_err(|why| Reason::new(format!("the value {why}")))
    })
}
