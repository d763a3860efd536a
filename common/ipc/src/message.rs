//! Messages in a sequence of bytes: a prefix with the length of the head, the head, the body.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use arrow_ipc::{Message, MessageHeader, root_as_message};
use arrowload_core::Result;
use bytes::Bytes;

use crate::error::{cut, from_io, malformed};

/// How a file of the random access format begins and ends.
pub(crate) const MAGIC: &[u8; 6] = b"ARROW1";

/// Stands before the length of a head since version 0.15 of the format.
const CONTINUATION: u32 = u32::MAX;

/// The bytes that are reserved for a part whose length only the part itself states.
const TRUSTED_BYTES: u64 = 1 << 20;

/// What was found where a message may begin.
pub(crate) enum Next {
    /// The head of a message.
    Head(Vec<u8>),
    /// The end marker.
    Marker,
    /// The input has ended.
    Nothing,
}

/// Reads the prefix and the head of the next message.
pub(crate) fn next_head(input: &mut impl Read) -> Result<Next> {
    let mut word = [0; 4];
    match fill(input, &mut word)? {
        0 => return Ok(Next::Nothing),
        4 => {}
        _ => return Err(cut("the prefix of a message")),
    }
    if u32::from_le_bytes(word) == CONTINUATION && fill(input, &mut word)? < 4 {
        return Err(cut("the prefix of a message"));
    }
    let length = i32::from_le_bytes(word);
    match u64::try_from(length) {
        Ok(0) => Ok(Next::Marker),
        Ok(length) => read_part(input, length, None, "the head of a message").map(Next::Head),
        Err(_) => Err(malformed(format!(
            "a message with a head of {length} bytes"
        ))),
    }
}

fn fill(input: &mut impl Read, buffer: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(from_io(error)),
        }
    }
    Ok(filled)
}

/// Reads as many bytes as something says that it has. Memory is taken for what is there: at once if it is known how many bytes
/// the input has left, else as they come.
pub(crate) fn read_part(
    input: &mut impl Read,
    length: u64,
    left: Option<u64>,
    what: &str,
) -> Result<Vec<u8>> {
    if left.is_some_and(|left| length > left) {
        return Err(cut(what));
    }
    let expected = left.map_or(length.min(TRUSTED_BYTES), |_| length);
    let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or(0));
    let read = input
        .take(length)
        .read_to_end(&mut bytes)
        .map_err(from_io)?;
    if read as u64 == length {
        Ok(bytes)
    } else {
        Err(cut(what))
    }
}

/// The head as a message, and how long its body is.
pub(crate) fn parse(head: &[u8]) -> Result<(Message<'_>, u64)> {
    let message = root_as_message(head).map_err(malformed)?;
    let length = message.bodyLength();
    let length =
        u64::try_from(length).map_err(|_| malformed(format!("a body of {length} bytes")))?;
    Ok((message, length))
}

/// Reads the body of a message.
pub(crate) fn read_body(input: &mut impl Read, length: u64, left: Option<u64>) -> Result<Bytes> {
    read_part(input, length, left, "the body of a message").map(Bytes::from)
}

/// The two forms of Arrow data in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The random access format, which begins and ends with `ARROW1`.
    File,
    /// The stream format.
    Stream,
}

/// Whether bytes that something begins with are those of Arrow data. A stream is told by its first message, so 4 KiB or more
/// are needed where it has many columns and was written before version 0.15.
pub fn looks_like(first: &[u8]) -> Option<Kind> {
    if first.starts_with(MAGIC) {
        return Some(Kind::File);
    }
    let (word, rest) = first.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*word) == CONTINUATION {
        let length = rest
            .first_chunk::<4>()
            .map(|word| i32::from_le_bytes(*word));
        return length
            .is_none_or(|length| length >= 0)
            .then_some(Kind::Stream);
    }
    let length = usize::try_from(i32::from_le_bytes(*word)).ok()?;
    let message = root_as_message(rest.get(..length)?).ok()?;
    (message.header_type() == MessageHeader::Schema).then_some(Kind::Stream)
}

/// How the messages of a stream end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// With the marker, and nothing after it.
    Marked,
    /// With the marker, and this many bytes behind it.
    Followed(u64),
    /// After a message, without the marker: what is cut off between two batches lacks only that.
    Unmarked,
    /// Within a message, or with what is not a message: [`IpcReader`](crate::IpcReader) says what is wrong.
    Broken,
}

/// Looks at the heads of a stream's messages, and skips their bodies.
///
/// # Errors
/// When the input cannot be read.
pub fn end_of_stream(input: impl Read + Seek) -> io::Result<End> {
    let mut input = BufReader::new(input);
    let length = input.seek(SeekFrom::End(0))?;
    input.seek(SeekFrom::Start(0))?;
    loop {
        let head = match next_head(&mut input) {
            Ok(Next::Head(head)) => head,
            Ok(Next::Nothing) => return Ok(End::Unmarked),
            Ok(Next::Marker) => {
                let behind = length.saturating_sub(input.stream_position()?);
                return Ok(match behind {
                    0 => End::Marked,
                    behind => End::Followed(behind),
                });
            }
            Err(_) => return Ok(End::Broken),
        };
        let body = parse(&head)
            .ok()
            .and_then(|(_, body)| i64::try_from(body).ok());
        let Some(body) = body else {
            return Ok(End::Broken);
        };
        input.seek_relative(body)?;
        if input.stream_position()? > length {
            return Ok(End::Broken);
        }
    }
}
