//! Files that say one thing and hold another.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so and ends"
)]

mod forge;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BinaryArray, Float64Array, Int64Array, RecordBatch, StringArray, UInt32Array,
};
use arrow_schema::{DataType, TimeUnit};
use arrowload_common_parquet_read::{ParquetOptions, parquet_format};
use arrowload_core::{Error, ErrorKind};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::error::DataFusionError;
use datafusion::prelude::{SessionConfig, SessionContext};
use forge::{forge, int96_file, parquet, with_statistics};
use parquet::basic::Type as PhysicalType;
use parquet::file::metadata::{KeyValue, ParquetMetaData};
use tempfile::TempDir;

fn options(options: serde_json::Value) -> ParquetOptions {
    serde_json::from_value(options).expect("options")
}

fn usual() -> ParquetOptions {
    ParquetOptions::default()
}

fn place(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("it.parquet");
    std::fs::write(&path, bytes).expect("written");
    (folder, path)
}

async fn query(
    path: &Path,
    options: ParquetOptions,
    sql: &str,
) -> Result<Vec<RecordBatch>, DataFusionError> {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    let listing = ListingOptions::new(parquet_format(options)).with_collect_stat(true);
    let url = ListingTableUrl::parse(path.to_str().expect("a path of text"))?;
    let config = ListingTableConfig::new(url).with_listing_options(listing);
    let config = config.infer_schema(&context.state()).await?;
    context.register_table("t", Arc::new(ListingTable::try_new(config)?))?;
    context.sql(sql).await?.collect().await
}

fn ask(bytes: &[u8], options: ParquetOptions, sql: &str) -> Result<String, DataFusionError> {
    let (_folder, path) = place(bytes);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let batches = runtime.block_on(query(&path, options, sql))?;
    Ok(pretty_format_batches(&batches)?.to_string())
}

fn value(bytes: &[u8], options: ParquetOptions, sql: &str) -> String {
    let shown = ask(bytes, options, sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let rows: Vec<_> = shown
        .lines()
        .skip(3)
        .filter(|line| line.starts_with('|'))
        .collect();
    let rows: Vec<_> = rows
        .iter()
        .map(|row| row.trim_matches(['|', ' ']).to_owned())
        .collect();
    rows.join(",")
}

fn refused(outcome: Result<String, DataFusionError>) -> Error {
    match outcome.expect_err("it is refused").find_root() {
        DataFusionError::External(error) => {
            let error = error
                .downcast_ref::<Error>()
                .expect("an error of ours")
                .clone();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
            assert!(
                error
                    .get("file")
                    .is_some_and(|file| file.ends_with("it.parquet")),
                "{error}"
            );
            error
        }
        other => panic!("not ours: {other}"),
    }
}

fn numbers() -> Vec<u8> {
    let numbers = Arc::new(Int64Array::from_iter_values(1..=6)) as ArrayRef;
    parquet(&[("a", numbers)], 3)
}

/// The same row group with another number of rows.
fn rows(metadata: &ParquetMetaData, of_last: i64, total: i64) -> ParquetMetaData {
    let mut groups = metadata.row_groups().to_vec();
    let last = groups.pop().expect("a row group");
    let chunks = last.columns().iter().map(|chunk| {
        let chunk = chunk.clone().into_builder().set_num_values(of_last);
        chunk.build().expect("a chunk")
    });
    let chunks = chunks.collect();
    let last = last
        .into_builder()
        .set_num_rows(of_last)
        .set_column_metadata(chunks);
    groups.push(last.build().expect("a row group"));
    forge::with_total(metadata, groups, total)
}

#[test]
fn whole_files_are_counted_and_read() {
    let bytes = numbers();
    assert_eq!(value(&bytes, usual(), "SELECT count(*) FROM t"), "6");
    assert_eq!(
        value(&bytes, usual(), "SELECT a FROM t ORDER BY a"),
        "1,2,3,4,5,6"
    );
    assert_eq!(
        value(&bytes, usual(), "SELECT a FROM t WHERE a > 4 ORDER BY a"),
        "5,6"
    );
    assert_eq!(
        value(&bytes, usual(), "SELECT a FROM t ORDER BY a LIMIT 2"),
        "1,2"
    );
    assert_eq!(
        value(
            &bytes,
            usual(),
            "SELECT count(*) FROM (SELECT a FROM t LIMIT 4)"
        ),
        "4"
    );
}

#[test]
fn rows_that_are_stated_and_decoded_are_compared() {
    let whole = numbers();
    for (of_last, said) in [
        (4, "it states 4 rows, and 3 are in it"),
        (2, "it states 2 rows, and 3"),
    ] {
        let forged = forge(&whole, |metadata| rows(metadata, of_last, 3 + of_last));
        for sql in [
            "SELECT a FROM t",
            "SELECT a FROM t WHERE a <> 7",
            "SELECT sum(a) FROM t",
        ] {
            let error = refused(ask(&forged, usual(), sql));
            // A chunk with fewer values than it states is found by the decoder, too.
            assert!(error.message().contains(said), "{error}");
            assert_eq!(error.get("row group"), Some("1"));
        }
    }
}

#[test]
fn a_footer_that_contradicts_itself_is_refused() {
    let forged = forge::with_stated_total(&numbers(), 6, 5);
    for sql in ["SELECT count(*) FROM t", "SELECT a FROM t"] {
        let error = refused(ask(&forged, usual(), sql));
        assert!(
            error
                .message()
                .contains("states 5 rows, and its row groups 6"),
            "{error}"
        );
    }
    // Some writers leave the total at zero.
    let forged = forge::with_stated_total(&numbers(), 6, 0);
    assert_eq!(value(&forged, usual(), "SELECT count(*) FROM t"), "6");
    assert_eq!(
        value(&forged, usual(), "SELECT a FROM t ORDER BY a"),
        "1,2,3,4,5,6"
    );
}

#[test]
fn statistics_answer_nothing() {
    // Equal extremes would make a constant of the column, and wrong ones the answer of min and max.
    let forged = with_statistics(&numbers(), Some(5), Some(5), Some(0));
    assert_eq!(
        value(&forged, usual(), "SELECT a FROM t ORDER BY a"),
        "1,2,3,4,5,6"
    );
    assert_eq!(value(&forged, usual(), "SELECT min(a) FROM t"), "1");
    assert_eq!(value(&forged, usual(), "SELECT max(a) FROM t"), "6");
    let forged = with_statistics(&numbers(), Some(1), Some(6), Some(3));
    assert_eq!(value(&forged, usual(), "SELECT count(a) FROM t"), "6");
}

#[test]
fn statistics_that_cannot_be_right_hide_no_row() {
    let backwards = with_statistics(&numbers(), Some(900), Some(100), Some(0));
    assert_eq!(
        value(
            &backwards,
            usual(),
            "SELECT a FROM t WHERE a < 3 ORDER BY a"
        ),
        "1,2"
    );
    // Those that can be right are trusted, unless an option says otherwise.
    let lies = with_statistics(&numbers(), Some(100), Some(900), Some(0));
    assert_eq!(
        value(&lies, usual(), "SELECT a FROM t WHERE a < 3 ORDER BY a"),
        ""
    );
    let all = options(serde_json::json!({"pruning": false}));
    assert_eq!(
        value(&lies, all, "SELECT a FROM t WHERE a < 3 ORDER BY a"),
        "1,2"
    );
}

#[test]
fn not_a_number_is_found_though_statistics_leave_it_out() {
    let floats = Arc::new(Float64Array::from(vec![1.0, f64::NAN, 2.0])) as ArrayRef;
    let bytes = parquet(&[("x", floats)], 10);
    assert_eq!(value(&bytes, usual(), "SELECT x FROM t WHERE x > 5"), "NaN");
}

#[test]
fn timestamps_of_96_bits_are_microseconds_at_any_depth() {
    // Julian days: 9999-12-31, 2000-01-01 and the year 1.
    let bytes = int96_file(&[(5_373_484, 0), (2_451_545, 1_000), (1_721_426, 0)]);
    let shown = "9999-12-31T00:00:00,2000-01-01T00:00:00.000001,0001-01-01T00:00:00";
    for column in ["at", "l[1]", "s.x"] {
        assert_eq!(
            value(&bytes, usual(), &format!("SELECT {column} FROM t")),
            shown,
            "{column}"
        );
    }
    let kinds = value(&bytes, usual(), "SELECT arrow_typeof(at) FROM t LIMIT 1");
    assert_eq!(
        kinds,
        DataType::Timestamp(TimeUnit::Microsecond, None).to_string()
    );
}

#[test]
fn timestamps_that_a_unit_cannot_hold_are_refused() {
    let fine = int96_file(&[(2_451_545, 1)]);
    let error = refused(ask(&fine, usual(), "SELECT at FROM t"));
    assert!(error.message().contains("int96 = \"ns\""), "{error}");
    let nanoseconds = options(serde_json::json!({"int96": "ns"}));
    assert_eq!(
        value(&fine, nanoseconds.clone(), "SELECT s.x FROM t"),
        "2000-01-01T00:00:00.000000001"
    );
    let far = int96_file(&[(5_373_484, 0)]);
    for column in ["at", "l", "s"] {
        let error = refused(ask(
            &far,
            nanoseconds.clone(),
            &format!("SELECT {column} FROM t"),
        ));
        assert!(error.message().contains("1677 to 2262"), "{error}");
    }
    let nowhere = int96_file(&[(u32::MAX / 2, 0)]);
    refused(ask(&nowhere, usual(), "SELECT at FROM t"));
    // What is not read is not looked at.
    assert_eq!(value(&nowhere, usual(), "SELECT count(*) FROM t"), "1");
}

#[test]
fn text_that_is_not_said_to_be_such_is_binary() {
    let words = Arc::new(BinaryArray::from_vec(vec![b"a", b"bc"])) as ArrayRef;
    let bytes = parquet(&[("w", words)], 10);
    assert_eq!(
        value(&bytes, usual(), "SELECT arrow_typeof(w) FROM t LIMIT 1"),
        "Binary"
    );
    let as_text = || options(serde_json::json!({"binary_as_string": true}));
    assert_eq!(value(&bytes, as_text(), "SELECT w FROM t"), "a,bc");
    assert_eq!(
        value(&bytes, as_text(), "SELECT arrow_typeof(w) FROM t LIMIT 1"),
        "Utf8"
    );
    let other = Arc::new(BinaryArray::from_vec(vec![b"a", b"\xFF"])) as ArrayRef;
    let bytes = parquet(&[("w", other)], 10);
    let error = ask(&bytes, as_text(), "SELECT w FROM t").expect_err("it is no text");
    assert!(error.to_string().contains("row group 0"), "{error}");
    // The hint of Arrow makes no text of it either.
    let forged = forge(&bytes, |metadata| hinted(metadata, DataType::Utf8));
    assert_eq!(
        value(&forged, usual(), "SELECT arrow_typeof(w) FROM t LIMIT 1"),
        "Binary"
    );
}

/// The file with the hint that its column has a type.
fn hinted(metadata: &ParquetMetaData, of: DataType) -> ParquetMetaData {
    let schema = arrow_schema::Schema::new(vec![arrow_schema::Field::new("w", of, false)]);
    let hint = parquet::arrow::encode_arrow_schema(&schema);
    forge::with_pairs(
        metadata,
        vec![KeyValue::new("ARROW:schema".to_owned(), hint)],
    )
}

#[test]
fn a_hint_changes_no_value_and_is_checked() {
    let times = arrow_array::TimestampNanosecondArray::from(vec![1_700_000_000_000_000_000]);
    let bytes = parquet(&[("w", Arc::new(times) as ArrayRef)], 10);
    let forged = forge(&bytes, |metadata| {
        hinted(metadata, DataType::Timestamp(TimeUnit::Second, None))
    });
    assert_eq!(
        value(&forged, usual(), "SELECT w FROM t"),
        "2023-11-14T22:13:20"
    );
    for hint in ["not base64!", "AAAA", "/////wAAAAA="] {
        let forged = forge(&bytes, |metadata| {
            let pair = KeyValue::new("ARROW:schema".to_owned(), hint.to_owned());
            forge::with_pairs(metadata, vec![pair])
        });
        refused(ask(&forged, usual(), "SELECT w FROM t"));
    }
}

#[test]
fn an_error_names_the_row_group() {
    let words = Arc::new(StringArray::from(vec!["one", "two", "three"])) as ArrayRef;
    let more = Arc::new(UInt32Array::from(vec![1, 2, 3])) as ArrayRef;
    let mut bytes = parquet(&[("w", words), ("n", more)], 2);
    let at = forge::first_page_of(&bytes, 1, PhysicalType::BYTE_ARRAY);
    bytes[at] ^= 0xFF;
    let error = ask(&bytes, usual(), "SELECT w FROM t").expect_err("it is broken");
    let text = error.to_string();
    assert!(text.contains("it.parquet`, row group 1"), "{text}");
    assert_eq!(
        value(&bytes, usual(), "SELECT n FROM t ORDER BY n"),
        "1,2,3"
    );
}

#[test]
fn several_files_and_partitions_of_one_are_read_whole() {
    let numbers = Arc::new(Int64Array::from_iter_values(0..20_000)) as ArrayRef;
    let bytes = parquet(&[("a", numbers)], 1_000);
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["1.parquet", "2.parquet"] {
        std::fs::write(folder.path().join(name), &bytes).expect("written");
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let path = format!("{}/", folder.path().display());
    let sql = "SELECT count(*), sum(a), count(*) FILTER (WHERE a >= 19500) FROM t WHERE a >= 0";
    let batches = runtime
        .block_on(query(Path::new(&path), usual(), sql))
        .expect("read");
    let shown = pretty_format_batches(&batches).expect("text").to_string();
    assert!(
        shown.contains("| 40000") && shown.contains("399980000") && shown.contains("1000"),
        "{shown}"
    );
    assert_eq!(batches[0].column(0).len(), 1);
}
