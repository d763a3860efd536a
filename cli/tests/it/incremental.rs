//! Incremental loads: the mark goes with the rows, whatever happens in between.

use std::time::Duration;

use serde_json::Value;

use crate::{Ended, Place};

const LOAD: [&str; 9] = [
    "load",
    "--from",
    "source.csv",
    "--to",
    "delta://target",
    "--incremental",
    "id",
    "--output",
    "json",
];

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

/// What has arrived, in order.
fn ids(place: &Place) -> Vec<u64> {
    if !place.path().join("target").exists() {
        return Vec::new();
    }
    let sql = "SELECT id FROM delta ORDER BY id";
    let rows = place.ok(&[
        "query",
        "--from",
        "delta://target",
        "--sql",
        sql,
        "--format",
        "csv",
    ]);
    rows.lines()
        .skip(1)
        .map(|line| line.parse().expect("a number"))
        .collect()
}

fn source(place: &Place, rows: impl IntoIterator<Item = u64>) {
    let lines: String = rows.into_iter().map(|id| format!("{id},{id}\n")).collect();
    place.write("next.csv", &format!("id,value\n{lines}"));
    std::fs::rename(
        place.path().join("next.csv"),
        place.path().join("source.csv"),
    )
    .expect("renamed");
}

#[test]
fn only_what_is_new_is_loaded_and_rows_of_the_newest_value_wait() {
    let place = Place::new();
    source(&place, [1, 2, 2, 3, 3]);
    let first = json(&place.run(&LOAD));
    assert_eq!(
        (first["status"].as_str(), first["rows"].as_u64()),
        (Some("loaded"), Some(3))
    );
    assert_eq!(json(&place.run(&LOAD))["status"], "nothing new");
    source(&place, [1, 2, 2, 3, 3, 3, 4, 5]);
    assert_eq!(json(&place.run(&LOAD))["rows"], 4);
    assert_eq!(ids(&place), [1, 2, 2, 3, 3, 3, 4]);
    let state = |more: &[&str]| place.run(&[&["state"][..], more, &LOAD[1..]].concat());
    let shown = json(&state(&["show"]));
    assert_eq!(
        (shown["mark"].as_str(), shown["loads"].as_u64()),
        (Some("5"), Some(2))
    );
    // Set by hand, and taken away.
    assert_eq!(json(&state(&["set", "--mark", "4"]))["rows"], 0);
    assert_eq!(json(&place.run(&LOAD))["rows"], 1);
    assert_eq!(ids(&place), [1, 2, 2, 3, 3, 3, 4, 4]);
    assert_eq!(state(&["reset"]).code, 0);
    assert_eq!(json(&state(&["show"]))["mark"], Value::Null);
    assert_eq!(json(&place.run(&LOAD))["rows"], 7);
}

#[test]
fn a_unique_cursor_waits_for_nothing_and_a_lag_reads_again() {
    let place = Place::new();
    source(&place, [1, 2, 3]);
    let unique = [&LOAD[..], &["--cursor-unique", "--initial", "2"]].concat();
    assert_eq!(json(&place.run(&unique))["rows"], 2);
    source(&place, [1, 2, 3, 4]);
    assert_eq!(json(&place.run(&unique))["rows"], 1);
    assert_eq!(ids(&place), [2, 3, 4]);

    let place = Place::new();
    source(&place, [1, 2, 6, 8]);
    let lag = ["--lag", "4", "--mode", "upsert", "--keys", "id"];
    let lag = [&LOAD[..], &lag].concat();
    assert_eq!(json(&place.run(&lag))["rows"], 3);
    // One comes late.
    source(&place, [1, 2, 5, 6, 8, 9]);
    place.run(&lag);
    assert_eq!(ids(&place), [1, 2, 5, 6, 8]);
}

#[test]
fn the_query_may_use_the_mark_and_what_no_mark_is_true_of_is_refused() {
    let place = Place::new();
    source(&place, [1, 2, 3]);
    let sql = "SELECT id, value FROM data WHERE id >= $cursor AND value < $limit";
    let load = [
        &LOAD[..],
        &["--sql", sql, "--initial", "2", "--param", "limit=3"],
    ]
    .concat();
    assert_eq!(json(&place.run(&load))["error"], Value::Null);
    assert_eq!(ids(&place), [0; 0]);
    let sql = "SELECT id, value FROM data WHERE id >= $cursor";
    let load = [&LOAD[..], &["--sql", sql, "--initial", "2"]].concat();
    assert_eq!(json(&place.run(&load))["rows"], 1);
    place.write("nulls.csv", "id,value\n1,1\n,2\n");
    for (more, code, words) in [
        (&["--mode", "overwrite"][..], 2, "append or upsert"),
        (&["--lag", "1"], 2, "must be upsert"),
        (&["--to", "memory", "-T", "t"], 2, "one destination"),
        (&["--load-id", "x"], 2, "leave load_id out"),
        (
            &["--from", "nulls.csv", "--incremental-name", "n"],
            1,
            "is null in some rows",
        ),
        (
            &["--initial", "yesterday", "--incremental-name", "n"],
            2,
            "is no value of the cursor",
        ),
    ] {
        let mut arguments = LOAD.to_vec();
        if more[0] == "--from" {
            arguments.drain(1..3);
        }
        let ended = place.run(&[&arguments[..], more].concat());
        assert!(
            ended.code == code && ended.err.contains(words),
            "{more:?}: {ended:?}"
        );
    }
}

#[test]
fn the_query_may_use_both_ends_of_the_window_and_must_fill_it() {
    let place = Place::new();
    source(&place, [1, 2, 3]);
    let with = |sql: &'static str, more: &[&'static str]| -> Vec<&'static str> {
        [&LOAD[..], &["--initial", "0", "--sql", sql], more].concat()
    };
    let window = "SELECT * FROM data WHERE id >= $cursor AND id < $cursor_end";
    assert_eq!(json(&place.run(&with(window, &[])))["rows"], 2);
    assert_eq!(
        json(&place.run(&with(window, &[])))["status"],
        "nothing new"
    );
    source(&place, [1, 2, 3, 3, 4, 5]);
    assert_eq!(json(&place.run(&with(window, &[])))["rows"], 3);
    assert_eq!(ids(&place), [1, 2, 3, 3, 4]);
    // The mark is set and shown with such a query too.
    let state = [&["state", "set", "--mark", "4"], &with(window, &[])[1..]].concat();
    assert_eq!(json(&place.run(&state))["rows"], 0);
    assert_eq!(json(&place.run(&with(window, &[])))["rows"], 1);

    // A query that ends before its window does would never be asked for what it left out.
    let place = Place::new();
    source(&place, [1, 2, 3]);
    let early = "SELECT * FROM data WHERE id < $cursor_end - 1";
    for (sql, more) in [(early, &[][..]), (window, &["--cursor-unique"])] {
        let ended = place.run(&with(sql, more));
        assert!(
            ended.code == 2 && ended.err.contains("leaves out rows of its window"),
            "{ended:?}"
        );
    }
    let unique = "SELECT * FROM data WHERE id > $cursor AND id <= $cursor_end";
    assert_eq!(
        json(&place.run(&with(unique, &["--cursor-unique"])))["rows"],
        3
    );
    // Of a text nobody knows what is behind all others.
    let place = Place::new();
    source(&place, [1, 2, 3]);
    let text = "SELECT CAST(id AS varchar) AS id FROM data WHERE id < $cursor_end";
    let ended = place.run(&with(text, &["--incremental-name", "text"]));
    assert!(
        ended.code == 2 && ended.err.contains("there is no $cursor_end"),
        "{ended:?}"
    );
}

/// Loads of a growing source that are killed at any moment, and runs at once.
#[cfg(unix)]
#[test]
fn kills_and_runs_at_once_neither_skip_nor_double_a_row() {
    let place = Place::new();
    let mut last = 0;
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    for round in 0..12 {
        last += 40;
        source(&place, 1..=last);
        let mut children: Vec<_> = (0..1 + round % 2).map(|_| place.spawn(&LOAD)).collect();
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        std::thread::sleep(Duration::from_millis(50 + random % 700));
        for child in &mut children {
            // It may be over already.
            let _ = child.kill();
            child.wait().expect("it ends");
        }
    }
    let ended = place.run(&LOAD);
    assert_eq!(ended.code, 0, "{ended:?}");
    // The last one waits, as others might have its value.
    assert_eq!(ids(&place), (1..last).collect::<Vec<_>>());
}
