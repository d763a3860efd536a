//! A disk that is full: an error with a kind, no row that was there is lost, and no file is left of the load.

use std::process::Command;

use arrowload_core::{Aftermath, ErrorKind};
use arrowload_testkit::{SmallDisk, skip};
use serde_json::json;

use crate::support::{rows, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_does_not_fit_fails_and_leaves_the_table_as_it_was() {
    let Some(disk) = SmallDisk::available(4) else {
        return;
    };
    if disk.path().canonicalize().is_err() {
        // Delta's library asks for the canonical path.
        return skip("mount", "only root can mount a small disk for all to see");
    }
    let target = disk.path().join("t");
    for mode in ["create", "append", "overwrite", "upsert"] {
        let is_there = target.exists();
        assert_eq!(is_there, mode != "create");
        let before = disk.names();
        let keys = if mode == "upsert" {
            json!(["id"])
        } else {
            json!([])
        };
        let options = json!({"mode": mode, "keys": keys, "compression": "none"});
        let error = run(&target, &rows(0..1_000_000), options.clone())
            .await
            .expect_err("more than 4 MiB");
        assert_eq!(
            (error.kind(), error.is_transient()),
            (ErrorKind::ResourceExhausted, false),
            "{mode}: {error:?}"
        );
        assert_eq!(error.aftermath(), Some(Aftermath::Unchanged), "{mode}");
        assert_eq!(disk.names(), before, "{mode}");
        let report = run(&target, &rows(0..10), options).await.expect(mode);
        assert_eq!(report.rows, 10);
    }
}

/// Names the table that a process is to upsert into, with a small disk for its temporary files.
const CHILD: &str = "ARROWLOAD_DELTA_TMPDIR_CHILD";

#[test]
fn an_upsert_that_does_not_fit_into_the_temporary_folder_names_it() {
    let Some(disk) = SmallDisk::available(4) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let status = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "full_disk::a_process_with_little_room"])
        .env(CHILD, folder.path().join("t"))
        .env("TMPDIR", disk.path())
        .status();
    assert!(status.expect("a process").success(), "see its output");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_with_little_room() {
    let Ok(target) = std::env::var(CHILD) else {
        return;
    };
    let options = json!({"mode": "upsert", "keys": ["id"]});
    run(&target, &rows(0..10), options.clone())
        .await
        .expect("loaded");
    let error = run(&target, &rows(0..1_000_000), options)
        .await
        .expect_err("more than 4 MiB");
    assert_eq!(
        (error.kind(), error.is_transient(), error.aftermath()),
        (
            ErrorKind::ResourceExhausted,
            false,
            Some(Aftermath::Unchanged)
        ),
        "{error:?}"
    );
    let folder = std::env::temp_dir().display().to_string();
    assert_eq!(error.get("path"), Some(folder.as_str()), "{error}");
    for words in [folder.as_str(), "do not fit", "set TMPDIR"] {
        assert!(error.message().contains(words), "{error}");
    }
}
