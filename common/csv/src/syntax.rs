//! A dialect in the form that the scanners use, and what they have in common: line ends and faults.

use crate::dialect::{BlankLines, Dialect, Escape};
use crate::masks::Needles;

/// What makes rows and fields, and nothing else of a dialect.
#[derive(Debug, Clone)]
pub(crate) struct Syntax {
    pub(crate) delimiter: Box<[u8]>,
    pub(crate) first: u8,
    pub(crate) quote: Option<u8>,
    pub(crate) doubled: bool,
    pub(crate) escape: Option<u8>,
    pub(crate) lone_cr: bool,
    pub(crate) comment: Option<Box<[u8]>>,
    pub(crate) comment_found: bool,
    pub(crate) trim: bool,
    /// Whether an empty line is left out also where rows have one field.
    pub(crate) skip_blank: bool,
}

impl Syntax {
    pub(crate) fn new(dialect: &Dialect) -> Self {
        let delimiter: Box<[u8]> = dialect.delimiter.as_bytes().into();
        let escape = match dialect.escape {
            Escape::Byte(byte) if Some(byte) != dialect.quote => Some(byte),
            _ => None,
        };
        Self {
            first: delimiter.first().copied().unwrap_or(b','),
            delimiter,
            quote: dialect.quote,
            doubled: dialect.escape != Escape::None,
            escape,
            lone_cr: dialect.line_end.lone_cr(),
            comment: dialect.comment.as_ref().map(|text| text.as_bytes().into()),
            comment_found: dialect.comment_found,
            trim: dialect.trim,
            skip_blank: dialect.blank_lines == BlankLines::Skip,
        }
    }

    /// Whether the fast scanner knows this syntax.
    pub(crate) fn is_plain(&self) -> bool {
        self.delimiter.len() == 1
            && self.escape.is_none()
            && (self.doubled || self.quote.is_none())
            && self.comment.is_none()
            && !self.trim
    }

    pub(crate) fn needles(&self) -> Needles {
        let cr = if self.lone_cr { b'\r' } else { b'\n' };
        Needles {
            separators: [self.first, b'\n', cr],
            quote: self.quote,
        }
    }

    pub(crate) fn is_delimiter(&self, data: &[u8], at: usize, end: usize) -> bool {
        data[at] == self.first
            && (self.delimiter.len() == 1 || data[at..end].starts_with(&self.delimiter))
    }

    /// The length of the line end at `at`, in bytes, or 0.
    pub(crate) fn line_end(&self, data: &[u8], at: usize, end: usize) -> usize {
        match data[at] {
            b'\n' => 1,
            b'\r' if at + 1 < end && data[at + 1] == b'\n' => 2,
            b'\r' if self.lone_cr => 1,
            _ => 0,
        }
    }

    /// Where the line after the one that `at` is in begins: `end` for the last line.
    pub(crate) fn next_line(&self, data: &[u8], at: usize, end: usize) -> usize {
        let found = if self.lone_cr {
            memchr::memchr2(b'\n', b'\r', &data[at..end])
        } else {
            memchr::memchr(b'\n', &data[at..end])
        };
        match found {
            None => end,
            Some(offset) => {
                let position = at + offset;
                position + self.line_end(data, position, end)
            }
        }
    }

    /// The line ends in some bytes, and one more for a last line without.
    pub(crate) fn lines(&self, bytes: &[u8]) -> u64 {
        let ends = self.line_ends(bytes);
        let ended = match bytes.last() {
            None | Some(b'\n') => true,
            Some(b'\r') => self.lone_cr,
            Some(_) => false,
        };
        ends + u64::from(!ended)
    }

    /// The line ends in some bytes.
    pub(crate) fn line_ends(&self, bytes: &[u8]) -> u64 {
        let feeds = memchr::memchr_iter(b'\n', bytes).count();
        if !self.lone_cr {
            return feeds as u64;
        }
        let returns = memchr::memchr_iter(b'\r', bytes)
            .filter(|at| bytes.get(at + 1) != Some(&b'\n'))
            .count();
        (feeds + returns) as u64
    }
}

/// Why a row does not fit its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// It has this many fields, which are too few.
    Short(usize),
    /// It has this many fields, which are too many.
    Long(usize),
    /// A quoted field is followed by text.
    AfterQuote,
    /// A quoted field is never closed.
    Unclosed,
    /// It has bytes that are not text in the file's encoding.
    NotText,
    /// It begins as comments were found to, and has the fields of a row.
    LikeComment,
    /// It has a value that does not fit the declared type of its column.
    Misfit,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Short(fields) => write!(f, "the row is too short: {fields} fields"),
            Self::Long(fields) => write!(f, "the row is too long: {fields} fields"),
            Self::AfterQuote => f.write_str("text follows a closing quote"),
            Self::Unclosed => f.write_str("a quote is not closed"),
            Self::NotText => f.write_str("the row has bytes that are no text"),
            Self::LikeComment => {
                f.write_str("the line begins as comments do, and has the fields of a row")
            }
            Self::Misfit => f.write_str("a value does not fit the declared type of its column"),
        }
    }
}
