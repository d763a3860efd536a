//! The job that people come for: a file into PostgreSQL, and back, with `DATABASE_URL` alone.

use arrowload_testkit::ThrowawayPostgres;

use crate::{Ended, PEOPLE, Place};

#[test]
fn one_command_takes_a_file_into_postgresql() {
    let Some(server) = ThrowawayPostgres::available() else {
        return;
    };
    let url = server.create_database("arrowload_cli").expect("a database");
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    place.ok(&["query", "--from", "people.csv", "-o", "people.parquet"]);
    let run = |arguments: &[&str]| {
        let ended = Ended::of(place.command(arguments).env("DATABASE_URL", &url));
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
        ended.out
    };
    let rows = || {
        server
            .psql("arrowload_cli", "SELECT * FROM people ORDER BY id")
            .expect("rows")
    };
    run(&[
        "load",
        "--sql",
        "SELECT * FROM 'people.parquet'",
        "--to",
        "postgresql",
        "--target",
        "people",
    ]);
    assert_eq!(rows(), "1|Ada\n2|Grace");
    // The same by a URL that names its target, as an upsert.
    place.write("more.csv", "id,name\n2,Hopper\n3,Edsger\n");
    server
        .psql("arrowload_cli", "CREATE UNIQUE INDEX ON people (id)")
        .expect("an index");
    let named = format!("{url}?table=people");
    let upsert = place.ok(&[
        "load", "--from", "more.csv", "--to", &named, "--mode", "upsert", "--keys", "id",
    ]);
    assert!(upsert.contains("1 inserted, 1 updated"), "{upsert}");
    assert_eq!(rows(), "1|Ada\n2|Hopper\n3|Edsger");
    // And out of it.
    let back = place.ok(&[
        "query",
        "--from",
        &url,
        "--sql",
        "SELECT name FROM people WHERE id = $id",
        "--param",
        "id=3",
        "--format",
        "csv",
    ]);
    assert_eq!(back, "name\nEdsger\n");
    assert_eq!(
        run(&[
            "query",
            "--from",
            "postgresql",
            "--table",
            "people",
            "--format",
            "ndjson"
        ])
        .lines()
        .count(),
        3
    );
    // A name is the same to --target and --table.
    for name in ["My_Table", "user", "public.Odd name", "\"a.b\""] {
        run(&[
            "load",
            "--from",
            "people.csv",
            "--to",
            "postgresql",
            "--target",
            name,
        ]);
        let back = run(&[
            "query",
            "--from",
            "postgresql",
            "--table",
            name,
            "--format",
            "csv",
        ]);
        assert_eq!(back, PEOPLE, "{name}");
    }
    let plan = run(&[
        "load",
        "--from",
        "people.csv",
        "--to",
        "postgresql",
        "--target",
        "fresh",
        "--dry-run",
    ]);
    assert!(
        plan.contains("CREATE TABLE \"public\".\"fresh\"") && plan.contains("bigint"),
        "{plan}"
    );
    assert_eq!(
        server
            .psql(
                "arrowload_cli",
                "SELECT count(*) FROM pg_class WHERE relname = 'fresh'"
            )
            .expect("a count"),
        "0"
    );
}

#[test]
fn a_server_without_channel_binding_is_not_taken_for_a_missing_password() {
    let Some(server) = ThrowawayPostgres::available() else {
        return;
    };
    let url = format!(
        "{}?channel_binding=require",
        server.database_url("postgres")
    );
    let place = Place::new();
    let line = place.refused(1, &["query", "--from", &url, "--sql", "SELECT 1"]);
    assert!(
        line.contains("channel binding")
            && line.contains("SCRAM")
            && !line.contains("password is set"),
        "{line}"
    );
}

#[test]
fn rows_that_are_refused_end_with_code_3_and_can_be_replayed() {
    let Some(server) = ThrowawayPostgres::available() else {
        return;
    };
    let url = server
        .create_database("arrowload_cli_skip")
        .expect("a database");
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    server
        .psql(
            "arrowload_cli_skip",
            "CREATE TABLE people (id bigint CHECK (id <> 2), name text)",
        )
        .expect("a table");
    let load = [
        "load",
        "--from",
        "people.csv",
        "--to",
        "postgresql",
        "--target",
        "people",
        "--option",
        "on_error=skip",
        "--load-id",
        "once",
    ];
    let ended = Ended::of(place.command(&load).env("DATABASE_URL", &url));
    assert!(
        ended.code == 3 && ended.out.contains("arrowload replay "),
        "{ended:?}"
    );
    // Repeated, it says the same again.
    let again = Ended::of(place.command(&load).env("DATABASE_URL", &url));
    let plan = Ended::of(
        place
            .command(&[&load[..], &["--dry-run"]].concat())
            .env("DATABASE_URL", &url),
    );
    assert!(
        plan.code == 0
            && plan
                .out
                .contains("there already, 1 rows: nothing would be written"),
        "{plan:?}"
    );
    assert!(
        again.code == 3
            && again.out.contains("already there")
            && again.out.contains("1 rows were set aside in "),
        "{again:?}"
    );
    let file = ended
        .out
        .split("arrowload replay ")
        .nth(1)
        .map(str::trim)
        .expect("a file")
        .to_owned();
    server
        .psql(
            "arrowload_cli_skip",
            "ALTER TABLE people DROP CONSTRAINT people_id_check",
        )
        .expect("dropped");
    let replayed = Ended::of(place.command(&["replay", &file]).env("DATABASE_URL", &url));
    assert_eq!(replayed.code, 0, "{replayed:?}");
    assert_eq!(
        server
            .psql("arrowload_cli_skip", "SELECT id FROM people ORDER BY 1")
            .expect("rows"),
        "1\n2"
    );
}

#[test]
fn a_connection_is_tested_as_a_doctor_would() {
    let Some(server) = ThrowawayPostgres::available() else {
        return;
    };
    let url = server
        .create_database("arrowload_cli_doctor")
        .expect("a database");
    let setup = "DROP ROLE IF EXISTS arrowload_visitor; CREATE ROLE arrowload_visitor LOGIN; CREATE TABLE t (id bigint); REVOKE CREATE ON SCHEMA public FROM PUBLIC";
    server.psql("arrowload_cli_doctor", setup).expect("a role");
    let place = Place::new();
    place.ok(&["connections", "add", "owner", &url]);
    place.ok(&[
        "connections",
        "add",
        "visitor",
        &url.replace("postgres@", "arrowload_visitor@"),
    ]);
    let well = place.ok(&["connections", "test", "owner", "--target", "t"]);
    assert!(
        well.contains("takes the credentials")
            && well.contains("`t` is there")
            && well.contains("can be queried"),
        "{well}"
    );
    for (target, words) in [
        (Some("t"), "GRANT INSERT ON"),
        (None, "GRANT CREATE ON SCHEMA"),
    ] {
        let arguments = [
            &["connections", "test", "visitor"][..],
            &target
                .map(|target| ["--target", target])
                .map_or(vec![], |pair| pair.to_vec()),
        ]
        .concat();
        let ended = place.run(&arguments);
        assert!(ended.code == 1 && ended.err.contains(words), "{ended:?}");
    }
}

#[test]
fn rows_that_could_not_be_parsed_are_replayed_with_other_options() {
    let Some(server) = ThrowawayPostgres::available() else {
        return;
    };
    let url = server
        .create_database("arrowload_cli_unparsed")
        .expect("a database");
    let place = Place::new();
    place.write("people.csv", "id,name\n1,Ada\n2\n3,Edsger\n");
    let to = format!("{url}?table=people");
    let load = [
        "load",
        "--from",
        "people.csv",
        "--to",
        &to,
        "-O",
        "on_error=skip",
    ];
    let ended = place.run(&load);
    assert!(
        ended.code == 3 && ended.out.contains("1 rows could not be parsed"),
        "{ended:?}"
    );
    let file = ended.out.split("arrowload replay ").nth(1).map(str::trim);
    let replay = ["replay", file.expect("a file"), "--connection", &url];
    let ended = place.run(&[&replay[..], &["--read-option", "ragged=pad"]].concat());
    assert_eq!(ended.code, 0, "{ended:?}");
    let rows = server.psql("arrowload_cli_unparsed", "SELECT * FROM people ORDER BY 1");
    assert_eq!(rows.expect("rows"), "1|Ada\n2|\n3|Edsger");
}

#[test]
fn a_table_is_not_emptied_by_a_load_without_a_row() {
    let Some(server) = ThrowawayPostgres::available() else {
        return;
    };
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    let url = server.create_database("not_emptied").expect("a database");
    place.ok(&[
        "load",
        "--from",
        "people.csv",
        "--to",
        &url,
        "--target",
        "people",
    ]);
    let none = [
        "load",
        "--from",
        "people.csv",
        "--where",
        "id > 9",
        "-m",
        "overwrite",
        "--to",
        &url,
        "--target",
        "people",
    ];
    let ended = place.run(&[&none[..], &["--refuse-empty"]].concat());
    assert!(
        ended.code == 1 && ended.err.contains("unchanged"),
        "{ended:?}"
    );
    let count = || {
        server
            .psql("not_emptied", "SELECT count(*) FROM people")
            .expect("a count")
    };
    assert!(count().contains('2'), "{}", count());
    place.ok(&none);
    assert!(count().contains('0'), "{}", count());
}
