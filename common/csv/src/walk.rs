//! The plain scanner: one row at a time, byte by byte, for every dialect. It is what the fast scanner is checked against.

use crate::syntax::{Fault, Syntax};

const QUOTED: u32 = 1 << 31;
const ESCAPED: u32 = 1 << 30;
/// The bytes of the longest field.
pub(crate) const MAX_FIELD: usize = (1 << 30) - 1;

/// Where the content of a field is in its chunk, without its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field {
    start: u32,
    len: u32,
}

impl Field {
    pub(crate) fn plain(start: usize, end: usize) -> Self {
        Self {
            start: start as u32,
            len: (end - start) as u32,
        }
    }

    pub(crate) fn quoted(start: usize, end: usize, escaped: bool) -> Self {
        let flags = if escaped { QUOTED | ESCAPED } else { QUOTED };
        Self {
            start: start as u32,
            len: (end - start) as u32 | flags,
        }
    }

    fn escaped(start: usize, end: usize) -> Self {
        Self {
            start: start as u32,
            len: (end - start) as u32 | ESCAPED,
        }
    }

    /// A field that a short row does not have.
    pub(crate) fn missing(at: usize) -> Self {
        Self::escaped(at, at)
    }

    /// Whether the row does not have it: what is escaped has a byte at least.
    pub(crate) fn is_missing(self) -> bool {
        self.len == ESCAPED
    }

    pub(crate) fn start(self) -> usize {
        self.start as usize
    }

    pub(crate) fn len(self) -> usize {
        (self.len & !(QUOTED | ESCAPED)) as usize
    }

    pub(crate) fn end(self) -> usize {
        self.start() + self.len()
    }

    pub(crate) fn is_quoted(self) -> bool {
        self.len & QUOTED != 0
    }

    /// Whether its content differs from its bytes.
    pub(crate) fn is_escaped(self) -> bool {
        self.len & ESCAPED != 0
    }

    /// Neither quoted nor escaped.
    pub(crate) fn is_plain(self) -> bool {
        self.len & (QUOTED | ESCAPED) == 0
    }
}

/// What was found from the beginning of a row on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walked {
    /// A row, and where the next one begins.
    Row(usize),
    /// A comment.
    Comment(usize),
    /// A row with a malformed quote, cut at the end of the line in which the quote opened.
    Cut(usize, Fault),
    /// The bytes so far do not show where the row ends.
    Partial,
}

/// The walk over one row.
pub(crate) struct Walk<'a> {
    pub(crate) syntax: &'a Syntax,
    pub(crate) data: &'a [u8],
    pub(crate) end: usize,
    /// Whether the input ends at `end`.
    pub(crate) last: bool,
}

enum Step {
    /// The position of what follows the field: a delimiter, a line end or the end.
    After(usize),
    Done(Walked),
}

impl Walk<'_> {
    /// Goes over the row that begins at `at`, which is before the end.
    pub(crate) fn row(&self, at: usize, mut emit: impl FnMut(Field)) -> Walked {
        let (syntax, data, end) = (self.syntax, self.data, self.end);
        if let Some(comment) = &syntax.comment {
            if data[at..end].starts_with(comment) {
                return match self.line_after(at) {
                    Some(next) => Walked::Comment(next),
                    None => Walked::Partial,
                };
            }
            if !self.last && comment.starts_with(&data[at..end]) {
                return Walked::Partial;
            }
        }
        let mut position = at;
        loop {
            let after = match self.field(position, &mut emit) {
                Step::After(after) => after,
                Step::Done(walked) => return walked,
            };
            if after >= end {
                return if self.last {
                    Walked::Row(end)
                } else {
                    Walked::Partial
                };
            }
            if syntax.is_delimiter(data, after, end) {
                position = after + syntax.delimiter.len();
                continue;
            }
            let next = after + syntax.line_end(data, after, end);
            if self.may_go_on(next) {
                return Walked::Partial;
            }
            return Walked::Row(next);
        }
    }

    /// Whether a line end that stops here may be the first half of `\r\n`.
    fn may_go_on(&self, next: usize) -> bool {
        !self.last && next == self.end && self.data[next - 1] == b'\r'
    }

    /// Where the next line begins, if that is known.
    fn line_after(&self, at: usize) -> Option<usize> {
        let next = self.syntax.next_line(self.data, at, self.end);
        let known = self.last || next < self.end || matches!(self.data[..next].last(), Some(b'\n'));
        known.then_some(next)
    }

    fn cut(&self, open: usize, fault: Fault) -> Step {
        Step::Done(match self.line_after(open) {
            Some(next) => Walked::Cut(next, fault),
            None => Walked::Partial,
        })
    }

    fn skip_blanks(&self, mut at: usize) -> usize {
        while self.syntax.trim && at < self.end && is_blank(self.data[at], self.syntax) {
            at += 1;
        }
        at
    }

    fn field(&self, at: usize, emit: &mut impl FnMut(Field)) -> Step {
        let start = self.skip_blanks(at);
        if start < self.end && self.syntax.quote == Some(self.data[start]) {
            self.quoted(start, emit)
        } else {
            self.unquoted(start, emit)
        }
    }

    /// Whether the escape at `at` stands for what follows it.
    fn escapes(&self, at: usize) -> bool {
        let Some(next) = self.data[..self.end].get(at + 1) else {
            return false;
        };
        let syntax = self.syntax;
        *next == syntax.first
            || Some(*next) == syntax.quote
            || Some(*next) == syntax.escape
            || matches!(next, b'\n' | b'\r')
    }

    fn unquoted(&self, start: usize, emit: &mut impl FnMut(Field)) -> Step {
        let (syntax, data, end) = (self.syntax, self.data, self.end);
        let (mut at, mut escaped) = (start, false);
        while at < end {
            let byte = data[at];
            if Some(byte) == syntax.escape && self.escapes(at) {
                escaped = true;
                at += 2;
                continue;
            }
            if syntax.is_delimiter(data, at, end) || syntax.line_end(data, at, end) > 0 {
                break;
            }
            at += 1;
        }
        let mut stop = at.min(end);
        if syntax.trim && !escaped {
            while stop > start && is_blank(data[stop - 1], syntax) {
                stop -= 1;
            }
        }
        emit(if escaped {
            Field::escaped(start, stop)
        } else {
            Field::plain(start, stop)
        });
        Step::After(at)
    }

    fn quoted(&self, open: usize, emit: &mut impl FnMut(Field)) -> Step {
        let (syntax, data, end) = (self.syntax, self.data, self.end);
        let (mut at, mut escaped) = (open + 1, false);
        while at < end {
            let byte = data[at];
            if Some(byte) == syntax.escape && self.escapes(at) {
                escaped = true;
                at += 2;
            } else if Some(byte) != syntax.quote {
                at += 1;
            } else if syntax.doubled && at + 1 < end && Some(data[at + 1]) == syntax.quote {
                escaped = true;
                at += 2;
            } else {
                return self.closed(open, at, escaped, emit);
            }
        }
        if self.last {
            self.cut(open, Fault::Unclosed)
        } else {
            Step::Done(Walked::Partial)
        }
    }

    fn closed(
        &self,
        open: usize,
        close: usize,
        escaped: bool,
        emit: &mut impl FnMut(Field),
    ) -> Step {
        let (syntax, data, end) = (self.syntax, self.data, self.end);
        let after = self.skip_blanks(close + 1);
        let ends = after >= end
            || syntax.is_delimiter(data, after, end)
            || syntax.line_end(data, after, end) > 0;
        if ends {
            emit(Field::quoted(open + 1, close, escaped));
            return Step::After(after);
        }
        let half_delimiter = end - after < syntax.delimiter.len();
        let half_line_end = after + 1 == end && data[after] == b'\r';
        if !self.last && (half_delimiter || half_line_end) {
            return Step::Done(Walked::Partial);
        }
        self.cut(open, Fault::AfterQuote)
    }
}

/// A space or tab that is not the delimiter.
pub(crate) fn is_blank(byte: u8, syntax: &Syntax) -> bool {
    matches!(byte, b' ' | b'\t') && byte != syntax.first
}

/// Adds the content of an escaped field.
pub(crate) fn unescape(syntax: &Syntax, content: &[u8], quoted: bool, out: &mut Vec<u8>) {
    let mut at = 0;
    while at < content.len() {
        let byte = content[at];
        let next = content.get(at + 1);
        let by_escape = Some(byte) == syntax.escape
            && next.is_some_and(|next| {
                *next == syntax.first
                    || Some(*next) == syntax.quote
                    || Some(*next) == syntax.escape
                    || matches!(next, b'\n' | b'\r')
            });
        let by_quote =
            quoted && syntax.doubled && Some(byte) == syntax.quote && next == Some(&byte);
        if by_escape || by_quote {
            out.extend(next);
            at += 2;
        } else {
            out.push(byte);
            at += 1;
        }
    }
}
