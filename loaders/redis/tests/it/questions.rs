//! Plans and questions: they refuse what the load refuses, in the same words, and change nothing; a load's id is one load's.

use arrowload_core::{
    Begun, DataLoader, Definition, ErrorKind, LoadRequest, LoadSpec, LoadState, Loader, Mark, Mode,
    OnError, Rejects, load, plan_load,
};
use arrowload_redis::{RedisLoader, RedisOptions};
use arrowload_testkit::ThrowawayRedis;
use serde_json::{Value, json};

use crate::promises::{self, killed};
use crate::proxy::{Proxy, Stop};
use crate::support::{Database, connect, integers, once, spec, table, texts};

fn people() -> arrow_array::RecordBatch {
    table(vec![
        ("id", integers([1, 2])),
        ("name", texts([Some("Ada"), Some("Bob")])),
    ])
}

/// The plan's refusal and the load's, which are one.
async fn refused(name: &str, loader: &Loader, spec: &LoadSpec) -> ErrorKind {
    let input = once(&people());
    let planned = plan_load(loader, spec, &input).await;
    let planned = planned.expect_err(&format!("the plan of {name}"));
    let error = load(loader, spec, &input).await.expect_err(name);
    assert_eq!(
        (planned.kind(), planned.message()),
        (error.kind(), error.message()),
        "{name}"
    );
    error.kind()
}

/// Loads that options alone refuse: what they are called, their options, and the kind of refusal.
fn refusals() -> Vec<(&'static str, Mode, Value, ErrorKind)> {
    use ErrorKind as K;
    let append = |name, options, kind| (name, Mode::Append, options, kind);
    let keyed = |key: &str, value: Value| {
        let mut options = json!({ "key_pattern": "{table}:{id}" });
        options[key] = value;
        options
    };
    let of = |structure: &str, key: &str, value: Value| {
        let mut options = json!({ "data_structure": structure, "key_pattern": "{table}:{id}" });
        options[key] = value;
        options
    };
    let pattern = |text: &str| json!({ "key_pattern": text });
    vec![
        append(
            "null_key",
            keyed("null_key", json!("skip")),
            K::InvalidOption,
        ),
        append("ttl 0", keyed("ttl", json!(0)), K::InvalidOption),
        append(
            "two times",
            json!({ "ttl": 5, "expire_at": 5 }),
            K::InvalidOption,
        ),
        append(
            "ttl_column",
            keyed("ttl_column", json!("name")),
            K::InvalidOption,
        ),
        append(
            "no column",
            keyed("ttl_column", json!("x")),
            K::InvalidOption,
        ),
        append(
            "no value",
            keyed("value_columns", json!([])),
            K::InvalidOption,
        ),
        append("minid", of("stream", "minid", json!("x")), K::InvalidOption),
        append(
            "maxlen",
            of("stream", "maxlen", json!(u64::MAX)),
            K::InvalidOption,
        ),
        append(
            "maxlen of a hash",
            keyed("maxlen", json!(5)),
            K::InvalidOption,
        ),
        append(
            "batches by row",
            of("stream", "stream_entry", json!("batch")),
            K::InvalidOption,
        ),
        append("index", keyed("index", json!("i")), K::InvalidOption),
        append(
            "encoding",
            keyed("encoding", json!("raw")),
            K::InvalidOption,
        ),
        append(
            "raw",
            of("list", "encoding", json!("raw")),
            K::InvalidOption,
        ),
        append(
            "pipeline_bytes",
            keyed("pipeline_bytes", json!(1)),
            K::InvalidOption,
        ),
        append("lease", keyed("lease", json!(0)), K::InvalidOption),
        append(
            "ledger_ttl",
            keyed("ledger_ttl", json!(u64::MAX)),
            K::InvalidOption,
        ),
        append(
            "list",
            of("list", "if_not_exists", json!(true)),
            K::InvalidOption,
        ),
        append(
            "score",
            json!({ "data_structure": "sorted_set" }),
            K::InvalidOption,
        ),
        append("module", of("json", "ttl", json!(5)), K::Unsupported),
        append("search", of("vector", "index", json!("i")), K::Unsupported),
        append(
            "stream",
            of("stream", "if_not_exists", json!(true)),
            K::InvalidOption,
        ),
        append(
            "samples",
            json!({ "data_structure": "timeseries", "time_column": "id", "value_column": "id", "if_not_exists": true }),
            K::InvalidOption,
        ),
        append(
            "set that expires",
            json!({ "data_structure": "set", "if_not_exists": true, "ttl": 5 }),
            K::InvalidOption,
        ),
        append("huge ttl", keyed("ttl", json!(u64::MAX)), K::InvalidOption),
        append(
            "expire_at",
            keyed("expire_at", json!("name")),
            K::InvalidOption,
        ),
        append(
            "ttl and its column",
            json!({ "ttl": 5, "ttl_column": "id" }),
            K::InvalidOption,
        ),
        append(
            "maxlen and minid",
            json!({ "data_structure": "stream", "maxlen": 5, "minid": "5" }),
            K::InvalidOption,
        ),
        append(
            "batches of a hash",
            keyed("stream_entry", json!("batch")),
            K::InvalidOption,
        ),
        append(
            "no such value",
            keyed("value_columns", json!(["x"])),
            K::InvalidOption,
        ),
        append(
            "score of nothing",
            json!({ "data_structure": "sorted_set", "score_column": "x" }),
            K::InvalidOption,
        ),
        append(
            "member",
            json!({ "data_structure": "set", "member_column": "x" }),
            K::InvalidOption,
        ),
        append(
            "place",
            json!({ "data_structure": "geo" }),
            K::InvalidOption,
        ),
        append(
            "half a place",
            json!({ "data_structure": "geo", "longitude_column": "id" }),
            K::InvalidOption,
        ),
        append(
            "time",
            json!({ "data_structure": "timeseries" }),
            K::InvalidOption,
        ),
        append(
            "sample",
            json!({ "data_structure": "timeseries", "time_column": "id" }),
            K::InvalidOption,
        ),
        append(
            "label",
            json!({ "data_structure": "timeseries", "time_column": "id", "value_column": "id", "labels": { "a": "x" } }),
            K::InvalidOption,
        ),
        append(
            "series",
            json!({ "data_structure": "timeseries", "time_column": "id", "value_column": "id" }),
            K::Unsupported,
        ),
        append("no pattern", pattern(""), K::InvalidOption),
        append("open brace", pattern("{table}:{id"), K::InvalidOption),
        append("closed brace", pattern("{table}:id}"), K::InvalidOption),
        append(
            "long lease",
            keyed("lease", json!(86_401)),
            K::InvalidOption,
        ),
        append(
            "many bytes",
            keyed("pipeline_bytes", json!(1_u64 << 40)),
            K::InvalidOption,
        ),
        append(
            "json with encoding",
            of("json", "encoding", json!("msgpack")),
            K::InvalidOption,
        ),
        (
            "upsert of a stream",
            Mode::Upsert,
            json!({ "keys": ["id"], "data_structure": "stream" }),
            K::Unsupported,
        ),
        (
            "upsert by uuid",
            Mode::Upsert,
            json!({ "keys": ["id"], "key_pattern": "{table}:{uuid}" }),
            K::InvalidOption,
        ),
        append("no such column", pattern("{table}:{x}"), K::InvalidOption),
        append("two columns", pattern("{id}{name}"), K::InvalidOption),
        append(
            "no generation",
            pattern("{generation}:{id}"),
            K::InvalidOption,
        ),
        append("one key", pattern("t"), K::InvalidOption),
        append("own keys", pattern("arrowload:{id}"), K::InvalidOption),
        append(
            "generation",
            keyed("overwrite", json!("generation")),
            K::InvalidOption,
        ),
        (
            "any key",
            Mode::Overwrite,
            pattern("{id}"),
            K::InvalidOption,
        ),
        (
            "any key, new",
            Mode::Create,
            pattern("{id}"),
            K::InvalidOption,
        ),
        (
            "upsert of a list",
            Mode::Upsert,
            json!({ "keys": ["id"], "data_structure": "list" }),
            K::Unsupported,
        ),
        (
            "upsert by row",
            Mode::Upsert,
            json!({ "keys": ["id"], "key_pattern": "{table}:{row}" }),
            K::InvalidOption,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_refuses_what_the_load_refuses_in_the_same_words() {
    let Some(database) = Database::new() else {
        return;
    };
    let loader = database.loader().await;
    for (name, mode, options, kind) in refusals() {
        let spec = spec("t", mode, options);
        assert_eq!(refused(name, &loader, &spec).await, kind, "{name}");
        assert_eq!(database.dump(), "", "{name}");
    }
    let keyed = || json!({ "key_pattern": "{table}:{id}" });
    let own = spec("arrowload:x", Mode::Append, keyed());
    assert_eq!(
        refused("own target", &loader, &own).await,
        ErrorKind::InvalidOption
    );
    let mut skips = spec(
        "t",
        Mode::Append,
        json!({ "data_structure": "stream", "stream_entry": "batch" }),
    );
    skips.load.on_error = OnError::Skip;
    assert_eq!(
        refused("skipped batches", &loader, &skips).await,
        ErrorKind::Unsupported
    );
    let mut missing = spec("t", Mode::Append, keyed());
    missing.load.create_table = false;
    assert_eq!(
        refused("no target", &loader, &missing).await,
        ErrorKind::TargetNotFound
    );

    // Of what is there.
    database.cli(&["HSET", "u:9", "id", "9"]);
    let taken = spec("u", Mode::Create, keyed());
    assert_eq!(
        refused("keys of others", &loader, &taken).await,
        ErrorKind::TargetExists
    );
    database.cli(&["SET", "s", "text"]);
    let wrong = spec("s", Mode::Append, json!({ "data_structure": "list" }));
    assert_eq!(
        refused("another type", &loader, &wrong).await,
        ErrorKind::InvalidData
    );
    database
        .load("t", Mode::Append, keyed(), &people())
        .await
        .expect("loaded");
    let before = database.dump();
    for (name, mode, options, kind) in [
        ("there", Mode::Create, keyed(), ErrorKind::TargetExists),
        (
            "structure",
            Mode::Append,
            json!({ "data_structure": "list" }),
            ErrorKind::SchemaMismatch,
        ),
    ] {
        let spec = spec("t", mode, options);
        assert_eq!(refused(name, &loader, &spec).await, kind, "{name}");
    }
    let mut limited = spec("t", Mode::Upsert, json!({ "keys": ["id"] }));
    let limits: arrowload_core::LoadOptions =
        serde_json::from_value(json!({ "max_updates": 1, "max_deletes": 1 })).expect("limits");
    limited.load.max_updates = limits.max_updates;
    assert_eq!(
        refused("max_updates", &loader, &limited).await,
        ErrorKind::Unsupported
    );
    for (name, options) in [
        (
            "samples",
            json!({ "data_structure": "timeseries", "time_column": "id", "value_column": "id" }),
        ),
        ("hashes", keyed()),
    ] {
        let mut limited = spec("u", Mode::Append, options);
        limited.load.max_updates = limits.max_updates;
        assert_eq!(
            refused(name, &loader, &limited).await,
            ErrorKind::Unsupported
        );
    }
    database
        .load(
            "b",
            Mode::Append,
            json!({ "data_structure": "stream", "stream_entry": "batch" }),
            &people(),
        )
        .await
        .expect("loaded");
    let mut batches = spec("b", Mode::Overwrite, json!({ "data_structure": "stream" }));
    batches.load.max_deletes = limits.max_deletes;
    assert_eq!(
        refused("batches", &loader, &batches).await,
        ErrorKind::Unsupported
    );
    database.cli(&["DEL", "b", "arrowload:{b}:target"]);
    let recorded = database.cli(&["KEYS", "arrowload:{b}:*"]);
    recorded.lines().for_each(|key| {
        database.cli(&["DEL", key]);
    });
    let mut limited = spec("t", Mode::Overwrite, keyed());
    limited.load.max_deletes = limits.max_deletes;
    assert_eq!(
        refused("max_deletes", &loader, &limited).await,
        ErrorKind::LimitExceeded
    );
    // The type of a column, a column more, and a type that nothing holds.
    for (name, column, evolves, kind) in [
        (
            "type",
            ("id", texts([Some("a")])),
            false,
            ErrorKind::SchemaMismatch,
        ),
        (
            "more",
            ("more", integers([1])),
            false,
            ErrorKind::SchemaMismatch,
        ),
        (
            "evolved type",
            ("name", integers([1])),
            true,
            ErrorKind::SchemaMismatch,
        ),
    ] {
        let mut columns = vec![column];
        if columns[0].0 != "id" {
            columns.insert(0, ("id", integers([1])));
        }
        let input = once(&table(columns));
        let mut spec = spec("t", Mode::Append, keyed());
        spec.load.schema_evolution = evolves;
        let planned = plan_load(&loader, &spec, &input).await.expect_err(name);
        let error = load(&loader, &spec, &input).await.expect_err(name);
        assert_eq!(
            (planned.kind(), planned.message()),
            (error.kind(), error.message())
        );
        assert_eq!(error.kind(), kind, "{name}: {error}");
    }
    // Records that no load has written so.
    for (key, field, held, kind) in [
        (
            "arrowload:{t}:target",
            "patterns",
            "{",
            ErrorKind::SchemaMismatch,
        ),
        (
            "arrowload:{t}:target",
            "arrow_schema",
            "{",
            ErrorKind::SchemaMismatch,
        ),
        ("arrowload:{t}:attempts", "n", "{", ErrorKind::Unexpected),
    ] {
        let kept = database.cli(&["EVAL_RO", "return redis.call('EXISTS', KEYS[1])", "1", key]);
        database.cli(&["COPY", key, "kept"]);
        database.cli(&["HSET", key, field, held]);
        assert_eq!(
            refused(key, &loader, &spec("t", Mode::Append, keyed())).await,
            kind
        );
        match kept.as_str() {
            "1" => database.cli(&["RENAME", "kept", key]),
            _ => database.cli(&["DEL", key]),
        };
    }
    let mut known = spec("t", Mode::Append, keyed());
    known.load.load_id = Some("known".into());
    database.cli(&["SET", "arrowload:{t}:load:known", "{"]);
    assert_eq!(
        refused("a record", &loader, &known).await,
        ErrorKind::Unexpected
    );
    database.cli(&["DEL", "arrowload:{t}:load:known"]);
    assert_eq!(database.dump(), before);
    database.cli(&["HSET", "arrowload:{t}:target", "structure", "nonsense"]);
    let odd = spec("t", Mode::Append, keyed());
    assert_eq!(
        refused("nonsense", &loader, &odd).await,
        ErrorKind::SchemaMismatch
    );
    database.cli(&["HSET", "arrowload:{t}:target", "structure", "hash"]);
    assert_eq!(database.dump(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_and_a_server_that_may_not_write_are_known_before_the_first_row() {
    if ThrowawayRedis::available().is_none() {
        return;
    }
    let reader = "user reader on >pw ~* +@read +hello +ping +client";
    let server = ThrowawayRedis::start(&[reader]).expect("a server");
    let port = server.port().expect("a port");
    let loader = connect(&format!("redis://reader:pw@127.0.0.1:{port}")).await;
    let spec = spec("t", Mode::Append, json!({ "key_pattern": "{table}:{id}" }));
    assert_eq!(
        refused("a reader", &loader, &spec).await,
        ErrorKind::PermissionDenied
    );
    // Who may not run scripts could record a load, and not put its rows in place.
    for denied in ["-eval", "resetkeys ~arrowload:* ~t:*"] {
        server
            .cli(
                &[
                    &["ACL", "SETUSER", "mover", "on", ">pw", "~*", "+@all"],
                    denied.split(' ').collect::<Vec<_>>().as_slice(),
                ]
                .concat(),
            )
            .expect("redis-cli");
        let loader = connect(&format!("redis://mover:pw@127.0.0.1:{port}")).await;
        for (target, options) in [
            ("u", json!({ "data_structure": "list" })),
            (
                "u",
                json!({ "data_structure": "stream", "key_pattern": "{table}:{id}" }),
            ),
        ] {
            let staged = self::spec(target, Mode::Append, options);
            assert_eq!(
                refused(denied, &loader, &staged).await,
                ErrorKind::PermissionDenied
            );
        }
        assert_eq!(server.cli(&["DBSIZE"]).expect("redis-cli"), "0", "{denied}");
        server.cli(&["ACL", "DELUSER", "mover"]).expect("redis-cli");
    }
    let master = format!("replicaof 127.0.0.1 {port}");
    let replica = ThrowawayRedis::start(&[&master]).expect("a server");
    for _ in 0..100 {
        let info = replica.cli(&["INFO", "replication"]).expect("redis-cli");
        if info.contains("master_link_status:up") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let mut once = spec.clone();
    once.load.max_retries = 0;
    let loader = connect(replica.url()).await;
    assert_eq!(
        refused("a replica", &loader, &once).await,
        ErrorKind::Connection
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_change_nothing() {
    let Some(database) = Database::new() else {
        return;
    };
    let mut proxy = Proxy::start(database.server.port().expect("a port")).await;
    let url = format!("redis://127.0.0.1:{}/{}", proxy.port, database.number);
    let loader = database.loader().await;
    // A fresh target, one that is there, and three that were cut off.
    for (state, kind, marker) in [
        ("fresh", None, ""),
        ("there", None, ""),
        ("staged", Some("list_append"), "new-1500\r\n"),
        ("generation", Some("generation"), "new-1500\r\n"),
        ("recorded", Some("list_overwrite"), "\r\nlocal "),
    ] {
        database.cli(&["FLUSHDB"]);
        if state == "there" {
            let options = json!({ "keys": ["id"] });
            database
                .load("t", Mode::Append, options, &people())
                .await
                .expect("loaded");
        }
        if let Some(kind) = kind {
            proxy.stop_at(marker, Stop::Hold);
            killed(&mut proxy, &url, kind, "t").await;
        }
        let before = database.dump();
        for kind in promises::kinds() {
            let mut spec = promises::spec_of(&kind, "t");
            // They may be refused, too.
            let _ = plan_load(&loader, &spec, &once(&people())).await;
            spec.load.load_id = Some("other".into());
            let _ = plan_load(&loader, &spec, &once(&people())).await;
        }
        for id in ["one", "other"] {
            loader.find_load("t", id).await.expect("an answer");
        }
        let described = loader.describe("t").await.expect("an answer");
        assert_eq!(
            described.is_some(),
            matches!(state, "there" | "recorded"),
            "{state}"
        );
        loader.ping().await.expect("an answer");
        assert_eq!(database.dump(), before, "{state}");
        assert_eq!(before.is_empty(), state == "fresh");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_one_load_with_its_definition_and_its_mark() {
    let Some(database) = Database::new() else {
        return;
    };
    let loader = database.loader().await;
    let options = json!({ "key_pattern": "{table}:{id}", "load_id": "one" });
    let mut first = spec("t", Mode::Append, options);
    first.mark = Some(Mark::new(Some("1".into()), "2"));
    let rows = |text: &str| once(&people()).defined_as(text);
    load(&loader, &first, &rows("select 1"))
        .await
        .expect("loaded");
    let LoadState::Committed {
        receipt,
        complete: true,
    } = loader.find_load("t", "one").await.expect("an answer")
    else {
        panic!("it is there");
    };
    assert_eq!((receipt.rows, &receipt.mark), (2, &first.mark));
    assert!(receipt.definition.is_some());
    // What only tunes it is no other load.
    let mut tuned = first.clone();
    tuned.load.batch_size = Some(1);
    for (key, value) in [("pipeline_bytes", 2048), ("lease", 60), ("ledger_ttl", 5)] {
        tuned.options.set(key, value, "the test");
    }
    let report = load(&loader, &tuned, &rows("select 1"))
        .await
        .expect("repeated");
    assert!(report.already_loaded && report.rows == 2);
    // Another query, another mode, another form of values are.
    let mut mode = first.clone();
    mode.load.mode = Mode::Overwrite;
    let mut form = first.clone();
    form.options.set("nulls", "empty", "the test");
    for (spec, text) in [
        (&first, "select 2"),
        (&mode, "select 1"),
        (&form, "select 1"),
    ] {
        let planned = plan_load(&loader, spec, &rows(text))
            .await
            .expect_err("another load");
        let error = load(&loader, spec, &rows(text))
            .await
            .expect_err("another load");
        assert_eq!(
            (planned.kind(), planned.message()),
            (error.kind(), error.message())
        );
        assert_eq!(error.kind(), ErrorKind::InvalidOption, "{error}");
    }
    // A record of before there were definitions is that of any.
    database.cli(&[
        "SET",
        "arrowload:{t}:load:old",
        r#"{"rows":2,"bytes":9,"moving":null}"#,
    ]);
    let mut old = first.clone();
    old.load.load_id = Some("old".into());
    let report = load(&loader, &old, &rows("select 2"))
        .await
        .expect("repeated");
    assert!(report.already_loaded && report.rows == 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_between_the_look_and_the_beginning_is_a_conflict() {
    let Some(database) = Database::new() else {
        return;
    };
    let keys = RedisLoader::config_from_url(&database.url()).expect("a URL");
    let config = serde_json::from_value(Value::Object(keys)).expect("a configuration");
    let loader = RedisLoader::connect(config).await.expect("connected");
    let options = json!({ "key_pattern": "{table}:{id}" });
    let request = |id: &str| {
        let options: RedisOptions = serde_json::from_value(options.clone()).expect("options");
        let mut request = LoadRequest::new(id, "t", people().schema(), options);
        request.definition = Some(Definition::from_text("1 query=5"));
        request
    };
    database
        .load("t", Mode::Append, options.clone(), &people())
        .await
        .expect("loaded");
    // More rows are no conflict.
    let resolved = loader.resolve(&request("one")).await.expect("resolved");
    database
        .load("t", Mode::Append, options.clone(), &people())
        .await
        .expect("loaded");
    let begun = loader
        .begin(request("one"), resolved, Rejects::none())
        .await;
    assert!(matches!(begun, Ok(Begun::Session(_))));
    // A new column is.
    let resolved = loader.resolve(&request("two")).await.expect("resolved");
    let mut wider = spec("t", Mode::Append, options.clone());
    wider.load.schema_evolution = true;
    let more = table(vec![("id", integers([7])), ("more", integers([7]))]);
    load(&database.loader().await, &wider, &once(&more))
        .await
        .expect("loaded");
    let begun = loader
        .begin(request("two"), resolved, Rejects::none())
        .await;
    let error = begun.expect_err("it has changed");
    assert_eq!(
        (error.kind(), error.is_transient()),
        (ErrorKind::Conflict, true),
        "{error}"
    );
    // Another run of the load may have committed.
    let resolved = loader.resolve(&request("three")).await.expect("resolved");
    let mut same = spec("t", Mode::Append, options.clone());
    same.load.load_id = Some("three".into());
    load(&database.loader().await, &same, &once(&people()))
        .await
        .expect("loaded");
    match loader
        .begin(request("three"), resolved, Rejects::none())
        .await
    {
        Ok(Begun::AlreadyLoaded(receipt)) => {
            assert_eq!(receipt.rows, 2);
            assert_ne!(receipt.definition, request("three").definition);
        }
        other => panic!("{other:?}"),
    }
}

/// The dry run of a `create` that was cut off says what is there: rows of that very load, if it came so far.
#[tokio::test(flavor = "multi_thread")]
async fn the_plan_of_a_create_that_was_cut_off_says_what_is_there() {
    let Some(database) = Database::new() else {
        return;
    };
    let mut proxy = Proxy::start(database.server.port().expect("a port")).await;
    let url = format!("redis://127.0.0.1:{}/{}", proxy.port, database.number);
    let loader = database.loader().await;
    let mut kinds = promises::kinds().into_iter();
    let spec = promises::spec_of(&kinds.next().expect("hash_create"), "t");
    for (marker, rows) in [("HSET\r\n$3\r\nt:3\r\n", 0), ("new-1500\r\n", 1)] {
        database.cli(&["FLUSHDB"]);
        proxy.stop_at(marker, Stop::Hold);
        killed(&mut proxy, &url, "hash_create", "t").await;
        assert_eq!(database.keys().len().min(1), rows, "{marker}");
        let before = database.dump();
        let plan = plan_load(&loader, &spec, &once(&people())).await;
        let plan = plan.expect("a plan");
        let says = plan
            .to_string()
            .contains("rows of an earlier run of this load");
        assert_eq!((plan.target_exists, says), (rows > 0, rows > 0), "{plan}");
        // Another load cannot create what is there.
        let mut other = spec.clone();
        other.load.load_id = Some("other".into());
        assert_eq!(
            refused("another create", &loader, &other).await,
            ErrorKind::TargetExists
        );
        assert_eq!(database.dump(), before);
        load(&loader, &spec, &once(&people()))
            .await
            .expect("its own");
    }
}

/// A load that was cut off and cannot be completed, as somebody else has put another structure under its key, is in the way of
/// all others: plan and load say so.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_off_load_that_cannot_be_completed_is_said_by_the_plan() {
    let Some(database) = Database::new() else {
        return;
    };
    let mut proxy = Proxy::start(database.server.port().expect("a port")).await;
    let url = format!("redis://127.0.0.1:{}/{}", proxy.port, database.number);
    let loader = database.loader().await;
    for (kind, key) in [("list_append", "t"), ("lists_append", "t:1")] {
        database.cli(&["FLUSHDB"]);
        proxy.stop_at("\r\nlocal ", Stop::Hold);
        killed(&mut proxy, &url, kind, "t").await;
        database.cli(&["SET", key, "of somebody else"]);
        let before = database.dump();
        let options = json!({ "data_structure": "list", "key_pattern": "{table}:new:{id}" });
        let mut next = spec("t", Mode::Append, options);
        next.load.schema_evolution = true;
        assert_eq!(refused(kind, &loader, &next).await, ErrorKind::InvalidData);
        let error = load(&loader, &next, &once(&people())).await;
        let error = error.expect_err("it is in the way");
        let cut_off = error.get("cut_off_load");
        assert_eq!(cut_off, Some("arrowload:{t}:load:one"), "{error}");
        assert_eq!(database.dump(), before, "{kind}");
        database.cli(&["DEL", key]);
        load(&loader, &next, &once(&people()))
            .await
            .expect("loaded");
    }
}
