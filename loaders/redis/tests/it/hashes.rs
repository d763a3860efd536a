//! Hashes, read back by `redis-cli`.

use arrowload_core::Mode;
use serde_json::json;

use crate::support::{Database, integers, table, texts};

#[tokio::test(flavor = "multi_thread")]
async fn rows_become_hashes_by_their_keys() {
    let Some(database) = Database::new() else {
        return;
    };
    let batch = table(vec![
        ("id", integers([1, 2])),
        ("name", texts([Some("Ada\u{e9}"), None])),
    ]);
    let options = json!({ "data_structure": "hash", "key_pattern": "{table}:{id}", "ttl": 3600 });
    let report = database
        .load("people", Mode::Append, options, &batch)
        .await
        .expect("loaded");
    assert_eq!(report.rows, 2);
    assert_eq!(database.keys(), ["people:1", "people:2"]);
    assert_eq!(database.hash("people:1"), ["id=1", "name=Ada\u{e9}"]);
    assert_eq!(database.hash("people:2"), ["id=2"]);
    let ttl: i64 = database.cli(&["TTL", "people:1"]).parse().expect("seconds");
    assert!((3590..=3600).contains(&ttl), "{ttl}");
}
