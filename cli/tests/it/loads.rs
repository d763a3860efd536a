//! `arrowload load` into files: modes, reports, plans, exit codes.

use serde_json::Value;

use crate::{PEOPLE, Place};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_load_says_what_it_did() {
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    let text = place.ok(&[
        "load",
        "--from",
        "people.csv",
        "--to",
        "file",
        "--target",
        "people.parquet",
    ]);
    assert!(
        text.starts_with("file `people.parquet`: 2 rows in ") && text.contains("load_id"),
        "{text}"
    );
    assert_eq!(
        place.ok(&[
            "load",
            "-f",
            "people.csv",
            "-t",
            "file",
            "-T",
            "people.parquet",
            "-m",
            "overwrite",
            "--quiet"
        ]),
        ""
    );
    let report = json(&place.ok(&[
        "load",
        "-f",
        "people.csv",
        "-t",
        "file",
        "-T",
        "more",
        "-O",
        "format=parquet",
        "--load-id",
        "one",
        "--output",
        "json",
    ]));
    assert_eq!(
        (
            report["rows"].as_u64(),
            report["already_loaded"].as_bool(),
            report["load_id"].as_str()
        ),
        (Some(2), Some(false), Some("one"))
    );
    let again = json(&place.ok(&[
        "load",
        "-f",
        "people.csv",
        "-t",
        "file",
        "-T",
        "more",
        "-O",
        "format=parquet",
        "--load-id",
        "one",
        "--output",
        "json",
    ]));
    assert_eq!(again["already_loaded"], true);
    let table = [
        "load",
        "--table",
        "people.csv",
        "--to",
        "file",
        "--target",
        "copy.csv",
    ];
    place.ok(&table);
    assert_eq!(place.read("copy.csv"), PEOPLE);
}

#[test]
fn a_dry_run_touches_nothing() {
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    let load = [
        "load",
        "--from",
        "people.csv",
        "--to",
        "file",
        "--target",
        "people.parquet",
        "--dry-run",
    ];
    let text = place.ok(&load);
    assert!(
        text.contains("id    Int64") && text.contains("exact") && text.contains("promises:"),
        "{text}"
    );
    let plan = json(&place.ok(&[&load[..], &["--output", "json"]].concat()));
    assert_eq!(plan["columns"][1]["name"], "name");
    assert_eq!(
        std::fs::read_dir(place.path()).expect("a folder").count(),
        1
    );
}

#[test]
fn a_failed_load_leaves_the_target_as_it_was() {
    let place = Place::new();
    place
        .write("people.csv", PEOPLE)
        .write("copy.csv", "before");
    let error = place.refused(
        1,
        &[
            "load",
            "--from",
            "people.csv",
            "--to",
            "file",
            "--target",
            "copy.csv",
            "--mode",
            "create",
        ],
    );
    assert!(error.contains("copy.csv"), "{error}");
    let failing = "SELECT CASE WHEN value < 100000 THEN value ELSE CAST('x' || value AS INT) END AS v FROM generate_series(1, 200000)";
    let error = place.refused(
        1,
        &[
            "load",
            "--sql",
            failing,
            "--to",
            "file",
            "--target",
            "copy.csv",
            "--mode",
            "overwrite",
        ],
    );
    assert!(
        error.starts_with("error: ") && error.trim_end().lines().count() == 1,
        "{error}"
    );
    assert!(
        error.trim_end().ends_with("; the target is unchanged"),
        "{error}"
    );
    assert_eq!(place.read("copy.csv"), "before");
}

#[test]
fn log_lines_can_be_json() {
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    let ended = place.run(&[
        "load",
        "-f",
        "people.csv",
        "-t",
        "file",
        "-T",
        "x.csv",
        "-v",
        "--log-format",
        "json",
        "--output",
        "json",
    ]);
    json(&ended.out);
    let lines: Vec<Value> = ended.err.lines().map(json).collect();
    assert!(
        lines
            .iter()
            .any(|line| line["fields"]["message"] == "loaded"),
        "{}",
        ended.err
    );
}

#[test]
fn an_error_says_how_often_and_how_long_it_was_tried() {
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    // A server that goes away each time.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let to = format!("postgresql://u@127.0.0.1:{port}/d?table=t");
    let load = ["load", "--quiet", "--from", "people.csv", "--to", &to];
    let error = place.refused(1, &[&load[..], &["-O", "max_retries=2"]].concat());
    assert!(
        error.contains("tried: 3 times in ") && error.lines().count() == 1,
        "{error}"
    );
    let once = place.refused(1, &[&load[..], &["-O", "max_retries=0"]].concat());
    assert!(!once.contains("tried"), "{once}");
    // Where nobody listens on this machine, nobody is waited for.
    let to = "postgresql://u@localhost:1/d?table=t";
    let error = place.refused(1, &["load", "--from", "people.csv", "--to", to]);
    assert!(
        error.starts_with("error: PostgreSQL cannot be reached at localhost:1")
            && !error.contains("tried")
            && error.lines().count() == 1,
        "{error}"
    );
}

#[test]
fn columns_and_rows_are_chosen_without_sql() {
    let place = Place::new();
    place.write(
        "people.csv",
        "id,name,email\n1,Ada,a@b\n2,Grace,g@h\n3,Edsger,\n",
    );
    let shape = [
        "--exclude-columns",
        "name",
        "--rename",
        "id=key",
        "--cast",
        "id=text",
        "--mask",
        "email=sha256",
        "--where",
        "id <> 2",
    ];
    let expected =
        "key,email\n1,7508d8b5018ea640b85269861a101203f0c26900555268e930025dac844b0f35\n3,\n";
    let query = ["query", "--from", "people.csv", "--format", "csv"];
    assert_eq!(place.ok(&[&query[..], &shape].concat()), expected);
    let load = ["load", "--from", "people.csv", "--to", "out.csv"];
    place.ok(&[&load[..], &shape].concat());
    assert_eq!(place.read("out.csv"), expected);
    assert_eq!(
        place.ok(&[&query[..], &["--columns", "name", "--limit", "1"]].concat()),
        "name\nAda\n"
    );
    let error = place.refused(2, &[&query[..], &["--mask", "emial=redact"]].concat());
    assert!(error.contains("did you mean `email`?"), "{error}");
    place.write(
        "job.toml",
        "[loads.a]\nfrom = \"people.csv\"\nto = \"job.csv\"\nshape = { columns = [\"id\"], limit = 2 }\n",
    );
    place.ok(&["run", "job.toml", "-q"]);
    assert_eq!(place.read("job.csv"), "id\n1\n2\n");
}

#[test]
fn a_load_without_a_row_is_refused_where_that_is_asked_for() {
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    place.ok(&["load", "--from", "people.csv", "--to", "out.csv"]);
    let empty = |more: &[&str]| {
        let load = [
            "load",
            "--from",
            "people.csv",
            "--where",
            "id > 9",
            "--mode",
            "overwrite",
        ];
        place.run(&[&load, more].concat())
    };
    for option in [&["--refuse-empty"][..], &["-O", "refuse_empty=true"]] {
        let ended = empty(&[&["--to", "out.csv"][..], option].concat());
        assert!(
            ended.code == 1
                && ended.err.contains("`refuse_empty` is set")
                && ended.err.contains("unchanged"),
            "{ended:?}"
        );
        assert_eq!(place.read("out.csv"), PEOPLE);
    }
    let both = empty(&[
        "--to",
        "out.csv",
        "--refuse-empty",
        "-O",
        "refuse_empty=false",
    ]);
    assert!(
        both.code == 2 && both.err.contains("say the same thing"),
        "{both:?}"
    );
    // A load with rows is none of its business.
    place.ok(&[
        "load",
        "--from",
        "people.csv",
        "--to",
        "more.csv",
        "--refuse-empty",
    ]);
    place.write(
        "job.toml",
        "[loads.a]\nfrom = \"people.csv\"\nshape = { where = \"id > 9\" }\nto = \"out.csv\"\nmode = \"overwrite\"\nrefuse_empty = true\n",
    );
    let ended = place.run(&["run", "job.toml"]);
    assert!(
        ended.code == 1 && ended.err.contains("`refuse_empty`"),
        "{ended:?}"
    );
    assert_eq!(place.read("out.csv"), PEOPLE);
    assert_eq!(empty(&["--to", "out.csv"]).code, 0);
    assert_eq!(place.read("out.csv"), "id,name\n");
}

#[test]
fn a_cast_or_a_declared_type_changes_no_value_silently() {
    let place = Place::new();
    place.write("codes.csv", "code,at\n01067,2024-01-01T00:00:00+05:00\n");
    place.write("codes.json", "{\"id\": 9007199254740993}\n");
    place.write("ids.csv", "id,share\n9007199254740993,0.1\n");
    for (arguments, words) in [
        (
            "load --from codes.csv --to out.parquet --cast code=int64",
            "`01067` is no such value",
        ),
        (
            "load --from codes.csv --to out.parquet --types at=text --cast at=timestamp",
            "`2024-01-01T00:00:00+05:00` is no such value",
        ),
        (
            "load --from ids.csv --to out.parquet --types id=float64",
            "9007199254740993",
        ),
        (
            "load --from codes.json --to out.parquet --types id=float64",
            "9007199254740993",
        ),
    ] {
        let ended = place.run(&arguments.split(' ').collect::<Vec<_>>());
        assert!(
            ended.code == 1 && ended.err.contains(words),
            "{arguments}: {ended:?}"
        );
        assert!(!place.path().join("out.parquet").exists(), "{arguments}");
    }
    let load = "load --from ids.csv --to out.parquet --types share=float64";
    place.ok(&load.split(' ').collect::<Vec<_>>());
}

/// 2024 days after 1970 is not the year 2024.
#[test]
fn a_cast_between_numbers_and_times_is_refused() {
    let place = Place::new();
    place.write(
        "x.csv",
        "year,share,price,day,at\n2024,0.5,1.50,2024-01-01,2024-01-01T09:30:00\n",
    );
    let load = "load --from x.csv --to out.parquet --types year=int64,share=float64,price=decimal(10,2),day=date,at=timestamp --cast";
    let load: Vec<&str> = load.split(' ').collect();
    for cast in [
        "year=date",
        "year=timestamp",
        "year=timestamptz",
        "year=time",
        "share=timestamp",
        "price=timestamp",
        "day=int32",
        "day=int64",
        "at=int64",
        "at=float",
        "at=decimal(38,0)",
    ] {
        for command in [&load[..], &["query", "--from", "x.csv", "--cast"]] {
            let line = place.refused(2, &[command, &[cast]].concat());
            assert!(line.contains("in --sql"), "{cast}: {line}");
        }
        assert!(!place.path().join("out.parquet").exists(), "{cast}");
    }
    place.ok(&[&load[..], &["year=text,day=timestamp,share=text,at=text"]].concat());
}
