//! Compression, by content.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::zip::Unzip;

/// What a file is packed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Nothing.
    None,
    /// One or several gzip members.
    Gzip,
    /// One or several Zstandard frames.
    Zstd,
    /// One or several bzip2 streams.
    Bzip2,
    /// One or several xz streams.
    Xz,
    /// One or several LZ4 frames.
    Lz4,
    /// Snappy's framing format.
    Snappy,
    /// A zip file with one member.
    Zip,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Lz4 => "lz4",
            Self::Snappy => "snappy",
            Self::Zip => "zip",
        })
    }
}

/// Bytes that tell what a file is packed with.
pub(crate) const MAGIC: usize = 10;

/// What a file that begins with these bytes is packed with.
pub(crate) fn detect(head: &[u8]) -> Compression {
    match head {
        [0x1F, 0x8B, 8, ..] => Compression::Gzip,
        [0x28, 0xB5, 0x2F, 0xFD, ..] | [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..] => Compression::Zstd,
        [
            b'B',
            b'Z',
            b'h',
            b'1'..=b'9',
            0x31,
            0x41,
            0x59,
            0x26,
            0x53,
            0x59,
        ]
        | [
            b'B',
            b'Z',
            b'h',
            b'1'..=b'9',
            0x17,
            0x72,
            0x45,
            0x38,
            0x50,
            0x90,
        ] => Compression::Bzip2,
        [0xFD, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
        [0x04, 0x22, 0x4D, 0x18, ..] => Compression::Lz4,
        [0xFF, 0x06, 0, 0, b's', b'N', b'a', b'P', b'p', b'Y'] => Compression::Snappy,
        [b'P', b'K', 3 | 5, 4 | 6, ..] => Compression::Zip,
        _ => Compression::None,
    }
}

/// What comes out of the packed bytes. All of them are read: a file may be several packed files in a row.
pub(crate) fn unpack(
    input: impl Read + Send + 'static,
    compression: Compression,
) -> io::Result<Box<dyn Read + Send>> {
    let input = BufReader::with_capacity(128 * 1024, input);
    Ok(match compression {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(input)?),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        Compression::Xz => Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(input)),
        Compression::Lz4 => Box::new(Lz4::new(input)),
        Compression::Snappy => Box::new(snap::read::FrameDecoder::new(input)),
        Compression::Zip => Box::new(Unzip::new(input)?),
    })
}

/// Says of an input that ends within a block that it is damaged. The decoder of LZ4 takes such an end for that of the frame.
struct Whole<R>(R);

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact(buffer).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                io::Error::new(io::ErrorKind::InvalidData, "the LZ4 file is cut off")
            } else {
                error
            }
        })
    }
}

/// LZ4 frames in a row: the decoder stops after each.
struct Lz4<R: BufRead> {
    frame: lz4_flex::frame::FrameDecoder<Whole<R>>,
}

impl<R: BufRead> Lz4<R> {
    fn new(input: R) -> Self {
        Self {
            frame: lz4_flex::frame::FrameDecoder::new(Whole(input)),
        }
    }
}

impl<R: BufRead> Read for Lz4<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.frame.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            if self.frame.get_mut().0.fill_buf()?.is_empty() {
                return Ok(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Write};

    const TEXT: &[u8] = b"id,name\n1,Ann\n2,Bob\n";

    fn packed(compression: Compression, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match compression {
            Compression::None => out.extend_from_slice(text),
            Compression::Gzip => {
                let mut encoder =
                    flate2::write::GzEncoder::new(&mut out, flate2::Compression::default());
                encoder.write_all(text).expect("in memory");
                encoder.finish().expect("in memory");
            }
            Compression::Zstd => out = zstd::encode_all(text, 3).expect("in memory"),
            Compression::Bzip2 => {
                let mut encoder =
                    bzip2::write::BzEncoder::new(&mut out, bzip2::Compression::default());
                encoder.write_all(text).expect("in memory");
                encoder.finish().expect("in memory");
            }
            Compression::Xz => {
                let mut encoder = liblzma::write::XzEncoder::new(&mut out, 6);
                encoder.write_all(text).expect("in memory");
                encoder.finish().expect("in memory");
            }
            Compression::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(&mut out);
                encoder.write_all(text).expect("in memory");
                encoder.finish().expect("in memory");
            }
            Compression::Snappy => {
                let mut encoder = snap::write::FrameEncoder::new(&mut out);
                encoder.write_all(text).expect("in memory");
                encoder.flush().expect("in memory");
            }
            Compression::Zip => out = zip_of(&[("a.csv", text)], true),
        }
        out
    }

    /// Members one after the other, sizes before or after the data.
    fn zip_of(members: &[(&str, &[u8])], later: bool) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, text) in members {
            let mut encoder =
                flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(text).expect("in memory");
            let body = encoder.finish().expect("in memory");
            let sizes = [crc32fast::hash(text), body.len() as u32, text.len() as u32];
            out.extend_from_slice(b"PK\x03\x04\x14\0");
            out.extend_from_slice(&(if later { 8_u16 } else { 0 }).to_le_bytes());
            out.extend_from_slice(&[8, 0, 0, 0, 0, 0]);
            for size in sizes {
                out.extend_from_slice(&(if later { 0 } else { size }).to_le_bytes());
            }
            out.extend_from_slice(&(name.len() as u16).to_le_bytes());
            out.extend_from_slice(&[0, 0]);
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(&body);
            if later {
                out.extend_from_slice(b"PK\x07\x08");
                for size in sizes {
                    out.extend_from_slice(&size.to_le_bytes());
                }
            }
        }
        out.extend_from_slice(b"PK\x01\x02 and so on");
        out
    }

    fn unpacked(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        unpack(
            Cursor::new(bytes.to_vec()),
            detect(&bytes[..bytes.len().min(MAGIC)]),
        )?
        .read_to_end(&mut out)?;
        Ok(out)
    }

    const ALL: [Compression; 8] = [
        Compression::None,
        Compression::Gzip,
        Compression::Zstd,
        Compression::Bzip2,
        Compression::Xz,
        Compression::Lz4,
        Compression::Snappy,
        Compression::Zip,
    ];

    #[test]
    fn every_compression_is_known_by_its_content() {
        for compression in ALL {
            let bytes = packed(compression, TEXT);
            assert_eq!(detect(&bytes[..bytes.len().min(MAGIC)]), compression);
            assert_eq!(unpacked(&bytes).expect("whole"), TEXT, "{compression}");
        }
        assert_eq!(
            unpacked(&zip_of(&[("a.csv", TEXT)], false)).expect("whole"),
            TEXT
        );
    }

    #[test]
    fn packed_files_in_a_row_are_all_read() {
        for compression in &ALL[..7] {
            let bytes = [packed(*compression, TEXT), packed(*compression, TEXT)].concat();
            assert_eq!(
                unpacked(&bytes).expect("whole"),
                TEXT.repeat(2),
                "{compression}"
            );
        }
        assert!(unpacked(&zip_of(&[("a.csv", TEXT), ("b.csv", TEXT)], false)).is_err());
    }

    #[test]
    fn a_file_that_is_cut_is_an_error_at_every_byte() {
        let long: Vec<u8> = (0..3_000_u32)
            .flat_map(|row| format!("{row},{}\n", row.wrapping_mul(2_654_435_761)).into_bytes())
            .collect();
        for compression in &ALL[1..] {
            if *compression == Compression::Snappy {
                continue; // Its frames have no end that could be missed.
            }
            let bytes = packed(*compression, &long);
            let whole = if *compression == Compression::Zip {
                bytes.len() - 12
            } else {
                bytes.len()
            };
            for cut in (MAGIC..whole)
                .step_by(if whole > 4_000 { 97 } else { 1 })
                .chain([whole - 1])
            {
                let result = unpacked(&bytes[..cut]);
                assert!(result.is_err(), "{compression} cut at {cut} of {whole}");
            }
        }
    }
}
