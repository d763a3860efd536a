//! `arrowload diff`.

use arrowload_testkit::ThrowawayPostgres;
use serde_json::{Value, json};

use crate::Place;

const OLD: &str = "id,name,price,seen\n1,Ada,1.10,2024-01-01T00:00:00\n2,Grace,2.5,2024-01-02T00:00:00\n3,Edsger,,2024-01-03T00:00:00\n";
const NEW: &str = "seen,price,id,name\n2024-01-02T00:00:00,2.75,2,Gracie\n2024-01-04T00:00:00,4,4,Barbara\n2024-01-01T00:00:00,1.1,1,Ada\n";

fn objects(place: &Place, arguments: &[&str], code: i32) -> Value {
    let ended = place.run(&[arguments, &["--output", "json"]].concat());
    assert_eq!(ended.code, code, "{arguments:?}: {ended:?}");
    serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

#[test]
fn rows_are_compared_by_their_keys() {
    let place = Place::new();
    place.write("old.csv", OLD).write("new.csv", NEW);
    let ended = place.run(&["diff", "old.csv", "new.csv", "--keys", "id"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert_eq!(
        ended.out,
        "rows: 3 in A, 3 in B; 1 equal, 1 added, 1 removed, 1 changed
changed values: name 1, price 1

+---------+----+--------+---------+----------+
|         | id | column | A       | B        |
+---------+----+--------+---------+----------+
| changed | 2  | name   | \"Grace\" | \"Gracie\" |
|         |    | price  | 2.50    | 2.75     |
| removed | 3  |        |         |          |
| added   | 4  |        |         |          |
+---------+----+--------+---------+----------+
different
",
        "{}",
        ended.out
    );
    let shown = objects(
        &place,
        &["diff", "old.csv", "new.csv", "-k", "id", "--limit", "2"],
        1,
    );
    assert_eq!(
        shown["rows"],
        json!({ "a": 3, "b": 3, "equal": 1, "added": 1, "removed": 1, "changed": 1 })
    );
    assert_eq!(
        shown["differences"][0]["b"],
        json!({ "name": "Gracie", "price": "2.75" })
    );
    assert_eq!(
        (
            &shown["differences"][1]["change"],
            &shown["differences"][1]["b"]
        ),
        (&json!("removed"), &Value::Null)
    );
    assert_eq!(shown["differences"].as_array().map(Vec::len), Some(2));
    // All of it goes into a file.
    let ended = place.run(&[
        "diff", "old.csv", "new.csv", "-k", "id", "--limit", "0", "-o", "d.csv",
    ]);
    assert!(
        ended.code == 1 && ended.out.contains("all differing rows are in "),
        "{ended:?}"
    );
    assert_eq!(
        place.read("d.csv").lines().next(),
        Some("_change,id,name_a,name_b,price_a,price_b,seen_a,seen_b")
    );
    assert!(
        place
            .read("d.csv")
            .contains("\nchanged,2,Grace,Gracie,2.50,2.75,")
    );
    assert_eq!(place.read("d.csv").lines().count(), 4);
    let none = ["diff", "old.csv", "old.csv", "-k", "id", "-o", "d.parquet"];
    assert!(place.ok(&none).contains("3 equal, 0 added"), "{none:?}");
    assert!(
        place
            .ok(&["query", "--sql", "SELECT count(*) FROM 'd.parquet'"])
            .contains('0')
    );
}

#[test]
fn the_exit_code_says_what_was_found() {
    let place = Place::new();
    place.write("old.csv", OLD).write("new.csv", NEW);
    place.ok(&["query", "--from", "old.csv", "-o", "old.parquet"]);
    place.write("more.csv", "id,name,price,seen,more\n");
    for (code, said, arguments) in [
        (0, "equal", &["old.csv", "old.parquet", "-k", "id"][..]),
        (0, "equal", &["old.csv", "old.parquet", "--schema-only"]),
        (0, "3 in A, 3 in B", &["old.csv", "old.parquet"]),
        (
            1,
            "checksums of these columns differ: id, name, price, seen",
            &["old.csv", "new.csv"],
        ),
        (
            0,
            "1 equal, 0 added",
            &["old.csv", "new.csv", "-k", "id", "--where", "id = 1"],
        ),
        (
            0,
            "equal",
            &[
                "old.csv",
                "new.csv",
                "-k",
                "id",
                "--sql",
                "SELECT 1 AS id FROM data LIMIT 1",
            ],
        ),
        (
            0,
            "2 equal, 0",
            &[
                "old.csv",
                "new.csv",
                "-k",
                "id",
                "--columns",
                "seen",
                "--where",
                "id < 3",
            ],
        ),
        (
            1,
            "changed values: price 1",
            &[
                "old.csv",
                "new.csv",
                "-k",
                "id",
                "--exclude-columns",
                "name",
                "--where",
                "id < 3",
            ],
        ),
        (
            1,
            "columns only in B: more",
            &[
                "old.csv",
                "more.csv",
                "-k",
                "id",
                "--where",
                "id > 9",
                "--types",
                "id=int,price=decimal(5,2),seen=timestamp",
            ],
        ),
        (
            1,
            "type of id: Int64 in A, Int32 in B",
            &[
                "old.csv",
                "old.csv",
                "--strict",
                "-k",
                "id",
                "--sql-a",
                "SELECT id FROM data",
                "--sql-b",
                "SELECT arrow_cast(id, 'Int32') AS id FROM data",
            ],
        ),
        (
            1,
            "in different rows",
            &[
                "datafusion",
                "datafusion",
                "--sql-a",
                "SELECT 1 AS a, 2 AS b UNION ALL SELECT 3, 4",
                "--sql-b",
                "SELECT 1 AS a, 4 AS b UNION ALL SELECT 3, 2",
            ],
        ),
        // What nothing is known of is 2, and never 1.
        (2, "there is no such file", &["old.csv", "none.csv"]),
        (
            2,
            "A has no key column `di`",
            &["old.csv", "new.csv", "-k", "di"],
        ),
        (
            2,
            "more than one row with the key a = 1",
            &[
                "old.csv",
                "old.csv",
                "-k",
                "a",
                "--sql",
                "SELECT 1 AS a FROM data",
            ],
        ),
        (
            2,
            // Both have it, and either may be first.
            "`price` is null in",
            &["old.csv", "old.csv", "-k", "price"],
        ),
        (
            2,
            "`id` (Int64 and Utf8 are not values of one kind)",
            &[
                "old.csv",
                "new.csv",
                "--sql-a",
                "SELECT id FROM data",
                "--sql-b",
                "SELECT name AS id FROM data",
            ],
        ),
        (2, "which rows of B", &["old.csv", "datafusion"]),
        (2, "no connection is named `old`", &["old.csv", "old"]),
        (
            2,
            "both sides are files",
            &["old.csv", "new.csv", "--table", "t"],
        ),
        (2, "--out", &["old.csv", "new.csv", "-o", "d.csv"]),
        (2, "standard input can be one side only", &["-", "-"]),
        // A failure on the way is none of the differences.
        (
            2,
            "ivi",
            &[
                "old.csv",
                "new.csv",
                "-k",
                "id",
                "--sql",
                "SELECT id, id / (id - 4) AS x FROM data",
            ],
        ),
        (
            2,
            "--memory-limit",
            &["old.csv", "new.csv", "--memory-limit", "none"],
        ),
    ] {
        let ended = place.run(&[&["diff"], arguments].concat());
        let all = format!("{}{}", ended.out, ended.err);
        assert!(
            ended.code == code && all.contains(said),
            "{arguments:?}: {ended:?}"
        );
        let quiet = place.run(&[&["diff", "-q"], arguments].concat());
        assert!(quiet.code == code && quiet.out.is_empty(), "{quiet:?}");
    }
    let mut piped = place.command(&["diff", "-", "old.parquet", "-k", "id"]);
    let ended = crate::Ended::of(piped.write_stdin(OLD));
    assert!(
        ended.code == 0 && ended.out.ends_with("equal\n"),
        "{ended:?}"
    );
}

#[test]
fn a_value_that_does_not_fit_a_sampled_type_opens_the_files_again() {
    let place = Place::new();
    let (mut old, mut new) = ("id,x\n".to_owned(), "id,x\n".to_owned());
    for id in 0..200_000 {
        old += &format!("{id},1000000\n");
        new += &format!("{id},1000000\n");
    }
    old += "200000,1.5\n";
    new += "200000,1.25\n";
    place.write("old.csv", &old).write("new.csv", &new);
    let out = ["-k", "id", "-o", "d.csv"];
    for more in [&out[..2], &out[..], &[]] {
        let ended = place.run(&[&["diff", "old.csv", "new.csv"], more].concat());
        assert_eq!(ended.code, 1, "{ended:?}");
        match more.is_empty() {
            true => assert!(ended.out.contains("columns differ: x\n"), "{ended:?}"),
            false => assert!(
                ended
                    .out
                    .contains("200,000 equal, 0 added, 0 removed, 1 changed"),
                "{ended:?}"
            ),
        }
    }
    assert_eq!(
        place.read("d.csv"),
        "_change,id,x_a,x_b\nchanged,200000,1.5,1.25\n"
    );
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_changes_no_exit_code() {
    let place = Place::new();
    place.write("old.csv", OLD).write("new.csv", NEW);
    let program = assert_cmd::cargo::cargo_bin!("arrowload")
        .display()
        .to_string();
    let script = format!("{{ {program} diff old.csv new.csv -k id; echo $? >code; }} | true");
    let status = std::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(place.path())
        .status();
    assert!(status.expect("a shell").success());
    assert_eq!(place.read("code"), "1\n");
}

#[test]
fn a_table_is_compared_with_the_file_that_it_was_loaded_from() {
    let Some(server) = ThrowawayPostgres::available() else {
        return;
    };
    let place = Place::new();
    place.write("old.csv", OLD);
    let url = server.create_database("diffs").expect("a database");
    place.ok(&[
        "load", "--from", "old.csv", "--to", &url, "--target", "items",
    ]);
    let diff = |code: i32, more: &[&str]| {
        let ended = place.run(
            &[
                &["diff", "old.csv", &url, "--table", "items", "-k", "id"],
                more,
            ]
            .concat(),
        );
        assert_eq!(ended.code, code, "{ended:?}");
        ended.out
    };
    assert!(
        diff(0, &[])
            .ends_with("rows: 3 in A, 3 in B; 3 equal, 0 added, 0 removed, 0 changed\nequal\n")
    );
    server
        .psql(
            "diffs",
            "UPDATE items SET price = price + 0.01 WHERE id = 2; INSERT INTO items VALUES (9)",
        )
        .expect("changes");
    let out = diff(1, &["-o", "d.parquet"]);
    assert!(
        out.contains("2 equal, 1 added, 0 removed, 1 changed"),
        "{out}"
    );
    let rows = place.ok(&[
        "query",
        "--format",
        "csv",
        "--sql",
        "SELECT _change, id, price_a, price_b FROM 'd.parquet'",
    ]);
    assert_eq!(
        rows,
        "_change,id,price_a,price_b\nchanged,2,2.50,2.51\nadded,9,,\n"
    );
    // From one table to another of the same server, whose numbers have no digits declared.
    server
        .psql(
            "diffs",
            "CREATE TABLE items_2 AS SELECT name, id::smallint, price, seen FROM items",
        )
        .expect("a table");
    let tables = [
        "diff",
        &url,
        &url,
        "--table-a",
        "items",
        "--table-b",
        "items_2",
    ];
    let same = place.ok(&tables);
    assert!(
        same.contains("are equal") && same.contains("type of id: Int64 in A, Int16 in B"),
        "{same}"
    );
    assert!(
        place
            .ok(&[&tables[..], &["-k", "id"]].concat())
            .contains("4 equal")
    );
}
