//! Redis's protocol (RESP2 and RESP3): commands out, replies in. Replies are bounded in depth and size.

use arrowload_core::{Error, ErrorKind, Result};

use crate::encode::length;

/// No reply is nested deeper.
const DEPTH: usize = 16;
/// No text is longer, and no reply has more items: more than a server sends, so that a malformed length is noticed.
const LIMIT: i64 = 1 << 30;

/// What a server answers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reply {
    Nil,
    Int(i64),
    /// A status, such as `OK`.
    Status(String),
    /// Text or binary; doubles and big numbers of RESP3 too.
    Bulk(Vec<u8>),
    Error(String),
    /// An array or a set; a map as its keys and values in turn.
    Array(Vec<Reply>),
}

impl Reply {
    /// The bytes of a text, or nothing.
    pub(crate) fn bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::Bulk(bytes) => Some(bytes),
            Self::Status(text) => Some(text.into_bytes()),
            Self::Int(value) => Some(value.to_string().into_bytes()),
            _ => None,
        }
    }

    pub(crate) fn text(self) -> Option<String> {
        self.bytes()
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    pub(crate) fn int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            Self::Bulk(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// What an error says, also of one among the replies of a transaction.
    pub(crate) fn error(&self) -> Option<&str> {
        match self {
            Self::Error(text) => Some(text),
            Self::Array(items) => items.iter().find_map(Self::error),
            _ => None,
        }
    }

    pub(crate) fn array(self) -> Vec<Reply> {
        match self {
            Self::Array(items) => items,
            _ => Vec::new(),
        }
    }
}

/// A reply that breaks the protocol: something else than Redis answers.
fn malformed(why: &str) -> Error {
    Error::new(
        ErrorKind::Connection,
        format!(
            "the server's answer is not RESP: {why}; is this Redis's port, and is tls set as the server has it?"
        ),
    )
}

/// The line at the start of some bytes, and the bytes it takes with its end.
#[inline]
fn line(bytes: &[u8]) -> Result<Option<(&[u8], usize)>> {
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) if end > 0 && bytes[end - 1] == b'\r' => Ok(Some((&bytes[..end - 1], end + 1))),
        Some(_) => Err(malformed("a line ends without CR")),
        None if bytes.len() > 64 << 10 => Err(malformed("a line is too long")),
        None => Ok(None),
    }
}

fn number(line: &[u8]) -> Result<i64> {
    let text = std::str::from_utf8(line).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| malformed("a number is none"))
}

/// The first reply in some bytes and its length, or nothing if it has not all come.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Reply, usize)>> {
    parse_at(bytes, DEPTH)
}

fn parse_at(bytes: &[u8], depth: usize) -> Result<Option<(Reply, usize)>> {
    let Some((&mark, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    let Some((head, taken)) = line(rest)? else {
        return Ok(None);
    };
    let taken = taken + 1;
    let text = || String::from_utf8_lossy(head).into_owned();
    let reply = match mark {
        b'+' => Reply::Status(text()),
        b'-' => Reply::Error(text()),
        b':' => Reply::Int(number(head)?),
        b'_' => Reply::Nil,
        b'#' => Reply::Int(i64::from(head == b"t")),
        b',' | b'(' => Reply::Bulk(head.to_vec()),
        b'$' | b'=' | b'!' => {
            let length = number(head)?;
            if length < 0 {
                return Ok(Some((Reply::Nil, taken)));
            }
            if length > LIMIT {
                return Err(malformed("a text is too long"));
            }
            let end = taken + length as usize;
            if bytes.len() < end + 2 {
                return Ok(None);
            }
            let content = bytes[taken..end].to_vec();
            let reply = if mark == b'!' {
                Reply::Error(String::from_utf8_lossy(&content).into_owned())
            } else {
                Reply::Bulk(content)
            };
            return Ok(Some((reply, end + 2)));
        }
        b'*' | b'~' | b'>' | b'%' | b'|' => {
            let count = number(head)?;
            if count < 0 {
                return Ok(Some((Reply::Nil, taken)));
            }
            let count = if matches!(mark, b'%' | b'|') {
                count.saturating_mul(2)
            } else {
                count
            };
            if count > LIMIT || depth == 0 {
                return Err(malformed("a reply is too large or nested too deep"));
            }
            let mut items = Vec::with_capacity((count as usize).min(bytes.len()));
            let mut at = taken;
            for _ in 0..count {
                let Some((item, length)) = parse_at(&bytes[at..], depth - 1)? else {
                    return Ok(None);
                };
                items.push(item);
                at += length;
            }
            // Attributes are before the reply that they are about.
            if mark == b'|' {
                return Ok(
                    parse_at(&bytes[at..], depth - 1)?.map(|(reply, length)| (reply, at + length))
                );
            }
            return Ok(Some((Reply::Array(items), at)));
        }
        _ => return Err(malformed("it begins with an unknown sign")),
    };
    Ok(Some((reply, taken)))
}

/// The usual replies of a pipeline, without taking any memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Skimmed<'a> {
    Fine,
    Int(i64),
    Error(&'a [u8]),
    Nil,
    /// Anything else: parse it.
    Other,
}

/// Looks at the first reply in some bytes.
#[inline]
pub(crate) fn skim(bytes: &[u8]) -> Result<Option<(Skimmed<'_>, usize)>> {
    let Some((&mark, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    if !matches!(mark, b':' | b'+' | b'-' | b'_' | b'#') {
        return Ok(Some((Skimmed::Other, 0)));
    }
    // `:7\r\n`
    if let (b':', [digit @ b'0'..=b'9', b'\r', b'\n', ..]) = (mark, rest) {
        return Ok(Some((Skimmed::Int(i64::from(digit - b'0')), 4)));
    }
    let Some((head, taken)) = line(rest)? else {
        return Ok(None);
    };
    let reply = match mark {
        b':' => Skimmed::Int(number(head)?),
        b'-' => Skimmed::Error(head),
        b'_' => Skimmed::Nil,
        _ => Skimmed::Fine,
    };
    Ok(Some((reply, taken + 1)))
}

/// Writes a text as Redis wants it.
#[inline]
pub(crate) fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    length(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Writes a command.
pub(crate) fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
    length(out, b'*', words.len());
    for word in words {
        bulk(out, word);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn replies_of_both_protocols_are_read() {
        let cases: [(&[u8], Reply); 9] = [
            (b"+OK\r\n", Reply::Status("OK".into())),
            (b"-ERR no\r\n", Reply::Error("ERR no".into())),
            (b":-12\r\n", Reply::Int(-12)),
            (b"$-1\r\n", Reply::Nil),
            (b"_\r\n", Reply::Nil),
            (b"$3\r\na\r\n\r\n", Reply::Bulk(b"a\r\n".to_vec())),
            (
                b"*2\r\n:1\r\n*0\r\n",
                Reply::Array(vec![Reply::Int(1), Reply::Array(vec![])]),
            ),
            (
                b"%1\r\n+k\r\n,1.5\r\n",
                Reply::Array(vec![
                    Reply::Status("k".into()),
                    Reply::Bulk(b"1.5".to_vec()),
                ]),
            ),
            (b"|1\r\n+k\r\n:1\r\n#t\r\n", Reply::Int(1)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(
                parse(bytes).expect("a reply"),
                Some((expected, bytes.len()))
            );
            for end in 0..bytes.len() {
                assert_eq!(parse(&bytes[..end]).expect("the start of a reply"), None);
            }
        }
    }

    #[test]
    fn what_is_too_deep_or_too_large_is_refused() {
        for bytes in [
            b"*1\r\n".repeat(40),
            b"$99999999999\r\n".to_vec(),
            b"HTTP/1.1 400\r\n".to_vec(),
            b"$x\r\n".to_vec(),
        ] {
            assert!(
                parse(&bytes).is_err(),
                "{}",
                String::from_utf8_lossy(&bytes)
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = (parse(&bytes), skim(&bytes));
        }
    }
}
