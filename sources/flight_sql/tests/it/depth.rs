//! What lies beyond a plain query: progress, busy servers, metadata, compression, dictionaries, changes, transactions.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_ipc::CompressionType;
use arrow_schema::DataType;
use arrowload_core::memory::MemoryLoader;
use arrowload_core::{
    DataSource, ErrorKind, Input, Listed, Listing, LoadSpec, Loader, LoaderDescriptor, Param,
    Params, Query, Settings, load,
};
use arrowload_testkit::{FlightSqlBehaviour, ThrowawayFlightSql, type_cases};
use futures::{StreamExt, TryStreamExt};
use tonic::codec::CompressionEncoding;

use crate::{NUMBERS, assert_cancelled, ids, rows, source};

fn usual() -> FlightSqlBehaviour {
    FlightSqlBehaviour::default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_query_is_asked_after_until_it_is_done() {
    let server = ThrowawayFlightSql::start(FlightSqlBehaviour {
        polls: 3,
        ..usual()
    })
    .await;
    let polling = source(&server.url()).await.expect("a source");
    assert_eq!(
        ids(&rows(&polling, &Query::new(NUMBERS)).await.expect("rows")).len(),
        1000
    );
    assert_eq!(server.times_told("poll"), 4);
    let silent = source(&format!("{}?poll=false", server.url()))
        .await
        .expect("a source");
    assert_eq!(
        ids(&rows(&silent, &Query::new(NUMBERS)).await.expect("rows")).len(),
        1000
    );
    assert_eq!(server.times_told("poll"), 4);
    let error = rows(&polling, &Query::new("SELECT nosuch"))
        .await
        .expect_err("no column");
    assert!(
        error.kind() == ErrorKind::Query && error.to_string().contains("nosuch"),
        "{error:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_says_how_far_its_query_is() {
    let server = ThrowawayFlightSql::start(FlightSqlBehaviour {
        polls: 4,
        ..usual()
    })
    .await;
    let source = Arc::new(source(&server.url()).await.expect("a source"));
    let input = Input::repeatable(move |reading| {
        let source = Arc::clone(&source);
        Box::pin(async move {
            let query = Query::new(NUMBERS).with_reading(reading);
            source.query(&query).await
        })
    });
    let loader = Loader::connect(
        &LoaderDescriptor::of::<MemoryLoader>("test", "0"),
        &Settings::new(),
        0,
    )
    .await
    .expect("a loader");
    let told = Arc::<Mutex<Vec<f64>>>::default();
    let hears = Arc::clone(&told);
    let mut spec = LoadSpec::new("numbers");
    spec.on_progress = Some(Arc::new(move |progress| {
        hears
            .lock()
            .expect("a list")
            .extend(progress.query_done.filter(|_| !progress.done))
    }));
    assert_eq!(
        load(&loader, &spec, &input).await.expect("it loads").rows,
        1000
    );
    let told = told.lock().expect("a list").clone();
    assert!(
        told.contains(&0.25) && told.contains(&0.5) && told.contains(&0.75),
        "{told:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_is_given_up_while_it_runs_is_cancelled() {
    let server = ThrowawayFlightSql::start(FlightSqlBehaviour {
        polls: 200,
        ..usual()
    })
    .await;
    let source = source(&server.url()).await.expect("a source");
    let query = Query::new(NUMBERS);
    tokio::time::timeout(Duration::from_millis(700), source.query(&query))
        .await
        .expect_err("it runs on");
    assert_cancelled(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_ready_is_asked_again() {
    for behaviour in [
        FlightSqlBehaviour {
            unavailable: 3,
            ..usual()
        },
        FlightSqlBehaviour {
            busy: Some((3, Duration::from_millis(300))),
            ..usual()
        },
        // The rows of the first try break off before any came.
        FlightSqlBehaviour {
            cut_after: Some((0, 1)),
            ..usual()
        },
    ] {
        let pause = behaviour
            .busy
            .map_or(Duration::ZERO, |(times, pause)| pause * times as u32);
        let server = ThrowawayFlightSql::start(behaviour).await;
        let source = source(&server.url()).await.expect("a source");
        let began = Instant::now();
        assert_eq!(
            ids(&rows(&source, &Query::new(NUMBERS)).await.expect("rows")).len(),
            1000
        );
        assert!(
            began.elapsed() >= pause,
            "it was asked again after {:?}, sooner than it said",
            began.elapsed()
        );
    }
    let server = ThrowawayFlightSql::start(FlightSqlBehaviour {
        unavailable: 1,
        ..usual()
    })
    .await;
    let source = source(&format!("{}?max_retries=0", server.url()))
        .await
        .expect("a source");
    let error = rows(&source, &Query::new(NUMBERS))
        .await
        .expect_err("no second try");
    assert!(
        error.kind() == ErrorKind::Connection && error.is_transient(),
        "{error:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_of_the_application_is_passed_on() {
    let server = ThrowawayFlightSql::start(FlightSqlBehaviour {
        app_metadata: true,
        ..usual()
    })
    .await;
    let source = source(&server.url()).await.expect("a source");
    let mut stream = source.stream(&Query::new(NUMBERS)).await.expect("a stream");
    assert_eq!(
        (stream.app_metadata().as_ref(), stream.expected_rows()),
        (b"announced".as_slice(), Some(1000))
    );
    let (mut found, mut count) = (Vec::new(), 0);
    while let Some(item) = stream.next().await {
        let item = item.expect("a batch");
        count += item.batch.num_rows();
        found.push(String::from_utf8(item.app_metadata.to_vec()).expect("text"));
    }
    assert_eq!((count, found.len()), (1000, 10));
    assert_eq!(
        (found[0].as_str(), found[9].as_str()),
        ("message 1", "message 10")
    );
    // Who wants only rows is not disturbed by it.
    assert_eq!(
        ids(&rows(&source, &Query::new(NUMBERS)).await.expect("rows")).len(),
        1000
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_messages_and_bodies_are_unpacked() {
    for (message_compression, body_compression) in [
        (Some(CompressionEncoding::Gzip), None),
        (Some(CompressionEncoding::Zstd), None),
        (None, Some(CompressionType::LZ4_FRAME)),
        (None, Some(CompressionType::ZSTD)),
        (Some(CompressionEncoding::Zstd), Some(CompressionType::ZSTD)),
    ] {
        let server = ThrowawayFlightSql::start(FlightSqlBehaviour {
            message_compression,
            body_compression,
            ..usual()
        })
        .await;
        let plain = ThrowawayFlightSql::start(usual()).await;
        let found = rows(
            &source(&server.url()).await.expect("a source"),
            &Query::new(NUMBERS),
        )
        .await
        .expect("rows");
        let expected = rows(
            &source(&plain.url()).await.expect("a source"),
            &Query::new(NUMBERS),
        )
        .await
        .expect("rows");
        assert_eq!(
            found, expected,
            "{message_compression:?} {body_compression:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_unpack_to_too_much_are_refused() {
    let behaviour = FlightSqlBehaviour {
        body_compression: Some(CompressionType::ZSTD),
        rows_per_message: 1000,
        ..usual()
    };
    let server = ThrowawayFlightSql::start(behaviour).await;
    let source = source(&format!("{}?max_batch_bytes=1000", server.url()))
        .await
        .expect("a source");
    let error = rows(&source, &Query::new(NUMBERS))
        .await
        .expect_err("8000 bytes of numbers");
    assert!(
        error.kind() == ErrorKind::InvalidData
            && error.to_string().contains("max_batch_bytes is 1000"),
        "{error:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn dictionaries_that_grow_are_read() {
    for sql in [
        NUMBERS,
        "SELECT value AS id, arrow_cast('v' || (value % 7), 'Dictionary(Int8, Utf8)') AS name FROM generate_series(1, 1000)",
    ] {
        let server = ThrowawayFlightSql::start(FlightSqlBehaviour {
            growing_dictionaries: true,
            ..usual()
        })
        .await;
        let plain = ThrowawayFlightSql::start(usual()).await;
        let text = |batches: &[RecordBatch]| -> Vec<String> {
            let values = batches.iter().flat_map(|batch| {
                let column = arrow_cast::cast(batch.column(1), &DataType::Utf8).expect("text");
                column
                    .as_string::<i32>()
                    .iter()
                    .map(|value| value.expect("a value").to_owned())
                    .collect::<Vec<_>>()
            });
            values.collect()
        };
        let found = rows(
            &source(&server.url()).await.expect("a source"),
            &Query::new(sql),
        )
        .await
        .expect("rows");
        let expected = rows(
            &source(&plain.url()).await.expect("a source"),
            &Query::new(sql),
        )
        .await
        .expect("rows");
        assert!(matches!(
            found[0].schema().field(1).data_type(),
            DataType::Dictionary(..)
        ));
        assert_eq!(text(&found), text(&expected), "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_without_columns_are_counted() {
    let server = ThrowawayFlightSql::start(usual()).await;
    let source = source(&server.url()).await.expect("a source");
    let sql = "SELECT * EXCLUDE (value) FROM generate_series(1, 250)";
    let stream = source.query(&Query::new(sql)).await.expect("a stream");
    assert!(stream.schema().fields().is_empty());
    let batches: Vec<RecordBatch> = stream.try_collect().await.expect("rows");
    assert_eq!(
        batches.iter().map(RecordBatch::num_rows).sum::<usize>(),
        250
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_batch_may_be_as_large_as_a_message() {
    let server = ThrowawayFlightSql::start(FlightSqlBehaviour {
        rows_per_message: usize::MAX,
        ..usual()
    })
    .await;
    let source = source(&server.url()).await.expect("a source");
    let query =
        Query::new("SELECT value AS id, repeat('x', 100) AS text FROM generate_series(1, 400000)");
    let batches = rows(&source, &query).await.expect("rows");
    assert_eq!((batches.len(), batches[0].num_rows()), (1, 400_000));
    assert!(batches[0].get_array_memory_size() > 40_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_can_have_any_type() {
    let server = ThrowawayFlightSql::start(usual()).await;
    let source = source(&server.url()).await.expect("a source");
    let mut bound = 0;
    for case in type_cases() {
        let Some(row) = (0..case.values.len()).find(|row| case.values.is_valid(*row)) else {
            continue;
        };
        let value = case.values.slice(row, 1);
        let param = Param::new(Arc::clone(&value)).expect("one value");
        let query = Query::new("SELECT $1 AS value").with_params(Params::Positional(vec![param]));
        match rows(&source, &query).await {
            Ok(batches) => {
                // The engine answers a large list with a list.
                let found =
                    arrow_cast::cast(batches[0].column(0), value.data_type()).expect(&case.name);
                assert_eq!(&found, &value, "{}", case.name);
                bound += 1;
            }
            // What this server's engine has no literal for.
            Err(error) => assert!(
                matches!(
                    value.data_type(),
                    DataType::RunEndEncoded(..)
                        | DataType::ListView(_)
                        | DataType::LargeListView(_)
                ),
                "{}: {error:#}",
                case.name
            ),
        }
    }
    assert!(bound > 40, "only {bound} types were bound");
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_change_rows_and_say_how_many() {
    let server = ThrowawayFlightSql::start(usual()).await;
    let source = source(&server.url()).await.expect("a source");
    assert_eq!(
        source
            .execute(&Query::new("CREATE TABLE t (id BIGINT, name VARCHAR)"))
            .await
            .expect("created"),
        None
    );
    let insert = Query::new("INSERT INTO t SELECT value, 'a' FROM generate_series(1, 5)");
    assert_eq!(source.execute(&insert).await.expect("inserted"), Some(5));
    let insert = Query::new("INSERT INTO t VALUES ($1, $2)").with_params(Params::Positional(vec![
        Param::from(6_i64),
        Param::from("it's"),
    ]));
    assert_eq!(source.execute(&insert).await.expect("inserted"), Some(1));
    assert_eq!(
        ids(&rows(
            &source,
            &Query::new("SELECT id FROM t WHERE name = 'it''s'")
        )
        .await
        .expect("rows")),
        [6]
    );
    let error = source
        .execute(&Query::new("INSERT INTO nosuch VALUES (1)"))
        .await
        .expect_err("no table");
    assert!(error.to_string().contains("nosuch"), "{error:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_all_or_nothing() {
    let server = ThrowawayFlightSql::start(usual()).await;
    let source = source(&server.url()).await.expect("a source");
    source
        .execute(&Query::new("CREATE TABLE t (id BIGINT)"))
        .await
        .expect("created");
    let count = async || {
        ids(&rows(&source, &Query::new("SELECT id FROM t"))
            .await
            .expect("rows"))
        .len()
    };
    let insert = Query::new("INSERT INTO t VALUES (1)");
    let kept = source.begin_transaction().await.expect("a transaction");
    kept.execute(&insert).await.expect("inserted");
    assert_eq!(count().await, 0);
    kept.commit().await.expect("committed");
    assert_eq!(count().await, 1);
    let undone = source.begin_transaction().await.expect("a transaction");
    undone.execute(&insert).await.expect("inserted");
    undone.rollback().await.expect("rolled back");
    let dropped = source.begin_transaction().await.expect("a transaction");
    dropped.execute(&insert).await.expect("inserted");
    drop(dropped);
    for _ in 0..100 {
        if server.times_told("Rollback") == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        (
            server.times_told("Commit"),
            server.times_told("Rollback"),
            count().await
        ),
        (1, 2, 1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_does_not_list_is_said() {
    let server = ThrowawayFlightSql::start(usual()).await;
    let source = source(&server.url()).await.expect("a source");
    source.ping().await.expect("it answers");
    let error = source
        .list(&Listing::new(Listed::Catalogs))
        .await
        .map(drop)
        .expect_err("it has none");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:#}");
}
