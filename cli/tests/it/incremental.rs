//! Incremental loads: the mark goes with the rows, whatever happens in between.

use std::time::Duration;

use arrowload_testkit::ThrowawayPostgres;
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
    let load = ["--sql", sql, "--initial", "2", "--incremental-name", "all"];
    let load = [&LOAD[..], &load].concat();
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
            ended.code == 2
                && ended
                    .err
                    .contains("leaves out rows at the end of its window"),
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

#[test]
fn a_target_has_one_mark_however_it_is_spelt() {
    let place = Place::new();
    source(&place, [1, 2, 3]);
    // As the first versions named it: with the target as it is spelt.
    let older = [&LOAD[..], &["--incremental-name", "target/id"]].concat();
    assert_eq!(json(&place.run(&older))["rows"], 2);
    let whole = format!("delta://{}/target", place.path().display());
    let into = |to: &str| {
        let mut load = LOAD.map(str::to_owned);
        load[4] = to.to_owned();
        let load: Vec<&str> = load.iter().map(String::as_str).collect();
        json(&place.run(&load))
    };
    assert_eq!(into("delta://target")["status"], "nothing new");
    source(&place, [1, 2, 3, 4]);
    assert_eq!(into("delta://target")["rows"], 1);
    for spelt in ["delta://./target", &whole, "delta://target"] {
        assert_eq!(into(spelt)["status"], "nothing new", "{spelt}");
    }
    source(&place, [1, 2, 3, 4, 5]);
    assert_eq!(into(&whole)["rows"], 1);
    let mut state = LOAD;
    (state[0], state[4]) = ("show", "delta://./target");
    let shown = json(&place.run(&[&["state"][..], &state].concat()));
    assert_eq!((&shown["mark"], &shown["loads"]), (&"5".into(), &2.into()));
    assert_eq!(ids(&place), [1, 2, 3, 4]);
}

#[test]
fn a_mark_of_another_query_is_refused_until_somebody_says_that_it_holds() {
    let place = Place::new();
    source(&place, [1, 2, 3]);
    assert_eq!(json(&place.run(&LOAD))["rows"], 2);
    place.write("other.csv", "id,value\n1,7\n2,7\n9,7\n");
    let other = |more: &[&str]| {
        let mut load = LOAD;
        load[2] = "other.csv";
        place.run(&[&load[..], more].concat())
    };
    let ended = other(&[]);
    assert_eq!(ended.code, 2, "{ended:?}");
    for words in [
        "the mark 3",
        "another query",
        "--incremental-name",
        "state set --mark '3'",
    ] {
        assert!(ended.err.contains(words), "{words}: {ended:?}");
    }
    let ended = other(&["--dry-run"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    // A mark of its own.
    assert_eq!(json(&other(&["--incremental-name", "other"]))["rows"], 2);
    assert_eq!(ids(&place), [1, 1, 2, 2]);
    // One more condition is another query too, and is gone on with once that is said.
    source(&place, [1, 2, 3, 4, 5]);
    let changed = ["--where", "value < 100"];
    let state = |action: &[&str], more: &[&str]| {
        place.run(&[&["state"], action, &LOAD[1..], more].concat())
    };
    assert_eq!(place.run(&[&LOAD[..], &changed].concat()).code, 2);
    assert_eq!(json(&state(&["show"], &changed))["of_another_query"], true);
    assert_eq!(json(&state(&["show"], &[]))["of_another_query"], false);
    assert_eq!(state(&["set", "--mark", "3"], &changed).code, 0);
    assert_eq!(json(&place.run(&[&LOAD[..], &changed].concat()))["rows"], 2);
    assert_eq!(ids(&place), [1, 1, 2, 2, 3, 4]);
}

#[test]
fn standard_input_is_the_same_source_each_time() {
    let place = Place::new();
    let mut load = LOAD;
    load[2] = "-";
    for (rows, expected) in [("id\n1\n2\n", 1), ("id\n2\n3\n4\n", 2)] {
        let ended = Ended::of(place.command(&load).write_stdin(rows));
        assert_eq!(json(&ended)["rows"], expected, "{ended:?}");
    }
    assert_eq!(ids(&place), [1, 2, 3]);
}

#[test]
fn rows_that_come_late_are_read_though_nothing_newer_has_come() {
    let place = Place::new();
    source(&place, [1, 6, 8]);
    let lag = ["--lag", "4", "--mode", "upsert", "--keys", "id"];
    let lag = [&LOAD[..], &lag].concat();
    assert_eq!(json(&place.run(&lag))["rows"], 2);
    source(&place, [1, 5, 6, 8]);
    let late = json(&place.run(&lag));
    assert_eq!(late["keys"]["inserted"], 1, "{late}");
    assert_eq!(ids(&place), [1, 5, 6]);
    let shown = json(&place.run(&[&["state", "show"], &LOAD[1..]].concat()));
    assert_eq!(shown["mark"], "8");
    // Without rows within the lag there is nothing to load.
    source(&place, [1, 8]);
    assert_eq!(json(&place.run(&lag))["status"], "nothing new");
}

#[test]
fn what_would_lose_rows_for_good_is_refused() {
    let place = Place::new();
    source(&place, [1, 2, 3]);
    for cut in [["--limit", "2"], ["--sample", "50%"]] {
        let ended = place.run(&[&LOAD[..], &cut].concat());
        assert!(
            ended.code == 2 && ended.err.contains("cannot be combined"),
            "{ended:?}"
        );
    }
    place.write(
        "job.toml",
        "[loads.one]\nfrom = \"source.csv\"\nto = \"delta://target\"\nincremental = { cursor = \"id\" }\nshape = { limit = 2 }\n",
    );
    let error = place.refused(2, &["run", "job.toml"]);
    assert!(
        error.contains("loads.one") && error.contains("cannot be combined"),
        "{error}"
    );
    assert!(ids(&place).is_empty());
    for (rows, words) in [
        ("x\n1.5\nNaN\n", "is NaN in some rows"),
        ("x\n1.5\ninf\n", "is inf in some rows"),
        ("x\n1.5\n-inf\n", "is -inf in some rows"),
    ] {
        place.write("floats.csv", rows);
        let load = "load --from floats.csv --to delta://floats --incremental x";
        let error = place.refused(1, &load.split(' ').collect::<Vec<_>>());
        assert!(
            error.contains(words)
                && error.contains("target: floats")
                && error.contains("Nothing was"),
            "{error}"
        );
    }
    place.write("floats.csv", "x\n1.5\n2.5e0\n");
    let load = [
        "load",
        "--from",
        "floats.csv",
        "--to",
        "delta://floats",
        "--incremental",
        "x",
    ];
    place.ok(&load);
    let state = [&["state", "set", "--mark", "NaN"], &load[1..]].concat();
    assert!(place.refused(2, &state).contains("is not a finite number"));
}

#[test]
fn a_query_that_takes_only_some_rows_is_refused() {
    let place = Place::new();
    source(&place, 1..=9);
    for (clause, sql) in [
        ("LIMIT", "SELECT * FROM data ORDER BY id LIMIT 5"),
        ("LIMIT", "SELECT * FROM data ORDER BY id /* all */ limit 5;"),
        ("OFFSET", "SELECT * FROM data ORDER BY id OFFSET 2"),
        (
            "FETCH",
            "SELECT * FROM data ORDER BY id FETCH FIRST 5 ROWS ONLY",
        ),
        ("TOP", "SELECT TOP 5 * FROM data"),
    ] {
        for more in [&[][..], &["--dry-run"], &["--where", "id > 0"]] {
            let ended = place.run(&[&LOAD[..], &["--sql", sql], more].concat());
            let words = format!("{clause} in the query and incremental cannot be combined");
            assert!(
                ended.code == 2 && ended.err.contains(&words),
                "{sql}: {ended:?}"
            );
        }
    }
    place.write(
        "job.toml",
        "[loads.one]\nfrom = \"source.csv\"\nto = \"delta://target\"\nsql = \"SELECT * FROM data LIMIT 5\"\nincremental = { cursor = \"id\" }\n",
    );
    let error = place.refused(2, &["run", "job.toml"]);
    assert!(
        error.contains("loads.one") && error.contains("LIMIT in the query"),
        "{error}"
    );
    assert!(ids(&place).is_empty());
    // A part of the query may, and a value and a name of the word are no clause.
    let sql = "SELECT id, 'x limit 5' AS \"limit\" FROM (SELECT * FROM data ORDER BY id LIMIT 5) AS few -- limit 3";
    let load = [&LOAD[..], &["--sql", sql]].concat();
    assert_eq!(json(&place.run(&load))["rows"], 4);
}

#[test]
fn a_query_that_skips_the_rows_at_the_beginning_of_its_window_is_refused() {
    let place = Place::new();
    place.write(
        "source.csv",
        "id,value\n2023-01-02T00:00:00,1\n2023-01-03T00:00:00,2\n2023-01-03T00:00:00,3\n",
    );
    let with = |sql: &'static str, initial: &'static str| -> Vec<&'static str> {
        [&LOAD[..], &["--initial", initial, "--sql", sql]].concat()
    };
    for sql in [
        "SELECT * FROM data WHERE id > $cursor",
        "SELECT * FROM data WHERE id > $cursor AND id <= $cursor_end",
    ] {
        for more in [&[][..], &["--dry-run"]] {
            let ended = place.run(&[&with(sql, "2023-01-01")[..], more].concat());
            assert!(
                ended.code == 2
                    && ended
                        .err
                        .contains("leaves out rows at the beginning of its window")
                    && ended.err.contains(r#""id" >= $cursor"#),
                "{sql}: {ended:?}"
            );
        }
    }
    assert!(!place.path().join("target").exists());
    // Rows equal to $cursor are among these, and none is lost.
    let place = Place::new();
    source(&place, [1, 2, 3, 3]);
    let whole = "SELECT * FROM data WHERE id > $cursor - 1";
    assert_eq!(json(&place.run(&with(whole, "1")))["rows"], 2);
    source(&place, [1, 2, 3, 3, 4]);
    assert_eq!(json(&place.run(&with(whole, "1")))["rows"], 2);
    assert_eq!(ids(&place), [1, 2, 3, 3]);
    // A mark that such a query has left already is not gone on from.
    source(&place, [1, 2, 3, 3, 4, 5]);
    let sql = "SELECT * FROM data WHERE id > $cursor";
    let later = [&with(sql, "1")[..], &["--incremental-name", "n"]].concat();
    let set = [&["state", "set", "--mark", "4"], &later[1..]].concat();
    assert_eq!(place.run(&set).code, 0);
    let ended = place.run(&later);
    assert!(
        ended.code == 2 && ended.err.contains("leaves out rows at the beginning"),
        "{ended:?}"
    );
    // Of a unique cursor the row of the mark is loaded already.
    let unique = [&later[..], &["--cursor-unique"]].concat();
    assert_eq!(json(&place.run(&unique))["rows"], 1);
}

#[test]
fn a_mark_of_other_columns_or_masks_is_refused_too() {
    let place = Place::new();
    place.write("source.csv", "id,value\n1,a\n2,b\n3,c\n");
    let load = |more: &[&str]| place.run(&[&LOAD[..], more].concat());
    assert_eq!(json(&load(&["--mask", "value=redact"]))["rows"], 2);
    place.write("source.csv", "id,value\n1,a\n2,b\n3,c\n4,d\n");
    for more in [
        &[][..],
        &["--mask", "value=sha256"],
        &["--mask", "value=redact", "--cast", "value=text"],
        &["--columns", "id"],
        &["--exclude-columns", "value"],
    ] {
        for dry in [&[][..], &["--dry-run"]] {
            let ended = load(&[more, dry].concat());
            assert!(
                ended.code == 2 && ended.err.contains("the mark 3") && ended.err.contains("--mask"),
                "{more:?}: {ended:?}"
            );
        }
        let show = [&["state", "show"], &LOAD[1..], more].concat();
        assert_eq!(json(&place.run(&show))["of_another_query"], true);
    }
    assert_eq!(ids(&place), [1, 2]);
    assert_eq!(json(&load(&["--mask", "value=redact"]))["rows"], 1);
    // Somebody says that the mark holds.
    let set = [
        &["state", "set", "--mark", "4"],
        &LOAD[1..],
        &["--mask", "value=sha256"],
    ]
    .concat();
    assert_eq!(place.run(&set).code, 0);
    place.write("source.csv", "id,value\n4,d\n5,e\n");
    assert_eq!(json(&load(&["--mask", "value=sha256"]))["rows"], 1);
    assert_eq!(load(&["--mask", "value=redact"]).code, 2);
}

#[test]
fn a_first_load_that_begins_beyond_all_rows_leaves_no_mark_before_its_beginning() {
    let place = Place::new();
    source(&place, [1, 2, 3]);
    let load = [&LOAD[..], &["--initial", "10"]].concat();
    for more in [&[][..], &["--cursor-unique"]] {
        let ended = place.run(&[&load[..], more].concat());
        assert_eq!(json(&ended)["status"], "nothing new", "{ended:?}");
    }
    source(&place, [1, 2, 3, 4, 5]);
    assert_eq!(json(&place.run(&load))["status"], "nothing new");
    source(&place, [3, 4, 5, 10, 11, 12]);
    assert_eq!(json(&place.run(&load))["rows"], 2);
    assert_eq!(ids(&place), [10, 11]);
}

#[test]
fn a_lag_that_does_not_fit_the_cursor_is_refused_before_the_first_load() {
    let place = Place::new();
    source(&place, [1, 2, 3]);
    let text = "SELECT CAST(id AS varchar) AS id, value FROM data";
    for (lag, more) in [
        ("banana", &[][..]),
        ("5m", &[]),
        ("5m", &["--sql", text]),
        ("5", &["--sql", text]),
    ] {
        for dry in [&[][..], &["--dry-run"]] {
            let lag = ["--lag", lag, "--mode", "upsert", "--keys", "id"];
            let ended = place.run(&[&LOAD[..], &lag, more, dry].concat());
            assert!(
                ended.code == 2 && ended.err.contains("does not fit a cursor of type"),
                "{ended:?}"
            );
        }
    }
    assert!(ids(&place).is_empty());
}

#[test]
fn what_to_do_about_a_target_that_was_dropped_is_said() {
    let Some(server) = ThrowawayPostgres::available() else {
        return;
    };
    let url = server.create_database("cli_dropped").expect("a database");
    let place = Place::new();
    source(&place, [1, 2, 3]);
    let words = |name: &'static [&'static str]| {
        let mut words = LOAD.to_vec();
        words[4] = &url;
        words.extend(["-T", "t"]);
        words.extend(name);
        words
    };
    assert_eq!(json(&place.run(&words(&[])))["rows"], 2);
    server.psql("cli_dropped", "DROP TABLE t").expect("dropped");
    let state = |action: &'static str, name: &'static [&'static str]| {
        [&["state", action], &words(name)[1..]].concat()
    };
    for words in [words(&[]), state("show", &[]), state("reset", &[])] {
        let ended = place.run(&words);
        assert!(
            ended.code == 1
                && ended.err.contains("which is gone since")
                && ended.err.contains("begin anew")
                && ended.err.contains("--incremental-name NAME"),
            "{ended:?}"
        );
    }
    let name = &["--incremental-name", "anew"];
    assert_eq!(json(&place.run(&words(name)))["rows"], 2);
    server.psql("cli_dropped", "DROP TABLE t").expect("dropped");
    let ended = place.run(&words(name));
    assert!(ended.err.contains("another one than `anew`"), "{ended:?}");
}

#[test]
fn the_mark_and_the_window_are_said_before_and_after() {
    let place = Place::new();
    source(&place, [1, 2, 3]);
    let load = [
        "load",
        "--from",
        "source.csv",
        "--to",
        "delta://target",
        "--incremental",
        "id",
    ];
    let dry = [&load[..], &["--dry-run"]].concat();
    let shown = place.ok(&dry);
    assert!(shown.contains("no mark yet, after 0 loads"), "{shown}");
    assert!(
        shown.contains("incremental-by/id/1 would take the rows with id < 3, and leave the mark 3"),
        "{shown}"
    );
    place.ok(&load);
    assert!(
        place
            .ok(&dry)
            .contains("mark 3, after 1 loads; nothing is new")
    );
    source(&place, [1, 2, 3, 4, 5]);
    let shown = json(&place.run(&[&LOAD[..], &["--dry-run"]].concat()));
    assert_eq!(
        shown["incremental"],
        serde_json::json!({
            "status": "new", "mark": "3", "loads": 1, "load_id": "incremental-by/id/2", "rows": "id >= 3 and id < 5", "new_mark": "5"
        })
    );
    assert_eq!(ids(&place), [1, 2]);
    // In a job too.
    place.write(
        "job.toml",
        "[loads.one]\nfrom = \"source.csv\"\nto = \"delta://target\"\nincremental = { cursor = \"id\" }\n",
    );
    let shown = place.ok(&["run", "job.toml", "--dry-run"]);
    assert!(shown.contains("id >= 3 and id < 5"), "{shown}");
    let state = |words: &[&'static str]| [&["state"], words, &load[1..]].concat();
    let told = place.ok(&state(&["set", "--mark", "4"]));
    assert!(told.contains("delta_lake `target` set to 4"), "{told}");
    let told = place.ok(&state(&["reset"]));
    assert!(told.contains("taken away"), "{told}");
    // A column that is not there has no mark.
    let mut misspelt = state(&["show"]);
    misspelt.pop();
    misspelt.push("idd");
    let ended = place.run(&misspelt);
    assert!(ended.code != 0 && ended.err.contains("idd"), "{ended:?}");
}

#[test]
fn numbers_of_postgresql_are_compared_as_numbers() {
    let Some(server) = ThrowawayPostgres::available() else {
        return;
    };
    let url = server.create_database("cli_cursor").expect("a database");
    let sql = "CREATE TABLE n (free numeric, fixed numeric(10,2), f float8); \
               INSERT INTO n SELECT i * 1.5, i * 1.5, i FROM generate_series(1, 12) i";
    server.psql("cli_cursor", sql).expect("rows");
    let place = Place::new();
    let load = |cursor: &str, more: &[&str]| {
        let to = format!("delta://{cursor}");
        let load = [
            "load",
            "--from",
            &url,
            "--table",
            "n",
            "--to",
            &to,
            "--incremental",
            cursor,
        ];
        place.run(&[&load[..], more].concat())
    };
    let ended = load("free", &[]);
    assert!(
        ended.code == 2
            && ended.err.contains("--cast free=decimal")
            && !ended.err.contains("$cursor"),
        "{ended:?}"
    );
    for (cursor, more) in [
        ("free", &["--cast", "free=decimal(10,2)"][..]),
        ("fixed", &[]),
        ("f", &[]),
    ] {
        for told in ["11 rows", "nothing is new"] {
            let ended = load(cursor, more);
            assert!(ended.out.contains(told), "{cursor}: {ended:?}");
        }
    }
    server
        .psql("cli_cursor", "UPDATE n SET f = 'NaN' WHERE f = 1")
        .expect("a NaN");
    let ended = load("f", &[]);
    assert!(
        ended.code == 1 && ended.err.contains("is NaN in some rows"),
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
