//! What is said of a mistake in each layer.

use arrowload_core::ErrorKind;
use serde_json::json;

use crate::backends::PG;
use crate::{layers, says};

#[test]
fn a_profile_of_another_type_is_refused_with_its_layer() {
    let connections = layers(
        "[connections.a]\ntype = \"redis\"\n[connections.b]\ntype = 7",
        &[],
    )
    .expect("layers");
    let error = connections
        .for_loader(&PG, Some("a"), None)
        .expect_err("another type");
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
    says(
        &error,
        &[
            "connection `a`: `type` (from /",
            "(connections.a)",
            "it is `redis`, and the loader is `postgresql`",
        ],
    );
    says(
        &connections
            .for_loader(&PG, Some("b"), None)
            .expect_err("no text"),
        &["connection `b`", "must be text"],
    );
    // A stronger layer of the right type does not make the weaker one's keys right.
    connections
        .configure("a", "postgresql", json!({}))
        .expect("an object");
    says(
        &connections
            .for_loader(&PG, Some("a"), None)
            .expect_err("another type"),
        &["(connections.a)", "`redis`"],
    );
    let error = connections
        .for_loader(&PG, None, Some(json!({"type": "redis"})))
        .expect_err("another type");
    says(&error, &["from .config(..)", "`redis`"]);
}

#[test]
fn unknown_keys_and_malformed_values_are_traced_to_their_layer() {
    let variables = [
        ("ARROWLOAD_CONNECTIONS__A__HOTS", "h"),
        ("ARROWLOAD_CONNECTIONS__B__PORT", "many"),
    ];
    let connections = layers("", &variables).expect("layers");
    let split = |name| {
        PG.split(
            connections
                .for_loader(&PG, Some(name), None)
                .expect("settings"),
        )
        .expect_err("a mistake")
    };
    says(
        &split("a"),
        &[
            "`hots`",
            "environment variable ARROWLOAD_CONNECTIONS__A__HOTS",
            "did you mean `host`?",
        ],
    );
    says(
        &split("b"),
        &[
            "`port`",
            "environment variable ARROWLOAD_CONNECTIONS__B__PORT",
        ],
    );
}

#[test]
fn configs_are_objects_and_names_are_names() {
    let connections = layers("", &[]).expect("layers");
    says(
        &connections
            .configure("a", "postgresql", json!("hunter2"))
            .expect_err("no object"),
        &["configure_connection(\"a\")", "object"],
    );
    says(
        &connections
            .configure("a", "postgresql", json!({"type": "redis"}))
            .expect_err("two types"),
        &["`type` contradicts `postgresql`"],
    );
    for name in ["", "  ", "postgres://u:hunter2@h"] {
        says(
            &connections
                .configure(name, "postgresql", json!({}))
                .expect_err("no name"),
            &["neither empty nor a URL"],
        );
    }
    says(
        &connections
            .for_loader(&PG, None, Some(json!(["hunter2"])))
            .expect_err("no object"),
        &[".config(..)", "object"],
    );
}

#[test]
fn variables_that_would_set_nothing_are_refused() {
    let refused = |variables: &[(&str, &str)]| layers("", variables).expect_err("a mistake");
    for name in [
        "ARROWLOAD_CONNECTIONS__A",
        "ARROWLOAD_CONNECTIONS__A__",
        "ARROWLOAD_CONNECTIONS____HOST",
        "ARROWLOAD_CONNECTIONS__A__X____Y",
    ] {
        says(
            &refused(&[(name, "hunter2")]),
            &[name, "ARROWLOAD_CONNECTIONS__NAME__KEY"],
        );
    }
    says(
        &refused(&[("ARROWLOAD_CONNECTION__A__HOST", "hunter2")]),
        &[
            "ARROWLOAD_CONNECTION__A__HOST",
            "did you mean `ARROWLOAD_CONNECTIONS__…`?",
        ],
    );
    let twice = [
        ("ARROWLOAD_CONNECTIONS__A__X", "hunter2"),
        ("ARROWLOAD_CONNECTIONS__A__X__Y", "hunter2"),
    ];
    says(
        &refused(&twice),
        &[
            "ARROWLOAD_CONNECTIONS__A__X__Y contradicts environment variable ARROWLOAD_CONNECTIONS__A__X",
        ],
    );
    layers(
        "",
        &[
            ("ARROWLOAD_REQUIRE", "x"),
            ("ARROWLOAD_SERVER__PORT", "1"),
            ("A__B", "c"),
        ],
    )
    .expect("none of ours");
}
