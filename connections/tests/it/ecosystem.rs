//! `DATABASE_URL`, `PG*` and the like: when they count, and that they never lead a connection or its password elsewhere.

use serde_json::{Value, json};

use crate::backends::{PG, PgConfig, REDIS};
use crate::{layers, origin, says, value};

const URL: &str = "postgresql://url-user:url-pass@url-host:7000/url-db";

/// host, port, user, password and database of a load, which has this connection and inline config.
fn pg(
    file: &str,
    variables: &[(&str, &str)],
    name: Option<&str>,
    inline: Option<Value>,
) -> [Value; 5] {
    let connections = layers(file, variables).expect("layers");
    let settings = connections.for_loader(&PG, name, inline).expect("settings");
    ["host", "port", "user", "password", "database"].map(|key| value(&settings, key))
}

fn nulls() -> [Value; 5] {
    [const { Value::Null }; 5]
}

#[test]
fn a_database_url_is_all_that_the_default_connection_needs() {
    let expected = [
        json!("url-host"),
        json!(7000),
        json!("url-user"),
        json!("url-pass"),
        json!("url-db"),
    ];
    for name in [None, Some("postgresql"), Some("PostgreSQL")] {
        assert_eq!(pg("", &[("DATABASE_URL", URL)], name, None), expected);
    }
    let connections = layers("", &[("DATABASE_URL", URL)]).expect("layers");
    let settings = connections.for_loader(&PG, None, None).expect("settings");
    assert_eq!(
        origin(&settings, "password"),
        "environment variable DATABASE_URL"
    );
    let (split, _) = PG.split(settings).expect("known keys");
    assert_eq!(
        split
            .config
            .parse::<PgConfig>("test")
            .expect("a config")
            .port,
        7000
    );
}

#[test]
fn single_variables_fill_what_the_url_leaves_open() {
    let variables = [
        ("DATABASE_URL", "postgres://h/d"),
        ("PGHOST", "pg-host"),
        ("PGUSER", "pg-user"),
        ("PGPASSWORD", "pg-pass"),
        ("PGPORT", "6"),
    ];
    assert_eq!(
        pg("", &variables, None, None),
        ["h", "6", "pg-user", "pg-pass", "d"].map(Value::from)
    );
}

#[test]
fn of_several_variables_for_one_key_the_first_listed_counts() {
    assert_eq!(
        pg(
            "",
            &[("PGHOST", "second"), ("PGHOSTADDR", "first")],
            None,
            None
        )[0],
        "first"
    );
    assert_eq!(
        pg("", &[("PGHOST", "second"), ("PGHOSTADDR", "")], None, None)[0],
        "second"
    );
    let two = [
        ("POSTGRES_URL", "postgres://u:p@second/d"),
        ("DATABASE_URL", "postgres://first"),
    ];
    let mut expected = nulls();
    expected[0] = "first".into();
    assert_eq!(pg("", &two, None, None), expected);
}

#[test]
fn a_url_of_another_scheme_is_refused_unless_something_else_says_where_to() {
    let mysql = ("DATABASE_URL", "mysql://u:hunter2@h/d");
    for file in ["", "[connections.postgresql]\nuser = \"u\""] {
        let connections = layers(file, &[mysql]).expect("layers");
        let error = connections
            .for_loader(&PG, None, None)
            .expect_err("localhost is a guess");
        says(
            &error,
            &["DATABASE_URL", "mysql://", "postgresql://", "nothing else"],
        );
    }
    let file = "[connections.postgresql]\nhost = \"file\"";
    assert_eq!(pg(file, &[mysql], None, None)[0], "file");
    assert_eq!(pg("", &[mysql, ("PGHOST", "pg")], None, None)[0], "pg");
    let inline = Some(json!({ "host": "inline" }));
    assert_eq!(pg("", &[mysql], None, inline)[0], "inline");
    let two = [
        ("DATABASE_URL", "mysql://u:p@h/d"),
        ("POSTGRES_URL", "postgres://second"),
    ];
    assert_eq!(pg("", &two, None, None)[0], "second");
}

#[test]
fn a_url_may_stand_in_quotes_and_end_with_its_line() {
    for quoted in [
        format!("\"{URL}\""),
        format!("'{URL}'"),
        format!("{URL}\n"),
        format!(" \"{URL}\" \r\n"),
    ] {
        let found = pg("", &[("DATABASE_URL", &quoted)], None, None);
        assert_eq!(found[0], "url-host", "{quoted:?}");
    }
}

#[test]
fn what_is_no_url_is_the_backends_to_understand_and_never_passed_over() {
    let string = "host=string dbname=d password=hunter2";
    let found = pg("", &[("DATABASE_URL", string)], None, None);
    assert_eq!((&found[0], &found[4]), (&json!("string"), &json!("d")));
    // Beside a type, a profile may have one too.
    let file = format!("[connections.a]\ntype = \"postgresql\"\nurl = \"{string}\"");
    assert_eq!(pg(&file, &[], Some("a"), None)[0], "string");
    let connections = layers("", &[("DATABASE_URL", "hunter2")]).expect("layers");
    let error = connections.for_loader(&PG, None, None).expect_err("no URL");
    says(&error, &["DATABASE_URL", "no URL"]);
    // Nor is one shown where a name is wanted.
    let error = connections
        .for_loader(&PG, Some("password=hunter2"), None)
        .expect_err("no name");
    says(&error, &["may hold a password"]);
}

#[test]
fn a_variable_may_stand_for_the_end_of_a_url() {
    let variables = [("PGSERVICE", "p@d"), ("PGHOST", "host"), ("PGUSER", "u")];
    let found = pg("", &variables, None, None);
    assert_eq!((&found[0], &found[2]), (&json!("service-p@d"), &json!("u")));
    let both = [("PGSERVICE", "prod"), ("DATABASE_URL", URL)];
    assert_eq!(pg("", &both, None, None)[0], "url-host");
}

#[test]
fn effective_keys_say_which_layer_each_came_from() {
    let file =
        "[connections.a]\nhost = \"file\"\npassword = \"hunter2\"\nsslmode = \"${env:MODE}\"";
    let variables = [("MODE", "hunter2"), ("PGDATABASE", "env"), ("USER", "os")];
    let connections = layers(file, &variables).expect("layers");
    let settings = connections
        .for_loader(&PG, Some("a"), None)
        .expect("settings");
    let (split, _) = PG.split(settings).expect("known keys");
    let shown = connections.effective(&PG.config_schema(), &split.config);
    let shown: Vec<String> = shown.iter().map(ToString::to_string).collect();
    assert!(
        shown[0].starts_with("host = file (") && shown[0].contains("arrowload.toml"),
        "{shown:?}"
    );
    assert_eq!(shown[1], "port = 5432 (default)");
    assert_eq!(shown[2], "database = env (environment variable PGDATABASE)");
    assert_eq!(shown[3], "user = os (default, from USER)");
    assert!(shown[4].starts_with("password = *** ("), "{shown:?}");
    assert!(shown[5].starts_with("sslmode = *** ("), "{shown:?}");
    // Without a setting, the database is named as the user.
    let connections = layers("", &[("PGUSER", "u")]).expect("layers");
    let settings = connections.for_loader(&PG, None, None).expect("settings");
    let (split, _) = PG.split(settings).expect("known keys");
    let shown = connections.effective(&PG.config_schema(), &split.config);
    let shown: Vec<String> = shown.iter().map(ToString::to_string).collect();
    assert_eq!(shown[0], "host = localhost (default)");
    assert_eq!(shown[2], "database = u (default, as user)");
}

#[test]
fn the_default_connection_has_the_file_below_and_our_own_variables_above() {
    let file =
        "[connections.postgresql]\nhost = \"file\"\nport = 1\nsslmode = \"file\"\nbatch_size = 7";
    let variables = [
        ("PGHOST", "pg"),
        ("PGUSER", "pg"),
        ("ARROWLOAD_CONNECTIONS__POSTGRESQL__USER", "ours"),
    ];
    let connections = layers(file, &variables).expect("layers");
    let settings = connections
        .for_loader(&PG, None, Some(json!({"database": "inline"})))
        .expect("settings");
    let found =
        ["host", "user", "database", "sslmode", "batch_size"].map(|key| value(&settings, key));
    assert_eq!(
        found,
        [
            json!("pg"),
            json!("ours"),
            json!("inline"),
            json!("file"),
            json!(7)
        ]
    );
}

#[test]
fn a_named_connection_never_follows_a_url_variable() {
    let file = "[connections.a]\nhost = \"a\"";
    let variables = [("DATABASE_URL", URL), ("POSTGRES_URL", URL)];
    let mut expected = nulls();
    expected[0] = "a".into();
    assert_eq!(pg(file, &variables, Some("a"), None), expected);
    // Single variables fill blanks, as with libpq.
    let variables = [("PGHOST", "pg"), ("PGUSER", "pg"), ("DATABASE_URL", URL)];
    let found = pg(file, &variables, Some("a"), None);
    assert_eq!(
        (&found[0], &found[2], &found[3]),
        (&json!("a"), &json!("pg"), &Value::Null)
    );
}

#[test]
fn a_url_variable_is_not_used_where_a_stronger_layer_goes_elsewhere() {
    let variables = [("DATABASE_URL", URL)];
    let mut expected = nulls();
    expected[0] = "other".into();
    assert_eq!(
        pg("", &variables, None, Some(json!({"host": "other"}))),
        expected
    );
    assert_eq!(
        pg(
            "",
            &variables,
            None,
            Some(json!({"url": "postgres://other"}))
        ),
        expected
    );
    assert_eq!(
        pg(
            "",
            &[
                variables[0],
                ("ARROWLOAD_CONNECTIONS__POSTGRESQL__HOST", "other")
            ],
            None,
            None
        ),
        expected
    );
    assert_eq!(
        pg("", &variables, None, Some(json!({"port": 7001})))[3],
        Value::Null,
        "another port is another server"
    );
    // Another database of the same server is no other server.
    let found = pg(
        "",
        &variables,
        None,
        Some(json!({"database": "other", "host": "URL-host", "port": "7000"})),
    );
    assert_eq!(
        (&found[3], &found[4]),
        (&json!("url-pass"), &json!("other"))
    );
}

#[test]
fn variables_take_no_password_of_the_file_to_another_server() {
    let file = "[connections.postgresql]\nhost = \"file\"\nport = 1\npassword = \"hunter2\"\nsslmode = \"require\"\n[connections.postgresql.storage_options]\naws_secret_access_key = \"hunter2\"\naws_region = \"x\"";
    for variables in [
        [("DATABASE_URL", "postgres://other/d")],
        [("PGHOST", "other")],
    ] {
        let connections = layers(file, &variables).expect("layers");
        let settings = connections.for_loader(&PG, None, None).expect("settings");
        let found = ["host", "port", "password", "sslmode", "storage_options"]
            .map(|key| value(&settings, key));
        assert_eq!(
            found,
            [
                json!("other"),
                Value::Null,
                Value::Null,
                json!("require"),
                json!({"aws_region": "x"})
            ]
        );
    }
    assert_eq!(
        pg(file, &[("DATABASE_URL", "postgres://file:1/d")], None, None)[3],
        "hunter2",
        "the same server"
    );
    let unnamed = "[connections.postgresql]\npassword = \"hunter2\"";
    assert_eq!(
        pg(unnamed, &[("PGHOST", "h")], None, None)[3],
        "hunter2",
        "the file names no server"
    );
}

#[test]
fn values_of_variables_that_other_programs_read_are_taken_as_they_stand() {
    assert_eq!(
        pg("", &[("PGPASSWORD", "a$${b${env:HOME}")], None, None)[3],
        "a$${b${env:HOME}"
    );
    assert_eq!(
        pg("", &[("DATABASE_URL", "postgres://u:a$%7Bb@h")], None, None)[3],
        "a${b"
    );
}

#[test]
fn a_malformed_url_variable_is_named_and_not_shown() {
    let connections =
        layers("", &[("DATABASE_URL", "postgres://u:hunter2@h:port/d")]).expect("layers");
    let error = connections
        .for_loader(&PG, None, None)
        .expect_err("no port");
    says(
        &error,
        &[
            "default connection of `postgresql`",
            "`url` (from environment variable DATABASE_URL)",
            "malformed",
        ],
    );
}

#[test]
fn a_backend_that_keeps_its_url_gets_no_parts_beside_it() {
    let variables = [
        ("REDIS_URL", "redis://u:p@h"),
        ("REDIS_HOST", "other"),
        ("REDIS_PASSWORD", "x"),
        ("REDIS_CLIENT", "c"),
    ];
    let redis = |variables: &[(&str, &str)], name, inline| {
        let connections =
            layers("[connections.a]\nurl = \"rediss://a\"", variables).expect("layers");
        let settings = connections
            .for_loader(&REDIS, name, inline)
            .expect("settings");
        ["url", "host", "password", "client_name"].map(|key| value(&settings, key))
    };
    assert_eq!(
        redis(&variables, None, None),
        [json!("redis://u:p@h"), Value::Null, Value::Null, json!("c")]
    );
    // Of a named connection's URL only the password is open.
    assert_eq!(
        redis(&variables, Some("a"), None),
        [json!("rediss://a"), Value::Null, json!("x"), json!("c")]
    );
    let elsewhere = redis(&variables[..1], None, Some(json!({"host": "elsewhere"})));
    assert_eq!(
        elsewhere,
        [Value::Null, json!("elsewhere"), Value::Null, Value::Null]
    );
}
