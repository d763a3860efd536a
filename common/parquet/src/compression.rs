//! Codecs by name, as people write them in options: `snappy`, `zstd(3)`, `none`.

use std::fmt;
use std::str::FromStr;

use parquet::basic::{BrotliLevel, Compression as Codec, GzipLevel, ZstdLevel};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// How pages are compressed.
///
/// Written as a string: `none`, `snappy`, `lz4`, `zstd`, `gzip`, `brotli`, the last three with an optional
/// level in brackets, as in `zstd(3)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Compression {
    /// Not at all: `none`.
    None,
    /// Fast, and read by everything: `snappy`.
    #[default]
    Snappy,
    /// The LZ4 block format (`LZ4_RAW`): `lz4`.
    Lz4,
    /// Smaller at about the same speed, level 1 to 22: `zstd`, which is `zstd(3)`.
    ///
    /// Level 3 is also what polars and DuckDB take; pyarrow takes 1.
    Zstd(u8),
    /// Level 0 to 9: `gzip`, which is `gzip(6)`.
    Gzip(u8),
    /// Level 0 to 11: `brotli`, which is `brotli(1)`.
    Brotli(u8),
}

impl Compression {
    /// The codec as the encoder takes it; the message names a level that is out of range.
    pub(crate) fn codec(self) -> Result<Codec, String> {
        let level = |error: parquet::errors::ParquetError| format!("{self}: {error}");
        Ok(match self {
            Self::None => Codec::UNCOMPRESSED,
            Self::Snappy => Codec::SNAPPY,
            Self::Lz4 => Codec::LZ4_RAW,
            Self::Zstd(n) => Codec::ZSTD(ZstdLevel::try_new(n.into()).map_err(level)?),
            Self::Gzip(n) => Codec::GZIP(GzipLevel::try_new(n.into()).map_err(level)?),
            Self::Brotli(n) => Codec::BROTLI(BrotliLevel::try_new(n.into()).map_err(level)?),
        })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Snappy => f.write_str("snappy"),
            Self::Lz4 => f.write_str("lz4"),
            Self::Zstd(level) => write!(f, "zstd({level})"),
            Self::Gzip(level) => write!(f, "gzip({level})"),
            Self::Brotli(level) => write!(f, "brotli({level})"),
        }
    }
}

impl FromStr for Compression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || {
            format!(
                "unknown compression '{text}': none, snappy, lz4, zstd, gzip or brotli, as in zstd or zstd(3)"
            )
        };
        let lower = text.trim().to_ascii_lowercase();
        let (name, level) = match lower
            .strip_suffix(')')
            .and_then(|text| text.split_once('('))
        {
            Some((name, level)) => (
                name,
                Some(level.trim().parse::<u8>().map_err(|_| unknown())?),
            ),
            None => (lower.as_str(), None),
        };
        let codec = match (name, level) {
            ("none" | "uncompressed", None) => Self::None,
            ("snappy", None) => Self::Snappy,
            ("lz4" | "lz4_raw", None) => Self::Lz4,
            ("zstd", level) => Self::Zstd(level.unwrap_or(3)),
            ("gzip", level) => Self::Gzip(level.unwrap_or(6)),
            ("brotli", level) => Self::Brotli(level.unwrap_or(1)),
            _ => return Err(unknown()),
        };
        codec.codec().map(|_| codec)
    }
}

impl TryFrom<String> for Compression {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Compression> for String {
    fn from(codec: Compression) -> Self {
        codec.to_string()
    }
}

impl JsonSchema for Compression {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Compression".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "none, snappy, lz4, zstd, gzip or brotli, the last three with an optional level: zstd(3)",
            "pattern": r"^(none|snappy|lz4|(zstd|gzip|brotli)(\([0-9]+\))?)$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_they_went_in() {
        for text in ["none", "snappy", "lz4", "zstd(3)", "gzip(6)", "brotli(11)"] {
            assert_eq!(text.parse::<Compression>().unwrap().to_string(), text);
        }
        assert_eq!("ZSTD".parse(), Ok(Compression::Zstd(3)));
    }

    #[test]
    fn what_is_not_a_codec_is_refused() {
        for text in [
            "",
            "lzo",
            "snappy(1)",
            "zstd(23)",
            "zstd(",
            "zstd(-1)",
            "gzip(10)",
        ] {
            assert!(text.parse::<Compression>().is_err(), "{text}");
        }
    }
}
