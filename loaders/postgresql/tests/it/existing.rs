//! Every pair of an Arrow type and the type of a column that is there: the value arrives, or is refused by name; none changes.

use std::sync::Arc;

use arrow_array::*;
use arrowload_core::{ErrorKind, Mode, load};

use crate::server::database;
use crate::support::{batch, input, spec};

fn array(array: impl Array + 'static) -> ArrayRef {
    Arc::new(array)
}

/// Types of columns, as SQL.
const COLUMNS: [&str; 34] = [
    "boolean",
    "smallint",
    "integer",
    "bigint",
    "real",
    "double precision",
    "numeric",
    "numeric(6,2)",
    "numeric(3)",
    "text",
    "varchar(3)",
    "char(3)",
    "bytea",
    "date",
    "time",
    "time(0)",
    "timetz",
    "timestamp",
    "timestamp(3)",
    "timestamptz",
    "interval",
    "interval(0)",
    "uuid",
    "json",
    "jsonb",
    "inet",
    "cidr",
    "mood",
    "positive",
    "integer[]",
    "text[]",
    "money",
    "xml",
    "oid",
];

/// One value of each kind, with the SQL of a value that equals it.
fn values() -> Vec<(ArrayRef, &'static str)> {
    let decimal = |value: i128, scale: i8| {
        array(
            Decimal128Array::from(vec![value])
                .with_precision_and_scale(20, scale)
                .expect("a scale"),
        )
    };
    vec![
        (array(BooleanArray::from(vec![true])), "true"),
        (array(Int32Array::from(vec![7])), "7"),
        (array(Int64Array::from(vec![1 << 40])), "1099511627776"),
        (
            array(Int64Array::from(vec![(1 << 53) + 1])),
            "9007199254740993",
        ),
        (
            array(UInt64Array::from(vec![u64::MAX])),
            "18446744073709551615",
        ),
        (array(Float64Array::from(vec![0.1])), "0.1::float8"),
        (array(Float64Array::from(vec![2.5])), "2.5"),
        (array(Float32Array::from(vec![0.1])), "0.1::real"),
        (decimal(123_456, 4), "12.3456"),
        (decimal(123_400, 4), "12.34"),
        (decimal(5, 0), "5"),
        (array(StringArray::from(vec!["abc"])), "'abc'"),
        (array(StringArray::from(vec!["abcd  "])), "'abcd  '"),
        (array(StringArray::from(vec!["ab "])), "'ab '"),
        (array(StringArray::from(vec!["happy"])), "'happy'"),
        (array(StringArray::from(vec!["{\"a\":1}"])), "'{\"a\":1}'"),
        (array(StringArray::from(vec!["10.0.0.1/8"])), "'10.0.0.1/8'"),
        (array(StringArray::from(vec!["10.0.0.0/8"])), "'10.0.0.0/8'"),
        (array(StringArray::from(vec!["fe80::1"])), "'fe80::1'"),
        (
            array(StringArray::from(vec![
                "123e4567-e89b-12d3-a456-426614174000",
            ])),
            "'123e4567-e89b-12d3-a456-426614174000'",
        ),
        (
            array(BinaryArray::from_vec(vec![b"\x01\x02"])),
            "'\\x0102'::bytea",
        ),
        (array(Date32Array::from(vec![19_782])), "DATE '2024-02-29'"),
        (
            array(TimestampMicrosecondArray::from(vec![1_709_210_096_123_456])),
            "TIMESTAMP '2024-02-29 12:34:56.123456'",
        ),
        (
            array(TimestampMillisecondArray::from(vec![1_709_164_800_000])),
            "TIMESTAMP '2024-02-29 00:00:00'",
        ),
        (
            array(
                TimestampMicrosecondArray::from(vec![1_709_210_096_123_456])
                    .with_timezone("+05:30"),
            ),
            "TIMESTAMPTZ '2024-02-29 12:34:56.123456+00'",
        ),
        (
            array(Time64MicrosecondArray::from(vec![45_296_500_000])),
            "TIME '12:34:56.5'",
        ),
        (
            array(DurationMillisecondArray::from(vec![1_500])),
            "INTERVAL '1.5 s'",
        ),
        (
            array(ListArray::from_iter_primitive::<types::Int32Type, _, _>(
                vec![Some(vec![Some(1), None])],
            )),
            "ARRAY[1, NULL]",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_pair_arrives_right_or_is_refused_by_name() {
    let Some(database) = database("pairs").await else {
        return;
    };
    database.run("CREATE TYPE mood AS ENUM ('happy', 'abc'); CREATE DOMAIN positive AS integer CHECK (VALUE > 0)").await;
    let client = database.client().await;
    client
        .batch_execute("SET timezone = 'UTC'")
        .await
        .expect("set");
    let (mut arrived, mut refused) = (0, 0);
    for column in COLUMNS {
        database
            .run(&format!(
                "DROP TABLE IF EXISTS t; CREATE TABLE t (v {column})"
            ))
            .await;
        for (value, sql) in values() {
            let what = format!("{} {sql} into {column}", value.data_type());
            match database
                .try_load(&spec("t", Mode::Append), &batch(vec![("v", value)]))
                .await
            {
                Ok(_) => {
                    arrived += 1;
                    // Compared as text of a type that shows all of it; padding is what character(n) adds by itself.
                    let same = match column {
                        // A cast to numeric would round to the digits that are sure to be right.
                        "real" | "double precision"
                            if sql.bytes().all(|byte| byte.is_ascii_digit()) =>
                        {
                            format!("v::bigint = {sql}")
                        }
                        "real" | "double precision" => format!("v::float8 = ({sql})::float8"),
                        "numeric" | "numeric(6,2)" | "numeric(3)" => {
                            format!("v = ({sql})::text::numeric")
                        }
                        "json" | "jsonb" if sql.starts_with("ARRAY") => {
                            "v::text IN ('[1,null]', '[1, null]')".into()
                        }
                        "json" => format!("v::text = {sql}"),
                        "char(3)" => format!("v::text = rtrim({sql}) AND octet_length(v) = 3"),
                        "mood" | "varchar(3)" | "text" => format!("v::text = {sql}"),
                        _ => format!("v = {sql}"),
                    };
                    let rows = client
                        .query(&format!("SELECT {same}, v::text FROM t"), &[])
                        .await
                        .unwrap_or_else(|error| panic!("{what}: {error:?}"));
                    assert!(
                        rows.len() == 1 && rows[0].get::<_, bool>(0),
                        "{what}: it arrived as {:?}",
                        rows[0].get::<_, String>(1)
                    );
                }
                Err(error) => {
                    refused += 1;
                    let named = error.get("column") == Some("v") || error.row() == Some(0);
                    assert!(
                        matches!(
                            error.kind(),
                            ErrorKind::UnsupportedType | ErrorKind::InvalidData
                        ) && named,
                        "{what}: {error:?}"
                    );
                    assert!(
                        !format!("{error}").contains("incorrect binary data format"),
                        "{what}: {error}"
                    );
                }
            }
            database.run("TRUNCATE t").await;
        }
    }
    assert_eq!(arrived + refused, COLUMNS.len() * values().len());
    assert!(
        arrived >= 71,
        "{arrived} pairs arrived, {refused} were refused"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_fill_themselves_are_left_alone() {
    let Some(database) = database("generated").await else {
        return;
    };
    database
        .run(
            "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY, name text, shout text GENERATED ALWAYS AS (upper(name)) STORED,
             made text NOT NULL DEFAULT 'here', serial bigint GENERATED BY DEFAULT AS IDENTITY)",
        )
        .await;
    let names = || batch(vec![("name", array(StringArray::from(vec!["a", "b"])))]);
    database.load(&spec("t", Mode::Append), &names()).await;
    assert_eq!(
        database.rows("SELECT * FROM t ORDER BY id").await,
        ["1|a|A|here|1", "2|b|B|here|2"]
    );
    for column in ["id", "shout"] {
        let value = if column == "id" {
            array(Int64Array::from(vec![9]))
        } else {
            array(StringArray::from(vec!["X"]))
        };
        let error = database
            .refused(&spec("t", Mode::Append), &batch(vec![(column, value)]))
            .await;
        assert_eq!(
            (error.kind(), error.get("column")),
            (ErrorKind::UnsupportedType, Some(column)),
            "{error}"
        );
    }
    database
        .run("CREATE TABLE u (id bigint, needed text NOT NULL)")
        .await;
    let error = database
        .refused(
            &spec("u", Mode::Append),
            &batch(vec![("id", array(Int64Array::from(vec![1])))]),
        )
        .await;
    assert!(
        error.kind() == ErrorKind::SchemaMismatch && error.to_string().contains("needed"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn arrays_of_domains_and_enums_are_written_in_their_own_type() {
    let Some(database) = database("arrays_of").await else {
        return;
    };
    database.run("CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE t (m mood[], n numeric(4,1)[], d text[][])").await;
    let mut moods = builder::ListBuilder::new(builder::StringBuilder::new());
    moods.append_value([Some("ok"), None, Some("sad")]);
    let floats = ListArray::from_iter_primitive::<types::Float64Type, _, _>(vec![Some(vec![
        Some(1.5),
        Some(-0.1),
    ])]);
    database
        .load(
            &spec("t", Mode::Append),
            &batch(vec![("m", array(moods.finish())), ("n", array(floats))]),
        )
        .await;
    assert_eq!(
        database.rows("SELECT m, n FROM t").await,
        ["{ok,NULL,sad}|{1.5,-0.1}"]
    );
    let floats =
        ListArray::from_iter_primitive::<types::Float64Type, _, _>(vec![Some(vec![Some(1.25)])]);
    let error = database
        .refused(&spec("t", Mode::Append), &batch(vec![("n", array(floats))]))
        .await;
    assert_eq!(
        (error.kind(), error.row()),
        (ErrorKind::InvalidData, Some(0)),
        "{error}"
    );
}

/// Types of columns that are met less often; most take nothing.
const RARE: [&str; 28] = [
    "tsvector",
    "point",
    "int4range",
    "bit(3)",
    "bit varying",
    "macaddr",
    "name",
    "\"char\"",
    "pg_lsn",
    "regclass",
    "pair",
    "short",
    "small_list",
    "bpchar",
    "numeric(3,5)",
    "timestamptz(0)",
    "timestamp(0)",
    "interval year to month",
    "varchar(3)[]",
    "char(2)[]",
    "date[]",
    "numeric(6,2)[]",
    "uuid[]",
    "positive[]",
    "mood[]",
    "jsonb[]",
    "real[]",
    "json",
];

/// Values of more types, each with the SQL of what it is.
fn rare_values() -> Vec<(ArrayRef, &'static str)> {
    let words: DictionaryArray<types::Int8Type> = vec![Some("abc")].into_iter().collect();
    let runs = RunArray::<types::Int16Type>::try_new(
        &Int16Array::from(vec![1]),
        &Int64Array::from(vec![42]),
    )
    .expect("a run");
    let decimals = Decimal256Array::from(vec![arrow_buffer::i256::from_i128(-125)])
        .with_precision_and_scale(40, 5)
        .expect("a scale");
    let negative = Decimal128Array::from(vec![12])
        .with_precision_and_scale(3, -1)
        .expect("a scale");
    let list = |values: Vec<Option<i64>>| {
        array(ListArray::from_iter_primitive::<types::Int64Type, _, _>(
            vec![Some(values)],
        ))
    };
    let mut texts = builder::LargeListBuilder::new(builder::StringBuilder::new());
    texts.append_value([Some("ab"), None, Some("")]);
    let fields = vec![(
        Arc::new(arrow_schema::Field::new(
            "a",
            arrow_schema::DataType::Int64,
            true,
        )),
        array(Int64Array::from(vec![1])),
    )];
    vec![
        (array(words), "'abc'"),
        (array(runs), "42"),
        (array(decimals), "-0.00125"),
        (array(negative), "120"),
        (
            array(Int64Array::from(vec![i64::MIN])),
            "-9223372036854775808",
        ),
        (array(UInt8Array::from(vec![200])), "200"),
        (array(Float64Array::from(vec![f64::NAN])), "'NaN'::float8"),
        (
            array(Float64Array::from(vec![f64::NEG_INFINITY])),
            "'-Infinity'::float8",
        ),
        (
            array(Float16Array::from(vec![half::f16::from_f32(0.5)])),
            "0.5::real",
        ),
        (array(LargeStringArray::from(vec![""])), "''"),
        (array(StringViewArray::from(vec![" "])), "' '"),
        (array(StringArray::from(vec!["101"])), "'101'"),
        (array(StringArray::from(vec!["{1,2}"])), "'{1,2}'"),
        (array(StringArray::from(vec!["2024-02-29"])), "'2024-02-29'"),
        (
            array(FixedSizeBinaryArray::from(vec![&[0xab_u8; 16]])),
            "'\\xabababababababababababababababab'::bytea",
        ),
        (
            array(Date64Array::from(vec![86_400_000])),
            "DATE '1970-01-02'",
        ),
        (
            array(Time32SecondArray::from(vec![86_399])),
            "TIME '23:59:59'",
        ),
        (
            array(TimestampSecondArray::from(vec![1]).with_timezone("UTC")),
            "TIMESTAMPTZ '1970-01-01 00:00:01+00'",
        ),
        (
            array(TimestampMillisecondArray::from(vec![-1])),
            "TIMESTAMP '1969-12-31 23:59:59.999'",
        ),
        (
            array(IntervalYearMonthArray::from(vec![14])),
            "INTERVAL '14 months'",
        ),
        (
            array(DurationSecondArray::from(vec![-90_000])),
            "INTERVAL '-25 hours'",
        ),
        (
            list(vec![Some(1), None, Some(40)]),
            "'{1,NULL,40}'::bigint[]",
        ),
        (list(vec![]), "'{}'::bigint[]"),
        (list(vec![Some(-3)]), "'{-3}'::bigint[]"),
        (array(texts.finish()), "'{ab,NULL,\"\"}'::text[]"),
        (array(StructArray::from(fields)), "'{\"a\": 1}'"),
    ]
}

/// The server's own reading of the value's text as the column's type is what arrives, if anything does; and text is never cut.
#[tokio::test(flavor = "multi_thread")]
async fn rare_pairs_arrive_as_the_server_reads_them_or_are_refused_by_name() {
    let Some(database) = database("rare_pairs").await else {
        return;
    };
    database
        .run(
            "CREATE TYPE mood AS ENUM ('happy', 'abc'); CREATE DOMAIN positive AS integer CHECK (VALUE > 0); CREATE TYPE pair AS (a int, b text);
             CREATE DOMAIN short AS varchar(3) CHECK (VALUE <> ''); CREATE DOMAIN small_list AS integer[] CHECK (cardinality(VALUE) < 3)",
        )
        .await;
    let client = database.client().await;
    client
        .batch_execute("SET timezone = 'UTC'")
        .await
        .expect("set");
    let (loader, mut arrived, mut refused) = (database.loader().await, Vec::new(), 0);
    for column in RARE.into_iter().chain(COLUMNS) {
        database
            .run(&format!(
                "DROP TABLE IF EXISTS t; CREATE TABLE t (v {column})"
            ))
            .await;
        for (value, sql) in rare_values() {
            let what = format!("{} {sql} into {column}", value.data_type());
            let rows = batch(vec![("v", value.clone())]);
            match load(&loader, &spec("t", Mode::Append), &input(&[rows])).await {
                Ok(_) => {
                    arrived.push(what.clone());
                    let document = column.starts_with("json")
                        && column != "jsonb[]"
                        && value.data_type().is_nested();
                    let same = match column {
                        _ if document && value.data_type().is_list() => {
                            format!("v::jsonb = to_jsonb({sql})")
                        }
                        _ if document => format!("v::jsonb = {sql}::jsonb"),
                        "uuid" => "v = 'abababab-abab-abab-abab-abababababab'".into(),
                        "jsonb[]" => format!(
                            "v::text = array(SELECT to_jsonb(x) FROM unnest({sql}) AS x)::text"
                        ),
                        _ => format!(
                            "v::text IS NOT DISTINCT FROM ({sql})::text::{column}::text AND octet_length(v::text) >= octet_length(rtrim(({sql})::text))"
                        ),
                    };
                    let floats = ["real", "double precision"];
                    let same = if floats.contains(&column) {
                        format!("v::float8 = ({sql})::text::float8")
                    } else {
                        same
                    };
                    let numbers = ["numeric", "numeric(3)", "numeric(6,2)", "numeric(3,5)"];
                    let same = if numbers.contains(&column) {
                        format!("v::text::numeric = ({sql})::text::numeric")
                    } else {
                        same
                    };
                    let rows = client
                        .query(&format!("SELECT {same}, v::text FROM t"), &[])
                        .await;
                    let rows = rows.unwrap_or_else(|error| panic!("{what}: {error:?}"));
                    assert!(
                        rows.len() == 1 && rows[0].get::<_, bool>(0),
                        "{what}: it arrived as {:?}",
                        rows[0].get::<_, String>(1)
                    );
                }
                Err(error) => {
                    refused += 1;
                    let named = error.get("column") == Some("v") || error.row() == Some(0);
                    assert!(
                        matches!(
                            error.kind(),
                            ErrorKind::UnsupportedType | ErrorKind::InvalidData
                        ) && named,
                        "{what}: {error:?}"
                    );
                    assert!(
                        !format!("{error}").contains("incorrect binary data format"),
                        "{what}: {error}"
                    );
                }
            }
            database.run("TRUNCATE t").await;
        }
    }
    assert!(
        arrived.len() >= 60 && refused > 1000,
        "{refused} were refused, and these arrived: {arrived:#?}"
    );
}
