//! What a file is: by its content, after unpacking. Its name is a hint.

use std::fmt;
use std::io::{Cursor, Read};

use arrowload_common_csv::{Compression, Input, looks_like};
use arrowload_core::{Error, ErrorKind, Result};

use crate::file::DataFile;
use crate::how::How;

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Csv,
    Json,
    Arrow,
    Parquet,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Csv, Self::Json, Self::Arrow, Self::Parquet];

    /// The name that options and table functions have.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Arrow => "arrow",
            Self::Parquet => "parquet",
        }
    }

    pub(crate) fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// What the name of a file says.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        split(name).map(|(_, kind)| kind)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Csv => "CSV",
            Self::Json => "JSON",
            Self::Arrow => "Arrow",
            Self::Parquet => "Parquet",
        })
    }
}

/// The endings that data files have, for messages.
pub(crate) const ENDINGS: &str = "parquet, csv, tsv, json, ndjson, jsonl, arrow, feather, ipc, arrows; text also with .gz, .zst, .bz2, .xz, .lz4, .sz or .zip";

/// The name of the table of a file: what is before its ending.
pub(crate) fn stem(name: &str) -> Option<String> {
    split(name).map(|(stem, _)| stem)
}

fn split(name: &str) -> Option<(String, Kind)> {
    let last = name.rsplit('/').next().unwrap_or(name);
    let lower = last.to_ascii_lowercase();
    let packed = [".gz", ".zst", ".bz2", ".xz", ".lz4", ".sz", ".zip"]
        .into_iter()
        .find(|ending| lower.ends_with(ending));
    let plain = packed.map_or(lower.as_str(), |ending| {
        &lower[..lower.len() - ending.len()]
    });
    let (stem, ending) = plain
        .rsplit_once('.')
        .filter(|(stem, _)| !stem.is_empty())?;
    let kind = match (ending, packed.is_some()) {
        ("csv" | "tsv", _) => Kind::Csv,
        ("json" | "ndjson" | "jsonl", _) => Kind::Json,
        ("parquet" | "pq", false) => Kind::Parquet,
        ("arrow" | "feather" | "ipc" | "arrows", false) => Kind::Arrow,
        _ => return None,
    };
    Some((last[..stem.len()].to_owned(), kind))
}

/// The bytes that tell a binary format: those of the schema of an Arrow stream.
const MAGIC: usize = 4 << 10;
/// Bytes of an unknown file that a message shows.
const SHOWN: usize = 16;

/// A file that was opened, and what it is.
pub(crate) enum Opened {
    /// Text, with its first MiB.
    Text(Kind, Input),
    /// A format that is not text; it is opened again.
    Binary(Kind),
}

/// Opens a file, and says what it is.
///
/// # Errors
/// When it cannot be read, or is of no format that is known.
pub(crate) fn recognise(file: &DataFile, how: &How) -> Result<Opened> {
    let mut reader = file.open()?;
    let mut magic = Vec::with_capacity(MAGIC);
    Read::take(&mut reader, MAGIC as u64)
        .read_to_end(&mut magic)
        .map_err(|error| file.broken(&error))?;
    let named = Kind::of_name(file.name());
    if let Some(kind) = binary(&magic) {
        return match how.kind() {
            Some(declared) if declared != kind => Err(unlike(file, declared, &kind.to_string())),
            _ => Ok(Opened::Binary(kind)),
        };
    }
    if let Some(what) = foreign(&magic) {
        let message = format!("`{}` looks like {what}, which is not read", file.shown());
        return Err(Error::new(ErrorKind::Unsupported, message).with("file", file.shown()));
    }
    if let Some(kind @ (Kind::Arrow | Kind::Parquet)) = how.kind().or(named) {
        let text = String::from_utf8_lossy(&magic[..magic.len().min(SHOWN)]).into_owned();
        let what = match looks_like(&magic) {
            Some(what) => what.to_owned(),
            None if magic.is_empty() => "an empty file".to_owned(),
            None => format!("a file that begins with `{}`", text.escape_debug()),
        };
        return Err(unlike(file, kind, &what));
    }
    let whole = Cursor::new(magic).chain(reader);
    let input = Input::read(file.shown(), whole, &how.opening()?)?;
    let kind = text(file, how, &input, named)?;
    Ok(Opened::Text(kind, input))
}

fn binary(head: &[u8]) -> Option<Kind> {
    match head {
        [b'P', b'A', b'R', b'1' | b'E', ..] => Some(Kind::Parquet),
        head => arrowload_common_ipc::looks_like(head).map(|_| Kind::Arrow),
    }
}

/// Formats that are known, and not read.
fn foreign(head: &[u8]) -> Option<&'static str> {
    let known: [(&[u8], &str); 4] = [
        (b"ORC", "an ORC file"),
        (b"Obj\x01", "an Avro file"),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", "an old Excel workbook"),
    ];
    let found = known.iter().find(|(magic, _)| head.starts_with(magic));
    found
        .map(|(_, what)| *what)
        .filter(|what| *what != "an ORC file" || head.contains(&0))
}

fn text(file: &DataFile, how: &How, input: &Input, named: Option<Kind>) -> Result<Kind> {
    let head = input.head();
    if let (Some(kind), true) = (binary(head), input.compression() != Compression::None) {
        let message = format!(
            "`{}` is a {kind} file that was packed with {}; unpack it, as {kind} packs its own columns",
            file.shown(),
            input.compression()
        );
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    if let Some(kind) = how.kind() {
        return Ok(kind);
    }
    let looks = looks_like(head);
    let message = match (looks, named) {
        (Some("JSON" | "a JSON array"), _) => return Ok(Kind::Json),
        (Some(what), _) => format!("`{}` looks like {what}, not like data", file.shown()),
        (None, Some(Kind::Json)) if !head.trim_ascii().is_empty() => {
            let first = head.trim_ascii_start().first().copied().unwrap_or_default();
            // As far as it can be JSON, its reader says what is wrong with it.
            if matches!(first, b'{' | b'[') {
                return Ok(Kind::Json);
            }
            format!(
                "`{}` is JSON by its name, and begins as no JSON does; if it is CSV, say so: read_csv('…')",
                file.shown()
            )
        }
        (None, Some(Kind::Json)) => return Ok(Kind::Json),
        (None, _) if head.contains(&0) => {
            format!(
                "`{}` is no text, and of no format that is known",
                file.shown()
            )
        }
        (None, _) => return Ok(Kind::Csv),
    };
    Err(Error::new(ErrorKind::InvalidData, message).with("file", file.shown()))
}

fn unlike(file: &DataFile, kind: Kind, what: &str) -> Error {
    let message = format!("`{}` is no {kind} file: it looks like {what}", file.shown());
    Error::new(ErrorKind::InvalidData, message).with("file", file.shown())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_make_stems_and_hints() {
        let cases = [
            ("a.parquet", Some(("a", Kind::Parquet))),
            ("dir/A.b.CSV.GZ", Some(("A.b", Kind::Csv))),
            ("x.ndjson.zst", Some(("x", Kind::Json))),
            ("x.arrows", Some(("x", Kind::Arrow))),
            ("x.parquet.gz", None),
            (".csv", None),
            ("x.txt", None),
            ("x", None),
        ];
        for (name, expected) in cases {
            let found = split(name);
            let found = found.as_ref().map(|(stem, kind)| (stem.as_str(), *kind));
            assert_eq!(found, expected, "{name}");
        }
    }
}
