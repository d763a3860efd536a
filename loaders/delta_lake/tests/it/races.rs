//! Many writers of one table at once, and writers that are killed: each in a process of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use arrowload_core::{BatchStream, ErrorKind, Input, load};
use arrowload_testkit::python;
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use crate::support::{delta, prepare, rows, run};

/// What a process of the next two tests does: the path of a table, the first row, how many, and options.
const TASK: &str = "ARROWLOAD_DELTA_TASK";

/// Does nothing unless a test below started this process with a task.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_of_its_own() {
    let Ok(task) = std::env::var(TASK) else {
        return;
    };
    let task: Value = serde_json::from_str(&task).expect("a task");
    let number = |key: &str| task[key].as_i64().expect("a number");
    let path = PathBuf::from(task["path"].as_str().expect("a path"));
    for round in 0..number("rounds") {
        let first = number("first") + round * number("rows");
        let batches = (0..number("rows"))
            .step_by(10)
            .map(move |row| Ok(rows(first + row..first + row + 10)));
        let slow = stream::iter(batches).then(async |batch| {
            tokio::time::sleep(Duration::from_micros(500)).await;
            batch
        });
        let mut options = task["options"].clone();
        options["load_id"] = json!(format!("from {first}"));
        options["batch_size"] = json!(10);
        let (loader, spec) = prepare(&path, options).await.expect("it connects");
        let stream = BatchStream::new(rows(0..0).schema(), slow);
        load(&loader, &spec, &Input::stream(stream))
            .await
            .expect("it loads");
    }
}

fn start(task: &Value) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args(["--exact", "races::a_process_of_its_own"])
        .env(TASK, task.to_string());
    command
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("it starts")
}

const IDS: &str = "[row['id'] for row in rows]";

#[tokio::test(flavor = "multi_thread")]
async fn ten_processes_append_to_one_table_that_none_of_them_found() {
    if !python::available() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t");
    let task = |index: i64| json!({ "path": path, "first": index * 100, "rows": 20, "rounds": 5, "options": {} });
    let children: Vec<Child> = (0..10).map(|index| start(&task(index))).collect();
    for mut child in children {
        assert!(child.wait().expect("it ends").success());
    }
    assert_eq!(delta(&path, IDS), json!((0..1000).collect::<Vec<i64>>()));
    assert_eq!(delta(&path, "table.version()"), json!(49));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_is_killed_is_there_once_or_not_at_all() {
    if !python::available() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut killed = 0;
    for (index, mode) in ["append", "overwrite", "upsert"]
        .into_iter()
        .cycle()
        .take(18)
        .enumerate()
    {
        let path = folder.path().join(format!("t{index}"));
        run(&path, &rows(1000..1003), json!({}))
            .await
            .expect("it loads");
        let before = delta(&path, IDS);
        let keys = if mode == "upsert" {
            json!(["id"])
        } else {
            json!([])
        };
        let task = json!({ "path": path, "first": 0, "rows": 100, "rounds": 1, "options": { "mode": mode, "keys": keys } });
        let mut child = start(&task);
        // From before the first row to after the commit.
        tokio::time::sleep(Duration::from_millis(10 + 7 * index as u64)).await;
        killed += i32::from(child.try_wait().expect("it can be asked").is_none());
        child.kill().expect("it is killed");
        child.wait().expect("it ends");
        let after: Vec<i64> = match mode {
            "overwrite" => (0..100).collect(),
            _ => (0..100).chain(1000..1003).collect(),
        };
        let seen = delta(&path, IDS);
        assert!(
            seen == before || seen == json!(after),
            "{mode}, {index}: {seen}"
        );
        // The same load again: once in all.
        assert!(start(&task).wait().expect("it ends").success());
        assert_eq!(delta(&path, IDS), json!(after), "{mode}, {index}");
        assert_stray_files_are_found(&path);
    }
    assert!(killed > 5, "only {killed} loads were killed under way");
}

/// Every file below the table is one of the log's, or has a name that VACUUM removes.
fn assert_stray_files_are_found(path: &Path) {
    for entry in std::fs::read_dir(path).expect("a folder") {
        let name = entry
            .expect("an entry")
            .file_name()
            .to_string_lossy()
            .into_owned();
        assert!(
            name == "_delta_log" || !name.starts_with(['.', '_']),
            "VACUUM passes over {name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overwrite_does_not_lose_what_another_wrote_meanwhile() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t");
    for options in [
        json!({ "mode": "overwrite" }),
        json!({ "mode": "overwrite", "replace_where": "id < 5" }),
    ] {
        run(&path, &rows(0..3), json!({ "mode": "overwrite" }))
            .await
            .expect("it loads");
        let (loader, spec) = prepare(&path, options.clone()).await.expect("it connects");
        let meanwhile = path.clone();
        let late = stream::iter([()]).then(move |()| {
            let path = meanwhile.clone();
            async move {
                run(&path, &rows(3..4), json!({})).await?;
                Ok(rows(4..5))
            }
        });
        let outcome = load(
            &loader,
            &spec,
            &Input::stream(BatchStream::new(rows(0..0).schema(), late)),
        )
        .await;
        let error = outcome.expect_err("another wrote meanwhile");
        assert_eq!(
            (error.kind(), error.is_transient()),
            (ErrorKind::Conflict, false),
            "{options}: {error:#}"
        );
    }
    // Partitions that the other did not touch do not stand against it.
    let path = folder.path().join("partitions");
    run(&path, &rows(0..6), json!({ "partition_by": ["name"] }))
        .await
        .expect("it loads");
    let options = json!({ "mode": "overwrite", "overwrite_partitions": true });
    for (other, conflicts) in [(2..3, false), (1..2, true)] {
        let (loader, spec) = prepare(&path, options.clone()).await.expect("it connects");
        let meanwhile = path.clone();
        let late = stream::iter([()]).then(move |()| {
            let (path, other) = (meanwhile.clone(), other.clone());
            async move {
                run(&path, &rows(other), json!({})).await?;
                Ok(rows(1..2))
            }
        });
        let outcome = load(
            &loader,
            &spec,
            &Input::stream(BatchStream::new(rows(0..0).schema(), late)),
        )
        .await;
        assert_eq!(
            outcome
                .as_ref()
                .is_err_and(|error| error.kind() == ErrorKind::Conflict),
            conflicts,
            "{outcome:?}"
        );
    }
}
