//! Loads whose process is killed at a random moment: one snapshot or none, and every row once when the load is repeated.
//! `ARROWLOAD_KILLS` says how many; a few where nothing is said.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Warehouse, available, rows};

/// What the child is to load, as JSON: the warehouse and the first row.
const JOB: &str = "ARROWLOAD_ICEBERG_CHILD";

fn options(first: i64) -> Value {
    let mut options = json!({"load_id": format!("load {first}")});
    if first % 20 == 0 {
        options["mode"] = json!("upsert");
        options["keys"] = json!(["id"]);
    }
    options
}

/// The load of the child: nothing, unless a test has started it.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Ok(job) = std::env::var(JOB) else {
        return;
    };
    let job: Value = serde_json::from_str(&job).expect("a job");
    let first = job["first"].as_i64().expect("a number");
    let mut options = options(first);
    options["warehouse"] = job["warehouse"].clone();
    let rows = rows(first..first + 10);
    let loaded =
        arrowload_testkit::loads::run::<arrowload_iceberg::IcebergLoader>("t", &rows, options);
    loaded.await.expect("the load");
}

fn start(house: &Warehouse, first: i64) -> Child {
    let job = json!({"warehouse": house.path(), "first": first});
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "kills::child"])
        .env(JOB, job.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts")
}

#[expect(clippy::print_stdout, reason = "the number is worth reading")]
#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_is_killed_is_there_or_is_not() {
    if !available() {
        return;
    }
    let kills: i64 = match std::env::var("ARROWLOAD_KILLS") {
        Ok(kills) => kills.parse().expect("a number"),
        Err(_) => 5,
    };
    let house = Warehouse::new();
    let started = Instant::now();
    assert!(start(&house, 0).wait().expect("it ends").success());
    let whole = started.elapsed();
    let mut committed = 0;
    for kill in 1..=kills {
        let first = kill * 10;
        // Steps of the golden ratio fall everywhere, and twice on no moment.
        let moment = (kill as f64 * 0.618_033_988_749_895).fract();
        let mut child = start(&house, first);
        tokio::time::sleep(Duration::from_secs_f64(whole.as_secs_f64() * moment * 1.1)).await;
        child.kill().expect("it is killed");
        child.wait().expect("it ends");
        let ids = || house.ask("t", "sorted(row['id'] for row in rows)");
        let (before, after): (Vec<i64>, Vec<i64>) =
            ((0..first).collect(), (0..first + 10).collect());
        let found = ids();
        let is_there = found == json!(after);
        assert!(is_there || found == json!(before), "{first}: {found}");
        committed += i64::from(is_there);
        let again = house
            .run("t", &rows(first..first + 10), options(first))
            .await;
        assert_eq!(
            again.expect("the load again").already_loaded,
            is_there,
            "{first}"
        );
        assert_eq!(ids(), json!(after));
    }
    let snapshots = house.ask("t", "len(table.metadata.snapshots)");
    assert_eq!(snapshots, json!(kills + 1));
    println!("{committed} of {kills} loads had committed when they were killed");
}
