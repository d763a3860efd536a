//! What loads that were killed have left is removed by their repetition, or by any load after a lease, and never what a load
//! that is under way uses.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::json;
use tempfile::tempdir;

use crate::gate::{Point, child_at, kill_at};
use crate::support::{ids, names, rows, run};

const LEASE: Duration = Duration::from_secs(60 * 60);

fn stages(folder: &Path) -> Vec<String> {
    let mut names = names(folder);
    names.retain(|name| name.starts_with(".arrowload-"));
    names
}

/// Two loads that are under way, one that was killed, and others that come and go.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_load_is_cleared_away_and_a_live_one_is_not() {
    for (name, mode) in [("a.parquet", "create"), ("folder/", "append")] {
        let root = tempdir().expect("a folder");
        let target = |what: &str| format!("{}/{what}-{name}", root.path().display());
        let options = |id: &str| json!({"mode": mode, "load_id": id});
        let live = child_at(&target("live"), &options("live"), 0..10, Point::Committing);
        let live = Killed(live);
        let held = stages(root.path());
        assert_eq!(held.len(), 1);
        for point in [Point::Writing, Point::Committing] {
            kill_at(&target("killed"), &options("killed"), 0..10, point);
        }
        // The second run has cleared away what the first one left.
        assert_eq!(
            stages(root.path()).len(),
            2,
            "the live one's, and the killed one's"
        );

        run(target("other"), &rows(0..5), options("other"))
            .await
            .expect("a load");
        assert_eq!(
            stages(root.path()),
            held,
            "another load takes the killed one's alone"
        );

        run(target("killed"), &rows(0..10), options("killed"))
            .await
            .expect("a repeat");
        assert_eq!(stages(root.path()), held);
        assert_eq!(ids(Path::new(&target("killed"))).len(), 10);

        // The live one, which was not touched for long, is locked. As where a lock proves nothing, the other one has its lease.
        age(&root.path().join(&held[0]));
        kill_at(&target("gone"), &options("gone"), 0..10, Point::Preparing);
        let mut left = stages(root.path());
        left.retain(|name| *name != held[0]);
        let gone = root.path().join(&left[0]);
        let _ = std::fs::remove_file(gone.join("locked"));
        run(target("third"), &rows(0..5), options("third"))
            .await
            .expect("a load");
        assert_eq!(stages(root.path()).len(), 2, "another load takes neither");
        age(&gone);
        run(target("another"), &rows(0..5), options("another"))
            .await
            .expect("a load");
        assert_eq!(stages(root.path()), held, "after its lease, anyone's");
        drop(live);
        run(target("live"), &rows(0..10), options("live"))
            .await
            .expect("a repeat");
        assert_eq!(stages(root.path()), [""; 0]);
        assert_eq!(ids(Path::new(&target("live"))).len(), 10);
    }
}

/// As if nobody had touched it since its lease.
fn age(stage: &Path) {
    let file = File::open(stage).expect("a stage");
    file.set_modified(SystemTime::now() - 2 * LEASE)
        .expect("touched");
}

/// A process that is killed when the test is done with it.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("its end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_a_killed_load_has_added_are_its_own_to_remove() {
    let root = tempdir().expect("a folder");
    let folder = root.path().join("t");
    let target = format!("{}/", folder.display());
    let load = |id: &'static str| run(target.clone(), ten(), json!({"load_id": id}));
    load("one").await.expect("a load");
    load("killed").await.expect("a load");
    // As if it had been killed between its files and its record.
    for name in names(&folder) {
        let record = std::fs::read_to_string(folder.join(&name)).unwrap_or_default();
        if name.starts_with('_') && record.contains("killed") {
            std::fs::remove_file(folder.join(name)).expect("removed");
        }
    }
    load("two").await.expect("a load");
    assert_eq!(ids(&folder).len(), 30, "another load takes none of them");
    load("killed").await.expect("a repeat");
    assert_eq!(ids(&folder).len(), 30);
}

/// A run can be killed when it has committed, and has not yet removed what it staged.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_has_committed_clears_away_what_it_left() {
    for (name, mode) in [("a.parquet", "create"), ("folder/", "overwrite")] {
        let root = tempdir().expect("a folder");
        let target = format!("{}/{name}", root.path().display());
        let options = json!({"mode": mode, "load_id": "one"});
        kill_at(&target, &options, 0..10, Point::Committing);
        let left = stages(root.path());
        assert_eq!(left.len(), 1, "{left:?}");
        let load = || run(target.clone(), ten(), options.clone());
        load().await.expect("a load");
        std::fs::create_dir(root.path().join(&left[0])).expect("a folder");
        assert!(load().await.expect("a repeat").already_loaded);
        assert_eq!(stages(root.path()), [""; 0], "{name}");
    }
}

fn ten() -> &'static arrow_array::RecordBatch {
    Box::leak(Box::new(rows(0..10)))
}
