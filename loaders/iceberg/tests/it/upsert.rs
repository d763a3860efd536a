//! Upserts: rows replaced by their keys, in tables of ours and of others.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, StringArray};
use arrowload_core::ErrorKind;
use serde_json::{Value, json};

use crate::support::{Warehouse, available, batch, rows};

/// A program that deletes rows of a table, as an engine does that merges on read: those at positions of its only data file, or those
/// with values of its first column.
pub(crate) const DELETE_ROWS: &str = "
import time, uuid
import pyiceberg.manifest as pm
from pyiceberg.table.snapshots import Operation, Snapshot, Summary
from pyiceberg.table.update import AddSnapshotUpdate, SetSnapshotRefUpdate, AssertRefSnapshotId
from pyiceberg.typedef import Record
table = catalog.load_table(('default', sys.argv[2]))
by_position, values = sys.argv[3] == 'positions', json.loads(sys.argv[4])
def column(name, kind, id): return pa.field(name, kind, False, {'PARQUET:field_id': str(id)})
if by_position:
    data = [task.file.file_path for task in table.scan().plan_files()][0]
    schema = pa.schema([column('file_path', pa.string(), 2147483546), column('pos', pa.int64(), 2147483545)])
    rows = pa.table({'file_path': [data] * len(values), 'pos': values}, schema=schema)
else:
    rows = pa.table({'id': values}, schema=pa.schema([column('id', pa.int64(), 1)]))
path = table.location() + '/data/deletes-%s.parquet' % uuid.uuid4()
pq.write_table(rows, path.removeprefix('file://'))
content = pm.DataFileContent.POSITION_DELETES if by_position else pm.DataFileContent.EQUALITY_DELETES
delete = pm.DataFile.from_args(content=content, file_path=path, file_format=pm.FileFormat.PARQUET, partition=Record(),
    record_count=len(values), file_size_in_bytes=os.path.getsize(path.removeprefix('file://')),
    equality_ids=None if by_position else [1])
delete.spec_id = table.spec().spec_id
class Deletes(pm.ManifestWriterV2):
    def content(self): return pm.ManifestContent.DELETES
    @property
    def _meta(self): return {**super()._meta, 'content': 'deletes'}
current, id = table.current_snapshot(), uuid.uuid4().int >> 66
manifest = table.io.new_output(table.location() + '/metadata/%s-m0.avro' % uuid.uuid4())
with Deletes(table.spec(), table.schema(), manifest, id, 'null') as writer:
    writer.add_entry(pm.ManifestEntry.from_args(status=pm.ManifestEntryStatus.ADDED, snapshot_id=id, data_file=delete))
manifests = [writer.to_manifest_file()] + current.manifests(table.io)
sequence, path = table.metadata.last_sequence_number + 1, table.location() + '/metadata/snap-%d.avro' % id
with pm.write_manifest_list(2, table.io.new_output(path), id, current.snapshot_id, sequence, 'null') as list_writer:
    list_writer.add_manifests(manifests)
snapshot = Snapshot(snapshot_id=id, parent_snapshot_id=current.snapshot_id, sequence_number=sequence,
    timestamp_ms=int(time.time() * 1000), manifest_list=path, summary=Summary(Operation.DELETE), schema_id=table.schema().schema_id)
catalog.commit_table(table, (AssertRefSnapshotId(snapshot_id=current.snapshot_id, ref='main'),),
    (AddSnapshotUpdate(snapshot=snapshot), SetSnapshotRefUpdate(ref_name='main', type='branch', snapshot_id=id)))
print(json.dumps(1))
";

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_replaced_by_their_keys() {
    if !available() {
        return;
    }
    for version in [1, 2, 3] {
        let house = Warehouse::new();
        let options = json!({"format_version": version});
        house.run("t", &rows(0..10), options).await.expect("a load");
        house
            .run("t", &rows(10..20), json!({}))
            .await
            .expect("a load");
        let load = batch([
            (
                "id",
                Arc::new(Int64Array::from(vec![5, 5, 100])) as ArrayRef,
            ),
            (
                "name",
                Arc::new(StringArray::from(vec!["early", "late", "new"])),
            ),
        ]);
        let options = json!({"mode": "upsert", "keys": ["id"]});
        let report = house.run("t", &load, options).await.expect("an upsert");
        let keys = report.keys.expect("counts");
        assert_eq!((keys.inserted, keys.updated, keys.duplicate), (1, 1, 1));
        assert_eq!(report.details["files_removed"], "1");
        let said = house.ask(
            "t",
            "[len(rows), [row['name'] for row in rows if row['id'] in (5, 100)], \
              table.current_snapshot().summary.operation.value]",
        );
        assert_eq!(
            said,
            json!([21, ["late", "new"], "overwrite"]),
            "version {version}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_the_load_lacks_keep_their_values() {
    if !available() {
        return;
    }
    let house = Warehouse::new();
    house
        .run("t", &rows(0..4), json!({}))
        .await
        .expect("a load");
    let load = batch([("id", Arc::new(Int64Array::from(vec![1, 9])) as ArrayRef)]);
    let options = json!({"mode": "upsert", "keys": ["id"]});
    house.run("t", &load, options).await.expect("an upsert");
    let said = house.ask("t", "rows");
    let row = |id: i64, name: Value| json!({"id": id, "name": name});
    assert_eq!(
        said,
        json!([
            row(0, Value::Null),
            row(1, json!("name 1")),
            row(2, json!("name 2")),
            row(3, Value::Null),
            row(9, Value::Null)
        ])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn partitioned_tables_of_pyiceberg_are_upserted_into() {
    if !available() {
        return;
    }
    let house = Warehouse::new();
    house.script(
        "catalog.create_namespace('default')\n\
         from pyiceberg.transforms import BucketTransform\n\
         table = catalog.create_table(('default', 'theirs'), pa.schema([('id', pa.int64()), ('name', pa.string())]))\n\
         table.append(pa.table({'id': list(range(10)), 'name': ['old'] * 10}))\n\
         with table.update_spec() as update: update.add_field('id', BucketTransform(4), 'shard')\n\
         table.append(pa.table({'id': list(range(10, 20)), 'name': ['old'] * 10}))\n\
         print(json.dumps(1))",
        &[],
    );
    let options = json!({"mode": "upsert", "keys": ["id"]});
    let report = house.run("theirs", &rows(5..25), options).await;
    let keys = report.expect("an upsert").keys.expect("counts");
    assert_eq!((keys.inserted, keys.updated), (5, 15));
    let said = house.ask(
        "theirs",
        "[len(rows), sum(row['name'] == 'old' for row in rows), \
          [table.scan(row_filter='id == %d' % i).to_arrow().num_rows for i in range(25)]]",
    );
    assert_eq!(said, json!([25, 5, vec![1; 25]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_deleted_are_not_met() {
    if !available() {
        return;
    }
    for kind in ["positions", "keys"] {
        let house = Warehouse::new();
        house
            .run("t", &rows(0..10), json!({}))
            .await
            .expect("a load");
        house.script(DELETE_ROWS, &["t", kind, "[2, 3]"]);
        let options = json!({"mode": "upsert", "keys": ["id"]});
        let report = house.run("t", &rows(3..6), options).await;
        let keys = report.expect("an upsert").keys.expect("counts");
        assert_eq!((keys.inserted, keys.updated), (1, 2), "{kind}");
        if kind == "positions" {
            // PyIceberg does not read equality deletes.
            let ids = house.ask("t", "sorted(row['id'] for row in rows)");
            assert_eq!(ids, json!([0, 1, 3, 4, 5, 6, 7, 8, 9]));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_merges_on_read_gets_position_deletes() {
    if !available() {
        return;
    }
    let house = Warehouse::new();
    let options = json!({
        "properties": {"write.merge.mode": "merge-on-read"}, "partition_by": ["truncate(10, id)"],
    });
    house.run("t", &rows(0..30), options).await.expect("a load");
    let upsert = || json!({"mode": "upsert", "keys": ["id"]});
    let report = house
        .run("t", &rows(5..15), upsert())
        .await
        .expect("an upsert");
    let keys = report.keys.expect("counts");
    assert_eq!((keys.inserted, keys.updated), (0, 10));
    assert_eq!(report.details["files_removed"], "0");
    let ask = || {
        house.ask(
            "t",
            "[sorted(row['id'] for row in rows), len(table.inspect.delete_files().to_pylist()), \
              table.current_snapshot().summary.additional_properties.get('total-position-deletes'), \
              table.scan(row_filter='id == 7').to_arrow().num_rows]",
        )
    };
    let all: Vec<i64> = (0..30).collect();
    assert_eq!(ask(), json!([all, 2, "10", 1]));
    // What is deleted is not met again: rows that were replaced are one each.
    let report = house
        .run("t", &rows(5..25), upsert())
        .await
        .expect("an upsert");
    let keys = report.keys.expect("counts");
    assert_eq!((keys.inserted, keys.updated), (0, 20));
    assert_eq!(ask()[0], json!(all));
    assert_eq!(house.ask("t", "len(rows)"), json!(30));
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_before_anything_is_changed() {
    if !available() {
        return;
    }
    let house = Warehouse::new();
    house
        .run("t", &rows(0..10), json!({}))
        .await
        .expect("a load");
    let options = json!({"mode": "upsert", "keys": ["id"], "max_updates": 2});
    let error = house.run("t", &rows(0..5), options).await;
    let error = error.expect_err("too many");
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert_eq!(house.ask("t", "len(table.metadata.snapshots)"), json!(1));
}
