//! Rows are set aside exactly as the server would refuse them one by one.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrowload_core::{Mode, read_dead_letters};
use futures::TryStreamExt;
use serde_json::json;

use crate::server::database;
use crate::support::{batch, spec, with};

/// A generator of its own, so that the test is the same everywhere.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Rows of which so many in a hundred are refused, for every reason in turn.
fn rows(count: i64, bad: u64, state: &mut u64) -> RecordBatch {
    let (mut ids, mut names, mut refs) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..count {
        let reason = if random(state) % 100 < bad {
            random(state) % 5
        } else {
            9
        };
        // Found by the encoder, at once, at once by an index, at the end of the statement, by a trigger.
        ids.push(if reason == 0 { 1 << 40 } else { row });
        let earlier = (random(state) % 20).cast_signed();
        names.push(match reason {
            1 => "bad".to_owned(),
            2 => format!("n{}", (row - earlier).max(0)),
            4 => format!("raise {row}"),
            _ => format!("n{row}"),
        });
        refs.push(if reason == 3 { 7 } else { 1 });
    }
    let all: [(&str, ArrayRef); 4] = [
        ("n", Arc::new(Int64Array::from_iter_values(0..count))),
        ("id", Arc::new(Int64Array::from(ids))),
        ("name", Arc::new(StringArray::from(names))),
        ("ref", Arc::new(Int64Array::from(refs))),
    ];
    batch(all.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rows_that_arrive_are_those_that_the_server_takes_one_by_one() {
    let Some(database) = database("skip_each").await else {
        return;
    };
    database
        .run(
            "CREATE TABLE r (id bigint PRIMARY KEY); INSERT INTO r VALUES (1);
             CREATE FUNCTION picky() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN IF NEW.name LIKE ''raise%'' THEN RAISE check_violation; END IF; RETURN NEW; END'",
        )
        .await;
    let create = |name: &str| {
        format!(
            "DROP TABLE IF EXISTS {name}; CREATE TABLE {name} (n bigint, id integer, name text UNIQUE CHECK (name <> 'bad'), \
             ref bigint REFERENCES r); CREATE TRIGGER picky BEFORE INSERT ON {name} FOR EACH ROW EXECUTE FUNCTION picky()"
        )
    };
    let mut state = 42;
    for bad in [0, 1, 40, 100] {
        let rows = rows(1_500, bad, &mut state);
        database.run(&create("t")).await;
        database.run(&create("one_by_one")).await;
        database.run("DROP TABLE IF EXISTS given").await;
        database.load(&spec("given", Mode::Create), &rows).await;
        let each = "DO $$ DECLARE row record; BEGIN FOR row IN SELECT * FROM given ORDER BY n LOOP
             BEGIN INSERT INTO one_by_one VALUES (row.n, row.id, row.name, row.ref); EXCEPTION WHEN OTHERS THEN END; END LOOP; END $$";
        database.run(each).await;
        let folder = tempfile::tempdir().expect("a folder");
        let skip = with(
            "t",
            json!({ "on_error": "skip", "batch_size": 400, "dead_letters": folder.path() }),
        );
        let report = database.load(&skip, &rows).await;
        let arrived = database.rows("SELECT * FROM t ORDER BY n").await;
        assert_eq!(
            arrived,
            database.rows("SELECT * FROM one_by_one ORDER BY n").await,
            "{bad} %"
        );
        assert_eq!(
            (report.rows, report.rows_rejected),
            (arrived.len() as u64, 1_500 - arrived.len() as u64),
            "{bad} %"
        );
        let Some(file) = report.dead_letters else {
            continue;
        };
        let (stream, _) = read_dead_letters(&file).expect("dead letters");
        let batches: Vec<RecordBatch> = stream.try_collect().await.expect("batches");
        let aside: BTreeSet<i64> = batches
            .iter()
            .flat_map(|batch| {
                batch
                    .column(0)
                    .as_primitive::<Int64Type>()
                    .values()
                    .to_vec()
            })
            .collect();
        let there: BTreeSet<i64> = arrived
            .iter()
            .filter_map(|row| row.split('|').next()?.parse().ok())
            .collect();
        assert!(
            aside.is_disjoint(&there) && aside.len() + there.len() == 1_500,
            "{bad} %"
        );
    }
}
