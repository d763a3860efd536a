//! Overwrites: of the whole table, of partitions, of what a predicate finds.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, StringArray};
use arrowload_core::ErrorKind;
use serde_json::json;

use crate::support::{Warehouse, available, batch, rows};

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_table_is_replaced_in_one_snapshot() {
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
        let report = house
            .run("t", &rows(100..103), json!({"mode": "overwrite"}))
            .await
            .expect("an overwrite");
        assert_eq!(report.details["files_removed"], "2");
        let said = house.ask(
            "t",
            "[[row['id'] for row in rows], [s.summary.operation.value for s in snapshots], \
              table.current_snapshot().summary.additional_properties['total-records'], \
              table.current_snapshot().summary.additional_properties['deleted-records'], \
              table.scan(snapshot_id=snapshots[1].snapshot_id).to_arrow().num_rows]",
        );
        assert_eq!(
            said,
            json!([
                [100, 101, 102],
                ["append", "append", "overwrite"],
                "3",
                "20",
                20
            ]),
            "version {version}"
        );
        // Nothing is left of it for the next load to trip over.
        house
            .run("t", &rows(103..105), json!({}))
            .await
            .expect("a load");
        assert_eq!(house.ask("t", "len(rows)"), json!(5), "version {version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_the_load_has_rows_for_are_replaced() {
    if !available() {
        return;
    }
    let house = Warehouse::new();
    let rows = |names: Vec<Option<&str>>, ids: Vec<i64>| {
        batch([
            ("id", Arc::new(Int64Array::from(ids)) as ArrayRef),
            ("name", Arc::new(StringArray::from(names))),
        ])
    };
    let first = rows(
        vec![Some("a"), Some("b"), None, Some("a")],
        vec![1, 2, 3, 4],
    );
    let options = json!({"partition_by": ["name"]});
    house.run("t", &first, options).await.expect("a load");
    let second = rows(vec![Some("a"), None], vec![10, 11]);
    let options = json!({"mode": "overwrite", "overwrite_partitions": true});
    house
        .run("t", &second, options)
        .await
        .expect("an overwrite");
    let said = house.ask("t", "sorted([row['id'], row['name']] for row in rows)");
    assert_eq!(said, json!([[2, "b"], [10, "a"], [11, null]]));
    let options = json!({"mode": "overwrite", "overwrite_partitions": true});
    let table = house.run("u", &first, json!({})).await;
    table.expect("a load");
    let error = house.refused("u", &first, options).await;
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_predicate_finds_are_replaced() {
    if !available() {
        return;
    }
    let house = Warehouse::new();
    house
        .run("t", &rows(0..10), json!({}))
        .await
        .expect("a load");
    house
        .run("t", &rows(10..20), json!({}))
        .await
        .expect("a load");
    let options = json!({"mode": "overwrite", "replace_where": "id >= 5 AND id < 10"});
    let report = house.run("t", &rows(7..9), options.clone()).await;
    let report = report.expect("an overwrite");
    assert_eq!(report.rows, 2);
    assert_eq!(report.details["files_removed"], "1");
    let ids = house.ask("t", "sorted(row['id'] for row in rows)");
    let expected: Vec<i64> = (0..5).chain(7..9).chain(10..20).collect();
    assert_eq!(ids, json!(expected));
    let error = house.run("t", &rows(9..12), options).await;
    let error = error.expect_err("a row that does not fulfil it");
    assert_eq!(
        (error.kind(), error.row()),
        (ErrorKind::InvalidData, Some(1))
    );
    let options = json!({"mode": "overwrite", "replace_where": "nothing > 3"});
    let error = house.refused("t", &rows(0..1), options).await;
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_of_other_engines_are_respected() {
    if !available() {
        return;
    }
    let house = Warehouse::new();
    house
        .run("t", &rows(0..10), json!({}))
        .await
        .expect("a load");
    house.script(crate::upsert::DELETE_ROWS, &["t", "positions", "[2, 3]"]);
    assert_eq!(house.ask("t", "len(rows)"), json!(8));
    let options = json!({"mode": "overwrite", "replace_where": "id < 2"});
    house
        .run("t", &rows(1..2), options)
        .await
        .expect("an overwrite");
    let ids = house.ask("t", "sorted(row['id'] for row in rows)");
    assert_eq!(ids, json!([1, 4, 5, 6, 7, 8, 9]));
    house
        .run("t", &rows(50..52), json!({"mode": "overwrite"}))
        .await
        .expect("an overwrite of everything");
    let said = house.ask(
        "t",
        "[len(rows), len(table.inspect.delete_files().to_pylist())]",
    );
    assert_eq!(said, json!([2, 0]));
}
