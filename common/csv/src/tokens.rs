//! Finds the rows and fields of a chunk, and counts its lines.

use crate::masks::{self, BLOCK, Block};
use crate::syntax::{Fault, Syntax};
use crate::walk::{Field, MAX_FIELD, Walk, Walked, is_blank};

/// A row that does not fit, by its bytes in the chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) fault: Fault,
}

/// What the lines of some bytes are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) rows: u64,
    pub(crate) row_lines: u64,
    pub(crate) refused: u64,
    pub(crate) refused_lines: u64,
    pub(crate) blank: u64,
    pub(crate) comments: u64,
}

impl Account {
    pub(crate) fn lines(&self) -> u64 {
        self.row_lines + self.refused_lines + self.blank + self.comments
    }
}

/// The fields of some rows, row after row, `width` of them each.
#[derive(Debug)]
pub(crate) struct Tokens {
    width: usize,
    pad: bool,
    pub(crate) fields: Vec<Field>,
    /// The fields before the row that is being read.
    complete: usize,
    /// Where the last row begins.
    last: usize,
    pub(crate) refused: Vec<Refused>,
    pub(crate) account: Account,
}

/// The bytes of a chunk: `len` of them, and a block of padding.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chunk<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) len: usize,
}

const NONE: usize = usize::MAX;
/// Blocks whose masks are made at once: 4 KiB of data.
const WINDOW: usize = 64;

impl Tokens {
    /// For rows of `width` fields, at least 1. Rows that are too short are padded if `pad` is set, else refused.
    pub(crate) fn new(width: usize, pad: bool) -> Self {
        Self {
            width,
            pad,
            fields: Vec::new(),
            complete: 0,
            last: 0,
            refused: Vec::new(),
            account: Account::default(),
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.fields.len() / self.width
    }

    /// Where the last row begins.
    pub(crate) fn last_start(&self) -> usize {
        self.last
    }

    /// Forgets the fields; the account and what was refused stay.
    pub(crate) fn clear(&mut self) {
        self.fields.clear();
        self.complete = 0;
    }

    /// Reads rows from `at` on until there are `max_rows` of them, and says where it stopped. The chunk is taken to its
    /// end: a row without a line end is a row.
    pub(crate) fn read(
        &mut self,
        syntax: &Syntax,
        chunk: Chunk<'_>,
        at: usize,
        max_rows: usize,
    ) -> usize {
        if syntax.is_plain() {
            self.read_fast(syntax, chunk, at, max_rows)
        } else {
            self.read_plain(syntax, chunk, at, max_rows)
        }
    }

    pub(crate) fn read_plain(
        &mut self,
        syntax: &Syntax,
        chunk: Chunk<'_>,
        mut at: usize,
        max_rows: usize,
    ) -> usize {
        let walk = Walk {
            syntax,
            data: chunk.data,
            end: chunk.len,
            last: true,
        };
        let limit = max_rows.saturating_mul(self.width);
        while at < chunk.len && self.fields.len() < limit {
            let fields = &mut self.fields;
            match walk.row(at, |field| fields.push(field)) {
                Walked::Row(next) => {
                    let multiline = self.fields[self.complete..]
                        .iter()
                        .any(|field| !field.is_plain());
                    let extra = if multiline {
                        syntax.lines(&chunk.data[at..next]).saturating_sub(1)
                    } else {
                        0
                    };
                    self.end_row(syntax, chunk.data, at, next, extra);
                    at = next;
                }
                Walked::Comment(next) => {
                    if syntax.comment_found && self.is_like_a_row(syntax, chunk.data, at, next) {
                        self.refuse(syntax, chunk.data, at, next, Fault::LikeComment);
                    } else {
                        self.account.comments += 1;
                    }
                    at = next;
                }
                Walked::Cut(next, fault) => {
                    self.refuse(syntax, chunk.data, at, next, fault);
                    at = next;
                }
                // Cannot be: the walk takes the end of the chunk for the end of the input.
                Walked::Partial => break,
            }
        }
        at
    }

    /// Whether a line that begins as comments do has the fields of a row.
    #[cold]
    fn is_like_a_row(&self, syntax: &Syntax, data: &[u8], at: usize, next: usize) -> bool {
        let mut plain = syntax.clone();
        plain.comment = None;
        let walk = Walk {
            syntax: &plain,
            data,
            end: next,
            last: true,
        };
        let mut fields = 0;
        match walk.row(at, |_| fields += 1) {
            Walked::Row(_) => self.width > 1 && fields == self.width,
            // The quote may be closed in another line.
            _ => fields < self.width,
        }
    }

    #[inline]
    fn end_row(&mut self, syntax: &Syntax, data: &[u8], start: usize, next: usize, extra: u64) {
        self.last = start;
        if self.fields.len() - self.complete == self.width && self.width > 1 {
            self.complete = self.fields.len();
            self.account.rows += 1;
            self.account.row_lines += 1 + extra;
        } else {
            self.end_odd_row(syntax, data, start, next, extra);
        }
    }

    #[cold]
    fn end_odd_row(&mut self, syntax: &Syntax, data: &[u8], start: usize, next: usize, extra: u64) {
        let count = self.fields.len() - self.complete;
        let first = self.fields[self.complete..].first().copied();
        let bare = first.filter(|field| count == 1 && field.is_plain());
        let blank = bare.is_some_and(|field| {
            let bytes = &data[field.start()..field.end()];
            if self.width == 1 {
                bytes.is_empty() && syntax.skip_blank
            } else {
                bytes
                    .iter()
                    .all(|byte| is_blank(*byte, syntax) || *byte == b'\r')
            }
        });
        if blank {
            self.fields.truncate(self.complete);
            self.account.blank += 1;
        } else if count == self.width || (self.pad && self.may_be_padded(count)) {
            let end = self.fields.last().map_or(start, |field| field.end());
            self.fields
                .resize(self.complete + self.width, Field::missing(end));
            self.complete = self.fields.len();
            self.account.rows += 1;
            self.account.row_lines += 1 + extra;
        } else {
            let fault = if count < self.width {
                Fault::Short(count)
            } else {
                Fault::Long(count)
            };
            self.refuse(syntax, data, start, next, fault);
        }
    }

    /// Whether a row can be made as long as the others with no value lost: it is shorter, or nothing is in the fields that are too
    /// many.
    fn may_be_padded(&self, count: usize) -> bool {
        count < self.width
            || self.fields[self.complete + self.width..]
                .iter()
                .all(|field| field.is_plain() && field.len() == 0)
    }

    /// Refuses the last row, which ends at `end`, if its bytes are not text.
    pub(crate) fn check_last(&mut self, syntax: &Syntax, data: &[u8], end: usize) {
        let start = self.last;
        if std::str::from_utf8(&data[start..end]).is_ok() {
            return;
        }
        self.complete -= self.width;
        self.account.rows -= 1;
        self.account.row_lines -= syntax.lines(&data[start..end]);
        self.refuse(syntax, data, start, end, Fault::NotText);
    }

    #[cold]
    fn refuse(&mut self, syntax: &Syntax, data: &[u8], start: usize, end: usize, fault: Fault) {
        self.fields.truncate(self.complete);
        self.refused.push(Refused { start, end, fault });
        self.account.refused += 1;
        self.account.refused_lines += syntax.lines(&data[start..end]);
    }

    fn read_fast(
        &mut self,
        syntax: &Syntax,
        chunk: Chunk<'_>,
        mut at: usize,
        max_rows: usize,
    ) -> usize {
        let limit = max_rows.saturating_mul(self.width);
        while at < chunk.len && self.fields.len() < limit {
            match self.scan(syntax, chunk, at, limit) {
                Scanned::To(next) => at = next,
                Scanned::Cut { row, open, fault } => {
                    let next = syntax.next_line(chunk.data, open, chunk.len);
                    self.refuse(syntax, chunk.data, row, next, fault);
                    at = next;
                }
            }
        }
        at
    }

    /// Goes over whole rows from `from` on, to the limit of fields, the end, or a malformed quote.
    fn scan(&mut self, syntax: &Syntax, chunk: Chunk<'_>, from: usize, limit: usize) -> Scanned {
        let Chunk { data, len } = chunk;
        let mut blocks = [Block::default(); WINDOW];
        let mut state = State {
            row: from,
            start: from,
            open: NONE,
            escaped: false,
            closed: None,
            extra: 0,
        };
        let mut base = from;
        while base < len {
            let count = masks::fill(&data[base..], len - base, syntax.needles(), &mut blocks);
            for block in &blocks[..count] {
                if block.quotes == 0 && state.open == NONE && state.closed.is_none() {
                    let mut bits = block.separators;
                    while bits != 0 {
                        let at = base + bits.trailing_zeros() as usize;
                        bits &= bits - 1;
                        if data[at] == syntax.first {
                            self.fields.push(Field::plain(state.start, at));
                            state.start = at + 1;
                        } else if at >= state.start {
                            self.line(syntax, data, len, at, &mut state);
                            if self.fields.len() >= limit {
                                return Scanned::To(state.start);
                            }
                        }
                    }
                } else {
                    match self.block(syntax, chunk, base, *block, &mut state, limit) {
                        Ok(()) => {}
                        Err(stopped) => return stopped,
                    }
                }
                base += BLOCK;
            }
        }
        if state.open != NONE {
            return state.cut(Fault::Unclosed);
        }
        let begun = self.fields.len() > self.complete || state.closed.is_some();
        if state.start < len || begun {
            let field = state
                .closed
                .take()
                .unwrap_or(Field::plain(state.start.min(len), len));
            self.fields.push(field);
            self.end_row(syntax, data, state.row, len, state.extra);
        }
        Scanned::To(len)
    }

    /// A line end at `at`.
    #[inline]
    fn line(&mut self, syntax: &Syntax, data: &[u8], len: usize, at: usize, state: &mut State) {
        let field = match state.closed.take() {
            Some(field) => field,
            None => {
                let returned = at > state.start && data[at] == b'\n' && data[at - 1] == b'\r';
                Field::plain(state.start, at - usize::from(returned))
            }
        };
        self.fields.push(field);
        let pair = data[at] == b'\r' && at + 1 < len && data[at + 1] == b'\n';
        let next = at + 1 + usize::from(pair);
        self.end_row(syntax, data, state.row, next, state.extra);
        state.row = next;
        state.start = next;
        state.extra = 0;
    }

    /// A block with quotes, or in quotes.
    fn block(
        &mut self,
        syntax: &Syntax,
        chunk: Chunk<'_>,
        base: usize,
        block: Block,
        state: &mut State,
        limit: usize,
    ) -> Result<(), Scanned> {
        let Chunk { data, len } = chunk;
        let every = block.separators | block.quotes;
        let mut bits = if state.open == NONE {
            every
        } else {
            block.quotes
        };
        while bits != 0 {
            let bit = bits.trailing_zeros();
            let at = base + bit as usize;
            bits &= bits - 1;
            // The second half of `\r\n` or of a doubled quote may be in this block.
            if at < state.start {
                continue;
            }
            let beyond = !(u64::MAX >> (63 - bit));
            if state.open != NONE {
                if at + 1 < len && Some(data[at + 1]) == syntax.quote {
                    state.escaped = true;
                    state.start = at + 2;
                    continue;
                }
                if at + 1 < len
                    && data[at + 1] != syntax.first
                    && syntax.line_end(data, at + 1, len) == 0
                {
                    return Err(state.cut(Fault::AfterQuote));
                }
                state.extra += syntax.line_ends(&data[state.open..at]);
                state.closed = Some(Field::quoted(state.open + 1, at, state.escaped));
                state.open = NONE;
                state.start = at + 1;
                bits = every & beyond;
            } else if Some(data[at]) == syntax.quote {
                if at == state.start && state.closed.is_none() {
                    state.open = at;
                    state.escaped = false;
                    state.start = at + 1;
                    bits = block.quotes & beyond;
                }
            } else if data[at] == syntax.first {
                let field = state.closed.take();
                self.fields
                    .push(field.unwrap_or(Field::plain(state.start, at)));
                state.start = at + 1;
            } else {
                self.line(syntax, data, len, at, state);
                if self.fields.len() >= limit {
                    return Err(Scanned::To(state.start));
                }
            }
        }
        Ok(())
    }
}

/// Where the scan is in its row.
struct State {
    /// Where the row begins.
    row: usize,
    /// Where the field begins, or, in quotes, before which nothing counts.
    start: usize,
    /// The opening quote of the field, or `NONE`.
    open: usize,
    escaped: bool,
    /// A quoted field that was closed, and whose separator has not come yet.
    closed: Option<Field>,
    /// Line ends in the quoted fields of the row.
    extra: u64,
}

impl State {
    fn cut(&self, fault: Fault) -> Scanned {
        Scanned::Cut {
            row: self.row,
            open: self.open,
            fault,
        }
    }
}

/// How a scan ended.
enum Scanned {
    To(usize),
    Cut {
        row: usize,
        open: usize,
        fault: Fault,
    },
}

/// Whether a row is too long for what a field can say.
pub(crate) fn too_long(bytes: usize) -> bool {
    bytes > MAX_FIELD
}
