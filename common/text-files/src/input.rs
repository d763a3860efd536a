//! The text of a file: opened, unpacked, decoded, with its first MiB at hand.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use arrowload_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use encoding_rs::UTF_8;
use futures::{Stream, StreamExt};

use crate::encoding::{self, Decoded};
use crate::options::invalid;
use crate::unpack::{self, Compression, MAGIC, unpack};

/// The bytes of the text that are at hand, from which its form and types are found.
pub const HEAD: usize = 1 << 20;

/// Options about the bytes of a file. An option that is not given is detected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opening {
    /// The encoding, by its name in the WHATWG's list.
    pub encoding: Option<String>,
    /// What the file is packed with.
    pub compression: Option<Compression>,
    /// Whether only UTF-8 and UTF-16 are found, and no older encoding is guessed.
    pub unicode: bool,
}

impl Opening {
    /// Refuses an encoding that is not known.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`], naming the option.
    pub fn check(&self) -> Result<()> {
        match &self.encoding {
            Some(name) if encoding_rs::Encoding::for_label(name.as_bytes()).is_none() => Err(
                invalid("encoding", format!("`{name}` is no known encoding")),
            ),
            _ => Ok(()),
        }
    }
}

/// A file that was opened. Its beginning is known, the rest is read when it is needed.
pub struct Input {
    name: Arc<str>,
    compression: Compression,
    encoding: &'static str,
    /// The first bytes of the text.
    head: Vec<u8>,
    /// Whether the head is the whole text.
    whole: bool,
    rest: Box<dyn Read + Send>,
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input")
            .field("name", &self.name)
            .field("compression", &self.compression)
            .field("encoding", &self.encoding)
            .finish_non_exhaustive()
    }
}

impl Input {
    /// A local file.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn path(path: impl AsRef<Path>, opening: impl Into<Opening>) -> Result<Self> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| Error::from(error).with("file", &name))?;
        Self::read(&name, file, opening)
    }

    /// Bytes from anywhere; `name` is in errors. The first MiB is read.
    ///
    /// # Errors
    /// When bytes cannot be read, unpacked or decoded, or an option is wrong.
    pub fn read(
        name: &str,
        reader: impl Read + Send + 'static,
        opening: impl Into<Opening>,
    ) -> Result<Self> {
        let opening = opening.into();
        opening.check()?;
        Self::begin(name, reader, &opening).map_err(|error| error.with("file", name))
    }

    /// Bytes that come asynchronously. Called within a Tokio runtime, it must be on a thread that may block, such as that of
    /// `spawn_blocking`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn stream(
        name: &str,
        stream: impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static,
        opening: impl Into<Opening>,
    ) -> Result<Self> {
        let reader = Streamed {
            runtime: tokio::runtime::Handle::try_current().ok(),
            stream,
            current: Bytes::new(),
        };
        Self::read(name, reader, opening)
    }

    fn begin(
        name: &str,
        mut reader: impl Read + Send + 'static,
        opening: &Opening,
    ) -> Result<Self> {
        let mut magic = Vec::with_capacity(MAGIC);
        read_up_to(&mut reader, MAGIC, &mut magic).map_err(|error| from_io(&error))?;
        let compression = opening
            .compression
            .unwrap_or_else(|| unpack::detect(&magic));
        let packed = Cursor::new(magic).chain(reader);
        let mut plain = unpack(packed, compression).map_err(|error| from_io(&error))?;
        let mut head = Vec::new();
        let whole = read_up_to(&mut plain, HEAD, &mut head).map_err(|error| from_io(&error))?;
        if encoding::is_utf32(&head) && opening.encoding.is_none() {
            let message = "the file is UTF-32, which is not read; convert it to UTF-8";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let encoding = match &opening.encoding {
            Some(label) => encoding::declared(label, &head),
            None => encoding::detect(&head, whole, opening.unicode)?,
        };
        let mark = encoding::mark_length(&head, encoding);
        let raw = head.split_off(mark);
        let mut input = Self {
            name: name.into(),
            compression,
            encoding: encoding.name(),
            head: raw,
            whole,
            rest: plain,
        };
        if encoding != UTF_8 {
            let raw = Cursor::new(std::mem::take(&mut input.head)).chain(input.rest);
            let mut decoded = Decoded::new(raw, encoding);
            input.whole =
                read_up_to(&mut decoded, HEAD, &mut input.head).map_err(|error| from_io(&error))?;
            input.rest = Box::new(decoded);
        }
        Ok(input)
    }

    /// The name that it was opened with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first bytes of the text, in UTF-8: up to a MiB.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Whether the head is the whole text.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// What the file is packed with.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// The name of the encoding, as the WHATWG has it.
    pub fn encoding(&self) -> &'static str {
        self.encoding
    }

    /// The head, and a reader of what follows it.
    pub fn into_parts(self) -> (Vec<u8>, Box<dyn Read + Send>) {
        (self.head, self.rest)
    }
}

/// Reads so many bytes, or all there are; whether those were all.
///
/// # Errors
/// Those of the reader.
pub fn read_up_to(
    reader: &mut (impl Read + ?Sized),
    count: usize,
    out: &mut Vec<u8>,
) -> io::Result<bool> {
    // At most a chunk in advance: the file may be shorter than what is asked for.
    out.reserve(count.min(2 * HEAD));
    let read = Read::take(reader, count as u64).read_to_end(out)?;
    Ok(read < count)
}

/// An error of a file that cannot be read or unpacked.
pub fn from_io(error: &io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
            ErrorKind::InvalidData
        }
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        _ => ErrorKind::Io,
    };
    Error::new(kind, format!("the file could not be read: {error}"))
}

/// A stream of bytes as a reader that blocks.
struct Streamed<S> {
    runtime: Option<tokio::runtime::Handle>,
    stream: S,
    current: Bytes,
}

impl<S: Stream<Item = io::Result<Bytes>> + Unpin> Read for Streamed<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            let next = self.stream.next();
            let next = match &self.runtime {
                Some(runtime) => runtime.block_on(next),
                None => futures::executor::block_on(next),
            };
            match next {
                Some(bytes) => self.current = bytes?,
                None => return Ok(0),
            }
        }
        let piece = self.current.split_to(buffer.len().min(self.current.len()));
        buffer[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }
}
