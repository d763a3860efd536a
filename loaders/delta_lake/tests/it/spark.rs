//! Against the reference implementation: Spark with `delta-spark` reads what we wrote, and we write into what it made.
//!
//! Needs a Python with `pyspark` and `delta-spark`, named by `ARROWLOAD_SPARK_PYTHON`, and Java 17; skipped without.

mod session;

use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{
    Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array,
    Int64Array, ListArray, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, Field};
use arrowload_core::ErrorKind;
use serde_json::{Value, json};

use self::session::Spark;
use crate::support::{batch, run};

/// Rows with a value of many types, and nulls.
fn values(ids: &[i64], city: &[Option<&str>]) -> RecordBatch {
    let third = |id: &i64| id % 3 != 0;
    let decimals: Decimal128Array = ids
        .iter()
        .map(|id| third(id).then(|| i128::from(*id) * 10_i128.pow(30) + 7))
        .collect();
    let times: TimestampMicrosecondArray = ids
        .iter()
        .map(|id| third(id).then_some(id * 1_000_001))
        .collect();
    batch([
        ("id", Arc::new(Int64Array::from(ids.to_vec())) as ArrayRef),
        ("city", Arc::new(StringArray::from(city.to_vec()))),
        (
            "price",
            Arc::new(decimals.with_precision_and_scale(38, 6).expect("it fits")),
        ),
        (
            "day",
            Arc::new(Date32Array::from_iter_values(
                ids.iter().map(|id| *id as i32),
            )),
        ),
        ("at", Arc::new(times.clone().with_timezone("UTC"))),
        ("local", Arc::new(times)),
        (
            "flag",
            Arc::new(
                ids.iter()
                    .map(|id| third(id).then_some(id % 2 == 0))
                    .collect::<BooleanArray>(),
            ),
        ),
        (
            "score",
            Arc::new(
                ids.iter()
                    .map(|id| third(id).then_some(*id as f64 / 3.0))
                    .collect::<Float64Array>(),
            ),
        ),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn spark_and_we_read_and_write_the_same_tables() {
    let Some(mut spark) = Spark::start() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    ours_are_read(&mut spark, &folder.path().join("ours")).await;
    timestamps_partition(&mut spark, &folder.path().join("times")).await;
    expressions_mean_the_same(&mut spark, folder.path()).await;
    theirs_are_kept(&mut spark, folder.path()).await;
    mapped_are_kept(&mut spark, folder.path()).await;
    theirs_are_refused(&mut spark, folder.path()).await;
}

async fn ours_are_read(spark: &mut Spark, path: &Path) {
    let odd = Some("São Paulo / 50% = \"#?\" ☃");
    run(
        path,
        &values(&[1, 2, 3], &[odd, None, Some("b")]),
        json!({ "partition_by": ["city", "day"] }),
    )
    .await
    .expect("it loads");
    run(path, &values(&[4, 5], &[odd, Some("b c")]), json!({}))
        .await
        .expect("it loads");
    assert_eq!(
        spark.column(path, "city"),
        json!([odd, null, "b", odd, "b c"])
    );
    assert_eq!(
        spark.column(path, "price"),
        json!([
            "1000000000000000000000000.000007",
            "2000000000000000000000000.000007",
            null,
            "4000000000000000000000000.000007",
            "5000000000000000000000000.000007"
        ])
    );
    assert_eq!(
        spark.column(path, "cast(day AS string)"),
        json!([
            "1970-01-02",
            "1970-01-03",
            "1970-01-04",
            "1970-01-05",
            "1970-01-06"
        ])
    );
    let times = json!([
        "1970-01-01 00:00:01.000001",
        "1970-01-01 00:00:02.000002",
        null,
        "1970-01-01 00:00:04.000004",
        "1970-01-01 00:00:05.000005"
    ]);
    assert_eq!(
        (
            spark.column(path, "cast(at AS string)"),
            spark.column(path, "cast(local AS string)")
        ),
        (times.clone(), times)
    );
    assert_eq!(
        (spark.column(path, "flag"), spark.column(path, "score > 1")),
        (
            json!([false, true, null, true, false]),
            json!([false, false, null, true, true])
        )
    );
    // Found by statistics and by partition.
    let table = format!("delta.`{}`", path.display());
    for (condition, expected) in [
        ("price = 4000000000000000000000000.000007", 4),
        ("at = TIMESTAMP '1970-01-01 00:00:05.000005Z'", 5),
        ("local >= TIMESTAMP_NTZ '1970-01-01 00:00:05.000005'", 5),
        ("score > 1.5", 5),
        ("city = 'b c'", 5),
        ("city IS NULL", 2),
    ] {
        let found = spark.sql(&format!("SELECT id FROM {table} WHERE {condition}"));
        assert_eq!(found, json!([{ "id": expected }]), "{condition}");
    }
    run(
        path,
        &values(&[4, 6], &[odd, Some("b c")]),
        json!({ "mode": "upsert", "keys": ["id"] }),
    )
    .await
    .expect("it loads");
    let options = json!({ "mode": "overwrite", "overwrite_partitions": true });
    run(path, &values(&[3], &[Some("b")]), options)
        .await
        .expect("it loads");
    assert_eq!(spark.column(path, "id"), json!([1, 2, 3, 4, 5, 6]));
    let history = spark.sql(&format!("DESCRIBE HISTORY {table}"));
    let entry = |entry: &Value| {
        json!([
            entry["operation"],
            entry["operationMetrics"]["numOutputRows"]
        ])
    };
    let history: Vec<Value> = history
        .as_array()
        .expect("rows")
        .iter()
        .map(entry)
        .collect();
    assert_eq!(
        json!(history),
        json!([
            ["WRITE", "1"],
            ["MERGE", "2"],
            ["WRITE", "2"],
            ["WRITE", "3"]
        ])
    );
    // And it writes on: into our files, our partitions, our log.
    spark.sql(&format!("UPDATE {table} SET city = 'moved' WHERE id = 1"));
    spark.sql(&format!("DELETE FROM {table} WHERE id = 2"));
    run(path, &values(&[7], &[Some("moved")]), json!({}))
        .await
        .expect("it loads");
    spark.sql(&format!("OPTIMIZE {table}"));
    assert_eq!(
        spark.column(path, "city"),
        json!(["moved", "b", odd, "b c", "b c", "moved"])
    );
}

async fn timestamps_partition(spark: &mut Spark, path: &Path) {
    let times = |micros: Vec<i64>| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(micros).with_timezone("UTC"))
    };
    let rows = |id: i64, micros: i64| {
        batch([
            ("id", Arc::new(Int64Array::from(vec![id])) as ArrayRef),
            ("at", times(vec![micros])),
        ])
    };
    run(path, &rows(1, 1_500_001), json!({ "partition_by": ["at"] }))
        .await
        .expect("it loads");
    spark.sql(&format!(
        "INSERT INTO delta.`{}` VALUES (2, TIMESTAMP '1970-01-01 00:00:01.500001Z')",
        path.display()
    ));
    assert_eq!(
        spark.column(path, "cast(at AS string)"),
        json!(["1970-01-01 00:00:01.500001", "1970-01-01 00:00:01.500001"])
    );
    // Both are in the one partition, however it is written.
    let options = json!({ "mode": "overwrite", "overwrite_partitions": true });
    run(path, &rows(3, 1_500_001), options)
        .await
        .expect("it loads");
    assert_eq!(spark.column(path, "id"), json!([3]));
}

fn people(ids: &[i64]) -> RecordBatch {
    let names: StringArray = ids.iter().map(|id| Some(format!("n {id}"))).collect();
    batch([
        ("id", Arc::new(Int64Array::from(ids.to_vec())) as ArrayRef),
        ("name", Arc::new(names)),
    ])
}

/// Makes a table of two rows.
fn made(spark: &mut Spark, path: &Path, columns: &str, more: &str) {
    let table = format!("delta.`{}`", path.display());
    match columns {
        "" => spark.sql(&format!("CREATE TABLE {table} (id BIGINT, name STRING) USING delta {more}")),
        // SQL has no word for generated columns here.
        columns => spark.sql(&format!(
            "python delta.DeltaTable.create(spark).location('{}').addColumn('id', 'BIGINT').addColumn('name', 'STRING').{columns}.execute()",
            path.display()
        )),
    };
    spark.sql(&format!("INSERT INTO {table} (id, name) SELECT /*+ COALESCE(1) */ * FROM VALUES (1, 'n 1'), (2, 'n 2')"));
}

async fn theirs_are_kept(spark: &mut Spark, folder: &Path) {
    let append = json!({});
    let plain = folder.join("spark_plain");
    made(
        spark,
        &plain,
        "",
        "PARTITIONED BY (name) TBLPROPERTIES ('delta.enableDeletionVectors' = 'false')",
    );
    run(&plain, &people(&[3]), append.clone())
        .await
        .expect("it loads");
    // The space in the partition's value is encoded in Spark's own way, and must be found again to be removed.
    run(
        &plain,
        &people(&[2]),
        json!({ "mode": "overwrite", "overwrite_partitions": true }),
    )
    .await
    .expect("it loads");
    assert_eq!(spark.column(&plain, "id"), json!([1, 2, 3]));
    run(
        &plain,
        &people(&[1, 9]),
        json!({ "mode": "upsert", "keys": ["id"] }),
    )
    .await
    .expect("it loads");
    assert_eq!(spark.column(&plain, "id"), json!([1, 2, 3, 9]));
    run(&plain, &people(&[5]), json!({ "mode": "overwrite" }))
        .await
        .expect("it loads");
    assert_eq!(spark.column(&plain, "id"), json!([5]));

    let vectors = folder.join("spark_vectors");
    made(
        spark,
        &vectors,
        "",
        "TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')",
    );
    spark.sql(&format!(
        "DELETE FROM delta.`{}` WHERE id = 1",
        vectors.display()
    ));
    run(&vectors, &people(&[3]), append.clone())
        .await
        .expect("it loads");
    assert_eq!(spark.column(&vectors, "id"), json!([2, 3]));
    let error = run(
        &vectors,
        &people(&[2]),
        json!({ "mode": "upsert", "keys": ["id"] }),
    )
    .await
    .expect_err("it would read them");
    assert!(
        error.kind() == ErrorKind::Unsupported && error.message().contains("deletion vectors"),
        "{error:#}"
    );
    run(&vectors, &people(&[8]), json!({ "mode": "overwrite" }))
        .await
        .expect("it loads");
    assert_eq!(spark.column(&vectors, "id"), json!([8]));

    let ruled = folder.join("spark_rules");
    made(
        spark,
        &ruled,
        "addColumn('twice', 'BIGINT', generatedAlwaysAs='id * 2').property('delta.enableChangeDataFeed', 'true')",
        "",
    );
    spark.sql(&format!(
        "ALTER TABLE delta.`{}` ADD CONSTRAINT small CHECK (id < 10 AND `name` LIKE 'n%')",
        ruled.display()
    ));
    run(&ruled, &people(&[3]), append.clone())
        .await
        .expect("it loads");
    assert_eq!(spark.column(&ruled, "twice"), json!([2, 4, 6]));
    let error = run(&ruled, &people(&[10]), append)
        .await
        .expect_err("10 is not small");
    assert!(error.message().contains("small"), "{error:#}");
    let changes = spark.sql(&format!(
        "SELECT id FROM table_changes_by_path('{}', 3) WHERE _change_type = 'insert'",
        ruled.display()
    ));
    assert_eq!(changes, json!([{ "id": 3 }]));
}

/// Expressions that this loader computes.
const KEPT: [(&str, &str); 30] = [
    ("BIGINT", "id * 2 + 1"),
    ("BIGINT", "id % 3 - v"),
    ("BIGINT", "coalesce(v, id, 7)"),
    ("BIGINT", "abs(id)"),
    (
        "BIGINT",
        "CASE WHEN v > 2 THEN id WHEN s IS NULL THEN id * 3 ELSE id - 1 END",
    ),
    ("STRING", "concat(s, '-', s)"),
    ("STRING", "s || 'x'"),
    ("STRING", "upper(s)"),
    ("STRING", "CAST(id AS STRING)"),
    ("STRING", "CAST(d AS STRING)"),
    ("DATE", "CAST(at AS DATE)"),
    ("INT", "EXTRACT(YEAR FROM d)"),
    ("BOOLEAN", "f >= 0"),
    ("BOOLEAN", "f = 0.0"),
    ("BOOLEAN", "f IN (0, 1)"),
    ("BOOLEAN", "f >= 0 AND f <= 2"),
    ("BOOLEAN", "f = f"),
    ("BOOLEAN", "v <= 3"),
    ("BOOLEAN", "v <=> NULL"),
    ("BOOLEAN", "NOT (v > 3 AND s = 'a_b')"),
    ("BOOLEAN", "v > 3 OR s = 'a_b'"),
    ("BOOLEAN", "s LIKE 'a_%'"),
    ("BOOLEAN", "s > 'a'"),
    ("BOOLEAN", "length(s) > 3"),
    ("BOOLEAN", "d > '1999-12-31'"),
    ("BOOLEAN", "price > 0.5"),
    ("BOOLEAN", "price = 1"),
    ("BOOLEAN", "ntz > '1900-01-01 12:00:00'"),
    ("BOOLEAN", "s IN ('abc', 'a_b')"),
    ("BOOLEAN", "v IS NOT NULL"),
];

/// Each as a generated column, which Spark then computes again.
async fn expressions_mean_the_same(spark: &mut Spark, folder: &Path) {
    let path = folder.join("expressions");
    let columns = [
        "id BIGINT",
        "v INT",
        "s STRING",
        "f DOUBLE",
        "d DATE",
        "at TIMESTAMP",
        "ntz TIMESTAMP_NTZ",
        "price DECIMAL(10,2)",
    ];
    let mut made: String = columns
        .iter()
        .map(|column| column.replace(' ', "', '"))
        .map(|column| format!(".addColumn('{column}')"))
        .collect();
    for (index, (kind, expression)) in KEPT.iter().enumerate() {
        made += &format!(
            ".addColumn('g{index}', '{kind}', generatedAlwaysAs={})",
            Value::from(*expression)
        );
    }
    spark.sql(&format!(
        "python delta.DeltaTable.create(spark).location('{}'){made}.execute()",
        path.display()
    ));
    let days = [
        Some(0),
        Some(-60_000),
        Some(20_000),
        None,
        Some(-700_000),
        Some(2_932_896),
    ];
    let micros = days.map(|day: Option<i64>| day.map(|day| day * 86_400_000_000 + 43_200_000_001));
    let prices = Decimal128Array::from(vec![
        Some(100),
        Some(50),
        Some(-50),
        None,
        Some(51),
        Some(0),
    ]);
    let rows = batch([
        (
            "id",
            Arc::new(Int64Array::from(vec![1, 2, -3, 4, 5, 6])) as ArrayRef,
        ),
        (
            "v",
            Arc::new(Int32Array::from(vec![
                Some(3),
                None,
                Some(-7),
                Some(4),
                Some(0),
                Some(i32::MAX),
            ])),
        ),
        (
            "s",
            Arc::new(StringArray::from(vec![
                Some("abc"),
                None,
                Some("a_b"),
                Some(""),
                Some("ünï"),
                Some("A%"),
            ])),
        ),
        (
            "f",
            Arc::new(Float64Array::from(vec![
                Some(-0.0),
                Some(f64::NAN),
                None,
                Some(1.0),
                Some(1e20),
                Some(f64::NEG_INFINITY),
            ])),
        ),
        (
            "d",
            Arc::new(
                days.iter()
                    .map(|day| day.map(|day| day as i32))
                    .collect::<Date32Array>(),
            ),
        ),
        (
            "at",
            Arc::new(
                micros
                    .iter()
                    .copied()
                    .collect::<TimestampMicrosecondArray>()
                    .with_timezone("UTC"),
            ),
        ),
        (
            "ntz",
            Arc::new(
                micros
                    .iter()
                    .copied()
                    .collect::<TimestampMicrosecondArray>(),
            ),
        ),
        (
            "price",
            Arc::new(prices.with_precision_and_scale(10, 2).expect("it fits")),
        ),
    ]);
    run(&path, &rows, json!({})).await.expect("it loads");
    for (index, (kind, expression)) in KEPT.iter().enumerate() {
        let wrong = spark.sql(&format!(
            "SELECT id, g{index} AS ours, CAST({expression} AS {kind}) AS theirs FROM delta.`{}` WHERE NOT (g{index} <=> CAST({expression} AS {kind}))",
            path.display()
        ));
        assert_eq!(wrong, json!([]), "{expression}");
    }
}

/// Tables whose columns have other names in files: renamed, nested, partitioned, by name and by id.
async fn mapped_are_kept(spark: &mut Spark, folder: &Path) {
    for mode in ["name", "id"] {
        let path = folder.join(format!("mapped_{mode}"));
        let table = format!("delta.`{}`", path.display());
        spark.sql(&format!(
            "CREATE TABLE {table} (id BIGINT, `the name` STRING, old STRING, inside STRUCT<a: BIGINT, b: ARRAY<STRUCT<c: STRING>>>) USING delta \
             PARTITIONED BY (old) TBLPROPERTIES ('delta.columnMapping.mode' = '{mode}', 'delta.enableDeletionVectors' = 'false')"
        ));
        spark.sql(&format!(
            "INSERT INTO {table} VALUES (1, 'n1', 'p', named_struct('a', 10, 'b', array(named_struct('c', 'x')))), (2, NULL, 'q', NULL)"
        ));
        // `day` is `old` in files, and the new `old` is something else there.
        spark.sql(&format!("ALTER TABLE {table} RENAME COLUMN old TO day"));
        spark.sql(&format!("ALTER TABLE {table} ADD COLUMN (old BIGINT)"));
        let rows = |ids: &[i64], day: &str| {
            let values = StructArray::from(vec![(
                Arc::new(Field::new("c", DataType::Utf8, true)),
                Arc::new(StringArray::from(
                    ids.iter().map(|id| format!("c{id}")).collect::<Vec<_>>(),
                )) as ArrayRef,
            )]);
            let item = Arc::new(Field::new("element", values.data_type().clone(), true));
            let lists = ListArray::new(
                item,
                OffsetBuffer::from_lengths(ids.iter().map(|_| 1)),
                Arc::new(values),
                None,
            );
            let inside = StructArray::from(vec![
                (
                    Arc::new(Field::new("a", DataType::Int64, true)),
                    Arc::new(Int64Array::from(
                        ids.iter().map(|id| id * 10).collect::<Vec<_>>(),
                    )) as ArrayRef,
                ),
                (
                    Arc::new(Field::new("b", lists.data_type().clone(), true)),
                    Arc::new(lists) as ArrayRef,
                ),
            ]);
            batch([
                (
                    "day",
                    Arc::new(StringArray::from(vec![day; ids.len()])) as ArrayRef,
                ),
                ("id", Arc::new(Int64Array::from(ids.to_vec()))),
                (
                    "the name",
                    Arc::new(StringArray::from(
                        ids.iter().map(|id| format!("n{id}")).collect::<Vec<_>>(),
                    )),
                ),
                (
                    "old",
                    Arc::new(Int64Array::from(
                        ids.iter().map(|id| -id).collect::<Vec<_>>(),
                    )),
                ),
                ("inside", Arc::new(inside)),
            ])
        };
        let checked = json!({ "verify": "checksum", "checkpoint_interval": 1 });
        run(&path, &rows(&[3, 4], "p"), checked)
            .await
            .expect("it loads");
        assert_eq!(spark.column(&path, "id"), json!([1, 2, 3, 4]), "{mode}");
        assert_eq!(
            spark.column(&path, "`the name`"),
            json!(["n1", null, "n3", "n4"]),
            "{mode}"
        );
        assert_eq!(
            spark.column(&path, "day"),
            json!(["p", "q", "p", "p"]),
            "{mode}"
        );
        assert_eq!(
            spark.column(&path, "old"),
            json!([null, null, -3, -4]),
            "{mode}"
        );
        assert_eq!(
            spark.column(&path, "inside.b[0].c"),
            json!(["x", null, "c3", "c4"]),
            "{mode}"
        );
        assert_eq!(
            spark.column(&path, "inside.a"),
            json!([10, null, 30, 40]),
            "{mode}"
        );
        // Statistics are found under the names that files have.
        let skipped = spark.sql(&format!(
            "SELECT id FROM {table} WHERE id > 3 AND day = 'p'"
        ));
        assert_eq!(skipped, json!([{ "id": 4 }]));
        // Rows of old files are read and written again.
        run(
            &path,
            &rows(&[1, 5], "p"),
            json!({ "mode": "upsert", "keys": ["id"] }),
        )
        .await
        .expect("it merges");
        assert_eq!(spark.column(&path, "id"), json!([1, 2, 3, 4, 5]), "{mode}");
        assert_eq!(
            spark.column(&path, "inside.b[0].c"),
            json!(["c1", null, "c3", "c4", "c5"]),
            "{mode}"
        );
        assert_eq!(
            spark.column(&path, "old"),
            json!([-1, null, -3, -4, -5]),
            "{mode}"
        );
        run(
            &path,
            &rows(&[6], "q"),
            json!({ "mode": "overwrite", "overwrite_partitions": true }),
        )
        .await
        .expect("it overwrites");
        assert_eq!(spark.column(&path, "id"), json!([1, 3, 4, 5, 6]), "{mode}");
        run(
            &path,
            &rows(&[7], "p"),
            json!({ "mode": "overwrite", "replace_where": "day = 'p' AND id > 3" }),
        )
        .await
        .expect("it overwrites");
        assert_eq!(spark.column(&path, "id"), json!([1, 3, 6, 7]), "{mode}");
        // Our own source reads the same.
        let source = crate::source::source(&format!("delta://{}", path.display())).await;
        let batches = crate::source::ask(
            &source,
            "SELECT id, old, day, inside['a'] AS a FROM delta ORDER BY id",
        )
        .await
        .expect("rows");
        let ids: Vec<i64> = batches
            .iter()
            .flat_map(|batch| {
                batch
                    .column(0)
                    .as_primitive::<Int64Type>()
                    .values()
                    .to_vec()
            })
            .collect();
        let a: Vec<i64> = batches
            .iter()
            .flat_map(|batch| {
                batch
                    .column(3)
                    .as_primitive::<Int64Type>()
                    .values()
                    .to_vec()
            })
            .collect();
        assert_eq!((ids, a), (vec![1, 3, 6, 7], vec![10, 30, 60, 70]), "{mode}");
        run(&path, &rows(&[8], "z"), json!({ "mode": "overwrite" }))
            .await
            .expect("it overwrites");
        assert_eq!(spark.column(&path, "id"), json!([8]), "{mode}");
        // What would need new names and ids is refused.
        let more = batch([
            ("id", Arc::new(Int64Array::from(vec![9])) as ArrayRef),
            ("more", Arc::new(Int64Array::from(vec![9]))),
        ]);
        for options in [
            json!({ "schema_evolution": true }),
            json!({ "mode": "overwrite", "schema_evolution": true }),
        ] {
            let error = run(&path, &more, options).await.expect_err("new columns");
            assert!(
                error.kind() == ErrorKind::Unsupported && error.message().contains("columnMapping"),
                "{error:#}"
            );
        }
        let error = run(
            &path,
            &rows(&[9], "z"),
            json!({ "optimize_after_write": true }),
        )
        .await
        .expect_err("it rewrites");
        assert!(
            error.kind() == ErrorKind::Unsupported && error.message().contains("columnMapping"),
            "{error:#}"
        );
        assert_eq!(spark.column(&path, "id"), json!([8]), "{mode}");
    }
}

async fn theirs_are_refused(spark: &mut Spark, folder: &Path) {
    for (name, columns, more) in [
        (
            "rowTracking",
            "",
            "TBLPROPERTIES ('delta.enableRowTracking' = 'true')",
        ),
        (
            "v2Checkpoint",
            "",
            "TBLPROPERTIES ('delta.checkpointPolicy' = 'v2')",
        ),
        (
            "inCommitTimestamp",
            "",
            "TBLPROPERTIES ('delta.enableInCommitTimestamps' = 'true')",
        ),
        (
            "typeWidening",
            "",
            "TBLPROPERTIES ('delta.enableTypeWidening' = 'true')",
        ),
        ("clustering", "", "CLUSTER BY (id)"),
        (
            "identityColumns",
            "addColumn('number', 'BIGINT', generatedByDefaultAs=delta.tables.IdentityGenerator())",
            "",
        ),
    ] {
        let path = folder.join(name);
        made(spark, &path, columns, more);
        let error = run(&path, &people(&[3]), json!({})).await.expect_err(name);
        assert!(
            error.kind() == ErrorKind::Unsupported && error.message().contains(name),
            "{name}: {error:#}"
        );
        assert_eq!(spark.column(&path, "id"), json!([1, 2]), "{name}");
    }
}
