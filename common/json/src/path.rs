//! The way to the rows of a document.

use arrowload_common_text_files::invalid;
use arrowload_core::Result;

/// A step of the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The value of a key.
    Key(String),
    /// Every element of an array.
    Each,
    /// One element of an array, from 0.
    Element(u64),
}

/// The steps from a document to its rows. If they lead to an array, its elements are the rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RecordPath {
    pub(crate) steps: Vec<Step>,
    /// As the user wrote it.
    pub(crate) text: String,
}

impl RecordPath {
    /// `$`, then any of `.key`, `["key"]`, `[*]` and `[0]`.
    pub(crate) fn new(text: Option<&str>) -> Result<Self> {
        let Some(text) = text else {
            return Ok(Self::default());
        };
        let wrong = || {
            let message = format!(
                "`{text}` is no path to rows: it must be `$` and then steps such as `.key`, `[\"a key\"]`, `[*]` or `[0]`"
            );
            invalid("records", message)
        };
        let mut steps = Vec::new();
        let mut rest = text.trim().strip_prefix('$').ok_or_else(wrong)?;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                if end == 0 {
                    return Err(wrong());
                }
                steps.push(Step::Key(after[..end].to_owned()));
                rest = &after[end..];
            } else if let Some(after) = rest.strip_prefix("[\"") {
                let end = after.find("\"]").ok_or_else(wrong)?;
                steps.push(Step::Key(after[..end].to_owned()));
                rest = &after[end + 2..];
            } else {
                let after = rest.strip_prefix('[').ok_or_else(wrong)?;
                let (inside, after) = after.split_once(']').ok_or_else(wrong)?;
                steps.push(match inside {
                    "*" => Step::Each,
                    digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                        Step::Element(digits.parse().map_err(|_| wrong())?)
                    }
                    _ => return Err(wrong()),
                });
                rest = after;
            }
        }
        // The elements of an array are rows anyway.
        if steps.last() == Some(&Step::Each) {
            steps.pop();
        }
        Ok(Self {
            steps,
            text: text.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_to_rows() {
        let steps = |text: &str| RecordPath::new(Some(text)).map(|path| path.steps);
        let key = |name: &str| Step::Key(name.to_owned());
        assert_eq!(steps("$").expect("a path"), []);
        assert_eq!(
            steps("$.data.items[*]").expect("a path"),
            [key("data"), key("items")]
        );
        assert_eq!(
            steps("$[\"a.b\"][0].c[*].d").expect("a path"),
            [key("a.b"), Step::Element(0), key("c"), Step::Each, key("d")]
        );
        for wrong in [
            "", "data", "$.", "$..a", "$[x]", "$[-1]", "$a", "$[\"a]", "$[]",
        ] {
            assert!(steps(wrong).is_err(), "{wrong}");
        }
    }
}
