//! Messages of MongoDB's wire protocol: OP_MSG, and the OP_QUERY that clients greet with.

use bson::{Document, RawDocument};
use tokio::io::{AsyncRead, AsyncReadExt};

const OP_REPLY: i32 = 1;
const OP_QUERY: i32 = 2004;
const OP_MSG: i32 = 2013;
/// The largest message that is read.
const MOST_BYTES: usize = 64 << 20;
const CHECKSUM: u32 = 1;
const MORE_TO_COME: u32 = 2;

/// A command as it came.
pub(super) struct Request {
    id: i32,
    legacy: bool,
    /// The client waits for an answer.
    pub(super) answered: bool,
    /// The command, without its sequences of documents.
    pub(super) body: Document,
    /// Documents that came beside it, by the name of their field.
    pub(super) sequences: Vec<(String, Vec<Vec<u8>>)>,
}

/// An answer: fields, and perhaps one array of documents in raw bytes at `cursor`.
pub(super) struct Reply {
    pub(super) fields: Document,
    pub(super) cursor: Option<CursorReply>,
}

/// A batch of a cursor.
pub(super) struct CursorReply {
    pub(super) id: i64,
    pub(super) ns: String,
    /// `firstBatch` or `nextBatch`.
    pub(super) field: &'static str,
    pub(super) documents: Vec<std::sync::Arc<[u8]>>,
}

impl From<Document> for Reply {
    fn from(fields: Document) -> Self {
        Self {
            fields,
            cursor: None,
        }
    }
}

fn int(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn cstring(bytes: &[u8], at: usize) -> Option<(String, usize)> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    Some((String::from_utf8(rest[..end].to_vec()).ok()?, at + end + 1))
}

/// The bytes of the document at a place, as its own length says.
fn document(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let length = usize::try_from(int(bytes, at)?).ok()?;
    bytes.get(at..at + length).filter(|_| length >= 5)
}

fn decoded(bytes: &[u8]) -> Option<Document> {
    Document::try_from(RawDocument::from_bytes(bytes).ok()?).ok()
}

/// Reads one command; `None` at the end, or if it is none.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Request> {
    let mut header = [0; 16];
    stream.read_exact(&mut header).await.ok()?;
    let length = usize::try_from(int(&header, 0)?).ok()?;
    let (id, code) = (int(&header, 4)?, int(&header, 12)?);
    if !(16..=MOST_BYTES).contains(&length) {
        return None;
    }
    let mut bytes = vec![0; length - 16];
    stream.read_exact(&mut bytes).await.ok()?;
    match code {
        OP_QUERY => {
            let (namespace, at) = cstring(&bytes, 4)?;
            let mut body = decoded(document(&bytes, at + 8)?)?;
            body.insert("$db", namespace.trim_end_matches(".$cmd"));
            Some(Request {
                id,
                legacy: true,
                answered: true,
                body,
                sequences: Vec::new(),
            })
        }
        OP_MSG => message(id, &bytes),
        _ => None,
    }
}

/// The fields of a command. Documents of a write stay bytes.
fn command(bytes: &[u8], sequences: &mut Vec<(String, Vec<Vec<u8>>)>) -> Option<Document> {
    let mut body = Document::new();
    for field in RawDocument::from_bytes(bytes).ok()?.iter() {
        let (name, value) = field.ok()?;
        let name = name.as_str();
        match value.as_array() {
            Some(array) if ["documents", "updates", "deletes"].contains(&name) => {
                let documents = array.into_iter();
                let documents = documents.map(|each| {
                    let document = each.ok()?.as_document()?;
                    Some(document.as_bytes().to_vec())
                });
                sequences.push((name.to_owned(), documents.collect::<Option<_>>()?));
            }
            _ => {
                body.insert(name, bson::Bson::try_from(value).ok()?);
            }
        }
    }
    Some(body)
}

fn message(id: i32, bytes: &[u8]) -> Option<Request> {
    let flags = int(bytes, 0)? as u32;
    let end = bytes.len() - if flags & CHECKSUM == 0 { 0 } else { 4 };
    let mut sequences: Vec<(String, Vec<Vec<u8>>)> = Vec::new();
    let (mut at, mut body) = (4, None);
    while at < end {
        let kind = bytes[at];
        at += 1;
        if kind == 0 {
            let found = document(bytes, at)?;
            at += found.len();
            body = Some(command(found, &mut sequences)?);
            continue;
        }
        let until = at + usize::try_from(int(bytes, at)?).ok()?;
        let (name, mut next) = cstring(bytes, at + 4)?;
        let mut documents = Vec::new();
        while next < until {
            let found = document(bytes, next)?;
            documents.push(found.to_vec());
            next += found.len();
        }
        sequences.push((name, documents));
        at = until;
    }
    Some(Request {
        id,
        legacy: false,
        answered: flags & MORE_TO_COME == 0,
        body: body?,
        sequences,
    })
}

/// The bytes of an answer.
pub(super) fn write(request: &Request, reply: &Reply) -> Vec<u8> {
    let body = reply_body(reply);
    let prefix: Vec<u8> = if request.legacy {
        // Flags, cursor, first document, number of documents.
        [8_i32, 0, 0, 0, 1]
            .iter()
            .flat_map(|part| part.to_le_bytes())
            .collect()
    } else {
        vec![0, 0, 0, 0, 0]
    };
    let length = (16 + prefix.len() + body.len()) as i32;
    let code = if request.legacy { OP_REPLY } else { OP_MSG };
    let mut bytes = Vec::with_capacity(length as usize);
    for part in [length, 0, request.id, code] {
        bytes.extend(part.to_le_bytes());
    }
    bytes.extend(prefix);
    bytes.extend(body);
    bytes
}

/// Begins a document or array, whose length is filled in by [`close`].
fn open(bytes: &mut Vec<u8>, kind: u8, name: &str) -> usize {
    bytes.push(kind);
    bytes.extend(name.as_bytes());
    bytes.push(0);
    let start = bytes.len();
    bytes.extend([0; 4]);
    start
}

fn close(bytes: &mut Vec<u8>, start: usize) {
    bytes.push(0);
    let length = (bytes.len() - start) as i32;
    bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Written by hand, so that documents which are broken on purpose go out as they are.
fn reply_body(reply: &Reply) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    if let Some(cursor) = &reply.cursor {
        let outer = open(&mut bytes, 0x03, "cursor");
        let array = open(&mut bytes, 0x04, cursor.field);
        let mut digits = String::new();
        for (index, document) in cursor.documents.iter().enumerate() {
            use std::fmt::Write as _;
            digits.clear();
            let _ = write!(digits, "{index}");
            bytes.push(0x03);
            bytes.extend(digits.as_bytes());
            bytes.push(0);
            bytes.extend(document.iter());
        }
        close(&mut bytes, array);
        bytes.extend(b"\x12id\0");
        bytes.extend(cursor.id.to_le_bytes());
        bytes.extend(b"\x02ns\0");
        bytes.extend((cursor.ns.len() as i32 + 1).to_le_bytes());
        bytes.extend(cursor.ns.as_bytes());
        bytes.push(0);
        close(&mut bytes, outer);
    }
    let fields = reply.fields.to_vec().unwrap_or_default();
    bytes.extend(fields.get(4..).unwrap_or(&[0]));
    let length = bytes.len() as i32;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes
}
