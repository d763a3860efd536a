//! `arrowload query`: formats, files, standard input, parameters.

use crate::{Ended, PEOPLE, Place};

#[test]
fn csv_is_the_same_from_a_query_and_from_the_loader_of_files() {
    let place = Place::new();
    place.write("seed.csv", "id\n1\n");
    let sql = "SELECT 1 AS id, '' AS empty, CAST(NULL AS VARCHAR) AS missing, 'a,\"b\"' AS quoted, 0.1 AS float, \
        CAST('2024-02-29T01:02:03.5Z' AS TIMESTAMP) AS time, X'00ff' AS bytes FROM 'seed.csv'";
    let printed = place.ok(&["query", "--sql", sql, "--format", "csv"]);
    assert!(
        printed.starts_with("id,empty,missing,quoted,float,time,bytes\n1,\"\",,\"a,\"\"b\"\"\",0.1,2024-02-29T01:02:03.5"),
        "{printed}"
    );
    place.ok(&[
        "load",
        "--sql",
        sql,
        "--to",
        "file",
        "--target",
        "loaded.csv",
    ]);
    assert_eq!(place.read("loaded.csv"), printed);
    assert_eq!(
        place.ok(&[
            "query",
            "--sql",
            "SELECT CAST(NULL AS INT) AS x FROM 'seed.csv'",
            "--format",
            "csv"
        ]),
        "x\n\n"
    );
}

#[test]
fn each_format_shows_the_same_rows() {
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    let query = |format: &str| place.ok(&["query", "--from", "people.csv", "--format", format]);
    assert_eq!(query("csv"), PEOPLE);
    assert_eq!(
        query("ndjson"),
        "{\"id\":1,\"name\":\"Ada\"}\n{\"id\":2,\"name\":\"Grace\"}\n"
    );
    assert_eq!(
        query("json"),
        "[{\"id\":1,\"name\":\"Ada\"},{\"id\":2,\"name\":\"Grace\"}]\n"
    );
    let table = query("table");
    assert!(
        table.contains("| 1  | Ada   |") && table.ends_with("(2 rows)\n"),
        "{table}"
    );
    for file in [
        "out.parquet",
        "out.arrow",
        "out.csv",
        "out.csv.gz",
        "out.ndjson",
        "out.json",
    ] {
        assert_eq!(place.ok(&["query", "--from", "people.csv", "-o", file]), "");
        assert_eq!(
            place.ok(&["query", "--from", file, "--format", "csv"]),
            PEOPLE,
            "{file}"
        );
    }
    let none = "SELECT 1 AS a WHERE false";
    for (format, text) in [("csv", "a\n"), ("json", "[]\n"), ("ndjson", "")] {
        assert_eq!(
            place.ok(&["query", "--sql", none, "--format", format]),
            text
        );
    }
}

#[test]
fn a_file_that_is_there_is_replaced_whatever_it_holds() {
    let place = Place::new();
    for file in ["q.parquet", "q.arrow", "q.arrows", "q.csv", "q.ndjson"] {
        let write = |sql: &str, more: &[&str]| {
            let ended = place.run(&[&["query", "--sql", sql, "-o", file], more].concat());
            assert_eq!(
                (ended.code, ended.out.as_str()),
                (0, ""),
                "{file}: {ended:?}"
            );
            ended.err
        };
        assert_eq!(write("SELECT 1 AS a", &[]), "");
        assert_eq!(write("SELECT 'x' AS b", &[]), format!("replaced {file}\n"));
        assert_eq!(
            place.ok(&["query", "--from", file, "--format", "csv"]),
            "b\nx\n",
            "{file}"
        );
        assert_eq!(write("SELECT 'x' AS b", &["--quiet"]), "");
    }
}

#[test]
fn only_a_file_can_be_written() {
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    std::fs::create_dir(place.path().join("folder")).expect("a folder");
    for (file, why) in [
        ("folder", "is a folder"),
        ("new/", "is a folder"),
        ("/dev/null", "redirect standard output"),
    ] {
        let arguments = [
            "query",
            "--from",
            "people.csv",
            "-o",
            file,
            "--format",
            "csv",
        ];
        let error = place.refused(2, &arguments);
        assert!(error.contains(why), "{file}: {error}");
    }
    for format in ["table", "json"] {
        let arguments = [
            "query",
            "--from",
            "people.csv",
            "-o",
            "x",
            "--format",
            format,
        ];
        let error = place.refused(2, &arguments);
        assert!(error.contains("only printed"), "{format}: {error}");
    }
    assert!(!place.path().join("x").exists() && !place.path().join("new").exists());
}

#[test]
fn control_characters_never_reach_a_table() {
    let place = Place::new();
    let sql = "SELECT 'a' || chr(27) || '[31m' || chr(155) || chr(10) || 'b' AS \"n\u{1b}[2J\"";
    let table = place.ok(&["query", "--sql", sql, "--format", "table"]);
    assert!(
        table.contains("| n\\u001b[2J") && table.contains("| a\\u001b[31m\\u009b\\nb |"),
        "{table:?}"
    );
    assert!(!table.contains('\u{1b}'), "{table:?}");
    // A pipe gets what is there.
    let csv = place.ok(&["query", "--sql", sql, "--format", "csv"]);
    assert_eq!(csv, "n\u{1b}[2J\n\"a\u{1b}[31m\u{9b}\nb\"\n");
    let error = place.refused(1, &["query", "--sql", "SELECT \"\u{1b}[2J\""]);
    assert!(error.contains("\\u001b[2J"), "{error:?}");
}

#[test]
fn what_is_piped_in_is_a_table() {
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    for file in ["people.parquet", "people.arrow", "people.ndjson"] {
        place.ok(&["query", "--from", "people.csv", "-o", file]);
    }
    for file in [
        "people.csv",
        "people.parquet",
        "people.arrow",
        "people.ndjson",
    ] {
        let bytes = std::fs::read(place.path().join(file)).expect("a file");
        let ended = Ended::of(
            place
                .command(&["query", "--from", "-", "--format", "csv"])
                .write_stdin(bytes.clone()),
        );
        assert_eq!(
            (ended.code, ended.out.as_str()),
            (0, PEOPLE),
            "{file}: {ended:?}"
        );
        let sql = [
            "query",
            "--from",
            "-",
            "--sql",
            "SELECT max(name) AS last FROM stdin",
            "--format",
            "csv",
        ];
        assert_eq!(
            Ended::of(place.command(&sql).write_stdin(bytes)).out,
            "last\nGrace\n",
            "{file}"
        );
    }
    let ended = Ended::of(place.command(&["query", "--from", "-"]).write_stdin(""));
    assert!(
        ended.code == 1 && ended.err.contains("standard input is empty"),
        "{ended:?}"
    );
    let by_file = Ended::of(
        place
            .command(&["query", "--sql-file", "-", "--format", "csv"])
            .write_stdin("SELECT 1 AS one"),
    );
    assert_eq!(by_file.out, "one\n1\n");
}

#[test]
fn arrow_files_are_of_the_format_that_their_names_say() {
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    let bytes = |arguments: &[&str]| {
        let output = place
            .command(&[&["query", "--from", "people.csv"][..], arguments].concat())
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{output:?}");
        match arguments.iter().position(|argument| *argument == "-o") {
            Some(index) => std::fs::read(place.path().join(arguments[index + 1])).expect("a file"),
            None => output.stdout,
        }
    };
    let is_file = |bytes: &[u8]| bytes.starts_with(b"ARROW1") && bytes.ends_with(b"ARROW1");
    let is_stream = |bytes: &[u8]| {
        bytes.starts_with(&[0xFF; 4]) && bytes.ends_with(&[0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0])
    };
    for arguments in [
        &["-o", "x.arrow"][..],
        &["-o", "x.ipc"],
        &["-o", "x.bin", "--format", "arrow"],
        &["-o", "x.arrows", "--format", "arrow-file"],
    ] {
        assert!(is_file(&bytes(arguments)), "{arguments:?}");
    }
    for arguments in [
        &["-o", "x.arrows"][..],
        &["--format", "arrow"],
        &["-o", "x.arrow", "--format", "arrow-stream"],
    ] {
        assert!(is_stream(&bytes(arguments)), "{arguments:?}");
    }
    // A dictionary of each batch's own.
    let sql = "SELECT arrow_cast(name, 'Dictionary(Int32, Utf8)') AS name FROM 'people.csv' UNION ALL SELECT arrow_cast('Alan', 'Dictionary(Int32, Utf8)')";
    place.ok(&["query", "--sql", sql, "-o", "words.arrow"]);
    let back = place.ok(&[
        "query",
        "--sql",
        "SELECT name FROM 'words.arrow' ORDER BY 1",
        "--format",
        "csv",
    ]);
    assert_eq!(back, "name\nAda\nAlan\nGrace\n");
}

#[test]
fn a_stream_that_was_cut_off_is_refused() {
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    let whole = place
        .command(&["query", "--from", "people.csv", "--format", "arrow"])
        .output()
        .expect("it runs")
        .stdout;
    let read = |bytes: &[u8], more: &[&str]| {
        let arguments = [&["query", "--from", "-", "--format", "csv"][..], more].concat();
        Ended::of(place.command(&arguments).write_stdin(bytes.to_vec()))
    };
    assert_eq!(read(&whole, &[]).out, PEOPLE);
    let cut = &whole[..whole.len() - 8];
    let refused = read(cut, &[]);
    assert!(
        refused.code == 1
            && refused.err.contains("without its end marker")
            && refused.out.is_empty(),
        "{refused:?}"
    );
    assert_eq!(read(cut, &["--no-end-marker"]).out, PEOPLE);
    // Within a batch, or followed by another stream.
    let broken = read(&whole[..whole.len() - 16], &["--no-end-marker"]);
    assert!(
        broken.code == 1 && !broken.out.contains("Ada"),
        "{broken:?}"
    );
    let two = read(&[whole.as_slice(), &whole].concat(), &[]);
    assert!(
        two.code == 1 && two.err.contains("two streams are not one"),
        "{two:?}"
    );
}

#[test]
fn floats_without_a_number_in_json_are_not_lost() {
    let place = Place::new();
    let sql = "SELECT arrow_cast(v, 'Float32') AS f, v AS d, [v] AS l FROM (VALUES (1.5e0), ('NaN'::double), ('inf'::double), ('-inf'::double), (NULL)) AS t(v)";
    let shown = place.ok(&["query", "--sql", sql, "--format", "ndjson"]);
    let expected = [
        ("1.5", "1.5"),
        ("\"NaN\"", "\"NaN\""),
        ("\"Infinity\"", "\"Infinity\""),
        ("\"-Infinity\"", "\"-Infinity\""),
        ("null", "null"),
    ]
    .map(|(float, double)| format!("{{\"f\":{float},\"d\":{double},\"l\":[{double}]}}\n"))
    .concat();
    assert_eq!(shown, expected);
    assert!(
        place
            .ok(&["query", "--sql", sql, "--format", "json"])
            .contains("{\"f\":\"NaN\"")
    );
    // A file holds the same, whichever command wrote it.
    place.ok(&["query", "--sql", sql, "-o", "written.ndjson"]);
    let load = ["load", "--sql", sql, "--to", "file", "--target"];
    place.ok(&[&load[..], &["loaded.ndjson"]].concat());
    assert_eq!(
        (place.read("written.ndjson"), place.read("loaded.ndjson")),
        (shown.clone(), shown)
    );
}

#[test]
fn parameters_are_bound() {
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    let sql = "SELECT name FROM 'people.csv' WHERE id = $id OR name = $who ORDER BY 1";
    let query = [
        "query",
        "--sql",
        sql,
        "--param",
        "id=2",
        "-p",
        "who=Ada' OR '1'='1",
        "--format",
        "csv",
    ];
    assert_eq!(place.ok(&query), "name\nGrace\n");
    let typed = [
        "query",
        "--sql",
        "SELECT $1 AS day, $2 AS price",
        "-p",
        "1:date=2024-02-29",
        "-p",
        "2:decimal(6,2)=1.50",
        "--format",
        "csv",
    ];
    assert_eq!(place.ok(&typed), "day,price\n2024-02-29,1.50\n");
}

#[test]
fn parameters_keep_every_digit_or_are_refused() {
    let place = Place::new();
    let shown = |param: &str| {
        place.ok(&[
            "query",
            "--sql",
            "SELECT $a AS a",
            "-p",
            param,
            "--format",
            "csv",
        ])
    };
    for number in [
        "12345678901234567891",
        "-0.12345678901234567891",
        "1.5",
        "9223372036854775807",
    ] {
        assert_eq!(shown(&format!("a={number}")), format!("a\n{number}\n"));
    }
    for param in [
        "a:decimal(5,2)=1.005",
        "a:decimal(38,2)=1234567890123456789.991",
        "a:timestamp=2024-01-01T00:00:00+02:00",
        "a:timestamp=2024-01-01T00:00:00.1234567",
        "a:float=1e999",
    ] {
        let error = place.refused(2, &["query", "--sql", "SELECT $a AS a", "-p", param]);
        assert!(error.contains("--param a"), "{param}: {error}");
    }
    assert_eq!(
        shown("a:timestamptz=2024-01-01T00:00:00+02:00"),
        "a\n2023-12-31T22:00:00.000000Z\n"
    );
}

#[test]
fn a_value_that_has_no_text_is_an_error_in_every_format() {
    let place = Place::new();
    let sql = "SELECT arrow_cast(9223371244799000000, 'Timestamp(Microsecond, None)') AS far";
    for format in ["table", "csv", "json", "ndjson"] {
        let ended = place.run(&["query", "--sql", sql, "--format", format]);
        assert!(
            ended.code == 1 && !ended.out.contains("ERROR") && ended.err.contains("cast"),
            "{format}: {ended:?}"
        );
    }
}

#[test]
fn a_file_is_whole_or_not_there() {
    let place = Place::new();
    let failing = "SELECT CASE WHEN value < 100000 THEN value ELSE CAST('x' || value AS INT) END AS v FROM generate_series(1, 200000)";
    let error = place.refused(1, &["query", "--sql", failing, "-o", "out.csv"]);
    assert!(error.starts_with("error: "), "{error}");
    assert_eq!(
        std::fs::read_dir(place.path()).expect("a folder").count(),
        0
    );
    place.write("file", "");
    let error = place.refused(2, &["query", "--sql", "SELECT 1", "-o", "file/x.csv"]);
    assert!(error.contains("file/x.csv"), "{error}");
}

#[test]
fn a_pipe_that_closes_is_no_error() {
    use std::io::{BufRead, BufReader};
    let place = Place::new();
    let sql = "SELECT * FROM generate_series(1, 1000000)";
    for (format, first) in [
        ("csv", "value\n"),
        ("ndjson", "{\"value\":1}\n"),
        ("json", ""),
        ("arrow", ""),
        ("parquet", ""),
    ] {
        let mut child = place.spawn(&["query", "--sql", sql, "--format", format]);
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        if first.is_empty() {
            assert!(!out.fill_buf().expect("bytes").is_empty(), "{format}");
        } else {
            out.read_line(&mut line).expect("a line");
        }
        drop(out);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(
            (line.as_str(), output.status.code()),
            (first, Some(0)),
            "{format}"
        );
        assert!(
            output.stderr.is_empty(),
            "{format}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// A query ends at the first such row, or takes them all aside, and they are in its answer or in the file.
#[test]
fn rows_that_cannot_be_parsed_are_set_aside_by_queries_too() {
    let place = Place::new();
    place.write("zips.csv", "id,zip\n1,02134\n2\n3,90210\n");
    let query = ["query", "--from", "zips.csv", "--format", "csv"];
    let said = place.refused(1, &query);
    assert!(
        said.contains("zips.csv") && said.contains("line: 3"),
        "{said}"
    );

    let ended = place.run(&[&query[..], &["--on-error", "skip"]].concat());
    assert_eq!(ended.out, "id,zip\n1,02134\n3,90210\n");
    assert_eq!(ended.code, 3, "{ended:?}");
    let said = ended.err.split("arrowload replay ").nth(1);
    let file = said.and_then(|said| said.split(' ').next());
    let file = file.expect("the file is named");
    let unparsed = place.ok(&["query", "--from", file, "--format", "ndjson"]);
    assert!(unparsed.contains("\"_arrowload_line\":3"), "{unparsed}");
    let pad = ["--read-option", "ragged=pad"];
    let said = place.refused(2, &[&["replay", file][..], &pad].concat());
    assert!(said.contains("--to"), "{said}");
    let to = ["replay", file, "--to", "file", "-T", "padded.csv"];
    place.ok(&[&to[..], &pad].concat());
    assert_eq!(place.read("padded.csv"), "id,zip\n2,\n");

    let out = [
        "query",
        "--from",
        "zips.csv",
        "-o",
        "out.csv",
        "--on-error",
        "skip",
    ];
    let ended = place.run(&out);
    assert_eq!(
        (ended.code, place.read("out.csv").as_str()),
        (3, "id,zip\n1,02134\n3,90210\n")
    );
    assert!(
        ended.err.contains("1 rows could not be parsed"),
        "{ended:?}"
    );
}

/// What was masked stays so: a row that could not be parsed has not come through the mask, and is not loaded without it.
#[test]
fn rows_that_could_not_be_parsed_are_not_replayed_without_what_was_done_to_their_columns() {
    let place = Place::new();
    place.write("people.csv", "id,email\n1,a@x.org\n2,b@x.org,c\n");
    let load = "load --from people.csv --to out.csv -m overwrite -O on_error=skip_unparsed";
    let print = "query --from people.csv --format csv --on-error skip";
    let file = "query --from people.csv -o out.csv --on-error skip";
    let cases = [load, print, file].into_iter().flat_map(|command| {
        let shapes = [
            "--mask email=sha256",
            "--columns id",
            "--exclude-columns email",
            "--rename email=e",
            "--cast id=text",
        ];
        shapes.map(|shape| format!("{command} {shape}"))
    });
    for arguments in cases {
        let ended = place.run(&arguments.split(' ').collect::<Vec<_>>());
        assert_eq!(ended.code, 3, "{arguments}: {ended:?}");
        let said = format!("{}{}", ended.out, ended.err);
        let letters = said.split("arrowload replay ").nth(1);
        let letters = letters.and_then(|said| said.split_whitespace().next());
        let letters = letters.expect("the file is named");
        let replay = ["replay", letters, "--to", "again.csv"];
        let pad = ["--read-option", "ragged=pad"];
        let said = place.refused(2, &[&replay[..], &pad].concat());
        assert!(
            said.contains("masked columns") && said.contains("mend their file"),
            "{arguments}: {said}"
        );
        assert!(!place.path().join("again.csv").exists(), "{arguments}");
    }
}

/// The first row of an ordered query is its first row, not any row.
#[test]
fn a_limit_keeps_the_order_of_the_query() {
    let place = Place::new();
    let rows: String = (0..20_000)
        .map(|id| format!("{id},{}\n", (id * 7919) % 20_011))
        .collect();
    place.write("o.csv", &format!("id,amount\n{rows}"));
    let query = |sql: &str, more: &[&str]| {
        let query = ["query", "--from", "o.csv", "--format", "csv", "--sql", sql];
        place.run(&[&query[..], more].concat())
    };
    let largest = (0..20_000).map(|id| (id * 7919) % 20_011).max();
    let largest = format!("amount\n{}\n", largest.expect("rows"));
    for sql in [
        "select amount from data order by amount desc",
        "SELECT amount FROM data ORDER BY amount DESC ; ",
        "with a as (select * from data limit 100000) select amount from a order by amount desc -- the end",
        "select amount from data order by amount desc limit 10",
    ] {
        let ended = query(sql, &["--limit", "1"]);
        assert_eq!((ended.code, &ended.out), (0, &largest), "{sql}: {ended:?}");
    }
    let ordered = "select amount from data order by amount desc";
    for more in [
        &["--where", "amount > 1"][..],
        &["--sample", "50%"],
        &["--where", "amount > 1", "--limit", "1"],
    ] {
        let ended = query(ordered, more);
        assert!(
            ended.code == 2 && ended.err.contains("put the condition into the query"),
            "{more:?}: {ended:?}"
        );
    }
    // A comment at the end hides nothing of what is put behind it.
    let sql = "select id from data where id < 10 -- the end";
    for (more, expected) in [
        (&["--where", "id = 7 -- seven"][..], "id\n7\n"),
        (&["--where", "id < 9", "--limit", "0"], "id\n"),
    ] {
        let ended = query(sql, more);
        assert_eq!((ended.code, ended.out.as_str()), (0, expected), "{ended:?}");
    }
}
