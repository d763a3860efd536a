//! The source: what `redis-cli` has written, and what loads have, as Arrow.

use std::sync::Arc;

use arrow_array::types::Float32Type;
use arrow_array::{ArrayRef, BinaryArray, FixedSizeListArray, Float64Array, RecordBatch};
use arrow_schema::DataType;
use arrow_select::concat::concat_batches;
use arrowload_core::{DataLoader, DataSource, Error, ErrorKind, Mode, Query};
use arrowload_redis::{RedisLoader, RedisSource};
use arrowload_testkit::{ThrowawayRedis, canonical_rows, type_cases};
use futures::TryStreamExt;
use serde_json::json;

use crate::support::{Database, integers, spec, table, texts};

async fn read(url: &str, sql: &str) -> Result<RecordBatch, Error> {
    let keys = RedisLoader::config_from_url(url).expect("a URL");
    let config = serde_json::from_value(serde_json::Value::Object(keys)).expect("a configuration");
    let stream = RedisSource::connect(config)
        .await
        .expect("a connection")
        .query(&Query::new(sql))
        .await?;
    let schema = stream.schema().clone();
    let batches: Vec<RecordBatch> = stream.try_collect().await?;
    Ok(concat_batches(&schema, &batches).expect("batches of one schema"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_loaded_reads_back_with_its_types() {
    let Some(database) = Database::new() else {
        return;
    };
    let loads = type_cases().into_iter().filter(|case| {
        !case.values.data_type().is_nested()
            || matches!(case.values.data_type(), DataType::Dictionary(..))
    });
    for (index, case) in loads.enumerate() {
        let target = format!("case_{index}");
        let rows = case.values.len() as i64;
        let batch = table(vec![
            ("id", integers(0..rows)),
            ("value", Arc::clone(&case.values)),
        ]);
        database
            .load(
                &target,
                Mode::Append,
                json!({ "key_pattern": "{table}:{id}" }),
                &batch,
            )
            .await
            .expect("loaded");
        let back = read(&database.url(), &format!("SELECT * FROM {target}"))
            .await
            .unwrap_or_else(|error| panic!("{}: {error:#}", case.name));
        assert_eq!(
            canonical_rows(&back),
            canonical_rows(&batch),
            "{}",
            case.name
        );
    }
    let vectors = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
        vec![Some(vec![Some(1.0), Some(-0.5)]), None],
        2,
    );
    let batch = table(vec![("id", integers([1, 2])), ("v", Arc::new(vectors))]);
    database
        .load(
            "docs",
            Mode::Append,
            json!({ "data_structure": "vector", "key_pattern": "{table}:{id}" }),
            &batch,
        )
        .await
        .expect("loaded");
    assert_eq!(
        canonical_rows(
            &read(&database.url(), "SELECT * FROM docs")
                .await
                .expect("read")
        ),
        canonical_rows(&batch)
    );
    let options = json!({ "key_pattern": "{table}:{id}", "times": "epoch" });
    let times: ArrayRef = Arc::new(arrow_array::TimestampMillisecondArray::from(vec![
        -1_500, 86_400_000,
    ]));
    let batch = table(vec![("id", integers([1, 2])), ("at", times)]);
    database
        .load("epochs", Mode::Append, options, &batch)
        .await
        .expect("loaded");
    assert_eq!(
        canonical_rows(
            &read(&database.url(), "SELECT * FROM epochs")
                .await
                .expect("read")
        ),
        canonical_rows(&batch)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_written_is_a_column_of_the_target() {
    let Some(database) = Database::new() else {
        return;
    };
    let batch = table(vec![
        ("row", integers([5, 6])),
        ("name", texts([Some("a"), Some("b")])),
    ]);
    let options = json!({ "keys": ["row"], "value_columns": ["name"] });
    database
        .load("t", Mode::Upsert, options.clone(), &batch)
        .await
        .expect("loaded");
    assert_eq!(database.keys(), ["t:5", "t:6"]);
    let back = read(&database.url(), "SELECT * FROM t")
        .await
        .expect("read");
    assert_eq!(
        canonical_rows(&back),
        canonical_rows(&batch.project(&[1]).expect("a column"))
    );
    database
        .load("t", Mode::Overwrite, options, &batch.slice(1, 1))
        .await
        .expect("overwritten");
    assert_eq!(database.keys(), ["t:6"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hashes_of_others_are_inferred_or_typed_by_the_query() {
    let Some(database) = Database::new() else {
        return;
    };
    database.cli(&["HSET", "user:1", "age", "36", "name", "Ada", "zip", "01234"]);
    database.cli(&["HSET", "user:2", "age", "-7", "score", "1.5"]);
    database.cli(&["SET", "user:3", "no hash"]);
    let expected = table(vec![
        ("_key", texts([Some("user:1"), Some("user:2")])),
        ("age", integers([36, -7])),
        ("name", texts([Some("Ada"), None])),
        ("zip", texts([Some("01234"), None])),
        ("score", Arc::new(Float64Array::from(vec![None, Some(1.5)]))),
    ]);
    let back = read(&database.url(), "SELECT * FROM 'user:*'")
        .await
        .expect("read");
    assert_eq!(canonical_rows(&back), canonical_rows(&expected));
    let back = read(
        &database.url(),
        "SELECT name::bytea, age::decimal(5,1), nobody FROM 'user:*'",
    )
    .await
    .expect("read");
    let ages: ArrayRef = Arc::new(
        arrow_array::Decimal128Array::from(vec![360, -70])
            .with_precision_and_scale(5, 1)
            .expect("digits"),
    );
    let names: ArrayRef = Arc::new(BinaryArray::from(vec![Some(b"Ada".as_slice()), None]));
    let expected = table(vec![
        ("name", names),
        ("age", ages),
        ("nobody", texts([None, None])),
    ]);
    assert_eq!(canonical_rows(&back), canonical_rows(&expected));
    let error = read(
        &database.url(),
        "SELECT zip::bigint, name::bigint FROM 'user:*'",
    )
    .await
    .expect_err("a name is no number");
    assert_eq!(
        (error.kind(), error.get("column")),
        (ErrorKind::InvalidData, Some("name")),
        "{error}"
    );
    assert_eq!(
        read(&database.url(), "SELECT age FROM 'user:*' LIMIT 1")
            .await
            .expect("read")
            .num_rows(),
        1
    );
    for sql in [
        "SELECT * FROM nobody",
        "SELECT age FROM 'user:*' WHERE age = 1",
        "DELETE FROM user",
    ] {
        assert!(matches!(
            read(&database.url(), sql).await.expect_err(sql).kind(),
            ErrorKind::NotFound | ErrorKind::Query
        ));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_hashes_come_once_each_in_batches() {
    let Some(database) = Database::new() else {
        return;
    };
    let batch = table(vec![("id", integers(0..25_000))]);
    database
        .load(
            "many",
            Mode::Append,
            json!({ "key_pattern": "{table}:{id}" }),
            &batch,
        )
        .await
        .expect("loaded");
    for sql in ["SELECT id FROM many", "SELECT id FROM 'many:*'"] {
        let back = read(&format!("{}?read_batch_size=700", database.url()), sql)
            .await
            .expect("read");
        assert_eq!(canonical_rows(&back), canonical_rows(&batch));
    }
    // A field that only a later hash has would be left out without a word.
    database.cli(&["HSET", "many:7", "extra", "1"]);
    let outcome = read(
        &format!("{}?read_batch_size=700", database.url()),
        "SELECT * FROM 'many:*'",
    )
    .await;
    match outcome {
        Ok(back) => assert!(
            back.column_by_name("extra").is_some(),
            "it was among the first"
        ),
        Err(error) => assert_eq!(
            (error.kind(), error.get("column")),
            (ErrorKind::SchemaMismatch, Some("extra"))
        ),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_read_by_range_and_batches_unpacked() {
    let Some(database) = Database::new() else {
        return;
    };
    for index in 1..=5 {
        database.cli(&[
            "XADD",
            "events",
            &format!("{index}-0"),
            "n",
            &index.to_string(),
        ]);
    }
    let back = read(
        &database.url(),
        "SELECT * FROM STREAM 'events' WHERE _id BETWEEN '2-0' AND '4-0'",
    )
    .await
    .expect("read");
    let expected = table(vec![
        ("_id", texts([Some("2-0"), Some("3-0"), Some("4-0")])),
        ("n", integers(2..5)),
    ]);
    assert_eq!(canonical_rows(&back), canonical_rows(&expected));
    let batch = table(vec![
        ("id", integers(0..5_000)),
        ("name", texts(vec![Some("x"); 5_000])),
    ]);
    for (target, entry) in [("rows", "row"), ("wholes", "batch")] {
        let options =
            json!({ "data_structure": "stream", "stream_entry": entry, "batch_size": 1_200 });
        database
            .load(target, Mode::Append, options, &batch)
            .await
            .expect("loaded");
        let back = read(
            &format!("{}?read_batch_size=700", database.url()),
            &format!("SELECT id, name FROM {target}"),
        )
        .await
        .expect("read");
        assert_eq!(back.column(0), batch.column(0), "in order");
        assert_eq!(canonical_rows(&back), canonical_rows(&batch));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_read_node_by_node() {
    if ThrowawayRedis::available().is_none() {
        return;
    }
    let nodes = ThrowawayRedis::start_cluster().expect("a cluster");
    let url = format!("{}?cluster=true", nodes[1].url());
    let loader = arrowload_core::Loader::connect(
        &crate::support::descriptor(),
        &crate::support::settings(&url),
        2,
    )
    .await
    .expect("connected");
    let batch = table(vec![("id", integers(0..3_000))]);
    let spec = spec("t", Mode::Append, json!({ "key_pattern": "{table}:{id}" }));
    arrowload_core::load(&loader, &spec, &crate::support::once(&batch))
        .await
        .expect("loaded");
    assert_eq!(
        canonical_rows(&read(&url, "SELECT * FROM t").await.expect("read")),
        canonical_rows(&batch)
    );
}
