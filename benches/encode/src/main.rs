//! Our `COPY` encoder against pgpq: the same values, one core, alternating runs, medians. By type, and for TPC-H `lineitem`.
//!
//! `cargo xtask bench encode`

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use arrow_array::types::{Date32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{ArrayRef, BinaryArray, BooleanArray, Decimal128Array, PrimitiveArray, RecordBatch, StringArray};
use arrowload_postgresql::CopyEncoder;
use bytes::BytesMut;
use clap::Parser;
use serde_json::{Map, Value, json};

#[derive(Parser)]
struct Args {
    /// Rows of each case
    #[arg(long, default_value_t = 1_000_000)]
    rows: usize,
    /// Alternating runs
    #[arg(long, default_value_t = 7)]
    runs: usize,
    /// Only the case of this name; nothing is saved
    #[arg(long)]
    only: Option<String>,
}

const BATCH: usize = 8_192;

/// A batch again, of the Arrow that the peer is built with.
fn for_peer(batches: &[RecordBatch]) -> Result<Vec<peer_array::RecordBatch>> {
    let mut bytes = Vec::new();
    let mut writer = arrow_ipc::writer::StreamWriter::try_new(&mut bytes, batches[0].schema_ref())?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.finish()?;
    drop(writer);
    Ok(peer_ipc::reader::StreamReader::try_new(bytes.as_slice(), None)?.collect::<Result<_, _>>()?)
}

/// Both encode into a buffer that is used again, as a program that sends it does.
fn ours(batches: &[RecordBatch]) -> Result<usize> {
    let mut encoder = CopyEncoder::new(batches[0].schema_ref())?;
    let (mut out, mut bytes) = (Vec::new(), encoder.header().len() + encoder.trailer().len());
    for batch in batches {
        out.clear();
        encoder.encode(batch, &mut out)?;
        bytes += out.len();
    }
    Ok(bytes)
}

fn peer(batches: &[peer_array::RecordBatch]) -> Result<usize> {
    let mut encoder = pgpq::ArrowToPostgresBinaryEncoder::try_new(batches[0].schema_ref()).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let mut out = BytesMut::new();
    encoder.write_header(&mut out).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let mut bytes = out.len();
    for batch in batches {
        out.clear();
        encoder.write_batch(batch, &mut out).map_err(|error| anyhow::anyhow!("{error:?}"))?;
        bytes += out.len();
    }
    out.clear();
    encoder.write_footer(&mut out).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    Ok(bytes + out.len())
}

fn column(rows: usize, make: impl Fn(usize) -> ArrayRef) -> Result<Vec<RecordBatch>> {
    let batch = |start: usize| RecordBatch::try_from_iter([("v", make(start))]).context("a batch");
    (0..rows).step_by(BATCH).map(batch).collect()
}

fn ints(start: usize) -> impl Iterator<Item = i64> {
    (start..start + BATCH).map(|row| (row as i64).wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64))
}

fn cases(rows: usize) -> Result<Vec<(&'static str, Vec<RecordBatch>)>> {
    let text = |value: i64| format!("{value:x}").repeat(2);
    Ok(vec![
        ("lineitem", arrowload_tpch::lineitem_rows(rows, BATCH).collect()),
        ("bool", column(rows, |start| Arc::new(BooleanArray::from_iter(ints(start).map(|value| Some(value & 1 == 0)))))?),
        ("int32", column(rows, |start| Arc::new(PrimitiveArray::<Int32Type>::from_iter_values(ints(start).map(|value| value as i32))))?),
        ("int64", column(rows, |start| Arc::new(PrimitiveArray::<Int64Type>::from_iter_values(ints(start))))?),
        ("int64, a tenth null", column(rows, |start| {
            Arc::new(PrimitiveArray::<Int64Type>::from_iter(ints(start).map(|value| (value % 10 != 0).then_some(value))))
        })?),
        ("float64", column(rows, |start| Arc::new(PrimitiveArray::<Float64Type>::from_iter_values(ints(start).map(|value| value as f64))))?),
        ("decimal(15,2)", column(rows, |start| {
            let values = ints(start).map(|value| i128::from(value % 1_000_000_000_000));
            Arc::new(Decimal128Array::from_iter_values(values).with_precision_and_scale(15, 2).expect("a scale"))
        })?),
        ("date", column(rows, |start| Arc::new(PrimitiveArray::<Date32Type>::from_iter_values(ints(start).map(|value| (value % 20_000) as i32))))?),
        ("timestamp", column(rows, |start| {
            Arc::new(PrimitiveArray::<TimestampMicrosecondType>::from_iter_values(ints(start).map(|value| value / 100_000)))
        })?),
        ("utf8", column(rows, |start| Arc::new(StringArray::from_iter_values(ints(start).map(text))))?),
        ("binary", column(rows, |start| Arc::new(BinaryArray::from_iter_values(ints(start).map(|value| text(value).into_bytes()))))?),
    ])
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn timed(work: impl FnOnce() -> Result<usize>) -> Result<(f64, usize)> {
    let started = Instant::now();
    let bytes = work()?;
    Ok((started.elapsed().as_secs_f64(), bytes))
}

fn main() -> Result<()> {
    let args = Args::parse();
    println!("{} rows each, medians of {} alternating runs, one core", args.rows, args.runs);
    println!("{:20} {:>14} {:>14} {:>10} {:>8}", "", "ours, GB/s", "of COPY, GB/s", "pgpq", "ratio");
    let mut results = Map::new();
    for (name, batches) in cases(args.rows)? {
        if args.only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        // Of the values, without what builders reserved.
        let arrow: usize = batches.iter().flat_map(|batch| batch.columns()).map(|array| array.to_data().get_slice_memory_size().unwrap_or(0)).sum();
        let theirs = for_peer(&batches)?;
        let (mut own, mut others, mut copied) = (Vec::new(), Vec::new(), 0);
        let mut refused = None;
        for round in 0..=args.runs {
            let (seconds, bytes) = timed(|| ours(&batches))?;
            copied = bytes;
            match timed(|| peer(&theirs)) {
                Ok((peer_seconds, _)) if round > 0 => others.push(peer_seconds),
                Ok(_) => {}
                Err(error) => refused = Some(error.to_string()),
            }
            if round > 0 {
                own.push(seconds);
            }
        }
        ensure!(copied > 0, "nothing was encoded");
        let seconds = median(own);
        let (speed, of_copy) = (arrow as f64 / seconds / 1e9, copied as f64 / seconds / 1e9);
        let peer_speed = (!others.is_empty()).then(|| arrow as f64 / median(others) / 1e9);
        let shown = |value: Option<f64>| value.map_or_else(|| "refuses".to_owned(), |value| format!("{value:.2}"));
        println!("{name:20} {speed:14.2} {of_copy:14.2} {:>10} {:>8}", shown(peer_speed), shown(peer_speed.map(|peer| speed / peer)));
        results.insert(
            name.into(),
            json!({ "gigabytes_per_second": speed, "copy_gigabytes_per_second": of_copy, "pgpq": peer_speed, "ratio": peer_speed.map(|peer| speed / peer), "pgpq_refuses": refused }),
        );
    }
    if args.only.is_some() {
        return Ok(());
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results/encode.json");
    std::fs::write(file, serde_json::to_string_pretty(&Value::Object(results))? + "\n")?;
    Ok(())
}
