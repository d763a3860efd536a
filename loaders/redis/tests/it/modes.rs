//! Modes and options of hashes: create, overwrite, upsert, keys, times of expiry, forms of values.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Date32Array, Int64Array, TimestampMillisecondArray};
use arrowload_core::{ErrorKind, Mode, OnError, load, read_dead_letters};
use futures::TryStreamExt;
use serde_json::json;

use crate::support::{Database, integers, once, spec, table, texts};

#[tokio::test(flavor = "multi_thread")]
async fn create_refuses_if_any_key_of_the_pattern_is_there() {
    let Some(database) = Database::new() else {
        return;
    };
    let batch = table(vec![("id", integers([1, 2]))]);
    let options = json!({ "key_pattern": "{table}:{id}" });
    // Keys of another target, even one whose name begins alike, do not matter.
    database.cli(&["HSET", "t:sub:1", "id", "1"]);
    database
        .load("t", Mode::Create, options.clone(), &batch)
        .await
        .expect("created");
    let error = database
        .load("t", Mode::Create, options.clone(), &batch)
        .await
        .expect_err("it is there");
    assert_eq!(error.kind(), ErrorKind::TargetExists);
    // What somebody else has written, without a record.
    database.cli(&["HSET", "u:99", "id", "1"]);
    let error = database
        .load("u", Mode::Create, options, &batch)
        .await
        .expect_err("it is there");
    assert_eq!(error.kind(), ErrorKind::TargetExists);
    assert_eq!(database.keys(), ["t:1", "t:2", "t:sub:1", "u:99"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upsert_replaces_fields_and_removes_those_that_are_null() {
    let Some(database) = Database::new() else {
        return;
    };
    let options = json!({ "keys": ["id"] });
    let old = table(vec![
        ("id", integers([1, 2])),
        ("a", texts([Some("x"), Some("y")])),
        ("b", texts([Some("p"), Some("q")])),
    ]);
    database
        .load("t", Mode::Upsert, options.clone(), &old)
        .await
        .expect("loaded");
    let new = table(vec![
        ("id", integers([2, 3])),
        ("a", texts([None, Some("z")])),
    ]);
    database
        .load("t", Mode::Upsert, options, &new)
        .await
        .expect("loaded");
    assert_eq!(database.hash("t:1"), ["a=x", "b=p", "id=1"]);
    assert_eq!(
        database.hash("t:2"),
        ["b=q", "id=2"],
        "the null is gone, and what the load does not have stays"
    );
    assert_eq!(database.hash("t:3"), ["a=z", "id=3"]);
    let error = database
        .load(
            "t",
            Mode::Upsert,
            json!({ "keys": ["id"], "key_pattern": "{table}:{uuid}" }),
            &new,
        )
        .await;
    assert_eq!(
        error.expect_err("no row would be replaced").kind(),
        ErrorKind::InvalidOption
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overwrite_removes_the_keys_of_its_target_and_no_others() {
    let Some(database) = Database::new() else {
        return;
    };
    let options = json!({ "key_pattern": "{table}:{id}" });
    database
        .load(
            "t",
            Mode::Append,
            options.clone(),
            &table(vec![("id", integers(0..3_000))]),
        )
        .await
        .expect("loaded");
    database.cli(&["HSET", "t:sub:1", "id", "1"]);
    database.cli(&["SET", "t2:1", "x"]);
    database
        .load(
            "t",
            Mode::Overwrite,
            options,
            &table(vec![("id", integers([7, 9_000]))]),
        )
        .await
        .expect("loaded");
    assert_eq!(database.keys(), ["t2:1", "t:7", "t:9000", "t:sub:1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_is_switched_to_in_one_step() {
    let Some(database) = Database::new() else {
        return;
    };
    let options = json!({ "keys": ["id"], "overwrite": "generation" });
    let ids = |range: std::ops::Range<i64>| table(vec![("id", integers(range))]);
    database
        .load("t", Mode::Overwrite, options.clone(), &ids(0..3))
        .await
        .expect("loaded");
    let first = database.cli(&["GET", "arrowload:{t}:generation"]);
    assert_eq!(
        database.keys(),
        (0..3)
            .map(|id| format!("t:{first}:{id}"))
            .collect::<Vec<_>>()
    );
    // A run that fails leaves the generation that readers see, and all of it.
    let mut spec = spec("t", Mode::Overwrite, options.clone());
    (spec.load.max_retries, spec.load.load_id) = (0, Some("cut off".into()));
    spec.options.set("pipeline_bytes", 1024, "the test");
    let broken = arrowload_core::Error::new(ErrorKind::Query, "the source broke");
    let batches = ids(10..1_000);
    let stream = futures::stream::iter([Ok(batches.clone()), Err(broken)]);
    let input =
        arrowload_core::Input::stream(arrowload_core::BatchStream::new(batches.schema(), stream));
    load(&database.loader().await, &spec, &input)
        .await
        .expect_err("the source broke");
    assert_eq!(database.cli(&["GET", "arrowload:{t}:generation"]), first);
    assert_eq!(
        database
            .keys()
            .iter()
            .filter(|key| key.contains(&first))
            .count(),
        3
    );
    // The same load, repeated, ends right: what the first run has left is gone.
    spec.load.load_id = Some("cut off".into());
    let report = load(&database.loader().await, &spec, &once(&ids(50..52)))
        .await
        .expect("loaded");
    let second = database.cli(&["GET", "arrowload:{t}:generation"]);
    assert_eq!(report.details.get("generation"), Some(&second));
    assert_eq!(
        database.keys(),
        [format!("t:{second}:50"), format!("t:{second}:51")]
    );
    // Rows are added to the generation that readers see.
    database
        .load(
            "t",
            Mode::Append,
            json!({ "key_pattern": "{table}:{generation}:{id}" }),
            &ids(60..61),
        )
        .await
        .expect("loaded");
    assert_eq!(
        database.keys(),
        [50, 51, 60].map(|id| format!("t:{second}:{id}"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_null_in_a_key_is_an_error_or_set_aside() {
    let Some(database) = Database::new() else {
        return;
    };
    let batch = table(vec![
        (
            "id",
            Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])) as ArrayRef,
        ),
        ("n", integers([1, 2, 3])),
    ]);
    let error = database
        .load(
            "t",
            Mode::Append,
            json!({ "key_pattern": "{table}:{id}" }),
            &batch,
        )
        .await
        .expect_err("a null");
    assert_eq!(
        (error.kind(), error.row(), error.get("column")),
        (ErrorKind::NullKey, Some(1), Some("id"))
    );
    let options = json!({ "key_pattern": "{table}:{id}", "null_key": "skip" });
    let error = database
        .load("t", Mode::Append, options.clone(), &batch)
        .await
        .expect_err("rows would vanish");
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
    let folder = tempfile::tempdir().expect("a folder");
    let mut spec = spec("t", Mode::Append, options);
    (spec.load.on_error, spec.load.dead_letters) = (OnError::Skip, folder.path().to_owned());
    let report = load(&database.loader().await, &spec, &once(&batch))
        .await
        .expect("loaded");
    assert_eq!((report.rows, report.rows_rejected), (2, 1));
    let (stream, _) =
        read_dead_letters(&report.dead_letters.expect("a file")).expect("dead letters");
    let letters: Vec<_> = stream.try_collect().await.expect("batches");
    assert_eq!(letters, [batch.slice(1, 1)]);
    assert_eq!(database.keys(), ["t:1", "t:3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_the_server_refuses_is_named_or_set_aside() {
    let Some(database) = Database::new() else {
        return;
    };
    database.cli(&["SET", "t:500", "no hash"]);
    let batch = table(vec![("id", integers(0..1_000))]);
    let error = database
        .load(
            "t",
            Mode::Append,
            json!({ "key_pattern": "{table}:{id}" }),
            &batch,
        )
        .await
        .expect_err("the wrong type");
    assert_eq!(
        (error.kind(), error.row(), error.code()),
        (ErrorKind::InvalidData, Some(500), Some("WRONGTYPE"))
    );
    for options in [
        json!({ "key_pattern": "{table}:{id}", "pipeline_bytes": 2048 }),
        json!({ "key_pattern": "{table}:{id}", "pipeline_bytes": 2048, "ttl": 60 }),
        // Many transactions in one pipeline.
        json!({ "key_pattern": "{table}:{id}", "ttl": 60 }),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut spec = spec("t", Mode::Append, options);
        (spec.load.on_error, spec.load.dead_letters) = (OnError::Skip, folder.path().to_owned());
        spec.load.batch_size = Some(64);
        let report = load(&database.loader().await, &spec, &once(&batch))
            .await
            .expect("loaded");
        assert_eq!((report.rows, report.rows_rejected), (999, 1));
        let (stream, _) =
            read_dead_letters(&report.dead_letters.expect("a file")).expect("dead letters");
        let letters: Vec<_> = stream.try_collect().await.expect("batches");
        assert_eq!(letters, [batch.slice(500, 1)]);
    }
    assert_eq!(
        (database.keys().len(), database.cli(&["GET", "t:500"])),
        (1_000, "no hash".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_expire_as_the_row_says() {
    let Some(database) = Database::new() else {
        return;
    };
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_millis() as i64;
    let seconds: ArrayRef = Arc::new(Int64Array::from(vec![Some(100), None]));
    let at: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![
        Some(now + 200_000),
        None,
    ]));
    let batch = table(vec![
        ("id", integers([1, 2])),
        ("seconds", seconds),
        ("at", at),
    ]);
    let ttl = |key: &str| -> i64 { database.cli(&["TTL", key]).parse().expect("seconds") };
    for structure in ["hash", "string"] {
        let load = async |target: &str, key: &str, value: serde_json::Value| {
            let mut options = json!({ "data_structure": structure, "key_pattern": "{table}:{id}" });
            options[key] = value;
            database
                .load(target, Mode::Append, options, &batch)
                .await
                .expect("loaded");
        };
        load(&format!("{structure}-a"), "ttl_column", "seconds".into()).await;
        load(&format!("{structure}-b"), "expire_at", "at".into()).await;
        load(
            &format!("{structure}-c"),
            "expire_at",
            (now / 1000 + 300).into(),
        )
        .await;
        let ttls = ["a:1", "a:2", "b:1", "b:2", "c:1", "c:2"]
            .map(|key| (ttl(&format!("{structure}-{key}")) + 9) / 10 * 10);
        assert_eq!(ttls, [100, 0, 200, 0, 300, 300], "-1 means never");
    }
    let both = json!({ "key_pattern": "{table}:{id}", "ttl": 5, "expire_at": 5 });
    assert_eq!(
        database
            .load("d", Mode::Append, both, &batch)
            .await
            .expect_err("both")
            .kind(),
        ErrorKind::InvalidOption
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_stays_under_if_not_exists() {
    let Some(database) = Database::new() else {
        return;
    };
    let old = table(vec![("id", integers([1])), ("v", texts([Some("old")]))]);
    let new = table(vec![
        ("id", integers([1, 2])),
        ("v", texts([Some("new"), Some("new")])),
    ]);
    for structure in ["hash", "string"] {
        let options = json!({ "data_structure": structure, "key_pattern": "{table}:{id}", "ttl": 60, "if_not_exists": true });
        database
            .load(structure, Mode::Append, options.clone(), &old)
            .await
            .expect("loaded");
        let report = database
            .load(structure, Mode::Append, options, &new)
            .await
            .expect("loaded");
        assert_eq!(
            (
                report.rows,
                report.details.get("rows_there_already").map(String::as_str)
            ),
            (2, Some("1"))
        );
        assert_eq!(database.cli(&["TTL", &format!("{structure}:2")]), "60");
    }
    assert_eq!(
        (database.hash("hash:1"), database.hash("hash:2")),
        (
            vec!["id=1".into(), "v=old".into()],
            vec!["id=2".into(), "v=new".into()]
        )
    );
    assert_eq!(
        database.cli(&["MGET", "string:1", "string:2"]),
        "{\"id\":1,\"v\":\"old\"}\n{\"id\":2,\"v\":\"new\"}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn values_have_the_form_that_is_asked_for() {
    let Some(database) = Database::new() else {
        return;
    };
    let batch = table(vec![
        ("id", integers([1])),
        ("yes", Arc::new(BooleanArray::from(vec![true]))),
        ("day", Arc::new(Date32Array::from(vec![19_782]))),
        (
            "at",
            Arc::new(TimestampMillisecondArray::from(vec![1_500]).with_timezone("Europe/Zurich")),
        ),
        ("none", texts([None])),
    ]);
    database
        .load(
            "a",
            Mode::Append,
            json!({ "key_pattern": "{table}:{id}" }),
            &batch,
        )
        .await
        .expect("loaded");
    assert_eq!(
        database.hash("a:1"),
        [
            "at=1970-01-01T00:00:01.500Z",
            "day=2024-02-29",
            "id=1",
            "yes=true"
        ]
    );
    let options = json!({ "key_pattern": "{table}:{id}", "times": "epoch", "booleans": "digits", "nulls": "empty" });
    database
        .load("b", Mode::Append, options, &batch)
        .await
        .expect("loaded");
    assert_eq!(
        database.hash("b:1"),
        ["at=1500", "day=19782", "id=1", "none=", "yes=1"]
    );
    let options = json!({ "key_pattern": "{table}:{day}:{id}", "value_columns": ["yes"] });
    database
        .load("c", Mode::Append, options, &batch)
        .await
        .expect("loaded");
    assert_eq!(database.hash("c:2024-02-29:1"), ["yes=true"]);
}
