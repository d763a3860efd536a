//! The embedded engine over real files.
#![expect(
    clippy::expect_used,
    clippy::panic,
    unused_qualifications,
    reason = "a test that cannot go on says so and ends"
)]

mod csv;
mod docs;
mod files;
mod hive;
mod json;
mod loads;
mod options;
#[cfg(feature = "aws")]
mod s3;
mod sampled;
#[cfg(feature = "http")]
mod web;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrowload_core::{
    Error, ErrorKind, Param, Params, Query, Registry, Settings, Source, SourceDescriptor,
};
use arrowload_datafusion as _;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use tempfile::TempDir;

fn people(ids: std::ops::Range<i64>) -> RecordBatch {
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(
        ids.clone().map(|id| format!("name {id}")),
    ));
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(ids));
    RecordBatch::try_from_iter([("id", ids), ("name", names)]).expect("a batch")
}

fn parquet(path: &Path, batch: &RecordBatch) {
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    let file = std::fs::File::create(path).expect("a file");
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).expect("a writer");
    writer.write(batch).expect("written");
    writer.close().expect("closed");
}

fn descriptor() -> SourceDescriptor {
    *Registry::linked()
        .expect("no twins")
        .source("datafusion")
        .expect("linked")
}

async fn source(url: &str) -> Result<Source, Error> {
    let descriptor = descriptor();
    let settings = Settings::from_map(descriptor.config_from_url(url)?, "the URL");
    Source::connect(&descriptor, &settings, 0).await
}

async fn over(folder: &Path) -> Source {
    source(&format!("datafusion://{}", folder.display()))
        .await
        .expect("it connects")
}

async fn run(source: &Source, sql: &str) -> Result<Vec<RecordBatch>, Error> {
    source.query(&Query::new(sql)).await?.try_collect().await
}

/// The rows of an answer as text: values between bars, `∅` for null.
async fn rows(source: &Source, sql: &str) -> Vec<String> {
    let batches = run(source, sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error:#}"));
    shown(&batches)
}

fn shown(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::new().with_null("∅");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).expect("shown"))
            .collect();
        for row in 0..batch.num_rows() {
            let values: Vec<String> = columns
                .iter()
                .map(|column| column.value(row).to_string())
                .collect();
            rows.push(values.join("|"));
        }
    }
    rows
}

/// The types of an answer.
async fn types(source: &Source, sql: &str) -> Vec<String> {
    let schema = source.schema(&Query::new(sql)).await;
    let schema = schema.unwrap_or_else(|error| panic!("{sql}: {error:#}"));
    let types = schema.fields().iter();
    types.map(|field| field.data_type().to_string()).collect()
}

async fn refused(source: &Source, sql: &str) -> Error {
    match run(source, sql).await {
        Ok(batches) => panic!("{sql}: {:?}", shown(&batches)),
        Err(error) => error,
    }
}

/// A folder with these files.
fn with(files: &[(&str, &str)]) -> TempDir {
    let folder = folder();
    for (name, text) in files {
        write(folder.path(), name, text);
    }
    folder
}

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    std::fs::write(path, bytes).expect("written");
}

async fn number(source: &Source, sql: &str) -> i64 {
    let batches = run(source, sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error:#}"));
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

#[tokio::test]
async fn files_and_folders_are_tables() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    parquet(&at("people.parquet"), &people(0..5));
    parquet(&at("events/day=2024-01-01/a.parquet"), &people(0..3));
    parquet(&at("events/day=2024-01-02/b.parquet"), &people(3..7));
    std::fs::write(at("plain.csv"), "id,name\n1,Ann\n2,\"a\nb\"\n").expect("written");
    std::fs::write(at("tabs.tsv"), "id\tname\n1\tAnn\n").expect("written");
    for name in ["lines.ndjson", "objects.json", "more.jsonl"] {
        std::fs::write(at(name), "{\"id\": 1}\n{\"id\": 2}\n").expect("written");
    }
    let mut gzip = flate2::write::GzEncoder::new(
        std::fs::File::create(at("packed.csv.gz")).expect("a file"),
        flate2::Compression::fast(),
    );
    gzip.write_all(b"id\n1\n2\n3\n").expect("written");
    gzip.finish().expect("finished");
    let batch = people(0..4);
    let mut ipc = arrow_ipc::writer::FileWriter::try_new(
        std::fs::File::create(at("file.arrow")).expect("a file"),
        &batch.schema(),
    )
    .expect("a writer");
    ipc.write(&batch).expect("written");
    ipc.finish().expect("finished");
    let mut ipc = arrow_ipc::writer::StreamWriter::try_new(
        std::fs::File::create(at("stream.arrows")).expect("a file"),
        &batch.schema(),
    )
    .expect("a writer");
    ipc.write(&batch).expect("written");
    ipc.finish().expect("finished");

    let source = over(folder.path()).await;
    for (from, rows) in [
        ("people", 5),
        ("'people.parquet'", 5),
        ("events", 7),
        ("events WHERE day = '2024-01-02'", 4),
        ("'events/day=2024-01-01/*.parquet'", 3),
        ("plain", 2),
        ("tabs", 1),
        ("lines", 2),
        ("objects", 2),
        ("more", 2),
        ("packed", 3),
        ("'packed.csv.gz'", 3),
        ("file", 4),
        ("stream", 4),
        ("generate_series(1, 10)", 10),
    ] {
        assert_eq!(
            number(&source, &format!("SELECT count(*) FROM {from}")).await,
            rows,
            "{from}"
        );
    }
    let absolute = at("people.parquet").display().to_string();
    assert_eq!(
        number(&source, &format!("SELECT count(*) FROM '{absolute}'")).await,
        5
    );
    let one = crate::source(&format!("datafusion://{absolute}?threads=1&batch_size=2"))
        .await
        .expect("one file");
    assert_eq!(
        run(&one, "SELECT * FROM people").await.expect("rows").len(),
        3
    );
}

#[tokio::test]
async fn the_schema_and_the_number_of_rows_are_known_before_the_first_batch() {
    let folder = folder();
    parquet(&folder.path().join("people.parquet"), &people(0..50));
    let source = over(folder.path()).await;
    let stream = source
        .query(&Query::new("SELECT * FROM people"))
        .await
        .expect("a stream");
    assert_eq!(
        (stream.expected_rows(), stream.schema().fields().len()),
        (Some(50), 2)
    );
    let limited = source
        .query(&Query::new("SELECT * FROM people LIMIT 7"))
        .await
        .expect("a stream");
    assert_eq!(limited.expected_rows(), Some(7));
    let none = source
        .query(&Query::new("SELECT id, name FROM people WHERE id < 0"))
        .await
        .expect("a stream");
    assert_eq!(none.schema().fields().len(), 2);
    assert!(
        none.try_collect::<Vec<_>>()
            .await
            .expect("no rows")
            .iter()
            .all(|batch| batch.num_rows() == 0)
    );
}

#[tokio::test]
async fn filters_and_projections_reach_the_files() {
    let folder = folder();
    parquet(&folder.path().join("people.parquet"), &people(0..50));
    let source = over(folder.path()).await;
    let plan = run(&source, "EXPLAIN SELECT name FROM people WHERE id > 40")
        .await
        .expect("a plan");
    let text = format!("{plan:?}");
    assert!(
        text.contains(", predicate=id") && text.contains("projection=["),
        "{text}"
    );
}

#[tokio::test]
async fn parameters_are_bound() {
    let source = over(folder().path()).await;
    let query = |params| Query::new("SELECT $1 + $2 AS sum, $3 AS text").with_params(params);
    let values = vec![
        Param::from(40_i64),
        Param::from(2_i64),
        Param::from("a'; DROP TABLE x"),
    ];
    let batches: Vec<RecordBatch> = source
        .query(&query(Params::Positional(values)))
        .await
        .expect("bound")
        .try_collect()
        .await
        .expect("rows");
    assert_eq!(
        batches[0].column(0).as_primitive::<Int64Type>().value(0),
        42
    );
    assert_eq!(
        batches[0].column(1).as_string::<i32>().value(0),
        "a'; DROP TABLE x"
    );
    let named = Params::Named(vec![("n".into(), Param::from(3_i64))]);
    let stream = source
        .query(&Query::new("SELECT * FROM generate_series(1, 10) LIMIT $n").with_params(named))
        .await
        .expect("bound");
    let rows: usize = stream
        .try_collect::<Vec<RecordBatch>>()
        .await
        .expect("rows")
        .iter()
        .map(RecordBatch::num_rows)
        .sum();
    assert_eq!(rows, 3);
    let twice =
        Query::new("SELECT * FROM (SELECT $N AS n WHERE $N IN (SELECT $Other)) WHERE n = $N");
    let both = |names: [&str; 2]| {
        Params::Named(
            names
                .iter()
                .map(|name| ((*name).to_owned(), Param::from(1_i64)))
                .collect(),
        )
    };
    let stream = source
        .query(&twice.clone().with_params(both(["N", "Other"])))
        .await
        .expect("bound");
    assert_eq!(
        stream
            .try_collect::<Vec<RecordBatch>>()
            .await
            .expect("rows")
            .iter()
            .map(RecordBatch::num_rows)
            .sum::<usize>(),
        1
    );
    for (query, unused) in [
        (
            Query::new("SELECT 1").with_params(Params::Positional(vec![Param::from(1)])),
            "$1",
        ),
        (
            Query::new("SELECT $1")
                .with_params(Params::Positional(vec![Param::from(1), Param::from(2)])),
            "$2",
        ),
        (Query::new("SELECT $n").with_params(both(["n", "m"])), "$m"),
    ] {
        let Err(error) = source.query(&query).await else {
            panic!("{unused} is not noticed")
        };
        assert!(
            error.kind() == ErrorKind::InvalidOption
                && error.to_string().contains(&format!("given for {unused}, ")),
            "{error}"
        );
    }
    let missing = source.query(&Query::new("SELECT $1 + 1")).await;
    let missing = match missing {
        Ok(stream) => stream
            .try_collect::<Vec<RecordBatch>>()
            .await
            .expect_err("no value"),
        Err(error) => error,
    };
    assert!(missing.to_string().contains("$1"), "{missing}");
}

#[tokio::test]
async fn mistakes_are_answered() {
    let folder = folder();
    parquet(&folder.path().join("people.parquet"), &people(0..5));
    std::fs::write(folder.path().join("broken.parquet"), "PAR1 no Parquet PAR1").expect("written");
    std::fs::write(
        folder.path().join("numbers.csv"),
        format!("n\n{}x\n", "1\n".repeat(600_000)),
    )
    .expect("written");
    let source = over(folder.path()).await;
    for (sql, kind, part) in [
        (
            "SELECT * FROM poeple",
            ErrorKind::NotFound,
            "did you mean `people`?",
        ),
        (
            "SELECT * FROM 'gone.parquet'",
            ErrorKind::NotFound,
            "gone.parquet",
        ),
        ("SELECT nmae FROM people", ErrorKind::Query, "name"),
        ("SELEC 1", ErrorKind::Query, "SELEC"),
        ("SELECT 1; SELECT 2", ErrorKind::Unsupported, ""),
        ("SELECT 'a' + 1", ErrorKind::Query, ""),
        ("SELECT 1 / 0", ErrorKind::Query, "zero"),
        (
            "SELECT * FROM 'broken.parquet'",
            ErrorKind::InvalidData,
            "broken.parquet",
        ),
        // Where the store is there, it would be asked.
        #[cfg(not(feature = "gcp"))]
        (
            "SELECT * FROM 'gs://bucket/x.parquet'",
            ErrorKind::Unsupported,
            "feature `gcp`",
        ),
        (
            "SELECT * FROM 'ftp://host/x.parquet'",
            ErrorKind::InvalidOption,
            "ftp",
        ),
        (
            "SELECT count(n) FROM numbers",
            ErrorKind::InvalidData,
            "line: 600002",
        ),
        (
            "CREATE TABLE x AS SELECT 1",
            ErrorKind::Unsupported,
            "only reads",
        ),
        (
            "INSERT INTO people VALUES (1, 'a')",
            ErrorKind::Unsupported,
            "only reads",
        ),
        (
            "COPY people TO 'x.parquet'",
            ErrorKind::Unsupported,
            "only reads",
        ),
        (
            "SET datafusion.execution.batch_size = 1",
            ErrorKind::Unsupported,
            "only reads",
        ),
    ] {
        let error = run(&source, sql).await.expect_err(sql);
        assert_eq!(error.kind(), kind, "{sql}: {error:#}");
        assert!(error.to_string().contains(part), "{sql}: {error}");
    }
    let gone = crate::source("datafusion:///no/such/folder")
        .await
        .expect_err("no folder");
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    let limit = crate::source("datafusion://?memory_limit=lots")
        .await
        .expect_err("no size");
    assert!(limit.to_string().contains("\"2GB\""), "{limit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_more_memory_than_allowed_spills() {
    let folder = folder();
    parquet(&folder.path().join("people.parquet"), &people(0..600_000));
    let url = |limit: &str| {
        format!(
            "datafusion://{}?memory_limit={limit}&threads=2&spill_folder={}",
            folder.path().display(),
            folder.path().display()
        )
    };
    let source = crate::source(&url("24MB")).await.expect("it connects");
    let stream = source
        .query(&Query::new("SELECT * FROM people ORDER BY name DESC"))
        .await
        .expect("a stream");
    let batches: Vec<RecordBatch> = stream.try_collect().await.expect("sorted");
    assert_eq!(
        batches.iter().map(RecordBatch::num_rows).sum::<usize>(),
        600_000
    );
    assert_eq!(
        batches[0].column(1).as_string::<i32>().value(0),
        "name 99999"
    );
    let small = crate::source(&url("100KB")).await.expect("it connects");
    let error = run(&small, "SELECT * FROM people ORDER BY name DESC")
        .await
        .expect_err("too little");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert!(error.to_string().contains("memory_limit"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_stream_cancels_its_query() {
    let source = over(folder().path()).await;
    let endless = "SELECT value FROM generate_series(1, 1000000000000)";
    let mut stream = source.query(&Query::new(endless)).await.expect("a stream");
    assert!(stream.try_next().await.expect("a batch").is_some());
    drop(stream);
    // The engine is free again.
    assert_eq!(
        number(&source, "SELECT count(*) FROM generate_series(1, 5)").await,
        5
    );
}
