//! Whether an Arrow IPC stream is whole: its writers put an end marker behind the last batch, and what is cut off between two
//! batches lacks only that.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};

use crate::exit::Failure;

/// How the messages of a stream end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With the marker, and nothing behind it.
    Marked,
    /// With the marker, and this many bytes behind it.
    Followed(u64),
    /// After a message, without the marker.
    Unmarked,
    /// Within a message, or with what is no message: the reader says what is wrong.
    Broken,
}

/// Before the length of a message, since version 0.15 of the format.
const CONTINUATION: u32 = u32::MAX;

/// Looks at the messages' heads, and passes over their bodies.
pub(crate) fn end(file: &File) -> std::io::Result<End> {
    let length = file.metadata()?.len();
    let mut input = BufReader::new(file);
    let mut at = input.seek(SeekFrom::Start(0))?;
    loop {
        if at == length {
            return Ok(End::Unmarked);
        }
        match next(&mut input) {
            Ok(Head::End) => {
                let behind = length.saturating_sub(input.stream_position()?);
                return Ok(if behind == 0 {
                    End::Marked
                } else {
                    End::Followed(behind)
                });
            }
            Ok(Head::Message(body)) => {
                input.seek_relative(body)?;
                at = input.stream_position()?;
                if at > length {
                    return Ok(End::Broken);
                }
            }
            Ok(Head::None) => return Ok(End::Broken),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(End::Broken),
            Err(error) => return Err(error),
        }
    }
}

/// What stands before a body.
enum Head {
    /// The head of a message with a body of this length.
    Message(i64),
    End,
    None,
}

fn next(input: &mut impl Read) -> std::io::Result<Head> {
    let mut word = [0; 4];
    input.read_exact(&mut word)?;
    if u32::from_le_bytes(word) == CONTINUATION {
        input.read_exact(&mut word)?;
    }
    let length = match i32::from_le_bytes(word) {
        0 => return Ok(Head::End),
        length => u64::try_from(length).unwrap_or(0),
    };
    let mut head = Vec::new();
    input.take(length).read_to_end(&mut head)?;
    let body = arrow_ipc::root_as_message(&head).map(|message| message.bodyLength());
    Ok(body
        .ok()
        .filter(|body| *body >= 0)
        .map_or(Head::None, Head::Message))
}

/// Refuses a stream on standard input that may have been cut off.
pub(crate) fn check(file: &File, may_be_unmarked: bool) -> Result<(), Failure> {
    match end(file)? {
        End::Marked | End::Broken => Ok(()),
        End::Unmarked if may_be_unmarked => Ok(()),
        End::Unmarked => Err(Failure::failed(
            "the Arrow stream on standard input ended without its end marker, so that batches may be missing: its writer has to close it; \
             --no-end-marker takes it as it is",
        )),
        End::Followed(bytes) => Err(Failure::failed(format!(
            "{bytes} bytes follow the end of the Arrow stream on standard input: two streams are not one; query each for itself"
        ))),
    }
}
