//! The order of the layers, how they join, and the names they are known by.

use arrowload_connections::Connections;
use arrowload_core::Mode;
use serde_json::json;

use crate::backends::{PG, PgConfig, PgOptions};
use crate::{layers, origin, value};

const FILE: &str = r#"
[connections.my_pg]
type = "postgresql"
host = "file"
port = 1
user = "file"
database = "file"
sslmode = "file"
storage_options = { aws_region = "file", aws_endpoint = "file" }
batch_size = 100
staging = "unlogged"
"#;

#[test]
fn each_layer_stands_over_the_weaker_ones_and_every_value_knows_its_own() {
    let variables = [
        ("ARROWLOAD_CONNECTIONS__MY_PG__USER", "environment"),
        ("ARROWLOAD_CONNECTIONS__MY_PG__DATABASE", "environment"),
        ("ARROWLOAD_CONNECTIONS__MY_PG__SSLMODE", "environment"),
        ("PGHOST", "ecosystem"),
        ("PGPASSWORD", "ecosystem"),
    ];
    let connections = layers(FILE, &variables).expect("layers");
    connections
        .configure(
            "my_pg",
            "postgresql",
            json!({"database": "program", "sslmode": "program"}),
        )
        .expect("an object");
    let settings = connections
        .for_loader(&PG, Some("my_pg"), Some(json!({"sslmode": "inline"})))
        .expect("settings");

    let found =
        ["host", "user", "database", "sslmode", "password"].map(|key| value(&settings, key));
    assert_eq!(
        found,
        ["file", "environment", "program", "inline", "ecosystem"]
    );
    let file = origin(&settings, "host");
    assert!(
        file.ends_with("arrowload.toml (connections.my_pg)") && file.starts_with(['/', 'C']),
        "{file}"
    );
    assert_eq!(
        origin(&settings, "user"),
        "environment variable ARROWLOAD_CONNECTIONS__MY_PG__USER"
    );
    assert_eq!(
        origin(&settings, "database"),
        "configure_connection(\"my_pg\")"
    );
    assert_eq!(origin(&settings, "sslmode"), ".config(..)");
    assert_eq!(
        origin(&settings, "password"),
        "environment variable PGPASSWORD"
    );
    assert!(settings.get("type").is_none());

    let (split, load) = PG.split(settings).expect("every key is known");
    assert_eq!(load.batch_size, Some(100));
    assert_eq!(
        split
            .options
            .parse::<PgOptions>("test")
            .expect("options")
            .staging
            .as_deref(),
        Some("unlogged")
    );
}

#[test]
fn a_profile_with_load_defaults_is_taken_as_it_stands() {
    let connections = layers("", &[]).expect("no layers");
    let profile = json!({"host":"localhost","port":5432,"database":"mydb","user":"user","password":"pass","batch_size":10000,"create_table":true,"upsert_key":"id"});
    connections
        .configure("my_pg", "postgresql", profile)
        .expect("an object");
    let settings = connections
        .for_loader(&PG, Some("my_pg"), None)
        .expect("settings");
    let (split, load) = PG.split(settings).expect("every key is known");
    let config: PgConfig = split.config.parse("test").expect("a config");
    assert_eq!(
        (
            config.host.as_str(),
            config.port,
            config.database.as_deref(),
            config.user.as_deref()
        ),
        ("localhost", 5432, Some("mydb"), Some("user"))
    );
    assert_eq!(
        config.password.map(|password| password.expose() == "pass"),
        Some(true)
    );
    assert_eq!(
        (load.batch_size, load.create_table, load.keys, load.mode),
        (Some(10000), true, vec!["id".to_owned()], Mode::Append)
    );
}

#[test]
fn a_stronger_layer_replaces_keys_under_either_name() {
    let connections = layers("[connections.a]\nkeys = [\"id\"]", &[]).expect("layers");
    let settings = connections
        .for_loader(&PG, Some("a"), Some(json!({"upsert_key": "other"})))
        .expect("settings");
    assert_eq!(
        PG.split(settings).expect("no contradiction").1.keys,
        ["other"]
    );
}

#[test]
fn variables_stay_text_until_a_schema_says_otherwise() {
    let variables = [
        ("ARROWLOAD_CONNECTIONS__MY_PG__PASSWORD", "007"),
        ("ARROWLOAD_CONNECTIONS__MY_PG__PORT", "6000"),
        ("ARROWLOAD_CONNECTIONS__MY_PG__KEYS", "a, b"),
    ];
    let connections = layers("", &variables).expect("layers");
    let settings = connections
        .for_loader(&PG, Some("my_pg"), None)
        .expect("settings");
    assert_eq!(value(&settings, "password"), "007");
    assert_eq!(value(&settings, "port"), "6000");
    let (split, load) = PG.split(settings).expect("it fits");
    let config: PgConfig = split.config.parse("test").expect("a config");
    assert_eq!(
        (config.port, config.password.expect("one").expose()),
        (6000, "007")
    );
    assert_eq!(load.keys, ["a", "b"]);
}

#[test]
fn nested_keys_change_one_member_and_leave_the_others() {
    let variables = [
        (
            "ARROWLOAD_CONNECTIONS__MY_PG__STORAGE_OPTIONS__AWS_REGION",
            "environment",
        ),
        (
            "ARROWLOAD_CONNECTIONS__MY_PG__STORAGE_OPTIONS__AWS_PROFILE",
            "environment",
        ),
        ("LAKE_REGION", "ecosystem"),
    ];
    let connections = layers(FILE, &variables).expect("layers");
    let inline = json!({"storage_options": {"aws_profile": "inline"}});
    let settings = connections
        .for_loader(&PG, Some("my_pg"), Some(inline))
        .expect("settings");
    let expected =
        json!({"aws_region": "environment", "aws_endpoint": "file", "aws_profile": "inline"});
    assert_eq!(value(&settings, "storage_options"), expected);
    let from = origin(&settings, "storage_options");
    for part in [
        "(connections.my_pg) and",
        "environment variable ARROWLOAD_CONNECTIONS__MY_PG__STORAGE_OPTIONS__AWS_REGION",
        "and .config(..)",
    ] {
        assert!(from.contains(part), "{part}: {from}");
    }
}

#[test]
fn names_are_equal_in_any_case_and_with_either_dash() {
    let file = "[connections.My-Pg]\nhost = \"file\"";
    let connections = layers(file, &[("ARROWLOAD_CONNECTIONS__MY_PG__PORT", "1")]).expect("layers");
    connections
        .configure("MY_pg", "postgresql", json!({"user": "program"}))
        .expect("an object");
    let settings = connections
        .for_loader(&PG, Some("my-pg"), None)
        .expect("settings");
    assert_eq!(
        ["host", "port", "user"].map(|key| value(&settings, key)),
        ["file", "1", "program"]
    );
    assert_eq!(connections.list().len(), 1);
}

#[test]
fn configuring_again_replaces_what_was_configured_and_clones_see_it() {
    let connections = layers("", &[]).expect("layers");
    let clone = connections.clone();
    connections
        .configure("a", "postgresql", json!({"host": "one", "user": "one"}))
        .expect("an object");
    connections
        .configure("a", "postgresql", json!({"host": "two"}))
        .expect("an object");
    let settings = clone.for_loader(&PG, Some("a"), None).expect("settings");
    assert_eq!(
        (value(&settings, "host"), settings.get("user")),
        ("two".into(), None)
    );
}

#[test]
fn lists_show_names_types_and_origins_and_no_values() {
    let file = "[connections.b]\nurl = \"postgres://u:hunter2@h/d\"\n[connections.a]\ntype = \"redis\"\npassword = \"hunter2\"";
    let connections = layers(file, &[("ARROWLOAD_CONNECTIONS__A__HOST", "h")]).expect("layers");
    connections
        .configure("c", "postgresql", json!({"password": "hunter2"}))
        .expect("an object");
    let list = connections.list();
    let kinds: Vec<_> = list
        .iter()
        .map(|summary| (summary.name.as_str(), summary.kind.as_deref()))
        .collect();
    assert_eq!(
        kinds,
        [
            ("a", Some("redis")),
            ("b", Some("postgres")),
            ("c", Some("postgresql"))
        ]
    );
    assert!(list[0].origins[0].ends_with("(connections.a)"), "{list:?}");
    assert_eq!(
        list[0].origins[1],
        "environment variable ARROWLOAD_CONNECTIONS__A__HOST"
    );
    assert_eq!(list[2].origins, ["configure_connection(\"c\")"]);
    let printed = format!(
        "{list:?} {connections:?} {:?}",
        Connections::builder().environment([("X".to_owned(), "hunter2".to_owned())])
    );
    let settings = connections
        .for_loader(&PG, Some("c"), None)
        .expect("settings");
    let printed = format!(
        "{printed} {settings:?} {}",
        serde_json::to_string(&list).expect("JSON")
    );
    assert!(!printed.contains("hunter2"), "{printed}");
}

#[test]
fn what_a_program_makes_for_itself_is_in_no_list() {
    let connections = layers("[connections.a]\nhost = \"a\"", &[]).expect("layers");
    for name in ["a", "own"] {
        connections
            .configure_from(name, "postgresql", json!({ "port": 7 }), "the command line")
            .expect("configured");
    }
    let settings = connections
        .for_loader(&PG, Some("own"), None)
        .expect("settings");
    assert_eq!(origin(&settings, "port"), "the command line");
    let names = || {
        let all = connections.list().into_iter();
        all.map(|known| known.name).collect::<Vec<_>>()
    };
    assert_eq!(names(), ["a"]);
    connections
        .configure("own", "postgresql", json!({}))
        .expect("configured");
    assert_eq!(names(), ["a", "own"]);
}
