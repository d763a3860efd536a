//! The table that records loads: one that an earlier version has made gets new columns, in order with loads of that version that
//! run beside; and what it keeps comes back.

use std::time::Duration;

use arrowload_core::{ErrorKind, LoadState, Loader, Mark, Mode, load, plan_load};
use serde_json::json;

use crate::server::{Database, database};
use crate::support::{descriptor, input, people, spec, with};

/// The table as the version before made it.
const OLD: &str = "CREATE TABLE IF NOT EXISTS arrowload_loads (target_schema text NOT NULL, target_table text NOT NULL, load_id text NOT NULL, \
    mode text NOT NULL, rows bigint NOT NULL, rows_rejected bigint NOT NULL, bytes bigint NOT NULL, rows_inserted bigint, \
    rows_updated bigint, rows_duplicate bigint, created_table oid, attempt text, committed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(), \
    PRIMARY KEY (target_schema, target_table, load_id))";

/// What the version before writes when a load commits.
fn old_record(load_id: &str) -> String {
    format!(
        "INSERT INTO arrowload_loads (target_schema, target_table, load_id, mode, rows, bytes, rows_inserted, rows_updated, rows_duplicate, \
         created_table, attempt, rows_rejected) VALUES ('public', 't', '{load_id}', 'append', 3, 90, NULL, NULL, NULL, NULL, NULL, 0) \
         ON CONFLICT DO NOTHING"
    )
}

/// What the version before asks to know the table: all of these columns.
const OLD_QUESTION: &str = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'arrowload_loads'::regclass AND attnum > 0 AND attname IN \
    ('target_schema', 'target_table', 'load_id', 'rows', 'rows_rejected', 'rows_inserted', 'created_table', 'attempt')";

impl Database {
    async fn with_old_ledger(&self) {
        self.run(&format!(
            "CREATE TABLE t (id bigint, name text); {OLD}; {}",
            old_record("old")
        ))
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_of_the_version_before_is_taken_over() {
    let Some(database) = database("old_ledger").await else {
        return;
    };
    database.with_old_ledger().await;
    let loader = database.loader().await;
    // A record without a definition matches anything, and no question changes the table.
    let rows = people(0..3, "a");
    let mut old = spec("t", Mode::Append);
    old.load.load_id = Some("old".into());
    let found = loader.find_load("t", "old").await.expect("asked");
    let LoadState::Committed { receipt, complete } = found else {
        panic!("{found:?}")
    };
    assert!(
        complete && receipt.rows == 3 && receipt.definition.is_none() && receipt.mark.is_none()
    );
    let input_of = |text: &str| input(std::slice::from_ref(&rows)).defined_as(text);
    let report = load(&loader, &old, &input_of("select 1"))
        .await
        .expect("found");
    assert!(report.already_loaded);
    let new = spec("t", Mode::Append);
    let plan = plan_load(&loader, &new, &input_of("select 1"))
        .await
        .expect("planned");
    let alters =
        "ALTER TABLE \"public\".\"arrowload_loads\" ADD COLUMN IF NOT EXISTS definition text";
    assert!(plan.ddl[0].starts_with(alters), "{:?}", plan.ddl);
    let columns = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'arrowload_loads'::regclass AND attnum > 0";
    assert_eq!(database.rows(columns).await, ["13"]);
    // A load adds the columns, and what the version before does still works.
    let mut new = spec("t", Mode::Append);
    new.load.load_id = Some("new".into());
    new.mark = Some(Mark::new(None, "42"));
    load(&loader, &new, &input_of("select 1"))
        .await
        .expect("loaded");
    assert_eq!(database.rows(columns).await, ["16"]);
    assert_eq!(database.rows(OLD_QUESTION).await, ["8"]);
    database.run(&old_record("older")).await;
    for (id, definition) in [("old", false), ("older", false), ("new", true)] {
        let found = loader.find_load("t", id).await.expect("asked");
        let LoadState::Committed { receipt, .. } = found else {
            panic!("{id}: {found:?}")
        };
        assert_eq!(receipt.definition.is_some(), definition, "{id}");
        assert_eq!(receipt.mark.is_some(), definition, "{id}");
    }
    let plan = plan_load(&loader, &spec("t", Mode::Append), &input_of("select 1")).await;
    let ddl = plan.expect("planned").ddl;
    assert!(
        ddl.iter().all(|line| !line.contains("arrowload_loads")),
        "{ddl:?}"
    );
    // Another query under the same id is refused; another size of batch is not.
    let again = load(&loader, &new, &input_of("select 2")).await;
    let error = again.expect_err("another load");
    assert!(
        error.kind() == ErrorKind::InvalidOption && error.message().contains("another load"),
        "{error}"
    );
    (new.load.batch_size, new.load.parallelism) = (Some(1), Some(2));
    let report = load(&loader, &new, &input_of("select 1"))
        .await
        .expect("the same");
    assert!(report.already_loaded);
    // A new one has the columns that the version before looks for.
    database.run("DROP TABLE arrowload_loads").await;
    database.load(&spec("t", Mode::Append), &rows).await;
    assert_eq!(database.rows(OLD_QUESTION).await, ["8"]);
    database.run(&old_record("older")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_added_in_order_with_loads_of_the_version_before() {
    let Some(database) = database("old_beside").await else {
        return;
    };
    database.with_old_ledger().await;
    // A load of the version before that is about to commit.
    let old = database.client().await;
    old.batch_execute(&format!(
        "BEGIN; INSERT INTO t VALUES (1, 'old'); {}",
        old_record("beside")
    ))
    .await
    .expect("recorded");
    let loads = (0..6).map(|number| {
        let database = &database;
        async move {
            let loader = database.loader().await;
            let mut new = spec("t", Mode::Append);
            new.load.load_id = Some(format!("new {number}"));
            new.load.max_retries = 9;
            load(&loader, &new, &crate::support::query(&people(0..3, "a"))).await
        }
    });
    let all = futures::future::join_all(loads);
    let ending = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let waiting = "SELECT count(*) > 0 FROM pg_locks l JOIN pg_class c ON c.oid = l.relation \
            WHERE c.relname = 'arrowload_loads' AND NOT l.granted";
        assert_eq!(database.rows(waiting).await, ["t"]);
        old.batch_execute("COMMIT").await.expect("committed");
    };
    let both = async { futures::join!(all, ending) };
    let (reports, ()) = tokio::time::timeout(Duration::from_secs(30), both)
        .await
        .expect("nobody waits for ever");
    for report in reports {
        assert!(!report.expect("loaded").already_loaded);
    }
    let recorded = "SELECT count(*), count(definition) FROM arrowload_loads";
    assert_eq!(database.rows(recorded).await, ["8|6"]);
    assert_eq!(database.rows("SELECT count(*) FROM t").await, ["19"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_own_an_old_ledger_is_told_what_to_run() {
    let Some(database) = database("old_owned").await else {
        return;
    };
    database.with_old_ledger().await;
    database
        .run(
            "DROP ROLE IF EXISTS arrowload_guest; CREATE ROLE arrowload_guest LOGIN; GRANT ALL ON t, arrowload_loads TO arrowload_guest",
        )
        .await;
    let mut settings = database.settings();
    settings.set("user", "arrowload_guest", "the test");
    let loader = Loader::connect(&descriptor(), &settings, 0)
        .await
        .expect("connected");
    let rows = [people(0..3, "a")];
    let planned = plan_load(&loader, &with("t", json!({})), &input(&rows)).await;
    let loaded = load(&loader, &with("t", json!({})), &input(&rows)).await;
    let (planned, loaded) = (planned.expect_err("refused"), loaded.expect_err("refused"));
    assert_eq!(planned.message(), loaded.message());
    assert_eq!(planned.kind(), ErrorKind::PermissionDenied);
    let (_, statement) = planned.message().split_once("once: ").expect("a statement");
    database.run(statement).await;
    load(&loader, &with("t", json!({})), &input(&rows))
        .await
        .expect("loaded");
}
