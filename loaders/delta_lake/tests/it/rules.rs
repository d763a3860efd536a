//! Tables with rules: kept, or refused by name before anything is written.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrowload_core::ErrorKind;
use arrowload_testkit::python;
use serde_json::{Value, json};

use crate::support::{ask, batch, delta, refused, run};

/// Makes a table whose first entry of the log is written by hand.
fn table(path: &Path, protocol: &Value, fields: &Value, configuration: &Value) {
    let schema = json!({ "type": "struct", "fields": fields }).to_string();
    let metadata = json!({ "metaData": {
        "id": "00000000-0000-0000-0000-000000000001", "format": { "provider": "parquet", "options": {} },
        "schemaString": schema, "partitionColumns": [], "configuration": configuration, "createdTime": 0
    }});
    let log = path.join("_delta_log");
    std::fs::create_dir_all(&log).expect("a folder");
    std::fs::write(
        log.join("00000000000000000000.json"),
        format!("{}\n{metadata}\n", json!({ "protocol": protocol })),
    )
    .expect("written");
}

fn field(name: &str, kind: &str, metadata: Value) -> Value {
    json!({ "name": name, "type": kind, "nullable": true, "metadata": metadata })
}

fn people(ids: &[i64]) -> RecordBatch {
    batch([
        ("id", Arc::new(Int64Array::from(ids.to_vec())) as ArrayRef),
        (
            "name",
            Arc::new(
                ids.iter()
                    .map(|id| Some(format!("n{id}")))
                    .collect::<StringArray>(),
            ),
        ),
    ])
}

/// What a load leaves of a table: the names in its folder and log.
fn entries(path: &Path) -> usize {
    let count = |path: &Path| std::fs::read_dir(path).expect("a folder").count();
    count(path) + count(&path.join("_delta_log"))
}

#[tokio::test(flavor = "multi_thread")]
async fn constraints_and_invariants_hold() {
    if !python::available() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t");
    run(&path, &people(&[1]), json!({}))
        .await
        .expect("it loads");
    ask(
        "import sys, deltalake; deltalake.DeltaTable(sys.argv[1]).alter.add_constraint({'small': 'id < 10'}); print(1)",
        &[path.to_str().expect("UTF-8")],
    );
    run(&path, &people(&[2, 9]), json!({}))
        .await
        .expect("they fulfil it");
    for mode in ["append", "overwrite", "upsert"] {
        let before = entries(&path);
        let mut options = json!({ "mode": mode });
        if mode == "upsert" {
            options["keys"] = json!(["id"]);
        }
        let error = run(&path, &people(&[3, 10]), options)
            .await
            .expect_err("10 is not small");
        assert_eq!(
            (error.kind(), error.row()),
            (ErrorKind::InvalidData, Some(1)),
            "{error}"
        );
        assert!(
            error.message().contains("small") && error.message().contains("id < 10"),
            "{error}"
        );
        assert_eq!(entries(&path), before, "{mode} left something behind");
    }
    assert_eq!(
        delta(&path, "[row['id'] for row in rows]"),
        json!([1, 2, 9])
    );

    let path = folder.path().join("invariant");
    let invariant = json!({ "expression": { "expression": "`id` > 0" } }).to_string();
    let fields = json!([
        field("id", "long", json!({ "delta.invariants": invariant })),
        field("name", "string", json!({}))
    ]);
    table(
        &path,
        &json!({ "minReaderVersion": 1, "minWriterVersion": 2 }),
        &fields,
        &json!({}),
    );
    run(&path, &people(&[1]), json!({}))
        .await
        .expect("it fulfils it");
    let error = run(&path, &people(&[0]), json!({}))
        .await
        .expect_err("0 is not above 0");
    assert!(
        error.message().contains("invariant of column `id`"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_columns_are_filled_and_checked() {
    if !python::available() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let fields = json!([
        field("id", "long", json!({})),
        field("name", "string", json!({})),
        field(
            "twice",
            "integer",
            json!({ "delta.generationExpression": "id * 2" })
        ),
    ]);
    let protocol = json!({ "minReaderVersion": 1, "minWriterVersion": 4 });
    table(folder.path(), &protocol, &fields, &json!({}));
    run(folder.path(), &people(&[1, 4]), json!({}))
        .await
        .expect("it is filled");
    assert_eq!(
        delta(folder.path(), "[row['twice'] for row in rows]"),
        json!([2, 8])
    );
    let given = |twice: i64| {
        let people = people(&[7]);
        let twice: ArrayRef = Arc::new(arrow_array::Int32Array::from(vec![twice as i32]));
        batch([
            ("id", people.column(0).clone()),
            ("name", people.column(1).clone()),
            ("twice", twice),
        ])
    };
    run(folder.path(), &given(14), json!({}))
        .await
        .expect("it is right");
    let error = run(folder.path(), &given(15), json!({}))
        .await
        .expect_err("it is wrong");
    assert_eq!(
        (error.kind(), error.get("column")),
        (ErrorKind::InvalidData, Some("twice")),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_known_is_refused_by_name_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let plain = json!([
        field("id", "long", json!({})),
        field("name", "string", json!({}))
    ]);
    let identity = json!([
        field("id", "long", json!({ "delta.identity.start": 1 })),
        field("name", "string", json!({}))
    ]);
    let strange = json!([
        field(
            "id",
            "long",
            json!({ "delta.generationExpression": "my_udf(name)" })
        ),
        field("name", "string", json!({}))
    ]);
    let old = |writer: u32| json!({ "minReaderVersion": 1, "minWriterVersion": writer });
    let new = |features: &[&str]| json!({ "minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": features });
    let both = |features: &[&str]| json!({ "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features });
    let cases = [
        (
            "rowTracking",
            new(&["rowTracking", "domainMetadata"]),
            &plain,
            json!({}),
            "append",
        ),
        (
            "clustering",
            new(&["clustering", "domainMetadata"]),
            &plain,
            json!({}),
            "append",
        ),
        (
            "typeWidening",
            both(&["typeWidening"]),
            &plain,
            json!({}),
            "append",
        ),
        (
            "v2Checkpoint",
            both(&["v2Checkpoint"]),
            &plain,
            json!({}),
            "append",
        ),
        (
            "inCommitTimestamp",
            new(&["inCommitTimestamp"]),
            &plain,
            json!({}),
            "append",
        ),
        (
            "identityColumns",
            new(&["identityColumns"]),
            &identity,
            json!({}),
            "append",
        ),
        ("identity column", old(2), &identity, json!({}), "append"),
        ("brandNew", both(&["brandNew"]), &plain, json!({}), "append"),
        ("my_udf", old(4), &strange, json!({}), "append"),
        (
            "strange",
            old(3),
            &plain,
            json!({ "delta.constraints.strange": "my_udf(id) > 1" }),
            "append",
        ),
        (
            "appendOnly",
            old(2),
            &plain,
            json!({ "delta.appendOnly": "true" }),
            "overwrite",
        ),
        (
            "enableChangeDataFeed",
            old(4),
            &plain,
            json!({ "delta.enableChangeDataFeed": "true" }),
            "upsert",
        ),
    ];
    for (index, (name, protocol, fields, configuration, mode)) in cases.into_iter().enumerate() {
        let path = folder.path().join(index.to_string());
        table(&path, &protocol, fields, &configuration);
        let mut options = json!({ "mode": mode });
        if mode == "upsert" {
            options["keys"] = json!(["id"]);
        }
        let error = refused(&path, &people(&[1]), options).await;
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{name}: {error:#}");
        assert!(
            format!("{error:#}").contains(name),
            "{name} is not named: {error:#}"
        );
        assert_eq!(
            entries(&path),
            2,
            "{name} was refused, and something is left"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_for_upserts() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = run(
        folder.path().join("t"),
        &people(&[1]),
        json!({ "keys": ["id"] }),
    )
    .await
    .expect_err("keys that were asked for");
    assert!(
        error.kind() == ErrorKind::InvalidOption && error.message().contains("mode upsert"),
        "{error}"
    );
}

/// Expressions that the embedded engine can run, and computes otherwise than Spark.
#[tokio::test(flavor = "multi_thread")]
async fn what_may_mean_something_else_to_spark_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    for (index, (kind, expression)) in [
        ("double", "id / 2"),
        ("string", "substring(name, 0, 3)"),
        ("string", "substring(name, -2, 2)"),
        ("string", "date_format(at, 'yyyy-MM')"),
        ("string", "initcap(name)"),
        ("string", "CAST(at AS STRING)"),
        ("string", "CAST(real AS STRING)"),
        ("long", "CAST(at AS BIGINT)"),
        ("long", "CAST(name AS BIGINT)"),
        ("long", "ceil(real)"),
        ("boolean", "id = name"),
        ("boolean", "name > 5"),
        ("boolean", "name LIKE 'a\\\\_%'"),
        ("boolean", "at > '1900-01-01'"),
        ("timestamp", "date_trunc('HOUR', at)"),
        ("long", "CAST(real AS BIGINT)"),
        ("double", "real / 3"),
        ("date", "current_date()"),
        ("string", "regexp_replace(name, 'a', 'b')"),
        ("long", "list[0]"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = folder.path().join(index.to_string());
        let fields = json!([
            field("id", "long", json!({})),
            field("name", "string", json!({})),
            field("at", "timestamp", json!({})),
            field("real", "double", json!({})),
            { "name": "list", "type": { "type": "array", "elementType": "long", "containsNull": true }, "nullable": true, "metadata": {} },
            field("made", kind, json!({ "delta.generationExpression": expression })),
        ]);
        table(
            &path,
            &json!({ "minReaderVersion": 1, "minWriterVersion": 4 }),
            &fields,
            &json!({}),
        );
        let error = run(&path, &people(&[1]), json!({}))
            .await
            .expect_err(expression);
        assert!(
            error.kind() == ErrorKind::Unsupported && error.message().contains("`made`"),
            "{expression}: {error:#}"
        );
        assert_eq!(
            entries(&path),
            2,
            "{expression} was refused, and something is left"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_are_no_longer_than_their_columns() {
    let folder = tempfile::tempdir().expect("a folder");
    let short = json!({ "__CHAR_VARCHAR_TYPE_STRING": "varchar(2)" });
    let fields = json!([
        field("id", "long", json!({})),
        field("name", "string", short)
    ]);
    table(
        folder.path(),
        &json!({ "minReaderVersion": 1, "minWriterVersion": 2 }),
        &fields,
        &json!({}),
    );
    run(folder.path(), &people(&[1]), json!({}))
        .await
        .expect("n1 has two letters");
    let error = run(folder.path(), &people(&[10]), json!({}))
        .await
        .expect_err("n10 has three");
    assert!(
        error.kind() == ErrorKind::InvalidData
            && error.message().contains("length of column `name`"),
        "{error:#}"
    );
}

/// An upsert of some columns: the rules are for the rows as they will be, with the values that they keep.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_keep_values_are_checked_with_them() {
    if !python::available() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let fields = json!([
        field("id", "long", json!({})),
        field("name", "string", json!({})),
        field("size", "long", json!({})),
        field(
            "next",
            "long",
            json!({ "delta.generationExpression": "size + 1" })
        )
    ]);
    let protocol = json!({ "minReaderVersion": 1, "minWriterVersion": 4 });
    let named = json!({ "delta.constraints.named": "name IS NOT NULL" });
    table(folder.path(), &protocol, &fields, &named);
    let numbers = |numbers: &[i64]| Arc::new(Int64Array::from(numbers.to_vec())) as ArrayRef;
    let names: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    let old = batch([
        ("id", numbers(&[1, 2])),
        ("name", names),
        ("size", numbers(&[10, 20])),
    ]);
    run(folder.path(), &old, json!({})).await.expect("it loads");
    let upsert = json!({ "mode": "upsert", "keys": ["id"] });
    let sizes = batch([("id", numbers(&[2, 2])), ("size", numbers(&[0, 21]))]);
    run(folder.path(), &sizes, upsert.clone())
        .await
        .expect("it loads");
    let all = "[[row['id'], row['name'], row['size'], row['next']] for row in rows]";
    let expected = json!([[1, "a", 10, 11], [2, "b", 21, 22]]);
    assert_eq!(delta(folder.path(), all), expected);
    // A new row has no name to keep. The row that is replaced by a later one is not written, and breaks nothing.
    let sizes = batch([
        ("id", numbers(&[1, 9, 1, 9])),
        ("size", numbers(&[0, 0, 11, 90])),
    ]);
    let error = run(folder.path(), &sizes, upsert)
        .await
        .expect_err("no name");
    assert!(
        error.message().contains("`named`") && error.row() == Some(3),
        "{error}"
    );
    assert_eq!(delta(folder.path(), all), expected);
}
