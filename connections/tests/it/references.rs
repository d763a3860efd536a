//! `${env:…}` and `${file:…}`: where they are followed, and that what they stand for is never shown.

use arrowload_core::ErrorKind;
use serde_json::json;

use crate::backends::{PG, PgConfig};
use crate::{layers, says, value};

#[test]
fn references_are_followed_in_every_layer_and_at_any_depth() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "from file\r\n").expect("written");
    let file = format!(
        "[connections.a]\npassword = '${{file:{}}}'\nuser = 'x-${{env:U}}'\n[connections.a.storage_options]\nkey = '${{env:NONE:-default}}'",
        secret.display()
    );
    let connections = layers(
        &file,
        &[
            ("U", "user"),
            ("ARROWLOAD_CONNECTIONS__A__DATABASE", "${env:U}"),
        ],
    )
    .expect("layers");
    connections
        .configure("a", "postgresql", json!({"sslmode": "$${env:U}"}))
        .expect("an object");
    let settings = connections
        .for_loader(&PG, Some("a"), Some(json!({"host": "${env:U}.host"})))
        .expect("settings");
    let found =
        ["password", "user", "database", "sslmode", "host"].map(|key| value(&settings, key));
    assert_eq!(
        found,
        ["from file", "x-user", "user", "${env:U}", "user.host"]
    );
    assert_eq!(
        value(&settings, "storage_options"),
        json!({"key": "default"})
    );
}

#[test]
fn a_password_in_a_url_may_hold_any_character() {
    let file = "[connections.a]\nurl = \"postgres://u:${env:P}@h/d\"";
    let connections = layers(file, &[("P", "a@b/${c}:%41")]).expect("layers");
    let settings = connections
        .for_loader(&PG, Some("a"), None)
        .expect("settings");
    assert_eq!(
        ["host", "password"].map(|key| value(&settings, key)),
        ["h", "a@b/${c}:%41"]
    );
}

#[test]
fn what_is_missing_is_named_with_key_and_layer() {
    let file = "[connections.a]\npassword = \"${env:NOT_SET}\"\n[connections.b.storage_options]\nkey = \"hunter2${file:/no/such/file}\"\n[connections.c]\nurl = \"postgres://u:${env:NOT_SET}@h\"\n[connections.d]\nuser = \"hunter2${\"";
    let connections = layers(file, &[]).expect("layers");
    let refused = |name| {
        connections
            .for_loader(&PG, Some(name), None)
            .expect_err("missing")
    };
    assert_eq!(refused("a").kind(), ErrorKind::InvalidOption);
    says(
        &refused("a"),
        &[
            "connection `a`",
            "`password`",
            "(from /",
            "(connections.a)",
            "variable NOT_SET is not set",
            "${env:NOT_SET:-default}",
        ],
    );
    says(
        &refused("b"),
        &[
            "connection `b`",
            "`storage_options.key`",
            "(connections.b)",
            "/no/such/file",
        ],
    );
    says(
        &refused("c"),
        &["`url`", "(connections.c)", "variable NOT_SET is not set"],
    );
    says(&refused("d"), &["`user`", "(connections.d)", "not closed"]);
    let error = connections
        .for_loader(&PG, None, Some(json!({"user": "${vault:hunter2}"})))
        .expect_err("unknown");
    says(
        &error,
        &[
            "default connection of `postgresql`",
            "`user` (from .config(..))",
            "${env:NAME}",
        ],
    );
}

#[test]
fn a_value_that_is_overridden_need_not_be_there() {
    let connections =
        layers("[connections.a]\npassword = \"${env:NOT_SET}\"", &[]).expect("layers");
    connections
        .for_loader(&PG, Some("a"), Some(json!({"password": "x"})))
        .expect("not needed");
}

#[test]
fn what_a_reference_stood_for_is_not_shown_when_it_does_not_fit() {
    let file = "[connections.a]\nport = \"${env:P}\"\n[connections.b]\nurl = \"${env:U}\"\n[connections.c]\nport = \"many\"\n[connections.d]\ntype = \"${env:P}\"";
    let connections = layers(
        file,
        &[("P", "hunter2"), ("U", "postgres://h?port=hunter2")],
    )
    .expect("layers");
    for name in ["a", "b"] {
        let settings = connections
            .for_loader(&PG, Some(name), None)
            .expect("settings");
        assert!(!format!("{settings:?}").contains("hunter2"));
        let error = settings
            .parse::<PgConfig>("postgresql")
            .err()
            .expect("no port");
        says(
            &error,
            &[
                "`port`",
                &format!("(connections.{name})"),
                "malformed",
                "expected integer",
            ],
        );
    }
    let plain = connections
        .for_loader(&PG, Some("c"), None)
        .expect("settings")
        .parse::<PgConfig>("postgresql")
        .err();
    says(
        &plain.expect("no port"),
        &["`port`", "(connections.c)", "many"],
    );
    says(
        &connections
            .for_loader(&PG, Some("d"), None)
            .expect_err("another type"),
        &["`type`", "another one"],
    );
}
