//! Types and keys that a schema says its rows had where they come from: a table that a load creates has them, and none of it is
//! believed without a look at the values.

use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use arrowload_core::{ErrorKind, Mode};
use serde_json::json;

use crate::server::database;
use crate::support::{spec, with};

/// Numbers and texts, of types that are declared, and a primary key.
fn rows(types: [&str; 2], key: &str, texts: Vec<&str>) -> RecordBatch {
    let declared = |field: Field, name: &str| {
        field.with_metadata([("postgresql.type".to_owned(), name.to_owned())].into())
    };
    let fields = vec![
        declared(Field::new("id", DataType::Int64, false), types[0]),
        declared(Field::new("text", DataType::Utf8, false), types[1]),
    ];
    let metadata = [("primary_key".to_owned(), key.to_owned())].into();
    let ids = Int64Array::from_iter_values(0..texts.len() as i64);
    let columns = vec![Arc::new(ids) as _, Arc::new(StringArray::from(texts)) as _];
    RecordBatch::try_new(
        Arc::new(Schema::new_with_metadata(fields, metadata)),
        columns,
    )
    .expect("a batch")
}

#[tokio::test(flavor = "multi_thread")]
async fn new_tables_have_the_declared_types_and_keys() {
    let Some(database) = database("declared").await else {
        return;
    };
    const TYPES: &str = "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0";
    const KEY: &str =
        // From version 18 on, columns that may not be null are constraints too.
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 't'::regclass AND contype = 'p'";
    for options in [
        json!({}),
        json!({ "parallelism": 2 }),
        json!({ "on_error": "skip" }),
        json!({ "verify": "checksum" }),
        json!({ "mode": "create" }),
    ] {
        let numbers = rows(
            ["bigint", "numeric"],
            "[\"text\", \"id\"]",
            vec!["1.500", "-0.01", "NaN"],
        );
        database.load(&with("t", options.clone()), &numbers).await;
        assert_eq!(
            database.rows(TYPES).await,
            ["id|bigint", "text|numeric"],
            "{options}"
        );
        assert_eq!(
            database.rows(KEY).await,
            ["PRIMARY KEY (text, id)"],
            "{options}"
        );
        assert_eq!(
            database.rows("SELECT text::text FROM t ORDER BY id").await,
            ["1.500", "-0.01", "NaN"],
            "{options}"
        );
        // A table that is there keeps its own, and takes the digits as well.
        database
            .load(
                &spec("t", Mode::Overwrite),
                &rows(["bigint", "numeric"], "[\"id\"]", vec!["2"]),
            )
            .await;
        assert_eq!(database.rows(KEY).await, ["PRIMARY KEY (text, id)"]);
        database.run("DROP TABLE t").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_declared_is_not_believed() {
    let Some(database) = database("declared_lies").await else {
        return;
    };
    // A type that is none, or does not fit, is that of the Arrow type; a key that is none is left out.
    for (types, key) in [
        (["int); DROP TABLE other; --", "mood"], "[\"nosuch\"]"),
        (["date", "boolean"], "id"),
        (["bigint", "integer"], "[\"id\", 7]"),
    ] {
        database.run("CREATE TABLE other ()").await;
        database
            .load(&spec("t", Mode::Create), &rows(types, key, vec!["x"]))
            .await;
        let found = "SELECT format_type(atttypid, atttypmod), (SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass) \
                     FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0";
        assert_eq!(
            database.rows(found).await,
            ["bigint|0", "text|0"],
            "{types:?}"
        );
        database.run("DROP TABLE t, other").await;
    }
    // Values that the declared type would round, cut or refuse end the load.
    for (name, text, words) in [
        (
            "numeric(4,1)",
            "1.25",
            "more decimal places than numeric(4,1)",
        ),
        ("numeric", "1e5", "`1e5` is no number"),
        (
            "character varying(3)",
            "abcd",
            "4 characters, and the column holds 3",
        ),
        ("uuid", "x", "`x` is no uuid"),
    ] {
        let error = database
            .refused(
                &spec("t", Mode::Create),
                &rows(["bigint", name], "[\"id\"]", vec![text]),
            )
            .await;
        assert!(
            error.kind() == ErrorKind::InvalidData && error.to_string().contains(words),
            "{name}: {error}"
        );
    }
    // Rows that do not have the key that they are said to have do not get in.
    let twice = rows(["bigint", "text"], "[\"text\"]", vec!["a", "a"]);
    let error = database.refused(&spec("t", Mode::Create), &twice).await;
    assert!(
        error.kind() == ErrorKind::InvalidData && error.to_string().contains("not unique"),
        "{error}"
    );
    assert_eq!(
        database
            .rows("SELECT count(*) FROM pg_class WHERE relname = 't'")
            .await,
        ["0"]
    );
}
