//! A zip file with one member, as a stream.
//!
//! The format is PKWARE's APPNOTE.TXT, 4.3. Only what tools write for one file is read: stored or deflated, not encrypted,
//! with sizes before or after the data. The crate `zip` reads no stream whose sizes come after the data.

use std::io::{self, BufRead, Read};

use flate2::bufread::DeflateDecoder;

const LOCAL: u32 = 0x0403_4B50;
const DESCRIPTOR: u32 = 0x0807_4B50;
const CENTRAL: u32 = 0x0201_4B50;
const END: u32 = 0x0605_4B50;

fn bad(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..at + 2)
        .map_or(0, |pair| u16::from_le_bytes([pair[0], pair[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

enum Body<R: BufRead> {
    Stored(io::Take<R>),
    Deflated(DeflateDecoder<R>),
    Done,
}

/// The content of the only member.
pub(crate) struct Unzip<R: BufRead> {
    body: Body<R>,
    /// The checksum and size that the header promises, unless they come after the data.
    promised: Option<(u32, u64)>,
    zip64: bool,
    crc: crc32fast::Hasher,
    size: u64,
}

struct Header {
    flags: u16,
    method: u16,
    crc: u32,
    packed: u64,
    size: u64,
    zip64: bool,
    folder: bool,
}

fn header(input: &mut impl Read) -> io::Result<Header> {
    let mut fixed = [0; 26];
    input.read_exact(&mut fixed)?;
    let mut name = vec![0; usize::from(u16_at(&fixed, 22))];
    input.read_exact(&mut name)?;
    let mut extra = vec![0; usize::from(u16_at(&fixed, 24))];
    input.read_exact(&mut extra)?;
    let mut found = Header {
        flags: u16_at(&fixed, 2),
        method: u16_at(&fixed, 4),
        crc: u32_at(&fixed, 10),
        packed: u64::from(u32_at(&fixed, 14)),
        size: u64::from(u32_at(&fixed, 18)),
        zip64: false,
        folder: name.ends_with(b"/"),
    };
    let mut at = 0;
    while at + 4 <= extra.len() {
        let length = usize::from(u16_at(&extra, at + 2));
        // The sizes of zip64 are there if the others are all ones.
        if u16_at(&extra, at) == 1 {
            found.zip64 = true;
            let mut next = at + 4;
            for size in [&mut found.size, &mut found.packed] {
                if *size == u64::from(u32::MAX) {
                    *size = u64_at(&extra, next);
                    next += 8;
                }
            }
        }
        at += 4 + length;
    }
    Ok(found)
}

fn signature(input: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    input.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

impl<R: BufRead> Unzip<R> {
    pub(crate) fn new(mut input: R) -> io::Result<Self> {
        loop {
            match signature(&mut input)? {
                LOCAL => {}
                CENTRAL | END => return Err(bad("the zip file holds no file")),
                _ => return Err(bad("the zip file does not begin with a member")),
            }
            let header = header(&mut input)?;
            let (encrypted, later) = (header.flags & 1 != 0, header.flags & 8 != 0);
            if encrypted {
                return Err(bad("the zip file is encrypted"));
            }
            if header.folder && header.packed == 0 && !later {
                continue;
            }
            let body = match header.method {
                0 if later => return Err(bad("the zip file stores a member of unknown size")),
                0 => Body::Stored(input.take(header.packed)),
                8 => Body::Deflated(DeflateDecoder::new(input)),
                method => {
                    return Err(bad(format!(
                        "the zip file uses compression method {method}"
                    )));
                }
            };
            return Ok(Self {
                body,
                promised: (!later).then_some((header.crc, header.size)),
                zip64: header.zip64,
                crc: crc32fast::Hasher::new(),
                size: 0,
            });
        }
    }

    /// The member has ended: it must be whole, and the only one.
    fn finish(&mut self) -> io::Result<()> {
        let mut input = match std::mem::replace(&mut self.body, Body::Done) {
            Body::Stored(body) => body.into_inner(),
            Body::Deflated(body) => body.into_inner(),
            Body::Done => return Ok(()),
        };
        let (crc, size) = match self.promised {
            Some(promised) => promised,
            None => {
                let mut first = signature(&mut input)?;
                if first == DESCRIPTOR {
                    first = signature(&mut input)?;
                }
                let mut sizes = vec![0; if self.zip64 { 16 } else { 8 }];
                input.read_exact(&mut sizes)?;
                let size = if self.zip64 {
                    u64_at(&sizes, 8)
                } else {
                    u64::from(u32_at(&sizes, 4))
                };
                (first, size)
            }
        };
        if crc != self.crc.clone().finalize() || size != self.size {
            return Err(bad("the zip file is damaged: checksum or size differ"));
        }
        loop {
            match signature(&mut input)? {
                CENTRAL | END | 0x0806_4B50 => return Ok(()),
                LOCAL => {
                    let header = header(&mut input)?;
                    if !(header.folder && header.packed == 0) {
                        return Err(bad(
                            "the zip file holds several files; unpack it, and name one",
                        ));
                    }
                }
                _ => return Err(bad("the zip file is damaged after its member")),
            }
        }
    }
}

impl<R: BufRead> Read for Unzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.body {
            Body::Stored(body) => body.read(buffer)?,
            Body::Deflated(body) => body.read(buffer)?,
            Body::Done => return Ok(0),
        };
        if count == 0 && !buffer.is_empty() {
            self.finish()?;
        }
        self.crc.update(&buffer[..count]);
        self.size += count as u64;
        Ok(count)
    }
}
