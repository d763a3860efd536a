//! What `--from` means: a file beside a query, folders, patterns, connections to files.

use crate::{Ended, PEOPLE, Place};

#[test]
fn a_file_beside_a_query_is_the_table_that_the_query_names() {
    let place = Place::new();
    std::fs::create_dir(place.path().join("sub")).expect("a folder");
    place.write("sub/people.csv", PEOPLE);
    // Files of these names are others.
    place.write("people.csv", "id,name\n9,Wrong\n");
    place.write("data.csv", "id,name\n9,Wrong\n");
    place.write("other.csv", "id\n2\n");
    for table in ["people", "data", "'sub/people.csv'"] {
        let sql = format!("SELECT * FROM {table} ORDER BY id");
        let query = ["query", "--from", "sub/people.csv", "--format", "csv"];
        let rows = place.ok(&[&query[..], &["--sql", &sql]].concat());
        assert_eq!(rows, PEOPLE, "{table}");
    }
    for table in ["people", "data"] {
        let query = ["query", "--from", "sub/people.csv", "--format", "csv"];
        let rows = place.ok(&[&query[..], &["--table", table]].concat());
        assert_eq!(rows, PEOPLE, "{table}");
    }
    // Other files are where they are.
    let sql = "SELECT name FROM data JOIN 'other.csv' AS o ON data.id = o.id";
    let query = ["query", "--from", "sub/people.csv", "--format", "csv"];
    assert_eq!(
        place.ok(&[&query[..], &["--sql", sql]].concat()),
        "name\nGrace\n"
    );
    // One that is not there is no matter of what the query says.
    let error = place.refused(
        2,
        &[
            "query",
            "--from",
            "sub/none.csv",
            "--sql",
            "SELECT * FROM data",
        ],
    );
    assert!(error.contains("sub/none.csv"), "{error}");
    for table in ["stdin", "data"] {
        let sql = format!("SELECT name FROM {table} WHERE id = 2");
        let mut command = place.command(&["query", "--from", "-", "--format", "csv"]);
        command.args(["--sql", &sql]).write_stdin(PEOPLE);
        let ended = Ended::of(&mut command);
        assert_eq!(ended.out, "name\nGrace\n", "{ended:?}");
    }
}

#[test]
fn lines_that_are_left_out_are_said_once() {
    let place = Place::new();
    place.write("r.csv", "Report\n\nid,name\n1,Ada\n2,Bob\n\nTotal: 2\n");
    let warned = |ended: &Ended| {
        for line in ["r.csv`: lines 1 to 2 are", "r.csv`: the last 2 lines"] {
            assert_eq!(ended.err.matches(line).count(), 1, "{line}: {ended:?}");
        }
    };
    for command in [
        &["query", "--from", "r.csv", "--format", "csv"][..],
        &["load", "--from", "r.csv", "--to", "r.parquet"],
        &["query", "-v", "--from", "r.csv", "--format", "csv"],
    ] {
        let ended = Ended::of(&mut place.command(command));
        assert_eq!(ended.code, 0, "{ended:?}");
        warned(&ended);
    }
    let told = ["query", "--from", "r.csv", "--read-option", "skip=2"];
    let told = [
        &told[..],
        &["--read-option", "skip_footer=2", "--format", "csv"],
    ]
    .concat();
    let ended = Ended::of(&mut place.command(&told));
    assert_eq!(
        (ended.out.as_str(), ended.err.as_str()),
        ("id,name\n1,Ada\n2,Bob\n", "")
    );
    let shown = place.ok(&["peek", "r.csv"]);
    assert!(shown.contains("lines 1 to 2 are"), "{shown}");
    // A guess is said, and types that have no name are shown, and not declared.
    let latin = b"id,name\n1,M\xfcller\n";
    std::fs::write(place.path().join("g.csv"), latin).expect("written");
    let shown = place.ok(&["peek", "g.csv"]);
    assert!(shown.contains("read as windows-1252"), "{shown}");
    place.write("n.ndjson", "{\"a\":[1.5],\"b\":{\"c\":1},\"d\":2}\n");
    let shown = place.ok(&["peek", "n.ndjson"]);
    assert!(
        shown.contains("List(") && shown.contains("Struct("),
        "{shown}"
    );
    let types = place.ok(&["peek", "--emit-types", "n.ndjson"]);
    assert_eq!(types, "--types 'd=int64'\n");
}

#[test]
fn folders_patterns_and_connections_to_files_are_read() {
    let place = Place::new();
    std::fs::create_dir(place.path().join("lake")).expect("a folder");
    place.write("lake/a.csv", "id,name\n1,Ada\n");
    place.write("lake/b.csv", "id,name\n2,Grace\n");
    place.write(
        "arrowload.toml",
        "[connections.lake2]\ntype = \"file\"\nroot = \"lake\"\n",
    );
    let sorted = |text: String| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines[1..].sort();
        lines.join("\n") + "\n"
    };
    for from in ["lake/", "lake", "lake/*.csv"] {
        let rows = place.ok(&["query", "--from", from, "--format", "csv"]);
        assert_eq!(sorted(rows), PEOPLE, "{from}");
    }
    for table in ["a.csv", "a"] {
        let rows = place.ok(&[
            "query", "--from", "lake2", "--table", table, "--format", "csv",
        ]);
        assert_eq!(rows, "id,name\n1,Ada\n", "{table}");
    }
    // A file is a destination by its name alone.
    place.write("people.csv", PEOPLE);
    place.ok(&["load", "--from", "people.csv", "--to", "out/people.parquet"]);
    let rows = place.ok(&["query", "--from", "out/people.parquet", "--format", "csv"]);
    assert_eq!(rows, PEOPLE);
    let table = place.path().join("delta");
    let url = format!("delta://{}", table.display());
    place.ok(&["load", "--from", "people.csv", "--to", &url]);
    assert!(table.join("_delta_log").is_dir());
    let rows = place.ok(&[
        "query", "--from", &url, "--table", "delta", "--format", "csv",
    ]);
    assert_eq!(sorted(rows), PEOPLE);
}

#[test]
fn a_file_that_a_query_writes_is_replaced_whatever_its_columns() {
    let place = Place::new();
    for name in ["q.parquet", "q.csv", "q.ndjson", "q.arrow", "q.csv.gz"] {
        place.ok(&["query", "--sql", "SELECT 1 AS a", "--out", name]);
        place.ok(&["query", "--sql", "SELECT 'x' AS b", "-o", name]);
        let rows = place.ok(&["query", "--from", name, "--format", "csv"]);
        assert_eq!(rows, "b\nx\n", "{name}");
    }
}

/// It is the tool for looking at what is wrong.
#[test]
fn peek_shows_what_a_file_is_before_it_says_why_its_rows_cannot_be_read() {
    let place = Place::new();
    place.write("short.csv", "id,name\n1,Ada\n2\n");
    let ended = place.run(&["peek", "short.csv"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(
        ended.out.contains("delimiter `,`") && ended.out.contains("name"),
        "{ended:?}"
    );
    assert!(ended.err.contains("line: 3"), "{ended:?}");
}
