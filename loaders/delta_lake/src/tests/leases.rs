//! What a dead load has left is removed, and what a live one writes never is.

use std::time::{Duration, Instant};

use arrowload_core::{Begun, DataLoader, ErrorKind, LoadRequest, LoadSession, Rejects};
use arrowload_testkit::loads::rows;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;

use super::{place, register, register_folder};
use crate::{DeltaLakeConfig, DeltaLakeLoader, DeltaLakeOptions, DeltaLakeSession};
use arrowload_testkit::Fate;

/// How long a lease of these tests is valid.
const LEASE: Duration = Duration::from_secs(4);

fn request(name: &str, load_id: &str) -> LoadRequest<DeltaLakeOptions> {
    let options = DeltaLakeOptions {
        lease: Some("4s".into()),
        ..DeltaLakeOptions::default()
    };
    LoadRequest::new(
        load_id,
        format!("faulty://{name}"),
        rows(0..0).schema(),
        options,
    )
}

async fn begin(name: &str, load_id: &str) -> DeltaLakeSession {
    let loader = DeltaLakeLoader::connect(DeltaLakeConfig::default()).await;
    let (loader, request) = (loader.expect("it connects"), request(name, load_id));
    let found = loader.resolve(&request).await.expect("it fits");
    let begun = loader.begin(request, found, Rejects::none()).await;
    match begun.expect("it begins") {
        Begun::Session(session) => session,
        Begun::AlreadyLoaded(_) => panic!("it was there"),
    }
}

/// A load whose files have their names, and that has not committed.
async fn published(name: &str, load_id: &str) -> DeltaLakeSession {
    let mut session = begin(name, load_id).await;
    session.write(&rows(0..3)).await.expect("written");
    session.prepare().await.expect("prepared");
    session.checksums().await.expect("read back");
    session
}

async fn whole(name: &str, load_id: &str) {
    let session = published(name, load_id).await;
    session.commit().await.expect("committed");
}

/// The data files of the table's folder, and the leases.
async fn files(name: &str) -> (usize, usize) {
    let store = place(name).log_store.object_store(None);
    let found: Vec<Path> = store
        .list(None)
        .map_ok(|file| file.location)
        .try_collect()
        .await
        .expect("listed");
    let count = |start: &str| {
        found
            .iter()
            .filter(|path| path.as_ref().starts_with(start))
            .count()
    };
    (count("part-"), count("arrowload-leases"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_load_in_a_store_is_cleaned_up_after_its_lease_and_a_live_one_never() {
    register("leases", InMemory::new());
    let began = Instant::now();
    let dead = published("leases", "dead").await;
    let alive = published("leases", "alive").await;
    assert_eq!(files("leases").await, (2, 2));
    // As if its process had been killed: it renews its lease no more, and has removed nothing.
    drop(dead);
    whole("leases", "early").await;
    if began.elapsed() < LEASE {
        assert_eq!(
            files("leases").await,
            (3, 2),
            "the dead one's lease was valid"
        );
    }
    let mut others = 1;
    while files("leases").await.1 == 2 {
        assert!(began.elapsed() < LEASE * 10, "the dead one's files stay");
        tokio::time::sleep(LEASE / 4).await;
        whole("leases", &format!("later {others}")).await;
        others += 1;
    }
    assert!(began.elapsed() >= LEASE, "the dead one's lease was valid");
    assert_eq!(
        files("leases").await,
        (1 + others, 1),
        "the live one's file is gone"
    );
    alive.commit().await.expect("it was alive");
    assert_eq!(files("leases").await, (1 + others, 0));
    // The id of the dead one is free, and its rows come once.
    whole("leases", "dead").await;
    assert_eq!(files("leases").await, (2 + others, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_could_not_renew_its_lease_does_not_commit() {
    use arrowload_testkit::StoreStep;
    let folder = tempfile::tempdir().expect("a folder");
    // Renewing begins with a look at the lease.
    register_folder("lapsed", folder.path(), false, |call| {
        match call.step == StoreStep::Get && call.path.as_ref().contains("arrowload-leases") {
            true => Fate::lost(),
            false => Fate::Done,
        }
    });
    let session = published("lapsed", "late").await;
    tokio::time::sleep(LEASE / 2).await;
    let error = session.commit().await.expect_err("it counts as dead");
    assert_eq!(
        (error.kind(), error.is_transient()),
        (ErrorKind::Conflict, true),
        "{error}"
    );
    assert_eq!(files("lapsed").await, (0, 0), "its files are removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_load_on_the_local_disk_is_cleaned_up_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    register_folder("local", folder.path(), true, |_| Fate::Done);
    let (dead, alive) = (
        published("local", "dead").await,
        published("local", "alive").await,
    );
    assert_eq!(files("local").await, (2, 2));
    // Its lock ends, as that of a process that is killed.
    drop(dead);
    whole("local", "other").await;
    assert_eq!(files("local").await, (2, 1));
    alive.commit().await.expect("it was alive");
    assert_eq!(files("local").await, (2, 0));
    // What committed shortly before its process died is the table's.
    let committed = published("local", "committed").await;
    committed.leave_behind().await.expect("committed");
    assert_eq!(files("local").await, (3, 1));
    whole("local", "last").await;
    assert_eq!(files("local").await, (4, 0), "a file of the table is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_is_given_up_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    register_folder("given-up", folder.path(), true, |_| Fate::Done);
    register("given-up-in-a-store", InMemory::new());
    for name in ["given-up", "given-up-in-a-store"] {
        let mut session = begin(name, "aborted").await;
        session.write(&rows(0..3)).await.expect("written");
        session.abort().await.expect("aborted");
        let session = published(name, "aborted later").await;
        session.abort().await.expect("aborted");
        let mut session = begin(name, "dropped").await;
        session.write(&rows(0..3)).await.expect("written");
        drop(session);
        for _ in 0..100 {
            if files(name).await == (0, 0) {
                break;
            }
            // In a store it is removed in the background.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(files(name).await, (0, 0), "{name}");
    }
    assert!(!folder.path().join("given-up").exists());
}
