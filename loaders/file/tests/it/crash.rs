//! The process dies at any moment of a load. Readers see the old rows or the new; a load of several files may have given
//! some of them their names. The repeated load leaves one copy of each row, and nothing else.

use std::time::{Duration, Instant};

use arrowload_core::Atomicity;
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::gate::child;
use crate::support::{ids, names, plan, rows, run};

const OLD: std::ops::Range<i64> = 0..1_000;
const NEW: std::ops::Range<i64> = 1_000..301_000;
const ROUNDS: u32 = 24;

/// Kills loads into a target, with these options. Whether readers may see some of the load's rows, the plan says.
async fn kill(target: &str, mode: &str, options: Value) {
    let folder = tempdir().expect("a folder");
    let path = folder.path().join(target);
    let target = format!(
        "{}{}",
        path.display(),
        if target.ends_with('/') { "/" } else { "" }
    );
    let reset = async || {
        let _ = std::fs::remove_dir_all(&path);
        let _ = std::fs::remove_file(&path);
        let mut first = options.clone();
        first["load_id"] = "first".into();
        first["mode"] = "append".into();
        if path.extension().is_some() {
            first["mode"] = "overwrite".into();
        }
        run(&target, &rows(OLD), first).await.expect("the old rows");
    };
    let before: Vec<i64> = OLD.collect();
    let after: Vec<i64> = if mode == "append" {
        OLD.chain(NEW).collect()
    } else {
        NEW.collect()
    };
    let mut took = Duration::ZERO;
    for _ in 0..2 {
        reset().await;
        let mut options = options.clone();
        options["mode"] = mode.into();
        let began = Instant::now();
        let output = child(&target, &options, NEW, None)
            .output()
            .expect("started");
        took = began.elapsed();
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("loaded 300000"),
            "{output:?}"
        );
        assert_eq!(ids(&path), after);
    }
    reset().await;
    let mut planned = options.clone();
    planned["mode"] = mode.into();
    let planned = plan(&target, &rows(NEW), planned).await.expect("a plan");
    let whole = planned.guarantees.atomicity == Atomicity::Load;
    let (mut survived, mut died, mut parts) = (0, 0, 0);
    for round in 0..ROUNDS {
        reset().await;
        let mut options = options.clone();
        (options["mode"], options["load_id"]) = (mode.into(), format!("round {round}").into());
        let mut process = child(&target, &options, NEW, None)
            .spawn()
            .expect("started");
        let pause = took * (round * 4 + 8) / (ROUNDS * 4);
        tokio::time::sleep(pause).await;
        process.kill().expect("killed");
        let output = process.wait_with_output().expect("its output");
        let reported = String::from_utf8_lossy(&output.stdout).contains("loaded");
        let seen = ids(&path);
        match (seen == after, seen == before) {
            (true, _) => survived += 1,
            (_, true) => died += 1,
            _ if whole => panic!(
                "{mode} killed after {pause:?}: {} rows are seen",
                seen.len()
            ),
            _ => parts += 1,
        }
        assert!(
            !reported || seen == after,
            "{mode} killed after {pause:?}: it reported rows that are not there"
        );
        let report = run(&target, &rows(NEW), options)
            .await
            .expect("the repeated load");
        assert_eq!(report.rows, 300_000);
        let again = ids(&path);
        assert!(
            again == after,
            "{mode} killed after {pause:?} and repeated: {} rows, not {}",
            again.len(),
            after.len()
        );
        let left = names(folder.path());
        assert_eq!(left.len(), 1, "{mode} killed after {pause:?}: {left:?}");
    }
    assert!(
        died > 0,
        "{survived} loads were over before they were killed, {parts} partly, and {died} were not"
    );
}

#[tokio::test]
async fn a_file_that_is_replaced_is_the_old_or_the_new() {
    kill("rows.parquet", "overwrite", json!({})).await;
}

#[tokio::test]
async fn a_file_that_is_added_to_a_folder_is_there_or_not() {
    kill("rows/", "append", json!({})).await;
}

#[tokio::test]
async fn files_that_are_added_to_a_folder_arrive_once() {
    kill(
        "rows/",
        "append",
        json!({"max_file_bytes": 100_000, "batch_size": 10_000}),
    )
    .await;
}

#[tokio::test]
async fn a_folder_that_is_replaced_ends_with_the_new_rows() {
    kill(
        "rows/",
        "overwrite",
        json!({"max_file_bytes": 100_000, "batch_size": 10_000}),
    )
    .await;
}
