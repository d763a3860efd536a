//! Strings that want to be SQL, in every place that takes one: each is a name or a value, as it is written, or is refused.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use arrowload_core::{Error, ErrorKind, LoadReport, Loader, Mode, Settings, load};
use serde_json::{Value, json};

use crate::server::{Database, database};
use crate::support::{descriptor, input, people, with};

/// Each breaks out of another kind of quotes, if it can. None is longer than a name may be.
const HOSTILE: [&str; 9] = [
    "x\"; DROP TABLE victim; --",
    "x'; DROP TABLE victim; --",
    "x\\'; DROP TABLE victim; --",
    "x\"\"; DROP TABLE victim; --\"",
    "$1; $$; DROP TABLE victim; $$",
    "/* x */ DROP TABLE victim; --\n\r\t",
    "x\u{0}; DROP TABLE victim",
    "{} %s %1$s ${env:HOME} \\x00 \\",
    " \u{202e}名\u{1F600} ",
];

/// As an id of a load, which holds no control characters.
fn as_id(text: &str) -> String {
    text.replace(char::is_control, "")
}

/// A literal as psql would be given it, whatever is in the text.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

async fn is_unharmed(database: &Database, what: &str) {
    assert_eq!(
        database.rows("SELECT count(*) FROM victim").await,
        ["1"],
        "{what}"
    );
}

async fn prepared(name: &str) -> Option<Database> {
    let database = database(name).await?;
    database.run("CREATE TABLE victim AS SELECT 1 AS v").await;
    Some(database)
}

/// What a NUL is in: no server takes one.
fn check_nul(text: &str, outcome: &Result<LoadReport, Error>) {
    let taken = !text.contains('\0');
    assert_eq!(outcome.is_ok(), taken, "{text:?}: {outcome:?}");
    if let Err(error) = outcome {
        assert!(
            matches!(
                error.kind(),
                ErrorKind::InvalidOption | ErrorKind::InvalidData
            ),
            "{text:?}: {error:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_never_sql() {
    let Some(database) = prepared("hostile_names").await else {
        return;
    };
    for text in HOSTILE {
        for (number, mode) in [
            (0, "create"),
            (1, "append"),
            (2, "overwrite"),
            (3, "upsert"),
        ] {
            let rows = people(number * 3..number * 3 + 3, "a");
            let renamed = RecordBatch::try_new(
                Arc::new(Schema::new(vec![
                    Field::new(text, DataType::Int64, false),
                    Field::new("name", DataType::Utf8, true),
                ])),
                rows.columns().to_vec(),
            )
            .expect("a batch");
            let options = json!({ "mode": mode, "keys": [text], "load_id": format!("{mode} {}", as_id(text)) });
            // A dot parts schema and table.
            let target = format!("\"{}\"", text.replace('"', "\"\""));
            if mode == "create" {
                database
                    .run(&format!(
                        "DROP TABLE IF EXISTS {}",
                        target.replace('\0', "")
                    ))
                    .await;
            }
            let outcome = database.try_load(&with(&target, options), &renamed).await;
            check_nul(text, &outcome);
            is_unharmed(&database, text).await;
        }
        if !text.contains('\0') {
            let sql = format!(
                "SELECT count(*) FROM pg_class JOIN pg_attribute ON attrelid = oid WHERE relname = {0} AND attname = {0} AND relkind = 'r'",
                literal(text)
            );
            assert_eq!(database.rows(&sql).await, ["1"], "{text:?}");
            let sql = format!(
                "SELECT count(*) FROM arrowload_loads WHERE target_table = {} AND load_id = 'upsert ' || {}",
                literal(text),
                literal(&as_id(text))
            );
            assert_eq!(database.rows(&sql).await, ["1"], "{text:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_of_targets_and_ledgers_are_never_sql() {
    let Some(database) = prepared("hostile_schemas").await else {
        return;
    };
    for text in HOSTILE {
        let quoted = format!("\"{}\"", text.replace('"', "\"\""));
        if !text.contains('\0') {
            database.run(&format!("CREATE SCHEMA {quoted}")).await;
        }
        let mut settings = database.settings();
        settings.set("schema", text, "the test");
        settings.set("ledger_schema", text, "the test");
        match Loader::connect(&descriptor(), &settings, 0).await {
            Ok(loader) => {
                let outcome =
                    load(&loader, &with("t", json!({})), &input(&[people(0..3, "a")])).await;
                check_nul(text, &outcome);
                let found = database
                    .rows(&format!(
                        "SELECT count(*) FROM {quoted}.t, {quoted}.arrowload_loads"
                    ))
                    .await;
                assert_eq!(found, ["3"], "{text:?}");
                let target = format!("{quoted}.t");
                database
                    .load(
                        &with(&target, json!({ "mode": "overwrite" })),
                        &people(0..2, "a"),
                    )
                    .await;
            }
            Err(error) => assert!(
                text.contains('\0') && error.kind() == ErrorKind::InvalidOption,
                "{text:?}: {error:?}"
            ),
        }
        is_unharmed(&database, text).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_are_never_sql() {
    let Some(database) = prepared("hostile_options").await else {
        return;
    };
    for (number, text) in HOSTILE.into_iter().enumerate() {
        let table = format!("t{number}");
        let comment =
            |field: Field| field.with_metadata([("comment".to_owned(), text.to_owned())].into());
        let schema = Schema::new(vec![
            comment(Field::new("id", DataType::Int64, false)),
            Field::new("name", DataType::Utf8, true),
        ]);
        let schema = schema.with_metadata([("comment".to_owned(), text.to_owned())].into());
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![1, 1])),
            Arc::new(StringArray::from(vec![text, text])),
        ];
        let rows = RecordBatch::try_new(Arc::new(schema), columns).expect("a batch");
        let options = json!({
            "mode": "upsert", "keys": ["id"], "load_id": as_id(text), "column_map": { "name": text }, "update_columns": ["name"],
            "replace_nul": text.replace('\0', "")
        });
        let outcome = database.try_load(&with(&table, options), &rows).await;
        check_nul(text, &outcome);
        is_unharmed(&database, text).await;
        if !text.contains('\0') {
            let sql = format!(
                "SELECT \"{}\" = {text}, col_description('{table}'::regclass, 1) = {text}, obj_description('{table}'::regclass) = {text}, \
                 (SELECT count(*) FROM arrowload_loads WHERE load_id = {id}) FROM {table}",
                text.replace('"', "\"\""),
                text = literal(text),
                id = literal(&as_id(text))
            );
            assert_eq!(database.rows(&sql).await, ["t|t|t|1"], "{text:?}");
        }
        // What is to be no column.
        for key in ["keys", "update_columns"] {
            let mut options = json!({ "mode": "upsert", "keys": ["id"] });
            options[key] = json!([text]);
            let error = database
                .refused(&with("others", options), &people(0..1, "a"))
                .await;
            assert_eq!(
                error.kind(),
                ErrorKind::InvalidOption,
                "{key} {text:?}: {error:?}"
            );
        }
        for key in ["case", "on_conflict", "unlogged", "mode"] {
            let Value::Object(map) = json!({ key: text }) else {
                continue;
            };
            let error = match descriptor().split(Settings::from_map(map, "the test")) {
                Err(error) => error,
                Ok((split, common)) => {
                    let mut load_spec = crate::support::spec(&table, Mode::Append);
                    (load_spec.load, load_spec.options) = (common, split.options);
                    database.refused(&load_spec, &people(0..1, "a")).await
                }
            };
            assert_eq!(
                error.kind(),
                ErrorKind::InvalidOption,
                "{key} {text:?}: {error:?}"
            );
        }
        is_unharmed(&database, text).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_connections_are_never_sql() {
    let Some(database) = prepared("hostile_connections").await else {
        return;
    };
    for text in HOSTILE {
        // Shown as it is, but that the server replaces what is not ASCII.
        let mut settings = database.settings();
        settings.set("application_name", text, "the test");
        match Loader::connect(&descriptor(), &settings, 0).await {
            Ok(_loader) => assert!(!text.contains('\0'), "{text:?}"),
            Err(error) => assert!(
                text.contains('\0') && error.kind() == ErrorKind::InvalidOption,
                "{text:?}: {error:?}"
            ),
        }
        for (key, kinds) in [
            ("database", [ErrorKind::NotFound, ErrorKind::InvalidOption]),
            (
                "user",
                [ErrorKind::Authentication, ErrorKind::InvalidOption],
            ),
            (
                "statement_timeout",
                [ErrorKind::InvalidOption, ErrorKind::InvalidOption],
            ),
            ("host", [ErrorKind::Connection, ErrorKind::InvalidOption]),
            ("port", [ErrorKind::InvalidOption, ErrorKind::InvalidOption]),
            (
                "sslmode",
                [ErrorKind::InvalidOption, ErrorKind::InvalidOption],
            ),
            ("sslrootcert", [ErrorKind::Tls, ErrorKind::InvalidOption]),
            (
                "options",
                [ErrorKind::InvalidOption, ErrorKind::InvalidOption],
            ),
        ] {
            let mut settings = database.settings();
            if key == "sslrootcert" {
                settings.set("sslmode", "verify-full", "the test");
            }
            settings.set(key, text, "the test");
            let error = Loader::connect(&descriptor(), &settings, 0)
                .await
                .expect_err(text);
            assert!(kinds.contains(&error.kind()), "{key} = {text:?}: {error:?}");
        }
        is_unharmed(&database, text).await;
    }
    // A second option is not smuggled in.
    let mut settings = database.settings();
    settings.set(
        "statement_timeout",
        "1s -c application_name=smuggled",
        "the test",
    );
    let error = Loader::connect(&descriptor(), &settings, 0)
        .await
        .expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::InvalidOption, "{error:?}");
}
