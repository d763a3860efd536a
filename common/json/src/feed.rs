//! Chunks of whole rows, one after the other.

use std::io::Read;
use std::sync::Arc;

use arrowload_common_text_files::{Chunks, HEAD, from_io, read_up_to};
use arrowload_core::{Error, ErrorKind, Result};

use crate::fault::{Fault, Place, fault_error};
use crate::layout::Settings;
use crate::lexer::{Lexer, PADDING, Stop};
use crate::options::Format;
use crate::path::Step;
use crate::scan::{Found, Scan};

/// The bytes that a chunk has, at least, unless the file ends.
const CHUNK: usize = 1 << 20;

/// Like [`CHUNK`], for chunks that do not become batches: the bytes are still in the cache when they are
/// examined.
pub(crate) const SMALL_CHUNK: usize = 1 << 18;

/// What rows a chunk has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One on each line.
    Lines,
    /// Values with commas between them.
    Elements,
    /// Values with blanks between them, if any.
    Documents,
}

/// The facts about a chunk that its parser needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Note {
    pub(crate) kind: Kind,
    /// The bytes that count.
    pub(crate) len: usize,
    /// Where it begins.
    pub(crate) place: Place,
    /// The line feeds in it.
    pub(crate) line_ends: u64,
    /// Whether it was cut within its only row, of which the beginning is looked at.
    pub(crate) cut: bool,
}

/// A place on the way to the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    /// In an object, one of whose keys is the step.
    Object {
        step: usize,
        found: bool,
        first: bool,
    },
    /// In an array, whose elements the step names.
    Array { step: usize, next: u64, first: bool },
    /// In an array of rows.
    Rows,
}

/// Cuts a file into chunks.
pub(crate) struct Feed {
    settings: Arc<Settings>,
    format: Format,
    head: Vec<u8>,
    rest: Box<dyn Read + Send>,
    /// What was read; what comes before `start` was part of a chunk.
    read: Vec<u8>,
    start: usize,
    ended: bool,
    chunk: usize,
    /// Where the pending bytes begin.
    place: Place,
    frames: Vec<Frame>,
    /// The documents that were begun.
    documents: u64,
    /// Whether rows were found at the end of the way.
    arrived: bool,
    /// Whether this document has the way, or null on it.
    has_way: bool,
    /// Whether the text goes on after its end: only what is whole counts, or the beginning of the first row.
    open_end: bool,
    given: bool,
    done: bool,
}

impl Feed {
    pub(crate) fn new(
        head: Vec<u8>,
        rest: Box<dyn Read + Send>,
        format: Format,
        settings: Arc<Settings>,
    ) -> Self {
        Self {
            settings,
            format,
            head,
            rest,
            read: Vec::new(),
            start: 0,
            ended: false,
            chunk: CHUNK,
            place: Place { line: 1, column: 1 },
            frames: Vec::new(),
            documents: 0,
            arrived: false,
            has_way: false,
            open_end: false,
            given: false,
            done: false,
        }
    }

    /// Over the beginning of a text.
    pub(crate) fn over_head(
        head: &[u8],
        whole: bool,
        format: Format,
        settings: Arc<Settings>,
    ) -> Self {
        let mut feed = Self::new(head.to_vec(), Box::new(std::io::empty()), format, settings);
        feed.open_end = !whole;
        feed.chunk = HEAD * 2;
        feed
    }

    /// With chunks of another size; in tests, of so few bytes that a few rows have several.
    #[must_use]
    pub(crate) fn with_chunk(mut self, bytes: usize) -> Self {
        self.chunk = bytes;
        self
    }

    /// The lines before what is still pending; all lines at the end.
    pub(crate) fn lines(&self) -> u64 {
        self.place.line - u64::from(self.place.column == 1)
    }

    /// Reads more; whether there was more.
    fn more(&mut self) -> Result<bool> {
        if self.ended {
            return Ok(false);
        }
        self.read.drain(..self.start);
        self.start = 0;
        // A step in proportion to the row keeps the work on a very long row linear, and reads little beyond
        // it.
        let wanted = (self.read.len() / 4).max(self.chunk);
        if self.read.is_empty() && !self.head.is_empty() && self.head.len() <= wanted {
            self.read = std::mem::take(&mut self.head);
            return Ok(true);
        }
        let taken = self.head.len().min(wanted);
        self.read.extend(self.head.drain(..taken));
        if taken < wanted {
            self.ended = read_up_to(&mut *self.rest, wanted - taken, &mut self.read)
                .map_err(|error| from_io(&error))?;
        }
        if self.pending().len() > self.settings.max_row_bytes.saturating_add(self.chunk) {
            let limit = self.settings.max_row_bytes;
            let message = format!(
                "a row, or a value before the rows, is longer than `max_row_bytes`, {limit} bytes"
            );
            return Err(Error::new(ErrorKind::LimitExceeded, message).with("line", self.place.line));
        }
        Ok(true)
    }

    /// What was read and is not yet part of a chunk.
    fn pending(&self) -> &[u8] {
        &self.read[self.start..]
    }

    /// Goes on after so many pending bytes.
    fn pass(&mut self, count: usize) {
        self.place = self.place.after(&self.pending()[..count]);
        self.start += count;
    }

    fn fault<T>(&self, at: usize, fault: &Fault) -> Result<T> {
        Err(fault_error(fault, self.place.after(&self.pending()[..at])))
    }

    /// Passes on the first pending bytes as a chunk.
    fn give(&mut self, count: usize, kind: Kind, buffer: &mut Vec<u8>) -> Note {
        let (place, start) = (self.place, self.start);
        self.pass(count);
        buffer.clear();
        if start == 0 && count > self.pending().len() {
            // The larger part is passed on as it is, and what the buffer had for memory is used again.
            let mut rest = std::mem::take(buffer);
            rest.extend_from_slice(self.pending());
            *buffer = std::mem::replace(&mut self.read, rest);
            self.start = 0;
            buffer.truncate(count);
        } else {
            buffer.extend_from_slice(&self.read[start..start + count]);
        }
        buffer.reserve_exact(PADDING);
        buffer.resize(count + PADDING, 0);
        self.given = true;
        Note {
            kind,
            len: count,
            place,
            line_ends: self.place.line - place.line,
            cut: false,
        }
    }

    /// Passes on what there is of a row that is not whole, if it is the first.
    fn cut(&mut self, kind: Kind, buffer: &mut Vec<u8>) -> Option<Note> {
        self.done = true;
        if self.given || self.pending().is_empty() {
            return None;
        }
        let mut note = self.give(self.pending().len(), kind, buffer);
        note.cut = true;
        Some(note)
    }

    fn lines_chunk(&mut self, buffer: &mut Vec<u8>) -> Result<Option<Note>> {
        let mut searched = 0;
        loop {
            let all = self.pending().len();
            if self.ended && !self.open_end {
                self.done = true;
                return Ok((all > 0).then(|| self.give(all, Kind::Lines, buffer)));
            }
            let found = memchr::memrchr(b'\n', &self.pending()[searched..]);
            match found {
                Some(last) if all >= self.chunk || self.ended => {
                    return Ok(Some(self.give(searched + last + 1, Kind::Lines, buffer)));
                }
                Some(_) => {}
                None if self.ended => return Ok(self.cut(Kind::Lines, buffer)),
                None => searched = all,
            }
            self.more()?;
        }
    }

    /// The next byte that is not a blank, after the blanks are passed.
    fn peek(&mut self) -> Result<Option<u8>> {
        loop {
            let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
            let blanks = self.pending().iter().take_while(|byte| blank(byte)).count();
            if let Some(byte) = self.pending().get(blanks).copied() {
                self.pass(blanks);
                return Ok(Some(byte));
            }
            self.pass(blanks);
            if !self.more()? {
                return Ok(None);
            }
        }
    }

    /// Where the value that begins here ends; none if it does not end.
    fn value_end(&mut self) -> Result<Option<usize>> {
        let mut scan = Scan::default();
        let mut at = 0;
        loop {
            if let Some(end) = scan.value(self.pending(), &mut at, self.ended) {
                return Ok(Some(end));
            }
            if !self.more()? {
                return Ok(scan.value(self.pending(), &mut at, true));
            }
        }
    }

    /// Passes a value, or a key and its colon, and looks whether it is JSON.
    fn skip_value(&mut self, key: bool) -> Result<Option<Vec<u8>>> {
        let Some(mut end) = self.value_end()? else {
            return if self.open_end {
                self.done = true;
                Ok(None)
            } else {
                self.fault(self.pending().len(), &Fault::Ends)
            };
        };
        let mut data = self.pending()[..end].to_vec();
        data.resize(end + PADDING, 0);
        if simdutf8::basic::from_utf8(&data).is_err() {
            return self.fault(0, &Fault::NotText);
        }
        let mut lexer = Lexer::new(&data, end, false, self.settings.max_depth);
        let skipped = if key && data[0] != b'"' {
            lexer.expected("a key in quotes")
        } else {
            lexer.skip()
        };
        match skipped {
            Ok(()) if lexer.at < end => end = lexer.at,
            Ok(()) => {}
            Err(stop) => return self.stopped(*stop),
        }
        data.truncate(end);
        self.pass(end);
        Ok(Some(data))
    }

    /// Something that must be here.
    fn expect(&mut self, wanted: u8, what: &'static str) -> Result<bool> {
        match self.peek()? {
            Some(byte) if byte == wanted => {
                self.pass(1);
                Ok(true)
            }
            None if self.open_end => {
                self.done = true;
                Ok(false)
            }
            None => self.fault(0, &Fault::Ends),
            Some(_) => self.wrong(what),
        }
    }

    fn wrong<T>(&self, what: &'static str) -> Result<T> {
        let mut data = self.pending()[..self.pending().len().min(16)].to_vec();
        let len = data.len();
        data.resize(len + PADDING, 0);
        let lexer = Lexer::new(&data, len, false, 1);
        match lexer.expected::<()>(what) {
            Err(stop) => self.stopped(*stop),
            Ok(()) => self.fault(0, &Fault::Ends),
        }
    }

    fn stopped<T>(&self, stop: Stop) -> Result<T> {
        match stop {
            Stop::Fault(at, fault) => self.fault(at, &fault),
            Stop::Misfit(misplaced) => self.fault(misplaced.start, &Fault::Trailing),
        }
    }

    /// Goes into a value that is at this step of the way, or past it.
    fn enter(&mut self, step: usize, byte: u8, buffer: &mut Vec<u8>) -> Result<Option<Note>> {
        let settings = Arc::clone(&self.settings);
        match (settings.path.steps.get(step), byte) {
            (None, b'[') => {
                (self.arrived, self.has_way) = (true, true);
                self.pass(1);
                if self.peek()? == Some(b']') {
                    self.pass(1);
                } else {
                    self.frames.push(Frame::Rows);
                }
            }
            (None, _) => {
                (self.arrived, self.has_way) = (true, true);
                let Some(end) = self.value_end()? else {
                    if self.open_end {
                        return Ok(self.cut(Kind::Documents, buffer));
                    }
                    return Ok(Some(self.give(
                        self.pending().len(),
                        Kind::Documents,
                        buffer,
                    )));
                };
                return Ok(Some(self.give(end, Kind::Documents, buffer)));
            }
            (Some(Step::Key(_)), b'{') => {
                self.pass(1);
                self.frames.push(Frame::Object {
                    step,
                    found: false,
                    first: true,
                });
            }
            (Some(Step::Each | Step::Element(_)), b'[') => {
                // It may have too few elements.
                self.has_way = true;
                self.pass(1);
                self.frames.push(Frame::Array {
                    step,
                    next: 0,
                    first: true,
                });
            }
            _ => {
                self.has_way |= byte == b'n';
                self.skip_value(false)?;
            }
        }
        Ok(None)
    }

    /// Goes on within the frame that is open; a chunk if it has come to rows.
    fn advance(&mut self, buffer: &mut Vec<u8>) -> Result<Option<Note>> {
        let Some(frame) = self.frames.pop() else {
            return self.between(buffer);
        };
        let (close, first, what) = match frame {
            Frame::Rows => return self.rows(buffer),
            Frame::Object { first, .. } => (b'}', first, "`,` or `}`"),
            Frame::Array { first, .. } => (b']', first, "`,` or `]`"),
        };
        match self.peek()? {
            Some(byte) if byte == close => {
                self.pass(1);
                return Ok(None);
            }
            Some(_) if first => {}
            _ => {
                if !self.expect(b',', what)? {
                    return Ok(None);
                }
            }
        }
        match frame {
            Frame::Object { step, found, .. } => self.member(step, found, buffer),
            Frame::Array { step, next, .. } => {
                self.frames.push(Frame::Array {
                    step,
                    next: next + 1,
                    first: false,
                });
                let Some(byte) = self.peek()? else {
                    return self.end_within();
                };
                match self.settings.path.steps.get(step) {
                    Some(Step::Element(wanted)) if *wanted != next => {
                        self.skip_value(false)?;
                        Ok(None)
                    }
                    _ => self.enter(step + 1, byte, buffer),
                }
            }
            Frame::Rows => Ok(None),
        }
    }

    fn end_within(&mut self) -> Result<Option<Note>> {
        if self.open_end {
            self.done = true;
            return Ok(None);
        }
        self.fault(0, &Fault::Ends)
    }

    fn member(&mut self, step: usize, found: bool, buffer: &mut Vec<u8>) -> Result<Option<Note>> {
        if self.peek()?.is_none() {
            return self.end_within();
        }
        let Some(key) = self.skip_value(true)? else {
            return Ok(None);
        };
        if !self.expect(b':', "`:`")? {
            return Ok(None);
        }
        let mut plain = Vec::new();
        crate::lexer::unescape(&key[1..key.len() - 1], &mut plain);
        let here = matches!(self.settings.path.steps.get(step), Some(Step::Key(name)) if *name.as_bytes() == plain);
        if here && found {
            // Rows of the first one are read already, whatever becomes of keys in rows.
            let key = String::from_utf8_lossy(&plain).into_owned();
            return self.fault(0, &Fault::DuplicateStep(key));
        }
        self.frames.push(Frame::Object {
            step,
            found: found || here,
            first: false,
        });
        let Some(byte) = self.peek()? else {
            return self.end_within();
        };
        if here {
            return self.enter(step + 1, byte, buffer);
        }
        self.skip_value(false)?;
        Ok(None)
    }

    /// A chunk of the elements of an array.
    fn rows(&mut self, buffer: &mut Vec<u8>) -> Result<Option<Note>> {
        let mut scan = Scan::default();
        let (mut at, mut boundary) = (0, None);
        if self.pending().is_empty() && !self.more()? {
            return self.end_within();
        }
        loop {
            while let Some(found) = scan.element(self.pending(), &mut at) {
                match found {
                    Found::Comma(place) => boundary = Some(place),
                    Found::Close(place) => {
                        let note = self.give(place, Kind::Elements, buffer);
                        if self.pending().first() != Some(&b']') {
                            return self.wrong("`,` or `]`");
                        }
                        self.pass(1);
                        return Ok(Some(note));
                    }
                }
            }
            if let Some(place) = boundary
                && (self.pending().len() >= self.chunk || self.ended)
            {
                let note = self.give(place, Kind::Elements, buffer);
                self.pass(1);
                self.frames.push(Frame::Rows);
                return Ok(Some(note));
            }
            if !self.more()? {
                if self.open_end && boundary.is_none() {
                    return Ok(self.cut(Kind::Elements, buffer));
                }
                if boundary.is_none() {
                    // The array is not closed: that is found after what is left of it.
                    let all = self.pending().len();
                    let note = self.give(all, Kind::Elements, buffer);
                    self.frames.push(Frame::Rows);
                    return Ok(Some(note));
                }
            }
        }
    }

    /// Refuses a document without the way to rows.
    fn check_way(&self, several: bool) -> Result<()> {
        let path = &self.settings.path;
        if (self.arrived && self.has_way) || path.steps.is_empty() {
            return Ok(());
        }
        let whose = match several {
            true => format!("document {} of the file", self.documents),
            false => "the file".to_owned(),
        };
        let message = format!("{whose} has nothing at `{}`", path.text);
        Err(Error::new(ErrorKind::InvalidData, message)
            .with("key", "records")
            .with("line", self.place.line))
    }

    /// Between documents.
    fn between(&mut self, buffer: &mut Vec<u8>) -> Result<Option<Note>> {
        let Some(byte) = self.peek()? else {
            self.done = true;
            return Ok(None);
        };
        if self.documents > 0 {
            self.check_way(true)?;
            self.has_way = false;
        }
        if self.format == Format::Array {
            if self.documents > 0 {
                return self.fault(0, &Fault::Trailing);
            }
            if byte != b'[' {
                return self.wrong("`[`");
            }
        }
        self.documents += 1;
        if byte == b'[' || !self.settings.path.steps.is_empty() {
            return self.enter(0, byte, buffer);
        }
        self.documents_chunk(buffer)
    }

    /// A chunk of documents, up to the next array.
    fn documents_chunk(&mut self, buffer: &mut Vec<u8>) -> Result<Option<Note>> {
        let mut scan = Scan::default();
        let (mut at, mut end) = (0, 0);
        loop {
            let array = scan.documents(self.pending(), &mut at, &mut end);
            if array || (end > 0 && (self.pending().len() >= self.chunk || self.ended)) {
                return Ok(Some(self.give(end, Kind::Documents, buffer)));
            }
            if !self.more()? {
                if end > 0 {
                    continue;
                }
                if self.open_end {
                    return Ok(self.cut(Kind::Documents, buffer));
                }
                return Ok(Some(self.give(
                    self.pending().len(),
                    Kind::Documents,
                    buffer,
                )));
            }
        }
    }
}

impl Chunks for Feed {
    type Note = Note;

    fn fill(&mut self, buffer: &mut Vec<u8>) -> Result<Option<Note>> {
        if self.format == Format::Ndjson {
            return if self.done {
                Ok(None)
            } else {
                self.lines_chunk(buffer)
            };
        }
        while !self.done {
            if let Some(note) = self.advance(buffer)? {
                return Ok(Some(note));
            }
        }
        if !self.open_end {
            self.check_way(self.documents > 1)?;
        }
        Ok(None)
    }
}
