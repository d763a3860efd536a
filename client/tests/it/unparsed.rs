//! Rows of files that cannot be parsed: set aside beside a load, and loaded again.

use arrowload::core::memory::read_table;
use arrowload::{ErrorKind, OnError};
use serde_json::{Map, json};

use crate::client;

#[tokio::test]
async fn rows_that_cannot_be_parsed_are_set_aside_and_read_again_with_other_options() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows = "id;zip\n1;02134\n2\n3;90210\n";
    std::fs::write(folder.path().join("zips.csv"), rows).expect("written");
    let client = client(folder.path()).await;
    let letters = folder.path().join("letters").display().to_string();
    let load = |sql: &str, target: &str| {
        client
            .sql(sql)
            .load("memory", target)
            .on_error(OnError::Skip)
            .option("dead_letters", letters.as_str())
    };
    let whole = load("SELECT * FROM 'zips.csv'", "unparsed_zips");
    let report = whole.await.expect("two rows");
    let counts = (report.rows, report.rows_read, report.rows_unparsed);
    assert_eq!(counts, (2, 2, 1));
    assert_eq!(report.dead_letters, None);
    let file = report.unparsed.expect("a file");

    let again = client.replay(&file).expect("a dead-letter file").await;
    let again = again.expect_err("too short still");
    let kinds = [ErrorKind::InvalidData, ErrorKind::InvalidOption];
    assert!(kinds.contains(&again.kind()), "{again:#}");
    let read = Map::from_iter([("ragged".to_owned(), json!("pad"))]);
    let padded = client
        .replay_reading(&file, read)
        .expect("a dead-letter file");
    assert_eq!(padded.await.expect("loaded").rows, 1);
    let table = read_table("default", "unparsed_zips").expect("a table");
    let shown = arrow_cast::pretty::pretty_format_batches(&[table]).expect("shown");
    for row in ["| 1  | 02134 |", "| 2  |       |", "| 3  | 90210 |"] {
        assert!(shown.to_string().contains(row), "{shown}");
    }

    // Of a query that does more, a row is not what its line says.
    let some = load("SELECT id + 1 AS id FROM 'zips.csv'", "unparsed_sums");
    let file = some.await.expect("two rows").unparsed.expect("a file");
    let again = client.replay(&file).expect("a dead-letter file").await;
    let again = again.expect_err("not what the query answers");
    assert_eq!(again.kind(), ErrorKind::Unsupported, "{again:#}");
}
