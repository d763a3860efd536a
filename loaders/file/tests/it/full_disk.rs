//! A disk that is full, while rows are written and when they are published: an error with a kind, no row that was there is
//! lost, and nothing is left of the load.

use std::path::PathBuf;
use std::sync::Arc;

use arrowload_core::{ErrorKind, Input, load};
use arrowload_testkit::{SmallDisk, loads};
use futures::FutureExt;
use serde_json::json;

use crate::gate::{self, Gated, Point};
use crate::support::{rows, run};

const FORMATS: [&str; 5] = ["parquet", "csv", "ndjson", "arrow", "arrow_stream"];

/// A single file and a folder of each format.
fn targets(disk: &SmallDisk) -> Vec<(&'static str, String)> {
    let root = disk.path().display();
    let of = |format| {
        [
            (format, format!("{root}/{format}.{}", ending(format))),
            (format, format!("{root}/{format}/")),
        ]
    };
    FORMATS.into_iter().flat_map(of).collect()
}

fn ending(format: &str) -> &str {
    if format == "arrow_stream" {
        "arrows"
    } else {
        format
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_does_not_fit_fails_and_leaves_nothing() {
    let Some(disk) = SmallDisk::available(4) else {
        return;
    };
    for (format, target) in targets(&disk) {
        let options = json!({"format": format, "compression": "none", "max_retries": 2});
        let error = run(&target, &rows(0..1_000_000), options)
            .await
            .expect_err("more than 4 MiB");
        assert_eq!(
            (error.kind(), error.is_transient()),
            (ErrorKind::ResourceExhausted, false),
            "{target}: {error:?}"
        );
        assert_eq!(disk.names(), [""; 0].map(PathBuf::from), "{target}");
        let options = json!({"format": format});
        let report = run(&target, &rows(0..100), options).await.expect(&target);
        assert_eq!(report.rows, 100);
        empty(&disk);
    }
}

fn empty(disk: &SmallDisk) {
    for entry in std::fs::read_dir(disk.path()).expect("the disk") {
        let path = entry.expect("an entry").path();
        let removed = match path.is_dir() {
            true => std::fs::remove_dir_all(&path),
            false => std::fs::remove_file(&path),
        };
        removed.expect("removed");
    }
}

/// Fills the disk when a load is at a point, and answers with how it ended.
async fn filled_at(
    disk: &Arc<SmallDisk>,
    target: &str,
    mode: &str,
    format: &str,
    at: Point,
) -> arrowload_core::Result<arrowload_core::LoadReport> {
    let filled = Arc::clone(disk);
    let act = move || {
        filled.fill("filler", 0).expect("filled");
        std::future::ready(()).boxed()
    };
    gate::set(target, at, Arc::new(act));
    let options =
        json!({"format": format, "mode": mode, "load_id": format!("{at:?}"), "max_retries": 0});
    let (loader, spec) = loads::prepare::<Gated>(target, options).await?;
    let batches = vec![rows(0..50_000), rows(50_000..100_000)];
    let input = Input::table(batches[0].schema(), batches);
    let outcome = load(&loader, &spec, &input).await;
    std::fs::remove_file(disk.path().join("filler")).expect("the disk was filled");
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_at_any_moment_takes_no_row_that_was_there() {
    let Some(disk) = SmallDisk::available(16) else {
        return;
    };
    let disk = Arc::new(disk);
    let modes = [
        ("/", "append"),
        ("/", "overwrite"),
        (".", "overwrite"),
        (".", "create"),
    ];
    for format in FORMATS {
        for (kind, mode) in modes {
            let name = match kind {
                "." => format!("{mode}.{}", ending(format)),
                _ => format!("{mode}-{format}/"),
            };
            let target = format!("{}/{name}", disk.path().display());
            if mode != "create" {
                let options = json!({"format": format, "mode": "overwrite", "load_id": "old"});
                run(&target, &rows(0..100), options)
                    .await
                    .expect("old rows");
            }
            for at in gate::POINTS {
                let before = contents(&disk);
                match filled_at(&disk, &target, mode, format, at).await {
                    Err(error) => {
                        assert_eq!(
                            (error.kind(), error.is_transient()),
                            (ErrorKind::ResourceExhausted, false),
                            "{target} {at:?}: {error:?}"
                        );
                        assert!(contents(&disk) == before, "{target} {at:?}: {error}");
                    }
                    // Everything was on the disk. A rename needs no room, and a record does.
                    Ok(report) => {
                        assert!(at != Point::Writing && kind == ".", "{target} {at:?}");
                        assert_eq!(report.rows, 100_000);
                        if mode == "create" {
                            std::fs::remove_file(&target).expect("removed");
                        }
                    }
                }
            }
            let options = json!({"format": format, "mode": mode});
            let report = run(&target, &rows(0..100_000), options).await;
            assert_eq!(report.expect("there is room again").rows, 100_000);
            empty(&disk);
        }
    }
}

/// Every name on the disk, with what is in the files.
fn contents(disk: &SmallDisk) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let read = |name: PathBuf| {
        let bytes = std::fs::read(disk.path().join(&name)).ok();
        (name, bytes)
    };
    disk.names().into_iter().map(read).collect()
}
