//! Where connections lead: as others write them they are understood or refused by name, never passed over.

use arrowload_testkit::ThrowawayPostgres;

use crate::{Ended, PEOPLE, Place};

const ASK: [&str; 7] = [
    "query",
    "--from",
    "postgresql",
    "--sql",
    "SELECT current_user::text AS u, current_database()::text AS d",
    "--format",
    "csv",
];

fn ask(place: &Place, variables: &[(&str, &str)]) -> Ended {
    let mut command = place.command(&ASK);
    command.envs(variables.iter().copied());
    Ended::of(&mut command)
}

/// The address of a server's URL: `127.0.0.1:5432`.
fn address(url: &str) -> (String, String) {
    let rest = url.split('@').next_back().expect("an address");
    let place = rest.split('/').next().expect("a host");
    let (host, port) = place.rsplit_once(':').expect("a port");
    (host.to_owned(), port.to_owned())
}

#[test]
fn connections_are_understood_as_others_write_them() {
    let Some(server) = ThrowawayPostgres::available() else {
        return;
    };
    let url = server
        .create_database("arrowload_cli_urls")
        .expect("a database");
    let role =
        "DROP ROLE IF EXISTS \"we ird@x\"; CREATE ROLE \"we ird@x\" LOGIN PASSWORD 'p@ss#w/o?r%d'";
    server.psql("arrowload_cli_urls", role).expect("a role");
    let (host, port) = address(&url);
    let place = Place::new();
    let db = "arrowload_cli_urls";
    let at = format!("{host}:{port}");
    place.write(
        ".pg_service.conf",
        &format!("[prod]\nhost={host}\nport={port}\nuser=postgres\ndbname={db}\n"),
    );
    let plain = format!("postgresql://postgres@{at}/{db}");
    let with = |query: &str| format!("{plain}?{query}");
    let escaped = format!("postgresql://we%20ird%40x:p%40ss%23w%2Fo%3Fr%25d@{at}/{db}");
    let texts = [
        ("postgres", plain.clone()),
        ("we ird@x", escaped),
        (
            "postgres",
            format!("postgresql+psycopg2://postgres@{at}/{db}"),
        ),
        (
            "postgres",
            format!("jdbc:postgresql://{at}/{db}?user=postgres"),
        ),
        (
            "postgres",
            format!("host={host} port={port} user=postgres dbname='{db}'"),
        ),
        ("postgres", format!("\"{plain}\"")),
        ("postgres", format!("{plain}\n")),
        ("postgres", with("sslmode=prefer&channel_binding=prefer")),
        (
            "postgres",
            with(
                "connect_timeout=5&keepalives=1&keepalives_idle=30&target_session_attrs=read-write&gssencmode=disable",
            ),
        ),
        ("postgres", with("sslmode=allow&schema=public")),
        ("postgres", "postgresql:///?service=prod".to_owned()),
        (
            "postgres",
            format!("postgresql://nohost.invalid:{port}/{db}?hostaddr=127.0.0.1&user=postgres"),
        ),
    ];
    for (user, text) in texts {
        let ended = ask(&place, &[("DATABASE_URL", &text)]);
        assert_eq!(
            ended.out,
            format!("u,d\n{user},{db}\n"),
            "{text}: {ended:?}"
        );
    }
    let one_by_one = [
        ("PGPORT", &*port),
        ("PGUSER", "postgres"),
        ("PGDATABASE", db),
    ];
    for variables in [
        &[("PGSERVICE", "prod"), ("PGHOST", "elsewhere.invalid")][..],
        &[("PGHOSTADDR", &*host), ("PGHOST", "elsewhere.invalid")],
        &[("PGHOST", &*host), ("DATABASE_URL", "")],
        &[
            ("PGHOST", &*host),
            ("DATABASE_URL", "mysql://u:hunter2@h/d"),
        ],
        &[("POSTGRES_URL", &*plain)],
    ] {
        let ended = ask(&place, &[&one_by_one[..], variables].concat());
        assert_eq!(
            ended.out,
            format!("u,d\npostgres,{db}\n"),
            "{variables:?}: {ended:?}"
        );
    }
}

#[test]
fn variables_may_stand_in_a_file() {
    let place = Place::new();
    place.write(
        ".env",
        "DATABASE_URL=\"postgresql://u:hunter2@127.0.0.1:1/d\"\nexport PGCONNECT_TIMEOUT=1\n",
    );
    let query = [&["--env-file", ".env", "-v"][..], &ASK].concat();
    let ended = place.run(&query);
    let words = "port = 1 (environment variable DATABASE_URL)";
    assert!(ended.code == 1 && ended.err.contains(words), "{ended:?}");
    assert!(!ended.err.contains("hunter2"), "{ended:?}");
    // What is set already is stronger.
    let mut command = place.command(&query);
    command.env("DATABASE_URL", "postgresql://127.0.0.1:2/d");
    let ended = Ended::of(&mut command);
    assert!(ended.err.contains("port = 2 ("), "{ended:?}");
    let error = place.refused(2, &[&["--env-file", "none"][..], &ASK].concat());
    assert!(error.contains("--env-file none"), "{error}");
}

#[test]
fn what_is_not_understood_is_refused_by_name_and_nothing_is_asked_of_another_server() {
    let place = Place::new();
    let at = "127.0.0.1:1/d";
    let refused = |variables: &[(&str, &str)], words: &[&str]| {
        let ended = ask(&place, variables);
        assert_eq!(ended.code, 2, "{variables:?}: {ended:?}");
        for word in words {
            assert!(ended.err.contains(word), "{variables:?}: {word}: {ended:?}");
        }
        for secret in ["hunter", "ter2", "localhost:5432"] {
            assert!(!ended.err.contains(secret), "{variables:?}: {ended:?}");
        }
    };
    for character in ["@", "#", "/", "?", "%"] {
        let url = format!("postgresql://postgres:hun{character}ter2@{at}");
        refused(&[("DATABASE_URL", &url)], &["percent-encode the password"]);
    }
    for (key, value) in [
        ("pgbouncer", "true"),
        ("sslcrl", "x"),
        ("sslmode", "no-verify"),
        ("gssencmode", "require"),
        ("requirepeer", "postgres"),
    ] {
        let url = format!("postgresql://u:hunter2@{at}?{key}={value}");
        refused(&[("DATABASE_URL", &url)], &[key, "DATABASE_URL"]);
    }
    let mysql = [("DATABASE_URL", "mysql://root:hunter2@127.0.0.1/x")];
    refused(&mysql, &["DATABASE_URL", "mysql://", "nothing else says"]);
    refused(&[("DATABASE_URL", "hunter2")], &["DATABASE_URL", "no URL"]);
    refused(&[("PGSERVICE", "prod")], &["prod", ".pg_service.conf"]);
}

#[test]
fn where_a_connection_leads_is_said_with_the_layer_that_says_it() {
    let Some(server) = ThrowawayPostgres::available() else {
        return;
    };
    let url = server
        .create_database("arrowload_cli_effective")
        .expect("a database");
    let (host, port) = address(&url);
    let place = Place::new();
    place.write("people.csv", PEOPLE);
    let file = format!(
        "[connections.pg]\ntype = \"postgresql\"\nhost = \"{host}\"\nuser = \"postgres\"\npassword = \"hunter2\"\n"
    );
    place.write("arrowload.toml", &file);
    let run = |arguments: &[&str]| {
        let mut command = place.command(arguments);
        command.env("PGPORT", &port);
        command.env("PGDATABASE", "arrowload_cli_effective");
        let ended = Ended::of(&mut command);
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
        let all = ended.out + &ended.err;
        assert!(!all.contains("hunter2"), "{all}");
        all
    };
    let load = [
        "load",
        "--from",
        "people.csv",
        "--to",
        "pg",
        "--target",
        "t",
    ];
    for said in [
        run(&["connections", "test", "pg"]),
        run(&[&load[..], &["--dry-run"]].concat()),
        run(&[&load[..], &["-v"]].concat()),
        run(&[
            "load",
            "--from",
            "pg",
            "--table",
            "t",
            "--to",
            "t.csv",
            "--dry-run",
        ]),
    ] {
        for words in [
            &format!("host = {host} (")[..],
            "arrowload.toml (connections.pg))",
            &format!("port = {port} (environment variable PGPORT)"),
            "database = arrowload_cli_effective (environment variable PGDATABASE)",
            "user = postgres (",
            "password = *** (",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
    }
}

#[test]
fn variables_that_tighten_a_connection_are_not_passed_over() {
    let place = Place::new();
    let url = (
        "DATABASE_URL",
        "postgresql://127.0.0.1:1/d?connect_timeout=1",
    );
    for (name, value) in [
        ("PGREQUIREAUTH", "scram-sha-256"),
        ("PGSSLCRL", "x.pem"),
        ("PGSSLMINPROTOCOLVERSION", "TLSv1.3"),
        ("PGHOSTADDR", "10.0.0.1"),
        ("PGGSSENCMODE", "require"),
        ("PGTARGETSESSIONATTRS", "standby"),
        ("PGCHANNELBINDING", "hunter2"),
    ] {
        let ended = ask(&place, &[url, (name, value)]);
        assert_eq!(ended.code, 2, "{name}: {ended:?}");
        assert!(ended.err.contains(name), "{name}: {ended:?}");
    }
}
