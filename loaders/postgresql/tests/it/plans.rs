//! A plan refuses what the load would be refused for, and changes nothing.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array};
use arrowload_core::{ErrorKind, Loader, Mode, Plan, plan_load};

use serde_json::json;

use crate::server::database;
use crate::support::{batch, descriptor, input, people, query, spec, with};

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_a_load_lacks_are_named() {
    let Some(database) = database("plan_rights").await else {
        return;
    };
    database
        .run(
            "DROP ROLE IF EXISTS arrowload_planner; CREATE ROLE arrowload_planner LOGIN; CREATE SCHEMA closed;
             REVOKE TEMPORARY ON DATABASE arrowload_test_plan_rights FROM PUBLIC; GRANT USAGE ON SCHEMA closed TO arrowload_planner;
             CREATE TABLE readable (id bigint, name text); GRANT SELECT ON readable TO arrowload_planner;
             CREATE TABLE guarded (id bigint, name text); GRANT ALL ON guarded TO arrowload_planner;
             ALTER TABLE guarded ENABLE ROW LEVEL SECURITY; CREATE POLICY every ON guarded USING (true);
             CREATE TABLE keyed (id bigint PRIMARY KEY, name text); GRANT ALL ON keyed TO arrowload_planner;
             CREATE TABLE closed.t (id bigint, name text); GRANT ALL ON closed.t TO arrowload_planner",
        )
        .await;
    let mut settings = database.settings();
    settings.set("user", "arrowload_planner", "the test");
    let loader = Loader::connect(&descriptor(), &settings, 0)
        .await
        .expect("connected");
    for (target, mode, words) in [
        (
            "readable",
            Mode::Append,
            "GRANT INSERT ON \"public\".\"readable\" TO \"arrowload_planner\"",
        ),
        (
            "keyed",
            Mode::Upsert,
            "GRANT TEMPORARY ON DATABASE \"arrowload_test_plan_rights\"",
        ),
        ("guarded", Mode::Append, "BYPASSRLS"),
        ("closed.t", Mode::Append, "ledger_schema"),
        (
            "closed.new",
            Mode::Create,
            "GRANT CREATE ON SCHEMA \"closed\"",
        ),
    ] {
        let mut planned = spec(target, mode);
        planned.load.keys = if mode == Mode::Upsert {
            vec!["id".into()]
        } else {
            Vec::new()
        };
        let error = plan_load(&loader, &planned, &input(&[people(0..1, "a")]))
            .await
            .expect_err(target);
        assert!(
            error.kind() == ErrorKind::PermissionDenied && error.to_string().contains(words),
            "{target}: {error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_would_be_too_wide_are_refused() {
    let Some(database) = database("plan_wide").await else {
        return;
    };
    database
        .run(
            "CREATE TABLE t (c0 bigint); DO $$ BEGIN FOR i IN 1..1000 LOOP EXECUTE format('ALTER TABLE t ADD COLUMN d%s int', i);
             EXECUTE format('ALTER TABLE t DROP COLUMN d%s', i); END LOOP; END $$",
        )
        .await;
    let loader = database.loader().await;
    let wide = |count: usize| {
        let names: Vec<String> = (0..count).map(|index| format!("c{index}")).collect();
        batch(
            names
                .iter()
                .map(|name| {
                    (
                        name.as_str(),
                        Arc::new(Int64Array::from(vec![None])) as ArrayRef,
                    )
                })
                .collect(),
        )
    };
    let mut evolving = spec("t", Mode::Append);
    evolving.load.schema_evolution = true;
    let mut keyed = spec("new", Mode::Upsert);
    keyed.load.keys = vec!["c0".into()];
    for (planned, fits, words) in [
        (spec("new", Mode::Create), 1600, "would have 1601 columns"),
        (
            evolving,
            600,
            "would have 1601 columns (those that were dropped count)",
        ),
        (
            keyed,
            1599,
            "in which its rows are staged would have 1601 columns",
        ),
    ] {
        plan_load(&loader, &planned, &input(&[wide(fits)]))
            .await
            .unwrap_or_else(|error| panic!("{words}: {error}"));
        let error = plan_load(&loader, &planned, &input(&[wide(fits + 1)]))
            .await
            .expect_err(words);
        assert!(
            error.kind() == ErrorKind::Unsupported && error.to_string().contains(words),
            "{words}: {error}"
        );
        // The server agrees, as far as the values are not too long for a row.
        if planned.load.keys.is_empty() {
            database.load(&planned, &wide(fits)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_of_another_mode_are_refused() {
    let Some(database) = database("plan_modes").await else {
        return;
    };
    database.run("CREATE TABLE t (id bigint, name text); CREATE TABLE keyed (id bigint PRIMARY KEY, name text)").await;
    let loader = database.loader().await;
    let rows = people(0..1, "a");
    for (options, words) in [
        (
            json!({ "on_conflict": "ignore" }),
            "`on_conflict` is an option of mode upsert, and this load has mode append",
        ),
        (
            json!({ "mode": "overwrite", "update_columns": "name" }),
            "`update_columns` is an option of mode upsert",
        ),
        (
            json!({ "mode": "upsert", "keys": "id", "update_columns": "name", "on_conflict": "ignore" }),
            "set one of them",
        ),
        (json!({ "keys": "id" }), "`keys` are for mode upsert"),
        (
            json!({ "mode": "overwrite", "keys": "id" }),
            "CREATE UNIQUE INDEX ON \"public\".\"t\" (\"id\")",
        ),
    ] {
        let error = plan_load(
            &loader,
            &with("t", options),
            &input(std::slice::from_ref(&rows)),
        )
        .await
        .expect_err(words);
        assert!(
            error.kind() == ErrorKind::InvalidOption && error.to_string().contains(words),
            "{words}: {error}"
        );
    }
    // What the table or the load itself keeps unique is.
    for target in ["keyed", "new"] {
        plan_load(
            &loader,
            &with(target, json!({ "keys": "id" })),
            &input(std::slice::from_ref(&rows)),
        )
        .await
        .expect(target);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_is_there_already_would_write_nothing() {
    let Some(database) = database("plan_again").await else {
        return;
    };
    let mut once = spec("t", Mode::Create);
    once.load.load_id = Some("once".into());
    let rows = people(0..3, "a");
    let loader = database.loader().await;
    assert_eq!(
        plan_load(&loader, &once, &input(std::slice::from_ref(&rows)))
            .await
            .expect("planned")
            .already_loaded,
        None
    );
    database.load(&once, &rows).await;
    let again = plan_load(&loader, &once, &input(std::slice::from_ref(&rows)))
        .await
        .expect("planned");
    assert!(
        again.already_loaded == Some(3) && again.to_string().contains("nothing would be written"),
        "{again}"
    );
}

/// Loads of one run into one table would wait for each other for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_the_same_under_each_name_of_its_server() {
    let Some(database) = database("two_hosts").await else {
        return;
    };
    database
        .run("CREATE DATABASE arrowload_test_two_hosts_other TEMPLATE template0")
        .await;
    let plan = async |target: &str, keys: &[(&str, &str)]| {
        let mut settings = database.settings();
        for (key, value) in keys {
            settings.set(*key, *value, "the test");
        }
        let loader = Loader::connect(&descriptor(), &settings, 0).await;
        let rows = people(0..1, "n");
        plan_load(
            &loader.expect("connected"),
            &spec(target, Mode::Append),
            &query(&rows),
        )
        .await
        .expect("a plan")
    };
    let plans = [
        plan(
            "t",
            &[("host", "127.0.0.1"), ("options", "-c timezone=Asia/Tokyo")],
        )
        .await,
        plan("public.t", &[("host", "localhost")]).await,
        plan("t", &[("database", "arrowload_test_two_hosts_other")]).await,
        plan("T", &[]).await,
    ];
    for (one, other, same) in [(0, 1, true), (0, 2, false), (1, 2, false), (0, 3, false)] {
        let refused = Plan::check_distinct([&plans[one], &plans[other]]);
        assert_eq!(
            refused.is_err(),
            same,
            "{one} {other}: {:?}",
            plans[one].identity
        );
    }
    database
        .run("DROP DATABASE arrowload_test_two_hosts_other")
        .await;
}
