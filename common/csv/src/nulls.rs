//! Which texts mean null.

use crate::dialect::{Dialect, Empty};

/// The rule of a file, for text or for other columns.
#[derive(Debug, Clone)]
pub(crate) struct Nulls {
    texts: Vec<Box<[u8]>>,
    /// The lengths of the texts as bits, so that most values can be excluded at once.
    lengths: u64,
    plain_empty: bool,
    quoted_empty: bool,
}

impl Nulls {
    pub(crate) fn new(dialect: &Dialect, text_column: bool) -> Self {
        let texts: Vec<Box<[u8]>> = dialect
            .null_text
            .iter()
            .filter(|text| !text.is_empty())
            .map(|text| text.as_bytes().into())
            .collect();
        let (plain_empty, quoted_empty) = match (dialect.empty, text_column) {
            (Empty::Auto, false) => (true, false),
            (Empty::Auto, true) => {
                let listed = dialect.null_text.iter().any(String::is_empty);
                (listed || texts.is_empty(), false)
            }
            (Empty::Null, _) | (Empty::Text, false) => (true, true),
            (Empty::Text, true) => (false, false),
        };
        let mut lengths = u64::from(plain_empty || quoted_empty);
        for text in &texts {
            lengths |= 1 << text.len().min(63);
        }
        Self {
            texts,
            lengths,
            plain_empty,
            quoted_empty,
        }
    }

    /// Whether a value of this length may be null.
    #[inline]
    pub(crate) fn may_be(&self, len: usize) -> bool {
        self.lengths >> len.min(63) & 1 != 0
    }

    pub(crate) fn is_null(&self, bytes: &[u8], quoted: bool) -> bool {
        match (bytes.is_empty(), quoted) {
            (true, false) => self.plain_empty,
            (true, true) => self.quoted_empty,
            (false, false) => self.texts.iter().any(|text| **text == *bytes),
            (false, true) => false,
        }
    }
}
