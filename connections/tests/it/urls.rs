//! A profile's `url`: taken apart by its loader, under the keys beside it, and over everything weaker.

use arrowload_core::ErrorKind;
use serde_json::{Value, json};

use crate::backends::{PG, REDIS};
use crate::{layers, origin, says, value};

#[test]
fn a_url_stands_for_its_parts_and_keys_beside_it_win() {
    let file = "[connections.a]\nurl = \"postgresql://u:p%40@h:1/d?sslmode=require\"\ndatabase = \"beside\"";
    let connections = layers(file, &[]).expect("layers");
    let settings = connections
        .for_loader(&PG, Some("a"), None)
        .expect("settings");
    let found = [
        "host", "port", "user", "password", "database", "sslmode", "url",
    ]
    .map(|key| value(&settings, key));
    assert_eq!(
        found,
        [
            json!("h"),
            json!(1),
            json!("u"),
            json!("p@"),
            json!("beside"),
            json!("require"),
            Value::Null
        ]
    );
    assert!(origin(&settings, "password").ends_with("(connections.a)"));
}

#[test]
fn a_loader_with_a_key_url_gets_it_whole() {
    let connections = layers(
        "[connections.a]\nurl = \"redis://u:${env:P}@h\"",
        &[("P", "a@b")],
    )
    .expect("layers");
    let settings = connections
        .for_loader(&REDIS, Some("a"), None)
        .expect("settings");
    assert_eq!(value(&settings, "url"), "redis://u:a%40b@h");
}

#[test]
fn the_strongest_url_replaces_weaker_urls_and_weaker_servers() {
    let file = "[connections.a]\nurl = \"postgres://u:hunter2@h:1/d?sslmode=require\"\n[connections.b]\nhost = \"h\"\nport = 1\nuser = \"u\"\npassword = \"hunter2\"";
    let variables = [
        ("ARROWLOAD_CONNECTIONS__A__URL", "postgres://other/d2"),
        ("ARROWLOAD_CONNECTIONS__B__URL", "postgres://other/d2"),
    ];
    let connections = layers(file, &variables).expect("layers");
    for (name, user) in [("a", Value::Null), ("b", json!("u"))] {
        let settings = connections
            .for_loader(&PG, Some(name), None)
            .expect("settings");
        let found = ["host", "port", "user", "password", "database", "sslmode"]
            .map(|key| value(&settings, key));
        assert_eq!(
            found,
            [
                json!("other"),
                Value::Null,
                user,
                Value::Null,
                json!("d2"),
                Value::Null
            ],
            "{name}"
        );
    }
}

#[test]
fn a_key_of_a_stronger_layer_changes_one_part_of_a_url() {
    let connections =
        layers("[connections.a]\nurl = \"postgres://u:p@h:1/d\"", &[]).expect("layers");
    let settings = connections
        .for_loader(&PG, Some("a"), Some(json!({"host": "replica"})))
        .expect("settings");
    assert_eq!(
        ["host", "password"].map(|key| value(&settings, key)),
        ["replica", "p"]
    );
}

#[test]
fn a_weaker_url_that_is_not_used_need_not_be_right_and_lends_no_secret() {
    let file =
        "[connections.a]\nurl = \"${env:NOT_SET}\"\npassword = \"hunter2\"\nsslmode = \"require\"";
    let connections = layers(file, &[]).expect("layers");
    let settings = connections
        .for_loader(&PG, Some("a"), Some(json!({"url": "postgres://h/d"})))
        .expect("settings");
    assert_eq!(
        ["host", "password", "sslmode"].map(|key| value(&settings, key)),
        [json!("h"), Value::Null, json!("require")]
    );
}

#[test]
fn urls_that_are_not_the_loaders_are_refused() {
    let connections = layers(
        "[connections.a]\nurl = \"mysql://u:hunter2@h/d\"\n[connections.b]\nurl = \"hunter2\"\n[connections.c]\nurl = 7",
        &[],
    );
    let connections = connections.expect("layers");
    let refused = |name| {
        connections
            .for_loader(&PG, Some(name), None)
            .expect_err("not its URL")
    };
    assert_eq!(refused("a").kind(), ErrorKind::InvalidOption);
    says(
        &refused("a"),
        &[
            "connection `a`: `url` (from ",
            "(connections.a)",
            "mysql://",
            "`postgresql`",
            "postgresql://, postgres://",
        ],
    );
    says(
        &refused("b"),
        &["`url` (from ", "(connections.b)", "no URL"],
    );
    says(&refused("c"), &["`url` (from ", "must be text"]);
}

#[test]
fn a_url_serves_in_place_of_a_name() {
    let connections = layers(
        "[connections.postgresql]\npassword = \"hunter2\"",
        &[("PGUSER", "pg"), ("DATABASE_URL", "postgres://x:hunter2@h")],
    );
    let connections = connections.expect("layers");
    let settings = connections
        .for_loader(&PG, Some("postgres://h/d"), Some(json!({"port": 9})))
        .expect("settings");
    let found = ["host", "port", "user", "password"].map(|key| value(&settings, key));
    assert_eq!(found, [json!("h"), json!(9), json!("pg"), Value::Null]);
    assert_eq!(origin(&settings, "host"), "the connection URL");
}
