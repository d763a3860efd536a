//! How files are written: the loader's own options, and the checks between them.

use arrowload_common_parquet::Compression;
use arrowload_core::{Error, ErrorKind, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Apache Parquet: `.parquet`, `.pq`.
    Parquet,
    /// Comma-separated values: `.csv`, `.csv.gz`, `.csv.zst`.
    Csv,
    /// A JSON object on each line: `.ndjson`, `.jsonl`, `.json`, each also with `.gz` or `.zst`.
    Ndjson,
    /// The Arrow IPC file format, also called Feather: `.arrow`, `.feather`, `.ipc`.
    Arrow,
    /// The Arrow IPC stream format: `.arrows`.
    ArrowStream,
}

impl Format {
    /// The format that a file name's ending stands for.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let plain = name
            .strip_suffix(".gz")
            .or_else(|| name.strip_suffix(".zst"));
        let ending = plain.unwrap_or(&name).rsplit_once('.')?.1;
        match ending {
            "csv" => Some(Self::Csv),
            "ndjson" | "jsonl" | "json" => Some(Self::Ndjson),
            _ if plain.is_some() => None,
            "parquet" | "pq" => Some(Self::Parquet),
            "arrow" | "feather" | "ipc" => Some(Self::Arrow),
            "arrows" => Some(Self::ArrowStream),
            _ => None,
        }
    }

    /// The ending of the files in a folder.
    pub(crate) fn ending(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
            Self::Arrow => "arrow",
            Self::ArrowStream => "arrows",
        }
    }

    /// The name as it is written in options.
    pub(crate) fn name(self) -> &'static str {
        if self == Self::ArrowStream {
            "arrow_stream"
        } else {
            self.ending()
        }
    }

    /// Lines of text, which have no place for a schema or a `load_id`.
    pub(crate) fn is_text(self) -> bool {
        matches!(self, Self::Csv | Self::Ndjson)
    }
}

/// How to load into files. What does not fit the format is refused.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FileOptions {
    /// `parquet`, `csv`, `ndjson`, `arrow` or `arrow_stream`; by default what the target's ending says, and for a folder
    /// what is in it, or `parquet`.
    pub format: Option<Format>,
    /// Parquet: `snappy` (default), `zstd(3)`, `lz4`, `gzip(6)`, `brotli(1)`, `none`. CSV and NDJSON: `none`, `gzip`, `zstd`,
    /// by default what the ending says. Arrow: `none` (default), `lz4`, `zstd`.
    #[schemars(extend("x-tuning" = true))]
    pub compression: Option<Compression>,
    /// Parquet: the rows of a row group, at most; 262,144 by default.
    #[schemars(extend("x-tuning" = true))]
    pub row_group_rows: Option<usize>,
    /// Parquet: columns that become folders (`day=2024-01-01/`), outermost first. Makes the target a folder.
    pub partition_by: Vec<String>,
    /// A file of about this size in bytes is closed, and the next one begun. Makes the target a folder.
    pub max_file_bytes: Option<u64>,
    /// CSV: the character between values; a comma by default.
    pub delimiter: Option<char>,
    /// CSV: the character around values that need it; `"` by default.
    pub quote: Option<char>,
    /// CSV: whether the first line has the names of the columns; it does by default.
    pub header: Option<bool>,
    /// CSV: what stands for null; nothing by default. A value of the same text is put in quotes.
    pub null_text: Option<String>,
}

/// An error about one option.
pub(crate) fn invalid(key: &str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOption, message).with("key", key)
}

impl FileOptions {
    /// Refuses options that the format has no use for, rather than overlooking them.
    pub(crate) fn check(&self, format: Format) -> Result<()> {
        let csv = format == Format::Csv;
        let parquet = format == Format::Parquet;
        let uses = [
            (
                "row_group_rows",
                self.row_group_rows.is_some(),
                parquet,
                "parquet",
            ),
            (
                "partition_by",
                !self.partition_by.is_empty(),
                parquet,
                "parquet",
            ),
            ("delimiter", self.delimiter.is_some(), csv, "csv"),
            ("quote", self.quote.is_some(), csv, "csv"),
            ("header", self.header.is_some(), csv, "csv"),
            ("null_text", self.null_text.is_some(), csv, "csv"),
        ];
        if let Some((key, _, _, known)) = uses.into_iter().find(|(_, set, fits, _)| *set && !fits) {
            return Err(invalid(
                key,
                format!(
                    "`{key}` is an option of format {known}, and this load writes {}",
                    format.name()
                ),
            ));
        }
        for (key, value) in [
            (
                "row_group_rows",
                self.row_group_rows.map(|rows| rows as u64),
            ),
            ("max_file_bytes", self.max_file_bytes),
        ] {
            if value == Some(0) {
                return Err(invalid(key, format!("`{key}` must be at least 1")));
            }
        }
        Ok(())
    }

    /// The codec of a format's files, from the option or the name's ending.
    pub(crate) fn codec(&self, format: Format, name: &str) -> Result<Compression> {
        let name = name.to_ascii_lowercase();
        let by_ending = match format.is_text() {
            true if name.ends_with(".gz") => Some(Compression::Gzip(6)),
            true if name.ends_with(".zst") => Some(Compression::Zstd(3)),
            _ => None,
        };
        let default = if format == Format::Parquet {
            Compression::Snappy
        } else {
            Compression::None
        };
        let codec = self.compression.or(by_ending).unwrap_or(default);
        let known = match format {
            Format::Parquet => true,
            Format::Csv | Format::Ndjson => matches!(
                codec,
                Compression::None | Compression::Gzip(_) | Compression::Zstd(_)
            ),
            Format::Arrow | Format::ArrowStream => matches!(
                codec,
                Compression::None | Compression::Lz4 | Compression::Zstd(_)
            ),
        };
        if !known {
            return Err(invalid(
                "compression",
                format!("format {} has no compression {codec}", format.name()),
            ));
        }
        if by_ending
            .is_some_and(|ending| std::mem::discriminant(&ending) != std::mem::discriminant(&codec))
        {
            return Err(invalid(
                "compression",
                format!(
                    "`compression` is {codec}, and the target's ending says otherwise; change one of them"
                ),
            ));
        }
        Ok(codec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_name_formats() {
        let cases = [
            ("a.parquet", Some(Format::Parquet)),
            ("A.CSV.GZ", Some(Format::Csv)),
            ("x.y.jsonl.zst", Some(Format::Ndjson)),
            ("a.feather", Some(Format::Arrow)),
            ("a.arrows", Some(Format::ArrowStream)),
            ("a.parquet.gz", None),
            ("a.txt", None),
            ("parquet", None),
        ];
        for (name, format) in cases {
            assert_eq!(Format::of_name(name), format, "{name}");
        }
    }

    #[test]
    fn an_option_of_another_format_is_refused() {
        let options = FileOptions {
            delimiter: Some(';'),
            ..FileOptions::default()
        };
        assert_eq!(
            options
                .check(Format::Parquet)
                .expect_err("no delimiter")
                .get("key"),
            Some("delimiter")
        );
        options.check(Format::Csv).expect("its own");
    }

    #[test]
    fn the_ending_decides_the_codec_and_is_not_contradicted() {
        let options = FileOptions::default();
        assert_eq!(
            options.codec(Format::Csv, "a.csv.gz").expect("gzip"),
            Compression::Gzip(6)
        );
        let zstd = FileOptions {
            compression: Some(Compression::Zstd(3)),
            ..FileOptions::default()
        };
        assert!(zstd.codec(Format::Csv, "a.csv.gz").is_err());
        assert!(zstd.codec(Format::Arrow, "a.arrow").is_ok());
    }
}
