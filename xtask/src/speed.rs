//! The README's table of speeds, made from `benches/results`; and the figures of the guides, which must be there.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::tools::{root, say};

/// A line of the table: what we take, and what others take for the same, as ratios to one of them.
struct Line {
    path: &'static str,
    /// The file in `benches/results`, without its ending, and the part of it.
    results: (&'static str, &'static str),
    ours: &'static str,
    /// What all are divided by: the limit, or the strongest peer.
    limit: &'static str,
    /// Each peer's name, and what it is called in the file.
    peers: &'static [(&'static str, &'static str)],
}

const LINES: &[Line] = &[
    Line {
        path: "Arrow to PostgreSQL, one connection, against `psql \\copy` of a file encoded beforehand",
        results: ("postgresql", "load"),
        ours: "ours",
        limit: "psql",
        peers: &[("ADBC", "adbc"), ("DuckDB", "duckdb")],
    },
    Line {
        path: "the same, two connections",
        results: ("postgresql", "load"),
        ours: "ours-2",
        limit: "psql",
        peers: &[("two `psql`", "psql-2")],
    },
    Line {
        path: "PostgreSQL to Arrow, one connection, against `psql \\copy … to /dev/null (format binary)`",
        results: ("postgresql", "read"),
        ours: "ours",
        limit: "psql",
        peers: &[("ADBC", "adbc"), ("connectorx", "connectorx")],
    },
    Line {
        path: "the same, two connections",
        results: ("postgresql", "read"),
        ours: "ours-2",
        limit: "psql",
        peers: &[],
    },
    Line {
        path: "encoding the binary `COPY`, one core, against pgpq",
        results: ("encode", "lineitem"),
        ours: "gigabytes_per_second",
        limit: "pgpq",
        peers: &[],
    },
    Line {
        path: "Flight SQL to Arrow, against bare `arrow-flight`",
        results: ("flight-sql", "read"),
        ours: "ours plain × 1",
        limit: "bare plain × 1",
        peers: &[("ADBC", "adbc plain × 1")],
    },
    Line {
        path: "the same, bodies compressed with zstd",
        results: ("flight-sql", "read"),
        ours: "ours zstd × 1",
        limit: "bare zstd × 1",
        peers: &[("ADBC", "adbc zstd × 1")],
    },
    Line {
        path: "the same, from four endpoints",
        results: ("flight-sql", "read"),
        ours: "ours zstd × 4",
        limit: "bare zstd × 1",
        peers: &[],
    },
    Line {
        path: "Arrow into Redis hashes, against `redis-cli --pipe` of a file encoded beforehand",
        results: ("redis", "load"),
        ours: "ours",
        limit: "pipe",
        peers: &[],
    },
    Line {
        path: "Arrow to Parquet, snappy, against polars",
        results: ("parquet", "snappy"),
        ours: "ours",
        limit: "polars",
        peers: &[("DuckDB", "duckdb"), ("pyarrow", "pyarrow")],
    },
    Line {
        path: "Arrow to Parquet, zstd, against polars",
        results: ("parquet", "zstd"),
        ours: "ours",
        limit: "polars",
        peers: &[("DuckDB", "duckdb"), ("pyarrow", "pyarrow")],
    },
    Line {
        path: "Arrow to Delta Lake, against polars",
        results: ("delta", "write"),
        ours: "ours",
        limit: "polars",
        peers: &[("deltalake", "deltalake")],
    },
    Line {
        path: "an upsert into Delta Lake, against `deltalake`",
        results: ("delta", "merge"),
        ours: "ours",
        limit: "deltalake",
        peers: &[],
    },
    Line {
        path: "CSV to Arrow, types declared, against DuckDB",
        results: ("csv", "declared"),
        ours: "ours",
        limit: "duckdb",
        peers: &[("polars", "polars")],
    },
    Line {
        path: "CSV to Arrow, types found",
        results: ("csv", "detected"),
        ours: "ours",
        limit: "duckdb",
        peers: &[("polars", "polars")],
    },
    Line {
        path: "NDJSON to Arrow, types declared, against DuckDB",
        results: ("json", "declared"),
        ours: "ours",
        limit: "duckdb",
        peers: &[("polars", "polars")],
    },
    Line {
        path: "NDJSON to Arrow, types found",
        results: ("json", "detected"),
        ours: "ours",
        limit: "duckdb",
        peers: &[("polars", "polars")],
    },
];

const README: &str = "README.md";
const BEGIN: &str = "<!-- Speeds: made by `cargo xtask generate` from benches/results -->\n";
const END: &str = "<!-- End of speeds -->\n";
/// Documents whose figures must be in the results that they name.
const GUIDE: &str = "docs/guide/tuning.md";

fn results(name: &str) -> Result<Value> {
    let file = format!("benches/results/{name}.json");
    let text = fs::read_to_string(root().join(&file)).with_context(|| file.clone())?;
    serde_json::from_str(&text).context(file)
}

/// How fast one of them is, in whatever the file counts by.
fn speed(part: &Value, name: &str) -> Result<f64> {
    let one = part
        .get(name)
        .with_context(|| format!("there is no `{name}`"))?;
    let seconds = || Some(1.0 / one.get("seconds")?.as_f64()?);
    one.as_f64()
        .or_else(|| one.get("rows_per_second")?.as_f64())
        .or_else(seconds)
        .filter(|speed| speed.is_finite() && *speed > 0.0)
        .with_context(|| format!("`{name}` has no speed"))
}

/// What the files of one are smaller or larger than those of another, where they were measured.
fn size(part: &Value, line: &Line) -> Option<String> {
    let bytes = |name: &str| part.get(name)?.get("bytes")?.as_f64();
    let ratio = bytes(line.ours)? / bytes(line.limit)?;
    let percent = ((ratio - 1.0) * 100.0).round();
    Some(match percent < 0.0 {
        true => format!(", file {} % smaller", -percent),
        false => format!(", file {percent} % larger"),
    })
}

fn cells(line: &Line) -> Result<String> {
    let (file, part) = line.results;
    let all = results(file)?;
    let part = all
        .get(part)
        .with_context(|| format!("there is no `{part}`"))?;
    let limit = speed(part, line.limit)?;
    let ours = speed(part, line.ours)? / limit;
    let peers: Result<Vec<String>> = line
        .peers
        .iter()
        .map(|(called, name)| Ok(format!("{called} {:.2}", speed(part, name)? / limit)))
        .collect();
    Ok(format!(
        "| {} | {ours:.2}{} | {} |\n",
        line.path,
        size(part, line).unwrap_or_default(),
        peers?.join(", ")
    ))
}

fn table() -> Result<String> {
    let mut table = String::from("| path | arrowload | peers |\n|---|---|---|\n");
    for line in LINES {
        let (file, part) = line.results;
        table += &cells(line).with_context(|| format!("benches/results/{file}.json, {part}"))?;
    }
    Ok(table)
}

/// Writes the README's table, or fails where another is there; and checks the figures of the guide.
pub(crate) fn generate(check: bool) -> Result<()> {
    let path = root().join(README);
    let readme = fs::read_to_string(&path).context(README)?;
    let (before, rest) = readme
        .split_once(BEGIN)
        .with_context(|| format!("{README} has no line {BEGIN}"))?;
    let (_, behind) = rest
        .split_once(END)
        .with_context(|| format!("{README} has no line {END}"))?;
    if let Some(line) = [before, behind]
        .iter()
        .flat_map(|text| text.lines())
        .find(|line| claims_speed(line))
    {
        bail!(
            "{README} says how fast something is outside of the table that is made from benches/results: {line}"
        );
    }
    let new = format!("{before}{BEGIN}\n{}\n{END}{behind}", table()?);
    if new != readme {
        ensure!(
            !check,
            "the speeds in {README} are not those of benches/results: run `cargo xtask generate`"
        );
        say(&format!("writing {README}"));
        fs::write(&path, new)?;
    }
    check_guide()
}

/// Whether a line has a number of rows or bytes a second.
fn claims_speed(line: &str) -> bool {
    ["rows/s", "MB/s", "GB/s"].iter().any(|unit| {
        line.match_indices(unit).any(|(at, _)| {
            let before = line[..at].trim_end();
            let word = before.rsplit(' ').next().unwrap_or_default();
            word == "million" || word.starts_with(|first: char| first.is_ascii_digit())
        })
    })
}

/// Whether each number of rows a second is in one of the files that its line names.
fn check_guide() -> Result<()> {
    let text = fs::read_to_string(root().join(GUIDE)).context(GUIDE)?;
    for (number, line) in text.lines().enumerate() {
        let named = line
            .split('`')
            .filter_map(|word| word.strip_suffix(".json"));
        let mut known = Vec::new();
        for name in named {
            collect(&results(name)?, &mut known);
        }
        for claim in claims(line) {
            ensure!(
                known.iter().any(|speed| claim.fits(*speed)),
                "{GUIDE}:{}: {} rows/s is in none of the files of benches/results that the line names",
                number + 1,
                claim.text
            );
        }
    }
    Ok(())
}

fn collect(value: &Value, known: &mut Vec<f64>) {
    let Some(map) = value.as_object() else {
        return;
    };
    for (key, value) in map {
        match value.as_f64() {
            Some(speed) if key == "rows_per_second" => known.push(speed),
            _ => collect(value, known),
        }
    }
}

/// A number of rows a second, as it is written: `1.85 million`, `451,000`.
struct Claim {
    text: String,
    value: f64,
    /// What the last digit that is written counts.
    unit: f64,
}

impl Claim {
    fn of(number: &str, is_million: bool) -> Option<Self> {
        let value: f64 = number.replace(',', "").parse().ok()?;
        let (scale, unit) = match number.split_once('.') {
            _ if !is_million => (1.0, 1_000.0),
            Some((_, digits)) => (1e6, 1e6 / 10_f64.powi(digits.len().try_into().ok()?)),
            None => (1e6, 1e6),
        };
        Some(Self {
            text: format!("{number}{}", if is_million { " million" } else { "" }),
            value: value * scale,
            unit,
        })
    }

    /// Whether it is this, rounded.
    fn fits(&self, speed: f64) -> bool {
        (self.value - speed).abs() <= self.unit / 2.0 * 1.001
    }
}

/// The numbers of rows a second in a line, and those that follow one in the same cell as `, 1.85 with two`.
fn claims(line: &str) -> Vec<Claim> {
    let mut found = Vec::new();
    for cell in line.split('|') {
        let words: Vec<&str> = cell.split_whitespace().collect();
        for (at, word) in words.iter().enumerate() {
            if !word.starts_with("rows/s") {
                continue;
            }
            let before = |back: usize| at.checked_sub(back).and_then(|at| words.get(at)).copied();
            let is_million = before(1) == Some("million");
            let number = before(if is_million { 2 } else { 1 }).unwrap_or_default();
            found.extend(Claim::of(number, is_million));
            // What it is compared with: `with one connection, 1.85 with two`, `in place of 9.3`.
            let next = words.iter().skip(at + 1).find(|word| {
                word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.')
            });
            let next = next.map(|word| word.trim_end_matches([':', ',', ';', '.']));
            if let (true, Some(next)) = (is_million, next) {
                found.extend(Claim::of(next, true));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_found_and_compared_as_they_are_rounded() {
        let line =
            "| x | 1.21 million rows/s with one, 1.85 with two: 1.5 times | 451,000 rows/s |";
        let found = claims(line);
        let values: Vec<f64> = found.iter().map(|claim| claim.value).collect();
        assert_eq!(values, [1_210_000.0, 1_850_000.0, 451_000.0]);
        assert!(found[0].fits(1_207_475.9) && !found[0].fits(1_199_999.0));
        assert!(found[2].fits(450_829.4) && !found[2].fits(452_000.0));
        assert!(claims_speed("it loads 2 million rows/s") && claims_speed("at 300 MB/s"));
        assert!(!claims_speed("progress in rows/s and MB/s"));
    }

    #[test]
    fn the_files_have_what_the_table_names() {
        let table = table().expect("the results are there");
        assert_eq!(table.lines().count(), LINES.len() + 2);
    }
}
