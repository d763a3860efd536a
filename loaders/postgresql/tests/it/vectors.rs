//! Lists of floats in columns of pgvector's.

use std::sync::Arc;

use arrow_array::builder::{Float32Builder, ListBuilder};
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{ArrayRef, FixedSizeListArray, RecordBatch};
use arrowload_core::{ErrorKind, Mode};
use serde_json::json;

use crate::server::{Database, database};
use crate::support::{batch, spec, with};

async fn with_extension(name: &str) -> Option<Database> {
    let database = database(name).await?;
    if database
        .rows("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'")
        .await
        .is_empty()
    {
        arrowload_testkit::skip("postgresql_vector", "this PostgreSQL has no pgvector");
        return None;
    }
    database.run("CREATE EXTENSION vector").await;
    Some(database)
}

fn fixed(rows: Vec<Option<Vec<Option<f32>>>>, length: i32) -> RecordBatch {
    let lists: ArrayRef =
        Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(rows, length));
    batch(vec![("v", lists)])
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_floats_arrive_as_vectors() {
    let Some(database) = with_extension("vectors").await else {
        return;
    };
    database.run("CREATE TABLE t (v vector(3)); CREATE TABLE free (v vector); CREATE DOMAIN embedding AS vector(3); CREATE TABLE d (v embedding)").await;
    let rows = || {
        fixed(
            vec![
                Some(vec![Some(1.0), Some(-0.5), Some(0.1)]),
                None,
                Some(vec![Some(f32::MAX), Some(-0.0), Some(1e-30)]),
            ],
            3,
        )
    };
    let expected = ["[1,-0.5,0.1]", "NULL", "[3.4028235e+38,-0,1e-30]"];
    for table in ["t", "free", "d"] {
        database.load(&spec(table, Mode::Append), &rows()).await;
        database
            .load(
                &with(table, json!({ "mode": "overwrite", "verify": "checksum" })),
                &rows().slice(1, 2),
            )
            .await;
        assert_eq!(
            database.rows(&format!("SELECT v FROM {table}")).await,
            expected[1..],
            "{table}"
        );
    }
    // Lists of any kind and width, as long as each fits.
    let mut lists = ListBuilder::new(Float32Builder::new());
    lists.append_value([Some(1.0), Some(2.0), Some(3.0)]);
    database
        .load(
            &spec("t", Mode::Overwrite),
            &batch(vec![("v", Arc::new(lists.finish()))]),
        )
        .await;
    let doubles: ArrayRef = Arc::new(
        FixedSizeListArray::from_iter_primitive::<Float64Type, _, _>(
            vec![Some(vec![Some(0.5), Some(2.0), Some(-4.0)])],
            3,
        ),
    );
    database
        .load(
            &with("t", json!({ "verify": "checksum" })),
            &batch(vec![("v", doubles)]),
        )
        .await;
    assert_eq!(
        database.rows("SELECT v <-> '[1,2,3]' < 10, v FROM t").await,
        ["t|[1,2,3]", "t|[0.5,2,-4]"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_vector_cannot_hold_is_refused() {
    let Some(database) = with_extension("vectors_refused").await else {
        return;
    };
    database
        .run("CREATE TABLE t (v vector(2)); CREATE TABLE free (v vector)")
        .await;
    for wrong in [Some(f32::NAN), Some(f32::INFINITY), None] {
        let rows = fixed(
            vec![
                Some(vec![Some(0.0), Some(1.0)]),
                Some(vec![Some(0.0), wrong]),
            ],
            2,
        );
        let error = database.refused(&spec("t", Mode::Append), &rows).await;
        assert_eq!(
            (error.kind(), error.row(), error.get("column")),
            (ErrorKind::InvalidData, Some(1), Some("v")),
            "{error}"
        );
    }
    let error = database
        .refused(
            &spec("t", Mode::Append),
            &fixed(vec![Some(vec![Some(0.0); 3])], 3),
        )
        .await;
    assert!(
        error.kind() == ErrorKind::UnsupportedType && error.to_string().contains("vector(2)"),
        "{error}"
    );
    let mut empty = ListBuilder::new(Float32Builder::new());
    empty.append(true);
    let error = database
        .refused(
            &spec("free", Mode::Append),
            &batch(vec![("v", Arc::new(empty.finish()))]),
        )
        .await;
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
    let doubles: ArrayRef = Arc::new(
        FixedSizeListArray::from_iter_primitive::<Float64Type, _, _>(
            vec![Some(vec![Some(0.1), Some(2.0)])],
            2,
        ),
    );
    let error = database
        .refused(&spec("t", Mode::Append), &batch(vec![("v", doubles)]))
        .await;
    assert!(
        error.kind() == ErrorKind::InvalidData && error.to_string().contains("0.1"),
        "{error}"
    );
    assert!(
        database
            .rows("SELECT v FROM t UNION ALL SELECT v FROM free")
            .await
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn new_columns_are_vectors_where_asked() {
    let Some(database) = with_extension("vectors_new").await else {
        return;
    };
    let rows = fixed(vec![Some(vec![Some(1.0), Some(2.0)]), None], 2);
    database
        .load(&with("t", json!({ "vectors": true })), &rows)
        .await;
    database.load(&spec("plain", Mode::Append), &rows).await;
    let types = "SELECT relname, format_type(atttypid, atttypmod) FROM pg_attribute JOIN pg_class c ON c.oid = attrelid \
                 WHERE relname IN ('t', 'plain') AND attnum > 0 ORDER BY 1";
    assert_eq!(database.rows(types).await, ["plain|real[]", "t|vector(2)"]);
    assert_eq!(database.rows("SELECT v FROM t").await, ["[1,2]", "NULL"]);
    // And it is used by its index.
    database
        .run("CREATE INDEX ON t USING hnsw (v vector_l2_ops)")
        .await;
    database
        .load(&with("t", json!({ "mode": "overwrite" })), &rows)
        .await;
    assert_eq!(database.rows("SELECT count(v) FROM t").await, ["1"]);
    database.run("DROP EXTENSION vector CASCADE").await;
    let error = database
        .refused(&with("u", json!({ "vectors": true })), &rows)
        .await;
    assert!(error.to_string().contains("vector"), "{error}");
}
