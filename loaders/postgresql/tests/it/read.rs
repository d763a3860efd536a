//! The source: what the server holds arrives equal, in Arrow's types, and nothing is left behind.

use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{
    Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_buffer::IntervalMonthDayNano;
use arrow_schema::{DataType, IntervalUnit, TimeUnit};
use arrowload_core::{Error, ErrorKind, Param, Params, Query, Result, Source, SourceDescriptor};
use arrowload_postgresql::PostgresqlSource;
use futures::{StreamExt, TryStreamExt};

use crate::server::{Database, database};

impl Database {
    pub(crate) async fn source(&self, keys: &[(&str, &str)]) -> Source {
        let descriptor = SourceDescriptor::of::<PostgresqlSource>(
            env!("CARGO_PKG_NAME"),
            env!("CARGO_PKG_VERSION"),
        );
        let mut settings = self.settings();
        for (key, value) in keys {
            let value = value
                .parse::<u64>()
                .map_or_else(|_| (*value).into(), serde_json::Value::from);
            settings.set(*key, value, "the test");
        }
        Source::connect(&descriptor, &settings, 0)
            .await
            .expect("connected")
    }

    async fn try_read(&self, keys: &[(&str, &str)], query: Query) -> Result<RecordBatch> {
        let stream = self.source(keys).await.query(&query).await?;
        let schema = stream.schema().clone();
        let batches: Vec<RecordBatch> = stream.try_collect().await?;
        Ok(arrow_select::concat::concat_batches(&schema, &batches).expect("batches of one schema"))
    }

    async fn read(&self, sql: &str) -> RecordBatch {
        self.try_read(&[], Query::new(sql))
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    async fn read_error(&self, sql: &str) -> Error {
        self.try_read(&[], Query::new(sql)).await.expect_err(sql)
    }
}

fn positional(sql: &str, values: Vec<Param>) -> Query {
    Query::new(sql).with_params(Params::Positional(values))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_type_has_its_counterpart() {
    let Some(database) = database("read_types").await else {
        return;
    };
    database
        .run(
            "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN small AS integer CHECK (VALUE < 10);
             CREATE TYPE pair AS (a integer, \"B\" text); CREATE TABLE t (b boolean, i2 smallint, i4 integer, i8 bigint, o oid,
             f4 real, f8 double precision, n numeric(10,3), wide numeric(50,5), loose numeric, s text, v varchar(5), c char(4),
             raw bytea, d date, tm time, ts timestamp, tz timestamptz, iv interval, u uuid, j json, jb jsonb, e mood, dom small,
             l integer[], ln numeric(6,2)[], ls text[], p pair, ps pair[], r int4range, ip inet, m money, bits bit(3), ttz timetz, name name)",
        )
        .await;
    database
        .run(
            r#"INSERT INTO t VALUES (true, -2, -4, -8, 4294967295, 1.5, 'NaN', -1234567.891, 12345678901234567890123456789012345678901.00001,
             '1e-3', 'text é', 'abc', 'x', '\x00ff', '1969-12-31', '23:59:59.999999', '0001-01-01 00:00:00.000001',
             '2024-02-29 12:00:00+02', '1 year 2 mons -3 days 04:05:06.000007', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
             '{"a" : 1}', '{"b":2}', 'ok', 7, '{1,NULL,3}', '{1.25}', '{"a b",NULL}', '(5,"x y")', '{"(1,z)",NULL}', '[1,5)',
             '10.0.0.1/24', 12.34, '101', '12:00:00+02', 'n')"#,
        )
        .await;
    database.run("INSERT INTO t DEFAULT VALUES").await;
    let batch = database.read("SELECT * FROM t").await;
    assert_eq!(batch.num_rows(), 2);
    let column = |name: &str| {
        batch
            .column_by_name(name)
            .unwrap_or_else(|| panic!("{name}"))
            .clone()
    };
    assert!(
        batch
            .columns()
            .iter()
            .all(|column| column.is_null(1) && column.is_valid(0)),
        "{batch:?}"
    );
    assert!(column("b").as_boolean().value(0));
    assert_eq!(column("i2").as_primitive::<Int16Type>().value(0), -2);
    assert_eq!(column("i4").as_primitive::<Int32Type>().value(0), -4);
    assert_eq!(column("i8").as_primitive::<Int64Type>().value(0), -8);
    assert_eq!(column("o").as_primitive::<UInt32Type>().value(0), u32::MAX);
    assert_eq!(
        column("f4")
            .as_primitive::<Float32Type>()
            .value(0)
            .to_bits(),
        1.5_f32.to_bits()
    );
    assert!(column("f8").as_primitive::<Float64Type>().value(0).is_nan());
    assert_eq!(
        (
            column("n").data_type(),
            column("n").as_primitive::<Decimal128Type>().value(0)
        ),
        (&DataType::Decimal128(10, 3), -1_234_567_891)
    );
    let wide = column("wide");
    assert_eq!(
        wide.as_primitive::<Decimal256Type>().value_as_string(0),
        "12345678901234567890123456789012345678901.00001"
    );
    for (name, text) in [
        ("loose", "0.001"),
        ("s", "text é"),
        ("v", "abc"),
        ("c", "x   "),
        ("j", r#"{"a" : 1}"#),
        ("jb", r#"{"b": 2}"#),
        ("e", "ok"),
        ("r", "[1,5)"),
        ("ip", "10.0.0.1/24"),
        ("m", "$12.34"),
        ("bits", "101"),
        ("ttz", "12:00:00+02"),
        ("name", "n"),
    ] {
        assert_eq!(column(name).as_string::<i32>().value(0), text, "{name}");
    }
    assert_eq!(column("raw").as_binary::<i32>().value(0), [0, 255]);
    assert_eq!(column("d").as_primitive::<Date32Type>().value(0), -1);
    assert_eq!(
        column("tm")
            .as_primitive::<Time64MicrosecondType>()
            .value(0),
        86_399_999_999
    );
    assert_eq!(
        column("ts")
            .as_primitive::<TimestampMicrosecondType>()
            .value(0),
        -62_135_596_799_999_999
    );
    assert_eq!(
        column("tz").data_type(),
        &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
    );
    assert_eq!(
        column("tz")
            .as_primitive::<TimestampMicrosecondType>()
            .value(0),
        1_709_200_800_000_000
    );
    assert_eq!(
        column("iv").data_type(),
        &DataType::Interval(IntervalUnit::MonthDayNano)
    );
    let interval = IntervalMonthDayNano::new(14, -3, 14_706_000_007_000);
    assert_eq!(
        column("iv")
            .as_primitive::<IntervalMonthDayNanoType>()
            .value(0),
        interval
    );
    assert_eq!(
        column("u").as_fixed_size_binary().value(0)[..4],
        [0xa0, 0xee, 0xbc, 0x99]
    );
    let schema = batch.schema();
    let extension = |name: &str| {
        schema
            .field_with_name(name)
            .expect("a field")
            .extension_type_name()
            .map(str::to_owned)
    };
    assert_eq!(
        (extension("u").as_deref(), extension("jb").as_deref()),
        (Some("arrow.uuid"), Some("arrow.json"))
    );
    assert_eq!(column("dom").as_primitive::<Int32Type>().value(0), 7);
    let list = column("l").as_list::<i32>().value(0);
    assert_eq!(
        list.as_primitive::<Int32Type>(),
        &Int32Array::from(vec![Some(1), None, Some(3)])
    );
    assert_eq!(
        column("ln")
            .as_list::<i32>()
            .value(0)
            .as_primitive::<Decimal128Type>()
            .value_as_string(0),
        "1.25"
    );
    assert_eq!(
        column("ls").as_list::<i32>().value(0).as_string::<i32>(),
        &StringArray::from(vec![Some("a b"), None])
    );
    let pair = column("p");
    assert_eq!(
        pair.as_struct()
            .column(0)
            .as_primitive::<Int32Type>()
            .value(0),
        5
    );
    assert_eq!(
        pair.as_struct()
            .column_by_name("B")
            .expect("B")
            .as_string::<i32>()
            .value(0),
        "x y"
    );
    let pairs = column("ps").as_list::<i32>().value(0);
    assert!(
        pairs.len() == 2
            && pairs.is_null(1)
            && pairs.as_struct().column(1).as_string::<i32>().value(0) == "z"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_what_the_server_prints() {
    let Some(database) = database("read_numerics").await else {
        return;
    };
    for (precision, scale) in [
        (9, 0),
        (9, 2),
        (18, 6),
        (38, 0),
        (38, 19),
        (38, 38),
        (60, 30),
        (76, 75),
        (5, 7),
        (4, -3),
    ] {
        // Digits of random lengths, and each power of ten with its neighbours.
        let sql = format!(
            "SELECT v, v::text AS shown FROM (
               SELECT (sign * left(digits, n)::numeric * 10::numeric ^ (-({scale})))::numeric({precision},{scale}) AS v FROM (
                 SELECT 1 + (random() * ({precision} - 1))::int AS n, CASE WHEN random() < 0.5 THEN -1 ELSE 1 END AS sign,
                        translate(md5(i::text) || md5((i + 1)::text) || md5((i + 2)::text), 'abcdef', '012345') AS digits
                 FROM generate_series(1, 3000) i) r
               UNION ALL
               SELECT ((10::numeric ^ k + d) * 10::numeric ^ (-({scale})))::numeric({precision},{scale})
               FROM generate_series(0, {precision} - 1) k, generate_series(-1, 1) d WHERE (10::numeric ^ k + d) < 10::numeric ^ {precision}) x"
        );
        // Version 15 and later know scales that are negative or above the precision.
        let server: i32 = database.rows("SHOW server_version_num").await[0]
            .parse()
            .expect("a number");
        if server < 150_000 && !(0..=precision).contains(&scale) {
            continue;
        }
        let batch = database.read(&sql).await;
        let shown = batch.column(1).as_string::<i32>();
        for row in 0..batch.num_rows() {
            let ours = match batch.column(0).data_type() {
                DataType::Decimal128(..) => batch
                    .column(0)
                    .as_primitive::<Decimal128Type>()
                    .value_as_string(row),
                DataType::Decimal256(..) => batch
                    .column(0)
                    .as_primitive::<Decimal256Type>()
                    .value_as_string(row),
                other => panic!("{other}"),
            };
            assert_eq!(ours, shown.value(row), "numeric({precision},{scale})");
        }
        let text = database
            .try_read(&[("read_numeric", "text")], Query::new(&sql))
            .await
            .expect("text");
        assert!(
            (0..text.num_rows()).all(|row| text.column(0).as_string::<i32>().value(row)
                == text.column(1).as_string::<i32>().value(row))
        );
    }
    let loose = "SELECT unnest(ARRAY[1.5, -0.25, 1e20, 123456789.000, 10000, 0.00001])::numeric";
    let decimal = database
        .try_read(&[("read_numeric", "decimal(30,5)")], Query::new(loose))
        .await
        .expect("decimals");
    let values: Vec<String> = (0..6)
        .map(|row| {
            decimal
                .column(0)
                .as_primitive::<Decimal128Type>()
                .value_as_string(row)
        })
        .collect();
    assert_eq!(
        values,
        [
            "1.50000",
            "-0.25000",
            "100000000000000000000.00000",
            "123456789.00000",
            "10000.00000",
            "0.00001"
        ]
    );
    database
        .run("CREATE TABLE t (n numeric(4,2)); INSERT INTO t VALUES (1), ('NaN')")
        .await;
    let error = database.read_error("TABLE t").await;
    assert!(
        error.row() == Some(1) && error.to_string().contains("read_numeric"),
        "{error}"
    );
    let error = database
        .try_read(&[("read_numeric", "decimal(30,4)")], Query::new(loose))
        .await
        .expect_err("too fine");
    assert_eq!(
        (error.kind(), error.row()),
        (ErrorKind::InvalidData, Some(5)),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrow_cannot_hold_is_refused_by_row_and_column() {
    let Some(database) = database("read_refused").await else {
        return;
    };
    for value in [
        "'infinity'::timestamp",
        "'-infinity'::date",
        "'294276-12-31'::timestamp",
        "'24:00'::time",
        "'{{1,2},{3,4}}'::int[]",
        "make_interval(years => 0, hours => 5000000)",
    ] {
        let error = database
            .read_error(&format!(
                "SELECT i, CASE WHEN i = 3 THEN {value} END AS v FROM generate_series(1, 9) i"
            ))
            .await;
        assert_eq!(
            (error.kind(), error.get("column"), error.row()),
            (ErrorKind::InvalidData, Some("v"), Some(2)),
            "{value}: {error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_bound_as_the_server_takes_them() {
    let Some(database) = database("read_params").await else {
        return;
    };
    database
        .run("CREATE TABLE t (id bigint, name text, n numeric(8,2), d date)")
        .await;
    database.run("INSERT INTO t SELECT i, 'n' || i, i * 1.5, DATE '2024-01-01' + i FROM generate_series(1, 100) i").await;
    let rows = |query: Query| {
        let database = &database;
        async move {
            database
                .try_read(&[], query)
                .await
                .map(|batch| batch.num_rows())
        }
    };
    let sql =
        "SELECT * FROM t WHERE id > $1 AND name <> $2 AND n < $3 AND int4range(1, 2) IS NOT NULL";
    let decimal = arrow_array::Decimal128Array::from(vec![3_000])
        .with_precision_and_scale(6, 2)
        .expect("a scale");
    let values = || {
        vec![
            Param::from(10_i64),
            Param::from("n12'; DROP TABLE t; --"),
            Param::new(std::sync::Arc::new(decimal.clone())).expect("one"),
        ]
    };
    assert_eq!(rows(positional(sql, values())).await.expect("rows"), 9);
    let named = Query::new(
        "SELECT r.*, '$id' FROM (SELECT '[1,2)'::int4range, id FROM t WHERE id = $id OR id = $other OR id = $id) r",
    );
    let named = named.with_params(Params::Named(vec![
        ("other".into(), Param::from(3_i32)),
        ("id".into(), Param::from(5_u8)),
    ]));
    let batch = database.try_read(&[], named).await.expect("rows");
    assert_eq!(
        (
            batch.num_rows(),
            batch.column(2).as_string::<i32>().value(0)
        ),
        (2, "$id")
    );
    assert_eq!(
        rows(positional(
            "SELECT 1 WHERE $1::text IS NULL",
            vec![Param::null()]
        ))
        .await
        .expect("a row"),
        1
    );
    let time =
        std::sync::Arc::new(TimestampMicrosecondArray::from(vec![1_i64]).with_timezone("UTC"));
    let named =
        |sql: &str, value| Query::new(sql).with_params(Params::Named(vec![("day".into(), value)]));
    for (query, words) in [
        (
            Query::new("SELECT $1::int"),
            "the parameter $1, and no value",
        ),
        (
            positional("SELECT 1", vec![Param::from(1)]),
            "a value is given for $1, and the query has no such parameter",
        ),
        (
            Query::new("SELECT $a::int")
                .with_params(Params::Named(vec![("b".into(), Param::from(1))])),
            "$a",
        ),
        (
            Query::new("SELECT 1").with_params(Params::Named(vec![("b".into(), Param::from(1))])),
            "$b",
        ),
        (positional("SELECT $1", vec![Param::from(1)]), "$1::integer"),
        (
            named("SELECT $day", Param::new(time.clone()).expect("one")),
            "the parameter $day: ",
        ),
        (
            named("SELECT $day", Param::new(time).expect("one")),
            "$day::timestamptz",
        ),
        (
            positional("SELECT $1::smallint", vec![Param::from(70_000)]),
            "smallint",
        ),
    ] {
        let error = rows(query).await.expect_err(words);
        assert!(
            error.kind() == ErrorKind::InvalidOption && error.to_string().contains(words),
            "{words}: {error}"
        );
    }
    // A dry run asks for the schema only.
    let unused = positional("SELECT 1", vec![Param::from(1)]);
    assert!(
        database
            .source(&[])
            .await
            .schema(&unused)
            .await
            .expect_err("unused")
            .to_string()
            .contains("$1")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_of_every_shape() {
    let Some(database) = database("read_shapes").await else {
        return;
    };
    database.run("CREATE TABLE t (id int); INSERT INTO t VALUES (1), (2); CREATE VIEW v AS SELECT * FROM t").await;
    for (sql, columns, rows) in [
        ("SELECT * FROM t WHERE false", 1, 0),
        ("SELECT FROM t", 0, 2),
        ("SELECT 1 AS a, 2 AS a, '1.2.3.4'::inet AS a", 3, 1),
        ("VALUES (1, 'x'), (2, NULL);", 2, 2),
        ("TABLE t -- all of it", 1, 2),
        ("WITH x AS (SELECT 1) SELECT * FROM x /* ; */ ;", 1, 1),
        ("(SELECT 1) UNION ALL (SELECT 2) ORDER BY 1 DESC", 1, 2),
        ("SHOW server_version", 1, 1),
        ("EXPLAIN (COSTS off) SELECT 1", 1, 1),
        ("SELECT * FROM v", 1, 2),
        ("SELECT ROW(1, 'x'), NULL, pg_sleep(0)", 3, 1),
    ] {
        let batch = database.read(sql).await;
        assert_eq!(
            (batch.num_columns(), batch.num_rows()),
            (columns, rows),
            "{sql}"
        );
        let schema = database
            .source(&[])
            .await
            .schema(&Query::new(sql))
            .await
            .expect("a schema");
        assert_eq!(schema, batch.schema(), "{sql}");
    }
    for (sql, kind) in [
        ("SELEC 1", ErrorKind::Query),
        ("SELECT * FROM no_such", ErrorKind::TargetNotFound),
        ("SELECT 1; SELECT 2", ErrorKind::Query),
        ("", ErrorKind::Unsupported),
        ("INSERT INTO t VALUES (3)", ErrorKind::Unsupported),
        (
            "WITH x AS (DELETE FROM t RETURNING id) SELECT * FROM x",
            ErrorKind::Unsupported,
        ),
        ("DROP TABLE t", ErrorKind::Unsupported),
        ("SELECT 1) TO '/tmp/x'; --", ErrorKind::Query),
        (
            "SELECT 1 / (5 - i) FROM generate_series(1, 9) i",
            ErrorKind::InvalidData,
        ),
    ] {
        let error = database.read_error(sql).await;
        assert_eq!(error.kind(), kind, "{sql}: {error}");
    }
    assert_eq!(database.rows("SELECT count(*) FROM t").await, ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_stream_ends_its_query() {
    let Some(database) = database("read_dropped").await else {
        return;
    };
    let source = database.source(&[("application_name", "dropped")]).await;
    let mut stream = source
        .query(&Query::new("SELECT generate_series(1, 1000000000)"))
        .await
        .expect("a stream");
    assert!(stream.next().await.expect("a batch").is_ok());
    drop(stream);
    let active = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dropped' AND state <> 'idle'";
    for _ in 0..100 {
        if database.rows(active).await == ["0"] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the query goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_table_is_read_by_parts_from_one_snapshot() {
    let Some(database) = database("read_parts").await else {
        return;
    };
    database.run("CREATE TABLE t AS SELECT i AS id, repeat('x', 100) AS filler FROM generate_series(1, 60000) i; ANALYZE t").await;
    let keys = [("read_connections", "3"), ("read_batch_size", "1000")];
    let source = database.source(&keys).await;
    let used = || async {
        database.rows("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'arrowload' AND backend_xmin IS NOT NULL").await
    };
    let mut stream = source
        .query(&Query::new("SELECT id FROM t WHERE id % 2 = 0 OR id = 1"))
        .await
        .expect("a stream");
    let many = database.rows("SHOW server_version_num").await[0]
        .parse::<i32>()
        .expect("a number")
        >= 140_000;
    assert_eq!(used().await, [if many { "3" } else { "1" }]);
    // What is written meanwhile is not in the snapshot.
    database.run("INSERT INTO t SELECT 100000 + i FROM generate_series(1, 1000) i; DELETE FROM t WHERE id <= 10").await;
    let mut ids = Vec::new();
    while let Some(batch) = stream.next().await {
        ids.extend_from_slice(
            batch
                .expect("a batch")
                .column(0)
                .as_primitive::<Int32Type>()
                .values(),
        );
    }
    ids.sort_unstable();
    let expected: Vec<i32> = (1..=60_000).filter(|id| id % 2 == 0 || *id == 1).collect();
    assert_eq!(ids, expected);
    // Rows that depend on each other are read by one connection.
    let total = database
        .try_read(&keys, Query::new("SELECT count(*) FROM t"))
        .await
        .expect("a count");
    assert_eq!(
        total.column(0).as_primitive::<Int64Type>(),
        &Int64Array::from(vec![60_990])
    );
    let error = database
        .try_read(&keys, Query::new("SELECT 1 / (id - 100500) FROM t"))
        .await
        .expect_err("a division by zero");
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
}

/// Before version 16, a read-only transaction may make large objects; later, it is refused.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_query_wrote_is_not_kept() {
    let Some(database) = database("read_keeps_nothing").await else {
        return;
    };
    database
        .run("CREATE TABLE big AS SELECT i, repeat('x', 1000) AS filler FROM generate_series(1, 3000) AS i")
        .await;
    let count = || async {
        let sql = "SELECT count(*) FROM pg_catalog.pg_largeobject_metadata";
        let batch = database.read(sql).await;
        batch.column(0).as_primitive::<Int64Type>().value(0)
    };
    for query in [
        Query::new("SELECT lo_create(0)"),
        positional("SELECT lo_create(0), $1::int", vec![Param::from(1)]),
        Query::new("SELECT i, lo_create(0) FROM big"),
    ] {
        let keys = [("read_connections", "3")];
        let made = database.try_read(&keys, query.clone()).await;
        if let Err(error) = made {
            assert!(error.to_string().contains("read-only"), "{error:?}");
        }
        assert_eq!(count().await, 0, "{}", query.sql);
    }
}
