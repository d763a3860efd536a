//! From names and URLs to sources and loaders.

use arrowload_core::{ErrorKind, Registry};
use serde_json::json;

use crate::backends::{PG, PG_SOURCE, registry};
use crate::{layers, origin, says, value};

const FILE: &str = r#"
[connections.typed]
type = "postgresql"
host = "typed"
staging = "a loader's option"
mode = "overwrite"
[connections.by_url]
url = "${env:U}"
[connections.untyped]
host = "h"
[connections.cache]
type = "redis"
[connections.wrong]
type = "postgres"
[connections.elsewhere]
url = "mysql://u:hunter2@h"
[connections.postgresql]
sslmode = "file"
"#;

const VARIABLES: &[(&str, &str)] = &[
    ("U", "postgres://by-url/d"),
    ("PGUSER", "pg"),
    ("DATABASE_URL", "postgres://default/d"),
];

#[test]
fn sources_are_found_by_url_by_profile_and_by_their_own_name() {
    let connections = layers(FILE, VARIABLES).expect("layers");
    let hosts = [
        ("postgres://given/d", "given"),
        ("typed", "typed"),
        ("by_url", "by-url"),
        ("postgresql", "default"),
    ];
    for (name, host) in hosts {
        let (source, settings) = connections.for_source(&registry(), name).expect("a source");
        assert_eq!(
            (source.name(), value(&settings, "host")),
            ("postgresql", host.into()),
            "{name}"
        );
        assert_eq!(value(&settings, "user"), "pg", "{name}");
    }
    let (_, settings) = connections
        .for_source(&registry(), "POSTGRES://u:p@given/d")
        .expect("a source");
    assert_eq!(origin(&settings, "password"), "the connection URL");
    assert!(
        settings.get("sslmode").is_none(),
        "a URL is not the profile of its source's name"
    );
    let (_, settings) = connections
        .for_source(&registry(), "typed")
        .expect("a source");
    PG_SOURCE
        .split(settings, Some(&PG))
        .expect("a loader's options do not concern a source");
}

#[test]
fn loaders_are_found_the_same_way() {
    let connections = layers(FILE, VARIABLES).expect("layers");
    let registry = registry();
    let cases = [
        ("rediss://h", "redis"),
        ("cache", "redis"),
        ("by_url", "postgresql"),
        ("redis", "redis"),
        ("postgresql", "postgresql"),
    ];
    for (name, loader) in cases {
        assert_eq!(
            connections
                .loader_of(&registry, name)
                .expect("a loader")
                .name(),
            loader,
            "{name}"
        );
    }
    connections
        .configure("cache", "postgresql", json!({}))
        .expect("an object");
    assert_eq!(
        connections
            .loader_of(&registry, "cache")
            .expect("the strongest type")
            .name(),
        "postgresql"
    );
}

#[test]
fn unknown_schemes_are_named_with_those_that_are_linked() {
    let connections = layers(FILE, VARIABLES).expect("layers");
    let error = connections
        .for_source(&registry(), "mysql://u:hunter2@h")
        .expect_err("no such scheme");
    assert_eq!(error.kind(), ErrorKind::SourceNotFound);
    says(
        &error,
        &["mysql://", "postgres://, postgresql://", "cargo feature"],
    );
    let error = connections
        .for_source(&registry(), "redis://h")
        .expect_err("not a source");
    says(&error, &["`redis` can be loaded into, not queried"]);
    let error = connections
        .loader_of(&registry(), "mysql://h")
        .expect_err("no such scheme");
    assert_eq!(error.kind(), ErrorKind::LoaderNotFound);
    says(&error, &["no loader for URLs of mysql://", "redis://"]);
    says(
        &connections
            .for_source(&Registry::empty(), "x://h")
            .expect_err("nothing"),
        &["take none"],
    );
}

#[test]
fn unknown_names_get_the_nearest_and_the_list() {
    let connections = layers(FILE, VARIABLES).expect("layers");
    let errors = [
        connections
            .for_source(&registry(), "typd")
            .expect_err("misspelt"),
        connections
            .loader_of(&registry(), "typd")
            .map(|loader| loader.name())
            .expect_err("misspelt"),
        connections
            .for_loader(&PG, Some("typd"), Some(json!({"host": "h"})))
            .expect_err("misspelt"),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::ConnectionNotFound);
        says(
            &error,
            &[
                "`typd`",
                "did you mean `typed`?",
                "by_url, cache, elsewhere, postgresql",
                "ARROWLOAD_CONNECTIONS__TYPD__",
            ],
        );
    }
}

#[test]
fn profiles_that_lead_nowhere_say_where_that_stands() {
    let connections = layers(FILE, &[]).expect("layers");
    let refused = |name| {
        connections
            .for_source(&registry(), name)
            .expect_err("nowhere")
    };
    says(
        &refused("untyped"),
        &["connection `untyped`", "`type` or `url`"],
    );
    says(
        &refused("cache"),
        &[
            "connection `cache`: `type` (from /",
            "(connections.cache)",
            "no source `redis` is linked in",
        ],
    );
    says(
        &refused("wrong"),
        &["`type` (from /", "did you mean `postgresql`?"],
    );
    says(
        &refused("elsewhere"),
        &["connection `elsewhere`: `url` (from /", "mysql://"],
    );
    says(
        &refused("by_url"),
        &[
            "connection `by_url`: `url` (from /",
            "variable U is not set",
        ],
    );
    assert_eq!(refused("cache").kind(), ErrorKind::SourceNotFound);
}
