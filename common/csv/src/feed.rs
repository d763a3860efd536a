//! Chunks of whole rows, one after the other.

use std::io::Read;

use arrowload_common_text_files::{Chunks, Input, from_io, read_up_to};
use arrowload_core::{Error, ErrorKind, Result};

use crate::frame::Framer;
use crate::layout::Layout;
use crate::masks::BLOCK;
use crate::syntax::Syntax;

/// The bytes that a chunk has, at least, unless the file ends.
const CHUNK: usize = 1 << 20;

/// Like [`CHUNK`], for chunks that do not become batches: the bytes are still in the cache when they are examined.
pub(crate) const SMALL_CHUNK: usize = 1 << 18;

/// Cuts a file into chunks.
pub(crate) struct Feed {
    syntax: Syntax,
    framer: Framer,
    /// The part of the head that is still to be read.
    head: Vec<u8>,
    at: usize,
    rest: Box<dyn Read + Send>,
    /// What the last chunk left.
    carry: Vec<u8>,
    ended: bool,
    footer: u64,
    max_row_bytes: usize,
    chunk: usize,
    pub(crate) footer_lines: u64,
}

impl Feed {
    pub(crate) fn new(input: Input, layout: &Layout, syntax: Syntax) -> Self {
        let (head, rest) = input.into_parts();
        Self {
            syntax,
            framer: Framer::default(),
            at: layout.start.min(head.len()),
            head,
            rest,
            carry: Vec::new(),
            ended: false,
            footer: layout.dialect.footer,
            max_row_bytes: layout.max_row_bytes,
            chunk: CHUNK,
            footer_lines: 0,
        }
    }

    /// With chunks of another size; in tests, of so few bytes that a few rows have several.
    #[must_use]
    pub(crate) fn with_chunk(mut self, bytes: usize) -> Self {
        self.chunk = bytes;
        self
    }

    fn more(&mut self, count: usize, out: &mut Vec<u8>) -> Result<()> {
        let known = &self.head[self.at..];
        let taken = known.len().min(count);
        out.extend_from_slice(&known[..taken]);
        self.at += taken;
        if self.at == self.head.len() {
            self.head = Vec::new();
            self.at = 0;
        }
        if taken < count {
            self.ended =
                read_up_to(&mut *self.rest, count - taken, out).map_err(|error| from_io(&error))?;
        }
        Ok(())
    }

    fn cut_footer(&mut self, buffer: &mut Vec<u8>) {
        let (end, lines) = last_lines(&self.syntax, buffer, self.footer);
        self.footer_lines = lines;
        buffer.truncate(end);
    }
}

impl Chunks for Feed {
    /// How many bytes of the chunk count.
    type Note = usize;

    /// Fills the buffer with the next chunk and a block of padding, and returns how many bytes of it count; `None` at the end.
    fn fill(&mut self, buffer: &mut Vec<u8>) -> Result<Option<usize>> {
        buffer.clear();
        buffer.append(&mut self.carry);
        if self.ended && buffer.is_empty() {
            return Ok(None);
        }
        loop {
            // A step in proportion to the row keeps the work on a very long row linear, and reads little beyond it.
            let wanted = (buffer.len() / 4).max(self.chunk);
            if !self.ended {
                self.more(wanted, buffer)?;
            }
            if self.ended {
                self.cut_footer(buffer);
                self.carry.clear();
                break;
            }
            let (end, _) = last_lines(&self.syntax, buffer, self.footer);
            let too_long = buffer.len() > self.max_row_bytes;
            let mut boundary = self.framer.boundary(&self.syntax, &buffer[..end], false);
            if boundary == 0 && too_long {
                boundary = self.framer.boundary(&self.syntax, &buffer[..end], true);
                if boundary == 0 {
                    let message = format!(
                        "a row is longer than `max_row_bytes`, {} bytes",
                        self.max_row_bytes
                    );
                    return Err(Error::new(ErrorKind::LimitExceeded, message));
                }
            }
            if boundary > 0 {
                self.carry.extend_from_slice(&buffer[boundary..]);
                buffer.truncate(boundary);
                break;
            }
        }
        let len = buffer.len();
        buffer.resize(len + BLOCK, 0);
        Ok(Some(len))
    }
}

/// Where the last so many lines begin, and how many of them there are.
pub(crate) fn last_lines(syntax: &Syntax, bytes: &[u8], wanted: u64) -> (usize, u64) {
    let (mut end, mut lines) = (bytes.len(), 0);
    while lines < wanted && end > 0 {
        let mut stop = end - 1;
        if bytes[stop] == b'\n' && stop > 0 && bytes[stop - 1] == b'\r' {
            stop -= 1;
        }
        let found = if syntax.lone_cr {
            memchr::memrchr2(b'\n', b'\r', &bytes[..stop])
        } else {
            memchr::memrchr(b'\n', &bytes[..stop])
        };
        end = found.map_or(0, |at| at + 1);
        lines += 1;
    }
    (end, lines)
}
