//! What is no table, and what its library says of tables that are broken.

use std::process::Command;

use arrowload_core::ErrorKind;
use serde_json::json;

use crate::support::{plan, refused, rows, run};

/// A plain file, or what is below one, is refused in the same words whether or not the load has an id, by which the target is
/// asked for it before anything else; and a folder that is no table becomes one.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_table_is_refused_with_and_without_an_id() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file.txt");
    std::fs::write(&file, "text").expect("written");
    let odd = folder.path().join("odd");
    std::fs::create_dir_all(&odd).expect("made");
    std::fs::write(odd.join("_delta_log"), "text").expect("written");
    for (target, kind) in [
        (file.clone(), ErrorKind::InvalidOption),
        (file.join("below"), ErrorKind::InvalidOption),
        (odd, ErrorKind::InvalidOption),
    ] {
        for mode in ["create", "append", "overwrite"] {
            let without = refused(&target, &rows(0..3), json!({ "mode": mode })).await;
            let options = json!({ "mode": mode, "load_id": "one" });
            let with = refused(&target, &rows(0..3), options).await;
            let words = |error: &arrowload_core::Error| (error.kind(), error.message().to_owned());
            assert_eq!(words(&with), words(&without), "{target:?}");
            assert_eq!(with.kind(), kind, "{with:?}");
        }
    }
    assert_eq!(std::fs::read(&file).expect("read"), b"text");
    let plain = folder.path().join("plain");
    std::fs::create_dir_all(&plain).expect("made");
    std::fs::write(plain.join("notes.txt"), "text").expect("written");
    for options in [json!({}), json!({ "load_id": "one" })] {
        let planned = plan(&plain, &rows(0..3), options.clone()).await;
        let exists = planned.expect("a plan").target_exists;
        let report = run(&plain, &rows(0..3), options.clone()).await;
        assert_eq!(report.expect("loaded").rows, 3);
        assert_eq!(exists, options != json!({}));
    }
}

/// What an overwrite would remove is known before its first row, unless it depends on the rows.
#[tokio::test(flavor = "multi_thread")]
async fn an_overwrite_beyond_its_limit_is_refused_by_its_plan() {
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("t");
    run(&target, &rows(0..10), json!({})).await.expect("loaded");
    for limit in [json!(0), json!(9), json!("50%")] {
        let options = json!({ "mode": "overwrite", "max_deletes": limit });
        let error = refused(&target, &rows(0..3), options).await;
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        assert!(error.message().contains("10 of 10 rows"), "{error}");
    }
    // Of these the rows decide, and the load finds out.
    let some = json!({ "mode": "overwrite", "max_deletes": 0, "replace_where": "id < 3" });
    plan(&target, &rows(0..3), some.clone())
        .await
        .expect("a plan");
    let error = run(&target, &rows(0..3), some).await;
    let error = error.expect_err("three rows would go");
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    let none = json!({ "mode": "upsert", "keys": ["id"], "max_deletes": 0, "max_updates": 0 });
    run(&target, &rows(50..53), none).await.expect("new rows");
}

/// Says which process is to be tried.
const CHILD: &str = "ARROWLOAD_DELTA_BACKTRACE_CHILD";

#[test]
fn errors_hold_no_frames_of_the_library() {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args([
            "--exact",
            "places::a_process_with_backtraces",
            "--nocapture",
        ])
        .env(CHILD, "1")
        .env("RUST_BACKTRACE", "1")
        .output()
        .expect("a process");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_with_backtraces() {
    if std::env::var(CHILD).is_err() {
        return;
    }
    let commit = "_delta_log/00000000000000000000.json";
    let protocol = r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}"#;
    let mut traced = 0;
    for (what, file, text) in [
        ("no JSON", commit, "{"),
        ("no metadata", commit, protocol),
        (
            "a wrong schema",
            commit,
            r#"{"metaData":{"id":"x","format":{"provider":"parquet","options":{}},"schemaString":"{","partitionColumns":[],"configuration":{}}}"#,
        ),
        (
            "no Parquet",
            "_delta_log/00000000000000000001.checkpoint.parquet",
            "text",
        ),
        ("a wrong hint", "_delta_log/_last_checkpoint", "{"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path().join("t");
        run(&target, &rows(0..3), json!({})).await.expect("loaded");
        std::fs::write(target.join(file), text).expect("written");
        let tried = run(&target, &rows(0..3), json!({})).await;
        traced += assert_plain(what, tried.map(drop));
    }
    // A data file that an upsert would read.
    for text in [None, Some("text")] {
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path().join("t");
        run(&target, &rows(0..3), json!({})).await.expect("loaded");
        for entry in std::fs::read_dir(&target).expect("listed") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|ending| ending == "parquet") {
                match text {
                    None => std::fs::remove_file(path).expect("removed"),
                    Some(text) => std::fs::write(path, text).expect("written"),
                }
            }
        }
        let upsert = json!({ "mode": "upsert", "keys": ["id"] });
        let error = run(&target, &rows(0..3), upsert).await;
        let kind = error
            .as_ref()
            .map_err(|error| (error.kind(), error.is_transient()));
        let wanted = match text {
            None => ErrorKind::NotFound,
            Some(_) => ErrorKind::InvalidData,
        };
        assert_eq!(kind.err(), Some((wanted, false)));
        traced += assert_plain("a data file", error.map(drop));
    }
    assert!(
        traced > 0,
        "the library has written no frames into its errors"
    );
}

/// An error says in all its forms what is wrong, and nothing of where in a library that was noticed. Answers with how many
/// errors of the library beneath it say that.
fn assert_plain(what: &str, outcome: arrowload_core::Result<()>) -> usize {
    let Err(error) = outcome else {
        return 0;
    };
    for text in [
        error.to_string(),
        format!("{error:#}"),
        format!("{error:?}"),
    ] {
        for sign in [" 0: ", "   1: ", " at /", "backtrace"] {
            assert!(!text.contains(sign), "{what}: {text}");
        }
    }
    let beneath = std::iter::successors(std::error::Error::source(&error), |error| error.source());
    beneath
        .filter(|error| error.to_string().contains("   1: "))
        .count()
}
