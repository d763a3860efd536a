//! A load touches the keys of its target alone: what others have written stays, and is not read.

use arrowload_core::{DataLoader, DataSource, ErrorKind, LoadSpec, Mode, Query, load, plan_load};
use arrowload_redis::{RedisLoader, RedisSource};
use futures::TryStreamExt;
use serde_json::{Value, json};

use crate::support::{Database, integers, once, spec, table, texts};

fn towns(names: &[&str]) -> arrow_array::RecordBatch {
    let names = names.iter().map(|name| Some(*name));
    let count = names.len() as i64;
    table(vec![("k", texts(names)), ("v", integers(0..count))])
}

async fn read(database: &Database, sql: &str) -> Result<usize, arrowload_core::Error> {
    let keys = RedisLoader::config_from_url(&database.url()).expect("a URL");
    let config = serde_json::from_value(Value::Object(keys)).expect("a configuration");
    let source = RedisSource::connect(config).await.expect("a connection");
    let batches: Vec<_> = source.query(&Query::new(sql)).await?.try_collect().await?;
    Ok(batches.iter().map(arrow_array::RecordBatch::num_rows).sum())
}

/// What others have written.
fn others(database: &Database) -> [String; 3] {
    [
        database.cli(&["HGETALL", "session:77"]),
        database.cli(&["GET", "counter"]),
        database.cli(&["HGETALL", "Paris"]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_that_every_key_fits_is_written_and_neither_overwritten_nor_read() {
    let Some(database) = Database::new() else {
        return;
    };
    database.cli(&["HSET", "session:77", "user", "bob"]);
    database.cli(&["SET", "counter", "5"]);
    database.cli(&["HSET", "Paris", "population", "1"]);
    let before = others(&database);
    let options = json!({ "key_pattern": "{k}" });
    let report = database
        .load(
            "city",
            Mode::Append,
            options.clone(),
            &towns(&["Rome", "Milan"]),
        )
        .await
        .expect("loaded");
    assert_eq!(report.rows, 2);
    let error = read(&database, "SELECT * FROM city")
        .await
        .expect_err("whose keys?");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    // Named by a pattern of the query's own, they are read; the loader's own records never.
    database.cli(&["DEL", "counter"]);
    assert_eq!(read(&database, "SELECT * FROM '*'").await.expect("read"), 4);
    assert_eq!(
        read(&database, "SELECT * FROM 'arrowload:*'")
            .await
            .expect("read"),
        0
    );
    let error = read(&database, "SELECT * FROM STREAM 'arrowload:stage:x'").await;
    assert_eq!(error.expect_err("its own").kind(), ErrorKind::Unsupported);
    database.cli(&["SET", "counter", "5"]);
    let keys = database.keys();
    for mode in [Mode::Overwrite, Mode::Create] {
        // Also by another pattern: the target has keys of the first.
        for pattern in ["{k}", "{table}:{k}"] {
            let mut spec = spec("city", mode, json!({ "key_pattern": pattern }));
            spec.load.load_id = Some("two".into());
            let loader = database.loader().await;
            let input = once(&towns(&["Rome"]));
            let planned = plan_load(&loader, &spec, &input)
                .await
                .expect_err("whose keys?");
            let error = load(&loader, &spec, &input).await.expect_err("whose keys?");
            assert_eq!(
                (planned.kind(), planned.message()),
                (error.kind(), error.message())
            );
            let expected = match (mode, pattern) {
                (Mode::Create, "{table}:{k}") => ErrorKind::TargetExists,
                _ => ErrorKind::InvalidOption,
            };
            assert_eq!(error.kind(), expected, "{error}");
        }
    }
    assert_eq!((database.keys(), others(&database)), (keys, before));
    // A row whose key would be the loader's own is refused.
    let error = database
        .load(
            "city",
            Mode::Append,
            options,
            &towns(&["arrowload:{city}:target"]),
        )
        .await
        .expect_err("its own key");
    assert_eq!(
        (error.kind(), error.row()),
        (ErrorKind::InvalidData, Some(0)),
        "{error}"
    );
    assert_eq!(database.cli(&["TYPE", "arrowload:{city}:target"]), "hash");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_of_fewer_columns_keeps_the_others() {
    let Some(database) = Database::new() else {
        return;
    };
    let row = |names: &[&str]| {
        let columns = names.iter().map(|name| (*name, texts([Some(*name)])));
        table(columns.collect())
    };
    let options = json!({ "keys": ["k"] });
    for columns in [&["k", "a", "b"][..], &["k", "a"]] {
        let row = row(columns);
        let loaded = database.load("w", Mode::Append, options.clone(), &row);
        loaded.await.expect("loaded");
    }
    assert_eq!(database.hash("w:k"), ["a=a", "b=b", "k=k"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overwrite_by_another_pattern_removes_the_keys_of_the_first_and_forgets_it() {
    let Some(database) = Database::new() else {
        return;
    };
    let list = |pattern: &str| json!({ "data_structure": "list", "key_pattern": pattern });
    let hash = |pattern: &str| json!({ "key_pattern": pattern });
    let generation =
        json!({ "key_pattern": "{table}:{generation}:{k}", "overwrite": "generation" });
    for (first, second, left) in [
        (hash("a:{k}"), hash("b:{k}"), "b:Rome"),
        (list("a"), list("b"), "b"),
        (list("a:{k}"), list("b"), "b"),
        // Whose keys the first pattern fits too, as far as its text goes.
        (hash("{table}:{k}:{v}"), generation.clone(), "t:*:Rome"),
        (generation, hash("c:{k}"), "c:Rome"),
    ] {
        database.cli(&["FLUSHDB"]);
        database.cli(&["SET", "a:x:y", "another's"]);
        for (mode, options, towns) in [
            (Mode::Append, &first, towns(&["Milan", "Turin"])),
            (Mode::Overwrite, &second, towns(&["Rome"])),
        ] {
            let loaded = database.load("t", mode, options.clone(), &towns);
            loaded
                .await
                .unwrap_or_else(|error| panic!("{second}: {error:#}"));
        }
        let printed = database.cli(&["KEYS", left]);
        let keys = database.keys();
        let others: Vec<_> = keys.iter().filter(|key| **key != printed).collect();
        assert_eq!(others, ["a:x:y"], "{second}");
        let patterns = database.cli(&["HGET", "arrowload:{t}:target", "patterns"]);
        let pattern = second["key_pattern"].as_str().expect("text");
        assert_eq!(patterns, format!("[\"{pattern}\"]"));
        let generations = database.cli(&["EXISTS", "arrowload:{t}:generation"]);
        assert_eq!(generations == "1", pattern.contains("generation"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn max_deletes_is_kept_where_rows_are_counted_and_refused_where_not() {
    let Some(database) = Database::new() else {
        return;
    };
    let three = towns(&["a", "b", "c"]);
    let limited = |options: &Value, mode: Mode, limit: Value| -> LoadSpec {
        let mut spec = spec("t", mode, options.clone());
        let limits = json!({ "max_deletes": limit });
        let limits: arrowload_core::LoadOptions = serde_json::from_value(limits).expect("limits");
        spec.load.max_deletes = limits.max_deletes;
        spec
    };
    let set = |structure: &str, pattern: &str| json!({ "data_structure": structure, "key_pattern": pattern });
    let scores = |structure: &str| json!({ "data_structure": structure, "score_column": "v", "longitude_column": "v", "latitude_column": "v" });
    for options in [
        json!({ "key_pattern": "{table}:{k}" }),
        json!({ "keys": ["k"], "overwrite": "generation" }),
        set("string", "{table}:{k}"),
        set("list", "{table}"),
        set("list", "{table}:{k}"),
        set("set", "{table}"),
        set("stream", "{table}"),
        scores("sorted_set"),
        scores("geo"),
    ] {
        database.cli(&["FLUSHDB"]);
        let loader = database.loader().await;
        load(
            &loader,
            &spec("t", Mode::Append, options.clone()),
            &once(&three),
        )
        .await
        .unwrap_or_else(|error| panic!("{options}: {error:#}"));
        let before = database.cli(&["DBSIZE"]);
        for (limit, allowed) in [(json!(2), false), (json!("99%"), false), (json!(3), true)] {
            let spec = limited(&options, Mode::Overwrite, limit);
            let input = once(&towns(&["d"]));
            let planned = plan_load(&loader, &spec, &input).await;
            let outcome = load(&loader, &spec, &input).await;
            if allowed {
                planned.expect("a plan");
                assert_eq!(outcome.expect("overwritten").rows, 1, "{options}");
                continue;
            }
            let (planned, error) = (
                planned.expect_err("too many"),
                outcome.expect_err("too many"),
            );
            assert_eq!(
                (planned.kind(), error.kind()),
                (ErrorKind::LimitExceeded, ErrorKind::LimitExceeded),
                "{error}"
            );
            assert_eq!(planned.message(), error.message());
            assert_eq!(database.cli(&["DBSIZE"]), before, "{options}");
        }
        // What only adds removes nothing.
        let spec = limited(&options, Mode::Append, json!(0));
        load(&loader, &spec, &once(&three)).await.expect("added");
    }
    let batches = json!({ "data_structure": "stream", "stream_entry": "batch" });
    database.cli(&["FLUSHDB"]);
    database
        .load("t", Mode::Append, batches.clone(), &three)
        .await
        .expect("loaded");
    let spec = limited(&batches, Mode::Overwrite, json!(3));
    let error = load(&database.loader().await, &spec, &once(&three)).await;
    assert_eq!(
        error.expect_err("not counted").kind(),
        ErrorKind::Unsupported
    );
}
