//! Reading MongoDB into Arrow: from bytes in memory against a bare walk over them, and from the test kit's server against the bare
//! driver, documents that become rows and then columns, and PyMongoArrow on the same server.

use std::hint::black_box;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use arrow_array::builder::{
    BooleanBuilder, FixedSizeBinaryBuilder, Float64Builder, Int32Builder, Int64Builder,
    StringBuilder, TimestampMillisecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrowload_core::{DataSource, Query};
use arrowload_mongodb::{Decoder, Mixed, MongoSource};
use arrowload_testkit::mongo::MongoEmulator;
use bson::{Document, RawBsonRef, RawDocument, doc};
use clap::Parser;
use futures::TryStreamExt;
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Reading MongoDB into Arrow.
#[derive(Parser)]
struct Args {
    /// Documents
    #[arg(long, default_value_t = 1_000_000)]
    rows: usize,
    /// Runs of each
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// A Python with pymongoarrow; without one, that peer is left out
    #[arg(long)]
    python: Option<PathBuf>,
    /// Where the figures go
    #[arg(long)]
    out: Option<PathBuf>,
}

/// A document of eight fields.
fn document(n: usize) -> Vec<u8> {
    let mut id = [0x65; 12];
    id[4..].copy_from_slice(&(n as u64).to_be_bytes());
    let document = doc! {
        "_id": bson::oid::ObjectId::from_bytes(id),
        "name": format!("customer {n}"),
        "count": (n % 1000) as i32,
        "total": n as i64 * 1_000_003,
        "value": n as f64 / 7.0,
        "active": n.is_multiple_of(3),
        "at": bson::DateTime::from_millis(1_700_000_000_000 + n as i64),
        "notes": format!("a note of some length about customer {n}, who is number {}", n % 17),
    };
    document.to_vec().unwrap_or_default()
}

/// Looks at every value, and keeps none.
fn bare(documents: &[Vec<u8>]) -> Result<u64> {
    let mut sum = 0;
    for bytes in documents {
        for field in RawDocument::from_bytes(bytes)?.iter() {
            let (name, value) = field?;
            sum += name.len() as u64;
            sum += match value {
                RawBsonRef::String(text) => text.len() as u64,
                RawBsonRef::Int32(value) => value as u64,
                RawBsonRef::Int64(value) => value as u64,
                RawBsonRef::Double(value) => value.to_bits() & 1,
                RawBsonRef::Boolean(value) => u64::from(value),
                RawBsonRef::DateTime(value) => value.timestamp_millis() as u64 & 1,
                RawBsonRef::ObjectId(id) => u64::from(id.bytes()[11]),
                _ => 0,
            };
        }
    }
    Ok(sum)
}

/// The road that is replaced: documents, then rows of their values, then columns.
#[derive(Default)]
struct Rows {
    ids: Vec<[u8; 12]>,
    names: Vec<String>,
    counts: Vec<i32>,
    totals: Vec<i64>,
    values: Vec<f64>,
    actives: Vec<bool>,
    dates: Vec<i64>,
    notes: Vec<String>,
}

impl Rows {
    fn push(&mut self, document: &Document) -> Result<()> {
        self.ids.push(document.get_object_id("_id")?.bytes());
        self.names.push(document.get_str("name")?.to_owned());
        self.counts.push(document.get_i32("count")?);
        self.totals.push(document.get_i64("total")?);
        self.values.push(document.get_f64("value")?);
        self.actives.push(document.get_bool("active")?);
        self.dates
            .push(document.get_datetime("at")?.timestamp_millis());
        self.notes.push(document.get_str("notes")?.to_owned());
        Ok(())
    }

    fn columns(self) -> Result<RecordBatch> {
        let mut ids = FixedSizeBinaryBuilder::new(12);
        self.ids.iter().try_for_each(|id| ids.append_value(id))?;
        let (mut names, mut notes) = (StringBuilder::new(), StringBuilder::new());
        self.names.iter().for_each(|name| names.append_value(name));
        self.notes.iter().for_each(|note| notes.append_value(note));
        let (mut counts, mut totals) = (Int32Builder::new(), Int64Builder::new());
        self.counts
            .iter()
            .for_each(|count| counts.append_value(*count));
        self.totals
            .iter()
            .for_each(|total| totals.append_value(*total));
        let (mut values, mut actives) = (Float64Builder::new(), BooleanBuilder::new());
        self.values
            .iter()
            .for_each(|value| values.append_value(*value));
        self.actives
            .iter()
            .for_each(|active| actives.append_value(*active));
        let mut dates = TimestampMillisecondBuilder::new();
        self.dates.iter().for_each(|date| dates.append_value(*date));
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("_id", Arc::new(ids.finish())),
            ("name", Arc::new(names.finish())),
            ("count", Arc::new(counts.finish())),
            ("total", Arc::new(totals.finish())),
            ("value", Arc::new(values.finish())),
            ("active", Arc::new(actives.finish())),
            ("at", Arc::new(dates.finish())),
            ("notes", Arc::new(notes.finish())),
        ];
        Ok(RecordBatch::try_from_iter(columns)?)
    }
}

const QUERY: &str = r#"{"collection": "c"}"#;

async fn ours(source: &MongoSource, rows: usize) -> Result<()> {
    let stream = source.query(&Query::new(QUERY)).await?;
    let batches: Vec<RecordBatch> = stream.try_collect().await?;
    let found: usize = batches.iter().map(RecordBatch::num_rows).sum();
    ensure!(found == rows, "{found} rows");
    Ok(())
}

/// Replies are taken from the driver, and looked at no further.
async fn driver(client: &mongodb::Client) -> Result<()> {
    let collection = client.database("test").collection::<Document>("c");
    let mut cursor = collection.find(doc! {}).batch().await?;
    while let Some(reply) = cursor.try_next().await? {
        black_box(reply.as_raw_document().as_bytes().len());
    }
    Ok(())
}

async fn as_rows(client: &mongodb::Client, count: usize) -> Result<()> {
    let collection = client.database("test").collection::<Document>("c");
    let mut cursor = collection.find(doc! {}).await?;
    let mut rows = Rows::default();
    while let Some(document) = cursor.try_next().await? {
        rows.push(&document)?;
    }
    ensure!(rows.columns()?.num_rows() == count, "rows are missing");
    Ok(())
}

/// Seconds by the peer's own clock, without its start.
const PYTHON: &str = r"
import sys, time
import pymongo, pymongoarrow
from pymongoarrow.api import find_arrow_all
collection = pymongo.MongoClient(sys.argv[1]).test.c
for _ in range(int(sys.argv[3])):
    began = time.perf_counter()
    table = find_arrow_all(collection, {})
    print(time.perf_counter() - began)
    assert table.num_rows == int(sys.argv[2])
print(pymongoarrow.__version__)
";

fn pymongoarrow(python: &PathBuf, url: &str, args: &Args) -> Result<(Vec<f64>, String)> {
    let output = Command::new(python)
        .args(["-c", PYTHON, url])
        .args([args.rows.to_string(), args.runs.to_string()])
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout)?;
    let mut lines: Vec<&str> = text.lines().collect();
    let version = lines.pop().context("no version")?.to_owned();
    let seconds = lines.iter().map(|line| line.parse());
    Ok((seconds.collect::<Result<_, _>>()?, version))
}

fn median(mut runs: Vec<f64>) -> f64 {
    runs.sort_by(f64::total_cmp);
    runs[runs.len() / 2]
}

fn peak() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a program prints")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let documents: Vec<Vec<u8>> = (0..args.rows).map(document).collect();
    let bytes: usize = documents.iter().map(Vec::len).sum();
    let slices = || documents.iter().map(Vec::as_slice);
    let sample = documents.iter().take(10_000).map(Vec::as_slice);
    let decoder = Decoder::of(sample, Mixed::Error)?;
    let (mut walks, mut decodes) = (Vec::new(), Vec::new());
    for _ in 0..args.runs {
        let began = Instant::now();
        black_box(bare(&documents)?);
        walks.push(began.elapsed().as_secs_f64());
        let began = Instant::now();
        // In batches of the size that replies have.
        for some in documents.chunks(80_000) {
            black_box(decoder.decode(some.iter().map(Vec::as_slice))?);
        }
        decodes.push(began.elapsed().as_secs_f64());
    }
    let emulator = MongoEmulator::start().map_err(anyhow::Error::msg)?;
    emulator.seed("test", "c", slices().map(<[u8]>::to_vec));
    let url = emulator.url("test");
    let client = mongodb::Client::with_uri_str(&url).await?;
    let config = serde_json::from_value(json!({ "uri": url }))?;
    let source = MongoSource::connect(config).await?;
    let (mut bare_driver, mut sourced, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.runs {
        let began = Instant::now();
        driver(&client).await?;
        bare_driver.push(began.elapsed().as_secs_f64());
        let began = Instant::now();
        ours(&source, args.rows).await?;
        sourced.push(began.elapsed().as_secs_f64());
        let began = Instant::now();
        as_rows(&client, args.rows).await?;
        rows.push(began.elapsed().as_secs_f64());
    }
    let peer = match &args.python {
        Some(python) => Some(pymongoarrow(python, &url, &args)?),
        None => None,
    };
    let figure = |runs: &Vec<f64>| -> Value {
        let seconds = median(runs.clone());
        json!({ "seconds": seconds, "rows_per_second": args.rows as f64 / seconds, "runs": runs })
    };
    let of = |one: &Vec<f64>, other: &Vec<f64>| median(one.clone()) / median(other.clone());
    let figures = json!({
        "rows": args.rows, "megabytes": bytes as f64 / 1e6,
        "memory": { "bare_walk": figure(&walks), "ours": figure(&decodes), "of_bare_walk": of(&walks, &decodes) },
        "server": {
            "what": "the test kit's emulator, in the same process",
            "driver_only": figure(&bare_driver), "ours": figure(&sourced), "rows_then_columns": figure(&rows),
            "of_driver_only": of(&bare_driver, &sourced), "of_rows_then_columns": of(&rows, &sourced),
            "less_time_than_rows_percent": 100.0 * (1.0 - of(&sourced, &rows)),
        },
        "pymongoarrow": peer.as_ref().map(|(runs, version)| json!({
            "version": version, "figure": figure(runs), "ours_is_faster_by": of(runs, &sourced),
        })),
        "peak_megabytes": peak(),
    });
    let text = serde_json::to_string_pretty(&figures)?;
    println!("{text}");
    if let Some(out) = &args.out {
        std::fs::write(out, text + "\n")?;
    }
    Ok(())
}
