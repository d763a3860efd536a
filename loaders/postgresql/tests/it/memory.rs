//! Memory does not grow with the rows: a process of its own loads a stream, and says how much it had at its peak.
#![cfg(target_os = "linux")]

use std::process::{Command, Stdio};
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use arrowload_core::{BatchStream, Input, Mode, load};

use crate::server::{Database, database};
use crate::support::spec;

/// Tells this program, started again, how many rows to load.
const CHILD: &str = "ARROWLOAD_TEST_MEMORY";
const BATCH: i64 = 8_192;

fn narrow(first: i64) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(first..first + BATCH));
    let values: ArrayRef = Arc::new(Float64Array::from_iter_values(
        (first..first + BATCH).map(|id| id as f64 / 3.0),
    ));
    RecordBatch::try_from_iter([("id", ids), ("value", values)]).expect("a batch")
}

/// What the child process runs; in the test's own process it does nothing.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the parent reads it")]
async fn child_process() {
    let Ok(text) = std::env::var(CHILD) else {
        return;
    };
    let [url, mode, batches] = text.split('\n').collect::<Vec<_>>()[..] else {
        panic!("{text}")
    };
    let mode = Mode::ALL
        .into_iter()
        .find(|known| known.name() == mode)
        .expect("a mode");
    let batches: i64 = batches.parse().expect("a number");
    let mut spec = spec("t", mode);
    if mode == Mode::Upsert {
        spec.load.keys = vec!["id".into()];
    }
    let rows = futures::stream::iter((0..batches).map(|batch| Ok(narrow(batch * BATCH))));
    let stream = BatchStream::new(narrow(0).schema(), rows);
    let loader = Database {
        url: url.to_owned(),
    }
    .loader()
    .await;
    let report = load(&loader, &spec, &Input::stream(stream))
        .await
        .expect("loaded");
    let status = std::fs::read_to_string("/proc/self/status").expect("the process's status");
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("the peak");
    println!(
        "loaded {} with {}",
        report.rows,
        peak.trim().trim_end_matches(" kB")
    );
}

/// The peak of a process that loads this many batches, in KiB.
fn peak(database: &Database, mode: Mode, batches: i64) -> u64 {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args(["--exact", "memory::child_process", "--nocapture"])
        .env(
            CHILD,
            format!("{}\n{}\n{batches}", database.url, mode.name()),
        );
    let output = command.stderr(Stdio::inherit()).output().expect("started");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let loaded = format!("loaded {} with ", batches * BATCH);
    let peak = text
        .lines()
        .find_map(|line| line.strip_prefix(&loaded))
        .unwrap_or_else(|| panic!("{text}"));
    peak.parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_million_rows_need_no_more_memory_than_one() {
    let Some(database) = database("memory").await else {
        return;
    };
    for (mode, batches) in [
        (Mode::Append, 123),
        (Mode::Overwrite, 30),
        (Mode::Upsert, 15),
    ] {
        database
            .run("DROP TABLE IF EXISTS t; CREATE TABLE t (id bigint PRIMARY KEY, value float8)")
            .await;
        let few = peak(&database, mode, batches);
        database.run("TRUNCATE t").await;
        let many = peak(&database, mode, batches * 10);
        assert!(
            many * 10 <= few * 11,
            "{mode}: {few} KiB, and {many} KiB for ten times the rows"
        );
        assert!(many < 256 << 10, "{mode}: {many} KiB");
    }
}
