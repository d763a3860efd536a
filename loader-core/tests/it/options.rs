//! Keys: which belong to whom, where they came from, and what is said about those that nobody knows.

use std::time::Duration;

use arrowload_core::memory::MemoryLoader;
use arrowload_core::{ChangeLimit, ErrorKind, LoadOptions, LoaderDescriptor, Mode, Settings};
use serde_json::{Value, json};

const MEMORY: LoaderDescriptor = LoaderDescriptor::of::<MemoryLoader>("arrowload-core", "0");

fn settings(value: Value) -> Settings {
    let Value::Object(map) = value else {
        panic!("an object")
    };
    Settings::from_map(map, "environment variable X")
}

fn options(value: Value) -> LoadOptions {
    MEMORY.split(settings(value)).expect("valid").1
}

fn refused(value: Value) -> String {
    let error = MEMORY.split(settings(value)).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
    error.to_string()
}

#[test]
fn a_profile_is_sorted_into_connection_and_load() {
    let profile = json!({"database": "x", "batch_size": 10000, "create_table": false, "upsert_key": "id", "mode": "upsert"});
    let (split, load) = MEMORY.split(settings(profile)).expect("valid");
    assert_eq!(
        split.config.iter().map(|(key, _)| key).collect::<Vec<_>>(),
        ["database"]
    );
    assert_eq!(
        (load.batch_size, load.create_table, load.mode),
        (Some(10000), false, Mode::Upsert)
    );
    assert_eq!(load.keys, ["id"]);
}

#[test]
fn text_is_fitted_to_the_type_that_is_asked_for() {
    let load = options(json!({
        "batch_size": "500", "create_table": "no", "keys": "a, b", "max_updates": "10%", "max_deletes": 5, "timeout": "90s", "load_id": 7
    }));
    assert_eq!((load.batch_size, load.create_table), (Some(500), false));
    assert_eq!(load.keys, ["a", "b"]);
    assert_eq!(
        (load.max_updates, load.max_deletes),
        (Some(ChangeLimit::Percent(10.0)), Some(ChangeLimit::Rows(5)))
    );
    assert_eq!(
        (load.timeout, load.load_id.as_deref()),
        (Some(Duration::from_secs(90)), Some("7"))
    );
    assert_eq!(
        options(json!({"timeout": 0.5})).timeout,
        Some(Duration::from_millis(500))
    );
}

#[test]
fn an_unknown_key_is_named_with_its_origin_the_nearest_key_and_the_list() {
    let message = refused(json!({"bach_size": 1}));
    for part in [
        "`bach_size`",
        "environment variable X",
        "did you mean `batch_size`?",
        "database",
        "max_retries",
    ] {
        assert!(message.contains(part), "{part} in {message}");
    }
}

#[test]
fn a_malformed_value_is_named_with_its_origin() {
    for (profile, part) in [
        (json!({"batch_size": "many"}), "batch_size"),
        (json!({"batch_size": -1}), "batch_size"),
        (json!({"mode": "upsrt"}), "upsert"),
        (json!({"timeout": "soon"}), "\"5m\""),
        (json!({"timeout": 0}), "timeout"),
        (json!({"max_updates": "lots"}), "percentage"),
        (json!({"database": ["x"]}), "database"),
    ] {
        let message = refused(profile);
        assert!(
            message.contains(part) && message.contains("environment variable X"),
            "{part} in {message}"
        );
    }
}

#[test]
fn keys_and_their_other_name_do_not_meet() {
    assert!(refused(json!({"keys": "a", "upsert_key": "b"})).contains("upsert_key"));
    let mut stronger = Settings::new();
    stronger.set("keys", json!(["b"]), ".keys(..)");
    let mut profile = settings(json!({"upsert_key": "a"}));
    profile.overlay(stronger);
    assert_eq!(MEMORY.split(profile).expect("valid").1.keys, ["b"]);
}

#[test]
fn what_a_store_cannot_do_is_refused_by_its_options_alone() {
    let refused = |value: Value| {
        options(value)
            .check("memory", MEMORY.capabilities())
            .expect_err("refused")
    };
    assert_eq!(
        refused(json!({"parallelism": 4})).kind(),
        ErrorKind::Unsupported
    );
    assert_eq!(
        refused(json!({"mode": "upsert"})).kind(),
        ErrorKind::InvalidOption
    );
    assert_eq!(
        refused(json!({"mode": "create", "create_table": false})).kind(),
        ErrorKind::InvalidOption
    );
    assert_eq!(
        refused(json!({"batch_size": 0})).kind(),
        ErrorKind::InvalidOption
    );
    assert_eq!(
        refused(json!({"load_id": "a\nb"})).kind(),
        ErrorKind::InvalidOption
    );
    options(json!({"parallelism": 1}))
        .check("memory", MEMORY.capabilities())
        .expect("one is no parallelism");
}

#[test]
fn no_error_shows_a_secret_of_a_map() {
    #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only parsed")]
    struct Store {
        storage_options: std::collections::BTreeMap<String, arrowload_core::Secret>,
    }
    let mut settings = Settings::new();
    settings.set(
        "storage_options",
        serde_json::json!({ "some_number": 8_847_261_553_u64 }),
        "a test",
    );
    let error = settings
        .parse::<Store>("store")
        .expect_err("a number is no text");
    let shown = format!("{error} {error:?}");
    assert!(
        shown.contains("storage_options") && !shown.contains("8847261553"),
        "{shown}"
    );
}
