//! Tables that are made and appended to: what PyIceberg and DuckDB read, and what stands in their metadata.

use std::sync::Arc;

use arrow_array::types::{Decimal128Type, Int64Type};
use arrow_array::{
    ArrayRef, Date32Array, Decimal128Array, Float64Array, Int64Array, PrimitiveArray, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use arrowload_core::ErrorKind;
use arrowload_testkit::canonical_rows;
use serde_json::json;

use crate::support::{Warehouse, available, batch, rows};

fn sorted(batch: &RecordBatch) -> Vec<String> {
    let mut rows = canonical_rows(batch);
    rows.sort();
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn one_load_is_one_snapshot_that_says_what_it_is() {
    if !available() {
        return;
    }
    let house = Warehouse::new();
    let report = house
        .run("events", &rows(0..10), json!({"load_id": "first"}))
        .await
        .expect("the first load");
    assert_eq!(report.rows, 10);
    house
        .run("events", &rows(10..15), json!({}))
        .await
        .expect("the second load");
    let read = house.read("events").expect("a table");
    assert_eq!(sorted(&read), sorted(&rows(0..15)));
    let said = house.ask(
        "events",
        "[[s.summary.operation.value, s.summary.additional_properties.get('arrowload.load-id'), \
           s.summary.additional_properties['total-records'], s.parent_snapshot_id is not None] \
          for s in snapshots]",
    );
    assert_eq!(said[0], json!(["append", "first", "10", false]));
    assert_eq!(said[1][0], json!("append"));
    assert_eq!(said[1][2], json!("15"));
    assert_eq!(said[1][3], json!(true));
    // The same load again writes nothing.
    let again = house
        .run("events", &rows(0..10), json!({"load_id": "first"}))
        .await
        .expect("the first load, again");
    assert!(again.already_loaded);
    let snapshots = house.ask("events", "len(table.metadata.snapshots)");
    assert_eq!(snapshots, json!(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn duckdb_reads_what_is_written() {
    if !available() {
        return;
    }
    let house = Warehouse::new();
    house
        .run("events", &rows(0..100), json!({}))
        .await
        .expect("a load");
    // DuckDB's extension is not to be had everywhere: the files that the snapshot names are read by DuckDB itself.
    let count = house.script(
        "import duckdb\n\
         table = catalog.load_table(('default', sys.argv[2]))\n\
         files = [task.file.file_path.removeprefix('file://') for task in table.scan().plan_files()]\n\
         print(json.dumps(duckdb.execute('SELECT count(*), count(name), sum(id) FROM read_parquet(?)', [files]).fetchall()))",
        &["events"],
    );
    assert_eq!(count, json!([[100, 66, 4950]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_let_other_engines_skip_files() {
    if !available() {
        return;
    }
    let house = Warehouse::new();
    let decimal: PrimitiveArray<Decimal128Type> =
        Decimal128Array::from(vec![Some(-12_345), None, Some(99)])
            .with_precision_and_scale(12, 2)
            .expect("it fits");
    let wide = Decimal128Array::from(vec![-1, 0, 12_345_678_901_234_567_890_i128])
        .with_precision_and_scale(38, 3)
        .expect("it fits");
    let columns: [(&str, ArrayRef); 7] = [
        ("id", Arc::new(Int64Array::from(vec![3, 1, 2]))),
        ("name", Arc::new(StringArray::from(vec!["b", "a", "c"]))),
        ("day", Arc::new(Date32Array::from(vec![-1, 0, 1]))),
        ("price", Arc::new(decimal)),
        ("wide", Arc::new(wide)),
        ("x", Arc::new(Float64Array::from(vec![1.5, f64::NAN, -2.5]))),
        ("y", Arc::new(Float64Array::from(vec![1.5, 0.0, -2.5]))),
    ];
    house
        .run("m", &batch(columns), json!({}))
        .await
        .expect("a load");
    let metrics = house.ask(
        "m",
        "(lambda f: [f['record_count'], f['split_offsets'], \
           {k: [v['lower_bound'], v['upper_bound'], v['null_value_count'], v['nan_value_count'], v['value_count']] \
            for k, v in f['readable_metrics'].items()}])(table.inspect.files().to_pylist()[0])",
    );
    assert_eq!(metrics[0], json!(3));
    assert_eq!(metrics[1], json!([4]));
    let of = &metrics[2];
    assert_eq!(of["id"], json!([1, 3, 0, null, 3]));
    assert_eq!(of["name"], json!(["a", "c", 0, null, 3]));
    assert_eq!(of["day"], json!(["1969-12-31", "1970-01-02", 0, null, 3]));
    assert_eq!(of["price"], json!(["-123.45", "0.99", 1, null, 3]));
    assert_eq!(
        of["wide"],
        json!(["-0.001", "12345678901234567.890", 0, null, 3])
    );
    assert_eq!(of["x"], json!([-2.5, 1.5, 0, null, 3]));
    assert_eq!(of["y"], json!([-2.5, 1.5, 0, 0, 3]));
    let skipped = house.ask(
        "m",
        "[len(list(table.scan(row_filter=f).plan_files())) for f in ('id > 3', 'id > 2', \"name < 'a'\", \"day > '1970-01-02'\")]",
    );
    assert_eq!(skipped, json!([0, 1, 0, 0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_transform_parts_the_rows_as_other_engines_read_them() {
    if !available() {
        return;
    }
    let house = Warehouse::new();
    let ids = -40..200_i64;
    let hour = 3_600_000_000_i64;
    let columns = || -> [(&str, ArrayRef); 5] {
        [
            ("id", Arc::new(Int64Array::from_iter_values(ids.clone()))),
            (
                "ts",
                Arc::new(TimestampMicrosecondArray::from_iter(
                    ids.clone()
                        .map(|id| (id % 7 != 0).then_some(id * 9 * hour - 1)),
                )),
            ),
            (
                "day",
                Arc::new(Date32Array::from_iter_values(
                    ids.clone().map(|id| id as i32 * 11),
                )),
            ),
            (
                "name",
                Arc::new(StringArray::from_iter(ids.clone().map(|id| match id % 6 {
                    0 => None,
                    1 => Some(String::new()),
                    2 => Some("null".to_owned()),
                    3 => Some("a/b c%20=é~".to_owned()),
                    4 => Some("_hidden".to_owned()),
                    _ => Some(format!("n{}", id % 5)),
                }))),
            ),
            (
                "price",
                Arc::new(
                    Decimal128Array::from_iter_values(ids.clone().map(i128::from))
                        .with_precision_and_scale(10, 2)
                        .expect("it fits"),
                ),
            ),
        ]
    };
    let all = batch(columns());
    for (index, by) in [
        "id",
        "name",
        "day",
        "price",
        "year(ts)",
        "month(ts)",
        "day(ts)",
        "hour(ts)",
        "year(day)",
        "month(day)",
        "bucket(7, id)",
        "bucket(5, name)",
        "bucket(3, ts)",
        "bucket(4, price)",
        "truncate(10, id)",
        "truncate(2, name)",
        "truncate(50, price)",
        "void(name)",
    ]
    .iter()
    .enumerate()
    {
        let table = format!("t{index}");
        let options = json!({"partition_by": [by], "max_open_files": 5});
        house.run(&table, &all, options).await.expect(by);
        let read = house.read(&table).expect("a table");
        assert_eq!(sorted(&read), sorted(&all), "{by}");
    }
    // PyIceberg computes the same partitions: of each row that it finds by a filter on the source, none is missing.
    let said = house.script(
        "whole = catalog.load_table(('default', 't17'))\n\
         def found(i, f): return catalog.load_table(('default', 't%d' % i)).scan(row_filter=f).to_arrow().num_rows\n\
         def right(i, f): return found(i, f) > 0 and found(i, f) == whole.scan(row_filter=f).to_arrow().num_rows\n\
         asked = ((1, [\"name == ''\", \"name == 'null'\", 'name is null', \"name == 'a/b c%20=é~'\", \"name == '_hidden'\"]),\n\
                  (10, ['id == -40', 'id == 3']), (11, [\"name == 'n1'\", \"name == ''\"]), (14, ['id == -1', 'id < -30']),\n\
                  (15, [\"name == '_hidden'\"]), (4, [\"ts < '1970-01-01T00:00:00'\"]), (8, [\"day < '1970-01-01'\"]),\n\
                  (13, ['price == 0.03']), (16, ['price == -0.40']))\n\
         out = [[i, f, right(i, f)] for i, filters in asked for f in filters]\n\
         print(json.dumps(out))",
        &[],
    );
    for row in said.as_array().expect("an array") {
        assert_eq!(row[2], json!(true), "{row}");
    }
    let spec = house.ask(
        "t10",
        "[str(table.spec().fields[0].transform), table.spec().fields[0].name, \
          sorted({p['partition']['id_bucket'] for p in table.inspect.partitions().to_pylist()})]",
    );
    assert_eq!(
        spec,
        json!(["bucket[7]", "id_bucket", [0, 1, 2, 3, 4, 5, 6]])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn format_versions_and_orders_are_those_asked_for() {
    if !available() {
        return;
    }
    let house = Warehouse::new();
    for version in [1, 2, 3] {
        let table = format!("v{version}");
        for part in 0..2_i64 {
            let options = match part {
                0 => {
                    json!({"format_version": version, "sort_by": ["id desc", "bucket(4, id) nulls last"]})
                }
                _ => json!({}),
            };
            let rows = rows(part * 10..part * 10 + 10);
            house.run(&table, &rows, options).await.expect(&table);
        }
        let said = house.ask(
            &table,
            "[table.format_version, len(rows), [str(f) for f in table.sort_order().fields]]",
        );
        assert_eq!(said[0], json!(version));
        assert_eq!(said[1], json!(20));
        assert_eq!(
            said[2],
            json!(["1 DESC NULLS LAST", "bucket[4](1) ASC NULLS LAST"])
        );
    }
    let options = json!({"partition_by": ["id"]});
    let error = house.refused("v2", &rows(0..1), options).await;
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
    let options = json!({"format_version": 3});
    let error = house.refused("v2", &rows(0..1), options).await;
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_added_and_widened_by_the_commit_that_needs_them() {
    if !available() {
        return;
    }
    let house = Warehouse::new();
    let narrow = batch([
        (
            "id",
            Arc::new(arrow_array::Int32Array::from(vec![1])) as ArrayRef,
        ),
        ("x", Arc::new(arrow_array::Float32Array::from(vec![0.5]))),
    ]);
    house.run("e", &narrow, json!({})).await.expect("a load");
    let wide = batch([
        (
            "id",
            Arc::new(Int64Array::from(vec![1_i64 << 40])) as ArrayRef,
        ),
        ("x", Arc::new(Float64Array::from(vec![0.1]))),
        ("new", Arc::new(StringArray::from(vec!["n"]))),
    ]);
    let error = house.refused("e", &wide, json!({})).await;
    assert_eq!(error.kind(), ErrorKind::SchemaMismatch);
    house
        .run("e", &wide, json!({"schema_evolution": true}))
        .await
        .expect("an evolving load");
    let said = house.ask(
        "e",
        "[rows, [[f.field_id, f.name, str(f.field_type)] for f in table.schema().fields], len(table.metadata.snapshots)]",
    );
    assert_eq!(
        said,
        json!([
            [{"id": 1, "x": 0.5, "new": null}, {"id": 1_i64 << 40, "x": 0.1, "new": "n"}],
            [[1, "id", "long"], [2, "x", "double"], [3, "new", "string"]],
            2
        ])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_pyiceberg_are_appended_to() {
    if !available() {
        return;
    }
    let house = Warehouse::new();
    house.script(
        "catalog.create_namespace('default')\n\
         from pyiceberg.partitioning import PartitionSpec, PartitionField\n\
         from pyiceberg.transforms import BucketTransform\n\
         from pyiceberg.schema import Schema\n\
         from pyiceberg.types import NestedField, LongType, StringType\n\
         schema = Schema(NestedField(7, 'id', LongType(), required=False), NestedField(9, 'name', StringType(), required=False))\n\
         spec = PartitionSpec(PartitionField(7, 1000, BucketTransform(3), 'shard'))\n\
         table = catalog.create_table(('default', 'theirs'), schema, partition_spec=spec)\n\
         table.append(pa.table({'id': [1, 2, 3], 'name': ['a', None, 'c']}))\n\
         with table.update_spec() as update: update.add_identity('name')\n\
         print(json.dumps(1))",
        &[],
    );
    house
        .run("theirs", &rows(10..30), json!({}))
        .await
        .expect("an append");
    let said = house.ask(
        "theirs",
        "[len(rows), sum(row['id'] for row in rows), len(table.specs()), \
          sorted({f['spec_id'] for f in table.inspect.files().to_pylist()}), \
          table.scan(row_filter='id == 17').to_arrow().num_rows]",
    );
    assert_eq!(said, json!([23, 396, 2, [0, 1], 1]));
    let ids = house.read("theirs").expect("a table");
    let ids = ids.column_by_name("id").expect("a column");
    let ids = arrow_array::cast::AsArray::as_primitive::<Int64Type>(ids.as_ref());
    assert_eq!(ids.len(), 23);
}
