//! What goes wrong on a real server: the report is true, and running the load again with its `load_id` ends right.

use std::time::Duration;

use arrow_array::RecordBatch;
use arrowload_core::{BatchStream, ErrorKind, Input, Loader, Mode, load};
use arrowload_testkit::ThrowawayRedis;
use serde_json::json;

use crate::support::{Database, descriptor, integers, once, repeatable, settings, spec, table};

fn batches(rows: i64, each: i64) -> Vec<RecordBatch> {
    (0..rows / each)
        .map(|index| table(vec![("id", integers(index * each..(index + 1) * each))]))
        .collect()
}

async fn connect(url: &str) -> Result<Loader, arrowload_core::Error> {
    Loader::connect(&descriptor(), &settings(url), 0).await
}

fn server(lines: &[&str]) -> Option<ThrowawayRedis> {
    ThrowawayRedis::available()?;
    Some(ThrowawayRedis::start(lines).expect("a server"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_port_a_wrong_password_and_a_wrong_database_say_what_to_do() {
    let error = connect("redis://127.0.0.1:1")
        .await
        .expect_err("nobody listens");
    assert_eq!(
        (error.kind(), error.is_transient()),
        (ErrorKind::Connection, true)
    );
    let Some(server) = server(&[
        "requirepass hunter2",
        "user reader on >pw ~* +@read +hello +ping +client",
    ]) else {
        return;
    };
    let port = server.port().expect("a port");
    for (credentials, query) in [
        ("", ""),
        (":wrong@", ""),
        ("nobody:x@", ""),
        ("", "?protocol=2"),
        (":wrong@", "?protocol=2"),
    ] {
        let error = connect(&format!("redis://{credentials}127.0.0.1:{port}{query}"))
            .await
            .expect_err("refused");
        assert_eq!(
            (error.kind(), error.is_transient()),
            (ErrorKind::Authentication, false),
            "{error}"
        );
    }
    for query in ["", "?protocol=2"] {
        connect(&format!("redis://:hunter2@127.0.0.1:{port}{query}"))
            .await
            .expect("connected");
        let error = connect(&format!("redis://:hunter2@127.0.0.1:{port}/99{query}"))
            .await
            .expect_err("16 databases");
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    let reader = connect(&format!("redis://reader:pw@127.0.0.1:{port}"))
        .await
        .expect("connected");
    let spec = spec("t", Mode::Append, json!({ "key_pattern": "{table}:{id}" }));
    let error = load(&reader, &spec, &once(&batches(10, 10)[0]))
        .await
        .expect_err("may not write");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    let socket = server.folder().expect("a folder").join("socket");
    connect(&format!("redis+unix://:hunter2@{}?db=3", socket.display()))
        .await
        .expect("connected by the socket");
}

#[tokio::test(flavor = "multi_thread")]
async fn maxmemory_ends_the_load_and_more_memory_lets_it_end_right() {
    let Some(server) = server(&["maxmemory 3mb", "maxmemory-policy noeviction"]) else {
        return;
    };
    let loader = connect(server.url()).await.expect("connected");
    let mut spec = spec(
        "t",
        Mode::Append,
        json!({ "key_pattern": "{table}:{id}", "load_id": "one" }),
    );
    spec.load.max_retries = 3;
    let error = load(&loader, &spec, &repeatable(batches(60_000, 5_000)))
        .await
        .expect_err("too much");
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::ResourceExhausted, Some("OOM")),
        "{error}"
    );
    assert!(error.row().is_some(), "{error}");
    assert_eq!(
        server
            .cli(&["EXISTS", "arrowload:{t}:load:one"])
            .expect("redis-cli"),
        "0"
    );
    server
        .cli(&["CONFIG", "SET", "maxmemory", "0"])
        .expect("redis-cli");
    let report = load(&loader, &spec, &repeatable(batches(60_000, 5_000)))
        .await
        .expect("loaded");
    assert_eq!((report.rows, report.already_loaded), (60_000, false));
    // The rows, the ledger and the record.
    assert_eq!(server.cli(&["DBSIZE"]).expect("redis-cli"), "60002");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_and_restarted_amid_a_load_has_every_row_once_in_the_end() {
    for (structure, options) in [
        (
            "hash",
            json!({ "key_pattern": "{table}:{uuid}", "load_id": "one", "pipeline_bytes": 4096 }),
        ),
        (
            "list",
            json!({ "data_structure": "list", "encoding": "raw", "value_columns": ["id"], "load_id": "one", "pipeline_bytes": 4096 }),
        ),
        (
            "stream",
            json!({ "data_structure": "stream", "load_id": "one", "pipeline_bytes": 4096 }),
        ),
    ] {
        let Some(server) = server(&["appendonly yes", "appendfsync always"]) else {
            return;
        };
        let loader = connect(server.url()).await.expect("connected");
        let mut spec = spec("t", Mode::Append, options);
        spec.load.max_retries = 8;
        let all = batches(20_000, 500);
        // The first run is cut off in its middle, when the server has rows.
        let (first, runs) = (
            all.clone(),
            std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0)),
        );
        let (to_test, mut middle) = tokio::sync::mpsc::unbounded_channel();
        let (go_on, resume) = tokio::sync::watch::channel(false);
        let input = Input::repeatable(move |_| {
            let (batches, run) = (
                first.clone(),
                runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
            );
            let (schema, to_test, resume) = (batches[0].schema(), to_test.clone(), resume.clone());
            let stream = futures::StreamExt::then(
                futures::stream::iter(batches.into_iter().enumerate()),
                move |(index, batch)| {
                    let (to_test, mut resume) = (to_test.clone(), resume.clone());
                    async move {
                        if run == 0 && index == 20 {
                            let _ = to_test.send(());
                            let _ = resume.wait_for(|go| *go).await;
                        }
                        Ok(batch)
                    }
                },
            );
            Box::pin(async move { Ok(BatchStream::new(schema, stream)) })
        });
        let kill = async {
            middle.recv().await.expect("the middle");
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert_ne!(
                server.cli(&["DBSIZE"]).expect("redis-cli"),
                "0",
                "rows are there"
            );
            server.kill().expect("killed");
            go_on.send(true).expect("gone on");
            tokio::time::sleep(Duration::from_millis(300)).await;
            server.restart().expect("restarted");
        };
        let (report, ()) = tokio::join!(load(&loader, &spec, &input), kill);
        let report = report.unwrap_or_else(|error| panic!("{structure}: {error:#}"));
        assert!(
            report.rows == 20_000 && report.retries > 0 && !report.already_loaded,
            "{structure}: {report:?}"
        );
        if structure == "hash" {
            assert_eq!(server.cli(&["DBSIZE"]).expect("redis-cli"), "20002");
        } else {
            let whole = if structure == "list" {
                ["LRANGE", "t", "0", "-1"]
            } else {
                ["XRANGE", "t", "-", "+"]
            };
            let printed = server.cli(&whole).expect("redis-cli");
            // An entry of a stream is three lines: its id, the field's name, and the value.
            let step = if structure == "list" { 1 } else { 3 };
            let items = printed.lines().skip(step - 1).step_by(step).map(str::parse);
            assert!(
                items.eq((0..20_000).map(Ok::<i64, std::num::ParseIntError>)),
                "the {structure} is not right"
            );
        }
        let again = load(&loader, &spec, &repeatable(all))
            .await
            .expect("repeated");
        assert!(again.already_loaded && again.rows == 20_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_takes_no_rows() {
    let Some(master) = server(&[]) else { return };
    let replica = ThrowawayRedis::start(&[&format!(
        "replicaof 127.0.0.1 {}",
        master.port().expect("a port")
    )])
    .expect("a server");
    for _ in 0..100 {
        if replica
            .cli(&["INFO", "replication"])
            .expect("redis-cli")
            .contains("master_link_status:up")
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let loader = connect(replica.url()).await.expect("connected");
    let mut spec = spec("t", Mode::Append, json!({ "key_pattern": "{table}:{id}" }));
    spec.load.max_retries = 1;
    let error = load(&loader, &spec, &once(&batches(10, 10)[0]))
        .await
        .expect_err("read only");
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Connection, Some("READONLY")),
        "{error}"
    );
    // Loaded into the master, it counts once the replica has it.
    spec.options.set("wait_replicas", 1, "the test");
    load(
        &connect(master.url()).await.expect("connected"),
        &spec,
        &once(&batches(10, 10)[0]),
    )
    .await
    .expect("loaded");
    assert_eq!(replica.cli(&["HGET", "t:3", "id"]).expect("redis-cli"), "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_answering_is_given_up() {
    let Some(server) = server(&[]) else { return };
    let loader = connect(&format!("{}?response_timeout=1", server.url()))
        .await
        .expect("connected");
    let process = server.process().expect("a process").to_string();
    let signal = move |name: &str| {
        std::process::Command::new("kill")
            .args([name, &process])
            .status()
            .expect("kill")
    };
    let mut spec = spec("t", Mode::Append, json!({ "key_pattern": "{table}:{id}" }));
    spec.load.max_retries = 0;
    let rows = batches(10, 10);
    let stream = futures::StreamExt::then(futures::stream::iter(rows.clone()), move |batch| {
        // The load has begun: now the server falls asleep.
        let _ = signal("-STOP");
        async move { Ok(batch) }
    });
    let outcome = load(
        &loader,
        &spec,
        &Input::stream(BatchStream::new(rows[0].schema(), stream)),
    )
    .await;
    std::process::Command::new("kill")
        .args(["-CONT", &server.process().expect("a process").to_string()])
        .status()
        .expect("kill");
    let error = outcome.expect_err("no answer");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_recorded_and_not_yet_moved_is_moved_by_whoever_asks() {
    let Some(database) = Database::new() else {
        return;
    };
    // As a load leaves it that was killed right after its record.
    for item in ["1", "2", "3"] {
        database.cli(&["RPUSH", "arrowload:stage:{t}:n:t", item]);
    }
    database.cli(&["RPUSH", "t", "0"]);
    let ledger = r#"{"rows":3,"bytes":9,"moving":{"nonce":"n","structure":"list","key":"t","replace":false,"keeps_ttl":false,"maxlen":null,"minid":null}}"#;
    database.cli(&["SET", "arrowload:{t}:load:one", ledger]);
    let options = json!({ "data_structure": "list", "encoding": "raw", "load_id": "one" });
    let report = database
        .load("t", Mode::Append, options, &batches(3, 3)[0])
        .await
        .expect("repeated");
    assert!(report.already_loaded && report.rows == 3);
    assert_eq!(database.cli(&["LRANGE", "t", "0", "-1"]), "0\n1\n2\n3");
    assert!(
        database
            .cli(&["GET", "arrowload:{t}:load:one"])
            .contains(r#""moving":null"#)
    );
}
