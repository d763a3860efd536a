//! Tables as people have them: partitioned, inherited, typed, with rules, triggers, policies, constraints of every kind; wide
//! ones, empty ones, huge rows; servers with settings of their own. A load keeps its promises or is refused.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int16Array, Int64Array, RecordBatch, StringArray};
use arrowload_core::{ErrorKind, Loader, Mode, load};
use serde_json::json;

use crate::server::database;
use crate::support::{batch, descriptor, input, people, spec, with};

fn longs(name: &str, values: Vec<i64>) -> RecordBatch {
    batch(vec![(name, Arc::new(Int64Array::from(values)))])
}

#[tokio::test(flavor = "multi_thread")]
async fn partitioned_tables_take_rows_in_their_partitions() {
    let Some(database) = database("partitioned").await else {
        return;
    };
    database
        .run(
            "CREATE TABLE t (id bigint, name text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
             CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (10);
             -- Its columns lie in another order.
             CREATE TABLE high (extra int, name text, id bigint NOT NULL); ALTER TABLE high DROP COLUMN extra;
             ALTER TABLE t ATTACH PARTITION high FOR VALUES FROM (10) TO (100)",
        )
        .await;
    database
        .load(&spec("t", Mode::Append), &people(0..20, "a"))
        .await;
    assert_eq!(
        database
            .rows("SELECT (SELECT count(*) FROM low), (SELECT count(*) FROM high)")
            .await,
        ["10|10"]
    );
    database
        .load(&spec("t", Mode::Overwrite), &people(5..15, "b"))
        .await;
    let report = database
        .load(
            &with("t", json!({ "mode": "upsert", "keys": "id" })),
            &people(10..30, "c"),
        )
        .await;
    let keys = report.keys.expect("counts");
    assert_eq!((keys.inserted, keys.updated), (15, 5));
    assert_eq!(
        database
            .rows("SELECT count(*), min(name), max(name) FROM t")
            .await,
        ["25|b5|c29"]
    );
    // A row that no partition takes names itself.
    let error = database
        .refused(&spec("t", Mode::Append), &people(98..102, "x"))
        .await;
    assert!(
        error.kind() == ErrorKind::InvalidData && error.to_string().contains("partition"),
        "{error:?}"
    );
    // A partition is a table, too; it takes what is its own.
    database
        .load(&spec("low", Mode::Append), &people(0..3, "d"))
        .await;
    let error = database
        .refused(&spec("low", Mode::Append), &people(50..51, "d"))
        .await;
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error:?}");
    let folder = tempfile::tempdir().expect("a folder");
    let skip = with(
        "t",
        json!({ "on_error": "skip", "dead_letters": folder.path() }),
    );
    let report = database.load(&skip, &people(98..102, "y")).await;
    assert_eq!((report.rows, report.rows_rejected), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn inherited_and_typed_tables_are_tables() {
    let Some(database) = database("inherited").await else {
        return;
    };
    database
        .run(
            "CREATE TABLE parent (id bigint, name text); CREATE TABLE t (extra int) INHERITS (parent);
             CREATE TYPE person AS (id bigint, name text); CREATE TABLE typed OF person (PRIMARY KEY (id))",
        )
        .await;
    for target in ["t", "typed"] {
        database
            .load(&spec(target, Mode::Append), &people(0..3, "a"))
            .await;
        database
            .load(&spec(target, Mode::Overwrite), &people(1..5, "b"))
            .await;
        assert_eq!(
            database
                .rows(&format!("SELECT count(*), min(name) FROM {target}"))
                .await,
            ["4|b1"],
            "{target}"
        );
    }
    // What readers of the parent see is replaced, as they see the child's rows in it.
    database
        .load(&spec("parent", Mode::Overwrite), &people(7..9, "c"))
        .await;
    assert_eq!(
        database.rows("SELECT id, name FROM parent").await,
        ["7|c7", "8|c8"]
    );
    let more = batch(vec![
        ("id", people(0..1, "").column(0).clone()),
        ("new", people(0..1, "n").column(1).clone()),
    ]);
    let error = database
        .refused(&with("typed", json!({ "schema_evolution": true })), &more)
        .await;
    assert!(error.to_string().contains("typed"), "{error:?}");
    assert_eq!(database.rows("SELECT count(*) FROM typed").await, ["4"]);
}

/// What keeps old rows in or new rows out would break a promise in silence.
#[tokio::test(flavor = "multi_thread")]
async fn rules_and_triggers_that_keep_rows_in_or_out_are_noticed() {
    let Some(database) = database("rules").await else {
        return;
    };
    let function =
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'";
    database.run(function).await;
    for (what, sql) in [
        (
            "rule on delete",
            "CREATE RULE keep AS ON DELETE TO t DO INSTEAD NOTHING",
        ),
        (
            "trigger on delete",
            "CREATE TRIGGER keep BEFORE DELETE ON t FOR EACH ROW WHEN (OLD.id < 5) EXECUTE FUNCTION nothing()",
        ),
        (
            "trigger on insert",
            "CREATE TRIGGER keep BEFORE INSERT ON t FOR EACH ROW WHEN (NEW.id = 21) EXECUTE FUNCTION nothing()",
        ),
    ] {
        for way in ["direct", "staged"] {
            database.run("DROP TABLE IF EXISTS child; DROP TABLE IF EXISTS t; CREATE TABLE t (id bigint PRIMARY KEY, name text)").await;
            if way == "staged" {
                database
                    .run("CREATE TABLE child (id bigint REFERENCES t)")
                    .await;
            }
            database
                .load(&spec("t", Mode::Append), &people(0..10, "old"))
                .await;
            database.run(sql).await;
            let error = database
                .refused(&spec("t", Mode::Overwrite), &people(20..30, "new"))
                .await;
            assert!(
                matches!(
                    error.kind(),
                    ErrorKind::Verification | ErrorKind::Unsupported
                ),
                "{what}, {way}: {error:?}"
            );
            assert_eq!(
                database.rows("SELECT count(*), min(name) FROM t").await,
                ["10|old0"],
                "{what}, {way}"
            );
        }
    }
    // A rule in the place of an insert: COPY passes it by, and an INSERT would not.
    for action in ["NOTHING", "INSERT INTO log VALUES (NEW.id)"] {
        database
            .run(&format!(
                "DROP TABLE IF EXISTS child; DROP TABLE IF EXISTS t; DROP TABLE IF EXISTS log; CREATE TABLE log (id bigint);
                 CREATE TABLE t (id bigint PRIMARY KEY, name text); CREATE RULE other AS ON INSERT TO t DO INSTEAD {action}"
            ))
            .await;
        let outcome = database
            .try_load(&spec("t", Mode::Append), &people(0..10, "a"))
            .await;
        let rows = database.rows("SELECT count(*) FROM t").await;
        assert_eq!(
            rows,
            [if outcome.is_ok() { "10" } else { "0" }],
            "{action}: {outcome:?}"
        );
        let error = database
            .refused(
                &with("t", json!({ "mode": "upsert", "keys": "id" })),
                &people(20..30, "a"),
            )
            .await;
        assert!(
            matches!(
                error.kind(),
                ErrorKind::Verification | ErrorKind::Unsupported
            ),
            "{action}: {error:?}"
        );
    }
    // A trigger that changes values is the table's own business, and does not go unnoticed where that is asked for.
    database
        .run(
            "DROP TABLE t; CREATE TABLE t (id bigint, name text);
             CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.name = upper(NEW.name); RETURN NEW; END';
             CREATE TRIGGER shout BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION shout()",
        )
        .await;
    database
        .load(&spec("t", Mode::Append), &people(0..1, "a"))
        .await;
    assert_eq!(database.rows("SELECT name FROM t").await, ["A0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_that_would_hide_rows_refuse_the_load() {
    let Some(database) = database("policies").await else {
        return;
    };
    database
        .run(
            "DROP ROLE IF EXISTS arrowload_tenant; CREATE ROLE arrowload_tenant LOGIN;
             CREATE TABLE t (id bigint PRIMARY KEY, name text); INSERT INTO t VALUES (1, 'a'), (100, 'b');
             ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY small ON t USING (id < 50);
             GRANT ALL ON t TO arrowload_tenant; GRANT CREATE, USAGE ON SCHEMA public TO arrowload_tenant",
        )
        .await;
    let mut settings = database.settings();
    settings.set("user", "arrowload_tenant", "the test");
    let loader = Loader::connect(&descriptor(), &settings, 0)
        .await
        .expect("connected");
    for mode in [Mode::Append, Mode::Overwrite, Mode::Upsert] {
        let mut load_spec = spec("t", mode);
        load_spec.load.keys = if mode == Mode::Upsert {
            vec!["id".into()]
        } else {
            Vec::new()
        };
        let error = load(&loader, &load_spec, &input(&[people(200..203, "x")]))
            .await
            .expect_err("hidden rows");
        assert!(
            error.kind() == ErrorKind::PermissionDenied
                && error.to_string().contains("row-level security"),
            "{mode}: {error:?}"
        );
    }
    assert_eq!(database.rows("SELECT count(*) FROM t").await, ["2"]);
    // Who owns the table sees all of it.
    database
        .load(&spec("t", Mode::Overwrite), &people(0..3, "c"))
        .await;
    assert_eq!(database.rows("SELECT count(*) FROM t").await, ["3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_an_object_has_twice_is_jsonbs_to_drop() {
    let Some(database) = database("json_twice").await else {
        return;
    };
    database.run("CREATE TABLE t (a json, b jsonb)").await;
    let text: ArrayRef = Arc::new(StringArray::from(vec!["{\"z\": 1, \"k\": 1, \"k\": 2}"]));
    database
        .load(
            &spec("t", Mode::Append),
            &batch(vec![("a", text.clone()), ("b", text)]),
        )
        .await;
    // As the README says.
    assert_eq!(
        database.rows("SELECT * FROM t").await,
        ["{\"z\": 1, \"k\": 1, \"k\": 2}|{\"k\": 2, \"z\": 1}"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn constraints_of_every_kind_are_named() {
    let Some(database) = database("constraints").await else {
        return;
    };
    database
        .run(
            "CREATE DOMAIN positive AS bigint CONSTRAINT is_positive CHECK (VALUE > 0); CREATE DOMAIN tiny AS positive CHECK (VALUE < 50);
             CREATE TABLE d (id tiny, name text);
             CREATE TABLE x (id bigint, name text, CONSTRAINT apart EXCLUDE USING btree (id WITH =));
             CREATE TABLE other (id bigint PRIMARY KEY); INSERT INTO other SELECT generate_series(0, 10);
             CREATE TABLE f (id bigint CONSTRAINT known REFERENCES other DEFERRABLE INITIALLY DEFERRED, name text);
             CREATE TABLE n (id bigint, name text NOT NULL)",
        )
        .await;
    let error = database
        .refused(&spec("d", Mode::Append), &people(1..60, "a"))
        .await;
    assert_eq!(
        (error.kind(), error.row()),
        (ErrorKind::InvalidData, Some(49)),
        "{error:?}"
    );
    let error = database
        .refused(&spec("d", Mode::Append), &longs("id", vec![5, -1]))
        .await;
    assert_eq!(
        (error.kind(), error.get("constraint"), error.row()),
        (ErrorKind::InvalidData, Some("is_positive"), Some(1)),
        "{error:?}"
    );
    let twice = RecordBatch::clone(&people(0..5, "a"));
    database.load(&spec("x", Mode::Append), &twice).await;
    let error = database.refused(&spec("x", Mode::Append), &twice).await;
    assert_eq!(
        (error.kind(), error.get("constraint")),
        (ErrorKind::InvalidData, Some("apart")),
        "{error:?}"
    );
    let error = database
        .refused(
            &with("x", json!({ "mode": "upsert", "keys": "id" })),
            &twice,
        )
        .await;
    assert!(
        error.kind() == ErrorKind::SchemaMismatch && error.to_string().contains("unique index"),
        "{error:?}"
    );
    // Only the COMMIT finds it.
    let error = database
        .refused(&spec("f", Mode::Append), &people(5..15, "a"))
        .await;
    assert_eq!(
        (error.kind(), error.get("constraint")),
        (ErrorKind::InvalidData, Some("known")),
        "{error:?}"
    );
    let nulls = batch(vec![
        ("id", Arc::new(Int64Array::from(vec![1, 2]))),
        ("name", Arc::new(StringArray::from(vec![Some("a"), None]))),
    ]);
    let error = database.refused(&spec("n", Mode::Append), &nulls).await;
    assert_eq!(
        (error.kind(), error.get("column"), error.row()),
        (ErrorKind::InvalidData, Some("name"), Some(1)),
        "{error:?}"
    );
    for table in ["d", "f", "n"] {
        assert_eq!(
            database
                .rows(&format!("SELECT count(*) FROM {table}"))
                .await,
            ["0"],
            "{table}"
        );
    }
}

/// Which index an upsert goes by, and which it must not.
#[tokio::test(flavor = "multi_thread")]
async fn upserts_go_by_indexes_that_can_decide() {
    let Some(database) = database("upsert_indexes").await else {
        return;
    };
    let upsert = || with("t", json!({ "mode": "upsert", "keys": ["id"] }));
    for (index, decides) in [
        ("CREATE UNIQUE INDEX ON t (id)", true),
        ("CREATE UNIQUE INDEX ON t (id) INCLUDE (name)", true),
        ("CREATE UNIQUE INDEX ON t (id DESC)", true),
        ("ALTER TABLE t ADD UNIQUE (id)", true),
        ("CREATE UNIQUE INDEX ON t (id) WHERE id > 0", false),
        ("CREATE UNIQUE INDEX ON t ((id + 0))", false),
        ("CREATE UNIQUE INDEX ON t (id, name)", false),
        ("ALTER TABLE t ADD UNIQUE (id) DEFERRABLE", false),
        ("CREATE INDEX ON t (id)", false),
    ] {
        database
            .run(&format!("DROP TABLE IF EXISTS t; CREATE TABLE t (id bigint, name text); {index}; INSERT INTO t VALUES (1, 'old')"))
            .await;
        match database.try_load(&upsert(), &people(1..4, "n")).await {
            Ok(report) => assert!(
                decides && report.keys.is_some_and(|keys| keys.updated == 1),
                "{index}: {report:?}"
            ),
            Err(error) => assert!(
                !decides && error.kind() == ErrorKind::SchemaMismatch,
                "{index}: {error:?}"
            ),
        }
    }
    // Another constraint of the table's is not what the keys decide.
    database.run("DROP TABLE t; CREATE TABLE t (id bigint PRIMARY KEY, name text UNIQUE); INSERT INTO t VALUES (50, 'n2')").await;
    let error = database.refused(&upsert(), &people(1..4, "n")).await;
    assert_eq!(
        (error.kind(), error.get("constraint")),
        (ErrorKind::InvalidData, Some("t_name_key")),
        "{error:?}"
    );
    // Keys that are equal to the server and not to Arrow.
    database.run("DROP TABLE t; CREATE TABLE t (k char(4) PRIMARY KEY, v bigint); INSERT INTO t VALUES ('a', 0)").await;
    let keys: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    let rows = batch(vec![
        ("k", keys),
        ("v", Arc::new(Int64Array::from(vec![1, 2]))),
    ]);
    let report = database
        .load(
            &with("t", json!({ "mode": "upsert", "keys": ["k"] })),
            &rows,
        )
        .await;
    assert_eq!(
        report.keys.map(|keys| (keys.inserted, keys.updated)),
        Some((1, 1))
    );
    database.run("DROP TABLE t; CREATE TABLE t (k float8 PRIMARY KEY, v bigint); INSERT INTO t VALUES ('-0', 0), ('NaN', 0)").await;
    let keys: ArrayRef = Arc::new(arrow_array::Float64Array::from(vec![
        0.0,
        -0.0,
        f64::NAN,
        -f64::NAN,
    ]));
    let rows = batch(vec![
        ("k", keys),
        ("v", Arc::new(Int64Array::from(vec![1, 2, 3, 4]))),
    ]);
    let report = database
        .load(
            &with("t", json!({ "mode": "upsert", "keys": ["k"] })),
            &rows,
        )
        .await;
    assert_eq!(
        report
            .keys
            .map(|keys| (keys.inserted, keys.updated, keys.duplicate)),
        Some((0, 2, 2))
    );
    assert_eq!(
        database.rows("SELECT v FROM t ORDER BY v").await,
        ["2", "4"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wide_long_and_empty_tables_are_loaded_or_refused() {
    let Some(database) = database("wide").await else {
        return;
    };
    let wide = |count: usize| {
        let names: Vec<String> = (0..count).map(|number| format!("c{number}")).collect();
        batch(
            names
                .iter()
                .map(|name| {
                    (
                        name.as_str(),
                        Arc::new(Int16Array::from(vec![7, 8])) as ArrayRef,
                    )
                })
                .collect(),
        )
    };
    for mode in ["create", "append", "overwrite"] {
        database
            .load(&with("t", json!({ "mode": mode })), &wide(1600))
            .await;
    }
    assert_eq!(
        database.rows("SELECT count(*), sum(c1599) FROM t").await,
        ["2|15"]
    );
    let error = database
        .refused(&spec("u", Mode::Append), &wide(1601))
        .await;
    assert!(
        matches!(
            error.kind(),
            ErrorKind::Unsupported | ErrorKind::InvalidOption
        ) && error.to_string().contains("1600"),
        "{error:?}"
    );
    // Too many bytes for a page.
    let names: Vec<String> = (0..1600).map(|number| format!("c{number}")).collect();
    let longs = batch(
        names
            .iter()
            .map(|name| {
                (
                    name.as_str(),
                    Arc::new(Int64Array::from(vec![1])) as ArrayRef,
                )
            })
            .collect(),
    );
    let error = database.refused(&spec("u", Mode::Append), &longs).await;
    assert!(
        matches!(error.kind(), ErrorKind::Unsupported)
            && error.to_string().contains("row is too big"),
        "{error:?}"
    );
    // A row of a hundred megabytes, among others.
    let texts = ["a".to_owned(), "é".repeat(50_000_000), "b".to_owned()];
    let rows = batch(vec![("v", Arc::new(StringArray::from(texts.to_vec())))]);
    database.load(&spec("h", Mode::Append), &rows).await;
    assert_eq!(
        database.rows("SELECT length(v) FROM h ORDER BY v").await,
        ["1", "1", "50000000"]
    );
    // A table without columns.
    database.run("CREATE TABLE none ()").await;
    let error = database
        .refused(&spec("none", Mode::Append), &people(0..1, "a"))
        .await;
    assert_eq!(error.kind(), ErrorKind::SchemaMismatch, "{error:?}");
    database
        .load(
            &with("none", json!({ "schema_evolution": true })),
            &people(0..2, "a"),
        )
        .await;
    assert_eq!(database.rows("SELECT * FROM none").await, ["0|a0", "1|a1"]);
    for mode in ["append", "overwrite"] {
        let report = database
            .load(&with("none", json!({ "mode": mode })), &people(0..0, "a"))
            .await;
        assert_eq!(report.rows, 0);
    }
    assert_eq!(database.rows("SELECT count(*) FROM none").await, ["0"]);
}

/// What a load must never take for its target.
#[tokio::test(flavor = "multi_thread")]
async fn places_that_are_no_targets_are_refused() {
    let Some(database) = database("places").await else {
        return;
    };
    database
        .load(&spec("t", Mode::Append), &people(0..1, "a"))
        .await;
    for mode in [Mode::Append, Mode::Overwrite] {
        for target in ["arrowload_loads", "public.arrowload_loads"] {
            let error = database
                .refused(&spec(target, mode), &people(0..1, "a"))
                .await;
            assert_eq!(
                error.kind(),
                ErrorKind::InvalidOption,
                "{target}: {error:?}"
            );
        }
        for target in [
            "pg_temp.x",
            "pg_catalog.pg_class",
            "pg_catalog.mine",
            "pg_toast.x",
            "information_schema.mine",
        ] {
            let error = database
                .refused(&spec(target, mode), &people(0..1, "a"))
                .await;
            assert_eq!(
                error.kind(),
                ErrorKind::InvalidOption,
                "{target}: {error:?}"
            );
        }
    }
    assert_eq!(
        database.rows("SELECT count(*) FROM arrowload_loads").await,
        ["1"]
    );
    // Somebody else's table has the ledger's name.
    database
        .run("CREATE SCHEMA other; CREATE TABLE other.arrowload_loads (what text)")
        .await;
    let error = database
        .refused(&spec("other.t", Mode::Append), &people(0..1, "a"))
        .await;
    assert!(error.to_string().contains("ledger_schema"), "{error:?}");
    assert!(
        database
            .rows("SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'other' AND relname = 't'")
            .await
            .is_empty()
    );
}

/// Settings that roles and databases have, and that change what SQL means.
#[tokio::test(flavor = "multi_thread")]
async fn settings_of_the_server_change_nothing() {
    let Some(database) = database("settings").await else {
        return;
    };
    let admin = database.client().await;
    for setting in [
        "standard_conforming_strings = off",
        "default_transaction_read_only = on",
        "default_transaction_isolation = 'serializable'",
        "default_transaction_deferrable = on",
        "DateStyle = 'German'",
        "IntervalStyle = 'sql_standard'",
        "bytea_output = 'escape'",
        "TimeZone = 'Asia/Kathmandu'",
        "extra_float_digits = -10",
        "array_nulls = off",
        "search_path = 'mine', 'public'",
        "check_function_bodies = off",
        "xmlbinary = 'hex'",
        "escape_string_warning = on",
        "backslash_quote = off",
        "row_security = off",
        "synchronous_commit = off",
        "client_min_messages = 'debug1'",
        "default_tablespace = ''",
        "default_with_oids_not_there.x = 'y'",
        "quote_all_identifiers = on",
        "transform_null_equals = on",
        "lc_monetary = 'C'",
        "enable_seqscan = off",
        "jit = off",
    ] {
        let alter = format!("ALTER DATABASE arrowload_test_settings SET {setting}");
        admin
            .batch_execute(&alter)
            .await
            .unwrap_or_else(|error| panic!("{setting}: {error:?}"));
    }
    admin
        .batch_execute("CREATE SCHEMA mine; CREATE TABLE mine.pg_class (x int)")
        .await
        .expect("made");
    let comment = arrow_schema::Field::new("name", arrow_schema::DataType::Utf8, true);
    let comment =
        comment.with_metadata([("comment".to_owned(), "it's \\ 'quoted'\\".to_owned())].into());
    let schema = arrow_schema::Schema::new(vec![
        arrow_schema::Field::new("id", arrow_schema::DataType::Int64, false),
        comment,
    ]);
    let rows = RecordBatch::try_new(Arc::new(schema), people(0..3, "a\\'").columns().to_vec())
        .expect("a batch");
    for mode in ["create", "append", "overwrite", "upsert"] {
        let options = json!({ "mode": mode, "keys": ["id"], "verify": "checksum" });
        let rows = if mode == "append" {
            people(3..6, "a\\'")
        } else {
            rows.clone()
        };
        database.load(&with("t", options), &rows).await;
    }
    let found = database
        .rows("SELECT id, name, col_description('mine.t'::regclass, 2) FROM mine.t ORDER BY id")
        .await;
    assert_eq!(
        found,
        [
            "0|a\\'0|it's \\ 'quoted'\\",
            "1|a\\'1|it's \\ 'quoted'\\",
            "2|a\\'2|it's \\ 'quoted'\\"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_in_other_encodings_take_what_they_can_hold() {
    let Some(database) = database("encodings").await else {
        return;
    };
    let admin = database.client().await;
    for (encoding, refuses) in [("LATIN1", true), ("SQL_ASCII", false), ("EUC_JP", false)] {
        let name = format!("arrowload_test_{}", encoding.to_lowercase());
        admin
            .batch_execute(&format!("DROP DATABASE IF EXISTS {name}"))
            .await
            .expect("dropped");
        admin
            .batch_execute(&format!(
                "CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}'"
            ))
            .await
            .expect("created");
        let other = crate::server::Database {
            url: database.url.replace("arrowload_test_encodings", &name),
        };
        let rows = batch(vec![(
            "v",
            Arc::new(StringArray::from(vec!["plain", "名"])),
        )]);
        match other.try_load(&spec("t", Mode::Append), &rows).await {
            Ok(_) => {
                assert!(!refuses, "{encoding}");
                assert_eq!(
                    other.rows("SELECT v FROM t").await,
                    ["plain", "名"],
                    "{encoding}"
                );
            }
            Err(error) => {
                assert!(
                    refuses && error.kind() == ErrorKind::InvalidData,
                    "{encoding}: {error:?}"
                );
                other
                    .load(
                        &spec("t", Mode::Append),
                        &batch(vec![("v", Arc::new(StringArray::from(vec!["é"])))]),
                    )
                    .await;
                assert_eq!(other.rows("SELECT v FROM t").await, ["é"], "{encoding}");
            }
        }
    }
}
