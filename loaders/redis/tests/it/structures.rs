//! The data structures other than hashes, read back by `redis-cli` and redis-py; and that repeating a load adds nothing.

use std::sync::Arc;

use arrow_array::types::Float32Type;
use arrow_array::{ArrayRef, FixedSizeListArray, Float64Array, RecordBatch};
use arrowload_core::{ErrorKind, Mode};
use serde_json::{Value, json};

use crate::support::{Database, integers, python, table, texts};

fn people() -> RecordBatch {
    let scores: ArrayRef = Arc::new(Float64Array::from(vec![1.5, 0.1, -2.0]));
    table(vec![
        ("id", integers([1, 2, 3])),
        ("name", texts([Some("Ada"), Some("Bo\"b"), None])),
        ("score", scores),
    ])
}

const ROWS: [&str; 3] = [
    r#"{"id":1,"name":"Ada","score":1.5}"#,
    r#"{"id":2,"name":"Bo\"b","score":0.1}"#,
    r#"{"id":3,"name":null,"score":-2}"#,
];

/// Loads twice under one id; and once more where each command may be repeated, with the record gone, as after a run that was
/// cut off before it recorded itself.
async fn twice(database: &Database, target: &str, mode: Mode, mut options: Value) {
    options["load_id"] = "one".into();
    let first = database
        .load(target, mode, options.clone(), &people())
        .await
        .expect("loaded");
    let second = database
        .load(target, mode, options.clone(), &people())
        .await
        .expect("repeated");
    assert_eq!(
        (
            first.rows,
            first.already_loaded,
            second.rows,
            second.already_loaded
        ),
        (3, false, 3, true)
    );
    if !["list", "stream"].contains(&options["data_structure"].as_str().unwrap_or_default()) {
        assert_eq!(
            database.cli(&["DEL", &format!("arrowload:{{{target}}}:load:one")]),
            "1"
        );
        assert!(
            !database
                .load(target, mode, options, &people())
                .await
                .expect("run again")
                .already_loaded
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strings_hold_rows_as_json_msgpack_arrow_or_raw() {
    let Some(database) = Database::new() else {
        return;
    };
    for encoding in ["json", "msgpack", "arrow_ipc"] {
        let options = json!({ "data_structure": "string", "encoding": encoding, "key_pattern": "{table}:{id}", "ttl": 100 });
        twice(&database, encoding, Mode::Append, options).await;
        assert_eq!(database.cli(&["TTL", &format!("{encoding}:1")]), "100");
    }
    let options = json!({ "data_structure": "string", "encoding": "raw", "value_columns": ["score"], "key_pattern": "{table}:{id}" });
    database
        .load("raw", Mode::Append, options, &people())
        .await
        .expect("loaded");
    assert_eq!(
        database.cli(&["MGET", "raw:1", "raw:2", "raw:3"]),
        "1.5\n0.1\n-2"
    );
    for (index, row) in ROWS.iter().enumerate() {
        assert_eq!(database.cli(&["GET", &format!("json:{}", index + 1)]), *row);
    }
    let script = r#"
import sys, redis, pyarrow as pa
r = redis.Redis.from_url(sys.argv[1])
print(r.get("json:2").decode())
print(pa.ipc.open_stream(r.get("arrow_ipc:2")).read_all().to_pylist())
b = r.get("msgpack:2")
print(b[0] == 0x83, b"\xa4name\xa4Bo\"b" in b, b"\xa2id\x02" in b, len(b))
"#;
    let Some(printed) = python(script, &[&database.url()]) else {
        return;
    };
    let expected = format!(
        "{}\n[{{'id': 2, 'name': 'Bo\"b', 'score': 0.1}}]\nTrue True True 30",
        ROWS[1]
    );
    assert_eq!(printed, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_have_each_row_once() {
    let Some(database) = Database::new() else {
        return;
    };
    twice(
        &database,
        "list",
        Mode::Append,
        json!({ "data_structure": "list" }),
    )
    .await;
    assert_eq!(
        database.cli(&["LRANGE", "list", "0", "-1"]),
        ROWS.join("\n")
    );
    // A second load adds; many items move in several steps.
    let many = table(vec![("id", integers(0..5_000))]);
    let options = json!({ "data_structure": "list", "encoding": "raw", "value_columns": ["id"] });
    database
        .load("many", Mode::Append, options.clone(), &many)
        .await
        .expect("loaded");
    database
        .load("many", Mode::Append, options.clone(), &many)
        .await
        .expect("loaded");
    let items: Vec<i64> = database
        .cli(&["LRANGE", "many", "0", "-1"])
        .lines()
        .map(|line| line.parse().expect("a number"))
        .collect();
    assert_eq!(items, (0..5_000).chain(0..5_000).collect::<Vec<_>>());
    // Overwriting replaces the key in one step, with a time of its own.
    let mut fresh = options.clone();
    fresh["ttl"] = 100.into();
    database
        .load("many", Mode::Overwrite, fresh, &people())
        .await
        .expect("loaded");
    assert_eq!(
        (
            database.cli(&["LRANGE", "many", "0", "-1"]),
            database.cli(&["TTL", "many"])
        ),
        ("1\n2\n3".into(), "100".into())
    );
    // A list for each value of a column.
    let options = json!({ "data_structure": "list", "encoding": "raw", "value_columns": ["id"], "key_pattern": "{table}:{name}" });
    let names = table(vec![
        ("id", integers([1, 2, 3])),
        ("name", texts([Some("a"), Some("b"), Some("a")])),
    ]);
    database
        .load("by", Mode::Append, options, &names)
        .await
        .expect("loaded");
    assert_eq!(
        (
            database.cli(&["LRANGE", "by:a", "0", "-1"]),
            database.cli(&["TTL", "by:a"])
        ),
        ("1\n3".into(), "-1".into())
    );
    assert_eq!(database.keys(), ["by:a", "by:b", "list", "many"]);
    assert_eq!(database.cli(&["KEYS", "arrowload:stage*"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn sets_sorted_sets_and_places() {
    let Some(database) = Database::new() else {
        return;
    };
    twice(
        &database,
        "set",
        Mode::Append,
        json!({ "data_structure": "set" }),
    )
    .await;
    let mut members: Vec<String> = database
        .cli(&["SMEMBERS", "set"])
        .lines()
        .map(str::to_owned)
        .collect();
    members.sort();
    assert_eq!(members, ROWS);
    let options =
        json!({ "data_structure": "sorted_set", "score_column": "score", "member_column": "id" });
    twice(&database, "sorted", Mode::Append, options.clone()).await;
    assert_eq!(
        database.cli(&["ZRANGE", "sorted", "0", "-1", "WITHSCORES"]),
        "3\n-2\n2\n0.10000000000000001\n1\n1.5"
    );
    database
        .load("sorted", Mode::Overwrite, options, &people().slice(1, 1))
        .await
        .expect("loaded");
    assert_eq!(database.cli(&["ZRANGE", "sorted", "0", "-1"]), "2");
    let degrees = |values: Vec<f64>| -> ArrayRef { Arc::new(Float64Array::from(values)) };
    let places = table(vec![
        ("town", texts([Some("Palermo"), Some("Catania")])),
        ("lon", degrees(vec![13.361_389, 15.087_269])),
        ("lat", degrees(vec![38.115_556, 37.502_669])),
    ]);
    let options = json!({ "data_structure": "geo", "longitude_column": "lon", "latitude_column": "lat", "member_column": "town" });
    database
        .load("towns", Mode::Create, options, &places)
        .await
        .expect("loaded");
    assert_eq!(
        database.cli(&["GEODIST", "towns", "Palermo", "Catania", "km"]),
        "166.2742"
    );
    let text =
        json!({ "data_structure": "sorted_set", "score_column": "name", "member_column": "id" });
    let error = database
        .load("wrong", Mode::Append, text, &people())
        .await
        .expect_err("no numbers");
    assert_eq!(
        (error.kind(), error.get("column"), error.row()),
        (ErrorKind::InvalidData, Some("name"), Some(0))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_have_each_entry_once_beside_other_writers() {
    let Some(database) = Database::new() else {
        return;
    };
    database.cli(&["XADD", "events", "*", "other", "1"]);
    twice(
        &database,
        "events",
        Mode::Append,
        json!({ "data_structure": "stream" }),
    )
    .await;
    database.cli(&["XADD", "events", "*", "other", "2"]);
    let entries = database.cli(&["XRANGE", "events", "-", "+"]);
    let values: Vec<&str> = entries
        .lines()
        .filter(|line| !line.contains('-') || *line == "-2")
        .collect();
    assert_eq!(
        values,
        [
            "other", "1", "id", "1", "name", "Ada", "score", "1.5", "id", "2", "name", "Bo\"b",
            "score", "0.1", "id", "3", "score", "-2", "other", "2"
        ]
    );
    let many = table(vec![("id", integers(0..5_000))]);
    for (mode, overwrite) in [
        (Mode::Append, "delete"),
        (Mode::Append, "delete"),
        (Mode::Overwrite, "delete"),
        (Mode::Overwrite, "generation"),
    ] {
        let options =
            json!({ "data_structure": "stream", "maxlen": 1_000, "overwrite": overwrite });
        let report = database.load("short", mode, options, &many).await;
        let report = report.expect("loaded");
        let key = match report.details.get("generation") {
            Some(generation) => format!("short:{generation}"),
            None => "short".to_owned(),
        };
        let length: u64 = database.cli(&["XLEN", &key]).parse().expect("a number");
        assert!((1_000..1_200).contains(&length), "{key}: {length}");
        let last = database.cli(&["XREVRANGE", &key, "+", "-", "COUNT", "1"]);
        assert!(last.ends_with("id\n4999"), "{key}: {last}");
    }
    let options =
        json!({ "data_structure": "stream", "stream_entry": "batch", "batch_size": 2_000 });
    let report = database
        .load("batches", Mode::Append, options, &many)
        .await
        .expect("loaded");
    assert_eq!(
        (report.rows, database.cli(&["XLEN", "batches"])),
        (5_000, "3".into())
    );
    let script = r#"
import sys, redis, pyarrow as pa
r = redis.Redis.from_url(sys.argv[1])
ids = [v for _, e in r.xrange("batches") for v in pa.ipc.open_stream(e[b"arrow"]).read_all()["id"].to_pylist()]
print(ids == list(range(5000)))
"#;
    let Some(printed) = python(script, &[&database.url()]) else {
        return;
    };
    assert_eq!(printed, "True");
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_are_binary_floats_and_need_search_for_an_index() {
    let Some(database) = Database::new() else {
        return;
    };
    let vectors = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
        vec![Some(vec![Some(1.0), Some(-0.5)]), None],
        2,
    );
    let batch = table(vec![("id", integers([1, 2])), ("v", Arc::new(vectors))]);
    let options = json!({ "data_structure": "vector", "key_pattern": "{table}:{id}" });
    database
        .load("docs", Mode::Append, options.clone(), &batch)
        .await
        .expect("loaded");
    let number = database.number.to_string();
    let bytes = database
        .server
        .cli_bytes(&["-n", &number, "HGET", "docs:1", "v"])
        .expect("redis-cli");
    assert_eq!(
        bytes,
        [1.0_f32.to_le_bytes(), (-0.5_f32).to_le_bytes()].concat()
    );
    assert_eq!(database.cli(&["HEXISTS", "docs:2", "v"]), "0");
    let mut indexed = options;
    indexed["index"] = "docs_index".into();
    let error = database
        .load("docs", Mode::Append, indexed, &batch)
        .await
        .expect_err("Redis 7 has no search");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("RediSearch"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_does_not_have_is_refused_by_name() {
    let Some(database) = Database::new() else {
        return;
    };
    let json = json!({ "data_structure": "json", "key_pattern": "{table}:{id}" });
    let series = json!({ "data_structure": "timeseries", "key_pattern": "{table}", "time_column": "id", "value_column": "score" });
    for (options, module) in [(json, "RedisJSON"), (series, "RedisTimeSeries")] {
        let error = database
            .load("x", Mode::Append, options, &people())
            .await
            .expect_err("no module");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(module), "{error}");
    }
    assert_eq!(database.cli(&["KEYS", "*"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_py_reads_every_structure() {
    let Some(database) = Database::new() else {
        return;
    };
    let score: ArrayRef = Arc::new(Float64Array::from(vec![1.5, 0.1, -2.0]));
    let vectors = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
        (0..3).map(|row| Some(vec![Some(row as f32), Some(0.5)])),
        2,
    );
    let batch = table(vec![
        ("id", integers([1, 2, 3])),
        ("name", texts([Some("Ada"), Some("Bo\"b"), None])),
        ("score", score),
        ("v", Arc::new(vectors)),
    ]);
    let people = batch.project(&[0, 1, 2]).expect("columns");
    for (target, batch, options) in [
        ("hash", &people, json!({ "key_pattern": "{table}:{id}" })),
        ("list", &people, json!({ "data_structure": "list" })),
        ("set", &people, json!({ "data_structure": "set" })),
        (
            "sorted",
            &people,
            json!({ "data_structure": "sorted_set", "score_column": "score", "member_column": "id" }),
        ),
        ("stream", &people, json!({ "data_structure": "stream" })),
        (
            "geo",
            &people,
            json!({ "data_structure": "geo", "longitude_column": "score", "latitude_column": "id", "member_column": "id" }),
        ),
        (
            "vector",
            &batch,
            json!({ "data_structure": "vector", "key_pattern": "{table}:{id}", "value_columns": ["v"] }),
        ),
    ] {
        database
            .load(target, Mode::Append, options, batch)
            .await
            .unwrap_or_else(|error| panic!("{target}: {error:#}"));
    }
    let script = r#"
import sys, json, redis, struct
r = redis.Redis.from_url(sys.argv[1])
rows = [{"id": 1, "name": "Ada", "score": 1.5}, {"id": 2, "name": 'Bo"b', "score": 0.1}, {"id": 3, "name": None, "score": -2.0}]
fields = [{k.encode(): (b"%g" % v if isinstance(v, float) else str(v).encode()) for k, v in row.items() if v is not None} for row in rows]
assert [r.hgetall(f"hash:{n}") for n in (1, 2, 3)] == fields, r.hgetall("hash:3")
assert [json.loads(item) for item in r.lrange("list", 0, -1)] == rows
assert sorted((json.loads(item) for item in r.smembers("set")), key=lambda row: row["id"]) == rows
assert r.zrange("sorted", 0, -1, withscores=True) == [(b"3", -2.0), (b"2", 0.1), (b"1", 1.5)]
assert [entry for _, entry in r.xrange("stream")] == fields
places = r.geopos("geo", "1", "2", "3")
assert all(abs(lon - row["score"]) < 1e-5 and abs(lat - row["id"]) < 1e-5 for (lon, lat), row in zip(places, rows)), places
assert [struct.unpack("<2f", r.hget(f"vector:{n}", "v")) for n in (1, 2, 3)] == [(0, .5), (1, .5), (2, .5)]
print("read")
"#;
    let Some(printed) = python(script, &[&database.url()]) else {
        return;
    };
    assert_eq!(printed, "read");
}
