//! What other clients see: tables of every type read back by psycopg and ADBC, and readers of every kind during overwrites.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, new_null_array};
use arrow_ipc::reader::StreamReader;
use arrow_schema::{DataType, Field, Schema};
use arrow_select::concat::{concat, concat_batches};
use arrowload_core::{Mode, OnError};
use arrowload_testkit::{TypeCase, canonical_rows, python, type_cases};

use crate::server::{Database, database};
use crate::support::{people, spec};

/// The program that is every client in turn.
const PROGRAM: &str = include_str!("../python/clients.py");

/// The interpreter, if tests that need Python run.
fn python() -> Option<Command> {
    if !python::available() {
        return None;
    }
    let mut command = Command::new(python::interpreter().expect("a Python"));
    command.args(["-c", PROGRAM]);
    Some(command)
}

/// The values, with nulls behind them, and the row's number.
fn rows_of(case: &TypeCase) -> RecordBatch {
    let nulls = new_null_array(case.values.data_type(), 2);
    let values = concat(&[case.values.as_ref(), nulls.as_ref()]).expect("one type");
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..values.len() as i64));
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        case.field.clone(),
    ]);
    RecordBatch::try_new(Arc::new(schema), vec![ids, values]).expect("a batch")
}

/// What arrives as JSON or is no value of PostgreSQL's: `values.rs` looks at those.
fn is_compared(case: &TypeCase) -> bool {
    use DataType as T;
    let document = matches!(
        case.values.data_type(),
        T::Struct(_) | T::Map(..) | T::Union(..)
    ) || matches!(case.values.data_type(), T::List(item) if item.data_type().is_nested());
    // The cases' nanoseconds are no whole microseconds.
    let fine = case.name.contains("(ns") || case.name == "Interval(MonthDayNano)";
    !document && !fine && case.name != "Utf8 with a NUL"
}

/// What these clients cannot show: with the words they use.
const CANNOT: [(&str, &str, &str); 2] = [
    (
        "psycopg",
        "Interval(YearMonth)",
        "arrived as \"id\"=0, \"value\"=duration",
    ),
    (
        "psycopg",
        "Interval(DayTime)",
        "arrived as \"id\"=0, \"value\"=duration",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn psycopg_and_adbc_read_what_was_sent() {
    let Some(database) = database("clients").await else {
        return;
    };
    if python().is_none() {
        return;
    }
    let cases: Vec<TypeCase> = type_cases().into_iter().filter(is_compared).collect();
    let sent: Vec<RecordBatch> = cases.iter().map(rows_of).collect();
    for (number, rows) in sent.iter().enumerate() {
        database
            .load(&spec(&format!("t{number}"), Mode::Append), rows)
            .await;
    }
    let mut failures = Vec::new();
    for client in ["adbc", "psycopg"] {
        let folder = tempfile::tempdir().expect("a folder");
        let tables: Vec<String> = (0..sent.len()).map(|number| format!("t{number}")).collect();
        let mut command = python().expect("a Python");
        let output = command
            .args(["read", client, &database.url])
            .arg(folder.path())
            .args(&tables)
            .output()
            .expect("started");
        assert!(
            output.status.success(),
            "{client}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        for ((case, rows), table) in cases.iter().zip(&sent).zip(&tables) {
            let outcome = compare(folder.path(), table, rows);
            let known = |(known, name, words): &(&str, &str, &str)| {
                *known == client
                    && *name == case.name
                    && outcome.as_ref().is_err_and(|why| why.contains(words))
            };
            match &outcome {
                Err(why) if !CANNOT.iter().any(known) => {
                    failures.push(format!("{} by {client}: {why}", case.name))
                }
                _ => {}
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

fn compare(folder: &std::path::Path, table: &str, sent: &RecordBatch) -> Result<(), String> {
    if let Ok(error) = fs::read_to_string(folder.join(format!("{table}.error"))) {
        return Err(error);
    }
    let file = fs::File::open(folder.join(table)).map_err(|error| error.to_string())?;
    let reader = StreamReader::try_new(file, None).map_err(|error| error.to_string())?;
    let schema = reader.schema();
    let batches = reader
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    let read = concat_batches(&schema, &batches).map_err(|error| error.to_string())?;
    let (sent, read) = (canonical_rows(sent), canonical_rows(&read));
    match sent.iter().zip(&read).find(|(sent, read)| sent != read) {
        Some((sent, read)) => Err(format!("{sent} arrived as {read}")),
        None if sent.len() != read.len() => {
            Err(format!("{} rows arrived as {}", sent.len(), read.len()))
        }
        None => Ok(()),
    }
}

/// A client of another program's, asking until it is told to end.
struct Watcher(Child, BufReader<std::process::ChildStdout>);

impl Watcher {
    fn start(database: &Database, client: &str, sql: &str) -> Option<Self> {
        let mut command = python()?;
        command
            .args(["watch", client, &database.url, sql])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("started");
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n", "{client}");
        Some(Self(child, output))
    }

    /// Every answer that it had.
    fn end(mut self) -> Vec<String> {
        drop(self.0.stdin.take());
        let mut text = String::new();
        self.1.read_to_string(&mut text).expect("its answers");
        assert!(self.0.wait().expect("its end").success());
        serde_json::from_str(&text).expect("a list")
    }
}

/// The rows of one version have one count and one sum.
const WATCHED: &str =
    "SELECT count(*), count(DISTINCT left(name, 1)), min(left(name, 1)), sum(id) FROM t";

fn answer(version: &str, rows: i64) -> String {
    format!("{rows}|1|{version}|{}", rows * (rows - 1) / 2)
}

/// Overwrites in each of the ways in which rows are exchanged, while psql, psycopg, ADBC and a plain driver read.
#[tokio::test(flavor = "multi_thread")]
async fn no_reader_sees_a_mix_or_nothing() {
    for way in ["direct", "referred", "evolved"] {
        let Some(database) = database(&format!("watched_{way}")).await else {
            return;
        };
        database
            .run("CREATE TABLE t (id bigint PRIMARY KEY, name text)")
            .await;
        if way == "referred" {
            database
                .run("CREATE TABLE child (parent bigint REFERENCES t)")
                .await;
        }
        database
            .load(&spec("t", Mode::Append), &people(0..4000, "a"))
            .await;
        let watchers: Vec<Watcher> = ["psycopg", "adbc"]
            .iter()
            .filter_map(|client| Watcher::start(&database, client, WATCHED))
            .collect();
        let done = Arc::new(AtomicBool::new(false));
        let psql = psql_reader(database.url.clone(), Arc::clone(&done));
        let (driver, stop) = (database.client().await, Arc::clone(&done));
        let driver = tokio::spawn(async move {
            let mut seen = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let row = driver
                    .query_one(&WATCHED.replace("sum(id)", "sum(id)::bigint"), &[])
                    .await
                    .expect("no error");
                let text = format!(
                    "{}|{}|{}|{}",
                    row.get::<_, i64>(0),
                    row.get::<_, i64>(1),
                    row.get::<_, &str>(2),
                    row.get::<_, i64>(3)
                );
                seen.push(text);
            }
            seen
        });
        let mut whole = vec![answer("a", 4000)];
        for (version, rows) in [
            ("b", 1500),
            ("c", 9000),
            ("d", 3000),
            ("e", 1),
            ("f", 20_000),
            ("g", 4000),
            ("h", 2),
            ("i", 7000),
        ] {
            let mut load_spec = spec("t", Mode::Overwrite);
            load_spec.load.schema_evolution = way == "evolved";
            load_spec.load.on_error = if version == "c" && way != "evolved" {
                OnError::Skip
            } else {
                OnError::Fail
            };
            database.load(&load_spec, &people(0..rows, version)).await;
            whole.push(answer(version, rows));
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        done.store(true, Ordering::Relaxed);
        let mut seen = driver.await.expect("the driver's reader");
        seen.extend(psql.join().expect("psql's reader"));
        seen.extend(watchers.into_iter().flat_map(Watcher::end));
        let strange: Vec<_> = seen.iter().filter(|seen| !whole.contains(seen)).collect();
        assert!(strange.is_empty(), "{way}: {strange:?}");
        let versions = whole.iter().filter(|answer| seen.contains(answer)).count();
        assert!(
            versions >= 4,
            "{way}: only {versions} versions were seen: {seen:?}"
        );
    }
}

/// psql, started again for each question.
fn psql_reader(url: String, done: Arc<AtomicBool>) -> std::thread::JoinHandle<Vec<String>> {
    let server = arrowload_testkit::ThrowawayPostgres::available().expect("a server");
    let database = url
        .rsplit('/')
        .next()
        .and_then(|name| name.split('?').next())
        .unwrap_or_default()
        .to_owned();
    std::thread::spawn(move || {
        let mut seen = Vec::new();
        while !done.load(Ordering::Relaxed) {
            seen.push(server.psql(&database, WATCHED).expect("no error"));
        }
        seen
    })
}
