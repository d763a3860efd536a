//! What is said of the target of a load that did not end well is what is there: when its future is dropped, its process killed,
//! or something in it panics while it writes, prepares and commits. (`full_disk` does the same for a store that fails, `crash` at any other moment.)

use std::path::Path;
use std::sync::Arc;

use arrowload_core::{Aftermath, ErrorKind, Guarantees, Input, LoadState, Loader, load};
use arrowload_testkit::loads;
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::gate::{Gated, POINTS, Point, kill_at, set, stop};
use crate::support::{ids, names, plan, rows, run};

/// Targets, whether they are there before, and how they are loaded into.
const SITUATIONS: [(&str, bool, &str); 8] = [
    ("a.parquet", false, "create"),
    ("b.parquet", false, "append"),
    ("c.parquet", false, "overwrite"),
    ("d.parquet", true, "overwrite"),
    ("a/", false, "create"),
    ("b/", false, "append"),
    ("c/", true, "append"),
    ("d/", true, "overwrite"),
];

const OLD: std::ops::Range<i64> = 0..10;
const NEW: std::ops::Range<i64> = 10..30;

fn options(mode: &str) -> Value {
    json!({"mode": mode, "load_id": "new", "max_retries": 0})
}

/// Compares the rows that readers see with what was said of them.
fn check(said: Aftermath, kept: &Guarantees, mode: &str, before: &[i64], seen: &[i64], at: &str) {
    let new: Vec<i64> = NEW.collect();
    let after: Vec<i64> = match mode {
        "overwrite" => new.clone(),
        _ => before.iter().copied().chain(new.clone()).collect(),
    };
    let has_new = seen.iter().any(|id| new.contains(id));
    let lacks_old = before.iter().any(|id| !seen.contains(id));
    match said {
        Aftermath::Unchanged => assert_eq!(seen, before, "{at}"),
        Aftermath::Changed(left) => {
            assert!(left.new_rows || !has_new, "{at}: {seen:?}");
            assert!(left.old_rows_gone || !lacks_old, "{at}: {seen:?}");
        }
        Aftermath::Committed => assert_eq!(seen, after, "{at}"),
        // It is as it was, or as it is to be, or as the guarantees say.
        Aftermath::Unknown if seen == before || seen == after => {}
        Aftermath::Unknown => check(kept.after_failure.into(), kept, mode, before, seen, at),
        said => panic!("{at}: {said:?}"),
    }
}

/// A target in a situation: what its plan says, and the rows that it has.
async fn prepared(
    root: &Path,
    (name, there, mode): (&str, bool, &str),
) -> (String, Guarantees, Vec<i64>) {
    let target = format!("{}/{name}", root.display());
    if there {
        run(&target, &rows(OLD), json!({"load_id": "old"}))
            .await
            .expect("old rows");
    }
    let planned = plan(&target, &rows(NEW), options(mode)).await;
    let before = ids(Path::new(&target));
    (target, planned.expect("a plan").guarantees, before)
}

async fn find(target: &str) -> LoadState {
    let loader = loads::prepare::<Gated>(target, json!({})).await;
    let loader: Loader = loader.expect("a loader").0;
    loader.find_load(target, "new").await.expect("an answer")
}

/// The load is repeated to its end, and each row is there once.
async fn repeat(target: &str, mode: &str, before: &[i64], at: &str) {
    let report = run(target, &rows(NEW), options(mode)).await.expect(at);
    assert_eq!(report.rows, 20, "{at}");
    let mut after: Vec<i64> = NEW.collect();
    if mode != "overwrite" {
        after.splice(0..0, before.iter().copied());
    }
    assert_eq!(ids(Path::new(target)), after, "{at}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_load_whose_future_is_dropped() {
    for point in POINTS {
        let root = tempdir().expect("a folder");
        for situation in SITUATIONS {
            let at = format!("{situation:?}, dropped while {point:?}");
            let mode = situation.2;
            let (target, kept, before) = prepared(root.path(), situation).await;
            let reached = stop(&target, point);
            let (loader, spec) = loads::prepare::<Gated>(&target, options(mode))
                .await
                .expect("a loader");
            let batches = vec![rows(10..20), rows(20..30)];
            let input = Input::table(batches[0].schema(), batches);
            tokio::select! {
                outcome = load(&loader, &spec, &input) => panic!("{at}: {outcome:?}"),
                () = reached.notified() => {}
            }
            let said = spec.status.aftermath();
            assert_eq!(
                said == Aftermath::Unknown,
                point == Point::Committing,
                "{at}"
            );
            check(said, &kept, mode, &before, &ids(Path::new(&target)), &at);
            assert!(
                matches!(find(&target).await, LoadState::NotCommitted),
                "{at}"
            );
            repeat(&target, mode, &before, &at).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_load_that_panics() {
    for point in POINTS {
        let root = tempdir().expect("a folder");
        for situation in SITUATIONS {
            let at = format!("{situation:?}, panics while {point:?}");
            let mode = situation.2;
            let (target, kept, before) = prepared(root.path(), situation).await;
            set(&target, point, Arc::new(|| panic!("out of luck")));
            let (loader, spec) = loads::prepare::<Gated>(&target, options(mode))
                .await
                .expect("a loader");
            let input = Input::table(rows(NEW).schema(), vec![rows(NEW)]);
            let error = load(&loader, &spec, &input).await.expect_err(&at);
            let text = format!("{error:#}");
            assert!(text.contains("out of luck"), "{at}: {text}");
            // Asked after a commit in doubt, the store says that there was none.
            let kind = match point {
                Point::Committing => ErrorKind::Connection,
                _ => ErrorKind::Unexpected,
            };
            assert_eq!(error.kind(), kind, "{at}: {text}");
            let said = error.aftermath().expect("it is said");
            check(said, &kept, mode, &before, &ids(Path::new(&target)), &at);
            let stages = names(root.path());
            let stages = stages.iter().filter(|name| name.starts_with(".arrowload-"));
            assert_eq!(stages.count(), 0, "{at}");
            repeat(&target, mode, &before, &at).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_load_whose_process_is_killed() {
    for point in POINTS {
        let root = tempdir().expect("a folder");
        for situation in SITUATIONS {
            let at = format!("{situation:?}, killed while {point:?}");
            let mode = situation.2;
            let (target, kept, before) = prepared(root.path(), situation).await;
            kill_at(&target, &options(mode), NEW, point);
            // What the next run would say.
            let said = match find(&target).await {
                LoadState::Committed { .. } => Aftermath::Committed,
                _ => kept.after_failure.into(),
            };
            check(said, &kept, mode, &before, &ids(Path::new(&target)), &at);
            repeat(&target, mode, &before, &at).await;
        }
    }
}
