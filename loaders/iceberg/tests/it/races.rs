//! Several writers of one table, and loads that end half-way.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrowload_core::{
    Begun, DataLoader, ErrorKind, LoadRequest, LoadSession, LoadState, Mode, Rejects,
};
use arrowload_iceberg::{IcebergConfig, IcebergLoader, IcebergOptions, IcebergSession};
use serde_json::json;

use crate::support::{Warehouse, available, rows};

async fn loader(house: &Warehouse) -> IcebergLoader {
    let config = IcebergConfig {
        warehouse: Some(house.path().display().to_string()),
        ..IcebergConfig::default()
    };
    IcebergLoader::connect(config).await.expect("a catalog")
}

/// A load whose rows are in the store, and which has not committed.
async fn prepared(
    loader: &IcebergLoader,
    table: &str,
    mode: Mode,
    rows: &RecordBatch,
) -> IcebergSession {
    let options = IcebergOptions::default();
    let id = format!("{table} {mode} {}", uuid());
    let mut request = LoadRequest::new(id, table, rows.schema(), options);
    request.load.mode = mode;
    if mode == Mode::Upsert {
        request.load.keys = vec!["id".into()];
    }
    let found = loader.resolve(&request).await.expect("a target");
    let begun = loader.begin(request, found, Rejects::none()).await;
    let Begun::Session(mut session) = begun.expect("a load") else {
        panic!("it was loaded already");
    };
    session.write(rows).await.expect("rows are taken");
    session.prepare().await.expect("rows are in the store");
    session
}

fn uuid() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed).to_string()
}

/// Every file below a folder.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let Ok(entries) = std::fs::read_dir(folder) else {
        return found;
    };
    for entry in entries {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path)),
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_side_by_side_all_win() {
    if !available() {
        return;
    }
    let house = Arc::new(Warehouse::new());
    let writers = (0..8_i64).map(|writer| {
        let house = Arc::clone(&house);
        tokio::spawn(async move {
            for part in 0..2 {
                let first = writer * 100 + part * 10;
                let rows = rows(first..first + 10);
                house.run("t", &rows, json!({})).await.expect("a load");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("it ends");
    }
    let said = house.ask(
        "t",
        "[len(rows), len({row['id'] for row in rows}), len(table.metadata.snapshots), \
          table.current_snapshot().summary.additional_properties['total-records']]",
    );
    assert_eq!(said, json!([160, 160, 16, "160"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overwrite_or_upsert_does_not_pass_over_what_others_have_done() {
    if !available() {
        return;
    }
    let house = Warehouse::new();
    house
        .run("t", &rows(0..10), json!({}))
        .await
        .expect("a load");
    let loader = loader(&house).await;
    let before = files(house.path());
    let overwrite = prepared(&loader, "t", Mode::Overwrite, &rows(50..60)).await;
    let upsert = prepared(&loader, "t", Mode::Upsert, &rows(5..15)).await;
    let append = prepared(&loader, "t", Mode::Append, &rows(20..30)).await;
    house
        .run("t", &rows(10..20), json!({}))
        .await
        .expect("a load");
    let error = overwrite.commit().await.expect_err("rows would be lost");
    assert_eq!(
        (error.kind(), error.is_transient()),
        (ErrorKind::Conflict, false)
    );
    let error = upsert.commit().await.expect_err("rows would be doubled");
    assert_eq!(
        (error.kind(), error.is_transient()),
        (ErrorKind::Conflict, true)
    );
    append.commit().await.expect("nothing stands against it");
    assert_eq!(
        house.ask("t", "sorted(r['id'] for r in rows)"),
        json!((0..30).collect::<Vec<_>>())
    );
    // What did not commit is gone: two commits have a data file, a manifest, a list and a metadata file each.
    assert_eq!(files(house.path()).difference(&before).count(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_is_given_up_leaves_nothing() {
    if !available() {
        return;
    }
    let house = Warehouse::new();
    house
        .run("t", &rows(0..10), json!({}))
        .await
        .expect("a load");
    let before = files(house.path());
    let loader = loader(&house).await;
    for mode in [Mode::Append, Mode::Overwrite, Mode::Upsert] {
        let session = prepared(&loader, "t", mode, &rows(5..15)).await;
        session.abort().await.expect("it is given up");
        assert_eq!(files(house.path()), before, "{mode}");
    }
    drop(prepared(&loader, "new", Mode::Append, &rows(5..15)).await);
    assert!(house.read("new").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_was_rolled_back_has_not_happened() {
    if !available() {
        return;
    }
    let house = Warehouse::new();
    house
        .run("t", &rows(0..10), json!({}))
        .await
        .expect("a load");
    let load = json!({"load_id": "second"});
    house
        .run("t", &rows(10..20), load.clone())
        .await
        .expect("a load");
    house.script(
        "from pyiceberg.table.update import SetSnapshotRefUpdate\n\
         table = catalog.load_table(('default', 't'))\n\
         first = min(table.metadata.snapshots, key=lambda s: s.timestamp_ms).snapshot_id\n\
         catalog.commit_table(table, (), (SetSnapshotRefUpdate(ref_name='main', type='branch', snapshot_id=first),))\n\
         print(1)",
        &[],
    );
    assert_eq!(house.ask("t", "len(rows)"), json!(10));
    let report = house.run("t", &rows(10..20), load.clone()).await;
    assert!(!report.expect("the load again").already_loaded);
    assert_eq!(house.ask("t", "len(rows)"), json!(20));
    // A snapshot that has expired is remembered.
    house.script(
        "from pyiceberg.table.update import RemoveSnapshotsUpdate\n\
         table = catalog.load_table(('default', 't'))\n\
         table.append(pa.table({'id': [99], 'name': ['x']}))\n\
         table = catalog.load_table(('default', 't'))\n\
         old = [s.snapshot_id for s in table.metadata.snapshots if s.snapshot_id != table.metadata.current_snapshot_id]\n\
         catalog.commit_table(table, (), (RemoveSnapshotsUpdate(snapshot_ids=old),))\n\
         print(1)",
        &[],
    );
    let report = house.run("t", &rows(10..20), load).await;
    assert!(report.expect("the load again").already_loaded);
    assert_eq!(house.ask("t", "len(rows)"), json!(21));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_load_that_it_has_forgotten_a_table_says_that_it_does_not_know() {
    if !available() {
        return;
    }
    let house = Warehouse::new();
    for number in 0..17 {
        let load = json!({ "load_id": format!("number {number}") });
        let loaded = house.run("t", &rows(number..number + 1), load).await;
        loaded.expect("a load");
    }
    let loader = loader(&house).await;
    let state = async |id: &str| loader.find_load("t", id).await.expect("an answer");
    assert!(matches!(
        state("number 0").await,
        LoadState::Committed { .. }
    ));
    assert!(matches!(state("never").await, LoadState::NotCommitted));
    house.script(
        "from pyiceberg.table.update import RemoveSnapshotsUpdate\n\
         table = catalog.load_table(('default', 't'))\n\
         old = [s.snapshot_id for s in table.metadata.snapshots if s.snapshot_id != table.metadata.current_snapshot_id]\n\
         catalog.commit_table(table, (), (RemoveSnapshotsUpdate(snapshot_ids=old),))\n\
         print(1)",
        &[],
    );
    assert!(matches!(
        state("number 1").await,
        LoadState::Committed { .. }
    ));
    assert!(matches!(state("number 0").await, LoadState::Unknown));
}
