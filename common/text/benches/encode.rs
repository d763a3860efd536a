//! How fast values become text and JSON, on one core: `cargo bench -p arrowload-common-text`.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a program that ends at the first mistake"
)]

use std::sync::Arc;
use std::time::Instant;

use arrow_array::types::Int32Type;
use arrow_array::*;
use arrowload_common_text::{Column, Csv, CsvStyle, Format, Json, key, object};

const ROWS: usize = 8_192;
const ROUNDS: usize = 41;

/// Seven columns as TPC-H's `lineitem` has them.
fn flat() -> RecordBatch {
    let rows = 0..ROWS as i64;
    let decimal = |values: Vec<i128>| {
        let values = Decimal128Array::from(values).with_precision_and_scale(15, 2);
        Arc::new(values.expect("a decimal")) as ArrayRef
    };
    let modes = ["TRUCK", "MAIL", "REG AIR", "SHIP", "FOB"];
    let columns: [(&str, ArrayRef); 7] = [
        (
            "l_orderkey",
            Arc::new(Int64Array::from_iter_values(
                rows.clone().map(|row| row * 7_919),
            )),
        ),
        (
            "l_linenumber",
            Arc::new(Int32Array::from_iter_values(
                rows.clone().map(|row| row as i32 % 7),
            )),
        ),
        (
            "l_quantity",
            decimal(rows.clone().map(|row| i128::from(row % 50) * 100).collect()),
        ),
        (
            "l_extendedprice",
            decimal(
                rows.clone()
                    .map(|row| i128::from(row) * 104_729 % 10_000_000)
                    .collect(),
            ),
        ),
        (
            "l_shipdate",
            Arc::new(Date32Array::from_iter_values(
                rows.clone().map(|row| 8_035 + row as i32 % 2_526),
            )),
        ),
        (
            "l_shipmode",
            Arc::new(StringArray::from_iter_values(
                rows.clone().map(|row| modes[row as usize % 5]),
            )),
        ),
        (
            "l_comment",
            Arc::new(StringArray::from_iter_values(
                rows.map(|row| format!("egular courts above the {row}")),
            )),
        ),
    ];
    RecordBatch::try_from_iter(columns).expect("a batch")
}

/// Floats, times, flags with nulls, a dictionary, text to escape, a list and a struct.
fn mixed() -> RecordBatch {
    let rows = 0..ROWS as i64;
    let words: DictionaryArray<Int32Type> = rows
        .clone()
        .map(|row| ["low", "middle", "high"][row as usize % 3])
        .collect();
    let lists =
        ListArray::from_iter_primitive::<Int32Type, _, _>(rows.clone().map(|row| {
            (row % 5 > 0).then(|| (0..row % 5).map(move |item| Some((row * item) as i32)))
        }));
    let floats: ArrayRef = Arc::new(Float64Array::from_iter_values(
        rows.clone().map(|row| row as f64 * 0.37),
    ));
    let flags: ArrayRef = Arc::new(BooleanArray::from_iter(
        rows.clone().map(|row| (row % 3 > 0).then_some(row % 2 > 0)),
    ));
    let field = |name: &str, array: &ArrayRef| {
        Arc::new(arrow_schema::Field::new(
            name,
            array.data_type().clone(),
            true,
        ))
    };
    let inner = StructArray::from(vec![
        (field("score", &floats), Arc::clone(&floats)),
        (field("flag", &flags), Arc::clone(&flags)),
    ]);
    let columns: [(&str, ArrayRef); 7] = [
        ("score", floats),
        (
            "at",
            Arc::new(
                TimestampMicrosecondArray::from_iter_values(
                    rows.clone()
                        .map(|row| 1_700_000_000_000_000 + row * 1_234_567),
                )
                .with_timezone("UTC"),
            ),
        ),
        ("flag", flags),
        ("level", Arc::new(words)),
        (
            "note",
            Arc::new(StringArray::from_iter_values(
                rows.map(|row| format!("line {row}\n\"quoted\", ünïcode and more")),
            )),
        ),
        ("list", Arc::new(lists)),
        ("inner", Arc::new(inner)),
    ];
    RecordBatch::try_from_iter(columns).expect("a batch")
}

/// The median of the rounds.
fn measure(name: &str, batch: &RecordBatch, mut write: impl FnMut(&RecordBatch, &mut Vec<u8>)) {
    let mut out = Vec::new();
    let mut seconds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            out.clear();
            let start = Instant::now();
            write(batch, &mut out);
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    let median = seconds[ROUNDS / 2];
    println!(
        "{name:24} {:>8.2} M rows/s {:>8.0} MB/s",
        ROWS as f64 / median / 1e6,
        out.len() as f64 / median / 1e6
    );
}

fn main() {
    let (flat, mixed) = (flat(), mixed());
    for (name, batch) in [("flat", &flat), ("mixed", &mixed)] {
        let columns = |batch: &RecordBatch| -> Vec<Column> {
            batch.columns().iter().map(Column::new).collect()
        };
        measure(&format!("text, {name}"), batch, |batch, out| {
            let columns = columns(batch);
            for row in 0..batch.num_rows() {
                for column in &columns {
                    if column.is_null(row) {
                        continue;
                    }
                    match column.bytes(row) {
                        Some(bytes) => out.extend_from_slice(bytes),
                        None => column.text(row, &Format::REDIS, out).expect("text"),
                    }
                }
            }
        });
        let keys: Vec<Vec<u8>> = batch
            .schema_ref()
            .fields()
            .iter()
            .map(|field| key(field.name()))
            .collect();
        for (profile, format) in [
            ("Redis", Format::REDIS),
            ("PostgreSQL", Format::POSTGRES_JSON),
        ] {
            measure(&format!("{profile} JSON, {name}"), batch, |batch, out| {
                let columns = columns(batch);
                for row in 0..batch.num_rows() {
                    let members = keys.iter().map(Vec::as_slice).zip(&columns);
                    object(members, row, &format, out).expect("JSON");
                }
            });
        }
        let json = Json::new(batch.schema_ref(), Format::NDJSON);
        measure(&format!("NDJSON, {name}"), batch, |batch, out| {
            json.lines(batch, 0, out).expect("lines")
        });
    }
    let csv = Csv::new(
        flat.schema_ref(),
        CsvStyle::new(None, None, None).expect("a style"),
    );
    measure("CSV, flat", &flat, |batch, out| {
        csv.lines(batch, 0, out).expect("lines")
    });
}
