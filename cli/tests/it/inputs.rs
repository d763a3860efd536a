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

/// Names are those that every other program takes.
#[test]
fn names_with_parents_are_read_as_the_system_reads_them() {
    let place = Place::new();
    for folder in ["here", "shop"] {
        std::fs::create_dir(place.path().join(folder)).expect("a folder");
    }
    place.write("shop/people.csv", PEOPLE).write(
        "here/arrowload.toml",
        "[connections.shop]\ntype = \"file\"\nroot = \"../shop\"\n",
    );
    let here = place.path().join("here");
    let ok = |arguments: &[&str]| {
        let ended = Ended::of(place.command(arguments).current_dir(&here));
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
        ended.out
    };
    let whole = place.path().join("shop/../shop/people.csv");
    let whole = whole.to_str().expect("a name");
    for from in ["../shop/people.csv", "../shop", "../shop/*.csv", whole] {
        let rows = ok(&["query", "--from", from, "--format", "csv"]);
        assert_eq!(rows, PEOPLE, "{from}");
    }
    let sql = "SELECT * FROM '../shop/people.csv'";
    assert_eq!(ok(&["query", "--sql", sql, "--format", "csv"]), PEOPLE);
    for from in ["shop", "datafusion://../shop", "../shop"] {
        let query = ["query", "--from", from, "--table", "people"];
        let rows = ok(&[&query[..], &["--format", "csv"]].concat());
        assert_eq!(rows, PEOPLE, "{from}");
        let listed = ok(&["list", "--from", from, "--format", "csv"]);
        assert!(listed.contains("people,FILE,csv,1,"), "{listed}");
    }
    assert!(ok(&["peek", "../shop/people.csv"]).contains("Grace"));
    ok(&[
        "load",
        "--from",
        "../shop/people.csv",
        "--to",
        "../shop/people.parquet",
    ]);
    ok(&["diff", "../shop/people.csv", "../shop/people.parquet"]);
    ok(&[
        "load",
        "--from",
        "../shop/people.parquet",
        "--to",
        "delta://../shop/lake",
    ]);
    let rows = ok(&["query", "--from", "delta://../shop/lake", "--format", "csv"]);
    assert_eq!(rows, PEOPLE);
}

/// Rows of another file would be the answer to another question.
#[test]
fn beside_a_file_a_bare_name_is_no_other_file() {
    let place = Place::new();
    std::fs::create_dir(place.path().join("other")).expect("a folder");
    place.write("other/z.csv", PEOPLE);
    place.write("b.csv", "id,name\n9,Wrong\n");
    place.write("c", "id,name\n9,Wrong\n");
    let query = |more: &[&'static str]| {
        [&["query", "--from", "other/z.csv", "--format", "csv"], more].concat()
    };
    for table in ["b", "b.csv", "./b.csv", "'b.csv'", "c"] {
        let error = place.refused(2, &query(&["--table", table]));
        assert!(error.contains("is the table `data` and `z`"), "{error}");
    }
    for table in ["z", "data", "z.csv", "other/z.csv", "'other/z.csv'"] {
        assert_eq!(place.ok(&query(&["--table", table])), PEOPLE, "{table}");
    }
    for sql in [
        "SELECT * FROM b JOIN data ON data.id = b.id",
        "SELECT data.id FROM c AS data",
    ] {
        let ended = place.run(&query(&["--sql", sql]));
        assert_ne!(ended.code, 0, "{ended:?}");
        assert!(
            ended.err.contains("the tables are data, z."),
            "{sql}: {ended:?}"
        );
    }
    for sql in ["SELECT * FROM 'b.csv'", "SELECT 1"] {
        let error = place.refused(2, &query(&["--sql", sql]));
        assert!(
            error.contains("the query does not read --from other/z.csv"),
            "{error}"
        );
    }
    let sql = "SELECT count(*) AS n FROM data, 'b.csv'";
    assert_eq!(place.ok(&query(&["--sql", sql])), "n\n2\n");
}

/// The most ordinary bad row has a way to the dead letters, too.
#[test]
fn rows_with_values_that_do_not_fit_a_declared_type_are_set_aside() {
    let place = Place::new();
    place.write(
        "bad.csv",
        "id,amount,note\n1,1.50,a\n2,abc,\"b\nc\"\n3,2.5,d\n4\n5,7,e\n",
    );
    place.write(
        "bad.ndjson",
        "{\"id\":1,\"amount\":1.50}\n{\"id\":2,\"amount\":\"abc\"}\n{\"id\":3,\"amount\":2.5}\n",
    );
    let types = "amount=decimal(10,2)";
    let load = |file: &'static str, to: &'static str| {
        ["load", "--from", file, "--types", types, "--to", to]
    };
    // Without, the error names the way out.
    let error = place.refused(1, &load("bad.csv", "out.csv"));
    assert!(
        error.contains("`abc` does not fit column `amount`") && error.contains("`on_error`"),
        "{error}"
    );
    for (file, to, on_error, expected) in [
        (
            "bad.csv",
            "out.csv",
            "on_error=skip_unparsed",
            "id,amount,note\n1,1.50,a\n3,2.50,d\n5,7.00,e\n",
        ),
        (
            "bad.ndjson",
            "lines.csv",
            "on_error=skip_unparsed",
            "id,amount\n1,1.50\n3,2.50\n",
        ),
    ] {
        let ended = place.run(&[&load(file, to)[..], &["-O", on_error]].concat());
        assert_eq!(ended.code, 3, "{ended:?}");
        assert_eq!(place.read(to), expected, "{file}");
        let letters = ended.out.split("arrowload replay ").nth(1);
        let letters = letters.expect("a file").trim();
        let columns = "_arrowload_line,_arrowload_reason,_arrowload_bytes";
        let query = ["query", "--from", letters, "--columns", columns];
        let said = place.ok(&[&query[..], &["--format", "ndjson"]].concat());
        assert!(
            said.contains(
                "does not fit column `amount`, whose type Decimal128(10, 2) was declared"
            ),
            "{said}"
        );
        // As they were they do not fit; with another type they do.
        let again = ["replay", letters, "--to", "mended.csv"];
        let ended = place.run(&again);
        assert!(
            ended.code != 0 && ended.err.contains(letters) && !ended.err.contains(".tmp"),
            "{ended:?}"
        );
        let wide = ["--types", "id=int64,amount=text"];
        let wide = [&again[..], &wide, &["-m", "overwrite"]].concat();
        let wide: Vec<&str> = match file {
            "bad.csv" => {
                let ragged = ["--read-option", "ragged=pad"];
                [&again[..], &["--types", "text"], &ragged].concat()
            }
            _ => wide[..wide.len() - 2].to_vec(),
        };
        place.ok(&wide);
        assert!(place.read("mended.csv").contains("2,abc"));
        std::fs::remove_file(place.path().join("mended.csv")).expect("removed");
    }
    // Rows that are too short have no other number of names: nobody gave any. And a place that is not kept is asked for by its flags.
    place.write("short.csv", "id,amount\n1,2\n3\n");
    let to = ["--to", "file", "--config", "root=kept", "-T", "short/"];
    let load = [
        "load",
        "--from",
        "short.csv",
        "-O",
        "on_error=skip_unparsed",
    ];
    let ended = place.run(&[&load[..], &to].concat());
    let letters = ended.out.split("arrowload replay ").nth(1);
    let letters = letters.expect("a file").trim();
    let error = place.refused(2, &["replay", letters]);
    assert!(
        error.contains("--connection NAME or --connection URL") && error.contains("--config"),
        "{error}"
    );
    let replay = ["replay", letters, "--config", "root=kept"];
    let error = place.refused(2, &replay);
    assert!(
        error.contains("`ragged = \"pad\"`") && error.contains("dead_letter: 0"),
        "{error}"
    );
    assert!(
        error.contains(letters) && !error.contains("names"),
        "{error}"
    );
    place.ok(&[&replay[..], &["--read-option", "ragged=pad"]].concat());
    let count = ["query", "--from", "kept/short", "--format", "csv"];
    let sql = [
        "--sql",
        "SELECT count(*) AS n, count(amount) AS m FROM data",
    ];
    assert_eq!(place.ok(&[&count[..], &sql].concat()), "n,m\n2,1\n");
    // Types that were only found go on widening.
    place.ok(&["load", "--from", "bad.ndjson", "--to", "wide.csv"]);
    let query = ["query", "--from", "bad.csv", "--types", types];
    let ended = place.run(&[&query[..], &["--on-error", "skip", "--format", "csv"]].concat());
    assert_eq!(ended.code, 3, "{ended:?}");
    assert_eq!(ended.out.lines().count(), 4, "{ended:?}");
}

/// What is ignored is taken for what was done.
#[test]
fn options_that_the_format_of_a_file_does_not_have_are_refused() {
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    place.write("people.ndjson", "{\"id\":1}\n");
    for to in ["people.parquet", "people.arrow"] {
        place.ok(&["load", "--from", "people.csv", "--to", to]);
    }
    for (file, flag, value, words) in [
        (
            "people.parquet",
            "--types",
            "id=text",
            "`types` is no option of Parquet",
        ),
        (
            "people.arrow",
            "--types",
            "id=text",
            "`types` is no option of Arrow",
        ),
        (
            "people.parquet",
            "--read-option",
            "delim=,",
            "`delim` is no option of Parquet",
        ),
        (
            "people.csv",
            "--read-option",
            "flatten=true",
            "`flatten` is no option of CSV",
        ),
        ("people.csv", "--types", "di=text", "di"),
        ("people.ndjson", "--types", "di=text", "di"),
    ] {
        for more in [
            &[][..],
            &["--sql", "SELECT * FROM data"],
            &["--table", "people"],
        ] {
            let query = ["query", "--from", file, flag, value];
            let ended = place.run(&[&query[..], more].concat());
            assert!(
                ended.code != 0 && ended.err.contains(words),
                "{file} {value}: {ended:?}"
            );
        }
        let ended = place.run(&["load", "--from", file, flag, value, "--to", "x.csv"]);
        assert!(ended.code != 0 && ended.err.contains(words), "{ended:?}");
    }
    // Options that it has hold, with a declared format, too.
    for format in [&[][..], &["--input-format", "csv"]] {
        for more in [&[][..], &["--sql", "SELECT * FROM people"]] {
            let query = ["query", "--from", "people.csv", "--format", "csv"];
            let skip = ["--read-option", "skip=1", "--read-option", "header=false"];
            let rows = place.ok(&[&query[..], &skip, format, more].concat());
            assert!(
                rows.ends_with("1,Ada\n2,Grace\n") && !rows.contains("name"),
                "{rows}"
            );
        }
    }
}

/// A table's own URL is the table.
#[test]
fn a_delta_url_is_the_table_that_it_leads_to() {
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    place.ok(&[
        "load",
        "--from",
        "people.csv",
        "--to",
        "delta://lake/orders",
    ]);
    let rows = |from: &str| place.ok(&["query", "--from", from, "--format", "csv"]);
    assert_eq!(rows("delta://lake/orders"), PEOPLE);
    assert_eq!(rows("delta://lake/orders@0"), PEOPLE);
    // The URL that the error for its folder says.
    let error = place.refused(2, &["query", "--from", "lake/orders"]);
    let url = error
        .split("read it as ")
        .nth(1)
        .and_then(|rest| rest.split(';').next());
    assert_eq!(rows(url.expect("a URL")), PEOPLE);
    for (from, words) in [
        (
            "delta://lake/ordrs",
            "there is no folder `lake/ordrs`; did you mean `orders`?",
        ),
        (
            "delta://lake/orders@abc",
            "that is a number, lake/orders@3, or a time",
        ),
        ("delta://lake", "`lake` is no Delta table"),
        ("delta://people.csv", "`people.csv` is a file"),
    ] {
        let ended = place.run(&["query", "--from", from]);
        assert!(ended.code != 0 && ended.err.contains(words), "{ended:?}");
    }
    let ended = place.run(&["list", "--from", "delta://lke"]);
    assert!(ended.code != 0 && ended.out.is_empty(), "{ended:?}");
    assert!(
        ended
            .err
            .contains("there is no folder `lke`; did you mean `lake`?"),
        "{ended:?}"
    );
}

/// The file of --from is meant by its name too, and not another of this name in the working directory.
#[test]
fn a_query_that_names_the_file_reads_that_file() {
    let place = Place::new();
    std::fs::create_dir(place.path().join("sub")).expect("a folder");
    place
        .write("data.csv", "id\n1\n")
        .write("data2.csv", "id\n1\n")
        .write("sub/data.csv", "id\n2\n")
        .write("sub/data2.csv", "id\n2\n");
    let query = |from: &str, sql: &str, more: &[&str]| {
        let query = ["query", "--format", "csv", "--from", from, "--sql", sql];
        place.ok(&[&query[..], more].concat())
    };
    for (from, sql) in [
        ("sub/data.csv", "select * from 'data.csv'"),
        ("sub/data.csv", "select * from \"data.csv\""),
        ("sub/data.csv", "select * from read_csv('data.csv')"),
        ("sub/data2.csv", "select * from 'data2.csv'"),
    ] {
        assert_eq!(query(from, sql, &[]), "id\n2\n", "{from}: {sql}");
        let typed = query(from, sql, &["--types", "id=text"]);
        assert_eq!(typed, "id\n2\n", "{from}: {sql}");
    }
    // Other files are read where they are, and so is one of the same name by its path.
    for other in ["data2.csv", "./data.csv", "./data2.csv"] {
        let sql = format!("select d.id, o.id as other from data d, '{other}' o");
        assert_eq!(query("sub/data.csv", &sql, &[]), "id,other\n2,1\n");
    }
    let sql = ["--sql", "select * from 'data.csv'"];
    let ended = place.run(&[&["diff", "sub/data.csv", "data.csv"][..], &sql].concat());
    assert_eq!(ended.code, 1, "{ended:?}");
}
