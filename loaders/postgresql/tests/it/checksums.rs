//! `verify = checksum`: what the table holds is proved before the commit, in every type, and what was changed is found.

use std::sync::Arc;

use arrow_array::*;
use arrowload_core::{ErrorKind, plan_load};
use arrowload_testkit::type_cases;
use serde_json::json;

use crate::server::database;
use crate::support::{batch, input, people, with};

fn array(array: impl Array + 'static) -> ArrayRef {
    Arc::new(array)
}

/// Types whose new columns hold their values in another form: documents, and intervals for durations.
const UNPROVED: [&str; 10] = [
    "Duration(s)",
    "Duration(ms)",
    "Duration(µs)",
    "List(List(Int32))",
    "Struct",
    "Struct(Struct, List)",
    "List(Struct)",
    "Map(Utf8, Int64)",
    "Union(dense)",
    "Union(sparse)",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_proved_or_listed() {
    let Some(database) = database("proved").await else {
        return;
    };
    let (mut proved, mut unproved) = (0, Vec::new());
    for (index, case) in type_cases().into_iter().enumerate() {
        let schema = Arc::new(arrow_schema::Schema::new(vec![case.field.clone()]));
        let rows = RecordBatch::try_new(schema, vec![case.values.clone()]).expect("a batch");
        let spec = with(&format!("t{index}"), json!({ "verify": "checksum" }));
        match database.try_load(&spec, &rows).await {
            Ok(report) if report.unproved.is_empty() => {
                proved += 1;
                assert_eq!(
                    report.checksums.expect("checksums").len(),
                    1,
                    "{}",
                    case.name
                );
            }
            Ok(report) => {
                assert_eq!(report.unproved, [case.field.name().as_str()]);
                assert_eq!(report.checksums, Some(Vec::new()), "{}", case.name);
                unproved.push(case.name);
            }
            // A value that no column of the type can hold.
            Err(error) => assert_eq!(
                error.kind(),
                ErrorKind::InvalidData,
                "{}: {error}",
                case.name
            ),
        }
    }
    assert_eq!(unproved, UNPROVED);
    assert!(proved > 45, "{proved} types were proved");
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_hold_another_form_are_listed() {
    let Some(database) = database("forms").await else {
        return;
    };
    database
        .run(
            "CREATE TYPE mood AS ENUM ('a', 'b'); CREATE TABLE t (j jsonb, c char(5), u uuid, ip inet, net cidr, n numeric, f double precision, \
             docs jsonb[], m mood, d date, ts timestamp, l numeric(8,2)[], doc json, i numeric(20)); INSERT INTO t DEFAULT VALUES",
        )
        .await;
    let mut lists = builder::ListBuilder::new(
        builder::Decimal128Builder::new()
            .with_precision_and_scale(6, 1)
            .expect("a scale"),
    );
    lists.append_value([Some(15), None]);
    lists.append_null();
    let mut docs = builder::ListBuilder::new(builder::StringBuilder::new());
    docs.append_value([Some(r#"{"b":1.0,"a":[]}"#), None]);
    docs.append_value([] as [Option<&str>; 0]);
    let text = |one: &str| array(StringArray::from(vec![Some(one), None]));
    let seconds = array(TimestampSecondArray::from(vec![Some(86_400), None]));
    let rows = batch(vec![
        ("j", text(r#"{"z":1e2,"a":"\u00e9","z":-0.50}"#)),
        ("c", text("ab")),
        ("u", text("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11")),
        ("ip", text("::1/64")),
        ("net", text("10.0.0.0/8")),
        ("n", array(Float64Array::from(vec![Some(0.1), Some(1e300)]))),
        ("f", array(Int64Array::from(vec![Some(1 << 40), None]))),
        ("docs", array(docs.finish())),
        ("m", text("b")),
        ("d", seconds),
        ("ts", array(Date32Array::from(vec![Some(-1), None]))),
        ("l", array(lists.finish())),
        ("doc", text(r#"{"z":1e2,"z":2}"#)),
        ("i", array(UInt64Array::from(vec![Some(u64::MAX), None]))),
    ]);
    let other_form = ["j", "c", "u", "ip", "net", "n", "f", "docs"];
    let loader = database.loader().await;
    for mode in ["append", "overwrite"] {
        let spec = with("t", json!({ "verify": "checksum", "mode": mode }));
        let plan = plan_load(&loader, &spec, &input(std::slice::from_ref(&rows))).await;
        let plan = plan.expect("planned");
        let unproved = plan
            .columns
            .iter()
            .filter(|column| column.unproved.is_some());
        let unproved: Vec<_> = unproved.map(|column| column.name.as_str()).collect();
        assert_eq!(unproved, other_form);
        assert!(
            plan.to_string()
                .contains("jsonb keeps its values in another form"),
            "{plan}"
        );
        let report = database.load(&spec, &rows).await;
        assert_eq!(report.unproved, other_form);
        let proved = report.checksums.expect("checksums");
        let proved: Vec<_> = proved.iter().map(|sum| sum.column.as_str()).collect();
        assert_eq!(proved, ["m", "d", "ts", "l", "doc", "i"]);
    }
    // What an option lets the table change.
    database
        .run("CREATE TABLE r (n numeric(5,1), t time(0), s text, kept numeric(40,15))")
        .await;
    let changed = json!({ "verify": "checksum", "round_decimals": true, "truncate_times": true, "replace_nul": "?" });
    let rows = batch(vec![
        ("n", array(Float64Array::from(vec![0.25]))),
        ("t", array(Time64MicrosecondArray::from(vec![1_500_000]))),
        ("s", array(StringArray::from(vec!["a\0b"]))),
        ("kept", array(Int64Array::from(vec![7]))),
    ]);
    let report = database.load(&with("r", changed), &rows).await;
    assert_eq!(report.unproved, ["n", "t", "s"]);
    // Without the wish for a proof nothing is unproved.
    let report = database
        .load(
            &with(
                "r",
                json!({ "replace_nul": "?", "round_decimals": true, "truncate_times": true }),
            ),
            &rows,
        )
        .await;
    assert_eq!((report.unproved, report.checksums), (Vec::new(), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_on_the_way_is_found_and_not_published() {
    let Some(database) = database("changed").await else {
        return;
    };
    let columns = [
        ("b", "boolean", "NOT NEW.b"),
        ("i", "bigint", "NEW.i + 1"),
        ("n", "numeric(9,2)", "NEW.n + 0.01"),
        ("s", "text", "NEW.s || ' '"),
        ("j", "json", "'[2]'"),
        ("f", "real", "NEW.f * 2"),
        ("d", "date", "NEW.d + 1"),
        ("u", "uuid", "gen_random_uuid()"),
        ("l", "int[]", "NEW.l || 1"),
        ("o", "text", "NULL"),
    ];
    let list = ListArray::from_iter_primitive::<types::Int32Type, _, _>(vec![Some(vec![Some(1)])]);
    let rows = batch(vec![
        ("b", array(BooleanArray::from(vec![true]))),
        ("i", array(Int64Array::from(vec![1]))),
        ("n", array(Int32Array::from(vec![5]))),
        ("s", array(StringArray::from(vec!["s"]))),
        ("j", array(StringArray::from(vec!["[1]"]))),
        ("f", array(Float32Array::from(vec![3.0]))),
        ("d", array(Date32Array::from(vec![3]))),
        ("u", array(FixedSizeBinaryArray::from(vec![&[7_u8; 16]]))),
        ("l", array(list)),
        ("o", array(StringArray::from(vec!["o"]))),
    ]);
    let list: Vec<String> = columns
        .iter()
        .map(|(name, kind, _)| format!("{name} {kind}"))
        .collect();
    database
        .run(&format!(
            "CREATE TABLE t ({}); CREATE TABLE plain (LIKE t)",
            list.join(", ")
        ))
        .await;
    for (name, _, change) in columns {
        database
            .run(&format!(
                "CREATE OR REPLACE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.{name} = {change}; RETURN NEW; END $$;
                 DROP TRIGGER IF EXISTS change ON t; CREATE TRIGGER change BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION change()"
            ))
            .await;
        for options in [
            json!({ "verify": "checksum" }),
            json!({ "verify": "checksum", "on_error": "skip" }),
        ] {
            let error = database.refused(&with("t", options), &rows).await;
            assert_eq!(error.kind(), ErrorKind::Verification, "{name}: {error}");
            assert!(
                error.message().ends_with(&format!(": {name}"))
                    || error.get("column") == Some(name),
                "{error}"
            );
        }
    }
    assert_eq!(database.rows("SELECT count(*) FROM t").await, ["0"]);
    database
        .load(&with("plain", json!({ "verify": "checksum" })), &rows)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_loads_own_rows_count() {
    let Some(database) = database("own_rows").await else {
        return;
    };
    database.run("CREATE TABLE t (id bigint CHECK (id <> 7), name text, PRIMARY KEY (id)); INSERT INTO t SELECT -i, '{}' FROM generate_series(1, 50) i").await;
    let rows = |ids: std::ops::Range<i64>| {
        let people = people(ids, "");
        let names: StringArray = people
            .column(0)
            .as_any()
            .downcast_ref::<Int64Array>()
            .expect("ids")
            .iter()
            .map(|id| id.map(|id| format!("[{id}]")))
            .collect();
        batch(vec![
            ("id", people.column(0).clone()),
            ("name", array(names)),
        ])
    };
    let folder = tempfile::tempdir().expect("a folder");
    let skip = with(
        "t",
        json!({ "verify": "checksum", "on_error": "skip", "dead_letters": folder.path() }),
    );
    let report = database.load(&skip, &rows(0..10)).await;
    assert_eq!((report.rows, report.rows_rejected), (9, 1));
    let upsert = with(
        "t",
        json!({ "verify": "checksum", "mode": "upsert", "keys": ["id"] }),
    );
    let twice =
        arrow_select::concat::concat_batches(&rows(0..1).schema(), &[rows(20..30), rows(8..25)])
            .expect("one schema");
    let report = database.load(&upsert, &twice).await;
    assert_eq!(
        report.keys.map(|keys| (keys.updated, keys.duplicate)),
        Some((2, 5))
    );
    assert_eq!(database.rows("SELECT count(*) FROM t").await, ["79"]);
}
