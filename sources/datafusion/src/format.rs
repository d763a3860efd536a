//! File formats, by the ending of a name.

use std::sync::Arc;

use arrowload_core::{Error, ErrorKind};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::arrow::ArrowFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::ListingOptions;
use datafusion::error::Result;
use datafusion::execution::SessionState;

/// The endings of formats; all but the binary ones may be followed by that of a codec.
const KNOWN: &str = "parquet, csv, tsv, json, ndjson, jsonl, arrow, feather, ipc, arrows; csv, tsv and JSON also with .gz, .zst, .bz2 or .xz";

/// Rows of a CSV or NDJSON file that its types are inferred from.
const SAMPLED_ROWS: usize = 100_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Parquet,
    Csv(u8),
    Json,
    Arrow,
}

/// A format, its codec, and the ending that they have.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Format {
    kind: Kind,
    codec: FileCompressionType,
    ending: String,
}

impl Format {
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        split(name).map(|(_, format)| format)
    }

    pub(crate) fn unknown(shown: &str) -> Error {
        let message = format!("`{shown}` holds no file with a known ending; those are {KNOWN}");
        Error::new(ErrorKind::InvalidOption, message)
    }

    /// How the engine lists and reads such files.
    pub(crate) fn options(&self, state: &SessionState) -> Result<ListingOptions> {
        let session = state.default_table_options();
        let format: Arc<dyn FileFormat> = match self.kind {
            Kind::Parquet => {
                Arc::new(ParquetFormat::default().with_options(session.parquet.clone()))
            }
            Kind::Arrow => Arc::new(ArrowFormat),
            Kind::Json => Arc::new(
                JsonFormat::default()
                    .with_options(session.json.clone())
                    .with_file_compression_type(self.codec)
                    .with_schema_infer_max_rec(SAMPLED_ROWS),
            ),
            Kind::Csv(delimiter) => Arc::new(
                CsvFormat::default()
                    .with_options(session.csv.clone())
                    .with_has_header(true)
                    .with_delimiter(delimiter)
                    .with_newlines_in_values(true)
                    .with_file_compression_type(self.codec)
                    .with_schema_infer_max_rec(SAMPLED_ROWS),
            ),
        };
        let config = state.config();
        Ok(ListingOptions::new(format)
            .with_file_extension(&self.ending)
            .with_target_partitions(config.target_partitions())
            .with_collect_stat(true))
    }
}

/// The name of the table of a file: what stands before its ending.
pub(crate) fn stem(name: &str) -> Option<String> {
    split(name).map(|(stem, _)| stem)
}

fn split(name: &str) -> Option<(String, Format)> {
    let last = name.rsplit('/').next().unwrap_or(name);
    let lower = last.to_ascii_lowercase();
    let codecs = [
        (".gz", FileCompressionType::GZIP),
        (".zst", FileCompressionType::ZSTD),
        (".bz2", FileCompressionType::BZIP2),
        (".xz", FileCompressionType::XZ),
    ];
    let packed = codecs
        .into_iter()
        .find(|(ending, _)| lower.ends_with(ending));
    let plain = packed.as_ref().map_or(lower.as_str(), |(ending, _)| {
        &lower[..lower.len() - ending.len()]
    });
    let (stem, ending) = plain
        .rsplit_once('.')
        .filter(|(stem, _)| !stem.is_empty())?;
    let kind = match (ending, packed.is_some()) {
        ("csv", _) => Kind::Csv(b','),
        ("tsv", _) => Kind::Csv(b'\t'),
        ("json" | "ndjson" | "jsonl", _) => Kind::Json,
        ("parquet", false) => Kind::Parquet,
        ("arrow" | "feather" | "ipc" | "arrows", false) => Kind::Arrow,
        _ => return None,
    };
    let codec = packed.map_or(FileCompressionType::UNCOMPRESSED, |(_, codec)| codec);
    Some((
        last[..stem.len()].to_owned(),
        Format {
            kind,
            codec,
            ending: last[stem.len()..].to_owned(),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_make_stems_and_formats() {
        let cases = [
            ("a.parquet", Some("a")),
            ("dir/A.b.CSV.GZ", Some("A.b")),
            ("x.ndjson.zst", Some("x")),
            ("x.arrows", Some("x")),
            ("x.parquet.gz", None),
            (".csv", None),
            ("x.txt", None),
            ("x", None),
        ];
        for (name, expected) in cases {
            assert_eq!(stem(name).as_deref(), expected, "{name}");
        }
        assert_eq!(
            Format::of_name("x.CSV.GZ").expect("known").ending,
            ".CSV.GZ"
        );
    }
}
